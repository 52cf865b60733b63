//! Tasks, timers and the virtual clock: one thread, and an order that the seed decides.
//!
//! The clock stands still while anything can run, but for a microsecond per turn: a task that
//! spins makes time pass and is found by the limit of the run.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam::queue::SegQueue;

use super::random::Random;
use crate::time::Tick;

/// A machine of the simulation, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// The tasks of all nodes. Shared by `Rc`.
pub(super) struct Executor {
    tasks: RefCell<BTreeMap<u64, Task>>,
    runnable: RefCell<Vec<u64>>,
    woken: Arc<SegQueue<u64>>,
    timers: RefCell<BTreeMap<(Tick, u64), Waker>>,
    now: Cell<Tick>,
    serial: Cell<u64>,
    panics: RefCell<Vec<String>>,
    /// Whose task runs, and what it is called.
    running: Cell<Option<(NodeId, &'static str)>>,
    trace: Cell<u64>,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A task of this node ran.
    Ran(NodeId),
    /// Nothing could run; the clock went to the next timer.
    Waited,
    /// Nothing can run and nothing ever will.
    Stuck,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    node: NodeId,
    shard: usize,
    label: &'static str,
    /// Away while it runs.
    work: Option<Work>,
    bell: Arc<Bell>,
}

/// What a task's waker rings.
struct Bell {
    task: u64,
    rung: AtomicBool,
    woken: Arc<SegQueue<u64>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.woken.push(self.task);
        }
    }
}

