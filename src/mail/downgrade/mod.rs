//! Makes a message fit a peer without 8BITMIME (RFC 6152 §3): parts with 8-bit octets, or with
//! lines longer than SMTP allows, are encoded; everything else stays octet for octet.
//!
//! The message is not taken apart and written anew. Its structure says where edits are due, and
//! the edits are applied to the octets as they came.

mod header;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use mail_builder::encoders::{Base64Encoder, QuotedPrintableEncoder};
use mail_parser::{
    Encoding, Header, HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType,
};

/// Why a message cannot be had in seven bits: its sender is told (5.6.3, RFC 3463 §3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotDowngrade {
    /// The part that would change is signed or encrypted: its signature would break.
    Signed,
    /// A header field has 8-bit octets for which RFC 2047 has no place, or that are not UTF-8.
    Header,
    /// 8-bit octets stand where MIME has no encoding: beside the parts, in a part that says it is
    /// encoded already, in a `message/*` part that must not be (RFC 2046 §5.2).
    Structure,
}

/// The message in seven bits. `message` is what the sender meant: unstuffed, lines end with CRLF.
pub fn to_seven_bit(message: &[u8]) -> Result<Vec<u8>, CannotDowngrade> {
    let lines = Lines::new(message);
    if lines.eight_bit.is_empty() && lines.long.is_empty() {
        return Ok(message.to_vec());
    }
    if could_nest_too_deep(message) {
        return Err(CannotDowngrade::Structure);
    }
    let parsed = MessageParser::default()
        .parse(message)
        .ok_or(CannotDowngrade::Structure)?;
    let mut edits = Edits {
        raw: message,
        done: 0,
        result: Vec::with_capacity(message.len() + message.len() / 2),
    };
    Walk {
        raw: message,
        lines,
        edits: &mut edits,
    }
    .message(&parsed)?;
    let result = edits.finish();
    // Whatever the walk did not reach: a preamble, an epilogue, a line that is no field.
    if result.is_ascii() {
        Ok(result)
    } else {
        Err(CannotDowngrade::Structure)
    }
}

/// A header in ASCII, for readers of whom nothing better is known (RFC 6856 §4): fields with 8-bit
/// octets are encoded where RFC 2047 and RFC 2231 have a place for it, and else stay as they came.
/// `None` where nothing changes.
#[must_use]
pub fn header_to_ascii(octets: &[u8]) -> Option<Vec<u8>> {
    if octets.is_ascii() {
        return None;
    }
    let mut result = Vec::with_capacity(octets.len() * 2);
    let mut rest = octets;
    while !rest.is_empty() {
        let (field, behind) = rest.split_at(field_end(rest));
        rest = behind;
        let colon = field.iter().position(|&octet| octet == b':');
        let encoded = colon.filter(|_| !field.is_ascii()).and_then(|colon| {
            let name = std::str::from_utf8(&field[..colon]).ok()?;
            let value = header::encode(name.trim_end(), &field[colon + 1..])?;
            Some([&field[..=colon], value.as_bytes()].concat())
        });
        result.extend_from_slice(encoded.as_deref().unwrap_or(field));
    }
    Some(result)
}

/// Octets up to the first line end that no blank follows: those of a field.
fn field_end(octets: &[u8]) -> usize {
    let ends = memchr::memchr_iter(b'\n', octets).map(|at| at + 1);
    let mut last = ends.filter(|&end| !matches!(octets.get(end), Some(b' ' | b'\t')));
    last.next().unwrap_or(octets.len())
}

impl fmt::Display for CannotDowngrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signed => "a signed or encrypted part has 8-bit octets",
            Self::Header => "a header field has 8-bit octets that cannot be encoded",
            Self::Structure => "8-bit octets stand where no encoding is possible",
        })
    }
}

impl std::error::Error for CannotDowngrade {}

/// Where the lines begin that a 7-bit path cannot carry.
struct Lines {
    eight_bit: Vec<usize>,
    long: Vec<usize>,
}

impl Lines {
    fn new(message: &[u8]) -> Self {
        let (mut eight_bit, mut long) = (Vec::new(), Vec::new());
        let mut start = 0;
        for line in message.split_inclusive(|&octet| octet == b'\n') {
            if !line.is_ascii() {
                eight_bit.push(start);
            }
            if line.len() > LINE_OCTETS_MAX {
                long.push(start);
            }
            start += line.len();
        }
        Self { eight_bit, long }
    }

    fn has_eight_bit(&self, range: &Range<usize>) -> bool {
        begins_in(&self.eight_bit, range)
    }

    fn needs_encoding(&self, range: &Range<usize>) -> bool {
        self.has_eight_bit(range) || begins_in(&self.long, range)
    }
}

