//! Records of the log: damage is found, and what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::spool::record::{Epoch, Found, HEADER_OCTETS, Record, append, find};

fuzz_target!(|input: (u8, u32, u32, usize, u8, &[u8])| {
    let (kind, number, salt, place, change, payload) = input;
    let epoch = Epoch { number, salt };
    // Whatever the octets are, they are read or refused.
    let _ = find(payload, epoch, payload.len() as u64);
    let _ = Record::decode(kind, payload);
    if kind == 0 {
        return;
    }
    let mut octets = Vec::new();
    append(&mut octets, kind, epoch, |out| {
        out.extend_from_slice(payload)
    });
    let room = octets.len() as u64;
    assert!(matches!(
        find(&octets, epoch, room),
        Found::Whole(own, found, len)
            if own == kind && found == payload && len == octets.len()
    ));
    for end in [0, HEADER_OCTETS - 1, octets.len() - 1] {
        let cut = &octets[..end.min(octets.len() - 1)];
        assert!(
            matches!(find(cut, epoch, room), Found::More(_)),
            "cut at {end}"
        );
    }
    if change != 0 {
        let place = place % octets.len();
        octets[place] ^= change;
        let found = find(&octets, epoch, room);
        assert!(
            !matches!(found, Found::Whole(..)),
            "damage at {place} was not found"
        );
    }
});
