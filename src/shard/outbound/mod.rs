//! Deliveries: a lane's connections, and an attempt from the queue to its outcomes.
//!
//! ```text
//! queue.take ─► message (memory or spool) ─► hosts in order ─► connection ─► transaction
//!      ▲                                        next host ◄─ host's fault ─┘      │
//!      └──────────────── settle ◄──────────────────────────────── outcomes ───────┘
//! ```
//!
//! A connection belongs to its lane and carries message after message. It ends when the lane has
//! nothing for it for [`IDLE_WAIT`], when it has carried `messages_per_connection`, or when
//! another shard waits for its permit.

pub(super) mod attempt;
pub(super) mod bell;
pub(super) mod deliver;
pub(super) mod idle;
mod lessons;
pub(super) mod limits;
pub(super) mod pace;
pub(super) mod permits;
pub(super) mod sources;
pub(super) mod transmit;
pub(super) mod warmup;
pub(super) mod ways;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;

use super::Shard;
use crate::mail::envelope::{QueueId, TlsWish};
use crate::mail::outcome::{Blame, Diagnosis};
use crate::observe::stage::Stage;
use crate::queue::LaneKey;
use crate::route::How;
use crate::route::pool::{Pool, Source};
use crate::route::sts::Found;
use crate::route::warmup::{Day, Destination};
use crate::shard::hosts::secure::Terms;
use crate::shard::hosts::{Candidate, Candidates, NO_ANSWER, NoHost};
use crate::shard::life::gate::Pass;
use crate::shard::message::{Body, Message};
use crate::smtp::client::{ClientSession, Hello, Peer, Waits};
use crate::world::{Class, Tick, World};

use attempt::Attempt;
use idle::Seat;
use limits::Bounds;
use permits::Permit;
use sources::{Choice, Leaving, Trip};
use transmit::Connection;
use warmup::Leave;
use ways::Way;

impl<W: World> Shard<W> {
    /// Sees to it that a lane's mail is taken: wakes idle connections, and opens new ones.
    pub(super) fn attend(self: &Rc<Self>, lane: LaneKey) {
        let (mut ready, wanted) = {
            let queue = self.queue.borrow();
            (queue.ready(lane), queue.connections_wanted(lane))
        };
        while ready > 0 && self.idle.wake(lane) {
            ready -= 1;
        }
        for _ in 0..wanted.min(ready) {
            let Some(pass) = self.couriers.enter() else {
                return;
            };
            self.queue.borrow_mut().connection_opened(lane);
            let open = Open {
                shard: Rc::clone(self),
                lane,
            };
            self.world.spawn(Class::Outbound, async move {
                Courier::run(&open.shard, lane, &pass).await;
                drop((open, pass));
            });
        }
    }
}

/// Tells the queue that a connection is gone, however its task ended.
struct Open<W: World> {
    shard: Rc<Shard<W>>,
    lane: LaneKey,
}

impl<W: World> Drop for Open<W> {
    fn drop(&mut self) {
        let shard = &self.shard;
        shard.queue.borrow_mut().connection_closed(self.lane);
        // Only rung for: what is dropped where nothing can be begun any more must not begin
        // another connection, which would be dropped, and so on.
        shard.bell.set(shard.world.now());
    }
}

/// One connection's life, dial to QUIT.
struct Courier<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    lane: LaneKey,
    name: Rc<str>,
    how: How,
    /// The pool of sources that it goes by.
    pool: Option<Rc<str>>,
    /// What the next hop's domain says of its hosts, asked for before the permit.
    published: Option<Found>,
    /// What limits it.
    bounds: Bounds,
    connection: Option<Connection<W>>,
    /// Where the connection waits for mail.
    seat: Rc<Seat>,
}

