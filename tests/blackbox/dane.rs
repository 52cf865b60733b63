//! What the DNS says of a host's certificate, and what that is worth. The hosts that speak TLS are
//! relays that drop what they take; those that do not are scripted.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::support::dns::{CNAME, TLSA};
use crate::support::{Mx, Rdata, Relay, Scene, Script, message, never};

/// A certificate, and its chain and key in files.
pub struct Shown {
    certificate: Vec<u8>,
    authority: Vec<u8>,
    public_key: Vec<u8>,
    files: TempDir,
}

impl Shown {
    pub fn new(name: &str) -> Self {
        Self::make(CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// For nobody's name, and long over.
    fn worthless() -> Self {
        let mut params = CertificateParams::new(vec!["nobody.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        Self::make(params)
    }

    fn make(params: CertificateParams) -> Self {
        let mut above = CertificateParams::new(vec![]).unwrap();
        above
            .distinguished_name
            .push(DnType::CommonName, "authority");
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (key, above_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let authority = above.self_signed(&above_key).unwrap();
        let issuer = Issuer::from_params(&above, &above_key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let files = tempfile::tempdir().unwrap();
        let chain = certificate.pem() + &authority.pem();
        fs::write(files.path().join("chain.pem"), chain).unwrap();
        let private = files.path().join("key.pem");
        fs::write(&private, key.serialize_pem()).unwrap();
        fs::set_permissions(private, fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            certificate: certificate.der().to_vec(),
            authority: authority.der().to_vec(),
            public_key: key.subject_public_key_info(),
            files,
        }
    }

    fn settings(all: &[&Self]) -> String {
        let paths = |name: &str| {
            let paths = all.iter().map(|shown| shown.files.path().join(name));
            paths.collect::<Vec<_>>()
        };
        format!(
            "tls.certificate = {:?}\ntls.key = {:?}\n",
            paths("chain.pem"),
            paths("key.pem")
        )
    }

    /// The files of its chain and its key.
    pub fn files(&self) -> (PathBuf, PathBuf) {
        let place = |name: &str| self.files.path().join(name);
        (place("chain.pem"), place("key.pem"))
    }

    /// `3 1 1`
    pub fn its_key(&self) -> Rdata {
        Rdata::Tlsa([3, 1, 1], digest(&SHA256, &self.public_key).as_ref().into())
    }

    /// `2 0 1`
    fn its_authority(&self) -> Rdata {
        Rdata::Tlsa([2, 0, 1], digest(&SHA256, &self.authority).as_ref().into())
    }
}

/// A scene in which DNSSEC vouches for `d.test` and for its hosts.
pub fn signed(hosts: &[(u16, &str)]) -> Scene {
    let scene = Scene::new();
    scene.dns.mx("d.test", hosts);
    scene.dns.secure("d.test");
    for (_, host) in hosts {
        scene.dns.secure(host);
    }
    scene
}

/// The `n`th host, `mxN.test`, which speaks TLS with these certificates.
fn tls_host(scene: &Scene, n: u8, shown: &[&Shown]) -> Relay {
    scene.dead_mx(n);
    let mut setup = scene.config(&format!(
        "hostname = \"mx{n}.test\"\nroute = [{{ domain = \"*\", to = \"discard\" }}]\n\
         smtp.trusted_networks = [\"127.0.0.0/8\"]\n{}",
        Shown::settings(shown)
    ));
    setup.smtp = scene.mx_address(n);
    Relay::start(setup)
}

/// The name under which the records of a host stand.
fn place(scene: &Scene, host: &str) -> String {
    format!("_{}._tcp.{host}", scene.mx_port())
}

pub fn publish(scene: &Scene, host: &str, records: Vec<Rdata>) {
    let place = place(scene, host);
    scene.dns.secure(&place);
    scene.dns.set(&place, records);
}

fn sender(scene: &Scene, extra: &str) -> Relay {
    scene.relay(&format!("delivery.tls = \"opportunistic\"\n{extra}"))
}

fn submit(relay: &Relay) {
    let said = relay
        .client()
        .submit("<a@c.test>", &["<b@d.test>"], &message("vouched for"));
    said.is("250 ");
}

#[track_caller]
fn is_sent(relay: &Relay, tls: &str) {
    submit(relay);
    let line = relay.log_line(&["to=<b@d.test>", "status="]);
    assert!(line.contains("status=sent"), "{line}");
    assert!(line.ends_with(&format!("tls={tls}: TLSv1.3")), "{line}");
}

#[track_caller]
fn is_deferred(relay: &Relay, words: &str) {
    submit(relay);
    let line = relay.log_line(&["to=<b@d.test>", "status="]);
    assert!(line.contains("status=deferred"), "{line}");
    assert!(line.contains(words), "{line}");
}

#[track_caller]
fn nothing_came(host: &Relay) {
    never("mail came", || host.log().contains("status=sent"));
}

#[test]
fn a_record_names_a_key_whose_certificate_is_worthless_otherwise() {
    let scene = signed(&[(10, "mx1.test")]);
    let shown = Shown::worthless();
    let host = tls_host(&scene, 1, &[&shown]);
    publish(&scene, "mx1.test", vec![shown.its_key()]);
    is_sent(&sender(&scene, ""), "dane");
    host.log_line(&["to=<b@d.test>", "status=sent"]);
}

#[test]
fn records_name_a_certificate_in_every_other_way() {
    for kind in [[3, 0, 0], [3, 0, 1], [3, 0, 2], [3, 1, 0], [3, 1, 2]] {
        let scene = signed(&[(10, "mx1.test")]);
        let shown = Shown::worthless();
        let _host = tls_host(&scene, 1, &[&shown]);
        let selected = [&shown.certificate, &shown.public_key][usize::from(kind[1])];
        let data = match kind[2] {
            0 => selected.clone(),
            1 => digest(&SHA256, selected).as_ref().into(),
            _ => digest(&SHA512, selected).as_ref().into(),
        };
        publish(&scene, "mx1.test", vec![Rdata::Tlsa(kind, data)]);
        is_sent(&sender(&scene, ""), "dane");
    }
}

#[test]
fn a_host_shows_another_certificate_than_its_records_name() {
    let scene = signed(&[(10, "mx1.test"), (20, "mx2.test")]);
    let (named, shown) = (Shown::new("mx1.test"), Shown::new("mx1.test"));
    let host = tls_host(&scene, 1, &[&shown]);
    scene.dead_mx(2);
    publish(&scene, "mx1.test", vec![named.its_key()]);
    let relay = sender(&scene, "queue.retry = [\"1h\"]");
    is_deferred(&relay, "no TLSA record matches the certificate");
    nothing_came(&host);
}

#[test]
fn keys_are_being_changed() {
    let scene = signed(&[(10, "mx1.test")]);
    let (old, new) = (Shown::new("mx1.test"), Shown::new("mx1.test"));
    let _host = tls_host(&scene, 1, &[&new]);
    publish(&scene, "mx1.test", vec![old.its_key(), new.its_key()]);
    is_sent(&sender(&scene, ""), "dane");
}

#[test]
fn a_record_names_the_authority_of_a_certificate() {
    for (name, is_good) in [("mx1.test", true), ("d.test", true), ("mx2.test", false)] {
        let scene = signed(&[(10, "mx1.test")]);
        let shown = Shown::new(name);
        let _host = tls_host(&scene, 1, &[&shown]);
        publish(&scene, "mx1.test", vec![shown.its_authority()]);
        let relay = sender(&scene, "queue.retry = [\"1h\"]");
        if is_good {
            is_sent(&relay, "dane");
        } else {
            is_deferred(&relay, "the certificate is for another host");
        }
    }
}

#[test]
fn one_link_of_the_way_is_not_signed() {
    for unsigned in ["d.test", "mx1.test", "the records"] {
        let scene = Scene::new();
        scene.dns.mx("d.test", &[(10, "mx1.test")]);
        for name in ["d.test", "mx1.test"] {
            if name != unsigned {
                scene.dns.secure(name);
            }
        }
        // A record of somebody else: were it gone by, nothing would arrive.
        let (shown, strange) = (Shown::new("mx1.test"), Shown::new("mx1.test"));
        let _host = tls_host(&scene, 1, &[&shown]);
        let place = place(&scene, "mx1.test");
        scene.dns.set(&place, vec![strange.its_key()]);
        if unsigned != "the records" {
            scene.dns.secure(&place);
        }
        is_sent(&sender(&scene, ""), "opportunistic");
        let asked = scene.dns.asked(&place, TLSA) > 0;
        assert_eq!(asked, unsigned == "the records", "{unsigned}");
    }
}

#[test]
fn there_are_no_records() {
    let scene = signed(&[(10, "mx1.test")]);
    let _host = tls_host(&scene, 1, &[&Shown::new("mx1.test")]);
    is_sent(&sender(&scene, ""), "opportunistic");
    assert!(scene.dns.asked(&place(&scene, "mx1.test"), TLSA) > 0);
}

#[test]
fn whether_there_are_records_cannot_be_learnt() {
    let scene = signed(&[(10, "mx1.test")]);
    let mx = scene.mx(1, Script::new());
    let place = place(&scene, "mx1.test");
    scene.dns.servfail(&place);
    let relay = sender(&scene, "");
    is_deferred(&relay, "looking up the TLSA records of mx1.test failed");
    assert_eq!(mx.connections(), 0);
    scene.dns.heal(&place);
    mx.wait_for(1);
}

#[test]
fn whether_the_first_host_has_records_cannot_be_learnt() {
    let scene = signed(&[(10, "mx1.test"), (20, "mx2.test")]);
    let (first, second) = (scene.mx(1, Script::new()), scene.mx(2, Script::new()));
    scene.dns.servfail(&place(&scene, "mx1.test"));
    let relay = sender(&scene, "");
    submit(&relay);
    second.wait_for(1);
    assert_eq!(first.connections(), 0);
}

#[test]
fn the_only_other_host_refuses_for_good_while_records_cannot_be_learnt() {
    let scene = signed(&[(10, "mx1.test"), (20, "mx2.test")]);
    let (_first, second) = (
        scene.mx(1, Script::new()),
        scene.mx(2, Script::new().says_and_closes("BANNER", "554 never")),
    );
    scene.dns.servfail(&place(&scene, "mx1.test"));
    let relay = sender(&scene, "queue.retry = [\"1h\"]");
    is_deferred(&relay, "looking up the TLSA records of mx1.test failed");
    assert!(second.connections() > 0);
}

#[test]
fn all_records_are_of_kinds_that_mailers_do_not_go_by() {
    let scene = signed(&[(10, "mx1.test")]);
    let shown = Shown::worthless();
    let host = tls_host(&scene, 1, &[&shown]);
    let data = digest(&SHA256, b"whatever").as_ref().to_vec();
    let of = |kind| Rdata::Tlsa(kind, data.clone());
    let kinds = [
        [0, 0, 1],
        [1, 1, 1],
        [3, 7, 1],
        [3, 1, 9],
        [77, 1, 1],
        [3, 1, 2],
    ];
    publish(&scene, "mx1.test", kinds.map(of).into());
    is_sent(&sender(&scene, ""), "required");
    host.log_line(&["to=<b@d.test>", "status=sent"]);
}

/// A host without STARTTLS behind which there is another one.
fn first_without_starttls(record: Rdata) -> (Scene, Mx, Mx) {
    let scene = signed(&[(10, "mx1.test"), (20, "mx2.test")]);
    let (first, second) = (scene.mx(1, Script::new()), scene.mx(2, Script::new()));
    publish(&scene, "mx1.test", vec![record]);
    (scene, first, second)
}

#[test]
fn a_host_with_records_offers_no_starttls() {
    let usable = Shown::new("mx1.test").its_key();
    let unusable = Rdata::Tlsa([1, 1, 1], vec![7; 32]);
    for record in [usable, unusable] {
        let (scene, first, second) = first_without_starttls(record);
        let relay = sender(&scene, "");
        submit(&relay);
        second.wait_for(1);
        assert!(first.connections() > 0);
        assert_eq!(first.heard("MAIL"), 0);
    }
}

#[test]
fn the_handshake_breaks_off_at_a_host_with_records() {
    let scene = signed(&[(10, "mx1.test")]);
    let script = Script::new()
        .with("STARTTLS")
        .says("STARTTLS", "454 4.7.0 not today");
    let mx = scene.mx(1, script);
    publish(&scene, "mx1.test", vec![Shown::new("mx1.test").its_key()]);
    is_deferred(&sender(&scene, "queue.retry = [\"1h\"]"), "not today");
    assert_eq!(mx.heard("MAIL"), 0);
}

#[test]
fn a_host_is_an_alias_and_is_asked_for_by_the_name_of_its_records() {
    for (base, other) in [("real.test", "mx1.test"), ("mx1.test", "real.test")] {
        let scene = signed(&[(10, "mx1.test")]);
        let (first, named) = (Shown::new(other), Shown::new(base));
        // It shows the second certificate to those only who ask for its name.
        let _host = tls_host(&scene, 1, &[&first, &named]);
        scene.alias("mx1.test", "real.test");
        scene.dns.secure("real.test");
        publish(&scene, base, vec![named.its_key()]);
        is_sent(&sender(&scene, ""), "dane");
    }
}

#[test]
fn an_alias_leads_out_of_what_is_signed() {
    let scene = signed(&[(10, "mx1.test")]);
    let (named, strange) = (Shown::new("mx1.test"), Shown::new("mx1.test"));
    let _host = tls_host(&scene, 1, &[&named]);
    scene.alias("mx1.test", "real.test");
    publish(&scene, "real.test", vec![strange.its_key()]);
    publish(&scene, "mx1.test", vec![named.its_key()]);
    is_sent(&sender(&scene, ""), "dane");
    assert_eq!(scene.dns.asked(&place(&scene, "real.test"), TLSA), 0);
}

/// Whoever forges an alias can lead it to a signed zone of his own.
#[test]
fn an_alias_is_not_signed_itself() {
    for is_terse in [false, true] {
        let scene = Scene::new();
        scene.dns.mx("d.test", &[(10, "mx1.test")]);
        scene.dns.secure("d.test");
        let strange = Shown::new("mx1.test");
        let _host = tls_host(&scene, 1, &[&Shown::new("mx1.test")]);
        scene.alias("mx1.test", "real.test");
        scene.dns.secure("real.test");
        for name in ["mx1.test", "real.test"] {
            publish(&scene, name, vec![strange.its_key()]);
        }
        if is_terse {
            scene.dns.be_terse();
        }
        is_sent(&sender(&scene, ""), "opportunistic");
    }
}

#[test]
fn the_name_server_leaves_the_following_of_aliases_to_us() {
    let scene = signed(&[(10, "mx1.test")]);
    let shown = Shown::new("real.test");
    let _host = tls_host(&scene, 1, &[&shown]);
    scene.alias("mx1.test", "real.test");
    scene.dns.secure("real.test");
    publish(&scene, "real.test", vec![shown.its_key()]);
    scene.dns.be_terse();
    is_sent(&sender(&scene, ""), "dane");
}

#[test]
fn whether_an_alias_is_signed_cannot_be_learnt() {
    let scene = signed(&[(10, "mx1.test")]);
    let mx = scene.mx(1, Script::new());
    scene.alias("mx1.test", "real.test");
    scene.dns.secure("real.test");
    publish(&scene, "real.test", vec![Shown::new("real.test").its_key()]);
    scene.dns.servfail_kind("mx1.test", CNAME);
    let relay = sender(&scene, "queue.retry = [\"1h\"]");
    is_deferred(&relay, "looking up the address of mx1.test failed");
    assert_eq!(mx.connections(), 0);
}

#[test]
fn a_route_names_a_host_with_records() {
    let scene = Scene::new();
    let shown = Shown::new("mx1.test");
    let _host = tls_host(&scene, 1, &[&shown]);
    scene.dns.secure("mx1.test");
    publish(&scene, "mx1.test", vec![shown.its_authority()]);
    let route = "route = [{ domain = \"*\", to = \"smtp://mx1.test\" }]";
    is_sent(&sender(&scene, route), "dane");
}

#[test]
fn a_domain_is_its_own_host() {
    let scene = Scene::new();
    let shown = Shown::worthless();
    let _host = tls_host(&scene, 1, &[&shown]);
    scene.dns.a("d.test", scene.mx_host(1));
    scene.dns.secure("d.test");
    publish(&scene, "d.test", vec![shown.its_key()]);
    is_sent(&sender(&scene, ""), "dane");
}

#[test]
fn nobody_asks_for_records_where_they_do_not_count() {
    for extra in ["delivery.tls = \"none\"", "dns.dnssec = \"off\""] {
        let scene = signed(&[(10, "mx1.test")]);
        let mx = scene.mx(1, Script::new());
        publish(&scene, "mx1.test", vec![Shown::new("mx1.test").its_key()]);
        let relay = match extra.starts_with("dns") {
            true => sender(&scene, extra),
            false => scene.relay(extra),
        };
        submit(&relay);
        mx.wait_for(1);
        assert_eq!(scene.dns.asked(&place(&scene, "mx1.test"), TLSA), 0);
    }
}
