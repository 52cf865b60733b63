//! A message's parts: where they stand in it and what their headers say of them.
//!
//! ```text
//! octets, piece by piece ─► split: header lines, delimiter lines ─► Part
//!                             └ a header's end ─► field (mail-parser) ─► Typed, Described
//! ```
//!
//! What stands in a header is read by mail-parser, what is encoded is decoded by it. Where the parts
//! are is found here: mail-parser looks for each boundary in all that is left, within lines too, and
//! takes one that begins like it for it, so that a stranger's message could cost minutes and a
//! friend's be cut in the wrong place. Here every octet is looked at once.
//!
//! A message is written by strangers, and every one of its bounds (parts, fields, nesting) is theirs
//! to break. What lies beyond [`PARTS_MAX`] and [`DEPTH_MAX`] is content without structure, and of a
//! header no more is read than [`HEAD_OCTETS_MAX`] and [`HEAD_LINES_MAX`].

use std::ops::Range;

use super::decode::Decoder;
use super::field::{self, Typed};
use super::structure::Described;

mod split;

pub use split::Splitter;

/// One part, or the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where its header stands, the empty line included.
    pub header: Range<usize>,
    /// Where its body stands.
    pub body: Range<usize>,
    /// Line ends in the body.
    pub lines: usize,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The rest of what its header says.
    pub described: Described,
    /// Content-Type, or what stands for it where there is none.
    pub typed: Typed,
    /// What it consists of.
    pub kind: Kind,
}

/// What a part consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of content.
    Leaf,
    /// Of parts.
    Multipart(Vec<Part>),
    /// Of a message.
    Message(Box<Part>),
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// Base64.
    Base64,
    /// Quoted-printable.
    QuotedPrintable,
    /// In a way that nobody here knows.
    Unknown,
}

impl Part {
    /// Reads a whole message.
    #[must_use]
    pub fn read(raw: &[u8]) -> Self {
        let mut splitter = Splitter::default();
        splitter.push(raw);
        splitter.end()
    }

    /// A message of which only the header is at hand, in so many octets.
    #[must_use]
    pub fn of_header(octets: usize) -> Self {
        Self {
            header: 0..octets,
            body: octets..octets,
            lines: 0,
            encoding: Encoding::Identity,
            described: Described::default(),
            typed: Typed::default(),
            kind: Kind::Leaf,
        }
    }

    /// The header's octets.
    #[must_use]
    pub fn header_of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        raw.get(self.header.clone()).unwrap_or_default()
    }

    /// The header as far as it is read: see [`HEAD_OCTETS_MAX`] and [`HEAD_LINES_MAX`].
    #[must_use]
    pub fn head_of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        let header = self.header_of(raw);
        let head = &header[..header.len().min(HEAD_OCTETS_MAX)];
        let lines = memchr::memchr_iter(b'\n', head).nth(HEAD_LINES_MAX - 1);
        &head[..lines.map_or(head.len(), |end| end + 1)]
    }

    /// The body's octets.
    #[must_use]
    pub fn body_of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        raw.get(self.body.clone()).unwrap_or_default()
    }

    /// The part that `path` names, of the message that this is (RFC 9051 §6.4.5.1). A message that
    /// is not a multipart has one part.
    #[must_use]
    pub fn locate(&self, path: &[u32]) -> Option<&Self> {
        let (first, rest) = path.split_first()?;
        let mut part = self.child(*first)?;
        for number in rest {
            part = match &part.kind {
                Kind::Multipart(_) => part.child(*number)?,
                Kind::Message(message) => message.child(*number)?,
                Kind::Leaf => return None,
            };
        }
        Some(part)
    }

    fn child(&self, number: u32) -> Option<&Self> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        match &self.kind {
            Kind::Multipart(parts) => parts.get(at),
            Kind::Leaf | Kind::Message(_) => (at == 0).then_some(self),
        }
    }

    /// For the body. What consists of parts is not encoded (RFC 2045 §6.4).
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        Decoder::new(match self.kind {
            Kind::Multipart(_) => Encoding::Identity,
            Kind::Leaf | Kind::Message(_) => self.encoding,
        })
    }

    /// The body without its transfer encoding; `None` when that is unknown or broken.
    #[must_use]
    pub fn decoded(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let mut decoder = self.decoder();
        let mut decoded = decoder.push(self.body_of(raw)).ok()?;
        decoded.extend(decoder.end().ok()?);
        Some(decoded)
    }

    /// The text of a leaf in UTF-8, whatever its charset; `None` when it is no text.
    #[must_use]
    pub fn text(&self, raw: &[u8]) -> Option<String> {
        if self.typed.kind != "text" || !matches!(self.kind, Kind::Leaf) {
            return None;
        }
        let octets = self
            .decoded(raw)
            .unwrap_or_else(|| self.body_of(raw).to_vec());
        Some(in_utf8(
            &octets,
            self.typed.parameter("charset").unwrap_or_default(),
        ))
    }

    /// All parts, in their order, messages within included; the message itself first.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let part = waiting.pop()?;
            match &part.kind {
                Kind::Leaf => {}
                Kind::Multipart(parts) => waiting.extend(parts.iter().rev()),
                Kind::Message(message) => waiting.push(message),
            }
            Some(part)
        })
    }
}

/// Text of some charset in UTF-8; what it cannot be is replaced.
#[must_use]
pub fn in_utf8(octets: &[u8], charset: &str) -> String {
    use mail_parser::decoders::charsets::map::charset_decoder;
    match charset_decoder(charset.to_ascii_lowercase().as_bytes()) {
        Some(decode) if str::from_utf8(octets).is_err() || is_stateful(charset) => decode(octets),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// Charsets whose text looks like ASCII and is not.
pub(super) fn is_stateful(charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    charset.starts_with("iso-2022-")
        || charset.starts_with("utf-7")
        || charset.starts_with("utf-16")
}

/// How a body with this header is encoded.
fn encoding(header: &[u8]) -> Encoding {
    match &*field::encoding(header) {
        "" | "7bit" | "8bit" | "binary" => Encoding::Identity,
        "base64" => Encoding::Base64,
        "quoted-printable" => Encoding::QuotedPrintable,
        _ => Encoding::Unknown,
    }
}

/// Parts of a message, at all depths.
pub const PARTS_MAX: usize = 10_000;
/// How deep parts may be within each other. What is deeper is content without structure.
pub const DEPTH_MAX: usize = 100;
/// What is read of one header: ten thousand recipients fit.
pub const HEAD_OCTETS_MAX: usize = 512 * 1024;
/// Lines that are read of one header: a recipient on each.
pub const HEAD_LINES_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
