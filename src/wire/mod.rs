//! Octets and words: lines, dots, addresses, header fields, codes. No clock, no I/O, no `async`.

#![forbid(unsafe_code)]

pub mod codec;
pub mod dot;
pub mod header;
pub mod line;
pub mod path;
pub mod sieve;
pub mod status;
