//! The content of one message on its way in: to wire form, measured, and doomed where it breaks a
//! limit.

use std::ops::Range;

use super::limits::{BareLineEnds, ServerKind, ServerLimits};
use super::mend::Mender;
use crate::mail::envelope::Content;
use crate::smtp::reply::Reply;
use crate::wire::dot::{DotScanner, Facts, Faults, Stuffer};
use crate::wire::header::HeaderScan;
use crate::wire::sieve::Sieve;

/// One message while it arrives.
pub(super) struct Incoming {
    dots: DotScanner,
    header: HeaderScan,
    /// Where it is not passed through as it came. Apart: every idle connection has room for a message.
    conversion: Option<Box<Conversion>>,
    /// A chunk was announced that goes over the limit.
    overrun: bool,
    max_size: u64,
    max_hops: u32,
    /// The last octet by BDAT was a LF, or there was none.
    ends_in_lf: bool,
}

/// To wire form.
struct Conversion {
    /// Where it comes by BDAT, or is mended: dots are put on here, and counted here.
    stuffer: Option<Stuffer>,
    mender: Option<Mender>,
    /// Where mail is submitted: what is for nobody's eyes is taken out.
    sieve: Option<Sifted>,
    /// The wire form of a piece.
    scratch: Vec<u8>,
    /// The mended form of a piece, before dots are put on.
    mended: Vec<u8>,
}

/// Content without some fields of its header, measured anew.
struct Sifted {
    sieve: Sieve,
    measure: DotScanner,
    /// The wire form before and after in turn.
    before: Vec<u8>,
}

/// Where the wire form of a piece stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Octets held back earlier, then these of the input.
    Input(&'static [u8], Range<usize>),
    /// In [`Incoming::scratch`].
    Scratch,
}

/// What became of octets behind DATA.
pub(super) struct Taken {
    pub(super) consumed: usize,
    pub(super) place: Option<Place>,
    /// The final dot was among them.
    pub(super) ended: bool,
}

impl Incoming {
    /// For a message behind DATA.
    pub(super) fn by_data(limits: &ServerLimits, kind: ServerKind) -> Self {
        Self::new(limits, kind, true)
    }

    /// For a message that comes in chunks.
    pub(super) fn by_chunks(limits: &ServerLimits, kind: ServerKind) -> Self {
        Self::new(limits, kind, false)
    }

    fn new(limits: &ServerLimits, kind: ServerKind, stuffed: bool) -> Self {
        let mends = limits.bare_line_ends == BareLineEnds::Fix;
        let sifts = kind == ServerKind::Submission;
        let conversion = || Conversion {
            stuffer: (mends || !stuffed).then(Stuffer::new),
            mender: mends.then(|| Mender::new(stuffed)),
            sieve: sifts.then(Sifted::new),
            scratch: Vec::new(),
            mended: Vec::new(),
        };
        Self {
            dots: DotScanner::new(),
            header: HeaderScan::new(limits.max_header),
            conversion: (mends || !stuffed || sifts).then(|| Box::new(conversion())),
            overrun: false,
            max_size: limits.max_message_size,
            max_hops: limits.max_hops,
            ends_in_lf: true,
        }
    }

    /// The wire form of the last piece, where it is not the input's own.
    pub(super) fn scratch(&self) -> &[u8] {
        let conversion = self.conversion.as_ref();
        conversion.map_or(&[], |conversion| &conversion.scratch)
    }

    /// Why it will not be accepted. Its octets are read to their end all the same, and looked at:
    /// which of several faults is named must not depend on how the network cut them.
    pub(super) fn doom(&self) -> Option<Reply> {
        let faults = self.faults();
        if faults.bare_cr || faults.bare_lf {
            Some(Reply::bare_line_end_in_content())
        } else if faults.nul {
            Some(Reply::nul_in_content())
        } else if self.overrun || self.facts().size > self.max_size {
            Some(Reply::too_large())
        } else if self.header.too_large() {
            Some(Reply::header_too_large())
        } else {
            None
        }
    }

    /// True when it will not be accepted, whatever follows.
    pub(super) fn is_doomed(&self) -> bool {
        self.doom().is_some()
    }

    /// Octets behind DATA, up to the final dot.
    pub(super) fn take_data(&mut self, input: &[u8]) -> Taken {
        let input = &input[..input.len().min(PIECE_OCTETS_MAX)];
        let fed = self.dots.feed(input);
        let place = if fed.held.is_empty() && fed.content.is_empty() {
            None
        } else if let Some(conversion) = &mut self.conversion {
            self.header
                .feed(conversion.convert(&[fed.held, fed.content]));
            Some(Place::Scratch)
        } else {
            self.header.feed(fed.held);
            self.header.feed(fed.content);
            Some(Place::Input(fed.held, 0..fed.content.len()))
        };
        Taken {
            consumed: fed.consumed,
            place: place.filter(|_| !self.is_doomed()),
            ended: fed.ended,
        }
    }

    /// A chunk of `size` octets is announced: one that is too large need not be kept.
    pub(super) fn announce_chunk(&mut self, size: u64) {
        self.overrun |= self.facts().size.saturating_add(size) > self.max_size;
    }

