//! One SMTP client session over one stream: the driver of [`ClientSession`].
//!
//! The session decides; here octets move, clocks are read and stages are timed.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::LOCAL_TROUBLE;
use super::limits::Membership;
use crate::mail::downgrade;
use crate::mail::envelope::{QueueId, TlsWish};
use crate::mail::outcome::{Blame, Diagnosis, Outcome, Success};
use crate::observe::stage::{Stage, Times};
use crate::queue::Outcomes;
use crate::route::pool::Source;
use crate::shard::Shard;
use crate::shard::follow::Tap;
use crate::shard::hosts::secure::{Security, Terms};
use crate::shard::hosts::{ENCRYPTION_NEEDED, NO_ANSWER, NoHost};
use crate::shard::message::{Body, Message};
use crate::smtp::client::{self, ClientSession, Outgoing, Output, Strain};
use crate::smtp::extension::Mechanisms;
use crate::tls::Channel;
use crate::tls::failure::Failure;
use crate::users::client::Attempt;
use crate::users::sasl::Binding;
use crate::wire::dot::{self, Stuffer};
use crate::wire::status::EnhancedStatus;
use crate::world::{Stream as _, Tick, World};

/// A connection to a host, over which transactions go one after the other.
pub(super) struct Connection<W: World> {
    shard: Rc<Shard<W>>,
    stream: Channel<W::Stream>,
    session: ClientSession,
    terms: Terms,
    /// Logging in, while that is under way.
    login: Option<Attempt>,
    /// Where it leads, as the log writes it: `mx.test[192.0.2.1]:25`.
    pub(super) relay: Rc<str>,
    /// The host's name.
    pub(super) host: Rc<str>,
    /// Whom it comes from; `None`: the kernel chose.
    pub(super) source: Option<Rc<Source>>,
    /// The destination, for its histograms.
    lane: Rc<str>,
    /// The group of hosts that shares limits with this one.
    pub(super) group: Option<Membership>,
    /// Transactions begun on it.
    pub(super) used: usize,
    /// When the session wants to be woken.
    wake: Tick,
    input: Vec<u8>,
    state: State,
    /// Why the handshake came to nothing.
    fault: Option<Failure>,
    /// Whoever follows its dialogue.
    tap: Option<Box<Tap>>,
    /// What the session does, and since when.
    stage: (client::Stage, Tick),
    /// How long stages took since somebody asked.
    pub(super) stages: Times,
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
    /// An outcome for a recipient, by its place in the envelope. Recipients without one may be
    /// taken in the next transaction.
    pub(super) settled: Outcomes,
    /// MAIL to the reply to the dot.
    pub(super) transfer: Duration,
    /// How long its stages took.
    pub(super) stages: Times,
}

impl Results {
    /// Whoever wanted to hear of success hears it from us: what the host would say comes back here.
    pub(super) fn answer_for_host(&mut self) {
        for (_, outcome) in &mut self.settled {
            if let Outcome::Delivered { success, .. } = outcome {
                success.get_or_insert(Success::Relayed);
            }
        }
    }
}

/// The content as this peer takes it.
pub(super) struct Form {
    /// In wire form, where it had to be converted.
    converted: Option<Vec<u8>>,
    /// `BODY=8BITMIME`
    pub(super) eight_bit: bool,
    /// Octets of signatures, trace fields and content, for `SIZE=`.
    pub(super) size: u64,
    /// Signature fields, to stand before everything.
    signatures: Option<Rc<[u8]>>,
}

impl Form {
    fn signatures(&self) -> &[u8] {
        self.signatures.as_deref().unwrap_or_default()
    }
}

impl<W: World> Connection<W> {
    /// A connection over a stream just dialled; nothing was read yet.
    pub(super) fn new(
        shard: &Rc<Shard<W>>,
        stream: W::Stream,
        session: ClientSession,
        terms: Terms,
        relay: Rc<str>,
        lane: Rc<str>,
    ) -> Self {
        let now = shard.world.now();
        Self {
            shard: Rc::clone(shard),
            stream: Channel::plain(stream),
            stage: (session.stage(), now),
            tap: shard.tap_host(&lane, &relay),
            session,
            terms,
            login: None,
            relay,
            host: "".into(),
            source: None,
            lane,
            group: None,
            used: 0,
            wake: Tick::NEVER,
            stages: Times::default(),
            input: Vec::new(),
            state: State::Greeting,
            fault: None,
        }
    }

