//! From whom mail goes: sources that take turns, and what stops one of them.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Mx, Relay, Scene, Script, eventually, message};

/// Two sources with names and addresses of their own, three turns to one.
fn sources(scene: &Scene) -> String {
    let [first, second] = [100, 101].map(|host| scene.net.host(host));
    format!(
        "delivery.messages_per_connection = 1\n\
         source = [{{ name = \"a\", address = [\"{first}\"], helo = \"a.relay.test\" }},\n\
         {{ name = \"b\", address = [\"{second}\"], helo = \"b.relay.test\" }}]\n"
    )
}

fn submit(relay: &Relay, to: &str) -> String {
    relay.submit("<s@c.test>", &[&format!("<{to}>")], &message("by turns"))
}

fn hellos(mx: &Mx) -> Vec<String> {
    let messages = mx.messages().into_iter();
    let words = messages.map(|one| one.hello.split(' ').nth(1).map(str::to_owned));
    words.map(Option::unwrap_or_default).collect()
}

#[track_caller]
fn explained(relay: &Relay, recipient: &str) -> Value {
    let text = relay.ask(&["explain", recipient, "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn connections_leave_from_sources_by_their_weights() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&format!(
        "{}pool = [{{ name = \"bulk\", sources = {{ a = 3, b = 1 }} }}]\n\
         delivery.pool = \"bulk\"\nevents.log = \"events.jsonl\"",
        sources(&scene)
    ));
    let told = explained(&relay, "x@d.test");
    assert_eq!(
        told["next_hop"], "d.test",
        "the usual pool has no lane of its own"
    );
    assert_eq!(told["pool"]["name"], "bulk");
    assert_eq!(told["pool"]["sources"][0]["share"], 0.75);
    assert_eq!(told["pool"]["sources"][1]["helo"], "b.relay.test");
    for count in 1..=8 {
        submit(&relay, "x@d.test");
        mx.wait_for(count);
    }
    let hellos = hellos(&mx);
    let of = |name: &str| hellos.iter().filter(|hello| *hello == name).count();
    assert_eq!(
        (of("a.relay.test"), of("b.relay.test")),
        (6, 2),
        "{hellos:?}"
    );
    relay.log_line(&["status=sent", "source=a"]);
    relay.log_line(&["status=sent", "source=b"]);
    let sent = |source: &str| {
        let label = format!("source=\"{source}\"");
        relay.metric("ringpost_source_recipients_total", &label)
    };
    eventually("all are counted", || {
        (sent("a") == 6.0 && sent("b") == 2.0).then_some(())
    });
    let delivered = eventually("events say the source and the pool", || {
        let text = std::fs::read_to_string(relay.data().join("events.jsonl")).ok()?;
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let delivered: Vec<Value> = events.filter(|one| one["event"] == "delivered").collect();
        (delivered.len() == 8).then_some(delivered)
    });
    assert_eq!(delivered[0]["destination"], "d.test");
    assert_eq!(
        (&delivered[0]["pool"], &delivered[0]["source"]),
        (&"bulk".into(), &"a".into())
    );
    let text = relay.ask(&["explain", "x@d.test"]);
    assert!(
        text.contains("weight 3 (75 %), EHLO a.relay.test"),
        "{text}"
    );
}

#[test]
fn a_host_turns_one_source_away_and_others_go_on() {
    let script = Script::new().says_and_closes("EHLO a.relay.test", "421 4.7.1 not from you");
    let (scene, mx) = Scene::with_mx(script);
    let relay = scene.relay(&format!(
        "{}pool = [{{ name = \"bulk\", sources = [\"a\", \"b\"] }}]\n\
         delivery.pool = \"bulk\"\nqueue.retry = [\"1h\"]",
        sources(&scene)
    ));
    for count in 1..=4 {
        submit(&relay, "x@d.test");
        mx.wait_for(count);
    }
    assert_eq!(hellos(&mx), ["b.relay.test"; 4]);
    assert_eq!(mx.heard("EHLO a.relay.test"), 1, "it rests");
    let told = explained(&relay, "x@d.test");
    let sources = &told["pool"]["sources"];
    assert!(
        sources[0]["rests"].as_u64().is_some_and(|wait| wait > 0),
        "{told}"
    );
    assert_eq!(sources[1]["rests"], Value::Null);
    assert_eq!(
        told["lanes"].as_array().map_or(0, Vec::len),
        0,
        "no back-off: {told}"
    );
    assert!(!relay.log().contains("status=deferred"));
}

