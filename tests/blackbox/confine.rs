//! What the process is to the machine: whom it runs as, what it may do, which files it reaches.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::process::{Signal, geteuid};

use crate::mailbox;
use crate::support::pop3::Pop3;
use crate::support::{Relay, Scene, Script, eventually, message};

/// The number of a user that exists on every machine, and is not root.
fn nobody() -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("nobody:"));
    let number = line.and_then(|line| line.split(':').nth(2));
    number.expect("a user called nobody").parse().unwrap()
}

/// A relay, not started yet, that root would start and that then is nobody. Only root can do that.
fn for_nobody(scene: &Scene, extra: &str) -> Option<Relay> {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return None;
    }
    let mut setup = scene.config(&format!("process.user = \"nobody\"\n{extra}"));
    // A port that only root binds.
    setup.smtp.set_port(25);
    let relay = Relay::prepare(setup);
    fs::set_permissions(home(&relay), fs::Permissions::from_mode(0o755)).unwrap();
    Some(relay)
}

fn home(relay: &Relay) -> PathBuf {
    relay.config_path().parent().unwrap().to_path_buf()
}

/// A line of each thread's status.
fn of_threads(relay: &Relay, what: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", relay.pid())).unwrap();
    let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
    let line = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    // One that has ended meanwhile says nothing.
    let statuses = statuses.flatten();
    statuses
        .map(|status| (line(&status, "Name:"), line(&status, what)))
        .collect()
}

/// Every file and directory below.
fn all_below(place: &Path, found: &mut Vec<PathBuf>) {
    found.push(place.to_path_buf());
    if place.is_dir() {
        for entry in fs::read_dir(place).unwrap() {
            all_below(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn root_binds_the_ports_and_nobody_runs_the_relay() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let Some(mut relay) = for_nobody(&scene, "") else {
        return;
    };
    relay.restart();
    let threads = of_threads(&relay, "Name:").len();
    assert!(threads >= 6, "main, keeper, log, service, shard, ...");
    let uid = nobody();
    for (thread, ids) in of_threads(&relay, "Uid:") {
        assert_eq!(ids, format!("{uid}\t{uid}\t{uid}\t{uid}"), "{thread}");
    }
    for (thread, ids) in of_threads(&relay, "Gid:") {
        assert!(!ids.split('\t').any(|id| id == "0"), "{thread}: {ids}");
    }
    for (thread, groups) in of_threads(&relay, "Groups:") {
        assert!(!groups.split(' ').any(|id| id == "0"), "{thread}: {groups}");
    }
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        for (thread, held) in of_threads(&relay, set) {
            assert_eq!(held, "0000000000000000", "{thread} {set}");
        }
    }
    for (thread, has) in of_threads(&relay, "NoNewPrivs:") {
        assert_eq!(has, "1", "{thread}");
    }
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("as nobody"));
    relay.wait_until_empty();
    assert_eq!(mx.messages().len(), 1);
    assert!(!relay.log().contains("confine"), "{}", relay.log());
}

#[test]
fn what_is_kept_is_for_the_relays_user_alone() {
    let scene = Scene::new();
    let Some(mut relay) = for_nobody(
        &scene,
        "route = [{ domain = \"d.test\", to = \"mailbox\" }]",
    ) else {
        return;
    };
    // Root runs the commands, the relay reads what they write.
    relay.write_config();
    mailbox::command(&relay, &["user", "add", "ann@d.test"]);
    mailbox::command(&relay, &["dkim", "generate", "d.test", "--selector", "s1"]);
    let letter = "From: root@c.test\nTo: ann@d.test\n\nleft while nobody listens\n";
    assert!(
        relay
            .run_with(&["sendmail", "ann@d.test"], letter)
            .status
            .success()
    );
    relay.restart();
    relay.submit("<a@c.test>", &["<ann@d.test>"], &message("kept"));
    mailbox::wait_for(&mailbox::maildir(&relay, "ann@d.test"), 2);
    let mut kept = Vec::new();
    all_below(&relay.data(), &mut kept);
    assert!(kept.len() > 10, "{kept:?}");
    for path in kept {
        let about = fs::metadata(&path).unwrap();
        let mode = if about.is_dir() { 0o700 } else { 0o600 };
        let found = about.permissions().mode() & 0o777;
        assert_eq!(found, mode, "{} has {found:o}", path.display());
        assert_eq!(about.uid(), nobody(), "{}", path.display());
    }
}

#[test]
fn a_reload_reads_as_nobody_what_a_new_configuration_names() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let Some(mut relay) = for_nobody(&scene, "smtp.trusted_networks = []") else {
        return;
    };
    relay.restart();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let users = elsewhere.path().join("users.toml");
    fs::write(&users, "").unwrap();
    relay.setup.extra = format!(
        "process.user = \"nobody\"\nauth.users_file = {users:?}\nsmtp.trusted_networks = [\"127.0.0.0/8\"]"
    );
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    let log = relay.log();
    assert!(!log.contains("stay"), "{log}");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("trusted now"));
    // What only root may read is told, and the old goes on.
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    relay.signal(Signal::HUP);
    relay.log_line(&["users.toml", "Permission denied"]);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("trusted still"));
}

