//! What the control plane asks of a shard and what it is told: plain data that may cross threads.
//! Numbers of time are seconds and addresses are text, because both end up on a screen.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explained::{Explained, Learned};
use super::follow::Follow;
use super::history::Moment;
use super::inject::{Injected, Injection, NotTaken};
pub use super::orders::{
    Act, Acted, IDS_MAX, Marks, Order, OrderBody, SAMPLES_MAX, Selector, UNDO_PERIOD, USER_HEADER,
};
use super::stage::{Row, Snapshot, Thin, Window};
use crate::bounces::{self, Class};
use crate::mail::envelope::Priority;
use crate::preflight;
use crate::queue::watch::Why;
use crate::verify::Tally;
use crate::wire::path::Mailbox;
use crate::world::Load;

/// A question to every shard.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Counters, gauges and the stages' histograms, without those of destinations.
    Facts,
    /// All histograms, those of destinations included.
    Latencies,
    /// Messages that a selector matches.
    List {
        /// Which ones; an empty selector matches all.
        selector: Selector,
        /// So many at most from each shard.
        limit: usize,
    },
    /// One message in full.
    Show {
        /// Its queue id, as text.
        id: String,
    },
    /// A piece of one message itself.
    Raw {
        /// Its queue id, as text.
        id: String,
        /// Octets of its content before the piece.
        position: u64,
    },
    /// What happened to one message.
    Trace {
        /// Its queue id, as text.
        id: String,
    },
    /// Lets somebody follow dialogues.
    Follow(Follow),
    /// The newest attempts after which somebody will not get a message.
    Failures {
        /// So many at most from each shard.
        limit: usize,
    },
    /// How mail to a recipient would travel.
    Explain {
        /// The recipient.
        mailbox: Mailbox,
        /// Whose mail it would be.
        tenant: Option<String>,
    },
    /// An operator's order.
    Act(Order),
    /// Until when the newest removal can be undone.
    Removal,
    /// A message to be taken: asked of one shard.
    Inject(Arc<Injection>),
    /// Recipients by destination and age.
    Shape,
    /// Is it alive, and does it take mail?
    Health,
}

impl Ask {
    /// How long a shard may take to answer. Orders and searches may have to read a whole queue from
    /// the disk; what probes and monitoring ask is at hand.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        match self {
            Self::Facts | Self::Latencies | Self::Health => Duration::from_secs(1),
            Self::Show { .. }
            | Self::Raw { .. }
            | Self::Follow(_)
            | Self::Trace { .. }
            | Self::Failures { .. }
            | Self::Explain { .. }
            | Self::Removal
            | Self::Shape => Duration::from_secs(4),
            Self::List { .. } | Self::Act(_) | Self::Inject(_) => ORDER_PATIENCE,
        }
    }
}

/// A shard's answer.
#[derive(Clone, Debug)]
pub enum Tell {
    /// To [`Ask::Facts`].
    Facts(Box<Facts>),
    /// To [`Ask::Latencies`].
    Latencies {
        /// The shard's number.
        shard: usize,
        /// What it recorded since the start.
        snapshot: Box<Snapshot>,
    },
    /// To [`Ask::List`].
    List(Vec<QueueEntry>),
    /// To [`Ask::Show`]; `None` when the message is not on this shard.
    Show(Option<Box<QueueEntryDetail>>),
    /// To [`Ask::Raw`]; `None` when the message is not on this shard, or cannot be read.
    Raw(Option<Piece>),
    /// To [`Ask::Explain`].
    Explained(Box<Explained>),
    /// To [`Ask::Trace`]: moments as JSON, the oldest first.
    Trace(Vec<String>),
    /// To [`Ask::Follow`]; false when enough others do.
    Following(bool),
    /// To [`Ask::Failures`]: queue ids and moments as JSON, the newest first.
    Failures(Vec<(String, String)>),
    /// To [`Ask::Act`].
    Acted(Acted),
    /// To [`Ask::Removal`]: microseconds since 1970; `None` when nothing can be put back.
    Removal(Option<i64>),
    /// To [`Ask::Inject`].
    Injected(Result<Injected, NotTaken>),
    /// To [`Ask::Shape`].
    Shape(Vec<ShapeRow>),
    /// To [`Ask::Health`].
    Health(Health),
}

/// The way to the shards. The control plane sees nothing else of them.
pub trait Shards: Send + Sync + 'static {
    /// How many shards should answer.
    fn count(&self) -> usize;

    /// Asks all of them. A shard that does not answer within [`Ask::patience`] is missing in the
    /// result.
    fn ask(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Vec<Tell>> + Send>>;

    /// Asks one of them, each in its turn. `None` when it does not answer in time.
    fn ask_one(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Option<Tell>> + Send>>;
}

/// A message in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueEntry {
    /// Its queue id.
    pub id: String,
    /// When it was accepted: seconds since 1970.
    pub accepted: i64,
    /// Octets.
    pub size: u64,
    /// The reverse path, empty for a report.
    pub from: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How soon it goes.
    #[serde(default)]
    pub priority: Priority,
    /// Its recipients that are not settled.
    pub recipients: Vec<QueueRecipient>,
}

