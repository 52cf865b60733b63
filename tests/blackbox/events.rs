//! What other programs are told of messages: the event log and webhooks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::hook::{Hook, SECRET};
use crate::support::{Mx, Relay, Scene, Script, eventually, message, never};

/// A relay with an event log, and a webhook that answers like this.
fn scene(script: Script, status: u16, extra: &str) -> (Scene, Mx, Hook, Relay) {
    let (scene, mx) = Scene::with_mx(script);
    let at = (scene.net.host(80), scene.net.free_port(80));
    let hook = Hook::start(at.into(), status);
    let mut relay = Relay::prepare(scene.config(""));
    let home = relay
        .config_path()
        .parent()
        .expect("a directory")
        .to_owned();
    let secret = home.join("secret");
    fs::write(&secret, SECRET).expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("set");
    relay.setup.extra = format!(
        "events.log = \"events.jsonl\"\nevents.headers = [\"X-Tenant\"]\n{extra}\n\
         [[webhook]]\nurl = \"http://{}/events\"\nsecret_file = {secret:?}\nbatch_wait = \"50ms\"",
        hook.address
    );
    relay.restart();
    (scene, mx, hook, relay)
}

fn logged(relay: &Relay) -> Vec<Value> {
    let text = fs::read_to_string(relay.data().join("events.jsonl")).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().expect("a kind"))
        .collect()
}

/// Waits until the hook has taken these kinds of events, and says which they were.
#[track_caller]
fn await_kinds(hook: &Hook, wanted: &[&str]) -> Vec<Value> {
    eventually(&format!("events {wanted:?}"), || {
        let taken = hook.taken();
        (kinds(&taken) == wanted).then_some(taken)
    })
}

#[test]
fn a_message_goes_its_way_and_programs_hear_of_each_step() {
    let script = Script::new()
        .says("RCPT TO:<no@", "550 5.1.1 unknown")
        .says("RCPT TO:<late@", "451 4.2.1 not now")
        .times(1);
    let (_scene, mx, hook, relay) = scene(script, 200, "");
    let content = b"X-Tenant: blue\r\n\tteam\r\nMessage-ID: <1@c.test>\r\nSubject: a\r\n\r\nb\r\n";
    let id = relay.submit("<a@c.test>", &["<late@d.test>", "<no@d.test>"], content);
    mx.wait_for_mail_to("late@d.test");
    mx.wait_for_mail_to("a@c.test");
    // The report to the sender is a message too.
    let taken = eventually("all events", || {
        let taken = hook.taken();
        (taken.len() == 6).then_some(taken)
    });
    let logged = eventually("the same in the log", || {
        let logged = logged(&relay);
        (logged.len() == 6).then_some(logged)
    });
    assert_eq!(logged, taken);
    let (ours, report): (Vec<_>, Vec<_>) = taken.into_iter().partition(|one| one["queue_id"] == id);
    for event in &ours {
        assert_eq!(event["headers"]["X-Tenant"], "blue team", "{event}");
        assert_eq!(event["message_id"], "<1@c.test>");
        assert_eq!(event["sender"], "a@c.test");
        assert_eq!(event["size"], content.len());
    }
    check_each_step(&ours);
    assert_eq!(report[0]["sender"], "");
    assert_eq!(report[0]["recipients"], json!(["a@c.test"]));
    assert_eq!(relay.metric("ringpost_events_total", ""), 6.0);
    assert_eq!(relay.metric("ringpost_webhook_events_total", ""), 6.0);
    assert_eq!(relay.metric("ringpost_events_lost_total", ""), 0.0);
}

fn check_each_step(events: &[Value]) {
    let of = |kind: &str| {
        let mut found = events.iter().filter(|event| event["event"] == kind);
        found.next().expect("an event of this kind")
    };
    let has = |value: &Value, words: &str| value.as_str().is_some_and(|is| is.contains(words));
    let accepted = of("accepted");
    assert_eq!(accepted["recipients"], json!(["late@d.test", "no@d.test"]));
    assert!(accepted["stages"]["commit_wait"].is_number(), "{accepted}");
    assert!(has(&accepted["client"], "127."), "{accepted}");
    let delivered = of("delivered");
    assert_eq!(delivered["recipient"], "late@d.test");
    assert_eq!(delivered["destination"], "d.test");
    assert_eq!(delivered["status"], "2.0.0");
    assert!(
        delivered["stages"]["dot_to_reply"].is_number(),
        "{delivered}"
    );
    assert!(delivered["delay"].as_f64().is_some_and(|delay| delay > 0.2));
    assert!(has(&delivered["relay"], "mx1.test["), "{delivered}");
    let bounced = of("bounced");
    assert_eq!(bounced["recipient"], "no@d.test");
    assert_eq!(bounced["status"], "5.1.1");
    assert!(has(&bounced["reply"], "unknown"), "{bounced}");
    assert_eq!(of("deferred")["status"], "4.2.1");
}

