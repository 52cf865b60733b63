//! The end of DATA, and the dots that hide it (RFC 5321 §4.5.2).
//!
//! ```text
//!              CR           LF
//!  Middle ──────────▶ Cr ──────────▶ Start ──'.'──▶ Dot ──CR──▶ DotCr ──LF──▶ the end
//!     ▲                │ other         │ other       │ other      │ other
//!     └────────────────┴───────────────┴─────────────┴────────────┘
//! ```
//!
//! Only CRLF.CRLF ends a message (or .CRLF as its first line): a lenient reading of anything else
//! is how one message is smuggled inside another. Octets that may turn out to be the end are held
//! back until the next ones decide.

use memchr::{memchr, memchr_iter, memchr2, memmem};

use crate::trial::{self, Bug};
/// Finds the end of the content behind DATA, and measures the content on the way.
#[derive(Clone, Debug)]
pub struct DotScanner {
    place: Place,
    /// Octets of the current line so far, unstuffed, a CR at its end included.
    line: u64,
    faults: Faults,
    facts: Facts,
}

/// What is wrong with content as RFC 5321 §2.3.8 and §4.1.1.4 have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A CR without LF.
    pub bare_cr: bool,
    /// A LF without CR.
    pub bare_lf: bool,
    /// A NUL octet.
    pub nul: bool,
}

/// What content comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Octets without the hiding dots, line ends included.
    pub size: u64,
    /// Some line begins with a hiding dot.
    pub stuffed: bool,
    /// Octets of the longest line, without its hiding dot and its end.
    pub longest_line: u32,
}

/// What one feed found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed<'a> {
    /// Held back by an earlier feed: content after all, before `content`.
    pub held: &'static [u8],
    /// Content, in wire form.
    pub content: &'a [u8],
    /// Octets of the input that are dealt with: all of them, unless the content ended.
    pub consumed: usize,
    /// The content has ended; what follows is the next command.
    pub ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The first octet of a line comes.
    Start,
    Middle,
    /// A CR was the last octet.
    Cr,
    /// A dot is all of the line so far; held back.
    Dot,
    /// So are a dot and a CR.
    DotCr,
}

impl Default for DotScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl DotScanner {
    /// At the first octet behind DATA.
    #[must_use]
    pub fn new() -> Self {
        Self {
            place: Place::Start,
            line: 0,
            faults: Faults::default(),
            facts: Facts::default(),
        }
    }

    /// Takes the next octets.
    pub fn feed<'a>(&mut self, octets: &'a [u8]) -> Fed<'a> {
        let held: &'static [u8] = match self.place {
            Place::Dot => b".",
            Place::DotCr => b".\r",
            Place::Start | Place::Middle | Place::Cr => b"",
        };
        // Until an octet decides about what is held back, nothing of this feed is content.
        let mut undecided = !held.is_empty();
        let mut at = 0;
        while at < octets.len() {
            if self.place == Place::Middle {
                let run = memchr2(b'\r', b'\n', &octets[at..]);
                let run = run.unwrap_or(octets.len() - at);
                self.line += run as u64;
                at += run;
                if at == octets.len() {
                    break;
                }
            }
            let was = self.place;
            self.place = match self.turn(octets[at]) {
                Some(place) => place,
                None => {
                    // The dot of the final line came in this feed, or was held back.
                    let (held, content) = if undecided {
                        (&b""[..], 0)
                    } else {
                        (held, at - 2)
                    };
                    return self.end(held, &octets[..content], at + 1);
                }
            };
            at += 1;
            undecided &= was == Place::Dot && self.place == Place::DotCr;
        }
        let back = match self.place {
            Place::Dot => 1,
            Place::DotCr => 2,
            Place::Start | Place::Middle | Place::Cr => 0,
        };
        if undecided {
            return Fed {
                held: b"",
                content: b"",
                consumed: octets.len(),
                ended: false,
            };
        }
        let content = &octets[..octets.len() - back];
        self.measure(held, content);
        Fed {
            held,
            content,
            consumed: octets.len(),
            ended: false,
        }
    }

    /// What is wrong with the content so far.
    #[must_use]
    pub const fn faults(&self) -> Faults {
        self.faults
    }

    /// What the content came to so far.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// The final line is no content, and nothing of it was counted.
    fn end<'a>(&mut self, held: &'static [u8], content: &'a [u8], consumed: usize) -> Fed<'a> {
        self.place = Place::Start;
        self.measure(held, content);
        Fed {
            held,
            content,
            consumed,
            ended: true,
        }
    }

    /// One octet; `None` for the last one of the final line.
    fn turn(&mut self, octet: u8) -> Option<Place> {
        let place = match (self.place, octet) {
            (Place::Start, b'.') => return Some(Place::Dot),
            (Place::Dot, b'\r') => return Some(Place::DotCr),
            (Place::DotCr, b'\n') => return None,
            (Place::Cr, b'\n') => {
                // The CR was counted with its line.
                self.facts.longest_line = longest(self.facts.longest_line, self.line - 1);
                self.line = 0;
                return Some(Place::Start);
            }
            (Place::Dot, _) => {
                self.hide_dot();
                self.plain(octet)
            }
            (Place::DotCr, _) => {
                // `.` CR and something else: the dot hides nothing but the CR, which is bare.
                self.hide_dot();
                self.line += 1;
                self.faults.bare_cr = true;
                self.plain(octet)
            }
            (Place::Cr, _) => {
                self.faults.bare_cr = true;
                self.plain(octet)
            }
            (Place::Start | Place::Middle, _) => self.plain(octet),
        };
        Some(place)
    }

    fn plain(&mut self, octet: u8) -> Place {
        self.line += 1;
        match octet {
            b'\r' => Place::Cr,
            b'\n' => {
                self.faults.bare_lf = true;
                Place::Middle
            }
            _ => Place::Middle,
        }
    }

    /// A dot at the beginning of a line, with more behind it, is there to be taken away.
    fn hide_dot(&mut self) {
        self.facts.stuffed = true;
        // Counted with the octets of its piece.
        self.facts.size = self.facts.size.wrapping_sub(1);
    }

    fn measure(&mut self, held: &[u8], content: &[u8]) {
        let octets = (held.len() + content.len()) as u64;
        self.facts.size = self.facts.size.wrapping_add(octets);
        self.faults.nul |= memchr(0, content).is_some();
        self.facts.longest_line = longest(self.facts.longest_line, self.open_line());
    }

    /// Octets of a line that has not ended yet.
    fn open_line(&self) -> u64 {
        self.line - u64::from(self.place == Place::Cr)
    }
}

