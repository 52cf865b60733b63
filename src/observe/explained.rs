//! How mail to one recipient would travel now, as the control plane tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The way of a recipient's mail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The recipient.
    pub recipient: String,
    /// The rule that decides, as `route N: DOMAIN to TARGET`; `None`: none matches, MX decides.
    pub rule: Option<String>,
    /// The next hop: mail with the same one travels together.
    pub next_hop: String,
    /// `mx`, `host`, `address`, `mailbox`, `discard` or `fail`.
    pub way: String,
    /// The users, and the addresses elsewhere, that it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leads_to: Vec<String>,
    /// Why mail would not leave at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The MTA-STS policy that the domain publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// The pool of sources that it goes by; `None` where the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// The hosts in the order in which they would be tried.
    pub hosts: Vec<Host>,
    /// Connections to this next hop at a time, over all shards.
    pub connections_max: usize,
    /// Messages after which a connection is ended.
    pub messages_per_connection: usize,
    /// What limits mail to this next hop, and to groups of its hosts.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// What each shard has for this next hop.
    pub lanes: Vec<Lane>,
}

/// A pool of sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SourcePool")]
pub struct Pool {
    /// Its name; `None`: what `[delivery] source` makes.
    pub name: Option<String>,
    /// Those that take turns in it.
    pub sources: Vec<Source>,
}

/// A source of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What it says in EHLO, where that is something of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Its share of the connections while nobody rests, from 0 to 1.
    pub share: f64,
    /// Addresses that the machine did not have a moment ago.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Seconds for which others go, because this destination turned it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests: Option<u64>,
    /// Its warm-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
}

/// The warm-up of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warmup {
    /// Its plan.
    pub plan: String,
    /// Which day of it is today, from 1; `None`: it has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<usize>,
    /// The first day.
    pub first: String,
    /// When there is more again: the next day, of UTC.
    pub next: String,
    /// Its lines; mail counts on each that is about it.
    pub lines: Vec<WarmupLine>,
}

/// A line of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WarmupLine {
    /// `all`, `domain PATTERN` or `mx PATTERN`.
    pub about: String,
    /// Recipients today; `None`: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Those that were sent to; `None`: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u32>,
}

impl Explained {
    /// Takes what another shard knows of the same way: its mail, and the paces that are at home there.
    pub fn merge(&mut self, other: Self) {
        self.lanes.extend(other.lanes);
        self.lanes.sort_by_key(|lane| lane.shard);
        for theirs in other.limits {
            let mut ours = self.limits.iter_mut();
            if let Some(ours) = ours.find(|ours| ours.of == theirs.of) {
                ours.learned = ours.learned.take().or(theirs.learned);
                ours.next_slot = ours.next_slot.or(theirs.next_slot);
            }
        }
    }
}

/// What limits mail to a next hop, or to a group of hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LimitInForce")]
pub struct Limit {
    /// The next hop; a group of hosts as `mx PATTERN`.
    pub of: String,
    /// The rule that says so, as `limit N`; `None`: `[delivery]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Connections at a time, over all shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Messages after which a connection is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<usize>,
    /// Messages, as `500/m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Recipients of one transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_per_message: Option<usize>,
    /// Recipients, as `500/m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_rate: Option<String>,
    /// What was learned from complaints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// Seconds until the next message may be sent, where its pace is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_slot: Option<f64>,
}

/// What a peer was found to take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Learned {
    /// Messages, as `42/m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Connections at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// What it said last.
    pub reason: String,
    /// Seconds since it first complained.
    pub since: u64,
    /// Seconds since it last complained.
    pub complained: u64,
}

/// An MTA-STS policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// `enforce` or `testing`; empty where there is trouble instead.
    pub mode: String,
    /// The hosts that it names.
    pub mx: Vec<String>,
    /// Why the present one cannot be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its name; for a literal the address.
    pub name: String,
    /// Of its MX record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<u16>,
    /// Its addresses, in the order in which they would be tried.
    pub addresses: Vec<Address>,
    /// What is wanted of TLS there, as delivery lines name it.
    pub tls: String,
    /// Who wants it: `DANE`, `MTA-STS`, `route` or `[delivery] tls`.
    pub tls_from: String,
    /// Why it is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// An address of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HostAddress")]
pub struct Address {
    /// With its port.
    pub to: String,
    /// Where the connection would come from, of several the next in turn; `None`: the kernel chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Seconds for which others are tried first, because it failed a moment ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests: Option<u64>,
}

/// A shard's mail for the next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lane {
    /// The shard.
    pub shard: usize,
    /// Messages, or parts of them, that are here for it.
    pub messages: u32,
    /// Those under way.
    pub in_flight: u32,
    /// Connections open.
    pub connections: u32,
    /// `open`, `backing off` or `probing`.
    pub state: String,
    /// Seconds until it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Why it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
