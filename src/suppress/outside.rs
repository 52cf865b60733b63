//! Files and calendar, as the keeper of the list has them: a thread of its own, which may wait for the
//! disk. The simulator has a disk in memory in its place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the list's file is.
pub(crate) trait Outside {
    /// An open file.
    type File: Paper;

    /// Opens a file for reading and writing; makes it where there is none (mode 0600).
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Puts a file in the place of another. Durable only after [`Outside::sync_directory`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// The calendar: seconds since 1970.
    fn seconds(&self) -> i64;
    /// Useless lines from which on the file is written anew, where they are the most.
    fn tidy_at(&self) -> usize {
        1000
    }
}

/// An open file, read and written at positions.
pub(crate) trait Paper {
    /// Reads some octets; none at the end.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `octets`.
    fn write_at(&self, octets: &[u8], position: u64) -> io::Result<()>;
    /// Cuts it.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// fdatasync.
    fn sync(&self) -> io::Result<()>;
}

/// This machine.
pub(super) struct Machine;

impl Outside for Machine {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        options.mode(0o600).open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn seconds(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
    }
}

impl Paper for File {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, into, position)
    }

    fn write_at(&self, octets: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(octets, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file from a position on, without moving anybody else's.
pub(super) struct Part<'f, F> {
    pub(super) file: &'f F,
    pub(super) position: u64,
}

impl<F: Paper> io::Read for Part<'_, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(into, self.position)?;
        self.position += len as u64;
        Ok(len)
    }
}

impl<F: Paper> io::Write for Part<'_, F> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write_at(octets, self.position)?;
        self.position += octets.len() as u64;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
