//! DKIM signing (RFC 6376, RFC 8301, RFC 8463), over the octets that leave.
//!
//! [`Key`] reads and makes keys, [`Signers`] knows which of them sign for which domain. The
//! canonical forms, the hashes and the signature field are those of `mail-auth`; what is signed,
//! and by whom, is decided here.

mod key;
mod proof;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use futures_lite::future::block_on;
use mail_auth::common::crypto::DkimKey;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{DkimSigner, Done};
use mail_parser::{Header, HeaderName, HeaderValue, MessageParser};
use memchr::memmem;

pub use key::{Key, Kind};
use proof::Records;

use crate::wire::dot;

/// Who signs for which domains.
#[derive(Default)]
pub struct Signers {
    domains: HashMap<String, Vec<DkimSigner<DkimKey, Done>>>,
    records: Records,
}

/// A message that could not be signed though there is a key for it.
#[derive(Debug)]
pub struct Fault(String);

impl Fault {
    /// Nobody is there to sign.
    #[must_use]
    pub fn gone() -> Self {
        Self("the service thread is ending".to_owned())
    }
}

/// What signing brought.
#[derive(Debug)]
pub struct Signed {
    /// Signature fields, to stand before everything.
    pub fields: Vec<u8>,
    /// Whether we could verify them; `None` where nobody tried.
    pub is_proven: Option<bool>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Signers {
    /// Adds a key that signs for `domain`. Several for one domain all sign.
    pub fn add(&mut self, domain: &str, selector: &str, key: Key) {
        self.records.add(domain, selector, &key.record());
        let signer = DkimSigner::from_key(key.into_signing())
            .domain(domain)
            .selector(selector)
            .headers(SIGNED.iter().chain(OVERSIGNED).copied());
        let signers = self.domains.entry(domain.to_owned()).or_default();
        signers.push(signer);
    }

    /// True when nobody signs anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The signature fields to stand before `message` (as it is read, without dot stuffing), in
    /// wire form; none where no key is for its author's domain or one above it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let message = trimmed(message);
        let mut fields = Vec::new();
        let Some(domain) = author_domain(message) else {
            return Ok(fields);
        };
        let Some((_, signers)) = self.signers_for(&domain) else {
            return Ok(fields);
        };
        for signer in signers {
            let signature = signer.sign(message);
            let signature = signature.map_err(|error| Fault(error.to_string()))?;
            signature.write_header(&mut fields);
        }
        Ok(fields)
    }

    /// The domain that signs a message with this header; `None` where there is no key for its author.
    #[must_use]
    pub fn signer_of(&self, header: &[u8]) -> Option<&str> {
        let domain = author_domain(header)?;
        self.signers_for(&domain).map(|(signer, _)| signer)
    }

    /// Signs content in wire form, and verifies the signatures where `proof` is wanted.
    pub fn sign_wire(&self, wire: &[u8], proof: bool) -> Result<Signed, Fault> {
        let mut message = Vec::with_capacity(wire.len());
        dot::unstuff_into(&mut message, wire);
        let fields = self.sign(&message)?;
        let is_proven = (proof && !fields.is_empty()).then(|| self.proves(&fields, &message));
        Ok(Signed { fields, is_proven })
    }

    /// True when a message and the `fields` that [`Signers::sign`] made for it would be accepted
    /// by whoever finds our records in the DNS. Signatures that it came with are somebody else's.
    #[must_use]
    pub fn proves(&self, fields: &[u8], message: &[u8]) -> bool {
        let signed = [fields, trimmed(message)].concat();
        let found = block_on(self.records.verify(&signed)).unwrap_or_default();
        let ours = memmem::find_iter(fields, FIELD_NAME).count();
        let held = found.iter().take(ours).filter(|(_, holds)| *holds);
        ours > 0 && held.count() == ours
    }

    /// Those of `domain` or of the nearest domain above it: both are aligned with the author
    /// (RFC 7489 §3.1.1, relaxed).
    fn signers_for(&self, domain: &str) -> Option<(&str, &[DkimSigner<DkimKey, Done>])> {
        let mut name = domain;
        loop {
            if let Some((domain, signers)) = self.domains.get_key_value(name) {
                return Some((domain, signers));
            }
            name = name.split_once('.')?.1;
        }
    }
}

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are secrets.
        f.debug_set().entries(self.domains.keys()).finish()
    }
}

/// Reads the key of each `(domain, selector, file)`.
pub fn read<'k>(
    keys: impl IntoIterator<Item = (&'k str, &'k str, &'k Path)>,
) -> Result<Signers, String> {
    let mut signers = Signers::default();
    for (domain, selector, path) in keys {
        signers.add(domain, selector, Key::read(path)?);
    }
    Ok(signers)
}

/// A message without the blanks and line ends behind its text. The relaxed form of a body has none of
/// them (RFC 6376 §3.4.4), but `mail-auth` 0.13.3 keeps lines that are not empty before it reduces
/// their blanks: what it signs or verifies with that form must not have them.
#[must_use]
pub fn trimmed(message: &[u8]) -> &[u8] {
    let Some(end) = memmem::find(message, b"\r\n\r\n") else {
        return message;
    };
    let is_text = |octet: &u8| !b" \t\r\n".contains(octet);
    let text = message[end + 4..].iter().rposition(is_text);
    &message[..end + 4 + text.map_or(0, |last| last + 1)]
}

/// The domain of the author: of the first address in From, as A-labels in lower case. A message
/// with two From fields has no author: it is not what we would vouch for (RFC 5322 §3.6). Nor has
/// one that begins with a blank: that line continues whatever comes to stand before it, our
/// signature too (RFC 5322 §2.2.3).
fn author_domain(message: &[u8]) -> Option<String> {
    if message.starts_with(b" ") || message.starts_with(b"\t") {
        return None;
    }
    let parsed = MessageParser::new().parse_headers(message)?;
    let mut fields = parsed.headers().iter().filter(|field| is_from(field));
    let (field, other) = (fields.next()?, fields.next());
    let HeaderValue::Address(authors) = &field.value else {
        return None;
    };
    let address = authors
        .iter()
        .find_map(|author| author.address.as_deref())?;
    let (_, domain) = address.rsplit_once('@')?;
    let domain = idna::domain_to_ascii(domain.trim_end_matches('.')).ok()?;
    other.is_none().then_some(domain)
}

fn is_from(field: &Header<'_>) -> bool {
    field.name == HeaderName::From
}

/// What a signature field begins with.
const FIELD_NAME: &[u8] = b"DKIM-Signature:";
/// What is signed where it is there (RFC 6376 §5.4.1), beside what is oversigned.
const SIGNED: &[&str] = &[
    "In-Reply-To",
    "References",
    "Sender",
    "Content-Transfer-Encoding",
    "Content-Description",
    "Content-ID",
    "Content-Disposition",
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// Named once more than they occur: to add another one breaks the signature (RFC 6376 §8.15).
const OVERSIGNED: &[&str] = &[
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
