//! Short marks of what a message's envelope says: kept of each waiting message in room that is there anyway, so that
//! a search among millions reads those envelopes from the disk that may be meant, and no others.
//!
//! Equal things have equal marks. Different ones may, now and then, so a mark only ever excludes.

use std::hash::{DefaultHasher, Hasher as _};

/// Of a recipient's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressMark {
    local: u16,
    domain: DomainMark,
}

/// Of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DomainMark(u16);

/// Of a reverse path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderMark(u16);

/// Of a size: it grows with the size, four steps for each doubling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeMark(u8);

impl AddressMark {
    /// Upper and lower case have the same one.
    #[must_use]
    pub fn of(address: &str) -> Self {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        Self {
            local: short(local),
            domain: DomainMark::of(domain),
        }
    }

    /// The part that is of the domain.
    #[must_use]
    pub const fn domain(self) -> DomainMark {
        self.domain
    }
}

impl DomainMark {
    /// Upper and lower case have the same one.
    #[must_use]
    pub fn of(domain: &str) -> Self {
        Self(short(domain))
    }
}

impl SenderMark {
    /// Of the null reverse path, which no other sender has.
    pub const NULL: Self = Self(0);

    /// Of an address; of the null reverse path where there is none. Upper and lower case have the same one.
    #[must_use]
    pub fn of(address: &str) -> Self {
        match address {
            "" => Self::NULL,
            _ => Self(short(address).max(1)),
        }
    }

    /// Whether the reverse path is null.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == Self::NULL.0
    }
}

impl SizeMark {
    /// Of so many octets.
    #[must_use]
    pub const fn of(octets: u64) -> Self {
        if octets < STEPS {
            return Self(octets as u8);
        }
        let doublings = octets.ilog2() - STEPS.ilog2();
        let step = (octets >> doublings) - STEPS;
        // At most 61 doublings of four steps behind the first four.
        Self((STEPS + doublings as u64 * STEPS + step) as u8)
    }
}

/// 16 bits of a text, whatever its case.
fn short(text: &str) -> u16 {
    let mut hasher = DefaultHasher::new();
    for octet in text.bytes() {
        hasher.write_u8(octet.to_ascii_lowercase());
    }
    hasher.finish() as u16
}

/// Steps of a size's mark for each doubling.
const STEPS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_makes_no_difference_and_another_domain_does() {
        let mark = AddressMark::of("Ann@Example.org");
        assert_eq!(mark, AddressMark::of("aNN@example.ORG"));
        assert_eq!(mark.domain(), DomainMark::of("EXAMPLE.org"));
        assert_ne!(mark, AddressMark::of("ann@example.net"));
        assert_ne!(mark, AddressMark::of("bob@example.org"));
        assert_ne!(mark.domain(), AddressMark::of("ann@example.net").domain());
        assert_eq!(SenderMark::of("A@b.test"), SenderMark::of("a@B.test"));
    }

    /// A local part may hold an @ of its own, in quotes.
    #[test]
    fn the_domain_is_behind_the_last_at() {
        let mark = AddressMark::of("\"a@b\"@c.test");
        assert_eq!(mark.domain(), DomainMark::of("c.test"));
        let (bare, none) = (AddressMark::of("postmaster"), DomainMark::of(""));
        assert_eq!(bare.domain(), none);
    }

    #[test]
    fn only_the_null_reverse_path_has_the_null_mark() {
        assert!(SenderMark::of("").is_null());
        let senders = (0..200_000).map(|number| format!("s{number}@c.test"));
        assert!(
            senders
                .into_iter()
                .all(|sender| !SenderMark::of(&sender).is_null())
        );
    }

    #[test]
    fn a_larger_size_never_has_a_smaller_mark() {
        let edges = (0..64).flat_map(|shift| {
            let edge = 1_u64 << shift;
            [edge - 1, edge, edge + 1, edge + edge / 4, edge + edge / 2]
        });
        let mut sizes: Vec<u64> = edges.chain([u64::MAX, 1_000, 1_024]).collect();
        sizes.sort_unstable();
        assert!(sizes.is_sorted_by_key(|size| SizeMark::of(*size)));
        assert!(SizeMark::of(1_000) < SizeMark::of(1_300));
        assert_eq!(SizeMark::of(u64::MAX), SizeMark(251));
        assert_eq!(SizeMark::of(4), SizeMark(4));
    }
}
