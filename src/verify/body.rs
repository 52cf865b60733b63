//! Hashes of a body, while it arrives: memory for a large message stays bounded.

use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{HashAlgorithm, HashContext as _, HashImpl, Sha1, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;
use memchr::memmem;

use crate::wire::dot;

/// A message whose header is known and whose body goes by.
pub struct Body {
    /// As it is read, without dot stuffing.
    header: Vec<u8>,
    hashers: Vec<Hasher>,
    /// The next octet begins a line: a dot there hides one.
    at_line: bool,
    /// A CR came last; what follows it says whether a line ended.
    held: bool,
    /// No empty line ended the header, so what was taken for it may be anything: nothing is hashed
    /// and no signature can hold.
    is_open: bool,
}

/// A header, and the hashes of the body below it that its signatures need.
#[derive(Debug)]
pub struct Hashed {
    header: Vec<u8>,
    hashes: Vec<Hash>,
}

/// As `mail-auth` keeps it: the body's canonical form, how it is hashed, how much of it, the hash.
type Hash = (Canonicalization, HashAlgorithm, u64, Vec<u8>);

enum Hasher {
    Sha1(Form, BodyHasher<<Sha1 as HashImpl>::Context>),
    Sha256(Form, BodyHasher<<Sha256 as HashImpl>::Context>),
}

/// The form that a body is hashed in.
///
/// In the relaxed form, blanks and line ends are held back until text follows: at the end of a body
/// they do not count (RFC 6376 §3.4.4), and `mail-auth` 0.13.3 would count lines of blanks.
struct Form {
    canonicalization: Canonicalization,
    lines: u64,
    has_blank: bool,
}

impl Form {
    /// Passes on what is decided.
    fn feed(&mut self, octets: &[u8], mut hash: impl FnMut(&[u8])) {
        if self.canonicalization == Canonicalization::Simple {
            return hash(octets);
        }
        let is_text = |octet: &u8| !b" \t\r\n".contains(octet);
        let Some(last) = octets.iter().rposition(is_text) else {
            return self.hold(octets);
        };
        for _ in 0..std::mem::take(&mut self.lines) {
            hash(b"\r\n");
        }
        if std::mem::take(&mut self.has_blank) {
            hash(b" ");
        }
        let (text, blanks) = octets.split_at(last + 1);
        hash(text);
        self.hold(blanks);
    }

    fn hold(&mut self, blanks: &[u8]) {
        for octet in blanks {
            match octet {
                b'\n' => {
                    self.lines += 1;
                    self.has_blank = false;
                }
                b'\r' => {}
                _ => self.has_blank = true,
            }
        }
    }
}

impl Body {
    /// Begins with the first octets of a message in wire form; the whole header should be among
    /// them. What is behind it comes back: the body's first octets.
    #[must_use]
    pub fn begin(wire: &[u8]) -> (Self, &[u8]) {
        let end = header_end(wire);
        let (header_wire, rest) = wire.split_at(end.unwrap_or(wire.len()));
        let mut header = Vec::with_capacity(header_wire.len());
        dot::unstuff_into(&mut header, header_wire);
        let parsed = AuthenticatedMessage::parse(&header);
        let needed = parsed.map_or_else(Vec::new, |message| message.body_hashes);
        let body = Self {
            hashers: needed
                .iter()
                .map(|(form, algorithm, ..)| Hasher::new(*form, *algorithm))
                .collect(),
            header,
            at_line: true,
            held: false,
            is_open: end.is_none(),
        };
        (body, rest)
    }

    /// Takes the next octets of the body, in wire form.
    pub fn feed(&mut self, wire: &[u8]) {
        if self.hashers.is_empty() || wire.is_empty() {
            return;
        }
        let mut part = Vec::with_capacity(wire.len() + 1);
        if std::mem::take(&mut self.held) {
            part.push(b'\r');
        }
        part.extend_from_slice(wire);
        self.held = part.pop_if(|last| *last == b'\r').is_some();
        let line = match self.at_line {
            true => 0,
            false => memmem::find(&part, b"\r\n").map_or(part.len(), |at| at + 2),
        };
        let mut plain = part[..line].to_vec();
        dot::unstuff_into(&mut plain, &part[line..]);
        self.at_line = part.ends_with(b"\r\n") || part.is_empty() && self.at_line;
        for hasher in &mut self.hashers {
            hasher.feed(&plain);
        }
    }

    /// The body has ended.
    #[must_use]
    pub fn finish(mut self) -> Hashed {
        if std::mem::take(&mut self.held) {
            for hasher in &mut self.hashers {
                hasher.feed(b"\r");
            }
        }
        let mut hashes: Vec<Hash> = self.hashers.into_iter().map(Hasher::finish).collect();
        if self.is_open {
            for (.., hash) in &mut hashes {
                hash.clear();
            }
        }
        Hashed {
            header: self.header,
            hashes,
        }
    }
}

impl Hashed {
    /// A whole message in wire form.
    #[must_use]
    pub fn whole(wire: &[u8]) -> Self {
        let mut ended = Vec::new();
        if header_end(wire).is_none() {
            // A message without an empty line has no body.
            ended = [wire, b"\r\n"].concat();
        }
        let wire = if ended.is_empty() { wire } else { &ended };
        let (mut body, rest) = Body::begin(wire);
        body.feed(rest);
        body.finish()
    }

    /// As `mail-auth` takes it; `None` where there is no field at all.
    pub(super) fn parsed(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut message = AuthenticatedMessage::parse(&self.header)?;
        message.body_hashes.clone_from(&self.hashes);
        Some(message)
    }
}

impl Hasher {
    fn new(canonicalization: Canonicalization, algorithm: HashAlgorithm) -> Self {
        let form = Form {
            canonicalization,
            lines: 0,
            has_blank: false,
        };
        match algorithm {
            HashAlgorithm::Sha1 => {
                Self::Sha1(form, BodyHasher::new(Sha1::hasher(), canonicalization, 0))
            }
            HashAlgorithm::Sha256 => {
                Self::Sha256(form, BodyHasher::new(Sha256::hasher(), canonicalization, 0))
            }
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        match self {
            Self::Sha1(form, hasher) => form.feed(octets, |part| hasher.write(part)),
            Self::Sha256(form, hasher) => form.feed(octets, |part| hasher.write(part)),
        }
    }

    fn finish(self) -> Hash {
        let (form, algorithm, digest) = match self {
            Self::Sha1(form, hasher) => (form, HashAlgorithm::Sha1, hasher.finish().0.complete()),
            Self::Sha256(form, hasher) => {
                (form, HashAlgorithm::Sha256, hasher.finish().0.complete())
            }
        };
        (
            form.canonicalization,
            algorithm,
            0,
            digest.as_ref().to_vec(),
        )
    }
}

/// Where the body begins: behind the first empty line.
fn header_end(wire: &[u8]) -> Option<usize> {
    if wire.starts_with(b"\r\n") {
        return Some(2);
    }
    memmem::find(wire, b"\r\n\r\n").map(|at| at + 4)
}
