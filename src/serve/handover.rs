//! From one process to the next without a refused connection: the next one is given the listening
//! sockets, says when it has everything else, and opens the spool once this one has let go of it.
//!
//! ```text
//! next ─► "sockets": the old one sends descriptors ─► next reads its configuration, is ready to begin
//! next ─► "end": the old one ends its transactions, syncs, lets go of the lock ─► next locks, recovers, accepts
//!         meanwhile connections wait in the kernel, in the sockets that both have
//! next ─► "ready": the old one, which has waited for that without anything, is gone
//!         "" (it was killed): the old one begins anew, or ends with 75 where its walls do not let it
//! ```
//!
//! They talk over a socket in the data directory, whose name has the process's number: only the relay's own
//! user, and root, can reach it.

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::site::LOCK;
use super::words::Word;
use super::{EX_TEMPFAIL, os_error, refused};
use crate::observe::log::{Level, Log};
use crate::uring::given::Given;
use crate::uring::start::Refused;

/// What the old one says of the sockets that come with it.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// For a listener, by the address of the configuration.
    Listening { asked: SocketAddr },
    /// For the control plane.
    Control { asked: SocketAddr },
    /// That was all; after how long it gives up on transactions at the latest.
    All { drain: Duration },
}

/// What a running relay would hand over.
pub(super) struct Estate {
    pub(super) listening: Vec<(SocketAddr, Socket)>,
    pub(super) control: Option<(SocketAddr, Socket)>,
    pub(super) drain: Duration,
}

/// Who hears that it is over, and who it is over for.
pub(super) type Desks = (mpsc::Sender<Word>, mpsc::Sender<Heir>);

/// The same, and where the latter is heard of.
pub(super) fn desks(words: &mpsc::Sender<Word>) -> (Desks, mpsc::Receiver<Heir>) {
    let (heirs, heir) = mpsc::channel();
    ((words.clone(), heirs), heir)
}

/// Where the next process can ask.
pub(super) struct Point {
    socket: OwnedFd,
    path: PathBuf,
    /// How long whoever asks may be silent before it says to end.
    patience: Duration,
}

impl Point {
    /// To be made while the process may still make a socket there.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let name = own_name();
        let path = data.join(&name);
        let _ = std::fs::remove_file(&path);
        let socket = seqpacket()?;
        let home = File::open(data)?;
        rustix::net::bind(&socket, &address(&home, &name)?)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, 1)?;
        Ok(Self {
            socket,
            path,
            patience: START_WAIT,
        })
    }

    /// Answers whoever asks, by a thread that lasts as long as the process.
    pub(super) fn attend(self, estate: Estate, (words, heirs): Desks, log: Log) -> io::Result<()> {
        let lock = self.path.with_file_name(LOCK);
        let attending = move || {
            while let Ok(caller) = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
                match answer(&caller, &estate, self.patience) {
                    Ok(true) => {
                        // Open until the process ends: the next one sees by it that this one is there.
                        let _ = heirs.send(Heir { caller, lock });
                        let _ = words.send(Word::HandOver);
                        let _ = std::fs::remove_file(&self.path);
                        return;
                    }
                    // It asked, and did not go on.
                    Ok(false) => {}
                    Err(error) => log.say(
                        Level::Warn,
                        format_args!("nothing was handed over to another process: {error}"),
                    ),
                }
                log.flush();
            }
        };
        let thread = std::thread::Builder::new().name("handover".into());
        thread.spawn(attending).map(drop)
    }
}

/// Hands out what there is; true when the caller wants this process to end. One that hangs gives way: the
/// next one waits behind it.
fn answer(caller: &OwnedFd, estate: &Estate, patience: Duration) -> io::Result<bool> {
    // A connection has none of what its listening socket was told.
    sockopt::set_socket_timeout(caller, sockopt::Timeout::Recv, Some(patience))?;
    sockopt::set_socket_timeout(caller, sockopt::Timeout::Send, Some(PATIENCE))?;
    let who = sockopt::socket_peercred(caller)?;
    if !who.uid.is_root() && who.uid != geteuid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if hear(caller)?.0 != SOCKETS {
        return Ok(false);
    }
    for (asked, socket) in &estate.listening {
        say(caller, &Told::Listening { asked: *asked }, Some(socket))?;
    }
    if let Some((asked, socket)) = &estate.control {
        say(caller, &Told::Control { asked: *asked }, Some(socket))?;
    }
    say(
        caller,
        &Told::All {
            drain: estate.drain,
        },
        None,
    )?;
    Ok(hear(caller)?.0 == END)
}

/// Whoever this relay has ended for.
pub(super) struct Heir {
    caller: OwnedFd,
    lock: PathBuf,
}

