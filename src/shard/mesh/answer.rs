//! What a shard tells the control plane.

use std::collections::HashMap;
use std::rc::Rc;

use crate::mail::envelope::QueueId;
use crate::observe::ask::{
    Act, Acted, Ask, Facts, Health, QueueEntry, QueueEntryDetail, QueueRecipient, Selector, Tell,
};
use crate::observe::history::Event;
use crate::observe::stage::{STAGE_PIECES, Snapshot};
use crate::queue::{Listed, MessageKey};
use crate::shard::Shard;
use crate::shard::life::gate::Gate;
use crate::shard::message::Message;
use crate::spool::log;
use crate::world::World;

/// A message of a list, by its parts.
struct Found {
    key: MessageKey,
    id: QueueId,
    parts: Vec<Listed>,
}

impl<W: World> Shard<W> {
    /// Answers a question of the control plane.
    pub(in crate::shard) async fn answer(self: &Rc<Self>, ask: Ask) -> Tell {
        match ask {
            Ask::Facts => {
                let latencies = self.latencies(STAGE_PIECES).await;
                Tell::Facts(Box::new(self.facts(latencies)))
            }
            Ask::Latencies => Tell::Latencies {
                shard: self.mesh.here(),
                snapshot: Box::new(self.latencies(usize::MAX).await),
            },
            Ask::List { selector, limit } => Tell::List(self.list(&selector, limit).await),
            Ask::Show { id } => Tell::Show(self.show(&id).await.map(Box::new)),
            Ask::Explain { mailbox } => Tell::Explained(Box::new(self.explain(&mailbox).await)),
            Ask::Trace { id } => Tell::Trace(self.trace(&id).await),
            Ask::Failures { limit } => Tell::Failures(self.failures(limit).await),
            Ask::Act { act, selector } => Tell::Acted(self.act(act, &selector).await),
            Ask::Shape => {
                let shape = self.queue.borrow().shape(self.world.now());
                Tell::Shape(shape.into_iter().map(Into::into).collect())
            }
            Ask::Health => Tell::Health(self.health()),
        }
    }

    fn health(&self) -> Health {
        if self.visits.is_closed() {
            return Health::Draining;
        }
        match self.log.health() {
            log::Health::Good => Health::Ready,
            log::Health::Full => Health::SpoolFull,
            log::Health::Broken => Health::SpoolBroken,
        }
    }

    fn facts(&self, latencies: Snapshot) -> Facts {
        let queue = self.queue.borrow();
        let spool = self.log.gauges();
        let load = self.world.load();
        Facts {
            shard: self.mesh.here(),
            load,
            recent: self.pulse.recent(self.world.now(), load),
            letters_sent: self.mesh.sent(),
            letters_waiting: self.mesh.waiting() as u64,
            syncs: self.commits.syncs(),
            synced_messages: self.commits.messages(),
            log_octets: self.commits.octets(),
            counters: queue.counters().into(),
            messages_accepted: self.messages_accepted.get(),
            messages_signed: self.signing.signed.get(),
            signing_faults: self.signing.faults.get(),
            signatures_unproven: self.signing.unproven.get(),
            verified: self.verified.get(),
            messages_disowned: self.messages_disowned.get(),
            tls: self.tls.counts(),
            preflights: self.preflights.get(),
            messages_queued: queue.messages() as u64,
            stuck: self.lookout.stuck(),
            connections_in: self.visits.inside() as u64,
            connections_out: u64::from(self.permits.held()),
            memory_used: self.budget.used() as u64,
            memory_limit: self.budget.limit() as u64,
            spool_segments: spool.segments,
            spool_octets: spool.disk_octets,
            spool_live_octets: spool.live_octets,
            panics: self.world.panics(),
            log_lines_lost: self.journal.dropped(),
            health: self.health(),
            latencies,
        }
    }

    /// A copy of the histograms, the first `pieces` of them; others run in between.
    async fn latencies(&self, pieces: usize) -> Snapshot {
        let mut copy = Snapshot::default();
        for piece in 0..pieces {
            if !self.recorder.borrow().copy_piece(piece, &mut copy) {
                break;
            }
            self.world.breathe().await;
        }
        copy
    }

    /// The messages that `selector` may mean, oldest first, before their envelopes are looked at.
    fn search(&self, selector: &Selector) -> Vec<Found> {
        let now = self.world.now();
        let queue = self.queue.borrow();
        let mut found: HashMap<MessageKey, Found> = HashMap::new();
        let fits = |listed: &Listed| {
            selector.takes_age(now.since(listed.accepted))
                && (selector.id.is_none() || selector.takes_id(&listed.id.to_string()))
        };
        for listed in queue.list().filter(fits) {
            let entry = found.entry(listed.message).or_insert_with(|| Found {
                key: listed.message,
                id: listed.id,
                parts: Vec::new(),
            });
            entry.parts.push(listed);
        }
        let mut found: Vec<Found> = found.into_values().collect();
        found.sort_by_key(|one| one.parts.first().map(|part| (part.accepted, part.id.0)));
        found
    }

