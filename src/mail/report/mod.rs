//! Reads what comes back later: reports of other hosts about mail that left here (RFC 3464), what
//! their users say of it (RFC 5965), and whatever else is written to a return path.
//!
//! ```text
//! message ─► parts ─┬─ message/delivery-status  ─► a word on each recipient    fields.rs
//!                   ├─ message/feedback-report  ─► a complaint                 feedback.rs
//!                   ├─ words, of a host that writes no such part               words.rs
//!                   └─ message/rfc822 or headers ─► what it is about
//! ```
//!
//! Anybody may write anything here: what is read is bounded in every direction, and nothing of it is
//! believed that the return path does not prove.

pub mod feedback;
mod fields;
#[cfg(test)]
mod tests;
mod words;

use mail_parser::{HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};
use memchr::memmem;

use super::downgrade::could_nest_too_deep;
use super::outcome::{Diagnosis, REPLY_TEXT_MAX};
use crate::wire::header;
use crate::wire::status::EnhancedStatus;
use feedback::Feedback;
use fields::{Block, blocks, plain, typed};

/// What was read of a message that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// What it tells.
    pub told: Told,
    /// A program wrote it, not a person (RFC 3834 §5).
    pub is_automatic: bool,
    /// It has another message with it, or its header.
    pub has_original: bool,
    /// That header.
    header: Vec<u8>,
    /// Where addresses are looked for.
    texts: Vec<String>,
}

/// What a message that came back tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// What became of mail, recipient by recipient.
    Delivery(Vec<Fate>),
    /// Somebody complains.
    Feedback(Box<Feedback>),
    /// Nothing of the sort.
    #[default]
    Nothing,
}

/// What became of one recipient (RFC 3464 §2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How it stands.
    pub action: Action,
    /// Its status; derived from the reply where the report has none.
    pub status: EnhancedStatus,
    /// The reply of the host that refused it, where one is told.
    pub reply: Option<String>,
    /// Other words.
    pub words: Option<String>,
    /// Who gave the reply.
    pub remote_mta: Option<String>,
    /// Where it was to go when its sender wrote it.
    pub original_recipient: Option<String>,
    /// Where it went.
    pub final_recipient: Option<String>,
}

/// How a recipient stands (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is not delivered yet.
    Delayed,
    /// It has come to a good end: delivered, relayed or expanded.
    Arrived,
}

impl Fate {
    /// The same as what an attempt of ours would have brought.
    #[must_use]
    pub fn diagnosis(&self) -> Diagnosis {
        let said = self.reply.as_deref().or(self.words.as_deref());
        let said = said.unwrap_or("no reason was given");
        let text = match self.remote_mta.as_deref() {
            Some(host) => format!("host {host} said later: {said}"),
            None => format!("said later: {said}"),
        };
        Diagnosis {
            status: self.status,
            text: text.into(),
            reply: self.reply.as_deref().map(Into::into),
            remote_mta: self.remote_mta.as_deref().map(Into::into),
        }
    }
}

impl Returned {
    /// A field of the header of the message that it is about.
    #[must_use]
    pub fn original_field(&self, name: &str) -> Option<String> {
        header::value(&self.header, name, FIELD_OCTETS_MAX)
    }

    /// The header of the message that it is about; empty where none came back.
    #[must_use]
    pub fn original_header(&self) -> &[u8] {
        &self.header
    }

    /// What looks like an address in it, those first that fields of reports name.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let texts = self.texts.iter();
        texts.flat_map(|text| addresses(text)).take(ADDRESSES_MAX)
    }
}

