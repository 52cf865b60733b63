//! Hardships of a longer life: other shards after a restart, small segments, a calendar that
//! jumps, little memory; and the proof that these tests can fail.

use std::time::Duration;

use super::play::{EVERYWHERE, Play, address};
use crate::config::Durability;
use crate::observe::ask::{Act, Selector};
use crate::sim::disk::Faults;
use crate::sim::peers::exchanger::Mood;
use crate::sim::peers::ledger::token_in;
use crate::sim::{Weather, seeds};

/// The simulator bites: a relay that does not sync before it answers loses mail here.
#[test]
fn a_relay_that_does_not_sync_is_found_out() {
    let mut lost = 0;
    for seed in 0..30 {
        let play = Play::with(seed, 1, |config| config.spool.durability = Durability::None);
        play.mood.set(Mood {
            temporary: 1000,
            ..Mood::KIND
        });
        play.boot_surely();
        play.client(6, &EVERYWHERE, 0, 20_000);
        play.sim.run_for(Duration::from_secs(4));
        play.sim.power_cut(play.relay);
        play.note_crash();
        play.boot_surely();
        play.finish_clients();
        play.finish();
        let broken = play.broken();
        lost += broken
            .iter()
            .filter(|fault| fault.contains("never got it"))
            .count();
    }
    assert!(
        lost > 0,
        "thirty power cuts without a sync, and nothing was lost"
    );
}

#[test]
fn the_number_of_shards_changes() {
    seeds(15).for_each(other_shards);
}

/// Fewer shards after a restart take over what the others left; more find nothing missing.
pub(super) fn other_shards(seed: u64) {
    let play = Play::new(seed, 3);
    play.mood.set(Mood {
        temporary: 300,
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    for shards in [1, 4, 2] {
        play.sim
            .run_for(Duration::from_millis(play.random().below(5_000)));
        if play.random().permille(500) {
            play.drain();
        } else {
            play.crash();
        }
        play.set_shards(shards);
        play.boot_surely();
    }
    play.conclude();
}

#[test]
fn segments_are_swept_around_mail_that_stays() {
    seeds(12).for_each(sweeping);
}

/// Segments fill and are swept while some messages stay; power cuts come in between.
pub(super) fn sweeping(seed: u64) {
    let play = Play::with(seed, 1, |config| config.spool.segment = SMALL_SEGMENT);
    for last in [11, 12] {
        play.sim.set_black_hole(address(last), true);
    }
    play.boot_surely();
    play.client(4, &["one.test"], 0, 200_000);
    for _ in 0..3 {
        play.client(30, &["two.test", "three.test"], 20, 200_000);
    }
    let random = play.random();
    for _ in 0..3 {
        play.sim
            .run_for(Duration::from_micros(random.below(25_000_000)));
        play.crash();
        play.boot_surely();
    }
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(60));
    let octets = play.disk().used_octets();
    assert!(
        octets < 24 * SMALL_SEGMENT,
        "{}: {octets} octets for a few messages",
        play.seed()
    );
    for last in [11, 12] {
        play.sim.set_black_hole(address(last), false);
    }
    play.finish();
    play.judge();
}

#[test]
fn the_power_goes_while_segments_are_swept() {
    seeds(18).for_each(power_cut_in_sweeping);
}

/// The power goes at any operation of the disk while segments are swept.
pub(super) fn power_cut_in_sweeping(seed: u64) {
    let play = Play::with(seed, 1, |config| config.spool.segment = TINY_SEGMENT);
    // A slow disk leaves much between two syncs.
    let (least, most) = (Duration::from_millis(1), Duration::from_millis(100));
    play.sim.set_sync_wait(least, most);
    // Mail for it stays, and is moved again and again.
    for last in [11, 12] {
        play.sim.set_black_hole(address(last), true);
    }
    play.boot_surely();
    for _ in 0..3 {
        play.client(40, &EVERYWHERE, 20, 60_000);
    }
    for round in 1..5 {
        let many = || play.ledger.accepted() >= 25 * round || play.clients_are_done();
        play.run_until("segments are full", many, Duration::from_secs(3600));
        if !play.lose_power_within(100) {
            break;
        }
    }
    play.disk().set_faults(Faults::default());
    play.finish_clients();
    for last in [11, 12] {
        play.sim.set_black_hole(address(last), false);
    }
    play.finish();
    play.judge();
}

#[test]
fn the_calendar_jumps_between_two_lives() {
    seeds(10).for_each(calendar_between_lives);
}

/// The calendar is set, and the relay started again: mail neither waits for the old date nor
/// fails for the new one.
pub(super) fn calendar_between_lives(seed: u64) {
    const DAY: i64 = 24 * 3600 * 1_000_000;
    // Forward by less than mail may live.
    let jump = if seed.is_multiple_of(2) {
        -DAY
    } else {
        DAY / 24
    };
    let play = Play::new(seed, 1);
    play.mood.set(Mood {
        temporary: 1000,
        ..Mood::KIND
    });
    play.boot_surely();
    play.client(4, &EVERYWHERE, 0, 2_000);
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(30));
    play.crash();
    play.sim.jump_wall(jump);
    play.boot_surely();
    let before = play.sim.elapsed();
    play.finish();
    let took = play.sim.elapsed() - before;
    assert!(
        took < Duration::from_secs(600),
        "{}: {took:?} after {jump}",
        play.seed()
    );
    let reports = play.ledger.read(|entries| {
        let all = entries.copies.iter();
        all.filter(|copy| token_in(&copy.content).is_none_or(|_| copy.reverse_path.is_empty()))
            .filter(|copy| copy.recipients.iter().any(|one| one.starts_with("s-")))
            .count()
    });
    assert_eq!(reports, 0, "{}: mail failed for a date", play.seed());
    play.judge();
}

