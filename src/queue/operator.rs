//! What an operator sees and does. Lists walk the whole queue, some messages at a time, so that
//! whoever walks can give others a turn; nothing that mail waits for does.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::mail::mark::{AddressMark, SenderMark, SizeMark};
use crate::mail::outcome::Diagnosis;
use crate::time::Tick;
use crate::wire::status::EnhancedStatus;

use super::lane::Gate;
use super::part::{EMPTY, Fate};
use super::{Decisions, LaneKey, MessageKey, PartKey, Queue, State};

/// One part, for a list. Addresses are on the disk, where [`Queue::locator`] says.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The message.
    pub message: MessageKey,
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub accepted: Tick,
    /// The part.
    pub part: PartKey,
    /// The next hop.
    pub lane: Rc<str>,
    /// Where the part is.
    pub state: State,
    /// Not attempted before.
    pub due: Tick,
    /// Attempts counted.
    pub attempts: u16,
    /// Whom it is for.
    pub recipients: Vec<ListedRecipient>,
}

/// One recipient of a [`Listed`] part.
#[derive(Clone, Debug)]
pub struct ListedRecipient {
    /// Its place in the envelope.
    pub recipient: u16,
    /// An attempt may have delivered it (RFC 1047).
    pub doubtful: bool,
    /// Why it is still here: its own last diagnosis, or else its lane's.
    pub diagnosis: Option<Rc<Diagnosis>>,
}

/// Recipients of one lane by age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneShape {
    /// The next hop.
    pub lane: Rc<str>,
    /// Recipients no older than the bound of the same place in [`AGE_BUCKETS`]; the last ones
    /// are older than all. Without those that were removed.
    pub recipients: [u64; AGE_BUCKETS.len() + 1],
    /// Recipients by their state, in the order of [`State::ALL`].
    pub states: [u64; State::ALL.len()],
}

/// A message as a sweep sees it: looked at in place, because a sweep sees all of them.
pub struct Glance<'a> {
    queue: &'a Queue,
    index: u32,
}

/// A part of a message that a sweep sees.
pub struct GlancePart<'a> {
    /// The next hop.
    pub lane: &'a str,
    /// Where the part is.
    pub state: State,
    queue: &'a Queue,
    index: u32,
}

impl<'a> Glance<'a> {
    /// The message.
    #[must_use]
    pub fn key(&self) -> MessageKey {
        MessageKey(self.queue.messages.key(self.index))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.queue.messages[self.index].id
    }

    /// It was removed, and can be put back.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.queue.messages[self.index].fate == Fate::Removed
    }

    /// The mark of its sender.
    #[must_use]
    pub fn sender(&self) -> SenderMark {
        self.queue.messages[self.index].sender
    }

    /// The mark of its size.
    #[must_use]
    pub fn size(&self) -> SizeMark {
        self.queue.messages[self.index].size
    }

    /// When it was accepted.
    #[must_use]
    pub fn accepted(&self) -> Tick {
        self.queue.messages[self.index].accepted
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = GlancePart<'a>> {
        let queue = self.queue;
        let first = queue.messages[self.index].first;
        let some = |part: u32| (part != EMPTY).then_some(part);
        let parts =
            std::iter::successors(some(first), move |&part| some(queue.parts[part].sibling));
        parts.map(move |index| {
            let part = &queue.parts[index];
            GlancePart {
                lane: &queue.lanes[part.lane].name,
                state: part.state,
                queue,
                index,
            }
        })
    }
}

impl<'a> GlancePart<'a> {
    /// How many recipients it has.
    #[must_use]
    pub fn recipients(&self) -> usize {
        self.queue.parts[self.index].recipients.len()
    }

    /// The marks of their addresses.
    pub fn marks(&self) -> impl Iterator<Item = AddressMark> {
        let recipients = self.queue.parts[self.index].recipients.iter();
        recipients.map(|queued| queued.mark)
    }

    /// Why they are still here, as far as anybody said so.
    pub fn diagnoses(&self) -> impl Iterator<Item = &'a Diagnosis> {
        let part = &self.queue.parts[self.index];
        let lane = self.queue.lanes[part.lane].diagnosis.as_deref();
        let own = part.recipients.iter();
        own.filter_map(move |queued| queued.diagnosis.as_deref().or(lane))
    }
}

/// Recipients by lane, gathered in a sweep.
#[derive(Debug, Default)]
pub struct Shapes(HashMap<Rc<str>, LaneShape>);

impl Shapes {
    /// The fullest lane first.
    #[must_use]
    pub fn finish(self) -> Vec<LaneShape> {
        let mut shapes: Vec<LaneShape> = self.0.into_values().collect();
        let total = |shape: &LaneShape| shape.recipients.iter().sum::<u64>();
        shapes.sort_by(|a, b| total(b).cmp(&total(a)).then_with(|| a.lane.cmp(&b.lane)));
        shapes
    }
}

