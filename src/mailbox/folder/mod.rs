//! One open folder: its messages, shared by all sessions that have it open.
//!
//! What changes the folder happens in this order, so that a crash in between leaves nothing that
//! the next look does not put right:
//!
//! | change  | first                          | then                     | a crash in between leaves |
//! |---------|--------------------------------|--------------------------|---------------------------|
//! | append  | files in `tmp`, synced         | record, then rename      | a file that the next look renames |
//! | flags   | rename                         | record                   | a name with other flags: taken over |
//! | expunge | remove                         | record                   | a message without a file: expunged |
//!
//! Nobody is told of a change before all of it is durable.

mod log;
mod look;
mod read;
mod write;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use futures_channel::oneshot;

use super::account::Tell;
use super::index::Index;
use super::quota::{Allowance, Figures};
use super::record::{Head, Looked, ODD, Record, Row};
use super::turn::{Turn, Watch};
use super::{Entry, Expunged, Keywords};
use crate::world::{Class, World};

use log::{Batch, ItemReader, Log, Snapshot};
pub(super) use look::{read_text, size_in_name};
pub use read::{Names, Reader, Summaries};

/// One open folder.
pub struct Folder<W: World> {
    pub(super) core: Rc<Core<W>>,
    /// The account: whoever opens the user's mailbox meanwhile finds it, and this folder in it,
    /// and not a second one.
    pub(super) keeper: Option<Rc<dyn Any>>,
}

/// What a folder shares with the tasks that change it.
pub(super) struct Core<W: World> {
    home: Home<W>,
    state: RefCell<State<W>>,
    turn: Turn,
    watch: Watch,
    /// The folder was deleted or renamed: nothing is written to it any more.
    is_closed: Cell<bool>,
}

struct State<W: World> {
    index: Index,
    log: Log<W>,
    /// Records that nobody waits for: they ride with the next batch.
    riders: Vec<Record>,
}

/// What a folder is opened with.
pub(super) struct Home<W: World> {
    pub(super) world: W,
    /// It exists.
    pub(super) directory: PathBuf,
    /// The machine's name, as it stands in file names.
    pub(super) host: Rc<str>,
    pub(super) figures: Rc<Figures>,
    pub(super) allowance: Rc<Allowance>,
    /// See [`Folder::keeper`].
    pub(super) keeper: Weak<dyn Any>,
    pub(super) tell: Tell,
}

impl<W: World> Folder<W> {
    /// Opens a folder. `uid_validity` is what a new index gets.
    pub(super) async fn open(
        home: Home<W>,
        uid_validity: impl AsyncFnOnce() -> io::Result<u32>,
    ) -> io::Result<Self> {
        let path = home.directory.join(INDEX_FILE);
        let (log, index, former) = match log::load(&home.world, &path).await? {
            Some((log, index)) => (log, index, None),
            None => {
                let former = look::dovecot(&home.world, &home.directory).await?;
                let validity = match &former {
                    Some(former) => former.uid_validity,
                    None => uid_validity().await?,
                };
                let index = Index::new(new_head(&home.world, validity));
                let empty = Snapshot::of(&index);
                let (log, _) = log::write_anew(&home.world, &path, &empty, None).await?;
                (log, index, former)
            }
        };
        let core = Rc::new(Core {
            home,
            state: RefCell::new(State {
                index,
                log,
                riders: Vec::new(),
            }),
            turn: Turn::default(),
            watch: Watch::default(),
            is_closed: Cell::new(false),
        });
        let folder = Self::of(core);
        let opened = folder.run(move |core| async move {
            let _mine = core.turn.take().await;
            core.count();
            core.mend().await?;
            core.look(former.as_ref()).await?;
            if let Some(former) = former {
                core.give_out_from(former.uid_next).await?;
            }
            // What cannot be swept now can be at the next open.
            let _ = core.sweep().await;
            Ok(())
        });
        opened.await?;
        Ok(folder)
    }

    /// The handle of an open folder.
    pub(super) fn of(core: Rc<Core<W>>) -> Self {
        let keeper = core.home.keeper.upgrade();
        Self { core, keeper }
    }

