//! How fast mail goes to a destination or to a group of hosts, over all shards.
//!
//! The home of a destination (as with [`permits`](super::permits)) books slots: one for each
//! message, at a moment that keeps the rate of a rule and the one that was learned from a peer
//! that said "too fast". A slot is a promise of a moment, so nobody has to be told again: who has one
//! waits for it, or goes away and comes back. No clock is read here.

mod learned;
mod lesson;
mod spacing;

use std::collections::HashMap;
use std::time::Duration;

use crate::mail::rate::Rate;
use crate::time::Tick;

pub use learned::{
    CROWD_WAIT, HALF, INTERVAL_MAX, INTERVAL_MIN, Lately, PEACE, RAISE_WAIT, SETTLE,
};
pub use lesson::Lesson;
pub use spacing::BURST_TIME;

use learned::{Crowd, Learned};
use spacing::Spacing;

/// The paces of the destinations that are at home here.
#[derive(Debug, Default)]
pub struct Pacer {
    paces: HashMap<u64, Pace>,
}

#[derive(Debug)]
struct Pace {
    name: Box<str>,
    terms: Terms,
    messages: Spacing,
    recipients: Spacing,
    /// Slots that were booked, and given back before their time.
    free: Vec<Tick>,
    learned: Option<Learned>,
    crowd: Option<Crowd>,
    lately: Lately,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Of messages.
    pub rate: Option<Rate>,
    /// Of recipients.
    pub recipient_rate: Option<Rate>,
}

/// What somebody wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What the rule says.
    pub terms: Terms,
    /// To so many recipients.
    pub recipients: u32,
    /// Recipients or messages that were taken since the last word.
    pub taken: u32,
    /// A slot that went by unused.
    pub instead_of: Option<Tick>,
}

/// Leave to send one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Not before.
    pub at: Tick,
    /// The pace: a slot that is late by less than half of this may still be used.
    pub interval: Duration,
}

/// A peer says that something is too much.
#[derive(Clone, Copy, Debug)]
pub struct Strain<'a> {
    /// What.
    pub of: Of,
    /// How many messages were taken of late.
    pub taken: u32,
    /// In how long; `None`: since the last word.
    pub span: Option<Duration>,
    /// Connections that are open, over all shards.
    pub open: u32,
    /// What it said.
    pub why: &'a str,
}

/// What is too much for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// Messages in a time.
    Rate,
    /// Connections at a time.
    Connections,
}

/// What has become of what is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on slots have to be booked.
    Slowed(u64),
    /// Mail needs no more slots than a rule says.
    Freed(u64),
    /// The number of connections is another.
    Crowd(u64),
}

/// A pace, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose.
    pub name: Box<str>,
    /// What was learned, from one message to the next.
    pub interval: Option<Duration>,
    /// Connections it was found to take.
    pub connections: Option<u32>,
    /// What the peer said last.
    pub why: Option<Box<str>>,
    /// Since when it is slowed.
    pub since: Option<Tick>,
    /// When it last complained.
    pub strained: Option<Tick>,
    /// The next slot.
    pub next: Tick,
}

impl Pacer {
    /// Books a slot for a message to a destination.
    pub fn book(&mut self, now: Tick, destination: u64, name: &str, wish: Wish) -> Slot {
        let pace = self.pace(now, destination, name);
        pace.set_terms(now, wish.terms);
        pace.lately.add(now, wish.taken);
        if let Some(missed) = wish.instead_of {
            pace.give_back(now, missed);
        }
        let interval = pace.interval();
        let by_recipients = wish.terms.recipient_rate.map(Rate::interval);
        let first = by_recipients.map_or(now, |each| pace.recipients.free(now, each));
        pace.free.retain(|slot| *slot >= now);
        let again = pace.free.iter().position(|slot| *slot >= first);
        let at = match again {
            Some(place) => pace.free.swap_remove(place),
            None => {
                let at = pace.messages.free(first, interval);
                pace.messages.book(at, interval, 1);
                at
            }
        };
        if let Some(each) = by_recipients {
            pace.recipients.book(at, each, wish.recipients);
        }
        if let Some(learned) = &mut pace.learned {
            learned.count_slot();
        }
        Slot { at, interval }
    }

    /// A slot is not needed.
    pub fn unbook(&mut self, now: Tick, destination: u64, slot: Tick) {
        if let Some(pace) = self.paces.get_mut(&destination) {
            pace.give_back(now, slot);
        }
    }

    /// A peer complains; what follows from it.
    pub fn strained(
        &mut self,
        now: Tick,
        destination: u64,
        name: &str,
        strain: Strain<'_>,
    ) -> Option<Change> {
        if self.paces.len() >= PACES_MAX && !self.paces.contains_key(&destination) {
            return None;
        }
        let pace = self.pace(now, destination, name);
        let why = &strain.why[..strain.why.floor_char_boundary(WHY_MAX)];
        if strain.of == Of::Connections {
            match &mut pace.crowd {
                Some(crowd) => crowd.strain(now, strain.open, why),
                none => *none = Some(Crowd::new(now, strain.open, why)),
            }
            return Some(Change::Crowd(destination));
        }
        match strain.span {
            // Nobody has counted here before.
            Some(span) if pace.learned.is_none() => {
                pace.lately = Lately::new(now - span);
                pace.lately.add(now, strain.taken);
            }
            // What is in it may have been told already.
            Some(_) => {}
            None => pace.lately.add(now, strain.taken),
        }
        let lately = pace.lately;
        let rule = pace.terms.rate.map_or(Duration::ZERO, Rate::interval);
        match &mut pace.learned {
            Some(learned) => {
                learned.strain(now, lately, why);
                None
            }
            none => {
                *none = Some(Learned::new(now, lately.interval(now).max(rule), why));
                Some(Change::Slowed(destination))
            }
        }
    }

