//! How a delivery stands to TLS: what the configuration wants, and what came of it.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::demand::Demand;
use super::hosts::Candidate;
use super::settings::Settings;
use crate::config::TlsPolicy;
use crate::route::How;
use crate::smtp::client::{LogIn, StartTls};
use crate::users::client::Credentials;

/// What a connection needs for its handshake.
pub(super) struct Terms {
    pub(super) say: StartTls,
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    grade: Grade,
    pub(super) log_in: LogIn,
    /// Who we are there. What is needed and is not there is an error of the configuration.
    pub(super) credentials: Option<Credentials>,
}

/// What TLS is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    None,
    Opportunistic,
    Required,
    Verified,
    Dane,
}

impl Terms {
    /// As the configuration wants it for this host, and what is demanded beyond that.
    pub(super) fn new(settings: &Settings, candidate: &Candidate, how: &How) -> Self {
        let clients = &settings.tls.clients;
        let entry = how.entry();
        let tls_first = entry.is_some_and(|entry| entry.tls_first);
        let grade = match (candidate.policy, &candidate.demand) {
            (TlsPolicy::None, _) if tls_first => Grade::Required,
            (TlsPolicy::None, _) => Grade::None,
            (_, Demand::Certificate { .. }) => Grade::Dane,
            (TlsPolicy::Verify, _) => Grade::Verified,
            (TlsPolicy::Required, _) | (_, Demand::Encryption) => Grade::Required,
            (TlsPolicy::Opportunistic, Demand::Configured) => Grade::Opportunistic,
        };
        let (config, name) = match (grade, &candidate.demand) {
            (Grade::Dane, Demand::Certificate { config, base }) => (config, &**base),
            (Grade::Verified, _) => (&clients.verified, &*candidate.name),
            _ => (&clients.unverified, &*candidate.name),
        };
        Self {
            say: match grade {
                _ if tls_first => StartTls::First,
                Grade::None => StartTls::Never,
                Grade::Opportunistic => StartTls::IfOffered,
                Grade::Required | Grade::Verified | Grade::Dane => StartTls::Always,
            },
            config: Arc::clone(config),
            name: server_name(name, candidate),
            grade,
            log_in: match entry.and_then(|entry| entry.credentials.as_ref()) {
                None => LogIn::Never,
                // The route says that nothing is secret.
                Some(_) if grade == Grade::None => LogIn::Anyway,
                Some(_) => LogIn::UnderTls,
            },
            credentials: entry
                .and_then(|entry| settings.credentials.get(&**entry.credentials.as_ref()?))
                .cloned(),
        }
    }

    /// The same after a handshake that failed, where mail may go in plain.
    pub(super) fn without_tls(self) -> Option<Self> {
        (self.say == StartTls::IfOffered && self.log_in != LogIn::UnderTls).then_some(Self {
            say: StartTls::Never,
            ..self
        })
    }

    /// What came of it. `agreed` is the version that both sides speak.
    pub(super) fn security(&self, agreed: Option<&'static str>) -> Security {
        let outcome = match agreed {
            Some(version) => version,
            None if self.say == StartTls::IfOffered => "not offered",
            None => "broken",
        };
        Security {
            grade: self.grade,
            outcome,
        }
    }
}

/// The name that the host is asked for, and that its certificate should have.
fn server_name(name: &str, candidate: &Candidate) -> ServerName<'static> {
    let name = name.trim_end_matches('.');
    // A literal has no name; its certificate may have the address.
    ServerName::try_from(name.to_owned())
        .unwrap_or_else(|_| ServerName::from(candidate.address.ip()))
}

/// What the delivery line says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Security {
    grade: Grade,
    outcome: &'static str,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::None => return f.write_str("none"),
            Grade::Opportunistic => "opportunistic",
            Grade::Required => "required",
            Grade::Verified => "verified",
            Grade::Dane => "dane",
        };
        write!(f, "{grade}: {}", self.outcome)
    }
}
