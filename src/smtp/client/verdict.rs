//! What a refusal or a broken conversation means for a recipient.
//!
//! | in reply to | 4xx                                   | 5xx               |
//! |-------------|---------------------------------------|-------------------|
//! | greeting, EHLO, HELO | next host, later             | next host, never  |
//! | AUTH        | next host, later                      | next host, later: whoever runs us can mend it |
//! | MAIL        | later: the host for 4.3.x and 4.7.x, otherwise the recipients | never: the message |
//! | RCPT        | later: the recipient; 452 after an accepted one: next transaction | never: the recipient |
//! | DATA, dot   | later: the host for 4.3.x, otherwise the recipients | never: the message |
//! | anything    | 421: later, the host, and the connection ends | |
//!
//! What complains of how much comes (see `strain`) blames neither: all mail to there slows down.

use std::fmt::Display;
use std::net::IpAddr;
use std::rc::Rc;

use super::Failure;
use super::reply::Garbled;
use super::strain::strain;
use crate::mail::outcome::{Blame, Diagnosis, Outcome, RemoteReply};
use crate::trial::{self, Bug};
use crate::wire::status::{EnhancedStatus, ReplyCode};

/// The other end, as messages for people name it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The host's name: the MX record's, or the address literal's text.
    pub name: Rc<str>,
    /// The address the connection leads to.
    pub address: IpAddr,
}

impl Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.name.starts_with('[') {
            return f.write_str(&self.name);
        }
        write!(f, "{}[{}]", self.name, self.address)
    }
}

/// What was sent and waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing: the peer speaks first.
    Connection,
    /// EHLO or LHLO.
    Hello { lmtp: bool },
    /// HELO, after EHLO was not understood.
    Helo,
    /// STARTTLS.
    StartTls,
    /// Nothing: the driver does the TLS handshake.
    Handshake,
    /// AUTH or an answer to a challenge. `may_end`: all that the peer has to prove is proved.
    Auth { may_end: bool },
    /// `*`: we give up logging in.
    Cancel,
    /// RSET, to end a transaction that got no dot.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT for the recipient at this place of the transaction.
    Rcpt(usize),
    /// DATA.
    Data,
    /// Content and final dot.
    Dot,
    /// Content and final dot over LMTP: this recipient's reply (RFC 2033 §4.2).
    DotFor(usize),
    /// The dot of a message without recipients, after a pipelined DATA (RFC 2920 §3.1).
    LoneDot,
    /// QUIT.
    Quit,
}

impl Sent {
    /// What a refusal was in reply to.
    const fn command(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Hello { lmtp: false } => "EHLO command",
            Self::Hello { lmtp: true } => "LHLO command",
            Self::Helo => "HELO command",
            Self::StartTls | Self::Handshake => "STARTTLS command",
            Self::Auth { .. } | Self::Cancel => "AUTH command",
            Self::Reset => "RSET command",
            Self::Mail => "MAIL FROM command",
            Self::Rcpt(_) => "RCPT TO command",
            Self::Data => "DATA command",
            Self::Dot | Self::DotFor(_) | Self::LoneDot => "end of DATA command",
            Self::Quit => "QUIT command",
        }
    }

    /// What went on when the conversation broke off.
    const fn activity(self) -> &'static str {
        match self {
            Self::Connection => "receiving the initial server greeting",
            Self::Hello { lmtp: false } => "performing the EHLO handshake",
            Self::Hello { lmtp: true } => "performing the LHLO handshake",
            Self::Helo => "performing the HELO handshake",
            Self::StartTls => "sending STARTTLS",
            Self::Handshake => "performing the TLS handshake",
            Self::Auth { .. } | Self::Cancel => "logging in",
            Self::Reset => "sending RSET",
            Self::Mail => "sending MAIL FROM",
            Self::Rcpt(_) => "sending RCPT TO",
            Self::Data => "sending DATA command",
            Self::Dot | Self::DotFor(_) => {
                "sending end of data -- message may be sent more than once"
            }
            Self::LoneDot => "sending end of data",
            Self::Quit => "sending QUIT",
        }
    }
}

impl Peer {
    /// A refusal in the peer's own words.
    pub(super) fn said(&self, sent: Sent, reply: RemoteReply) -> Diagnosis {
        let text = match sent {
            Sent::Connection => format!("host {self} refused to talk to me: {}", reply.text),
            _ => format!(
                "host {self} said: {} (in reply to {})",
                reply.text,
                sent.command()
            ),
        };
        Diagnosis {
            status: reply.status,
            text: text.into(),
            reply: Some(reply.text),
            remote_mta: Some((&*self.name).into()),
        }
    }

