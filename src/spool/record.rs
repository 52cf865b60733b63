//! The records of the log, as octets. Pure: no file, no clock.
//!
//! `len u32 | kind u8 | epoch u32 | crc u32 | payload`, little-endian. The epoch is the number of
//! the segment, and the checksum starts from the segment's salt: octets left by an earlier use of
//! a file are not taken for records, whatever a sender put into them. The manual has the payloads,
//! octet by octet ([`crate::manual::spool`]).

#![forbid(unsafe_code)]

use super::codec::{
    Reader, count, notify, notify_bits, put_diagnosis, put_octets, put_places, put_standing,
    put_text, put_u16, put_u32, put_u64,
};
use crate::mail::Locator;
use crate::mail::envelope::{BodyKind, Content, Envelope, QueueId, Recipient, Ret, Standing};
use crate::mail::outcome::Diagnosis;
use crate::mail::outcome::ReportKind;
use crate::time::Wall;
use crate::trial::{self, Bug};
use crate::wire::path::{Mailbox, ReversePath};

/// Octets before a record's payload.
pub const HEADER_OCTETS: usize = 13;

/// What ties records to their segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// The segment's number.
    pub number: u32,
    /// Drawn for the segment, and where the checksum of its records starts. Numbers can be
    /// guessed: without a salt, a message could carry octets that pass for records of a segment
    /// its file is used for later.
    pub salt: u32,
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
    /// Nobody has tried.
    pub const FRESH: Self = Self::Pending {
        attempts: 0,
        due: None,
        doubtful: false,
        diagnosis: None,
        delay_told: false,
    };
}

/// What a message that is written again takes along, in the same record: a crash keeps both or
/// neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Held by an operator.
    pub held: bool,
    /// Removed by an operator, who can put it back until then.
    pub removed_until: Option<Wall>,
    /// One for each recipient of the envelope.
    pub recipients: Vec<RecipientState>,
}

/// A message to be accepted.
pub struct Accepted<'a> {
    /// Its name.
    pub id: QueueId,
    /// When it came.
    pub arrival: Wall,
    /// Who sent it, to whom.
    pub envelope: &'a Envelope,
    /// What was seen of it.
    pub content: &'a Content,
    /// Our trace fields, in wire form.
    pub trace: &'a [u8],
    /// Header and body, in wire form.
    pub body: BodyRef<'a>,
    /// For a report: what it settles, in the same instant as it is accepted.
    pub reports: Option<Reports<'a>>,
}

/// Where an accepted message's content is.
#[derive(Clone, Copy)]
pub enum BodyRef<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// So many octets in a file of its own.
    Extent(u64),
}

/// What a report tells, of which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports<'a> {
    /// The message it is about.
    pub message: QueueId,
    /// Its recipients that it tells of.
    pub recipients: &'a [u16],
    /// What it tells: a failure settles them.
    pub kind: ReportKind,
}

/// What became of recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// The next hop has it.
    Delivered {
        /// The message.
        id: QueueId,
        /// Its place in the envelope.
        recipient: u16,
    },
    /// Failed without a report.
    Failed {
        /// The message.
        id: QueueId,
        /// Its place in the envelope.
        recipient: u16,
    },
    /// Removed by an operator.
    Removed {
        /// The message.
        id: QueueId,
        /// Its place in the envelope.
        recipient: u16,
    },
    /// Waits for another attempt.
    Deferred {
        /// The message.
        id: QueueId,
        /// Their places in the envelope.
        recipients: &'a [u16],
        /// Attempts counted.
        attempts: u16,
        /// Not before.
        due: Wall,
        /// Why.
        diagnosis: &'a Diagnosis,
        /// The peer may hold a copy.
        doubtful: bool,
    },
    /// Held by an operator, or let go.
    Held {
        /// The message.
        id: QueueId,
        /// Which of them.
        held: bool,
    },
    /// The sender knows that it waits.
    DelayTold {
        /// The message.
        id: QueueId,
    },
    /// Removed by an operator, or put back.
    Binned {
        /// The message.
        id: QueueId,
        /// Until when it can be put back; `None` when it was.
        until: Option<Wall>,
    },
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A message.
    Accept(Box<Stored>),
    /// A message that was written again, with all that was known of it.
    Moved(Box<Stored>, Carried),
    /// Recipients that need nothing more.
    Settled {
        /// The message.
        id: QueueId,
        /// Its place in the envelope.
        recipient: u16,
    },
    /// Recipients that wait.
    Deferred {
        /// The message.
        id: QueueId,
        /// Their places in the envelope.
        recipients: Vec<u16>,
        /// Attempts counted.
        attempts: u16,
        /// Not before.
        due: Wall,
        /// Why.
        diagnosis: Diagnosis,
        /// The peer may hold a copy.
        doubtful: bool,
    },
    /// Held, or let go.
    Held {
        /// The message.
        id: QueueId,
        /// Which of them.
        held: bool,
    },
    /// The sender knows that it waits.
    DelayTold {
        /// The message.
        id: QueueId,
    },
    /// Removed by an operator, or put back.
    Binned {
        /// The message.
        id: QueueId,
        /// Until when it can be put back; `None` when it was.
        until: Option<Wall>,
    },
    /// Octets that could not be read once, and need not be read again.
    Void,
}

