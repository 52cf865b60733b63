//! The DNS, asked through hickory-resolver on the service thread.
//!
//! hickory's futures must be `Send` and glommio's sockets are not, so the resolver lives on the
//! service thread and shards ask it through a bounded channel: about 50 us for what its cache
//! holds. Each shard keeps a small cache of its own in front (`shard::names`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::{Semaphore, mpsc};

use crate::route::dns::{Answer, Kind, Question, Records, Tlsa};

/// Asks the resolver from any thread.
#[derive(Clone)]
pub struct Resolver {
    requests: mpsc::Sender<Request>,
}

struct Request {
    question: Question,
    reply: futures_channel::oneshot::Sender<Answer>,
}

impl Resolver {
    /// Starts the resolver on `runtime`. No `servers` means those of the system's resolv.conf.
    pub fn start(runtime: &tokio::runtime::Handle, servers: &[SocketAddr]) -> io::Result<Self> {
        let _inside = runtime.enter();
        let resolver = Arc::new(build(servers).map_err(io::Error::other)?);
        let (requests, mut received) = mpsc::channel::<Request>(REQUESTS_MAX);
        runtime.spawn(async move {
            let slots = Arc::new(Semaphore::new(LOOKUPS_MAX));
            while let Some(request) = received.recv().await {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    return;
                };
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move {
                    let answer = ask(&resolver, &request.question).await;
                    // The shard may have stopped asking; then nobody misses the answer.
                    let _ = request.reply.send(answer);
                    drop(slot);
                });
            }
        });
        Ok(Self { requests })
    }

    /// Asks one question and waits for the answer.
    pub async fn lookup(&self, question: Question) -> Answer {
        let (reply, answer) = futures_channel::oneshot::channel();
        match self.requests.try_send(Request { question, reply }) {
            Ok(()) => answer
                .await
                .unwrap_or_else(|_| Answer::Failure("the resolver stopped".into())),
            Err(_) => Answer::Failure("the resolver has too many questions waiting".into()),
        }
    }
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let (config, options) = if servers.is_empty() {
        hickory_resolver::system_conf::read_system_conf()?
    } else {
        (
            ResolverConfig::from_parts(None, vec![], servers.iter().map(name_server).collect()),
            ResolverOpts::default(),
        )
    };
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let set = builder.options_mut();
    *set = options;
    set.timeout = ANSWER_WAIT;
    set.attempts = ATTEMPTS;
    set.cache_size = CACHE_ANSWERS;
    set.negative_max_ttl = Some(NEGATIVE_MAX);
    set.max_active_requests = LOOKUPS_MAX;
    builder.build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

async fn ask(resolver: &TokioResolver, question: &Question) -> Answer {
    let kind = match question.kind {
        Kind::Mx => RecordType::MX,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Tlsa => RecordType::TLSA,
    };
    // The last dot keeps the search list of resolv.conf out of it.
    match resolver.lookup(format!("{}.", question.name), kind).await {
        Ok(lookup) => {
            let ttl = lookup
                .valid_until()
                .saturating_duration_since(Instant::now());
            match records(
                question.kind,
                lookup.answers().iter().map(|record| &record.data),
            ) {
                Some(records) => Answer::Records(records, ttl),
                None => Answer::NoData(ttl),
            }
        }
        Err(error) => refusal(&error),
    }
}

/// The records of the kind asked for; CNAMEs on the way to them are left out.
fn records<'a>(kind: Kind, answers: impl Iterator<Item = &'a RData>) -> Option<Records> {
    let mut exchanges = Vec::new();
    let mut addresses = Vec::new();
    let mut certificates = Vec::new();
    for data in answers {
        match (kind, data) {
            (Kind::Mx, RData::MX(mx)) => {
                let name = mx.exchange.to_ascii().to_ascii_lowercase();
                exchanges.push((mx.preference, name.trim_end_matches('.').into()));
            }
            (Kind::A, RData::A(a)) => addresses.push(a.0.into()),
            (Kind::Aaaa, RData::AAAA(aaaa)) => addresses.push(aaaa.0.into()),
            (Kind::Tlsa, RData::TLSA(tlsa)) => certificates.push(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.as_slice().into(),
            }),
            _ => {}
        }
    }
    match kind {
        Kind::Mx if !exchanges.is_empty() => Some(Records::Mx(exchanges)),
        Kind::A | Kind::Aaaa if !addresses.is_empty() => Some(Records::Addresses(addresses)),
        Kind::Tlsa if !certificates.is_empty() => Some(Records::Tlsa(certificates)),
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
