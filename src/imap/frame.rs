//! Framing: which octets make one command (RFC 9051 §4.3, RFC 7888). Grammar comes later.
//!
//! ```text
//! octets ─► line ─► ends in {n}? ─► Literal (may it come?) ─► n octets ─► line ─► ... ─► Command
//!                   ends in {n+}? ─────────────┘ they come anyhow: taken or thrown away
//! ```
//!
//! A literal is refused by its announced size, before any octet of it is read.

use std::ops::Range;

use memchr::memchr;

/// One whole command: its lines, joined by CRLF, with the literals in their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Everything, the last CRLF included.
    pub text: Vec<u8>,
    /// Where in `text` the content of literals stands.
    pub literals: Vec<Range<usize>>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more can be said without further octets.
    NeedInput,
    /// A literal of so many octets is announced: [`Framer::take_literal`] or
    /// [`Framer::refuse_literal`].
    Literal(u64),
    /// A command is complete.
    Command(Frame),
    /// The line had no end within [`LINE_OCTETS_MAX`]; it was thrown away. What may be its tag.
    TooLong(String),
    /// The peer announces what can neither be taken nor passed over.
    Hopeless,
}

/// Cuts octets into commands.
#[derive(Debug, Default)]
pub struct Framer {
    input: Vec<u8>,
    /// How much of `input` was searched for the end of a line.
    searched: usize,
    frame: Frame,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Line,
    /// A literal is announced and nobody has decided about it.
    Announced { octets: u64, comes: bool },
    /// So many octets of a literal are to come, into the frame.
    Literal(usize),
    /// So many octets are to come and nobody wants them; then the rest of the command neither.
    Skip(u64),
    /// The rest of a command that was refused: up to a line without a literal that comes anyhow.
    Rest,
    /// A line without end.
    Endless,
}

/// A literal's announcement at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Announced {
    octets: u64,
    /// `{n+}`: its octets come without being asked for.
    comes: bool,
}

impl Framer {
    /// Takes octets from the peer.
    pub fn push(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// What was received and belongs to no command yet. Emptied, for whoever speaks another
    /// protocol from here on.
    pub fn take_input(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.input)
    }

    /// True while the octets of a literal come in.
    #[must_use]
    pub fn wants_much(&self) -> bool {
        matches!(self.state, State::Literal(_) | State::Skip(_))
    }

    /// The command so far, when a literal is announced: everything before the announcement.
    #[must_use]
    pub fn so_far(&self) -> &[u8] {
        let line = self.frame.text.strip_suffix(b"\r\n");
        let line = line.unwrap_or(&self.frame.text);
        match memchr::memrchr(b'{', line) {
            Some(at) if line[..at].ends_with(b"~") => &line[..at - 1],
            Some(at) => &line[..at],
            None => line,
        }
    }

    /// True when the announced literal comes without being asked for.
    #[must_use]
    pub fn comes_anyhow(&self) -> bool {
        matches!(self.state, State::Announced { comes: true, .. })
    }

    /// The announced literal may come.
    pub fn take_literal(&mut self) {
        if let State::Announced { octets, .. } = self.state {
            let octets = usize::try_from(octets).unwrap_or(usize::MAX);
            let start = self.frame.text.len();
            self.frame
                .literals
                .push(start..start.saturating_add(octets));
            self.state = State::Literal(octets);
        }
    }

    /// The announced literal may not come, and the command ends here.
    pub fn refuse_literal(&mut self) {
        if let State::Announced { octets, comes } = self.state {
            self.frame = Frame::default();
            // A peer that waits to be asked begins another command when it hears NO.
            self.state = if comes {
                State::Skip(octets)
            } else {
                State::Line
            };
        }
    }

    /// What comes next.
    pub fn step(&mut self) -> Step {
        loop {
            match self.state {
                State::Line => match self.line() {
                    Some(step) => return step,
                    None => continue,
                },
                State::Announced { octets, .. } => return Step::Literal(octets),
                State::Literal(0) => self.state = State::Line,
                State::Literal(wanted) => {
                    let len = wanted.min(self.input.len());
                    if len == 0 {
                        return Step::NeedInput;
                    }
                    self.frame.text.extend_from_slice(&self.input[..len]);
                    self.consume(len);
                    self.state = State::Literal(wanted - len);
                }
                State::Skip(0) => self.state = State::Rest,
                State::Skip(wanted) => {
                    let here = u64::try_from(self.input.len()).unwrap_or(u64::MAX);
                    if here == 0 {
                        return Step::NeedInput;
                    }
                    let len = wanted.min(here);
                    self.consume(usize::try_from(len).unwrap_or(usize::MAX));
                    self.state = State::Skip(wanted - len);
                }
                State::Rest | State::Endless => {
                    if let Some(step) = self.pass_over() {
                        return step;
                    }
                }
            }
        }
    }

