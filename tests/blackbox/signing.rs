//! DKIM: what leaves is signed, as it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use ringpost::dkim::{Key, Kind, Signers};

use crate::support::{Received, Relay, Scene, Script, eventually, message};

/// Keys of two kinds, and the tables that name them.
struct Keys {
    directory: tempfile::TempDir,
    signers: Signers,
    tables: String,
}

impl Keys {
    fn new(domain: &str) -> Self {
        let mut keys = Self {
            directory: tempfile::tempdir().unwrap(),
            signers: Signers::default(),
            tables: String::new(),
        };
        keys.add(domain, "rsa", Kind::Rsa { bits: 2048 });
        keys.add(domain, "ed", Kind::Ed25519);
        keys
    }

    fn add(&mut self, domain: &str, selector: &str, kind: Kind) {
        let path = self.path(selector);
        fs::write(&path, Key::generate(kind).unwrap()).unwrap();
        private(&path);
        self.signers
            .add(domain, selector, Key::read(&path).unwrap());
        self.tables += &format!(
            "[[dkim]]\ndomain = {domain:?}\nselector = {selector:?}\nkey = {:?}\n",
            path.display().to_string()
        );
    }

    fn path(&self, selector: &str) -> PathBuf {
        self.directory.path().join(format!("{selector}.pem"))
    }

    /// Everything before the first field that is no signature, and the rest.
    fn split<'m>(&self, content: &'m [u8]) -> (&'m [u8], &'m [u8]) {
        let at = memchr::memmem::find(content, b"\r\nReceived: ").map_or(0, |at| at + 2);
        let at = if content.starts_with(b"DKIM-Signature: ") {
            at
        } else {
            0
        };
        content.split_at(at)
    }

    #[track_caller]
    fn assert_signed(&self, received: &Received, count: usize) {
        let content = received.content();
        let (fields, rest) = self.split(&content);
        let text = String::from_utf8_lossy(&content).into_owned();
        assert_eq!(text.matches("DKIM-Signature: ").count(), count, "{text}");
        assert!(self.signers.proves(fields, rest), "{text}");
    }
}

fn private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn submit(relay: &Relay, content: &[u8]) {
    relay.submit("<a@c.test>", &["<b@d.test>"], content);
}

#[test]
fn mail_of_a_domain_with_keys_is_signed_by_each() {
    let keys = Keys::new("c.test");
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&keys.tables);
    submit(&relay, &message("one"));
    keys.assert_signed(&mx.wait_for(1)[0], 2);
    // Dots at line ends and beginnings, trailing empty lines: what is hashed is what is read.
    submit(
        &relay,
        b"From: a@c.test\r\nSubject: dots\r\n\r\n.\r\n..x\r\n.y \r\n\r\n\r\n",
    );
    keys.assert_signed(&mx.wait_for(2)[1], 2);
    relay.wait_until_empty();
    assert!(relay.metric("ringpost_messages_signed_total", "") >= 2.0);
    assert!(relay.metric("ringpost_signatures_unproven_total", "") == 0.0);
}

#[test]
fn mail_of_other_domains_is_left_alone() {
    let keys = Keys::new("other.test");
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&keys.tables);
    submit(&relay, &message("plain"));
    assert!(!mx.wait_for(1)[0].text().contains("DKIM-Signature"));
}

#[test]
fn what_a_seven_bit_peer_gets_is_signed_as_it_gets_it() {
    let keys = Keys::new("c.test");
    let (scene, mx) = Scene::with_mx(Script::new().without("8BITMIME").without("SMTPUTF8"));
    let relay = scene.relay(&keys.tables);
    relay
        .client()
        .submit(
            "<a@c.test> BODY=8BITMIME",
            &["<b@d.test>"],
            "From: a@c.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{e4}\u{f6}\u{fc}\r\n"
                .as_bytes(),
        )
        .is("250 ");
    let received = &mx.wait_for(1)[0];
    assert!(received.content().is_ascii());
    keys.assert_signed(received, 2);
}

