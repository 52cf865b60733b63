//! The relay's own house over HTTP: users, configurations, the end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::plain;
use crate::support::{Relay, Scene, eventually};

fn request(relay: &Relay, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", relay.setup.control))
        .header("content-type", kind)
        .body(body.to_owned())
        .unwrap();
    let agent = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = { agent }
        .allow_non_standard_methods(true)
        .build()
        .new_agent();
    let mut response = agent.run(request).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (
        response.status().as_u16(),
        serde_json::from_str(&text).unwrap(),
    )
}

fn order(relay: &Relay, method: &str, path: &str, body: &Value) -> (u16, Value) {
    request(relay, method, path, "application/json", &body.to_string())
}

/// The confined relay itself changes the file, and goes by it.
#[test]
fn users_come_and_go_over_http_and_log_in() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let may_log_in =
        |password: &str| plain(&mut relay.client(), "ann@d.test", password).code == 235;
    let ann = json!({ "address": "ann@d.test", "password": "first" });
    assert_eq!(order(&relay, "POST", "/api/v1/users", &ann).0, 201);
    eventually("she may log in", || may_log_in("first").then_some(()));
    assert!(!may_log_in("second"));
    let second = json!({ "password": "second" });
    let path = "/api/v1/users/ann@d.test/password";
    assert_eq!(order(&relay, "PUT", path, &second).0, 200);
    eventually("the new password counts", || {
        may_log_in("second").then_some(())
    });
    // The command sees what HTTP has changed.
    assert!(relay.ask(&["user", "list"]).contains("ann@d.test"));
    assert_eq!(
        order(&relay, "DELETE", "/api/v1/users/ann@d.test", &json!({})).0,
        200
    );
    eventually("nobody may log in", || {
        (!may_log_in("second")).then_some(())
    });
    let record = std::fs::read_to_string(relay.data().join("audit.jsonl")).unwrap();
    for act in ["add_user", "set_password", "remove_user"] {
        assert_eq!(record.matches(act).count(), 2, "{record}");
    }
    assert!(
        !record.contains("first") && !record.contains("second"),
        "{record}"
    );
}

/// Files that only the thread that reads the configuration can reach are looked at too.
#[test]
fn a_configuration_is_checked_with_the_files_that_it_names() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let check = |text: &str| {
        let (status, told) = request(
            &relay,
            "POST",
            "/api/v1/config/check",
            "application/toml",
            text,
        );
        assert_eq!(status, 200, "{told}");
        told["faults"].as_array().unwrap().clone()
    };
    assert!(check("hostname = \"a.test\"\n").is_empty());
    let faults = check("[smtp]\nmax_recipient = 3\n");
    assert_eq!(
        (&faults[0]["line"], &faults[0]["column"]),
        (&json!(2), &json!(1))
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let token = elsewhere.path().join("token");
    let text = format!("[control]\ntoken_file = {token:?}\n");
    let missing = check(&text);
    assert!(
        missing[0]["message"]
            .as_str()
            .unwrap()
            .contains("cannot be read"),
        "{missing:?}"
    );
    std::fs::write(&token, "secret\n").unwrap();
    assert!(check(&text).is_empty());
}

/// Behind `drain` the next one starts at once, each time; what is not ready says so in JSON too.
#[test]
fn the_next_relay_can_start_as_soon_as_drain_has_ended() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    for _ in 0..5 {
        let drained = relay.run(&["drain"]);
        assert!(drained.status.success(), "{drained:?}");
        let lock = std::fs::File::open(relay.data().join("lock")).unwrap();
        assert!(lock.try_lock().is_ok(), "somebody has it still");
        drop(lock);
        assert!(relay.wait().success());
        relay.restart();
    }
    let mut busy = relay.client();
    busy.command("MAIL FROM:<a@c.test>").is("250 ");
    assert!(
        relay
            .run(&["drain", "--no-wait", "--within", "1m"])
            .status
            .success()
    );
    let health = eventually("it is not ready", || {
        let health = relay.run(&["health", "--json"]);
        (health.status.code() == Some(75)).then_some(health)
    });
    let told: Value = serde_json::from_slice(&health.stdout).expect("JSON");
    assert_eq!(told["status"], "draining");
    assert!(!health.stderr.is_empty());
}

/// A mailbox is a directory of that name.
#[test]
fn nobody_is_added_who_can_have_no_mailbox() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let long = format!("{}@{}.test", "a".repeat(60), "b.".repeat(90));
    for name in ["a/b@d.test", "/@d.test", "\".a\"@d.test", &long] {
        let added = relay.run_with(&["user", "add", name], "secret\n");
        let is_fine = name.starts_with('"');
        assert_eq!(added.status.success(), is_fine, "{name}: {added:?}");
        let new = json!({ "address": name, "password": "secret" });
        let (status, _) = order(&relay, "POST", "/api/v1/users", &new);
        assert_eq!(status, if is_fine { 409 } else { 422 }, "{name}");
    }
}

#[test]
fn the_relay_is_ended_over_http_as_by_sigterm() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    assert_eq!(
        order(&relay, "POST", "/api/v1/drain", &json!({ "drain": false })).0,
        422
    );
    assert!(relay.exited().is_none());
    let (status, told) = order(&relay, "POST", "/api/v1/drain", &json!({ "drain": true }));
    assert_eq!((status, &told["status"]), (202, &json!("draining")));
    let began = std::time::Instant::now();
    assert!(relay.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10));
    relay.log_line(&["ending: no new connections"]);
    let record = std::fs::read_to_string(relay.data().join("audit.jsonl")).unwrap();
    let line: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    assert_eq!(line["act"], "drain");
    assert!(
        line["by"]["peer"].as_str().unwrap().starts_with("127."),
        "{line}"
    );
    relay.restart();
}
