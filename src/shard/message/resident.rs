//! Messages kept in memory from their acceptance to their first attempt, so that mail which goes
//! straight through is never read back from the disk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::Message;
use crate::mail::envelope::QueueId;
use crate::shard::life::budget::{Budget, Charge};

/// The messages in memory of a shard.
#[derive(Default)]
pub(in crate::shard) struct Resident {
    messages: RefCell<HashMap<QueueId, (Rc<Message>, Charge)>>,
}

impl Resident {
    /// Keeps a message while the budget is not half used: beyond that, memory is for those who
    /// are just arriving.
    pub(in crate::shard) fn keep(&self, budget: &Budget, message: &Rc<Message>) {
        if budget.is_ample() {
            let charge = budget.charge(message.resident_octets());
            self.messages
                .borrow_mut()
                .insert(message.id, (Rc::clone(message), charge));
        }
    }

    /// The message, if it is here.
    pub(in crate::shard) fn find(&self, id: QueueId) -> Option<Rc<Message>> {
        let messages = self.messages.borrow();
        messages.get(&id).map(|(message, _)| Rc::clone(message))
    }

    /// It is settled, or waits for long.
    pub(in crate::shard) fn forget(&self, id: QueueId) {
        self.messages.borrow_mut().remove(&id);
    }
}
