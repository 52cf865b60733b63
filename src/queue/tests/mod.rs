mod rest;

use std::collections::HashMap;
use std::time::Duration;

use smallvec::smallvec;

use super::watch::{Watch, Why};
use super::*;
use crate::mail::envelope::{Notify, Priority, QueueId};
use crate::mail::mark::{SenderMark, SizeMark};
use crate::mail::outcome::RemoteReply;
use crate::time::Wall;
use crate::wire::status::ReplyCode;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};

pub(super) fn settings() -> Settings {
    Settings {
        retry: vec![MINUTE, 5 * MINUTE, HOUR],
        expire: 24 * HOUR,
        delay_notice: Some(4 * HOUR),
        lane_connections: 20,
    }
}

pub(super) fn at(seconds: i64) -> Tick {
    Tick(seconds * 1_000_000)
}

fn locator() -> Locator {
    Locator {
        segment: 1,
        len: 100,
        offset: 64,
    }
}

pub(super) fn admission(id: u64, now: Tick, lanes: &[(&str, &[u16])]) -> Admission {
    let parts = lanes.iter().map(|(lane, recipients)| PartAdmission {
        lane: Rc::from(*lane),
        recipients: recipients
            .iter()
            .map(|&place| RecipientAdmission::new(place, None))
            .collect(),
        attempts: 0,
        due: now,
    });
    Admission {
        id: QueueId(id),
        locator: locator(),
        accepted: now,
        sender: SenderMark::of("a@c.test"),
        size: SizeMark::default(),
        held: false,
        removed: None,
        delay_told: false,
        priority: Default::default(),
        parts: parts.collect(),
    }
}

fn diagnosis(class: u8, text: &str) -> Diagnosis {
    Diagnosis::ours(EnhancedStatus::new(class, 1, 1), text)
}

pub(super) fn delivered() -> Outcome {
    Outcome::Delivered {
        reply: RemoteReply {
            code: ReplyCode::OK,
            status: EnhancedStatus::new(2, 0, 0),
            text: "250 ok".into(),
        },
        remote_mta: Some("mx.test".into()),
        success: None,
    }
}

pub(super) fn deferred(blame: Blame) -> Outcome {
    Outcome::Deferred {
        blame,
        diagnosis: diagnosis(4, "later"),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        blame: Blame::Recipient,
        diagnosis: diagnosis(5, "never"),
    }
}

/// The lanes that a poll tells of; its decisions are dropped.
pub(super) fn lanes(queue: &mut Queue, now: Tick) -> Vec<LaneKey> {
    let due = queue.poll(now).into_iter();
    due.filter_map(|due| match due {
        Due::Lane(lane) => Some(lane),
        Due::Decision(_) => None,
    })
    .collect()
}

pub(super) fn decisions(queue: &mut Queue, now: Tick) -> Vec<Decision> {
    let due = queue.poll(now).into_iter();
    due.filter_map(|due| match due {
        Due::Decision(decision) => Some(decision),
        Due::Lane(_) => None,
    })
    .collect()
}

#[test]
fn a_message_is_taken_delivered_and_gone() {
    let mut queue = Queue::new(settings());
    queue.admit(at(0), admission(1, at(0), &[("d.test", &[0, 1])]));
    let lane = lanes(&mut queue, at(0))[0];
    assert_eq!(queue.connections_wanted(lane), 1);
    queue.connection_opened(lane);
    let taken = queue.take(at(1), lane).unwrap();
    assert_eq!((taken.id, &taken.recipients[..]), (QueueId(1), &[0, 1][..]));
    assert!(queue.take(at(1), lane).is_none());
    let results = vec![(1, delivered()), (0, delivered())];
    let decisions = queue.settle(at(2), taken.part, results, 7);
    assert!(matches!(decisions[2], Decision::Finished { id, .. } if id == QueueId(1)));
    queue.connection_closed(lane);
    assert!(queue.lane_name(lane).is_none() && queue.messages() == 0);
    queue.check_invariants();
    assert_eq!(queue.counters().delivered, 2);
}

