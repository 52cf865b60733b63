//! Who gets no mail, through power cuts, lost shards, full and failing disks and panics: what an operator
//! was told is so, what a host has said no to is on the list, and a report counts once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::play::{EVERYWHERE, Play, RETURNS, SENDERS};
use crate::bounces::Class;
use crate::config::Suppressed;
use crate::sim::disk::Faults;
use crate::sim::peers::ledger::Told;
use crate::sim::peers::provider::Manner;
use crate::sim::peers::returner::Returner;
use crate::sim::seeds;
use crate::suppress::{Entry, Suppressions};
use crate::trial;
use crate::world::{Class as Share, World as _};

/// What an operator was told.
#[derive(Clone, Default)]
struct Orders {
    /// His own addresses: on the list, off it, or nobody has told him.
    own: Rc<RefCell<BTreeMap<String, Option<bool>>>>,
    /// Addresses that reports had brought onto it, and that he has taken off.
    pardoned: Rc<RefCell<BTreeSet<String>>>,
}

/// A play with refusals, reports and an operator.
struct Scene {
    play: Play,
    /// Refusals that it takes.
    after: u32,
    orders: Orders,
    ends: Rc<Cell<bool>>,
    /// Those of returner and operator that go on.
    left: Rc<Cell<usize>>,
    /// Refusals that the list did not take, in lives before.
    lost: Cell<u64>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let after = 1 + seed as usize % 2;
        let mut play = Play::with(seed, 1 + seed as usize % 3, |config| {
            config.suppression.on = vec![Class::BadMailbox];
            config.suppression.after = after;
            config.suppression.span = None;
            config.suppression.action = Suppressed::Fail;
            config.returns.domain = Some(RETURNS.to_owned());
            config.spool.segment = 256 << 10;
        });
        play.terms.return_domain = Some(RETURNS);
        for provider in play.providers.values() {
            provider.set_manner(Manner::Knows(850));
        }
        Self {
            play,
            after: after as u32,
            orders: Orders::default(),
            ends: Rc::default(),
            left: Rc::default(),
            lost: Cell::new(0),
        }
    }

    fn begin(&self, messages: usize) {
        let play = &self.play;
        for _ in 0..3 {
            play.client(messages, &EVERYWHERE, 50, 3_000);
        }
        let returner = Returner {
            world: play.clients().clone(),
            relay: play.door(),
            ledger: play.ledger.clone(),
            breaks_permille: 100,
            ends: Rc::clone(&self.ends),
        };
        let (world, list) = (play.clients().clone(), Rc::clone(&play.suppressions));
        let (orders, ends, left) = (
            self.orders.clone(),
            Rc::clone(&self.ends),
            Rc::clone(&self.left),
        );
        let (ledger, after) = (play.ledger.clone(), self.after);
        left.set(2);
        let done = Rc::clone(&left);
        play.clients().spawn(Share::Inbound, async move {
            returner.run().await;
            done.set(done.get() - 1);
        });
        play.clients().spawn(Share::Inbound, async move {
            let random = world.choices();
            while !ends.get() {
                let pause = Duration::from_millis(random.below(60));
                world.sleep(world.now() + pause).await;
                let handle = list.borrow().clone();
                let found = ledger.read(|entries| {
                    let mut told = entries.told.iter();
                    let is_one = |(address, told): &(&String, &Told)| {
                        let is_new = !orders.pardoned.borrow().contains(*address);
                        is_new && told.was_all_heard(after) && handle.has(address, world.wall())
                    };
                    told.find(is_one).map(|(address, _)| address.clone())
                });
                match found {
                    Some(address) => orders.pardon(&handle, address, world.wall()).await,
                    None if random.permille(400) => {}
                    None => {
                        let name = format!("m{}@one.test", random.below(12));
                        let adds = random.permille(600);
                        orders.give(&handle, name, adds, world.wall()).await;
                    }
                }
            }
            left.set(left.get() - 1);
        });
    }

    /// The relay's life is over, in one way or another.
    fn note_end(&self) {
        let (_, lost) = self.play.suppressions.borrow().counts();
        self.lost.set(self.lost.get() + lost);
    }

    fn conclude(&self) {
        let play = &self.play;
        play.finish_clients();
        play.sim.run_for(Duration::from_secs(100));
        self.ends.set(true);
        let gone = || self.left.get() == 0;
        play.run_until("reports are sent", gone, Duration::from_secs(7200));
        play.finish();
        self.judge("in the end");
        self.note_end();
        // And so it is after one more start.
        play.crash();
        play.boot_surely();
        self.judge("after one more start");
        play.judge();
    }

    fn judge(&self, when: &str) {
        let play = &self.play;
        let list = play.suppressions.borrow().clone();
        let now = play.clients().wall();
        let has = |address: &str| list.has(address, now);
        let words = format!("{}: {when}", play.seed());
        for (address, wanted) in self.orders.own.borrow().iter() {
            let is_right = wanted.is_none_or(|wanted| wanted == has(address));
            assert!(
                is_right,
                "{words}: {address} is not as the operator was told"
            );
        }
        let (_, lost) = list.counts();
        let is_spoiled = self.lost.get() + lost > 0;
        let pardoned = self.orders.pardoned.borrow();
        play.ledger.read(|entries| {
            assert_eq!(entries.returns_refused, [""; 0], "{words}: no return path");
            // Who said no himself, and how often at the most.
            let mut refused: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
            for attempt in &entries.attempts {
                let (sure, most) = refused.entry(&attempt.recipient).or_default();
                match attempt.code {
                    Some(550) => (*sure, *most) = (1, *most + 1),
                    None => *most += 1,
                    Some(_) => {}
                }
            }
            let recipients = entries.attempts.iter().map(|one| &*one.recipient);
            let recipients = recipients.filter(|address| !address.ends_with(SENDERS));
            for address in recipients.collect::<BTreeSet<_>>() {
                let (mut sure, mut most) = refused.get(address).copied().unwrap_or_default();
                let told = entries.told.get(address).copied().unwrap_or_default();
                if is_spoiled || entries.is_from_nobody(address) {
                    sure = 0;
                }
                if pardoned.contains(address) {
                    let may_be = most > 0;
                    assert!(
                        may_be || !has(address),
                        "{words}: {address} is on the list again"
                    );
                    continue;
                }
                let need = if told.is_complaint { 1 } else { self.after };
                (sure, most) = (sure + told.sure, most + told.sure + told.maybe);
                let said = format!("refused {sure} to {most} times of {need}");
                assert!(
                    sure < need || has(address),
                    "{words}: {address} was {said}, and gets mail"
                );
                assert!(
                    most >= need || !has(address),
                    "{words}: {address} was {said}, and gets none"
                );
            }
        });
    }
}

