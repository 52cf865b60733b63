//! Header fields: where they stand, and their values as mail-parser reads them.
//!
//! ENVELOPE and BODYSTRUCTURE hand values out as they were written: clients decode encoded words
//! (RFC 2047) and parameters' charsets (RFC 2231) themselves. mail-parser decodes both, so the
//! octets that begin them are put aside while it reads. Parameters in pieces are put together.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, Address, HeaderValue};

/// One field of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, as written.
    pub name: &'a [u8],
    /// What is behind the colon, line ends included.
    pub value: &'a [u8],
    /// Everything.
    pub whole: &'a [u8],
}

/// The fields of a header, in their order. A line that is none belongs to the field before it.
pub fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            let whole = first_field(rest)?;
            rest = &rest[whole.len()..];
            if let Some(colon) = memchr::memchr(b':', whole) {
                return Some(Field {
                    name: whole[..colon].trim_ascii_end(),
                    value: &whole[colon + 1..],
                    whole,
                });
            }
        }
    })
}

/// The first line and those that continue it; `None` at the empty line that ends the header.
fn first_field(rest: &[u8]) -> Option<&[u8]> {
    if rest.is_empty() || rest.starts_with(b"\r\n") || rest.starts_with(b"\n") {
        return None;
    }
    let mut end = 0;
    loop {
        end += memchr::memchr(b'\n', &rest[end..]).map_or(rest.len() - end, |at| at + 1);
        match rest.get(end) {
            Some(b' ' | b'\t') => {}
            _ => return Some(&rest[..end]),
        }
    }
}

/// The value of the first field of that name.
#[must_use]
pub fn find<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(header)
        .find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.value)
}

/// The values of all fields of that name, as one list.
#[must_use]
pub fn find_all(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut all: Option<Vec<u8>> = None;
    let named = |field: &Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes());
    for field in fields(header).filter(named) {
        match &mut all {
            Some(all) if all.len() > VALUE_OCTETS_MAX => break,
            Some(all) => {
                all.truncate(all.trim_ascii_end().len());
                all.extend_from_slice(b", ");
                all.extend_from_slice(field.value);
            }
            None => all = Some(field.value.to_vec()),
        }
    }
    all
}

/// A value on one line, without the space around it.
#[must_use]
pub fn unfolded(value: &[u8]) -> Vec<u8> {
    let value = value[..value.len().min(VALUE_OCTETS_MAX)].trim_ascii();
    let line_ends = |octet: &u8| !matches!(octet, b'\r' | b'\n');
    let mut out: Vec<u8> = value.iter().copied().filter(line_ends).collect();
    super::write::without_nul(&mut out);
    out
}

/// A value with its encoded words decoded, on one line.
#[must_use]
pub fn text(value: &[u8]) -> String {
    match MessageStream::new(&with_short_words(value)).parse_unstructured() {
        HeaderValue::Text(text) => text.replace(char::from(EQUALS_ASIDE), "="),
        _ => String::new(),
    }
}

/// A type with its parameters, as Content-Type and Content-Disposition have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// In lower case.
    pub kind: String,
    /// In lower case; empty where there is none.
    pub subkind: String,
    /// Names in lower case, values as written, but one that came in pieces is whole.
    pub parameters: Vec<(String, String)>,
}

impl Typed {
    /// The first parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }
}

/// Reads Content-Type or Content-Disposition; `None` for what is neither.
#[must_use]
pub fn typed(value: &[u8]) -> Option<Typed> {
    let mut value = with_few_parameters(value);
    for at in 0..value.len() {
        match value[at] {
            b'*' => value[at] = STAR_ASIDE,
            b'=' if value.get(at + 1) == Some(&b'?') => value[at] = EQUALS_ASIDE,
            _ => {}
        }
    }
    let HeaderValue::ContentType(found) = MessageStream::new(&value).parse_content_type() else {
        return None;
    };
    let parameters = found.attributes.unwrap_or_default();
    let parameters = parameters
        .iter()
        .map(|parameter| (put_back(&parameter.name), put_back(&parameter.value)))
        .collect();
    let mut subkind = found.c_subtype.as_deref().map(put_back).unwrap_or_default();
    // `text/html charset=utf-8` means the type that it names.
    let end = subkind.find(|c: char| c.is_whitespace() || c == '/');
    subkind.truncate(end.unwrap_or(subkind.len()));
    Some(Typed {
        kind: put_back(&found.c_type),
        subkind,
        parameters: joined(parameters),
    })
}

