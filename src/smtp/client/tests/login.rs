use super::*;
use crate::smtp::extension::Mechanism;

const OFFER: &str = "250-mx.test\r\n250 AUTH LOGIN PLAIN\r\n";
const STARTTLS: &str = "250-mx.test\r\n250 STARTTLS\r\n";

fn visit(tls: StartTls, log_in: LogIn) -> Dialogue {
    let mut dialogue = Dialogue::with(false, tls, vec![message(1)]);
    let hello = Hello {
        log_in,
        ..dialogue.session.hello.clone()
    };
    let peer = dialogue.session.peer.clone();
    dialogue.session = ClientSession::new(hello, peer, Waits::default(), Tick(0));
    dialogue.events.clear();
    dialogue.obey();
    dialogue
}

/// As far as AUTH, which says `\0ann\0secret`.
fn says_plain() -> Dialogue {
    let mut dialogue = visit(StartTls::Never, LogIn::Anyway);
    dialogue.hear(GREETING.as_bytes());
    dialogue.hear(OFFER.as_bytes());
    let said = Some(&b"\0ann\0secret"[..]);
    let now = dialogue.now;
    dialogue.session.log_in(now, Mechanism::Plain, said, true);
    dialogue.obey();
    assert_eq!(
        dialogue.sent.last().unwrap(),
        "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n"
    );
    dialogue
}

/// Why there is no mail for this host now: 4.x.x and words.
fn failure(dialogue: &Dialogue) -> String {
    let failure = dialogue.session.failure().expect("a failure");
    assert!(!failure.permanent);
    assert!(dialogue.settled.is_empty());
    format!("{} {}", failure.diagnosis.status, failure.diagnosis.text)
}

#[test]
fn peer_lets_us_in_and_mail_follows() {
    let mut dialogue = says_plain();
    dialogue.hear(b"235 2.7.0 in\r\n");
    assert!(dialogue.sent.last().unwrap().starts_with("MAIL FROM:"));
    assert_eq!(dialogue.events.last().unwrap(), "Ready");
}

#[test]
fn peer_asks_and_is_answered() {
    let mut dialogue = visit(StartTls::Never, LogIn::Anyway);
    dialogue.hear(GREETING.as_bytes());
    dialogue.hear(OFFER.as_bytes());
    let now = dialogue.now;
    dialogue.session.log_in(now, Mechanism::Login, None, false);
    dialogue.obey();
    assert_eq!(dialogue.sent.last().unwrap(), "AUTH LOGIN\r\n");
    // who?
    dialogue.hear(b"334 d2hvPw==\r\n");
    assert_eq!(
        dialogue.events.last().unwrap(),
        "Challenge([119, 104, 111, 63])"
    );
    dialogue.session.answer(now, b"ann", false);
    dialogue.obey();
    assert_eq!(dialogue.sent.last().unwrap(), "YW5u\r\n");
    dialogue.hear(b"334 \r\n");
    assert_eq!(dialogue.events.last().unwrap(), "Challenge([])");
    dialogue.session.answer(now, b"", true);
    dialogue.obey();
    assert_eq!(dialogue.sent.last().unwrap(), "\r\n");
    dialogue.hear(b"235 in\r\n");
    assert_eq!(dialogue.events.last().unwrap(), "Ready");
}

#[test]
fn peer_offers_nothing_that_we_speak() {
    for offer in [
        "250 mx.test\r\n",
        "250-mx.test\r\n250 AUTH\r\n",
        "250-mx.test\r\n250 AUTH GSSAPI CRAM-MD5\r\n",
    ] {
        let mut dialogue = visit(StartTls::Never, LogIn::Anyway);
        dialogue.hear(GREETING.as_bytes());
        dialogue.hear(offer.as_bytes());
        let text = failure(&dialogue);
        assert!(text.starts_with("4.7.8 AUTH with a mechanism"), "{text}");
        assert_eq!(dialogue.sent.last().unwrap(), "QUIT\r\n");
    }
}

#[test]
fn password_is_not_for_a_connection_in_plain() {
    let mut dialogue = visit(StartTls::IfOffered, LogIn::UnderTls);
    dialogue.hear(GREETING.as_bytes());
    dialogue.hear(OFFER.as_bytes());
    let text = failure(&dialogue);
    assert!(
        text.starts_with("4.7.8 AUTH is not said without TLS"),
        "{text}"
    );

    let mut dialogue = visit(StartTls::Always, LogIn::UnderTls);
    for words in [GREETING, STARTTLS, "220 go\r\n", OFFER] {
        dialogue.hear(words.as_bytes());
    }
    assert!(dialogue.events.last().unwrap().starts_with("LogIn("));
}

