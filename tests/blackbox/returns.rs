//! What comes back later: reports to return paths, complaints, and letters.

use std::fs;
use std::net::Ipv4Addr;

use ringpost::dkim::{Key, Kind, Signers};
use serde_json::Value;

use crate::support::{Client, Mx, Received, Relay, Scene, Script, eventually, message, never};

const RETURNS: &str = "returns.domain = \"r.test\"\nreturns.feedback = [\"fbl@r.test\"]\n\
    events.log = \"events.jsonl\"\nevents.headers = [\"X-Campaign\"]\n\
    suppression.on = [\"bad_mailbox\"]\n";

/// The address in a MAIL line.
fn path(mail: &str) -> String {
    let (_, rest) = mail.split_once('<').expect("a path");
    rest.split_once('>').expect("a path").0.to_owned()
}

/// A report as other hosts write it. `block` is what it says of the recipient.
fn report(kind: &str, block: &str, returned: &str) -> Vec<u8> {
    let text = format!(
        "From: MAILER-DAEMON@mx1.test\nTo: you\nSubject: Undelivered\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type={kind}; boundary=b\n\n--b\n\n\
         It did not work.\n\n--b\nContent-Type: message/{kind}\n\n{block}\n--b\n\
         Content-Type: text/rfc822-headers\n\n{returned}\n--b--\n"
    );
    text.replace('\n', "\r\n").into_bytes()
}

fn failure(recipient: &str, reply: &str, returned: &str) -> Vec<u8> {
    let block = format!(
        "Reporting-MTA: dns; mx1.test\n\nFinal-Recipient: rfc822; {recipient}\nAction: failed\n\
         Status: 5.1.1\nRemote-MTA: dns; in.d.test\nDiagnostic-Code: smtp; {reply}\n"
    );
    report("delivery-status", &block, returned)
}

fn header_of(received: &Received) -> String {
    let text = received.text().replace("\r\n", "\n");
    let (header, _) = text.split_once("\n\n").expect("a header");
    header.to_owned()
}

fn rcpt(relay: &Relay, sender: &str, address: &str) -> (u16, String) {
    let mut client = relay.client();
    client.command("EHLO mx1.test");
    client.command(&format!("MAIL FROM:<{sender}>"));
    let reply = client.command(&format!("RCPT TO:<{address}>"));
    (reply.code, reply.text())
}

fn events(relay: &Relay, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(relay.data().join("events.jsonl")).unwrap_or_default();
    let events = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    events
        .filter(|event: &Value| event["event"] == kind)
        .collect()
}

#[track_caller]
fn event(relay: &Relay, kind: &str) -> Value {
    eventually(kind, || events(relay, kind).pop())
}

fn is_listed(relay: &Relay, address: &str) -> bool {
    relay.run(&["suppression", "check", address]).status.code() == Some(1)
}

fn scene(extra: &str) -> (Scene, Mx, Relay) {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&format!("{RETURNS}{extra}"));
    (scene, mx, relay)
}

