//! A disk in memory that can lose its power.
//!
//! It holds two images: the live one, which running code sees, and the durable one, which a power
//! cut leaves. Writes become durable by [`SimFile::sync`], names by [`SimDisk::sync_directory`].
//! What was not synced when the power went may have reached the plates or not, sector by sector,
//! as a seed decides; unsynced names survive up to some moment, in the order they were made, as
//! on a journaling file system.

mod image;
mod names;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::time::Wall;
use crate::trial;

use image::{Image, Inode, PAGE_OCTETS, Random, SECTOR_OCTETS};
use names::{Change, Entry};

/// The disk. Cloning gives another handle to the same one.
#[derive(Clone, Default)]
pub struct SimDisk {
    inner: Rc<RefCell<Inner>>,
}

/// An open file of a [`SimDisk`]. It goes on working after its name is removed, and stops
/// working at a power cut.
pub struct SimFile {
    disk: SimDisk,
    node: Node,
    /// The power cuts the disk had seen when it was opened.
    cuts: u64,
}

/// What shall go wrong. Numbers count from the moment the plan is set, the first being 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The power fails during this operation that changes something: it may have happened or
    /// not, and everything after it fails until [`SimDisk::power_cut`].
    pub cut_at: Option<u64>,
    /// The disk is full when its files take so many octets (`StorageFull`; a part of the write
    /// that does not fit may be written).
    pub capacity_octets: Option<u64>,
    /// This write fails with an I/O error.
    pub fail_write_at: Option<u64>,
    /// This sync of a file fails with an I/O error; its unsynced octets are never durable then.
    pub fail_sync_at: Option<u64>,
    /// No file can be read.
    pub fail_reads: bool,
    /// No names are made durable.
    pub fail_directories: bool,
    /// This operation fails with an I/O error, whatever it is: reads and looks at names count too.
    pub fail_at: Option<u64>,
    /// This one of those that may need room finds none.
    pub full_at: Option<u64>,
}

type Node = Rc<RefCell<Inode>>;

#[derive(Default)]
struct Inner {
    live: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    /// Changes of names that no sync has made durable, oldest first.
    pending: Vec<Change>,
    faults: Faults,
    operations: u64,
    /// Operations of every kind, and those that may need room.
    met: (u64, u64),
    writes: u64,
    syncs: u64,
    cuts: u64,
    off: bool,
    /// When the names in a directory changed last.
    touched: BTreeMap<PathBuf, i64>,
    /// The moment of the last change. No two are of the same.
    moment: i64,
}

