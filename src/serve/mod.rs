//! The relay's process: from a configuration to running shards, and to their end.
//!
//! ```text
//! user ─► data directory locked ─► ports bound ─► privileges gone ─► service thread ─► shards ─► ready
//!    SIGHUP: configuration to every shard        SIGTERM: drain every shard, then exit 0
//! ```

mod certificates;
mod manager;
mod obey;
pub mod sources;
mod walls;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use certificates::Seen;
use manager::Manager;
use obey::Call;
use walls::{Keeper, Walls};

use crate::config::{self, Config, Durability, Protocol, Webhook};
use crate::confine::{self, Owner};
use crate::control::audit::{self, Audit};
use crate::control::house::House;
use crate::control::{self, Means};
use crate::dkim::{self, Signers};
use crate::file;
use crate::maildrop::{self, Pickup};
use crate::observe::ask::{Ask, Shards, Tell};
use crate::observe::log::{Journal, Level, Log};
use crate::observe::secret::Secret;
use crate::progress::{self, Meter};
use crate::rolling::Bound;
use crate::service::events::{Events, Hook, Listeners};
use crate::service::reports::{Reporter, TlsReports};
use crate::service::{Desk, Service};
use crate::shard::clients::suspects::Suspects;
use crate::shard::clients::visitors::Visitors;
use crate::shard::life::rules::Rules;
use crate::shard::life::{self, Start};
use crate::shard::mesh::{Directory, Letter};
use crate::uring::start::{self, Refused, Running, ShardMain};
use crate::uring::{Uring, cores};
use crate::users::Users;
use crate::users::client::Credentials;
use crate::users::token::Issuer;
use crate::world::Web;

/// Runs the relay until it is told to end. `path` is where the configuration came from, for
/// reloads.
#[must_use]
pub fn run(config: Config, path: Option<&Path>) -> ExitCode {
    match serve(config, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            eprintln!("ringpost: {refused}");
            ExitCode::from(refused.exit_code)
        }
    }
}

fn serve(mut config: Config, path: Option<&Path>) -> Result<(), Refused> {
    // Before any other thread: a signal that comes while the relay starts is kept for its turn, and
    // what the process gives up is given up by all of them.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| os_error(format!("cannot listen for signals: {error}")))?;
    let mut manager = Manager::of_environment();
    let owner =
        confine::enter(&config.process, &config.data_dir).map_err(|why| refused(why, EX_CONFIG))?;
    let seats = cores::place(&config.runtime.cores)?;
    let _lock = lock(&config.data_dir)?;
    // glommio opens files relative to no directory: paths must be absolute.
    config.data_dir = std::fs::canonicalize(&config.data_dir)
        .map_err(|error| os_error(format!("{}: {error}", config.data_dir.display())))?;
    config.hostname = Some(config.hostname());
    let addresses: Vec<SocketAddr> = addresses(&config);
    let sockets = start::bind(&addresses, seats.len())?;
    let bound = sockets.bound.clone();
    let control = config.control.bind.map(bind_control).transpose()?;

    let walls = Walls::raise(&config);
    start::prepare()?;
    let seen = Seen::of(&config);
    let (rules, made) = read_rules(config, owner.as_ref())?;
    let config = Arc::clone(&rules.config);
    let token = read_token(&config)?;
    let hooks = hooks(&config).map_err(|why| refused(why, EX_CONFIG))?;
    let keeper = Keeper::start()?;
    let walls = walls.close(&config);

    let journal = Journal::start(config.log.format, config.log.level)
        .map_err(|error| os_error(format!("cannot start the log's thread: {error}")))?;
    tell_of_panics(&journal);
    let service = Service::start()
        .map_err(|error| os_error(format!("cannot start the service thread: {error}")))?;
    let desk = Desk::start(&service, &config, journal.handle())
        .map_err(|error| refused(format!("the resolver cannot be set up: {error}"), EX_CONFIG))?;
    let current = Current {
        rules,
        directory: Directory::new(seats.len()),
        log: journal.handle(),
        reports: desk.reports.clone(),
        events: desk.events.clone(),
        hooks,
        seen,
    };
    current.begin_reports();
    let ((end, ended), (calls, called)) = (mpsc::channel(), mpsc::channel());
    let running = start_shards(&current, &journal, &mut manager, end, |make| {
        start::start(&seats, sockets, &desk, &config.runtime, make)
    })?;
    let control_at = control.as_ref().map(|(_, at)| *at);
    if let Some((listener, _)) = control {
        open_control(&service, listener, token, (&current, &calls))?;
    }
    current.log.shards(&seats);
    announce(&current, &bound, control_at, made.as_deref());
    walls.tell(&current);
    manager.ready(seats.len());
    let _pickup = pick_up(&current, &bound)?;
    let watcher = watch(ended, current.directory.clone(), running, signals.handle())?;
    let path = path.map(Path::to_path_buf);
    obey::forward(signals, calls)?;
    keeper.keep(move || obey::obey(called, path.as_deref(), current, manager));
    let ended = watcher
        .join()
        .unwrap_or_else(|_| Err(refused("the watching thread died".to_owned(), EX_SOFTWARE)));
    desk.events.finish();
    // The service thread and the log's thread end after the shards, when they are dropped.
    ended
}

