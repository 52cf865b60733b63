//! What travels: envelopes, outcomes and reports. Plain data and pure functions.

#![forbid(unsafe_code)]

pub mod downgrade;
pub mod dsn;
pub mod envelope;
pub mod mark;
pub mod outcome;
pub mod rate;
pub mod received;
pub mod report;
pub mod tlsrpt;
pub mod verp;

use envelope::QueueId;

/// Something that proves a message is on stable storage. Only `spool::log::Receipt` implements it
/// (`tidy` checks), and only a finished fdatasync makes one of those: so it is the only way to a
/// 250 after the dot.
pub trait Committed {
    /// The message that is safe.
    fn queue_id(&self) -> QueueId;
}

/// Where a message stands in its shard's spool. Opaque to everyone but `spool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Locator {
    /// The segment's sequence number.
    pub segment: u32,
    /// Octets of the record.
    pub len: u32,
    /// The record's position in the segment.
    pub offset: u64,
}
