//! From complete content to a queued message: trace field, log, queue.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::gather::Gathering;
use crate::mail::Locator;
use crate::mail::envelope::{Content, Envelope, QueueId};
use crate::mail::mark::{AddressMark, SenderMark, SizeMark};
use crate::mail::outcome::Diagnosis;
use crate::mail::received::Trace;
use crate::observe::history::Event;
use crate::observe::log as journal;
use crate::observe::stage::{Stage, Times};
use crate::queue::{Admission, MessageKey, PartAdmission, RecipientAdmission, Removal};
use crate::shard::Shard;
use crate::shard::clients::buffers::TRACE_OCTETS;
use crate::shard::message::sign::Signatures;
use crate::shard::message::{Body, Message};
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;
use crate::spool::log::{
    Accepted, CommitError, MessageState, Receipt, RecipientState, Recovered, Stored, StoredBody,
    Waiting,
};
use crate::tls::caller::Caller;
use crate::trial::{self, Bug};
use crate::users::TooMany;
use crate::wire::codec::rfc5322_date;
use crate::wire::path::Mailbox;
use crate::world::{Tick, Wall, World};

/// Where a message comes from, for its trace field.
pub(super) struct Origin {
    pub(super) client: IpAddr,
    /// Where it comes from is not for the trace field.
    pub(super) is_hidden: bool,
    /// Who writes mail hands it in here: what it lacks is added (RFC 6409 §8).
    pub(super) is_submission: bool,
    /// The cipher suite, under TLS.
    pub(super) tls: Option<&'static str>,
    /// Who the client has shown to be.
    pub(super) caller: Option<Arc<Caller>>,
    /// How long its content took to arrive.
    pub(super) receiving: Duration,
}

