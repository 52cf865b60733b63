//! Refusals in words: of hosts that send back a letter and no part for programs.

use super::{Action, Fate, UNKNOWN, printable};
use crate::wire::status::{EnhancedStatus, ReplyCode};

/// The first reply of a host in a letter: `550 5.1.1 no such user`, at the beginning of a line or
/// behind `said:`.
pub(super) fn find(text: &str) -> Option<Fate> {
    let reply = text.lines().take(LINES_MAX).find_map(reply_in)?;
    let status = status_of(reply)?;
    Some(Fate {
        status,
        reply: Some(printable(reply)),
        ..without_a_reply()
    })
}

/// Somebody failed, and nobody says why.
pub(super) fn without_a_reply() -> Fate {
    Fate {
        action: Action::Failed,
        status: UNKNOWN,
        reply: None,
        words: None,
        remote_mta: None,
        original_recipient: None,
        final_recipient: None,
    }
}

/// The status of a reply: its own, or what its code comes to.
pub(super) fn status_of(reply: &str) -> Option<EnhancedStatus> {
    let code = reply.get(..3)?.parse().ok().and_then(ReplyCode::new);
    let rest = reply.get(4..).unwrap_or_default();
    let own = EnhancedStatus::parse_prefix(rest).map(|(status, _)| status);
    own.or_else(|| code.map(EnhancedStatus::from_code))
}

fn reply_in(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if is_reply(line) {
        return Some(line);
    }
    let behind = |mark: &str| {
        let at = line.find(mark)? + mark.len();
        let rest = line[at..].trim_start();
        is_reply(rest).then_some(rest)
    };
    // A number in the middle of a sentence may be anything; behind a colon, with a status of its own,
    // it is a reply.
    MARKS.iter().find_map(|mark| behind(mark)).or_else(|| {
        let ends = line.match_indices(": ").map(|(at, mark)| at + mark.len());
        let mut rests = ends.map(|at| &line[at..]);
        rests.find(|rest| is_reply(rest) && EnhancedStatus::parse_prefix(&rest[4..]).is_some())
    })
}

/// A refusal for good: 5yz and a blank or a hyphen.
fn is_reply(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [b'5', b'0'..=b'5', b'0'..=b'9', b' ' | b'-', ..]
    )
}

/// What stands before a reply in the letters of common servers.
const MARKS: [&str; 4] = [
    "said: ",
    "responded: ",
    "response was: ",
    "Remote host said: ",
];
/// Lines of a letter that are looked at.
const LINES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_found_in_a_letter_and_a_number_is_none() {
        for (text, reply) in [
            (
                "Hi. This is the qmail-send program.\n\n<b@d.test>:\nRemote host said: 550 no user\n",
                Some("550 no user"),
            ),
            (
                "  550-5.1.1 first\n550 5.1.1 second",
                Some("550-5.1.1 first"),
            ),
            (
                "host mx.d.test[192.0.2.1] said: 552 5.2.2 full",
                Some("552 5.2.2 full"),
            ),
            ("error: 550 5.7.1 go away", Some("550 5.7.1 go away")),
            ("Your invoice: 550 crowns", None),
            ("We have 550 5.1.1 things", None),
            ("450 4.2.1 later", None),
            ("", None),
        ] {
            let found = find(text);
            let found = found.as_ref().and_then(|fate| fate.reply.as_deref());
            assert_eq!(found, reply, "{text}");
        }
        assert_eq!(status_of("550 no user"), Some(EnhancedStatus::new(5, 0, 0)));
        assert_eq!(status_of("55"), None);
    }
}