#[test]
fn a_busy_lane_is_told_of_every_new_message_so_that_idle_connections_wake() {
    let mut queue = Queue::new(settings());
    queue.admit(at(0), admission(1, at(0), &[("d.test", &[0])]));
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let taken = queue.take(at(0), lane).unwrap();
    queue.settle(at(0), taken.part, vec![(0, delivered())], 7);
    queue.admit(at(1), admission(2, at(1), &[("d.test", &[0])]));
    assert_eq!(lanes(&mut queue, at(1)), [lane]);
    assert_eq!((queue.ready(lane), queue.connections_wanted(lane)), (1, 0));
}

#[test]
fn what_is_deferred_waits_and_then_fails_with_its_last_words() {
    let mut queue = Queue::new(settings());
    queue.admit(at(0), admission(1, at(0), &[("d.test", &[0])]));
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let taken = queue.take(at(0), lane).unwrap();
    let told = queue.settle(at(0), taken.part, vec![(0, deferred(Blame::Recipient))], 0);
    let [
        Decision::Retry {
            at: due,
            attempts: 1,
            ..
        },
    ] = told[..]
    else {
        panic!("{told:?}")
    };
    assert!(due >= at(54) && due <= at(66), "{due:?}");
    assert!(lanes(&mut queue, at(50)).is_empty());
    assert_eq!(lanes(&mut queue, at(66)), [lane]);
    let told = decisions(&mut queue, at(24 * 3600));
    let [Decision::Report(report)] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(report.kind == ReportKind::Failure && report.recipients[0].cause == Cause::Time);
    let why = report.recipients[0].diagnosis.as_ref().unwrap();
    assert!(why.text.contains("later") && why.status.to_string() == "4.4.7");
    assert_eq!(queue.counters().queued, 1, "until the report is stored");
    let last = queue.report_stored(at(24 * 3600), report);
    assert!(matches!(last[..], [Decision::Finished { .. }]));
    assert_eq!(queue.counters().expired, 1);
}

#[test]
fn recipients_that_fail_on_two_lanes_are_told_of_in_one_report() {
    let mut queue = Queue::new(settings());
    queue.admit(
        at(0),
        admission(1, at(0), &[("a.test", &[0]), ("b.test", &[1])]),
    );
    let found = lanes(&mut queue, at(0));
    let taken: Vec<Assignment> = found
        .iter()
        .map(|&lane| {
            queue.connection_opened(lane);
            queue.take(at(0), lane).unwrap()
        })
        .collect();
    let place = |taken: &Assignment| taken.recipients[0];
    let first = queue.settle(at(1), taken[0].part, vec![(place(&taken[0]), failed())], 7);
    assert!(first.is_empty(), "{first:?}");
    let second = queue.settle(at(2), taken[1].part, vec![(place(&taken[1]), failed())], 7);
    let [Decision::Report(report)] = &second[..] else {
        panic!("{second:?}")
    };
    let places: Vec<u16> = report.recipients.iter().map(|one| one.recipient).collect();
    assert_eq!(places, [0, 1]);
}

#[test]
fn a_dead_host_closes_its_lane_and_one_connection_probes_it() {
    let mut queue = Queue::new(settings());
    for id in 0..10 {
        queue.admit(at(0), admission(id, at(0), &[("d.test", &[0])]));
    }
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let taken = queue.take(at(0), lane).unwrap();
    let why = diagnosis(4, "refused");
    queue.settle(
        at(0),
        taken.part,
        vec![(0, deferred(Blame::Destination))],
        7,
    );
    queue.lane_failed(at(0), lane, Blame::Destination, &why, 7);
    queue.connection_closed(lane);
    assert_eq!(queue.connections_wanted(lane), 0);
    assert!(lanes(&mut queue, at(10)).is_empty());
    assert_eq!(lanes(&mut queue, at(66)), [lane]);
    assert_eq!(queue.connections_wanted(lane), 1);
    queue.check_invariants();
}

