//! Who gets no mail any more: learnt from refusals, or named by an operator.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Relay, Scene, Script, eventually, message, never};

fn rcpt(relay: &Relay, sender: &str, address: &str) -> (u16, String) {
    let mut client = relay.client();
    client.command("EHLO c.test");
    client.command(&format!("MAIL FROM:<{sender}>"));
    let reply = client.command(&format!("RCPT TO:<{address}>"));
    (reply.code, reply.text())
}

fn listed(relay: &Relay) -> Vec<Value> {
    let text = relay.ask(&["suppression", "list", "--json"]);
    serde_json::from_str(&text).expect("a list")
}

#[test]
fn a_mailbox_that_does_not_exist_gets_no_second_message_not_even_after_a_crash() {
    let script = Script::new().says("RCPT TO:<gone@", "550 5.1.1 no such user");
    let (scene, mx) = Scene::with_mx(script);
    let mut relay = scene.relay("suppression.on = [\"bad_mailbox\"]\nsuppression.for = \"30d\"");
    relay.submit(
        "<a@c.test>",
        &["<gone@d.test>", "<here@d.test>"],
        &message("first"),
    );
    mx.wait_for_mail_to("a@c.test");
    eventually("it is on the list", || {
        (listed(&relay).len() == 1).then_some(())
    });
    let (code, text) = rcpt(&relay, "a@c.test", "Gone@d.test");
    assert_eq!(code, 550);
    assert!(
        text.contains("5.1.1") && text.contains("suppression list"),
        "{text}"
    );
    assert_eq!(
        rcpt(&relay, "", "gone@d.test").0,
        250,
        "reports are no mailing"
    );
    assert_eq!(rcpt(&relay, "a@c.test", "here@d.test").0, 250);
    relay.kill();
    relay.restart();
    let entry = &listed(&relay)[0];
    assert_eq!(
        (&entry["address"], &entry["why"]),
        (&"gone@d.test".into(), &"bad_mailbox".into())
    );
    let (at, until) = (entry["at"].as_i64(), entry["until"].as_i64());
    assert_eq!(
        until.zip(at).map(|(until, at)| until - at),
        Some(30 * 86_400)
    );
    assert!(
        entry["text"]
            .as_str()
            .is_some_and(|said| said.contains("no such user")),
        "{entry}"
    );
    assert_eq!(rcpt(&relay, "a@c.test", "gone@d.test").0, 550);
    let checked = relay.run(&["suppression", "check", "gone@d.test"]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(
        relay.ask(&["suppression", "remove", "gone@d.test"]),
        "1 removed\n"
    );
    assert_eq!(rcpt(&relay, "a@c.test", "gone@d.test").0, 250);
    assert!(
        relay
            .ask(&["suppression", "check", "gone@d.test"])
            .contains("gets mail")
    );
}

#[test]
fn mail_that_waits_fails_for_an_address_that_got_onto_the_list_meanwhile() {
    let script = Script::new().says("RCPT TO:<b@", "451 4.2.1 not now");
    let (scene, mx) = Scene::with_mx(script);
    let relay = scene.relay("suppression.action = \"fail\"\nqueue.retry = [\"1s\"]");
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &message("waits"));
    relay.log_line(&[&id, "status=deferred"]);
    assert_eq!(
        relay.ask(&["suppression", "add", "b@d.test", "--note", "by phone"]),
        "1 added\n"
    );
    let line = relay.log_line(&[&id, "status=bounced"]);
    assert!(
        line.contains("dsn=5.1.1") && line.contains("b@d.test is on the suppression list"),
        "{line}"
    );
    let report = mx.wait_for_mail_to("a@c.test").text();
    assert!(report.contains("suppression list"), "{report}");
    assert_eq!(
        rcpt(&relay, "a@c.test", "b@d.test").0,
        250,
        "it is taken, and fails"
    );
    eventually("it is counted", || {
        (relay.metric("ringpost_bounces_total", "class=\"suppressed\"") >= 1.0).then_some(())
    });
    assert!(relay.ask(&["suppression", "list"]).contains("by phone"));
    let record = std::fs::read_to_string(relay.data().join("audit.jsonl")).expect("a record");
    let lines = record
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let ours: Vec<Value> = lines.filter(|line| line["act"] == "suppress").collect();
    assert_eq!(ours.len(), 2, "before and behind: {record}");
    assert_eq!(
        (&ours[0]["address"], &ours[0]["addresses"]),
        (&"b@d.test".into(), &1.into())
    );
    assert_eq!(ours[1]["outcome"], 1);
}

#[test]
fn one_refusal_is_not_enough_where_two_are_wanted_and_full_mailboxes_never_count() {
    let script = Script::new()
        .says("RCPT TO:<gone@", "550 5.1.1 no such user")
        .says("RCPT TO:<full@", "552 5.2.2 over quota");
    let (scene, mx) = Scene::with_mx(script);
    let mut relay = scene.relay("suppression.on = [\"bad_mailbox\"]\nsuppression.after = 2");
    let send = |relay: &Relay, count: usize| {
        relay.submit(
            "<a@c.test>",
            &["<gone@d.test>", "<full@d.test>"],
            &message("again"),
        );
        mx.wait_for(count);
    };
    send(&relay, 1);
    never("one is enough", || !listed(&relay).is_empty());
    assert_eq!(rcpt(&relay, "a@c.test", "gone@d.test").0, 250);
    // How many there were is kept too.
    relay.terminate();
    relay.restart();
    send(&relay, 2);
    eventually("the second is enough", || {
        (listed(&relay).len() == 1).then_some(())
    });
    assert_eq!(rcpt(&relay, "a@c.test", "gone@d.test").0, 550);
    assert_eq!(rcpt(&relay, "a@c.test", "full@d.test").0, 250);
    relay.setup.extra = "suppression.action = \"off\"".to_owned();
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    assert_eq!(rcpt(&relay, "a@c.test", "gone@d.test").0, 250);
}

#[test]
fn a_list_is_imported_and_read_page_by_page() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let lines: Vec<String> = (0..2_500)
        .map(|number| format!("u{number}@d.test,x"))
        .collect();
    let text = format!("email,name\n{}\n", lines.join("\n"));
    let output = relay.run_with(
        &["suppression", "import", "-", "--why", "unsubscribed"],
        &text,
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "2500 added\n",
        "{output:?}"
    );
    let page = |query: &str| -> Value {
        let (status, text) = relay
            .fetch(&format!("/api/v1/suppressions?{query}"))
            .expect("an answer");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    let first = page("limit=1000&why=unsubscribed");
    assert_eq!(
        (&first["total"], first["entries"].as_array().map(Vec::len)),
        (&json!(2500), Some(1000))
    );
    let second = page(&format!("limit=2000&after={}", first["next"]));
    assert_eq!(second["entries"].as_array().map(Vec::len), Some(1500));
    assert_eq!(second["next"], Value::Null);
    assert_eq!(page("why=manual")["entries"], json!([]));
    assert_eq!(
        page("address=U7@d.test")["entries"][0]["why"],
        "unsubscribed"
    );
    assert_eq!(listed(&relay).len(), 2_500);
    let output = relay.run(&["suppression", "add", "nobody"]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert_eq!(rcpt(&relay, "a@c.test", "u2499@d.test").0, 550);
}