/// A recipient that is not settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueRecipient {
    /// The address.
    pub address: String,
    /// The next hop.
    pub destination: String,
    /// `ready`, `in_flight`, `waiting`, `held` or `removed`.
    pub state: String,
    /// Seconds until the next attempt; 0 when it is due. Of what was removed: until it cannot be put
    /// back any more.
    pub due_in: u64,
    /// Attempts counted.
    pub attempts: u16,
    /// An attempt may have delivered it (RFC 1047).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubtful: bool,
    /// Why it is still here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What that means, by the rules for bounces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
}

/// A message in full.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueEntryDetail {
    /// What a list shows of it.
    #[serde(flatten)]
    pub entry: QueueEntry,
    /// The shard that has it.
    pub shard: usize,
    /// Recipients of its envelope, the settled ones included.
    pub recipients_total: usize,
    /// Its Message-ID field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// `ENVID=` (RFC 3461 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// What it wants of the TLS on its way: `REQUIRETLS` or `TLS-Required: No` (RFC 8689).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
}

/// A piece of a message, as it is handed to a reader: with our trace fields and without dot-stuffing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Its octets.
    pub octets: Vec<u8>,
    /// Where the next one begins; `None` at the end.
    pub next: Option<u64>,
}

/// What is known of one message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// Its queue id.
    pub id: String,
    /// What happened, the oldest first.
    pub moments: Vec<Moment<'static>>,
    /// What it waits for, while it is in the queue.
    pub queued: Option<QueueEntryDetail>,
}

/// A recipient who will not get a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// The message's queue id.
    pub id: String,
    /// When: microseconds since 1970.
    pub at: i64,
    /// The recipient.
    pub to: String,
    /// `bounced` or `expired`.
    pub status: String,
    /// RFC 3463.
    pub dsn: String,
    /// The host that had the last word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// The reply, or what went wrong.
    pub text: String,
}

/// What the control plane answers about latencies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// What stretch of time they are of.
    #[serde(default)]
    pub window: Window,
    /// A row for each stage that was recorded.
    pub stages: Vec<Row>,
    /// Destinations that have rows of their own, the busiest first.
    pub destinations: Vec<String>,
}

/// Histograms as they are, to be kept and compared with later ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// When they were taken: seconds since 1970.
    pub at: i64,
    /// Each histogram's values and how often they were recorded.
    #[schemars(with = "serde_json::Value")]
    pub histograms: Thin,
}

/// How long one stage took in each minute of the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Minutes {
    /// The stage.
    pub stage: String,
    /// Each whole minute, the oldest first: values and how often they were recorded.
    #[schemars(with = "Vec<Vec<[u64; 2]>>")]
    pub minutes: Vec<Vec<(u64, u64)>>,
}

/// Recipients of one destination by age.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShapeRow {
    /// The next hop.
    pub destination: String,
    /// Recipients no older than the bound of the same place in
    /// [`AGE_BUCKETS`](crate::queue::AGE_BUCKETS); the last ones are older than all.
    pub ages: Vec<u64>,
    /// Recipients by their state: ready, in flight, waiting, held, removed.
    #[serde(default)]
    pub states: Vec<u64>,
    /// What it was found to take, where it has complained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// Its mail waits for the next day, of UTC: warm-ups leave nothing of this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_tomorrow: bool,
}

impl ShapeRow {
    /// A remark for people; empty where there is nothing to remark.
    #[must_use]
    pub fn remark(&self) -> String {
        let learned = self.learned.as_ref();
        let rate = learned.and_then(|learned| learned.rate.clone());
        let connections = learned.and_then(|learned| learned.connections);
        let connections = connections.map(|most| match most {
            1 => "1 connection".to_owned(),
            _ => format!("{most} connections"),
        });
        let tomorrow = self.waits_for_tomorrow.then(|| "tomorrow".to_owned());
        let words: Vec<String> = [rate, connections, tomorrow]
            .into_iter()
            .flatten()
            .collect();
        words.join(", ")
    }
}

/// Whether a shard takes mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It takes mail.
    #[default]
    Ready,
    /// Recovery is under way, or its listeners are not open yet.
    Starting,
    /// It ends what is under way and stops.
    Draining,
    /// There is no room on the disk.
    SpoolFull,
    /// The disk failed: nothing can be acknowledged.
    SpoolBroken,
}

