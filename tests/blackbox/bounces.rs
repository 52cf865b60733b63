//! What refusals mean: classes in metrics, events and the queue, by rules that users can add to.

use std::fs;

use serde_json::Value;

use crate::support::{Relay, Scene, Script, eventually, message};

fn events(relay: &Relay, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(relay.data().join("events.jsonl")).unwrap_or_default();
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|one| one["event"] == kind).collect()
}

#[test]
fn hosts_refuse_for_reasons_that_are_told_apart() {
    let script = Script::new()
        .says("RCPT TO:<gone@", "550 5.1.1 no such user")
        .says("RCPT TO:<full@", "452 4.2.2 over quota")
        .says("RCPT TO:<grey@", "450 4.7.1 greylisted, come back later");
    let (scene, _mx) = Scene::with_mx(script);
    let relay = scene.relay("queue.retry = [\"1h\"]\nevents.log = \"events.jsonl\"");
    let recipients = ["<gone@d.test>", "<full@d.test>", "<grey@d.test>"];
    let id = relay.submit("<a@c.test>", &recipients, &message("refused"));
    let bounced = eventually("the bounce is told", || events(&relay, "bounced").pop());
    assert_eq!(
        (&bounced["recipient"], &bounced["class"]),
        (&"gone@d.test".into(), &"bad_mailbox".into())
    );
    let deferred = eventually("both delays are told", || {
        let deferred = events(&relay, "deferred");
        (deferred.len() == 2).then_some(deferred)
    });
    let classes: Vec<&Value> = deferred.iter().map(|one| &one["class"]).collect();
    assert_eq!(classes, ["quota", "greylist"]);
    let count = |name: &str, class: &str| {
        relay.metric(
            &format!("ringpost_{name}_total"),
            &format!("class=\"{class}\""),
        )
    };
    assert_eq!(
        [count("bounces", "bad_mailbox"), count("bounces", "quota")],
        [1.0, 0.0]
    );
    assert_eq!(
        [count("deferrals", "quota"), count("deferrals", "greylist")],
        [1.0, 1.0]
    );
    let shown = relay.ask(&["queue", "show", &id]);
    assert!(
        shown.contains("class     quota") && shown.contains("class     greylist"),
        "{shown}"
    );
}

#[test]
fn an_operator_has_rules_of_his_own_and_mends_them() {
    let (scene, _mx) = Scene::with_mx(Script::new().says("RCPT", "550 5.1.1 Konto gesperrt"));
    let mut relay = Relay::prepare(scene.config(""));
    let file = relay.config_path().with_file_name("bounces.toml");
    relay.setup.extra = format!("bounces.rules = {file:?}\nevents.log = \"events.jsonl\"");
    let rule = |class: &str, example: &str| {
        let text = format!(
            "[[rule]]\nclass = \"{class}\"\ntext = \"gesperrt\"\nexamples = [\"{example}\"]\n"
        );
        // At once: what is half written is no file of rules.
        let draft = file.with_extension("new");
        fs::write(&draft, text).expect("written");
        fs::rename(draft, &file).expect("renamed");
    };
    rule("inactive", "550 unknown");
    relay.write_config();
    let checked = relay.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    assert!(
        said.contains("line 4: examples: ") && said.contains("not for inactive"),
        "{said}"
    );
    rule("inactive", "550 5.1.1 Konto gesperrt");
    relay.restart();
    let meaning = || relay.ask(&["bounces", "550 5.1.1 Konto gesperrt"]);
    assert_eq!(meaning(), "inactive\n");
    assert_eq!(
        relay.ask(&["bounces", "550 5.1.1 unknown"]),
        "bad_mailbox\n"
    );
    let bounced = |count: usize| {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message("refused"));
        eventually("the bounce is told", || {
            let bounced = events(&relay, "bounced");
            let one = bounced
                .into_iter()
                .filter(|one| one["recipient"] == "b@d.test")
                .nth(count);
            one.map(|one| one["class"].clone())
        })
    };
    assert_eq!(bounced(0), "inactive");
    rule("policy", "550 5.1.1 Konto gesperrt");
    relay.log_line(&["changed: done"]);
    assert_eq!(bounced(1), "policy");
}