/// A message as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub id: QueueId,
    /// When it came.
    pub arrival: Wall,
    /// Who sent it, to whom.
    pub envelope: Envelope,
    /// What was seen of it.
    pub content: Content,
    /// Our trace fields, in wire form.
    pub trace: Vec<u8>,
    /// Header and body, in wire form.
    pub body: StoredBody,
    /// For a report: message, recipients and kind of what it settles.
    pub reports: Option<(QueueId, Vec<u16>, ReportKind)>,
}

/// Content as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredBody {
    /// In the record.
    Inline(Vec<u8>),
    /// So many octets in a file of its own.
    Extent(u64),
}

/// What stands at a place in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A record of this kind, and octets of it with its header.
    Whole(u8, &'a [u8], usize),
    /// The record is longer than what is here: so many octets in all.
    More(usize),
    /// No record: the end, or damage.
    Nothing,
}

/// Appends a record: `payload` writes what stands behind the header.
pub fn append(out: &mut Vec<u8>, kind: u8, epoch: Epoch, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_OCTETS]);
    payload(out);
    let len = out.len() - start - HEADER_OCTETS;
    // Records are bounded far below 4 GiB by the limits on recipients and inline content.
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4] = kind;
    out[start + 5..start + 9].copy_from_slice(&epoch.number.to_le_bytes());
    let crc = checksum(&out[start..], epoch.salt);
    out[start + 9..start + HEADER_OCTETS].copy_from_slice(&crc.to_le_bytes());
}

/// The header that makes a void record of octets; `None` when they are fewer than one takes.
#[must_use]
pub fn void_head(octets: Vec<u8>, epoch: Epoch) -> Option<Vec<u8>> {
    let payload = octets.get(HEADER_OCTETS..)?;
    let mut record = Vec::with_capacity(octets.len());
    append(&mut record, KIND_VOID, epoch, |out| {
        out.extend_from_slice(payload);
    });
    record.truncate(HEADER_OCTETS);
    Some(record)
}

/// Looks for a record of segment `epoch` at the beginning of `octets`. `room` is what is left of
/// the segment: no record is longer.
#[must_use]
pub fn find(octets: &[u8], epoch: Epoch, room: u64) -> Found<'_> {
    find_by(octets, epoch, room, |crc, len| {
        crc32c::crc32c_append(crc, &octets[HEADER_OCTETS..HEADER_OCTETS + len])
    })
}

