//! The one timer of the queue: it sleeps until the queue's next deadline, and is rung when that
//! deadline comes nearer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use futures_lite::future;

use crate::trial::{self, Bug};
use crate::world::{Tick, World};

/// The bell. One task waits at it.
pub(in crate::shard) struct Bell {
    /// Until when the waiting task sleeps.
    until: Cell<Tick>,
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    pub(in crate::shard) fn new() -> Self {
        Self {
            until: Cell::new(Tick::NEVER),
            rung: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Something is due at `at`. Costs nothing while the bell rings before that anyway, which is
    /// the case for nearly every message.
    pub(in crate::shard) fn set(&self, at: Tick) {
        if at < self.until.get() && !trial::has(Bug::BellNotHeard) {
            self.until.set(at);
            self.rung.set(true);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// Waits until `at`, or for a nearer moment to be set.
    pub(in crate::shard) async fn wait<W: World>(&self, world: &W, at: Tick) {
        self.until.set(at);
        self.rung.set(false);
        let rung = poll_fn(|cx| {
            if self.rung.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        });
        future::or(rung, world.sleep(at)).await;
        // Whoever sets a moment from here on finds nobody asleep: the waiter looks anyway.
        self.until.set(Tick(i64::MIN));
    }
}
