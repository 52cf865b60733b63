//! Reverse-paths, forward-paths, mailboxes and domains (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! Parsed once, where the octets arrive, into types that cannot be wrong; nothing behind the
//! session parses an address again.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Octets in a domain name (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;
/// Octets in a path, brackets included (RFC 5321 §4.5.3.1.3 says 256; longer local parts are in
/// use, so be liberal: 64 + 1 + 255 + 2, and as much again).
pub const PATH_OCTETS_MAX: usize = 640;

/// A domain name: lower-cased, A-labels or (under SMTPUTF8) U-labels as they were written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

/// What follows the `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A name to look up.
    Name(&'a str),
    /// An address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
    Literal(IpAddr),
}

/// `local-part@domain`, kept as one string: the local part as it was written (quotes included,
/// because they must be there again on relay), the domain lower-cased.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    /// Shared: a message on its way out names the same mailboxes as it did when it came.
    text: Arc<str>,
    at: u16,
}

/// Whom a bounce goes to: nobody (`<>`) or a mailbox (RFC 5321 §4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReversePath(pub Option<Mailbox>);

/// Why an address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// Not of the grammar.
    Syntax,
    /// Longer than [`PATH_OCTETS_MAX`], or its domain than [`DOMAIN_OCTETS_MAX`].
    TooLong,
    /// Has octets over 127 that are not valid UTF-8.
    NotUtf8,
}

impl Domain {
    /// Checks and lower-cases a domain name. U-labels pass only where `utf8` (SMTPUTF8) is true.
    pub fn parse(raw: &[u8], utf8: bool) -> Result<Self, BadPath> {
        let text = Self::check(raw, utf8)?;
        Ok(Self(text.into_owned().into_boxed_str()))
    }

    /// Checks a domain name and gives it in lower case, which is how most are written.
    fn check(raw: &[u8], utf8: bool) -> Result<Cow<'_, str>, BadPath> {
        if raw.is_empty() {
            return Err(BadPath::Syntax);
        }
        if raw.len() > DOMAIN_OCTETS_MAX {
            return Err(BadPath::TooLong);
        }
        // Measured as it is kept: some letters are longer in lower case.
        let text = lowered(std::str::from_utf8(raw).map_err(|_| BadPath::NotUtf8)?);
        if text.len() > DOMAIN_OCTETS_MAX {
            return Err(BadPath::TooLong);
        }
        let plain = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || (utf8 && !c.is_ascii())
        };
        if !text.chars().all(plain)
            || text
                .split('.')
                .any(|label| label.is_empty() || label.len() > 63)
        {
            return Err(BadPath::Syntax);
        }
        Ok(text)
    }

    /// The name, lower-cased.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Mailbox {
    /// Parses `local-part@domain` (no brackets). Octets over 127 pass only where `utf8` is true.
    pub fn parse(raw: &[u8], utf8: bool) -> Result<Self, BadPath> {
        if raw.len() > PATH_OCTETS_MAX {
            return Err(BadPath::TooLong);
        }
        let text = std::str::from_utf8(raw).map_err(|_| BadPath::NotUtf8)?;
        // A quoted local part may contain more of them; a domain never does.
        let at = text.rfind('@').ok_or(BadPath::Syntax)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        if local.len() > LOCAL_PART_OCTETS_MAX {
            return Err(BadPath::TooLong);
        }
        if !is_local_part(local, utf8) {
            return Err(BadPath::Syntax);
        }
        let domain = match literal(domain) {
            Some(address) => address.map(|_| lowered(domain))?,
            None => Domain::check(domain.as_bytes(), utf8)?,
        };
        let text = match domain {
            Cow::Borrowed(_) => Arc::from(text),
            Cow::Owned(domain) => Arc::from(format!("{local}@{domain}")),
        };
        Ok(Self {
            text,
            at: u16::try_from(at).map_err(|_| BadPath::TooLong)?,
        })
    }

    /// `local-part@domain`, fit for a command line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same, to be kept.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The local part as it was written, quotes included.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// What follows the last `@`, lower-cased; for a literal with its brackets.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// Is it the postmaster, in whatever case, of this domain (RFC 5321 §4.5.1)?
    #[must_use]
    pub fn is_postmaster_of(&self, domain: &str) -> bool {
        let local = &self.text[..usize::from(self.at)];
        local.eq_ignore_ascii_case("postmaster") && self.domain().eq_ignore_ascii_case(domain)
    }

    /// The domain as a name or an address.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        match literal(self.domain()) {
            Some(Ok(address)) => Host::Literal(address),
            // What is no address did not get through `parse`.
            Some(Err(_)) | None => Host::Name(self.domain()),
        }
    }

    /// True when it can only travel under SMTPUTF8.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("", Mailbox::as_str))
    }
}

