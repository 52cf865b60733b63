//! The four states of a session (RFC 9051 §3) and which command has its place in which. The table
//! is the specification.

use imap_codec::imap_types::command::CommandBody;

use super::read::Body;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has logged in.
    NotAuthenticated,
    /// Somebody has.
    Authenticated,
    /// A mailbox is open.
    Selected,
    /// It is over.
    Logout,
}

/// The states in which a command may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All but the last.
    Any,
    /// Before the login alone.
    Before,
    /// From the login on.
    After,
    /// While a mailbox is open.
    Open,
}

impl State {
    /// May a command of this place be given here? Else what is wrong.
    pub fn allows(self, place: Place) -> Result<(), &'static str> {
        use State::{Authenticated, Logout, NotAuthenticated, Selected};
        match (self, place) {
            (Logout, _) => Err("The session is over"),
            (_, Place::Any)
            | (NotAuthenticated, Place::Before)
            | (Authenticated | Selected, Place::After)
            | (Selected, Place::Open) => Ok(()),
            (Authenticated | Selected, Place::Before) => Err("Already logged in"),
            (NotAuthenticated, Place::After | Place::Open) => Err("Log in first"),
            (Authenticated, Place::Open) => Err("No mailbox selected"),
        }
    }
}

/// Where a command has its place.
#[must_use]
pub fn place(body: &Body) -> Place {
    let command = match body {
        Body::Plain(command)
        | Body::Search(command, _)
        | Body::FetchPreview(command)
        | Body::StatusLimit(command) => command,
        Body::Append(..) | Body::Create(..) | Body::List(_) => return Place::After,
    };
    match &**command {
        CommandBody::Capability
        | CommandBody::Noop
        | CommandBody::Logout
        | CommandBody::Id { .. } => Place::Any,
        CommandBody::StartTLS | CommandBody::Authenticate { .. } | CommandBody::Login { .. } => {
            Place::Before
        }
        CommandBody::Check
        | CommandBody::Close
        | CommandBody::Unselect
        | CommandBody::Expunge
        | CommandBody::ExpungeUid { .. }
        | CommandBody::Search { .. }
        | CommandBody::Sort { .. }
        | CommandBody::Thread { .. }
        | CommandBody::Fetch { .. }
        | CommandBody::Store { .. }
        | CommandBody::Copy { .. }
        | CommandBody::Move { .. } => Place::Open,
        _ => Place::After,
    }
}

/// Every command there is: whoever gives one of these and is not understood has its arguments
/// wrong.
pub const VERBS: [&str; 42] = [
    "APPEND",
    "AUTHENTICATE",
    "CAPABILITY",
    "CHECK",
    "CLOSE",
    "COMPRESS",
    "COPY",
    "CREATE",
    "DELETE",
    "ENABLE",
    "EXAMINE",
    "EXPUNGE",
    "FETCH",
    "GETQUOTA",
    "GETQUOTAROOT",
    "ID",
    "IDLE",
    "LIST",
    "LOGIN",
    "LOGOUT",
    "LSUB",
    "MOVE",
    "NAMESPACE",
    "NOOP",
    "NOTIFY",
    "RENAME",
    "SEARCH",
    "SELECT",
    "SETQUOTA",
    "SORT",
    "STARTTLS",
    "STATUS",
    "STORE",
    "SUBSCRIBE",
    "THREAD",
    "UID",
    "UNAUTHENTICATE",
    "UNSELECT",
    "UNSUBSCRIBE",
    "GETMETADATA",
    "SETMETADATA",
    "REPLACE",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::frame::Frame;
    use crate::imap::read;

    /// A row for each command: may it be given before the login, after it, with a mailbox open?
    const TABLE: &str = "\
CAPABILITY yes yes yes
NOOP yes yes yes
LOGOUT yes yes yes
ID NIL yes yes yes
STARTTLS yes no no
LOGIN u p yes no no
AUTHENTICATE PLAIN yes no no
ENABLE CONDSTORE no yes yes
SELECT x no yes yes
EXAMINE x no yes yes
CREATE x no yes yes
DELETE x no yes yes
RENAME x y no yes yes
SUBSCRIBE x no yes yes
UNSUBSCRIBE x no yes yes
LIST \"\" * no yes yes
LSUB \"\" * no yes yes
NAMESPACE no yes yes
STATUS x (MESSAGES) no yes yes
STATUS x (APPENDLIMIT) no yes yes
IDLE no yes yes
COMPRESS DEFLATE no yes yes
GETQUOTA x no yes yes
GETQUOTAROOT x no yes yes
CHECK no no yes
CLOSE no no yes
UNSELECT no no yes
EXPUNGE no no yes
UID EXPUNGE 1 no no yes
SEARCH ALL no no yes
UID SEARCH RETURN (MIN) ALL no no yes
SORT (DATE) UTF-8 ALL no no yes
THREAD REFERENCES UTF-8 ALL no no yes
FETCH 1 FLAGS no no yes
FETCH 1 PREVIEW no no yes
STORE 1 FLAGS () no no yes
COPY 1 x no no yes
MOVE 1 x no no yes";

    #[test]
    fn the_table_is_kept() {
        for row in TABLE.lines() {
            let words: Vec<&str> = row.rsplitn(4, ' ').collect();
            let [open, after, before, command] = *words else {
                panic!("{row}");
            };
            let frame = Frame {
                text: format!("a {command}\r\n").into_bytes(),
                literals: Vec::new(),
            };
            let place = place(&read::request(&frame).expect(command).body);
            let states = [
                (State::NotAuthenticated, before),
                (State::Authenticated, after),
                (State::Selected, open),
                (State::Logout, "no"),
            ];
            for (state, expected) in states {
                let allowed = if state.allows(place).is_ok() {
                    "yes"
                } else {
                    "no"
                };
                assert_eq!(allowed, expected, "{command} in {state:?}");
            }
        }
    }
}
