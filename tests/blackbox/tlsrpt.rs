//! What a domain is told about TLS with its hosts.

use std::io::Read as _;

use flate2::read::GzDecoder;
use mail_parser::{MessageParser, MimeHeaders as _};
use serde_json::{Value, json};

use crate::support::{Authority, Mx, Rdata, Relay, Scene, Script, Web, eventually, message, never};

/// `d.test`, whose host offers no TLS, wants reports at `r.test`, by mail and by HTTPS.
fn scene() -> (Scene, Mx, Web, Authority) {
    let scene = Scene::new();
    scene.dns.mx("d.test", &[(10, "mx1.test")]);
    scene.dns.mx("r.test", &[(10, "mx2.test")]);
    scene.mx(1, Script::new());
    let mx = scene.mx(2, Script::new());
    let authority = Authority::new();
    let at = (scene.net.host(80), scene.net.free_port(80));
    let web = Web::start(at.into(), &authority.issue("web.r.test"));
    scene.dns.a("web.r.test", at.0);
    web.says(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    let record = "v=TLSRPTv1; rua=mailto:tls@r.test,https://web.r.test/v1/reports";
    let record = Rdata::Txt(record.to_owned());
    scene.dns.set("_smtp._tls.d.test", vec![record]);
    (scene, mx, web, authority)
}

fn sender(scene: &Scene, web: &Web, authority: &Authority, extra: &str) -> Relay {
    scene.relay(&format!(
        "delivery.tls = \"opportunistic\"\ndelivery.mta_sts_port = {}\n\
         tls.trusted_roots = {:?}\n{extra}",
        web.address().port(),
        authority.path()
    ))
}

const ON: &str =
    "tls_reports = { organization = \"Example\", contact = \"tls@c.test\", interval = \"3s\" }";

fn unpacked(octets: &[u8]) -> Value {
    let mut text = String::new();
    GzDecoder::new(octets)
        .read_to_string(&mut text)
        .expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

/// The report in a message.
fn reported(content: &[u8]) -> Value {
    let parsed = MessageParser::default().parse(content).expect("a message");
    let kind = parsed.content_type().expect("a type");
    assert_eq!(kind.subtype(), Some("report"));
    assert_eq!(kind.attribute("report-type"), Some("tlsrpt"));
    unpacked(parsed.attachment(0).expect("the report").contents())
}

#[test]
fn a_domain_is_told_by_mail_and_over_https() {
    let (scene, mx, web, authority) = scene();
    let relay = sender(&scene, &web, &authority, ON);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("in plain"));
    let mail = mx.wait_for_mail_to("tls@r.test");
    assert!(mail.mail.starts_with("MAIL FROM:<>"), "{}", mail.mail);
    let text = mail.text();
    for field in [
        "TLS-Report-Domain: d.test\r\n",
        "TLS-Report-Submitter: relay.test\r\n",
    ] {
        assert!(text.contains(field), "{text}");
    }
    let report = reported(&mail.content());
    assert_eq!(report["organization-name"], "Example");
    assert_eq!(report["contact-info"], "tls@c.test");
    let policy = &report["policies"][0];
    assert_eq!(
        policy["policy"],
        json!({"policy-type": "no-policy-found", "policy-domain": "d.test"})
    );
    assert_eq!(
        policy["summary"],
        json!({"total-successful-session-count": 0, "total-failure-session-count": 1})
    );
    let failure = &policy["failure-details"][0];
    assert_eq!(failure["result-type"], "starttls-not-supported");
    assert_eq!(failure["receiving-mx-hostname"], "mx1.test");
    assert_eq!(failure["receiving-ip"], scene.mx_host(1).to_string());
    let request = eventually("the report is posted", || web.heard().pop());
    let end = memchr::memmem::find(&request, b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    assert!(head.starts_with("post /v1/reports http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/tlsrpt+gzip\r\n"),
        "{head}"
    );
    assert_eq!(unpacked(&request[end..]), report);
}

#[test]
fn counts_outlive_the_relay() {
    let (scene, mx, web, authority) = scene();
    let mut relay = sender(&scene, &web, &authority, &ON.replace("3s", "8s"));
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("in plain"));
    let place = relay.data().join("tls-reports");
    eventually("counts are on disk", || {
        let mut files = std::fs::read_dir(&place).ok()?.flatten();
        files.find(|file| file.path().extension().is_some_and(|end| end == "json"))
    });
    relay.kill();
    relay.restart();
    let report = reported(&mx.wait_for_mail_to("tls@r.test").content());
    assert_eq!(
        report["policies"][0]["summary"]["total-failure-session-count"],
        1
    );
    eventually("what is told is gone", || {
        std::fs::read_dir(&place)
            .ok()?
            .next()
            .is_none()
            .then_some(())
    });
}

/// The files of periods that are not told to their end.
fn kept(relay: &Relay) -> Vec<String> {
    let files = std::fs::read_dir(relay.data().join("tls-reports"));
    let files = files.into_iter().flatten().flatten();
    files
        .filter(|file| file.path().extension().is_some_and(|end| end == "json"))
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .collect()
}

const OUT_OF_ORDER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

#[test]
fn web_server_is_out_of_order_for_a_while() {
    let (scene, mx, web, authority) = scene();
    web.says(OUT_OF_ORDER);
    let mut relay = sender(&scene, &web, &authority, &ON.replace("3s", "12s"));
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("in plain"));
    eventually("it is tried again", || {
        (web.heard().len() > 1).then_some(())
    });
    let line = relay.log_line(&["https://web.r.test/v1/reports", "answers 503"]);
    assert!(line.ends_with("it is tried again later"), "{line}");
    eventually("whom it was told is kept", || {
        kept(&relay)
            .iter()
            .any(|text| text.contains("d.test tls@r.test"))
            .then_some(())
    });
    relay.kill();
    web.says(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    relay.restart();
    relay.log_line(&["sent to https://web.r.test/v1/reports"]);
    eventually("what is told is gone", || {
        kept(&relay).is_empty().then_some(())
    });
    let heard = web.heard();
    let bodies: Vec<Value> = heard
        .iter()
        .map(|request| {
            let end = memchr::memmem::find(request, b"\r\n\r\n").expect("a head") + 4;
            unpacked(&request[end..])
        })
        .collect();
    let ids = bodies.iter().map(|report| &report["report-id"]);
    assert!(
        ids.clone().all(|id| *id == bodies[0]["report-id"]),
        "{bodies:?}"
    );
    assert_eq!(mx.messages().len(), 1, "who was told by mail is told once");
}

#[test]
fn web_server_takes_no_report_at_all() {
    let (scene, mx, web, authority) = scene();
    web.says(OUT_OF_ORDER);
    let relay = sender(&scene, &web, &authority, ON);
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("in plain"));
    relay.log_line(&["https://web.r.test/v1/reports", "answers 503; it is lost"]);
    eventually("what is lost is gone", || {
        kept(&relay).is_empty().then_some(())
    });
    assert_eq!(mx.messages().len(), 1);
}

#[test]
fn nobody_says_who_reports() {
    let (scene, mx, web, authority) = scene();
    let relay = sender(&scene, &web, &authority, "tls_reports.interval = \"1s\"");
    relay.submit("<a@c.test>", &["<b@d.test>"], &message("in plain"));
    relay.log_line(&["to=<b@d.test>", "status=sent"]);
    never("a report goes out", || {
        !mx.messages().is_empty() || !web.heard().is_empty()
    });
    assert!(!relay.data().join("tls-reports").exists());
}
