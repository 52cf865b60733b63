//! # The spool, octet by octet
//!
//! What Ringpost has accepted stands under `data_dir/spool` until it is settled. This page is for
//! whoever reads it with other tools, or changes it: everything here is fixed by the version that
//! `FORMAT` names. A program that finds another version says so, and changes nothing.
//!
//! ## Files
//!
//! ```text
//! spool/FORMAT                    "ringpost spool 1\n"
//! spool/00/                       shard 0, in decimal
//!     0000000000000001.log        a segment of its log, by number, in hexadecimal
//!     0F1ZQ2M7T8K4X.msg           the content of a large message, by queue id
//!     0000000000000001.spare      a segment's file that waits to be used again
//!     0000000000000002.damaged    a segment that could not be read in full, and is done with
//!     ADOPTED                     the messages of this directory are elsewhere
//! spool/07.last                   the last queue id that a shard 7 gave out before it was gone
//! spool/07.00/                    what shard 7, which is gone, left, while shard 0 takes it over
//! spool/07.00.damaged/            what was left of it when not all could be read, and is done with
//! ```
//!
//! Segments are written in the order of their numbers and dropped in that order, so that no record
//! that settles something is dropped before what it settles. A dropped segment's file becomes a
//! spare: blocks that exist already make the next fdatasync cheap.
//!
//! ## A segment
//!
//! All numbers are little-endian. A header of 48 octets:
//!
//! | at | octets | |
//! |---|---|---|
//! | 0 | 8 | `RINGPOST` |
//! | 8 | 2 | the shard |
//! | 10 | 2 | 0 |
//! | 12 | 4 | the segment's number |
//! | 16 | 4 | its salt, drawn at random |
//! | 20 | 4 | the salt of the segment before it |
//! | 24 | 8 | where the segment before it ends |
//! | 32 | 8 | the last queue id given out |
//! | 40 | 4 | CRC-32C of the octets before |
//! | 44 | 4 | 0 |
//!
//! Then records, one behind the other, and zeros or octets of a former use of the file behind the
//! last. A record:
//!
//! | at | octets | |
//! |---|---|---|
//! | 0 | 4 | octets of the payload |
//! | 4 | 1 | the kind |
//! | 5 | 4 | the segment's number |
//! | 9 | 4 | CRC-32C of the nine octets before and of the payload, begun with the segment's salt |
//! | 13 | | the payload |
//!
//! The number and the salt keep a former use of the file, and octets that somebody sent by mail,
//! from being read as records.
//!
//! ## Payloads
//!
//! *text* is a `u16` and so many octets of UTF-8; where it is optional, empty is none. *octets* is
//! a `u32` and so many octets. *places* is a `u16` and so many `u16`, each a recipient by its
//! place in the envelope, from 0. An *id* is a `u64`: seconds since 1970 in 34 bits, the shard in
//! 10, a count in 20. A *time* is an `i64` of microseconds since 1970. A *diagnosis* is an enhanced
//! status code (`u8`, `u16`, `u16`), our words (text), the peer's reply (optional text) and the
//! peer's name (optional text).
//!
//! **1, accepted.** id; time of arrival; flags (`u32`); octets of the content (`u64`); its longest
//! line (`u32`); its Received fields (`u32`); octets of its header (`u32`); Message-ID (optional
//! text); reverse-path (text, empty is null); ENVID (optional text); with flag 4096 tenant and tag (optional texts) and priority
//! (`u8`: 0 normal, 1 high, 2 low; with 16 its MT-PRIORITY, `i8`, behind it); recipients (`u16`), and for
//! each forward-path (text), ORCPT (optional text), NOTIFY (`u8`: 1 given, 2 success, 4 failure,
//! 8 delay; 16 is an alias whose addresses elsewhere stand beside it); with flag 2, what it reports
//! on: id, kind (`u8`: 1 failure, 2 delay, 3 success), places; our trace fields (octets); the
//! content (octets), or with flag 1 its length (`u64`) in a file of its own.
//!
//! | flag | |
//! |---|---|
//! | 1 | the content is in a `.msg` file |
//! | 2 | it is a report; one of kind 1 settles the places it names |
//! | 4 | SMTPUTF8 |
//! | 8 | BODY=8BITMIME |
//! | 16, 32 | RET=FULL, RET=HDRS |
//! | 64 | some line begins with a dot: the content has the dots doubled |
//! | 128, 256 | octets over 127 in its body, in its header |
//! | 512 | it has a Date field |
//! | 1024 | REQUIRETLS |
//! | 2048 | its header says TLS-Required: No |
//! | 4096 | it has a tenant, a tag, a priority or an MT-PRIORITY |
//!
//! **2, settled.** id; place (`u16`); `u8`: 1 delivered, 2 failed, 3 removed by an operator.
//!
//! **3, deferred.** id; places; attempts counted (`u16`); time of the next; `u8`: 1 when an attempt
//! may have delivered it; diagnosis.
//!
//! **4, held.** id; `u8`: 1 held, 0 not any more.
//!
//! **5, delay told.** id: the sender knows that it waits.
//!
//! **6, moved.** A message written again, so that an old segment can be dropped, with all that is
//! known of it in the same record: `u8`: 1 held, 2 removed, and with 2 the time until when it can be
//! put back; `u16` recipients, and for each `u8` flags (1
//! settled, and then nothing more; 2 may be delivered; 4 delay told; 8 has a time; 16 has a
//! diagnosis), attempts (`u16`), with flag 8 the time of the next, with flag 16 the diagnosis; then
//! as in 1.
//!
//! **8, removed.** id; the time until when an operator can put it back, or 0: it was put back.
//!
//! **7, void.** What could not be read once, and is not complained of again.
//!
//! ## Reading it
//!
//! Records are applied in their order. A message is waiting while some recipient is not settled. A
//! checksum that is wrong ends the last segment (a write that a crash cut off: nobody was told 250
//! for it) unless whole records follow, which are read; in an earlier segment, whose end the next
//! one knows, it is damage, and the records around it are read. `ringpost spool check` tells what
//! it finds, and changes nothing.
