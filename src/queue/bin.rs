//! What operators have removed, and can have back for a while. A message here keeps its parts, its
//! schedule and its place on the disk; nobody takes it, it does not expire, and it counts as removed.

use std::collections::{BTreeSet, HashMap};

use crate::time::{Tick, Wall};

use super::part::Fate;
use super::{Decisions, MessageKey, POLL_BATCH, Queue, State};

/// Until when a removed message can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// By the clock, for the timer.
    pub until: Tick,
    /// By the calendar, to the microsecond as the disk has it: what was removed together is known by it.
    pub wall: Wall,
}

/// The removed messages, by when they are gone for good.
#[derive(Debug, Default)]
pub(super) struct Bin {
    order: BTreeSet<(Tick, MessageKey)>,
    removals: HashMap<MessageKey, Removal>,
}

impl Bin {
    pub(super) fn len(&self) -> usize {
        self.removals.len()
    }

    pub(super) fn first(&self) -> Option<Tick> {
        self.order.first().map(|(until, _)| *until)
    }

    pub(super) fn put(&mut self, message: MessageKey, removal: Removal) {
        self.forget(message);
        self.order.insert((removal.until, message));
        self.removals.insert(message, removal);
    }

    pub(super) fn forget(&mut self, message: MessageKey) {
        if let Some(removal) = self.removals.remove(&message) {
            self.order.remove(&(removal.until, message));
        }
    }

    fn pop_due(&mut self, now: Tick) -> Option<MessageKey> {
        let &(until, message) = self.order.first().filter(|(until, _)| *until <= now)?;
        self.order.remove(&(until, message));
        self.removals.remove(&message);
        Some(message)
    }
}

impl Queue {
    /// Removes a message without a report; for a while it can be put back. Parts in flight
    /// cannot be called back: what of them comes back undelivered is removed then. `None` when there
    /// is no such message, or when it is removed or bounced already.
    pub fn remove(
        &mut self,
        now: Tick,
        message: MessageKey,
        removal: Removal,
    ) -> Option<Decisions> {
        let index = self.messages.find(message.0)?;
        if self.messages[index].fate != Fate::Open {
            return None;
        }
        self.messages[index].fate = Fate::Removed;
        self.bin.put(message, removal);
        for part in self.parts_of(index) {
            if self.parts[part].state != State::InFlight {
                self.move_part(part, State::Removed);
            }
        }
        let mut decisions = Decisions::new();
        self.conclude(now, index, &mut decisions);
        Some(decisions)
    }

    /// Puts a removed message back, with the schedule it had: what is due is ready at once, what was
    /// held is held, and what would have expired meanwhile expires. False when it is not removed.
    pub fn restore(&mut self, now: Tick, message: MessageKey) -> bool {
        let index = self.messages.find(message.0);
        let Some(index) = index.filter(|&index| self.messages[index].fate == Fate::Removed) else {
            return false;
        };
        self.messages[index].fate = Fate::Open;
        self.bin.forget(message);
        for part in self.parts_of(index) {
            if self.parts[part].state == State::Removed {
                let (lane, due) = (self.parts[part].lane, self.parts[part].due);
                self.lanes[lane].expect(now);
                let ready = due <= now;
                self.move_part(part, if ready { State::Ready } else { State::Waiting });
            }
        }
        true
    }

    /// Until when a removed message can be put back.
    #[must_use]
    pub fn removal(&self, message: MessageKey) -> Option<Removal> {
        self.bin.removals.get(&message).copied()
    }

    /// Until when the message can be put back that stays longest.
    #[must_use]
    pub fn last_removal(&self) -> Option<Removal> {
        let (_, message) = self.bin.order.last()?;
        self.removal(*message)
    }

    /// Makes removals final whose time is over.
    pub(super) fn empty_bin(&mut self, now: Tick, decisions: &mut Decisions) {
        for _ in 0..POLL_BATCH {
            let Some(message) = self.bin.pop_due(now) else {
                break;
            };
            decisions.extend(self.remove_for_good(now, message));
        }
    }

