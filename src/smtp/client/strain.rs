//! Which refusals mean "you are too fast" or "you are too many", and which only look like it.
//!
//! | reply                                    | means |
//! |------------------------------------------|-------|
//! | 4xx whose words speak of connections or sessions | too many connections, wherever it is said |
//! | 4xx X.7.28 (mail flood), 4xx X.4.5 (congestion) | too fast |
//! | 4xx whose words speak of a rate or a number | too fast |
//! | 421 or 4xx with X.7.n to MAIL, DATA, dot | too fast: as clients we did something too much |
//! | the same to the connection or EHLO       | not said: see below |
//! | the same, with words of reputation, lists or DNS | what we are, not what we do |
//! | 4xx that speaks of greylisting           | this message, later: nothing is too fast |
//! | 450 X.7.1 to RCPT without such words     | greylisting, more often than not |
//!
//! Before any mail, a plain `421 4.7.0 Try again later` is what one large provider says to a connection
//! too many, and what others say to an address of which they think little. Which of both the driver
//! knows: where other connections carry mail meanwhile, it was the number of them.

use super::verdict::Sent;
use crate::mail::outcome::Diagnosis;
use crate::wire::status::ReplyCode;

/// What is too much for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strain {
    /// Messages in a time.
    Rate,
    /// Connections at a time.
    Connections,
    /// Policy, said to a connection: perhaps there are too many.
    Unsaid,
}

impl Strain {
    /// What a refusal says that a transaction has met.
    #[must_use]
    pub fn of_refusal(diagnosis: &Diagnosis) -> Self {
        match has(&words(diagnosis), TOO_MANY) {
            true => Self::Connections,
            false => Self::Rate,
        }
    }
}

/// Of what a refusal complains that says how much comes, and not what.
pub(super) fn strain(sent: Sent, code: ReplyCode, diagnosis: &Diagnosis) -> Option<Strain> {
    if code.class() != 4 {
        return None;
    }
    let words = words(diagnosis);
    if has(&words, GREY) {
        return None;
    }
    if has(&words, TOO_MANY) {
        return Some(Strain::Connections);
    }
    let status = (diagnosis.status.subject(), diagnosis.status.detail());
    if status == MAIL_FLOOD || status == CONGESTED || has(&words, TOO_MUCH) {
        return (status != TOO_MANY_RECIPIENTS).then_some(Strain::Rate);
    }
    let is_policy = status.0 == POLICY;
    match sent {
        // Of one recipient anything may be said.
        Sent::Rcpt(_) => None,
        Sent::Connection | Sent::Hello { .. } | Sent::Helo => {
            (is_policy && !has(&words, STANDING)).then_some(Strain::Unsaid)
        }
        Sent::Mail | Sent::Data | Sent::Dot | Sent::DotFor(_) => is_policy.then_some(Strain::Rate),
        Sent::StartTls
        | Sent::Handshake
        | Sent::Auth { .. }
        | Sent::Cancel
        | Sent::Reset
        | Sent::LoneDot
        | Sent::Quit => None,
    }
}

fn words(diagnosis: &Diagnosis) -> String {
    let words = diagnosis.reply.as_deref().unwrap_or_default();
    words.to_ascii_lowercase()
}

fn has(words: &str, known: &[&str]) -> bool {
    known.iter().any(|word| words.contains(word))
}

