//! A client's connection, whatever it speaks: the channel, what was read of it and not consumed,
//! and until when it may last.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::future;
use futures_util::FutureExt as _;

use super::buffers::{Buffers, FIRST_BUFFER_OCTETS, LINE_BUFFER_OCTETS};
use super::login::Proofs;
use super::visitors::Visitor;
use crate::observe::stage::Stage;
use crate::shard::Shard;
use crate::shard::follow::Tap;
use crate::shard::life::gate::Pass;
use crate::tls::caller::{Caller, ClientAuth};
use crate::tls::{Channel, Facts};
use crate::users::sasl::Binding;
use crate::world::{Parcel, Stream as _, Tick, World};

/// The connection.
pub(in crate::shard) struct Connection<W: World> {
    stream: Channel<W::Stream>,
    buffer: Vec<u8>,
    /// What of `buffer` was read and not yet consumed.
    unread: Range<usize>,
    standing: Standing,
}

/// A connection on its way to another shard.
pub(in crate::shard) struct Packed {
    stream: Channel<Parcel>,
    unread: Vec<u8>,
    standing: Standing,
}

/// What is known of a connection beside its octets.
struct Standing {
    client: IpAddr,
    /// Where the time that a command takes is recorded.
    stage: Stage,
    /// When it was accepted; `None` once it was greeted.
    accepted: Option<Tick>,
    /// When what is being answered was read; `None` when all of it is.
    heard: Option<Tick>,
    /// When it ends whatever it does.
    ends: Tick,
    /// Reads one after the other for which there was nothing to wait.
    unwaited: u8,
    /// What is asked of the client's certificate.
    asks: ClientAuth,
    /// Who the client has shown to be under TLS.
    caller: Option<Arc<Caller>>,
    /// Whoever follows its dialogue.
    tap: Option<Box<Tap>>,
    _visitor: Visitor,
}

/// What waiting for the client has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum Heard {
    /// Octets.
    Octets,
    /// The end: the client has closed, or reset.
    End,
    /// Nothing for too long.
    Silence,
    /// The shard's gate closes.
    Closing,
}

impl<W: World> Connection<W> {
    /// A connection of `client`, accepted at `accepted`, of which `early` was read already.
    pub(super) fn new(
        stream: Channel<W::Stream>,
        early: Vec<u8>,
        client: IpAddr,
        accepted: Tick,
        visitor: Visitor,
    ) -> Self {
        Self {
            stream,
            unread: 0..early.len(),
            buffer: early,
            standing: Standing {
                client,
                stage: Stage::Command,
                accepted: Some(accepted),
                heard: None,
                ends: Tick::NEVER,
                unwaited: 0,
                asks: ClientAuth::None,
                caller: None,
                tap: None,
                _visitor: visitor,
            },
        }
    }

    /// Who it is.
    pub(in crate::shard) const fn client(&self) -> IpAddr {
        self.standing.client
    }

    /// What TLS has agreed on; `None` in plain.
    pub(in crate::shard) fn facts(&self) -> Option<Facts> {
        self.stream.facts()
    }

    /// Asks this of the client when TLS begins.
    pub(super) fn asking(mut self, asks: ClientAuth) -> Self {
        self.standing.asks = asks;
        self
    }

    /// Who the client has shown to be.
    pub(in crate::shard) fn caller(&self) -> Option<&Arc<Caller>> {
        self.standing.caller.as_ref()
    }

    /// Has the client shown what it must show before anything else counts?
    pub(in crate::shard) fn is_admitted(&self) -> bool {
        let is_verified = self.caller().is_some_and(|caller| caller.is_verified);
        self.standing.asks != ClientAuth::Require || is_verified
    }

    /// What the connection itself proves of who is at its other end.
    pub(in crate::shard) fn proofs(&self) -> Proofs {
        Proofs {
            client: self.client(),
            is_secured: self.facts().is_some(),
            binding: self.stream.binding().map(Binding),
            caller: self.caller().cloned(),
            is_admitted: self.is_admitted(),
        }
    }

    /// Tells its dialogue to whoever follows it.
    pub(in crate::shard) fn tell(&mut self, tap: Option<Box<Tap>>) {
        self.standing.tap = tap;
    }

    /// When it ends whatever it does.
    pub(in crate::shard) fn end_at(&mut self, ends: Tick) {
        self.standing.ends = ends;
    }

    /// Where the time that a command takes is recorded.
    pub(in crate::shard) fn record_as(&mut self, stage: Stage) {
        self.standing.stage = stage;
    }

    /// What was read and not yet consumed.
    pub(in crate::shard) fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// The same, and where it begins: whoever consumes of it moves that on.
    pub(in crate::shard) fn input(&mut self) -> (&[u8], &mut usize) {
        (&self.buffer[self.unread.clone()], &mut self.unread.start)
    }

