//! Keeps the log short: drops the oldest segments when nothing in them waits, keeps their files
//! to be used again, and moves the last survivors of an old segment to the end.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use futures_channel::oneshot;

use super::layout::{self, OpenError};
use super::log::{CommitError, Inner, Log, Recovery, Waiting};
use super::record::{Note, Stored, StoredBody};
use super::recover::{self, RecipientState, Recovered, Replay};
use crate::mail::Locator;
use crate::mail::envelope::QueueId;
use crate::world::{File as _, World};

impl<W: World> Inner<W> {
    /// Tends the segments until the log is closed.
    pub(super) async fn tend(self: Rc<Self>) {
        while !self.closed.get() {
            self.tending.heard().await;
            while self.drop_oldest().await {}
            while !self.closed.get() && self.is_sparse() {
                if !self.compact_oldest().await {
                    break;
                }
                while self.drop_oldest().await {}
                self.world.breathe().await;
            }
        }
    }

    /// Drops the oldest segment if no message in it waits; true when it did.
    async fn drop_oldest(&self) -> bool {
        let dropped = {
            let state = &mut *self.state.borrow_mut();
            let writing = state
                .batches
                .front()
                .map_or(state.next.0, |batch| batch.segment);
            let oldest = state.segments.first_key_value();
            let done = oldest.filter(|(number, segment)| {
                segment.live == 0 && **number < writing && segment.file.is_some()
            });
            let number = done.map(|(number, _)| *number);
            number.inspect(|number| {
                state.segments.remove(number);
            })
        };
        let Some(number) = dropped else {
            return false;
        };
        let path = layout::segment(&self.directory, number);
        let keep = self.state.borrow().spares.len() < SPARES_MAX;
        let spare = layout::spare(&self.directory, number);
        let done = if keep {
            self.world.rename(&path, &spare).await
        } else {
            self.world.remove(&path).await
        };
        // In order and for good: were a segment to come back without the later one whose notes
        // settle it, its messages would be sent again.
        if self.settings.durable {
            let _ = self.world.sync_directory(&self.directory).await;
        }
        if keep && done.is_ok() {
            self.state.borrow_mut().spares.push(spare);
        }
        true
    }

    /// More than half of the disk's octets are of messages that are gone.
    fn is_sparse(&self) -> bool {
        let state = self.state.borrow();
        let allowed = 2 * state.live_octets() + 2 * self.settings.segment_octets;
        state.segments.len() > 2 && state.disk_octets() > allowed
    }

    /// Writes the oldest segment's messages again, behind all others; false when that failed.
    async fn compact_oldest(&self) -> bool {
        let survivors: Vec<(QueueId, Locator)> = {
            let state = self.state.borrow();
            let Some((&oldest, _)) = state.segments.first_key_value() else {
                return false;
            };
            if oldest == state.next.0 {
                return false;
            }
            let inside = state
                .live
                .iter()
                .filter(|(_, live)| live.locator.segment == oldest);
            inside.map(|(id, live)| (*id, live.locator)).collect()
        };
        for some in survivors.chunks(MOVED_TOGETHER) {
            let mut moves = Vec::with_capacity(some.len());
            for &(id, from) in some {
                match self.begin_move(id, from).await {
                    Ok(Some(begun)) => moves.push(begun),
                    Ok(None) => {}
                    Err(_) => return false,
                }
            }
            self.signal.ring_loud();
            for (id, to, told) in moves {
                if !matches!(told.await, Ok(Ok(()))) {
                    return false;
                }
                self.end_move(id, to);
            }
            self.world.breathe().await;
        }
        true
    }

    /// Appends a message once more, with all that is known of it.
    async fn begin_move(&self, id: QueueId, from: Locator) -> io::Result<Option<Move>> {
        let stored = self.read(from).await?;
        let stays = |inner: &Self| {
            let state = inner.state.borrow();
            state.live.get(&id).is_some_and(|live| live.locator == from)
        };
        // Settled while it was read.
        if !stays(self) || self.usable().is_err() {
            return Ok(None);
        }
        let (tell, told) = oneshot::channel();
        let to = self.append(&stored.as_accepted(), tell);
        self.state.borrow_mut().begin_move(id, to);
        let known = (self.settings.state)(id);
        self.note_state(id, &known.waiting, known.held, known.delay_told);
        Ok(Some((id, to, told)))
    }

    fn end_move(&self, id: QueueId, to: Locator) {
        {
            let state = &mut *self.state.borrow_mut();
            let Some(live) = state.live.get_mut(&id) else {
                // Settled meanwhile; both places were left then.
                return;
            };
            let from = std::mem::replace(&mut live.locator, to);
            live.moving = None;
            state.leave(from);
        }
        (self.settings.on_move)(id, to);
    }

