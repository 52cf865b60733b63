//! What a refusal means: rules that sort replies into classes. Pure.
//!
//! The classes are few and fixed, because metrics, events and the suppression list are named after
//! them; what belongs to a class, a file says (`src/bounces/default.toml`, and `[bounces] rules`
//! before it). Every rule can bring examples, and a rule whose examples are taken for something
//! else is a fault of the file.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::mail::outcome::Diagnosis;
use crate::wire::status::EnhancedStatus;

/// What a refusal means.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// There is no such mailbox.
    BadMailbox,
    /// There is no such domain, or it takes no mail.
    BadDomain,
    /// The mailbox is there and closed.
    Inactive,
    /// The mailbox is full.
    Quota,
    /// The message is larger than it may be.
    TooLarge,
    /// The host does not want it, by a rule of its own.
    Policy,
    /// The message looks like spam, or worse.
    Spam,
    /// The address that it comes from, or its domain, is on a list.
    Blocked,
    /// Who sent it is not proved well enough.
    Authentication,
    /// The host does not pass it on.
    Relaying,
    /// Too much at a time.
    Throttled,
    /// Not at the first try.
    Greylist,
    /// Names could not be looked up.
    Dns,
    /// No encryption as it has to be.
    Tls,
    /// No connection, or one that broke.
    Connection,
    /// The host is in trouble.
    System,
    /// The content, or its form, is not what the host takes.
    Content,
    /// It went in circles.
    Loop,
    /// Its time was over.
    Expired,
    /// Its recipient is on the suppression list.
    Suppressed,
    /// No rule says what.
    Other,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::BadMailbox,
        Self::BadDomain,
        Self::Inactive,
        Self::Quota,
        Self::TooLarge,
        Self::Policy,
        Self::Spam,
        Self::Blocked,
        Self::Authentication,
        Self::Relaying,
        Self::Throttled,
        Self::Greylist,
        Self::Dns,
        Self::Tls,
        Self::Connection,
        Self::System,
        Self::Content,
        Self::Loop,
        Self::Expired,
        Self::Suppressed,
        Self::Other,
    ];

    /// Its name in rules, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadMailbox => "bad_mailbox",
            Self::BadDomain => "bad_domain",
            Self::Inactive => "inactive",
            Self::Quota => "quota",
            Self::TooLarge => "too_large",
            Self::Policy => "policy",
            Self::Spam => "spam",
            Self::Blocked => "blocked",
            Self::Authentication => "authentication",
            Self::Relaying => "relaying",
            Self::Throttled => "throttled",
            Self::Greylist => "greylist",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Connection => "connection",
            Self::System => "system",
            Self::Content => "content",
            Self::Loop => "loop",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
            Self::Other => "other",
        }
    }
}

impl FromStr for Class {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|class| class.name() == text).ok_or(())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Refusals by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Class::ALL.len()]);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, class: Class) {
        self.0[class as usize] += 1;
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Each class and how many.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().zip(self.0)
    }
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    class: Class,
    codes: Vec<u16>,
    statuses: Vec<Pattern>,
    text: Option<Regex>,
    examples: Vec<(usize, String)>,
}

/// An enhanced status, or several: `None` stands for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pattern([Option<u16>; 3]);

/// What is wrong with a file of rules, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Octets of the text before it.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Bad {
    /// The same with the line, as a file's fault is told.
    #[must_use]
    pub fn with_line(&self, text: &str) -> String {
        let before = text.get(..self.at).unwrap_or(text);
        format!(
            "line {}: {}",
            before.matches('\n').count() + 1,
            self.message
        )
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    rule: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    class: Spanned<String>,
    #[serde(default)]
    code: Vec<Spanned<u16>>,
    #[serde(default)]
    status: Vec<Spanned<String>>,
    text: Option<Spanned<String>>,
    #[serde(default)]
    examples: Vec<Spanned<String>>,
}

impl Rules {
    /// The rules that come with the relay.
    #[must_use]
    pub fn embedded() -> Self {
        // A test reads the same text.
        Self::read(EMBEDDED).unwrap_or_default()
    }

    /// A file's rules, with the embedded ones behind them.
    pub fn parse(text: &str) -> Result<Self, Bad> {
        let mut rules = Self::read(text)?;
        let own = rules.rules.len();
        rules.rules.extend(Self::embedded().rules);
        match rules.misread(own) {
            Some(bad) => Err(bad),
            None => Ok(rules),
        }
    }

    fn read(text: &str) -> Result<Self, Bad> {
        let written: Written = toml::from_str(text).map_err(|error| Bad {
            at: error.span().map_or(0, |span| span.start),
            message: error.message().to_owned(),
        })?;
        let rules: Result<Vec<Rule>, Bad> = written.rule.into_iter().map(Rule::read).collect();
        Ok(Self { rules: rules? })
    }

