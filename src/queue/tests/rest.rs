//! Mail whose pace is limited: given back, kept waiting, and never counted as tried.

use super::*;

/// A lane with three messages, the first of them taken.
fn taken() -> (Queue, LaneKey, Assignment) {
    let mut queue = Queue::new(settings());
    for id in 1..=3 {
        queue.admit(at(0), admission(id, at(0), &[("d.test", &[0])]));
    }
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let taken = queue.take(at(5), lane).unwrap();
    assert_eq!(taken.id, QueueId(1));
    (queue, lane, taken)
}

#[test]
fn what_is_given_back_is_the_next_again_and_was_not_tried() {
    let (mut queue, lane, first) = taken();
    assert!(queue.give_back(at(7), first.part, first.due).is_empty());
    queue.check_invariants();
    let again = queue.take(at(8), lane).unwrap();
    assert_eq!(
        (again.id, again.attempts, again.due),
        (QueueId(1), 0, at(0))
    );
    assert!(queue.give_back(at(9), first.part, at(0)).is_empty());
    assert_eq!(queue.take(at(9), lane).unwrap().id, QueueId(1));
    // Twice, or by a stranger: nothing happens.
    assert_eq!(queue.ready(lane), 2);
    let order = [2, 3].map(|_| queue.take(at(9), lane).unwrap().id);
    assert_eq!(order, [QueueId(2), QueueId(3)]);
}

#[test]
fn what_is_given_back_alone_is_first_and_last() {
    let mut queue = Queue::new(settings());
    queue.admit(at(0), admission(1, at(0), &[("d.test", &[0])]));
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let only = queue.take(at(0), lane).unwrap();
    let _ = queue.give_back(at(0), only.part, only.due);
    queue.admit(at(1), admission(2, at(1), &[("d.test", &[0])]));
    queue.check_invariants();
    let order = [1, 2].map(|_| queue.take(at(1), lane).unwrap().id);
    assert_eq!(order, [QueueId(1), QueueId(2)]);
}

#[test]
fn what_is_given_back_too_late_expires_and_what_was_removed_is_gone() {
    let (mut queue, lane, first) = taken();
    let late = at(24 * 3600 + 1);
    let _ = queue.give_back(late, first.part, first.due);
    queue.check_invariants();
    assert!(queue.take(late, lane).is_none());
    let (mut queue, lane, first) = taken();
    let removal = Removal {
        until: at(600),
        wall: Wall(0),
    };
    assert!(queue.remove(at(6), first.message, removal).is_some());
    let _ = queue.give_back(at(7), first.part, first.due);
    queue.check_invariants();
    assert_eq!(queue.take(at(8), lane).unwrap().id, QueueId(2));
}

#[test]
fn a_lane_rests_until_its_turn_and_success_elsewhere_does_not_wake_it() {
    let (mut queue, lane, first) = taken();
    queue.connection_opened(lane);
    queue.lane_rests(lane, at(60));
    queue.check_invariants();
    assert_eq!(queue.connections_wanted(lane), 0);
    // A connection that had its slot before ends well.
    queue.settle(at(6), first.part, vec![(0, delivered())], 0);
    queue.lane_ok(lane);
    queue.check_invariants();
    assert_eq!(
        (
            queue.connections_wanted(lane),
            lanes(&mut queue, at(59)).len()
        ),
        (0, 0)
    );
    queue.connection_closed(lane);
    queue.connection_closed(lane);
    assert_eq!(lanes(&mut queue, at(60)), [lane]);
    assert_eq!(queue.connections_wanted(lane), 1, "one sees how it is");
    let facts = queue.lanes().next().unwrap();
    assert_eq!((facts.failures, facts.rests), (0, false));
}

#[test]
fn a_rest_does_not_shorten_a_back_off() {
    let (mut queue, lane, _) = taken();
    let why = diagnosis(4, "down");
    queue.lane_failed(at(6), lane, Blame::Host, &why, 0);
    queue.lane_rests(lane, at(7));
    assert_eq!(queue.lanes().next().unwrap().gate, Gate::Closed);
    assert!(lanes(&mut queue, at(30)).is_empty());
    queue.rouse_resting(at(31));
    assert!(lanes(&mut queue, at(31)).is_empty(), "nor do new limits");
}

#[test]
fn new_limits_rouse_those_who_rest() {
    let (mut queue, lane, first) = taken();
    let _ = queue.give_back(at(6), first.part, first.due);
    queue.lane_rests(lane, at(6000));
    queue.connection_closed(lane);
    queue.rouse_resting(at(10));
    queue.check_invariants();
    assert_eq!(lanes(&mut queue, at(10)), [lane]);
}

/// Too fast is no failure of the message: it waits for a moment, as often as it takes, and fails when
/// its time is over like all others.
#[test]
fn a_throttled_message_waits_for_a_moment_and_is_not_counted() {
    let (mut queue, lane, first) = taken();
    let mut part = first.part;
    let mut now = at(6);
    for _ in 0..20 {
        let decisions = queue.settle(now, part, vec![(0, deferred(Blame::Pace))], 7);
        let Decision::Retry { at, attempts, .. } = &decisions[0] else {
            panic!("{decisions:?}");
        };
        assert_eq!(*attempts, 0);
        let wait = at.since(now);
        let usual = schedule::PACE_PAUSE;
        assert!(
            wait >= usual * 9 / 10 && wait <= usual * 11 / 10,
            "{wait:?}"
        );
        now = *at;
        lanes(&mut queue, now);
        // The others of the lane stood before it.
        part = loop {
            let next = queue.take(now, lane).unwrap();
            if next.id == QueueId(1) {
                break next.part;
            }
        };
    }
    let over = at(24 * 3600);
    let decisions = queue.settle(over, part, vec![(0, deferred(Blame::Pace))], 7);
    let is_retried = |decision: &Decision| matches!(decision, Decision::Retry { .. });
    assert!(!decisions.iter().any(is_retried), "{decisions:?}");
}
