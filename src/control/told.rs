//! Metrics of events: what other programs were told, and what they never heard.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::observe::ask::Facts;
use crate::observe::events::Sums;

/// Events, counted.
#[derive(Default)]
pub(super) struct Told {
    told: u64,
    /// By where they were lost.
    lost: [(&'static str, u64); 3],
    delivered: u64,
    failures: u64,
    spooled: u64,
}

impl Told {
    pub(super) fn of(facts: &[Facts], sums: &Sums) -> Self {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Self {
            told: facts.iter().map(|one| one.events_told).sum(),
            lost: [
                ("channel", facts.iter().map(|one| one.events_lost).sum()),
                ("disk", read(&sums.unwritten)),
                ("spool", read(&sums.dropped)),
            ],
            delivered: read(&sums.delivered),
            failures: read(&sums.failures),
            spooled: read(&sums.spooled),
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counter = |name, help, value: u64| {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, u64>(&value, None)
        };
        counter("events", "Events for the event log and webhooks", self.told)?;
        counter(
            "webhook_events",
            "Events that webhooks have taken",
            self.delivered,
        )?;
        counter(
            "webhook_failures",
            "Requests to webhooks that failed",
            self.failures,
        )?;
        let help = "Events lost: the channel to the service thread was full, the disk did not take them, or the spool was full";
        let mut family =
            encoder.encode_descriptor("events_lost", help, None, MetricType::Counter)?;
        for (place, events) in &self.lost {
            family
                .encode_family(&[("place", *place)])?
                .encode_counter::<NoLabelSet, u64, u64>(events, None)?;
        }
        let help = "What events for webhooks take on the disk";
        let bytes = Some(&Unit::Bytes);
        encoder
            .encode_descriptor("webhook_spool", help, bytes, MetricType::Gauge)?
            .encode_gauge(&self.spooled)
    }
}
