//! From segments to the messages that are not settled.
//!
//! [`Replay`] is pure: it is told records in the order of the log and keeps what they add up to.
//! `scan` reads a segment's records, stops at a torn tail, and goes on behind damage.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::layout::{self, OpenError};
pub use super::record::RecipientState;
use super::record::{self, Carried, Epoch, Found, Record, Stored, StoredBody};
use super::segment::{HEADER_OCTETS, Header};
use super::sums::Sums;
use memchr::memmem;

use crate::mail::Locator;
use crate::mail::envelope::{Envelope, QueueId};
use crate::mail::outcome::ReportKind;
use crate::progress::Progress;
use crate::world::{File, Wall, World};

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
    /// Removed by an operator, who can put it back until then.
    pub removed_until: Option<Wall>,
}

/// What records add up to.
#[derive(Debug, Default)]
pub struct Replay {
    messages: HashMap<QueueId, Recovered>,
    /// Messages that need nothing more. A copy that the compactor was writing while they were
    /// settled does not bring them back.
    settled: HashSet<QueueId>,
}

/// What records added up to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The messages that are not settled, oldest first.
    pub messages: Vec<Recovered>,
    /// The others.
    pub settled: HashSet<QueueId>,
}

impl Replay {
    /// The next record of the log, and where it stands.
    pub fn apply(&mut self, locator: Locator, record: Record) {
        match record {
            Record::Accept(stored) => self.accept(locator, *stored, None),
            Record::Moved(stored, carried) => self.accept(locator, *stored, Some(carried)),
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
            Record::Binned { id, until } => {
                if let Some(message) = self.messages.get_mut(&id) {
                    message.removed_until = until;
                }
            }
            Record::Void => {}
        }
    }

    /// What it came to.
    #[must_use]
    pub fn finish(self) -> Replayed {
        let mut messages: Vec<Recovered> = self.messages.into_values().collect();
        messages.sort_by_key(|message| (message.arrival, message.id.0));
        Replayed {
            messages,
            settled: self.settled,
        }
    }

    fn accept(&mut self, locator: Locator, stored: Stored, carried: Option<Carried>) {
        if let Some((about, recipients, kind)) = &stored.reports {
            match kind {
                ReportKind::Failure => {
                    self.change(*about, recipients, |state| *state = RecipientState::Settled);
                    self.drop_settled(*about);
                }
                ReportKind::Delay => self.tell_delay(*about),
                // The next hop has had it before: a note says so.
                ReportKind::Success => {}
            }
        }
        let id = stored.id;
        if self.settled.contains(&id) {
            return;
        }
        match self.messages.get_mut(&id) {
            // Written again. The copy says what was known then, and so does what is here; only
            // what settled since is newer.
            Some(known) => {
                known.locator = locator;
                if let Some(carried) = carried {
                    known.held = carried.held;
                    known.removed_until = carried.removed_until;
                    for (state, newer) in known.recipients.iter_mut().zip(carried.recipients) {
                        if *state != RecipientState::Settled {
                            *state = newer;
                        }
                    }
                }
            }
            None => {
                let message = Recovered::new(locator, stored, carried);
                self.messages.insert(id, message);
            }
        }
        self.drop_settled(id);
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
            self.settled.insert(id);
        }
    }
}

impl Recovered {
    /// A message that was read, with what was carried along when it was moved.
    pub(super) fn new(locator: Locator, stored: Stored, carried: Option<Carried>) -> Self {
        let carried = carried.unwrap_or_else(|| Carried {
            held: false,
            removed_until: None,
            recipients: vec![RecipientState::FRESH; stored.envelope.recipients.len()],
        });
        Self {
            id: stored.id,
            locator,
            arrival: stored.arrival,
            size: stored.content.size,
            extent: match stored.body {
                StoredBody::Inline(_) => None,
                StoredBody::Extent(len) => Some(len),
            },
            envelope: stored.envelope,
            recipients: carried.recipients,
            held: carried.held,
            removed_until: carried.removed_until,
        }
    }
}

/// What one segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Where its last record ends.
    pub(super) end: u64,
    /// Octets of an unfinished record behind it.
    pub(super) torn: u64,
    pub(super) records: u64,
    /// Octets that are no record though records follow, in a segment whose length is known.
    pub(super) damaged: u64,
    /// Places of such octets, and how many, in the last segment: damage, or what a crash left of
    /// a batch that was not synced.
    pub(super) holes: Vec<(u64, u64)>,
    /// Octets that were gone over to look for records behind such octets.
    pub(super) summed: u64,
}

