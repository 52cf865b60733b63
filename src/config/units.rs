//! Sizes and durations as the configuration writes them.

use std::time::Duration;

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const DURATIONS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1000),
    ("us", 1),
];

/// Reads `50MiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    number.checked_mul(factor(&SIZES, unit)?)
}

/// Writes a size in the largest unit that keeps it whole.
pub(super) fn size(octets: u64) -> String {
    write(&SIZES, octets)
}

/// Reads `90s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let micros = number.checked_mul(factor(&DURATIONS, unit)?)?;
    Some(Duration::from_micros(micros))
}

/// Writes a duration in the largest unit that keeps it whole.
pub fn duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0us".to_owned();
    }
    write(&DURATIONS, micros)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(*factor)
}

fn write(units: &[(&str, u64)], amount: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount.is_multiple_of(*factor);
    // The last unit is 1 and fits everything.
    let (name, factor) = units.iter().find(fits).unwrap_or(&("", 1));
    format!("{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for octets in [0, 1, 1023, 1024, 50 << 20, (1 << 30) + 1, 3 << 30] {
            assert_eq!(parse_size(&size(octets)), Some(octets));
        }
        for micros in [0, 1, 999, 1000, 90_000_000, 60_000_000, 5 * 86_400_000_000] {
            let wait = Duration::from_micros(micros);
            assert_eq!(parse_duration(&duration(wait)), Some(wait));
        }
        assert_eq!(
            (size(50 << 20), duration(Duration::from_secs(300))),
            ("50MiB".into(), "5m".into())
        );
    }

    #[test]
    fn what_has_no_unit_or_an_unknown_one_is_refused() {
        for bad in [
            "",
            "5",
            "MiB",
            "5MB",
            "5mib",
            "-1B",
            "1.5MiB",
            "99999999999GiB",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for bad in ["", "5", "m", "5min", "5M", "99999999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
