//! Which source a connection leaves from: whose turn it is in its pool, and who rests.
//!
//! A source rests for everybody when the machine does not have its address, and for one lane when
//! that lane's hosts turn it away. Where others of its pool can go, they do. A message that was
//! greylisted comes again from where it came: who greylists remembers that too.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::observe::explained;
use crate::route::pool::{Member, Pool, Source, Turns};
use crate::route::warmup::{Day, Destination};
use crate::shard::outbound::warmup::{Room, Warmups};
use crate::shard::settle::named::Named;
use crate::world::Tick;

/// Where a connection leaves from.
#[derive(Clone, Debug)]
pub(in crate::shard) struct Leaving {
    pub(in crate::shard) source: Rc<Source>,
    pub(in crate::shard) address: IpAddr,
}

/// What there is to leave from.
#[derive(Debug)]
pub(super) enum Choice {
    /// This.
    From(Leaving),
    /// Nobody says: the kernel chooses.
    Free,
    /// Nothing in this pool reaches addresses of this family.
    Unreachable,
    /// All of the pool's addresses are missing on this machine.
    Absent,
    /// It is not known yet what warm-ups leave of today.
    Unknown,
    /// Warm-ups leave nothing of today.
    Spent,
}

/// A connection that somebody wants to open.
pub(in crate::shard) struct Trip<'a> {
    pub(in crate::shard) now: Tick,
    pub(in crate::shard) today: Day,
    pub(in crate::shard) pool: &'a Pool,
    pub(in crate::shard) lane: &'a Rc<str>,
    pub(in crate::shard) to: IpAddr,
    pub(in crate::shard) destination: Destination<'a>,
    /// Where its message was greylisted from.
    pub(in crate::shard) again: Option<Rc<str>>,
    /// What sources on their warm-up may still send.
    pub(in crate::shard) warmups: &'a Warmups,
}

impl Trip<'_> {
    fn room(&self, source: &Source) -> Room {
        self.warmups.room(source, self.destination, self.today)
    }
}

/// A shard's sources.
#[derive(Default)]
pub(in crate::shard) struct Sources {
    /// By the pool's name, empty for the unnamed one.
    turns: RefCell<HashMap<Rc<str>, Turns>>,
    /// Addresses that the machine did not have, and until when that is believed.
    absent: RefCell<HashMap<IpAddr, Tick>>,
    /// Lanes whose hosts turned a source away.
    unwelcome: RefCell<HashMap<Pair, Unwelcome>>,
    /// Messages that hosts of a lane want to come again.
    greylisted: RefCell<HashMap<Turned, Greylisted>>,
    /// The day, as of some milliseconds ago.
    today: Cell<Day>,
    /// Lanes that wait for the next day.
    tomorrow: RefCell<HashSet<Rc<str>>>,
    /// Recipients by source, and by what became of them.
    pub(in crate::shard) counts: Named,
}

/// A lane and a source, by their names.
type Pair = (Rc<str>, Rc<str>);

/// From which source a message came, and until when that is remembered.
type Greylisted = (Rc<str>, Tick);

/// A message, and the lane whose hosts have greylisted it.
type Turned = (QueueId, Rc<str>);

struct Unwelcome {
    until: Tick,
    /// Times in a row.
    times: u32,
}

impl Sources {
    /// Whose turn it is. Those that the lane's hosts turned away go when nobody else can: then it is
    /// for the lane to back off.
    pub(super) fn choose(&self, trip: &Trip<'_>) -> Choice {
        let Trip { now, pool, to, .. } = *trip;
        if pool.members.is_empty() {
            return Choice::Free;
        }
        let mut reaches = pool
            .members
            .iter()
            .filter_map(|member| member.source.address(to));
        if pool.name.is_none() && reaches.clone().next().is_none() {
            // `[delivery] source` says where mail of its families leaves, and no more.
            return Choice::Free;
        }
        if reaches.clone().next().is_none() {
            return Choice::Unreachable;
        }
        if reaches.all(|address| self.is_absent(now, address)) {
            return Choice::Absent;
        }
        let is_here = |source: &Source| {
            source
                .address(to)
                .is_some_and(|own| !self.is_absent(now, own))
        };
        let may_go = |source: &Source| is_here(source) && trip.room(source) == Room::Open;
        let is_free = |source: &Source| self.is_free(trip, source);
        let again = self.again_from(trip).map(|member| &member.source);
        if let Some((source, address)) = again.and_then(|one| Some((one, one.address(to)?))) {
            let source = Rc::clone(source);
            return Choice::From(Leaving { source, address });
        }
        let mut turns = self.turns.borrow_mut();
        let turns = turns
            .entry(pool.name.clone().unwrap_or_default())
            .or_default();
        let member = turns.next(&pool.members, is_free);
        let member = member.or_else(|| turns.next(&pool.members, may_go));
        let leaving = member.and_then(|member| {
            let source = Rc::clone(&member.source);
            Some(Leaving {
                address: source.address(to)?,
                source,
            })
        });
        let mut here = pool.members.iter().filter(|one| is_here(&one.source));
        leaving.map_or_else(
            || match here.any(|one| trip.room(&one.source) == Room::Unknown) {
                true => Choice::Unknown,
                false => Choice::Spent,
            },
            Choice::From,
        )
    }

