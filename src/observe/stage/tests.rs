use std::time::Duration;

use super::*;

fn recorder() -> Recorder {
    Recorder::new().expect("the bounds are sound")
}

fn row(snapshot: &Snapshot, stage: Stage, destination: Option<&str>) -> Option<Row> {
    let rows = snapshot.rows(destination);
    rows.into_iter().find(|row| row.stage == stage.name())
}

#[test]
fn stages_have_names_that_people_can_type() {
    for (place, stage) in Stage::ALL.into_iter().enumerate() {
        assert_eq!(stage.index(), place);
        assert_eq!(stage.name().parse(), Ok(stage));
        let typed = stage.name().replace('_', "-").to_uppercase();
        assert_eq!(typed.parse(), Ok(stage));
    }
    let refused = "dsn".parse::<Stage>().expect_err("no such stage");
    assert!(refused.contains("dns, sts, connect"), "{refused}");
    assert!(!Stage::CommitBatch.is_outbound() && Stage::QueueWait.is_outbound());
}

#[test]
fn deliveries_took_one_to_a_thousand_milliseconds() {
    let mut recorder = recorder();
    for millis in 1..=1000 {
        recorder.record(Stage::DotToReply, Duration::from_millis(millis));
    }
    let row = row(&recorder.snapshot(), Stage::DotToReply, None).expect("recorded");
    assert_eq!((row.count, row.unit.as_str()), (1000, "us"));
    for (value, exact) in [
        (row.p50, 500_000),
        (row.p90, 900_000),
        (row.p99, 990_000),
        (row.p99_9, 999_000),
        (row.max, 1_000_000),
    ] {
        assert!(value.abs_diff(exact) <= exact / 1000, "{value} for {exact}");
    }
}

#[test]
fn stages_take_no_time_or_days() {
    let mut recorder = recorder();
    recorder.record(Stage::Dns, Duration::ZERO);
    recorder.record(Stage::Dns, Duration::from_secs(3 * 24 * 3600));
    let row = row(&recorder.snapshot(), Stage::Dns, None).expect("recorded");
    assert_eq!((row.count, row.p50), (2, 0));
    assert!(row.max.abs_diff(3_600_000_000) < 4_000_000, "{}", row.max);
}

#[test]
fn shards_are_added_up() {
    let (mut one, mut two) = (recorder(), recorder());
    one.record_for("a.test", Stage::Connect, Duration::from_millis(2));
    one.record_count(Stage::CommitBatch, 7);
    two.record_for("a.test", Stage::Connect, Duration::from_millis(4));
    two.record_for("b.test", Stage::Tls, Duration::from_millis(8));
    let mut sum = Snapshot::default();
    sum.merge(&one.snapshot());
    sum.merge(&two.snapshot());
    let connect = row(&sum, Stage::Connect, Some("A.TEST")).expect("recorded");
    assert_eq!(connect.count, 2);
    assert!(connect.max.abs_diff(4_000) <= 40);
    assert_eq!(row(&sum, Stage::Tls, None).expect("recorded").count, 1);
    assert_eq!(row(&sum, Stage::Tls, Some("a.test")), None);
    let batch = row(&sum, Stage::CommitBatch, None).expect("recorded");
    assert_eq!((batch.max, batch.unit.as_str()), (7, "messages"));
    let named: Vec<&str> = sum.destinations().collect();
    assert_eq!(named, ["a.test", "b.test"]);
}

#[test]
fn inbound_stages_belong_to_no_destination() {
    let mut recorder = recorder();
    recorder.record_for("a.test", Stage::Command, Duration::from_millis(1));
    assert_eq!(recorder.snapshot().destinations().count(), 0);
}

#[test]
fn a_busy_destination_gets_a_seat_and_no_record_is_lost() {
    let mut recorder = recorder();
    let mut records = 0;
    let took = Duration::from_millis(1);
    for n in 0..DESTINATIONS_MAX {
        recorder.record_for(&format!("early{n}.test"), Stage::Connect, took);
        records += 1;
    }
    for n in 0..20_000 {
        recorder.record_for("bulk.test", Stage::Connect, took);
        recorder.record_for(&format!("once{n}.test"), Stage::Connect, took);
        records += 2;
    }
    let snapshot = recorder.snapshot();
    let names: Vec<&str> = snapshot.destinations().collect();
    assert!(names.contains(&"bulk.test"), "{names:?}");
    assert!(names.contains(&OTHER) && names.len() <= DESTINATIONS_MAX + 1);
    let of_each: u64 = names
        .iter()
        .filter_map(|name| row(&snapshot, Stage::Connect, Some(name)))
        .map(|row| row.count)
        .sum();
    assert_eq!(of_each, records);
    let all = row(&snapshot, Stage::Connect, None).expect("recorded");
    assert_eq!(all.count, records);
}

#[test]
fn plotters_can_read_the_percentile_text() {
    let mut recorder = recorder();
    for millis in 1..=100 {
        recorder.record(Stage::Body, Duration::from_millis(millis));
    }
    let snapshot = recorder.snapshot();
    assert_eq!(snapshot.hgrm(Stage::Dns, None), None);
    let text = snapshot.hgrm(Stage::Body, None).expect("recorded");
    let mut last = (0.0, 0.0, 0);
    let mut lines = 0;
    for line in text.lines().skip(2).filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let now: (f64, f64, u64) = (
            fields[0].parse().expect("a value"),
            fields[1].parse().expect("a quantile"),
            fields[2].parse().expect("a count"),
        );
        assert!(
            now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2,
            "{text}"
        );
        last = now;
        lines += 1;
    }
    assert!(lines > 10, "{text}");
    assert_eq!((last.1, last.2), (1.0, 100));
    assert!((last.0 - 100.0).abs() < 0.2, "{text}");
    assert!(text.contains("Total count    =          100]"), "{text}");
}
#[test]
fn a_copy_is_made_while_recording_goes_on() {
    let mut recorder = recorder();
    let took = Duration::from_millis(1);
    for n in 0..DESTINATIONS_MAX {
        recorder.record_for(&format!("d{n}.test"), Stage::Dns, took);
    }
    let mut copy = Snapshot::default();
    for piece in 0..STAGE_PIECES {
        assert!(recorder.copy_piece(piece, &mut copy));
    }
    assert_eq!(copy.destinations().count(), 0);
    let mut piece = STAGE_PIECES;
    while recorder.copy_piece(piece, &mut copy) {
        piece += 1;
        // Seats move under the copy.
        for n in 0..3_000 {
            recorder.record_for(&format!("new{}.test", piece * 10_000 + n), Stage::Dns, took);
        }
    }
    assert_eq!(piece, STAGE_PIECES + DESTINATIONS_MAX + 1);
    let all = row(&copy, Stage::Dns, None).expect("recorded");
    assert_eq!(
        all.count, DESTINATIONS_MAX as u64,
        "the stage was copied first"
    );
    let mut names: Vec<&str> = copy.destinations().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a destination came twice");
    assert!(names.contains(&OTHER));
}
