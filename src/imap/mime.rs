//! A message's parts: where they stand in it and what their headers say of them.
//!
//! mail-parser finds the parts. What it reads is a copy in which limits are enforced first: a
//! message is written by strangers, and every one of its bounds (parts, fields, nesting) is theirs
//! to break. Types that mail-parser would follow inwards without end are put aside in the copy;
//! messages within messages are entered from here, to a depth of [`DEPTH_MAX`].

use std::collections::HashSet;
use std::ops::Range;

use mail_parser::{HeaderName, MessageParser, PartType};

use super::field::{self, Typed};

/// One part, or the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where its header stands, the empty line included.
    pub header: Range<usize>,
    /// Where its body stands.
    pub body: Range<usize>,
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
        let bounded = bounded(raw);
        let mut parts_left = PARTS_MAX;
        message(raw, &bounded, 0..raw.len(), 0, &mut parts_left)
    }

    /// The header's octets.
    #[must_use]
    pub fn header_of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        raw.get(self.header.clone()).unwrap_or_default()
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

    /// How the body is encoded.
    #[must_use]
    pub fn encoding(&self, raw: &[u8]) -> Encoding {
        encoding(self.header_of(raw))
    }

    /// The body without its transfer encoding; `None` when that is unknown or broken.
    #[must_use]
    pub fn decoded(&self, raw: &[u8]) -> Option<Vec<u8>> {
        use mail_parser::decoders::{base64, quoted_printable};
        let body = self.body_of(raw);
        if !matches!(self.kind, Kind::Leaf) {
            return Some(body.to_vec());
        }
        match self.encoding(raw) {
            Encoding::Identity => Some(body.to_vec()),
            Encoding::Base64 => base64::base64_decode(body),
            Encoding::QuotedPrintable => quoted_printable::quoted_printable_decode(body),
            Encoding::Unknown => None,
        }
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
fn is_stateful(charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    charset.starts_with("iso-2022-")
        || charset.starts_with("utf-7")
        || charset.starts_with("utf-16")
}

fn encoding(header: &[u8]) -> Encoding {
    match &*field::encoding(header) {
        "" | "7bit" | "8bit" | "binary" => Encoding::Identity,
        "base64" => Encoding::Base64,
        "quoted-printable" => Encoding::QuotedPrintable,
        _ => Encoding::Unknown,
    }
}

/// The message at `at`. `bounded` is the copy that mail-parser may see.
fn message(
    raw: &[u8],
    bounded: &[u8],
    at: Range<usize>,
    depth: usize,
    parts_left: &mut usize,
) -> Part {
    let parser = MessageParser::new()
        .header_content_type(HeaderName::ContentType)
        .default_header_ignore();
    let found = bounded.get(at.clone()).and_then(|text| parser.parse(text));
    let Some(found) = found.filter(|found| !found.parts.is_empty()) else {
        return Part {
            header: at.start..at.start,
            body: at,
            typed: default_type(false),
            kind: Kind::Leaf,
        };
    };
    let mut reading = Reading {
        raw,
        bounded,
        found: &found.parts,
        at,
        parts_left,
    };
    reading.part(0, depth, false)
}

/// A message that mail-parser has read.
struct Reading<'a> {
    raw: &'a [u8],
    bounded: &'a [u8],
    found: &'a [mail_parser::MessagePart<'a>],
    at: Range<usize>,
    parts_left: &'a mut usize,
}

