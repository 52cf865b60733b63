//! Framing of IMAP: the same commands at any cut, literals where they were announced, memory that
//! is bounded by what was allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::imap::frame::{Framer, LINE_OCTETS_MAX, Step};
use ringpost_fuzz::halves;

/// Steps, where literals over `allowed` octets are refused.
fn steps(pieces: &[&[u8]], allowed: u64) -> Vec<Step> {
    let mut framer = Framer::default();
    let mut seen = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.step() {
                Step::NeedInput => break,
                Step::Hopeless => {
                    seen.push(Step::Hopeless);
                    return seen;
                }
                Step::Literal(octets) if octets <= allowed => framer.take_literal(),
                Step::Literal(octets) => {
                    framer.refuse_literal();
                    seen.push(Step::Literal(octets));
                }
                Step::Command(frame) => {
                    for literal in &frame.literals {
                        assert!(
                            literal.end <= frame.text.len(),
                            "a literal that is not there"
                        );
                        assert!(frame.text[..literal.start].ends_with(b"}\r\n"));
                    }
                    let literals: usize = frame.literals.iter().map(ExactSizeIterator::len).sum();
                    assert!(frame.text.len() - literals <= LINE_OCTETS_MAX + 4096);
                    assert!(frame.text.ends_with(b"\r\n"));
                    seen.push(Step::Command(frame));
                }
                step @ Step::TooLong(_) => seen.push(step),
            }
        }
    }
    seen
}

fuzz_target!(|octets: &[u8]| {
    let (first, second) = halves(octets);
    for allowed in [0, 10, 1000] {
        let whole = steps(&[octets], allowed);
        assert_eq!(
            whole,
            steps(&[first, second], allowed),
            "cut at {}",
            first.len()
        );
        if octets.len() < 200 {
            let each: Vec<&[u8]> = octets.chunks(1).collect();
            assert_eq!(whole, steps(&each, allowed), "octet by octet");
        }
    }
});
