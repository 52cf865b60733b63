//! What it costs to decide: the queue with few and with many messages waiting, permits, the order of
//! MX hosts, and what is recorded of every stage. Each checks once that it decides right.
//!
//! `cargo bench --bench decisions`

#![allow(
    clippy::expect_used,
    reason = "a bench that cannot go on has nothing to measure"
)]

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringpost::mail::Locator;
use ringpost::mail::envelope::QueueId;
use ringpost::mail::mark::{SenderMark, SizeMark};
use ringpost::mail::outcome::{Blame, Diagnosis, Outcome, RemoteReply};
use ringpost::observe::stage::{Recorder, Stage};
use ringpost::queue::permits::Home;
use ringpost::queue::{
    Admission, Assignment, Decision, Due, PartAdmission, Queue, RecipientAdmission, Settings,
};
use ringpost::route::dns::{Answer, Records};
use ringpost::route::mx::{Own, Plan, plan};
use ringpost::time::Tick;
use ringpost::wire::status::{EnhancedStatus, ReplyCode};

const HOUR: Duration = Duration::from_secs(3600);

fn settings() -> Settings {
    Settings {
        retry: vec![Duration::from_secs(60), HOUR],
        expire: 120 * HOUR,
        delay_notice: Some(4 * HOUR),
        lane_connections: 20,
    }
}

fn admission(id: u64, lane: &Rc<str>, now: Tick, due: Tick) -> Admission {
    Admission {
        id: QueueId(id),
        locator: Locator {
            segment: 1,
            len: 1_500,
            offset: 64,
        },
        accepted: now,
        sender: SenderMark::of("a@c.test"),
        size: SizeMark::of(1_024),
        held: false,
        removed: None,
        delay_told: false,
        priority: Default::default(),
        parts: vec![PartAdmission {
            lane: Rc::clone(lane),
            recipients: vec![RecipientAdmission::new(0, None)].into(),
            attempts: 0,
            due,
        }]
        .into(),
    }
}

/// A queue in which so many messages to a thousand destinations wait for their next attempt.
fn waiting(messages: u64) -> Queue {
    let mut queue = Queue::new(settings());
    let lanes: Vec<Rc<str>> = (0..1_000).map(|n| format!("d{n}.test").into()).collect();
    for id in 0..messages {
        let lane = &lanes[id as usize % lanes.len()];
        let later = Tick(0) + HOUR + Duration::from_micros(id);
        queue.admit(Tick(0), admission(id, lane, Tick(0), later));
    }
    queue
}

/// Admits a message that is due, and takes it as a connection would.
fn take(queue: &mut Queue, lane: &Rc<str>, id: u64, now: Tick) -> Assignment {
    queue.admit(now, admission(id, lane, now, now));
    let due = queue.poll(now).into_iter().find_map(|due| match due {
        Due::Lane(lane) => Some(lane),
        Due::Decision(_) => None,
    });
    let lane = due.expect("the lane has mail");
    black_box(queue.connections_wanted(lane));
    queue.take(now, lane).expect("the message is ready")
}

fn delivered() -> Outcome {
    Outcome::Delivered {
        reply: RemoteReply {
            code: ReplyCode::OK,
            status: EnhancedStatus::new(2, 0, 0),
            text: "250 2.0.0 Ok".into(),
        },
        remote_mta: None,
        success: None,
    }
}

fn deferred() -> Outcome {
    Outcome::Deferred {
        blame: Blame::Recipient,
        diagnosis: Diagnosis {
            status: EnhancedStatus::new(4, 2, 2),
            text: "mailbox full".into(),
            reply: None,
            remote_mta: None,
        },
    }
}

fn decisions(c: &mut Criterion) {
    let lane: Rc<str> = "example.com".into();
    let now = Tick(1);
    let mut group = c.benchmark_group("queue");
    for messages in [0, 1_000, 100_000] {
        let mut queue = waiting(messages);
        let mut id = messages;
        let mut deliver = |queue: &mut Queue| {
            id += 1;
            let taken = take(queue, &lane, id, now);
            queue.settle(now, taken.part, vec![(0, delivered())], id)
        };
        let decisions = deliver(&mut queue);
        assert!(matches!(decisions.last(), Some(Decision::Finished { .. })));
        assert_eq!(queue.messages() as u64, messages);
        group.bench_function(BenchmarkId::new("admit to delivered", messages), |b| {
            b.iter(|| deliver(&mut queue));
        });
        assert_eq!(queue.counters().queued, messages);
    }
    group.finish();
}

