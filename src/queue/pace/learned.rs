//! What is learned of a peer that says "too fast".
//!
//! ```text
//!            "too fast"                       well for RAISE_WAIT
//!  unknown ─────────────▶ 4/5 of what it took ───────────────────▶ a little faster ─┐
//!     ▲                        ▲                                                   │
//!     │                        └──────────────── "too fast" ───────────────────────┤
//!     └──────────── nothing of the kind for PEACE, or faster than any limit ────────┘
//! ```

use std::time::Duration;

use crate::time::Tick;

/// What was taken of late: a count over the last [`HALF`] to twice that.
#[derive(Clone, Copy, Debug)]
pub struct Lately {
    since: Tick,
    half: Tick,
    before: u32,
    now: u32,
}

impl Lately {
    /// Begins to count.
    #[must_use]
    pub const fn new(now: Tick) -> Self {
        Self {
            since: now,
            half: now,
            before: 0,
            now: 0,
        }
    }

    /// So many more.
    pub fn add(&mut self, now: Tick, count: u32) {
        self.roll(now);
        self.now = self.now.saturating_add(count);
    }

    /// How many, and in how long.
    #[must_use]
    pub fn count(mut self, now: Tick) -> (u32, Duration) {
        self.roll(now);
        let from = self.since.max(self.half - HALF);
        (self.before.saturating_add(self.now), now.since(from))
    }

    /// From one to the next, on average; of none as if one had just come.
    pub(super) fn interval(self, now: Tick) -> Duration {
        let (count, span) = self.count(now);
        span.max(SPAN_MIN) / count.max(1)
    }

    pub(super) fn is_empty(self, now: Tick) -> bool {
        self.count(now).0 == 0
    }

    fn roll(&mut self, now: Tick) {
        let passed = now.since(self.half);
        if passed >= 2 * HALF {
            (self.before, self.now, self.half) = (0, 0, now);
            // Long ago: what comes now is a beginning.
            self.since = now - HALF;
        } else if passed >= HALF {
            (self.before, self.now) = (self.now, 0);
            self.half = self.half + HALF;
        }
    }
}

/// A rate that was found out.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    /// From one message to the next.
    pub(super) interval: Duration,
    /// What it took when it said that this was too fast.
    ceiling: Duration,
    /// Since when it is slowed.
    pub(super) since: Tick,
    /// When the rate was last changed.
    changed: Tick,
    /// When the peer last said that it was too fast.
    pub(super) strained: Tick,
    /// Slots booked since the last change.
    used: u32,
    /// What the peer said.
    pub(super) why: Box<str>,
}

impl Learned {
    /// It is too fast; `taken` is the pace at which mail was taken.
    pub(super) fn new(now: Tick, taken: Duration, why: &str) -> Self {
        let taken = taken.clamp(INTERVAL_MIN, INTERVAL_MAX);
        Self {
            interval: slower(taken),
            ceiling: taken,
            since: now,
            changed: now,
            strained: now,
            used: 0,
            why: why.into(),
        }
    }

    /// The same as before a restart: what it keeps, and what was too fast; when it first and last
    /// complained.
    pub(super) fn recalled(
        now: Tick,
        (interval, ceiling): (Duration, Duration),
        (since, strained): (Tick, Tick),
        why: &str,
    ) -> Self {
        Self {
            interval: interval.clamp(INTERVAL_MIN, INTERVAL_MAX),
            ceiling: ceiling.clamp(INTERVAL_MIN, INTERVAL_MAX),
            since,
            changed: now,
            strained,
            used: 0,
            why: why.into(),
        }
    }

    /// What it keeps, and what was too fast.
    pub(super) fn pace(&self) -> (Duration, Duration) {
        (self.interval, self.ceiling)
    }

    /// It is still too fast. True when the rate has changed: what was sent before the last change is
    /// still being answered for a while.
    pub(super) fn strain(&mut self, now: Tick, lately: Lately, why: &str) -> bool {
        self.strained = now;
        if *self.why != *why {
            self.why = why.into();
        }
        if now.since(self.changed) < self.settles_in() {
            return false;
        }
        let base = self.interval.max(lately.interval(now)).min(INTERVAL_MAX);
        // One that takes nothing at all for a while may have the same limit as before, later.
        self.ceiling = match lately.is_empty(now) {
            true => base.min(self.ceiling * 2),
            false => base,
        };
        self.set(now, slower(base));
        true
    }