#[test]
fn mail_for_a_lane_in_back_off_has_no_way() {
    let mut queue = Queue::new(settings());
    let first = queue.admit(at(0), admission(1, at(0), &[("d.test", &[0])]));
    assert!(queue.has_way(first));
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let why = diagnosis(4, "refused");
    queue.lane_failed(at(0), lane, Blame::Host, &why, 7);
    queue.connection_closed(lane);
    assert!(!queue.has_way(first));
    let both = [("d.test", &[0][..]), ("e.test", &[1][..])];
    let other = queue.admit(at(1), admission(2, at(1), &both));
    assert!(queue.has_way(other), "e.test is open");
    queue.lane_ok(lane);
    assert!(queue.has_way(first));
    queue.remove_for_good(at(2), first);
    assert!(!queue.has_way(first), "it is gone");
}

/// After a restart too, when each brings its own copy from the disk.
#[test]
fn mail_that_heard_the_same_shares_the_words() {
    let mut queue = Queue::new(settings());
    let keys = [
        (1, "refused"),
        (2, "refused"),
        (3, "silence"),
        (4, "silence"),
    ]
    .map(|(id, words)| {
        let mut found = admission(id, at(0), &[("d.test", &[0])]);
        found.parts[0].recipients[0].diagnosis = Some(diagnosis(4, words));
        queue.admit(at(0), found)
    });
    let words = keys.map(|key| queue.show(key)[0].recipients[0].diagnosis.clone().unwrap());
    assert!(Rc::ptr_eq(&words[0], &words[1]) && Rc::ptr_eq(&words[2], &words[3]));
    assert_eq!([&*words[0].text, &*words[2].text], ["refused", "silence"]);
}

#[test]
fn a_null_sender_and_notify_never_are_told_nothing() {
    let mut queue = Queue::new(settings());
    let mut bounce = admission(1, at(0), &[("d.test", &[0])]);
    bounce.sender = SenderMark::NULL;
    let mut quiet = admission(2, at(0), &[("d.test", &[0])]);
    quiet.parts[0].recipients[0].notify = Some(NEVER);
    queue.admit(at(0), bounce);
    queue.admit(at(0), quiet);
    let lane = lanes(&mut queue, at(0))[0];
    for _ in 0..2 {
        let taken = queue.take(at(0), lane).unwrap();
        let told = queue.settle(at(0), taken.part, vec![(0, failed())], 7);
        assert!(
            matches!(
                told[..],
                [Decision::Failed { .. }, Decision::Finished { .. }]
            ),
            "{told:?}"
        );
    }
    assert_eq!(queue.counters().bounced, 2);
}

#[test]
fn what_an_operator_holds_rests_until_released() {
    let mut queue = Queue::new(settings());
    let key = queue.admit(at(0), admission(1, at(0), &[("d.test", &[0])]));
    assert!(queue.hold(key));
    assert!(lanes(&mut queue, at(30 * 3600)).is_empty());
    queue.check_invariants();
    assert!(queue.release(at(3600), key));
    assert_eq!(lanes(&mut queue, at(3600)).len(), 1);
    let told = queue.remove_for_good(at(3601), key);
    assert!(matches!(
        told[..],
        [Decision::Removed { .. }, Decision::Finished { .. }]
    ));
    assert_eq!(queue.counters().removed, 1);
}

