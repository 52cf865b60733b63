//! What a mail exchanger does to a delivery.

use crate::support::mx::multi_line;
use crate::support::{Relay, Report, Scene, Script, eventually, message, never};

/// Sends one message through an exchanger with this script; what comes back to the sender.
fn bounced(script: Script, extra: &str) -> (Scene, Relay, Report) {
    let scene = Scene::new();
    let _peer = scene.mx(1, script);
    let home = scene.mx(2, Script::new());
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    let relay = scene.relay(extra);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("doomed"));
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    (scene, relay, report)
}

#[test]
fn peer_greylists_and_takes_it_later() {
    let (scene, mx) = Scene::with_mx(
        Script::new()
            .says("RCPT TO:", "450 4.7.1 greylisted")
            .times(2),
    );
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("grey"));
    assert_eq!(mx.wait_for(1)[0].content_as_sent(), message("grey"));
    assert_eq!(mx.heard("RCPT TO:"), 3);
    relay.wait_until_empty();
    assert_eq!(mx.messages().len(), 1);
}

#[test]
fn peer_answers_over_many_lines_late_and_in_pieces() {
    let slow: &[(u64, &[u8])] = &[
        (50, b"220-mx"),
        (50, b".test\r\n22"),
        (50, b"0 ESMTP\r"),
        (50, b"\n"),
    ];
    let script = Script::new()
        .writes("BANNER", slow)
        .says("MAIL", &multi_line(250, &["one", "two", "three"]));
    let (scene, mx) = Scene::with_mx(script.writes("RCPT", &[(0, b"250\r\n")]));
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("lines"));
    assert_eq!(mx.wait_for(1)[0].content_as_sent(), message("lines"));
}

#[test]
fn peer_takes_some_recipients_and_refuses_others() {
    let script = Script::new()
        .says("RCPT TO:<no@", "550 5.1.1 unknown")
        .says("RCPT TO:<later@", "451 4.2.1 not now")
        .times(1);
    let (scene, mx) = Scene::with_mx(script);
    let relay = scene.relay("");
    relay
        .client()
        .submit(
            "<a@c.test>",
            &["<yes@d.test>", "<no@d.test>", "<later@d.test>"],
            &message("mixed"),
        )
        .is("250 ");
    assert_eq!(mx.wait_for_mail_to("yes@d.test").rcpts.len(), 1);
    assert_eq!(mx.wait_for_mail_to("later@d.test").rcpts.len(), 1);
    let report = Report::parse(mx.wait_for_mail_to("a@c.test"));
    assert_eq!(report.per_recipient.len(), 1, "only the failed one");
    assert_eq!(report.recipient("no@d.test").field("Status"), "5.1.1");
}

#[test]
fn peer_takes_only_so_many_recipients_at_once() {
    let script = Script::new();
    let (scene, mx) = Scene::with_mx((3..6).fold(script, |script, n| {
        script
            .says(&format!("RCPT TO:<b{n}@"), "452 4.5.3 too many")
            .times(1)
    }));
    let relay = scene.relay("queue.retry = [\"1h\"]");
    let rcpts: Vec<String> = (0..6).map(|n| format!("<b{n}@d.test>")).collect();
    let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
    relay
        .client()
        .submit("<a@c.test>", &rcpts, &message("split"))
        .is("250 ");
    let messages = mx.wait_for(2);
    assert_eq!(
        messages
            .iter()
            .map(|message| message.rcpts.len())
            .sum::<usize>(),
        6,
        "the rest goes at once, without a retry's wait"
    );
    relay.wait_until_empty();
}

