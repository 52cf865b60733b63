//! A client that says anything, at any cut: the replies are the same, and what is taken as a
//! message is one message, in every protocol and whatever is done about bare line ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::smtp::server::{BareLineEnds, ServerKind, ServerLimits};
use ringpost_fuzz::smtp::{assert_one_message, session};
use ringpost_fuzz::{choice, halves};

fuzz_target!(|octets: &[u8]| {
    let kinds = [ServerKind::Smtp, ServerKind::Submission, ServerKind::Lmtp];
    let kind = kinds[choice(octets, 9) % 3];
    let bare_line_ends = match choice(octets, 9) / 3 {
        0 => BareLineEnds::Fix,
        _ => BareLineEnds::Reject,
    };
    let limits = || ServerLimits {
        bare_line_ends,
        ..ServerLimits::default()
    };
    let whole = session(kind, limits(), &[octets]);
    let (first, second) = halves(octets);
    let cut = session(kind, limits(), &[first, second]);
    // TLS begins with what has not come yet: what was cut off is under it then.
    let has_tls = octets
        .to_ascii_uppercase()
        .windows(8)
        .any(|word| word == b"STARTTLS");
    assert!(
        whole == cut || has_tls,
        "cut at {}: {whole:?} {cut:?}",
        first.len()
    );
    for seen in [whole, cut] {
        for (recipients, wire) in &seen.messages {
            assert!(*recipients > 0, "a message for nobody");
            assert_one_message(wire);
        }
        for line in seen.replies.split_inclusive(|octet| *octet == b'\n') {
            assert!(line.ends_with(b"\r\n") && line.is_ascii() && line.len() <= 512);
            assert!(line[..3].iter().all(u8::is_ascii_digit), "no reply");
        }
    }
});
