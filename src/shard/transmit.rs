//! One SMTP client session over one stream: the driver of [`ClientSession`].
//!
//! The session decides; here octets move, clocks are read and stages are timed.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::message::{Body, Message};
use crate::mail::outcome::Outcome;
use crate::observe::stage::Stage;
use crate::smtp::client::{ClientSession, Outgoing, Output};
use crate::smtp::extension::Extensions;
use crate::world::{Stream as _, Tick, World};

/// A connection to a host, over which transactions go one after the other.
pub(super) struct Connection<W: World> {
    shard: Rc<Shard<W>>,
    stream: W::Stream,
    session: ClientSession,
    /// Where it leads, as the log writes it: `mx.test[192.0.2.1]:25`.
    pub(super) relay: Rc<str>,
    /// The address of the other end, for its back-off.
    pub(super) address: SocketAddr,
    /// Transactions begun on it.
    pub(super) used: u32,
    /// When the session wants to be woken.
    wake: Tick,
    input: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ready,
    Busy,
    Closed,
}

/// What one transaction brought.
#[derive(Default)]
pub(super) struct Results {
    /// An outcome for a recipient, by its place in the envelope.
    pub(super) settled: Vec<(u16, Outcome)>,
    /// Recipients the peer would not take in this transaction but may in the next.
    pub(super) postponed: Vec<u16>,
    /// Time spent on MAIL to the reply to DATA, and from there to the reply to the dot.
    pub(super) transfer: Duration,
}

impl<W: World> Connection<W> {
    /// A connection over a stream just dialled; nothing was read yet.
    pub(super) fn new(shard: &Rc<Shard<W>>, stream: W::Stream, session: ClientSession, relay: Rc<str>) -> Self {
        let address = stream.peer();
        Self {
            shard: Rc::clone(shard),
            stream,
            session,
            relay,
            address,
            used: 0,
            wake: Tick::NEVER,
            input: Vec::new(),
            state: State::Greeting,
        }
    }

    /// Waits for the greeting and says EHLO; true when a transaction may begin.
    pub(super) async fn greet(&mut self) -> bool {
        let began = self.shard.world.now();
        let mut nothing = Results::default();
        while self.state == State::Greeting {
            self.turn(None, &mut nothing).await;
        }
        self.shard.record(Stage::GreetingEhlo, self.shard.world.now().since(began));
        self.state == State::Ready
    }

    /// What the peer offered.
    pub(super) fn extensions(&self) -> &Extensions {
        self.session.extensions()
    }

    /// The session itself, for what it remembers of the greeting.
    pub(super) fn session(&self) -> &ClientSession {
        &self.session
    }

    /// True when it can carry another transaction.
    pub(super) fn is_usable(&mut self) -> bool {
        self.state == State::Ready && !self.stream.is_stale()
    }

    /// Carries one message to `outgoing.recipients`.
    pub(super) async fn transact(&mut self, outgoing: Outgoing, message: &Message, content: &Body) -> Results {
        let began = self.shard.world.now();
        let mut results = Results::default();
        self.used += 1;
        self.state = State::Busy;
        self.session.begin(began, outgoing);
        while self.state == State::Busy {
            self.turn(Some((message, content)), &mut results).await;
        }
        results.transfer = self.shard.world.now().since(began);
        results
    }

    /// Says QUIT and waits a moment for the answer.
    pub(super) async fn quit(mut self) {
        if self.state != State::Closed {
            self.session.quit(self.shard.world.now());
            self.state = State::Busy;
            let mut nothing = Results::default();
            while self.state != State::Closed {
                self.turn(None, &mut nothing).await;
            }
        }
        self.stream.shutdown();
    }

    /// Does what the session wants, then reads once.
    async fn turn(&mut self, carried: Option<(&Message, &Body)>, results: &mut Results) {
        let was = self.state;
        if let Err(error) = self.obey(carried, results).await {
            self.lose(&error);
            return;
        }
        if self.state != was {
            return;
        }
        if self.input.is_empty() {
            self.input.resize(REPLY_BUFFER_OCTETS, 0);
        }
        let read = self.stream.read(&mut self.input, self.wake).await;
        let now = self.shard.world.now();
        match read {
            Ok(0) => self.session.handle_lost(now, "lost connection"),
            Ok(len) => self.session.handle_input(now, &self.input[..len]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.session.handle_timeout(now),
            Err(error) => self.session.handle_lost(now, &error.to_string()),
        }
        if let Err(error) = self.obey(carried, results).await {
            self.lose(&error);
        }
    }

    /// The stream is gone in the middle of a write: what the session then says are outcomes only.
    fn lose(&mut self, error: &io::Error) {
        self.session.handle_lost(self.shard.world.now(), &error.to_string());
        self.state = State::Closed;
    }

    async fn obey(&mut self, carried: Option<(&Message, &Body)>, results: &mut Results) -> io::Result<()> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(octets) => {
                    let until = self.shard.world.now() + WRITE_WAIT;
                    self.stream.write(&mut [IoSlice::new(&octets)], until).await?;
                }
                Output::Body => match carried {
                    Some((message, content)) => {
                        self.send(message, content).await?;
                        self.session.body_sent(self.shard.world.now());
                    }
                    None => return Err(io::ErrorKind::InvalidInput.into()),
                },
                Output::WakeAt(tick) => self.wake = tick,
                Output::Settled { recipient, outcome } => results.settled.push((recipient, outcome)),
                Output::Postponed { recipient } => results.postponed.push(recipient),
                Output::Ready | Output::Done => self.state = State::Ready,
                Output::Close => self.state = State::Closed,
            }
        }
        Ok(())
    }

    /// Sends trace fields, content and the final dot: one system call for a small message.
    async fn send(&mut self, message: &Message, content: &Body) -> io::Result<()> {
        let world = self.shard.world.clone();
        match content {
            Body::Memory(octets) => {
                let mut parts = [IoSlice::new(&message.trace), IoSlice::new(octets), IoSlice::new(FINAL_DOT)];
                self.stream.write(&mut parts, world.now() + WRITE_WAIT).await
            }
            Body::Extent(len) => {
                self.stream.write(&mut [IoSlice::new(&message.trace)], world.now() + WRITE_WAIT).await?;
                let mut position = 0;
                while position < *len {
                    let chunk = self.shard.log.read_extent(message.id, position, EXTENT_CHUNK_OCTETS).await?;
                    if chunk.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    position += chunk.len() as u64;
                    self.stream.write(&mut [IoSlice::new(&chunk)], world.now() + WRITE_WAIT).await?;
                }
                self.stream.write(&mut [IoSlice::new(FINAL_DOT)], world.now() + WRITE_WAIT).await
            }
        }
    }
}

/// Content in wire form ends with CRLF, so the dot stands on a line of its own.
const FINAL_DOT: &[u8] = b".\r\n";
/// Replies are short; a longer one is read in pieces.
const REPLY_BUFFER_OCTETS: usize = 2048;
/// Octets of a large message in memory at a time.
const EXTENT_CHUNK_OCTETS: usize = 256 * 1024;
/// How long the peer may take no octet of a block (RFC 5321 §4.5.3.2.5 asks for 3 minutes).
const WRITE_WAIT: Duration = Duration::from_secs(180);
