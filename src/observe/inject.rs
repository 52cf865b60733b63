//! Messages that come by the control plane, and what became of them.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::smtp::reply::Reply;
use crate::wire::path::Mailbox;

/// A message, as a shard gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Who gives it.
    pub client: IpAddr,
    /// Whom reports go to; `None`: nobody.
    pub from: Option<Mailbox>,
    /// Each once.
    pub to: Vec<Mailbox>,
    /// Header and body with CRLF line ends, no dots doubled.
    pub content: Vec<u8>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Injected {
    /// Its queue id: it is on disk, for those who were accepted.
    pub id: String,
    /// Its Message-ID field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Who gets it.
    pub accepted: Vec<String>,
    /// Who does not, and why.
    pub rejected: Vec<Rejected>,
}

/// A recipient who was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// The recipient.
    pub recipient: String,
    /// What SMTP would answer (RFC 5321 §4.2).
    pub code: u16,
    /// RFC 3463.
    pub status: String,
    /// In words.
    pub reason: String,
}

/// Why a message was not taken for anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// What SMTP would answer to the message.
    Refused(Rejected),
    /// Nobody of its recipients is accepted.
    Nobody(Vec<Rejected>),
}

impl Rejected {
    /// What a reply says, of a recipient or with an empty one of a message.
    #[must_use]
    pub fn new(recipient: &str, reply: &Reply) -> Self {
        Self {
            recipient: recipient.to_owned(),
            code: reply.code(),
            status: reply
                .status()
                .map(|status| status.to_string())
                .unwrap_or_default(),
            reason: reply.text().replace('\n', " "),
        }
    }
}