impl SimDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what shall go wrong from now on, and counts anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut inner = self.inner.borrow_mut();
        inner.faults = faults;
        (inner.operations, inner.writes, inner.syncs) = (0, 0, 0);
        inner.met = (0, 0);
    }

    /// Operations that changed something since the plan was set.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner.borrow().operations
    }

    /// Syncs of files since the plan was set.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner.borrow().syncs
    }

    /// True from the operation at which the plan cut the power until [`SimDisk::power_cut`].
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner.borrow().off
    }

    /// Octets that files take, for which [`Faults::capacity_octets`] is the limit.
    #[must_use]
    pub fn used_octets(&self) -> u64 {
        self.inner.borrow().used_octets()
    }

    /// Cuts the power and gives it back: the live image becomes the durable one and what of the
    /// unsynced the seed keeps. Files open until now are dead, faults are gone.
    pub fn power_cut(&self, seed: u64) {
        let mut random = Random(seed);
        let mut inner = self.inner.borrow_mut();
        let pending = std::mem::take(&mut inner.pending);
        let kept = random.below(pending.len() as u64 + 1) as usize;
        for change in &pending[..kept] {
            change.apply(&mut inner.durable);
        }
        trial::saw("disk", "power cut");
        if kept < pending.len() {
            trial::saw("disk", "names lost that were not synced");
        }
        for entry in inner.durable.values() {
            if let Entry::File(node) = entry {
                node.borrow_mut().lose_power(&mut random);
            }
        }
        inner.live = inner.durable.clone();
        inner.touched.clear();
        inner.moment += 1;
        inner.faults = Faults::default();
        inner.off = false;
        inner.cuts += 1;
    }

    /// Changes octets where they lie, live and durable, as a failing medium would. False where
    /// there is no such file or it ends before.
    pub fn damage(&self, path: &Path, position: u64, octets: &[u8]) -> bool {
        let inner = self.inner.borrow();
        let Some(Entry::File(node)) = inner.live.get(path) else {
            return false;
        };
        let mut node = node.borrow_mut();
        if position + octets.len() as u64 > node.live.len {
            return false;
        }
        node.live.write(position, octets);
        node.durable.write(position, octets);
        true
    }

    /// Opens a file; `create` makes it where it is not.
    pub fn open(&self, path: &Path, create: bool) -> io::Result<SimFile> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(create)?;
        let node = match inner.live.get(path) {
            Some(Entry::File(node)) => Rc::clone(node),
            Some(Entry::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            None if create => {
                inner.parent_of(path)?;
                let node = Node::default();
                inner.change(Change::Put(path.into(), Entry::File(Rc::clone(&node))))?;
                node
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let cuts = inner.cuts;
        drop(inner);
        Ok(SimFile {
            disk: self.clone(),
            node,
            cuts,
        })
    }

    /// Names in a directory, sorted.
    pub fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(false)?;
        if !inner.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = inner.live.keys();
        let names = inside.filter(|path| path.parent() == Some(directory));
        Ok(names
            .filter_map(|path| path.file_name())
            .map(PathBuf::from)
            .collect())
    }

    /// Makes a directory and its parents, durable on return.
    pub fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(true)?;
        let mut missing: Vec<&Path> = directory
            .ancestors()
            .filter(|path| !inner.is_directory(path))
            .collect();
        missing.reverse();
        for path in missing {
            if inner.live.contains_key(path) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            inner.change(Change::Put(path.into(), Entry::Directory))?;
            inner.make_durable(path.parent().unwrap_or(Path::new("")));
        }
        Ok(())
    }

    /// Renames a file over what has the new name, or a directory with all that is in it.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(true)?;
        inner.parent_of(to)?;
        let is_directory = match inner.live.get(from) {
            Some(Entry::Directory) => true,
            Some(Entry::File(_)) => false,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        if is_directory && inner.live.keys().any(|path| path.parent() == Some(to)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        inner.change(Change::Move(from.into(), to.into()))
    }

    /// Removes a file or an empty directory.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(false)?;
        if !inner.live.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if inner.live.keys().any(|other| other.parent() == Some(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        inner.change(Change::Take(path.into()))
    }

    /// Sets the clock that changes are dated by.
    pub fn set_clock(&self, wall: Wall) {
        let mut inner = self.inner.borrow_mut();
        inner.moment = inner.moment.max(wall.0.saturating_mul(NANOS_PER_MICRO));
    }

    /// Gives a file a second name.
    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(true)?;
        inner.parent_of(to)?;
        if inner.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match inner.live.get(from).cloned() {
            Some(file @ Entry::File(_)) => inner.change(Change::Put(to.into(), file)),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// When a file, or the names in a directory, changed last, in nanoseconds. After a power cut
    /// no directory is as it was known.
    pub fn modified(&self, path: &Path) -> io::Result<i64> {
        let inner = self.inner.borrow();
        inner.powered()?;
        match inner.live.get(path) {
            Some(Entry::File(node)) => Ok(node.borrow().modified),
            Some(Entry::Directory) => Ok(inner.touched.get(path).copied().unwrap_or(
                // Anything but what it was before.
                i64::try_from(inner.cuts).unwrap_or(0),
            )),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Says that a file is of the moment `seconds`.
    pub fn set_modified(&self, path: &Path, seconds: i64) -> io::Result<()> {
        let inner = self.inner.borrow();
        inner.powered()?;
        match inner.live.get(path) {
            Some(Entry::File(node)) => {
                node.borrow_mut().modified = seconds.saturating_mul(NANOS_PER_MICRO * 1_000_000);
                Ok(())
            }
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes the names in a directory durable.
    pub fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.meet(true)?;
        inner.count()?;
        if !inner.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if inner.faults.fail_directories {
            trial::saw("disk", "EIO from fsync of a directory");
            return Err(io::Error::other("the plan says that this sync fails"));
        }
        inner.make_durable(directory);
        Ok(())
    }
}

impl SimFile {
    /// Reads `len` octets at `position`; shorter only at the end of the file.
    pub fn read_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        self.alive()?;
        let mut inner = self.disk.inner.borrow_mut();
        inner.meet(false)?;
        if inner.faults.fail_reads {
            trial::saw("disk", "no file can be read");
            return Err(io::Error::other("the plan says that reads fail"));
        }
        Ok(self.node.borrow().live.read(position, len))
    }

    /// Writes all of `octets` at `position`, or a part of them and an error.
    pub fn write_at(&self, octets: &[u8], position: u64) -> io::Result<()> {
        self.alive()?;
        let mut inner = self.disk.inner.borrow_mut();
        inner.writes += 1;
        let met = inner.meet(true);
        if met.is_err() || inner.faults.fail_write_at == Some(inner.writes) {
            // Some of it may be written.
            self.node
                .borrow_mut()
                .write(position, &octets[..octets.len() / 2]);
            met?;
            trial::saw("disk", "EIO from a write, half of it written");
            return Err(io::Error::other("the plan says that this write fails"));
        }
        let fits = inner.room_for(&self.node.borrow().live, position, octets.len());
        let counted = inner.count();
        inner.moment += 1;
        let mut node = self.node.borrow_mut();
        node.write(position, &octets[..fits]);
        node.modified = inner.moment;
        drop(node);
        counted?;
        if fits < octets.len() {
            trial::saw("disk", "ENOSPC, a part written");
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Makes the content durable. The name is [`SimDisk::sync_directory`]'s business.
    pub fn sync(&self) -> io::Result<()> {
        self.alive()?;
        let mut inner = self.disk.inner.borrow_mut();
        inner.count()?;
        inner.syncs += 1;
        let met = inner.meet(true);
        let mut node = self.node.borrow_mut();
        if met.is_err() || inner.faults.fail_sync_at == Some(inner.syncs) {
            node.dirty.clear();
            met?;
            trial::saw("disk", "EIO from fdatasync");
            return Err(io::Error::other("the plan says that this sync fails"));
        }
        let Inode {
            live,
            durable,
            dirty,
            ..
        } = &mut *node;
        durable.set_len(live.len);
        for sector in std::mem::take(dirty) {
            durable.copy_sector(live, sector);
        }
        Ok(())
    }

    /// Octets in the file.
    pub fn len(&self) -> io::Result<u64> {
        self.alive()?;
        self.disk.inner.borrow_mut().meet(false)?;
        Ok(self.node.borrow().live.len)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends the file; what is new is zero and takes no room yet.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive()?;
        self.disk.inner.borrow_mut().meet(true)?;
        let counted = self.disk.inner.borrow_mut().count();
        let mut node = self.node.borrow_mut();
        node.live.set_len(len);
        node.dirty.retain(|sector| sector * SECTOR_OCTETS < len);
        counted
    }

    fn alive(&self) -> io::Result<()> {
        if self.disk.inner.borrow().cuts == self.cuts {
            Ok(())
        } else {
            Err(no_power())
        }
    }
}

impl Inner {
    fn powered(&self) -> io::Result<()> {
        if self.off { Err(no_power()) } else { Ok(()) }
    }

    /// Counts an operation of any kind; an error where the plan has one for it.
    fn meet(&mut self, takes_room: bool) -> io::Result<()> {
        self.powered()?;
        self.met.0 += 1;
        if self.faults.fail_at == Some(self.met.0) {
            trial::saw("disk", "EIO from any operation");
            return Err(io::Error::other("the plan says that this operation fails"));
        }
        self.met.1 += u64::from(takes_room);
        if takes_room && self.faults.full_at == Some(self.met.1) {
            trial::saw("disk", "ENOSPC from any operation");
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Counts an operation that changes something; an error when the power fails during it.
    fn count(&mut self) -> io::Result<()> {
        self.powered()?;
        self.operations += 1;
        if self.faults.cut_at == Some(self.operations) {
            trial::saw("disk", "power cut in an operation");
            self.off = true;
        }
        self.powered()
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        let counted = self.count();
        change.apply(&mut self.live);
        self.moment += 1;
        for place in change.places().into_iter().flatten() {
            let directory = place.parent().unwrap_or(Path::new(""));
            self.touched.insert(directory.into(), self.moment);
        }
        self.pending.push(change);
        counted
    }

    fn make_durable(&mut self, directory: &Path) {
        for change in std::mem::take(&mut self.pending) {
            if change.place().parent().unwrap_or(Path::new("")) == directory {
                if let Change::Move(from, _) = &change {
                    self.make_durable_what_is_at(from);
                }
                change.apply(&mut self.durable);
                match &change {
                    // What happened inside a directory that is gone for good is gone with it.
                    Change::Take(gone) => self
                        .pending
                        .retain(|earlier| !earlier.place().starts_with(gone)),
                    Change::Move(from, to) => {
                        for earlier in &mut self.pending {
                            earlier.follow(from, to);
                        }
                    }
                    Change::Put(..) => {}
                }
            } else {
                self.pending.push(change);
            }
        }
    }

    /// What comes here under another name comes with all that made it.
    fn make_durable_what_is_at(&mut self, path: &Path) {
        for earlier in std::mem::take(&mut self.pending) {
            if earlier.place() == path {
                earlier.apply(&mut self.durable);
            } else {
                self.pending.push(earlier);
            }
        }
    }

    fn is_directory(&self, path: &Path) -> bool {
        let is_root = path.parent().is_none() || path == Path::new(".");
        is_root || matches!(self.live.get(path), Some(Entry::Directory))
    }

    fn parent_of(&self, path: &Path) -> io::Result<()> {
        if self.is_directory(path.parent().unwrap_or(Path::new(""))) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn used_octets(&self) -> u64 {
        let files = self.live.values().filter_map(|entry| match entry {
            Entry::File(node) => Some(node.borrow().live.pages.len()),
            Entry::Directory => None,
        });
        (files.sum::<usize>() * PAGE_OCTETS) as u64
    }

    /// How many of `len` octets at `position` the disk still has room for.
    fn room_for(&self, image: &Image, position: u64, len: usize) -> usize {
        let Some(capacity) = self.faults.capacity_octets else {
            return len;
        };
        let mut free = capacity.saturating_sub(self.used_octets()) / PAGE_OCTETS as u64;
        let mut at = position;
        let end = position + len as u64;
        while at < end {
            let page = at / PAGE_OCTETS as u64;
            if !image.pages.contains_key(&page) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            at = (page + 1) * PAGE_OCTETS as u64;
        }
        (at.min(end) - position) as usize
    }
}

fn no_power() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the power is off")
}

const NANOS_PER_MICRO: i64 = 1_000;