/// A history of random events against a plain account of who was told what.
struct History {
    random: u64,
    queue: Queue,
    now: Tick,
    next: u64,
    taken: Vec<(LaneKey, Assignment)>,
    known: Vec<LaneKey>,
    /// By message and recipient: how often it was settled.
    fates: HashMap<(QueueId, u16), u32>,
    keys: HashMap<QueueId, MessageKey>,
    /// Recipients that were put back, which are accepted twice.
    restored: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: seed,
            queue: Queue::new(settings()),
            now: at(0),
            next: 1,
            taken: Vec::new(),
            known: Vec::new(),
            fates: HashMap::new(),
            keys: HashMap::new(),
            restored: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn step(&mut self) {
        match self.below(8) {
            0 | 1 => self.arrive(),
            2 | 3 => self.attempt(),
            4 | 5 => self.settle(),
            6 => {
                let seconds = self.below(4000);
                self.now = self.now + Duration::from_secs(seconds);
            }
            _ => self.operate(),
        }
        self.poll();
        self.queue.check_invariants();
    }

    fn arrive(&mut self) {
        let id = self.next;
        self.next += 1;
        let spread = 1 + self.below(4) as u16;
        let mut admission = admission(id, self.now, &[]);
        if self.below(5) == 0 {
            admission.sender = SenderMark::NULL;
        }
        for place in 0..spread {
            let lane = ["a.test", "b.test", "c.test"][self.below(3) as usize];
            let notify = (self.below(6) == 0).then_some(NEVER);
            admission.parts.push(PartAdmission {
                lane: lane.into(),
                recipients: smallvec![RecipientAdmission::new(place, notify)],
                attempts: 0,
                due: self.now,
            });
            self.fates.insert((QueueId(id), place), 0);
        }
        let key = self.queue.admit(self.now, admission);
        self.keys.insert(QueueId(id), key);
    }

    fn attempt(&mut self) {
        let known = self.known.clone();
        for lane in known {
            if let Some(taken) = self.queue.take(self.now, lane) {
                self.queue.connection_opened(lane);
                self.taken.push((lane, taken));
            }
        }
    }

    fn settle(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let which = self.below(self.taken.len() as u64) as usize;
        let (lane, taken) = self.taken.swap_remove(which);
        let mut results = Vec::new();
        for &place in &taken.recipients {
            let outcome = match self.below(7) {
                0 => failed(),
                1 => deferred(Blame::Destination),
                2 => deferred(Blame::Local),
                3 => Outcome::Doubtful {
                    diagnosis: diagnosis(4, "lost"),
                },
                4 => continue,
                _ => delivered(),
            };
            results.push((place, outcome));
        }
        let random = self.below(u64::MAX);
        let told = self.queue.settle(self.now, taken.part, results, random);
        if self.below(4) == 0 {
            let why = diagnosis(4, "down");
            self.queue
                .lane_failed(self.now, lane, Blame::Host, &why, random);
        } else {
            self.queue.lane_ok(lane);
        }
        self.queue.connection_closed(lane);
        self.hear(told);
    }

    fn operate(&mut self) {
        let id = QueueId(1 + self.below(self.next));
        let Some(&key) = self.keys.get(&id) else {
            return;
        };
        let removal = Removal {
            until: self.now + MINUTE * (1 + self.below(20) as u32),
            wall: Wall(0),
        };
        let told = match self.below(9) {
            0 => self.queue.remove_for_good(self.now, key),
            1 => self.queue.bounce(self.now, key),
            6 | 7 => self
                .queue
                .remove(self.now, key, removal)
                .unwrap_or_default(),
            8 => {
                let before = self.queue.counters().accepted;
                self.queue.restore(self.now, key);
                self.restored += self.queue.counters().accepted - before;
                Decisions::new()
            }
            2 => {
                self.queue.hold(key);
                Decisions::new()
            }
            3 => {
                self.queue.retry_now(self.now, key);
                Decisions::new()
            }
            _ => {
                self.queue.release(self.now, key);
                Decisions::new()
            }
        };
        self.hear(told);
    }

    fn poll(&mut self) {
        let mut told = Decisions::new();
        for due in self.queue.poll(self.now) {
            match due {
                Due::Lane(lane) if !self.known.contains(&lane) => self.known.push(lane),
                Due::Lane(_) => {}
                Due::Decision(decision) => told.push(decision),
            }
        }
        self.hear(told);
    }

