//! The queue's own audit, for tests and the simulator. It walks everything.

use super::part::{EMPTY, Fate};
use super::slab::NONE;
use super::wakeups::Sleeper;
use super::{Queue, State};

impl Queue {
    /// Panics with what is wrong, if anything is. For tests: O(n).
    ///
    /// # Panics
    /// When a count, a list, a wake-up or the accounting does not agree with the parts.
    pub fn check_invariants(&self) {
        let (of_parts, sleeping_parts) = self.check_parts();
        let of_messages = self.check_messages();
        let sleeping_lanes = self.check_lanes();
        assert_eq!(
            self.wakeups.len(),
            sleeping_parts + sleeping_lanes,
            "no wake-up without a sleeper"
        );
        self.check_counters(of_parts + of_messages);
    }

    /// Recipients in parts, and parts with a wake-up.
    #[allow(clippy::expect_used, reason = "an audit panics with what is wrong")]
    fn check_parts(&self) -> (u64, usize) {
        let mut sleepers = 0;
        let mut pending = 0u64;
        for (index, part) in self.parts.iter() {
            assert!(!part.recipients.is_empty(), "a part has recipients");
            assert!(
                part.recipients.is_sorted_by_key(|queued| queued.place),
                "recipients ascend"
            );
            let is_removed = part.state == State::Removed;
            if !is_removed {
                pending += part.recipients.len() as u64;
            }
            let fate = self.messages[part.message].fate;
            assert!(
                part.state == State::InFlight || is_removed == (fate == Fate::Removed),
                "what is removed is all of it that is here: {part:?} {fate:?}"
            );
            let awake = matches!(part.state, State::InFlight | State::Held | State::Removed);
            assert_eq!(
                awake,
                part.wakeup == NONE,
                "one wake-up for what is ready or waiting: {part:?}"
            );
            if !awake {
                sleepers += 1;
                let (at, who) = self
                    .wakeups
                    .at(part.wakeup)
                    .expect("a position is inside the heap");
                assert_eq!(who, Sleeper::Part(index));
                assert!(
                    part.state != State::Waiting || at <= part.due,
                    "no part sleeps longer than its schedule"
                );
                let accepted = self.messages[part.message].accepted;
                assert!(
                    at <= self.settings.expires_at(accepted),
                    "nothing outlives its expiry"
                );
            }
        }
        (pending, sleepers)
    }

    /// Recipients that failed and wait for their report.
    fn check_messages(&self) -> u64 {
        let mut pending = 0;
        assert_eq!(
            self.ids.len(),
            self.messages.len(),
            "every message is named"
        );
        let removed = self.messages.iter();
        let removed = removed.filter(|(_, message)| message.fate == Fate::Removed);
        assert_eq!(removed.count(), self.bin.len(), "what is removed ends");
        for (index, message) in self.messages.iter() {
            assert_eq!(self.ids.find(message.id, &self.messages), Some(index));
            let key = super::MessageKey(self.messages.key(index));
            let is_removed = message.fate == Fate::Removed;
            assert_eq!(is_removed, self.removal(key).is_some());
            let parts = self.list_of(message.first, |part| self.parts[part].sibling);
            assert!(parts.iter().all(|&part| self.parts[part].message == index));
            let busy = parts
                .iter()
                .filter(|&&part| self.parts[part].is_busy())
                .count();
            assert_eq!(busy, message.busy as usize, "busy parts are counted");
            let gathered = message.gathered.as_ref();
            pending += gathered.map_or(0, |gathered| gathered.failed.len() as u64);
        }
        pending
    }

    /// Lanes with a wake-up.
    fn check_lanes(&self) -> usize {
        let (mut ready, mut sleepers) = (0, 0);
        for (index, lane) in self.lanes.iter() {
            assert_eq!(
                self.names.get(&lane.name),
                Some(&index),
                "a lane is found by its name"
            );
            let mut list = Vec::new();
            for (rank, head) in lane.heads.into_iter().enumerate() {
                let one = self.list_of(head, |part| self.parts[part].after);
                assert_eq!(one.last().copied().unwrap_or(EMPTY), lane.tails[rank]);
                let ranks = one.iter().map(|&part| self.parts[part].message);
                let mut ranks = ranks.map(|message| self.messages[message].priority as usize);
                assert!(ranks.all(|one| one == rank), "each priority has its list");
                list.extend(one);
            }
            assert_eq!(list.len(), lane.ready as usize, "ready parts are counted");
            assert!(
                list.iter().all(|&part| self.parts[part].lane == index
                    && self.parts[part].state == State::Ready)
            );
            ready += list.len();
            let count = |state| {
                self.parts
                    .iter()
                    .filter(|(_, part)| part.lane == index && state == Some(part.state))
                    .count()
            };
            assert_eq!(
                count(Some(State::InFlight)),
                lane.in_flight as usize,
                "parts in flight are counted"
            );
            let all = self
                .parts
                .iter()
                .filter(|(_, part)| part.lane == index)
                .count();
            assert_eq!(all, lane.parts as usize, "parts are counted");
            let closed = lane.gate == super::lane::Gate::Closed;
            assert_eq!(
                closed,
                lane.wakeup != NONE,
                "a closed lane, and only it, has a wake-up"
            );
            assert!(
                lane.connections_wanted() == 0
                    || lane.announced
                    || lane.connections > 0
                    || lane.ready > 0
            );
            sleepers += usize::from(closed);
        }
        let states = self
            .parts
            .iter()
            .filter(|(_, part)| part.state == State::Ready)
            .count();
        assert_eq!(ready, states, "what is ready stands in a lane");
        sleepers
    }

    fn check_counters(&self, pending: u64) {
        let counters = self.counters;
        let left = counters.delivered
            + counters.bounced
            + counters.expired
            + counters.removed
            + counters.queued;
        assert_eq!(counters.accepted, left, "the accounting balances");
        assert!(pending <= counters.queued, "what is here counts as queued");
    }

    fn list_of(&self, first: u32, next: impl Fn(u32) -> u32) -> Vec<u32> {
        let mut list = Vec::new();
        let mut part = first;
        while part != EMPTY {
            assert!(
                list.len() < self.parts.len(),
                "a list does not run in circles"
            );
            list.push(part);
            part = next(part);
        }
        list
    }
}
