//! Moments: plain numbers that the cores are handed, because they read no clock themselves.

use std::time::Duration;

/// A moment of the monotonic clock, in microseconds. Signed: mail that was accepted before the
/// process started has an arrival before zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub i64);

impl Tick {
    /// A moment that never comes.
    pub const NEVER: Self = Self(i64::MAX);

    /// Microseconds from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(micros(wait)))
    }
}

impl std::ops::Sub<Duration> for Tick {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(micros(wait)))
    }
}

/// The calendar's time: microseconds since 1970-01-01 UTC. For headers, logs and what is kept on
/// disk; never for a deadline, because it jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// Whole seconds since 1970, as dates have them.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The microseconds behind [`Wall::seconds`].
    #[must_use]
    pub const fn subsec_micros(self) -> i64 {
        self.0.rem_euclid(MICROS_PER_SECOND)
    }
}

impl std::ops::Add<Duration> for Wall {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(micros(wait)))
    }
}

/// Microseconds of a wait; for ever when there are too many.
fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

const MICROS_PER_SECOND: i64 = 1_000_000;
