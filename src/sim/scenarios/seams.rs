//! A fault at every seam of the world, one at a time: disk, calendar, names.

use std::time::Duration;

use super::play::{EVERYWHERE, Play, SENDERS};
use crate::observe::ask::Health;
use crate::sim::disk::Faults;
use crate::sim::peers::exchanger::Mood;
use crate::sim::seeds;

/// A relay with small segments, in the middle of its work.
fn busy(seed: u64) -> Play {
    let mut play = Play::with(seed, 1, |config| config.spool.segment = 256 << 10);
    play.terms.disk_failed = true;
    // A log that must not be synced again forgets what was delivered since.
    play.terms.settle_lag = Duration::from_secs(31);
    play.boot_surely();
    let body_max = if seed.is_multiple_of(4) {
        1_500_000
    } else {
        60_000
    };
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, body_max);
    }
    play
}

#[test]
fn any_operation_of_the_disk_fails() {
    seeds(40).for_each(io_error);
}

/// One operation of the disk fails, whatever it is; then the relay is started again, on a disk that
/// may still be bad at that moment.
pub(super) fn io_error(seed: u64) {
    let play = busy(seed);
    play.sim
        .run_for(Duration::from_millis(play.random().below(1_500)));
    play.fail_within(200);
    play.sim.run_for(Duration::from_secs(30));
    play.crash();
    play.fail_within(40);
    if !play.may_boot() {
        play.disk().set_faults(Faults::default());
        play.crash();
        play.boot_surely();
    }
    play.disk().set_faults(Faults::default());
    play.finish_clients();
    play.finish_or_restart();
    play.judge();
}

#[test]
fn any_operation_of_the_disk_finds_no_room() {
    seeds(40).for_each(no_room);
}

/// One operation finds no room. Service returns by itself, unless it was fdatasync that said so.
pub(super) fn no_room(seed: u64) {
    let play = busy(seed);
    let full_at = Some(1 + play.random().below(100));
    play.disk().set_faults(Faults {
        full_at,
        ..Faults::default()
    });
    play.sim.run_for(Duration::from_secs(20));
    play.finish_or_restart();
    play.judge();
}

#[test]
fn the_calendar_jumps_at_any_moment() {
    seeds(20).for_each(calendar);
}

/// The calendar is set back by up to a day and forth by some minutes, again and again, and some
/// relays die in between.
pub(super) fn calendar(seed: u64) {
    const MINUTE: u64 = 60 * 1_000_000;
    let play = Play::new(seed, 2);
    play.mood.set(Mood {
        greylists: 700,
        temporary: 100,
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 0, 20_000);
    }
    let random = play.random();
    for _ in 0..8 {
        play.sim
            .run_for(Duration::from_millis(random.below(20_000)));
        let (back, forth) = (random.below(24 * 60 * MINUTE), random.below(10 * MINUTE));
        let jump = if random.permille(500) {
            -back.cast_signed()
        } else {
            forth.cast_signed()
        };
        play.sim.jump_wall(jump);
        if random.permille(200) {
            play.crash();
            play.boot_surely();
        }
    }
    play.conclude();
}

#[test]
fn the_dns_lies() {
    seeds(20).for_each(lies);
}

/// One answer of the DNS in three is a lie. Mail may go to a stranger then, or fail; it is neither
/// lost nor sent twice.
pub(super) fn lies(seed: u64) {
    let mut play = Play::new(seed, 2);
    // A host that others are said to be counts their connections as its own.
    play.terms.connections_max *= 3;
    play.ledger.write(|entries| entries.refused_unnamed += 1);
    // Nobody is told that a report could not be delivered: the truth about those who wait for one.
    play.sim.set_lies(330, SENDERS);
    play.boot_surely();
    for _ in 0..3 {
        play.client(6, &EVERYWHERE, 50, 20_000);
    }
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(120));
    play.sim.set_lies(0, SENDERS);
    play.finish();
    play.judge();
}

impl Play {
    /// One of the disk's next so many operations fails.
    fn fail_within(&self, operations: u64) {
        let fail_at = Some(1 + self.random().below(operations));
        self.disk().set_faults(Faults {
            fail_at,
            ..Faults::default()
        });
    }

    /// Ends the play; a relay whose disk has failed for good is started again first.
    fn finish_or_restart(&self) {
        let is_broken = |health| health == Health::SpoolBroken;
        if self.facts().iter().any(|facts| is_broken(facts.health)) {
            self.crash();
            self.disk().set_faults(Faults::default());
            self.boot_surely();
        }
        self.finish_clients();
        self.finish();
    }
}
