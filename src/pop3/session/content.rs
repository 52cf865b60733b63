//! A message on its way out: dots hidden, cut after some lines, and ended.

use memchr::memmem;

use crate::mail::downgrade::header_to_ascii;
use crate::wire::dot::Stuffer;

/// The content of RETR or TOP.
pub(super) struct Content {
    stuffer: Stuffer,
    /// The header so far, for a client that has not said that it reads UTF-8.
    header: Option<Vec<u8>>,
    /// What TOP still wants; `None` for RETR.
    top: Option<Top>,
    /// The last two octets.
    tail: [u8; 2],
}

/// How far TOP has come (RFC 1939 §7).
struct Top {
    in_header: bool,
    /// The line has nothing in it but, maybe, a CR.
    line_is_empty: bool,
    lines_left: u32,
    done: bool,
}

impl Content {
    /// All of it, or the header, the blank line and so many lines. The header is put into ASCII
    /// where the client does not read UTF-8 (RFC 6856 §4).
    pub(super) fn new(lines: Option<u32>, reads_utf8: bool) -> Self {
        Self {
            stuffer: Stuffer::new(),
            header: (!reads_utf8).then(Vec::new),
            top: lines.map(|lines_left| Top {
                in_header: true,
                line_is_empty: true,
                lines_left,
                done: false,
            }),
            // An empty message needs no line end.
            tail: *b"\r\n",
        }
    }

    /// All of the message is wanted.
    pub(super) fn is_whole(&self) -> bool {
        self.top.is_none()
    }

    /// Appends the next octets as they go over the wire; false when no more are wanted.
    pub(super) fn append(&mut self, output: &mut Vec<u8>, octets: &[u8]) -> bool {
        let Some(mut header) = self.header.take() else {
            return self.pass(output, octets);
        };
        let gathered;
        let whole = if header.is_empty() {
            octets
        } else {
            header.extend_from_slice(octets);
            gathered = std::mem::take(&mut header);
            &gathered
        };
        let end = match whole.strip_prefix(b"\r\n") {
            Some(_) => Some(0),
            None => memmem::find(whole, b"\r\n\r\n").map(|at| at + 2),
        };
        // A longer one than anybody takes goes as it is.
        if end.is_none() && whole.len() < HEADER_OCTETS_MAX {
            self.header = Some(whole.to_vec());
            return true;
        }
        let (head, body) = whole.split_at(end.unwrap_or(0));
        let ascii = header_to_ascii(head);
        self.pass(output, ascii.as_deref().unwrap_or(head)) && self.pass(output, body)
    }

    fn pass(&mut self, output: &mut Vec<u8>, octets: &[u8]) -> bool {
        let wanted = match &mut self.top {
            Some(top) => &octets[..top.take(octets)],
            None => octets,
        };
        self.stuffer.stuff_into(output, wanted);
        match wanted {
            [.., first, second] => self.tail = [*first, *second],
            [only] => self.tail = [self.tail[1], *only],
            [] => {}
        }
        !self.top.as_ref().is_some_and(|top| top.done)
    }

    /// Appends the end. A last line without an end gets one (RFC 1939 §3: all lines have).
    pub(super) fn end(&mut self, output: &mut Vec<u8>) {
        // A message that is nothing but a header.
        if let Some(header) = self.header.take() {
            let ascii = header_to_ascii(&header);
            self.pass(output, ascii.as_deref().unwrap_or(&header));
        }
        match &self.tail {
            b"\r\n" => {}
            [_, b'\r'] => output.push(b'\n'),
            _ => output.extend_from_slice(b"\r\n"),
        }
        output.extend_from_slice(b".\r\n");
    }
}

impl Top {
    /// How many of these octets still belong to it.
    fn take(&mut self, octets: &[u8]) -> usize {
        let mut at = 0;
        while !self.done && at < octets.len() {
            let Some(offset) = memchr::memchr(b'\n', &octets[at..]) else {
                self.line_is_empty &= matches!(octets[at..], [] | [b'\r']);
                return octets.len();
            };
            self.line_is_empty &= matches!(octets[at..at + offset], [] | [b'\r']);
            at += offset + 1;
            if !self.in_header {
                self.lines_left -= 1;
            } else if self.line_is_empty {
                self.in_header = false;
            }
            self.line_is_empty = true;
            self.done = !self.in_header && self.lines_left == 0;
        }
        at
    }
}

/// Octets of a header that is gathered: SMTP takes no longer one, by default.
const HEADER_OCTETS_MAX: usize = 256 << 10;
