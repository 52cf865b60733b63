//! The end of content: the fast scanner against one that is plainly right, at a split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::wire::dot::{DotScanner, Stuffer, unstuff_into};
use ringpost_fuzz::halves;

/// Octet by octet: content up to the first CRLF.CRLF, or a dot line at the very beginning.
fn plain(octets: &[u8]) -> Option<(&[u8], usize)> {
    if octets.starts_with(b".\r\n") {
        return Some((b"", 3));
    }
    let at = octets.windows(5).position(|five| five == b"\r\n.\r\n")?;
    Some((&octets[..at + 2], at + 5))
}

fuzz_target!(|octets: &[u8]| {
    let (first, second) = halves(octets);
    let split = first.len();
    let mut scanner = DotScanner::new();
    let mut content = Vec::new();
    let mut end = None;
    let mut consumed = 0;
    for piece in [first, second] {
        if end.is_some() {
            break;
        }
        let fed = scanner.feed(piece);
        content.extend_from_slice(fed.held);
        content.extend_from_slice(fed.content);
        consumed += fed.consumed;
        if fed.ended {
            end = Some(consumed);
        }
    }
    match plain(octets) {
        Some((wanted, at)) => {
            assert_eq!((&content[..], end), (wanted, Some(at)), "split at {split}");
            let mut meant = Vec::new();
            unstuff_into(&mut meant, &content);
            assert_eq!(scanner.facts().size, meant.len() as u64);
            // Our own stuffing leads back, and hides every end inside.
            let mut wire = Vec::new();
            Stuffer::new().stuff_into(&mut wire, &meant);
            let mut again = Vec::new();
            unstuff_into(&mut again, &wire);
            assert_eq!(again, meant);
            assert!(plain(&wire).is_none() || wire.is_empty(), "an end inside");
        }
        None => assert_eq!(end, None, "split at {split}"),
    }
});