impl<'a, W: World> Courier<'a, W> {
    async fn run(shard: &'a Rc<Shard<W>>, lane: LaneKey, pass: &Pass) {
        let Some(name) = shard.queue.borrow().lane_name(lane) else {
            return;
        };
        let Some(Way { how, pool }) = shard.ways.find(&name) else {
            return;
        };
        let leave = async {
            // A web server may take long over a policy: no connection of others waits for it.
            let published = shard.published(&how).await;
            let asked = shard.world.now();
            let claim = Self::claim(shard, &name, &how);
            let permit = shard.permits.acquire(claim).await?;
            let is_fresh = shard.world.now().since(asked) < PUBLISHED_HOLD;
            Some((permit, published.filter(|_| is_fresh)))
        };
        let closed = async {
            pass.closed().await;
            None
        };
        let Some((permit, published)) = future::or(leave, closed).await else {
            return;
        };
        let mut courier = Self {
            bounds: Bounds::new(shard, &name, &how),
            shard,
            lane,
            name,
            how,
            pool,
            published,
            connection: None,
            seat: Rc::default(),
        };
        courier.carry(&permit, pass).await;
        shard.idle.tidy(lane);
        courier.leave();
        if let Some(connection) = courier.connection.take() {
            connection.quit().await;
        }
    }

    /// Takes message after message, for as long as there are any.
    async fn carry(&mut self, permit: &Permit, pass: &Pass) {
        let shard = self.shard;
        let (began, mut carried) = (shard.world.now(), 0);
        while !shard.couriers.is_closed() {
            let now = shard.world.now();
            let assignment = shard.queue.borrow_mut().take(now, self.lane);
            let Some(assignment) = assignment else {
                let until = now + IDLE_WAIT;
                if !self.may_wait(permit) {
                    return;
                }
                let wanted = future::or(permit.wanted(), self.group_wanted());
                let end = future::or(pass.closed(), wanted);
                let wait = shard
                    .idle
                    .wait(&shard.world, self.lane, &self.seat, until, end);
                if wait.await {
                    continue;
                }
                return;
            };
            let turn = self.may_begin(&assignment).await;
            let attempt = Attempt::new(shard, assignment, now);
            let rest = match turn {
                Ok(()) => self.attempt(attempt).await,
                Err(until) => Some((attempt, until)),
            };
            if let Some((attempt, until)) = rest {
                return self.come_back(attempt, until);
            }
            self.retire().await;
            carried += 1;
            let lasts = shard.world.now().since(began);
            if permit.is_over(carried, lasts)
                || self.group_is_over(carried, lasts)
                || self.connection.is_none() && self.how.is_remote()
            {
                // Without a connection another task begins afresh: the queue decides whether now.
                return;
            }
            shard.world.breathe().await;
        }
    }

    /// True when a connection is worth keeping while there is no mail for it.
    fn may_wait(&mut self, permit: &Permit) -> bool {
        self.connection.as_mut().is_some_and(|connection| {
            let group = connection.group.as_ref();
            let is_wanted = group.is_some_and(|group| group.permit.is_wanted());
            connection.is_usable() && !is_wanted
        }) && !permit.is_wanted()
    }

    /// Waits until others want the connection, whose host shares limits.
    async fn group_wanted(&self) {
        let connection = self.connection.as_ref();
        match connection.and_then(|connection| connection.group.as_ref()) {
            Some(group) => group.permit.wanted().await,
            None => future::pending().await,
        }
    }

    /// Others wait for a connection to a host that shares limits, and this one has had its turn.
    fn group_is_over(&self, carried: usize, lasts: Duration) -> bool {
        let connection = self.connection.as_ref();
        let group = connection.and_then(|connection| connection.group.as_ref());
        group.is_some_and(|group| group.permit.is_over(carried, lasts))
    }

    /// Ends a connection that is used up.
    async fn retire(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if connection.used >= self.messages_max(connection.group.as_ref())
            || !connection.may_begin()
        {
            return connection.quit().await;
        }
        self.connection = Some(connection);
    }

