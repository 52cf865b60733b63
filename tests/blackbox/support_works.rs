//! The test world itself: were it wrong, every other test here would be too.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::support::{Client, Rdata, Scene, Script, client::stuffed, message};

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
    assert!(
        messages[0].is_for("yes@d.test")
            && !messages[0].is_for("no@d.test")
            && messages[0].answered
    );
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
