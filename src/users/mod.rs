//! Who may log in, and has a mailbox here: what is kept of passwords, and the file it is kept in.
//!
//! A password itself is kept nowhere, but for the users who ask for APOP. For PLAIN and LOGIN there is an argon2id hash; for
//! SCRAM-SHA-256 the keys of RFC 5802 §3, which let a server check a proof and do not let it give
//! one.

pub mod alias;
pub mod client;
mod expansion;
pub mod sasl;
#[cfg(test)]
mod tests;
pub mod token;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use crate::file;
use crate::wire::path::Mailbox;

pub use expansion::TooMany;

/// Everybody who may log in, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    alias: alias::Aliases,
    #[serde(default)]
    user: BTreeMap<String, User>,
}

/// Why the file stays as it was.
#[derive(Debug)]
pub enum Unchanged<E> {
    /// It cannot be read; in words.
    Unreadable(String),
    /// It cannot be written.
    Unwritable(io::Error),
    /// Whoever was to change it would not.
    Refused(E),
}

/// Whether a user may have this name and these senders; why not.
pub fn judge_addresses(address: &str, senders: &[String]) -> Result<(), String> {
    let plain = senders.iter().map(|sender| {
        sender
            .strip_prefix("*@")
            .map_or_else(|| sender.clone(), |domain| format!("any@{domain}"))
    });
    for written in plain.chain([address.to_owned()]) {
        if Mailbox::parse(written.as_bytes(), true).is_err() {
            return Err(format!(
                "{written} is no address: somebody@example.org would be one"
            ));
        }
    }
    match may_have_mailbox(address) {
        true => Ok(()),
        false => Err(format!(
            "{address} cannot be the name of a mailbox: no `/`, no dot at its beginning, {NAME_OCTETS_MAX} octets at most"
        )),
    }
}

/// Whether a mailbox can have this name: it is that of a directory.
#[must_use]
pub fn may_have_mailbox(user: &str) -> bool {
    let is_name = !user.is_empty() && !user.starts_with('.') && !user.contains(['/', '\0']);
    is_name && user.len() <= NAME_OCTETS_MAX
}

/// What file systems take.
const NAME_OCTETS_MAX: usize = 255;

/// What is kept of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// argon2id, as a PHC string.
    pub password: String,
    /// Sender addresses besides the user's own: an address, or `*@example.org`.
    #[serde(default)]
    pub senders: Vec<String>,
    /// For APOP: the password as it is. Only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apop: Option<String>,
    /// For SCRAM-SHA-256.
    pub scram_sha_256: Scram,
}

/// The keys of RFC 5802 §3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scram {
    iterations: u32,
    salt: String,
    stored_key: String,
    server_key: String,
}

/// The same as octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScramKeys {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
}

impl Users {
    /// Reads the file. Where there is none, there is nobody.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = match file::read_text(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|error| format!("{}: cannot be read: {error}", path.display()))?,
        };
        toml::from_str(&text).map_err(|error| format!("{}: {}", path.display(), error.message()))
    }

    /// Writes the file: whoever reads it sees the old one or the new one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        file::replace(path, text.as_bytes())
    }

    /// Changes the file. Two who change it at a time take turns.
    pub fn change<T, E>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, Unchanged<E>> {
        if let Some(home) = path.parent() {
            // Mail is for nobody else's eyes.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(home);
            made.map_err(Unchanged::Unwritable)?;
        }
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(true).mode(0o600);
        let lock = lock.open(path.with_extension("lock"));
        let lock = lock.map_err(Unchanged::Unwritable)?;
        lock.lock().map_err(Unchanged::Unwritable)?;
        let mut users = Self::read(path).map_err(Unchanged::Unreadable)?;
        let result = change(&mut users).map_err(Unchanged::Refused)?;
        users.write(path).map_err(Unchanged::Unwritable)?;
        Ok(result)
    }

    /// The user of this name, in any case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&str, &User)> {
        let name = name.to_lowercase();
        let (name, user) = self.user.get_key_value(&name)?;
        Some((name, user))
    }

    /// Adds a user; false when there is one of this name.
    pub fn add(&mut self, name: &str, user: User) -> bool {
        let name = name.to_lowercase();
        let is_new = !self.user.contains_key(&name);
        if is_new {
            self.user.insert(name, user);
        }
        is_new
    }

    /// Removes a user; false when there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.user.remove(&name.to_lowercase()).is_some()
    }

    /// Gives a user another password; false when there is none of this name.
    pub fn set_password(&mut self, name: &str, password: &str) -> Result<bool, String> {
        let Some(user) = self.user.get_mut(&name.to_lowercase()) else {
            return Ok(false);
        };
        let senders = std::mem::take(&mut user.senders);
        let new = User::new(password, senders)?;
        *user = match user.apop {
            Some(_) => new.with_apop(password),
            None => new,
        };
        Ok(true)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &User)> {
        self.user.iter().map(|(name, user)| (&**name, user))
    }

    /// Nobody may log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }
}

