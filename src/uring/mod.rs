//! The real [`World`]: glommio on io_uring, one executor per shard.
//!
//! Everything that knows glommio is in this folder, so that leaving it is a change in one place.
//! Its traps, and the rule that answers each, stand beside the code they concern.

pub mod cores;
mod disk;
pub mod given;
mod load;
mod net;
mod slice;
pub mod start;
#[cfg(feature = "sim")]
mod tempted;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use glommio::nop::NopSubmitter;
use glommio::{Latency, Shares, TaskQueueHandle};

use crate::dkim::{Fault, Signed, Signers};
use crate::mail::tlsrpt::Session;
use crate::route::dns::{Question, Response};
use crate::route::sts::Found;
use crate::service::Desk;
use crate::verify::{Findings, Inquiry};
use crate::world::{Class, Load, Parcel, Seat, Tick, Wall, Web, World};

use load::Meter;

pub use disk::UringFile;
pub use net::{UringListener, UringStream};

/// The world of one shard. Lives on its core; cloning shares it.
#[derive(Clone)]
pub struct Uring {
    inner: Rc<Inner>,
}

struct Inner {
    queues: Queues,
    desk: Desk,
    /// Sockets bound before the shards started, by the address asked for.
    sockets: RefCell<HashMap<SocketAddr, Vec<socket2::Socket>>>,
    meter: Meter,
    random: Cell<u64>,
    panics: Cell<u64>,
}

/// One glommio task queue per [`Class`].
struct Queues {
    inbound: TaskQueueHandle,
    commit: TaskQueueHandle,
    outbound: TaskQueueHandle,
    retrieve: TaskQueueHandle,
    chores: TaskQueueHandle,
}

impl Uring {
    /// The world of the executor that runs the caller. `sockets` are this shard's share of the
    /// listening sockets, `seat` is where it is pinned.
    fn new(
        desk: Desk,
        sockets: HashMap<SocketAddr, Vec<socket2::Socket>>,
        seat: Option<Seat>,
    ) -> Self {
        let queue = |name, shares| {
            // Latency::Matters would force an eventfd write for every wake from another thread.
            glommio::executor().create_task_queue(
                Shares::Static(shares),
                Latency::NotImportant,
                name,
            )
        };
        let queues = Queues {
            inbound: queue("inbound", INBOUND_SHARES),
            commit: queue("commit", COMMIT_SHARES),
            outbound: queue("outbound", OUTBOUND_SHARES),
            retrieve: queue("retrieve", RETRIEVE_SHARES),
            chores: queue("chores", CHORES_SHARES),
        };
        let random = Cell::new(seed());
        let sockets = RefCell::new(sockets);
        Self {
            inner: Rc::new(Inner {
                queues,
                desk,
                sockets,
                meter: Meter::new(seat),
                random,
                panics: Cell::new(0),
            }),
        }
    }
}

impl World for Uring {
    type Stream = UringStream;
    type Listener = UringListener;
    type File = UringFile;

    fn now(&self) -> Tick {
        #[cfg(feature = "sim")]
        tempted::tempt();
        now()
    }

    fn wall(&self) -> Wall {
        wall()
    }

    fn load(&self) -> Load {
        self.inner.meter.read()
    }

    fn random(&self) -> u64 {
        // SplitMix64: one add and three mixes; good enough to shuffle hosts and to spread retries.
        let state = self.inner.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.inner.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        let queues = &self.inner.queues;
        let queue = match class {
            Class::Inbound => queues.inbound,
            Class::Commit => queues.commit,
            Class::Outbound => queues.outbound,
            Class::Retrieve => queues.retrieve,
            Class::Chores => queues.chores,
        };
        #[cfg(feature = "sim")]
        let task = tempted::known_as(class.name(), task);
        let own = self.clone();
        // A panic in a glommio task kills the whole executor; caught here it ends one task. Not in an
        // async block: it would have room for the task twice, before and while it runs.
        let guarded = AssertUnwindSafe(task).catch_unwind().map(move |ended| {
            if let Err(said) = ended {
                own.note_panic(&*said);
            }
        });
        match glommio::spawn_local_into(guarded, queue) {
            Ok(task) => drop(task.detach()),
            Err(error) => unreachable!("task queues live as long as their executor: {error}"),
        }
    }

    fn note_panic(&self, _: &(dyn Any + Send)) {
        // What it said, the process's hook has told already.
        self.inner.panics.set(self.inner.panics.get() + 1);
    }

    fn panics(&self) -> u64 {
        self.inner.panics.get()
    }

    async fn sleep(&self, until: Tick) {
        let wait = until.since(now());
        if !wait.is_zero() {
            glommio::timer::sleep(wait.min(SLEEP_MAX)).await;
        }
    }

    async fn breathe(&self) {
        // By the clock and not by `need_preempt`: octets that arrive on a socket do not make it
        // true, so a task that asked it kept others waiting until `start::PREEMPT` had passed.
        if now() < LOOK_BY.get() {
            return;
        }
        // Not `yield_now`: a task that only goes to the end of its queue is run again without a
        // look at the rings. Not a sleep of no time either, which is over before it begins. This
        // one comes back from the rings; should they be full, the next breath tries again.
        let _ = NopSubmitter::new().run_nop().await;
        looked();
    }

