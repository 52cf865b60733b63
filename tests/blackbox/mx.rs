//! What the DNS says of a domain, and where its mail goes then.

use std::collections::HashSet;

use crate::support::{Mx, Rdata, Report, Scene, Script, eventually, message, never};

#[test]
fn best_preference_is_down_and_the_next_one_takes_the_mail() {
    let scene = Scene::new();
    scene.dead_mx(1);
    let second = scene.mx(2, Script::new());
    let third = scene.mx(3, Script::new());
    scene.dns.mx(
        "d.test",
        &[(30, "mx3.test"), (20, "mx2.test"), (10, "mx1.test")],
    );
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("order"));
    second.wait_for(1);
    assert_eq!(third.connections(), 0);
}

#[test]
fn hosts_of_equal_preference_share_the_mail() {
    let scene = Scene::new();
    let hosts = [scene.mx(1, Script::new()), scene.mx(2, Script::new())];
    let relay = scene.relay("delivery.messages_per_connection = 1");
    for n in 0..24 {
        // A domain each, so that each delivery chooses afresh.
        let domain = format!("d{n}.test");
        scene.dns.mx(&domain, &[(10, "mx1.test"), (10, "mx2.test")]);
        relay.submit(
            "<a@c.test>",
            &[&format!("<b@{domain}>")],
            &message("shared"),
        );
    }
    eventually("all mail", || {
        (hosts[0].messages().len() + hosts[1].messages().len() == 24).then_some(())
    });
    assert!(
        hosts.iter().all(|host| !host.messages().is_empty()),
        "one of two equal hosts got all 24"
    );
}

#[test]
fn domain_says_it_takes_no_mail() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.mx("null.test", &[(0, ".")]);
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@null.test>"], &message("null"));
    let report = Report::parse(mx.wait_for_mail_to("a@c.test"));
    assert_eq!(report.recipient("b@null.test").field("Status"), "5.1.10");
    assert_eq!(report.recipient("b@null.test").field("Action"), "failed");
}

#[test]
fn domain_does_not_exist() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@nowhere.test>"], &message("nxdomain"));
    let report = Report::parse(mx.wait_for_mail_to("a@c.test"));
    assert_eq!(report.recipient("b@nowhere.test").field("Status"), "5.1.2");
}

#[test]
fn dns_fails_for_a_while_and_the_address_is_not_tried_instead() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.a("d.test", mx_ip(&mx));
    scene.dns.servfail("d.test");
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("servfail"));
    relay.log_line(&["status=deferred", "4.4.3"]);
    never("mail without an MX answer", || mx.connections() > 0);
    scene.dns.heal("d.test");
    assert!(mx.wait_for(1)[0].is_for("b@d.test"));
}

#[test]
fn name_server_is_silent() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.silent("d.test");
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("silent"));
    relay.log_line(&["status=deferred", "4.4.3"]);
    scene.dns.heal("d.test");
    assert!(mx.wait_for(1)[0].is_for("b@d.test"));
}

#[test]
fn exchanger_does_not_answer_over_ipv6() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene
        .dns
        .add("mx1.test", Rdata::Aaaa(std::net::Ipv6Addr::LOCALHOST));
    let relay = scene.relay("queue.retry = [\"1h\"]");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("ipv4"));
    mx.wait_for(1);
}

#[test]
fn domain_has_an_address_and_no_mx() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.a("plain.test", mx_ip(&mx));
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@plain.test>"], &message("implicit"));
    assert!(mx.wait_for(1)[0].is_for("b@plain.test"));
}

#[test]
fn domain_is_an_alias_of_another() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.add("alias.test", Rdata::Cname("d.test".into()));
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@alias.test>"], &message("cname"));
    assert!(
        mx.wait_for(1)[0].is_for("b@alias.test"),
        "the recipient keeps its domain"
    );
}

#[test]
fn alias_points_at_itself() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.add("loop.test", Rdata::Cname("pool.test".into()));
    scene.dns.add("pool.test", Rdata::Cname("loop.test".into()));
    let relay = scene.relay("queue.expire = \"1s\"");
    relay.submit("<a@c.test>", &["<b@loop.test>"], &message("cname-loop"));
    let report = Report::parse(mx.wait_for_mail_to("a@c.test"));
    let status = report.recipient("b@loop.test").field("Status").to_owned();
    assert!(
        status.starts_with("5.4.") || status.starts_with("4.4."),
        "{status}"
    );
}

