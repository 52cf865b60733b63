//! What other programs are told of messages (`observe::events`), as far as anybody wants to know.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::words;
use crate::bounces;
use crate::mail::envelope::{Content, QueueId};
use crate::mail::outcome::{Diagnosis, Outcome, ReportKind};
use crate::observe::events::{Happening, Kind, Tags};
use crate::observe::stage::Times;
use crate::queue::{Cause, Report};
use crate::route;
use crate::shard::Shard;
use crate::shard::message::Message;
use crate::shard::outbound::attempt::Attempt;
use crate::wire::path::Mailbox;
use crate::world::{Class, World};

/// Ends that nobody delivered, while their messages are read once more to be told of.
#[derive(Default)]
pub(in crate::shard) struct Endings {
    messages: RefCell<HashMap<QueueId, Ending>>,
    order: RefCell<VecDeque<QueueId>>,
}

/// Recipients of one message that have come to an end.
#[derive(Default)]
struct Ending {
    recipients: Vec<End>,
    /// The queue has forgotten the message: so may the spool, once it is told.
    is_finished: bool,
}

/// How a recipient ended without an attempt.
struct End {
    kind: Kind,
    recipient: u16,
    diagnosis: Option<Rc<Diagnosis>>,
}

impl<W: World> Shard<W> {
    /// Whether anybody wants to know of this.
    fn tells(&self, kind: Kind) -> bool {
        let settings = self.settings.borrow();
        settings
            .events
            .as_ref()
            .is_some_and(|events| events.kinds.has(kind))
    }

    /// The header fields of a message that events tell. Only of a large one they are read.
    pub(in crate::shard) async fn tags(
        &self,
        id: QueueId,
        content: &Content,
        octets: Option<&[u8]>,
    ) -> Tags {
        let Some(events) = self.settings.borrow().events.clone() else {
            return Tags::default();
        };
        if events.headers.is_empty() {
            return Tags::default();
        }
        let len = usize::try_from(content.header_len).unwrap_or(usize::MAX);
        match octets {
            Some(octets) => Tags::find(&events.headers, &octets[..len.min(octets.len())]),
            None => {
                // Events are no reason to refuse a message or to hold a delivery up.
                let header = Box::pin(self.log.read_extent(id, 0, len)).await;
                Tags::find(&events.headers, &header.unwrap_or_default())
            }
        }
    }

    /// A message was taken.
    pub(in crate::shard) fn tell_accepted(
        &self,
        message: &Message,
        client: Option<IpAddr>,
        stages: Times,
    ) {
        if !self.tells(Kind::Accepted) {
            return;
        }
        let recipients = message.envelope.recipients.iter();
        let recipients: Vec<&str> = recipients.map(|one| one.mailbox.as_str()).collect();
        self.tell_of(&Happening {
            recipients: &recipients,
            client,
            stages,
            ..about(Kind::Accepted, message)
        });
    }

    /// An attempt ended like this for one recipient.
    pub(super) fn tell_attempt(
        &self,
        attempt: &Attempt<W>,
        message: &Message,
        recipient: &Mailbox,
        outcome: &Outcome,
        class: Option<bounces::Class>,
    ) {
        let kind = match outcome {
            Outcome::Delivered { .. } => Kind::Delivered,
            Outcome::Deferred { .. } | Outcome::Doubtful { .. } => Kind::Deferred,
            Outcome::Failed { .. } => Kind::Bounced,
        };
        if !self.tells(kind) {
            return;
        }
        let (_, status, reply) = words(outcome);
        let (destination, pool) = self.way_of(message, recipient);
        self.tell_of(&Happening {
            recipients: &[recipient.as_str()],
            destination: Some(&destination),
            pool: pool.as_deref(),
            source: attempt.source.as_deref().map(|source| &*source.name),
            relay: attempt.relay.as_deref(),
            delay: Some(self.world.now().since(attempt.accepted())),
            stages: attempt.stages,
            status: Some(status.to_string()),
            class,
            reply: Some(reply),
            ..about(kind, message)
        });
    }

