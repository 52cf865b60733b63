//! From a process to running shards: what the machine allows, and one clear sentence with the
//! remedy where it does not work. Which core each shard gets is in [`cores`](super::cores).

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::given::{self, Given};
use super::{Uring, net, slice};
use crate::config::Runtime;
use crate::service::Desk;
use crate::world::Seat;

/// Why the relay does not start: a sentence with its remedy, and the sysexits code.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong and what to change.
    pub why: String,
    /// 71 (EX_OSERR), 77 (EX_NOPERM), 78 (EX_CONFIG), ...
    pub exit_code: u8,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Raises what may be raised (open files, locked memory) and tries io_uring once, so that a
/// machine that refuses it is told here and not from inside a shard.
pub fn prepare() -> Result<(), Refused> {
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        },
    );
    let locked = getrlimit(Resource::Memlock);
    let _ = setrlimit(
        Resource::Memlock,
        Rlimit {
            current: locked.maximum,
            maximum: locked.maximum,
        },
    );
    if let Some(limit) = getrlimit(Resource::Memlock)
        .current
        .filter(|limit| *limit < MEMLOCK_MIN_BYTES)
    {
        return Err(Refused {
            why: format!(
                "the limit for locked memory is {} KiB and io_uring needs {} KiB a shard: raise it with `ulimit -l {}`, or LimitMEMLOCK= in a systemd unit",
                limit >> 10,
                MEMLOCK_MIN_BYTES >> 10,
                MEMLOCK_MIN_BYTES >> 10
            ),
            exit_code: EX_OSERR,
        });
    }
    // glommio tells why in words only.
    drop(io_uring::IoUring::new(1).map_err(refused_ring)?);
    match builder(None, Duration::ZERO).make() {
        Ok(executor) => {
            drop(executor);
            Ok(())
        }
        Err(error) => Err(refused_ring(error.into())),
    }
}

/// Files that this process may have open; connections count.
#[must_use]
pub fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

fn refused_ring(error: io::Error) -> Refused {
    let disabled =
        std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let why = match (disabled.trim(), error.kind()) {
        ("1" | "2", _) => format!(
            "io_uring is switched off (kernel.io_uring_disabled = {}): set it to 0 with sysctl",
            disabled.trim()
        ),
        (_, io::ErrorKind::PermissionDenied) => SECCOMP.to_owned(),
        // Some profiles say so too, so that programs take another way.
        (_, io::ErrorKind::Unsupported) if knows_io_uring() => SECCOMP.to_owned(),
        (_, io::ErrorKind::Unsupported) => {
            "this kernel has no io_uring: Linux 5.11 or later is needed".to_owned()
        }
        _ => format!("io_uring cannot be used: {error}"),
    };
    Refused {
        why,
        exit_code: EX_OSERR,
    }
}

/// Whether a kernel of this version has io_uring, whoever may use it.
fn knows_io_uring() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    version >= (5, 11)
}

/// The listening sockets of all shards, bound before any of them runs: a taken port is told at
/// once, and privileges can be dropped afterwards.
pub struct Sockets {
    shares: Vec<HashMap<SocketAddr, Vec<socket2::Socket>>>,
    /// Where it listens, by the address asked for (port 0 becomes the one chosen).
    pub bound: Vec<(SocketAddr, SocketAddr)>,
}

impl Sockets {
    /// Leads clients to all of them.
    pub fn open(&self) -> io::Result<()> {
        let mut sockets = self.shares.iter().flat_map(HashMap::values).flatten();
        sockets.try_for_each(net::listen)
    }

    /// A second descriptor of each, with the address asked for: for whoever goes on with them.
    pub fn doubles(&self) -> io::Result<Vec<(SocketAddr, socket2::Socket)>> {
        let shares = self.shares.iter().flatten();
        let sockets = shares.flat_map(|(asked, sockets)| sockets.iter().map(|one| (*asked, one)));
        sockets
            .map(|(asked, socket)| Ok((asked, socket.try_clone()?)))
            .collect()
    }
}

/// Binds `addresses` for `shards` shards, but for those that are `given`. Sockets beside given ones wait for
/// [`Sockets::open`]: whoever was led there would be lost if this process did not come to its start.
pub fn bind(
    addresses: &[SocketAddr],
    shards: usize,
    given: &mut Given,
) -> Result<Sockets, Refused> {
    let mut sockets = Sockets {
        shares: (0..shards).map(|_| HashMap::new()).collect(),
        bound: Vec::new(),
    };
    for &asked in addresses {
        let refuse = |error: io::Error| refused_port(asked, &error);
        let known = given.take(asked).map_err(refuse)?;
        let shares = match known.first() {
            Some(first) => {
                let at = local(first).map_err(refuse)?;
                given::share(known, shards, || net::reserve(at)).map_err(refuse)?
            }
            None => bind_all(asked, shards).map_err(refuse)?,
        };
        let first = shares.first().and_then(|share| share.first());
        let at = first.map_or(Ok(asked), local).map_err(refuse)?;
        for (own, share) in sockets.shares.iter_mut().zip(shares) {
            own.entry(asked).or_default().extend(share);
        }
        sockets.bound.push((asked, at));
    }
    Ok(sockets)
}

