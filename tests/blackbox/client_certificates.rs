//! Clients that show certificates, and smart hosts that want ours: who is known by one, and what
//! for.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, SanType};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::front::{Octets, secured_as};
use crate::support::{Authority, Client, Mx, PATIENCE, Relay, Scene, Script, eventually, message};

type Pair = (PathBuf, PathBuf);

/// A relay that nobody may send through but for a certificate.
struct House {
    _scene: Scene,
    mx: Mx,
    relay: Relay,
    authority: Authority,
}

impl House {
    /// `listener` is what it asks of clients; `more` are other listeners.
    fn new(listener: &str) -> Self {
        let authority = Authority::new();
        let (scene, mx) = Scene::with_mx(Script::new());
        let mut setup = scene.config("");
        setup.extra = format!(
            "smtp.trusted_networks = []\ntls.client_ca = {:?}\n\
             listener = [{{ protocol = \"smtp\", bind = [\"{}\"], {listener} }}]",
            authority.path(),
            setup.smtp
        );
        Self {
            relay: Relay::start(setup),
            _scene: scene,
            mx,
            authority,
        }
    }

    fn own(&self) -> PathBuf {
        self.relay.data().join("keys/self-signed.pem")
    }

    fn client(&self, shown: Option<&Pair>) -> Client {
        self.relay.client().secure_as(&self.own(), shown)
    }

    #[track_caller]
    fn may_relay(&self, shown: Option<&Pair>, wanted: &str) {
        let mut client = self.client(shown);
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        client.command("RCPT TO:<b@d.test>").is(wanted);
    }
}

/// A certificate for a mail address.
fn of_user(authority: &Authority, address: &str) -> Pair {
    let mut params = CertificateParams::new(vec![]).unwrap();
    let name = Ia5String::try_from(address).unwrap();
    params.subject_alt_names.push(SanType::Rfc822Name(name));
    authority.issue_as(address, params)
}

fn fingerprint((chain, _): &Pair) -> String {
    let certificate = CertificateDer::from_pem_file(chain).unwrap();
    let octets = digest(&SHA256, &certificate);
    octets
        .as_ref()
        .iter()
        .fold("sha256:".to_owned(), |text, octet| {
            format!("{text}{octet:02x}")
        })
}

#[test]
fn client_is_trusted_for_a_name_that_somebody_vouches_for() {
    let house = House::new("client_auth = \"request\", trusted_clients = [\"c.test\"]");
    let (known, other) = (
        house.authority.issue("c.test"),
        house.authority.issue("e.test"),
    );
    let stranger = Authority::new();
    let impostor = stranger.issue("c.test");
    house.may_relay(None, "554 5.7.1");
    house.may_relay(Some(&other), "554 5.7.1");
    house.may_relay(Some(&impostor), "554 5.7.1");
    house.relay.log_line(&[
        "certificate of c.test, not verified",
        &fingerprint(&impostor),
    ]);
    let mut client = house.client(Some(&known));
    let said = client.submit("<a@c.test>", &["<b@d.test>"], &message("known"));
    said.is("250 ");
    house
        .relay
        .log_line(&["certificate of c.test, verified", &fingerprint(&known)]);
    let trace = house.mx.wait_for(1)[0].text();
    assert!(
        trace.contains("(certificate of c.test verified);"),
        "{trace}"
    );
    // In plain nobody has shown anything.
    let mut client = house.relay.client();
    client.command("MAIL FROM:<a@c.test>").is("250 ");
    client.command("RCPT TO:<b@d.test>").is("554 5.7.1");
}

#[test]
fn client_is_trusted_for_its_fingerprint() {
    let stranger = Authority::new();
    let (known, other) = (stranger.issue("c.test"), stranger.issue("e.test"));
    let listener = format!(
        "client_auth = \"request\", trusted_clients = [{:?}]",
        fingerprint(&known)
    );
    let house = House::new(&listener);
    house.may_relay(Some(&known), "250 ");
    house.may_relay(Some(&other), "554 5.7.1");
    // The names in it are worth nothing.
    let mut client = house.client(Some(&known));
    let said = client.submit("<a@c.test>", &["<b@d.test>"], &message("known"));
    said.is("250 ");
    let trace = house.mx.wait_for(1)[0].text();
    assert!(!trace.contains("certificate"), "{trace}");
}

