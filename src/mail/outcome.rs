//! How one recipient's attempt ended. The variant alone decides the queue's next move.

use std::rc::Rc;

use crate::wire::status::{EnhancedStatus, ReplyCode};

/// A reply as a remote server gave it: RFC 5321 §4.2.1, all lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteReply {
    /// The code of its last line.
    pub code: ReplyCode,
    /// The enhanced status, taken under the class of `code`; derived from it where none came.
    pub status: EnhancedStatus,
    /// The lines as they came (code and text), joined by one space: what `Diagnostic-Code: smtp;`
    /// shows. Printable, bounded by [`REPLY_TEXT_MAX`].
    pub text: Box<str>,
}

/// Octets of a remote reply that are kept.
pub const REPLY_TEXT_MAX: usize = 1024;

/// Whose fault a failed attempt is: it says which back-off applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// This mailbox (full, unknown, greylisted): only its own schedule moves.
    Recipient,
    /// This message (too large, refused content).
    Message,
    /// One host of several: the next host is tried, this one is left alone for a while.
    Host,
    /// The whole destination (no MX, all hosts down): all its mail waits.
    Destination,
    /// How fast we send: mail to this destination slows down, and this message waits for a moment.
    Pace,
    /// Ourselves (descriptors, memory, disk): nothing of the peer's is held against it.
    Local,
}

/// Why an attempt did not succeed, kept with the recipient, shown to operators and in reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// RFC 3463.
    pub status: EnhancedStatus,
    /// Plain words for the sender, without line ends: `host mx.test[192.0.2.1] said: 550 ...`.
    pub text: Box<str>,
    /// The remote server's reply, joined lines, where one came (`Diagnostic-Code`).
    pub reply: Option<Box<str>>,
    /// The host that gave it (`Remote-MTA`).
    pub remote_mta: Option<Box<str>>,
}

impl Diagnosis {
    /// One that is ours alone: no host has said anything.
    #[must_use]
    pub fn ours(status: EnhancedStatus, text: impl Into<Box<str>>) -> Self {
        Self {
            status,
            text: text.into(),
            reply: None,
            remote_mta: None,
        }
    }
}

/// How one recipient's attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop has it and answers for it.
    Delivered {
        /// Its words.
        reply: RemoteReply,
        /// The host that said them (`Remote-MTA`); `None` where it went over no network.
        remote_mta: Option<Rc<str>>,
        /// What a sender hears who asked to be told of success; `None` where the next hop offered
        /// DSN, so that this is its business (RFC 3461 §5.2.1).
        success: Option<Success>,
    },
    /// Try again later.
    Deferred {
        /// Which back-off applies.
        blame: Blame,
        /// Why.
        diagnosis: Diagnosis,
    },
    /// Never: the sender is told.
    Failed {
        /// Whose fault.
        blame: Blame,
        /// Why.
        diagnosis: Diagnosis,
    },
    /// The connection died between the final dot and its reply: the peer may hold a copy
    /// already (RFC 1047). Tried again, because a copy twice is better than none.
    Doubtful {
        /// What was seen.
        diagnosis: Diagnosis,
    },
}

/// How a recipient came to its end here (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Success {
    /// In a mailbox.
    Delivered,
    /// Handed to a host that gives no reports of its own.
    Relayed,
    /// An alias of several addresses: each goes its own way (RFC 3461 §5.2.7.3).
    Expanded,
}

/// What a report tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportKind {
    /// Will not be delivered.
    Failure,
    /// Not delivered yet.
    Delay,
    /// Has come to a good end, as far as it is seen from here.
    Success,
}

impl Success {
    /// The word for it in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

impl ReportKind {
    /// Its name in the log and in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Delay => "delay",
            Self::Success => "success",
        }
    }
}

impl Outcome {
    /// Why it did not succeed; `None` for a delivery.
    #[must_use]
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        match self {
            Self::Delivered { .. } => None,
            Self::Deferred { diagnosis, .. }
            | Self::Failed { diagnosis, .. }
            | Self::Doubtful { diagnosis } => Some(diagnosis),
        }
    }
}
