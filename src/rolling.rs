//! A file that lines are added to, kept within a bound: when it is full it gets a number behind its
//! name, and the oldest goes.
//!
//! ```text
//! audit.jsonl ─full─► audit.jsonl.1 ─► audit.jsonl.2 ─► gone
//! ```

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Octets of one file; a line that is longer than this has a file of its own.
    pub octets: u64,
    /// Files, the one that is written to included; at least one.
    pub files: usize,
}

/// The file that is written to. One process only may have it open.
#[derive(Debug)]
pub struct Rolling {
    path: PathBuf,
    bound: Bound,
    file: File,
    octets: u64,
}

impl Rolling {
    /// Opens `path` to add to it; it is made where there is none, for its owner alone to read.
    pub fn open(path: &Path, bound: Bound) -> io::Result<Self> {
        if let Some(home) = path.parent().filter(|home| !home.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(home)?;
        }
        let mut file = open(path)?;
        let mut octets = file.metadata()?.len();
        if octets > 0 {
            // What a crash has cut off must not swallow the next line.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                octets += 1;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            bound,
            file,
            octets,
        })
    }

    /// Adds a line, without its end.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let needed = line.len() as u64 + 1;
        if self.octets > 0 && self.octets + needed > self.bound.octets {
            self.roll()?;
        }
        let whole = [line, b"\n"].concat();
        if let Err(error) = self.file.write_all(&whole) {
            // A part of a line would be taken for the beginning of the next.
            let _ = self.file.set_len(self.octets);
            return Err(error);
        }
        self.octets += needed;
        Ok(())
    }

    /// Puts what was added on stable storage.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn roll(&mut self) -> io::Result<()> {
        let last = self.bound.files.saturating_sub(1);
        if last == 0 {
            self.file.set_len(0)?;
        }
        for number in (1..=last).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => numbered(&self.path, number - 1),
            };
            match fs::rename(from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path)?;
        self.octets = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path)
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_gives_way_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("record");
        let bound = Bound {
            octets: 10,
            files: 3,
        };
        let mut rolling = Rolling::open(&path, bound).expect("a file");
        for line in ["one", "two", "three", "four", "a line of its own", "six"] {
            rolling.append(line.as_bytes()).expect("room");
        }
        assert_eq!(names(folder.path()), ["record", "record.1", "record.2"]);
        let text = |path: PathBuf| fs::read_to_string(path).expect("a file");
        assert_eq!(text(path.clone()), "six\n");
        assert_eq!(text(numbered(&path, 1)), "a line of its own\n");
        assert_eq!(text(numbered(&path, 2)), "four\n");
    }

    #[test]
    fn one_file_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("record");
        let bound = Bound {
            octets: 8,
            files: 1,
        };
        let mut rolling = Rolling::open(&path, bound).expect("a file");
        for line in ["first", "second"] {
            rolling.append(line.as_bytes()).expect("room");
        }
        assert_eq!(names(folder.path()), ["record"]);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "second\n");
    }

    #[test]
    fn a_restart_adds_to_what_is_there_and_closes_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/record");
        let bound = Bound {
            octets: 1_000,
            files: 2,
        };
        let mut rolling = Rolling::open(&path, bound).expect("a file");
        rolling.append(b"whole").expect("room");
        rolling.sync().expect("a disk");
        drop(rolling);
        let mut torn = fs::read(&path).expect("a file");
        torn.extend_from_slice(b"to");
        fs::write(&path, torn).expect("room");
        let mut rolling = Rolling::open(&path, bound).expect("a file");
        rolling.append(b"next").expect("room");
        assert_eq!(
            fs::read_to_string(&path).expect("a file"),
            "whole\nto\nnext\n"
        );
    }
}
