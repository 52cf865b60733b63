//! A lane: all mail of this shard for one next hop, and what is known of that next hop.
//!
//! ```text
//!        lane_failed                 back-off over
//!  Open ────────────▶ Closed ───────────────────────▶ Probing
//!   ▲                   │ lane_ok                        │ lane_failed: Closed, for longer
//!   └───────────────────┴────────────────────────────────┘ lane_ok
//! ```
//!
//! Feedback is additive up, down to what works: the window (connections used at once) starts at
//! [`WINDOW_FIRST`] and grows by one after as many good transactions as it is wide. A failure
//! while other connections of a proven lane go on means "no more than these", so the window
//! shrinks to them; a failure of the only connection, or before anything ever worked, closes
//! the lane for a back-off that follows the retry curve. After it one connection probes.
//!
//! A lane whose pace is limited rests until its turn comes: closed as in a back-off, but nothing
//! has failed, and what goes well meanwhile over connections that had their turn does not open it.

use std::rc::Rc;

use crate::mail::envelope::Priority;
use crate::mail::outcome::Diagnosis;
use crate::time::Tick;
use crate::trial;
use crate::turns;

use super::part::EMPTY;
use super::slab::NONE;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: Rc<str>,
    /// First and last of its ready parts, of each priority.
    pub(super) heads: [u32; PRIORITIES],
    pub(super) tails: [u32; PRIORITIES],
    /// What each priority has saved up for its turn.
    credits: [i64; PRIORITIES],
    pub(super) ready: u32,
    pub(super) in_flight: u32,
    /// All its parts, waiting and held ones too.
    pub(super) parts: u32,
    /// Connections that the driver has told of.
    pub(super) connections: u32,
    window: u32,
    /// Good transactions since the window last changed.
    good: u32,
    /// Back-offs in a row.
    pub(super) failures: u32,
    pub(super) gate: Gate,
    /// It is closed because its turn comes later, and not because it failed.
    pub(super) rests: bool,
    /// A transaction went well since the last back-off.
    proven: bool,
    /// Stands in the queue's list of lanes to tell of.
    pub(super) announced: bool,
    /// Position in the heap of wake-ups while closed.
    pub(super) wakeup: u32,
    /// When a part of it was taken last, or became ready when none was.
    pub(super) moved: Tick,
    /// Why it failed last.
    pub(super) diagnosis: Option<Rc<Diagnosis>>,
    /// What was said of a recipient last. Thousands hear the same.
    said: Option<Rc<Diagnosis>>,
}

/// Whether connections may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// As many as the window has room for.
    Open,
    /// None: in back-off.
    Closed,
    /// One.
    Probing,
}

impl Lane {
    pub(super) fn new(name: Rc<str>, connections_max: u32, now: Tick) -> Self {
        Self {
            name,
            heads: [EMPTY; PRIORITIES],
            tails: [EMPTY; PRIORITIES],
            credits: [0; PRIORITIES],
            ready: 0,
            in_flight: 0,
            parts: 0,
            connections: 0,
            window: WINDOW_FIRST.min(connections_max),
            good: 0,
            failures: 0,
            gate: Gate::Open,
            rests: false,
            proven: false,
            announced: false,
            wakeup: NONE,
            moved: now,
            diagnosis: None,
            said: None,
        }
    }

    /// The ready part whose turn it is: of priorities that wait, each has its share of the turns
    /// ([`SHARES`]), so that low ones wait for long and not for ever.
    pub(super) fn next(&mut self) -> Option<u32> {
        let waits = self.heads.map(|head| head != EMPTY);
        let place = if waits.iter().filter(|waits| **waits).count() > 1 {
            turns::next(&mut self.credits, |place| {
                waits[place].then_some(SHARES[place])
            })
        } else {
            self.credits = [0; PRIORITIES];
            waits.iter().position(|waits| *waits)
        };
        place.map(|place| self.heads[place])
    }

    /// It failed: why. Mail that heard the same the last time keeps sharing it.
    pub(super) fn learn(&mut self, diagnosis: Diagnosis) {
        self.diagnosis = Some(self.share(diagnosis));
    }

    /// One copy for all that hear the same.
    pub(super) fn share(&mut self, diagnosis: Diagnosis) -> Rc<Diagnosis> {
        for known in [&self.diagnosis, &self.said].into_iter().flatten() {
            if **known == diagnosis {
                return Rc::clone(known);
            }
        }
        let new = Rc::new(diagnosis);
        self.said = Some(Rc::clone(&new));
        new
    }

    /// Connections to open now: one for each ready or taken part, within the window.
    pub(super) fn connections_wanted(&self) -> u32 {
        if self.ready == 0 {
            return 0;
        }
        let window = match self.gate {
            Gate::Open => self.window,
            Gate::Closed => 0,
            Gate::Probing => 1,
        };
        self.in_flight
            .saturating_add(self.ready)
            .min(window)
            .saturating_sub(self.connections)
    }

    /// True while it has mail that a connection could take now.
    pub(super) fn wants_attention(&self) -> bool {
        self.ready > 0 && self.gate != Gate::Closed
    }

    /// A part becomes ready: from now on somebody should come for it.
    pub(super) fn expect(&mut self, now: Tick) {
        if self.ready == 0 {
            self.moved = now;
        }
    }

    /// A transaction went well.
    pub(super) fn succeed(&mut self, connections_max: u32) {
        if !self.rests {
            if self.gate != Gate::Open {
                trial::saw("lane", "open again");
            }
            self.gate = Gate::Open;
        }
        self.failures = 0;
        self.proven = true;
        self.diagnosis = None;
        self.good += 1;
        if self.good >= self.window && self.window < connections_max {
            self.window += 1;
            self.good = 0;
        }
    }

    /// A connection failed, which `connections` still counts. True when the lane must close.
    pub(super) fn fail(&mut self) -> bool {
        self.good = 0;
        if self.gate == Gate::Open && self.proven && self.connections > 1 {
            trial::saw("lane", "narrower");
            self.window = self.window.min(self.connections - 1);
            return false;
        }
        // Dials that were under way together fail together: one back-off, not one for each.
        if self.gate == Gate::Closed {
            return false;
        }
        trial::saw("lane", "closed");
        self.gate = Gate::Closed;
        self.proven = false;
        self.failures = self.failures.saturating_add(1);
        self.window = self.window.min(WINDOW_FIRST);
        true
    }

    /// It has to wait, for no fault of anybody's. True when it closes for that.
    pub(super) fn rest(&mut self) -> bool {
        if self.gate == Gate::Closed && !self.rests {
            return false;
        }
        trial::saw("lane", "resting");
        self.gate = Gate::Closed;
        self.rests = true;
        true
    }

    /// Nothing is left that is worth remembering.
    pub(super) fn is_idle(&self) -> bool {
        self.parts == 0 && self.connections == 0 && self.gate != Gate::Closed
    }
}

/// How many priorities there are.
pub(super) const PRIORITIES: usize = Priority::ALL.len();
/// Turns of each priority while all of them have mail.
const SHARES: [u32; PRIORITIES] = [16, 4, 1];
/// Connections to a next hop of which nothing is known. More finds its limits faster and hits
/// small hosts harder.
pub const WINDOW_FIRST: u32 = 5;
