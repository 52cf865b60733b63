//! Warm-up plans: how much a source that nobody knows yet sends on each of its first days. Pure.
//!
//! A plan has lines, each with a curve of its own: one for all mail, others for a domain or for a
//! group of hosts, because providers count for themselves. A message counts on every line that is
//! about it, and goes while none of them is used up.

use std::fmt;
use std::rc::Rc;

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::{BadRoute, How, Pattern, ascii_domain, parse_pattern};
use crate::time::Wall;

/// A day of the calendar, of UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u16);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(wall: Wall) -> Self {
        let days = wall.seconds().div_euclid(DAY_SECONDS);
        Self(days.clamp(0, u16::MAX.into()) as u16)
    }

    /// Its first moment.
    #[must_use]
    pub const fn begins(self) -> Wall {
        Wall(self.0 as i64 * DAY_SECONDS * 1_000_000)
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Its date.
    #[must_use]
    pub fn date(self) -> Date {
        EPOCH.saturating_add(i32::from(self.0).days())
    }
}

impl From<Date> for Day {
    fn from(date: Date) -> Self {
        let days = date.duration_since(EPOCH).as_hours() / 24;
        Self(days.clamp(0, u16::MAX.into()) as u16)
    }
}

/// As `2026-11-26`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

/// How much goes on the first day, the second, and so on; after the last there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Curve(Rc<[u32]>);

impl Curve {
    /// So much on each day.
    #[must_use]
    pub fn days(days: &[u32]) -> Self {
        Self(days.into())
    }

    /// `start` on the first day, each day `growth` thousandths of the day before, as long as that is
    /// less than `end`.
    #[must_use]
    pub fn growing(start: u32, growth: u32, end: u32) -> Self {
        let factor = f64::from(growth) / f64::from(GROWTH_ONE);
        let days = (0..DAYS_MAX).map(|nth| f64::from(start) * factor.powi(nth));
        let days = days.take_while(|day| *day < f64::from(end));
        Self(days.map(|day| day as u32).collect())
    }
}

/// A line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about: `all`, `domain PATTERN` or `mx PATTERN`.
    pub about: Rc<str>,
    /// What its count is called: the source's name, and what it is about.
    pub key: Rc<str>,
    subject: Subject,
    curve: Curve,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    All,
    Domain(Pattern),
    Hosts(Pattern),
}

/// A line as the configuration has it.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// A name, `*.name` or `*`, of the domains that it is about.
    pub domain: Option<&'a str>,
    /// The same of hosts.
    pub mx: Option<&'a str>,
}

impl Written<'_> {
    fn about(&self) -> String {
        match (self.domain, self.mx) {
            (Some(domain), _) => format!("domain {}", domain.to_ascii_lowercase()),
            (None, Some(mx)) => format!("mx {}", mx.to_ascii_lowercase()),
            (None, None) => "all".to_owned(),
        }
    }
}

impl Line {
    /// The line of a source.
    pub fn parse(source: &str, written: Written<'_>, curve: Curve) -> Result<Self, BadRoute> {
        let about = written.about();
        let subject = match (written.domain, written.mx) {
            (Some(domain), _) => Subject::Domain(parse_pattern(domain)?),
            (None, Some(mx)) => Subject::Hosts(parse_pattern(mx)?),
            (None, None) => Subject::All,
        };
        Ok(Self {
            key: format!("{source} {about}").into(),
            about: about.into(),
            subject,
            curve,
        })
    }

    fn is_about(&self, to: &Destination<'_>) -> bool {
        let matches = |pattern: &Pattern, name: &str| {
            let ascii = ascii_domain(name);
            pattern.matches(ascii.as_deref().unwrap_or(name))
        };
        match &self.subject {
            Subject::All => true,
            Subject::Domain(pattern) => matches(pattern, to.domain),
            Subject::Hosts(pattern) => {
                matches(pattern, to.host.strip_suffix('.').unwrap_or(to.host))
            }
        }
    }
}

/// Where mail goes.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The domain of its next hop, or the name of its smart host.
    pub domain: &'a str,
    /// The host that takes it.
    pub host: &'a str,
}

impl<'a> Destination<'a> {
    /// A host of this way. An address has no name: only `*` matches.
    #[must_use]
    pub fn new(how: &'a How, host: &'a str) -> Self {
        let domain = match how {
            How::Mx(name) | How::Host { name, .. } => name,
            How::Address { .. } | How::Mailbox | How::Discard | How::Returns | How::Fail(_) => "[]",
        };
        Self { domain, host }
    }
}

