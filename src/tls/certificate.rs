//! Certificates that a server shows: read from PEM files, chosen by the name that the client asks
//! for, and made by ourselves where there is none.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;

use super::provider;
use crate::file::{self, NoSecret, read_secret};

/// A certificate file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for Unusable {}

/// Reads certificates and their keys: what servers of ours show from now on.
pub fn server(pairs: &[(PathBuf, PathBuf)]) -> Result<Arc<ServerConfig>, Unusable> {
    let keys = pairs
        .iter()
        .map(|(chain, key)| read(chain, key))
        .collect::<Result<Vec<_>, _>>()?;
    let refuse = |why: String| Unusable {
        path: pairs
            .first()
            .map(|(chain, _)| chain.clone())
            .unwrap_or_default(),
        why,
    };
    config(Arc::new(ByName { keys }), Arc::new(NoClientAuth))
        .map_err(|error| refuse(error.to_string()))
}

/// What shows these certificates, and asks clients for theirs as `verifier` does. Its tickets are its
/// own: what another has agreed on is not resumed here, where more may be asked.
pub(super) fn config(
    shown: Arc<dyn ResolvesServerCert>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    // Tickets instead of a cache: a client comes back to another shard, and nothing is kept.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// Reads a certificate chain and its key.
pub fn read(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Unusable> {
    let unusable = |path: &Path, why: String| Unusable {
        path: path.to_owned(),
        why,
    };
    let certificates = read_pem(chain).map_err(|why| unusable(chain, why))?;
    if certificates.is_empty() {
        return Err(unusable(
            chain,
            "holds no certificate (PEM is expected)".to_owned(),
        ));
    }
    let no_key = |error: &dyn fmt::Display| {
        unusable(
            key,
            format!("holds no private key (PEM is expected): {error}"),
        )
    };
    let pem = read_secret(key).map_err(|why| match why {
        NoSecret::Unreadable(error) => no_key(&error),
        NoSecret::Open => {
            let why = "everybody on this machine may read it: chmod o-rwx";
            unusable(key, why.to_owned())
        }
    })?;
    let private =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| no_key(&pem_fault(&error)))?;
    let certified =
        CertifiedKey::from_der(certificates, private, &provider()).map_err(|error| {
            let why = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("is not the key of the certificate in {}", chain.display())
                }
                error => format!("cannot be used: {error}"),
            };
            unusable(key, why)
        })?;
    Ok(Arc::new(certified))
}

/// The certificates in a PEM file.
pub(super) fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = file::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>();
    certificates.map_err(|error| format!("cannot be read as PEM: {}", pem_fault(&error)))
}

/// What is wrong with PEM, without a word of what stands in it: that may be a private key, and this goes
/// into the log.
#[must_use]
pub const fn pem_fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "the first line of a section is damaged",
        pem::Error::Base64Decode(_) => "what should be base64 is none",
        pem::Error::NoItemsFound => "nothing of that kind is in it",
        _ => "it is damaged",
    }
}

/// The certificate for the name that a client asks for; the first one for all other clients.
#[derive(Debug)]
struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name();
        let name = asked.and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let leaf = key.end_entity_cert().ok();
            let parsed = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
            let both = parsed.zip(name.as_ref());
            both.is_some_and(|(parsed, name)| verify_server_name(&parsed, name).is_ok())
        };
        let found = self.keys.iter().find(fits);
        found.or_else(|| self.keys.first()).cloned()
    }
}

/// A new certificate for `name`, signed by itself, and its key, as PEM. It keeps listeners-in from
/// seeing mail, and proves nothing.
pub fn self_signed(name: &str) -> Result<(String, String), String> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])
        .map_err(|error| format!("a certificate for {name} cannot be made: {error}"))?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}
