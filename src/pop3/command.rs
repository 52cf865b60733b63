//! Command lines: a keyword, and what stands behind it.

/// A keyword, known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// RFC 1939 §7
    User,
    /// RFC 1939 §7
    Pass,
    /// RFC 1939 §7
    Apop,
    /// RFC 5034
    Auth,
    /// RFC 2595 §4
    Stls,
    /// RFC 2449 §5
    Capa,
    /// RFC 6856 §2
    Utf8,
    /// RFC 6856 §3
    Lang,
    /// RFC 1939 §5
    Stat,
    /// RFC 1939 §5
    List,
    /// RFC 1939 §7
    Uidl,
    /// RFC 1939 §5
    Retr,
    /// RFC 1939 §7
    Top,
    /// RFC 1939 §5
    Dele,
    /// RFC 1939 §5
    Rset,
    /// RFC 1939 §5
    Noop,
    /// RFC 1939 §4, §6
    Quit,
    /// Not ours.
    Unknown,
}

impl Verb {
    /// All that are known.
    pub const ALL: [Self; 17] = [
        Self::User,
        Self::Pass,
        Self::Apop,
        Self::Auth,
        Self::Stls,
        Self::Capa,
        Self::Utf8,
        Self::Lang,
        Self::Stat,
        Self::List,
        Self::Uidl,
        Self::Retr,
        Self::Top,
        Self::Dele,
        Self::Rset,
        Self::Noop,
        Self::Quit,
    ];

    /// As it is written; any case means the same (RFC 1939 §3).
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Pass => "PASS",
            Self::Apop => "APOP",
            Self::Auth => "AUTH",
            Self::Stls => "STLS",
            Self::Capa => "CAPA",
            Self::Utf8 => "UTF8",
            Self::Lang => "LANG",
            Self::Stat => "STAT",
            Self::List => "LIST",
            Self::Uidl => "UIDL",
            Self::Retr => "RETR",
            Self::Top => "TOP",
            Self::Dele => "DELE",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::Unknown => "",
        }
    }
}

/// A line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// What is wanted.
    pub verb: Verb,
    /// All behind the blank that follows the keyword, blanks included: a password may have some.
    pub rest: &'a [u8],
}

impl<'a> CommandLine<'a> {
    /// Reads a line without its end.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        let end = line.iter().position(|&octet| octet == b' ');
        let (word, rest) = match end {
            Some(end) => (&line[..end], &line[end + 1..]),
            None => (line, &line[line.len()..]),
        };
        let named = |verb: &Verb| word.eq_ignore_ascii_case(verb.keyword().as_bytes());
        let verb = Verb::ALL.into_iter().find(named).unwrap_or(Verb::Unknown);
        Self { verb, rest }
    }

    /// The arguments, for commands whose arguments have no blanks. More than three count as three.
    #[must_use]
    pub fn arguments(&self) -> Vec<&'a [u8]> {
        let words = self.rest.split(|&octet| octet == b' ');
        words.filter(|word| !word.is_empty()).take(3).collect()
    }
}

/// A decimal number of at most nine digits; no sign, no blanks.
#[must_use]
pub fn number(word: &[u8]) -> Option<u32> {
    let is_number = (1..=NUMBER_DIGITS_MAX).contains(&word.len());
    if !is_number || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// What APOP sends: sixteen octets in lower-case hexadecimal (RFC 1939 §7).
#[must_use]
pub fn digest(word: &[u8]) -> Option<[u8; 16]> {
    let mut octets = [0; 16];
    if word.len() != 2 * octets.len() {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(word.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if pair.starts_with('+') {
            return None;
        }
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(octets)
}

/// Leading zeros are no fault as long as the number is one that a mailbox could have.
const NUMBER_DIGITS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_in_any_case_and_blanks_are_kept() {
        let line = CommandLine::parse(b"pass  two words ");
        assert_eq!((line.verb, line.rest), (Verb::Pass, &b" two words "[..]));
        assert_eq!(CommandLine::parse(b"Stat").verb, Verb::Stat);
        assert_eq!(CommandLine::parse(b"STATS").verb, Verb::Unknown);
        assert_eq!(CommandLine::parse(b"").verb, Verb::Unknown);
        assert_eq!(CommandLine::parse(b" STAT").verb, Verb::Unknown);
        let words = CommandLine::parse(b"TOP  1  2 ").arguments();
        assert_eq!(words, [b"1", b"2"]);
        assert_eq!(CommandLine::parse(b"LIST ").arguments(), [b""; 0]);
    }

    #[test]
    fn numbers_have_digits_and_nothing_else() {
        assert_eq!(number(b"17"), Some(17));
        assert_eq!(number(b"007"), Some(7));
        assert_eq!(number(b"999999999"), Some(999_999_999));
        for bad in [
            "",
            "-1",
            "+1",
            "1x",
            "0x1",
            "1000000000",
            "18446744073709551617",
            "\u{661}",
        ] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn digests_are_sixteen_octets() {
        let text = b"c4c9334bac560ecc979e58001b3e22fb";
        assert_eq!(
            digest(text).map(|octets| octets[..2].to_vec()),
            Some(vec![0xc4, 0xc9])
        );
        assert_eq!(digest(&text[1..]), None);
        assert_eq!(digest(b"+4c9334bac560ecc979e58001b3e22fb"), None);
        assert_eq!(digest(b"g4c9334bac560ecc979e58001b3e22fb"), None);
    }
}
