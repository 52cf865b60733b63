//! What a client says to the relay, and what it hears back.

use std::net::{Shutdown, SocketAddr};

use crate::support::client::{Reply, stuffed};
use crate::support::{Client, Mx, Relay, Scene, Script, eventually, message};

fn relay() -> (Scene, Mx, Relay) {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("");
    (scene, mx, relay)
}

/// A greeted session with a sender and a recipient.
fn with_recipient(relay: &Relay) -> Client {
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@d.test>").is("250 ");
    client
}

#[test]
fn client_asks_what_is_offered() {
    let (_scene, _mx, relay) = relay();
    let mut client = Client::dial(relay.setup.smtp);
    let banner = client.reply().is("220 relay.test ESMTP");
    assert_eq!(banner.lines.len(), 1);
    let ehlo = client.command("EHLO c.test").is("250 relay.test");
    let words: Vec<&str> = ehlo.lines[1..]
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    for offered in [
        "PIPELINING",
        "SIZE",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "STARTTLS",
    ] {
        assert!(words.contains(&offered), "{offered} in {words:?}");
    }
    assert!(
        ehlo.lines.contains(&format!("SIZE {}", 50 * 1024 * 1024)),
        "{ehlo:?}"
    );
    for refused in ["AUTH", "BINARYMIME", "XCLIENT"] {
        assert!(!words.contains(&refused), "{refused} in {words:?}");
    }
    client.command("QUIT").is("221 2.0.0");
    assert!(client.is_closed());
}

/// What is said after EHLO, and how the reply to its last command begins.
const PARAMETERS_AND_PATHS: &[(&[&str], &str)] = &[
    (&["MAIL FROM:<>"], "250"),
    (&["MAIL FROM:<a@c.test> FOO=BAR"], "555 5.5.4"),
    (&["MAIL FROM:<a@c.test> SIZE=62914560"], "552 5.3.4"),
    (
        &["MAIL FROM:<a@c.test> SIZE=99999999999999999999999"],
        "552 5.3.4",
    ),
    (&["MAIL FROM:<a@c.test> SIZE=abc"], "501 5.5.4"),
    (&["MAIL FROM:<a@c.test> BODY=FOO"], "5"),
    (&["MAIL FROM:<a@c.test> BODY=BINARYMIME"], "555 5.5.4"),
    (&["MAIL FROM:<\u{e4}@c.test>"], "553 5.6.7"),
    (&["MAIL FROM:<\u{e4}@c.test> SMTPUTF8"], "250"),
    (&["MAIL FROM:<a@c.test> RET=ALL"], "501 5.5.4"),
    (&["MAIL FROM:<a@c.test> RET=HDRS RET=HDRS"], "501 5.5.4"),
    (&["MAIL FROM:<a@c.test> ENVID=a+b"], "501 5.5.4"),
    (&["MAIL FROM:<a@c.test> RET=FULL ENVID=QQ+2B314159"], "250"),
    (&["RCPT TO:<b@d.test>"], "503 5.5.1"),
    (
        &["MAIL FROM:<a@c.test>", "MAIL FROM:<a@c.test>"],
        "503 5.5.1",
    ),
    (
        &["MAIL FROM:<a@c.test>", "RCPT TO:<@x.test,@y.test:b@d.test>"],
        "250",
    ),
    (
        &["MAIL FROM:<a@c.test>", "RCPT TO:<\"a b\\\"c\"@d.test>"],
        "250",
    ),
    (&["MAIL FROM:<a@c.test>", "RCPT TO:<>"], "501 5.1.3"),
    (
        &[
            "MAIL FROM:<a@c.test>",
            "RCPT TO:<b@d.test> NOTIFY=NEVER,SUCCESS",
        ],
        "501 5.5.4",
    ),
    (
        &["MAIL FROM:<a@c.test>", "RCPT TO:<b@d.test> ORCPT=foo"],
        "501 5.5.4",
    ),
    (
        &[
            "MAIL FROM:<a@c.test>",
            "RCPT TO:<b@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@d.test",
        ],
        "250",
    ),
    (
        &["MAIL FROM:<a@c.test>", "RCPT TO:<b@d.test> FOO=BAR"],
        "555 5.5.4",
    ),
    (&["MAIL FROM:<a@c.test>", "DATA"], "5"),
    (&["HELO"], "501"),
    (&["EHLO"], "501"),
    (&["NOOP hello"], "250 2.0.0"),
    (&["VRFY b"], "252"),
    (&["RSET"], "250 2.0.0"),
    (&["GARBAGE"], "500 5.5.2"),
];

#[test]
fn client_gives_parameters_and_paths_right_and_wrong() {
    let (_scene, _mx, relay) = relay();
    for (commands, wanted) in PARAMETERS_AND_PATHS {
        let mut client = relay.client();
        let (last, before) = commands.split_last().unwrap();
        for command in before {
            client.command(command).is("250 ");
        }
        let Reply { code, lines } = client.command(last);
        let said = format!("{code} {}", lines.join(" "));
        assert!(
            said.starts_with(wanted),
            "{commands:?}: wanted {wanted}, the relay said {said}"
        );
        client.command("NOOP").is("250 ");
    }
}

