//! TLS fails at every step, on the way out and on the way in, and mail is neither lost, nor read by
//! others than its policy lets read it. The handshakes are real ones: rustls over the streams of this
//! world.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::play::{DOMAINS, EVERYWHERE, Play, address};
use crate::config::TlsPolicy;
use crate::route::dns::{Answer, Kind, Question, Records, Response, Tlsa};
use crate::route::sts::{Found, Mode, Policy};
use crate::sim::peers::exchanger::{Mood, Tls};
use crate::sim::peers::guard::{Keys, Trick, Trust};
use crate::sim::{Weather, seeds};

/// What holds for the hosts of every domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Opportunistic,
    Required,
    Verify,
    Sts,
    Dane,
}

impl Guard {
    const ALL: [Self; 5] = [
        Self::Opportunistic,
        Self::Required,
        Self::Verify,
        Self::Sts,
        Self::Dane,
    ];

    const fn trust(self) -> Trust {
        match self {
            Self::Opportunistic => Trust::Plain,
            Self::Required => Trust::Encrypted,
            Self::Verify | Self::Sts | Self::Dane => Trust::Proved,
        }
    }

    /// A stage on which it holds.
    fn stage(self, seed: u64, shards: usize) -> Play {
        let hosts = hosts().map(|(_, host, _)| host);
        let names: Vec<String> = hosts.chain(["relay.test".to_owned()]).collect();
        let keys = Rc::new(Keys::new(&names).unwrap());
        let mut play = Play::guarded(seed, shards, &keys, |config| {
            config.delivery.tls = match self {
                Self::Required => TlsPolicy::Required,
                Self::Verify => TlsPolicy::Verify,
                Self::Opportunistic | Self::Sts | Self::Dane => TlsPolicy::Opportunistic,
            };
            // Whatever came within minutes came in the first attempt.
            config.queue.retry = vec![Duration::from_secs(3600)];
            config.tls_reports.organization = Some("relay.test".to_owned());
        });
        play.terms.trust = self.trust();
        match self {
            Self::Sts => publish_policies(&play),
            Self::Dane => publish_keys(&play, &keys),
            Self::Opportunistic | Self::Required | Self::Verify => {}
        }
        play
    }
}

/// Domain, host and the last octet of its address.
fn hosts() -> impl Iterator<Item = (&'static str, String, u8)> {
    DOMAINS.iter().flat_map(|(domain, addresses)| {
        let hosts = addresses.iter().enumerate();
        hosts.map(move |(place, last)| (*domain, format!("mx{place}.{domain}"), *last))
    })
}

fn publish_policies(play: &Play) {
    for (domain, _) in DOMAINS {
        let policy = Policy {
            mode: Mode::Enforce,
            mx: vec![format!("*.{domain}").into()],
            max_age: Duration::from_secs(86_400),
        };
        let found = Found {
            policy: Some(Arc::new(policy)),
            trouble: None,
        };
        play.sim.set_policy(domain, found);
    }
}

/// DNSSEC vouches for everything.
fn publish_keys(play: &Play, keys: &Keys) {
    let say = |name: &str, kind, records| {
        let response = Response {
            answer: Answer::Records(records, TTL),
            is_secure: true,
            secure_names: vec![name.into()],
        };
        let name = name.into();
        play.sim.set_answer(Question { name, kind }, response);
    };
    for (domain, _) in DOMAINS {
        let own = hosts().filter(|(of, ..)| *of == domain);
        let exchanges = own.map(|(_, host, last)| (u16::from(last), host.into()));
        say(domain, Kind::Mx, Records::Mx(exchanges.collect()));
    }
    for (_, host, last) in hosts() {
        say(&host, Kind::A, Records::Addresses(vec![address(last)]));
        let record = Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: keys.public_key_hash.clone(),
        };
        let name = format!("_25._tcp.{host}");
        say(&name, Kind::Tlsa, Records::Tlsa(vec![record]));
    }
}

