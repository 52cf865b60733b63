//! The DNS, asked through hickory-resolver on the service thread.
//!
//! hickory's futures must be `Send` and glommio's sockets are not, so the resolver lives on the
//! service thread and shards ask it through a bounded channel: about 50 us for what its cache
//! holds. Each shard keeps a small cache of its own in front (`shard::hosts::names`).
//!
//! Signatures of DNSSEC are checked by the name servers, and what they say of it (the AD bit) counts
//! when all of them are on loopback. Where an alias was followed, each step is asked for by itself:
//! hickory may have followed it with a question of its own, the bit tells of one answer only, and
//! the records of a signed zone prove nothing to whom a forged alias has led there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::Resolver as Hickory;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Semaphore, mpsc};

use super::asking::Asking;
use crate::config::{Dns, Dnssec};
use crate::route::dns::{Answer, Kind, Question, Records, Response, Tlsa};
use crate::tls::client::Clients;
use crate::trial;

/// Asks the resolver from any thread.
#[derive(Clone)]
pub struct Resolver {
    requests: mpsc::Sender<Request>,
}

struct Request {
    question: Question,
    reply: futures_channel::oneshot::Sender<Response>,
}

impl Resolver {
    /// Starts the resolver on `runtime`.
    pub fn start(runtime: &tokio::runtime::Handle, dns: &Dns) -> io::Result<Self> {
        let _inside = runtime.enter();
        let resolver = Arc::new(Names::build(dns)?);
        let (requests, mut received) = mpsc::channel::<Request>(REQUESTS_MAX);
        runtime.spawn(async move {
            let slots = Arc::new(Semaphore::new(LOOKUPS_MAX));
            while let Some(request) = received.recv().await {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    return;
                };
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move {
                    trial::tempt("resolver");
                    let response = resolver.ask(&request.question).await;
                    // The shard may have stopped asking; then nobody misses the answer.
                    let _ = request.reply.send(response);
                    drop(slot);
                });
            }
        });
        Ok(Self { requests })
    }

    /// Asks one question and waits for the answer.
    pub async fn lookup(&self, question: Question) -> Response {
        let (reply, response) = futures_channel::oneshot::channel();
        match self.requests.try_send(Request { question, reply }) {
            Ok(()) => response
                .await
                .unwrap_or_else(|_| Answer::Failure("the resolver stopped".into()).into()),
            Err(_) => Answer::Failure("the resolver has too many questions waiting".into()).into(),
        }
    }
}

/// A resolver of the kind that `mail-auth` takes: the same servers, a cache of its own. It does not
/// ask for the AD bit: nothing that mail is verified by needs DNSSEC.
pub fn plain(dns: &Dns) -> io::Result<TokioResolver> {
    let (config, options) = setup(dns)?;
    let builder = Hickory::builder_with_config(config, TokioRuntimeProvider::default());
    let mut builder = builder.with_tls_config(no_tls()?);
    *builder.options_mut() = options;
    builder.build().map_err(io::Error::other)
}

/// Whom to ask, and how.
fn setup(dns: &Dns) -> io::Result<(ResolverConfig, ResolverOpts)> {
    let (config, mut options) = if dns.servers.is_empty() {
        hickory_resolver::system_conf::read_system_conf().map_err(io::Error::other)?
    } else {
        let servers = dns.servers.iter().map(name_server).collect();
        (
            ResolverConfig::from_parts(None, vec![], servers),
            ResolverOpts::default(),
        )
    };
    options.timeout = ANSWER_WAIT;
    options.attempts = ATTEMPTS;
    options.cache_size = CACHE_ANSWERS;
    options.negative_max_ttl = Some(NEGATIVE_MAX);
    options.max_active_requests = LOOKUPS_MAX;
    Ok((config, options))
}

/// hickory, and whether its servers are believed.
struct Names {
    hickory: Hickory<Asking>,
    /// The AD bit of their answers counts.
    trusts_ad: bool,
}

/// Names are never asked over TLS. Not told so, hickory looks for the machine's authorities, and
/// fails where there are none.
fn no_tls() -> io::Result<ClientConfig> {
    let clients = Clients::with_roots(RootCertStore::empty()).map_err(io::Error::other)?;
    Ok(ClientConfig::clone(&clients.verified))
}