#[test]
fn peer_dies_between_dot_and_reply() {
    let (scene, mx) = Scene::with_mx(Script::new().drops(".").times(1));
    let relay = scene.relay("");
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &message("doubtful"));
    let copies = eventually("a second copy, and its 250", || {
        let copies = mx.wait_for(2);
        copies[1].answered.then_some(copies)
    });
    assert!(!copies[0].answered);
    assert_eq!(
        copies[0].content(),
        copies[1].content(),
        "a second copy is the same message"
    );
    let line = relay.log_line(&[&id, "status=deferred"]);
    assert!(
        line.to_lowercase().contains("may")
            || line.contains("doubt")
            || line.contains("end of data"),
        "the doubt is not shown: {line}"
    );
    relay.wait_until_empty();
    assert_eq!(mx.messages().len(), 2);
}

#[test]
fn peer_dies_in_the_middle_of_the_dialogue() {
    for words in ["BANNER", "EHLO", "MAIL", "RCPT", "DATA"] {
        let (scene, mx) = Scene::with_mx(Script::new().drops(words).times(1));
        let relay = scene.relay("");
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(words));
        assert_eq!(mx.wait_for(1)[0].content_as_sent(), message(words));
        relay.wait_until_empty();
        assert_eq!(mx.messages().len(), 1, "no doubt before the dot: {words}");
    }
}

#[test]
fn peer_says_421_or_554_in_its_banner_and_the_next_host_takes_the_mail() {
    for banner in ["421 4.3.2 going down", "554 5.3.2 no service here"] {
        let scene = Scene::new();
        let first = scene.mx(1, Script::new().says_and_closes("BANNER", banner));
        let second = scene.mx(2, Script::new());
        scene
            .dns
            .mx("d.test", &[(10, "mx1.test"), (20, "mx2.test")]);
        let relay = scene.relay("queue.retry = [\"1h\"]");
        relay.submit("<a@c.test>", &["<b@d.test>"], &message("next"));
        second.wait_for(1);
        assert!(first.connections() >= 1, "{banner}");
    }
}

#[test]
fn peer_knows_no_ehlo() {
    let (scene, mx) = Scene::with_mx(Script::new().says("EHLO", "502 5.5.1 what?"));
    let relay = scene.relay("");
    relay
        .client()
        .submit(
            "<a@c.test> SIZE=100 RET=HDRS ENVID=x",
            &["<b@d.test> NOTIFY=FAILURE"],
            &message("helo"),
        )
        .is("250 ");
    let received = mx.wait_for(1).remove(0);
    assert_eq!(received.hello, "HELO relay.test");
    assert_eq!(
        (received.mail.as_str(), received.rcpts[0].as_str()),
        ("MAIL FROM:<a@c.test>", "RCPT TO:<b@d.test>")
    );
}

#[test]
fn peer_does_not_pipeline() {
    let (scene, mx) = Scene::with_mx(Script::new().without("PIPELINING"));
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("patient"));
    mx.wait_for(1);
    assert_eq!(mx.impatient(), Vec::<String>::new());
}

#[test]
fn peer_refuses_the_sender() {
    let (_scene, _relay, report) =
        bounced(Script::new().says("MAIL", "550 5.7.1 not from you"), "");
    assert_eq!(report.recipient("b@d.test").field("Status"), "5.7.1");
}

#[test]
fn peer_takes_the_recipient_and_refuses_data_or_content() {
    for words in ["DATA", "."] {
        let (_scene, _relay, report) = bounced(Script::new().says(words, "554 no thanks"), "");
        let recipient = report.recipient("b@d.test");
        assert_eq!(
            recipient.field("Status"),
            "5.0.0",
            "derived from the reply's class"
        );
        assert_eq!(recipient.field("Diagnostic-Code"), "smtp; 554 no thanks");
    }
}

#[test]
fn peer_contradicts_itself_and_the_basic_code_wins() {
    let (_scene, _relay, report) =
        bounced(Script::new().says("RCPT", "550 4.7.1 never, or later"), "");
    assert_eq!(report.recipient("b@d.test").field("Status"), "5.7.1");
}

