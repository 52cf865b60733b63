//! Aliases that lead elsewhere: who gets the mail, what the sender hears, and what a circle or a kill
//! makes of it.

use crate::mailbox::{command, maildir, relay, until_known, wait_for};
use crate::support::{Mx, Relay, Report, Scene, Script, eventually, message, never};

/// `far.test` behaves as scripted, `c.test` takes everything. Users and aliases are for `d.test`.
fn scene(script: Script) -> (Scene, Mx, Mx) {
    let scene = Scene::new();
    let far = scene.mx(1, script);
    let home = scene.mx(2, Script::new());
    scene.dns.mx("far.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    (scene, far, home)
}

fn alias(relay: &Relay, name: &str, targets: &[&str]) {
    command(relay, &[&["alias", "add", name], targets].concat());
}

#[test]
fn mail_for_an_alias_goes_to_its_one_address_with_all_that_was_asked_for() {
    let (scene, far, _home) = scene(Script::new());
    let relay = relay(&scene, &[], "");
    alias(&relay, "root@d.test", &["Me@far.test"]);
    until_known(&relay, "root@d.test");
    let mut client = relay.client();
    client
        .submit(
            "<a@c.test> RET=HDRS ENVID=abc",
            &["<root@d.test> NOTIFY=SUCCESS,FAILURE"],
            &message("forwarded"),
        )
        .is("250 ");
    let received = far.wait_for_mail_to("me@far.test");
    assert!(received.mail.starts_with("MAIL FROM:<a@c.test>"));
    assert!(received.mail.contains("ENVID=abc") && received.mail.contains("RET=HDRS"));
    assert_eq!(received.rcpts.len(), 1, "{:?}", received.rcpts);
    let rcpt = &received.rcpts[0];
    assert!(
        rcpt.starts_with("RCPT TO:<Me@far.test>")
            && rcpt.contains("NOTIFY=SUCCESS,FAILURE")
            && rcpt.contains("ORCPT=rfc822;root@d.test"),
        "{rcpt}"
    );
    assert!(
        received
            .text()
            .starts_with("Delivered-To: root@d.test\r\nReceived: "),
        "{}",
        received.text()
    );
    relay.wait_until_empty();
    relay.log_line(&["to=<Me@far.test>", "orig_to=<root@d.test>", "status=sent"]);
    // Nobody may send there because an alias does.
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<me@far.test>").is("5");
}

#[test]
fn an_alias_for_several_is_expanded_and_the_sender_hears_so() {
    let (scene, far, home) = scene(Script::new().without("DSN"));
    let relay = relay(&scene, &["ann@d.test"], "");
    let targets = ["ann@d.test", "one@far.test", "two@far.test"];
    alias(&relay, "all@d.test", &targets);
    until_known(&relay, "all@d.test");
    relay
        .client()
        .submit(
            "<a@c.test>",
            &["<all@d.test> NOTIFY=SUCCESS,FAILURE", "<ann@d.test>"],
            &message("expanded"),
        )
        .is("250 ");
    let received = far.wait_for_mail_to("one@far.test");
    assert!(received.is_for("two@far.test") && !received.text().contains("Delivered-To"));
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.per_recipient.len(), 1, "{report:?}");
    let recipient = report.recipient("all@d.test");
    assert_eq!(
        (recipient.field("Action"), recipient.field("Status")),
        ("expanded", "2.0.0")
    );
    relay.wait_until_empty();
    // No word about those whom the sender does not know, and one copy for Ann.
    assert_eq!((home.messages().len(), far.messages().len()), (1, 1));
    assert_eq!(wait_for(&maildir(&relay, "ann@d.test"), 1).len(), 1);
}

#[test]
fn a_user_keeps_a_copy_and_has_one_sent_elsewhere() {
    let (scene, far, _home) = scene(Script::new());
    let relay = relay(&scene, &["ann@d.test"], "");
    alias(&relay, "ann@d.test", &["ann@d.test", "ann@far.test"]);
    until_known(&relay, "ann@d.test");
    eventually("the relay knows the alias", || {
        let mut client = relay.client();
        client
            .submit("<a@c.test>", &["<ann@d.test>"], &message("both"))
            .is("250 ");
        relay.wait_until_empty();
        (!far.messages().is_empty()).then_some(())
    });
    let kept = wait_for(&maildir(&relay, "ann@d.test"), 1);
    assert!(kept.values().all(|text| text.contains("both")));
}

#[test]
fn an_address_elsewhere_that_fails_is_told_to_the_sender_by_the_name_that_was_written() {
    let (scene, _far, home) = scene(Script::new().says("RCPT", "550 5.1.1 nobody"));
    let relay = relay(&scene, &[], "");
    alias(&relay, "all@d.test", &["one@far.test", "two@far.test"]);
    until_known(&relay, "all@d.test");
    relay
        .client()
        .submit("<a@c.test>", &["<all@d.test>"], &message("fails"))
        .is("250 ");
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.per_recipient.len(), 2, "{report:?}");
    for address in ["one@far.test", "two@far.test"] {
        let recipient = report.recipient(address);
        assert_eq!(recipient.field("Action"), "failed");
        assert_eq!(recipient.field("Original-Recipient"), "rfc822; all@d.test");
    }
}

