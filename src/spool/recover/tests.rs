use super::*;
use crate::sim::random::Random;
use crate::sim::{Sim, SimWorld};

const EPOCH: Epoch = Epoch {
    number: 7,
    salt: 0x5eed,
};

/// The octets of a record.
fn void(len: usize) -> Vec<u8> {
    let void = record::void_head(vec![b'v'; len], EPOCH).expect("room for a header");
    [&void[..], &vec![b'v'; len - void.len()]].concat()
}

/// Octets full of what looks like headers of records, each of another length.
fn heads(octets: usize) -> Vec<u8> {
    let random = Random::new(1);
    let mut heads = Vec::with_capacity(octets);
    while heads.len() + record::HEADER_OCTETS <= octets {
        let len = random.below((octets - heads.len()) as u64) as u32;
        heads.extend_from_slice(&len.to_le_bytes());
        heads.push(1);
        heads.extend_from_slice(&EPOCH.number.to_le_bytes());
        heads.extend_from_slice(&[0; 4]);
    }
    heads
}

fn scanned(octets: Vec<u8>, is_sealed: bool) -> (Scanned, Vec<u64>) {
    let sim = Sim::new(0);
    let world = sim.node();
    let inside = world.clone();
    let scanned = sim.run(&world, async move {
        let file = inside.open(Path::new("segment"), true).await.unwrap();
        let sealed = is_sealed.then_some(octets.len() as u64);
        file.write_at(octets, 0).await.unwrap();
        let mut seen = Vec::new();
        let mut see = |locator: Locator, _| seen.push(locator.offset);
        let scanned = scan::<SimWorld>(&file, EPOCH, sealed, &mut see).await;
        (scanned.unwrap(), seen)
    });
    scanned.expect("no crash")
}

#[test]
fn octets_that_look_like_many_records_are_gone_over_a_few_times_and_those_behind_are_read() {
    for octets in [1 << 18, 1 << 20, 3 << 20] {
        let heads = heads(octets);
        let first = HEADER_OCTETS as u64;
        let last = first + 100 + heads.len() as u64;
        let segment = [&[0; HEADER_OCTETS][..], &void(100), &heads, &void(50_000)].concat();
        for is_sealed in [false, true] {
            let (scanned, seen) = scanned(segment.clone(), is_sealed);
            assert_eq!(seen, [first, last], "{octets}");
            assert_eq!((scanned.end, scanned.torn), (segment.len() as u64, 0));
            let lost = match is_sealed {
                true => scanned.damaged,
                false => scanned.holes.iter().map(|(_, octets)| octets).sum(),
            };
            assert_eq!(lost, heads.len() as u64);
            // Each alone, they would come to 5,000 times of the smallest, and more of more.
            let bounds = octets as u64..300 * octets as u64;
            assert!(bounds.contains(&scanned.summed), "{}", scanned.summed);
        }
    }
}