    /// The first example of the first `own` rules that is taken for something else.
    fn misread(&self, own: usize) -> Option<Bad> {
        let examples = self.rules.iter().take(own).flat_map(|rule| {
            let examples = rule.examples.iter();
            examples.map(|(at, example)| (rule.class, *at, example))
        });
        for (class, at, example) in examples {
            let taken = self.classify_reply(example);
            if taken != class {
                return Some(Bad {
                    at,
                    message: format!(
                        "examples: {example:?} is taken for {taken}, not for {class}: an earlier rule matches it, or this one does not"
                    ),
                });
            }
        }
        None
    }

    /// What a reply means, written as an example is: `550 5.1.1 no such user`.
    #[must_use]
    pub fn classify_reply(&self, reply: &str) -> Class {
        let code = code_of(reply);
        let rest = reply.get(4..).unwrap_or_default();
        let status = EnhancedStatus::parse_prefix(rest).map(|(status, _)| status);
        self.find(code, status, reply)
    }

    /// What a failed attempt means.
    #[must_use]
    pub fn classify(&self, diagnosis: &Diagnosis) -> Class {
        let words = diagnosis.reply.as_deref().unwrap_or(&diagnosis.text);
        let code = match &diagnosis.reply {
            Some(reply) => code_of(reply),
            // What we say ourselves of it has the class of its status.
            None => Some(u16::from(diagnosis.status.class()) * 100),
        };
        self.find(code, Some(diagnosis.status), words)
    }

    fn find(&self, code: Option<u16>, status: Option<EnhancedStatus>, words: &str) -> Class {
        let matches = |rule: &&Rule| rule.matches(code, status, words);
        let found = self.rules.iter().find(matches);
        found.map_or(Class::Other, |rule| rule.class)
    }
}

impl Rule {
    fn read(written: WrittenRule) -> Result<Self, Bad> {
        let name = written.class.get_ref();
        let class = name.parse().map_err(|()| {
            let all = Class::ALL.map(Class::name).join(", ");
            bad(&written.class, format!("class: {name:?} is none of {all}"))
        })?;
        if class == Class::Other {
            return Err(bad(
                &written.class,
                "class: \"other\" is what no rule matches".into(),
            ));
        }
        let mut codes = Vec::new();
        for code in &written.code {
            match *code.get_ref() {
                number @ (4 | 5 | 400..=599) => codes.push(number),
                number => {
                    let message =
                        format!("code: {number} is neither 400 to 599, nor 4 or 5 for all of them");
                    return Err(bad(code, message));
                }
            }
        }
        let mut statuses = Vec::new();
        for status in &written.status {
            let pattern = Pattern::parse(status.get_ref()).ok_or_else(|| {
                let message = format!(
                    "status: {:?} is none such as \"5.1.1\" or \"x.7.x\"",
                    status.get_ref()
                );
                bad(status, message)
            })?;
            statuses.push(pattern);
        }
        let text = written.text.as_ref().map(|text| {
            let mut builder = RegexBuilder::new(text.get_ref());
            let built = builder
                .case_insensitive(true)
                .size_limit(PATTERN_OCTETS_MAX)
                .build();
            built.map_err(|why| bad(text, format!("text: {why}")))
        });
        let rule = Self {
            class,
            codes,
            statuses,
            text: text.transpose()?,
            examples: written
                .examples
                .iter()
                .map(|example| (example.span().start, example.get_ref().clone()))
                .collect(),
        };
        if rule.codes.is_empty() && rule.statuses.is_empty() && rule.text.is_none() {
            let message = "a rule needs code, status or text: without them it matches everything";
            return Err(bad(&written.class, message.to_owned()));
        }
        Ok(rule)
    }

    fn matches(&self, code: Option<u16>, status: Option<EnhancedStatus>, words: &str) -> bool {
        let is_code =
            |wanted: &u16| code.is_some_and(|code| *wanted == code || *wanted == code / 100);
        let is_status = |pattern: &Pattern| status.is_some_and(|status| pattern.matches(status));
        (self.codes.is_empty() || self.codes.iter().any(is_code))
            && (self.statuses.is_empty() || self.statuses.iter().any(is_status))
            && self.text.as_ref().is_none_or(|text| text.is_match(words))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| match part {
            "x" => Some(None),
            number => number.parse().ok().map(Some),
        });
        let pattern = [parts.next()??, parts.next()??, parts.next()??];
        let class = pattern[0].is_none_or(|class| matches!(class, 4 | 5));
        (parts.next().is_none() && class).then_some(Self(pattern))
    }

    fn matches(self, status: EnhancedStatus) -> bool {
        let Self([class, subject, detail]) = self;
        class.is_none_or(|class| class == u16::from(status.class()))
            && subject.is_none_or(|subject| subject == status.subject())
            && detail.is_none_or(|detail| detail == status.detail())
    }
}

