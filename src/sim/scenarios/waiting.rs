//! Mail that waits for long: what is known of it, and when its time is over.

use std::time::Duration;

use super::hardships::all;
use super::play::{EVERYWHERE, Play};
use crate::observe::ask::{Act, Facts, Selector};
use crate::queue::watch::Why;
use crate::sim::peers::exchanger::Mood;
use crate::sim::seeds;
use crate::trial::{self, Bug};

/// Starts the relay, and hands in what hosts say "later" to.
fn keep_waiting(play: &Play) {
    play.mood.set(Mood {
        greylists: 1000,
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..2 {
        play.client(4, &EVERYWHERE, 0, 2_000);
    }
    play.finish_clients();
}

#[test]
fn hosts_that_say_later_are_asked_until_the_mail_expires() {
    seeds(10).for_each(later_for_ever);
}

/// Hosts say "later" for longer than mail may live; half of the relays die in between.
pub(super) fn later_for_ever(seed: u64) {
    let play = Play::with(seed, 2, |config| {
        config.queue.delay_notice = Some(Duration::from_secs(60));
        config.queue.expire = Duration::from_secs(300);
    });
    keep_waiting(&play);
    if seed.is_multiple_of(2) {
        play.sim
            .run_for(Duration::from_millis(play.random().below(250_000)));
        play.crash();
        play.boot_surely();
    }
    play.sim.run_for(Duration::from_secs(1_200));
    let left = play.waiting();
    assert!(left.is_empty(), "{}: {left:?} are left", play.seed());
    play.finish();
    play.judge();
}

#[test]
fn a_host_that_says_later_is_asked_again_when_it_is_time() {
    seeds(10).for_each(in_time);
}

/// A host says "later" and nothing else happens: the clock alone brings the next attempt.
pub(super) fn in_time(seed: u64) {
    let wait = Duration::from_secs(20);
    let mut play = Play::with(seed, 1, |config| {
        config.queue.retry = vec![wait];
        config.queue.expire = Duration::from_secs(300);
    });
    play.terms.retry_wait_max = wait * 5 / 4;
    play.mood.set(Mood {
        greylists: 1000,
        ..Mood::KIND
    });
    play.boot_surely();
    // One host only: what another said would begin a wait of its own.
    play.client(4, &["two.test"], 0, 2_000);
    play.finish_clients();
    play.sim.run_for(Duration::from_secs(600));
    play.finish();
    play.judge();
}

#[test]
fn a_restart_knows_what_was_known() {
    seeds(6).for_each(restart);
}

/// The relay is asked to end, and started again: attempts are counted on, what is held stays so.
pub(super) fn restart(seed: u64) {
    let play = Play::new(seed, 2);
    keep_waiting(&play);
    play.sim.run_for(Duration::from_secs(60));
    play.order(
        Act::Hold,
        Selector {
            domain: Some("one.test".to_owned()),
            ..Selector::default()
        },
    );
    play.sim
        .run_for(Duration::from_secs(play.random().between(20, 90)));
    let before = play.waiting();
    play.drain();
    play.boot_surely();
    let after = play.waiting();
    assert!(before.keys().eq(after.keys()), "{}", play.seed());
    for (who, (attempts, is_held)) in &before {
        let (counted, stays) = after[who];
        assert_eq!(stays, *is_held, "{}: {who:?} is held", play.seed());
        assert!(
            counted >= *attempts && *attempts > 0,
            "{}: {who:?} was tried {attempts} times, not {counted}",
            play.seed()
        );
    }
    play.order(Act::Release, all());
    play.finish();
    play.judge();
}

#[test]
fn a_removal_is_undone() {
    seeds(12).for_each(undo);
}

/// An operator removes all that waits and has it back, over a crash or with other shards: it is as it
/// was, and comes to its recipients.
pub(super) fn undo(seed: u64) {
    let play = Play::new(seed, 2);
    keep_waiting(&play);
    play.sim.run_for(Duration::from_secs(60));
    let one = Selector {
        domain: Some("one.test".to_owned()),
        ..Selector::default()
    };
    play.order(Act::Hold, one);
    let before = play.waiting();
    let removed = play.order(Act::Remove, all());
    assert!(removed > 0 && play.waiting().is_empty(), "{}", play.seed());
    let facts = play.facts();
    let queued: u64 = facts.iter().map(|one| one.messages_queued).sum();
    assert_eq!(queued, 0, "{}: what is removed does not wait", play.seed());
    play.sim
        .run_for(Duration::from_secs(play.random().below(400)));
    match seed % 3 {
        0 => play.crash(),
        1 => {
            play.drain();
            play.set_shards(1);
        }
        _ => {}
    }
    if seed % 3 < 2 {
        play.boot_surely();
    }
    assert!(
        play.waiting().is_empty(),
        "{}: it is still removed",
        play.seed()
    );
    assert_eq!(play.order(Act::Undo, all()), removed, "{}", play.seed());
    let after = play.waiting();
    assert!(before.keys().eq(after.keys()), "{}", play.seed());
    for (who, (attempts, is_held)) in &before {
        let (counted, stays) = after[who];
        // An attempt that was under way when its message was removed is counted at its end.
        let may_be = *attempts..=attempts + 1;
        assert!(
            may_be.contains(&counted) && stays == *is_held,
            "{}: {who:?} is as it was, {attempts} attempts, not {counted}",
            play.seed()
        );
    }
    play.order(Act::Release, all());
    play.finish();
    play.judge();
}

#[test]
fn what_was_removed_is_gone_in_the_end() {
    seeds(6).for_each(removal);
}

/// Nobody undoes a removal: nothing of it is sent any more, and the disk is free again.
pub(super) fn removal(seed: u64) {
    let play = Play::new(seed, 2);
    keep_waiting(&play);
    play.sim.run_for(Duration::from_secs(60));
    let removed = play.order(Act::Remove, all());
    play.sim
        .run_for(Duration::from_secs(play.random().below(500)));
    if seed.is_multiple_of(2) {
        play.crash();
        play.boot_surely();
    }
    let copies = play.ledger.read(|entries| entries.copies.len());
    play.mood.set(Mood::KIND);
    play.sim.run_for(Duration::from_secs(601));
    assert_eq!(play.order(Act::Undo, all()), 0, "{}: too late", play.seed());
    let sent = play.ledger.read(|entries| entries.copies.len());
    assert_eq!(sent, copies, "{}: it was sent all the same", play.seed());
    let facts = play.facts();
    let sum = |count: fn(&Facts) -> u64| facts.iter().map(count).sum::<u64>();
    assert!(
        sum(|one| one.counters.removed) >= removed,
        "{}",
        play.seed()
    );
    assert_eq!(sum(|one| one.spool_live_octets), 0, "{}", play.seed());
    for one in &facts {
        assert_eq!(one.counters.difference(), 0, "{}", play.seed());
    }
}

/// What a bug makes of mail, the look-out tells; and nothing of mail that merely waits.
#[test]
fn mail_that_stands_still_is_told_of() {
    for (bug, expire_h, why) in [
        (None, 5, None),
        (Some(Bug::TimerLost), 5, Some(Why::Unscheduled)),
        (Some(Bug::PermitLeaked), 5, Some(Why::Unscheduled)),
        (Some(Bug::RetryPastExpiry), 1, Some(Why::Expired)),
    ] {
        let found = trial::with(bug, || still(expire_h));
        assert_eq!(found, why, "{bug:?}");
    }
}

/// Two hours and a half among hosts that say "later": why mail is stuck, where any is.
fn still(expire_h: u64) -> Option<Why> {
    let play = Play::with(1, 1, |config| {
        config.queue.expire = Duration::from_secs(expire_h * 3600);
        config.queue.retry = vec![Duration::from_secs(120)];
    });
    keep_waiting(&play);
    play.sim.run_for(Duration::from_secs(9_000));
    let facts = play.facts();
    let mut stuck = facts.iter().flat_map(|facts| &facts.stuck);
    stuck
        .find(|(_, messages)| *messages > 0)
        .map(|(why, _)| *why)
}
