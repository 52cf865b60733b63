//! The relay's process: its configuration and data in a directory of its own, its log kept.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use super::{Client, eventually};

/// Where a relay listens and what it is told.
#[derive(Clone, Debug)]
pub struct Setup {
    pub smtp: SocketAddr,
    pub control: SocketAddr,
    pub dns: SocketAddr,
    pub mx_port: u16,
    pub cores: String,
    /// PEM: the certificate authorities it trusts, in place of the machine's.
    pub authorities: Option<PathBuf>,
    /// Which of its tasks panic, and how often: for a program built with the feature `sim`.
    pub panics: Option<String>,
    /// What it finds in its environment besides.
    pub environment: Vec<(&'static str, String)>,
    /// TOML, merged over the rest key by key.
    pub extra: String,
}

impl Setup {
    fn toml(&self, data: &Path) -> String {
        let Self {
            smtp,
            control,
            dns,
            mx_port,
            cores,
            extra,
            authorities: _,
            panics: _,
            environment: _,
        } = self;
        let base = format!(
            r#"
            hostname = "relay.test"
            data_dir = {data:?}
            [runtime]
            cores = {cores}
            [[listener]]
            protocol = "smtp"
            bind = ["{smtp}"]
            [dns]
            servers = ["{dns}"]
            [delivery]
            port = {mx_port}
            helo = "relay.test"
            tls = "none"
            connect_timeout = "5s"
            [queue]
            retry = ["300ms"]
            [spool]
            segment = "4MiB"
            [control]
            bind = "{control}"
            "#
        );
        let mut config: Table = toml::from_str(&base).expect("the base configuration is TOML");
        merge(
            &mut config,
            toml::from_str(extra).expect("the test's configuration is TOML"),
        );
        toml::to_string(&config).expect("a table can be written")
    }
}

/// Lays `over` over `under`: tables key by key, everything else whole.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

pub struct Relay {
    process: Option<Child>,
    directory: TempDir,
    pub setup: Setup,
}

impl Relay {
    /// Starts it and waits until it takes mail.
    pub fn start(setup: Setup) -> Self {
        let mut relay = Self::prepare(setup);
        relay.restart();
        relay
    }

