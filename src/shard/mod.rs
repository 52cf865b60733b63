//! One shard: everything that happens on one core. The drivers of the cores, generic over
//! [`World`].
//!
//! ```text
//!  clients ─► inbound ──────────► queue ─► outbound ◄─► hosts     ─► settle
//!  door,      gather, watch,      lanes    attempt,     in order,    outcomes to the spool,
//!  login      store in the spool           transmit     under terms  reports (DSN)
//!     └─► retrieve: POP3, IMAP
//! ```
//!
//! - [`life`]: how a shard starts, what it goes by, what it may use, how it ends.
//! - [`clients`]: who connects, whatever is spoken: doors, counts, logins.
//! - `inbound`: a client's SMTP session, and its messages until they are stored and queued.
//! - `outbound`: a lane's connections; an attempt, to a host or into mailboxes here.
//! - `hosts`: which hosts may take a message, what the DNS says of them, what TLS has to be there.
//! - `message`: a message as deliveries hold it, and our signatures on it.
//! - `settle`: what comes of an attempt: the queue's decisions, records, reports to senders.
//! - `retrieve`: users fetch their mail.
//! - `follow`: dialogues, for whoever wants to see them while they happen.
//! - [`mesh`]: what shards and the control plane tell each other.

pub mod clients;
mod follow;
mod hosts;
mod inbound;
pub mod life;
pub mod mesh;
mod message;
mod outbound;
mod retrieve;
mod returns;
mod settle;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::mailbox::Accounts;
use crate::observe::events::Events;
use crate::observe::history::{Event, History};
use crate::observe::log::{self as journal, Level};
use crate::observe::stage::{Recorder, Stage};
use crate::queue::Queue;
use crate::smtp::reply::Reply;
use crate::spool::log::{Health, Log};
use crate::verify::Tally as Verified;
use crate::world::{Tick, World};

use clients::buffers::Buffers;
use clients::suspects::Suspects;
use clients::talkers::Talkers;
use clients::tenants::Customers;
use clients::visitors::Visitors;
use follow::Followers;
use hosts::names::Names;
use hosts::{Hosts, secure};
use life::budget::Budget;
use life::gate::Gate;
use life::lookout::Lookout;
use life::pulse::{Commits, Pulse};
use life::settings::Settings;
use mesh::Mesh;
use message::resident::Resident;
use message::sign::Tally;
use outbound::bell::Bell;
use outbound::idle::Idle;
use outbound::pace::Paces;
use outbound::permits::Permits;
use outbound::sources::Sources;
pub use outbound::warmup::Warmups;
use outbound::ways::Ways;
use retrieve::Lodgers;
use settle::events::Endings;
use settle::refusals::Refusals;

/// A shard's rooms. Every task of the shard shares it; none holds a borrow across an await.
struct Shard<W: World> {
    world: W,
    log: Log<W>,
    queue: RefCell<Queue>,
    /// What of it nothing will move, and what it does not know.
    lookout: Lookout,
    /// Wakes the task that watches the queue's next deadline.
    bell: Bell,
    mesh: Rc<Mesh>,
    permits: Permits,
    paces: Paces,
    ways: Ways,
    sources: Sources,
    /// What sources on their warm-up may still send, over all shards.
    warmups: Warmups,
    names: Names,
    hosts: Hosts,
    idle: Idle,
    resident: Resident,
    budget: Budget,
    buffers: Buffers,
    /// Sessions of clients.
    visits: Gate,
    visitors: Visitors,
    talkers: Talkers,
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
    /// How busy it was of late.
    pulse: Pulse,
    commits: Rc<Commits>,
    journal: journal::Log,
    history: RefCell<History>,
    /// Who follows dialogues while they happen.
    followers: Followers,
    /// What other programs are told.
    events: Events,
    endings: Endings,
    messages_accepted: Cell<u64>,
    signing: Tally,
    verified: Cell<Verified>,
    messages_disowned: Cell<u64>,
    tls: secure::Tally,
    preflights: Cell<crate::preflight::Tally>,
    refusals: Refusals,
    customers: Customers,
    /// What senders have heard of late.
    pace: RefCell<settle::pace::Pace>,
    /// What the DNS says of our own addresses is being asked for.
    asks_for_sources: Cell<bool>,
    /// When it gives up on those who are still inside.
    ends_by: Cell<Tick>,
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
