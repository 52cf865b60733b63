//! Who waits for something that comes one at a time, in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The line. Whoever stands in it looks for himself whether his turn has come, when he is called.
#[derive(Default)]
pub(super) struct Line {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waiter>>,
}

#[derive(Default)]
struct Waiter {
    is_called: bool,
    waker: Option<Waker>,
}

/// A place in a line. Dropped, it is left.
pub(super) struct Turn<'a> {
    line: &'a Line,
    place: u64,
}

impl Line {
    /// Joins at the end.
    pub(super) fn join(&self) -> Turn<'_> {
        let place = self.next.get();
        self.next.set(place + 1);
        self.waiting.borrow_mut().insert(place, Waiter::default());
        Turn { line: self, place }
    }

    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Calls whoever came first.
    pub(super) fn call(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let waker = waiting.first_entry().and_then(|mut first| {
            first.get_mut().is_called = true;
            first.get_mut().waker.take()
        });
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Turn<'_> {
    /// Nobody came before.
    pub(super) fn is_first(&self) -> bool {
        let waiting = self.line.waiting.borrow();
        waiting
            .first_key_value()
            .is_some_and(|(place, _)| *place == self.place)
    }

    /// Waits to be called.
    pub(super) async fn called(&self) {
        poll_fn(|cx| {
            let mut waiting = self.line.waiting.borrow_mut();
            let Some(waiter) = waiting.get_mut(&self.place) else {
                return Poll::Ready(());
            };
            if std::mem::take(&mut waiter.is_called) {
                return Poll::Ready(());
            }
            waiter.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Its waker is dropped when the line is free again.
        let left = self.line.waiting.borrow_mut().remove(&self.place);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn the_first_is_called_and_who_leaves_makes_room_for_the_next() {
        let line = Line::default();
        assert!(line.is_empty());
        line.call();
        block_on(async {
            let (first, second) = (line.join(), line.join());
            assert!(first.is_first() && !second.is_first());
            assert!(poll_once(first.called()).await.is_none());
            line.call();
            assert!(poll_once(second.called()).await.is_none());
            assert!(poll_once(first.called()).await.is_some());
            // Each call counts once.
            assert!(poll_once(first.called()).await.is_none());
            drop(first);
            assert!(second.is_first());
            line.call();
            assert!(poll_once(second.called()).await.is_some());
        });
        assert!(line.is_empty());
    }
}
