//! Delivery status notifications (RFC 3461, RFC 3464) as their reader gets them.

use crate::support::{Mx, Received, Relay, Report, Scene, Script, eventually, message, never};

/// `d.test` behaves as scripted, `c.test` takes everything.
fn scene(script: Script) -> (Scene, Mx, Mx) {
    let scene = Scene::new();
    let peer = scene.mx(1, script);
    let home = scene.mx(2, Script::new());
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    (scene, peer, home)
}

fn submit(relay: &Relay, mail: &str, rcpts: &[&str]) {
    relay
        .client()
        .submit(mail, rcpts, &message("reported"))
        .is("250 ");
}

#[test]
fn recipient_is_unknown_and_the_sender_is_told_everything() {
    let (scene, _peer, home) = scene(Script::new().says(
        "RCPT",
        "550-5.1.1 first line of two\r\n550 5.1.1 No such user here",
    ));
    let relay = scene.relay("");
    submit(
        &relay,
        "<a@c.test> RET=HDRS ENVID=QQ+2B314159",
        &["<b@d.test> ORCPT=rfc822;Orig+2Bx@d.test"],
    );
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.message_field("Reporting-MTA"), "dns; relay.test");
    assert_eq!(report.message_field("Original-Envelope-Id"), "QQ+314159");
    assert!(report.message_field("Arrival-Date").contains(" 20"));
    let recipient = report.recipient("b@d.test");
    assert_eq!(recipient.field("Final-Recipient"), "rfc822; b@d.test");
    assert_eq!(
        recipient.field("Original-Recipient").replace("; ", ";"),
        "rfc822;Orig+x@d.test"
    );
    assert_eq!(recipient.field("Action"), "failed");
    assert_eq!(recipient.field("Status"), "5.1.1");
    assert_eq!(recipient.field("Remote-MTA"), "dns; mx1.test");
    assert_eq!(
        recipient.field("Diagnostic-Code"),
        "smtp; 550-5.1.1 first line of two 550 5.1.1 No such user here"
    );
    assert_eq!(report.returned.0, "text/rfc822-headers");
    assert!(
        report.returned.1.contains("Subject: reported") && !report.returned.1.contains("Words of")
    );
    assert!(
        report.words.contains("b@d.test") && report.words.contains("No such user here"),
        "{}",
        report.words
    );
}

#[test]
fn sender_wants_the_whole_message_back() {
    let (scene, _peer, home) = scene(Script::new().says("RCPT", "550 5.1.1 no"));
    let relay = scene.relay("");
    submit(&relay, "<a@c.test> RET=FULL", &["<b@d.test>"]);
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.returned.0, "message/rfc822");
    assert!(
        report.returned.1.contains("Words of reported."),
        "{}",
        report.returned.1
    );
}

#[test]
fn large_message_fails_and_the_report_stays_small() {
    let (scene, _peer, home) = scene(Script::new().says(".", "554 5.6.0 no"));
    let relay = scene.relay("");
    let large = [
        message("large"),
        b"seventy octets or so of nothing much at all, again and again and on\r\n".repeat(15_000),
    ]
    .concat();
    relay.submit("<a@c.test>", &["<b@d.test>"], &large);
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert!(
        report.received.wire.len() < 256 * 1024,
        "{} octets",
        report.received.wire.len()
    );
}

/// Senders' names are forged: what can be known while the client is there, it hears, and nobody gets a
/// report.
#[test]
fn what_is_known_at_rcpt_is_refused_there_and_nobody_gets_a_report() {
    let (scene, peer, home) = scene(Script::new());
    let relay = scene.relay(
        "[[route]]\ndomain = \"one.test\"\nto = \"mailbox\"\n\
         [[route]]\ndomain = \"closed.test\"\nto = \"reject\"",
    );
    let added = relay.run_with(&["user", "add", "ann@one.test"], "secret\n");
    assert!(added.status.success(), "{added:?}");
    relay.log_line(&["files that the configuration names changed: done"]);
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    for (recipient, reply) in [
        ("<nobody@one.test>", "550 5.1.1 "),
        ("<anyone@closed.test>", "550 5."),
        ("<b@d..test>", "501 5.1.3"),
        ("<b@[192.0.2.256]>", "501 5.1.3"),
    ] {
        client.command(&format!("RCPT TO:{recipient}")).is(reply);
    }
    client.command("DATA").is("503 5.5.1");
    client.command("RSET").is("250 ");
    let large = format!("MAIL FROM:<a@c.test> SIZE={}", u64::from(u32::MAX));
    client.command(&large).is("552 5.3.4");
    assert!(relay.metric("ringpost_messages_accepted_total", "") < 0.5);
    never("a report", || {
        peer.messages().len() + home.messages().len() > 0
    });
}

