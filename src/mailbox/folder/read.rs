//! Reading messages.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use super::log::ItemReader;
use super::{Core, Folder, base_of};
use crate::mailbox::FolderError;
use crate::mailbox::record::Record;
use crate::mailbox::text::ToWire;
use crate::world::{File, World};

/// A message being read piece by piece, with CRLF. It goes on when the message is expunged.
pub struct Reader<W: World> {
    file: W::File,
    at: u64,
    /// What is read at one go.
    piece: usize,
    /// The file ended with the last piece.
    is_at_end: bool,
    to_wire: ToWire,
}

impl<W: World> Reader<W> {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.is_at_end {
            return Ok(None);
        }
        let piece = self.file.read_at(self.at, self.piece).await?;
        self.is_at_end = piece.len() < self.piece;
        if piece.is_empty() {
            return Ok(None);
        }
        self.at += piece.len() as u64;
        let mut out = Vec::with_capacity(piece.len() + piece.len() / 32);
        self.to_wire.push(&piece, &mut out);
        Ok(Some(out))
    }
}

/// Reads the summaries of many messages, most of which stand one behind the other.
pub struct Summaries<W: World> {
    core: Rc<Core<W>>,
    items: ItemReader<W>,
}

impl<W: World> Summaries<W> {
    /// What was kept with [`Folder::keep_summary`].
    pub async fn of(&mut self, uid: u32) -> Option<Vec<u8>> {
        let row = self.core.row(uid)?;
        if !self.items.is_of(&self.core.state.borrow().log) {
            self.items = self.core.state.borrow().log.items();
        }
        let ahead = match self.items.is_next(row.summary_at) {
            true => SUMMARIES_READ_OCTETS,
            false => SUMMARY_READ_OCTETS,
        };
        self.items.read(row.summary_at, ahead).await.ok()?
    }
}

/// Reads the names of many messages, most of which stand one behind the other.
pub struct Names<W: World> {
    core: Rc<Core<W>>,
    items: ItemReader<W>,
}

impl<W: World> Names<W> {
    /// The name of a message's file without flags, which is the same whatever becomes of the index;
    /// `None` for a message that is not there any more.
    pub async fn base(&mut self, uid: u32) -> io::Result<Option<String>> {
        let Some(row) = self.core.row(uid) else {
            return Ok(None);
        };
        if !self.items.is_of(&self.core.state.borrow().log) {
            self.items = self.core.state.borrow().log.items();
        }
        let name = self.items.text(row.name_at, NAMES_READ_OCTETS).await?;
        Ok(name.map(|name| base_of(&name).to_owned()))
    }
}

impl<W: World> Folder<W> {
    /// For the names of messages.
    #[must_use]
    pub fn names(&self) -> Names<W> {
        Names {
            core: Rc::clone(&self.core),
            items: self.core.state.borrow().log.items(),
        }
    }

    /// A message, whole, with CRLF.
    pub async fn read(&self, uid: u32) -> Result<Vec<u8>, FolderError> {
        let size = self.entry(uid).ok_or(FolderError::Gone)?.size;
        let mut reader = self.reader(uid).await?;
        let mut whole = Vec::with_capacity(size as usize);
        while let Some(piece) = reader.next().await? {
            if whole.is_empty() {
                whole = piece;
            } else {
                whole.extend_from_slice(&piece);
            }
        }
        Ok(whole)
    }

    /// A message piece by piece.
    pub async fn reader(&self, uid: u32) -> Result<Reader<W>, FolderError> {
        let file = self.core.open_message(uid).await?;
        // On disk it has no more octets than with CRLF; one more would show that it has grown.
        let size = self.entry(uid).map_or(0, |entry| entry.size as usize);
        Ok(Reader {
            file,
            at: 0,
            piece: PIECE_OCTETS.min(size + 1),
            is_at_end: false,
            to_wire: ToWire::default(),
        })
    }

    /// For the summaries of messages.
    #[must_use]
    pub fn summaries(&self) -> Summaries<W> {
        Summaries {
            core: Rc::clone(&self.core),
            items: self.core.state.borrow().log.items(),
        }
    }

    /// What was kept with [`Folder::keep_summary`].
    pub async fn summary(&self, uid: u32) -> Option<Vec<u8>> {
        self.summaries().of(uid).await
    }

    /// Keeps something about a message's content with it. It is a cache: a crash may lose it.
    pub async fn keep_summary(&self, uid: u32, summary: &[u8]) {
        if summary.len() > SUMMARY_OCTETS_MAX || self.entry(uid).is_none() {
            return;
        }
        let summary = Record::Summary {
            uid,
            octets: summary.to_vec(),
        };
        // Not keeping it costs only the time to make it again.
        let _ = self
            .run(move |core| async move {
                let _mine = core.turn.take().await;
                core.append(vec![summary], false).await
            })
            .await;
    }
}

impl<W: World> Core<W> {
    /// Opens a message's file, looking for it where another program has renamed it.
    pub(super) async fn open_message(self: &Rc<Self>, uid: u32) -> Result<W::File, FolderError> {
        if let Some(file) = self.open_where_known(uid).await? {
            return Ok(file);
        }
        let folder = Folder::of(Rc::clone(self));
        let opened = folder.run(move |core| async move {
            let _mine = core.turn.take().await;
            for _ in 0..ATTEMPTS_MAX {
                // It may have come to its place while we waited for our turn.
                match core.open_where_known(uid).await {
                    Ok(Some(file)) => return Ok(Ok(file)),
                    Ok(None) => core.look_anew().await?,
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Err(FolderError::Gone))
        });
        opened.await?
    }

    async fn open_where_known(&self, uid: u32) -> Result<Option<W::File>, FolderError> {
        let row = self.row(uid).ok_or(FolderError::Gone)?;
        let Some(path) = self.message_path(&row).await? else {
            return Ok(None);
        };
        match self.world.open_to_read(&path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some(file?)),
        }
    }

    pub(super) async fn message_path(
        &self,
        row: &crate::mailbox::record::Row,
    ) -> io::Result<Option<PathBuf>> {
        let name = self.file_name(row).await?;
        Ok(name.map(|name| self.path("cur", &name)))
    }
}

/// What is read at one go.
const PIECE_OCTETS: usize = 64 << 10;
/// The names of some hundred messages.
const NAMES_READ_OCTETS: usize = 32 << 10;
/// Most summaries are shorter.
const SUMMARY_READ_OCTETS: usize = 2048;
/// Some dozens of them.
const SUMMARIES_READ_OCTETS: usize = 32 << 10;
/// Longer ones are not kept: the message is parsed again.
pub(super) const SUMMARY_OCTETS_MAX: usize = 8 << 20;
/// How often another program may rename a file just before we open it.
const ATTEMPTS_MAX: usize = 5;
