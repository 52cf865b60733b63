//! Reports to senders: composed from the message, stored in one record with the settling of the
//! recipients they tell of, and sent like any message.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use smallvec::smallvec;

use crate::mail::Committed as _;
use crate::mail::dsn;
use crate::mail::envelope::{Envelope, QueueId, Recipient, TlsWish};
use crate::mail::outcome::ReportKind;
use crate::observe::events::Tags;
use crate::observe::history::{Event, Fate};
use crate::observe::log::Delivery;
use crate::observe::stage::Times;
use crate::queue::{Cause, Report};
use crate::shard::Shard;
use crate::shard::message::sign::Signatures;
use crate::shard::message::{Body, Message};
use crate::shard::settle::pace::Turn;
use crate::spool::log::{self, Accepted, CommitError, Reports};
use crate::trial::{self, Bug};
use crate::wire::dot;
use crate::wire::status::EnhancedStatus;
use crate::world::World;

/// Why a report could not be made.
enum NoReport {
    /// Its sender has had many; with a word to the log or without.
    NotYet(Option<Box<str>>),
    Unreadable(io::Error),
    NotStored(CommitError),
}

impl fmt::Display for NoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet(sender) => {
                let sender = sender.as_deref().unwrap_or_default();
                write!(
                    f,
                    "{sender} has had [queue] reports_per_sender in this hour: more wait"
                )
            }
            Self::Unreadable(error) => write!(f, "the message cannot be read: {error}"),
            Self::NotStored(error) => write!(f, "{error}"),
        }
    }
}

impl<W: World> Shard<W> {
    /// Composes a report, stores it and queues it; `stored` is set as soon as it is on the disk.
    pub(super) async fn report(self: Rc<Self>, report: Report, stored: &Cell<bool>) {
        let made = match trial::has(Bug::ReportLost) {
            true => Ok(()),
            false => self.store_report(&report, stored).await,
        };
        if let Err(error) = &made
            && !matches!(error, NoReport::NotYet(None))
        {
            self.warn(format_args!("{}: no report now: {error}", report.id));
        }
        self.end_report(report, made.is_ok());
    }

    /// What it tells is settled; one that was not stored is made again later.
    pub(super) fn end_report(self: &Rc<Self>, report: Report, is_stored: bool) {
        let now = self.world.now();
        let decisions = match is_stored {
            true => self.queue.borrow_mut().report_stored(now, &report),
            false => self.queue.borrow_mut().report_refused(now, report),
        };
        self.carry_out(decisions);
        self.pump();
    }

    async fn store_report(
        self: &Rc<Self>,
        report: &Report,
        stored: &Cell<bool>,
    ) -> Result<(), NoReport> {
        let about = self
            .load(report.message, report.id)
            .await
            .map_err(NoReport::Unreadable)?;
        self.await_turn(&about.envelope)?;
        let (original, is_whole) = self.original(&about).await.map_err(NoReport::Unreadable)?;
        let id = self.log.next_id();
        let composed = self.compose(report, id, &about, &original, is_whole);
        // The queue asks for no report to a null sender; were it to, there is nobody to tell.
        let Some(mut composed) = composed else {
            return Ok(());
        };
        self.address_report(report.kind, &mut composed.envelope);
        let places: Vec<u16> = report.recipients.iter().map(|one| one.recipient).collect();
        let accepted = Accepted {
            id,
            arrival: self.world.wall(),
            envelope: &composed.envelope,
            content: &composed.content,
            trace: &[],
            body: log::Body::Inline(&composed.body),
            reports: Some(Reports {
                message: report.id,
                recipients: &places,
                kind: report.kind,
            }),
        };
        let (receipt, locator) = self
            .log
            .accept(&accepted)
            .await
            .map_err(NoReport::NotStored)?;
        stored.set(true);
        self.journal
            .reported(report.id, receipt.queue_id(), report.kind);
        self.remember_report(report, &composed, receipt.queue_id());
        self.log_expired(report, &about);
        let message = Rc::new(Message {
            id,
            arrival: accepted.arrival,
            envelope: composed.envelope,
            content: composed.content,
            trace: Vec::new(),
            body: Body::Memory(composed.body),
            tags: Tags::default(),
            signatures: Signatures::default(),
        });
        self.admit(&message, locator);
        self.tell_reported(report, &about);
        self.tell_accepted(&message, None, Times::default());
        Ok(())
    }

    /// May this sender get another report now?
    fn await_turn(&self, about: &Envelope) -> Result<(), NoReport> {
        let most = self.settings().config.queue.reports_per_sender;
        let most = u32::try_from(most).unwrap_or(u32::MAX - 1);
        // Nobody is told of mail from nobody.
        let Some(sender) = &about.reverse_path.0 else {
            return Ok(());
        };
        let sender = sender.as_str();
        match self.pace.borrow_mut().turn(self.world.now(), sender, most) {
            Turn::Now => Ok(()),
            Turn::FirstLater => Err(NoReport::NotYet(Some(sender.into()))),
            Turn::Later => Err(NoReport::NotYet(None)),
        }
    }

