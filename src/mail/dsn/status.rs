//! The part for programs: fields per message, and for each recipient (RFC 3464 §2).

use std::borrow::Cow;
use std::fmt::Write as _;

use super::text::{Charset, push_printable, push_wrapped};
use super::{Listed, Notice, ReportKind, date};
use crate::mail::outcome::{Diagnosis, Success};
use crate::wire::codec;

/// The part's content.
pub(super) struct Status {
    pub(super) text: String,
    /// Some address has octets over 127 (RFC 6533 §4).
    international: bool,
}

impl Status {
    pub(super) fn compose(notice: &Notice<'_>, listed: &[Listed<'_>]) -> Self {
        let originals: Vec<Option<Address<'_>>> = listed
            .iter()
            .map(|one| one.recipient.orcpt.as_deref().map(Address::original))
            .collect();
        let international = listed
            .iter()
            .any(|one| one.recipient.mailbox.needs_smtputf8())
            || originals.iter().flatten().any(Address::is_international);
        let charset = if international {
            Charset::Utf8
        } else {
            Charset::Ascii
        };
        let mut text = String::with_capacity(RECIPIENT_OCTETS * (listed.len() + 1));
        push_message(&mut text, notice);
        for (one, original) in listed.iter().zip(originals) {
            text.push_str("\r\n");
            if let Some(original) = original {
                original.push(&mut text, "Original-Recipient");
            }
            Address::last(one).push(&mut text, "Final-Recipient");
            push_recipient(&mut text, notice, one, charset);
        }
        Self {
            text,
            international,
        }
    }

    pub(super) const fn media_type(&self) -> &'static str {
        if self.international {
            "message/global-delivery-status"
        } else {
            "message/delivery-status"
        }
    }
}

/// RFC 3464 §2.2
fn push_message(text: &mut String, notice: &Notice<'_>) {
    // Writing to a String does not fail.
    let _ = write!(text, "Reporting-MTA: dns; {}\r\n", notice.hostname);
    if let Some(envid) = &notice.envelope.envid {
        text.push_str("Original-Envelope-Id: ");
        // RFC 3461 §4.4: an ENVID stands for printable US-ASCII, so nothing else comes out.
        let octets = codec::decode_xtext(envid);
        push_printable(text, &String::from_utf8_lossy(&octets), Charset::Ascii);
        text.push_str("\r\n");
    }
    let _ = write!(
        text,
        "X-Ringpost-Queue-ID: {}\r\nArrival-Date: {}\r\n",
        notice.original_id,
        date(notice.arrival)
    );
}

/// RFC 3464 §2.3, what follows the addresses.
fn push_recipient(text: &mut String, notice: &Notice<'_>, one: &Listed<'_>, charset: Charset) {
    let action = match notice.kind {
        ReportKind::Failure => "failed",
        ReportKind::Delay => "delayed",
        // A report that does not say how claims the least.
        ReportKind::Success => one.reported.success.unwrap_or(Success::Relayed).name(),
    };
    // Writing to a String does not fail.
    let _ = write!(text, "Action: {action}\r\nStatus: {}\r\n", one.status);
    if let Some(diagnosis) = one.reported.diagnosis {
        push_diagnosis(text, diagnosis, charset);
    }
    // Failures and transfers are told of at once: the attempt was now. When the last attempt of
    // anything else was, nobody has written down.
    let now =
        matches!(notice.kind, ReportKind::Failure | ReportKind::Success) && !one.reported.expired;
    if now && one.reported.diagnosis.is_some() {
        let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(notice.now));
    }
    if let (ReportKind::Delay, Some(until)) = (notice.kind, one.reported.will_retry_until) {
        let _ = write!(text, "Will-Retry-Until: {}\r\n", date(until));
    }
}

fn push_diagnosis(text: &mut String, diagnosis: &Diagnosis, charset: Charset) {
    let said = |words: &&str| !words.trim().is_empty();
    if let Some(remote) = diagnosis.remote_mta.as_deref().filter(said) {
        text.push_str("Remote-MTA: dns; ");
        push_printable(text, remote, charset);
        text.push_str("\r\n");
    }
    // What we found ourselves is of a type of our own (RFC 3464 §2.3.6).
    let reply = diagnosis.reply.as_deref().filter(said);
    let own = Some(&*diagnosis.text).filter(said);
    let found = reply.map(|reply| ("Diagnostic-Code: smtp;", reply));
    if let Some((field, words)) = found.or(own.map(|own| ("Diagnostic-Code: x-ringpost;", own))) {
        text.push_str(field);
        push_wrapped(text, words, charset, " ");
        text.push_str("\r\n");
    }
}

/// An address with its type (RFC 3464 §2.1.2, RFC 6533 §3).
struct Address<'a> {
    kind: &'a str,
    text: Cow<'a, str>,
}

impl<'a> Address<'a> {
    /// Where it was to go when its sender wrote it: `orcpt` is `addr-type;xtext`.
    fn original(orcpt: &'a str) -> Self {
        let (kind, xtext) = orcpt.split_once(';').unwrap_or((RFC822, orcpt));
        let octets = codec::decode_xtext(xtext);
        let decoded = String::from_utf8_lossy(&octets);
        let text = if kind.eq_ignore_ascii_case(UTF8) {
            unescaped(&decoded)
        } else {
            decoded.into_owned()
        };
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Where it went.
    fn last(one: &Listed<'a>) -> Self {
        let mailbox = &one.recipient.mailbox;
        let kind = if mailbox.needs_smtputf8() {
            UTF8
        } else {
            RFC822
        };
        Self {
            kind,
            text: mailbox.as_str().into(),
        }
    }

    fn is_international(&self) -> bool {
        self.kind.eq_ignore_ascii_case(UTF8) && !self.text.is_ascii()
    }

    fn push(&self, out: &mut String, field: &str) {
        let charset = if self.is_international() {
            Charset::Utf8
        } else {
            Charset::Ascii
        };
        out.push_str(field);
        out.push_str(": ");
        push_printable(out, self.kind, Charset::Ascii);
        out.push_str("; ");
        push_printable(out, &self.text, charset);
        out.push_str("\r\n");
    }
}

/// `\x{E4}` is `ä` (RFC 6533 §3, embedded-unicode-char); what is not of this form stays.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(ESCAPE) {
        result.push_str(before);
        let found = behind.split_once('}').and_then(|(hex, after)| {
            let plain = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
            let number = u32::from_str_radix(hex, 16).ok().filter(|_| plain)?;
            Some((char::from_u32(number)?, after))
        });
        rest = match found {
            Some((c, after)) => {
                result.push(c);
                after
            }
            None => {
                result.push_str(ESCAPE);
                behind
            }
        };
    }
    result.push_str(rest);
    result
}

const RFC822: &str = "rfc822";
const UTF8: &str = "utf-8";
const ESCAPE: &str = "\\x{";
/// What one recipient comes to, roughly: room to reserve, not a limit.
const RECIPIENT_OCTETS: usize = 384;