    /// A line of a command; `None` to go on.
    fn line(&mut self) -> Option<Step> {
        let Some(end) = memchr(b'\n', &self.input[self.searched..]) else {
            self.searched = self.input.len();
            if self.input.len() + self.lines() <= LINE_OCTETS_MAX {
                return Some(Step::NeedInput);
            }
            let tag = self.probable_tag();
            self.frame = Frame::default();
            self.state = State::Endless;
            return Some(Step::TooLong(tag));
        };
        let end = self.searched + end;
        if end + self.lines() > LINE_OCTETS_MAX {
            let tag = self.probable_tag();
            self.frame = Frame::default();
            self.state = State::Rest;
            return Some(Step::TooLong(tag));
        }
        let line = &self.input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let announced = announcement(line);
        self.frame.text.extend_from_slice(line);
        self.frame.text.extend_from_slice(b"\r\n");
        self.consume(end + 1);
        match announced {
            None => Some(Step::Command(std::mem::take(&mut self.frame))),
            Some(Announced { octets, .. }) if octets > LITERAL_OCTETS_MAX => Some(self.hopeless()),
            Some(_) if self.frame.literals.len() >= LITERALS_MAX => Some(self.hopeless()),
            Some(Announced { octets, comes }) => {
                self.state = State::Announced { octets, comes };
                None
            }
        }
    }

    /// Announced beyond all reason: refused where the peer waits; where it does not, the
    /// connection is of no further use.
    fn hopeless(&mut self) -> Step {
        let comes = announcement(self.frame.text.strip_suffix(b"\r\n").unwrap_or_default())
            .is_some_and(|announced| announced.comes);
        if comes {
            return Step::Hopeless;
        }
        self.state = State::Announced {
            octets: u64::MAX,
            comes,
        };
        Step::Literal(u64::MAX)
    }

    /// Throws away what is left of a command.
    fn pass_over(&mut self) -> Option<Step> {
        let Some(end) = memchr(b'\n', &self.input) else {
            // An announcement of a literal is at the end of its line.
            let keep = self.input.len().min(ANNOUNCEMENT_OCTETS_MAX + b"}\r".len());
            self.consume(self.input.len() - keep);
            self.searched = 0;
            return Some(Step::NeedInput);
        };
        let line = &self.input[..end];
        let announced = announcement(line.strip_suffix(b"\r").unwrap_or(line));
        self.consume(end + 1);
        let Some(Announced { octets, .. }) = announced.filter(|announced| announced.comes) else {
            self.state = State::Line;
            return None;
        };
        if octets > LITERAL_OCTETS_MAX {
            return Some(Step::Hopeless);
        }
        self.state = State::Skip(octets);
        None
    }

    /// Octets of the frame outside of literals.
    fn lines(&self) -> usize {
        let literals: usize = self.frame.literals.iter().map(Range::len).sum();
        self.frame.text.len() - literals.min(self.frame.text.len())
    }

    fn probable_tag(&self) -> String {
        let text = if self.frame.text.is_empty() {
            &self.input
        } else {
            &self.frame.text
        };
        probable_tag(text)
    }

    fn consume(&mut self, len: usize) {
        self.searched = 0;
        if len == self.input.len() {
            self.input.clear();
            if self.input.capacity() > INPUT_OCTETS_KEPT {
                self.input = Vec::new();
            }
        } else {
            self.input.drain(..len);
        }
    }
}

/// The tag that a line seems to have; `*` where it has none.
#[must_use]
pub fn probable_tag(line: &[u8]) -> String {
    let end = line.iter().position(|octet| !is_tag_octet(*octet));
    let tag = &line[..end.unwrap_or(line.len())];
    match str::from_utf8(tag) {
        Ok(tag) if !tag.is_empty() && tag.len() <= TAG_OCTETS_MAX => tag.to_owned(),
        _ => "*".to_owned(),
    }
}

