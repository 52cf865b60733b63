//! The test world itself: were it wrong, every other test here would be too.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::support::{
    Client, Rdata, Relay, Report, Scene, Script, client::stuffed, eventually, message,
};

#[test]
fn scripted_exchanger_keeps_what_it_was_given_and_unstuffs_it() {
    let (scene, mx) = Scene::with_mx(
        Script::new()
            .says("RCPT TO:<no@", "550 5.1.1 no")
            .says(".", "451 4.3.0 later")
            .times(1),
    );
    let mut client = Client::greet(mx.address());
    let content = b"Subject: dots\r\n\r\n.one\r\n..two\r\nend\r\n";
    for wanted in ["451 4.3.0", "250 2.0.0"] {
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        client.command("RCPT TO:<no@d.test>").is("550 5.1.1");
        client.command("RCPT TO:<yes@d.test>").is("250 ");
        client.data(content).is(wanted);
    }
    let messages = mx.wait_for(1);
    assert_eq!(messages.len(), 1, "the refused one is not kept");
    assert_eq!(messages[0].content(), content);
    assert_eq!(messages[0].wire, stuffed(content)[..messages[0].wire.len()]);
    assert!(messages[0].is_for("yes@d.test") && !messages[0].is_for("no@d.test"));
    // The note is made when the reply is out.
    eventually("the answer is noted", || {
        mx.messages()[0].answered.then_some(())
    });
    assert_eq!(scene.mx_port(), mx.address().port());
}

#[test]
fn scripted_exchanger_that_drops_after_the_dot_still_has_the_message() {
    let (_scene, mx) = Scene::with_mx(Script::new().drops(".").times(1));
    let mut client = Client::greet(mx.address());
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@d.test>").is("250 ");
    client.command("DATA").is("354 ");
    client.send(stuffed(&message("dropped")));
    assert!(client.is_closed());
    assert!(!mx.wait_for(1)[0].answered);
}

#[test]
fn scripted_exchanger_notices_who_does_not_wait() {
    let (_scene, mx) = Scene::with_mx(Script::new().without("PIPELINING"));
    let mut client = Client::greet(mx.address());
    client.command("NOOP");
    client.send("MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n");
    client.reply().is("250 ");
    client.reply().is("250 ");
    assert_eq!(mx.impatient(), ["MAIL FROM:<a@c.test>"]);
}

/// Asks over UDP; response code, truncation, and answers.
fn ask(server: SocketAddr, name: &str, kind: u16) -> (u8, bool, u16) {
    let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, u8::try_from(kind).unwrap(), 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&query, server).unwrap();
    let mut reply = [0; 4096];
    let len = socket.recv(&mut reply).unwrap();
    assert!(len >= query.len() && reply[..2] == query[..2]);
    (
        reply[3] & 15,
        reply[2] & 2 != 0,
        u16::from_be_bytes([reply[6], reply[7]]),
    )
}

#[test]
fn name_server_tells_no_name_from_no_data_from_failure() {
    let scene = Scene::new();
    let server = scene.dns.address();
    scene.dns.a("host.test", Ipv4Addr::LOCALHOST);
    scene
        .dns
        .add("alias.test", Rdata::Cname("host.test".into()));
    scene.dns.mx(
        "many.test",
        &[(10, "a-rather-long-name-of-a-host.many.test"); 20],
    );
    scene.dns.servfail("broken.test");
    assert_eq!(ask(server, "host.test", 1), (0, false, 1));
    assert_eq!(ask(server, "host.test", 15), (0, false, 0));
    assert_eq!(ask(server, "alias.test", 1), (0, false, 2));
    assert_eq!(ask(server, "none.test", 1), (3, false, 0));
    assert_eq!(ask(server, "broken.test", 1), (2, false, 0));
    assert_eq!(ask(server, "many.test", 15), (0, true, 0));
    scene.dns.heal("broken.test");
    assert_eq!(ask(server, "broken.test", 1), (3, false, 0));
    assert_eq!(scene.dns.asked("many.test", crate::support::dns::MX), 1);
}

#[test]
fn report_of_another_mailer_is_taken_apart() {
    let (_scene, mx) = Scene::with_mx(Script::new());
    let report = [
        "Received: by mx.test id 1;\r\n\tMon, 23 Nov 2026 10:59:35 +0000 (UTC)",
        "Date: Mon, 23 Nov 2026 10:59:35 +0000 (UTC)",
        "From: MAILER-DAEMON@mx.test\r\nTo: a@c.test\r\nMessage-ID: <1@mx.test>",
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"edge/1\"",
        "\r\npreamble\r\n\r\n--edge/1",
        "Content-Type: text/plain; charset=utf-8\r\n\r\nb@d.test failed.",
        "\r\n--edge/1\r\nContent-Type: message/delivery-status\r\n",
        "Reporting-MTA: dns; mx.test\r\n",
        "Final-Recipient: rfc822; b@d.test\r\nAction: failed\r\nStatus: 5.1.1",
        "Diagnostic-Code: smtp; 550-5.1.1 first\r\n    550 5.1.1 second\r\n",
        "Final-Recipient: rfc822; c@d.test\r\nStatus: 5.2.2\r\n",
        "--edge/1\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: lost\r\n\r\n--edge/1--\r\n",
    ]
    .join("\r\n");
    let mut client = Client::greet(mx.address());
    client
        .submit("<>", &["<a@c.test>"], report.as_bytes())
        .is("250 ");
    let received = mx.wait_for_mail_to("a@c.test");
    assert!(received.content_as_sent().starts_with(b"Date: "));
    let report = Report::parse(received);
    assert_eq!(report.message_field("reporting-mta"), "dns; mx.test");
    assert_eq!(report.per_recipient.len(), 2);
    assert_eq!(
        report.recipient("b@d.test").field("Diagnostic-Code"),
        "smtp; 550-5.1.1 first 550 5.1.1 second"
    );
    assert_eq!(report.recipient("c@d.test").field("Status"), "5.2.2");
    assert!(
        report.returned.1.contains("Subject: lost") && report.words.contains("b@d.test failed.")
    );
}

#[test]
fn configuration_of_a_test_goes_over_the_usual_one_key_by_key() {
    let scene = Scene::new();
    let relay = Relay::prepare(scene.config("queue.expire = \"2s\"\n[delivery]\nport = 99"));
    relay.write_config();
    let text = std::fs::read_to_string(relay.config_path()).unwrap();
    let config: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(config["queue"]["expire"].as_str(), Some("2s"));
    assert_eq!(config["queue"]["retry"][0].as_str(), Some("300ms"));
    assert_eq!(config["delivery"]["port"].as_integer(), Some(99));
    assert_eq!(config["delivery"]["tls"].as_str(), Some("none"));
    assert_eq!(config["hostname"].as_str(), Some("relay.test"));
}
