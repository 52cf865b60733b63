//! Buffers that nobody uses at the moment: a small message comes and goes without allocating one.
//!
//! A connection has a small one between commands and a larger one while content comes in; the content
//! gathers in another, and what stands before it in a third, until the message is delivered.

use std::cell::RefCell;

/// The spare buffers of a shard.
#[derive(Default)]
pub(in crate::shard) struct Buffers {
    /// To receive into: full length.
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    /// To gather in: empty.
    contents: RefCell<Vec<Vec<u8>>>,
    traces: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer of this length. What stands in it is of no meaning.
    pub(super) fn take(&self, len: usize) -> Vec<u8> {
        let spare = self.kind(len).and_then(|kind| kind.borrow_mut().pop());
        spare.unwrap_or_else(|| vec![0; len])
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        if let Some(kind) = self.kind(buffer.len()) {
            let mut kind = kind.borrow_mut();
            if kind.len() < SPARES_MAX {
                kind.push(buffer);
            }
        }
    }

    /// An empty buffer with room for so many octets.
    pub(in crate::shard) fn take_empty(&self, room: usize) -> Vec<u8> {
        let spare = self.empty_kind(room);
        let spare = spare.and_then(|kind| kind.borrow_mut().pop());
        spare.unwrap_or_else(|| Vec::with_capacity(room))
    }

    /// Takes one back, whatever is in it.
    pub(in crate::shard) fn give_filled(&self, mut buffer: Vec<u8>) {
        if let Some(kind) = self.empty_kind(buffer.capacity()) {
            let mut kind = kind.borrow_mut();
            if kind.len() < SPARES_MAX {
                buffer.clear();
                kind.push(buffer);
            }
        }
    }

    fn empty_kind(&self, room: usize) -> Option<&RefCell<Vec<Vec<u8>>>> {
        match room {
            TRACE_OCTETS => Some(&self.traces),
            FIRST_BUFFER_OCTETS => Some(&self.contents),
            _ => None,
        }
    }

    fn kind(&self, len: usize) -> Option<&RefCell<Vec<Vec<u8>>>> {
        match len {
            LINE_BUFFER_OCTETS => Some(&self.small),
            FIRST_BUFFER_OCTETS => Some(&self.large),
            _ => None,
        }
    }
}

/// The buffer of a session between messages: most commands are short, most sessions idle.
pub(super) const LINE_BUFFER_OCTETS: usize = 1024;
/// The buffer when content begins: most messages fit.
pub(in crate::shard) const FIRST_BUFFER_OCTETS: usize = 4 * 1024;
/// The trace fields of most messages fit.
pub(in crate::shard) const TRACE_OCTETS: usize = 256;
/// Spare buffers of each kind: as many as change hands at once. They take 592 KiB at the most.
const SPARES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_the_two_usual_lengths_come_back() {
        let buffers = Buffers::default();
        for len in [LINE_BUFFER_OCTETS, FIRST_BUFFER_OCTETS] {
            let mut buffer = buffers.take(len);
            buffer[0] = 1;
            buffers.give(buffer);
            let again = buffers.take(len);
            assert_eq!((again.len(), again[0]), (len, 1), "the same one");
            assert_eq!(buffers.take(len)[0], 0, "there was one only");
        }
        buffers.give(vec![1; 5000]);
        assert_eq!(buffers.take(5000), vec![0; 5000], "others are not kept");
    }

    #[test]
    fn content_leaves_its_buffer_and_nothing_of_itself() {
        let buffers = Buffers::default();
        let mut content = buffers.take_empty(FIRST_BUFFER_OCTETS);
        content.extend(b"secret");
        let place = content.as_ptr();
        buffers.give_filled(content);
        let again = buffers.take_empty(FIRST_BUFFER_OCTETS);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        buffers.give_filled(Vec::with_capacity(3 * FIRST_BUFFER_OCTETS));
        assert!(buffers.contents.borrow().is_empty(), "large ones go");
    }

    #[test]
    fn no_more_are_kept_than_a_shard_may_spare() {
        let buffers = Buffers::default();
        for _ in 0..2 * SPARES_MAX {
            buffers.give(vec![0; LINE_BUFFER_OCTETS]);
        }
        assert_eq!(buffers.small.borrow().len(), SPARES_MAX);
    }
}
