//! Storage with small keys: an index and the generation of its slot, so that a key kept too long
//! finds nothing instead of somebody else.

/// A key into a [`Slab`]: eight octets, never the same twice until a slot was used 2^32 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

/// Values under [`Key`]s. Inside the queue values refer to each other by the bare index, because
/// a message outlives its parts and a lane its parts.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots, used or not: indices stay below.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(NONE)
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize].value = Some(value);
            return index;
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(NONE);
        assert!(
            index < INDEX_MAX,
            "memory is budgeted long before two thousand million entries"
        );
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// The key of a used slot.
    pub(super) fn key(&self, index: u32) -> Key {
        Key {
            index,
            generation: self.slots[index as usize].generation,
        }
    }

    /// The index, if the key is still of this generation.
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        let slot = self.slots.get(key.index as usize)?;
        (slot.generation == key.generation && slot.value.is_some()).then_some(key.index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots
            .iter()
            .zip(0u32..)
            .filter_map(|(slot, index)| Some((index, slot.value.as_ref()?)))
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    /// For indices the queue itself keeps; `check_invariants` proves that they are never stale.
    fn index(&self, index: u32) -> &T {
        match self.get(index) {
            Some(value) => value,
            None => unreachable!("an index kept inside the queue names a used slot"),
        }
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        match self.get_mut(index) {
            Some(value) => value,
            None => unreachable!("an index kept inside the queue names a used slot"),
        }
    }
}

/// No index.
pub(super) const NONE: u32 = u32::MAX;
/// Indices stay below this: the top bit tells lanes from parts in the heap of wake-ups.
pub(super) const INDEX_MAX: u32 = 1 << 31;
