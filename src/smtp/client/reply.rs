//! Reads replies out of whatever pieces the network delivers (RFC 5321 §4.2.1).

use std::borrow::Cow;

use crate::mail::outcome::{REPLY_TEXT_MAX, RemoteReply};
use crate::wire::status::{EnhancedStatus, ReplyCode};

/// Collects the lines of one reply after the other. The buffer lives as long as the connection,
/// and the text of a reply is copied out of it only where somebody keeps it.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// Lines of the current reply, each closed by a line feed; text beyond [`KEPT_OCTETS`] is
    /// left out.
    text: Vec<u8>,
    /// Where the line that is being read begins in `text`.
    line_start: usize,
    /// Octets of that line so far, those left out counted.
    line_octets: usize,
    /// Lines of the current reply that are complete.
    lines: u32,
    /// The reply was handed out: the next octet begins another.
    complete: bool,
}

/// What the peer sent is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// A line does not begin with a code of SMTP.
    NoCode,
    /// A line goes on beyond `LINE_OCTETS_MAX`.
    LineTooLong,
    /// There are more lines than `LINES_MAX`.
    TooManyLines,
}

impl ReplyReader {
    /// Takes octets from the front of `input` until a reply is complete. Its lines can be read
    /// until the next call. `None`: all octets are taken and more must come.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<ReplyCode, Garbled>> {
        if self.complete {
            self.text.clear();
            self.line_start = 0;
            self.lines = 0;
            self.complete = false;
        }
        while !input.is_empty() {
            // A lone line feed ends a line too: some peers know no better, and nothing of ours
            // is at stake.
            let end = memchr::memchr(b'\n', input);
            let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
            self.keep(piece);
            if self.line_octets > LINE_OCTETS_MAX {
                return Some(Err(Garbled::LineTooLong));
            }
            if end.is_none() {
                *input = rest;
                return None;
            }
            *input = &rest[1..];
            match self.end_line() {
                Ok(None) => {}
                Ok(Some(code)) => {
                    self.complete = true;
                    return Some(Ok(code));
                }
                Err(garbled) => return Some(Err(garbled)),
            }
        }
        None
    }

    /// True when no part of a further reply has been read.
    pub fn is_between_replies(&self) -> bool {
        self.complete || (self.lines == 0 && self.line_octets == 0)
    }

    /// The text of each line, without code and separator.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.lines()
            .map(|line| String::from_utf8_lossy(line.get(CODE_OCTETS + 1..).unwrap_or_default()))
    }

    /// The enhanced status the peer gave, wherever it gave one first (RFC 2034 §4).
    pub fn enhanced(&self) -> Option<EnhancedStatus> {
        self.texts()
            .find_map(|text| EnhancedStatus::parse_prefix(&text).map(|(status, _)| status))
    }

    /// The reply, to be kept.
    pub fn reply(&self, code: ReplyCode) -> RemoteReply {
        let status = self.enhanced().map_or_else(
            || EnhancedStatus::from_code(code),
            |status| status.under(code),
        );
        RemoteReply {
            code,
            status,
            text: self.printable(),
        }
    }

    /// What was read of the current reply as one printable line of limited length.
    pub fn printable(&self) -> Box<str> {
        let mut text = String::with_capacity(self.text.len().saturating_sub(1).min(REPLY_TEXT_MAX));
        for line in self.lines() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.extend(line.iter().map(|&octet| match octet {
                b'\t' => ' ',
                b' '..=b'~' => char::from(octet),
                _ => '?',
            }));
            if text.len() >= REPLY_TEXT_MAX {
                break;
            }
        }
        text.truncate(REPLY_TEXT_MAX);
        text.truncate(text.trim_end().len());
        text.into_boxed_str()
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        text.split(|&octet| octet == b'\n')
    }

    /// Adds to the line as much as there is room for; its code always finds room.
    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT_OCTETS.saturating_sub(self.text.len());
        let head = (CODE_OCTETS + 1).saturating_sub(self.text.len() - self.line_start);
        let kept = piece.len().min(room.max(head));
        self.text.extend_from_slice(&piece[..kept]);
        self.line_octets += piece.len();
    }

    /// Ends a line; the code when it was the reply's last.
    fn end_line(&mut self) -> Result<Option<ReplyCode>, Garbled> {
        if self.text[self.line_start..].ends_with(b"\r") {
            self.text.pop();
        }
        let line = &self.text[self.line_start..];
        let (code, last) = code_of(line).ok_or(Garbled::NoCode)?;
        self.text.push(b'\n');
        self.line_start = self.text.len();
        self.line_octets = 0;
        self.lines += 1;
        match last {
            true => Ok(Some(code)),
            false if self.lines >= LINES_MAX => Err(Garbled::TooManyLines),
            false => Ok(None),
        }
    }
}

/// The code of a line, and whether it is the reply's last. Where the lines of a reply disagree,
/// the last one's code counts: that line is what the peer came to in the end.
fn code_of(line: &[u8]) -> Option<(ReplyCode, bool)> {
    let (digits, rest) = line.split_at_checked(CODE_OCTETS)?;
    let last = match rest.first() {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let number = digits.iter().try_fold(0, |number, octet| {
        octet
            .is_ascii_digit()
            .then(|| number * 10 + u16::from(octet - b'0'))
    })?;
    Some((ReplyCode::new(number)?, last))
}

impl Garbled {
    /// Words for the sender.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoCode => "a reply that is not SMTP",
            Self::LineTooLong => "a reply line without end",
            Self::TooManyLines => "a reply of too many lines",
        }
    }
}