    /// TLS, as its server. What the client has sent behind its command was not said under TLS, and
    /// whoever sent it may be somebody else: it is thrown away (RFC 3207 §4.2).
    pub(in crate::shard) async fn secure(&mut self, shard: &Shard<W>) -> io::Result<()> {
        let injected = self.unread.len();
        self.unread = 0..0;
        if injected > 0 {
            let client = self.standing.client;
            shard.warn(format_args!(
                "{client}: {injected} octets in plain behind STARTTLS were thrown away"
            ));
        }
        self.begin_tls(shard).await
    }

    /// TLS that comes first (RFC 8314 §3): what came with a balancer's header belongs to it.
    pub(in crate::shard) async fn begin_tls(&mut self, shard: &Shard<W>) -> io::Result<()> {
        let settings = shard.settings();
        let Some(server) = settings.tls.server(self.standing.asks).cloned() else {
            let client = self.standing.client;
            shard.warn(format_args!(
                "{client}: no TLS: it is not to be had here now"
            ));
            return Err(io::ErrorKind::Unsupported.into());
        };
        let until = (shard.world.now() + HANDSHAKE_WAIT).min(self.standing.ends);
        let early = &self.buffer[std::mem::take(&mut self.unread)];
        let secured = self.stream.accept_after(early, server, until).await;
        let client = self.standing.client;
        match &secured {
            Err(error) => shard.say(format_args!("{client}: no TLS: {error}")),
            Ok(()) => {
                if let Some(tap) = &mut self.standing.tap {
                    tap.note(shard.world.wall(), "TLS from here on");
                }
                let callers = settings.tls.callers.as_ref();
                let caller = callers.and_then(|callers| callers.judge(self.stream.certificates()));
                if let Some(caller) = &caller {
                    shard.say(format_args!("{client}: certificate of {caller}"));
                }
                self.standing.caller = caller.map(Arc::new);
            }
        }
        secured
    }

