//! Black-box tests: the binary, real sockets, and a world that misbehaves.
//!
//! One file for each theme; every test is named after what the peer or the world did. They all
//! live in one program, so that they link once and run side by side.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these rules are for shards; here threads wait, share and fail"
)]
#![allow(unreachable_pub, reason = "nothing links to a test program")]

mod support;

mod alias;
mod auth;
mod bounces;
mod client_certificates;
mod commands;
mod confine;
mod dane;
mod delivery;
mod dialogue;
mod events;
mod explain;
mod folder_model;
mod handover;
mod house;
mod imap;
mod imap_model;
mod inject;
mod json;
mod life;
mod limits;
mod mailbox;
mod mx;
mod oauth;
mod paces;
#[cfg(feature = "sim")]
mod panics;
mod pools;
mod pop3;
mod preflight;
mod proxy;
mod relaying;
mod reload;
mod reports;
mod requiretls;
mod returns;
mod routes;
mod schedule;
mod sendmail;
mod shards;
mod signing;
mod smarthost;
mod sts;
mod support_works;
mod suppressions;
mod tenants;
mod tls;
mod tls_peers;
mod tlsrpt;
mod verify;
mod warmup;