impl Reading<'_> {
    fn part(&mut self, id: usize, depth: usize, in_digest: bool) -> Part {
        let found = &self.found[id];
        let place = |offset: u32| {
            let offset = self.at.start + usize::try_from(offset).unwrap_or(usize::MAX);
            offset.min(self.at.end)
        };
        let start = if id == 0 {
            self.at.start
        } else {
            place(found.offset_header)
        };
        let middle = place(found.offset_body).max(start);
        let end = if id == 0 {
            self.at.end
        } else {
            place(found.offset_end)
        };
        let header = start..middle;
        let body = middle..end.max(middle);
        let value = field::find(&self.raw[header.clone()], "Content-Type");
        let typed = value.and_then(field::typed);
        let mut typed = typed
            .filter(|typed| !typed.subkind.is_empty())
            .unwrap_or_else(|| default_type(in_digest));
        let kind = match &found.body {
            PartType::Multipart(children) if depth < DEPTH_MAX => {
                let children = children.clone();
                let in_digest = typed.subkind == "digest";
                let parts = children.iter().map_while(|child| {
                    *self.parts_left = self.parts_left.checked_sub(1)?;
                    let child = usize::try_from(*child).ok()?;
                    (child < self.found.len() && child > id)
                        .then(|| self.part(child, depth + 1, in_digest))
                });
                Kind::Multipart(parts.collect())
            }
            _ => self.inner_message(&header, &body, &typed, depth),
        };
        let kind = match kind {
            Kind::Multipart(parts) if parts.is_empty() => Kind::Leaf,
            kind => kind,
        };
        // What says that it has parts and shows none is read as the text it is (RFC 2046 §5.1).
        let hollow = matches!(kind, Kind::Leaf) && matches!(&*typed.kind, "multipart");
        let too_deep = matches!(kind, Kind::Leaf) && is_message(&typed);
        if hollow {
            typed = default_type(false);
        } else if too_deep {
            typed = Typed {
                kind: "application".to_owned(),
                subkind: "octet-stream".to_owned(),
                parameters: Vec::new(),
            };
        }
        // RFC 2045 §5.2; clients are told so, as by other servers.
        if typed.kind == "text" && typed.parameter("charset").is_none() {
            typed.parameters.extend(default_type(false).parameters);
        }
        Part {
            header,
            body,
            typed,
            kind,
        }
    }

    fn inner_message(
        &mut self,
        header: &Range<usize>,
        body: &Range<usize>,
        typed: &Typed,
        depth: usize,
    ) -> Kind {
        let plain = encoding(&self.raw[header.clone()]) == Encoding::Identity;
        if !is_message(typed) || !plain || depth >= DEPTH_MAX || *self.parts_left == 0 {
            return Kind::Leaf;
        }
        *self.parts_left -= 1;
        let inner = message(
            self.raw,
            self.bounded,
            body.clone(),
            depth + 1,
            self.parts_left,
        );
        Kind::Message(Box::new(inner))
    }
}

fn is_message(typed: &Typed) -> bool {
    typed.kind == "message" && matches!(&*typed.subkind, "rfc822" | "global")
}

/// What stands for a Content-Type that is not there (RFC 2045 §5.2, RFC 2046 §5.1.5).
fn default_type(in_digest: bool) -> Typed {
    let (kind, subkind, parameters) = if in_digest {
        ("message", "rfc822", Vec::new())
    } else {
        let charset = ("charset".to_owned(), "us-ascii".to_owned());
        ("text", "plain", vec![charset])
    };
    Typed {
        kind: kind.to_owned(),
        subkind: subkind.to_owned(),
        parameters,
    }
}

/// A copy with the same places in it, in which nothing is without bound.
fn bounded(raw: &[u8]) -> Vec<u8> {
    let mut copy = raw.to_vec();
    put_types_aside(&mut copy);
    bound_parts(&mut copy);
    bound_fields(&mut copy);
    copy
}

/// mail-parser follows messages inwards by itself and without end, and looks for the boundary of
/// every multipart in all that is left: both are bounded here, by changing the type's name.
fn put_types_aside(copy: &mut [u8]) {
    let multiparts_max = (SEARCHED_OCTETS_MAX / copy.len().max(1)).clamp(16, PARTS_MAX);
    let mut multiparts = 0;
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'/', &copy[from..]) {
        let at = from + found;
        from = at + 1;
        if ends_with(&copy[..at], b"message") {
            let subtype = &copy[at + 1..];
            if starts_with(subtype, b"rfc822") || starts_with(subtype, b"global") {
                copy[at - 1] = b'x';
            }
        } else if ends_with(&copy[..at], b"multipart") {
            multiparts += 1;
            if multiparts > multiparts_max {
                copy[at - 1] = b'x';
            } else if starts_with(&copy[at + 1..], b"digest") {
                copy[at + 1] = b'x';
            }
        }
    }
}