/// Parameters whose value came in pieces, made whole as RFC 2231 §6 asks of IMAP servers. Pieces
/// behind a gap stay as they are.
fn joined(parameters: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut places = BTreeMap::new();
    for (at, (name, _)) in parameters.iter().enumerate() {
        if let Some((base, number, encoded)) = piece(name) {
            places.entry((base, number)).or_insert((at, encoded));
        }
    }
    // The first piece has all of them, the others have none; what is no piece stays as it is.
    let mut pieces: Vec<Option<Vec<(usize, bool)>>> = vec![None; parameters.len()];
    for ((base, _), (first, _)) in places.iter().filter(|((_, number), _)| *number == 0) {
        let all = (0..).map_while(|number| places.get(&(*base, number)).copied());
        let all: Vec<(usize, bool)> = all.collect();
        for (at, _) in &all {
            pieces[*at] = Some(Vec::new());
        }
        pieces[*first] = Some(all);
    }
    let all = pieces.iter().zip(&parameters);
    let all = all.filter_map(|(pieces, parameter)| match pieces.as_deref() {
        None => Some(parameter.clone()),
        Some([]) => None,
        Some(pieces) => Some(whole(&parameters, piece(&parameter.0)?.0, pieces)),
    });
    all.collect()
}

/// One parameter out of its pieces. Where one is percent-encoded, the others become so.
fn whole(
    parameters: &[(String, String)],
    base: &str,
    pieces: &[(usize, bool)],
) -> (String, String) {
    let encoded = pieces.iter().any(|(_, encoded)| *encoded);
    let mut value = String::new();
    for (at, is_encoded) in pieces {
        let text = &parameters[*at].1;
        if !encoded || *is_encoded {
            value.push_str(text);
            continue;
        }
        for octet in text.bytes() {
            if octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_') {
                value.push(char::from(octet));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(value, "%{octet:02X}");
            }
        }
    }
    let star = if encoded { "*" } else { "" };
    (format!("{base}{star}"), value)
}

/// `name*1*`: the name, the piece's number, and whether it is encoded.
fn piece(name: &str) -> Option<(&str, usize, bool)> {
    let encoded = name.ends_with('*');
    let (base, number) = name.strip_suffix('*').unwrap_or(name).rsplit_once('*')?;
    Some((base, number.parse().ok()?, encoded))
}

/// The word of Content-Transfer-Encoding in lower case, without comments; empty where there is none.
#[must_use]
pub fn encoding(header: &[u8]) -> String {
    let value = find(header, "Content-Transfer-Encoding").unwrap_or_default();
    let value = String::from_utf8_lossy(&unfolded(value)).to_ascii_lowercase();
    let (mut word, mut depth) = (String::new(), 0_usize);
    for c in value.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => word.push(c),
            _ => {}
        }
    }
    word.trim_end_matches(';').trim().to_owned()
}

/// The boundary that a Content-Type names, which may be in pieces (RFC 2231 §3).
#[must_use]
pub fn boundary(value: &[u8]) -> Option<Vec<u8>> {
    let plain = typed(value)?;
    let boundary = match plain.parameter("boundary") {
        Some(boundary) => boundary.to_owned(),
        None => match MessageStream::new(&with_few_parameters(value)).parse_content_type() {
            HeaderValue::ContentType(found) => found.attribute("boundary")?.to_owned(),
            _ => return None,
        },
    };
    let boundary = boundary.trim_end();
    (!boundary.is_empty()).then(|| boundary.as_bytes().to_vec())
}

fn with_few_parameters(value: &[u8]) -> Vec<u8> {
    let mut value = ended(value);
    let surplus = memchr::memchr_iter(b';', &value).nth(PARAMETERS_MAX);
    if let Some(at) = surplus {
        value.truncate(at);
        value.extend_from_slice(b"\r\n");
    }
    value
}

/// An address as ENVELOPE has it (RFC 9051 §7.5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mailbox {
    /// Somebody.
    Person {
        /// The display name, as written.
        name: Option<String>,
        /// The source route.
        route: Option<String>,
        /// Before the `@`.
        local_part: String,
        /// Behind it; empty where there is none.
        domain: String,
    },
    /// A group begins.
    Group(String),
    /// The group ends.
    EndOfGroup,
}

