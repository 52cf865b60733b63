//! The list on the disk: a line of JSON for each change, appended, and written anew when most of it is
//! of no use any more. A line that a crash has torn is cut off, and nothing before it is lost.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Bounce, Entry, List, Page};

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    entry: Entry,
    /// Refusals so far, while there are too few.
    #[serde(default, skip_serializing_if = "is_none")]
    refusals: usize,
    /// The address gets mail again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What is kept in memory of an address.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Where its line is.
    position: u64,
    until: i64,
    /// Refusals so far; 0 for an address that gets no mail.
    refusals: u32,
}

impl Kept {
    const fn is_in_force(&self, now: i64) -> bool {
        self.refusals == 0 && now < self.until
    }
}

/// The file, and what is in it.
pub(super) struct Book {
    path: PathBuf,
    file: File,
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
    /// Addresses that something is known of, changes included.
    count: usize,
    /// Addresses that it takes.
    max: usize,
    /// Lines from which on it is worth trying again to write the file anew, where that has failed.
    tidy_from: usize,
    /// How many lines there were when their use was last looked at.
    looked_at: usize,
    /// Lines that could not be read when it was opened.
    pub(super) unreadable: usize,
}

impl Book {
    /// Reads the file at `path`, which is made where it is not, and shows it in `list`.
    pub(super) fn open(path: PathBuf, list: List, max: usize) -> io::Result<Self> {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let mut book = Self {
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
            unreadable: 0,
        };
        book.read()?;
        // Half a new file, where the process was killed meanwhile: it may be large.
        let _ = fs::remove_file(book.draft());
        Ok(book)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(READ_OCTETS, self.file.try_clone()?);
        reader.seek(SeekFrom::Start(0))?;
        let mut text = Vec::new();
        loop {
            text.clear();
            let octets = reader.read_until(b'\n', &mut text)? as u64;
            if !text.ends_with(b"\n") {
                // The end, or what a crash has torn.
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
            match line.removed {
                true => drop(self.kept.remove(&hash)),
                false => drop(self.kept.insert(hash, kept(&line, position))),
            }
        }
        self.file.set_len(self.len)?;
        self.count = self.kept.len();
        let in_force = self.kept.iter().filter(|(_, kept)| kept.refusals == 0);
        self.list
            .replace(in_force.map(|(hash, kept)| (*hash, kept.until)));
        Ok(())
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
    pub(super) fn note(&mut self, bounce: &Bounce) -> Result<bool, Full> {
        let (hash, now) = (self.list.hash(&bounce.address), bounce.at.seconds());
        let known = self.known(hash);
        if known.is_some_and(|kept| kept.is_in_force(now)) {
            return Ok(false);
        }
        let until = bounce.span.map(|span| now.saturating_add(span));
        // Refusals that are longer ago than an entry would last say nothing of today.
        let before = known.filter(|kept| kept.refusals > 0 && now < kept.until);
        let refusals = before.map_or(1, |kept| kept.refusals.saturating_add(1));
        let is_enough = refusals as usize >= bounce.after;
        let entry = Entry {
            address: bounce.address.to_ascii_lowercase(),
            why: bounce.why.to_owned(),
            at: now,
            until,
            text: Some(shortened(&bounce.text)),
        };
        self.put(entry, if is_enough { 0 } else { refusals as usize })?;
        Ok(is_enough)
    }

    /// An address gets no mail from now on.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Full> {
        let text = entry.text.as_deref().map(shortened);
        let address = entry.address.to_ascii_lowercase();
        self.put(
            Entry {
                address,
                text,
                ..entry
            },
            0,
        )
    }

    /// An address gets mail again; false where it did already.
    pub(super) fn remove(&mut self, address: &str, now: i64) -> bool {
        let hash = self.list.hash(address);
        let Some(known) = self.known(hash) else {
            return false;
        };
        let entry = Entry {
            address: address.to_ascii_lowercase(),
            at: now,
            ..Entry::default()
        };
        self.write(&Line {
            entry,
            refusals: 0,
            removed: true,
        });
        self.change(hash, None);
        known.is_in_force(now)
    }

    fn put(&mut self, entry: Entry, refusals: usize) -> Result<(), Full> {
        let hash = self.list.hash(&entry.address);
        if self.known(hash).is_none() && self.count >= self.max {
            return Err(Full);
        }
        let line = Line {
            entry,
            refusals,
            removed: false,
        };
        let position = self.write(&line);
        self.change(hash, Some(kept(&line, position)));
        Ok(())
    }

    fn change(&mut self, hash: u64, to: Option<Kept>) {
        match (self.known(hash).is_some(), to.is_some()) {
            (false, true) => self.count += 1,
            (true, false) => self.count -= 1,
            (true, true) | (false, false) => {}
        }
        self.changes.insert(hash, to);
    }

    /// What is known of an address, changes that are under way included.
    fn known(&self, hash: u64) -> Option<Kept> {
        match self.changes.get(&hash) {
            Some(kept) => *kept,
            None => self.kept.get(&hash).copied(),
        }
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
        let written = self.file.write_all_at(&octets, self.len);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            // Half a line at the end must not be the beginning of the next one.
            let _ = self.file.set_len(self.len);
            self.count = self.kept.len();
            return Err(error);
        }
        self.len += octets.len() as u64;
        self.lines += lines;
        for (hash, kept) in changes {
            let until = kept
                .filter(|kept| kept.refusals == 0)
                .map(|kept| kept.until);
            self.list.set(hash, until);
            match kept {
                Some(kept) => drop(self.kept.insert(hash, kept)),
                None => drop(self.kept.remove(&hash)),
            }
        }
        Ok(())
    }

