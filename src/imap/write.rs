//! How values are written: quoted where that can be, as literals where it cannot (RFC 9051 §4.3),
//! dates, sets of numbers, names of flags.

use std::fmt::Write as _;

use jiff::Timestamp;

/// A string: quoted, or a literal when an octet cannot be quoted. With `utf8`, UTF-8 can
/// (RFC 9051 §9, RFC 6855 §3).
pub fn string(out: &mut Vec<u8>, octets: &[u8], utf8: bool) {
    let plain = octets.len() <= QUOTED_OCTETS_MAX
        && octets.iter().all(|octet| (0x20..0x7f).contains(octet));
    let quotable = plain
        || utf8
            && octets.len() <= QUOTED_OCTETS_MAX
            && !octets.iter().any(|octet| *octet < 0x20 || *octet == 0x7f)
            && str::from_utf8(octets).is_ok();
    if !quotable {
        return literal(out, octets);
    }
    out.push(b'"');
    for octet in octets {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
}

/// A string, or NIL for none.
pub fn nstring(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => string(out, octets, false),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// An astring: bare where it can be.
pub fn astring(out: &mut Vec<u8>, octets: &[u8], utf8: bool) {
    if !octets.is_empty()
        && !octets.eq_ignore_ascii_case(b"NIL")
        && octets.iter().all(|octet| is_astring_octet(*octet))
    {
        out.extend_from_slice(octets);
    } else {
        string(out, octets, utf8);
    }
}

/// A literal: announcement and octets. NUL has no place in one: it becomes 0x80, of no meaning
/// either.
pub fn literal(out: &mut Vec<u8>, octets: &[u8]) {
    announce(out, u64::try_from(octets.len()).unwrap_or(u64::MAX));
    let start = out.len();
    out.extend_from_slice(octets);
    without_nul(&mut out[start..]);
}

/// `{n}` and the end of the line: so many octets follow.
pub fn announce(out: &mut Vec<u8>, octets: u64) {
    out.extend_from_slice(format!("{{{octets}}}\r\n").as_bytes());
}

/// NUL cannot stand in a literal.
pub fn without_nul(octets: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(0, &octets[at..]) {
        at += found;
        octets[at] = 0x80;
    }
}

fn is_astring_octet(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\".contains(&octet)
}

/// INTERNALDATE's form, in UTC.
#[must_use]
pub fn date_time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("\"%e-%b-%Y %H:%M:%S +0000\"").to_string()
}

/// A set of ascending numbers, with ranges.
#[must_use]
pub fn set(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut out = String::new();
    let mut run: Option<(u32, u32)> = None;
    for number in numbers {
        run = match run {
            Some((first, last)) if last.checked_add(1) == Some(number) => Some((first, number)),
            Some(run) => {
                write_run(&mut out, run);
                Some((number, number))
            }
            None => Some((number, number)),
        };
    }
    if let Some(run) = run {
        write_run(&mut out, run);
    }
    out
}

fn write_run(out: &mut String, (first, last): (u32, u32)) {
    let comma = if out.is_empty() { "" } else { "," };
    // Writing to a String cannot fail.
    let _ = if first == last {
        write!(out, "{comma}{first}")
    } else {
        write!(out, "{comma}{first}:{last}")
    };
}

/// Longer strings are literals: clients have line limits too.
const QUOTED_OCTETS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(octets: &[u8], utf8: bool) -> String {
        let mut out = Vec::new();
        string(&mut out, octets, utf8);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn strings_are_quoted_where_that_can_be() {
        assert_eq!(written(b"", false), "\"\"");
        assert_eq!(written(b"a \"b\" \\", false), "\"a \\\"b\\\" \\\\\"");
        assert_eq!(written("ö".as_bytes(), false), "{2}\r\nö");
        assert_eq!(written("ö".as_bytes(), true), "\"ö\"");
        assert_eq!(written(b"a\r\nb", true), "{4}\r\na\r\nb");
        let mut out = Vec::new();
        literal(&mut out, b"\0a\0");
        assert_eq!(out, b"{3}\r\n\x80a\x80");
    }

    #[test]
    fn a_name_is_bare_unless_it_would_be_misread() {
        for (name, expected) in [
            ("INBOX", "INBOX"),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("nil", "\"nil\""),
            ("a%", "\"a%\""),
            ("a]", "a]"),
        ] {
            let mut out = Vec::new();
            astring(&mut out, name.as_bytes(), false);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn dates_have_two_places_for_the_day() {
        assert_eq!(date_time(0), "\" 1-Jan-1970 00:00:00 +0000\"");
        assert_eq!(date_time(1_795_431_975), "\"23-Nov-2026 11:06:15 +0000\"");
    }

    #[test]
    fn sets_have_ranges() {
        assert_eq!(set([]), "");
        assert_eq!(set([1, 2, 3, 5, 7, 8]), "1:3,5,7:8");
        assert_eq!(set([u32::MAX]), "4294967295");
    }
}