fn begins_in(starts: &[usize], range: &Range<usize>) -> bool {
    let next = starts.partition_point(|&start| start < range.start);
    starts.get(next).is_some_and(|&start| start < range.end)
}

/// The result so far: the original up to `done`, edited.
struct Edits<'a> {
    raw: &'a [u8],
    done: usize,
    result: Vec<u8>,
}

impl Edits<'_> {
    /// Puts `octets` in the place of `range`. Edits come in the order of the message; one that
    /// does not would mean a structure that contradicts itself.
    fn replace(&mut self, range: Range<usize>, octets: &[u8]) -> Result<(), CannotDowngrade> {
        let kept = self.raw.get(self.done..range.start);
        self.result
            .extend_from_slice(kept.ok_or(CannotDowngrade::Structure)?);
        self.result.extend_from_slice(octets);
        self.done = range.end;
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        let rest = self.raw.get(self.done..).unwrap_or_default();
        self.result.extend_from_slice(rest);
        self.result
    }
}

struct Walk<'a, 'b> {
    raw: &'a [u8],
    lines: Lines,
    edits: &'b mut Edits<'a>,
}

impl Walk<'_, '_> {
    /// A message: the outer one, or one inside `message/rfc822`.
    fn message(&mut self, message: &Message<'_>) -> Result<(), CannotDowngrade> {
        let mut skipped_to = 0;
        for (place, part) in message.parts.iter().enumerate() {
            let span = Span::new(part);
            if span.all.start < skipped_to {
                continue;
            }
            if is_sealed(part) {
                if self.lines.has_eight_bit(&span.body) {
                    return Err(CannotDowngrade::Signed);
                }
                skipped_to = span.all.end;
            }
            self.part(part, &span, place == 0, skipped_to > span.all.start)?;
        }
        Ok(())
    }

    fn part(
        &mut self,
        part: &MessagePart<'_>,
        span: &Span,
        top: bool,
        sealed: bool,
    ) -> Result<(), CannotDowngrade> {
        let inner = match &part.body {
            PartType::Message(inner) if part.encoding == Encoding::None => Some(inner),
            _ => None,
        };
        let leaf = inner.is_none() && !matches!(part.body, PartType::Multipart(_));
        let encode = !sealed && leaf && self.lines.needs_encoding(&span.body);
        let encoding = encode.then(|| self.encoding_for(part)).transpose()?;
        self.fields(part, sealed, encoding)?;

        let mut added = String::new();
        let changes = !sealed && self.lines.needs_encoding(&span.body);
        if top && changes && !has(part, &HeaderName::MimeVersion) {
            added.push_str("MIME-Version: 1.0\r\n");
        }
        if let Some(encoding) = encoding {
            if !has(part, &HeaderName::ContentType) {
                let eight_bit = self.lines.has_eight_bit(&span.body);
                // RFC 1428 §3: nobody said what the octets mean, so neither do we.
                let charset = if eight_bit {
                    "unknown-8bit"
                } else {
                    "us-ascii"
                };
                added.push_str("Content-Type: text/plain; charset=");
                added.push_str(charset);
                added.push_str("\r\n");
            }
            if !has(part, &HeaderName::ContentTransferEncoding) {
                added.push_str("Content-Transfer-Encoding: ");
                added.push_str(encoding.name());
                added.push_str("\r\n");
            }
        }
        if !added.is_empty() {
            self.edits
                .replace(span.fields_end..span.fields_end, added.as_bytes())?;
        }
        if let Some(encoding) = encoding {
            let body = self.raw.get(span.body.clone()).unwrap_or_default();
            self.edits
                .replace(span.body.clone(), &encoding.encode(body))?;
        }
        inner.map_or(Ok(()), |inner| self.message(inner))
    }

    /// The fields of a part's header, one after the other.
    fn fields(
        &mut self,
        part: &MessagePart<'_>,
        sealed: bool,
        encoding: Option<Transfer>,
    ) -> Result<(), CannotDowngrade> {
        for field in &part.headers {
            let value = field.offset_start as usize..field.offset_end as usize;
            let octets = self.raw.get(value.clone()).unwrap_or_default();
            if field.name == HeaderName::ContentTransferEncoding {
                let new = match encoding {
                    Some(encoding) => encoding.name(),
                    None if !sealed && is_unencoded(octets) => "7bit",
                    None => continue,
                };
                self.edits
                    .replace(value, format!(" {new}\r\n").as_bytes())?;
            } else if !octets.is_ascii() {
                let name = field_name(self.raw, field);
                let new = header::encode(name, octets).ok_or(CannotDowngrade::Header)?;
                self.edits.replace(value, new.as_bytes())?;
            }
        }
        Ok(())
    }

