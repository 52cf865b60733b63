//! A client that says anything, at any split: the replies are the same, and what is taken as a
//! message has no bare CR or LF.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use ringpost::mail::Committed;
use ringpost::mail::envelope::QueueId;
use ringpost::smtp::reply::Reply;
use ringpost::smtp::server::{Encryption, ServerKind, ServerLimits, ServerSession, Step};

struct Taken;

impl Committed for Taken {
    fn queue_id(&self) -> QueueId {
        QueueId(1)
    }
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Seen {
    replies: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

fn run(pieces: &[&[u8]]) -> Seen {
    let limits = Rc::new(ServerLimits::default());
    let client = std::net::IpAddr::from([127, 0, 0, 1]);
    let mut session =
        ServerSession::new(limits, ServerKind::Smtp, client, true, Encryption::Absent);
    let mut seen = Seen::default();
    let mut content = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut from = 0;
        loop {
            let (consumed, step) = session.step(&buffer[from..]);
            let mut kept = None;
            let mut flush = false;
            let mut end = false;
            match step {
                Step::NeedInput => end = true,
                Step::Flush => flush = true,
                Step::Mail => session.mail_accepted(),
                Step::Recipient(_) => session.recipient_accepted(),
                Step::Data => {
                    content.clear();
                    session.data_accepted();
                }
                Step::Content(piece) => {
                    kept = Some([piece.held, piece.octets].concat());
                }
                Step::Message => {
                    assert!(session.transaction().is_some(), "complete without an envelope");
                    session.message_accepted(&Taken);
                    seen.messages.push(std::mem::take(&mut content));
                }
                Step::Auth(..) | Step::AuthResponse(_) => {
                    session.auth_refused(&Reply::local_error());
                }
                Step::StartTls => unreachable!("not offered"),
                Step::Discard => content.clear(),
                Step::Close => {
                    seen.replies.append(session.output());
                    return seen;
                }
            }
            from += consumed;
            if let Some(kept) = kept {
                content.extend_from_slice(&kept);
            }
            if flush || end {
                seen.replies.append(session.output());
            }
            if end {
                break;
            }
        }
        buffer.drain(..from);
    }
    seen
}

fuzz_target!(|input: (usize, &[u8])| {
    let (split, octets) = input;
    let split = split.checked_rem(octets.len() + 1).unwrap_or(0);
    let whole = run(&[octets]);
    let cut = run(&[&octets[..split], &octets[split..]]);
    assert_eq!(whole, cut, "split at {split}");
    for message in &whole.messages {
        for (at, &octet) in message.iter().enumerate() {
            match octet {
                b'\r' => assert_eq!(message.get(at + 1), Some(&b'\n'), "bare CR at {at}"),
                b'\n' => assert!(at > 0 && message[at - 1] == b'\r', "bare LF at {at}"),
                _ => {}
            }
        }
        let hidden = message.windows(5).any(|five| five == b"\r\n.\r\n");
        assert!(!hidden && !message.starts_with(b".\r\n"), "a second message inside");
    }
});
