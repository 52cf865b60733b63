//! What is asked of the servers we send to.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, RootCertStore};

use super::certificate::read_pem;
use super::dane::Dane;
use super::provider;
pub use super::witness::Testimony;
use super::witness::Witness;

/// How TLS is spoken to servers. Each shard has its own, so that sessions are resumed without a
/// lock that another core holds.
#[derive(Clone)]
pub struct Clients {
    /// Whoever answers: it keeps listeners out, no impostor.
    pub unverified: Arc<ClientConfig>,
    /// Only the host that we mean.
    pub verified: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
    anybody: Arc<Anybody>,
    /// What `verified` verifies with; `None` without any authority.
    strict: Option<Arc<WebPkiServerVerifier>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// With the certificate authorities in a file; without one those that the machine trusts.
    pub fn new(trusted: Option<&Path>) -> Result<Self, String> {
        if let Some(path) = trusted {
            let roots = roots(path).map_err(|why| format!("{} {why}", path.display()))?;
            return Self::with_roots(roots);
        }
        let mut roots = RootCertStore::empty();
        // One that is unreadable is none that anybody's certificate hangs on; without any, nothing
        // is verified successfully, and deliveries that ask for it say so.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Self::with_roots(roots)
    }

    /// With these certificate authorities.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, String> {
        let provider = provider();
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| format!("TLS cannot be set up: {error}"))
        };
        let roots = Arc::new(roots);
        let verified = builder()?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
        let unverified = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Anybody>::clone(&anybody))
            .with_no_client_auth();
        let strict =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        Ok(Self {
            unverified: Arc::new(unverified),
            verified: Arc::new(verified),
            // An empty set of authorities is all that can be wrong with it.
            strict: strict.build().ok(),
            roots,
            anybody,
        })
    }

    /// Whoever answers, and what [`Clients::verified`] would have said of its certificate. Each
    /// connection has its own: a session that is resumed shows no certificate.
    #[must_use]
    pub fn witnessed(&self) -> (Arc<ClientConfig>, Testimony) {
        let testimony = Testimony::default();
        let witness = Witness {
            strict: self.strict.clone(),
            lenient: Arc::clone(&self.anybody),
            testimony: Arc::clone(&testimony),
        };
        let mut config = ClientConfig::clone(&self.unverified);
        config.resumption = Resumption::disabled();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(witness));
        (Arc::new(config), testimony)
    }

    /// Are the same authorities trusted?
    #[must_use]
    pub fn trusts_as(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }

    /// Only a host whose certificate the DNS vouches for. Each connection has its own: a session
    /// that is resumed shows no certificate, and the records may have changed since.
    #[must_use]
    pub fn dane(&self, dane: Dane) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.unverified);
        config.resumption = Resumption::disabled();
        config.dangerous().set_certificate_verifier(Arc::new(dane));
        Arc::new(config)
    }

    /// The same config where we show this certificate to whoever asks for one. Nothing is resumed: a
    /// session may have begun without it.
    #[must_use]
    pub fn presenting(config: &ClientConfig, own: &Arc<CertifiedKey>) -> Arc<ClientConfig> {
        let mut config = config.clone();
        config.resumption = Resumption::disabled();
        config.client_auth_cert_resolver =
            Arc::new(SingleCertAndKey::from(CertifiedKey::clone(own)));
        Arc::new(config)
    }

    /// The same with session caches of its own.
    #[must_use]
    pub fn for_shard(&self) -> Self {
        let own = |config: &Arc<ClientConfig>| {
            let mut config = ClientConfig::clone(config);
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            Arc::new(config)
        };
        Self {
            unverified: own(&self.unverified),
            verified: own(&self.verified),
            ..self.clone()
        }
    }
}

/// The certificate authorities in a PEM file.
pub fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_pem(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("has a certificate that is no authority: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate (PEM is expected)".to_owned());
    }
    Ok(roots)
}

/// Takes every certificate, as opportunistic TLS does (RFC 7435); the peer must still have its key.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(self, self.0);
}

/// Sessions a shard remembers, by host: some thousand hosts get most mail.
const SESSIONS_MAX: usize = 4096;
