//! Dialogues with peers, each at every split of the peer's octets.

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
    fn new(lmtp: bool, mut messages: Vec<Outgoing>) -> Self {
        messages.reverse();
        let hello = Hello {
            name: "relay.test".into(),
            lmtp,
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
        Outcome::Delivered {
            reply,
            dsn_passed_on,
        } => return format!("Delivered {} {} {dsn_passed_on}", reply.status, reply.text),
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
        reverse_path: "a@c.test".to_owned(),
        size: 500,
        recipients: (0..recipients)
            .map(|index| OutgoingRecipient {
                index,
                address: format!("b{index}@d.test"),
                ..OutgoingRecipient::default()
            })
            .collect(),
        ..Outgoing::default()
    }
}

const GREETING: &str = "220 mx.test ESMTP\r\n";
const OK: &str = "250 2.0.0 ok\r\n";
const GO: &str = "354 go\r\n";

#[test]
fn peer_pipelines_and_gets_the_envelope_in_one_write() {
    let talk = after_ehlo(
        &["PIPELINING"],
        2,
        &[
            "250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n354 go\r\n",
            "250 2.0.0 queued\r\n",
        ],
    );
    assert_eq!(
        talk.sent,
        [
            "EHLO relay.test\r\n",
            "MAIL FROM:<a@c.test>\r\nRCPT TO:<b0@d.test>\r\nRCPT TO:<b1@d.test>\r\nDATA\r\n",
            "(content)\r\n.\r\n",
        ]
    );
    let delivered = "Delivered 2.0.0 250 2.0.0 queued false".to_owned();
    assert_eq!(talk.texts(), [(0, delivered.clone()), (1, delivered)]);
    assert_eq!(talk.events, ["Ready", "Done"]);
    assert_eq!(talk.session.stage(), Stage::Idle);
    assert_eq!(talk.wake, Tick::NEVER);
}

#[test]
fn peer_does_not_pipeline_and_gets_one_command_at_a_time() {
    let talk = after_ehlo(&["DSN"], 2, &[OK, OK, OK, GO, OK]);
    assert_eq!(
        talk.sent[1..],
        [
            "MAIL FROM:<a@c.test>\r\n",
            "RCPT TO:<b0@d.test>\r\n",
            "RCPT TO:<b1@d.test>\r\n",
            "DATA\r\n",
            "(content)\r\n.\r\n",
        ]
    );
    assert_eq!(talk.texts()[1].1, "Delivered 2.0.0 250 2.0.0 ok true");
}

#[test]
fn peer_refuses_all_recipients_in_lockstep_and_data_is_never_sent() {
    let no = "550 5.1.1 unknown\r\n";
    let talk = after_ehlo(&["DSN"], 2, &[OK, no, no]);
    assert_eq!(talk.sent.last().unwrap(), "RCPT TO:<b1@d.test>\r\n");
    assert_eq!(talk.events, ["Ready", "Done"]);
    let text = "Failed Recipient 5.1.1 host mx.test[192.0.2.1] said: 550 5.1.1 unknown (in reply to RCPT TO command)";
    assert_eq!(talk.texts(), [(0, text.to_owned()), (1, text.to_owned())]);
}

#[test]
fn peer_refuses_all_recipients_and_takes_a_pipelined_data() {
    let talk = after_ehlo(
        &["PIPELINING"],
        1,
        &[
            "250 ok\r\n450 4.7.1 greylisted\r\n354 go\r\n",
            "554 no valid recipients\r\n",
        ],
    );
    assert_eq!(talk.sent.last().unwrap(), ".\r\n");
    assert_eq!(talk.settled.len(), 1);
    assert!(talk.texts()[0].1.starts_with("Deferred Recipient 4.7.1 "));
    assert_eq!(talk.events, ["Ready", "Done"]);
}

