//! Octets and words: lines, dots, addresses, status codes. No clock, no I/O, no `async`.

pub mod path;
pub mod status;
