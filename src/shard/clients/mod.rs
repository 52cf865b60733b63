//! Clients, whatever they speak: how they come in, how many there are of them, and who they are.

pub(super) mod buffers;
pub(super) mod connection;
pub(super) mod door;
pub(super) mod login;
mod regulars;
pub mod suspects;
pub(super) mod talkers;
pub mod tenants;
pub mod visitors;
