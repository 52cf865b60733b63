//! Replies of hosts: the same at any cut, in bounded memory, printable, with a status of their own
//! class.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::mail::outcome::REPLY_TEXT_MAX;
use ringpost::smtp::client::reply::ReplyReader;
use ringpost::smtp::extension::Extensions;
use ringpost::wire::status::EnhancedStatus;
use ringpost_fuzz::halves;

/// Codes, statuses and texts up to the first that is none.
fn read(pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = ReplyReader::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(found) = reader.next(&mut input) {
            let code = match found {
                Ok(code) => code,
                Err(garbled) => {
                    seen.push(format!("{garbled:?}"));
                    return seen;
                }
            };
            let reply = reader.reply(code);
            assert!(reply.text.len() <= REPLY_TEXT_MAX);
            assert!(
                reply.text.bytes().all(|octet| matches!(octet, b' '..=b'~')),
                "{reply:?}"
            );
            let class = if code.class() == 3 { 2 } else { code.class() };
            assert_eq!(reply.status.class(), class, "{reply:?}");
            let mut extensions = Extensions::default();
            reader.texts().for_each(|text| extensions.note(&text));
            seen.push(format!("{reply:?} {extensions:?}"));
        }
        assert!(input.is_empty(), "octets that nobody has read");
    }
    seen.push(format!("{}", reader.is_between_replies()));
    seen
}

fuzz_target!(|octets: &[u8]| {
    let (first, second) = halves(octets);
    assert_eq!(
        read(&[octets]),
        read(&[first, second]),
        "cut at {}",
        first.len()
    );
    if octets.len() < 200 {
        let each: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(read(&[octets]), read(&each), "octet by octet");
    }
    let text = String::from_utf8_lossy(octets);
    if let Some((status, rest)) = EnhancedStatus::parse_prefix(&text) {
        assert!(text.ends_with(rest));
        assert_eq!(status.to_string().parse(), Ok(status));
    }
});