#[test]
fn an_operator_removes_and_bounces_and_time_is_over() {
    let script = Script::new().says("MAIL", "451 4.3.0 not now");
    let (_scene, _mx, hook, mut relay) = scene(script, 200, "");
    // Read from the disk once more, a large one's header too.
    let large = [b"X-Tenant: red\r\n\r\n".to_vec(), b"x\r\n".repeat(100_000)].concat();
    let content = message("never");
    let removed = relay.submit("<a@c.test>", &["<r@d.test>"], &large);
    let bounced = relay.submit("<>", &["<b@d.test>"], &content);
    let expired = relay.submit("<>", &["<e@d.test>"], &content);
    eventually("each was tried", || {
        let tried = relay
            .queue()
            .iter()
            .filter(|one| one["recipients"][0]["reason"].is_string())
            .count();
        (tried == 3).then_some(())
    });
    relay.ask(&["queue", "remove", "--for-good", &removed]);
    relay.ask(&["queue", "bounce", &bounced]);
    relay.setup.extra = relay
        .setup
        .extra
        .replace("[[webhook]]", "queue.expire = \"1s\"\n[[webhook]]");
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.wait_until_empty();
    let end = |kind: &str, id: &str| {
        eventually(&format!("{id} {kind}"), || {
            let taken = hook.taken();
            taken
                .into_iter()
                .find(|event| event["event"] == kind && event["queue_id"] == id)
        })
    };
    let event = end("removed", &removed);
    assert_eq!(
        (&event["sender"], &event["recipient"]),
        (&"a@c.test".into(), &"r@d.test".into())
    );
    assert_eq!(event["headers"]["X-Tenant"], "red", "{event}");
    let event = end("bounced", &bounced);
    assert_eq!(
        (&event["recipient"], &event["reply"]),
        (&"b@d.test".into(), &"bounced by operator".into())
    );
    let event = end("expired", &expired);
    assert_eq!(
        (&event["recipient"], &event["destination"]),
        (&"e@d.test".into(), &"d.test".into())
    );
    assert!(
        event["reply"]
            .as_str()
            .is_some_and(|reply| reply.contains("not now")),
        "{event}"
    );
}

#[test]
fn a_hook_fails_and_the_relay_is_killed_and_no_event_is_lost() {
    let (_scene, mx, hook, mut relay) = scene(Script::new(), 503, "");
    for number in 0..5 {
        relay.submit(
            "<a@c.test>",
            &["<b@d.test>"],
            &message(&format!("m{number}")),
        );
    }
    mx.wait_for(5);
    eventually("two tries", || (hook.posted().len() >= 2).then_some(()));
    assert!(hook.taken().is_empty());
    let tries = hook.posted();
    assert_eq!(
        tries[0].id, tries[1].id,
        "the same events under the same id"
    );
    assert_eq!(tries[0].events, tries[1].events);
    eventually("all are written", || {
        (logged(&relay).len() == 10).then_some(())
    });
    relay.log_line(&["warning: webhook at 127.", "it answers 503"]);
    relay.kill();
    hook.answers(200);
    relay.restart();
    let taken = eventually("all are taken", || {
        let taken = hook.taken();
        (taken.len() == 10).then_some(taken)
    });
    assert_eq!(taken, logged(&relay), "each once, and in order");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("after"));
    eventually("events go on", || (hook.taken().len() == 12).then_some(()));
    // What was taken is not told again by another life.
    let before = hook.posted().len();
    let (status, _) = relay.terminate();
    assert!(status.success());
    relay.restart();
    never("events come once more", || hook.posted().len() > before);
}

#[test]
fn a_hook_stays_away_and_its_spool_stays_small() {
    let extra = "events.spool = \"256KiB\"\nevents.log_size = \"64KiB\"\nevents.log_keep = 2";
    let (_scene, mx, hook, relay) = scene(Script::new(), 500, extra);
    let long = format!("{}@c.test", "x".repeat(60));
    let sender = format!("<{long}>");
    let mut client = relay.client();
    for _ in 0..400 {
        client
            .submit(&sender, &["<b@d.test>"], &message("many"))
            .is("250 ");
    }
    mx.wait_for(400);
    eventually("all are told", || {
        (relay.metric("ringpost_events_total", "") == 800.0).then_some(())
    });
    let size = || relay.metric("ringpost_webhook_spool_bytes", "");
    eventually("the spool is full", || (size() > 200_000.0).then_some(()));
    assert!(size() <= f64::from(256 << 10));
    let on_disk: u64 = fs::read_dir(relay.data().join("events"))
        .expect("the spool")
        .map(|file| file.expect("a file").metadata().expect("its size").len())
        .sum();
    assert!(on_disk < 300 << 10, "{on_disk}");
    let names =
        ["events.jsonl", "events.jsonl.1", "events.jsonl.2"].map(|name| relay.data().join(name));
    for name in &names {
        let octets = fs::metadata(name).expect("a file of the event log").len();
        assert!(octets <= 64 << 10, "{octets}");
    }
    assert!(!relay.data().join("events.jsonl.3").exists());
    hook.answers(200);
    // Each event was taken, or is counted as dropped.
    let dropped = eventually("the rest is told", || {
        let dropped = relay.metric("ringpost_events_lost_total", "place=\"spool\"");
        (hook.taken().len() as f64 + dropped == 800.0).then_some(dropped)
    });
    assert!(dropped > 0.0);
    assert_eq!(relay.metric("ringpost_events_lost_total", ""), dropped);
}

#[test]
fn only_wanted_events_are_posted_and_the_last_ones_before_the_end() {
    let (_scene, mx, hook, mut relay) = scene(Script::new(), 200, "");
    relay.setup.extra.push_str("\nevents = [\"delivered\"]");
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("one"));
    await_kinds(&hook, &["delivered"]);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("two"));
    mx.wait_for(2);
    let (status, _) = relay.terminate();
    assert!(status.success());
    // Whatever the log had not heard when the relay was told to end, it has heard at the end.
    assert_eq!(
        kinds(&logged(&relay)),
        ["accepted", "delivered", "accepted", "delivered"]
    );
    relay.restart();
    await_kinds(&hook, &["delivered", "delivered"]);
}

#[test]
fn a_relay_that_nobody_asks_tells_nothing() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("quiet"));
    mx.wait_for(1);
    relay.wait_until_empty();
    assert_eq!(relay.metric("ringpost_events_total", ""), 0.0);
    assert!(!relay.data().join("events").exists());
}
