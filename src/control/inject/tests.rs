//! Messages over HTTP, where no shard is needed to see what comes of them.

use std::sync::Arc;

use serde_json::json;

use crate::config::Config;
use crate::control::tests::Running;

/// The status that a letter with this text, to this recipient, is answered with.
fn send(plane: &Running, key: &str, to: &str, text: &str) -> u16 {
    let letter = json!({ "from": "a@c.test", "to": [to], "text": text });
    let request = ureq::post(format!("http://{}/api/v1/messages", plane.address));
    let request = request.config().http_status_as_error(false).build();
    let request = request.header("idempotency-key", key);
    let response = request.send_json(letter).expect("an answer");
    response.status().as_u16()
}

#[test]
fn a_request_that_panicked_can_come_again() {
    let plane = Running::start(None);
    let fate = |to| send(&plane, "k", to, "hi");
    assert_eq!(fate("panics@d.test"), 500);
    assert_eq!(fate("panics@d.test"), 500, "it is not under way for ever");
    assert_eq!(fate("b@d.test"), 200);
    assert_eq!(fate("c@d.test"), 422, "the key is known now");
}

#[test]
fn what_a_reload_says_of_sizes_counts_here_too() {
    let plane = Running::start(None);
    let allow = |octets| {
        let mut config = Config::clone(&plane.config.load());
        config.smtp.max_message_size = octets;
        plane.config.store(Arc::new(config));
    };
    let long = "x".repeat(200 << 10);
    allow(64 << 10);
    assert_eq!(send(&plane, "1", "b@d.test", &long), 413);
    allow(1 << 20);
    assert_eq!(send(&plane, "2", "b@d.test", &long), 200);
}

/// It writes all of it before it reads the answer, more than sockets hold.
#[test]
fn whoever_says_too_much_is_told_so() {
    let plane = Running::start(None);
    let mut config = Config::clone(&plane.config.load());
    config.smtp.max_message_size = 64 << 10;
    plane.config.store(Arc::new(config));
    let long = "x".repeat(30 << 20);
    for round in 0..3 {
        assert_eq!(send(&plane, "1", "b@d.test", &long), 413, "{round}");
    }
}