    /// Writes the file anew when most of its lines are of no use any more, or when those whose time is over
    /// leave no room for others.
    pub(super) fn tidy(&mut self, now: i64) -> io::Result<()> {
        if self.lines < self.tidy_from {
            return Ok(());
        }
        // Of a million addresses the look takes milliseconds: not for each change, but where no other fits.
        if self.kept.len() < self.max && self.lines < self.looked_at + TIDY_AT {
            return Ok(());
        }
        self.looked_at = self.lines;
        let live = self.kept.values().filter(|kept| now < kept.until).count();
        let useless = self.lines - live.min(self.lines);
        let is_mostly_useless = useless >= TIDY_AT && useless >= live;
        // Not for each that goes: then a long list would be written all the time.
        let is_needlessly_full =
            self.kept.len() >= self.max && self.kept.len() - live > self.max / 100;
        if !is_mostly_useless && !is_needlessly_full {
            return Ok(());
        }
        let written = self.write_anew(now);
        if written.is_err() {
            // The disk may be full: what was written of it is in the way of mail, and so would be the same
            // again for each bounce.
            let _ = fs::remove_file(self.draft());
            self.tidy_from = self.lines + TIDY_AT;
        }
        written
    }

    fn write_anew(&mut self, now: i64) -> io::Result<()> {
        let new = self.draft();
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true);
        let mut writer = BufWriter::with_capacity(READ_OCTETS, file.mode(0o600).open(&new)?);
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
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(home) = self.path.parent() {
            File::open(home)?.sync_all()?;
        }
        (self.file, self.len, self.lines) = (file, len, kept.len());
        for hash in self.kept.keys().filter(|hash| !kept.contains_key(hash)) {
            self.list.set(*hash, None);
        }
        self.kept = kept;
        self.count = self.kept.len();
        self.tidy_from = 0;
        self.looked_at = self.lines;
        Ok(())
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
        let mut reader = BufReader::new(Part::of(&self.file, kept.position));
        let mut text = Vec::new();
        reader.read_until(b'\n', &mut text)?;
        let line: Line = serde_json::from_slice(&text)?;
        Ok(Some(line.entry).filter(|entry| entry.address.eq_ignore_ascii_case(address)))
    }

    /// Shows the lines in force from `position` on, until `limit` of them were wanted; where to go on.
    fn walk(
        &self,
        mut position: u64,
        limit: usize,
        mut see: impl FnMut(&Line, Kept) -> io::Result<bool>,
    ) -> io::Result<Option<u64>> {
        let mut reader = BufReader::with_capacity(READ_OCTETS, Part::of(&self.file, position));
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

fn kept(line: &Line, position: u64) -> Kept {
    Kept {
        position,
        until: line.entry.until.unwrap_or(i64::MAX),
        refusals: u32::try_from(line.refusals).unwrap_or(u32::MAX),
    }
}

/// There is no room for another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A file from a position on, without moving anybody else's.
struct Part<'f> {
    file: &'f File,
    position: u64,
}

