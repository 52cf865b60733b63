//! Content with CRLF, as it travels, and with LF, as it lies in a Maildir. Pure.
//!
//! A file that cannot be told apart afterwards, because a CR stands before a CRLF, is kept with CRLF:
//! what is read is then, octet by octet, what came in.

#![forbid(unsafe_code)]

use memchr::memmem;

/// Content as it is kept on disk: LF, unless that would lose something.
#[must_use]
pub fn to_disk(content: &[u8]) -> Vec<u8> {
    if memmem::find(content, b"\r\r\n").is_some() {
        return content.to_vec();
    }
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = memmem::find(rest, b"\r\n") {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    out
}

/// Makes CRLF of what was on disk, piece by piece: a line end that has its CR already keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToWire {
    after_cr: bool,
}

impl ToWire {
    /// Appends the next piece.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', piece) {
            let has_cr = if at == 0 {
                self.after_cr
            } else {
                piece[at - 1] == b'\r'
            };
            out.extend_from_slice(&piece[from..at]);
            if !has_cr {
                out.push(b'\r');
            }
            from = at;
        }
        out.extend_from_slice(&piece[from..]);
        if let Some(last) = piece.last() {
            self.after_cr = *last == b'\r';
        }
    }
}

/// Makes what lies on disk of what travels: takes the stuffed dots out (RFC 5321 §4.5.2) and ends
/// lines in LF, piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Unstuffed {
    at_line_start: bool,
    /// A CR came, and was kept back.
    after_cr: bool,
}

impl Default for Unstuffed {
    fn default() -> Self {
        Self {
            at_line_start: true,
            after_cr: false,
        }
    }
}

impl Unstuffed {
    /// Appends the next piece.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    out.push(b'\n');
                    self.at_line_start = true;
                    rest = &rest[1..];
                    continue;
                }
                out.push(b'\r');
            }
            if self.at_line_start && first == b'.' {
                rest = &rest[1..];
            }
            self.at_line_start = false;
            let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..end]);
            self.after_cr = end < rest.len();
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Nothing more comes.
    pub fn end(self, out: &mut Vec<u8>) {
        if self.after_cr {
            out.push(b'\r');
        }
    }
}

/// How many octets `piece` has with CRLF, for content that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    after_cr: bool,
    octets: u64,
}

impl Measure {
    /// The next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for at in memchr::memchr_iter(b'\n', piece) {
            let has_cr = if at == 0 {
                self.after_cr
            } else {
                piece[at - 1] == b'\r'
            };
            self.octets += u64::from(!has_cr);
        }
        self.octets += piece.len() as u64;
        if let Some(last) = piece.last() {
            self.after_cr = *last == b'\r';
        }
    }

    /// Octets so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(disk: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        ToWire::default().push(disk, &mut out);
        out
    }

    #[test]
    fn lines_end_in_lf_on_disk_and_in_crlf_outside() {
        assert_eq!(to_disk(b"a\r\n\r\nb\r\n"), b"a\n\nb\n");
        assert_eq!(wire(b"a\n\nb\n"), b"a\r\n\r\nb\r\n");
        assert_eq!(wire(b"a\r\nb\nc"), b"a\r\nb\r\nc", "CRLF already there");
    }

    #[test]
    fn a_file_that_would_lose_a_cr_is_kept_as_it_came() {
        let content = b"a\r\r\nb\r\n";
        assert_eq!(to_disk(content), content);
        assert_eq!(wire(&to_disk(content)), content);
    }

    proptest! {
        #[test]
        fn stuffed_content_comes_to_disk_the_same_at_every_split(
            words in prop::collection::vec(prop::sample::select(vec!["a", ".", "\r", "\r\n", "..", "x.y"]), 0..40),
            cut in 0usize..80,
        ) {
            let content = words.concat();
            let (mut stuffed, mut plain) = (Vec::new(), Vec::new());
            crate::wire::dot::Stuffer::new().stuff_into(&mut stuffed, content.as_bytes());
            // The plain way: without the dots first, then without the CRs before LFs.
            crate::wire::dot::unstuff_into(&mut plain, &stuffed);
            let plain = String::from_utf8(plain).unwrap().replace("\r\n", "\n");
            let cut = cut.min(stuffed.len());
            let (mut pieces, mut out) = (Unstuffed::default(), Vec::new());
            pieces.push(&stuffed[..cut], &mut out);
            pieces.push(&stuffed[cut..], &mut out);
            pieces.end(&mut out);
            prop_assert_eq!(out, plain.as_bytes());
        }

        #[test]
        fn whatever_has_no_bare_lf_comes_back_at_every_split(
            words in prop::collection::vec(prop::sample::select(vec!["a", "\r", "\r\n", ".", "\r\r\n"]), 0..40),
            cut in 0usize..80,
        ) {
            let content = words.concat();
            let disk = to_disk(content.as_bytes());
            let cut = cut.min(disk.len());
            let (mut pieces, mut out) = (ToWire::default(), Vec::new());
            let mut measure = Measure::default();
            for piece in [&disk[..cut], &disk[cut..]] {
                pieces.push(piece, &mut out);
                measure.push(piece);
            }
            prop_assert_eq!(&out, content.as_bytes());
            prop_assert_eq!(measure.octets(), out.len() as u64);
        }
    }
}