#[test]
fn client_has_to_show_one() {
    let house = House::new("client_auth = \"require\", trusted_clients = [\"c.test\"]");
    let known = house.authority.issue("c.test");
    house.may_relay(Some(&known), "250 ");
    let mut client = house.relay.client();
    client.command("MAIL FROM:<a@c.test>").is("530 5.7.0");
    let elsewhere = Authority::new();
    let stranger = elsewhere.issue("c.test");
    for shown in [None, Some(&stranger)] {
        let mut socket = TcpStream::connect(house.relay.setup.smtp).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for said in ["", "EHLO c.test\r\n", "STARTTLS\r\n"] {
            std::io::Write::write_all(&mut socket, said.as_bytes()).unwrap();
            let _ = read(&mut socket);
        }
        let mut octets = secured_as(socket, &house.own(), shown);
        // Its own end of the handshake is over before the relay has seen it.
        let _ = octets.write_all(b"EHLO c.test\r\n");
        assert!(read(&mut octets).is_none());
        house.relay.log_line(&["no TLS: "]);
    }
}

#[test]
fn authorities_of_clients_are_replaced() {
    let house = House::new("client_auth = \"request\", trusted_clients = [\"c.test\"]");
    let known = house.authority.issue("c.test");
    house.may_relay(Some(&known), "250 ");
    let next = Authority::new();
    fs::copy(next.path(), house.authority.path()).unwrap();
    house
        .relay
        .log_line(&["files that the configuration names changed: done"]);
    eventually("the old authority is nobody's", || {
        let mut client = house.client(Some(&known));
        client.command("MAIL FROM:<a@c.test>").is("250 ");
        (client.command("RCPT TO:<b@d.test>").code == 554).then_some(())
    });
    house.may_relay(Some(&next.issue("c.test")), "250 ");
}

/// Its listener asks for certificates until a restart, and nobody can be verified any more.
#[test]
fn nothing_is_said_in_plain_where_tls_comes_first() {
    let (scene, authority) = (Scene::new(), Authority::new());
    let mut setup = scene.config("");
    let listener = format!("protocol = \"submissions\", bind = [\"{}\"]", setup.smtp);
    setup.extra = format!(
        "tls.client_ca = {:?}\nlistener = [{{ {listener}, client_auth = \"require\" }}]",
        authority.path()
    );
    let mut relay = Relay::start(setup);
    relay.setup.extra = format!("listener = [{{ {listener} }}]");
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    eventually("the connection ends", || {
        let mut socket = TcpStream::connect(relay.setup.smtp).unwrap();
        // Before, it waits for the client's first record.
        let wait = Duration::from_millis(200);
        socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = [0; 64];
        let heard = std::io::Read::read(&mut socket, &mut buffer).ok()?;
        assert_eq!(heard, 0, "{}", buffer.escape_ascii());
        Some(())
    });
    relay.log_line(&["no TLS: it is not to be had here now"]);
}