#[test]
fn a_host_takes_mail_and_says_days_later_that_nobody_is_there() {
    let (_scene, mx, mut relay) = scene("");
    let content = [b"X-Campaign: may\r\n", &*message("first")].concat();
    let id = relay.submit("<a@c.test>", &["<b@d.test>", "<e@d.test>"], &content);
    let (first, second) = (
        mx.wait_for_mail_to("b@d.test"),
        mx.wait_for_mail_to("e@d.test"),
    );
    let (back, other) = (path(&first.mail), path(&second.mail));
    assert!(
        back.starts_with("b+") && back.ends_with("@r.test"),
        "{back}"
    );
    assert_ne!(back, other, "each recipient has a return path of its own");
    assert_eq!((first.rcpts.len(), second.rcpts.len()), (1, 1));
    // Nobody makes one up, and the domain has no other mailboxes.
    for address in [
        "b+0123456789abcdefghijklmnopqrstuv0123456789abc@r.test",
        "b@r.test",
        "postmaster@r.test",
    ] {
        let (code, text) = rcpt(&relay, "", address);
        assert_eq!(code, 550, "{address}");
        assert!(text.contains("5.1.1"), "{text}");
    }
    // A host that changes the case, and puts somebody's name before itself.
    let upper = back.to_uppercase();
    let told = failure("b@d.test", "550 5.1.1 no such user", &header_of(&first));
    relay.submit("<mailer-daemon@mx1.test>", &[&format!("<{upper}>")], &told);
    let bounced = event(&relay, "bounced");
    for (field, value) in [
        ("queue_id", &*id),
        ("recipient", "b@d.test"),
        ("class", "bad_mailbox"),
        ("status", "5.1.1"),
        ("relay", "in.d.test"),
    ] {
        assert_eq!(bounced[field], value, "{bounced}");
    }
    assert_eq!(bounced["later"], true);
    assert_eq!(bounced["headers"]["X-Campaign"], "may");
    relay.wait_until_empty();
    let line = relay.log_line(&["relay=returns", "status=sent"]);
    assert!(
        line.contains(&format!("bounce of {id} for b@d.test: bad_mailbox")),
        "{line}"
    );
    let trace = relay.ask(&["trace", &id]);
    assert!(trace.contains("bounced for b@d.test"), "{trace}");
    eventually("it is counted", || {
        (relay.metric("ringpost_later_bounces_total", "bad_mailbox") >= 1.0
            && relay.metric("ringpost_returns_total", "bounced") >= 1.0)
            .then_some(())
    });
    assert!(is_listed(&relay, "b@d.test") && !is_listed(&relay, "e@d.test"));
    relay.kill();
    relay.restart();
    assert_eq!(
        rcpt(&relay, "a@c.test", "b@d.test").0,
        550,
        "it was on the disk"
    );
    // The key was too.
    assert_eq!(rcpt(&relay, "", &other).0, 250);
    assert_eq!(mx.messages().len(), 2, "nobody is answered");
}

#[test]
fn whoever_has_a_return_path_of_his_own_names_nobody_else() {
    let (_scene, mx, relay) = scene("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("first"));
    let back = path(&mx.wait_for_mail_to("b@d.test").mail);
    // It names somebody who never got this message: it counts for nobody.
    let told = failure(
        "victim@d.test",
        "550 5.1.1 no such user",
        "To: victim@d.test",
    );
    relay.submit("<>", &[&format!("<{back}>")], &told);
    let bounced = event(&relay, "bounced");
    assert_eq!(bounced["recipient"], Value::Null, "{bounced}");
    relay.wait_until_empty();
    assert!(!is_listed(&relay, "victim@d.test") && !is_listed(&relay, "b@d.test"));
    // Passed on to where nobody is: the address that it was sent to does not work.
    let told = failure("moved@e.test", "550 5.1.1 no such user", "To: B <B@D.test>");
    relay.submit("<>", &[&format!("<{back}>")], &told);
    eventually("it is listed", || {
        is_listed(&relay, "b@d.test").then_some(())
    });
}

#[test]
fn delays_are_noted_and_letters_go_to_whoever_wants_them() {
    let (_scene, mx, relay) = scene("returns.forward = \"ops@c.test\"");
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &message("first"));
    let back = format!("<{}>", path(&mx.wait_for_mail_to("b@d.test").mail));
    let block = "Final-Recipient: rfc822; b@d.test\nAction: delayed\nStatus: 4.4.1\n";
    relay.submit(
        "<>",
        &[&back],
        &report("delivery-status", block, "To: b@d.test"),
    );
    relay.log_line(&[&format!("delayed: {id} for b@d.test")]);
    let letter = b"From: b@d.test\r\nSubject: Re: first\r\n\r\nThank you.\r\n.\r\n";
    relay.submit("<b@d.test>", &[&back], letter);
    let forwarded = mx.wait_for_mail_to("ops@c.test");
    assert!(
        forwarded.mail.starts_with("MAIL FROM:<>"),
        "{}",
        forwarded.mail
    );
    assert!(
        forwarded.text().ends_with("Thank you.\r\n.\r\n"),
        "{}",
        forwarded.text()
    );
    assert_eq!(forwarded.text().matches("Received: ").count(), 2);
    relay.submit(
        "<x@d.test>",
        &["<Postmaster@r.test>"],
        &message("to whoever is responsible"),
    );
    eventually("the letter is forwarded too", || {
        let messages = mx.messages();
        let to_ops = messages.iter().filter(|one| one.is_for("ops@c.test"));
        (to_ops.count() == 2).then_some(())
    });
    assert!(events(&relay, "bounced").is_empty());
    assert!(!is_listed(&relay, "b@d.test"));
    assert!(relay.metric("ringpost_returns_total", "delayed") >= 1.0);
}

