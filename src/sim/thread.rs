//! The disk as a thread beside the shards has it, which waits for it: here nothing takes time.

use std::io;
use std::path::Path;

use super::SimWorld;
use super::disk::SimFile;
use crate::suppress::{Outside, Paper};
use crate::world::World as _;

impl Outside for SimWorld {
    type File = Sheet;

    fn open(&self, path: &Path) -> io::Result<Sheet> {
        let file = self.with_disk(|disk| disk.open(path, true))?;
        let world = self.clone();
        Ok(Sheet { world, file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with_disk(|disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with_disk(|disk| disk.remove(path))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.with_disk(|disk| disk.sync_directory(directory))
    }

    fn seconds(&self) -> i64 {
        self.wall().seconds()
    }

    fn tidy_at(&self) -> usize {
        TIDY_AT
    }
}

/// An open file of such a thread.
pub(crate) struct Sheet {
    world: SimWorld,
    file: SimFile,
}

impl Paper for Sheet {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let len = into.len();
        let octets = self.world.with_disk(|_| self.file.read_at(position, len))?;
        into[..octets.len()].copy_from_slice(&octets);
        Ok(octets.len())
    }

    fn write_at(&self, octets: &[u8], position: u64) -> io::Result<()> {
        self.world
            .with_disk(|_| self.file.write_at(octets, position))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.world.with_disk(|_| self.file.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.world.with_disk(|_| self.file.sync())
    }
}

/// Often enough to be met in a short play.
const TIDY_AT: usize = 8;
