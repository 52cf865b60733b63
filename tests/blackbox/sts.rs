//! What a domain publishes about the TLS of its hosts over HTTPS (MTA-STS). The hosts that speak TLS
//! are relays that drop what they take.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, date_time_ymd};
use rustix::process::Signal;

use crate::support::dns::TXT;
use crate::support::{Authority, Rdata, Relay, Scene, Script, Web, eventually, message, never};

/// A domain with a policy, the web server that has it, and who is trusted.
pub struct Published {
    pub scene: Scene,
    web: Web,
    pub authority: Authority,
}

impl Published {
    /// For `d.test`, whose hosts are these.
    pub fn new(hosts: &[(u16, &str)]) -> Self {
        let authority = Authority::new();
        let shown = authority.issue("mta-sts.d.test");
        Self::shown(hosts, authority, &shown)
    }

    fn shown(hosts: &[(u16, &str)], authority: Authority, shown: &(PathBuf, PathBuf)) -> Self {
        let scene = Scene::new();
        scene.dns.mx("d.test", hosts);
        let at = (scene.net.host(WEB_HOST), scene.net.free_port(WEB_HOST));
        let web = Web::start(at.into(), shown);
        scene.dns.a("mta-sts.d.test", at.0);
        let published = Self {
            scene,
            web,
            authority,
        };
        published.record("1");
        published
    }

    fn record(&self, id: &str) {
        let text = format!("v=STSv1; id={id};");
        self.scene
            .dns
            .set("_mta-sts.d.test", vec![Rdata::Txt(text)]);
    }

    pub fn policy(&self, mode: &str, mx: &[&str]) {
        self.web.has("text/plain", &policy(mode, mx));
    }

    /// The `n`th host, `mxN.test`, which shows this certificate.
    fn host(&self, n: u8, (chain, key): &(PathBuf, PathBuf)) -> Relay {
        self.scene.dead_mx(n);
        let mut setup = self.scene.config(&format!(
            "hostname = \"mx{n}.test\"\nroute = [{{ domain = \"*\", to = \"discard\" }}]\n\
             smtp.trusted_networks = [\"127.0.0.0/8\"]\n\
             tls.certificate = {chain:?}\ntls.key = {key:?}\n"
        ));
        setup.smtp = self.scene.mx_address(n);
        Relay::start(setup)
    }

    fn good_host(&self, n: u8) -> Relay {
        self.host(n, &self.authority.issue(&format!("mx{n}.test")))
    }

    /// A host with a certificate of nobody we know.
    fn strange_host(&self, n: u8) -> (Authority, Relay) {
        let stranger = Authority::new();
        let host = self.host(n, &stranger.issue(&format!("mx{n}.test")));
        // Its files are needed for as long as it lives.
        (stranger, host)
    }

    pub fn sender(&self, extra: &str) -> Relay {
        let port = self.web.address().port();
        self.scene.relay(&format!(
            "delivery.tls = \"opportunistic\"\ndelivery.mta_sts_port = {port}\n\
             tls.trusted_roots = {:?}\nqueue.retry = [\"1h\"]\n{extra}",
            self.authority.path()
        ))
    }
}

fn policy(mode: &str, mx: &[&str]) -> String {
    let mx: String = mx.iter().map(|mx| format!("mx: {mx}\n")).collect();
    format!("version: STSv1\nmode: {mode}\n{mx}max_age: 604800\n")
}

/// Sends a message, and returns the line of what came of it.
#[track_caller]
fn attempt(relay: &Relay, to: &str) -> String {
    let id = relay.submit("<a@c.test>", &[&format!("<{to}>")], &message("by policy"));
    relay.log_line(&[&id, &format!("to=<{to}>"), "status="])
}

#[track_caller]
fn is_sent(relay: &Relay, tls: &str) {
    let line = attempt(relay, "b@d.test");
    assert!(line.contains("status=sent"), "{line}");
    assert!(line.ends_with(&format!("tls={tls}")), "{line}");
}

