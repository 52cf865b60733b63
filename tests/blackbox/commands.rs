//! What an operator asks and orders.

use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::support::{Mx, Relay, Report, Scene, Script, eventually, message};

fn ringpost(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_ringpost"))
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// A relay whose mail for `d.test` waits an hour, and the exchanger that made it wait.
fn waiting(count: usize) -> (Scene, Mx, Relay, Vec<String>) {
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT TO:<b", "451 4.3.0 busy"));
    let relay = scene.relay("queue.retry = [\"1h\"]");
    let ids = (0..count)
        .map(|n| {
            relay.submit(
                "<a@c.test>",
                &[&format!("<b{n}@d.test>")],
                &message("waiting"),
            )
        })
        .collect();
    eventually("every attempt is over", || {
        (relay.log().matches("status=deferred").count() == count).then_some(())
    });
    (scene, mx, relay, ids)
}

#[test]
fn operator_lists_and_shows_the_queue() {
    let (_scene, _mx, relay, ids) = waiting(2);
    let listed: Vec<String> = relay
        .queue()
        .iter()
        .map(|entry| entry["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(listed.len(), 2);
    assert!(
        ids.iter().all(|id| listed.contains(id)),
        "{listed:?} {ids:?}"
    );
    let table = relay.ask(&["queue", "list"]);
    assert!(ids.iter().all(|id| table.contains(id.as_str())), "{table}");
    let shown = relay.ask(&["queue", "show", &ids[0]]);
    for words in [ids[0].as_str(), "a@c.test", "b0@d.test", "451 4.3.0 busy"] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    let started = Instant::now();
    relay.ask(&["queue", "list"]);
    assert!(
        started.elapsed().as_millis() < 1_000,
        "an idle relay took {:?}",
        started.elapsed()
    );
    assert!(
        !relay
            .run(&["queue", "show", "0000000000000"])
            .status
            .success()
    );
}

#[test]
fn operator_retries_now() {
    let (_scene, mx, relay, ids) = waiting(2);
    mx.behaves(Script::new());
    relay.ask(&["queue", "retry", &ids[1]]);
    assert!(mx.wait_for(1)[0].is_for("b1@d.test"));
    relay.ask(&["queue", "retry", "--all"]);
    assert!(mx.wait_for(2)[1].is_for("b0@d.test"));
    relay.wait_until_empty();
}

#[test]
fn operator_removes_one_and_bounces_another() {
    let (_scene, mx, relay, ids) = waiting(3);
    relay.ask(&["queue", "remove", &ids[0]]);
    relay.ask(&["queue", "bounce", "--to", "b1@d.test"]);
    let report = Report::parse(mx.wait_for_mail_to("a@c.test"));
    assert_eq!(report.per_recipient.len(), 1);
    assert_eq!(report.recipient("b1@d.test").field("Action"), "failed");
    eventually("one is left", || (relay.queue().len() == 1).then_some(()));
    assert_eq!(relay.queue()[0]["id"], ids[2].as_str());
}

#[test]
fn operator_holds_and_releases() {
    let (_scene, mx, mut relay, ids) = waiting(1);
    relay.ask(&["queue", "hold", &ids[0]]);
    mx.behaves(Script::new());
    relay.ask(&["queue", "retry", &ids[0]]);
    crate::support::never("a held message goes out", || !mx.messages().is_empty());
    relay.terminate();
    relay.restart();
    relay.ask(&["queue", "release", &ids[0]]);
    relay.ask(&["queue", "retry", &ids[0]]);
    mx.wait_for(1);
}

#[test]
fn operator_looks_before_an_order_and_says_why() {
    let (_scene, _mx, relay, ids) = waiting(3);
    let order = [
        "queue",
        "remove",
        "--destination",
        "d.test",
        "--reply",
        "BUSY",
        "--state",
        "waiting",
    ];
    let dry = relay.ask(&[&order[..], &["--dry-run"]].concat());
    assert!(
        dry.starts_with("3 messages, 3 recipients would be removed\n"),
        "{dry}"
    );
    assert!(ids.iter().all(|id| dry.contains(id.as_str())), "{dry}");
    assert_eq!(relay.queue().len(), 3, "nothing was done");
    let none = relay.ask(&[
        "queue",
        "hold",
        "--larger-than",
        "1MiB",
        "--reason",
        "too large",
    ]);
    assert_eq!(none, "0 messages, 0 recipients held\n");
    let done = relay.ask(&[&order[..], &["--to", "b1@d.test", "--reason", "asked to"]].concat());
    assert_eq!(done, "1 message, 1 recipient removed\n");
    assert_eq!(relay.queue().len(), 2);

    let record = fs::read_to_string(relay.data().join("audit.jsonl")).expect("a record");
    let lines: Vec<serde_json::Value> = record
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        lines.len(),
        4,
        "two for each order, none for a dry run: {record}"
    );
    assert_eq!(lines[3]["reason"], "asked to");
    assert_eq!(lines[3]["outcome"]["ids"], serde_json::json!([ids[1]]));
}

#[test]
fn operator_undoes_a_removal_after_the_machine_died() {
    let (_scene, mx, mut relay, ids) = waiting(3);
    mx.behaves(Script::new());
    relay.ask(&["queue", "remove", &ids[0], "--for-good"]);
    let done = relay.run(&["queue", "remove", "--domain", "d.test"]);
    let hint = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(hint.contains("ringpost queue undo --change "), "{hint}");
    assert!(relay.queue().is_empty());
    relay.kill();
    relay.setup.extra = "queue.retry = [\"300ms\"]".into();
    relay.restart();
    assert_eq!(relay.metric("ringpost_recipients_queued", ""), 0.0);
    let listed = relay.ask(&["queue", "list", "--state", "removed"]);
    assert!(
        listed.contains(&ids[1]) && listed.contains("gone in"),
        "{listed}"
    );
    assert!(!listed.contains(&ids[0]), "gone for good: {listed}");
    crate::support::never("removed mail goes out", || !mx.messages().is_empty());
    assert_eq!(
        relay.ask(&["queue", "undo"]),
        "2 messages, 2 recipients put back\n"
    );
    mx.wait_for(2);
    relay.wait_until_empty();
    assert_eq!(relay.metric("ringpost_accounting_difference", ""), 0.0);
    assert_eq!(relay.run(&["queue", "undo"]).status.code(), Some(66));
}

#[test]
fn operator_follows_dialogues_while_they_happen() {
    let (_scene, _mx, relay, _) = waiting(0);
    let follow = |whom: [&'static str; 2]| {
        let words = [&["trace"][..], &whom, &["--seconds", "5"]].concat();
        String::from_utf8(relay.run(&words).stdout).expect("text")
    };
    let (inbound, outbound) = std::thread::scope(|scope| {
        let inbound = scope.spawn(|| follow(["--client", "127.0.0.0/8"]));
        let outbound = scope.spawn(|| follow(["--destination", "D.test"]));
        // They follow what begins from when on they follow; nothing says when that is.
        while !(inbound.is_finished() && outbound.is_finished()) {
            relay.submit(
                "<a@c.test>",
                &["<c@d.test>"],
                &message("for nobody else's eyes"),
            );
        }
        let done = |thread: std::thread::ScopedJoinHandle<'_, String>| thread.join();
        (
            done(inbound).expect("lines"),
            done(outbound).expect("lines"),
        )
    });
    for words in [
        "> EHLO ",
        "> RCPT TO:<c@d.test>",
        "< 354 ",
        " octets of content)",
        "< 250 ",
    ] {
        assert!(inbound.contains(words), "{words} in {inbound}");
        assert!(outbound.contains(words), "{words} in {outbound}");
    }
    assert!(
        !(inbound + &outbound).contains("nobody else"),
        "content was told"
    );
    assert_eq!(relay.run(&["trace"]).status.code(), Some(64));
}

#[test]
fn operator_redirects_what_waits_and_reads_it() {
    let (_scene, mx, mut relay, ids) = waiting(2);
    let raw = relay.ask(&["queue", "show", &ids[0], "--raw"]);
    assert!(
        raw.starts_with("Received: ") && raw.ends_with("Words of waiting.\r\n"),
        "{raw}"
    );
    let order = [
        "queue",
        "redirect",
        "--to",
        "b0@d.test",
        "--into",
        "new@d.test",
    ];
    assert_eq!(relay.ask(&order), "1 message, 1 recipient redirected\n");
    relay.kill();
    relay.restart();
    let received = mx.wait_for_mail_to("new@d.test");
    let text = String::from_utf8_lossy(&received.content()).into_owned();
    assert!(text.ends_with("Words of waiting.\r\n"), "{text}");
    eventually("the other waits", || {
        (relay.queue().len() == 1).then_some(())
    });
    assert_eq!(relay.queue()[0]["id"], ids[1].as_str());
    assert_eq!(relay.metric("ringpost_accounting_difference", ""), 0.0);
    assert_eq!(
        relay
            .run(&["queue", "redirect", "--all", "--into", "x"])
            .status
            .code(),
        Some(65)
    );
}

#[test]
fn machine_dies_right_after_an_order() {
    for (act, is_gone) in [("remove", true), ("bounce", true), ("hold", false)] {
        let (_scene, mx, mut relay, ids) = waiting(1);
        mx.behaves(Script::new());
        relay.ask(&["queue", act, &ids[0]]);
        relay.kill();
        relay.setup.extra = "queue.retry = [\"300ms\"]".into();
        relay.restart();
        let states: Vec<String> = relay
            .queue()
            .iter()
            .filter(|entry| entry["id"] == ids[0].as_str())
            .map(|entry| entry["recipients"][0]["state"].to_string())
            .collect();
        if is_gone {
            assert!(states.is_empty(), "{act}: {states:?}");
        } else {
            assert_eq!(states, ["\"held\""], "{act}");
        }
    }
}

#[test]
fn accounts_balance() {
    let (scene, mx) = Scene::with_mx(
        Script::new()
            .says("RCPT TO:<no@", "550 5.1.1 no")
            .says("RCPT TO:<wait@", "451 4.3.0 busy"),
    );
    let relay = scene.relay("queue.retry = [\"1h\"]");
    let mut client = relay.client();
    client
        .submit(
            "<a@c.test>",
            &["<yes@d.test>", "<no@d.test>", "<wait@d.test>"],
            &message("three"),
        )
        .is("250 ");
    mx.wait_for_mail_to("a@c.test");
    eventually("one waits", || (relay.queue().len() == 1).then_some(()));
    eventually("the accounts settle", || {
        (relay.metric("ringpost_accounting_difference", "") == 0.0).then_some(())
    });
    let (code, health) = relay.fetch("/healthz").expect("an answer");
    assert_eq!(code, 200, "{health}");
}

#[test]
fn operator_asks_for_latencies() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("measured"));
    mx.wait_for(1);
    relay.wait_until_empty();
    let table = relay.ask(&["latency"]);
    for stage in ["commit", "dns", "connect"] {
        assert!(table.to_lowercase().contains(stage), "{stage} in {table}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&relay.ask(&["latency", "--json"])).expect("JSON");
    assert!(json.is_array() || json.is_object());
}

#[test]
fn configuration_has_two_faults() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    fs::write(
        &path,
        "hostname = \"relay.test\"\n[smtp]\nmax_recipient = 3\nmax_message_size = \"many\"\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let output = ringpost(&["check", "--config", path]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("{path}:3:")) && said.contains("max_recipients"),
        "{said}"
    );
    assert_eq!(
        ringpost(&["serve", "--config", path]).status.code(),
        Some(78)
    );
    assert_eq!(
        ringpost(&["check", "--config", "/nonexistent/ringpost.toml"])
            .status
            .code(),
        Some(78)
    );
}

#[test]
fn effective_configuration_is_a_configuration() {
    let (_scene, _mx, relay, _ids) = waiting(0);
    let printed = relay.ask(&["config"]);
    assert!(
        printed.contains("relay.test") && printed.contains('#'),
        "{printed}"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("again.toml");
    fs::write(&path, &printed).unwrap();
    let output = ringpost(&["check", "--config", path.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_command_explains_itself() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["config", "--help"],
        &["queue", "--help"],
        &["latency", "--help"],
    ] {
        let output = ringpost(command);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{command:?}"
        );
    }
    let version = String::from_utf8(ringpost(&["--version"]).stdout).unwrap();
    assert_eq!(
        version.trim(),
        concat!("ringpost ", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(ringpost(&["no-such-command"]).status.code(), Some(64));
}

#[test]
fn no_relay_runs() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    relay.terminate();
    let output = relay.run(&["queue", "list"]);
    assert_eq!(
        output.status.code(),
        Some(69),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn files_that_are_not_to_be_read_keep_nobody_from_asking_and_sending() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    relay.setup.extra =
        "tls = { certificate = \"/gone\", key = \"/gone\", client_ca = \"/gone\" }\n\
        dkim = [{ domain = \"d.test\", selector = \"s1\", key = \"/gone\" }]\n\
        route = [{ domain = \"hub.test\", to = \"smtp://hub.test\", credentials = \"/gone\" }]"
            .to_owned();
    relay.write_config();
    assert_eq!(relay.run(&["check"]).status.code(), Some(78));
    for words in [
        &["queue", "list"][..],
        &["health"],
        &["config"],
        &["bounces", "550 5.1.1 nobody"],
        &["dkim", "generate", "d.test", "--selector", "s1"],
    ] {
        relay.ask(words);
    }
    let sent = relay.run_with(
        &["sendmail", "-f", "a@c.test", "b@d.test"],
        "Subject: x\n\nx\n",
    );
    assert!(sent.status.success(), "{sent:?}");
    mx.wait_for_mail_to("b@d.test");
}

#[test]
fn an_octet_of_the_spool_is_flipped() {
    let (_scene, _mx, mut relay, ids) = waiting(3);
    let busy = relay.run(&["spool", "check"]);
    assert_eq!(busy.status.code(), Some(75), "a relay runs on it");
    relay.kill();
    let whole = relay.run(&["spool", "check"]);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    assert!(String::from_utf8_lossy(&whole.stdout).contains("messages  3"));
    let flipped = flip_an_octet_of(&relay, "b1@d.test");
    let damaged = relay.run(&["spool", "check"]);
    let said = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert_eq!(damaged.status.code(), Some(65), "{damaged:?}");
    assert!(said.contains(&flipped), "it names {flipped}: {said}");
    // The relay runs on what is whole, and says what is not.
    relay.restart();
    let listed = relay.ask(&["queue", "list"]);
    assert!(listed.contains(&ids[0]), "{listed}");
    assert!(!listed.contains(&ids[1]), "{listed}");
    relay.log_line(&["spool:", &flipped, "cannot be read"]);
}

/// Flips an octet in the record of the message for `recipient`; tells in which file.
fn flip_an_octet_of(relay: &Relay, recipient: &str) -> String {
    let shards = fs::read_dir(relay.data().join("spool")).expect("a spool");
    for shard in shards.filter_map(|entry| Some(entry.ok()?.path())) {
        for log in fs::read_dir(&shard).into_iter().flatten() {
            let path = log.expect("a file").path();
            let mut octets = fs::read(&path).expect("readable");
            if let Some(at) = memchr::memmem::find(&octets, recipient.as_bytes()) {
                octets[at] ^= 1;
                fs::write(&path, octets).expect("writable");
                let name = path.file_name().expect("a name");
                return name.to_string_lossy().into_owned();
            }
        }
    }
    panic!("{recipient} is in no segment");
}

#[test]
fn operator_traces_a_message_through_a_refusal_to_its_delivery() {
    let (_scene, mx, relay, ids) = waiting(1);
    let id = &ids[0];
    let early = relay.ask(&["trace", id]);
    for words in ["accepted from 127.", "451 4.3.0 busy", "next attempt"] {
        assert!(early.contains(words), "{words} in {early}");
    }
    mx.behaves(Script::new());
    relay.ask(&["queue", "retry", id]);
    relay.wait_until_empty();
    let trace: serde_json::Value =
        serde_json::from_str(&relay.ask(&["trace", id, "--json"])).expect("JSON");
    let moments = trace["moments"].as_array().expect("moments");
    let events: Vec<&str> = moments
        .iter()
        .map(|moment| moment["event"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        events,
        ["accepted", "attempt", "ordered", "attempt", "finished"]
    );
    let stages = |place: usize| moments[place]["stages"].as_object().expect("stages");
    assert!(stages(0).contains_key("commit_wait"), "{trace}");
    for stage in ["dns", "connect", "greeting_ehlo"] {
        assert!(stages(1).contains_key(stage), "{stage} in {trace}");
    }
    // Over the connection that was kept.
    for stage in ["queue_wait", "envelope", "body", "dot_to_reply"] {
        assert!(stages(3).contains_key(stage), "{stage} in {trace}");
    }
    assert_eq!(moments[1]["outcomes"][0]["status"], "deferred");
    assert_eq!(moments[3]["outcomes"][0]["status"], "sent");
    assert!(trace["queued"].is_null());
    assert_eq!(
        relay.run(&["trace", "000000000000A"]).status.code(),
        Some(66)
    );
    assert_eq!(relay.run(&["trace", "../queue"]).status.code(), Some(64));
}

#[test]
fn profiles_that_we_hand_out_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/profiles");
    let mut checked = 0;
    for entry in fs::read_dir(folder).expect("profiles").flatten() {
        let path = entry.path();
        let path = path.to_str().expect("a name");
        let output = ringpost(&["check", "--config", path]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path}: {errors}");
        checked += 1;
    }
    assert_eq!(checked, 3);
}
