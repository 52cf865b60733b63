//! A mailbox as one session sees it. Message numbers belong to the session: a message that another
//! session expunges keeps its number here until this one is told (RFC 9051 §7.5.1), and it may
//! be told at some moments only.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use imap_codec::imap_types::sequence::{SeqOrUid, Sequence, SequenceSet};

/// The messages that a session knows, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// UIDs, ascending; number n is at place n - 1.
    uids: Vec<u32>,
    /// UIDs that are \Recent here, in ranges.
    recent: Vec<RangeInclusive<u32>>,
    /// Up to which modification sequence the session knows flags.
    known: u64,
    /// What this session changed itself and knows of, with the sequence that came of it.
    told: BTreeMap<u32, u64>,
}

/// What a session has to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Numbers of expunged messages, each as it is when those before it are gone.
    pub expunged: Vec<u32>,
    /// Their UIDs.
    pub vanished: Vec<u32>,
    /// How many messages there are, when that has changed.
    pub exists: Option<u32>,
    /// How many are \Recent, when that has changed.
    pub recent: Option<u32>,
}

impl View {
    /// The view of a mailbox just opened.
    #[must_use]
    pub fn new(uids: Vec<u32>, known: u64) -> Self {
        Self {
            uids,
            known,
            ..Self::default()
        }
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.uids.len()).unwrap_or(u32::MAX)
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// The UIDs, in the order of their numbers.
    #[must_use]
    pub fn uids(&self) -> &[u32] {
        &self.uids
    }