#[test]
fn peer_takes_some_recipients_and_refuses_others() {
    let talk = after_ehlo(
        &["PIPELINING"],
        3,
        &[
            "250 ok\r\n250 ok\r\n550 no\r\n451 4.3.0 later\r\n354 go\r\n",
            OK,
        ],
    );
    let said = "host mx.test[192.0.2.1] said:";
    assert_eq!(
        talk.texts(),
        [
            (
                1,
                format!("Failed Recipient 5.0.0 {said} 550 no (in reply to RCPT TO command)")
            ),
            (
                2,
                format!(
                    "Deferred Recipient 4.3.0 {said} 451 4.3.0 later (in reply to RCPT TO command)"
                )
            ),
            (0, "Delivered 2.0.0 250 2.0.0 ok false".to_owned()),
        ]
    );
    let Outcome::Failed { diagnosis, .. } = &talk.settled[0].1 else {
        panic!("{:?}", talk.settled);
    };
    assert_eq!(diagnosis.reply.as_deref(), Some("550 no"));
    assert_eq!(diagnosis.remote_mta.as_deref(), Some("mx.test"));
}

#[test]
fn peer_takes_only_so_many_recipients_at_once() {
    for reply in [
        "452 4.5.3 too many",
        "552 5.5.3 too many",
        "552 too many",
        "452 x",
    ] {
        let replies = format!("250 ok\r\n250 ok\r\n{reply}\r\n354 go\r\n");
        let talk = after_ehlo(&["PIPELINING"], 2, &[&replies, OK]);
        assert_eq!(
            (talk.settled.len(), &*talk.postponed),
            (1, &[1][..]),
            "{reply}"
        );
        let talk = after_ehlo(&["PIPELINING"], 1, &[&format!("250 ok\r\n{reply}\r\n")]);
        assert_eq!(
            (talk.settled.len(), talk.postponed.len()),
            (1, 0),
            "{reply}"
        );
    }
    for reply in ["452 4.2.2 full", "552 5.2.2 full"] {
        let replies = format!("250 ok\r\n250 ok\r\n{reply}\r\n354 go\r\n");
        let talk = after_ehlo(&["PIPELINING"], 2, &[&replies, OK]);
        assert_eq!(
            (talk.settled.len(), talk.postponed.len()),
            (2, 0),
            "{reply}"
        );
    }
}

#[test]
fn peer_names_its_limit_of_recipients() {
    let talk = after_ehlo(&["LIMITS RCPTMAX=1"], 3, &[OK, OK, GO, OK]);
    assert_eq!(talk.postponed, [1, 2]);
    assert_eq!(talk.settled.len(), 1);
}

#[test]
fn peer_names_its_limit_of_transactions() {
    let ehlo = ehlo(&["LIMITS MAILMAX=1"]);
    let messages = [message(1), message(1)];
    let mut talk = dialogue(false, &messages, &[GREETING, &ehlo, OK, OK, GO, OK]);
    assert_eq!(talk.sent.last().unwrap(), "QUIT\r\n");
    assert_eq!(talk.events, ["Ready", "Done", "Close"]);
    assert!(!talk.session.may_begin());
    talk.events.clear();
    talk.session.begin(talk.now, message(2));
    talk.obey();
    assert_eq!(
        (talk.postponed, talk.events),
        (vec![0, 1], vec!["Close".to_owned()])
    );
}

#[test]
fn peer_gets_many_recipients_in_batches() {
    let ok = "250 ok\r\n";
    let (first, second) = (ok.repeat(102), [&ok.repeat(98), GO].concat());
    let mut talk = Dialogue::new(false, vec![message(200)]);
    for answer in [GREETING, "250-mx.test\r\n250 PIPELINING\r\n", &first] {
        talk.hear(answer.as_bytes());
    }
    let batches = &talk.sent[1..];
    let rcpts = |batch: &String| batch.matches("RCPT").count();
    assert_eq!(
        (rcpts(&batches[0]), batches.len()),
        (102, 1),
        "one reply is missing"
    );
    talk.hear(ok.as_bytes());
    assert_eq!(rcpts(&talk.sent[2]), 98);
    assert!(talk.sent[2].ends_with("DATA\r\n"));
    talk.hear(second.as_bytes());
    talk.hear(OK.as_bytes());
    assert_eq!((talk.settled.len(), talk.events.len()), (200, 2));

    let mut long = message(60);
    for recipient in &mut long.recipients {
        recipient.address = format!("{}@d.test", "x".repeat(300));
    }
    let mut talk = Dialogue::new(false, vec![long]);
    talk.hear(GREETING.as_bytes());
    talk.hear(b"250-mx.test\r\n250 PIPELINING\r\n");
    assert!(talk.sent[1].len() < 9_000, "{}", talk.sent[1].len());
}

