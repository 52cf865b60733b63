use super::*;

#[test]
fn client_starts_tls_and_all_that_was_said_before_is_forgotten() {
    let mut driver = Driver::new(limits(), ServerKind::Smtp);
    driver.session.encryption = Encryption::Offered;
    driver.say("");
    assert!(
        driver
            .say("EHLO c.test\r\n")
            .contains("\r\n250-STARTTLS\r\n")
    );
    assert!(driver.say("STARTTLS now\r\n").starts_with("501 5.5.4"));
    // What is behind STARTTLS was not said under TLS.
    let said = driver.say("STARTTLS\r\nMAIL FROM:<evil@c.test>\r\n");
    assert_eq!(said, "220 2.0.0 Ready to start TLS\r\n");
    assert!(
        driver
            .say("MAIL FROM:<a@c.test>\r\n")
            .starts_with("503 5.5.1 Say hello first")
    );
    let offer = driver.say("EHLO c.test\r\n");
    assert!(
        offer.starts_with("250-") && !offer.contains("-STARTTLS"),
        "{offer}"
    );
    assert!(driver.say("STARTTLS\r\n").starts_with("503 5.5.1"));
    driver.say(format!("{ENVELOPE}DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"));
    assert_eq!(driver.messages[0].0.protocol, "ESMTPS");
}

#[test]
fn client_requires_tls_for_a_message() {
    let content = "DATA\r\nTLS-Required: No\r\n\r\nx\r\n.\r\n";
    let requires = "MAIL FROM:<a@c.test> REQUIRETLS\r\n";
    for (encryption, answer) in [
        (Encryption::Absent, "555 5.5.4"),
        (Encryption::Offered, "530 5.7.0"),
        (Encryption::Active, "250 "),
    ] {
        let mut driver = Driver::new(limits(), ServerKind::Smtp);
        driver.session.encryption = encryption;
        driver.say("");
        let is_secure = encryption == Encryption::Active;
        let offer = driver.say("EHLO c.test\r\n");
        assert_eq!(offer.contains("\r\n250-REQUIRETLS\r\n"), is_secure);
        let said = driver.say(requires);
        assert!(said.starts_with(answer), "{said}");
        if is_secure {
            driver.say(format!(
                "RCPT TO:<b@d.test>\r\n{content}{ENVELOPE}{content}"
            ));
            let kept = driver.messages.iter();
            let kept = kept.map(|(one, _)| (one.envelope.require_tls, one.content.tls_optional));
            assert_eq!(kept.collect::<Vec<_>>(), [(true, true), (false, true)]);
        }
    }
}
