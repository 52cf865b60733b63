//! The envelope: who sent a message, to whom, and what was asked for it (RFC 5321 §2.3.1).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::dot::Facts;
use crate::wire::header::HeaderFacts;
use crate::wire::path::{Mailbox, ReversePath};

/// Names a message for its whole life, over restarts and on every shard.
///
/// The second of its acceptance, the shard that accepted it, and a count (`spool::names`). Written
/// as 13 digits of Crockford's base 32, so that ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

impl QueueId {
    /// When it was given out: seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        (self.0 >> QUEUE_ID_SECONDS_AT).cast_signed()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; QUEUE_ID_DIGITS];
        let mut rest = self.0;
        for digit in text.iter_mut().rev() {
            *digit = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for QueueId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != QUEUE_ID_DIGITS {
            return Err(());
        }
        let digits = text.bytes().map(|octet| {
            let octet = octet.to_ascii_uppercase();
            CROCKFORD.iter().position(|&digit| digit == octet).ok_or(())
        });
        let mut value: u64 = 0;
        for digit in digits {
            if value >> 59 != 0 {
                return Err(());
            }
            value = value << 5 | digit? as u64;
        }
        Ok(Self(value))
    }
}

/// What a message wants of the TLS on its way (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsWish {
    /// What the configuration wants, and what the domains say of their hosts.
    #[default]
    Usual,
    /// REQUIRETLS: a host that is proved and passes the requirement on, or none.
    Required,
    /// REQUIRETLS from nobody, as reports have it: it is passed on to who is proved and offers it, and
    /// is no reason to lose the report (§5).
    Preferred,
    /// `TLS-Required: No`: what the configuration wants, whatever domains say of their hosts.
    Optional,
}

impl TlsWish {
    /// What this message wants. REQUIRETLS goes before the field (§4.1).
    #[must_use]
    pub fn of(envelope: &Envelope, content: &Content) -> Self {
        match (envelope.require_tls, content.tls_optional) {
            (true, _) if envelope.reverse_path.0.is_none() => Self::Preferred,
            (true, _) => Self::Required,
            (false, true) => Self::Optional,
            (false, false) => Self::Usual,
        }
    }

    /// As its sender wrote it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Usual => None,
            Self::Required | Self::Preferred => Some("REQUIRETLS"),
            Self::Optional => Some("TLS-Required: No"),
        }
    }
}

/// How much of the message a report returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `RET=FULL`
    Full,
    /// `RET=HDRS`
    Headers,
}

impl Envelope {
    /// A report may return the content. Not of what needs TLS all the way: the way back is another
    /// one (RFC 8689 §5).
    #[must_use]
    pub fn returns_content(&self) -> bool {
        !self.require_tls && self.ret != Some(Ret::Headers)
    }
}

/// When a recipient's fate is reported (RFC 3461 §4.1). All false is `NOTIFY=NEVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

/// What a message's octets need of the path they take (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// `BODY=7BIT`, or not said.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`
    EightBit,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub mailbox: Mailbox,
    /// `NOTIFY=`; `None` when the sender did not say.
    pub notify: Option<Notify>,
    /// `ORCPT=`: `addr-type;xtext` as it came, checked (RFC 3461 §4.2).
    pub orcpt: Option<Box<str>>,
    /// An alias that was followed when the message came: its addresses elsewhere are recipients of
    /// their own, and what is left for this one are the mailboxes here.
    pub expanded: bool,
}

/// Whose a message is, and how it stands to others. Its sender's affair, not the network's: but for
/// `MT-PRIORITY` it does not leave the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The tenant.
    pub tenant: Option<Box<str>>,
    /// What it belongs to: a mailing, a campaign.
    pub tag: Option<Box<str>>,
    /// How soon it goes.
    pub priority: Priority,
    /// How soon every relay on its way is asked to send it on.
    pub mt_priority: Option<MtPriority>,
}

impl Standing {
    /// Nothing is said of it.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// `MT-PRIORITY=`: from -9 to 9, the higher the sooner (RFC 6710 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MtPriority(i8);

impl MtPriority {
    /// What a message has that nobody may give another one.
    pub const USUAL: Self = Self(0);

    /// None beyond 9 and -9.
    #[must_use]
    pub const fn new(value: i8) -> Option<Self> {
        match value {
            -9..=9 => Some(Self(value)),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn value(self) -> i8 {
        self.0
    }

    /// How soon a message with it goes here. Of the levels of the policy MIXER (RFC 6710 §9.1), -4, 0 and 4,
    /// it has the highest that is not above it.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self.0 {
            4.. => Priority::High,
            0..4 => Priority::Normal,
            _ => Priority::Low,
        }
    }
}

impl fmt::Display for MtPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How soon a message goes, beside others for the same next hop.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before others.
    High,
    /// In its turn.
    #[default]
    Normal,
    /// When others leave room.
    Low,
}

