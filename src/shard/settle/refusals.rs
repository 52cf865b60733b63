//! What refusals mean: counted by class, and told to whoever asks.

use std::cell::Cell;

use crate::bounces::{Class, Tally};
use crate::mail::outcome::{Diagnosis, Outcome};
use crate::shard::Shard;
use crate::shard::returns::counts::Counts;
use crate::suppress::Suppressions;
use crate::world::World;

/// A shard's refusals by class, and whom nothing is sent to any more.
pub(in crate::shard) struct Refusals {
    /// Recipients who will not get their mail.
    pub(in crate::shard) bounces: Cell<Tally>,
    /// Attempts after which another one follows.
    pub(in crate::shard) deferrals: Cell<Tally>,
    pub(in crate::shard) suppressions: Suppressions,
    /// What came back later.
    pub(in crate::shard) returned: Counts,
}

impl Refusals {
    pub(in crate::shard) fn new(suppressions: Suppressions) -> Self {
        Self {
            bounces: Cell::default(),
            deferrals: Cell::default(),
            suppressions,
            returned: Counts::default(),
        }
    }
}

impl<W: World> Shard<W> {
    /// What a failure means.
    pub(in crate::shard) fn class_of(&self, diagnosis: &Diagnosis) -> Class {
        self.settings.borrow().bounces.classify(diagnosis)
    }

    /// What the end of an attempt means, counted; `None` for a delivery.
    pub(super) fn judge_outcome(&self, outcome: &Outcome) -> Option<Class> {
        let (tally, diagnosis) = match outcome {
            Outcome::Delivered { .. } => return None,
            Outcome::Failed { diagnosis, .. } => (&self.refusals.bounces, diagnosis),
            Outcome::Deferred { diagnosis, .. } | Outcome::Doubtful { diagnosis } => {
                (&self.refusals.deferrals, diagnosis)
            }
        };
        Some(self.count_refusal(tally, diagnosis))
    }

    /// What an end without an attempt means, counted.
    pub(super) fn judge_end(&self, diagnosis: &Diagnosis) -> Class {
        self.count_refusal(&self.refusals.bounces, diagnosis)
    }

    fn count_refusal(&self, tally: &Cell<Tally>, diagnosis: &Diagnosis) -> Class {
        let class = self.class_of(diagnosis);
        let mut counts = tally.get();
        counts.count(class);
        tally.set(counts);
        class
    }
}
