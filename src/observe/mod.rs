//! What can be seen of a running relay: how long each stage takes, what is written to the log,
//! and what a shard answers when it is asked.

pub mod ask;
pub mod events;
pub mod explained;
pub mod follow;
pub mod history;
pub mod inject;
pub mod log;
pub mod orders;
pub mod secret;
pub mod stage;