fn retries(c: &mut Criterion) {
    let lane: Rc<str> = "example.com".into();
    let mut group = c.benchmark_group("queue");
    for messages in [0, 100_000] {
        let mut queue = waiting(messages);
        let mut now = Tick(1);
        let first = take(&mut queue, &lane, messages + 1, now);
        queue.settle(now, first.part, vec![(0, deferred())], 7);
        // The message comes due, is tried, is deferred: its own clock, so that nobody else's is over.
        let mut retry = |queue: &mut Queue, random: u64| {
            let key = queue.find(QueueId(messages + 1)).expect("it waits");
            queue.retry_now(now, key);
            now = now + Duration::from_micros(1);
            let due = queue.poll(now).into_iter().find_map(|due| match due {
                Due::Lane(lane) => Some(lane),
                Due::Decision(_) => None,
            });
            let taken = queue.take(now, due.expect("the lane has mail"));
            let part = taken.expect("the message is ready").part;
            queue.settle(now, part, vec![(0, deferred())], random).len()
        };
        assert_eq!(retry(&mut queue, 1), 1, "one decision: it waits again");
        group.bench_function(BenchmarkId::new("retry to deferred", messages), |b| {
            b.iter(|| retry(&mut queue, black_box(3)));
        });
        assert_eq!(queue.counters().queued, messages + 1);
    }
    group.finish();
}

fn permits(c: &mut Criterion) {
    let mut group = c.benchmark_group("permits");
    for shards in [1u16, 16, 64] {
        // All want more than there are: each release hands the permit to the next in line.
        let mut home = Home::default();
        let mut lent = 0;
        for shard in 0..shards {
            let notices = home.request(7, shard, 20, 20);
            lent += notices.iter().map(|notice| notice.permits).sum::<u32>();
        }
        assert!(home.lent(7) <= 20 && lent >= 20);
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("return and grant", shards), |b| {
            b.iter(|| {
                turn = (turn + 1) % shards;
                let mut notices = home.release(7, turn, 1);
                notices.extend(home.request(7, turn, 20, 20));
                notices.len()
            });
        });
        assert_eq!(home.lent(7), 20);
    }
    group.finish();
}

fn hosts(c: &mut Criterion) {
    let own = Own {
        names: vec!["relay.test".into()],
        addresses: Vec::new(),
    };
    let mut group = c.benchmark_group("MX");
    for many in [1u16, 5, 20] {
        let host = |n| (10 * (n % 5), format!("MX{n}.Example.COM.").into());
        let records = (0..many).map(host).collect();
        let answer = Answer::Records(Records::Mx(records), HOUR);
        let mut random = 1u64;
        let mut order = || {
            let next = || {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                random >> 16
            };
            plan("example.com", black_box(&answer), &own, next)
        };
        let Plan::Hosts(found) = order() else {
            unreachable!("there are hosts")
        };
        assert!(found.is_sorted_by_key(|exchange| exchange.preference));
        assert!(!found.is_empty() && found.len() <= usize::from(many));
        group.bench_function(BenchmarkId::new("order", many), |b| b.iter(&mut order));
    }
    group.finish();
}

fn recording(c: &mut Criterion) {
    let mut recorder = Recorder::new().expect("the bounds are sound");
    let took = |n: u64| Duration::from_micros(50 + n % 1_000);
    let mut group = c.benchmark_group("histogram");
    let mut n = 0;
    group.bench_function("record", |b| {
        b.iter(|| {
            n += 1;
            recorder.record(Stage::CommitWait, took(black_box(n)));
        });
    });
    group.bench_function("record for a destination", |b| {
        b.iter(|| {
            n += 1;
            recorder.record_for("example.com", Stage::DotToReply, took(black_box(n)));
        });
    });
    let mut other = 0;
    group.bench_function("record for one of 10,000 destinations", |b| {
        let names: Vec<String> = (0..10_000).map(|n| format!("d{n}.test")).collect();
        b.iter(|| {
            other += 1;
            let name = &names[other as usize % names.len()];
            recorder.record_for(name, Stage::DotToReply, took(black_box(other)));
        });
    });
    let snapshot = recorder.snapshot();
    let recorded = |stage| snapshot.stage(stage).map_or(0, |found| found.len());
    let all = recorded(Stage::CommitWait) + recorded(Stage::DotToReply);
    assert_eq!(all, n + other);
    group.finish();
}

criterion_group!(benches, decisions, retries, permits, hosts, recording);
criterion_main!(benches);
