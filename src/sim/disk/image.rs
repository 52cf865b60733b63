//! What is in a file: as running code sees it, and as a power cut leaves it.

use std::collections::{BTreeMap, BTreeSet};

use crate::trial;

#[derive(Default)]
pub(super) struct Inode {
    pub(super) live: Image,
    pub(super) durable: Image,
    pub(super) modified: i64,
    /// Sectors of `live` that no sync has made durable.
    pub(super) dirty: BTreeSet<u64>,
}

/// The content of a file; pages never written are zero and take no room.
#[derive(Default)]
pub(super) struct Image {
    pub(super) pages: BTreeMap<u64, Box<[u8; PAGE_OCTETS]>>,
    pub(super) len: u64,
}

impl Inode {
    pub(super) fn write(&mut self, position: u64, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        self.live.write(position, octets);
        let last = (position + octets.len() as u64 - 1) / SECTOR_OCTETS;
        self.dirty.extend(position / SECTOR_OCTETS..=last);
    }

    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let Self {
            live,
            durable,
            dirty,
            ..
        } = self;
        if live.len != durable.len && random.below(2) == 0 {
            durable.set_len(live.len);
        }
        // One cut in four keeps all or nothing; the others draw for each sector.
        let mood = random.below(8);
        let (mut kept, mut lost) = (false, false);
        for sector in std::mem::take(dirty) {
            let keeps = mood == 0 || (mood != 1 && random.below(2) == 0);
            if keeps && sector * SECTOR_OCTETS < durable.len {
                durable.copy_sector(live, sector);
            }
            (kept, lost) = (kept || keeps, lost || !keeps);
        }
        if kept && lost {
            trial::saw("disk", "sectors kept and lost of one file");
        }
        *live = Image {
            pages: durable.pages.clone(),
            len: durable.len,
        };
    }
}

impl Image {
    pub(super) fn read(&self, position: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(position.saturating_add(len as u64));
        let mut octets = vec![0; end.saturating_sub(position) as usize];
        let mut done = 0;
        while done < octets.len() {
            let (page, from, len) = span(position + done as u64, octets.len() - done);
            if let Some(page) = self.pages.get(&page) {
                octets[done..done + len].copy_from_slice(&page[from..from + len]);
            }
            done += len;
        }
        octets
    }

    pub(super) fn write(&mut self, position: u64, octets: &[u8]) {
        let mut done = 0;
        while done < octets.len() {
            let (page, from, len) = span(position + done as u64, octets.len() - done);
            let page = self
                .pages
                .entry(page)
                .or_insert_with(|| Box::new([0; PAGE_OCTETS]));
            page[from..from + len].copy_from_slice(&octets[done..done + len]);
            done += len;
        }
        self.len = self.len.max(position + octets.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = len.div_ceil(PAGE_OCTETS as u64);
            self.pages.retain(|page, _| *page < keep);
            let tail = (len % PAGE_OCTETS as u64) as usize;
            if tail > 0
                && let Some(page) = self.pages.get_mut(&(keep - 1))
            {
                page[tail..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn copy_sector(&mut self, from: &Self, sector: u64) {
        let octets = from.read(sector * SECTOR_OCTETS, SECTOR_OCTETS as usize);
        let len = self.len;
        self.write(sector * SECTOR_OCTETS, &octets);
        self.set_len(len);
    }
}

/// The page of a position, the place in it, and how much of `len` lies in that page.
fn span(position: u64, len: usize) -> (u64, usize, usize) {
    let from = (position % PAGE_OCTETS as u64) as usize;
    (
        position / PAGE_OCTETS as u64,
        from,
        len.min(PAGE_OCTETS - from),
    )
}

/// SplitMix64: small, seeded, the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

/// What a disk writes whole or not at all.
pub(super) const SECTOR_OCTETS: u64 = 512;
/// What a file system gives out.
pub(super) const PAGE_OCTETS: usize = 4096;
