//! What a shard may hold in memory for messages. Reached, it slows the senders down first and
//! refuses them second; it never stops a delivery.
//!
//! Memory for what comes in is lent: it depends on a peer how long it is held. When there is none
//! for others, loans are called back, first from peers that have brought nothing worth mentioning
//! for longest; and where all wait for memory to go on, from who came last, so that the others can.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::future;
use slab::Slab;

use super::line::Line;
use crate::trial::{self, Bug};
use crate::world::{Tick, World};

/// The octets a shard may hold and holds. Cloning shares it.
#[derive(Clone)]
pub(in crate::shard) struct Budget {
    inner: Rc<Inner>,
}

struct Inner {
    limit: usize,
    used: Cell<usize>,
    /// Work that has begun and grows.
    growing: Line,
    /// New work.
    beginning: Line,
    loans: RefCell<Slab<Rc<Terms>>>,
    /// Terms of loans that are over, for others.
    spares: RefCell<Vec<Rc<Terms>>>,
    /// When loans may be called back next.
    calls_at: Cell<Tick>,
    called_back: Cell<u64>,
}

/// Octets that are held; dropped, they are free again, however the holder ended.
pub(in crate::shard) struct Charge {
    inner: Rc<Inner>,
    octets: usize,
}

/// Octets that are held for a peer, and may be called back.
pub(in crate::shard) struct Loan {
    charge: Charge,
    place: usize,
    terms: Rc<Terms>,
}

/// What is known of a loan.
#[derive(Default)]
struct Terms {
    octets: Cell<usize>,
    waits: Cell<Waits>,
    /// Since when; of a peer, since it last brought something worth mentioning.
    since: Cell<Tick>,
    /// What it has brought since then.
    brought: Cell<usize>,
    is_called_back: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// For whom a borrower waits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Waits {
    /// For nobody, or for our own disk.
    #[default]
    No,
    ForPeer,
    ForRoom,
}

impl Budget {
    /// A budget of so many octets.
    #[must_use]
    pub(super) fn new(limit: usize) -> Self {
        Self {
            inner: Rc::new(Inner {
                limit,
                used: Cell::new(0),
                growing: Line::default(),
                beginning: Line::default(),
                loans: RefCell::default(),
                spares: RefCell::default(),
                calls_at: Cell::new(Tick(i64::MIN)),
                called_back: Cell::new(0),
            }),
        }
    }

    /// Takes octets, over the limit too: the limit is kept by asking [`Budget::room`] before new
    /// work begins, and [`Loan::room`] before it grows.
    #[must_use]
    pub(in crate::shard) fn charge(&self, octets: usize) -> Charge {
        self.inner.used.set(self.inner.used.get() + octets);
        Charge {
            inner: Rc::clone(&self.inner),
            octets,
        }
    }

    /// The same for what a peer brings.
    #[must_use]
    pub(in crate::shard) fn lend(&self, octets: usize, now: Tick) -> Loan {
        let spare = self.inner.spares.borrow_mut().pop();
        let terms = spare.unwrap_or_default();
        terms.begin(octets, now);
        Loan {
            charge: self.charge(octets),
            place: self.inner.loans.borrow_mut().insert(Rc::clone(&terms)),
            terms,
        }
    }

    /// Octets in use.
    #[must_use]
    pub(in crate::shard) fn used(&self) -> usize {
        self.inner.used.get()
    }

    /// Octets that may be used.
    #[must_use]
    pub(in crate::shard) fn limit(&self) -> usize {
        self.inner.limit
    }

    /// Loans that were called back.
    #[must_use]
    pub(in crate::shard) fn called_back(&self) -> u64 {
        self.inner.called_back.get()
    }

    /// True while less than half is in use.
    #[must_use]
    pub(in crate::shard) fn is_ample(&self) -> bool {
        self.inner.used.get() < self.inner.limit / 2
    }

    /// True while there is room for more.
    #[must_use]
    pub(in crate::shard) fn has_room(&self) -> bool {
        self.inner.used.get() < self.inner.limit
    }

    /// Waits for room; false when none came within [`ROOM_WAIT`].
    pub(in crate::shard) async fn room<W: World>(&self, world: &W) -> bool {
        if self.has_room() && self.inner.beginning.is_empty() {
            return true;
        }
        // Apart: every idle connection would have room for the wait.
        Box::pin(self.wait_for_room(world)).await
    }

    async fn wait_for_room<W: World>(&self, world: &W) -> bool {
        let inner = &self.inner;
        let until = world.now() + ROOM_WAIT;
        let turn = inner.beginning.join();
        loop {
            let now = world.now();
            if self.has_room() && turn.is_first() {
                drop(turn);
                // There may be room for the next one, too. He looks when the caller has taken his.
                inner.beginning.call();
                return true;
            }
            if now >= until {
                return false;
            }
            inner.call_back(now);
            future::or(turn.called(), world.sleep(until.min(now + ROOM_LOOK))).await;
        }
    }
}

