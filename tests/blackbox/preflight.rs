//! The rules of large mailbox providers, before anything is sent.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;

use ringpost::dkim::{Key, Kind};
use serde_json::Value;

use crate::support::dns::PTR;
use crate::support::{Relay, Scene, Script, eventually, message};

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const NEWSLETTER: &str = "From: Ann <ann@c.test>
Date: Fri, 21 Nov 1997 09:55:06 -0600
Message-ID: <1234@c.test>
To: bob@d.test
Subject: news
List-Unsubscribe: <https://c.test/u?id=1>
List-Unsubscribe-Post: List-Unsubscribe=One-Click

News.
";

/// A sender who has done everything, and the configuration of the relay that sends for c.test.
struct Sender {
    scene: Scene,
    directory: tempfile::TempDir,
    relay: Relay,
}

impl Sender {
    fn new() -> Self {
        let scene = Scene::new();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        fs::write(&path, Key::generate(Kind::Rsa { bits: 2048 }).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let dns = &scene.dns;
        dns.txt("s1._domainkey.c.test", &Key::read(&path).unwrap().record());
        dns.txt("c.test", "v=spf1 ip4:192.0.2.1 -all");
        dns.txt("_dmarc.c.test", "v=DMARC1; p=none; rua=mailto:r@c.test");
        dns.ptr(SOURCE, "relay.test");
        dns.a("relay.test", SOURCE);
        let tables = format!(
            "[[dkim]]\ndomain = \"c.test\"\nselector = \"s1\"\nkey = {:?}\n[delivery]\ntls = \"opportunistic\"\nsource = [\"192.0.2.1\"]\n",
            path.display().to_string()
        );
        let relay = Relay::prepare(scene.config(&tables));
        relay.write_config();
        Self {
            scene,
            directory,
            relay,
        }
    }

    /// The exit code, and rule and grade of each finding.
    #[track_caller]
    fn check(&self, message: &str, more: &[&str]) -> (i32, Vec<(String, String)>) {
        let path = self.directory.path().join("message.eml");
        fs::write(&path, message).unwrap();
        let path = path.display().to_string();
        let words = [&["preflight", &*path, "--json"], more].concat();
        let output = self.relay.run(&words);
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let findings = said["findings"].as_array().unwrap().iter().map(|finding| {
            let word = |key: &str| finding[key].as_str().unwrap().to_owned();
            (word("rule"), word("grade"))
        });
        (output.status.code().unwrap(), findings.collect())
    }

    /// Only these rules are not `ok`.
    #[track_caller]
    fn assert_breaks(&self, message: &str, more: &[&str], wanted: &[(&str, &str)]) {
        let (code, findings) = self.check(message, more);
        let broken = findings.iter().filter(|(_, grade)| grade != "ok");
        let broken: Vec<(&str, &str)> = broken.map(|(rule, grade)| (&**rule, &**grade)).collect();
        assert_eq!(broken, wanted);
        let fails = wanted.iter().any(|(_, grade)| *grade == "fail");
        assert_eq!(code, if fails { 65 } else { 0 });
    }
}

#[test]
fn a_sender_who_has_done_everything() {
    let sender = Sender::new();
    sender.assert_breaks(NEWSLETTER, &[], &[]);
    let (_, findings) = sender.check(NEWSLETTER, &[]);
    let rules: Vec<&str> = findings.iter().map(|(rule, _)| &**rule).collect();
    assert_eq!(
        rules,
        [
            "from",
            "date",
            "message_id",
            "fields",
            "lines",
            "unsubscribe",
            "key",
            "dkim",
            "spf",
            "dmarc",
            "alignment",
            "ptr",
            "helo",
            "tls"
        ]
    );
    // The same as a table, from standard input.
    let said = sender.relay.run_with(&["preflight", "-"], NEWSLETTER);
    assert!(said.status.success());
    let table = String::from_utf8(said.stdout).unwrap();
    assert!(table.contains("DKIM and SPF prove c.test"), "{table}");
}

#[test]
fn another_key_is_in_the_dns_or_none() {
    let sender = Sender::new();
    let other = Key::parse(&Key::generate(Kind::Rsa { bits: 2048 }).unwrap()).unwrap();
    let name = "s1._domainkey.c.test";
    sender.scene.dns.set(name, vec![]);
    sender.scene.dns.txt(name, &other.record());
    let wanted = [("dkim", "fail"), ("alignment", "warn")];
    sender.assert_breaks(NEWSLETTER, &[], &wanted);
    sender.scene.dns.set(name, vec![]);
    sender.assert_breaks(NEWSLETTER, &[], &wanted);
    sender.scene.dns.servfail(name);
    sender.assert_breaks(NEWSLETTER, &[], &[("dkim", "warn"), ("alignment", "warn")]);
}

#[test]
fn an_address_that_nobody_knows() {
    let sender = Sender::new();
    sender.assert_breaks(
        NEWSLETTER,
        &["--source", "192.0.2.7"],
        &[("spf", "fail"), ("ptr", "fail"), ("helo", "warn")],
    );
    // One of two is enough to be refused.
    sender
        .scene
        .dns
        .ptr(Ipv4Addr::new(192, 0, 2, 8), "relay.test");
    sender.assert_breaks(
        NEWSLETTER,
        &["--source", "192.0.2.1", "--source", "192.0.2.8"],
        &[("spf", "fail"), ("ptr", "fail")],
    );
}

#[test]
fn the_reverse_path_is_of_another_domain() {
    let sender = Sender::new();
    sender
        .scene
        .dns
        .txt("bounces.test", "v=spf1 ip4:192.0.2.1 -all");
    // DKIM proves the author all the same.
    sender.assert_breaks(NEWSLETTER, &["--from", "b@bounces.test"], &[]);
    sender.assert_breaks(
        NEWSLETTER,
        &["--from", "b@nothing.test"],
        &[("spf", "fail")],
    );
}

#[test]
fn a_domain_without_policy_or_key() {
    let sender = Sender::new();
    let other = NEWSLETTER.replace("ann@c.test", "ann@e.test");
    sender.assert_breaks(
        &other,
        &[],
        &[("key", "fail"), ("spf", "fail"), ("dmarc", "fail")],
    );
    let message = NEWSLETTER
        .replace("Date: ", "X-Date: ")
        .replace("https://", "http://");
    sender.assert_breaks(&message, &[], &[("date", "fail"), ("unsubscribe", "fail")]);
    let long = format!("{NEWSLETTER}{}\n", "x".repeat(999));
    sender.assert_breaks(&long, &[], &[("lines", "fail")]);
}

/// A relay that looks at the header of what comes in.
fn looking(scene: &Scene, policy: &str) -> Relay {
    let mut setup = scene.config("");
    setup.extra = format!(
        "[[listener]]\nprotocol = \"smtp\"\nbind = [\"{}\"]\npreflight = \"{policy}\"\n",
        setup.smtp
    );
    Relay::start(setup)
}

fn broken(relay: &Relay, rule: &str) -> u64 {
    relay.metric(
        "ringpost_preflight_broken_total",
        &format!("rule=\"{rule}\""),
    ) as u64
}

#[test]
fn a_listener_refuses_what_breaks_a_rule() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = looking(&scene, "refuse");
    // There is no key for c.test.
    let mut client = relay.client();
    let refused = client.submit("<a@c.test>", &["<b@d.test>"], &message("one"));
    let text = refused
        .is("550 5.7.1 Receivers refuse mail like this: no key")
        .text();
    assert!(text.contains("ringpost dkim generate"), "{text}");
    // The session goes on; a large message is judged by the same header.
    let mut large = b"From: a@c.test\r\nSubject: x\r\n\r\n".to_vec();
    large.extend_from_slice(&b"0123456789 0123456789\r\n".repeat(30_000));
    let refused = client.submit("<a@c.test>", &["<b@d.test>"], &large);
    refused.is("550 5.7.1 Receivers refuse mail like this: no Date field");
    relay.log_line(&["preflight: date: no Date field; message_id: no Message-ID field; key:"]);
    assert_eq!((broken(&relay, "key"), broken(&relay, "date")), (2, 1));
    assert!(mx.messages().is_empty() && relay.queue().is_empty());
}

