//! Where connections come in: accepted, unwrapped of a balancer's header, counted, and handed to
//! what is spoken behind the door.

use std::io::IoSlice;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use super::visitors::Visitor;
use crate::config::{self, Protocol};
use crate::shard::Shard;
use crate::shard::inbound;
use crate::shard::inbound::watch::Looks;
use crate::shard::retrieve::{self, Retrieval};
use crate::smtp::proxy;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Encryption, ServerKind};
use crate::tls::Channel;
use crate::tls::caller::{ClientAuth, Guest};
use crate::world::{Class, Listener, Stream as _, Tick, World};

/// One listening address of the shard.
pub(in crate::shard) struct Door<W: World> {
    pub(in crate::shard) listener: W::Listener,
    speaks: Speaks,
    /// TLS comes first on every connection (RFC 8314 §3).
    tls_first: bool,
    /// A PROXY header comes before everything.
    proxied: bool,
    /// What clients have to show of themselves.
    asks: ClientAuth,
    /// Whom a certificate lets relay.
    guests: Rc<[Guest]>,
    /// Whose mail comes in here.
    tenant: Option<Rc<str>>,
}

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// By clients that bring mail.
    Smtp(Manners),
    /// By users who fetch it.
    Retrieval(Retrieval),
}

/// What is done with mail that comes in at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Manners {
    pub(in crate::shard) kind: ServerKind,
    /// What is looked at in it.
    pub(in crate::shard) looks: Looks,
    /// Where it comes from is told to nobody behind us.
    pub(in crate::shard) hides: bool,
}

/// A connection that was let in.
pub(in crate::shard) struct Arrival<W: World> {
    pub(in crate::shard) connection: Connection<W>,
    /// It comes from a trusted network. A client that its balancer does not name never does: some
    /// call a client unknown whose address is of another family than their own.
    pub(in crate::shard) is_trusted: bool,
    pub(in crate::shard) encryption: Encryption,
    /// Whom a certificate lets relay.
    pub(in crate::shard) guests: Rc<[Guest]>,
    /// Whose mail comes in here.
    pub(in crate::shard) tenant: Option<Rc<str>>,
    /// When it was accepted.
    pub(in crate::shard) accepted: Tick,
}

impl<W: World> Door<W> {
    pub(in crate::shard) fn new(listener: W::Listener, config: &config::Listener) -> Self {
        let smtp = |kind| {
            Speaks::Smtp(Manners {
                kind,
                looks: Looks::new(config),
                hides: config.hide_client,
            })
        };
        let (speaks, tls_first) = match config.protocol {
            Protocol::Smtp => (smtp(ServerKind::Smtp), false),
            Protocol::Lmtp => (smtp(ServerKind::Lmtp), false),
            Protocol::Submission => (smtp(ServerKind::Submission), false),
            Protocol::Submissions => (smtp(ServerKind::Submission), true),
            Protocol::Pop3 => (Speaks::Retrieval(Retrieval::Pop3), false),
            Protocol::Pop3s => (Speaks::Retrieval(Retrieval::Pop3), true),
            Protocol::Imap => (Speaks::Retrieval(Retrieval::Imap), false),
            Protocol::Imaps => (Speaks::Retrieval(Retrieval::Imap), true),
        };
        Self {
            listener,
            speaks,
            tls_first,
            proxied: config.proxy_protocol,
            asks: config.client_auth,
            guests: config.trusted_clients.clone().into(),
            tenant: config.tenant.as_deref().map(Rc::from),
        }
    }

    fn class(&self) -> Class {
        match self.speaks {
            Speaks::Smtp(_) => Class::Inbound,
            Speaks::Retrieval(_) => Class::Retrieve,
        }
    }
}

/// Accepts until the listener is closed.
pub(in crate::shard) async fn accept<W: World>(shard: Rc<Shard<W>>, door: Rc<Door<W>>) {
    loop {
        match door.listener.accept().await {
            Ok(stream) => begin(&shard, &door, stream),
            Err(_) if shard.visits.is_closed() => return,
            Err(error) => {
                // Out of descriptors: accept fails at once, again and again, until one is free.
                shard.warn(format_args!("cannot accept a connection: {error}"));
                let until = shard.world.now() + ACCEPT_PAUSE;
                shard.world.sleep(until).await;
            }
        }
    }
}

