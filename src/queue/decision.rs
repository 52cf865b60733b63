//! What goes into the queue and what it decides.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::mail::Locator;
use crate::mail::envelope::{Notify, Priority, QueueId};
use crate::mail::mark::{AddressMark, SenderMark, SizeMark};
use crate::mail::outcome::{Diagnosis, Outcome, RemoteReply, ReportKind, Success};
use crate::time::Tick;

use super::bin::Removal;
use super::slab::Key;

/// Names a message in the queue, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey(pub(super) Key);

/// Names a part: the recipients of one message that share a next hop and a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartKey(pub(super) Key);

/// Names a lane. Valid while the lane has mail, a connection or a back-off running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey(pub(super) Key);

// Most messages have one recipient: nothing of one is allocated on its way through the queue.

/// Outcomes of an attempt, by the recipient's place in the envelope.
pub type Outcomes = SmallVec<[(u16, Outcome); 1]>;
/// Places in an envelope.
pub type Places = SmallVec<[u16; 4]>;
/// What is to be carried out: the last recipient's delivery, and the message's end.
pub type Decisions = SmallVec<[Decision; 2]>;
/// What is due.
pub type Dues = SmallVec<[Due; 1]>;

/// A message that is on stable storage, new or found by recovery.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Its name.
    pub id: QueueId,
    /// Where it stands on the disk.
    pub locator: Locator,
    /// When it was accepted; before zero for mail older than the process.
    pub accepted: Tick,
    /// Who sent it. Of `MAIL FROM:<>` nobody is told of anything (RFC 5321 §4.5.5).
    pub sender: SenderMark,
    /// How large it is.
    pub size: SizeMark,
    /// An operator holds it.
    pub held: bool,
    /// An operator has removed it, and can put it back.
    pub removed: Option<Removal>,
    /// The delay notice has been given.
    pub delay_told: bool,
    /// How soon it goes.
    pub priority: Priority,
    /// Its recipients that are not settled, by next hop.
    pub parts: SmallVec<[PartAdmission; 1]>,
}

/// The recipients of a message for one next hop.
#[derive(Clone, Debug)]
pub struct PartAdmission {
    /// The next hop's name (`route::NextHop::lane`).
    pub lane: Rc<str>,
    /// Who.
    pub recipients: SmallVec<[RecipientAdmission; 1]>,
    /// Attempts counted so far.
    pub attempts: u16,
    /// Not to be attempted before.
    pub due: Tick,
}

/// One recipient.
#[derive(Clone, Debug)]
pub struct RecipientAdmission {
    /// Its place in the envelope.
    pub recipient: u16,
    /// Its address.
    pub mark: AddressMark,
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// An earlier attempt may have delivered it (RFC 1047).
    pub doubtful: bool,
    /// Why the last attempt did not succeed.
    pub diagnosis: Option<Diagnosis>,
}

impl RecipientAdmission {
    /// A recipient of a message that was accepted just now.
    #[must_use]
    pub fn new(recipient: u16, notify: Option<Notify>) -> Self {
        Self {
            recipient,
            mark: AddressMark::default(),
            notify,
            doubtful: false,
            diagnosis: None,
        }
    }
}

/// Something to deliver now. It is the caller's until [`super::Queue::settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// To be settled under this name.
    pub part: PartKey,
    /// The message.
    pub message: MessageKey,
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub accepted: Tick,
    /// Since when it could have been delivered; the difference to now is the queue's wait.
    pub due: Tick,
    /// Places in the envelope, ascending.
    pub recipients: Places,
    /// Attempts counted before this one.
    pub attempts: u16,
}

/// What follows from an outcome, from time or from an operator. Decisions are carried out in
/// order; `Finished` comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The next hop has it: note it.
    Delivered {
        /// The message.
        message: MessageKey,
        /// Its name.
        id: QueueId,
        /// Whom it reached.
        recipient: u16,
        /// What the next hop said.
        reply: RemoteReply,
    },
    /// Will be tried again: note it.
    Retry {
        /// The message.
        message: MessageKey,
        /// Its name.
        id: QueueId,
        /// Recipients with this diagnosis.
        recipients: Vec<u16>,
        /// Not before.
        at: Tick,
        /// Attempts counted.
        attempts: u16,
        /// Why it did not succeed.
        diagnosis: Rc<Diagnosis>,
        /// The peer may hold a copy (RFC 1047).
        doubtful: bool,
    },
    /// Failed and nobody is to be told (`NOTIFY=NEVER`, a null reverse-path): note it.
    Failed {
        /// The message.
        message: MessageKey,
        /// Its name.
        id: QueueId,
        /// Who does not get it.
        recipient: u16,
        /// Why.
        diagnosis: Rc<Diagnosis>,
        /// What ended it.
        cause: Cause,
    },
    /// Withdrawn by an operator, nobody is told: note it.
    Removed {
        /// The message.
        message: MessageKey,
        /// Its name.
        id: QueueId,
        /// Who does not get it.
        recipient: u16,
    },
    /// Compose a report and store it, in one record with the settling of these recipients; then
    /// call [`super::Queue::report_stored`] or [`super::Queue::report_refused`].
    Report(Report),
    /// Every recipient is settled; the queue has forgotten the message and so may the spool.
    Finished {
        /// The key it had.
        message: MessageKey,
        /// Its name.
        id: QueueId,
    },
}

/// What ends a recipient that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What came of an attempt.
    Attempt,
    /// Its time was over.
    Time,
    /// An operator.
    Order,
}

/// A report to be composed. Until it is stored its failed recipients count as queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The message it is about.
    pub message: MessageKey,
    /// Its name.
    pub id: QueueId,
    /// What it tells.
    pub kind: ReportKind,
    /// Whom it is about, in the order of the envelope.
    pub recipients: Vec<Reported>,
}

/// One recipient of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Its place in the envelope.
    pub recipient: u16,
    /// Why; of a success the words of the next hop; `None` for a delay without any attempt.
    pub diagnosis: Option<Rc<Diagnosis>>,
    /// What ended it, where it failed.
    pub cause: Cause,
    /// How it succeeded, where it did.
    pub success: Option<Success>,
}

/// What [`super::Queue::poll`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// The lane has mail that is ready: wake connections that idle, and open as many more as
    /// [`super::Queue::connections_wanted`] says.
    Lane(LaneKey),
    /// A decision that time brought.
    Decision(Decision),
}

/// Where a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In its lane, to be taken by the next connection.
    Ready,
    /// Taken, not settled.
    InFlight,
    /// Not due yet: for its retry.
    Waiting,
    /// Kept back by an operator. Does not expire meanwhile, and its sender gets no delay notice.
    Held,
    /// Removed by an operator, who can still put it back. Counts as removed.
    Removed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::InFlight,
        Self::Waiting,
        Self::Held,
        Self::Removed,
    ];

    /// Its name, for lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::InFlight => "in_flight",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Removed => "removed",
        }
    }
}

/// Recipients, counted. `accepted = delivered + bounced + expired + removed + queued`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Admitted since the start, recovered ones included.
    pub accepted: u64,
    /// Delivered.
    pub delivered: u64,
    /// Failed, reported or silently.
    pub bounced: u64,
    /// Failed because their time was over.
    pub expired: u64,
    /// Removed by an operator.
    pub removed: u64,
    /// In the queue.
    pub queued: u64,
}