impl User {
    /// Somebody with this password. Takes as long as a hash that is worth something takes.
    pub fn new(password: &str, senders: Vec<String>) -> Result<Self, String> {
        let hash: PasswordHash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|error| format!("the password cannot be hashed: {error}"))?;
        Ok(Self {
            password: hash.to_string(),
            senders,
            apop: None,
            scram_sha_256: Scram::new(password)?,
        })
    }

    /// The same, of whom the password is kept as it is: APOP cannot do with less (RFC 1939 §7).
    #[must_use]
    pub fn with_apop(mut self, password: &str) -> Self {
        self.apop = Some(password.to_owned());
        self
    }

    /// May the user of this name send mail from `sender`?
    #[must_use]
    pub fn may_send_from(&self, name: &str, sender: &str) -> bool {
        let fits = |allowed: &str| match allowed.strip_prefix("*@") {
            Some(domain) => sender
                .rsplit_once('@')
                .is_some_and(|(_, of)| of.eq_ignore_ascii_case(domain)),
            None => sender.eq_ignore_ascii_case(allowed),
        };
        fits(name) || self.senders.iter().any(|allowed| fits(allowed))
    }
}

impl Scram {
    fn new(password: &str) -> Result<Self, String> {
        let mut salt = [0; SALT_OCTETS];
        rand::fill(&mut salt).map_err(|_| "there is no randomness".to_owned())?;
        let salted = salted(password, &salt, ITERATIONS);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let server_key = hmac::sign(&salted, b"Server Key");
        Ok(Self {
            iterations: ITERATIONS,
            salt: STANDARD.encode(salt),
            stored_key: STANDARD.encode(stored_key),
            server_key: STANDARD.encode(server_key),
        })
    }

    pub(crate) fn keys(&self) -> Option<ScramKeys> {
        let octets = |text: &str| STANDARD.decode(text).ok();
        Some(ScramKeys {
            iterations: self.iterations,
            salt: octets(&self.salt)?,
            stored_key: octets(&self.stored_key)?,
            server_key: octets(&self.server_key)?,
        })
    }
}

/// Is `shown` what APOP makes of `stamp` and the password of `name`? The user's name where it is.
#[must_use]
pub fn check_apop<'a>(
    users: &'a Users,
    name: &str,
    stamp: &str,
    shown: [u8; 16],
) -> Option<&'a str> {
    let found = users.find(name);
    let secret = found.and_then(|(_, user)| user.apop.as_deref());
    // Computed for a stranger too: he is not to be told from a user by the time it takes.
    let digest = Md5::new()
        .chain_update(stamp.as_bytes())
        .chain_update(secret.unwrap_or_default().as_bytes())
        .finalize();
    let is_right = constant_time::verify_slices_are_equal(&digest, &shown).is_ok();
    let (name, _) = found.filter(|_| is_right && secret.is_some())?;
    Some(name)
}

/// `SaltedPassword` of RFC 5802 §3, of the password as SASLprep (RFC 4013) has it.
fn salted(password: &str, salt: &[u8], iterations: u32) -> [u8; KEY_OCTETS] {
    let prepared = stringprep::saslprep(password).unwrap_or(password.into());
    let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    let mut salted = [0; KEY_OCTETS];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(
        algorithm,
        iterations,
        salt,
        prepared.as_bytes(),
        &mut salted,
    );
    salted
}

/// Is `password` the one that `hash` was made of? Takes tens of milliseconds: not for a shard.
#[must_use]
pub fn verify(password: &[u8], hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// RFC 7677 §4 asks for 4096 at least; the client pays.
const ITERATIONS: u32 = 16_384;
const SALT_OCTETS: usize = 24;
/// Of SHA-256.
const KEY_OCTETS: usize = 32;
