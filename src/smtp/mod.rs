//! SMTP: the sessions of both sides, without I/O.

#![forbid(unsafe_code)]

pub mod client;
pub mod command;
pub mod dialogue;
pub mod extension;
pub mod proxy;
pub mod reply;
pub mod server;

#[cfg(test)]
mod tests;
