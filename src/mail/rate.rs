//! So many in so long, as the configuration writes it: `500/m`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// How fast something may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

/// What was read is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRate;

impl Rate {
    /// From one to the next, so that a period never sees more than it may.
    #[must_use]
    pub fn interval(self) -> Duration {
        let micros = self.unit.micros().div_ceil(u64::from(self.count.get()));
        Duration::from_micros(micros)
    }
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }

    const fn micros(self) -> u64 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        };
        seconds * 1_000_000
    }
}

impl FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        let (count, unit) = text.split_once('/').ok_or(NoRate)?;
        let is_number = count.bytes().all(|octet| octet.is_ascii_digit());
        let count: u32 = count.parse().ok().filter(|_| is_number).ok_or(NoRate)?;
        let count = NonZeroU32::new(count)
            .filter(|count| count.get() <= COUNT_MAX)
            .ok_or(NoRate)?;
        let mut units = Unit::ALL.into_iter();
        let unit = units.find(|known| known.name() == unit).ok_or(NoRate)?;
        Ok(Self { count, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.name())
    }
}

/// A rate that was measured, in the largest unit of which there are two digits at least.
#[must_use]
pub fn words(interval: Duration) -> String {
    let interval = interval.as_secs_f64().max(1e-9);
    let of = |unit: Unit| {
        let unit_seconds = Duration::from_micros(unit.micros()).as_secs_f64();
        (unit_seconds / interval, unit)
    };
    let mut units = [Unit::Minute, Unit::Hour, Unit::Day].map(of).into_iter();
    let (count, unit) = units
        .find(|(count, _)| *count >= 9.5)
        .unwrap_or_else(|| of(Unit::Day));
    format!("{count:.0}/{}", unit.name())
}

/// The clock of the queue counts microseconds: more of them in a second could not be told apart.
const COUNT_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(text: &str) -> Option<u128> {
        let rate: Rate = text.parse().ok()?;
        assert_eq!(rate.to_string(), text);
        Some(rate.interval().as_micros())
    }

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        assert_eq!(interval("10/s"), Some(100_000));
        assert_eq!(interval("500/m"), Some(120_000));
        assert_eq!(interval("6/h"), Some(600_000_000));
        assert_eq!(interval("1/d"), Some(86_400_000_000));
        for bad in [
            "",
            "/m",
            "5",
            "5/",
            "0/m",
            "-1/m",
            "+5/m",
            "5/M",
            "5 /m",
            "5/min",
            "1.5/h",
            "1000001/s",
            "99999999999/d",
        ] {
            assert_eq!(interval(bad), None, "{bad}");
        }
    }

    /// Seven in a minute do not come out even: the eighth must not slip in.
    #[test]
    fn a_period_never_sees_one_more() {
        for (text, count) in [("7/m", 7), ("13/h", 13), ("999983/d", 999_983)] {
            let rate: Rate = text.parse().unwrap();
            assert!(
                rate.interval().as_micros() * count >= u128::from(rate.unit.micros()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_was_measured_is_told_in_a_unit_that_says_something() {
        let told = |millis| words(Duration::from_millis(millis));
        assert_eq!(told(100), "600/m");
        assert_eq!(told(6_000), "10/m");
        assert_eq!(told(60_000), "60/h");
        assert_eq!(told(3_600_000), "24/d");
        assert_eq!(told(86_400_000), "1/d");
        assert_eq!(words(Duration::ZERO), "60000000000/m");
    }
}
