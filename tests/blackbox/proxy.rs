//! Clients that a load balancer passes on with a PROXY header.

use std::io::Read as _;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::support::{Client, Mx, Relay, Scene, Script, message};

/// A relay behind a balancer.
fn behind_a_balancer(protocol: &str, trusted: &str) -> (Scene, Mx, Relay) {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = format!(
        "smtp.trusted_networks = [\"{trusted}\"]\n\
         listener = [{{ protocol = \"{protocol}\", bind = [\"{}\"], proxy_protocol = true }}]",
        setup.smtp
    );
    (scene, mx, Relay::start(setup))
}

/// A client behind this header.
fn passed_on(relay: &Relay, header: &[u8]) -> Client {
    let mut client = Client::dial(relay.setup.smtp);
    client.send([header, b"EHLO c.test\r\n"].concat());
    client.reply().is("220 ");
    client.reply().is("250 ");
    client
}

#[test]
fn balancer_names_its_client() {
    let (_scene, mx, relay) = behind_a_balancer("smtp", "192.0.2.0/24");
    let mut friend = passed_on(&relay, b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n");
    friend
        .submit("<a@c.test>", &["<b@d.test>"], &message("friend"))
        .is("250 ");
    let trace = mx.wait_for(1)[0].text();
    assert!(trace.contains("[192.0.2.7]"), "{trace}");
    let mut stranger = passed_on(&relay, b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n");
    stranger.command("MAIL FROM:<a@c.test>").is("250 ");
    stranger.command("RCPT TO:<b@d.test>").is("554 5.7.1");
}

#[test]
fn balancer_names_nobody_and_nobody_relays() {
    let (_scene, _mx, relay) = behind_a_balancer("smtp", "127.0.0.0/8");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&b"PROXY UNKNOWN\r\n"[..], local] {
        let mut client = passed_on(&relay, header);
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        client.command("RCPT TO:<b@d.test>").is("554 5.7.1");
    }
}

/// What came back to `words` sent in one piece with the header: the type of the first TLS record.
fn first_record(relay: &Relay, words: &[u8]) -> u8 {
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 465\r\n";
    let mut client = Client::dial(relay.setup.smtp);
    client.send([header, words].concat());
    let mut record = [0];
    client.stream().read_exact(&mut record).expect("a record");
    record[0]
}

#[test]
fn client_begins_tls_in_one_piece_with_the_header() {
    let (_scene, _mx, relay) = behind_a_balancer("submissions", "192.0.2.0/24");
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "relay.test".try_into().expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("a hello");
    assert_eq!(first_record(&relay, &hello), HANDSHAKE);
}

#[test]
fn client_speaks_in_plain_where_tls_comes_first() {
    let (_scene, _mx, relay) = behind_a_balancer("submissions", "192.0.2.0/24");
    let injected = b"EHLO evil.test\r\nMAIL FROM:<evil@c.test>\r\n";
    assert_eq!(first_record(&relay, injected), ALERT);
}

/// Types of TLS records (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