#[test]
fn a_pool_that_is_turned_away_holds_up_no_other() {
    let scene = Scene::new();
    let script = Script::new().says_and_closes("EHLO a.relay.test", "421 4.7.1 not from you");
    let hub = scene.mx(1, script);
    let to = scene.mx_address(1);
    let relay = scene.relay(&format!(
        "{}pool = [{{ name = \"one\", sources = [\"a\"] }}, {{ name = \"two\", sources = [\"b\"] }}]\n\
         route = [{{ domain = \"one.test\", to = \"smtp://{to}\", pool = \"one\" }},\n\
         {{ domain = \"two.test\", to = \"smtp://{to}\", pool = \"two\" }}]\nqueue.retry = [\"1h\"]",
        sources(&scene)
    ));
    submit(&relay, "x@one.test");
    relay.log_line(&["to=<x@one.test>", "status=deferred", "source=a"]);
    submit(&relay, "x@two.test");
    hub.wait_for_mail_to("x@two.test");
    let told = explained(&relay, "x@one.test");
    let lane = format!("[{}]:{} via one", to.ip(), to.port());
    assert_eq!(told["next_hop"], lane.as_str());
    assert_eq!(told["lanes"][0]["state"], "backing off");
    let selected = |destination: &str| {
        let words = ["queue", "list", "--destination", destination, "--json"];
        relay.ask(&words).contains("x@one.test")
    };
    assert!(selected(&lane) && selected(&format!("[{}]:{}", to.ip(), to.port())));
    assert!(!selected(&format!("[{}]:{} via two", to.ip(), to.port())));
}

#[test]
fn the_machine_has_lost_the_address_of_one_source() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let own = scene.net.host(101);
    let relay = scene.relay(&format!(
        "delivery.messages_per_connection = 1\ndelivery.pool = \"bulk\"\n\
         source = [{{ name = \"gone\", address = [\"192.0.2.1\"] }},\n\
         {{ name = \"here\", address = [\"{own}\"] }}]\n\
         pool = [{{ name = \"bulk\", sources = {{ gone = 9, here = 1 }} }}]"
    ));
    let checked = relay.run(&["check"]);
    let warned = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "no fault: {warned}");
    assert!(
        warned.contains("[[source]] gone: 192.0.2.1 cannot be sent from"),
        "{warned}"
    );
    submit(&relay, "x@d.test");
    mx.wait_for(1);
    submit(&relay, "x@d.test");
    mx.wait_for(2);
    assert_eq!(
        relay.log().matches("source gone cannot send from").count(),
        1
    );
    let told = explained(&relay, "x@d.test");
    assert_eq!(told["pool"]["sources"][0]["missing"][0], "192.0.2.1");
    assert_eq!(told["hosts"][0]["addresses"][0]["from"], own.to_string());
    assert!(!relay.log().contains("status=deferred"));
}

#[test]
fn mail_that_waits_goes_by_the_pool_that_a_reload_names() {
    let script = Script::new().says_and_closes("EHLO a.relay.test", "421 4.7.1 not from you");
    let (scene, mx) = Scene::with_mx(script);
    let extra = |pool: &str| {
        format!(
            "{}pool = [{{ name = \"one\", sources = [\"a\"] }}, {{ name = \"two\", sources = [\"b\"] }}]\n\
             route = [{{ domain = \"d.test\", pool = \"{pool}\" }}]",
            sources(&scene)
        )
    };
    let mut relay = scene.relay(&extra("one"));
    submit(&relay, "x@d.test");
    relay.log_line(&["to=<x@d.test>", "status=deferred"]);
    relay.setup.extra = extra("two");
    relay.write_config();
    relay.signal(Signal::HUP);
    mx.wait_for_mail_to("x@d.test");
    assert_eq!(hellos(&mx)[0], "b.relay.test");
}
