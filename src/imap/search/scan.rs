//! Looks for words in a message's text, a little at each step: a message may have 50 MB of it, and
//! others wait for the shard.

use super::Key;
use crate::imap::decode::Decoder;
use crate::imap::field::{self, Field};
use crate::imap::mime::{self, Encoding, Kind, Part};

/// What is looked for, and whether it is there.
pub struct Seen<'a>(Vec<(&'a Key, bool)>);

impl Seen<'_> {
    /// Is this there? `None` for what was not looked for.
    #[must_use]
    pub fn has(&self, key: &Key) -> Option<bool> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, seen)| *seen)
    }
}

/// A message in which words are looked for.
pub struct Scan<'a> {
    raw: &'a [u8],
    seen: Seen<'a>,
    /// The longest of it.
    needle_octets: usize,
    /// What of a text is looked at in one step: all that is looked for has its cost.
    step_octets: usize,
    /// Parts that were not looked at, the next one last.
    waiting: Vec<&'a Part>,
    headers: Option<Headers<'a>>,
    text: Option<Text<'a>>,
    /// The first header is the message's own.
    headers_seen: usize,
}

type Headers<'a> = Box<dyn Iterator<Item = Field<'a>> + 'a>;

/// A text being read.
struct Text<'a> {
    rest: &'a [u8],
    charset: &'a str,
    decoder: Decoder,
    /// Decoded, but not read: a character may end in what comes.
    unread: Vec<u8>,
    /// In lower case; the end of what was looked at stays, for words that go on.
    tail: String,
}

impl<'a> Scan<'a> {
    /// Makes ready to look for what `key` needs.
    #[must_use]
    pub fn new(key: &'a Key, raw: &'a [u8], message: &'a Part) -> Self {
        let mut needles = Vec::new();
        collect(key, &mut needles);
        let octets = needles.iter().map(|(key, _)| words(key).len());
        let needle_octets = octets.max().unwrap_or(0);
        let least = needle_octets.clamp(STEP_OCTETS_MIN, STEP_OCTETS);
        let step_octets = STEP_OCTETS / (1 + needles.len() / NEEDLES_FREE);
        Self {
            raw,
            needle_octets,
            step_octets: step_octets.max(least),
            seen: Seen(needles),
            waiting: vec![message],
            headers: None,
            text: None,
            headers_seen: 0,
        }
    }

    /// What was seen.
    #[must_use]
    pub fn end(self) -> Seen<'a> {
        self.seen
    }

    /// Looks at [`STEP_OCTETS`] more at most. False when there is nothing left to look for or at.
    pub fn step(&mut self) -> bool {
        if self.seen.0.iter().all(|(_, seen)| *seen) {
            return false;
        }
        if let Some(mut headers) = self.headers.take() {
            if self.look_at_fields(&mut headers) {
                self.headers = Some(headers);
            }
            return true;
        }
        if let Some(mut text) = self.text.take() {
            if self.look_at_text(&mut text) {
                self.text = Some(text);
            }
            return true;
        }
        let Some(part) = self.waiting.pop() else {
            return false;
        };
        match &part.kind {
            Kind::Leaf => {}
            Kind::Multipart(parts) => self.waiting.extend(parts.iter().rev()),
            Kind::Message(message) => self.waiting.push(message),
        }
        self.headers = Some(Box::new(field::fields(part.header_of(self.raw))));
        self.headers_seen += 1;
        // Reports are read as they stand.
        let encoding = match &*part.typed.kind {
            "text" => Some(part.encoding),
            "message" => Some(Encoding::Identity),
            _ => None,
        };
        if let Some(encoding) = encoding.filter(|_| matches!(part.kind, Kind::Leaf)) {
            self.text = Some(Text {
                rest: part.body_of(self.raw),
                charset: part.typed.parameter("charset").unwrap_or_default(),
                decoder: Decoder::new(encoding),
                unread: Vec::new(),
                tail: String::new(),
            });
        }
        true
    }

    /// False after the last.
    fn look_at_fields(&mut self, headers: &mut Headers<'a>) -> bool {
        let is_own = self.headers_seen == 1;
        let mut octets = 0;
        for found in headers {
            // A name and a value alone are short: each has its cost.
            octets += found.whole.len() + FIELD_COST_OCTETS;
            let mut line = None;
            for (key, seen) in self.seen.0.iter_mut().filter(|(_, seen)| !*seen) {
                *seen = match key {
                    Key::Header(name, words) => {
                        is_own
                            && found.name.eq_ignore_ascii_case(name.as_bytes())
                            && field::text(found.value).to_lowercase().contains(&**words)
                    }
                    Key::Body(_) if is_own => false,
                    key => line
                        .get_or_insert_with(|| decoded_line(found))
                        .contains(words(key)),
                };
            }
            if octets >= self.step_octets {
                return true;
            }
        }
        false
    }

    /// False at the end.
    fn look_at_text(&mut self, text: &mut Text<'_>) -> bool {
        let is_last = text.read(self.step_octets);
        for (key, seen) in &mut self.seen.0 {
            if matches!(key, Key::Body(_) | Key::Text(_)) {
                *seen |= text.tail.contains(words(key));
            }
        }
        let surplus = text.tail.len().saturating_sub(self.needle_octets);
        let cut = text.tail.floor_char_boundary(surplus);
        text.tail.drain(..cut);
        !is_last
    }
}

