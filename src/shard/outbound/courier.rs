//! One connection's life, from the permit to QUIT: it carries message after message.
//!
//! It ends when its lane has nothing for it for [`IDLE_WAIT`], when it has carried
//! `messages_per_connection`, or when another shard waits for its permit.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;

use super::attempt::Attempt;
use super::idle::Seat;
use super::limits::Bounds;
use super::permits::Permit;
use super::transmit::Connection;
use super::ways::Way;
use crate::mail::outcome::Blame;
use crate::observe::stage::Stage;
use crate::queue::LaneKey;
use crate::route::How;
use crate::route::sts::Found;
use crate::shard::Shard;
use crate::shard::life::gate::Pass;
use crate::shard::message::Body;
use crate::world::{Tick, World};

/// One connection's life, dial to QUIT.
pub(super) struct Courier<'a, W: World> {
    pub(super) shard: &'a Rc<Shard<W>>,
    pub(super) lane: LaneKey,
    pub(super) name: Rc<str>,
    pub(super) how: How,
    /// The pool of sources that it goes by.
    pub(super) pool: Option<Rc<str>>,
    /// What the next hop's domain says of its hosts, asked for before the permit.
    pub(super) published: Option<Found>,
    /// What limits it.
    pub(super) bounds: Bounds,
    pub(super) connection: Option<Connection<W>>,
    /// Where the connection waits for mail.
    seat: Rc<Seat>,
}

impl<'a, W: World> Courier<'a, W> {
    pub(super) async fn run(shard: &'a Rc<Shard<W>>, lane: LaneKey, pass: &Pass) {
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
        shard.learn_refusals(&message, attempt.results()).await;
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
}

/// How long a connection waits for the next message. Longer saves handshakes and keeps a slot of
/// the peer's; Postfix uses 2 s for the same reason.
const IDLE_WAIT: Duration = Duration::from_secs(2);
/// How long a policy that was asked for before the permit is taken for the present one.
const PUBLISHED_HOLD: Duration = Duration::from_secs(1);
/// What the log says of mail that a route drops.
const DISCARDED: &str = "discarded by a route";
