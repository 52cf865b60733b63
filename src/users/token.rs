//! Bearer tokens (RFC 6750) that prove who somebody is: JWTs (RFC 7519), signed by one issuer whose
//! public keys are in a file. Only algorithms with a public and a private half count, so that a
//! token is nothing that somebody could make who reads this file.
//!
//! A token is checked where it comes in. Without optimization, on a busy machine, that took 68 µs
//! with RSA of 2048 bits, 71 with Ed25519, 95 with P-256 and 129 with RSA of 4096 bits (medians of
//! the test `what_a_token_costs`): too little for a way to another thread. Larger keys are not taken.

use std::fmt;
use std::path::Path;

use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::file;
use crate::tls::certificate::pem_fault;

/// What a token has to say to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its claim `iss`.
    pub issuer: String,
    /// Its claim `aud`, or one of them.
    pub audience: String,
    /// The claim that names the user.
    pub user_claim: String,
}

/// Who issues tokens, and what a token of his looks like.
#[derive(Clone, Debug)]
pub struct Issuer {
    keys: Vec<PublicKey>,
    terms: Terms,
}

#[derive(Clone, Debug)]
struct PublicKey {
    /// `kid`, where it has one.
    name: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// It is none.
    Form,
    /// It is signed in a way that does not count, or has a header that has to be understood.
    Algorithm,
    /// No key has signed it.
    Signature,
    /// It counts no more.
    Expired,
    /// It does not count yet.
    Early,
    /// Somebody else has issued it.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It does not say what it has to.
    Claims,
    /// It names nobody who is at home here, or not the one who the client says to be.
    User,
}

impl Issuer {
    /// Reads the file: a JWK set (RFC 7517 §5), or public keys as PEM.
    pub fn read(path: &Path, terms: Terms) -> Result<Self, String> {
        let fault = |why: &str| format!("{}: {why}", path.display());
        let text =
            file::read_text(path).map_err(|error| fault(&format!("cannot be read: {error}")))?;
        let keys = if text.trim_start().starts_with('{') {
            from_set(&text)
        } else {
            from_pem(&text)
        };
        let keys = keys.map_err(|why| fault(&why))?;
        if keys.is_empty() {
            return Err(fault(
                "has no key that counts: RSA of 2048 to 4096 bits, P-256 or Ed25519, to verify \
                 RS256, ES256 or EdDSA with",
            ));
        }
        if keys.len() > KEYS_MAX {
            return Err(fault(&format!("has more than {KEYS_MAX} keys")));
        }
        Ok(Self { keys, terms })
    }

    /// The user whom `said`, an Authorization field's value, names.
    pub fn check(&self, said: &str) -> Result<String, BadToken> {
        let (scheme, token) = said.split_once(' ').ok_or(BadToken::Form)?;
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(BadToken::Form);
        }
        let token = token.trim_start_matches(' ');
        let header = jsonwebtoken::decode_header(token).map_err(|error| bad(&error))?;
        let claims = self.claims(token, &header)?;
        let user = claims.get(&self.terms.user_claim).and_then(Value::as_str);
        let user = user.ok_or(BadToken::Claims)?;
        // An address that nobody has verified may be anybody's.
        let is_doubtful = self.terms.user_claim == "email"
            && claims
                .get("email_verified")
                .is_some_and(|word| !matches!(word, Value::Bool(true)) && word != "true");
        if is_doubtful {
            return Err(BadToken::Claims);
        }
        Ok(user.to_owned())
    }

    /// What a token says that one of the keys has signed, and that counts now.
    fn claims(&self, token: &str, header: &Header) -> Result<Map<String, Value>, BadToken> {
        // RFC 7515 §4.1.11: what has to be understood is not.
        if header.crit.is_some() || !ALGORITHMS.contains(&header.alg) {
            return Err(BadToken::Algorithm);
        }
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&self.terms.issuer]);
        rules.set_audience(&[&self.terms.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_S;
        let mut why = BadToken::Signature;
        for key in self.keys.iter().filter(|key| key.may_have_signed(header)) {
            match jsonwebtoken::decode(token, &key.key, &rules) {
                Ok(data) => return self.issued_by_one(data.claims),
                Err(error) => why = bad(&error),
            }
            if why != BadToken::Signature {
                break;
            }
        }
        Err(why)
    }

    /// A token has one issuer (RFC 7519 §4.1.1); the library would take a list with ours in it.
    fn issued_by_one(&self, claims: Map<String, Value>) -> Result<Map<String, Value>, BadToken> {
        let issuer = claims.get("iss").and_then(Value::as_str);
        match issuer == Some(&*self.terms.issuer) {
            true => Ok(claims),
            false => Err(BadToken::Issuer),
        }
    }
}

