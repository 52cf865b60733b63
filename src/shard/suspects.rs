//! Who has failed to log in, and how often of late. Guessing is bounded for each client and for
//! each user, on each shard.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::world::Tick;

/// Failures of clients and users.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    failures: HashMap<Suspect, (u32, Tick)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Suspect {
    Client(IpAddr),
    User(String),
}

impl Suspects {
    /// May this client try once more?
    pub(super) fn may_client_try(&self, now: Tick, client: IpAddr) -> bool {
        self.count(now, &Suspect::Client(client)) < CLIENT_FAILURES_MAX
    }

    /// May somebody try once more to be this user?
    pub(super) fn may_user_be_tried(&self, now: Tick, user: &str) -> bool {
        self.count(now, &Suspect::User(user.to_owned())) < USER_FAILURES_MAX
    }

    /// It failed; a stranger's name is empty, and counts for nobody.
    pub(super) fn failed(&mut self, now: Tick, client: IpAddr, user: &str) {
        let user = (!user.is_empty()).then(|| Suspect::User(user.to_owned()));
        for suspect in [Some(Suspect::Client(client)), user].into_iter().flatten() {
            let is_known = self.failures.contains_key(&suspect);
            if self.failures.len() >= SUSPECTS_MAX && !is_known {
                self.failures
                    .retain(|_, (_, last)| now.since(*last) < MEMORY);
            }
            if self.failures.len() < SUSPECTS_MAX || is_known {
                let count = self.count(now, &suspect) + 1;
                self.failures.insert(suspect, (count, now));
            }
        }
    }

    /// Somebody knew the password: what his client has failed at before is forgotten.
    pub(super) fn succeeded(&mut self, client: IpAddr) {
        self.failures.remove(&Suspect::Client(client));
    }

    fn count(&self, now: Tick, suspect: &Suspect) -> u32 {
        match self.failures.get(suspect) {
            Some((count, last)) if now.since(*last) < MEMORY => *count,
            _ => 0,
        }
    }
}

/// How long a failure counts.
const MEMORY: Duration = Duration::from_secs(600);
/// Failures of one client until it has to wait.
const CLIENT_FAILURES_MAX: u32 = 10;
/// Failures at one user, from wherever. More than of one client, so that it takes several to lock
/// somebody out.
const USER_FAILURES_MAX: u32 = 30;
/// Clients and users remembered; beyond, only those count that are known.
const SUSPECTS_MAX: usize = 10_000;

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
        for number in 0..(SUSPECTS_MAX as u32 + 100) {
            suspects.failed(Tick(0), IpAddr::from(number.to_be_bytes()), "");
        }
        assert_eq!(suspects.failures.len(), SUSPECTS_MAX);
        suspects.failed(Tick(700_000_000), IpAddr::from([255, 0, 0, 1]), "");
        assert_eq!(suspects.failures.len(), 1);
    }
}
