//! Where every choice of a simulated run comes from: one number.

use std::cell::Cell;

/// SplitMix64: small, the same on every machine, good enough to choose with.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// The choices that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring runs.
        let random = Self(Cell::new(seed ^ 0x5851_F42D_4C95_7F2D));
        random.next();
        random
    }

    /// Sixty-four bits.
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 when there is none.
    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True `times` out of 1000.
    pub fn permille(&self, times: u32) -> bool {
        self.below(1000) < u64::from(times)
    }

    /// One of `choices`; `None` of none.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(usize::try_from(self.below(choices.len() as u64)).unwrap_or(0))
    }
}