impl Executor {
    pub(super) fn new() -> Self {
        Self {
            tasks: RefCell::default(),
            runnable: RefCell::default(),
            woken: Arc::default(),
            timers: RefCell::default(),
            now: Cell::new(Tick(0)),
            serial: Cell::new(0),
            panics: RefCell::default(),
            running: Cell::new(None),
            trace: Cell::new(0),
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.now.get()
    }

    /// A number for everything that happened, in its order.
    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Adds a fact to the trace.
    pub(super) fn note(&self, fact: u64) {
        let mixed = (self.trace.get() ^ fact).wrapping_mul(0x0000_0100_0000_01B3);
        self.trace.set(mixed.rotate_left(23));
    }

    /// Whose task runs, and what it is called.
    pub(super) fn running(&self) -> Option<(NodeId, &'static str)> {
        self.running.get()
    }

    /// The task that runs has panicked.
    pub(super) fn note_panic(&self, said: &(dyn Any + Send)) {
        let (node, label) = self.running.get().unwrap_or((NodeId(0), "no"));
        let said = format!("{label} task of {node:?}: {}", words(said));
        self.panics.borrow_mut().push(said);
    }

    /// What the tasks that panicked said.
    pub(super) fn panics(&self) -> Vec<String> {
        self.panics.borrow().clone()
    }

    /// Adds a task of a shard of a node.
    pub(super) fn spawn(&self, (node, shard): (NodeId, usize), label: &'static str, work: Work) {
        let id = self.serial();
        let bell = Arc::new(Bell {
            task: id,
            rung: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        Arc::clone(&bell).wake();
        let task = Task {
            node,
            shard,
            label,
            work: Some(work),
            bell,
        };
        self.tasks.borrow_mut().insert(id, task);
    }

    /// Ends every task of a node at once, wherever it stands.
    pub(super) fn end(&self, node: NodeId) {
        self.end_those(|task| task.node == node);
    }

    /// The same for one shard of it.
    pub(super) fn end_shard(&self, node: NodeId, shard: usize) {
        self.end_those(|task| (task.node, task.shard) == (node, shard));
    }

    fn end_those(&self, is_one: impl Fn(&Task) -> bool) {
        let ended: Vec<Task> = {
            let mut tasks = self.tasks.borrow_mut();
            tasks
                .extract_if(.., |_, task| is_one(task))
                .map(|(_, task)| task)
                .collect()
        };
        // What they own is dropped here, and may spawn, wake and close.
        drop(ended);
    }

    /// Ends all tasks.
    pub(super) fn end_all(&self) {
        drop(self.tasks.take());
        drop(self.timers.take());
    }

    /// Runs one task that can run, or moves the clock.
    pub(super) fn step(&self, random: &Random) -> Step {
        self.ring_due();
        let mut runnable = self.runnable.borrow_mut();
        while let Some(id) = self.woken.pop() {
            runnable.push(id);
        }
        if runnable.is_empty() {
            drop(runnable);
            return self.advance();
        }
        let place = usize::try_from(random.below(runnable.len() as u64)).unwrap_or(0);
        let id = runnable.swap_remove(place);
        drop(runnable);
        match self.run(id) {
            Some(node) => Step::Ran(node),
            None => Step::Waited,
        }
    }

    fn run(&self, id: u64) -> Option<NodeId> {
        let (mut work, bell, node, label) = {
            let mut tasks = self.tasks.borrow_mut();
            let task = tasks.get_mut(&id)?;
            (
                task.work.take()?,
                Arc::clone(&task.bell),
                task.node,
                task.label,
            )
        };
        bell.rung.store(false, Ordering::Release);
        self.now.set(Tick(self.now.get().0 + TURN_MICROSECONDS));
        self.note(id ^ (self.now.get().0.unsigned_abs() << 20));
        let waker = Waker::from(bell);
        let mut context = Context::from_waker(&waker);
        self.running.set(Some((node, label)));
        let ended = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => false,
            Ok(Poll::Ready(())) => true,
            Err(said) => {
                self.note_panic(&*said);
                true
            }
        };
        self.running.set(None);
        let mut tasks = self.tasks.borrow_mut();
        if ended {
            tasks.remove(&id);
        } else if let Some(task) = tasks.get_mut(&id) {
            task.work = Some(work);
            return Some(node);
        }
        drop(tasks);
        drop(work);
        Some(node)
    }

    fn advance(&self) -> Step {
        let next = self
            .timers
            .borrow()
            .first_key_value()
            .map(|((at, _), _)| *at);
        let Some(at) = next else {
            return Step::Stuck;
        };
        self.now.set(self.now.get().max(at));
        self.ring_due();
        Step::Waited
    }

    fn ring_due(&self) {
        let mut timers = self.timers.borrow_mut();
        while let Some(entry) = timers.first_entry()
            && entry.key().0 <= self.now.get()
        {
            entry.remove().wake();
        }
    }

    fn serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }
}

/// A timer that can be set again and ends with its owner.
pub(super) struct Alarm {
    executor: Rc<Executor>,
    key: Option<(Tick, u64)>,
}

impl Alarm {
    pub(super) fn new(executor: &Rc<Executor>) -> Self {
        Self {
            executor: Rc::clone(executor),
            key: None,
        }
    }

    /// Wakes at `at`, and no longer at the moment set before.
    pub(super) fn set(&mut self, at: Tick, waker: &Waker) {
        self.clear();
        if at != Tick::NEVER {
            let key = (at, self.executor.serial());
            self.executor.timers.borrow_mut().insert(key, waker.clone());
            self.key = Some(key);
        }
    }

    fn clear(&mut self) {
        if let Some(key) = self.key.take() {
            drop(self.executor.timers.borrow_mut().remove(&key));
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Waits until `until`.
pub(super) async fn sleep(executor: &Rc<Executor>, until: Tick) {
    let mut alarm = Alarm::new(executor);
    poll_fn(|cx| {
        if executor.now() >= until {
            return Poll::Ready(());
        }
        alarm.set(until, cx.waker());
        Poll::Pending
    })
    .await;
}

/// Lets others run.
pub(super) async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn words(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<&str>().copied();
    let text = text.or_else(|| said.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

/// What one turn of a task takes.
const TURN_MICROSECONDS: i64 = 1;