#[test]
fn everything_goes_wrong_together() {
    seeds(25).for_each(everything);
}

/// Everything at once, and little memory.
pub(super) fn everything(seed: u64) {
    let mut play = Play::with(seed, 2, |config| {
        config.spool.segment = TINY_SEGMENT;
        config.runtime.memory = 600_000;
    });
    play.terms.disk_failed = true;
    play.terms.settle_lag = Duration::from_secs(40);
    play.mood.set(Mood::MOODY);
    play.sim.set_weather(Weather::STORM);
    play.sim
        .set_sync_wait(Duration::from_millis(1), Duration::from_millis(400));
    play.boot_surely();
    for _ in 0..4 {
        play.client(6, &EVERYWHERE, 150, 60_000);
    }
    let random = play.random();
    for _ in 0..random.between(1, 4) {
        play.sim
            .run_for(Duration::from_micros(random.below(40_000_000)));
        let faults = match random.below(4) {
            0 => Faults {
                fail_sync_at: Some(1 + random.below(9)),
                ..Faults::default()
            },
            1 => Faults {
                fail_write_at: Some(1 + random.below(9)),
                ..Faults::default()
            },
            2 => Faults {
                cut_at: Some(1 + random.below(99)),
                ..Faults::default()
            },
            _ => Faults::default(),
        };
        play.disk().set_faults(faults);
        let world = play.sim.boot(play.relay);
        let gone = || !world.is_alive();
        if play.sim.run_until(gone, Duration::from_secs(20)).is_ok() {
            play.note_crash();
        } else {
            play.crash();
        }
        play.disk().set_faults(Faults::default());
        play.sim.run_for(Duration::from_millis(random.below(3_000)));
        play.boot_surely();
    }
    play.conclude();
}

/// The disk stops giving what it holds: no host is blamed for it, nobody is told that his mail
/// failed, and all of it arrives when the disk is well again.
#[test]
fn a_disk_that_cannot_be_read_fails_no_mail() {
    let mut unread = 0;
    for seed in seeds(4) {
        let play = Play::new(seed, 1);
        play.boot_surely();
        play.disk().set_faults(Faults {
            fail_reads: true,
            ..Faults::default()
        });
        for _ in 0..3 {
            play.client(8, &EVERYWHERE, 0, 1_500_000);
        }
        play.finish_clients();
        play.sim.run_for(Duration::from_secs(60));
        for facts in play.facts() {
            assert_eq!(facts.counters.bounced, 0, "{}", play.seed());
            unread += facts.messages_queued;
        }
        play.disk().set_faults(Faults::default());
        play.finish();
        play.judge();
    }
    assert!(unread > 0, "no message was large enough to be read");
}

#[test]
fn a_drain_among_hosts_that_hang_ends_in_time() {
    seeds(15).for_each(drain_among_hanging);
}

