//! How a delivery stands to TLS: what the configuration wants, and what came of it.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::hosts::Candidate;
use super::settings::Settings;
use crate::config::TlsPolicy;
use crate::smtp::client::StartTls;

/// What a connection needs for its handshake.
pub(super) struct Terms {
    pub(super) say: StartTls,
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    policy: TlsPolicy,
}

impl Terms {
    /// As the configuration wants it for this host.
    pub(super) fn new(settings: &Settings, candidate: &Candidate) -> Self {
        let policy = settings.config.delivery.tls;
        let clients = &settings.tls.clients;
        Self {
            say: match policy {
                TlsPolicy::None => StartTls::Never,
                TlsPolicy::Opportunistic => StartTls::IfOffered,
                TlsPolicy::Required | TlsPolicy::Verify => StartTls::Always,
            },
            config: match policy {
                TlsPolicy::Verify => Arc::clone(&clients.verified),
                _ => Arc::clone(&clients.unverified),
            },
            name: name_of(candidate),
            policy,
        }
    }

    /// The same after a handshake that failed, where mail may go in plain.
    pub(super) fn without_tls(self) -> Option<Self> {
        (self.say == StartTls::IfOffered).then_some(Self {
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
            policy: self.policy,
            outcome,
        }
    }
}

/// The name that the host's certificate should have.
fn name_of(candidate: &Candidate) -> ServerName<'static> {
    let name = Rc::clone(&candidate.name);
    let name = name.trim_end_matches('.');
    // A literal has no name; its certificate may have the address.
    ServerName::try_from(name.to_owned())
        .unwrap_or_else(|_| ServerName::from(candidate.address.ip()))
}

/// What the delivery line says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Security {
    policy: TlsPolicy,
    outcome: &'static str,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self.policy {
            TlsPolicy::None => return f.write_str("none"),
            TlsPolicy::Opportunistic => "opportunistic",
            TlsPolicy::Required => "required",
            TlsPolicy::Verify => "verified",
        };
        write!(f, "{policy}: {}", self.outcome)
    }
}
