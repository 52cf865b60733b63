//! Files on glommio: `BufferedFile` (opened, read, written and synced through io_uring). DMA
//! files gave nothing for their alignment; the measurements stand in `manual`.
//!
//! What the kernel has in memory is opened and read in place: system calls that refuse to wait for
//! the disk cost less than the way through the ring and back. What glommio has no call for (listing,
//! renaming, making directories) runs on its blocking thread, off the shard.

use std::cell::RefCell;
use std::fs::FileType;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use glommio::io::{BufferedFile, Directory, OpenOptions};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::ReadWriteFlags;

use super::plain;
use crate::world::File;

/// An open file.
pub struct UringFile {
    opened: Opened,
    /// The same file, opened so that a write returns when it is on stable storage. A write and an
    /// fdatasync each wake a worker of the kernel's, and the shard again; this one does it once.
    durable: RefCell<Durable>,
}

/// Opened when it is first wanted.
#[derive(Default)]
enum Durable {
    #[default]
    Unopened,
    Open(Rc<BufferedFile>),
    /// There is no /proc here: a write and a sync do the same.
    Impossible,
}

enum Opened {
    /// Through the ring. Taken only when the file is dropped.
    Ring(Option<BufferedFile>),
    /// In place, for reading: its name was in memory.
    InPlace(Arc<OwnedFd>),
}

impl UringFile {
    fn through_ring(&self) -> io::Result<&BufferedFile> {
        match &self.opened {
            Opened::Ring(Some(file)) => Ok(file),
            Opened::Ring(None) => Err(io::ErrorKind::NotFound.into()),
            Opened::InPlace(_) => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Reads what is in memory of the octets wanted; true when that is all there is.
    fn read_in_place(&self, position: u64, wanted: usize, octets: &mut Vec<u8>) -> bool {
        let descriptor = match &self.opened {
            Opened::InPlace(file) => file.as_fd(),
            // SAFETY: the file is open as long as it is not taken out of `self`, which `drop` alone
            // does, and `self` is borrowed.
            Opened::Ring(Some(file)) => unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) },
            Opened::Ring(None) => return false,
        };
        octets.resize(wanted, 0);
        let mut have = 0;
        let is_all = loop {
            let mut into = [IoSliceMut::new(&mut octets[have..])];
            let at = position + have as u64;
            match rustix::io::preadv2(descriptor, &mut into, at, ReadWriteFlags::NOWAIT) {
                Ok(0) => break true,
                Ok(more) => have += more,
                // Not in memory, or a file system that cannot tell.
                Err(_) => break false,
            }
            if have == wanted {
                break true;
            }
        };
        octets.truncate(have);
        is_all
    }

    async fn durable(&self) -> io::Result<Option<Rc<BufferedFile>>> {
        match &*self.durable.borrow() {
            Durable::Open(file) => return Ok(Some(Rc::clone(file))),
            Durable::Impossible => return Ok(None),
            Durable::Unopened => {}
        }
        // By its descriptor: the file may have got another name since it was opened.
        let path = format!("/proc/self/fd/{}", self.through_ring()?.as_raw_fd());
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(DURABLY);
        let opened = options.buffered_open(path).await.ok().map(Rc::new);
        *self.durable.borrow_mut() = match &opened {
            Some(file) => Durable::Open(Rc::clone(file)),
            None => Durable::Impossible,
        };
        Ok(opened)
    }
}

/// Writes all of `octets`.
async fn write_all(file: &BufferedFile, octets: Vec<u8>, position: u64) -> io::Result<()> {
    let len = octets.len();
    let written = file.write_at(octets, position).await.map_err(plain)?;
    // A regular file takes all or, when the disk fills up half way, a part: io_uring goes on
    // with a short buffered write by itself otherwise.
    if written == len {
        Ok(())
    } else {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn close(file: BufferedFile) {
    // Dropped unclosed, glommio closes it too, with a complaint in the log each time.
    drop(glommio::spawn_local(async move { file.close().await }).detach());
}

impl Drop for UringFile {
    fn drop(&mut self) {
        if let Opened::Ring(file) = &mut self.opened
            && let Some(file) = file.take()
        {
            close(file);
        }
        if let Durable::Open(file) = self.durable.take()
            && let Some(file) = Rc::into_inner(file)
        {
            close(file);
        }
    }
}

impl File for UringFile {
    async fn read_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        if self.read_in_place(position, len, &mut octets) {
            return Ok(octets);
        }
        if let Opened::InPlace(file) = &self.opened {
            let file = Arc::clone(file);
            return off_shard(move || read_waiting(&file, position, octets, len)).await;
        }
        while octets.len() < len {
            let at = position + octets.len() as u64;
            let part = self
                .through_ring()?
                .read_at(at, len - octets.len())
                .await
                .map_err(plain)?;
            if part.is_empty() {
                break;
            }
            octets.extend_from_slice(&part);
        }
        Ok(octets)
    }

    async fn write_at(&self, octets: Vec<u8>, position: u64) -> io::Result<()> {
        write_all(self.through_ring()?, octets, position).await
    }

    async fn write_durably(&self, octets: Vec<u8>, position: u64) -> io::Result<()> {
        let Some(file) = self.durable().await? else {
            self.write_at(octets, position).await?;
            return self.sync().await;
        };
        write_all(&file, octets, position).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.through_ring()?.fdatasync().await.map_err(plain)
    }

    async fn len(&self) -> io::Result<u64> {
        match &self.opened {
            Opened::InPlace(file) => size_of(file),
            Opened::Ring(_) => self.through_ring()?.file_size().await.map_err(plain),
        }
    }

    async fn set_len(&self, len: u64) -> io::Result<()> {
        self.through_ring()?.truncate(len).await.map_err(plain)
    }
}

/// Reads on, as far as there is something.
fn read_waiting(
    file: &OwnedFd,
    position: u64,
    mut octets: Vec<u8>,
    wanted: usize,
) -> io::Result<Vec<u8>> {
    let mut have = octets.len();
    octets.resize(wanted, 0);
    while have < wanted {
        match rustix::io::pread(file, &mut octets[have..], position + have as u64) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    octets.truncate(have);
    Ok(octets)
}

pub(super) async fn open(path: &Path, create: bool) -> io::Result<UringFile> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(create)
        .mode(FILE_MODE)
        // A link in a mailbox must not lead a relay that runs as root to files of others.
        .custom_flags(NO_LINKS);
    let file = options.buffered_open(path).await.map_err(plain)?;
    Ok(UringFile {
        opened: Opened::Ring(Some(file)),
        durable: RefCell::default(),
    })
}

/// Opens a file that is only read.
pub(super) async fn open_to_read(path: &Path) -> io::Result<UringFile> {
    // O_NONBLOCK: a pipe that stands in the place of a file is opened at once, and cannot be read.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Ok(UringFile {
            opened: Opened::InPlace(Arc::new(file)),
            durable: RefCell::default(),
        }),
        // It has to be looked for on the disk, is not there, or the kernel is older than 5.12.
        Err(_) => open(path, false).await,
    }
}

