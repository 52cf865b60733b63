//! The whole way through a relay: in by SMTP, through spool and queue, out by SMTP to a host that
//! takes every CR and every LF for the end of a line. It never hears of more messages than were
//! taken, and never of a bare CR or LF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost_fuzz::halves;
use ringpost_fuzz::house::{House, Lenient, SMTP};

const BEFORE: &[u8] = b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nDATA\r\n";

fuzz_target!(|octets: &[u8]| {
    let house = House::new(|_| {});
    let (first, second) = halves(octets);
    let heard = house.talk(SMTP, &[BEFORE, first, second]);
    let taken = memchr::memmem::find_iter(&heard, b"queued as").count();
    house.wait();
    let mut delivered = 0;
    for told in house.told() {
        for (at, &octet) in told.iter().enumerate() {
            match octet {
                b'\r' => assert_eq!(told.get(at + 1), Some(&b'\n'), "bare CR at {at}"),
                b'\n' => assert!(at > 0 && told[at - 1] == b'\r', "bare LF at {at}"),
                0 => panic!("NUL at {at}"),
                _ => {}
            }
        }
        let mut host = Lenient::default();
        told.iter()
            .for_each(|octet| host.take(*octet, &mut Vec::new()));
        delivered += host.messages;
    }
    // Each message may have many recipients, each of them with a domain of its own; and a report.
    let recipients = memchr::memmem::find_iter(&octets.to_ascii_uppercase(), b"RCPT").count();
    assert!(
        delivered <= taken * (recipients + 2),
        "{delivered} out of {taken}"
    );
    assert!(taken > 0 || delivered == 0, "{delivered} out of nothing");
    // Whatever was said, others are served.
    assert!(house.talk(SMTP, &[b"QUIT\r\n"]).starts_with(b"220 "));
});