#[test]
fn client_pipelines_a_whole_transaction_and_quit_behind_the_dot() {
    let (_scene, mx, relay) = relay();
    let mut client = relay.client();
    client.send("MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n");
    for wanted in ["250 2.1.0", "250 2.1.5", "354 "] {
        client.reply().is(wanted);
    }
    client.send([&stuffed(&message("pipelined"))[..], b"QUIT\r\n"].concat());
    client.reply().is("250 2.0.0");
    client.reply().is("221 2.0.0");
    assert!(client.is_closed());
    assert_eq!(mx.wait_for(1)[0].content_as_sent(), message("pipelined"));
}

#[test]
fn client_writes_one_octet_at_a_time() {
    let (_scene, mx, relay) = relay();
    let mut client = relay.client();
    let dialogue = [
        &b"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n"[..],
        &stuffed(b"Subject: split\r\n\r\n.\r\n..\r\n.x\r\n"),
    ];
    for octet in dialogue.concat() {
        client.send([octet]);
    }
    for wanted in ["250 ", "250 ", "354 ", "250 2.0.0"] {
        client.reply().is(wanted);
    }
    assert_eq!(
        mx.wait_for(1)[0].content_as_sent(),
        b"Subject: split\r\n\r\n.\r\n..\r\n.x\r\n"
    );
}

#[test]
fn client_cuts_the_final_dot_at_every_place() {
    let (_scene, mx, relay) = relay();
    let wire = stuffed(b"Subject: cut\r\n\r\nlast\r\n");
    for cut in 1..=6 {
        let mut client = with_recipient(&relay);
        client.command("DATA").is("354 ");
        let (first, second) = wire.split_at(wire.len() - cut);
        client.send(first);
        std::thread::sleep(std::time::Duration::from_millis(5));
        client.send(second);
        client.reply().is("250 2.0.0");
    }
    for received in mx.wait_for(6) {
        assert_eq!(received.content_as_sent(), b"Subject: cut\r\n\r\nlast\r\n");
    }
}

#[test]
fn client_tries_to_end_the_message_without_crlf() {
    let (_scene, mx, relay) = relay();
    // Each would let a second message through as content of the first, were it taken for an end.
    for trick in [
        "x\n.\n",
        "x\n.\r\n",
        "x\r\n.\n",
        "x\r.\r",
        "x\r\n.\r",
        "x\r\n.\r\r\n",
    ] {
        let mut client = with_recipient(&relay);
        client.command("DATA").is("354 ");
        client.send(format!(
            "Subject: smuggle\r\n\r\n{trick}MAIL FROM:<evil@c.test>\r\n"
        ));
        client.send("RCPT TO:<victim@d.test>\r\n\r\n.\r\n");
        client.reply().is("550 5.5.2");
        client.command("NOOP").is("250 ");
    }
    assert_eq!(mx.messages().len(), 0);
    assert_eq!(mx.connections(), 0);
}

#[test]
fn client_sends_more_than_the_limit_without_saying_so() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("smtp.max_message_size = \"64KiB\"");
    let mut client = with_recipient(&relay);
    client.command("DATA").is("354 ");
    let line = [&[b'x'; 70][..], b"\r\n"].concat();
    client.send(
        [
            b"Subject: large\r\n\r\n".to_vec(),
            line.repeat(4_000),
            b".\r\n".to_vec(),
        ]
        .concat(),
    );
    client.reply().is("552 5.3.4");
    client
        .submit("<a@c.test>", &["<b@d.test>"], &message("after"))
        .is("250 2.0.0");
    assert_eq!(mx.wait_for(1)[0].content_as_sent(), message("after"));
}

#[test]
fn client_names_more_recipients_than_allowed() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("smtp.max_recipients = 100");
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    for n in 0..100 {
        client.command(&format!("RCPT TO:<b{n}@d.test>")).is("250 ");
    }
    client.command("RCPT TO:<b100@d.test>").is("452 4.5.3");
    client.data(&message("many")).is("250 2.0.0");
    let reached: usize = eventually("all recipients", || {
        let count = mx
            .messages()
            .iter()
            .map(|message| message.rcpts.len())
            .sum();
        (count >= 100).then_some(count)
    });
    assert_eq!(reached, 100);
}

#[test]
fn client_goes_away_in_the_middle_of_data() {
    let (_scene, mx, relay) = relay();
    let mut client = with_recipient(&relay);
    client.command("DATA").is("354 ");
    client.send("Subject: half\r\n\r\nhalf a mess");
    client.stream().shutdown(Shutdown::Both).unwrap();
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("whole"));
    let messages = mx.wait_for(1);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].content_as_sent(), message("whole"));
    relay.wait_until_empty();
}

