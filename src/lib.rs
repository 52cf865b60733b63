//! Ringpost: a thread-per-core outbound mail relay on io_uring.
//!
//! The modules below stand in the order in which they depend on each other: a module may use
//! those above it, never those below (`tidy` checks it). The protocol cores (`wire`, `mail`,
//! `smtp`, `pop3`, `queue`, `route`, `spool::record`, `mailbox::index`) do no I/O, read no clock and
//! contain no `async`.
//!
//! Start with [`manual`]: it tells a message's way through the rooms, file by file.

pub mod manual;

pub mod time;

pub mod wire;

pub mod mail;

pub mod imap;
pub mod pop3;
pub mod queue;
pub mod route;
pub mod smtp;

pub mod dkim;
pub mod preflight;
pub mod verify;

pub mod world;

pub mod tls;
pub mod users;

pub mod observe;

pub mod config;
pub mod spool;

pub mod mailbox;

pub mod shard;

pub mod maildrop;

pub mod control;
pub mod service;
pub mod sim;
pub mod uring;

pub mod serve;

pub mod cli;

#[cfg(test)]
mod tidy;
