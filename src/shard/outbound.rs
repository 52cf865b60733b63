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

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::hosts::{Candidates, Way};
use super::message::{Body, Message};
use super::permits::Permit;
use super::settle::Attempt;
use super::transmit::Connection;
use crate::mail::outcome::{Blame, Diagnosis, Outcome};
use crate::observe::stage::Stage;
use crate::queue::{Assignment, LaneKey};
use crate::wire::status::EnhancedStatus;
use crate::world::{Class, World};

impl<W: World> Shard<W> {
    /// Sees to it that a lane's mail is taken: wakes an idle connection, or opens new ones.
    pub(super) fn attend(self: &Rc<Self>, lane: LaneKey) {
        if self.idle.wake(lane) {
            return;
        }
        let wanted = self.queue.borrow().connections_wanted(lane);
        for _ in 0..wanted {
            let Some(pass) = self.gate.enter() else { return };
            self.queue.borrow_mut().connection_opened(lane);
            let shard = Rc::clone(self);
            self.world.spawn(Class::Outbound, async move {
                let open = Open { shard, lane };
                Courier::new(&open.shard, lane).run().await;
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
        self.shard.queue.borrow_mut().connection_closed(self.lane);
        self.shard.pump();
    }
}

/// One connection's life, dial to QUIT.
struct Courier<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    lane: LaneKey,
    connection: Option<Connection<W>>,
}

impl<'a, W: World> Courier<'a, W> {
    fn new(shard: &'a Rc<Shard<W>>, lane: LaneKey) -> Self {
        Self { shard, lane, connection: None }
    }

    async fn run(mut self) {
        let Some(name) = self.shard.queue.borrow().lane_name(self.lane) else { return };
        let Some(permit) = self.shard.permits.acquire(&name).await else { return };
        let way = self.shard.way(&name);
        while !self.shard.gate.is_closed() {
            let now = self.shard.world.now();
            let assignment = self.shard.queue.borrow_mut().take(now, self.lane);
            match assignment {
                Some(assignment) => self.attempt(&way, assignment).await,
                None if self.may_wait(&permit) && self.shard.idle.wait(&self.shard.world, self.lane, IDLE_WAIT).await => {}
                None => break,
            }
            self.retire().await;
            if self.connection.is_none() && permit.is_recalled() {
                break;
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
    }

    /// True when a connection is worth keeping while there is no mail for it.
    fn may_wait(&mut self, permit: &Permit) -> bool {
        self.connection.as_mut().is_some_and(Connection::is_usable) && !permit.is_recalled()
    }
}

/// How long a connection waits for the next message. Longer saves handshakes and keeps a slot of
/// the peer's; Postfix uses 2 s for the same reason.
const IDLE_WAIT: Duration = Duration::from_secs(2);
