//! POP3 (RFC 1939), the server's side, without I/O.

pub mod command;
pub mod reply;
pub mod session;
pub mod unique_id;
