//! After an attempt: outcomes to the queue, its decisions to the spool and the log.

pub(super) mod events;
pub(super) mod named;
pub(super) mod pace;
pub(super) mod refusals;
mod report;
mod suppressed;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use smallvec::SmallVec;

use super::Shard;
use crate::mail::outcome::Outcome;
use crate::observe::history::{Event, Fate};
use crate::observe::log::Delivery;
use crate::observe::stage::Stage;
use crate::queue::{Decision, Decisions, Due, Outcomes, PartKey, Report};
use crate::shard::life::gate::Gate;
use crate::shard::message::Message;
use crate::shard::outbound::attempt::Attempt;
use crate::spool::log::Note;
use crate::trial::{self, Bug};
use crate::wire::status::EnhancedStatus;
use crate::world::{Class, Tick, World};

impl<W: World> Shard<W> {
    /// Ends an attempt.
    pub(super) fn settle(self: &Rc<Self>, part: PartKey, results: Outcomes, now: Tick) {
        let random = self.world.random();
        let decisions = self.queue.borrow_mut().settle(now, part, results, random);
        self.carry_out(decisions);
        self.pump();
    }

    /// Does what the queue decided, in its order.
    pub(super) fn carry_out(self: &Rc<Self>, decisions: Decisions) {
        self.carry_out_within(decisions, None);
    }

    /// The same; whoever waits for `reports` to be empty waits for the reports begun here.
    pub(super) fn carry_out_within(self: &Rc<Self>, decisions: Decisions, reports: Option<&Gate>) {
        for decision in decisions {
            self.unharmed(|| self.carry_out_one(decision, reports));
        }
    }

    /// Does something that must not keep the rest from being done, whatever it meets.
    pub(in crate::shard) fn unharmed(&self, step: impl FnOnce()) {
        if let Err(said) = catch_unwind(AssertUnwindSafe(step)) {
            self.world.note_panic(&*said);
        }
    }

    fn carry_out_one(self: &Rc<Self>, decision: Decision, reports: Option<&Gate>) {
        match decision {
            Decision::Delivered { .. } if trial::has(Bug::SettleForgotten) => {}
            Decision::Delivered { id, recipient, .. } => {
                self.log.note(Note::Delivered { id, recipient });
            }
            Decision::Retry {
                id,
                recipients,
                at,
                attempts,
                diagnosis,
                doubtful,
                ..
            } => {
                // It waits for long: memory is for those who do not.
                self.resident.forget(id);
                self.log.note(Note::Deferred {
                    id,
                    recipients: &recipients,
                    attempts,
                    due: self.wall_at(at),
                    diagnosis: &diagnosis,
                    doubtful,
                });
            }
            Decision::Failed {
                id,
                recipient,
                diagnosis,
                cause,
                ..
            } => {
                self.log.note(Note::Failed { id, recipient });
                self.note_failed(id, recipient, cause, &diagnosis);
            }
            Decision::Removed { id, recipient, .. } => {
                self.log.note(Note::Removed { id, recipient });
                self.note_removed(id, recipient);
            }
            Decision::Report(report) => self.begin_report(report, reports),
            Decision::Finished { id, .. } => {
                self.resident.forget(id);
                self.forget(id);
                self.journal.removed(id);
                self.remember(id, Event::Finished);
            }
        }
    }

    fn begin_report(self: &Rc<Self>, report: Report, reports: Option<&Gate>) {
        // Under the couriers' gate: a shard that ends waits for the report, or finds the same
        // failure again after the next start.
        let Some(pass) = self.couriers.enter() else {
            return;
        };
        let awaited = reports.and_then(Gate::enter);
        let shard = Rc::clone(self);
        self.world.spawn(Class::Chores, async move {
            let stored = Cell::new(false);
            let making = Rc::clone(&shard).report(report.clone(), &stored);
            if let Err(said) = AssertUnwindSafe(making).catch_unwind().await {
                shard.world.note_panic(&*said);
                shard.end_report(report, stored.get());
            }
            drop((pass, awaited));
        });
    }