/// Words of "too many connections".
const TOO_MANY: &[&str] = &[
    "too many connections",
    "too many concurrent",
    "too many open connections",
    "too many sessions",
    "too many simultaneous",
    "concurrent connections",
    "concurrent sessions",
    "simultaneous connections",
    "simultaneous sessions",
    "number of connections",
    "connection limit",
    "connection rate",
    "trop de connexions",
];
/// Words about who we are to a host: fewer connections would change nothing.
const STANDING: &[&str] = &[
    "complaint",
    "reputation",
    "blocked",
    "blacklist",
    "blocklist",
    "block list",
    "denylist",
    "listed",
    "reverse dns",
    "rdns",
    "ptr",
];
/// Words of "too much", as large providers and common servers say it.
const TOO_MUCH: &[&str] = &[
    "too many",
    "too fast",
    "too quickly",
    "too frequent",
    "too much mail",
    "rate limit",
    "rate-limit",
    "ratelimit",
    "throttl",
    "unusual rate",
    "sending rate",
    "maximum number of",
    "unexpected volume",
    "limit exceeded",
    "exceeded the limit",
    "slow down",
];
const GREY: &[&str] = &[
    "greylist",
    "graylist",
    "grey-list",
    "gray-list",
    "grey list",
];
/// RFC 3463 §3.8: security or policy.
const POLICY: u16 = 7;
/// X.7.28: mail flood detected (the registry of RFC 5248).
const MAIL_FLOOD: (u16, u16) = (7, 28);
/// RFC 3463 §3.5: mail system congestion.
const CONGESTED: (u16, u16) = (4, 5);
/// RFC 3463 §3.6: of one transaction, which has an answer of its own.
const TOO_MANY_RECIPIENTS: (u16, u16) = (5, 3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::client::reply::ReplyReader;

    fn strained(sent: Sent, line: &str) -> Option<Strain> {
        let (mut reader, octets) = (ReplyReader::default(), format!("{line}\r\n"));
        let mut input = octets.as_bytes();
        let code = reader.next(&mut input).unwrap().unwrap();
        let reply = reader.reply(code);
        let diagnosis = Diagnosis {
            status: reply.status,
            text: "".into(),
            reply: Some(reply.text),
            remote_mta: None,
        };
        strain(sent, code, &diagnosis)
    }

    #[test]
    fn complaints_of_how_much_comes_are_told_from_others() {
        use Strain::{Connections, Rate};
        let lines = [
            (Sent::Dot, "421 4.7.28 an unusual rate of mail", Some(Rate)),
            (Sent::Mail, "451 4.7.500 Server busy", Some(Rate)),
            (Sent::Mail, "450 4.7.1 you send too fast", Some(Rate)),
            (Sent::Rcpt(0), "452 4.7.0 throttled, slow down", Some(Rate)),
            (Sent::Rcpt(0), "450 4.4.5 congested", Some(Rate)),
            (Sent::Data, "421 Too many messages", Some(Rate)),
            // As one large provider says it to MAIL.
            (
                Sent::Mail,
                "451 4.7.652 The mail server has exceeded the maximum number of connections.",
                Some(Connections),
            ),
            // Not those.
            (Sent::Rcpt(0), "450 4.7.1 try again later", None),
            (
                Sent::Rcpt(0),
                "450 4.2.0 Greylisted, too many in 300 s",
                None,
            ),
            (Sent::Mail, "451 4.7.1 Greylisting in action", None),
            (Sent::Rcpt(0), "452 4.2.2 mailbox full", None),
            (Sent::Rcpt(1), "452 4.5.3 too many recipients", None),
            (Sent::Dot, "451 4.3.0 not now", None),
            (Sent::Dot, "550 5.7.28 rate limit", None),
            (Sent::Reset, "421 4.7.0 bye", None),
        ];
        for (sent, line, is) in lines {
            assert_eq!(strained(sent, line), is, "{line}");
        }
    }

    /// `src/bounces/default.toml` says what a refusal is called, and this file what is done about it: of haste
    /// and of greylisting both have to think alike.
    #[test]
    fn what_rules_call_throttled_slows_down_and_what_they_call_greylisting_does_not() {
        // Of one transaction, and of one mailbox: others take as much as before.
        let not_of_us = ["452 4.5.3 ", "450 4.2.1 "];
        let text = include_str!("../../bounces/default.toml");
        let rules: toml::Table = toml::from_str(text).unwrap();
        let mut seen = 0;
        for rule in rules["rule"].as_array().unwrap() {
            let slows_down = match rule["class"].as_str() {
                Some("throttled") => true,
                Some("greylist") => false,
                _ => continue,
            };
            for example in rule["examples"].as_array().unwrap() {
                let line = example.as_str().unwrap();
                let is_of_us = !not_of_us.iter().any(|known| line.starts_with(known));
                let is = strained(Sent::Rcpt(0), line).is_some();
                assert_eq!(is, slows_down && is_of_us, "{line}");
                seen += 1;
            }
        }
        assert!(seen >= 8, "{seen}");
    }

    /// What large providers and common servers say to a connection before any mail.
    #[test]
    fn a_refused_connection_was_one_too_many_only_where_that_is_said_or_may_be_meant() {
        use Strain::{Connections, Rate, Unsaid};
        let lines = [
            (
                "421 4.3.2 too many concurrent connections",
                Some(Connections),
            ),
            (
                "421 4.3.2 The maximum number of concurrent connections has exceeded a limit",
                Some(Connections),
            ),
            (
                "421 4.7.0 mx.test Error: too many connections from 192.0.2.1",
                Some(Connections),
            ),
            (
                "421 RP-003 the IP has exceeded the connection limit allowed",
                Some(Connections),
            ),
            (
                "421 Connection refused, too many sessions from 192.0.2.1. IB007",
                Some(Connections),
            ),
            (
                "421 mx.test Trop de connexions, veuillez verifier votre configuration",
                Some(Connections),
            ),
            (
                "421 RP-001 the IP has exceeded the rate limit allowed",
                Some(Rate),
            ),
            ("421 4.7.28 an unusual rate of unsolicited mail", Some(Rate)),
            (
                "421 4.7.0 [TSS04] temporarily deferred due to unexpected volume or user complaints",
                Some(Rate),
            ),
            (
                "421 4.7.0 Try again later, closing connection.",
                Some(Unsaid),
            ),
            ("451 4.7.1 please try again later", Some(Unsaid)),
            // Fewer connections would change nothing.
            ("421 4.7.0 deferred for complaints", None),
            ("421 4.7.1 Service unavailable; client blocked", None),
            ("450 4.7.1 192.0.2.1 has a poor reputation", None),
            ("421 4.7.1 Intrusion prevention active: listed", None),
            ("421 4.7.25 the address has no PTR record", None),
            ("421 4.3.2 service not available", None),
            ("421 Server temporarily unavailable. Try again later.", None),
            ("554 5.7.1 too many complaints", None),
        ];
        for (line, is) in lines {
            for sent in [Sent::Connection, Sent::Hello { lmtp: false }, Sent::Helo] {
                assert_eq!(strained(sent, line), is, "{line}");
            }
        }
    }

    #[test]
    fn what_a_transaction_has_met_is_told_apart_by_its_words() {
        let of = |reply: &str| {
            Strain::of_refusal(&Diagnosis {
                status: crate::wire::status::EnhancedStatus::new(4, 7, 0),
                text: "".into(),
                reply: Some(reply.into()),
                remote_mta: None,
            })
        };
        assert_eq!(
            of("451 4.7.652 Maximum number of Connections"),
            Strain::Connections
        );
        assert_eq!(of("421 4.7.28 an unusual rate"), Strain::Rate);
    }
}
