//! What was recorded of late. Shards count since their start and nothing else; whoever copies their
//! histograms now and then has, in the differences, the last minute and the last hour.
//!
//! ```text
//!  minutes: [m][m][m] … [m]   tens: [t][t][t][t][t][t]   since the last look
//!            60 at most              6 at most            (an hour = minutes + what they lack)
//! ```
//!
//! Copies are kept [thin](Thin): a full histogram takes 180 KiB, its values that occurred some KiB.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;

use hdrhistogram::{Counter, Histogram};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Snapshot, Stage};

/// A [`Snapshot`] as values and how often each was recorded: small where little happened, and made
/// to be subtracted, kept in a file and read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Thin(BTreeMap<Key, Counts>);

/// The destination that it is about, or none for all of them together; and the stage.
type Key = (Option<Box<str>>, Stage);

/// How often each value was recorded; values ascend.
type Counts = Vec<(u64, u64)>;

/// One histogram of a [`Thin`], as it is written.
#[derive(Serialize, Deserialize)]
struct Entry {
    stage: Stage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destination: Option<Box<str>>,
    counts: Counts,
}

impl From<Vec<Entry>> for Thin {
    fn from(entries: Vec<Entry>) -> Self {
        let keyed = entries.into_iter().map(|mut entry| {
            // A file may have been edited.
            entry.counts.sort_unstable();
            ((entry.destination, entry.stage), entry.counts)
        });
        Self(keyed.collect())
    }
}

impl From<Thin> for Vec<Entry> {
    fn from(thin: Thin) -> Self {
        let entries = thin.0.into_iter();
        entries
            .map(|((destination, stage), counts)| Entry {
                stage,
                destination,
                counts,
            })
            .collect()
    }
}

impl Thin {
    /// Everything in `snapshot`; values keep `digits` digits.
    #[must_use]
    pub fn of(snapshot: &Snapshot, digits: u8) -> Self {
        let mut thin = Self::over_all(snapshot, digits);
        for (destination, stage, recorded) in snapshot.recorded_for() {
            let key = (Some(destination.into()), stage);
            thin.0.insert(key, counts(recorded, digits));
        }
        thin
    }

    /// The same without single destinations.
    fn over_all(snapshot: &Snapshot, digits: u8) -> Self {
        let stages = snapshot.recorded();
        Self(
            stages
                .map(|(stage, recorded)| ((None, stage), counts(recorded, digits)))
                .collect(),
        )
    }

    /// What was recorded after `earlier` was. A histogram that has less than it had began anew, with
    /// its relay or its destination: all of it is later.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let later = self.0.iter().map(|(key, counts)| {
            let before = earlier.0.get(key).map_or(&[][..], |before| before);
            let left = minus(counts, before).unwrap_or_else(|| counts.clone());
            (key.clone(), left)
        });
        Self(later.filter(|(_, counts)| !counts.is_empty()).collect())
    }

    /// Adds another time's.
    pub fn add(&mut self, other: &Self) {
        for (key, theirs) in &other.0 {
            let ours = self.0.entry(key.clone()).or_default();
            *ours = plus(ours, theirs);
        }
    }

    /// One stage's values over all destinations, and how often each was recorded.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> &[(u64, u64)] {
        self.0.get(&(None, stage)).map_or(&[], |counts| counts)
    }

    /// Histograms again.
    #[must_use]
    pub fn spread(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for ((destination, stage), counts) in &self.0 {
            snapshot.put(destination.as_deref(), *stage, counts);
        }
        snapshot
    }
}

fn counts<C: Counter>(recorded: &Histogram<C>, digits: u8) -> Counts {
    // Through a coarser histogram: values of one of its steps are one entry.
    let coarse = (recorded.sigfig() > digits)
        .then(|| Histogram::<C>::new_with_max(recorded.high(), digits).ok())
        .flatten()
        .and_then(|mut coarse| coarse.add(recorded).is_ok().then_some(coarse));
    let recorded = coarse.as_ref().unwrap_or(recorded);
    let values = recorded.iter_recorded();
    values
        .map(|step| (step.value_iterated_to(), step.count_at_value().as_u64()))
        .collect()
}