/// Octets of a reply code (RFC 5321 §4.2).
const CODE_OCTETS: usize = 3;
/// Octets of a reply line. RFC 5321 §4.5.3.1.5 says 512; peers that explain a refusal at length
/// are met in practice, peers that send more than this mean no reply.
const LINE_OCTETS_MAX: usize = 8 * 1024;
/// Lines of a reply. Long EHLO answers have some twenty.
const LINES_MAX: u32 = 100;
/// Octets of a reply that are kept while it is read: an EHLO answer of usual lines in full.
const KEPT_OCTETS: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> (ReplyReader, Option<Result<u16, Garbled>>) {
        let mut reader = ReplyReader::default();
        let code = reader.next(&mut &*octets);
        (reader, code.map(|code| code.map(ReplyCode::number)))
    }

    #[test]
    fn peer_sends_a_reply_without_text_or_with_a_lone_line_feed() {
        for octets in [&b"250\r\n"[..], b"250 \r\n", b"250\n", b"250 ok\n"] {
            assert_eq!(read(octets).1, Some(Ok(250)), "{octets:?}");
        }
    }

    #[test]
    fn peer_contradicts_itself_and_the_last_line_counts() {
        let (reader, code) = read(b"250-fine\r\n550 5.1.1 no,\twait\x07\xff\r\n");
        assert_eq!(code, Some(Ok(550)));
        let reply = reader.reply(ReplyCode::new(550).unwrap());
        assert_eq!(&*reply.text, "250-fine 550 5.1.1 no, wait??");
        assert_eq!(reply.status, EnhancedStatus::new(5, 1, 1));
    }

    #[test]
    fn peer_sends_what_is_no_reply() {
        for octets in [
            &b"\r\n"[..],
            b"25\r\n",
            b"hello\r\n",
            b"100 go\r\n",
            b"600 no\r\n",
            b"250_ok\r\n",
            b"2x0 ok\r\n",
        ] {
            assert_eq!(read(octets).1, Some(Err(Garbled::NoCode)), "{octets:?}");
        }
    }

    #[test]
    fn peer_sends_long_lines_and_endless_ones() {
        let long = [b"550 ".to_vec(), vec![b'x'; 4_096], b"\r\n".to_vec()].concat();
        let (reader, code) = read(&long);
        assert_eq!(code, Some(Ok(550)));
        assert_eq!(reader.printable().len(), REPLY_TEXT_MAX);
        let endless = vec![b'x'; LINE_OCTETS_MAX + 1];
        assert_eq!(read(&endless).1, Some(Err(Garbled::LineTooLong)));
    }

    #[test]
    fn peer_sends_many_lines_and_too_many() {
        let lines = |many: usize| [b"250-line\r\n".repeat(many), b"250 end\r\n".to_vec()].concat();
        assert_eq!(read(&lines(99)).1, Some(Ok(250)));
        assert_eq!(read(&lines(100)).1, Some(Err(Garbled::TooManyLines)));
    }

    #[test]
    fn peer_fills_the_room_and_the_code_after_it_is_still_read() {
        let line = [b"250-".to_vec(), vec![b'x'; 5_000], b"\r\n".to_vec()].concat();
        let octets = [line.repeat(3), b"451 later\r\n".to_vec()].concat();
        let (reader, code) = read(&octets);
        assert_eq!(code, Some(Ok(451)));
        assert!(reader.text.len() < KEPT_OCTETS + 100);
    }

    #[test]
    fn peer_sends_two_replies_in_pieces() {
        let octets = b"250-a\r\n250 b\r\n354 c\r\n";
        for at in 0..octets.len() {
            let mut reader = ReplyReader::default();
            let mut codes = Vec::new();
            for mut piece in [&octets[..at], &octets[at..]] {
                while let Some(code) = reader.next(&mut piece) {
                    codes.push((code.unwrap().number(), reader.printable()));
                }
            }
            assert_eq!(codes, [(250, "250-a 250 b".into()), (354, "354 c".into())]);
            assert!(reader.is_between_replies());
        }
    }

    /// Codes and texts of replies, up to what is none.
    fn all(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = ReplyReader::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(found) = reader.next(&mut input) {
                match found {
                    Ok(code) => seen.push(format!("{:?}", reader.reply(code))),
                    Err(garbled) => {
                        seen.push(format!("{garbled:?}"));
                        return seen;
                    }
                }
            }
        }
        seen
    }

    proptest::proptest! {
        #[test]
        fn replies_are_the_same_at_every_split(
            text in "((250|354|45[0-2]|5.0|9|)[ -]?[2-5.]{0,6}[ a-z\u{e4}\t]{0,9}(\r\n|\n|\r)){0,6}",
        ) {
            let octets = text.as_bytes();
            let whole = all(&[octets]);
            for cut in 0..=octets.len() {
                let (first, second) = octets.split_at(cut);
                proptest::prop_assert_eq!(&all(&[first, second]), &whole, "{}", cut);
            }
            for reply in &whole {
                proptest::prop_assert!(reply.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{}", reply);
            }
        }
    }
}
