//! Connections that have no mail at the moment, by lane. The one that was busy last is woken
//! first, so that those not needed grow old and end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::future;

use crate::queue::LaneKey;
use crate::world::{Tick, World};

/// The idle connections of a shard.
#[derive(Default)]
pub(in crate::shard) struct Idle {
    waiting: RefCell<HashMap<LaneKey, Vec<Rc<Seat>>>>,
}

/// Where one connection waits, again and again.
#[derive(Default)]
pub(super) struct Seat {
    is_taken: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Leaves the seat, however the wait ends.
pub(super) struct Seated<'a>(&'a Seat);

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.0.is_taken.set(false);
    }
}

impl Seat {
    /// Sits down: who wakes it from here on is heard.
    pub(super) fn take(&self) -> Seated<'_> {
        self.is_taken.set(true);
        Seated(self)
    }

    /// Somebody waits here.
    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.get()
    }

    /// Wakes who waits here; false when nobody does.
    pub(super) fn wake(&self) -> bool {
        let was_taken = self.is_taken.replace(false);
        if let (true, Some(waker)) = (was_taken, self.waker.take()) {
            waker.wake();
        }
        was_taken
    }
}

impl Seated<'_> {
    pub(super) async fn woken(&self) {
        let Self(seat) = self;
        poll_fn(|cx| {
            if !seat.is_taken() {
                return Poll::Ready(());
            }
            let mut waker = seat.waker.borrow_mut();
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await;
    }
}

impl Idle {
    /// Wakes one connection of `lane`; false when none waits.
    pub(super) fn wake(&self, lane: LaneKey) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some(line) = waiting.get_mut(&lane) else {
            return false;
        };
        while let Some(seat) = line.pop() {
            if seat.wake() {
                return true;
            }
        }
        false
    }

    /// Waits on `seat` to be woken; false when `until` came first, or `end` did.
    pub(super) async fn wait<W: World>(
        &self,
        world: &W,
        lane: LaneKey,
        seat: &Rc<Seat>,
        until: Tick,
        end: impl Future<Output = ()>,
    ) -> bool {
        let seated = seat.take();
        self.waiting
            .borrow_mut()
            .entry(lane)
            .or_default()
            .push(Rc::clone(seat));
        let woken = async {
            seated.woken().await;
            true
        };
        let over = async {
            future::or(world.sleep(until), end).await;
            false
        };
        let was_woken = future::or(woken, over).await;
        drop(seated);
        if !was_woken {
            self.tidy(lane);
        }
        was_woken
    }

    /// Forgets those who wait no more.
    pub(super) fn tidy(&self, lane: LaneKey) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(line) = waiting.get_mut(&lane) {
            line.retain(|seat| seat.is_taken());
            if line.is_empty() {
                waiting.remove(&lane);
            }
        }
    }
}
