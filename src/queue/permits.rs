//! Connections per destination, exact over all shards.
//!
//! Every destination has a home shard, which keeps its limit here and lends permits to the shards
//! that have mail for it; a shard opens a connection only with a permit in hand. Shards that
//! cannot be served wait in a queue. Permits are lent in small leases, so that the first shard to
//! ask does not get all, and recalled from those who hold more than their share while others
//! wait: a shard gives back what it does not use at once, and what it uses when a connection ends.
//! With more shards than permits nobody can have a share, and they take turns.

use std::collections::{HashMap, VecDeque};

/// The permits of the destinations that live on this shard.
#[derive(Debug, Default)]
pub struct Home {
    /// What peers were found to take, where that is less than a limit allows.
    caps: HashMap<u64, u32>,
    destinations: HashMap<u64, Destination>,
}

/// What to tell another shard (or this one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The shard to tell.
    pub shard: u16,
    /// The destination, by the hash of its lane's name.
    pub destination: u64,
    /// How many.
    pub permits: u32,
    /// What about them.
    pub what: What,
}

/// What a home says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// These are yours until you release them.
    Granted,
    /// Others wait: release this many as soon as you can.
    Recalled,
    /// Others have none, and nobody has too many: release this many after a turn with them.
    TurnEnds,
}

#[derive(Debug, Default)]
struct Destination {
    /// Permits there are, as the last request had it.
    limit: u32,
    holders: Vec<Holder>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Holder {
    shard: u16,
    permits: u32,
    /// Of them, asked back and not yet returned.
    recalled: u32,
}

#[derive(Debug)]
struct Waiter {
    shard: u16,
    permits: u32,
}

impl Home {
    /// A shard wants `permits` more, of `limit` that there are by all it knows. A second request
    /// replaces the one that still waits; zero withdraws it.
    #[must_use]
    pub fn request(
        &mut self,
        destination: u64,
        shard: u16,
        permits: u32,
        limit: u32,
    ) -> Vec<Notice> {
        let entry = self.destinations.entry(destination).or_default();
        entry.limit = limit.max(1);
        match entry
            .waiting
            .iter()
            .position(|waiter| waiter.shard == shard)
        {
            Some(at) if permits == 0 => drop(entry.waiting.remove(at)),
            Some(at) => entry.waiting[at].permits = permits,
            None if permits == 0 => {}
            None => entry.waiting.push_back(Waiter { shard, permits }),
        }
        self.serve(destination)
    }

    /// A shard gives permits back. More than it holds counts as all it holds.
    #[must_use]
    pub fn release(&mut self, destination: u64, shard: u16, permits: u32) -> Vec<Notice> {
        let Some(entry) = self.destinations.get_mut(&destination) else {
            return Vec::new();
        };
        if let Some(holder) = entry
            .holders
            .iter_mut()
            .find(|holder| holder.shard == shard)
        {
            holder.permits = holder.permits.saturating_sub(permits);
            holder.recalled = holder.recalled.saturating_sub(permits).min(holder.permits);
        }
        entry.holders.retain(|holder| holder.permits > 0);
        self.serve(destination)
    }

    /// A shard is gone or has begun anew: all it held and all it waited for is void.
    #[must_use]
    pub fn reset(&mut self, shard: u16) -> Vec<Notice> {
        let mut touched = Vec::new();
        for (&destination, entry) in &mut self.destinations {
            entry.waiting.retain(|waiter| waiter.shard != shard);
            entry.holders.retain(|holder| holder.shard != shard);
            touched.push(destination);
        }
        touched.sort_unstable();
        touched
            .into_iter()
            .flat_map(|destination| self.serve(destination))
            .collect()
    }

    /// A new limit for a destination that is known here. When it is lower, nothing is lent until
    /// enough came back, and that is asked for.
    #[must_use]
    pub fn set_limit(&mut self, destination: u64, limit: u32) -> Vec<Notice> {
        if let Some(entry) = self.destinations.get_mut(&destination) {
            entry.limit = limit.max(1);
        }
        self.serve(destination)
    }

    /// A destination takes no more than so many, whatever its limit is; `None`: that is forgotten.
    #[must_use]
    pub fn set_cap(&mut self, destination: u64, cap: Option<u32>) -> Vec<Notice> {
        match cap {
            Some(cap) => self.caps.insert(destination, cap.max(1)),
            None => self.caps.remove(&destination),
        };
        self.serve(destination)
    }

    /// Permits lent for a destination.
    #[must_use]
    pub fn lent(&self, destination: u64) -> u32 {
        self.destinations
            .get(&destination)
            .map_or(0, Destination::lent)
    }