/// Reads a message, unstuffed, or as much of it as is at hand. `is_from_nobody`: its reverse path is
/// null, or is that of a program that delivers mail.
#[must_use]
pub fn read(octets: &[u8], is_from_nobody: bool) -> Returned {
    if could_nest_too_deep(octets) {
        return Returned::default();
    }
    let Some(message) = MessageParser::default().parse(octets) else {
        return Returned::default();
    };
    let mut returned = Returned {
        is_automatic: is_automatic(&message),
        ..Returned::default()
    };
    let mut prose = Vec::new();
    for part in message.parts.iter().take(PARTS_MAX) {
        returned.take(part, &mut prose);
    }
    let failed = message.header("X-Failed-Recipients");
    let failed = failed.and_then(HeaderValue::as_text);
    if let Some(failed) = failed {
        returned.look_in(failed);
    }
    let says_so = failed.is_some() || is_from_nobody && !says_automatic(&message);
    if returned.told == Told::Nothing && says_so {
        let mut fates = prose.iter().filter_map(|text| words::find(text));
        let fate = fates
            .next()
            .or_else(|| failed.map(|_| words::without_a_reply()));
        returned.told = fate.map_or(Told::Nothing, |fate| Told::Delivery(vec![fate]));
    }
    for text in prose {
        returned.look_in(text);
    }
    returned
}

impl Returned {
    fn take<'m>(&mut self, part: &'m MessagePart<'_>, prose: &mut Vec<&'m str>) {
        let kind = part.content_type();
        let main = kind.map_or("text", |kind| kind.ctype());
        let sub = kind.and_then(|kind| kind.subtype()).unwrap_or("plain");
        let is = |one: &str, other: &str| {
            main.eq_ignore_ascii_case(one) && sub.eq_ignore_ascii_case(other)
        };
        if is("message", "delivery-status") || is("message", "global-delivery-status") {
            self.take_delivery(&lossy(part.contents(), TEXT_OCTETS_MAX));
        } else if is("message", "feedback-report") {
            self.take_feedback(&lossy(part.contents(), TEXT_OCTETS_MAX));
        } else if let PartType::Message(_) = &part.body {
            self.take_original(part.contents());
        } else if is("text", "rfc822-headers")
            || is("text", "rfc822-header")
            || is("message", "global-headers")
            || is("message", "rfc822")
        {
            self.take_original(part.contents());
        } else if let PartType::Text(text) = &part.body {
            let end = text.floor_char_boundary(TEXT_OCTETS_MAX);
            prose.push(&text[..end]);
        }
    }

    fn take_delivery(&mut self, text: &str) {
        let fates: Vec<Fate> = blocks(text).filter_map(|block| fate(&block)).collect();
        if let (false, Told::Nothing) = (fates.is_empty(), &self.told) {
            let named = |fate: &Fate| {
                let [original, last] = [&fate.original_recipient, &fate.final_recipient];
                [original.clone(), last.clone()]
            };
            let named: Vec<String> = fates.iter().flat_map(named).flatten().collect();
            self.told = Told::Delivery(fates);
            for address in named {
                self.look_in(&address);
            }
        }
    }

    fn take_feedback(&mut self, text: &str) {
        let Some(feedback) = Feedback::read(text).filter(|_| self.told == Told::Nothing) else {
            return;
        };
        for address in feedback.addresses() {
            self.look_in(address);
        }
        self.told = Told::Feedback(Box::new(feedback));
    }

    fn take_original(&mut self, octets: &[u8]) {
        if std::mem::replace(&mut self.has_original, true) {
            return;
        }
        let end = memmem::find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 2);
        let header = &octets[..end.min(TEXT_OCTETS_MAX)];
        self.header = header.to_vec();
        self.look_in(&String::from_utf8_lossy(header));
    }

    fn look_in(&mut self, text: &str) {
        // A message of many parts: what it names first counts.
        if self.texts.len() < PARTS_MAX && text.contains('@') {
            self.texts.push(text.to_owned());
        }
    }
}

