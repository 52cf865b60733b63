//! Tells dialogues to whoever follows them. While nobody does, that is one look for each connection.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use futures_channel::mpsc::Sender;

use super::Shard;
use crate::observe::follow::{Follow, Spoken, Whom};
use crate::smtp::dialogue::{Dialogue, Side};
use crate::world::{Wall, World};

/// Who follows dialogues of this shard.
#[derive(Default)]
pub(super) struct Followers {
    all: RefCell<Vec<Follow>>,
    /// Connections that were followed.
    connections: Cell<u64>,
}

/// A connection that is followed.
pub(super) struct Tap {
    dialogue: Dialogue,
    listeners: Vec<Listener>,
    shard: usize,
    connection: u64,
    peer: String,
}

struct Listener {
    lines: Sender<Spoken>,
    lost: u64,
}

impl<W: World> Shard<W> {
    /// Lets somebody follow the connections that begin from now on; false when too many do.
    pub(super) fn let_follow(&self, follow: Follow) -> bool {
        let mut all = self.followers.all.borrow_mut();
        all.retain(|follow| !follow.lines.is_closed());
        if all.len() >= FOLLOWERS_MAX {
            return false;
        }
        all.push(follow);
        true
    }

    /// Whoever follows a client that has just connected, and has said `early` already.
    pub(super) fn tap_client(&self, client: IpAddr, early: &[u8]) -> Option<Box<Tap>> {
        let means = |whom: &Whom| whom.means_client(client);
        self.tap(means, || client.to_string(), early)
    }

    /// Whoever follows a host that was just connected to.
    pub(super) fn tap_host(&self, destination: &str, relay: &str) -> Option<Box<Tap>> {
        let means = |whom: &Whom| whom.means_host(destination, relay);
        self.tap(means, || relay.to_owned(), b"")
    }

    fn tap(
        &self,
        means: impl Fn(&Whom) -> bool,
        peer: impl Fn() -> String,
        early: &[u8],
    ) -> Option<Box<Tap>> {
        if self.followers.all.borrow().is_empty() {
            return None;
        }
        let mut all = self.followers.all.borrow_mut();
        all.retain(|follow| !follow.lines.is_closed());
        let meant = all.iter().filter(|one| means(&one.whom));
        let listeners: Vec<Listener> = meant
            .map(|one| Listener {
                lines: one.lines.clone(),
                lost: 0,
            })
            .collect();
        if listeners.is_empty() {
            return None;
        }
        let connection = self.followers.connections.get() + 1;
        self.followers.connections.set(connection);
        let mut tap = Tap {
            dialogue: Dialogue::default(),
            listeners,
            shard: self.mesh.here(),
            connection,
            peer: peer(),
        };
        let now = self.world.wall();
        tap.note(now, "connected");
        tap.client(now, early);
        Some(Box::new(tap))
    }
}

impl Tap {
    /// The client of the connection has said this.
    pub(super) fn client(&mut self, at: Wall, octets: &[u8]) {
        let mut said = Vec::new();
        let mut tell = |side, words| said.push((side, words));
        self.dialogue.client(octets, &mut tell);
        self.tell_all(at, said);
    }

    /// Its server has said this.
    pub(super) fn server(&mut self, at: Wall, octets: &[u8]) {
        let mut said = Vec::new();
        let mut tell = |side, words| said.push((side, words));
        self.dialogue.server(octets, &mut tell);
        self.tell_all(at, said);
    }

    /// So much content went out.
    pub(super) fn content(&mut self, octets: u64) {
        self.dialogue.content(octets);
    }

    /// Something happened to the connection.
    pub(super) fn note(&mut self, at: Wall, words: &str) {
        self.tell(at, "relay", words);
    }

    fn tell_all(&mut self, at: Wall, said: Vec<(Side, String)>) {
        for (side, words) in said {
            let side = match side {
                Side::Client => "client",
                Side::Server => "server",
            };
            self.tell(at, side, &words);
        }
    }

    /// Whoever does not take lines in time loses them, and hears how many. Mail waits for nobody.
    fn tell(&mut self, at: Wall, side: &str, words: &str) {
        self.listeners
            .retain(|listener| !listener.lines.is_closed());
        for listener in &mut self.listeners {
            let spoken = Spoken {
                at: at.0,
                shard: self.shard,
                connection: self.connection,
                peer: self.peer.clone(),
                side: side.to_owned(),
                words: words.to_owned(),
                lost: listener.lost,
            };
            match listener.lines.try_send(spoken) {
                Ok(()) => listener.lost = 0,
                Err(_) => listener.lost += 1,
            }
        }
    }
}

/// Who may follow at a time.
const FOLLOWERS_MAX: usize = 8;