fn begin<W: World>(shard: &Rc<Shard<W>>, door: &Rc<Door<W>>, stream: W::Stream) {
    let Some(pass) = shard.visits.enter() else {
        return;
    };
    let accepted = shard.world.now();
    let (shard, door) = (Rc::clone(shard), Rc::clone(door));
    let world = shard.world.clone();
    world.spawn(door.class(), async move {
        let Some(arrival) = let_in(&shard, &door, stream, accepted).await else {
            return;
        };
        match door.speaks {
            Speaks::Smtp(manners) => inbound::receive(&shard, manners, arrival, &pass).await,
            // Apart: who brings mail need not have room for what fetching it takes.
            Speaks::Retrieval(kind) => {
                Box::pin(retrieve::receive(&shard, kind, arrival, &pass)).await;
            }
        }
        drop(pass);
    });
}

/// Learns who it is, and counts it.
async fn let_in<W: World>(
    shard: &Rc<Shard<W>>,
    door: &Door<W>,
    stream: W::Stream,
    accepted: Tick,
) -> Option<Arrival<W>> {
    let mut stream = Channel::plain(stream);
    let mut early = Vec::new();
    let mut client = stream.peer().ip().to_canonical();
    let mut is_named = true;
    if door.proxied {
        match unwrap_proxy(shard, &mut stream, &mut early).await? {
            Some(named) => client = named,
            None => is_named = false,
        }
    }
    let is_trusted = is_named && shard.settings().trusts(client);
    let encryption = match shard.settings().tls.server(door.asks) {
        // Where there is none now, the connection ends: nothing is said in plain at such a door.
        _ if door.tls_first => Encryption::Active,
        Some(_) => Encryption::Offered,
        None => Encryption::Absent,
    };
    let Some(visitor) = count(shard, door.speaks, client, is_trusted) else {
        // Where TLS comes first, plain words would be noise.
        if !door.tls_first {
            let refusal = refusal(door.speaks);
            let until = shard.world.now() + REFUSAL_WAIT;
            let _ = stream.write(&mut [IoSlice::new(&refusal)], until).await;
        }
        stream.shutdown();
        return None;
    };
    Some(Arrival {
        connection: Connection::new(stream, early, client, accepted, visitor).asking(door.asks),
        guests: Rc::clone(&door.guests),
        tenant: door.tenant.clone(),
        is_trusted,
        encryption,
        accepted,
    })
}

/// Those who bring mail and those who fetch it do not stand in each other's way.
fn count<W: World>(
    shard: &Shard<W>,
    speaks: Speaks,
    client: IpAddr,
    is_trusted: bool,
) -> Option<Visitor> {
    let settings = shard.settings();
    let (smtp, mailboxes) = (&settings.config.smtp, &settings.config.mailboxes);
    let (visitors, all, of_client) = match speaks {
        Speaks::Smtp(_) => (
            &shard.visitors.senders,
            smtp.max_connections,
            smtp.max_connections_per_client,
        ),
        Speaks::Retrieval(_) => (
            &shard.visitors.readers,
            mailboxes.max_connections,
            mailboxes.max_connections_per_client,
        ),
    };
    // Trusted networks send in bulk; they share the limit of all.
    let counted = (!is_trusted).then_some((client, of_client));
    visitors.enter(all, counted)
}

fn refusal(speaks: Speaks) -> Vec<u8> {
    let mut refusal = Vec::new();
    match speaks {
        Speaks::Smtp(_) => Reply::too_many_connections().write_into(&mut refusal),
        Speaks::Retrieval(kind) => {
            refusal.extend_from_slice(kind.too_many_connections().as_bytes())
        }
    }
    refusal
}

/// Reads the PROXY header: the client it names, `None` inside for a balancer's own check; `None`
/// for whoever does not speak the protocol. `early` gets what came after it.
async fn unwrap_proxy<W: World>(
    shard: &Shard<W>,
    stream: &mut Channel<W::Stream>,
    early: &mut Vec<u8>,
) -> Option<Option<IpAddr>> {
    let until = shard.world.now() + PROXY_WAIT;
    loop {
        match proxy::parse(early) {
            proxy::Parsed::Header(len, client) => {
                early.drain(..len);
                return Some(client.map(|client| client.ip().to_canonical()));
            }
            proxy::Parsed::Bad => return None,
            proxy::Parsed::More => {}
        }
        let end = early.len();
        early.resize(end + PROXY_BUFFER_OCTETS, 0);
        let len = stream.read(&mut early[end..], until).await.unwrap_or(0);
        early.truncate(end + len);
        if len == 0 {
            return None;
        }
    }
}

/// How long accepting rests when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to read a refusal of its connection.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);
/// How long a balancer may take for its header, which it sends at once.
const PROXY_WAIT: Duration = Duration::from_secs(5);
/// More than any header has.
const PROXY_BUFFER_OCTETS: usize = 1024;