    /// The UID of a number.
    #[must_use]
    pub fn uid(&self, number: u32) -> Option<u32> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.uids.get(at).copied()
    }

    /// The number of a UID.
    #[must_use]
    pub fn number(&self, uid: u32) -> Option<u32> {
        let at = self.uids.binary_search(&uid).ok()?;
        u32::try_from(at + 1).ok()
    }

    /// From `first` on, messages are \Recent in this session.
    pub fn mark_recent(&mut self, first: u32) {
        if let Some(last) = self.uids.last().filter(|last| **last >= first) {
            self.recent.push(first..=*last);
        }
    }

    /// Is it \Recent here?
    #[must_use]
    pub fn is_recent(&self, uid: u32) -> bool {
        self.recent.iter().any(|range| range.contains(&uid))
    }

    /// How many are \Recent.
    #[must_use]
    pub fn recent(&self) -> u32 {
        let count = |range: &RangeInclusive<u32>| {
            let from = self.uids.partition_point(|uid| uid < range.start());
            let to = self.uids.partition_point(|uid| uid <= range.end());
            to - from
        };
        u32::try_from(self.recent.iter().map(count).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// The modification sequence up to which the session knows flags.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.known
    }

    /// This session was told of the flags of `uid` as they are at `modseq`.
    pub fn tell(&mut self, uid: u32, modseq: u64) {
        if modseq > self.known {
            self.told.insert(uid, modseq);
        }
    }

    /// Does the session know the flags that `uid` has at `modseq`?
    #[must_use]
    pub fn knows(&self, uid: u32, modseq: u64) -> bool {
        modseq <= self.known || self.told.get(&uid).is_some_and(|told| *told == modseq)
    }

    /// The session was told of every flag up to `modseq`.
    pub fn caught_up(&mut self, modseq: u64) {
        self.known = self.known.max(modseq);
        let known = self.known;
        self.told.retain(|_, told| *told > known);
    }

    /// Takes over how the mailbox is now: `current` has its UIDs, ascending. What is gone keeps
    /// its number unless `may_expunge`.
    pub fn refresh(&mut self, current: &[u32], may_expunge: bool) -> News {
        let mut gone = Vec::new();
        let mut left = current.iter().peekable();
        for uid in &self.uids {
            while left.next_if(|other| *other < uid).is_some() {}
            if left.next_if(|other| *other == uid).is_none() {
                gone.push(*uid);
            }
        }
        let last = self.uids.last().copied().unwrap_or(0);
        let new = current.partition_point(|uid| *uid <= last);
        self.update(&gone, &current[new..], may_expunge)
    }

    /// Takes over what has happened since: `gone` has UIDs that are not there any more, ascending,
    /// and `new` those that came after the last one of the view. What is gone keeps its number
    /// unless `may_expunge`.
    pub fn update(&mut self, gone: &[u32], new: &[u32], may_expunge: bool) -> News {
        let mut news = News::default();
        if may_expunge {
            for uid in gone {
                if let Ok(at) = self.uids.binary_search(uid) {
                    let number = u32::try_from(at + 1 - news.vanished.len()).unwrap_or(u32::MAX);
                    news.expunged.push(number);
                    news.vanished.push(*uid);
                }
            }
            match news.vanished.as_slice() {
                [] => {}
                // All that stands behind it moves; for a few that is less than to look at each.
                [uid] => {
                    if let Ok(at) = self.uids.binary_search(uid) {
                        self.uids.remove(at);
                    }
                }
                vanished => self.uids.retain(|uid| vanished.binary_search(uid).is_err()),
            }
        }
        self.uids.extend_from_slice(new);
        if !new.is_empty() {
            news.exists = Some(self.len());
        }
        news
    }

    /// Are some of these in the view?
    #[must_use]
    pub fn has_any(&self, uids: &[u32]) -> bool {
        uids.iter().any(|uid| self.uids.binary_search(uid).is_ok())
    }

    /// The UIDs that a set of message numbers names, ascending; `None` when a number is beyond the
    /// last (RFC 9051 §9, seq-number).
    #[must_use]
    pub fn numbered(&self, set: &SequenceSet) -> Option<Vec<u32>> {
        let mut uids = Vec::new();
        for range in self.numbers(set)? {
            let from = usize::try_from(*range.start()).ok()? - 1;
            let to = usize::try_from(*range.end()).ok()?;
            uids.extend_from_slice(self.uids.get(from..to)?);
        }
        Some(uids)
    }

    /// The same as ranges of numbers.
    #[must_use]
    pub fn numbers(&self, set: &SequenceSet) -> Option<Vec<RangeInclusive<u32>>> {
        let ranges = ranges(set, self.len());
        let beyond = |range: &RangeInclusive<u32>| *range.end() > self.len() || *range.start() == 0;
        (!ranges.iter().any(beyond)).then_some(ranges)
    }

    /// The last UID up to which a client that knows these numbers by these UIDs has heard of every
    /// expunge; 0 for none (RFC 7162 §3.2.5.2).
    #[must_use]
    pub fn agreed(&self, numbers: &SequenceSet, uids: &SequenceSet) -> u32 {
        let last = self.uids.last().copied().unwrap_or(0);
        let numbers = ranges(numbers, self.len()).into_iter().flatten();
        let uids = ranges(uids, last).into_iter().flatten();
        let pairs = numbers.zip(uids);
        let agreed = pairs.take_while(|(number, uid)| self.uid(*number) == Some(*uid));
        agreed.last().map_or(0, |(_, uid)| uid)
    }

    /// The UIDs of this view that a set of UIDs names, ascending. What is not there is passed over.
    #[must_use]
    pub fn named(&self, set: &SequenceSet) -> Vec<u32> {
        let mut uids = Vec::new();
        for range in ranges(set, self.uids.last().copied().unwrap_or(0)) {
            let from = self.uids.partition_point(|uid| uid < range.start());
            let to = self.uids.partition_point(|uid| uid <= range.end());
            uids.extend_from_slice(&self.uids[from..to]);
        }
        uids
    }
}

