//! REQUIRETLS and the TLS-Required field (RFC 8689): mail that goes only where TLS is proved and
//! promised, and mail for which TLS does not matter.

use std::path::PathBuf;

use crate::dane::{Shown, publish, signed};
use crate::sts::Published;
use crate::support::{Authority, Mx, Relay, Report, Scene, Script, message};

const REQUIRED: &str = "<a@c.test> RET=FULL REQUIRETLS";

/// Hands a message over under TLS, and returns its id.
#[track_caller]
fn submit(relay: &Relay, mail: &str, content: &[u8]) -> String {
    let authority = relay.data().join("keys/self-signed.pem");
    let mut client = relay.client().secure(&authority);
    let said = client.submit(mail, &["<b@d.test>"], content);
    said.is("250 ").queue_id()
}

/// What came of the first attempt.
#[track_caller]
fn attempt(relay: &Relay, mail: &str, content: &[u8]) -> String {
    let id = submit(relay, mail, content);
    relay.log_line(&[&id, "to=<b@d.test>", "status="])
}

#[track_caller]
fn is_passed_on(relay: &Relay, mx: &Mx, tls: &str) {
    let line = attempt(relay, REQUIRED, &message("secret"));
    assert!(line.contains("status=sent"), "{line}");
    assert!(line.ends_with(&format!("tls={tls}: TLSv1.3")), "{line}");
    let mail = &mx.wait_for(1)[0].mail;
    assert!(mail.ends_with(" REQUIRETLS RET=FULL"), "{mail}");
}

#[track_caller]
fn is_bounced(line: &str, status: &str, words: &str) {
    assert!(
        line.contains(&format!("dsn={status}, status=bounced")),
        "{line}"
    );
    assert!(line.contains(words), "{line}");
}

fn promising() -> Script {
    Script::new().with("REQUIRETLS")
}

/// A signed domain whose hosts have certificates but no records.
struct Vouched {
    scene: Scene,
    authority: Authority,
}

impl Vouched {
    fn new(hosts: &[(u16, &str)]) -> Self {
        Self {
            scene: signed(hosts),
            authority: Authority::new(),
        }
    }

    fn pair(&self, n: u8) -> (PathBuf, PathBuf) {
        self.authority.issue(&format!("mx{n}.test"))
    }

    fn mx(&self, n: u8, script: Script) -> Mx {
        self.scene.tls_mx(n, &self.pair(n), script)
    }

    fn sender(&self, extra: &str) -> Relay {
        self.scene.relay(&format!(
            "delivery.tls = \"opportunistic\"\ntls.trusted_roots = {:?}\nqueue.retry = [\"1h\"]\n{extra}",
            self.authority.path()
        ))
    }
}

#[test]
fn a_client_asks_for_it_in_plain() {
    let scene = Scene::new();
    let relay = scene.relay("");
    let mut client = relay.client();
    let offer = client.command("EHLO c.test").text();
    assert!(
        offer.contains("STARTTLS") && !offer.contains("REQUIRETLS"),
        "{offer}"
    );
    client
        .command(&format!("MAIL FROM:{REQUIRED}"))
        .is("530 5.7.0");
    let authority = relay.data().join("keys/self-signed.pem");
    let mut client = client.secure(&authority);
    let offer = client.command("EHLO c.test").text();
    assert!(offer.contains("REQUIRETLS"), "{offer}");
    client
        .command("MAIL FROM:<a@c.test> REQUIRETLS=1")
        .is("501 5.5.4");
    client.command(&format!("MAIL FROM:{REQUIRED}")).is("250 ");
}

#[test]
fn a_policy_vouches_for_the_host() {
    for mode in ["enforce", "testing"] {
        let d = Published::new(&[(10, "mx1.test")]);
        d.policy(mode, &["mx1.test"]);
        let mx = d
            .scene
            .tls_mx(1, &d.authority.issue("mx1.test"), promising());
        let tls = if mode == "enforce" { "sts" } else { "verified" };
        is_passed_on(&d.sender(""), &mx, tls);
    }
}

#[test]
fn dnssec_vouches_for_the_host() {
    let scene = signed(&[(10, "mx1.test")]);
    let shown = Shown::new("mx1.test");
    publish(&scene, "mx1.test", vec![shown.its_key()]);
    let mx = scene.tls_mx(1, &shown.files(), promising());
    is_passed_on(
        &scene.relay("delivery.tls = \"opportunistic\""),
        &mx,
        "dane",
    );
    // Without records its certificate has to be one that everybody trusts.
    let d = Vouched::new(&[(10, "mx1.test")]);
    let mx = d.mx(1, promising());
    is_passed_on(&d.sender(""), &mx, "verified");
}