    fn settled(&mut self, id: QueueId, recipient: u16) {
        let count = self.fates.get_mut(&(id, recipient)).expect("a recipient");
        *count += 1;
        assert_eq!(*count, 1, "{id} {recipient} is settled once");
    }

    fn hear(&mut self, told: Decisions) {
        // A report takes a while to be stored: the decisions beside it are carried out first.
        let mut reports = Vec::new();
        for decision in told {
            match decision {
                Decision::Delivered { id, recipient, .. }
                | Decision::Failed { id, recipient, .. }
                | Decision::Removed { id, recipient, .. } => self.settled(id, recipient),
                Decision::Retry { at, .. } => assert!(at > self.now),
                Decision::Report(report) => reports.push(report),
                Decision::Finished { id, .. } => {
                    self.keys.remove(&id);
                    let open = self
                        .fates
                        .iter()
                        .filter(|((of, _), count)| *of == id && **count == 0);
                    assert_eq!(open.count(), 0, "{id} is finished with all its recipients");
                }
            }
        }
        for report in reports {
            self.report(&report);
        }
    }

    fn report(&mut self, report: &Report) {
        let told = if self.below(3) == 0 {
            self.queue.report_refused(self.now, report.clone())
        } else {
            if report.kind == ReportKind::Failure {
                for one in &report.recipients {
                    self.settled(report.id, one.recipient);
                }
            }
            self.queue.report_stored(self.now, report)
        };
        self.hear(told);
    }
}

#[test]
fn whatever_happens_every_recipient_is_settled_once_and_the_accounts_balance() {
    let mut restored = 0;
    for seed in 0..200 {
        let mut history = History::new(seed);
        for _ in 0..150 {
            history.step();
        }
        while !history.taken.is_empty() {
            history.settle();
        }
        let held: Vec<MessageKey> = history.keys.values().copied().collect();
        for key in held {
            history.queue.release(history.now, key);
        }
        for _ in 0..60 {
            history.now = history.now + HOUR;
            history.poll();
        }
        let counters = history.queue.counters();
        assert_eq!(
            (history.queue.messages(), counters.queued),
            (0, 0),
            "seed {seed}"
        );
        let settled = counters.delivered + counters.bounced + counters.expired + counters.removed;
        assert_eq!(counters.accepted, settled, "seed {seed}");
        let arrived = counters.accepted - history.restored;
        assert_eq!(arrived as usize, history.fates.len());
        restored += history.restored;
        assert!(history.fates.values().all(|&count| count == 1));
        history.queue.check_invariants();
    }
    assert!(restored > 0, "nothing was put back");
}

/// What is stuck, and how much of it.
type Stuck = Vec<(Why, u64)>;

/// Looks once a minute up to `until`; what was told, and what is stuck in the end.
fn watched(queue: &mut Queue, from: i64, until: i64) -> (Vec<(QueueId, Why)>, Stuck) {
    let (mut watch, mut told) = (Watch::default(), Vec::new());
    for minute in from / 60..until / 60 {
        told.extend(queue.look(&mut watch, at(minute * 60)));
        // To the end of the sweep.
        told.extend(queue.look(&mut watch, at(minute * 60)));
    }
    let stuck = watch.stuck().filter(|(_, messages)| *messages > 0);
    let stuck = stuck.collect();
    (told, stuck)
}

/// Message 1 in a queue, taken by a connection of its lane.
fn taken() -> (Queue, LaneKey, Assignment) {
    let mut queue = Queue::new(settings());
    queue.admit(at(0), admission(1, at(0), &[("a", &[0])]));
    let lane = lanes(&mut queue, at(0))[0];
    queue.connection_opened(lane);
    let assignment = queue.take(at(0), lane).unwrap();
    (queue, lane, assignment)
}

