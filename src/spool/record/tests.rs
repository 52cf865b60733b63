//! Records, one by one.

use super::*;
use proptest::prelude::*;

use crate::mail::envelope::{MtPriority, Notify, Priority};
use crate::wire::status::EnhancedStatus;

fn envelope() -> Envelope {
    Envelope {
        reverse_path: ReversePath(Mailbox::parse(b"a@c.test", false).ok()),
        ret: Some(Ret::Headers),
        envid: Some("E+3D1".into()),
        body: BodyKind::EightBit,
        smtputf8: true,
        require_tls: true,
        standing: Standing {
            tenant: Some("shop".into()),
            tag: Some("may sale".into()),
            priority: Priority::Low,
            mt_priority: MtPriority::new(-9),
        },
        recipients: vec![
            Recipient {
                mailbox: Mailbox::parse("j\u{f6}rg@d.test".as_bytes(), true).unwrap(),
                notify: Some(Notify {
                    success: true,
                    failure: false,
                    delay: true,
                }),
                orcpt: Some("rfc822;b@d.test".into()),
                expanded: true,
            },
            Recipient {
                mailbox: Mailbox::parse(b"\"x y\"@[192.0.2.1]", false).unwrap(),
                notify: None,
                orcpt: None,
                expanded: false,
            },
        ],
    }
}

fn content() -> Content {
    Content {
        size: 5_000_000_000,
        stuffed: true,
        eight_bit: true,
        eight_bit_header: false,
        longest_line: 998,
        received: 3,
        date: true,
        tls_optional: true,
        message_id: Some("<x@y>".into()),
        header_len: 300,
        delivered_to: Vec::new(),
    }
}

fn accepted<'a>(envelope: &'a Envelope, content: &'a Content, body: BodyRef<'a>) -> Accepted<'a> {
    Accepted {
        id: QueueId(7),
        arrival: Wall(-5),
        envelope,
        content,
        trace: b"Received: x\r\n",
        body,
        reports: Some(Reports {
            message: QueueId(6),
            recipients: &[0, 2],
            kind: ReportKind::Failure,
        }),
    }
}

/// The epoch of a segment.
fn epoch(number: u32) -> Epoch {
    Epoch { number, salt: 77 }
}

fn read(octets: &[u8], number: u32) -> Record {
    let Found::Whole(kind, payload, len) = find(octets, epoch(number), octets.len() as u64) else {
        panic!("no record")
    };
    assert_eq!(len, octets.len());
    Record::decode(kind, payload).expect("a payload of its kind")
}

#[test]
fn a_message_is_read_as_it_was_written() {
    let (envelope, content) = (envelope(), content());
    for body in [
        BodyRef::Inline(b"Subject: x\r\n\r\n..\r\n"),
        BodyRef::Extent(1 << 40),
    ] {
        let written = accepted(&envelope, &content, body);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        written.append_to(&mut first, epoch(9), None);
        let Record::Accept(stored) = read(&first, 9) else {
            panic!("not a message")
        };
        assert_eq!((&stored.envelope, &stored.content), (&envelope, &content));
        assert_eq!((stored.id, stored.arrival), (QueueId(7), Wall(-5)));
        stored.as_accepted().append_to(&mut second, epoch(9), None);
        assert_eq!(first, second);
    }
}

#[test]
fn notes_are_read_as_they_were_written() {
    let diagnosis = Diagnosis {
        status: EnhancedStatus::new(4, 4, 7),
        text: "host said: \u{fc}".into(),
        reply: Some("451 no".into()),
        remote_mta: None,
    };
    let id = QueueId(u64::MAX);
    let mut octets = Vec::new();
    Note::Deferred {
        id,
        recipients: &[1, 9],
        attempts: 3,
        due: Wall(77),
        diagnosis: &diagnosis,
        doubtful: true,
    }
    .append_to(&mut octets, epoch(1));
    let expected = Record::Deferred {
        id,
        recipients: vec![1, 9],
        attempts: 3,
        due: Wall(77),
        diagnosis,
        doubtful: true,
    };
    assert_eq!(read(&octets, 1), expected);
    for (note, expected) in [
        (
            Note::Delivered { id, recipient: 4 },
            Record::Settled { id, recipient: 4 },
        ),
        (
            Note::Failed { id, recipient: 4 },
            Record::Settled { id, recipient: 4 },
        ),
        (
            Note::Removed { id, recipient: 4 },
            Record::Settled { id, recipient: 4 },
        ),
        (
            Note::Held { id, held: true },
            Record::Held { id, held: true },
        ),
        (Note::DelayTold { id }, Record::DelayTold { id }),
        (
            Note::Binned {
                id,
                until: Some(Wall(5)),
            },
            Record::Binned {
                id,
                until: Some(Wall(5)),
            },
        ),
        (
            Note::Binned { id, until: None },
            Record::Binned { id, until: None },
        ),
    ] {
        octets.clear();
        note.append_to(&mut octets, epoch(1));
        assert_eq!(read(&octets, 1), expected);
    }
}

#[test]
fn one_wrong_bit_is_noticed_wherever_it_is() {
    let (envelope, content) = (envelope(), content());
    let mut octets = Vec::new();
    accepted(&envelope, &content, BodyRef::Inline(b"x\r\n")).append_to(&mut octets, epoch(3), None);
    for place in 0..octets.len() * 8 {
        let mut damaged = octets.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        let found = find(&damaged, epoch(3), damaged.len() as u64);
        assert!(!matches!(found, Found::Whole(..)), "bit {place}");
    }
    assert_eq!(
        find(&octets, epoch(4), octets.len() as u64),
        Found::Nothing,
        "another segment"
    );
    assert_eq!(
        find(&octets[..20], epoch(3), octets.len() as u64),
        Found::More(octets.len())
    );
    assert_eq!(find(&octets[..20], epoch(3), 20), Found::Nothing);
    assert_eq!(
        find(&[0; 64], epoch(0), 64),
        Found::Nothing,
        "zeros are no record"
    );
}

proptest! {
    #[test]
    fn any_octets_are_a_record_or_none(kind in 0u8..8, octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(kind, &octets);
        let _ = find(&octets, epoch(1), 1 << 20);
    }
}
