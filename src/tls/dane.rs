//! DANE for SMTP: certificates that the DNS vouches for (RFC 6698, RFC 7671, RFC 7672).
//!
//! A TLSA record that came under DNSSEC says what the certificate of a host is to be. Two usages
//! count between mailers (RFC 7672 §3.1.3 leaves the other two out: they want certificate
//! authorities that both sides know):
//!
//! | Usage | The record names | Then |
//! |---|---|---|
//! | 3, DANE-EE | the certificate itself, or its key | names and dates in it mean nothing |
//! | 2, DANE-TA | an authority in the chain shown, or a whole certificate | chain, dates and name hold |
//!
//! An authority that is named by a hash or by its key has to be in the chain that the server shows,
//! as RFC 7672 §3.1.2 obliges servers to.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, spki_for_anchor};

use super::provider;
pub use crate::route::dns::Tlsa;

/// What the certificate of one host is to be.
#[derive(Debug)]
pub struct Dane {
    /// Usable ones only, and never none.
    records: Vec<Tlsa>,
    /// Names of which an authority has to have confirmed one (RFC 7672 §3.2.2).
    names: Vec<ServerName<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why a certificate is not the one.
#[derive(Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It is none that a record names.
    Unnamed,
    /// An authority that a record names is there, and the certificate does not hang on it.
    Chain(webpki::Error),
    /// It is for another host.
    Name,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("no TLSA record matches the certificate"),
            Self::Chain(error) => write!(
                f,
                "the certificate does not hold under the authority in the TLSA record: {error}"
            ),
            Self::Name => f.write_str("the certificate is for another host"),
        }
    }
}

/// rustls writes errors that are not its own in this form, and it is what the log says.
impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Mismatch {}

impl Dane {
    /// By these records; `None` when none of them is usable. `names` are those that the certificate
    /// may have where a record names its authority: the host's, and that of the domain whose mail
    /// it takes.
    #[must_use]
    pub fn new(records: &[Tlsa], names: Vec<ServerName<'static>>) -> Option<Self> {
        let records = strongest(records.iter().filter(|record| is_usable(record)));
        (!records.is_empty()).then(|| Self {
            records,
            names,
            algorithms: provider().signature_verification_algorithms,
        })
    }

    /// Is this the certificate? `others` are those that came with it.
    pub fn check(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Mismatch> {
        let of_usage = |usage: u8| self.records.iter().filter(move |tlsa| tlsa.usage == usage);
        if of_usage(DANE_EE).any(|record| names(record, certificate)) {
            return Ok(());
        }
        let authorities: Vec<TrustAnchor<'_>> = of_usage(DANE_TA)
            .flat_map(|record| {
                let shown = others.iter().filter(|other| names(record, other));
                let shown = shown.filter_map(|other| anchor_from_trusted_cert(other).ok());
                let told = whole(record).and_then(|told| told_anchor(&told));
                shown.map(|anchor| anchor.to_owned()).chain(told)
            })
            .collect();
        if authorities.is_empty() {
            return Err(Mismatch::Unnamed);
        }
        self.hangs_on(&authorities, certificate, others, now)
    }

    fn hangs_on(
        &self,
        authorities: &[TrustAnchor<'_>],
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Mismatch> {
        let certificate = EndEntityCert::try_from(certificate).map_err(Mismatch::Chain)?;
        certificate
            .verify_for_usage(
                self.algorithms.all,
                authorities,
                others,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(Mismatch::Chain)?;
        let is_for = |name: &ServerName<'_>| {
            let valid = certificate.verify_is_valid_for_subject_name(name);
            valid.is_ok()
        };
        if self.names.iter().any(is_for) {
            Ok(())
        } else {
            Err(Mismatch::Name)
        }
    }
}

impl ServerCertVerifier for Dane {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check(certificate, others, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(mismatch) => {
                let why = CertificateError::Other(OtherError(Arc::new(mismatch)));
                Err(Error::InvalidCertificate(why))
            }
        }
    }

    signatures_by!(self, self.algorithms);
}

/// Can we go by this record (RFC 7672 §3.1)? One with a hash of the wrong length fits nothing that
/// there is.
fn is_usable(record: &Tlsa) -> bool {
    let is_whole = match record.matching {
        AS_IT_IS => !record.data.is_empty(),
        SHA2_256 => record.data.len() == SHA256.output_len(),
        SHA2_512 => record.data.len() == SHA512.output_len(),
        _ => false,
    };
    let is_certificate = || anchor_from_trusted_cert(&CertificateDer::from(&*record.data)).is_ok();
    let is_known = matches!(record.usage, DANE_TA | DANE_EE)
        && matches!(record.selector, CERTIFICATE | PUBLIC_KEY);
    let needs_certificate = record.matching == AS_IT_IS && record.selector == CERTIFICATE;
    is_known && is_whole && (!needs_certificate || is_certificate())
}

/// Without the records of a weaker hash beside those of a stronger one for the same thing: whoever
/// breaks the weaker gains nothing (RFC 7671 §9).
fn strongest<'a>(records: impl Iterator<Item = &'a Tlsa> + Clone) -> Vec<Tlsa> {
    let is_outdone = |record: &Tlsa| {
        let mut all = records.clone();
        record.matching == SHA2_256
            && all.any(|other| {
                other.matching == SHA2_512
                    && (other.usage, other.selector) == (record.usage, record.selector)
            })
    };
    let kept = records.clone().filter(|record| !is_outdone(record));
    kept.take(RECORDS_MAX).cloned().collect()
}

/// Does the record name this certificate?
fn names(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    if record.selector == CERTIFICATE {
        return fits(record, certificate);
    }
    let anchor = anchor_from_trusted_cert(certificate);
    anchor.is_ok_and(|anchor| fits(record, &spki_for_anchor(&anchor)))
}

fn fits(record: &Tlsa, selected: &[u8]) -> bool {
    match record.matching {
        AS_IT_IS => *selected == *record.data,
        SHA2_256 => digest(&SHA256, selected).as_ref() == &*record.data,
        SHA2_512 => digest(&SHA512, selected).as_ref() == &*record.data,
        _ => false,
    }
}

/// The certificate in a record that has it whole.
fn whole(record: &Tlsa) -> Option<CertificateDer<'_>> {
    let is_whole = (record.selector, record.matching) == (CERTIFICATE, AS_IT_IS);
    is_whole.then(|| CertificateDer::from(&*record.data))
}

fn told_anchor(certificate: &CertificateDer<'_>) -> Option<TrustAnchor<'static>> {
    let anchor = anchor_from_trusted_cert(certificate).ok()?;
    Some(anchor.to_owned())
}

/// Records that are looked at for one host: two keys, two hashes and a roll-over are eight. Each is
/// compared with each certificate shown, and a hostile zone could have thousands.
const RECORDS_MAX: usize = 32;

// Certificate usages (RFC 6698 §7.2, names of RFC 7218).
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
// Selectors (RFC 6698 §7.3).
const CERTIFICATE: u8 = 0;
const PUBLIC_KEY: u8 = 1;
// Matching types (RFC 6698 §7.4).
const AS_IT_IS: u8 = 0;
const SHA2_256: u8 = 1;
const SHA2_512: u8 = 2;

#[cfg(test)]
mod tests;
