//! Would the large mailbox providers take this message? Their rules for those who send much, looked
//! at before anything is sent.
//!
//! [`form()`] looks at a header and at our keys, and asks nobody: cheap enough for every message that
//! comes in; of the addresses that mail leaves from, [`named()`] says what the DNS has told before.
//! [`look()`] signs the message as it would leave, and asks the DNS what a receiver would.

mod form;
mod look;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use form::form;
pub use look::{Journey, Origin, look};
pub use source::{named, reverse_name};

/// What one rule says of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How it stands with it.
    pub grade: Grade,
    /// What is so.
    pub found: String,
    /// What to change; empty where nothing need be.
    pub remedy: String,
}

/// How it stands with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Some receivers, or some kinds of mail, want more.
    Warn,
    /// A receiver refuses or sorts out mail like this.
    Fail,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Exactly one author, of a domain of their own.
    From,
    /// Exactly one date.
    Date,
    /// Exactly one Message-ID.
    MessageId,
    /// Fields that may be there once are there once (RFC 5322 §3.6).
    Fields,
    /// Lines are ended and short enough (RFC 5322 §2.1.1).
    Lines,
    /// One click is enough to unsubscribe (RFC 8058).
    Unsubscribe,
    /// We have a key for the author's domain.
    Key,
    /// Our signatures hold with what is in the DNS.
    Dkim,
    /// The sender's domain lets our addresses send.
    Spf,
    /// The author's domain has a DMARC record.
    Dmarc,
    /// What is proved is the author's domain.
    Alignment,
    /// Our addresses have names, which have our addresses.
    Ptr,
    /// What we call ourselves is a name of ours.
    Helo,
    /// Mail leaves encrypted where it can.
    Tls,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::From,
        Self::Date,
        Self::MessageId,
        Self::Fields,
        Self::Lines,
        Self::Unsubscribe,
        Self::Key,
        Self::Dkim,
        Self::Spf,
        Self::Dmarc,
        Self::Alignment,
        Self::Ptr,
        Self::Helo,
        Self::Tls,
    ];

    /// Its name in tables, in the log and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::Date => "date",
            Self::MessageId => "message_id",
            Self::Fields => "fields",
            Self::Lines => "lines",
            Self::Unsubscribe => "unsubscribe",
            Self::Key => "key",
            Self::Dkim => "dkim",
            Self::Spf => "spf",
            Self::Dmarc => "dmarc",
            Self::Alignment => "alignment",
            Self::Ptr => "ptr",
            Self::Helo => "helo",
            Self::Tls => "tls",
        }
    }
}

impl Grade {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Finding {
    fn ok(rule: Rule, found: impl Into<String>) -> Self {
        Self::graded(Grade::Ok, rule, found, "")
    }

    fn warn(rule: Rule, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::graded(Grade::Warn, rule, found, remedy)
    }

    fn fail(rule: Rule, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::graded(Grade::Fail, rule, found, remedy)
    }

    fn graded(
        grade: Grade,
        rule: Rule,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            grade,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.name(), self.found)
    }
}

/// How often each rule was broken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([u64; Rule::ALL.len()]);

impl Tally {
    /// Counts the rules that one message breaks.
    pub fn count(&mut self, findings: &[Finding]) {
        for finding in findings.iter().filter(|one| one.grade == Grade::Fail) {
            self.0[finding.rule as usize] += 1;
        }
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// The rules that were broken.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, u64)> {
        Rule::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, count)| *count > 0)
    }
}
