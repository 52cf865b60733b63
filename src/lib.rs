//! Ringpost: a thread-per-core mail relay on io_uring.
//!
//! The modules below stand in the order in which they depend on each other: a module may use
//! those above it, never those below (`tidy` checks it). The cores do no I/O, read no clock and
//! contain no `async`; of `spool` and `mailbox` that holds for the files that `tidy` lists.
//!
//! Start with [`manual::architecture`]: it tells a message's way through the rooms, file by file.

pub mod manual;

// What everybody may use.
pub mod file;
pub mod progress;
pub mod rolling;
pub mod time;
pub mod trial;
pub mod turns;

// Plain data, and the cores: protocols and decisions.
pub mod wire;

pub mod mail;

pub mod bounces;
pub mod imap;
pub mod pop3;
pub mod queue;
pub mod route;
pub mod smtp;

// What is proved of a message: our signature, other people's, the rules of large receivers.
pub mod dkim;
pub mod preflight;
pub mod verify;

// The seam to everything outside: two worlds below are behind it.
pub mod world;

pub mod tls;
pub mod users;

pub mod observe;
pub mod suppress;

pub mod config;

// Drivers over `world`: files, then whole shards.
pub mod spool;

pub mod mailbox;

pub mod shard;

// The process around the shards.
pub mod confine;
pub mod maildrop;

pub mod control;
pub mod service;
pub mod sim;
pub mod uring;

pub mod serve;

pub mod cli;

#[cfg(test)]
mod tidy;
