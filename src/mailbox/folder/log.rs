//! The index file of a folder: an append-only log of records, written anew when most of it is of
//! no use any more.
//!
//! ```text
//! head │ filler │ head again │ keywords │ expunges │ items … │ rows … ║ what happened since …
//! ─────────────────────── written at once, renamed into place ─────── ║ one write and sync each
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::mailbox::index::Index;
use crate::mailbox::record::{
    ALIGNMENT, Found, HEAD_OCTETS, Head, Items, ROW_OCTETS, Record, Row, find, item,
};
use crate::world::{File, World};

/// The open index file.
pub(super) struct Log<W: World> {
    path: PathBuf,
    file: Rc<W::File>,
    /// Where the next record goes.
    end: u64,
    /// Of the last batch that was begun. A number is used once while the file is open, so that
    /// what a failed batch left behind cannot be taken for a later one's.
    batch: u32,
    /// Octets when the file was written anew.
    base: u64,
    /// The file cannot be relied on: it has to be written anew before anything is added.
    pub(super) is_broken: bool,
}

/// A batch that is being written.
pub(super) struct Batch<W: World> {
    file: Rc<W::File>,
    octets: Vec<u8>,
    at: u64,
}

impl<W: World> Batch<W> {
    /// Writes it. A failure leaves nothing that could be taken for a later batch.
    pub(super) async fn write(&self) -> io::Result<()> {
        self.file.write_at(self.octets.clone(), self.at).await
    }

    /// Makes it durable. What it says must be taken in then.
    pub(super) async fn sync(&self) -> io::Result<()> {
        self.file.sync().await
    }
}

impl<W: World> Log<W> {
    /// Begins a batch at the end of the file.
    pub(super) fn begin(&mut self, records: &[Record]) -> Batch<W> {
        self.batch = self.batch.wrapping_add(1);
        let mut octets = Vec::new();
        for record in records {
            record.encode(self.batch, self.end + octets.len() as u64, &mut octets);
        }
        Batch {
            file: Rc::clone(&self.file),
            octets,
            at: self.end,
        }
    }

    /// A batch is on disk: from here on the index says what it says.
    pub(super) fn finish(&mut self, batch: &Batch<W>, index: &mut Index) {
        let mut done = 0;
        while let Found::Record { record, octets, .. } =
            find(&batch.octets[done..], batch.at + done as u64)
        {
            let at = batch.at + done as u64;
            if apply(index, record, at).is_err() {
                // Cannot be: the batch was made for this index. Written anew it is right again.
                self.is_broken = true;
            }
            done += octets;
        }
        self.end += done as u64;
    }

    /// True when the file holds more of the past than of the present.
    pub(super) fn is_worn(&self, index: &Index) -> bool {
        let log = self.end - self.base;
        let rows = (index.rows().len() * ROW_OCTETS) as u64;
        log > WORN_OCTETS && log > 2 * (self.base + rows)
    }

    /// The item at `at`: a name or a summary. `None` where it cannot be read.
    pub(super) fn items(&self) -> ItemReader<W> {
        ItemReader {
            file: Rc::clone(&self.file),
            at: 0,
            octets: Vec::new(),
        }
    }
}

/// Reads items, most of which stand one behind the other.
pub(super) struct ItemReader<W: World> {
    file: Rc<W::File>,
    at: u64,
    octets: Vec<u8>,
}

impl<W: World> ItemReader<W> {
    /// False once the log was written anew: places are those in another file.
    pub(super) fn is_of(&self, log: &Log<W>) -> bool {
        Rc::ptr_eq(&self.file, &log.file)
    }

    /// Does `at` stand right behind what was read?
    pub(super) fn is_next(&self, at: u64) -> bool {
        let end = self.at + self.octets.len() as u64;
        (self.at..=end + HEAD_OCTETS as u64).contains(&at)
    }

    /// The item at `at`; `None` where there is none or it is damaged. Reads `ahead` octets.
    pub(super) async fn read(&mut self, at: u64, ahead: usize) -> io::Result<Option<Vec<u8>>> {
        if at == 0 {
            return Ok(None);
        }
        let mut wanted = ahead;
        loop {
            let inside = at
                .checked_sub(self.at)
                .and_then(|from| usize::try_from(from).ok());
            let here = inside
                .and_then(|from| self.octets.get(from..))
                .unwrap_or_default();
            match item(here) {
                Ok(found) => return Ok(Some(found.to_vec())),
                Err(None) => return Ok(None),
                Err(Some(len)) => wanted = wanted.max(len),
            }
            let before = here.len();
            let octets = self.file.read_at(at, wanted).await?;
            if octets.len() <= before {
                return Ok(None);
            }
            (self.at, self.octets) = (at, octets);
        }
    }

    pub(super) async fn text(&mut self, at: u64, ahead: usize) -> io::Result<Option<String>> {
        let octets = self.read(at, ahead).await?;
        Ok(octets.and_then(|octets| String::from_utf8(octets).ok()))
    }
}