    /// An attempt, to its end; it comes back when its turn is later, and when that is.
    async fn attempt(&mut self, mut attempt: Attempt<W>) -> Option<(Attempt<W>, Tick)> {
        let shard = self.shard;
        let waited = attempt.waited();
        shard.record(Stage::QueueWait, waited);
        attempt.stages.add(Stage::QueueWait, waited);
        let message = match shard.load(attempt.message(), attempt.id()).await {
            Ok(message) => message,
            Err(error) => {
                let diagnosis = shard.unreadable(attempt.id(), &error);
                attempt.defer_all(Blame::Message, &diagnosis);
                attempt.settle(None);
                return None;
            }
        };
        if shard.rerouted.get() {
            attempt.reroute(&message, &self.name);
        }
        if self.how.is_remote() {
            shard.fail_suppressed(&message.envelope, &mut attempt);
        }
        match &self.how {
            _ if attempt.is_done() => {}
            How::Discard => attempt.deliver_all(DISCARDED),
            How::Fail(diagnosis) => attempt.fail_all(Blame::Recipient, &diagnosis.clone()),
            How::Mailbox => shard.deliver_here(&message, &mut attempt).await,
            How::Returns => Box::pin(shard.read_returned(&message, &mut attempt)).await,
            How::Mx(_) | How::Host { .. } | How::Address { .. } => {
                self.deliver(&message, &mut attempt).await;
            }
        }
        if let Some(until) = attempt.rests {
            return Some((attempt, until));
        }
        attempt.settle(Some(&message));
        // The last who holds it, where it has come to its end.
        if let Some(message) = Rc::into_inner(message) {
            shard.buffers.give_filled(message.trace);
            if let Body::Memory(content) = message.body {
                shard.buffers.give_filled(content);
            }
        }
        None
    }

    /// Over the connection at hand, then host by host, until every recipient has an outcome.
    async fn deliver(&mut self, message: &Rc<Message>, attempt: &mut Attempt<W>) {
        let wish = message.tls_wish();
        if let Some(connection) = self.kept(attempt.id(), wish).await {
            self.transact(connection, message, attempt).await;
            if attempt.is_over() {
                return;
            }
            // A kept connection that fails says nothing of its host: begin afresh with it.
            attempt.forget_deferral();
        }
        let mut candidates = match self.candidates(wish, attempt).await {
            Ok(candidates) => candidates,
            Err(nobody) => return self.give_up(attempt, wish, nobody),
        };
        let mut worst: Option<NoHost> = None;
        let (mut once_more, mut is_spent) = (None, false);
        loop {
            let candidate = match once_more.take() {
                Some(candidate) => candidate,
                None => match self.next_host(&mut candidates, attempt).await {
                    Some(candidate) => candidate,
                    None => break,
                },
            };
            // One permit is one connection: a host that took only some is left before the next.
            if let Some(before) = self.connection.take() {
                before.quit().await;
            }
            let connected = self.connect(&candidate, &candidates, attempt);
            match connected.await {
                Ok(connection) => {
                    self.shard.hosts.worked(candidate.address);
                    let rest = self.transact(connection, message, attempt).await;
                    if attempt.is_over() {
                        return;
                    }
                    once_more = (rest == Rest::AnotherConnection).then_some(candidate);
                }
                Err(Refusal::Host(nobody)) => {
                    // One host that may come back is a reason to wait.
                    if worst.as_ref().is_none_or(|worst| worst.permanent) {
                        worst = Some(nobody);
                    }
                }
                Err(Refusal::Rest(until)) => return attempt.rests = Some(until),
                Err(Refusal::Spent) => is_spent = true,
                Err(Refusal::Ourselves) => candidates.came_home(),
                Err(Refusal::Source) => once_more = Some(candidate),
                Err(Refusal::Local(diagnosis)) => {
                    return attempt.defer_all(Blame::Local, &diagnosis);
                }
            }
        }
        if is_spent && attempt.last_deferral().is_none() {
            self.shard.sources.wait_for_tomorrow(&self.name);
            return attempt.rests = Some(self.tomorrow(worst.is_some()));
        }
        let nobody = attempt.last_deferral().map(|diagnosis| NoHost {
            diagnosis,
            permanent: false,
        });
        self.give_up(
            attempt,
            wish,
            nobody.unwrap_or_else(|| candidates.verdict(worst)),
        );
    }