    /// How a leaf is to be encoded.
    fn encoding_for(&self, part: &MessagePart<'_>) -> Result<Transfer, CannotDowngrade> {
        let fields = part.headers.iter();
        let mut declared = fields
            .filter(|field| field.name == HeaderName::ContentTransferEncoding)
            .map(|field| {
                self.raw
                    .get(field.offset_start as usize..field.offset_end as usize)
            });
        let plain = declared
            .all(|value| value.is_some_and(|value| is_unencoded(value) || word(value) == "7bit"));
        match part.content_type().map_or("text", |kind| kind.ctype()) {
            _ if !plain => Err(CannotDowngrade::Structure),
            kind if kind.eq_ignore_ascii_case("text") => Ok(Transfer::QuotedPrintable),
            kind if ["multipart", "message"]
                .iter()
                .any(|bare| kind.eq_ignore_ascii_case(bare)) =>
            {
                Err(CannotDowngrade::Structure)
            }
            _ => Ok(Transfer::Base64),
        }
    }
}

/// Where the pieces of a part stand in the message.
struct Span {
    all: Range<usize>,
    /// Behind the last field, before the empty line.
    fields_end: usize,
    body: Range<usize>,
}

impl Span {
    fn new(part: &MessagePart<'_>) -> Self {
        let start = part.offset_header as usize;
        let body = part.offset_body as usize;
        let end = (part.offset_end as usize).max(body);
        let last = part.headers.last().map(|field| field.offset_end as usize);
        Self {
            all: start..end,
            fields_end: last.unwrap_or(start),
            body: body..end,
        }
    }
}

/// The encodings of RFC 2045 §6.
#[derive(Clone, Copy)]
enum Transfer {
    QuotedPrintable,
    Base64,
}

impl Transfer {
    const fn name(self) -> &'static str {
        match self {
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }

    fn encode(self, body: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::new();
        match self {
            Self::QuotedPrintable => {
                let encoder = QuotedPrintableEncoder::new().preserve_line_breaks();
                encoder.encode_into(body, &mut encoded);
            }
            Self::Base64 => {
                Base64Encoder::new()
                    .wrap_lines()
                    .encode_into(body, &mut encoded);
                // The line end before a boundary belongs to the boundary; at the end of the
                // message there must be one.
                if encoded.ends_with(b"\r\n") != body.ends_with(b"\r\n") {
                    if encoded.ends_with(b"\r\n") {
                        encoded.truncate(encoded.len() - 2);
                    } else {
                        encoded.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
        encoded
    }
}

fn has(part: &MessagePart<'_>, name: &HeaderName<'_>) -> bool {
    part.headers.iter().any(|field| field.name == *name)
}

/// A part whose octets somebody vouched for (RFC 1847 §2, RFC 8551 §3).
fn is_sealed(part: &MessagePart<'_>) -> bool {
    let Some(kind) = part.content_type() else {
        return false;
    };
    let (main, sub) = (kind.ctype(), kind.subtype().unwrap_or_default());
    [
        ("multipart", "signed"),
        ("multipart", "encrypted"),
        ("application", "pkcs7-mime"),
        ("application", "x-pkcs7-mime"),
    ]
    .iter()
    .any(|sealed| main.eq_ignore_ascii_case(sealed.0) && sub.eq_ignore_ascii_case(sealed.1))
}

/// The name of a field as it is written.
fn field_name<'a>(raw: &'a [u8], field: &Header<'_>) -> &'a str {
    let name = raw.get(field.offset_field as usize..field.offset_start as usize);
    let name = std::str::from_utf8(name.unwrap_or_default()).unwrap_or_default();
    name.trim_end().trim_end_matches(':').trim_end()
}

/// `8bit` or `binary`: what a 7-bit path does not carry.
fn is_unencoded(value: &[u8]) -> bool {
    matches!(&*word(value), "8bit" | "binary")
}

/// A token in lower case, without the comment behind it.
fn word(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    let word = value.split(['(', ';']).next().unwrap_or_default();
    word.trim().to_owned()
}

/// Nested messages cost stack, here and in the parser. Each level needs a Content-Type of its
/// own, so that counting the words bounds the depth without parsing anything.
pub(in crate::mail) fn could_nest_too_deep(message: &[u8]) -> bool {
    let starts = memchr::memchr2_iter(b'c', b'C', message);
    starts
        .filter(|&start| {
            let word = message.get(start..start + CONTENT_TYPE.len());
            word.is_some_and(|word| word.eq_ignore_ascii_case(CONTENT_TYPE))
        })
        .nth(CONTENT_TYPES_MAX)
        .is_some()
}

const CONTENT_TYPE: &[u8] = b"content-type";
/// Content-Type fields in a message that is worth the work: more are an attack, not mail.
const CONTENT_TYPES_MAX: usize = 500;
/// Octets of a line with its CRLF (RFC 5321 §4.5.3.1.6).
const LINE_OCTETS_MAX: usize = 1000;