/// The same, where `append` continues a checksum over a payload of so many octets.
pub(super) fn find_by(
    octets: &[u8],
    epoch: Epoch,
    room: u64,
    append: impl FnOnce(u32, usize) -> u32,
) -> Found<'_> {
    let Some(header) = octets.first_chunk::<HEADER_OCTETS>() else {
        return Found::More(HEADER_OCTETS);
    };
    let [l0, l1, l2, l3, kind, e0, e1, e2, e3, c0, c1, c2, c3] = *header;
    let len = u64::from(u32::from_le_bytes([l0, l1, l2, l3])) + HEADER_OCTETS as u64;
    let room = room - u64::from(trial::has(Bug::TailOffByOne));
    if u32::from_le_bytes([e0, e1, e2, e3]) != epoch.number || kind == 0 || len > room {
        return Found::Nothing;
    }
    let Ok(len) = usize::try_from(len) else {
        return Found::Nothing;
    };
    let Some(record) = octets.get(..len) else {
        return Found::More(len);
    };
    let payload = &record[HEADER_OCTETS..];
    let crc = append(head_checksum(record, epoch.salt), payload.len());
    if crc != u32::from_le_bytes([c0, c1, c2, c3]) && !trial::has(Bug::ChecksumIgnored) {
        return Found::Nothing;
    }
    Found::Whole(kind, payload, len)
}

/// Over all but the checksum itself.
fn checksum(record: &[u8], salt: u32) -> u32 {
    crc32c::crc32c_append(head_checksum(record, salt), &record[HEADER_OCTETS..])
}

/// Of that, what comes before the payload.
fn head_checksum(record: &[u8], salt: u32) -> u32 {
    crc32c::crc32c_append(salt, &record[..9])
}

impl Accepted<'_> {
    /// Appends its record; with what it carries, when it is written again.
    pub fn append_to(&self, out: &mut Vec<u8>, epoch: Epoch, carried: Option<&Carried>) {
        match carried {
            None => append(out, KIND_ACCEPT, epoch, |out| self.payload(out)),
            Some(carried) => append(out, KIND_MOVED, epoch, |out| {
                put_carried(out, carried);
                self.payload(out);
            }),
        }
    }

    fn payload(&self, out: &mut Vec<u8>) {
        let Self {
            envelope, content, ..
        } = self;
        put_u64(out, self.id.0);
        put_u64(out, self.arrival.0.cast_unsigned());
        let mut flags = 0;
        for (bit, set) in [
            (EXTENT, matches!(self.body, BodyRef::Extent(_))),
            (REPORTS, self.reports.is_some()),
            (SMTPUTF8, envelope.smtputf8),
            (EIGHT_BIT_MIME, envelope.body == BodyKind::EightBit),
            (RET_FULL, envelope.ret == Some(Ret::Full)),
            (RET_HEADERS, envelope.ret == Some(Ret::Headers)),
            (STUFFED, content.stuffed),
            (EIGHT_BIT, content.eight_bit),
            (EIGHT_BIT_HEADER, content.eight_bit_header),
            (DATE, content.date),
            (REQUIRE_TLS, envelope.require_tls),
            (TLS_OPTIONAL, content.tls_optional),
            (STANDING, !envelope.standing.is_usual()),
        ] {
            flags |= if set { bit } else { 0 };
        }
        put_u32(out, flags);
        put_u64(out, content.size);
        put_u32(out, content.longest_line);
        put_u32(out, content.received);
        put_u32(out, content.header_len);
        put_text(out, content.message_id.as_deref().unwrap_or_default());
        let nobody = match trial::has(Bug::NullSenderKeptWrong) {
            true => "postmaster@localhost",
            false => "",
        };
        let sender = envelope.reverse_path.0.as_ref();
        put_text(out, sender.map_or(nobody, Mailbox::as_str));
        put_text(out, envelope.envid.as_deref().unwrap_or_default());
        if !envelope.standing.is_usual() {
            put_standing(out, &envelope.standing);
        }
        put_u16(out, count(envelope.recipients.len()));
        for recipient in &envelope.recipients {
            put_text(out, recipient.mailbox.as_str());
            put_text(out, recipient.orcpt.as_deref().unwrap_or_default());
            let expanded = if recipient.expanded { EXPANDED } else { 0 };
            out.push(notify_bits(recipient.notify) | expanded);
        }
        if let Some(reports) = &self.reports {
            put_u64(out, reports.message.0);
            out.push(report_code(reports.kind));
            put_places(out, reports.recipients);
        }
        put_octets(out, self.trace);
        match self.body {
            BodyRef::Inline(octets) => put_octets(out, octets),
            BodyRef::Extent(len) => put_u64(out, len),
        }
    }
}

