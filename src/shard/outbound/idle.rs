//! Connections that have no mail at the moment, by lane. The one that was busy last is woken
//! first, so that those not needed grow old and end.

use std::cell::RefCell;
use std::collections::HashMap;

use futures_channel::oneshot;
use futures_lite::future;

use crate::queue::LaneKey;
use crate::world::{Tick, World};

/// The idle connections of a shard.
#[derive(Default)]
pub(in crate::shard) struct Idle {
    waiting: RefCell<HashMap<LaneKey, Vec<oneshot::Sender<()>>>>,
}

impl Idle {
    /// Wakes one connection of `lane`; false when none waits.
    pub(super) fn wake(&self, lane: LaneKey) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some(line) = waiting.get_mut(&lane) else {
            return false;
        };
        let woken = loop {
            match line.pop() {
                Some(sleeper) => {
                    if sleeper.send(()).is_ok() {
                        break true;
                    }
                }
                None => break false,
            }
        };
        if line.is_empty() {
            waiting.remove(&lane);
        }
        woken
    }

    /// Waits to be woken; false when `until` came first, or `end` did.
    pub(super) async fn wait<W: World>(
        &self,
        world: &W,
        lane: LaneKey,
        until: Tick,
        end: impl Future<Output = ()>,
    ) -> bool {
        let (wake, woken) = oneshot::channel();
        self.waiting
            .borrow_mut()
            .entry(lane)
            .or_default()
            .push(wake);
        let woken = async { woken.await.is_ok() };
        let over = async {
            future::or(world.sleep(until), end).await;
            false
        };
        let was_woken = future::or(woken, over).await;
        if !was_woken {
            self.tidy(lane);
        }
        was_woken
    }

    /// Forgets those who wait no more.
    fn tidy(&self, lane: LaneKey) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(line) = waiting.get_mut(&lane) {
            line.retain(|sleeper| !sleeper.is_canceled());
            if line.is_empty() {
                waiting.remove(&lane);
            }
        }
    }
}
