//! The seam between Ringpost and everything outside it: clock, timers, network, disk, names.
//!
//! `uring` is the real world (glommio), `sim` a seeded one in memory. The code in `shard` and
//! `spool` is generic over [`World`] and cannot tell which of them it lives in.
//!
//! Every handle belongs to one shard and stays on its core: nothing here is `Send`.

use std::any::Any;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::dkim::{Fault, Signed, Signers};
use crate::mail::tlsrpt::Session;
use crate::route::dns::{Question, Response};
use crate::route::sts::Found;
pub use crate::time::{Tick, Wall};
use crate::verify::{Findings, Inquiry};

/// Which share of the core a task gets (glommio task queues; the shares stand in `uring`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Sessions of clients that hand us mail.
    Inbound,
    /// The spool's writer: everybody waits for it.
    Commit,
    /// Deliveries.
    Outbound,
    /// Sessions of users who fetch their mail.
    Retrieve,
    /// What nobody waits for: compaction, expiry, reports.
    Chores,
}

impl Class {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Commit => "commit",
            Self::Outbound => "outbound",
            Self::Retrieve => "retrieve",
            Self::Chores => "chores",
        }
    }
}

/// Where a shard is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The CPU.
    pub cpu: usize,
    /// Its NUMA node, on a machine that has several.
    pub node: Option<usize>,
}

/// What a shard's thread has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Where it is pinned; `None` leaves the place to the kernel.
    pub seat: Option<Seat>,
    /// How long it had work. Waiting for the core counts, polling of an idle shard (`spin`) does not.
    pub busy: Duration,
    /// How long it had a core, polling included. What the kernel's workers do for it is not in it.
    pub on_cpu: Duration,
    /// How often it slept and was woken.
    pub wakeups: u64,
    /// How often its core was taken from it while it had work.
    pub preemptions: u64,
    /// How often a task of it ran.
    pub turns: u64,
}

/// A stream on its way from one shard to another of the same world, which alone can open it. Lost on
/// the way, it is closed.
pub struct Parcel(Box<dyn Any + Send>);

impl Parcel {
    /// Wraps what a world makes of its stream.
    pub fn new(inside: impl Any + Send) -> Self {
        Self(Box::new(inside))
    }

    /// What was wrapped; an error where it was something else.
    pub fn open<T: Any>(self) -> io::Result<T> {
        let inside = self.0.downcast();
        let inside = inside.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(*inside)
    }
}

/// How web servers are spoken to.
#[derive(Clone)]
pub struct Web {
    /// With which authorities they are verified.
    pub config: Arc<ClientConfig>,
    /// 443, but for laboratories.
    pub port: u16,
}

