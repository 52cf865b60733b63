//! Greeting, EHLO, the end, and conversations that break off.

use super::*;

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

/// What the peer says, whether it means for ever, whether we part with QUIT, and how it is told.
const REFUSALS: [(&[&str], bool, bool, &str); 8] = [
    (
        &["554 5.3.2 no\r\n"],
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
];

#[test]
fn peer_refuses_the_connection_or_the_greeting() {
    let host = "host mx.test[192.0.2.1]";
    for (answers, permanent, quits, text) in REFUSALS {
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
fn peer_speaks_before_it_is_asked() {
    let early = "250 mx.test\r\n250 ok\r\n";
    let talk = dialogue(false, &[], &[GREETING, early]);
    assert_eq!(talk.events, ["Ready", "Close"]);
    let failure = talk.session.failure().unwrap();
    let text = "host mx.test[192.0.2.1] sent a reply out of step: 250 ok";
    assert_eq!(&*failure.diagnosis.text, text);
    assert!(!failure.permanent);
}

#[test]
fn peer_calls_itself_what_we_call_ourselves() {
    for answers in [
        &[
            GREETING,
            "250-Relay.Test greets [192.0.2.9]\r\n250 SIZE\r\n",
        ][..],
        &[GREETING, "502 no\r\n", "250 relay.test\r\n"],
    ] {
        let talk = dialogue(false, &[message(1)], answers);
        let failure = talk.session.failure().unwrap();
        assert!(failure.ourselves && failure.permanent, "{failure:?}");
        assert_eq!(failure.diagnosis.status.to_string(), "5.4.6");
        assert_eq!(talk.sent.last().unwrap(), "QUIT\r\n");
        assert_eq!(talk.events, ["Close"]);
    }
    let talk = dialogue(
        false,
        &[message(1)],
        &[GREETING, "250 relay.test.other\r\n"],
    );
    assert_eq!(
        (talk.session.failure(), &*talk.events),
        (None, &["Ready".to_owned()][..])
    );
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

#[test]
fn clock_rings_too_early_and_nothing_happens() {
    let mut talk = Dialogue::new(false, vec![]);
    talk.session
        .handle_timeout(talk.wake - Duration::from_micros(1));
    talk.obey();
    assert_eq!(talk.session.stage(), Stage::Greeting);
    talk.hear(b"(silence)");
    assert_eq!(talk.session.stage(), Stage::Quit);
}
