//! What a server session may cost, and what it is told of its surroundings.

use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which protocol a listening address speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// Mail from other servers and from programs (RFC 5321).
    Smtp,
    /// Mail from those who write it (RFC 6409). The dialogue is SMTP's.
    Submission,
    /// LHLO, and one reply a recipient behind the dot (RFC 2033).
    Lmtp,
}

/// What becomes of a CR or LF in the content that is not part of a CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
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
    /// So many Received fields are a loop (RFC 5321 §6.3).
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

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            hostname: Rc::from("localhost"),
            max_message_size: MESSAGE_OCTETS_MAX,
            max_recipients: RECIPIENTS_MAX,
            max_command_line: COMMAND_LINE_OCTETS_MAX,
            max_header: HEADER_OCTETS_MAX,
            max_errors: ERRORS_MAX,
            max_hops: HOPS_MAX,
            max_transactions: TRANSACTIONS_MAX,
            command_timeout: COMMAND_WAIT,
            data_timeout: DATA_WAIT,
            bare_line_ends: BareLineEnds::Reject,
        }
    }
}

/// Larger than most servers on the way take.
const MESSAGE_OCTETS_MAX: u64 = 50 * 1024 * 1024;
/// What clients count on (Postfix has the same).
const RECIPIENTS_MAX: usize = 1000;
/// RFC 5321 §4.5.3.1.4 has 512, and the parameters of RCPT alone may add over 500 (RFC 3461 §5.4).
const COMMAND_LINE_OCTETS_MAX: usize = 2048;
/// Far above any header that a person reads.
const HEADER_OCTETS_MAX: u32 = 256 * 1024;
/// No mail program gets so much wrong.
const ERRORS_MAX: u32 = 20;
/// Below the 100 of RFC 5321 §6.3, above any path that is no loop.
const HOPS_MAX: u32 = 50;
/// None: a trusted client may keep its connection for as long as it has mail.
const TRANSACTIONS_MAX: u32 = u32::MAX;
/// RFC 5321 §4.5.3.2.7.
const COMMAND_WAIT: Duration = Duration::from_secs(300);
/// RFC 5321 §4.5.3.2.5.
const DATA_WAIT: Duration = Duration::from_secs(180);