/// A name in lower case.
fn lowered(name: &str) -> Cow<'_, str> {
    let is_low = |octet: u8| octet.is_ascii() && !octet.is_ascii_uppercase();
    if name.bytes().all(is_low) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(name.to_lowercase())
    }
}

/// The path without a source route (`@a,@b:user@c`), which RFC 5321 §3.6.1 wants ignored.
#[must_use]
pub fn strip_source_route(path: &[u8]) -> &[u8] {
    if !path.starts_with(b"@") {
        return path;
    }
    memchr::memchr(b':', path).map_or(path, |colon| &path[colon + 1..])
}

/// The address in an address literal; `None` for what has no brackets.
fn literal(domain: &str) -> Option<Result<IpAddr, BadPath>> {
    let inside = domain.strip_prefix('[')?;
    let address = inside.strip_suffix(']').and_then(|inside| {
        let six = inside
            .get(..IPV6_TAG.len())
            .is_some_and(|tag| tag.eq_ignore_ascii_case(IPV6_TAG));
        if six {
            inside[IPV6_TAG.len()..]
                .parse::<Ipv6Addr>()
                .ok()
                .map(IpAddr::V6)
        } else {
            inside.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
    });
    Some(address.ok_or(BadPath::Syntax))
}

/// Dot-string or quoted-string (RFC 5321 §4.1.2). As Postfix does, a dot-string may have dots at
/// its ends and side by side: such mailboxes exist, and only their owners know.
fn is_local_part(local: &str, utf8: bool) -> bool {
    let wide = |c: char| utf8 && !c.is_ascii() && !c.is_control();
    if let Some(inside) = local.strip_prefix('"') {
        let Some(inside) = inside.strip_suffix('"') else {
            return false;
        };
        let mut characters = inside.chars();
        while let Some(c) = characters.next() {
            let fine = match c {
                '\\' => characters.next().is_some_and(|c| matches!(c, ' '..='~')),
                '"' => false,
                c => matches!(c, ' '..='~') || wide(c),
            };
            if !fine {
                return false;
            }
        }
        return true;
    }
    let is_atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    !local.is_empty() && local.chars().all(|c| is_atext(c) || wide(c))
}

/// Octets in a local part. RFC 5321 §4.5.3.1.1 says 64; variable envelope return paths and
/// forwarders' rewritings are longer, and a relay that cuts them off loses mail.
const LOCAL_PART_OCTETS_MAX: usize = 320;
/// What an IPv6 literal begins with (RFC 5321 §4.1.3).
const IPV6_TAG: &str = "IPv6:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_that_exist_are_taken_as_they_are_written() {
        for (text, local, domain) in [
            ("a@d.test", "a", "d.test"),
            ("A.b+c@D.Test", "A.b+c", "d.test"),
            ("\"a b@c\\\"\"@d.test", "\"a b@c\\\"\"", "d.test"),
            ("\"\"@d.test", "\"\"", "d.test"),
            (".a..b.@under_score.test", ".a..b.", "under_score.test"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[IPv6:2001:DB8::1]", "a", "[ipv6:2001:db8::1]"),
        ] {
            let mailbox = Mailbox::parse(text.as_bytes(), false).unwrap();
            assert_eq!((mailbox.local_part(), mailbox.domain()), (local, domain));
        }
        let literal = Mailbox::parse(b"a@[IPv6:2001:db8::1]", false).unwrap();
        assert_eq!(
            literal.host(),
            Host::Literal("2001:db8::1".parse().unwrap())
        );
        let name = Mailbox::parse(b"a@d.test", false).unwrap();
        assert_eq!(name.host(), Host::Name("d.test"));
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        for bad in [
            "",
            "a",
            "@d.test",
            "a@",
            "a b@d.test",
            "a@d..test",
            "a@.test",
            "a@d.test.",
            "<a>@d.test",
            "\"a@d.test",
            "\"a\"b\"@d.test",
            "\"a\\\"@d.test",
            "a@b@d.test",
            "a@[1.2.3]",
            "a@[1.2.3.4",
            "a@[x:y]",
            "a@[2001:db8::1]",
            "a\r@d.test",
            "\"\t\"@d.test",
            "a@-",
            "a,b@d.test",
        ] {
            let expected = matches!(bad, "a@-");
            assert_eq!(
                Mailbox::parse(bad.as_bytes(), false).is_ok(),
                expected,
                "{bad:?}"
            );
        }
        let long = [&[b'a'; 321][..], b"@d.test"].concat();
        assert_eq!(Mailbox::parse(&long, false), Err(BadPath::TooLong));
        let label = [&b"a@"[..], &[b'a'; 64], b".test"].concat();
        assert_eq!(Mailbox::parse(&label, false), Err(BadPath::Syntax));
        assert_eq!(Mailbox::parse(b"a\xff@d.test", true), Err(BadPath::NotUtf8));
    }

    #[test]
    fn letters_of_the_world_pass_under_smtputf8_only() {
        let text = "j\u{f6}rg@b\u{fc}cher.test";
        assert_eq!(Mailbox::parse(text.as_bytes(), false), Err(BadPath::Syntax));
        let mailbox = Mailbox::parse(text.as_bytes(), true).unwrap();
        assert!(mailbox.needs_smtputf8());
        assert_eq!(mailbox.as_str(), text);
    }

    /// U+023A has two octets, and three in lower case: what was taken, the spool could not read again.
    #[test]
    fn a_domain_is_measured_in_lower_case() {
        let label = |octets: usize| format!("{}\u{23a}", "x".repeat(octets - 3));
        let fits = Domain::parse(label(63).as_bytes(), true).unwrap();
        assert_eq!(fits.as_str().len(), 63);
        assert_eq!(Domain::parse(fits.as_str().as_bytes(), true), Ok(fits));
        let grows = Domain::parse(label(64).as_bytes(), true);
        assert_eq!(grows, Err(BadPath::Syntax));
        let long = vec!["\u{23a}"; 80].join(".");
        assert_eq!(long.len(), 239);
        assert_eq!(Domain::parse(long.as_bytes(), true), Err(BadPath::TooLong));
    }

    #[test]
    fn a_source_route_is_dropped() {
        assert_eq!(strip_source_route(b"@a.test,@b.test:u@c.test"), b"u@c.test");
        assert_eq!(strip_source_route(b"u@c.test"), b"u@c.test");
        assert_eq!(strip_source_route(b"@a.test"), b"@a.test");
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_is_written_as_it_is_read_again(
            text in r#"([a-z."\\@ %!+\u{e4}:\r\n\x00-]{0,12}@)?(\[(IPv6:)?[0-9a-f:.]{0,12}\]|[a-zA-Z.\u{e4}_-]{0,12})"#,
            utf8 in proptest::bool::ANY,
        ) {
            if let Ok(mailbox) = Mailbox::parse(text.as_bytes(), utf8) {
                let written = mailbox.as_str();
                proptest::prop_assert!(!written.contains(['\r', '\n', '\0', '<', '>']), "{}", written);
                proptest::prop_assert!(utf8 || written.is_ascii());
                let again = Mailbox::parse(written.as_bytes(), utf8);
                proptest::prop_assert_eq!(again.as_ref(), Ok(&mailbox));
            }
        }
    }
}