#[test]
fn mail_that_moves_is_not_stuck() {
    let (mut queue, lane, assignment) = taken();
    assert_eq!(watched(&mut queue, 0, 3600), (vec![], vec![]));
    let results = vec![(0, deferred(Blame::Recipient))];
    queue.settle(at(3600), assignment.part, results, 0);
    queue.connection_closed(lane);
    assert_eq!(watched(&mut queue, 3600, 3640), (vec![], vec![]));
    // A lane in back-off has a timer, and what is held is an operator's.
    let mut held = admission(2, at(3600), &[("b", &[0])]);
    held.held = true;
    queue.admit(at(3600), held);
    queue.admit(at(3600), admission(3, at(3600), &[("c", &[0])]));
    let closed = lanes(&mut queue, at(3600))[0];
    queue.lane_failed(at(3600), closed, Blame::Host, &diagnosis(4, "down"), 0);
    assert_eq!(watched(&mut queue, 3600, 3640), (vec![], vec![]));
}

#[test]
fn mail_without_a_timer_is_stuck() {
    let (mut queue, lane, assignment) = taken();
    let results = vec![(0, deferred(Blame::Recipient))];
    trial::with(Some(Bug::TimerLost), || {
        queue.settle(at(1), assignment.part, results, 0)
    });
    queue.connection_closed(lane);
    let unscheduled = (
        vec![(QueueId(1), Why::Unscheduled)],
        vec![(Why::Unscheduled, 1)],
    );
    assert_eq!(watched(&mut queue, 0, 3600), unscheduled);
    let expired = (vec![(QueueId(1), Why::Expired)], vec![(Why::Expired, 1)]);
    assert_eq!(watched(&mut queue, 25 * 3600, 26 * 3600), expired);
}

#[test]
fn mail_that_nobody_comes_for_is_stuck() {
    // Its timer rings, and nobody polls.
    let (mut queue, lane, assignment) = taken();
    let results = vec![(0, deferred(Blame::Recipient))];
    queue.settle(at(1), assignment.part, results, 0);
    queue.connection_closed(lane);
    let unscheduled = (
        vec![(QueueId(1), Why::Unscheduled)],
        vec![(Why::Unscheduled, 1)],
    );
    assert_eq!(watched(&mut queue, 0, 3600), unscheduled);
    // Its lane was told of, and no connection opened.
    let mut queue = Queue::new(settings());
    queue.admit(at(0), admission(1, at(0), &[("a", &[0])]));
    let lane = lanes(&mut queue, at(0))[0];
    assert_eq!(watched(&mut queue, 0, 3600), unscheduled);
    // Its connection waits for a permit that never comes.
    queue.connection_opened(lane);
    assert_eq!(watched(&mut queue, 0, 3600), (vec![], vec![]));
    assert_eq!(watched(&mut queue, 3600, 7200), unscheduled);
}

#[test]
fn attempts_and_reports_that_never_end_are_stuck() {
    let (mut queue, _, assignment) = taken();
    let (told, stuck) = watched(&mut queue, 4 * 3600, 5 * 3600);
    assert_eq!(told, [(QueueId(1), Why::InFlight)]);
    assert_eq!(stuck, [(Why::InFlight, 1)]);
    let decisions = queue.settle(at(1), assignment.part, vec![(0, failed())], 0);
    assert!(matches!(decisions[..], [Decision::Report(_)]));
    let (told, stuck) = watched(&mut queue, 0, 3600);
    assert_eq!(told, [(QueueId(1), Why::Unreported)]);
    assert_eq!(stuck, [(Why::Unreported, 1)]);
}

#[test]
fn a_shorter_expiry_is_followed_by_mail_that_waits() {
    let (mut queue, lane, assignment) = taken();
    let results = vec![(0, deferred(Blame::Recipient))];
    queue.settle(at(1), assignment.part, results, 0);
    queue.connection_closed(lane);
    queue.set_settings(Settings {
        expire: Duration::from_secs(30),
        ..settings()
    });
    assert_eq!(watched(&mut queue, 0, 120), (vec![], vec![]));
    assert!(queue.next_deadline() <= Some(at(30)));
    let decisions = queue.poll(at(30));
    let is_told = |due: &Due| matches!(due, Due::Decision(Decision::Report(_)));
    assert!(decisions.iter().any(is_told), "{decisions:?}");
}