#[test]
fn peer_refuses_the_sender() {
    let said = "host mx.test[192.0.2.1] said:";
    for (reply, expected) in [
        ("550 5.7.1 not you", "Failed Message 5.7.1"),
        ("553 no", "Failed Message 5.0.0"),
        ("451 4.7.1 slow down", "Deferred Host 4.7.1"),
        ("452 4.3.1 full", "Deferred Host 4.3.1"),
        ("450 4.1.8 who", "Deferred Recipient 4.1.8"),
    ] {
        let replies = format!("{reply}\r\n503 no\r\n250 what\r\n503 no\r\n");
        let talk = after_ehlo(&["PIPELINING"], 2, &[&replies]);
        let text = format!("{expected} {said} {reply} (in reply to MAIL FROM command)");
        assert_eq!(talk.texts(), [(0, text.clone()), (1, text)]);
        assert_eq!(talk.events, ["Ready", "Done"]);
        let talk = after_ehlo(&["DSN"], 2, &[&format!("{reply}\r\n")]);
        assert_eq!((talk.settled.len(), talk.sent.len()), (2, 2));
    }
}

#[test]
fn peer_takes_recipients_and_refuses_data_or_content() {
    for (reply, expected) in [
        ("554 no thanks", "Failed Message 5.0.0"),
        ("550 4.7.1 spam", "Failed Message 5.7.1"),
        ("452 4.3.1 disk", "Deferred Host 4.3.1"),
        ("451 later", "Deferred Recipient 4.0.0"),
    ] {
        let reply = format!("{reply}\r\n");
        let at_data = after_ehlo(&["DSN"], 1, &[OK, OK, &reply]);
        let at_dot = after_ehlo(&["DSN"], 1, &[OK, OK, GO, &reply]);
        for (talk, command) in [(at_data, "DATA"), (at_dot, "end of DATA")] {
            assert!(
                talk.texts()[0].1.starts_with(expected),
                "{:?}",
                talk.texts()
            );
            let tail = format!("(in reply to {command} command)");
            assert!(talk.texts()[0].1.ends_with(&tail), "{:?}", talk.texts());
            assert_eq!(talk.events, ["Ready", "Done"]);
        }
    }
}

#[test]
fn peer_gets_rset_only_after_a_transaction_without_a_dot() {
    let messages = [message(1), message(1), message(1)];
    let ehlo = ehlo(&["PIPELINING"]);
    let no = "250 ok\r\n550 no\r\n503 no\r\n";
    let answers = [
        GREETING,
        &ehlo,
        no,
        "250 forgot\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        OK,
    ];
    let talk = dialogue(false, &messages, &answers);
    let envelope = "MAIL FROM:<a@c.test>\r\nRCPT TO:<b0@d.test>\r\nDATA\r\n";
    assert_eq!(talk.sent[1], envelope);
    assert_eq!(talk.sent[2], format!("RSET\r\n{envelope}"));
    assert_eq!(talk.sent[4], envelope);
}

#[test]
fn peer_cannot_even_reset() {
    let ehlo = ehlo(&["PIPELINING"]);
    let no = "550 no\r\n503 no\r\n503 no\r\n";
    let answers = [GREETING, &ehlo, no, "502 5.5.1 what\r\n"];
    let talk = dialogue(false, &[message(1), message(1)], &answers);
    assert!(
        talk.texts()[1].1.starts_with("Deferred Host 4.5.0 "),
        "{:?}",
        talk.texts()
    );
    assert_eq!(talk.events, ["Ready", "Done", "Close"]);
}

#[test]
fn peer_knows_no_ehlo() {
    for code in [500, 501, 502, 504, 550] {
        let refusal = format!("{code} what?\r\n");
        let talk = dialogue(
            false,
            &[message(1)],
            &[GREETING, &refusal, "250-mx.test\r\n250 PIPELINING\r\n", OK],
        );
        assert_eq!(
            talk.sent[..3],
            [
                "EHLO relay.test\r\n",
                "HELO relay.test\r\n",
                "MAIL FROM:<a@c.test>\r\n"
            ],
            "nothing is offered to HELO"
        );
    }
}

