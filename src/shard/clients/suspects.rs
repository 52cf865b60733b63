//! Who has failed to log in, and how often of late, counted over all shards without a lock: the
//! kernel spreads one client's connections over the shards, and who guesses must gain nothing by it.
//!
//! A client (by its household) and a user have one entry each, in a table of atomic words whose size
//! is fixed. An entry bears a mark of whose it is, so nobody pays for another's failures. Asking the
//! home shard of each client instead would cost every login a way through the mesh and back, and the
//! count would be no more exact.
//!
//! A try counts from before its password is looked at: however many come at once, no more are under
//! way than may still fail. Who finds no room for that reason alone waits a moment (`login`).

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::regulars::Regulars;
use super::visitors::household;
use crate::world::Tick;

/// Failures of clients and users, shared by all shards.
#[derive(Clone)]
pub struct Suspects {
    clients: Table,
    /// Apart from the clients: however many of those there are, their guesses at a user count.
    /// Nobody is here who is not in the users' file.
    users: Table,
    /// Those for whom the failures at a user do not count: with a few addresses a stranger could lock
    /// out whom he likes.
    regulars: Regulars,
}

/// May somebody try?
#[derive(Debug)]
pub(super) enum Leave {
    /// Yes; this is counted.
    Try(Try),
    /// Not before others have ended that are under way.
    Wait,
    /// Not after so many failures.
    Barred,
}

/// A try under way. Dropped without an outcome, it was none.
#[derive(Debug)]
pub(super) struct Try {
    table: Table,
    place: usize,
    is_open: bool,
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            clients: Table::new(CLIENT_SETS, CLIENT_FAILURES_MAX),
            users: Table::new(USER_SETS, USER_FAILURES_MAX),
            regulars: Regulars::default(),
        }
    }
}

impl Suspects {
    /// Has this client failed too often?
    pub(super) fn is_client_barred(&self, now: Tick, client: IpAddr) -> bool {
        self.clients.is_barred(now, household(client))
    }

    /// May this client try?
    pub(super) fn client(&self, now: Tick, client: IpAddr) -> Leave {
        self.clients.admit(now, household(client))
    }

    /// This user has logged in from this client.
    pub(super) fn welcome(&self, now: Tick, client: IpAddr, user: &str) {
        self.regulars.welcome(now, client, user);
    }

    /// Has this user logged in from this client of late? Its tries count at the client alone.
    pub(super) fn is_regular(&self, now: Tick, client: IpAddr, user: &str) -> bool {
        self.regulars.knows(now, client, user)
    }

    /// May somebody try to be this user, who is not known where he comes from?
    pub(super) fn user(&self, now: Tick, user: &str) -> Leave {
        self.users.admit(now, user)
    }
}

impl Try {
    /// It failed.
    pub(super) fn failed(mut self, now: Tick) {
        self.end(|entry| Entry {
            failures: entry.failures_at(now) + 1,
            last: seconds(now),
            ..entry
        });
    }

    /// It was right: what failed before is forgotten.
    pub(super) fn forgive(mut self) {
        self.end(|entry| Entry {
            failures: 0,
            ..entry
        });
    }

    fn end(&mut self, change: impl Fn(Entry) -> Entry) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let change = |word| {
            let entry = change(Entry::read(word));
            let pending = entry.pending.saturating_sub(1);
            Some(Entry { pending, ..entry }.word())
        };
        // Nobody else gets a place where somebody is trying, so it is still the same one's.
        let place = &self.table.words[self.place];
        let _ = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        self.end(|entry| entry);
    }
}

/// Entries by a hash of whose they are: in one of a few neighbouring places.
#[derive(Clone, Debug)]
struct Table {
    words: Arc<[AtomicU64]>,
    hasher: RandomState,
    failures_max: u32,
}

impl Table {
    fn new(sets: usize, failures_max: u32) -> Self {
        Self {
            words: (0..sets * PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            failures_max,
        }
    }

    /// The first place of a key's set, and its mark.
    fn find(&self, key: impl Hash) -> (usize, u64) {
        let hash = self.hasher.hash_one(key);
        let sets = self.words.len() / PLACES;
        let set = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) % sets;
        // Zero is the mark of nobody.
        (set * PLACES, (hash >> (64 - MARK_BITS)).max(1))
    }

    fn entry(&self, place: usize) -> Entry {
        Entry::read(self.words[place].load(Ordering::Acquire))
    }

