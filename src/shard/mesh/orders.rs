//! An operator's searches and orders, on queues of millions: a sweep looks at some messages, gives
//! others a turn, and goes on. What it found is looked at again when its turn has come, because mail
//! moves meanwhile.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::observe::ask::{
    Act, Acted, IDS_MAX, Marks, Order, Piece, QueueEntry, QueueEntryDetail, QueueRecipient,
    SAMPLES_MAX, Selector, ShapeRow,
};
use crate::observe::history::Event;
use crate::queue::{Decisions, Glance, Listed, MessageKey, Removal, Shapes, State};
use crate::shard::Shard;
use crate::shard::life::gate::Gate;
use crate::shard::message::{Body, Message};
use crate::shard::outbound::transmit::read_chunk;
use crate::spool::log;
use crate::wire::dot::unstuff_into;
use crate::world::{Tick, Wall, World};

use super::redirect::Redirected;

/// A message that an order may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    accepted: Tick,
    id: u64,
    key: MessageKey,
}

/// Candidates, the oldest first: each step of the sweep has left its own in order.
struct Candidates {
    /// Each with the oldest at its end.
    runs: Vec<Vec<Candidate>>,
    heads: BinaryHeap<Reverse<(Candidate, usize)>>,
}

impl Candidates {
    fn new(runs: Vec<Vec<Candidate>>) -> Self {
        let mut all = Self {
            runs,
            heads: BinaryHeap::new(),
        };
        for run in 0..all.runs.len() {
            all.offer(run);
        }
        all
    }

    fn offer(&mut self, run: usize) {
        if let Some(head) = self.runs[run].pop() {
            self.heads.push(Reverse((head, run)));
        }
    }
}

impl Iterator for Candidates {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        let Reverse((head, run)) = self.heads.pop()?;
        self.offer(run);
        Some(head)
    }
}

impl<W: World> Shard<W> {
    /// The messages that `selector` may mean, before their envelopes are looked at. Where that is not
    /// needed, no more than `wanted` of them.
    async fn search(
        &self,
        selector: &Selector,
        wanted: usize,
        means: impl Fn(bool) -> bool,
    ) -> Candidates {
        let marks = selector.marks();
        if let Some(id) = &selector.id {
            // The one message is at hand.
            let id = id.parse().ok();
            let queue = self.queue.borrow();
            let key = id.and_then(|id: QueueId| queue.find(id));
            let found = key.and_then(|key| queue.glance(key));
            let found = found.filter(|message| {
                means(message.is_removed()) && self.may_mean(selector, &marks, message)
            });
            let found = found.map(|message| vec![Candidate::of(&message)]);
            return Candidates::new(found.into_iter().collect());
        }
        let kept = if selector.needs_envelope() {
            usize::MAX
        } else {
            wanted
        };
        let mut runs = Vec::new();
        let mut place = Some(0);
        while let Some(from) = place {
            let mut run = Vec::new();
            place = self.queue.borrow().sweep(from, |message| {
                if means(message.is_removed()) && self.may_mean(selector, &marks, message) {
                    run.push(Candidate::of(message));
                }
            });
            run.sort_unstable();
            run.truncate(kept);
            run.reverse();
            if !run.is_empty() {
                run.shrink_to_fit();
                runs.push(run);
            }
            self.rest().await;
        }
        Candidates::new(runs)
    }

    /// Gives way to everybody else. Whoever merely offers to keeps the core for the whole of a time
    /// slice, and mail that comes in meanwhile waits for it at each of its steps.
    async fn rest(&self) {
        self.world.sleep(self.world.now() + REST).await;
    }

