//! A second message inside the first (CVE-2023-51764 and its kin): every word of CR, LF, NUL, dot and
//! a letter, before another message, through the server's session and on to hosts that end lines
//! and messages as leniently as any.

use std::net::IpAddr;
use std::rc::Rc;

use memchr::memmem;

use super::server::{
    BareLineEnds, Encryption, ServerKind, ServerLimits, ServerSession, Step, Transaction,
};
use crate::mail::Committed;
use crate::mail::envelope::QueueId;

struct Safe;

impl Committed for Safe {
    fn queue_id(&self) -> QueueId {
        QueueId(7)
    }
}

/// What is accepted of these pieces, and what was said to them.
fn accepted(ends: BareLineEnds, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let limits = Rc::new(ServerLimits {
        bare_line_ends: ends,
        max_errors: 100,
        ..ServerLimits::default()
    });
    let client = IpAddr::from([192, 0, 2, 1]);
    let encryption = Encryption::Absent;
    let mut session = ServerSession::new(limits, ServerKind::Smtp, client, true, encryption);
    let (mut said, mut taken, mut content) = (Vec::new(), Vec::new(), Vec::new());
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let (used, step) = session.step(&input[at..]);
            at += used;
            match step {
                Step::NeedInput => break,
                Step::Flush => said.append(session.output()),
                Step::Mail => session.mail_accepted(),
                Step::Recipient(_) => session.recipient_accepted(),
                Step::Data => session.data_accepted(),
                Step::Content(piece) => {
                    content.extend_from_slice(piece.held);
                    content.extend_from_slice(piece.octets);
                }
                Step::Message => {
                    let whole: Option<Transaction> = session.transaction();
                    assert!(whole.is_some(), "complete, and of no envelope");
                    session.message_accepted(&Safe);
                    taken.push(std::mem::take(&mut content));
                }
                Step::Discard => content.clear(),
                Step::Close => return (taken, said),
                Step::StartTls | Step::Auth(..) | Step::AuthResponse(_) => unreachable!(),
            }
        }
        input.drain(..at);
    }
    said.append(session.output());
    (taken, said)
}

/// How a host hears the end of a line, and of a message.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// CRLF alone.
    Strict,
    /// LF, a CR before it or not.
    LineFeed,
    /// CR and LF alike.
    Either,
    /// LF; and NUL is nothing.
    Deaf,
}

impl Host {
    const ALL: [Self; 4] = [Self::Strict, Self::LineFeed, Self::Either, Self::Deaf];

    /// The messages in what it is sent, each line with CRLF.
    fn hears(self, octets: &[u8]) -> Vec<Vec<u8>> {
        let mut text = String::from_utf8_lossy(octets).replace("\r\n", "\x01");
        text = match self {
            Self::Strict => text,
            Self::LineFeed => text.replace('\n', "\x01"),
            Self::Either => text.replace(['\r', '\n'], "\x01"),
            Self::Deaf => text.replace('\0', "").replace('\n', "\x01"),
        };
        let mut messages = Vec::new();
        let mut content: Option<String> = None;
        for line in text.split('\x01') {
            match &mut content {
                Some(lines) if line == "." => {
                    messages.push(std::mem::take(lines).into_bytes());
                    content = None;
                }
                Some(lines) => lines.push_str(&format!("{line}\r\n")),
                None if line == "DATA" => content = Some(String::new()),
                None => {}
            }
        }
        messages
    }
}

/// Holds what was accepted to what a host behind us makes of it: so many messages, with these lines
/// and no others.
fn assert_nothing_more_goes_out(taken: &[Vec<u8>], word: &[u8]) {
    let mut sent = Vec::new();
    for wire in taken {
        let ended = wire.is_empty() || wire.ends_with(b"\r\n");
        assert!(ended, "{word:?}: the last line has no end");
        sent.extend_from_slice(b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n");
        sent.extend_from_slice(wire);
        sent.extend_from_slice(b".\r\n");
    }
    for (at, octet) in sent.iter().enumerate() {
        let (before, behind) = (at.checked_sub(1).map(|at| sent[at]), sent.get(at + 1));
        match octet {
            b'\r' => assert_eq!(behind, Some(&b'\n'), "{word:?}: a bare CR goes out"),
            b'\n' => assert_eq!(before, Some(b'\r'), "{word:?}: a bare LF goes out"),
            0 => panic!("{word:?}: NUL goes out"),
            _ => {}
        }
    }
    for host in Host::ALL {
        assert_eq!(
            host.hears(&sent),
            taken,
            "{word:?}: {host:?} hears something else"
        );
    }
}

/// The contents that a session has by definition: what stands before CRLF.CRLF, as often as DATA is
/// said.
fn by_definition(mut octets: &[u8]) -> usize {
    let mut count = 0;
    while let Some(at) = memmem::find(octets, b"DATA\r\n") {
        // The line of the command is the end of a line before the first dot.
        let Some(end) = memmem::find(&octets[at + 4..], b"\r\n.\r\n") else {
            break;
        };
        count += 1;
        octets = &octets[at + 4 + end + 5..];
    }
    count
}

/// Every word of so many letters.
fn words(len: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..5usize.pow(len)).map(move |mut number| {
        let letter = |_| {
            let letter = b"\r\n.\0x"[number % 5];
            number /= 5;
            letter
        };
        (0..len).map(letter).collect()
    })
}