impl Note<'_> {
    /// Appends its record.
    pub fn append_to(&self, out: &mut Vec<u8>, epoch: Epoch) {
        match *self {
            Self::Delivered { id, recipient } => settled(out, epoch, id, recipient, DELIVERED),
            Self::Failed { id, recipient } => settled(out, epoch, id, recipient, FAILED),
            Self::Removed { id, recipient } => settled(out, epoch, id, recipient, REMOVED),
            Self::Deferred {
                id,
                recipients,
                attempts,
                due,
                diagnosis,
                doubtful,
            } => append(out, KIND_DEFERRED, epoch, |out| {
                put_u64(out, id.0);
                put_places(out, recipients);
                put_u16(out, attempts);
                put_u64(out, due.0.cast_unsigned());
                out.push(u8::from(doubtful));
                put_diagnosis(out, diagnosis);
            }),
            Self::Held { id, held } => append(out, KIND_HELD, epoch, |out| {
                put_u64(out, id.0);
                out.push(u8::from(held));
            }),
            Self::DelayTold { id } => append(out, KIND_DELAY_TOLD, epoch, |out| put_u64(out, id.0)),
            Self::Binned { id, until } => append(out, KIND_BINNED, epoch, |out| {
                put_u64(out, id.0);
                put_u64(out, until.map_or(0, |until| until.0.cast_unsigned()));
            }),
        }
    }
}

fn settled(out: &mut Vec<u8>, epoch: Epoch, id: QueueId, recipient: u16, fate: u8) {
    append(out, KIND_SETTLED, epoch, |out| {
        put_u64(out, id.0);
        put_u16(out, recipient);
        out.push(fate);
    });
}

impl Record {
    /// Reads a payload; `None` when it is none of `kind`.
    #[must_use]
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut rest = Reader(payload);
        let record = match kind {
            KIND_VOID => return Some(Self::Void),
            KIND_ACCEPT => Self::Accept(Box::new(stored(&mut rest)?)),
            KIND_MOVED => {
                let carried = rest.carried()?;
                let stored = Box::new(stored(&mut rest)?);
                if stored.envelope.recipients.len() != carried.recipients.len() {
                    return None;
                }
                Self::Moved(stored, carried)
            }
            KIND_SETTLED => {
                let (id, recipient) = (QueueId(rest.u64()?), rest.u16()?);
                // Which fate it was is for whoever reads the log with other tools.
                rest.u8()?;
                Self::Settled { id, recipient }
            }
            KIND_DEFERRED => Self::Deferred {
                id: QueueId(rest.u64()?),
                recipients: rest.places()?,
                attempts: rest.u16()?,
                due: Wall(rest.u64()?.cast_signed()),
                doubtful: rest.u8()? != 0,
                diagnosis: rest.diagnosis()?,
            },
            KIND_HELD => Self::Held {
                id: QueueId(rest.u64()?),
                held: rest.u8()? != 0,
            },
            KIND_DELAY_TOLD => Self::DelayTold {
                id: QueueId(rest.u64()?),
            },
            KIND_BINNED => Self::Binned {
                id: QueueId(rest.u64()?),
                until: Some(Wall(rest.u64()?.cast_signed())).filter(|until| until.0 != 0),
            },
            _ => return None,
        };
        rest.0.is_empty().then_some(record)
    }
}

/// The message at a place in the log; `None` when what stands there is none.
#[must_use]
pub fn read_accept(octets: &[u8], locator: Locator, salt: u32) -> Option<Stored> {
    let epoch = Epoch {
        number: locator.segment,
        salt,
    };
    let Found::Whole(kind, payload, _) = find(octets, epoch, locator.len.into()) else {
        return None;
    };
    match Record::decode(kind, payload)? {
        Record::Accept(stored) | Record::Moved(stored, _) => Some(*stored),
        _ => None,
    }
}