/// Puts hiding dots on content that comes without them, and measures it on the way.
#[derive(Clone, Debug)]
pub struct Stuffer {
    place: Place,
    line: u64,
    faults: Faults,
    facts: Facts,
}

impl Default for Stuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Stuffer {
    /// At the first octet of a message.
    #[must_use]
    pub fn new() -> Self {
        Self {
            place: Place::Start,
            line: 0,
            faults: Faults::default(),
            facts: Facts::default(),
        }
    }

    /// Appends the wire form of the next octets.
    pub fn stuff_into(&mut self, out: &mut Vec<u8>, octets: &[u8]) {
        out.reserve(octets.len());
        let mut copied = 0;
        let mut at = 0;
        while at < octets.len() {
            if self.place == Place::Start && octets[at] == b'.' {
                out.extend_from_slice(&octets[copied..at]);
                if !trial::has(Bug::DotNotHidden) {
                    out.push(b'.');
                }
                copied = at;
                self.facts.stuffed = true;
                self.place = Place::Middle;
            }
            if self.place == Place::Middle {
                let run = memchr2(b'\r', b'\n', &octets[at..]);
                let run = run.unwrap_or(octets.len() - at);
                self.line += run as u64;
                at += run;
                if at == octets.len() {
                    break;
                }
            }
            self.turn(octets[at]);
            at += 1;
        }
        out.extend_from_slice(&octets[copied..]);
        self.facts.size += octets.len() as u64;
        self.faults.nul |= memchr(0, octets).is_some();
        let open = self.line - u64::from(self.place == Place::Cr);
        self.facts.longest_line = longest(self.facts.longest_line, open);
    }

    /// What is wrong with the content so far.
    #[must_use]
    pub const fn faults(&self) -> Faults {
        self.faults
    }

    /// What the content came to so far.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    fn turn(&mut self, octet: u8) {
        if (self.place, octet) == (Place::Cr, b'\n') {
            self.facts.longest_line = longest(self.facts.longest_line, self.line - 1);
            self.line = 0;
            self.place = Place::Start;
            return;
        }
        self.faults.bare_cr |= self.place == Place::Cr;
        self.faults.bare_lf |= octet == b'\n';
        self.line += 1;
        self.place = if octet == b'\r' {
            Place::Cr
        } else {
            Place::Middle
        };
    }
}

