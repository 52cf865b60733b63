//! Dialogues with peers, each at every split of the peer's octets.

mod connection;
mod login;
mod tls;
mod transaction;

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::mail::outcome::Blame;

/// A session and everything that came of it.
struct Dialogue {
    session: ClientSession,
    now: Tick,
    wake: Tick,
    /// Messages that wait for `Ready` or `Done`.
    waiting: Vec<Outgoing>,
    sent: Vec<String>,
    settled: Vec<(u16, Outcome)>,
    postponed: Vec<u16>,
    /// Outputs other than these, in order, and the stages between them.
    events: Vec<String>,
}

impl Dialogue {
    fn new(lmtp: bool, messages: Vec<Outgoing>) -> Self {
        Self::with(lmtp, StartTls::IfOffered, messages)
    }

    fn with(lmtp: bool, tls: StartTls, mut messages: Vec<Outgoing>) -> Self {
        messages.reverse();
        let hello = Hello {
            name: "relay.test".into(),
            own_name: Some("relay.test".into()),
            lmtp,
            tls,
            log_in: LogIn::Never,
        };
        let peer = Peer {
            name: "mx.test".into(),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        };
        let mut dialogue = Self {
            session: ClientSession::new(hello, peer, Waits::default(), Tick(0)),
            now: Tick(0),
            wake: Tick::NEVER,
            waiting: messages,
            sent: Vec::new(),
            settled: Vec::new(),
            postponed: Vec::new(),
            events: Vec::new(),
        };
        dialogue.obey();
        dialogue
    }

    fn obey(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert_ne!(self.events.last().map(String::as_str), Some("Close"));
            match output {
                Output::Send(octets) => self.sent.push(String::from_utf8(octets).unwrap()),
                Output::WakeAt(tick) => self.wake = tick,
                Output::Secure => {
                    self.events.push("Secure".to_owned());
                    self.session.secured(self.now);
                }
                Output::LogIn(_) | Output::Challenge(_) => self.events.push(format!("{output:?}")),
                Output::Body => {
                    assert_eq!(self.session.stage(), Stage::Body);
                    self.sent.push("(content)\r\n.\r\n".to_owned());
                    self.session.body_sent(self.now);
                }
                Output::Settled { recipient, outcome } => self.settled.push((recipient, outcome)),
                Output::Postponed { recipient } => self.postponed.push(recipient),
                Output::Ready | Output::Done => {
                    self.events.push(format!("{output:?}"));
                    if self.session.may_begin()
                        && let Some(outgoing) = self.waiting.pop()
                    {
                        self.session.begin(self.now, outgoing);
                    }
                }
                Output::Close => self.events.push("Close".to_owned()),
            }
        }
    }

    /// What the peer does: `(silence)`, `(gone)`, or says.
    fn hear(&mut self, words: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        match words {
            b"(silence)" => {
                self.now = self.wake;
                self.session.handle_timeout(self.now);
            }
            b"(gone)" => self.session.handle_lost(self.now, "lost connection"),
            words => self.session.handle_input(self.now, words),
        }
        self.obey();
    }

    fn texts(&self) -> Vec<(u16, String)> {
        self.settled
            .iter()
            .map(|(recipient, outcome)| (*recipient, brief(outcome)))
            .collect()
    }
}

/// `Failed Message 5.7.1 text`
fn brief(outcome: &Outcome) -> String {
    let (kind, diagnosis) = match outcome {
        Outcome::Delivered { reply, success, .. } => {
            let passed_on = success.is_none();
            return format!("Delivered {} {} {passed_on}", reply.status, reply.text);
        }
        Outcome::Deferred { blame, diagnosis } => (format!("Deferred {blame:?}"), diagnosis),
        Outcome::Failed { blame, diagnosis } => (format!("Failed {blame:?}"), diagnosis),
        Outcome::Doubtful { diagnosis } => ("Doubtful".to_owned(), diagnosis),
    };
    format!("{kind} {} {}", diagnosis.status, diagnosis.text)
}

