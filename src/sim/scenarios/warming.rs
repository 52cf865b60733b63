//! Weeks of warm-up, as the hosts count it: by source, and by day.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::play::{EVERYWHERE, Play};
use super::seeds;
use crate::config::{Pool, Source, Warmup};
use crate::observe::explained;
use crate::route::warmup::Day;
use crate::sim::disk::Faults;
use crate::sim::world::WALL_AT_START;
use crate::world::{Wall, World as _};

/// What the plan of all mail has for each day.
const DAYS: [u32; 15] = [4, 5, 6, 7, 9, 12, 15, 19, 23, 29, 37, 46, 58, 72, 90];
/// What it has for one destination.
const DAYS_OF_ONE: [u32; 12] = [2, 2, 3, 3, 3, 5, 6, 6, 7, 8, 9, 12];
/// What each day has where all are alike.
const EACH_DAY: u32 = 100;
/// How long after a jump of the calendar what comes may have been sent before it.
const ON_THE_WAY: Duration = Duration::from_secs(20);

fn source(last: u8) -> IpAddr {
    [198, 51, 100, last].into()
}

fn first_day() -> Day {
    Day::of(Wall(WALL_AT_START))
}

/// Two new sources, one of them with a count for a destination, in one pool.
fn play(seed: u64, shards: usize, days: &[u32], days_of_one: &[u32]) -> Play {
    Play::with(seed, shards, |config| {
        let new = |name: &str, last, plan: &str| Source {
            name: name.to_owned(),
            address: vec![source(last)],
            warmup: Some(plan.to_owned()),
            warmup_from: Some(first_day()),
            ..Source::default()
        };
        config.source = vec![new("a", 1, "plain"), new("b", 2, "careful")];
        config.pool = vec![Pool {
            name: "new".to_owned(),
            sources: vec![("a".to_owned(), 1), ("b".to_owned(), 3)],
        }];
        config.delivery.pool = Some("new".to_owned());
        let line = |plan: &str, domain: Option<&str>, days: &[u32]| Warmup {
            name: plan.to_owned(),
            domain: domain.map(str::to_owned),
            days: days.to_vec(),
            ..Warmup::default()
        };
        config.warmup = vec![
            line("plain", None, days),
            line("careful", None, days),
            line("careful", Some("one.test"), days_of_one),
        ];
        config.queue.expire = Duration::from_secs(90 * 86_400);
    })
}

#[test]
fn no_day_has_more_than_its_plan_and_each_is_used_whole() {
    seeds(4).for_each(for_weeks);
}

/// Two to eight shards, more mail than the plans have room for; relays die, lose a shard or are
/// ended in between, and the calendar goes back at times. The hosts count and judge.
pub(super) fn for_weeks(seed: u64) {
    let shards = 2 + seed as usize % 7;
    let play = play(seed, shards, &DAYS, &DAYS_OF_ONE);
    play.boot_surely();
    for _ in 0..6 {
        play.client(100, &EVERYWHERE, 0, 500);
    }
    let (mut jumps, mut lossy) = (vec![Duration::ZERO], Vec::new());
    for nth in 0..DAYS.len() as u64 {
        let pause = play.random().between(20, 40);
        play.sim.run_for(Duration::from_secs(pause));
        let may_lose = match play.random().below(8) {
            0 | 1 => {
                play.crash();
                true
            }
            2 => {
                play.lose_shard(seed as usize % shards);
                true
            }
            3 => {
                play.drain();
                false
            }
            _ => {
                check_explained(&play, nth);
                jump_to_next_day(&play, &mut jumps, seed, nth);
                continue;
            }
        };
        if may_lose {
            lossy.push(today(&play));
        }
        play.boot_surely();
        play.sim.run_for(Duration::from_secs(40));
        jump_to_next_day(&play, &mut jumps, seed, nth);
    }
    judge(&play, &jumps, &lossy);
    play.conclude();
}