/// Nobody is refused for what is the operator's affair, and nobody waits for the DNS.
#[test]
fn a_listener_sees_what_the_dns_says_of_our_addresses() {
    for (ptr, name, wanted) in [
        (None, "relay.test", Some(" has no name")),
        (
            Some("other.test"),
            "relay.test",
            Some(" is other.test, which has other addresses"),
        ),
        (Some("relay.test"), "relay.test", None),
    ] {
        let (scene, _mx) = Scene::with_mx(Script::new());
        // Nothing leaves from there; of addresses on loopback no name server would be asked.
        let source = Ipv4Addr::new(192, 0, 2, 1);
        scene.dns.a(name, source);
        if let Some(ptr) = ptr {
            scene.dns.ptr(source, ptr);
        }
        let mut setup = scene.config("");
        setup.extra = format!(
            "delivery.source = [\"{source}\"]\n[[listener]]\nprotocol = \"smtp\"\n\
             bind = [\"{}\"]\npreflight = \"warn\"\n",
            setup.smtp
        );
        let relay = Relay::start(setup);
        relay.submit("<a@c.test>", &["<b@d.test>"], &message("first"));
        eventually("its names are asked for", || {
            (scene.dns.asked("1.2.0.192.in-addr.arpa", PTR) > 0).then_some(())
        });
        let later = || relay.submit("<a@c.test>", &["<b@d.test>"], &message("later"));
        match wanted {
            Some(words) => {
                eventually("a later message knows", || {
                    later();
                    (broken(&relay, "ptr") > 0).then_some(())
                });
                relay.log_line(&["preflight: ", &format!("ptr: {source}{words}")]);
            }
            None => {
                for _ in 0..20 {
                    later();
                }
                assert!(!relay.log().contains("ptr: "), "it is as it should be");
            }
        }
    }
}

#[test]
fn a_listener_warns_or_counts() {
    let (scene, mx) = Scene::with_mx(Script::new());
    for (policy, is_logged) in [("warn", true), ("count", false)] {
        let relay = looking(&scene, policy);
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(policy));
        relay.wait_until_empty();
        assert_eq!(broken(&relay, "key"), 1);
        relay.log_line(&["status=sent"]);
        assert_eq!(relay.log().contains("preflight: key: no key"), is_logged);
    }
    assert_eq!(mx.wait_for(2).len(), 2);
}
