//! Strangers who want mail passed on, and clients who hide one message in another.

use std::net::SocketAddr;

use crate::support::{Client, Mx, Relay, Scene, Script, message};

/// A relay that trusts two networks that nobody here is in, with a mailbox for ann and a domain whose
/// mail is thrown away.
fn among_strangers() -> (Scene, Mx, Relay) {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut relay = Relay::prepare(scene.config(
        "smtp.trusted_networks = [\"192.0.2.0/24\", \"::ffff:198.51.100.0/120\"]\n\
         route = [{ domain = \"one.test\", to = \"mailbox\" },\n\
                  { domain = \"sink.test\", to = \"discard\" }]",
    ));
    relay.write_config();
    let added = relay.run_with(&["user", "add", "ann@one.test"], "secret\n");
    assert!(added.status.success(), "{added:?}");
    relay.restart();
    (scene, mx, relay)
}

/// What RCPT is told, and how the reply begins. d.test is elsewhere, one.test and sink.test end here.
const RECIPIENTS: &[(&str, &str)] = &[
    ("<b@d.test>", "554 5.7.1"),
    ("<b@[127.0.0.1]>", "554 5.7.1"),
    ("<b@[IPv6:::1]>", "554 5.7.1"),
    ("<b@[IPv6:::ffff:127.0.0.1]>", "554 5.7.1"),
    ("<b@relay.test>", "554 5.7.1"),
    ("<B@D.TEST>", "554 5.7.1"),
    // The percent hack: somebody else's address in our local part.
    ("<b%d.test@one.test>", "550 5.1.1"),
    ("<b%d.test@relay.test>", "554 5.7.1"),
    ("<b%d.test@[127.0.0.1]>", "554 5.7.1"),
    ("<ann%one.test@d.test>", "554 5.7.1"),
    ("<b%d.test>", "501 5.1.3"),
    ("<b@d.test%one.test>", "501 5.1.3"),
    // Source routes lead nowhere but to their end.
    ("<@one.test:b@d.test>", "554 5.7.1"),
    ("<@one.test,@relay.test:b@d.test>", "554 5.7.1"),
    ("<@relay.test:b%d.test@one.test>", "550 5.1.1"),
    ("<@d.test:ann@one.test>", "250 2.1.5"),
    // Two at signs: the last one counts, and the first needs quotes.
    ("<b@d.test@one.test>", "501 5.1.3"),
    ("<ann@one.test@d.test>", "501 5.1.3"),
    ("<\"b@d.test\"@one.test>", "550 5.1.1"),
    ("<\"ann@one.test\"@d.test>", "554 5.7.1"),
    ("<\"b@d.test\">", "501 5.1.3"),
    ("<\"b%d.test\"@one.test>", "550 5.1.1"),
    ("<b\\@d.test@one.test>", "501 5.1.3"),
    // Bang paths.
    ("<d.test!b@one.test>", "550 5.1.1"),
    ("<d.test!b>", "501 5.1.3"),
    ("<one.test!d.test!b@relay.test>", "554 5.7.1"),
    // Names that are nearly ours.
    ("<ann@one.test.d.test>", "554 5.7.1"),
    ("<ann@xone.test>", "554 5.7.1"),
    ("<ann@sub.one.test>", "554 5.7.1"),
    ("<ann@one.test.>", "501 5.1.3"),
    ("<ann@.one.test>", "501 5.1.3"),
    ("<ann+b@d.test>", "554 5.7.1"),
    ("<b+ann@one.test>", "550 5.1.1"),
    ("<postmaster@d.test>", "554 5.7.1"),
    // A line or a path that goes on.
    ("<ann@one.test> <b@d.test>", "5"),
    ("<ann@one.test>,<b@d.test>", "5"),
    ("<ann@one.test\u{0}b@d.test>", "5"),
    ("<ann@one.test> ORCPT=rfc822;b@d.test", "250 2.1.5"),
    // What ends here may come from anybody.
    ("<ann@one.test>", "250 2.1.5"),
    ("<ann+tag@one.test>", "250 2.1.5"),
    ("<b%d.test@sink.test>", "250 2.1.5"),
    ("<postmaster>", "250 2.1.5"),
];

/// What strangers call themselves, and whom they say they send for.
const GREETINGS: &[(&str, &str)] = &[
    ("HELO one.test", "<ann@one.test>"),
    ("EHLO relay.test", "<postmaster@relay.test>"),
    ("EHLO [127.0.0.1]", "<>"),
    ("EHLO [IPv6:::1]", "<root@localhost>"),
    ("HELO 192.0.2.7", "<ann@one.test> AUTH=ann@one.test"),
    ("HELO localhost", "<@relay.test:b@d.test>"),
    ("EHLO ]]>x!@%:", "<d.test!b@one.test>"),
    ("HELO", "<ann@one.test>"),
];

#[test]
fn strangers_try_every_trick_and_nothing_is_passed_on() {
    let (_scene, mx, relay) = among_strangers();
    for (recipient, wanted) in RECIPIENTS {
        let mut client = Client::greet(relay.setup.smtp);
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        let reply = client.command(&format!("RCPT TO:{recipient}"));
        let said = format!("{} {}", reply.code, reply.text());
        assert!(
            said.starts_with(wanted),
            "{recipient}: {said}, and not {wanted}"
        );
        if reply.code == 250 {
            client.data(&message("trick")).is("250 ");
        }
    }
    for (greeting, sender) in GREETINGS {
        let mut client = Client::dial(relay.setup.smtp);
        client.reply().is("220 ");
        client.command(greeting);
        client.command(&format!("MAIL FROM:{sender}"));
        let reply = client.command("RCPT TO:<b@d.test>");
        assert_eq!(reply.code / 100, 5, "{greeting}, {sender}: {reply:?}");
        client.command("DATA").is("5");
    }
    relay.wait_until_empty();
    assert_eq!(mx.messages().len(), 0, "something was passed on");
}

