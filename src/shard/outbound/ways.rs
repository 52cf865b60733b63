//! How each lane's mail travels. When a reload changes the routes, mail that waits in a lane
//! moves to another at its next attempt ([`super::attempt::Attempt::reroute`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::queue::Queue;
use crate::route::{How, NextHop};

/// How a lane's mail travels, and by which pool of sources.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) how: How,
    pub(super) pool: Option<Rc<str>>,
}

/// The ways of a shard's lanes.
#[derive(Default)]
pub(in crate::shard) struct Ways {
    ways: RefCell<HashMap<Rc<str>, Way>>,
}

impl Ways {
    /// Remembers a next hop and gives the name of its lane.
    pub(in crate::shard) fn learn(&self, queue: &Queue, hop: NextHop) -> Rc<str> {
        let mut ways = self.ways.borrow_mut();
        if let Some((known, _)) = ways.get_key_value(&hop.lane) {
            return Rc::clone(known);
        }
        if ways.len() >= TIDY_AT && ways.len() >= 2 * queue.lane_count() {
            ways.retain(|lane, _| queue.has_lane(lane));
        }
        let NextHop { lane, how, pool } = hop;
        ways.insert(Rc::clone(&lane), Way { how, pool });
        lane
    }

    /// The way of a lane.
    pub(super) fn find(&self, lane: &str) -> Option<Way> {
        self.ways.borrow().get(lane).cloned()
    }
}

/// From here on the ways of lanes that are gone are forgotten.
const TIDY_AT: usize = 4096;