    /// What can be said of a message without its envelope. `marks` are the selector's.
    fn may_mean(&self, selector: &Selector, marks: &Marks, message: &Glance<'_>) -> bool {
        if !selector.takes_age(self.world.now().since(message.accepted()))
            || !marks.take_message(message.sender(), message.size())
        {
            return false;
        }
        if selector.change.is_some() {
            let removal = self.queue.borrow().removal(message.key());
            if !selector.takes_removal(removal.map(|removal| removal.wall.0)) {
                return false;
            }
        }
        if !selector.needs_parts() && !marks.speak_of_recipients() {
            return true;
        }
        message.parts().any(|part| {
            let takes_reply = || {
                let mut said = part.diagnoses();
                selector.takes_reply(None)
                    || said.any(|diagnosis| selector.takes_reply(Some(&diagnosis.text)))
            };
            let takes_address = part.marks().any(|mark| marks.take_recipient(mark));
            takes_address && selector.takes_part(part.lane, part.state) && takes_reply()
        })
    }

    pub(super) async fn list(&self, selector: &Selector, limit: usize) -> Vec<QueueEntry> {
        let mut entries = Vec::new();
        for candidate in self
            .search(selector, limit, |is_removed| selector.means(is_removed))
            .await
        {
            if entries.len() >= limit {
                break;
            }
            entries.extend(self.look_at(selector, candidate).await);
            self.world.breathe().await;
        }
        entries
    }

    /// A candidate in full, if it is meant and still here.
    async fn look_at(&self, selector: &Selector, candidate: Candidate) -> Option<QueueEntry> {
        let id = QueueId(candidate.id);
        // Settled meanwhile, most likely.
        let message = self.load(candidate.key, id).await.ok()?;
        let parts = self.queue.borrow().show(candidate.key);
        let entry = self.entry(id, &parts, &message);
        selector.takes(&entry).then_some(entry)
    }

    /// Whether a candidate is still meant; `found` is what was found of it, where that decides.
    fn is_meant(
        &self,
        selector: &Selector,
        candidate: Candidate,
        found: Option<&QueueEntry>,
    ) -> bool {
        if selector.needs_envelope() {
            return found.is_some();
        }
        let queue = self.queue.borrow();
        let message = queue.glance(candidate.key);
        message.is_some_and(|message| self.may_mean(selector, &selector.marks(), &message))
    }

    pub(super) async fn show(&self, id: &str) -> Option<QueueEntryDetail> {
        let id: QueueId = id.parse().ok()?;
        let (key, parts) = {
            let queue = self.queue.borrow();
            let key = queue.find(id)?;
            (key, queue.show(key))
        };
        let message = self.load(key, id).await.ok()?;
        Some(QueueEntryDetail {
            entry: self.entry(id, &parts, &message),
            shard: self.mesh.here(),
            recipients_total: message.envelope.recipients.len(),
            message_id: message.content.message_id.as_deref().map(str::to_owned),
            envid: message.envelope.envid.as_deref().map(str::to_owned),
            tls: message.tls_wish().name().map(str::to_owned),
        })
    }

