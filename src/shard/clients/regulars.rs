//! Clients from which a user has logged in, over all shards: whoever guesses at a user from elsewhere
//! does not lock out the user who comes from where he always comes from.
//!
//! In a table of atomic words whose size is fixed, as the failures are (`suspects`). What is forgotten
//! because others came, or with a restart, costs a user nothing while nobody guesses.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::visitors::household;
use crate::world::Tick;

/// Who has logged in from where of late, shared by all shards.
#[derive(Clone)]
pub(super) struct Regulars {
    words: Arc<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Regulars {
    fn default() -> Self {
        Self {
            words: (0..SETS * PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Regulars {
    /// This user has logged in from here.
    pub(super) fn welcome(&self, now: Tick, client: IpAddr, user: &str) {
        let (set, mark) = self.find(client, user);
        // Two that come at one moment may take the same place, and one is forgotten.
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let own = set.iter().find(|word| read(word) >> SECONDS_BITS == mark);
        let place = own.or_else(|| set.iter().max_by_key(|word| age(read(word), now)));
        if let Some(place) = place {
            place.store(mark << SECONDS_BITS | seconds(now), Ordering::Relaxed);
        }
    }

    /// Has this user logged in from here of late?
    pub(super) fn knows(&self, now: Tick, client: IpAddr, user: &str) -> bool {
        let (set, mark) = self.find(client, user);
        let mut words = set.iter().map(|word| word.load(Ordering::Relaxed));
        words.any(|word| word >> SECONDS_BITS == mark && age(word, now) < MEMORY.as_secs())
    }

    /// The places where the two may be, and their mark.
    fn find(&self, client: IpAddr, user: &str) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one((household(client), user));
        let set = usize::try_from(hash % SETS as u64).unwrap_or(0);
        let places = &self.words[set * PLACES..][..PLACES];
        // Zero is the mark of nobody.
        (places, (hash >> SECONDS_BITS).max(1))
    }
}

fn seconds(now: Tick) -> u64 {
    now.since(Tick(0)).as_secs() & SECONDS_MASK
}

/// Seconds since then; what was never written is older than everything.
fn age(word: u64, now: Tick) -> u64 {
    match word {
        0 => u64::MAX,
        word => seconds(now).wrapping_sub(word) & SECONDS_MASK,
    }
}

/// How long a client is known: a phone that was away on holiday is still one's own.
const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// 65,536 pairs of client and user, 512 KiB. Of more, those are forgotten first that came longest ago.
const SETS: usize = 8192;
/// Places of one set: a line of the processor's cache.
const PLACES: usize = 8;
/// A word: a mark of 36 bits, and seconds, which come round after eight years.
const SECONDS_BITS: u32 = 28;
const SECONDS_MASK: u64 = (1 << SECONDS_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 24 * 3600;

    fn at(seconds: i64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    #[test]
    fn a_client_is_known_for_the_user_who_came_from_it() {
        let regulars = Regulars::default();
        let [home, other] = [1, 2].map(|host| IpAddr::from([192, 0, 2, host]));
        assert!(!regulars.knows(at(0), home, "ann@c.test"));
        regulars.welcome(at(0), home, "ann@c.test");
        assert!(regulars.knows(at(29 * DAY_S), home, "ann@c.test"));
        assert!(!regulars.knows(at(0), other, "ann@c.test"));
        assert!(!regulars.knows(at(0), home, "bob@c.test"));
        assert!(!regulars.knows(at(31 * DAY_S), home, "ann@c.test"));
        regulars.welcome(at(31 * DAY_S), home, "ann@c.test");
        assert!(regulars.knows(at(32 * DAY_S), home, "ann@c.test"));
    }

    #[test]
    fn of_more_than_there_is_room_for_the_last_ones_are_known() {
        let regulars = Regulars::default();
        let client = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..200_000_u32 {
            regulars.welcome(at(i64::from(number)), client(number), "ann@c.test");
        }
        let now = at(200_000);
        let known = |from: u32| {
            let numbers = from..from + 10_000;
            let known = numbers.filter(|number| regulars.knows(now, client(*number), "ann@c.test"));
            known.count()
        };
        // Where few fall into one set, somebody is known for longer, and where many do, for less.
        let (last, first) = (known(190_000), known(0));
        assert!(last > 9_950 && first < 50, "{last} {first}");
    }
}
