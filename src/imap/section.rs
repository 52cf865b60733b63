//! What FETCH's BODY[...] and BINARY[...] name (RFC 9051 §6.4.5), out of a message.

use std::borrow::Cow;
use std::ops::Range;

use imap_codec::imap_types::core::{AString, Vec1};
use imap_codec::imap_types::fetch::Section;

use super::field;
use super::mime::Part;

/// The octets of a section; `None` where the message has no such part.
#[must_use]
pub fn octets<'a>(
    raw: &'a [u8],
    message: &Part,
    section: Option<&Section<'_>>,
) -> Option<Cow<'a, [u8]>> {
    let Some(section) = section else {
        return Some(Cow::Borrowed(raw));
    };
    let inner = |path: Option<&[u32]>| -> Option<Range<usize>> {
        Some(headed(message, path)?.header.clone())
    };
    let numbers = numbers(section);
    let path = numbers.as_deref();
    let range = match section {
        Section::Part(_) => message.locate(path?)?.body.clone(),
        Section::Mime(_) => message.locate(path?)?.header.clone(),
        Section::Header(_) => inner(path)?,
        Section::Text(_) => headed(message, path)?.body.clone(),
        Section::HeaderFields(_, names) => {
            return Some(Cow::Owned(some_fields(&raw[inner(path)?], names, true)));
        }
        Section::HeaderFieldsNot(_, names) => {
            return Some(Cow::Owned(some_fields(&raw[inner(path)?], names, false)));
        }
    };
    raw.get(range).map(Cow::Borrowed)
}

/// The part numbers of a section.
fn numbers(section: &Section<'_>) -> Option<Vec<u32>> {
    let part = match section {
        Section::Part(part) | Section::Mime(part) => Some(part),
        Section::Header(part)
        | Section::Text(part)
        | Section::HeaderFields(part, _)
        | Section::HeaderFieldsNot(part, _) => part.as_ref(),
    }?;
    Some(part.0.as_ref().iter().map(|number| number.get()).collect())
}

/// The message that HEADER and TEXT speak of: the whole, or one within.
fn headed<'a>(message: &'a Part, path: Option<&[u32]>) -> Option<&'a Part> {
    match path {
        None => Some(message),
        Some(path) => match &message.locate(path)?.kind {
            super::mime::Kind::Message(inner) => Some(inner),
            _ => None,
        },
    }
}

/// The fields with these names, or those without, and the empty line.
fn some_fields(header: &[u8], names: &Vec1<AString<'_>>, wanted: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for found in field::fields(header) {
        let mut names = names.as_ref().iter();
        let named = names.any(|name| name.as_ref().eq_ignore_ascii_case(found.name));
        if named == wanted {
            out.extend_from_slice(found.whole);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The part of `octets` that `<first.count>` names.
#[must_use]
pub fn partial(len: usize, partial: Option<(u32, std::num::NonZeroU32)>) -> Range<usize> {
    let Some((first, count)) = partial else {
        return 0..len;
    };
    let first = usize::try_from(first).unwrap_or(usize::MAX).min(len);
    let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
    first..first.saturating_add(count).min(len)
}

/// The section as the answer names it.
pub fn write_name(out: &mut Vec<u8>, section: Option<&Section<'_>>) {
    let Some(section) = section else {
        return;
    };
    let numbers = numbers(section).unwrap_or_default();
    write_path(out, &numbers);
    let (word, names) = match section {
        Section::Part(_) => return,
        Section::Mime(_) => ("MIME", None),
        Section::Header(_) => ("HEADER", None),
        Section::Text(_) => ("TEXT", None),
        Section::HeaderFields(_, names) => ("HEADER.FIELDS", Some(names)),
        Section::HeaderFieldsNot(_, names) => ("HEADER.FIELDS.NOT", Some(names)),
    };
    if !numbers.is_empty() {
        out.push(b'.');
    }
    out.extend_from_slice(word.as_bytes());
    if let Some(names) = names {
        for (at, name) in names.as_ref().iter().enumerate() {
            out.extend_from_slice(if at == 0 { b" (" } else { b" " });
            super::write::astring(out, name.as_ref(), false);
        }
        out.push(b')');
    }
}

/// Part numbers with dots between.
pub fn write_path(out: &mut Vec<u8>, path: &[u32]) {
    for (at, number) in path.iter().enumerate() {
        let dot = if at == 0 { "" } else { "." };
        out.extend_from_slice(format!("{dot}{number}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imap_codec::CommandCodec;
    use imap_codec::decode::Decoder as _;
    use imap_codec::imap_types::command::CommandBody;
    use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName};

    const RAW: &str = "Subject: out\r\nFrom: a@b\r\n c@d\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nX: y\r\n\r\none\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\n--a--\r\n";

    /// The section's name in the answer, and what it holds.
    fn fetch(raw: &str, section: &str) -> (String, Option<String>) {
        let line = format!("a FETCH 1 BODY[{section}]\r\n");
        let (_, command) = CommandCodec::default().decode(line.as_bytes()).unwrap();
        let CommandBody::Fetch {
            macro_or_item_names: MacroOrMessageDataItemNames::MessageDataItemNames(items),
            ..
        } = command.body
        else {
            panic!("{line}");
        };
        let [MessageDataItemName::BodyExt { section, .. }] = &*items else {
            panic!("{line}");
        };
        let message = Part::read(raw.as_bytes());
        let found = octets(raw.as_bytes(), &message, section.as_ref());
        let mut name = Vec::new();
        write_name(&mut name, section.as_ref());
        let found = found.map(|found| String::from_utf8(found.into_owned()).unwrap());
        (String::from_utf8(name).unwrap(), found)
    }

    #[test]
    fn every_kind_of_section_is_found_and_named() {
        for (section, expected) in [
            ("", RAW),
            ("1", "one"),
            ("1.MIME", "X: y\r\n\r\n"),
            ("2", "Subject: in\r\n\r\nbody"),
            ("2.MIME", "Content-Type: message/rfc822\r\n\r\n"),
            ("2.HEADER", "Subject: in\r\n\r\n"),
            ("2.TEXT", "body"),
            ("2.1", "body"),
            ("2.HEADER.FIELDS (SUBJECT)", "Subject: in\r\n\r\n"),
            (
                "HEADER.FIELDS (FROM Subject)",
                "Subject: out\r\nFrom: a@b\r\n c@d\r\n\r\n",
            ),
            (
                "HEADER.FIELDS.NOT (From Content-Type)",
                "Subject: out\r\n\r\n",
            ),
            ("HEADER.FIELDS (None)", "\r\n"),
        ] {
            let (name, found) = fetch(RAW, section);
            assert_eq!(name, section);
            assert_eq!(found.as_deref(), Some(expected), "{section}");
        }
        let (_, header) = fetch(RAW, "HEADER");
        let (_, text) = fetch(RAW, "TEXT");
        assert_eq!(header.unwrap() + &text.unwrap(), RAW);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        for section in ["3", "1.1", "1.HEADER", "1.TEXT", "9.MIME"] {
            assert_eq!(fetch(RAW, section).1, None, "{section}");
        }
    }

    #[test]
    fn partials_end_where_the_octets_do() {
        let count = |count| std::num::NonZeroU32::new(count).unwrap();
        assert_eq!(partial(5, None), 0..5);
        assert_eq!(partial(5, Some((1, count(3)))), 1..4);
        assert_eq!(partial(5, Some((100, count(3)))), 5..5);
        assert_eq!(partial(5, Some((4, count(u32::MAX)))), 4..5);
    }
}
