//! TLSA records and certificates that are anything: nothing fits by chance, and what was named by
//! its hash does.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringpost::route::dns::Tlsa;
use ringpost::tls::dane::Dane;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    records: Vec<(u8, u8, u8, &'a [u8])>,
    others: Vec<&'a [u8]>,
    certificate: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let shown = CertificateDer::from(case.certificate);
    let others: Vec<_> = case
        .others
        .iter()
        .map(|der| CertificateDer::from(*der))
        .collect();
    let names = || vec![ServerName::try_from("mx.test").expect("a name")];
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let tlsa = |(usage, selector, matching, data): &(u8, u8, u8, &[u8])| Tlsa {
        usage: usage % 5,
        selector: selector % 3,
        matching: matching % 4,
        data: (*data).into(),
    };
    let records: Vec<Tlsa> = case.records.iter().map(tlsa).collect();
    if let Some(dane) = Dane::new(&records, names())
        && dane.check(&shown, &others, now).is_ok()
    {
        // There is no chain to sign: it was named as it is, or by a hash, which a fuzzer that sees what is
        // compared does find.
        let hash = |algorithm| aws_lc_rs::digest::digest(algorithm, case.certificate);
        let is_named = records.iter().any(|record| {
            let named = match record.matching {
                0 => memchr::memmem::find(case.certificate, &record.data).is_some(),
                1 => hash(&aws_lc_rs::digest::SHA256).as_ref() == &*record.data,
                2 => hash(&aws_lc_rs::digest::SHA512).as_ref() == &*record.data,
                _ => false,
            };
            record.usage == 3 && named
        });
        assert!(is_named, "{case:?}");
    }
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, case.certificate);
    let named = Tlsa {
        usage: 3,
        selector: 0,
        matching: 1,
        data: hash.as_ref().into(),
    };
    let dane = Dane::new(&[named], names()).expect("a usable record");
    assert_eq!(dane.check(&shown, &others, now), Ok(()));
});
