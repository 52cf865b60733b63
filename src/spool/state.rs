//! What a log keeps in memory: segments, batches that are not written, messages that live.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Waker;

use futures_channel::oneshot;
use smallvec::SmallVec;

use super::layout;
use super::log::CommitError;
use super::record::Epoch;
use super::recover::Directory;
use super::segment::{HEADER_OCTETS, Segment};
use crate::mail::Locator;
use crate::mail::envelope::QueueId;
use crate::world::{File as _, World};

pub(super) struct State<W: World> {
    pub(super) segments: BTreeMap<u32, Segment<W>>,
    /// Batches that are not written, in order. The last one is open.
    pub(super) batches: VecDeque<Batch>,
    /// Where the next record goes.
    pub(super) next: (u32, u64),
    /// Messages that are not settled.
    pub(super) live: HashMap<QueueId, Live>,
    /// What is known besides of the few of them about which there is more to know.
    pub(super) busy: HashMap<QueueId, Busy>,
    /// Extents to remove when the batch of this number is on stable storage.
    pub(super) doomed: VecDeque<(u64, QueueId)>,
    pub(super) spares: Vec<PathBuf>,
    /// What were batches once: the next ones use what they have grown to.
    pub(super) spare: Vec<Batch>,
    /// How many octets batches have had of late.
    usual: u64,
    /// Batches begun so far.
    pub(super) begun: u64,
    pub(super) last_id: u64,
    /// Messages of other shards that this log had when it was opened: what is left of a take-over
    /// that a crash cut off does not bring them once more.
    pub(super) adopted: HashSet<QueueId>,
    /// Who waits for batches to get shorter.
    pub(super) crowd: Vec<Waker>,
    pub(super) broken: Option<String>,
}

/// Where a message stands that is not settled, and whether its content has a file of its own.
/// Millions wait, so it is packed: nothing is here that can be elsewhere.
pub(super) struct Live {
    segment: u32,
    len: u32,
    /// The position in the segment from its high half on. The top bit, which no position
    /// reaches, says that there is an extent.
    position: [u32; 2],
}

/// A message that is being worked on: moved, reported on, or settled for some of its recipients.
#[derive(Default)]
pub(super) struct Busy {
    /// Where it will stand when the compactor's write is done.
    pub(super) moving: Option<Locator>,
    /// Recipients that are settled.
    pub(super) settled: SmallVec<[u16; 4]>,
    /// Failure reports on it that are being written.
    pub(super) reporting: u32,
}

// A million of them wait in one log.
const _: () = assert!(size_of::<(QueueId, Live)>() <= 24);

impl Live {
    pub(super) const fn new(locator: Locator, has_extent: bool) -> Self {
        let extent = if has_extent { EXTENT } else { 0 };
        Self {
            segment: locator.segment,
            len: locator.len,
            position: [
                (locator.offset >> 32) as u32 | extent,
                locator.offset as u32,
            ],
        }
    }

    pub(super) const fn locator(&self) -> Locator {
        let [high, low] = self.position;
        Locator {
            segment: self.segment,
            len: self.len,
            offset: ((high & !EXTENT) as u64) << 32 | low as u64,
        }
    }

    pub(super) const fn has_extent(&self) -> bool {
        self.position[0] & EXTENT != 0
    }

    /// Moves it, and says where it was.
    pub(super) const fn replace(&mut self, to: Locator) -> Locator {
        let from = self.locator();
        *self = Self::new(to, self.has_extent());
        from
    }
}

impl Busy {
    fn is_idle(&self) -> bool {
        self.moving.is_none() && self.settled.is_empty() && self.reporting == 0
    }
}

/// Records that are written together.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) epoch: Epoch,
    pub(super) offset: u64,
    pub(super) octets: Vec<u8>,
    /// The notes among them once more: should the write fail, they are written again.
    pub(super) notes: Vec<u8>,
    pub(super) records: u32,
    /// Messages among them.
    pub(super) accepted: Vec<QueueId>,
    /// Whom the failure reports among them settle.
    pub(super) reported: Vec<(QueueId, SmallVec<[u16; 4]>)>,
    pub(super) waiters: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

impl<W: World> State<W> {
    /// What recovery found, and a new segment behind it: what follows a torn tail is not ours to
    /// judge.
    pub(super) async fn new(
        found: Directory<W::File>,
        files: &layout::Files,
        last_id: u64,
        adopted: HashSet<QueueId>,
        salt: u32,
    ) -> io::Result<Self> {
        let mut segments = BTreeMap::new();
        for read in found.segments {
            let segment = Segment {
                end: read.end,
                filled: read.file.len().await?,
                file: Some(Rc::new(read.file)),
                damaged: read.damaged,
                ..Segment::new(read.epoch.salt)
            };
            segments.insert(read.epoch.number, segment);
        }
        let next = files.segments.last().map_or(1, |last| last + 1);
        segments.insert(next, Segment::new(salt));
        Ok(Self {
            segments,
            batches: VecDeque::new(),
            next: (next, HEADER_OCTETS as u64),
            live: HashMap::new(),
            busy: HashMap::new(),
            doomed: VecDeque::new(),
            spares: files.spares.clone(),
            spare: Vec::new(),
            usual: 0,
            begun: 0,
            last_id,
            adopted,
            crowd: Vec::new(),
            broken: None,
        })
    }

