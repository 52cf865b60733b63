//! Headers, as they stream past: the same at any cut, and all who look agree where a header ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::verify::strip;
use ringpost::wire::header::{HeaderFacts, HeaderScan};
use ringpost::wire::sieve::Sieve;
use ringpost_fuzz::{halves, with_crlf};

fn scan(pieces: &[&[u8]]) -> HeaderFacts {
    let mut scan = HeaderScan::new(u32::MAX);
    pieces.iter().for_each(|piece| scan.feed(piece));
    scan.finish()
}

fn sieved(pieces: &[&[u8]]) -> Vec<u8> {
    let mut sieve = Sieve::new(&["Bcc", "Resent-Bcc"]);
    let mut out = Vec::new();
    pieces
        .iter()
        .for_each(|piece| sieve.pass_into(&mut out, piece));
    out
}

/// Fields of this name before the body, read in the plainest way.
fn count(header: &[u8], name: &str) -> usize {
    let lines = header.split(|octet| *octet == b'\n');
    let named = lines.filter(|line| {
        let own = line
            .split(|octet| *octet == b':')
            .next()
            .unwrap_or_default();
        line.contains(&b':') && own.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    });
    named.count()
}

fuzz_target!(|octets: &[u8]| {
    let mut content = with_crlf(octets);
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.extend_from_slice(b"\r\n");
    }
    let (first, second) = halves(&content);
    let facts = scan(&[&content]);
    assert_eq!(facts, scan(&[first, second]), "cut at {}", first.len());
    let end = facts.header_len as usize;
    assert!(end <= content.len());
    let (header, body) = content.split_at(end);
    assert!(header.is_empty() || header.ends_with(b"\n"), "half a line");
    assert_eq!(facts.received as usize, count(header, "Received"));
    assert_eq!(facts.date, count(header, "Date") > 0);
    // Where no empty line ends the header, what is in it may be of the body.
    assert!(facts.eight_bit || body.is_ascii());
    assert!(!facts.eight_bit || !content.is_ascii());

    let out = sieved(&[&content]);
    assert_eq!(out, sieved(&[first, second]), "cut at {}", first.len());
    assert!(out.ends_with(body), "the sieve has touched the body");
    assert_eq!(count(&out[..out.len() - body.len()], "Bcc"), 0);
    assert_eq!(sieved(&[&out]), out, "once is enough");

    // What others would believe was found by us goes, wherever the header is taken to end.
    let mut stripped = content.clone();
    let gone = strip(&mut stripped, "relay.test");
    assert_eq!(stripped.len() + gone, content.len());
    assert_eq!(
        strip(&mut stripped.clone(), "relay.test"),
        0,
        "once is enough"
    );
    let left = scan(&[&stripped]).header_len as usize;
    let forged = stripped[..left].split(|octet| *octet == b'\n').any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with(b"authentication-results: relay.test;")
    });
    assert!(!forged, "a field that seems to be ours is left");
});
