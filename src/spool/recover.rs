//! From segments to the messages that are not settled.
//!
//! [`Replay`] is pure: it is told records in the order of the log and keeps what they add up to.
//! [`scan`] reads a segment's records, stops at a torn tail, and goes on behind damage.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::layout::{self, OpenError};
use super::record::{self, Found, Record, Stored, StoredBody};
use super::segment::{HEADER_OCTETS, Header};
use memchr::memmem;

use crate::mail::Locator;
use crate::mail::envelope::{Envelope, QueueId};
use crate::mail::outcome::Diagnosis;
use crate::mail::outcome::ReportKind;
use crate::world::{File as _, Wall, World};

/// What was found on the disk.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Messages with a recipient that is not settled, in the order in which they were accepted.
    pub messages: Vec<Recovered>,
    /// Octets behind the last whole record: a write that a crash cut off.
    pub torn_octets: u64,
    /// Segments read.
    pub segments: u32,
    /// Records read.
    pub records: u64,
    /// What should not be, in words for the operator.
    pub damage: Vec<String>,
}

/// A message that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its name.
    pub id: QueueId,
    /// Where it stands.
    pub locator: Locator,
    /// When it came.
    pub arrival: Wall,
    /// Octets of its content.
    pub size: u64,
    /// Its content is in a file of its own, of so many octets.
    pub extent: Option<u64>,
    /// Who sent it, to whom.
    pub envelope: Envelope,
    /// One for each recipient of the envelope.
    pub recipients: Vec<RecipientState>,
    /// Held by an operator.
    pub held: bool,
}

/// What is known of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// To be delivered.
    Pending {
        /// Attempts counted.
        attempts: u16,
        /// Not before; `None` before the first attempt.
        due: Option<Wall>,
        /// An attempt may have delivered it.
        doubtful: bool,
        /// Why the last attempt did not succeed.
        diagnosis: Option<Diagnosis>,
        /// The sender knows that it waits.
        delay_told: bool,
    },
    /// Needs nothing more.
    Settled,
}

impl RecipientState {
    const FRESH: Self = Self::Pending {
        attempts: 0,
        due: None,
        doubtful: false,
        diagnosis: None,
        delay_told: false,
    };
}

/// What records add up to.
#[derive(Debug, Default)]
pub struct Replay {
    messages: HashMap<QueueId, Recovered>,
    /// The largest id seen, of settled messages too.
    last: u64,
}

impl Replay {
    /// The next record of the log, and where it stands.
    pub fn apply(&mut self, locator: Locator, record: Record) {
        match record {
            Record::Accept(stored) => self.accept(locator, *stored),
            Record::Settled { id, recipient } => {
                self.change(id, &[recipient], |state| *state = RecipientState::Settled);
                self.drop_settled(id);
            }
            Record::Deferred {
                id,
                recipients,
                attempts,
                due,
                diagnosis,
                doubtful,
            } => self.change(id, &recipients, |state| {
                if let RecipientState::Pending {
                    attempts: counted,
                    due: next,
                    doubtful: doubt,
                    diagnosis: last,
                    ..
                } = state
                {
                    *counted = attempts;
                    *next = Some(due);
                    *doubt |= doubtful;
                    *last = Some(diagnosis.clone());
                }
            }),
            Record::Held { id, held } => {
                if let Some(message) = self.messages.get_mut(&id) {
                    message.held = held;
                }
            }
            Record::DelayTold { id } => self.tell_delay(id),
        }
    }

    /// The messages that are not settled, oldest first, and the largest id that was ever used.
    #[must_use]
    pub fn finish(self) -> (Vec<Recovered>, u64) {
        let mut messages: Vec<Recovered> = self.messages.into_values().collect();
        messages.sort_by_key(|message| (message.arrival, message.id.0));
        (messages, self.last)
    }

