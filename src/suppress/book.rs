//! The list on the disk: a line of JSON for each change, appended, and written anew when most of it is
//! of no use any more. A line that a crash has torn is cut off, and nothing before it is lost.
//!
//! A line names the reports that have been heard for its address. What follows from a report is on the
//! disk before the report is settled, so that a crash in between has it read once more: then it counts
//! no second time, and an address that an operator has taken off the list meanwhile stays off it.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outside::{Outside, Paper as _, Part};
use super::{Bounce, Entry, List, Page, Trouble};
use crate::trial::{self, Bug};

/// A line of the file.
#[derive(Default, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: Entry,
    /// Refusals so far, while there are too few.
    #[serde(default, skip_serializing_if = "is_none")]
    refusals: u32,
    /// The address gets mail again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    /// Reports that have been heard for it, the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heard: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_none(count: &u32) -> bool {
    *count == 0
}

/// What is kept in memory of an address.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Where its line is.
    position: u64,
    until: i64,
    state: State,
    /// Its line names reports.
    has_heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It gets no mail.
    Listed,
    /// It was refused so often, which is not enough.
    Refused(u32),
    /// It gets mail again; kept for the reports that have been heard.
    Removed,
}

impl Kept {
    fn is_in_force(&self, now: i64) -> bool {
        self.state == State::Listed && now < self.until
    }

    /// It takes one of the places that there are.
    fn counts(&self) -> bool {
        self.state != State::Removed
    }
}

/// The file, and what is in it.
pub(super) struct Book<O: Outside> {
    outside: O,
    path: PathBuf,
    file: O::File,
    list: List,
    kept: HashMap<u64, Kept>,
    /// Octets of the file.
    len: u64,
    /// Lines of the file.
    lines: usize,
    /// Lines that are not in the file yet, how many, and what they change.
    open: Vec<u8>,
    open_lines: usize,
    changes: HashMap<u64, Option<Kept>>,
    /// Addresses that take a place, changes included.
    count: usize,
    /// Addresses that it takes.
    max: usize,
    /// Lines from which on it is worth trying again to write the file anew, where that has failed.
    tidy_from: usize,
    /// How many lines there were when their use was last looked at.
    looked_at: usize,
    /// Behind its end is what a write left that failed.
    has_remains: bool,
    /// It has its name since it was written anew, as long as the power does not go.
    is_name_unsynced: bool,
    /// Lines that could not be read when it was opened.
    pub(super) unreadable: usize,
}

impl<O: Outside> Book<O> {
    /// Reads the file at `path`, which is made where it is not, and shows it in `list`.
    pub(super) fn open(outside: O, path: PathBuf, list: List, max: usize) -> io::Result<Self> {
        let file = outside.open(&path)?;
        // It may be new, and what is kept in it must not go with its name.
        outside.sync_directory(home(&path))?;
        let mut book = Self {
            outside,
            path,
            file,
            list,
            kept: HashMap::new(),
            len: 0,
            lines: 0,
            open: Vec::new(),
            open_lines: 0,
            changes: HashMap::new(),
            count: 0,
            max,
            tidy_from: 0,
            looked_at: 0,
            has_remains: false,
            is_name_unsynced: false,
            unreadable: 0,
        };
        book.read()?;
        // Half a new file, where the process was killed meanwhile: it may be large.
        let _ = book.outside.remove(&book.draft());
        Ok(book)
    }

    fn read(&mut self) -> io::Result<()> {
        let part = Part {
            file: &self.file,
            position: 0,
        };
        let mut reader = BufReader::with_capacity(READ_OCTETS, part);
        let mut text = Vec::new();
        loop {
            text.clear();
            let octets = reader.read_until(b'\n', &mut text)? as u64;
            if !text.ends_with(b"\n") {
                // The end, or what a crash has torn.
                if octets > 0 {
                    trial::saw("suppressions", "half a line cut off");
                }
                break;
            }
            let position = self.len;
            self.len += octets;
            self.lines += 1;
            let Ok(line) = serde_json::from_slice::<Line>(&text) else {
                self.unreadable += 1;
                continue;
            };
            let hash = self.list.hash(&line.entry.address);
            match kept(&line, position) {
                None => drop(self.kept.remove(&hash)),
                Some(kept) => drop(self.kept.insert(hash, kept)),
            }
        }
        self.file.set_len(self.len)?;
        self.recount();
        let listed = self.kept.iter();
        let listed = listed.filter(|(_, kept)| kept.state == State::Listed);
        self.list
            .replace(listed.map(|(hash, kept)| (*hash, kept.until)));
        Ok(())
    }