#[test]
fn peer_refuses_the_connection_or_the_greeting() {
    let host = "host mx.test[192.0.2.1]";
    for (answers, permanent, quits, text) in [
        (
            &["554 5.3.2 no\r\n"][..],
            true,
            true,
            "refused to talk to me: 554 5.3.2 no",
        ),
        (
            &["450 busy\r\n"],
            false,
            true,
            "refused to talk to me: 450 busy",
        ),
        (
            &["421 4.3.2 down\r\n"],
            false,
            false,
            "refused to talk to me: 421 4.3.2 down",
        ),
        (
            &[GREETING, "554 no\r\n"],
            true,
            true,
            "said: 554 no (in reply to EHLO command)",
        ),
        (
            &[GREETING, "421 no\r\n"],
            false,
            false,
            "said: 421 no (in reply to EHLO command)",
        ),
        (
            &[GREETING, "502 no\r\n", "550 no\r\n"],
            true,
            true,
            "said: 550 no (in reply to HELO command)",
        ),
        (
            &["hello\r\n"],
            false,
            false,
            "sent a reply that is not SMTP: hello (in reply to connection)",
        ),
        (
            &["354 go\r\n"],
            false,
            false,
            "sent a reply out of step: 354 go (in reply to connection)",
        ),
    ] {
        let talk = dialogue(false, &[message(1)], answers);
        let failure = talk.session.failure().unwrap();
        assert_eq!(&*failure.diagnosis.text, format!("{host} {text}"));
        assert_eq!(failure.permanent, permanent, "{text}");
        assert_eq!(
            talk.sent.last().is_some_and(|sent| sent == "QUIT\r\n"),
            quits,
            "{text}"
        );
        assert_eq!(talk.events, ["Close"]);
        let failed = matches!(
            failure.outcome(),
            Outcome::Failed {
                blame: Blame::Host,
                ..
            }
        );
        assert_eq!(failed, permanent);
    }
}

#[test]
fn peer_goes_away_before_the_dot() {
    let host = "mx.test[192.0.2.1]";
    for (answers, activity) in [
        (&[][..], "sending MAIL FROM"),
        (&[OK], "sending RCPT TO"),
        (&[OK, OK], "sending RCPT TO"),
        (&[OK, OK, OK], "sending DATA command"),
    ] {
        let gone: Vec<&str> = answers.iter().copied().chain(["(gone)"]).collect();
        let talk = after_ehlo(&["DSN"], 2, &gone);
        let text = format!("Deferred Host 4.4.2 lost connection with {host} while {activity}");
        assert_eq!(talk.texts(), [(0, text.clone()), (1, text)]);
        assert_eq!(talk.events, ["Ready", "Close"]);
        let silent: Vec<&str> = answers.iter().copied().chain(["(silence)"]).collect();
        let talk = after_ehlo(&["DSN"], 2, &silent);
        let text =
            format!("Deferred Host 4.4.2 conversation with {host} timed out while {activity}");
        assert_eq!(talk.texts(), [(0, text.clone()), (1, text)]);
    }
    for answers in [&["(gone)"][..], &[GREETING, "(silence)"]] {
        let talk = dialogue(false, &[], answers);
        let failure = talk.session.failure().unwrap();
        assert_eq!(
            (failure.permanent, &*talk.events),
            (false, &["Close".to_owned()][..])
        );
    }
}

#[test]
fn peer_goes_away_while_content_is_sent() {
    let mut talk = Dialogue::new(false, vec![message(1)]);
    for answer in [GREETING, "250 mx.test\r\n", OK, OK] {
        talk.hear(answer.as_bytes());
    }
    talk.session.handle_input(talk.now, GO.as_bytes());
    assert_eq!(talk.session.poll_output(), Some(Output::Body));
    talk.session.handle_lost(talk.now, "Broken pipe");
    talk.obey();
    let text = "Deferred Host 4.4.2 lost connection with mx.test[192.0.2.1] while sending message body: Broken pipe";
    assert_eq!(talk.texts(), [(0, text.to_owned())]);
}

