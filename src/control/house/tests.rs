//! Users and configurations, as an operator's program sees them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::Config;
use crate::control::tests::Running;
use crate::users;

const ANN: &str = "/api/v1/users/Ann@d.test";

fn add(plane: &Running, address: &str, more: Value) -> (u16, Value) {
    let mut body = json!({ "address": address, "password": "secret" });
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    plane.post("/api/v1/users", &body)
}

#[test]
fn operator_says_who_may_log_in_and_it_is_written_down() {
    let plane = Running::start(None);
    assert_eq!(plane.json("/api/v1/users"), json!([]));
    let senders = json!({ "senders": ["*@d.test"] });
    let (status, added) = add(&plane, "Ann@d.test", senders.clone());
    let shown = json!({ "address": "ann@d.test", "senders": ["*@d.test"], "apop": false });
    assert_eq!((status, &added), (201, &shown));
    assert_eq!(plane.json("/api/v1/users"), json!([shown]));
    assert_eq!(add(&plane, "ann@d.test", json!({})).0, 409);

    let hash = || {
        plane
            .users()
            .find("ann@d.test")
            .map(|(_, user)| user.password.clone())
    };
    let first = hash().expect("she is there");
    assert!(users::verify(b"secret", &first));
    let other = json!({ "password": "other" });
    let (status, _) = plane.send("PUT", &format!("{ANN}/password"), Some(&other));
    assert_eq!(status, 200);
    assert!(users::verify(b"other", &hash().expect("she is there")));

    assert_eq!(plane.send("DELETE", ANN, None).0, 200);
    assert_eq!(plane.send("DELETE", ANN, None).0, 404);
    assert_eq!(
        plane
            .send("PUT", &format!("{ANN}/password"), Some(&other))
            .0,
        404
    );
    assert!(hash().is_none());

    let record = plane.record();
    let told: Vec<_> = record
        .iter()
        .map(|line| {
            let end = line["outcome"].as_str().or(line["error"].as_str());
            (line["act"].as_str().unwrap_or_default(), end)
        })
        .collect();
    assert_eq!(
        told[..8],
        [
            ("add_user", None),
            ("add_user", Some("done")),
            ("add_user", None),
            ("add_user", Some("ann@d.test is there already")),
            ("set_password", None),
            ("set_password", Some("done")),
            ("remove_user", None),
            ("remove_user", Some("done")),
        ]
    );
    assert_eq!(record[0]["address"], "Ann@d.test");
    let text = serde_json::to_string(&record).expect("text");
    assert!(
        !text.contains("secret") && !text.contains("other"),
        "{text}"
    );
}

#[test]
fn users_that_cannot_be_are_refused() {
    let plane = Running::start(None);
    for (address, more, status) in [
        ("nobody", json!({}), 422),
        ("a@d.test", json!({ "senders": ["x"] }), 422),
        ("a@d.test", json!({ "password": "" }), 422),
        ("a@d.test", json!({ "password": "two\nlines" }), 422),
        ("a@d.test", json!({ "admin": true }), 422),
    ] {
        let (told, why) = add(&plane, address, more);
        assert_eq!(told, status, "{why}");
    }
    assert!(plane.users().is_empty());
    assert!(plane.record().is_empty());
}

#[test]
fn a_password_is_taken_from_this_machine_alone() {
    let admitted = |peer: &str| {
        let peer = peer.parse().expect("an address");
        super::admit_password(peer, "secret").map_err(|failure| failure.status.as_u16())
    };
    for near in [
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(admitted(near), Ok(()), "{near}");
    }
    for far in ["192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
        assert_eq!(admitted(far), Err(403), "{far}");
    }
}

#[test]
fn users_are_added_where_the_relay_looks_after_a_reload() {
    let plane = Running::start(None);
    let mut config = Config::clone(&plane.config.load());
    config.auth.users_file = "others.toml".into();
    let (old, new) = (plane.config.load().users_file(), config.users_file());
    plane.config.store(Arc::new(config));
    assert_eq!(add(&plane, "ann@d.test", json!({})).0, 201);
    assert!(new.exists() && !old.exists());
    assert_eq!(plane.json("/api/v1/users")[0]["address"], "ann@d.test");
}
