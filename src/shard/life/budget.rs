//! What a shard may hold in memory for messages. Reached, it slows the senders down first and
//! refuses them second; it never stops a delivery.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::trial::{self, Bug};
use crate::world::World;

/// The octets a shard may hold and holds. Cloning shares it.
#[derive(Clone)]
pub(in crate::shard) struct Budget {
    inner: Rc<Inner>,
}

struct Inner {
    limit: usize,
    used: Cell<usize>,
}

/// Octets that are held; dropped, they are free again, however the holder ended.
pub(in crate::shard) struct Charge {
    inner: Rc<Inner>,
    octets: usize,
}

impl Budget {
    /// A budget of so many octets.
    #[must_use]
    pub(super) fn new(limit: usize) -> Self {
        Self {
            inner: Rc::new(Inner {
                limit,
                used: Cell::new(0),
            }),
        }
    }

    /// Takes octets, over the limit too: the limit is kept by asking [`Budget::room`] before new
    /// work begins, and [`Budget::room_beside`] before it grows.
    #[must_use]
    pub(in crate::shard) fn charge(&self, octets: usize) -> Charge {
        self.inner.used.set(self.inner.used.get() + octets);
        Charge {
            inner: Rc::clone(&self.inner),
            octets,
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
        self.wait(world, 0).await
    }

    /// The same for work that has begun and grows. What it holds itself is not in its way: were it
    /// alone, it could go on, however small the budget.
    pub(in crate::shard) async fn room_beside<W: World>(&self, own: &Charge, world: &W) -> bool {
        self.wait(world, own.octets).await
    }

    async fn wait<W: World>(&self, world: &W, own: usize) -> bool {
        let until = world.now() + ROOM_WAIT;
        while self.inner.used.get() - own >= self.inner.limit {
            if world.now() >= until {
                return false;
            }
            world.sleep(world.now() + ROOM_LOOK).await;
        }
        true
    }
}

impl Charge {
    /// Holds so many octets from now on.
    pub(in crate::shard) fn set(&mut self, octets: usize) {
        let used = self.inner.used.get() - self.octets + octets;
        self.inner.used.set(used);
        self.octets = octets;
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

/// How long a sender is kept waiting before it is told 452: load generators and some clients
/// take any 4xx for the end of the world, so a wait comes first.
const ROOM_WAIT: Duration = Duration::from_secs(10);
/// How often a waiting sender looks.
const ROOM_LOOK: Duration = Duration::from_millis(20);
