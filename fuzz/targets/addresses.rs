//! Addresses: what is taken is written as it can be read again, and never breaks out of a command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::wire::path::{Domain, Mailbox, strip_source_route};

fuzz_target!(|octets: &[u8]| {
    let octets = strip_source_route(octets);
    parse(octets, false);
    parse(octets, true);
});

fn parse(octets: &[u8], utf8: bool) {
    if let Ok(mailbox) = Mailbox::parse(octets, utf8) {
        let text = mailbox.as_str();
        assert_eq!(Mailbox::parse(text.as_bytes(), utf8).as_ref(), Ok(&mailbox));
        assert!(!text.contains(['\r', '\n', '\0']));
        assert!(utf8 || text.is_ascii());
        assert_eq!(
            format!("{}@{}", mailbox.local_part(), mailbox.domain()),
            text
        );
        let _ = mailbox.host();
    }
    if let Ok(domain) = Domain::parse(octets, utf8) {
        assert_eq!(Domain::parse(domain.as_str().as_bytes(), utf8), Ok(domain));
    }
}