    /// A slot was booked.
    pub(super) fn count_slot(&mut self) {
        self.used = self.used.saturating_add(1);
    }

    /// What time brings: false when it is to be forgotten.
    pub(super) fn rise(&mut self, now: Tick) -> bool {
        if now.since(self.strained) >= PEACE {
            return false;
        }
        let waits = RAISE_WAIT.max(self.interval * 3);
        let lasts = now.since(self.changed);
        if lasts < waits || self.strained > self.changed {
            // Strained since: it waits from there.
            if self.strained > self.changed && now.since(self.strained) >= waits {
                self.set(now, self.interval);
            }
            return true;
        }
        // Half of what it would have let through: else nobody knows what faster would do.
        let used = self.interval * self.used.saturating_mul(2);
        if used >= lasts {
            let raised = if self.interval > self.ceiling * 2 {
                self.interval / 2
            } else if self.interval * 9 > self.ceiling * 10 {
                self.interval * 10 / 11
            } else {
                self.interval * 33 / 34
            };
            self.set(now, raised);
        } else if lasts >= 4 * waits {
            self.set(now, self.interval);
        }
        self.interval >= INTERVAL_MIN
    }

    fn set(&mut self, now: Tick, interval: Duration) {
        self.interval = interval;
        self.changed = now;
        self.used = 0;
    }

    fn settles_in(&self) -> Duration {
        SETTLE.max(self.interval * 2)
    }
}

/// How many connections a peer was found to take.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    pub(super) most: u32,
    changed: Tick,
    pub(super) strained: Tick,
    pub(super) since: Tick,
    pub(super) why: Box<str>,
}

impl Crowd {
    /// With so many open, one was too many.
    pub(super) fn new(now: Tick, open: u32, why: &str) -> Self {
        Self {
            most: open.saturating_sub(1).max(1),
            changed: now,
            strained: now,
            since: now,
            why: why.into(),
        }
    }

    /// The same as before a restart: when it first and last complained.
    pub(super) fn recalled(
        now: Tick,
        most: u32,
        (since, strained): (Tick, Tick),
        why: &str,
    ) -> Self {
        Self {
            most: most.max(1),
            changed: now,
            strained,
            since,
            why: why.into(),
        }
    }

    /// The same again.
    pub(super) fn strain(&mut self, now: Tick, open: u32, why: &str) {
        self.most = self.most.min(open).saturating_sub(1).max(1);
        (self.changed, self.strained) = (now, now);
        self.why = why.into();
    }

    /// One more may be tried, now and then; `None` when it is to be forgotten, else whether it rose.
    pub(super) fn rise(&mut self, now: Tick) -> Option<bool> {
        if now.since(self.strained) >= PEACE {
            return None;
        }
        let rises = now.since(self.changed) >= CROWD_WAIT;
        if rises {
            self.most += 1;
            self.changed = now;
        }
        Some(rises)
    }
}

