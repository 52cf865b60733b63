//! POP3: the same answers at any cut, each a line or dot-stuffed lines, and nothing deleted without
//! QUIT.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::pop3::reply::Reply;
use ringpost::pop3::session::{Held, Session, Step, Terms, Updated};
use ringpost_fuzz::halves;

const MESSAGES: [&[u8]; 3] = [
    b"Subject: one\r\n\r\nl1\r\n.dot\r\n..two\r\n",
    b"From: b@c.test\r\n\r\nsecond\r\n",
    b"Subject: three\r\n\r\nno end",
];

/// What was said, and what was deleted.
fn run(pieces: &[&[u8]]) -> (Vec<u8>, Option<Vec<u32>>) {
    let terms = Terms {
        tls: false,
        passwords: true,
        mechanisms: &["PLAIN", "LOGIN"],
        stamp: Some("<1.2@d.test>".to_owned()),
    };
    let mut session = Session::new("d.test", terms);
    let (mut said, mut deleted, mut buffer) = (Vec::new(), None, Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut from = 0;
        loop {
            let (consumed, step) = session.step(&buffer[from..]);
            from += consumed;
            let mut opens = None;
            match step {
                Step::NeedInput => break said.append(session.output()),
                Step::Flush => said.append(session.output()),
                Step::StartTls => unreachable!("not offered"),
                Step::Login(name, password) => opens = Some((name, password) == ("ann", b"p")),
                Step::Apop(..) => opens = Some(false),
                Step::Auth(_, None) => session.challenge(b"who?"),
                Step::Auth(_, Some(word)) => opens = Some(word == b"\0ann\0p"),
                Step::AuthResponse(word) => opens = Some(word == b"\0ann\0p"),
                Step::UniqueId(uid) => session.unique_id(Some(&format!("id{uid}"))),
                Step::Content(uid) => {
                    session.content_begins();
                    for part in MESSAGES[uid as usize - 10].chunks(7) {
                        if !session.content(part) {
                            break;
                        }
                        said.append(session.output());
                    }
                    session.content_ends();
                }
                Step::Update => {
                    deleted = Some(session.deleted());
                    session.updated(Updated::Done);
                }
                Step::Close => {
                    said.append(session.output());
                    return (said, deleted);
                }
            }
            match opens {
                Some(true) => {
                    let held = MESSAGES.iter().zip(10..);
                    let held = held.map(|(text, uid)| Held::new(uid, text.len() as u32));
                    session.opened(held.collect());
                }
                Some(false) => session.refused(Reply::WRONG),
                None => {}
            }
        }
        buffer.drain(..from);
    }
    (said, deleted)
}

/// One answer after the other: a line, and dotted lines where they follow.
fn assert_well_formed(said: &[u8]) {
    let mut in_list = false;
    for line in said.split_inclusive(|octet| *octet == b'\n') {
        assert!(
            line.ends_with(b"\r\n") && !line.contains(&0),
            "a line without end"
        );
        if in_list {
            in_list = line != b".\r\n";
            assert!(
                !line.starts_with(b".") || !in_list || line.starts_with(b".."),
                "a bare dot"
            );
        } else if !line.starts_with(b"+") && !line.starts_with(b"-ERR") {
            in_list = line != b".\r\n";
        }
    }
}

fuzz_target!(|octets: &[u8]| {
    let logged_in = [b"USER ann\r\nPASS p\r\n", octets].concat();
    for octets in [octets, &logged_in] {
        let (first, second) = halves(octets);
        let whole = run(&[octets]);
        assert_eq!(whole, run(&[first, second]), "cut at {}", first.len());
        assert_well_formed(&whole.0);
        let words = octets.to_ascii_uppercase();
        let has = |word: &[u8]| memchr::memmem::find(&words, word).is_some();
        assert!(whole.1.is_none() || has(b"QUIT"));
        if let Some(deleted) = whole.1 {
            assert!(deleted.is_empty() || has(b"DELE"));
            assert!(deleted.iter().all(|uid| (10..13).contains(uid)));
        }
    }
});
