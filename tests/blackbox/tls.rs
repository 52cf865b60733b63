//! TLS on the way in and on the way out. Two relays stand behind each other; the second one's
//! certificate is the one that it makes for itself.

use rcgen::{CertificateParams, date_time_ymd};

use crate::support::{Authority, Relay, Scene, Script, message};

/// A relay that sends everything on to another one, which is `inner.test` and sends to `d.test`.
fn two_relays(scene: &Scene, policy: &str) -> (Relay, Relay) {
    let inner = scene.relay("hostname = \"inner.test\"");
    let std::net::IpAddr::V4(address) = inner.setup.smtp.ip() else {
        panic!("scenes are IPv4");
    };
    scene.dns.a("inner.test", address);
    let mut setup = scene.config(&format!(
        "delivery.tls = \"{policy}\"\nroute = [{{ domain = \"*\", to = \"smtp://inner.test:{}\" }}]",
        inner.setup.smtp.port()
    ));
    setup.authorities = Some(inner.data().join("keys/self-signed.pem"));
    (Relay::start(setup), inner)
}

fn submit(relay: &Relay) {
    let said = relay
        .client()
        .submit("<a@c.test>", &["<b@d.test>"], &message("secret"));
    said.is("250 ");
}

#[test]
fn next_hop_offers_tls() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (outer, inner) = two_relays(&scene, "opportunistic");
    inner.log_line(&["no certificate is configured", "self-signed.pem"]);
    submit(&outer);
    submit(&outer);
    for message in mx.wait_for(2) {
        let trace = message.text();
        assert!(
            trace.contains("with ESMTPS id") && trace.contains("tls TLS_"),
            "{trace}"
        );
    }
    let line = outer.log_line(&["to=<b@d.test>", "status=sent"]);
    assert!(line.ends_with("tls=opportunistic: TLSv1.3"), "{line}");
    let (_, metrics) = outer.fetch("/metrics").unwrap();
    for stage in ["command", "tls"] {
        assert!(metrics.contains(&format!("stage=\"{stage}\"")), "{stage}");
    }
}

#[test]
fn next_hop_proves_its_name() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (outer, _inner) = two_relays(&scene, "verify");
    submit(&outer);
    mx.wait_for(1);
    let line = outer.log_line(&["to=<b@d.test>", "status=sent"]);
    assert!(line.ends_with("tls=verified: TLSv1.3"), "{line}");
}

#[test]
fn next_hop_has_a_certificate_of_nobody_we_know() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (mut outer, inner) = two_relays(&scene, "verify");
    outer.kill();
    outer.setup.authorities = Some("/dev/null".into());
    outer.restart();
    submit(&outer);
    let line = outer.log_line(&["to=<b@d.test>", "status=deferred"]);
    assert!(line.contains("performing the TLS handshake"), "{line}");
    assert_eq!(mx.messages().len(), 0);
    assert!(
        !inner.log().contains("queue active"),
        "nothing went in plain"
    );
}

/// Expired, for another name, of nobody we know: and what each policy makes of it.
#[test]
fn next_hop_shows_a_worthless_certificate() {
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let mut expired = CertificateParams::new(vec!["inner.test".to_owned()]).unwrap();
    expired.not_before = date_time_ymd(2001, 1, 1);
    expired.not_after = date_time_ymd(2002, 1, 1);
    for (chain, key) in [
        trusted.issue_as("expired", expired),
        trusted.issue("other.test"),
        stranger.issue("inner.test"),
    ] {
        let scene = Scene::new();
        let inner = scene.relay(&format!(
            "hostname = \"inner.test\"\ntls.certificate = {chain:?}\ntls.key = {key:?}\n\
             route = [{{ domain = \"*\", to = \"discard\" }}]"
        ));
        let std::net::IpAddr::V4(address) = inner.setup.smtp.ip() else {
            panic!("scenes are IPv4");
        };
        scene.dns.a("inner.test", address);
        for (policy, ending) in [
            ("none", "tls=none"),
            ("opportunistic", "tls=opportunistic: TLSv1.3"),
            ("required", "tls=required: TLSv1.3"),
            ("verify", "tls=verified: broken"),
        ] {
            let outer = scene.relay(&format!(
                "delivery.tls = \"{policy}\"\nqueue.retry = [\"1h\"]\ntls.trusted_roots = {:?}\n\
                 route = [{{ domain = \"*\", to = \"smtp://inner.test:{}\" }}]",
                trusted.path(),
                inner.setup.smtp.port()
            ));
            submit(&outer);
            let line = outer.log_line(&["to=<b@d.test>", "status="]);
            assert!(line.ends_with(ending), "{chain:?}: {line}");
            let is_sent = line.contains("status=sent");
            assert_eq!(is_sent, policy != "verify", "{chain:?}: {line}");
        }
    }
}

#[test]
fn next_hop_offers_no_tls_where_it_must() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("delivery.tls = \"required\"");
    submit(&relay);
    let line = relay.log_line(&["status=deferred", "dsn=4.7.4"]);
    assert!(
        line.contains("TLS is required, but was not offered"),
        "{line}"
    );
    assert_eq!(mx.heard("MAIL"), 0);
}

#[test]
fn next_hop_breaks_off_the_handshake_and_gets_the_mail_in_plain() {
    for script in [
        Script::new().says_and_closes("STARTTLS", "220 2.0.0 go"),
        Script::new().writes("STARTTLS", &[(0, b"220 go\r\n250 injected\r\n")]),
        Script::new().writes(
            "STARTTLS",
            &[(0, b"220 go\r\n"), (50, b"no TLS record at all")],
        ),
        Script::new().says("STARTTLS", "454 4.7.0 not today"),
    ] {
        let (scene, mx) = Scene::with_mx(script.with("STARTTLS"));
        let relay = scene.relay("delivery.tls = \"opportunistic\"\nqueue.retry = [\"1h\"]");
        submit(&relay);
        assert!(mx.wait_for(1)[0].is_for("b@d.test"));
        relay.log_line(&["to=<b@d.test>", "status=sent", "tls=opportunistic: "]);
    }
}

#[test]
fn commands_stand_in_plain_behind_starttls() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let mut client = relay.client();
    client.send("STARTTLS\r\nMAIL FROM:<evil@c.test>\r\n");
    client.reply().is("220 ");
    relay.log_line(&["25 octets in plain behind STARTTLS were thrown away"]);
    // No handshake comes: this is no TLS record, and the connection ends without another word.
    client.send("QUIT\r\n");
    assert!(client.next_reply().is_none());
}