    /// A piece of a message itself. It ends with a line, so that dots are taken off where they were put.
    pub(super) async fn raw(&self, id: &str, position: u64) -> Option<Piece> {
        let id: QueueId = id.parse().ok()?;
        let key = self.queue.borrow().find(id)?;
        let message = self.load(key, id).await.ok()?;
        let (wire, len) = match &message.body {
            Body::Memory(octets) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX);
                (octets.get(from..)?.to_vec(), octets.len() as u64)
            }
            Body::Extent(len) if position < *len => {
                (read_chunk(self, &message, position).await.ok()?, *len)
            }
            Body::Extent(len) => (Vec::new(), *len),
        };
        let is_last = position + wire.len() as u64 >= len;
        let line_end = memchr::memrchr(b'\n', &wire).map_or(wire.len(), |end| end + 1);
        let cut = if is_last { wire.len() } else { line_end };
        let mut octets = match position {
            0 => message.trace.clone(),
            _ => Vec::new(),
        };
        unstuff_into(&mut octets, &wire[..cut]);
        let next = (!is_last).then_some(position + cut as u64);
        Some(Piece { octets, next })
    }

    /// Recipients by next hop, age and state.
    pub(super) async fn shape(&self) -> Vec<ShapeRow> {
        let mut shapes = Shapes::default();
        let mut place = Some(0);
        while let Some(from) = place {
            let now = self.world.now();
            place = self.queue.borrow().sweep_shapes(now, from, &mut shapes);
            self.rest().await;
        }
        let rows = shapes.finish().into_iter().map(Into::into).collect();
        self.remarked(rows)
    }

    pub(super) async fn act(self: &Rc<Self>, order: &Order) -> Acted {
        let (selector, reports) = (&order.selector, Gate::default());
        let can_undo = order.act == Act::Remove && !order.for_good && !order.dry_run;
        let mut acted = Acted {
            dry_run: order.dry_run,
            change: can_undo.then_some(order.change),
            ..Acted::default()
        };
        let means = |is_removed| order.means(is_removed);
        for (looked, candidate) in (1u64..).zip(self.search(selector, usize::MAX, means).await) {
            if looked.is_multiple_of(LOOKED_TOGETHER) {
                self.rest().await;
            }
            self.tell_ends().await;
            self.world.breathe().await;
            let is_sample = order.dry_run && acted.samples.len() < SAMPLES_MAX;
            let found = match is_sample || selector.needs_envelope() {
                true => self.look_at(selector, candidate).await,
                false => None,
            };
            if !self.is_meant(selector, candidate, found.as_ref()) {
                continue;
            }
            acted.samples.extend(found.filter(|_| is_sample));
            let reached = match &order.into {
                Some(to) if order.act == Act::Redirect && !order.dry_run => {
                    let id = QueueId(candidate.id);
                    match self.redirect(candidate.key, id, to).await {
                        Redirected::Done(recipients) => Some(recipients),
                        Redirected::Busy => {
                            acted.busy += 1;
                            None
                        }
                        Redirected::Not => None,
                    }
                }
                _ => self.order(order, candidate, &reports),
            };
            let Some(recipients) = reached else {
                continue;
            };
            acted.messages += 1;
            acted.recipients += recipients;
            if acted.ids.len() < IDS_MAX {
                acted.ids.push(QueueId(candidate.id).to_string());
            }
            if acted.messages.is_multiple_of(TOGETHER) && !order.dry_run {
                // Neither reports nor notes may pile up without end.
                reports.empty().await;
                self.log.sync().await;
            }
        }
        self.pump();
        if acted.messages > 0 && !order.dry_run {
            // An operator who reads "removed" relies on it like a client on 250: a crash may repeat
            // a delivery, but must not undo an order. A full or broken disk holds no order up.
            reports.empty().await;
            self.log.sync().await;
        }
        acted
    }

    /// One order for one message: how many recipients it reaches; `None` when the message is gone.
    /// Its reports pass `reports`.
    fn order(
        self: &Rc<Self>,
        order: &Order,
        Candidate { id, key, .. }: Candidate,
        reports: &Gate,
    ) -> Option<u64> {
        let (now, id, act) = (self.world.now(), QueueId(id), order.act);
        let mut queue = self.queue.borrow_mut();
        let parts = queue.glance(key)?;
        let recipients: usize = parts.parts().map(|part| part.recipients()).sum();
        let recipients = Some(recipients as u64);
        if order.dry_run {
            return recipients;
        }
        let decisions = match act {
            Act::Hold if queue.hold(key) => {
                self.log.note(log::Note::Held { id, held: true });
                Decisions::new()
            }
            Act::Release if queue.release(now, key) => {
                self.log.note(log::Note::Held { id, held: false });
                Decisions::new()
            }
            Act::Retry if queue.retry_now(now, key) => Decisions::new(),
            Act::Remove if order.for_good => queue.remove_for_good(now, key),
            Act::Remove => {
                let wall = Wall(order.removed_until());
                let until = self.tick_at(wall);
                let decisions = queue.remove(now, key, Removal { until, wall })?;
                self.resident.forget(id);
                let until = Some(wall);
                self.log.note(log::Note::Binned { id, until });
                decisions
            }
            Act::Undo if queue.restore(now, key) => {
                self.log.note(log::Note::Binned { id, until: None });
                Decisions::new()
            }
            Act::Bounce => queue.bounce(now, key),
            Act::Hold | Act::Release | Act::Retry | Act::Undo | Act::Redirect => return None,
        };
        drop(queue);
        let act = act.name().into();
        self.remember(id, Event::Ordered { act });
        self.carry_out_within(decisions, Some(reports));
        recipients
    }

    fn entry(&self, id: QueueId, parts: &[Listed], message: &Message) -> QueueEntry {
        let now = self.world.now();
        let mut recipients = Vec::new();
        for part in parts {
            let removal = match part.state {
                State::Removed => self.queue.borrow().removal(part.message),
                _ => None,
            };
            for listed in &part.recipients {
                let place = usize::from(listed.recipient);
                let Some(recipient) = message.envelope.recipients.get(place) else {
                    continue;
                };
                let reason = listed.diagnosis.as_ref();
                let due = removal.map_or(part.due, |removal| removal.until);
                recipients.push(QueueRecipient {
                    address: recipient.mailbox.as_str().to_owned(),
                    destination: part.lane.to_string(),
                    state: part.state.name().to_owned(),
                    due_in: due.since(now).as_secs(),
                    attempts: part.attempts,
                    doubtful: listed.doubtful,
                    reason: reason.map(|diagnosis| diagnosis.text.to_string()),
                    class: reason.map(|diagnosis| self.class_of(diagnosis)),
                });
            }
        }
        QueueEntry {
            id: id.to_string(),
            accepted: message.arrival.seconds(),
            size: message.content.size,
            from: message.envelope.reverse_path.to_string(),
            tenant: message
                .envelope
                .standing
                .tenant
                .as_deref()
                .map(str::to_owned),
            tag: message.envelope.standing.tag.as_deref().map(str::to_owned),
            priority: message.envelope.standing.priority,
            recipients,
        }
    }
}