    /// Notes what the records before it said of a message.
    fn note_state(&self, id: QueueId, waiting: &[Waiting], held: bool, delay_told: bool) {
        let settled = {
            let mut state = self.state.borrow_mut();
            let live = state.live.get_mut(&id);
            live.map(|live| std::mem::take(&mut live.settled))
        };
        for recipient in settled.unwrap_or_default() {
            self.append_note(&Note::Delivered { id, recipient });
        }
        for one in waiting {
            self.append_note(&Note::Deferred {
                id,
                recipients: &one.recipients,
                attempts: one.attempts,
                due: one.due,
                diagnosis: &one.diagnosis,
                doubtful: one.doubtful,
            });
        }
        if held {
            self.append_note(&Note::Held { id, held });
        }
        if delay_told {
            self.append_note(&Note::DelayTold { id });
        }
    }
}

/// A message under way to its new place.
type Move = (QueueId, Locator, oneshot::Receiver<Result<(), CommitError>>);

impl<W: World> Log<W> {
    /// Takes over what a shard that no longer exists has left in `directory`, then removes that.
    /// A crash in between leaves some messages in both places; the next call finds them here.
    pub async fn adopt(&self, directory: PathBuf) -> Result<Recovery, OpenError> {
        let inner = &self.inner;
        let world = &inner.world;
        let files = layout::list(world, &directory).await?;
        let (mut replay, mut recovery) = (Replay::default(), Recovery::default());
        let segments = recover::recover(
            world,
            &directory,
            &files.segments,
            &mut replay,
            &mut recovery,
        )
        .await?;
        let (messages, _) = replay.finish();
        recovery.messages = messages;
        super::check::match_extents(world, &directory, &files.extents, &mut recovery).await?;
        let mut adopted = Vec::new();
        for mut message in std::mem::take(&mut recovery.messages) {
            if inner.state.borrow().live.contains_key(&message.id) {
                continue;
            }
            let file = segments
                .iter()
                .find(|(number, ..)| *number == message.locator.segment);
            let Some((_, file, _)) = file else { continue };
            let stored = read_from::<W>(file, message.locator).await?;
            if let StoredBody::Extent(len) = stored.body {
                self.copy_extent(&directory, message.id, len).await?;
            }
            message.locator = self.adopt_message(&message, &stored).await?;
            adopted.push(message);
        }
        self.sync().await;
        drop(segments);
        let spares = files.spares.iter().cloned();
        let logs = files
            .segments
            .iter()
            .map(|number| layout::segment(&directory, *number));
        let extents = files
            .extents
            .iter()
            .map(|id| layout::extent(&directory, *id));
        for path in logs.chain(extents).chain(spares) {
            world.remove(&path).await?;
        }
        world.remove(&directory).await?;
        if let Some(root) = directory.parent() {
            world.sync_directory(root).await?;
        }
        recovery.messages = adopted;
        Ok(recovery)
    }

    async fn adopt_message(
        &self,
        message: &Recovered,
        stored: &Stored,
    ) -> Result<Locator, OpenError> {
        let inner = &self.inner;
        let (tell, told) = oneshot::channel();
        let locator = inner.append(&stored.as_accepted(), tell);
        let has_extent = message.extent.is_some();
        inner.enlist(message.id, locator, has_extent, Default::default());
        let mut delayed = false;
        for (state, place) in message.recipients.iter().zip(0u16..) {
            match state {
                RecipientState::Settled => inner.append_note(&Note::Delivered {
                    id: message.id,
                    recipient: place,
                }),
                RecipientState::Pending {
                    attempts,
                    due: Some(due),
                    doubtful,
                    diagnosis: Some(diagnosis),
                    delay_told,
                } => {
                    delayed |= delay_told;
                    inner.append_note(&Note::Deferred {
                        id: message.id,
                        recipients: &[place],
                        attempts: *attempts,
                        due: *due,
                        diagnosis,
                        doubtful: *doubtful,
                    });
                }
                RecipientState::Pending { delay_told, .. } => delayed |= delay_told,
            }
        }
        inner.note_state(message.id, &[], message.held, delayed);
        inner.signal.ring_loud();
        match told.await {
            Ok(Ok(())) => Ok(locator),
            Ok(Err(error)) => Err(OpenError::Io(io::Error::other(error))),
            Err(oneshot::Canceled) => Err(OpenError::Io(io::ErrorKind::BrokenPipe.into())),
        }
    }

    async fn copy_extent(&self, from: &std::path::Path, id: QueueId, len: u64) -> io::Result<()> {
        let source = self
            .inner
            .world
            .open(&layout::extent(from, id), false)
            .await?;
        let mut copy = self.extent(id).await?;
        let mut position = 0;
        while position < len {
            let octets = source.read_at(position, COPIED_OCTETS).await?;
            if octets.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            position += octets.len() as u64;
            copy.append(octets).await?;
        }
        copy.seal().await.map(drop)
    }
}

async fn read_from<W: World>(file: &W::File, locator: Locator) -> io::Result<Stored> {
    let len = usize::try_from(locator.len).unwrap_or(usize::MAX);
    let octets = file.read_at(locator.offset, len).await?;
    super::record::read_accept(&octets, locator)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its record is damaged"))
}

/// Files kept to be used again: one for the segment after this, one for a burst.
const SPARES_MAX: usize = 2;
/// Messages moved between two looks at who else wants the disk.
const MOVED_TOGETHER: usize = 64;
const COPIED_OCTETS: usize = 256 * 1024;