/// A trick and what it makes of TLS.
struct Case {
    trick: Trick,
    /// What reports call it; `None`: the handshake was a good one.
    reported: Option<&'static str>,
}

/// Every step of a handshake: nothing, half of the server's first record, between its records, and
/// what is left when it is done.
fn cases() -> Vec<Case> {
    let failing = |reported| {
        move |trick| Case {
            trick,
            reported: Some(reported),
        }
    };
    let other = failing("validation-failure");
    let mut cases = vec![
        failing("starttls-not-supported")(Trick::NotOffered),
        other(Trick::Refuses(454)),
        other(Trick::Refuses(502)),
        other(Trick::Garbage),
        other(Trick::Injects),
    ];
    for octets in [0, 5, 60, 500] {
        cases.push(other(Trick::Closes(octets)));
        cases.push(other(Trick::Resets(octets)));
        cases.push(other(Trick::Stalls(octets)));
    }
    cases
}

/// How many copies came, and how many envelopes were told to whom.
fn arrived(play: &Play) -> (usize, BTreeMap<Trust, usize>) {
    play.ledger
        .read(|entries| (entries.copies.len(), entries.envelopes.clone()))
}

/// What was counted for reports, by the name of the failure.
fn reported(play: &Play) -> BTreeMap<Option<String>, usize> {
    let mut counts = BTreeMap::new();
    for session in play.sim.tls_sessions() {
        let failure = session.failure.map(|failure| failure.result_type);
        *counts.entry(failure).or_default() += 1;
    }
    counts
}

#[test]
fn a_handshake_that_fails_falls_back_in_the_same_attempt_or_mail_waits() {
    for guard in Guard::ALL {
        for (number, case) in cases().into_iter().enumerate() {
            let play = guard.stage(number as u64, 1);
            let what = format!("{guard:?}, {:?}, {}", case.trick, play.seed());
            play.mood.set(Mood {
                tls: Tls::Always(case.trick),
                ..Mood::KIND
            });
            play.boot_surely();
            play.client(2, &EVERYWHERE, 0, 2_000);
            play.finish_clients();
            // Three hosts that each stall for a minute, and no second attempt that could be better.
            play.sim.run_for(Duration::from_secs(200));
            let (copies, envelopes) = arrived(&play);
            if guard == Guard::Opportunistic {
                assert!(copies >= 2, "{what}: {copies} copies");
                assert!(
                    envelopes.keys().eq([&Trust::Plain]),
                    "{what}: {envelopes:?}"
                );
                let queued = play
                    .facts()
                    .iter()
                    .map(|one| one.messages_queued)
                    .sum::<u64>();
                assert_eq!(queued, 0, "{what}");
            } else {
                assert_eq!(envelopes, BTreeMap::new(), "{what}");
            }
            let tried = play.ledger.read(|entries| entries.tls_tried);
            let wanted = BTreeMap::from([(case.reported.map(str::to_owned), tried)]);
            assert_eq!(reported(&play), wanted, "{what}");
            play.finish();
            play.judge();
        }
    }
}

#[test]
fn a_stranger_with_the_right_name_gets_what_anybody_may_get() {
    for (guard, failure) in [
        (Guard::Opportunistic, None),
        (Guard::Required, None),
        (Guard::Verify, Some("certificate-not-trusted")),
        (Guard::Sts, Some("certificate-not-trusted")),
        (Guard::Dane, Some("validation-failure")),
    ] {
        let play = guard.stage(1, 1);
        play.mood.set(Mood {
            tls: Tls::Always(Trick::Impostor),
            ..Mood::KIND
        });
        play.boot_surely();
        play.client(3, &EVERYWHERE, 0, 2_000);
        play.finish_clients();
        play.sim.run_for(Duration::from_secs(100));
        let (copies, envelopes) = arrived(&play);
        let wanted = (failure.is_none()).then_some(&Trust::Encrypted);
        assert!(envelopes.keys().eq(wanted), "{guard:?}: {envelopes:?}");
        assert_eq!(copies > 0, failure.is_none(), "{guard:?}");
        let tried = play.ledger.read(|entries| entries.tls_tried);
        let counts = BTreeMap::from([(failure.map(str::to_owned), tried)]);
        assert_eq!(reported(&play), counts, "{guard:?}");
        play.finish();
        play.judge();
    }
}

