//! A message on its way out: dots hidden, cut after some lines, and ended.

use crate::wire::dot::Stuffer;

/// The content of RETR or TOP.
pub(super) struct Content {
    stuffer: Stuffer,
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
    /// All of it, or the header, the blank line and so many lines.
    pub(super) fn new(lines: Option<u32>) -> Self {
        Self {
            stuffer: Stuffer::new(),
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

    /// Appends the next octets as they go over the wire; false when no more are wanted.
    pub(super) fn append(&mut self, output: &mut Vec<u8>, octets: &[u8]) -> bool {
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
