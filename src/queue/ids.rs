//! Messages by their id: a table of indices alone. The id stands in the message already, and a
//! table is up to twice as large as what it holds: with ids in it, a waiting message took 25
//! octets more.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use crate::mail::envelope::QueueId;

use super::part::Message;
use super::slab::Slab;

/// Every message of the slab is named once, as long as each is inserted and removed here too.
#[derive(Debug)]
pub(super) struct Ids {
    indices: HashTable<u32>,
    hasher: RandomState,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self {
            indices: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    /// Ids the message at `index`, which is in the slab.
    pub(super) fn insert(&mut self, index: u32, messages: &Slab<Message>) {
        let hasher = &self.hasher;
        let hash = |index: &u32| hasher.hash_one(messages[*index].id);
        self.indices.insert_unique(hash(&index), index, hash);
    }

    pub(super) fn find(&self, id: QueueId, messages: &Slab<Message>) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        let is_it = |index: &u32| messages[*index].id == id;
        self.indices.find(hash, is_it).copied()
    }

    /// Takes a name out. The message is still in the slab.
    pub(super) fn remove(&mut self, id: QueueId, messages: &Slab<Message>) {
        let hash = self.hasher.hash_one(id);
        let is_it = |index: &u32| messages[*index].id == id;
        if let Ok(entry) = self.indices.find_entry(hash, is_it) {
            entry.remove();
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn len(&self) -> usize {
        self.indices.len()
    }
}
