//! Delivery status notifications: what a sender is told of a message that failed, waits, or left
//! for a host that tells nothing (RFC 3461, RFC 3464, RFC 6522).
//!
//! ```text
//! multipart/report
//! ├── text/plain                 words for people             words.rs
//! ├── message/delivery-status    the same for programs        status.rs
//! └── message/rfc822 or headers  what it is about             returned.rs
//! ```
//!
//! With international addresses the last two become their `message/global` forms (RFC 6533). No
//! part of type `message` is encoded (RFC 2046 §5.2.1): 8-bit octets make the report 8-bit.

mod returned;
mod status;
mod text;
mod words;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use memchr::memmem;

use super::envelope::{BodyKind, Content, Envelope, Notify, QueueId, Recipient};
use super::outcome::{Diagnosis, ReportKind, Success};
use crate::time::Wall;
use crate::trial::{self, Bug};
use crate::wire::codec;
use crate::wire::dot::Stuffer;
use crate::wire::header::HeaderScan;
use crate::wire::path::{Mailbox, ReversePath};
use crate::wire::status::EnhancedStatus;
use returned::Returned;
use status::Status;
use text::{Charset, push_printable};

/// One recipient of the original that the report is about.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Its place in the original's envelope.
    pub index: u16,
    /// How it stands. Shown under the class that fits the report's kind.
    pub status: EnhancedStatus,
    /// Why; of a success the words of the next hop; `None` before any attempt.
    pub diagnosis: Option<&'a Diagnosis>,
    /// It failed because its time was over: the status is 4.4.7 (RFC 3463 §3.5).
    pub expired: bool,
    /// How it succeeded, in a [`ReportKind::Success`].
    pub success: Option<Success>,
    /// How long it is still tried, in a [`ReportKind::Delay`].
    pub will_retry_until: Option<Wall>,
}

/// What there is to tell, and about what.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// What it tells.
    pub kind: ReportKind,
    /// Our name: the reporting MTA.
    pub hostname: &'a str,
    /// Names the report.
    pub report_id: QueueId,
    /// Names the original.
    pub original_id: QueueId,
    /// When the original came.
    pub arrival: Wall,
    /// The report's date.
    pub now: Wall,
    /// The original's envelope.
    pub envelope: &'a Envelope,
    /// Whom it is about.
    pub recipients: &'a [Reported<'a>],
    /// The original as its sender meant it, unstuffed; or as much of it as is at hand, its header
    /// first.
    pub original: &'a [u8],
    /// `original` is all of it.
    pub original_is_whole: bool,
}

/// A report, ready to be stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// From nobody to the original's sender.
    pub envelope: Envelope,
    /// What is known of `body`.
    pub content: Content,
    /// The message in wire form: CRLF line ends, hiding dots.
    pub body: Vec<u8>,
}

/// Composes a report. `None` when there is nobody to tell (the original has a null reverse-path,
/// RFC 5321 §4.5.5) or nothing (no recipient of the envelope is listed).
#[must_use]
pub fn compose(notice: &Notice<'_>) -> Option<Composed> {
    let sender = notice.envelope.reverse_path.0.as_ref()?;
    let listed: Vec<Listed<'_>> = notice
        .recipients
        .iter()
        .filter_map(|reported| Listed::new(notice, reported))
        .collect();
    if listed.is_empty() {
        return None;
    }
    let words = words::compose(notice, &listed);
    let status = Status::compose(notice, &listed);
    let returned = Returned::of(notice);
    let boundary = boundary(
        notice.report_id,
        &[words.as_bytes(), status.text.as_bytes(), &returned.octets],
    );
    let eight_bit = !words.is_ascii() || !status.text.is_ascii() || !returned.is_seven_bit();

    let room = words.len() + status.text.len() + returned.octets.len() + FRAME_OCTETS;
    let mut wire = Wire::with_room(room);
    wire.push(header(notice, sender, &returned, &boundary, eight_bit).as_bytes());
    wire.push(b"This is a MIME-encapsulated message.\r\n");
    wire.part(
        &boundary,
        "Notification",
        "text/plain; charset=utf-8",
        transfer(words.is_ascii()),
    );
    wire.push(words.as_bytes());
    wire.part(
        &boundary,
        "Delivery report",
        status.media_type(),
        transfer(status.text.is_ascii()),
    );
    wire.push(status.text.as_bytes());
    wire.part(
        &boundary,
        returned.description,
        returned.media_type,
        returned.encoding,
    );
    wire.push(&returned.octets);
    wire.push(format!("\r\n--{boundary}--\r\n").as_bytes());
    Some(wire.finish(sender, notice.envelope.require_tls))
}

/// A recipient of the envelope with what is reported of it.
struct Listed<'a> {
    recipient: &'a Recipient,
    reported: &'a Reported<'a>,
    /// Of the class that fits what is told.
    status: EnhancedStatus,
}

impl<'a> Listed<'a> {
    fn new(notice: &Notice<'a>, reported: &'a Reported<'a>) -> Option<Self> {
        let recipient = notice
            .envelope
            .recipients
            .get(usize::from(reported.index))?;
        let class = match (notice.kind, reported.status.class()) {
            (ReportKind::Success, _) => 2,
            (ReportKind::Delay, _) => 4,
            // Given up before its time: the last answer keeps its class (RFC 3464 §2.3.4).
            (ReportKind::Failure, 4) => 4,
            (ReportKind::Failure, _) => 5,
        };
        let status = if notice.kind == ReportKind::Failure && reported.expired {
            EXPIRED
        } else {
            EnhancedStatus::new(class, reported.status.subject(), reported.status.detail())
        };
        Some(Self {
            recipient,
            reported,
            status,
        })
    }
}

