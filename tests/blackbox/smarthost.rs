//! Mail that leaves through a smart host where we have to log in. The smart host is a second relay,
//! `inner.test`; what hosts get wrong is played by scripted ones.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{Relay, Scene, Script, eventually, message, never};

/// A smart host that takes mail of ann's only, and the port at which TLS comes first.
fn smart_host(scene: &Scene) -> (Relay, u16) {
    let mut setup = scene.config("");
    let tls_first = SocketAddr::new(setup.smtp.ip(), scene.net.free_port(1));
    setup.extra = format!(
        "hostname = \"inner.test\"\nsmtp.trusted_networks = []\nauth.allow_plaintext = \"never\"\n\
         listener = [{{ protocol = \"submission\", bind = [\"{}\"] }}, \
         {{ protocol = \"submissions\", bind = [\"{tls_first}\"] }}]",
        setup.smtp
    );
    let inner = Relay::start(setup);
    let added = inner.run_with(&["user", "add", "ann@c.test"], "s3cret\n");
    assert!(added.status.success(), "{added:?}");
    inner.log_line(&["changed: done"]);
    let IpAddr::V4(address) = inner.setup.smtp.ip() else {
        panic!("scenes are IPv4");
    };
    scene.dns.a("inner.test", address);
    (inner, tls_first.port())
}

struct Outer {
    relay: Relay,
    credentials: PathBuf,
    _home: tempfile::TempDir,
}

/// A relay that sends everything to `to`, and logs in there with this password.
fn outer(scene: &Scene, to: &str, more: &str, password: &str, inner: Option<&Relay>) -> Outer {
    let home = tempfile::tempdir().unwrap();
    let credentials = home.path().join("hub.toml");
    write(&credentials, password);
    let mut setup = scene.config(&format!(
        "route = [{{ domain = \"*\", to = \"{to}\", credentials = \"{}\"{more} }}]",
        credentials.display()
    ));
    setup.authorities = inner.map(|inner| inner.data().join("keys/self-signed.pem"));
    Outer {
        relay: Relay::start(setup),
        credentials,
        _home: home,
    }
}

fn write(path: &PathBuf, password: &str) {
    let text = format!("user = \"ann@c.test\"\npassword = \"{password}\"\n");
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn submit(relay: &Relay, subject: &str) {
    relay.submit("<ann@c.test>", &["<b@d.test>"], &message(subject));
}

#[test]
fn smart_host_wants_to_know_who_we_are() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (inner, tls_first) = smart_host(&scene);
    let by_starttls = format!("smtp://inner.test:{}", inner.setup.smtp.port());
    let at_once = format!("smtps://inner.test:{tls_first}");
    for (count, to) in [by_starttls, at_once].into_iter().enumerate() {
        let outer = outer(&scene, &to, "", "s3cret", Some(&inner));
        submit(&outer.relay, "known");
        let trace = mx.wait_for(count + 1)[count].text();
        assert!(trace.contains("with ESMTPSA id"), "{to}: {trace}");
        let line = outer.relay.log_line(&["to=<b@d.test>", "status=sent"]);
        assert!(line.ends_with("tls=verified: TLSv1.3"), "{to}: {line}");
    }
}

#[test]
fn smart_host_does_not_know_the_password_until_somebody_mends_it() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (inner, _) = smart_host(&scene);
    let to = format!("smtp://inner.test:{}", inner.setup.smtp.port());
    let outer = outer(&scene, &to, "", "wrong", Some(&inner));
    submit(&outer.relay, "waiting");
    let words = ["dsn=4.7.8", "status=deferred", "535 5.7.8", "AUTH command"];
    outer.relay.log_line(&words);
    assert_eq!(mx.messages().len(), 0);
    write(&outer.credentials, "s3cret");
    outer.relay.log_line(&["changed: done"]);
    mx.wait_for(1);
    assert!(
        !outer.relay.log().contains("s3cret"),
        "no password in the log"
    );
}

#[test]
fn route_names_other_credentials_from_a_reload_on() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (inner, _) = smart_host(&scene);
    let to = format!("smtp://inner.test:{}", inner.setup.smtp.port());
    let mut outer = outer(&scene, &to, "", "wrong", Some(&inner));
    submit(&outer.relay, "waiting");
    outer.relay.log_line(&["status=deferred", "535 5.7.8"]);
    let other = outer.credentials.with_file_name("other.toml");
    write(&other, "s3cret");
    let before = outer.credentials.display().to_string();
    let extra = &mut outer.relay.setup.extra;
    *extra = extra.replace(&before, &other.display().to_string());
    outer.relay.write_config();
    assert!(mx.messages().is_empty());
    outer.relay.signal(Signal::HUP);
    mx.wait_for(1);
}

