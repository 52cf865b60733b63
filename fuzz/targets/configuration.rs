//! A configuration that says anything: it is read whole, or each fault has its place in the file;
//! what was read is printed so that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::config::units::{parse_duration, parse_size};
use ringpost::config::{load_words, render};
use ringpost::route::Target;
use ringpost_fuzz::file;

fuzz_target!(|octets: &[u8]| {
    let path = file("ringpost.toml", octets);
    match load_words(Some(&path)) {
        Ok(config) => {
            let printed = render(&config);
            let again = load_words(Some(&file("printed.toml", printed.as_bytes())));
            assert_eq!(again.as_ref(), Ok(&config), "{printed}");
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let lines = octets.split(|octet| *octet == b'\n').count();
            for fault in faults {
                assert!(
                    (1..=lines + 1).contains(&fault.line),
                    "{fault} of {lines} lines"
                );
                assert!(
                    fault.column >= 1 && fault.column <= octets.len() + 1,
                    "{fault}"
                );
                assert!(!fault.to_string().contains('\0'), "{fault}");
            }
        }
    }
    if let Ok(text) = str::from_utf8(octets) {
        let _ = (parse_size(text), parse_duration(text), Target::parse(text));
    }
});
