//! One attempt: the recipients of a message for one next hop, and what became of each.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::transmit::{Form, Results};
use crate::mail::envelope::{Notify, QueueId, Ret};
use crate::mail::outcome::{Blame, Diagnosis, Outcome, RemoteReply, Success};
use crate::observe::stage::{Stage, Times};
use crate::queue::{Assignment, MessageKey, Outcomes, Places};
use crate::route::pool::Source;
use crate::shard::Shard;
use crate::shard::hosts::secure::Security;
use crate::shard::message::Message;
use crate::smtp::client::{Outgoing, OutgoingRecipient};
use crate::trial::{self, Bug};
use crate::wire::codec::encode_rfc822;
use crate::wire::path::Mailbox;
use crate::wire::status::{EnhancedStatus, ReplyCode};
use crate::world::{Tick, World};

/// An attempt under way. Dropped unsettled (its task ended early), it gives back to the queue what
/// it knows.
pub(in crate::shard) struct Attempt<W: World> {
    shard: Rc<Shard<W>>,
    assignment: Assignment,
    /// When it was taken from the queue.
    pub(in crate::shard) taken: Tick,
    /// Recipients without an outcome.
    remaining: Places,
    results: Outcomes,
    /// Why a host did not take some of the remaining.
    deferral: Option<Diagnosis>,
    /// The host that had the last word: `mx.test[192.0.2.1]:25`.
    pub(in crate::shard) relay: Option<Rc<str>>,
    /// Whom it came from.
    pub(in crate::shard) source: Option<Rc<Source>>,
    /// What came of TLS there.
    pub(in crate::shard) security: Option<Security>,
    /// Looking up, dialling, greeting.
    pub(in crate::shard) setup: Duration,
    /// MAIL to the reply to the dot.
    pub(in crate::shard) transfer: Duration,
    /// How long its stages took.
    pub(in crate::shard) stages: Times,
    /// Its turn comes later, at that moment.
    pub(super) rests: Option<Tick>,
    /// A host had too many connections of ours.
    pub(super) crowded: bool,
    settled: bool,
}

impl<W: World> Attempt<W> {
    /// An attempt that was taken from the queue at `taken`.
    pub(super) fn new(shard: &Rc<Shard<W>>, assignment: Assignment, taken: Tick) -> Self {
        Self {
            shard: Rc::clone(shard),
            taken,
            remaining: assignment.recipients.clone(),
            results: Outcomes::new(),
            assignment,
            deferral: None,
            relay: None,
            source: None,
            security: None,
            setup: Duration::ZERO,
            transfer: Duration::ZERO,
            stages: Times::default(),
            rests: None,
            crowded: false,
            settled: false,
        }
    }

    pub(super) fn id(&self) -> QueueId {
        self.assignment.id
    }

    pub(super) fn message(&self) -> MessageKey {
        self.assignment.message
    }

    /// An earlier attempt, or an earlier life of ours, may have got further than is known.
    pub(super) fn may_repeat(&self) -> bool {
        self.assignment.attempts > 0 || self.assignment.accepted < Tick(0)
    }

    /// When the message was accepted.
    pub(in crate::shard) fn accepted(&self) -> Tick {
        self.assignment.accepted
    }

    /// From the moment it could have been delivered to now.
    pub(super) fn waited(&self) -> Duration {
        self.taken.since(self.assignment.due)
    }

    pub(in crate::shard) fn remaining(&self) -> &[u16] {
        &self.remaining
    }

    /// What became of the others.
    pub(super) fn results(&self) -> &[(u16, Outcome)] {
        &self.results
    }

    pub(super) fn is_done(&self) -> bool {
        self.remaining.is_empty()
    }

    /// Nothing more is to be done now.
    pub(super) fn is_over(&self) -> bool {
        self.is_done() || self.rests.is_some()
    }

    /// Why a host would not take those that remain.
    pub(super) fn last_deferral(&self) -> Option<Diagnosis> {
        self.deferral.clone()
    }

    /// Names were looked up since `began`.
    pub(super) fn looked_up(&mut self, began: Tick) {
        let took = self.shard.world.now().since(began);
        self.stages.add(Stage::Dns, took);
    }