#[track_caller]
fn is_deferred(relay: &Relay, words: &str) {
    let line = attempt(relay, "b@d.test");
    assert!(line.contains("status=deferred"), "{line}");
    assert!(line.contains(words), "{line}");
}

#[test]
fn a_policy_is_enforced_and_kept_to() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("enforce", &["mx1.test"]);
    let _host = d.good_host(1);
    let relay = d.sender("");
    for _ in 0..3 {
        is_sent(&relay, "sts: TLSv1.3");
    }
    let heard = d.web.heard();
    assert_eq!(heard.len(), 1, "an id that stays the same is fetched once");
    let request = String::from_utf8_lossy(&heard[0]).to_lowercase();
    assert!(
        request.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("host: mta-sts.d.test:"), "{request}");
    assert!(relay.metric("ringpost_tls_total", "policy=\"sts\",outcome=\"tls1.3\"") > 0.0);
    assert!(relay.metric("ringpost_stage_seconds_count", "stage=\"sts\"") > 0.0);
}

/// A web server that takes connections and says nothing on them.
struct SilentWeb(TcpListener, Vec<TcpStream>);

impl SilentWeb {
    /// In place of the one of `d.test`.
    fn start(scene: &Scene) -> Self {
        let host = scene.net.host(WEB_HOST);
        let listener = TcpListener::bind((host, 0)).expect("a port");
        listener.set_nonblocking(true).expect("set");
        scene.dns.a("mta-sts.d.test", host);
        scene.dns.txt("_mta-sts.d.test", "v=STSv1; id=1;");
        Self(listener, Vec::new())
    }

    fn sender(&self, scene: &Scene) -> Relay {
        let port = self.0.local_addr().expect("a bound socket").port();
        scene.relay(&format!(
            "delivery.tls = \"opportunistic\"\ndelivery.mta_sts_port = {port}"
        ))
    }

    /// Connections so far.
    fn connections(&mut self) -> usize {
        while let Ok((stream, _)) = self.0.accept() {
            self.1.push(stream);
        }
        self.1.len()
    }
}

#[test]
fn policy_server_takes_connections_and_says_nothing() {
    let (scene, mx) = Scene::with_mx(Script::new());
    scene.dns.mx("e.test", &[(10, "mx1.test")]);
    let mut web = SilentWeb::start(&scene);
    let relay = web.sender(&scene);
    let began = Instant::now();
    for subject in ["first", "second"] {
        relay.submit("<a@c.test>", &["<b@d.test>"], &message(subject));
    }
    eventually("the policy is asked for", || {
        (web.connections() > 0).then_some(())
    });
    assert!(
        relay.metric("ringpost_connections_out", "") < 1.0,
        "a permit is held while nobody is connected to"
    );
    relay.submit("<a@c.test>", &["<b@e.test>"], &message("elsewhere"));
    assert!(mx.wait_for(1)[0].is_for("b@e.test"), "others do not wait");
    let waited = mx.wait_for(3);
    assert!(waited.iter().any(|mail| mail.is_for("b@d.test")));
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(25)).contains(&took),
        "{took:?}"
    );
    relay.log_line(&["MTA-STS policy of d.test", "mail goes as without one"]);
    // What did not come is not asked for again at once.
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("third"));
    mx.wait_for(4);
    assert_eq!(web.connections(), 1);
}

#[test]
fn relay_ends_while_it_waits_for_a_policy() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut web = SilentWeb::start(&scene);
    let mut relay = web.sender(&scene);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("late"));
    eventually("the policy is asked for", || {
        (web.connections() > 0).then_some(())
    });
    let (status, took) = relay.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(mx.messages().is_empty());
}

