//! 8-bit messages for 7-bit peers: what comes out is seven bits, in lines that SMTP takes, and its
//! text is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::mail::downgrade::to_seven_bit;
use ringpost_fuzz::with_crlf;

fuzz_target!(|octets: &[u8]| {
    // What gets this far has CRLF line ends only.
    let message = with_crlf(octets);
    let Ok(converted) = to_seven_bit(&message) else {
        return;
    };
    assert!(converted.is_ascii());
    for line in converted.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r'), "a bare CR");
    }
    if message.is_ascii() {
        return;
    }
    // Once is enough.
    assert_eq!(
        to_seven_bit(&converted).ok().as_deref(),
        Some(&converted[..])
    );
});