/// `None` where there would be less than nothing.
fn minus(counts: &[(u64, u64)], before: &[(u64, u64)]) -> Option<Counts> {
    let mut left = Counts::with_capacity(counts.len());
    let mut before = before.iter().copied().peekable();
    for &(value, count) in counts {
        let gone = before.next_if(|(other, _)| *other == value);
        let count = count.checked_sub(gone.map_or(0, |(_, count)| count))?;
        if count > 0 {
            left.push((value, count));
        }
    }
    before.next().is_none().then_some(left)
}

fn plus(ours: &[(u64, u64)], theirs: &[(u64, u64)]) -> Counts {
    let mut sum = Counts::with_capacity(ours.len().max(theirs.len()));
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        let value = match (ours.peek(), theirs.peek()) {
            (Some((one, _)), Some((other, _))) => *one.min(other),
            (Some((value, _)), None) | (None, Some((value, _))) => *value,
            (None, None) => return sum,
        };
        let same = |(other, _): &&(u64, u64)| *other == value;
        let one = ours.next_if(same).map_or(0, |(_, count)| *count);
        let other = theirs.next_if(same).map_or(0, |(_, count)| *count);
        sum.push((value, one.saturating_add(other)));
    }
}

/// A stretch of time that ends now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Since the relay was started.
    #[default]
    Start,
    /// The last hour.
    Hour,
    /// The last minute.
    Minute,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Start];

    /// Its name in commands and addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Hour => "hour",
            Self::Minute => "minute",
        }
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|window| window.name() == text);
        known.ok_or_else(|| format!("no window is called {text}; there are minute, hour and start"))
    }
}

/// The last minute and the last hour of one shard, or of all.
#[derive(Debug, Default)]
pub struct Recent {
    /// Everything since the start, when last looked at.
    last: Thin,
    /// What was recorded between looks, the newest last.
    tens: VecDeque<Thin>,
    /// Sums of [`TENS`] looks each, the newest last.
    minutes: VecDeque<Thin>,
    /// How many of `tens`, from the end, are in no minute yet.
    open: usize,
    /// Destinations are kept too.
    destinations: bool,
}

impl Recent {
    /// For all shards together, with the busiest destinations.
    #[must_use]
    pub fn with_destinations() -> Self {
        Self {
            destinations: true,
            ..Self::default()
        }
    }

    /// Takes what was recorded since the start. To be called every [`LOOK_SECONDS`]; a look that
    /// comes late makes that piece, and the minute that it is part of, longer.
    pub fn look(&mut self, snapshot: &Snapshot) {
        let now = self.thin(snapshot);
        self.tens.push_back(now.since(&self.last));
        self.last = now;
        if self.tens.len() > TENS {
            self.tens.pop_front();
        }
        self.open += 1;
        if self.open == TENS {
            self.open = 0;
            self.minutes.push_back(sum(self.tens.iter()));
            if self.minutes.len() > MINUTES {
                self.minutes.pop_front();
            }
        }
    }

    /// The last minute, up to `snapshot`, which is of now: a minute and what has passed since the
    /// last look.
    #[must_use]
    pub fn minute(&self, snapshot: &Snapshot) -> Thin {
        let newest = self.thin(snapshot).since(&self.last);
        sum(self.tens.iter().chain([&newest]))
    }

    /// The last hour, up to `snapshot`, which is of now.
    #[must_use]
    pub fn hour(&self, snapshot: &Snapshot) -> Thin {
        let newest = self.thin(snapshot).since(&self.last);
        let open = self.tens.iter().skip(self.tens.len() - self.open);
        sum(self.minutes.iter().chain(open).chain([&newest]))
    }

    /// Each whole minute of the last hour, the oldest first.
    pub fn minutes(&self) -> impl Iterator<Item = &Thin> {
        self.minutes.iter()
    }

    fn thin(&self, snapshot: &Snapshot) -> Thin {
        if self.destinations {
            Thin::of(snapshot, RECENT_DIGITS)
        } else {
            Thin::over_all(snapshot, RECENT_DIGITS)
        }
    }
}

fn sum<'a>(pieces: impl Iterator<Item = &'a Thin>) -> Thin {
    let mut sum = Thin::default();
    for piece in pieces {
        sum.add(piece);
    }
    sum
}

/// How often somebody looks: what a window lacks or has too much at the most.
pub const LOOK_SECONDS: u64 = 10;

/// Looks of a minute.
const TENS: usize = 60 / LOOK_SECONDS as usize;

/// Minutes of an hour. With the looks of a minute, 66 pieces of 10 KiB for each shard of a busy
/// relay, and of 100 KiB for the busiest destinations.
const MINUTES: usize = 60;