/// Appends content as its sender meant it: a whole message in wire form, or a part of one that
/// begins with a line, without its hiding dots.
pub fn unstuff_into(out: &mut Vec<u8>, wire: &[u8]) {
    out.reserve(wire.len());
    let mut rest = wire.strip_prefix(b".").unwrap_or(wire);
    // Dots are rarer than lines: most messages are copied whole.
    if memchr_iter(b'.', rest).next().is_none() {
        return out.extend_from_slice(rest);
    }
    let stuffed = memmem::Finder::new(b"\r\n.");
    while let Some(at) = stuffed.find(rest) {
        out.extend_from_slice(&rest[..at + 2]);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
}

fn longest(longest: u32, line: u64) -> u32 {
    longest.max(u32::try_from(line).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by definition: content is what stands before the first final line.
    fn reference(input: &[u8]) -> Option<(usize, usize)> {
        if input.starts_with(b".\r\n") {
            return Some((0, 3));
        }
        let at = memmem::find(input, b"\r\n.\r\n")?;
        Some((at + 2, at + 5))
    }

    fn measured(content: &[u8]) -> (Facts, Faults) {
        let mut plain = Vec::new();
        unstuff_into(&mut plain, content);
        let lines = || {
            let mut lines: Vec<&[u8]> = Vec::new();
            let mut rest = &plain[..];
            while let Some(at) = memmem::find(rest, b"\r\n") {
                lines.push(&rest[..at]);
                rest = &rest[at + 2..];
            }
            lines.push(rest.strip_suffix(b"\r").unwrap_or(rest));
            lines
        };
        let longest_line = lines().iter().map(|line| line.len()).max().unwrap_or(0);
        let at = |at: usize| content.get(at).copied();
        let cr = (0..content.len())
            .filter(|&i| content[i] == b'\r' && i + 1 < content.len())
            .any(|i| at(i + 1) != Some(b'\n'));
        let lf =
            (0..content.len()).any(|i| content[i] == b'\n' && (i == 0 || at(i - 1) != Some(b'\r')));
        let facts = Facts {
            size: plain.len() as u64,
            stuffed: plain.len() < content.len(),
            longest_line: u32::try_from(longest_line).unwrap(),
        };
        let faults = Faults {
            bare_cr: cr,
            bare_lf: lf,
            nul: content.contains(&0),
        };
        (facts, faults)
    }

    fn run(input: &[u8], cuts: &[usize]) -> (Vec<u8>, usize, bool, DotScanner) {
        let mut scanner = DotScanner::new();
        let (mut content, mut begin) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&input.len()]) {
            let fed = scanner.feed(&input[begin..cut]);
            content.extend_from_slice(fed.held);
            content.extend_from_slice(fed.content);
            begin += fed.consumed;
            if fed.ended {
                return (content, begin, true, scanner);
            }
            assert_eq!(begin, cut);
        }
        (content, begin, false, scanner)
    }

    fn check(input: &[u8], cuts: &[usize]) {
        let (content, consumed, ended, scanner) = run(input, cuts);
        match reference(input) {
            Some((len, end)) => {
                assert!(ended, "{input:?} {cuts:?}");
                assert_eq!(
                    (&content[..], consumed),
                    (&input[..len], end),
                    "{input:?} {cuts:?}"
                );
                let (facts, faults) = measured(&content);
                assert_eq!(scanner.facts(), facts, "{input:?} {cuts:?}");
                assert_eq!(scanner.faults(), faults, "{input:?} {cuts:?}");
            }
            None => {
                assert!(!ended, "{input:?} {cuts:?}");
                assert!(input.starts_with(&content) && input.len() - content.len() <= 2);
            }
        }
    }

    /// Every word of `len` letters.
    fn words(len: u32) -> impl Iterator<Item = Vec<u8>> {
        let letters = b"a.\r\n";
        (0..4usize.pow(len)).map(move |mut number| {
            let letter = |_| {
                let letter = letters[number % 4];
                number /= 4;
                letter
            };
            (0..len).map(letter).collect()
        })
    }

    #[test]
    fn only_a_dot_on_a_line_of_its_own_ends_content_at_every_split() {
        for len in 0..=7 {
            for word in words(len) {
                let input = [&word[..], b"\r\n.\r\nQUIT\r\n"].concat();
                check(&input, &[]);
                check(&word, &[]);
                for cut in 0..=word.len() {
                    check(&input, &[cut]);
                    check(&input, &[cut, cut + 1, cut + 2, cut + 3]);
                }
            }
        }
    }

    #[test]
    fn an_end_that_is_not_quite_one_smuggles_nothing() {
        for trick in [
            &b"a\n.\n"[..],
            b"a\n.\r\n",
            b"a\r.\r",
            b"a\r\n.\n",
            b"a\r\n.\r",
            b"a\r\n.\r\r\n",
            b"a\r\n.\0\r\n",
            b"a\r.\r\n",
            b"\n.\r\n",
        ] {
            let input = [trick, b"MAIL FROM:<x@y>\r\n"].concat();
            for cut in 0..input.len() {
                assert!(!run(&input, &[cut]).2, "{trick:?}");
            }
        }
    }

    #[test]
    fn what_is_stuffed_and_unstuffed_is_the_same_and_measured_alike() {
        for len in 0..=7 {
            for word in words(len) {
                let content = [&word[..], b"\r\n"].concat();
                for cut in 0..=content.len() {
                    let (mut stuffer, mut wire) = (Stuffer::new(), Vec::new());
                    stuffer.stuff_into(&mut wire, &content[..cut]);
                    stuffer.stuff_into(&mut wire, &content[cut..]);
                    let mut back = Vec::new();
                    unstuff_into(&mut back, &wire);
                    assert_eq!(back, content);
                    let ended = [&wire[..], b".\r\n"].concat();
                    let (found, _, end, scanner) = run(&ended, &[]);
                    assert!(end && found == wire);
                    assert_eq!(scanner.facts(), stuffer.facts(), "{content:?}");
                    assert_eq!(scanner.faults(), stuffer.faults(), "{content:?}");
                }
            }
        }
    }
}