/// What every shard goes by, with all files that the configuration names, and the certificate that had to be
/// made. They are read as the user who reads them at a reload.
fn read_rules(config: Config, owner: Option<&Owner>) -> Result<(Rules, Option<PathBuf>), Refused> {
    let unreadable = |exit_code| {
        move |why: String| match owner {
            Some(owner) => refused(format!("{why} (as {owner})"), exit_code),
            None => refused(why, exit_code),
        }
    };
    let (tls, made) = certificates::ends(&config).map_err(unreadable(EX_CANTCREAT))?;
    let users = Users::read(&users_file(&config)).map_err(unreadable(EX_CONFIG))?;
    let signers = signers(&config).map_err(unreadable(EX_CONFIG))?;
    let issuer = issuer(&config).map_err(unreadable(EX_CONFIG))?;
    let credentials = credentials(&config).map_err(unreadable(EX_CONFIG))?;
    let bounces = config.bounces.read().map_err(unreadable(EX_CONFIG))?;
    let rules = Rules {
        config: Arc::new(config),
        tls,
        signers: Arc::new(signers),
        users: Arc::new(users),
        issuer,
        credentials: Arc::new(credentials),
        bounces: Arc::new(bounces),
    };
    Ok((rules, made))
}

/// What panics is told in the log: the one task that did so ends, and somebody should hear of it.
fn tell_of_panics(journal: &Journal) {
    let (tell, usual) = (journal.teller(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread");
        let said = panic.payload_as_str().unwrap_or("nothing");
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        let words = format_args!("defect: {name} panicked at {place}: {said}");
        tell(Level::Error, words);
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            usual(panic);
        }
    }));
}

/// Takes up what `sendmail` leaves, where there is a listener to hand it to.
fn pick_up(
    current: &Current,
    bound: &[(SocketAddr, SocketAddr)],
) -> Result<Option<Pickup>, Refused> {
    let config = &current.rules.config;
    let Some(door) = maildrop::door(config) else {
        return Ok(None);
    };
    // A port 0 was given a number.
    let is_door = |(asked, _): &&(SocketAddr, SocketAddr)| asked.port() == door.port();
    let port = bound
        .iter()
        .find(is_door)
        .map_or(door.port(), |(_, at)| at.port());
    let relay = SocketAddr::new(door.ip(), port);
    let directory = config.data_dir.join(maildrop::DIRECTORY);
    Pickup::start(directory, relay, config.hostname(), current.log.clone())
        .map(Some)
        .map_err(|error| os_error(format!("cannot start a thread: {error}")))
}

