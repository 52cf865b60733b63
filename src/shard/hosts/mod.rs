//! The hosts that may take a lane's mail, one after the other: names looked up only when their
//! turn comes.

mod demand;
mod explain;
pub(super) mod names;
pub(super) mod secure;
mod tell;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;

use super::Shard;
use crate::config::TlsPolicy;
use crate::mail::envelope::TlsWish;
use crate::mail::outcome::Diagnosis;
use crate::observe::stage::Stage;
use crate::route::How;
use crate::route::dns::{Answer, Kind, Question, Response};
use crate::route::mx::{self, Addresses, Exchange, Families, Plan};
use crate::route::sts::Found;
use crate::shard::life::settings::Settings;
use crate::wire::status::EnhancedStatus;
use crate::world::{Tick, World};

use demand::{Demand, under_policy};

/// One address to try.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The host's name; for a literal the address.
    pub(super) name: Rc<str>,
    pub(super) address: SocketAddr,
    /// What the configuration wants of its TLS.
    pub(super) policy: TlsPolicy,
    /// What its TLS has to be beyond that.
    pub(in crate::shard) demand: Demand,
}

/// Why there is nobody to try.
pub(super) struct NoHost {
    pub(super) diagnosis: Diagnosis,
    /// Trying again will not help.
    pub(super) permanent: bool,
}

/// One host and what a delivery would make of it.
pub(super) struct Step {
    pub(super) name: Rc<str>,
    /// Of its MX record.
    pub(super) preference: Option<u16>,
    pub(super) candidates: Vec<Candidate>,
    /// Why it is passed over.
    pub(super) trouble: Option<Diagnosis>,
}

/// What is left to try.
pub(super) struct Candidates {
    settings: Rc<Settings>,
    domain: Rc<str>,
    policy: TlsPolicy,
    /// What the message wants of TLS.
    wish: TlsWish,
    port: u16,
    exchanges: VecDeque<Exchange>,
    /// Nobody can have slipped us these hosts: DNSSEC vouches for the MX, or a route names the host.
    are_hosts_sure: bool,
    /// What the next hop's domain says of its hosts.
    published: Found,
    /// Names of the next hop that a certificate may have instead of the host's.
    domain_names: Vec<Box<str>>,
    /// Preference of the last exchange looked up; when it turns out to be ourselves, those no
    /// better than it are dropped.
    preference: u16,
    found: VecDeque<Candidate>,
    /// Candidates that failed a moment ago: tried when the others are through.
    weary: VecDeque<Candidate>,
    trouble: Option<NoHost>,
    skip_own: bool,
}

impl Candidates {
    /// The hosts of a way over the network; `Err` when the DNS says that there are none. `published`:
    /// what the next hop's domain says of them, where that was asked a moment ago.
    pub(super) async fn new<W: World>(
        shard: &Shard<W>,
        how: &How,
        wish: TlsWish,
        published: Option<Found>,
    ) -> Result<Self, NoHost> {
        let settings = shard.settings();
        let mut candidates = Self {
            domain: "".into(),
            policy: settings.tls_policy(how),
            wish,
            port: settings.port(),
            exchanges: VecDeque::new(),
            are_hosts_sure: true,
            published: Found::default(),
            domain_names: Vec::new(),
            preference: 0,
            found: VecDeque::new(),
            weary: VecDeque::new(),
            trouble: None,
            skip_own: false,
            settings,
        };
        match how {
            How::Mx(domain) => candidates.ask_for_mx(shard, domain, published).await?,
            How::Host { name, port, .. } => {
                candidates.port = port.unwrap_or(candidates.port);
                candidates.domain = Rc::clone(name);
                candidates.domain_names = vec![(&**name).into()];
                candidates.exchanges.push_back(Exchange {
                    preference: 0,
                    host: (&**name).into(),
                });
            }
            How::Address { address, port, .. } => {
                let name: Rc<str> = format!("[{address}]").into();
                candidates.domain = Rc::clone(&name);
                let address = SocketAddr::new(*address, port.unwrap_or(candidates.port));
                candidates.found.push_back(Candidate {
                    name,
                    address,
                    policy: candidates.policy,
                    demand: match wish {
                        TlsWish::Required => Demand::Proof,
                        _ => Demand::Configured,
                    },
                });
            }
            How::Mailbox | How::Returns | How::Discard | How::Fail(_) => {}
        }
        Ok(candidates)
    }