impl PublicKey {
    /// A name that both have must be the same.
    fn may_have_signed(&self, header: &Header) -> bool {
        let is_same = match (&self.name, &header.kid) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        };
        is_same && self.algorithm == header.alg
    }

    fn new(name: Option<String>, key: DecodingKey) -> Option<Self> {
        let algorithm = match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let public: PublicEncryptingKey = PublicKeyComponents { n, e }.try_into().ok()?;
                is_of_good_size(&public).then_some(Algorithm::RS256)
            }
            DecodingKeyKind::SecretOrDer(octets) => algorithm(octets),
        };
        let algorithm = algorithm?;
        // A symmetric key may look like one of Ed25519.
        (key.family() == algorithm.family()).then_some(Self {
            name,
            algorithm,
            key,
        })
    }
}

/// What the public key in `octets` verifies.
fn algorithm(octets: &[u8]) -> Option<Algorithm> {
    if PublicEncryptingKey::from_der(octets).is_ok_and(|key| is_of_good_size(&key)) {
        Some(Algorithm::RS256)
    } else if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, octets).is_ok() {
        Some(Algorithm::ES256)
    } else if ParsedPublicKey::new(&ED25519, octets).is_ok() {
        Some(Algorithm::EdDSA)
    } else {
        None
    }
}

fn is_of_good_size(key: &PublicEncryptingKey) -> bool {
    (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&key.key_size_bits())
}

/// A JWK set, with keys of all kinds: those count that verify.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

fn from_set(text: &str) -> Result<Vec<PublicKey>, String> {
    let set: Set = serde_json::from_str(text).map_err(|error| {
        // Not the words of others: they hold parts of the file, and this goes into the log.
        let (line, column) = (error.line(), error.column());
        format!("is no JWK set: see line {line}, column {column}")
    })?;
    let mut keys = Vec::new();
    for value in set.keys {
        // RFC 7517 §5: keys that are not understood are left out.
        let Ok(jwk) = serde_json::from_value::<Jwk>(value.clone()) else {
            continue;
        };
        if value.get("d").is_some() {
            return Err("has a private key, which belongs to the issuer alone".to_owned());
        }
        let is_for_signatures = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let key = DecodingKey::from_jwk(&jwk).ok();
        let key = key.and_then(|key| PublicKey::new(jwk.common.key_id.clone(), key));
        let said = jwk.common.key_algorithm;
        keys.extend(key.filter(|key| {
            is_for_signatures && said.is_none_or(|said| said == key.algorithm.into())
        }));
    }
    Ok(keys)
}

fn from_pem(text: &str) -> Result<Vec<PublicKey>, String> {
    let mut keys = Vec::new();
    for section in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
        let der = section.map_err(|error| format!("is no PEM: {}", pem_fault(&error)))?;
        let key = match algorithm(&der) {
            Some(Algorithm::RS256) => DecodingKey::from_rsa_der(&der),
            Some(Algorithm::ES256) => DecodingKey::from_ec_der(&der),
            Some(_) => DecodingKey::from_ed_der(&der),
            None => continue,
        };
        keys.extend(PublicKey::new(None, key));
    }
    Ok(keys)
}

/// The same in our words: what others say may hold parts of the token.
fn bad(error: &jsonwebtoken::errors::Error) -> BadToken {
    match error.kind() {
        ErrorKind::InvalidSignature => BadToken::Signature,
        ErrorKind::ExpiredSignature => BadToken::Expired,
        ErrorKind::ImmatureSignature => BadToken::Early,
        ErrorKind::InvalidIssuer => BadToken::Issuer,
        ErrorKind::InvalidAudience => BadToken::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => BadToken::Claims,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm => BadToken::Algorithm,
        _ => BadToken::Form,
    }
}

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "this is no bearer token (a JWT)",
            Self::Algorithm => "the token is signed in a way that does not count",
            Self::Signature => "no known key has signed the token",
            Self::Expired => "the token has expired",
            Self::Early => "the token is not valid yet",
            Self::Issuer => "another issuer has made the token",
            Self::Audience => "the token is for another audience",
            Self::Claims => "the token lacks a claim, or its address is not verified",
            Self::User => "the token is not of that user, or names none",
        })
    }
}

/// None with a secret that both sides know.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
/// Below, it can be broken.
const RSA_BITS_MIN: usize = 2048;
/// Beyond, a token takes longer than a shard should be held up.
const RSA_BITS_MAX: usize = 4096;
/// Clocks differ by so much.
const LEEWAY_S: u64 = 60;
/// A token without `kid` is tried with each.
const KEYS_MAX: usize = 32;

#[cfg(test)]
mod tests;
