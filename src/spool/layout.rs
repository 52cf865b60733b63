//! Where the spool's files are.
//!
//! ```text
//! spool/FORMAT          "ringpost spool 1"
//! spool/00/             shard 0
//!     0000000000000001.log    a segment of its log, by number
//!     0F1ZQ2M7T8K4X.msg       the content of a large message, by queue id
//!     0000000000000000.spare  a segment's file that waits to be used again
//!     0000000000000002.damaged    a segment that could not be read in full, done with
//!     ADOPTED                 another shard has taken everything over
//! spool/07.last         the last queue id that a shard 7 gave out before it was gone
//! spool/07.00/          what shard 7, which is gone, left, while shard 0 takes it over
//! spool/07.00.damaged/  what was left of it when not all could be read, done with
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::mail::envelope::QueueId;
use crate::world::{File as _, World};

/// Why a spool cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// It is of a version that this program does not know.
    Format(String),
    /// The disk does not let us.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(found) => write!(
                f,
                "this spool is of the format {found:?} and this program knows {FORMAT:?} only: run the version that wrote it, and nothing was changed"
            ),
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "{error}; the user that ringpost runs as must own data_dir and all that is in it"
            ),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes sure that the spool at `root` is of our format, and marks a new one.
pub(super) async fn make<W: World>(world: &W, root: &Path) -> Result<(), OpenError> {
    world.make_directory(root).await?;
    let path = root.join(FORMAT_FILE);
    let file = world.open(&path, true).await?;
    let len = usize::try_from(file.len().await?).unwrap_or(usize::MAX);
    let found = file.read_at(0, len.min(FORMAT_OCTETS_MAX)).await?;
    let found = String::from_utf8_lossy(&found);
    // A file that was made and not written is a first start that was cut off; it may have its
    // length already, and zeros in it.
    let found = found.trim_end_matches(['\0', '\n']).to_owned();
    if found == FORMAT {
        return Ok(());
    }
    if !found.is_empty() {
        return Err(OpenError::Format(found));
    }
    file.write_at(format!("{FORMAT}\n").into_bytes(), 0).await?;
    file.sync().await?;
    world.sync_directory(root).await?;
    Ok(())
}

/// The same without changing anything, for a check.
pub(super) async fn verify<W: World>(world: &W, root: &Path) -> Result<(), OpenError> {
    let file = world.open(&root.join(FORMAT_FILE), false).await?;
    let found = file.read_at(0, FORMAT_OCTETS_MAX).await?;
    let found = String::from_utf8_lossy(&found).trim_end().to_owned();
    if found == FORMAT {
        Ok(())
    } else {
        Err(OpenError::Format(found))
    }
}

/// What a directory of a shard holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// Numbers of segments, ascending.
    pub(super) segments: Vec<u32>,
    /// Messages with content of their own.
    pub(super) extents: Vec<QueueId>,
    /// Files to be used again.
    pub(super) spares: Vec<PathBuf>,
}

/// Lists a shard's directory; empty when there is none.
pub(super) async fn list<W: World>(world: &W, directory: &Path) -> io::Result<Files> {
    let names = match world.list(directory).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::default()),
        names => names?,
    };
    let mut files = Files::default();
    for name in names {
        let name = name
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match name.rsplit_once('.') {
            Some((stem, "log")) => files.segments.extend(u32::from_str_radix(stem, 16)),
            Some((stem, "msg")) => files.extents.extend(stem.parse::<QueueId>()),
            Some((_, "spare")) => files.spares.push(directory.join(name)),
            _ => {}
        }
    }
    files.segments.sort_unstable();
    Ok(files)
}

pub(super) fn segment(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:016x}.log"))
}

pub(super) fn extent(directory: &Path, id: QueueId) -> PathBuf {
    directory.join(format!("{id}.msg"))
}

/// Where a segment is put that is not to be used again.
pub(super) fn damaged(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:016x}.damaged"))
}

/// Where a directory is put whose messages are elsewhere, and that could not be read in full.
pub(super) fn aside(directory: &Path, count: u32) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".damaged");
    if count > 1 {
        name.push(format!("-{count}"));
    }
    name.into()
}

/// Says that another shard has taken a directory over.
pub(super) fn adopted(directory: &Path) -> PathBuf {
    directory.join("ADOPTED")
}

pub(super) fn spare(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:016x}.spare"))
}

/// Changes with everything that an older program would read wrongly.
pub const FORMAT: &str = "ringpost spool 1";
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_OCTETS_MAX: usize = 64;