/// A shard's counters, gauges and histograms.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The shard's number.
    pub shard: usize,
    /// What its thread has done.
    pub load: Load,
    /// The same, of the last seconds.
    pub recent: Recent,
    /// Letters sent to other shards.
    pub letters_sent: u64,
    /// Letters that wait for it to read them.
    pub letters_waiting: u64,
    /// Commits that waited for the disk.
    pub syncs: u64,
    /// Messages that these made safe.
    pub synced_messages: u64,
    /// Octets written to the log of the spool.
    pub log_octets: u64,
    /// Recipients.
    pub counters: Counters,
    /// Messages that were accepted since the start.
    pub messages_accepted: u64,
    /// Messages that were signed with DKIM, in each form in which they left.
    pub messages_signed: u64,
    /// Times that a message had a key and could not be signed.
    pub signing_faults: u64,
    /// Signatures that the relay could not verify itself.
    pub signatures_unproven: u64,
    /// What was found out of messages.
    pub verified: Tally,
    /// Messages refused for what was found out of them.
    pub messages_disowned: u64,
    /// Messages that gave way while they came in, because memory had run out.
    pub messages_shed: u64,
    /// Connections to hosts by what came of TLS.
    pub tls: Vec<TlsCount>,
    /// Recipients by the source that their mail left from.
    pub sources: Vec<NamedCount>,
    /// What sources on their warm-up may send today; the first shard tells it.
    pub warmups: Vec<Warmup>,
    /// Recipients by tenant.
    pub tenants: Vec<NamedCount>,
    /// What came back later, by what became of it.
    pub returns: Vec<(&'static str, u64)>,
    /// Recipients who did not get mail that a host had taken, by why.
    pub later_bounces: bounces::Tally,
    /// Complaints by tenant and by who tells of them.
    pub complaints: Vec<(String, String, u64)>,
    /// Recipients who will not get their mail, by why.
    pub bounces: bounces::Tally,
    /// Attempts after which another one follows, by why.
    pub deferrals: bounces::Tally,
    /// Rules for bulk senders that messages broke.
    pub preflights: preflight::Tally,
    /// Destinations at home here that have complained of how fast mail comes, the slowest first and
    /// [`SLOWED_MAX`] at most: messages that may go to each in a minute.
    pub slowed: Vec<(String, f64)>,
    /// Messages in the queue.
    pub messages_queued: u64,
    /// Of them, those that nothing will move, by reason.
    pub stuck: Vec<(Why, u64)>,
    /// Connections of clients.
    pub connections_in: u64,
    /// Connections to hosts.
    pub connections_out: u64,
    /// Octets of the budget that are in use.
    pub memory_used: u64,
    /// The budget.
    pub memory_limit: u64,
    /// Segments of the spool.
    pub spool_segments: u64,
    /// Octets of them.
    pub spool_octets: u64,
    /// Octets of them that are still needed.
    pub spool_live_octets: u64,
    /// Panics that ended a task, or made it begin anew.
    pub panics: u64,
    /// Log lines lost because the writer was slow.
    pub log_lines_lost: u64,
    /// Events that other programs were told.
    pub events_told: u64,
    /// Events lost because the service thread was slow.
    pub events_lost: u64,
    /// Whether it takes mail.
    pub health: Health,
    /// How long its stages took, over all destinations.
    pub latencies: Snapshot,
}

/// Destinations whose rates are told of: one label each.
pub const SLOWED_MAX: usize = 20;

/// How busy a shard's thread was over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recent {
    /// The share of the time in which it had work; at 1 it has no more to give.
    pub busy: f64,
    /// The share in which it had a core. Much less than `busy`: others use that core.
    pub on_cpu: f64,
    /// Times a second that it slept and was woken.
    pub wakeups: f64,
}

/// A shard and its core, as `ringpost shards` shows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShardRow {
    /// Its number.
    pub shard: usize,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// The NUMA node of that CPU, on a machine that has several.
    pub node: Option<usize>,
    /// Whether it takes mail.
    pub health: Health,
    /// Of the last seconds.
    pub recent: Recent,
    /// Seconds in which it had work, since the start like all below that can only grow.
    pub busy_seconds: f64,
    /// Seconds in which it had a core.
    pub cpu_seconds: f64,
    /// Times that it slept and was woken.
    pub wakeups: u64,
    /// Times that its core was taken from it.
    pub preemptions: u64,
    /// Times that a task ran.
    pub turns: u64,
    /// Connections of clients.
    pub connections_in: u64,
    /// Connections to hosts.
    pub connections_out: u64,
    /// Messages that were accepted.
    pub messages_accepted: u64,
    /// Messages in the queue.
    pub messages_queued: u64,
    /// Recipients whose mail was delivered since the start.
    #[serde(default)]
    pub recipients_delivered: u64,
    /// Recipients whose mail failed since the start.
    #[serde(default)]
    pub recipients_failed: u64,
    /// Commits that waited for the disk.
    pub syncs: u64,
    /// Messages that these made safe.
    pub synced_messages: u64,
    /// Octets written to the log of the spool.
    pub log_octets: u64,
    /// Letters sent to other shards.
    pub letters_sent: u64,
    /// Letters that wait in the inbox.
    pub letters_waiting: u64,
    /// Octets of the budget that are in use.
    pub memory_used: u64,
    /// The budget.
    pub memory_limit: u64,
}