fn is_tag_octet(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\+".contains(&octet)
}

/// `{n}`, `{n+}`, `~{n}` or `~{n+}` at the end of a line.
fn announcement(line: &[u8]) -> Option<Announced> {
    let inner = line.strip_suffix(b"}")?;
    let at = memchr::memrchr(
        b'{',
        &inner[inner.len().saturating_sub(ANNOUNCEMENT_OCTETS_MAX)..],
    )?;
    let inner = &inner[inner.len().saturating_sub(ANNOUNCEMENT_OCTETS_MAX) + at + 1..];
    let comes = inner.ends_with(b"+");
    let digits = inner.strip_suffix(b"+").unwrap_or(inner);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let octets = digits.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some(Announced {
        octets: octets.unwrap_or(u64::MAX),
        comes,
    })
}

/// A command's lines are at most this long together, literals apart. Clients send long sets of
/// UIDs; RFC 7162 §4 asks for 8192 at least.
pub const LINE_OCTETS_MAX: usize = 64 * 1024;
/// What literals outside of APPEND may have together: names, passwords and what is searched for.
pub const SMALL_LITERAL_OCTETS_MAX: u64 = 64 * 1024;
/// A literal that comes without being asked for may have this much where LITERAL- is offered
/// (RFC 7888 §5).
pub const LITERAL_MINUS_OCTETS: u64 = 4096;
/// More than this is not even passed over.
const LITERAL_OCTETS_MAX: u64 = u32::MAX as u64;
/// Literals in one command.
const LITERALS_MAX: usize = 1000;
/// What stands before the `}` of `~{18446744073709551615+}`.
const ANNOUNCEMENT_OCTETS_MAX: usize = 32;
/// An input buffer larger than this is given back when it is empty.
const INPUT_OCTETS_KEPT: usize = 4096;
/// Tags are echoed; nobody needs long ones.
const TAG_OCTETS_MAX: usize = 256;

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "places of literals: one is a list too"
)]
mod tests {
    use super::*;

    /// Everything that comes of `input`, given in two pieces cut at `cut`. Literals up to `max`
    /// are taken.
    fn all(input: &[u8], cut: usize, max: u64) -> Vec<Step> {
        let mut framer = Framer::default();
        let mut steps = Vec::new();
        for piece in [&input[..cut], &input[cut..]] {
            framer.push(piece);
            loop {
                match framer.step() {
                    Step::NeedInput => break,
                    Step::Literal(octets) if octets <= max => framer.take_literal(),
                    step @ Step::Literal(_) => {
                        framer.refuse_literal();
                        steps.push(step);
                    }
                    Step::Hopeless => {
                        steps.push(Step::Hopeless);
                        return steps;
                    }
                    step => steps.push(step),
                }
            }
        }
        steps
    }

    fn command(text: &[u8], literals: &[Range<usize>]) -> Step {
        Step::Command(Frame {
            text: text.to_vec(),
            literals: literals.to_vec(),
        })
    }

    /// The same at every split.
    fn check(input: &[u8], expected: &[Step]) {
        for cut in 0..=input.len() {
            assert_eq!(all(input, cut, 100), expected, "cut at {cut}");
        }
    }

    #[test]
    fn lines_are_commands_whatever_the_split() {
        check(
            b"a NOOP\r\nb LOGOUT\n",
            &[command(b"a NOOP\r\n", &[]), command(b"b LOGOUT\r\n", &[])],
        );
        check(b"\r\n", &[command(b"\r\n", &[])]);
    }

    #[test]
    fn literals_stand_in_their_places() {
        check(
            b"a LOGIN {1}\r\nu {3+}\r\na\r\n x\r\nb NOOP\r\n",
            &[
                command(b"a LOGIN {1}\r\nu {3+}\r\na\r\n x\r\n", &[13..14, 21..24]),
                command(b"b NOOP\r\n", &[]),
            ],
        );
        check(
            b"a APPEND x ~{2+}\r\n\0\n\r\n",
            &[command(b"a APPEND x ~{2+}\r\n\0\n\r\n", &[18..20])],
        );
        check(b"a X {0}\r\n\r\n", &[command(b"a X {0}\r\n\r\n", &[9..9])]);
    }

    #[test]
    fn what_is_no_announcement_is_text() {
        for line in [
            "a X {}",
            "a X {-1}",
            "a X {3-}",
            "a X {3",
            "a X {3}x",
            "a X {3++}",
        ] {
            let text = format!("{line}\r\n");
            check(text.as_bytes(), &[command(text.as_bytes(), &[])]);
        }
    }