/// Not one octet is sent after which a host cannot go.
#[test]
fn a_host_goes_after_any_octet() {
    for guard in Guard::ALL {
        for seed in seeds(9) {
            let play = guard.stage(seed, 1);
            let octets = play.random().below(4_000);
            let trick = match seed % 3 {
                0 => Trick::Closes(octets),
                1 => Trick::Resets(octets),
                _ => Trick::Stalls(octets),
            };
            play.mood.set(Mood {
                tls: Tls::Always(trick),
                ..Mood::KIND
            });
            play.boot_surely();
            play.client(4, &EVERYWHERE, 0, 20_000);
            play.finish_clients();
            play.sim.run_for(Duration::from_secs(300));
            let (_, envelopes) = arrived(&play);
            if guard == Guard::Opportunistic && !envelopes.contains_key(&Trust::Proved) {
                // TLS came to nothing, so it is done without, and at once.
                let queued = play
                    .facts()
                    .iter()
                    .map(|one| one.messages_queued)
                    .sum::<u64>();
                assert_eq!(queued, 0, "{trick:?}, {}", play.seed());
            }
            play.finish();
            play.judge();
        }
    }
}

/// A client that goes, or falls silent, in its handshake leaves nothing behind, and nobody waits for
/// it longer than a minute.
#[test]
fn clients_go_in_the_middle_of_their_handshake() {
    let mut tricks = vec![Trick::None, Trick::Garbage];
    for octets in [0, 5, 60, 500, 1_200] {
        tricks.push(Trick::Closes(octets));
        tricks.push(Trick::Resets(octets));
        tricks.push(Trick::Stalls(octets));
    }
    for (seed, trick) in (0..).zip(tricks) {
        let play = Guard::Opportunistic.stage(seed, 1);
        play.boot_surely();
        for _ in 0..2 {
            play.tricky_client(3, &EVERYWHERE, (0, Some(trick)), 2_000);
        }
        // Clients that are silent stay so for ten minutes.
        let is_left_alone = (0..12).any(|_| {
            play.sim.run_for(Duration::from_secs(10));
            play.facts().iter().all(|one| one.connections_in == 0)
        });
        assert!(is_left_alone, "{trick:?}");
        play.finish_clients();
        assert_eq!(play.ledger.accepted(), 6, "{trick:?}");
        play.finish();
        play.judge();
    }
}

#[test]
fn everything_goes_wrong_with_tls() {
    for guard in Guard::ALL {
        for seed in seeds(6) {
            let play = guard.stage(seed, 1 + seed as usize % 2);
            play.mood.set(Mood::MOODY);
            if seed.is_multiple_of(2) {
                play.sim.set_weather(Weather::STORM);
            }
            play.boot_surely();
            for _ in 0..3 {
                play.client(5, &EVERYWHERE, 150, 20_000);
            }
            let random = play.random();
            play.sim
                .run_for(Duration::from_micros(random.below(30_000_000)));
            if random.permille(500) {
                play.crash();
                play.boot_surely();
            }
            play.finish_clients();
            play.sim.run_for(Duration::from_secs(120));
            play.finish();
            play.judge();
        }
    }
}

/// Keys and nonces are drawn from the real world's chance; what happens is not.
#[test]
fn the_same_seed_gives_the_same_delivery_under_tls() {
    let trace = |seed| {
        let play = Guard::Verify.stage(seed, 2);
        play.mood.set(Mood {
            tls: Tls::Drawn(500),
            ..Mood::KIND
        });
        play.boot_surely();
        play.client(5, &EVERYWHERE, 100, 20_000);
        play.finish_clients();
        play.finish();
        (play.sim.trace(), play.sim.elapsed())
    };
    for seed in seeds(3) {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

const TTL: Duration = Duration::from_secs(300);
