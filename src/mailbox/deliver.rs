//! Delivery into a Maildir, from whatever shard holds the message.
//!
//! ```text
//! tmp/NAME.random ── written, synced ──► new/NAME,S=..,W=.. ── directory synced ──► settled
//! ```
//!
//! NAME comes of the message's queue id and the moment of its arrival, so a delivery that is
//! repeated, because a crash came before the queue knew of it, finds what it had delivered and
//! delivers nothing twice. A crash in between leaves a file in `tmp`, which nobody reads.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::account::{file_host, make_maildir};
use super::name::FolderName;
use super::text::{Measure, Unstuffed};
use crate::mail::envelope::QueueId;
use crate::world::{File as _, Wall, World};

/// A message to be delivered.
pub struct Parcel<'a> {
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub arrival: Wall,
    /// The machine's name.
    pub host: &'a str,
    /// An earlier attempt may have delivered it.
    pub is_repeated: bool,
}

/// One file of it.
pub struct Copy<'a> {
    /// The Maildir that it goes into, a user's or a folder's.
    pub maildir: PathBuf,
    /// What stands before the content: fields with LF.
    pub head: Vec<u8>,
    /// Where the content comes from, in wire form.
    pub source: Source<'a>,
}

/// Content in wire form, dot-stuffed.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// In memory.
    Memory(&'a [u8]),
    /// So many octets that are read piece by piece.
    Pieces(u64),
}

/// Delivers copies. Their syncs run at the same time, so that many recipients of one message wait
/// little longer than one. The octets with CRLF of each.
pub async fn deliver<W: World>(
    world: &W,
    parcel: &Parcel<'_>,
    copies: &[Copy<'_>],
    read: impl AsyncFn(u64) -> io::Result<Vec<u8>>,
) -> Vec<io::Result<u64>> {
    let mut outcomes = Vec::with_capacity(copies.len());
    for copies in copies.chunks(AT_ONCE) {
        let one = |copy| deliver_one(world, parcel, copy, &read);
        outcomes.extend(join_all(copies.iter().map(one)).await);
    }
    outcomes
}

async fn deliver_one<W: World>(
    world: &W,
    parcel: &Parcel<'_>,
    copy: &Copy<'_>,
    read: &impl AsyncFn(u64) -> io::Result<Vec<u8>>,
) -> io::Result<u64> {
    let name = format!(
        "{}.Q{}.{}",
        parcel.arrival.seconds(),
        parcel.id,
        file_host(parcel.host)
    );
    let maildir = &copy.maildir;
    if parcel.is_repeated && is_there(world, maildir, &name).await? {
        return Ok(0);
    }
    make_maildir(world, maildir).await?;
    // Two attempts for different recipients may run at the same time.
    let draft = maildir
        .join("tmp")
        .join(format!("{name}.{:016x}", world.random()));
    let placed = async {
        let written = write(world, &draft, copy, read).await?;
        let place = format!("{name},S={},W={}", written.0, written.1.octets());
        world
            .rename(&draft, &maildir.join("new").join(place))
            .await?;
        world.sync_directory(&maildir.join("new")).await?;
        Ok(written.1.octets())
    };
    let placed = placed.await;
    if placed.is_err() {
        // On a full disk every block counts.
        let _ = world.remove(&draft).await;
    }
    placed
}

/// Writes a file, durably: its octets, and what they are with CRLF.
async fn write<W: World>(
    world: &W,
    path: &Path,
    copy: &Copy<'_>,
    read: &impl AsyncFn(u64) -> io::Result<Vec<u8>>,
) -> io::Result<(u64, Measure)> {
    let file = world.open(path, true).await?;
    let (mut unstuffed, mut measure) = (Unstuffed::default(), Measure::default());
    let mut octets = copy.head.clone();
    let (mut from, mut at) = (0, 0);
    loop {
        let is_last = match copy.source {
            Source::Memory(content) => {
                unstuffed.push(content, &mut octets);
                true
            }
            Source::Pieces(len) => {
                if from < len {
                    let piece = read(from).await?;
                    from += piece.len() as u64;
                    unstuffed.push(&piece, &mut octets);
                }
                from >= len
            }
        };
        if is_last {
            unstuffed.end(&mut octets);
        }
        measure.push(&octets);
        let len = octets.len() as u64;
        file.write_at(std::mem::take(&mut octets), at).await?;
        at += len;
        if is_last {
            break;
        }
    }
    file.sync().await?;
    Ok((at, measure))
}

/// Is a file of this name in `new`, or under whatever flags in `cur`?
async fn is_there<W: World>(world: &W, maildir: &Path, name: &str) -> io::Result<bool> {
    // In this order: files go from `new` to `cur`, never back.
    for place in ["new", "cur"] {
        let names = match world.list(&maildir.join(place)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            names => names?,
        };
        let is_it = |found: &PathBuf| {
            let rest = found.to_str().and_then(|found| found.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with(','))
        };
        if names.iter().any(is_it) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folder of a mailbox that a tag names, in whatever case; `None` where there is none.
pub async fn folder_of_tag<W: World>(
    world: &W,
    maildir: &Path,
    tag: &str,
) -> io::Result<Option<PathBuf>> {
    let names = match world.list(maildir).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        names => names?,
    };
    let meant = tag.to_lowercase();
    let found = names.into_iter().find(|directory| {
        let name = directory.to_str().and_then(FolderName::from_directory);
        name.is_some_and(|name| name.as_str().to_lowercase() == meant)
    });
    Ok(found.map(|directory| maildir.join(directory)))
}

/// Copies that are written and synced at the same time.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests;
