//! Counts who is inside, and closes: how a shard ends without cutting anybody off.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A door that is open, then closed, then empty. Cloning shares it.
#[derive(Clone, Default)]
pub struct Gate {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    inside: Cell<usize>,
    closed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// Somebody is inside; dropped, they have left, however they ended.
pub struct Pass {
    inner: Rc<Inner>,
}

impl Gate {
    /// Goes in; `None` when the gate is closed.
    #[must_use]
    pub fn enter(&self) -> Option<Pass> {
        if self.inner.closed.get() {
            return None;
        }
        self.inner.inside.set(self.inner.inside.get() + 1);
        Some(Pass { inner: Rc::clone(&self.inner) })
    }

    /// Lets nobody in any more, and wakes whoever waits in [`Gate::closed`].
    pub fn close(&self) {
        self.inner.closed.set(true);
        self.inner.wake();
    }

    /// True after [`Gate::close`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.get()
    }

    /// How many are inside.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inner.inside.get()
    }

    /// Waits until nobody is inside.
    pub async fn empty(&self) {
        poll_fn(|cx| {
            if self.inner.inside.get() == 0 {
                return Poll::Ready(());
            }
            self.inner.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.inner.inside.set(self.inner.inside.get() - 1);
        if self.inner.inside.get() == 0 {
            self.inner.wake();
        }
    }
}
