//! What a server session may cost, and what it is told of its surroundings.

use std::rc::Rc;
use std::time::Duration;

/// Which protocol a listening address speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// Mail from other servers and from programs (RFC 5321).
    Smtp,
    /// Mail from those who write it (RFC 6409). The dialogue is SMTP's.
    Submission,
    /// LHLO, and one reply a recipient behind the dot (RFC 2033).
    Lmtp,
}

/// What becomes of a CR or LF in the content that is not part of a CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareLineEnds {
    /// The message is read to its end and refused.
    Reject,
    /// Each becomes a CRLF: one message stays one message, and no reader behind us can take a
    /// part of it for the end of data.
    Fix,
}

/// The bounds of a session, shared by all of a shard.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Our name in the greeting, the hello and the trace field.
    pub hostname: Rc<str>,
    /// Octets of a message (RFC 1870).
    pub max_message_size: u64,
    /// Recipients of a transaction; RFC 5321 §4.5.3.1.8 wants at least 100.
    pub max_recipients: usize,
    /// Octets of a command line without its line end; RFC 5321 §4.5.3.1.4 says 512 with it, and
    /// each extension adds to that.
    pub max_command_line: usize,
    /// Octets of a header.
    pub max_header: u32,
    /// Faults of the client, since its last message, until we hang up.
    pub max_errors: u32,
    /// Received fields that make a loop (RFC 5321 §6.3).
    pub max_hops: u32,
    /// Transactions of a session (RFC 9422 §4.1 MAILMAX).
    pub max_transactions: u32,
    /// How long a command is waited for; RFC 5321 §4.5.3.2.7 wants at least 5 minutes.
    pub command_timeout: Duration,
    /// How long the next octets of a content are waited for (RFC 5321 §4.5.3.2.5: 3 minutes).
    pub data_timeout: Duration,
    /// What becomes of bare CR and LF.
    pub bare_line_ends: BareLineEnds,
}
