//! (to be written)

pub mod client;
pub mod latency;
pub mod queue;