/// Reads an index file. `None` where there is none, or none that says whose UIDs it holds.
pub(super) async fn load<W: World>(world: &W, path: &Path) -> io::Result<Option<(Log<W>, Index)>> {
    let file = match world.open(path, false).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => Rc::new(file?),
    };
    let mut loading = Loading {
        world,
        len: file.len().await?,
        file: &file,
        at: 0,
        octets: Vec::new(),
        used: 0,
        batch: 0,
        index: None,
        base: 0,
        lost: 0,
        behind: None,
        is_torn: true,
    };
    loading.run().await?;
    let Loading {
        index,
        batch,
        base,
        lost,
        is_torn,
        len,
        ..
    } = loading;
    let Some(mut index) = index else {
        return Ok(None);
    };
    if lost > 0 {
        // At most one record, and one message, for each head that fits into what was lost.
        index.skip(lost / HEAD_OCTETS as u64 + 1, is_torn);
    }
    let log = Log {
        path: path.into(),
        file,
        end: len,
        batch,
        base,
        is_broken: lost > 0,
    };
    Ok(Some((log, index)))
}

/// A file being read.
struct Loading<'a, W: World> {
    world: &'a W,
    file: &'a W::File,
    len: u64,
    /// Where `octets` stand in the file.
    at: u64,
    octets: Vec<u8>,
    /// How many of `octets` were looked at.
    used: usize,
    batch: u32,
    index: Option<Index>,
    /// Where the part ends that was written at once: behind the last rows.
    base: u64,
    /// Octets that are no record.
    lost: u64,
    /// The batch that stands behind what was lost.
    behind: Option<u32>,
    /// What was lost belongs to the last batch: a crash tore it before anybody was answered.
    is_torn: bool,
}

impl<W: World> Loading<'_, W> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let at = self.at + self.used as u64;
            let found = find(&self.octets[self.used..], at);
            match found {
                _ if at >= self.len => return Ok(()),
                Found::Longer(wanted) => {
                    if !self.fill(wanted).await? {
                        self.lose();
                    }
                }
                Found::Nothing => self.lose(),
                Found::Items { octets } if at + octets <= self.len => {
                    self.note_behind(BASE_BATCH);
                    self.pass(octets);
                }
                Found::Items { .. } => self.lose(),
                Found::Record {
                    batch,
                    record,
                    octets,
                } => {
                    if self.take(batch, record, at) {
                        self.note_behind(batch);
                        self.pass(octets as u64);
                    } else {
                        self.lose();
                    }
                }
            }
        }
    }

    /// True when the record fits what was read before.
    fn take(&mut self, batch: u32, record: Record, at: u64) -> bool {
        if batch < self.batch {
            // Left over from a batch that failed.
            return false;
        }
        let end = matches!(record, Record::Rows(_));
        match (&mut self.index, record) {
            (None, Record::Head(head)) if at < HEAD_SEARCH_OCTETS && head.is_possible() => {
                self.index = Some(Index::new(head));
            }
            (None, _) => return false,
            (Some(_), Record::Head(_)) => {}
            (Some(index), record) => {
                if apply(index, record, at).is_err() {
                    return false;
                }
            }
        }
        self.batch = batch;
        if end || batch == BASE_BATCH {
            self.base = at;
        }
        true
    }

    fn pass(&mut self, octets: u64) {
        let to = self.at + self.used as u64 + octets;
        match usize::try_from(to - self.at) {
            Ok(used) if used <= self.octets.len() => self.used = used,
            _ => {
                (self.at, self.used) = (to, 0);
                self.octets.clear();
            }
        }
    }

    /// A record of `batch` was found; something may have been lost before.
    fn note_behind(&mut self, batch: u32) {
        if self.lost > 0 {
            let first = *self.behind.get_or_insert(batch);
            self.is_torn &= batch == first && batch != BASE_BATCH;
        }
    }

    fn lose(&mut self) {
        self.lost += ALIGNMENT as u64;
        self.pass(ALIGNMENT as u64);
    }

    /// Reads on until `wanted` octets are at hand; false when there are not so many.
    async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        self.octets.drain(..self.used);
        (self.at, self.used) = (self.at + self.used as u64, 0);
        let have = self.octets.len();
        let from = self.at + have as u64;
        let more = self
            .file
            .read_at(from, wanted.max(READ_OCTETS) - have)
            .await?;
        if have == 0 {
            self.octets = more;
        } else {
            self.octets.extend_from_slice(&more);
        }
        self.world.breathe().await;
        Ok(self.octets.len() >= wanted)
    }
}

/// Takes in a record that stands at `at`.
fn apply(index: &mut Index, record: Record, at: u64) -> Result<(), crate::mailbox::index::Misfit> {
    let payload = at + HEAD_OCTETS as u64;
    let item_at = match record {
        Record::Renamed { .. } => payload + 5,
        Record::Summary { .. } => payload + 4,
        _ => 0,
    };
    index.apply_at(record, item_at)
}

