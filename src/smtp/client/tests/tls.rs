use super::*;
use crate::wire::status::EnhancedStatus;

const OFFER: &str = "250-mx.test\r\n250 STARTTLS\r\n";
const PLAIN: &str = "250 mx.test\r\n";
const READY: &str = "220 2.0.0 go\r\n";

fn plays(tls: StartTls, answers: &[&str]) -> Dialogue {
    let mut dialogue = Dialogue::with(false, tls, vec![message(1)]);
    answers
        .iter()
        .for_each(|answer| dialogue.hear(answer.as_bytes()));
    dialogue
}

#[test]
fn peer_offers_tls_and_is_greeted_again_under_it() {
    let dialogue = dialogue(
        false,
        &[message(1)],
        &[GREETING, OFFER, READY, "250-mx.test\r\n250 SIZE 100\r\n"],
    );
    assert_eq!(
        dialogue.sent,
        ["EHLO relay.test\r\n", "STARTTLS\r\n", "EHLO relay.test\r\n"]
    );
    assert_eq!(dialogue.events, ["Secure", "Ready", "Done"]);
    // What it offers now counts: the message is too large for it.
    assert!(dialogue.texts()[0].1.contains("exceeds size limit 100"));
}

#[test]
fn peer_is_to_pass_the_requirement_of_tls_on() {
    let offers = |keyword: &str| format!("250-mx.test\r\n250 {keyword}\r\n");
    let greeted = |in_plain: &str, under_tls: &str, reverse_path: &str| {
        let mut outgoing = message(1);
        outgoing.require_tls = true;
        outgoing.reverse_path = reverse_path.into();
        let in_plain = format!("250-mx.test\r\n250-{in_plain}\r\n250 STARTTLS\r\n");
        let answers = [GREETING, &in_plain, READY, &offers(under_tls)];
        dialogue(false, &[outgoing], &answers)
    };
    let told = greeted("DSN", "REQUIRETLS", "a@c.test");
    assert_eq!(told.sent[3], "MAIL FROM:<a@c.test> REQUIRETLS\r\n");
    // What it says in plain is no promise, and nothing is sent without one.
    let refused = "Failed Message 5.7.30 REQUIRETLS is required, but was not offered by host \
        mx.test[192.0.2.1]";
    let untold = greeted("REQUIRETLS", "DSN", "a@c.test");
    assert_eq!(untold.texts(), [(0, refused.to_owned())]);
    assert_eq!(untold.sent.len(), 3);
    // A report goes all the same (RFC 8689 §5).
    let report = greeted("DSN", "DSN", "");
    assert_eq!(report.sent[3], "MAIL FROM:<>\r\n");
    let mut in_plain = message(1);
    in_plain.require_tls = true;
    let in_plain = dialogue(false, &[in_plain], &[GREETING, &offers("REQUIRETLS")]);
    assert_eq!(in_plain.texts(), [(0, refused.to_owned())]);
}

#[test]
fn peer_offers_no_tls() {
    let dialogue = plays(StartTls::IfOffered, &[GREETING, PLAIN]);
    assert!(dialogue.sent[1].starts_with("MAIL FROM"));
    let dialogue = plays(StartTls::Always, &[GREETING, PLAIN]);
    assert_eq!(dialogue.sent[1], "QUIT\r\n");
    let failure = dialogue.session.failure().unwrap();
    assert!(!failure.permanent && !dialogue.session.is_tls_broken());
    assert_eq!(failure.diagnosis.status, EnhancedStatus::new(4, 7, 4));
    let dialogue = plays(StartTls::Never, &[GREETING, OFFER]);
    assert!(dialogue.sent[1].starts_with("MAIL FROM"));
}

#[test]
fn peer_refuses_starttls_that_it_has_offered() {
    let refusal = "454 4.7.0 TLS not available\r\n";
    let dialogue = plays(StartTls::IfOffered, &[GREETING, OFFER, refusal]);
    assert!(dialogue.sent[2].starts_with("MAIL FROM"));
    let dialogue = plays(StartTls::Always, &[GREETING, OFFER, refusal]);
    assert_eq!(dialogue.sent[2], "QUIT\r\n");
    let failure = dialogue.session.failure().unwrap();
    assert!(
        failure
            .diagnosis
            .text
            .contains("in reply to STARTTLS command")
    );
}

#[test]
fn something_is_said_in_plain_behind_220() {
    let injected = format!("{READY}250 mx.test\r\n");
    let dialogue = plays(StartTls::Always, &[GREETING, OFFER, &injected]);
    assert_eq!(dialogue.events, ["Close"]);
    assert!(dialogue.session.failure().is_some());
}

#[test]
fn handshake_fails() {
    let mut session = plays(StartTls::IfOffered, &[GREETING, OFFER]).session;
    while session.poll_output().is_some() {}
    session.handle_input(Tick(9), READY.as_bytes());
    assert_eq!(session.poll_output(), Some(Output::Secure));
    assert_eq!(session.stage(), Stage::Handshake);
    session.handle_lost(Tick(10), "received fatal alert: HandshakeFailure");
    assert!(session.is_tls_broken());
    let text = &session.failure().unwrap().diagnosis.text;
    assert!(
        text.contains("while performing the TLS handshake: received fatal alert"),
        "{text}"
    );
}

/// Under TLS 1.3 our end of the handshake is over before the peer has seen it.
#[test]
fn peer_goes_before_it_says_a_word_under_tls() {
    for says_a_word in [false, true] {
        let mut session = plays(StartTls::IfOffered, &[GREETING, OFFER]).session;
        session.handle_input(Tick(9), READY.as_bytes());
        session.secured(Tick(10));
        if says_a_word {
            session.handle_input(Tick(11), b"450 4.3.2 not now\r\n");
        }
        session.handle_lost(Tick(12), "received fatal alert: CertificateRequired");
        assert_eq!(session.is_tls_broken(), !says_a_word);
        assert!(!session.failure().unwrap().permanent);
    }
}
