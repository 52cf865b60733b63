//! An SMTP dialogue for somebody to look at: who says what, line by line. What proves who a client is
//! is left out, and of content only its length is told. Pure: octets in, lines out.
//!
//! In doubt a line is left out: whatever a client says between AUTH and the reply that ends it, and
//! whatever it says between 354 and the next reply.

use std::mem;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who has connected.
    Client,
    /// Who was connected to.
    Server,
}

/// A dialogue, from its first octet on.
#[derive(Debug, Default)]
pub struct Dialogue {
    client: Line,
    server: Line,
    mode: Mode,
    /// Octets of content that were not told of.
    content: u64,
}

/// What the client's next octets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Commands,
    /// Lines of a login.
    Secret,
    /// Content, up to the next reply.
    Content,
    /// Content, so many octets.
    Chunk(u64),
}

/// A line that is coming in, as much of it as is kept.
#[derive(Debug, Default)]
struct Line {
    kept: Vec<u8>,
    octets: usize,
}

impl Line {
    /// Takes octets up to the end of the line: how many, and the line when it is whole.
    fn take(&mut self, octets: &[u8]) -> (usize, Option<String>) {
        let end = memchr::memchr(b'\n', octets);
        let taken = end.map_or(octets.len(), |end| end + 1);
        let room = LINE_OCTETS_MAX.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&octets[..taken.min(room)]);
        self.octets += taken;
        (taken, end.map(|_| self.finish()))
    }

    fn finish(&mut self) -> String {
        let octets = mem::take(&mut self.octets);
        let kept = mem::take(&mut self.kept);
        let words = String::from_utf8_lossy(kept.trim_ascii_end()).into_owned();
        match octets.saturating_sub(LINE_OCTETS_MAX) {
            0 => words,
            more => format!("{words}... ({more} octets more)"),
        }
    }
}

impl Dialogue {
    /// The client has said this.
    pub fn client(&mut self, mut octets: &[u8], tell: &mut impl FnMut(Side, String)) {
        while !octets.is_empty() {
            match self.mode {
                Mode::Content => {
                    self.content += octets.len() as u64;
                    return;
                }
                Mode::Chunk(left) => {
                    let len = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(octets.len());
                    self.content += len as u64;
                    octets = &octets[len..];
                    self.mode = Mode::Chunk(left - len as u64);
                    if left == len as u64 {
                        self.mode = Mode::Commands;
                        self.tell_content(tell);
                    }
                }
                Mode::Commands | Mode::Secret => {
                    let (taken, line) = self.client.take(octets);
                    octets = &octets[taken..];
                    if let Some(line) = line {
                        let words = self.command(line);
                        tell(Side::Client, words);
                    }
                }
            }
        }
    }

    /// The server has said this.
    pub fn server(&mut self, mut octets: &[u8], tell: &mut impl FnMut(Side, String)) {
        if self.mode == Mode::Content {
            self.mode = Mode::Commands;
        }
        self.tell_content(tell);
        while !octets.is_empty() {
            let (taken, line) = self.server.take(octets);
            octets = &octets[taken..];
            if let Some(line) = line {
                let words = self.reply(line);
                tell(Side::Server, words);
            }
        }
    }

    /// The client has sent so many octets of content, which nobody has to look through.
    pub fn content(&mut self, octets: u64) {
        self.content += octets;
    }

    fn tell_content(&mut self, tell: &mut impl FnMut(Side, String)) {
        let octets = mem::take(&mut self.content);
        if octets > 0 {
            tell(Side::Client, format!("({octets} octets of content)"));
        }
    }

    fn command(&mut self, line: String) -> String {
        if self.mode == Mode::Secret {
            return LEFT_OUT.to_owned();
        }
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default();
        if verb.eq_ignore_ascii_case("AUTH") {
            self.mode = Mode::Secret;
            let mechanism = words.next().unwrap_or_default();
            let said = words.next().map_or("", |_| LEFT_OUT);
            return [verb, mechanism, said].join(" ").trim_end().to_owned();
        }
        if verb.eq_ignore_ascii_case("BDAT") {
            let octets = words.next().and_then(|octets| octets.parse().ok());
            if let Some(octets) = octets.filter(|octets| *octets > 0) {
                self.mode = Mode::Chunk(octets);
            }
        }
        line
    }

    fn reply(&mut self, line: String) -> String {
        let is_last = line.as_bytes().get(3) != Some(&b'-');
        match (self.mode, line.get(..3)) {
            (Mode::Secret, Some("334")) => return format!("334 {LEFT_OUT}"),
            (Mode::Secret, _) if is_last => self.mode = Mode::Commands,
            (Mode::Commands, Some("354")) if is_last => self.mode = Mode::Content,
            _ => {}
        }
        line
    }
}