    fn listen(&self, at: SocketAddr) -> io::Result<UringListener> {
        let bound = self
            .inner
            .sockets
            .borrow_mut()
            .get_mut(&at)
            .and_then(Vec::pop);
        let socket = bound.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        UringListener::new(socket)
    }

    fn listen_beside(&self, at: SocketAddr) -> io::Result<Vec<UringListener>> {
        let more = self.inner.sockets.borrow_mut().remove(&at);
        let more = more.unwrap_or_default().into_iter();
        more.map(UringListener::new).collect()
    }

    async fn dial(
        &self,
        source: Option<IpAddr>,
        to: SocketAddr,
        deadline: Tick,
    ) -> io::Result<UringStream> {
        net::dial(source, to, deadline).await
    }

    fn pack(&self, stream: UringStream) -> io::Result<Parcel> {
        stream.pack()
    }

    fn unpack(&self, parcel: Parcel) -> io::Result<UringStream> {
        UringStream::unpack(parcel)
    }

    async fn lookup(&self, question: Question) -> Response {
        self.inner.desk.resolver.lookup(question).await
    }

    async fn policy(&self, domain: Box<str>, web: Web) -> Found {
        self.inner.desk.policies.find(domain, web).await
    }

    fn tell_tls(&self, session: Session) {
        self.inner.desk.reports.tell(session);
    }

    async fn check_password(&self, password: Vec<u8>, hash: String) -> Option<bool> {
        self.inner.desk.passwords.check(password, hash).await
    }

    async fn sign(&self, signers: Arc<Signers>, wire: Vec<u8>) -> Result<Signed, Fault> {
        self.inner.desk.signing.sign(signers, wire).await
    }

    async fn verify(&self, inquiry: Inquiry) -> Findings {
        self.inner.desk.verifying.verify(inquiry).await
    }

    async fn open(&self, path: &Path, create: bool) -> io::Result<UringFile> {
        disk::open(path, create).await
    }

    async fn open_to_read(&self, path: &Path) -> io::Result<UringFile> {
        disk::open_to_read(path).await
    }

    async fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        disk::list(directory).await
    }

    async fn files(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        disk::files(directory).await
    }

    async fn directories(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        disk::directories(directory).await
    }

    async fn make_directory(&self, directory: &Path) -> io::Result<()> {
        disk::make_directory(directory).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        disk::rename(from, to).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        disk::remove(path).await
    }

    async fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        disk::sync_directory(directory).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        disk::link(from, to).await
    }

    async fn modified(&self, path: &Path) -> io::Result<i64> {
        disk::modified(path).await
    }

    async fn set_modified(&self, path: &Path, seconds: i64) -> io::Result<()> {
        disk::set_modified(path, seconds).await
    }
}

/// Bounds what a missed wake costs. Before glommio runs tasks it asks whether the preempt timer has
/// fired; if so it takes the queues for empty, and sleeps on tasks that could run until something
/// else happens. A long `PREEMPT` makes that rare (the thread must lose its core for so long,
/// between two neighbouring lines), and a timer makes it end.
fn beat() {
    let beating = async {
        loop {
            glommio::timer::sleep(BEAT).await;
        }
    };
    drop(glommio::spawn_local(beating).detach());
}

thread_local! {
    /// When a task that breathes lets the rings of its shard be looked at next.
    static LOOK_BY: Cell<Tick> = const { Cell::new(Tick(0)) };
}

/// The rings of this shard have been looked at: a task that waited for them runs again. Whoever
/// breathes need not have it done once more, which costs as much as a small message's reading.
fn looked() {
    LOOK_BY.set(now() + BREATH);
}

/// The monotonic clock, counted from the first call in this process: the same on every shard.
fn now() -> Tick {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    Tick(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

fn wall() -> Wall {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// Sixty-four bits that differ between shards and between starts.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::thread::current().id())
}

/// What glommio says, as the `io::Error` it most often wraps.
/// What the system said, and of which file; glommio adds what it was doing itself.
fn plain(error: glommio::GlommioError<()>) -> io::Error {
    use glommio::GlommioError::EnhancedIoError;
    match &error {
        EnhancedIoError {
            source,
            path: Some(path),
            ..
        } => {
            let kind = match source
                .raw_os_error()
                .map(rustix::io::Errno::from_raw_os_error)
            {
                // The disk is well, and there will be descriptors again: no reason to give it up.
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                    io::ErrorKind::QuotaExceeded
                }
                _ => source.kind(),
            };
            io::Error::new(kind, format!("{}: {source}", path.display()))
        }
        EnhancedIoError { source, .. } => source
            .raw_os_error()
            .map_or_else(|| source.kind().into(), io::Error::from_raw_os_error),
        _ => error.into(),
    }
}

/// How long a missed wake may go unnoticed.
const BEAT: Duration = Duration::from_millis(500);
/// How long tasks that breathe may keep a shard from its rings. A look costs some system calls:
/// as much as a hundredth of this.
const BREATH: Duration = Duration::from_millis(1);
/// Nobody sleeps longer at one go; the callers look at the clock again and sleep on.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);

// Shares of the core when all classes are busy. The commit writer goes last among those that
// somebody waits for: what runs before it adds to its batch, and a larger batch is one fdatasync
// for more messages. Chores have what is left.
const INBOUND_SHARES: usize = 400;
const OUTBOUND_SHARES: usize = 300;
const RETRIEVE_SHARES: usize = 300;
const COMMIT_SHARES: usize = 100;
const CHORES_SHARES: usize = 50;
