//! Hands a message to a listener of the relay: the blocking driver of [`ClientSession`].

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Submission;
use crate::mail::outcome::{Diagnosis, Outcome};
use crate::smtp::client::{
    ClientSession, Hello, LogIn, Outgoing, OutgoingRecipient, Output, Peer, StartTls, Waits,
};
use crate::time::Tick;
use crate::wire::dot::Stuffer;
use crate::wire::status::EnhancedStatus;

/// What became of each recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Taken: the relay answers for them.
    pub accepted: usize,
    /// Not taken now; they may be later.
    pub deferred: Vec<(String, Diagnosis)>,
    /// Not taken, and never will be.
    pub refused: Vec<(String, Diagnosis)>,
}

/// Submits to the listener at `relay`. An error means that nobody answers there, or not as a mail
/// server does: nothing was taken.
pub fn submit(submission: &Submission, relay: SocketAddr, hello: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&relay, CONNECT_WAIT)?;
    stream.set_nodelay(true)?;
    let began = Instant::now();
    let hello = Hello {
        name: hello.into(),
        own_name: None,
        lmtp: false,
        tls: StartTls::Never,
        log_in: LogIn::Never,
    };
    let peer = Peer {
        name: Rc::from("the relay"),
        address: relay.ip(),
    };
    Courier {
        session: ClientSession::new(hello, peer, Waits::default(), Tick(0)),
        stream,
        began,
        wake: Tick::NEVER,
        wire: wire_form(&submission.content),
        open: (0..submission.envelope.to.len()).collect(),
        before: usize::MAX,
        answer: Answer::default(),
    }
    .run(submission)
}

/// One conversation.
struct Courier {
    session: ClientSession,
    stream: TcpStream,
    began: Instant,
    wake: Tick,
    wire: Vec<u8>,
    /// Recipients without an outcome, by their place in the envelope.
    open: Vec<usize>,
    /// How many there were at the last MAIL: a transaction that settles nobody is the last.
    before: usize,
    answer: Answer,
}

impl Courier {
    fn run(mut self, submission: &Submission) -> io::Result<Answer> {
        let mut buffer = [0; REPLY_OCTETS];
        while self.obey(submission) {
            let wait = self.wake.since(self.now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(wait.min(WAIT_MAX)))?;
            let read = self.stream.read(&mut buffer);
            let now = self.now();
            match read {
                Ok(0) => self.session.handle_lost(now, "the connection ended"),
                Ok(len) => self.session.handle_input(now, &buffer[..len]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        self.session.handle_timeout(now);
                    }
                    io::ErrorKind::Interrupted => {}
                    _ => self.session.handle_lost(now, &error.to_string()),
                },
            }
        }
        let why = match self.session.failure() {
            _ if self.open.is_empty() => return Ok(self.answer),
            Some(failure) => failure.diagnosis.clone(),
            None => Diagnosis::ours(NO_MORE, "the relay takes no recipient"),
        };
        if self.answer == Answer::default() {
            return Err(io::Error::other(why.text.to_string()));
        }
        // Of more recipients than fit into one transaction some have it: only the others come again.
        let open = self
            .open
            .iter()
            .map(|place| &submission.envelope.to[*place]);
        let open = open.map(|to| (to.clone(), why.clone()));
        self.answer.deferred.extend(open);
        Ok(self.answer)
    }

    fn now(&self) -> Tick {
        Tick(0) + self.began.elapsed()
    }

    /// Does what the session wants; false when it wants nothing any more.
    fn obey(&mut self, submission: &Submission) -> bool {
        while let Some(output) = self.session.poll_output() {
            let now = self.now();
            let sent = match output {
                Output::Send(octets) => self.stream.write_all(&octets),
                Output::Body => self
                    .stream
                    .write_all(&self.wire)
                    .map(|()| self.session.body_sent(now)),
                Output::WakeAt(tick) => {
                    self.wake = tick;
                    Ok(())
                }
                Output::Secure | Output::LogIn(_) | Output::Challenge(_) => {
                    Err(io::ErrorKind::Unsupported.into())
                }
                Output::Ready | Output::Done => {
                    self.transact(now, submission);
                    Ok(())
                }
                Output::Settled { recipient, outcome } => {
                    let place = usize::from(recipient);
                    self.open.retain(|&open| open != place);
                    self.settle(&submission.envelope.to[place], outcome);
                    Ok(())
                }
                // It stays open, for the next transaction.
                Output::Postponed { .. } => Ok(()),
                Output::Close => return false,
            };
            if let Err(error) = sent {
                self.session.handle_lost(now, &error.to_string());
            }
        }
        true
    }

    /// One transaction for all that are open; the relay may take some of them only.
    fn transact(&mut self, now: Tick, submission: &Submission) {
        if self.open.is_empty() || self.open.len() >= self.before || !self.session.may_begin() {
            return self.session.quit(now);
        }
        self.before = self.open.len();
        let open = &self.open;
        self.session.begin(now, outgoing(submission, open));
    }

    fn settle(&mut self, to: &str, outcome: Outcome) {
        match outcome {
            Outcome::Delivered { .. } => self.answer.accepted += 1,
            Outcome::Failed { diagnosis, .. } => {
                self.answer.refused.push((to.to_owned(), diagnosis));
            }
            Outcome::Deferred { diagnosis, .. } | Outcome::Doubtful { diagnosis } => {
                self.answer.deferred.push((to.to_owned(), diagnosis));
            }
        }
    }
}

