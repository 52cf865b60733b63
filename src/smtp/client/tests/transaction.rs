//! Transactions that run to their end, well or not.

use super::*;

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
fn peer_names_its_limit_of_domains() {
    let ehlo = ehlo(&["LIMITS RCPTDOMAINMAX=2"]);
    let addresses = [
        "a@one.test",
        "\"b@x\"@two.test",
        "c@three.test",
        "d@ONE.test",
    ];
    let mut mixed = message(4);
    for (recipient, address) in mixed.recipients.iter_mut().zip(addresses) {
        recipient.address = address.into();
    }
    let answers = [GREETING, &ehlo, OK, OK, OK, OK, GO, OK];
    let talk = dialogue(false, &[mixed], &answers);
    assert_eq!(talk.postponed, [2], "three.test is one too many");
    assert_eq!(talk.settled.len(), 3);
    assert!(
        !talk.session.may_begin(),
        "who was postponed needs a new connection"
    );
}

#[test]
fn domains_of_earlier_messages_count_against_the_limit() {
    let ehlo = ehlo(&["LIMITS RCPTDOMAINMAX=1"]);
    let mut elsewhere = message(1);
    elsewhere.recipients[0].address = "b@e.test".into();
    let messages = [message(2), message(1), elsewhere];
    let answers = [GREETING, &ehlo, OK, OK, OK, GO, OK, OK, OK, GO, OK];
    let talk = dialogue(false, &messages, &answers);
    assert_eq!((talk.settled.len(), talk.postponed.len()), (3, 1));
    assert!(!talk.sent.concat().contains("e.test"));
    assert!(!talk.session.may_begin());
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
        recipient.address = format!("{}@d.test", "x".repeat(300)).into();
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
        ("451 4.7.1 slow down", "Deferred Pace 4.7.1"),
        ("451 4.7.1 greylisted", "Deferred Host 4.7.1"),
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
    outgoing.reverse_path = "".into();
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
    let mut fitting = message(1);
    fitting.size = 1000;
    let some = ehlo(&["SIZE 1000", "8BITMIME"]);
    let talk = dialogue(false, &[utf8, large, fitting], &[GREETING, &some]);
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
    assert_eq!(talk.sent[1], "MAIL FROM:<a@c.test> SIZE=1000\r\n");
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