    async fn ask_for_mx<W: World>(
        &mut self,
        shard: &Shard<W>,
        domain: &Rc<str>,
        published: Option<Found>,
    ) -> Result<(), NoHost> {
        let (response, published) = future::zip(shard.exchanges(domain), async {
            match (self.asks_for_demands(), published) {
                (false, _) => Found::default(),
                (true, Some(published)) => published,
                (true, None) => shard.policy(&self.settings, domain).await,
            }
        })
        .await;
        self.published = published;
        self.domain = Rc::clone(domain);
        self.skip_own = true;
        // A domain without MX is its own host, and its addresses have to be vouched for anyway.
        self.are_hosts_sure = response.is_secure || matches!(response.answer, Answer::NoData(_));
        self.domain_names = if response.is_secure {
            response.secure_names.clone()
        } else {
            vec![(&**domain).into()]
        };
        match mx::plan(domain, &response.answer, &self.settings.own, || {
            shard.world.random()
        }) {
            Plan::Hosts(exchanges) => {
                self.exchanges = exchanges.into();
                Ok(())
            }
            Plan::Defer(diagnosis) => Err(NoHost {
                diagnosis,
                permanent: false,
            }),
            Plan::Fail(diagnosis) => Err(NoHost {
                diagnosis,
                permanent: true,
            }),
        }
    }

    /// What the next hop's domain says of its hosts.
    pub(super) const fn published(&self) -> &Found {
        &self.published
    }

    /// What the message wants of TLS.
    pub(super) const fn wish(&self) -> TlsWish {
        self.wish
    }

    /// True where it counts what is published of the hosts.
    fn asks_for_demands(&self) -> bool {
        match self.wish {
            TlsWish::Required => true,
            TlsWish::Optional => false,
            TlsWish::Usual | TlsWish::Preferred => self.policy != TlsPolicy::None,
        }
    }

    /// The next host, whether it can be tried or not.
    pub(super) async fn step<W: World>(&mut self, shard: &Shard<W>) -> Option<Step> {
        if let Some(first) = self.found.front() {
            return Some(Step {
                name: Rc::clone(&first.name),
                preference: None,
                candidates: self.found.drain(..).collect(),
                trouble: None,
            });
        }
        let exchange = self.exchanges.pop_front()?;
        let (name, preference) = (exchange.host.clone().into(), exchange.preference);
        let before = self.trouble.take();
        self.look_up(shard, exchange).await;
        let trouble = self.trouble.as_ref().map(|here| here.diagnosis.clone());
        self.trouble = before.or(self.trouble.take());
        let candidates: Vec<Candidate> = self.found.drain(..).collect();
        let is_ours = candidates.is_empty() && trouble.is_none();
        Some(Step {
            name,
            preference: self.skip_own.then_some(preference),
            trouble: trouble.or_else(|| is_ours.then(|| mx::looping(&self.domain))),
            candidates,
        })
    }

    /// The next one to try.
    pub(super) async fn next<W: World>(&mut self, shard: &Shard<W>) -> Option<Candidate> {
        loop {
            if let Some(candidate) = self.found.pop_front() {
                if shard.hosts.is_weary(shard.world.now(), candidate.address) {
                    self.weary.push_back(candidate);
                    continue;
                }
                return Some(candidate);
            }
            let Some(exchange) = self.exchanges.pop_front() else {
                return self.weary.pop_front();
            };
            self.look_up(shard, exchange).await;
        }
    }

    /// The last one was ourselves: what is no better than we are would come back to us (RFC 5321
    /// §5.1).
    pub(super) fn came_home(&mut self) {
        let limit = self.preference;
        self.found.clear();
        self.exchanges
            .retain(|exchange| exchange.preference < limit);
    }