    /// Waits for the greeting and says EHLO; true when a transaction may begin.
    pub(super) async fn greet(&mut self) -> bool {
        let began = self.shard.world.now();
        let mut nothing = Results::default();
        while self.state == State::Greeting {
            self.turn(None, &mut nothing).await;
        }
        let took = self.shard.world.now().since(began);
        self.measured(Stage::GreetingEhlo, took);
        self.state == State::Ready
    }

    /// True when the host turned out to be this relay.
    pub(super) fn is_ourselves(&self) -> bool {
        let failure = self.session.failure();
        failure.is_some_and(|failure| failure.ourselves)
    }

    /// What is too much for the host, where it said so to the connection.
    pub(super) fn strain(&self) -> Option<Strain> {
        self.session.failure()?.strain
    }

    /// Why [`Connection::greet`] came to nothing.
    pub(super) fn failure(&self) -> NoHost {
        match self.session.failure() {
            Some(failure) => NoHost {
                diagnosis: failure.diagnosis.clone(),
                permanent: failure.permanent,
            },
            None => NoHost {
                diagnosis: Diagnosis::ours(
                    NO_ANSWER,
                    format!("lost connection with {}", self.relay),
                ),
                permanent: false,
            },
        }
    }

    /// True when its last transaction left it in order.
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// True when it can carry another transaction: asks the system whether the peer has left.
    pub(super) fn is_usable(&mut self) -> bool {
        self.is_ready() && !self.stream.is_stale()
    }

    /// True when a message that wants this of TLS may go over it.
    pub(super) fn suits(&self, wish: TlsWish) -> bool {
        let is_promised = self.session.extensions().require_tls;
        self.terms.suit(wish) && (is_promised || wish != TlsWish::Required)
    }

    /// Why it does not suit a message that requires TLS, where nothing else is wrong with the host.
    pub(super) fn unfit(&self) -> Option<NoHost> {
        let relay = &self.relay;
        let (status, text) = match self.state {
            State::Ready => (
                client::REQUIRETLS_NEEDED,
                format!("REQUIRETLS is required, but was not offered by {relay}"),
            ),
            _ if self.failure().diagnosis.status == client::TLS_NEEDED => (
                ENCRYPTION_NEEDED,
                format!("REQUIRETLS: TLS was not offered by {relay}"),
            ),
            _ => return None,
        };
        Some(NoHost {
            diagnosis: Diagnosis::ours(status, text),
            permanent: true,
        })
    }

    /// False when the peer has said how many messages a connection may carry, and that is over.
    pub(super) fn may_begin(&self) -> bool {
        self.session.may_begin()
    }

    /// The content as the peer takes it, signed where there is a key for its author. Else how the
    /// attempt ends.
    pub(super) async fn form_of(&mut self, message: &Message) -> Result<Form, Outcome> {
        let mut form = self.convert(message).await?;
        if !self.shard.signs() {
            return Ok(form);
        }
        let is_converted = form.converted.is_some();
        let made = message.signatures.made(is_converted);
        let signatures = match (made, &form.converted) {
            (Some(made), _) => made,
            (None, converted) => {
                let mut wire = match converted {
                    Some(wire) => wire.clone(),
                    None => self.readable(message).await?,
                };
                // Fields that a submission lacked stand there, and are signed like those it had.
                wire.splice(0..0, message.trace.iter().copied());
                let began = self.shard.world.now();
                let signed = self.shard.sign(message, wire, is_converted).await;
                let took = self.shard.world.now().since(began);
                self.stages.add(Stage::Sign, took);
                signed.map_err(|diagnosis| Outcome::Deferred {
                    blame: Blame::Local,
                    diagnosis,
                })?
            }
        };
        form.size += signatures.len() as u64;
        form.signatures = Some(signatures);
        Ok(form)
    }

