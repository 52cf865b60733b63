//! How much a mailbox may hold, and how much it does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{FolderError, FolderName};
use crate::time::Tick;

/// What a mailbox may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Octets of all messages with CRLF.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// What a mailbox holds, and may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets of all messages with CRLF.
    pub octets: u64,
    /// Messages.
    pub messages: u64,
    /// The limit.
    pub limit: Limit,
}

impl Quota {
    /// Is there room for so much more?
    pub fn admit(&self, octets: u64, messages: u64) -> Result<(), FolderError> {
        let over = |used: u64, more: u64, limit: Option<u64>| {
            limit.is_some_and(|limit| used.saturating_add(more) > limit)
        };
        if over(0, octets, self.limit.octets) {
            return Err(FolderError::TooLarge);
        }
        if over(self.octets, octets, self.limit.octets)
            || over(self.messages, messages, self.limit.messages)
        {
            return Err(FolderError::OverQuota);
        }
        Ok(())
    }
}

/// What one folder holds, also while it is not open.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) octets: Cell<u64>,
    pub(super) messages: Cell<u64>,
}

/// Room that was given to messages which are not counted yet: two at the same moment must not get
/// the same room.
#[derive(Debug, Default)]
pub(super) struct Promises {
    open: RefCell<Vec<Promise>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    made: Tick,
    octets: u64,
    messages: u64,
}

impl Promises {
    /// The messages are counted now, or come no more.
    pub(super) fn settle(&self, octets: u64, messages: u64) {
        let mut open = self.open.borrow_mut();
        let mut promises = open.iter();
        // Any that is as large: it is their sum that counts.
        let same = |one: &Promise| (one.octets, one.messages) == (octets, messages);
        if let Some(place) = promises.position(same) {
            open.swap_remove(place);
        }
    }

    /// Whoever was promised room before `oldest` will not come back.
    pub(super) fn forget(&self, oldest: Tick) {
        self.open.borrow_mut().retain(|one| one.made > oldest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }
}

/// What all folders of a user hold together.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    pub(super) limit: Limit,
    pub(super) folders: RefCell<BTreeMap<FolderName, Rc<Figures>>>,
    pub(super) promises: Rc<Promises>,
}

impl Allowance {
    pub(super) fn quota(&self) -> Quota {
        let mut quota = Quota {
            limit: self.limit,
            ..Quota::default()
        };
        for figures in self.folders.borrow().values() {
            quota.octets += figures.octets.get();
            quota.messages += figures.messages.get();
        }
        quota
    }

    /// Promises room, where there is enough beside what was promised before. It is to be settled.
    pub(super) fn promise(
        &self,
        made: Tick,
        octets: u64,
        messages: u64,
    ) -> Result<(), FolderError> {
        let mut quota = self.quota();
        let mut open = self.promises.open.borrow_mut();
        for promise in &*open {
            quota.octets += promise.octets;
            quota.messages += promise.messages;
        }
        quota.admit(octets, messages)?;
        if self.limit != Limit::default() {
            open.push(Promise {
                made,
                octets,
                messages,
            });
        }
        Ok(())
    }

    /// The figures of a folder.
    pub(super) fn of(&self, name: &FolderName) -> Rc<Figures> {
        Rc::clone(self.folders.borrow_mut().entry(name.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_full_and_what_never_fits_is_too_large() {
        let mut quota = Quota {
            octets: 90,
            messages: 9,
            limit: Limit {
                octets: Some(100),
                messages: Some(10),
            },
        };
        assert!(quota.admit(10, 1).is_ok());
        assert!(matches!(quota.admit(11, 1), Err(FolderError::OverQuota)));
        assert!(matches!(quota.admit(1, 2), Err(FolderError::OverQuota)));
        assert!(matches!(quota.admit(101, 1), Err(FolderError::TooLarge)));
        quota.limit = Limit::default();
        assert!(quota.admit(u64::MAX, u64::MAX).is_ok());
    }

    #[test]
    fn room_is_promised_once() {
        let allowance = Allowance {
            limit: Limit {
                octets: Some(100),
                messages: None,
            },
            ..Allowance::default()
        };
        let at = Tick::NEVER;
        let promise = |octets| allowance.promise(at, octets, 1).is_ok();
        assert!(promise(60) && !promise(60) && promise(40) && !promise(1));
        allowance.promises.settle(60, 1);
        assert!(promise(60) && !promise(1));
        allowance.promises.forget(at);
        assert!(promise(100), "those who do not come back hold nothing");
    }
}