    /// Why nobody took it. `tried` is what those said who could be reached; a host that could not
    /// be looked up and may come back is a reason to wait all the same.
    pub(super) fn verdict(self, tried: Option<NoHost>) -> NoHost {
        let domain = self.domain;
        let verdict = match (tried, self.trouble) {
            (Some(tried), Some(trouble)) if tried.permanent && !trouble.permanent => Some(trouble),
            (Some(tried), _) => Some(tried),
            (None, trouble) => trouble,
        };
        verdict.unwrap_or_else(|| NoHost {
            diagnosis: mx::looping(&domain),
            permanent: true,
        })
    }

    async fn look_up<W: World>(&mut self, shard: &Shard<W>, exchange: Exchange) {
        self.preference = exchange.preference;
        let (addresses, secure_names) = self.addresses(shard, &exchange.host).await;
        match addresses {
            Addresses::Some(addresses) => {
                match self.demand(shard, &exchange.host, &secure_names).await {
                    Ok(demand) => {
                        let name: Rc<str> = exchange.host.into();
                        self.found
                            .extend(addresses.into_iter().map(|address| Candidate {
                                name: Rc::clone(&name),
                                address: SocketAddr::new(address, self.port),
                                policy: self.policy,
                                demand: demand.clone(),
                            }));
                    }
                    // What the host has to prove is not known: nothing may go there now.
                    Err(nobody) => self.remember(nobody.diagnosis, nobody.permanent),
                }
            }
            Addresses::None(diagnosis) => self.remember(diagnosis, true),
            Addresses::Later(diagnosis) => self.remember(diagnosis, false),
            Addresses::Ourselves => self.came_home(),
        }
    }

    /// What the TLS of a host has to be, of whose names DNSSEC vouches for these.
    async fn demand<W: World>(
        &self,
        shard: &Shard<W>,
        host: &str,
        secure_names: &[Box<str>],
    ) -> Result<Demand, NoHost> {
        let later = |diagnosis| NoHost {
            diagnosis,
            permanent: false,
        };
        let demand = self.vouched(shard, secure_names).await.map_err(later)?;
        let policy = self.published.policy.as_deref();
        let demand = under_policy(policy, &self.domain, host, demand);
        if demand.is_err() {
            shard.tell_unnamed(&self.published, &self.domain, host);
        }
        let demand = demand.map_err(later)?;
        match self.wish {
            TlsWish::Required => self.proof(host, demand),
            _ => Ok(demand),
        }
    }

    /// What is demanded of a host that has to be proved (RFC 8689 §4.2.1): a certificate proves its
    /// name, and that the name is the right one somebody else has to say.
    fn proof(&self, host: &str, demand: Demand) -> Result<Demand, NoHost> {
        match demand {
            Demand::Certificate { .. } | Demand::Policy => Ok(demand),
            Demand::Trial { is_named: true } => Ok(Demand::Proof),
            _ if self.are_hosts_sure || self.policy == TlsPolicy::Verify => Ok(Demand::Proof),
            _ => Err(NoHost {
                diagnosis: Diagnosis {
                    status: ENCRYPTION_NEEDED,
                    text: format!(
                        "REQUIRETLS: neither DNSSEC nor MTA-STS vouches for {host} as a host of {}",
                        self.domain
                    )
                    .into(),
                    reply: None,
                    remote_mta: None,
                },
                // A policy that could not be fetched may say so later.
                permanent: self.published.trouble.is_none(),
            }),
        }
    }

    async fn vouched<W: World>(
        &self,
        shard: &Shard<W>,
        secure_names: &[Box<str>],
    ) -> Result<Demand, Diagnosis> {
        if self.wish == TlsWish::Optional {
            return Ok(Demand::Waived);
        }
        if !self.asks_for_demands() || !self.are_hosts_sure {
            return Ok(Demand::Configured);
        }
        let began = shard.world.now();
        let demand = shard
            .dane(secure_names, self.port, &self.domain_names)
            .await;
        if !secure_names.is_empty() {
            shard.record(Stage::Dns, shard.world.now().since(began));
        }
        demand
    }

