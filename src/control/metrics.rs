//! `/metrics`, in the format that the asker reads: with native histograms, or as text.

mod format;
mod native;

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::told::Told;
use super::{Failure, Plane, shards};
use crate::bounces;
use crate::observe::ask::{Counters, Facts, Health, SLOWED_MAX, ShardRow, Warmup};
use crate::observe::stage::{Snapshot, Stage};
use crate::preflight;
use crate::queue::watch::Why;
use crate::verify::Tally;
use format::Format;
use native::Native;

/// `GET /metrics`
pub(super) async fn metrics(
    State(plane): State<Plane>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let facts = plane.facts().await?;
    let mut registry = Registry::with_prefix("ringpost");
    registry.register_collector(Box::new(Sums {
        told: Told::of(&facts, &plane.events),
        suppressed: plane.suppressions.counts(),
        ..Sums::of(&facts)
    }));
    let format = Format::wanted(&headers);
    let body = format
        .encode(&registry)
        .map_err(|words| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, words))?;
    Ok(([(header::CONTENT_TYPE, format.media_type())], body).into_response())
}

/// The facts of all shards, added up.
#[derive(Default)]
struct Sums {
    counters: Counters,
    messages_accepted: u64,
    messages_signed: u64,
    signing_faults: u64,
    signatures_unproven: u64,
    verified: Tally,
    messages_disowned: u64,
    messages_shed: u64,
    preflights: preflight::Tally,
    panics: u64,
    log_lines_lost: u64,
    told: Told,
    tls: BTreeMap<(&'static str, &'static str), u64>,
    sources: BTreeMap<(String, &'static str), u64>,
    tenants: BTreeMap<(String, &'static str), u64>,
    warmups: Vec<Warmup>,
    bounces: bounces::Tally,
    returns: BTreeMap<&'static str, u64>,
    later_bounces: bounces::Tally,
    complaints: BTreeMap<(String, String), u64>,
    /// Addresses that bounces have put on the suppression list, and bounces that it did not take.
    suppressed: (u64, u64),
    deferrals: bounces::Tally,
    stuck: BTreeMap<Why, u64>,
    slowed: Vec<(String, f64)>,
    gauges: Gauges,
    latencies: Snapshot,
    rows: Vec<ShardRow>,
    shards_ready: u64,
    shards: u64,
}

#[derive(Default)]
struct Gauges {
    messages_queued: u64,
    connections_in: u64,
    connections_out: u64,
    memory_used: u64,
    memory_limit: u64,
    spool_segments: u64,
    spool_octets: u64,
    spool_live_octets: u64,
}

impl Sums {
    fn of(facts: &[Facts]) -> Self {
        let mut sums = Self::default();
        for one in facts {
            sums.counters.add(&one.counters);
            sums.messages_accepted += one.messages_accepted;
            sums.messages_signed += one.messages_signed;
            sums.signing_faults += one.signing_faults;
            sums.signatures_unproven += one.signatures_unproven;
            sums.verified.add(&one.verified);
            sums.messages_disowned += one.messages_disowned;
            sums.messages_shed += one.messages_shed;
            sums.preflights.add(&one.preflights);
            sums.panics += one.panics;
            sums.log_lines_lost += one.log_lines_lost;
            for count in &one.tls {
                *sums.tls.entry((count.policy, count.outcome)).or_default() += count.connections;
            }
            for (what, count) in &one.returns {
                *sums.returns.entry(*what).or_default() += count;
            }
            for (tenant, reporter, count) in &one.complaints {
                let key = (tenant.clone(), reporter.clone());
                *sums.complaints.entry(key).or_default() += count;
            }
            sums.later_bounces.add(&one.later_bounces);
            sums.bounces.add(&one.bounces);
            sums.deferrals.add(&one.deferrals);
            for count in &one.sources {
                let key = (count.name.clone(), count.result);
                *sums.sources.entry(key).or_default() += count.recipients;
            }
            for count in &one.tenants {
                let key = (count.name.clone(), count.result);
                *sums.tenants.entry(key).or_default() += count.recipients;
            }
            sums.warmups.extend(one.warmups.iter().cloned());
            for (why, messages) in &one.stuck {
                *sums.stuck.entry(*why).or_default() += messages;
            }
            sums.slowed.extend(one.slowed.iter().cloned());
            sums.gauges.messages_queued += one.messages_queued;
            sums.gauges.connections_in += one.connections_in;
            sums.gauges.connections_out += one.connections_out;
            sums.gauges.memory_used += one.memory_used;
            sums.gauges.memory_limit += one.memory_limit;
            sums.gauges.spool_segments += one.spool_segments;
            sums.gauges.spool_octets += one.spool_octets;
            sums.gauges.spool_live_octets += one.spool_live_octets;
            sums.latencies.merge(&one.latencies);
            sums.rows.push(one.into());
            sums.shards_ready += u64::from(one.health == Health::Ready);
            sums.shards += 1;
        }
        sums.slowed.sort_by(|a, b| a.1.total_cmp(&b.1));
        sums.slowed.truncate(SLOWED_MAX);
        sums
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counter = |name, help, value| {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)
        };
        let sums = &self.counters;
        counter(
            "messages_accepted",
            "Messages taken",
            self.messages_accepted,
        )?;
        counter("messages_signed", "Signed with DKIM", self.messages_signed)?;
        counter(
            "signing_faults",
            "Messages with a DKIM key that could not be signed",
            self.signing_faults,
        )?;
        counter(
            "signatures_unproven",
            "Signatures that the relay could not verify itself",
            self.signatures_unproven,
        )?;
        counter(
            "messages_disowned",
            "Refused because of the DMARC policy of the domain in From",
            self.messages_disowned,
        )?;
        counter(
            "messages_shed",
            "Gave way while they came in, because memory had run out",
            self.messages_shed,
        )?;
        counter(
            "recipients_accepted",
            "Taken, those found by recovery included",
            sums.accepted,
        )?;
        counter(
            "recipients_delivered",
            "Delivered to the next hop",
            sums.delivered,
        )?;
        counter("recipients_bounced", "Failed", sums.bounced)?;
        counter(
            "recipients_expired",
            "Failed because their time was over",
            sums.expired,
        )?;
        counter("recipients_removed", "Removed by an operator", sums.removed)?;
        counter(
            "panics",
            "Defects that ended one task: must be 0",
            self.panics,
        )?;
        counter(
            "log_lines_lost",
            "Lost because the log is slow",
            self.log_lines_lost,
        )
    }

    fn tls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connections to hosts by what was wanted of TLS and what came of it";
        let mut family = encoder.encode_descriptor("tls", help, None, MetricType::Counter)?;
        for ((policy, outcome), connections) in &self.tls {
            family
                .encode_family(&[("policy", *policy), ("outcome", *outcome)])?
                .encode_counter::<NoLabelSet, u64, u64>(connections, None)?;
        }
        Ok(())
    }

