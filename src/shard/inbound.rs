//! A client's session: stream to [`ServerSession`] to spool to queue.
//!
//! ```text
//! read ─► session.step ─► Recipient ─► route ─► accepted or refused
//!                         Content   ─► gather (memory, then extent)
//!                         Message   ─► spool.accept ─► Receipt ─► queue ─► 250
//! ```

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;

use super::Shard;
use super::gate::Pass;
use super::gather::Gathering;
use super::login::Login;
use super::store::Origin;
use super::verify::Watch;
use super::visitors::Visitor;
use crate::observe::stage::Stage;
use crate::smtp::proxy;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Encryption, ServerKind, ServerSession, Step};
use crate::tls::Channel;
use crate::users::sasl::Binding;
use crate::world::{Class, Listener, Stream as _, Tick, World};

/// One listening address of the shard.
pub(super) struct Door<W: World> {
    pub(super) listener: W::Listener,
    pub(super) kind: ServerKind,
    /// TLS comes first on every connection (RFC 8314 §3).
    pub(super) tls_first: bool,
    /// A PROXY header comes before everything.
    pub(super) proxied: bool,
    /// Who mail is from is found out.
    pub(super) verifies: bool,
}

/// Accepts until the listener is closed.
pub(super) async fn accept<W: World>(shard: Rc<Shard<W>>, door: Rc<Door<W>>) {
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
    world.spawn(Class::Inbound, async move {
        receive(&shard, &door, stream, accepted, &pass).await;
        drop(pass);
    });
}

/// One connection, from its first octet to its last.
async fn receive<W: World>(
    shard: &Rc<Shard<W>>,
    door: &Door<W>,
    stream: W::Stream,
    accepted: Tick,
    pass: &Pass,
) {
    let mut stream = Channel::plain(stream);
    let mut early = Vec::new();
    let mut client = stream.peer().ip().to_canonical();
    if door.proxied {
        match unwrap_proxy(shard, &mut stream, &mut early).await {
            Some(named) => client = named.unwrap_or(client),
            None => return stream.shutdown(),
        }
    }
    let settings = shard.settings();
    let may_relay = settings.trusts(client);
    let smtp = &settings.config.smtp;
    // Trusted networks send in bulk; they share the limit of all.
    let counted = (!may_relay).then_some((client, smtp.max_connections_per_client));
    let Some(visitor) = shard.visitors.enter(smtp.max_connections, counted) else {
        let mut refusal = Vec::new();
        Reply::too_many_connections().write_into(&mut refusal);
        let until = shard.world.now() + REFUSAL_WAIT;
        let _ = stream.write(&mut [IoSlice::new(&refusal)], until).await;
        return stream.shutdown();
    };
    let encryption = match &settings.tls.server {
        Some(_) if door.tls_first => Encryption::Active,
        Some(_) => Encryption::Offered,
        None => Encryption::Absent,
    };
    let limits = Rc::clone(&settings.server);
    let session = ServerSession::new(limits, door.kind, client, may_relay, encryption);
    let visit = Visit {
        shard,
        stream,
        session,
        unread: 0..early.len(),
        buffer: early,
        gathering: None,
        login: Login::default(),
        client,
        verifies: door.verifies,
        accepted: Some(accepted),
        began: accepted,
        heard: None,
        ends: accepted + smtp.session_timeout,
        _visitor: visitor,
    };
    visit.run(pass).await;
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
        early.resize(end + LINE_BUFFER_OCTETS, 0);
        let len = stream.read(&mut early[end..], until).await.unwrap_or(0);
        early.truncate(end + len);
        if len == 0 {
            return None;
        }
    }
}

/// One connection of a client.
struct Visit<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    stream: Channel<W::Stream>,
    session: ServerSession,
    buffer: Vec<u8>,
    /// What of `buffer` was read and not yet consumed.
    unread: std::ops::Range<usize>,
    gathering: Option<Gathering<W>>,
    login: Login,
    client: IpAddr,
    verifies: bool,
    /// When the connection was accepted; `None` once it was greeted.
    accepted: Option<Tick>,
    /// When the message's body began.
    began: Tick,
    /// When what is being answered was read; `None` when all of it is.
    heard: Option<Tick>,
    /// When the session ends whatever it does.
    ends: Tick,
    _visitor: Visitor,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Read,
    End,
}