/// Writes an index file anew, with what is in `index`; `from` is where its items are. Durable and
/// in place on return. The rows come back with the new places of their items.
pub(super) async fn write_anew<W: World>(
    world: &W,
    path: &Path,
    index: &Snapshot,
    from: Option<ItemReader<W>>,
) -> io::Result<(Log<W>, Vec<Row>)> {
    let draft = path.with_extension("index.new");
    match world.remove(&draft).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut writing = Writing::<W> {
        world,
        file: Rc::new(world.open(&draft, true).await?),
        at: 0,
        octets: Vec::new(),
    };
    writing.head(index)?;
    let rows = match from {
        Some(items) => writing.items(&index.rows, items).await?,
        None => index.rows.clone(),
    };
    for rows in rows.chunks(ROWS_IN_RECORD) {
        writing.record(&Record::Rows(rows.to_vec()));
        writing.flush(READ_OCTETS).await?;
    }
    writing.flush(0).await?;
    writing.file.sync().await?;
    world.rename(&draft, path).await?;
    world
        .sync_directory(path.parent().unwrap_or(Path::new(".")))
        .await?;
    let log = Log {
        path: path.into(),
        file: writing.file,
        end: writing.at,
        batch: BASE_BATCH,
        base: writing.at,
        is_broken: false,
    };
    Ok((log, rows))
}

/// What an index file is written anew from.
pub(super) struct Snapshot {
    pub(super) head: Head,
    pub(super) keywords: super::super::Keywords,
    pub(super) expunges: Vec<(u64, u32)>,
    pub(super) rows: Vec<Row>,
}

impl Snapshot {
    pub(super) fn of(index: &Index) -> Self {
        Self {
            head: index.head(),
            keywords: index.keywords().to_vec(),
            expunges: index.expunges().collect(),
            rows: index.rows().to_vec(),
        }
    }
}

struct Writing<'a, W: World> {
    world: &'a W,
    file: Rc<W::File>,
    /// Where `octets` go.
    at: u64,
    octets: Vec<u8>,
}

impl<W: World> Writing<'_, W> {
    fn record(&mut self, record: &Record) {
        let at = self.at + self.octets.len() as u64;
        record.encode(BASE_BATCH, at, &mut self.octets);
    }

    fn head(&mut self, index: &Snapshot) -> io::Result<()> {
        self.record(&Record::Head(index.head));
        // In another sector: what takes one of them leaves the other.
        let mut filler = Items::default();
        filler.push(&vec![
            0;
            SECOND_HEAD_AT - self.octets.len() - HEAD_OCTETS - 8
        ]);
        let at = self.octets.len() as u64;
        self.octets.extend(filler.encode(BASE_BATCH, at));
        self.record(&Record::Head(index.head));
        for (place, name) in index.keywords.iter().enumerate() {
            self.record(&Record::Keyword {
                place: u8::try_from(place).map_err(io::Error::other)?,
                name: (**name).to_owned(),
            });
        }
        if !index.expunges.is_empty() {
            self.record(&Record::Expunged(index.expunges.clone()));
        }
        Ok(())
    }

    /// Copies the items of `rows`; a damaged one is left out, and the next look mends it.
    async fn items(&mut self, rows: &[Row], mut from: ItemReader<W>) -> io::Result<Vec<Row>> {
        let mut copies = Vec::with_capacity(rows.len());
        let mut summaries = ItemReader::<W> {
            file: Rc::clone(&from.file),
            at: 0,
            octets: Vec::new(),
        };
        let mut items = Items::default();
        for (number, row) in rows.iter().enumerate() {
            let first = self.at + (self.octets.len() + HEAD_OCTETS) as u64;
            let mut copy = *row;
            (copy.name_at, copy.summary_at) = (0, 0);
            if let Some(name) = from.read(row.name_at, READ_OCTETS).await? {
                copy.name_at = first + items.push(&name);
            }
            if let Some(summary) = summaries.read(row.summary_at, READ_OCTETS).await? {
                copy.summary_at = first + items.push(&summary);
            }
            copies.push(copy);
            let is_last = number + 1 == rows.len();
            if is_last || (number + 1) % ROWS_IN_RECORD == 0 || items.len() >= READ_OCTETS {
                let at = self.at + self.octets.len() as u64;
                self.octets
                    .extend(std::mem::take(&mut items).encode(BASE_BATCH, at));
                self.flush(0).await?;
                self.world.breathe().await;
            }
        }
        Ok(copies)
    }

    /// Writes what has gathered, if it is more than `most`.
    async fn flush(&mut self, most: usize) -> io::Result<()> {
        if self.octets.len() > most {
            let octets = std::mem::take(&mut self.octets);
            let len = octets.len() as u64;
            self.file.write_at(octets, self.at).await?;
            self.at += len;
        }
        Ok(())
    }
}

impl<W: World> Log<W> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Everything a file was begun with is one batch.
const BASE_BATCH: u32 = 1;
/// Where the head stands again.
const SECOND_HEAD_AT: usize = 512;
/// A head further on is not this file's.
const HEAD_SEARCH_OCTETS: u64 = 1024;
/// Rows in one record: 256 KiB.
const ROWS_IN_RECORD: usize = 4096;
/// What is read and written at one go.
const READ_OCTETS: usize = 1 << 20;
/// Not worth writing anew.
const WORN_OCTETS: u64 = 256 << 10;
