//! Mail that nothing will move: a look-out for what everything else here takes for impossible.
//!
//! [`Queue::look`] goes over some messages at a time, so that what it costs is bounded, and begins
//! again once a minute. What looks wrong once may be a moment between two steps; what looks wrong for
//! [`PATIENCE`] is stuck, and somebody has to be told.

use std::collections::HashMap;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::time::Tick;

use super::lane::{Gate, Lane};
use super::part::{EMPTY, Message};
use super::wakeups::Sleeper;
use super::{MessageKey, Queue, State};

/// Why a message is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Its time is over, and it has not failed.
    Expired,
    /// No timer is set for it, its timer has passed, or nobody comes to take it.
    Unscheduled,
    /// An attempt takes longer than one can.
    InFlight,
    /// All of it is settled but for a report, which nobody makes.
    Unreported,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Expired,
        Self::Unscheduled,
        Self::InFlight,
        Self::Unreported,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Unscheduled => "unscheduled",
            Self::InFlight => "in_flight",
            Self::Unreported => "unreported",
        }
    }

    /// What is wrong, for the log.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Expired => "its time is over, and it has not failed",
            Self::Unscheduled => "nothing is scheduled for it",
            Self::InFlight => "its attempt takes longer than one can",
            Self::Unreported => "its sender is to be told, and is not",
        }
    }
}

/// What is kept from look to look.
#[derive(Debug)]
pub struct Watch {
    /// The next message to look at.
    place: u32,
    /// When the next sweep may begin.
    next: Tick,
    /// Sweeps begun.
    sweep: u64,
    /// What looked wrong, and since when.
    suspects: HashMap<MessageKey, Suspect>,
    /// How many were stuck in the last whole sweep, in the order of [`Why::ALL`].
    stuck: [u64; Why::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    why: Why,
    since: Tick,
    sweep: u64,
    is_told: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            place: 0,
            next: Tick(i64::MIN),
            sweep: 0,
            suspects: HashMap::new(),
            stuck: [0; Why::ALL.len()],
        }
    }
}

impl Watch {
    /// How many messages are stuck, for each reason.
    pub fn stuck(&self) -> impl Iterator<Item = (Why, u64)> {
        Why::ALL.into_iter().zip(self.stuck)
    }

    /// A message looks wrong; true when it has for too long, and nobody was told yet.
    fn suspect(&mut self, now: Tick, key: MessageKey, why: Why) -> bool {
        let fresh = Suspect {
            why,
            since: now,
            sweep: self.sweep,
            is_told: false,
        };
        let known = self.suspects.get_mut(&key);
        let Some(suspect) = known.filter(|suspect| suspect.why == why) else {
            if self.suspects.len() < SUSPECTS_MAX || self.suspects.contains_key(&key) {
                self.suspects.insert(key, fresh);
            }
            return false;
        };
        suspect.sweep = self.sweep;
        suspect.is_stuck(now) && !std::mem::replace(&mut suspect.is_told, true)
    }

    /// All messages were looked at: what looked well this time is well.
    fn end_sweep(&mut self, now: Tick) {
        let sweep = self.sweep;
        self.suspects.retain(|_, suspect| suspect.sweep == sweep);
        let stuck = self.suspects.values().filter(|one| one.is_stuck(now));
        self.stuck = [0; Why::ALL.len()];
        for one in stuck {
            self.stuck[one.why as usize] += 1;
        }
        self.place = 0;
    }
}

impl Suspect {
    fn is_stuck(self, now: Tick) -> bool {
        now.since(self.since) >= PATIENCE
    }
}