    /// What time has brought. Paces that nobody needs are forgotten.
    pub fn look(&mut self, now: Tick) -> Vec<Change> {
        let mut changes = Vec::new();
        self.paces.retain(|&destination, pace| {
            let rule = pace.terms.rate.map_or(Duration::ZERO, Rate::interval);
            if let Some(learned) = &mut pace.learned
                && (!learned.rise(now) || learned.interval <= rule)
            {
                pace.learned = None;
                changes.push(Change::Freed(destination));
            }
            if let Some(crowd) = &mut pace.crowd {
                match crowd.rise(now) {
                    Some(false) => {}
                    Some(true) => changes.push(Change::Crowd(destination)),
                    None => {
                        pace.crowd = None;
                        changes.push(Change::Crowd(destination));
                    }
                }
            }
            let is_quiet = pace.messages.is_over(now) && pace.recipients.is_over(now);
            pace.learned.is_some() || pace.crowd.is_some() || !is_quiet
        });
        changes.sort_unstable_by_key(|change| change.destination());
        changes
    }

    /// Connections that a destination was found to take.
    #[must_use]
    pub fn connections(&self, destination: u64) -> Option<u32> {
        let crowd = self.paces.get(&destination)?.crowd.as_ref();
        crowd.map(|crowd| crowd.most)
    }

    /// What is known of a destination.
    #[must_use]
    pub fn facts(&self, now: Tick, destination: u64) -> Option<Facts> {
        Some(self.paces.get(&destination)?.facts(now))
    }

    /// The destinations that have complained, the slowest first.
    #[must_use]
    pub fn slowed(&self, now: Tick) -> Vec<Facts> {
        let has_learned = |pace: &&Pace| pace.learned.is_some() || pace.crowd.is_some();
        let slowed = self.paces.values().filter(has_learned);
        let mut facts: Vec<Facts> = slowed.map(|pace| pace.facts(now)).collect();
        facts.sort_by(|a, b| (b.interval, &a.name).cmp(&(a.interval, &b.name)));
        facts
    }

    fn pace(&mut self, now: Tick, destination: u64, name: &str) -> &mut Pace {
        self.paces.entry(destination).or_insert_with(|| Pace {
            name: name.into(),
            terms: Terms::default(),
            messages: Spacing::default(),
            recipients: Spacing::default(),
            free: Vec::new(),
            learned: None,
            crowd: None,
            lately: Lately::new(now),
        })
    }
}

impl Pace {
    /// From one message to the next.
    fn interval(&self) -> Duration {
        let rule = self.terms.rate.map_or(Duration::ZERO, Rate::interval);
        let learned = self.learned.as_ref();
        rule.max(learned.map_or(Duration::ZERO, |learned| learned.interval))
    }

    /// What was booked under another rule does not keep the next one waiting for longer than this one
    /// has it.
    fn set_terms(&mut self, now: Tick, terms: Terms) {
        if self.terms == terms {
            return;
        }
        self.terms = terms;
        self.free.clear();
        self.messages.forget_after(now + self.interval());
        let each = terms.recipient_rate.map_or(Duration::ZERO, Rate::interval);
        self.recipients.forget_after(now + each);
    }

    fn give_back(&mut self, now: Tick, slot: Tick) {
        let is_last = self.messages.take_back(slot);
        self.recipients.take_back(slot);
        if !is_last && slot >= now && self.free.len() < FREE_MAX {
            self.free.push(slot);
        }
    }

    fn facts(&self, now: Tick) -> Facts {
        let (learned, crowd) = (self.learned.as_ref(), self.crowd.as_ref());
        let newest = learned.map(|learned| (learned.strained, &learned.why));
        let newest = newest.max(crowd.map(|crowd| (crowd.strained, &crowd.why)));
        let since = learned.map(|learned| learned.since);
        Facts {
            name: self.name.clone(),
            interval: learned.map(|learned| learned.interval),
            connections: crowd.map(|crowd| crowd.most),
            why: newest.map(|(_, why)| why.clone()),
            since: since.or(crowd.map(|crowd| crowd.since)),
            strained: newest.map(|(at, _)| at),
            next: self.messages.free(now, self.interval()),
        }
    }
}

impl Change {
    const fn destination(self) -> u64 {
        match self {
            Self::Slowed(destination) | Self::Freed(destination) | Self::Crowd(destination) => {
                destination
            }
        }
    }
}

/// Destinations whose pace is kept by one home; some 300 octets each. One more that complains is
/// left to its lane's back-off.
const PACES_MAX: usize = 10_000;
/// Slots given back that are remembered; others are lost, which is slower and never faster.
const FREE_MAX: usize = 64;
/// Octets of what a peer said.
const WHY_MAX: usize = 256;

#[cfg(test)]
mod tests;