/// A socket for each shard.
fn bind_all(asked: SocketAddr, shards: usize) -> io::Result<Vec<Vec<socket2::Socket>>> {
    if asked.port() != 0 {
        wait_for_port(asked)?;
    }
    let mut at = asked;
    let mut shares = Vec::new();
    for _ in 0..shards {
        let socket = net::bind(at)?;
        at = local(&socket)?;
        shares.push(vec![socket]);
    }
    Ok(shares)
}

fn local(socket: &socket2::Socket) -> io::Result<SocketAddr> {
    socket.local_addr().and_then(|local| net::address(&local))
}

/// A process that was killed keeps its port for as long as the kernel takes to end its io_uring:
/// whoever restarts it at once would find the port in use.
fn wait_for_port(at: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + PORT_WAIT;
    loop {
        match net::probe(at) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::park_timeout(PORT_LOOK);
            }
            found => return found,
        }
    }
}

fn refused_port(at: SocketAddr, error: &io::Error) -> Refused {
    let (why, exit_code) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!(
                "{at} is in use by another program: stop it, or set another port in [[listener]] bind"
            ),
            EX_OSERR,
        ),
        io::ErrorKind::PermissionDenied => (
            format!(
                "no permission to listen on {at}: start with CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit), or use a port over 1023"
            ),
            EX_NOPERM,
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("{at} is no address of this machine: correct [[listener]] bind"),
            EX_CONFIG,
        ),
        _ => (format!("cannot listen on {at}: {error}"), EX_OSERR),
    };
    Refused { why, exit_code }
}

/// A running shard's thread.
pub struct Running(ExecutorJoinHandle<()>);

impl Running {
    /// Waits for the shard's end.
    pub fn join(self) -> Result<(), Refused> {
        self.0.join().map_err(|error| Refused {
            why: format!("a shard ended: {error}"),
            exit_code: EX_SOFTWARE,
        })
    }
}

/// Starts one executor a seat; each runs what `make` gives for its number.
pub fn start<F, T>(
    seats: &[Option<Seat>],
    sockets: Sockets,
    desk: &Desk,
    runtime: &Runtime,
    make: F,
) -> Result<Vec<Running>, Refused>
where
    F: Fn(usize) -> T,
    T: ShardMain,
{
    let mut running = Vec::new();
    for ((number, &seat), share) in seats.iter().enumerate().zip(sockets.shares) {
        let main = make(number);
        let desk = desk.clone();
        let slice = runtime.slice;
        let handle = builder(seat, runtime.spin)
            .name(&format!("shard-{number}"))
            .spawn(move || async move {
                slice::ask(slice);
                super::beat();
                main.run(Uring::new(desk, share, seat)).await;
            })
            .map_err(|error| refused_ring(error.into()))?;
        running.push(Running(handle));
    }
    Ok(running)
}

/// What a shard's thread runs. A trait and not a closure, because the future lives on the
/// shard's thread and is not `Send` while its maker is.
pub trait ShardMain: Send + 'static {
    /// Runs the shard to its end.
    fn run(self, world: Uring) -> impl Future<Output = ()>;
}

fn builder(seat: Option<Seat>, spin: Duration) -> LocalExecutorBuilder {
    let placement = seat.map_or(Placement::Unbound, |seat| Placement::Fixed(seat.cpu));
    LocalExecutorBuilder::new(placement)
        .spin_before_park(spin)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT)
}

const SECCOMP: &str = "io_uring is refused, most likely by a container's seccomp profile: allow io_uring_setup, io_uring_enter and io_uring_register in it (tuning/seccomp.json is one that does)";

/// glommio refuses to start below it.
const MEMLOCK_MIN_BYTES: u64 = 512 << 10;
/// Registered memory is resident and only DMA files use it: as little as works.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries that gather before a submission; not a bound on connections.
const RING_DEPTH: usize = 1024;
/// After so long glommio looks at its rings though tasks are waiting to run. Short times are
/// dangerous: see [`super::beat`]. Nothing here needs it: long work breathes, and a breath is a
/// look at the rings.
const PREEMPT: Duration = Duration::from_secs(1);

/// How long a port may be in use at the start before it is said.
const PORT_WAIT: Duration = Duration::from_secs(2);
const PORT_LOOK: Duration = Duration::from_millis(20);

const EX_SOFTWARE: u8 = 70;
pub(super) const EX_OSERR: u8 = 71;
const EX_NOPERM: u8 = 77;
pub(super) const EX_CONFIG: u8 = 78;
