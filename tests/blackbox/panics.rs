//! Tasks of the running relay panic, one kind at a time, under load: what they were at ends, everybody
//! else goes on, and mail is safe. `RINGPOST_PANIC` lets them, in a program built with `--features sim`:
//!
//!     cargo test --features sim --test blackbox panics

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;

use crate::support::imap::Imap;
use crate::support::pop3::Pop3;
use crate::support::{Client, Mx, Relay, Scene, Script, eventually, message};

/// Clients at a time, and messages of each.
const CLIENTS: usize = 6;
const MESSAGES: usize = 40;

/// A relay on two cores, in which every so manieth use of the world in tasks of `kind` panics.
fn tempted(scene: &Scene, kind: &str, every: u32, extra: &str) -> Relay {
    let mut setup = scene.config(extra);
    setup.cores = "2".to_owned();
    setup.panics = Some(format!("{kind}:{every}"));
    Relay::start(setup)
}

/// Hands in messages, over as many connections as it takes; the subjects that were answered with 250.
fn load(at: SocketAddr, name: &str) -> Vec<String> {
    let mut accepted = Vec::new();
    let mut client = None;
    for n in 0..MESSAGES {
        let subject = format!("{name}n{n}");
        let mut said = client.take().unwrap_or_else(|| Client::dial(at));
        if hand_in(&mut said, &subject) {
            accepted.push(subject);
            client = Some(said);
        }
    }
    accepted
}

/// One message; false when the connection ended, or the relay said no.
fn hand_in(client: &mut Client, subject: &str) -> bool {
    let content = crate::support::client::stuffed(&message(subject));
    let commands = [
        &b"EHLO c.test\r\n"[..],
        b"MAIL FROM:<a@c.test>\r\n",
        b"RCPT TO:<b@d.test>\r\n",
        b"DATA\r\n",
        &content,
    ];
    let mut say = |octets: &[u8]| {
        client.try_send(octets)
            && loop {
                match client.try_reply() {
                    // The greeting, to whoever has just connected.
                    Some(220) => {}
                    Some(code) => break code < 400,
                    None => break false,
                }
            }
    };
    commands.into_iter().all(&mut say)
}

/// How often each message came, by its subject.
fn copies(mx: &Mx) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for received in mx.messages() {
        let text = received.text();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
        *copies
            .entry(subject.unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    copies
}

/// A metric without labels; `None` while what gathers it panics.
fn figure(relay: &Relay, name: &str) -> Option<f64> {
    let (_, text) = relay.fetch("/metrics")?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(metric, _)| *metric == name)
        .and_then(|(_, value)| value.parse().ok())
}

/// All of it, for one kind of task of a shard.
fn mail_is_safe(kind: &str, every: u32) {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = tempted(&scene, kind, every, "queue.retry = [\"1s\"]");
    let at = relay.setup.smtp;
    let pid = relay.pid();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| thread::spawn(move || load(at, &format!("c{client}"))))
        .collect();
    let accepted: BTreeSet<String> = clients
        .into_iter()
        .flat_map(|client| client.join().expect("a client"))
        .collect();
    assert!(!accepted.is_empty(), "{kind}: nothing was taken");
    eventually("every message that was taken arrives", || {
        let copies = copies(&mx);
        accepted
            .iter()
            .all(|subject| copies.contains_key(subject))
            .then_some(())
    });
    assert!(relay.exited().is_none() && relay.pid() == pid, "{kind}");
    let panics = eventually("both shards tell of panics", || {
        let ready = figure(&relay, "ringpost_shards_ready")?;
        let panics = figure(&relay, "ringpost_panics_total")?;
        (ready > 1.9 && panics > 0.0).then_some(panics)
    });
    relay.log_line(&["defect", "panicked"]);
    let twice = copies(&mx).values().filter(|count| **count > 1).count();
    println!(
        "{kind}: {panics} panics, {} of {} taken, 0 lost, {twice} came twice",
        accepted.len(),
        CLIENTS * MESSAGES
    );
}

#[test]
fn sessions_of_clients_panic() {
    mail_is_safe("inbound", 300);
}

#[test]
fn deliveries_panic() {
    mail_is_safe("outbound", 100);
}

#[test]
fn the_writer_of_the_spool_panics() {
    mail_is_safe("commit", 150);
}

#[test]
fn chores_panic() {
    mail_is_safe("chores", 20);
}

