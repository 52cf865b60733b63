//! Mail for users here: who has which address, what lies in the mailbox, and what a kill leaves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::support::{Relay, Report, Scene, Script, eventually, message};

const ROUTE: &str = "route = [{ domain = \"d.test\", to = \"mailbox\" }]\n";

/// A relay that trusts nobody and has mailboxes for `users`.
pub fn relay(scene: &Scene, users: &[&str], extra: &str) -> Relay {
    let relay = scene.relay(&format!("smtp.trusted_networks = []\n{ROUTE}{extra}"));
    for user in users {
        command(&relay, &["user", "add", user]);
    }
    relay
}

pub fn command(relay: &Relay, arguments: &[&str]) {
    let output = relay.run_with(arguments, "secret\n");
    assert!(output.status.success(), "{output:?}");
}

/// Waits until an address is taken: the relay looks at its files once a second.
pub fn until_known(relay: &Relay, address: &str) {
    eventually("the relay knows the address", || {
        let mut client = relay.client();
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        (client.command(&format!("RCPT TO:<{address}>")).code == 250).then_some(())
    });
}

pub fn maildir(relay: &Relay, user: &str) -> PathBuf {
    relay.data().join("mailboxes").join(user)
}

/// The messages in a Maildir, by file name.
fn mail_in(maildir: &std::path::Path) -> BTreeMap<String, String> {
    let mut mail = BTreeMap::new();
    for place in ["new", "cur"] {
        for file in std::fs::read_dir(maildir.join(place)).into_iter().flatten() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            mail.insert(name, std::fs::read_to_string(file.path()).unwrap());
        }
    }
    mail
}

pub fn wait_for(maildir: &std::path::Path, count: usize) -> BTreeMap<String, String> {
    eventually("the mail arrives", || {
        let mail = mail_in(maildir);
        (mail.len() >= count).then_some(mail)
    })
}

#[test]
fn mail_for_a_user_lies_in_a_maildir_as_other_programs_write_it() {
    let scene = Scene::new();
    let relay = relay(&scene, &["ann@d.test"], "");
    until_known(&relay, "ann@d.test");
    let content = b"Subject: dots\r\n\r\n.one\r\n..two\r\n.\x20\r\n";
    relay
        .client()
        .submit("<s@c.test>", &["<Ann@D.test>"], content)
        .is("250 ");
    let mail = wait_for(&maildir(&relay, "ann@d.test"), 1);
    let (name, text) = mail.iter().next().unwrap();
    let body = "\nSubject: dots\n\n.one\n..two\n. \n";
    assert!(
        text.starts_with("Return-Path: <s@c.test>\nDelivered-To: ann@d.test\nReceived: from "),
        "{text}"
    );
    assert!(text.ends_with(body) && !text.contains('\r'), "{text:?}");
    let lines = text.matches('\n').count();
    let sizes = format!(",S={},W={}", text.len(), text.len() + lines);
    assert!(name.ends_with(&sizes), "{name} {sizes}");
    relay.wait_until_empty();
    relay.log_line(&["to=<Ann@d.test>", "relay=mailbox", "status=sent"]);
}

#[test]
fn addresses_lead_where_users_and_aliases_say_and_nowhere_else() {
    let scene = Scene::new();
    let users = ["ann@d.test", "bob@d.test"];
    let relay = relay(&scene, &users, "mailboxes.subaddress = \"folder\"\n");
    command(&relay, &["alias", "add", "all@d.test", users[0], users[1]]);
    until_known(&relay, "all@d.test");
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<nobody@d.test>").is("550 5.1.1 ");
    client.command("RCPT TO:<b@elsewhere.test>").is("5");
    client.command("RCPT TO:<postmaster>").is("250 ");
    client.command("RCPT TO:<postmaster@d.test>").is("250 ");
    client.command("RSET").is("250 ");
    let folder = maildir(&relay, "bob@d.test").join(".Lists");
    for place in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(folder.join(place)).unwrap();
    }
    let submit = |client: &mut crate::support::Client, recipients: &[&str], subject| {
        client
            .submit("<a@c.test>", recipients, &message(subject))
            .is("250 ");
    };
    // Once for each mailbox, whatever leads there.
    submit(&mut client, &["<all@d.test>", "<bob@d.test>"], "both");
    submit(&mut client, &["<bob+lists@d.test>"], "tagged");
    submit(&mut client, &["<bob+other@d.test>"], "untagged");
    submit(&mut client, &["<postmaster>"], "postmaster");
    let bob = wait_for(&maildir(&relay, "bob@d.test"), 2);
    let ann = wait_for(&maildir(&relay, "ann@d.test"), 2);
    let tagged = wait_for(&folder, 1);
    relay.wait_until_empty();
    let has = |mail: &BTreeMap<String, String>, words: &str| {
        mail.values().filter(|text| text.contains(words)).count()
    };
    assert_eq!((bob.len(), ann.len(), tagged.len()), (2, 2, 1));
    assert_eq!((has(&bob, "both"), has(&bob, "untagged")), (1, 1));
    assert_eq!((has(&ann, "both"), has(&ann, "postmaster")), (1, 1));
    assert_eq!(has(&tagged, "Delivered-To: bob+lists@d.test"), 1);
    command(&relay, &["alias", "add", "@d.test", "ann@d.test"]);
    until_known(&relay, "nobody@d.test");
}