fn recipients(rest: &mut Reader<'_>) -> Option<Vec<Recipient>> {
    let count = rest.u16()?;
    // A count that lies ends at the first recipient that is not there.
    let mut recipients = Vec::with_capacity(usize::from(count).min(rest.0.len() / 9));
    for _ in 0..count {
        let mailbox = Mailbox::parse(rest.text()?.as_bytes(), true).ok()?;
        let (orcpt, bits) = (rest.optional_text()?, rest.u8()?);
        recipients.push(Recipient {
            mailbox,
            notify: notify(bits),
            orcpt,
            expanded: bits & EXPANDED != 0,
        });
    }
    Some(recipients)
}

fn stored(rest: &mut Reader<'_>) -> Option<Stored> {
    let id = QueueId(rest.u64()?);
    let arrival = Wall(rest.u64()?.cast_signed());
    let flags = rest.u32()?;
    let has = |bit: u32| flags & bit != 0;
    let mut content = Content {
        size: rest.u64()?,
        longest_line: rest.u32()?,
        received: rest.u32()?,
        header_len: rest.u32()?,
        stuffed: has(STUFFED),
        eight_bit: has(EIGHT_BIT),
        eight_bit_header: has(EIGHT_BIT_HEADER),
        date: has(DATE),
        tls_optional: has(TLS_OPTIONAL),
        message_id: None,
        delivered_to: Vec::new(),
    };
    content.message_id = rest.optional_text()?;
    let reverse_path = match rest.text()? {
        "" => None,
        text => Some(Mailbox::parse(text.as_bytes(), true).ok()?),
    };
    let envid = rest.optional_text()?;
    let standing = match has(STANDING) {
        true => rest.standing()?,
        false => Standing::default(),
    };
    let recipients = recipients(rest)?;
    let reports = if has(REPORTS) {
        let (message, kind) = (QueueId(rest.u64()?), report_kind(rest.u8()?)?);
        Some((message, rest.places()?, kind))
    } else {
        None
    };
    let ret = match (has(RET_FULL), has(RET_HEADERS)) {
        (true, _) => Some(Ret::Full),
        (_, true) => Some(Ret::Headers),
        _ => None,
    };
    Some(Stored {
        id,
        arrival,
        envelope: Envelope {
            reverse_path: ReversePath(reverse_path),
            ret,
            envid,
            body: if has(EIGHT_BIT_MIME) {
                BodyKind::EightBit
            } else {
                BodyKind::SevenBit
            },
            smtputf8: has(SMTPUTF8),
            require_tls: has(REQUIRE_TLS),
            standing,
            recipients,
        },
        content,
        reports,
        trace: rest.octets()?.to_vec(),
        body: if has(EXTENT) {
            StoredBody::Extent(rest.u64()?)
        } else {
            StoredBody::Inline(rest.octets()?.to_vec())
        },
    })
}

impl Stored {
    /// The same message, to be written again.
    #[must_use]
    pub fn as_accepted(&self) -> Accepted<'_> {
        Accepted {
            id: self.id,
            arrival: self.arrival,
            envelope: &self.envelope,
            content: &self.content,
            trace: &self.trace,
            body: match &self.body {
                StoredBody::Inline(octets) => BodyRef::Inline(octets),
                StoredBody::Extent(len) => BodyRef::Extent(*len),
            },
            reports: self
                .reports
                .as_ref()
                .map(|(message, recipients, kind)| Reports {
                    message: *message,
                    recipients,
                    kind: *kind,
                }),
        }
    }
}

fn put_carried(out: &mut Vec<u8>, carried: &Carried) {
    let binned = if carried.removed_until.is_some() {
        CARRIED_BINNED
    } else {
        0
    };
    out.push(u8::from(carried.held) | binned);
    if let Some(until) = carried.removed_until {
        put_u64(out, until.0.cast_unsigned());
    }
    put_u16(out, count(carried.recipients.len()));
    for state in &carried.recipients {
        let RecipientState::Pending {
            attempts,
            due,
            doubtful,
            diagnosis,
            delay_told,
        } = state
        else {
            out.push(STATE_SETTLED);
            continue;
        };
        let mut flags = 0;
        for (bit, set) in [
            (STATE_DOUBTFUL, *doubtful),
            (STATE_TOLD, *delay_told),
            (STATE_DUE, due.is_some()),
            (STATE_DIAGNOSIS, diagnosis.is_some()),
        ] {
            flags |= if set { bit } else { 0 };
        }
        out.push(flags);
        put_u16(out, *attempts);
        if let Some(due) = due {
            put_u64(out, due.0.cast_unsigned());
        }
        if let Some(diagnosis) = diagnosis {
            put_diagnosis(out, diagnosis);
        }
    }
}

