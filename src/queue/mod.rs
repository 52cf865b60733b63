//! When and where next. Pure: told of messages, outcomes and time, it answers with decisions.
//!
//! ```text
//!            admit                        take                     settle
//!  message ────────▶ parts ─▶ Ready ─────────────▶ InFlight ───────────────▶ settled
//!                               ▲  ▲                  │ deferred, doubtful
//!                           due │  └── release ──┐    ▼
//!                             Waiting ─ hold ─▶ Held / Waiting
//! ```
//!
//! A *part* is the recipients of one message for one next hop; they share a schedule. A *lane* is
//! all parts for one next hop, see [`lane`]. Rules:
//!
//! - A part that is ready or waiting has exactly one wake-up, at its retry, its expiry or its
//!   delay notice, whichever comes first. A part in flight has none (its driver has the
//!   deadlines), nor has a held one: what an operator holds does not expire.
//! - No part is attempted before it is due, except by [`Queue::retry_now`].
//! - A lane in back-off keeps its ready parts and counts no attempt for them. They show the
//!   lane's last diagnosis, and fail with it when they expire.
//! - What an operator removes stays here until it can no longer be put back, see `bin`; neither
//!   is it attempted meanwhile, nor does it expire.
//! - What fails is gathered per message and told in one report, once no other part may add to it
//!   soon, or after [`schedule::REPORT_PAUSE`]. Until that report is stored the recipients count
//!   as queued: a crash before it means another attempt, never a silent loss.
//!
//! Everything here is O(log n) in the number of parts, except the operator's lists and searches. What
//! stands still in spite of all rules, [`watch`] finds.

#![forbid(unsafe_code)]

mod bin;
#[cfg(any(test, feature = "sim"))]
mod check;
mod decision;
mod ending;
mod ids;
pub mod lane;
mod motion;
mod operator;
pub mod pace;
mod part;
pub mod permits;
mod rest;
pub mod schedule;
mod slab;
#[cfg(test)]
mod tests;
mod wakeups;
pub mod watch;

use std::collections::{HashMap, VecDeque};
use std::iter::Peekable;
use std::rc::Rc;

use crate::mail::Locator;
use crate::mail::envelope::QueueId;
use crate::mail::outcome::{Blame, Diagnosis, Outcome, ReportKind};
use crate::time::Tick;
use crate::trial::{self, Bug};
use crate::wire::status::EnhancedStatus;

pub use bin::Removal;
pub use decision::{
    Admission, Assignment, Cause, Counters, Decision, Decisions, Due, Dues, LaneKey, MessageKey,
    Outcomes, PartAdmission, PartKey, Places, RecipientAdmission, Report, Reported, State,
};
pub use lane::Gate;
pub use operator::{
    AGE_BUCKETS, Glance, GlancePart, LaneFacts, LaneShape, Listed, ListedRecipient, Shapes,
};
pub use schedule::Settings;

use bin::Bin;
use ids::Ids;
use lane::Lane;
use part::{EMPTY, Fate, Message, Part, Queued, Recipients, Wants, kept};
use rest::Wait;
use slab::{NONE, Slab};
use wakeups::{Sleeper, WakeUps};