    fn recount(&mut self) {
        self.count = self.kept.values().filter(|kept| kept.counts()).count();
    }

    /// Addresses that get no mail now.
    pub(super) fn total(&self, now: i64) -> usize {
        self.kept
            .values()
            .filter(|kept| kept.is_in_force(now))
            .count()
    }

    /// A host has refused an address. True where it gets no mail from now on, as soon as the change is
    /// kept.
    pub(super) fn note(&mut self, bounce: &Bounce) -> Result<bool, Trouble> {
        let (hash, now) = (self.list.hash(&bounce.address), bounce.at.seconds());
        let known = self.known(hash);
        let is_listed = known.is_some_and(|kept| kept.is_in_force(now));
        if is_listed && bounce.report.is_none() {
            return Ok(false);
        }
        let is_kept = |kept: &Kept| kept.has_heard || is_listed;
        let line = known.filter(is_kept).map(|kept| self.line(kept.position));
        let line = line.transpose()?.unwrap_or_default();
        let mut heard = line.heard;
        if let Some(report) = &bounce.report {
            if heard.contains(report) && !trial::has(Bug::ReportCountedTwice) {
                trial::saw(
                    "report",
                    match known.is_some_and(|kept| kept.counts()) {
                        true => "heard before",
                        false => "heard before its address was taken off",
                    },
                );
                return Ok(false);
            }
            heard.push(report.clone());
            heard.drain(..heard.len().saturating_sub(HEARD_MAX));
        }
        if is_listed {
            // Only that it has been heard is new.
            self.put(line.entry, 0, heard)?;
            return Ok(false);
        }
        let until = bounce.span.map(|span| now.saturating_add(span));
        // Refusals that are longer ago than an entry would last say nothing of today.
        let before = match known.filter(|kept| now < kept.until) {
            Some(Kept {
                state: State::Refused(times),
                ..
            }) => times,
            _ => 0,
        };
        let refusals = before.saturating_add(1);
        let is_enough = refusals as usize >= bounce.after;
        let entry = Entry {
            address: bounce.address.to_ascii_lowercase(),
            why: bounce.why.to_owned(),
            at: now,
            until,
            text: Some(shortened(&bounce.text)),
        };
        self.put(entry, if is_enough { 0 } else { refusals }, heard)?;
        Ok(is_enough)
    }