#[test]
fn peer_refuses() {
    for (refusal, wanted) in [
        (
            "535 5.7.8 bad password\r\n",
            "4.7.8 host mx.test[192.0.2.1] said: 535 5.7.8 bad password",
        ),
        ("535 no\r\n", "4.7.8 "),
        ("454 4.7.0 try later\r\n", "4.7.0 "),
        ("421 4.3.2 closing\r\n", "4.3.2 "),
        ("504 what?\r\n", "4.7.8 "),
        ("354 go\r\n", "4.5.0 "),
    ] {
        let mut dialogue = says_plain();
        dialogue.hear(refusal.as_bytes());
        let text = failure(&dialogue);
        assert!(text.starts_with(wanted), "{refusal}: {text}");
        assert_eq!(dialogue.events.last().unwrap(), "Close");
    }
}

#[test]
fn peer_talks_nonsense_or_goes() {
    for (words, wanted) in [
        ("334 not*base64\r\n", "no base64"),
        (
            "(gone)",
            "lost connection with mx.test[192.0.2.1] while logging in",
        ),
        ("(silence)", "timed out while logging in"),
        ("hello?\r\n", "a reply that is not SMTP"),
    ] {
        let mut dialogue = says_plain();
        dialogue.hear(words.as_bytes());
        let text = failure(&dialogue);
        assert!(text.contains(wanted), "{words}: {text}");
    }
}

#[test]
fn exchange_that_we_give_up_is_cancelled() {
    for (reply, last) in [
        ("501 cancelled\r\n", "QUIT\r\n"),
        ("334 more?\r\n", "QUIT\r\n"),
    ] {
        let mut dialogue = says_plain();
        dialogue.hear(b"334 d2hvPw==\r\n");
        let now = dialogue.now;
        dialogue.session.give_up_login(now, "it is not SCRAM");
        dialogue.obey();
        assert_eq!(dialogue.sent.last().unwrap(), "*\r\n");
        dialogue.hear(reply.as_bytes());
        assert_eq!(dialogue.sent.last().unwrap(), last);
        assert!(failure(&dialogue).ends_with("it is not SCRAM"));
    }
}

#[test]
fn peer_lets_us_in_before_it_has_proved_itself() {
    let mut dialogue = visit(StartTls::Never, LogIn::Anyway);
    dialogue.hear(GREETING.as_bytes());
    dialogue.hear(OFFER.as_bytes());
    let now = dialogue.now;
    let said = Some(&b"n,,n=ann,r=x"[..]);
    dialogue
        .session
        .log_in(now, Mechanism::ScramSha256, said, false);
    dialogue.obey();
    dialogue.hear(b"235 2.7.0 come in\r\n");
    assert!(failure(&dialogue).contains("without having proved"));
}

#[test]
fn handshake_comes_before_the_greeting() {
    let mut dialogue = visit(StartTls::First, LogIn::Never);
    assert_eq!(dialogue.events, ["Secure"]);
    assert_eq!(dialogue.session.stage(), Stage::Greeting);
    dialogue.hear(GREETING.as_bytes());
    // What it offers is of no use any more.
    dialogue.hear(STARTTLS.as_bytes());
    assert_eq!(dialogue.sent[0], "EHLO relay.test\r\n");
    assert!(dialogue.sent[1].starts_with("MAIL FROM:"));
}

#[test]
fn handshake_before_the_greeting_fails() {
    let hello = Hello {
        name: "relay.test".into(),
        own_name: None,
        lmtp: false,
        tls: StartTls::First,
        log_in: LogIn::Never,
    };
    let peer = visit(StartTls::Never, LogIn::Never).session.peer;
    let mut session = ClientSession::new(hello, peer, Waits::default(), Tick(0));
    assert_eq!(session.poll_output(), Some(Output::Secure));
    session.handle_lost(Tick(1), "no TLS there");
    assert!(!session.is_tls_broken(), "there is no going on in plain");
    let failure = session.failure().unwrap();
    assert!(
        failure
            .diagnosis
            .text
            .ends_with("while performing the TLS handshake: no TLS there")
    );
}

proptest! {
    #[test]
    fn peer_says_anything_to_auth(words in prop::collection::vec(anything_a_peer_may_say(), 1..6)) {
        let mut dialogue = says_plain();
        for words in &words {
            dialogue.hear(words);
        }
        dialogue.hear(b"(gone)");
        prop_assert_eq!(dialogue.events.last().map(String::as_str), Some("Close"));
        prop_assert_eq!(dialogue.session.poll_output(), None);
    }
}
