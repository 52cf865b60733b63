//! The process: how it starts, ends, and comes back.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use crate::support::{Client, Mx, Relay, Scene, Script, eventually, message};

/// SIGTERM must end within this (the contract's 10 s).
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How often each subject has arrived.
pub fn copies(mx: &Mx) -> HashMap<String, usize> {
    let mut copies = HashMap::new();
    for received in mx.messages() {
        let text = received.text();
        let subject = text
            .lines()
            .find_map(|line| line.strip_prefix("Subject: "))
            .unwrap_or_default();
        *copies.entry(subject.to_owned()).or_default() += 1;
    }
    copies
}

#[test]
fn relay_says_where_it_listens() {
    let scene = Scene::new();
    let relay = scene.relay("");
    relay.log_line(&["listening", &relay.setup.smtp.to_string()]);
    relay.log_line(&[&relay.setup.control.to_string()]);
}

#[test]
fn operator_stops_and_starts_it_with_mail_in_the_queue() {
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT", "451 4.3.0 busy"));
    let mut relay = scene.relay("queue.retry = [\"1s\"]");
    let ids: Vec<String> = (0..20)
        .map(|n| relay.submit("<a@c.test>", &["<b@d.test>"], &message(&format!("m{n}"))))
        .collect();
    let (status, took) = relay.terminate();
    assert!(
        status.success() && took < DRAIN_MAX,
        "{status} after {took:?}"
    );
    mx.behaves(Script::new());
    relay.restart();
    mx.wait_for(20);
    relay.wait_until_empty();
    let copies = copies(&mx);
    assert_eq!(
        (copies.len(), copies.values().max()),
        (ids.len(), Some(&1)),
        "a clean stop repeats nothing: {copies:?}"
    );
}

#[test]
fn operator_stops_it_in_the_middle_of_a_transaction() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    let mut busy = relay.client();
    busy.command("MAIL FROM:<a@c.test>").is("250 ");
    busy.command("RCPT TO:<b@d.test>").is("250 ");
    busy.command("DATA").is("354 ");
    let mut idle = relay.client();
    relay.signal(rustix::process::Signal::TERM);
    idle.reply().is("421 4.3.2");
    busy.send(crate::support::client::stuffed(&message("finished")));
    busy.reply().is("250 2.0.0");
    assert!(relay.wait().success());
    relay.restart();
    assert_eq!(mx.wait_for(1)[0].content_as_sent(), message("finished"));
}

#[test]
fn machine_dies_right_after_the_reply() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    for round in 0..5 {
        let reply = relay.client().submit(
            "<a@c.test>",
            &["<b@d.test>"],
            &message(&format!("round{round}")),
        );
        relay.kill();
        reply.is("250 2.0.0");
        relay.restart();
    }
    eventually("every round arrives", || {
        (copies(&mx).len() == 5).then_some(())
    });
    relay.wait_until_empty();
}

#[test]
fn machine_dies_under_load_again_and_again() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    let mut accepted = Vec::new();
    for round in 0..4 {
        let at = relay.setup.smtp;
        let sessions: Vec<_> = (0..8)
            .map(|session| thread::spawn(move || load(at, &format!("r{round}s{session}"))))
            .collect();
        let enough = mx.messages().len() + 40;
        eventually("some deliveries", || {
            (mx.messages().len() >= enough).then_some(())
        });
        relay.kill();
        accepted.extend(
            sessions
                .into_iter()
                .flat_map(|session| session.join().expect("a session")),
        );
        relay.restart();
    }
    relay.wait_until_empty();
    let copies = copies(&mx);
    let lost: Vec<&String> = accepted
        .iter()
        .filter(|subject| !copies.contains_key(*subject))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged messages lost: {lost:?}",
        lost.len(),
        accepted.len()
    );
}

/// Submits until the relay dies; the subjects that were answered with 250.
fn load(at: std::net::SocketAddr, name: &str) -> Vec<String> {
    let mut accepted = Vec::new();
    let mut client = Client::dial(at);
    let say = |client: &mut Client, octets: &[u8]| {
        client.try_send(octets) && client.try_reply().is_some_and(|code| code < 400)
    };
    if client.try_reply().is_none() || !say(&mut client, b"EHLO c.test\r\n") {
        return accepted;
    }
    for n in 0.. {
        let subject = format!("{name}n{n}");
        let content = crate::support::client::stuffed(&message(&subject));
        let commands = [
            &b"MAIL FROM:<a@c.test>\r\n"[..],
            b"RCPT TO:<b@d.test>\r\n",
            b"DATA\r\n",
            &content,
        ];
        if !commands.into_iter().all(|octets| say(&mut client, octets)) {
            break;
        }
        accepted.push(subject);
    }
    accepted
}

#[test]
fn fewer_cores_adopt_what_more_cores_left() {
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT", "451 4.3.0 busy"));
    let mut setup = scene.config("queue.retry = [\"1s\"]");
    let one = setup.cores.clone();
    setup.cores = "2".to_owned();
    let mut relay = Relay::start(setup);
    for n in 0..40 {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(&format!("m{n}")));
    }
    relay.kill();
    mx.behaves(Script::new());
    relay.setup.cores = one;
    relay.restart();
    eventually("every message of both", || {
        (copies(&mx).len() == 40).then_some(())
    });
    relay.wait_until_empty();
}

/// A log that is taken over is removed: nobody does that behind a link.
#[test]
fn a_link_with_the_name_of_a_shard_is_not_taken_over() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    relay.terminate();
    let elsewhere = relay.data().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("0000000000000001.log"), "not ours").unwrap();
    let name = relay.data().join("spool/07");
    std::os::unix::fs::symlink(&elsewhere, &name).unwrap();
    relay.launch();
    let status = relay.wait();
    assert!(!status.success(), "{}", relay.log());
    let log = relay.log();
    assert!(log.contains("spool/07: this is no directory"), "{log}");
    let left: Vec<_> = std::fs::read_dir(&elsewhere).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    std::fs::remove_file(&name).unwrap();
    relay.restart();
}