    /// Hands recipients for whom the routes name another next hop by now over to its lane.
    pub(super) fn reroute(&mut self, message: &Message, lane: &str) {
        let shard = Rc::clone(&self.shard);
        let settings = shard.settings();
        let mut moved: HashMap<Rc<str>, Vec<u16>> = HashMap::new();
        for &place in &self.remaining {
            let Some(recipient) = message.envelope.recipients.get(usize::from(place)) else {
                continue;
            };
            let hop = settings.next_hop(
                &recipient.mailbox,
                message.envelope.standing.tenant.as_deref(),
            );
            if *hop.lane != *lane {
                let lane = shard.ways.learn(&shard.queue.borrow(), hop);
                moved.entry(lane).or_default().push(place);
            }
        }
        let now = shard.world.now();
        for (lane, places) in moved {
            self.remaining.retain(|place| !places.contains(place));
            let mut queue = shard.queue.borrow_mut();
            queue.reroute(now, self.assignment.part, &places, &lane);
        }
    }

    /// Those that remain are an attempt of their own, which may begin at once.
    pub(super) fn leave_rest_to_others(&mut self, lane: &Rc<str>) {
        let (shard, rest) = (Rc::clone(&self.shard), std::mem::take(&mut self.remaining));
        if !rest.is_empty() {
            let now = shard.world.now();
            let mut queue = shard.queue.borrow_mut();
            queue.reroute(now, self.assignment.part, &rest, lane);
        }
    }

    /// What was said does not count.
    pub(super) fn forget_deferral(&mut self) {
        self.deferral = None;
    }

    /// Whether the message leaves with a return path of ours, one for each recipient.
    pub(super) fn has_return_path(&self, message: &Message) -> bool {
        let settings = self.shard.settings.borrow();
        let paths = settings.returns.as_ref();
        paths.is_some_and(|paths| paths.domain(&message.envelope).is_some())
    }

    /// The return path for the first of those that remain, where the message leaves with one.
    fn return_path(&self, message: &Message) -> Option<Arc<str>> {
        let settings = self.shard.settings.borrow();
        let place = usize::from(*self.remaining.first()?);
        let recipient = message.envelope.recipients.get(place)?;
        let path = settings.returns.as_ref()?.path(message, &recipient.mailbox);
        path.map(Into::into)
    }

    /// The transaction for those that remain, so many at most.
    pub(super) fn outgoing(&self, message: &Message, form: &Form, most: usize) -> Outgoing {
        let envelope = &message.envelope;
        let recipients = self.remaining.iter().take(most).filter_map(|&index| {
            let recipient = envelope.recipients.get(usize::from(index))?;
            Some(OutgoingRecipient {
                index,
                address: recipient.mailbox.to_shared(),
                notify: recipient.notify,
                orcpt: recipient.orcpt.clone(),
            })
        });
        let recipients: SmallVec<[OutgoingRecipient; 1]> = recipients.collect();
        let path = self.return_path(message);
        let comes_back = path.is_some();
        let sender = path.or_else(|| envelope.reverse_path.0.as_ref().map(Mailbox::to_shared));
        let has_utf8_path = sender.as_ref().is_some_and(|path| !path.is_ascii())
            || !recipients
                .iter()
                .all(|recipient| recipient.address.is_ascii());
        let mut outgoing = Outgoing {
            reverse_path: sender.unwrap_or_default(),
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            eight_bit: form.eight_bit,
            // A message that was sent under SMTPUTF8 without need travels without it.
            smtputf8: has_utf8_path || envelope.smtputf8 && message.content.eight_bit_header,
            require_tls: envelope.require_tls,
            mt_priority: envelope.standing.mt_priority,
            size: form.size,
            recipients,
        };
        if comes_back {
            ask_for_failures(&mut outgoing);
        }
        outgoing
    }

    /// Takes what a transaction brought.
    pub(super) fn take(&mut self, mut results: Results) {
        self.transfer += results.transfer;
        self.stages.take(&mut results.stages);
        self.deferral = None;
        for (recipient, outcome) in results.settled {
            match outcome {
                // The host's trouble: the next host may take it.
                Outcome::Deferred {
                    blame: Blame::Host,
                    diagnosis,
                } => self.deferral = Some(diagnosis),
                Outcome::Doubtful { .. } if trial::has(Bug::LostIsDelivered) => {
                    self.deliver_all("");
                }
                outcome => self.end(recipient, outcome),
            }
        }
    }

