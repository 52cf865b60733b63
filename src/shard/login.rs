//! AUTH: the client's answers to SASL, and the check of a password where it holds nobody up.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::settings::Settings;
use crate::config::AllowPlaintext;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Encryption, ServerKind, ServerSession};
use crate::users::sasl::{self, Binding, Exchange, Turn};
use crate::world::World;

/// A client that is logging in.
#[derive(Default)]
pub(super) struct Login {
    exchange: Option<Exchange>,
    /// Who it is, when all that is left is its word that it has heard so.
    proved: Option<String>,
}

/// How it ended: the user, or who it was not.
enum End {
    In(String),
    Wrong(String),
    /// Too many passwords are being checked.
    Busy,
}

impl Settings {
    /// What AUTH may name for this client now.
    pub(super) fn mechanisms(
        &self,
        kind: ServerKind,
        encryption: Encryption,
        is_bound: bool,
        client: IpAddr,
    ) -> &'static [&'static str] {
        let may_be_plain = match self.config.auth.allow_plaintext {
            AllowPlaintext::Never => false,
            AllowPlaintext::Loopback => client.is_loopback(),
            AllowPlaintext::Always => true,
        };
        let is_safe = encryption == Encryption::Active || may_be_plain;
        if is_safe && !self.users.is_empty() && kind != ServerKind::Lmtp {
            sasl::mechanisms(is_bound)
        } else {
            &[]
        }
    }

    /// May a transaction begin with this sender?
    pub(super) fn judge_sender(&self, session: &ServerSession) -> Result<(), Reply> {
        if session.kind() == ServerKind::Submission && !session.may_relay() {
            return Err(Reply::auth_required());
        }
        let sender = session.reverse_path().and_then(|path| path.0.as_ref());
        let (Some(name), Some(sender)) = (session.user(), sender) else {
            return Ok(());
        };
        let known = self.users.find(name);
        if known.is_some_and(|(name, user)| user.may_send_from(name, sender.as_str())) {
            Ok(())
        } else {
            Err(Reply::not_your_address())
        }
    }
}

impl<W: World> Shard<W> {
    /// May somebody prove to be this user? Not after too many have failed to.
    fn may_be_tried(&self, user: &str) -> bool {
        let suspects = self.suspects.borrow();
        suspects.may_user_be_tried(self.world.now(), user)
    }
}

impl Login {
    /// AUTH, and what was said with it.
    pub(super) async fn begin<W: World>(
        &mut self,
        shard: &Shard<W>,
        client: IpAddr,
        mechanism: &str,
        said: Option<&[u8]>,
        binding: Option<Binding>,
        session: &mut ServerSession,
    ) {
        *self = Self::default();
        let now = shard.world.now();
        if !shard.suspects.borrow().may_client_try(now, client) {
            shard.world.sleep(now + FAILURE_WAIT).await;
            return session.auth_refused(&Reply::too_many_failures());
        }
        let users = Arc::clone(&shard.settings().users);
        self.exchange = Exchange::begin(users, mechanism, binding);
        self.go_on(shard, client, said, session).await;
    }

    /// An answer of the client, or its first word.
    pub(super) async fn go_on<W: World>(
        &mut self,
        shard: &Shard<W>,
        client: IpAddr,
        said: Option<&[u8]>,
        session: &mut ServerSession,
    ) {
        if let Some(user) = self.proved.take() {
            return self.end(shard, client, End::In(user), session).await;
        }
        let Some(exchange) = &mut self.exchange else {
            return self
                .end(shard, client, End::Wrong(String::new()), session)
                .await;
        };
        let turn = exchange.step(said);
        let user = exchange.user().unwrap_or_default().to_owned();
        let end = match turn {
            Turn::Challenge(challenge) => return session.challenge(&challenge),
            Turn::Proved(..) if !shard.may_be_tried(&user) => End::Wrong(user),
            Turn::Proved(user, Some(last)) => {
                self.proved = Some(user);
                return session.challenge(&last);
            }
            Turn::Proved(user, None) => End::In(user),
            Turn::Check {
                user,
                password,
                hash,
            } => check(shard, user, password, hash).await,
            Turn::Refused => End::Wrong(user),
        };
        self.end(shard, client, end, session).await;
    }

    /// In, or not: then after a while, and with a line in the log.
    async fn end<W: World>(
        &mut self,
        shard: &Shard<W>,
        client: IpAddr,
        end: End,
        session: &mut ServerSession,
    ) {
        *self = Self::default();
        match end {
            End::In(user) => {
                shard.suspects.borrow_mut().succeeded(client);
                shard.say(format_args!("{client}: logged in as {user}"));
                session.authenticated(Rc::from(user));
            }
            End::Wrong(user) => {
                let now = shard.world.now();
                shard.suspects.borrow_mut().failed(now, client, &user);
                shard.warn(format_args!("{client}: authentication failed"));
                shard.world.sleep(now + FAILURE_WAIT).await;
                session.auth_refused(&Reply::not_authenticated());
            }
            End::Busy => session.auth_refused(&Reply::too_many_failures()),
        }
    }
}

/// Compares the password, also of somebody who is barred: that he is, is not to be seen.
async fn check<W: World>(shard: &Shard<W>, user: String, password: Vec<u8>, hash: String) -> End {
    let may_be = !user.is_empty() && shard.may_be_tried(&user);
    match shard.world.check_password(password, hash).await {
        Some(true) if may_be => End::In(user),
        Some(_) => End::Wrong(user),
        None => End::Busy,
    }
}

/// What a wrong password costs.
const FAILURE_WAIT: Duration = Duration::from_secs(1);
