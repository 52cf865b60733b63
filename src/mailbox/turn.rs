//! Whose turn it is: tasks of one shard that must not do something at the same time, in the order
//! in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Turns that are taken one after the other.
#[derive(Clone, Default)]
pub struct Turn {
    queue: Rc<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The next number to be drawn.
    next: Cell<u64>,
    /// Those that wait or act, the first one acts.
    numbers: RefCell<VecDeque<(u64, Option<Waker>)>>,
}

/// It is the holder's turn, until this is dropped.
pub struct Mine {
    queue: Rc<Queue>,
    number: u64,
}

impl Turn {
    /// Waits for its turn.
    pub async fn take(&self) -> Mine {
        let number = self.queue.next.get();
        self.queue.next.set(number + 1);
        self.queue.numbers.borrow_mut().push_back((number, None));
        // Made before the wait, so that a waiter that is dropped leaves the queue.
        let mine = Mine {
            queue: Rc::clone(&self.queue),
            number,
        };
        poll_fn(|cx| {
            let mut numbers = self.queue.numbers.borrow_mut();
            if numbers.front().is_some_and(|(first, _)| *first == number) {
                return Poll::Ready(());
            }
            if let Some((_, waker)) = numbers.iter_mut().find(|(one, _)| *one == number) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
        mine
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        let mut numbers = self.queue.numbers.borrow_mut();
        numbers.retain(|(number, _)| *number != self.number);
        let waker = numbers.front_mut().and_then(|(_, waker)| waker.take());
        drop(numbers);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A number that rises, and those who wait for it to.
#[derive(Default)]
pub struct Watch {
    version: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Watch {
    /// The number now.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// Raises it.
    pub fn raise(&self) {
        self.version.set(self.version.get() + 1);
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// Waits until it is not `seen`.
    pub async fn changed(&self, seen: u64) {
        poll_fn(|cx| {
            if self.version.get() != seen {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|known| known.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use futures_util::FutureExt as _;

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn turns_come_in_the_order_of_asking() {
        let turn = Turn::default();
        let first = turn.take().now_or_never().unwrap();
        let mut second = pin!(turn.take());
        let mut third = pin!(turn.take());
        assert!(poll(second.as_mut()).is_none() && poll(third.as_mut()).is_none());
        drop(first);
        assert!(
            poll(third.as_mut()).is_none(),
            "it is the second one's turn"
        );
        let held = poll(second.as_mut()).unwrap();
        assert!(poll(third.as_mut()).is_none());
        drop(held);
        assert!(poll(third.as_mut()).is_some());
    }

    #[test]
    fn whoever_goes_away_holds_nobody_up() {
        let turn = Turn::default();
        let first = turn.take().now_or_never().unwrap();
        let mut third = {
            let mut second = Box::pin(turn.take());
            assert!(poll(second.as_mut()).is_none());
            let mut third = Box::pin(turn.take());
            assert!(poll(third.as_mut()).is_none());
            third
        };
        drop(first);
        assert!(poll(third.as_mut()).is_some());
    }

    #[test]
    fn a_watcher_hears_what_happened_before_it_waited() {
        let watch = Watch::default();
        let seen = watch.version();
        let mut waits = pin!(watch.changed(seen));
        assert!(poll(waits.as_mut()).is_none());
        watch.raise();
        assert!(poll(waits.as_mut()).is_some());
        assert!(watch.changed(seen).now_or_never().is_some());
        assert!(watch.changed(watch.version()).now_or_never().is_none());
    }
}
