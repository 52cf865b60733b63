use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, date_time_ymd,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;

use super::*;

/// A certificate and its key, which may sign others.
struct Made {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

fn authority(name: &str, above: Option<&Made>) -> Made {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    made(params, above)
}

fn leaf(name: &str, above: Option<&Made>) -> Made {
    made(
        CertificateParams::new(vec![name.to_owned()]).unwrap(),
        above,
    )
}

fn expired_leaf(name: &str, above: Option<&Made>) -> Made {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    made(params, above)
}

fn made(params: CertificateParams, above: Option<&Made>) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = match above {
        None => params.self_signed(&key),
        Some(above) => params.signed_by(&key, &Issuer::from_params(&above.params, &above.key)),
    };
    let der = certificate.unwrap().der().clone();
    Made { params, key, der }
}

impl Made {
    /// A record of this kind for it.
    fn tlsa(&self, usage: u8, selector: u8, matching: u8) -> Tlsa {
        let key = SubjectPublicKeyInfoDer::from(self.key.subject_public_key_info());
        let selected = if selector == 0 { &*self.der } else { &*key };
        let data = match matching {
            0 => selected.to_vec(),
            1 => digest(&SHA256, selected).as_ref().to_vec(),
            _ => digest(&SHA512, selected).as_ref().to_vec(),
        };
        Tlsa {
            usage,
            selector,
            matching,
            data: data.into(),
        }
    }
}

/// What comes of records, for the host `mx.test` and the domain `d.test`.
fn judge(records: &[Tlsa], shown: &[&Made]) -> Result<(), Mismatch> {
    let names = ["mx.test", "d.test"].map(|name| ServerName::try_from(name).unwrap());
    let dane = Dane::new(records, names.into()).expect("a usable record");
    let shown: Vec<CertificateDer<'_>> = shown.iter().map(|made| made.der.clone()).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    dane.check(&shown[0], &shown[1..], now)
}

fn is_chain_fault(result: &Result<(), Mismatch>) -> bool {
    matches!(result, Err(Mismatch::Chain(_)))
}

#[test]
fn a_record_names_the_certificate_or_its_key_and_name_and_dates_mean_nothing() {
    let shown = expired_leaf("somebody.else", None);
    let other = leaf("mx.test", None);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let record = shown.tlsa(3, selector, matching);
            let case = format!("3 {selector} {matching}");
            assert_eq!(judge(&[record], &[&shown]), Ok(()), "{case}");
            let record = other.tlsa(3, selector, matching);
            let judged = judge(&[record], &[&shown]);
            assert_eq!(judged, Err(Mismatch::Unnamed), "{case}");
        }
    }
}

#[test]
fn a_record_for_the_certificate_is_not_met_by_another_one_that_is_shown() {
    let (shown, named) = (leaf("mx.test", None), leaf("mx.test", None));
    let judged = judge(&[named.tlsa(3, 1, 1)], &[&shown, &named]);
    assert_eq!(judged, Err(Mismatch::Unnamed));
}

#[test]
fn a_record_names_an_authority_in_the_chain() {
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    for name in ["mx.test", "d.test"] {
        let shown = leaf(name, Some(&middle));
        for named in [&root, &middle] {
            for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
                let record = named.tlsa(2, selector, matching);
                let judged = judge(&[record], &[&shown, &middle, &root]);
                assert_eq!(judged, Ok(()), "{name} 2 {selector} {matching}");
            }
        }
    }
}

#[test]
fn an_authority_is_not_shown() {
    let root = authority("root", None);
    let shown = leaf("mx.test", Some(&root));
    // The record has it.
    assert_eq!(judge(&[root.tlsa(2, 0, 0)], &[&shown]), Ok(()));
    // The record has a hash or a key of it.
    for (selector, matching) in [(0, 1), (1, 0), (1, 1)] {
        let judged = judge(&[root.tlsa(2, selector, matching)], &[&shown]);
        assert_eq!(judged, Err(Mismatch::Unnamed), "2 {selector} {matching}");
    }
}

#[test]
fn an_authority_is_shown_that_has_signed_nothing() {
    let (root, stranger) = (authority("root", None), authority("root", None));
    let shown = leaf("mx.test", Some(&stranger));
    // Anybody can show anybody's certificate.
    let judged = judge(&[root.tlsa(2, 1, 1)], &[&shown, &stranger, &root]);
    assert!(is_chain_fault(&judged), "{judged:?}");
}

#[test]
fn under_an_authority_name_and_dates_count() {
    let root = authority("root", None);
    let record = [root.tlsa(2, 0, 1)];
    let stranger = leaf("mx.other.test", Some(&root));
    assert_eq!(judge(&record, &[&stranger, &root]), Err(Mismatch::Name));
    let old = expired_leaf("mx.test", Some(&root));
    assert!(is_chain_fault(&judge(&record, &[&old, &root])));
}

