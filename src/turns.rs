//! Whose turn it is where shares differ: smooth weighted round-robin. Each gains its weight, the
//! richest goes and pays for all. So a heavy one's turns are spread among the others', and at any moment each
//! has had its share to within one turn among a few, and to within three among a dozen.

#![forbid(unsafe_code)]

/// The next place among those that have a weight now; `None` when none has. `credits` is what each
/// place has saved up. Whoever has no weight neither gains nor pays: it does not come back with a debt,
/// nor with everybody's next turns.
pub fn next(credits: &mut [i64], weight: impl Fn(usize) -> Option<u32>) -> Option<usize> {
    let (mut whole, mut richest) = (0, None);
    for place in 0..credits.len() {
        let Some(weight) = weight(place).map(i64::from) else {
            continue;
        };
        credits[place] += weight;
        whole += weight;
        if richest.is_none_or(|best: usize| credits[place] > credits[best]) {
            richest = Some(place);
        }
    }
    let place = richest?;
    credits[place] -= whole;
    Some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_has_had_its_share_at_any_moment(
            weights in proptest::collection::vec(1u32..1000, 1..=12),
        ) {
            let whole: f64 = weights.iter().copied().map(f64::from).sum();
            let mut credits = vec![0; weights.len()];
            let mut turns = vec![0.0; weights.len()];
            for moment in 1..500 {
                let place = next(&mut credits, |place| Some(weights[place]));
                turns[place.expect("somebody")] += 1.0;
                for (turns, weight) in turns.iter().zip(&weights) {
                    let share = f64::from(moment) * f64::from(*weight) / whole;
                    let off: f64 = turns - share;
                    prop_assert!(off.abs() < 3.0, "{weights:?} after {moment}: {off}");
                }
            }
        }
    }

    #[test]
    fn the_heavy_give_way_to_the_light_and_who_is_away_owes_nothing() {
        let mut credits = [0; 3];
        let mut deal = |count: usize, away: usize| -> Vec<usize> {
            let weight = |place: usize| (place != away).then_some([16, 4, 1][place]);
            (0..count)
                .filter_map(|_| next(&mut credits, weight))
                .collect()
        };
        let round = deal(21, usize::MAX);
        let turns = |of: usize| round.iter().filter(|place| **place == of).count();
        assert_eq!([0, 1, 2].map(turns), [16, 4, 1], "{round:?}");
        assert_eq!(deal(5, 0), [1, 1, 2, 1, 1]);
        // The first one has not saved up what it missed.
        assert_eq!(deal(21, usize::MAX), round);
        assert_eq!(next(&mut [0; 2], |_| None), None);
    }
}