    /// Lends what is free to those who wait, in turns of [`LEASE_MAX`], then recalls for the rest.
    fn serve(&mut self, destination: u64) -> Vec<Notice> {
        let mut notices: Vec<Notice> = Vec::new();
        let Some(entry) = self.destinations.get_mut(&destination) else {
            return notices;
        };
        let cap = self.caps.get(&destination).copied().unwrap_or(u32::MAX);
        let limit = entry.limit.min(cap);
        let mut free = limit.saturating_sub(entry.lent());
        while free > 0 {
            let Some(mut waiter) = entry.waiting.pop_front() else {
                break;
            };
            let permits = waiter.permits.min(LEASE_MAX).min(free);
            free -= permits;
            entry.lend(waiter.shard, permits);
            let shard = waiter.shard;
            match notices.iter_mut().find(|notice| notice.shard == shard) {
                Some(notice) => notice.permits += permits,
                None => notices.push(Notice {
                    shard,
                    destination,
                    permits,
                    what: What::Granted,
                }),
            }
            waiter.permits -= permits;
            if waiter.permits > 0 {
                entry.waiting.push_back(waiter);
            }
        }
        entry.recall(limit, destination, &mut notices);
        if entry.holders.is_empty() && entry.waiting.is_empty() {
            self.destinations.remove(&destination);
        }
        notices
    }
}

impl Destination {
    fn lent(&self) -> u32 {
        self.holders.iter().map(|holder| holder.permits).sum()
    }

    fn lend(&mut self, shard: u16, permits: u32) {
        match self.holders.iter_mut().find(|holder| holder.shard == shard) {
            Some(holder) => holder.permits += permits,
            None => self.holders.push(Holder {
                shard,
                permits,
                recalled: 0,
            }),
        }
    }

    /// Asks back what holders have above an equal share, as far as those below theirs wait for it, or
    /// as there are no longer so many; and where that is not enough because there are more shards than permits, lets those who have
    /// one give it to those who have none.
    fn recall(&mut self, limit: u32, destination: u64, notices: &mut Vec<Notice>) {
        let held = |holders: &[Holder], shard| {
            holders
                .iter()
                .find(|holder| holder.shard == shard)
                .map_or(0, |holder| holder.permits)
        };
        let newcomers = self
            .waiting
            .iter()
            .filter(|waiter| held(&self.holders, waiter.shard) == 0)
            .count();
        let sharers = u32::try_from(self.holders.len() + newcomers)
            .unwrap_or(u32::MAX)
            .max(1);
        let share = (limit / sharers).max(1);
        let wanted = |waiter: &Waiter| {
            waiter
                .permits
                .min(share.saturating_sub(held(&self.holders, waiter.shard)))
        };
        let under_way: u32 = self.holders.iter().map(|holder| holder.recalled).sum();
        let mut missing = self
            .waiting
            .iter()
            .map(wanted)
            .sum::<u32>()
            .max(self.lent().saturating_sub(limit))
            .saturating_sub(under_way);
        for holder in &mut self.holders {
            let above = holder
                .permits
                .saturating_sub(holder.recalled)
                .saturating_sub(share);
            let permits = above.min(missing);
            if permits > 0 {
                holder.recalled += permits;
                missing -= permits;
                notices.push(Notice {
                    shard: holder.shard,
                    destination,
                    permits,
                    what: What::Recalled,
                });
            }
        }
        // Whoever has mail without end would otherwise never part with its one. The longest holder
        // is the first in line.
        let undisturbed = |holder: &&mut Holder| holder.permits > holder.recalled;
        let turns = self.holders.iter_mut().filter(undisturbed);
        for holder in turns.take(usize::try_from(missing).unwrap_or(usize::MAX)) {
            holder.recalled += 1;
            notices.push(Notice {
                shard: holder.shard,
                destination,
                permits: 1,
                what: What::TurnEnds,
            });
        }
    }
}

/// Permits lent in one turn. Less costs more messages between shards, more makes the second
/// shard wait for the first one's connections to end.
pub const LEASE_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const DESTINATION: u64 = 7;

    /// Shards that have mail without end, and give a permit back only when they are asked to.
    struct Greedy {
        home: Home,
        limit: u32,
        held: Vec<u32>,
        /// How often each was granted a permit.
        turns: Vec<u32>,
        /// Notices that shards have not acted on, the oldest first.
        asked: VecDeque<Notice>,
    }

    impl Greedy {
        fn new(limit: u32, shards: u16) -> Self {
            let mut greedy = Self {
                home: Home::default(),
                limit,
                held: vec![0; usize::from(shards)],
                turns: vec![0; usize::from(shards)],
                asked: VecDeque::new(),
            };
            for shard in 0..shards {
                let notices = greedy.home.request(DESTINATION, shard, limit, limit);
                greedy.hear(notices);
            }
            greedy
        }

