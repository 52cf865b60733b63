//! The relay's process: from a configuration to running shards, and to their end.
//!
//! ```text
//! user ─► data directory locked ─► ports bound ─► privileges gone ─► service thread ─► shards ─► ready
//!    SIGHUP: configuration to every shard        SIGTERM: drain every shard, then exit 0
//!    --take-over: ports from the relay that runs, and the lock when it has ended (`handover`)
//! ```

mod certificates;
mod handover;
mod mailing;
mod manager;
mod reload;
mod site;
pub mod sources;
mod walls;
mod words;

use std::future::Future;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_channel::oneshot;
use signal_hook::iterator::Handle;

use certificates::Seen;
use handover::Heir;
use manager::Manager;
use reload::{Current, credentials, hooks, issuer, signers};
use site::Site;
use walls::{Keeper, Walls};
use words::{Steward, Word};

use crate::config::{self, Config, Durability, Protocol};
use crate::confine::{self, Owner};
use crate::control::audit::{self, Audit};
use crate::control::house::House;
use crate::control::{self, Means};
use crate::file;
use crate::maildrop::{self, Pickup};
use crate::observe::ask::{Ask, Shards, Tell};
use crate::observe::log::{Journal, Level, Log};
use crate::progress::{self, Meter};
use crate::rolling::Bound;
use crate::service::{Desk, Service};
use crate::shard::Warmups;
use crate::shard::clients::suspects::Suspects;
use crate::shard::clients::tenants::Meters;
use crate::shard::clients::visitors::Visitors;
use crate::shard::life::rules::Rules;
use crate::shard::life::{self, Start};
use crate::shard::mesh::{Directory, Letter};
use crate::uring::given::Given;
use crate::uring::start::{self, Refused, Running, ShardMain};
use crate::uring::{Uring, cores};
use crate::users::Users;

pub(crate) use site::LOCK;
pub use site::Taking;

/// Runs the relay until it is told to end. `path` is where the configuration came from, for
/// reloads.
#[must_use]
pub fn run(config: Config, path: Option<&Path>, taking: Taking) -> ExitCode {
    // What was there at the start must be there at a reload.
    let path = path.or_else(|| Some(Path::new(config::FILE)).filter(|path| path.exists()));
    let path = path.map(Path::to_path_buf);
    let outcome = words::ends().and_then(|is_told| Ok((serve(config, path, taking)?, is_told)));
    match outcome {
        Ok((None, _)) => ExitCode::SUCCESS,
        // Behind this one nobody is left: not a lock, and not a thread.
        Ok((Some(heir), is_told)) => match heir.serves(&is_told) {
            true => ExitCode::SUCCESS,
            false => handover::serve_again(),
        },
        Err(refused) => {
            eprintln!("ringpost: {refused}");
            ExitCode::from(refused.exit_code)
        }
    }
}

/// Whoever takes over, once this one has ended for it; `None`: nobody does.
type Outcome = Result<Option<Heir>, Refused>;

fn serve(mut config: Config, path: Option<PathBuf>, taking: Taking) -> Outcome {
    // Before any other thread: a signal that comes while the relay starts is kept for its turn, and
    // what the process gives up is given up by all of them.
    let signals = words::signals()?;
    let given = Given::by_manager()?;
    let mut manager = Manager::of_environment(!given.is_empty());
    let owner =
        confine::enter(&config.process, &config.data_dir).map_err(|why| refused(why, EX_CONFIG))?;
    let seats = cores::place(&config.runtime)?;
    let site = Site::take(&mut config, seats.len(), given, taking)?;

    let walls = Walls::raise(&config);
    start::prepare()?;
    let seen = Seen::of(&config);
    let (rules, made) = read_rules(config, owner.as_ref())?;
    let config = Arc::clone(&rules.config);
    let token = read_token(&config)?;
    let hooks = hooks(&config).map_err(|why| refused(why, EX_CONFIG))?;
    let keeper = Keeper::start()?;
    let walls = walls.close(&config);
    let (_lock, ground) = site.possess(&config, &mut manager)?;

    let journal = start_journal(&config)?;
    let service = Service::start()
        .map_err(|error| os_error(format!("cannot start the service thread: {error}")))?;
    let desk = Desk::start(&service, &config, journal.handle())
        .map_err(|error| refused(format!("the resolver cannot be set up: {error}"), EX_CONFIG))?;
    let (suppressions, _suppressing) = mailing::keep_suppressions(&config, &journal)?;
    let current = Current {
        shown: Arc::new(ArcSwap::new(Arc::clone(&config))),
        rules,
        directory: Directory::new(seats.len()),
        log: journal.handle(),
        reports: desk.reports.clone(),
        events: desk.events.clone(),
        hooks,
        seen,
        suppressions,
    };
    current.begin_reports();
    let ((words, told), (end, ended)) = (mpsc::channel(), mpsc::channel());
    let bound = ground.sockets.bound.clone();
    let running = start_shards(&current, &journal, &mut manager, end, |make| {
        start::start(&seats, ground.sockets, &desk, &config.runtime, make)
    })?;
    let control_at = ground.control.as_ref().map(|(_, at)| *at);
    let close_control = open_control(&service, ground.control, token, &current, &words)?;
    current.log.shards(&seats);
    announce(&current, &bound, control_at, made.as_deref());
    walls.tell(&current);
    manager.ready(seats.len());
    let (desks, heir) = handover::desks(&words);
    ground.succession.begin(&manager, desks, journal.handle())?;
    let pickup = pick_up(&current, &bound)?;
    let watcher = watch(ended, running, signals.handle(), words.clone())?;
    words::forward(signals, words)?;
    let steward = Steward {
        current,
        manager,
        pickup,
        close_control,
        leaving: None,
    };
    keeper.keep(move || steward.obey(&told, path.as_deref()));
    let ended = await_end(watcher);
    desk.events.finish();
    handover::close(&config.data_dir);
    // The service thread and the log's thread end after the shards, when they are dropped.
    ended.map(|()| heir.try_recv().ok())
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
    let users = Users::read(&config.users_file()).map_err(unreadable(EX_CONFIG))?;
    let signers = signers(&config).map_err(unreadable(EX_CONFIG))?;
    let issuer = issuer(&config).map_err(unreadable(EX_CONFIG))?;
    let credentials = credentials(&config).map_err(unreadable(EX_CONFIG))?;
    let bounces = config.bounces.read().map_err(unreadable(EX_CONFIG))?;
    let returns = config.return_keys().map_err(unreadable(EX_CONFIG))?;
    let rules = Rules {
        config: Arc::new(config),
        tls,
        signers: Arc::new(signers),
        users: Arc::new(users),
        issuer,
        credentials: Arc::new(credentials),
        bounces: Arc::new(bounces),
        returns: returns.map(Arc::new),
    };
    Ok((rules, made))
}

