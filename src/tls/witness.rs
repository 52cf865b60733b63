//! A verifier that takes every certificate and remembers what a strict one would have said of it: for
//! policies that are being tested (RFC 8461 §5).

use std::sync::{Arc, OnceLock};

use rustls::Error;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::client::Anybody;
use super::failure::Failure;

/// What a strict verifier would have said; empty before a certificate was shown.
pub type Testimony = Arc<OnceLock<Result<(), Failure>>>;

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct Witness {
    /// `None` where no authority is trusted.
    pub(super) strict: Option<Arc<WebPkiServerVerifier>>,
    pub(super) lenient: Arc<Anybody>,
    pub(super) testimony: Testimony,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = match &self.strict {
            Some(strict) => strict
                .verify_server_cert(certificate, others, name, ocsp, now)
                .map_err(|error| Failure::of(&error)),
            None => Err(Failure::NotTrusted),
        };
        // The first certificate of a connection is its only one.
        let _ = self.testimony.set(judged.map(drop));
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(self, self.lenient.0);
}