/// A segment that was read.
pub(super) struct Read<F> {
    pub(super) epoch: Epoch,
    pub(super) file: F,
    /// Where its last record ends.
    pub(super) end: u64,
    /// Not all of it could be read.
    pub(super) damaged: bool,
    holes: Vec<(u64, u64)>,
}

impl<F: File> Read<F> {
    /// Writes the head of a void record before what could not be read of the last segment, so
    /// that it is complained of once and not at every start. The octets behind it stay.
    pub(super) async fn close_holes(&self) -> io::Result<()> {
        for &(offset, octets) in &self.holes {
            let len = usize::try_from(octets).unwrap_or(usize::MAX);
            let hole = self.file.read_at(offset, len).await?;
            if let Some(head) = record::void_head(hole, self.epoch) {
                self.file.write_at(head, offset).await?;
            }
        }
        Ok(())
    }
}

/// A directory that was read.
pub(super) struct Directory<F> {
    /// Its segments, ascending.
    pub(super) segments: Vec<Read<F>>,
    /// Files whose making as a segment was cut off: nothing in them was ever promised.
    pub(super) unmade: Vec<u32>,
    /// The largest id that a header names.
    pub(super) last_id: u64,
}

/// What the first octets of a segment's file are.
enum Head {
    Good(Header),
    /// None yet: new, or still those of its former use.
    Unmade,
    Damaged,
}

impl Head {
    fn of(octets: &[u8], number: u32) -> Self {
        match Header::decode(octets) {
            Some(header) if header.epoch.number == number => Self::Good(header),
            Some(_) => Self::Unmade,
            None if octets.iter().all(|octet| *octet == 0) => Self::Unmade,
            None => Self::Damaged,
        }
    }

    fn good(&self) -> Option<&Header> {
        match self {
            Self::Good(header) => Some(header),
            Self::Unmade | Self::Damaged => None,
        }
    }
}

/// Reads a directory's segments in order, and tells `replay`; each is counted in `progress`.
pub(super) async fn recover<W: World>(
    world: &W,
    directory: &Path,
    segments: &[u32],
    progress: &Progress,
    replay: &mut Replay,
    recovery: &mut Recovery,
) -> Result<Directory<W::File>, OpenError> {
    let (mut read, opened) = open_all(world, directory, segments).await?;
    read.unmade.iter().for_each(|_| progress.advance());
    let mut opened = opened.into_iter().peekable();
    while let Some((number, file, head)) = opened.next() {
        progress.advance();
        let path = layout::segment(directory, number);
        let next = opened.peek().and_then(|(next, _, head)| {
            let is_next = *next == number + 1;
            head.good().filter(|_| is_next)
        });
        let own = head.good().map(|header| header.epoch.salt);
        if own.is_none() {
            let why = format!("{}: its header is damaged", path.display());
            recovery.damage.push(why);
        }
        let Some(salt) = own.or(next.map(|next| next.previous_salt)) else {
            continue;
        };
        let epoch = Epoch { number, salt };
        let sealed = next.map(|next| next.previous_len);
        let scanned = scan::<W>(&file, epoch, sealed, &mut |locator, record| {
            replay.apply(locator, record);
        })
        .await?;
        if scanned.damaged > 0 {
            recovery.damage.push(format!(
                "{}: {} octets are damaged; the records around them were read",
                path.display(),
                scanned.damaged
            ));
        }
        for (offset, octets) in &scanned.holes {
            recovery.damage.push(format!(
                "{}: {octets} octets at {offset} cannot be read: a crash in the middle of a write, or a bad block; the records around them were read",
                path.display()
            ));
        }
        recovery.segments += 1;
        recovery.records += scanned.records;
        recovery.torn_octets += scanned.torn;
        read.segments.push(Read {
            epoch,
            file,
            end: scanned.end,
            damaged: scanned.damaged > 0 || own.is_none(),
            holes: scanned.holes,
        });
        world.breathe().await;
    }
    Ok(read)
}