#[test]
fn peer_takes_small_messages_only() {
    let script = Script::new().with("SIZE 1000");
    let scene = Scene::new();
    let peer = scene.mx(1, script);
    let home = scene.mx(2, Script::new());
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    let relay = scene.relay("");
    let large = [
        message("large"),
        b"seventy octets or so of nothing much at all, again and again and on\r\n".repeat(50),
    ]
    .concat();
    relay.submit("<a@c.test>", &["<b@d.test>"], &large);
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.recipient("b@d.test").field("Status"), "5.3.4");
    assert_eq!(peer.heard("DATA"), 0);
}

#[test]
fn peer_takes_seven_bits_only_and_gets_quoted_printable() {
    let (scene, mx) = Scene::with_mx(Script::new().without("8BITMIME").without("SMTPUTF8"));
    let relay = scene.relay("");
    let content = "From: a@c.test\r\nSubject: eight\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                   Content-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\u{df}e\r\n.dot\r\n";
    relay.submit(
        "<a@c.test> BODY=8BITMIME",
        &["<b@d.test>"],
        content.as_bytes(),
    );
    let received = mx.wait_for(1).remove(0);
    assert!(received.wire.is_ascii(), "{}", received.text());
    assert!(!received.mail.contains("BODY="), "{}", received.mail);
    let octets = received.content();
    let parsed = mail_parser::MessageParser::default()
        .parse(&octets)
        .unwrap();
    assert_eq!(
        parsed.body_text(0).unwrap().replace("\r\n", "\n"),
        "Gr\u{fc}\u{df}e\n.dot\n"
    );
    assert!(matches!(
        parsed
            .header_raw("Content-Transfer-Encoding")
            .map(str::trim),
        Some("quoted-printable" | "base64")
    ));
}

#[test]
fn peer_takes_eight_bits_and_gets_them_unchanged() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let content = "Subject: eight\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u{fc}\u{df}e\r\n";
    relay.submit(
        "<a@c.test> BODY=8BITMIME",
        &["<b@d.test>"],
        content.as_bytes(),
    );
    let received = mx.wait_for(1).remove(0);
    assert_eq!(received.content_as_sent(), content.as_bytes());
    assert!(
        received.mail.contains(" BODY=8BITMIME"),
        "{}",
        received.mail
    );
}

#[test]
fn peer_knows_no_smtputf8() {
    let scene = Scene::new();
    let _peer = scene.mx(1, Script::new().without("SMTPUTF8"));
    let home = scene.mx(2, Script::new());
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    let relay = scene.relay("");
    relay.submit(
        "<a@c.test> SMTPUTF8",
        &["<\u{e4}@d.test>"],
        &message("utf8"),
    );
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    let recipient = &report.per_recipient[0];
    assert!(
        recipient
            .iter()
            .any(|(name, value)| name == "status" && value == "5.6.7"),
        "{recipient:?}"
    );
}

#[test]
fn peer_knows_smtputf8() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    relay.submit(
        "<a@c.test> SMTPUTF8",
        &["<\u{e4}@d.test>"],
        &message("utf8"),
    );
    let received = mx.wait_for(1).remove(0);
    assert!(received.mail.contains(" SMTPUTF8"), "{}", received.mail);
    assert!(received.is_for("\u{e4}@d.test"), "{:?}", received.rcpts);
}

#[test]
fn peer_offers_dsn_and_gets_every_parameter() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    relay
        .client()
        .submit(
            "<a@c.test> RET=HDRS ENVID=QQ+2B314159",
            &["<b@d.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Orig+2Bx@d.test"],
            &message("dsn"),
        )
        .is("250 ");
    let received = mx.wait_for(1).remove(0);
    assert!(
        received.mail.contains(" RET=HDRS") && received.mail.contains(" ENVID=QQ+2B314159"),
        "{}",
        received.mail
    );
    assert!(
        received.rcpts[0].contains(" NOTIFY=SUCCESS,FAILURE"),
        "{:?}",
        received.rcpts
    );
    assert!(
        received.rcpts[0].contains(" ORCPT=rfc822;Orig+2Bx@d.test"),
        "{:?}",
        received.rcpts
    );
    relay.wait_until_empty();
    never("a report that is the next hop's business", || {
        mx.messages().len() > 1
    });
}

