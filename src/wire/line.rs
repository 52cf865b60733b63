//! Lines of commands and replies, found in place.

use memchr::memchr;

/// Finds lines in a buffer that grows, and never looks at an octet twice.
#[derive(Clone, Debug, Default)]
pub struct LineScanner {
    /// So many octets of the buffer have no line end.
    seen: usize,
}

/// A line in the buffer it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Octets of it, without its end.
    pub len: usize,
    /// Where the next one begins.
    pub next: usize,
    /// How it ended.
    pub ending: Ending,
}

/// How a line ended. A CR that stands anywhere else is part of the line, for the caller to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// CRLF, as RFC 5321 §2.3.8 wants.
    Crlf,
    /// LF alone.
    Lf,
}

impl LineScanner {
    /// The first line of `buffer`, whose beginning is what it was at the last call, with more
    /// octets behind; `None` while it has no end.
    pub fn find(&mut self, buffer: &[u8]) -> Option<Line> {
        let from = self.seen.min(buffer.len());
        let Some(offset) = memchr(b'\n', &buffer[from..]) else {
            self.seen = buffer.len();
            return None;
        };
        self.seen = 0;
        let end = from + offset;
        let (len, ending) = match buffer[..end].strip_suffix(b"\r") {
            Some(line) => (line.len(), Ending::Crlf),
            None => (end, Ending::Lf),
        };
        Some(Line {
            len,
            next: end + 1,
            ending,
        })
    }

    /// The buffer begins anew: its octets were dropped without a line being found.
    pub fn reset(&mut self) {
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of `input`, which arrives in pieces that end at `cuts`.
    fn lines(input: &[u8], cuts: &[usize]) -> Vec<(Vec<u8>, Ending)> {
        let (mut scanner, mut found, mut begin) = (LineScanner::default(), Vec::new(), 0);
        for &cut in cuts.iter().chain([&input.len()]) {
            while let Some(line) = scanner.find(&input[begin..cut]) {
                found.push((input[begin..begin + line.len].to_vec(), line.ending));
                begin += line.next;
            }
        }
        found
    }

    #[test]
    fn lines_are_the_same_wherever_the_input_is_split() {
        let input = b"EHLO a\r\nMAIL\n\r\n\rx\r\r\nlast";
        let whole = lines(input, &[]);
        assert_eq!(
            whole,
            [
                (b"EHLO a".to_vec(), Ending::Crlf),
                (b"MAIL".to_vec(), Ending::Lf),
                (b"".to_vec(), Ending::Crlf),
                (b"\rx\r".to_vec(), Ending::Crlf),
            ]
        );
        for first in 0..input.len() {
            for second in first..input.len() {
                assert_eq!(lines(input, &[first, second]), whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn an_endless_line_that_is_dropped_leaves_nothing_behind() {
        let mut scanner = LineScanner::default();
        assert_eq!(scanner.find(&[b'x'; 100]), None);
        scanner.reset();
        assert_eq!(scanner.find(b"y\r\n").map(|line| line.len), Some(1));
    }
}