    /// An address gets no mail from now on.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Trouble> {
        let text = entry.text.as_deref().map(shortened);
        let address = entry.address.to_ascii_lowercase();
        let heard = self.heard(self.list.hash(&address))?;
        let entry = Entry {
            address,
            text,
            ..entry
        };
        self.put(entry, 0, heard)
    }

    /// An address gets mail again; false where it did already.
    pub(super) fn remove(&mut self, address: &str, now: i64) -> Result<bool, Trouble> {
        let hash = self.list.hash(address);
        let Some(known) = self.known(hash).filter(Kept::counts) else {
            return Ok(false);
        };
        let mut heard = self.heard(hash)?;
        if trial::has(Bug::RemovalForgetsReports) {
            heard.clear();
        }
        let line = Line {
            entry: Entry {
                address: address.to_ascii_lowercase(),
                at: now,
                ..Entry::default()
            },
            removed: true,
            heard,
            ..Line::default()
        };
        let position = self.write(&line);
        self.change(hash, kept(&line, position));
        Ok(known.is_in_force(now))
    }

    fn put(&mut self, entry: Entry, refusals: u32, heard: Vec<String>) -> Result<(), Trouble> {
        let hash = self.list.hash(&entry.address);
        let has_place = self.known(hash).is_some_and(|kept| kept.counts());
        if !has_place && self.count >= self.max {
            return Err(Trouble::Full);
        }
        let line = Line {
            entry,
            refusals,
            removed: false,
            heard,
        };
        let position = self.write(&line);
        self.change(hash, kept(&line, position));
        Ok(())
    }

    fn change(&mut self, hash: u64, to: Option<Kept>) {
        let counts = |kept: Option<Kept>| usize::from(kept.is_some_and(|kept| kept.counts()));
        self.count = self.count + counts(to) - counts(self.known(hash));
        self.changes.insert(hash, to);
    }

    /// What is known of an address, changes that are under way included.
    fn known(&self, hash: u64) -> Option<Kept> {
        match self.changes.get(&hash) {
            Some(kept) => *kept,
            None => self.kept.get(&hash).copied(),
        }
    }

    /// Reports that have been heard for an address.
    fn heard(&self, hash: u64) -> io::Result<Vec<String>> {
        match self.known(hash).filter(|kept| kept.has_heard) {
            Some(kept) => Ok(self.line(kept.position)?.heard),
            None => Ok(Vec::new()),
        }
    }

    /// The line at a position, which may not be in the file yet.
    fn line(&self, position: u64) -> io::Result<Line> {
        let mut text = Vec::new();
        let open = position.checked_sub(self.len).map(usize::try_from);
        match open {
            Some(at) => {
                let at = at.map_err(io::Error::other)?;
                let mut rest = self.open.get(at..).unwrap_or_default();
                rest.read_until(b'\n', &mut text)?;
            }
            None => {
                let part = Part {
                    file: &self.file,
                    position,
                };
                BufReader::new(part).read_until(b'\n', &mut text)?;
            }
        }
        Ok(serde_json::from_slice(&text)?)
    }

    fn write(&mut self, line: &Line) -> u64 {
        let position = self.len + self.open.len() as u64;
        // Writing plain data to a Vec does not fail.
        if serde_json::to_writer(&mut self.open, line).is_ok() {
            self.open.push(b'\n');
            self.open_lines += 1;
        }
        position
    }

    /// Puts all changes on stable storage, and shows them. Where that fails none has happened.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        let octets = std::mem::take(&mut self.open);
        let lines = std::mem::take(&mut self.open_lines);
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.append(&octets) {
            // Half a line at the end must not be the beginning of the next one.
            self.has_remains = self.file.set_len(self.len).is_err();
            self.recount();
            return Err(error);
        }
        self.len += octets.len() as u64;
        self.lines += lines;
        for (hash, kept) in changes {
            let listed = kept.filter(|kept| kept.state == State::Listed);
            self.list.set(hash, listed.map(|kept| kept.until));
            match kept {
                Some(kept) => drop(self.kept.insert(hash, kept)),
                None => drop(self.kept.remove(&hash)),
            }
        }
        Ok(())
    }

    fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.has_remains {
            // Whole lines among them would count, and come last.
            self.file.set_len(self.len)?;
            self.has_remains = false;
        }
        self.file.write_at(octets, self.len)?;
        if !trial::has(Bug::SuppressionBeforeSync) {
            self.file.sync()?;
        }
        if self.is_name_unsynced {
            self.outside.sync_directory(home(&self.path))?;
            self.is_name_unsynced = false;
        }
        Ok(())
    }

    /// Writes the file anew when most of its lines are of no use any more, or when those whose time is over
    /// leave no room for others.
    pub(super) fn tidy(&mut self) -> io::Result<()> {
        let (now, tidy_at) = (self.outside.seconds(), self.outside.tidy_at());
        if self.lines < self.tidy_from {
            return Ok(());
        }
        // Of a million addresses the look takes milliseconds: not for each change, but where no other fits.
        if self.count < self.max && self.lines < self.looked_at + tidy_at {
            return Ok(());
        }
        self.looked_at = self.lines;
        let live = self.kept.values().filter(|kept| now < kept.until).count();
        let useless = self.lines - live.min(self.lines);
        let is_mostly_useless = useless >= tidy_at && useless >= live;
        // Not for each that goes: then a long list would be written all the time.
        let over = self.kept.len() - live;
        let is_needlessly_full = self.count >= self.max && over > self.max / 100;
        if !is_mostly_useless && !is_needlessly_full {
            return Ok(());
        }
        let written = self.write_anew(now);
        if written.is_err() {
            // The disk may be full: what was written of it is in the way of mail, and so would be the same
            // again for each bounce.
            let _ = self.outside.remove(&self.draft());
            self.tidy_from = self.lines + tidy_at;
        }
        written
    }

    fn write_anew(&mut self, now: i64) -> io::Result<()> {
        let new = self.draft();
        let file = self.outside.open(&new)?;
        // One that somebody left there.
        file.set_len(0)?;
        let part = Part {
            file: &file,
            position: 0,
        };
        let mut writer = BufWriter::with_capacity(READ_OCTETS, part);
        let (mut kept, mut len, mut position) = (HashMap::new(), 0, Some(0));
        while let Some(from) = position {
            position = self.walk(from, usize::MAX, |line, known| {
                if now >= known.until {
                    return Ok(false);
                }
                let text = serde_json::to_vec(line).map_err(io::Error::other)?;
                writer.write_all(&text)?;
                writer.write_all(b"\n")?;
                let hash = self.list.hash(&line.entry.address);
                kept.insert(
                    hash,
                    Kept {
                        position: len,
                        ..known
                    },
                );
                len += text.len() as u64 + 1;
                Ok(true)
            })?;
        }
        writer.flush()?;
        drop(writer);
        if !trial::has(Bug::SuppressionsRewrittenUnsynced) {
            file.sync()?;
        }
        self.outside.rename(&new, &self.path)?;
        trial::saw("suppressions", "written anew");
        let synced = self.outside.sync_directory(home(&self.path));
        if synced.is_err() && trial::has(Bug::SuppressionsKeptInOldFile) {
            return synced;
        }
        // It has the name now, whatever became of the sync: what is written from here on goes there.
        (self.file, self.len, self.lines) = (file, len, kept.len());
        for hash in self.kept.keys().filter(|hash| !kept.contains_key(hash)) {
            self.list.set(*hash, None);
        }
        self.kept = kept;
        self.recount();
        self.tidy_from = 0;
        self.looked_at = self.lines;
        (self.has_remains, self.is_name_unsynced) = (false, synced.is_err());
        synced
    }

    fn draft(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    /// Addresses that get no mail now, from `position` on.
    pub(super) fn page(
        &self,
        position: u64,
        limit: usize,
        why: Option<&str>,
        now: i64,
    ) -> io::Result<Page> {
        let mut entries = Vec::new();
        let next = self.walk(position, limit, |line, kept| {
            let wanted = kept.is_in_force(now) && why.is_none_or(|why| why == line.entry.why);
            if wanted {
                entries.push(line.entry.clone());
            }
            Ok(wanted)
        })?;
        Ok(Page {
            entries,
            next,
            total: self.total(now),
        })
    }

    /// What there is of one address.
    pub(super) fn find(&self, address: &str, now: i64) -> io::Result<Option<Entry>> {
        let kept = self.kept.get(&self.list.hash(address));
        let Some(kept) = kept.filter(|kept| kept.is_in_force(now)) else {
            return Ok(None);
        };
        let line = self.line(kept.position)?;
        Ok(Some(line.entry).filter(|entry| entry.address.eq_ignore_ascii_case(address)))
    }

    /// Shows the lines in force from `position` on, until `limit` of them were wanted; where to go on.
    fn walk(
        &self,
        mut position: u64,
        limit: usize,
        mut see: impl FnMut(&Line, Kept) -> io::Result<bool>,
    ) -> io::Result<Option<u64>> {
        let part = Part {
            file: &self.file,
            position,
        };
        let mut reader = BufReader::with_capacity(READ_OCTETS, part);
        let (mut text, mut seen) = (Vec::new(), 0);
        while position < self.len {
            if seen == limit {
                return Ok(Some(position));
            }
            text.clear();
            let octets = reader.read_until(b'\n', &mut text)? as u64;
            if octets == 0 {
                break;
            }
            if let Ok(line) = serde_json::from_slice::<Line>(&text) {
                let kept = self.kept.get(&self.list.hash(&line.entry.address));
                if let Some(kept) = kept.filter(|kept| kept.position == position) {
                    seen += usize::from(see(&line, *kept)?);
                }
            }
            position += octets;
        }
        Ok(None)
    }
}

/// What a line says; `None`: nothing is known of its address any more.
fn kept(line: &Line, position: u64) -> Option<Kept> {
    let has_heard = !line.heard.is_empty();
    if line.removed && !has_heard {
        return None;
    }
    let until = line.entry.until.unwrap_or(i64::MAX);
    let (state, until) = match (line.removed, line.refusals) {
        (true, _) => (State::Removed, line.entry.at.saturating_add(HEARD_SECONDS)),
        (false, 0) => (State::Listed, until),
        (false, times) => (State::Refused(times), until),
    };
    Some(Kept {
        position,
        until,
        state,
        has_heard,
    })
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_OCTETS_MAX)].to_owned()
}

fn home(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Where the list is, under the data directory.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join("suppressions.jsonl")
}

/// Octets of a reply that are kept.
const TEXT_OCTETS_MAX: usize = 200;
/// Reports that are remembered for an address: so many may be read once more after a crash.
const HEARD_MAX: usize = 16;
/// How long the reports of an address are remembered that was taken off the list. They are read once more
/// at the next start, if at all.
const HEARD_SECONDS: i64 = 7 * 24 * 3600;
const READ_OCTETS: usize = 256 * 1024;

#[cfg(test)]
mod tests;
