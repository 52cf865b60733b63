//! Who has failed to log in, and how often of late. Guessing is bounded for each client and for
//! each user, on each shard.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::visitors::household;
use crate::world::Tick;

/// Failures of clients and users.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    clients: HashMap<IpAddr, Failures>,
    /// Apart from the clients: however many of those there are, their guesses at a user count.
    /// Nobody is here who is not in the users' file.
    users: HashMap<String, Failures>,
}

/// How many there were, and when the last one was.
type Failures = (u32, Tick);

impl Suspects {
    /// May this client try once more?
    pub(super) fn may_client_try(&self, now: Tick, client: IpAddr) -> bool {
        count(now, self.clients.get(&household(client))) < CLIENT_FAILURES_MAX
    }

    /// May somebody try once more to be this user?
    pub(super) fn may_user_be_tried(&self, now: Tick, user: &str) -> bool {
        count(now, self.users.get(user)) < USER_FAILURES_MAX
    }

    /// It failed; a stranger's name is empty, and counts for nobody.
    pub(super) fn failed(&mut self, now: Tick, client: IpAddr, user: &str) {
        if !user.is_empty() {
            let failures = count(now, self.users.get(user)) + 1;
            self.users.insert(user.to_owned(), (failures, now));
        }
        let client = household(client);
        let is_known = self.clients.contains_key(&client);
        if self.clients.len() >= CLIENTS_MAX && !is_known {
            self.clients.retain(|_, (_, last)| is_fresh(now, *last));
        }
        if self.clients.len() < CLIENTS_MAX || is_known {
            let failures = count(now, self.clients.get(&client)) + 1;
            self.clients.insert(client, (failures, now));
        }
    }

    /// Somebody knew the password: what his client has failed at before is forgotten.
    pub(super) fn succeeded(&mut self, client: IpAddr) {
        self.clients.remove(&household(client));
    }
}

fn count(now: Tick, failures: Option<&Failures>) -> u32 {
    match failures {
        Some((count, last)) if is_fresh(now, *last) => *count,
        _ => 0,
    }
}

fn is_fresh(now: Tick, last: Tick) -> bool {
    now.since(last) < MEMORY
}

/// How long a failure counts.
const MEMORY: Duration = Duration::from_secs(600);
/// Failures of one client until it has to wait.
const CLIENT_FAILURES_MAX: u32 = 10;
/// Failures at one user, from wherever. More than of one client, so that it takes several to lock
/// somebody out.
const USER_FAILURES_MAX: u32 = 30;
/// Clients remembered; beyond, only those count that are known.
const CLIENTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_ends_and_begins_again_after_a_while() {
        let mut suspects = Suspects::default();
        let (client, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = |seconds: i64| Tick(seconds * 1_000_000);
        for second in 0..i64::from(CLIENT_FAILURES_MAX) {
            assert!(suspects.may_client_try(at(second), client));
            suspects.failed(at(second), client, "ann@c.test");
        }
        assert!(!suspects.may_client_try(at(20), client));
        assert!(suspects.may_client_try(at(20), other));
        assert!(suspects.may_user_be_tried(at(20), "ann@c.test"));
        for second in 20..40 {
            suspects.failed(at(second), other, "ann@c.test");
        }
        assert!(!suspects.may_user_be_tried(at(40), "ann@c.test"));
        assert!(suspects.may_user_be_tried(at(40), "bob@c.test"));
        assert!(suspects.may_client_try(at(700), client));
        assert!(suspects.may_user_be_tried(at(700), "ann@c.test"));
    }

    #[test]
    fn a_flood_of_clients_takes_no_more_memory_than_it_may() {
        let mut suspects = Suspects::default();
        for number in 0..(CLIENTS_MAX as u32 + 100) {
            suspects.failed(Tick(0), IpAddr::from(number.to_be_bytes()), "");
        }
        assert_eq!(suspects.clients.len(), CLIENTS_MAX);
        suspects.failed(Tick(700_000_000), IpAddr::from([255, 0, 0, 1]), "");
        assert_eq!(suspects.clients.len(), 1);
    }

    #[test]
    fn guesses_from_ever_new_addresses_count_at_the_user() {
        let mut suspects = Suspects::default();
        for number in 0..CLIENTS_MAX as u32 {
            suspects.failed(Tick(0), IpAddr::from(number.to_be_bytes()), "");
        }
        for number in 0..USER_FAILURES_MAX {
            assert!(suspects.may_user_be_tried(Tick(0), "ann@c.test"));
            let client = (u32::MAX - number).to_be_bytes();
            suspects.failed(Tick(0), IpAddr::from(client), "ann@c.test");
        }
        assert!(!suspects.may_user_be_tried(Tick(0), "ann@c.test"));
    }

    #[test]
    fn one_home_with_all_its_addresses_is_one_client() {
        let mut suspects = Suspects::default();
        let at = |net: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host]);
        for host in 0..10 {
            assert!(suspects.may_client_try(Tick(0), at(1, host)));
            suspects.failed(Tick(0), at(1, host), "");
        }
        assert!(!suspects.may_client_try(Tick(0), at(1, 99)));
        assert!(suspects.may_client_try(Tick(0), at(2, 99)));
    }
}
