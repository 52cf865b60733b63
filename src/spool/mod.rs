//! One log on disk for each shard: what was accepted, and what became of it.
//!
//! ```text
//!  accept ──┐                      ┌─ write, fdatasync ─► a Receipt for each waiter
//!  accept ──┼─► the open batch ─►──┤   (meanwhile the next batch gathers)
//!  note   ──┘                      └─ notes ride along, and need no sync of their own
//! ```
//!
//! Segments are used in order and dropped in order: the oldest one when no message in it is
//! waiting any more. `tend` moves the last few out of the way. The format is in
//! [`crate::manual::spool`].

mod adopt;
pub mod check;
mod codec;
mod extent;
mod layout;
pub mod log;
mod names;
pub mod record;
pub mod recover;
mod segment;
mod state;
mod stray;
mod sums;
mod tend;
#[cfg(test)]
mod tests;
mod writer;

pub use layout::{FORMAT, OpenError};
pub use names::remember_last_id;