#[test]
fn a_sweep_takes_many_looks() {
    let mut queue = Queue::new(settings());
    for id in 0..1000 {
        queue.admit(at(0), admission(id, at(0), &[("a", &[0])]));
    }
    let mut watch = Watch::default();
    // Nobody came for any of them.
    lanes(&mut queue, at(0));
    let mut told = Vec::new();
    for look in 0..40 {
        told.extend(queue.look(&mut watch, at(look * 100)));
    }
    assert_eq!(told.len(), 1000);
    assert!(told.iter().all(|(_, why)| *why == Why::Unscheduled));
}

#[test]
fn a_sweep_in_steps_sees_every_message_once() {
    let mut queue = Queue::new(settings());
    let messages = u64::from(operator::SWEEP_BATCH) * 2 + 7;
    for id in 0..messages {
        let recipients: &[(&str, &[u16])] = &[("a.test", &[0, 2]), ("b.test", &[1])];
        queue.admit(at(0), admission(id, at(0), recipients));
    }
    let held = queue.find(QueueId(5)).expect("a message");
    queue.hold(held);
    let gone = queue.find(QueueId(6)).expect("a message");
    queue.remove_for_good(at(1), gone);
    let (mut seen, mut shapes, mut place, mut steps) = (Vec::new(), Shapes::default(), Some(0), 0);
    while let Some(from) = place {
        place = queue.sweep(from, |message| seen.push(message.id().0));
        assert_eq!(queue.sweep_shapes(at(400), from, &mut shapes), place);
        steps += 1;
    }
    assert_eq!(steps, 3);
    seen.sort_unstable();
    assert!(seen.into_iter().eq((0..messages).filter(|&id| id != 6)));
    let shapes = shapes.finish();
    let left = messages - 1;
    assert_eq!((&*shapes[0].lane, &*shapes[1].lane), ("a.test", "b.test"));
    assert_eq!(
        shapes[0].recipients[1],
        2 * left,
        "between five and ten minutes old"
    );
    assert_eq!(shapes[0].states, [2 * (left - 1), 0, 0, 2, 0]);
    let glance = queue.glance(held).expect("a message");
    let parts: Vec<_> = glance
        .parts()
        .map(|part| (part.state, part.recipients()))
        .collect();
    assert_eq!(parts.len(), 2);
    assert!(parts.contains(&(State::Held, 2)) && parts.contains(&(State::Held, 1)));
    assert!(queue.glance(gone).is_none());
}

#[test]
fn low_priorities_wait_for_long_and_not_for_ever() {
    let mut queue = Queue::new(settings());
    let classes = [Priority::Low, Priority::Normal, Priority::High];
    for id in 0..150u64 {
        let priority = classes[(id / 50) as usize];
        queue.admit(
            at(0),
            Admission {
                priority,
                ..admission(id, at(0), &[("d.test", &[0])])
            },
        );
    }
    queue.check_invariants();
    let lane = queue.lanes().next().unwrap().key;
    let mut order = Vec::new();
    while let Some(taken) = queue.take(at(1), lane) {
        order.push(taken.id.0);
        queue.check_invariants();
    }
    let of =
        |range: std::ops::Range<u64>| order[..42].iter().filter(|id| range.contains(id)).count();
    assert_eq!([of(100..150), of(50..100), of(0..50)], [32, 8, 2]);
    assert_eq!(order.len(), 150);
    for class in 0..3 {
        let ids: Vec<u64> = order
            .iter()
            .copied()
            .filter(|id| id / 50 == class)
            .collect();
        assert!(ids.is_sorted(), "of one priority the first one goes first");
    }
}
