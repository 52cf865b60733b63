//! SORT (RFC 5256 §3, RFC 5957), of messages by their summaries.

use std::cmp::Ordering;

use imap_codec::imap_types::extensions::sort::{SortCriterion, SortKey};

use super::search::Facts;
use super::summary::{CC, FROM, Summary, TO};

/// What SORT compares of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What the index knows.
    pub facts: Facts,
    keys: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(String),
}

/// True when these criteria need no more than the index.
#[must_use]
pub fn is_cheap(criteria: &[SortCriterion]) -> bool {
    let cheap =
        |criterion: &SortCriterion| matches!(criterion.key, SortKey::Arrival | SortKey::Size);
    criteria.iter().all(cheap)
}

impl Candidate {
    /// A message, made ready for these criteria.
    #[must_use]
    pub fn new(facts: Facts, summary: &Summary, criteria: &[SortCriterion]) -> Self {
        let keys = criteria
            .iter()
            .map(|criterion| match criterion.key {
                SortKey::Arrival => Value::Number(facts.saved),
                SortKey::Date => Value::Number(sent(&facts, summary)),
                SortKey::Size => Value::Number(i64::from(facts.size)),
                SortKey::Subject => Value::Text(summary.base_subject().0),
                SortKey::From => Value::Text(summary.first[FROM].clone()),
                SortKey::To => Value::Text(summary.first[TO].clone()),
                SortKey::Cc => Value::Text(summary.first[CC].clone()),
                SortKey::DisplayFrom => Value::Text(summary.display[FROM].clone()),
                SortKey::DisplayTo => Value::Text(summary.display[TO].clone()),
            })
            .collect();
        Self { facts, keys }
    }
}

/// When it was sent; when it arrived where Date says nothing (RFC 5256 §2.2).
#[must_use]
pub fn sent(facts: &Facts, summary: &Summary) -> i64 {
    summary.sent.map_or(facts.saved, |sent| sent.seconds)
}

/// Sorts; what is equal stays in the order of its numbers, also in reverse.
pub fn sort(candidates: &mut [Candidate], criteria: &[SortCriterion]) {
    candidates.sort_by(|one, other| {
        let by = |(at, criterion): (usize, &SortCriterion)| {
            let order = one.keys[at].cmp(&other.keys[at]);
            if criterion.reverse {
                order.reverse()
            } else {
                order
            }
        };
        let mut orders = criteria.iter().enumerate().map(by);
        let order = orders.find(|order| *order != Ordering::Equal);
        order.unwrap_or_else(|| one.facts.uid.cmp(&other.facts.uid))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::search::Flags;

    fn sorted(criteria: &[(SortKey, bool)]) -> Vec<u32> {
        let messages = [
            (
                1,
                30,
                "Subject: b\r\nFrom: Zoe <x@a>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\n",
            ),
            (
                2,
                20,
                "Subject: Re: a\r\nFrom: y@a\r\nDate: Mon, 1 Jan 2024 00:00:00 -0100\r\n\r\n",
            ),
            (3, 10, "Subject: A\r\nFrom: Ann <w@a>\r\n\r\n"),
        ];
        let criteria: Vec<SortCriterion> = criteria
            .iter()
            .map(|(key, reverse)| SortCriterion {
                reverse: *reverse,
                key: key.clone(),
            })
            .collect();
        let mut candidates: Vec<Candidate> = messages
            .iter()
            .map(|(uid, size, raw)| {
                let facts = Facts {
                    number: *uid,
                    uid: *uid,
                    modseq: 1,
                    size: *size,
                    saved: 0,
                    flags: Flags::default(),
                    keywords: 0,
                    recent: false,
                };
                Candidate::new(facts, &Summary::of(raw.as_bytes()), &criteria)
            })
            .collect();
        sort(&mut candidates, &criteria);
        candidates
            .iter()
            .map(|candidate| candidate.facts.uid)
            .collect()
    }

    #[test]
    fn every_key_has_its_order() {
        for (criteria, expected) in [
            (&[(SortKey::Arrival, false)][..], [1, 2, 3]),
            (&[(SortKey::Arrival, true)], [1, 2, 3]),
            (&[(SortKey::Size, false)], [3, 2, 1]),
            (&[(SortKey::Date, false)], [3, 1, 2]),
            (&[(SortKey::Date, true)], [2, 1, 3]),
            (&[(SortKey::Subject, false)], [2, 3, 1]),
            (
                &[(SortKey::Subject, false), (SortKey::Size, false)],
                [3, 2, 1],
            ),
            (&[(SortKey::From, false)], [3, 1, 2]),
            (&[(SortKey::DisplayFrom, false)], [3, 2, 1]),
            (&[(SortKey::To, false), (SortKey::Cc, true)], [1, 2, 3]),
        ] {
            assert_eq!(sorted(criteria), expected, "{criteria:?}");
        }
    }
}