    /// The UIDVALIDITY of RFC 9051 §2.3.1.1.
    #[must_use]
    pub fn uid_validity(&self) -> u32 {
        self.core.state.borrow().index.head().uid_validity
    }

    /// The UID that the next message will not be below.
    #[must_use]
    pub fn uid_next(&self) -> u32 {
        self.core.state.borrow().index.head().uid_next
    }

    /// The HIGHESTMODSEQ of RFC 7162.
    #[must_use]
    pub fn highest_modseq(&self) -> u64 {
        self.core.state.borrow().index.head().highest_modseq
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.state.borrow().index.rows().len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of all messages, with CRLF.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.core.state.borrow().index.octets()
    }

    /// One message.
    #[must_use]
    pub fn entry(&self, uid: u32) -> Option<Entry> {
        self.core.state.borrow().index.row(uid).map(Entry::from)
    }

    /// All messages, in order of UID.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let state = self.core.state.borrow();
        state.index.rows().iter().map(Entry::from).collect()
    }

    /// The UIDs above `uid`.
    #[must_use]
    pub fn uids_after(&self, uid: u32) -> Vec<u32> {
        let state = self.core.state.borrow();
        let rows = state.index.rows();
        let first = rows.partition_point(|row| row.uid <= uid);
        rows[first..].iter().map(|row| row.uid).collect()
    }

    /// Calls `each` with every message, in order of UID, without copying the list.
    pub fn for_each(&self, each: impl FnMut(Entry)) {
        let state = self.core.state.borrow();
        state.index.rows().iter().map(Entry::from).for_each(each);
    }

    /// The keywords, by place.
    #[must_use]
    pub fn keywords(&self) -> Keywords {
        self.core.state.borrow().index.keywords().to_vec()
    }

    /// Messages that changed after `modseq`, new ones among them.
    #[must_use]
    pub fn changed_since(&self, modseq: u64) -> Vec<Entry> {
        self.core.state.borrow().index.changed_since(modseq)
    }

    /// Messages that went after `modseq`.
    #[must_use]
    pub fn expunged_since(&self, modseq: u64) -> Expunged {
        self.core.state.borrow().index.expunged_since(modseq)
    }

    /// The first message that nobody was told of as `\Recent`.
    #[must_use]
    pub fn recent_from(&self) -> Option<u32> {
        let state = self.core.state.borrow();
        let from = state.index.head().recent;
        let rows = state.index.rows();
        let first = rows.partition_point(|row| row.uid < from);
        rows.get(first).map(|row| row.uid)
    }

    /// The same; from here on somebody was told.
    #[must_use]
    pub fn take_recent(&self) -> Option<u32> {
        let first = self.recent_from();
        let mut state = self.core.state.borrow_mut();
        let head = state.index.head();
        if head.recent < head.uid_next {
            let record = Record::Recent(head.uid_next);
            // Cannot misfit: it only rises.
            let _ = state.index.apply(record.clone());
            state.riders.push(record);
        }
        first
    }

    /// What does not change of the names of messages' files, also when the index is made anew.
    /// `None` where a message is gone or its name cannot be read.
    pub async fn base_names(&self, uids: &[u32]) -> io::Result<Vec<Option<String>>> {
        // Rows and items of one moment: the file may be written anew meanwhile.
        let (mut items, rows) = {
            let state = self.core.state.borrow();
            let rows = uids.iter().map(|uid| state.index.row(*uid).copied());
            (state.log.items(), rows.collect::<Vec<Option<Row>>>())
        };
        let ahead = NAMES_OCTETS.min(NAME_OCTETS * uids.len());
        let mut names = Vec::with_capacity(uids.len());
        for row in rows {
            let name = match row {
                Some(row) => self.core.name_in(&mut items, &row, ahead).await?,
                None => None,
            };
            names.push(name.map(|name| base_of(&name).to_owned()));
        }
        Ok(names)
    }

    /// Rises with every change that a session might have to tell of.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.core.watch.version()
    }

    /// Waits until [`Folder::version`] is not `seen`.
    pub async fn changed(&self, seen: u64) {
        self.core.watch.changed(seen).await;
    }

    /// Looks for what was delivered, and for what other programs did.
    pub async fn refresh(&self) -> io::Result<()> {
        self.run(|core| async move {
            let _mine = core.turn.take().await;
            core.look(None).await
        })
        .await
    }

    /// Does something that must not end half way, whatever becomes of who asked for it.
    async fn run<T, F>(&self, change: impl FnOnce(Rc<Core<W>>) -> F) -> io::Result<T>
    where
        T: 'static,
        F: Future<Output = io::Result<T>> + 'static,
    {
        let (tell, told) = oneshot::channel();
        let changing = change(Rc::clone(&self.core));
        let core = Rc::clone(&self.core);
        let keeper = self.keeper.clone();
        self.core.world.spawn(Class::Retrieve, async move {
            // Whoever asked may be gone.
            let _ = tell.send(changing.await);
            core.write_riders().await;
            drop(keeper);
        });
        told.await
            .unwrap_or_else(|_| Err(io::Error::other("the change of the folder was given up")))
    }
}

