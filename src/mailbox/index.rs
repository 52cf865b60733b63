//! What a folder knows of its messages: UIDs, modseqs, flags, keywords, and which are gone since
//! when. Pure: it is built out of records, whether they come from the disk or were just written.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::rc::Rc;

use super::flags::{Flags, KEYWORDS_MAX};
use super::record::{Added, Head, Looked, Record, Row};
use super::{Entry, Expunged};

/// The index of one folder.
pub struct Index {
    head: Head,
    /// In order of UID.
    rows: Vec<Row>,
    keywords: Vec<Rc<str>>,
    /// Modseq and UID, in order of modseq; the oldest are forgotten.
    expunged: VecDeque<(u64, u32)>,
    /// Modseq and UID of the latest changes, new messages among them, in order of modseq; so that
    /// whoever missed a few need not look through all messages.
    changed: VecDeque<(u64, u32)>,
    /// All changes after this modseq are among them.
    changed_from: u64,
    looked: Looked,
    /// Sum of the rows' sizes.
    octets: u64,
}

/// A record that does not fit what was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

impl Index {
    /// A folder without messages.
    #[must_use]
    pub fn new(head: Head) -> Self {
        Self {
            head,
            rows: Vec::new(),
            keywords: Vec::new(),
            expunged: VecDeque::new(),
            changed: VecDeque::new(),
            changed_from: head.highest_modseq,
            looked: Looked::default(),
            octets: 0,
        }
    }

    /// How the folder stands.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// All messages, in order of UID.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// One message.
    #[must_use]
    pub fn row(&self, uid: u32) -> Option<&Row> {
        self.rows.get(self.place(uid)?)
    }

    /// The keywords, by place.
    #[must_use]
    pub fn keywords(&self) -> &[Rc<str>] {
        &self.keywords
    }

    /// The place of a keyword; they are compared without case (RFC 9051 §2.3.2).
    #[must_use]
    pub fn keyword(&self, name: &str) -> Option<usize> {
        let mut keywords = self.keywords.iter();
        keywords.position(|known| known.eq_ignore_ascii_case(name))
    }

    /// What was seen of the directories.
    #[must_use]
    pub fn looked(&self) -> Looked {
        self.looked
    }

    /// Octets of all messages, with CRLF.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Messages that changed after `modseq`, in order of UID.
    #[must_use]
    pub fn changed_since(&self, modseq: u64) -> Vec<Entry> {
        let is_later = |row: &&Row| row.modseq > modseq;
        if modseq < self.changed_from {
            let rows = self.rows.iter().filter(is_later);
            return rows.map(Entry::from).collect();
        }
        let first = self.changed.partition_point(|(of, _)| *of <= modseq);
        let mut uids: Vec<u32> = self.changed.range(first..).map(|(_, uid)| *uid).collect();
        uids.sort_unstable();
        uids.dedup();
        let rows = uids.iter().filter_map(|uid| self.row(*uid));
        rows.filter(is_later).map(Entry::from).collect()
    }

    /// Messages that went after `modseq`.
    #[must_use]
    pub fn expunged_since(&self, modseq: u64) -> Expunged {
        if modseq < self.head.expunges_from {
            return Expunged::Unknown;
        }
        let first = self.expunged.partition_point(|(of, _)| *of <= modseq);
        let mut uids: Vec<u32> = self.expunged.range(first..).map(|(_, uid)| *uid).collect();
        uids.sort_unstable();
        Expunged::Known(uids)
    }

    /// Expunges that are remembered: modseq and UID.
    pub fn expunges(&self) -> impl Iterator<Item = (u64, u32)> {
        self.expunged.iter().copied()
    }

    /// After records were lost that may have given out UIDs and modseqs, none may be given again.
    /// `at_end`: they were the last that were written.
    pub fn skip(&mut self, records: u64, at_end: bool) {
        let uids = u32::try_from(records).unwrap_or(u32::MAX);
        self.head.uid_next = self.head.uid_next.saturating_add(uids);
        self.head.highest_modseq = self.head.highest_modseq.saturating_add(records);
        if !at_end {
            // They may have told of expunges that happened long ago. One at the end is found
            // again: the message is there, and its file is not.
            self.head.expunges_from = self.head.highest_modseq;
            self.expunged.clear();
        }
        self.looked = Looked::default();
    }