/// Opens a directory's segments and reads their heads.
async fn open_all<W: World>(
    world: &W,
    directory: &Path,
    segments: &[u32],
) -> io::Result<(Directory<W::File>, Vec<(u32, W::File, Head)>)> {
    let mut read = Directory {
        segments: Vec::new(),
        unmade: Vec::new(),
        last_id: 0,
    };
    let mut opened = Vec::new();
    for &number in segments {
        let path = layout::segment(directory, number);
        let file = world.open(&path, false).await?;
        let head = Head::of(&file.read_at(0, HEADER_OCTETS).await?, number);
        if let Head::Unmade = head {
            read.unmade.push(number);
            continue;
        }
        let id = head.good().map_or(0, |header| header.last_id);
        read.last_id = read.last_id.max(id);
        opened.push((number, file, head));
    }
    Ok((read, opened))
}

/// Reads one segment. `sealed` is where it ended, when the next segment says so.
pub(super) async fn scan<W: World>(
    file: &W::File,
    epoch: Epoch,
    sealed: Option<u64>,
    see: &mut impl FnMut(Locator, Record),
) -> io::Result<Scanned> {
    let len = file.len().await?;
    let limit = sealed.map_or(len, |sealed| sealed.min(len));
    let mut window = Window::new(HEADER_OCTETS as u64);
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
        match window.find(epoch, room, skipped > 0) {
            Found::Whole(kind, payload, octets) => {
                let locator = Locator {
                    segment: epoch.number,
                    len: u32::try_from(octets).unwrap_or(u32::MAX),
                    offset: position,
                };
                match Record::decode(kind, payload) {
                    Some(record) => see(locator, record),
                    // Its checksum is right: a later version wrote it, or we are wrong.
                    None => scanned.damaged += octets as u64,
                }
                scanned.records += 1;
                match (std::mem::take(&mut skipped), sealed) {
                    (0, _) => {}
                    (octets, Some(_)) => scanned.damaged += octets,
                    (_, None) => scanned.holes.push((scanned.end, position - scanned.end)),
                }
                window.at += octets;
                scanned.end = window.position();
            }
            Found::More(octets) => {
                let missing = octets.saturating_sub(window.octets.len() - window.at);
                // A length that leads past the end is a wrong one.
                if !window.fill::<W>(file, limit, missing).await? {
                    match window.skip(epoch.number) {
                        0 => break,
                        octets => skipped += octets,
                    }
                }
            }
            // Records may follow: a bad block must not take those behind it along.
            Found::Nothing => skipped += window.skip(epoch.number),
        }
    }
    scanned.summed = window.sums.summed();
    match sealed {
        Some(sealed) => {
            scanned.end = sealed.min(len);
            scanned.damaged += skipped;
        }
        // Nothing follows: a write that a crash cut off, or nothing at all.
        None => scanned.torn = torn::<W>(file, epoch.number, scanned.end, limit).await?,
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
    sums: Sums,
}

impl Window {
    fn new(start: u64) -> Self {
        Self {
            start,
            octets: Vec::new(),
            at: 0,
            sums: Sums::default(),
        }
    }

    fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Looks for a record at the next octets. Those `behind_damage` are most likely none.
    fn find(&mut self, epoch: Epoch, room: u64, behind_damage: bool) -> Found<'_> {
        let Self {
            start,
            octets,
            at,
            sums,
        } = self;
        if !behind_damage {
            return record::find(&octets[*at..], epoch, room);
        }
        let payload = *at + record::HEADER_OCTETS;
        record::find_by(&octets[*at..], epoch, room, |crc, len| {
            sums.append(crc, octets, *start, (payload, payload + len))
        })
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
        let from = self.sums.forget_before(self.position());
        let gone = usize::try_from(from - self.start).unwrap_or_default();
        self.octets.drain(..gone);
        self.start = from;
        self.at -= gone;
        let position = self.start + self.octets.len() as u64;
        let room = usize::try_from(limit.saturating_sub(position)).unwrap_or(usize::MAX);
        // As much again as is kept: lengths that grow by little must not move it each time.
        let wanted = missing.max(READ_OCTETS).max(self.octets.len());
        let read = file.read_at(position, wanted.min(room)).await?;
        self.octets.extend_from_slice(&read);
        Ok(!read.is_empty() && read.len() >= missing.min(room))
    }
}

/// Where the epoch stands in a record.
const EPOCH_AT: usize = 5;
/// Octets read at a time: enough for the disk's speed, little for the memory.
const READ_OCTETS: usize = 1 << 20;
