//! How much of a day a line of a plan has sent, in one number that all shards change: never more
//! than the day has, whoever comes at the same time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::route::warmup::Day;

/// The count of one line.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// See [`State`].
    state: AtomicU64,
    /// Somebody wants so much and finds that it is not set aside yet.
    wanted: AtomicU32,
    /// The last day of which the log has said that it is used up.
    told: AtomicU32,
}

/// What a count says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The day that it counts.
    pub(super) day: Day,
    /// What was sent.
    pub(super) used: u32,
    /// What the disk says was sent: so much may be, and a crash forgets none of it.
    pub(super) reserved: u32,
}

/// Why nothing may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// The day is used up.
    Spent,
    /// There is room, and the disk does not know yet that it will be used.
    NotReserved,
}

impl State {
    /// Day, used and reserved: 16, 24 and 24 bits.
    const fn pack(self) -> u64 {
        (self.day.0 as u64) << 48 | (self.used as u64 & MASK) << 24 | (self.reserved as u64 & MASK)
    }

    const fn unpack(packed: u64) -> Self {
        Self {
            day: Day((packed >> 48) as u16),
            used: (packed >> 24 & MASK) as u32,
            reserved: (packed & MASK) as u32,
        }
    }
}

impl Count {
    /// What it says now.
    pub(super) fn state(&self) -> State {
        State::unpack(self.state.load(Ordering::Acquire))
    }

    /// What is left of a day that has `limit`; `None` while it counts another day.
    pub(super) fn left(&self, day: Day, limit: u32) -> Option<u32> {
        let state = self.state();
        match limit {
            0 => Some(0),
            _ => (state.day == day).then(|| limit.saturating_sub(state.used)),
        }
    }

    /// Takes up to `wanted` of what is left, at least one.
    pub(super) fn take(&self, day: Day, limit: u32, wanted: u32) -> Result<u32, Short> {
        loop {
            let left = self.left(day, limit).ok_or(Short::NotReserved)?;
            let state = self.state();
            if left == 0 {
                return Err(Short::Spent);
            }
            let taken = wanted.min(left);
            let used = state.used + taken;
            if state.day != day || used > state.reserved {
                return Err(Short::NotReserved);
            }
            if used > limit {
                // Others were here between the two looks.
                continue;
            }
            if self.change(state, State { used, ..state }) {
                return Ok(taken);
            }
        }
    }

    /// Gives back what was taken and not sent.
    pub(super) fn give_back(&self, day: Day, taken: u32) {
        loop {
            let state = self.state();
            let used = state.used.saturating_sub(taken);
            if state.day != day || self.change(state, State { used, ..state }) {
                return;
            }
        }
    }

    /// Somebody wants so much.
    pub(super) fn want(&self, wanted: u32) {
        self.wanted.fetch_max(wanted, Ordering::AcqRel);
    }

    /// How much somebody wants, once.
    pub(super) fn wanted(&self) -> u32 {
        self.wanted.swap(0, Ordering::AcqRel)
    }

    /// Less than half of what is set aside at a time is left of it.
    pub(super) fn runs_low(&self, limit: u32) -> bool {
        let State { used, reserved, .. } = self.state();
        reserved < limit && reserved.saturating_sub(used) < block(limit).div_ceil(2)
    }

    /// The disk has it: of the day so much may be used. Of another day than before, `used` was
    /// already; what that had used is told.
    pub(super) fn reserve(&self, new: State) -> Option<State> {
        loop {
            let old = self.state();
            let same = old.day == new.day;
            let used = if same { old.used } else { new.used };
            if self.change(old, State { used, ..new }) {
                return (!same).then_some(old);
            }
        }
    }

    /// Nothing more may be taken. What it comes to.
    pub(super) fn close(&self) -> State {
        loop {
            let old = self.state();
            let closed = State {
                reserved: old.used,
                ..old
            };
            if self.change(old, closed) {
                return closed;
            }
        }
    }