    /// A relay that has not been started yet.
    pub fn prepare(setup: Setup) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            process: None,
            directory,
            setup,
        }
    }

    /// Starts it again on the same data and with the present `setup`.
    pub fn restart(&mut self) {
        self.launch();
        let pid = self.pid();
        eventually("the relay is ready", || {
            if let Some(status) = self.exited() {
                panic!("the relay ended at start with {status}:\n{}", self.log());
            }
            let open = TcpStream::connect(self.setup.smtp).is_ok();
            (open && self.fetch("/readyz").is_some_and(|(code, _)| code == 200)).then_some(())
        });
        assert_eq!(self.pid(), pid);
    }

    /// Starts it without waiting for anything.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
        command.arg("serve").stdin(Stdio::null());
        self.process = Some(self.begin(command));
    }

    /// Starts the next process in the place of this one, which ends by itself; how it ended.
    #[track_caller]
    pub fn take_over(&mut self) -> ExitStatus {
        let next = self.begin_take_over();
        let status = self.wait();
        self.process = Some(next);
        status
    }

    /// Starts the next process, which asks this one to end.
    pub fn begin_take_over(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
        command.args(["serve", "--take-over"]).stdin(Stdio::null());
        self.begin(command)
    }

    /// Starts it with the word that takes over, though nobody is there, and waits until it takes mail.
    pub fn start_over(mut self) -> Self {
        assert!(self.process.is_none(), "somebody is there");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
        command.args(["serve", "--take-over"]).stdin(Stdio::null());
        self.process = Some(self.begin(command));
        eventually("the relay is ready", || {
            let ready = self.fetch("/readyz").is_some_and(|(code, _)| code == 200);
            ready.then_some(())
        });
        self
    }

    /// Starts it with listening sockets that somebody else has opened, as a service manager passes
    /// them under these names.
    pub fn launch_with(&mut self, socket: OwnedFd, name: &str) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new("sh");
        command.args(["-c", PASS_STDIN, "sh", env!("CARGO_BIN_EXE_ringpost"), name]);
        command.arg("serve");
        command.stdin(Stdio::from(socket));
        self.process = Some(self.begin(command));
    }

    fn begin(&self, mut command: Command) -> Child {
        self.write_config();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        command.arg("--config").arg(self.config_path());
        command
            .current_dir(self.directory.path())
            .stdout(log)
            .stderr(errors);
        if let Some(path) = &self.setup.authorities {
            command
                .env("SSL_CERT_FILE", path)
                .env_remove("SSL_CERT_DIR");
        }
        if let Some(panics) = &self.setup.panics {
            command.env("RINGPOST_PANIC", panics);
        }
        let environment = self.setup.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command.spawn().expect("the binary starts")
    }

    /// Writes the present `setup` where the relay reads it.
    pub fn write_config(&self) {
        fs::write(self.config_path(), self.setup.toml(&self.data()))
            .expect("the configuration is written");
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("ringpost.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Everything it has printed so far, over all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Waits for a log line that contains all of `words` and returns it.
    #[track_caller]
    pub fn log_line(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            self.log()
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Octets of memory that it has at the moment.
    pub fn resident_octets(&self) -> usize {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<usize>().ok())
            .expect("a size")
            << 10
    }

    /// Sets how many files it may have open from now on; what is open stays. The number before.
    pub fn limit_open_files(&self, files: Option<u64>) -> Option<u64> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let known = getrlimit(Resource::Nofile);
        let limit = Rlimit {
            current: files,
            maximum: known.maximum,
        };
        let before = prlimit(pid, Resource::Nofile, limit).expect("the process is ours");
        before.current
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process number");
        kill_process(pid, signal).expect("the process is ours");
    }

    /// The exit status, if it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().expect("our child")?;
        self.process = None;
        Some(status)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the relay ends", || self.exited())
    }

    /// SIGTERM; how it ended and how long that took.
    #[track_caller]
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        (self.wait(), asked.elapsed())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// A greeted client.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::greet(self.setup.smtp)
    }

    /// Submits one message over a connection of its own; its queue id.
    #[track_caller]
    pub fn submit(&self, mail: &str, rcpts: &[&str], content: &[u8]) -> String {
        let reply = self.client().submit(mail, rcpts, content);
        reply.is("250 ").queue_id()
    }

    /// GET from the control plane; `None` when nobody answers there.
    pub fn fetch(&self, path: &str) -> Option<(u16, String)> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut response = agent
            .get(format!("http://{}{path}", self.setup.control))
            .call()
            .ok()?;
        Some((
            response.status().as_u16(),
            response.body_mut().read_to_string().ok()?,
        ))
    }

    /// The value of a metric, summed over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.fetch("/metrics").expect("the control plane answers");
        let samples = text.lines().filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (series, labels) = sample.split_once('{').unwrap_or((sample, ""));
            (series == name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        let values: Vec<f64> = samples.collect();
        assert!(
            !values.is_empty(),
            "no metric {name}{{{label}}} in:\n{text}"
        );
        values.iter().sum()
    }

    /// Runs a command of the same binary with this relay's configuration.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config_path());
        command.output().expect("the binary runs")
    }

    /// Runs a command that reads `input`.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        // A command that needs no input may have ended before it is written.
        let _ = pipe.write_all(input.as_bytes());
        drop(pipe);
        child.wait_with_output().expect("the command ends")
    }

    /// Runs a command that must succeed; what it prints.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "ringpost {arguments:?}: {}\n{errors}",
            output.status
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// `queue list --json`: one object for each line, or the elements of an array.
    #[track_caller]
    pub fn queue(&self) -> Vec<Value> {
        let text = self.ask(&["queue", "list", "--json"]);
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let values: Result<Vec<Value>, _> = values.collect();
        let values = values.unwrap_or_else(|error| panic!("{error} in {text}"));
        values
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items,
                other => vec![other],
            })
            .collect()
    }

    /// Waits until nothing is queued.
    #[track_caller]
    pub fn wait_until_empty(&self) {
        eventually("the queue is empty", || {
            self.queue().is_empty().then_some(())
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- the relay's log ---\n{}--- end of the relay's log ---",
                self.log()
            );
        }
    }
}

/// A socket as standard input becomes the first that a service manager passes (sd_listen_fds(3)).
const PASS_STDIN: &str = "exec 3<&0 0</dev/null; program=$1 LISTEN_FDNAMES=$2 LISTEN_FDS=1 LISTEN_PID=$$; \
    shift 2; export LISTEN_FDNAMES LISTEN_FDS LISTEN_PID; exec \"$program\" \"$@\"";