#[test]
fn mail_loops_for_ever() {
    let (_scene, _mx, relay) = relay();
    let trace = "Received: from x by y; Mon, 23 Nov 2026 11:00:13 +0000\r\n".repeat(101);
    let mut client = with_recipient(&relay);
    client
        .data(format!("{trace}Subject: loop\r\n\r\nround\r\n").as_bytes())
        .is("554 5.4.6");
}

#[test]
fn stranger_outside_the_trusted_networks_wants_to_relay() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("smtp.trusted_networks = [\"192.0.2.0/24\"]");
    let mut client = relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@d.test>").is("5");
    client.command("DATA").is("5");
}

#[test]
fn client_talks_junk() {
    let (_scene, _mx, relay) = relay();
    let mut client = relay.client();
    let closed = (0..200).any(|_| {
        client.send("JUNK\r\n");
        client.next_reply().is_none_or(|reply| reply.code == 421)
    });
    assert!(closed, "200 junk commands and still no end");

    let mut browser = Client::dial(relay.setup.smtp);
    browser.reply().is("220 ");
    browser.send("GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n");
    while browser.next_reply().is_some() {}
}

#[test]
fn client_sends_an_endless_command_line() {
    let (_scene, _mx, relay) = relay();
    let mut client = relay.client();
    client.send(format!("NOOP {}\r\n", "x".repeat(100_000)));
    match client.next_reply() {
        Some(reply) => assert_eq!(reply.code / 100, 5, "{reply:?}"),
        None => assert!(client.is_closed()),
    }
    relay.submit(
        "<a@c.test>",
        &["<b@d.test>"],
        &message("others-do-not-notice"),
    );
}

#[test]
fn client_says_nothing() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("smtp.command_timeout = \"300ms\"");
    let mut client = relay.client();
    client.reply().is("421 4.4.2");
    assert!(client.is_closed());
}

#[test]
fn too_many_clients_come_at_once() {
    let (scene, _mx) = Scene::with_mx(Script::new());
    let relay = scene.relay("smtp.max_connections = 4");
    let at: SocketAddr = relay.setup.smtp;
    let mut kept: Vec<Client> = (0..4).map(|_| Client::greet(at)).collect();
    let mut refused = Client::dial(at);
    refused.reply().is("421 4.");
    kept.pop().unwrap().command("QUIT").is("221 ");
    eventually("a place becomes free", || {
        let mut client = Client::dial(at);
        (client.reply().code == 220).then_some(())
    });
    kept[0].command("NOOP").is("250 ");
}

#[test]
fn trace_field_tells_where_the_message_came_from() {
    let (_scene, mx, relay) = relay();
    let id = relay.submit("<a@c.test>", &["<b@d.test>"], &message("trace"));
    relay
        .client()
        .submit(
            "<a@c.test>",
            &["<seen@d.test>", "<hidden@d.test>"],
            &message("two"),
        )
        .is("250 ");
    let one = mx.wait_for_mail_to("b@d.test").text();
    let trace = one
        .split("\r\nFrom: ")
        .next()
        .unwrap()
        .replace("\r\n\t", " ")
        .replace("\r\n ", " ");
    assert!(trace.starts_with("Received: from c.test ("), "{trace}");
    for words in [
        " by relay.test ",
        " with ESMTP ",
        " for <b@d.test>; ",
        id.as_str(),
    ] {
        assert!(trace.contains(words), "{words} in {trace}");
    }
    let two = mx.wait_for_mail_to("hidden@d.test").text();
    assert!(
        !two.contains("for <"),
        "a second recipient must not learn of the first: {two}"
    );
}

#[test]
fn large_message_keeps_every_octet() {
    let (_scene, mx, relay) = relay();
    let mut content = b"Subject: large\r\n\r\n".to_vec();
    let mut state: u32 = 1;
    while content.len() < 10 * 1024 * 1024 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let dots = usize::from(state >> 30 == 0);
        content.extend(b".".repeat(dots * 2));
        content.extend(format!("{state:08x}").repeat(8).bytes());
        content.extend(b"\r\n");
    }
    let mut client = relay.client();
    client
        .submit(
            &format!("<a@c.test> SIZE={}", content.len()),
            &["<b@d.test>"],
            &content,
        )
        .is("250 2.0.0");
    assert!(
        mx.wait_for(1)[0].content_as_sent() == content,
        "the octets differ"
    );
}

#[test]
fn clients_begin_messages_and_send_nothing_of_them() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let before = relay.resident_octets();
    let waiting: Vec<Client> = (0..SILENT_CLIENTS)
        .map(|_| {
            let mut client = relay.client();
            client.send("MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n");
            (0..3).for_each(|_| drop(client.reply()));
            client
        })
        .collect();
    let each = (relay.resident_octets() - before) / SILENT_CLIENTS;
    assert!(
        each < 40 * 1024,
        "{each} octets for a client that sends none"
    );
    drop(waiting);
}

const SILENT_CLIENTS: usize = 400;
