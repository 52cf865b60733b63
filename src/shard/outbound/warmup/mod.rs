//! Warm-ups: how much of today each source may still send, exact over all shards and over crashes.
//!
//! ```text
//!  any shard: take ─► used + n ≤ set aside? ── yes ─► MAIL
//!                          │ no: ask, wait a moment          first shard: set aside another block:
//!                          └────────────────────────────────► written, synced, renamed, then told
//! ```
//!
//! What counts is each recipient of each transaction that begins, before MAIL leaves: a provider has
//! seen it, whatever its answer is. A crash forgets nothing that was sent; what was set aside and not
//! sent is lost to the day, a block or two of it.

mod book;
mod count;
pub(in crate::shard) mod keep;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use smallvec::SmallVec;

use super::courier::Courier;
use super::transmit::Connection;
use crate::observe::ask;
use crate::observe::explained;
use crate::route::pool::Source;
use crate::route::warmup::{Day, Destination, Line, Plan};
use crate::shard::Shard;
use crate::world::{Tick, World};

use count::{Count, Short};

/// The counts of all lines, for all shards. Cloning shares them.
#[derive(Clone, Default)]
pub struct Warmups {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the names of lines. The first shard alone adds some.
    counts: ArcSwap<HashMap<Box<str>, Arc<Count>>>,
    /// Wakes the first shard's keeper.
    keeper: AtomicWaker,
    is_asked: AtomicBool,
    /// The relay ends: nothing more is set aside.
    ends: AtomicBool,
    /// What was used is on the disk, to the last one.
    is_closed: AtomicBool,
}

/// Whether a source may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Room {
    /// As far as is known.
    Open,
    /// That is not known yet, and will be in a moment.
    Unknown,
    /// Not before the next day.
    Spent,
}

/// What comes of asking for leave to send to some recipients.
pub(super) enum Leave {
    /// To so many, at least one.
    Granted(usize),
    /// Not from this source, on this day.
    Spent,
    /// Its turn comes at that moment.
    Later(Tick),
}

impl Warmups {
    fn count(&self, line: &Line) -> Option<Arc<Count>> {
        self.inner.counts.load().get(&*line.key).map(Arc::clone)
    }

    /// Wants the keeper to see to it that there is room for so many.
    fn ask(&self, count: Option<&Count>, wanted: u32) {
        if let Some(count) = count {
            count.want(wanted);
        }
        self.inner.is_asked.store(true, Ordering::Release);
        self.inner.keeper.wake();
    }

    /// Whether mail to somewhere may go from `source` on this day.
    pub(in crate::shard) fn room(&self, source: &Source, to: Destination<'_>, today: Day) -> Room {
        let Some(plan) = &source.warmup else {
            return Room::Open;
        };
        let mut room = Room::Open;
        for (line, limit) in plan.bounds(to, today) {
            let left = match self.count(line) {
                Some(count) => count.left(today, limit),
                None => (limit == 0).then_some(0),
            };
            match left {
                Some(0) => return Room::Spent,
                Some(_) => {}
                None => {
                    self.ask(None, 0);
                    room = Room::Unknown;
                }
            }
        }
        room
    }

    /// Takes leave for up to `wanted` recipients, from every line or from none.
    fn take(
        &self,
        plan: &Plan,
        to: Destination<'_>,
        today: Day,
        wanted: u32,
    ) -> Result<u32, Short> {
        let mut taken: SmallVec<[(Arc<Count>, u32); 4]> = SmallVec::new();
        let mut least = wanted;
        for (line, limit) in plan.bounds(to, today) {
            let count = self.count(line);
            let some = match &count {
                Some(count) => count.take(today, limit, least),
                None => Err(Short::NotReserved),
            };
            match (some, count) {
                (Ok(some), Some(count)) => {
                    if count.runs_low(limit) {
                        self.ask(Some(&count), 1);
                    }
                    least = some;
                    taken.push((count, some));
                }
                (some, count) => {
                    if some != Err(Short::Spent) {
                        self.ask(count.as_deref(), least);
                    }
                    for (count, some) in taken {
                        count.give_back(today, some);
                    }
                    return Err(some.err().unwrap_or(Short::NotReserved));
                }
            }
        }
        for (count, some) in taken {
            if some > least {
                count.give_back(today, some - least);
            }
        }
        Ok(least)
    }