impl Heir {
    /// Waits until it serves; false where it never will: it is gone, and nobody else has the data directory.
    /// For whoever has nothing of a relay any more. Told to end meanwhile, it need not know.
    pub(super) fn serves(self, is_told: &AtomicBool) -> bool {
        let until = Instant::now() + HEIR_WAIT;
        // Without it only a signal ends the wait, or the next one's end.
        let _ = sockopt::set_socket_timeout(&self.caller, sockopt::Timeout::Recv, Some(HEIR_LOOK));
        loop {
            if is_told.load(Ordering::Acquire) {
                return true;
            }
            match hear(&self.caller) {
                Ok((words, _)) if words.is_empty() => break,
                Ok(_) => return true,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    // It takes long, and is there.
                    if Instant::now() >= until {
                        return true;
                    }
                }
                Err(_) => break,
            }
        }
        // One of an older version says nothing, and goes on with the lock; so may a third one.
        let Ok(lock) = File::open(&self.lock) else {
            return true;
        };
        let until = Instant::now() + DEATH_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => return is_told.load(Ordering::Acquire),
                Err(_) if Instant::now() >= until => return true,
                Err(_) => std::thread::park_timeout(LOCK_LOOK),
            }
        }
    }
}

/// Runs this program anew in its own place, as it was called. Behind its walls it cannot: then its exit code
/// has whoever watches over it do so.
pub(super) fn serve_again() -> ExitCode {
    eprintln!("ringpost: the relay that took over is gone: this one begins anew");
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "ringpost".into());
    // What runs, which may have been replaced since.
    let mut again = Command::new("/proc/self/exe");
    let error = again.arg0(name).args(arguments).exec();
    eprintln!("ringpost: it cannot ({error}), and ends: start it again");
    ExitCode::from(EX_TEMPFAIL)
}

/// The relay that runs on a data directory, asked to hand over.
pub(super) struct Predecessor {
    socket: OwnedFd,
    drain: Duration,
}

/// What it has handed over.
pub(super) struct Legacy {
    pub(super) predecessor: Predecessor,
    pub(super) given: Given,
    pub(super) control: Option<(SocketAddr, Socket)>,
}

/// Asks the relay that has `data` locked for its sockets. It goes on until [`Predecessor::ends`].
pub(super) fn ask(data: &Path) -> Result<Legacy, Refused> {
    let socket = call(data).map_err(|error| {
        let why = format!(
            "the relay that runs on {} cannot be taken over from: {error}; stop it and start this one",
            data.display()
        );
        refused(why, EX_TEMPFAIL)
    })?;
    let broken = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::WouldBlock => {
                "it does not answer; perhaps another process takes over from it".to_owned()
            }
            _ => error.to_string(),
        };
        let why = format!("the relay that runs did not hand over: {why}");
        refused(why, EX_TEMPFAIL)
    };
    receive(socket).map_err(broken)
}

fn receive(socket: OwnedFd) -> io::Result<Legacy> {
    send(&socket, SOCKETS, None)?;
    let (mut given, mut control) = (Given::default(), None);
    loop {
        let (words, descriptor) = hear(&socket)?;
        let told = serde_json::from_slice(&words).map_err(io::Error::other)?;
        match (told, descriptor) {
            (Told::Listening { asked }, Some(socket)) => given.add(asked, socket.into(), true),
            (Told::Control { asked }, Some(socket)) => control = Some((asked, socket.into())),
            (Told::All { drain }, None) => {
                return Ok(Legacy {
                    predecessor: Predecessor { socket, drain },
                    given,
                    control,
                });
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Predecessor {
    /// Lets it go: this one serves.
    pub(super) fn tell_ready(self) {
        // It may be gone, or of a version that waits for nothing.
        let _ = send(&self.socket, READY, None);
    }

    /// Has it end, and waits until `lock` is ours. Whoever was killed meanwhile has let go of it too.
    pub(super) fn ends(&self, lock: &File) -> Result<(), Refused> {
        let told = send(&self.socket, END, None);
        let wait = match told {
            Ok(()) => self.drain + LAST_SYNC,
            Err(_) => DEATH_WAIT,
        };
        let until = Instant::now() + wait;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::park_timeout(LOCK_LOOK);
                }
                Err(TryLockError::WouldBlock) => {
                    let why = match told {
                        Ok(()) => "the relay that runs does not let go of the spool".to_owned(),
                        Err(error) => format!("the relay that runs has hung up: {error}"),
                    };
                    return Err(refused(why, EX_TEMPFAIL));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(os_error(format!("the spool cannot be locked: {error}")));
                }
            }
        }
    }
}

/// Takes away what processes have left that were killed. For whoever has the lock.
pub(super) fn tidy(data: &Path) {
    let own = data.join(own_name());
    for point in points(data).filter(|point| *point != own) {
        let _ = std::fs::remove_file(point);
    }
}

/// The end of this process: nobody can ask any more.
pub(super) fn close(data: &Path) {
    let _ = std::fs::remove_file(data.join(own_name()));
}

fn own_name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

fn points(data: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(PREFIX)
    })
}

