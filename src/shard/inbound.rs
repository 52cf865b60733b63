//! A client's session: stream to [`ServerSession`] to spool to queue.
//!
//! ```text
//! read ─► session.step ─► Recipient ─► route ─► accepted or refused
//!                         Content   ─► gather (memory, then extent)
//!                         Message   ─► spool.accept ─► Receipt ─► queue ─► 250
//! ```

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::gather::{Gathered, Gathering};
use super::message::Message;
use crate::mail::received::{self, Trace};
use crate::observe::stage::Stage;
use crate::smtp::reply::Reply;
use crate::smtp::server::{ServerKind, ServerSession, Step, Transaction};
use crate::spool::log::{Accepted, CommitError};
use crate::world::{Class, Listener, Stream, Tick, World};

/// One listening address of the shard.
pub(super) struct Door<W: World> {
    pub(super) listener: W::Listener,
    pub(super) kind: ServerKind,
    /// A PROXY header comes first on every connection.
    pub(super) proxied: bool,
}

/// Accepts until the listener is closed.
pub(super) async fn accept<W: World>(shard: Rc<Shard<W>>, door: Rc<Door<W>>) {
    loop {
        match door.listener.accept().await {
            Ok(stream) => admit(&shard, &door, stream),
            Err(_) if shard.gate.is_closed() => return,
            Err(error) => {
                // Out of descriptors: accept fails at once, again and again, until one is free.
                shard.warn(format_args!("cannot accept a connection: {error}"));
                shard.world.sleep(shard.world.now() + ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit<W: World>(shard: &Rc<Shard<W>>, door: &Rc<Door<W>>, stream: W::Stream) {
    let accepted = shard.world.now();
    let (visiting, door) = (Rc::clone(shard), Rc::clone(door));
    shard.world.spawn(Class::Inbound, async move {
        let Some(_inside) = visiting.gate.enter() else { return };
        Visit::new(&visiting, stream, &door, accepted).run(door.proxied).await;
    });
}

/// One connection of a client.
struct Visit<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    stream: W::Stream,
    session: ServerSession,
    buffer: Vec<u8>,
    /// What of `buffer` was read and not yet consumed.
    unread: std::ops::Range<usize>,
    gathering: Option<Gathering<W>>,
    accepted: Tick,
    /// When the current command's wait or the message's body began.
    began: Tick,
}

enum Next {
    Again,
    Read,
    End,
}

impl<'a, W: World> Visit<'a, W> {
    fn new(shard: &'a Rc<Shard<W>>, stream: W::Stream, door: &Door<W>, accepted: Tick) -> Self {
        let settings = shard.settings();
        let peer = stream.peer().ip();
        let may_relay = settings.trusts(peer);
        let session = ServerSession::new(Rc::clone(&settings.server), door.kind, peer, may_relay);
        Self { shard, stream, session, buffer: Vec::new(), unread: 0..0, gathering: None, accepted, began: accepted }
    }

    async fn run(mut self, proxied: bool) {
        let _ = proxied;
        loop {
            let next = match self.step().await {
                Next::Read => self.read().await,
                other => Ok(other),
            };
            match next {
                Ok(Next::End) | Err(_) => break,
                Ok(_) => {}
            }
        }
        if let Some(gathering) = self.gathering.take() {
            gathering.discard().await;
        }
        self.stream.shutdown();
    }

    /// One step of the session.
    async fn step(&mut self) -> Next {
        let (consumed, step) = self.session.step(&self.buffer[self.unread.clone()]);
        self.unread.start += consumed;
        match step {
            Step::NeedInput => return Next::Read,
            Step::Recipient(recipient) => {
                let verdict = self.shard.settings().judge(recipient, self.session.may_relay());
                match verdict {
                    Ok(()) => self.session.recipient_accepted(),
                    Err(reply) => self.session.recipient_refused(reply),
                }
            }
            Step::Mail => match self.shard.may_begin() {
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
            Step::Discard => {
                if let Some(gathering) = self.gathering.take() {
                    gathering.discard().await;
                }
            }
            Step::Close => {
                let _ = self.flush().await;
                return Next::End;
            }
        }
        Next::Again
    }

    /// Lets a message begin: memory first by waiting, then by saying so.
    async fn begin_message(&mut self) {
        if self.shard.budget.room(&self.shard.world).await {
            self.gathering = Some(Gathering::new(self.shard, self.session.announced_size()));
            self.began = self.shard.world.now();
            self.session.data_accepted();
        } else {
            self.session.data_refused(Reply::out_of_memory());
        }
    }

    /// The message is complete: on disk first, then 250.
    async fn end_message(&mut self) {
        let shard = self.shard;
        let (Some(gathering), Some(transaction)) = (self.gathering.take(), self.session.transaction()) else {
            self.session.message_refused(Reply::local_error());
            return;
        };
        shard.record(Stage::BodyReceived, shard.world.now().since(self.began));
        match store(shard, gathering, transaction, &self.trace_origin()).await {
            Ok(receipt) => self.session.message_accepted(&receipt),
            Err(error) => self.session.message_refused(refusal(&error)),
        }
    }

    fn trace_origin(&self) -> Origin {
        Origin { peer: self.stream.peer().ip(), local: self.stream.local() }
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
        written
    }

    /// Reads once, after all replies are out.
    async fn read(&mut self) -> io::Result<Next> {
        self.flush().await?;
        self.make_room();
        let deadline = self.shard.world.now() + self.session.wait();
        let len = match self.stream.read(&mut self.buffer[self.unread.end..], deadline).await {
            Ok(0) => return Ok(Next::End),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.session.handle_timeout();
                self.flush().await?;
                return Ok(Next::End);
            }
            Err(error) => return Err(error),
        };
        self.unread.end += len;
        Ok(Next::Again)
    }

    /// Makes sure that a read has somewhere to go, without keeping more than the moment needs.
    fn make_room(&mut self) {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let wanted = if self.gathering.is_some() { DATA_BUFFER_OCTETS } else { LINE_BUFFER_OCTETS };
        if self.buffer.len() > wanted && self.unread.end <= wanted {
            self.buffer.truncate(wanted);
            self.buffer.shrink_to_fit();
        }
        if self.buffer.len() < wanted || self.buffer.len() == self.unread.end {
            self.buffer.resize(wanted.max(self.unread.end * 2), 0);
        }
    }
}
