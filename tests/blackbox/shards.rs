//! Operators look for the core that is full.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Relay, Scene, Script, eventually, message};

fn rows(relay: &Relay) -> Vec<Value> {
    let rows: Value = serde_json::from_str(&relay.ask(&["shards", "--json"])).expect("JSON");
    rows.as_array().expect("a list").clone()
}

/// The sum of a value over all shards.
fn sum(rows: &[Value], name: &str) -> u64 {
    rows.iter().filter_map(|row| row[name].as_u64()).sum()
}

#[test]
fn operator_sees_what_each_shard_does() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("runtime.cores = 2");
    let before = rows(&relay);
    assert_eq!((before.len(), sum(&before, "messages_accepted")), (2, 0));
    for n in 0..20 {
        // Each on a connection of its own: the kernel chooses the shard.
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(&format!("m{n}")));
    }
    mx.wait_for(20);
    let after = rows(&relay);
    assert_eq!(sum(&after, "messages_accepted"), 20);
    // Somebody waits for each, and nobody but the operator for anything else.
    assert_eq!(sum(&after, "synced_messages"), 20);
    let syncs = sum(&after, "syncs");
    assert!((1..=20).contains(&syncs), "{syncs}");
    assert!(sum(&after, "log_octets") > 20 * message("m0").len() as u64);
    for (before, after) in before.iter().zip(&after) {
        for name in ["busy_seconds", "cpu_seconds", "wakeups", "turns"] {
            let (before, after) = (before[name].as_f64(), after[name].as_f64());
            assert!(before < after, "{name}: {before:?} and {after:?}");
        }
    }
    let accepted: f64 = ["0", "1"]
        .map(|shard| format!("shard=\"{shard}\""))
        .iter()
        .map(|shard| relay.metric("ringpost_shard_messages_accepted_total", shard))
        .sum();
    assert!((accepted - 20.0).abs() < 0.1, "{accepted}");
    let table = relay.ask(&["shards"]);
    assert!(table.starts_with("SHARD  CORE"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn connections_count_on_the_shard_that_has_them() {
    let scene = Scene::new();
    let relay = scene.relay("runtime.cores = 2");
    let clients: Vec<Client> = (0..6).map(|_| relay.client()).collect();
    let connected = || sum(&rows(&relay), "connections_in");
    assert_eq!(connected(), 6);
    drop(clients);
    eventually("they are gone", || (connected() == 0).then_some(()));
}

#[test]
fn a_shard_that_has_nothing_to_do_is_not_busy() {
    let scene = Scene::new();
    let relay = scene.relay("runtime.cores = 1");
    let busy = eventually("a second is over", || {
        std::thread::sleep(Duration::from_millis(200));
        let rows = rows(&relay);
        let recent = &rows[0]["recent"];
        // Before the first second is over nothing is known.
        (recent["wakeups"].as_f64()? > 0.0).then(|| recent["busy"].as_f64())?
    });
    assert!(busy < 0.9, "{busy}");
}

/// A CPU that this process may use.
fn some_cpu() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel says");
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split(['-', ',']).next());
    first.expect("a number").to_owned()
}

#[test]
fn the_log_says_which_shard_has_which_core() {
    let scene = Scene::new();
    let cpu = some_cpu();
    let mut relay = scene.relay(&format!("runtime.cores = [{cpu}]"));
    relay.log_line(&[&format!("1 shard: 0 on CPU {cpu}")]);
    let row = &rows(&relay)[0];
    assert_eq!(
        (row["shard"].to_string(), row["cpu"].to_string()),
        ("0".into(), cpu.clone())
    );
    relay.terminate();
    relay.setup.extra = format!("runtime.cores = [{cpu}]\nlog.format = \"json\"");
    relay.restart();
    let line = relay.log_line(&[r#""event":"shards""#]);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["seats"][0]["cpu"].to_string(), cpu, "{line}");
}