impl Names {
    fn build(dns: &Dns) -> io::Result<Self> {
        let (config, options) = setup(dns)?;
        let servers = config.name_servers().iter().map(|server| server.ip);
        let trusts_ad = trusts_ad(dns.dnssec, servers)?;
        let mut builder =
            Hickory::builder_with_config(config, Asking::new(trusts_ad)).with_tls_config(no_tls()?);
        *builder.options_mut() = options;
        let hickory = builder.build().map_err(io::Error::other)?;
        Ok(Self { hickory, trusts_ad })
    }

    async fn ask(&self, question: &Question) -> Response {
        let kind = record_type(question.kind);
        // The last dot keeps the search list of resolv.conf out of it.
        let asked = match Name::from_utf8(format!("{}.", question.name)) {
            Ok(name) => name,
            Err(error) => return Answer::Broken(error.to_string().into()).into(),
        };
        let lookup = match self.hickory.lookup(asked.clone(), kind).await {
            Ok(lookup) => lookup,
            Err(error) => return refusal(&error).into(),
        };
        let ttl = lookup
            .valid_until()
            .saturating_duration_since(Instant::now());
        let data = lookup.answers().iter().map(|record| &record.data);
        let Some(records) = records(question.kind, data) else {
            return Answer::NoData(ttl).into();
        };
        let answer = Answer::Records(records, ttl);
        if !self.trusts_ad {
            return answer.into();
        }
        match self.vouch(asked, kind, &lookup).await {
            Ok((is_secure, names)) => Response {
                answer,
                is_secure,
                secure_names: names.iter().map(written).collect(),
            },
            // Taken for insecure, it would be a way to have mail in plain (RFC 7672 §2.1.2).
            Err(error) => Answer::Failure(error.to_string().into()).into(),
        }
    }

    /// Does DNSSEC vouch for all of an answer, and for which names on the way to its records, the
    /// last one first?
    async fn vouch(
        &self,
        asked: Name,
        kind: RecordType,
        lookup: &Lookup,
    ) -> Result<(bool, Vec<Name>), NetError> {
        let mut records = lookup.answers().iter();
        let record = records.find(|record| record.record_type() == kind);
        let Some(owner) = record.map(|record| &record.name) else {
            return Ok((false, Vec::new()));
        };
        if *owner == asked {
            let is_secure = says_secure(lookup);
            return Ok((is_secure, if is_secure { vec![asked] } else { Vec::new() }));
        }
        let mut names = self.secure_aliases(asked, owner).await?;
        let is_secure = names.last() == Some(owner)
            && says_secure(&self.hickory.lookup(owner.clone(), kind).await?);
        names.retain(|name| is_secure || name != owner);
        names.reverse();
        Ok((is_secure, names))
    }

    /// The names from `asked` towards `owner`, as far as secure aliases lead. Nothing is said yet of
    /// the records of the last one.
    async fn secure_aliases(&self, asked: Name, owner: &Name) -> Result<Vec<Name>, NetError> {
        let mut passed = vec![asked];
        while let Some(name) = passed.last()
            && name != owner
        {
            let lookup = match self.hickory.lookup(name.clone(), RecordType::CNAME).await {
                Ok(lookup) => says_secure(&lookup).then_some(lookup),
                Err(NetError::Dns(DnsError::NoRecordsFound(_))) => None,
                Err(error) => return Err(error),
            };
            let target = lookup.as_ref().and_then(|lookup| alias_of(name, lookup));
            match target {
                Some(_) if passed.len() > ALIASES_MAX => return Ok(Vec::new()),
                Some(target) => passed.push(target),
                None => {
                    // Nothing vouches for where this one leads, so nothing does for its zone.
                    passed.pop();
                    break;
                }
            }
        }
        Ok(passed)
    }
}

/// Do all name servers count as ourselves?
fn trusts_ad(
    wanted: Option<Dnssec>,
    mut servers: impl Iterator<Item = IpAddr>,
) -> io::Result<bool> {
    let far = servers.find(|server| !server.to_canonical().is_loopback());
    match (wanted, far) {
        (Some(Dnssec::Off), _) | (None, Some(_)) => Ok(false),
        (Some(Dnssec::TrustAd) | None, None) => Ok(true),
        (Some(Dnssec::TrustAd), Some(server)) => Err(io::Error::other(format!(
            "dns.dnssec is \"trust_ad\", and the name server {server} is not on loopback"
        ))),
    }
}

fn says_secure(lookup: &Lookup) -> bool {
    lookup.message().authentic_data
}

