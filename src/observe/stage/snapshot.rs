//! What was recorded, taken out of the shards and added up.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recorder::{self, PerStage};
use super::{FIRST_OUTBOUND, Stage};

/// Histograms of one shard or, merged, of all.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By [`Stage::index`]; `None` where nothing was recorded.
    stages: Vec<Option<Histogram<u64>>>,
    destinations: Vec<Destination>,
}

/// What one destination's stages took.
#[derive(Clone, Debug)]
struct Destination {
    name: Box<str>,
    stages: Vec<(Stage, Histogram<u32>)>,
}

impl Destination {
    /// A copy of the stages that were recorded.
    fn copied(name: &str, stages: &PerStage) -> Self {
        let outbound = Stage::ALL.into_iter().skip(FIRST_OUTBOUND);
        let used = outbound.zip(stages).filter(|(_, one)| !one.is_empty());
        Self {
            name: name.into(),
            stages: used.map(|(stage, one)| (stage, one.clone())).collect(),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (stage, theirs) in &other.stages {
            match self.stages.iter_mut().find(|(own, _)| own == stage) {
                Some((_, ours)) => sum(ours, theirs),
                None => self.stages.push((*stage, theirs.clone())),
            }
        }
        self.stages.sort_by_key(|(stage, _)| *stage);
    }

    /// Deliveries, or what comes nearest to them.
    fn records(&self) -> u64 {
        self.stages
            .iter()
            .map(|(_, one)| one.len())
            .max()
            .unwrap_or(0)
    }
}

/// One line of a table of percentiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The stage's name.
    pub stage: String,
    /// The destination, when the row is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What the numbers below count: `us` or `messages`.
    pub unit: String,
    /// How often it was recorded.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// 90 % took no longer.
    pub p90: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p99_9: u64,
    /// 99.99 % took no longer.
    pub p99_99: u64,
    /// The longest.
    pub max: u64,
}

impl Snapshot {
    /// Copies one stage. An untouched histogram is not worth it.
    pub(super) fn take_stage(&mut self, stage: Stage, recorded: &Histogram<u64>) {
        self.stages.resize(Stage::ALL.len(), None);
        if !recorded.is_empty() {
            self.stages[stage.index()] = Some(recorded.clone());
        }
    }

    /// Copies what one destination's stages took. Seats move while a copy is made piece by piece:
    /// what comes twice is taken once.
    pub(super) fn take_destination(&mut self, name: &str, stages: &PerStage) {
        self.destinations.retain(|one| *one.name != *name);
        let copied = Destination::copied(name, stages);
        if !copied.stages.is_empty() {
            self.destinations.push(copied);
        }
    }