    /// The same, and it stays whoever's turn it was.
    pub(in crate::shard) fn peek(&self, trip: &Trip<'_>) -> Option<Leaving> {
        let name = trip.pool.name.clone().unwrap_or_default();
        let before = self.turns.borrow().get(&name).cloned();
        let choice = self.choose(trip);
        match before {
            Some(before) => self.turns.borrow_mut().insert(name, before),
            None => self.turns.borrow_mut().remove(&name),
        };
        match choice {
            Choice::From(leaving) => Some(leaving),
            _ => None,
        }
    }

    /// Whether somebody of the pool could go whom nobody has turned away.
    pub(super) fn has_other(&self, trip: &Trip<'_>) -> bool {
        let mut members = trip.pool.members.iter();
        members.any(|member| self.is_free(trip, &member.source))
    }

    /// The member from whom a message has to come again, and may.
    pub(super) fn again_from<'a>(&self, trip: &Trip<'a>) -> Option<&'a Member> {
        let name = trip.again.as_ref()?;
        let mut members = trip.pool.members.iter();
        let member = members.find(|member| member.source.name == *name);
        member.filter(|member| self.is_free(trip, &member.source))
    }

    fn is_free(&self, trip: &Trip<'_>, source: &Source) -> bool {
        let address = source.address(trip.to);
        address.is_some_and(|own| !self.is_absent(trip.now, own))
            && !self.rests_for(trip.now, trip.lane, source)
            && trip.room(source) == Room::Open
    }

    /// A host of a lane wants a message to come again: from the same source.
    pub(super) fn greylisted(&self, now: Tick, lane: &Rc<str>, id: QueueId, source: &Source) {
        let known = (Rc::clone(&source.name), now + GREYLISTED_FOR);
        self.recall_greylisted(now, (id, Rc::clone(lane)), known);
    }

    /// The same as it was known before.
    pub(super) fn recall_greylisted(&self, now: Tick, message: Turned, known: Greylisted) {
        let mut greylisted = self.greylisted.borrow_mut();
        if greylisted.len() >= GREYLISTED_MAX {
            greylisted.retain(|_, (_, until)| now < *until);
        }
        if greylisted.len() < GREYLISTED_MAX || greylisted.contains_key(&message) {
            greylisted.insert(message, known);
        }
    }

    /// Messages that hosts want to come again, so many at most.
    pub(super) fn all_greylisted(&self, now: Tick, most: usize) -> Vec<(Turned, Greylisted)> {
        let greylisted = self.greylisted.borrow();
        let open = greylisted.iter().filter(|(_, (_, until))| now < *until);
        let open = open.map(|((id, lane), (source, until))| {
            ((*id, Rc::clone(lane)), (Rc::clone(source), *until))
        });
        open.take(most).collect()
    }

    /// What was said of a message last was something else.
    pub(super) fn not_greylisted(&self, lane: &Rc<str>, id: QueueId) {
        let mut greylisted = self.greylisted.borrow_mut();
        if !greylisted.is_empty() {
            greylisted.remove(&(id, Rc::clone(lane)));
        }
    }

    /// The source from which a message has to come again.
    pub(super) fn again(&self, lane: &Rc<str>, id: QueueId) -> Option<Rc<str>> {
        let greylisted = self.greylisted.borrow();
        if greylisted.is_empty() {
            return None;
        }
        let known = greylisted.get(&(id, Rc::clone(lane)));
        known.map(|(source, _)| Rc::clone(source))
    }

    /// A lane waits for the next day.
    pub(super) fn wait_for_tomorrow(&self, lane: &Rc<str>) {
        self.tomorrow.borrow_mut().insert(Rc::clone(lane));
    }

    /// Whether the day is another than it was a moment ago.
    pub(in crate::shard) fn is_new_day(&self, today: Day) -> bool {
        let is_new = self.today.replace(today) != today;
        if is_new {
            self.begin_day();
        }
        is_new
    }

    /// It is the next day, or plans are others.
    pub(in crate::shard) fn begin_day(&self) {
        self.tomorrow.borrow_mut().clear();
    }

    /// Whether a lane waits for the next day.
    pub(in crate::shard) fn waits_for_tomorrow(&self, lane: &str) -> bool {
        self.tomorrow.borrow().contains(lane)
    }

    /// The machine does not have this address.
    pub(super) fn absent(&self, now: Tick, address: IpAddr) {
        let mut absent = self.absent.borrow_mut();
        absent.retain(|_, until| now < *until);
        absent.insert(address, now + ABSENT_WAIT);
    }

    /// Hosts of a lane turned a source away.
    pub(super) fn unwelcome(&self, now: Tick, lane: &Rc<str>, source: &Source) {
        let mut unwelcome = self.unwelcome.borrow_mut();
        if unwelcome.len() >= UNWELCOME_MAX {
            unwelcome.retain(|_, one| now < one.until);
        }
        let key = (Rc::clone(lane), Rc::clone(&source.name));
        if unwelcome.len() >= UNWELCOME_MAX && !unwelcome.contains_key(&key) {
            return;
        }
        let one = unwelcome.entry(key).or_insert(Unwelcome {
            until: now,
            times: 0,
        });
        let doubled = UNWELCOME_WAIT * (1 << one.times.min(UNWELCOME_DOUBLINGS));
        one.times += 1;
        one.until = now + doubled;
    }

    /// Hosts of a lane took a connection from a source.
    pub(super) fn welcome(&self, lane: &Rc<str>, source: &Source) {
        let mut tomorrow = self.tomorrow.borrow_mut();
        if !tomorrow.is_empty() {
            tomorrow.remove(lane);
        }
        let mut unwelcome = self.unwelcome.borrow_mut();
        if !unwelcome.is_empty() {
            unwelcome.remove(&(Rc::clone(lane), Rc::clone(&source.name)));
        }
    }

    fn is_absent(&self, now: Tick, address: IpAddr) -> bool {
        let absent = self.absent.borrow();
        !absent.is_empty() && absent.get(&address).is_some_and(|until| now < *until)
    }

    fn rests_for(&self, now: Tick, lane: &Rc<str>, source: &Source) -> bool {
        self.rests(now, lane, source).is_some()
    }

    fn rests(&self, now: Tick, lane: &Rc<str>, source: &Source) -> Option<Duration> {
        let unwelcome = self.unwelcome.borrow();
        if unwelcome.is_empty() {
            return None;
        }
        let one = unwelcome.get(&(Rc::clone(lane), Rc::clone(&source.name)))?;
        (now < one.until).then(|| one.until.since(now))
    }

    /// A pool as an operator is told of it.
    pub(in crate::shard) fn explain(
        &self,
        (now, today): (Tick, Day),
        pool: &Pool,
        lane: &Rc<str>,
        warmups: &Warmups,
    ) -> explained::Pool {
        let whole: f64 = pool
            .members
            .iter()
            .map(|member| f64::from(member.weight))
            .sum();
        let sources = pool.members.iter().map(|member| {
            let source = &member.source;
            let missing = source.addresses.iter();
            explained::Source {
                name: source.name.to_string(),
                addresses: source.addresses.iter().map(ToString::to_string).collect(),
                helo: source.helo.as_deref().map(str::to_owned),
                weight: member.weight,
                share: f64::from(member.weight) / whole,
                missing: missing
                    .filter(|address| self.is_absent(now, **address))
                    .map(ToString::to_string)
                    .collect(),
                rests: self.rests(now, lane, source).map(|rests| rests.as_secs()),
                warmup: warmups.explain(source, today),
            }
        });
        explained::Pool {
            name: pool.name.as_deref().map(str::to_owned),
            sources: sources.collect(),
        }
    }
}