/// The queue of one shard.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    messages: Slab<Message>,
    ids: Ids,
    parts: Slab<Part>,
    lanes: Slab<Lane>,
    names: HashMap<Rc<str>, u32>,
    wakeups: WakeUps,
    /// Lanes to tell of in the next poll.
    announced: VecDeque<LaneKey>,
    /// Messages whose gathered reports are given at that moment at the latest, in its order.
    reports: VecDeque<(Tick, MessageKey)>,
    bin: Bin,
    counters: Counters,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            messages: Slab::new(),
            ids: Ids::new(),
            parts: Slab::new(),
            lanes: Slab::new(),
            names: HashMap::new(),
            wakeups: WakeUps::default(),
            announced: VecDeque::new(),
            reports: VecDeque::new(),
            bin: Bin::default(),
            counters: Counters::default(),
        }
    }

    /// Takes new settings. Waits that have begun keep their length; expiry and delay notices
    /// follow the new settings when [`Queue::look`] comes by.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Recipients, counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Messages in the queue, without those that were removed.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages.len() - self.bin.len()
    }

    /// Messages it knows of: those that were removed and can be put back included.
    #[must_use]
    pub fn known(&self) -> usize {
        self.messages.len()
    }

    /// Takes a message that is on stable storage. Parts that are due are ready at once. A message
    /// without recipients is finished by the next [`Queue::poll`].
    pub fn admit(&mut self, now: Tick, admission: Admission) -> MessageKey {
        let index = self.messages.insert(Message {
            id: admission.id,
            locator: admission.locator,
            accepted: admission.accepted,
            gathered: None,
            first: EMPTY,
            busy: 0,
            reports: 0,
            sender: admission.sender,
            size: admission.size,
            held: admission.held,
            delay_told: admission.delay_told,
            priority: admission.priority,
            fate: match admission.removed {
                Some(_) => Fate::Removed,
                None => Fate::Open,
            },
        });
        self.ids.insert(index, &self.messages);
        if let Some(removal) = admission.removed {
            self.bin.put(MessageKey(self.messages.key(index)), removal);
        }
        for part in admission.parts {
            self.admit_part(now, index, part);
        }
        let key = MessageKey(self.messages.key(index));
        if self.messages[index].first == EMPTY {
            self.reports.push_front((now, key));
        }
        key
    }

    /// The next ready part of a lane: by priority, and of one priority in the order in which they
    /// became ready. Not barred by a
    /// back-off: whoever has a connection that works may use it.
    pub fn take(&mut self, now: Tick, lane: LaneKey) -> Option<Assignment> {
        let lane = self.lanes.find(lane.0)?;
        loop {
            let index = self.lanes[lane].next()?;
            let accepted = self.messages[self.parts[index].message].accepted;
            if now >= self.settings.expires_at(accepted) {
                // Too late by a moment: its wake-up is due and fails it in the next poll.
                self.move_part(index, State::Waiting);
                continue;
            }
            self.move_part(index, State::InFlight);
            self.lanes[lane].moved = now;
            // While it is in flight: since when.
            let due = std::mem::replace(&mut self.parts[index].due, now);
            let part = &self.parts[index];
            let message = &self.messages[part.message];
            return Some(Assignment {
                part: PartKey(self.parts.key(index)),
                message: MessageKey(self.messages.key(part.message)),
                id: message.id,
                accepted: message.accepted,
                due: due.max(message.accepted),
                recipients: part.recipients.iter().map(|queued| queued.place).collect(),
                attempts: part.attempts,
            });
        }
    }

    /// Ends an attempt. Recipients of the part without a result count as not attempted (they are
    /// tried again after [`schedule::LOCAL_PAUSE`]); results for others are ignored, and so is a
    /// part that is not in flight. `random` moves the retry by its jitter.
    pub fn settle(
        &mut self,
        now: Tick,
        part: PartKey,
        results: impl Into<Outcomes>,
        random: u64,
    ) -> Decisions {
        let mut results = results.into();
        let mut decisions = Decisions::new();
        let Some(index) = self.taken(part) else {
            return decisions;
        };
        results.sort_by_key(|&(recipient, _)| recipient);
        let mut results = results.into_iter().peekable();
        let message = self.parts[index].message;
        let mut wait = Wait::Local;
        let mut left = Recipients::new();
        for mut queued in std::mem::take(&mut self.parts[index].recipients) {
            let Some(outcome) = result_for(&mut results, queued.place) else {
                left.push(queued);
                continue;
            };
            let (diagnosis, doubtful) = match outcome {
                Outcome::Delivered {
                    reply,
                    remote_mta,
                    success,
                } => {
                    if let Some(success) = success.filter(|_| queued.wants.success()) {
                        self.gather_success(message, queued.place, &reply, remote_mta, success);
                    }
                    trial::saw("part ends", "delivered");
                    self.counters.queued -= 1;
                    self.counters.delivered += 1;
                    let (message, id) = self.name(message);
                    decisions.push(Decision::Delivered {
                        message,
                        id,
                        recipient: queued.place,
                        reply,
                    });
                    continue;
                }
                Outcome::Failed { diagnosis, .. } => {
                    let diagnosis = self.keep(index, diagnosis);
                    self.fail(message, &queued, diagnosis, Cause::Attempt, &mut decisions);
                    continue;
                }
                Outcome::Deferred { blame, diagnosis } => {
                    wait = wait.max(Wait::after(blame));
                    (diagnosis, false)
                }
                Outcome::Doubtful { diagnosis } => {
                    wait = Wait::Curve;
                    (diagnosis, true)
                }
            };
            queued.diagnosis = Some(self.keep(index, diagnosis));
            queued.doubtful |= doubtful;
            left.extend(Some(queued).filter(|_| !trial::has(Bug::RecipientDropped)));
        }
        self.parts[index].recipients = left;
        self.defer(now, index, wait, random, &mut decisions);
        self.conclude(now, message, &mut decisions);
        decisions
    }

    /// Moves recipients of a part in flight to another lane, because the routes have changed.
    /// They are ready there at once, with the attempts they had. A part that loses all of them is
    /// gone, and settling it does nothing.
    pub fn reroute(&mut self, now: Tick, part: PartKey, recipients: &[u16], lane: &Rc<str>) {
        let Some(index) = self.taken(part) else {
            return;
        };
        let part = &mut self.parts[index];
        let (message, attempts) = (part.message, part.attempts);
        let (moved, left): (Vec<Queued>, Vec<Queued>) = std::mem::take(&mut part.recipients)
            .into_iter()
            .partition(|queued| recipients.contains(&queued.place));
        part.recipients = left.into();
        if !moved.is_empty() {
            self.insert_part(now, message, lane, moved.into(), attempts, now);
        }
        if self.parts[index].recipients.is_empty() {
            self.drop_part(index);
        }
    }

    /// A connection could not be made or was refused as a whole, for a `Host` or `Destination`
    /// (other blames change nothing here). Call it once per failed connection, when no host is
    /// left to try, and before [`Queue::connection_closed`]. The parts that the connection had
    /// taken are settled apart from this.
    pub fn lane_failed(
        &mut self,
        now: Tick,
        lane: LaneKey,
        blame: Blame,
        diagnosis: &Diagnosis,
        random: u64,
    ) {
        if !matches!(blame, Blame::Host | Blame::Destination) {
            return;
        }
        let Some(index) = self.lanes.find(lane.0) else {
            return;
        };
        let lane = &mut self.lanes[index];
        lane.learn(kept(diagnosis.clone()));
        if lane.fail() && !trial::has(Bug::LaneNeverReopens) {
            let at = self.settings.reopen_at(now, lane.failures, random);
            self.wake(Sleeper::Lane(index), at);
        }
    }

    /// A transaction of the lane came to its end, whatever it said of recipients. Not for a mere
    /// greeting: a host that greets and then fails would never be left alone.
    pub fn lane_ok(&mut self, lane: LaneKey) {
        let Some(index) = self.lanes.find(lane.0) else {
            return;
        };
        let connections_max = self.connections_max();
        self.lanes[index].succeed(connections_max);
        if !self.lanes[index].rests {
            self.wake(Sleeper::Lane(index), Tick::NEVER);
        }
        self.announce(index);
    }

    /// The driver begins a connection for the lane; it counts from the dial on.
    pub fn connection_opened(&mut self, lane: LaneKey) {
        if let Some(index) = self.lanes.find(lane.0) {
            self.lanes[index].connections += 1;
        }
    }

    /// A connection of the lane is gone, however it ended.
    pub fn connection_closed(&mut self, lane: LaneKey) {
        let Some(index) = self.lanes.find(lane.0) else {
            return;
        };
        let connections = &mut self.lanes[index].connections;
        *connections = connections.saturating_sub(1);
        self.announce(index);
        self.forget_idle_lane(index);
    }

    /// How many more connections the lane wants now.
    #[must_use]
    pub fn connections_wanted(&self, lane: LaneKey) -> usize {
        let wanted = self
            .lanes
            .find(lane.0)
            .map_or(0, |index| self.lanes[index].connections_wanted());
        usize::try_from(wanted).unwrap_or(usize::MAX)
    }

    /// Parts of a lane that a connection could take now.
    #[must_use]
    pub fn ready(&self, lane: LaneKey) -> usize {
        let ready = self
            .lanes
            .find(lane.0)
            .map_or(0, |index| self.lanes[index].ready);
        usize::try_from(ready).unwrap_or(usize::MAX)
    }

    /// Lanes there are.
    #[must_use]
    pub fn lane_count(&self) -> usize {
        self.names.len()
    }

    /// True while there is a lane of this name.
    #[must_use]
    pub fn has_lane(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The name of a lane.
    #[must_use]
    pub fn lane_name(&self, lane: LaneKey) -> Option<Rc<str>> {
        self.lanes
            .find(lane.0)
            .map(|index| Rc::clone(&self.lanes[index].name))
    }

    /// A report of [`Decision::Report`] is on stable storage: its recipients are settled.
    pub fn report_stored(&mut self, now: Tick, report: &Report) -> Decisions {
        let mut decisions = Decisions::new();
        let Some(index) = self.messages.find(report.message.0) else {
            return decisions;
        };
        if report.kind == ReportKind::Failure {
            for reported in &report.recipients {
                self.count_failed(reported.cause);
            }
        }
        let message = &mut self.messages[index];
        message.reports = message.reports.saturating_sub(1);
        self.conclude(now, index, &mut decisions);
        decisions
    }

    /// A report could not be stored. It comes again after [`schedule::REPORT_PAUSE`], except a
    /// delay notice, which is given up.
    pub fn report_refused(&mut self, now: Tick, report: Report) -> Decisions {
        let mut decisions = Decisions::new();
        let Some(index) = self.messages.find(report.message.0) else {
            return decisions;
        };
        let message = &mut self.messages[index];
        message.reports = message.reports.saturating_sub(1);
        let gathered = match report.kind {
            ReportKind::Delay => {
                self.conclude(now, index, &mut decisions);
                return decisions;
            }
            ReportKind::Failure => &mut message.gathered.get_or_insert_default().failed,
            ReportKind::Success => &mut message.gathered.get_or_insert_default().succeeded,
        };
        gathered.extend(report.recipients);
        self.schedule_report(now, index);
        decisions
    }

    /// Where a message stands on the disk.
    #[must_use]
    pub fn locator(&self, message: MessageKey) -> Option<Locator> {
        let index = self.messages.find(message.0)?;
        Some(self.messages[index].locator)
    }

    /// The sender of a message knows that it waits.
    #[must_use]
    pub fn is_delay_told(&self, message: MessageKey) -> bool {
        let index = self.messages.find(message.0);
        index.is_some_and(|index| self.messages[index].delay_told)
    }

    /// An operator holds a message.
    #[must_use]
    pub fn is_held(&self, message: MessageKey) -> bool {
        let index = self.messages.find(message.0);
        index.is_some_and(|index| self.messages[index].held)
    }

    /// Some of its recipients are on a lane that is not in back-off.
    #[must_use]
    pub fn has_way(&self, message: MessageKey) -> bool {
        let Some(index) = self.messages.find(message.0) else {
            return false;
        };
        let mut next = self.messages[index].first;
        while next != EMPTY && next != NONE {
            let part = &self.parts[next];
            if self.lanes[part.lane].gate != Gate::Closed {
                return true;
            }
            next = part.sibling;
        }
        false
    }

    /// The spool moved a message's record.
    pub fn relocate(&mut self, message: MessageKey, locator: Locator) {
        if let Some(index) = self.messages.find(message.0) {
            self.messages[index].locator = locator;
        }
    }

    /// What time has brought, [`POLL_BATCH`] at most: when [`Queue::next_deadline`] is still past,
    /// call again after giving others a turn.
    pub fn poll(&mut self, now: Tick) -> Dues {
        let mut due = Dues::new();
        let mut decisions = Decisions::new();
        for _ in 0..POLL_BATCH {
            match self.wakeups.first() {
                Some((at, sleeper)) if at <= now => self.rouse(now, sleeper, &mut decisions),
                _ => break,
            }
        }
        for _ in 0..POLL_BATCH {
            let Some((_, key)) = self.reports.pop_front_if(|(at, _)| *at <= now) else {
                break;
            };
            if let Some(index) = self.messages.find(key.0) {
                if let Some(gathered) = &mut self.messages[index].gathered {
                    gathered.scheduled = false;
                }
                self.give_reports(index, &mut decisions);
                self.conclude(now, index, &mut decisions);
            }
        }
        self.empty_bin(now, &mut decisions);
        due.extend(decisions.into_iter().map(Due::Decision));
        for _ in 0..POLL_BATCH {
            let Some(key) = self.announced.pop_front() else {
                break;
            };
            let Some(index) = self.lanes.find(key.0) else {
                continue;
            };
            self.lanes[index].announced = false;
            if self.lanes[index].wants_attention() {
                due.push(Due::Lane(key));
            }
        }
        due
    }

    /// When to poll next; long past when something waits to be told already.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        if !self.announced.is_empty() {
            return Some(Tick(i64::MIN));
        }
        let wakeup = self.wakeups.first().map(|(at, _)| at);
        let report = self.reports.front().map(|&(at, _)| at);
        let removal = self.bin.first();
        wakeup.into_iter().chain(report).chain(removal).min()
    }
}