    /// UIDs below `next` are given out.
    pub fn give_out_from(&mut self, next: u32) {
        self.head.uid_next = self.head.uid_next.max(next);
    }

    /// The file was written anew: the rows' items are elsewhere.
    pub fn relocate(&mut self, rows: Vec<Row>) {
        self.rows = rows;
    }

    fn note_changed(&mut self, modseq: u64, uid: u32) {
        self.changed.push_back((modseq, uid));
        if self.changed.len() > CHANGES_MAX
            && let Some((modseq, _)) = self.changed.pop_front()
        {
            self.changed_from = modseq;
        }
    }

    /// Takes in what a record says.
    pub fn apply(&mut self, record: Record) -> Result<(), Misfit> {
        match record {
            Record::Head(_) => return Err(Misfit),
            Record::Rows(rows) => return self.take_rows(rows),
            Record::Added(added) => return self.add(&added),
            Record::Flagged { modseq, changes } => {
                self.rise(modseq);
                for (uid, flags) in changes {
                    if let Some(row) = self.row_mut(uid) {
                        row.system = flags.system;
                        row.keywords = flags.keywords;
                        row.modseq = modseq;
                        self.note_changed(modseq, uid);
                    }
                }
            }
            Record::Expunged(gone) => self.expunge(gone),
            Record::Keyword { place, name } => {
                if usize::from(place) != self.keywords.len() || usize::from(place) >= KEYWORDS_MAX {
                    return Err(Misfit);
                }
                self.keywords.push(name.into());
            }
            Record::Looked(looked) => self.looked = looked,
            Record::Recent(uid) => self.head.recent = self.head.recent.max(uid),
            Record::Renamed { .. } | Record::Summary { .. } => return Err(Misfit),
        }
        Ok(())
    }

    /// Takes in a record that leaves an item at `item_at` of the file.
    pub fn apply_at(&mut self, record: Record, item_at: u64) -> Result<(), Misfit> {
        match record {
            Record::Renamed { uid, bits, .. } => {
                if let Some(row) = self.row_mut(uid) {
                    (row.bits, row.name_at) = (bits, item_at);
                }
                Ok(())
            }
            Record::Summary { uid, .. } => {
                if let Some(row) = self.row_mut(uid) {
                    row.summary_at = item_at;
                }
                Ok(())
            }
            other => self.apply(other),
        }
    }

    fn take_rows(&mut self, rows: Vec<Row>) -> Result<(), Misfit> {
        let mut last = self.rows.last().map_or(0, |row| row.uid);
        let (mut top, mut octets) = (self.head.highest_modseq, 0);
        for row in &rows {
            if row.uid <= last {
                return Err(Misfit);
            }
            last = row.uid;
            top = top.max(row.modseq);
            octets += u64::from(row.size);
        }
        self.octets += octets;
        self.head.uid_next = self.head.uid_next.max(last.saturating_add(1));
        self.head.highest_modseq = top;
        // Nobody knows in which order these changed.
        self.changed_from = top;
        if self.rows.is_empty() {
            self.rows = rows;
        } else {
            self.rows.extend_from_slice(&rows);
        }
        Ok(())
    }

    fn add(&mut self, added: &[Added]) -> Result<(), Misfit> {
        let uids = added.iter().map(|one| one.row.uid);
        // The last UID that there is has none behind it.
        let last = self.rows.last().map_or(0, |row| row.uid);
        let is_new = |first: u32| first >= self.head.uid_next && first > last;
        if !uids.clone().is_sorted_by(|a, b| a < b) || !uids.clone().next().is_none_or(is_new) {
            return Err(Misfit);
        }
        for one in added {
            self.rise(one.row.modseq);
            self.octets += u64::from(one.row.size);
            self.rows.push(one.row);
            self.note_changed(one.row.modseq, one.row.uid);
        }
        if let Some(last) = added.last() {
            self.head.uid_next = last.row.uid.saturating_add(1);
        }
        Ok(())
    }