    fn accept(&mut self, locator: Locator, stored: Stored) {
        self.last = self.last.max(stored.id.0);
        if let Some((about, recipients, kind)) = &stored.reports {
            match kind {
                ReportKind::Failure => {
                    self.change(*about, recipients, |state| *state = RecipientState::Settled);
                    self.drop_settled(*about);
                }
                ReportKind::Delay => self.tell_delay(*about),
                // The next hop has had it before: a note says so.
                ReportKind::Relayed => {}
            }
        }
        match self.messages.get_mut(&stored.id) {
            // The compactor wrote it again: what is known of it stays.
            Some(known) => known.locator = locator,
            None => {
                let recipients = vec![RecipientState::FRESH; stored.envelope.recipients.len()];
                self.messages.insert(
                    stored.id,
                    Recovered {
                        id: stored.id,
                        locator,
                        arrival: stored.arrival,
                        size: stored.content.size,
                        extent: match stored.body {
                            StoredBody::Inline(_) => None,
                            StoredBody::Extent(len) => Some(len),
                        },
                        envelope: stored.envelope,
                        recipients,
                        held: false,
                    },
                );
            }
        }
    }

    fn tell_delay(&mut self, id: QueueId) {
        for state in self
            .messages
            .get_mut(&id)
            .into_iter()
            .flat_map(|m| &mut m.recipients)
        {
            if let RecipientState::Pending { delay_told, .. } = state {
                *delay_told = true;
            }
        }
    }

    fn change(&mut self, id: QueueId, places: &[u16], change: impl Fn(&mut RecipientState)) {
        // A note on a message whose record is gone: it was settled long ago.
        let Some(message) = self.messages.get_mut(&id) else {
            return;
        };
        for &place in places {
            if let Some(state) = message.recipients.get_mut(usize::from(place)) {
                change(state);
            }
        }
    }

    fn drop_settled(&mut self, id: QueueId) {
        let settled = |message: &Recovered| {
            let mut states = message.recipients.iter();
            states.all(|state| *state == RecipientState::Settled)
        };
        if self.messages.get(&id).is_some_and(settled) {
            self.messages.remove(&id);
        }
    }
}

/// What one segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Where its last record ends.
    pub(super) end: u64,
    /// Octets of an unfinished record behind it.
    pub(super) torn: u64,
    pub(super) records: u64,
    /// Octets that are no record though records follow.
    pub(super) damaged: u64,
}

/// Reads a directory's segments in order, and tells `replay`.
pub(super) async fn recover<W: World>(
    world: &W,
    directory: &Path,
    segments: &[u32],
    replay: &mut Replay,
    recovery: &mut Recovery,
) -> Result<Vec<(u32, W::File, u64)>, OpenError> {
    let mut opened = Vec::new();
    for &number in segments {
        let path = layout::segment(directory, number);
        let file = world.open(&path, false).await?;
        let header = file.read_at(0, HEADER_OCTETS).await?;
        match Header::decode(&header) {
            Some(header) if header.number == number => opened.push((number, file, header)),
            // Made and not written, or used again and not renamed for good: nothing in it was
            // ever acknowledged under this name.
            _ => {
                if header.iter().any(|octet| *octet != 0) {
                    recovery
                        .damage
                        .push(format!("{}: its header is damaged", path.display()));
                }
            }
        }
    }
    let mut found = Vec::new();
    for place in 0..opened.len() {
        let (number, file, _) = &opened[place];
        let next = opened.get(place + 1);
        let sealed = next
            .filter(|(next, _, _)| *next == number + 1)
            .map(|(_, _, header)| header.previous_len);
        let scanned = scan::<W>(file, *number, sealed, &mut |locator, record| {
            replay.apply(locator, record);
        })
        .await?;
        let path = layout::segment(directory, *number);
        if scanned.damaged > 0 {
            recovery.damage.push(format!(
                "{}: {} octets are damaged; the records around them were read",
                path.display(),
                scanned.damaged
            ));
        }
        recovery.segments += 1;
        recovery.records += scanned.records;
        recovery.torn_octets += scanned.torn;
        found.push(scanned.end);
    }
    let ends = found.into_iter();
    Ok(opened
        .into_iter()
        .zip(ends)
        .map(|((number, file, _), end)| (number, file, end))
        .collect())
}

