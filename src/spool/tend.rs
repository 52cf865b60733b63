//! Keeps the log short: drops the oldest segments when nothing in them waits, keeps their files
//! to be used again, and moves the last survivors of an old segment to the end.

use std::rc::Rc;

use futures_channel::oneshot;

use super::layout;
use super::log::{CommitError, Inner};
use super::record::{Carried, RecipientState};
use crate::mail::Locator;
use crate::mail::envelope::QueueId;
use crate::trial::{self, Bug};
use crate::world::World;

impl<W: World> Inner<W> {
    /// Tends the segments until the log is closed.
    pub(super) async fn tend(self: Rc<Self>) {
        while !self.closed.get() {
            self.tending.heard().await;
            self.remove_unclaimed().await;
            while self.drop_oldest().await {}
            // Nothing is left in a segment whose messages have moved. Where the counts say otherwise,
            // to move them again would not end.
            while self.is_sparse() && self.compact_oldest().await && self.drop_oldest().await {
                while self.drop_oldest().await {}
                self.world.breathe().await;
            }
        }
    }

    /// Removes the content of large messages that nothing names any more.
    async fn remove_unclaimed(&self) {
        for id in self.unclaimed.take() {
            // One that stays is an orphan to the next recovery.
            let path = layout::extent(&self.directory, id);
            let _ = self.world.remove(&path).await;
        }
    }

    /// Drops the oldest segment if no message in it waits; true when it did.
    async fn drop_oldest(&self) -> bool {
        let dropped = {
            let state = &mut *self.state.borrow_mut();
            let writing = state
                .batches
                .front()
                .map_or(state.next.0, |batch| batch.epoch.number);
            let oldest = state.segments.first_key_value();
            let done = oldest.filter(|(number, segment)| {
                let few = u32::from(trial::has(Bug::SegmentFreedEarly)) * 9;
                segment.live <= few && **number < writing && segment.file.is_some()
            });
            let done = done.map(|(number, segment)| (*number, segment.damaged));
            done.inspect(|(number, _)| {
                state.segments.remove(number);
            })
        };
        let Some((number, is_damaged)) = dropped else {
            return false;
        };
        let path = layout::segment(&self.directory, number);
        let keep = !is_damaged && self.state.borrow().spares.len() < SPARES_MAX;
        let spare = layout::spare(&self.directory, number);
        let done = if is_damaged {
            // There may be mail in it that somebody wants to look for.
            let aside = layout::damaged(&self.directory, number);
            self.world.rename(&path, &aside).await
        } else if keep {
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
        if self.closed.get() || self.adopting.get() {
            return false;
        }
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
                .filter(|(_, live)| live.locator().segment == oldest);
            let mut inside: Vec<_> = inside.map(|(id, live)| (*id, live.locator())).collect();
            // As they stand in the file: read in one direction, and the same at every run.
            inside.sort_unstable_by_key(|(_, locator)| locator.offset);
            inside
        };
        for some in survivors.chunks(MOVED_TOGETHER) {
            let mut moves = Vec::with_capacity(some.len());
            let mut is_whole = true;
            for &(id, from) in some {
                match self.begin_move(id, from).await {
                    Ok(begun) => moves.extend(begun),
                    Err(_) => is_whole = false,
                }
            }
            self.signal.ring_loud();
            // Each is seen to its end: one that is left half moved would keep two segments.
            for (id, to, told) in moves {
                match told.await {
                    Ok(Ok(())) => self.end_move(id, to),
                    _ => is_whole = false,
                }
            }
            if !is_whole {
                return false;
            }
            self.world.breathe().await;
        }
        true
    }

    /// Appends a message once more, with all that is known of it.
    async fn begin_move(&self, id: QueueId, from: Locator) -> Result<Option<Move>, CommitError> {
        self.usable()?;
        let stored = self.read(from).await?;
        self.room().await;
        self.usable()?;
        while self.is_reported(id) {
            // A copy in the same batch as the report could outlive it, and tell that a recipient
            // is settled of whom nobody was told.
            self.sync().await;
            self.usable()?;
        }
        let (tell, told) = oneshot::channel();
        // From here to the record nothing is waited for: what is known cannot change.
        let Some(carried) = self.known_of(id, from, stored.envelope.recipients.len()) else {
            // Settled while it was read.
            return Ok(None);
        };
        let to = self.append(&stored.as_accepted(), Some(&carried), tell);
        self.state.borrow_mut().begin_move(id, to);
        Ok(Some((id, to, told)))
    }

    fn is_reported(&self, id: QueueId) -> bool {
        let state = self.state.borrow();
        state.busy.get(&id).is_some_and(|busy| busy.reporting > 0)
    }

    /// What is known of a message that stands at `from`: by the log, who is settled; by the
    /// queue, how often the others were tried.
    fn known_of(&self, id: QueueId, from: Locator, recipients: usize) -> Option<Carried> {
        let settled = {
            let state = self.state.borrow();
            state.live.get(&id).filter(|live| live.locator() == from)?;
            let busy = state.busy.get(&id);
            busy.map(|busy| busy.settled.clone()).unwrap_or_default()
        };
        let known = (self.settings.state)(id);
        let mut states = vec![RecipientState::FRESH; recipients];
        for one in &known.waiting {
            for place in &one.recipients {
                if let Some(state) = states.get_mut(usize::from(*place)) {
                    *state = RecipientState::Pending {
                        attempts: one.attempts,
                        due: Some(one.due),
                        doubtful: one.doubtful,
                        diagnosis: Some(one.diagnosis.clone()),
                        delay_told: false,
                    };
                }
            }
        }
        for state in &mut states {
            if let RecipientState::Pending { delay_told, .. } = state {
                *delay_told = known.delay_told;
            }
        }
        for place in settled
            .into_iter()
            .filter(|_| !trial::has(Bug::SettledForgottenInMove))
        {
            if let Some(state) = states.get_mut(usize::from(place)) {
                *state = RecipientState::Settled;
            }
        }
        Some(Carried {
            held: known.held,
            removed_until: known.removed_until,
            recipients: states,
        })
    }

    fn end_move(&self, id: QueueId, to: Locator) {
        {
            let state = &mut *self.state.borrow_mut();
            let Some(live) = state.live.get_mut(&id) else {
                // Settled meanwhile; both places were left then.
                return;
            };
            let from = live.replace(to);
            state.work_on(id, |busy| busy.moving = None);
            state.leave(from);
        }
        (self.settings.on_move)(id, to);
    }
}

/// A message under way to its new place.
type Move = (QueueId, Locator, oneshot::Receiver<Result<(), CommitError>>);

/// Files kept to be used again: one for the segment after this, one for a burst.
const SPARES_MAX: usize = 2;
/// Messages moved between two looks at who else wants the disk.
const MOVED_TOGETHER: usize = 64;
