//! Takes fields out of a header that streams past in wire form.

use memchr::memchr;

use super::header::{Kind, LINE_OCTETS_KEPT, kind};

/// Leaves out the fields of some names, however the octets are cut. It agrees with
/// [`super::header::HeaderScan`] on where the header ends, and touches nothing behind.
#[derive(Clone, Debug)]
pub struct Sieve {
    names: Names,
    place: Place,
    /// The beginning of a line that is not judged yet.
    held: Vec<u8>,
    /// The field at hand is left out, and so is what continues it.
    leaves_out: bool,
}

#[derive(Clone, Debug)]
enum Names {
    Fixed(&'static [&'static str]),
    Own(Vec<Box<str>>),
}

impl Names {
    fn have(&self, name: &[u8]) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match self {
            Self::Fixed(names) => names.iter().any(|known| is(known)),
            Self::Own(names) => names.iter().any(|known| is(known)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line, of which some may be held.
    Line,
    /// Behind that.
    Rest,
    Body,
}

impl Sieve {
    /// For fields of these names, in any case.
    #[must_use]
    pub const fn new(names: &'static [&'static str]) -> Self {
        Self::over(Names::Fixed(names))
    }

    /// For names that a user has chosen.
    #[must_use]
    pub const fn of(names: Vec<Box<str>>) -> Self {
        Self::over(Names::Own(names))
    }

    const fn over(names: Names) -> Self {
        Self {
            names,
            place: Place::Line,
            held: Vec::new(),
            leaves_out: false,
        }
    }

    /// Appends what stays of the next octets. A line is held until it can be judged: content ends
    /// with the end of a line.
    pub fn pass_into(&mut self, out: &mut Vec<u8>, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.place == Place::Body {
                return out.extend_from_slice(octets);
            }
            let end = memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let (line, rest) = octets.split_at(end);
            let is_whole = line.ends_with(b"\n");
            octets = rest;
            if self.place == Place::Rest {
                self.put(out, line);
            } else {
                self.held.extend_from_slice(line);
                if !is_whole && self.held.len() < LINE_OCTETS_KEPT {
                    return;
                }
                self.judge();
                let held = std::mem::take(&mut self.held);
                self.put(out, &held);
            }
            if self.place != Place::Body {
                self.place = if is_whole { Place::Line } else { Place::Rest };
            }
        }
    }

    fn put(&self, out: &mut Vec<u8>, octets: &[u8]) {
        if !self.leaves_out {
            out.extend_from_slice(octets);
        }
    }

    fn judge(&mut self) {
        let seen = &self.held[..self.held.len().min(LINE_OCTETS_KEPT)];
        match kind(seen) {
            Kind::Field(name, _) => {
                self.leaves_out = self.names.have(name);
            }
            Kind::Continued => {}
            Kind::Empty | Kind::NoField => {
                self.leaves_out = false;
                self.place = Place::Body;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sieved(pieces: &[&[u8]]) -> String {
        let mut sieve = Sieve::new(&["Bcc", "Resent-Bcc"]);
        let mut out = Vec::new();
        for piece in pieces {
            sieve.pass_into(&mut out, piece);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hidden_fields_go_with_all_their_lines_and_nothing_else_does() {
        let long = format!("Bcc: {}\r\n", "x".repeat(2000));
        for (content, wanted) in [
            ("Bcc: a@d.test\r\n\r\nx\r\n", "\r\nx\r\n"),
            (
                "A: 1\r\nBCC : a,\r\n b\r\n\tc\r\nB: 2\r\n c\r\n\r\n",
                "A: 1\r\nB: 2\r\n c\r\n\r\n",
            ),
            (
                "Resent-Bcc: a\r\nbcc:\r\n\r\nBcc: body\r\n",
                "\r\nBcc: body\r\n",
            ),
            ("X-Bcc: a\r\nBccx: b\r\n\r\n", "X-Bcc: a\r\nBccx: b\r\n\r\n"),
            ("no field\r\nBcc: body\r\n", "no field\r\nBcc: body\r\n"),
            ("Bcc: a\r\n", ""),
            ("", ""),
            (
                &*format!("{long}{long} y\r\nA: {}\r\n\r\n", "z".repeat(2000)),
                &*format!("A: {}\r\n\r\n", "z".repeat(2000)),
            ),
        ] {
            assert_eq!(sieved(&[content.as_bytes()]), wanted);
            for cut in 0..content.len() {
                let (first, second) = content.as_bytes().split_at(cut);
                assert_eq!(sieved(&[first, second]), wanted, "{cut}");
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut sieve = Sieve::new(&["Bcc"]);
        let mut out = Vec::new();
        for _ in 0..100 {
            sieve.pass_into(&mut out, &[b'x'; 300]);
            assert!(sieve.held.len() < LINE_OCTETS_KEPT);
        }
        assert_eq!(out.len(), 30_000);
    }

    proptest! {
        #[test]
        fn nothing_is_left_out_where_nothing_is_hidden(
            content in "([a-z :\r\n.]{0,6}\r\n){0,8}",
            cut in any::<prop::sample::Index>(),
        ) {
            let octets = content.as_bytes();
            let (first, second) = octets.split_at(cut.index(octets.len() + 1));
            prop_assert_eq!(sieved(&[first, second]), content);
        }
    }
}