/// Reads a list of addresses. `decoded` decodes their names.
#[must_use]
pub fn addresses(value: &[u8], decoded: bool) -> Vec<Mailbox> {
    let ended = if decoded {
        with_short_words(value)
    } else {
        ended(value)
    };
    let mut value = atoms_for_quoted(&ended);
    let colons: Vec<usize> = memchr::memchr_iter(b':', &value).skip(COLONS_MAX).collect();
    for at in colons {
        value[at] = COLON_ASIDE;
    }
    if !decoded {
        for at in 0..value.len().saturating_sub(1) {
            if value[at..].starts_with(b"=?") {
                value[at] = EQUALS_ASIDE;
            }
        }
    }
    let mut found = Vec::new();
    match MessageStream::new(&value).parse_address() {
        HeaderValue::Address(Address::List(list)) => found.extend(list.iter().map(person)),
        HeaderValue::Address(Address::Group(groups)) => {
            for group in groups {
                if let Some(name) = &group.name {
                    found.push(Mailbox::Group(put_back(name)));
                }
                found.extend(group.addresses.iter().map(person));
                if group.name.is_some() {
                    found.push(Mailbox::EndOfGroup);
                }
            }
        }
        _ => {}
    }
    found
}

/// mail-parser takes a quoted local part for a name, and keeps the space around `@`. Here the quotes and
/// that space are gone, and what only quotes may have is set aside.
fn atoms_for_quoted(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let (mut rest, mut quotes_end, mut separator) = (value, true, 0);
    while let Some((octet, behind)) = rest.split_first() {
        let begins = *octet == b'"' && quotes_end;
        let end = begins.then(|| end_of_quoted(behind)).flatten();
        // One that does not end is looked for once.
        quotes_end &= !begins || end.is_some();
        let here = value.len() - behind.len();
        if separator < here {
            let next = behind.iter().position(|octet| matches!(octet, b'<' | b','));
            separator = next.map_or(value.len(), |next| here + next);
        }
        if let Some(end) = end {
            let (text, after) = (&behind[..end], &behind[end + 1..]);
            if after.trim_ascii_start().starts_with(b"@") {
                set_aside(&mut out, text);
            } else {
                out.extend_from_slice(&rest[..end + 2]);
            }
            rest = after;
        } else if *octet == b'@' && value.get(separator) != Some(&b'<') {
            out.truncate(out.trim_ascii_end().len());
            out.push(b'@');
            rest = behind.trim_ascii_start();
        } else {
            // Before `<` it is a name that has an `@`.
            out.push(*octet);
            rest = behind;
        }
    }
    if !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// What stood in quotes, as an atom could.
fn set_aside(out: &mut Vec<u8>, text: &[u8]) {
    let mut escaped = false;
    for octet in text {
        escaped = *octet == b'\\' && !escaped;
        let aside = QUOTED_ASIDE.iter().position(|special| special == octet);
        match aside.and_then(|at| u8::try_from(at).ok()) {
            _ if escaped => {}
            Some(at) => out.push(FIRST_ASIDE + at),
            None => out.push(*octet),
        }
    }
}

/// Where the quote that began before `text` ends.
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    // Each quote that is not closed would cost a look at all that follows.
    text.iter().take(QUOTED_OCTETS_MAX).position(|octet| {
        let ends = *octet == b'"' && !escaped;
        escaped = *octet == b'\\' && !escaped;
        ends
    })
}

fn person(address: &Addr<'_>) -> Mailbox {
    let whole = put_back(address.address.as_deref().unwrap_or_default());
    let (route, whole) = match whole
        .strip_prefix('@')
        .and_then(|rest| rest.split_once(':'))
    {
        Some((route, rest)) => (Some(format!("@{route}")), rest.to_owned()),
        None => (None, whole),
    };
    let mut name = address.name.as_deref().map(put_back);
    let (local_part, domain) = match whole.rsplit_once('@') {
        Some((local_part, domain)) => (local_part.to_owned(), domain.to_owned()),
        // One word alone is somebody here, not a name of nobody.
        None if whole.is_empty() && name.as_ref().is_some_and(|name| !name.contains(' ')) => {
            (name.take().unwrap_or_default(), String::new())
        }
        None => (whole, String::new()),
    };
    Mailbox::Person {
        name,
        route,
        local_part,
        domain,
    }
}

