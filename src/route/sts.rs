//! MTA-STS (RFC 8461): what a domain says of the hosts that take its mail, in a TXT record and in a
//! policy that it publishes over HTTPS. Pure: who fetches and keeps it is `service::policies`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::path::Domain;

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What it is for.
    pub mode: Mode,
    /// Which hosts take the domain's mail: names, and `*.` before names for one label of any kind.
    pub mx: Vec<Box<str>>,
    /// How long it holds.
    pub max_age: Duration,
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mail goes only where the policy is kept to.
    Enforce,
    /// Mail goes as if there were none; what would have failed is told.
    Testing,
    /// There is no policy any more.
    None,
}

/// What is known of a domain's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The one that holds; kept from before where it cannot be had now.
    pub policy: Option<Arc<Policy>>,
    /// Why the one that the domain says it has could not be had.
    pub trouble: Option<Trouble>,
}

/// Why a policy could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which kind, as reports name it.
    pub kind: TroubleKind,
    /// In words.
    pub why: Box<str>,
}

/// Kinds of trouble (RFC 8460 §4.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// It could not be fetched.
    Fetch,
    /// It is none.
    Invalid,
    /// The server that has it shows a certificate that is not good for it.
    Certificate,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPolicy {
    /// A line without a colon.
    Line(Box<str>),
    /// `version` is not there, or not `STSv1`.
    Version,
    /// `mode` is not there, or none that we know.
    Mode,
    /// `max_age` is not there, or no number.
    MaxAge,
    /// `mx` is not there.
    NoMx,
    /// An `mx` that is no name.
    Mx(Box<str>),
}

impl Policy {
    /// Reads a policy (RFC 8461 §3.2). Lines end with LF or CRLF; of a field that is there twice
    /// the first counts; fields that we do not know are passed over.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let bad = || BadPolicy::Line(line.chars().take(SHOWN_MAX).collect());
            let (key, value) = line.split_once(':').ok_or_else(bad)?;
            let value = value.trim_matches([' ', '\t']);
            match key {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => mx.push(pattern(value)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(BadPolicy::Version);
        }
        let mode = mode.and_then(Mode::parse).ok_or(BadPolicy::Mode)?;
        let max_age = max_age.and_then(seconds).ok_or(BadPolicy::MaxAge)?;
        if mx.is_empty() && mode != Mode::None {
            return Err(BadPolicy::NoMx);
        }
        Ok(Self {
            mode,
            mx,
            max_age: max_age.min(MAX_AGE),
        })
    }

    /// Is this one of the hosts (RFC 8461 §4.1)?
    #[must_use]
    pub fn takes(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let behind = host.split_once('.').map(|(_, behind)| behind);
        self.mx
            .iter()
            .any(|pattern| match pattern.strip_prefix("*.") {
                Some(name) => behind == Some(name),
                None => host == **pattern,
            })
    }

    /// Its lines, as reports quote them.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let mode = format!("mode: {}", self.mode.name());
        let max_age = format!("max_age: {}", self.max_age.as_secs());
        let mx = self.mx.iter().map(|mx| format!("mx: {mx}"));
        ["version: STSv1".to_owned(), mode]
            .into_iter()
            .chain(mx)
            .chain([max_age])
    }
}

impl Mode {
    /// Reads its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Enforce, Self::Testing, Self::None]
            .into_iter()
            .find(|mode| mode.name() == text)
    }

    /// Its name in a policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "the line {line:?} has no colon"),
            Self::Version => f.write_str("version is not STSv1"),
            Self::Mode => f.write_str("mode is none of enforce, testing, none"),
            Self::MaxAge => f.write_str("max_age is no number of seconds"),
            Self::NoMx => f.write_str("there is no mx"),
            Self::Mx(mx) => write!(f, "mx {mx:?} is no host name"),
        }
    }
}

/// The `id` of the one record that says there is a policy (RFC 8461 §3.1), among the TXT records of
/// `_mta-sts.DOMAIN`. `None`: there is no policy; also when several say that there is one.
#[must_use]
pub fn id<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let of_version = |text: &&str| text.split(';').next().is_some_and(is_version);
    let mut records = texts.into_iter().filter(of_version);
    let (record, another) = (records.next()?, records.next());
    if another.is_some() {
        return None;
    }
    let mut fields = record.split(';').skip(1).map(blank_trimmed);
    let id = fields.find_map(|field| field.strip_prefix("id="))?;
    let is_good = (1..=ID_OCTETS_MAX).contains(&id.len())
        && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_good.then_some(id)
}

fn is_version(field: &str) -> bool {
    blank_trimmed(field) == "v=STSv1"
}

fn blank_trimmed(field: &str) -> &str {
    field.trim_matches([' ', '\t'])
}

fn pattern(text: &str) -> Result<Box<str>, BadPolicy> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    match Domain::parse(name.as_bytes(), false) {
        Ok(_) => Ok(text.to_ascii_lowercase().into()),
        Err(_) => Err(BadPolicy::Mx(text.chars().take(SHOWN_MAX).collect())),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let is_number = (1..=MAX_AGE_DIGITS).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_digit());
    let seconds = is_number.then(|| text.parse().ok())??;
    Some(Duration::from_secs(seconds))
}

