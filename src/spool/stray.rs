//! Messages that the log holds and nobody asks for: their session ended between the disk and the
//! queue.

use std::collections::HashSet;
use std::io;

use super::log::{Log, Recovered};
use super::record::RecipientState;
use crate::mail::envelope::QueueId;
use crate::world::World;

impl<W: World> Log<W> {
    /// How many messages are not settled.
    #[must_use]
    pub fn live(&self) -> usize {
        self.inner.state.borrow().live.len()
    }

    /// The messages that are not settled, without those that are being written.
    #[must_use]
    pub fn written(&self) -> Vec<QueueId> {
        if self.inner.adopting.get() {
            // Their new owner does not know them yet.
            return Vec::new();
        }
        let state = self.inner.state.borrow();
        let batches = state.batches.iter();
        let unwritten: HashSet<QueueId> = batches
            .flat_map(|batch| batch.accepted.iter().copied())
            .collect();
        let live = state.live.keys().copied();
        live.filter(|id| !unwritten.contains(id)).collect()
    }

    /// A message as recovery would tell of it; `None` when it is settled by now.
    pub async fn find(&self, id: QueueId) -> io::Result<Option<Recovered>> {
        let place = |log: &Self| {
            let state = log.inner.state.borrow();
            let locator = state.live.get(&id)?.locator();
            let busy = state.busy.get(&id);
            let settled = busy.map(|busy| busy.settled.clone());
            Some((locator, settled.unwrap_or_default()))
        };
        let Some((locator, _)) = place(self) else {
            return Ok(None);
        };
        let stored = self.read(locator).await?;
        // Moved or settled while it was read: the next look finds it where it is.
        let Some((_, settled)) = place(self).filter(|(now, _)| *now == locator) else {
            return Ok(None);
        };
        let mut found = Recovered::new(locator, stored, None);
        for place in settled {
            if let Some(state) = found.recipients.get_mut(usize::from(place)) {
                *state = RecipientState::Settled;
            }
        }
        Ok(Some(found))
    }
}