    async fn candidates(
        &mut self,
        wish: TlsWish,
        attempt: &mut Attempt<W>,
    ) -> Result<Candidates, NoHost> {
        let began = self.shard.world.now();
        let published = self.published.take();
        let candidates = Candidates::new(self.shard, &self.how, wish, published).await;
        attempt.looked_up(began);
        candidates
    }

    async fn next_host(
        &self,
        candidates: &mut Candidates,
        attempt: &mut Attempt<W>,
    ) -> Option<Candidate> {
        let began = self.shard.world.now();
        let next = candidates.next(self.shard).await;
        attempt.looked_up(began);
        next
    }

    /// When mail goes again whose sources have sent enough for today. Hosts that did not work may work
    /// before tomorrow.
    fn tomorrow(&self, has_failed: bool) -> Tick {
        let soon = match has_failed {
            true => self.shard.world.now() + SPENT_LOOK,
            false => Tick::NEVER,
        };
        self.shard.next_day().min(soon)
    }

    /// The connection at hand, where this message may go over it.
    async fn kept(&mut self, id: QueueId, wish: TlsWish) -> Option<Connection<W>> {
        let mut connection = self.connection.take()?;
        if !connection.is_usable() {
            return None;
        }
        if !connection.suits(wish) || self.comes_from_elsewhere(&connection, id) {
            connection.quit().await;
            return None;
        }
        Some(connection)
    }

    /// A message was greylisted where it came from another source, which may go now.
    fn comes_from_elsewhere(&self, connection: &Connection<W>, id: QueueId) -> bool {
        let sources = &self.shard.sources;
        let Some((again, source)) = sources
            .again(&self.name, id)
            .zip(connection.source.as_ref())
        else {
            return false;
        };
        let settings = self.shard.settings();
        let pool = settings.pools.find(self.pool.as_deref());
        let trip = self.trip(pool, (connection.peer().ip(), &connection.host), Some(id));
        again != source.name && sources.again_from(&trip).is_some()
    }

    /// Nobody is left to try.
    fn give_up(&self, attempt: &mut Attempt<W>, wish: TlsWish, nobody: NoHost) {
        let shard = self.shard;
        if nobody.permanent {
            return attempt.fail_all(Blame::Destination, &nobody.diagnosis);
        }
        if wish == TlsWish::Required {
            // It may be that this message alone finds no host.
            return attempt.defer_all(Blame::Message, &nobody.diagnosis);
        }
        let (now, random) = (shard.world.now(), shard.world.random());
        shard.queue.borrow_mut().lane_failed(
            now,
            self.lane,
            Blame::Destination,
            &nobody.diagnosis,
            random,
        );
        // Too many connections are no fault of the message, whose attempts would be counted.
        let blame = match attempt.crowded {
            true => Blame::Pace,
            false => Blame::Destination,
        };
        attempt.defer_all(blame, &nobody.diagnosis);
    }