#[test]
fn a_full_mailbox_is_said_to_be_full_and_takes_mail_again_later() {
    let scene = Scene::new();
    let extra = "mailboxes.quota = \"2KiB\"\nqueue.retry = [\"1s\"]\n";
    let relay = relay(&scene, &["ann@d.test"], extra);
    until_known(&relay, "ann@d.test");
    let place = maildir(&relay, "ann@d.test");
    for subject in ["first", "second"] {
        let content = format!("Subject: {subject}\r\n\r\n{}\r\n", "x".repeat(900));
        relay
            .client()
            .submit("<a@c.test>", &["<ann@d.test>"], content.as_bytes())
            .is("250 ");
        if subject == "first" {
            wait_for(&place, 1);
        }
    }
    relay.log_line(&["to=<ann@d.test>", "dsn=4.2.2", "status=deferred"]);
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<ann@d.test>").is("452 4.2.2 ");
    // Another program makes room; nobody told us.
    for file in std::fs::read_dir(place.join("new")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let mail = eventually("the mail is tried again", || {
        let mail = mail_in(&place);
        (mail.len() == 1).then_some(mail)
    });
    assert!(mail.values().all(|text| text.contains("Subject: second")));
}

#[test]
fn mail_that_comes_at_the_same_moment_does_not_overfill_a_mailbox() {
    let scene = Scene::new();
    let extra = "mailboxes.quota = \"4KiB\"\nqueue.retry = [\"1h\"]\n";
    let relay = relay(&scene, &["ann@d.test"], extra);
    until_known(&relay, "ann@d.test");
    let mut clients: Vec<_> = (0..12).map(|_| relay.client()).collect();
    for client in &mut clients {
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        client.command("RCPT TO:<ann@d.test>").is("250 ");
    }
    let content = format!("Subject: many\r\n\r\n{}\r\n", "x".repeat(900));
    let content = content.as_bytes();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || client.data(content).is("250 ").queue_id());
        }
    });
    let place = maildir(&relay, "ann@d.test");
    let mail = wait_for(&place, 3);
    relay.log_line(&["to=<ann@d.test>", "dsn=4.2.2", "status=deferred"]);
    let octets: usize = mail
        .values()
        .map(|text| text.replace('\n', "\r\n").len())
        .sum();
    assert!(
        mail.len() == 3 && octets <= 4096,
        "{octets} octets: {mail:?}"
    );
}

#[test]
fn what_was_answered_is_in_the_mailbox_once_however_often_the_relay_is_killed() {
    let scene = Scene::new();
    let mut relay = relay(&scene, &["ann@d.test"], "queue.retry = [\"1s\"]\n");
    until_known(&relay, "ann@d.test");
    let mut answered = 0;
    for round in 0..5 {
        let mut client = relay.client();
        for number in 0..20 + round * 7 {
            let content = message(&format!("r{round}n{number}e"));
            client
                .submit("<a@c.test>", &["<ann@d.test>"], &content)
                .is("250 ");
            answered += 1;
        }
        relay.kill();
        relay.restart();
    }
    relay.wait_until_empty();
    let mail = wait_for(&maildir(&relay, "ann@d.test"), answered);
    assert_eq!(mail.len(), answered, "a second copy");
    for round in 0..5 {
        for number in 0..20 + round * 7 {
            let words = format!("r{round}n{number}e");
            let copies = mail.values().filter(|text| text.contains(&words)).count();
            assert_eq!(copies, 1, "{words}");
        }
    }
}

