//! Finds the parts of a message that arrives piece by piece (RFC 2046 §5.1.1).

use super::{
    DEPTH_MAX, Encoding, HEAD_LINES_MAX, HEAD_OCTETS_MAX, Kind, PARTS_MAX, Part, encoding,
};
use crate::imap::field::{self, Typed};
use crate::imap::structure::Described;

/// Reads a message once, from its first octet to its last. What is not over yet is a stack: the
/// message, the part that is being read, and what lies between them.
pub struct Splitter {
    /// Octets that were read.
    at: usize,
    /// Line ends among them.
    lines: usize,
    line: Line,
    /// The innermost header while it is being read.
    head: Head,
    /// What may still be looked at of headers.
    head_octets_left: usize,
    parts_left: usize,
    open: Vec<Open>,
}

/// The line that has not ended.
#[derive(Default)]
struct Line {
    /// How many octets of it were read.
    octets: usize,
    /// The first of them, where it may be an empty line or have a boundary.
    beginning: Vec<u8>,
    /// The octet that was read last.
    last: u8,
    /// Octets of the line end before it.
    end_before: usize,
}

/// A header as far as it is looked at.
#[derive(Default)]
struct Head {
    octets: Vec<u8>,
    lines: usize,
    /// Where its last line begins.
    line_at: usize,
}

/// A part that has not ended.
struct Open {
    start: usize,
    /// Known once its header has ended.
    body: Option<Body>,
    is_message: bool,
    in_digest: bool,
}

/// The body of a part that has not ended.
struct Body {
    start: usize,
    lines_before: usize,
    typed: Typed,
    encoding: Encoding,
    described: Described,
    /// `None` where there are no parts, or no further ones.
    boundary: Option<Vec<u8>>,
    kind: Kind,
}

impl Default for Splitter {
    fn default() -> Self {
        let mut splitter = Self {
            at: 0,
            lines: 0,
            line: Line::default(),
            head: Head::default(),
            head_octets_left: HEADS_OCTETS_MAX,
            parts_left: PARTS_MAX,
            open: Vec::new(),
        };
        splitter.begin(0, true, false);
        splitter
    }
}