impl Text<'_> {
    /// Reads more; true at the end.
    fn read(&mut self, octets: usize) -> bool {
        let (piece, rest) = self.rest.split_at(self.rest.len().min(octets));
        self.rest = rest;
        // What is not encoded as it says may still be text.
        let decoded = self.decoder.push(piece);
        self.unread
            .extend(decoded.unwrap_or_else(|_| piece.to_vec()));
        let is_last = self.rest.is_empty();
        if is_last {
            let decoder = std::mem::replace(&mut self.decoder, Decoder::new(Encoding::Identity));
            self.unread.extend(decoder.end().unwrap_or_default());
        }
        let lines = memchr::memrchr(b'\n', &self.unread).map_or(0, |at| at + 1);
        let max = if mime::is_stateful(self.charset) {
            STATEFUL_OCTETS_MAX
        } else if lines > 0 {
            0
        } else {
            octets
        };
        let ready = match self.unread.len() {
            all if is_last => all,
            all if all > max && lines > 0 => lines,
            all if all > max => all,
            _ => 0,
        };
        let octets: Vec<u8> = self.unread.drain(..ready).collect();
        let text = mime::in_utf8(&octets, self.charset);
        self.tail.push_str(&text.to_lowercase());
        is_last
    }
}

/// What is looked for in text.
fn collect<'a>(key: &'a Key, needles: &mut Vec<(&'a Key, bool)>) {
    match key {
        Key::And(keys) => keys.iter().for_each(|key| collect(key, needles)),
        Key::Or(keys) => keys.iter().for_each(|key| collect(key, needles)),
        Key::Not(key) => collect(key, needles),
        // Nothing is in every text; only a field must be there.
        Key::Body(words) | Key::Text(words) => needles.push((key, words.is_empty())),
        Key::Header(..) => needles.push((key, false)),
        _ => {}
    }
}

fn words(key: &Key) -> &str {
    match key {
        Key::Header(_, words) | Key::Body(words) | Key::Text(words) => words,
        _ => "",
    }
}

fn decoded_line(found: Field<'_>) -> String {
    let name = String::from_utf8_lossy(found.name);
    format!("{name}: {}", field::text(found.value)).to_lowercase()
}

/// What is looked at in one step: less than a millisecond.
pub const STEP_OCTETS: usize = 32 * 1024;
/// What a field costs besides its octets.
const FIELD_COST_OCTETS: usize = 64;
/// So many words are looked for at no further cost; more shorten the step.
const NEEDLES_FREE: usize = 8;
/// And not further than this.
const STEP_OCTETS_MIN: usize = 4 * 1024;
/// Text whose octets mean nothing without those before them is read whole, up to here.
const STATEFUL_OCTETS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(raw: &[u8], key: &Key) -> (bool, usize) {
        let message = Part::read(raw);
        let mut scan = Scan::new(key, raw, &message);
        let mut steps = 0;
        while scan.step() {
            steps += 1;
        }
        (scan.end().has(key).unwrap(), steps)
    }

    fn body(words: &str) -> Key {
        Key::Body(words.to_owned())
    }

    #[test]
    fn a_long_text_takes_many_steps_and_its_last_word_is_found() {
        for encoding in ["7bit", "base64", "quoted-printable", "x-unknown"] {
            let mut raw = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n").into_bytes();
            let line: &[u8] = match encoding {
                "base64" => b"YWJjZGVm\r\n",
                _ => b"abcdef\r\n",
            };
            raw.extend(line.repeat(50_000));
            let (found, steps) = looked(&raw, &body("nowhere"));
            assert!(
                !found && steps >= raw.len() / STEP_OCTETS,
                "{encoding}: {steps}"
            );
            raw.extend_from_slice(match encoding {
                "base64" => b"IW5vd2hlcmUh",
                _ => b"Nowhere",
            });
            assert!(looked(&raw, &body("nowhere")).0, "{encoding}");
        }
    }

    #[test]
    fn words_are_found_wherever_a_step_ends() {
        for before in STEP_OCTETS - 12..STEP_OCTETS + 2 {
            for filler in [&b"x"[..], b"\n"] {
                let mut raw = b"Content-Type: text/plain; charset=utf-8\r\n\r\n".to_vec();
                raw.extend(filler.repeat(before));
                raw.extend_from_slice("Größe\r\nmehr".as_bytes());
                raw.extend(filler.repeat(2 * STEP_OCTETS));
                assert!(looked(&raw, &body("größe\r\nmehr")).0, "{before}");
            }
        }
    }

    #[test]
    fn a_header_of_fifty_thousand_fields_takes_many_steps() {
        let raw = [&b"a:\r\n".repeat(50_000)[..], b"X: last\r\n\r\n"].concat();
        let (found, steps) = looked(&raw, &Key::Text("x: last".to_owned()));
        assert!(found && steps > 50, "{steps}");
        assert!(looked(&raw, &Key::Header("x".to_owned(), "LAST".to_lowercase())).0);
        assert!(!looked(&raw, &body("last")).0);
    }

    #[test]
    fn what_was_seen_is_not_looked_for_again() {
        let raw = [&b"\r\nfirst "[..], &b"x\r\n".repeat(100_000)].concat();
        let (found, steps) = looked(&raw, &body("first"));
        assert!(found && steps < 5, "{steps}");
        assert!(looked(b"", &body("")).0);
    }
}
