use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::control::tests::{REMOVED_UNTIL, Running, TwoShards};

#[test]
fn operator_gives_orders() {
    let plane = Running::start(None);
    let (status, acted) = plane.post("/api/v1/queue/hold", &json!({"domain": "d.test"}));
    assert_eq!(
        (status, acted),
        (
            200,
            json!({"messages": 2, "recipients": 4, "ids": ["0000000000000", "0000000000001"]})
        )
    );
    let (_, acted) = plane.post("/api/v1/queue/retry", &json!({"id": "0000000000001"}));
    assert_eq!(acted["messages"], 1);
    for (path, body, status) in [
        ("/api/v1/queue/remove", json!({}), 422),
        ("/api/v1/queue/remove", json!({"al": true}), 422),
        (
            "/api/v1/queue/remove",
            json!({"all": true, "al": true}),
            422,
        ),
        (
            "/api/v1/queue/remove",
            json!({"all": true, "reason": "x".repeat(1_001)}),
            422,
        ),
        ("/api/v1/queue/remove", json!({"id": "x"}), 400),
        (
            "/api/v1/queue/hold",
            json!({"all": true, "for_good": true}),
            422,
        ),
        ("/api/v1/queue/redirect", json!({"all": true}), 422),
        (
            "/api/v1/queue/redirect",
            json!({"all": true, "into": "nobody"}),
            422,
        ),
        (
            "/api/v1/queue/hold",
            json!({"all": true, "into": "e@f.test"}),
            422,
        ),
        ("/api/v1/queue/burn", json!({"all": true}), 404),
        ("/metrics", json!({}), 405),
    ] {
        let (code, answer) = plane.post(path, &body);
        assert_eq!(code, status, "{path} {body}: {answer}");
        assert!(answer["detail"].is_string(), "{path} {body}: {answer}");
    }
}

#[test]
fn a_dry_run_shows_what_an_order_would_reach_and_leaves_no_trace() {
    let plane = Running::start(None);
    let order = json!({"domain": "d.test", "dry_run": true});
    let (status, acted) = plane.post("/api/v1/queue/remove", &order);
    assert_eq!(status, 200);
    assert_eq!(
        (&acted["messages"], &acted["dry_run"]),
        (&json!(2), &json!(true))
    );
    let samples = acted["samples"].as_array().expect("samples");
    let ids: Vec<&str> = samples
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    assert_eq!(ids, ["0000000000001", "0000000000000"], "the oldest first");
    assert!(plane.record().is_empty());
}

#[test]
fn orders_are_written_down_with_who_and_why() {
    let plane = Running::start(Some("secret"));
    let request = ureq::post(format!("http://{}/api/v1/queue/hold", plane.address))
        .header("Authorization", "Bearer secret")
        .header("Ringpost-User", "joan");
    let order = json!({"from": "a@c.test", "reason": "until Joan has asked"});
    let answer = request.send_json(&order).expect("an answer");
    assert_eq!(answer.status(), 200);
    let lines = plane.record();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        assert_eq!(line["act"], "hold");
        assert_eq!(line["selector"], json!({"from": "a@c.test"}));
        assert_eq!(line["reason"], "until Joan has asked");
        assert_eq!(line["by"]["user"], "joan");
        assert_eq!(line["by"]["token"], true);
        assert!(
            line["by"]["peer"]
                .as_str()
                .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
        );
        assert_eq!(line["change"], lines[0]["change"]);
        assert!(line["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    }
    assert!(lines[0].get("outcome").is_none(), "before it was done");
    assert_eq!(lines[1]["outcome"]["messages"], 2);
    assert_eq!(lines[1]["outcome"]["ids"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_last_removal_is_undone_where_nothing_is_said() {
    let plane = Running::start(None);
    let (status, acted) = plane.post("/api/v1/queue/undo", &json!({}));
    assert_eq!((status, &acted["ids"]), (200, &json!(["0000000000001"])));
    let line = &plane.record()[1];
    let removal = REMOVED_UNTIL - 600_000_000;
    assert_eq!(line["selector"], json!({"change": removal}));
    let (_, other) = plane.post("/api/v1/queue/undo", &json!({"change": removal + 1}));
    assert_eq!(other["messages"], 0);
}

#[test]
fn an_order_that_some_shard_did_not_carry_out_is_written_down_as_that() {
    let shards = TwoShards::healthy();
    shards.answering.store(1, Ordering::Relaxed);
    let plane = Running::over(Arc::new(shards), None);
    let (status, _) = plane.post("/api/v1/queue/retry", &json!({"all": true}));
    assert_eq!(status, 503);
    let lines = plane.record();
    let error = lines[1]["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("1 of 2 shards"), "{lines:?}");
}

#[test]
fn operator_reads_a_message_piece_by_piece() {
    let plane = Running::start(None);
    let read = plane.get("/api/v1/queue/0000000000001/raw");
    assert_eq!(read, (200, "piece at 0\r\npiece at 9\r\n".to_owned()));
    assert_eq!(plane.get("/api/v1/queue/000000000000A/raw").0, 404);
}