    /// Asks the queue what is due and sees to it. Called whenever something changed.
    pub(super) fn pump(self: &Rc<Self>) {
        for _ in 0..PUMP_TURNS_MAX {
            let now = self.world.now();
            let due = self.queue.borrow_mut().poll(now);
            if due.is_empty() {
                break;
            }
            for item in due {
                self.unharmed(|| match item {
                    Due::Lane(lane) => self.attend(lane),
                    Due::Decision(decision) => self.carry_out(Decisions::from_iter([decision])),
                });
            }
        }
        #[cfg(any(test, feature = "sim"))]
        trial::look(|| self.queue.borrow().check_invariants());
        let next = self.queue.borrow().next_deadline();
        if let Some(next) = next {
            self.bell.set(next);
        }
    }

    /// The lines of an attempt, and the latencies of what was delivered.
    pub(super) fn log_attempt(
        &self,
        attempt: &Attempt<W>,
        message: &Message,
        results: &[(u16, Outcome)],
    ) {
        let now = self.world.now();
        let whole = now.since(attempt.accepted());
        let journal = &self.journal;
        let mut fates = SmallVec::new();
        for (place, outcome) in results {
            let Some(recipient) = message.envelope.recipients.get(usize::from(*place)) else {
                continue;
            };
            let (status, dsn, text) = words(outcome);
            fates.push(Fate {
                to: recipient.mailbox.as_str().into(),
                status: status.into(),
                dsn,
                text: text.into(),
            });
            let security = attempt.security.as_ref();
            let class = self.judge_outcome(outcome);
            let tenant = message.envelope.standing.tenant.as_deref();
            journal.delivery(&Delivery {
                id: message.id,
                to: recipient.mailbox.as_str(),
                orcpt: recipient.orcpt.as_deref(),
                relay: attempt.relay.as_deref(),
                source: attempt.source.as_deref().map(|source| &*source.name),
                tls: security.map(|security| security as &dyn std::fmt::Display),
                delay: whole,
                delays: [
                    // Before the queue: nothing, because what is counted begins with the acceptance.
                    Duration::ZERO,
                    attempt.taken.since(attempt.accepted()),
                    attempt.setup,
                    attempt.transfer,
                ],
                dsn,
                status,
                text,
                tenant,
                class,
            });
            if let Some(source) = &attempt.source {
                self.sources.counts.count(&source.name, status);
            }
            if let Some(tenant) = tenant {
                self.customers
                    .count(&self.settings().tenants, tenant, status);
            }
            self.tell_attempt(attempt, message, &recipient.mailbox, outcome, class);
            if status == SENT {
                self.record(Stage::AcceptedToDelivered, whole);
            }
        }
        self.remember_attempt(attempt, message, fates);
    }

    fn remember_attempt<'a>(
        &self,
        attempt: &'a Attempt<W>,
        message: &Message,
        outcomes: SmallVec<[Fate<'a>; 1]>,
    ) {
        let source = attempt.source.as_deref();
        let attempted = Event::Attempt {
            relay: attempt.relay.as_deref().map(Into::into),
            source: source.map(|source| (&*source.name).into()),
            tls: attempt.security.map(|security| security.words()),
            stages: attempt.stages,
            outcomes,
        };
        self.remember(message.id, attempted);
    }
}

/// Status word, code and text of an outcome, as the log has them.
fn words(outcome: &Outcome) -> (&'static str, EnhancedStatus, &str) {
    match outcome {
        Outcome::Delivered { reply, .. } => (SENT, reply.status, &reply.text),
        Outcome::Deferred { diagnosis, .. } | Outcome::Doubtful { diagnosis } => {
            ("deferred", diagnosis.status, &diagnosis.text)
        }
        Outcome::Failed { diagnosis, .. } => ("bounced", diagnosis.status, &diagnosis.text),
    }
}

const SENT: &str = "sent";
/// Turns of one pump: what is left is found by the timer, after others had theirs.
const PUMP_TURNS_MAX: usize = 4;
