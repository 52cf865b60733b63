//! Mailboxes on disk: Maildir++ with an index of our own.
//!
//! ```text
//!  Accounts ─► Account (one user) ─► Folder ─► Index ◄── records ──► ringpost.index
//!                │ folders, quota      │        (memory)              (append-only log)
//!                └ subscriptions       └─► cur/ new/ tmp/  (what mutt, mbsync and Dovecot see)
//! ```
//!
//! The files are the mail, and their names hold the flags; the index holds what Maildir has no
//! place for: UIDs, modseqs, keywords beyond the twenty-sixth, and what readers of a message want to
//! find again. It is made anew from the Maildir when it is gone. Other programs may add, rename
//! and remove files at any time: the next look takes over what they did.
//!
//! A user's sessions all run on the shard that is the user's home, and share one [`Account`] and one
//! [`Folder`] for each folder. Writers of a folder take turns ([`turn`]); what they do goes on
//! when the session that asked for it is gone.

mod account;
pub mod deliver;
pub mod flags;
mod folder;
pub mod index;
pub mod name;
pub mod quota;
pub mod record;
#[cfg(test)]
mod tests;
pub mod text;
pub mod turn;

use std::fmt;
use std::io;
use std::rc::Rc;

pub use account::{Account, Accounts, FolderInfo, Pop3Lock, SpecialUse};
pub use flags::{Change, Flags, System};
pub use folder::{Folder, Names, Reader, Summaries};
pub use name::FolderName;
pub use quota::{Limit, Quota};

/// One message, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// RFC 9051 §2.3.1.1
    pub uid: u32,
    /// Of its last change (RFC 7162).
    pub modseq: u64,
    /// Octets with CRLF.
    pub size: u32,
    /// The internal date: seconds since 1970.
    pub saved: i64,
    /// Its flags.
    pub flags: Flags,
}

/// Which messages went since some modseq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expunged {
    /// These UIDs and no others, in order.
    Known(Vec<u32>),
    /// It is too long ago: every UID that is not there any more.
    Unknown,
}

/// What flags were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// UIDs that were left alone, because they had changed after the modseq given.
    pub modified: Vec<u32>,
    /// The modseq of the change; the folder's highest when there was none.
    pub modseq: u64,
}

/// A message to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// With CRLF.
    pub content: &'a [u8],
    /// The system flags it comes with.
    pub flags: System,
    /// The keywords it comes with.
    pub keywords: &'a [&'a str],
    /// Its internal date, in seconds since 1970; now where none is given.
    pub saved: Option<i64>,
}

/// Why something could not be done.
#[derive(Debug)]
pub enum FolderError {
    /// There is no such folder.
    NotFound,
    /// There is one already.
    Exists,
    /// The folder only holds others.
    NoSelect,
    /// The mailbox is full.
    OverQuota,
    /// The message is larger than the whole mailbox may be, or than 4 GiB.
    TooLarge,
    /// No folder can have this name.
    BadName,
    /// The folder has as many keywords as it can.
    TooManyKeywords,
    /// The message is not there any more.
    Gone,
    /// The disk's fault.
    Io(io::Error),
}

/// There is no room on the disk: it works again when there is.
#[must_use]
pub fn is_full_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<name::BadName> for FolderError {
    fn from(_: name::BadName) -> Self {
        Self::BadName
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such folder"),
            Self::Exists => f.write_str("there is such a folder already"),
            Self::NoSelect => f.write_str("the folder only holds others"),
            Self::OverQuota => f.write_str("the mailbox is full"),
            Self::TooLarge => f.write_str("the message is too large"),
            Self::BadName => f.write_str("no folder can have this name"),
            Self::TooManyKeywords => f.write_str("the folder has too many keywords"),
            Self::Gone => f.write_str("the message is gone"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FolderError {}

/// The keywords of a folder.
type Keywords = Vec<Rc<str>>;
