//! Which refusals mean "you are too fast" or "you are too many", and which only look like it.
//!
//! | reply                                    | means |
//! |------------------------------------------|-------|
//! | 4xx X.7.28 (mail flood), 4xx X.4.5 (congestion) | too fast |
//! | 421 or 4xx with X.7.n to MAIL, DATA, dot | too fast: as clients we did something too much |
//! | 4xx whose words speak of a rate or a number | too fast |
//! | 4xx that speaks of greylisting           | this message, later: nothing is too fast |
//! | 450 X.7.1 to RCPT without such words     | greylisting, more often than not |
//! | anything of this to the connection or EHLO | too many connections |

use super::verdict::Sent;
use crate::mail::outcome::Diagnosis;
use crate::wire::status::ReplyCode;

/// True when a refusal complains of how much comes, and not of what comes.
pub(super) fn is_strained(sent: Sent, code: ReplyCode, diagnosis: &Diagnosis) -> bool {
    if code.class() != 4 {
        return false;
    }
    let words = diagnosis.reply.as_deref().unwrap_or_default();
    let words = words.to_ascii_lowercase();
    let has = |known: &[&str]| known.iter().any(|word| words.contains(word));
    if has(GREY) {
        return false;
    }
    let status = (diagnosis.status.subject(), diagnosis.status.detail());
    if status == MAIL_FLOOD || status == CONGESTED || has(TOO_MUCH) {
        return status != TOO_MANY_RECIPIENTS;
    }
    let is_policy = status.0 == POLICY;
    match sent {
        // Of one recipient anything may be said.
        Sent::Rcpt(_) => false,
        Sent::Connection | Sent::Hello { .. } | Sent::Helo => is_policy,
        Sent::Mail | Sent::Data | Sent::Dot | Sent::DotFor(_) => is_policy,
        Sent::StartTls
        | Sent::Handshake
        | Sent::Auth { .. }
        | Sent::Cancel
        | Sent::Reset
        | Sent::LoneDot
        | Sent::Quit => false,
    }
}

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
    "concurrent connections",
    "connection limit",
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

    fn strained(sent: Sent, line: &str) -> bool {
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
        is_strained(sent, code, &diagnosis)
    }

    #[test]
    fn complaints_of_how_much_comes_are_told_from_others() {
        let lines = [
            (Sent::Dot, "421 4.7.28 an unusual rate of mail", true),
            (Sent::Mail, "451 4.7.500 Server busy", true),
            (Sent::Mail, "450 4.7.1 you send too fast", true),
            (Sent::Rcpt(0), "452 4.7.0 throttled, slow down", true),
            (Sent::Rcpt(0), "450 4.4.5 congested", true),
            (Sent::Data, "421 Too many messages", true),
            (
                Sent::Connection,
                "421 4.3.2 too many concurrent connections",
                true,
            ),
            (Sent::Connection, "421 4.7.0 deferred for complaints", true),
            // Not those.
            (Sent::Connection, "421 4.3.2 service not available", false),
            (Sent::Connection, "554 5.7.1 too many complaints", false),
            (Sent::Rcpt(0), "450 4.7.1 try again later", false),
            (
                Sent::Rcpt(0),
                "450 4.2.0 Greylisted, too many in 300 s",
                false,
            ),
            (Sent::Mail, "451 4.7.1 Greylisting in action", false),
            (Sent::Rcpt(0), "452 4.2.2 mailbox full", false),
            (Sent::Rcpt(1), "452 4.5.3 too many recipients", false),
            (Sent::Dot, "451 4.3.0 not now", false),
            (Sent::Dot, "550 5.7.28 rate limit", false),
            (Sent::Reset, "421 4.7.0 bye", false),
        ];
        for (sent, line, is) in lines {
            assert_eq!(strained(sent, line), is, "{line}");
        }
    }
}
