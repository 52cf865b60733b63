//! Makes every line end a CRLF.

use memchr::memchr2;

/// Turns bare CR and bare LF into CRLF, octets coming in any pieces.
///
/// Dots are taken off here and put on again behind it: a dot after a bare LF was no first octet
/// of a line, and after mending it is. Passed through as it was, `LF . LF` would come out as the
/// end of data.
pub(super) struct Mender {
    /// The input is dot-stuffed.
    stuffed: bool,
    /// The next octet is the first of a line as the sender's wire has lines.
    at_line_start: bool,
    /// The last octet was a CR, and what follows it is not known yet.
    held_cr: bool,
}

impl Mender {
    /// `stuffed` says that the input is (DATA) or is not (BDAT) dot-stuffed.
    pub(super) fn new(stuffed: bool) -> Self {
        Self {
            stuffed,
            at_line_start: stuffed,
            held_cr: false,
        }
    }

    /// Appends the mended octets, not dot-stuffed.
    pub(super) fn mend_into(&mut self, out: &mut Vec<u8>, mut input: &[u8]) {
        while let Some(&first) = input.first() {
            if std::mem::take(&mut self.held_cr) {
                out.extend(b"\r\n");
                if first == b'\n' {
                    self.at_line_start = self.stuffed;
                    input = &input[1..];
                }
                continue;
            }
            if std::mem::take(&mut self.at_line_start) && first == b'.' {
                input = &input[1..];
                continue;
            }
            let Some(at) = memchr2(b'\r', b'\n', input) else {
                out.extend(input);
                return;
            };
            out.extend(&input[..at]);
            if input[at] == b'\r' {
                self.held_cr = true;
            } else {
                out.extend(b"\r\n");
            }
            input = &input[at + 1..];
        }
    }

    /// The input has ended.
    pub(super) fn finish_into(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.extend(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(stuffed: bool, pieces: &[&[u8]]) -> String {
        let mut mender = Mender::new(stuffed);
        let mut out = Vec::new();
        for piece in pieces {
            mender.mend_into(&mut out, piece);
        }
        mender.finish_into(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_bare_end_becomes_crlf_wherever_the_input_is_cut() {
        for (input, wanted) in [
            (&b"a\r\nb\r\n"[..], "a\r\nb\r\n"),
            (b"a\nb\rc\r\n", "a\r\nb\r\nc\r\n"),
            (b"\r\r\n\n", "\r\n\r\n\r\n"),
            (b"a\r", "a\r\n"),
            (b"..x\r\n..\r\n", ".x\r\n.\r\n"),
            (b"x\n.\nMAIL\r\n", "x\r\n.\r\nMAIL\r\n"),
            (b"x\r\n.\nMAIL\r\n", "x\r\n\r\nMAIL\r\n"),
        ] {
            for cut in 0..=input.len() {
                let (first, second) = input.split_at(cut);
                assert_eq!(mended(true, &[first, second]), wanted, "{input:?} at {cut}");
            }
        }
        assert_eq!(mended(false, &[b"..x\r\n."]), "..x\r\n.");
    }
}
