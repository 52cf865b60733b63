//! SMTP: the sessions of both sides, without I/O.

pub mod client;
pub mod extension;
pub mod reply;
