//! Who gets no mail: addresses that hosts have refused for good, or that an operator named.
//!
//! ```text
//!  shard ─ has(address)? ─► List: hashes, in pieces that are replaced whole ◄─┐ published
//!    └─ note(bounce) ─► bounded channel ─► keeper's thread ─► Book: a file, appended and synced
//!  control plane ─ add, remove, page ─────────┘
//! ```
//!
//! What a host says no to, on the wire or in a report, is settled only after the list has it on the disk.
//! The keeper is a thread because it waits for the disk and may read a million lines, which no shard can.
//! It sees files through `outside`: the simulator runs the same code on its own disk.
//!
//! Every shard looks at every recipient, so looking takes no lock and touches one short piece. The
//! addresses themselves are in the file alone; in memory an entry takes some fifty octets, so that a
//! million of them are a small matter.

mod book;
mod keeper;
mod outside;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Wall;

#[cfg(any(test, feature = "sim"))]
pub(crate) use keeper::Work;
pub use keeper::{Keeper, Suppressions, Trouble};
pub(crate) use outside::{Outside, Paper};

/// An address that gets no mail, as the file and the control plane have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Suppression")]
pub struct Entry {
    /// The address, in lower case.
    pub address: String,
    /// A class of the rules for bounces, `complaint`, or `manual`.
    pub why: String,
    /// Since when: seconds since 1970.
    pub at: i64,
    /// Until when; `None`: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The reply, or an operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Some of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SuppressionPage")]
pub struct Page {
    /// Its entries, the oldest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` behind the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// How many addresses get no mail now, over all pages.
    pub total: usize,
}

/// A refusal that may be a reason to send no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// Whose.
    pub address: String,
    /// What it means.
    pub why: &'static str,
    /// When it came.
    pub at: Wall,
    /// The reply.
    pub text: String,
    /// Refusals it takes.
    pub after: usize,
    /// For how long, in seconds; `None`: for good.
    pub span: Option<i64>,
    /// The report that says so, which may be read once more; `None`: the host has said it itself.
    pub report: Option<String>,
}

/// The addresses, for whoever only wants to know whether one is among them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct List {
    pieces: Arc<[ArcSwap<Vec<Mark>>]>,
    /// Keyed anew by each process: nobody can make addresses that look alike.
    keys: RandomState,
}

/// An address, by its hash. One of 64 bits: two of a million addresses look alike once in tens of
/// millions of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    hash: u64,
    /// Seconds since 1970.
    until: i64,
}

impl List {
    pub(crate) fn new() -> Self {
        let pieces = (0..PIECES).map(|_| ArcSwap::from_pointee(Vec::new()));
        Self {
            pieces: pieces.collect(),
            keys: RandomState::new(),
        }
    }

    /// An address without regard to case: who was refused as Bob is refused as bob.
    fn hash(&self, address: &str) -> u64 {
        match address.bytes().any(|octet| octet.is_ascii_uppercase()) {
            true => self.keys.hash_one(address.to_ascii_lowercase().as_str()),
            false => self.keys.hash_one(address),
        }
    }

    fn piece(&self, hash: u64) -> &ArcSwap<Vec<Mark>> {
        // The high bits: the low ones order nothing that matters, and the count is a power of two.
        &self.pieces[(hash >> (64 - PIECES.trailing_zeros())) as usize]
    }

    pub(crate) fn has(&self, address: &str, now: i64) -> bool {
        let hash = self.hash(address);
        let piece = self.piece(hash).load();
        if piece.is_empty() {
            return false;
        }
        let found = piece.binary_search_by_key(&hash, |mark| mark.hash);
        found.is_ok_and(|place| now < piece[place].until)
    }

    /// Puts an address in, or takes it out. By one thread only.
    fn set(&self, hash: u64, until: Option<i64>) {
        let piece = self.piece(hash);
        let mut marks = Vec::clone(&piece.load());
        match (marks.binary_search_by_key(&hash, |mark| mark.hash), until) {
            (Ok(place), Some(until)) => marks[place].until = until,
            (Err(place), Some(until)) => marks.insert(place, Mark { hash, until }),
            (Ok(place), None) => drop(marks.remove(place)),
            (Err(_), None) => return,
        }
        piece.store(Arc::new(marks));
    }

    /// Takes these in place of all there are.
    fn replace(&self, marks: impl Iterator<Item = (u64, i64)>) {
        let mut pieces = vec![Vec::new(); self.pieces.len()];
        for (hash, until) in marks {
            let place = (hash >> (64 - PIECES.trailing_zeros())) as usize;
            pieces[place].push(Mark { hash, until });
        }
        for (piece, mut marks) in self.pieces.iter().zip(pieces) {
            marks.sort_unstable_by_key(|mark| mark.hash);
            piece.store(Arc::new(marks));
        }
    }
}

/// A million addresses are 250 in each: copied when one of them changes.
const PIECES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_whatever_its_case_and_until_its_time() {
        let list = List::new();
        let hash = list.hash("Bob@d.test");
        list.set(hash, Some(100));
        assert!(list.has("bob@D.TEST", 99) && !list.has("bob@d.test", 100));
        assert!(!list.has("bo@d.test", 0));
        list.set(hash, Some(i64::MAX));
        assert!(list.has("bob@d.test", i64::MAX - 1));
        list.set(hash, None);
        assert!(!list.has("bob@d.test", 0));
    }

    #[test]
    fn a_hundred_thousand_are_told_from_a_hundred_thousand_others() {
        let list = List::new();
        let hash = |number: u32| (list.hash(&format!("u{number}@d.test")), i64::MAX);
        list.replace((0..100_000).map(hash));
        let has = |number: &u32| list.has(&format!("u{number}@d.test"), 0);
        assert_eq!((0..200_000).filter(has).count(), 100_000);
    }
}