/// The world as one shard sees it.
pub trait World: Clone + 'static {
    /// A connected byte stream.
    type Stream: Stream;
    /// A bound, listening socket.
    type Listener: Listener<Stream = Self::Stream>;
    /// An open file.
    type File: File;

    /// The monotonic clock.
    fn now(&self) -> Tick;
    /// The calendar.
    fn wall(&self) -> Wall;
    /// What this shard's thread has done.
    fn load(&self) -> Load;
    /// Sixty-four random bits. Not for secrets.
    fn random(&self) -> u64;
    /// Runs `task` beside the caller on this shard. A panic in it ends that task alone.
    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static);
    /// A panic was caught that would have ended a task; what it said.
    fn note_panic(&self, said: &(dyn Any + Send));
    /// Panics that were caught on this shard, those that ended a task and those that did not.
    fn panics(&self) -> u64;
    /// Waits until `until`.
    fn sleep(&self, until: Tick) -> impl Future<Output = ()>;
    /// Gives the other tasks of the shard a turn if this one has run for long.
    fn breathe(&self) -> impl Future<Output = ()>;

    /// Opens a listening socket.
    fn listen(&self, at: SocketAddr) -> io::Result<Self::Listener>;
    /// Sockets beside that one, where a process with more shards has left them: clients wait there too.
    fn listen_beside(&self, _at: SocketAddr) -> io::Result<Vec<Self::Listener>> {
        Ok(Vec::new())
    }
    /// Connects to `to`, from `source` where one is given. `TimedOut` at the deadline.
    fn dial(
        &self,
        source: Option<IpAddr>,
        to: SocketAddr,
        deadline: Tick,
    ) -> impl Future<Output = io::Result<Self::Stream>>;
    /// Takes a stream from its shard, so that another can have it. Nothing may be waiting on it.
    fn pack(&self, stream: Self::Stream) -> io::Result<Parcel>;
    /// The stream that another shard has packed.
    fn unpack(&self, parcel: Parcel) -> io::Result<Self::Stream>;
    /// Asks the DNS. Always ends: a resolver that does not answer is `Answer::Failure`.
    fn lookup(&self, question: Question) -> impl Future<Output = Response>;

    /// The MTA-STS policy of a domain; its server is spoken to like this. It may take a quarter of
    /// a minute.
    fn policy(&self, domain: Box<str>, web: Web) -> impl Future<Output = Found>;

    /// Counts what came of TLS with a host. It waits for nobody.
    fn tell_tls(&self, session: Session);

    /// Compares a password with its hash. It takes long, and holds nobody up; `None` when too many
    /// wait for it.
    fn check_password(&self, password: Vec<u8>, hash: String)
    -> impl Future<Output = Option<bool>>;

    /// Makes the signature fields for content in wire form. It takes long, and holds nobody up.
    fn sign(
        &self,
        signers: Arc<Signers>,
        wire: Vec<u8>,
    ) -> impl Future<Output = Result<Signed, Fault>>;

    /// Finds out who a message is from. It takes long, holds nobody up, and ends when it should.
    fn verify(&self, inquiry: Inquiry) -> impl Future<Output = Findings>;

    /// Opens a file for reading and writing; `create` makes it where it is not (mode 0600).
    fn open(&self, path: &Path, create: bool) -> impl Future<Output = io::Result<Self::File>>;
    /// Opens a file that is only read: where the system has it in memory, that and reading cost little.
    fn open_to_read(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>>;
    /// Names of the files, links and directories in a directory, sorted. `NotFound` when there is
    /// none.
    fn list(&self, directory: &Path) -> impl Future<Output = io::Result<Vec<PathBuf>>>;
    /// Names of the regular files in a directory, sorted: no directories, links or pipes. For places
    /// where others put things.
    fn files(&self, directory: &Path) -> impl Future<Output = io::Result<Vec<PathBuf>>>;
    /// Names of the directories in a directory, sorted: no files, and no links to any.
    fn directories(&self, directory: &Path) -> impl Future<Output = io::Result<Vec<PathBuf>>>;
    /// Makes a directory and its parents (mode 0700), all of it durable on return.
    fn make_directory(&self, directory: &Path) -> impl Future<Output = io::Result<()>>;
    /// Renames a file or a directory where it is. Durable only after [`World::sync_directory`].
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// Removes a file or an empty directory. Durable only after [`World::sync_directory`].
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>>;
    /// Makes creations, renames and removals in a directory durable (fsync of the directory).
    fn sync_directory(&self, directory: &Path) -> impl Future<Output = io::Result<()>>;
    /// Gives a file a second name, which must be free (`AlreadyExists`).
    fn link(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;
    /// When the content of a file, or the names in a directory, changed last: nanoseconds since
    /// 1970-01-01 UTC.
    fn modified(&self, path: &Path) -> impl Future<Output = io::Result<i64>>;
    /// Says that the content of a file is of the moment `seconds`.
    fn set_modified(&self, path: &Path, seconds: i64) -> impl Future<Output = io::Result<()>>;
}

/// Runs what must not end before its shard does: after a panic, anew.
pub async fn survive<W: World, T: Future<Output = ()>>(world: &W, begin: impl Fn() -> T) {
    let mut rests = false;
    loop {
        let run = AssertUnwindSafe(async {
            if rests {
                // Whatever it is that makes it panic may still be there.
                world.sleep(world.now() + PANIC_PAUSE).await;
            }
            begin().await;
        });
        let Err(said) = run.catch_unwind().await else {
            return;
        };
        world.note_panic(&*said);
        rests = true;
    }
}

/// A small file, `most` octets of it at most.
pub async fn read_small<W: World>(world: &W, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = world.open_to_read(path).await?;
    let len = usize::try_from(file.len().await?).unwrap_or(usize::MAX);
    file.read_at(0, len.min(most)).await
}

/// Replaces a small file, for good: whoever reads it sees the old one or the new one, after a crash too.
pub async fn replace<W: World>(world: &W, path: &Path, octets: Vec<u8>) -> io::Result<()> {
    let draft = draft(path);
    let file = world.open(&draft, true).await?;
    file.set_len(0).await?;
    file.write_at(octets, 0).await?;
    file.sync().await?;
    world.rename(&draft, path).await?;
    let home = path.parent().unwrap_or(Path::new("."));
    world.sync_directory(home).await
}

/// Where [`replace`] writes, and what a crash may leave.
#[must_use]
pub fn draft(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    draft.into()
}

/// How long what has panicked rests before it begins anew.
pub const PANIC_PAUSE: Duration = Duration::from_millis(200);

/// A listening socket. Accepting is never cancelled; [`Listener::close`] ends it.
pub trait Listener: 'static {
    /// What it accepts.
    type Stream: Stream;
    /// The next connection. An error after [`Listener::close`], or when descriptors run out.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>>;
    /// No further connection: a waiting [`Listener::accept`] returns an error.
    fn close(&self);
    /// The same for us alone: who connects from now on waits for the process that has the socket too.
    fn leave(&self);
    /// Where it listens (the port that was chosen when 0 was asked for).
    fn local(&self) -> SocketAddr;
}