impl Queue {
    fn admit_part(&mut self, now: Tick, message: u32, admission: PartAdmission) {
        if admission.recipients.is_empty() {
            return;
        }
        let lane = self.lane(now, &admission.lane);
        let lane = &mut self.lanes[lane];
        let recipients = admission.recipients.into_iter();
        let mut recipients: Recipients = recipients.map(|one| queued(one, lane)).collect();
        recipients.sort_by_key(|queued| queued.place);
        recipients.dedup_by_key(|queued| queued.place);
        let count = recipients.len() as u64;
        self.counters.accepted += count;
        self.counters.queued += count;
        let PartAdmission {
            lane,
            attempts,
            due,
            ..
        } = admission;
        self.insert_part(now, message, &lane, recipients, attempts, due);
    }

    fn insert_part(
        &mut self,
        now: Tick,
        message: u32,
        lane: &Rc<str>,
        recipients: Recipients,
        attempts: u16,
        due: Tick,
    ) {
        let lane = self.lane(now, lane);
        self.lanes[lane].parts += 1;
        let sibling = self.messages[message].first;
        let index = self.parts.insert(Part {
            recipients,
            due,
            message,
            lane,
            before: NONE,
            after: NONE,
            elder: NONE,
            sibling,
            wakeup: NONE,
            attempts,
            state: State::Waiting,
        });
        if sibling != EMPTY {
            self.parts[sibling].elder = index;
        }
        self.messages[message].first = index;
        self.lanes[lane].expect(now);
        self.move_part(
            index,
            if due <= now {
                State::Ready
            } else {
                State::Waiting
            },
        );
    }