/// A pipe without a writer in the place of a file that is read at the start.
#[test]
fn nobody_waits_for_a_pipe_among_the_files() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    relay.terminate();
    let users = relay.data().join("users.toml");
    let made = std::process::Command::new("mkfifo").arg(&users).status();
    assert!(made.unwrap().success());
    relay.launch();
    let status = relay.wait();
    assert_eq!(status.code(), Some(78), "{}", relay.log());
    let log = relay.log();
    assert!(
        log.contains("users.toml: cannot be read: this is no regular file"),
        "{log}"
    );
    std::fs::remove_file(&users).unwrap();
    relay.restart();
}

#[test]
fn port_is_taken() {
    let scene = Scene::new();
    let setup = scene.config("");
    let taken = TcpListener::bind(setup.smtp).unwrap();
    let mut relay = Relay::prepare(setup);
    relay.launch();
    let status = relay.wait();
    assert!(matches!(status.code(), Some(69 | 71)), "{status}");
    let log = relay.log();
    assert!(
        log.contains(&taken.local_addr().unwrap().to_string()) && log.contains("in use"),
        "{log}"
    );
}

#[test]
fn second_relay_wants_the_same_data() {
    let scene = Scene::new();
    let first = scene.relay("");
    let data = first.data();
    let mut second = Relay::prepare(scene.config(&format!("data_dir = {data:?}")));
    second.launch();
    let status = second.wait();
    assert!(!status.success(), "two processes on one spool");
    assert!(
        second.log().contains(data.to_str().unwrap()),
        "{}",
        second.log()
    );
}

#[test]
fn open_files_run_out_before_the_first_message_and_come_back() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    let mut client = relay.client();
    let usual = relay.limit_open_files(Some(3));
    client
        .submit("<a@c.test>", &["<b@d.test>"], &message("early"))
        .is("452 4.3.1");
    relay.log_line(&["a message was refused", "open files have run out"]);
    relay.limit_open_files(usual);
    eventually("service returns by itself", || {
        (client.command("MAIL FROM:<a@c.test>").code == 250).then_some(())
    });
    client.command("RCPT TO:<b@d.test>").is("250 ");
    client.data(&message("later")).is("250 ");
    assert!(mx.wait_for(1)[0].is_for("b@d.test"));
}

/// A service manager's socket, where it is, and the directory that goes with it.
fn manager() -> (tempfile::TempDir, String, UnixDatagram) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("notify");
    let manager = UnixDatagram::bind(&place).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    (directory, place.display().to_string(), manager)
}

/// What a service manager hears: the first word that begins with `wanted`, within its deadline.
fn heard(manager: &UnixDatagram, wanted: &str) -> String {
    eventually(wanted, || {
        let mut words = [0; 4096];
        let octets = manager.recv(&mut words).ok()?;
        let words = String::from_utf8_lossy(&words[..octets]).into_owned();
        words
            .lines()
            .any(|line| line.starts_with(wanted))
            .then_some(words)
    })
}

#[test]
fn service_manager_hears_when_it_is_ready_when_it_reloads_and_when_it_ends() {
    let scene = Scene::new();
    let (_directory, place, manager) = manager();
    let mut setup = scene.config("");
    setup.environment = vec![("NOTIFY_SOCKET", place), ("WATCHDOG_USEC", "600000".into())];
    let mut relay = Relay::prepare(setup);
    relay.restart();
    let words = heard(&manager, "READY=1");
    assert!(words.contains("STATUS="), "{words}");
    heard(&manager, "WATCHDOG=1");
    heard(&manager, "WATCHDOG=1");
    relay.signal(rustix::process::Signal::HUP);
    let words = heard(&manager, "RELOADING=1");
    assert!(words.contains("MONOTONIC_USEC="), "{words}");
    heard(&manager, "READY=1");
    relay.signal(rustix::process::Signal::TERM);
    heard(&manager, "STOPPING=1");
    assert!(relay.wait().success());
}

#[test]
fn service_manager_hears_how_far_the_end_is() {
    let scene = Scene::new();
    let (_directory, place, manager) = manager();
    let mut setup = scene.config("[process]\ndrain = \"5m\"\n");
    setup.environment = vec![("NOTIFY_SOCKET", place)];
    let mut relay = Relay::prepare(setup);
    relay.restart();
    let mut clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = relay.client();
            client.command("MAIL FROM:<a@c.test>").is("250 ");
            client.command("RCPT TO:<b@d.test>").is("250 ");
            client.command("DATA").is("354 ");
            client
        })
        .collect();
    relay.signal(rustix::process::Signal::TERM);
    let words = heard(&manager, "STOPPING=1");
    assert!(words.contains("EXTEND_TIMEOUT_USEC=305000000\n"), "{words}");
    assert!(
        words.contains("STATUS=transactions in progress go on"),
        "{words}"
    );
    // Who waits sees it in the status, and whoever reads the log has a line for each step.
    for (gone, percent) in [(0, 0), (1, 50)] {
        let step = format!("ending: {percent} %, {gone} of 2 connections gone");
        heard(&manager, &format!("STATUS={step}"));
        relay.log_line(&[&step]);
        let mut client = clients.pop().unwrap();
        client.send("Subject: last\r\n\r\nwords\r\n.\r\n");
        client.reply().is("250 ");
        client.reply().is("421 ");
    }
    assert!(relay.wait().success());
}
