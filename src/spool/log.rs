//! The log as a shard uses it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use smallvec::SmallVec;

use super::extent::Unclaimed;
use super::layout;
use super::names;
use super::record::{self, BodyRef, Carried};
use super::recover::{self, Replay};
use super::state::{BATCH_OCTETS_MAX, Live, State};
use super::writer::Signal;
use crate::mail::Committed;
use crate::mail::Locator;
use crate::mail::envelope::{Content, Envelope, QueueId};
use crate::mail::outcome::Diagnosis;
use crate::mail::outcome::ReportKind;
use crate::progress::Progress;
use crate::world::{Class, File as _, Wall, World, survive};

pub use super::OpenError;
pub use super::extent::{ExtentSeal, ExtentWriter};
pub use super::record::{Note, Reports, Stored, StoredBody};
pub use super::recover::{RecipientState, Recovered, Recovery};

/// What a log is told once.
pub struct Settings {
    /// The shard's number.
    pub shard: u16,
    /// Octets after which a new segment begins.
    pub segment_octets: u64,
    /// False: nothing is synced.
    pub durable: bool,
    /// How many messages are arriving at the moment and will want a commit soon: a batch waits a
    /// little for them.
    pub arriving: Box<dyn Fn() -> usize>,
    /// Told of every batch.
    pub on_commit: Box<dyn Fn(CommitFacts)>,
    /// Told when a message stands somewhere else.
    pub on_move: Box<dyn Fn(QueueId, Locator)>,
    /// Counts the segments that are read at the start.
    pub progress: Progress,
    /// What the queue knows of a message, to be written beside it when it is moved.
    pub state: Box<dyn Fn(QueueId) -> MessageState>,
}

/// A batch that was committed.
#[derive(Clone, Copy, Debug)]
pub struct CommitFacts {
    /// Records.
    pub records: u32,
    /// Messages, and what else waited for the disk.
    pub waiters: u32,
    /// Octets.
    pub octets: u64,
    /// How long the disk took to make it safe; `None` when nobody waited for that.
    pub disk: Option<Duration>,
}

/// What the queue knows of a message.
#[derive(Clone, Debug, Default)]
pub struct MessageState {
    /// Recipients that wait for another attempt.
    pub waiting: Vec<Waiting>,
    /// Held by an operator.
    pub held: bool,
    /// Removed by an operator, who can put it back until then.
    pub removed_until: Option<Wall>,
    /// The sender knows that it waits.
    pub delay_told: bool,
}

/// Recipients of a message that wait for another attempt.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Who.
    pub recipients: Vec<u16>,
    /// Attempts counted.
    pub attempts: u16,
    /// Not before.
    pub due: Wall,
    /// Why.
    pub diagnosis: Diagnosis,
    /// The peer may hold a copy.
    pub doubtful: bool,
}

/// A message to be accepted.
pub struct Accepted<'a> {
    /// Its name, from [`Log::next_id`].
    pub id: QueueId,
    /// When it came.
    pub arrival: Wall,
    /// Who sent it, to whom.
    pub envelope: &'a Envelope,
    /// What was seen of it.
    pub content: &'a Content,
    /// Our trace fields, in wire form.
    pub trace: &'a [u8],
    /// Header and body.
    pub body: Body<'a>,
    /// For a report: what it settles, in the same instant as it is accepted.
    pub reports: Option<Reports<'a>>,
}

