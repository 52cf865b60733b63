//! What an operator is told about the way that mail would travel.

use serde_json::Value;

use crate::support::{Authority, Rdata, Relay, Scene, Script, Web, message};

#[track_caller]
fn explained(relay: &Relay, recipient: &str) -> Value {
    let text = relay.ask(&["explain", recipient, "--json"]);
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn mail_would_go_to_the_hosts_of_the_domain_in_order() {
    let scene = Scene::new();
    scene.dns.mx(
        "d.test",
        &[(20, "mx2.test"), (10, "mx1.test"), (30, "gone.test")],
    );
    let hosts = [scene.mx(1, Script::new()), scene.mx(2, Script::new())];
    let relay = scene.relay("delivery.connections_per_destination = 7");
    let told = explained(&relay, "b@D.test");
    assert_eq!(told["next_hop"], "d.test");
    assert_eq!(told["rule"], Value::Null);
    assert_eq!(told["connections_max"], 7);
    let names: Vec<&Value> = (0..3).map(|n| &told["hosts"][n]["name"]).collect();
    assert_eq!(names, ["mx1.test", "mx2.test", "gone.test"]);
    let address = hosts[0].address().to_string();
    assert_eq!(told["hosts"][0]["addresses"][0]["to"], address.as_str());
    assert_eq!(told["hosts"][0]["tls"], "none");
    assert_eq!(told["hosts"][0]["tls_from"], "[delivery] tls");
    let trouble = told["hosts"][2]["trouble"].as_str().expect("a reason");
    assert!(trouble.contains("gone.test"), "{trouble}");
    let text = relay.ask(&["explain", "<b@d.test>"]);
    for words in [
        "10 mx1.test: TLS none (by [delivery] tls)",
        &address,
        "nothing waits",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        hosts.iter().all(|host| host.connections() == 0),
        "nothing is sent"
    );
}

#[test]
fn mail_waits_for_a_host_that_refused_it_a_moment_ago() {
    let (scene, mx) = Scene::with_mx(Script::new().says_and_closes("BANNER", "421 4.3.2 later"));
    let relay = scene.relay("queue.retry = [\"1h\"]\ndelivery.source = [\"127.0.0.1\"]");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("waits"));
    relay.log_line(&["status=deferred"]);
    let told = explained(&relay, "x@d.test");
    let lane = &told["lanes"][0];
    assert_eq!(lane["state"], "backing off");
    assert_eq!(
        (&lane["messages"], &lane["failures"]),
        (&1.into(), &1.into())
    );
    assert!(
        lane["next_attempt"].as_u64().is_some_and(|wait| wait > 60),
        "{lane}"
    );
    assert!(
        lane["reason"]
            .as_str()
            .is_some_and(|why| why.contains("4.3.2 later")),
        "{lane}"
    );
    let address = &told["hosts"][0]["addresses"][0];
    assert!(
        address["rests"].as_u64().is_some_and(|rests| rests > 0),
        "{address}"
    );
    assert_eq!(address["from"], "127.0.0.1");
    let text = relay.ask(&["explain", "x@d.test"]);
    assert!(
        text.contains("backing off, 1 messages") && text.contains("after 1 failures"),
        "{text}"
    );
    assert_eq!(mx.messages().len(), 0);
}

#[test]
fn each_rule_is_told_from_the_next() {
    let scene = Scene::new();
    let hub = scene.mx_address(9);
    let relay = scene.relay(&format!(
        "route = [{{ domain = \"no.test\", to = \"reject\" }},\
         {{ domain = \"hole.test\", to = \"discard\" }},\
         {{ domain = \"*\", to = \"smtp://{hub}\", tls = \"verify\" }}]"
    ));
    let no = explained(&relay, "b@no.test");
    assert_eq!(
        (&no["way"], &no["rule"]),
        (&"fail".into(), &"route 1: no.test to reject".into())
    );
    assert!(
        no["trouble"]
            .as_str()
            .is_some_and(|why| why.contains("refused by a route"))
    );
    assert_eq!(explained(&relay, "b@hole.test")["way"], "discard");
    let smart = explained(&relay, "b@d.test");
    assert_eq!(smart["hosts"][0]["addresses"][0]["to"], hub.to_string());
    assert_eq!(smart["hosts"][0]["tls"], "verified");
    assert_eq!(smart["hosts"][0]["tls_from"], "route");
    assert_eq!(relay.run(&["explain", "nobody"]).status.code(), Some(65));
}

#[test]
fn the_domain_publishes_a_policy() {
    let scene = Scene::new();
    let authority = Authority::new();
    let at = (scene.net.host(80), scene.net.free_port(80));
    let web = Web::start(at.into(), &authority.issue("mta-sts.d.test"));
    web.has(
        "text/plain",
        "version: STSv1\nmode: enforce\nmx: mx1.test\nmax_age: 600\n",
    );
    scene.dns.a("mta-sts.d.test", at.0);
    let record = Rdata::Txt("v=STSv1; id=1".to_owned());
    scene.dns.set("_mta-sts.d.test", vec![record]);
    scene
        .dns
        .mx("d.test", &[(10, "mx1.test"), (20, "mx2.test")]);
    scene.dead_mx(1);
    scene.dead_mx(2);
    let relay = scene.relay(&format!(
        "delivery.tls = \"opportunistic\"\ndelivery.mta_sts_port = {}\ntls.trusted_roots = {:?}",
        web.address().port(),
        authority.path()
    ));
    let told = explained(&relay, "b@d.test");
    assert_eq!(told["policy"]["mode"], "enforce");
    assert_eq!(told["hosts"][0]["tls"], "sts");
    assert_eq!(told["hosts"][0]["tls_from"], "MTA-STS");
    let passed_over = told["hosts"][1]["trouble"].as_str().expect("a reason");
    assert!(
        passed_over.contains("does not name the host mx2.test"),
        "{passed_over}"
    );
    let text = relay.ask(&["explain", "b@d.test"]);
    assert!(
        text.contains("enforce: mx1.test") && text.contains("TLS sts (by MTA-STS)"),
        "{text}"
    );
}