    /// The content as the peer takes it: 8-bit content is converted for a peer that takes 7 bits
    /// only (RFC 6152 §3). Else how the attempt ends.
    async fn convert(&self, message: &Message) -> Result<Form, Outcome> {
        let size = message.content.size + message.trace.len() as u64;
        let takes_eight_bit = self.session.extensions().eight_bit_mime;
        if message.is_seven_bit() || takes_eight_bit {
            return Ok(Form {
                converted: None,
                eight_bit: !message.is_seven_bit(),
                size,
                signatures: None,
            });
        }
        let wire = self.readable(message).await?;
        let mut octets = Vec::with_capacity(wire.len());
        dot::unstuff_into(&mut octets, &wire);
        let converted = downgrade::to_seven_bit(&octets).map_err(|_| Outcome::Failed {
            blame: Blame::Message,
            diagnosis: cannot_convert(&self.relay),
        })?;
        let mut stuffed = Vec::with_capacity(converted.len() + converted.len() / 32);
        Stuffer::new().stuff_into(&mut stuffed, &converted);
        Ok(Form {
            eight_bit: false,
            size: (converted.len() + message.trace.len()) as u64,
            converted: Some(stuffed),
            signatures: None,
        })
    }

    async fn readable(&self, message: &Message) -> Result<Vec<u8>, Outcome> {
        let whole = self.whole(message).await;
        whole.map_err(|error| Outcome::Deferred {
            blame: Blame::Message,
            diagnosis: self.shard.unreadable(message.id, &error),
        })
    }

    /// All of a message in memory: MIME cannot be parsed in pieces, nor signed in them.
    async fn whole(&self, message: &Message) -> io::Result<Vec<u8>> {
        match &message.body {
            Body::Memory(octets) => Ok(octets.clone()),
            Body::Extent(len) => {
                let mut whole = Vec::new();
                while (whole.len() as u64) < *len {
                    let position = whole.len() as u64;
                    whole.extend_from_slice(&read_chunk(&self.shard, message, position).await?);
                }
                Ok(whole)
            }
        }
    }

    /// Carries one message to `outgoing.recipients`.
    pub(super) async fn transact(
        &mut self,
        mut outgoing: Outgoing,
        message: &Message,
        form: &Form,
    ) -> Results {
        // Said to nobody who is not proved (RFC 8689 §2), whatever he offers: only a report gets here.
        outgoing.require_tls &= self.terms.suit(TlsWish::Required);
        let began = self.shard.world.now();
        let mut results = Results::default();
        self.used += 1;
        self.state = State::Busy;
        self.session.begin(began, outgoing);
        while self.state == State::Busy {
            self.turn(Some((message, form)), &mut results).await;
        }
        results.transfer = self.shard.world.now().since(began);
        results.stages.take(&mut self.stages);
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
        if let Some(tap) = &mut self.tap {
            tap.note(self.shard.world.wall(), "closed");
        }
        let until = self.shard.world.now() + PARTING_WAIT;
        self.stream.close(until).await;
    }