    /// Begins a new segment when the current one is full.
    pub(super) fn roll(&mut self, segment_octets: u64, salt: impl FnOnce() -> u32) {
        if self.next.1 >= segment_octets {
            self.next = (self.next.0 + 1, HEADER_OCTETS as u64);
            self.segments.insert(self.next.0, Segment::new(salt()));
        }
    }

    /// The batch that the next record goes to.
    pub(super) fn open_batch(&mut self) -> &mut Batch {
        let (number, offset) = self.next;
        let fits =
            |batch: &Batch| batch.epoch.number == number && batch.octets.len() < BATCH_OCTETS_MAX;
        if !self.batches.back().is_some_and(fits) {
            let salt = self.segments.get(&number).map_or(0, |segment| segment.salt);
            let epoch = Epoch { number, salt };
            self.begun += 1;
            let batch = Batch::new(self.begun, epoch, offset);
            let batch = match self.spare.pop() {
                Some(spare) => batch.using(spare, self.usual),
                None => batch,
            };
            self.batches.push_back(batch);
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }

    /// A batch of so many octets is done with.
    pub(super) fn keep_spare(&mut self, batch: Batch, octets: u64) {
        // Batches of notes are small, and come between those of messages.
        self.usual = octets.max(self.usual - self.usual / 8);
        if self.spare.len() < SPARES_MAX {
            self.spare.push(batch);
        }
    }

    /// A batch's reports are on stable storage, or were refused.
    pub(super) fn end_reports(&mut self, batch: &Batch, is_written: bool) {
        for (about, recipients) in &batch.reported {
            self.work_on(*about, |busy| {
                busy.reporting = busy.reporting.saturating_sub(1);
                if is_written {
                    busy.settled.extend_from_slice(recipients);
                }
            });
        }
    }

    pub(super) fn enter(&mut self, locator: Locator) {
        if let Some(segment) = self.segments.get_mut(&locator.segment) {
            segment.live += 1;
            segment.live_octets += u64::from(locator.len);
        }
    }

    pub(super) fn leave(&mut self, locator: Locator) {
        if let Some(segment) = self.segments.get_mut(&locator.segment) {
            segment.live = segment.live.saturating_sub(1);
            let octets = u64::from(locator.len);
            segment.live_octets = segment.live_octets.saturating_sub(octets);
        }
    }

    /// Puts a message's future place beside its present one.
    pub(super) fn begin_move(&mut self, id: QueueId, to: Locator) {
        self.enter(to);
        self.work_on(id, |busy| busy.moving = Some(to));
    }

    /// Notes something of a message that lives.
    pub(super) fn work_on(&mut self, id: QueueId, note: impl FnOnce(&mut Busy)) {
        if !self.live.contains_key(&id) {
            return;
        }
        let busy = self.busy.entry(id).or_default();
        note(busy);
        if busy.is_idle() {
            self.busy.remove(&id);
        }
    }

    /// Takes a message out, and its places with it.
    pub(super) fn remove(&mut self, id: QueueId) -> Option<Live> {
        let live = self.live.remove(&id)?;
        self.leave(live.locator());
        if let Some(moving) = self.busy.remove(&id).and_then(|busy| busy.moving) {
            self.leave(moving);
        }
        Some(live)
    }

    pub(super) fn disk_octets(&self) -> u64 {
        self.segments
            .values()
            .map(|segment| segment.end.max(segment.filled))
            .sum()
    }

    pub(super) fn live_octets(&self) -> u64 {
        self.segments
            .values()
            .map(|segment| segment.live_octets)
            .sum()
    }
}

impl Batch {
    pub(super) const fn new(number: u64, epoch: Epoch, offset: u64) -> Self {
        Self {
            number,
            epoch,
            offset,
            octets: Vec::new(),
            notes: Vec::new(),
            records: 0,
            accepted: Vec::new(),
            reported: Vec::new(),
            waiters: Vec::new(),
        }
    }

    /// With the memory of one that is done with. Its octets went to the disk: room for as many as
    /// usual, and some more, is made again at once.
    fn using(self, mut spare: Self, usual: u64) -> Self {
        let usual = usize::try_from(usual).unwrap_or(0);
        let room = usual.min(USUAL_OCTETS_MAX).next_power_of_two();
        spare.notes.clear();
        spare.accepted.clear();
        spare.waiters.clear();
        Self {
            octets: Vec::with_capacity(room),
            notes: spare.notes,
            accepted: spare.accepted,
            waiters: spare.waiters,
            ..self
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.offset + self.octets.len() as u64
    }
}

/// A batch is closed at this size: larger ones keep their first waiter waiting for the last.
pub(super) const BATCH_OCTETS_MAX: usize = 4 << 20;
/// In the high half of a [`Live`]'s position.
const EXTENT: u32 = 1 << 31;
/// One batch gathers while another is written.
const SPARES_MAX: usize = 2;
/// A batch that was larger says nothing of the next one.
const USUAL_OCTETS_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_packed_without_loss() {
        for offset in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 63) - 1] {
            for has_extent in [false, true] {
                let locator = Locator {
                    segment: u32::MAX,
                    len: 7,
                    offset,
                };
                let mut live = Live::new(locator, has_extent);
                assert_eq!((live.locator(), live.has_extent()), (locator, has_extent));
                let to = Locator {
                    offset: 5,
                    ..locator
                };
                assert_eq!(live.replace(to), locator);
                assert_eq!((live.locator(), live.has_extent()), (to, has_extent));
            }
        }
    }
}
