use proptest::prelude::*;

use super::*;

fn row() -> impl Strategy<Value = Row> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let smaller = (any::<i64>(), any::<u32>(), any::<u32>(), 0u8..64, 0u8..2);
    (numbers, any::<u64>(), smaller).prop_map(|(numbers, summary_at, smaller)| Row {
        modseq: numbers.0,
        keywords: numbers.1,
        hash: numbers.2,
        name_at: numbers.3,
        summary_at,
        saved: smaller.0,
        uid: smaller.1,
        size: smaller.2,
        system: System::from_bits(smaller.3),
        bits: smaller.4,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let name = "\\PC{0,30}";
    let flags = (0u8..64, any::<u64>()).prop_map(|(bits, keywords)| Flags {
        system: System::from_bits(bits),
        keywords,
    });
    let changes = prop::collection::vec((any::<u32>(), flags), 0..5);
    let gone = prop::collection::vec((any::<u64>(), any::<u32>()), 0..5);
    let added = prop::collection::vec((row(), name), 0..4);
    prop_oneof![
        (any::<[u32; 3]>(), any::<[u64; 2]>(), any::<[u8; 16]>()).prop_map(|(a, b, key)| {
            Record::Head(Head {
                uid_validity: a[0],
                uid_next: a[1],
                highest_modseq: b[0],
                expunges_from: b[1],
                recent: a[2],
                key,
            })
        }),
        prop::collection::vec(row(), 0..4).prop_map(Record::Rows),
        added.prop_map(|added| {
            let added = added.into_iter();
            Record::Added(added.map(|(row, name)| Added { row, name }).collect())
        }),
        (any::<u64>(), changes).prop_map(|(modseq, changes)| Record::Flagged { modseq, changes }),
        gone.prop_map(Record::Expunged),
        (any::<u8>(), name).prop_map(|(place, name)| Record::Keyword { place, name }),
        any::<(i64, i64)>().prop_map(|(cur, new)| Record::Looked(Looked { cur, new })),
        any::<u32>().prop_map(Record::Recent),
        (any::<u32>(), any::<u8>(), name).prop_map(|(uid, bits, name)| Record::Renamed {
            uid,
            bits,
            name
        }),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..50))
            .prop_map(|(uid, octets)| Record::Summary { uid, octets }),
    ]
}

/// What reading gives, where the places of names are left out.
fn without_places(mut record: Record) -> Record {
    if let Record::Added(added) = &mut record {
        for one in added {
            one.row.name_at = 0;
        }
    }
    record
}

fn encoded(record: &Record, batch: u32, at: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    record.encode(batch, at, &mut octets);
    octets
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written_and_nowhere_else(
        record in record(), batch: u32, at in (0u64..1 << 40).prop_map(|at| at * 8),
    ) {
        let octets = encoded(&record, batch, at);
        prop_assert_eq!(octets.len() % ALIGNMENT, 0);
        match find(&octets, at) {
            Found::Record { batch: found, record: read, octets: len } => {
                prop_assert_eq!((found, len), (batch, octets.len()));
                if let Record::Added(added) = &read {
                    for one in added {
                        let from = usize::try_from(one.row.name_at - at).unwrap();
                        prop_assert_eq!(item(&octets[from..]), Ok(one.name.as_bytes()));
                    }
                }
                prop_assert_eq!(without_places(read), without_places(record));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(find(&octets, at + 8), Found::Nothing);
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_none(record in record(), cut in any::<prop::sample::Index>()) {
        let octets = encoded(&record, 7, 512);
        let cut = cut.index(octets.len());
        prop_assert!(matches!(find(&octets[..cut], 512), Found::Longer(wanted) if wanted > cut));
    }

    #[test]
    fn one_wrong_bit_is_noticed_wherever_it_is(
        record in record(), place in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        let mut octets = encoded(&record, 7, 512);
        let len = u32::from_le_bytes(octets[4..8].try_into().unwrap()) as usize;
        octets[place.index(HEAD_OCTETS + len)] ^= 1 << bit;
        let found = find(&octets, 512);
        // A longer length asks for more than there is.
        prop_assert!(!matches!(found, Found::Record { .. }), "{:?}", found);
    }

    #[test]
    fn any_octets_are_a_record_or_none(octets in prop::collection::vec(any::<u8>(), 0..200), at: u64) {
        let _ = find(&octets, at);
        let _ = item(&octets);
    }
}

#[test]
fn items_are_passed_over_by_their_head_and_read_one_by_one() {
    let mut items = Items::default();
    let first = items.push(b"one");
    let second = items.push(b"");
    let third = items.push(&[7; 100]);
    let octets = items.encode(1, 64);
    assert_eq!(
        find(&octets[..HEAD_OCTETS], 64),
        Found::Items {
            octets: octets.len() as u64
        }
    );
    let at = |place: u64| &octets[HEAD_OCTETS + place as usize..];
    assert_eq!(item(at(first)), Ok(&b"one"[..]));
    assert_eq!(item(at(second)), Ok(&b""[..]));
    assert_eq!(item(at(third)), Ok(&[7; 100][..]));
    assert_eq!(item(&at(third)[..50]), Err(Some(108)));
    assert_eq!(item(&octets[HEAD_OCTETS + 1..]), Err(None));
}

#[test]
fn a_row_takes_sixty_four_octets_in_memory_and_on_disk() {
    assert_eq!(size_of::<Row>(), ROW_OCTETS);
    assert_eq!(
        encoded(&Record::Rows(vec![Row::default(); 3]), 1, 0).len(),
        HEAD_OCTETS + 3 * ROW_OCTETS
    );
}
