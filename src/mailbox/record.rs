//! Records of a folder's index: how what we know of its messages becomes octets and is found again
//! after a crash. Pure.
//!
//! ```text
//! checksum u32 | length u32 | batch u32 | kind u8, 3 zeros | payload | zeros to a multiple of 8
//! ```
//!
//! Little-endian. The checksum (CRC-32C) covers the place in the file, then everything behind
//! itself; so octets that were moved, or left from a file that was here before, are no record. Of
//! a `Kind::Items` it covers the head alone, so that a reader can pass over the payload: the
//! items in it have checksums of their own.

#![forbid(unsafe_code)]

use super::flags::{Flags, System};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// How the folder stands. The first record of a file, twice.
    Head(Head),
    /// Messages, in order of UID, as they stood when the file was written.
    Rows(Vec<Row>),
    /// Messages that came in.
    Added(Vec<Added>),
    /// Flags that were changed, and what they are now.
    Flagged {
        /// Of this change.
        modseq: u64,
        /// UID and flags.
        changes: Vec<(u32, Flags)>,
    },
    /// Messages that are gone, each with the modseq of its going.
    Expunged(Vec<(u64, u32)>),
    /// A keyword gets a place in the table.
    Keyword {
        /// Its bit.
        place: u8,
        /// Its name.
        name: String,
    },
    /// The directories were looked at, and are known up to here.
    Looked(Looked),
    /// Messages before this UID have been told of as recent.
    Recent(u32),
    /// A file has another name.
    Renamed {
        /// Of the message.
        uid: u32,
        /// See [`Row::bits`].
        bits: u8,
        /// The name now.
        name: String,
    },
    /// What a reader of a message wants to find again.
    Summary {
        /// Of the message.
        uid: u32,
        /// Opaque.
        octets: Vec<u8>,
    },
}

/// How a folder stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// RFC 9051 §2.3.1.1
    pub uid_validity: u32,
    /// The UID that the next message gets, or a lower one.
    pub uid_next: u32,
    /// Every change up to here has happened.
    pub highest_modseq: u64,
    /// Expunges are remembered from this modseq on.
    pub expunges_from: u64,
    /// See [`Record::Recent`].
    pub recent: u32,
    /// Of the hash of names.
    pub key: [u8; 16],
}

impl Head {
    /// False for one that was never written: neither number of a folder is 0 (RFC 9051 §9,
    /// nz-number).
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        self.uid_validity != 0 && self.uid_next != 0
    }
}

/// One message, in memory and on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Of the last change.
    pub modseq: u64,
    /// See [`Flags`].
    pub keywords: u64,
    /// Of the name without flags.
    pub hash: u64,
    /// Where in the index file the name stands.
    pub name_at: u64,
    /// Where in the index file the summary stands; 0 where there is none.
    pub summary_at: u64,
    /// Seconds since 1970: IMAP's internal date.
    pub saved: i64,
    /// RFC 9051 §2.3.1.1
    pub uid: u32,
    /// Octets with CRLF.
    pub size: u32,
    /// See [`Flags`].
    pub system: System,
    /// [`ODD`].
    pub bits: u8,
}

/// The file's name says other things than its flags, so it cannot be told from them.
pub const ODD: u8 = 1;

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Everything but the places in the file, which reading it finds.
    pub row: Row,
    /// The file's name.
    pub name: String,
}

/// When the directories changed last before we looked, in nanoseconds; [`Looked::NEVER`] where
/// another look is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// `cur`
    pub cur: i64,
    /// `new`
    pub new: i64,
}

impl Looked {
    /// No directory's time.
    pub const NEVER: i64 = i64::MIN;
}

