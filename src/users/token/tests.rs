use std::fs;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::users::sasl::{Exchange, Turn, mechanisms};
use crate::users::{User, Users};

/// Somebody who signs, without help of what verifies.
enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa(size: KeySize) -> Self {
        Self::Rsa(RsaKeyPair::generate(size).unwrap())
    }

    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What it says with each token.
    fn says(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.name(), "typ": "at+jwt", "kid": "k1" });
        format!("Bearer {}", self.token(&header, claims))
    }

    fn jwk(&self) -> Value {
        let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "n": text(n), "e": text(e), "kid": "k1" })
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": "k1" })
            }
            Self::Ed(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k1" })
            }
        }
    }

    fn pem(&self) -> String {
        let der = match self {
            Self::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Self::Ec(pair) => pair.public_key().as_der().unwrap(),
            Self::Ed(pair) => pair.public_key().as_der().unwrap(),
        };
        let text = STANDARD.encode(der.as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// What a good token of ann says, with `more` instead.
fn claims(more: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.c.test", "aud": ["mail", "chat"], "exp": now() + 300, "sub": "0815",
        "email": "Ann@C.test",
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn read(text: &str) -> Result<Issuer, String> {
    let home = tempfile::tempdir().unwrap();
    let path: PathBuf = home.path().join("keys");
    fs::write(&path, text).unwrap();
    let terms = Terms {
        issuer: "https://id.c.test".to_owned(),
        audience: "mail".to_owned(),
        user_claim: "email".to_owned(),
    };
    Issuer::read(&path, terms)
}

fn of(signer: &Signer) -> Issuer {
    read(&json!({ "keys": [signer.jwk()] }).to_string()).unwrap()
}

#[test]
fn tokens_of_each_kind_count_by_jwk_and_by_pem() {
    for signer in [Signer::rsa(KeySize::Rsa2048), Signer::ec(), Signer::ed()] {
        let said = signer.says(&claims(&json!({})));
        for issuer in [of(&signer), read(&signer.pem()).unwrap()] {
            assert_eq!(
                issuer.check(&said).as_deref(),
                Ok("Ann@C.test"),
                "{}",
                signer.name()
            );
            let lower = said.replace("Bearer", "bearer");
            assert_eq!(issuer.check(&lower).as_deref(), Ok("Ann@C.test"));
        }
        for other in [Signer::rsa(KeySize::Rsa2048), Signer::ec(), Signer::ed()] {
            assert_eq!(of(&other).check(&said), Err(BadToken::Signature));
        }
    }
}

#[test]
fn token_says_what_it_has_to_or_does_not_count() {
    let signer = Signer::ec();
    let issuer = of(&signer);
    let now = now();
    for (more, wanted) in [
        (json!({ "exp": now - 50 }), Ok(())),
        (json!({ "exp": now - 70 }), Err(BadToken::Expired)),
        (json!({ "exp": null }), Err(BadToken::Claims)),
        (json!({ "exp": "tomorrow" }), Err(BadToken::Claims)),
        (json!({ "nbf": now + 50 }), Ok(())),
        (json!({ "nbf": now + 80 }), Err(BadToken::Early)),
        (json!({ "nbf": "never" }), Err(BadToken::Claims)),
        (json!({ "iss": "https://id.d.test" }), Err(BadToken::Issuer)),
        (json!({ "iss": null }), Err(BadToken::Claims)),
        (
            json!({ "iss": ["https://id.c.test", "https://id.d.test"] }),
            Err(BadToken::Issuer),
        ),
        (json!({ "aud": "mail" }), Ok(())),
        (json!({ "aud": "chat" }), Err(BadToken::Audience)),
        (json!({ "aud": [] }), Err(BadToken::Audience)),
        (json!({ "aud": null }), Err(BadToken::Claims)),
        (json!({ "email": null }), Err(BadToken::Claims)),
        (json!({ "email": ["ann@c.test"] }), Err(BadToken::Claims)),
        (json!({ "email_verified": true }), Ok(())),
        (json!({ "email_verified": "true" }), Ok(())),
        (json!({ "email_verified": false }), Err(BadToken::Claims)),
    ] {
        let got = issuer.check(&signer.says(&claims(&more)));
        assert_eq!(got.map(|_| ()), wanted, "{more}");
    }
}

#[test]
fn token_that_nobody_has_signed_does_not_count() {
    let signer = Signer::rsa(KeySize::Rsa2048);
    let issuer = of(&signer);
    let claims = claims(&json!({}));
    let bare = |alg: &str, signature: &[u8]| {
        let header = json!({ "alg": alg, "typ": "JWT" });
        let parts = [&header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    for alg in ["none", "None", "HS256", "RS384", "PS256", "ES256"] {
        assert!(issuer.check(&bare(alg, b"")).is_err(), "{alg}");
    }
    // The classic: signed with the public key, as if it were a secret.
    let pem = signer.pem();
    let unsigned = bare("HS256", b"");
    let message = unsigned["Bearer ".len()..].trim_end_matches('.');
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pem.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    assert_eq!(
        read(&pem).unwrap().check(&bare("HS256", tag.as_ref())),
        Err(BadToken::Algorithm)
    );
    // A header that has to be understood, and a key that a token brings along.
    let critical = json!({ "alg": "RS256", "crit": ["exp"] });
    let said = format!("Bearer {}", signer.token(&critical, &claims));
    assert_eq!(issuer.check(&said), Err(BadToken::Algorithm));
    let other = Signer::rsa(KeySize::Rsa2048);
    let own = json!({ "alg": "RS256", "jwk": other.jwk() });
    let said = format!("Bearer {}", other.token(&own, &claims));
    assert_eq!(issuer.check(&said), Err(BadToken::Signature));
}

#[test]
fn keys_are_told_apart_by_their_names() {
    let (old, new) = (Signer::ec(), Signer::ec());
    let mut key = new.jwk();
    key["kid"] = json!("k2");
    let issuer = read(&json!({ "keys": [old.jwk(), key] }).to_string()).unwrap();
    let claims = claims(&json!({}));
    for (signer, name, is_good) in [
        (&old, Some("k1"), true),
        (&new, Some("k2"), true),
        (&new, Some("k1"), false),
        (&new, Some("k3"), false),
        (&new, None, true),
    ] {
        let mut header = json!({ "alg": "ES256" });
        if let Some(name) = name {
            header["kid"] = json!(name);
        }
        let said = format!("Bearer {}", signer.token(&header, &claims));
        assert_eq!(issuer.check(&said).is_ok(), is_good, "{name:?}");
    }
}

#[test]
fn file_without_a_key_that_counts_is_a_fault() {
    let signer = Signer::ec();
    let with = |name: &str, value: &str| {
        let mut key = signer.jwk();
        key[name] = json!(value);
        json!({ "keys": [key] }).to_string()
    };
    let large = Signer::rsa(KeySize::Rsa8192);
    for (text, why) in [
        (String::new(), "has no key"),
        ("{".to_owned(), "is no JWK set: see line 1"),
        (
            format!("{{\"keys\": \"{}\"}}", "secret".repeat(99)),
            "is no JWK set",
        ),
        (
            format!("-----BEGIN PUBLIC KEY-{}\n", "secret".repeat(99)),
            "is no PEM",
        ),
        ("{\"keys\": []}".to_owned(), "has no key"),
        (
            json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U" }] })
                .to_string(),
            "has no key",
        ),
        (with("use", "enc"), "has no key"),
        (with("alg", "ES384"), "has no key"),
        (with("x", "AAAA"), "has no key"),
        (with("d", "AAAA"), "has a private key"),
        (large.pem(), "has no key"),
        (json!({ "keys": [large.jwk()] }).to_string(), "has no key"),
        (
            json!({ "keys": vec![signer.jwk(); KEYS_MAX + 1] }).to_string(),
            "has more than",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(why), "{error}: {text}");
        assert!(error.len() < 500, "parts of the file: {error}");
    }
    let more = json!({ "keys": [{ "kty": "new" }, signer.jwk(), { "kty": "RSA", "n": "AQAB", "e": "AQAB" }] });
    assert!(
        read(&more.to_string()).is_ok(),
        "keys of other kinds are left out"
    );
}

/// A server with this issuer, where ann is.
fn exchange(issuer: &Issuer) -> Exchange {
    let mut users = Users::default();
    users.add("ann@c.test", User::new("secret", Vec::new()).unwrap());
    let issuer = Some(issuer.clone().into());
    Exchange::begin(users.into(), issuer, "oauthbearer", None).unwrap()
}

#[test]
fn bearer_is_the_user_whom_his_token_names_and_nobody_else() {
    let signer = Signer::ed();
    let issuer = of(&signer);
    let ann = signer.says(&claims(&json!({})));
    let bob = signer.says(&claims(&json!({ "email": "bob@c.test" })));
    let denied = |why| {
        let say = br#"{"status":"invalid_token"}"#.to_vec();
        Turn::Denied(say, why)
    };
    let proved = || Turn::Proved("ann@c.test".to_owned(), None);
    for (header, said, wanted) in [
        ("n,,", &*ann, proved()),
        ("n,a=ann@c.test,", &ann, proved()),
        ("n,a=ANN@c.test,", &ann, proved()),
        ("n,a=bob@c.test,", &ann, denied(BadToken::User)),
        ("n,a=bob@c.test,", &bob, denied(BadToken::User)),
        ("n,a=ann@c.test,", &bob, denied(BadToken::User)),
        ("n,a=ann@c.test,", "", denied(BadToken::Form)),
        ("n,a=ann@c.test,", "Basic abc", denied(BadToken::Form)),
        ("n,a=ann@c.test,", "Bearer a.b.c", denied(BadToken::Form)),
        ("p=tls-exporter,,", &ann, Turn::Refused),
    ] {
        let mut exchange = exchange(&issuer);
        let said = format!("{header}\x01host=c.test\x01port=587\x01auth={said}\x01\x01");
        let turn = exchange.step(Some(said.as_bytes()));
        let is_denied = matches!(turn, Turn::Denied(..));
        assert_eq!(turn, wanted, "{said}");
        if is_denied {
            assert_eq!(exchange.step(Some(b"\x01")), Turn::Refused);
        }
    }
}

#[test]
fn tokens_are_spoken_of_where_somebody_issues_them() {
    assert!(!mechanisms(true, false).contains(&"OAUTHBEARER"));
    assert_eq!(mechanisms(false, true).last(), Some(&"OAUTHBEARER"));
    let users = std::sync::Arc::<Users>::default();
    assert!(Exchange::begin(users, None, "OAUTHBEARER", None).is_none());
}

proptest! {
    #[test]
    fn whatever_is_said_is_no_token(said in proptest::collection::vec(any::<u8>(), 0..200)) {
        static ISSUER: std::sync::LazyLock<Issuer> = std::sync::LazyLock::new(|| of(&Signer::ec()));
        let text = String::from_utf8_lossy(&said);
        prop_assert!(ISSUER.check(&text).is_err());
        let bearer = format!("Bearer {text}");
        prop_assert!(ISSUER.check(&bearer).is_err());
    }
}

/// What the figures at the top of the module are made of: run it with `--ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn what_a_token_costs() {
    let signers = [
        ("RS256, 2048 bits", Signer::rsa(KeySize::Rsa2048)),
        ("RS256, 4096 bits", Signer::rsa(KeySize::Rsa4096)),
        ("ES256", Signer::ec()),
        ("EdDSA", Signer::ed()),
    ];
    for (name, signer) in signers {
        let (issuer, said) = (of(&signer), signer.says(&claims(&json!({}))));
        let mut times: Vec<_> = (0..2000)
            .map(|_| {
                let begin = Instant::now();
                assert!(issuer.check(&said).is_ok());
                begin.elapsed()
            })
            .collect();
        times.sort();
        eprintln!("{name}: median {:?}, p99 {:?}", times[1000], times[1980]);
    }
}
