//! Rules, next hops and the names of lanes.

use super::*;

fn table(rules: &[(&'static str, &'static str)]) -> RouteTable {
    RouteTable::parse(rules.iter().map(|&rule| written(rule))).unwrap()
}

fn written((domain, to): (&'static str, &'static str)) -> Written<'static> {
    Written {
        domain,
        to,
        tls: None,
        credentials: None,
        certificate: None,
        pool: None,
    }
}

#[test]
fn each_pool_is_a_lane_of_its_own_to_the_same_destination() {
    let routes = RouteTable::parse([
        Written {
            pool: Some("bulk"),
            ..written(("b.test", "mx"))
        },
        Written {
            credentials: Some("a via b.toml"),
            ..written(("*", "smtp://hub.test:25"))
        },
    ]);
    let routes = routes.unwrap();
    assert_eq!(routes.pool("B.test").map(|pool| &**pool), Some("bulk"));
    assert_eq!(routes.pool("c.test"), None);
    let pool: Rc<str> = "bulk".into();
    let hop = |mailbox: &str| {
        let mailbox = Mailbox::parse(mailbox.as_bytes(), false).unwrap();
        routes.next_hop(&mailbox, "relay.test")
    };
    for (mailbox, lane) in [
        ("x@b.test", "b.test via bulk"),
        ("x@c.test", "[hub.test]:25 via bulk/a via b.toml"),
    ] {
        let before = hop(mailbox);
        let after = before.clone().via(&pool);
        assert_eq!((&*after.lane, &after.how), (lane, &before.how));
        assert_eq!(destination(&after.lane), *before.lane);
        assert_eq!(after.pool.as_ref(), Some(&pool));
    }
    assert_eq!(destination("[h]/a via b.toml"), "[h]/a via b.toml");
    let nowhere = NextHop::mailbox();
    assert_eq!(nowhere.clone().via(&pool), nowhere);
    assert_eq!(destination("(fail) a via b"), "(fail) a via b");
}

#[test]
fn the_first_rule_that_matches_wins() {
    let routes = table(&[
        ("a.example.org", "discard"),
        ("*.example.org", "reject"),
        ("example.org", "mailbox"),
        ("*", "smtp://hub.test:2526"),
    ]);
    assert_eq!(routes.find("a.example.org"), &Target::Discard);
    assert_eq!(routes.find("x.y.example.org"), &Target::Reject);
    assert_eq!(routes.find("example.org"), &Target::Mailbox);
    let hub = Target::SmartHost {
        host: SmartHost::Name("hub.test".into()),
        port: Some(2526),
        tls_first: false,
    };
    assert_eq!(routes.find("badexample.org"), &hub);
    assert_eq!(routes.find("[192.0.2.1]"), &hub);
    assert_eq!(RouteTable::default().find("d.test"), &Target::Mx);
}

#[test]
fn rules_say_how_mail_is_encrypted() {
    let rule = |domain, to, tls| Written {
        tls,
        ..written((domain, to))
    };
    let routes = RouteTable::parse([
        rule("a.test", "mx", Some(TlsPolicy::Verify)),
        rule("b.test", "smtp://hub.test", Some(TlsPolicy::None)),
        rule("*", "smtp://hub.test", None),
    ]);
    let routes = routes.unwrap();
    let tls = ["A.test", "b.test", "c.test"].map(|domain| routes.tls(domain));
    assert_eq!(tls, [Some(TlsPolicy::Verify), Some(TlsPolicy::None), None]);
    let lane = |mailbox: &str| {
        let mailbox = Mailbox::parse(mailbox.as_bytes(), false).unwrap();
        routes.next_hop(&mailbox, "relay.test").lane
    };
    let lanes = ["x@a.test", "x@b.test", "x@c.test"].map(lane);
    let lanes = lanes.each_ref().map(|lane| &**lane);
    assert_eq!(lanes, ["a.test", "[hub.test]/none", "[hub.test]"]);
}

#[test]
fn a_rule_in_u_labels_is_for_the_same_domain_in_a_labels() {
    let routes = table(&[("BÜCHER.test", "discard")]);
    assert_eq!(routes.find("xn--bcher-kva.test"), &Target::Discard);
    assert_eq!(routes.find("bücher.test"), &Target::Discard);
}