#[test]
fn aliases_that_lead_in_a_circle_or_nowhere_are_refused() {
    let scene = Scene::new();
    let relay = relay(&scene, &["ann@d.test"], "");
    command(&relay, &["alias", "add", "a@d.test", "ann@d.test"]);
    command(&relay, &["alias", "add", "b@d.test", "a@d.test"]);
    let circle = relay.run(&["alias", "add", "a@d.test", "b@d.test"]);
    assert_eq!(circle.status.code(), Some(65), "{circle:?}");
    let nowhere = relay.run(&["alias", "add", "c@d.test", "gone@d.test"]);
    assert_eq!(nowhere.status.code(), Some(65), "{nowhere:?}");
    let listed = relay.ask(&["alias", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["alias"], "a@d.test");
    assert_eq!(listed[1]["targets"], serde_json::json!(["a@d.test"]));
    assert_eq!(listed.as_array().unwrap().len(), 2);
    // By hand, past the command.
    let file = relay.data().join("users.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let circle = text.replace(
        "\"a@d.test\" = [\"ann@d.test\"]",
        "\"a@d.test\" = [\"b@d.test\"]",
    );
    assert_ne!(circle, text);
    std::fs::write(&file, circle).unwrap();
    let checked = relay.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("leads back to itself"), "{said}");
    command(&relay, &["alias", "remove", "a@d.test"]);
    assert!(relay.run(&["check"]).status.success());
}

#[test]
fn bounces_are_copied_into_a_folder_for_whoever_looks_after_them() {
    let scene = Scene::new();
    let _far = scene.mx(1, Script::new().says("RCPT TO:<nobody", "550 5.1.1 nobody"));
    let home = scene.mx(2, Script::new());
    scene.dns.mx("far.test", &[(10, "mx1.test")]);
    scene.dns.mx("c.test", &[(10, "mx2.test")]);
    let relay = scene.relay(&format!(
        "queue.bounce_copy = \"ann+Bounces@d.test\"\nmailboxes.subaddress = \"folder\"\n{ROUTE}"
    ));
    command(&relay, &["user", "add", "ann@d.test"]);
    until_known(&relay, "ann@d.test");
    let folder = maildir(&relay, "ann@d.test").join(".Bounces");
    for place in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(folder.join(place)).unwrap();
    }
    let submit = |sender: &str, recipient: &str| {
        let recipients = [recipient];
        let content = message("fails");
        relay
            .client()
            .submit(sender, &recipients, &content)
            .is("250 ");
    };
    submit("<a@c.test>", "<nobody@far.test>");
    home.wait_for_mail_to("a@c.test");
    let copies = wait_for(&folder, 1);
    let text = copies.values().next().unwrap();
    assert!(
        text.contains("Action: failed") && text.contains("Return-Path: <>"),
        "{text}"
    );
    // Whoever looks after them hears of an own failure once; success is nobody else's business.
    submit("<ann+Bounces@d.test>", "<nobody@far.test>");
    submit("<a@c.test>", "<ann@d.test> NOTIFY=SUCCESS");
    wait_for(&folder, 2);
    relay.wait_until_empty();
    assert_eq!((wait_for(&folder, 2).len(), home.messages().len()), (2, 2));
}

#[test]
fn success_in_a_mailbox_is_called_delivered() {
    let scene = Scene::new();
    let home = scene.mx(1, Script::new());
    scene.dns.mx("c.test", &[(10, "mx1.test")]);
    let relay = relay(&scene, &["ann@d.test"], "");
    until_known(&relay, "ann@d.test");
    relay
        .client()
        .submit(
            "<a@c.test>",
            &["<ann@d.test> NOTIFY=SUCCESS"],
            &message("reported"),
        )
        .is("250 ");
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    let recipient = report.recipient("ann@d.test");
    assert_eq!(
        (recipient.field("Action"), recipient.field("Status")),
        ("delivered", "2.0.0"),
        "RFC 3464 §2.3.3"
    );
    assert_eq!(
        recipient.field("Diagnostic-Code"),
        "x-ringpost; delivered to mailbox"
    );
    assert!(
        report.words.contains("It was delivered."),
        "{}",
        report.words
    );
}
