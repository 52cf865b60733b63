//! Who incoming mail is from: SPF, DKIM, ARC, DMARC and iprev, and the field that tells of it.

use std::net::Ipv4Addr;

use ringpost::dkim::{Key, Kind, Signers};

use crate::support::{Client, Mx, Relay, Scene, Script, message};

/// Where mail of c.test comes from.
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where it does not.
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// c.test with everything that a careful domain has.
struct Careful {
    scene: Scene,
    mx: Mx,
    signers: Signers,
}

impl Careful {
    fn new() -> Self {
        let (scene, mx) = Scene::with_mx(Script::new());
        let mut signers = Signers::default();
        for (selector, kind) in [("rsa", Kind::Rsa { bits: 2048 }), ("ed", Kind::Ed25519)] {
            let key = Key::parse(&Key::generate(kind).unwrap()).unwrap();
            scene
                .dns
                .txt(&format!("{selector}._domainkey.c.test"), &key.record());
            signers.add("c.test", selector, key);
        }
        scene.dns.txt("c.test", "some other text");
        scene.dns.txt("c.test", "v=spf1 ip4:192.0.2.1 -all");
        scene.dns.txt("_dmarc.c.test", "v=DMARC1; p=reject");
        scene.dns.ptr(OURS, "out.c.test");
        scene.dns.a("out.c.test", OURS);
        Self { scene, mx, signers }
    }

    /// A relay whose clients are named by a balancer. Those of 192.0.2.0/24 may relay.
    fn relay(&self, extra: &str) -> Relay {
        let mut setup = self.scene.config("");
        setup.extra = format!(
            "[[listener]]\nprotocol = \"smtp\"\nbind = [\"{}\"]\nproxy_protocol = true\nverify = true\n\
             [smtp]\ntrusted_networks = [\"192.0.2.0/24\"]\n{extra}",
            setup.smtp
        );
        Relay::start(setup)
    }

    /// A message of c.test with its signatures.
    fn signed(&self, message: &[u8]) -> Vec<u8> {
        [&self.signers.sign(message).unwrap(), message].concat()
    }