    /// Does what the session wants, then reads once.
    async fn turn(&mut self, carried: Option<(&Message, &Form)>, results: &mut Results) {
        let was = self.state;
        self.obey(carried, results).await;
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
            Ok(len) => {
                if let Some(tap) = &mut self.tap {
                    tap.server(self.shard.world.wall(), &self.input[..len]);
                }
                self.session.handle_input(now, &self.input[..len]);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.session.handle_timeout(now);
            }
            Err(error) => self.session.handle_lost(now, &error.to_string()),
        }
        self.watch(now);
        self.obey(carried, results).await;
    }

    /// Times the stage that the session has left.
    fn watch(&mut self, now: Tick) {
        let (was, since) = self.stage;
        let is = self.session.stage();
        if is == was {
            return;
        }
        self.stage = (is, now);
        let measured = match was {
            client::Stage::Handshake => Stage::Tls,
            client::Stage::Envelope => Stage::Envelope,
            client::Stage::DataCommand => Stage::DataTo354,
            client::Stage::Body => Stage::Body,
            client::Stage::EndOfData => Stage::DotToReply,
            _ => return,
        };
        self.measured(measured, now.since(since));
    }

    fn measured(&mut self, stage: Stage, took: Duration) {
        self.shard.record_for(&self.lane, stage, took);
        self.stages.add(stage, took);
    }

    /// Does what the session wants, to its end. When the stream fails meanwhile the session is
    /// told, and what it says then are outcomes only.
    async fn obey(&mut self, carried: Option<(&Message, &Form)>, results: &mut Results) {
        let mut lost = false;
        while let Some(output) = self.session.poll_output() {
            let done = match output {
                Output::Send(_) | Output::Body | Output::Secure if lost => Ok(()),
                Output::Send(octets) => {
                    if let Some(tap) = &mut self.tap {
                        tap.client(self.shard.world.wall(), &octets);
                    }
                    let until = self.shard.world.now() + WRITE_WAIT;
                    let written = self.stream.write(&mut [IoSlice::new(&octets)], until).await;
                    self.session.take_back(octets);
                    written
                }
                Output::Secure => self.secure().await,
                Output::LogIn(offered) => {
                    self.log_in(offered);
                    Ok(())
                }
                Output::Challenge(challenge) => {
                    self.answer(&challenge);
                    Ok(())
                }
                Output::Body => self.send(carried).await,
                Output::WakeAt(tick) => {
                    self.wake = tick;
                    Ok(())
                }
                Output::Settled { recipient, outcome } => {
                    results.settled.push((recipient, outcome));
                    Ok(())
                }
                // Without an outcome it remains, and goes into the attempt's next transaction.
                Output::Postponed { .. } => Ok(()),
                Output::Ready | Output::Done => {
                    self.state = State::Ready;
                    Ok(())
                }
                Output::Close => {
                    self.state = State::Closed;
                    Ok(())
                }
            };
            let now = self.shard.world.now();
            if let Err(error) = done {
                lost = true;
                self.session.handle_lost(now, &error.to_string());
            }
            self.watch(now);
        }
        if lost {
            self.state = State::Closed;
        }
    }

    async fn secure(&mut self) -> io::Result<()> {
        let (config, name) = (Arc::clone(&self.terms.config), self.terms.name.clone());
        let until = self.shard.world.now() + HANDSHAKE_WAIT;
        if let Err(error) = self.stream.connect(config, name, until).await {
            self.fault = Some(Failure::of_stream(&error));
            return Err(error);
        }
        if let Some(tap) = &mut self.tap {
            tap.note(self.shard.world.wall(), "TLS from here on");
        }
        self.session.secured(self.shard.world.now());
        Ok(())
    }

    /// Begins to log in with what the host offers.
    fn log_in(&mut self, offered: Mechanisms) {
        let now = self.shard.world.now();
        let Some(credentials) = &self.terms.credentials else {
            return self.session.give_up_login(now, "there are no credentials");
        };
        let binding = self.stream.binding().map(Binding);
        match Attempt::begin(credentials, offered, binding) {
            Ok((attempt, mechanism, said)) => {
                self.login = Some(attempt);
                let octets = said.octets.as_deref();
                self.session.log_in(now, mechanism, octets, said.may_end);
            }
            Err(why) => self.session.give_up_login(now, &why),
        }
    }

    fn answer(&mut self, challenge: &[u8]) {
        let now = self.shard.world.now();
        let answer = self.login.as_mut().map(|attempt| attempt.answer(challenge));
        match answer {
            Some(Ok(said)) => {
                let octets = said.octets.unwrap_or_default();
                self.session.answer(now, &octets, said.may_end);
            }
            Some(Err(why)) => self.session.give_up_login(now, &why),
            None => self
                .session
                .give_up_login(now, "there is nothing to answer"),
        }
    }

    /// Their end.
    pub(super) fn peer(&self) -> SocketAddr {
        self.stream.peer()
    }

    /// Our end.
    pub(super) fn local(&self) -> SocketAddr {
        self.stream.local()
    }

    /// What came of TLS, when the greeting is over. `None` when the host did not get as far.
    pub(super) fn sighted(&self) -> Option<Security> {
        let is_ready = self.state == State::Ready;
        let may_tell = is_ready
            || self.stream.facts().is_some()
            || self.fault.is_some()
            || self.session.extensions().starttls
            || self.failure().diagnosis.status == client::TLS_NEEDED;
        may_tell.then(|| self.security())
    }

    /// What came of TLS.
    pub(super) fn security(&self) -> Security {
        let facts = self.stream.facts();
        let failure = match (self.fault, facts) {
            (Some(fault), _) => Some(fault),
            // The peer went without a word said under TLS.
            (None, Some(_)) if self.session.is_tls_broken() => Some(Failure::Other),
            (None, Some(_)) => None,
            // It was offered, and then refused.
            (None, None) if self.session.extensions().starttls => Some(Failure::Other),
            (None, None) => Some(Failure::NotSupported),
        };
        self.terms
            .security(facts.map(|facts| facts.version), failure)
    }

    /// What would do without TLS, when TLS alone is why the greeting came to nothing.
    pub(super) fn terms_without_tls(self) -> Option<Terms> {
        let is_broken = self.session.is_tls_broken();
        self.terms.without_tls().filter(|_| is_broken)
    }

    /// Sends the content. An error is the stream's; when the disk does not give the content, the
    /// session ends it as ours.
    async fn send(&mut self, carried: Option<(&Message, &Form)>) -> io::Result<()> {
        let Some((message, form)) = carried else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if let Some(tap) = &mut self.tap {
            tap.content(form.size);
        }
        match (&form.converted, &message.body) {
            (Some(octets), _) | (None, Body::Memory(octets)) => {
                self.send_memory(form.signatures(), &message.trace, octets)
                    .await?;
            }
            (None, Body::Extent(len)) => {
                let sent = self.send_extent(form.signatures(), message, *len).await?;
                if let Err(error) = sent {
                    let diagnosis = self.shard.unreadable(message.id, &error);
                    self.session.abandon(Blame::Message, diagnosis);
                    return Ok(());
                }
            }
        }
        self.session.body_sent(self.shard.world.now());
        Ok(())
    }

    /// Signatures, trace fields, content and the final dot: one system call for a small message.
    async fn send_memory(
        &mut self,
        signatures: &[u8],
        trace: &[u8],
        octets: &[u8],
    ) -> io::Result<()> {
        let mut parts = [
            IoSlice::new(signatures),
            IoSlice::new(trace),
            IoSlice::new(octets),
            IoSlice::new(FINAL_DOT),
        ];
        let until = self.shard.world.now() + WRITE_WAIT;
        self.stream.write(&mut parts, until).await
    }

    /// The outer error is the stream's, the inner one the disk's: they blame different parties.
    async fn send_extent(
        &mut self,
        signatures: &[u8],
        message: &Message,
        len: u64,
    ) -> io::Result<io::Result<()>> {
        let shard = Rc::clone(&self.shard);
        let mut chunk = [signatures, &message.trace].concat();
        let mut position = 0;
        while position < len {
            self.send_part(&chunk).await?;
            chunk = match read_chunk(&shard, message, position).await {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Err(error)),
            };
            position += chunk.len() as u64;
        }
        chunk.extend_from_slice(FINAL_DOT);
        self.send_part(&chunk).await.map(Ok)
    }

    async fn send_part(&mut self, octets: &[u8]) -> io::Result<()> {
        let until = self.shard.world.now() + WRITE_WAIT;
        self.stream.write(&mut [IoSlice::new(octets)], until).await
    }
}