#[test]
fn there_is_no_policy() {
    for records in [
        None,
        Some(vec!["v=STSv1; id=1", "v=STSv1; id=1"]),
        Some(vec!["v=STSv1; id=;"]),
        Some(vec!["v=spf1 -all"]),
    ] {
        let d = Published::new(&[(10, "mx1.test")]);
        d.policy("enforce", &["elsewhere.test"]);
        let texts = records.unwrap_or_default().into_iter();
        let texts = texts.map(|text| Rdata::Txt(text.to_owned())).collect();
        d.scene.dns.set("_mta-sts.d.test", texts);
        let _host = d.strange_host(1);
        is_sent(&d.sender(""), "opportunistic: TLSv1.3");
        assert!(d.scene.dns.asked("_mta-sts.d.test", TXT) > 0);
        assert!(d.web.heard().is_empty());
    }
}

#[test]
fn a_policy_does_not_count() {
    for (mode, extra) in [
        ("none", ""),
        ("enforce", "delivery.mta_sts = \"off\""),
        (
            "enforce",
            "route = [{ domain = \"d.test\", tls = \"none\" }]",
        ),
    ] {
        let d = Published::new(&[(10, "mx1.test")]);
        d.policy(mode, &["elsewhere.test"]);
        let _host = d.strange_host(1);
        let line = attempt(&d.sender(extra), "b@d.test");
        assert!(
            line.contains("status=sent") && !line.contains("sts"),
            "{line}"
        );
        assert_eq!(d.web.heard().len(), usize::from(extra.is_empty()));
    }
}

#[test]
fn a_host_is_not_the_one_that_an_enforced_policy_means() {
    let expired = |authority: &Authority| {
        let mut params = CertificateParams::new(vec!["mx1.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        authority.issue_as("mx1.test", params)
    };
    let wrong = |authority: &Authority| authority.issue("mx2.test");
    let stranger = Authority::new();
    let of_stranger = |_: &Authority| stranger.issue("mx1.test");
    let shown: [Issue<'_>; 3] = [&expired, &wrong, &of_stranger];
    let names = [
        "certificate-expired",
        "certificate-host-mismatch",
        "certificate-not-trusted",
    ];
    for (shown, name) in shown.into_iter().zip(names) {
        let d = Published::new(&[(10, "mx1.test")]);
        d.policy("enforce", &["mx1.test"]);
        let host = d.host(1, &shown(&d.authority));
        let relay = d.sender("");
        is_deferred(&relay, "performing the TLS handshake");
        assert!(!host.log().contains("status=sent"), "nothing came");
        assert!(relay.metric("ringpost_tls_total", "policy=\"sts\",outcome=\"failed\"") > 0.0);
        // The same policy on trial lets mail pass, and says what it would have stopped.
        d.policy("testing", &["mx1.test"]);
        d.record("2");
        let relay = d.sender("");
        is_sent(
            &relay,
            &format!("opportunistic: TLSv1.3; sts-testing: {name}"),
        );
        let trials = "policy=\"sts_testing\",outcome=\"failed\"";
        assert!(relay.metric("ringpost_tls_total", trials) > 0.0);
    }
}

#[test]
fn a_policy_on_trial_is_kept_to_or_not() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("testing", &["mx1.test"]);
    let host = d.good_host(1);
    is_sent(&d.sender(""), "opportunistic: TLSv1.3; sts-testing: passed");
    d.policy("testing", &["elsewhere.test"]);
    is_sent(
        &d.sender(""),
        "opportunistic: TLSv1.3; sts-testing: validation-failure",
    );
    drop(host);
    let plain = d.scene.mx(1, Script::new());
    is_sent(
        &d.sender(""),
        "opportunistic: not offered; sts-testing: starttls-not-supported",
    );
    assert_eq!(plain.messages().len(), 1);
}

#[test]
fn a_host_offers_no_tls_or_is_not_in_the_policy_and_the_next_one_is() {
    for mx in ["mx2.test", "*.test"] {
        let d = Published::new(&[(10, "mx1.test"), (20, "mx2.test")]);
        d.policy("enforce", &[mx]);
        let first = d.scene.mx(1, Script::new());
        let _second = d.good_host(2);
        is_sent(&d.sender(""), "sts: TLSv1.3");
        assert_eq!(first.connections(), usize::from(mx == "*.test"), "{mx}");
        assert_eq!(first.heard("MAIL"), 0);
    }
}

#[test]
fn no_host_is_in_the_policy_and_mail_waits() {
    for mx in ["elsewhere.test", "*.mx1.test", "*.d.test"] {
        let d = Published::new(&[(10, "mx1.test")]);
        d.policy("enforce", &[mx]);
        let host = d.scene.mx(1, Script::new());
        let relay = d.sender("");
        is_deferred(
            &relay,
            "dsn=4.7.0, status=deferred (the MTA-STS policy of d.test does not name the host mx1.test)",
        );
        assert_eq!(host.connections(), 0);
    }
}

#[test]
fn the_server_has_no_policy_that_is_one() {
    let found =
        "HTTP/1.1 302 Found\r\nLocation: https://mta-sts.d.test/good\r\nContent-Length: 0\r\n\r\n";
    let good = policy("enforce", &["elsewhere.test"]);
    let document = |media_type: &str, body: &str| {
        let len = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len}\r\n\r\n{body}"
        )
    };
    let large = format!("{good}{}", "x: y\n".repeat(20_000));
    for (answer, words) in [
        (found.to_owned(), "answers 302"),
        (
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "answers 404",
        ),
        (document("text/html", &good), "text/html"),
        (
            document("text/plain", &good.replace("mx:", "nmx:")),
            "there is no mx",
        ),
        (document("text/plain", &large), "limit"),
        ("who is there?".to_owned(), "MTA-STS policy of d.test: "),
    ] {
        let d = Published::new(&[(10, "mx1.test")]);
        d.web.says(answer.as_bytes());
        let _host = d.strange_host(1);
        let relay = d.sender("");
        is_sent(&relay, "opportunistic: TLSv1.3");
        relay.log_line(&[
            "warning: MTA-STS policy of d.test",
            words,
            "mail goes as without one",
        ]);
        is_sent(&relay, "opportunistic: TLSv1.3");
        assert_eq!(
            d.web.heard().len(),
            1,
            "neither followed nor asked again at once"
        );
    }
}

