//! Reverse-paths, forward-paths, mailboxes and domains (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! Parsed once, where the octets arrive, into types that cannot be wrong; nothing behind the
//! session parses an address again.

use std::fmt;
use std::net::IpAddr;

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
    text: Box<str>,
    at: u16,
}

/// Whom a bounce goes to: nobody (`<>`) or a mailbox (RFC 5321 §4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        if raw.is_empty() {
            return Err(BadPath::Syntax);
        }
        if raw.len() > DOMAIN_OCTETS_MAX {
            return Err(BadPath::TooLong);
        }
        let text = std::str::from_utf8(raw).map_err(|_| BadPath::NotUtf8)?;
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
        Ok(Self(text.to_lowercase().into_boxed_str()))
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
        let _ = (raw, utf8);
        Err(BadPath::Syntax)
    }

    /// `local-part@domain`, fit for a command line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
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

    /// The domain as a name or an address.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        Host::Name(self.domain())
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