#[test]
fn peer_dies_between_dot_and_reply() {
    for end in [
        "(gone)",
        "(silence)",
        "250-and\r\n250_what\r\n",
        "354 again\r\n",
    ] {
        let talk = after_ehlo(&["DSN"], 2, &[OK, "550 no\r\n", OK, GO, end]);
        assert_eq!(talk.settled.len(), 2);
        assert!(talk.texts()[0].1.starts_with("Failed Recipient"), "{end}");
        assert!(
            talk.texts()[1].1.starts_with("Doubtful 4."),
            "{end}: {:?}",
            talk.texts()
        );
        assert_eq!(talk.events, ["Ready", "Close"]);
    }
}

#[test]
fn peer_says_421_anywhere_and_the_rest_comes_again() {
    let bye = "421 4.3.2 restarting\r\n";
    for answers in [
        &[bye][..],
        &[OK, bye],
        &[OK, OK, bye],
        &[OK, OK, OK, bye],
        &[OK, OK, OK, GO, bye],
    ] {
        let talk = after_ehlo(&["DSN"], 2, answers);
        assert_eq!(talk.settled.len(), 2);
        for (_, text) in talk.texts() {
            assert!(text.starts_with("Deferred Host 4.3.2 host "), "{text}");
        }
        assert_eq!(talk.events, ["Ready", "Close"]);
    }
}

#[test]
fn peer_answers_data_with_250_or_says_more_than_354() {
    for answer in [
        "250 ok\r\n",
        "354 go\r\n250 took it\r\n",
        "354 go\r\n2",
        "334 go\r\n",
    ] {
        let mut talk = Dialogue::new(false, vec![message(1)]);
        for answer in [GREETING, "250 mx.test\r\n", OK, OK, answer] {
            talk.hear(answer.as_bytes());
        }
        assert!(
            talk.texts()[0].1.starts_with("Deferred Host 4.5.0 "),
            "{:?}",
            talk.texts()
        );
        assert_eq!(talk.sent.last().unwrap(), "DATA\r\n");
        assert_eq!(talk.events, ["Ready", "Close"]);
    }
}

#[test]
fn peer_closes_an_idle_connection() {
    let talk = after_ehlo(&["DSN"], 1, &[OK, OK, GO, OK, "421 idle too long\r\n"]);
    assert_eq!(talk.events, ["Ready", "Done", "Close"]);
    assert_eq!(talk.session.failure(), None);
}

#[test]
fn peer_answers_quit_or_does_not() {
    for end in ["221 bye\r\n", "(gone)", "(silence)", "what?\r\n"] {
        let mut talk = after_ehlo(&["DSN"], 1, &[OK, OK, GO, OK]);
        talk.session.quit(talk.now);
        talk.obey();
        assert_eq!(
            (talk.session.stage(), talk.sent.last().unwrap().as_str()),
            (Stage::Quit, "QUIT\r\n")
        );
        assert_eq!(talk.wake, talk.now + Waits::default().quit);
        talk.hear(end.as_bytes());
        assert_eq!(talk.events, ["Ready", "Done", "Close"]);
        assert_eq!(talk.settled.len(), 1);
    }
}

#[test]
fn relay_ends_in_the_middle_of_a_transaction() {
    let mut talk = after_ehlo(&["DSN"], 1, &[OK]);
    talk.session.quit(talk.now);
    talk.obey();
    assert!(
        talk.texts()[0].1.starts_with("Deferred Local 4.3.2 "),
        "{:?}",
        talk.texts()
    );
    assert_eq!(talk.events, ["Ready", "Close"]);
}