    /// One recipient ends like this.
    pub(in crate::shard) fn end(&mut self, recipient: u16, outcome: Outcome) {
        self.remaining.retain(|open| *open != recipient);
        self.results.push((recipient, outcome));
    }

    /// All that remain end like this.
    pub(super) fn end_all(&mut self, outcome: &Outcome) {
        for recipient in std::mem::take(&mut self.remaining) {
            self.results.push((recipient, outcome.clone()));
        }
    }

    /// All that remain are delivered, with our own words.
    pub(super) fn deliver_all(&mut self, words: &str) {
        let reply = RemoteReply {
            code: ReplyCode::OK,
            status: EnhancedStatus::new(2, 0, 0),
            text: words.into(),
        };
        self.end_all(&Outcome::Delivered {
            reply,
            remote_mta: None,
            success: Some(Success::Delivered),
        });
    }

    /// All that remain wait.
    pub(in crate::shard) fn defer_all(&mut self, blame: Blame, diagnosis: &Diagnosis) {
        self.end_all(&Outcome::Deferred {
            blame,
            diagnosis: diagnosis.clone(),
        });
    }

    /// All that remain fail.
    pub(in crate::shard) fn fail_all(&mut self, blame: Blame, diagnosis: &Diagnosis) {
        self.end_all(&Outcome::Failed {
            blame,
            diagnosis: diagnosis.clone(),
        });
    }

    /// Gives it back to its lane as it was. What some recipients heard before counts, and the others
    /// come again in a moment.
    pub(super) fn give_back(mut self) {
        if !self.results.is_empty() {
            return self.settle(None);
        }
        self.settled = true;
        let (shard, now) = (Rc::clone(&self.shard), self.shard.world.now());
        let Assignment { part, due, .. } = self.assignment;
        let decisions = shard.queue.borrow_mut().give_back(now, part, due);
        shard.carry_out(decisions);
    }

    /// Ends it: log lines, and the outcomes to the queue.
    pub(super) fn settle(mut self, message: Option<&Message>) {
        let shard = Rc::clone(&self.shard);
        if let Some(message) = message {
            shard.log_attempt(&self, message, &self.results);
        }
        let now = shard.world.now();
        // Not before: a panic until here still gives back what is known.
        self.settled = true;
        let results = std::mem::take(&mut self.results);
        shard.settle(self.assignment.part, results, now);
    }
}

impl<W: World> Drop for Attempt<W> {
    fn drop(&mut self) {
        if !self.settled {
            // How far it came nobody knows. As a doubt it follows the retry curve: what makes it
            // end early may do so each time.
            self.end_all(&Outcome::Doubtful {
                diagnosis: cut_short(),
            });
            let results = std::mem::take(&mut self.results);
            let now = self.shard.world.now();
            self.shard.settle(self.assignment.part, results, now);
        }
    }
}

/// What comes back is read here, and its sender is told by us: we want to know of failures alone, with
/// the address as we wrote it, and need no more than the header. Whoever wants no reports of a recipient
/// gets none, and neither do we.
fn ask_for_failures(outgoing: &mut Outgoing) {
    outgoing.ret = Some(Ret::Headers);
    for recipient in &mut outgoing.recipients {
        recipient.notify = match recipient.notify {
            Some(NEVER) => Some(NEVER),
            _ => Some(Notify {
                failure: true,
                ..NEVER
            }),
        };
        if recipient.orcpt.is_none() && recipient.address.is_ascii() {
            recipient.orcpt = Some(encode_rfc822(&recipient.address).into());
        }
    }
}

fn cut_short() -> Diagnosis {
    Diagnosis::ours(
        LOCAL_TROUBLE,
        "a defect ended the attempt; the log says which",
    )
}

/// `NOTIFY=NEVER`
const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
};
/// Trouble of our own (RFC 3463 §3.4: other or undefined mail system status).
pub(in crate::shard) const LOCAL_TROUBLE: EnhancedStatus = EnhancedStatus::new(4, 3, 0);