impl Default for Looked {
    fn default() -> Self {
        Self {
            cur: Self::NEVER,
            new: Self::NEVER,
        }
    }
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A record.
    Record {
        /// Of the batch it was written in.
        batch: u32,
        /// What it says.
        record: Record,
        /// How many octets it takes.
        octets: usize,
    },
    /// Items, of which only the head was looked at.
    Items {
        /// How many octets they take with their head.
        octets: u64,
    },
    /// There may be a record, of so many octets.
    Longer(usize),
    /// There is none.
    Nothing,
}

impl Record {
    /// Appends this record, which will stand at `at`.
    pub fn encode(&self, batch: u32, at: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        out.resize(begin + HEAD_OCTETS, 0);
        let kind = self.put(out);
        let len = out.len() - begin - HEAD_OCTETS;
        out[begin..begin + HEAD_OCTETS].copy_from_slice(&head(len, batch, kind));
        let checksum = checksum(at, &out[begin + 4..]);
        out[begin..begin + 4].copy_from_slice(&checksum.to_le_bytes());
        out.resize(begin + padded(out.len() - begin), 0);
    }

    fn put(&self, out: &mut Vec<u8>) -> Kind {
        match self {
            Self::Head(head) => {
                put_u32(out, head.uid_validity);
                put_u32(out, head.uid_next);
                put_u64(out, head.highest_modseq);
                put_u64(out, head.expunges_from);
                put_u32(out, head.recent);
                out.extend_from_slice(&head.key);
                Kind::Head
            }
            Self::Rows(rows) => {
                for row in rows {
                    row.put(out);
                }
                Kind::Rows
            }
            Self::Added(messages) => {
                for message in messages {
                    message.row.put(out);
                    put_item(out, message.name.as_bytes());
                }
                Kind::Added
            }
            Self::Flagged { modseq, changes } => {
                put_u64(out, *modseq);
                for (uid, flags) in changes {
                    put_u32(out, *uid);
                    put_u64(out, flags.keywords);
                    out.push(flags.system.bits());
                }
                Kind::Flagged
            }
            Self::Expunged(gone) => {
                for (modseq, uid) in gone {
                    put_u64(out, *modseq);
                    put_u32(out, *uid);
                }
                Kind::Expunged
            }
            Self::Keyword { place, name } => {
                out.push(*place);
                put_item(out, name.as_bytes());
                Kind::Keyword
            }
            Self::Looked(looked) => {
                out.extend_from_slice(&looked.cur.to_le_bytes());
                out.extend_from_slice(&looked.new.to_le_bytes());
                Kind::Looked
            }
            Self::Recent(uid) => {
                put_u32(out, *uid);
                Kind::Recent
            }
            Self::Renamed { uid, bits, name } => {
                put_u32(out, *uid);
                out.push(*bits);
                put_item(out, name.as_bytes());
                Kind::Renamed
            }
            Self::Summary { uid, octets } => {
                put_u32(out, *uid);
                put_item(out, octets);
                Kind::Summary
            }
        }
    }