/// Starts the shards with `start`, and waits until each is ready.
fn start_shards(
    current: &Current,
    journal: &Journal,
    manager: &mut Manager,
    end: mpsc::Sender<()>,
    start: impl FnOnce(&dyn Fn(usize) -> Main) -> Result<Vec<Running>, Refused>,
) -> Result<Vec<Running>, Refused> {
    let (ready, readiness) = mpsc::channel();
    let visitors = Visitors::among_open_files(start::open_files());
    let suspects = Suspects::default();
    let make = |number| Main {
        ended: Ended(end.clone()),
        start: Start {
            rules: current.rules.clone(),
            directory: current.directory.clone(),
            number,
            visitors: visitors.clone(),
            suspects: suspects.clone(),
            journal: journal.handle(),
            events: current.events.post().of_shard(number),
            ready: {
                let ready = ready.clone();
                Box::new(move |outcome| drop(ready.send(outcome)))
            },
        },
    };
    let running = start(&make)?;
    drop((ready, end));
    let mut missing = running.len();
    let mut meter = Meter::new("reading the spool", "segments");
    while missing > 0 {
        match readiness.recv_timeout(progress::LOOK) {
            Ok(Ok(())) => missing -= 1,
            Ok(Err(why)) => return Err(refused(why, EX_CANTCREAT)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let seen = current.directory.reading().seen();
                current.tell_step(meter.look(seen));
                manager.starting(meter.words(seen).to_string());
            }
            // Its thread is gone without a word: joining says why.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                join(running)?;
                return Err(refused(
                    "a shard ended at its start".to_owned(),
                    EX_SOFTWARE,
                ));
            }
        }
    }
    Ok(running)
}

/// What a shard's thread runs.
struct Main {
    start: Start,
    ended: Ended,
}

impl ShardMain for Main {
    async fn run(self, world: Uring) {
        life::run(world, self.start).await;
        drop(self.ended);
    }
}

/// Says that a shard has ended, however it did.
struct Ended(mpsc::Sender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        // The watcher may have heard it from another shard already.
        let _ = self.0.send(());
    }
}

/// Waits for the first shard's end. Asked for or not, the others then end too: a relay that runs
/// on half its shards would keep the other half's mail for ever.
fn watch(
    ended: mpsc::Receiver<()>,
    directory: Directory,
    running: Vec<Running>,
    signals: Handle,
) -> Result<JoinHandle<Result<(), Refused>>, Refused> {
    let watching = move || {
        // An error is the end of all of them.
        let _ = ended.recv();
        tell_all(&directory, || Letter::Drain);
        let result = join(running);
        signals.close();
        result
    };
    std::thread::Builder::new()
        .name("watch".into())
        .spawn(watching)
        .map_err(|error| os_error(format!("cannot start a thread: {error}")))
}

fn join(running: Vec<Running>) -> Result<(), Refused> {
    // All of them, even when the first one failed: each syncs its log before it goes.
    let ends: Vec<Result<(), Refused>> = running.into_iter().map(Running::join).collect();
    ends.into_iter().collect()
}

/// Puts a letter into every inbox. A full one belongs to a busy shard, which empties it soon.
fn tell_all(directory: &Directory, letter: impl Fn() -> Letter) {
    for shard in 0..directory.shards() {
        let mut tries = 0;
        while directory.post(shard, letter()).is_err() && tries < TELL_TRIES {
            tries += 1;
            std::thread::park_timeout(TELL_PAUSE);
        }
    }
}

/// What every shard goes by now.
struct Current {
    rules: Rules,
    directory: Directory,
    log: Log,
    reports: TlsReports,
    events: Events,
    /// Who is told of events.
    hooks: Vec<Hook>,
    /// The files it names, as they were before they were read.
    seen: Seen,
}

impl Current {
    /// Says how far long work is, where no bar shows it.
    fn tell_step(&self, step: Option<String>) {
        if let Some(words) = step {
            self.log.say(Level::Info, format_args!("{words}"));
            self.log.flush();
        }
    }

