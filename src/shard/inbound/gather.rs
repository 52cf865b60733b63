//! A message while it arrives: in memory while it is small, in an extent of the spool from then
//! on, so that memory per connection stays bounded.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use super::watch::{Seen, Watch};
use crate::mail::envelope::QueueId;
use crate::shard::Shard;
use crate::shard::clients::buffers::FIRST_BUFFER_OCTETS;
use crate::shard::life::budget::Loan;
use crate::shard::message::Body;
use crate::spool::log::{self, ExtentSeal, ExtentWriter, INLINE_OCTETS_MAX};
use crate::world::World;

/// The content gathered so far, in wire form.
pub(super) struct Gathering<W: World> {
    /// The id the message will have if it is accepted.
    pub(super) id: QueueId,
    tail: Vec<u8>,
    /// Apart, like what looks at it: few messages are large, and every idle connection has room for one.
    extent: Option<Box<ExtentWriter<W>>>,
    /// Until all of it is there.
    arriving: Option<Arriving>,
    /// What it takes of the shard's memory budget.
    loan: Loan,
    /// Octets of the buffer that it comes in through.
    buffer: usize,
    /// Looks at it as it arrives. Most listeners want none.
    watch: Option<Box<Watch>>,
    /// What was spilled last ended with CRLF.
    ends_line: bool,
    /// The spool could not take a part, or memory has run out: the message is read to its end and refused.
    failure: Option<io::Error>,
}

/// Counts a message that is coming in.
struct Arriving(Rc<Cell<usize>>);

impl Arriving {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Content that is complete.
pub(super) enum Gathered {
    /// All of it in memory, with what it takes of the budget.
    Memory(Vec<u8>),
    /// In an extent that is on stable storage.
    Extent(ExtentSeal),
}

impl<W: World> Gathering<W> {
    /// Nothing yet. `announced` is what SIZE said; without it most fit into the first buffer.
    pub(super) fn new(shard: &Shard<W>, announced: u64, watch: Option<Watch>) -> Self {
        let first = usize::try_from(announced)
            .unwrap_or(INLINE_OCTETS_MAX)
            .clamp(FIRST_BUFFER_OCTETS, INLINE_OCTETS_MAX);
        let loan = shard.budget.lend(first, shard.world.now());
        Self {
            id: shard.log.next_id(),
            tail: shard.buffers.take_empty(first),
            extent: None,
            arriving: Some(Arriving::new(&shard.arriving)),
            loan,
            buffer: 0,
            watch: watch.map(Box::new),
            ends_line: false,
            failure: None,
        }
    }

    /// Adds octets.
    pub(super) async fn append(&mut self, shard: &Shard<W>, octets: &[u8]) {
        if octets.is_empty() || self.failure.is_some() {
            return;
        }
        self.loan.note_brought(octets.len(), shard.world.now());
        // A thousand messages that began small may all grow: who waits is not read meanwhile, and who
        // has waited long enough gives back what it holds.
        let grows = self.tail.len() + octets.len() > self.tail.capacity();
        if grows && !self.loan.room(&shard.world).await {
            return self.fail(io::ErrorKind::OutOfMemory.into());
        }
        self.tail.extend_from_slice(octets);
        self.count();
        if self.tail.len() > INLINE_OCTETS_MAX
            && let Err(error) = Box::pin(self.spill(shard)).await
        {
            self.fail(error);
        }
    }

    /// Waits for the client to bring more; `None` when the message has to give way meanwhile: what there
    /// is of it is thrown away, and the client hears of it at its end.
    pub(super) async fn wait_for<T>(&mut self, more: impl Future<Output = T>) -> Option<T> {
        let brought = self.loan.until_called_back(more).await;
        if brought.is_none() {
            self.fail(io::ErrorKind::OutOfMemory.into());
        }
        brought
    }

    /// It will be refused at its end.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Says how large the buffer is that it comes in through.
    pub(super) fn comes_through(&mut self, octets: usize) {
        self.buffer = octets;
        self.count();
    }

    fn count(&mut self) {
        self.loan.set(self.tail.capacity() + self.buffer);
    }

    fn fail(&mut self, error: io::Error) {
        self.failure = Some(error);
        self.tail = Vec::new();
        // What is on disk of it goes now: its client may take an hour to come to its end.
        self.extent = None;
        self.count();
    }

    async fn spill(&mut self, shard: &Shard<W>) -> io::Result<()> {
        if let Some(watch) = &mut self.watch {
            watch
                .pass(&mut self.tail, async || shard.world.breathe().await)
                .await;
        }
        let extent = match &mut self.extent {
            Some(extent) => extent,
            none => none.insert(Box::new(shard.log.extent(self.id).await?)),
        };
        self.ends_line = self.tail.ends_with(b"\r\n");
        let full = std::mem::replace(&mut self.tail, Vec::with_capacity(INLINE_OCTETS_MAX));
        extent.append(full).await
    }

    /// Somebody looks at it.
    pub(super) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// What was seen of it, now that all of it is there; `None` where nobody looks.
    pub(super) async fn seen(&mut self, shard: &Shard<W>) -> Option<Seen> {
        let breathe = async || shard.world.breathe().await;
        Some(self.watch.take()?.finish(&mut self.tail, breathe).await)
    }

    /// All of it, safe on disk where it was large. Nothing is left here. (By reference, like all that
    /// has its way through several calls: each would have room for it, in every idle connection.)
    pub(super) async fn finish(&mut self, shard: &Shard<W>) -> io::Result<Gathered> {
        if !(self.tail.ends_with(b"\r\n") || self.tail.is_empty() && self.ends_line) {
            // A BDAT message may end in the middle of a line (RFC 3030 §3); the dot of a DATA
            // message stands on a line of its own.
            self.append(shard, b"\r\n").await;
        }
        if let Some(error) = self.failure.take() {
            self.discard().await;
            return Err(error);
        }
        if self.extent.is_some() && !self.tail.is_empty() {
            Box::pin(self.spill(shard)).await?;
        }
        let gathered = match self.extent.take() {
            Some(extent) => Gathered::Extent(Box::pin(extent.seal()).await?),
            None => Gathered::Memory(std::mem::take(&mut self.tail)),
        };
        // Nobody waits for it any more, and what it took of the budget is others'.
        self.arriving = None;
        self.loan.set(0);
        Ok(gathered)
    }

    /// The message will not be accepted: nothing of it stays.
    pub(super) async fn discard(&mut self) {
        if let Some(extent) = self.extent.take() {
            Box::pin(extent.abandon()).await;
        }
    }
}

impl Gathered {
    /// As the spool takes it.
    pub(super) fn as_body(&self) -> log::Body<'_> {
        match self {
            Self::Memory(octets) => log::Body::Inline(octets),
            Self::Extent(seal) => log::Body::Extent(seal),
        }
    }

    /// All of it, where it is in memory.
    pub(super) fn octets(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(octets) => Some(octets),
            Self::Extent(_) => None,
        }
    }

    /// As a delivery sends it.
    pub(super) fn into_body(self) -> Body {
        match self {
            Self::Memory(octets) => Body::Memory(octets),
            Self::Extent(seal) => Body::Extent(seal.len()),
        }
    }
}