impl Orders {
    /// Puts an address onto the list, or takes it off.
    async fn give(&self, list: &Suppressions, name: String, adds: bool, now: crate::time::Wall) {
        self.own.borrow_mut().insert(name.clone(), None);
        let done = match adds {
            true => {
                let entry = Entry {
                    address: name.clone(),
                    why: "manual".to_owned(),
                    at: now.seconds(),
                    // Most lines go over the end of a sector.
                    text: Some("by phone ".repeat(20)),
                    ..Entry::default()
                };
                list.add(vec![entry]).await
            }
            false => list.remove(vec![name.clone()], now).await,
        };
        let done = done.is_ok();
        trial::saw(
            "operator",
            if done { "was told" } else { "was told nothing" },
        );
        self.own.borrow_mut().insert(name, done.then_some(adds));
    }

    /// Takes an address off that reports have brought onto it.
    async fn pardon(&self, list: &Suppressions, address: String, now: crate::time::Wall) {
        if list.remove(vec![address.clone()], now).await.is_ok() {
            trial::saw("operator", "takes off what reports have brought");
            self.pardoned.borrow_mut().insert(address);
        }
    }
}

#[test]
fn the_list_is_what_was_said_of_it_after_any_end() {
    seeds(20).for_each(ends);
}

/// Power cuts, kills, lost shards and drains, a moment after something was heard.
pub(super) fn ends(seed: u64) {
    let scene = Scene::new(seed);
    let play = &scene.play;
    if !seed.is_multiple_of(3) {
        // What was heard is on the list long before the spool knows.
        let (least, most) = (Duration::from_millis(50), Duration::from_millis(900));
        play.sim.set_sync_wait(least, most);
    }
    play.boot_surely();
    scene.begin(6);
    let random = play.random();
    for _ in 0..6 {
        let heard = || play.ledger.read(|entries| entries.reports_taken());
        let pardoned = || scene.orders.pardoned.borrow().len();
        let before = (heard(), pardoned());
        // Whether one comes or not.
        let wait = Duration::from_secs(20);
        let lasts = match random.permille(500) {
            true => {
                let _ = play.sim.run_until(|| heard() > before.0, wait);
                900
            }
            false => {
                let _ = play.sim.run_until(|| pardoned() > before.1, wait);
                60
            }
        };
        play.sim.run_for(Duration::from_millis(random.below(lasts)));
        scene.note_end();
        match random.below(8) {
            0 => play.drain(),
            1 => play.lose_shard(0),
            _ => play.crash(),
        }
        play.boot_surely();
    }
    scene.conclude();
}