        fn hear(&mut self, notices: Vec<Notice>) {
            for notice in notices {
                if notice.what == What::Granted {
                    self.held[usize::from(notice.shard)] += notice.permits;
                    self.turns[usize::from(notice.shard)] += 1;
                } else {
                    self.asked.push_back(notice);
                }
            }
            let held: u32 = self.held.iter().sum();
            assert!(held <= self.limit, "{held} of {}", self.limit);
            assert_eq!(held, self.home.lent(DESTINATION));
        }

        /// The shard that was asked first gives back, and asks anew.
        fn obey(&mut self) -> bool {
            let Some(notice) = self.asked.pop_front() else {
                return false;
            };
            self.held[usize::from(notice.shard)] -= notice.permits;
            let Notice { shard, permits, .. } = notice;
            let notices = self.home.release(DESTINATION, shard, permits);
            self.hear(notices);
            let notices = self
                .home
                .request(DESTINATION, shard, self.limit, self.limit);
            self.hear(notices);
            true
        }
    }

    #[test]
    fn nobody_is_asked_for_more_than_what_is_above_its_share() {
        for (limit, shards) in [(20, 2), (20, 3), (20, 20), (4, 3)] {
            let mut greedy = Greedy::new(limit, shards);
            let mut steps = 0;
            while greedy.obey() {
                steps += 1;
                assert!(
                    steps < 1_000,
                    "{limit} permits never settle on {shards} shards"
                );
            }
            let share = limit / u32::from(shards);
            let least = greedy.held.iter().min();
            assert!(least >= Some(&share), "{:?}", greedy.held);
        }
    }

    /// A large machine, and a destination that takes fewer connections than it has cores: those who
    /// came late would get nothing for as long as the others have mail.
    #[test]
    fn shards_take_turns_where_there_are_fewer_permits() {
        for (limit, shards) in [(20, 64), (1, 64), (3, 4), (63, 64)] {
            let mut greedy = Greedy::new(limit, shards);
            for _ in 0..20 * usize::from(shards) {
                assert!(greedy.obey(), "nobody has to part with a permit");
            }
            let (least, most) = (greedy.turns.iter().min(), greedy.turns.iter().max());
            let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
            assert!(least > 0 && most <= 2 * least + 2, "{:?}", greedy.turns);
        }
    }

    /// Two who would share what there is ask nobody to end a connection at every turn.
    #[test]
    fn shards_that_have_their_share_are_left_alone() {
        let mut home = Home::default();
        let first = home.request(DESTINATION, 0, 10, 20);
        let second = home.request(DESTINATION, 1, 10, 20);
        assert_eq!(home.lent(DESTINATION), 20);
        let notices = [first, second, home.request(DESTINATION, 0, 5, 20)].concat();
        let granted = |notice: &Notice| notice.what == What::Granted;
        assert!(notices.iter().all(granted), "{notices:?}");
    }

    /// A limit that is lowered is asked for: connections with mail would keep theirs for long.
    #[test]
    fn permits_above_a_new_limit_are_asked_back() {
        let mut home = Home::default();
        let _ = home.request(DESTINATION, 0, 8, 10);
        let _ = home.request(DESTINATION, 1, 2, 10);
        let asked = home.set_limit(DESTINATION, 1);
        let back = asked.iter().map(|notice| notice.permits).sum::<u32>();
        assert_eq!(back, 9, "{asked:?}");
        assert!(asked.iter().all(|notice| notice.what != What::Granted));
        assert!(home.set_limit(DESTINATION, 1).is_empty(), "once");
        for _ in 0..7 {
            assert!(home.release(DESTINATION, 0, 1).is_empty());
        }
        let _ = home.release(DESTINATION, 1, 2);
        assert!(
            home.request(DESTINATION, 1, 1, 1)
                .iter()
                .all(|notice| notice.what != What::Granted)
        );
        let granted = home.release(DESTINATION, 0, 1);
        assert_eq!((granted.len(), home.lent(DESTINATION)), (1, 1));
        assert!(home.set_limit(9, 1).is_empty(), "nobody asked for that one");
    }

    #[test]
    fn what_a_peer_takes_counts_until_it_is_forgotten() {
        let mut home = Home::default();
        assert!(home.set_cap(DESTINATION, Some(3)).is_empty());
        let _ = home.request(DESTINATION, 0, 9, 5);
        assert_eq!(home.lent(DESTINATION), 3);
        let granted = home.set_cap(DESTINATION, None);
        assert_eq!((granted.len(), home.lent(DESTINATION)), (1, 5));
    }
}