/// The report's own header, with the empty line.
fn header(
    notice: &Notice<'_>,
    sender: &Mailbox,
    returned: &Returned<'_>,
    boundary: &str,
    eight_bit: bool,
) -> String {
    let subject = match notice.kind {
        ReportKind::Failure => "Undelivered Mail Returned to Sender",
        ReportKind::Delay => "Delayed Mail (still being retried)",
        ReportKind::Success => "Successful Mail Delivery Report",
    };
    let hostname = notice.hostname;
    let mut header = String::with_capacity(FRAME_OCTETS);
    let now = date(notice.now);
    // The trace begins where the message does: hops are counted from here, and the name it is
    // logged by can be read off it. It came from nobody, so there is no FROM (RFC 5321 §4.4).
    // Writing to a String does not fail.
    let _ = write!(
        header,
        "Received: by {hostname} (Ringpost)\r\n\tid {}; {now}\r\n\
         Date: {now}\r\nFrom: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\nTo: <",
        notice.report_id
    );
    push_printable(&mut header, sender.as_str(), Charset::Utf8);
    let _ = write!(
        header,
        ">\r\nSubject: {subject}\r\nMessage-ID: <{}@{hostname}>\r\n",
        notice.report_id
    );
    // RFC 3834 §3.1.6: mail programs show the report beside what it is about.
    if let Some(original) = returned.message_id() {
        let _ = write!(
            header,
            "In-Reply-To: {original}\r\nReferences: {original}\r\n"
        );
    }
    let _ = write!(
        header,
        "Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\
         \tboundary=\"{boundary}\"\r\n\
         Content-Transfer-Encoding: {}\r\n\r\n",
        transfer(!eight_bit)
    );
    header
}

/// A boundary that occurs in none of `parts`. `=_` occurs in nothing that is encoded
/// (RFC 2045 §6.7); whoever guesses the rest only makes the number grow.
fn boundary(report: QueueId, parts: &[&[u8]]) -> String {
    let mut number = 0u64;
    loop {
        let boundary = format!("=_{report}.{number}");
        if !parts
            .iter()
            .any(|part| memmem::find(part, boundary.as_bytes()).is_some())
        {
            return boundary;
        }
        number += 1;
    }
}

/// The report as it grows: in wire form, measured on the way.
struct Wire {
    stuffer: Stuffer,
    scan: HeaderScan,
    octets: Vec<u8>,
}

impl Wire {
    fn with_room(octets: usize) -> Self {
        Self {
            stuffer: Stuffer::new(),
            scan: HeaderScan::new(u32::MAX),
            octets: Vec::with_capacity(octets),
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let start = self.octets.len();
        self.stuffer.stuff_into(&mut self.octets, piece);
        self.scan.feed(&self.octets[start..]);
    }

    /// A delimiter and the header of the part behind it.
    fn part(&mut self, boundary: &str, description: &str, media_type: &str, encoding: &str) {
        let header = format!(
            "\r\n--{boundary}\r\n\
             Content-Description: {description}\r\n\
             Content-Type: {media_type}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        self.push(header.as_bytes());
    }

    /// What is told of a message goes on the same terms as the message (RFC 8689 §5).
    fn finish(self, sender: &Mailbox, require_tls: bool) -> Composed {
        let content = Content::new(self.stuffer.facts(), self.scan.finish());
        let body = if content.eight_bit || content.eight_bit_header {
            BodyKind::EightBit
        } else {
            BodyKind::SevenBit
        };
        let recipient = Recipient {
            mailbox: sender.clone(),
            // RFC 3461 §6.1: nobody is told what became of a report.
            notify: Some(NEVER),
            orcpt: None,
            expanded: false,
        };
        let envelope = Envelope {
            reverse_path: ReversePath(trial::has(Bug::ReportForReport).then(|| sender.clone())),
            ret: None,
            envid: None,
            body,
            // Only To may need it. Parts of a message/global type are 8-bit content like any
            // other (RFC 6533 §4), and a sender whose host knows no SMTPUTF8 must hear, too.
            smtputf8: sender.needs_smtputf8(),
            require_tls,
            standing: Default::default(),
            recipients: vec![recipient],
        };
        Composed {
            envelope,
            content,
            body: self.octets,
        }
    }
}

const fn transfer(ascii: bool) -> &'static str {
    if ascii { "7bit" } else { "8bit" }
}

fn date(moment: Wall) -> String {
    codec::rfc5322_date(moment.seconds()).to_string()
}

/// An original that is larger, in octets as stored, comes back without its body, even where
/// `RET=FULL` asks for it: a report that carries much is one that does not arrive (Postfix:
/// `bounce_size_limit = 50000`). A smaller one comes back whole unless `RET=HDRS` asks for less.
pub const WHOLE_OCTETS_MAX: usize = 50 * 1024;

/// Delivery time expired (RFC 3463 §3.5).
const EXPIRED: EnhancedStatus = EnhancedStatus::new(4, 4, 7);
const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};
/// What header and delimiters come to, roughly: room to reserve, not a limit.
const FRAME_OCTETS: usize = 1536;
