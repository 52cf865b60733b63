//! What is offered (RFC 9051 §6.1.1), before a login and behind it.

use std::fmt::Write as _;

/// What depends on the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// STARTTLS is possible.
    pub tls: bool,
    /// A password may be shown.
    pub passwords: bool,
    /// What AUTHENTICATE may name.
    pub mechanisms: &'static [&'static str],
}

/// Before the login.
#[must_use]
pub fn before(terms: Terms) -> String {
    let mut list = String::from(BEFORE);
    if terms.tls {
        list.push_str(" STARTTLS");
    }
    if !terms.passwords {
        list.push_str(" LOGINDISABLED");
    }
    for mechanism in terms.mechanisms {
        // Writing to a String cannot fail.
        let _ = write!(list, " AUTH={mechanism}");
    }
    list
}

/// Behind it. A message may have `append_limit` octets.
#[must_use]
pub fn after(append_limit: u64, compressed: bool) -> String {
    let compress = if compressed { "" } else { " COMPRESS=DEFLATE" };
    format!("{AFTER}{compress} APPENDLIMIT={append_limit}")
}

/// Literals that come without being asked for are small until it is known whose they are.
const BEFORE: &str = "IMAP4rev1 IMAP4rev2 LITERAL- SASL-IR ID ENABLE";

const AFTER: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE CHILDREN \
UNSELECT UIDPLUS MOVE ESEARCH SEARCHRES WITHIN SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT \
THREAD=REFERENCES LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE CONDSTORE \
QRESYNC BINARY PREVIEW MULTIAPPEND QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE UTF8=ACCEPT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_plain_is_not_asked_for() {
        let list = before(Terms {
            tls: true,
            ..Terms::default()
        });
        assert!(list.ends_with("ENABLE STARTTLS LOGINDISABLED"), "{list}");
        let list = before(Terms {
            tls: false,
            passwords: true,
            mechanisms: &["PLAIN"],
        });
        assert!(list.ends_with("ENABLE AUTH=PLAIN"), "{list}");
    }

    #[test]
    fn what_is_on_is_not_offered_again() {
        assert!(after(10, false).ends_with("COMPRESS=DEFLATE APPENDLIMIT=10"));
        assert!(!after(10, true).contains("COMPRESS"));
    }
}
