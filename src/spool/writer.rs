//! The one task that writes the log.
//!
//! It takes a batch, writes it, syncs it, and tells its waiters; what comes meanwhile gathers in
//! the next batch. So the slower the disk, the larger the batches, and no timer is needed. A
//! batch of notes alone waits a few milliseconds for company, and is synced at the latest a second
//! after it was written: what a crash can take of it is repeated, never lost.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::future;
use futures_util::FutureExt as _;

use super::log::{CommitError, CommitFacts, Health, INLINE_OCTETS_MAX, Inner};
use super::record::{self, Found};
use super::segment::{self, HEADER_OCTETS, Header};
use super::state::Batch;
use crate::mail::envelope::QueueId;
use crate::trial::{self, Bug};
use crate::world::{File as _, PANIC_PAUSE, Tick, World};

/// Wakes one task. Rung before anybody listens, it is heard all the same.
#[derive(Debug, Default)]
pub(super) struct Signal {
    rung: Cell<Volume>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Volume {
    #[default]
    Silent,
    /// There is something to do when it suits.
    Soft,
    /// Somebody waits.
    Loud,
}

impl Signal {
    pub(super) fn ring(&self) {
        self.raise(Volume::Soft);
    }

    pub(super) fn ring_loud(&self) {
        self.raise(Volume::Loud);
    }