/// Whatever the route says of other mail.
#[test]
fn a_route_names_the_host() {
    for tls in ["none", "opportunistic", "verify"] {
        let (scene, authority) = (Scene::new(), Authority::new());
        let mx = scene.tls_mx(1, &authority.issue("mx1.test"), promising());
        let relay = scene.relay(&format!(
            "delivery.tls = \"{tls}\"\ntls.trusted_roots = {:?}\n\
             route = [{{ domain = \"*\", to = \"smtp://mx1.test\" }}]",
            authority.path()
        ));
        is_passed_on(&relay, &mx, "verified");
    }
}

#[test]
fn nobody_vouches_for_the_host() {
    let scene = Scene::new();
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    let authority = Authority::new();
    let mx = scene.tls_mx(1, &authority.issue("mx1.test"), promising());
    let relay = scene.relay(&format!(
        "delivery.tls = \"opportunistic\"\ntls.trusted_roots = {:?}",
        authority.path()
    ));
    let line = attempt(&relay, REQUIRED, &message("secret"));
    is_bounced(
        &line,
        "5.7.10",
        "neither DNSSEC nor MTA-STS vouches for mx1.test",
    );
    assert_eq!(mx.connections(), 0);
}

#[test]
fn a_host_promises_nothing_and_the_next_one_does() {
    let d = Vouched::new(&[(10, "mx1.test"), (20, "mx2.test")]);
    let (first, second) = (d.mx(1, Script::new()), d.mx(2, promising()));
    is_passed_on(&d.sender(""), &second, "verified");
    assert_eq!((first.connections(), first.heard("MAIL")), (1, 0));
    assert_eq!(first.heard("QUIT"), 1);
}

/// The report has no content of the message, whatever RET says, and arrives where nobody promises
/// anything.
#[test]
fn no_host_promises_it_and_the_sender_is_told() {
    let d = Vouched::new(&[(10, "mx1.test")]);
    let mx = d.mx(1, Script::new());
    d.scene.dns.mx("c.test", &[(10, "mx2.test")]);
    let home = d.scene.mx(2, Script::new());
    let relay = d.sender("");
    let line = attempt(&relay, REQUIRED, &message("secret"));
    is_bounced(
        &line,
        "5.7.30",
        "REQUIRETLS is required, but was not offered by mx1.test",
    );
    assert_eq!(mx.heard("MAIL"), 0);
    let report = Report::parse(home.wait_for_mail_to("a@c.test"));
    assert_eq!(report.recipient("b@d.test").field("Status"), "5.7.30");
    assert_eq!(report.returned.0, "text/rfc822-headers");
    assert!(!report.received.text().contains("Words of"));
    assert!(!report.received.mail.contains("REQUIRETLS"));
}

#[test]
fn the_sender_of_a_message_that_came_back_has_a_host_that_promises_it() {
    let d = Vouched::new(&[(10, "mx1.test")]);
    let script = promising().says("RCPT", "550 5.1.1 nobody");
    let _mx = d.mx(1, script);
    d.scene.dns.mx("c.test", &[(10, "mx2.test")]);
    let shown = Shown::new("mx2.test");
    let home = d.scene.tls_mx(2, &shown.files(), promising());
    // Promises of somebody who is not proved are none.
    for is_proved in [false, true] {
        if is_proved {
            for name in ["c.test", "mx2.test"] {
                d.scene.dns.secure(name);
            }
            publish(&d.scene, "mx2.test", vec![shown.its_key()]);
        }
        let relay = d.sender("");
        submit(&relay, REQUIRED, &message("secret"));
        let received = home.wait_for(1 + usize::from(is_proved)).pop().unwrap();
        assert!(received.is_for("a@c.test"));
        let report = Report::parse(received);
        let mail = &report.received.mail;
        assert_eq!(mail.contains(" REQUIRETLS"), is_proved, "{mail}");
        assert_eq!(report.recipient("b@d.test").field("Status"), "5.1.1");
        assert_eq!(report.returned.0, "text/rfc822-headers");
    }
}

#[test]
fn the_host_offers_no_tls() {
    let d = Vouched::new(&[(10, "mx1.test")]);
    // What is promised in plain is no promise.
    let mx = d.scene.mx(1, promising());
    let line = attempt(&d.sender(""), REQUIRED, &message("secret"));
    is_bounced(&line, "5.7.10", "TLS was not offered by mx1.test");
    assert_eq!(mx.heard("MAIL"), 0);
}

