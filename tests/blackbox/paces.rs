//! How much at a time, and how fast, goes to whom.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Relay, Scene, Script, eventually, message};

fn explained(relay: &Relay, recipient: &str) -> Value {
    let text = relay.ask(&["explain", recipient, "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

fn submit(relay: &Relay, count: usize, domain: &str) {
    for number in 0..count {
        let content = message(&format!("number {number}"));
        relay.submit("<a@c.test>", &[&format!("<b{number}@{domain}>")], &content);
    }
}

#[test]
fn messages_go_at_the_rate_of_a_rule_and_others_are_not_held_up() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let other = scene.mx(2, Script::new());
    scene.dns.mx("e.test", &[(10, "mx2.test")]);
    let relay = scene.relay(
        "runtime.cores = 2\nlimit = [{ domain = \"d.test\", rate = \"120/m\", connections = 2 }]",
    );
    let began = Instant::now();
    submit(&relay, 9, "d.test");
    submit(&relay, 3, "e.test");
    other.wait_for(3);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "e.test has no limit"
    );
    let told = explained(&relay, "x@d.test");
    let limit = &told["limits"][0];
    assert_eq!(
        (&limit["of"], &limit["rate"]),
        (&"d.test".into(), &"120/m".into())
    );
    assert_eq!(
        (&limit["rule"], &told["connections_max"]),
        (&"limit 1".into(), &2.into())
    );
    assert!(limit["next_slot"].is_number(), "{limit}");
    let text = relay.ask(&["explain", "x@d.test"]);
    assert!(
        text.contains("2 connections, 120/m messages (limit 1)"),
        "{text}"
    );
    mx.wait_for(9);
    // Nine messages have eight spaces of half a second; a late one may be early for the next.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3000), "{took:?}");
    assert_eq!(
        explained(&relay, "x@e.test")["limits"][0]["rate"],
        Value::Null
    );
}

/// A slow rate: what waits holds no connection, and is not said to have failed.
#[test]
fn what_waits_for_a_far_turn_waits_without_a_connection() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("limit = [{ domain = \"*\", rate = \"6/h\" }]");
    submit(&relay, 3, "d.test");
    mx.wait_for(1);
    let lane = eventually("the lane waits for its turn", || {
        let told = explained(&relay, "x@d.test");
        let lane = told["lanes"][0].clone();
        (lane["state"] == "waiting for its turn" && lane["connections"] == 0).then_some(lane)
    });
    assert_eq!(
        (&lane["messages"], &lane["failures"]),
        (&2.into(), &0.into())
    );
    let next = lane["next_attempt"].as_u64().expect("seconds");
    assert!((580..=600).contains(&next), "{next}");
    assert_eq!(mx.connections(), 1);
    assert!(!relay.log().contains("status=deferred"), "{}", relay.log());
}

#[test]
fn a_reload_takes_other_limits_at_once() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("limit = [{ domain = \"d.test\", rate = \"6/h\" }]");
    submit(&relay, 3, "d.test");
    mx.wait_for(1);
    relay.setup.extra = "limit = [{ domain = \"d.test\", rate = \"600/m\" }]".to_owned();
    relay.write_config();
    relay.signal(Signal::HUP);
    mx.wait_for(3);
}

#[test]
fn a_message_for_many_goes_in_several() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(
        "limit = [{ domain = \"d.test\", recipients_per_message = 2, messages_per_connection = 2 }]",
    );
    let recipients: Vec<String> = (0..7).map(|number| format!("<b{number}@d.test>")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    relay.submit("<a@c.test>", &recipients, &message("for seven"));
    let copies = mx.wait_for(4);
    assert!(
        copies.iter().all(|copy| copy.rcpts.len() <= 2),
        "{copies:?}"
    );
    let all: usize = copies.iter().map(|copy| copy.rcpts.len()).sum();
    assert_eq!((all, mx.connections()), (7, 2));
    relay.wait_until_empty();
}

/// Two domains whose hosts have one name between them share what hosts of that name may have.
#[test]
fn domains_share_the_limit_of_a_group_of_hosts() {
    let scene = Scene::new();
    let slow: &[(u64, &[u8])] = &[(150, b"220 mx\r\n")];
    let mx = scene.mx(1, Script::new().writes("BANNER", slow));
    for domain in ["d.test", "e.test", "f.test"] {
        scene.dns.mx(domain, &[(10, "mx1.test")]);
    }
    let relay = scene.relay(
        "runtime.cores = 2\nlimit = [{ mx = \"*.test\", connections = 1, messages_per_connection = 1 }]",
    );
    for domain in ["d.test", "e.test", "f.test"] {
        submit(&relay, 2, domain);
    }
    mx.wait_for(6);
    relay.wait_until_empty();
    assert_eq!((mx.connections(), mx.most_at_a_time()), (6, 1));
    let told = explained(&relay, "x@e.test");
    assert_eq!(told["limits"][1]["of"], "mx *.test");
    assert_eq!(told["limits"][1]["connections"], 1);
}

/// A host that takes less than it is sent, and says so; nobody has set anything.
#[test]
fn a_host_that_complains_gets_less_and_gets_all() {
    let throttling = Script::new()
        .says_and_closes("MAIL", "421 4.7.28 an unusual rate of mail")
        .times(1);
    let (scene, mx) = Scene::with_mx(throttling);
    let relay = scene.relay("queue.retry = [\"1h\"]");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("too fast"));
    relay.log_line(&["status=deferred", "4.7.28"]);
    relay.log_line(&["d.test: mail slows down to", "4.7.28"]);
    let told = explained(&relay, "x@d.test");
    let learned = &told["limits"][0]["learned"];
    assert!(learned["rate"].is_string(), "{told}");
    let reason = learned["reason"].as_str().expect("words");
    assert!(reason.contains("421 4.7.28"), "{reason}");
    let text = relay.ask(&["explain", "x@d.test"]);
    assert!(
        text.contains("as learned") && text.contains("4.7.28"),
        "{text}"
    );
    let rate = relay.metric("ringpost_destination_rate", "destination=\"d.test\"");
    assert!(rate > 0.0, "{rate}");
    // Half a minute, and not an hour, as the curve has it; and it does not count.
    let waiting = &relay.queue()[0]["recipients"][0];
    let due = waiting["due_in"].as_u64().expect("seconds");
    assert!(due <= 33 && waiting["attempts"] == 0, "{waiting}");
    relay.ask(&["queue", "retry", "--all"]);
    mx.wait_for_mail_to("b@d.test");
}

#[test]
fn greylisting_is_no_complaint_of_haste() {
    let grey = Script::new()
        .says("RCPT", "450 4.7.1 greylisted, try again")
        .times(1);
    let (scene, mx) = Scene::with_mx(grey);
    let relay = scene.relay("queue.retry = [\"1s\"]");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("grey"));
    mx.wait_for_mail_to("b@d.test");
    let told = explained(&relay, "x@d.test");
    assert_eq!(told["limits"][0]["learned"], Value::Null, "{told}");
}