#[test]
fn data_of_somebody_else_is_named_with_the_remedy() {
    let scene = Scene::new();
    let Some(mut relay) = for_nobody(&scene, "") else {
        return;
    };
    let spool = relay.data().join("spool");
    fs::create_dir_all(&spool).unwrap();
    chown(relay.data(), Some(nobody()), None).unwrap();
    relay.launch();
    assert_eq!(relay.wait().code(), Some(78));
    let log = relay.log();
    let place = spool.display().to_string();
    assert!(log.contains(&place) && log.contains("chown -R"), "{log}");
}

#[test]
fn a_user_who_is_not_there_is_a_fault_of_the_configuration() {
    let scene = Scene::new();
    let mut relay = Relay::prepare(scene.config("process.user = \"no-such-user\""));
    relay.launch();
    assert_eq!(relay.wait().code(), Some(78));
    assert!(
        relay.log().contains("no user no-such-user"),
        "{}",
        relay.log()
    );
}

/// A relay with mailboxes whose folders somebody has made links to a place elsewhere. What it writes and
/// reads there: is mail delivered, and can a message be fetched?
fn through_links(confine: bool) -> (bool, bool) {
    let scene = Scene::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut setup = scene.config("");
    let pop3 = SocketAddr::from((scene.net.host(8), scene.net.free_port(8)));
    setup.extra = format!(
        "process.confine = {confine}\nroute = [{{ domain = \"d.test\", to = \"mailbox\" }}]\n\
         listener = [{{ protocol = \"smtp\", bind = [\"{}\"] }}, {{ protocol = \"pop3\", bind = [\"{pop3}\"] }}]",
        setup.smtp
    );
    let mut relay = Relay::prepare(setup);
    relay.write_config();
    for user in ["ann@d.test", "bob@d.test"] {
        mailbox::command(&relay, &["user", "add", user]);
    }
    // ann's new mail would go elsewhere.
    let ann = mailbox::maildir(&relay, "ann@d.test");
    fs::create_dir_all(ann.join("cur")).unwrap();
    symlink(elsewhere.path(), ann.join("tmp")).unwrap();
    symlink(elsewhere.path(), ann.join("new")).unwrap();
    // bob's mail is what lies elsewhere.
    let bob = mailbox::maildir(&relay, "bob@d.test");
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("1704067200.M1P1.c.test:2,S");
    fs::write(secret, "Subject: secret\n\nthe secret\n").unwrap();
    for folder in ["tmp", "new"] {
        fs::create_dir_all(bob.join(folder)).unwrap();
    }
    symlink(secrets.path(), bob.join("cur")).unwrap();
    relay.restart();

    relay.submit("<>", &["<ann@d.test>"], &message("for elsewhere"));
    let delivered = eventually("an attempt", || {
        let log = relay.log();
        let line = log.lines().find(|line| line.contains("to=<ann@d.test>"))?;
        Some(line.contains("status=sent"))
    });
    let files = fs::read_dir(elsewhere.path()).unwrap().count();
    assert_eq!(files > 0, delivered, "{files} files elsewhere");
    let mut client = Pop3::greet(pop3);
    client.expect("USER bob@d.test", "+OK");
    let read = ["PASS secret", "RETR 1"]
        .iter()
        .all(|command| client.say(command).starts_with("+OK"))
        && client.rest().contains("the secret");
    (delivered, read)
}

#[test]
fn shards_follow_no_link_out_of_the_data_directory() {
    // What is delivered is opened through io_uring, and that obeys too.
    assert_eq!(through_links(false), (true, true));
    assert_eq!(through_links(true), (false, false));
}
