//! Connections to a destination, exact over all shards: the shard's side of the lease.
//!
//! A destination's count is kept by its home shard ([`Mesh::home`]) in a
//! [`permits::Home`](crate::queue::permits::Home). Here a delivery asks for a permit, waits for
//! its grant, holds it as long as its connection lives, and gives it back by dropping it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use futures_channel::oneshot;

use super::mesh::{Letter, Mesh, PermitWord};
use crate::queue::permits::{Home, Word};

/// The permits of one shard.
pub struct Permits {
    inner: Rc<Inner>,
}

struct Inner {
    mesh: Rc<Mesh>,
    /// Counts of the destinations that are at home here.
    home: RefCell<Home>,
    waiting: RefCell<HashMap<u64, Waiting>>,
}

/// The deliveries of this shard that wait for one destination.
#[derive(Default)]
struct Waiting {
    line: VecDeque<oneshot::Sender<Permit>>,
    /// Permits that other shards wait for and that are to be given back when one is free.
    recalled: Rc<Cell<u32>>,
    held: u32,
}

/// Leave for one connection. Dropped, it goes back to the destination's home.
pub struct Permit {
    inner: Rc<Inner>,
    destination: u64,
    recalled: Rc<Cell<u32>>,
}

impl Permit {
    /// True when another shard waits for a permit of this destination: end this connection after
    /// the message in hand.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        self.recalled.get() > 0
    }
}