/// Four fifths of the rate.
fn slower(interval: Duration) -> Duration {
    (interval * 5 / 4).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

/// Half of the time over which is counted what a peer takes. Providers count minutes.
pub const HALF: Duration = Duration::from_secs(30);
/// A few messages in a moment are no rate yet.
const SPAN_MIN: Duration = Duration::from_secs(1);
/// How long a change has to show: what is under way was sent before it.
pub const SETTLE: Duration = Duration::from_secs(10);
/// How long a rate has to go well before a faster one is tried.
pub const RAISE_WAIT: Duration = Duration::from_secs(30);
/// How long a number of connections has to go well before one more is tried.
pub const CROWD_WAIT: Duration = Duration::from_secs(5 * 60);
/// After so long without a complaint what was learned is forgotten.
pub const PEACE: Duration = Duration::from_secs(60 * 60);
/// Slower it does not get: mail has to move for anybody to learn that it may.
pub const INTERVAL_MAX: Duration = Duration::from_secs(10 * 60);
/// Faster than this is no limit.
pub const INTERVAL_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Tick {
        Tick(0) + SECOND * u32::try_from(seconds).unwrap()
    }

    #[test]
    fn what_came_lately_is_counted_over_half_a_minute_to_a_minute() {
        let mut lately = Lately::new(at(0));
        lately.add(at(0), 4);
        assert_eq!(lately.interval(at(0)), SECOND / 4, "no rate of a moment");
        lately.add(at(9), 5);
        assert_eq!(lately.count(at(10)), (9, 10 * SECOND));
        lately.add(at(31), 1);
        assert_eq!(lately.count(at(31)), (10, 31 * SECOND));
        assert_eq!(lately.count(at(61)), (1, 31 * SECOND));
        let (count, span) = lately.count(at(600));
        assert_eq!(count, 0);
        assert!(span >= HALF);
    }

    #[test]
    fn it_goes_down_to_a_part_of_what_was_taken() {
        let learned = Learned::new(at(0), SECOND, "4.7.28");
        assert_eq!(learned.interval, SECOND * 5 / 4);
        let crawl = Learned::new(at(0), 100 * INTERVAL_MAX, "");
        assert_eq!(crawl.interval, INTERVAL_MAX);
    }

    #[test]
    fn a_complaint_about_what_was_sent_before_changes_nothing() {
        let mut learned = Learned::new(at(0), SECOND, "a");
        let mut lately = Lately::new(at(0));
        lately.add(at(0), 10);
        assert!(!learned.strain(at(9), lately, "b"));
        assert_eq!((learned.interval, &*learned.why), (SECOND * 5 / 4, "b"));
        assert!(learned.strain(at(10), lately, "b"));
        assert_eq!(learned.interval, SECOND * 25 / 16);
    }

    /// A pace that is used and goes well rises a little at a time; unused it stays.
    #[test]
    fn it_rises_only_while_it_is_used() {
        let mut idle = Learned::new(at(0), SECOND, "");
        let mut busy = idle.clone();
        for second in 0..300 {
            busy.count_slot();
            assert!(busy.rise(at(second)) && idle.rise(at(second)));
        }
        assert_eq!(idle.interval, SECOND * 5 / 4);
        let rose = busy.interval;
        assert!(rose < SECOND * 5 / 4 && rose > SECOND * 8 / 10, "{rose:?}");
    }

    /// It takes nothing for five minutes and then as much as before: that is found again soon.
    #[test]
    fn far_below_the_ceiling_it_doubles() {
        let mut learned = Learned::new(at(0), SECOND, "");
        for minute in 1..=5 {
            learned.strain(at(60 * minute), Lately::new(at(0)), "");
        }
        assert!(learned.interval > 50 * SECOND, "{:?}", learned.interval);
        let mut now = 60 * 5;
        while learned.interval > 8 * SECOND {
            now += 30;
            (0..100).for_each(|_| learned.count_slot());
            assert!(learned.rise(at(now)));
            assert!(now < 60 * 30, "{:?}", learned.interval);
        }
    }

    #[test]
    fn after_an_hour_of_peace_it_is_forgotten() {
        let mut learned = Learned::new(at(0), SECOND, "");
        assert!(learned.rise(at(3_599)));
        assert!(!learned.rise(at(3_600)));
        let mut fast = Learned::new(at(0), INTERVAL_MIN, "");
        let mut rises = (1..).take_while(|half| {
            (0..100_000).for_each(|_| fast.count_slot());
            fast.rise(at(30 * half))
        });
        assert!(
            rises.by_ref().count() < 60,
            "a rate beyond any limit is none"
        );
    }

    #[test]
    fn each_refused_connection_is_one_too_many() {
        let mut crowd = Crowd::new(at(0), 20, "");
        for open in (6..20).rev() {
            crowd.strain(at(0), open + 1, "");
        }
        assert_eq!(crowd.most, 5);
        for _ in 0..9 {
            crowd.strain(at(1), 5, "");
        }
        assert_eq!(crowd.most, 1, "one always may");
        assert_eq!(crowd.rise(at(300)), Some(false));
        assert_eq!(crowd.rise(at(301)), Some(true));
        assert_eq!((crowd.most, crowd.rise(at(3_601))), (2, None));
    }
}
