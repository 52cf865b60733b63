use super::*;

#[test]
fn client_names_too_many_recipients() {
    let mut driver = greeted();
    let said = driver.say(format!(
        "{ENVELOPE}{}DATA\r\n.\r\n",
        "RCPT TO:<c@d.test>\r\n".repeat(3)
    ));
    assert_eq!(
        codes(&said)[1..],
        [
            "250 2.1.5",
            "250 2.1.5",
            "250 2.1.5",
            "452 4.5.3",
            "354",
            "250 2.0.0"
        ]
    );
    assert_eq!(driver.messages[0].0.envelope.recipients.len(), 3);
}

#[test]
fn size_counts_when_it_is_said() {
    let mut driver = greeted();
    let said = driver.say("MAIL FROM:<a@c.test> SIZE=1001\r\nMAIL FROM:<a@c.test> SIZE=1000\r\n");
    assert_eq!(codes(&said), ["552 5.3.4", "250 2.1.0"]);
    assert_eq!(driver.session.announced_size(), 1000);
}

#[test]
fn client_errs_until_it_is_sent_away() {
    let mut driver = greeted();
    let said = driver.say("JUNK\r\n".repeat(7));
    assert_eq!(codes(&said)[4], "421 4.7.0");
    assert_eq!(codes(&said).len(), 5);
    assert!(driver.closed);
    // A message that got through makes good for what came before.
    let mut driver = greeted();
    driver.say("JUNK\r\n".repeat(4));
    driver.say(format!("{ENVELOPE}DATA\r\n.\r\n"));
    assert_eq!(codes(&driver.say("JUNK\r\n")), ["500 5.5.2"]);
}

#[test]
fn client_sends_transactions_without_end() {
    let mut driver = greeted();
    let said = driver.say("MAIL FROM:<a@c.test>\r\nRSET\r\n".repeat(11));
    assert_eq!(codes(&said)[20..], ["421 4.7.0"]);
    assert!(driver.closed);
}

#[test]
fn lines_are_long_garbled_or_badly_ended() {
    let just = format!("NOOP {}\r\n", "x".repeat(95));
    let over = format!("NOOP {}\r\n", "x".repeat(96));
    let endless = format!("NOOP {}\r\n", "x".repeat(50_000));
    for (line, code) in [
        (just.as_str(), "250 2.0.0"),
        (&over, "500 5.5.2"),
        (&endless, "500 5.5.2"),
        ("NOOP\n", "500 5.5.2"),
        ("NO\0OP\r\n", "500 5.5.2"),
        ("NOOP\rNOOP\r\n", "500 5.5.2"),
        ("\r\n", "500 5.5.2"),
        ("NOOP   \r\n", "250 2.0.0"),
        ("DATA now\r\n", "501 5.5.4"),
        ("RSET now\r\n", "501 5.5.4"),
    ] {
        let mut driver = greeted();
        driver.say(ENVELOPE);
        assert_eq!(
            codes(&driver.say(format!("{line}NOOP\r\n"))),
            [code, "250 2.0.0"],
            "{line:.20}"
        );
    }
    assert_eq!(codes(&mending().say("NOOP\n")), ["250 2.0.0"]);
}

#[test]
fn a_line_without_end_ends_the_session() {
    let mut driver = greeted();
    let said = driver.say("x".repeat(80_000));
    assert_eq!(codes(&said), ["500 5.5.2"]);
    assert!(driver.closed);
}
