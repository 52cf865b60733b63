//! A client's session: stream to [`ServerSession`] to spool to queue.
//!
//! ```text
//! read ─► session.step ─► Recipient ─► route ─► accepted or refused
//!                         Content   ─► gather (memory, then extent)
//!                         Message   ─► spool.accept ─► Receipt ─► queue ─► 250
//! ```

mod gather;
mod inject;
mod preflight;
mod store;
mod verify;
pub(super) mod watch;

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use crate::mail::envelope::Standing;
use crate::observe::stage::Stage;
use crate::preflight::Rule;
use crate::shard::clients::connection::{Connection, Heard};
use crate::shard::clients::door::{Arrival, Manners};
use crate::shard::clients::login::{Login, Word};
use crate::shard::clients::tenants::Said;
use crate::shard::life::gate::Pass;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Encryption, ServerKind, ServerSession, Step, Transaction};
use crate::tls::caller::{Caller, Guest};
use crate::world::{Tick, World};

use gather::Gathering;
use store::Origin;
use verify::Proved;

/// A session of a client, from its first octet to its last. (No `async fn`: it would have room for
/// the arrival, and beside it for the visit that is made of it.)
pub(super) fn receive<W: World>(
    shard: &Rc<Shard<W>>,
    manners: Manners,
    arrival: Arrival<W>,
    pass: &Pass,
) -> impl Future<Output = ()> {
    let Arrival {
        mut connection,
        is_trusted,
        encryption,
        guests,
        tenant,
        accepted,
    } = arrival;
    let settings = shard.settings();
    connection.end_at(accepted + settings.config.smtp.session_timeout);
    let client = connection.client();
    connection.tell(shard.tap_client(client, connection.unread()));
    let limits = Rc::clone(&settings.server);
    let mut visit = Visit {
        shard,
        session: ServerSession::new(limits, manners.kind, client, is_trusted, encryption),
        connection,
        gathering: None,
        login: Login::default(),
        manners,
        guests,
        tenant,
        began: accepted,
    };
    async move {
        if visit.run(pass).await {
            let last = visit.session.output();
            visit.connection.part(shard, last).await;
        } else {
            visit.connection.close(shard).await;
        }
    }
}

/// One connection of a client.
struct Visit<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    connection: Connection<W>,
    session: ServerSession,
    gathering: Option<Gathering<W>>,
    login: Login,
    manners: Manners,
    /// Whom a certificate lets relay.
    guests: Rc<[Guest]>,
    /// Whose mail comes in at this listener.
    tenant: Option<Rc<str>>,
    /// When the message's body began.
    began: Tick,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Read,
    /// The session has said its last word, and it is not sent yet.
    Part,
    End,
}

