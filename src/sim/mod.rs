//! The world in memory: seeded, with a virtual clock, weather on its network and disks that can
//! lose their power.
//!
//! ```text
//! Sim ── seed ──► order of tasks, delays, partial reads, losses, torn writes
//!  ├ node 10.0.0.1  relay: shards over SimWorld, one SimDisk      power_cut ─► boot
//!  ├ node 10.0.0.2  clients (peers::client)                            │
//!  └ node 10.0.0.3  mail exchangers (peers::exchanger)                 ▼
//!                                          check: what was promised was kept
//! ```
//!
//! The same seed gives the same run, event by event: [`Sim::trace`] tells. A failing run prints
//! its seed; `RINGPOST_SEED=n cargo test --lib sim` repeats that one.

pub mod check;
pub mod disk;
mod executor;
mod lie;
mod net;
pub mod peers;
pub mod random;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
mod thread;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

pub use executor::NodeId;
pub use net::{SimListener, SimStream, Weather};
pub use world::{SimFile, SimWorld};

use crate::mail::tlsrpt::Session;
use crate::route::dns::{Answer, Question, Response};
use crate::route::sts::Found;
use crate::time::Tick;
use crate::trial;
use crate::world::{Class, World as _};
use disk::SimDisk;
use executor::{Executor, Step};
use net::Net;
use random::Random;

/// A simulation. It ends, with everything in it, when it is dropped.
pub struct Sim {
    core: Rc<Core>,
    seed: u64,
}

/// What all handles share.
struct Core {
    executor: Rc<Executor>,
    random: Rc<Random>,
    net: Rc<Net>,
    nodes: RefCell<Vec<Node>>,
    names: RefCell<HashMap<Question, Response>>,
    /// What domains say of their hosts.
    policies: RefCell<HashMap<Box<str>, Found>>,
    /// What was counted for reports about TLS.
    sessions: RefCell<Vec<Session>>,
    /// How long a sync takes, least and most, in microseconds.
    sync_wait: Cell<(u64, u64)>,
    /// How far the calendar was set forward or back.
    wall_jump: Cell<i64>,
    temptation: Cell<Option<Temptation>>,
    /// How often the DNS lies, out of 1000.
    lies: Cell<u32>,
    /// The domain that it tells the truth about.
    spared: Cell<&'static str>,
}

struct Node {
    address: IpAddr,
    disk: SimDisk,
    /// Counts power cuts and kills.
    life: u64,
}

/// A panic to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temptation {
    /// Where.
    pub node: NodeId,
    /// In tasks of this name.
    pub label: &'static str,
    /// They use the world so often before it.
    pub after: u64,
}

/// Why a run ended before its condition held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No task can run and no timer is set: whatever is waited for never comes.
    Deadlock,
    /// The virtual time allowed is over.
    TimeOver,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadlock => "deadlock: nothing can run and no timer is set",
            Self::TimeOver => "the time allowed is over",
        })
    }
}

