//! Counts who is inside, and closes: how a shard ends without cutting anybody off.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// A door that is open, then closed, then empty. Cloning shares it.
#[derive(Clone, Default)]
pub(in crate::shard) struct Gate {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Everybody inside; a waker where one waits to hear of the closing.
    inside: RefCell<Slab<Option<Waker>>>,
    closed: Cell<bool>,
    /// Who waits for the last one to leave.
    waiting: RefCell<Vec<Waker>>,
}

/// Somebody is inside; dropped, they have left, however they ended.
pub(in crate::shard) struct Pass {
    inner: Rc<Inner>,
    place: usize,
}

impl Gate {
    /// Goes in; `None` when the gate is closed.
    #[must_use]
    pub(in crate::shard) fn enter(&self) -> Option<Pass> {
        if self.inner.closed.get() {
            return None;
        }
        let place = self.inner.inside.borrow_mut().insert(None);
        Some(Pass {
            inner: Rc::clone(&self.inner),
            place,
        })
    }

    /// Lets nobody in any more, and wakes whoever waits in [`Pass::closed`].
    pub(super) fn close(&self) {
        self.inner.closed.set(true);
        let mut wakers = Vec::new();
        for (_, waker) in self.inner.inside.borrow_mut().iter_mut() {
            wakers.extend(waker.take());
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// True after [`Gate::close`].
    #[must_use]
    pub(in crate::shard) fn is_closed(&self) -> bool {
        self.inner.closed.get()
    }

    /// How many are inside.
    #[must_use]
    pub(in crate::shard) fn inside(&self) -> usize {
        self.inner.inside.borrow().len()
    }

    /// Waits until nobody is inside.
    pub(in crate::shard) async fn empty(&self) {
        poll_fn(|cx| {
            if self.inside() == 0 {
                return Poll::Ready(());
            }
            self.inner.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Pass {
    /// Waits for the gate to close. A pass has one such wait at a time.
    pub(in crate::shard) async fn closed(&self) {
        poll_fn(|cx| self.poll_closed(cx)).await;
    }

    /// The same for those who wait for something else too.
    pub(in crate::shard) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        if self.inner.closed.get() {
            return Poll::Ready(());
        }
        match self.inner.inside.borrow_mut().get_mut(self.place) {
            Some(Some(waker)) if waker.will_wake(cx.waker()) => {}
            Some(place) => *place = Some(cx.waker().clone()),
            None => {}
        }
        Poll::Pending
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let left = {
            let mut inside = self.inner.inside.borrow_mut();
            inside.try_remove(self.place);
            inside.len()
        };
        if left == 0 {
            self.inner.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn nobody_enters_a_closed_gate_and_the_last_one_out_is_noticed() {
        let gate = Gate::default();
        let (first, second) = (gate.enter(), gate.enter());
        block_on(async {
            let mut empty = Box::pin(gate.empty());
            assert!(poll_once(&mut empty).await.is_none());
            gate.close();
            assert!(gate.enter().is_none());
            drop(first);
            assert!(poll_once(&mut empty).await.is_none());
            drop(second);
            assert!(poll_once(&mut empty).await.is_some());
        });
    }

    #[test]
    fn those_inside_hear_of_the_closing() {
        let gate = Gate::default();
        let pass = gate.enter().unwrap();
        block_on(async {
            assert!(poll_once(pass.closed()).await.is_none());
            gate.close();
            assert!(poll_once(pass.closed()).await.is_some());
        });
        drop(pass);
        assert_eq!(gate.inside(), 0);
    }
}