impl Queue {
    /// Looks at the next messages; those that are found to be stuck, and were not told of before.
    pub fn look(&mut self, watch: &mut Watch, now: Tick) -> Vec<(QueueId, Why)> {
        let mut found = Vec::new();
        if watch.place == 0 {
            if now < watch.next {
                return found;
            }
            watch.next = now + SWEEP_PERIOD;
            watch.sweep += 1;
        }
        let mut left = LOOK_BATCH;
        while left > 0 {
            let index = watch.place;
            if index >= self.messages.places() {
                watch.end_sweep(now);
                break;
            }
            watch.place += 1;
            left -= 1;
            let Some(message) = self.messages.get(index) else {
                continue;
            };
            let (id, first) = (message.id, message.first);
            let mut why = message.fault();
            let mut part = first;
            while part != EMPTY {
                left = left.saturating_sub(1);
                self.follow_settings(part);
                why = why.or(self.fault_of(now, part));
                part = self.parts[part].sibling;
            }
            let key = MessageKey(self.messages.key(index));
            if let Some(why) = why
                && watch.suspect(now, key, why)
            {
                found.push((id, why));
            }
        }
        found
    }

    /// New settings may let mail expire, or be told of, before its timer was set for.
    fn follow_settings(&mut self, index: u32) {
        let wanted = self.wakeup_of(index);
        let set = self.wakeups.at(self.parts[index].wakeup);
        if set.is_some_and(|(at, _)| at > wanted) {
            self.wake(Sleeper::Part(index), wanted);
        }
    }

    /// What is wrong with a part.
    fn fault_of(&self, now: Tick, index: u32) -> Option<Why> {
        let part = &self.parts[index];
        let lane = &self.lanes[part.lane];
        let is_scheduled = match part.state {
            // What an operator holds waits for the operator.
            State::Held => return None,
            State::Removed => {
                let until = self.bin.first();
                let is_late = until.is_none_or(|until| until + PATIENCE < now);
                return is_late.then_some(Why::Unscheduled);
            }
            State::InFlight => {
                let is_long = now.since(part.due) >= ATTEMPT_MAX;
                return is_long.then_some(Why::InFlight);
            }
            State::Waiting => self.rings(now, Sleeper::Part(index), part.wakeup, part.due),
            State::Ready if lane.gate == Gate::Closed => {
                self.rings(now, Sleeper::Lane(part.lane), lane.wakeup, Tick::NEVER)
            }
            State::Ready => lane.is_attended(now),
        };
        let accepted = self.messages[part.message].accepted;
        if now >= accepted + self.settings.expire {
            return Some(Why::Expired);
        }
        (!is_scheduled).then_some(Why::Unscheduled)
    }

    /// True when `who` stands at `position` among the wake-ups, for a moment that comes, and no later
    /// than `latest`.
    fn rings(&self, now: Tick, who: Sleeper, position: u32, latest: Tick) -> bool {
        let found = self.wakeups.at(position);
        found.is_some_and(|(at, sleeper)| sleeper == who && at >= now && at <= latest)
    }
}

impl Message {
    /// What is wrong with the message itself.
    fn fault(&self) -> Option<Why> {
        if self.first != EMPTY {
            return None;
        }
        match (&self.gathered, self.reports) {
            (None, 0) => Some(Why::Unscheduled),
            // It comes round again: senders hear of so much at a time.
            (Some(gathered), 0) if gathered.scheduled => None,
            _ => Some(Why::Unreported),
        }
    }
}

impl Lane {
    /// True while somebody comes for what is ready.
    fn is_attended(&self, now: Tick) -> bool {
        let is_moving = self.in_flight > 0 || now.since(self.moved) < STALL_MAX;
        self.announced || self.connections > 0 && is_moving
    }
}

/// How long something may look wrong: longer than a report takes, gathered and stored.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How often a sweep begins.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Messages and parts looked at by one call: some microseconds. At twenty calls a second a million
/// messages take three minutes.
const LOOK_BATCH: u32 = 256;
/// Suspects kept: with so many, more make no difference to whoever is told.
const SUSPECTS_MAX: usize = 10_000;
/// The largest message to a host that takes each block at the last moment.
const ATTEMPT_MAX: Duration = Duration::from_secs(4 * 3600);
/// A lane with connections, of which none carries anything, waits for permits that others hold, each
/// for a message.
const STALL_MAX: Duration = Duration::from_secs(3600);
