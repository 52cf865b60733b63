//! What routing needs to know of a message's header, learnt while it streams past (RFC 5322 §2.2).

use memchr::memchr;

/// Looks at content in wire form, piece by piece.
#[derive(Clone, Debug)]
pub struct HeaderScan {
    facts: HeaderFacts,
    max_octets: u32,
    /// In the body: only its octets over 127 are of interest.
    in_body: bool,
    /// The beginning of the current line, as much of it as decides anything.
    line: Vec<u8>,
    /// Octets of the current line.
    line_len: u64,
    /// The last field was a Message-ID whose value may go on in the next line.
    in_message_id: bool,
    message_id: Vec<u8>,
    has_message_id: bool,
    has_tls_required: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFacts {
    /// Received fields.
    pub received: u32,
    /// There is a Date field.
    pub date: bool,
    /// The value of the Message-ID field, up to [`MESSAGE_ID_OCTETS_MAX`] of it.
    pub message_id: Option<Box<str>>,
    /// There is one TLS-Required field, and it says No (RFC 8689 §3).
    pub tls_optional: bool,
    /// The values of Delivered-To fields, the first `DELIVERED_TO_MAX` of them.
    pub delivered_to: Vec<Box<str>>,
    /// The body has octets over 127.
    pub eight_bit: bool,
    /// The header has.
    pub eight_bit_header: bool,
    /// Octets of the header, the empty line after it included.
    pub header_len: u32,
}

impl HeaderScan {
    /// At the first octet of a message whose header may have `max_octets`.
    #[must_use]
    pub fn new(max_octets: u32) -> Self {
        Self {
            facts: HeaderFacts::default(),
            max_octets,
            in_body: false,
            line: Vec::new(),
            line_len: 0,
            in_message_id: false,
            message_id: Vec::new(),
            has_message_id: false,
            has_tls_required: false,
        }
    }

    /// Takes the next octets.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !self.in_body && !octets.is_empty() {
            let end = memchr(b'\n', octets).map(|at| at + 1);
            let (piece, rest) = octets.split_at(end.unwrap_or(octets.len()));
            let room = LINE_OCTETS_KEPT.saturating_sub(self.line.len());
            let kept = &piece[..piece.len().min(room)];
            self.line_len += piece.len() as u64;
            self.facts.eight_bit_header |= !piece.is_ascii();
            octets = rest;
            if end.is_some() && self.line.is_empty() {
                // Nearly all are here whole, and judged where they stand.
                self.judge_line(kept);
                continue;
            }
            self.line.extend_from_slice(kept);
            if end.is_some() {
                self.end_line();
            }
        }
        self.facts.eight_bit |= !octets.is_ascii();
    }

    /// The header is larger than it may be.
    #[must_use]
    pub fn too_large(&self) -> bool {
        let open = if self.in_body { 0 } else { self.line_len };
        u64::from(self.facts.header_len) + open > u64::from(self.max_octets)
    }

    /// What was seen of the whole message.
    #[must_use]
    pub fn finish(mut self) -> HeaderFacts {
        if !self.in_body && self.line_len > 0 {
            self.end_line();
        }
        if self.has_message_id {
            let value = match String::from_utf8(self.message_id) {
                Ok(value) if value.trim().len() == value.len() => value,
                Ok(value) => value.trim().to_owned(),
                Err(bad) => String::from_utf8_lossy(bad.as_bytes()).trim().to_owned(),
            };
            self.facts.message_id = Some(value.into_boxed_str());
        }
        self.facts
    }

    /// A line that came in pieces is complete.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.judge_line(&line);
        // The buffer is used again.
        self.line = line;
        self.line.clear();
    }

    /// A line of the header is complete.
    fn judge_line(&mut self, line: &[u8]) {
        let len = std::mem::take(&mut self.line_len);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        match kind(line) {
            Kind::Empty => {
                self.facts.header_len = self.facts.header_len.saturating_add(len);
                self.in_body = true;
            }
            Kind::NoField => {
                // The sender forgot the empty line: this is the body already.
                self.in_body = true;
                self.facts.eight_bit |= self.facts.eight_bit_header;
            }
            Kind::Continued => {
                self.facts.header_len = self.facts.header_len.saturating_add(len);
                if self.in_message_id {
                    self.keep_message_id(line);
                }
            }
            Kind::Field(name, value) => {
                self.facts.header_len = self.facts.header_len.saturating_add(len);
                self.in_message_id = false;
                self.field(name, value);
            }
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"Received") {
            self.facts.received = self.facts.received.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"Delivered-To") {
            if self.facts.delivered_to.len() < DELIVERED_TO_MAX {
                let value = String::from_utf8_lossy(value.trim_ascii());
                self.facts.delivered_to.push(value.into());
            }
        } else if name.eq_ignore_ascii_case(b"Date") {
            self.facts.date = true;
        } else if name.eq_ignore_ascii_case(b"Message-ID") && !self.has_message_id {
            self.has_message_id = true;
            self.in_message_id = true;
            self.keep_message_id(value);
        } else if name.eq_ignore_ascii_case(b"TLS-Required") {
            // There may be one. Of several nobody knows which was meant, and none relaxes anything.
            let is_first = !std::mem::replace(&mut self.has_tls_required, true);
            self.facts.tls_optional = is_first && value.trim_ascii().eq_ignore_ascii_case(b"No");
        }
    }

    fn keep_message_id(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        let room = MESSAGE_ID_OCTETS_MAX.saturating_sub(self.message_id.len());
        self.message_id
            .extend_from_slice(&value[..value.len().min(room)]);
    }
}