impl Splitter {
    /// The next octets. Each is looked at once, and at a line that could be a delimiter, once for
    /// each multipart around it.
    pub fn push(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            let last = [self.line.last].into_iter().chain(piece.iter().copied());
            let is_crlf = last.rev().take(2).eq(*b"\n\r");
            self.piece(piece);
            if end.is_some() {
                self.line();
                self.lines += 1;
                self.line.end_before = if is_crlf { 2 } else { 1 };
            }
            rest = after;
        }
    }

    /// The message has ended.
    #[must_use]
    pub fn end(mut self) -> Part {
        if self.line.octets > 0 {
            self.line();
        }
        if self.in_header() {
            self.end_header(self.at, self.lines);
        }
        loop {
            if let Some(message) = self.close(self.at, self.lines) {
                return message;
            }
        }
    }

    /// The innermost part is at its header.
    fn in_header(&self) -> bool {
        self.open.last().is_some_and(|open| open.body.is_none())
    }

    /// Octets of one line.
    fn piece(&mut self, octets: &[u8]) {
        let in_header = self.in_header();
        if in_header && self.head.lines < HEAD_LINES_MAX {
            let room = HEAD_OCTETS_MAX.saturating_sub(self.head.octets.len());
            let len = octets.len().min(room).min(self.head_octets_left);
            self.head_octets_left -= len;
            self.head.octets.extend_from_slice(&octets[..len]);
        }
        let line = &mut self.line;
        let begins_well = line.octets == 0 && octets.first() == Some(&b'-');
        if in_header || begins_well || !line.beginning.is_empty() {
            let room = BEGINNING_OCTETS_MAX - line.beginning.len();
            let len = octets.len().min(room);
            line.beginning.extend_from_slice(&octets[..len]);
        }
        line.octets += octets.len();
        line.last = octets.last().copied().unwrap_or(line.last);
        self.at += octets.len();
    }

    /// The line is whole.
    fn line(&mut self) {
        let start = self.at - std::mem::take(&mut self.line.octets);
        let mut beginning = std::mem::take(&mut self.line.beginning);
        if let Some((place, is_last)) = self.delimited(&beginning) {
            self.delimit(place, is_last, start);
        } else if self.in_header() {
            if matches!(&*beginning, b"\r\n" | b"\n") {
                self.end_header(self.at, self.lines + 1);
            } else {
                self.head.lines += 1;
                self.head.line_at = self.head.octets.len();
            }
        }
        beginning.clear();
        self.line.beginning = beginning;
    }

    /// Whose boundary the line has, and whether it is the last. A line that consists of one is meant
    /// before one that only begins with it, and of those the longest: boundaries that begin alike
    /// are common, and RFC 2046 lets anything stand behind one.
    fn delimited(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        let mut best: Option<(usize, &[u8])> = None;
        for (place, open) in self.open.iter().enumerate().rev() {
            let boundary = open.body.as_ref().and_then(|body| body.boundary.as_deref());
            let Some(behind) = boundary.and_then(|boundary| text.strip_prefix(boundary)) else {
                continue;
            };
            let is_whole = matches!(behind, b"" | b"--");
            if is_whole || best.is_none_or(|(_, other)| behind.len() < other.len()) {
                best = Some((place, behind));
            }
            if is_whole {
                break;
            }
        }
        let (place, behind) = best?;
        let is_last = behind.starts_with(b"--");
        // Where no further part may begin, the line is content.
        (is_last || self.parts_left > 0).then_some((place, is_last))
    }

    /// A delimiter line ends what is within the multipart at `place`.
    fn delimit(&mut self, place: usize, is_last: bool, start: usize) {
        let (mut end, mut lines) = (start, self.lines);
        if self.in_header() {
            self.head.octets.truncate(self.head.line_at);
            self.end_header(start, lines);
        } else {
            // The line end before it belongs to it.
            end -= self.line.end_before;
            lines = lines.saturating_sub(1);
        }
        while self.open.len() > place + 1 {
            self.close(end, lines);
        }
        let Some(body) = self.open.last_mut().and_then(|open| open.body.as_mut()) else {
            return;
        };
        if is_last {
            body.boundary = None;
            return;
        }
        let in_digest = body.typed.subkind == "digest";
        self.parts_left = self.parts_left.saturating_sub(1);
        self.begin(self.at, false, in_digest);
    }

    /// A part begins with its header.
    fn begin(&mut self, start: usize, is_message: bool, in_digest: bool) {
        self.head.octets.clear();
        self.head.lines = 0;
        self.head.line_at = 0;
        self.open.push(Open {
            start,
            body: None,
            is_message,
            in_digest,
        });
    }

    /// The innermost header ends: what follows is of the kind that it says.
    fn end_header(&mut self, end: usize, lines_before: usize) {
        let head = std::mem::take(&mut self.head.octets);
        let is_shallow = self.open.len() <= DEPTH_MAX;
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let value = field::find(&head, "Content-Type");
        let typed = value
            .and_then(field::typed)
            .filter(|typed| !typed.subkind.is_empty())
            .unwrap_or_else(|| default_type(open.in_digest));
        let encoding = encoding(&head);
        let boundary = value.filter(|_| typed.kind == "multipart" && is_shallow);
        let boundary = boundary
            .and_then(field::boundary)
            .filter(|boundary| boundary.len() <= BOUNDARY_OCTETS_MAX);
        // RFC 2046 §5.2.1 allows no encoding here. Where there is one, what it hides is no header.
        let holds_message = is_message(&typed) && is_shallow && self.parts_left > 0;
        open.body = Some(Body {
            start: end,
            lines_before,
            kind: match boundary {
                Some(_) => Kind::Multipart(Vec::new()),
                None => Kind::Leaf,
            },
            encoding,
            described: Described::of(&head, open.is_message),
            boundary,
            typed,
        });
        self.head.octets = head;
        if holds_message {
            self.parts_left -= 1;
            self.begin(end, true, false);
        }
    }

    /// The innermost part ends; the message itself is given back.
    fn close(&mut self, end: usize, lines: usize) -> Option<Part> {
        let open = self.open.pop()?;
        // Without a body, it ended where its header would have begun.
        let body = open.body.unwrap_or_else(|| Body {
            start: open.start,
            lines_before: lines,
            typed: default_type(open.in_digest),
            encoding: Encoding::Identity,
            described: Described::of(b"", open.is_message),
            boundary: None,
            kind: Kind::Leaf,
        });
        let kind = match body.kind {
            Kind::Multipart(parts) if parts.is_empty() => Kind::Leaf,
            kind => kind,
        };
        let part = Part {
            header: open.start..body.start,
            body: body.start..end.max(body.start),
            lines: lines.saturating_sub(body.lines_before),
            typed: shown(body.typed, matches!(kind, Kind::Leaf)),
            encoding: body.encoding,
            described: body.described,
            kind,
        };
        let Some(around) = self.open.last_mut().and_then(|open| open.body.as_mut()) else {
            return Some(part);
        };
        match &mut around.kind {
            Kind::Multipart(parts) => parts.push(part),
            kind => *kind = Kind::Message(Box::new(part)),
        }
        None
    }
}

fn is_message(typed: &Typed) -> bool {
    typed.kind == "message" && matches!(&*typed.subkind, "rfc822" | "global")
}

/// The type that clients are told.
fn shown(typed: Typed, is_leaf: bool) -> Typed {
    // What says that it has parts and shows none is read as the text it is (RFC 2046 §5.1).
    let mut shown = if is_leaf && typed.kind == "multipart" {
        default_type(false)
    } else if is_leaf && is_message(&typed) {
        Typed {
            kind: "application".to_owned(),
            subkind: "octet-stream".to_owned(),
            parameters: Vec::new(),
        }
    } else {
        typed
    };
    // RFC 2045 §5.2; clients are told so, as by other servers.
    if shown.kind == "text" && shown.parameter("charset").is_none() {
        shown.parameters.extend(default_type(false).parameters);
    }
    shown
}

/// What stands for a Content-Type that is not there (RFC 2045 §5.2, RFC 2046 §5.1.5).
fn default_type(in_digest: bool) -> Typed {
    let (kind, subkind, parameters) = if in_digest {
        ("message", "rfc822", Vec::new())
    } else {
        let charset = ("charset".to_owned(), "us-ascii".to_owned());
        ("text", "plain", vec![charset])
    };
    Typed {
        kind: kind.to_owned(),
        subkind: subkind.to_owned(),
        parameters,
    }
}

/// Longer boundaries are none: RFC 2046 allows 70.
const BOUNDARY_OCTETS_MAX: usize = 256;
/// What is looked at of a line to find a boundary: there may be blanks behind it.
const BEGINNING_OCTETS_MAX: usize = 2 * BOUNDARY_OCTETS_MAX;
/// What is looked at of all headers of a message. Behind that, parts are plain text.
const HEADS_OCTETS_MAX: usize = 16 << 20;