#[test]
fn the_server_proves_another_name_or_none() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for shown in [authority.issue("d.test"), stranger.issue("mta-sts.d.test")] {
        let d = Published::shown(&[(10, "mx1.test")], Authority::new(), &shown);
        std::fs::copy(authority.path(), d.authority.path()).unwrap();
        d.policy("enforce", &["elsewhere.test"]);
        let _host = d.strange_host(1);
        let relay = d.sender("");
        is_sent(&relay, "opportunistic: TLSv1.3");
        relay.log_line(&[
            "MTA-STS policy of d.test: the certificate of",
            "is not good",
        ]);
        assert!(d.web.heard().is_empty());
    }
}

#[test]
fn lines_end_with_crlf_and_the_media_type_has_parameters() {
    let d = Published::new(&[(10, "mx1.test")]);
    let text = policy("enforce", &["mx1.test"]).replace('\n', "\r\n");
    d.web.has("text/plain; charset=utf-8", &text);
    let _host = d.good_host(1);
    is_sent(&d.sender(""), "sts: TLSv1.3");
}

#[test]
fn a_policy_outlives_its_server_its_record_and_the_relay() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("enforce", &["mx1.test"]);
    let _host = d.good_host(1);
    let mut relay = d.sender("");
    is_sent(&relay, "sts: TLSv1.3");
    eventually("the policy is on disk", || {
        relay
            .data()
            .join("mta-sts/d.test.json")
            .exists()
            .then_some(())
    });
    // Whoever stands between us and the domain takes its record away, or makes its server fail.
    d.web.says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    d.policy("enforce", &["elsewhere.test"]);
    d.scene.dns.set("_mta-sts.d.test", vec![]);
    relay.kill();
    relay.restart();
    is_sent(&relay, "sts: TLSv1.3");
    assert_eq!(d.web.heard().len(), 1);
    d.web.says(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    d.record("2");
    relay.kill();
    relay.restart();
    is_sent(&relay, "sts: TLSv1.3");
    relay.log_line(&["answers 500", "the one kept from before holds"]);
    assert_eq!(d.web.heard().len(), 2);
}