/// A moment, as Date tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Seconds since 1970, UTC.
    pub seconds: i64,
    /// Days since 1970 where it was sent: SENTBEFORE and its kin do not look at time and zone.
    pub day: i64,
}

/// Reads Date.
#[must_use]
pub fn sent(value: &[u8]) -> Option<Sent> {
    let read = |value: &[u8]| match MessageStream::new(value).parse_date() {
        HeaderValue::DateTime(date) if date.is_valid() => Some(date),
        _ => None,
    };
    let value = ended(value);
    // Without a zone the time is UTC (RFC 5256 §2.2).
    let date = read(&value).or_else(|| read(&[value.trim_ascii_end(), b" +0000\r\n"].concat()))?;
    let seconds = date.to_timestamp();
    let zone = (i64::from(date.tz_hour) * 60 + i64::from(date.tz_minute)) * 60;
    let zone = if date.tz_before_gmt { -zone } else { zone };
    Some(Sent {
        seconds,
        day: (seconds + zone).div_euclid(DAY_SECONDS),
    })
}

/// The message-ids in a value, without their brackets.
#[must_use]
pub fn ids(value: &[u8]) -> Vec<String> {
    let value = ended(value);
    match MessageStream::new(&value).parse_id() {
        HeaderValue::Text(id) => vec![id.into_owned()],
        HeaderValue::TextList(ids) => ids.into_iter().map(|id| id.into_owned()).collect(),
        _ => Vec::new(),
    }
}

/// The value as a header would end it; mail-parser reads up to a line that does not continue.
fn ended(value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(VALUE_OCTETS_MAX)];
    let mut ended = value.trim_ascii_end().to_vec();
    if str::from_utf8(&ended).is_err() {
        // Neither encoded nor UTF-8: most often it is Latin-1.
        let text: String = ended.iter().map(|octet| char::from(*octet)).collect();
        ended = text.into_bytes();
    }
    super::write::without_nul(&mut ended);
    ended.extend_from_slice(b"\r\n");
    ended
}

/// A value in which what looks like an encoded word and does not end soon is none (RFC 2047 §2):
/// mail-parser would look for its end in all that follows, and then for that of the next one.
fn with_short_words(value: &[u8]) -> Vec<u8> {
    let mut value = ended(value);
    let mut from = 0;
    while let Some(begins) = memchr::memmem::find(&value[from..], b"=?") {
        let at = from + begins;
        from = at + 2;
        let near = &value[from..value.len().min(from + WORD_OCTETS_MAX)];
        match memchr::memmem::find(near, b"?=") {
            // None begins within a word: base64 may end in `=`, and then comes the word's `?=`.
            Some(ends) => from += ends + 2,
            None => value[at] = EQUALS_ASIDE,
        }
    }
    value
}

fn put_back(text: &str) -> String {
    let back = |c| match c {
        '\u{1}' => '=',
        '\u{2}' => '*',
        other => u8::try_from(other)
            .ok()
            .and_then(|octet| octet.checked_sub(FIRST_ASIDE))
            .and_then(|at| QUOTED_ASIDE.get(usize::from(at)))
            .map_or(other, |octet| char::from(*octet)),
    };
    text.chars().map(back).collect()
}

