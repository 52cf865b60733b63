//! A message as deliveries hold it.

pub(super) mod resident;
pub(super) mod sign;

use crate::mail::envelope::{Content, Envelope, QueueId, TlsWish};
use crate::observe::events::Tags;
use crate::wire::path::Mailbox;
use crate::world::Wall;

use sign::Signatures;

/// A stored message, shared by the deliveries of its recipients while they run.
#[derive(Debug)]
pub(super) struct Message {
    /// Its name.
    pub id: QueueId,
    /// When it was accepted.
    pub arrival: Wall,
    /// Who sent it, to whom.
    pub envelope: Envelope,
    /// What was seen of it while it arrived.
    pub content: Content,
    /// Our trace fields, in wire form: they stand before the content.
    pub trace: Vec<u8>,
    /// Header and body as they came.
    pub body: Body,
    /// Header fields that events tell of it.
    pub tags: Tags,
    /// Made when it first leaves.
    pub signatures: Signatures,
}

impl Message {
    /// Octets of it in memory, near enough for the budget.
    #[must_use]
    pub(super) fn resident_octets(&self) -> usize {
        let recipients = self.envelope.recipients.len() * RECIPIENT_OCTETS;
        size_of::<Self>() + self.trace.capacity() + self.body.resident() + recipients
    }

    /// Its reverse path, empty for a report.
    #[must_use]
    pub(super) fn sender(&self) -> &str {
        let path = self.envelope.reverse_path.0.as_ref();
        path.map_or("", Mailbox::as_str)
    }

    /// What it wants of the TLS on its way.
    #[must_use]
    pub(super) fn tls_wish(&self) -> TlsWish {
        TlsWish::of(&self.envelope, &self.content)
    }

    /// Header and body may be sent as they are to a peer without 8BITMIME.
    #[must_use]
    pub(super) fn is_seven_bit(&self) -> bool {
        !self.content.eight_bit && !self.content.eight_bit_header
    }
}

/// Content in wire form.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Memory(Vec<u8>),
    /// So many octets in the message's extent, read in pieces.
    Extent(u64),
}

impl Body {
    /// All of it, where it is in memory.
    #[must_use]
    pub(super) fn octets(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(octets) => Some(octets),
            Self::Extent(_) => None,
        }
    }

    /// Octets of it in memory.
    #[must_use]
    pub(super) fn resident(&self) -> usize {
        match self {
            Self::Memory(octets) => octets.capacity(),
            Self::Extent(_) => 0,
        }
    }
}

/// What a recipient takes: its record and an address of usual length.
const RECIPIENT_OCTETS: usize = 96;