    /// The plan of a source as an operator is told of it.
    pub(super) fn explain(&self, source: &Source, today: Day) -> Option<explained::Warmup> {
        let plan = source.warmup.as_ref()?;
        let line = |line: &Line| explained::WarmupLine {
            about: line.about.to_string(),
            limit: plan.limit(line, today),
            used: self.used(line, today),
        };
        Some(explained::Warmup {
            plan: plan.name.to_string(),
            day: plan.day(today),
            first: plan.first.to_string(),
            next: today.next().max(plan.first).to_string(),
            lines: plan.lines.iter().map(line).collect(),
        })
    }

    /// What was sent today; `None` where that is not known yet.
    fn used(&self, line: &Line, today: Day) -> Option<u32> {
        let state = self.count(line)?.state();
        (state.day == today).then_some(state.used)
    }
}

impl<W: World> Courier<'_, W> {
    /// Waits for the turn of a transaction to up to `open` recipients over a connection, by its pace and
    /// by its warm-up.
    pub(super) async fn leave_for(
        &mut self,
        connection: &mut Connection<W>,
        open: usize,
        has_return_path: bool,
    ) -> Leave {
        let most = match has_return_path {
            // It names one recipient.
            true => 1,
            false => self.recipients_max(connection.group.as_ref()).min(open),
        };
        match self.may_send(connection.group.as_mut(), most).await {
            Ok(()) => self.may_warm_up(connection, most).await,
            Err(until) => Leave::Later(until),
        }
    }

    async fn may_warm_up(&self, connection: &Connection<W>, wanted: usize) -> Leave {
        let shard = self.shard;
        let Some(source) = &connection.source else {
            return Leave::Granted(wanted);
        };
        // A reload may have changed the plan since the connection began, or have taken the source away.
        let settings = shard.settings();
        let Some(plan) = settings.pools.warmup(&source.name) else {
            let is_gone = source.warmup.is_some() && settings.pools.source(&source.name).is_none();
            return match is_gone {
                true => Leave::Spent,
                false => Leave::Granted(wanted),
            };
        };
        let number = u32::try_from(wanted).unwrap_or(u32::MAX);
        let to = Destination::new(&self.how, &connection.host);
        let until = shard.world.now() + PATIENCE;
        let mut pause = PAUSE_FIRST;
        loop {
            let today = Day::of(shard.world.wall());
            match shard.warmups.take(plan, to, today, number) {
                Ok(taken) => return Leave::Granted(taken as usize),
                Err(Short::Spent) => {
                    shard.say_spent(source, plan, to, today);
                    return Leave::Spent;
                }
                Err(Short::NotReserved) if shard.world.now() >= until => {
                    return Leave::Later(shard.world.now() + PATIENCE);
                }
                Err(Short::NotReserved) => shard.world.sleep(shard.world.now() + pause).await,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl<W: World> Shard<W> {
    /// Says once a day that a line is used up.
    fn say_spent(&self, source: &Source, plan: &Plan, to: Destination<'_>, today: Day) {
        for (line, limit) in plan.bounds(to, today) {
            let Some(count) = self.warmups.count(line) else {
                continue;
            };
            if count.left(today, limit) == Some(0) && count.tells(today) {
                let (name, about) = (&source.name, &line.about);
                self.say(format_args!(
                    "warm-up: {name} has sent the {limit} that plan {} has for {today} ({about}); \
                     what nobody else of its pool takes waits until {}",
                    plan.name,
                    today.next()
                ));
            }
        }
    }

    /// When the next day begins.
    pub(super) fn next_day(&self) -> Tick {
        let wall = self.world.wall();
        let wait = Day::of(wall).next().begins().0.saturating_sub(wall.0);
        self.world.now() + Duration::from_micros(u64::try_from(wait).unwrap_or(0))
    }

    /// The counts of today, for metrics.
    pub(in crate::shard) fn warmup_counts(&self) -> Vec<ask::Warmup> {
        let (settings, today) = (self.settings(), Day::of(self.world.wall()));
        let lines = settings.pools.warmed().flat_map(|(source, plan)| {
            let lines = plan.lines.iter();
            lines.map(move |line| (source, plan, line))
        });
        let counts = lines.filter_map(|(source, plan, line)| {
            Some(ask::Warmup {
                source: source.name.to_string(),
                about: line.about.to_string(),
                limit: plan.limit(line, today)?,
                used: self.warmups.used(line, today)?,
            })
        });
        counts.collect()
    }
}

/// How long a delivery waits, its connection at hand, for the disk to set more aside.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