/// Connects to the one that answers; a process that was killed left one that does not.
fn call(data: &Path) -> io::Result<OwnedFd> {
    let home = File::open(data)?;
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for point in points(data) {
        let name = point.file_name().unwrap_or_default().to_string_lossy();
        let socket = seqpacket()?;
        // One that is itself still at its start answers when it has come to its end, and one that waits for
        // another caller when that one's time is over.
        let wait = START_WAIT + PATIENCE;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(wait))?;
        match rustix::net::connect(&socket, &address(&home, &name)?) {
            Ok(()) => return Ok(socket),
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    Ok(socket)
}

/// By way of the directory's descriptor: an address has room for a hundred octets, a path may have more.
fn address(home: &File, name: &str) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", home.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

fn say(to: &OwnedFd, told: &Told, socket: Option<&Socket>) -> io::Result<()> {
    let words = serde_json::to_vec(told).map_err(io::Error::other)?;
    send(to, &words, socket)
}

fn send(to: &OwnedFd, words: &[u8], socket: Option<&Socket>) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    let descriptors = socket.map(|socket| [socket.as_fd()]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    rustix::net::sendmsg(
        to,
        &[IoSlice::new(words)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// One message, with the descriptor that came with it. Nothing is the end.
fn hear(from: &OwnedFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut words = vec![0; MESSAGE_MAX];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let parts = &mut [IoSliceMut::new(&mut words)];
    let got = rustix::net::recvmsg(from, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let descriptors = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    words.truncate(got.bytes);
    Ok((words, descriptors))
}

const PREFIX: &str = "handover.";
const SOCKETS: &[u8] = b"sockets";
const END: &[u8] = b"end";
const READY: &[u8] = b"ready";
/// An address and some words.
const MESSAGE_MAX: usize = 1024;
/// Whoever takes nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the one that is asked may take to answer, and the one that asks to be ready.
const START_WAIT: Duration = Duration::from_secs(30);
/// What the old one has after its last transaction, until it is gone.
const LAST_SYNC: Duration = Duration::from_secs(30);
/// What the kernel takes to close what a killed process had open.
const DEATH_WAIT: Duration = Duration::from_secs(1);
const LOCK_LOOK: Duration = Duration::from_millis(2);
/// How long the next one may read the spool, until it is taken for one that hangs and has it all the same.
const HEIR_WAIT: Duration = Duration::from_secs(600);
/// How long a signal that came just before the wait may go unseen.
const HEIR_LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::observe::log::{Format, Journal};

    /// How long the old one takes to its end.
    const ITS_END: Duration = Duration::from_millis(100);

    fn estate() -> (SocketAddr, Estate) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let estate = Estate {
            listening: vec![(at, listener.into())],
            control: None,
            drain: Duration::from_secs(3),
        };
        (at, estate)
    }

    #[test]
    fn the_next_process_gets_the_sockets_and_says_when_the_old_one_ends() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::start(Format::Text, Level::Error).unwrap();
        let (words, told) = mpsc::channel();
        let (at, estate) = estate();
        // One that was killed.
        std::fs::write(data.path().join("handover.1"), "").unwrap();
        let point = Point::open(data.path()).unwrap();
        tidy(data.path());
        assert_eq!(points(data.path()).count(), 1, "its own stays");
        let (heirs, heir) = mpsc::channel();
        let words = (words, heirs);
        point.attend(estate, words, journal.handle()).unwrap();

        let first = ask(data.path()).unwrap();
        drop(first);
        assert!(told.try_recv().is_err(), "who only asks changes nothing");

        let mut legacy = ask(data.path()).unwrap();
        let sockets = legacy.given.take(at).unwrap();
        let _client = TcpStream::connect(at).unwrap();
        let lock = File::create(data.path().join("lock")).unwrap();
        legacy.predecessor.ends(&lock).unwrap();
        let word = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(word, Word::HandOver));
        assert!(sockets[0].accept().is_ok(), "who waited is there");
        let heir = heir.try_recv().unwrap();
        legacy.predecessor.tell_ready();
        assert!(heir.serves(&AtomicBool::default()));
    }

    #[test]
    fn one_that_hangs_while_it_takes_over_keeps_nobody_else_from_it() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::start(Format::Text, Level::Error).unwrap();
        let (words, _told) = mpsc::channel();
        let point = Point {
            patience: ITS_END,
            ..Point::open(data.path()).unwrap()
        };
        let words = (words, mpsc::channel().0);
        point.attend(estate().1, words, journal.handle()).unwrap();
        let _asks_nothing = call(data.path()).unwrap();
        let _never_says_to_end = ask(data.path()).unwrap();
        assert!(ask(data.path()).is_ok());
    }

    #[test]
    fn whoever_was_killed_meanwhile_has_let_go() {
        let data = tempfile::tempdir().unwrap();
        let (ours, theirs) = pair();
        drop(theirs);
        let lock = File::create(data.path().join("lock")).unwrap();
        let predecessor = Predecessor {
            socket: ours,
            drain: Duration::ZERO,
        };
        predecessor.ends(&lock).unwrap();
        let other = File::open(data.path().join("lock")).unwrap();
        assert!(predecessor.ends(&other).is_err(), "it only hung up");
    }

    #[test]
    fn one_that_was_killed_behind_its_last_word_does_not_serve_unless_another_has_the_lock() {
        let data = tempfile::tempdir().unwrap();
        let lock = data.path().join(LOCK);
        let held = File::create(&lock).unwrap();
        let heir = || {
            let (ours, theirs) = pair();
            drop(theirs);
            let lock = lock.clone();
            Heir { caller: ours, lock }
        };
        assert!(!heir().serves(&AtomicBool::default()));
        held.lock().unwrap();
        let is_told = AtomicBool::default();
        assert!(heir().serves(&is_told), "an older one, which says nothing");
        drop(held);
        is_told.store(true, Ordering::Release);
        assert!(heir().serves(&is_told), "nobody is wanted");
        assert!(!heir().serves(&AtomicBool::default()));
    }

    /// Of another version, or of nobody's.
    #[test]
    fn whoever_says_something_else_changes_nothing() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::start(Format::Text, Level::Error).unwrap();
        let (words, told) = mpsc::channel();
        let point = Point::open(data.path()).unwrap();
        let words = (words, mpsc::channel().0);
        point.attend(estate().1, words, journal.handle()).unwrap();
        let long = vec![b'e'; 4000];
        for first in [
            &b""[..],
            b"sock",
            b"sockets 2",
            b"SOCKETS",
            b"end",
            b"ready",
            &long,
        ] {
            let caller = call(data.path()).unwrap();
            send(&caller, first, None).unwrap();
            assert!(
                hear(&caller).is_ok_and(|(words, _)| words.is_empty()),
                "hung up"
            );
        }
        for second in [&b""[..], b"sockets", b"en", b"ending", b"ready", &long] {
            let legacy = ask(data.path()).unwrap();
            send(&legacy.predecessor.socket, second, None).unwrap();
            assert!(hear(&legacy.predecessor.socket).is_ok_and(|(words, _)| words.is_empty()));
        }
        assert!(told.try_recv().is_err(), "it serves on");
        assert!(ask(data.path()).is_ok());
    }

    #[test]
    fn what_a_newer_or_a_broken_one_says_is_understood_or_refused() {
        let said = |words: &[&[u8]], with: bool| {
            let (ours, theirs) = pair();
            let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
            for words in words {
                send(&theirs, words, with.then_some(&listener)).unwrap();
            }
            rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).unwrap();
            receive(ours).map(|legacy| legacy.predecessor.drain)
        };
        let all = br#"{"All":{"drain":{"secs":3,"nanos":0},"since":"a newer one"}}"#;
        assert_eq!(said(&[all], false).ok(), Some(Duration::from_secs(3)));
        let listening = br#"{"Listening":{"asked":"127.0.0.1:25"}}"#;
        for (words, with) in [
            (&[&b"{"[..]][..], false),
            (&[br#"{"All":{"#], false),
            (&[br#"{"Mailboxes":{}}"#], false),
            (&[listening], false),
            (&[all], true),
            (&[listening, listening], true),
            (&[&[b'x'; 3000]], false),
            (&[], false),
        ] {
            assert!(said(words, with).is_err(), "{words:?}");
        }
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_spool_that_is_not_let_go_of_is_not_opened() {
        let data = tempfile::tempdir().unwrap();
        let (ours, _theirs) = pair();
        let held = File::create(data.path().join("lock")).unwrap();
        held.lock().unwrap();
        let lock = File::open(data.path().join("lock")).unwrap();
        let predecessor = Predecessor {
            socket: ours,
            drain: Duration::ZERO,
        };
        let began = Instant::now();
        let ending = std::thread::spawn(move || {
            std::thread::park_timeout(ITS_END);
            held.unlock().unwrap();
        });
        predecessor.ends(&lock).unwrap();
        assert!(began.elapsed() >= ITS_END / 2, "it waited");
        ending.join().unwrap();
    }

    #[test]
    fn nobody_to_take_over_from_is_said() {
        let data = tempfile::tempdir().unwrap();
        let refused = ask(data.path()).err().expect("nobody is there");
        assert_eq!(refused.exit_code, EX_TEMPFAIL);
    }
}
