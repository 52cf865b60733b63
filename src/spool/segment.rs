//! A segment: a file of the log, its header, and how it is made and used again.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::layout;
use super::record::Epoch;
use crate::trial::{self, Bug};
use crate::world::{File as _, World};

/// Octets before a segment's first record.
pub(super) const HEADER_OCTETS: usize = 48;

/// The first octets of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The shard that writes it.
    pub shard: u16,
    /// Its number and its salt.
    pub epoch: Epoch,
    /// The salt of the segment before it: should that one's header be damaged, its records can
    /// still be told.
    pub previous_salt: u32,
    /// Where the segment before it ended: so that damage in that one is told from a torn tail.
    pub previous_len: u64,
    /// The last id that was given out: a clock that was set back must not repeat it.
    pub last_id: u64,
}

impl Header {
    /// `magic [8] | shard u16 | 0 u16 | number u32 | salt u32 | previous salt u32 |
    /// previous length u64 | last id u64 | crc u32 | 0 u32`
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEADER_OCTETS);
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&self.shard.to_le_bytes());
        octets.extend_from_slice(&[0; 2]);
        octets.extend_from_slice(&self.epoch.number.to_le_bytes());
        octets.extend_from_slice(&self.epoch.salt.to_le_bytes());
        octets.extend_from_slice(&self.previous_salt.to_le_bytes());
        octets.extend_from_slice(&self.previous_len.to_le_bytes());
        octets.extend_from_slice(&self.last_id.to_le_bytes());
        let crc = crc32c::crc32c(&octets);
        octets.extend_from_slice(&crc.to_le_bytes());
        octets.resize(HEADER_OCTETS, 0);
        octets
    }

    /// Reads a header; `None` when it is none.
    #[must_use]
    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<HEADER_OCTETS>()?;
        let (summed, rest) = octets.split_at(SUMMED_OCTETS);
        if !summed.starts_with(MAGIC) || !rest.starts_with(&crc32c::crc32c(summed).to_le_bytes()) {
            return None;
        }
        let u32_at = |at: usize| Some(u32::from_le_bytes(summed.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(summed.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            shard: u16::from_le_bytes([summed[8], summed[9]]),
            epoch: Epoch {
                number: u32_at(12)?,
                salt: u32_at(16)?,
            },
            previous_salt: u32_at(20)?,
            previous_len: u64_at(24)?,
            last_id: u64_at(32)?,
        })
    }
}

/// A segment as the log knows it.
pub(super) struct Segment<W: World> {
    /// `None` until its first batch is written.
    pub(super) file: Option<Rc<W::File>>,
    pub(super) salt: u32,
    /// Where its last record ends.
    pub(super) end: u64,
    /// Messages in it that are not settled, and octets of their records.
    pub(super) live: u32,
    pub(super) live_octets: u64,
    /// Octets that are written, with records or zeros: a write inside them changes no metadata,
    /// and its fdatasync costs a fraction.
    pub(super) filled: u64,
    /// Not all of it could be read: it is put aside, not used again.
    pub(super) damaged: bool,
}

impl<W: World> Segment<W> {
    /// One that is to be made.
    pub(super) const fn new(salt: u32) -> Self {
        Self {
            file: None,
            salt,
            end: HEADER_OCTETS as u64,
            live: 0,
            live_octets: 0,
            filled: 0,
            damaged: false,
        }
    }
}

/// Makes a segment's file, out of `spare` where there is one: blocks that are written already
/// make the fdatasync of each batch several times faster.
pub(super) async fn make<W: World>(
    world: &W,
    directory: &Path,
    header: Header,
    spare: Option<PathBuf>,
    durable: bool,
) -> io::Result<(W::File, u64)> {
    let path = layout::segment(directory, header.epoch.number);
    if let Some(spare) = &spare {
        world.rename(spare, &path).await?;
    }
    let file = world.open(&path, true).await?;
    file.write_at(header.encode(), 0).await?;
    let filled = file.len().await?;
    if durable {
        file.sync().await?;
        if !trial::has(Bug::SegmentNameNotSynced) {
            world.sync_directory(directory).await?;
        }
    }
    Ok((file, filled))
}

const MAGIC: &[u8; 8] = b"RINGPOST";
/// Octets that the checksum covers.
const SUMMED_OCTETS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_a_wrong_bit_is_none() {
        let header = Header {
            shard: 3,
            epoch: Epoch {
                number: 70_000,
                salt: 0xDEAD_BEEF,
            },
            previous_salt: 5,
            previous_len: 1 << 33,
            last_id: u64::MAX,
        };
        let octets = header.encode();
        assert_eq!(octets.len(), HEADER_OCTETS);
        assert_eq!(Header::decode(&octets), Some(header));
        for bit in 0..(SUMMED_OCTETS + 4) * 8 {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "{bit}");
        }
        assert_eq!(Header::decode(&octets[..20]), None);
    }
}