impl Sim {
    /// An empty world; everything that happens in it follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let executor = Rc::new(Executor::new());
        let random = Rc::new(Random::new(seed));
        let net = Rc::new(Net::new(&executor, &random));
        let core = Rc::new(Core {
            executor,
            random,
            net,
            nodes: RefCell::default(),
            names: RefCell::default(),
            policies: RefCell::default(),
            sessions: RefCell::default(),
            sync_wait: Cell::new(SYNC_WAIT),
            wall_jump: Cell::new(0),
            temptation: Cell::new(None),
            lies: Cell::new(0),
            spared: Cell::new(""),
        });
        Self { core, seed }
    }

    /// The seed it was made with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The run's choices: peers and scenarios draw from them too.
    #[must_use]
    pub fn random(&self) -> Rc<Random> {
        Rc::clone(&self.core.random)
    }

    /// A new machine, booted.
    pub fn node(&self) -> SimWorld {
        let mut nodes = self.core.nodes.borrow_mut();
        let number = nodes.len();
        let last = u8::try_from(number + 1).unwrap_or(u8::MAX);
        nodes.push(Node {
            address: Ipv4Addr::new(10, 0, 0, last).into(),
            disk: SimDisk::new(),
            life: 0,
        });
        drop(nodes);
        self.boot(NodeId(number))
    }

    /// The world of a node as it is now: a new monotonic clock, the disk as it was left.
    #[must_use]
    pub fn boot(&self, node: NodeId) -> SimWorld {
        SimWorld::new(&self.core, node)
    }

    /// Cuts a node's power: its tasks end where they stand, its peers see resets, its disk keeps
    /// what was durable and of the rest what the seed leaves.
    pub fn power_cut(&self, node: NodeId) {
        self.kill(node);
        let seed = self.core.random.next();
        self.core.disk(node).power_cut(seed);
    }

    /// Ends a node's programs as `kill -9` does: the disk keeps everything written.
    pub fn kill(&self, node: NodeId) {
        self.core.executor.note(u64::MAX - node.0 as u64);
        if let Some(node) = self.core.nodes.borrow_mut().get_mut(node.0) {
            node.life += 1;
        }
        self.core.net.unplug(node);
        self.core.executor.end(node);
    }

    /// The disk of a node.
    #[must_use]
    pub fn disk(&self, node: NodeId) -> SimDisk {
        self.core.disk(node)
    }

    /// What the network does to connections made from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.core.net.weather.set(weather);
    }

    /// From now on nobody at `address` answers a dial, or does again.
    pub fn set_black_hole(&self, address: IpAddr, on: bool) {
        self.core.net.set_black_hole(address, on);
    }

    /// What the DNS says to a question; names never set do not exist. A mere answer is one that
    /// DNSSEC does not vouch for.
    pub fn set_answer(&self, question: Question, answer: impl Into<Response>) {
        let mut names = self.core.names.borrow_mut();
        names.insert(question, answer.into());
    }

    /// What MTA-STS says of a domain; domains never set have no policy.
    pub fn set_policy(&self, domain: &str, found: Found) {
        let mut policies = self.core.policies.borrow_mut();
        policies.insert(domain.into(), found);
    }

    /// What was counted for reports about TLS.
    #[must_use]
    pub fn tls_sessions(&self) -> Vec<Session> {
        self.core.sessions.borrow().clone()
    }

    /// How long a sync takes from now on, least and most.
    pub fn set_sync_wait(&self, least: Duration, most: Duration) {
        let micros = |wait: Duration| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.core.sync_wait.set((micros(least), micros(most)));
    }

    /// From now on so many answers of the DNS, out of 1000, are lies, except about `spared` and what
    /// is under it.
    pub fn set_lies(&self, permille: u32, spared: &'static str) {
        self.core.spared.set(spared);
        self.core.lies.set(permille);
    }

    /// Sets every calendar forward, or back.
    pub fn jump_wall(&self, microseconds: i64) {
        trial::saw("calendar", if microseconds < 0 { "back" } else { "forth" });
        let jump = &self.core.wall_jump;
        jump.set(jump.get() + microseconds);
    }

    /// Lets a task panic where it uses the world, once. `None`: no more.
    pub fn tempt(&self, temptation: Option<Temptation>) {
        self.core.temptation.set(temptation);
    }

    /// True while the panic that was planned is still to come.
    #[must_use]
    pub fn is_tempted(&self) -> bool {
        self.core.temptation.get().is_some()
    }

    /// Ends a shard of a node's process as a panic of its own does: the files stay as they are.
    pub fn kill_shard(&self, node: NodeId, shard: usize) {
        trial::saw("panic", "a whole shard");
        self.core.executor.end_shard(node, shard);
    }

    /// Time since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.core.executor.now().since(Tick(0))
    }

    /// A number for everything that happened, in its order: equal runs have equal numbers.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.core.executor.trace()
    }

    /// What tasks said that panicked. A panic ends its task alone, as in the real world.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        self.core.executor.panics()
    }

    /// Runs until `condition` holds. A disk whose plan cut its power takes its node down with it.
    pub fn run_until(
        &self,
        mut condition: impl FnMut() -> bool,
        at_most: Duration,
    ) -> Result<(), Stopped> {
        let end = self.core.executor.now() + at_most;
        loop {
            if condition() {
                return Ok(());
            }
            if self.core.executor.now() >= end {
                return Err(Stopped::TimeOver);
            }
            match self.core.executor.step(&self.core.random) {
                Step::Ran(node) if self.core.disk(node).is_off() => self.power_cut(node),
                Step::Ran(_) | Step::Waited => {}
                Step::Stuck => return Err(Stopped::Deadlock),
            }
        }
    }

    /// Runs a task of a node to its end; `None` when the node lost its power before. For tests: it
    /// panics when the task does not end, or another panicked.
    pub fn run<T: 'static>(
        &self,
        world: &SimWorld,
        task: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let value = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&value);
        world.spawn(Class::Inbound, async move {
            let result = task.await;
            *slot.borrow_mut() = Some(result);
        });
        let ended = || value.borrow().is_some() || !world.is_alive();
        let stopped = self.run_until(ended, TASK_WAIT);
        assert_eq!(self.panics(), [""; 0]);
        assert_eq!(stopped, Ok(()));
        value.take()
    }

    /// Runs for some time, or until nothing is left to do.
    pub fn run_for(&self, time: Duration) {
        // Both ends are what was asked for.
        let _ = self.run_until(|| false, time);
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the run had seed {0}: RINGPOST_SEED={0} repeats it",
                self.seed
            );
            // Left as it is: what ends in it could panic too, and hide the first one.
            return;
        }
        // Tasks hold the world that holds them.
        for node in self.core.nodes.borrow_mut().iter_mut() {
            node.life += 1;
        }
        self.core.executor.end_all();
        self.core.net.clear();
    }
}