/// What is read of one field: some thousand recipients.
const VALUE_OCTETS_MAX: usize = 256 * 1024;
/// Parameters of one field. Real ones have a handful.
const PARAMETERS_MAX: usize = 100;
/// Octets between quotes. Local parts have 64.
const QUOTED_OCTETS_MAX: usize = 2000;
/// Octets of an encoded word. RFC 2047 §2 allows 75; others write one for a whole subject.
const WORD_OCTETS_MAX: usize = 2000;
/// Colons of one list of addresses: behind them no group begins. mail-parser writes a name anew for
/// each.
const COLONS_MAX: usize = 200;
/// Stands for `=` before `?`.
const EQUALS_ASIDE: u8 = 1;
/// Stands for `*`.
const STAR_ASIDE: u8 = 2;
/// What an atom cannot have; each stands at `FIRST_ASIDE` and its place here.
const QUOTED_ASIDE: &[u8; 11] = b" \"\\<>,;:()@";
/// Control characters that no address has.
const FIRST_ASIDE: u8 = 0x0e;
/// Stands for `:`, as it does in [`QUOTED_ASIDE`].
const COLON_ASIDE: u8 = FIRST_ASIDE + 7;
/// Seconds of a day.
pub const DAY_SECONDS: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_continuation_lines_and_end_at_the_empty_line() {
        let header = b"A: 1\r\n 2\r\nnonsense\r\nB : 3\r\n\r\nC: 4\r\n";
        let found: Vec<_> = fields(header)
            .map(|field| (field.name, field.value))
            .collect();
        assert_eq!(
            found,
            [(&b"A"[..], &b" 1\r\n 2\r\n"[..]), (b"B", b" 3\r\n")]
        );
        assert_eq!(find(header, "b"), Some(&b" 3\r\n"[..]));
        assert_eq!(find(header, "C"), None);
        assert_eq!(unfolded(b" a\r\n\tb \r\n"), b"a\tb");
    }

    #[test]
    fn parameters_stay_as_they_were_written() {
        let typed = typed(
            b" Text/Plain; CHARSET=\"utf-8\";\r\n filename*0*=utf-8''%c3%b6; filename*2=x; n=\"=?utf-8?q?a?=\"\r\n",
        )
        .unwrap();
        assert_eq!((&*typed.kind, &*typed.subkind), ("text", "plain"));
        let expected = [
            ("charset", "utf-8"),
            ("filename*", "utf-8''%c3%b6"),
            ("filename*2", "x"),
            ("n", "=?utf-8?q?a?="),
        ];
        let found: Vec<_> = typed
            .parameters
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn parameters_that_come_in_pieces_are_whole() {
        for (pieces, whole) in [
            ("n*0=a; n*1=b; n*2=c", [("n", "abc")].as_slice()),
            ("n*1=b; x=y; n*0=a", &[("x", "y"), ("n", "ab")]),
            (
                "n*0*=utf-8''%C3; n*1*=%B6; n*2=\" .txt\"",
                &[("n*", "utf-8''%C3%B6%20.txt")],
            ),
            ("n*1=a; n*2=b", &[("n*1", "a"), ("n*2", "b")]),
            ("n*0=a; n*2=c", &[("n", "a"), ("n*2", "c")]),
            ("n*=utf-8''%C3%B6", &[("n*", "utf-8''%C3%B6")]),
            ("n*0=a; n*0=b; n*1=c", &[("n", "ac"), ("n*0", "b")]),
            ("n*x=a; *0=b", &[("n*x", "a"), ("", "b")]),
        ] {
            let typed = typed(format!(" a/b; {pieces}\r\n").as_bytes()).unwrap();
            let found = typed
                .parameters
                .iter()
                .map(|(name, value)| (&**name, &**value));
            assert_eq!(found.collect::<Vec<_>>(), whole, "{pieces}");
        }
    }

    #[test]
    fn types_end_where_their_word_does() {
        for value in [
            "text/html charset=utf-8",
            "text/html/x",
            "text/html (c); a=b",
        ] {
            let typed = typed(value.as_bytes()).unwrap();
            assert_eq!((&*typed.kind, &*typed.subkind), ("text", "html"), "{value}");
        }
    }

    #[test]
    fn encodings_are_words_without_comments() {
        for (value, word) in [
            ("BASE64", "base64"),
            ("(c (d)) base64 (e)", "base64"),
            ("8bit;", "8bit"),
            ("quoted printable", "quoted printable"),
            ("", ""),
        ] {
            let header = format!("Content-Transfer-Encoding: {value}\r\n\r\n");
            assert_eq!(encoding(header.as_bytes()), word);
        }
        assert_eq!(encoding(b"\r\n"), "");
    }

    #[test]
    fn local_parts_may_be_quoted_and_have_space_around() {
        let local = |value: &str| match &*addresses(value.as_bytes(), false) {
            [
                Mailbox::Person {
                    name: None,
                    local_part,
                    domain,
                    ..
                },
            ] if domain == "c.test" => local_part.clone(),
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(local("\"a b\"@c.test"), "a b");
        assert_eq!(
            local("<\"a\\\"b, (c) <d>;:\\\\@\" @c.test>"),
            "a\"b, (c) <d>;:\\@"
        );
        assert_eq!(local("a @ c.test"), "a");
        assert_eq!(local("< a @ c.test >"), "a");
        let named = addresses(b"B @ A <a@c.test>", false);
        assert!(
            matches!(&named[0], Mailbox::Person { name: Some(name), .. } if name == "B @ A"),
            "{named:?}"
        );
        let named = addresses(b"\"B, @ A\" <a@c.test>, \"open <x", false);
        assert!(
            matches!(&named[0], Mailbox::Person { name: Some(name), .. } if name == "B, @ A"),
            "{named:?}"
        );
    }

    #[test]
    fn parameters_by_the_hundred_thousand_are_not_all_read() {
        let mut value = b"text/plain".to_vec();
        for number in 0..100_000 {
            value.extend_from_slice(format!("; a*{number}*=x").as_bytes());
        }
        let typed = typed(&value).unwrap();
        assert_eq!(typed.parameter("a*"), Some(&*"x".repeat(PARAMETERS_MAX)));
    }

    #[test]
    fn addresses_with_names_routes_and_groups() {
        let person = |name: Option<&str>, local: &str, domain: &str| Mailbox::Person {
            name: name.map(str::to_owned),
            route: None,
            local_part: local.to_owned(),
            domain: domain.to_owned(),
        };
        assert_eq!(
            addresses(
                b" =?utf-8?q?A=C3=B6?= <a@b.test>, c@d.test, \"E, F\" <e@f.test>\r\n",
                false
            ),
            [
                person(Some("=?utf-8?q?A=C3=B6?="), "a", "b.test"),
                person(None, "c", "d.test"),
                person(Some("E, F"), "e", "f.test"),
            ]
        );
        assert_eq!(
            addresses(b"=?utf-8?q?A=C3=B6?= <a@b.test>", true),
            [person(Some("Aö"), "a", "b.test")]
        );
        assert_eq!(
            addresses(b" Friends: a@b.test;\r\n", false),
            [
                Mailbox::Group("Friends".to_owned()),
                person(None, "a", "b.test"),
                Mailbox::EndOfGroup,
            ]
        );
        assert_eq!(
            addresses(b"<@x,@y:a@b.test>", false),
            [Mailbox::Person {
                name: None,
                route: Some("@x,@y".to_owned()),
                local_part: "a".to_owned(),
                domain: "b.test".to_owned(),
            }]
        );
        assert_eq!(addresses(b" ", false), []);
        assert_eq!(
            addresses(b"M\xfcller <m@b.test>", false),
            [person(Some("Müller"), "m", "b.test")]
        );
        let twice = find_all(b"To: a@b\r\nCc: x@y\r\nTo: c@d\r\n\r\n", "to").unwrap();
        assert_eq!(addresses(&twice, false).len(), 2);
    }

    #[test]
    fn words_and_groups_without_end_are_read_as_they_stand() {
        let endless = "=?AB?q?x".repeat(30_000);
        assert_eq!(text(endless.as_bytes()), endless);
        assert_eq!(text(b"=?utf-8?q?=C3=B6?= =?utf-8?q?x"), "ö =?utf-8?q?x");
        assert_eq!(text(b"=?utf-8?b?dHfDtg==?="), "twö");
        assert_eq!(text(b"=?utf-8?b?dHfDtg==?= =?utf-8?B?dHfDtg==?="), "twötwö");
        let long = format!("=?utf-8?q?{}?=", "x".repeat(1500));
        assert_eq!(text(long.as_bytes()), "x".repeat(1500));
        assert_eq!(QUOTED_ASIDE[7], b':');
        let groups = addresses("a@b:".repeat(60_000).as_bytes(), true);
        assert!(groups.len() <= 3 * (COLONS_MAX + 1), "{}", groups.len());
        let quotes = addresses(r#""\""#.repeat(60_000).as_bytes(), true);
        assert!(quotes.len() < 60_000);
    }

    #[test]
    fn a_date_has_its_own_day() {
        let late = sent(b" Mon, 1 Jan 2024 23:30:00 -0100\r\n").unwrap();
        assert_eq!(late.day, 19_723);
        assert_eq!(late.seconds, 19_724 * DAY_SECONDS + 1800);
        assert_eq!(sent(b" yesterday\r\n"), None);
        let no_zone = sent(b" Mon, 1 Jan 2024 23:30:00\r\n").unwrap();
        assert_eq!(no_zone.seconds, 19_724 * DAY_SECONDS - 1800);
    }

    #[test]
    fn ids_lose_their_brackets() {
        assert_eq!(ids(b" <a@b>\r\n <c@d>\r\n"), ["a@b", "c@d"]);
        assert_eq!(ids(b""), Vec::<String>::new());
    }
}