    fn lane(&mut self, now: Tick, name: &Rc<str>) -> u32 {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let index = self
            .lanes
            .insert(Lane::new(Rc::clone(name), self.connections_max(), now));
        self.names.insert(Rc::clone(name), index);
        index
    }

    fn connections_max(&self) -> u32 {
        u32::try_from(self.settings.lane_connections)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// The key and the id that a decision names.
    fn name(&self, message: u32) -> (MessageKey, QueueId) {
        (
            MessageKey(self.messages.key(message)),
            self.messages[message].id,
        )
    }

    /// What is left of a part after an attempt: waits, expires, or follows an operator's order.
    fn defer(&mut self, now: Tick, index: u32, wait: Wait, random: u64, decisions: &mut Decisions) {
        if self.parts[index].recipients.is_empty() {
            self.drop_part(index);
            return;
        }
        if self.ends_instead(now, index, decisions) {
            return;
        }
        // Leave first: whether a part is busy depends on its attempts.
        self.leave(index);
        let part = &mut self.parts[index];
        part.due = match wait {
            Wait::Curve => {
                part.attempts = part.attempts.saturating_add(1);
                self.settings.retry_at(now, part.attempts, random)
            }
            Wait::Pace => self.settings.after_strain(now, random),
            Wait::Local => now + schedule::LOCAL_PAUSE,
        };
        self.move_part(index, State::Waiting);
        self.tell_retries(index, decisions);
    }

    /// One `Retry` for each run of recipients with the same diagnosis.
    fn tell_retries(&self, index: u32, decisions: &mut Decisions) {
        let part = &self.parts[index];
        let (message, id) = self.name(part.message);
        let same = |a: &Queued, b: &Queued| a.doubtful == b.doubtful && a.diagnosis == b.diagnosis;
        for run in part.recipients.chunk_by(same) {
            decisions.push(Decision::Retry {
                message,
                id,
                recipients: run.iter().map(|queued| queued.place).collect(),
                at: part.due,
                attempts: part.attempts,
                diagnosis: run[0]
                    .diagnosis
                    .clone()
                    .unwrap_or_else(|| Rc::new(not_attempted())),
                doubtful: run[0].doubtful,
            });
        }
    }

    /// A diagnosis to keep, shared with others of the lane that say the same.
    fn keep(&mut self, index: u32, diagnosis: Diagnosis) -> Rc<Diagnosis> {
        let lane = self.parts[index].lane;
        self.lanes[lane].share(kept(diagnosis))
    }

    fn announce(&mut self, index: u32) {
        let key = LaneKey(self.lanes.key(index));
        let lane = &mut self.lanes[index];
        if lane.wants_attention() && !std::mem::replace(&mut lane.announced, true) {
            self.announced.push_back(key);
        }
    }

    fn forget_idle_lane(&mut self, index: u32) {
        if self.lanes[index].is_idle()
            && let Some(lane) = self.lanes.remove(index)
        {
            self.names.remove(&lane.name);
        }
    }
}

fn queued(admission: RecipientAdmission, lane: &mut Lane) -> Queued {
    Queued {
        diagnosis: admission
            .diagnosis
            .map(|diagnosis| lane.share(kept(diagnosis))),
        place: admission.recipient,
        mark: admission.mark,
        wants: Wants::new(admission.notify),
        doubtful: admission.doubtful,
    }
}

/// Takes the first result for `place`; both sides ascend.
fn result_for(
    results: &mut Peekable<impl Iterator<Item = (u16, Outcome)>>,
    place: u16,
) -> Option<Outcome> {
    while results
        .next_if(|&(recipient, _)| recipient < place)
        .is_some()
    {}
    results
        .next_if(|&(recipient, _)| recipient == place)
        .map(|(_, outcome)| outcome)
}

fn not_attempted() -> Diagnosis {
    let status = EnhancedStatus::new(4, 3, 0);
    Diagnosis::ours(status, "not attempted yet")
}

/// Wake-ups handled by one poll: about a tenth of a millisecond's work.
pub const POLL_BATCH: usize = 256;
