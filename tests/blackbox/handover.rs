//! From one process to the next: whoever connects meanwhile waits, and is not refused.

use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Signal;

use crate::life::copies;
use crate::support::client::stuffed;
use crate::support::{Client, Mx, PATIENCE, QUIET, Relay, Scene, Script, eventually, message};

/// Clients that send a message over a connection each, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Sent>>,
}

/// What became of one client's messages.
#[derive(Default)]
struct Sent {
    accepted: Vec<String>,
    /// Answers 421, after which it came again.
    postponed: usize,
}

impl Load {
    fn start(at: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || send_until(at, number, &stop))
        };
        Self {
            clients: (0..clients).map(client).collect(),
            stop,
        }
    }

    /// What was accepted, and how often a client was sent away for a moment.
    fn end(self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut accepted, mut postponed) = (Vec::new(), 0);
        for client in self.clients {
            let sent = client.join().expect("a client that nobody cut off");
            accepted.extend(sent.accepted);
            postponed += sent.postponed;
        }
        (accepted, postponed)
    }
}

fn send_until(at: SocketAddr, number: usize, stop: &AtomicBool) -> Sent {
    let mut sent = Sent::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let subject = format!("c{number}n{n}");
        match send_one(at, &subject) {
            421 => sent.postponed += 1,
            250 => sent.accepted.push(subject),
            code => panic!("{subject}: {code}"),
        }
    }
    sent
}

/// One message over a connection of its own: the last code. Refused or hung up on without a word, it panics.
fn send_one(at: SocketAddr, subject: &str) -> u16 {
    let mut client = Client::dial(at);
    let content = stuffed(&message(subject));
    let lines = [
        &b""[..],
        b"EHLO c.test\r\n",
        b"MAIL FROM:<a@c.test>\r\n",
        b"RCPT TO:<b@d.test>\r\n",
        b"DATA\r\n",
        &content,
    ];
    let mut last = 0;
    for octets in lines {
        // What is said to one who has said 421 does not arrive.
        let _ = client.try_send(octets);
        let reply = client.try_reply();
        last = reply.unwrap_or_else(|| panic!("{subject}: hung up on after {last}"));
        if last >= 400 {
            break;
        }
    }
    last
}

/// Every message that was accepted has arrived, once.
#[track_caller]
fn assert_all_arrived(relay: &Relay, mx: &Mx, accepted: &[String]) {
    mx.wait_for(accepted.len());
    relay.wait_until_empty();
    let copies = copies(mx);
    let lost: Vec<_> = accepted
        .iter()
        .filter(|subject| !copies.contains_key(*subject))
        .collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", accepted.len());
    let twice: Vec<_> = copies.iter().filter(|(_, count)| **count > 1).collect();
    assert!(
        twice.is_empty(),
        "an end in good order repeats nothing: {twice:?}"
    );
}

#[test]
fn next_program_takes_over_under_load_and_refuses_nobody() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.cores = "2".to_owned();
    let mut relay = Relay::start(setup);
    let load = Load::start(relay.setup.smtp, 8);
    for round in 1..=3 {
        let enough = mx.messages().len() + 30;
        eventually("some deliveries", || {
            (mx.messages().len() >= enough).then_some(())
        });
        // More shards, fewer, as many as at first: nobody is left behind in a socket.
        relay.setup.cores = ["3", "1", "2"][round - 1].to_owned();
        let status = relay.take_over();
        assert!(status.success(), "the old one ends well: {status}");
        eventually("the next one is ready", || {
            let ready = relay.fetch("/readyz").is_some_and(|(code, _)| code == 200);
            ready.then_some(())
        });
    }
    let enough = mx.messages().len() + 30;
    eventually("deliveries after it", || {
        (mx.messages().len() >= enough).then_some(())
    });
    let (accepted, postponed) = load.end();
    assert!(
        accepted.len() >= 120,
        "{} accepted, {postponed} postponed",
        accepted.len()
    );
    // Those who were inside and idle at one of the ends.
    assert!(postponed <= 3 * 8, "{postponed} postponed");
    assert_all_arrived(&relay, &mx, &accepted);
}

#[test]
fn next_program_waits_for_a_transaction_and_newcomers_wait_for_it() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    let mut busy = relay.client();
    busy.command("MAIL FROM:<a@c.test>").is("250 ");
    busy.command("RCPT TO:<b@d.test>").is("250 ");
    busy.command("DATA").is("354 ");
    let mut idle = relay.client();
    let taking = thread::spawn(move || {
        let status = relay.take_over();
        (relay, status)
    });
    idle.reply().is("421 4.3.2");
    let mut newcomer = Client::dial(scene_smtp(&idle));
    let waiting = newcomer.stream();
    waiting.set_read_timeout(Some(QUIET)).unwrap();
    let heard = (&*waiting).read(&mut [0]);
    assert!(
        heard.is_err(),
        "nobody speaks before the old one has ended: {heard:?}"
    );
    newcomer.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    busy.send(stuffed(&message("begun before")));
    busy.reply().is("250 2.0.0");
    newcomer.reply().is("220 ");
    newcomer.command("EHLO c.test").is("250 ");
    let sent = newcomer.submit("<a@c.test>", &["<b@d.test>"], &message("begun after"));
    sent.is("250 ");
    let (relay, status) = taking.join().expect("it took over");
    assert!(status.success(), "{status}");
    let all = ["begun before", "begun after"].map(str::to_owned);
    assert_all_arrived(&relay, &mx, &all);
}

