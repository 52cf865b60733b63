//! Slots of an even pace: each at its time, some of them early where none were taken before.

use std::time::Duration;

use crate::time::Tick;

/// Books slots so that any stretch of time sees no more than what the rate brings in it, and the
/// burst (the generic cell rate algorithm of ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(super) struct Spacing {
    /// When the next would come, were they spaced evenly.
    even: Tick,
    /// The same before the last booking, which can be taken back.
    before: Tick,
    /// The last booking.
    last: Tick,
}

impl Default for Spacing {
    fn default() -> Self {
        let past = Tick(i64::MIN);
        Self {
            even: past,
            before: past,
            last: past,
        }
    }
}

impl Spacing {
    /// The first moment that is free.
    pub(super) fn free(&self, now: Tick, interval: Duration) -> Tick {
        let early = BURST_TIME.saturating_sub(interval);
        now.max(self.even - early)
    }

    /// Books so many at `at`, which is not before [`Spacing::free`].
    pub(super) fn book(&mut self, at: Tick, interval: Duration, count: u32) {
        self.before = self.even;
        self.last = at;
        self.even = self.even.max(at) + interval * count;
    }

    /// Takes the booking of this moment back; false when others have booked since.
    pub(super) fn take_back(&mut self, at: Tick) -> bool {
        let is_last = self.last == at && self.last != Tick(i64::MIN);
        if is_last {
            self.even = self.before;
            self.last = Tick(i64::MIN);
        }
        is_last
    }

    /// Bookings beyond `latest` do not count any more.
    pub(super) fn forget_after(&mut self, latest: Tick) {
        self.even = self.even.min(latest);
        self.last = Tick(i64::MIN);
    }

    /// Nothing of it matters any more.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.even <= now
    }
}

/// What time brings may go at once when nothing went before. More lets a provider see bursts above
/// the rate, less makes every message of a fast rate wait for its letter.
pub const BURST_TIME: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn drain(spacing: &mut Spacing, from: Tick, interval: Duration, count: usize) -> Vec<i64> {
        let book = |_| {
            let at = spacing.free(from, interval);
            spacing.book(at, interval, 1);
            at.0
        };
        (0..count).map(book).collect()
    }

    #[test]
    fn any_stretch_sees_what_the_rate_brings_and_the_burst() {
        for millis in [1u32, 7, 100, 499, 500, 501, 60_000] {
            let interval = Duration::from_millis(millis.into());
            let mut spacing = Spacing::default();
            let mut slots = drain(&mut spacing, Tick(0), interval, 300);
            // A pause, and then as much as there can be.
            let later = Tick(slots[299] + 17 * SECOND);
            slots.extend(drain(&mut spacing, later, interval, 300));
            let micros = i64::from(millis) * 1000;
            let burst = (500_000 / micros).max(1);
            for (first, from) in slots.iter().enumerate() {
                for (last, to) in slots.iter().enumerate().skip(first) {
                    let count = i64::try_from(last - first + 1).unwrap();
                    let may = (to - from) / micros + burst + 1;
                    assert!(count <= may, "{millis} ms: {count} in {} us", to - from);
                }
            }
        }
    }

    #[test]
    fn a_slow_rate_has_no_burst() {
        let mut spacing = Spacing::default();
        let slots = drain(&mut spacing, Tick(0), Duration::from_secs(600), 3);
        assert_eq!(slots, [0, 600 * SECOND, 1200 * SECOND]);
    }

    #[test]
    fn the_last_booking_can_be_taken_back_and_no_other() {
        let (mut spacing, interval) = (Spacing::default(), Duration::from_secs(600));
        let slots = drain(&mut spacing, Tick(0), interval, 2);
        assert!(!spacing.take_back(Tick(slots[0])));
        assert!(spacing.take_back(Tick(slots[1])));
        assert!(!spacing.take_back(Tick(slots[1])), "twice");
        assert_eq!(drain(&mut spacing, Tick(0), interval, 1), slots[1..]);
    }

    #[test]
    fn many_at_once_make_the_next_wait_for_all_of_them() {
        let (mut spacing, interval) = (Spacing::default(), Duration::from_secs(1));
        spacing.book(Tick(0), interval, 50);
        assert_eq!(spacing.free(Tick(0), interval), Tick(50 * SECOND));
    }
}
