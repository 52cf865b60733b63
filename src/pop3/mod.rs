//! POP3 (RFC 1939), the server's side, without I/O.

#![forbid(unsafe_code)]

pub mod command;
pub mod reply;
pub mod session;
pub mod unique_id;