impl<W: World> Shard<W> {
    /// Puts a message on stable storage and into the queue. The receipt is the only way to its
    /// 250. `field` says who it is from, and stands before the trace field.
    pub(super) async fn store(
        self: &Rc<Self>,
        gathering: &mut Gathering<W>,
        transaction: &mut Transaction,
        origin: &Origin,
        field: Vec<u8>,
    ) -> Result<Receipt, Reply> {
        let id = gathering.id;
        let arrival = self.world.wall();
        let mut trace = self.preface(id, transaction, origin, arrival, field);
        self.follow_aliases(transaction, &mut trace)?;
        let gathered = gathering.finish(self).await;
        let gathered = gathered.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => Reply::out_of_memory(),
            _ => self.refuse(&CommitError::from(error)),
        })?;
        let tags = self.tags(id, &transaction.content, gathered.octets());
        let tags = tags.await;
        let began = self.world.now();
        self.log.room().await;
        let handed_in = self.log.hand_in(&Accepted {
            id,
            arrival,
            envelope: &transaction.envelope,
            content: &transaction.content,
            trace: &trace,
            body: gathered.as_body(),
            reports: None,
        });
        let committed = match handed_in {
            Ok(handed_in) => handed_in.await,
            Err(error) => Err(error),
        };
        let (receipt, locator) = committed.map_err(|error| self.refuse(&error))?;
        let committing = self.world.now().since(began);
        self.record(Stage::CommitWait, committing);
        let message = Rc::new(Message {
            id,
            arrival,
            envelope: std::mem::take(&mut transaction.envelope),
            content: std::mem::take(&mut transaction.content),
            trace,
            body: gathered.into_body(),
            tags,
            signatures: Signatures::default(),
        });
        // Queued before anything else: what could go wrong behind the receipt must not leave it out.
        let key = self.admit(&message, locator);
        // What waits for a next hop that is in back-off is read again when its time comes.
        if self.queue.borrow().has_way(key) {
            self.resident.keep(&self.budget, &message);
        }
        self.messages_accepted.set(self.messages_accepted.get() + 1);
        let mut stages = Times::default();
        stages.add(Stage::BodyReceived, origin.receiving);
        stages.add(Stage::CommitWait, committing);
        let (hello, with) = (&*transaction.hello, transaction.protocol);
        self.note_accepted(&message, origin.client, hello, with, stages);
        Ok(receipt)
    }

    /// The line in the log, and the beginning of what `ringpost trace` tells.
    fn note_accepted(
        &self,
        message: &Message,
        client: IpAddr,
        hello: &str,
        with: &str,
        stages: Times,
    ) {
        let accepted = journal::Accepted {
            id: message.id,
            client: Some(client),
            hello,
            from: message.sender(),
            size: message.content.size,
            recipients: message.envelope.recipients.len(),
            message_id: message.content.message_id.as_deref(),
        };
        self.journal.accepted(&accepted);
        let event = Event::Accepted {
            client: accepted.client,
            hello: hello.into(),
            with: with.into(),
            from: accepted.from.into(),
            size: accepted.size,
            recipients: accepted.recipients,
            message_id: accepted.message_id.map(Into::into),
            tls: message.tls_wish().name().map(Into::into),
            stages,
        };
        self.remember(message.id, event);
        self.tell_accepted(message, Some(client), stages);
    }

    /// What stands before the content: what we have found of it, our trace field, and what it lacks.
    fn preface(
        &self,
        id: QueueId,
        transaction: &mut Transaction,
        origin: &Origin,
        arrival: Wall,
        field: Vec<u8>,
    ) -> Vec<u8> {
        let settings = self.settings();
        let mut trace = self.buffers.take_empty(TRACE_OCTETS);
        trace.extend(field);
        Trace {
            client: (!origin.is_hidden).then_some((&*transaction.hello, origin.client)),
            by: &settings.hostname,
            with: transaction.protocol,
            tls: origin.tls,
            certificate: origin
                .caller
                .as_ref()
                .filter(|caller| caller.is_verified && !origin.is_hidden)
                .map(|caller| caller.name()),
            priority: transaction.envelope.standing.mt_priority,
            id,
            recipient: match &transaction.envelope.recipients[..] {
                [only] => Some(&only.mailbox),
                _ => None,
            },
            seconds: arrival.seconds(),
        }
        .write_into(&mut trace);
        if origin.is_submission {
            let random = self.world.random();
            let message_id = format!("<{id}.{random:016x}@{}>", settings.hostname);
            complete(&mut transaction.content, &mut trace, arrival, message_id);
        }
        trace
    }

    /// Follows the recipients' aliases. A message with one recipient is told, in its trace, which
    /// alias it passed, and is refused when it comes back there. Of several each would tell the
    /// others, of blind copies too: those go round until they have passed too many hosts.
    fn follow_aliases(
        &self,
        transaction: &mut Transaction,
        trace: &mut Vec<u8>,
    ) -> Result<(), Reply> {
        let passed = std::mem::take(&mut transaction.content.delivered_to);
        let has_one = transaction.envelope.recipients.len() == 1;
        let followed = self.settings().expand(&mut transaction.envelope);
        let followed = followed.map_err(|TooMany| Reply::too_many_recipients())?;
        let has_passed = |alias: &Mailbox| {
            let alias = alias.as_str();
            passed.iter().any(|one| one.eq_ignore_ascii_case(alias))
        };
        if followed.iter().any(has_passed) {
            return Err(Reply::alias_loop());
        }
        if let ([alias], true) = (&followed[..], has_one) {
            let field = format!("Delivered-To: {alias}\r\n");
            trace.splice(..0, field.into_bytes());
        }
        Ok(())
    }

    /// What the sender is told when the disk does not take a message.
    fn refuse(&self, error: &CommitError) -> Reply {
        self.warn(format_args!("a message was refused: {error}"));
        match error {
            CommitError::Full => Reply::disk_full(),
            CommitError::Interrupted => Reply::local_error(),
            CommitError::Broken(_) => Reply::spool_broken(),
        }
    }

    /// Queues a message that is on stable storage.
    pub(in crate::shard) fn admit(
        self: &Rc<Self>,
        message: &Message,
        locator: Locator,
    ) -> MessageKey {
        let now = self.world.now();
        let fresh = |place| RecipientAdmission::new(place, None);
        let recipients = 0..message.envelope.recipients.len();
        let recipients = recipients.filter_map(|place| u16::try_from(place).ok());
        let parts = self.parts(
            &message.envelope,
            recipients.map(|place| (fresh(place), 0, now)),
        );
        let key = self.queue.borrow_mut().admit(
            now,
            Admission {
                id: message.id,
                locator,
                accepted: now,
                sender: sender_mark(&message.envelope),
                size: SizeMark::of(message.content.size),
                held: false,
                removed: None,
                delay_told: false,
                priority: message.envelope.standing.priority,
                parts,
            },
        );
        self.pump();
        key
    }

    /// Queues a message that was found on the disk.
    pub(in crate::shard) fn readmit(self: &Rc<Self>, found: &Recovered) {
        let now = self.world.now();
        // The calendar may have been set back since: nobody waits longer than the schedule says.
        let longest = self.settings().config.queue.retry.iter().max().copied();
        let latest = now + longest.unwrap_or_default();
        let mut delay_told = false;
        let states = found.recipients.iter().zip(0u16..);
        let pending = states.filter_map(|(state, place)| match state {
            RecipientState::Settled => None,
            RecipientState::Pending {
                attempts,
                due,
                doubtful,
                diagnosis,
                delay_told: told,
            } => {
                delay_told |= *told;
                let admission = RecipientAdmission {
                    recipient: place,
                    mark: AddressMark::default(),
                    notify: None,
                    doubtful: *doubtful,
                    diagnosis: diagnosis.clone(),
                };
                let due = due.map_or(now, |due| self.tick_at(due).clamp(now, latest));
                let attempts = match trial::has(Bug::AttemptsForgotten) {
                    true => 0,
                    false => *attempts,
                };
                Some((admission, attempts, due))
            }
        });
        let pending: Vec<_> = pending.collect();
        let parts = self.parts(&found.envelope, pending.into_iter());
        self.queue.borrow_mut().admit(
            now,
            Admission {
                id: found.id,
                locator: found.locator,
                accepted: match trial::has(Bug::AgeForgotten) {
                    true => now,
                    false => self.tick_at(found.arrival).min(now),
                },
                sender: sender_mark(&found.envelope),
                size: SizeMark::of(found.size),
                held: found.held && !trial::has(Bug::HoldForgotten),
                removed: found.removed_until.map(|wall| Removal {
                    until: self.tick_at(wall),
                    wall,
                }),
                delay_told: delay_told && !trial::has(Bug::DelayForgotten),
                priority: found.envelope.standing.priority,
                parts,
            },
        );
    }

    /// What the queue knows of a message, for the log to write beside it.
    pub(in crate::shard) fn state_of(&self, id: QueueId) -> MessageState {
        let queue = self.queue.borrow();
        let mut known = MessageState::default();
        for part in queue
            .find(id)
            .map(|key| queue.show(key))
            .unwrap_or_default()
        {
            for one in part.recipients {
                let Some(diagnosis) = one.diagnosis else {
                    continue;
                };
                known.waiting.push(Waiting {
                    recipients: vec![one.recipient],
                    attempts: part.attempts,
                    due: self.wall_at(part.due),
                    diagnosis: Diagnosis::clone(&diagnosis),
                    doubtful: one.doubtful,
                });
            }
        }
        if let Some(key) = queue.find(id) {
            known.delay_told = queue.is_delay_told(key);
            known.held = queue.is_held(key);
            known.removed_until = queue.removal(key).map(|removal| removal.wall);
        }
        known
    }

    /// Groups recipients by next hop and schedule.
    fn parts(
        &self,
        envelope: &Envelope,
        recipients: impl Iterator<Item = (RecipientAdmission, u16, Tick)>,
    ) -> SmallVec<[PartAdmission; 1]> {
        let settings = self.settings();
        let queue = self.queue.borrow();
        let mut parts: SmallVec<[PartAdmission; 1]> = SmallVec::new();
        // Where a part stands. Filled when there are several: most messages have one.
        let mut places: HashMap<(Rc<str>, u16, Tick), usize> = HashMap::new();
        for (mut admission, attempts, due) in recipients {
            let Some(recipient) = envelope.recipients.get(usize::from(admission.recipient)) else {
                continue;
            };
            admission.notify = recipient.notify;
            admission.mark = AddressMark::of(recipient.mailbox.as_str());
            let hop = settings.next_hop(&recipient.mailbox, envelope.standing.tenant.as_deref());
            let lane = self.ways.learn(&queue, hop);
            let found = match &parts[..] {
                [] => None,
                [only] if only.lane == lane && only.attempts == attempts && only.due == due => {
                    Some(0)
                }
                _ => places.get(&(Rc::clone(&lane), attempts, due)).copied(),
            };
            match found {
                Some(place) => parts[place].recipients.push(admission),
                None => {
                    if let [first] = &parts[..] {
                        places.insert((Rc::clone(&first.lane), first.attempts, first.due), 0);
                    }
                    if !parts.is_empty() {
                        places.insert((Rc::clone(&lane), attempts, due), parts.len());
                    }
                    parts.push(PartAdmission {
                        lane,
                        recipients: SmallVec::from_iter([admission]),
                        attempts,
                        due,
                    });
                }
            }
        }
        parts
    }

    /// A queued message, from memory or from the disk.
    pub(in crate::shard) async fn load(
        &self,
        key: MessageKey,
        id: QueueId,
    ) -> io::Result<Rc<Message>> {
        if let Some(message) = self.resident.find(id) {
            return Ok(message);
        }
        let mut tries = 0;
        let stored = loop {
            let locator = self.queue.borrow().locator(key);
            let locator = locator.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            match self.log.read(locator).await {
                Ok(stored) => break stored,
                // The compactor may have moved it while it was being read.
                Err(_)
                    if tries < READ_TRIES && self.queue.borrow().locator(key) != Some(locator) =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Rc::new(self.loaded(stored).await))
    }

    /// A message as it was read from the disk.
    pub(in crate::shard) async fn loaded(&self, stored: Stored) -> Message {
        let body = match stored.body {
            StoredBody::Inline(octets) => Body::Memory(octets),
            StoredBody::Extent(len) => Body::Extent(len),
        };
        let tags = self.tags(stored.id, &stored.content, body.octets()).await;
        Message {
            id: stored.id,
            arrival: stored.arrival,
            tags,
            envelope: stored.envelope,
            content: stored.content,
            trace: stored.trace,
            body,
            signatures: Signatures::default(),
        }
    }

    /// The calendar's time at a moment of the clock.
    pub(in crate::shard) fn wall_at(&self, at: Tick) -> Wall {
        let (now, wall) = (self.world.now(), self.world.wall());
        Wall(wall.0.saturating_add(at.0.saturating_sub(now.0)))
    }

    /// The moment of the clock at a time of the calendar.
    pub(in crate::shard) fn tick_at(&self, at: Wall) -> Tick {
        let (now, wall) = (self.world.now(), self.world.wall());
        Tick(now.0.saturating_add(at.0.saturating_sub(wall.0)))
    }
}

/// What the queue keeps of who sent it.
fn sender_mark(envelope: &Envelope) -> SenderMark {
    let path = envelope.reverse_path.0.as_ref();
    path.map_or(SenderMark::NULL, |mailbox| SenderMark::of(mailbox.as_str()))
}

/// Adds behind the trace field what mail must have and this one lacks (RFC 6409 §8.2, §8.3).
fn complete(content: &mut Content, trace: &mut Vec<u8>, now: Wall, id: String) {
    // Writing to a Vec does not fail.
    if !std::mem::replace(&mut content.date, true) {
        let _ = write!(trace, "Date: {}\r\n", rfc5322_date(now.seconds()));
    }
    if content.message_id.is_none() {
        let _ = write!(trace, "Message-ID: {id}\r\n");
        content.message_id = Some(id.into());
    }
}

/// Times a message is looked up anew after it was moved.
const READ_TRIES: u32 = 3;