    /// Reads the payload that stands at `at`.
    fn read(kind: u8, payload: &[u8], at: u64) -> Option<Self> {
        let mut reader = Reader {
            octets: payload,
            at,
        };
        let reader = &mut reader;
        let record = match Kind::from_octet(kind)? {
            Kind::Head => Self::Head(Head {
                uid_validity: reader.u32()?,
                uid_next: reader.u32()?,
                highest_modseq: reader.u64()?,
                expunges_from: reader.u64()?,
                recent: reader.u32()?,
                key: reader.array()?,
            }),
            Kind::Rows => {
                let mut rows = Vec::with_capacity(payload.len() / ROW_OCTETS);
                while !reader.octets.is_empty() {
                    rows.push(Row::read(reader)?);
                }
                Self::Rows(rows)
            }
            Kind::Added => Self::Added(reader.many(|reader| {
                let mut row = Row::read(reader)?;
                row.name_at = reader.at;
                let name = reader.text()?;
                Some(Added { row, name })
            })?),
            Kind::Flagged => Self::Flagged {
                modseq: reader.u64()?,
                changes: reader.many(|reader| {
                    let (uid, keywords) = (reader.u32()?, reader.u64()?);
                    let system = System::from_bits(reader.u8()?);
                    Some((uid, Flags { system, keywords }))
                })?,
            },
            Kind::Expunged => {
                Self::Expunged(reader.many(|reader| Some((reader.u64()?, reader.u32()?)))?)
            }
            Kind::Keyword => Self::Keyword {
                place: reader.u8()?,
                name: reader.text()?,
            },
            Kind::Looked => Self::Looked(Looked {
                cur: i64::from_le_bytes(reader.array()?),
                new: i64::from_le_bytes(reader.array()?),
            }),
            Kind::Recent => Self::Recent(reader.u32()?),
            Kind::Renamed => Self::Renamed {
                uid: reader.u32()?,
                bits: reader.u8()?,
                name: reader.text()?,
            },
            Kind::Summary => Self::Summary {
                uid: reader.u32()?,
                octets: reader.item()?.to_vec(),
            },
            Kind::Items => return None,
        };
        reader.octets.is_empty().then_some(record)
    }
}

/// Looks at the octets that stand at `at` of a file.
#[must_use]
pub fn find(octets: &[u8], at: u64) -> Found {
    let Some((head, rest)) = octets.split_first_chunk::<HEAD_OCTETS>() else {
        return Found::Longer(HEAD_OCTETS);
    };
    let word = |place: usize| {
        u32::from_le_bytes([
            head[place],
            head[place + 1],
            head[place + 2],
            head[place + 3],
        ])
    };
    let (sum, len, batch, kind) = (word(0), word(4) as usize, word(8), head[12]);
    if Kind::from_octet(kind).is_none() || head[13..] != [0; 3] || len > PAYLOAD_OCTETS_MAX {
        return Found::Nothing;
    }
    if kind == Kind::Items as u8 {
        return match checksum(at, &head[4..]) == sum {
            true => Found::Items {
                octets: padded(HEAD_OCTETS + len) as u64,
            },
            false => Found::Nothing,
        };
    }
    let whole = padded(HEAD_OCTETS + len);
    if octets.len() < whole {
        return Found::Longer(whole);
    }
    if checksum(at, &octets[4..HEAD_OCTETS + len]) != sum {
        return Found::Nothing;
    }
    match Record::read(kind, &rest[..len], at + HEAD_OCTETS as u64) {
        Some(record) => Found::Record {
            batch,
            record,
            octets: whole,
        },
        None => Found::Nothing,
    }
}

/// Items one after the other: the names and summaries of a file that was written anew.
#[derive(Default)]
pub struct Items {
    octets: Vec<u8>,
}