    /// Octets of a chunk; at most [`PIECE_OCTETS_MAX`] at once.
    pub(super) fn take_chunk(&mut self, octets: &[u8]) -> Option<Place> {
        let last = *octets.last()?;
        self.ends_in_lf = last == b'\n';
        if let Some(conversion) = &mut self.conversion {
            self.header.feed(conversion.convert(&[octets]));
        }
        (!self.is_doomed()).then_some(Place::Scratch)
    }

    /// The last chunk has ended: a last line without its end gets one, because DATA, by which
    /// the message may go on, cannot do without.
    pub(super) fn end_chunks(&mut self) -> Option<Place> {
        if let Some(conversion) = &mut self.conversion {
            self.header.feed(conversion.finish(self.ends_in_lf));
        }
        (!self.is_doomed() && !self.scratch().is_empty()).then_some(Place::Scratch)
    }

    /// All of it is there: what it is, or why it is refused.
    pub(super) fn finish(self) -> Result<Content, Reply> {
        if let Some(reply) = self.doom() {
            return Err(reply);
        }
        let conversion = self.conversion.as_ref();
        let sieve = conversion.and_then(|conversion| conversion.sieve.as_ref());
        let facts = sieve.map_or_else(|| self.facts(), |sifted| sifted.measure.facts());
        let header = self.header.finish();
        if header.received >= self.max_hops {
            return Err(Reply::too_many_hops());
        }
        Ok(Content::new(facts, header))
    }

    fn stuffer(&self) -> Option<&Stuffer> {
        self.conversion.as_ref()?.stuffer.as_ref()
    }

    fn facts(&self) -> Facts {
        let stuffer = self.stuffer();
        stuffer.map_or_else(|| self.dots.facts(), Stuffer::facts)
    }

    /// What the content as it is kept has wrong: after mending, line ends no longer.
    fn faults(&self) -> Faults {
        let stuffer = self.stuffer();
        stuffer.map_or_else(|| self.dots.faults(), Stuffer::faults)
    }
}

impl Conversion {
    /// The wire form of `parts`, which is in the scratch then.
    fn convert(&mut self, parts: &[&[u8]]) -> &[u8] {
        self.scratch.clear();
        for part in parts {
            match (&mut self.stuffer, &mut self.mender) {
                (Some(stuffer), Some(mender)) => {
                    self.mended.clear();
                    mender.mend_into(&mut self.mended, part);
                    stuffer.stuff_into(&mut self.scratch, &self.mended);
                }
                (Some(stuffer), None) => stuffer.stuff_into(&mut self.scratch, part),
                (None, _) => self.scratch.extend_from_slice(part),
            }
        }
        self.sift()
    }

    /// What is still to come behind the last piece.
    fn finish(&mut self, ends_in_lf: bool) -> &[u8] {
        self.scratch.clear();
        self.mended.clear();
        if let Some(mender) = &mut self.mender {
            mender.finish_into(&mut self.mended);
        }
        if !ends_in_lf && self.mended.is_empty() {
            self.mended.extend(b"\r\n");
        }
        if let Some(stuffer) = &mut self.stuffer {
            stuffer.stuff_into(&mut self.scratch, &self.mended);
        }
        self.sift()
    }

    /// Takes out of the scratch what is hidden; what stays.
    fn sift(&mut self) -> &[u8] {
        if let Some(sifted) = &mut self.sieve {
            sifted.sift(&mut self.scratch);
        }
        &self.scratch
    }
}

/// The content of a message that comes in one piece: taken as if a client had sent it in chunks to a
/// submission listener.
pub struct Intake(Incoming);

impl Intake {
    /// Of nothing yet.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Self {
        Self(Incoming::by_chunks(limits, ServerKind::Submission))
    }

    /// The wire form of the next octets.
    pub fn take(&mut self, octets: &[u8]) -> &[u8] {
        match self.0.take_chunk(octets) {
            Some(_) => self.0.scratch(),
            None => &[],
        }
    }

    /// What the last line needs.
    pub fn end(&mut self) -> &[u8] {
        match self.0.end_chunks() {
            Some(_) => self.0.scratch(),
            None => &[],
        }
    }

    /// All of it is there: what it is, or why it is refused.
    pub fn finish(self) -> Result<Content, Reply> {
        self.0.finish()
    }
}

impl Sifted {
    fn new() -> Self {
        Self {
            sieve: Sieve::new(HIDDEN),
            measure: DotScanner::new(),
            before: Vec::new(),
        }
    }

    fn sift(&mut self, wire: &mut Vec<u8>) {
        std::mem::swap(&mut self.before, wire);
        wire.clear();
        self.sieve.pass_into(wire, &self.before);
        // Whole lines go: no dot that hides another one loses it, so there is no end in it.
        self.measure.feed(wire);
    }
}

/// Blind copies are no secret when their list travels along (RFC 5322 §3.6.3).
const HIDDEN: &[&str] = &["Bcc", "Resent-Bcc"];
/// Octets looked at in one step: it bounds the scratch, which takes at most twice as many.
pub(super) const PIECE_OCTETS_MAX: usize = 64 * 1024;