    #[test]
    fn a_refused_literal_ends_its_command() {
        check(
            b"a APPEND x {101}\r\nb NOOP\r\n",
            &[Step::Literal(101), command(b"b NOOP\r\n", &[])],
        );
    }

    #[test]
    fn a_refused_literal_that_comes_anyhow_is_passed_over_with_the_rest() {
        let mut input = b"a APPEND x {101+}\r\n".to_vec();
        input.extend_from_slice(&[b'\n'; 101]);
        input.extend_from_slice(b" {3+}\r\nb\r\n\r\nc NOOP\r\n");
        check(&input, &[Step::Literal(101), command(b"c NOOP\r\n", &[])]);
    }

    #[test]
    fn an_announcement_that_is_passed_over_is_one_whatever_its_length() {
        for zeros in 0..40 {
            let announced = format!("{{{}2+}}", "0".repeat(zeros));
            let input = format!(
                "a X {{900+}}\r\n{}{announced}\r\nxy\r\nb NOOP\r\n",
                " ".repeat(900)
            );
            let input = input.as_bytes();
            let whole = all(input, input.len(), 100);
            for cut in 0..=input.len() {
                assert_eq!(all(input, cut, 100), whole, "{zeros} zeros, cut at {cut}");
            }
        }
        let beyond = format!(
            "a X {{101+}}\r\n{}{{99999999999999999999+}}\r\n",
            " ".repeat(101)
        );
        check(beyond.as_bytes(), &[Step::Literal(101), Step::Hopeless]);
    }

    #[test]
    fn sizes_beyond_reason_are_refused_or_end_it() {
        check(
            b"a APPEND x {99999999999}\r\nb NOOP\r\n",
            &[Step::Literal(u64::MAX), command(b"b NOOP\r\n", &[])],
        );
        check(
            b"a APPEND x {99999999999999999999999+}\r\n",
            &[Step::Hopeless],
        );
    }

    #[test]
    fn an_endless_line_takes_no_memory_and_the_next_command_is_heard() {
        let mut framer = Framer::default();
        let mut told = 0;
        framer.push(b"a7 NOOP ");
        for _ in 0..1000 {
            framer.push(&[b'x'; 1000]);
            while let Step::TooLong(tag) = framer.step() {
                assert_eq!(tag, "a7");
                told += 1;
            }
            assert!(framer.input.capacity() < 4 * LINE_OCTETS_MAX);
        }
        assert_eq!(told, 1);
        framer.push(b"{3+}\r\nb\r\n\r\nc NOOP\r\n");
        assert_eq!(framer.step(), command(b"c NOOP\r\n", &[]));
    }

    #[test]
    fn what_is_so_far_ends_before_the_announcement() {
        let mut framer = Framer::default();
        framer.push(b"a APPEND INBOX (\\Seen) ~{5}\r\n");
        assert_eq!(framer.step(), Step::Literal(5));
        assert_eq!(framer.so_far(), b"a APPEND INBOX (\\Seen) ");
        assert!(!framer.comes_anyhow());
    }

    #[test]
    fn a_tag_is_guessed_without_echoing_nonsense() {
        assert_eq!(probable_tag(b"a1 X"), "a1");
        assert_eq!(probable_tag(b"\xff X"), "*");
        assert_eq!(probable_tag(b"+ X"), "*");
        assert_eq!(probable_tag(&[b'a'; 1000]), "*");
    }

    proptest::proptest! {
        #[test]
        fn commands_are_the_same_at_every_split(
            text in "(a|B[.]?|\\(|\"|~?\\{[0-9]{1,3}[+]?\\}(\r\n|\n|)|\r\n|\n|\u{0}| ){0,20}",
            max in 0_u64..20,
        ) {
            let octets = text.as_bytes();
            let whole = all(octets, 0, max);
            for cut in 0..=octets.len() {
                proptest::prop_assert_eq!(&all(octets, cut, max), &whole, "{}", cut);
            }
            for step in whole {
                if let Step::Command(frame) = step {
                    let inside = frame.literals.iter().all(|at| at.end <= frame.text.len());
                    proptest::prop_assert!(inside && frame.text.ends_with(b"\r\n"));
                }
            }
        }
    }
}