#[test]
fn relay_finds_itself_in_the_list() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let worse = scene.mx(2, Script::new());
    scene.dns.a("relay.test", scene.net.host(1));
    scene.dns.mx(
        "better.test",
        &[(10, "mx1.test"), (20, "relay.test"), (30, "mx2.test")],
    );
    scene
        .dns
        .mx("best.test", &[(10, "relay.test"), (30, "mx2.test")]);
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@better.test>"], &message("backup"));
    mx.wait_for_mail_to("b@better.test");
    relay.submit("<a@c.test>", &["<b@best.test>"], &message("loop"));
    let report = Report::parse(mx.wait_for_mail_to("a@c.test"));
    assert_eq!(report.recipient("b@best.test").field("Status"), "5.4.6");
    assert_eq!(
        worse.connections(),
        0,
        "hosts behind ourselves would send it back"
    );
}

/// An exchanger that calls itself what the relay calls itself.
fn mirror(scene: &Scene, n: u8) -> Mx {
    let hello = b"250-relay.test greets you\r\n250 PIPELINING\r\n";
    scene.mx(n, Script::new().writes("EHLO", &[(0, hello)]))
}

#[test]
fn exchanger_turns_out_to_be_the_relay_itself() {
    let (scene, sender) = Scene::with_mx(Script::new());
    let (ourselves, worse) = (mirror(&scene, 2), scene.mx(3, Script::new()));
    let list = [(10, "mx2.test"), (20, "mx3.test")];
    scene.dns.mx("loop.test", &list);
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@loop.test>"], &message("loop"));
    let report = Report::parse(sender.wait_for_mail_to("a@c.test"));
    assert_eq!(report.recipient("b@loop.test").field("Status"), "5.4.6");
    let literal = format!("[{}]", mx_ip(&ourselves));
    relay.submit("<>", &[&format!("<b@{literal}>")], &message("literal"));
    relay.log_line(&["5.4.6", &format!("mail for {literal} loops back")]);
    assert_eq!((ourselves.heard("MAIL"), worse.connections()), (0, 0));
}

#[test]
fn exchanger_before_the_relay_itself_is_down_for_a_while() {
    let (scene, _sender) = Scene::with_mx(Script::new());
    let ourselves = mirror(&scene, 2);
    scene.dead_mx(3);
    let list = [(10, "mx3.test"), (20, "mx2.test")];
    scene.dns.mx("backup.test", &list);
    let relay = scene.relay("queue.retry = [\"1h\"]");
    relay.submit("<a@c.test>", &["<b@backup.test>"], &message("backup"));
    let line = relay.log_line(&["to=<b@backup.test>", "status="]);
    assert!(
        line.contains("status=deferred (connect to mx3.test"),
        "{line}"
    );
    assert_eq!(ourselves.heard("MAIL"), 0);
}

#[test]
fn first_exchanger_has_no_address() {
    let scene = Scene::new();
    let second = scene.mx(2, Script::new());
    scene
        .dns
        .mx("d.test", &[(10, "gone.test"), (20, "mx2.test")]);
    let relay = scene.relay("");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("target-nxdomain"));
    second.wait_for(1);
}

#[test]
fn domain_lists_fifty_dead_hosts() {
    let scene = Scene::new();
    let names: Vec<String> = (1..=50).map(|n| format!("mx{n}.test")).collect();
    let list: Vec<(u16, &str)> = names.iter().map(|name| (10, name.as_str())).collect();
    scene.dns.mx("d.test", &list);
    (1..=50).for_each(|n| scene.dead_mx(n));
    let relay = scene.relay("queue.retry = [\"1h\"]");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("fifty"));
    relay.log_line(&["status=deferred"]);
    let tried: HashSet<&String> = names
        .iter()
        .filter(|name| scene.dns.asked(name, 1) > 0)
        .collect();
    assert!(
        (1..=20).contains(&tried.len()),
        "{} of 50 hosts were looked up in one attempt",
        tried.len()
    );
}

#[test]
fn recipient_gives_an_address_literal() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    relay.submit(
        "<a@c.test>",
        &[&format!("<b@[{}]>", mx_ip(&mx))],
        &message("literal"),
    );
    assert_eq!(mx.wait_for(1)[0].rcpts.len(), 1);
}

fn mx_ip(mx: &Mx) -> std::net::Ipv4Addr {
    match mx.address().ip() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!("scenes are IPv4"),
    }
}