/// What is known of a lane.
#[derive(Clone, Debug)]
pub struct LaneFacts {
    /// Its key.
    pub key: LaneKey,
    /// Its name.
    pub name: Rc<str>,
    /// Parts: all, ready, in flight.
    pub parts: u32,
    /// Ready to be taken.
    pub ready: u32,
    /// Taken.
    pub in_flight: u32,
    /// Connections the driver has told of.
    pub connections: u32,
    /// Whether more may be opened.
    pub gate: Gate,
    /// It is closed until its turn comes, and nothing is wrong with it.
    pub rests: bool,
    /// When the back-off ends.
    pub reopens: Option<Tick>,
    /// Back-offs in a row.
    pub failures: u32,
    /// Why it failed last.
    pub diagnosis: Option<Rc<Diagnosis>>,
}

impl Queue {
    /// Shows `see` the messages from `place` on, five hundred at most, in no order; where to go
    /// on, or `None` behind the last. What comes or goes between two calls may be seen or not.
    pub fn sweep(&self, place: u32, mut see: impl FnMut(&Glance<'_>)) -> Option<u32> {
        let places = self.messages.places();
        let end = place.saturating_add(SWEEP_BATCH).min(places);
        for index in place..end {
            if self.messages.get(index).is_some() {
                see(&Glance { queue: self, index });
            }
        }
        (end < places).then_some(end)
    }

    /// One message, as a sweep would see it.
    #[must_use]
    pub fn glance(&self, message: MessageKey) -> Option<Glance<'_>> {
        let index = self.messages.find(message.0)?;
        Some(Glance { queue: self, index })
    }

    /// The parts of one message.
    #[must_use]
    pub fn show(&self, message: MessageKey) -> Vec<Listed> {
        self.messages
            .find(message.0)
            .map_or_else(Vec::new, |index| {
                self.parts_of(index)
                    .into_iter()
                    .map(|part| self.listed(part))
                    .collect()
            })
    }

    /// The key of a message.
    #[must_use]
    pub fn find(&self, id: QueueId) -> Option<MessageKey> {
        let index = self.ids.find(id, &self.messages)?;
        Some(MessageKey(self.messages.key(index)))
    }

    /// Every lane, in no order.
    pub fn lanes(&self) -> impl Iterator<Item = LaneFacts> {
        self.lanes.iter().map(|(index, lane)| LaneFacts {
            key: LaneKey(self.lanes.key(index)),
            name: Rc::clone(&lane.name),
            parts: lane.parts,
            ready: lane.ready,
            in_flight: lane.in_flight,
            connections: lane.connections,
            gate: lane.gate,
            rests: lane.rests,
            reopens: self.wakeups.at(lane.wakeup).map(|(at, _)| at),
            failures: lane.failures,
            diagnosis: lane.diagnosis.clone(),
        })
    }

    /// Counts recipients by lane, age and state, those of the messages that [`Queue::sweep`] would
    /// show; where to go on.
    pub fn sweep_shapes(&self, now: Tick, place: u32, shapes: &mut Shapes) -> Option<u32> {
        self.sweep(place, |message| {
            let age = now.since(message.accepted());
            let bucket = AGE_BUCKETS
                .iter()
                .position(|&bound| age <= bound)
                .unwrap_or(AGE_BUCKETS.len());
            for part in message.parts() {
                let lane = &self.lanes[self.parts[part.index].lane].name;
                if !shapes.0.contains_key(lane) {
                    let empty = LaneShape {
                        lane: Rc::clone(lane),
                        recipients: [0; AGE_BUCKETS.len() + 1],
                        states: [0; State::ALL.len()],
                    };
                    shapes.0.insert(Rc::clone(lane), empty);
                }
                if let Some(shape) = shapes.0.get_mut(lane) {
                    let count = part.recipients() as u64;
                    if part.state != State::Removed {
                        shape.recipients[bucket] += count;
                    }
                    shape.states[part.state as usize] += count;
                }
            }
        })
    }

    /// Holds a message: parts in flight are held when they come back undelivered. False when
    /// there is no such message, or it was removed.
    pub fn hold(&mut self, message: MessageKey) -> bool {
        let Some(index) = self.open(message) else {
            return false;
        };
        self.messages[index].held = true;
        for part in self.parts_of(index) {
            if self.parts[part].state != State::InFlight {
                self.move_part(part, State::Held);
            }
        }
        true
    }

