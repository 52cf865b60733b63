//! Messages that programs hand in over HTTP.

use std::time::Duration;

use mail_parser::{MessageParser, MimeHeaders as _};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Relay, Scene, Script, eventually};

/// POST to the control plane: how it was answered, and what.
fn post(relay: &Relay, path: &str, fields: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)));
    let agent = ureq::Agent::new_with_config(config.build());
    let mut request = agent.post(format!("http://{}{path}", relay.setup.control));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut response = request.send(body).expect("an answer");
    let text = response.body_mut().read_to_string().expect("text");
    let kind = response
        .headers()
        .get("content-type")
        .expect("a type")
        .clone();
    let status = response.status().as_u16();
    let wanted = if status < 400 {
        "application/json"
    } else {
        "application/problem+json"
    };
    assert_eq!(kind, wanted, "{text}");
    (status, serde_json::from_str(&text).expect("JSON"))
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn inject(relay: &Relay, letter: &Value) -> (u16, Value) {
    post(
        relay,
        "/api/v1/messages",
        &[JSON],
        letter.to_string().as_bytes(),
    )
}

#[test]
fn a_message_in_json_is_delivered_to_everybody_and_blind_copies_stay_blind() {
    let (_scene, mx) = Scene::with_mx(Script::new());
    let relay = Scene::relay(&_scene, "");
    let (status, answer) = inject(
        &relay,
        &json!({
            "from": "Ann <a@c.test>",
            "to": ["b@d.test"],
            "bcc": ["secret@d.test"],
            "subject": "Gr\u{fc}\u{df}e",
            "text": "hello\n.\nend",
            "html": "<p>hello</p>",
            "attachments": [{"filename": "a.txt", "content_type": "text/plain", "content": "aGVsbG8="}],
        }),
    );
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["accepted"], json!(["b@d.test", "secret@d.test"]));
    let mail = mx.wait_for(1).remove(0);
    assert_eq!(mail.rcpts.len(), 2, "{:?}", mail.rcpts);
    let content = mail.content();
    let text = String::from_utf8_lossy(&content);
    assert!(!text.contains("secret"), "{text}");
    assert!(
        text.contains(&format!("with HTTP id {}", answer["id"].as_str().unwrap())),
        "{text}"
    );
    assert!(
        !text.contains("[127."),
        "where it comes from is nobody's business: {text}"
    );
    let parsed = MessageParser::default().parse(&content).expect("a message");
    assert_eq!(parsed.subject(), Some("Gr\u{fc}\u{df}e"));
    assert_eq!(
        parsed.body_text(0).expect("text").trim_end(),
        "hello\r\n.\r\nend"
    );
    let attachment = parsed.attachment(0).expect("one");
    assert_eq!(
        (attachment.attachment_name(), attachment.contents()),
        (Some("a.txt"), &b"hello"[..])
    );
    assert_eq!(
        answer["message_id"].as_str(),
        parsed.message_id().map(|id| format!("<{id}>")).as_deref()
    );
    let trace = relay.ask(&["trace", answer["id"].as_str().unwrap()]);
    assert!(trace.contains("HTTP"), "{trace}");
}

#[test]
fn a_message_as_it_is_and_recipients_one_by_one() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("[[route]]\ndomain = \"no.test\"\nto = \"reject\"");
    let raw = [("Content-Type", "message/rfc822")];
    let content = b"From: a@c.test\nTo: b@d.test, x@no.test\nBcc: c@d.test\nSubject: raw\n\n.dot\n";
    let (status, answer) = post(&relay, "/api/v1/messages", &raw, content);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["accepted"], json!(["b@d.test", "c@d.test"]));
    let rejected = &answer["rejected"][0];
    assert_eq!(
        (&rejected["recipient"], &rejected["code"]),
        (&json!("x@no.test"), &json!(550))
    );
    let mail = mx.wait_for(1).remove(0);
    assert!(
        mail.mail.starts_with("MAIL FROM:<a@c.test>"),
        "{}",
        mail.mail
    );
    let text = mail.text();
    assert!(
        text.contains("Subject: raw\r\n") && text.ends_with("\r\n\r\n.dot\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: ") && !text.contains("Bcc")
    );
    let (status, answer) = post(
        &relay,
        "/api/v1/messages?from=&to=y%40d.test",
        &raw,
        &[&b"From: a@c.test\r\n\r\n"[..], &b"line\r\n".repeat(100_000)].concat(),
    );
    assert_eq!((status, &answer["accepted"]), (200, &json!(["y@d.test"])));
    let mail = mx.wait_for(2).remove(1);
    assert!(mail.mail.starts_with("MAIL FROM:<>"), "{}", mail.mail);
    assert_eq!(
        mail.content()
            .windows(6)
            .filter(|line| line == b"line\r\n")
            .count(),
        100_000
    );
}