#[test]
fn peer_offers_everything_and_gets_every_parameter() {
    let mut outgoing = message(1);
    outgoing.ret = Some(Ret::Headers);
    outgoing.envid = Some("QQ+2B1".into());
    (outgoing.eight_bit, outgoing.smtputf8) = (true, true);
    outgoing.recipients[0].orcpt = Some("rfc822;x@d.test".into());
    outgoing.recipients[0].notify = Some(Notify {
        success: true,
        failure: true,
        delay: false,
    });
    let all = ehlo(&["PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "DSN"]);
    let talk = dialogue(false, &[outgoing.clone()], &[GREETING, &all]);
    assert_eq!(
        talk.sent[1],
        "MAIL FROM:<a@c.test> SIZE=500 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1\r\n\
         RCPT TO:<b0@d.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@d.test\r\nDATA\r\n"
    );
    outgoing.smtputf8 = false;
    outgoing.reverse_path.clear();
    let talk = dialogue(false, &[outgoing], &[GREETING, "250 mx.test\r\n", OK]);
    assert_eq!(
        talk.sent[1..],
        ["MAIL FROM:<>\r\n", "RCPT TO:<b0@d.test>\r\n"]
    );
}

#[test]
fn peer_cannot_take_the_message_and_is_not_asked() {
    let mut utf8 = message(1);
    utf8.smtputf8 = true;
    let mut large = message(1);
    large.size = 1001;
    let some = ehlo(&["SIZE 1000", "8BITMIME"]);
    let talk = dialogue(false, &[utf8, large, message(1)], &[GREETING, &some]);
    let host = "host mx.test[192.0.2.1]";
    assert_eq!(
        talk.texts(),
        [
            (
                0,
                format!("Failed Message 5.6.7 SMTPUTF8 is required, but was not offered by {host}")
            ),
            (
                0,
                format!("Failed Message 5.3.4 message size 1001 exceeds size limit 1000 of {host}")
            ),
        ]
    );
    assert_eq!(talk.sent[1], "MAIL FROM:<a@c.test> SIZE=500\r\n");
}

#[test]
fn peer_speaks_lmtp_and_answers_for_each_recipient() {
    let ehlo = ehlo(&["PIPELINING"]);
    let envelope = "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n354 go\r\n";
    let answers = [
        GREETING,
        &ehlo,
        envelope,
        "250 2.1.5 in\r\n452 4.2.2 full\r\n",
    ];
    let talk = dialogue(true, &[message(4)], &[&answers[..], &["(gone)"]].concat());
    assert_eq!(talk.sent[0], "LHLO relay.test\r\n");
    let kinds: Vec<_> = talk
        .texts()
        .into_iter()
        .map(|(index, text)| (index, text.split(' ').next().unwrap().to_owned()))
        .collect();
    let expected = [
        (1, "Failed"),
        (0, "Delivered"),
        (2, "Deferred"),
        (3, "Doubtful"),
    ];
    assert_eq!(
        kinds,
        expected.map(|(index, kind)| (index, kind.to_owned()))
    );
    let talk = dialogue(
        true,
        &[message(4)],
        &[&answers[..], &["250 in\r\n"]].concat(),
    );
    assert_eq!(talk.events, ["Ready", "Done"]);
    let talk = dialogue(true, &[], &[GREETING, "500 what\r\n"]);
    assert!(talk.session.failure().unwrap().permanent, "no HELO in LMTP");
}

#[test]
fn peer_drips_a_reply_and_the_wait_does_not_grow() {
    let mut talk = Dialogue::new(false, vec![]);
    assert_eq!(talk.wake, Tick(0) + Waits::default().greeting);
    for octet in GREETING.as_bytes().split_last().unwrap().1.chunks(1) {
        talk.hear(octet);
    }
    assert_eq!(talk.wake, Tick(0) + Waits::default().greeting);
    talk.hear(b"\n");
    assert_eq!(talk.wake, talk.now + Waits::default().hello);
}

#[test]
fn stages_follow_the_dialogue() {
    let mut talk = Dialogue::new(false, vec![message(1)]);
    let mut stages = vec![talk.session.stage()];
    for answer in [GREETING, "250-x\r\n250 PIPELINING\r\n", OK, OK, GO, OK] {
        talk.hear(answer.as_bytes());
        stages.push(talk.session.stage());
    }
    use Stage::{DataCommand, EndOfData, Envelope, Greeting, Idle};
    assert_eq!(
        stages,
        [
            Greeting,
            Stage::Hello,
            Envelope,
            Envelope,
            DataCommand,
            EndOfData,
            Idle
        ]
    );
}

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
