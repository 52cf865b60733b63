//! As many shards as a large machine has: whether all of them get their share, and what they have to
//! tell each other for it.

use std::time::Duration;

use super::play::{EVERYWHERE, Play};
use super::seeds;
use crate::observe::ask::Facts;
use crate::sim::peers::exchanger::Mood;

/// A relay whose clients hand in more than its destinations take at once: each has a connection for
/// every third shard at most, and hosts that are slow to answer.
fn crowded(seed: u64, shards: usize) -> Play {
    let play = Play::with(seed, shards, |config| {
        config.delivery.connections_per_destination = CONNECTIONS;
    });
    play.mood.set(Mood {
        slow: 1000,
        pause: Duration::from_secs(2),
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..CLIENTS {
        play.client(MESSAGES, &EVERYWHERE, 0, 2_000);
    }
    play
}

fn sum(facts: &[Facts], count: impl Fn(&Facts) -> u64) -> u64 {
    facts.iter().map(count).sum()
}

#[test]
fn sixty_four_shards_share_what_their_destinations_take() {
    for seed in seeds(1) {
        let play = crowded(seed, 64);
        play.finish_clients();
        let all = (CLIENTS * MESSAGES) as u64;
        let facts = loop {
            let facts = play.facts();
            let queued = sum(&facts, |one| one.counters.queued);
            if 4 * queued <= sum(&facts, |one| one.counters.accepted) {
                break facts;
            }
            play.sim.run_for(Duration::from_millis(100));
        };
        assert_eq!(sum(&facts, |one| one.messages_accepted), all);
        let shares: Vec<_> = facts
            .iter()
            .map(|one| (one.counters.accepted, one.counters.delivered))
            .collect();
        // While a quarter still waits, nobody has been left out.
        let left_out = shares
            .iter()
            .filter(|(accepted, delivered)| *accepted > 0 && *delivered == 0);
        assert_eq!(left_out.count(), 0, "{}: {shares:?}", play.seed());
        play.finish();
        play.judge();
        let facts = play.facts();
        let letters = sum(&facts, |one| one.letters_sent);
        // A connection wants a permit, gets it and gives it back, some after they were asked to.
        let recipients = sum(&facts, |one| one.counters.accepted);
        assert!(
            letters <= 4 * recipients,
            "{}: {letters} letters for {recipients} recipients",
            play.seed()
        );
    }
}

#[test]
fn a_shard_alone_has_nobody_to_tell() {
    let play = crowded(1, 1);
    play.conclude();
    let facts = play.facts();
    assert_eq!(sum(&facts, |one| one.letters_sent), 0);
}

const CONNECTIONS: usize = 20;
const CLIENTS: usize = 160;
const MESSAGES: usize = 8;