impl Priority {
    /// All of them, the first ones first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name in the configuration, in header fields and in lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl FromStr for Priority {
    type Err = ();

    /// One of the names, or a number from 0 to 9: the higher, the sooner.
    fn from_str(text: &str) -> Result<Self, ()> {
        let named = Self::ALL
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(text));
        named.map_or_else(
            || match text.as_bytes() {
                [b'7'..=b'9'] => Ok(Self::High),
                [b'4'..=b'6'] => Ok(Self::Normal),
                [b'0'..=b'3'] => Ok(Self::Low),
                _ => Err(()),
            },
            Ok,
        )
    }
}

/// The envelope of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `MAIL FROM`: whom reports go to.
    pub reverse_path: ReversePath,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`: xtext as it came, checked.
    pub envid: Option<Box<str>>,
    /// `BODY=`, raised to `EightBit` where the content has 8-bit octets all the same.
    pub body: BodyKind,
    /// `SMTPUTF8` was asked for (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// `REQUIRETLS`: it goes only to hosts that are proved and promise to do the same (RFC 8689).
    pub require_tls: bool,
    /// Whose it is.
    pub standing: Standing,
    /// `RCPT TO`, in the order given. A recipient is named by its place here from now on.
    pub recipients: Vec<Recipient>,
}

/// What is known of a message's content after one look while it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Octets as the sender meant them: after dot-unstuffing, CRLF line ends, trace fields of
    /// ours not counted.
    pub size: u64,
    /// Some line begins with a dot (and has one more in wire form).
    pub stuffed: bool,
    /// Has octets over 127 in its body.
    pub eight_bit: bool,
    /// Has octets over 127 in its header (RFC 6532).
    pub eight_bit_header: bool,
    /// Octets of the longest line, without CRLF, unstuffed.
    pub longest_line: u32,
    /// Received fields in the header.
    pub received: u32,
    /// Has a Date field.
    pub date: bool,
    /// The Message-ID field's value, up to 255 octets of it.
    pub message_id: Option<Box<str>>,
    /// `TLS-Required: No`: its sender wants it delivered whatever is published about TLS (RFC 8689
    /// §3).
    pub tls_optional: bool,
    /// Octets of the header in wire form, the empty line included.
    pub header_len: u32,
    /// The aliases that its Delivered-To fields name: of interest while it comes, not kept on disk.
    pub delivered_to: Vec<Box<str>>,
}

impl Content {
    /// From what was seen of its lines and of its header.
    #[must_use]
    pub fn new(facts: Facts, header: HeaderFacts) -> Self {
        Self {
            size: facts.size,
            stuffed: facts.stuffed,
            eight_bit: header.eight_bit,
            eight_bit_header: header.eight_bit_header,
            longest_line: facts.longest_line,
            received: header.received,
            date: header.date,
            message_id: header.message_id,
            tls_optional: header.tls_optional,
            header_len: header.header_len,
            delivered_to: header.delivered_to,
        }
    }
}

/// Shards that a relay may have: a queue id has ten bits for the shard's number. With one more,
/// two shards would give out the same ids.
pub const SHARDS_MAX: usize = 1024;
/// Bits of a queue id below its seconds.
pub const QUEUE_ID_SECONDS_AT: u32 = 30;
/// Digits of a queue id as text.
const QUEUE_ID_DIGITS: usize = 13;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_ids_survive_text_and_sort_by_value() {
        let mut last = String::new();
        for value in [0, 1, 31, 32, 1 << 40, u64::MAX - 1, u64::MAX] {
            let text = QueueId(value).to_string();
            assert_eq!(text.parse(), Ok(QueueId(value)));
            assert_eq!(text.to_lowercase().parse(), Ok(QueueId(value)));
            assert!(text > last);
            last = text;
        }
        for bad in ["", "0", "ZZZZZZZZZZZZZ", "000000000000U", "00000000000000"] {
            assert_eq!(bad.parse::<QueueId>(), Err(()), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_no_queue_id_or_the_one_that_it_is_written_as(text in "[0-9A-Za-z\u{e4}]{12,14}") {
            if let Ok(id) = text.parse::<QueueId>() {
                proptest::prop_assert_eq!(id.to_string(), text.to_ascii_uppercase());
            }
        }
    }
}