#[test]
fn a_large_message_is_signed() {
    let keys = Keys::new("c.test");
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&keys.tables);
    let mut large = message("large");
    for line in 0..100_000 {
        large.extend_from_slice(format!(".line {line} of a large message\r\n").as_bytes());
    }
    submit(&relay, &large);
    keys.assert_signed(&mx.wait_for(1)[0], 2);
}

#[test]
fn our_own_bounce_is_signed() {
    let keys = Keys::new("relay.test");
    let (scene, mx) = Scene::with_mx(Script::new().says("RCPT TO:<b@d.test>", "550 5.1.1 nobody"));
    let relay = scene.relay(&keys.tables);
    submit(&relay, &message("bounce"));
    let report = mx.wait_for_mail_to("a@c.test");
    let content = report.content();
    assert!(
        content.starts_with(b"DKIM-Signature: "),
        "{}",
        report.text()
    );
    let end = memchr::memmem::find_iter(&content, b"\r\n")
        .map(|at| at + 2)
        .find(|at| {
            let next = &content[*at..];
            !next.starts_with(b"\t") && !next.starts_with(b" ") && !next.starts_with(b"DKIM-")
        })
        .unwrap();
    assert!(keys.signers.proves(&content[..end], &content[end..]));
}

#[test]
fn a_key_is_replaced_while_the_relay_runs() {
    let mut keys = Keys::new("c.test");
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay(&keys.tables);
    submit(&relay, &message("before"));
    keys.assert_signed(&mx.wait_for(1)[0], 2);
    fs::write(keys.path("ed"), Key::generate(Kind::Ed25519).unwrap()).unwrap();
    private(&keys.path("ed"));
    keys.signers
        .add("c.test", "ed", Key::read(&keys.path("ed")).unwrap());
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    submit(&relay, &message("after"));
    keys.assert_signed(&mx.wait_for(2)[1], 2);
}

#[test]
fn a_configuration_with_a_bad_key_is_refused_with_its_place() {
    let keys = Keys::new("c.test");
    let scene = Scene::new();
    let relay = Relay::prepare(scene.config(&keys.tables));
    relay.write_config();
    fs::set_permissions(keys.path("ed"), fs::Permissions::from_mode(0o644)).unwrap();
    let checked = relay.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    assert!(said.contains("ed.pem: others can read it"), "{said}");
    fs::remove_file(keys.path("ed")).unwrap();
    let said = relay.run(&["check"]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("ed.pem: No such file"));
}

#[test]
fn operator_makes_a_key_and_shows_its_record() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let made = relay.ask(&["dkim", "generate", "c.test", "--selector", "s1"]);
    assert!(
        made.contains("s1._domainkey.c.test. IN TXT ( \"v=DKIM1; k=rsa; p="),
        "{made}"
    );
    let again = relay.run(&["dkim", "generate", "c.test", "--selector", "s1"]);
    assert_eq!(again.status.code(), Some(73), "a key is never overwritten");
    let table = made.split("# add to the configuration\n").nth(1).unwrap();
    let (scene, mx) = Scene::with_mx(Script::new());
    let signing = scene.relay(table);
    submit(&signing, &message("made"));
    assert!(
        mx.wait_for(1)[0]
            .text()
            .starts_with("DKIM-Signature: v=1; a=rsa-sha256; s=s1; d=c.test;")
    );
    let shown = signing.ask(&["dkim", "show", "--json"]);
    let records: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(records[0]["name"], "s1._domainkey.c.test.");
    eventually("it is delivered", || {
        signing.queue().is_empty().then_some(())
    });
}

#[test]
fn what_a_submission_lacked_is_signed_with_the_rest() {
    let keys = Keys::new("c.test");
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = format!(
        "[[listener]]\nprotocol = \"submission\"\nbind = [\"{}\"]\npreflight = \"refuse\"\n{}",
        setup.smtp, keys.tables
    );
    let relay = Relay::start(setup);
    // No rule is broken by what the relay adds.
    submit(&relay, b"From: a@c.test\r\nSubject: bare\r\n\r\nx\r\n");
    let received = &mx.wait_for(1)[0];
    assert!(
        received.text().contains("\r\nDate: "),
        "{}",
        received.text()
    );
    keys.assert_signed(received, 2);
}