/// Content, in wire form.
pub enum Body<'a> {
    /// To be written with the record.
    Inline(&'a [u8]),
    /// On stable storage already.
    Extent(&'a ExtentSeal),
}

/// Proof that a message is on stable storage: only a finished commit makes one.
#[derive(Debug)]
pub struct Receipt {
    id: QueueId,
}

impl Committed for Receipt {
    fn queue_id(&self) -> QueueId {
        self.id
    }
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// There is no room on the disk, or no descriptor for a file. It passes.
    Full,
    /// A defect has ended its writing. It passes.
    Interrupted,
    /// The disk failed, and nothing of what was not synced can be relied on. It does not pass.
    Broken(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => {
                f.write_str("the spool has no room: the disk is full, or open files have run out")
            }
            Self::Interrupted => f.write_str("a defect interrupted the spool's writer"),
            Self::Broken(why) => write!(f, "the spool's disk failed: {why}"),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<io::Error> for CommitError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// Whether messages can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// They can.
    Good,
    /// There is no room; tried again every second.
    Full,
    /// Not any more.
    Broken,
}

/// What the log takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Segments.
    pub segments: u64,
    /// Octets of them.
    pub disk_octets: u64,
    /// Octets of records of messages that are not settled.
    pub live_octets: u64,
    /// Messages that are not settled.
    pub live_messages: u64,
}

/// A shard's log. Cloning shares it.
pub struct Log<W: World> {
    pub(super) inner: Rc<Inner<W>>,
}

impl<W: World> Clone for Log<W> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

pub(super) struct Inner<W: World> {
    pub(super) world: W,
    pub(super) directory: PathBuf,
    pub(super) settings: Settings,
    pub(super) state: RefCell<State<W>>,
    /// Wakes the writer.
    pub(super) signal: Signal,
    /// Wakes whoever drops and compacts segments.
    pub(super) tending: Rc<Signal>,
    /// Extents to be removed.
    pub(super) unclaimed: Rc<Unclaimed>,
    /// Messages are being taken over that their owner does not know yet.
    pub(super) adopting: Cell<bool>,
    pub(super) health: Cell<Health>,
    pub(super) closed: Cell<bool>,
}

impl<W: World> Log<W> {
    /// Opens the log in `directory`, `spool/NN`, and tells what is in it.
    pub async fn open(
        world: W,
        directory: PathBuf,
        settings: Settings,
    ) -> Result<(Self, Recovery), OpenError> {
        if let Some(root) = directory.parent() {
            layout::make(&world, root).await?;
        }
        world.make_directory(&directory).await?;
        let files = layout::list(&world, &directory).await?;
        let (mut replay, mut recovery) = (Replay::default(), Recovery::default());
        settings.progress.expect(files.segments.len());
        let found = recover::recover(
            &world,
            &directory,
            &files.segments,
            &settings.progress,
            &mut replay,
            &mut recovery,
        )
        .await?;
        let replayed = replay.finish();
        let own = |id: &&QueueId| names::is_of(**id, settings.shard);
        let known = replayed.messages.iter().map(|message| &message.id);
        let known = known.chain(&replayed.settled);
        let newest = known.clone().filter(own).map(|id| id.0).max();
        let adopted = known.filter(|id| !own(id)).copied().collect();
        let before = names::last_before(&world, &directory).await?;
        let last_id = newest.unwrap_or(0).max(found.last_id).max(before);
        recovery.messages = replayed.messages;
        let lost =
            super::check::match_extents(&world, &directory, &files.extents, &mut recovery).await?;
        remove_orphans(&world, &directory, &files.extents, &recovery, &lost).await;
        for number in &found.unmade {
            // One that stays is found by the next recovery.
            let _ = world.remove(&layout::segment(&directory, *number)).await;
        }
        for read in &found.segments {
            read.close_holes().await?;
        }
        let state = State::new(found, &files, last_id, adopted, salt(&world)).await?;
        let inner = Rc::new(Inner::new(world, directory, settings, state));
        for message in &recovery.messages {
            let settled = settled_places(&message.recipients);
            inner.enlist(
                message.id,
                message.locator,
                message.extent.is_some(),
                settled,
            );
        }
        let log = Self { inner };
        let world = &log.inner.world;
        world.spawn(Class::Commit, Rc::clone(&log.inner).write());
        let (own, inner) = (world.clone(), Rc::clone(&log.inner));
        world.spawn(Class::Chores, async move {
            survive(&own, || Rc::clone(&inner).tend()).await;
        });
        log.inner.tending.ring();
        Ok((log, recovery))
    }

    /// A name for a message, never used before on any shard of this spool.
    #[must_use]
    pub fn next_id(&self) -> QueueId {
        let (shard, wall) = (self.inner.settings.shard, self.inner.world.wall());
        let state = &mut *self.inner.state.borrow_mut();
        state.last_id = names::following(state.last_id, shard, wall);
        QueueId(state.last_id)
    }

    /// Puts a message on stable storage.
    pub async fn accept(&self, message: &Accepted<'_>) -> Result<(Receipt, Locator), CommitError> {
        self.room().await;
        self.hand_in(message)?.await
    }

    /// Waits while too much is waiting to be written: memory is not the place for a slow disk.
    pub async fn room(&self) {
        self.inner.room().await;
    }

    /// [`Log::accept`] for whoever has waited for [`Log::room`]: the message is
    /// in a batch at once, and what is given back waits for that to be on stable storage, without it.
    pub fn hand_in(
        &self,
        message: &Accepted<'_>,
    ) -> Result<impl Future<Output = Result<(Receipt, Locator), CommitError>> + use<W>, CommitError>
    {
        self.inner.usable()?;
        let (tell, told) = oneshot::channel();
        if let Body::Extent(seal) = message.body {
            seal.name();
        }
        let (id, locator) = (message.id, self.inner.append_message(message, tell));
        self.inner.signal.ring_loud();
        Ok(told.map(move |told| match told {
            Ok(done) => done.map(|()| (Receipt { id }, locator)),
            Err(oneshot::Canceled) => Err(CommitError::Interrupted),
        }))
    }

    /// Begins the content of a large message.
    pub async fn extent(&self, id: QueueId) -> io::Result<ExtentWriter<W>> {
        ExtentWriter::create(self.clone(), id).await
    }

    /// Writes down what became of recipients, with the next batch or a few milliseconds later.
    pub fn note(&self, note: Note<'_>) {
        let is_dispensable = matches!(note, Note::Deferred { .. } | Note::DelayTold { .. });
        match self.inner.health.get() {
            Health::Good => {}
            // Attempts are counted anew after a crash; memory is worth more.
            Health::Full if is_dispensable && self.inner.is_crowded() => return,
            Health::Full => {}
            Health::Broken => return,
        }
        self.inner.append_note(&note);
        self.inner.signal.ring();
    }

    /// Every recipient of a message is settled, and a note or a report says so.
    pub fn forget(&self, id: QueueId) {
        let state = &mut *self.inner.state.borrow_mut();
        let Some(live) = state.remove(id) else {
            return;
        };
        if live.has_extent() {
            // The note is in the open batch or an earlier one.
            state.doomed.push_back((state.begun, id));
            self.inner.signal.ring();
        }
        let oldest_is_done = state
            .segments
            .first_key_value()
            .is_some_and(|(number, oldest)| oldest.live == 0 && *number != state.next.0);
        if oldest_is_done {
            self.inner.tending.ring();
        }
    }

    /// Where a message stands that is not forgotten.
    #[must_use]
    pub fn locator(&self, id: QueueId) -> Option<Locator> {
        let state = self.inner.state.borrow();
        state.live.get(&id).map(Live::locator)
    }

    /// Reads a message.
    pub async fn read(&self, locator: Locator) -> io::Result<Stored> {
        self.inner.read(locator).await
    }

    /// Reads a part of a large message's content; shorter only at its end.
    pub async fn read_extent(&self, id: QueueId, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let path = layout::extent(&self.inner.directory, id);
        let file = self.inner.world.open_to_read(&path).await?;
        file.read_at(position, len).await
    }

    /// Waits until everything noted so far is on stable storage.
    pub async fn sync(&self) {
        self.inner.sync().await;
    }

    /// Syncs, and ends the log's tasks. Nothing may be written after it.
    pub async fn close(&self) {
        self.sync().await;
        self.inner.closed.set(true);
        self.inner.signal.ring_loud();
        self.inner.tending.ring_loud();
    }

    /// Whether messages can be stored.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.health.get()
    }

    /// What the log takes.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let state = self.inner.state.borrow();
        Gauges {
            segments: state.segments.len() as u64,
            disk_octets: state.disk_octets(),
            live_octets: state.live_octets(),
            live_messages: state.live.len() as u64,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.inner.directory
    }

    pub(super) fn world(&self) -> &W {
        &self.inner.world
    }

    pub(super) fn unclaimed(&self) -> &Rc<Unclaimed> {
        &self.inner.unclaimed
    }

    pub(super) fn is_durable(&self) -> bool {
        self.inner.settings.durable
    }
}