/// The ranges of a set, ascending, without overlaps. `last` stands for `*`.
#[must_use]
pub fn ranges(set: &SequenceSet, last: u32) -> Vec<RangeInclusive<u32>> {
    let number = |seq: &SeqOrUid| match seq {
        SeqOrUid::Value(value) => value.get(),
        SeqOrUid::Asterisk => last,
    };
    let mut found: Vec<(u32, u32)> = Vec::new();
    for sequence in set.0.as_ref() {
        let (one, other) = match sequence {
            Sequence::Single(single) => (number(single), number(single)),
            Sequence::Range(from, to) => (number(from), number(to)),
        };
        found.push((one.min(other), one.max(other)));
    }
    found.sort_unstable();
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for (from, to) in found {
        match merged.last_mut() {
            Some(before) if from <= before.end().saturating_add(1) => {
                *before = *before.start()..=to.max(*before.end());
            }
            _ => merged.push(from..=to),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> SequenceSet {
        SequenceSet::try_from(text).unwrap()
    }

    #[test]
    fn numbers_beyond_the_last_are_wrong_and_uids_are_passed_over() {
        let view = View::new(vec![10, 20, 30], 1);
        assert_eq!(view.numbered(&set("3,1:2,2")), Some(vec![10, 20, 30]));
        assert_eq!(view.numbered(&set("*")), Some(vec![30]));
        assert_eq!(view.numbered(&set("2:*")), Some(vec![20, 30]));
        assert_eq!(view.numbered(&set("4")), None);
        assert_eq!(view.numbered(&set("2:4")), None);
        assert_eq!(view.named(&set("15:25,30,99")), [20, 30]);
        assert_eq!(view.named(&set("4294967295:*")), [30]);
        let empty = View::default();
        assert_eq!(empty.numbered(&set("*")), None);
        assert_eq!(empty.named(&set("1:*")), Vec::<u32>::new());
    }

    #[test]
    fn where_number_and_uid_agree_nothing_before_was_missed() {
        let view = View::new(vec![1, 3, 8, 9], 1);
        assert_eq!(view.agreed(&set("1,3"), &set("1,8")), 8);
        assert_eq!(view.agreed(&set("1:2,4"), &set("1,3,10")), 3);
        assert_eq!(view.agreed(&set("2"), &set("2")), 0);
        assert_eq!(view.agreed(&set("1:4294967295"), &set("1,3,8:9,11")), 9);
        assert_eq!(View::default().agreed(&set("1"), &set("1")), 0);
    }

    #[test]
    fn what_is_gone_keeps_its_number_until_it_may_be_told() {
        let mut view = View::new(vec![1, 2, 3, 4], 1);
        let news = view.refresh(&[1, 3, 5], false);
        assert_eq!(news.exists, Some(5));
        assert_eq!((view.uid(2), view.number(4)), (Some(2), Some(4)));
        let news = view.refresh(&[1, 3, 5], true);
        assert_eq!(
            (&*news.expunged, &*news.vanished),
            (&[2, 3][..], &[2, 4][..])
        );
        assert_eq!(news.exists, None);
        assert_eq!(view.uids(), [1, 3, 5]);
        let news = view.refresh(&[6], true);
        assert_eq!(news.expunged, [1, 1, 1]);
        assert_eq!(news.exists, Some(1));
        assert_eq!(view.refresh(&[6], true), News::default());
    }

    #[test]
    fn own_changes_are_not_told_twice() {
        let mut view = View::new(vec![1, 2], 5);
        assert!(view.knows(1, 5) && !view.knows(1, 6));
        view.tell(1, 6);
        assert!(view.knows(1, 6) && !view.knows(2, 6) && !view.knows(1, 7));
        view.caught_up(7);
        assert!(view.told.is_empty() && view.knows(2, 7));
    }

    #[test]
    fn recent_ones_are_counted_while_they_are_there() {
        let mut view = View::new(vec![1, 2, 3], 1);
        view.mark_recent(2);
        assert_eq!(view.recent(), 2);
        view.refresh(&[1, 3, 4], true);
        view.mark_recent(4);
        assert_eq!((view.recent(), view.is_recent(4)), (2, true));
        view.mark_recent(9);
        assert_eq!(view.recent(), 2);
    }

    proptest::proptest! {
        /// What a client makes of the news is what the view is.
        #[test]
        fn a_client_that_believes_everything_is_right(
            steps in proptest::collection::vec((proptest::collection::btree_set(1_u32..60, 0..30), proptest::bool::ANY), 1..20)
        ) {
            let mut view = View::default();
            let mut client: Vec<u32> = Vec::new();
            let mut highest = 0;
            for (wanted, may_expunge) in steps {
                // UIDs never come back, and new ones are above all others.
                let mut current: Vec<u32> = client.iter().copied().filter(|uid| wanted.contains(uid)).collect();
                current.extend(wanted.iter().copied().filter(|uid| *uid > highest));
                highest = highest.max(current.last().copied().unwrap_or(0));
                let news = view.refresh(&current, may_expunge);
                proptest::prop_assert!(may_expunge || news.expunged.is_empty());
                for number in &news.expunged {
                    client.remove(usize::try_from(*number).unwrap() - 1);
                }
                if let Some(exists) = news.exists {
                    let known = client.len();
                    let exists = usize::try_from(exists).unwrap();
                    proptest::prop_assert!(exists > known);
                    client.extend_from_slice(&view.uids()[known..exists]);
                }
                proptest::prop_assert_eq!(&client, view.uids());
                if may_expunge {
                    proptest::prop_assert_eq!(&*client, &*current);
                } else {
                    // Ghosts: what the mailbox has is within.
                    proptest::prop_assert!(current.iter().all(|uid| client.contains(uid)));
                    client = view.uids().to_vec();
                }
            }
        }
    }
}