impl Candidate {
    fn of(message: &Glance<'_>) -> Self {
        Self {
            accepted: message.accepted(),
            id: message.id().0,
            key: message.key(),
        }
    }
}

/// Messages of an order between two looks at the disk.
const TOGETHER: u64 = 4096;
/// Messages of an order that are looked at before it gives way.
const LOOKED_TOGETHER: u64 = 64;
/// How long it gives way: a little longer than it works before.
const REST: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {

    use super::*;
    use crate::mail::Locator;
    use crate::mail::mark::{SenderMark, SizeMark};
    use crate::queue::{Admission, Queue, Settings};

    #[test]
    fn candidates_come_with_the_oldest_first() {
        let mut queue = Queue::new(Settings {
            retry: Vec::new(),
            expire: Duration::from_secs(9),
            delay_notice: None,
            lane_connections: 1,
        });
        let mut key = |id| {
            let admission = Admission {
                id: QueueId(id),
                locator: Locator {
                    segment: 1,
                    len: 1,
                    offset: 1,
                },
                accepted: Tick(0),
                sender: SenderMark::NULL,
                size: SizeMark::default(),
                held: false,
                removed: None,
                delay_told: false,
                priority: Default::default(),
                parts: Default::default(),
            };
            queue.admit(Tick(0), admission)
        };
        let mut candidate = |accepted, id| Candidate {
            accepted: Tick(accepted),
            id,
            key: key(id),
        };
        let runs = vec![
            vec![candidate(9, 1), candidate(5, 2), candidate(1, 3)],
            vec![candidate(5, 1)],
            vec![candidate(7, 5), candidate(-2, 9)],
        ];
        let order: Vec<_> = Candidates::new(runs)
            .map(|one| (one.accepted.0, one.id))
            .collect();
        assert_eq!(order, [(-2, 9), (1, 3), (5, 1), (5, 2), (7, 5), (9, 1)]);
    }
}
