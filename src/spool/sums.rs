//! Checksums of any stretch of a window at the cost of a short one.
//!
//! Behind damage, each place that looks like a record's header may announce a length of its own,
//! and whoever sends mail can write many of them: summed one by one, they cost the square of what
//! they take. CRC-32C is linear, so a stretch's checksum follows from two running ones.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Running checksums over octets of a file, as far as they were asked for.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Where in the file the first mark is.
    base: u64,
    /// The checksum from some earlier place to here, and to each [`BLOCK_OCTETS`] further on.
    marks: VecDeque<u32>,
    /// Octets that were gone over.
    summed: u64,
}

impl Sums {
    /// Continues the checksum `crc` over `octets[from..to]`; `octets` stand at `start` of the file.
    pub(super) fn append(
        &mut self,
        crc: u32,
        octets: &[u8],
        start: u64,
        (from, to): (usize, usize),
    ) -> u32 {
        let len = to - from;
        if len < SHORT_OCTETS {
            return self.sum(crc, &octets[from..to]);
        }
        if self.marks.is_empty() {
            self.base = start + from as u64;
            self.marks.push_back(0);
        }
        let before = self.up_to(octets, start, from);
        let after = self.up_to(octets, start, to);
        // What is before has the same part in both, and `crc` is to take its place.
        crc32c::crc32c_combine(crc ^ before, after, len)
    }

    /// Octets before `position` are not asked for any more. From where on they are needed for
    /// those behind.
    pub(super) fn forget_before(&mut self, position: u64) -> u64 {
        while self.marks.len() > 1 && self.base + BLOCK_OCTETS as u64 <= position {
            self.marks.pop_front();
            self.base += BLOCK_OCTETS as u64;
        }
        if self.marks.is_empty() || self.base + BLOCK_OCTETS as u64 <= position {
            self.marks.clear();
            return position;
        }
        self.base.min(position)
    }

    /// Octets that were gone over.
    pub(super) fn summed(&self) -> u64 {
        self.summed
    }

    /// The running checksum up to `octets[..end]`.
    fn up_to(&mut self, octets: &[u8], start: u64, end: usize) -> u32 {
        // The octets from the first mark on are here: see `forget_before`.
        let first = (self.base - start) as usize;
        let block = (end - first) / BLOCK_OCTETS;
        while self.marks.len() <= block {
            let at = first + (self.marks.len() - 1) * BLOCK_OCTETS;
            let last = self.marks.back().copied().unwrap_or_default();
            let mark = self.sum(last, &octets[at..at + BLOCK_OCTETS]);
            self.marks.push_back(mark);
        }
        let mark = self.marks[block];
        self.sum(mark, &octets[first + block * BLOCK_OCTETS..end])
    }

    fn sum(&mut self, crc: u32, octets: &[u8]) -> u32 {
        self.summed += octets.len() as u64;
        crc32c::crc32c_append(crc, octets)
    }
}

/// From one mark to the next: the marks take little beside the window.
const BLOCK_OCTETS: usize = 512;
/// Summed faster than two checksums are put together.
const SHORT_OCTETS: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::random::Random;

    #[test]
    fn any_stretch_has_the_checksum_that_it_has_alone() {
        for seed in 0..20 {
            let random = Random::new(seed);
            let file: Vec<u8> = (0..200_000).map(|_| random.below(256) as u8).collect();
            let (mut start, mut at, mut sums) = (0, 0, Sums::default());
            while at < file.len() {
                let to = at + random.below((file.len() - at) as u64 + 1) as usize;
                let crc = random.below(1 << 32) as u32;
                let found =
                    sums.append(crc, &file[start..], start as u64, (at - start, to - start));
                let alone = crc32c::crc32c_append(crc, &file[at..to]);
                assert_eq!(found, alone, "seed {seed}: {at}..{to}");
                at += 1 + random.below(3000) as usize;
                if random.permille(100) {
                    start = sums.forget_before(at.min(file.len()) as u64) as usize;
                    assert!(at.min(file.len()) - start < BLOCK_OCTETS);
                }
            }
        }
    }
}