/// The plan of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: Rc<str>,
    /// The first day.
    pub first: Day,
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Plan {
    /// How much may go on a day over one of its lines; `None`: as much as there is.
    #[must_use]
    pub fn limit(&self, line: &Line, day: Day) -> Option<u32> {
        match self.nth(day) {
            Some(nth) => line.curve.0.get(nth).copied(),
            None => Some(0),
        }
    }

    /// Which day of it that is, from 1; `None` before the first.
    #[must_use]
    pub fn day(&self, day: Day) -> Option<usize> {
        self.nth(day).map(|nth| nth + 1)
    }

    /// The limits of mail to somewhere.
    pub fn bounds<'a>(
        &'a self,
        to: Destination<'a>,
        day: Day,
    ) -> impl Iterator<Item = (&'a Line, u32)> {
        let lines = self.lines.iter().filter(move |line| line.is_about(&to));
        lines.filter_map(move |line| Some((line, self.limit(line, day)?)))
    }

    fn nth(&self, day: Day) -> Option<usize> {
        day.0.checked_sub(self.first.0).map(usize::from)
    }
}

const DAY_SECONDS: i64 = 86_400;
const EPOCH: Date = Date::constant(1970, 1, 1);
/// What a growth of one is in thousandths.
pub const GROWTH_ONE: u32 = 1000;
/// Days of a plan; at the least growth that may be written it has come from one to the end by then.
const DAYS_MAX: i32 = 2000;
/// What a day may have. A count has 24 bits (see `shard::outbound::warmup`).
pub const LIMIT_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(domain: Option<&str>, mx: Option<&str>, days: &[u32]) -> Line {
        Line::parse("s", Written { domain, mx }, Curve::days(days)).unwrap()
    }

    fn plan(lines: Vec<Line>) -> Plan {
        Plan {
            name: "careful".into(),
            first: Day(100),
            lines,
        }
    }

    #[test]
    fn days_are_those_of_utc() {
        let wall = |seconds: i64| Day::of(Wall(seconds * 1_000_000));
        assert_eq!([wall(-5), wall(0), wall(86_399)], [Day(0); 3]);
        assert_eq!(wall(86_400), Day(1));
        let date: Date = "2026-11-26".parse().unwrap();
        let day = Day::from(date);
        assert_eq!((day, day.to_string()), (Day(20_783), date.to_string()));
        assert_eq!(Day::of(day.begins()), day);
        assert_eq!(Day::of(Wall(day.next().begins().0 - 1)), day);
    }

    #[test]
    fn a_curve_grows_by_its_factor_until_it_has_reached_its_end() {
        let days = |start, growth, end| Curve::growing(start, growth, end).0.to_vec();
        assert_eq!(days(50, 2000, 400), [50, 100, 200]);
        assert_eq!(days(3, 1500, 12), [3, 4, 6, 10]);
        let slow = days(1, 1010, LIMIT_MAX);
        assert!(slow.len() < DAYS_MAX as usize, "{}", slow.len());
    }

    #[test]
    fn nothing_goes_before_the_first_day_and_everything_after_the_last() {
        let plan = plan(vec![line(None, None, &[5, 10])]);
        let limit = |day| plan.limit(&plan.lines[0], Day(day));
        assert_eq!([99, 100, 101].map(limit), [Some(0), Some(5), Some(10)]);
        assert_eq!(limit(102), None);
        assert_eq!([99, 100].map(|day| plan.day(Day(day))), [None, Some(1)]);
    }

    #[test]
    fn every_line_that_is_about_a_destination_counts() {
        let plan = plan(vec![
            line(None, None, &[50]),
            line(Some("b.test"), None, &[20]),
            line(None, Some("*.mail.test"), &[10]),
        ]);
        let limits = |how: &How, host| {
            let bounds = plan.bounds(Destination::new(how, host), Day(100));
            let limits = bounds.map(|(line, limit)| (line.about.to_string(), limit));
            limits.collect::<Vec<_>>()
        };
        let of = |about: &str, limit| (about.to_owned(), limit);
        let mx = |domain: &str| How::Mx(domain.into());
        assert_eq!(limits(&mx("c.test"), "mx.c.test"), [of("all", 50)]);
        assert_eq!(
            limits(&mx("b.test"), "MX1.Mail.test."),
            [
                of("all", 50),
                of("domain b.test", 20),
                of("mx *.mail.test", 10)
            ]
        );
        let address = How::Address {
            address: [192, 0, 2, 1].into(),
            port: None,
            tls: None,
            entry: super::super::Entry::default(),
        };
        assert_eq!(limits(&address, "[192.0.2.1]"), [of("all", 50)]);
    }
}
