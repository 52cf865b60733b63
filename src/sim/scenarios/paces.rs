//! How much at a time and how fast: limits as the hosts see them, and rates that nobody has set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::play::{EVERYWHERE, Play};
use super::seeds;
use crate::config::{Limit, Pool, Source};
use crate::observe::explained::Learned;
use crate::sim::peers::exchanger::Mood;
use crate::sim::peers::ledger::Entries;
use crate::sim::peers::provider::Manner;

/// A destination that takes little, and a group that all hosts are in.
fn limited() -> Vec<Limit> {
    vec![
        Limit {
            domain: Some("one.test".to_owned()),
            connections: Some(1),
            rate: "120/m".parse().ok(),
            recipients_per_message: Some(1),
            ..Limit::default()
        },
        Limit {
            mx: Some("*.test".to_owned()),
            connections: Some(3),
            messages_per_connection: Some(5),
            rate: "240/m".parse().ok(),
            ..Limit::default()
        },
    ]
}

#[test]
fn limits_hold_over_all_shards_at_every_instant() {
    seeds(8).for_each(at_every_instant);
}

/// Two to eight shards, hosts that are slow; half of the relays die in between, some by the loss of a
/// shard. What the hosts saw is judged.
pub(super) fn at_every_instant(seed: u64) {
    let shards = 2 + seed as usize % 7;
    let play = Play::with(seed, shards, |config| config.limit = limited());
    play.mood.set(Mood {
        slow: 300,
        pause: Duration::from_secs(2),
        ..Mood::KIND
    });
    play.boot_surely();
    for _ in 0..8 {
        play.client(6, &EVERYWHERE, 0, 2_000);
    }
    let pause = play.random().between(5, 20);
    play.sim.run_for(Duration::from_secs(pause));
    match seed % 4 {
        1 => {
            play.crash();
            play.boot_surely();
        }
        3 => {
            play.lose_shard(seed as usize % shards);
            play.boot_surely();
        }
        _ => {}
    }
    play.conclude();
    play.ledger.read(|entries| {
        let most = entries.busiest.get("one.test").copied();
        assert_eq!(most, Some(1), "{}", play.seed());
        let all = entries.busiest_of_all;
        assert!((2..=3).contains(&all), "{}: {all} of 3", play.seed());
        for copy in entries
            .copies
            .iter()
            .filter(|copy| copy.host == super::play::address(11))
        {
            assert_eq!(copy.recipients.len(), 1, "{}", play.seed());
        }
        for (domain, per_minute) in [(Some("one.test"), 120), (None, 240)] {
            let fault = too_fast(entries, domain, per_minute);
            assert_eq!(fault, None, "{}: {domain:?}", play.seed());
        }
    });
}

/// A stretch of time in one life of the relay in which more transactions began than the rate brings in
/// it, and in the second that bursts and late ones may take together.
fn too_fast(entries: &Entries, domain: Option<&str>, per_minute: u32) -> Option<String> {
    let began = entries.transactions.iter();
    let began = began.filter(|(_, to)| domain.is_none_or(|domain| **to == *domain));
    let times: Vec<Duration> = began.map(|(at, _)| *at).collect();
    let interval = Duration::from_secs(60) / per_minute;
    let extra = 1.0 / interval.as_secs_f64() + 2.0;
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            let mut crashes = entries.crashes.iter();
            if crashes.any(|crash| (from..=to).contains(&crash)) {
                break;
            }
            let may = (*to - *from).as_secs_f64() / interval.as_secs_f64() + extra;
            let many = last - first + 1;
            if many as f64 > may {
                return Some(format!("{many} from {from:?} to {to:?}, {may:.1} may be"));
            }
        }
    }
    None
}

/// Messages that a minute brings, as `42/m` has it.
fn per_minute(learned: &Learned) -> f64 {
    let rate = learned.rate.as_deref().unwrap_or_default();
    let (count, unit) = rate.split_once('/').unwrap_or_default();
    let count: f64 = count.parse().unwrap_or_default();
    match unit {
        "m" => count,
        "h" => count / 60.0,
        _ => 0.0,
    }
}

#[test]
fn a_rate_that_was_found_is_kept_over_a_restart_and_not_for_ever() {
    seeds(3).for_each(kept_over_a_restart);
}

/// The relay is ended and begins again with another number of shards: it goes on with what it knew. After
/// hours it begins anew.
fn kept_over_a_restart(seed: u64) {
    let shards = 1 + seed as usize % 3;
    let play = Play::new(seed, shards);
    play.providers["one.test"].set_manner(Manner::Throttles(60));
    play.boot_surely();
    for _ in 0..4 {
        play.client(60, &["one.test"], 0, 500);
    }
    play.finish_clients();
    let minute = Duration::from_secs(60);
    play.sim.run_for(2 * minute);
    let known = || {
        let told = play.explain("x@one.test");
        let limits = told.limits.into_iter();
        limits.filter_map(|limit| limit.learned).next()
    };
    let before = known().unwrap_or_else(|| panic!("{}: nothing learned", play.seed()));
    play.drain();
    play.set_shards(4 - shards);
    play.boot_surely();
    let after = known().unwrap_or_else(|| panic!("{}: forgotten", play.seed()));
    assert_eq!((&after.rate, &after.reason), (&before.rate, &before.reason));
    assert!(after.complained >= before.complained, "{}", play.seed());
    play.providers["one.test"].set_manner(Manner::Patient);
    play.drain();
    play.sim.jump_wall(2 * 3600 * 1_000_000);
    play.boot_surely();
    assert_eq!(known(), None, "{}", play.seed());
    play.conclude();
}

