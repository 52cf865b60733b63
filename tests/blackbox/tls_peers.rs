//! Hosts whose TLS is worth little or nothing, and what each policy makes of each: one table.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::dane::publish;
use crate::support::{Authority, Mx, Rdata, Relay, Scene, Script, Web, message};

type Pair = (PathBuf, PathBuf);

/// What comes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Sent under TLS.
    Tls,
    /// Sent in plain, in the same attempt.
    Plain,
    /// It waits.
    Waits,
}
use End::{Plain, Tls, Waits};

/// A host; what comes of mail for it under `opportunistic`, `required`, `verify`, MTA-STS and DANE;
/// and what the log says where its certificate has to be good.
const TABLE: [(&str, [End; 5], &str); 9] = [
    ("a good one", [Tls, Tls, Tls, Tls, Tls], ""),
    ("expired", [Tls, Tls, Waits, Waits, Tls], "expired"),
    (
        "for another name",
        [Tls, Tls, Waits, Waits, Tls],
        "not valid for name",
    ),
    (
        "self-signed",
        [Tls, Tls, Waits, Waits, Tls],
        "UnknownIssuer",
    ),
    (
        "without its intermediate",
        [Tls, Tls, Waits, Waits, Tls],
        "UnknownIssuer",
    ),
    (
        "of an unknown authority",
        [Tls, Tls, Waits, Waits, Tls],
        "invalid peer certificate",
    ),
    (
        "TLS 1.1 only",
        [Plain, Waits, Waits, Waits, Waits],
        "TLS handshake",
    ),
    (
        "weak ciphers only",
        [Plain, Waits, Waits, Waits, Waits],
        "TLS handshake",
    ),
    (
        "a chain without end",
        [Plain, Waits, Waits, Waits, Waits],
        "TLS handshake",
    ),
];

/// All hosts of the table: `mx1.test`, and so on. Each takes mail for three domains: one that says
/// nothing, one that has a policy, one that is signed.
struct Street {
    scene: Scene,
    trusted: Authority,
    /// Whose files hosts need.
    _others: [Authority; 3],
    web: Web,
    hosts: Vec<Mx>,
}

impl Street {
    fn new() -> Self {
        let (scene, trusted) = (Scene::new(), Authority::new());
        let (stranger, lower, odd) = (Authority::new(), trusted.below(), Authority::new());
        let pairs = [
            trusted.issue("mx1.test"),
            expired(&trusted, "mx2.test"),
            trusted.issue("elsewhere.test"),
            self_signed(&odd, "mx4.test"),
            lower.issue("mx5.test"),
            stranger.issue("mx6.test"),
        ];
        let endless = endless(&trusted, "mx9.test");
        let mut hosts: Vec<Mx> = (1..)
            .zip(&pairs)
            .map(|(n, pair)| host(&scene, n, pair))
            .collect();
        hosts.push(scene.mx(7, alerts(PROTOCOL_VERSION)));
        hosts.push(scene.mx(8, alerts(HANDSHAKE_FAILURE)));
        hosts.push(host(&scene, 9, &endless));
        publish_all(&scene, &pairs, &endless);
        let web = publish_policies(&scene, &trusted);
        Self {
            scene,
            trusted,
            _others: [stranger, lower, odd],
            web,
            hosts,
        }
    }

    fn sender(&self, policy: &str) -> Relay {
        self.scene.relay(&format!(
            "delivery.tls = \"{policy}\"\ndelivery.mta_sts_port = {}\ntls.trusted_roots = {:?}\n\
             queue.retry = [\"1h\"]",
            self.web.address().port(),
            self.trusted.path()
        ))
    }
}

fn host(scene: &Scene, n: u8, pair: &Pair) -> Mx {
    scene.tls_mx(n, pair, Script::new())
}

fn expired(authority: &Authority, name: &str) -> Pair {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    authority.issue_as(name, params)
}

fn self_signed(folder: &Authority, name: &str) -> Pair {
    let pair = folder.issue(name);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    std::fs::write(&pair.0, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&pair.1, key.serialize_pem()).unwrap();
    pair
}

/// More certificates than a handshake may have octets (RFC 8446 has no limit, everybody has one).
fn endless(authority: &Authority, name: &str) -> Pair {
    let pair = authority.issue(name);
    let leaf = std::fs::read_to_string(&pair.0).unwrap();
    std::fs::write(&pair.0, leaf.repeat(300)).unwrap();
    pair
}