impl Items {
    /// Adds an item; its place, counted from the first.
    pub fn push(&mut self, octets: &[u8]) -> u64 {
        let at = self.octets.len() as u64;
        put_item(&mut self.octets, octets);
        at
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The record, which will stand at `at`. The first item is [`HEAD_OCTETS`] behind.
    #[must_use]
    pub fn encode(self, batch: u32, at: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(padded(HEAD_OCTETS + self.octets.len()));
        out.extend_from_slice(&head(self.octets.len(), batch, Kind::Items));
        let checksum = checksum(at, &out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&self.octets);
        out.resize(padded(out.len()), 0);
        out
    }
}

/// The octets of the item that begins here, or how many are needed to see it whole.
pub fn item(octets: &[u8]) -> Result<&[u8], Option<usize>> {
    let Some((head, rest)) = octets.split_first_chunk::<ITEM_HEAD_OCTETS>() else {
        return Err(Some(ITEM_HEAD_OCTETS));
    };
    let mut reader = Reader {
        octets: head,
        at: 0,
    };
    let (Some(len), Some(sum)) = (reader.u32(), reader.u32()) else {
        return Err(None);
    };
    let len = len as usize;
    if len > PAYLOAD_OCTETS_MAX {
        return Err(None);
    }
    match rest.get(..len) {
        Some(found) if crc32c::crc32c(found) == sum => Ok(found),
        Some(_) => Err(None),
        None => Err(Some(ITEM_HEAD_OCTETS + len)),
    }
}

impl Row {
    fn put(&self, out: &mut Vec<u8>) {
        for number in [
            self.modseq,
            self.keywords,
            self.hash,
            self.name_at,
            self.summary_at,
        ] {
            put_u64(out, number);
        }
        out.extend_from_slice(&self.saved.to_le_bytes());
        put_u32(out, self.uid);
        put_u32(out, self.size);
        out.extend_from_slice(&[self.system.bits(), self.bits, 0, 0, 0, 0, 0, 0]);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let octets: &[u8; ROW_OCTETS] = reader.take(ROW_OCTETS)?.try_into().ok()?;
        let (words, _) = octets.as_chunks::<8>();
        let word = |place: usize| u64::from_le_bytes(words[place]);
        let [a, b, c, d, e, f, g, h] = words[6];
        Some(Self {
            modseq: word(0),
            keywords: word(1),
            hash: word(2),
            name_at: word(3),
            summary_at: word(4),
            saved: i64::from_le_bytes(words[5]),
            uid: u32::from_le_bytes([a, b, c, d]),
            size: u32::from_le_bytes([e, f, g, h]),
            system: System::from_bits(words[7][0]),
            bits: words[7][1],
        })
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Head = 1,
    Rows = 2,
    Items = 3,
    Added = 4,
    Flagged = 5,
    Expunged = 6,
    Keyword = 7,
    Looked = 8,
    Recent = 9,
    Renamed = 10,
    Summary = 11,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        KINDS.into_iter().find(|kind| *kind as u8 == octet)
    }
}

const KINDS: [Kind; 11] = [
    Kind::Head,
    Kind::Rows,
    Kind::Items,
    Kind::Added,
    Kind::Flagged,
    Kind::Expunged,
    Kind::Keyword,
    Kind::Looked,
    Kind::Recent,
    Kind::Renamed,
    Kind::Summary,
];

fn head(len: usize, batch: u32, kind: Kind) -> [u8; HEAD_OCTETS] {
    let mut head = [0; HEAD_OCTETS];
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..12].copy_from_slice(&batch.to_le_bytes());
    head[12] = kind as u8;
    head
}

fn checksum(at: u64, octets: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&at.to_le_bytes()), octets)
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_item(out: &mut Vec<u8>, octets: &[u8]) {
    put_u32(out, u32::try_from(octets.len()).unwrap_or(u32::MAX));
    put_u32(out, crc32c::crc32c(octets));
    out.extend_from_slice(octets);
}

/// Reads values from the front; `None` where there is no such value.
struct Reader<'a> {
    octets: &'a [u8],
    /// Where in the file the next one stands.
    at: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.octets.split_at_checked(len)?;
        self.octets = rest;
        self.at += len as u64;
        Some(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        self.take(LEN)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn item(&mut self) -> Option<&'a [u8]> {
        let found = item(self.octets).ok()?;
        self.take(ITEM_HEAD_OCTETS + found.len())?;
        Some(found)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.item()?.to_vec()).ok()
    }

    /// As many as there are.
    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while !self.octets.is_empty() {
            all.push(one(self)?);
        }
        Some(all)
    }
}

/// Of a record.
pub const HEAD_OCTETS: usize = 16;
/// Of a row.
pub const ROW_OCTETS: usize = 64;
/// Records begin at multiples of it: where one is damaged, the next is looked for only there.
pub const ALIGNMENT: usize = 8;
/// Of a record's payload.
pub const PAYLOAD_OCTETS_MAX: usize = 64 << 20;
const ITEM_HEAD_OCTETS: usize = 8;

#[cfg(test)]
mod tests;
