//! `[returns]`: the addresses that reports come back to.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::rand;
use ipnet::IpNet;

use super::Config;
use crate::file::{self, NoSecret};
use crate::mail::verp::Keys;
use crate::wire::path::Mailbox;

/// `[returns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returns {
    /// The domain of return paths, for all mail whose tenant names no other; `None`: senders stay what
    /// they are.
    pub domain: Option<String>,
    /// What proves return paths; `None`: a file of our own.
    pub key: Option<PathBuf>,
    /// How long a return path holds.
    pub valid: Duration,
    /// Who gets what is no report; `None`: nobody.
    pub forward: Option<Mailbox>,
    /// Where complaints are sent to.
    pub feedback: Vec<Mailbox>,
    /// Whose complaints count without a return path that holds.
    pub reporters: Vec<Reporter>,
    /// The field of a message that says whom it was for.
    pub recipient_header: Option<String>,
    /// Whoever complains gets no more mail.
    pub suppress: bool,
}

/// Who may complain of any address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// Clients from here.
    Network(IpNet),
    /// Whose messages have a DKIM signature of this domain, or of one below it, that holds.
    Domain(String),
}

/// Where a tenant's mail seems to come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReturnDomain {
    /// As `[returns] domain` says.
    #[default]
    Usual,
    /// From its sender.
    Kept,
    /// From return paths of this domain.
    Named(String),
}

impl Default for Returns {
    fn default() -> Self {
        Self {
            domain: None,
            key: None,
            valid: Duration::from_hours(30 * 24),
            forward: None,
            feedback: Vec::new(),
            reporters: Vec::new(),
            recipient_header: None,
            suppress: true,
        }
    }
}

impl Reporter {
    /// As it is written.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::Network(network) => network.to_string(),
            Self::Domain(domain) => domain.clone(),
        }
    }
}

impl ReturnDomain {
    /// The domain, where this names one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Usual | Self::Kept => None,
        }
    }
}

impl Config {
    /// The domains that return paths may have.
    pub fn return_domains(&self) -> impl Iterator<Item = &str> {
        let of_tenants = self.tenant.iter();
        let of_tenants = of_tenants.filter_map(|tenant| tenant.return_domain.name());
        self.returns.domain.as_deref().into_iter().chain(of_tenants)
    }

    /// Whether anything comes back to this relay.
    #[must_use]
    pub fn takes_returns(&self) -> bool {
        self.return_domains().next().is_some() || !self.returns.feedback.is_empty()
    }

    /// What proves return paths, where there are any, read anew. A file of our own is made where there
    /// is none.
    pub fn return_keys(&self) -> Result<Option<Keys>, String> {
        if !self.takes_returns() {
            return Ok(None);
        }
        if let Some(path) = &self.returns.key {
            return read(path.clone()).map(Some);
        }
        let path = self.data_dir.join(OWN_KEY);
        if !path.exists() {
            let secret = secret().ok_or("there is no randomness for a secret")?;
            let made = file::replace(&path, secret.as_bytes());
            made.map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        }
        read(path).map(Some)
    }
}

/// The keys in a file.
pub(super) fn read(path: PathBuf) -> Result<Keys, String> {
    let place = path.display();
    let octets = file::read_secret(&path).map_err(|why| match why {
        NoSecret::Unreadable(error) => format!("{place} cannot be read: {error}"),
        NoSecret::Open => format!("{place} can be read by everybody: chmod o= it"),
    })?;
    let text = String::from_utf8(octets).map_err(io::Error::other);
    let text = text.map_err(|error| format!("{place}: {error}"))?;
    Keys::parse(&text).map_err(|why| format!("{place}: {why}"))
}

fn secret() -> Option<String> {
    let mut octets = [0; SECRET_OCTETS];
    rand::fill(&mut octets).ok()?;
    let mut text = String::new();
    for octet in octets {
        // Writing to a String does not fail.
        let _ = write!(text, "{octet:02x}");
    }
    text.push('\n');
    Some(text)
}

/// Under the data directory.
const OWN_KEY: &str = "keys/returns.key";
const SECRET_OCTETS: usize = 32;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_one_that_everybody_reads_is_none() {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: home.path().to_owned(),
            ..Config::default()
        };
        assert!(config.return_keys().unwrap().is_none());
        assert!(!home.path().join(OWN_KEY).exists());
        config.returns.domain = Some("returns.test".to_owned());
        let text = || fs::read_to_string(home.path().join(OWN_KEY)).unwrap();
        assert!(config.return_keys().unwrap().is_some());
        let first = text();
        assert!(config.return_keys().unwrap().is_some());
        assert_eq!((text(), first.len()), (first.clone(), 65));
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(home.path().join(OWN_KEY), mode).unwrap();
        let fault = config.return_keys().unwrap_err();
        assert!(fault.contains("everybody"), "{fault}");
    }
}
