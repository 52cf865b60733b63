//! How many sessions each user has. All of them run on the user's home shard, so it counts alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The users with sessions on this shard. Cloning shares them.
#[derive(Clone, Default)]
pub(in crate::shard) struct Lodgers {
    sessions: Rc<RefCell<HashMap<Rc<str>, usize>>>,
}

/// A counted session; dropped, it counts no more.
pub(super) struct Lodger {
    lodgers: Lodgers,
    user: Rc<str>,
}

impl Lodgers {
    /// Counts a session of `user`; `None` when there are `max` already.
    pub(super) fn enter(&self, user: &str, max: usize) -> Option<Lodger> {
        let user: Rc<str> = user.into();
        let mut sessions = self.sessions.borrow_mut();
        let count = sessions.entry(Rc::clone(&user)).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Lodger {
            lodgers: self.clone(),
            user,
        })
    }
}

impl Drop for Lodger {
    fn drop(&mut self) {
        let mut sessions = self.lodgers.sessions.borrow_mut();
        if let Some(count) = sessions.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_sessions_and_nothing_is_kept_of_those_who_have_left() {
        let lodgers = Lodgers::default();
        let first = lodgers.enter("ann@c.test", 2);
        let second = lodgers.enter("ann@c.test", 2);
        assert!(first.is_some() && second.is_some());
        assert!(lodgers.enter("ann@c.test", 2).is_none());
        assert!(lodgers.enter("bob@c.test", 1).is_some());
        drop(first);
        assert!(lodgers.enter("ann@c.test", 2).is_some());
        drop(second);
        assert!(lodgers.sessions.borrow().is_empty());
    }
}
