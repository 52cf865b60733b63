//! What came back, counted.

use std::cell::Cell;

use crate::bounces::{Class, Tally};
use crate::shard::settle::named::{OTHER, Rows};

/// What became of a message that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Came {
    /// It says that somebody did not get his mail.
    Bounced,
    /// It says that mail waits.
    Delayed,
    /// It says that mail has arrived.
    Arrived,
    /// Somebody complains.
    Complained,
    /// It says something else of mail: that it is no spam, that a check failed.
    Feedback,
    /// A complaint that nothing proves.
    Unproved,
    /// No report: forwarded.
    Forwarded,
    /// No report: dropped.
    Dropped,
}

impl Came {
    const ALL: [Self; 8] = [
        Self::Bounced,
        Self::Delayed,
        Self::Arrived,
        Self::Complained,
        Self::Feedback,
        Self::Unproved,
        Self::Forwarded,
        Self::Dropped,
    ];

    /// Its name in metrics and traces.
    pub(in crate::shard) const fn name(self) -> &'static str {
        match self {
            Self::Bounced => "bounced",
            Self::Delayed => "delayed",
            Self::Arrived => "arrived",
            Self::Complained => "complained",
            Self::Feedback => "feedback",
            Self::Unproved => "unproved",
            Self::Forwarded => "forwarded",
            Self::Dropped => "dropped",
        }
    }
}

/// What a shard counts of it.
#[derive(Default)]
pub(in crate::shard) struct Counts {
    came: [Cell<u64>; Came::ALL.len()],
    classes: Cell<Tally>,
    /// By tenant, and by who tells.
    complaints: Rows<(String, String), 1>,
}

impl Counts {
    pub(super) fn count(&self, came: Came) {
        let count = &self.came[came as usize];
        count.set(count.get() + 1);
    }

    pub(super) fn count_class(&self, class: Class) {
        let mut tally = self.classes.get();
        tally.count(class);
        self.classes.set(tally);
    }

    pub(super) fn count_complaint(&self, tenant: &str, reporter: &str) {
        let row = |tenant: &str, reporter: &str| (tenant.to_owned(), reporter.to_owned());
        let (row, other) = (row(tenant, reporter), row(OTHER, OTHER));
        self.complaints.count(&row, &other, 0);
    }

    /// What came, by its name.
    pub(in crate::shard) fn came(&self) -> Vec<(&'static str, u64)> {
        let counts = Came::ALL.iter().zip(&self.came);
        counts
            .map(|(came, count)| (came.name(), count.get()))
            .collect()
    }

    pub(in crate::shard) fn classes(&self) -> Tally {
        self.classes.get()
    }

    pub(in crate::shard) fn complaints(&self) -> Vec<(String, String, u64)> {
        let rows = self.complaints.all().into_iter();
        rows.map(|((tenant, reporter), [count])| (tenant, reporter, count))
            .collect()
    }
}
