//! How a connection comes to be: a source whose turn it is, a dial, a greeting, TLS; and why there
//! is none.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::attempt::{Attempt, LOCAL_TROUBLE};
use super::courier::Courier;
use super::sources::{Choice, Leaving, Trip};
use super::transmit::Connection;
use crate::mail::envelope::{QueueId, TlsWish};
use crate::mail::outcome::Diagnosis;
use crate::observe::stage::Stage;
use crate::route::How;
use crate::route::pool::{Pool, Source};
use crate::route::warmup::{Day, Destination};
use crate::shard::hosts::secure::Terms;
use crate::shard::hosts::{Candidate, Candidates, NO_ANSWER, NoHost};
use crate::smtp::client::{ClientSession, Hello, Peer, Waits};
use crate::world::{Tick, World};

/// Why there is no connection.
pub(super) enum Refusal {
    /// The host's doing.
    Host(NoHost),
    /// The host is this relay.
    Ourselves,
    /// The source's, and another one may go.
    Source,
    /// Its turn comes later, at that moment.
    Rest(Tick),
    /// All sources that could go have sent what their warm-up has for today.
    Spent,
    /// Our own: no descriptor, no port, no memory.
    Local(Diagnosis),
}

impl<W: World> Courier<'_, W> {
    /// Dials and greets; in plain when TLS is broken there and mail may go without it.
    pub(super) async fn connect(
        &self,
        candidate: &Candidate,
        candidates: &Candidates,
        attempt: &mut Attempt<W>,
    ) -> Result<Connection<W>, Refusal> {
        let recipients = attempt.remaining().len();
        let mut group = self.join(&candidate.name, recipients).await?;
        let mut terms = Terms::new(&self.shard.settings(), candidate, &self.how);
        loop {
            let mut connection = self.dial(candidate, terms, attempt).await?;
            connection.group = group;
            let began = self.shard.world.now();
            let is_ready = connection.greet().await;
            attempt.setup += self.shard.world.now().since(began);
            attempt.stages.take(&mut connection.stages);
            if let Some(security) = connection.sighted() {
                attempt.security = Some(security);
                self.shard.tls.count(security);
                if let How::Mx(domain) = &self.how {
                    let from = connection.local().ip();
                    self.shard
                        .tell(domain, candidates.published(), candidate, security, from);
                }
            }
            let wish = candidates.wish();
            if is_ready && connection.suits(wish) {
                if let Some(source) = &connection.source {
                    self.shard.sources.welcome(&self.name, source);
                }
                return Ok(connection);
            }
            if wish == TlsWish::Required
                && let Some(nobody) = connection.unfit()
            {
                connection.quit().await;
                return Err(Refusal::Host(nobody));
            }
            if connection.is_ourselves() {
                return Err(Refusal::Ourselves);
            }
            let (failure, source) = (connection.failure(), connection.source.clone());
            attempt.crowded |= self.hear(&connection, &failure.diagnosis.text);
            group = connection.group.take();
            match connection.terms_without_tls() {
                Some(plain) => terms = plain,
                None if self.is_unwelcome(source.as_deref(), candidate, &failure) => {
                    return Err(Refusal::Source);
                }
                None => return Err(self.down(candidate, failure)),
            }
            self.shard.say(format_args!(
                "{}; trying again in plain",
                failure.diagnosis.text
            ));
        }
    }

    /// True where a host has turned away the source, not the relay as far as is known: somebody
    /// else of the pool can try. Whoever would log in gets one try: more are counted as guesses.
    fn is_unwelcome(
        &self,
        source: Option<&Source>,
        candidate: &Candidate,
        failure: &NoHost,
    ) -> bool {
        let Some(source) = source else {
            return false;
        };
        let logs_in = self
            .how
            .entry()
            .is_some_and(|entry| entry.credentials.is_some());
        if failure.diagnosis.reply.is_none() || logs_in {
            return false;
        }
        let (shard, now) = (self.shard, self.shard.world.now());
        shard.sources.unwelcome(now, &self.name, source);
        let settings = shard.settings();
        let pool = settings.pools.find(self.pool.as_deref());
        let to = (candidate.address.ip(), &*candidate.name);
        shard.sources.has_other(&self.trip(pool, to, None))
    }

    /// Where the next connection leaves from; `None`: the kernel chooses.
    fn source(&self, candidate: &Candidate, id: QueueId) -> Result<Option<Leaving>, Refusal> {
        let shard = self.shard;
        let settings = shard.settings();
        let pool = settings.pools.find(self.pool.as_deref());
        let to = candidate.address.ip();
        let name = pool.name.as_deref().unwrap_or("[delivery] source");
        let trip = self.trip(pool, (to, &candidate.name), Some(id));
        match shard.sources.choose(&trip) {
            Choice::From(leaving) => Ok(Some(leaving)),
            Choice::Free => Ok(None),
            Choice::Unreachable => Err(Refusal::Host(NoHost {
                diagnosis: Diagnosis::ours(NO_ANSWER, format!("no source of {name} reaches {to}")),
                permanent: false,
            })),
            Choice::Unknown => Err(Refusal::Rest(shard.world.now() + UNKNOWN_PAUSE)),
            Choice::Spent => Err(Refusal::Spent),
            Choice::Absent => {
                let text = format!("no address of {name} that reaches {to} is on this machine");
                Err(Refusal::Local(Diagnosis::ours(LOCAL_TROUBLE, text)))
            }
        }
    }

    /// A connection to a host, for a message.
    pub(super) fn trip<'t>(
        &'t self,
        pool: &'t Pool,
        (to, host): (IpAddr, &'t str),
        id: Option<QueueId>,
    ) -> Trip<'t> {
        let shard = self.shard;
        Trip {
            now: shard.world.now(),
            today: Day::of(shard.world.wall()),
            pool,
            lane: &self.name,
            to,
            destination: Destination::new(&self.how, host),
            again: id.and_then(|id| shard.sources.again(&self.name, id)),
            warmups: &shard.warmups,
        }
    }

    /// The system would not let a connection leave from an address: others go meanwhile.
    fn rest(&self, leaving: &Leaving, error: &io::Error) -> Refusal {
        let (shard, Leaving { source, address }) = (self.shard, leaving);
        shard.sources.absent(shard.world.now(), *address);
        shard.warn(format_args!(
            "source {} cannot send from {address} ({error}): it rests for a minute",
            source.name
        ));
        Refusal::Source
    }

    /// A host does not work: the next delivery tries others first.
    fn down(&self, candidate: &Candidate, nobody: NoHost) -> Refusal {
        let now = self.shard.world.now();
        self.shard.hosts.failed(now, candidate.address);
        Refusal::Host(nobody)
    }

    async fn dial(
        &self,
        candidate: &Candidate,
        terms: Terms,
        attempt: &mut Attempt<W>,
    ) -> Result<Connection<W>, Refusal> {
        let shard = self.shard;
        let settings = shard.settings();
        let began = shard.world.now();
        let relay: Rc<str> = relay_name(candidate).into();
        attempt.relay = Some(Rc::clone(&relay));
        let leaving = self.source(candidate, attempt.id())?;
        attempt.source = leaving.as_ref().map(|leaving| Rc::clone(&leaving.source));
        let deadline = began + settings.connect_timeout();
        let from = leaving.as_ref().map(|leaving| leaving.address);
        let dialled = shard.world.dial(from, candidate.address, deadline).await;
        let now = shard.world.now();
        shard.record_for(&self.name, Stage::Connect, now.since(began));
        attempt.stages.add(Stage::Connect, now.since(began));
        attempt.setup += now.since(began);
        let stream = dialled.map_err(|error| match (&leaving, error.raw_os_error()) {
            (Some(leaving), Some(EADDRNOTAVAIL)) => self.rest(leaving, &error),
            _ => match unreachable_host(&relay, &error) {
                Refusal::Host(nobody) => self.down(candidate, nobody),
                refusal => refusal,
            },
        })?;
        let source = leaving.map(|leaving| leaving.source);
        let helo = source.as_ref().and_then(|source| source.helo.as_ref());
        let hello = Hello {
            name: Rc::clone(helo.unwrap_or(&settings.helo)),
            own_name: settings.own_name(candidate.address.port()),
            lmtp: false,
            tls: terms.say,
            log_in: terms.log_in,
        };
        let peer = Peer {
            name: Rc::clone(&candidate.name),
            address: candidate.address.ip(),
        };
        let session = ClientSession::new(hello, peer, Waits::default(), now);
        let lane = Rc::clone(&self.name);
        let mut connection = Connection::new(shard, stream, session, terms, relay, lane);
        connection.source = source;
        connection.host = Rc::clone(&candidate.name);
        Ok(connection)
    }
}

fn unreachable_host(relay: &str, error: &io::Error) -> Refusal {
    let words = match error.kind() {
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    let diagnosis = |status| Diagnosis::ours(status, format!("connect to {relay}: {words}"));
    match error.raw_os_error() {
        Some(EMFILE | ENFILE | EADDRNOTAVAIL | ENOBUFS | ENOMEM) => {
            Refusal::Local(diagnosis(LOCAL_TROUBLE))
        }
        _ => Refusal::Host(NoHost {
            diagnosis: diagnosis(NO_ANSWER),
            permanent: false,
        }),
    }
}

/// `mx.test[192.0.2.1]:25`, as the log writes it.
fn relay_name(candidate: &Candidate) -> String {
    let Candidate { name, address, .. } = candidate;
    if name.starts_with('[') {
        return format!("{name}:{}", address.port());
    }
    format!("{name}[{}]:{}", address.ip(), address.port())
}

/// How long a lane rests while it is not known what its sources have sent today.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(100);

// Errors that say that we are short of something (errno of Linux).
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EADDRNOTAVAIL: i32 = 99;
const ENOBUFS: i32 = 105;
