//! How soon a shard that wakes gets its core from a program that is busy there.
//!
//! A shard sleeps and wakes several times for each message, and waits for the disk between. On a
//! core that others use too it comes back when their time slice ends, by default after
//! milliseconds: longer than the disk takes. Since Linux 6.12 a thread may ask for shorter slices
//! (sched(7), EEVDF): it gets no more of the processor, but gets it sooner. The kernel's workers
//! that write and sync for a shard inherit what it asked for.

use std::time::Duration;

/// Asks for time slices of `slice` for this thread; zero leaves it the kernel's. Kernels before
/// 6.12 do not look at it, and a sandbox may refuse the call: nothing depends on it.
pub(super) fn ask(slice: Duration) {
    let Some(mut now) = attributes().filter(|_| !slice.is_zero()) else {
        return;
    };
    // A thread that somebody gave a real-time policy has no slices.
    if now.sched_policy == libc::SCHED_OTHER as u32 {
        now.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the kernel reads `size` octets, which it wrote itself, during the call.
        let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const now, 0) };
    }
}

/// This thread's policy, niceness and slice.
fn attributes() -> Option<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>();
    // SAFETY: it is made of integers, for which zeros are a value.
    let mut now: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` octets, all of them the struct's, during the call.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size, 0) };
    (done == 0).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_the_slice_it_asks_for() {
        let before = attributes().expect("the kernel says");
        ask(Duration::ZERO);
        let unchanged = attributes().expect("the kernel says");
        assert_eq!(unchanged.sched_runtime, before.sched_runtime);
        ask(Duration::from_micros(200));
        let after = attributes().expect("the kernel says");
        assert_eq!(after.sched_policy, before.sched_policy);
        assert_eq!(after.sched_nice, before.sched_nice);
        // Older kernels say 0: they have one slice for all.
        assert!(matches!(after.sched_runtime, 0 | 200_000));
    }
}