#[test]
fn a_header_of_a_balancer_that_there_is_none_of_makes_nobody_trusted() {
    let (_scene, _mx, relay) = among_strangers();
    let two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\0\x19";
    for header in [&b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n"[..], two] {
        let mut client = Client::dial(relay.setup.smtp);
        client.reply().is("220 ");
        let said = b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nQUIT\r\n";
        client.send([header, said].concat());
        while let Some(reply) = client.next_reply() {
            assert!(!reply.text().starts_with("2.1.5"), "passed on: {reply:?}");
        }
    }
}

#[test]
fn a_balancers_client_in_clothes_of_ipv6_is_who_it_is_without_them() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = format!(
        "smtp.trusted_networks = [\"192.0.2.0/24\"]\n\
         listener = [{{ protocol = \"smtp\", bind = [\"{}\"], proxy_protocol = true }}]",
        setup.smtp
    );
    let relay = Relay::start(setup);
    for (client, wanted) in [
        ("::ffff:192.0.2.7", "250 "),
        ("::ffff:c000:207", "250 "),
        ("::ffff:203.0.113.7", "554 5.7.1"),
        // Other ways to write an IPv4 address into one of IPv6 mean other hosts.
        ("::192.0.2.7", "554 5.7.1"),
        ("64:ff9b::192.0.2.7", "554 5.7.1"),
        ("2002:c000:207::1", "554 5.7.1"),
        ("::1", "554 5.7.1"),
    ] {
        let header = format!("PROXY TCP6 {client} 2001:db8::1 4711 25\r\n");
        let mut client = Client::dial(relay.setup.smtp);
        client.send(header + "EHLO c.test\r\n");
        client.reply().is("220 ");
        client.reply().is("250 ");
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        client.command("RCPT TO:<b@d.test>").is(wanted);
    }
    // Who says nothing of the kind is let in by nobody.
    let mut bare = Client::dial(relay.setup.smtp);
    bare.send("EHLO c.test\r\n");
    assert!(bare.is_closed());
}

/// Ends of a message that are none, before a second one.
const HIDDEN_ENDS: &[&str] = &[
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\r\n.\r\r\n",
    "\r\n.\r\0\n",
    "\r\n.\0\r\n",
    "\r\n\0.\r\n",
    "\r\n.\n\r\n",
    "\n\n.\n\n",
    "\r\r\n.\r\r\n",
    "\n\r.\n\r",
    "\0\r\n.\n",
    ".\n",
    "\r\n..\r\n",
    "\r\n. \r\n",
];

fn smuggle(at: SocketAddr, end: &str, cut: usize) {
    let mut client = Client::greet(at);
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@d.test>").is("250 ");
    client.command("DATA").is("354 ");
    let content = format!(
        "Subject: first\r\n\r\nfirst{end}MAIL FROM:<evil@c.test>\r\nRCPT TO:<evil@d.test>\r\n\
         DATA\r\nSubject: evil\r\n\r\nevil\r\n.\r\n"
    );
    let (first, second) = content.split_at(cut.min(content.len()));
    client.send(first);
    // The kernel may put the two together; the next cut may part what this one did not.
    std::thread::yield_now();
    client.send(second);
    // One answer for one message, whatever it is.
    let code = client.reply().code;
    assert!(code == 250 || code / 100 == 5, "{end:?}: {code}");
    client.command("NOOP").is("250 2.0.0");
}

#[test]
fn a_second_message_hides_in_the_first_and_never_comes_out() {
    for ends in ["reject", "fix"] {
        let (scene, mx) = Scene::with_mx(Script::new());
        let relay = scene.relay(&format!("smtp.bare_line_ends = \"{ends}\""));
        for end in HIDDEN_ENDS {
            for cut in [0, 23, 24, 25, 26] {
                smuggle(relay.setup.smtp, end, cut);
            }
        }
        relay.submit("<a@c.test>", &["<last@d.test>"], &message("last"));
        mx.wait_for_mail_to("last@d.test");
        relay.wait_until_empty();
        let messages = mx.messages();
        assert!(
            messages.iter().all(|one| !one.is_for("evil@d.test")),
            "{ends}"
        );
        assert!(
            messages.len() <= 1 + HIDDEN_ENDS.len() * 5,
            "{ends}: more than were sent"
        );
        for one in &messages {
            let text = String::from_utf8_lossy(&one.wire).replace("\r\n", "");
            assert!(!text.contains(['\r', '\n', '\0']), "{ends}: {text:?}");
        }
        // Where lines are mended the content arrives, and the second message is a part of it.
        let is_mended = |end: &&&str| !end.contains('\0');
        let expected = match ends {
            "fix" => HIDDEN_ENDS.iter().filter(is_mended).count() * 5,
            _ => 2 * 5,
        };
        assert_eq!(messages.len(), expected + 1, "{ends}");
    }
}