fn start_journal(config: &Config) -> Result<Journal, Refused> {
    let journal = Journal::start(config.log.format, config.log.level)
        .map_err(|error| os_error(format!("cannot start the log's thread: {error}")))?;
    tell_of_panics(&journal);
    Ok(journal)
}

/// How the shards have ended.
fn await_end(watcher: JoinHandle<Result<(), Refused>>) -> Result<(), Refused> {
    let died = |_| Err(refused("the watching thread died".to_owned(), EX_SOFTWARE));
    watcher.join().unwrap_or_else(died)
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
    let shown = Arc::clone(&current.shown);
    let hello = move || shown.load().hostname();
    Pickup::start(directory, relay, hello, current.log.clone())
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
    let (meters, warmups) = (Meters::default(), Warmups::default());
    let make = |number| Main {
        ended: Ended(end.clone()),
        start: Start {
            rules: current.rules.clone(),
            directory: current.directory.clone(),
            number,
            visitors: visitors.clone(),
            suspects: suspects.clone(),
            suppressions: current.suppressions.clone(),
            meters: meters.clone(),
            warmups: warmups.clone(),
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

/// Tells of the first shard's end, and waits for all of them.
fn watch(
    ended: mpsc::Receiver<()>,
    running: Vec<Running>,
    signals: Handle,
    words: mpsc::Sender<Word>,
) -> Result<JoinHandle<Result<(), Refused>>, Refused> {
    let watching = move || {
        // An error is the end of all of them.
        let _ = ended.recv();
        let _ = words.send(Word::ShardEnded);
        let result = join(running);
        signals.close();
        let _ = words.send(Word::Over);
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

/// Puts a letter into every inbox. A full one belongs to a busy shard, which empties it soon; false where
/// one never did.
fn tell_all(directory: &Directory, letter: impl Fn() -> Letter) -> bool {
    let tell = |shard| {
        (0..TELL_TRIES).any(|_| {
            let posted = directory.post(shard, letter()).is_ok();
            if !posted {
                std::thread::park_timeout(TELL_PAUSE);
            }
            posted
        })
    };
    (0..directory.shards())
        .filter(|shard| !tell(*shard))
        .count()
        == 0
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
            let (reply, answer) = oneshot::channel();
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
        let (reply, answer) = oneshot::channel();
        let posted = self.directory.post(shard, Letter::Ask(ask, reply));
        Box::pin(async move {
            posted.ok()?;
            control::collect([answer], patience).await.pop()
        })
    }
}

fn open_control(
    service: &Service,
    control: Option<(TcpListener, SocketAddr)>,
    token: Option<String>,
    current: &Current,
    words: &mpsc::Sender<Word>,
) -> Result<Option<oneshot::Sender<()>>, Refused> {
    let Some((listener, _)) = control else {
        return Ok(None);
    };
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
    let (draining, reloading) = (words.clone(), words.clone());
    let means = Means {
        shards,
        token,
        audit: Some(audit),
        events: current.events.sums(),
        data_dir: Some(current.rules.config.data_dir.clone()),
        config: Arc::clone(&current.shown),
        suppressions: current.suppressions.clone(),
        house: House {
            check: words::checks(words.clone()),
            drain: Arc::new(move |within| drop(draining.send(Word::Drain(within)))),
            reload: Arc::new(move || {
                let (answer, reloaded) = oneshot::channel();
                // A relay that is gone answers by dropping it.
                let _ = reloading.send(Word::Reload(Some(answer)));
                reloaded
            }),
        },
    };
    // Else it ends with the service thread.
    let (close, closed) = oneshot::channel();
    let serving = control::serve(listener, means, async move {
        if closed.await.is_err() {
            std::future::pending().await
        }
    });
    service.handle().spawn(serving);
    Ok(Some(close))
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
