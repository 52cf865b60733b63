//! Dialogues that somebody follows while they happen: what is asked for, and what is told.

use std::net::IpAddr;

use futures_channel::mpsc::Sender;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::route;

/// Whose dialogues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// With the hosts of this next hop, or with the host of this name.
    Destination(String),
    /// With the clients of this network.
    Client(IpNet),
}

impl Whom {
    /// Whether a client's dialogue is meant.
    #[must_use]
    pub fn means_client(&self, client: IpAddr) -> bool {
        matches!(self, Self::Client(network) if network.contains(&client.to_canonical()))
    }

    /// Whether a dialogue with a host is meant: its next hop, and the host as the log writes it.
    #[must_use]
    pub fn means_host(&self, destination: &str, relay: &str) -> bool {
        let Self::Destination(wanted) = self else {
            return false;
        };
        let host = relay.split_once('[').map_or("", |(host, _)| host);
        let is_lane = wanted.eq_ignore_ascii_case(destination);
        is_lane
            || wanted.eq_ignore_ascii_case(&route::destination(destination))
            || wanted.eq_ignore_ascii_case(host)
    }
}

/// Somebody who follows dialogues.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Whose.
    pub whom: Whom,
    /// Where they are told. Closed, the following ends.
    pub lines: Sender<Spoken>,
}

/// A line of a dialogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoken {
    /// When: microseconds since 1970.
    pub at: i64,
    /// The shard that has the connection.
    pub shard: usize,
    /// Names the connection on its shard.
    pub connection: u64,
    /// Who is at its other end.
    pub peer: String,
    /// `client`, `server`, or `relay` for what happened to the connection.
    pub side: String,
    /// What was said.
    pub words: String,
    /// Lines before this one that nobody took in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}