#[test]
fn a_report_for_a_sender_who_is_an_alias_goes_where_the_alias_leads() {
    let (scene, far, home) = scene(Script::new().says("RCPT TO:<nobody", "550 5.1.1 nobody"));
    let networks = "smtp.trusted_networks = [\"127.0.0.0/8\"]\n";
    let relay = scene.relay(&format!(
        "{networks}route = [{{ domain = \"d.test\", to = \"mailbox\" }}]\n"
    ));
    alias(&relay, "out@d.test", &["out@c.test"]);
    until_known(&relay, "out@d.test");
    relay
        .client()
        .submit("<out@d.test>", &["<nobody@far.test>"], &message("fails"))
        .is("250 ");
    let report = Report::parse(home.wait_for_mail_to("out@c.test"));
    assert_eq!(report.received.mail.split(' ').nth(1), Some("FROM:<>"));
    assert_eq!(far.messages().len(), 0);
}

#[test]
fn mail_that_comes_back_to_its_alias_is_refused() {
    let (scene, far, _home) = scene(Script::new());
    let relay = relay(&scene, &["ann@d.test"], "");
    alias(&relay, "round@d.test", &["round@far.test"]);
    until_known(&relay, "round@d.test");
    let mut client = relay.client();
    client
        .submit("<a@c.test>", &["<round@d.test>"], &message("circle"))
        .is("250 ");
    // What a host does whose own alias leads back.
    let returned = far.wait_for_mail_to("round@far.test").content();
    client
        .submit("<a@c.test>", &["<Round@d.test>"], &returned)
        .is("554 5.4.6 ");
    // It may go anywhere else.
    client
        .submit("<a@c.test>", &["<ann@d.test>"], &returned)
        .is("250 ");
    relay.wait_until_empty();
    assert_eq!(far.messages().len(), 1);
}

#[test]
fn an_alias_at_the_relays_own_name_needs_no_route() {
    let (scene, far, _home) = scene(Script::new());
    let relay = relay(&scene, &[], "");
    alias(&relay, "root@relay.test", &["me@far.test"]);
    until_known(&relay, "root@relay.test");
    relay
        .client()
        .submit("<>", &["<root@RELAY.test>"], &message("cron"))
        .is("250 ");
    far.wait_for_mail_to("me@far.test");
    let explained = relay.ask(&["explain", "root@relay.test"]);
    assert!(explained.contains("leads to    me@far.test"), "{explained}");
    let far = relay.run(&["alias", "add", "x@other.test", "me@far.test"]);
    let said = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert_eq!(
        said(&far.stdout),
        "x@other.test leads to me@far.test (elsewhere)\n"
    );
    assert!(
        said(&far.stderr).contains("no route takes mail for other.test here"),
        "{far:?}"
    );
    let typo = relay.run(&["alias", "add", "x@relay.test", "y@relay.test"]);
    assert_eq!(typo.status.code(), Some(65), "{typo:?}");
}

#[test]
fn a_kill_between_acceptance_and_delivery_loses_no_address_and_repeats_none() {
    let (scene, far, home) = scene(Script::new().says("RCPT TO:<slow", "451 4.2.1 later"));
    let mut relay = relay(&scene, &["ann@d.test"], "");
    let targets = ["ann@d.test", "fast@far.test", "slow@far.test"];
    alias(&relay, "all@d.test", &targets);
    until_known(&relay, "all@d.test");
    relay
        .client()
        .submit(
            "<a@c.test>",
            &["<all@d.test> NOTIFY=SUCCESS,FAILURE"],
            &message("kept"),
        )
        .is("250 ");
    far.wait_for_mail_to("fast@far.test");
    home.wait_for_mail_to("a@c.test");
    // What reached the disk by now is not done again; the alias itself may change.
    relay.log_line(&["to=<slow@far.test>", "status=deferred"]);
    command(&relay, &["alias", "remove", "all@d.test"]);
    relay.submit("<>", &["<ann@d.test>"], &message("syncs the log"));
    relay.kill();
    relay.restart();
    far.behaves(Script::new());
    far.wait_for_mail_to("slow@far.test");
    relay.wait_until_empty();
    never("a second copy arrives", || {
        let copies = |name: &str| {
            let messages = far.messages();
            messages.iter().filter(|one| one.is_for(name)).count()
        };
        copies("fast@far.test") > 1 || copies("slow@far.test") > 1 || home.messages().len() > 1
    });
    let ann = wait_for(&maildir(&relay, "ann@d.test"), 2);
    assert_eq!(ann.len(), 2, "{ann:?}");
}
