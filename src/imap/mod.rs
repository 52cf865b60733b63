//! IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051), the server's side, without I/O.
//!
//! ```text
//! octets ─► frame ─► read (imap-codec) ─► Request ─► the driver, with: state, view, search, sort,
//!                                                    thread ─► write ─► octets
//! message ─► mime, decode (mail-parser) ─► section, envelope, structure ─► summary
//! ```

#![forbid(unsafe_code)]

pub mod capability;
pub mod decode;
pub mod envelope;
pub mod field;
pub mod frame;
pub mod mime;
pub mod pattern;
pub mod read;
pub mod search;
pub mod section;
pub mod sort;
pub mod state;
pub mod structure;
pub mod subject;
pub mod summary;
pub mod thread;
pub mod view;
pub mod words;
pub mod write;