/// A host that says 220 and then what one says that speaks nothing we speak.
fn alerts(description: u8) -> Script {
    let alert = [21, 3, 1, 0, 2, 2, description];
    let said: [(u64, &[u8]); 2] = [(0, b"220 2.0.0 go on\r\n"), (300, &alert)];
    Script::new().with("STARTTLS").writes("STARTTLS", &said)
}

fn publish_all(scene: &Scene, pairs: &[Pair], endless: &Pair) {
    for n in 1..=TABLE.len() {
        let host = format!("mx{n}.test");
        for kind in ["usual", "sts", "dane"] {
            scene.dns.mx(&format!("{kind}{n}.test"), &[(10, &host)]);
        }
        scene.dns.secure(&format!("dane{n}.test"));
        scene.dns.secure(&host);
        let pair = pairs.get(n - 1).unwrap_or(endless);
        let certificate = CertificateDer::from_pem_file(&pair.0).unwrap();
        let hash = digest(&SHA256, &certificate);
        publish(
            scene,
            &host,
            vec![Rdata::Tlsa([3, 0, 1], hash.as_ref().into())],
        );
    }
}

/// One web server has the policies of all domains; it is the same one.
fn publish_policies(scene: &Scene, authority: &Authority) -> Web {
    let numbers = 1..=TABLE.len();
    let names = numbers.clone().map(|n| format!("mta-sts.sts{n}.test"));
    let params = CertificateParams::new(names.clone().collect::<Vec<_>>()).unwrap();
    let at = (scene.net.host(WEB_HOST), scene.net.free_port(WEB_HOST));
    let web = Web::start(at.into(), &authority.issue_as("mta-sts", params));
    let hosts: String = numbers
        .clone()
        .map(|n| format!("mx: mx{n}.test\n"))
        .collect();
    let policy = format!("version: STSv1\nmode: enforce\n{hosts}max_age: 604800\n");
    web.has("text/plain", &policy);
    for (n, name) in numbers.zip(names) {
        scene.dns.a(&name, at.0);
        let record = Rdata::Txt("v=STSv1; id=1;".to_owned());
        scene
            .dns
            .set(&format!("_mta-sts.sts{n}.test"), vec![record]);
    }
    web
}

#[test]
fn each_policy_makes_of_each_host_what_the_table_says() {
    let street = Street::new();
    // Column, its configuration, its domains, its name in the log.
    for (column, policy, kind, grade) in [
        (0, "opportunistic", "usual", "opportunistic"),
        (1, "required", "usual", "required"),
        (2, "verify", "usual", "verified"),
        (3, "opportunistic", "sts", "sts"),
        (4, "opportunistic", "dane", "dane"),
    ] {
        let relay = street.sender(policy);
        let explained = relay.ask(&["explain", &format!("b@{kind}1.test")]);
        assert!(explained.contains(&format!("TLS {grade}")), "{explained}");
        for (n, (what, ends, words)) in (1..).zip(TABLE) {
            let to = format!("b@{kind}{n}.test");
            let host = &street.hosts[n - 1];
            let (mails, end) = (host.heard("MAIL"), ends[column]);
            relay.submit(
                "<a@c.test>",
                &[&format!("<{to}>")],
                &message("for-the-street"),
            );
            let line = relay.log_line(&[&format!("to=<{to}>"), "status="]);
            let wanted = match end {
                Tls => ("status=sent", "TLSv1.3"),
                Plain => ("status=sent", "broken"),
                Waits => ("status=deferred", "broken"),
            };
            let case = format!("{what}, {grade}: {line}");
            assert!(line.contains(wanted.0), "{case}");
            assert!(
                line.ends_with(&format!("tls={grade}: {}", wanted.1)),
                "{case}"
            );
            assert_eq!(
                host.heard("MAIL") - mails,
                usize::from(end != Waits),
                "{case}"
            );
            assert!(end != Waits || column < 2 || line.contains(words), "{case}");
        }
    }
}

/// RFC 8446 §6: alerts of one who speaks no version, or no cipher suite, that we offer.
const PROTOCOL_VERSION: u8 = 70;
const HANDSHAKE_FAILURE: u8 = 40;
const WEB_HOST: u8 = 80;