/// What comes next, one line or several.
fn read(octets: &mut (impl Octets + ?Sized)) -> Option<String> {
    let mut buffer = [0; 4096];
    let len = octets.read(&mut buffer).ok().filter(|len| *len > 0)?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

#[track_caller]
fn asks(octets: &mut dyn Octets, line: &str, wanted: &str) {
    octets.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let said = read(octets).unwrap();
    assert!(said.contains(wanted), "{line}: {said}");
}

#[test]
fn user_logs_in_with_a_certificate() {
    let (scene, authority) = (Scene::new(), Authority::new());
    let mut setup = scene.config("");
    let port = || SocketAddr::new(setup.smtp.ip(), scene.net.free_port(1));
    let doors = [setup.smtp, port(), port()];
    let listeners = doors.iter().zip(["submissions", "pop3s", "imaps"]);
    let listeners: Vec<String> = listeners
        .map(|(at, protocol)| {
            format!("{{ protocol = \"{protocol}\", bind = [\"{at}\"], client_auth = \"request\" }}")
        })
        .collect();
    setup.extra = format!(
        "tls.client_ca = {:?}\nsmtp.trusted_networks = []\nlistener = [{}]",
        authority.path(),
        listeners.join(", ")
    );
    let relay = Relay::start(setup);
    let added = relay.run_with(&["user", "add", "ann@c.test"], "s3cret\n");
    assert!(added.status.success(), "{added:?}");
    relay.log_line(&["changed: done"]);
    let own = relay.data().join("keys/self-signed.pem");
    let dial = |door: usize, shown: &Pair| {
        let socket = TcpStream::connect(doors[door]).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut octets = secured_as(socket, &own, Some(shown));
        read(&mut octets).unwrap();
        octets
    };
    let ann = of_user(&authority, "Ann@c.test");
    let bob = of_user(&authority, "bob@c.test");
    let elsewhere = Authority::new();
    let impostor = of_user(&elsewhere, "ann@c.test");
    let mut smtp = dial(0, &ann);
    asks(
        &mut *smtp,
        "EHLO c.test",
        "AUTH SCRAM-SHA-256-PLUS EXTERNAL ",
    );
    asks(&mut *smtp, "AUTH EXTERNAL", "334 ");
    asks(&mut *smtp, "Ym9iQGMudGVzdA==", "535 5.7.8");
    asks(&mut *smtp, "AUTH EXTERNAL =", "235 2.7.0");
    asks(&mut *smtp, "MAIL FROM:<ann@c.test>", "250 ");
    asks(&mut *dial(1, &ann), "AUTH EXTERNAL =", "+OK");
    asks(
        &mut *dial(2, &ann),
        "a AUTHENTICATE EXTERNAL YW5uQGMudGVzdA==",
        "a OK",
    );
    for nobody in [bob, impostor] {
        let mut smtp = dial(0, &nobody);
        asks(
            &mut *smtp,
            "EHLO c.test",
            "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 ",
        );
        asks(&mut *smtp, "AUTH EXTERNAL =", "504 5.5.4");
        asks(&mut *dial(1, &nobody), "AUTH EXTERNAL =", "-ERR");
        asks(
            &mut *dial(2, &nobody),
            "a AUTHENTICATE EXTERNAL =",
            "a NO [CANNOT]",
        );
    }
}

#[test]
fn smart_host_wants_our_certificate() {
    let house = House::new("client_auth = \"require\", trusted_clients = [\"outer.test\"]");
    let IpAddr::V4(address) = house.relay.setup.smtp.ip() else {
        panic!("scenes are IPv4");
    };
    let scene = Scene::new();
    scene.dns.a("inner.test", address);
    let (chain, key) = house.authority.issue("outer.test");
    let to = format!("smtp://inner.test:{}", house.relay.setup.smtp.port());
    let shown = format!(", client_certificate = {chain:?}, client_key = {key:?}");
    for (shown, status) in [("", "status=deferred"), (&*shown, "status=sent")] {
        let outer = scene.relay(&format!(
            "delivery.tls = \"required\"\nqueue.retry = [\"1h\"]\n\
             route = [{{ domain = \"*\", to = \"{to}\"{shown} }}]"
        ));
        let mut client = outer.client();
        let said = client.submit("<a@c.test>", &["<b@d.test>"], &message("passed-on"));
        said.is("250 ");
        let line = outer.log_line(&["to=<b@d.test>", "status="]);
        assert!(line.contains(status), "{line}");
    }
    let trace = house.mx.wait_for(1)[0].text();
    assert!(
        trace.contains("(certificate of outer.test verified);"),
        "{trace}"
    );
}