    /// Writes what is in `output`, in one call, and clears it.
    pub(in crate::shard) async fn send(
        &mut self,
        shard: &Shard<W>,
        output: &mut Vec<u8>,
    ) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        if let Some(tap) = &mut self.standing.tap {
            tap.server(shard.world.wall(), output);
        }
        let until = shard.world.now() + write_wait(output.len());
        let written = self.stream.write(&mut [IoSlice::new(output)], until).await;
        output.clear();
        self.note_answered(shard);
        written
    }

    /// The time of the command that was answered ends, and that of the greeting.
    fn note_answered(&mut self, shard: &Shard<W>) {
        let (heard, accepted) = (self.standing.heard.take(), self.standing.accepted.take());
        if heard.is_none() && accepted.is_none() {
            return;
        }
        let now = shard.world.now();
        if let Some(heard) = heard {
            shard.record(self.standing.stage, now.since(heard));
        }
        if let Some(accepted) = accepted {
            shard.record(Stage::AcceptToBanner, now.since(accepted));
        }
    }

    /// Waits for octets, `wait` at most. With `pass`, it ends too when the gate closes.
    pub(in crate::shard) fn receive(
        &mut self,
        shard: &Shard<W>,
        wait: Duration,
        pass: Option<&Pass>,
    ) -> impl Future<Output = io::Result<Heard>> {
        self.receive_into(shard, wait, pass, LINE_BUFFER_OCTETS)
    }

    /// The same with room for so many octets.
    pub(in crate::shard) async fn receive_into(
        &mut self,
        shard: &Shard<W>,
        wait: Duration,
        pass: Option<&Pass>,
        room: usize,
    ) -> io::Result<Heard> {
        let deadline = (shard.world.now() + wait).min(self.standing.ends);
        // Who always has more to say would keep the shard from everybody else: content lets others go
        // first, and commands come in turns.
        match self.standing.unwaited {
            TURN_READS.. if room <= LINE_BUFFER_OCTETS => {
                self.standing.unwaited = 0;
                shard.talkers.rest(&shard.world).await;
            }
            1.. => shard.world.breathe().await,
            0 => {}
        }
        let mut waited = false;
        let read = {
            let mut read = pin!(self.read(&shard.buffers, room, deadline));
            let read = poll_fn(|cx| {
                let read = read.as_mut().poll(cx);
                waited |= read.is_pending();
                read
            });
            // One wait for both cases: what lives through two has its room to itself.
            let closed = poll_fn(|cx| match pass {
                Some(pass) => pass.poll_closed(cx),
                None => Poll::Pending,
            });
            let interrupted = closed.map(|()| Err(io::ErrorKind::Interrupted.into()));
            future::or(read, interrupted).await
        };
        self.standing.unwaited = match waited {
            true => 0,
            false => self.standing.unwaited.saturating_add(1),
        };
        match read {
            Ok(0) => Ok(Heard::End),
            Ok(len) => {
                if let Some(tap) = &mut self.standing.tap {
                    let said = &self.buffer[self.unread.end..][..len];
                    tap.client(shard.world.wall(), said);
                }
                self.unread.end += len;
                Ok(Heard::Octets)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(Heard::Closing),
                io::ErrorKind::TimedOut => Ok(Heard::Silence),
                _ => Err(error),
            },
        }
    }

    /// Reads once. Who has nothing to say needs no buffer for it: most connections, most of the time.
    async fn read(&mut self, buffers: &Buffers, room: usize, until: Tick) -> io::Result<usize> {
        if self.unread.is_empty() && room <= LINE_BUFFER_OCTETS {
            buffers.give(std::mem::take(&mut self.buffer));
            self.unread = 0..0;
            self.stream.readable(until).await?;
        }
        self.make_room(buffers, room);
        let into = &mut self.buffer[self.unread.end..];
        self.stream.read(into, until).await
    }

    /// The time of the command that was read begins.
    pub(in crate::shard) fn note_heard(&mut self, now: Tick) {
        self.standing.heard = Some(now);
    }

    /// Ends it, with TLS's own word where there is TLS.
    pub(in crate::shard) async fn close(&mut self, shard: &Shard<W>) {
        if let Some(tap) = &mut self.standing.tap {
            tap.note(shard.world.wall(), "closed");
        }
        let until = shard.world.now() + PARTING_WAIT;
        self.stream.close(until).await;
        self.end(shard);
    }

    /// Says the last of what is in `output`, and ends with it.
    pub(in crate::shard) async fn part(&mut self, shard: &Shard<W>, output: &[u8]) {
        let until = shard.world.now() + write_wait(output.len());
        // Nobody is left to be told that it could not be said.
        let _ = self.stream.write_last(output, until).await;
        self.note_answered(shard);
        self.end(shard);
    }

    fn end(&mut self, shard: &Shard<W>) {
        shard.buffers.give(std::mem::take(&mut self.buffer));
        self.unread = 0..0;
    }

    /// For another shard: with its TLS, and with what was read and not consumed.
    pub(in crate::shard) fn pack(self, world: &W) -> io::Result<Packed> {
        Ok(Packed {
            unread: self.unread().to_vec(),
            stream: self.stream.over(|stream| world.pack(stream))?,
            standing: self.standing,
        })
    }

    /// From another shard.
    pub(in crate::shard) fn unpack(world: &W, packed: Packed) -> io::Result<Self> {
        Ok(Self {
            stream: packed.stream.over(|parcel| world.unpack(parcel))?,
            unread: 0..packed.unread.len(),
            buffer: packed.unread,
            standing: packed.standing,
        })
    }

    /// Makes sure that a read has somewhere to go, without keeping more than the moment needs.
    /// A buffer grows to `most` with what fills it: who sends nothing must not hold a large one. Its
    /// size from now on.
    pub(in crate::shard) fn make_room(&mut self, buffers: &Buffers, most: usize) -> usize {
        let growth = if self.unread.end == self.buffer.len() {
            4
        } else {
            1
        };
        let wanted = (self.buffer.len() * growth).clamp(most.min(FIRST_BUFFER_OCTETS), most);
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let (has, filled) = (self.buffer.len(), self.unread.end);
        let len = if has > wanted && filled < wanted {
            wanted
        } else if has < wanted || has == filled {
            wanted.max(filled * 2)
        } else {
            return has;
        };
        let mut buffer = buffers.take(len);
        buffer[..filled].copy_from_slice(&self.buffer[..filled]);
        buffers.give(std::mem::replace(&mut self.buffer, buffer));
        len
    }
}

/// How long a client may take to take so much: some time, and then as long as a slow line needs.
fn write_wait(octets: usize) -> Duration {
    let seconds = octets / SLOW_OCTETS_PER_SECOND;
    WRITE_WAIT + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Reads of commands without a wait between that make a turn: a message to a hundred recipients.
const TURN_READS: u8 = 4;
/// How long a client may take for a TLS handshake: a few round trips and a slow machine.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(60);
/// How long a client is given to take the end of TLS.
const PARTING_WAIT: Duration = Duration::from_secs(1);
/// How long a client may take no octet of our replies (RFC 5321 §4.5.3.2 has no figure for it).
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// A client that takes less is not worth the memory it holds.
const SLOW_OCTETS_PER_SECOND: usize = 512;