/// How long an address is taken to be missing: it may be one that moves between machines.
const ABSENT_WAIT: Duration = Duration::from_secs(60);
/// How long a source that was turned away rests first; each further time it is twice as long.
const UNWELCOME_WAIT: Duration = Duration::from_secs(60);
/// To a quarter of an hour, like a lane.
const UNWELCOME_DOUBLINGS: u32 = 4;
/// Messages remembered that were greylisted; some 100 octets each.
const GREYLISTED_MAX: usize = 16 * 1024;
/// Longer than hosts remember who has come before, and than most mail is tried.
const GREYLISTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Pairs of lane and source remembered.
const UNWELCOME_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    fn pool(name: Option<&str>, sources: &[(&str, &str)]) -> Pool {
        let member = |(name, address): &(&str, &str)| Member {
            source: Rc::new(Source {
                name: (*name).into(),
                addresses: vec![address.parse().unwrap()],
                helo: None,
                warmup: None,
            }),
            weight: 1,
        };
        Pool {
            name: name.map(Rc::from),
            members: sources.iter().map(member).collect(),
        }
    }

    fn trip<'a>(now: Tick, pool: &'a Pool, lane: &'a Rc<str>, to: IpAddr) -> Trip<'a> {
        static WARMUPS: LazyLock<Warmups> = LazyLock::new(Warmups::default);
        Trip {
            now,
            today: Day(100),
            pool,
            lane,
            to,
            destination: Destination {
                domain: "d.test",
                host: "mx.d.test",
            },
            again: None,
            warmups: &WARMUPS,
        }
    }

    struct Scene {
        sources: Sources,
        pool: Pool,
        lane: Rc<str>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                sources: Sources::default(),
                pool: pool(Some("p"), &[("a", "192.0.2.1"), ("b", "192.0.2.2")]),
                lane: "d.test via p".into(),
            }
        }

        fn turns(&self, seconds: u64, count: usize) -> String {
            let now = Tick(0) + Duration::from_secs(seconds);
            let to = "198.51.100.9".parse().unwrap();
            let trip = trip(now, &self.pool, &self.lane, to);
            let choose = |_| match self.sources.choose(&trip) {
                Choice::From(from) => from.source.name.to_string(),
                other => format!("({other:?})"),
            };
            (0..count).map(choose).collect()
        }
    }

    #[test]
    fn sources_take_turns_and_one_without_its_address_rests() {
        let scene = Scene::new();
        assert_eq!(scene.turns(0, 4), "abab");
        scene.sources.absent(Tick(0), "192.0.2.1".parse().unwrap());
        assert_eq!(scene.turns(59, 3), "bbb");
        assert_eq!(scene.turns(60, 2), "ab");
        for address in ["192.0.2.1", "192.0.2.2"] {
            scene.sources.absent(Tick(0), address.parse().unwrap());
        }
        assert_eq!(scene.turns(1, 1), "(Absent)");
    }

    #[test]
    fn a_source_that_one_destination_turns_away_rests_there_ever_longer() {
        let mut scene = Scene::new();
        let source = Rc::clone(&scene.pool.members[0].source);
        scene.sources.unwelcome(Tick(0), &scene.lane, &source);
        assert_eq!(scene.turns(59, 3), "bbb");
        let lane = std::mem::replace(&mut scene.lane, "e.test via p".into());
        assert!(scene.turns(59, 2).contains('a'), "only for the one lane");
        scene.lane = lane;
        let later = Tick(0) + Duration::from_secs(60);
        scene.sources.unwelcome(later, &scene.lane, &source);
        assert_eq!(scene.turns(179, 2), "bb");
        assert!(scene.turns(180, 2).contains('a'));
        scene.sources.unwelcome(later, &scene.lane, &source);
        scene.sources.welcome(&scene.lane, &source);
        assert!(scene.turns(180, 2).contains('a'));
    }

    #[test]
    fn a_message_that_was_greylisted_comes_again_from_there_while_that_may_go() {
        let scene = Scene::new();
        let (id, source) = (QueueId(7), Rc::clone(&scene.pool.members[1].source));
        scene.sources.greylisted(Tick(0), &scene.lane, id, &source);
        let to = "198.51.100.9".parse().unwrap();
        let choose = |id| {
            let again = scene.sources.again(&scene.lane, id);
            let trip = Trip {
                again,
                ..trip(Tick(1), &scene.pool, &scene.lane, to)
            };
            match scene.sources.choose(&trip) {
                Choice::From(from) => from.source.name.to_string(),
                other => format!("({other:?})"),
            }
        };
        let chosen: String = (0..3).map(|_| choose(id)).collect();
        assert_eq!(chosen, "bbb");
        assert_eq!([choose(QueueId(8)), choose(QueueId(8))], ["a", "b"]);
        scene.sources.absent(Tick(1), "192.0.2.2".parse().unwrap());
        assert_eq!(choose(id), "a");
        scene.sources.not_greylisted(&scene.lane, id);
        assert_eq!(scene.sources.again(&scene.lane, id), None);
    }

    #[test]
    fn where_all_are_turned_away_all_go_on() {
        let scene = Scene::new();
        for member in &scene.pool.members {
            scene
                .sources
                .unwelcome(Tick(0), &scene.lane, &member.source);
        }
        assert_eq!(scene.turns(1, 4), "abab");
    }

    #[test]
    fn a_pool_reaches_no_family_that_it_has_no_address_of() {
        let to = "2001:db8::9".parse().unwrap();
        let (sources, lane) = (Sources::default(), "d.test".into());
        let choose = |pool: &Pool| sources.choose(&trip(Tick(0), pool, &lane, to));
        let named = pool(Some("p"), &[("a", "192.0.2.1")]);
        assert!(matches!(choose(&named), Choice::Unreachable));
        // What [delivery] source says is of one family only, and says nothing of the other.
        let unnamed = pool(None, &[("192.0.2.1", "192.0.2.1")]);
        assert!(matches!(choose(&unnamed), Choice::Free));
        assert!(matches!(choose(&Pool::default()), Choice::Free));
    }
}
