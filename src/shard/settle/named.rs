//! Counts in rows by name, with a bounded number of rows: for metrics.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use crate::observe::ask::NamedCount;

/// `N` counts for each name. Names come from the configuration: those of reloads long past must not pile
/// up in every scrape.
pub(in crate::shard) struct Rows<Q: ToOwned + ?Sized, const N: usize>(
    RefCell<HashMap<Q::Owned, [u64; N]>>,
);

impl<Q: ToOwned + ?Sized, const N: usize> Default for Rows<Q, N> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<Q, const N: usize> Rows<Q, N>
where
    Q: ToOwned<Owned: Borrow<Q> + Clone + Hash + Ord> + Hash + Eq + ?Sized,
{
    /// One more at `place` of a row; in that of `other` where there is no room for one more.
    pub(in crate::shard) fn count(&self, name: &Q, other: &Q, place: usize) {
        let mut rows = self.0.borrow_mut();
        if let Some(row) = rows.get_mut(name) {
            row[place] += 1;
            return;
        }
        let name = match rows.len() < ROWS_MAX {
            true => name,
            false => other,
        };
        rows.entry(name.to_owned()).or_insert([0; N])[place] += 1;
    }

    /// All rows, in the order of their names.
    pub(in crate::shard) fn all(&self) -> Vec<(Q::Owned, [u64; N])> {
        let rows = self.0.borrow();
        let mut all: Vec<_> = rows
            .iter()
            .map(|(name, row)| (name.clone(), *row))
            .collect();
        all.sort();
        all
    }
}

/// Recipients by a name, a source's or a tenant's, and by what became of them.
#[derive(Default)]
pub(in crate::shard) struct Named(Rows<str, { RESULTS.len() }>);

impl Named {
    /// A recipient's attempt ended like this: `sent`, `deferred` or `bounced`.
    pub(in crate::shard) fn count(&self, name: &str, status: &str) {
        if let Some(place) = RESULTS.iter().position(|result| *result == status) {
            self.0.count(name, OTHER, place);
        }
    }

    /// All counts that are not zero.
    pub(in crate::shard) fn counts(&self) -> Vec<NamedCount> {
        let rows = self.0.all().into_iter().flat_map(|(name, row)| {
            let counts = row.into_iter().zip(RESULTS);
            counts.map(move |(recipients, result)| NamedCount {
                name: name.clone(),
                result,
                recipients,
            })
        });
        rows.filter(|one| one.recipients > 0).collect()
    }
}

/// Names with rows of their own.
const ROWS_MAX: usize = 1000;
/// The name of what has none.
pub(in crate::shard) const OTHER: &str = "other";
const RESULTS: [&str; 3] = ["sent", "deferred", "bounced"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_row_for_each_name_and_no_end_of_them() {
        let named = Named::default();
        for number in 0..ROWS_MAX + 5 {
            named.count(&format!("s{number}"), "sent");
        }
        named.count("s0", "bounced");
        named.count("s0", "expired");
        let counts = named.counts();
        assert_eq!(counts.len(), ROWS_MAX + 2);
        let other = counts.iter().find(|one| one.name == OTHER).unwrap();
        assert_eq!(other.recipients, 5);
    }
}