impl Core {
    /// Address and life of a node.
    fn life(&self, node: NodeId) -> (IpAddr, u64) {
        let nodes = self.nodes.borrow();
        let found = nodes.get(node.0).map(|node| (node.address, node.life));
        found.unwrap_or((Ipv4Addr::UNSPECIFIED.into(), 0))
    }

    fn disk(&self, node: NodeId) -> SimDisk {
        let nodes = self.nodes.borrow();
        nodes
            .get(node.0)
            .map(|node| node.disk.clone())
            .unwrap_or_default()
    }

    /// Panics where that was planned; never in what a panic or an end drops.
    #[allow(clippy::panic, reason = "that is what it is for")]
    fn tempt(&self) {
        let Some(plan) = self.temptation.get() else {
            return;
        };
        if self.executor.running() != Some((plan.node, plan.label)) || std::thread::panicking() {
            return;
        }
        let Some(after) = plan.after.checked_sub(1) else {
            self.temptation.set(None);
            trial::saw("panic", plan.label);
            panic!("{PLANNED_PANIC}");
        };
        self.temptation.set(Some(Temptation { after, ..plan }));
    }

    fn answer(&self, question: &Question) -> Response {
        let names = self.names.borrow();
        let unknown = || Answer::NoName(NEGATIVE_TTL).into();
        names.get(question).cloned().unwrap_or_else(unknown)
    }
}

/// The seeds of a test: so many, or the one that `RINGPOST_SEED` names. With the feature `sim`,
/// `RINGPOST_SEEDS` says how many, and without it there are fifty times as many.
pub fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let one = number("RINGPOST_SEED");
    let many = match number("RINGPOST_SEEDS") {
        Some(many) => many,
        None if cfg!(feature = "sim") => count * 50,
        None => count,
    };
    let all = one.is_none().then_some(0..many).into_iter().flatten();
    one.into_iter().chain(all)
}

/// What a task says that was made to panic.
pub const PLANNED_PANIC: &str = "the plan says that this task panics";
/// A good server disk, and now and then a slow one.
const SYNC_WAIT: (u64, u64) = (100, 5_000);
/// How long a task of a test may take, on the clock of its world.
const TASK_WAIT: Duration = Duration::from_secs(600);
/// How long a name is known not to exist.
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