fn alias_of(name: &Name, lookup: &Lookup) -> Option<Name> {
    lookup
        .answers()
        .iter()
        .find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some(target.0.clone()),
            _ => None,
        })
}

/// As names are written in questions of ours.
fn written(name: &Name) -> Box<str> {
    let name = name.to_ascii().to_ascii_lowercase();
    name.trim_end_matches('.').into()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Mx => RecordType::MX,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Tlsa => RecordType::TLSA,
        Kind::Txt => RecordType::TXT,
        Kind::Ptr => RecordType::PTR,
    }
}

/// The records of the kind asked for; CNAMEs on the way to them are left out.
fn records<'a>(kind: Kind, answers: impl Iterator<Item = &'a RData>) -> Option<Records> {
    let mut exchanges = Vec::new();
    let mut addresses = Vec::new();
    let mut certificates = Vec::new();
    let mut texts = Vec::new();
    let mut names = Vec::new();
    for data in answers {
        match (kind, data) {
            (Kind::Mx, RData::MX(mx)) => {
                exchanges.push((mx.preference, written(&mx.exchange)));
            }
            (Kind::A, RData::A(a)) => addresses.push(a.0.into()),
            (Kind::Aaaa, RData::AAAA(aaaa)) => addresses.push(aaaa.0.into()),
            (Kind::Tlsa, RData::TLSA(tlsa)) => certificates.push(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.as_slice().into(),
            }),
            (Kind::Txt, RData::TXT(txt)) => {
                let whole = txt.txt_data.concat();
                texts.push(String::from_utf8_lossy(&whole).into());
            }
            (Kind::Ptr, RData::PTR(name)) => names.push(written(&name.0)),
            _ => {}
        }
    }
    match kind {
        Kind::Mx if !exchanges.is_empty() => Some(Records::Mx(exchanges)),
        Kind::A | Kind::Aaaa if !addresses.is_empty() => Some(Records::Addresses(addresses)),
        Kind::Tlsa if !certificates.is_empty() => Some(Records::Tlsa(certificates)),
        Kind::Txt if !texts.is_empty() => Some(Records::Texts(texts)),
        Kind::Ptr if !names.is_empty() => Some(Records::Names(names)),
        _ => None,
    }
}

fn refusal(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map_or(NEGATIVE_DEFAULT, |s| {
                Duration::from_secs(s.into()).min(NEGATIVE_MAX)
            });
            match none.response_code {
                ResponseCode::NXDomain => Answer::NoName(ttl),
                ResponseCode::NoError => Answer::NoData(ttl),
                code => Answer::Failure(format!("the name server answered {code}").into()),
            }
        }
        other => Answer::Failure(other.to_string().into()),
    }
}

/// Questions that may wait; each is a few hundred octets. Beyond it the shard is told at once.
const REQUESTS_MAX: usize = 16 * 1024;
/// Questions under way at a time.
const LOOKUPS_MAX: usize = 1024;
/// Aliases that are followed: as many as hickory follows.
const ALIASES_MAX: usize = 8;
/// Answers in the shared cache.
const CACHE_ANSWERS: u64 = 64 * 1024;
/// How long one server may take. With `ATTEMPTS` a dead server is given up after 10 s (UDP, then
/// TCP, twice): shorter would turn slow servers into deferred mail.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;
/// What "no such name" may be believed for, whatever the zone says: a domain set up a moment
/// after the first try should not wait for a day.
const NEGATIVE_MAX: Duration = Duration::from_secs(300);
/// The same where the zone says nothing.
const NEGATIVE_DEFAULT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_believed_on_loopback_only() {
        let trust = |wanted, servers: &[&str]| {
            let servers = servers.iter().map(|server| server.parse().unwrap());
            trusts_ad(wanted, servers).ok()
        };
        let (near, far) = (["127.0.0.53", "::1"], ["127.0.0.1", "192.0.2.53"]);
        assert_eq!(trust(None, &near), Some(true));
        assert_eq!(trust(None, &["::ffff:127.0.0.1"]), Some(true));
        assert_eq!(trust(None, &far), Some(false));
        assert_eq!(trust(Some(Dnssec::Off), &near), Some(false));
        assert_eq!(trust(Some(Dnssec::TrustAd), &near), Some(true));
        assert_eq!(trust(Some(Dnssec::TrustAd), &far), None);
    }
}
