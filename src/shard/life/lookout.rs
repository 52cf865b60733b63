//! Looks out for mail that nothing will move, in the queue and beside it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::mail::envelope::QueueId;
use crate::observe::log::Level;
use crate::queue::watch::{PATIENCE, Watch, Why};
use crate::shard::Shard;
use crate::world::{Tick, World};

/// What is kept from look to look.
#[derive(Default)]
pub(in crate::shard) struct Lookout {
    watch: RefCell<Watch>,
    /// Messages of the spool that the queue does not know, and since when.
    strays: RefCell<HashMap<QueueId, Tick>>,
    /// When the spool was looked at last.
    looked: Cell<Tick>,
}

impl Lookout {
    /// Messages that are stuck, by reason.
    pub(in crate::shard) fn stuck(&self) -> Vec<(Why, u64)> {
        self.watch.borrow().stuck().collect()
    }
}

impl<W: World> Shard<W> {
    /// Looks at a part of the queue, and once a minute at what the spool holds beside it.
    pub(super) async fn look_out(self: &Rc<Self>) {
        let now = self.world.now();
        let (found, next) = {
            let mut queue = self.queue.borrow_mut();
            let found = queue.look(&mut self.lookout.watch.borrow_mut(), now);
            (found, queue.next_deadline())
        };
        for (id, why) in found {
            let why = why.words();
            let words = format_args!("{id}: stuck: {why}; a restart takes it up anew");
            self.journal.say(Level::Error, words);
        }
        if let Some(next) = next {
            self.bell.set(next);
        }
        if now.since(self.lookout.looked.get()) >= SPOOL_PERIOD {
            self.lookout.looked.set(now);
            self.look_for_strays(now).await;
        }
    }

    /// Queues what is on the disk and was never queued: a defect ended its session in between.
    async fn look_for_strays(self: &Rc<Self>, now: Tick) {
        let written = match self.log.live() > self.queue.borrow().known() {
            true => self.log.written(),
            false => Vec::new(),
        };
        let mut strays = HashMap::new();
        for some in written.chunks(LOOKED_TOGETHER) {
            for id in some {
                if self.queue.borrow().find(*id).is_none() {
                    let known = self.lookout.strays.borrow().get(id).copied();
                    strays.insert(*id, known.unwrap_or(now));
                }
            }
            self.world.breathe().await;
        }
        let mut lost: Vec<QueueId> = strays
            .extract_if(|_, since| now.since(*since) >= PATIENCE)
            .map(|(id, _)| id)
            .collect();
        self.lookout.strays.replace(strays);
        lost.sort_unstable_by_key(|id| id.0);
        for id in lost {
            match self.log.find(id).await {
                Ok(Some(found)) if self.queue.borrow().find(id).is_none() => {
                    let words = format_args!("{id}: was on the disk and not in the queue: queued");
                    self.journal.say(Level::Error, words);
                    self.readmit(&found);
                    self.pump();
                }
                Ok(_) => {}
                Err(error) => self.warn(format_args!("{id}: cannot be read: {error}")),
            }
        }
    }
}

/// How often the spool's messages are compared with the queue's, where there are more of them.
const SPOOL_PERIOD: Duration = Duration::from_secs(60);
/// Messages looked up between two looks at who else wants the core.
const LOOKED_TOGETHER: usize = 1_000;