#[test]
fn a_certificate_signed_by_itself_is_not_its_own_authority() {
    let shown = leaf("mx.test", None);
    for selector in [0, 1] {
        let judged = judge(&[shown.tlsa(2, selector, 1)], &[&shown]);
        assert_eq!(judged, Err(Mismatch::Unnamed));
    }
}

#[test]
fn one_of_two_records_fits_while_keys_are_changed() {
    let (old, new) = (leaf("mx.test", None), leaf("mx.test", None));
    let records = [old.tlsa(3, 1, 1), new.tlsa(3, 1, 1)];
    assert_eq!(judge(&records, &[&old]), Ok(()));
    assert_eq!(judge(&records, &[&new]), Ok(()));
    let root = authority("root", None);
    let signed = leaf("mx.test", Some(&root));
    let records = [old.tlsa(3, 1, 1), root.tlsa(2, 0, 1)];
    assert_eq!(judge(&records, &[&signed, &root]), Ok(()));
}

#[test]
fn records_that_we_cannot_go_by_are_left_out() {
    let shown = leaf("mx.test", None);
    let cut = |mut record: Tlsa| {
        record.data = record.data[1..].into();
        record
    };
    let unusable = [
        shown.tlsa(0, 1, 1),
        shown.tlsa(1, 1, 1),
        shown.tlsa(4, 1, 1),
        shown.tlsa(255, 1, 1),
        shown.tlsa(3, 2, 1),
        shown.tlsa(3, 255, 1),
        shown.tlsa(3, 1, 3),
        shown.tlsa(3, 1, 255),
        cut(shown.tlsa(3, 1, 1)),
        cut(shown.tlsa(3, 1, 2)),
        cut(shown.tlsa(2, 0, 0)),
        Tlsa {
            data: Box::default(),
            ..shown.tlsa(3, 1, 0)
        },
    ];
    for record in &unusable {
        let dane = Dane::new(std::slice::from_ref(record), vec![]);
        assert!(dane.is_none(), "{record:?}");
    }
    assert!(Dane::new(&unusable, vec![]).is_none());
    let mut records = unusable.to_vec();
    records.push(shown.tlsa(3, 1, 1));
    assert_eq!(judge(&records, &[&shown]), Ok(()));
}

#[test]
fn a_weaker_hash_beside_a_stronger_one_is_left_out() {
    let (shown, other) = (leaf("mx.test", None), leaf("mx.test", None));
    let records = [shown.tlsa(3, 1, 1), other.tlsa(3, 1, 2)];
    assert_eq!(judge(&records, &[&shown]), Err(Mismatch::Unnamed));
    assert_eq!(judge(&records, &[&other]), Ok(()));
    // For another selector it says something else.
    let records = [shown.tlsa(3, 1, 1), other.tlsa(3, 0, 2)];
    assert_eq!(judge(&records, &[&shown]), Ok(()));
    // What is unusable outdoes nothing.
    let mut broken = other.tlsa(3, 1, 2);
    broken.data = broken.data[1..].into();
    assert_eq!(judge(&[shown.tlsa(3, 1, 1), broken], &[&shown]), Ok(()));
}

#[test]
fn a_zone_has_a_thousand_records() {
    let shown = leaf("mx.test", None);
    let records = vec![shown.tlsa(3, 1, 1); 1000];
    let dane = Dane::new(&records, vec![]).unwrap();
    assert_eq!(dane.records.len(), RECORDS_MAX);
}

#[test]
fn what_is_shown_is_no_certificate() {
    let named = leaf("mx.test", None);
    let junk = Made {
        der: CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]),
        params: CertificateParams::default(),
        key: KeyPair::generate().unwrap(),
    };
    for selector in [0, 1] {
        let judged = judge(&[named.tlsa(3, selector, 1)], &[&junk, &junk]);
        assert_eq!(judged, Err(Mismatch::Unnamed));
    }
    let judged = judge(&[named.tlsa(2, 0, 0)], &[&junk]);
    assert!(is_chain_fault(&judged), "{judged:?}");
}

#[test]
fn rustls_is_told_why() {
    let (shown, other) = (leaf("mx.test", None), leaf("mx.test", None));
    let dane = Dane::new(&[other.tlsa(3, 1, 1)], vec![]).unwrap();
    let name = ServerName::try_from("mx.test").unwrap();
    let verify = |dane: Arc<dyn ServerCertVerifier>| {
        dane.verify_server_cert(&shown.der, &[], &name, &[], UnixTime::now())
    };
    let error = verify(Arc::new(dane)).unwrap_err().to_string();
    assert!(error.contains("no TLSA record matches"), "{error}");
    let dane = Dane::new(&[shown.tlsa(3, 1, 1)], vec![]).unwrap();
    assert!(verify(Arc::new(dane)).is_ok());
}

/// 2026-03-01 00:00:00 UTC.
const NOW: u64 = 1_772_323_200;
