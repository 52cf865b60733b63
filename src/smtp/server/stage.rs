//! Which command is in order when: one table, and nothing elsewhere decides it.

use super::limits::ServerKind;
use crate::smtp::command::Verb;
use crate::smtp::reply::Reply;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No hello yet.
    Fresh,
    /// Between transactions.
    Greeted,
    /// MAIL was accepted.
    Sender,
    /// And at least one RCPT.
    Recipients,
    /// Some BDAT, and not the last.
    Chunks,
}

/// What the table says to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// In order.
    Go,
    /// Hello comes first.
    Hello,
    /// Known, and not now.
    Order,
    /// Nobody to send to.
    Nobody,
    /// The hello of another protocol.
    Foreign,
    /// Not offered.
    Off,
    /// No such command.
    Unknown,
    /// No client of ours: close.
    HangUp,
}

/// What `verb` is worth at `stage`.
pub(super) fn rule(kind: ServerKind, verb: Verb, stage: Stage) -> Rule {
    let ours = match verb {
        Verb::Lhlo => kind == ServerKind::Lmtp,
        Verb::Helo | Verb::Ehlo => kind != ServerKind::Lmtp,
        _ => true,
    };
    if ours {
        row(verb)[stage as usize]
    } else {
        Rule::Foreign
    }
}

/// Columns: Fresh, Greeted, Sender, Recipients, Chunks (RFC 5321 §4.1.4, RFC 3030 §2).
const fn row(verb: Verb) -> [Rule; 5] {
    use Rule::{Go, HangUp, Hello, Nobody, Off, Order, Unknown};
    match verb {
        Verb::Mail => [Hello, Go, Order, Order, Order],
        Verb::Rcpt => [Hello, Order, Go, Go, Order],
        Verb::Data => [Hello, Order, Nobody, Go, Order],
        Verb::Bdat => [Hello, Order, Nobody, Go, Go],
        Verb::Helo | Verb::Ehlo | Verb::Lhlo => [Go; 5],
        Verb::StartTls | Verb::Auth => [Hello, Go, Order, Order, Order],
        Verb::Rset | Verb::Noop | Verb::Quit | Verb::Vrfy | Verb::Help => [Go; 5],
        Verb::NotOffered => [Off; 5],
        Verb::Unknown => [Unknown; 5],
        Verb::Http => [HangUp; 5],
    }
}

impl Rule {
    /// What a command that is not in order hears; `None` for one that is.
    pub(super) fn refusal(self) -> Option<Reply> {
        match self {
            Self::Go => None,
            Self::Hello => Some(Reply::hello_first()),
            Self::Order => Some(Reply::out_of_order()),
            Self::Nobody => Some(Reply::no_valid_recipients()),
            Self::Foreign => Some(Reply::wrong_hello()),
            Self::Off => Some(Reply::not_implemented()),
            Self::Unknown => Some(Reply::unknown_command()),
            Self::HangUp => Some(Reply::not_smtp()),
        }
    }
}
