//! The part for people: what happened, to whom, why, and what they can do.

use std::fmt::Write as _;

use super::text::{Charset, push_printable, push_wrapped};
use super::{Listed, Notice, ReportKind, date};
use crate::mail::outcome::{Diagnosis, Success};
use crate::wire::status::EnhancedStatus;

/// The part's text.
pub(super) fn compose(notice: &Notice<'_>, listed: &[Listed<'_>]) -> String {
    let mut words = String::with_capacity(PLAIN_OCTETS + listed.len() * RECIPIENT_OCTETS);
    // Writing to a String does not fail.
    let _ = write!(
        words,
        "This is the mail system at host {}.\r\n\r\n",
        notice.hostname
    );
    words.push_str(match notice.kind {
        ReportKind::Failure => FAILURE,
        ReportKind::Delay => DELAY,
        ReportKind::Success => SUCCESS,
    });
    for one in listed {
        words.push_str("\r\n<");
        push_printable(&mut words, one.recipient.mailbox.as_str(), Charset::Utf8);
        words.push_str(">\r\n");
        push_recipient(&mut words, notice.kind, one);
    }
    let _ = write!(
        words,
        "\r\nThe message arrived here on {}\r\nand is known as {}.\r\n",
        date(notice.arrival),
        notice.original_id
    );
    if notice.kind == ReportKind::Failure {
        words.push_str(HELP);
    }
    words
}

fn push_recipient(words: &mut String, kind: ReportKind, one: &Listed<'_>) {
    let known = (kind != ReportKind::Success).then(|| meaning(one.status));
    if let Some(meaning) = known.flatten() {
        push_line(words, meaning);
    }
    if let Some(success) = one.reported.success {
        push_line(words, achieved(success));
    }
    match one.reported.diagnosis {
        Some(diagnosis) => push_diagnosis(words, diagnosis),
        None if kind == ReportKind::Delay => push_line(words, "It waits for its turn."),
        None => push_line(words, "Nothing more is known."),
    }
    if let (ReportKind::Delay, Some(until)) = (kind, one.reported.will_retry_until) {
        push_line(words, &format!("It will be tried until {}.", date(until)));
    }
}

/// What was found, with the words of the other side on lines of their own.
fn push_diagnosis(words: &mut String, diagnosis: &Diagnosis) {
    let reply = diagnosis.reply.as_deref().unwrap_or_default();
    let cut = (!reply.is_empty()).then(|| diagnosis.text.split_once(reply));
    let (before, behind) = cut.flatten().unwrap_or((&diagnosis.text, ""));
    for line in [before, reply, behind] {
        push_line(words, line);
    }
}

fn push_line(words: &mut String, line: &str) {
    if line.trim().is_empty() {
        return;
    }
    words.push_str(INDENT);
    push_wrapped(words, line, Charset::Utf8, INDENT);
    words.push_str("\r\n");
}

/// How far it came, and what its sender may still expect.
const fn achieved(success: Success) -> &'static str {
    match success {
        Success::Delivered => "It was delivered.",
        Success::Relayed => {
            "It was accepted by the next mail server, which gives no reports of success: this is \
             the last one unless the delivery fails."
        }
        Success::Expanded => {
            "The address stands for several others, and it is on its way to each of them: this is \
             the last report unless a delivery fails."
        }
    }
}

/// What a status means to somebody who has not read RFC 3463; `None` where the words of the other
/// side say more than we could.
const fn meaning(status: EnhancedStatus) -> Option<&'static str> {
    Some(match (status.class(), status.subject(), status.detail()) {
        (5, 1, 1) => "There is no such mailbox. Please check the address.",
        (5, 1, 2) | (5, 4, 4) => {
            "This domain does not exist, or has no mail server. Please check the address."
        }
        (5, 1, 10) => "This domain accepts no mail.",
        (5, 2, 1) => "The mailbox does not accept mail.",
        (_, 2, 2) => "The mailbox is full.",
        (5, 2, 3) | (5, 3, 4) => "The message is too large for the other side.",
        (_, 4, 1) | (_, 4, 2) => "The mail server could not be reached.",
        (_, 4, 3) => "The name service gave no answer for this domain.",
        (_, 4, 6) => "The message went round in a circle.",
        (_, 4, 7) => "It was tried again and again, until its time was over.",
        (5, 6, 3) => {
            "The other side cannot take the octets of this message, and they cannot be \
                      changed."
        }
        (5, 6, 7) => "The other side cannot take international addresses.",
        (5, 7, _) => "The other side refuses the message by its rules.",
        _ => return None,
    })
}

const FAILURE: &str = "Your message could not be delivered to the recipients below, and will not\r\n\
    be tried again for them. The reason stands under each address.\r\n";
const DELAY: &str = "THIS IS A WARNING ONLY. YOU DO NOT NEED TO SEND YOUR MESSAGE AGAIN.\r\n\r\n\
    Your message could not be delivered yet to the recipients below. It is\r\n\
    still being tried; you will hear again if it fails.\r\n";
const SUCCESS: &str = "Your message has come to its end here for the recipients below. This is the\r\n\
    report of success that was asked for.\r\n";
const HELP: &str = "\r\nFor help, please write to your postmaster and include this report. The\r\n\
    text of the returned message can be left out.\r\n";
const INDENT: &str = "    ";
/// What the text without recipients comes to, and one recipient, roughly: room to reserve.
const PLAIN_OCTETS: usize = 768;
const RECIPIENT_OCTETS: usize = 384;
