//! What comes back to a return path, from anybody: it is read in bounded time and memory, what is told
//! of it is printable, and no return path holds that was not made here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::mail::envelope::QueueId;
use ringpost::mail::report::{Told, read};
use ringpost::mail::verp::{Keys, Sent};
use ringpost_fuzz::with_crlf;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fuzz_target!(|octets: &[u8]| {
    let message = with_crlf(octets);
    let returned = read(&message, octets.first().is_some_and(|octet| octet % 2 == 0));
    if let Told::Delivery(fates) = &returned.told {
        assert!(!fates.is_empty() && fates.len() <= message.len());
        for fate in fates {
            let diagnosis = fate.diagnosis();
            assert!(!diagnosis.text.contains(char::is_control), "{diagnosis:?}");
            assert!(matches!(fate.status.class(), 2 | 4 | 5));
        }
    }
    let keys = Keys::parse(SECRET).unwrap();
    let addresses: Vec<&str> = returned.addresses().collect();
    assert!(addresses.len() <= 1000);
    for address in addresses {
        assert!(address.contains('@') && !address.contains(char::is_whitespace));
        let (local_part, domain) = address.rsplit_once('@').unwrap();
        assert!(keys.read(local_part).is_none(), "{address}");
        let sent = Sent {
            id: QueueId(7),
            recipient: address,
            tenant: None,
            tag: None,
        };
        let path = keys.return_path(&sent, domain);
        let token = keys.read(path.split('@').next().unwrap()).unwrap();
        assert!(keys.is_to(&token, address));
    }
});