    /// Reads the configuration anew. With a fault in it the old one stays.
    fn reload(&mut self, path: Option<&Path>) {
        let mut new = match config::load(path) {
            Ok(new) => new,
            Err(faults) => {
                for fault in &faults {
                    self.log.say(Level::Error, format_args!("reload: {fault}"));
                }
                self.log.say(
                    Level::Error,
                    format_args!("reload: the configuration has faults, the old one stays"),
                );
                return self.log.flush();
            }
        };
        let old = &self.rules.config;
        // At the start they were made what they are: shards cannot look for a name themselves.
        new.hostname = Some(new.hostname());
        if std::fs::canonicalize(&new.data_dir).is_ok_and(|path| path == old.data_dir) {
            new.data_dir.clone_from(&old.data_dir);
        }
        for key in config::changes(old, &new) {
            self.log.say(
                Level::Warn,
                format_args!("reload: {key} changes with a restart only"),
            );
        }
        self.take(Arc::new(new), "reload");
    }

    /// Says to domains what came of TLS, and to programs what became of messages, as the present
    /// configuration wants it.
    fn begin_reports(&self) {
        let config = &self.rules.config;
        self.reports.begin(Reporter {
            web: Web {
                config: Arc::clone(&self.rules.tls.clients.verified),
                port: config.delivery.mta_sts_port,
            },
            config: Arc::clone(config),
        });
        self.events.begin(Listeners {
            config: Arc::clone(config),
            hooks: self.hooks.clone(),
            web: Arc::clone(&self.rules.tls.clients.verified),
        });
    }

    /// Hands a configuration, and the certificates that it names, to every shard.
    fn take(&mut self, config: Arc<Config>, why: &str) {
        // Looked at before they are read: what changes meanwhile is read again.
        self.seen = Seen::of(&config);
        match certificates::ends(&config) {
            Ok((tls, _)) => self.rules.tls = tls,
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old certificates stay"),
            ),
        }
        match signers(&config) {
            Ok(signers) => self.rules.signers = Arc::new(signers),
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old DKIM keys stay"),
            ),
        }
        match Users::read(&users_file(&config)) {
            Ok(users) => self.rules.users = Arc::new(users),
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old users stay"),
            ),
        }
        match issuer(&config) {
            Ok(issuer) => self.rules.issuer = issuer,
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old keys for tokens stay"),
            ),
        }
        match credentials(&config) {
            Ok(credentials) => self.rules.credentials = Arc::new(credentials),
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old credentials stay"),
            ),
        }
        self.take_bounces(&config, why);
        match hooks(&config) {
            Ok(hooks) => self.hooks = hooks,
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old webhooks stay"),
            ),
        }
        self.rules.config = config;
        self.begin_reports();
        tell_all(&self.directory, || Letter::Reload(self.rules.clone()));
        self.log.say(Level::Info, format_args!("{why}: done"));
        self.log.flush();
    }
}

impl Current {
    fn take_bounces(&mut self, config: &Config, why: &str) {
        match config.bounces.read() {
            Ok(bounces) => self.rules.bounces = Arc::new(bounces),
            Err(unusable) => self.log.say(
                Level::Error,
                format_args!("{why}: {unusable}; the old rules for bounces stay"),
            ),
        }
    }
}

/// Who signs what leaves.
fn signers(config: &Config) -> Result<Signers, String> {
    let keys = config.dkim.iter();
    dkim::read(keys.map(|dkim| (&*dkim.domain, &*dkim.selector, &*dkim.key)))
}

/// Whose tokens prove who somebody is.
fn issuer(config: &Config) -> Result<Option<Arc<Issuer>>, String> {
    let issuer = config.oauth.issuer()?;
    Ok(issuer.map(Arc::new))
}

/// Who we are at smart hosts, by the name of the file that says so.
fn credentials(config: &Config) -> Result<BTreeMap<String, Credentials>, String> {
    let files = config
        .route
        .iter()
        .filter_map(|route| route.credentials.as_ref());
    let read = |file: &String| Ok((file.clone(), Credentials::read(Path::new(file))?));
    files.map(read).collect()
}

