//! Other people's signatures and ours: a body is hashed alike at any cut, and what we sign holds
//! and stays ours, whatever the message.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mail_auth::common::parse::TxtRecordParser as _;
use ringpost::dkim::{Key, Kind, Signers, trimmed};
use ringpost::verify::{Body, Hashed};
use ringpost::wire::dot::Stuffer;
use ringpost_fuzz::{halves, with_crlf};

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let pem = Key::generate(Kind::Ed25519).expect("a key");
    let mut signers = Signers::default();
    signers.add("c.test", "s1", Key::parse(&pem).expect("our own key"));
    signers
});

fuzz_target!(|octets: &[u8]| {
    let mut content = with_crlf(octets);
    if !content.ends_with(b"\r\n") {
        content.extend_from_slice(b"\r\n");
    }
    let mut wire = Vec::new();
    Stuffer::new().stuff_into(&mut wire, &content);

    // The header is seen whole before the body is begun.
    let whole = Hashed::whole(&wire);
    let end = match wire.starts_with(b"\r\n") {
        true => Some(2),
        false => memchr::memmem::find(&wire, b"\r\n\r\n").map(|at| at + 4),
    };
    if let Some(end) = end {
        let (head, body) = wire.split_at(end);
        let (first, second) = halves(body);
        let (mut pieces, behind) = Body::begin(head);
        assert!(behind.is_empty(), "a body in the header");
        pieces.feed(first);
        pieces.feed(second);
        let cut = pieces.finish();
        assert_eq!(
            format!("{cut:?}"),
            format!("{whole:?}"),
            "cut at {}",
            first.len()
        );
    }

    match SIGNERS.sign(&content) {
        Ok(fields) if !fields.is_empty() => {
            for line in fields.split_inclusive(|octet| *octet == b'\n') {
                assert!(line.ends_with(b"\r\n") && line.is_ascii() && line.len() <= 998);
            }
            assert!(fields.starts_with(b"DKIM-Signature:"));
            assert!(
                SIGNERS.proves(&fields, &content),
                "{}",
                String::from_utf8_lossy(&content)
            );
        }
        Ok(_) | Err(_) => {}
    }
    assert!(content.starts_with(trimmed(&content)));
    // What the DNS says.
    let _ = mail_auth::common::verify::DomainKey::parse(octets);
    let _ = mail_auth::dmarc::Dmarc::parse(octets);
    let _ = mail_auth::spf::Spf::parse(octets);
    if let Ok(text) = str::from_utf8(octets) {
        let _ = Key::parse(text);
    }
});