impl Reader<'_> {
    fn carried(&mut self) -> Option<Carried> {
        let flags = self.u8()?;
        let removed_until = match flags & CARRIED_BINNED {
            0 => None,
            _ => Some(Wall(self.u64()?.cast_signed())),
        };
        let count = self.u16()?;
        let mut recipients = Vec::with_capacity(usize::from(count).min(self.0.len()));
        for _ in 0..count {
            recipients.push(self.recipient_state()?);
        }
        Some(Carried {
            held: flags & CARRIED_HELD != 0,
            removed_until,
            recipients,
        })
    }

    fn recipient_state(&mut self) -> Option<RecipientState> {
        let flags = self.u8()?;
        let has = |bit: u8| flags & bit != 0;
        if has(STATE_SETTLED) {
            return Some(RecipientState::Settled);
        }
        Some(RecipientState::Pending {
            attempts: self.u16()?,
            due: if has(STATE_DUE) {
                Some(Wall(self.u64()?.cast_signed()))
            } else {
                None
            },
            doubtful: has(STATE_DOUBTFUL),
            diagnosis: if has(STATE_DIAGNOSIS) {
                Some(self.diagnosis()?)
            } else {
                None
            },
            delay_told: has(STATE_TOLD),
        })
    }
}

fn report_code(kind: ReportKind) -> u8 {
    match kind {
        ReportKind::Failure => 1,
        ReportKind::Delay => 2,
        ReportKind::Success => 3,
    }
}

fn report_kind(code: u8) -> Option<ReportKind> {
    match code {
        1 => Some(ReportKind::Failure),
        2 => Some(ReportKind::Delay),
        3 => Some(ReportKind::Success),
        _ => None,
    }
}

// Kinds of record. 0 is none: a file begins as zeros.
const KIND_ACCEPT: u8 = 1;
const KIND_SETTLED: u8 = 2;
const KIND_DEFERRED: u8 = 3;
const KIND_HELD: u8 = 4;
const KIND_DELAY_TOLD: u8 = 5;
const KIND_MOVED: u8 = 6;
const KIND_VOID: u8 = 7;
const KIND_BINNED: u8 = 8;

// Flags of what a message carries along.
const CARRIED_HELD: u8 = 1;
const CARRIED_BINNED: u8 = 1 << 1;

// Flags of a recipient's state.
const STATE_SETTLED: u8 = 1;
const STATE_DOUBTFUL: u8 = 1 << 1;
const STATE_TOLD: u8 = 1 << 2;
const STATE_DUE: u8 = 1 << 3;
const STATE_DIAGNOSIS: u8 = 1 << 4;

// Fates of a settled recipient.
const DELIVERED: u8 = 1;
const FAILED: u8 = 2;
const REMOVED: u8 = 3;

// Flags of an accepted message.
const EXTENT: u32 = 1;
const REPORTS: u32 = 1 << 1;
const SMTPUTF8: u32 = 1 << 2;
const EIGHT_BIT_MIME: u32 = 1 << 3;
const RET_FULL: u32 = 1 << 4;
const RET_HEADERS: u32 = 1 << 5;
const STUFFED: u32 = 1 << 6;
const EIGHT_BIT: u32 = 1 << 7;
const EIGHT_BIT_HEADER: u32 = 1 << 8;
const DATE: u32 = 1 << 9;
const REQUIRE_TLS: u32 = 1 << 10;
const TLS_OPTIONAL: u32 = 1 << 11;
const STANDING: u32 = 1 << 12;

/// Beside NOTIFY: the recipient is an alias that was followed.
const EXPANDED: u8 = 1 << 4;

#[cfg(test)]
mod tests;
