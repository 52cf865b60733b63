//! BODY and BODYSTRUCTURE (RFC 9051 §7.5.2), out of a message's parts.

use super::envelope;
use super::field::{self, Typed};
use super::mime::{Kind, Part};
use super::write;

/// What a part's header says of it besides its type, as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// ENVELOPE, where the header is that of a message.
    pub envelope: Vec<u8>,
    /// Id, description and encoding.
    basic: Vec<u8>,
    /// MD5.
    md5: Vec<u8>,
    /// Disposition, language and location.
    extension: Vec<u8>,
}

impl Described {
    /// Reads a header.
    #[must_use]
    pub fn of(header: &[u8], is_message: bool) -> Self {
        let mut described = Self::default();
        if is_message {
            envelope::write(&mut described.envelope, header);
        }
        let out = &mut described.basic;
        text(out, header, "Content-ID");
        out.push(b' ');
        text(out, header, "Content-Description");
        out.push(b' ');
        let encoding = match field::encoding(header) {
            word if word.is_empty() => "7bit".to_owned(),
            word => word,
        };
        write::string(out, encoding.as_bytes(), false);
        text(&mut described.md5, header, "Content-MD5");
        common_extension(&mut described.extension, header);
        described
    }
}

/// Writes BODYSTRUCTURE, or BODY where `extended` is false.
pub fn write(out: &mut Vec<u8>, part: &Part, extended: bool) {
    out.push(b'(');
    match &part.kind {
        Kind::Multipart(parts) => {
            for part in parts {
                write(out, part, extended);
            }
            out.push(b' ');
            write::string(out, part.typed.subkind.as_bytes(), false);
            if extended {
                out.push(b' ');
                parameters(out, &part.typed);
            }
        }
        Kind::Leaf => {
            single(out, part);
            if part.typed.kind == "text" {
                number(out, part.lines);
            }
        }
        Kind::Message(inner) => {
            single(out, part);
            out.push(b' ');
            out.extend_from_slice(&inner.described.envelope);
            out.push(b' ');
            write(out, inner, extended);
            number(out, part.lines);
        }
    }
    if extended {
        if !matches!(part.kind, Kind::Multipart(_)) {
            out.push(b' ');
            out.extend_from_slice(&part.described.md5);
        }
        out.push(b' ');
        out.extend_from_slice(&part.described.extension);
    }
    out.push(b')');
}

/// Type, parameters, id, description, encoding and size.
fn single(out: &mut Vec<u8>, part: &Part) {
    write::string(out, part.typed.kind.as_bytes(), false);
    out.push(b' ');
    write::string(out, part.typed.subkind.as_bytes(), false);
    out.push(b' ');
    parameters(out, &part.typed);
    out.push(b' ');
    out.extend_from_slice(&part.described.basic);
    number(out, part.body.len());
}

/// Disposition, language and location.
fn common_extension(out: &mut Vec<u8>, header: &[u8]) {
    let disposition = field::find(header, "Content-Disposition").and_then(field::typed);
    match disposition {
        Some(disposition) => {
            out.push(b'(');
            write::string(out, disposition.kind.as_bytes(), false);
            out.push(b' ');
            parameters(out, &disposition);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    languages(out, header);
    out.push(b' ');
    text(out, header, "Content-Location");
}

fn languages(out: &mut Vec<u8>, header: &[u8]) {
    let value = field::find(header, "Content-Language").map(field::unfolded);
    let value = value.unwrap_or_default();
    let tags: Vec<&[u8]> = value
        .split(|octet| *octet == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|tag| !tag.is_empty())
        .collect();
    if tags.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (at, tag) in tags.iter().enumerate() {
        out.push(if at == 0 { b'(' } else { b' ' });
        write::string(out, tag, false);
    }
    out.push(b')');
}

fn parameters(out: &mut Vec<u8>, typed: &Typed) {
    if typed.parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (at, (name, value)) in typed.parameters.iter().enumerate() {
        out.push(if at == 0 { b'(' } else { b' ' });
        write::string(out, name.as_bytes(), false);
        out.push(b' ');
        write::string(out, value.as_bytes(), false);
    }
    out.push(b')');
}

fn text(out: &mut Vec<u8>, header: &[u8], name: &str) {
    let value = field::find(header, name).map(field::unfolded);
    write::nstring(out, value.as_deref().filter(|value| !value.is_empty()));
}

fn number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(format!(" {number}").as_bytes());
}

#[cfg(test)]
mod tests;