#[test]
fn tenants_say_where_they_seem_to_come_from_and_their_reports_say_whose_they_were() {
    let tenants = "tenants.header = \"X-Tenant\"\ntenants.tag_header = \"X-Tag\"\ntenants.remove_headers = false\n\
        tenant = [{ name = \"red\", return_domain = \"b.red.test\" }, { name = \"blue\", return_domain = \"none\" }]";
    let (_scene, mx, relay) = scene(tenants);
    let of = |tenant: &str| {
        let fields = format!("X-Tenant: {tenant}\r\nX-Tag: sale\r\n");
        [fields.as_bytes(), &message("whose")].concat()
    };
    relay.submit("<a@c.test>", &["<kept@d.test>"], &of("blue"));
    assert_eq!(path(&mx.wait_for_mail_to("kept@d.test").mail), "a@c.test");
    relay.submit("<a@c.test>", &["<b@d.test>"], &of("red"));
    let received = mx.wait_for_mail_to("b@d.test");
    let back = path(&received.mail);
    assert!(back.ends_with("@b.red.test"), "{back}");
    let told = failure("b@d.test", "550 5.1.1 gone", &header_of(&received));
    relay.submit("<>", &[&format!("<{back}>")], &told);
    let bounced = event(&relay, "bounced");
    assert_eq!(
        (&bounced["tenant"], &bounced["tag"]),
        (&"red".into(), &"sale".into())
    );
    // What we could not deliver goes to the sender as ever.
    mx.behaves(Script::new().says("RCPT TO:<no@", "550 5.1.1 unknown"));
    relay.submit("<a@c.test>", &["<no@d.test>"], &of("red"));
    mx.wait_for_mail_to("a@c.test");
}

#[test]
fn a_sender_who_wants_to_hear_of_success_hears_it_from_us() {
    let script = Script::new().with("DSN");
    let (scene, mx) = Scene::with_mx(script);
    let relay = scene.relay(RETURNS);
    let mut client = relay.client();
    client.command("EHLO c.test");
    client
        .command("MAIL FROM:<a@c.test> RET=FULL ENVID=e1")
        .is("250 ");
    client
        .command("RCPT TO:<b@d.test> NOTIFY=SUCCESS,FAILURE")
        .is("250 ");
    client.command("RCPT TO:<e@d.test> NOTIFY=NEVER").is("250 ");
    client.data(&message("told")).is("250 ");
    let first = mx.wait_for_mail_to("b@d.test");
    assert!(
        first.mail.contains("RET=HDRS") && first.mail.contains("ENVID=e1"),
        "{}",
        first.mail
    );
    assert!(
        first.rcpts[0].contains("NOTIFY=FAILURE ORCPT=rfc822;b@d.test"),
        "{:?}",
        first.rcpts
    );
    assert!(mx.wait_for_mail_to("e@d.test").rcpts[0].contains("NOTIFY=NEVER"));
    let told = mx.wait_for_mail_to("a@c.test").text();
    assert!(
        told.contains("Action: relayed") && told.contains("b@d.test"),
        "{told}"
    );
}

const COMPLAINT: &str = "Feedback-Type: abuse\nUser-Agent: provider/1\nVersion: 0.1\n";

