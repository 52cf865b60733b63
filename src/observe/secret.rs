//! What requests to webhooks are signed with, as standardwebhooks.com describes it: HMAC-SHA256 over
//! `ID.TIMESTAMP.BODY`, so that who has the secret knows who wrote it and when.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::file::{NoSecret, read_secret};

/// A secret that a receiver has too.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
}

impl Secret {
    /// Reads a file that nobody but owner and group may read.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let octets = read_secret(path).map_err(|why| match why {
            NoSecret::Unreadable(error) => named(&error),
            NoSecret::Open => named(&"others can read it: chmod 600"),
        })?;
        Self::parse(&octets).ok_or_else(|| named(&WANTED))
    }

    /// Reads base64, which may begin with `whsec_`.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let octets = STANDARD.decode(text).ok()?;
        (octets.len() >= OCTETS_MIN).then(|| Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &octets),
        })
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        let signature = STANDARD.encode(context.sign());
        format!("v1,{signature}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What some services put before secrets of this kind.
const PREFIX: &[u8] = b"whsec_";
/// The specification asks for 24.
const OCTETS_MIN: usize = 24;
const WANTED: &str =
    "is no secret in base64 of at least 24 octets; `openssl rand -base64 32` makes one";

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_request_is_signed_as_receivers_check_it() {
        let secret = Secret::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_short_secret_is_none() {
        for bad in [
            "",
            "short",
            "whsec_",
            "dG9vIHNob3J0",
            "not base64 but long enough for it",
        ] {
            assert!(Secret::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
