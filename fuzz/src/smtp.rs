//! Both ends of SMTP without a network: what a client says goes through the server's session, and
//! what that takes goes out through the client's session to a host that takes anything.

use std::net::IpAddr;
use std::rc::Rc;

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

/// What came of a session.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the client heard.
    pub replies: Vec<u8>,
    /// Recipients and wire form of what was answered with 250.
    pub messages: Vec<(usize, Vec<u8>)>,
}

/// A client that says these pieces one after the other.
#[must_use]
pub fn session(kind: ServerKind, limits: ServerLimits, pieces: &[&[u8]]) -> Seen {
    let client = IpAddr::from([127, 0, 0, 1]);
    let encryption = Encryption::Offered;
    let mut visit = Visit {
        session: ServerSession::new(Rc::new(limits), kind, client, true, encryption),
        seen: Seen::default(),
        content: Vec::new(),
        is_over: false,
    };
    visit.session.offer_auth(&["PLAIN", "LOGIN"]);
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        visit.read(&mut buffer);
    }
    visit.seen
}

struct Visit {
    session: ServerSession,
    seen: Seen,
    content: Vec<u8>,
    is_over: bool,
}

impl Visit {
    fn read(&mut self, buffer: &mut Vec<u8>) {
        let mut from = 0;
        while !self.is_over {
            let (consumed, step) = self.session.step(&buffer[from..]);
            from += consumed;
            match step {
                Step::NeedInput => {
                    self.flush();
                    break;
                }
                Step::Flush => self.flush(),
                Step::Mail => self.session.mail_accepted(),
                Step::Recipient(_) => self.session.recipient_accepted(),
                Step::Data => {
                    self.content.clear();
                    self.session.data_accepted();
                }
                Step::Content(piece) => {
                    self.content.extend_from_slice(piece.held);
                    self.content.extend_from_slice(piece.octets);
                }
                Step::Message => {
                    let transaction = self.session.transaction();
                    let transaction = transaction.expect("complete, and of an envelope");
                    self.session.message_accepted(&Taken);
                    let content = std::mem::take(&mut self.content);
                    let recipients = transaction.envelope.recipients.len();
                    self.seen.messages.push((recipients, content));
                }
                Step::Auth(_, None) => self.session.challenge(b"who?"),
                Step::Auth(_, Some(said)) | Step::AuthResponse(said) => {
                    let is_right = said == b"\0ann\0secret";
                    if is_right {
                        self.session.authenticated("ann".into());
                    } else {
                        self.session.auth_refused(&Reply::not_authenticated());
                    }
                }
                // What is said in plain behind it is thrown away.
                Step::StartTls => {
                    from = buffer.len();
                    self.flush();
                    self.session.secured();
                }
                Step::Discard => self.content.clear(),
                Step::Close => {
                    self.flush();
                    self.is_over = true;
                }
            }
        }
        buffer.drain(..from);
    }

    fn flush(&mut self) {
        self.seen.replies.append(self.session.output());
    }
}

/// Holds the wire form of one message to what a host may rely on: no bare CR or LF, no end inside.
///
/// # Panics
///
/// When it does not hold.
pub fn assert_one_message(wire: &[u8]) {
    for (at, &octet) in wire.iter().enumerate() {
        match octet {
            b'\r' => assert_eq!(wire.get(at + 1), Some(&b'\n'), "bare CR at {at}"),
            b'\n' => assert!(at > 0 && wire[at - 1] == b'\r', "bare LF at {at}"),
            0 => panic!("NUL at {at}"),
            _ => {}
        }
    }
    assert!(
        wire.is_empty() || wire.ends_with(b"\r\n"),
        "the last line has no end"
    );
    let hidden = wire.windows(5).any(|five| five == b"\r\n.\r\n");
    assert!(!hidden && !wire.starts_with(b".\r\n"), "an end inside");
}