    fn is_barred(&self, now: Tick, key: impl Hash) -> bool {
        let (first, mark) = self.find(key);
        let mut set = (first..first + PLACES).map(|place| self.entry(place));
        set.any(|entry| entry.mark == mark && entry.failures_at(now) >= self.failures_max)
    }

    fn admit(&self, now: Tick, key: impl Hash) -> Leave {
        let (first, mark) = self.find(key);
        loop {
            let mut set = (first..first + PLACES).map(|place| (place, self.entry(place)));
            let (place, known) = match set.clone().find(|(_, entry)| entry.mark == mark) {
                Some(own) => own,
                // The least that can be forgotten. All shards choose alike, so that two that meet
                // a stranger at one moment do not give it two entries.
                None => match set
                    .by_ref()
                    .filter(|(_, entry)| entry.pending == 0)
                    .min_by_key(|(_, entry)| (entry.failures_at(now), entry.last))
                {
                    Some(spare) => spare,
                    None => return Leave::Wait,
                },
            };
            let failures = match known.mark == mark {
                true => known.failures_at(now),
                false => 0,
            };
            if failures >= self.failures_max {
                return Leave::Barred;
            }
            if failures + known.pending >= self.failures_max {
                return Leave::Wait;
            }
            let counted = Entry {
                mark,
                pending: known.pending + 1,
                failures,
                last: if failures > 0 {
                    known.last
                } else {
                    seconds(now)
                },
            };
            let swapped = self.words[place].compare_exchange(
                known.word(),
                counted.word(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if swapped.is_ok() {
                return Leave::Try(Try {
                    table: self.clone(),
                    place,
                    is_open: true,
                });
            }
        }
    }
}

/// What is in one word.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Of whose it is; 0: nobody's.
    mark: u64,
    /// Tries under way.
    pending: u32,
    failures: u32,
    /// When one failed last, in seconds.
    last: u32,
}

impl Entry {
    fn read(word: u64) -> Self {
        let octet = |at: u32| (word >> at) as u32 & 0xff;
        Self {
            mark: word >> (64 - MARK_BITS),
            pending: octet(SECONDS_BITS + 8),
            failures: octet(SECONDS_BITS),
            last: word as u32 & SECONDS_MASK,
        }
    }

    fn word(self) -> u64 {
        self.mark << (64 - MARK_BITS)
            | u64::from(self.pending.min(0xff)) << (SECONDS_BITS + 8)
            | u64::from(self.failures.min(0xff)) << SECONDS_BITS
            | u64::from(self.last & SECONDS_MASK)
    }

    /// Failures that still count.
    fn failures_at(self, now: Tick) -> u32 {
        let age = seconds(now).wrapping_sub(self.last) & SECONDS_MASK;
        if age < MEMORY_S { self.failures } else { 0 }
    }
}

/// Of the clock, as an entry keeps them: they come round after eight years.
fn seconds(now: Tick) -> u32 {
    let seconds = now.since(Tick(0)).as_secs();
    u32::try_from(seconds & u64::from(SECONDS_MASK)).unwrap_or(0)
}

/// How long a failure counts.
const MEMORY: Duration = Duration::from_secs(600);
const MEMORY_S: u32 = MEMORY.as_secs() as u32;
/// Failures of one client until it has to wait.
const CLIENT_FAILURES_MAX: u32 = 10;
/// Failures at one user, from wherever. More than of one client, so that it takes several to lock
/// somebody out.
const USER_FAILURES_MAX: u32 = 30;
/// Places of one set: a line of the processor's cache.
const PLACES: usize = 8;
/// 32,768 clients, 256 KiB. Of more, those are forgotten first that have failed the least.
const CLIENT_SETS: usize = 4096;
/// 8,192 users who are being guessed at, 64 KiB.
const USER_SETS: usize = 1024;
/// An entry: mark, tries under way, failures, seconds. Of 8 places in a set, one bears the mark of
/// somebody else once in 130,000; who could tell which would have to know the hash's key.
const MARK_BITS: u32 = 20;
const SECONDS_BITS: u32 = 28;
const SECONDS_MASK: u32 = (1 << SECONDS_BITS) - 1;
const _: () = assert!(
    MARK_BITS + 8 + 8 + SECONDS_BITS == 64,
    "an entry is one word"
);
const _: () = assert!(
    CLIENT_FAILURES_MAX < 0xff && USER_FAILURES_MAX < 0xff,
    "an octet holds them"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    fn fails(now: Tick, leave: Leave) -> bool {
        match leave {
            Leave::Try(attempt) => {
                attempt.failed(now);
                true
            }
            Leave::Wait | Leave::Barred => false,
        }
    }

    #[test]
    fn guessing_ends_and_begins_again_after_a_while() {
        let suspects = Suspects::default();
        let (client, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for second in 0..i64::from(CLIENT_FAILURES_MAX) {
            assert!(!suspects.is_client_barred(at(second), client));
            assert!(fails(at(second), suspects.client(at(second), client)));
        }
        assert!(suspects.is_client_barred(at(20), client));
        assert!(matches!(suspects.client(at(20), client), Leave::Barred));
        assert!(matches!(suspects.client(at(20), other), Leave::Try(_)));
        for second in 20..20 + i64::from(USER_FAILURES_MAX) {
            assert!(fails(at(second), suspects.user(at(second), "ann@c.test")));
        }
        assert!(matches!(suspects.user(at(60), "ann@c.test"), Leave::Barred));
        assert!(matches!(suspects.user(at(60), "bob@c.test"), Leave::Try(_)));
        assert!(!suspects.is_client_barred(at(700), client));
        assert!(matches!(
            suspects.user(at(700), "ann@c.test"),
            Leave::Try(_)
        ));
    }

    #[test]
    fn shards_that_guess_at_one_moment_share_the_tries() {
        let suspects = Suspects::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let failed: u32 = std::thread::scope(|scope| {
            let guess = || {
                let tries = (0..500).map(|_| suspects.client(at(0), client));
                tries
                    .map(|leave| u32::from(fails(at(0), leave)))
                    .sum::<u32>()
            };
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(guess)).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).sum()
        });
        assert_eq!(failed, CLIENT_FAILURES_MAX);
    }