#[test]
fn questions_to_the_service_thread_panic() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = tempted(&scene, "resolver", 3, "queue.retry = [\"1s\"]");
    for n in 0..10 {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(&format!("m{n}")));
        // A domain that nobody knows: one more question.
        let stranger = format!("<b@nowhere{n}.test>");
        relay.submit("<a@c.test>", &[&stranger], &message("lost"));
    }
    mx.wait_for(10);
    relay.log_line(&["defect", "panicked"]);
    assert_eq!(relay.fetch("/readyz").map(|(code, _)| code), Some(200));
}

/// Hosts know nobody: each refusal is on the list, in spite of its keeper, which panics on every third round.
#[test]
fn the_keeper_of_the_suppression_list_panics() {
    let (scene, _mx) = Scene::with_mx(Script::new().says("RCPT TO:", "550 5.1.1 no such user"));
    let mut relay = tempted(
        &scene,
        "suppressions",
        3,
        "suppression.on = [\"bad_mailbox\"]",
    );
    for n in 0..12 {
        let to = format!("<b{n}@d.test>");
        relay.submit("<a@c.test>", &[&to], &message(&format!("m{n}")));
        let is_listed = || {
            let checked = relay.run(&["suppression", "check", &format!("b{n}@d.test")]);
            (checked.status.code() == Some(1)).then_some(())
        };
        eventually("it gets no more mail", is_listed);
    }
    relay.log_line(&["defect", "suppressions panicked"]);
    assert!(relay.exited().is_none());
}

/// POP3 and IMAP in turn: each connection may end at any command, and the next finds the mailbox whole.
#[test]
fn sessions_of_users_panic() {
    let scene = Scene::new();
    let mut setup = scene.config("");
    let [pop3, imap] =
        [8, 9].map(|host| SocketAddr::from((scene.net.host(host), scene.net.free_port(host))));
    setup.extra = format!(
        "listener = [{{ protocol = \"smtp\", bind = [\"{}\"] }}, \
         {{ protocol = \"pop3\", bind = [\"{pop3}\"] }}, \
         {{ protocol = \"imap\", bind = [\"{imap}\"] }}]\n\
         route = [{{ domain = \"d.test\", to = \"mailbox\" }}]",
        setup.smtp
    );
    setup.cores = "2".to_owned();
    setup.panics = Some("retrieve:500".to_owned());
    let mut relay = Relay::prepare(setup);
    relay.write_config();
    let added = relay.run_with(&["user", "add", "ann@d.test"], "secret\n");
    assert!(added.status.success(), "{added:?}");
    relay.restart();
    for n in 0..10 {
        relay.submit("<a@c.test>", &["<ann@d.test>"], &message(&format!("m{n}")));
    }
    relay.wait_until_empty();
    let (mut by_pop3, mut by_imap) = (0, 0);
    eventually("both have read all of it, and some have died", || {
        by_pop3 += u32::from(read_by_pop3(pop3) == Some(10));
        by_imap += u32::from(read_by_imap(imap) == Some(10));
        let panics = figure(&relay, "ringpost_panics_total")?;
        (by_pop3 > 2 && by_imap > 2 && panics > 2.0).then_some(())
    });
    assert!(relay.exited().is_none());
}

/// Messages that one session has read; `None` when it ended before.
fn read_by_pop3(at: SocketAddr) -> Option<usize> {
    thread::spawn(move || {
        let mut ann = Pop3::greet(at).log_in("ann@d.test", "secret");
        let listed = ann.list("LIST").len();
        for number in 1..=listed {
            assert!(!ann.list(&format!("RETR {number}")).is_empty());
        }
        ann.expect("QUIT", "+OK");
        listed
    })
    .join()
    .ok()
}

fn read_by_imap(at: SocketAddr) -> Option<usize> {
    thread::spawn(move || {
        let mut ann = Imap::login(at, "ann@d.test");
        ann.command("SELECT INBOX").is("OK");
        let read = ann.command("FETCH 1:* (UID)").is("OK");
        ann.command("LOGOUT").is("OK");
        let fetched = read.untagged.iter();
        fetched.filter(|line| line.contains(" FETCH ")).count()
    })
    .join()
    .ok()
}

