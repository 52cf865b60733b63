//! The rules of large receivers, on any header: a word on every rule that can be told from it, in
//! one line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::dkim::Signers;
use ringpost::preflight::{Grade, form};
use ringpost_fuzz::with_crlf;

fuzz_target!(|octets: &[u8]| {
    let header = with_crlf(octets);
    let findings = form(&header, &Signers::default());
    assert!(!findings.is_empty());
    for finding in &findings {
        for words in [&finding.found, &finding.remedy] {
            assert!(!words.contains(['\r', '\n', '\0']), "{finding:?}");
            assert!(words.len() < 2000, "{finding:?}");
        }
        assert_eq!(
            finding.remedy.is_empty(),
            finding.grade == Grade::Ok,
            "{finding:?}"
        );
    }
});
