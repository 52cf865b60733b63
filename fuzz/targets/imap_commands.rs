//! Commands of IMAP: read or refused, literals that are theirs, patterns against a plain reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::imap::frame::{Framer, Step};
use ringpost::imap::pattern::Pattern;
use ringpost::imap::read::{Body, request};
use ringpost::imap::state::{State, place};
use ringpost::imap::words::{inside, words};
use ringpost_fuzz::headed;

/// What a pattern means, said as plainly as can be, and slowly.
fn plainly(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((c @ ('*' | '%'), rest)), _) => {
            let goes_on = |(first, left): (&char, &[char])| {
                (*c == '*' || *first != '/') && plainly(pattern, left)
            };
            plainly(rest, name) || name.split_first().is_some_and(goes_on)
        }
        (Some((c, rest)), Some((first, left))) => c == first && plainly(rest, left),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fuzz_target!(|octets: &[u8]| {
    let mut framer = Framer::default();
    framer.push(octets);
    framer.push(b"\r\n");
    loop {
        match framer.step() {
            Step::NeedInput | Step::Hopeless => break,
            Step::Literal(len) if len < 5000 => framer.take_literal(),
            Step::Literal(_) => framer.refuse_literal(),
            Step::TooLong(_) => {}
            Step::Command(frame) => match request(&frame) {
                Ok(read) => {
                    assert!(!read.tag.is_empty() && read.tag.bytes().all(|c| c.is_ascii_graphic()));
                    let _ = State::NotAuthenticated.allows(place(&read.body));
                    if let Body::Append(_, messages) = &read.body {
                        let known = |content| frame.literals.contains(content);
                        assert!(messages.iter().all(|one| known(&one.content)));
                    }
                }
                Err(unread) => assert!(unread.tag.bytes().all(|c| c.is_ascii_graphic())),
            },
        }
    }
    if let Some(words) = words(octets) {
        assert_eq!(words.join(&b' '), octets, "words are all there is");
        for word in words {
            let _ = inside(word);
        }
    }
    let (first, rest) = headed(octets);
    if let Ok(text) = str::from_utf8(rest)
        && text.len() < 24
    {
        let at = usize::from(first).min(text.chars().count());
        let chars: Vec<char> = text.chars().collect();
        let (pattern, name) = chars.split_at(at);
        let (own, of): (String, String) = (pattern.iter().collect(), name.iter().collect());
        // INBOX is the same in any case.
        if !of.starts_with("INBOX") {
            let found = Pattern::new(&own).matches(&of);
            assert_eq!(found, plainly(pattern, name), "{own:?} {of:?}");
        }
    }
});