#[test]
fn a_day_whose_beginning_cannot_be_written_down_is_used_whole() {
    for seed in seeds(4) {
        let play = play(seed, 2, &[EACH_DAY; 6], &[]);
        play.boot_surely();
        for _ in 0..12 {
            play.client(100, &EVERYWHERE, 0, 500);
        }
        let mut jumps = vec![Duration::ZERO];
        for nth in 0..3 {
            // Mail is on its way when the day changes, and somebody asks for the new one at once.
            let pause = play.random().between(20, 400);
            play.sim.run_for(Duration::from_millis(pause));
            play.disk().set_faults(Faults {
                fail_directories: true,
                ..Faults::default()
            });
            jump_to_next_day(&play, &mut jumps, 0, 2 * nth);
            play.sim.run_for(Duration::from_secs(10));
            play.disk().set_faults(Faults::default());
            play.sim.run_for(Duration::from_secs(30));
            let counts = counts(&play, &jumps, 1, None);
            let day = today(&play);
            // What was on its way from the day before may come on top.
            let named = counts.get(&day).copied().unwrap_or_default().1;
            assert!(named >= EACH_DAY, "{}: {day}: {counts:?}", play.seed());
            jump_to_next_day(&play, &mut jumps, 0, 2 * nth + 1);
        }
        play.conclude();
    }
}

fn today(play: &Play) -> Day {
    Day::of(play.clients().wall())
}

/// To somewhere in the next day; sometimes back for a moment, to a day that was used up.
fn jump_to_next_day(play: &Play, jumps: &mut Vec<Duration>, seed: u64, nth: u64) {
    let mut jump = |to: Day| {
        let begins = to.begins().0 + play.random().between(1, 80_000) as i64 * 1_000_000;
        play.sim.jump_wall(begins - play.clients().wall().0);
        jumps.push(play.sim.elapsed());
    };
    let now = today(play);
    if nth % 5 == 4 && seed % 2 == 1 {
        jump(Day(now.0 - 2));
        play.sim.run_for(Duration::from_secs(30));
    }
    jump(now.next());
}

/// What an operator is told is what the hosts have seen: all of the plan.
fn check_explained(play: &Play, nth: u64) {
    let told = play.explain("x@one.test");
    let pool = told.pool.unwrap_or_default();
    for source in pool.sources {
        let warmup = source.warmup.unwrap_or_default();
        assert_eq!(warmup.day, Some(nth as usize + 1), "{}", play.seed());
        let whole = explained::WarmupLine {
            about: "all".to_owned(),
            limit: Some(DAYS[nth as usize]),
            used: Some(DAYS[nth as usize]),
        };
        assert_eq!(warmup.lines[0], whole, "{}: {}", play.seed(), source.name);
    }
}

/// Recipients named on each day to hosts of a destination, or of all, from a source: those that
/// surely belong to the day, and all.
fn counts(
    play: &Play,
    jumps: &[Duration],
    last: u8,
    destination: Option<&str>,
) -> BTreeMap<Day, (u32, u32)> {
    let mut counts: BTreeMap<Day, (u32, u32)> = BTreeMap::new();
    play.ledger.read(|entries| {
        let named = entries.named.iter().filter(|one| {
            one.source == source(last)
                && destination.is_none_or(|destination| *one.destination == *destination)
        });
        for one in named {
            let (sure, all) = counts.entry(Day::of(one.wall)).or_default();
            *all += 1;
            let mut jumps = jumps.iter();
            let is_late = jumps.any(|at| *at <= one.at && one.at < *at + ON_THE_WAY);
            *sure += u32::from(!is_late || one.at < ON_THE_WAY);
        }
    });
    counts
}

fn judge(play: &Play, jumps: &[Duration], lossy: &[Day]) {
    for (last, destination, days) in [
        (1, None, &DAYS[..]),
        (2, None, &DAYS[..]),
        (2, Some("one.test"), &DAYS_OF_ONE[..]),
    ] {
        let counts = counts(play, jumps, last, destination);
        let words = format!(
            "{}: source {last} to {destination:?}: {counts:?}",
            play.seed()
        );
        let (mut sum, mut may) = (0, 0);
        for (nth, limit) in days.iter().enumerate() {
            let day = Day(first_day().0 + nth as u16);
            let (sure, all) = counts.get(&day).copied().unwrap_or_default();
            assert!(sure <= *limit, "{words}: {sure} on {day}, {limit} may be");
            sum += all;
            may += limit;
        }
        if days.len() == DAYS.len() {
            // What a crash may leave of a day unused: what was set aside, twice.
            let lost = 12 * lossy.len() as u32;
            assert!(sum <= may, "{words}: {sum} of {may}");
            assert!(sum + lost >= may, "{words}: {sum} of {may}, {lost} lost");
        }
    }
}
