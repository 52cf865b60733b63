//! What peers saw, in the order in which they saw it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::guard::Trust;
use crate::world::Wall;

/// The book of one run. Cloning gives another handle.
#[derive(Clone, Default)]
pub struct Ledger {
    inner: Rc<RefCell<Entries>>,
}

/// Everything written down.
#[derive(Default)]
pub struct Entries {
    /// What clients handed in, by the token in each message.
    pub submissions: BTreeMap<Rc<str>, Submission>,
    /// Whole contents that exchangers read.
    pub copies: Vec<Copy>,
    /// Answers to RCPT.
    pub attempts: Vec<Attempt>,
    /// What was known of who reads them, where senders and recipients were named.
    pub envelopes: BTreeMap<Trust, usize>,
    /// How often a host was asked for TLS, or could not be because it does not offer it.
    pub tls_tried: usize,
    /// Power cuts and kills of the relay.
    pub crashes: Vec<Duration>,
    /// Tokens of messages whose report the sender's host refused for good.
    pub reports_refused: BTreeSet<String>,
    /// Recipients to whom a host said no for good.
    pub refused: BTreeSet<String>,
    /// How often a host said no for good where it could not be told to which message.
    pub refused_unnamed: usize,
    /// The most connections a destination saw at one time.
    pub busiest: BTreeMap<Rc<str>, usize>,
    /// The addresses of all hosts.
    pub hosts: Vec<IpAddr>,
    /// The most connections that all of them saw at one time.
    pub busiest_of_all: usize,
    /// When transactions began, and where.
    pub transactions: Vec<(Duration, Rc<str>)>,
    /// Recipients that were named.
    pub named: Vec<NamedAt>,
    /// What came back later, by the recipient that it is about.
    pub told: BTreeMap<String, Told>,
    /// Recipients of whose return paths the relay would not hear.
    pub returns_refused: Vec<String>,
}

/// What came back later of one recipient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Reports of failure, or complaints, that there are in all.
    pub planned: u32,
    /// A reader complained.
    pub is_complaint: bool,
    /// So many were answered 250.
    pub sure: u32,
    /// Of so many nobody knows.
    pub maybe: u32,
}

impl Told {
    /// If the recipient is on the list for it, nothing more is to be heard.
    #[must_use]
    pub fn was_all_heard(&self, after: u32) -> bool {
        let need = if self.is_complaint { 1 } else { after };
        (self.planned, self.sure, self.maybe) == (need, need, 0)
    }
}

impl Entries {
    /// Reports that were answered 250.
    #[must_use]
    pub fn reports_taken(&self) -> u32 {
        self.told.values().map(|told| told.sure).sum()
    }

    /// The message to this recipient came from `<>`.
    #[must_use]
    pub fn is_from_nobody(&self, recipient: &str) -> bool {
        let submission = token_of(recipient).and_then(|token| self.submissions.get(token));
        submission.is_some_and(|one| one.reverse_path.is_empty())
    }
}

/// A recipient that was named to a host.
#[derive(Clone, Debug)]
pub struct NamedAt {
    /// When, by the calendar.
    pub wall: Wall,
    /// When.
    pub at: Duration,
    /// The address from which.
    pub source: IpAddr,
    /// To whose host.
    pub destination: Rc<str>,
    /// Who.
    pub recipient: String,
}

/// A message of a client.
#[derive(Clone, Debug)]
pub struct Submission {
    /// When the last of it was sent.
    pub at: Duration,
    /// The sender; empty for `<>`.
    pub reverse_path: String,
    /// Every recipient the client named.
    pub named: Vec<String>,
    /// Those the relay took, as far as the client has read.
    pub taken: Vec<String>,
    /// Header and body, unstuffed, as sent.
    pub content: Vec<u8>,
    /// What became of it.
    pub fate: Fate,
}

/// How a submission ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The client broke off before the end of the content.
    BrokenOff,
    /// The content was sent to its end; no reply was read.
    Unknown,
    /// 250: the relay answers for it.
    Accepted,
    /// The relay said no.
    Refused(u16),
}

/// One content read to its end by an exchanger.
#[derive(Clone, Debug)]
pub struct Copy {
    /// When it was there.
    pub at: Duration,
    /// Who read it.
    pub host: IpAddr,
    /// The sender; empty for `<>`.
    pub reverse_path: String,
    /// Recipients that were answered 250 in this transaction.
    pub recipients: Vec<String>,
    /// The content, unstuffed.
    pub content: Vec<u8>,
    /// 8BITMIME was offered: content must come as it was sent.
    pub is_eight_bit: bool,
    /// The code that was sent after the dot; `None` when the exchanger said nothing.
    pub answer: Option<u16>,
    /// When the relay went on talking on this connection: it has read the answer by then.
    pub read_by: Option<Duration>,
}

/// The answer to one RCPT.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When.
    pub at: Duration,
    /// Who answered.
    pub host: IpAddr,
    /// For whom.
    pub recipient: String,
    /// The code; `None` when the exchanger said nothing, or the connection broke before it was
    /// surely heard.
    pub code: Option<u16>,
}

impl Ledger {
    /// Writes something down.
    pub fn write<T>(&self, entry: impl FnOnce(&mut Entries) -> T) -> T {
        entry(&mut self.inner.borrow_mut())
    }

    /// Reads.
    pub fn read<T>(&self, look: impl FnOnce(&Entries) -> T) -> T {
        look(&self.inner.borrow())
    }

    /// Messages the relay answered 250 for.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.read(|entries| {
            let all = entries.submissions.values();
            all.filter(|one| one.fate == Fate::Accepted).count()
        })
    }
}

/// The token in an address `r0-TOKEN@domain`.
#[must_use]
pub fn token_of(address: &str) -> Option<&str> {
    let (local, _) = address.rsplit_once('@')?;
    Some(local.split_once('-')?.1)
}

/// The token in a content: the value of its first `X-Token` field.
#[must_use]
pub fn token_in(content: &[u8]) -> Option<String> {
    let at = find(content, b"X-Token: ")? + b"X-Token: ".len();
    let rest = &content[at..];
    let end = rest.iter().position(|octet| *octet == b'\r')?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

/// Where `needle` begins in `hay`.
#[must_use]
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|part| part == needle)
}