/// The value of the first field of this name in a header in wire form: unfolded (RFC 5322 §2.2.3),
/// without control characters, so many octets of it.
#[must_use]
pub fn value(header: &[u8], name: &str, most: usize) -> Option<String> {
    let mut found: Option<Vec<u8>> = None;
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        match (kind(line), &mut found) {
            (Kind::Continued, Some(value)) => value.extend_from_slice(line),
            (Kind::Field(own, value), None) => {
                if own.eq_ignore_ascii_case(name.as_bytes()) {
                    found = Some(value.to_vec());
                }
            }
            (Kind::Continued, None) => {}
            _ => break,
        }
        if found.as_ref().is_some_and(|value| value.len() >= 4 * most) {
            break;
        }
    }
    let found = found?;
    let text = String::from_utf8_lossy(&found).replace("\r\n", "");
    let text = text.replace(char::is_control, " ");
    let text = text.trim();
    Some(text[..text.floor_char_boundary(most)].to_owned())
}

/// What a line of a header is.
pub(super) enum Kind<'a> {
    Empty,
    Continued,
    Field(&'a [u8], &'a [u8]),
    NoField,
}

pub(super) fn kind(line: &[u8]) -> Kind<'_> {
    match line {
        b"\r\n" | b"\n" => return Kind::Empty,
        [b' ' | b'\t', ..] => return Kind::Continued,
        _ => {}
    }
    let Some(colon) = memchr(b':', line) else {
        return Kind::NoField;
    };
    // Blanks before the colon are the obsolete syntax of RFC 5322 §4.5.
    let name = line[..colon].trim_ascii_end();
    if name.is_empty() || !name.iter().all(|octet| matches!(octet, b'!'..=b'~')) {
        return Kind::NoField;
    }
    Kind::Field(name, &line[colon + 1..])
}