const ENVELOPE: &[u8] = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n";
const SECOND: &[u8] = b"MAIL FROM:<evil@c.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nevil\r\n.\r\n";

/// A session with `content` in its middle, at these cuts of it: the same at each.
fn play(ends: BareLineEnds, before: &[u8], content: &[u8], after: &[u8], cuts: &[usize]) {
    let start = [b"EHLO c.test\r\n", ENVELOPE, before].concat();
    let whole = [&*start, content, after].concat();
    let found = accepted(ends, &[&whole]);
    assert_nothing_more_goes_out(&found.0, content);
    for &cut in cuts {
        let (first, second) = whole.split_at(start.len() + cut);
        assert_eq!(
            accepted(ends, &[first, second]),
            found,
            "{content:?} cut at {cut}"
        );
    }
    if before == b"DATA\r\n" {
        assert!(
            found.0.len() <= by_definition(&whole),
            "{content:?}: one too many"
        );
    } else {
        assert!(
            found.0.len() <= 1,
            "{content:?}: a chunk holds more than one message"
        );
    }
}

#[test]
fn no_word_behind_data_lets_a_second_message_through() {
    for len in 0..=LETTERS_MAX {
        for word in words(len) {
            let content = [b"x", &*word, SECOND].concat();
            // All cuts where there are few words, then one that differs from word to word.
            let every: Vec<usize> = (0..=word.len() + 2).collect();
            let one = word.iter().map(|octet| usize::from(*octet)).sum::<usize>() % every.len();
            let cuts = if len <= EVERY_CUT_MAX {
                &every[..]
            } else {
                &every[one..=one]
            };
            for ends in [BareLineEnds::Reject, BareLineEnds::Fix] {
                play(ends, b"DATA\r\n", &content, b"\r\n.\r\nQUIT\r\n", cuts);
            }
        }
    }
}

#[test]
fn no_word_in_a_chunk_lets_a_second_message_through() {
    for len in 0..=LETTERS_MAX {
        for word in words(len) {
            // What ends a message behind DATA ends nothing here, and must not behind us.
            let content = [&*word, SECOND].concat();
            let command = format!("BDAT {} LAST\r\n", content.len());
            let one = word.iter().map(|octet| usize::from(*octet)).sum::<usize>();
            for ends in [BareLineEnds::Reject, BareLineEnds::Fix] {
                let cuts = [one % (word.len() + 1)];
                play(ends, command.as_bytes(), &content, b"QUIT\r\n", &cuts);
            }
        }
    }
}

#[test]
fn a_message_that_is_split_over_chunks_is_one_message() {
    for word in words(4) {
        let content = [b"\r\n", &*word, b"\r\nx\r\n"].concat();
        for cut in 0..=content.len() {
            let (first, second) = content.split_at(cut);
            let mut said = format!("BDAT {}\r\n", first.len()).into_bytes();
            said.extend_from_slice(first);
            said.extend_from_slice(format!("BDAT {} LAST\r\n", second.len()).as_bytes());
            said.extend_from_slice(second);
            let start = [b"EHLO c.test\r\n", ENVELOPE].concat();
            for ends in [BareLineEnds::Reject, BareLineEnds::Fix] {
                let (taken, _) = accepted(ends, &[&start, &said]);
                assert!(taken.len() <= 1);
                assert_nothing_more_goes_out(&taken, &content);
            }
        }
    }
}

#[test]
fn hosts_of_the_test_are_as_lenient_as_they_say() {
    let heard = |text: &str| Host::ALL.map(|host| host.hears(text.as_bytes()).len());
    assert_eq!(heard("DATA\r\nx\r\n.\r\n"), [1, 1, 1, 1]);
    assert_eq!(heard("DATA\r\nx\n.\n"), [0, 1, 1, 1]);
    assert_eq!(heard("DATA\r\nx\r.\r"), [0, 0, 1, 0]);
    assert_eq!(heard("DATA\r\nx\n.\0\n"), [0, 0, 0, 1]);
}

/// Letters of the longest words.
const LETTERS_MAX: u32 = 6;
/// Words of up to so many letters are cut everywhere.
const EVERY_CUT_MAX: u32 = 4;
