//! What the TLS of a host has to be beyond what the configuration wants: what the host's own domain
//! says of it in the DNS (DANE, RFC 7672 §2.2).
//!
//! Whoever may add to it does so in `Candidates::demand`, where each host passes before it is tried.

use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Shard;
use crate::mail::outcome::Diagnosis;
use crate::route::dns::{Answer, Kind, Question, Records, Tlsa};
use crate::tls::dane::Dane;
use crate::wire::status::EnhancedStatus;
use crate::world::World;

/// What a host's TLS has to be.
#[derive(Clone, Debug)]
pub(super) enum Demand {
    /// What the configuration says.
    Configured,
    /// There, whatever its certificate.
    Encryption,
    /// There, with a certificate that TLSA records name.
    Certificate {
        /// With the verifier that knows them.
        config: Arc<ClientConfig>,
        /// The name under which they stand: the one that the host is asked for (RFC 7672 §8.1).
        base: Rc<str>,
    },
}

impl<W: World> Shard<W> {
    /// What the TLSA records of a host want. They may stand under each of its `bases`; the first one
    /// that has any decides (RFC 7671 §7). A look-up that fails is an error: whoever can suppress the
    /// answer could otherwise have mail in plain (RFC 7672 §2.1.2).
    pub(super) async fn dane(
        &self,
        bases: &[Box<str>],
        port: u16,
        domain_names: &[Box<str>],
    ) -> Result<Demand, Diagnosis> {
        for base in bases {
            let question = Question {
                name: format!("_{port}._tcp.{base}").into(),
                kind: Kind::Tlsa,
            };
            let response = self.names.lookup(&self.world, question).await;
            match &response.answer {
                Answer::Records(Records::Tlsa(records), _) if response.is_secure => {
                    return Ok(self.demand_of(records, base, domain_names));
                }
                Answer::Failure(why) => {
                    return Err(Diagnosis {
                        status: LOOKUP,
                        text: format!("looking up the TLSA records of {base} failed: {why}").into(),
                        reply: None,
                        remote_mta: None,
                    });
                }
                _ => {}
            }
        }
        Ok(Demand::Configured)
    }

    fn demand_of(&self, records: &[Tlsa], base: &str, domain_names: &[Box<str>]) -> Demand {
        let names = std::iter::once(base).chain(domain_names.iter().map(|name| &**name));
        let names = names.filter_map(|name| ServerName::try_from(name.to_owned()).ok());
        match Dane::new(records, names.collect()) {
            Some(dane) => Demand::Certificate {
                config: self.settings().tls.clients.dane(dane),
                base: base.into(),
            },
            None => Demand::Encryption,
        }
    }
}

/// RFC 3463 §3.5: directory server failure.
const LOOKUP: EnhancedStatus = EnhancedStatus::new(4, 4, 3);
