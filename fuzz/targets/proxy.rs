//! The PROXY header: what is a header is one whatever follows, and is asked for more before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::smtp::proxy::{Parsed, parse};

fuzz_target!(|octets: &[u8]| {
    if let Parsed::Header(len, client) = parse(octets) {
        assert!(len <= octets.len());
        assert_eq!(parse(&octets[..len]), Parsed::Header(len, client));
        for end in 0..len {
            assert_eq!(parse(&octets[..end]), Parsed::More, "{end} of {len}");
        }
    }
});
