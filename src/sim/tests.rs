//! Tests of the world itself.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::Path;

use super::check::{Terms, broken_promises};
use super::peers::client::Client;
use super::peers::exchanger::{Exchanger, Mood};
use super::peers::guard::Trust;
use super::peers::ledger::Ledger;
use super::*;
use crate::world::{Class, File as _, Listener as _, Stream as _, World};

fn spawn(world: &SimWorld, task: impl Future<Output = ()> + 'static) {
    world.spawn(Class::Chores, task);
}

fn at(world: &SimWorld, port: u16) -> SocketAddr {
    SocketAddr::new(world.address(), port)
}

/// Answers every octet with itself, connection after connection.
fn echo(world: &SimWorld, port: u16) {
    let listener = world.listen(at(world, port)).unwrap();
    let own = world.clone();
    spawn(world, async move {
        while let Ok(mut stream) = listener.accept().await {
            own.spawn(Class::Inbound, async move {
                let mut octets = [0; 512];
                while let Ok(read @ 1..) = stream.read(&mut octets, Tick::NEVER).await {
                    let part = IoSlice::new(&octets[..read]);
                    if stream.write(&mut [part], Tick::NEVER).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

/// Sends `octets` and reads until as many came back or an error.
async fn ask(
    world: &SimWorld,
    to: SocketAddr,
    octets: &[u8],
    wait: Duration,
) -> io::Result<Vec<u8>> {
    let deadline = world.now() + wait;
    let mut stream = world.dial(None, to, deadline).await?;
    stream.write(&mut [IoSlice::new(octets)], deadline).await?;
    let mut back = Vec::new();
    while back.len() < octets.len() {
        let mut part = [0; 300];
        match stream.read(&mut part, deadline).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => back.extend_from_slice(&part[..read]),
        }
    }
    Ok(back)
}

/// A stormy run of three callers: its trace and what each of them got.
fn run(seed: u64) -> (u64, Vec<String>) {
    let sim = Sim::new(seed);
    let (server, caller) = (sim.node(), sim.node());
    sim.set_weather(Weather::STORM);
    echo(&server, 7);
    let got = Rc::new(RefCell::new(Vec::new()));
    for number in 0..3 {
        let (world, to, got) = (caller.clone(), at(&server, 7), Rc::clone(&got));
        spawn(&caller, async move {
            let answer = ask(&world, to, &[number; 3000], Duration::from_secs(20)).await;
            got.borrow_mut()
                .push(format!("{number} {:?}", answer.map(|octets| octets.len())));
        });
    }
    sim.run_until(|| got.borrow().len() == 3, Duration::from_secs(60))
        .unwrap();
    assert_eq!(sim.panics(), [""; 0]);
    (sim.trace(), got.take())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in seeds(50) {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "seed {seed}");
        traces.insert(first.0);
    }
    assert!(traces.len() > 40 || std::env::var_os("RINGPOST_SEED").is_some());
}

#[test]
fn a_storm_breaks_some_connections_and_corrupts_none() {
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..60 {
        for line in run(seed).1 {
            if line.ends_with("Ok(3000)") {
                whole += 1;
            } else {
                broken += 1;
            }
        }
    }
    assert!(whole > 60 && broken > 20, "{whole} whole, {broken} broken");
}

#[test]
fn octets_arrive_in_order_whatever_the_reads() {
    for seed in seeds(20) {
        let sim = Sim::new(seed);
        let (server, caller) = (sim.node(), sim.node());
        sim.set_weather(Weather {
            short_read_permille: 900,
            window_octets: 100,
            ..Weather::CALM
        });
        echo(&server, 7);
        let done = Rc::new(Cell::new(false));
        let (world, to, flag) = (caller.clone(), at(&server, 7), Rc::clone(&done));
        spawn(&caller, async move {
            let sent: Vec<u8> = (0..90).map(|n| n as u8).collect();
            assert_eq!(
                ask(&world, to, &sent, Duration::from_secs(9))
                    .await
                    .unwrap(),
                sent
            );
            flag.set(true);
        });
        sim.run_until(|| done.get(), Duration::from_secs(10))
            .unwrap();
    }
}

#[test]
fn a_peer_that_never_reads_stops_the_writer_at_its_window_until_the_deadline() {
    let sim = Sim::new(1);
    let (server, caller) = (sim.node(), sim.node());
    let listener = server.listen(at(&server, 25)).unwrap();
    let own = server.clone();
    spawn(&server, async move {
        let _kept = listener.accept().await.unwrap();
        own.sleep(Tick::NEVER).await;
    });
    let ended = Rc::new(Cell::new(None));
    let (world, to, seen) = (caller.clone(), at(&server, 25), Rc::clone(&ended));
    spawn(&caller, async move {
        let mut stream = world.dial(None, to, Tick::NEVER).await.unwrap();
        let deadline = world.now() + Duration::from_secs(30);
        let octets = vec![0; 1 << 20];
        let error = stream
            .write(&mut [IoSlice::new(&octets)], deadline)
            .await
            .unwrap_err();
        seen.set(Some((error.kind(), world.now().since(deadline))));
    });
    sim.run_until(|| ended.get().is_some(), Duration::from_secs(60))
        .unwrap();
    let (kind, late) = ended.get().unwrap();
    assert_eq!(kind, io::ErrorKind::TimedOut);
    assert!(late < Duration::from_millis(1));
}

#[test]
fn dials_are_refused_time_out_or_connect() {
    let sim = Sim::new(4);
    let (server, caller) = (sim.node(), sim.node());
    echo(&server, 25);
    let hole: IpAddr = [192, 0, 2, 9].into();
    sim.set_black_hole(hole, true);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (world, good, out) = (caller.clone(), at(&server, 25), Rc::clone(&seen));
    spawn(&caller, async move {
        let closed = SocketAddr::new(good.ip(), 26);
        for to in [good, closed, SocketAddr::new(hole, 25)] {
            let began = world.now();
            let dialled = world.dial(None, to, began + Duration::from_secs(30)).await;
            out.borrow_mut().push((
                dialled.map(drop).map_err(|error| error.kind()),
                world.now().since(began).as_secs(),
            ));
        }
    });
    sim.run_until(|| seen.borrow().len() == 3, Duration::from_secs(60))
        .unwrap();
    let expected = [
        (Ok(()), 0),
        (Err(io::ErrorKind::ConnectionRefused), 0),
        (Err(io::ErrorKind::TimedOut), 30),
    ];
    assert_eq!(*seen.borrow(), expected);
}

#[test]
fn a_closed_stream_is_stale_and_ends_after_its_last_octet() {
    let sim = Sim::new(5);
    let (server, caller) = (sim.node(), sim.node());
    let listener = server.listen(at(&server, 25)).unwrap();
    spawn(&server, async move {
        let mut stream = listener.accept().await.unwrap();
        stream
            .write(&mut [IoSlice::new(b"221 bye\r\n")], Tick::NEVER)
            .await
            .unwrap();
    });
    let done = Rc::new(Cell::new(false));
    let (world, to, flag) = (caller.clone(), at(&server, 25), Rc::clone(&done));
    spawn(&caller, async move {
        let mut stream = world.dial(None, to, Tick::NEVER).await.unwrap();
        world.sleep(world.now() + Duration::from_secs(1)).await;
        assert!(stream.is_stale());
        let mut all = Vec::new();
        let mut part = [0; 4];
        while let read @ 1.. = stream.read(&mut part, Tick::NEVER).await.unwrap() {
            all.extend_from_slice(&part[..read]);
        }
        assert_eq!(all, b"221 bye\r\n");
        assert!(
            stream
                .write(&mut [IoSlice::new(b"QUIT\r\n")], Tick::NEVER)
                .await
                .is_err()
        );
        flag.set(true);
    });
    sim.run_until(|| done.get(), Duration::from_secs(9))
        .unwrap();
}

#[test]
fn a_power_cut_ends_tasks_resets_peers_and_keeps_what_was_synced() {
    for seed in seeds(40) {
        let sim = Sim::new(seed);
        let (server, caller) = (sim.node(), sim.node());
        echo(&server, 25);
        let own = server.clone();
        let synced = Rc::new(Cell::new(0_u8));
        let count = Rc::clone(&synced);
        spawn(&server, async move {
            own.make_directory(Path::new("/spool")).await.unwrap();
            let file = own.open(Path::new("/spool/log"), true).await.unwrap();
            own.sync_directory(Path::new("/spool")).await.unwrap();
            for number in 0..200 {
                file.write_at(vec![number + 1], u64::from(number))
                    .await
                    .unwrap();
                file.sync().await.unwrap();
                count.set(number + 1);
            }
        });
        let ended = Rc::new(Cell::new(None));
        let (world, to, seen) = (caller.clone(), at(&server, 25), Rc::clone(&ended));
        spawn(&caller, async move {
            let mut stream = world.dial(None, to, Tick::NEVER).await.unwrap();
            let error = stream
                .read(&mut [0; 1], Tick::NEVER)
                .await
                .map_err(|error| error.kind());
            seen.set(Some(error));
        });
        let span = Duration::from_micros(20_000 + 997 * seed);
        sim.run_for(span);
        assert!(server.is_alive() && ended.get().is_none());
        sim.power_cut(server.node());
        let promised = synced.get();
        sim.run_until(|| ended.get().is_some(), Duration::from_secs(1))
            .unwrap();
        assert_eq!(ended.get(), Some(Err(io::ErrorKind::ConnectionReset)));
        assert!(!server.is_alive());
        sim.run_for(Duration::from_secs(5));
        assert_eq!(
            synced.get(),
            promised,
            "seed {seed}: a task outlived the power"
        );
        let file = sim
            .disk(server.node())
            .open(Path::new("/spool/log"), false)
            .unwrap();
        let kept = file.read_at(0, usize::from(promised)).unwrap();
        assert!(
            kept.iter().zip(1..).all(|(octet, number)| *octet == number),
            "seed {seed}"
        );
        assert_eq!(kept.len(), usize::from(promised));
    }
}

#[test]
fn a_disk_that_cuts_the_power_takes_its_node_down() {
    let sim = Sim::new(2);
    let world = sim.node();
    sim.disk(world.node()).set_faults(disk::Faults {
        cut_at: Some(3),
        ..disk::Faults::default()
    });
    let own = world.clone();
    let reached = Rc::new(Cell::new(0));
    let steps = Rc::clone(&reached);
    spawn(&world, async move {
        let file = own.open(Path::new("/a"), true).await.unwrap();
        for step in 0..9 {
            let _ = file.write_at(vec![1], step).await;
            steps.set(step + 1);
        }
    });
    assert_eq!(
        sim.run_until(|| !world.is_alive(), Duration::from_secs(1)),
        Ok(())
    );
    assert_eq!(reached.get(), 1);
    assert!(!sim.disk(world.node()).is_off());
}

#[test]
fn clocks_start_again_with_their_machine_and_calendars_go_on() {
    let sim = Sim::new(9);
    let before = sim.node();
    sim.run_for(Duration::from_secs(1));
    let other = sim.node();
    let own = other.clone();
    spawn(&other, async move {
        own.sleep(own.now() + Duration::from_secs(100)).await
    });
    sim.run_for(Duration::from_secs(50));
    let (tick, wall) = (before.now(), before.wall());
    sim.kill(before.node());
    let after = sim.boot(before.node());
    assert!(after.now() < tick);
    assert_eq!(after.wall(), wall);
}

#[test]
fn what_waits_for_nothing_is_found() {
    let sim = Sim::new(3);
    let world = sim.node();
    spawn(&world, std::future::pending());
    assert_eq!(
        sim.run_until(|| false, Duration::from_secs(9)),
        Err(Stopped::Deadlock)
    );
    let own = world.clone();
    spawn(&world, async move {
        loop {
            own.breathe().await;
            executor::give_way().await;
        }
    });
    assert_eq!(
        sim.run_until(|| false, Duration::from_millis(9)),
        Err(Stopped::TimeOver)
    );
}

#[test]
fn a_panic_ends_its_task_alone() {
    let sim = Sim::new(3);
    let world = sim.node();
    spawn(&world, async { panic!("on purpose") });
    let lived = Rc::new(Cell::new(false));
    let flag = Rc::clone(&lived);
    spawn(&world, async move { flag.set(true) });
    sim.run_for(Duration::from_secs(1));
    assert!(lived.get());
    assert_eq!(sim.panics(), ["chores task of NodeId(0): on purpose"]);
}

const TERMS: Terms = Terms {
    connections_max: 3,
    retry_wait_min: Duration::ZERO,
    retry_wait_max: Duration::MAX,
    expire: Duration::from_secs(u64::MAX / 4),
    now: Duration::ZERO,
    settle_lag: Duration::ZERO,
    has_ended: true,
    // An exchanger writes down what it refuses, too.
    disk_failed: true,
    return_domain: None,
    trust: Trust::Plain,
};

/// Clients that talk to an exchanger straight away: both keep to the protocol, and the ledger
/// tells what happened.
#[test]
fn peers_understand_each_other_and_their_ledger_is_true() {
    let (mut accepted, mut copies) = (0, 0);
    for seed in seeds(20) {
        let sim = Sim::new(seed);
        let (clients, hosts) = (sim.node(), sim.node());
        let (ledger, moody) = (Ledger::default(), seed % 2 == 1);
        let exchanger = Exchanger {
            world: hosts.clone(),
            at: at(&hosts, 25),
            destination: ("a.test".into(), vec![hosts.address()].into()),
            ledger: ledger.clone(),
            provider: Default::default(),
            mood: Rc::new(Cell::new(if moody { Mood::MOODY } else { Mood::KIND })),
            keys: None,
            takes_reports: false,
        };
        exchanger.start().unwrap();
        if moody {
            sim.set_weather(Weather::STORM);
        }
        let done = Rc::new(Cell::new(0));
        for number in 0..3 {
            let client = Client {
                world: clients.clone(),
                relay: at(&hosts, 25),
                ledger: ledger.clone(),
                number,
                domains: vec!["a.test".into()],
                sender_domain: "s.test".into(),
                breaks_permille: if moody { 200 } else { 0 },
                body_max: 20_000,
                tls: None,
                trick: None,
            };
            let count = Rc::clone(&done);
            spawn(&clients, async move {
                client.run(6).await;
                count.set(count.get() + 1);
            });
        }
        sim.run_until(|| done.get() == 3, Duration::from_secs(80_000))
            .unwrap();
        let broken = ledger.read(|entries| broken_promises(entries, &TERMS));
        assert_eq!(broken, [""; 0], "seed {seed}");
        assert_eq!(sim.panics(), [""; 0]);
        assert!(
            moody || ledger.accepted() == 18,
            "seed {seed}: {}",
            ledger.accepted()
        );
        accepted += ledger.accepted();
        copies += ledger.read(|entries| entries.copies.len());
    }
    assert!(
        accepted >= 180 && copies >= accepted,
        "{accepted} accepted, {copies} copies"
    );
}
