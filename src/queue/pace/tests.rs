use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HERE: u64 = 7;

fn wish(rate: &str, recipient_rate: Option<&str>) -> Wish {
    Wish {
        terms: Terms {
            rate: rate.parse().ok(),
            recipient_rate: recipient_rate.and_then(|rate| rate.parse().ok()),
        },
        recipients: 1,
        taken: 0,
        instead_of: None,
    }
}

fn strain(of: Of, taken: u32, span: u32) -> Strain<'static> {
    Strain {
        of,
        taken,
        span: Some(SECOND * span),
        open: 20,
        why: "421 4.7.28 too fast",
    }
}

fn at(seconds: u32) -> Tick {
    Tick(0) + SECOND * seconds
}

#[test]
fn slots_come_at_the_rate_of_the_rule() {
    let mut pacer = Pacer::default();
    let slots = (0..4).map(|_| pacer.book(at(0), HERE, "d.test", wish("60/m", None)).at);
    assert_eq!(slots.collect::<Vec<_>>(), [at(0), at(1), at(2), at(3)]);
    let other = pacer.book(at(0), HERE + 1, "e.test", wish("60/m", None));
    assert_eq!(other.at, at(0), "another destination's slots are its own");
}

#[test]
fn a_slot_given_back_before_its_time_is_the_next_one_booked() {
    let mut pacer = Pacer::default();
    let book = |pacer: &mut Pacer| pacer.book(at(0), HERE, "d.test", wish("60/m", None)).at;
    for _ in 0..4 {
        book(&mut pacer);
    }
    pacer.unbook(at(0), HERE, at(1));
    pacer.unbook(at(0), HERE, at(3));
    assert_eq!(book(&mut pacer), at(1));
    assert_eq!(book(&mut pacer), at(3));
    pacer.unbook(at(2), HERE, at(1));
    let late = pacer.book(at(2), HERE, "d.test", wish("60/m", None));
    assert_eq!(late.at, at(4), "what is over is no slot");
}

/// Of a slow rate each slot is dear: who comes late for it, because dialling took long, gets another at
/// once where nobody has booked behind it.
#[test]
fn a_slot_that_went_by_is_exchanged() {
    let mut pacer = Pacer::default();
    let first = pacer.book(at(0), HERE, "d.test", wish("6/h", None));
    assert_eq!(first.at, at(0));
    let instead = Wish {
        instead_of: Some(first.at),
        ..wish("6/h", None)
    };
    assert_eq!(pacer.book(at(40), HERE, "d.test", instead).at, at(40));
    let next = pacer.book(at(41), HERE, "d.test", wish("6/h", None));
    assert_eq!(next.at, at(640));
}

/// The debt of a slow rule would keep mail of a fast one waiting for ten minutes.
#[test]
fn a_new_rule_begins_anew() {
    let mut pacer = Pacer::default();
    for seconds in [0, 600, 1200] {
        let slot = pacer.book(at(0), HERE, "d.test", wish("6/h", None));
        assert_eq!(slot.at, at(seconds));
    }
    let slots = [1, 2].map(|_| pacer.book(at(5), HERE, "d.test", wish("60/m", None)).at);
    assert_eq!(slots, [at(6), at(7)]);
}

#[test]
fn recipients_have_a_rate_of_their_own() {
    let mut pacer = Pacer::default();
    let many = Wish {
        recipients: 30,
        ..wish("600/m", Some("60/m"))
    };
    assert_eq!(pacer.book(at(0), HERE, "d.test", many).at, at(0));
    assert_eq!(pacer.book(at(0), HERE, "d.test", many).at, at(30));
    let mut none = Pacer::default();
    let only = wish("", Some("60/m"));
    let slots = (0..3).map(|_| none.book(at(0), HERE, "d.test", only).at);
    assert_eq!(slots.collect::<Vec<_>>(), [at(0), at(1), at(2)]);
}

#[test]
fn a_complaint_slows_to_a_part_of_what_was_taken() {
    let mut pacer = Pacer::default();
    let change = pacer.strained(at(20), HERE, "d.test", strain(Of::Rate, 100, 20));
    assert_eq!(change, Some(Change::Slowed(HERE)));
    let facts = pacer.facts(at(20), HERE).unwrap();
    assert_eq!(facts.interval, Some(SECOND / 4));
    assert_eq!(facts.why.as_deref(), Some("421 4.7.28 too fast"));
    assert_eq!((facts.since, facts.connections), (Some(at(20)), None));
    // The rest of the burst is answered alike.
    assert_eq!(
        pacer.strained(at(21), HERE, "d.test", strain(Of::Rate, 9, 21)),
        None
    );
    assert_eq!(
        pacer.facts(at(21), HERE).unwrap().interval,
        Some(SECOND / 4)
    );
    assert_eq!(pacer.slowed(at(21)).len(), 1);
}

