//! One shard: everything that happens on one core. The drivers of the cores, generic over
//! [`World`].
//!
//! ```text
//!  inbound ─► gather ─► store ─► queue ─► outbound ─► transmit ─► attempt ─► settle ─► report
//!  (client's session)   (spool)           (lane's connections)               (spool)   (DSN)
//! ```
//!
//! Users fetch their mail through `retrieve`.
//!
//! What shards tell each other goes through [`mesh`]; how one starts and ends stands in [`life`].

mod adopt;
mod answer;
mod attempt;
mod bell;
mod budget;
mod connection;
mod deliver;
mod demand;
mod door;
mod explain;
mod gate;
mod gather;
mod hosts;
mod idle;
mod inbound;
pub mod life;
mod login;
pub mod mesh;
mod message;
mod names;
mod outbound;
mod permits;
mod preflight;
mod report;
mod resident;
mod retrieve;
pub mod rules;
mod secure;
mod settings;
mod settle;
mod sign;
mod store;
pub mod suspects;
mod tell;
mod transmit;
mod verify;
pub mod visitors;
mod watch;
mod ways;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::mailbox::Accounts;
use crate::observe::history::{Event, History};
use crate::observe::log::{self as journal, Level};
use crate::observe::stage::{Recorder, Stage};
use crate::queue::Queue;
use crate::smtp::reply::Reply;
use crate::spool::log::{Health, Log};
use crate::verify::Tally as Verified;
use crate::world::{Tick, World};

use bell::Bell;
use budget::Budget;
use gate::Gate;
use hosts::Hosts;
use idle::Idle;
use mesh::Mesh;
use names::Names;
use permits::Permits;
use resident::Resident;
use retrieve::Lodgers;
use settings::Settings;
use sign::Tally;
use suspects::Suspects;
use visitors::Visitors;
use ways::Ways;

/// A shard's rooms. Every task of the shard shares it; none holds a borrow across an await.
struct Shard<W: World> {
    world: W,
    log: Log<W>,
    queue: RefCell<Queue>,
    /// Wakes the task that watches the queue's next deadline.
    bell: Bell,
    mesh: Rc<Mesh>,
    permits: Permits,
    ways: Ways,
    names: Names,
    hosts: Hosts,
    idle: Idle,
    resident: Resident,
    budget: Budget,
    /// Sessions of clients.
    visits: Gate,
    visitors: Visitors,
    /// Users who fetch their mail here, where they are at home.
    lodgers: Lodgers,
    /// Mailboxes of the users who are at home here.
    accounts: Accounts<W>,
    /// Users whose mailboxes had no room, and until when they are taken to have none.
    full: RefCell<HashMap<String, Tick>>,
    suspects: Suspects,
    /// Deliveries, and reports being made.
    couriers: Gate,
    settings: RefCell<Rc<Settings>>,
    /// Messages whose content is coming in.
    arriving: Rc<Cell<usize>>,
    /// A reload has changed the routes: mail queued before may travel another way now.
    rerouted: Cell<bool>,
    recorder: Rc<RefCell<Recorder>>,
    journal: journal::Log,
    history: RefCell<History>,
    messages_accepted: Cell<u64>,
    signing: Tally,
    verified: Cell<Verified>,
    messages_disowned: Cell<u64>,
    tls: secure::Tally,
    preflights: Cell<crate::preflight::Tally>,
    /// What the DNS says of our own addresses is being asked for.
    asks_for_sources: Cell<bool>,
}

impl<W: World> Shard<W> {
    fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// May a transaction begin? Not while its message could not be stored.
    fn may_begin(&self) -> Result<(), Reply> {
        match self.log.health() {
            Health::Good => Ok(()),
            Health::Full => Err(Reply::disk_full()),
            Health::Broken => Err(Reply::spool_broken()),
        }
    }

    fn record(&self, stage: Stage, took: Duration) {
        self.recorder.borrow_mut().record(stage, took);
    }

    fn record_for(&self, destination: &str, stage: Stage, took: Duration) {
        self.recorder
            .borrow_mut()
            .record_for(destination, stage, took);
    }

    /// Keeps what happened to a message for `ringpost trace`.
    fn remember(&self, id: QueueId, event: Event<'_>) {
        let now = self.world.wall();
        self.history.borrow_mut().remember(id, now, event);
    }

    fn warn(&self, words: fmt::Arguments<'_>) {
        self.journal.say(Level::Warn, words);
    }

    fn say(&self, words: fmt::Arguments<'_>) {
        self.journal.say(Level::Info, words);
    }
}
