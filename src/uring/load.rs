//! What a shard's thread has done: the kernel's count of it, and the executor's.
//!
//! The time with a core and the wake-ups are the kernel's, one system call for all of them. How long
//! the shard had work only the executor knows: a shard that polls (`[runtime] spin`) has its core all
//! the time, and one whose core others use has work for longer than it has the core. glommio counts
//! from a wake-up to the next sleep, at the end of each round. Its counts of requests to the rings are
//! left alone: reading them copies nine sketches.

use std::cell::Cell;
use std::time::Duration;

use crate::world::{Load, Seat};

/// Adds up what the executor of one shard has counted.
pub(super) struct Meter {
    seat: Option<Seat>,
    busy: Cell<Duration>,
    turns: Cell<u64>,
}

impl Meter {
    /// Of the shard that is pinned to `seat`.
    pub(super) fn new(seat: Option<Seat>) -> Self {
        Self {
            seat,
            busy: Cell::default(),
            turns: Cell::default(),
        }
    }

    /// The load of the thread that asks, which is the shard's.
    pub(super) fn read(&self) -> Load {
        // Reading glommio's counts sets them to zero: nobody else may read them.
        let stats = glommio::executor().executor_stats();
        self.busy.set(self.busy.get() + stats.total_runtime());
        self.turns.set(self.turns.get() + stats.tasks_executed());
        let usage = usage();
        Load {
            seat: self.seat,
            busy: self.busy.get(),
            on_cpu: time(usage.ru_utime) + time(usage.ru_stime),
            wakeups: count(usage.ru_nvcsw),
            preemptions: count(usage.ru_nivcsw),
            turns: self.turns.get(),
        }
    }
}

/// What the kernel has counted of this thread.
fn usage() -> libc::rusage {
    // SAFETY: it is made of integers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one such struct during the call. It fails for a bad address or an
    // unknown target only, and then it has written nothing.
    let _ = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    usage
}

fn time(value: libc::timeval) -> Duration {
    Duration::from_secs(count(value.tv_sec)) + Duration::from_micros(count(value.tv_usec))
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
