//! What waits for webhooks: segments of lines, named by the number of their first event.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use memchr::{memchr, memchr_iter};
use serde::{Deserialize, Serialize};

use crate::observe::events::{Kind, Kinds};

/// The end that is written to.
pub(super) struct Spool {
    place: PathBuf,
    limit: u64,
    /// Octets of each segment.
    segments: BTreeMap<u64, u64>,
    /// The last one, once it is written to.
    file: Option<File>,
    next: u64,
}

impl Spool {
    /// Opens what is there, and goes on behind it. Without anything the first number is one that no
    /// spool before has reached.
    pub(super) fn open(place: &Path, limit: u64, now: i64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(place)?;
        let mut spool = Self {
            place: place.to_owned(),
            limit,
            segments: BTreeMap::new(),
            file: None,
            next: u64::try_from(now)
                .unwrap_or(0)
                .saturating_mul(NUMBERS_PER_SECOND),
        };
        for first in segments(place)? {
            let octets = fs::metadata(path(place, first))?.len();
            spool.segments.insert(first, octets);
        }
        if let Some((&first, &octets)) = spool.segments.last_key_value() {
            let last = fs::read(path(place, first))?;
            spool.next = first + memchr_iter(b'\n', &last).count() as u64;
            if !last.is_empty() && last.last() != Some(&b'\n') {
                // A crash has cut a line off.
                let whole = memchr::memrchr(b'\n', &last).map_or(0, |end| end + 1) as u64;
                File::options()
                    .write(true)
                    .open(path(place, first))?
                    .set_len(whole)?;
                spool.segments.insert(first, whole.min(octets));
            }
        }
        Ok(spool)
    }

    /// Forgets everything: nobody is told any more.
    pub(super) fn remove(place: &Path) -> io::Result<()> {
        for first in segments(place)? {
            fs::remove_file(path(place, first))?;
        }
        Ok(())
    }

    /// The number of the next event.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn octets(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Adds so many lines. Where they do not fit, the oldest segments go.
    pub(super) fn append(&mut self, lines: &[u8], count: u64) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let len = lines.len() as u64;
        let is_full = |octets: &u64| octets + len > self.limit / SEGMENTS;
        if self
            .segments
            .last_entry()
            .is_none_or(|last| *last.get() > 0 && is_full(last.get()))
        {
            self.file = None;
            self.segments.insert(self.next, 0);
        }
        while self.octets() + len > self.limit && self.segments.len() > 1 {
            self.drop_first();
        }
        let Some(mut last) = self.segments.last_entry() else {
            return Ok(());
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                File::options()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(path(&self.place, *last.key()))?,
            ),
        };
        if let Err(error) = file.write_all(lines) {
            // No half of a line stays.
            let _ = file.set_len(*last.get());
            return Err(error);
        }
        *last.get_mut() += len;
        self.next += count;
        Ok(())
    }

    /// Forgets segments of which nobody needs anything: all events before `needed` are told.
    pub(super) fn trim(&mut self, needed: u64) {
        loop {
            let mut firsts = self.segments.keys();
            let (Some(_), Some(second)) = (firsts.next(), firsts.next()) else {
                return;
            };
            if *second > needed {
                return;
            }
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((first, _)) = self.segments.pop_first() {
            // What cannot be removed is found again at the next start.
            let _ = fs::remove_file(path(&self.place, first));
        }
    }
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The number of the event that comes next.
    pub(super) next: u64,
    /// The segment that it is in, and where; only a short way there.
    #[serde(default)]
    segment: u64,
    #[serde(default)]
    offset: u64,
}

impl Cursor {
    /// At an event.
    pub(super) fn at(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }
}

/// Some events.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// A JSON array of them.
    pub(super) body: Vec<u8>,
    pub(super) count: usize,
    /// Events before them that are gone.
    pub(super) lost: u64,
    /// What comes behind them.
    pub(super) then: Cursor,
    /// There is no room for more in it.
    pub(super) is_full: bool,
}

/// Reads up to `most` events of these kinds.
pub(super) fn read(place: &Path, from: Cursor, kinds: Kinds, most: usize) -> io::Result<Page> {
    let mut page = Page {
        body: vec![b'['],
        then: from,
        ..Page::default()
    };
    let firsts = segments(place)?;
    // The one that it is in, and those behind it.
    let holder = firsts.iter().rposition(|first| *first <= from.next);
    for first in &firsts[holder.unwrap_or(0)..] {
        if *first > page.then.next {
            // Who does not know how far it was begins with what is there.
            page.lost += if page.then.next > 0 {
                *first - page.then.next
            } else {
                0
            };
            page.then = Cursor::at(*first);
        }
        match File::open(path(place, *first)) {
            Ok(file) => page.take(*first, file, kinds, most)?,
            // It had to go meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if page.is_full {
            break;
        }
    }
    page.body.push(b']');
    Ok(page)
}

impl Page {
    /// Takes what fits of a segment.
    fn take(&mut self, first: u64, mut file: File, kinds: Kinds, most: usize) -> io::Result<()> {
        let octets = file.metadata()?.len();
        let mut skip = 0;
        if self.then.segment != first || self.then.offset > octets {
            skip = self.then.next - first;
            self.then = Cursor {
                next: first,
                segment: first,
                offset: 0,
            };
        }
        file.seek(SeekFrom::Start(self.then.offset))?;
        let (mut buffer, mut start) = (Vec::new(), 0);
        loop {
            let Some(len) = memchr(b'\n', &buffer[start..]) else {
                buffer.drain(..start);
                start = 0;
                let more = (&mut file).take(READ_OCTETS).read_to_end(&mut buffer)?;
                if more == 0 {
                    return Ok(());
                }
                continue;
            };
            let line = &buffer[start..start + len];
            let is_wanted = Kind::of_line(line).is_some_and(|kind| kinds.has(kind));
            if skip == 0 && is_wanted {
                let is_large = self.count > 0 && self.body.len() + len > BODY_OCTETS;
                if self.count >= most || is_large {
                    self.is_full = true;
                    return Ok(());
                }
                if self.count > 0 {
                    self.body.push(b',');
                }
                self.body.extend_from_slice(line);
                self.count += 1;
            }
            skip = skip.saturating_sub(1);
            start += len + 1;
            self.then.next += 1;
            self.then.offset += len as u64 + 1;
        }
    }
}

/// The numbers of the segments that are there, in order.
fn segments(place: &Path) -> io::Result<Vec<u64>> {
    let files = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut firsts = Vec::new();
    for file in files {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(ENDING));
        firsts.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn path(place: &Path, first: u64) -> PathBuf {
    place.join(format!("{first}{ENDING}"))
}

const ENDING: &str = ".jsonl";
/// A full spool has so many segments: dropping the oldest one costs a sixteenth.
const SEGMENTS: u64 = 16;
/// Two spools begun in different seconds never have the same number.
const NUMBERS_PER_SECOND: u64 = 1_000_000;
/// What is read at a time.
const READ_OCTETS: u64 = 256 * 1024;
/// A request is not larger, unless one event alone is.
const BODY_OCTETS: usize = 1024 * 1024;