/// Reads one segment. `sealed` is where it ended, when the next segment says so.
pub(super) async fn scan<W: World>(
    file: &W::File,
    number: u32,
    sealed: Option<u64>,
    see: &mut impl FnMut(Locator, Record),
) -> io::Result<Scanned> {
    let len = file.len().await?;
    let limit = sealed.map_or(len, |sealed| sealed.min(len));
    let mut window = Window {
        start: HEADER_OCTETS as u64,
        octets: Vec::new(),
        at: 0,
    };
    let mut scanned = Scanned {
        end: window.position(),
        damaged: sealed.map_or(0, |sealed| sealed.saturating_sub(len)),
        ..Scanned::default()
    };
    let mut skipped = 0;
    loop {
        let position = window.position();
        let room = limit.saturating_sub(position);
        if room == 0 {
            break;
        }
        match record::find(&window.octets[window.at..], number, room) {
            Found::Whole(kind, payload, octets) => {
                let locator = Locator {
                    segment: number,
                    len: u32::try_from(octets).unwrap_or(u32::MAX),
                    offset: position,
                };
                match Record::decode(kind, payload) {
                    Some(record) => see(locator, record),
                    // Its checksum is right: a later version wrote it, or we are wrong.
                    None => scanned.damaged += octets as u64,
                }
                scanned.records += 1;
                scanned.damaged += std::mem::take(&mut skipped);
                window.at += octets;
                scanned.end = window.position();
            }
            Found::More(octets) => {
                let missing = octets.saturating_sub(window.octets.len() - window.at);
                // A length that leads past the end is a wrong one.
                if !window.fill::<W>(file, limit, missing).await? {
                    match window.skip(number) {
                        0 => break,
                        octets => skipped += octets,
                    }
                }
            }
            // Records may follow: a bad block must not take those behind it along.
            Found::Nothing => skipped += window.skip(number),
        }
    }
    match sealed {
        Some(sealed) => {
            scanned.end = sealed.min(len);
            scanned.damaged += skipped;
        }
        // Nothing follows: a write that a crash cut off, or nothing at all.
        None => scanned.torn = torn::<W>(file, number, scanned.end, limit).await?,
    }
    Ok(scanned)
}

/// Octets of a record that was begun at `end`, as far as they can be told from old ones.
async fn torn<W: World>(file: &W::File, number: u32, end: u64, limit: u64) -> io::Result<u64> {
    let header = file.read_at(end, record::HEADER_OCTETS).await?;
    let announced = header
        .first_chunk::<4>()
        .map(|len| u32::from_le_bytes(*len));
    let begun = header
        .get(5..9)
        .is_some_and(|epoch| *epoch == number.to_le_bytes());
    Ok(match announced {
        Some(len) if begun => {
            let len = u64::from(len) + record::HEADER_OCTETS as u64;
            len.min(limit.saturating_sub(end))
        }
        _ => 0,
    })
}

/// A part of a file in memory.
struct Window {
    /// Where in the file it begins.
    start: u64,
    octets: Vec<u8>,
    /// So many of its octets are dealt with.
    at: usize,
}

impl Window {
    fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Goes to the next octets that may begin a record of segment `number`, as far as they are
    /// here; how many were skipped.
    fn skip(&mut self, number: u32) -> u64 {
        let rest = &self.octets[self.at..];
        let from = EPOCH_AT + 1;
        let found = rest
            .get(from..)
            .and_then(|rest| memmem::find(rest, &number.to_le_bytes()));
        let step = match found {
            Some(place) => place + 1,
            // The last few octets may be the beginning of one.
            None => rest
                .len()
                .saturating_sub(EPOCH_AT + 3)
                .max(1)
                .min(rest.len()),
        };
        self.at += step;
        step as u64
    }

    /// Reads on, at least `missing` octets; false at the end.
    async fn fill<W: World>(
        &mut self,
        file: &W::File,
        limit: u64,
        missing: usize,
    ) -> io::Result<bool> {
        self.octets.drain(..self.at);
        self.start += self.at as u64;
        self.at = 0;
        let position = self.start + self.octets.len() as u64;
        let room = usize::try_from(limit.saturating_sub(position)).unwrap_or(usize::MAX);
        let read = file
            .read_at(position, missing.max(READ_OCTETS).min(room))
            .await?;
        self.octets.extend_from_slice(&read);
        Ok(!read.is_empty() && read.len() >= missing.min(room))
    }
}

/// Where the epoch stands in a record.
const EPOCH_AT: usize = 5;
/// Octets read at a time: enough for the disk's speed, little for the memory.
const READ_OCTETS: usize = 1 << 20;
