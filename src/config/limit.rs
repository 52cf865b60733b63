//! `[[limit]]`: how much at a time, and how fast, goes to whom.

use crate::mail::rate::Rate;
use crate::route::limits::{Subject, Terms, Written};

/// `[[limit]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// A domain, `*.domain` or `*`; or else `mx`.
    pub domain: Option<String>,
    /// A host's name, `*.name` or `*`.
    pub mx: Option<String>,
    /// At a time, over all shards.
    pub connections: Option<usize>,
    /// Then a connection ends.
    pub messages_per_connection: Option<usize>,
    /// Messages.
    pub rate: Option<Rate>,
    /// Of one transaction.
    pub recipients_per_message: Option<usize>,
    /// Recipients.
    pub recipient_rate: Option<Rate>,
}

impl Limit {
    /// The rule as deliveries read it.
    #[must_use]
    pub fn written(&self) -> Written<'_> {
        let (subject, pattern) = match (&self.domain, &self.mx) {
            (Some(domain), _) => (Subject::Domain, &**domain),
            (None, mx) => (Subject::Hosts, mx.as_deref().unwrap_or_default()),
        };
        Written {
            subject,
            pattern,
            terms: self.terms(),
        }
    }

    /// What it says.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        Terms {
            connections: self.connections,
            messages_per_connection: self.messages_per_connection,
            rate: self.rate,
            recipients_per_message: self.recipients_per_message,
            recipient_rate: self.recipient_rate,
        }
    }
}