    /// What the `n`th message has above the relay's trace field, on one line.
    fn field(&self, n: usize) -> String {
        let text = self.mx.wait_for(n)[n - 1].text();
        let (field, _) = text.split_once("Received: ").unwrap();
        assert_eq!(field.matches("Authentication-Results: ").count(), 1);
        field.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn client(relay: &Relay, from: Ipv4Addr, hello: &str) -> Client {
    let mut client = Client::dial(relay.setup.smtp);
    client.send(format!("PROXY TCP4 {from} 192.0.2.25 4242 25\r\n"));
    client.reply().is("220 ");
    client.command(&format!("EHLO {hello}")).is("250 ");
    client
}

fn send(relay: &Relay, from: Ipv4Addr, sender: &str, content: &[u8]) {
    client(relay, from, "out.c.test")
        .submit(sender, &["<b@d.test>"], content)
        .is("250 ");
}

#[track_caller]
fn assert_has(field: &str, words: &[&str]) {
    for word in words {
        assert!(field.contains(word), "no {word:?} in {field}");
    }
}

#[test]
fn mail_of_a_careful_domain_passes_everything() {
    let careful = Careful::new();
    let relay = careful.relay("");
    send(&relay, OURS, "<a@c.test>", &careful.signed(&message("one")));
    let field = careful.field(1);
    assert!(
        field.starts_with("Authentication-Results: relay.test; "),
        "{field}"
    );
    assert_has(
        &field,
        &[
            "iprev=pass policy.iprev=192.0.2.1",
            "spf=pass ",
            "smtp.mailfrom=a@c.test",
            "dkim=pass header.d=c.test header.s=rsa",
            "dkim=pass header.d=c.test header.s=ed",
            "dmarc=pass header.from=c.test policy.dmarc=reject",
        ],
    );
    relay.log_line(&["verified 192.0.2.1", "spf=pass", "dmarc=pass from=c.test"]);
    for label in ["iprev", "spf", "dmarc"] {
        let label = format!("method=\"{label}\",result=\"pass\"");
        assert_eq!(relay.metric("ringpost_verified_total", &label) as u64, 1);
    }
    let label = "method=\"dkim\",result=\"pass\"";
    assert_eq!(relay.metric("ringpost_verified_total", label) as u64, 2);
}

#[test]
fn somebody_else_sends_in_its_name() {
    let careful = Careful::new();
    let relay = careful.relay("");
    send(&relay, THEIRS, "<a@c.test>", &message("forged"));
    assert_has(
        &careful.field(1),
        &[
            "spf=fail ",
            "dkim=none",
            "iprev=permerror",
            "dmarc=fail (policy not aligned) header.from=c.test policy.dmarc=reject",
        ],
    );
}

#[test]
fn a_message_was_changed_after_it_was_signed() {
    let careful = Careful::new();
    let relay = careful.relay("");
    let signed = String::from_utf8(careful.signed(&message("true"))).unwrap();
    let (below, above) = (
        signed.replace("Words", "Lies"),
        signed.replace("Subject: ", "Subject: x"),
    );
    send(&relay, THEIRS, "<a@other.test>", below.as_bytes());
    assert_has(
        &careful.field(1),
        &[
            "dkim=neutral (body hash did not verify)",
            "dmarc=fail",
            "spf=none",
        ],
    );
    send(&relay, THEIRS, "<a@other.test>", above.as_bytes());
    assert_has(
        &careful.field(2),
        &["dkim=fail (verification failed)", "dmarc=fail"],
    );
    // A forwarder that changes nothing keeps what DKIM says.
    send(&relay, THEIRS, "<a@other.test>", signed.as_bytes());
    assert_has(&careful.field(3), &["dkim=pass", "dmarc=pass"]);
}

#[test]
fn a_large_message_is_hashed_while_it_streams_to_the_disk() {
    let careful = Careful::new();
    let relay = careful.relay("");
    let mut large = message("large");
    for line in 0..60_000 {
        large.extend_from_slice(format!(".line {line} of a large message\r\n..\r\n").as_bytes());
    }
    let forged = b"Authentication-Results: relay.test; dkim=pass header.d=bank.test\r\n";
    let signed = careful.signed(&large);
    send(&relay, OURS, "<a@c.test>", &[forged, &signed[..]].concat());
    assert_has(
        &careful.field(1),
        &["dkim=pass", "header.s=ed", "dmarc=pass"],
    );
    let received = careful.mx.wait_for(1)[0].content();
    assert!(
        received.ends_with(&signed),
        "nothing but the forged field is gone"
    );
    assert!(!received.windows(9).any(|part| part == b"bank.test"));
    let mut changed = signed;
    let end = changed.len();
    changed[end - 100] ^= 1;
    send(&relay, OURS, "<a@c.test>", &changed);
    assert_has(
        &careful.field(2),
        &["dkim=neutral (body hash did not verify)"],
    );
}

#[test]
fn fields_that_claim_to_be_ours_are_removed() {
    let careful = Careful::new();
    let relay = careful.relay("");
    let mut content = b"Authentication-Results: relay.test; spf=pass smtp.mailfrom=bank.test\r\n\
        Authentication-Results: mx.elsewhere.test; spf=fail\r\n\
        authentication-results: (x) RELAY.test/1;\r\n\tdkim=pass header.d=bank.test\r\n"
        .to_vec();
    content.extend(message("forged"));
    send(&relay, OURS, "<a@c.test>", &content);
    let text = careful.mx.wait_for(1)[0].text();
    assert!(!text.contains("bank.test"), "{text}");
    assert!(text.contains("Authentication-Results: mx.elsewhere.test; spf=fail"));
    assert!(text.ends_with("Words of forged.\r\n"), "{text}");
}

#[test]
fn what_the_name_server_cannot_say_now_holds_up_nothing() {
    let careful = Careful::new();
    let relay = careful.relay("[verify]\ntimeout = \"1s\"\ndmarc = \"enforce\"\n");
    careful.scene.dns.servfail("c.test");
    send(&relay, OURS, "<a@c.test>", &message("failing"));
    assert_has(&careful.field(1), &["spf=temperror"]);
    for name in [
        "_dmarc.c.test",
        "rsa._domainkey.c.test",
        "ed._domainkey.c.test",
    ] {
        careful.scene.dns.silent(name);
    }
    send(
        &relay,
        OURS,
        "<a@c.test>",
        &careful.signed(&message("silent")),
    );
    assert_has(&careful.field(2), &["dkim=temperror", "dmarc=temperror"]);
}

#[test]
fn sender_policies_say_what_they_say() {
    let careful = Careful::new();
    let dns = &careful.scene.dns;
    dns.txt("soft.test", "v=spf1 ~all");
    dns.txt("neutral.test", "v=spf1 ?all");
    dns.txt("loop.test", "v=spf1 include:loop.test -all");
    dns.txt("bad.test", "v=spf1 ip4:nonsense -all");
    dns.txt("twice.test", "v=spf1 ip4:192.0.2.1 -all");
    dns.txt("twice.test", "v=spf1 +all");
    dns.txt("redirect.test", "v=spf1 redirect=c.test");
    dns.txt("a.test", "v=spf1 a:out.c.test mx -all");
    let relay = careful.relay("");
    let cases = [
        ("<a@soft.test>", "spf=softfail"),
        ("<a@neutral.test>", "spf=neutral"),
        ("<a@loop.test>", "spf=permerror"),
        ("<a@bad.test>", "spf=permerror"),
        ("<a@redirect.test>", "spf=pass"),
        ("<a@a.test>", "spf=pass"),
        ("<a@nothing.test>", "spf=none"),
        // Which of the two should be believed? (RFC 7208 §4.5)
        ("<a@twice.test>", "spf=permerror"),
        // A report has no sender: the host that sends it stands for it (RFC 7208 §2.4).
        ("<>", "smtp.helo=out.c.test"),
    ];
    for (place, (sender, verdict)) in cases.into_iter().enumerate() {
        send(&relay, OURS, sender, &message("spf"));
        assert_has(&careful.field(place + 1), &[verdict]);
    }
}

#[test]
fn what_a_client_says_cannot_write_into_the_field() {
    let careful = Careful::new();
    let relay = careful.relay("");
    client(&relay, OURS, "(;dkim=pass")
        .submit(
            "<\"a;dkim=pass \\\"(\"@c.test>",
            &["<b@d.test>"],
            &message("odd"),
        )
        .is("250 ");
    let field = careful.field(1);
    // In comments and quoted strings it may stand.
    let mut bare = String::new();
    let (mut depth, mut quoted, mut octets) = (0, false, field.chars());
    while let Some(octet) = octets.next() {
        match octet {
            '\\' => drop(octets.next()),
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            octet if depth == 0 && !quoted => bare.push(octet),
            _ => {}
        }
    }
    assert_eq!((depth, quoted), (0, false), "{field}");
    assert!(!bare.contains("dkim=pass"), "{field}");
}

#[test]
fn mail_that_its_domain_disowns_is_refused_on_request() {
    let careful = Careful::new();
    let discard =
        "[verify]\ndmarc = \"enforce\"\n[[route]]\ndomain = \"d.test\"\nto = \"discard\"\n";
    let relay = careful.relay(discard);
    let stranger = Ipv4Addr::new(198, 51, 100, 1);
    let refused = |content: &[u8]| {
        client(&relay, stranger, "x.test").submit("<a@c.test>", &["<b@d.test>"], content)
    };
    refused(&message("forged")).is("550 5.7.26 ");
    relay.log_line(&["refused: c.test disowns it"]);
    assert_eq!(
        relay.metric("ringpost_messages_disowned_total", "") as u64,
        1
    );
    let mut large = message("large");
    large.extend_from_slice(&b"0123456789 0123456789\r\n".repeat(30_000));
    refused(&large).is("550 5.7.26 ");
    // Signed by its domain it may come from anywhere.
    refused(&careful.signed(&message("signed"))).is("250 ");
    let twice = [b"From: x@other.test\r\n", &message("twice")[..]].concat();
    refused(&twice).is("550 5.7.1 ");
    // Our own networks are told of, not refused.
    send(&relay, THEIRS, "<a@c.test>", &message("trusted"));
    // A domain that asks for less gets less.
    careful
        .scene
        .dns
        .txt("_dmarc.q.test", "v=DMARC1; p=quarantine");
    let other = b"From: a@q.test\r\nSubject: x\r\n\r\nx\r\n";
    refused(other).is("250 ");
}

#[test]
fn nothing_that_a_forger_can_write_or_delay_makes_enforcing_blind() {
    let careful = Careful::new();
    let relay = careful.relay(
        "[verify]\ntimeout = \"3s\"\ndmarc = \"enforce\"\n\
         [[route]]\ndomain = \"d.test\"\nto = \"discard\"\n",
    );
    let (dns, stranger) = (&careful.scene.dns, Ipv4Addr::new(198, 51, 100, 1));
    let offer = |sender: &str, content: &[u8]| {
        client(&relay, stranger, "x.test").submit(sender, &["<b@d.test>"], content)
    };
    let from = |from: &str| format!("From{from}\r\nSubject: x\r\n\r\nx\r\n");
    for odd in [
        " : a@c.test",
        "\t: a@c.test",
        ": x@other.test, a@c.test",
        ": a@c.test, x@other.test",
        ": \"a@c.test\" <>",
        ": a@c.test <nobody>",
        ": nobody:;",
        ": two: x@other.test, a@c.test;",
        ":",
    ] {
        offer("<x@other.test>", from(odd).as_bytes()).is("550 5.7.");
    }
    // Two addresses of one domain are one author to hold to it.
    offer("<x@other.test>", from(": a@c.test, b@c.test").as_bytes()).is("550 5.7.26 ");
    offer("<x@other.test>", from(": a@o.test, b@o.test").as_bytes()).is("250 ");
    // Name servers of the forger's, which never answer.
    for name in ["slow.test", "rsa._domainkey.slow.test"] {
        dns.silent(name);
    }
    offer("<x@slow.test>", &message("slow sender")).is("550 5.7.26 ");
    let mut signers = Signers::default();
    let key = || Key::parse(&Key::generate(Kind::Ed25519).unwrap()).unwrap();
    signers.add("slow.test", "rsa", key());
    let forged = message("slow signer");
    let lent = String::from_utf8_lossy(&forged).replace("@c.test", "@slow.test");
    let signed = [&signers.sign(lent.as_bytes()).unwrap(), &forged[..]].concat();
    offer("<x@other.test>", &signed).is("550 5.7.26 ");
    // A key that nobody can ask for, of the author's own domain.
    let mut signers = Signers::default();
    signers.add("c.test", &"s".repeat(64), key());
    let signed = [&signers.sign(&forged).unwrap(), &forged[..]].concat();
    offer("<x@other.test>", &signed).is("550 5.7.26 ");
    // A key that cannot be had now: it may be true, so it is to be offered again.
    dns.servfail("rsa._domainkey.c.test");
    dns.servfail("ed._domainkey.c.test");
    let reply = offer("<x@other.test>", &careful.signed(&message("true")));
    reply.is("451 4.7.1 ");
}

#[test]
fn the_messages_of_the_rfc_are_verified() {
    let careful = Careful::new();
    let dns = &careful.scene.dns;
    dns.txt("brisbane._domainkey.football.example.com", RFC8463_ED25519);
    dns.txt("test._domainkey.football.example.com", RFC8463_RSA);
    let relay = careful.relay("");
    send(&relay, THEIRS, "<a@other.test>", RFC8463.as_bytes());
    assert_has(
        &careful.field(1),
        &[
            "dkim=pass header.i=@football.example.com header.s=brisbane header.b=/gCrinpc",
            "dkim=pass header.i=@football.example.com header.s=test header.b=F45dVWDf",
        ],
    );
    // What SHA-1 signs proves nothing any more (RFC 8301 §3.1), and nor does part of a body.
    let weak = RFC8463
        .replace("rsa-sha256", "rsa-sha1")
        .replace("q=dns/txt; s=brisbane", "l=5; s=brisbane");
    send(&relay, THEIRS, "<a@other.test>", weak.as_bytes());
    let field = careful.field(2);
    assert_has(
        &field,
        &[
            "dkim=permerror (unsupported algorithm)",
            "dkim=neutral (signature length ignored due to security risk)",
        ],
    );
}

#[test]
fn listeners_that_do_not_verify_add_and_remove_nothing() {
    let careful = Careful::new();
    let relay = careful.scene.relay("");
    let field = b"Authentication-Results: relay.test; spf=pass\r\n";
    relay.submit(
        "<a@c.test>",
        &["<b@d.test>"],
        &[field, &message("one")[..]].concat(),
    );
    let text = careful.mx.wait_for(1)[0].text();
    assert!(text.starts_with("Received: "), "{text}");
    assert!(text.contains("Authentication-Results: relay.test; spf=pass\r\n"));
}

const RFC8463_ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RFC8463_RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
/// RFC 8463 §A.3.
const RFC8463: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r
 subject : date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r
 date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r
From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
\r
Hi.\r
\r
We lost the game.  Are you hungry yet?\r
\r
Joe.\r
";