    /// True for the first who asks on this day.
    pub(super) fn tells(&self, day: Day) -> bool {
        let day = u32::from(day.0);
        self.told.swap(day, Ordering::AcqRel) != day
    }

    fn change(&self, old: State, new: State) -> bool {
        self.state
            .compare_exchange_weak(old.pack(), new.pack(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// How much of a day is set aside at a time: less costs more writes, more is what a crash may leave
/// unused.
pub(super) fn block(limit: u32) -> u32 {
    (limit / 32).clamp(BLOCK_MIN, BLOCK_MAX)
}

const MASK: u64 = (1 << 24) - 1;
const BLOCK_MIN: u32 = 4;
const BLOCK_MAX: u32 = 1000;

const _: () = assert!(
    (crate::route::warmup::LIMIT_MAX as u64) < MASK,
    "a count must fit its bits"
);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const DAY: Day = Day(7);

    fn reserved(used: u32, reserved: u32) -> Count {
        let count = Count::default();
        let state = State {
            day: DAY,
            used,
            reserved,
        };
        count.reserve(state);
        count
    }

    #[test]
    fn a_state_fits_its_number() {
        let state = State {
            day: Day(u16::MAX),
            used: 10_000_000,
            reserved: 9_999_999,
        };
        assert_eq!(State::unpack(state.pack()), state);
    }

    #[test]
    fn what_is_not_on_the_disk_is_not_taken() {
        let count = reserved(0, 4);
        assert_eq!(count.take(Day(8), 10, 1), Err(Short::NotReserved));
        assert_eq!(count.take(DAY, 10, 3), Ok(3));
        assert_eq!(count.take(DAY, 10, 2), Err(Short::NotReserved));
        assert_eq!(count.take(DAY, 10, 1), Ok(1));
        let whole = State {
            day: DAY,
            used: 0,
            reserved: 10,
        };
        assert_eq!(count.reserve(whole), None);
        assert_eq!(count.take(DAY, 10, 50), Ok(6), "what is left");
        assert_eq!(count.take(DAY, 10, 1), Err(Short::Spent));
        count.give_back(DAY, 2);
        assert_eq!(count.take(DAY, 10, 50), Ok(2));
    }

    #[test]
    fn a_limit_that_a_reload_has_lowered_counts_at_once() {
        let count = reserved(5, 10);
        assert_eq!(count.take(DAY, 5, 1), Err(Short::Spent));
        assert_eq!(count.take(DAY, 6, 9), Ok(1));
        assert_eq!(count.left(DAY, 3), Some(0));
    }

    #[test]
    fn another_day_begins_with_what_the_disk_says_and_tells_of_the_one_before() {
        let count = reserved(3, 8);
        let next = State {
            day: Day(8),
            used: 1,
            reserved: 5,
        };
        let before = count.reserve(next).unwrap();
        assert_eq!((before.day, before.used), (DAY, 3));
        assert_eq!(count.state(), next);
        assert_eq!(count.take(DAY, 10, 1), Err(Short::NotReserved));
        let closed = count.close();
        assert_eq!((closed.used, closed.reserved), (1, 1));
        assert_eq!(count.take(Day(8), 10, 1), Err(Short::NotReserved));
    }

    #[test]
    fn whoever_comes_at_the_same_time_takes_no_more_than_there_is() {
        let count = Arc::new(reserved(0, 5_000));
        let threads = (0..4).map(|_| {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let takes = (0..5_000).map(|nth| count.take(DAY, 4_001, 1 + nth % 3));
                takes.filter_map(Result::ok).sum::<u32>()
            })
        });
        let threads: Vec<_> = threads.collect();
        let taken: u32 = threads.into_iter().map(|one| one.join().unwrap()).sum();
        assert_eq!((taken, count.state().used), (4_001, 4_001));
    }

    #[test]
    fn the_log_says_once_a_day_that_it_is_used_up() {
        let count = Count::default();
        assert!(count.tells(DAY) && !count.tells(DAY) && count.tells(Day(8)));
    }
}
