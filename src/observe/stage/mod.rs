//! How long each stage of a message's way takes: a histogram for each, recorded by the shard
//! without allocation, copied when somebody looks.

mod recent;
mod recorder;
mod snapshot;
#[cfg(test)]
mod tests;
mod times;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use recent::{LOOK_SECONDS, Recent, Thin, Window};
pub use recorder::{DESTINATIONS_MAX, Recorder, STAGE_PIECES};
pub use snapshot::{Row, Snapshot};
pub use times::Times;

/// One stage, in the order in which a message meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Stage {
    /// A client's connection is accepted; until the banner is written.
    AcceptToBanner,
    /// A client's command is read; until its reply is written.
    Command,
    /// From 354 to the last octet of the content.
    BodyReceived,
    /// Finding out who a message is from.
    Verify,
    /// The content is complete; until it is on stable storage.
    CommitWait,
    /// The disk's share of it: writing and syncing a batch.
    CommitDisk,
    /// Messages that one fdatasync made safe: a count, not a time.
    CommitBatch,
    /// A command of a user who fetches mail is read; until its reply is written.
    RetrievalCommand,
    /// A delivery is due; until a connection takes it.
    QueueWait,
    /// Looking up a destination's hosts.
    Dns,
    /// Learning a destination's MTA-STS policy, fetching it included.
    Sts,
    /// The TCP handshake with a host.
    Connect,
    /// The TLS handshake with a host.
    Tls,
    /// Waiting for a host's banner, and for its answer to EHLO.
    GreetingEhlo,
    /// Making the DKIM signatures of a message.
    Sign,
    /// MAIL and RCPT, until the last reply to them.
    Envelope,
    /// DATA; until 354.
    DataTo354,
    /// Writing the content to a host.
    Body,
    /// The final dot; until its reply.
    DotToReply,
    /// From the 250 we gave to the one we were given.
    AcceptedToDelivered,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 20] = [
        Self::AcceptToBanner,
        Self::Command,
        Self::BodyReceived,
        Self::Verify,
        Self::CommitWait,
        Self::CommitDisk,
        Self::CommitBatch,
        Self::RetrievalCommand,
        Self::QueueWait,
        Self::Dns,
        Self::Sts,
        Self::Connect,
        Self::Tls,
        Self::GreetingEhlo,
        Self::Sign,
        Self::Envelope,
        Self::DataTo354,
        Self::Body,
        Self::DotToReply,
        Self::AcceptedToDelivered,
    ];

    /// Its name in metrics and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptToBanner => "accept_to_banner",
            Self::Command => "command",
            Self::BodyReceived => "body_received",
            Self::Verify => "verify",
            Self::CommitWait => "commit_wait",
            Self::CommitDisk => "commit_disk",
            Self::CommitBatch => "commit_batch",
            Self::RetrievalCommand => "retrieval_command",
            Self::QueueWait => "queue_wait",
            Self::Dns => "dns",
            Self::Sts => "sts",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::GreetingEhlo => "greeting_ehlo",
            Self::Sign => "sign",
            Self::Envelope => "envelope",
            Self::DataTo354 => "data_to_354",
            Self::Body => "body",
            Self::DotToReply => "dot_to_reply",
            Self::AcceptedToDelivered => "accepted_to_delivered",
        }
    }

    /// It counts something instead of measuring time.
    #[must_use]
    pub const fn is_count(self) -> bool {
        matches!(self, Self::CommitBatch)
    }

    /// It happens towards a destination, not towards a client or the disk.
    #[must_use]
    pub const fn is_outbound(self) -> bool {
        self as usize >= FIRST_OUTBOUND
    }

    /// Its place in [`Stage::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    /// Takes the name with `-` for `_` too, as people type it.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase().replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|stage| stage.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("no stage is called {text}; there are {names}")
            })
    }
}

impl TryFrom<String> for Stage {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Stage> for &'static str {
    fn from(stage: Stage) -> Self {
        stage.name()
    }
}

/// Where the stages towards a destination begin.
const FIRST_OUTBOUND: usize = Stage::QueueWait as usize;

/// How many stages there are towards a destination.
const OUTBOUND: usize = Stage::ALL.len() - FIRST_OUTBOUND;

/// The name under which the destinations without a place of their own are counted together. It
/// is no domain name: those have no parentheses.
pub const OTHER: &str = "(other)";
