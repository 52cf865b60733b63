use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// RFC 8463 §A.3, without its RSA signature, in wire form.
const MESSAGE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r
 subject : date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r
From: Joe SixPack <joe@football.example.com>\r
\r
Hi.\r
\r
We lost the game.  Are you hungry yet?\r
\r
Joe.\r
";
/// Its body hash.
const HASH: &str = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=";

/// The hashes of a message that came in two pieces, the first of which has the header.
fn hashes(first: &[u8], second: &[u8]) -> Vec<String> {
    let (mut body, rest) = Body::begin(first);
    body.feed(rest);
    body.feed(second);
    let hashed = body.finish();
    let parsed = hashed.parsed().expect("a message");
    let hashes = parsed.body_hashes.iter();
    hashes.map(|(.., hash)| STANDARD.encode(hash)).collect()
}

#[test]
fn the_body_of_the_rfc_has_its_hash_at_every_split() {
    let wire = MESSAGE.as_bytes();
    let begins = MESSAGE.find("\r\n\r\n").expect("a header") + 4;
    for cut in begins..=wire.len() {
        assert_eq!(hashes(&wire[..cut], &wire[cut..]), [HASH], "{cut}");
    }
}

#[test]
fn dots_that_hide_dots_are_not_hashed_at_any_split() {
    let header = MESSAGE.split_once("\r\n\r\n").expect("a header").0;
    let wire = format!("{header}\r\n\r\n..a\r\n.b\r\n\r\n..\r\nx..\r\n...\r\n\r..\r\r\n..c\r\n");
    let plain = format!("{header}\r\n\r\n.a\r\nb\r\n\r\n.\r\nx..\r\n..\r\n\r..\r\r\n.c\r\n");
    let parsed = AuthenticatedMessage::parse(plain.as_bytes()).expect("a message");
    let wanted = STANDARD.encode(&parsed.body_hashes[0].3);
    for cut in header.len() + 4..=wire.len() {
        let (first, second) = wire.as_bytes().split_at(cut);
        assert_eq!(hashes(first, second), [&*wanted], "{cut}");
    }
}

#[test]
fn the_relaxed_form_of_a_body_is_that_of_the_rfc_at_every_split() {
    let header = MESSAGE.split_once("\r\n\r\n").expect("a header").0;
    let digest = |text: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        STANDARD.encode(digest)
    };
    for (body, canonical) in [
        // RFC 6376 §3.4.5
        (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
        // Lines of blanks are empty lines then, and do not count at the end.
        ("x \t y \r\n\t\r\n  \r\n", "x y\r\n"),
        (" \r\n\t\r\n", ""),
        ("", ""),
        ("\r\n \r\nx", "\r\n\r\nx\r\n"),
        ("a\r\n \r\n\tb \x0c\r\n", "a\r\n\r\n b \x0c\r\n"),
    ] {
        let wire = format!("{header}\r\n\r\n{body}");
        for cut in header.len() + 4..=wire.len() {
            let (first, second) = wire.as_bytes().split_at(cut);
            assert_eq!(
                hashes(first, second),
                [digest(canonical)],
                "{body:?} at {cut}"
            );
        }
    }
}

#[test]
fn a_header_that_does_not_end_proves_nothing() {
    let (header, body) = MESSAGE.split_at(MESSAGE.find("\r\n\r\n").expect("a header") + 2);
    assert_eq!(hashes(header.as_bytes(), body.as_bytes()), [""]);
    // A message that is whole and has no body does have a hash: that of nothing.
    let hashed = Hashed::whole(header.as_bytes());
    let parsed = hashed.parsed().expect("a message");
    assert_eq!(
        STANDARD.encode(&parsed.body_hashes[0].3),
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    );
    assert!(Hashed::whole(b"").parsed().is_none());
    assert!(Hashed::whole(b"\r\nbody\r\n").parsed().is_none());
}

#[test]
fn verdicts_are_counted_and_added_up() {
    let mut tally = Tally::default();
    tally.count(&Findings::none_now("relay.test"));
    let mut sum = tally;
    sum.add(&tally);
    let all: Vec<_> = sum.iter().collect();
    assert_eq!(all.len(), 4);
    assert!(all.contains(&(Method::Dmarc, Verdict::TempError, 2)));
}

#[test]
fn nothing_known_is_a_temporary_error_of_every_method() {
    let field = Findings::none_now("relay.test").field;
    assert_eq!(
        String::from_utf8_lossy(&field),
        "Authentication-Results: relay.test;\r\n\tiprev=temperror;\r\n\tspf=temperror;\r\n\t\
         dkim=temperror;\r\n\tdmarc=temperror\r\n"
    );
}