/// Each second comparison panics: who has the password gets in or is told to come back, and is never
/// told that it is wrong.
#[test]
fn comparing_passwords_panics() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = format!(
        "smtp.trusted_networks = []\n\
         listener = [{{ protocol = \"submission\", bind = [\"{}\"] }}]",
        setup.smtp
    );
    setup.panics = Some("password:2".to_owned());
    let mut relay = Relay::prepare(setup);
    relay.write_config();
    let added = relay.run_with(&["user", "add", "ann@c.test"], "secret\n");
    assert!(added.status.success(), "{added:?}");
    relay.restart();
    let mut codes = [0; 12];
    for (n, code) in codes.iter_mut().enumerate() {
        let mut client = relay.client();
        client.command("EHLO c.test").is("250 ");
        // "\0ann@c.test\0secret"
        let reply = client.command("AUTH PLAIN AGFubkBjLnRlc3QAc2VjcmV0");
        *code = reply.code;
        if reply.code == 235 {
            let content = message(&format!("m{n}"));
            client
                .submit("<ann@c.test>", &["<b@d.test>"], &content)
                .is("250 ");
        }
    }
    let count = |wanted| codes.iter().filter(|code| **code == wanted).count();
    assert_eq!((count(235), count(454)), (6, 6), "{codes:?}");
    assert_eq!(mx.wait_for(6).len(), 6);
    relay.log_line(&["defect", "panicked"]);
    assert!(relay.exited().is_none());
}

/// Each second signature panics: that delivery is put off, and all mail leaves signed.
#[test]
fn signing_panics() {
    use std::os::unix::fs::PermissionsExt as _;

    use ringpost::dkim::{Key, Kind};

    let (scene, mx) = Scene::with_mx(Script::new());
    let keys = tempfile::tempdir().expect("a directory");
    let path = keys.path().join("ed.pem");
    std::fs::write(&path, Key::generate(Kind::Ed25519).expect("a key")).expect("a file");
    let own = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, own).expect("a mode");
    let table = format!("dkim = [{{ domain = \"c.test\", selector = \"ed\", key = {path:?} }}]");
    let mut relay = tempted(&scene, "signing", 2, &table);
    for n in 0..10 {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(&format!("m{n}")));
    }
    let received = mx.wait_for(10);
    let unsigned = received
        .iter()
        .find(|one| !one.text().contains("DKIM-Signature: "));
    assert!(unsigned.is_none(), "{:?}", unsigned.map(|one| one.text()));
    relay.wait_until_empty();
    assert_eq!(copies(&mx).len(), 10, "{:?}", copies(&mx));
    relay.log_line(&["defect", "panicked"]);
    assert!(relay.exited().is_none());
}

/// Each second verification panics: that message is taken all the same, with nothing found out.
#[test]
fn verifying_panics() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = format!(
        "listener = [{{ protocol = \"smtp\", bind = [\"{}\"], verify = true }}]",
        setup.smtp
    );
    setup.panics = Some("verifying:2".to_owned());
    let mut relay = Relay::start(setup);
    for n in 0..10 {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(&format!("m{n}")));
    }
    let received = mx.wait_for(10);
    let told = |one: &&crate::support::Received| one.text().contains("spf=none");
    assert_eq!(received.iter().filter(told).count(), 5);
    assert_eq!(copies(&mx).len(), 10, "{:?}", copies(&mx));
    relay.log_line(&["defect", "panicked"]);
    assert!(relay.exited().is_none());
}

/// What `sendmail` left is taken up, though the thread that does so panics now and then. A file over
/// which it did is not tried again: it may have been sent already.
#[test]
fn the_pickup_panics() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.panics = Some("pickup:2".to_owned());
    let mut relay = Relay::prepare(setup);
    relay.write_config();
    for n in 0..4 {
        let content = format!("Subject: m{n}\n\nx\n");
        let left = relay.run_with(&["sendmail", "-f", "a@c.test", "b@d.test"], &content);
        assert!(left.status.success(), "{left:?}");
    }
    relay.restart();
    mx.wait_for(2);
    relay.log_line(&["defect", "panicked"]);
    relay.log_line(&[".bad: not sent"]);
    let directory = relay.data().join("maildrop");
    let names = || {
        let entries = std::fs::read_dir(&directory)
            .expect("it is there")
            .flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    eventually("two are put aside", || {
        (names().count() == 2 && names().all(|name| name.ends_with(".bad"))).then_some(())
    });
    assert_eq!(mx.messages().len(), 2);
    assert!(relay.exited().is_none());
}
