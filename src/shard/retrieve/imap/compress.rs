//! COMPRESS=DEFLATE (RFC 4978): the octets of a session, smaller.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Both directions.
pub(super) struct Pair {
    inflater: Decompress,
    deflater: Compress,
}

impl Default for Pair {
    fn default() -> Self {
        Self {
            inflater: Decompress::new(false),
            deflater: Compress::new(Compression::fast(), false),
        }
    }
}

impl Pair {
    /// What the client has said; `None` when it makes no sense, or too much of it.
    pub(super) fn inflate(&mut self, mut input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(PIECE_OCTETS);
        loop {
            let before = (self.inflater.total_in(), self.inflater.total_out());
            if out.len() == out.capacity() {
                out.reserve(PIECE_OCTETS);
            }
            let status = self
                .inflater
                .decompress_vec(input, &mut out, FlushDecompress::Sync)
                .ok()?;
            let consumed = usize::try_from(self.inflater.total_in() - before.0).ok()?;
            let made = self.inflater.total_out() - before.1;
            input = &input[consumed..];
            if out.len() > INFLATED_OCTETS_MAX {
                return None;
            }
            let is_done = input.is_empty() && out.len() < out.capacity();
            if status == Status::StreamEnd || is_done || consumed == 0 && made == 0 {
                return (status != Status::StreamEnd).then_some(out);
            }
        }
    }

    /// What is said to the client, all of it.
    pub(super) fn deflate(&mut self, mut input: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(input.len() / 2 + 64);
        loop {
            let before = self.deflater.total_in();
            // It fails for wrong arguments only.
            let _ = self
                .deflater
                .compress_vec(input, &mut out, FlushCompress::Sync);
            let consumed =
                usize::try_from(self.deflater.total_in() - before).unwrap_or(input.len());
            input = &input[consumed..];
            if input.is_empty() && out.len() < out.capacity() {
                return out;
            }
            out.reserve(PIECE_OCTETS);
        }
    }
}

/// What a buffer grows by.
const PIECE_OCTETS: usize = 4 * 1024;
/// What one read may come to: a thousand times its size is a bomb.
const INFLATED_OCTETS_MAX: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_says_the_other_hears_at_every_split() {
        let said = b"a NOOP\r\n* LIST () \"/\" INBOX\r\n".repeat(100);
        let mut server = Pair::default();
        let wire = [server.deflate(&said), server.deflate(b"end\r\n")].concat();
        assert!(wire.len() < said.len() / 4);
        for cut in 0..=wire.len() {
            let mut client = Pair::default();
            let mut heard = client.inflate(&wire[..cut]).unwrap();
            heard.extend(client.inflate(&wire[cut..]).unwrap());
            assert!(
                heard.starts_with(&said) && heard.ends_with(b"end\r\n"),
                "{cut}"
            );
        }
    }

    #[test]
    fn nonsense_and_bombs_are_refused() {
        assert_eq!(Pair::default().inflate(b"\xff\xff\xff\xff"), None);
        let bomb = Pair::default().deflate(&vec![0; 64 * 1024 * 1024]);
        assert_eq!(Pair::default().inflate(&bomb), None);
    }
}
