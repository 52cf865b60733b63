//! Changing Ringpost: where a change begins, and what it must hold to.
//!
//! # Where to begin
//!
//! | To add | begin in | and then |
//! |---|---|---|
//! | a configuration key | `config::keys` (its text is `ringpost config`) | the field and its default in `config`, a fault in `config::tests` |
//! | a table of the configuration, or a key that needs a restart | the same | `config::changes` keeps what needs one as it is |
//! | an address of the control plane | `control` | its description in `control::openapi`, its line in `control::page` |
//! | a command of the program | `cli` | what it asks a relay: `observe::ask`, `control`, `shard::mesh::answer` |
//! | an SMTP command or extension | `smtp::command`, `smtp::extension` | `smtp::server` or `smtp::client`, its driver in `shard::inbound` or `shard::outbound` |
//! | an IMAP command | `imap::read` | `shard::retrieve::imap`, one file for each kind of command |
//! | a demand on a host's TLS | `shard::hosts::demand` | `shard::hosts::secure`, `tls` |
//! | a record of the spool | `spool::record` | `spool::state`, [`super::spool`] |
//! | a stage with a histogram | `observe::stage` | where it begins and where it ends |
//! | a question to the service thread | `service` | a future on its [`Desk`](crate::service::Desk); a shard never waits for it without a bound |
//! | something a peer does wrong | a test with the name of what it does | `sim::peers` or `tests/blackbox/support` |
//!
//! With it go a line in CHANGELOG.md, a paragraph here in the manual, and a row in [`super::rfc`].
//!
//! # What holds everywhere
//!
//! - A module uses those above it in `src/lib.rs`, never those below. Cores have no I/O, no clock and
//!   no `async`; drivers reach the world through [`World`](crate::world::World) alone, so the simulator
//!   can follow them. `tidy` checks both, and the lengths of files (800 lines) and functions (70).
//! - No lock, nothing that blocks a shard, no panic outside of tests; `unsafe` in `uring` only. What
//!   takes long is done in steps, with a turn for others between them.
//! - Whatever a peer can make grow has a bound, named as a constant at the end of its file.
//! - No borrow of a shard's state is held across an `await`.
//! - Names are those of the RFCs; what the RFCs have no word for is in [`super::architecture`].
//!
//! # Trying it
//!
//! | | |
//! |---|---|
//! | `cargo test --lib smtp::` | the tests of a module; those of a core take milliseconds |
//! | `cargo test --lib sim` | whole relays with power cuts and slow peers; `RINGPOST_SEED=n` repeats a run, `RINGPOST_TELL=1` shows its log, `--features sim` tries fifty times the seeds |
//! | `cargo test --lib every_bug -- --nocapture` | that those tests bite: each bug of `trial`, and after how many runs it was found |
//! | `cargo test --lib every_fault -- --nocapture` | which faults struck how often, which states the queue came through |
//! | `cargo test --features sim --test blackbox panics` | the binary, with tasks that panic |
//! | `cargo test --test blackbox pop3` | the binary, with sockets and a scripted DNS |
//! | `scripts/fuzz --guided --minutes 1 pop3` | a fuzz target for a minute |
//! | `RINGPOST=target/debug/ringpost scripts/interop NAME` | another mail program against a debug build |
//! | `RINGPOST=target/debug/ringpost scripts/attack garbage` | one kind of hostile peer, and what others notice of it |
//! | `scripts/check fast` | what must hold before a change goes in; without `fast` what the CI runs |