impl<W: World> Visit<'_, W> {
    /// To the end; true where a last word is still to be sent.
    async fn run(&mut self, pass: &Pass) -> bool {
        let mut secured = Ok(());
        if self.session.encryption() == Encryption::Active {
            secured = Box::pin(self.connection.begin_tls(self.shard)).await;
            self.recognize();
        }
        self.offer_auth();
        let mut parting = false;
        while secured.is_ok() && !parting {
            let next = match self.step().await {
                Ok(Next::Read) => self.read(pass).await,
                other => other,
            };
            match next {
                Ok(Next::Part) => parting = true,
                Ok(Next::End) | Err(_) => break,
                Ok(Next::Again | Next::Read) => {}
            }
        }
        self.discard().await;
        parting
    }

    /// One step of the session. What is rare stands apart (`Box::pin`), or every connection that
    /// idles would have room for it.
    async fn step(&mut self) -> io::Result<Next> {
        let may_relay = self.session.may_relay();
        let is_report = self.session.is_report();
        let (input, begin) = self.connection.input();
        let (consumed, step) = self.session.step(input);
        *begin += consumed;
        match step {
            Step::NeedInput => return Ok(Next::Read),
            Step::Flush => self.flush().await?,
            Step::Recipient(recipient) => {
                let shard = self.shard;
                match shard.judge_recipient(recipient, may_relay, is_report) {
                    Ok(()) => self.session.recipient_accepted(),
                    Err(reply) => self.session.recipient_refused(reply),
                }
            }
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
            Step::StartTls => return Box::pin(self.start_tls()).await,
            Step::Auth(mechanism, said) => {
                let (mechanism, said) = (mechanism.to_owned(), said.map(<[u8]>::to_vec));
                let shard = self.shard;
                let (said, proofs) = (said.as_deref(), self.connection.proofs());
                let begun = self.login.begin(shard, &mechanism, said, proofs);
                let word = Box::pin(begun).await;
                self.answer_login(word);
            }
            Step::AuthResponse(said) => {
                let said = said.to_vec();
                let (shard, client) = (self.shard, self.connection.client());
                let word = Box::pin(self.login.go_on(shard, client, Some(&said))).await;
                self.answer_login(word);
            }
            Step::Discard => self.discard().await,
            Step::Close => return Ok(Next::Part),
        }
        Ok(Next::Again)
    }

    /// Lets a message begin: memory first by waiting, then by saying so.
    async fn begin_message(&mut self) {
        if self.shard.budget.room(&self.shard.world).await {
            let announced = self.session.announced_size();
            let is_user = self.session.user().is_some();
            let may_say = self.session.may_relay();
            let watch = self
                .manners
                .looks
                .watch(self.shard.settings(), is_user, may_say);
            self.gathering = Some(Gathering::new(self.shard, announced, watch));
            self.began = self.shard.world.now();
            self.session.data_accepted();
        } else {
            self.session.data_refused(Reply::out_of_memory());
        }
    }

    /// The message is complete: on disk first, then 250.
    async fn end_message(&mut self) {
        let shard = self.shard;
        let Some(mut transaction) = self.session.transaction() else {
            self.session.message_refused(Reply::local_error());
            return;
        };
        let receiving = shard.world.now().since(self.began);
        shard.record(Stage::BodyReceived, receiving);
        let origin = Origin {
            client: self.connection.client(),
            is_hidden: self.manners.hides,
            is_submission: self.manners.kind == ServerKind::Submission,
            tls: self.connection.facts().map(|facts| facts.suite),
            caller: self.connection.caller().cloned(),
            receiving,
        };
        let field = match self.judge(&mut transaction).await {
            Ok(field) => field,
            Err(reply) => {
                self.session.message_refused(reply);
                return self.discard().await;
            }
        };
        let stored = match &mut self.gathering {
            Some(gathering) => {
                let stored = shard.store(gathering, &mut transaction, &origin, field);
                stored.await
            }
            None => Err(Reply::local_error()),
        };
        match stored {
            Ok(receipt) => self.session.message_accepted(&receipt),
            Err(reply) => self.session.message_refused(reply),
        }
        self.discard().await;
    }

    /// Nothing is gathered any more.
    async fn discard(&mut self) {
        if let Some(gathering) = &mut self.gathering {
            gathering.discard().await;
        }
        self.gathering = None;
    }

    /// What the listener wants to know of a complete message: the field to stand before it, or why
    /// it is refused.
    async fn judge(&mut self, transaction: &mut Transaction) -> Result<Vec<u8>, Reply> {
        let mut proved = Proved::default();
        if self.gathering.as_ref().is_some_and(Gathering::is_watched) {
            proved = Box::pin(self.judge_seen(transaction)).await?;
        } else {
            let asked = transaction.envelope.standing.mt_priority;
            let said = Said::default().and_in_mail(asked);
            transaction.envelope.standing = self.assign(said)?;
        }
        let client = self.connection.client();
        self.shard.name_reporter(&mut proved, transaction, client);
        Ok(proved.field)
    }

    /// Whose the message is.
    fn assign(&self, said: Said) -> Result<Standing, Reply> {
        let user = self.session.user().map(|user| &**user);
        self.shard.assign(user, said, self.tenant.as_deref())
    }

    /// The same where something was looked at.
    async fn judge_seen(&mut self, transaction: &mut Transaction) -> Result<Proved, Reply> {
        let Some(gathering) = &mut self.gathering else {
            return Ok(Proved::default());
        };
        let id = gathering.id;
        let Some(mut seen) = gathering.seen(self.shard).await else {
            return Ok(Proved::default());
        };
        let asked = transaction.envelope.standing.mt_priority;
        let said = std::mem::take(&mut seen.said).and_in_mail(asked);
        transaction.envelope.standing = self.assign(said)?;
        seen.stripped.correct(&mut transaction.content);
        if self.manners.kind == ServerKind::Submission {
            // What is not there will be added.
            let content = &transaction.content;
            seen.findings.retain(|finding| match finding.rule {
                Rule::Date => content.date,
                Rule::MessageId => content.message_id.is_some(),
                _ => true,
            });
        }
        self.shard
            .preflight(id, &seen.findings, self.manners.looks.preflight)?;
        let (client, may_relay) = (self.connection.client(), self.session.may_relay());
        self.shard
            .verify(id, seen, transaction, client, may_relay)
            .await
    }

    /// 220, and the handshake.
    async fn start_tls(&mut self) -> io::Result<Next> {
        self.flush().await?;
        self.connection.secure(self.shard).await?;
        self.session.secured();
        self.recognize();
        self.offer_auth();
        Ok(Next::Again)
    }

    /// Whoever has shown a certificate of somebody trusted may relay.
    fn recognize(&mut self) {
        let guests = &self.guests;
        let is_guest = |caller: &Arc<Caller>| guests.iter().any(|guest| guest.is(caller));
        if self.connection.caller().is_some_and(is_guest) {
            self.session.trust();
        }
    }

    fn offer_auth(&mut self) {
        let settings = self.shard.settings();
        self.session.offer_auth(match self.session.kind() {
            ServerKind::Lmtp => &[],
            _ => settings.mechanisms(&self.connection.proofs()),
        });
    }

    fn answer_login(&mut self, word: Word) {
        match word {
            Word::Challenge(challenge) => self.session.challenge(&challenge),
            Word::In(user) => self.session.authenticated(Rc::from(user)),
            Word::Wrong => self.session.auth_refused(&Reply::not_authenticated()),
            Word::Later => self.session.auth_refused(&Reply::too_many_failures()),
        }
    }

    /// May a transaction begin? Not while its message could not be stored, and not with somebody
    /// else's address.
    fn may_begin(&self) -> Result<(), Reply> {
        if !self.connection.is_admitted() {
            return Err(match self.session.encryption() {
                Encryption::Offered => Reply::must_start_tls(),
                _ => Reply::certificate_required(),
            });
        }
        self.shard.may_begin()?;
        self.shard.settings().judge_sender(&self.session)
    }

    /// Writes what the session has to say, in one call.
    async fn flush(&mut self) -> io::Result<()> {
        self.connection
            .send(self.shard, self.session.output())
            .await
    }

    /// Reads once, after all replies are out.
    async fn read(&mut self, pass: &Pass) -> io::Result<Next> {
        let is_closing = self.shard.visits.is_closed();
        if is_closing && !self.session.in_transaction() {
            // Said once; the session then wants to close.
            self.session.shutdown();
            self.flush().await?;
            return Ok(Next::End);
        }
        self.flush().await?;
        let (shard, wait) = (self.shard, self.session.wait());
        let pass = (!is_closing && !self.session.in_transaction()).then_some(pass);
        let heard = if let Some(gathering) = &mut self.gathering {
            let room = if shard.budget.has_room() && !gathering.has_failed() {
                DATA_BUFFER_OCTETS
            } else {
                SCARCE_BUFFER_OCTETS
            };
            gathering.comes_through(self.connection.make_room(&shard.buffers, room));
            let more = pin!(self.connection.receive_into(shard, wait, pass, room));
            match gathering.wait_for(more).await {
                Some(heard) => heard,
                None => return Ok(Next::Again),
            }
        } else {
            self.connection.receive(shard, wait, pass).await
        };
        match heard? {
            Heard::End => Ok(Next::End),
            Heard::Octets => {
                if self.gathering.is_none() {
                    self.connection.note_heard(shard.world.now());
                }
                Ok(Next::Again)
            }
            Heard::Closing => Ok(Next::Read),
            Heard::Silence => {
                self.session.handle_timeout();
                self.flush().await?;
                Ok(Next::End)
            }
        }
    }
}

/// The buffer while content comes in: what a socket holds after one round trip of a fast sender.
const DATA_BUFFER_OCTETS: usize = 64 * 1024;
/// The same where memory has run out: content still comes in, in small pieces.
const SCARCE_BUFFER_OCTETS: usize = 4 * 1024;