#[test]
fn a_handshake_fails_or_a_name_cannot_be_looked_up_and_mail_waits() {
    let d = Vouched::new(&[(10, "mx1.test")]);
    let stranger = Authority::new();
    let mx = d.scene.tls_mx(1, &stranger.issue("mx1.test"), promising());
    let relay = d.sender("");
    let line = attempt(&relay, REQUIRED, &message("secret"));
    assert!(line.contains("status=deferred"), "{line}");
    assert!(line.contains("performing the TLS handshake"), "{line}");
    assert_eq!(mx.heard("MAIL"), 0);
    // Other mail for the domain does not wait with it.
    let line = attempt(&relay, "<a@c.test>", &message("usual"));
    assert!(line.contains("status=sent"), "{line}");
    d.scene.dns.servfail("d.test");
    let relay = d.sender("");
    let line = attempt(&relay, REQUIRED, &message("secret"));
    assert!(line.contains("status=deferred"), "{line}");
}

#[test]
fn a_connection_at_hand_is_not_good_enough() {
    let d = Vouched::new(&[(10, "mx1.test")]);
    let mx = d.mx(1, promising());
    let relay = d.sender("");
    let mut grades = Vec::new();
    for mail in ["<a@c.test>", REQUIRED] {
        let line = attempt(&relay, mail, &message("one"));
        grades.push(line.rsplit("tls=").next().unwrap().to_owned());
    }
    assert_eq!(grades, ["opportunistic: TLSv1.3", "verified: TLSv1.3"]);
    let messages = mx.wait_for(2);
    assert_ne!(messages[0].connection, messages[1].connection);
    assert!(messages[1].mail.contains(" REQUIRETLS"));
}

#[test]
fn it_is_shown_and_outlives_a_crash() {
    let d = Vouched::new(&[(10, "mx1.test")]);
    d.scene.dead_mx(1);
    let mut relay = d.sender("");
    let id = submit(&relay, REQUIRED, &message("secret"));
    relay.log_line(&[&id, "status=deferred"]);
    assert!(relay.ask(&["trace", &id]).contains("it says REQUIRETLS"));
    relay.kill();
    relay.restart();
    assert!(
        relay
            .ask(&["queue", "show", &id])
            .contains("tls         REQUIRETLS")
    );
    let mx = d.mx(1, promising());
    relay.ask(&["queue", "retry", &id]);
    assert!(mx.wait_for(1)[0].mail.contains(" REQUIRETLS"));
}

/// With a field in its header, and as it is without.
fn optional() -> Vec<u8> {
    [b"TLS-Required: No\r\n".to_vec(), message("unimportant")].concat()
}

#[test]
fn tls_does_not_matter_for_a_message_whose_domain_is_strict() {
    let d = Published::new(&[(10, "mx1.test")]);
    d.policy("enforce", &["elsewhere.test"]);
    let mx = d.scene.mx(1, Script::new());
    // The connection that carried it is none for mail that is held to the policy, and REQUIRETLS
    // goes before the field.
    for (mail, content) in [("<a@c.test>", message("usual")), (REQUIRED, optional())] {
        let relay = d.sender("");
        let line = attempt(&relay, "<a@c.test>", &optional());
        assert!(line.contains("status=sent"), "{line}");
        assert!(line.ends_with("tls=opportunistic: not offered"), "{line}");
        let line = attempt(&relay, mail, &content);
        assert!(line.contains("status=deferred"), "{line}");
        assert!(line.contains("does not name the host"), "{line}");
    }
    let messages = mx.messages();
    assert_eq!(messages.len(), 2);
    assert!(messages[0].text().contains("TLS-Required: No\r\n"));
}

#[test]
fn tls_does_not_matter_for_a_message_whose_host_has_other_records() {
    let scene = signed(&[(10, "mx1.test")]);
    let (named, shown) = (Shown::new("mx1.test"), Shown::new("mx1.test"));
    publish(&scene, "mx1.test", vec![named.its_key()]);
    let mx = scene.tls_mx(1, &shown.files(), Script::new());
    let relay = scene.relay("delivery.tls = \"opportunistic\"\nqueue.retry = [\"1h\"]");
    let line = attempt(&relay, "<a@c.test>", &optional());
    assert!(line.ends_with("tls=opportunistic: TLSv1.3"), "{line}");
    let line = attempt(&relay, "<a@c.test>", &message("usual"));
    assert!(line.contains("status=deferred"), "{line}");
    assert_eq!(mx.messages().len(), 1);
}

#[test]
fn what_the_operator_wants_matters_for_every_message() {
    for tls in ["required", "verify"] {
        let (scene, mx) = Scene::with_mx(Script::new());
        let relay = scene.relay(&format!(
            "queue.retry = [\"1h\"]\nroute = [{{ domain = \"d.test\", tls = \"{tls}\" }}]"
        ));
        let line = attempt(&relay, "<a@c.test>", &optional());
        assert!(line.contains("status=deferred"), "{line}");
        assert_eq!(mx.heard("MAIL"), 0);
    }
}