    /// Dials and greets; in plain when TLS is broken there and mail may go without it.
    async fn connect(
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
                Err(Refusal::Local(Diagnosis::ours(
                    attempt::LOCAL_TROUBLE,
                    text,
                )))
            }
        }
    }

    /// A connection to a host, for a message.
    fn trip<'t>(
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

    /// One transaction after the other over `connection`, while the peer takes only some of the
    /// recipients in each. Keeps the connection for the next message if it can be used again.
    async fn transact(
        &mut self,
        mut connection: Connection<W>,
        message: &Rc<Message>,
        attempt: &mut Attempt<W>,
    ) -> Rest {
        attempt.relay = Some(Rc::clone(&connection.relay));
        attempt.security = Some(connection.security());
        attempt.source.clone_from(&connection.source);
        let (mut rest, mut strained) = (Rest::AnotherHost, false);
        loop {
            let form = connection.form_of(message).await;
            attempt.stages.take(&mut connection.stages);
            let form = match form {
                Ok(form) => form,
                Err(outcome) => {
                    attempt.end_all(&outcome);
                    break;
                }
            };
            let open = attempt.remaining().len();
            let comes_back = attempt.has_return_path(message);
            let most = match self.leave_for(&mut connection, open, comes_back).await {
                Leave::Granted(most) => most,
                Leave::Spent => {
                    rest = Rest::AnotherConnection;
                    break;
                }
                Leave::Later(until) => {
                    attempt.rests = Some(until);
                    break;
                }
            };
            let outgoing = attempt.outgoing(message, &form, most);
            let mut results = connection.transact(outgoing, message, &form).await;
            if comes_back {
                results.answer_for_host();
            }
            strained |= self.learn(&connection, &results.settled);
            self.note_greylisting(&connection, attempt.id(), &results.settled);
            attempt.take(results);
            let moved_on = attempt.remaining().len() < open;
            let refused = attempt.last_deferral().is_some();
            if moved_on && !refused && self.goes_in_pieces(connection.group.as_ref(), most < open) {
                // The next piece may have to wait, and what is known now should not wait with it.
                attempt.leave_rest_to_others(&self.name);
            }
            if moved_on && !refused && connection.is_ready() && !connection.may_begin() {
                // Its limits are reached, and count from none again over the next connection
                // (RFC 9422 §4). It ends: each connection settles some, or is the last.
                rest = Rest::AnotherConnection;
            }
            if attempt.is_done() || !moved_on || !connection.is_usable() || !connection.may_begin()
            {
                break;
            }
            if refused {
                // The host refuses some for reasons of its own: the next host may take them.
                break;
            }
        }
        if attempt.is_done() && !strained {
            self.shard.queue.borrow_mut().lane_ok(self.lane);
        }
        // Whether its peer has left since is asked when somebody wants to use it.
        if connection.is_ready() {
            self.connection = Some(connection);
        }
        rest
    }
}

/// Who may take the recipients that a connection left over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The same host, over a new connection.
    AnotherConnection,
    /// The next host.
    AnotherHost,
}

/// Why there is no connection.
enum Refusal {
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

fn unreachable_host(relay: &str, error: &io::Error) -> Refusal {
    let words = match error.kind() {
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    let diagnosis = |status| Diagnosis::ours(status, format!("connect to {relay}: {words}"));
    match error.raw_os_error() {
        Some(EMFILE | ENFILE | EADDRNOTAVAIL | ENOBUFS | ENOMEM) => {
            Refusal::Local(diagnosis(attempt::LOCAL_TROUBLE))
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

/// How long a connection waits for the next message. Longer saves handshakes and keeps a slot of
/// the peer's; Postfix uses 2 s for the same reason.
const IDLE_WAIT: Duration = Duration::from_secs(2);
/// How long a policy that was asked for before the permit is taken for the present one.
const PUBLISHED_HOLD: Duration = Duration::from_secs(1);
/// How soon a lane is looked at again whose sources have sent enough for today, while hosts fail.
const SPENT_LOOK: Duration = Duration::from_secs(15 * 60);
/// How long a lane rests while it is not known what its sources have sent today.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(100);
/// What the log says of mail that a route drops.
const DISCARDED: &str = "discarded by a route";

// Errors that say that we are short of something (errno of Linux).
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EADDRNOTAVAIL: i32 = 99;
const ENOBUFS: i32 = 105;