#[test]
fn the_list_survives_the_power_in_the_middle_of_a_write() {
    seeds(20).for_each(cuts);
}

/// The power goes in one of the disk's next operations.
pub(super) fn cuts(seed: u64) {
    let scene = Scene::new(seed);
    let play = &scene.play;
    // The list's file may be new, and its name not be safe.
    play.cut_power_within(6);
    play.boot_surely();
    play.disk().set_faults(Faults::default());
    scene.begin(6);
    for _ in 0..5 {
        play.sim
            .run_for(Duration::from_millis(play.random().below(9_000)));
        if !play.lose_power_within(30) {
            break;
        }
    }
    play.disk().set_faults(Faults::default());
    scene.conclude();
}

#[test]
fn the_list_survives_a_disk_that_fails_or_is_full() {
    seeds(20).for_each(disk);
}

/// One operation in each few seconds fails, or finds no room.
pub(super) fn disk(seed: u64) {
    let mut scene = Scene::new(seed);
    scene.play.terms.disk_failed = true;
    scene.play.terms.settle_lag = Duration::from_secs(31);
    let play = &scene.play;
    play.boot_surely();
    scene.begin(5);
    let random = play.random();
    for _ in 0..12 {
        let at = Some(1 + random.below(40));
        let mut faults = Faults::default();
        match random.below(4) {
            0 => faults.fail_at = at,
            1 => faults.full_at = at,
            _ => faults.fail_directories = true,
        }
        play.disk().set_faults(faults);
        play.sim.run_for(Duration::from_millis(random.below(3_000)));
        if random.permille(400) {
            play.disk().set_faults(Faults::default());
            scene.note_end();
            play.crash();
            play.boot_surely();
        }
    }
    play.disk().set_faults(Faults::default());
    scene.note_end();
    play.crash();
    play.boot_surely();
    scene.conclude();
}

#[test]
fn the_list_is_kept_through_panics() {
    seeds(12).for_each(panics);
}

/// Its keeper panics, wherever it uses the disk, or who reads reports does.
pub(super) fn panics(seed: u64) {
    let mut scene = Scene::new(seed);
    scene.play.terms.disk_failed = true;
    let play = &scene.play;
    play.boot_surely();
    scene.begin(6);
    let random = play.random();
    for _ in 0..14 {
        let label = if random.permille(700) {
            "suppressions"
        } else {
            "outbound"
        };
        play.tempt(label, random.below(12));
        play.sim.run_for(Duration::from_millis(random.below(6_000)));
    }
    play.sim.tempt(None);
    play.sim.run_for(Duration::from_secs(900));
    scene.conclude();
}
