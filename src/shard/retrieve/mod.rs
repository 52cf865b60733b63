//! Users who fetch their mail: POP3 and IMAP.
//!
//! ```text
//! door ─► greeting ─► TLS ─► login ─► is the user at home here?
//!                                       yes ─► mailbox opened, session goes on
//!                                       no  ─► packed, a letter through the mesh ─► home shard
//! ```
//!
//! All sessions of a user run on one shard, the user's home ([`Mesh::home_of_user`]): there the
//! mailbox is open once and nothing of it needs a lock. A session that begins elsewhere moves when
//! its client has logged in, with its TLS and with what was read ahead; the client notices nothing.
//!
//! [`Mesh::home_of_user`]: crate::shard::mesh::Mesh::home_of_user

mod imap;
mod lodgers;
mod pop3;

use std::rc::Rc;

use super::Shard;
use crate::observe::stage::Stage;
use crate::pop3::reply::Reply;
use crate::shard::clients::connection::{Connection, Packed};
use crate::shard::clients::door::Arrival;
use crate::shard::life::gate::Pass;
use crate::shard::mesh::Letter;
use crate::smtp::server::Encryption;
use crate::world::{Class, World};

pub(super) use lodgers::Lodgers;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retrieval {
    Pop3,
    Imap,
}

impl Retrieval {
    /// What a connection hears that is one too many, in place of a greeting.
    pub(super) fn too_many_connections(self) -> String {
        let words = match self {
            Self::Pop3 => Reply::TOO_MANY_CONNECTIONS.text(),
            Self::Imap => "* BYE [UNAVAILABLE] Too many connections: try again later.",
        };
        format!("{words}\r\n")
    }
}

/// A user who has logged in on another shard, on the way home.
pub struct Guest {
    connection: Packed,
    user: String,
    session: Speaking,
}

/// A session in the middle of its login: the answer is given at home.
enum Speaking {
    Pop3(Box<crate::pop3::session::Session>),
    Imap(Box<imap::Moving>),
}

/// A connection from its first octet on.
pub(super) async fn receive<W: World>(
    shard: &Rc<Shard<W>>,
    kind: Retrieval,
    arrival: Arrival<W>,
    pass: &Pass,
) {
    let Arrival {
        mut connection,
        encryption,
        accepted,
        ..
    } = arrival;
    connection.record_as(Stage::RetrievalCommand);
    let login_timeout = shard.settings().config.mailboxes.login_timeout;
    connection.end_at(accepted + login_timeout);
    if encryption == Encryption::Active && connection.begin_tls(shard).await.is_err() {
        return connection.close(shard).await;
    }
    match kind {
        Retrieval::Pop3 => pop3::greet(shard, connection, encryption, pass).await,
        Retrieval::Imap => imap::greet(shard, connection, encryption, pass).await,
    }
}

impl<W: World> Shard<W> {
    /// Lets a user who has logged in elsewhere go on here.
    pub(super) fn welcome(self: &Rc<Self>, guest: Guest) {
        // Closed: the shard ends, and so does the connection.
        let Some(pass) = self.visits.enter() else {
            return;
        };
        let shard = Rc::clone(self);
        self.world.spawn(Class::Retrieve, async move {
            let Guest {
                connection,
                user,
                session,
            } = guest;
            let connection = match Connection::unpack(&shard.world, connection) {
                Ok(connection) => connection,
                Err(error) => {
                    return shard.warn(format_args!("{user}: lost on the way home: {error}"));
                }
            };
            match session {
                Speaking::Pop3(session) => {
                    pop3::settle(&shard, connection, *session, user, &pass).await;
                }
                Speaking::Imap(moving) => {
                    imap::settle(&shard, connection, *moving, user, &pass).await;
                }
            }
            drop(pass);
        });
    }

    /// Is this the user's home shard?
    fn is_home_of(&self, user: &str) -> bool {
        self.mesh.home_of_user(user) == self.mesh.here()
    }

    /// Sends a session to its user's home shard.
    fn send_home(&self, connection: Connection<W>, user: String, session: Speaking) {
        let home = self.mesh.home_of_user(&user);
        match connection.pack(&self.world) {
            Ok(connection) => {
                let guest = Guest {
                    connection,
                    user,
                    session,
                };
                self.mesh.send(home, Letter::Guest(Box::new(guest)));
            }
            // Out of descriptors.
            Err(error) => self.warn(format_args!("{user}: cannot go home: {error}")),
        }
    }
}