/// The next one is killed when it has said its last word, and waits.
fn kill_the_next(relay: &Relay) {
    let mut busy = relay.client();
    busy.command("MAIL FROM:<a@c.test>").is("250 ");
    busy.command("RCPT TO:<b@d.test>").is("250 ");
    busy.command("DATA").is("354 ");
    let mut next = relay.begin_take_over();
    relay.log_line(&["handing over"]);
    next.kill().expect("it runs");
    next.wait().expect("it is gone");
    busy.send(stuffed(&message("begun before")));
    busy.reply().is("250 2.0.0");
}

#[test]
fn next_program_is_killed_behind_its_last_word_and_the_old_one_begins_anew() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("process.confine = false");
    let old = relay.pid();
    kill_the_next(&relay);
    eventually("the old one is ready once more", || {
        let ready = relay.fetch("/readyz").is_some_and(|(code, _)| code == 200);
        ready.then_some(())
    });
    assert!(relay.exited().is_none() && relay.pid() == old);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("after"));
    assert_all_arrived(&relay, &mx, &["begun before", "after"].map(str::to_owned));
    // And it can be taken over from.
    let status = relay.take_over();
    assert!(status.success(), "{status}");
}

/// A process behind its walls can run nothing: whoever watches over it is told to start it again.
#[test]
fn next_program_is_killed_and_the_old_one_that_is_confined_asks_for_a_start() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    kill_the_next(&relay);
    assert_eq!(relay.wait().code(), Some(75));
    relay.restart();
    assert_all_arrived(&relay, &mx, &["begun before".to_owned()]);
}

/// Where a client is connected to.
fn scene_smtp(client: &Client) -> SocketAddr {
    client.stream().peer_addr().expect("a connection")
}

#[test]
fn nobody_is_taken_over_from_by_a_program_that_cannot_start() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    let good = relay.setup.clone();
    relay.setup.extra = "tls.certificate = \"/nowhere\"\ntls.key = \"/nowhere\"".to_owned();
    relay.write_config();
    let output = relay.run(&["serve", "--take-over"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    // What it looked at only after it had asked for the sockets.
    relay.setup = good;
    let extra = "auth.users_file = \"broken\"";
    extra.clone_into(&mut relay.setup.extra);
    std::fs::write(relay.data().join("broken"), "no users").unwrap();
    relay.write_config();
    let output = relay.run(&["serve", "--take-over"]);
    assert!(!output.status.success(), "{output:?}");
    relay.client().command("NOOP").is("250 ");
    assert!(relay.exited().is_none(), "it goes on");
}

#[test]
fn program_that_takes_over_from_nobody_just_starts() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    relay.kill();
    // What it left of itself is no relay any more.
    relay.setup.extra = "smtp.max_recipients = 7".to_owned();
    let output = relay.run(&["spool", "check"]);
    assert!(output.status.success(), "{output:?}");
    let mut next = relay.start_over();
    next.client().command("NOOP").is("250 ");
    assert!(next.terminate().0.success());
}

#[test]
fn service_manager_opens_the_ports_and_clients_come_before_the_relay() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    // Both shards wait on the one socket.
    setup.cores = "2".to_owned();
    let ports = TcpListener::bind(setup.smtp).unwrap();
    let passed = || OwnedFd::from(ports.try_clone().unwrap());
    let mut relay = Relay::prepare(setup);
    let mut early = Client::dial(relay.setup.smtp);
    relay.launch_with(passed(), "ringpost.socket");
    early.reply().is("220 ");
    let accepted: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    for subject in &accepted {
        assert_eq!(send_one(relay.setup.smtp, subject), 250);
    }
    let here = |shard: usize| {
        relay.metric(
            "ringpost_shard_wakeups_total",
            &format!("shard=\"{shard}\""),
        )
    };
    assert!(here(0) > 0.0 && here(1) > 0.0, "both are there");
    relay.kill();
    let mut between = Client::dial(relay.setup.smtp);
    relay.launch_with(passed(), "ringpost.socket");
    between.reply().is("220 ");
    // An end leaves the socket to whoever has passed it, also where nobody wants to be told of it.
    drop(between);
    assert!(relay.terminate().0.success());
    let mut after = Client::dial(relay.setup.smtp);
    relay.launch_with(passed(), "ringpost.socket");
    after.reply().is("220 ");
    assert_all_arrived(&relay, &mx, &accepted);
}

