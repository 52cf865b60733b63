//! What these plays do to a relay, and where it has been: a fault that never strikes proves nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{hardships, panics, seams, suppressing, waiting};
use crate::trial;

/// Every play once for so many seeds: what struck, how often, and what the queue came through.
/// `--nocapture` shows it.
#[test]
fn every_fault_strikes_and_every_state_is_reached() {
    // What earlier tests on this thread have seen is not counted.
    let _ = trial::seen();
    for seed in 0..SEEDS {
        for play in PLAYS {
            play(seed);
        }
    }
    let seen = trial::seen();
    let mut table = String::new();
    for ((kind, what), times) in &seen {
        let _ = writeln!(table, "{kind} | {what} | {times}");
    }
    println!("\nkind | what | times\n{table}");
    let wanted: BTreeMap<_, _> = WANTED.iter().copied().collect();
    let mut missing = Vec::new();
    for (kind, names) in wanted {
        let of_kind = names
            .iter()
            .filter(|name| !seen.contains_key(&(kind, **name)));
        missing.extend(of_kind.map(|name| format!("{kind}: {name}")));
    }
    assert!(missing.is_empty(), "never seen: {missing:#?}\n{table}");
}

const PLAYS: [fn(u64); 30] = [
    super::good_weather,
    super::moody_hosts,
    super::storm,
    super::power_cuts,
    super::power_cut_in_a_write,
    super::large_messages,
    super::full_disk,
    super::failed_sync,
    super::drains,
    super::black_hole,
    hardships::other_shards,
    hardships::power_cut_in_take_over,
    hardships::calendar_between_lives,
    hardships::everything,
    hardships::drain_among_hanging,
    hardships::expiry,
    hardships::operator,
    waiting::later_for_ever,
    waiting::in_time,
    waiting::restart,
    panics::panics,
    panics::lost_shard,
    seams::io_error,
    seams::no_room,
    seams::calendar,
    seams::lies,
    suppressing::ends,
    suppressing::cuts,
    suppressing::disk,
    suppressing::panics,
];

/// What a host may do at a step.
const DOINGS: &[&str] = &["4xx", "5xx", "421, and goes", "goes", "slow"];

/// What has to be seen.
const WANTED: &[(&str, &[&str])] = &[
    (
        "disk",
        &[
            "power cut",
            "power cut in an operation",
            "names lost that were not synced",
            "sectors kept and lost of one file",
            "EIO from any operation",
            "EIO from a write, half of it written",
            "EIO from fdatasync",
            "ENOSPC from any operation",
            "ENOSPC, a part written",
            "EIO from fsync of a directory",
        ],
    ),
    (
        "net",
        &[
            "dial refused",
            "dial unanswered",
            "reset",
            "silence",
            "short read",
            "window full",
        ],
    ),
    (
        "DNS",
        &[
            "SERVFAIL",
            "silence",
            "no records",
            "a stranger's host",
            "nobody's host",
            "ourselves",
            "a host without an address",
            "many hosts",
        ],
    ),
    ("calendar", &["back", "forth"]),
    (
        "panic",
        &[
            "inbound",
            "commit",
            "outbound",
            "chores",
            "suppressions",
            "a whole shard",
        ],
    ),
    (
        "client breaks off",
        &["after MAIL", "in the content", "after the dot"],
    ),
    ("host, greeting", DOINGS),
    ("host, EHLO", DOINGS),
    ("host, MAIL", DOINGS),
    ("host, RCPT", DOINGS),
    ("host, DATA", DOINGS),
    ("host, content", &["goes"]),
    ("host, dot", DOINGS),
    // A part of the queue, from state to state; what comes back from an attempt counts as waiting.
    ("waiting", &["ready", "waiting", "held"]),
    ("ready", &["in_flight", "held"]),
    ("held", &["ready", "waiting"]),
    ("part ends", &["delivered", "failed", "expired", "reported"]),
    // The suppression list: what it is told, and through which states it comes.
    (
        "report",
        &[
            "a bounce",
            "a complaint",
            "a delay",
            "heard before",
            "heard before its address was taken off",
        ],
    ),
    (
        "operator",
        &[
            "was told",
            "was told nothing",
            "takes off what reports have brought",
        ],
    ),
    (
        "suppressions",
        &[
            "written anew",
            "read anew after a panic",
            "half a line cut off",
        ],
    ),
    ("lane", &["closed", "probing", "open again", "narrower"]),
];

/// Seeds for each play.
const SEEDS: u64 = 12;