#[test]
fn a_user_complains_and_gets_no_more_mail() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = format!(
        "{RETURNS}[[tenant]]\nname = \"red\"\n[[listener]]\nprotocol = \"smtp\"\nbind = [\"{}\"]\ntenant = \"red\"",
        setup.smtp
    );
    let relay = Relay::start(setup);
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &message("unwanted"));
    let received = mx.wait_for_mail_to("b@d.test");
    let returned = format!(
        "Return-Path: <{}>\n{}",
        path(&received.mail),
        header_of(&received)
    );
    // The provider hides its user, and the message with its return path tells all the same.
    let text = format!("{COMPLAINT}Original-Rcpt-To: redacted\n");
    relay.submit(
        "<fbl@p.test>",
        &["<FBL@r.test>"],
        &report("feedback-report", &text, &returned),
    );
    let complained = event(&relay, "complained");
    for (field, value) in [
        ("queue_id", &*id),
        ("recipient", "b@d.test"),
        ("tenant", "red"),
        ("feedback", "abuse"),
    ] {
        assert_eq!(complained[field], value, "{complained}");
    }
    relay.wait_until_empty();
    let list: Vec<Value> =
        serde_json::from_str(&relay.ask(&["suppression", "list", "--json"])).unwrap();
    assert_eq!(
        (&list[0]["address"], &list[0]["why"], &list[0]["until"]),
        (&"b@d.test".into(), &"complaint".into(), &Value::Null)
    );
    assert_eq!(rcpt(&relay, "a@c.test", "b@d.test").0, 550);
    eventually("it is counted", || {
        (relay.metric("ringpost_complaints_total", "tenant=\"red\"") >= 1.0).then_some(())
    });
}

#[test]
fn complaints_of_strangers_count_where_they_prove_something_and_nowhere_else() {
    let (_scene, mx, relay) = scene("");
    let about = |address: &str| {
        let text = format!("{COMPLAINT}Original-Rcpt-To: <{address}>\n");
        report("feedback-report", &text, "To: somebody@d.test")
    };
    relay.submit("<fbl@p.test>", &["<fbl@r.test>"], &about("victim@d.test"));
    relay.log_line(&["relay=returns", "a complaint that nothing proves"]);
    assert!(!is_listed(&relay, "victim@d.test"));
    relay.submit("<fbl@p.test>", &["<fbl@r.test>"], &message("buy this"));
    relay.log_line(&["relay=returns", "no complaint: dropped"]);
    // "This is no spam" is none either.
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("wanted"));
    let back = path(&mx.wait_for_mail_to("b@d.test").mail);
    let text = "Feedback-Type: not-spam\nUser-Agent: p/1\nVersion: 1\n";
    relay.submit(
        "<>",
        &["<fbl@r.test>"],
        &report(
            "feedback-report",
            text,
            &format!("Return-Path: <{back}>\nTo: b@d.test"),
        ),
    );
    relay.log_line(&["relay=returns", "feedback: not-spam"]);
    never("anybody is listed", || is_listed(&relay, "b@d.test"));
    assert!(events(&relay, "complained").is_empty());
    assert!(relay.metric("ringpost_returns_total", "unproved") >= 1.0);
}

/// A relay whose clients are named by a balancer, and that believes p.test and 192.0.2.0/28.
fn careful(scene: &Scene) -> Relay {
    let mut setup = scene.config("");
    setup.extra = format!(
        "{RETURNS}returns.reporters = [\"192.0.2.0/28\", \"p.test\"]\nreturns.recipient_header = \"X-Was-For\"\n\
         [[listener]]\nprotocol = \"smtp\"\nbind = [\"{}\"]\nproxy_protocol = true\nverify = true\n",
        setup.smtp
    );
    Relay::start(setup)
}

fn from(relay: &Relay, client: Ipv4Addr, content: &[u8]) {
    let mut visit = Client::dial(relay.setup.smtp);
    visit.send(format!("PROXY TCP4 {client} 192.0.2.25 4242 25\r\n"));
    visit.reply().is("220 ");
    visit.command("EHLO out.p.test").is("250 ");
    visit
        .submit("<fbl@p.test>", &["<fbl@r.test>"], content)
        .is("250 ");
}