fn code_of(reply: &str) -> Option<u16> {
    reply.get(..3)?.parse().ok()
}

fn bad<T>(at: &Spanned<T>, message: String) -> Bad {
    Bad {
        at: at.span().start,
        message,
    }
}

/// The rules that come with the relay, as a file has them.
pub const EMBEDDED: &str = include_str!("default.toml");
/// What one expression may take when it is compiled.
const PATTERN_OCTETS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    #[test]
    fn every_embedded_rule_has_examples_and_keeps_to_them() {
        let rules = Rules::read(EMBEDDED).unwrap();
        assert!(rules.rules.iter().all(|rule| !rule.examples.is_empty()));
        let misread = rules.misread(usize::MAX);
        let told = misread.map(|bad| bad.with_line(EMBEDDED));
        assert_eq!(told, None);
        let has = |class: Class| rules.rules.iter().any(|rule| rule.class == class);
        for class in Class::ALL {
            assert_eq!(has(class), class != Class::Other, "{class}");
        }
    }

    #[test]
    fn rules_of_a_file_stand_before_the_embedded_ones() {
        let text = "[[rule]]\nclass = \"quota\"\ncode = [550]\nstatus = [\"5.1.x\"]\ntext = \"no room\"\nexamples = [\"550 5.1.1 No ROOM left\"]";
        let rules = Rules::parse(text).unwrap();
        for (reply, class) in [
            ("550 5.1.1 no room", Class::Quota),
            ("551 5.1.1 no room", Class::BadMailbox),
            ("550 5.1.1 no such user", Class::BadMailbox),
            ("550 no room", Class::Other),
        ] {
            assert_eq!(rules.classify_reply(reply), class, "{reply}");
        }
    }

    #[test]
    fn what_nobody_replied_to_is_judged_by_our_own_words() {
        let rules = Rules::embedded();
        let said = |status: &str, text: &str, reply: Option<&str>| {
            rules.classify(&Diagnosis {
                status: status.parse().unwrap(),
                text: text.into(),
                reply: reply.map(Into::into),
                remote_mta: None,
            })
        };
        let refused = "connect to mx.d.test[192.0.2.1]:25: connection refused";
        assert_eq!(said("4.4.1", refused, None), Class::Connection);
        assert_eq!(
            said("5.1.2", "the domain d.test does not exist", None),
            Class::BadDomain
        );
        // The words around a reply are ours, and say nothing of what it means.
        let around = "host spam.test[192.0.2.1] said: 550 5.1.1 unknown";
        let class = said("5.1.1", around, Some("550 5.1.1 unknown"));
        assert_eq!(class, Class::BadMailbox);
    }

    #[test]
    fn a_fault_of_the_file_is_told_with_its_line() {
        for (text, line, words) in [
            (
                "[[rule]]\nclass = \"nice\"\ncode = [5]",
                2,
                "none of bad_mailbox, ",
            ),
            (
                "[[rule]]\nclass = \"other\"\ncode = [5]",
                2,
                "what no rule matches",
            ),
            (
                "[[rule]]\nclass = \"spam\"",
                2,
                "needs code, status or text",
            ),
            (
                "[[rule]]\nclass = \"spam\"\ncode = [250]",
                3,
                "neither 400 to 599",
            ),
            (
                "[[rule]]\nclass = \"spam\"\nstatus = [\"5.x\"]",
                3,
                "none such as",
            ),
            (
                "[[rule]]\nclass = \"spam\"\nstatus = [\"2.1.1\"]",
                3,
                "none such as",
            ),
            ("[[rule]]\nclass = \"spam\"\n\ntext = \"(\"", 4, "text: "),
            (
                "[[rule]]\nclass = \"spam\"\ncodes = [5]",
                3,
                "unknown field",
            ),
            (
                "[[rule]]\nclass = \"spam\"\ntext = \"bad\"\nexamples = [\n\"550 good\"]",
                5,
                "taken for other, not for spam",
            ),
            (
                "[[rule]]\nclass = \"quota\"\ntext = \"a\"\n[[rule]]\nclass = \"spam\"\ntext = \"ab\"\nexamples = [\"550 ab\"]",
                7,
                "taken for quota",
            ),
        ] {
            let told = Rules::parse(text).unwrap_err().with_line(text);
            let is_told = told.starts_with(&format!("line {line}: ")) && told.contains(words);
            assert!(is_told, "{text}: {told}");
        }
    }

    static RULES: LazyLock<Rules> = LazyLock::new(Rules::embedded);

    proptest::proptest! {
        #[test]
        fn whatever_a_host_says_has_a_class(reply in "\\PC{0,80}") {
            let class = RULES.classify_reply(&reply);
            proptest::prop_assert_eq!(class.name().parse(), Ok(class));
        }
    }
}
