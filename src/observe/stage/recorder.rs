//! One shard's histograms.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

use super::{FIRST_OUTBOUND, OTHER, OUTBOUND, Snapshot, Stage};

/// One shard's histograms: one for each stage, and one for each outbound stage of its busiest
/// destinations. Everything is allocated at the start or when a destination is first seen.
pub struct Recorder {
    stages: Vec<Histogram<u64>>,
    seats: Vec<Seat>,
    other: PerStage,
    /// What a new seat begins with.
    blank: PerStage,
    /// Records for destinations without a seat since the last review.
    unseated: u32,
}

/// What one destination's stages took.
pub(super) type PerStage = [Histogram<u32>; OUTBOUND];

struct Seat {
    name: Box<str>,
    /// Records since the last review, plus half of those before it, and so on.
    busy: u32,
    stages: Box<PerStage>,
}

impl Recorder {
    /// Histograms without a record. An error would mean that the bounds below are none.
    pub fn new() -> Result<Self, CreationError> {
        let stages = Stage::ALL.into_iter().map(blank);
        let one = blank_for_destination()?;
        let blank: PerStage = std::array::from_fn(|_| one.clone());
        Ok(Self {
            stages: stages.collect::<Result<_, _>>()?,
            seats: Vec::with_capacity(DESTINATIONS_MAX),
            other: blank.clone(),
            blank,
            unseated: 0,
        })
    }

    /// Records that a stage took so long. What is over an hour counts as an hour.
    #[inline]
    pub fn record(&mut self, stage: Stage, took: Duration) {
        self.stages[stage.index()].saturating_record(micros(took));
    }

    /// Records a size, for a stage that counts ([`Stage::CommitBatch`]).
    #[inline]
    pub fn record_count(&mut self, stage: Stage, count: u64) {
        self.stages[stage.index()].saturating_record(count);
    }

    /// Records an outbound stage, for all destinations together and for this one.
    pub fn record_for(&mut self, destination: &str, stage: Stage, took: Duration) {
        self.record(stage, took);
        if !stage.is_outbound() {
            return;
        }
        let index = stage.index() - FIRST_OUTBOUND;
        let stages = match self.seat(destination) {
            Some(seat) => {
                let seat = &mut self.seats[seat];
                seat.busy = seat.busy.saturating_add(1);
                &mut *seat.stages
            }
            None => &mut self.other,
        };
        stages[index].saturating_record(micros(took));
    }

    /// A copy of what was recorded since the start, at one go: a few milliseconds when every
    /// destination's seat is taken. A shard that serves copies piece by piece instead.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut copy = Snapshot::default();
        let mut piece = 0;
        while self.copy_piece(piece, &mut copy) {
            piece += 1;
        }
        copy
    }

    /// Copies one piece, some 200 KiB at most, into `copy`; false when there is no such piece.
    /// Pieces count from 0, the first [`STAGE_PIECES`] are the stages over all destinations. A
    /// shard lets others run between two:
    ///
    /// ```no_run
    /// # use ringpost::observe::stage::{Recorder, Snapshot};
    /// # async fn copy(recorder: &std::cell::RefCell<Recorder>) -> Snapshot {
    /// let mut copy = Snapshot::default();
    /// let mut piece = 0;
    /// while recorder.borrow().copy_piece(piece, &mut copy) {
    ///     piece += 1;
    ///     futures_lite::future::yield_now().await;
    /// }
    /// # copy
    /// # }
    /// ```
    pub fn copy_piece(&self, piece: usize, copy: &mut Snapshot) -> bool {
        if let Some(stage) = Stage::ALL.get(piece) {
            copy.take_stage(*stage, &self.stages[piece]);
            return true;
        }
        let seat = piece - STAGE_PIECES;
        match self.seats.get(seat) {
            Some(seat) => copy.take_destination(&seat.name, &seat.stages),
            None if seat == self.seats.len() => copy.take_destination(OTHER, &self.other),
            None => return false,
        }
        true
    }

    /// The seat of a destination, an old or a new one; `None` when all are taken.
    fn seat(&mut self, destination: &str) -> Option<usize> {
        let known = self
            .seats
            .iter()
            .position(|seat| *seat.name == *destination);
        if known.is_some() {
            return known;
        }
        if self.seats.len() == DESTINATIONS_MAX {
            self.unseated += 1;
            if self.unseated < REVIEW_EVERY {
                return None;
            }
            self.review();
        }
        self.seats.push(Seat {
            name: destination.into(),
            busy: 0,
            stages: Box::new(self.blank.clone()),
        });
        Some(self.seats.len() - 1)
    }

    /// Takes the seat of the least busy destination. A busy one that has none yet gets it sooner
    /// or later, because it asks most often; one that went quiet loses it.
    fn review(&mut self) {
        self.unseated = 0;
        let quietest = (0..self.seats.len()).min_by_key(|&at| self.seats[at].busy);
        if let Some(at) = quietest {
            let gone = self.seats.swap_remove(at);
            for (sum, part) in self.other.iter_mut().zip(gone.stages.iter()) {
                // Equal bounds: nothing is out of range.
                let _ = sum.add(part);
            }
        }
        for seat in &mut self.seats {
            seat.busy /= 2;
        }
    }
}

/// A histogram of a stage over all destinations.
pub(super) fn blank(stage: Stage) -> Result<Histogram<u64>, CreationError> {
    let max = if stage.is_count() {
        COUNT_MAX
    } else {
        MICROS_MAX
    };
    Histogram::new_with_max(max, DIGITS)
}

/// A histogram of a stage of one destination.
pub(super) fn blank_for_destination() -> Result<Histogram<u32>, CreationError> {
    Histogram::new_with_max(MICROS_MAX, DESTINATION_DIGITS)
}

/// Whole microseconds.
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Destinations of a shard that have histograms of their own: some 115 KiB each.
pub const DESTINATIONS_MAX: usize = 32;

/// How many pieces of [`Recorder::copy_piece`] are stages; destinations follow.
pub const STAGE_PIECES: usize = Stage::ALL.len();

/// Records without a seat after which the quietest destination loses its: rare enough that the
/// copying does not show, often enough that a new bulk destination is seen within seconds. A
/// prime, so that no rhythm of destinations always meets the review with the same one.
const REVIEW_EVERY: u32 = 2039;

/// An hour: longer stages are counted as this long.
const MICROS_MAX: u64 = 3_600_000_000;

/// The largest batch of one fdatasync that is told from larger ones.
const COUNT_MAX: u64 = 100_000;

/// Three digits: a percentile is off by 0.1 % at most. 180 KiB for each stage and shard.
const DIGITS: u8 = 3;

/// Two digits, 1 %, where there is one for each destination.
const DESTINATION_DIGITS: u8 = 2;