/// Percentiles of windows are off by 1 % at most.
const RECENT_DIGITS: u8 = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::Recorder;
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new().expect("the bounds are sound")
    }

    fn count(thin: &Thin, stage: Stage) -> u64 {
        thin.stage(stage).iter().map(|(_, count)| count).sum()
    }

    #[test]
    fn windows_forget_what_is_over() {
        let mut recorder = recorder();
        let mut recent = Recent::with_destinations();
        // Ten connections in each ten seconds of two hours.
        for look in 1..=720_u64 {
            for _ in 0..10 {
                recorder.record_for("d.test", Stage::Connect, Duration::from_micros(look));
            }
            recent.look(&recorder.snapshot());
        }
        let now = recorder.snapshot();
        assert_eq!(count(&recent.minute(&now), Stage::Connect), 60);
        assert_eq!(count(&recent.hour(&now), Stage::Connect), 3600);
        assert_eq!(recent.minutes().count(), 60);
        let rows = recent.minute(&now).spread().rows(Some("d.test"));
        assert_eq!((rows.len(), rows[0].count), (1, 60));
        assert!(rows[0].p50.abs_diff(717) <= 7, "{rows:?}");

        // Half a minute later: the hour has minutes and what is in no minute yet.
        for _ in 0..3 {
            recorder.record(Stage::Connect, Duration::from_secs(1));
            recent.look(&recorder.snapshot());
        }
        recorder.record(Stage::Connect, Duration::from_secs(2));
        let now = recorder.snapshot();
        assert_eq!(count(&recent.minute(&now), Stage::Connect), 30 + 3 + 1);
        assert_eq!(count(&recent.hour(&now), Stage::Connect), 3600 + 3 + 1);
        let longest = recent.hour(&now).spread().rows(None)[0].max;
        assert!(longest.abs_diff(2_000_000) <= 20_000, "{longest}");
    }

    #[test]
    fn shards_keep_no_destinations() {
        let mut recorder = recorder();
        recorder.record_for("d.test", Stage::Connect, Duration::from_millis(1));
        let recent = Recent::default();
        let minute = recent.minute(&recorder.snapshot());
        assert_eq!(count(&minute, Stage::Connect), 1);
        assert_eq!(minute.spread().destinations().count(), 0);
    }

    #[test]
    fn relay_began_anew() {
        let mut before = recorder();
        before.record(Stage::Dns, Duration::from_millis(5));
        before.record(Stage::Dns, Duration::from_millis(5));
        let mut after = recorder();
        after.record(Stage::Dns, Duration::from_millis(5));
        let (before, after) = (before.snapshot(), after.snapshot());
        let since = Thin::of(&after, 3).since(&Thin::of(&before, 3));
        assert_eq!(count(&since, Stage::Dns), 1);
    }

    #[test]
    fn snapshots_are_kept_in_files() {
        let mut recorder = recorder();
        recorder.record_for("d.test", Stage::Connect, Duration::from_millis(20));
        recorder.record_count(Stage::CommitBatch, 7);
        let thin = Thin::of(&recorder.snapshot(), 3);
        let text = serde_json::to_string(&thin).expect("plain data");
        assert!(text.contains(r#"{"stage":"commit_batch","counts":[[7,1]]}"#));
        assert_eq!(
            serde_json::from_str::<Thin>(&text).expect("as written"),
            thin
        );
        let rows = thin.spread().rows(None);
        assert_eq!(rows, recorder.snapshot().rows(None));
    }

    proptest! {
        /// What came later and what there was before are all there is.
        #[test]
        fn differences_add_up(
            before in prop::collection::vec(0..5_000_000_u64, 0..40),
            later in prop::collection::vec(0..5_000_000_u64, 0..40),
        ) {
            let mut recorder = recorder();
            let record = |recorder: &mut Recorder, values: &[u64]| {
                for value in values {
                    recorder.record_for("d.test", Stage::Body, Duration::from_micros(*value));
                }
                Thin::of(&recorder.snapshot(), RECENT_DIGITS)
            };
            let first = record(&mut recorder, &before);
            let second = record(&mut recorder, &later);
            let since = second.since(&first);
            prop_assert_eq!(count(&since, Stage::Body), later.len() as u64);
            let mut sum = first;
            sum.add(&since);
            prop_assert_eq!(sum, second);
        }
    }
}