fn outgoing(submission: &Submission, places: &[usize]) -> Outgoing {
    let envelope = &submission.envelope;
    let recipient = |&place: &usize| OutgoingRecipient {
        index: u16::try_from(place).unwrap_or(u16::MAX),
        address: envelope.to[place].as_str().into(),
        notify: envelope.notify(),
        orcpt: None,
    };
    let header_end = memchr::memmem::find(&submission.content, b"\r\n\r\n");
    let header = &submission.content[..header_end.unwrap_or(submission.content.len())];
    let addresses = envelope.to.iter().chain([&envelope.from]);
    Outgoing {
        reverse_path: envelope.from.as_str().into(),
        ret: envelope.ret(),
        envid: envelope.envid.as_deref().map(Into::into),
        eight_bit: !submission.content.is_ascii(),
        smtputf8: !header.is_ascii() || !addresses.into_iter().all(|address| address.is_ascii()),
        require_tls: false,
        mt_priority: None,
        size: submission.content.len() as u64,
        recipients: places.iter().map(recipient).collect(),
    }
}

/// Dots doubled, the last line ended, the final dot behind it.
fn wire_form(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + content.len() / 32 + 5);
    Stuffer::new().stuff_into(&mut wire, content);
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend(b"\r\n");
    }
    wire.extend(b".\r\n");
    wire
}

/// RFC 3463 §3.4
const NO_MORE: EnhancedStatus = EnhancedStatus::new(4, 3, 2);
/// The relay is on this machine.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The longest single wait; the session's own deadlines are checked after each.
const WAIT_MAX: Duration = Duration::from_secs(60);
const REPLY_OCTETS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::Envelope;

    #[test]
    fn content_ends_with_its_dot_whatever_it_ends_with() {
        for (content, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".a\r\n.\r\n", b"..a\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(wire_form(content), wire, "{content:?}");
        }
    }

    #[test]
    fn extensions_are_asked_for_where_they_are_needed() {
        let with = |to: &str, content: &str| {
            let submission = Submission {
                envelope: Envelope {
                    to: vec![to.to_owned()],
                    ..Envelope::default()
                },
                content: content.as_bytes().to_vec(),
            };
            let outgoing = outgoing(&submission, &[0]);
            (outgoing.eight_bit, outgoing.smtputf8)
        };
        assert_eq!(with("b@d.test", "Subject: x\r\n\r\nx"), (false, false));
        assert_eq!(with("b@d.test", "Subject: x\r\n\r\nä"), (true, false));
        assert_eq!(with("b@d.test", "Subject: ä\r\n\r\nx"), (true, true));
        assert_eq!(with("ä@d.test", "Subject: x\r\n\r\nx"), (false, true));
    }
}
