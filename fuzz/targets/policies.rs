//! What domains publish: MTA-STS, where reports about TLS go, and what is kept of it on disk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::mail::tlsrpt::{Destination, destinations};
use ringpost::route::sts::{Policy, id};
use ringpost::service::policies::kept;
use ringpost_fuzz::halves;

fuzz_target!(|octets: &[u8]| {
    let text = String::from_utf8_lossy(octets);
    if let Ok(policy) = Policy::parse(&text) {
        let lines: Vec<String> = policy.lines().collect();
        assert!(
            lines.iter().all(|line| !line.contains(['\r', '\n'])),
            "{lines:?}"
        );
        for end in ["\n", "\r\n"] {
            assert_eq!(Policy::parse(&lines.join(end)).as_ref(), Ok(&policy));
        }
        for mx in &policy.mx {
            let host = mx.replacen('*', "host", 1);
            assert!(policy.takes(&host), "{mx} does not take {host}");
            assert!(policy.takes(&format!("{}.", host.to_uppercase())));
            if let Some(domain) = mx.strip_prefix("*.") {
                assert!(!domain.contains('*'));
            }
        }
        let kept = kept::Kept::new("1".into(), policy, 1000);
        let again = kept::read(&kept.text().expect("JSON")).expect("our own form");
        assert_eq!((&again.id, &again.policy), (&kept.id, &kept.policy));
    }
    if let Some(kept) = kept::read(&text) {
        let again = kept::read(&kept.text().expect("JSON")).expect("our own form");
        assert_eq!(again, kept);
        for now in [i64::MIN, -1, 0, kept.fetched, i64::MAX] {
            let _ = (kept.holds(now), kept.is_due(now));
        }
    }
    let (one, other) = halves(octets);
    let texts = [one, other].map(|half| String::from_utf8_lossy(half).into_owned());
    for texts in [vec![&*text], texts.iter().map(String::as_str).collect()] {
        if let Some(id) = id(texts.iter().copied()) {
            assert!((1..=32).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric()));
        }
        for destination in destinations(texts.iter().copied()) {
            let words = match &destination {
                Destination::Mail(address) => format!("mailto:{address}"),
                Destination::Web(host, path) => {
                    assert!(path.starts_with('/'), "{path}");
                    format!("https://{host}{path}")
                }
            };
            assert!(
                words.bytes().all(|octet| octet > b' ' && octet != 127),
                "{words:?}"
            );
            let again = destinations([&*format!("v=TLSRPTv1; rua={words}")]);
            let is_alone = !words.contains([',', ';', '?']);
            assert!(!is_alone || again == [destination], "{words:?} {again:?}");
        }
    }
});
