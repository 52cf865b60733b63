//! Header fields in seven bits: encoded words (RFC 2047) and extended parameters (RFC 2231).

use mail_builder::encoders::Base64Encoder;

/// The value of a field anew: from behind the colon to its CRLF. `None` when the field has no
/// place for an encoding, or its octets are not UTF-8.
pub(super) fn encode(name: &str, value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok()?;
    // Unfolding takes the line ends only (RFC 5322 §2.2.3).
    let value = value.replace("\r\n", "");
    let value = value.trim();
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    let extension = name
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    let mut encoded = if extension || is(&UNSTRUCTURED) {
        unstructured(value)
    } else if is(&ADDRESSES) {
        addresses(value)?
    } else if is(&PARAMETERS) {
        parameters(value)?
    } else {
        return None;
    };
    encoded.insert(0, ' ');
    encoded.push_str("\r\n");
    Some(encoded)
}

/// Free text: the words from the first to the last that are not ASCII become encoded words.
fn unstructured(text: &str) -> String {
    let mut words = text.split(' ').scan(0, |end, word| {
        let start = *end;
        *end = start + word.len() + 1;
        Some((start, start + word.len(), word.is_ascii()))
    });
    let Some((first, end, _)) = words.find(|(_, _, ascii)| !ascii) else {
        return text.to_owned();
    };
    let last = words
        .filter(|(_, _, ascii)| !ascii)
        .last()
        .map_or(end, |(_, end, _)| end);
    let (before, rest) = text.split_at(first);
    let (middle, after) = rest.split_at(last - first);
    format!("{before}{}{after}", encoded_words(middle))
}

/// A list of mailboxes and groups: display names become encoded words, addresses must be ASCII.
fn addresses(text: &str) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = phrase_end(rest);
        let (phrase, tail) = rest.split_at(end);
        // A phrase stands before `<` or, as the name of a group, before `:`.
        let named = tail.starts_with(['<', ':']);
        if phrase.is_ascii() {
            result.push_str(phrase);
        } else if named && !phrase.contains('(') {
            if phrase.starts_with(' ') {
                result.push(' ');
            }
            result.push_str(&encoded_words(&phrase_text(phrase)));
            result.push(' ');
        } else {
            return None;
        }
        let taken = if tail.starts_with('<') {
            tail.find('>')? + 1
        } else {
            tail.chars().next().map_or(0, char::len_utf8)
        };
        let (address, tail) = tail.split_at(taken);
        if !address.is_ascii() {
            return None;
        }
        result.push_str(address);
        rest = tail;
    }
    // `Name :` is allowed, `Name:` is usual.
    Some(result.replace(" :", ":"))
}

/// Octets up to the next `<`, `,`, `;` or `:` that is not inside quotes or a comment.
fn phrase_end(text: &str) -> usize {
    let (mut quoted, mut escaped, mut comments) = (false, false, 0u32);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted || comments > 0 => escaped = true,
            b'"' if comments == 0 => quoted = !quoted,
            b'(' if !quoted => comments += 1,
            b')' if !quoted => comments = comments.saturating_sub(1),
            b'<' | b',' | b';' | b':' if !quoted && comments == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// The text of a phrase: quotes taken off, runs of blanks as one.
fn phrase_text(phrase: &str) -> String {
    let mut text = String::with_capacity(phrase.len());
    let (mut quoted, mut escaped) = (false, false);
    for character in phrase.trim().chars() {
        match character {
            _ if escaped => {
                text.push(character);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted && text.ends_with(' ') => {}
            _ => text.push(character),
        }
    }
    text
}

/// A value with parameters: those that are not ASCII are written `name*=utf-8''...`.
fn parameters(text: &str) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = parameter_end(rest);
        let (parameter, tail) = rest.split_at(end);
        if parameter.is_ascii() {
            result.push_str(parameter);
        } else {
            let (name, value) = parameter.split_once('=')?;
            if !name.is_ascii() || name.trim().is_empty() {
                return None;
            }
            result.push_str("\r\n ");
            result.push_str(name.trim());
            result.push_str("*=utf-8''");
            percent(&phrase_text(value), &mut result);
        }
        let taken = tail.len().min(1);
        result.push_str(&tail[..taken]);
        rest = &tail[taken..];
    }
    let short = result
        .split("\r\n")
        .all(|line| line.len() <= LINE_OCTETS_MAX);
    short.then_some(result)
}

/// Octets up to the next `;` that is not inside quotes.
fn parameter_end(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// RFC 2231 §7: all but `attribute-char` as `%XX`.
fn percent(text: &str, result: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_') {
            result.push(char::from(octet));
        } else {
            result.push('%');
            result.push(char::from(HEX[usize::from(octet >> 4)]));
            result.push(char::from(HEX[usize::from(octet & 15)]));
        }
    }
}

/// The text as encoded words, each on a line of its own; the blanks between them are none when
/// they are decoded (RFC 2047 §2, §6.2).
fn encoded_words(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(rest.floor_char_boundary(WORD_OCTETS_MAX));
        if !result.is_empty() {
            result.push_str("\r\n ");
        }
        result.push_str("=?utf-8?B?");
        let mut encoded = Vec::with_capacity(WORD_OCTETS_MAX * 2);
        Base64Encoder::new().encode_into(word.as_bytes(), &mut encoded);
        result.extend(encoded.into_iter().map(char::from));
        result.push_str("?=");
        rest = tail;
    }
    result
}

/// Octets of text in one encoded word: 60 in base 64, below the 75 of RFC 2047 §2.
const WORD_OCTETS_MAX: usize = 45;
/// Octets of a header line (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;
const UNSTRUCTURED: [&str; 4] = ["Subject", "Comments", "Content-Description", "Organization"];
/// RFC 5322 §3.6.2, §3.6.3, §3.6.6.
const ADDRESSES: [&str; 12] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
];
const PARAMETERS: [&str; 2] = ["Content-Type", "Content-Disposition"];