#[test]
fn a_new_id_brings_a_new_policy() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("enforce", &["elsewhere.test"]);
    let _host = d.good_host(1);
    let relay = d.sender("");
    is_deferred(&relay, "dsn=4.7.0");
    d.policy("enforce", &["mx1.test"]);
    d.record("2");
    eventually("the record is looked up anew", || {
        relay.ask(&["queue", "retry", "--all"]);
        relay.log().contains("tls=sts: TLSv1.3").then_some(())
    });
    assert_eq!(d.web.heard().len(), 2);
}

#[test]
fn a_policy_that_holds_for_no_time_counts_now() {
    let d = Published::new(&[(10, "mx1.test")]);
    let text = policy("enforce", &["elsewhere.test"]).replace("604800", "0");
    d.web.has("text/plain", &text);
    let _host = d.good_host(1);
    is_deferred(&d.sender(""), "dsn=4.7.0");
}

#[test]
fn a_policy_is_for_its_domain_alone() {
    let d = Published::new(&[(10, "mx1.test")]);
    for domain in ["e.test", "sub.d.test"] {
        d.scene.dns.mx(domain, &[(10, "mx1.test")]);
    }
    d.policy("enforce", &["mx1.test"]);
    let _host = d.strange_host(1);
    let relay = d.sender("");
    is_deferred(&relay, "performing the TLS handshake");
    for to in ["b@e.test", "b@sub.d.test"] {
        let line = attempt(&relay, to);
        assert!(line.ends_with("tls=opportunistic: TLSv1.3"), "{line}");
    }
}

#[test]
fn dnssec_vouches_for_the_host_and_the_policy_knows_another_one() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("enforce", &["elsewhere.test"]);
    let (chain, key) = d.authority.issue("mx1.test");
    let _host = d.host(1, &(chain.clone(), key));
    let place = format!("_{}._tcp.mx1.test", d.scene.mx_port());
    for name in ["d.test", "mx1.test", &place] {
        d.scene.dns.secure(name);
    }
    let record = |octets: &[u8]| vec![Rdata::Tlsa([3, 0, 0], octets.to_vec())];
    d.scene.dns.set(&place, record(&der(&chain)));
    is_sent(&d.sender(""), "dane: TLSv1.3");
    // And what fails there is not made good by a policy that would let it pass.
    d.scene.dns.set(&place, record(&der(&d.authority.path())));
    d.policy("enforce", &["mx1.test"]);
    is_deferred(&d.sender(""), "no TLSA record matches the certificate");
}

fn der(path: &std::path::Path) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(path);
    certificate.unwrap().to_vec()
}

#[test]
fn trusted_roots_change_while_the_relay_runs() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("enforce", &["mx1.test"]);
    let stranger = Authority::new();
    let _host = d.host(1, &stranger.issue("mx1.test"));
    let mut relay = d.sender("");
    is_deferred(&relay, "performing the TLS handshake");
    relay.setup.extra = relay.setup.extra.replace(
        d.authority.path().to_str().unwrap(),
        stranger.path().to_str().unwrap(),
    );
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["reload: done"]);
    relay.ask(&["queue", "retry", "--all"]);
    relay.log_line(&["status=sent", "tls=sts: TLSv1.3"]);
    relay.setup.extra = relay.setup.extra.replace("authority.pem", "none.pem");
    relay.write_config();
    relay.signal(Signal::HUP);
    relay.log_line(&["trusted_roots:", "none.pem cannot be read"]);
    never("the relay ends", || relay.fetch("/healthz").is_none());
}

/// Issues a certificate, by this authority or another one.
type Issue<'a> = &'a dyn Fn(&Authority) -> (PathBuf, PathBuf);

const WEB_HOST: u8 = 80;