impl From<&Facts> for ShardRow {
    fn from(facts: &Facts) -> Self {
        let Facts { load, .. } = facts;
        Self {
            shard: facts.shard,
            cpu: load.seat.map(|seat| seat.cpu),
            node: load.seat.and_then(|seat| seat.node),
            health: facts.health,
            recent: facts.recent,
            busy_seconds: load.busy.as_secs_f64(),
            cpu_seconds: load.on_cpu.as_secs_f64(),
            wakeups: load.wakeups,
            preemptions: load.preemptions,
            turns: load.turns,
            connections_in: facts.connections_in,
            connections_out: facts.connections_out,
            messages_accepted: facts.messages_accepted,
            messages_queued: facts.messages_queued,
            recipients_delivered: facts.counters.delivered,
            recipients_failed: facts.counters.bounced + facts.counters.expired,
            syncs: facts.syncs,
            synced_messages: facts.synced_messages,
            log_octets: facts.log_octets,
            letters_sent: facts.letters_sent,
            letters_waiting: facts.letters_waiting,
            memory_used: facts.memory_used,
            memory_limit: facts.memory_limit,
        }
    }
}

/// Connections to hosts that one policy led to one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsCount {
    /// What was wanted of TLS.
    pub policy: &'static str,
    /// What came of it.
    pub outcome: &'static str,
    /// How many.
    pub connections: u64,
}

/// Recipients of one source, or of one tenant, with one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCount {
    /// The name, or `other`.
    pub name: String,
    /// `sent`, `deferred` or `bounced`.
    pub result: &'static str,
    /// How many.
    pub recipients: u64,
}

/// A line of the warm-up of a source, today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warmup {
    /// The source.
    pub source: String,
    /// `all`, `domain PATTERN` or `mx PATTERN`.
    pub about: String,
    /// Recipients that may be sent to.
    pub limit: u32,
    /// Those that were.
    pub used: u32,
}

/// Recipients, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Taken, those found by recovery included.
    pub accepted: u64,
    /// Delivered.
    pub delivered: u64,
    /// Failed.
    pub bounced: u64,
    /// Failed because their time was over.
    pub expired: u64,
    /// Removed by an operator.
    pub removed: u64,
    /// In the queue now.
    pub queued: u64,
}

impl Counters {
    /// `accepted - (delivered + bounced + expired + removed + queued)`: other than 0 is a defect.
    #[must_use]
    pub const fn difference(&self) -> i64 {
        let settled = self.delivered + self.bounced + self.expired + self.removed;
        self.accepted.wrapping_sub(settled + self.queued) as i64
    }

    /// Adds another shard's.
    pub const fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.bounced += other.bounced;
        self.expired += other.expired;
        self.removed += other.removed;
        self.queued += other.queued;
    }
}

impl From<crate::queue::Counters> for Counters {
    fn from(queue: crate::queue::Counters) -> Self {
        let crate::queue::Counters {
            accepted,
            delivered,
            bounced,
            expired,
            removed,
            queued,
        } = queue;
        Self {
            accepted,
            delivered,
            bounced,
            expired,
            removed,
            queued,
        }
    }
}

impl From<crate::queue::LaneShape> for ShapeRow {
    fn from(lane: crate::queue::LaneShape) -> Self {
        Self {
            destination: lane.lane.to_string(),
            ages: lane.recipients.to_vec(),
            states: lane.states.to_vec(),
            learned: None,
            waits_for_tomorrow: false,
        }
    }
}

/// How long an order may take, or a search that reads envelopes: a million of them. The control plane ends
/// a connection that is silent for longer.
pub const ORDER_PATIENCE: Duration = Duration::from_secs(80);
/// Messages in a list when nobody says how many: each costs the shard a read of its envelope.
pub const LIST_USUAL: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_do_not_balance_show_by_how_much() {
        let mut counters = Counters {
            accepted: 6,
            delivered: 1,
            bounced: 1,
            expired: 1,
            removed: 1,
            queued: 2,
        };
        assert_eq!(counters.difference(), 0);
        counters.queued += 1;
        assert_eq!(counters.difference(), -1);
        counters.add(&Counters {
            accepted: 3,
            ..Counters::default()
        });
        assert_eq!(counters.difference(), 2);
    }
}
