//! A source that nobody knows yet sends little at first: by its plan, and not one more.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Mx, Relay, Scene, Script, eventually, message, never};

/// One source that begins today, with so much on each day, alone in its pool.
fn warmed(scene: &Scene, per_day: u32) -> String {
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let address = scene.net.host(100);
    format!(
        "source = [{{ name = \"new\", address = [\"{address}\"], warmup = \"plan\", warmup_from = {today} }}]\n\
         pool = [{{ name = \"one\", sources = [\"new\"] }}]\n\
         warmup = [{{ name = \"plan\", days = [{per_day}, {per_day}] }}]\n\
         delivery.pool = \"one\""
    )
}

fn submit(relay: &Relay, count: usize) {
    for _ in 0..count {
        relay.submit("<s@c.test>", &["<x@d.test>"], &message("little by little"));
    }
}

#[track_caller]
fn used(relay: &Relay) -> Value {
    let text = relay.ask(&["explain", "x@d.test", "--json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    told["pool"]["sources"][0]["warmup"].clone()
}

fn stays_at(mx: &Mx, count: usize) {
    never("more comes than the day has", || {
        mx.messages().len() > count
    });
}

#[test]
fn a_day_has_what_its_plan_says_over_kills_and_restarts() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay(&warmed(&scene, 5));
    submit(&relay, 3);
    mx.wait_for(3);
    let told = used(&relay);
    assert_eq!((&told["day"], &told["plan"]), (&1.into(), &"plan".into()));
    assert_eq!(told["lines"][0]["limit"], 5);
    // To the last one where it ends in order, and never more than that where it does not.
    let (status, _) = relay.terminate();
    assert!(status.success());
    relay.restart();
    eventually("the book is read", || {
        (used(&relay)["lines"][0]["used"] == 3).then_some(())
    });
    submit(&relay, 4);
    mx.wait_for(5);
    stays_at(&mx, 5);
    relay.kill();
    relay.restart();
    submit(&relay, 1);
    stays_at(&mx, 5);
    let text = relay.ask(&["explain", "x@d.test"]);
    let says = [
        "warm-up plan, day 1: 5 of 5 (all), more on ",
        "waiting for tomorrow",
    ];
    assert!(says.iter().all(|words| text.contains(words)), "{text}");
    assert!(relay.ask(&["queue", "shape"]).contains("tomorrow"));
    let log = relay.log();
    let said = log.matches("has sent the 5 that plan").count();
    assert_eq!(said, 1, "by the life that used it up: {log}");
    let label = "source=\"new\",about=\"all\"";
    assert_eq!(relay.metric("ringpost_source_warmup_limit", label), 5.0);
    assert_eq!(relay.metric("ringpost_source_warmup_used", label), 5.0);
}

#[test]
fn a_reload_changes_the_plan_and_forgets_nothing() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay(&warmed(&scene, 2));
    submit(&relay, 5);
    mx.wait_for(2);
    stays_at(&mx, 2);
    relay.setup.extra = warmed(&scene, 4);
    relay.write_config();
    relay.signal(Signal::HUP);
    mx.wait_for(4);
    stays_at(&mx, 4);
    relay.setup.extra = warmed(&scene, 1);
    relay.write_config();
    relay.signal(Signal::HUP);
    eventually("the plan is another", || {
        (used(&relay)["lines"][0]["limit"] == 1).then_some(())
    });
    stays_at(&mx, 4);
}

#[test]
fn what_a_plan_leaves_no_room_for_goes_from_others() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let old = scene.net.host(101);
    let extra = warmed(&scene, 2)
        .replace(
            "}]\npool",
            &format!("}}, {{ name = \"old\", address = [\"{old}\"], helo = \"old.test\" }}]\npool"),
        )
        .replace("[\"new\"]", "[\"new\", \"old\"]");
    let relay = scene.relay(&format!("{extra}\ndelivery.messages_per_connection = 1"));
    for count in 1..=8 {
        submit(&relay, 1);
        mx.wait_for(count);
    }
    let messages = mx.messages();
    let by_old = messages.iter().filter(|one| one.hello.contains("old.test"));
    assert_eq!(by_old.count(), 6);
    relay.wait_until_empty();
}