#[test]
fn peer_keeps_the_connection_for_more_messages() {
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT TO:", "450 4.2.1 wait").times(30));
    let relay = scene.relay("delivery.connections_per_destination = 1");
    let mut client = relay.client();
    for n in 0..30 {
        client
            .submit("<a@c.test>", &[&format!("<b{n}@d.test>")], &message("kept"))
            .is("250 ");
    }
    mx.wait_for(30);
    let mut kept = std::collections::HashMap::new();
    for received in mx.messages() {
        *kept.entry(received.connection).or_insert(0) += 1;
    }
    let most = kept.into_values().max();
    assert!(most > Some(1), "a connection for each message: {most:?}");
}

#[test]
fn peer_says_421_in_the_middle_and_the_rest_comes_again() {
    let script = Script::new()
        .says_and_closes("MAIL", "421 4.3.2 restarting")
        .times(1);
    let (scene, mx) = Scene::with_mx(script);
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("restart"));
    mx.wait_for(1);
    relay.wait_until_empty();
    assert_eq!(mx.messages().len(), 1);
}

#[test]
fn peer_answers_with_nonsense() {
    let long = [b"250 ".to_vec(), b"x".repeat(4_096), b"\r\n".to_vec()].concat();
    let (scene, mx) = Scene::with_mx(
        Script::new()
            .writes("MAIL", &[(0, &long)])
            .writes("RCPT", &[(0, b"250 lone line feed\n")]),
    );
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("odd"));
    mx.wait_for(1);

    let script = Script::new()
        .writes("EHLO", &[(0, b"hello yourself\r\n")])
        .times(1);
    let (scene, mx) = Scene::with_mx(script);
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("nonsense"));
    mx.wait_for(1);
}

#[test]
fn peer_fills_the_line_for_ever() {
    let endless: Vec<(u64, &[u8])> = vec![(0, &[b'x'; 65_536]); 64];
    let (scene, mx) = Scene::with_mx(Script::new().writes("BANNER", &endless).times(1));
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("endless"));
    mx.wait_for(1);
}

#[test]
fn one_destination_is_silent_and_the_others_do_not_wait() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let _silent = scene.mx(2, Script::new().stays_silent("BANNER"));
    scene.dns.mx("silent.test", &[(10, "mx2.test")]);
    let relay = scene.relay("delivery.connections_per_destination = 2");
    let mut client = relay.client();
    for _ in 0..20 {
        client
            .submit("<a@c.test>", &["<b@silent.test>"], &message("stuck"))
            .is("250 ");
    }
    for _ in 0..20 {
        client
            .submit("<a@c.test>", &["<b@d.test>"], &message("moves"))
            .is("250 ");
    }
    mx.wait_for(20);
    assert_eq!(relay.queue().len(), 20);
}

#[test]
fn limit_of_connections_to_one_destination_holds_over_all_shards() {
    let (scene, mx) = Scene::with_mx(Script::new().stays_silent("EHLO"));
    let mut setup = scene.config("delivery.connections_per_destination = 3");
    setup.cores = "2".to_owned();
    let relay = Relay::start(setup);
    for _ in 0..20 {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message("leased"));
    }
    eventually("connections to the silent host", || {
        (mx.connections() >= 3).then_some(())
    });
    never("a fourth connection", || mx.connections() > 3);
}

#[test]
fn source_address_belongs_to_another_machine() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("delivery.source = [\"192.0.2.77\"]");
    relay.log_line(&["source", "192.0.2.77 cannot be sent from"]);
    let said = relay
        .client()
        .submit("<a@c.test>", &["<b@d.test>"], &message("elsewhere"));
    said.is("250 ");
    relay.log_line(&["to=<b@d.test>", "status=deferred"]);
    assert_eq!(mx.connections(), 0);
}
