//! What the TLS of a host has to be beyond what the configuration wants: what the host's own domain
//! says of it in the DNS (DANE, RFC 7672 §2.2), and what the recipients' domain says of its hosts
//! (MTA-STS, RFC 8461). What DANE says of a certificate goes first: a policy must not make good what
//! failed there (RFC 8461 §2).
//!
//! Whoever may add to it does so in `Candidates::demand`, where each host passes before it is tried.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::TlsPolicy;
use crate::mail::outcome::Diagnosis;
use crate::observe::stage::Stage;
use crate::route::How;
use crate::route::dns::{Answer, Kind, Question, Records, Tlsa};
use crate::route::sts::{Found, Mode, Policy};
use crate::shard::Shard;
use crate::shard::life::settings::Settings;
use crate::tls::dane::Dane;
use crate::wire::status::EnhancedStatus;
use crate::world::{Web, World};

/// What a host's TLS has to be.
#[derive(Clone, Debug)]
pub(in crate::shard) enum Demand {
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
        /// The records as reports quote them: `3 1 1 0A1B...`.
        records: Rc<[String]>,
    },
    /// What the configuration says, and nobody was asked for more: so the message wants it.
    Waived,
    /// There, with a certificate for the host's name, for which somebody vouches: so the message wants
    /// it.
    Proof,
    /// There, with a certificate for the host's name: a policy that is enforced names the host.
    Policy,
    /// What the configuration says; a policy that is tested wants more.
    Trial {
        /// It names the host.
        is_named: bool,
    },
}

/// What the policy of a domain makes of what is demanded of one of its hosts already. An error
/// when mail must not go to this host.
pub(super) fn under_policy(
    policy: Option<&Policy>,
    domain: &str,
    host: &str,
    demand: Demand,
) -> Result<Demand, Diagnosis> {
    let (Some(policy), false) = (policy, matches!(demand, Demand::Certificate { .. })) else {
        return Ok(demand);
    };
    let is_named = policy.takes(host);
    match (policy.mode, &demand) {
        (Mode::Enforce, _) if is_named => Ok(Demand::Policy),
        (Mode::Enforce, _) => Err(Diagnosis::ours(
            NOT_NAMED,
            format!("the MTA-STS policy of {domain} does not name the host {host}"),
        )),
        (Mode::Testing, Demand::Configured) => Ok(Demand::Trial { is_named }),
        (Mode::Testing | Mode::None, _) => Ok(demand),
    }
}

impl<W: World> Shard<W> {
    /// The policy of the domain that `how` leads to, where policies count.
    pub(super) async fn policy(&self, settings: &Settings, domain: &str) -> Found {
        let delivery = &settings.config.delivery;
        if !delivery.mta_sts {
            return Found::default();
        }
        let began = self.world.now();
        let web = Web {
            config: Arc::clone(&settings.tls.clients.verified),
            port: delivery.mta_sts_port,
        };
        let found = self.world.policy(domain.into(), web).await;
        self.record(Stage::Sts, self.world.now().since(began));
        found
    }

    /// What the next hop's domain says of its hosts, where mail usually goes by it.
    pub(in crate::shard) async fn published(&self, how: &How) -> Option<Found> {
        let settings = self.settings();
        match how {
            How::Mx(domain) if settings.tls_policy(how) != TlsPolicy::None => {
                Some(self.policy(&settings, domain).await)
            }
            _ => None,
        }
    }

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
                    return Err(Diagnosis::ours(
                        LOOKUP,
                        format!("looking up the TLSA records of {base} failed: {why}"),
                    ));
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
                records: records.iter().map(quoted).collect(),
            },
            None => Demand::Encryption,
        }
    }
}

fn quoted(record: &Tlsa) -> String {
    let mut text = format!("{} {} {} ", record.usage, record.selector, record.matching);
    for octet in record.data.iter().take(QUOTED_OCTETS_MAX) {
        // Writing to a String does not fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Octets of a record that are quoted: a hash has 64 at most.
const QUOTED_OCTETS_MAX: usize = 64;
/// RFC 3463 §3.8: other or undefined security status. Never for good: a policy may be wrong for an
/// hour (RFC 8461 §5).
const NOT_NAMED: EnhancedStatus = EnhancedStatus::new(4, 7, 0);
/// RFC 3463 §3.5: directory server failure.
const LOOKUP: EnhancedStatus = EnhancedStatus::new(4, 4, 3);
