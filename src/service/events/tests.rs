//! Files of events, without a webhook that could make it slow.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::service::events::spool::{Cursor, read};

fn line(kind: &str, number: usize) -> Vec<u8> {
    format!("{{\"event\":\"{kind}\",\"n\":{number}}}\n").into_bytes()
}

fn names(place: &Path) -> Vec<String> {
    let files = fs::read_dir(place).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn numbers(body: &[u8]) -> Vec<u64> {
    let events: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap();
    events
        .iter()
        .map(|event| event["n"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_line_that_a_crash_cut_off_does_not_spoil_the_next_one() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("events");
    let mut spool = Spool::open(&place, 1 << 20, 5).unwrap();
    spool
        .append(&[line("removed", 0), line("removed", 1)].concat(), 2)
        .unwrap();
    let next = spool.next();
    drop(spool);
    let [name] = &names(&place)[..] else {
        panic!("one segment");
    };
    let mut file = fs::File::options()
        .append(true)
        .open(place.join(name))
        .unwrap();
    file.write_all(b"{\"event\":\"rem").unwrap();
    let mut spool = Spool::open(&place, 1 << 20, 9).unwrap();
    assert_eq!(spool.next(), next);
    spool.append(&line("removed", 2), 1).unwrap();
    let page = read(&place, Cursor::at(5_000_000), Kinds::ALL, 10).unwrap();
    assert_eq!((numbers(&page.body), page.lost), (vec![0, 1, 2], 0));
}

#[test]
fn a_reader_goes_on_where_it_was_and_skips_what_it_does_not_want() {
    let home = tempfile::tempdir().unwrap();
    // Segments of 64 octets: two lines each.
    let mut spool = Spool::open(home.path(), 16 * 64, 1).unwrap();
    for number in 0..9 {
        let kind = if number % 3 == 0 {
            "bounced"
        } else {
            "delivered"
        };
        spool.append(&line(kind, number), 1).unwrap();
    }
    assert!(names(home.path()).len() > 3);
    let all = read(home.path(), Cursor::at(1_000_000), Kinds::ALL, 100).unwrap();
    assert_eq!(numbers(&all.body), (0..9).collect::<Vec<_>>());
    assert_eq!(all.then.next, spool.next());
    let bounced: Kinds = [Kind::Bounced].into_iter().collect();
    let mut cursor = Cursor::at(1_000_000);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let page = read(home.path(), cursor, bounced, 1).unwrap();
        seen.extend(numbers(&page.body));
        let text = serde_json::to_string(&page.then).unwrap();
        cursor = serde_json::from_str(&text).unwrap();
    }
    assert_eq!(seen, [0, 3, 6]);
    // In the middle of a segment, by number alone.
    let rest = read(home.path(), Cursor::at(1_000_005), Kinds::ALL, 100).unwrap();
    assert_eq!(numbers(&rest.body), [5, 6, 7, 8]);
    let none = read(home.path(), all.then, Kinds::ALL, 100).unwrap();
    assert_eq!((none.count, none.then), (0, all.then));
    spool.trim(1_000_005);
    let rest = read(home.path(), Cursor::at(1_000_005), Kinds::ALL, 100).unwrap();
    assert_eq!((numbers(&rest.body), rest.lost), (vec![5, 6, 7, 8], 0));
}

#[test]
fn a_full_spool_drops_the_oldest_and_the_reader_knows_how_many() {
    let home = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(home.path(), 16 * 64, 1).unwrap();
    for number in 0..100 {
        spool.append(&line("bounced", number), 1).unwrap();
        assert!(spool.octets() <= 16 * 64);
    }
    let page = read(home.path(), Cursor::at(1_000_000), Kinds::ALL, 1000).unwrap();
    let kept = numbers(&page.body);
    assert_eq!(kept.last(), Some(&99));
    assert_eq!(kept.len() as u64 + page.lost, 100);
    assert!(kept.len() > 20, "{}", kept.len());
    // One that has lost its place begins with what there is, and complains of nothing.
    let page = read(home.path(), Cursor::default(), Kinds::ALL, 1000).unwrap();
    assert_eq!((numbers(&page.body), page.lost), (kept, 0));
}

#[test]
fn an_event_larger_than_a_request_goes_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(home.path(), 64 << 20, 1).unwrap();
    let large = format!(
        "{{\"event\":\"accepted\",\"n\":1,\"x\":\"{}\"}}\n",
        "x".repeat(3 << 20)
    );
    spool.append(&line("accepted", 0), 1).unwrap();
    spool.append(large.as_bytes(), 1).unwrap();
    spool.append(&line("accepted", 2), 1).unwrap();
    let mut cursor = Cursor::at(1_000_000);
    for number in 0..3 {
        let page = read(home.path(), cursor, Kinds::ALL, 100).unwrap();
        assert_eq!(numbers(&page.body), [number]);
        cursor = page.then;
    }
}

#[test]
fn only_wanted_kinds_reach_the_spool() {
    let kinds: Kinds = [Kind::Expired].into_iter().collect();
    let lines = [line("expired", 1), line("bounced", 2), line("expired", 3)].concat();
    let (kept, count) = only(kinds, &lines);
    assert_eq!(
        (kept, count),
        ([line("expired", 1), line("expired", 3)].concat(), 2)
    );
}
