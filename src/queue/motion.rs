//! Parts in motion: between states, lanes and wake-ups. Every change of a part's state goes
//! through one function, so that counts, lists and wake-ups cannot disagree.

use crate::time::Tick;
use crate::trial::{self, Bug};

use super::lane::Gate;
use super::part::{EMPTY, Fate};
use super::wakeups::Sleeper;
use super::{Decisions, PartKey, Queue, State};

impl Queue {
    /// Puts a part into `state` (instead of ready or waiting `Removed` or `Held` while its message
    /// is that), with everything that hangs on it: the lane's list, the counts, the wake-up.
    pub(super) fn move_part(&mut self, index: u32, state: State) {
        let message = &self.messages[self.parts[index].message];
        let state = match state {
            State::InFlight => State::InFlight,
            _ if message.fate == Fate::Removed => State::Removed,
            _ if message.held => State::Held,
            state => state,
        };
        let was = self.parts[index].state;
        self.count_removed(index, was, state);
        self.leave(index);
        let part = &mut self.parts[index];
        part.state = state;
        trial::saw(was.name(), state.name());
        let (lane, message) = (part.lane, part.message);
        self.messages[message].busy += u32::from(self.parts[index].is_busy());
        match state {
            State::Ready => self.link(index),
            State::InFlight => self.lanes[lane].in_flight += 1,
            State::Waiting | State::Held | State::Removed => {}
        }
        self.wake(Sleeper::Part(index), self.wakeup_of(index));
        if state == State::Ready {
            self.announce(lane);
        }
    }

    /// Undoes what hangs on a part's state, all but the wake-up; leaves it `Waiting`.
    pub(super) fn leave(&mut self, index: u32) {
        let part = &self.parts[index];
        let (lane, message) = (part.lane, part.message);
        self.messages[message].busy -= u32::from(part.is_busy());
        match part.state {
            State::Ready => self.unlink(index),
            State::InFlight => self.lanes[lane].in_flight -= 1,
            State::Waiting | State::Held | State::Removed => {}
        }
        self.parts[index].state = State::Waiting;
    }

    /// A part that somebody has taken and not settled yet.
    pub(super) fn taken(&self, part: PartKey) -> Option<u32> {
        let index = self.parts.find(part.0)?;
        (self.parts[index].state == State::InFlight).then_some(index)
    }

    /// Appends a part to its lane's ready ones.
    pub(super) fn link(&mut self, index: u32) {
        let rank = self.rank(index);
        let lane = &mut self.lanes[self.parts[index].lane];
        let last = std::mem::replace(&mut lane.tails[rank], index);
        lane.ready += 1;
        if last == EMPTY {
            lane.heads[rank] = index;
        } else {
            self.parts[last].after = index;
        }
        let part = &mut self.parts[index];
        (part.before, part.after) = (last, EMPTY);
    }

    /// Puts a part before its lane's ready ones of the same priority.
    pub(super) fn link_first(&mut self, index: u32) {
        let rank = self.rank(index);
        let lane = &mut self.lanes[self.parts[index].lane];
        let first = std::mem::replace(&mut lane.heads[rank], index);
        lane.ready += 1;
        if first == EMPTY {
            lane.tails[rank] = index;
        } else {
            self.parts[first].before = index;
        }
        let part = &mut self.parts[index];
        (part.before, part.after) = (EMPTY, first);
    }

    /// The place of a part's priority among all of them.
    fn rank(&self, index: u32) -> usize {
        self.messages[self.parts[index].message].priority as usize
    }

    pub(super) fn unlink(&mut self, index: u32) {
        let rank = self.rank(index);
        let part = &mut self.parts[index];
        let before = std::mem::replace(&mut part.before, EMPTY);
        let after = std::mem::replace(&mut part.after, EMPTY);
        let lane = &mut self.lanes[part.lane];
        lane.ready -= 1;
        if before == EMPTY {
            lane.heads[rank] = after
        } else {
            self.parts[before].after = after
        }
        if after == EMPTY {
            lane.tails[rank] = before
        } else {
            self.parts[after].before = before
        }
    }

    /// When a part must be looked at: never while it is in flight, held or removed.
    pub(super) fn wakeup_of(&self, index: u32) -> Tick {
        let part = &self.parts[index];
        let message = &self.messages[part.message];
        let retry = match part.state {
            State::InFlight | State::Held | State::Removed => return Tick::NEVER,
            State::Ready => Tick::NEVER,
            State::Waiting if trial::has(Bug::TimerLost) => return Tick::NEVER,
            State::Waiting => part.due,
        };
        let expiry = self.settings.expires_at(message.accepted);
        let notice = if message.delay_told || message.sender.is_null() || !part.wants_delay() {
            Tick::NEVER
        } else {
            self.settings.delay_notice_at(message.accepted)
        };
        // Even "never" is a wake-up for what is ready or waiting: there is exactly one each.
        retry.min(expiry).min(notice).min(Tick(i64::MAX - 1))
    }

    pub(super) fn wake(&mut self, who: Sleeper, at: Tick) {
        let Self {
            wakeups,
            parts,
            lanes,
            ..
        } = self;
        let position = match who {
            Sleeper::Part(index) => parts[index].wakeup,
            Sleeper::Lane(index) => lanes[index].wakeup,
        };
        let placed = |who, position| match who {
            Sleeper::Part(index) => parts[index].wakeup = position,
            Sleeper::Lane(index) => lanes[index].wakeup = position,
        };
        if at == Tick::NEVER {
            wakeups.remove(position, placed);
        } else {
            wakeups.set(who, position, at, placed);
        }
    }

    /// Handles a wake-up that has come.
    pub(super) fn rouse(&mut self, now: Tick, sleeper: Sleeper, decisions: &mut Decisions) {
        let index = match sleeper {
            Sleeper::Part(index) => index,
            Sleeper::Lane(index) => {
                self.wake(sleeper, Tick::NEVER);
                self.lanes[index].gate = Gate::Probing;
                self.lanes[index].rests = false;
                trial::saw("lane", "probing");
                self.announce(index);
                self.forget_idle_lane(index);
                return;
            }
        };
        let message = self.parts[index].message;
        let accepted = self.messages[message].accepted;
        if now >= self.settings.expires_at(accepted) {
            self.fail_part(index, None, decisions);
            self.conclude(now, message, decisions);
            return;
        }
        if now >= self.settings.delay_notice_at(accepted) {
            self.give_delay_notice(message, decisions);
        }
        let due = self.parts[index].state == State::Waiting && self.parts[index].due <= now;
        if due {
            self.lanes[self.parts[index].lane].expect(now);
            self.move_part(index, State::Ready);
        } else {
            self.wake(sleeper, self.wakeup_of(index));
        }
    }
}
