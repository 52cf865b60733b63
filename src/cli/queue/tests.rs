use clap::Parser;

use super::*;
use crate::cli::client::{EX_DATAERR, EX_NOPERM};
use crate::control::tests::Running;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn line(words: &[&str]) -> Result<Arguments, clap::Error> {
    let line = Line::try_parse_from([&["queue"], words].concat());
    line.map(|line| line.arguments)
}

/// Runs a command against a relay with messages `0000000000001` (the older one) and
/// `0000000000000`, both from `a@c.test` to `d.test`.
fn said(words: &[&str]) -> Result<String, Complaint> {
    let plane = Running::start(None);
    let client = Client::new(plane.address, None);
    let arguments = line(words).expect("a command");
    answer(&arguments, &client).map(|answer| answer.result)
}

fn refused(words: &[&str]) -> u8 {
    said(words).expect_err("a refusal").code
}

#[test]
fn operator_lists_messages() {
    let table = said(&["list"]).expect("a table");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("ID "), "{table}");
    assert!(lines[1].starts_with("0000000000001 "), "{table}");
    for words in [
        "a@c.test",
        "b0@d.test",
        "waiting",
        "in 60s",
        "451 4.3.0 busy",
    ] {
        assert!(lines[2].contains(words), "{words} in {table}");
    }
    assert!(!table.contains('\x1b'), "a peer's words steer the terminal");
    let one = said(&["list", "--to", "b1@d.test"]).expect("a table");
    assert!(one.contains("0000000000001") && !one.contains("0000000000000"));
    assert_eq!(said(&["list", "--domain", "e.test"]), Ok(String::new()));
}

#[test]
fn programs_list_messages() {
    let text = said(&["list", "--json"]).expect("JSON");
    let entries: Vec<QueueEntry> = serde_json::from_str(&text).expect("entries");
    assert_eq!(entries.len(), 2);
    let text = said(&["--json", "list", "--domain", "e.test"]).expect("JSON");
    assert_eq!(text.trim(), "[]");
}

#[test]
fn operator_looks_at_one_message() {
    let shown = said(&["show", "0000000000001"]).expect("a message");
    for words in [
        "0000000000001",
        "a@c.test",
        "b1@d.test",
        "1 of 3 not settled",
        "451 4.3.0 busy",
        "shard       1",
    ] {
        assert!(shown.contains(words), "{words} in {shown}");
    }
    assert!(!shown.contains('\x1b'));
    assert_eq!(refused(&["show", "000000000000A"]), EX_NOINPUT);
    assert_eq!(refused(&["show", "nonsense"]), EX_DATAERR);
    assert_eq!(refused(&["show", "../latency"]), EX_USAGE);
}

#[test]
fn operator_gives_orders() {
    assert_eq!(
        said(&["hold", "0000000000001"]).as_deref(),
        Ok("1 message, 2 recipients held\n")
    );
    assert_eq!(
        said(&["bounce", "--from", "a@c.test"]).as_deref(),
        Ok("2 messages, 4 recipients returned\n")
    );
    let text = said(&["retry", "--all", "--json"]).expect("JSON");
    let acted: Acted = serde_json::from_str(&text).expect("an account");
    assert_eq!(acted.messages, 2);
    assert_eq!(
        said(&["release", "--domain", "e.test"]).as_deref(),
        Ok("0 messages, 0 recipients released\n")
    );
    assert_eq!(refused(&["remove", "000000000000A"]), EX_NOINPUT);
    assert_eq!(refused(&["remove"]), EX_USAGE);
    assert!(line(&["remove", "--all", "--to", "b@d.test"]).is_err());
}

#[test]
fn operator_sees_the_shape() {
    let table = said(&["shape"]).expect("a table");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][11..], ["1280+", "FOUND", "TO", "TAKE"]);
    assert_eq!(lines[1][..3], ["TOTAL", "20", "2"]);
    assert_eq!(lines[2][..3], ["d.test", "20", "2"]);
    assert_eq!(lines[2][12..], ["42/m,", "tomorrow"], "{table}");
    assert!(lines.iter().all(|line| line.len() >= 12), "{table}");
}

#[test]
fn operator_sees_the_shape_by_state() {
    let table = said(&["shape", "--by-state"]).expect("a table");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0][2..7],
        ["ready", "in_flight", "waiting", "held", "removed"]
    );
    assert_eq!(lines[2][..7], ["d.test", "20", "20", "0", "0", "0", "0"]);
}

#[test]
fn operator_has_the_wrong_token() {
    let plane = Running::start(Some("secret"));
    let arguments = line(&["list"]).expect("a command");
    for (token, code) in [(None, Some(EX_NOPERM)), (Some("secret"), None)] {
        let client = Client::new(plane.address, token.map(str::to_owned));
        let refusal = answer(&arguments, &client).err();
        assert_eq!(refusal.map(|refusal| refusal.code), code);
    }
}

#[test]
fn operator_looks_before_an_order() {
    let shown = said(&["remove", "--domain", "d.test", "--dry-run"]).expect("a dry run");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "2 messages, 4 recipients would be removed");
    assert!(lines[2].starts_with("ID ") && lines[3].starts_with("0000000000001 "));
    let text = said(&["hold", "--all", "--dry-run", "--json"]).expect("JSON");
    let acted: Acted = serde_json::from_str(&text).expect("an account");
    assert!(acted.dry_run && acted.samples.len() == 2);
}

#[test]
fn operator_selects_by_state_size_destination_and_reply() {
    for (words, found) in [
        (&["--state", "waiting"][..], 2),
        (&["--state", "held"], 0),
        (&["--larger-than", "1KiB"], 2),
        (&["--smaller-than", "1KiB"], 0),
        (&["--destination", "d.test", "--reply", "BUSY"], 2),
        (&["--reply", "user unknown"], 0),
        (&["--newer-than", "1h"], 2),
        (&["--newer-than", "10m"], 0),
    ] {
        let text = said(&[&["list", "--json"], words].concat()).expect("JSON");
        let entries: Vec<QueueEntry> = serde_json::from_str(&text).expect("entries");
        assert_eq!(entries.len(), found, "{words:?}");
    }
    assert!(line(&["hold", "--state", "dead"]).is_err());
    assert!(line(&["hold", "--larger-than", "big"]).is_err());
    assert!(line(&["hold", "--all", "--reply", "busy"]).is_err());
}
