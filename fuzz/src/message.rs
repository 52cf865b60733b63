//! Envelopes out of a fuzzer's octets.

use arbitrary::Arbitrary;
use ringpost::mail::envelope::{BodyKind, Content, Envelope, Notify, QueueId, Recipient, Ret};
use ringpost::mail::outcome::Diagnosis;
use ringpost::wire::path::{Mailbox, ReversePath};
use ringpost::wire::status::EnhancedStatus;

/// An envelope as the fuzzer draws it; what no session lets through becomes something near.
#[derive(Arbitrary, Clone, Debug)]
pub struct Drawn {
    sender: Option<String>,
    envid: Option<String>,
    ret: u8,
    flags: u8,
    recipients: Vec<(String, Option<String>, u8)>,
}

impl Drawn {
    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        let recipients = self
            .recipients
            .iter()
            .take(8)
            .map(|(to, orcpt, notify)| Recipient {
                mailbox: mailbox(to, "d.test"),
                notify: (notify & 8 != 0).then_some(Notify {
                    success: notify & 1 != 0,
                    failure: notify & 2 != 0,
                    delay: notify & 4 != 0,
                }),
                orcpt: word(orcpt.as_deref()),
                expanded: notify & 16 != 0,
            });
        Envelope {
            reverse_path: ReversePath(self.sender.as_ref().map(|from| mailbox(from, "c.test"))),
            ret: [None, Some(Ret::Full), Some(Ret::Headers)][usize::from(self.ret % 3)],
            envid: word(self.envid.as_deref()),
            body: if self.flags & 1 == 0 {
                BodyKind::SevenBit
            } else {
                BodyKind::EightBit
            },
            smtputf8: self.flags & 2 != 0,
            require_tls: self.flags & 4 != 0,
            standing: Default::default(),
            recipients: recipients.collect(),
        }
    }
}

/// What a session would let through, or an address beside it.
fn mailbox(text: &str, domain: &str) -> Mailbox {
    let plain = || Mailbox::parse(format!("x@{domain}").as_bytes(), false);
    let taken = Mailbox::parse(text.as_bytes(), true);
    let taken = taken.or_else(|_| Mailbox::parse(format!("{text}@{domain}").as_bytes(), true));
    taken.or_else(|_| plain()).expect("an address")
}

/// ENVID and ORCPT are words without blanks and control octets.
fn word(text: Option<&str>) -> Option<Box<str>> {
    let text: String = text?
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(100)
        .collect();
    (!text.is_empty()).then(|| text.into())
}

/// Facts that any content may have.
#[must_use]
pub fn content(body: &[u8]) -> Content {
    Content {
        size: body.len() as u64,
        header_len: 2,
        ..Content::default()
    }
}

/// Words that a host has said.
#[must_use]
pub fn diagnosis(words: &str) -> Diagnosis {
    let words: String = words.chars().take(200).collect();
    Diagnosis {
        status: EnhancedStatus::new(4, 2, 0),
        text: words.as_str().into(),
        reply: Some(words.as_str().into()),
        remote_mta: None,
    }
}

/// A name for the nth message.
#[must_use]
pub const fn id(number: u64) -> QueueId {
    QueueId(number)
}