#[test]
fn message_without_a_sender_fails() {
    let (scene, peer, home) = scene(Script::new().says("RCPT", "550 5.1.1 no"));
    let relay = scene.relay("");
    submit(&relay, "<>", &["<b@d.test>"]);
    relay.log_line(&["status=bounced"]);
    relay.wait_until_empty();
    never("a report of a report", || {
        peer.messages().len() + home.messages().len() > 0
    });
}

#[test]
fn sender_wants_to_hear_nothing() {
    let (scene, _peer, home) = scene(Script::new().says("RCPT", "550 5.1.1 no"));
    let relay = scene.relay("");
    submit(&relay, "<a@c.test>", &["<b@d.test> NOTIFY=NEVER"]);
    relay.log_line(&["status=bounced"]);
    relay.wait_until_empty();
    never("a report", || home.connections() > 0);
}

#[test]
fn next_hop_knows_no_dsn_and_success_was_asked_for() {
    let (scene, peer, home) = scene(Script::new().without("DSN"));
    let relay = scene.relay("");
    submit(
        &relay,
        "<a@c.test> ENVID=abc",
        &[
            "<b@d.test> NOTIFY=SUCCESS ORCPT=rfc822;b@d.test",
            "<quiet@d.test>",
        ],
    );
    assert!(!peer.wait_for(1)[0].mail.contains("ENVID"));
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.per_recipient.len(), 1);
    let recipient = report.recipient("b@d.test");
    assert_eq!(
        (recipient.field("Action"), recipient.field("Status")),
        ("relayed", "2.0.0")
    );
    assert_eq!(recipient.field("Remote-MTA"), "dns; mx1.test");
    assert_eq!(report.message_field("Original-Envelope-Id"), "abc");
    assert_eq!(
        report.returned.0, "text/rfc822-headers",
        "RFC 3461 §4.3: a success returns no content"
    );
    relay.wait_until_empty();
    assert_eq!(home.messages().len(), 1);
}

#[test]
fn many_recipients_fail_at_once() {
    let (scene, _peer, home) = scene(Script::new().says("RCPT", "550 5.1.1 no"));
    let relay = scene.relay("");
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    let rcpts: String = (0..500)
        .map(|n| format!("RCPT TO:<b{n}@d.test>\r\n"))
        .collect();
    client.send(rcpts);
    (0..500).for_each(|_| drop(client.reply().is("250 ")));
    client.data(&message("many")).is("250 ");
    let told = |messages: Vec<Received>| -> usize {
        messages
            .into_iter()
            .map(|received| Report::parse(received).per_recipient.len())
            .sum()
    };
    eventually("all of them reported", || {
        (told(home.messages()) == 500).then_some(())
    });
    relay.wait_until_empty();
    let reports = home.messages().len();
    assert!(reports <= 5, "{reports} reports for one message");
}

#[test]
fn report_cannot_be_delivered_either() {
    let (scene, _peer, home) = scene(Script::new().says("RCPT", "550 5.1.1 no"));
    home.behaves(Script::new().says("RCPT", "550 5.1.1 nobody here"));
    let relay = scene.relay("");
    submit(&relay, "<a@c.test>", &["<b@d.test>"]);
    eventually("the report is refused", || {
        (home.heard("RCPT") > 0).then_some(())
    });
    relay.wait_until_empty();
    never("a report of the report", || home.heard("RCPT") > 1);
}

#[test]
fn internationalised_recipient_fails() {
    let (scene, _peer, home) = scene(Script::new().says("RCPT", "550 5.1.1 no"));
    let relay = scene.relay("");
    relay
        .client()
        .submit(
            "<a@c.test> SMTPUTF8",
            &["<\u{e4}@d.test>"],
            &message("utf8"),
        )
        .is("250 ");
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    let recipient = report.recipient("\u{e4}@d.test");
    assert_eq!(recipient.field("Final-Recipient"), "utf-8; \u{e4}@d.test");
    assert!(
        report
            .received
            .text()
            .contains("message/global-delivery-status")
    );
}