    /// Recipients failed without an attempt, and their sender is told of it.
    pub(super) fn tell_reported(&self, report: &Report, message: &Message) {
        if report.kind != ReportKind::Failure {
            return;
        }
        for one in &report.recipients {
            let Some(kind) = kind(one.cause) else {
                continue;
            };
            let diagnosis = one.diagnosis.clone();
            if let Some(diagnosis) = &diagnosis {
                self.judge_end(diagnosis);
            }
            let recipient = one.recipient;
            self.tell_end(
                message,
                &End {
                    kind,
                    recipient,
                    diagnosis,
                },
            );
        }
    }

    /// A recipient failed without an attempt, and nobody is told by mail.
    pub(super) fn note_failed(
        self: &Rc<Self>,
        id: QueueId,
        recipient: u16,
        cause: Cause,
        diagnosis: &Rc<Diagnosis>,
    ) {
        if let Some(kind) = kind(cause) {
            self.judge_end(diagnosis);
            let diagnosis = Some(Rc::clone(diagnosis));
            self.note_end(
                id,
                End {
                    kind,
                    recipient,
                    diagnosis,
                },
            );
        }
    }

    /// An operator removed a recipient.
    pub(super) fn note_removed(self: &Rc<Self>, id: QueueId, recipient: u16) {
        let kind = Kind::Removed;
        self.note_end(
            id,
            End {
                kind,
                recipient,
                diagnosis: None,
            },
        );
    }

    /// The queue has forgotten a message: so does the spool, as soon as all of it is told.
    pub(super) fn forget(&self, id: QueueId) {
        match self.endings.messages.borrow_mut().get_mut(&id) {
            Some(ending) => ending.is_finished = true,
            None => self.log.forget(id),
        }
    }

    /// Waits while many ends are to be told of: each is read from the disk.
    pub(in crate::shard) async fn tell_ends(&self) {
        while self.endings.messages.borrow().len() >= ENDINGS_USUAL {
            self.world.breathe().await;
            self.world.sleep(self.world.now() + TELL_PAUSE).await;
        }
    }

    fn note_end(self: &Rc<Self>, id: QueueId, end: End) {
        if !self.tells(end.kind) {
            return;
        }
        if let Some(message) = self.resident.find(id) {
            return self.tell_end(&message, &end);
        }
        let mut endings = self.endings.messages.borrow_mut();
        if endings.is_empty() {
            // Under the gate: a shard that ends tells what has ended before.
            let Some(pass) = self.couriers.enter() else {
                return self.tell_of(&Happening::new(end.kind, id));
            };
            let shard = Rc::clone(self);
            self.world.spawn(Class::Chores, async move {
                shard.read_endings().await;
                drop(pass);
            });
        }
        if endings.len() >= ENDINGS_MAX && !endings.contains_key(&id) {
            return self.tell_of(&Happening::new(end.kind, id));
        }
        let ending = endings.entry(id).or_insert_with(|| {
            self.endings.order.borrow_mut().push_back(id);
            Ending::default()
        });
        ending.recipients.push(end);
    }

    async fn read_endings(self: Rc<Self>) {
        loop {
            let next = self.endings.order.borrow_mut().pop_front();
            let Some(id) = next else {
                return;
            };
            // Whatever comes of it, the spool may forget the message.
            let mut told = Told {
                shard: &self,
                id,
                message: None,
            };
            let reading = AssertUnwindSafe(Box::pin(self.once_more(id)));
            match reading.catch_unwind().await {
                Ok(message) => told.message = message.ok(),
                Err(said) => self.world.note_panic(&*said),
            }
            drop(told);
            self.world.breathe().await;
        }
    }

