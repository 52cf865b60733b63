//! What the queue keeps of a message: as little as it can, because millions wait.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::mail::Locator;
use crate::mail::envelope::{Notify, Priority, QueueId};
use crate::mail::mark::{AddressMark, SenderMark, SizeMark};
use crate::mail::outcome::Diagnosis;
use crate::time::Tick;
use crate::trial::{self, Bug};

use super::decision::{Reported, State};
use super::slab::NONE;

/// A message with recipients that are not settled. Envelope and body stay on the disk.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: QueueId,
    pub(super) locator: Locator,
    pub(super) accepted: Tick,
    /// Reports being gathered.
    pub(super) gathered: Option<Box<Gathered>>,
    /// First of its parts, a list through `Part::sibling`.
    pub(super) first: u32,
    /// Parts that may soon add to a report: in flight, or ready for their first attempt.
    pub(super) busy: u32,
    /// Reports given out and neither stored nor refused.
    pub(super) reports: u8,
    pub(super) sender: SenderMark,
    pub(super) size: SizeMark,
    pub(super) held: bool,
    pub(super) delay_told: bool,
    pub(super) fate: Fate,
    pub(super) priority: Priority,
}

/// What an operator ordered while parts were in flight; applied when they come back undelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// Removed, and can be put back: its parts are [`State::Removed`] as soon as none is in flight.
    Removed,
    /// Removed for good.
    Remove,
    Bounce,
}

/// What the next reports about a message will tell.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) failed: Vec<Reported>,
    pub(super) succeeded: Vec<Reported>,
    /// Stands in the queue's list of reports to give at the latest.
    pub(super) scheduled: bool,
}

/// The recipients of one message for one next hop. They share a schedule.
#[derive(Debug)]
pub(super) struct Part {
    /// Ascending by place.
    pub(super) recipients: Recipients,
    /// Not to be attempted before.
    pub(super) due: Tick,
    pub(super) message: u32,
    pub(super) lane: u32,
    /// Neighbours in the lane's list of ready parts.
    pub(super) before: u32,
    pub(super) after: u32,
    /// Neighbours in the message's list of parts.
    pub(super) elder: u32,
    pub(super) sibling: u32,
    /// Position in the heap of wake-ups.
    pub(super) wakeup: u32,
    pub(super) attempts: u16,
    pub(super) state: State,
}

/// One recipient inline, several on the heap.
pub(super) type Recipients = SmallVec<[Queued; 1]>;

#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) diagnosis: Option<Rc<Diagnosis>>,
    pub(super) place: u16,
    pub(super) mark: AddressMark,
    pub(super) wants: Wants,
    pub(super) doubtful: bool,
}

/// `NOTIFY` in three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wants(u8);

impl Wants {
    /// Without `NOTIFY` the sender hears of failure and of delay (RFC 3461 §4.1).
    pub(super) fn new(notify: Option<Notify>) -> Self {
        let notify = notify.unwrap_or(Notify {
            success: false,
            failure: true,
            delay: true,
        });
        Self(u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2)
    }

    pub(super) const fn success(self) -> bool {
        self.0 & 1 != 0
    }

    pub(super) fn failure(self) -> bool {
        self.0 & 2 != 0 || trial::has(Bug::NotifyIgnored)
    }

    pub(super) const fn delay(self) -> bool {
        self.0 & 4 != 0
    }
}

impl Part {
    /// True when its next settling may come soon and belongs into the same report.
    pub(super) fn is_busy(&self) -> bool {
        match self.state {
            State::InFlight => true,
            State::Ready => self.attempts == 0,
            State::Waiting | State::Held | State::Removed => false,
        }
    }

    pub(super) fn wants_delay(&self) -> bool {
        self.recipients.iter().any(|queued| queued.wants.delay())
    }
}

const _: () = assert!(
    size_of::<Message>() <= 56 && size_of::<Queued>() <= 16,
    "a million wait: marks stand where there was no use of the room"
);

/// The list of ready parts of a lane, or of the parts of a message, is empty.
pub(super) const EMPTY: u32 = NONE;

/// A diagnosis as it is kept in memory: its texts cut at [`KEPT_TEXT_MAX`]. The whole of it was
/// noted on the disk and in the log.
pub(super) fn kept(mut diagnosis: Diagnosis) -> Diagnosis {
    for text in [Some(&mut diagnosis.text), diagnosis.reply.as_mut()]
        .into_iter()
        .flatten()
    {
        if text.len() > KEPT_TEXT_MAX {
            *text = text[..text.floor_char_boundary(KEPT_TEXT_MAX)].into();
        }
    }
    diagnosis
}

/// Octets of each text of a diagnosis that a waiting recipient keeps. A long essay of a peer,
/// times a million recipients, must not fill the memory.
const KEPT_TEXT_MAX: usize = 512;
