//! Certificates that clients show: what is asked of them, and who they prove somebody to be.
//!
//! A certificate that hangs on no authority of ours is taken all the same where none is needed: its
//! client has the key, so its fingerprint is worth something. The names in it are worth nothing then.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DistinguishedName, Error, ServerConfig};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::certificate::config;
use super::client::roots;
use super::provider;

/// What a listener asks of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate.
    #[default]
    None,
    /// A certificate, and takes whoever has none, or one that proves nothing.
    Request,
    /// A certificate that hangs on an authority of ours.
    Require,
}

/// Who a client has shown to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// SHA-256 of its certificate.
    pub fingerprint: [u8; 32],
    /// The certificate hangs on an authority of ours: its names count.
    pub is_verified: bool,
    /// The names of its subject (dNSName).
    pub hosts: Vec<String>,
    /// The mail addresses of its subject (rfc822Name).
    pub addresses: Vec<String>,
    /// Its subject, for people.
    subject: String,
}

/// A client that a listener trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Whose certificate has this fingerprint, whoever has issued it.
    Fingerprint([u8; 32]),
    /// Whose verified certificate has this host name or mail address.
    Name(String),
}

/// How clients that show certificates are spoken to.
#[derive(Clone, Debug)]
pub struct Callers {
    request: Arc<ServerConfig>,
    /// `None` without an authority.
    require: Option<Arc<ServerConfig>>,
    strict: Option<Arc<dyn ClientCertVerifier>>,
}

impl Caller {
    /// Reads the certificate; `None` for one that nobody can read.
    fn of(certificate: &CertificateDer<'_>, is_verified: bool) -> Option<Self> {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let (mut hosts, mut addresses) = (Vec::new(), Vec::new());
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => addresses.push((*name).to_owned()),
                _ => {}
            }
        }
        Some(Self {
            fingerprint,
            is_verified,
            hosts,
            addresses,
            subject: parsed.subject().to_string(),
        })
    }

    /// What it is called: its first name, else its subject.
    #[must_use]
    pub fn name(&self) -> &str {
        let names = self.hosts.iter().chain(&self.addresses);
        names.chain([&self.subject]).next().map_or("", |name| name)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verified = if self.is_verified { "" } else { "not " };
        let (name, print) = (self.name().escape_default(), hex(&self.fingerprint));
        write!(f, "{name}, {verified}verified, sha256:{print}")
    }
}

impl Guest {
    /// Reads `sha256:HEX`, as the log writes it or with colons, a host name or an address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(digits) = text.strip_prefix("sha256:") else {
            let is_name = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic());
            return (is_name && !text.contains(':')).then(|| Self::Name(text.to_owned()));
        };
        let digits: Vec<u8> = digits.bytes().filter(|octet| *octet != b':').collect();
        let mut fingerprint = [0; 32];
        if digits.len() != 2 * fingerprint.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (octet, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self::Fingerprint(fingerprint))
    }

    /// Is it this one?
    #[must_use]
    pub fn is(&self, caller: &Caller) -> bool {
        match self {
            Self::Fingerprint(fingerprint) => *fingerprint == caller.fingerprint,
            Self::Name(name) => {
                let mut names = caller.hosts.iter().chain(&caller.addresses);
                caller.is_verified && names.any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(fingerprint) => write!(f, "sha256:{}", hex(fingerprint)),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

impl Callers {
    /// Clients of `server`, whose certificates hang on the authorities in a file.
    pub fn new(server: &ServerConfig, authorities: Option<&Path>) -> Result<Self, String> {
        let strict = authorities.map(verifier).transpose()?;
        let with = |is_required| {
            let lenient = Lenient {
                strict: strict.clone(),
                algorithms: provider().signature_verification_algorithms,
                is_required,
            };
            let shown = Arc::clone(&server.cert_resolver);
            config(shown, Arc::new(lenient)).map_err(|error| error.to_string())
        };
        Ok(Self {
            request: with(false)?,
            require: match &strict {
                Some(_) => Some(with(true)?),
                None => None,
            },
            strict,
        })
    }

    /// How clients of whom this is asked are spoken to; `None` where nobody can be verified.
    #[must_use]
    pub fn config(&self, asks: ClientAuth) -> Option<&Arc<ServerConfig>> {
        match asks {
            ClientAuth::None => None,
            ClientAuth::Request => Some(&self.request),
            ClientAuth::Require => self.require.as_ref(),
        }
    }

    /// Who it is that has shown this chain. Asked after each handshake: a session that is resumed
    /// verifies nothing, and the certificate may be over by now.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Option<Caller> {
        let (certificate, above) = chain.split_first()?;
        let is_verified = self.strict.as_ref().is_some_and(|strict| {
            let now = UnixTime::now();
            strict.verify_client_cert(certificate, above, now).is_ok()
        });
        Caller::of(certificate, is_verified)
    }
}

/// Who verifies that certificates hang on the authorities in a file.
pub fn verifier(authorities: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let named = |why: String| format!("{} {why}", authorities.display());
    let roots = Arc::new(roots(authorities).map_err(named)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| named(format!("cannot be used: {error}")))
}

/// Takes every certificate where none is needed.
#[derive(Debug)]
struct Lenient {
    strict: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    is_required: bool,
}

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Named, they keep clients from showing what is trusted for its fingerprint alone.
        match &self.strict {
            Some(strict) if self.is_required => strict.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match &self.strict {
            Some(strict) if self.is_required => strict.verify_client_cert(certificate, above, now),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    signatures_by!(self, self.algorithms);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(is_verified: bool) -> Caller {
        Caller {
            fingerprint: [0xab; 32],
            is_verified,
            hosts: vec!["c.test".to_owned()],
            addresses: vec!["ann@c.test".to_owned()],
            subject: String::new(),
        }
    }

    #[test]
    fn names_count_when_somebody_vouches_for_them() {
        for name in ["C.test", "ann@C.TEST"] {
            let guest = Guest::parse(name).unwrap();
            assert!(
                guest.is(&caller(true)) && !guest.is(&caller(false)),
                "{name}"
            );
        }
        assert!(!Guest::parse("test").unwrap().is(&caller(true)));
    }

    #[test]
    fn fingerprint_counts_whoever_has_issued_it() {
        let written = format!("sha256:{}", "ab".repeat(32));
        let as_openssl_writes = format!("sha256:{}", ["AB"; 32].join(":"));
        for text in [&written, &as_openssl_writes] {
            let guest = Guest::parse(text).unwrap();
            assert!(guest.is(&caller(false)));
            assert_eq!(guest.to_string(), written);
        }
        for bad in [
            "",
            "sha256:",
            "sha256:abc",
            "sha1:00",
            "a b",
            &written[..69],
        ] {
            assert_eq!(Guest::parse(bad), None, "{bad}");
        }
        let other = format!("sha256:{}", "ac".repeat(32));
        assert!(!Guest::parse(&other).unwrap().is(&caller(true)));
    }

    #[test]
    fn a_caller_is_told_of_in_one_line() {
        let mut odd = caller(false);
        odd.hosts = vec!["c\r\nx".to_owned()];
        let told = odd.to_string();
        assert!(
            told.starts_with("c\\r\\nx, not verified, sha256:abab"),
            "{told}"
        );
    }
}
