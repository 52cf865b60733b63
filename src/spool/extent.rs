//! The content of a large message: a file of its own, written while the message arrives.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::layout;
use super::log::Log;
use super::writer::Signal;
use crate::mail::envelope::QueueId;
use crate::trial::{self, Bug};
use crate::world::{File as _, World};

/// Content that is being written. Dropped before it is sealed, its file is removed.
pub struct ExtentWriter<W: World> {
    log: Log<W>,
    file: W::File,
    claim: Claim,
    len: u64,
}

/// Content that is on stable storage. Dropped before a record names it, its file is removed.
#[derive(Debug)]
pub struct ExtentSeal {
    claim: Claim,
    len: u64,
}

/// Extents that nothing names, until somebody removes them.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    ids: RefCell<Vec<QueueId>>,
    tending: Rc<Signal>,
}

impl Unclaimed {
    pub(super) fn new(tending: Rc<Signal>) -> Self {
        Self {
            ids: RefCell::default(),
            tending,
        }
    }

    /// Nothing names it any more.
    pub(super) fn add(&self, id: QueueId) {
        self.ids.borrow_mut().push(id);
        self.tending.ring();
    }

    pub(super) fn take(&self) -> Vec<QueueId> {
        self.ids.take()
    }
}

/// Whose file it is: without a record's name on it, nobody's.
#[derive(Debug)]
struct Claim {
    id: QueueId,
    is_named: Cell<bool>,
    unclaimed: Rc<Unclaimed>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_named.get() {
            self.unclaimed.add(self.id);
        }
    }
}

impl ExtentSeal {
    /// Octets of it.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// A record with its name is on its way to the disk. Should that fail, the log removes it.
    pub(super) fn name(&self) {
        self.claim.is_named.set(true);
    }

    /// True when there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<W: World> ExtentWriter<W> {
    pub(super) async fn create(log: Log<W>, id: QueueId) -> io::Result<Self> {
        // Claimed before it is made: whoever makes it may be dropped in between.
        let claim = Claim {
            id,
            is_named: Cell::new(false),
            unclaimed: Rc::clone(log.unclaimed()),
        };
        let path = layout::extent(log.directory(), id);
        let file = log.world().open(&path, true).await?;
        Ok(Self {
            log,
            file,
            claim,
            len: 0,
        })
    }

    /// Appends octets.
    pub async fn append(&mut self, octets: Vec<u8>) -> io::Result<()> {
        let len = octets.len() as u64;
        self.file.write_at(octets, self.len).await?;
        self.len += len;
        Ok(())
    }

    /// Puts it on stable storage. The message's record may be written then.
    pub async fn seal(self) -> io::Result<ExtentSeal> {
        if self.log.is_durable() && !trial::has(Bug::ExtentNotSynced) {
            self.file.sync().await?;
            self.log
                .world()
                .sync_directory(self.log.directory())
                .await?;
        }
        Ok(ExtentSeal {
            claim: self.claim,
            len: self.len,
        })
    }

    /// The message will not be accepted.
    pub async fn abandon(self) {
        // As when it is dropped: whoever tends the log removes it.
        drop(self);
    }
}
