//! Tasks that panic, wherever they use the world: what they were at ends, the shard and all others go on.

use std::time::Duration;

use super::play::{EVERYWHERE, Play};
use crate::sim::peers::exchanger::Mood;
use crate::sim::seeds;

/// What tasks of a shard are called.
pub(super) const LABELS: [&str; 5] = ["inbound", "commit", "outbound", "chores", "shard"];

#[test]
fn tasks_panic_and_the_others_go_on() {
    seeds(30).for_each(panics);
}

/// Tasks of one kind panic, again and again, under load.
pub(super) fn panics(seed: u64) {
    let label = LABELS[seed as usize % LABELS.len()];
    let mut play = Play::with(seed, 2, |config| config.spool.segment = 256 << 10);
    // A batch that was written and not told of.
    play.terms.disk_failed = true;
    if seed.is_multiple_of(2) {
        play.mood.set(Mood::MOODY);
    }
    play.boot_surely();
    for _ in 0..4 {
        play.client(8, &EVERYWHERE, 0, 40_000);
    }
    let random = play.random();
    for _ in 0..12 {
        // The writer uses the world a few times for each batch, sessions for each command.
        let uses = if label == "commit" { 40 } else { 400 };
        play.tempt(label, random.below(uses));
        play.sim.run_for(Duration::from_millis(random.below(2_000)));
        if seed.is_multiple_of(3) && random.permille(100) {
            play.sim.tempt(None);
            play.crash();
            play.boot_surely();
        }
    }
    play.finish_clients();
    play.sim.tempt(None);
    // What was stored and not queued is found.
    play.sim.run_for(Duration::from_secs(900));
    play.finish();
    play.judge();
}

#[test]
fn a_shard_panics_and_the_relay_is_started_again() {
    seeds(12).for_each(lost_shard);
}

/// A shard ends by itself: the others end in order, and the next start finds all of it.
pub(super) fn lost_shard(seed: u64) {
    let play = Play::new(seed, 3);
    play.mood.set(Mood {
        temporary: 200,
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    let random = play.random();
    for _ in 0..2 {
        play.sim.run_for(Duration::from_millis(random.below(4_000)));
        play.lose_shard(random.below(3) as usize);
        play.boot_surely();
    }
    play.conclude();
}
