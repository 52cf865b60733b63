//! Reply codes (RFC 5321 §4.2) and enhanced status codes (RFC 3463).

use std::fmt;

/// A three-digit SMTP reply code, 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// Requested action okay, completed (RFC 5321 §4.2.3).
    pub const OK: Self = Self(250);

    /// A code from its number; `None` outside 200..=599, which no SMTP server may send.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 200 && code <= 599 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The code as a number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The first digit: 2 done, 3 go on, 4 try later, 5 never (RFC 5321 §4.2.1).
    #[must_use]
    pub const fn class(self) -> u8 {
        (self.0 / 100) as u8
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `class.subject.detail` (RFC 3463 §2). The class is 2, 4 or 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    class: u8,
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// A status whose parts are known when the program is written; a class other than 2, 4 or 5
    /// does not compile in a `const`.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        assert!(matches!(class, 2 | 4 | 5));
        assert!(subject <= 999 && detail <= 999);
        Self {
            class,
            subject,
            detail,
        }
    }

    /// Reads `5.1.1` from the start of `text`, followed by a space or the end; the rest of the
    /// text comes back without the space.
    #[must_use]
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some((word.parse().ok()?, rest))
    }

    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.class
    }

    /// The second number: 1 address, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content,
    /// 7 policy (RFC 3463 §3).
    #[must_use]
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// The third number.
    #[must_use]
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// The same subject and detail under the class of a reply code. When a peer's two codes
    /// disagree (`550 4.7.1`), the basic one wins, because it is the one RFC 5321 defines.
    #[must_use]
    pub const fn under(self, code: ReplyCode) -> Self {
        let class = match code.class() {
            4 => 4,
            5 => 5,
            _ => 2,
        };
        Self { class, ..self }
    }

    /// What a reply without an enhanced code means (RFC 3463: `X.0.0`).
    #[must_use]
    pub const fn from_code(code: ReplyCode) -> Self {
        Self::new(2, 0, 0).under(code)
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl std::str::FromStr for EnhancedStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = |digits: usize| -> Option<u16> {
            let part = parts.next()?;
            let plain = !part.is_empty() && part.len() <= digits;
            (plain && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
        };
        let (class, subject, detail) = (number(1), number(3), number(3));
        match (class, subject, detail, parts.next()) {
            (Some(class @ (2 | 4 | 5)), Some(subject), Some(detail), None) => Ok(Self {
                class: class as u8,
                subject,
                detail,
            }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_code_wins_over_a_disagreeing_enhanced_one() {
        let status: EnhancedStatus = "4.7.1".parse().unwrap();
        let code = ReplyCode::new(550).unwrap();
        assert_eq!(status.under(code).to_string(), "5.7.1");
    }

    #[test]
    fn only_three_numbers_of_class_2_4_5_parse() {
        for bad in [
            "", "5", "5.1", "5.1.1.1", "3.1.1", "5.1.1000", "5..1", "5.a.1", "+5.1.1",
        ] {
            assert!(bad.parse::<EnhancedStatus>().is_err(), "{bad}");
        }
        let (status, rest) = EnhancedStatus::parse_prefix("5.1.10 no such host").unwrap();
        assert_eq!(
            (status, rest),
            (EnhancedStatus::new(5, 1, 10), "no such host")
        );
    }

    proptest::proptest! {
        #[test]
        fn a_status_is_written_as_it_is_read_again(text in "[2-5]\\.[0-9]{0,4}\\.[0-9]{0,4}( [a-z.]{0,5})?") {
            if let Some((status, rest)) = EnhancedStatus::parse_prefix(&text) {
                proptest::prop_assert_eq!(status.to_string().parse(), Ok(status));
                proptest::prop_assert!(text.ends_with(rest));
            }
        }
    }
}