    fn named(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = MetricType::Counter;
        for (name, label, help, counts) in [
            (
                "source_recipients",
                "source",
                "Recipients by the source that their mail left from, attempt by attempt",
                &self.sources,
            ),
            (
                "tenant_recipients",
                "tenant",
                "Recipients by the tenant whose mail it is, attempt by attempt",
                &self.tenants,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for ((name, result), recipients) in counts {
                family
                    .encode_family(&[(label, &**name), ("result", result)])?
                    .encode_counter::<NoLabelSet, u64, u64>(recipients, None)?;
            }
        }
        Ok(())
    }

    fn warmups(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = MetricType::Gauge;
        for (name, help, value) in [
            (
                "source_warmup_limit",
                "Recipients that a source may send to today, by its warm-up",
                (|one| one.limit) as fn(&Warmup) -> u32,
            ),
            (
                "source_warmup_used",
                "Recipients that it has sent to today",
                |one| one.used,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for one in &self.warmups {
                family
                    .encode_family(&[("source", &*one.source), ("about", &*one.about)])?
                    .encode_gauge(&i64::from(value(one)))?;
            }
        }
        Ok(())
    }

    fn refusals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, tally) in [
            (
                "bounces",
                "Recipients who will not get their mail, by why",
                &self.bounces,
            ),
            (
                "later_bounces",
                "Recipients who did not get mail that a host had taken, by why: reports said so",
                &self.later_bounces,
            ),
            (
                "deferrals",
                "Attempts after which another one follows, by why",
                &self.deferrals,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (class, count) in tally.iter() {
                family
                    .encode_family(&[("class", class.name())])?
                    .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        let help = "Messages that came back, by what they were and what became of them";
        let mut family = encoder.encode_descriptor("returns", help, None, MetricType::Counter)?;
        for (what, count) in &self.returns {
            family
                .encode_family(&[("what", *what)])?
                .encode_counter::<NoLabelSet, u64, u64>(count, None)?;
        }
        let help = "Complaints, by tenant and by who tells of them";
        let mut family =
            encoder.encode_descriptor("complaints", help, None, MetricType::Counter)?;
        for ((tenant, reporter), count) in &self.complaints {
            family
                .encode_family(&[("tenant", &**tenant), ("reporter", &**reporter)])?
                .encode_counter::<NoLabelSet, u64, u64>(count, None)?;
        }
        let (added, lost) = &self.suppressed;
        for (name, help, count) in [
            (
                "suppressions_added",
                "Addresses that get no mail since a bounce",
                added,
            ),
            (
                "suppression_bounces_lost",
                "Bounces that the suppression list did not take",
                lost,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(count, None)?;
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, unit: Option<&Unit>, value: u64| {
            encoder
                .encode_descriptor(name, help, unit, MetricType::Gauge)?
                .encode_gauge(&value)
        };
        let sums = &self.gauges;
        let bytes = Some(&Unit::Bytes);
        gauge(
            "recipients_queued",
            "In the queue",
            None,
            self.counters.queued,
        )?;
        gauge(
            "messages_queued",
            "In the queue",
            None,
            sums.messages_queued,
        )?;
        gauge(
            "connections_in",
            "Connections of clients",
            None,
            sums.connections_in,
        )?;
        gauge(
            "connections_out",
            "Connections to hosts",
            None,
            sums.connections_out,
        )?;
        gauge(
            "memory_used",
            "What of the budget is in use",
            bytes,
            sums.memory_used,
        )?;
        gauge("memory_limit", "The budget", bytes, sums.memory_limit)?;
        gauge(
            "spool_segments",
            "Segments of the spool",
            None,
            sums.spool_segments,
        )?;
        gauge(
            "spool_size",
            "What the spool takes on the disk",
            bytes,
            sums.spool_octets,
        )?;
        gauge(
            "spool_live",
            "What of it is still needed",
            bytes,
            sums.spool_live_octets,
        )?;
        gauge("shards", "Shards that run", None, self.shards)?;
        gauge(
            "shards_ready",
            "Shards that take mail",
            None,
            self.shards_ready,
        )?;
        let help = "accepted - delivered - bounced - expired - removed - queued: must be 0";
        encoder
            .encode_descriptor("accounting_difference", help, None, MetricType::Gauge)?
            .encode_gauge(&self.counters.difference())
    }

    fn stuck(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Messages that nothing will move: must be 0";
        let mut family = encoder.encode_descriptor("queue_stuck", help, None, MetricType::Gauge)?;
        for why in Why::ALL {
            let messages = self.stuck.get(&why).copied().unwrap_or_default();
            family
                .encode_family(&[("why", why.name())])?
                .encode_gauge(&messages)?;
        }
        Ok(())
    }

    fn slowed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Messages that may go in a minute to a destination that complained; the slowest";
        let kind = MetricType::Gauge;
        let mut family = encoder.encode_descriptor("destination_rate", help, None, kind)?;
        for (destination, rate) in &self.slowed {
            family
                .encode_family(&[("destination", destination.as_str())])?
                .encode_gauge(rate)?;
        }
        Ok(())
    }

    fn verified(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What was found out of who incoming mail is from";
        let mut family = encoder.encode_descriptor("verified", help, None, MetricType::Counter)?;
        for (method, verdict, count) in self.verified.iter() {
            family
                .encode_family(&[("method", method.name()), ("result", verdict.name())])?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        let help = "Messages that broke a rule for bulk senders";
        let kind = MetricType::Counter;
        let mut family = encoder.encode_descriptor("preflight_broken", help, None, kind)?;
        for (rule, count) in self.preflights.iter() {
            family
                .encode_family(&[("rule", rule.name())])?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        Ok(())
    }

    fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long each stage of a message's way took";
        let mut family = encoder.encode_descriptor(
            "stage",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for stage in Stage::ALL.into_iter().filter(|stage| !stage.is_count()) {
            let Some(histogram) = self.latencies.stage(stage) else {
                continue;
            };
            let first = if stage.is_outbound() {
                OUTBOUND_FIRST
            } else {
                0
            };
            let buckets = counts(histogram, &SECONDS[first..], MICROS_PER_SECOND);
            let sum = histogram.mean() * histogram.len() as f64 / MICROS_PER_SECOND;
            family
                .encode_family(&[("stage", stage.name())])?
                .encode_histogram_with_native::<NoLabelSet>(
                    sum,
                    histogram.len(),
                    &buckets,
                    None,
                    Native::of(histogram, MICROS_PER_SECOND).told(),
                )?;
        }
        if let Some(histogram) = self.latencies.stage(Stage::CommitBatch) {
            let help = "Messages that one fdatasync made safe";
            let sum = histogram.mean() * histogram.len() as f64;
            let buckets = counts(histogram, &BATCHES, 1.0);
            encoder
                .encode_descriptor("commit_batch_messages", help, None, MetricType::Histogram)?
                .encode_histogram_with_native::<NoLabelSet>(
                    sum,
                    histogram.len(),
                    &buckets,
                    None,
                    Native::of(histogram, 1.0).told(),
                )?;
        }
        Ok(())
    }
}

impl Collector for Sums {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counters(&mut encoder)?;
        self.verified(&mut encoder)?;
        self.tls(&mut encoder)?;
        self.named(&mut encoder)?;
        self.refusals(&mut encoder)?;
        self.gauges(&mut encoder)?;
        self.stuck(&mut encoder)?;
        self.warmups(&mut encoder)?;
        self.slowed(&mut encoder)?;
        shards::encode(&self.rows, &mut encoder)?;
        self.told.encode(&mut encoder)?;
        self.latencies(&mut encoder)
    }
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sums")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// How many records lie in each bucket, for bounds in units of `unit` records.
fn counts(histogram: &Histogram<u64>, bounds: &[f64], unit: f64) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|&bound| (bound, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let mut at = 0;
    for step in histogram.iter_recorded() {
        // The low end of what the histogram cannot tell apart: a time of exactly a bound counts
        // below it.
        let value = histogram.lowest_equivalent(step.value_iterated_to()) as f64 / unit;
        while value > buckets[at].0 {
            at += 1;
        }
        buckets[at].1 += step.count_since_last_iteration();
    }
    buckets
}

/// Bounds of the buckets of time. The first three are for what happens on this machine.
const SECONDS: [f64; 21] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// Where the buckets of the stages over a network begin: at a millisecond.
const OUTBOUND_FIRST: usize = 3;

/// Bounds of the buckets of batches.
const BATCHES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const MICROS_PER_SECOND: f64 = 1e6;