impl Inner {
    /// Calls loans back until a part of the budget comes free, but not too often: those that were
    /// called must come to it.
    fn call_back(&self, now: Tick) {
        if now < self.calls_at.get() || self.used.get() < self.limit {
            return;
        }
        self.calls_at.set(now + CALL_PERIOD);
        let loans: Vec<Rc<Terms>> = self
            .loans
            .borrow()
            .iter()
            .map(|(_, terms)| Rc::clone(terms))
            .filter(|terms| !terms.is_called_back.get() && terms.octets.get() > 0)
            .filter(|terms| now.since(terms.since.get()) >= PATIENCE)
            .collect();
        let waiting = |what| loans.iter().filter(move |terms| terms.waits.get() == what);
        let mut slow: Vec<_> = waiting(Waits::ForPeer).collect();
        slow.sort_by_key(|terms| terms.since.get());
        // Whoever waits for the peer is not in the way of the others; who waits for room may be.
        let mut late: Vec<_> = waiting(Waits::ForRoom).collect();
        late.sort_by_key(|terms| std::cmp::Reverse(terms.since.get()));
        let mut free = 0;
        for terms in slow.into_iter().chain(late) {
            if free > self.limit / CALL_PART {
                break;
            }
            free += terms.octets.get();
            self.called_back.set(self.called_back.get() + 1);
            terms.call_back();
        }
    }

    fn set_used(&self, used: usize) {
        let before = self.used.replace(used);
        if used < before {
            self.growing.call();
            if used < self.limit {
                self.beginning.call();
            }
        }
    }
}

impl Charge {
    /// Holds so many octets from now on.
    pub(in crate::shard) fn set(&mut self, octets: usize) {
        let used = self.inner.used.get() - self.octets + octets;
        self.octets = octets;
        self.inner.set_used(used);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if trial::has(Bug::BudgetKept) {
            return;
        }
        self.set(0);
    }
}

impl Loan {
    /// Holds so many octets from now on.
    pub(in crate::shard) fn set(&mut self, octets: usize) {
        self.terms.octets.set(octets);
        self.charge.set(octets);
    }

    /// The peer has brought so many octets.
    pub(in crate::shard) fn note_brought(&self, octets: usize, now: Tick) {
        let terms = &self.terms;
        terms.waits.set(Waits::No);
        terms.brought.set(terms.brought.get() + octets);
        if terms.brought.get() >= WORTH_MENTIONING {
            terms.brought.set(0);
            terms.since.set(now);
        }
    }

    /// It was called back: what is held is to be given up.
    #[must_use]
    pub(in crate::shard) fn is_called_back(&self) -> bool {
        self.terms.is_called_back.get()
    }

    /// Waits for the peer until `brings` is over; `None` when the loan is called back before.
    pub(in crate::shard) async fn until_called_back<T>(
        &self,
        brings: impl Future<Output = T>,
    ) -> Option<T> {
        if self.is_called_back() {
            // What it still brings is thrown away, in the time that it has.
            return Some(brings.await);
        }
        self.terms.waits.set(Waits::ForPeer);
        let called = async {
            self.called_back().await;
            None
        };
        let ended = future::or(async { Some(brings.await) }, called).await;
        self.terms.waits.set(Waits::No);
        ended
    }

    async fn called_back(&self) {
        poll_fn(|cx| {
            if self.is_called_back() {
                return Poll::Ready(());
            }
            *self.terms.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for room to grow; false when none came within [`ROOM_WAIT`], or the loan was called
    /// back. What it holds itself is not in its way: were it alone, it could go on, however small
    /// the budget.
    pub(in crate::shard) async fn room<W: World>(&self, world: &W) -> bool {
        if self.has_room() && !self.is_called_back() {
            return true;
        }
        Box::pin(self.wait_for_room(world)).await
    }

    fn has_room(&self) -> bool {
        let inner = &self.charge.inner;
        inner.used.get() - self.charge.octets < inner.limit
    }

    async fn wait_for_room<W: World>(&self, world: &W) -> bool {
        let (inner, terms) = (&self.charge.inner, &self.terms);
        let until = world.now() + ROOM_WAIT;
        let turn = inner.growing.join();
        terms.waits.set(Waits::ForRoom);
        terms.since.set(world.now());
        let found = loop {
            let now = world.now();
            if terms.is_called_back.get() || now >= until {
                break false;
            }
            if self.has_room() {
                break true;
            }
            inner.call_back(now);
            let look = world.sleep(until.min(now + ROOM_LOOK));
            let called = future::or(turn.called(), self.called_back());
            future::or(called, look).await;
        };
        terms.waits.set(Waits::No);
        terms.since.set(world.now());
        found
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let inner = &self.charge.inner;
        inner.loans.borrow_mut().try_remove(self.place);
        let mut spares = inner.spares.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.push(Rc::clone(&self.terms));
        }
    }
}

impl Terms {
    /// Those of a new loan.
    fn begin(&self, octets: usize, now: Tick) {
        self.octets.set(octets);
        self.waits.set(Waits::No);
        self.since.set(now);
        self.brought.set(0);
        self.is_called_back.set(false);
        self.waker.take();
    }

    fn call_back(&self) {
        self.is_called_back.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// How long a sender is kept waiting before it is told 452: load generators and some clients
/// take any 4xx for the end of the world, so a wait comes first.
const ROOM_WAIT: Duration = Duration::from_secs(10);
/// How often a waiting sender looks, uncalled.
const ROOM_LOOK: Duration = Duration::from_millis(500);
/// How long nobody is called back after a call.
const CALL_PERIOD: Duration = Duration::from_millis(100);
/// What part of the budget a call is to bring.
const CALL_PART: usize = 16;
/// How long a peer may bring nothing while others want the memory: some round trips, and a packet
/// that was lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// A peer that brings less in [`PATIENCE`] counts as one that brings nothing.
const WORTH_MENTIONING: usize = 1024;
/// Spare terms: as many as change hands at once.
const SPARES_MAX: usize = 64;
