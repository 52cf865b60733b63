//! A segment: a file of the log, its header, and how it is made and used again.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::layout;
use crate::world::{File as _, World};

/// Octets before a segment's first record.
pub(super) const HEADER_OCTETS: usize = 32;

/// The first octets of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The shard that writes it.
    pub shard: u16,
    /// Its number; also the epoch of its records.
    pub number: u32,
    /// Where the segment before it ended: so that damage in that one is told from a torn tail.
    pub previous_len: u64,
}

impl Header {
    /// `magic [8] | shard u16 | 0 u16 | number u32 | previous u64 | crc u32 | 0 u32`
    #[must_use]
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEADER_OCTETS);
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&self.shard.to_le_bytes());
        octets.extend_from_slice(&[0; 2]);
        octets.extend_from_slice(&self.number.to_le_bytes());
        octets.extend_from_slice(&self.previous_len.to_le_bytes());
        let crc = crc32c::crc32c(&octets);
        octets.extend_from_slice(&crc.to_le_bytes());
        octets.resize(HEADER_OCTETS, 0);
        octets
    }

    /// Reads a header; `None` when it is none.
    #[must_use]
    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        let crc = u32::from_le_bytes(octets.get(24..28)?.try_into().ok()?);
        if !octets.starts_with(MAGIC) || crc32c::crc32c(&octets[..24]) != crc {
            return None;
        }
        Some(Self {
            shard: u16::from_le_bytes(octets[8..10].try_into().ok()?),
            number: u32::from_le_bytes(octets[12..16].try_into().ok()?),
            previous_len: u64::from_le_bytes(octets[16..24].try_into().ok()?),
        })
    }
}

/// A segment as the log knows it.
pub(super) struct Segment<W: World> {
    /// `None` until its first batch is written.
    pub(super) file: Option<Rc<W::File>>,
    /// Where its last record ends.
    pub(super) end: u64,
    /// Messages in it that are not settled, and octets of their records.
    pub(super) live: u32,
    pub(super) live_octets: u64,
    /// Octets that are written, with records or zeros: a write inside them changes no metadata,
    /// and its fdatasync costs a fraction.
    pub(super) filled: u64,
}

impl<W: World> Default for Segment<W> {
    fn default() -> Self {
        Self {
            file: None,
            end: HEADER_OCTETS as u64,
            live: 0,
            live_octets: 0,
            filled: 0,
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
    let path = layout::segment(directory, header.number);
    if let Some(spare) = &spare {
        world.rename(spare, &path).await?;
    }
    let file = world.open(&path, true).await?;
    file.write_at(header.encode(), 0).await?;
    let filled = file.len().await?;
    if durable {
        file.sync().await?;
        world.sync_directory(directory).await?;
    }
    Ok((file, filled))
}

const MAGIC: &[u8; 8] = b"RINGPOST";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_a_wrong_bit_is_none() {
        let header = Header {
            shard: 3,
            number: 70_000,
            previous_len: 1 << 33,
        };
        let octets = header.encode();
        assert_eq!(octets.len(), HEADER_OCTETS);
        assert_eq!(Header::decode(&octets), Some(header));
        for bit in 0..28 * 8 {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "{bit}");
        }
        assert_eq!(Header::decode(&octets[..20]), None);
    }
}