impl<W: World> Visit<'_, W> {
    async fn run(mut self, pass: &Pass) {
        let mut secured = Ok(());
        if self.session.encryption() == Encryption::Active {
            secured = self.secure().await;
        }
        self.offer_auth();
        while secured.is_ok() {
            let next = match self.step().await {
                Ok(Next::Read) => self.read(pass).await,
                other => other,
            };
            match next {
                Ok(Next::End) | Err(_) => break,
                Ok(_) => {}
            }
        }
        if let Some(gathering) = self.gathering.take() {
            gathering.discard().await;
        }
        let until = self.shard.world.now() + PARTING_WAIT;
        self.stream.close(until).await;
    }

    /// One step of the session.
    async fn step(&mut self) -> io::Result<Next> {
        let may_relay = self.session.may_relay();
        let (consumed, step) = self.session.step(&self.buffer[self.unread.clone()]);
        self.unread.start += consumed;
        match step {
            Step::NeedInput => return Ok(Next::Read),
            Step::Flush => self.flush().await?,
            Step::Recipient(recipient) => match self.shard.settings().judge(recipient, may_relay) {
                Ok(()) => self.session.recipient_accepted(),
                Err(reply) => self.session.recipient_refused(reply),
            },
            Step::Mail => match self.may_begin() {
                Ok(()) => self.session.mail_accepted(),
                Err(reply) => self.session.mail_refused(reply),
            },
            Step::Data => self.begin_message().await,
            Step::Content(piece) => {
                if let Some(gathering) = &mut self.gathering {
                    gathering.append(self.shard, piece.held).await;
                    gathering.append(self.shard, piece.octets).await;
                }
            }
            Step::Message => self.end_message().await,
            Step::StartTls => return self.start_tls().await,
            Step::Auth(mechanism, said) => {
                let (mechanism, said) = (mechanism.to_owned(), said.map(<[u8]>::to_vec));
                let (shard, client, session) = (self.shard, self.client, &mut self.session);
                let binding = self.stream.binding().map(Binding);
                self.login
                    .begin(shard, client, &mechanism, said.as_deref(), binding, session)
                    .await;
            }
            Step::AuthResponse(said) => {
                let said = said.to_vec();
                let (shard, client, session) = (self.shard, self.client, &mut self.session);
                self.login.go_on(shard, client, Some(&said), session).await;
            }
            Step::Discard => {
                if let Some(gathering) = self.gathering.take() {
                    gathering.discard().await;
                }
            }
            Step::Close => {
                self.flush().await?;
                return Ok(Next::End);
            }
        }
        Ok(Next::Again)
    }

    /// Lets a message begin: memory first by waiting, then by saying so.
    async fn begin_message(&mut self) {
        if self.shard.budget.room(&self.shard.world).await {
            let announced = self.session.announced_size();
            let watch = self.watch();
            self.gathering = Some(Gathering::new(self.shard, announced, watch));
            self.began = self.shard.world.now();
            self.session.data_accepted();
        } else {
            self.session.data_refused(Reply::out_of_memory());
        }
    }

    /// Mail of a user who has logged in is that user's: there is nothing to find out.
    fn watch(&self) -> Option<Watch> {
        let wanted = self.verifies && self.session.user().is_none();
        wanted.then(|| Watch::new(&self.shard.settings().hostname))
    }

    /// The message is complete: on disk first, then 250.
    async fn end_message(&mut self) {
        let shard = self.shard;
        let (Some(mut gathering), Some(mut transaction)) =
            (self.gathering.take(), self.session.transaction())
        else {
            self.session.message_refused(Reply::local_error());
            return;
        };
        shard.record(Stage::BodyReceived, shard.world.now().since(self.began));
        let origin = Origin {
            client: self.client,
            tls: self.stream.facts().map(|facts| facts.suite),
        };
        let (client, may_relay) = (self.client, self.session.may_relay());
        let verified = shard.verify(&mut gathering, &mut transaction, client, may_relay);
        let field = match verified.await {
            Ok(field) => field,
            Err(reply) => {
                gathering.discard().await;
                self.session.message_refused(reply);
                return;
            }
        };
        match shard.store(gathering, transaction, &origin, field).await {
            Ok(receipt) => self.session.message_accepted(&receipt),
            Err(reply) => self.session.message_refused(reply),
        }
    }

    /// 220, and the handshake. What the client has sent behind STARTTLS was not said under TLS, and
    /// whoever sent it may be somebody else: it is thrown away (RFC 3207 §4.2).
    async fn start_tls(&mut self) -> io::Result<Next> {
        let injected = self.unread.len();
        self.unread = 0..0;
        if injected > 0 {
            self.shard.warn(format_args!(
                "{}: {injected} octets in plain behind STARTTLS were thrown away",
                self.client
            ));
        }
        self.flush().await?;
        self.secure().await?;
        self.session.secured();
        self.offer_auth();
        Ok(Next::Again)
    }

    fn offer_auth(&mut self) {
        let (kind, encryption) = (self.session.kind(), self.session.encryption());
        let settings = self.shard.settings();
        let is_bound = self.stream.binding().is_some();
        let mechanisms = settings.mechanisms(kind, encryption, is_bound, self.client);
        self.session.offer_auth(mechanisms);
    }

    /// May a transaction begin? Not while its message could not be stored, and not with somebody
    /// else's address.
    fn may_begin(&self) -> Result<(), Reply> {
        self.shard.may_begin()?;
        self.shard.settings().judge_sender(&self.session)
    }

    async fn secure(&mut self) -> io::Result<()> {
        let Some(server) = self.shard.settings().tls.server.clone() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let until = (self.shard.world.now() + HANDSHAKE_WAIT).min(self.ends);
        let secured = self.stream.accept(server, until).await;
        if let Err(error) = &secured {
            let client = self.client;
            self.shard.say(format_args!("{client}: no TLS: {error}"));
        }
        secured
    }

    /// Writes what the session has to say, in one call.
    async fn flush(&mut self) -> io::Result<()> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let until = self.shard.world.now() + WRITE_WAIT;
        let written = self.stream.write(&mut [IoSlice::new(output)], until).await;
        output.clear();
        if let Some(heard) = self.heard.take() {
            let took = self.shard.world.now().since(heard);
            self.shard.record(Stage::Command, took);
        }
        if let Some(accepted) = self.accepted.take() {
            let took = self.shard.world.now().since(accepted);
            self.shard.record(Stage::AcceptToBanner, took);
        }
        written
    }

    /// Reads once, after all replies are out.
    async fn read(&mut self, pass: &Pass) -> io::Result<Next> {
        if self.shard.visits.is_closed() && !self.session.in_transaction() {
            // Said once; the session then wants to close.
            self.session.shutdown();
            self.flush().await?;
            return Ok(Next::End);
        }
        self.flush().await?;
        self.make_room();
        let deadline = (self.shard.world.now() + self.session.wait()).min(self.ends);
        let in_transaction = self.session.in_transaction();
        let read = self
            .stream
            .read(&mut self.buffer[self.unread.end..], deadline);
        let read = if in_transaction || self.shard.visits.is_closed() {
            read.await
        } else {
            let closed = async {
                pass.closed().await;
                Err(io::ErrorKind::Interrupted.into())
            };
            future::or(read, closed).await
        };
        match read {
            Ok(0) => Ok(Next::End),
            Ok(len) => {
                self.unread.end += len;
                if self.gathering.is_none() {
                    self.heard = Some(self.shard.world.now());
                }
                Ok(Next::Again)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Next::Read),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.session.handle_timeout();
                self.flush().await?;
                Ok(Next::End)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that a read has somewhere to go, without keeping more than the moment needs.
    fn make_room(&mut self) {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let wanted = if self.gathering.is_some() {
            DATA_BUFFER_OCTETS
        } else {
            LINE_BUFFER_OCTETS
        };
        if self.buffer.len() > wanted && self.unread.end < wanted {
            self.buffer.truncate(wanted);
            self.buffer.shrink_to_fit();
        }
        if self.buffer.len() < wanted || self.buffer.len() == self.unread.end {
            self.buffer.resize(wanted.max(self.unread.end * 2), 0);
        }
    }
}

/// How long accepting rests when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to read a refusal of its connection.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);
/// How long a balancer may take for its header, which it sends at once.
const PROXY_WAIT: Duration = Duration::from_secs(5);
/// How long a client may take for a TLS handshake: a few round trips and a slow machine.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(60);
/// How long a client is given to take the end of TLS.
const PARTING_WAIT: Duration = Duration::from_secs(1);
/// How long a client may take no octet of our replies (RFC 5321 §4.5.3.2 has no figure for it).
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// The buffer of a session between messages: most commands are short, most sessions idle.
const LINE_BUFFER_OCTETS: usize = 1024;
/// The buffer while content comes in: what a socket holds after one round trip of a fast sender.
const DATA_BUFFER_OCTETS: usize = 64 * 1024;
