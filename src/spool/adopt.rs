//! Taking over what a shard that no longer exists has left.
//!
//! Every message that is not settled is written here, with what is known of it in the same record,
//! and its content copied. When all of that is on stable storage the file `ADOPTED` says so, and
//! the directory is removed, oldest segment first: no settling goes before what it settles. A
//! crash before `ADOPTED` leaves some messages in both places, and the next call takes only the
//! others; a crash after it leaves a removal to be finished.

use std::io;
use std::path::{Path, PathBuf};

use futures_channel::oneshot;
use smallvec::SmallVec;

use super::layout::{self, Files, OpenError};
use super::log::{CommitError, Log, Recovery, settled_places};
use super::record::{self, Carried, Stored, StoredBody};
use super::recover::{self, Read, Recovered, Replay};
use crate::mail::envelope::QueueId;
use crate::trial::{self, Bug};
use crate::world::{self, File as _, World};

type Told = oneshot::Receiver<Result<(), CommitError>>;

impl<W: World> Log<W> {
    /// Takes over what a shard that no longer exists has left in `directory`, then removes that.
    /// Tells of the messages that are new here. What could not be read in full is kept.
    pub async fn adopt(&self, directory: PathBuf) -> Result<Recovery, OpenError> {
        let world = &self.inner.world;
        let files = layout::list(world, &directory).await?;
        match marker(world, &directory).await? {
            Some(Marker::Done) => {
                remove(world, &directory, &files).await?;
                return Ok(Recovery::default());
            }
            Some(Marker::Kept) => {
                set_aside(world, &directory).await?;
                return Ok(Recovery::default());
            }
            None => {}
        }
        // The compactor asks the queue what is known of a message, and the queue is told of these
        // only when all are here.
        self.inner.adopting.set(true);
        let recovery = self.take_over(&directory, &files).await;
        self.inner.adopting.set(false);
        self.inner.tending.ring();
        let mut recovery = recovery?;
        if recovery.damage.is_empty() {
            mark(world, &directory, b"").await?;
            remove(world, &directory, &files).await?;
        } else {
            mark(world, &directory, KEPT).await?;
            let aside = set_aside(world, &directory).await?;
            recovery.damage.push(format!(
                "{}: what could be read was taken over; the rest is in {} for you to look at, and to remove",
                directory.display(),
                aside.display()
            ));
        }
        Ok(recovery)
    }

    async fn take_over(&self, directory: &Path, files: &Files) -> Result<Recovery, OpenError> {
        let world = &self.inner.world;
        let (mut replay, mut recovery) = (Replay::default(), Recovery::default());
        let segments = &files.segments;
        let progress = &self.inner.settings.progress;
        progress.expect(segments.len());
        let read = recover::recover(
            world,
            directory,
            segments,
            progress,
            &mut replay,
            &mut recovery,
        )
        .await?;
        recovery.messages = replay.finish().messages;
        super::check::match_extents(world, directory, &files.extents, &mut recovery).await?;
        let mut adopted = Vec::with_capacity(recovery.messages.len());
        let mut waiting: Vec<Told> = Vec::new();
        for mut message in std::mem::take(&mut recovery.messages) {
            if self.has(message.id) {
                continue;
            }
            let number = message.locator.segment;
            let from = read
                .segments
                .iter()
                .find(|read| read.epoch.number == number);
            let Some(from) = from else { continue };
            waiting.push(self.adopt_message(directory, from, &mut message).await?);
            adopted.push(message);
            if waiting.len() >= ADOPTED_TOGETHER {
                all_told(&mut waiting).await?;
                world.breathe().await;
            }
        }
        all_told(&mut waiting).await?;
        recovery.messages = adopted;
        Ok(recovery)
    }

    /// True for a message that is here, or was when the log was opened.
    fn has(&self, id: QueueId) -> bool {
        let state = self.inner.state.borrow();
        let is_here = state.live.contains_key(&id) || state.adopted.contains(&id);
        is_here && !trial::has(Bug::AdoptedTwice)
    }

    async fn adopt_message(
        &self,
        directory: &Path,
        from: &Read<W::File>,
        message: &mut Recovered,
    ) -> Result<Told, OpenError> {
        let stored = read_from::<W>(from, message).await?;
        if let StoredBody::Extent(len) = stored.body {
            self.copy_extent(directory, message.id, len).await?;
        }
        let inner = &self.inner;
        inner.room().await;
        inner.usable().map_err(refused)?;
        let carried = Carried {
            held: message.held,
            removed_until: message.removed_until,
            recipients: message.recipients.clone(),
        };
        let (tell, told) = oneshot::channel();
        message.locator = inner.append(&stored.as_accepted(), Some(&carried), tell);
        let settled: SmallVec<[u16; 4]> = settled_places(&message.recipients);
        inner.enlist(
            message.id,
            message.locator,
            message.extent.is_some(),
            settled,
        );
        inner.signal.ring_loud();
        Ok(told)
    }

