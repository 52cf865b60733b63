//! Reports about any message, in any words: one message that every host takes and every program
//! reads, and the original in it does not get out of its part.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mail_parser::{MessageParser, MimeHeaders as _, PartType};
use ringpost::mail::dsn::{Notice, Reported, compose};
use ringpost::mail::outcome::{ReportKind, Success};
use ringpost::time::Wall;
use ringpost::wire::dot::unstuff_into;
use ringpost::wire::status::EnhancedStatus;
use ringpost_fuzz::message::{Drawn, diagnosis, id};
use ringpost_fuzz::smtp::assert_one_message;
use ringpost_fuzz::with_crlf;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    envelope: Drawn,
    words: String,
    kind: u8,
    expired: bool,
    is_whole: bool,
    original: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let kinds = [ReportKind::Failure, ReportKind::Delay, ReportKind::Success];
    let envelope = case.envelope.envelope();
    let words = diagnosis(&case.words);
    let reported = (0..envelope.recipients.len() as u16 + 1).map(|index| Reported {
        index,
        status: EnhancedStatus::new(5, 1, 1),
        diagnosis: (index % 2 == 0).then_some(&words),
        expired: case.expired,
        success: [None, Some(Success::Relayed), Some(Success::Expanded)][usize::from(index % 3)],
        will_retry_until: case.expired.then_some(Wall(1_795_431_614_000_000)),
    });
    let reported: Vec<_> = reported.collect();
    let mut original = with_crlf(case.original);
    if case.is_whole && !original.is_empty() && !original.ends_with(b"\n") {
        original.extend_from_slice(b"\r\n");
    }
    let notice = Notice {
        kind: kinds[usize::from(case.kind % 3)],
        hostname: "relay.test",
        report_id: id(77),
        original_id: id(76),
        arrival: Wall(1_795_431_613_000_000),
        now: Wall(1_795_431_614_999_999),
        envelope: &envelope,
        recipients: &reported,
        original: &original,
        original_is_whole: case.is_whole,
    };
    let Some(report) = compose(&notice) else {
        assert!(envelope.reverse_path.0.is_none() || envelope.recipients.is_empty());
        return;
    };
    assert_one_message(&report.body);
    assert_eq!(
        report.envelope.reverse_path.0, None,
        "a report is answered to nobody"
    );
    assert_eq!(report.envelope.recipients.len(), 1);
    let mut text = Vec::new();
    unstuff_into(&mut text, &report.body);
    assert_eq!(report.content.size, text.len() as u64);
    assert!(
        text.len() < 2 * original.len() + 64 * 1024,
        "a report that has grown"
    );
    for line in text
        .split(|octet| *octet == b'\n')
        .filter(|_| original.len() < 900)
    {
        assert!(line.len() <= 1000, "a line of {}", line.len());
    }
    let message = MessageParser::default().parse(&text).expect("a message");
    let PartType::Multipart(parts) = &message.parts[0].body else {
        panic!("no parts");
    };
    assert_eq!(
        parts.len(),
        3,
        "parts in {}",
        String::from_utf8_lossy(&text)
    );
    let kind = message.content_type().expect("a type");
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
});