#[test]
fn what_is_not_taken_says_why() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(
        "smtp.max_message_size = \"64KiB\"\nsmtp.max_recipients = 2\n\
         [[route]]\ndomain = \"no.test\"\nto = \"reject\"",
    );
    let letter = |key: &str, value: Value| {
        let mut letter = json!({"from": "a@c.test", "to": ["b@d.test"], "text": "x"});
        letter[key] = value;
        inject(&relay, &letter)
    };
    let (status, answer) = letter("to", json!(["x@no.test"]));
    assert_eq!((status, &answer["rejected"][0]["code"]), (422, &json!(550)));
    assert_eq!(
        (&answer["title"], &answer["status"]),
        (&json!("Unprocessable Entity"), &json!(422))
    );
    let (status, answer) = letter("to", json!(["1@d.test", "2@d.test", "3@d.test"]));
    assert_eq!((status, &answer["rejected"][0]["code"]), (200, &json!(452)));
    assert_eq!(letter("text", json!("x\n".repeat(40_000))).0, 413);
    assert_eq!(letter("subject", json!("a\r\nBcc: c@d.test")).0, 422);
    assert_eq!(letter("unheard", json!("of")).0, 422);
    let path = "/api/v1/messages";
    assert_eq!(post(&relay, path, &[JSON], b"{").0, 400);
    assert_eq!(
        post(&relay, path, &[("Content-Type", "text/plain")], b"x").0,
        415
    );
    assert_eq!(
        post(
            &relay,
            &format!("{path}?too=b"),
            &[("Content-Type", "message/rfc822")],
            b"x"
        )
        .0,
        400
    );
    assert_eq!(
        post(&relay, path, &[JSON, ("Idempotency-Key", "")], b"{}").0,
        400
    );
}

#[test]
fn many_messages_come_in_one_request() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let letter = |number: usize| json!({"from": "a@c.test", "to": [format!("b{number}@d.test")], "text": "x"});
    let mut letters: Vec<Value> = (0..100).map(letter).collect();
    letters.push(json!({"from": "nobody"}));
    let body = json!({ "messages": letters }).to_string();
    let (status, answer) = post(&relay, "/api/v1/messages/batch", &[JSON], body.as_bytes());
    let results = answer["results"].as_array().expect("results");
    assert_eq!((status, results.len()), (200, 101));
    assert!(results[..100].iter().all(|one| one["status"] == 200));
    assert_eq!(results[7]["accepted"], json!(["b7@d.test"]));
    assert_eq!(results[100]["status"], 422);
    assert!(
        results[100]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("from"))
    );
    mx.wait_for(100);
    let empty = json!({ "messages": [] }).to_string();
    assert_eq!(
        post(&relay, "/api/v1/messages/batch", &[JSON], empty.as_bytes()).0,
        422
    );
}

#[test]
fn a_client_that_is_not_sure_asks_again_over_a_crash_and_one_message_comes() {
    // Nothing is delivered before the crash, which may repeat a delivery that no note tells of yet.
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT", "451 4.3.0 busy"));
    let mut relay = scene.relay("");
    let letter =
        |text: &str| json!({"from": "a@c.test", "to": ["b@d.test"], "text": text}).to_string();
    let key = [JSON, ("Idempotency-Key", "order-1")];
    let give =
        |relay: &Relay, text: &str| post(relay, "/api/v1/messages", &key, letter(text).as_bytes());
    let (status, first) = give(&relay, "one");
    assert_eq!(status, 200, "{first}");
    assert_eq!(give(&relay, "one"), (200, first.clone()));
    relay.kill();
    mx.behaves(Script::new());
    relay.restart();
    assert_eq!(give(&relay, "one"), (200, first.clone()));
    assert_eq!(give(&relay, "two").0, 422);
    let (status, other) = post(
        &relay,
        "/api/v1/messages",
        &[JSON],
        letter("one").as_bytes(),
    );
    assert!(status == 200 && other["id"] != first["id"]);
    mx.wait_for(2);
    relay.wait_until_empty();
    assert_eq!(mx.messages().len(), 2);
    // What was refused may be mended and come again.
    let again = [JSON, ("Idempotency-Key", "order-2")];
    assert_eq!(post(&relay, "/api/v1/messages", &again, b"{}").0, 422);
    assert_eq!(
        post(&relay, "/api/v1/messages", &again, letter("x").as_bytes()).0,
        200
    );
}

#[test]
fn an_answered_message_survives_a_kill() {
    let (scene, mx) = Scene::with_mx(Script::new().says("MAIL", "451 4.3.0 not now"));
    let mut relay = scene.relay("");
    let letter = json!({"from": "a@c.test", "to": ["b@d.test"], "text": "kept"});
    let ids: Vec<Value> = (0..20)
        .map(|_| inject(&relay, &letter).1["id"].clone())
        .collect();
    relay.kill();
    relay.restart();
    let queued = eventually("the queue", || {
        let queued = relay.queue();
        (queued.len() == ids.len()).then_some(queued)
    });
    assert!(queued.iter().all(|entry| ids.contains(&entry["id"])));
    drop(mx);
    // A relay that ends takes no more, and says so.
    relay.signal(Signal::TERM);
    relay.wait();
}
