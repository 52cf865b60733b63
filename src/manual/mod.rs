//! The manual: how Ringpost is put together, set up and run.
//!
//! - [`architecture`]: a message's way, socket to socket, room by room.
//! - [`config`]: the configuration file, and what a reload changes.
//! - [`operations`]: starting, watching, steering, stopping; what each limit does when reached.
//! - [`capacity`]: what a message costs, what a machine carries, what ends first.
//! - [`mailboxes`]: users' mail on disk, octet by octet, and who gets what.
//! - [`promises`]: what is promised, what was done to it, and what came of that.
//! - [`spool`]: its files, octet by octet.
//! - [`changing`]: where a change begins, what it must hold to, how to try it.
//! - [`rfc`]: what is implemented, where, and where it is tested.
//!
//! A name like `wire::path` is the file `src/wire/path.rs`, or `mod.rs` in a folder of that
//! name.

pub mod architecture;
pub mod capacity;
pub mod changing;
pub mod config;
pub mod mailboxes;
pub mod operations;
pub mod promises;
pub mod rfc;
pub mod spool;