    /// What the peer sent is out of step or no reply at all.
    pub(super) fn babbled(&self, sent: Option<Sent>, fault: &str, text: Box<str>) -> Diagnosis {
        let sent = sent.map_or("", Sent::command);
        let (open, close) = if sent.is_empty() {
            ("", "")
        } else {
            (" (in reply to ", ")")
        };
        Diagnosis {
            status: PROTOCOL_ERROR,
            text: format!("host {self} sent {fault}: {text}{open}{sent}{close}").into(),
            reply: Some(text),
            remote_mta: Some((&*self.name).into()),
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&self, sent: Option<Sent>, why: &str) -> Diagnosis {
        let activity = sent.map_or(SENDING_BODY, Sent::activity);
        let text = if why.is_empty() || why == LOST {
            format!("{LOST} with {self} while {activity}")
        } else {
            format!("{LOST} with {self} while {activity}: {why}")
        };
        without_reply(text)
    }

    /// The peer was silent for too long.
    pub(super) fn timed_out(&self, sent: Option<Sent>) -> Diagnosis {
        let activity = sent.map_or(SENDING_BODY, Sent::activity);
        without_reply(format!(
            "conversation with {self} timed out while {activity}"
        ))
    }
}

/// What a refusal of MAIL, RCPT, DATA or content means.
pub(super) fn refusal(sent: Sent, code: ReplyCode, diagnosis: Diagnosis) -> Outcome {
    let subject = diagnosis.status.subject();
    let rcpt = matches!(sent, Sent::Rcpt(_));
    let ends = code.class() == 5 && !trial::has(Bug::PermanentIsTemporary);
    if ends || trial::has(Bug::TemporaryIsPermanent) {
        let blame = if rcpt {
            Blame::Recipient
        } else {
            Blame::Message
        };
        return Outcome::Failed { blame, diagnosis };
    }
    if strain(sent, code, &diagnosis).is_some() {
        let blame = Blame::Pace;
        return Outcome::Deferred { blame, diagnosis };
    }
    let host = match sent {
        Sent::Rcpt(_) => false,
        // A limit or a block of us as a client: all our mail would meet it.
        Sent::Mail => subject == SYSTEM || subject == POLICY,
        _ => subject == SYSTEM,
    };
    let blame = if host { Blame::Host } else { Blame::Recipient };
    Outcome::Deferred { blame, diagnosis }
}

/// A recipient beyond what the peer takes in one transaction. RFC 5321 §4.5.3.1.10 has the client
/// treat 552 as 452 here; an enhanced code that says something else (a full mailbox) is believed.
pub(super) fn is_too_many_recipients(code: ReplyCode, enhanced: Option<EnhancedStatus>) -> bool {
    matches!(code.number(), 452 | 552)
        && enhanced.is_none_or(|status| (status.subject(), status.detail()) == TOO_MANY_RECIPIENTS)
}

/// A peer without the EHLO command says one of these (RFC 5321 §3.2, §4.2.4; 550 is what some
/// say in practice).
pub(super) const fn is_ehlo_unknown(code: ReplyCode) -> bool {
    matches!(code.number(), 500 | 501 | 502 | 504 | 550)
}

impl Garbled {
    /// What the peer sent in place of a reply.
    pub(super) fn diagnosis(self, peer: &Peer, sent: Option<Sent>, text: Box<str>) -> Diagnosis {
        peer.babbled(sent, self.words(), text)
    }
}

impl Failure {
    /// What the failure means for mail that finds no other host.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let (blame, diagnosis) = (Blame::Host, self.diagnosis.clone());
        if self.permanent {
            Outcome::Failed { blame, diagnosis }
        } else {
            Outcome::Deferred { blame, diagnosis }
        }
    }
}

/// A diagnosis of ours, about something the peer never got to see.
fn without_reply(text: String) -> Diagnosis {
    Diagnosis::ours(BAD_CONNECTION, text)
}

const LOST: &str = "lost connection";
const SENDING_BODY: &str = "sending message body";
/// RFC 3463 §3.6: other protocol status.
const PROTOCOL_ERROR: EnhancedStatus = EnhancedStatus::new(4, 5, 0);
/// RFC 3463 §3.8: cryptographic failure, here of TLS that must be and cannot.
pub const TLS_NEEDED: EnhancedStatus = EnhancedStatus::new(4, 7, 4);
/// RFC 8689 §4.2.1: REQUIRETLS support required.
pub const REQUIRETLS_NEEDED: EnhancedStatus = EnhancedStatus::new(5, 7, 30);
/// RFC 3463 §3.5: bad connection.
const BAD_CONNECTION: EnhancedStatus = EnhancedStatus::new(4, 4, 2);
/// RFC 3463 §3.4: the mail system as a whole.
const SYSTEM: u16 = 3;
/// RFC 3463 §3.8: security or policy.
const POLICY: u16 = 7;
/// RFC 3463 §3.6: X.5.3.
const TOO_MANY_RECIPIENTS: (u16, u16) = (5, 3);