/// One block of a report; `None` for what is said of the message as a whole.
fn fate(block: &Block) -> Option<Fate> {
    let recipient = |name: &str| {
        let (_, address) = typed(block.find(name)?);
        Some(address.trim_matches(['<', '>']).to_owned())
    };
    let action = match block
        .find("Action")
        .map(plain)?
        .to_ascii_lowercase()
        .as_str()
    {
        "failed" => Action::Failed,
        "delayed" => Action::Delayed,
        "delivered" | "relayed" | "expanded" => Action::Arrived,
        _ => return None,
    };
    let (mut reply, mut words) = (None, None);
    if let Some(diagnostic) = block.find("Diagnostic-Code") {
        let (kind, text) = typed(diagnostic);
        let text = printable(&text);
        match kind.eq_ignore_ascii_case("smtp") {
            true => reply = Some(text),
            false => words = Some(text),
        }
    }
    let status = block.find("Status").map(plain);
    let status = status.and_then(|text| Some(EnhancedStatus::parse_prefix(&text)?.0));
    let status = status.or_else(|| reply.as_deref().and_then(words::status_of));
    Some(Fate {
        action,
        status: status.unwrap_or(UNKNOWN),
        reply,
        words,
        remote_mta: block
            .find("Remote-MTA")
            .map(|value| printable(&typed(value).1)),
        original_recipient: recipient("Original-Recipient"),
        final_recipient: recipient("Final-Recipient"),
    })
}

/// RFC 3834 §5 and what came before it.
fn says_automatic(message: &Message<'_>) -> bool {
    let field = |name| message.header(name).and_then(HeaderValue::as_text);
    let is_replied = field("Auto-Submitted").is_some_and(|value| {
        let word = plain(value).to_ascii_lowercase();
        word.starts_with("auto-replied") || word.starts_with("auto-notified")
    });
    is_replied || field("X-Autoreply").is_some() || field("X-Autorespond").is_some()
}

fn is_automatic(message: &Message<'_>) -> bool {
    let field = |name| message.header(name).and_then(HeaderValue::as_text);
    let is_submitted =
        field("Auto-Submitted").is_some_and(|value| !plain(value).eq_ignore_ascii_case("no"));
    let is_bulk = field("Precedence").is_some_and(|value| {
        let word = plain(value).to_ascii_lowercase();
        matches!(&*word, "bulk" | "junk" | "auto_reply")
    });
    is_submitted || is_bulk || says_automatic(message)
}

/// Runs of what an address may consist of, around an `@`; of `ORCPT=b@d.test` what stands behind the
/// sign too.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "<>()[],;:\"|\\".contains(c);
    text.split(ends).flat_map(|word| {
        let word = word.trim_matches(|c: char| ".'`=".contains(c));
        let at = word.find('@').filter(|at| *at > 0 && at + 1 < word.len());
        let whole = at
            .filter(|_| word.len() <= ADDRESS_OCTETS_MAX)
            .map(|_| word);
        let rest = whole.and_then(|word| {
            let (before, _) = word.split_at(at?);
            Some(&word[before.rfind('=')? + 1..])
        });
        whole.into_iter().chain(rest)
    })
}

fn printable(text: &str) -> String {
    let text = text[..text.floor_char_boundary(REPLY_TEXT_MAX)].trim();
    text.replace(char::is_control, " ")
}

fn lossy(octets: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&octets[..octets.len().min(most)]).into_owned()
}

/// RFC 3463: nothing is known but that it failed.
const UNKNOWN: EnhancedStatus = EnhancedStatus::new(5, 0, 0);
/// Octets of a message that are worth reading: reports begin with what they tell.
pub const READ_OCTETS_MAX: usize = 1 << 20;
/// Octets of a part that count.
const TEXT_OCTETS_MAX: usize = 64 * 1024;
/// Parts that are looked at.
const PARTS_MAX: usize = 100;
/// Addresses that are compared.
const ADDRESSES_MAX: usize = 1000;
/// RFC 5321 §4.5.3.1.3, and as much again for what stands around it.
const ADDRESS_OCTETS_MAX: usize = 640;
/// Octets of one field that count.
const FIELD_OCTETS_MAX: usize = 998;
