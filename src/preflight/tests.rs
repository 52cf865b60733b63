use super::Grade::{Fail, Warn};
use super::*;
use crate::dkim::{Key, Kind, Signers};

fn signers() -> Signers {
    let key = Key::generate(Kind::Ed25519).and_then(|pem| Key::parse(&pem));
    let mut signers = Signers::default();
    signers.add("example.org", "s1", key.expect("a key"));
    signers
}

/// A header with nothing wrong in it.
const GOOD: &str = "From: Ann <ann@example.org>\r
Date: Fri, 21 Nov 1997 09:55:06 -0600\r
Message-ID: <1234@example.org>\r
To: bob@example.net\r
Subject: news\r
List-Unsubscribe: <mailto:u@example.org>,\r
 <https://example.org/u?id=1>\r
List-Unsubscribe-Post: List-Unsubscribe=One-Click\r
\r
";

const FROM: &str = "From: Ann <ann@example.org>\r\n";
const DATE: &str = "Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n";
const ID: &str = "Message-ID: <1234@example.org>\r\n";
const POST: &str = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";

fn grade(header: &str, rule: Rule) -> Grade {
    let findings = form(header.as_bytes(), &signers());
    let mut of_rule = findings.iter().filter(|finding| finding.rule == rule);
    let finding = of_rule.next().expect("the rule was looked at");
    assert_eq!(
        finding.grade == Grade::Ok,
        finding.remedy.is_empty(),
        "{finding:?}"
    );
    assert!(of_rule.next().is_none(), "{rule:?} says one thing");
    finding.grade
}

#[test]
fn a_good_header_breaks_no_rule() {
    for finding in form(GOOD.as_bytes(), &signers()) {
        assert_eq!(finding.grade, Grade::Ok, "{finding:?}");
    }
}

/// With one part of the good header replaced, a rule has another grade.
fn assert_changes(changes: &[(&str, &str, Rule, Grade)]) {
    for &(old, new, rule, wanted) in changes {
        let header = GOOD.replacen(old, new, 1);
        assert_ne!(header, GOOD);
        assert_eq!(grade(&header, rule), wanted, "{new:?}");
    }
}

#[test]
fn faults_of_fields_that_must_be_there_are_found() {
    let twice = |field: &str| field.repeat(2);
    let two = "From: a@example.org, b@example.org\r\n";
    assert_changes(&[
        (FROM, "", Rule::From, Fail),
        (FROM, &twice(FROM), Rule::From, Fail),
        (FROM, "From: Ann\r\n", Rule::From, Fail),
        (FROM, "From: ann@localhost\r\n", Rule::From, Fail),
        (FROM, "From: ann@gmail.com\r\n", Rule::From, Fail),
        (FROM, two, Rule::From, Warn),
        (FROM, "From: a@example.net\r\n", Rule::Key, Fail),
        (FROM, &twice(FROM), Rule::Key, Fail),
        (DATE, "", Rule::Date, Fail),
        (DATE, &twice(DATE), Rule::Date, Fail),
        (DATE, "Date: yesterday\r\n", Rule::Date, Fail),
        (ID, "", Rule::MessageId, Fail),
        (ID, &twice(ID), Rule::MessageId, Fail),
        (ID, "Message-ID: 1@example.org\r\n", Rule::MessageId, Fail),
        (ID, "Message-ID: <1234>\r\n", Rule::MessageId, Fail),
        (ID, "Message-ID: <1 2@a.test>\r\n", Rule::MessageId, Fail),
    ]);
}

#[test]
fn faults_of_other_fields_are_found() {
    let subject = "Subject: news\r\n";
    let longest = format!("X-Long: {}\r\n", "x".repeat(990));
    let long = format!("X-Long: {}\r\n", "x".repeat(991));
    let link = "<https://example.org/u?id=1>";
    assert_changes(&[
        (subject, "Subject: a\r\nsubject: b\r\n", Rule::Fields, Fail),
        (subject, &longest, Rule::Lines, Grade::Ok),
        (subject, &long, Rule::Lines, Fail),
        (subject, "no field\r\n", Rule::Lines, Fail),
        (subject, "Subject: n\u{e9}\r\n", Rule::Lines, Warn),
        (POST, "", Rule::Unsubscribe, Warn),
        (
            POST,
            "List-Unsubscribe-Post: yes\r\n",
            Rule::Unsubscribe,
            Fail,
        ),
        (link, "<http://example.org/u>", Rule::Unsubscribe, Fail),
    ]);
    let links = GOOD.find("List-Unsubscribe: ").expect("the field");
    let single = format!("{}\r\n", &GOOD[..links]);
    assert_eq!(grade(&single, Rule::Unsubscribe), Warn);
}

#[test]
fn a_message_without_header_is_no_message() {
    for octets in ["", "\r\n", "hello\r\n"] {
        let findings = form(octets.as_bytes(), &signers());
        assert!(
            findings.iter().any(|finding| finding.grade == Fail),
            "{octets:?}"
        );
    }
}

#[test]
fn broken_rules_are_counted_and_added_up() {
    let mut tally = Tally::default();
    tally.count(&form(b"From: a@example.org\r\n\r\n", &signers()));
    let mut sum = tally;
    sum.add(&tally);
    let broken: Vec<(Rule, u64)> = sum.iter().collect();
    assert_eq!(broken, [(Rule::Date, 2), (Rule::MessageId, 2)]);
}