    async fn copy_extent(&self, from: &Path, id: QueueId, len: u64) -> io::Result<()> {
        let path = layout::extent(from, id);
        let source = self.inner.world.open(&path, false).await?;
        let mut copy = self.extent(id).await?;
        let mut position = 0;
        while position < len {
            let left = usize::try_from(len - position).unwrap_or(usize::MAX);
            let octets = source.read_at(position, left.min(COPIED_OCTETS)).await?;
            if octets.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            position += octets.len() as u64;
            copy.append(octets).await?;
        }
        copy.seal().await?.name();
        Ok(())
    }
}

async fn all_told(waiting: &mut Vec<Told>) -> Result<(), OpenError> {
    for told in waiting.drain(..) {
        match told.await {
            Ok(result) => result.map_err(refused)?,
            Err(oneshot::Canceled) => return Err(OpenError::Io(io::ErrorKind::BrokenPipe.into())),
        }
    }
    Ok(())
}

fn refused(error: CommitError) -> OpenError {
    OpenError::Io(io::Error::other(error))
}

async fn read_from<W: World>(from: &Read<W::File>, message: &Recovered) -> io::Result<Stored> {
    let locator = message.locator;
    let len = usize::try_from(locator.len).unwrap_or(usize::MAX);
    let octets = from.file.read_at(locator.offset, len).await?;
    record::read_accept(&octets, locator, from.epoch.salt)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its record is damaged"))
}

/// What `ADOPTED` says.
enum Marker {
    /// All of it is elsewhere.
    Done,
    /// What could be read is elsewhere.
    Kept,
}

async fn marker<W: World>(world: &W, directory: &Path) -> io::Result<Option<Marker>> {
    let file = match world.open(&layout::adopted(directory), false).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let is_empty = file.len().await? == 0;
    Ok(Some(if is_empty { Marker::Done } else { Marker::Kept }))
}

/// Leaves the mark, for good.
async fn mark<W: World>(world: &W, directory: &Path, content: &[u8]) -> io::Result<()> {
    world::replace(world, &layout::adopted(directory), content.to_vec()).await
}

/// Removes a directory whose messages are all elsewhere. The mark goes last: without it the rest
/// would be read as a log.
async fn remove<W: World>(world: &W, directory: &Path, files: &Files) -> io::Result<()> {
    let logs = files.segments.iter();
    let logs = logs.map(|number| layout::segment(directory, *number));
    let extents = files
        .extents
        .iter()
        .map(|id| layout::extent(directory, *id));
    for path in logs.chain(extents).chain(files.spares.iter().cloned()) {
        world.remove(&path).await?;
    }
    world.sync_directory(directory).await?;
    let mark = layout::adopted(directory);
    match world.remove(&world::draft(&mark)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let others = world.list(directory).await?;
    if others.iter().any(|name| directory.join(name) != mark) {
        // Not ours to remove; the mark says that the messages are elsewhere.
        return Ok(());
    }
    world.remove(&mark).await?;
    world.sync_directory(directory).await?;
    world.remove(directory).await?;
    match directory.parent() {
        Some(root) => world.sync_directory(root).await,
        None => Ok(()),
    }
}

/// Gives a directory that is kept another name: there may be a shard again, with a log in its
/// place, that has to be taken over in turn.
async fn set_aside<W: World>(world: &W, directory: &Path) -> io::Result<PathBuf> {
    let mut count = 1;
    let aside = loop {
        let aside = layout::aside(directory, count);
        match world.list(&aside).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break aside,
            Err(error) => return Err(error),
            Ok(_) => count += 1,
        }
    };
    world.rename(directory, &aside).await?;
    if let Some(root) = directory.parent() {
        world.sync_directory(root).await?;
    }
    Ok(aside)
}

/// Messages written between two looks at who else wants the disk.
const ADOPTED_TOGETHER: usize = 256;
const COPIED_OCTETS: usize = 256 * 1024;
/// What `ADOPTED` says of a directory that was not read in full.
const KEPT: &[u8] = b"damaged\n";
