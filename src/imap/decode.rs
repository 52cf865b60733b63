//! Undoes a transfer encoding piece by piece, with what mail-parser decodes at one go.

use mail_parser::decoders::{base64, quoted_printable};

use super::mime::Encoding;

/// A body being decoded.
pub struct Decoder {
    encoding: Encoding,
    /// What cannot be decoded before more is known.
    kept: Vec<u8>,
}

/// The transfer encoding is unknown or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl Decoder {
    /// For a body that is encoded like this.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            kept: Vec::new(),
        }
    }

    /// What the next octets are, or some of them.
    pub fn push(&mut self, octets: &[u8]) -> Result<Vec<u8>, Undecodable> {
        match self.encoding {
            Encoding::Identity => return Ok(octets.to_vec()),
            Encoding::Base64 => {
                let symbols = octets.iter().filter(|octet| !octet.is_ascii_whitespace());
                self.kept.extend(symbols);
                let after_padding = memchr::memrchr(b'=', &self.kept).map_or(0, |at| at + 1);
                let whole = self.kept.len() - (self.kept.len() - after_padding) % 4;
                let ready: Vec<u8> = self.kept.drain(..whole).collect();
                base64::base64_decode(&ready)
            }
            Encoding::QuotedPrintable => {
                self.kept.extend_from_slice(octets);
                let whole = match memchr::memrchr(b'\n', &self.kept) {
                    Some(at) => at + 1,
                    None if self.kept.len() < LINE_OCTETS_MAX => 0,
                    // No line at all: only an escape must not be cut.
                    None => {
                        let last = self.kept.len().saturating_sub(2);
                        memchr::memchr(b'=', &self.kept[last..])
                            .map_or(self.kept.len(), |at| last + at)
                    }
                };
                let ready: Vec<u8> = self.kept.drain(..whole).collect();
                quoted_printable::quoted_printable_decode(&ready)
            }
            Encoding::Unknown => None,
        }
        .ok_or(Undecodable)
    }

    /// What is left when the body has ended.
    pub fn end(self) -> Result<Vec<u8>, Undecodable> {
        match self.encoding {
            Encoding::Identity => Some(Vec::new()),
            Encoding::Base64 => base64::base64_decode(&self.kept),
            Encoding::QuotedPrintable => quoted_printable::quoted_printable_decode(&self.kept),
            Encoding::Unknown => None,
        }
        .ok_or(Undecodable)
    }
}

/// Lines of quoted-printable have 76 octets (RFC 2045 §6.7). What is far longer is cut anywhere.
const LINE_OCTETS_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, body: &[u8], piece: usize) -> Result<Vec<u8>, Undecodable> {
        let mut decoder = Decoder::new(encoding);
        let mut out = Vec::new();
        for octets in body.chunks(piece) {
            out.extend(decoder.push(octets)?);
        }
        out.extend(decoder.end()?);
        Ok(out)
    }

    proptest::proptest! {
        #[test]
        fn pieces_are_what_the_whole_is(
            text in "[A-Za-z0-9+/]{0,40}={0,2}(\r\n[A-Za-z0-9+/]{0,9}){0,3}",
            quoted in "(=[0-9A-F]{2}|[a-z ]|=?\r\n){0,60}",
            piece in 1_usize..20,
        ) {
            let whole = base64::base64_decode(text.as_bytes()).ok_or(Undecodable);
            proptest::prop_assert_eq!(decoded(Encoding::Base64, text.as_bytes(), piece), whole);
            let whole = quoted_printable::quoted_printable_decode(quoted.as_bytes());
            let whole = whole.ok_or(Undecodable);
            proptest::prop_assert_eq!(decoded(Encoding::QuotedPrintable, quoted.as_bytes(), piece), whole);
        }
    }

    #[test]
    fn a_line_without_end_is_not_gathered() {
        let mut decoder = Decoder::new(Encoding::QuotedPrintable);
        let mut octets = 0;
        for _ in 0..10_000 {
            octets += decoder.push(b"=C3=B6=C3=B6=").unwrap().len();
            octets += decoder.push(b"C3=B6").unwrap().len();
            assert!(decoder.kept.len() <= LINE_OCTETS_MAX + 20);
        }
        octets += decoder.end().unwrap().len();
        assert_eq!(octets, 60_000);
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert_eq!(decoded(Encoding::Unknown, b"a", 1), Err(Undecodable));
        assert_eq!(decoded(Encoding::Base64, b"ab!d", 4), Err(Undecodable));
        assert_eq!(
            decoded(Encoding::QuotedPrintable, b"=x", 1),
            Err(Undecodable)
        );
    }
}