impl<'f> Part<'f> {
    const fn of(file: &'f File, position: u64) -> Self {
        Self { file, position }
    }
}

impl io::Read for Part<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(into, self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_OCTETS_MAX)].to_owned()
}

/// Where the list is, under the data directory.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join("suppressions.jsonl")
}

/// Octets of a reply that are kept.
const TEXT_OCTETS_MAX: usize = 200;
/// Useless lines from which on the file is written anew, where they are the most.
const TIDY_AT: usize = 1000;
const READ_OCTETS: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::time::Wall;

    struct Scene {
        home: tempfile::TempDir,
        list: List,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                home: tempfile::tempdir().unwrap(),
                list: List::new(),
            }
        }

        fn open(&self) -> Book {
            Book::open(path(self.home.path()), self.list.clone(), 1_000_000).unwrap()
        }
    }

    fn bounce(address: &str, seconds: i64, after: usize) -> Bounce {
        Bounce {
            address: address.to_owned(),
            why: "bad_mailbox",
            at: Wall(seconds * 1_000_000),
            text: "550 5.1.1 unknown".to_owned(),
            after,
            span: Some(1000),
        }
    }

    fn manual(address: &str) -> Entry {
        Entry {
            address: address.to_owned(),
            why: "manual".to_owned(),
            ..Entry::default()
        }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_what_was_not_is_not() {
        let scene = Scene::new();
        let mut book = scene.open();
        assert_eq!(book.note(&bounce("Bob@d.test", 10, 1)), Ok(true));
        book.add(manual("eve@d.test")).unwrap();
        assert!(!scene.list.has("bob@d.test", 20), "not kept yet");
        book.keep().unwrap();
        book.add(manual("mallory@d.test")).unwrap();
        drop(book);
        let torn = b"{\"address\":\"torn@d.test\",\"why\":\"man";
        let mut file = File::options()
            .append(true)
            .open(path(scene.home.path()))
            .unwrap();
        file.write_all(torn).unwrap();
        let list = List::new();
        let mut book = Book::open(path(scene.home.path()), list.clone(), 9).unwrap();
        let has = |address: &str| list.has(address, 20);
        assert!(has("bob@d.test") && has("eve@d.test"));
        assert!(!has("mallory@d.test") && !has("torn@d.test"));
        assert!(!list.has("bob@d.test", 1010), "its time is over");
        // What comes next stands on a line of its own.
        book.add(manual("next@d.test")).unwrap();
        book.keep().unwrap();
        drop(book);
        let book = scene.open();
        assert_eq!((book.unreadable, book.total(20)), (0, 3));
        let found = book.find("BOB@d.test", 20).unwrap().unwrap();
        assert_eq!(
            (found.until, found.text.as_deref()),
            (Some(1010), Some("550 5.1.1 unknown"))
        );
        assert_eq!(book.find("bob@d.test", 1010).unwrap(), None);
    }

    #[test]
    fn one_refusal_may_be_too_few_and_old_ones_do_not_count() {
        let scene = Scene::new();
        let mut book = scene.open();
        assert_eq!(book.note(&bounce("b@d.test", 0, 3)), Ok(false));
        book.keep().unwrap();
        assert_eq!(book.note(&bounce("b@d.test", 999, 3)), Ok(false));
        book.keep().unwrap();
        drop(book);
        let mut book = scene.open();
        assert_eq!(book.total(999), 0);
        assert_eq!(book.note(&bounce("b@d.test", 1998, 3)), Ok(true));
        assert_eq!(
            book.note(&bounce("b@d.test", 1999, 3)),
            Ok(false),
            "it is there already"
        );
        book.keep().unwrap();
        assert!(scene.list.has("b@d.test", 1999));
        assert_eq!(book.note(&bounce("c@d.test", 0, 2)), Ok(false));
        assert_eq!(
            book.note(&bounce("c@d.test", 1000, 2)),
            Ok(false),
            "the first was too long ago"
        );
    }

    #[test]
    fn a_removed_address_gets_mail_and_may_be_refused_again() {
        let scene = Scene::new();
        let mut book = scene.open();
        book.add(manual("b@d.test")).unwrap();
        assert!(
            book.remove("B@d.test", 5),
            "added a moment ago, in the same batch"
        );
        book.add(manual("c@d.test")).unwrap();
        book.keep().unwrap();
        assert!(!scene.list.has("b@d.test", 5) && scene.list.has("c@d.test", 5));
        assert!(!book.remove("nobody@d.test", 5));
        assert_eq!(book.note(&bounce("b@d.test", 6, 1)), Ok(true));
        book.keep().unwrap();
        drop(book);
        assert_eq!(scene.open().total(7), 2);
    }

    #[test]
    fn pages_show_each_address_once_in_its_present_state() {
        let scene = Scene::new();
        let mut book = scene.open();
        for number in 0..10 {
            book.add(manual(&format!("u{number}@d.test"))).unwrap();
        }
        book.note(&bounce("few@d.test", 0, 2)).unwrap();
        book.note(&bounce("x@d.test", 0, 1)).unwrap();
        book.remove("u3@d.test", 0);
        book.add(manual("u0@d.test")).unwrap();
        book.keep().unwrap();
        let (mut seen, mut position) = (Vec::new(), Some(0));
        while let Some(from) = position {
            let page = book.page(from, 4, Some("manual"), 0).unwrap();
            assert!(page.entries.len() <= 4 && page.total == 10);
            seen.extend(page.entries.into_iter().map(|entry| entry.address));
            position = page.next;
        }
        let wanted = [1, 2, 4, 5, 6, 7, 8, 9, 0].map(|number| format!("u{number}@d.test"));
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_file_of_old_lines_is_written_anew_and_says_the_same() {
        let scene = Scene::new();
        let mut book = scene.open();
        for turn in 0..2 * TIDY_AT {
            book.add(manual(&format!("u{}@d.test", turn % 100)))
                .unwrap();
        }
        book.note(&bounce("over@d.test", 0, 1)).unwrap();
        book.note(&bounce("b@d.test", 500, 1)).unwrap();
        book.keep().unwrap();
        let before = book.len;
        book.tidy(1200).unwrap();
        assert!(book.len < before / 10, "{} of {before}", book.len);
        assert!(!scene.list.has("over@d.test", 0), "its time is over");
        book.add(manual("next@d.test")).unwrap();
        book.keep().unwrap();
        assert_eq!(
            book.find("b@d.test", 1200).unwrap().map(|entry| entry.at),
            Some(500)
        );
        drop(book);
        let book = scene.open();
        assert_eq!((book.total(1200), book.lines), (102, 102));
    }

    #[test]
    fn a_full_list_takes_no_more_and_lets_go() {
        let scene = Scene::new();
        let mut book = Book::open(path(scene.home.path()), scene.list.clone(), 2).unwrap();
        book.add(manual("a@d.test")).unwrap();
        book.add(manual("b@d.test")).unwrap();
        assert_eq!(book.add(manual("c@d.test")), Err(Full));
        book.keep().unwrap();
        assert_eq!(book.note(&bounce("c@d.test", 0, 1)), Err(Full));
        assert_eq!(book.add(manual("a@d.test")), Ok(()), "it is there already");
        assert!(book.remove("a@d.test", 0));
        assert_eq!(
            book.add(manual("c@d.test")),
            Ok(()),
            "in the same batch too"
        );
        assert_eq!(book.add(manual("a@d.test")), Err(Full));
    }

    /// The disk is full. What was written of a new file would be in the way of mail.
    #[test]
    fn a_new_file_that_cannot_be_written_is_gone_and_not_tried_for_each_bounce() {
        let scene = Scene::new();
        fs::write(scene.home.path().join("suppressions.new"), "of a crash").unwrap();
        let mut book = scene.open();
        let draft = book.draft();
        assert!(!draft.exists(), "what a killed process left is gone");
        let change = |book: &mut Book, times: usize| {
            for _ in 0..times {
                book.add(manual("u@d.test")).unwrap();
            }
            book.keep().unwrap();
        };
        change(&mut book, 2 * TIDY_AT);
        std::os::unix::fs::symlink("/dev/full", &draft).unwrap();
        assert!(book.tidy(0).is_err());
        assert!(fs::symlink_metadata(&draft).is_err(), "it is gone");
        change(&mut book, 1);
        book.tidy(0).unwrap();
        assert_eq!(book.lines, 2 * TIDY_AT + 1, "it was not tried");
        assert!(scene.list.has("u@d.test", 0));
        change(&mut book, TIDY_AT);
        book.tidy(0).unwrap();
        assert_eq!(book.lines, 1);
    }

    /// Addresses that the list takes in the test below.
    const FEW: usize = 5;

    proptest::proptest! {
        /// Added, removed, kept, killed, written anew, in any order, against a plain set.
        #[test]
        fn the_list_is_what_was_kept_of_it(steps in proptest::collection::vec((0_u8..7, 0_u8..8), 1..80)) {
            let scene = Scene::new();
            let open = || Book::open(path(scene.home.path()), scene.list.clone(), FEW).unwrap();
            let name = |number: u8| format!("u{number}@d.test");
            let (mut book, mut said, mut kept) = (open(), BTreeSet::new(), BTreeSet::new());
            for (step, number) in steps {
                match step {
                    0..=2 => {
                        let fits = said.contains(&number) || said.len() < FEW;
                        proptest::prop_assert_eq!(book.add(manual(&name(number))).is_ok(), fits);
                        said.extend(fits.then_some(number));
                    }
                    3 => proptest::prop_assert_eq!(book.remove(&name(number), 0), said.remove(&number)),
                    4 => {
                        drop(book);
                        book = open();
                        said.clone_from(&kept);
                    }
                    step => {
                        book.keep().unwrap();
                        kept.clone_from(&said);
                        if step == 5 {
                            book.write_anew(0).unwrap();
                        }
                    }
                }
                let has = |number: &u8| scene.list.has(&name(*number), 0);
                let listed: BTreeSet<u8> = (0..8).filter(has).collect();
                proptest::prop_assert_eq!(&listed, &kept);
                proptest::prop_assert_eq!(book.total(0), kept.len());
            }
        }
    }

    #[test]
    fn a_list_that_is_full_of_what_is_over_takes_others() {
        let scene = Scene::new();
        let mut book = Book::open(path(scene.home.path()), scene.list.clone(), 2).unwrap();
        book.note(&bounce("a@d.test", 0, 1)).unwrap();
        book.note(&bounce("b@d.test", 500, 1)).unwrap();
        book.keep().unwrap();
        book.tidy(999).unwrap();
        assert_eq!(book.note(&bounce("c@d.test", 999, 1)), Err(Full));
        book.tidy(1000).unwrap();
        assert_eq!(book.note(&bounce("c@d.test", 1000, 1)), Ok(true));
        book.keep().unwrap();
        let has = |address: &str| scene.list.has(address, 1000);
        assert!(!has("a@d.test") && has("b@d.test") && has("c@d.test"));
    }
}