    /// Lets a held message go on with its schedule. If its time ran out meanwhile, it expires.
    pub fn release(&mut self, now: Tick, message: MessageKey) -> bool {
        let Some(index) = self.open(message) else {
            return false;
        };
        self.messages[index].held = false;
        for part in self.parts_of(index) {
            if self.parts[part].state == State::Held {
                let ready = self.parts[part].due <= now;
                self.move_part(part, if ready { State::Ready } else { State::Waiting });
            }
        }
        true
    }

    /// Makes a message's waiting parts ready now, and ends the back-off of their lanes. What is
    /// held stays held.
    pub fn retry_now(&mut self, now: Tick, message: MessageKey) -> bool {
        let Some(index) = self.open(message) else {
            return false;
        };
        for part in self.parts_of(index) {
            if matches!(self.parts[part].state, State::Ready | State::Waiting) {
                let lane = self.parts[part].lane;
                self.parts[part].due = self.parts[part].due.min(now);
                if self.parts[part].state == State::Waiting {
                    self.lanes[lane].expect(now);
                    self.move_part(part, State::Ready);
                }
                if self.lanes[lane].gate == Gate::Closed {
                    self.lanes[lane].gate = Gate::Probing;
                    self.wake(super::Sleeper::Lane(lane), Tick::NEVER);
                }
                self.announce(lane);
            }
        }
        true
    }

    /// Removes a message without a report, and for good. Parts in flight cannot be called back: what
    /// of them comes back undelivered is removed then.
    pub fn remove_for_good(&mut self, now: Tick, message: MessageKey) -> Decisions {
        self.order(now, message, Fate::Remove)
    }

    /// Fails what is left of a message, with a report to its sender. As for [`Queue::remove`],
    /// parts in flight follow when they come back. What was removed stays so.
    pub fn bounce(&mut self, now: Tick, message: MessageKey) -> Decisions {
        if self.removal(message).is_some() {
            return Decisions::new();
        }
        self.order(now, message, Fate::Bounce)
    }

    fn order(&mut self, now: Tick, message: MessageKey, fate: Fate) -> Decisions {
        let mut decisions = Decisions::new();
        let Some(index) = self.messages.find(message.0) else {
            return decisions;
        };
        self.messages[index].fate = fate;
        self.bin.forget(message);
        for part in self.parts_of(index) {
            if self.parts[part].state != State::InFlight {
                match fate {
                    Fate::Bounce => self.fail_part(part, Some(bounced()), &mut decisions),
                    _ => self.remove_part(part, &mut decisions),
                }
            }
        }
        self.conclude(now, index, &mut decisions);
        decisions
    }

    /// A message that is here and was not removed.
    fn open(&self, message: MessageKey) -> Option<u32> {
        let index = self.messages.find(message.0)?;
        (self.messages[index].fate != Fate::Removed).then_some(index)
    }

    pub(super) fn parts_of(&self, message: u32) -> Vec<u32> {
        let mut parts = Vec::new();
        let mut next = self.messages[message].first;
        while next != EMPTY {
            parts.push(next);
            next = self.parts[next].sibling;
        }
        parts
    }

    fn listed(&self, index: u32) -> Listed {
        let part = &self.parts[index];
        let message = &self.messages[part.message];
        let lane = &self.lanes[part.lane];
        let recipients = part.recipients.iter().map(|queued| ListedRecipient {
            recipient: queued.place,
            doubtful: queued.doubtful,
            diagnosis: queued
                .diagnosis
                .as_ref()
                .or(lane.diagnosis.as_ref())
                .cloned(),
        });
        Listed {
            message: MessageKey(self.messages.key(part.message)),
            id: message.id,
            accepted: message.accepted,
            part: PartKey(self.parts.key(index)),
            lane: Rc::clone(&lane.name),
            state: part.state,
            due: part.due,
            attempts: part.attempts,
            recipients: recipients.collect(),
        }
    }
}

/// What a recipient fails with when an operator says so: RFC 3463 has no word for it, and
/// `X.0.0` is the one for "no other applies".
pub(super) fn bounced() -> Diagnosis {
    let status = EnhancedStatus::new(5, 0, 0);
    Diagnosis::ours(status, "bounced by operator")
}

/// Messages that one step of a sweep looks at: some tens of microseconds.
pub(super) const SWEEP_BATCH: u32 = 512;

/// Bounds of the ages in [`LaneShape`]: each twice the one before, from five minutes on.
pub const AGE_BUCKETS: [Duration; 9] = [
    Duration::from_secs(5 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(20 * 60),
    Duration::from_secs(40 * 60),
    Duration::from_secs(80 * 60),
    Duration::from_secs(160 * 60),
    Duration::from_secs(320 * 60),
    Duration::from_secs(640 * 60),
    Duration::from_secs(1280 * 60),
];
