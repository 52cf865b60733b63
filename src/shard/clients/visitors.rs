//! Connections of clients, counted over all shards without a lock: the kernel spreads one
//! client's connections over the shards, so no shard knows them all.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The counts, shared by all shards.
#[derive(Clone)]
pub struct Visitors {
    /// Those who bring mail.
    pub senders: Crowd,
    /// Those who fetch it: the others must not find the house full because of them.
    pub readers: Crowd,
}

/// Those who do one of the two.
#[derive(Clone)]
pub struct Crowd {
    counts: Arc<Counts>,
}

/// Places for both together.
struct House {
    taken: AtomicUsize,
    places: usize,
}

struct Counts {
    house: Arc<House>,
    all: AtomicUsize,
    /// By a hash of the address. Two clients of one slot share a limit; with as many slots that
    /// needs tens of thousands of clients at once.
    by_client: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// One counted connection; dropped, it counts no more.
pub struct Visitor {
    counts: Arc<Counts>,
    slot: Option<usize>,
}

impl Default for Visitors {
    fn default() -> Self {
        Self::with_places(usize::MAX)
    }
}

impl Visitors {
    /// For a process that may have so many open files: a quarter is kept for deliveries and for the
    /// spool, which clients must not be able to use up.
    #[must_use]
    pub fn among_open_files(files: usize) -> Self {
        Self::with_places(files - files / 4)
    }

    /// More connections there cannot be, whatever the configuration lets in.
    #[must_use]
    pub fn places(&self) -> usize {
        self.senders.counts.house.places
    }

    fn with_places(places: usize) -> Self {
        let house = Arc::new(House {
            taken: AtomicUsize::new(0),
            places,
        });
        Self {
            senders: Crowd::within(&house),
            readers: Crowd::within(&house),
        }
    }
}

impl Crowd {
    fn within(house: &Arc<House>) -> Self {
        let by_client = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        Self {
            counts: Arc::new(Counts {
                house: Arc::clone(house),
                all: AtomicUsize::new(0),
                by_client,
                hasher: RandomState::new(),
            }),
        }
    }

    /// Counts a connection; `None` where it is one too many: of all, or of one `client`.
    #[must_use]
    pub fn enter(&self, max: usize, client: Option<(IpAddr, usize)>) -> Option<Visitor> {
        let counts = &self.counts;
        // From here on dropping the visitor takes back what was counted.
        let mut visitor = Visitor {
            counts: Arc::clone(counts),
            slot: None,
        };
        let taken = counts.house.taken.fetch_add(1, Ordering::Relaxed);
        let before = counts.all.fetch_add(1, Ordering::Relaxed);
        if taken >= counts.house.places || before >= max {
            return None;
        }
        if let Some((address, max)) = client {
            let slot = counts.hasher.hash_one(household(address)) % SLOTS;
            let slot = usize::try_from(slot).unwrap_or(0);
            visitor.slot = Some(slot);
            let before = counts.by_client[slot].fetch_add(1, Ordering::Relaxed);
            if usize::try_from(before).is_ok_and(|before| before >= max) {
                return None;
            }
        }
        Some(visitor)
    }

    /// Connections at the moment.
    #[must_use]
    pub fn count(&self) -> usize {
        self.counts.all.load(Ordering::Relaxed)
    }
}

/// All addresses of one client: with IPv6 it has a network of 64 bits of its own to choose them from
/// (RFC 4291 §2.5.1).
pub(super) fn household(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> HOST_BITS << HOST_BITS;
            IpAddr::from(network.to_be_bytes())
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.counts.house.taken.fetch_sub(1, Ordering::Relaxed);
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(slot) = self.slot {
            self.counts.by_client[slot].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What of an IPv6 address names a host in its network.
const HOST_BITS: u32 = 64;
/// 256 KiB of counters.
const SLOTS: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused_until_another_leaves() {
        let crowd = Visitors::default().senders;
        let client = Some(("192.0.2.1".parse().unwrap(), 2));
        let (first, _second) = (
            crowd.enter(9, client).unwrap(),
            crowd.enter(9, client).unwrap(),
        );
        assert!(crowd.enter(9, client).is_none());
        assert_eq!(crowd.count(), 2);
        drop(first);
        assert!(crowd.enter(9, client).is_some());
        assert!(crowd.enter(1, None).is_none());
        assert!(crowd.enter(2, None).is_some());
    }

    #[test]
    fn addresses_of_one_network_share_a_limit() {
        let crowd = Visitors::default().senders;
        let client = |address: &str| Some((address.parse().unwrap(), 1));
        let _first = crowd.enter(9, client("2001:db8:0:1::1")).unwrap();
        assert!(crowd.enter(9, client("2001:db8:0:1:ffff::2")).is_none());
        assert!(crowd.enter(9, client("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn both_crowds_share_the_open_files_and_leave_some() {
        let visitors = Visitors::among_open_files(3);
        let (senders, readers) = (&visitors.senders, &visitors.readers);
        let here: Vec<_> = (0..3).map(|_| senders.enter(9, None).unwrap()).collect();
        assert!(readers.enter(9, None).is_none());
        drop(here);
        assert!(readers.enter(9, None).is_some());
        assert_eq!(Visitors::among_open_files(400).places(), 300);
    }
}