pub(super) async fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    names(directory, |kind| {
        kind.is_file() || kind.is_dir() || kind.is_symlink()
    })
    .await
}

pub(super) async fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    names(directory, |kind| kind.is_file()).await
}

pub(super) async fn directories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    names(directory, |kind| kind.is_dir()).await
}

async fn names(
    directory: &Path,
    fits: impl Fn(FileType) -> bool + Send + 'static,
) -> io::Result<Vec<PathBuf>> {
    let directory = directory.to_path_buf();
    off_shard(move || {
        let entries = std::fs::read_dir(directory)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Whoever opens and reads a pipe waits for its writer without end, and so does a
            // mailbox in which one was put. The kind comes with the name.
            // Where the file system does not say it, the file is asked, and may have gone.
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                kind => kind?,
            };
            if fits(kind) {
                names.push(PathBuf::from(entry.file_name()));
            }
        }
        // As octets: to compare paths part by part costs five times as much.
        names.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        Ok(names)
    })
    .await
}

pub(super) async fn make_directory(directory: &Path) -> io::Result<()> {
    let mut made = Vec::new();
    let mut missing = directory;
    while !missing.as_os_str().is_empty() && !missing.exists() {
        made.push(missing.to_path_buf());
        missing = missing.parent().unwrap_or(Path::new(""));
    }
    let target = directory.to_path_buf();
    off_shard(move || {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(target)
    })
    .await?;
    // A directory is only there after a crash when its parent says so.
    for path in made {
        if let Some(parent) = path.parent() {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            sync_directory(parent).await?;
        }
    }
    Ok(())
}

pub(super) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_path_buf(), to.to_path_buf());
    off_shard(move || std::fs::rename(from, to)).await
}

pub(super) async fn remove(path: &Path) -> io::Result<()> {
    let path = path.to_path_buf();
    off_shard(move || match std::fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir(&path),
        done => done,
    })
    .await
}

pub(super) async fn sync_directory(directory: &Path) -> io::Result<()> {
    let opened = Directory::open(directory).await.map_err(plain)?;
    opened.sync().await.map_err(plain)?;
    opened.close().await.map_err(plain)
}

pub(super) async fn link(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_path_buf(), to.to_path_buf());
    off_shard(move || std::fs::hard_link(from, to)).await
}

pub(super) async fn modified(path: &Path) -> io::Result<i64> {
    use std::os::unix::fs::MetadataExt as _;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let in_memory = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
    if let Ok(about) = in_memory.and_then(rustix::fs::fstat) {
        let nanos = i64::try_from(about.st_mtime_nsec).map_err(io::Error::other)?;
        return Ok(about.st_mtime * NANOS_PER_SECOND + nanos);
    }
    let path = path.to_path_buf();
    off_shard(move || {
        let about = std::fs::metadata(path)?;
        Ok(about.mtime() * NANOS_PER_SECOND + about.mtime_nsec())
    })
    .await
}

pub(super) async fn set_modified(path: &Path, seconds: i64) -> io::Result<()> {
    let path = path.to_path_buf();
    off_shard(move || {
        let moment = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = rustix::fs::Timestamps {
            last_access: moment,
            last_modification: moment,
        };
        let flags = rustix::fs::AtFlags::empty();
        Ok(rustix::fs::utimensat(CWD, path, &times, flags)?)
    })
    .await
}

fn size_of(file: &OwnedFd) -> io::Result<u64> {
    let size = rustix::fs::fstat(file)?.st_size;
    u64::try_from(size).map_err(io::Error::other)
}

/// Runs a call that may wait for the disk on glommio's blocking thread.
async fn off_shard<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    glommio::executor().spawn_blocking(call).await
}

/// O_NOFOLLOW: what is opened is no link. Directories before the last name may be.
const NO_LINKS: i32 = OFlags::NOFOLLOW.bits().cast_signed();
/// O_DSYNC: each write is followed by an fdatasync of what it wrote.
const DURABLY: i32 = OFlags::DSYNC.bits().cast_signed();
/// Mail is for nobody else's eyes.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
