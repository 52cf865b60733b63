//! Tasks that panic where they use the world, for tests of the running program.

use std::cell::Cell;
use std::future::{Future, poll_fn};

use crate::trial;

thread_local! {
    /// What the task is called that runs.
    static KIND: Cell<&'static str> = const { Cell::new("") };
}

/// The task that runs may panic here.
pub(super) fn tempt() {
    trial::tempt(KIND.get());
}

/// Says what `task` is called, whenever it runs.
pub(super) fn known_as(
    kind: &'static str,
    task: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    let mut task = Box::pin(task);
    poll_fn(move |cx| {
        KIND.set(kind);
        let polled = task.as_mut().poll(cx);
        KIND.set("");
        polled
    })
}
