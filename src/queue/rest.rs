//! Mail that waits though nothing is wrong with it: its turn comes later.

use crate::mail::outcome::Blame;
use crate::time::Tick;

use super::part::Fate;
use super::wakeups::Sleeper;
use super::{Decisions, LaneKey, PartKey, Queue, State, operator};

impl Queue {
    /// A part was taken and nothing was attempted: it is the first of its lane again, as it was. `due`
    /// is what its assignment said.
    pub fn give_back(&mut self, now: Tick, part: PartKey, due: Tick) -> Decisions {
        let mut decisions = Decisions::new();
        let Some(index) = self.taken(part) else {
            return decisions;
        };
        let message = self.parts[index].message;
        if !self.ends_instead(now, index, &mut decisions) {
            self.parts[index].due = due;
            self.move_part(index, State::Ready);
            if self.parts[index].state == State::Ready {
                self.unlink(index);
                self.link_first(index);
            }
        }
        self.conclude(now, message, &mut decisions);
        decisions
    }

    /// The lane has to wait until `until`, though nothing is wrong with it: its pace is limited, or
    /// others have what it needs. A back-off that runs is left alone.
    pub fn lane_rests(&mut self, lane: LaneKey, until: Tick) {
        let Some(index) = self.lanes.find(lane.0) else {
            return;
        };
        if self.lanes[index].rest() {
            self.wake(Sleeper::Lane(index), until);
        }
    }

    /// The limits have changed: a lane that rests looks anew when its turn is.
    pub fn rouse_resting(&mut self, now: Tick) {
        let resting: Vec<u32> = self.names.values().copied().collect();
        for index in resting {
            if self.lanes[index].rests {
                self.wake(Sleeper::Lane(index), now);
            }
        }
    }

    /// A part that comes back undelivered ends, because its time is over or an operator says so.
    pub(super) fn ends_instead(
        &mut self,
        now: Tick,
        index: u32,
        decisions: &mut Decisions,
    ) -> bool {
        let message = &self.messages[self.parts[index].message];
        match message.fate {
            Fate::Remove => self.remove_part(index, decisions),
            Fate::Bounce => self.fail_part(index, Some(operator::bounced()), decisions),
            Fate::Open if now >= self.settings.expires_at(message.accepted) => {
                self.fail_part(index, None, decisions);
            }
            // Whoever puts it back wants to find what is known of it.
            Fate::Open | Fate::Removed => return false,
        }
        true
    }
}

/// How long what is left of a part waits; of several the last counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// A moment: the trouble was our own.
    Local,
    /// A moment: the pace is slower by then.
    Pace,
    /// As the retry curve has it, and that counts.
    Curve,
}

impl Wait {
    /// How long after something that is to be blamed on this.
    pub(super) const fn after(blame: Blame) -> Self {
        match blame {
            Blame::Local => Self::Local,
            Blame::Pace => Self::Pace,
            Blame::Recipient | Blame::Message | Blame::Host | Blame::Destination => Self::Curve,
        }
    }
}