    #[test]
    fn tries_under_way_count_until_they_end() {
        let suspects = Suspects::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let mut open: Vec<Leave> = Vec::new();
        for _ in 0..CLIENT_FAILURES_MAX {
            open.push(suspects.client(at(0), client));
        }
        assert!(matches!(suspects.client(at(0), client), Leave::Wait));
        assert!(
            !suspects.is_client_barred(at(0), client),
            "nobody has failed"
        );
        // Its connection ended.
        drop(open.pop());
        assert!(fails(at(0), suspects.client(at(0), client)));
        assert!(matches!(suspects.client(at(0), client), Leave::Wait));
        let Some(Leave::Try(right)) = open.pop() else {
            panic!("the first ones may try")
        };
        right.forgive();
        assert!(fails(at(0), suspects.client(at(0), client)));
    }

    #[test]
    fn guesses_from_ever_new_addresses_count_at_the_user() {
        let suspects = Suspects::default();
        for number in 0..100_000_u32 {
            let client = IpAddr::from(number.to_be_bytes());
            assert!(fails(at(0), suspects.client(at(0), client)));
        }
        for number in 0..USER_FAILURES_MAX {
            let client = IpAddr::from((u32::MAX - number).to_be_bytes());
            assert!(fails(at(0), suspects.client(at(0), client)));
            assert!(fails(at(0), suspects.user(at(0), "ann@c.test")));
        }
        assert!(matches!(suspects.user(at(0), "ann@c.test"), Leave::Barred));
    }

    #[test]
    fn a_flood_of_clients_does_not_make_a_barred_one_forgotten() {
        let suspects = Suspects::default();
        let guesser = IpAddr::from([192, 0, 2, 1]);
        while fails(at(0), suspects.client(at(0), guesser)) {}
        for number in 0..200_000_u32 {
            let client = IpAddr::from(number.to_be_bytes());
            assert!(fails(at(1), suspects.client(at(1), client)));
        }
        assert!(suspects.is_client_barred(at(2), guesser));
    }

    #[test]
    fn one_home_with_all_its_addresses_is_one_client() {
        let suspects = Suspects::default();
        let address = |net: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host]);
        for host in 0..10 {
            assert!(fails(at(0), suspects.client(at(0), address(1, host))));
        }
        assert!(suspects.is_client_barred(at(0), address(1, 99)));
        assert!(!suspects.is_client_barred(at(0), address(2, 99)));
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = Entry {
            mark: (1 << MARK_BITS) - 1,
            pending: 255,
            failures: 30,
            last: SECONDS_MASK,
        };
        let read = Entry::read(entry.word());
        assert_eq!((read.mark, read.pending), (entry.mark, entry.pending));
        assert_eq!((read.failures, read.last), (entry.failures, entry.last));
    }
}