/// Octets of a Message-ID that are kept for the log.
pub const MESSAGE_ID_OCTETS_MAX: usize = 255;
/// Delivered-To fields that are looked at: mail passes few aliases, and each adds one at most.
const DELIVERED_TO_MAX: usize = 50;
/// Octets of a line that are looked at: a name, its colon, and a Message-ID. The longest name
/// that anybody uses is far shorter.
pub(super) const LINE_OCTETS_KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(content: &[u8], cuts: &[usize]) -> HeaderFacts {
        let mut scan = HeaderScan::new(1000);
        let mut begin = 0;
        for &cut in cuts.iter().chain([&content.len()]) {
            scan.feed(&content[begin..cut]);
            begin = cut;
        }
        scan.finish()
    }

    #[test]
    fn a_header_says_the_same_at_every_split() {
        let content = b"Received: a\r\n by b\r\nRECEIVED : c\r\nX-Received: no\r\nDate: now\r\n\
            Message-ID:\r\n <a@b>  \r\ntls-required: NO \r\ndelivered-to: x@y\r\nSubject: Received: no\r\n\r\nReceived: no\r\nbody \xe9\r\n";
        let whole = scan(content, &[]);
        assert_eq!(
            whole,
            HeaderFacts {
                received: 2,
                date: true,
                message_id: Some("<a@b>".into()),
                tls_optional: true,
                delivered_to: vec!["x@y".into()],
                eight_bit: true,
                eight_bit_header: false,
                header_len: u32::try_from(memchr::memmem::find(content, b"\r\n\r\n").unwrap() + 4)
                    .unwrap(),
            }
        );
        for first in 0..content.len() {
            assert_eq!(scan(content, &[first]), whole, "{first}");
            assert_eq!(scan(content, &[first, content.len() - 1]), whole);
        }
    }

    #[test]
    fn a_message_without_empty_line_is_all_header() {
        let facts = scan(b"Subject: a\r\n", &[]);
        assert_eq!((facts.header_len, facts.date), (12, false));
        assert_eq!(scan(b"", &[]), HeaderFacts::default());
        assert_eq!(scan(b"\r\nbody\r\n", &[]).header_len, 2);
    }

    #[test]
    fn a_line_that_is_no_field_begins_the_body() {
        let facts = scan(b"Date: x\r\nno field here\r\nReceived: no\r\n", &[]);
        assert_eq!((facts.header_len, facts.received), (9, 0));
        assert!(scan("gr\u{fc}n\r\n".as_bytes(), &[]).eight_bit);
        let utf8 = scan("Subject: gr\u{fc}n\r\n\r\nascii\r\n".as_bytes(), &[]);
        assert!(utf8.eight_bit_header && !utf8.eight_bit);
    }

    #[test]
    fn tls_may_be_optional_for_a_message_that_says_so_once() {
        for (header, is_optional) in [
            ("TLS-Required: No\r\n", true),
            ("TLS-Required:no\r\n", true),
            ("TLS-Required: None\r\n", false),
            ("TLS-Required: Yes\r\n", false),
            ("TLS-Required:\r\n", false),
            ("X-TLS-Required: No\r\n", false),
            ("TLS-Required: No\r\nTLS-Required: No\r\n", false),
            ("TLS-Required: No\r\nTLS-Required: Yes\r\n", false),
            (
                "TLS-Required: No\r\nTLS-Required: Yes\r\nTLS-Required: No\r\n",
                false,
            ),
            ("A: b\r\n\r\nTLS-Required: No\r\n", false),
        ] {
            assert_eq!(
                scan(header.as_bytes(), &[]).tls_optional,
                is_optional,
                "{header}"
            );
        }
    }

    #[test]
    fn an_endless_header_is_noticed_and_takes_no_memory() {
        let mut scan = HeaderScan::new(1000);
        for _ in 0..100 {
            scan.feed(&[b'x'; 1000]);
        }
        assert!(scan.too_large() && scan.line.len() <= LINE_OCTETS_KEPT);
        let mut long = HeaderScan::new(1000);
        long.feed(b"Message-ID: ");
        long.feed(&[b'x'; 900]);
        assert!(!long.too_large());
        long.feed(b"\r\n\r\n");
        assert_eq!(
            long.finish().message_id.unwrap().len(),
            MESSAGE_ID_OCTETS_MAX
        );
    }

    #[test]
    fn a_field_is_found_by_name_and_unfolded() {
        let header =
            b"A: no\r\nX-Tag :  one\r\n\ttwo\r\nx-tag: three\r\nEmpty:\r\n\r\nX-Late: body\r\n";
        let find = |name| value(header, name, 255);
        assert_eq!(find("x-TAG").as_deref(), Some("one two"));
        assert_eq!(find("Empty").as_deref(), Some(""));
        assert_eq!(find("X-Late"), None);
        assert_eq!(
            value("A: \u{e4}\u{e4}\r\n".as_bytes(), "a", 3).as_deref(),
            Some("\u{e4}")
        );
        assert_eq!(value(b"A: \xff\r\n", "a", 255).as_deref(), Some("\u{fffd}"));
    }

    proptest::proptest! {
        #[test]
        fn a_scan_agrees_with_a_plain_reading_at_every_split(
            content in "((Received|Date|Message-ID|TLS-Required|X|)(:| :|) ?(<a@b>|No|)\r\n( x\r\n)?){0,6}(\r\nDate: \u{e4}\r\n)?",
        ) {
            let octets = content.as_bytes();
            let whole = scan(octets, &[]);
            for cut in 0..octets.len() {
                proptest::prop_assert_eq!(&scan(octets, &[cut]), &whole, "{}", cut);
            }
            let header = &content[..whole.header_len as usize];
            let named = |name: &str| header.lines().filter(|line| line.split(':').next().is_some_and(|own| line.contains(':') && own.trim_end() == name)).count();
            proptest::prop_assert_eq!(whole.received as usize, named("Received"));
            proptest::prop_assert_eq!(whole.date, named("Date") > 0);
            proptest::prop_assert_eq!(whole.message_id.is_some(), named("Message-ID") > 0);
        }
    }
}