    /// Adds what another shard recorded.
    pub fn merge(&mut self, other: &Self) {
        if self.stages.len() < other.stages.len() {
            self.stages.resize(other.stages.len(), None);
        }
        for (ours, theirs) in self.stages.iter_mut().zip(&other.stages) {
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => sum(ours, theirs),
                (ours @ None, Some(theirs)) => *ours = Some(theirs.clone()),
                (_, None) => {}
            }
        }
        for theirs in &other.destinations {
            let mut own = self.destinations.iter_mut();
            match own.find(|own| own.name == theirs.name) {
                Some(ours) => ours.merge(theirs),
                None => self.destinations.push(theirs.clone()),
            }
        }
        self.destinations
            .sort_by_key(|one| std::cmp::Reverse(one.records()));
    }

    /// The destinations that have histograms of their own, the busiest first.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.destinations.iter().map(|one| &*one.name)
    }

    /// One stage's histogram over all destinations, in microseconds or in messages.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<&Histogram<u64>> {
        self.stages.get(stage.index())?.as_ref()
    }

    /// Percentiles of every stage that was recorded, in order: over everything, or of one
    /// destination.
    #[must_use]
    pub fn rows(&self, destination: Option<&str>) -> Vec<Row> {
        match destination {
            None => self
                .recorded()
                .map(|(stage, histogram)| row(stage, None, histogram))
                .collect(),
            Some(name) => self
                .of(name)
                .iter()
                .map(|(stage, histogram)| row(*stage, Some(name), histogram))
                .collect(),
        }
    }

    /// HdrHistogram's percentile text (`.hgrm`) of one stage, which its plotters read. Times are
    /// in milliseconds. `None` where nothing was recorded.
    #[must_use]
    pub fn hgrm(&self, stage: Stage, destination: Option<&str>) -> Option<String> {
        match destination {
            None => self.stage(stage).map(|one| hgrm(stage, one)),
            Some(name) => {
                let (_, histogram) = self.of(name).iter().find(|(own, _)| *own == stage)?;
                Some(hgrm(stage, histogram))
            }
        }
    }

    /// The stages that were recorded, over all destinations.
    pub(super) fn recorded(&self) -> impl Iterator<Item = (Stage, &Histogram<u64>)> {
        let all = Stage::ALL.into_iter().zip(&self.stages);
        all.filter_map(|(stage, histogram)| Some((stage, histogram.as_ref()?)))
    }

    /// The stages that were recorded for single destinations.
    pub(super) fn recorded_for(&self) -> impl Iterator<Item = (&str, Stage, &Histogram<u32>)> {
        self.destinations.iter().flat_map(|one| {
            let stages = one.stages.iter();
            stages.map(|(stage, histogram)| (&*one.name, *stage, histogram))
        })
    }

    /// Adds values, with how often each was recorded.
    pub(super) fn put(&mut self, destination: Option<&str>, stage: Stage, counts: &[(u64, u64)]) {
        let mut one = Self::default();
        match destination {
            None => {
                one.stages.resize(Stage::ALL.len(), None);
                one.stages[stage.index()] = recorder::blank(stage).ok().map(|mut histogram| {
                    for (value, count) in counts {
                        histogram.saturating_record_n(*value, *count);
                    }
                    histogram
                });
            }
            Some(name) => {
                let Ok(mut histogram) = recorder::blank_for_destination() else {
                    return;
                };
                for (value, count) in counts {
                    let count = u32::try_from(*count).unwrap_or(u32::MAX);
                    histogram.saturating_record_n(*value, count);
                }
                one.destinations.push(Destination {
                    name: name.into(),
                    stages: vec![(stage, histogram)],
                });
            }
        }
        self.merge(&one);
    }

    fn of(&self, destination: &str) -> &[(Stage, Histogram<u32>)] {
        let mut all = self.destinations.iter();
        all.find(|one| one.name.eq_ignore_ascii_case(destination))
            .map_or(&[], |one| &one.stages)
    }
}

fn sum<C: hdrhistogram::Counter>(ours: &mut Histogram<C>, theirs: &Histogram<C>) {
    // Fails only where `theirs` has values out of our bounds, and all bounds are the same.
    let _ = ours.add(theirs);
}

fn row<C: hdrhistogram::Counter>(
    stage: Stage,
    destination: Option<&str>,
    histogram: &Histogram<C>,
) -> Row {
    let at = |quantile| histogram.value_at_quantile(quantile);
    Row {
        stage: stage.name().to_owned(),
        destination: destination.map(str::to_owned),
        unit: if stage.is_count() { "messages" } else { "us" }.to_owned(),
        count: histogram.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: histogram.max(),
    }
}

fn hgrm<C: hdrhistogram::Counter>(stage: Stage, histogram: &Histogram<C>) -> String {
    let unit = if stage.is_count() {
        1.0
    } else {
        MICROS_PER_MILLI
    };
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = step.value_iterated_to() as f64 / unit;
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:12.3} {quantile:2.12} {total:10}");
        let _ = if quantile < 1.0 {
            writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text)
        };
    }
    let (mean, deviation) = (histogram.mean() / unit, histogram.stdev() / unit);
    let (max, count) = (histogram.max() as f64 / unit, histogram.len());
    let sub_buckets = (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let buckets = histogram.buckets();
    let _ = writeln!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
         #[Max     = {max:12.3}, Total count    = {count:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]"
    );
    text
}

/// As HdrHistogram's own tools print it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

const MICROS_PER_MILLI: f64 = 1000.0;