#[test]
fn the_slower_of_rule_and_lesson_holds() {
    let mut pacer = Pacer::default();
    pacer.book(at(0), HERE, "d.test", wish("60/m", None));
    pacer.strained(at(60), HERE, "d.test", strain(Of::Rate, 600, 60));
    let slot = pacer.book(at(60), HERE, "d.test", wish("60/m", None));
    assert_eq!(slot.interval, SECOND * 5 / 4, "from the rule down");
    let slot = pacer.book(at(60), HERE, "d.test", wish("6/h", None));
    assert_eq!(slot.interval, 600 * SECOND);
}

#[test]
fn what_was_learned_is_forgotten_in_peace() {
    let mut pacer = Pacer::default();
    pacer.strained(at(0), HERE, "d.test", strain(Of::Rate, 10, 10));
    pacer.strained(at(0), HERE, "d.test", strain(Of::Connections, 0, 0));
    assert_eq!(pacer.connections(HERE), Some(19));
    let mut changes = Vec::new();
    for minute in 1..=60 {
        changes.extend(pacer.look(at(60 * minute)));
    }
    let last = changes.pop().zip(changes.pop());
    assert_eq!(last, Some((Change::Crowd(HERE), Change::Freed(HERE))));
    assert_eq!(pacer.facts(at(3600), HERE), None, "nothing is kept of it");
}

#[test]
fn a_pace_without_bookings_is_not_kept() {
    let mut pacer = Pacer::default();
    pacer.book(at(0), HERE, "d.test", wish("60/m", None));
    assert!(pacer.look(at(0)).is_empty());
    assert!(pacer.facts(at(0), HERE).is_some());
    assert!(pacer.look(at(2)).is_empty());
    assert_eq!(pacer.facts(at(2), HERE), None);
}

/// A provider that takes so many in each minute and nothing more in it, and a sender that never runs
/// out of mail: the rates that are kept after half an hour, once a minute, as shares of the limit.
fn found_rates(limit: u32) -> Vec<f64> {
    let mut pacer = Pacer::default();
    let (mut minute, mut taken_in_it, mut taken) = (0, 0, 0);
    let mut unpaced = Lately::new(at(0));
    let mut slot: Option<Tick> = None;
    let mut found = Vec::new();
    for tenth in 0..4 * 36_000 {
        let now = Tick(0) + SECOND / 10 * tenth;
        if tenth / 600 != minute {
            (minute, taken_in_it) = (tenth / 600, 0);
        }
        for _ in 0..5 {
            let learned = pacer.facts(now, HERE).and_then(|facts| facts.interval);
            if learned.is_some() {
                let wish = Wish {
                    taken,
                    ..wish("", None)
                };
                let booked = slot.unwrap_or_else(|| pacer.book(now, HERE, "d.test", wish).at);
                taken = 0;
                slot = Some(booked).filter(|booked| *booked > now);
                if slot.is_some() {
                    break;
                }
            }
            if taken_in_it < limit {
                taken_in_it += 1;
                taken += 1;
                unpaced.add(now, 1);
                continue;
            }
            let (all, span) = unpaced.count(now);
            let (taken, span) = match learned {
                Some(_) => (std::mem::take(&mut taken), None),
                None => (all, Some(span)),
            };
            let strain = Strain {
                taken,
                span,
                ..strain(Of::Rate, 0, 0)
            };
            let _ = pacer.strained(now, HERE, "d.test", strain);
        }
        if tenth % 50 == 0 {
            let _ = pacer.look(now);
        }
        if minute >= 30 && tenth % 600 == 0 {
            let facts = pacer.facts(now, HERE);
            let interval = facts.and_then(|facts| facts.interval);
            let rate = interval.map_or(f64::INFINITY, |interval| 60.0 / interval.as_secs_f64());
            found.push(rate / f64::from(limit));
        }
    }
    found
}

#[test]
fn the_rate_of_a_provider_is_found_within_bounds_and_kept() {
    for limit in [6, 30, 120, 600] {
        let found = found_rates(limit);
        let least = found.iter().copied().fold(f64::MAX, f64::min);
        let most = found.iter().copied().fold(0.0, f64::max);
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let words = format!("{limit}/m: {least:.2} to {most:.2} of it, {mean:.2} on average");
        assert!(least > 0.5 && most < 1.5 && mean > 0.7, "{words}");
    }
}
