use super::*;

const EHLO: &str = "EHLO c.test\r\n";

fn driver() -> Driver {
    let mut driver = Driver::new(limits(), ServerKind::Submission);
    driver.session = ServerSession::new(
        Rc::new(limits()),
        ServerKind::Submission,
        IpAddr::from([192, 0, 2, 1]),
        false,
        Encryption::Active,
    );
    driver.session.offer_auth(&["PLAIN", "LOGIN"]);
    driver.say("");
    driver
}

#[test]
fn client_logs_in_and_may_send_to_anybody() {
    let mut driver = driver();
    assert!(driver.say(EHLO).contains("\r\n250-AUTH PLAIN LOGIN\r\n"));
    assert!(!driver.session.may_relay());
    // \0ann\0secret
    let said = driver.say("AUTH plain AGFubgBzZWNyZXQ=\r\n");
    assert_eq!(said, "235 2.7.0 Authentication successful\r\n");
    assert!(driver.session.may_relay());
    assert_eq!(driver.session.user().map(|user| &**user), Some("ann"));
    assert!(
        driver
            .say("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n")
            .starts_with("503 5.5.1")
    );
    driver.say("RSET\r\n");
    let said = driver.say(format!(
        "{}DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n",
        ENVELOPE.replace("c.test>", "c.test> AUTH=<>")
    ));
    assert!(said.contains("250 2.0.0 Ok: queued"), "{said}");
    assert_eq!(driver.messages[0].0.protocol, "ESMTPSA");
}

#[test]
fn client_is_asked_and_answers() {
    let mut driver = driver();
    driver.say(EHLO);
    // who?
    assert_eq!(driver.say("AUTH LOGIN\r\n"), "334 d2hvPw==\r\n");
    assert!(driver.say("*\r\n").starts_with("501 5.7.0"));
    driver.say("AUTH LOGIN\r\n");
    assert!(driver.say("no base64!\r\n").starts_with("501 5.5.2"));
    driver.say("AUTH LOGIN\r\n");
    assert!(driver.say("YW5uOndyb25n\r\n").starts_with("535 5.7.8"));
    driver.say("AUTH LOGIN\r\n");
    // ann:secret
    assert!(driver.say("YW5uOnNlY3JldA==\r\n").starts_with("235 2.7.0"));
}

#[test]
fn auth_comes_at_the_wrong_time_or_in_the_wrong_way() {
    let mut driver = driver();
    assert!(driver.say("AUTH PLAIN =\r\n").starts_with("503 5.5.1"));
    driver.say(EHLO);
    assert!(driver.say("AUTH\r\n").starts_with("501 5.5.4"));
    assert!(driver.say("AUTH CRAM-MD5\r\n").starts_with("504 5.5.4"));
    assert!(driver.say("AUTH PLAIN ????\r\n").starts_with("501 5.5.2"));
    let mut driver = self::driver();
    driver.say(EHLO);
    driver.say("MAIL FROM:<a@c.test>\r\n");
    assert!(
        driver
            .say("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n")
            .starts_with("503 5.5.1")
    );
    driver.session.offer_auth(&[]);
    driver.say("RSET\r\n");
    assert!(
        driver
            .say("MAIL FROM:<a@c.test> AUTH=<>\r\n")
            .starts_with("555 5.5.4")
    );
    assert!(
        driver
            .say("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n")
            .starts_with("503 5.5.1")
    );
}

#[test]
fn a_first_word_may_be_longer_than_other_lines_and_not_without_end() {
    let mut driver = driver();
    driver.say(EHLO);
    let long = |octets: usize| format!("AUTH PLAIN {}\r\n", "A".repeat(octets));
    assert!(driver.say(long(12_000)).starts_with("535 5.7.8"));
    assert!(driver.say(long(13_000)).starts_with("500 5.5.2"));
    let noop = format!("NOOP {}\r\n", "A".repeat(12_000));
    assert!(driver.say(noop).starts_with("500 5.5.2"));
}

#[test]
fn an_answer_without_end_ends_the_session() {
    let mut driver = driver();
    driver.say(EHLO);
    driver.say("AUTH LOGIN\r\n");
    driver.say("A".repeat(20_000));
    assert!(driver.closed);
}