/// Who is told of events.
fn hooks(config: &Config) -> Result<Vec<Hook>, String> {
    let read = |settings: &Webhook| {
        Ok(Hook {
            secret: Secret::read(&settings.secret_file)?,
            settings: settings.clone(),
        })
    };
    config.webhook.iter().map(read).collect()
}

/// Where the users are.
fn users_file(config: &Config) -> PathBuf {
    config.data_dir.join(&config.auth.users_file)
}

fn addresses(config: &Config) -> Vec<SocketAddr> {
    let listeners = config.listener.iter();
    listeners
        .flat_map(|listener| listener.bind.iter().copied())
        .collect()
}

fn bind_control(at: SocketAddr) -> Result<(TcpListener, SocketAddr), Refused> {
    let bound = TcpListener::bind(at).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    });
    bound.map_err(|error| {
        os_error(format!(
            "cannot listen on {at} for the control plane: {error}; set another [control] bind"
        ))
    })
}

/// Every shard, for the control plane.
struct Everyone {
    directory: Directory,
    /// Whose turn it is.
    turns: AtomicUsize,
}

impl Shards for Everyone {
    fn count(&self) -> usize {
        self.directory.shards()
    }

    fn ask(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Vec<Tell>> + Send>> {
        let patience = ask.patience();
        let answers = (0..self.directory.shards()).filter_map(|shard| {
            let (reply, answer) = futures_channel::oneshot::channel();
            // A full inbox is a shard that does not answer.
            self.directory
                .post(shard, Letter::Ask(ask.clone(), reply))
                .ok()?;
            Some(answer)
        });
        Box::pin(control::collect(answers.collect::<Vec<_>>(), patience))
    }

    fn ask_one(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Option<Tell>> + Send>> {
        let patience = ask.patience();
        let shard = self.turns.fetch_add(1, Ordering::Relaxed) % self.directory.shards();
        let (reply, answer) = futures_channel::oneshot::channel();
        let posted = self.directory.post(shard, Letter::Ask(ask, reply));
        Box::pin(async move {
            posted.ok()?;
            control::collect([answer], patience).await.pop()
        })
    }
}

fn open_control(
    service: &Service,
    listener: TcpListener,
    token: Option<String>,
    (current, calls): (&Current, &mpsc::Sender<Call>),
) -> Result<(), Refused> {
    let config = &current.rules.config;
    let (path, bound) = (
        config.data_dir.join(audit::FILE),
        Bound {
            octets: config.control.audit_size,
            files: config.control.audit_files,
        },
    );
    let (audit, writing) = Audit::open(&path, bound, current.log.clone()).map_err(|error| {
        let why = format!("cannot write to {}: {error}", path.display());
        refused(why, EX_CANTCREAT)
    })?;
    service.handle().spawn(writing);
    let shards = Arc::new(Everyone {
        directory: current.directory.clone(),
        turns: AtomicUsize::new(0),
    });
    // Ends with the service thread.
    let means = Means {
        shards,
        token,
        audit: Some(audit),
        events: current.events.sums(),
        data_dir: Some(current.rules.config.data_dir.clone()),
        hostname: current.rules.config.hostname(),
        max_message_size: current.rules.config.smtp.max_message_size,
        house: House {
            users_file: users_file(&current.rules.config),
            check: obey::checks(calls.clone()),
            drain: Arc::new(|| drop(signal_hook::low_level::raise(SIGTERM))),
        },
    };
    let serving = control::serve(listener, means, std::future::pending());
    service.handle().spawn(serving);
    Ok(())
}

/// What requests to the control plane must show.
fn read_token(config: &Config) -> Result<Option<String>, Refused> {
    let Some(path) = &config.control.token_file else {
        return Ok(None);
    };
    let text = file::read_text(path).map_err(|error| {
        refused(
            format!(
                "cannot read [control] token_file {}: {error}",
                path.display()
            ),
            EX_NOINPUT,
        )
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// Says where it listens, and how to try it.
fn announce(
    Current { rules, log, .. }: &Current,
    bound: &[(SocketAddr, SocketAddr)],
    control: Option<SocketAddr>,
    made: Option<&Path>,
) {
    let config = &rules.config;
    let mut out = io::stdout().lock();
    let mut listeners = Vec::new();
    for listener in &config.listener {
        let found = bound
            .iter()
            .filter(|(asked, _)| listener.bind.contains(asked));
        listeners.extend(found.map(|(_, at)| (listener.protocol, *at)));
    }
    // Whoever started it may have closed the pipe: that is no reason to stop.
    let mut say = |words: std::fmt::Arguments<'_>| drop(writeln!(out, "{words}"));
    for (protocol, at) in &listeners {
        say(format_args!("listening {protocol} {at}"));
    }
    if let Some(at) = control {
        say(format_args!("control {at}"));
    }
    if let Some((_, at)) = listeners
        .iter()
        .find(|(protocol, _)| *protocol == Protocol::Smtp)
    {
        say(format_args!(
            "try it: printf 'Subject: hello\\r\\n\\r\\nhello\\r\\n' | curl -s smtp://{at} --mail-from you@example.org --mail-rcpt you@example.org -T -"
        ));
    }
    drop(out.flush());
    if let Some(path) = made {
        log.say(
            Level::Warn,
            format_args!(
                "no certificate is configured: one that proves nothing was made, {}; set [tls] certificate and key",
                path.display()
            ),
        );
    }
    tell_of_few_files(config, log);
    for words in sources::missing(config) {
        log.say(Level::Warn, format_args!("{words}"));
    }
    if config.spool.durability == Durability::None {
        log.say(
            Level::Warn,
            format_args!(
                "[spool] durability is \"none\": a power cut loses mail that was answered with 250"
            ),
        );
    }
    // This thread may have nothing more to say for days.
    log.flush();
}

/// Says it when the configuration promises more connections than there can be.
fn tell_of_few_files(config: &Config, log: &Log) {
    let (wanted, files) = (config.smtp.max_connections, start::open_files());
    let places = Visitors::among_open_files(files).places();
    if wanted > places {
        log.say(
            Level::Info,
            format_args!(
                "[smtp] max_connections is {wanted}, and of {files} open files {places} are for clients: raise the limit with LimitNOFILE= in a systemd unit or `ulimit -n`"
            ),
        );
    }
}

fn refused(why: String, exit_code: u8) -> Refused {
    Refused { why, exit_code }
}

fn os_error(why: String) -> Refused {
    refused(why, EX_OSERR)
}

/// The data directory is this process's alone: two relays on one spool would lose mail.
fn lock(data: &Path) -> Result<File, Refused> {
    let place = data.display();
    // Mail is for nobody else's eyes.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| {
        let why = format!("cannot make the data directory {place}: {error}; set data_dir to a place this user may write to");
        refused(why, EX_CANTCREAT)
    })?;
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(|error| {
        let why = format!("cannot write to the data directory {place}: {error}; set data_dir to a place this user may write to");
        refused(why, EX_CANTCREAT)
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refused(
            format!(
                "the data directory {place} is in use by another ringpost: stop it, or set another data_dir"
            ),
            EX_TEMPFAIL,
        )),
        Err(TryLockError::Error(error)) => {
            Err(os_error(format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// A letter is offered so often, with a pause between: some seconds in all, then the shard is
/// taken for dead.
const TELL_TRIES: u32 = 500;
const TELL_PAUSE: Duration = Duration::from_millis(10);

const EX_NOINPUT: u8 = 66;
const EX_SOFTWARE: u8 = 70;
const EX_OSERR: u8 = 71;
const EX_CANTCREAT: u8 = 73;
const EX_TEMPFAIL: u8 = 75;
const EX_CONFIG: u8 = 78;
