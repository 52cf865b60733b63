//! How recipients end: failed, removed, told of in reports; and when a message is finished.

use std::rc::Rc;

use crate::mail::outcome::{Diagnosis, RemoteReply, ReportKind, Success};
use crate::time::Tick;
use crate::trial;

use super::part::{EMPTY, Gathered, Queued, kept};
use super::slab::NONE;
use super::wakeups::Sleeper;
use super::{Cause, Decision, Decisions, MessageKey, Queue, Report, Reported, State, schedule};

impl Queue {
    /// Fails all recipients of a part: an operator says why, or their time is over.
    pub(super) fn fail_part(
        &mut self,
        index: u32,
        why: Option<Diagnosis>,
        decisions: &mut Decisions,
    ) {
        let part = &mut self.parts[index];
        let (message, lane) = (part.message, part.lane);
        let recipients = std::mem::take(&mut part.recipients);
        let cause = match why {
            Some(_) => Cause::Order,
            None => Cause::Time,
        };
        let why = why.map(Rc::new);
        for queued in &recipients {
            let last = queued
                .diagnosis
                .as_deref()
                .or(self.lanes[lane].diagnosis.as_deref());
            let diagnosis = why
                .clone()
                .unwrap_or_else(|| Rc::new(kept(schedule::expired(last))));
            self.fail(message, queued, diagnosis, cause, decisions);
        }
        self.drop_part(index);
    }

    /// One recipient failed: to be reported, or silently where nobody may be told.
    pub(super) fn fail(
        &mut self,
        message: u32,
        queued: &Queued,
        diagnosis: Rc<Diagnosis>,
        cause: Cause,
        decisions: &mut Decisions,
    ) {
        let recipient = queued.place;
        if queued.wants.failure() && !self.messages[message].sender.is_null() {
            let reported = Reported {
                recipient,
                diagnosis: Some(diagnosis),
                cause,
                success: None,
            };
            self.messages[message]
                .gathered
                .get_or_insert_default()
                .failed
                .push(reported);
        } else {
            self.count_failed(cause);
            let (message, id) = self.name(message);
            decisions.push(Decision::Failed {
                message,
                id,
                recipient,
                diagnosis,
                cause,
            });
        }
    }

    pub(super) fn count_failed(&mut self, cause: Cause) {
        let expired = cause == Cause::Time;
        trial::saw("part ends", if expired { "expired" } else { "failed" });
        self.counters.queued -= 1;
        *(if expired {
            &mut self.counters.expired
        } else {
            &mut self.counters.bounced
        }) += 1;
    }

    pub(super) fn remove_part(&mut self, index: u32, decisions: &mut Decisions) {
        let was = self.parts[index].state;
        self.count_removed(index, was, State::Removed);
        let part = &mut self.parts[index];
        let message = part.message;
        for queued in std::mem::take(&mut part.recipients) {
            trial::saw("part ends", "removed");
            let (message, id) = self.name(message);
            decisions.push(Decision::Removed {
                message,
                id,
                recipient: queued.place,
            });
        }
        self.drop_part(index);
    }

    /// Forgets a part without recipients.
    pub(super) fn drop_part(&mut self, index: u32) {
        self.leave(index);
        self.wake(Sleeper::Part(index), Tick::NEVER);
        let Some(part) = self.parts.remove(index) else {
            return;
        };
        if part.elder == NONE {
            self.messages[part.message].first = part.sibling;
        } else {
            self.parts[part.elder].sibling = part.sibling;
        }
        if part.sibling != NONE {
            self.parts[part.sibling].elder = part.elder;
        }
        self.lanes[part.lane].parts -= 1;
        self.forget_idle_lane(part.lane);
    }

    pub(super) fn gather_success(
        &mut self,
        message: u32,
        recipient: u16,
        reply: &RemoteReply,
        remote_mta: Option<Rc<str>>,
        success: Success,
    ) {
        let message = &mut self.messages[message];
        if message.sender.is_null() {
            return;
        }
        let diagnosis = Diagnosis {
            status: reply.status,
            text: reply.text.clone(),
            // Words of our own are no reply.
            reply: remote_mta.is_some().then(|| reply.text.clone()),
            remote_mta: remote_mta.map(|name| (&*name).into()),
        };
        let reported = Reported {
            recipient,
            diagnosis: Some(Rc::new(kept(diagnosis))),
            cause: Cause::Attempt,
            success: Some(success),
        };
        message
            .gathered
            .get_or_insert_default()
            .succeeded
            .push(reported);
    }

    /// Gives reports that wait for nothing more, and finishes a message that is settled.
    pub(super) fn conclude(&mut self, now: Tick, index: u32, decisions: &mut Decisions) {
        if self.messages[index].gathered.is_some() {
            if self.messages[index].busy == 0 {
                self.give_reports(index, decisions);
            } else {
                self.schedule_report(now, index);
            }
        }
        let message = &self.messages[index];
        if message.first == EMPTY && message.gathered.is_none() && message.reports == 0 {
            let (key, id) = self.name(index);
            self.bin.forget(key);
            decisions.push(Decision::Finished { message: key, id });
            self.ids.remove(id, &self.messages);
            self.messages.remove(index);
        }
    }

    pub(super) fn schedule_report(&mut self, now: Tick, index: u32) {
        let key = MessageKey(self.messages.key(index));
        let gathered = self.messages[index].gathered.get_or_insert_default();
        if !std::mem::replace(&mut gathered.scheduled, true) {
            self.reports.push_back((now + schedule::REPORT_PAUSE, key));
        }
    }

    pub(super) fn give_reports(&mut self, index: u32, decisions: &mut Decisions) {
        let Some(gathered) = self.messages[index].gathered.take() else {
            return;
        };
        let Gathered {
            failed, succeeded, ..
        } = *gathered;
        self.give_report(index, ReportKind::Failure, failed, decisions);
        self.give_report(index, ReportKind::Success, succeeded, decisions);
    }

    /// Once per message: tells which recipients are still waited for.
    pub(super) fn give_delay_notice(&mut self, index: u32, decisions: &mut Decisions) {
        let message = &mut self.messages[index];
        if message.sender.is_null() || std::mem::replace(&mut message.delay_told, true) {
            return;
        }
        let mut delayed = Vec::new();
        let mut next = message.first;
        while next != EMPTY {
            let part = &self.parts[next];
            let lane = self.lanes[part.lane].diagnosis.as_ref();
            delayed.extend(
                part.recipients
                    .iter()
                    .filter(|queued| queued.wants.delay())
                    .map(|queued| Reported {
                        recipient: queued.place,
                        diagnosis: queued.diagnosis.as_ref().or(lane).cloned(),
                        cause: Cause::Attempt,
                        success: None,
                    }),
            );
            next = part.sibling;
        }
        self.give_report(index, ReportKind::Delay, delayed, decisions);
    }

    pub(super) fn give_report(
        &mut self,
        index: u32,
        kind: ReportKind,
        mut recipients: Vec<Reported>,
        decisions: &mut Decisions,
    ) {
        if recipients.is_empty() {
            return;
        }
        recipients.sort_by_key(|reported| reported.recipient);
        let (key, id) = self.name(index);
        let message = &mut self.messages[index];
        message.reports = message.reports.saturating_add(1);
        trial::saw("part ends", "reported");
        decisions.push(Decision::Report(Report {
            message: key,
            id,
            kind,
            recipients,
        }));
    }
}