fn ends_with(text: &[u8], word: &[u8]) -> bool {
    let start = text.len().saturating_sub(word.len());
    text[start..].eq_ignore_ascii_case(word)
}

fn starts_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Takes away what could be a boundary after [`PARTS_MAX`] of them.
fn bound_parts(copy: &mut [u8]) {
    let beginnings = boundary_beginnings(copy);
    let mut seen = 0;
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&copy[from..], b"--") {
        let at = from + found;
        from = at + 1;
        let rest = &copy[at + 2..];
        let could_be =
            (1..=BEGINNING_OCTETS.min(rest.len())).any(|len| beginnings.contains(&rest[..len]));
        if could_be {
            seen += 1;
            if seen > PARTS_MAX {
                copy[at] = b'x';
            }
        }
    }
}

/// How the boundaries begin that the message names anywhere.
fn boundary_beginnings(copy: &[u8]) -> HashSet<Vec<u8>> {
    let mut beginnings = HashSet::new();
    for at in memchr::memchr2_iter(b'b', b'B', copy) {
        let rest = &copy[at..];
        if !starts_with(rest, b"boundary") {
            continue;
        }
        let rest = &rest[b"boundary".len()..];
        let rest = &rest[..rest.len().min(80)];
        let Some(equals) = memchr::memchr(b'=', rest) else {
            continue;
        };
        let value = rest[equals + 1..].trim_ascii_start();
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let end = value
            .iter()
            .position(|octet| matches!(octet, b'"' | b';' | b'\r' | b'\n' | b' ' | b'\\'));
        let value = &value[..end.unwrap_or(value.len())];
        if !value.is_empty() && beginnings.len() < PARTS_MAX {
            beginnings.insert(value[..value.len().min(BEGINNING_OCTETS)].to_vec());
        }
    }
    beginnings
}

/// Makes lines continue the field before them after [`FIELDS_MAX`] in one header, and takes away
/// parameters after [`PARAMETERS_MAX`].
fn bound_fields(copy: &mut [u8]) {
    let (mut fields, mut parameters, mut from) = (0, 0, 0);
    while from < copy.len() {
        let end = memchr::memchr(b'\n', &copy[from..]).map_or(copy.len(), |at| from + at + 1);
        let line = &mut copy[from..end];
        from = end;
        match line[0] {
            b'\r' | b'\n' | b'-' => (fields, parameters) = (0, 0),
            b' ' | b'\t' => {}
            _ => {
                fields += 1;
                if fields > FIELDS_MAX {
                    line[0] = b' ';
                } else {
                    parameters = 0;
                }
            }
        }
        for octet in line.iter_mut().filter(|octet| **octet == b';') {
            parameters += 1;
            if parameters > PARAMETERS_MAX {
                *octet = b' ';
            }
        }
    }
}

/// Parts of a message, at all depths.
pub const PARTS_MAX: usize = 10_000;
/// How deep parts may be within each other. What is deeper is content without structure.
pub const DEPTH_MAX: usize = 100;
/// Fields of one header.
const FIELDS_MAX: usize = 1000;
/// Parameters of one field.
const PARAMETERS_MAX: usize = 64;
/// What may be searched for boundaries, over all multiparts of a message: about half a second.
const SEARCHED_OCTETS_MAX: usize = 500_000_000;
/// So much of a boundary decides whether a line could be it.
const BEGINNING_OCTETS: usize = 4;

#[cfg(test)]
mod tests;
