//! Text that comes from anywhere, made fit to stand on lines of ours.

/// What may stand in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// Printable US-ASCII.
    Ascii,
    /// Anything but control characters.
    Utf8,
}

/// Appends `text` up to [`VALUE_OCTETS_MAX`], on the same line. What has no place there becomes
/// `?`: a line end in a remote server's words must not become one in a header.
pub(super) fn push_printable(out: &mut String, text: &str, charset: Charset) {
    let mut room = VALUE_OCTETS_MAX;
    for c in text.chars() {
        let c = printable(c, charset);
        let Some(left) = room.checked_sub(c.len_utf8()) else {
            return;
        };
        room = left;
        out.push(c);
    }
}

/// Appends `text` in words, behind what the line has already. A line that is full goes on in the
/// next one, behind `indent`; a single space is between words, wherever they came from.
pub(super) fn push_wrapped(out: &mut String, text: &str, charset: Charset, indent: &str) {
    let line = out.rsplit('\n').next().unwrap_or_default();
    let mut column = line.chars().count();
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(WORD_OCTETS_MAX));
            rest = behind;
            let wide = piece.chars().count();
            if column > indent.len() {
                if column + 1 + wide > COLUMNS {
                    out.push_str("\r\n");
                    out.push_str(indent);
                    column = indent.len();
                } else {
                    out.push(' ');
                    column += 1;
                }
            }
            out.extend(piece.chars().map(|c| printable(c, charset)));
            column += wide;
        }
    }
}

const fn printable(c: char, charset: Charset) -> char {
    match (charset, c) {
        (_, ' '..='~') => c,
        (Charset::Ascii, _) | (Charset::Utf8, '\0'..='\u{9f}' | '\u{2028}' | '\u{2029}') => '?',
        (Charset::Utf8, _) => c,
    }
}

/// Characters of a line (RFC 5322 §2.1.1 recommends 78).
const COLUMNS: usize = 76;
/// Octets of a value that is not wrapped: with its name, less than the 998 of a line. No address
/// is that long (RFC 5321 §4.5.3.1.3; an ORCPT has 500, RFC 3461 §4.2).
const VALUE_OCTETS_MAX: usize = 900;
/// Octets of a word that still fit a line behind an indent; a longer one is divided.
const WORD_OCTETS_MAX: usize = 900;