impl<W: World> Inner<W> {
    fn new(world: W, directory: PathBuf, settings: Settings, state: State<W>) -> Self {
        let tending = Rc::new(Signal::default());
        Self {
            world,
            directory,
            settings,
            state: RefCell::new(state),
            signal: Signal::default(),
            unclaimed: Rc::new(Unclaimed::new(Rc::clone(&tending))),
            tending,
            adopting: Cell::new(false),
            health: Cell::new(Health::Good),
            closed: Cell::new(false),
        }
    }

    pub(super) fn usable(&self) -> Result<(), CommitError> {
        if self.closed.get() {
            return Err(CommitError::Broken("the log is closed".to_owned()));
        }
        match self.health.get() {
            Health::Good => Ok(()),
            Health::Full => Err(CommitError::Full),
            Health::Broken => {
                let why = self.state.borrow().broken.clone();
                Err(CommitError::Broken(why.unwrap_or_default()))
            }
        }
    }

    pub(super) async fn sync(&self) {
        if self.usable().is_err() {
            return;
        }
        let (tell, told) = oneshot::channel();
        self.state.borrow_mut().open_batch().waiters.push(tell);
        self.signal.ring_loud();
        // An error is told by `health`.
        let _ = told.await;
    }

    pub(super) async fn room(&self) {
        poll_fn(|cx| {
            if !self.is_crowded() {
                return Poll::Ready(());
            }
            self.state.borrow_mut().crowd.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn is_crowded(&self) -> bool {
        let state = self.state.borrow();
        let waiting: usize = state.batches.iter().map(|batch| batch.octets.len()).sum();
        waiting >= WAITING_OCTETS_MAX
    }

    fn append_message(
        &self,
        message: &Accepted<'_>,
        tell: oneshot::Sender<Result<(), CommitError>>,
    ) -> Locator {
        let has_extent = matches!(message.body, Body::Extent(_));
        let body = match message.body {
            Body::Inline(octets) => BodyRef::Inline(octets),
            Body::Extent(seal) => BodyRef::Extent(seal.len()),
        };
        let accepted = record::Accepted {
            id: message.id,
            arrival: message.arrival,
            envelope: message.envelope,
            content: message.content,
            trace: message.trace,
            body,
            reports: message.reports,
        };
        let locator = self.append(&accepted, None, tell);
        self.enlist(message.id, locator, has_extent, SmallVec::new());
        if let Some(reports) = message.reports
            && reports.kind == ReportKind::Failure
        {
            self.begin_report(&reports);
        }
        locator
    }

    pub(super) fn append(
        &self,
        message: &record::Accepted<'_>,
        carried: Option<&Carried>,
        tell: oneshot::Sender<Result<(), CommitError>>,
    ) -> Locator {
        let state = &mut *self.state.borrow_mut();
        state.roll(self.settings.segment_octets, || salt(&self.world));
        let batch = state.open_batch();
        let before = batch.octets.len();
        message.append_to(&mut batch.octets, batch.epoch, carried);
        batch.records += 1;
        batch.accepted.push(message.id);
        batch.waiters.push(tell);
        let locator = Locator {
            segment: batch.epoch.number,
            len: u32::try_from(batch.octets.len() - before).unwrap_or(u32::MAX),
            offset: batch.offset + before as u64,
        };
        state.next.1 = locator.offset + u64::from(locator.len);
        locator
    }

    pub(super) fn append_note(&self, note: &Note<'_>) {
        {
            let state = &mut *self.state.borrow_mut();
            state.roll(self.settings.segment_octets, || salt(&self.world));
            let batch = state.open_batch();
            let before = batch.notes.len();
            note.append_to(&mut batch.notes, batch.epoch);
            batch.octets.extend_from_slice(&batch.notes[before..]);
            batch.records += 1;
            let end = batch.offset + batch.octets.len() as u64;
            state.next.1 = end;
        }
        if let Note::Delivered { id, recipient }
        | Note::Failed { id, recipient }
        | Note::Removed { id, recipient } = *note
        {
            self.settle(id, &[recipient]);
        }
    }

    fn begin_report(&self, reports: &Reports<'_>) {
        let state = &mut *self.state.borrow_mut();
        if state.live.contains_key(&reports.message) {
            state.work_on(reports.message, |busy| busy.reporting += 1);
            let settles = (reports.message, SmallVec::from_slice(reports.recipients));
            state.open_batch().reported.push(settles);
        }
    }

    fn settle(&self, id: QueueId, recipients: &[u16]) {
        let state = &mut *self.state.borrow_mut();
        state.work_on(id, |busy| busy.settled.extend_from_slice(recipients));
    }

    /// Counts a message among those that are not settled.
    pub(super) fn enlist(
        &self,
        id: QueueId,
        locator: Locator,
        has_extent: bool,
        settled: SmallVec<[u16; 4]>,
    ) {
        let state = &mut *self.state.borrow_mut();
        state.enter(locator);
        state.live.insert(id, Live::new(locator, has_extent));
        if !settled.is_empty() {
            state.work_on(id, |busy| busy.settled = settled);
        }
    }

    pub(super) async fn read(&self, locator: Locator) -> io::Result<Stored> {
        let found = {
            let state = self.state.borrow();
            let segment = state.segments.get(&locator.segment);
            segment.and_then(|segment| Some((segment.file.clone()?, segment.salt)))
        };
        let (file, salt) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let len = usize::try_from(locator.len).unwrap_or(usize::MAX);
        let octets = file.read_at(locator.offset, len).await?;
        record::read_accept(&octets, locator, salt)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its record is damaged"))
    }

    /// Tells those who wait for room.
    pub(super) fn relieve(&self) {
        let crowd = std::mem::take(&mut self.state.borrow_mut().crowd);
        crowd.into_iter().for_each(Waker::wake);
    }
}

pub(super) fn settled_places(states: &[RecipientState]) -> SmallVec<[u16; 4]> {
    let settled = states.iter().zip(0u16..);
    settled
        .filter(|(state, _)| **state == RecipientState::Settled)
        .map(|(_, place)| place)
        .collect()
}

/// Content without a message: the crash came before its record.
async fn remove_orphans<W: World>(
    world: &W,
    directory: &Path,
    extents: &[QueueId],
    recovery: &Recovery,
    lost: &HashSet<QueueId>,
) {
    let known: HashSet<QueueId> = recovery.messages.iter().map(|message| message.id).collect();
    for &id in extents {
        // What is left of a lost one may be of use to somebody.
        if !known.contains(&id) && !lost.contains(&id) {
            // One that stays is tried again by the next recovery.
            let _ = world.remove(&layout::extent(directory, id)).await;
        }
    }
}

/// A segment's salt.
fn salt<W: World>(world: &W) -> u32 {
    (world.random() >> 32) as u32
}

/// A message up to here is one record of the log; a larger one streams into an extent of its own.
pub const INLINE_OCTETS_MAX: usize = 256 * 1024;
/// What may wait to be written. More would be memory that no budget knows of.
const WAITING_OCTETS_MAX: usize = 16 << 20;
const _: () = assert!(
    BATCH_OCTETS_MAX < WAITING_OCTETS_MAX,
    "the next batch gathers while one is written"
);