/// A connected byte stream. Reads and writes end at their deadline with `TimedOut`.
pub trait Stream: 'static {
    /// Waits until there is something to be read: octets, the end or an error. It may come back
    /// sooner; [`Stream::read`] waits all the same. For those who want no buffer while they wait.
    fn readable(&mut self, deadline: Tick) -> impl Future<Output = io::Result<()>>;
    /// Reads what is there into `into`, waiting for at least one octet; 0 at the end.
    fn read(&mut self, into: &mut [u8], deadline: Tick) -> impl Future<Output = io::Result<usize>>;
    /// Writes all of `parts`, in one system call where the kernel takes them all.
    fn write(
        &mut self,
        parts: &mut [IoSlice<'_>],
        deadline: Tick,
    ) -> impl Future<Output = io::Result<()>>;
    /// Writes all of `octets` and ends both directions; the end travels with the last octets where
    /// the network can do that.
    fn write_last(
        &mut self,
        octets: &[u8],
        deadline: Tick,
    ) -> impl Future<Output = io::Result<()>> {
        async move {
            let written = self.write(&mut [IoSlice::new(octets)], deadline).await;
            self.shutdown();
            written
        }
    }
    /// True when the peer has closed or sent something unasked, without waiting or consuming:
    /// a kept connection like that must not be used again.
    fn is_stale(&mut self) -> bool;
    /// The other end.
    fn peer(&self) -> SocketAddr;
    /// Our end.
    fn local(&self) -> SocketAddr;
    /// Ends both directions. Dropping the stream does it too.
    fn shutdown(&mut self);
}

/// An open file. Positions are the caller's; there is no cursor. Shared by `Rc` where several
/// tasks read it.
#[allow(
    clippy::len_without_is_empty,
    reason = "asked of the disk, and nobody asks for emptiness"
)]
pub trait File: 'static {
    /// Reads `len` octets at `position`; shorter only at the end of the file.
    fn read_at(&self, position: u64, len: usize) -> impl Future<Output = io::Result<Vec<u8>>>;
    /// Writes all of `octets` at `position`. On an error some may have been written.
    fn write_at(&self, octets: Vec<u8>, position: u64) -> impl Future<Output = io::Result<()>>;
    /// fdatasync: returns when everything written before is on stable storage. After an error
    /// the file's unsynced pages are lost for good and must not be synced again.
    fn sync(&self) -> impl Future<Output = io::Result<()>>;
    /// [`File::write_at`] and [`File::sync`] at once, for these octets only: what others wrote
    /// before may stay unsynced. After an error the same holds as after one of either.
    fn write_durably(
        &self,
        octets: Vec<u8>,
        position: u64,
    ) -> impl Future<Output = io::Result<()>> {
        async move {
            self.write_at(octets, position).await?;
            self.sync().await
        }
    }
    /// Octets in the file.
    fn len(&self) -> impl Future<Output = io::Result<u64>>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> impl Future<Output = io::Result<()>>;
}
