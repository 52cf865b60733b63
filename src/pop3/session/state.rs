//! Which command is in order when: one table, and nothing elsewhere decides it.

use crate::pop3::command::Verb;
use crate::pop3::reply::Reply;

/// RFC 1939 §3. UPDATE is not here: it has no commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Who is it?
    Authorization,
    /// The maildrop is open and locked.
    Transaction,
}

/// What the table says to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// In order.
    Go,
    /// It comes after the login.
    After,
    /// It comes before the login.
    Before,
    /// No such command.
    Unknown,
}

/// Columns: Authorization, Transaction.
pub(super) const fn rule(verb: Verb, state: State) -> Rule {
    use Rule::{After, Before, Go, Unknown};
    let row = match verb {
        Verb::User | Verb::Pass | Verb::Apop | Verb::Auth => [Go, Before],
        Verb::Stls | Verb::Utf8 => [Go, Before],
        Verb::Capa | Verb::Lang | Verb::Quit => [Go, Go],
        Verb::Stat | Verb::List | Verb::Uidl | Verb::Retr | Verb::Top => [After, Go],
        Verb::Dele | Verb::Rset | Verb::Noop => [After, Go],
        Verb::Unknown => [Unknown, Unknown],
    };
    row[state as usize]
}

impl Rule {
    /// What a command that is not in order hears; `None` for one that is.
    pub(super) const fn refusal(self) -> Option<Reply> {
        match self {
            Self::Go => None,
            Self::After => Some(Reply::LOG_IN_FIRST),
            Self::Before => Some(Reply::LOGGED_IN_ALREADY),
            Self::Unknown => Some(Reply::UNKNOWN),
        }
    }
}