#[test]
fn socket_that_no_listener_wants_is_refused() {
    let scene = Scene::new();
    let mut relay = Relay::prepare(scene.config(""));
    let stray = TcpListener::bind((scene.net.host(9), 0)).unwrap();
    let at = stray.local_addr().unwrap().to_string();
    relay.launch_with(stray.into(), "ringpost.socket");
    assert_eq!(relay.wait().code(), Some(78));
    relay.log_line(&[&at, "no [[listener]] binds"]);
}

/// What a service manager is given to keep: the name and the socket.
fn kept(manager: &UnixDatagram) -> Option<(String, OwnedFd)> {
    let mut words = [0; 4096];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let parts = &mut [IoSliceMut::new(&mut words)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(manager, parts, &mut ancillary, flags).ok()?;
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    })?;
    let words = String::from_utf8_lossy(&words[..got.bytes]).into_owned();
    assert!(words.contains("FDSTORE=1"), "{words}");
    let name = words.lines().find_map(|line| line.strip_prefix("FDNAME="));
    Some((name.expect("a name").to_owned(), socket))
}

#[test]
fn service_manager_keeps_the_ports_over_a_restart_and_nobody_is_refused() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("notify");
    let manager = UnixDatagram::bind(&place).unwrap();
    let patience = Some(Duration::from_millis(100));
    manager.set_read_timeout(patience).unwrap();
    let mut setup = scene.config("");
    setup.environment = vec![("NOTIFY_SOCKET", place.display().to_string())];
    let mut relay = Relay::start(setup);
    let (name, socket) = eventually("a socket to keep", || kept(&manager));
    let load = Load::start(relay.setup.smtp, 4);
    mx.wait_for(20);
    let (status, _) = relay.terminate();
    assert!(status.success(), "{status}");
    relay.launch_with(socket, &name);
    mx.wait_for(60);
    let (accepted, _) = load.end();
    assert_all_arrived(&relay, &mx, &accepted);
}

#[test]
fn operator_reloads_under_load_and_no_connection_is_lost() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    let load = Load::start(relay.setup.smtp, 6);
    for limit in 10..20 {
        relay.setup.extra = format!("smtp.max_recipients = {limit}");
        relay.write_config();
        relay.signal(Signal::HUP);
        relay.log_line(&["smtp.max_recipients:", &format!("→ {limit}")]);
    }
    let (accepted, postponed) = load.end();
    assert_eq!(postponed, 0, "of {}", accepted.len());
    assert_all_arrived(&relay, &mx, &accepted);
}

#[test]
fn operator_lets_it_end_within_a_time_that_a_silent_client_does_not_stretch() {
    let scene = Scene::new();
    let mut setup = scene.config("process.drain = \"200ms\"");
    // The end of the other one, which has nothing to do, is no reason to hurry.
    setup.cores = "2".to_owned();
    let mut relay = Relay::start(setup);
    let mut silent = relay.client();
    silent.command("MAIL FROM:<a@c.test>").is("250 ");
    silent.command("RCPT TO:<b@c.test>").is("250 ");
    silent.command("DATA").is("354 ");
    let began = Instant::now();
    let said = relay.ask(&["drain", "--within", "10m", "--no-wait"]);
    assert_eq!(said, "draining\n");
    thread::sleep(QUIET);
    assert!(
        relay.exited().is_none(),
        "a transaction may take ten minutes"
    );
    // In more of a hurry.
    assert_eq!(relay.ask(&["drain", "--within", "500ms"]), "ended\n");
    assert!(relay.wait().success());
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let gone = relay.run(&["health"]);
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");
}

#[test]
fn operator_asks_how_it_is_and_what_a_reload_changes() {
    let scene = Scene::new();
    let mut relay = scene.relay("");
    assert_eq!(relay.ask(&["health"]), "it takes mail\n");
    assert!(relay.ask(&["reload"]).starts_with("no key differs"));
    relay.setup.extra = "smtp.max_recipients = 7\nruntime.memory = \"512MiB\"\n\
        route = [{ domain = \"x.test\", to = \"discard\" }]"
        .to_owned();
    relay.write_config();
    let told = relay.ask(&["reload"]);
    for line in [
        "runtime.memory: \"1GiB\" → \"512MiB\", with a restart only",
        "smtp.max_recipients: 1000 → 7",
        "route: unset → { domain = \"x.test\", to = \"discard\" }",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    relay.setup.extra = "smtp.max_recipient = 7".to_owned();
    relay.write_config();
    let output = relay.run(&["reload", "--json"]);
    // The command reads the file too, and finds the fault itself.
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    relay.client().command("NOOP").is("250 ");
}