#[test]
fn mail_that_was_greylisted_comes_again_from_the_same_source() {
    seeds(4).for_each(from_the_same_source);
}

/// Three sources that take turns, and hosts that greylist each pair of source and recipient. Whoever is
/// named is named from one source only, and taken at its second try. Half of the plays have a restart
/// between the two, with another number of shards.
fn from_the_same_source(seed: u64) {
    let shards = 1 + seed as usize % 3;
    let play = Play::with(seed, shards, |config| {
        let source = |last: u8| Source {
            name: format!("s{last}"),
            address: vec![[198, 51, 100, last].into()],
            ..Source::default()
        };
        config.source = [1, 2, 3].map(source).to_vec();
        config.pool = vec![Pool {
            name: "three".to_owned(),
            sources: [1, 2, 3].map(|last| (format!("s{last}"), 1)).to_vec(),
        }];
        config.delivery.pool = Some("three".to_owned());
        config.delivery.messages_per_connection = 2;
    });
    let minute = Duration::from_secs(60);
    play.providers["two.test"].set_manner(Manner::Greylists(minute / 4));
    play.boot_surely();
    for _ in 0..4 {
        play.client(10, &["two.test"], 0, 500);
    }
    if seed.is_multiple_of(2) {
        play.finish_clients();
        let greylisted = || play.providers["two.test"].counts().greylisted;
        play.run_until("all is greylisted", || greylisted() >= 40, minute / 4);
        play.drain();
        play.set_shards(4 - shards);
        play.boot_surely();
    }
    play.conclude();
    play.ledger.read(|entries| {
        let mut sources: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        for one in entries
            .named
            .iter()
            .filter(|one| *one.destination == *"two.test")
        {
            sources
                .entry(&one.recipient)
                .or_default()
                .insert(one.source);
        }
        let all: BTreeSet<IpAddr> = sources.values().flatten().copied().collect();
        assert_eq!(all.len(), 3, "{}", play.seed());
        let wanderers: Vec<_> = sources.iter().filter(|(_, from)| from.len() > 1).collect();
        assert!(wanderers.is_empty(), "{}: {wanderers:?}", play.seed());
    });
    assert!(play.providers["two.test"].counts().greylisted >= 40);
}

#[test]
fn the_rate_of_each_provider_is_found_without_any_setting() {
    seeds(2).for_each(three_providers);
}

/// One hangs up on more than sixty messages in a minute, one greylists, one refuses a third by policy.
/// Ringpost slows down for the first, and only for that; all mail ends as it would have without haste.
fn three_providers(seed: u64) {
    let limit = 60;
    let play = Play::with(seed, 2, |config| {
        config.queue.expire = Duration::from_secs(5 * 3600);
    });
    let minute = Duration::from_secs(60);
    for (domain, manner) in [
        ("one.test", Manner::Throttles(limit)),
        ("two.test", Manner::Greylists(minute)),
        ("three.test", Manner::Refuses(333)),
    ] {
        play.providers[domain].set_manner(manner);
    }
    play.boot_surely();
    for domain in EVERYWHERE {
        let messages = if domain == "one.test" { 500 } else { 20 };
        for _ in 0..4 {
            play.client(messages, &[domain], 0, 500);
        }
    }
    play.finish_clients();
    let mut found = Vec::new();
    play.sim.run_for(5 * minute);
    let warming = play.providers["one.test"].counts();
    for _ in 0..15 {
        play.sim.run_for(minute);
        let told = play.explain("x@one.test");
        let learned = told.limits.iter().find_map(|limit| limit.learned.clone());
        let learned = learned.unwrap_or_else(|| panic!("{}: {told:?}", play.seed()));
        assert!(learned.reason.contains("4.7.28"), "{learned:?}");
        found.push(per_minute(&learned) / f64::from(limit));
    }
    let (least, most) = (
        found.iter().copied().fold(9.0, f64::min),
        found.iter().copied().fold(0.0, f64::max),
    );
    let words = format!("{}: {least:.2} to {most:.2} of it", play.seed());
    assert!(least > 0.5 && most < 1.4, "{words}");
    let counts = play.providers["one.test"].counts();
    let taken = counts.taken - warming.taken;
    assert!(
        taken >= 15 * limit * 6 / 10,
        "{words}: {taken} in 15 minutes"
    );
    let refused = counts.throttled - warming.throttled;
    assert!(
        refused * 5 < taken,
        "{words}: {refused} too many for {taken}"
    );
    for domain in ["two.test", "three.test"] {
        let told = play.explain(&format!("x@{domain}"));
        assert!(
            told.limits.iter().all(|limit| limit.learned.is_none()),
            "{told:?}"
        );
    }
    assert!(play.providers["two.test"].counts().greylisted > 0);
    assert!(play.providers["three.test"].counts().refused > 0);
    play.providers["one.test"].set_manner(Manner::Patient);
    play.finish();
    play.judge();
}
