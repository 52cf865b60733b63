//! Whose turn it is where shares differ: smooth weighted round-robin. Each gains its weight, the
//! richest goes and pays for all. In any stretch each has its share to within one turn, and a heavy
//! one's turns do not come in a row while others wait.

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