impl<W: World> Shard<W> {
    /// Our disk does not give the content, which says nothing of the peer. Blamed on the message,
    /// so that it follows the retry curve: what cannot be read may stay so, and to begin it
    /// every few seconds would tire the peer.
    pub(in crate::shard) fn unreadable(&self, id: QueueId, error: &io::Error) -> Diagnosis {
        self.warn(format_args!("{id}: cannot be read: {error}"));
        Diagnosis::ours(
            LOCAL_TROUBLE,
            "the message could not be read from the spool",
        )
    }
}

/// The next octets of a large message's content; there are some.
pub(in crate::shard) async fn read_chunk<W: World>(
    shard: &Shard<W>,
    message: &Message,
    position: u64,
) -> io::Result<Vec<u8>> {
    let chunk = shard
        .log
        .read_extent(message.id, position, EXTENT_CHUNK_OCTETS)
        .await?;
    if chunk.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(chunk)
}

fn cannot_convert(relay: &str) -> Diagnosis {
    Diagnosis {
        status: CONVERSION_NEEDED,
        text: format!("{relay} takes 7-bit content only, and this message cannot be converted")
            .into(),
        reply: None,
        remote_mta: None,
    }
}

/// Conversion required but not supported (RFC 3463 §3.7).
const CONVERSION_NEEDED: EnhancedStatus = EnhancedStatus::new(5, 6, 3);
/// Content in wire form ends with CRLF, so the dot stands on a line of its own.
const FINAL_DOT: &[u8] = b".\r\n";
/// Replies are short; a longer one is read in pieces.
const REPLY_BUFFER_OCTETS: usize = 2048;
/// Octets of a large message in memory at a time.
const EXTENT_CHUNK_OCTETS: usize = 256 * 1024;
/// How long a TLS handshake may take: two round trips and a slow machine.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(60);
/// How long the peer is given to take the end of TLS.
const PARTING_WAIT: Duration = Duration::from_secs(1);
/// How long the peer may take no octet of a block (RFC 5321 §4.5.3.2.5 asks for 3 minutes).
const WRITE_WAIT: Duration = Duration::from_secs(180);
