//! Where configuration sends mail.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::support::{Mx, Scene, Script, eventually, message};

/// A smart host outside the DNS, on a port of its own.
fn smart_host(scene: &Scene) -> Mx {
    Mx::start(
        SocketAddr::from((scene.net.host(99), scene.net.free_port(99))),
        Script::new(),
    )
}

#[test]
fn everything_goes_to_a_smart_host() {
    let scene = Scene::new();
    let smart = smart_host(&scene);
    let relay = scene.relay(&format!(
        "route = [{{ domain = \"*\", to = \"smtp://{}\" }}]",
        smart.address()
    ));
    relay
        .client()
        .submit(
            "<a@c.test>",
            &["<b@d.test>", "<b@e.test>"],
            &message("smart"),
        )
        .is("250 ");
    let messages = smart.wait_for(1);
    assert_eq!(messages.len(), 1, "one copy for two domains: {messages:#?}");
    assert!(messages[0].is_for("b@d.test") && messages[0].is_for("b@e.test"));
    assert_eq!(scene.dns.asked("d.test", crate::support::dns::MX), 0);
}

#[test]
fn first_route_that_matches_wins() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let smart = smart_host(&scene);
    let relay = scene.relay(&format!(
        r#"
        [[route]]
        domain = "no.test"
        to = "reject"
        [[route]]
        domain = "hole.test"
        to = "discard"
        [[route]]
        domain = "*.inner.test"
        to = "smtp://{}"
        "#,
        smart.address()
    ));
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@no.test>").is("5");
    client.command("RCPT TO:<b@hole.test>").is("250 ");
    client.command("RCPT TO:<b@x.inner.test>").is("250 ");
    client.command("RCPT TO:<b@D.Test>").is("250 ");
    client.data(&message("routes")).is("250 ");
    assert!(smart.wait_for(1)[0].is_for("b@x.inner.test"));
    assert!(mx.wait_for(1)[0].is_for("b@d.test"));
    relay.wait_until_empty();
    assert_eq!((smart.messages().len(), mx.messages().len()), (1, 1));
}

#[test]
fn operator_changes_a_route_while_mail_waits() {
    let scene = Scene::new();
    scene.dns.servfail("d.test");
    let mut relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("moved"));
    relay.log_line(&["status=deferred"]);
    let mut kept = relay.client();
    let smart = smart_host(&scene);
    relay.setup.extra = format!(
        "route = [{{ domain = \"d.test\", to = \"smtp://{}\" }}]",
        smart.address()
    );
    relay.write_config();
    relay.signal(Signal::HUP);
    assert!(smart.wait_for(1)[0].is_for("b@d.test"));
    kept.command("NOOP").is("250 ");
}

#[test]
fn operator_reloads_a_broken_file() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = scene.relay("");
    relay.setup.extra = "route = [{ domain = \"d.test\", to = \"nowhere\" }]".to_owned();
    relay.write_config();
    let before = relay.log().len();
    relay.signal(Signal::HUP);
    eventually("the relay says what is wrong", || {
        relay.log()[before..].contains("nowhere").then_some(())
    });
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("still-here"));
    mx.wait_for(1);
}

#[test]
fn smart_host_takes_one_domain_over_each_connection() {
    let scene = Scene::new();
    let smart = smart_host(&scene);
    smart.behaves(Script::new().with("LIMITS RCPTDOMAINMAX=1"));
    let relay = scene.relay(&format!(
        "route = [{{ domain = \"*\", to = \"smtp://{}\" }}]",
        smart.address()
    ));
    let recipients = ["<b@d.test>", "<b@e.test>", "<c@d.test>"];
    relay
        .client()
        .submit("<a@c.test>", &recipients, &message("apart"))
        .is("250 ");
    let messages = smart.wait_for(2);
    assert_eq!(messages.len(), 2, "a copy for each domain: {messages:#?}");
    let (both, other) = (&messages[0], &messages[1]);
    assert!(both.is_for("b@d.test") && both.is_for("c@d.test") && !both.is_for("b@e.test"));
    assert!(other.is_for("b@e.test") && !other.is_for("b@d.test"));
    assert_eq!(smart.connections(), 2);
}

/// Four domains, one host that offers no TLS, and what each rule says of that.
#[test]
fn a_rule_says_how_its_mail_is_encrypted() {
    let scene = Scene::new();
    let mx = scene.mx(1, Script::new());
    for domain in ["plain.test", "must.test", "d.test"] {
        scene.dns.mx(domain, &[(10, "mx1.test")]);
    }
    let host = mx.address();
    let mut relay = scene.relay(&format!(
        "delivery.tls = \"opportunistic\"\nqueue.retry = [\"1h\"]\nroute = [\
         {{ domain = \"plain.test\", tls = \"none\" }},\
         {{ domain = \"must.test\", tls = \"required\" }},\
         {{ domain = \"hub.test\", to = \"smtp://{host}\", tls = \"verify\" }},\
         {{ domain = \"free.test\", to = \"smtp://{host}\" }}]"
    ));
    for (domain, tls) in [
        ("plain.test", "status=sent"),
        ("must.test", "dsn=4.7.4"),
        ("hub.test", "dsn=4.7.4"),
        ("free.test", "status=sent"),
        ("d.test", "tls=opportunistic: not offered"),
    ] {
        let to = format!("b@{domain}");
        relay.submit("<a@c.test>", &[&format!("<{to}>")], &message("encrypted"));
        let line = relay.log_line(&[&format!("to=<{to}>"), "status="]);
        assert!(line.contains(tls), "{line}");
    }
    assert_eq!(mx.heard("STARTTLS"), 0);
    relay.setup.extra = "delivery.tls = \"opportunistic\"\nroute = [\
         { domain = \"must.test\", tls = \"none\" }]"
        .into();
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    relay.ask(&["queue", "retry", "--domain", "must.test"]);
    relay.log_line(&["to=<b@must.test>", "status=sent"]);
}