#[test]
fn smart_hosts_in_every_spelling() {
    let address = |text: &str| SmartHost::Address(text.parse().unwrap());
    for (text, host, port) in [
        ("smtp://hub", SmartHost::Name("hub".into()), None),
        (
            "smtp://Hub.Test:587",
            SmartHost::Name("hub.test".into()),
            Some(587),
        ),
        ("smtp://127.0.0.1:2526", address("127.0.0.1"), Some(2526)),
        ("smtp://[127.0.0.1]", address("127.0.0.1"), None),
        ("smtp://[::1]:25", address("::1"), Some(25)),
        ("smtp://[2001:db8::1]", address("2001:db8::1"), None),
    ] {
        let target = |tls_first, port| {
            Ok(Target::SmartHost {
                host: host.clone(),
                port,
                tls_first,
            })
        };
        assert_eq!(Target::parse(text), target(false, port), "{text}");
        let text = text.replace("smtp:", "smtps:");
        assert_eq!(
            Target::parse(&text),
            target(true, port.or(Some(465))),
            "{text}"
        );
    }
}

#[test]
fn a_faulty_rule_says_what_is_wrong_with_it() {
    for (text, bad) in [
        ("MX", BadRoute::Target),
        ("", BadRoute::Target),
        ("lmtp://x", BadRoute::Target),
        ("smtp://", BadRoute::Host),
        ("smtp://::1", BadRoute::Host),
        ("smtp://1.2.3", BadRoute::Host),
        ("smtp://[::1", BadRoute::Host),
        ("smtp://[hub]:25", BadRoute::Host),
        ("smtp://a b", BadRoute::Host),
        ("smtp://hub:", BadRoute::Port),
        ("smtp://hub:0", BadRoute::Port),
        ("smtp://hub:+25", BadRoute::Port),
        ("smtp://hub:65536", BadRoute::Port),
        ("smtp://[::1]25", BadRoute::Port),
    ] {
        assert_eq!(Target::parse(text), Err(bad), "{text}");
    }
    for domain in ["", "*.", "a..b", "*.*.test", "a b", ".test"] {
        assert_eq!(
            RouteTable::parse([("ok.test", "mx"), (domain, "mx")].map(written)),
            Err((1, BadRoute::Domain)),
            "{domain}"
        );
    }
}

#[test]
fn next_hops_share_a_lane_only_where_they_share_the_way() {
    assert_eq!(
        NextHop::mx("d.test", "relay.test").how,
        How::Mx("d.test".into())
    );
    assert_eq!(
        &*NextHop::mx("bücher.test", "relay.test").lane,
        "xn--bcher-kva.test"
    );
    let address = |text: &str, port, tls| {
        NextHop::address(text.parse().unwrap(), port, tls, Entry::default())
    };
    let mapped = address("::ffff:192.0.2.1", None, None);
    assert_eq!(mapped, address("192.0.2.1", None, None));
    assert_ne!(mapped.lane, address("192.0.2.1", Some(25), None).lane);
    let verified = address("192.0.2.1", Some(25), Some(TlsPolicy::Verify));
    assert_eq!(&*verified.lane, "[192.0.2.1]:25/verify");
    let routes = RouteTable::parse([Written {
        credentials: Some("hub.toml"),
        certificate: Some("own.pem"),
        ..written(("*", "smtps://hub.test"))
    }]);
    let mailbox = Mailbox::parse(b"b@d.test", false).unwrap();
    let hop = routes.unwrap().next_hop(&mailbox, "relay.test");
    assert_eq!(&*hop.lane, "[hub.test]:465/tls-first/hub.toml/own.pem");
    let entry = hop.how.entry().unwrap();
    assert!(entry.tls_first && entry.credentials.as_deref() == Some("hub.toml"));
    let How::Fail(looping) = NextHop::mx("Relay.test", "relay.test").how else {
        panic!("must not loop")
    };
    assert_eq!(looping.status.to_string(), "5.4.6");
}
