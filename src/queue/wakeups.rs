//! When to look again: a binary heap of moments in which every sleeper stands at most once.
//!
//! The heap tells its owner where each sleeper went (`placed`), and the owner keeps that position
//! with the sleeper. So a wake-up is moved or taken out in O(log n), nothing stale stays behind,
//! and "exactly one wake-up each" is a fact of the structure instead of a habit of its users.

use crate::time::Tick;

use super::slab::{INDEX_MAX, NONE};

/// Who is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleeper {
    Part(u32),
    Lane(u32),
}

/// One entry: sixteen octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct WakeUp {
    at: Tick,
    who: u32,
}

#[derive(Debug, Default)]
pub(super) struct WakeUps {
    heap: Vec<WakeUp>,
}

impl WakeUp {
    fn sleeper(self) -> Sleeper {
        if self.who < INDEX_MAX {
            Sleeper::Part(self.who)
        } else {
            Sleeper::Lane(self.who - INDEX_MAX)
        }
    }
}

impl Sleeper {
    const fn code(self) -> u32 {
        match self {
            Self::Part(index) => index,
            Self::Lane(index) => index + INDEX_MAX,
        }
    }
}

impl WakeUps {
    pub(super) fn first(&self) -> Option<(Tick, Sleeper)> {
        self.heap.first().map(|first| (first.at, first.sleeper()))
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Who stands at `position`, and for when.
    pub(super) fn at(&self, position: u32) -> Option<(Tick, Sleeper)> {
        self.heap
            .get(position as usize)
            .map(|entry| (entry.at, entry.sleeper()))
    }

    /// Puts `who` in for `at`, or moves it there when it stands at `position` already.
    pub(super) fn set(
        &mut self,
        who: Sleeper,
        position: u32,
        at: Tick,
        mut placed: impl FnMut(Sleeper, u32),
    ) {
        let entry = WakeUp {
            at,
            who: who.code(),
        };
        let position = if position == NONE {
            self.heap.push(entry);
            self.heap.len() - 1
        } else {
            self.heap[position as usize] = entry;
            position as usize
        };
        self.settle(position, &mut placed);
    }

    /// Takes out the entry at `position`.
    pub(super) fn remove(&mut self, position: u32, mut placed: impl FnMut(Sleeper, u32)) {
        if position == NONE {
            return;
        }
        let removed = self.heap.swap_remove(position as usize);
        placed(removed.sleeper(), NONE);
        if (position as usize) < self.heap.len() {
            self.settle(position as usize, &mut placed);
        }
    }

    /// Moves one entry up or down to where it belongs.
    fn settle(&mut self, mut position: usize, placed: &mut impl FnMut(Sleeper, u32)) {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(position, self.heap[parent], placed);
            position = parent;
        }
        loop {
            let left = 2 * position + 1;
            let Some(mut child) = self.heap.get(left).map(|_| left) else {
                break;
            };
            if self
                .heap
                .get(left + 1)
                .is_some_and(|right| right.at < self.heap[left].at)
            {
                child = left + 1;
            }
            if entry.at <= self.heap[child].at {
                break;
            }
            self.put(position, self.heap[child], placed);
            position = child;
        }
        self.put(position, entry, placed);
    }

    fn put(&mut self, position: usize, entry: WakeUp, placed: &mut impl FnMut(Sleeper, u32)) {
        self.heap[position] = entry;
        placed(entry.sleeper(), u32::try_from(position).unwrap_or(NONE));
    }
}