    fn expunge(&mut self, gone: Vec<(u64, u32)>) {
        let mut uids: Vec<u32> = gone.iter().map(|(_, uid)| *uid).collect();
        uids.sort_unstable();
        let mut octets = 0;
        if uids.len() <= FEW {
            for uid in uids {
                if let Some(place) = self.place(uid) {
                    octets += u64::from(self.rows.remove(place).size);
                }
            }
        } else {
            self.rows.retain(|row| {
                let is_gone = uids.binary_search(&row.uid).is_ok();
                octets += if is_gone { u64::from(row.size) } else { 0 };
                !is_gone
            });
        }
        self.octets -= octets;
        for (modseq, uid) in gone {
            self.rise(modseq);
            self.expunged.push_back((modseq, uid));
        }
        while self.expunged.len() > EXPUNGES_MAX
            && let Some((modseq, _)) = self.expunged.pop_front()
        {
            self.head.expunges_from = self.head.expunges_from.max(modseq);
        }
    }

    fn rise(&mut self, modseq: u64) {
        self.head.highest_modseq = self.head.highest_modseq.max(modseq);
    }

    fn place(&self, uid: u32) -> Option<usize> {
        self.rows.binary_search_by_key(&uid, |row| row.uid).ok()
    }

    fn row_mut(&mut self, uid: u32) -> Option<&mut Row> {
        let place = self.place(uid)?;
        self.rows.get_mut(place)
    }
}

impl Row {
    /// Its flags.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags {
            system: self.system,
            keywords: self.keywords,
        }
    }
}

impl From<&Row> for Entry {
    fn from(row: &Row) -> Self {
        Self {
            uid: row.uid,
            modseq: row.modseq,
            size: row.size,
            saved: row.saved,
            flags: row.flags(),
        }
    }
}

/// How many expunges are remembered: 1 MiB of them. A client that was away for longer is told
/// which messages are left instead (RFC 7162 §3.2.5.2).
pub const EXPUNGES_MAX: usize = 64 * 1024;
/// How many changes are remembered: a session that has missed more looks through all messages.
const CHANGES_MAX: usize = 4096;
/// So many are taken out of the list one by one: each moves what stands behind it.
const FEW: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(uid: u32) -> Row {
        Row {
            uid,
            size: 7,
            ..Row::default()
        }
    }

    #[test]
    fn what_is_refused_leaves_nothing_behind() {
        let mut index = Index::new(Head::default());
        index.apply(Record::Rows(vec![row(5)])).unwrap();
        let unsorted = Record::Rows(vec![row(6), row(6)]);
        assert_eq!(index.apply(unsorted), Err(Misfit));
        assert_eq!((index.rows().len(), index.octets()), (1, 7));
    }

    #[test]
    fn the_last_uid_is_given_once() {
        let mut index = Index::new(Head::default());
        let added = |uid| {
            let name = String::new();
            Record::Added(vec![Added {
                row: row(uid),
                name,
            }])
        };
        index.apply(added(u32::MAX)).unwrap();
        assert_eq!(index.apply(added(u32::MAX)), Err(Misfit));
        assert_eq!(index.rows().len(), 1);
    }

    #[test]
    fn changes_are_the_same_whether_they_are_remembered_or_looked_for() {
        let mut index = Index::new(Head::default());
        for uid in 1..=9 {
            let row = Row {
                modseq: u64::from(uid),
                ..row(uid)
            };
            let name = String::new();
            index
                .apply(Record::Added(vec![Added { row, name }]))
                .unwrap();
        }
        for modseq in 10..2 * CHANGES_MAX as u64 {
            let uid = u32::try_from(modseq % 7).unwrap();
            let changes = vec![(uid, Flags::default())];
            index.apply(Record::Flagged { modseq, changes }).unwrap();
            let looked_for = |since: u64| {
                let rows = index.rows().iter().filter(|row| row.modseq > since);
                rows.map(Entry::from).collect::<Vec<_>>()
            };
            for since in [0, 8, modseq - 9, modseq - 1, modseq] {
                assert_eq!(index.changed_since(since), looked_for(since), "{since}");
            }
        }
        assert!(index.changed_from > 0, "some are forgotten");
    }
}
