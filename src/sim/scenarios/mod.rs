//! The relay's own code in the simulated world: what the world does to it, and what it must do
//! all the same. Each test runs many seeds; `RINGPOST_SEED=n` repeats one, `RINGPOST_TELL=1`
//! shows the relay's log.

mod bugs;
mod coverage;
mod crowd;
mod fetching;
mod guarded;
mod hardships;
mod paces;
mod panics;
mod play;
mod seams;
mod suppressing;
mod waiting;
mod warming;

use std::time::Duration;

use super::disk::Faults;
use super::peers::exchanger::Mood;
use super::{Weather, seeds};
use crate::route::dns::{Answer, Kind};
use play::{EVERYWHERE, Play, address};

#[test]
fn mail_arrives_once_in_good_weather() {
    seeds(20).for_each(good_weather);
}

fn good_weather(seed: u64) {
    let play = Play::new(seed, 1 + seed as usize % 3);
    play.boot_surely();
    for _ in 0..3 {
        play.client(5, &EVERYWHERE, 0, 20_000);
    }
    play.finish_clients();
    assert_eq!(play.ledger.accepted(), 15, "{}", play.seed());
    play.finish();
    play.judge();
}

#[test]
fn the_same_seed_gives_the_same_delivery() {
    let trace = |seed| {
        let play = Play::new(seed, 2);
        play.boot_surely();
        play.client(5, &EVERYWHERE, 100, 20_000);
        play.finish_clients();
        play.finish();
        (play.sim.trace(), play.sim.elapsed())
    };
    for seed in seeds(3) {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

#[test]
fn hosts_do_everything_a_host_may_do() {
    seeds(30).for_each(moody_hosts);
}

fn moody_hosts(seed: u64) {
    let play = Play::new(seed, 1 + seed as usize % 2);
    play.mood.set(Mood::MOODY);
    play.boot_surely();
    for _ in 0..3 {
        play.client(5, &EVERYWHERE, 50, 20_000);
    }
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(120));
    play.finish();
    play.judge();
}

#[test]
fn connections_break_anywhere() {
    seeds(30).for_each(storm);
}

fn storm(seed: u64) {
    let play = Play::new(seed, 2);
    play.sim.set_weather(Weather::STORM);
    play.boot_surely();
    for _ in 0..3 {
        play.client(5, &EVERYWHERE, 200, 20_000);
    }
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(120));
    play.finish();
    play.judge();
}

#[test]
fn the_power_goes_at_any_moment() {
    seeds(40).for_each(power_cuts);
}

fn power_cuts(seed: u64) {
    let play = Play::new(seed, 1 + seed as usize % 2);
    if seed.is_multiple_of(3) {
        play.mood.set(Mood::MOODY);
    }
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 50, 20_000);
    }
    let random = play.random();
    for _ in 0..random.between(1, 4) {
        play.sim
            .run_for(Duration::from_micros(random.below(12_000_000)));
        play.crash();
        play.sim.run_for(Duration::from_millis(random.below(3_000)));
        play.boot_surely();
    }
    play.conclude();
}

#[test]
fn the_power_goes_in_the_middle_of_a_write() {
    seeds(40).for_each(power_cut_in_a_write);
}

fn power_cut_in_a_write(seed: u64) {
    let play = Play::new(seed, 1);
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 50, 40_000);
    }
    for _ in 0..3 {
        if !play.lose_power_within(60) {
            break;
        }
    }
    play.disk().set_faults(Faults::default());
    play.conclude();
}

#[test]
fn large_messages_survive_the_power() {
    seeds(8).for_each(large_messages);
}

fn large_messages(seed: u64) {
    let play = Play::new(seed, 1);
    if seed.is_multiple_of(2) {
        // What waits is read from the disk.
        play.mood.set(Mood {
            greylists: 1000,
            ..Mood::KIND
        });
    }
    play.boot_surely();
    for _ in 0..2 {
        play.client(4, &EVERYWHERE, 50, 1_500_000);
    }
    let random = play.random();
    for _ in 0..3 {
        play.sim
            .run_for(Duration::from_micros(random.below(3_000_000)));
        play.crash();
        play.boot_surely();
    }
    play.conclude();
}

#[test]
fn the_disk_is_full_for_a_while() {
    seeds(10).for_each(full_disk);
}

