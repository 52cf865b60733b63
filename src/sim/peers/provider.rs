//! What a large provider makes of how much comes, and of whom it does not know.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::sim::random::Random;

/// A provider, shared by all of its hosts. The default one minds nothing.
#[derive(Clone, Default)]
pub struct Provider {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    manner: Manner,
    minute: u64,
    /// Messages begun in this minute.
    begun: u32,
    /// When recipients were first named, from each source.
    seen: HashMap<String, Duration>,
    counts: Counts,
}

/// How a provider is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It takes what comes.
    #[default]
    Patient,
    /// It takes so many messages in each minute, and hangs up on what is more.
    Throttles(u32),
    /// It takes a recipient only so long after the same source has named it first.
    Greylists(Duration),
    /// It refuses some recipients by policy, out of 1000.
    Refuses(u32),
    /// It knows so many of 1000 recipients.
    Knows(u32),
}

/// What it has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages begun.
    pub taken: u32,
    /// Messages that were too many.
    pub throttled: u32,
    /// Recipients that were to come later.
    pub greylisted: u32,
    /// Recipients that were refused.
    pub refused: u32,
}

impl Provider {
    /// From now on it is like that.
    pub fn set_manner(&self, manner: Manner) {
        self.inner.borrow_mut().manner = manner;
    }

    /// What it has said so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.borrow().counts
    }

    /// Its answer to MAIL, where that is no usual one; it hangs up then.
    pub(super) fn at_mail(&self, now: Duration) -> Option<&'static str> {
        let inner = &mut *self.inner.borrow_mut();
        if let Manner::Throttles(limit) = inner.manner {
            let minute = now.as_secs() / 60;
            if std::mem::replace(&mut inner.minute, minute) != minute {
                inner.begun = 0;
            }
            if inner.begun >= limit {
                inner.counts.throttled += 1;
                return Some("421 4.7.28 an unusual rate of mail from your address");
            }
            inner.begun += 1;
        }
        inner.counts.taken += 1;
        None
    }

    /// Its answer to RCPT, where that is no usual one: the code, and the words.
    pub(super) fn at_rcpt(
        &self,
        now: Duration,
        random: &Random,
        (source, recipient): (IpAddr, &str),
    ) -> Option<(u16, &'static str)> {
        let inner = &mut *self.inner.borrow_mut();
        match inner.manner {
            Manner::Patient | Manner::Throttles(_) => None,
            Manner::Greylists(wait) => {
                let pair = format!("{source} {recipient}");
                let first = *inner.seen.entry(pair).or_insert(now);
                (now < first + wait).then(|| {
                    inner.counts.greylisted += 1;
                    (450, "450 4.7.1 greylisted, try again in a minute")
                })
            }
            Manner::Knows(permille) => (!random.permille(permille)).then(|| {
                inner.counts.refused += 1;
                (550, "550 5.1.1 nobody of that name")
            }),
            Manner::Refuses(permille) => random.permille(permille).then(|| {
                inner.counts.refused += 1;
                (550, "550 5.7.1 refused by policy")
            }),
        }
    }
}