#[test]
fn smart_host_has_the_certificate_of_somebody_else() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (inner, _) = smart_host(&scene);
    let to = format!("smtp://inner.test:{}", inner.setup.smtp.port());
    let stranger = outer(&scene, &to, "", "s3cret", None);
    submit(&stranger.relay, "not for strangers");
    stranger.relay.log_line(&["status=deferred", "certificate"]);
    never("it logs in", || inner.log().contains("logged in"));
    // Unless the route is content with less.
    let content = outer(&scene, &to, ", tls = \"required\"", "s3cret", None);
    submit(&content.relay, "for strangers");
    let line = content.relay.log_line(&["to=<b@d.test>", "status=sent"]);
    assert!(line.ends_with("tls=required: TLSv1.3"), "{line}");
    mx.wait_for(1);
}

#[test]
fn smart_host_has_no_tls() {
    let scene = Scene::new();
    let mx = scene.mx(1, Script::new());
    let to = format!("smtp://mx1.test:{}", scene.mx_port());
    let outer = outer(&scene, &to, "", "s3cret", None);
    submit(&outer.relay, "secret");
    outer.relay.log_line(&["dsn=4.7.4", "TLS is required"]);
    assert_eq!(mx.heard("AUTH"), 0);
}

#[test]
fn smart_host_in_plain_is_logged_in_at_where_the_route_says_that_nothing_is_secret() {
    let scene = Scene::new();
    let mx = scene.mx(
        1,
        Script::new()
            .with("AUTH PLAIN")
            .says("AUTH", "235 2.7.0 in"),
    );
    let to = format!("smtp://mx1.test:{}", scene.mx_port());
    let outer = outer(&scene, &to, ", tls = \"none\"", "s3cret", None);
    submit(&outer.relay, "open");
    mx.wait_for(1);
    // \0ann@c.test\0s3cret
    assert_eq!(mx.heard("AUTH PLAIN AGFubkBjLnRlc3QAczNjcmV0"), 1);
}

#[test]
fn smart_host_breaks_off_in_the_middle_of_logging_in() {
    let scene = Scene::new();
    let offer = || Script::new().with("AUTH LOGIN");
    let mx = scene.mx(1, offer().says("AUTH", "334 not*base64"));
    let to = format!("smtp://mx1.test:{}", scene.mx_port());
    let outer = outer(&scene, &to, ", tls = \"none\"", "s3cret", None);
    let log_line = |words: &[&str]| {
        outer
            .relay
            .log_line(&[&["status=deferred"], words].concat())
    };
    submit(&outer.relay, "later");
    log_line(&["dsn=4.7.8", "no base64"]);
    mx.behaves(offer().drops("AUTH"));
    log_line(&["dsn=4.4.2", "while logging in"]);
    mx.behaves(offer().says("AUTH", "454 4.7.0 not now"));
    log_line(&["dsn=4.7.0", "454 4.7.0 not now"]);
    assert_eq!(mx.messages().len(), 0);
    mx.behaves(
        offer()
            .says("AUTH", "334 VXNlcm5hbWU6")
            .says("YW5u", "334 UGFzc3dvcmQ6")
            .says("czNj", "235 in"),
    );
    mx.wait_for(1);
}

#[test]
fn credentials_that_everybody_may_read_are_refused() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let (inner, _) = smart_host(&scene);
    let to = format!("smtp://inner.test:{}", inner.setup.smtp.port());
    let outer = outer(&scene, &to, "", "s3cret", Some(&inner));
    fs::set_permissions(&outer.credentials, fs::Permissions::from_mode(0o644)).unwrap();
    let checked = outer.relay.run(&["check"]);
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned()
        + &String::from_utf8_lossy(&checked.stdout);
    assert!(
        said.contains("credentials: ") && said.contains("chmod o-rwx"),
        "{said}"
    );
    // The running relay keeps what it has.
    outer.relay.signal(Signal::HUP);
    outer.relay.log_line(&["the old one stays"]);
    submit(&outer.relay, "still known");
    eventually("it arrives", || (mx.messages().len() == 1).then_some(()));
}
