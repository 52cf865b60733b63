//! Black-box tests: the binary, real sockets, and a world that misbehaves.
//!
//! One file for each theme; every test is named after what the peer or the world did. They all
//! live in one program, so that they link once and run side by side.

mod support;

mod commands;
mod delivery;
mod dialogue;
mod life;
mod mx;
mod reports;
mod routes;
mod schedule;
mod support_works;
