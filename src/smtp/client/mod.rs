//! The client's side of an SMTP or LMTP connection, without I/O (RFC 5321, RFC 2033, RFC 2920).
//!
//! The driver feeds a [`ClientSession`] with what the world does (`begin`, `handle_input`,
//! `handle_timeout`, `handle_lost`, `secured`, `log_in`, `answer`, `body_sent`, `quit`) and carries out what
//! [`ClientSession::poll_output`] asks for, in order, until it asks for nothing more.
//!
//! ```text
//! new ─► greeting ─► EHLO ─► Ready ─► begin ─► MAIL RCPT… DATA ─► Body ─► body_sent ─► replies ─► Done
//!            │         │                ▲             │                                  │       │
//!            └─────────┴─► Close        └─────────────┼──────────────────────────────────┼───────┘
//!                                                     └────────────► Close ◄─────────────┘
//! ```
//!
//! Every recipient of a transaction comes back exactly once, as [`Output::Settled`] or
//! [`Output::Postponed`], before the `Done` or `Close` that ends it. Refusals of the greeting or of
//! EHLO concern no recipient: they are in [`ClientSession::failure`], and the next host is tried.

mod exchange;
mod hello;
mod login;
pub mod reply;
mod session;
mod strain;
mod transaction;
mod verdict;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::mail::envelope::{MtPriority, Notify, Ret};
use crate::mail::outcome::{Diagnosis, Outcome};
use crate::smtp::extension::Mechanisms;
use crate::time::Tick;
pub use session::ClientSession;
pub use strain::Strain;
pub use verdict::{Peer, REQUIRETLS_NEEDED, TLS_NEEDED};

/// Who we say we are.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Our name: the argument of EHLO (RFC 5321 §4.1.1.1).
    pub name: Rc<str>,
    /// What our own server calls itself: a peer of that name is ourselves, and mail that goes there
    /// comes back. `None` where names prove nothing.
    pub own_name: Option<Rc<str>>,
    /// The peer speaks LMTP: LHLO, and a reply per recipient after the dot (RFC 2033).
    pub lmtp: bool,
    /// Whether mail may go in plain.
    pub tls: StartTls,
    /// Whether we log in.
    pub log_in: LogIn,
}

/// Whether and where AUTH is said (RFC 4954).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogIn {
    /// Nowhere.
    Never,
    /// Under TLS; a peer that is not gets no mail.
    UnderTls,
    /// In plain too.
    Anyway,
}

/// When STARTTLS is said (RFC 3207).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Never.
    Never,
    /// To a peer that offers it.
    IfOffered,
    /// To every peer; one that does not offer it gets no mail.
    Always,
    /// The handshake comes before everything else (RFC 8314 §3.3).
    First,
}

/// How long the peer may take for each reply (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// The greeting (§4.5.3.2.1).
    pub greeting: Duration,
    /// EHLO, HELO, LHLO and RSET; the RFC names no value of its own.
    pub hello: Duration,
    /// MAIL (§4.5.3.2.2).
    pub mail: Duration,
    /// RCPT (§4.5.3.2.3).
    pub rcpt: Duration,
    /// DATA (§4.5.3.2.4).
    pub data: Duration,
    /// The final dot (§4.5.3.2.6). Giving up early makes duplicates (RFC 1047).
    pub end_of_data: Duration,
    /// QUIT: mere politeness, so the peer gets a moment only.
    pub quit: Duration,
}

/// A message on its way out: what MAIL and RCPT are to say.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Whom reports go to, without angle brackets; empty for nobody.
    pub reverse_path: Arc<str>,
    /// `RET=`
    pub ret: Option<Ret>,
    /// `ENVID=`: xtext.
    pub envid: Option<Box<str>>,
    /// The content has octets over 127: `BODY=8BITMIME` where it is offered.
    pub eight_bit: bool,
    /// The message needs `SMTPUTF8`.
    pub smtputf8: bool,
    /// `REQUIRETLS`; from nobody, only where it is offered (RFC 8689 §5).
    pub require_tls: bool,
    /// `MT-PRIORITY=`, where it is offered.
    pub mt_priority: Option<MtPriority>,
    /// Octets, as `SIZE=` counts them (RFC 1870 §5).
    pub size: u64,
    /// To whom.
    pub recipients: SmallVec<[OutgoingRecipient; 1]>,
}

/// One recipient of an outgoing message.
#[derive(Clone, Debug, Default)]
pub struct OutgoingRecipient {
    /// Its place in the envelope: it comes back under this number.
    pub index: u16,
    /// Where it goes, without angle brackets.
    pub address: Arc<str>,
    /// `NOTIFY=`
    pub notify: Option<Notify>,
    /// `ORCPT=`: `addr-type;xtext`.
    pub orcpt: Option<Box<str>>,
}

/// What the driver is to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these octets.
    Send(Vec<u8>),
    /// Call `handle_timeout` at this moment, unless another `WakeAt` comes before.
    WakeAt(Tick),
    /// Do the handshake, then call `secured`, or `handle_lost` when it failed.
    Secure,
    /// Choose one of these mechanisms, strongest first, and call `log_in`, or `give_up_login`.
    LogIn(Mechanisms),
    /// Call `answer` with the answer to this, or `give_up_login`.
    Challenge(Vec<u8>),
    /// Greeting and EHLO are done: `begin` is allowed.
    Ready,
    /// Send the content and its final dot, then call `body_sent`.
    Body,
    /// What became of a recipient.
    Settled {
        /// Its index.
        recipient: u16,
        /// How it ended.
        outcome: Outcome,
    },
    /// The peer takes no more recipients in this transaction: send it in another one.
    Postponed {
        /// Its index.
        recipient: u16,
    },
    /// The transaction is over and the connection can carry another.
    Done,
    /// Drop the connection now. Nothing comes after it.
    Close,
}

/// What is going on; the driver times stages by watching it change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Waiting for the greeting.
    Greeting,
    /// EHLO, HELO, LHLO or AUTH is under way.
    Hello,
    /// The driver is doing the TLS handshake.
    Handshake,
    /// RSET, MAIL or RCPT is under way.
    Envelope,
    /// All RCPTs are answered, DATA is not.
    DataCommand,
    /// The driver is sending content.
    Body,
    /// The final dot is not answered.
    EndOfData,
    /// Between transactions.
    Idle,
    /// The connection is ending or has ended.
    Quit,
}

/// Why the greeting or EHLO failed: the fault of this host, of no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was seen.
    pub diagnosis: Diagnosis,
    /// The host said 5xx: it will not take mail from us.
    pub permanent: bool,
    /// The host is ourselves.
    pub ourselves: bool,
    /// What is too much for the host, where that is it.
    pub strain: Option<Strain>,
}

impl Default for Waits {
    /// The RFC's minimums.
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            greeting: 5 * MINUTE,
            hello: 5 * MINUTE,
            mail: 5 * MINUTE,
            rcpt: 5 * MINUTE,
            data: 2 * MINUTE,
            end_of_data: 10 * MINUTE,
            quit: Duration::from_secs(5),
        }
    }
}