    /// The addresses of a host, and which of its names DNSSEC vouches for.
    async fn addresses<W: World>(
        &self,
        shard: &Shard<W>,
        host: &str,
    ) -> (Addresses, Vec<Box<str>>) {
        if let Ok(address) = host.parse::<IpAddr>() {
            return (Addresses::Some(vec![address]), Vec::new());
        }
        let began = shard.world.now();
        let families = self.settings.families;
        let ask = async |kind, wanted: bool| {
            if !wanted {
                return None;
            }
            let question = Question {
                name: host.into(),
                kind,
            };
            Some(shard.names.lookup(&shard.world, question).await)
        };
        let (v4, v6) = future::zip(
            ask(Kind::A, families != Families::Ipv6Only),
            ask(Kind::Aaaa, families != Families::Ipv4Only),
        )
        .await;
        shard.record(Stage::Dns, shard.world.now().since(began));
        let nobody = mx::Own::default();
        let own = if self.skip_own {
            &self.settings.own
        } else {
            &nobody
        };
        let answers = [&v4, &v6].map(|response| response.as_ref().map(|found| &found.answer));
        let addresses = mx::addresses(host, answers[0], answers[1], families, own, || {
            shard.world.random()
        });
        (addresses, secure_names(&[v4, v6]))
    }

    /// What may pass stands before what will not: one host that may come back is a reason to wait.
    fn remember(&mut self, diagnosis: Diagnosis, permanent: bool) {
        let weaker = self.trouble.as_ref().is_none_or(|known| known.permanent);
        if weaker {
            self.trouble = Some(NoHost {
                diagnosis,
                permanent,
            });
        }
    }
}

impl<W: World> Shard<W> {
    /// The mail exchangers of a domain.
    async fn exchanges(&self, domain: &str) -> Rc<Response> {
        let began = self.world.now();
        let question = Question {
            name: domain.into(),
            kind: Kind::Mx,
        };
        let response = self.names.lookup(&self.world, question).await;
        self.record(Stage::Dns, self.world.now().since(began));
        response
    }
}

/// The names that DNSSEC vouches for in every answer that brought addresses: one that is forged
/// would lead mail astray, whatever the other is (RFC 7672 §2.2.2).
fn secure_names(responses: &[Option<Rc<Response>>]) -> Vec<Box<str>> {
    let has_records = |response: &&Rc<Response>| matches!(response.answer, Answer::Records(..));
    let mut found = responses.iter().flatten().filter(has_records);
    let first = found.next();
    let mut names = first.map_or_else(Vec::new, |response| response.secure_names.clone());
    for other in found {
        names.retain(|name| other.secure_names.contains(name));
    }
    names
}

/// Addresses that failed a moment ago. The next delivery tries others first, so that one dead
/// host of three does not cost every message a time-out.
#[derive(Default)]
pub(super) struct Hosts {
    weary: RefCell<HashMap<SocketAddr, Tick>>,
}

impl Hosts {
    /// An address did not answer or greeted with a refusal.
    pub(super) fn failed(&self, now: Tick, address: SocketAddr) {
        let mut weary = self.weary.borrow_mut();
        if weary.len() >= WEARY_MAX {
            weary.retain(|_, until| now < *until);
        }
        if weary.len() < WEARY_MAX {
            weary.insert(address, now + WEARY_WAIT);
        }
    }

    /// It works.
    pub(super) fn worked(&self, address: SocketAddr) {
        let mut weary = self.weary.borrow_mut();
        if !weary.is_empty() {
            weary.remove(&address);
        }
    }

    /// How long others are tried before an address.
    pub(super) fn rests(&self, now: Tick, address: SocketAddr) -> Option<Duration> {
        let weary = self.weary.borrow();
        let until = weary.get(&address)?;
        (now < *until).then(|| until.since(now))
    }

    fn is_weary(&self, now: Tick, address: SocketAddr) -> bool {
        let weary = self.weary.borrow();
        !weary.is_empty() && weary.get(&address).is_some_and(|until| now < *until)
    }
}

/// What a destination without any reachable host fails with (RFC 3463 §3.5: no answer from host).
pub(super) const NO_ANSWER: EnhancedStatus = EnhancedStatus::new(4, 4, 1);
/// What a host that cannot be proved fails with (RFC 8689 §4.2.1).
pub(super) const ENCRYPTION_NEEDED: EnhancedStatus = EnhancedStatus::new(5, 7, 10);
/// How long others are tried first: about as long as a server takes to restart.
const WEARY_WAIT: Duration = Duration::from_secs(60);
/// Addresses remembered.
const WEARY_MAX: usize = 4096;
