//! The end of the relay, told while it lasts: to the terminal or the log, and to the service manager.

use super::Current;
use super::manager::Manager;
use crate::progress::{Meter, Seen};

/// Who is still inside, as whoever waits for the end sees it.
pub(super) struct Leaving {
    meter: Meter,
    /// The most that were inside since the end began.
    all: u64,
}

impl Default for Leaving {
    fn default() -> Self {
        Self {
            meter: Meter::new("ending", "connections gone"),
            all: 0,
        }
    }
}

impl Leaving {
    pub(super) fn look(&mut self, current: &Current, manager: &mut Manager) {
        let inside = current.directory.inside();
        self.all = self.all.max(inside);
        let seen = Seen {
            done: self.all - inside,
            all: self.all,
        };
        current.tell_step(self.meter.look(seen));
        manager.leaving(self.meter.words(seen).to_string());
    }
}