    /// Adds who gets a copy, and follows the aliases of both.
    fn address_report(&self, kind: ReportKind, envelope: &mut Envelope) {
        let settings = self.settings();
        let copy = settings.config.queue.bounce_copy.as_ref();
        let copy = copy.filter(|_| kind == ReportKind::Failure);
        if let (Some(copy), [sender]) = (copy, &envelope.recipients[..])
            && sender.mailbox != *copy
        {
            envelope.recipients.push(Recipient {
                mailbox: copy.clone(),
                ..sender.clone()
            });
        }
        // An alias for too many stays what it is, and fails like any bad address.
        let _ = settings.expand(envelope);
    }

    fn compose(
        &self,
        report: &Report,
        id: QueueId,
        about: &Message,
        original: &[u8],
        is_whole: bool,
    ) -> Option<dsn::Composed> {
        let (wall, settings) = (self.world.wall(), self.settings());
        let recipients: Vec<dsn::Reported<'_>> = report
            .recipients
            .iter()
            .map(|reported| dsn::Reported {
                index: reported.recipient,
                status: reported
                    .diagnosis
                    .as_ref()
                    .map_or(DELAYED, |diagnosis| diagnosis.status),
                diagnosis: reported.diagnosis.as_deref(),
                expired: reported.cause == Cause::Time,
                success: reported.success,
                will_retry_until: (report.kind == ReportKind::Delay)
                    .then(|| about.arrival + settings.config.queue.expire),
            })
            .collect();
        dsn::compose(&dsn::Notice {
            kind: report.kind,
            hostname: &settings.hostname,
            report_id: id,
            original_id: report.id,
            arrival: about.arrival,
            now: wall,
            envelope: &about.envelope,
            recipients: &recipients,
            original,
            original_is_whole: is_whole,
        })
    }

    /// The report begins a life of its own; both lives tell of it.
    fn remember_report(&self, report: &Report, composed: &dsn::Composed, id: QueueId) {
        let name = id.to_string();
        let told = Event::Reported {
            report: (&*name).into(),
            kind: report.kind.name().into(),
        };
        self.remember(report.id, told);
        let begun = Event::Accepted {
            client: None,
            hello: "".into(),
            with: "".into(),
            from: "".into(),
            size: composed.content.size,
            recipients: composed.envelope.recipients.len(),
            message_id: composed.content.message_id.as_deref().map(Into::into),
            tls: TlsWish::of(&composed.envelope, &composed.content)
                .name()
                .map(Into::into),
            stages: Times::default(),
        };
        self.remember(id, begun);
    }

    /// The lines of recipients that failed because their time was over: no attempt wrote one.
    fn log_expired(&self, report: &Report, about: &Message) {
        let delay = self.world.now().since(self.tick_at(about.arrival));
        for one in report
            .recipients
            .iter()
            .filter(|one| one.cause == Cause::Time)
        {
            let place = usize::from(one.recipient);
            let (Some(recipient), Some(diagnosis)) =
                (about.envelope.recipients.get(place), &one.diagnosis)
            else {
                continue;
            };
            self.journal.delivery(&Delivery {
                id: report.id,
                to: recipient.mailbox.as_str(),
                orcpt: recipient.orcpt.as_deref(),
                relay: None,
                source: None,
                tls: None,
                delay,
                delays: [Duration::ZERO, delay, Duration::ZERO, Duration::ZERO],
                dsn: diagnosis.status,
                status: "expired",
                text: &diagnosis.text,
                tenant: about.envelope.standing.tenant.as_deref(),
                class: Some(self.class_of(diagnosis)),
            });
            let expired = Event::Attempt {
                relay: None,
                source: None,
                tls: None,
                stages: Times::default(),
                outcomes: smallvec![Fate {
                    to: recipient.mailbox.as_str().into(),
                    status: "expired".into(),
                    dsn: diagnosis.status,
                    text: (&*diagnosis.text).into(),
                }],
            };
            self.remember(report.id, expired);
        }
    }

    /// The message as its sender meant it, to return: trace fields and content, unstuffed. Cut
    /// to its header where it is larger than [`dsn::WHOLE_OCTETS_MAX`] or the sender wants no
    /// more, wherever its content lies.
    async fn original(&self, about: &Message) -> io::Result<(Vec<u8>, bool)> {
        let header_len = usize::try_from(about.content.header_len).unwrap_or(usize::MAX);
        let len = match &about.body {
            Body::Memory(octets) => octets.len(),
            Body::Extent(len) => usize::try_from(*len).unwrap_or(usize::MAX),
        };
        let whole = about.envelope.returns_content() && len <= dsn::WHOLE_OCTETS_MAX;
        let end = if whole { len } else { header_len.min(len) };
        let original = match &about.body {
            Body::Memory(octets) => unstuffed(&about.trace, &octets[..end]),
            Body::Extent(_) => {
                let wire = self.log.read_extent(about.id, 0, end).await?;
                unstuffed(&about.trace, &wire)
            }
        };
        Ok((original, whole))
    }
}

fn unstuffed(trace: &[u8], wire: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(trace.len() + wire.len());
    octets.extend_from_slice(trace);
    dot::unstuff_into(&mut octets, wire);
    octets
}

/// A delay without any attempt: nothing is known but that it waits (RFC 3463 §3.5, the message
/// is still in the queue).
const DELAYED: EnhancedStatus = EnhancedStatus::new(4, 4, 0);
