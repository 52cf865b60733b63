//! Keys, as files and as DNS records.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::file::{NoSecret, read_secret};

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `rsa-sha256`, with a modulus of so many bits.
    Rsa {
        /// 2048, 3072 or 4096 where we make it.
        bits: usize,
    },
    /// `ed25519-sha256` (RFC 8463)
    Ed25519,
}

/// A private key.
pub struct Key {
    kind: Kind,
    signing: DkimKey,
    /// What the DNS record says of it.
    public: Vec<u8>,
}

impl Key {
    /// Reads a file that nobody but its owner may read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let pem = read_secret(path).map_err(|why| match why {
            NoSecret::Unreadable(error) => named(&error),
            NoSecret::Open => named(&"others can read it: chmod 600"),
        })?;
        let pem = String::from_utf8(pem).map_err(|error| named(&error))?;
        Self::parse(&pem).map_err(|why| named(&why))
    }

    /// Reads PEM: PKCS#8, or PKCS#1 for RSA.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "is no private key in PEM".to_owned())?;
        let pair = KeyPair::try_from(&der).map_err(|_| UNKNOWN_KEY.to_owned())?;
        if pair.is_compatible(&PKCS_ED25519) {
            let signing = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_der());
            return Ok(Self {
                kind: Kind::Ed25519,
                signing: signing.map_err(|error| error.to_string())?.into(),
                public: pair.der_bytes().to_vec(),
            });
        }
        if !pair.is_compatible(&PKCS_RSA_SHA256) {
            return Err(UNKNOWN_KEY.to_owned());
        }
        let bits = modulus_bits(&der).ok_or_else(|| UNKNOWN_KEY.to_owned())?;
        if bits < RSA_BITS_MIN {
            return Err(format!(
                "an RSA key of {bits} bits: verifiers want {RSA_BITS_MIN} at least (RFC 8301 §3.2)"
            ));
        }
        let signing = RsaKey::from_key_der(der).map_err(|error| error.to_string())?;
        Ok(Self {
            kind: Kind::Rsa { bits },
            signing: signing.into(),
            public: pair.subject_public_key_info(),
        })
    }

    /// Makes a key; in PEM.
    pub fn generate(kind: Kind) -> Result<String, String> {
        let pair = match kind {
            Kind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
            Kind::Rsa { bits } => {
                let size = match bits {
                    2048 => RsaKeySize::_2048,
                    3072 => RsaKeySize::_3072,
                    4096 => RsaKeySize::_4096,
                    _ => return Err("an RSA key has 2048, 3072 or 4096 bits".to_owned()),
                };
                KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size)
            }
        };
        Ok(pair.map_err(|error| error.to_string())?.serialize_pem())
    }

    /// What it signs with.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The text of the TXT record `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.1).
    #[must_use]
    pub fn record(&self) -> String {
        let kind = match self.kind {
            Kind::Rsa { .. } => "rsa",
            Kind::Ed25519 => "ed25519",
        };
        let mut record = String::new();
        // Writing to a String does not fail.
        let _ = write!(
            record,
            "v=DKIM1; k={kind}; p={}",
            STANDARD.encode(&self.public)
        );
        record
    }

    pub(super) fn into_signing(self) -> DkimKey {
        self.signing
    }
}

/// Bits of an RSA modulus.
fn modulus_bits(der: &PrivateKeyDer<'_>) -> Option<usize> {
    use aws_lc_rs::rsa::KeyPair;
    use aws_lc_rs::signature::KeyPair as _;
    let pair = match der {
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return None,
    };
    Some(pair.ok()?.public_key().modulus_len() * 8)
}

const UNKNOWN_KEY: &str = "is neither an RSA nor an Ed25519 key";
/// Smaller ones verifiers must not accept (RFC 8301 §3.2).
const RSA_BITS_MIN: usize = 1024;
