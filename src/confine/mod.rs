//! What the relay is to the kernel: a user of its own, no way back to more, and of the machine's files
//! only those that it needs.
//!
//! ```text
//! root ─► user, one capability ─► ports bound ─► no capability ─► writes: data only ─┬─► keeper: reads configuration
//!                                                                                    └─► every other thread: reads data only
//! ```
//!
//! All of it but the user is a matter of single threads, which hand it down to those that they start.
//! So it happens while the process has one thread, and the keeper, who reads anew what the
//! configuration names, is started between the last two steps. Code that a peer reaches runs in
//! the other threads. They share memory with the keeper: against an error in names or
//! links the last step holds, against foreign machine code in the process only those before it do.

mod files;
mod user;

use std::fmt;

use rustix::io;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

pub use files::{Places, reads, writes};
pub use user::{Owner, enter, follow, is_root};

/// Takes all capabilities away, and with them every way back to any.
pub fn give_up() -> io::Result<()> {
    thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    hold(none)
}

/// Leaves the calling thread these capabilities.
fn hold(kept: CapabilitySet) -> io::Result<()> {
    thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// How much of a wall stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wall {
    /// All of it.
    Whole,
    /// What this kernel knows of.
    Part,
    /// Nothing, and why.
    None(String),
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Part => f.write_str("as far as this kernel goes"),
            Self::None(why) => write!(f, "none: {why}"),
        }
    }
}