#[test]
fn providers_that_the_operator_trusts_name_their_users() {
    let scene = Scene::new();
    let key = Key::parse(&Key::generate(Kind::Ed25519).unwrap()).unwrap();
    scene.dns.txt("s1._domainkey.mail.p.test", &key.record());
    let mut signers = Signers::default();
    signers.add("mail.p.test", "s1", key);
    let relay = careful(&scene);
    let (near, far) = (Ipv4Addr::new(192, 0, 2, 3), Ipv4Addr::new(192, 0, 2, 99));
    let about = |address: &str| {
        let text = format!("{COMPLAINT}Original-Rcpt-To: <{address}>\n");
        let report = report("feedback-report", &text, "To: somebody@d.test");
        [
            b"From: fbl@mail.p.test\r\n",
            &report[report.iter().position(|b| *b == b'\n').unwrap() + 1..],
        ]
        .concat()
    };
    // By its network.
    from(&relay, near, &about("one@d.test"));
    eventually("one is listed", || {
        is_listed(&relay, "one@d.test").then_some(())
    });
    assert_eq!(event(&relay, "complained")["relay"], "192.0.2.0/28");
    // By its signature, wherever it comes from.
    let content = about("two@d.test");
    let signed = [&signers.sign(&content).unwrap(), &*content].concat();
    from(&relay, far, &signed);
    eventually("two is listed", || {
        is_listed(&relay, "two@d.test").then_some(())
    });
    assert!(relay.metric("ringpost_complaints_total", "reporter=\"p.test\"") >= 1.0);
    // A provider that sends the message alone, and says in a field whom it was for.
    let bare = b"From: staff@p.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nX-Was-For: <three@d.test>\r\nSubject: a\r\n\r\nb\r\n--b--\r\n";
    from(&relay, near, bare);
    eventually("three is listed", || {
        is_listed(&relay, "three@d.test").then_some(())
    });
    // With neither, and with a field that only we may write.
    let forged = [b"X-Ringpost-Reporter: p.test\r\n", &*about("four@d.test")].concat();
    from(&relay, far, &forged);
    relay.log_line(&["a complaint that nothing proves"]);
    assert!(!is_listed(&relay, "four@d.test"));
}

#[test]
fn one_report_to_many_spellings_of_an_address_tells_one_thing() {
    let (_scene, mx, relay) = scene("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("first"));
    let back = path(&mx.wait_for_mail_to("b@d.test").mail);
    let spellings = [
        back.clone(),
        back.to_uppercase(),
        back.replacen("b+", "B+", 1),
    ];
    let spellings = spellings.map(|one| format!("<{one}>"));
    let told = failure("b@d.test", "550 5.1.1 gone", "To: b@d.test");
    relay.submit("<>", &spellings.each_ref().map(String::as_str), &told);
    relay.wait_until_empty();
    event(&relay, "bounced");
    never("it is told again", || events(&relay, "bounced").len() > 1);
}

#[test]
fn a_reload_ends_and_begins_it() {
    let (_scene, mx, mut relay) = scene("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("first"));
    let back = path(&mx.wait_for_mail_to("b@d.test").mail);
    let extra = relay
        .setup
        .extra
        .replace("returns.domain = \"r.test\"\n", "")
        .replace("returns.feedback = [\"fbl@r.test\"]\n", "");
    let before = std::mem::replace(&mut relay.setup.extra, extra);
    relay.write_config();
    relay.ask(&["reload"]);
    relay.submit("<a@c.test>", &["<e@d.test>"], &message("second"));
    assert_eq!(path(&mx.wait_for_mail_to("e@d.test").mail), "a@c.test");
    relay.setup.extra = before;
    relay.write_config();
    relay.ask(&["reload"]);
    assert_eq!(rcpt(&relay, "", &back).0, 250);
    let explained = relay.ask(&["explain", &back]);
    assert!(explained.contains("returns"), "{explained}");
}
