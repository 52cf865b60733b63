//! The content of a large message: a file of its own, written while the message arrives.

use std::io;
use std::path::PathBuf;

use super::layout;
use super::log::Log;
use crate::mail::envelope::QueueId;
use crate::world::{File as _, World};

/// Content that is being written.
pub struct ExtentWriter<W: World> {
    log: Log<W>,
    path: PathBuf,
    file: W::File,
    len: u64,
}

/// Content that is on stable storage.
#[derive(Debug)]
pub struct ExtentSeal {
    len: u64,
}

impl ExtentSeal {
    /// Octets of it.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// True when there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<W: World> ExtentWriter<W> {
    pub(super) async fn create(log: Log<W>, id: QueueId) -> io::Result<Self> {
        let path = layout::extent(log.directory(), id);
        let file = log.world().open(&path, true).await?;
        Ok(Self {
            log,
            path,
            file,
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
        if self.log.is_durable() {
            self.file.sync().await?;
            self.log
                .world()
                .sync_directory(self.log.directory())
                .await?;
        }
        Ok(ExtentSeal { len: self.len })
    }

    /// The message will not be accepted.
    pub async fn abandon(self) {
        let Self {
            log, path, file, ..
        } = self;
        drop(file);
        // What stays is removed by the next recovery.
        let _ = log.world().remove(&path).await;
    }
}