    async fn list(&self, selector: &Selector, limit: usize) -> Vec<QueueEntry> {
        let mut entries = Vec::new();
        for found in self.search(selector) {
            if entries.len() >= limit {
                break;
            }
            // Settled meanwhile, most likely.
            let Ok(message) = self.load(found.key, found.id).await else {
                continue;
            };
            let entry = self.entry(&found, &message);
            if takes(selector, &entry) {
                entries.push(entry);
            }
            self.world.breathe().await;
        }
        entries
    }

    async fn show(&self, id: &str) -> Option<QueueEntryDetail> {
        let id: QueueId = id.parse().ok()?;
        let found = {
            let queue = self.queue.borrow();
            let key = queue.find(id)?;
            let parts = queue.show(key);
            Found { key, id, parts }
        };
        let message = self.load(found.key, id).await.ok()?;
        Some(QueueEntryDetail {
            entry: self.entry(&found, &message),
            shard: self.mesh.here(),
            recipients_total: message.envelope.recipients.len(),
            message_id: message.content.message_id.as_deref().map(str::to_owned),
            envid: message.envelope.envid.as_deref().map(str::to_owned),
            tls: message.tls_wish().name().map(str::to_owned),
        })
    }

    /// What happened to a message, as far as it is remembered.
    async fn trace(&self, id: &str) -> Vec<String> {
        let mut moments = Vec::new();
        let Ok(id) = id.parse() else {
            return moments;
        };
        let pieces = self.history.borrow().pieces();
        for piece in pieces {
            moments.extend(self.history.borrow().find(piece, id));
            self.world.breathe().await;
        }
        moments
    }

    async fn failures(&self, limit: usize) -> Vec<(String, String)> {
        let mut newest = Vec::new();
        let pieces = self.history.borrow().pieces();
        for piece in pieces.rev() {
            let found = self.history.borrow().failures(piece);
            let found = found.into_iter().rev();
            newest.extend(found.map(|(id, text)| (id.to_string(), text)));
            if newest.len() >= limit {
                newest.truncate(limit);
                break;
            }
            self.world.breathe().await;
        }
        newest
    }

    async fn act(self: &Rc<Self>, act: Act, selector: &Selector) -> Acted {
        let (mut acted, reports) = (Acted::default(), Gate::default());
        for found in self.search(selector) {
            if selector.needs_envelope() {
                let Ok(message) = self.load(found.key, found.id).await else {
                    continue;
                };
                if !takes(selector, &self.entry(&found, &message)) {
                    continue;
                }
            }
            if self.order(act, &found, &reports) {
                let recipients = found.parts.iter().map(|part| part.recipients.len());
                acted.messages += 1;
                acted.recipients += recipients.sum::<usize>() as u64;
            }
            self.world.breathe().await;
        }
        self.pump();
        if acted.messages > 0 {
            // An operator who reads "removed" relies on it like a client on 250: a crash may repeat
            // a delivery, but must not undo an order. A full or broken disk holds no order up.
            reports.empty().await;
            self.log.sync().await;
        }
        acted
    }

    /// One order for one message; false when the message is gone. Its reports pass `reports`.
    fn order(self: &Rc<Self>, act: Act, found: &Found, reports: &Gate) -> bool {
        let now = self.world.now();
        let Found { key, id, .. } = *found;
        self.remember(
            id,
            Event::Ordered {
                act: act.name().into(),
            },
        );
        let mut queue = self.queue.borrow_mut();
        let decisions = match act {
            Act::Hold | Act::Release => {
                let held = act == Act::Hold;
                let done = if held {
                    queue.hold(key)
                } else {
                    queue.release(now, key)
                };
                if done {
                    self.log.note(log::Note::Held { id, held });
                }
                return done;
            }
            Act::Retry => return queue.retry_now(now, key),
            Act::Remove => queue.remove(now, key),
            Act::Bounce => queue.bounce(now, key),
        };
        drop(queue);
        self.carry_out_within(decisions, Some(reports));
        true
    }

    fn entry(&self, found: &Found, message: &Message) -> QueueEntry {
        let now = self.world.now();
        let mut recipients = Vec::new();
        for part in &found.parts {
            for listed in &part.recipients {
                let place = usize::from(listed.recipient);
                let Some(recipient) = message.envelope.recipients.get(place) else {
                    continue;
                };
                let reason = listed.diagnosis.as_ref();
                recipients.push(QueueRecipient {
                    address: recipient.mailbox.as_str().to_owned(),
                    destination: part.lane.to_string(),
                    state: part.state.name().to_owned(),
                    due_in: part.due.since(now).as_secs(),
                    attempts: part.attempts,
                    doubtful: listed.doubtful,
                    reason: reason.map(|diagnosis| diagnosis.text.to_string()),
                });
            }
        }
        QueueEntry {
            id: found.id.to_string(),
            accepted: message.arrival.seconds(),
            size: message.content.size,
            from: message.envelope.reverse_path.to_string(),
            recipients,
        }
    }
}

fn takes(selector: &Selector, entry: &QueueEntry) -> bool {
    let recipients = entry.recipients.iter();
    selector.takes_envelope(&entry.from, recipients.map(|one| one.address.as_str()))
}
