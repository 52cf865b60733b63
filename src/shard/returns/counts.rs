//! What came back, counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::bounces::{Class, Tally};

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

/// A tenant, and who tells.
type Row = (Box<str>, Box<str>);

/// What a shard counts of it.
#[derive(Default)]
pub(in crate::shard) struct Counts {
    came: [Cell<u64>; Came::ALL.len()],
    classes: Cell<Tally>,
    /// By tenant, and by who tells.
    complaints: RefCell<BTreeMap<Row, u64>>,
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
        let mut complaints = self.complaints.borrow_mut();
        let key = (Box::from(tenant), Box::from(reporter));
        // Both are names of the configuration; those of reloads long past must not pile up.
        let key = match complaints.len() < ROWS_MAX || complaints.contains_key(&key) {
            true => key,
            false => (Box::from(OTHER), Box::from(OTHER)),
        };
        *complaints.entry(key).or_default() += 1;
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
        let complaints = self.complaints.borrow();
        let rows = complaints.iter();
        rows.map(|((tenant, reporter), count)| (tenant.to_string(), reporter.to_string(), *count))
            .collect()
    }
}

/// The name of what has none.
pub(super) const OTHER: &str = "other";
const ROWS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_rows_and_no_end_of_them() {
        let counts = Counts::default();
        for number in 0..ROWS_MAX + 3 {
            counts.count_complaint(&format!("t{number}"), "p.test");
        }
        counts.count_complaint("t0", "p.test");
        let rows = counts.complaints();
        assert_eq!(rows.len(), ROWS_MAX + 1);
        let count = |tenant: &str| {
            let row = rows.iter().find(|(own, _, _)| own == tenant);
            row.map(|(_, _, count)| *count)
        };
        assert_eq!((count("t0"), count(OTHER)), (Some(2), Some(3)));
    }
}