/// What stands for what proves who somebody is.
const LEFT_OUT: &str = "(left out)";
/// Of a line so much is told; no command of a client that means well is longer.
const LINE_OCTETS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Both sides in turn, `C` or `S` before what they say; what is told of it.
    fn told(turns: &[&str]) -> Vec<String> {
        let (mut dialogue, mut lines) = (Dialogue::default(), Vec::new());
        for turn in turns {
            let (side, octets) = turn.split_at(1);
            let mut tell = |side, words| match side {
                Side::Client => lines.push(format!("C {words}")),
                Side::Server => lines.push(format!("S {words}")),
            };
            match side {
                "C" => dialogue.client(octets.as_bytes(), &mut tell),
                _ => dialogue.server(octets.as_bytes(), &mut tell),
            }
        }
        lines
    }

    #[test]
    fn a_transaction_is_told_line_by_line_without_its_content() {
        let lines = told(&[
            "S220 mx.test\r\n",
            "CEHLO c.te",
            "Cst\r\n",
            "S250-mx.test\r\n250 PIPELINING\r\n",
            "CMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n",
            "S250 ok\r\n250 ok\r\n354 go on\r\n",
            "CSubject: secret\r\n\r\nbody\r\n",
            "C.\r\n",
            "S250 2.0.0 taken\r\n",
            "CQUIT\r\n",
        ]);
        assert_eq!(
            lines,
            [
                "S 220 mx.test",
                "C EHLO c.test",
                "S 250-mx.test",
                "S 250 PIPELINING",
                "C MAIL FROM:<a@c.test>",
                "C RCPT TO:<b@d.test>",
                "C DATA",
                "S 250 ok",
                "S 250 ok",
                "S 354 go on",
                "C (28 octets of content)",
                "S 250 2.0.0 taken",
                "C QUIT",
            ]
        );
    }

    #[test]
    fn chunks_are_counted_and_what_follows_is_told() {
        let lines = told(&[
            "CBDAT 5\r\nabc",
            "Cd\nBDAT 0 LAST\r\nNOOP\r\n",
            "S250 ok\r\n",
        ]);
        let expected = [
            "C BDAT 5",
            "C (5 octets of content)",
            "C BDAT 0 LAST",
            "C NOOP",
            "S 250 ok",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_proves_a_login_is_left_out_whatever_comes_of_it() {
        for (turns, expected) in [
            (
                &[
                    "CAUTH PLAIN AGFubgBzZWNyZXQ=\r\n",
                    "S235 in\r\n",
                    "CNOOP\r\n",
                ][..],
                &["C AUTH PLAIN (left out)", "S 235 in", "C NOOP"][..],
            ),
            (
                &[
                    "Cauth xoauth2\r\n",
                    "S334 \r\n",
                    "CdXNlcj1zZWNyZXQ=\r\n",
                    "S334 eyJz\r\n",
                    "C*\r\n",
                    "S501 no\r\n",
                ],
                &[
                    "C auth xoauth2",
                    "S 334 (left out)",
                    "C (left out)",
                    "S 334 (left out)",
                    "C (left out)",
                    "S 501 no",
                ],
            ),
            (
                &["C AUTH LOGIN YW5u\r\nc2VjcmV0\r\n", "S504 no\r\n"],
                &["C AUTH LOGIN (left out)", "C (left out)", "S 504 no"],
            ),
        ] {
            assert_eq!(told(turns), expected);
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let line = format!("C{}\r\n", "x".repeat(5_000));
        let lines = told(&[&line]);
        assert!(
            lines[0].len() < 1_100 && lines[0].ends_with("(3978 octets more)"),
            "{lines:?}"
        );
    }

    proptest! {
        #[test]
        fn splits_change_nothing(at in 0usize..200) {
            let client = "AUTH PLAIN c2VjcmV0\r\nMAIL FROM:<a@c.test>\r\nBDAT 7 LAST\r\nsecret\nNOOP\r\n";
            let at = at.min(client.len());
            let whole = told(&[&format!("C{client}"), "S250 ok\r\n"]);
            let (one, two) = client.split_at(at);
            let parts = told(&[&format!("C{one}"), &format!("C{two}"), "S250 ok\r\n"]);
            prop_assert_eq!(&whole, &parts);
            prop_assert!(!whole.concat().contains("c2Vj"));
        }
    }
}
