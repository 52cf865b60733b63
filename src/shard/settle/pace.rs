//! How many reports one sender gets. Mail that was sent in somebody's name, by a program that may relay here, fails
//! by the thousand, and that somebody never sent it: what they get in return is bounded.

use std::collections::HashMap;
use std::time::Duration;

use crate::world::Tick;

/// The reports of the hour, by sender.
#[derive(Default)]
pub(in crate::shard) struct Pace {
    began: Option<Tick>,
    sent: HashMap<Box<str>, u32>,
}

/// When a report goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// Later, and it is the first of this hour: that is worth a line in the log.
    FirstLater,
    Later,
}

impl Pace {
    /// Counts a report to `sender`, of whom `most` go in an hour.
    pub(super) fn turn(&mut self, now: Tick, sender: &str, most: u32) -> Turn {
        if self.began.is_none_or(|began| now.since(began) >= HOUR) {
            self.began = Some(now);
            self.sent.clear();
        }
        // Senders beyond those that are remembered share one count: memory is bounded too.
        let is_known = self.sent.contains_key(sender) || self.sent.len() < SENDERS_MAX;
        let key = if is_known { sender } else { "" };
        if !self.sent.contains_key(key) {
            self.sent.insert(key.into(), 0);
        }
        let Some(sent) = self.sent.get_mut(key) else {
            return Turn::Now;
        };
        *sent = sent.saturating_add(1);
        match *sent {
            sent if sent <= most => Turn::Now,
            sent if sent == most + 1 => Turn::FirstLater,
            _ => Turn::Later,
        }
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Senders whose reports are counted apart; some 100 octets each.
const SENDERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_gets_so_many_in_an_hour_and_others_are_not_touched() {
        use Turn::{FirstLater, Later, Now};
        let (mut pace, start) = (Pace::default(), Tick(0));
        let many = (0..5).map(|_| pace.turn(start, "a@c.test", 3));
        assert_eq!(many.collect::<Vec<_>>(), [Now, Now, Now, FirstLater, Later]);
        assert_eq!(pace.turn(start, "b@c.test", 3), Now);
        let nearly = start + (HOUR - Duration::from_secs(1));
        assert_eq!(pace.turn(nearly, "a@c.test", 3), Later);
        assert_eq!(pace.turn(start + HOUR, "a@c.test", 3), Now);
    }

    #[test]
    fn senders_beyond_those_remembered_share_one_count() {
        let (mut pace, now) = (Pace::default(), Tick(0));
        for number in 0..SENDERS_MAX {
            assert_eq!(pace.turn(now, &format!("{number}@c.test"), 1), Turn::Now);
        }
        let strangers = ["x@c.test", "y@c.test"].map(|sender| pace.turn(now, sender, 1));
        assert_eq!(strangers, [Turn::Now, Turn::FirstLater]);
        assert!(pace.sent.len() <= SENDERS_MAX + 1);
    }
}
