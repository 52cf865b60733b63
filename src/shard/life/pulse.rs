//! How busy a shard was of late, and what its commits came to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use crate::observe::ask::Recent;
use crate::spool::log::CommitFacts;
use crate::world::{Load, Tick};

/// The load of the last seconds, one for each.
#[derive(Default)]
pub(in crate::shard) struct Pulse {
    taken: RefCell<VecDeque<(Tick, Load)>>,
}

impl Pulse {
    /// Whether another second is over.
    #[must_use]
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let taken = self.taken.borrow();
        taken
            .back()
            .is_none_or(|(at, _)| now.since(*at) >= PULSE_PERIOD)
    }

    /// Keeps what the load is now.
    pub(super) fn take(&self, now: Tick, load: Load) {
        let mut taken = self.taken.borrow_mut();
        if taken.len() == PULSES_MAX {
            taken.pop_front();
        }
        taken.push_back((now, load));
    }

    /// What was done since the oldest load that is kept.
    #[must_use]
    pub(in crate::shard) fn recent(&self, now: Tick, load: Load) -> Recent {
        let taken = self.taken.borrow();
        let Some((since, before)) = taken.front() else {
            return Recent::default();
        };
        let seconds = now.since(*since).as_secs_f64();
        if seconds == 0.0 {
            return Recent::default();
        }
        // The executor adds a round's time at its end: a long one may have begun before.
        let share = |now: Duration, before: Duration| {
            (now.saturating_sub(before).as_secs_f64() / seconds).min(1.0)
        };
        Recent {
            busy: share(load.busy, before.busy),
            on_cpu: share(load.on_cpu, before.on_cpu),
            wakeups: load.wakeups.saturating_sub(before.wakeups) as f64 / seconds,
        }
    }
}

/// What the spool has committed.
#[derive(Default)]
pub(in crate::shard) struct Commits {
    syncs: Cell<u64>,
    messages: Cell<u64>,
    octets: Cell<u64>,
}

impl Commits {
    /// Counts a batch.
    pub(super) fn count(&self, facts: CommitFacts) {
        let add = |sum: &Cell<u64>, more| sum.set(sum.get() + more);
        add(&self.octets, facts.octets);
        if facts.disk.is_some() {
            add(&self.syncs, 1);
            add(&self.messages, u64::from(facts.waiters));
        }
    }

    /// Batches that waited for the disk.
    #[must_use]
    pub(in crate::shard) fn syncs(&self) -> u64 {
        self.syncs.get()
    }

    /// Messages that these made safe.
    #[must_use]
    pub(in crate::shard) fn messages(&self) -> u64 {
        self.messages.get()
    }

    /// Octets of all batches.
    #[must_use]
    pub(in crate::shard) fn octets(&self) -> u64 {
        self.octets.get()
    }
}

const PULSE_PERIOD: Duration = Duration::from_secs(1);
/// With the present one: the last four to five seconds.
const PULSES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(busy: u64, on_cpu: u64, wakeups: u64) -> Load {
        Load {
            busy: Duration::from_millis(busy),
            on_cpu: Duration::from_millis(on_cpu),
            wakeups,
            ..Load::default()
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_core_that_was_full_a_minute_ago_is_not_full_now() {
        let pulse = Pulse::default();
        assert_eq!(pulse.recent(at(0), load(0, 0, 0)), Recent::default());
        for second in 0..60 {
            assert!(pulse.is_due(at(second)));
            pulse.take(at(second), load(1_000 * second, 600 * second, 50 * second));
            assert!(!pulse.is_due(at(second)));
        }
        let recent = pulse.recent(at(60), load(60_000, 36_000, 3_000));
        assert!((recent.busy - 1.0).abs() < 1e-9, "{recent:?}");
        assert!((recent.on_cpu - 0.6).abs() < 1e-9, "{recent:?}");
        assert!((recent.wakeups - 50.0).abs() < 1e-9, "{recent:?}");
        for second in 60..65 {
            pulse.take(at(second), load(60_000, 36_000, 3_000));
        }
        let recent = pulse.recent(at(65), load(60_000, 36_000, 3_000));
        assert_eq!(recent, Recent::default());
    }

    #[test]
    fn a_round_that_began_before_the_window_makes_no_core_busier_than_full() {
        let pulse = Pulse::default();
        pulse.take(at(10), load(0, 0, 0));
        let recent = pulse.recent(at(11), load(7_000, 1_000, 1));
        assert!((recent.busy - 1.0).abs() < 1e-9, "{recent:?}");
    }

    #[test]
    fn outcomes_that_nobody_waits_for_are_no_syncs() {
        let commits = Commits::default();
        let facts = CommitFacts {
            records: 5,
            waiters: 3,
            octets: 900,
            disk: Some(Duration::from_millis(2)),
        };
        commits.count(facts);
        commits.count(CommitFacts {
            waiters: 0,
            octets: 100,
            disk: None,
            ..facts
        });
        let told = (commits.syncs(), commits.messages(), commits.octets());
        assert_eq!(told, (1, 3, 1_000));
    }
}
