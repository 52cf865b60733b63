//! Recipients by a name, a source's or a tenant's, and by what became of them: for metrics.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::observe::ask::NamedCount;

/// Counts by name, with a bounded number of names.
#[derive(Default)]
pub(in crate::shard) struct Named(RefCell<HashMap<Rc<str>, Rc<Counts>>>);

#[derive(Default)]
struct Counts([Cell<u64>; RESULTS.len()]);

impl Named {
    /// A recipient's attempt ended like this: `sent`, `deferred` or `bounced`.
    pub(in crate::shard) fn count(&self, name: &str, status: &str) {
        let Some(place) = RESULTS.iter().position(|result| *result == status) else {
            return;
        };
        let mut counts = self.0.borrow_mut();
        let known = counts.get(name).map(Rc::clone);
        let counts = known.unwrap_or_else(|| {
            // Names of reloads long past must not pile up in every scrape.
            let name = match counts.len() < NAMES_MAX {
                true => name,
                false => OTHER,
            };
            Rc::clone(counts.entry(name.into()).or_default())
        });
        let count = &counts.0[place];
        count.set(count.get() + 1);
    }

    /// All counts that are not zero.
    pub(in crate::shard) fn counts(&self) -> Vec<NamedCount> {
        let counts = self.0.borrow();
        let rows = counts.iter().flat_map(|(name, counts)| {
            let counts = counts.0.iter().zip(RESULTS);
            counts.map(|(count, result)| NamedCount {
                name: name.to_string(),
                result,
                recipients: count.get(),
            })
        });
        rows.filter(|one| one.recipients > 0).collect()
    }
}

/// Names with rows of their own.
const NAMES_MAX: usize = 1000;
const OTHER: &str = "other";
const RESULTS: [&str; 3] = ["sent", "deferred", "bounced"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_row_for_each_name_and_no_end_of_them() {
        let named = Named::default();
        for number in 0..NAMES_MAX + 5 {
            named.count(&format!("s{number}"), "sent");
        }
        named.count("s0", "bounced");
        named.count("s0", "expired");
        let counts = named.counts();
        assert_eq!(counts.len(), NAMES_MAX + 2);
        let other = counts.iter().find(|one| one.name == OTHER).unwrap();
        assert_eq!(other.recipients, 5);
    }
}