    /// Counts a part's recipients as removed, or as taken once more. They are counted as accepted
    /// twice then: what counts up never counts down.
    pub(super) fn count_removed(&mut self, part: u32, was: State, state: State) {
        let count = self.parts[part].recipients.len() as u64;
        let counters = &mut self.counters;
        match (was == State::Removed, state == State::Removed) {
            (false, true) => {
                counters.queued -= count;
                counters.removed += count;
            }
            (true, false) => {
                counters.accepted += count;
                counters.queued += count;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Removal, Wall};
    use crate::mail::envelope::QueueId;
    use crate::mail::outcome::Blame;
    use crate::queue::tests::{admission, at, decisions, deferred, delivered, lanes, settings};
    use crate::queue::{
        Admission, Decision, Decisions, LaneKey, MessageKey, Outcomes, Queue, State,
    };

    fn removal(seconds: i64) -> Removal {
        Removal {
            until: at(seconds),
            wall: Wall(seconds),
        }
    }

    fn in_bin() -> (Queue, MessageKey, LaneKey) {
        let mut queue = Queue::new(settings());
        let key = queue.admit(
            at(0),
            admission(1, at(0), &[("a.test", &[0, 1]), ("b.test", &[2])]),
        );
        let lane = lanes(&mut queue, at(0))[0];
        (queue, key, lane)
    }

    #[test]
    fn what_was_removed_rests_and_comes_back_as_it_was() {
        let (mut queue, key, lane) = in_bin();
        let taken = queue.take(at(1), lane).expect("a part");
        let results = taken.recipients.iter();
        let results = results.map(|&place| (place, deferred(Blame::Recipient)));
        queue.settle(at(1), taken.part, results.collect::<Outcomes>(), 0);
        queue.hold(key);
        let before: Vec<_> = queue
            .show(key)
            .iter()
            .map(|one| (one.state, one.due, one.attempts))
            .collect();
        let told = queue.remove(at(2), key, removal(602));
        assert_eq!(told, Some(Decisions::new()), "nothing is final");
        queue.check_invariants();
        assert!(
            queue
                .show(key)
                .iter()
                .all(|one| one.state == State::Removed)
        );
        assert_eq!((queue.messages(), queue.known()), (0, 1));
        let counters = queue.counters();
        assert_eq!((counters.queued, counters.removed), (0, 3));
        assert_eq!(queue.removal(key), Some(removal(602)));
        assert_eq!(queue.next_deadline(), Some(at(602)));
        // Orders are for what is there.
        assert!(!queue.hold(key) && !queue.release(at(3), key) && !queue.retry_now(at(3), key));
        assert_eq!(queue.remove(at(3), key, removal(900)), None);
        assert!(queue.bounce(at(3), key).is_empty());
        assert!(queue.restore(at(500), key));
        queue.check_invariants();
        let after: Vec<_> = queue
            .show(key)
            .iter()
            .map(|one| (one.state, one.due, one.attempts))
            .collect();
        assert_eq!(before, after);
        let counters = queue.counters();
        assert_eq!(
            (counters.accepted, counters.queued, counters.removed),
            (6, 3, 3)
        );
        assert!(!queue.restore(at(500), key), "it is there");
        assert!(queue.release(at(600), key));
        assert!(
            decisions(&mut queue, at(700)).is_empty(),
            "its removal is forgotten"
        );
    }

    #[test]
    fn a_removal_is_final_when_its_time_is_over() {
        let (mut queue, key, _) = in_bin();
        queue.remove(at(2), key, removal(602));
        assert!(decisions(&mut queue, at(601)).is_empty());
        let told = decisions(&mut queue, at(602));
        let removed = told
            .iter()
            .filter(|one| matches!(one, Decision::Removed { .. }));
        assert_eq!(removed.count(), 3);
        assert!(
            matches!(told.last(), Some(Decision::Finished { .. })),
            "{told:?}"
        );
        queue.check_invariants();
        assert_eq!((queue.counters().removed, queue.known()), (3, 0));
        assert!(!queue.restore(at(603), key));
    }

    #[test]
    fn what_is_in_flight_when_it_is_removed_follows_or_is_delivered() {
        for (outcome, finished) in [(deferred(Blame::Recipient), false), (delivered(), true)] {
            let mut queue = Queue::new(settings());
            let key = queue.admit(at(0), admission(1, at(0), &[("a.test", &[0])]));
            let lane = lanes(&mut queue, at(0))[0];
            let taken = queue.take(at(1), lane).expect("a part");
            queue.remove(at(2), key, removal(602));
            queue.check_invariants();
            assert_eq!(queue.counters().queued, 1, "it may still be delivered");
            let told = queue.settle(at(3), taken.part, vec![(0, outcome)], 0);
            queue.check_invariants();
            assert_eq!(
                told.iter()
                    .any(|one| matches!(one, Decision::Finished { .. })),
                finished
            );
            assert_eq!(queue.removal(key).is_some(), !finished);
            if !finished {
                assert_eq!(queue.show(key)[0].state, State::Removed);
                assert!(queue.restore(at(300), key));
                assert_eq!(queue.show(key)[0].attempts, 1);
            }
        }
    }

    #[test]
    fn a_restart_finds_what_was_removed() {
        let mut queue = Queue::new(settings());
        for (id, until) in [(1, 50), (2, 600)] {
            queue.admit(
                at(100),
                Admission {
                    held: true,
                    removed: Some(removal(until)),
                    ..admission(id, at(0), &[("a.test", &[0])])
                },
            );
        }
        queue.check_invariants();
        assert_eq!((queue.messages(), queue.counters().removed), (0, 2));
        let told = decisions(&mut queue, at(100));
        assert_eq!(told.len(), 2, "the time of one was over: {told:?}");
        let key = queue.find(QueueId(2)).expect("the other");
        assert!(queue.restore(at(101), key));
        assert_eq!(queue.show(key)[0].state, State::Held);
    }
}