    fn raise(&self, volume: Volume) {
        if volume > self.rung.get() {
            self.rung.set(volume);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    pub(super) async fn heard(&self) {
        self.at_least(Volume::Soft).await;
    }

    async fn at_least(&self, volume: Volume) {
        poll_fn(|cx| {
            if self.rung.get() >= volume {
                self.rung.set(Volume::Silent);
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What the writer keeps between batches.
#[derive(Default)]
struct Desk {
    /// When the oldest note was written that no sync has covered.
    unsynced: Option<Tick>,
    /// The segment written last.
    segment: Option<u32>,
    /// The last batch that a sync has covered.
    synced: u64,
    written: u64,
}

/// What there is to do.
enum Work {
    Nothing,
    Notes,
    Waiters,
}

impl<W: World> Inner<W> {
    /// Writes batches until the log is closed or the disk has failed. Everybody waits for this task:
    /// a panic ends a batch, and not the task.
    pub(super) async fn write(self: Rc<Self>) {
        let (mut desk, mut batch) = (Desk::default(), None);
        let mut rests = false;
        loop {
            let writing = AssertUnwindSafe(async {
                if rests {
                    self.world.sleep(self.world.now() + PANIC_PAUSE).await;
                }
                self.write_batches(&mut desk, &mut batch).await;
            });
            let Err(said) = writing.catch_unwind().await else {
                return;
            };
            self.world.note_panic(&*said);
            rests = true;
        }
    }

    /// `under_way` is the batch that is being written.
    async fn write_batches(&self, desk: &mut Desk, under_way: &mut Option<Batch>) {
        if let Some(batch) = under_way.take() {
            // A panic has left it: how much of it was written nobody knows.
            self.rest(batch, &CommitError::Interrupted).await;
        }
        loop {
            let sync_by = desk.unsynced.map(|since| since + SYNC_WITHIN);
            match (self.work(), sync_by) {
                (Work::Waiters, _) => self.gather_more().await,
                (Work::Notes | Work::Nothing, Some(by))
                    if self.world.now() >= by || self.closed.get() =>
                {
                    if let Err(error) = self.sync_notes(desk).await {
                        return self.fail(&error, None);
                    }
                    continue;
                }
                (Work::Notes, _) => {
                    let until = self.world.now() + LINGER;
                    self.heard_until(Volume::Loud, until).await;
                }
                (Work::Nothing, _) if self.closed.get() => return,
                (Work::Nothing, Some(by)) => {
                    self.heard_until(Volume::Soft, by).await;
                    continue;
                }
                (Work::Nothing, None) => {
                    // Nothing is unsynced: what was doomed since the last sync can go.
                    self.remove_doomed(desk.written);
                    self.signal.heard().await;
                    continue;
                }
            }
            *under_way = self.state.borrow_mut().batches.pop_front();
            if let Err(error) = self.commit(desk, under_way).await
                && let Some(batch) = under_way.take()
            {
                if CommitError::from(io::Error::from(error.kind())) != CommitError::Full {
                    return self.fail(&error, Some(batch));
                }
                self.rest(batch, &CommitError::Full).await;
                if self.closed.get() {
                    return;
                }
            }
            self.relieve();
        }
    }

    /// Waits a moment for messages that are about to arrive: an fdatasync for eight costs what
    /// one for one costs.
    async fn gather_more(&self) {
        let until = self.world.now() + GATHER;
        while (self.settings.arriving)() > 0 && self.heard_until(Volume::Loud, until).await {}
    }

    fn work(&self) -> Work {
        let state = self.state.borrow();
        match state.batches.front() {
            None => Work::Nothing,
            Some(batch) if batch.waiters.is_empty() && state.batches.len() == 1 => Work::Notes,
            Some(_) => Work::Waiters,
        }
    }

    /// False when `until` came first.
    async fn heard_until(&self, volume: Volume, until: Tick) -> bool {
        let heard = async {
            self.signal.at_least(volume).await;
            true
        };
        let slept = async {
            self.world.sleep(until).await;
            false
        };
        future::or(heard, slept).await
    }

    /// Writes and syncs a batch, and tells its waiters. One that could not be written stays where it
    /// is; its waiters have not been told.
    async fn commit(&self, desk: &mut Desk, under_way: &mut Option<Batch>) -> io::Result<()> {
        let Some(batch) = under_way.as_mut() else {
            return Ok(());
        };
        let began = self.world.now();
        let octets = std::mem::take(&mut batch.octets);
        let len = octets.len() as u64;
        let end = batch.offset + len;
        let waits = !batch.waiters.is_empty();
        let durably = self.settings.durable && waits && !trial::has(Bug::ReceiptBeforeSync);
        self.put(desk, batch, octets, durably).await?;
        // As safe as it will be: whatever happens from here on, it is not given back.
        let Some(mut batch) = under_way.take() else {
            return Ok(());
        };
        let number = batch.epoch.number;
        if let Some(segment) = self.state.borrow_mut().segments.get_mut(&number) {
            segment.end = segment.end.max(end);
            segment.filled = segment.filled.max(end);
        }
        desk.written = batch.number;
        if waits || !self.settings.durable {
            desk.synced = batch.number;
        }
        self.state.borrow_mut().end_reports(&batch, true);
        let waiters = u32::try_from(batch.waiters.len()).unwrap_or(u32::MAX);
        for waiter in batch.waiters.drain(..) {
            // Whoever waited may be gone; the message stays, and is found by the next recovery.
            let _ = waiter.send(Ok(()));
        }
        let took = self.world.now().since(began);
        (self.settings.on_commit)(CommitFacts {
            records: batch.records,
            waiters,
            octets: len,
            disk: durably.then_some(took),
        });
        self.state.borrow_mut().keep_spare(batch, len);
        self.remove_doomed(desk.synced);
        Ok(())
    }

    /// Writes a batch's octets, `durably` or not.
    async fn put(
        &self,
        desk: &mut Desk,
        batch: &Batch,
        octets: Vec<u8>,
        durably: bool,
    ) -> io::Result<()> {
        let file = self.file_for(desk, batch).await?;
        let len = octets.len() as u64;
        let is_filled = self.fill_ahead(&file, batch, len).await;
        // What stands before these octets must be as safe as they are: recovery reads up to the
        // first record that is not whole. And only octets that need no new block are written and
        // synced at once: an error is then never one of a full disk after it was called written.
        if durably && is_filled && desk.unsynced.is_none() {
            return file.write_durably(octets, batch.offset).await;
        }
        if len > 0 {
            file.write_at(octets, batch.offset).await?;
        }
        if durably {
            // The kernel may have dropped the pages and called them clean: to sync again would
            // be a lie (fsyncgate). Whatever the error, the disk is not to be trusted.
            file.sync().await.map_err(io::Error::other)?;
            desk.unsynced = None;
        } else if len > 0 {
            desk.unsynced.get_or_insert_with(|| self.world.now());
        }
        Ok(())
    }

    /// The file of the batch's segment; made when it is the first one in it.
    async fn file_for(&self, desk: &mut Desk, batch: &Batch) -> io::Result<Rc<W::File>> {
        let (known, previous, spare) = {
            let state = &mut *self.state.borrow_mut();
            let known = state.segments.get(&batch.epoch.number);
            let known = known.and_then(|segment| segment.file.clone());
            let previous = state.segments.range(..batch.epoch.number).next_back();
            let previous =
                previous.map(|(_, segment)| (segment.file.clone(), segment.end, segment.salt));
            let spare = if known.is_none() {
                state.spares.pop()
            } else {
                None
            };
            (known, previous, spare)
        };
        if let Some(file) = known {
            desk.segment = Some(batch.epoch.number);
            return Ok(file);
        }
        let (mut previous_len, mut previous_salt) = (0, 0);
        if let Some((file, end, salt)) = previous {
            (previous_len, previous_salt) = (end, salt);
            if let Some(file) = file
                && self.settings.durable
            {
                // The new header vouches for the old segment's length. It may be one that a
                // process left which died before its sync.
                file.sync().await.map_err(io::Error::other)?;
                desk.unsynced = None;
            }
        }
        let header = Header {
            shard: self.settings.shard,
            epoch: batch.epoch,
            previous_salt,
            previous_len,
            last_id: self.state.borrow().last_id,
        };
        let durable = self.settings.durable;
        let made = segment::make(&self.world, &self.directory, header, spare, durable).await;
        let (file, filled) = made?;
        let file = Rc::new(file);
        if let Some(segment) = self
            .state
            .borrow_mut()
            .segments
            .get_mut(&batch.epoch.number)
        {
            segment.file = Some(Rc::clone(&file));
            segment.filled = filled;
        }
        desk.segment = Some(batch.epoch.number);
        self.tending.ring();
        Ok(file)
    }

    /// Writes zeros ahead of the records, in steps: see [`segment::Segment::filled`]. True when
    /// the batch's place was written before.
    async fn fill_ahead(&self, file: &W::File, batch: &Batch, len: u64) -> bool {
        let (number, end) = (batch.epoch.number, batch.offset + len);
        let filled = {
            let state = self.state.borrow();
            let segment = state.segments.get(&number);
            segment.map_or(u64::MAX, |segment| segment.filled)
        };
        if end <= filled {
            return true;
        }
        if len == 0 || end >= self.settings.segment_octets {
            return false;
        }
        let target = (end + FILL_OCTETS).min(self.settings.segment_octets);
        let Ok(octets) = usize::try_from(target.saturating_sub(filled)) else {
            return false;
        };
        // Without room the records themselves may still fit; their write decides.
        if file.write_at(vec![0; octets], filled).await.is_ok()
            && let Some(segment) = self.state.borrow_mut().segments.get_mut(&number)
        {
            segment.filled = target;
        }
        false
    }

    async fn sync_notes(&self, desk: &mut Desk) -> io::Result<()> {
        desk.unsynced = None;
        let file = {
            let state = self.state.borrow();
            let segment = desk.segment.and_then(|number| state.segments.get(&number));
            segment.and_then(|segment| segment.file.clone())
        };
        if let Some(file) = file
            && self.settings.durable
        {
            file.sync().await?;
        }
        desk.synced = desk.written;
        self.remove_doomed(desk.synced);
        Ok(())
    }

    /// Lets go of the content of large messages whose settling is on stable storage.
    fn remove_doomed(&self, synced: u64) {
        let doomed = &mut self.state.borrow_mut().doomed;
        while let Some(&(batch, id)) = doomed.front()
            && batch <= synced
        {
            doomed.pop_front();
            self.unclaimed.add(id);
        }
    }

    /// The disk is full, or nobody knows how much was written: nobody gets a receipt, notes wait, and
    /// once a second it is tried whether what is left can be cut off, and whether there is room again.
    async fn rest(&self, failed: Batch, why: &CommitError) {
        self.health.set(Health::Full);
        let (number, offset) = (failed.epoch.number, failed.offset);
        let file = {
            let state = self.state.borrow();
            let segment = state.segments.get(&number);
            segment.and_then(|segment| segment.file.clone())
        };
        self.give_back(failed, why);
        self.relieve();
        while !self.closed.get() {
            let until = self.world.now() + PROBE_PERIOD;
            self.world.sleep(until).await;
            let Some(file) = &file else {
                // The segment could not even be made; the next batch tries that.
                break;
            };
            // What the failed write left must not be taken for records of this segment.
            let cut = file.set_len(offset).await;
            let probe = file.write_at(vec![0; PROBE_OCTETS], offset).await;
            if cut.is_ok() && probe.is_ok() {
                break;
            }
        }
        if let Some(segment) = self.state.borrow_mut().segments.get_mut(&number) {
            segment.filled = offset;
        }
        if !self.closed.get() {
            self.health.set(Health::Good);
            self.tending.ring();
        }
    }

    /// Takes back what was not written: messages are refused, notes are kept for the next batch.
    fn give_back(&self, failed: Batch, error: &CommitError) {
        let (number, offset) = (failed.epoch.number, failed.offset);
        let mut batches = vec![failed];
        {
            let state = &mut *self.state.borrow_mut();
            batches.extend(state.batches.drain(..));
            // Segments that were to be begun are begun when there is something to write.
            state.segments.retain(|&segment, _| segment <= number);
            state.next = (number, offset.max(HEADER_OCTETS as u64));
        }
        for batch in batches {
            for &id in &batch.accepted {
                self.refuse(id);
            }
            self.state.borrow_mut().end_reports(&batch, false);
            self.note_again(&batch);
            for waiter in batch.waiters {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }

    fn refuse(&self, id: QueueId) {
        let state = &mut *self.state.borrow_mut();
        // A message that was only moved stays where it was.
        let mut gone = None;
        state.work_on(id, |busy| gone = busy.moving.take());
        if let Some(moving) = gone {
            return state.leave(moving);
        }
        if state.remove(id).is_some_and(|live| live.has_extent()) {
            self.unclaimed.add(id);
        }
    }

    fn note_again(&self, failed: &Batch) {
        let state = &mut *self.state.borrow_mut();
        let mut notes = &failed.notes[..];
        while let Found::Whole(kind, payload, len) =
            record::find(notes, failed.epoch, notes.len() as u64)
        {
            let batch = state.open_batch();
            let before = batch.notes.len();
            record::append(&mut batch.notes, kind, batch.epoch, |out| {
                out.extend_from_slice(payload);
            });
            batch.octets.extend_from_slice(&batch.notes[before..]);
            batch.records += 1;
            state.next.1 = batch.end();
            notes = &notes[len..];
        }
    }

    /// The disk has failed for good. What was synced is safe; nothing else is acknowledged.
    fn fail(&self, error: &io::Error, batch: Option<Batch>) {
        self.health.set(Health::Broken);
        let why = error.to_string();
        self.state.borrow_mut().broken = Some(why.clone());
        let error = CommitError::Broken(why);
        if let Some(batch) = batch {
            self.give_back(batch, &error);
        }
        let waiting: Vec<Batch> = self.state.borrow_mut().batches.drain(..).collect();
        for waiter in waiting.into_iter().flat_map(|batch| batch.waiters) {
            let _ = waiter.send(Err(error.clone()));
        }
        self.relieve();
    }
}

/// How long notes wait for a message to ride with. It bounds what a kill can repeat, and keeps a
/// relay that only delivers from writing once for each delivery.
const LINGER: Duration = Duration::from_millis(5);
/// How long a batch waits for messages that are arriving. Less than an fdatasync takes: a lone
/// sender does not wait at all, and with many each waits less than it would for its own sync.
const GATHER: Duration = Duration::from_micros(300);
/// Notes for which nobody waits are synced so soon after the first of them, whatever else is
/// written meanwhile: it bounds what a power cut can repeat, also while a relay only delivers.
const SYNC_WITHIN: Duration = Duration::from_secs(1);
/// How often a full disk is tried.
const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// What must fit before messages are taken again.
const PROBE_OCTETS: usize = 256 * 1024;
const _: () = assert!(
    PROBE_OCTETS >= INLINE_OCTETS_MAX,
    "a disk that passes the probe takes a message"
);
/// Zeros written ahead at a time.
const FILL_OCTETS: u64 = 4 << 20;
