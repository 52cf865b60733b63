//! Each shard by itself: which core is full, and what of.

use std::fmt;

use axum::extract::State;
use axum::response::Json;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Failure, Plane};
use crate::observe::ask::ShardRow;

/// `GET /api/v1/shards`
pub(super) async fn shards(State(plane): State<Plane>) -> Result<Json<Vec<ShardRow>>, Failure> {
    let facts = plane.facts().await?;
    let mut rows: Vec<ShardRow> = facts.iter().map(ShardRow::from).collect();
    rows.sort_by_key(|row| row.shard);
    Ok(Json(rows))
}

/// The families of `/metrics` that tell shards apart. There are as many of each as there are shards.
pub(super) fn encode(rows: &[ShardRow], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help =
        "The share of the last seconds in which the shard of a core had work: at 1 it is full";
    let name = "core_busy_ratio";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for row in rows {
        let core = row
            .cpu
            .map_or_else(|| ANY_CORE.to_owned(), |cpu| cpu.to_string());
        family
            .encode_family(&[("core", core), ("shard", row.shard.to_string())])?
            .encode_gauge(&row.recent.busy)?;
    }
    seconds(rows, encoder)?;
    for (name, help, value) in COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for row in rows {
            family
                .encode_family(&[("shard", row.shard)])?
                .encode_counter::<NoLabelSet, u64, u64>(&value(row), None)?;
        }
    }
    for (name, help, value) in GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for row in rows {
            family
                .encode_family(&[("shard", row.shard)])?
                .encode_gauge(&value(row))?;
        }
    }
    octets(rows, encoder)?;
    let help = "Open connections: in, of clients; out, to hosts";
    let mut family =
        encoder.encode_descriptor("shard_connections", help, None, MetricType::Gauge)?;
    for row in rows {
        for (dir, connections) in [("in", row.connections_in), ("out", row.connections_out)] {
            family
                .encode_family(&[("shard", &*row.shard.to_string()), ("dir", dir)])?
                .encode_gauge(&connections)?;
        }
    }
    Ok(())
}

fn seconds(rows: &[ShardRow], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let unit = Some(&Unit::Seconds);
    let families: [Family<f64>; 2] = [
        (
            "shard_busy",
            "Time in which it had work, waiting for its core included",
            |row| row.busy_seconds,
        ),
        (
            "shard_cpu",
            "Time in which it had its core, polling included",
            |row| row.cpu_seconds,
        ),
    ];
    for (name, help, value) in families {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for row in rows {
            family
                .encode_family(&[("shard", row.shard)])?
                .encode_counter::<NoLabelSet, f64, u64>(&value(row), None)?;
        }
    }
    Ok(())
}

fn octets(rows: &[ShardRow], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let unit = Some(&Unit::Bytes);
    let help = "Written to its log in the spool; large messages have files of their own";
    let mut family =
        encoder.encode_descriptor("shard_log_written", help, unit, MetricType::Counter)?;
    for row in rows {
        family
            .encode_family(&[("shard", row.shard)])?
            .encode_counter::<NoLabelSet, u64, u64>(&row.log_octets, None)?;
    }
    let help = "What of its part of the memory budget is in use";
    let mut family =
        encoder.encode_descriptor("shard_memory_used", help, unit, MetricType::Gauge)?;
    for row in rows {
        family
            .encode_family(&[("shard", row.shard)])?
            .encode_gauge(&row.memory_used)?;
    }
    Ok(())
}

/// Name, help, and where the value is.
type Family<T> = (&'static str, &'static str, fn(&ShardRow) -> T);

const COUNTERS: [Family<u64>; 7] = [
    (
        "shard_wakeups",
        "Times that it slept and was woken",
        |row| row.wakeups,
    ),
    (
        "shard_preemptions",
        "Times that its core was taken from it while it had work",
        |row| row.preemptions,
    ),
    ("shard_turns", "Times that one of its tasks ran", |row| {
        row.turns
    }),
    ("shard_messages_accepted", "Messages taken", |row| {
        row.messages_accepted
    }),
    ("shard_syncs", "Commits that waited for the disk", |row| {
        row.syncs
    }),
    (
        "shard_synced_messages",
        "Messages that these commits made safe",
        |row| row.synced_messages,
    ),
    ("shard_letters_sent", "Letters to other shards", |row| {
        row.letters_sent
    }),
];

const GAUGES: [Family<u64>; 2] = [
    ("shard_messages_queued", "In its queue", |row| {
        row.messages_queued
    }),
    ("shard_letters_waiting", "Letters in its inbox", |row| {
        row.letters_waiting
    }),
];

/// The core of a shard that is not pinned.
const ANY_CORE: &str = "any";
