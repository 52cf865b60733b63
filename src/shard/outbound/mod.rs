//! Deliveries: a lane's connections, and an attempt from the queue to its outcomes.
//!
//! ```text
//! queue.take ─► message (memory or spool) ─► hosts in order ─► connection ─► transaction
//!      ▲                                        next host ◄─ host's fault ─┘      │
//!      └──────────────── settle ◄──────────────────────────────── outcomes ───────┘
//! ```
//!
//! A connection belongs to its lane and carries message after message: it is a [`courier`]'s. Read from
//! there on: [`remote`] brings one message to hosts, [`connect`] makes the connection to one of them, and
//! [`transmit`] runs the dialogue over it. Everything else here says when, from where and how much.

pub(super) mod attempt;
pub(super) mod bell;
mod connect;
mod courier;
pub(super) mod deliver;
pub(super) mod idle;
mod lessons;
pub(super) mod limits;
pub(super) mod pace;
pub(super) mod permits;
mod remote;
pub(super) mod sources;
pub(super) mod transmit;
pub(super) mod warmup;
pub(super) mod ways;

use std::rc::Rc;

use super::Shard;
use crate::queue::LaneKey;
use crate::world::{Class, World};

use courier::Courier;

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