/// RFC 8461 §3.1
const ID_OCTETS_MAX: usize = 32;
/// RFC 8461 §3.2
const MAX_AGE_DIGITS: usize = 10;
/// RFC 8461 §3.2: about a year.
const MAX_AGE: Duration = Duration::from_secs(31_557_600);
/// Characters of a faulty line that are quoted.
const SHOWN_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: STSv1\nmode: enforce\nmx: mail.d.test\nmx: *.d.test\nmax_age: 60\n";

    #[test]
    fn one_record_says_that_there_is_a_policy() {
        for (texts, found) in [
            (
                &["v=STSv1; id=20160831085700Z;"][..],
                Some("20160831085700Z"),
            ),
            (&["v=STSv1;id=1"], Some("1")),
            (&["v=STSv1 ; id=1 ; x=y"], Some("1")),
            (&["v=spf1 -all", "v=STSv1; id=1"], Some("1")),
            (&["v=STSv1; id=1", "v=STSv1; id=1"], None),
            (&["v=STSv1; id=1", "v=STSv1; nothing"], None),
            (&["v=STSv1;"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=a-b"], None),
            (&["v=STSv1; id=012345678901234567890123456789012"], None),
            (&["v=STSv12; id=1"], None),
            (&["id=1; v=STSv1"], None),
            (&[], None),
        ] {
            assert_eq!(id(texts.iter().copied()), found, "{texts:?}");
        }
    }

    #[test]
    fn a_policy_is_read_with_either_line_end() {
        let policy = Policy::parse(GOOD).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(60));
        assert_eq!(policy.mx.len(), 2);
        assert_eq!(
            Policy::parse(&GOOD.replace('\n', "\r\n")),
            Ok(policy.clone())
        );
        let again = policy.lines().collect::<Vec<_>>().join("\n");
        assert_eq!(Policy::parse(&again), Ok(policy));
    }

    #[test]
    fn a_policy_has_fields_twice_and_fields_of_the_future() {
        let text = format!("{GOOD}mode: none\nversion: STSv9\nnext: 1\n\nmax_age: 9999999999");
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        let long = GOOD.replace("60", "9999999999");
        assert_eq!(Policy::parse(&long).unwrap().max_age, MAX_AGE);
        let gone = "version: STSv1\nmode: none\nmax_age: 0\n";
        assert_eq!(Policy::parse(gone).unwrap().mode, Mode::None);
    }

    #[test]
    fn a_text_is_no_policy() {
        for (good, bad, why) in [
            ("version: STSv1", "version: STSv2", BadPolicy::Version),
            ("mode: enforce\n", "", BadPolicy::Mode),
            ("enforce", "Enforce", BadPolicy::Mode),
            ("60", "-1", BadPolicy::MaxAge),
            ("60", "12345678901", BadPolicy::MaxAge),
            ("mx: mail", "mx: b c", BadPolicy::Mx("b c.d.test".into())),
            ("*.d", "*.*", BadPolicy::Mx("*.*.test".into())),
            ("mode:", "mode", BadPolicy::Line("mode enforce".into())),
        ] {
            assert_eq!(Policy::parse(&GOOD.replace(good, bad)), Err(why), "{bad}");
        }
        // Seen in the wild.
        assert_eq!(
            Policy::parse(&GOOD.replace("mx:", "nmx:")),
            Err(BadPolicy::NoMx)
        );
        assert_eq!(
            Policy::parse("<html></html>"),
            Err(BadPolicy::Line("<html></html>".into()))
        );
        assert_eq!(Policy::parse(""), Err(BadPolicy::Version));
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let policy = Policy::parse(GOOD).unwrap();
        for (host, is_taken) in [
            ("mail.d.test", true),
            ("MAIL.d.test.", true),
            ("mx9.d.test", true),
            ("a.b.d.test", false),
            ("d.test", false),
            ("mail.d.test.evil.test", false),
            ("", false),
        ] {
            assert_eq!(policy.takes(host), is_taken, "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_policy_that_is_read_is_written_as_it_is_read_again(
            text in "(version: STSv1|mode: (enforce|testing|none)|mx: ?[*a-z.]{0,9}|max_age: [0-9]{0,9}|[a-z]{1,3}:x|)(\n|\r\n){0,2}(version: STSv1\nmode: enforce\nmax_age: 5\n)?mx: [*a-z.-]{1,6}\n",
        ) {
            if let Ok(policy) = Policy::parse(&text) {
                let lines: Vec<String> = policy.lines().collect();
                let again = Policy::parse(&lines.join("\r\n"));
                proptest::prop_assert_eq!(again.as_ref(), Ok(&policy));
                for mx in &policy.mx {
                    proptest::prop_assert!(policy.takes(&mx.replacen('*', "host", 1)), "{}", mx);
                }
            }
        }
    }
}