fn full_disk(seed: u64) {
    // Segments that are soon full: what is written again and again needs no room.
    let mut play = Play::with(seed, 1, |config| config.spool.segment = 128 << 10);
    play.terms.disk_failed = true;
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 40_000);
    }
    play.sim
        .run_for(Duration::from_millis(play.random().below(2_000)));
    let capacity_octets = Some(play.disk().used_octets() + play.random().below(60_000));
    play.disk().set_faults(Faults {
        capacity_octets,
        ..Faults::default()
    });
    play.sim.run_for(Duration::from_secs(20));
    play.disk().set_faults(Faults::default());
    play.conclude();
}

#[test]
fn a_sync_fails_and_the_relay_is_started_again() {
    seeds(20).for_each(failed_sync);
}

fn failed_sync(seed: u64) {
    let mut play = Play::new(seed, 1);
    play.terms.disk_failed = true;
    // A log that must not be synced again forgets what was delivered since.
    play.terms.settle_lag = Duration::from_secs(31);
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    let fail_sync_at = Some(1 + play.random().below(12));
    play.disk().set_faults(Faults {
        fail_sync_at,
        ..Faults::default()
    });
    play.sim.run_for(Duration::from_secs(30));
    play.crash();
    play.boot_surely();
    play.conclude();
}

#[test]
fn a_relay_that_is_drained_loses_nothing_and_repeats_nothing() {
    seeds(20).for_each(drains);
}

fn drains(seed: u64) {
    let mut play = Play::new(seed, 2);
    play.terms.settle_lag = Duration::ZERO;
    if seed.is_multiple_of(2) {
        play.mood.set(Mood {
            slow: 300,
            pause: Duration::from_secs(3),
            ..Mood::KIND
        });
    }
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    for _ in 0..2 {
        play.sim
            .run_for(Duration::from_millis(play.random().below(4_000)));
        play.drain();
        play.boot_surely();
    }
    play.conclude();
}

#[test]
fn greylisting_costs_one_wait() {
    seeds(10).for_each(greylisting);
}

/// Hosts that say "later" to everybody are asked again on schedule, and no sooner.
fn greylisting(seed: u64) {
    let play = Play::new(seed, 2);
    play.mood.set(Mood {
        temporary: 1000,
        ..Mood::KIND
    });
    play.boot_surely();
    play.client(5, &EVERYWHERE, 0, 2_000);
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(60));
    play.finish();
    play.judge();
}

#[test]
fn a_black_hole_delays_no_other_destination() {
    seeds(10).for_each(black_hole);
}

/// A destination that never answers holds up nobody else.
fn black_hole(seed: u64) {
    let play = Play::new(seed, 1);
    for last in [11, 12] {
        play.sim.set_black_hole(address(last), true);
    }
    play.boot_surely();
    play.client(10, &["one.test"], 0, 2_000);
    play.client(10, &["two.test"], 0, 2_000);
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(5));
    let late = play.ledger.read(|entries| {
        let copies = entries.copies.iter();
        copies
            .filter_map(|copy| {
                let token = super::peers::ledger::token_in(&copy.content)?;
                let sent = entries.submissions.get(token.as_str())?.at;
                Some(copy.at.saturating_sub(sent))
            })
            .max()
    });
    assert!(
        late < Some(Duration::from_secs(1)),
        "{}: {late:?}",
        play.seed()
    );
    assert!(late.is_some(), "{}: nothing came", play.seed());
    for last in [11, 12] {
        play.sim.set_black_hole(address(last), false);
    }
    play.finish();
    play.judge();
}

#[test]
fn the_dns_fails_and_comes_back() {
    seeds(10).for_each(no_dns);
}

/// Names that cannot be looked up wait; names that do not exist fail.
fn no_dns(seed: u64) {
    let play = Play::new(seed, 1);
    play.say("two.test", Kind::Mx, Answer::Failure("no server".into()));
    play.boot_surely();
    play.ledger.write(|entries| entries.refused_unnamed += 1);
    play.client(6, &["two.test", "gone.test"], 0, 2_000);
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(100));
    let early = play.ledger.read(|entries| {
        let all = entries.copies.iter();
        all.filter(|copy| !copy.reverse_path.is_empty()).count()
    });
    assert_eq!(early, 0, "{}: delivered without an answer", play.seed());
    play.say("two.test", Kind::Mx, Answer::NoData(Duration::from_secs(1)));
    play.say(
        "two.test",
        Kind::A,
        Answer::Records(
            crate::route::dns::Records::Addresses(vec![address(21)]),
            Duration::from_secs(1),
        ),
    );
    play.finish();
    play.judge();
}