    /// A message that the queue may have forgotten.
    async fn once_more(&self, id: QueueId) -> io::Result<Message> {
        let mut tries = 0;
        loop {
            let locator = self.log.locator(id);
            let locator = locator.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            match self.log.read(locator).await {
                Ok(stored) => return Ok(self.loaded(stored).await),
                Err(_) if tries < READ_TRIES && self.log.locator(id) != Some(locator) => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn tell_end(&self, message: &Message, end: &End) {
        let recipient = message.envelope.recipients.get(usize::from(end.recipient));
        if !self.tells(end.kind) {
            return;
        }
        let mailbox = recipient.map(|recipient| &recipient.mailbox);
        let address = mailbox.map(Mailbox::as_str);
        let (destination, pool) = mailbox.map(|mailbox| self.way_of(message, mailbox)).unzip();
        let pool = pool.flatten();
        let diagnosis = end.diagnosis.as_deref();
        self.tell_of(&Happening {
            recipients: address.as_slice(),
            destination: destination.as_deref(),
            pool: pool.as_deref(),
            delay: Some(self.age(message)),
            status: diagnosis.map(|diagnosis| diagnosis.status.to_string()),
            class: diagnosis.map(|diagnosis| self.class_of(diagnosis)),
            reply: diagnosis.map(|diagnosis| &*diagnosis.text),
            ..about(end.kind, message)
        });
    }

    /// The next hop of a recipient, and the pool that leads to it.
    fn way_of(&self, message: &Message, recipient: &Mailbox) -> (String, Option<Rc<str>>) {
        let settings = self.settings();
        let hop = settings.next_hop(recipient, message.envelope.standing.tenant.as_deref());
        let pool = hop
            .how
            .is_remote()
            .then(|| settings.pools.find(hop.pool.as_deref()));
        let pool = pool.and_then(|pool| pool.name.clone());
        (route::destination(&hop.lane).into_owned(), pool)
    }

    fn age(&self, message: &Message) -> Duration {
        self.world.now().since(self.tick_at(message.arrival))
    }

    fn tell_of(&self, happening: &Happening<'_>) {
        self.events.tell(self.world.wall(), happening);
    }
}

/// Tells the ends of one message when it is dropped, with what was found of it.
struct Told<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    id: QueueId,
    message: Option<Message>,
}

impl<W: World> Drop for Told<'_, W> {
    fn drop(&mut self) {
        let ending = self.shard.endings.messages.borrow_mut().remove(&self.id);
        let Some(ending) = ending else {
            return;
        };
        for end in &ending.recipients {
            match &self.message {
                Some(message) => self.shard.tell_end(message, end),
                None => self.shard.tell_of(&Happening::new(end.kind, self.id)),
            }
        }
        if ending.is_finished {
            self.shard.log.forget(self.id);
        }
    }
}

/// What is the same in all events about a message.
fn about(kind: Kind, message: &Message) -> Happening<'_> {
    Happening {
        message_id: message.content.message_id.as_deref(),
        headers: Some(&message.tags),
        sender: Some(message.sender()),
        tenant: message.envelope.standing.tenant.as_deref(),
        tag: message.envelope.standing.tag.as_deref(),
        size: Some(message.content.size),
        ..Happening::new(kind, message.id)
    }
}

/// What an end without an attempt is called; of the others the attempt has told.
const fn kind(cause: Cause) -> Option<Kind> {
    match cause {
        Cause::Attempt => None,
        Cause::Time => Some(Kind::Expired),
        Cause::Order => Some(Kind::Bounced),
    }
}

/// Messages that wait to be told of while an operator's order goes on.
const ENDINGS_USUAL: usize = 1000;
/// And at the most: of others only the queue id is told.
const ENDINGS_MAX: usize = 20_000;
/// Between two looks at how many are left.
const TELL_PAUSE: Duration = Duration::from_millis(5);
/// Times a message is looked up anew after it was moved.
const READ_TRIES: u32 = 3;