/// The dialogue, after it went the same way for every split of every answer.
fn dialogue(lmtp: bool, messages: &[Outgoing], answers: &[&str]) -> Dialogue {
    let play = |cut: usize| {
        let mut dialogue = Dialogue::new(lmtp, messages.to_vec());
        for answer in answers {
            let answer = answer.as_bytes();
            if answer.starts_with(b"(") {
                dialogue.hear(answer);
            } else {
                let (first, second) = answer.split_at(cut.min(answer.len()));
                dialogue.hear(first);
                dialogue.hear(second);
            }
        }
        dialogue
    };
    let whole = play(usize::MAX);
    let longest = answers.iter().map(|answer| answer.len()).max().unwrap_or(0);
    for cut in 0..longest {
        let cut_up = play(cut);
        assert_eq!(cut_up.sent, whole.sent, "split at {cut}");
        assert_eq!(cut_up.settled, whole.settled, "split at {cut}");
        assert_eq!(cut_up.postponed, whole.postponed, "split at {cut}");
        assert_eq!(cut_up.events, whole.events, "split at {cut}");
    }
    whole
}

/// After greeting and an EHLO answer with these extensions, one message to this many recipients.
fn after_ehlo(extensions: &[&str], recipients: u16, answers: &[&str]) -> Dialogue {
    let ehlo = ehlo(extensions);
    let answers: Vec<&str> = [GREETING, &ehlo]
        .into_iter()
        .chain(answers.iter().copied())
        .collect();
    dialogue(false, &[message(recipients)], &answers)
}

fn ehlo(extensions: &[&str]) -> String {
    let mut lines = vec!["mx.test"];
    lines.extend(extensions);
    let last = lines.pop().unwrap();
    let mut text: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
    text.push_str(&format!("250 {last}\r\n"));
    text
}

fn message(recipients: u16) -> Outgoing {
    Outgoing {
        reverse_path: "a@c.test".into(),
        size: 500,
        recipients: (0..recipients)
            .map(|index| OutgoingRecipient {
                index,
                address: format!("b{index}@d.test").into(),
                ..OutgoingRecipient::default()
            })
            .collect(),
        ..Outgoing::default()
    }
}

const GREETING: &str = "220 mx.test ESMTP\r\n";
const OK: &str = "250 2.0.0 ok\r\n";
const GO: &str = "354 go\r\n";

fn anything_a_peer_may_say() -> impl Strategy<Value = Vec<u8>> {
    let reply = prop_oneof![
        8 => Just(b"250 ok\r\n".to_vec()),
        4 => Just(b"354 go\r\n".to_vec()),
        2 => Just(b"250-more\r\n".to_vec()),
        1 => (200u16..600, "[ -~]{0,20}").prop_map(|(code, text)| format!("{code} {text}\r\n").into_bytes()),
        1 => Just(b"452 4.5.3 too many\r\n".to_vec()),
        1 => Just(b"250-PIPELINING\r\n".to_vec()),
        1 => Just(b"250-LIMITS RCPTMAX=3 MAILMAX=2\r\n".to_vec()),
        1 => Just(b"(gone)".to_vec()),
        1 => Just(b"(silence)".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ];
    prop::collection::vec(reply, 0..4).prop_map(|replies| replies.concat())
}

proptest! {
    #[test]
    fn peer_says_anything_and_every_recipient_comes_back_once(
        lmtp in any::<bool>(),
        pipelining in any::<bool>(),
        recipients in prop::collection::vec(0u16..130, 1..4),
        answers in prop::collection::vec(anything_a_peer_may_say(), 0..40),
    ) {
        let messages: Vec<_> = recipients.iter().map(|&many| message(many)).collect();
        let mut talk = Dialogue::new(lmtp, messages);
        if pipelining {
            talk.hear(GREETING.as_bytes());
            talk.hear(b"250-mx.test\r\n250 PIPELINING\r\n");
        }
        for answer in answers.iter().map(Vec::as_slice).chain([&b"(gone)"[..]]) {
            talk.hear(answer);
            let over = talk.session.stage() == Stage::Idle || talk.session.stage() == Stage::Quit;
            if over {
                let begun = recipients.len() - talk.waiting.len();
                let told = talk.settled.len() + talk.postponed.len();
                let due: usize = recipients[..begun].iter().map(|&many| usize::from(many)).sum();
                prop_assert_eq!(told, due);
            }
        }
        prop_assert_eq!(talk.events.last().map(String::as_str), Some("Close"));
        prop_assert_eq!(talk.session.poll_output(), None);
    }
}