/// The relay is asked to end while hosts hang: it ends in time and repeats nothing it need not.
pub(super) fn drain_among_hanging(seed: u64) {
    let play = Play::new(seed, 2);
    play.mood.set(Mood {
        slow: 900,
        pause: Duration::from_secs(400),
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..3 {
        play.client(5, &EVERYWHERE, 0, 20_000);
    }
    play.sim
        .run_for(Duration::from_millis(play.random().below(9_000)));
    let before = play.sim.elapsed();
    play.drain();
    let took = play.sim.elapsed() - before;
    assert!(took < Duration::from_secs(10), "{}: {took:?}", play.seed());
    play.boot_surely();
    play.conclude();
}

#[test]
fn mail_that_waits_too_long_is_reported() {
    seeds(10).for_each(expiry);
}

/// Hosts that say "later" for ever: senders are told of the delay once, of the failure once.
pub(super) fn expiry(seed: u64) {
    let play = Play::with(seed, 2, |config| {
        config.queue.delay_notice = Some(Duration::from_secs(60));
        config.queue.expire = Duration::from_secs(200);
    });
    play.boot_surely();
    // Only the senders' host is kind.
    for last in [11, 12, 21, 31, 32, 33] {
        play.sim.set_black_hole(address(last), true);
    }
    play.ledger.write(|entries| entries.refused_unnamed += 1);
    for _ in 0..2 {
        play.client(4, &EVERYWHERE, 0, 2_000);
    }
    if seed.is_multiple_of(2) {
        play.sim
            .run_for(Duration::from_millis(play.random().below(150_000)));
        play.crash();
        play.boot_surely();
    }
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(300));
    play.finish();
    play.judge();
    let mail = play.ledger.read(|entries| {
        let mut all = entries.copies.iter();
        all.any(|copy| !copy.reverse_path.is_empty())
    });
    assert!(!mail, "{}: mail came out of a black hole", play.seed());
}

#[test]
fn an_operator_interferes() {
    seeds(20).for_each(operator);
}

/// An operator holds, releases, removes, puts back and bounces while hosts are moody and the power goes.
pub(super) fn operator(seed: u64) {
    let play = Play::new(seed, 2);
    play.mood.set(Mood {
        temporary: 400,
        slow: 200,
        pause: Duration::from_secs(9),
        ..Mood::KIND
    });
    play.ledger.write(|entries| entries.refused_unnamed += 1);
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    let random = play.random();
    for _ in 0..random.between(2, 8) {
        play.sim.run_for(Duration::from_millis(random.below(4_000)));
        match random.below(7) {
            0 => play.order(Act::Hold, all()),
            3 => play.order(Act::Remove, all()),
            4 => play.order(Act::Undo, all()),
            1 => play.order(Act::Release, all()),
            // Not of everything: a report that is bounced is gone.
            2 => play.order(
                Act::Bounce,
                Selector {
                    domain: Some("one.test".to_owned()),
                    ..Selector::default()
                },
            ),
            _ => {
                play.crash();
                play.boot_surely();
                0
            }
        };
    }
    play.finish_clients();
    play.order(Act::Undo, all());
    play.order(Act::Release, all());
    play.finish();
    play.judge();
}

#[test]
fn the_power_goes_while_a_shard_is_taken_over() {
    seeds(12).for_each(power_cut_in_take_over);
}

/// The power goes while a shard takes over what another left, and then there are more shards
/// again.
pub(super) fn power_cut_in_take_over(seed: u64) {
    let play = Play::new(seed, 3);
    play.mood.set(Mood {
        temporary: 1000,
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    play.finish_clients();
    for shards in [1, 3, 2, 4] {
        play.crash();
        play.set_shards(shards);
        play.cut_power_within(40);
        if !play.boot() {
            play.note_crash();
        }
    }
    play.disk().set_faults(Faults::default());
    play.crash();
    play.boot_surely();
    play.finish();
    play.judge();
}

pub(super) fn all() -> Selector {
    Selector {
        all: true,
        ..Selector::default()
    }
}

/// Small enough to fill in a short play, large enough for the largest record.
const SMALL_SEGMENT: u64 = 1 << 20;
/// For messages of up to 60 KB.
const TINY_SEGMENT: u64 = 256 << 10;