impl<W: World> std::ops::Deref for Core<W> {
    type Target = Home<W>;

    fn deref(&self) -> &Home<W> {
        &self.home
    }
}

impl<W: World> Core<W> {
    fn path(&self, place: &str, name: &str) -> PathBuf {
        self.directory.join(place).join(name)
    }

    /// Renames a file of the folder; false when it is not there.
    async fn move_file(&self, from: (&str, &str), to: (&str, &str)) -> io::Result<bool> {
        let (from, to) = (self.path(from.0, from.1), self.path(to.0, to.1));
        match self.world.rename(&from, &to).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Nothing is written to it any more: it was deleted, or is elsewhere.
    pub(super) async fn close(&self) {
        let _mine = self.turn.take().await;
        self.is_closed.set(true);
        self.watch.raise();
    }

    /// Says how much there is, for the quota.
    fn count(&self) {
        let state = self.state.borrow();
        self.figures.octets.set(state.index.octets());
        let messages = state.index.rows().len() as u64;
        self.figures.messages.set(messages);
    }

    /// Writes records durably, and takes them in. The caller's turn.
    async fn commit(&self, records: Vec<Record>) -> io::Result<()> {
        self.append(records, true).await
    }

    /// Writes what nobody waits for, so that it is known after a restart: then the directories need
    /// not be looked through. It stands behind what it tells of; lost, it costs only that look.
    async fn write_riders(&self) {
        if !self.state.borrow().riders.is_empty() {
            let _mine = self.turn.take().await;
            let _ = self.append(Vec::new(), false).await;
        }
    }

    /// Writes records, `durably` or not, and takes them in. The caller's turn.
    async fn append(&self, records: Vec<Record>, durably: bool) -> io::Result<()> {
        if self.is_closed.get() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.mend().await?;
        let batch = {
            let mut state = self.state.borrow_mut();
            let mut all = std::mem::take(&mut state.riders);
            all.extend(records);
            state.log.begin(&all)
        };
        batch.write().await?;
        if durably && let Err(error) = batch.sync().await {
            // What a failed sync left is not known, and must not be synced again.
            self.state.borrow_mut().log.is_broken = true;
            return Err(error);
        }
        if self.take_in(&batch)
            && let Err(error) = self.write_anew().await
        {
            // It is only longer than it need be.
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            self.state.borrow_mut().log.is_broken |= !is_full;
        }
        Ok(())
    }

    /// From here on the index says what a batch says; true when its file had better be written
    /// anew.
    fn take_in(&self, batch: &Batch<W>) -> bool {
        let mut state = self.state.borrow_mut();
        let State { index, log, .. } = &mut *state;
        let (before, rows) = (index.head().highest_modseq, index.rows().len());
        log.finish(batch, index);
        let is_news = index.head().highest_modseq != before || index.rows().len() != rows;
        let is_worn = log.is_worn(index);
        drop(state);
        if is_news {
            self.count();
            self.watch.raise();
        }
        is_worn
    }

    /// Writes the index file anew if it cannot be relied on. The caller's turn.
    async fn mend(&self) -> io::Result<()> {
        let is_broken = self.state.borrow().log.is_broken;
        if is_broken {
            self.write_anew().await?;
        }
        Ok(())
    }

    /// Whoever had the Maildir before us has given out the UIDs below `next`, to messages that are
    /// gone as well.
    async fn give_out_from(&self, next: u32) -> io::Result<()> {
        if next > self.state.borrow().index.head().uid_next {
            self.state.borrow_mut().index.give_out_from(next);
            self.write_anew().await?;
        }
        Ok(())
    }

    async fn write_anew(&self) -> io::Result<()> {
        let (snapshot, items, path) = {
            let state = self.state.borrow();
            let path = state.log.path().to_owned();
            (Snapshot::of(&state.index), state.log.items(), path)
        };
        let (log, rows) = log::write_anew(&self.world, &path, &snapshot, Some(items)).await?;
        let mut state = self.state.borrow_mut();
        state.log = log;
        state.index.relocate(rows);
        let looked = state.index.looked();
        state.riders.push(Record::Looked(looked));
        Ok(())
    }

    fn looked(&self) -> Looked {
        self.state.borrow().index.looked()
    }

    fn row(&self, uid: u32) -> Option<Row> {
        self.state.borrow().index.row(uid).copied()
    }

    fn next_modseq(&self) -> u64 {
        self.state.borrow().index.head().highest_modseq + 1
    }

    /// The name of a message's file in `cur`. `None` where the index has lost it.
    async fn file_name(&self, row: &Row) -> io::Result<Option<String>> {
        let mut items = self.state.borrow().log.items();
        let Some(name) = self.name_in(&mut items, row, NAME_OCTETS).await? else {
            return Ok(None);
        };
        Ok(Some(if row.bits & ODD != 0 {
            name
        } else {
            with_flags(&name, row)
        }))
    }

    /// The name that is kept of a row's file.
    async fn name_in(
        &self,
        items: &mut ItemReader<W>,
        row: &Row,
        ahead: usize,
    ) -> io::Result<Option<String>> {
        let name = items.text(row.name_at, ahead).await?;
        Ok(name.filter(|name| self.hash(base_of(name)) == row.hash))
    }

    /// A name that no file has: the moment, and sixty-four random bits.
    fn fresh_base(&self, octets: u64, size: u64) -> String {
        let wall = self.world.wall();
        format!(
            "{}.M{:06}R{:016x}.{},S={octets},W={size}",
            wall.seconds(),
            wall.subsec_micros(),
            self.world.random(),
            self.host,
        )
    }

    fn hash(&self, base: &str) -> u64 {
        hash(&self.state.borrow().index.head().key, base)
    }
}

/// The name of a file with the flags of its row.
fn with_flags(base: &str, row: &Row) -> String {
    format!("{base}{INFO}{}", row.flags().letters())
}

/// The name without flags, which stays the same.
fn base_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(base, _)| base)
}

fn hash(key: &[u8; 16], base: &str) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new_with_key(key);
    hasher.write(base.as_bytes());
    hasher.finish()
}

fn new_head<W: World>(world: &W, uid_validity: u32) -> Head {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&world.random().to_le_bytes());
    key[8..].copy_from_slice(&world.random().to_le_bytes());
    Head {
        uid_validity,
        uid_next: 1,
        highest_modseq: 1,
        expunges_from: 1,
        recent: 1,
        key,
    }
}

/// In the folder's directory.
pub(super) const INDEX_FILE: &str = "ringpost.index";
/// What parts a name from its flags.
const INFO: &str = ":2,";
/// What is read at one go of many names.
const NAMES_OCTETS: usize = 256 << 10;
/// Room for an item that is a name.
const NAME_OCTETS: usize = 320;

#[cfg(test)]
mod tests;
