//! Native histograms: buckets that grow by one factor, of which only those are told that were met.

use hdrhistogram::Histogram;
use prometheus_client::encoding::{NativeHistogram, NativeHistogramBuckets};

/// A histogram in the buckets of Prometheus' standard schemas.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Native {
    /// How far a run of buckets is from the end of the one before, and how many it has.
    spans: Vec<(i32, u32)>,
    /// What each bucket has more than the one before it.
    deltas: Vec<i64>,
    /// Records that are too small for a bucket.
    zeros: u64,
}

impl Native {
    /// For records of which `unit` make one.
    pub(super) fn of(histogram: &Histogram<u64>, unit: f64) -> Self {
        let mut native = Self::default();
        let (mut open, mut before): (Option<(i32, u64)>, _) = (None, None);
        for step in histogram.iter_recorded() {
            let count = step.count_since_last_iteration();
            // As in classic buckets: the low end of what the histogram cannot tell apart.
            let value = histogram.lowest_equivalent(step.value_iterated_to()) as f64 / unit;
            if value <= ZERO {
                native.zeros += count;
                continue;
            }
            let place = place(value);
            match &mut open {
                Some((at, sum)) if *at == place => *sum += count,
                _ => {
                    if let Some((at, sum)) = open.replace((place, count)) {
                        native.put(at, sum, &mut before);
                    }
                }
            }
        }
        if let Some((at, sum)) = open {
            native.put(at, sum, &mut before);
        }
        native
    }

    /// Appends a bucket; `before` is the place and the count of the one that was last.
    fn put(&mut self, place: i32, count: u64, before: &mut Option<(i32, i64)>) {
        let gap = before.map(|(at, _)| place - at - 1);
        match (self.spans.last_mut(), gap) {
            // A few empty buckets cost less than a new span.
            (Some((_, length)), Some(empty @ 0..=EMPTY_MAX)) => {
                *length += empty.unsigned_abs() + 1;
                for _ in 0..empty {
                    let (_, last) = before.replace((place, 0)).unwrap_or_default();
                    self.deltas.push(-last);
                }
            }
            (_, gap) => self.spans.push((gap.unwrap_or(place), 1)),
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let last = before.map_or(0, |(_, last)| last);
        self.deltas.push(count - last);
        *before = Some((place, count));
    }

    /// For the encoder.
    pub(super) fn told(&self) -> NativeHistogram<'_> {
        NativeHistogram {
            schema: SCHEMA,
            zero_threshold: ZERO,
            zero_count: self.zeros,
            negative: NativeHistogramBuckets {
                spans: &[],
                deltas: &[],
            },
            positive: NativeHistogramBuckets {
                spans: &self.spans,
                deltas: &self.deltas,
            },
            created: None,
        }
    }
}

/// The bucket of a value above zero: the one whose upper bound is the first that is not below it.
fn place(value: f64) -> i32 {
    let factors = f64::from(1 << SCHEMA);
    (value.log2() * factors).ceil() as i32
}

/// Eight buckets for each doubling: each is 1.09 times the one before.
const SCHEMA: i32 = 3;

/// What counts as nothing: less than a microsecond, the smallest time that is recorded. It is the
/// bound of a bucket.
const ZERO: f64 = 1.0 / 1_048_576.0;

/// Empty buckets that are told rather than left out.
const EMPTY_MAX: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(records: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for (value, count) in records {
            histogram.record_n(*value, *count).unwrap();
        }
        histogram
    }

    /// Bucket by bucket, as a reader takes them apart again.
    fn buckets(native: &Native) -> Vec<(i32, i64)> {
        let (mut found, mut place, mut count) = (Vec::new(), 0, 0);
        let mut deltas = native.deltas.iter();
        for (offset, length) in &native.spans {
            place += offset;
            for _ in 0..*length {
                count += deltas.next().expect("a delta for each bucket");
                found.push((place, count));
                place += 1;
            }
        }
        assert_eq!(deltas.next(), None, "a bucket for each delta");
        found
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        assert_eq!(
            [place(1.0), place(1.01), place(2.0), place(2.01)],
            [0, 1, 8, 9]
        );
        assert_eq!([place(0.5), place(0.25)], [-8, -16]);
    }

    #[test]
    fn each_record_is_in_the_bucket_that_reaches_to_it() {
        let records = [
            (0, 3),
            (1, 1),
            (2, 5),
            (999, 7),
            (1_000, 2),
            (1_024, 9),
            (3_600_000_000, 1),
        ];
        let native = Native::of(&histogram(&records), 1e6);
        assert_eq!(native.zeros, 3);
        let found = buckets(&native);
        let all: i64 = found.iter().map(|(_, count)| count).sum();
        assert_eq!(all, 25);
        for (value, count) in &records[1..] {
            let seconds = *value as f64 / 1e6;
            let (place, held) = found
                .iter()
                .find(|(place, _)| seconds * 0.999 <= bound(*place))
                .expect("a bucket for it");
            assert!(bound(*place - 1) < seconds, "{value} in {place}");
            assert!(*held >= i64::try_from(*count).unwrap());
        }
    }

    #[test]
    fn short_gaps_are_filled_and_long_ones_left_out() {
        let native = Native::of(&histogram(&[(1, 4), (4, 6)]), 1.0);
        let spans = vec![(0, 1), (15, 1)];
        assert_eq!((native.spans, native.deltas), (spans, vec![4, 2]));
        let mut near = Native::default();
        let mut before = None;
        near.put(0, 4, &mut before);
        near.put(3, 6, &mut before);
        assert_eq!((near.spans, near.deltas), (vec![(0, 4)], vec![4, -4, 0, 6]));
    }

    #[test]
    fn nothing_recorded_has_no_bucket() {
        assert_eq!(Native::of(&histogram(&[]), 1e6), Native::default());
    }

    /// The upper bound of a bucket.
    fn bound(place: i32) -> f64 {
        (f64::from(place) / f64::from(1 << SCHEMA)).exp2()
    }
}
