//! After an attempt: outcomes to the queue, its decisions to the spool, the log and the sender.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::message::Message;
use crate::mail::dsn;
use crate::mail::outcome::Outcome;
use crate::queue::{Assignment, Decision, Due, Report, ReportKind};
use crate::spool::log::{Note, Reports};
use crate::world::{Class, Tick, World};

/// How an attempt went, for the log.
pub(super) struct Attempt {
    pub(super) assignment: Assignment,
    /// When it was taken from the queue.
    pub(super) taken: Tick,
    /// The host that had the last word: `mx.test[192.0.2.1]:25`.
    pub(super) relay: Option<Rc<str>>,
    /// Looking up, dialling, greeting.
    pub(super) setup: Duration,
    /// MAIL to the reply to the dot.
    pub(super) transfer: Duration,
    /// Transactions on this connection, this one included.
    pub(super) connection_use: u32,
}

impl<W: World> Shard<W> {
    /// Ends an attempt.
    pub(super) fn settle(self: &Rc<Self>, attempt: &Attempt, message: Option<&Message>, results: Vec<(u16, Outcome)>) {
        if let Some(message) = message {
            for (recipient, outcome) in &results {
                self.log_delivery(attempt, message, *recipient, outcome);
            }
        }
        let (now, random) = (self.world.now(), self.world.random());
        let decisions = self.queue.borrow_mut().settle(now, attempt.assignment.part, results, random);
        self.carry_out(decisions);
        self.pump();
    }

    /// Does what the queue decided, in its order.
    pub(super) fn carry_out(self: &Rc<Self>, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Delivered { id, recipient, .. } => self.log.note(Note::Delivered { id, recipient }),
                Decision::Retry { id, recipients, at, attempts, diagnosis, doubtful, .. } => {
                    let due = self.wall_at(at);
                    self.log.note(Note::Deferred { id, recipients: &recipients, attempts, due, diagnosis: &diagnosis, doubtful });
                }
                Decision::Failed { id, recipient, .. } => self.log.note(Note::Failed { id, recipient }),
                Decision::Removed { id, recipient, .. } => self.log.note(Note::Removed { id, recipient }),
                Decision::Report(report) => {
                    let shard = Rc::clone(self);
                    self.world.spawn(Class::Chores, async move { shard.report(report).await });
                }
                Decision::Finished { id, locator, .. } => {
                    self.resident.forget(id);
                    self.log.forget(id, locator);
                    self.log_removed(id);
                }
            }
        }
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
                match item {
                    Due::Lane(lane) => self.attend(lane),
                    Due::Decision(decision) => self.carry_out(vec![decision]),
                }
            }
        }
        self.timer.wake();
    }

    /// Composes a report and stores it, in one record with the settling of its recipients.
    async fn report(self: Rc<Self>, report: Report) {
        let now = self.world.now();
        let stored = self.store_report(&report).await;
        let decisions = match stored {
            Ok(()) => self.queue.borrow_mut().report_stored(now, &report),
            Err(error) => {
                self.warn(format_args!("{}: cannot store a report: {error}", report.id));
                self.queue.borrow_mut().report_refused(now, report)
            }
        };
        self.carry_out(decisions);
        self.pump();
    }
}

/// Turns of one pump: what is left is found by the timer, after others had theirs.
const PUMP_TURNS_MAX: usize = 4;
