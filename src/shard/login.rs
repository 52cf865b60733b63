//! Logging in, for every protocol that has it: the client's answers to SASL, and the check of a
//! password where it holds nobody up. What a client hears is its protocol's affair.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::settings::Settings;
use crate::config::AllowPlaintext;
use crate::smtp::reply::Reply;
use crate::smtp::server::{ServerKind, ServerSession};
use crate::users::sasl::{self, Binding, Exchange, Turn};
use crate::users::{self};
use crate::world::World;

/// A client that is logging in.
#[derive(Default)]
pub(super) struct Login {
    exchange: Option<Exchange>,
    /// Who it is, when all that is left is its word that it has heard so.
    proved: Option<String>,
    /// It was told that its token does not count; its answer to that ends the matter.
    is_denied: bool,
}

/// What comes of what a client has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Another question.
    Challenge(Vec<u8>),
    /// It is this user, by the name in the users' file.
    In(String),
    /// It is not. The wait for that is over.
    Wrong,
    /// It has failed too often, or too many passwords are being checked.
    Later,
}

/// How it ended: the user, or who it was not.
enum End {
    In(String),
    Wrong(String),
    /// Too many passwords are being checked.
    Busy,
}

impl Settings {
    /// May this client show a password now?
    pub(super) fn may_log_in(&self, is_secured: bool, client: IpAddr) -> bool {
        let may_be_plain = match self.config.auth.allow_plaintext {
            AllowPlaintext::Never => false,
            AllowPlaintext::Loopback => client.is_loopback(),
            AllowPlaintext::Always => true,
        };
        is_secured || may_be_plain
    }

    /// What SASL may name for this client now.
    pub(super) fn mechanisms(
        &self,
        is_secured: bool,
        is_bound: bool,
        client: IpAddr,
    ) -> &'static [&'static str] {
        if self.may_log_in(is_secured, client) && !self.users.is_empty() {
            sasl::mechanisms(is_bound, self.issuer.is_some())
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

    /// May this client try at all? Where not, it has waited for the answer.
    async fn may_try(&self, client: IpAddr) -> bool {
        let now = self.world.now();
        let may = self.suspects.borrow().may_client_try(now, client);
        if !may {
            self.world.sleep(now + FAILURE_WAIT).await;
        }
        may
    }

    /// A name and a password, as USER and PASS or LOGIN give them.
    pub(super) async fn check_login(&self, client: IpAddr, name: &str, password: Vec<u8>) -> Word {
        if !self.may_try(client).await {
            return Word::Later;
        }
        let turn = sasl::compare(&self.settings().users, name, password);
        let end = self.judge(turn).await;
        self.end_login(client, end).await
    }

    /// A name, and what APOP makes of the password and `stamp`.
    pub(super) async fn check_apop(
        &self,
        client: IpAddr,
        name: &str,
        stamp: &str,
        shown: [u8; 16],
    ) -> Word {
        if !self.may_try(client).await {
            return Word::Later;
        }
        let users = Arc::clone(&self.settings().users);
        let proved = users::check_apop(&users, name, stamp, shown);
        let turn = proved.map(|user| Turn::Proved(user.to_owned(), None));
        let end = match turn {
            Some(turn) => self.judge(turn).await,
            None => End::Wrong(
                users
                    .find(name)
                    .map(|(name, _)| name.to_owned())
                    .unwrap_or_default(),
            ),
        };
        self.end_login(client, end).await
    }

    /// What a turn that ends an exchange has shown.
    async fn judge(&self, turn: Turn) -> End {
        match turn {
            Turn::Check {
                user,
                password,
                hash,
            } => self.check(user, password, hash).await,
            Turn::Proved(user, _) if self.may_be_tried(&user) => End::In(user),
            Turn::Proved(user, _) => End::Wrong(user),
            Turn::Challenge(_) | Turn::Denied(..) | Turn::Refused => End::Wrong(String::new()),
        }
    }

    /// Compares the password, also of somebody who is barred: that he is, is not to be seen.
    async fn check(&self, user: String, password: Vec<u8>, hash: String) -> End {
        let may_be = !user.is_empty() && self.may_be_tried(&user);
        match self.world.check_password(password, hash).await {
            Some(true) if may_be => End::In(user),
            Some(_) => End::Wrong(user),
            None => End::Busy,
        }
    }

    /// In, or not: then after a while, and with a line in the log.
    async fn end_login(&self, client: IpAddr, end: End) -> Word {
        match end {
            End::In(user) => {
                self.suspects.borrow_mut().succeeded(client);
                self.say(format_args!("{client}: logged in as {user}"));
                Word::In(user)
            }
            End::Wrong(user) => {
                self.fail(client, &user, "").await;
                Word::Wrong
            }
            End::Busy => Word::Later,
        }
    }

    /// What a failure costs. `why` is for us alone.
    async fn fail(&self, client: IpAddr, user: &str, why: &str) {
        let now = self.world.now();
        self.suspects.borrow_mut().failed(now, client, user);
        self.warn(format_args!("{client}: authentication failed{why}"));
        self.world.sleep(now + FAILURE_WAIT).await;
    }
}

impl Login {
    /// A mechanism of SASL, and what was said with it.
    pub(super) async fn begin<W: World>(
        &mut self,
        shard: &Shard<W>,
        client: IpAddr,
        mechanism: &str,
        said: Option<&[u8]>,
        binding: Option<Binding>,
    ) -> Word {
        *self = Self::default();
        if !shard.may_try(client).await {
            return Word::Later;
        }
        let settings = shard.settings();
        let (users, issuer) = (Arc::clone(&settings.users), settings.issuer.clone());
        self.exchange = Exchange::begin(users, issuer, mechanism, binding);
        self.go_on(shard, client, said).await
    }

    /// An answer of the client, or its first word.
    pub(super) async fn go_on<W: World>(
        &mut self,
        shard: &Shard<W>,
        client: IpAddr,
        said: Option<&[u8]>,
    ) -> Word {
        let end = if self.is_denied {
            *self = Self::default();
            return Word::Wrong;
        } else if let Some(user) = self.proved.take() {
            End::In(user)
        } else if let Some(exchange) = &mut self.exchange {
            let turn = exchange.step(said);
            let user = exchange.user().unwrap_or_default().to_owned();
            match turn {
                Turn::Challenge(challenge) => return Word::Challenge(challenge),
                Turn::Proved(user, Some(last)) if shard.may_be_tried(&user) => {
                    self.proved = Some(user);
                    return Word::Challenge(last);
                }
                Turn::Denied(say, why) => {
                    self.is_denied = true;
                    // It may never answer, so it pays now.
                    shard.fail(client, &user, &format!(": {why}")).await;
                    return Word::Challenge(say);
                }
                Turn::Refused => End::Wrong(user),
                last => shard.judge(last).await,
            }
        } else {
            End::Wrong(String::new())
        };
        *self = Self::default();
        shard.end_login(client, end).await
    }
}

/// What a wrong password costs.
const FAILURE_WAIT: Duration = Duration::from_secs(1);
