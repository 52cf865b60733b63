//! Logging in, for every protocol that has it: the client's answers to SASL, and the check of a
//! password where it holds nobody up. What a client hears is its protocol's affair.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::suspects::{Leave, Try};
use crate::config::AllowPlaintext;
use crate::shard::Shard;
use crate::shard::life::settings::Settings;
use crate::smtp::reply::Reply;
use crate::smtp::server::{ServerKind, ServerSession};
use crate::tls::caller::Caller;
use crate::users;
use crate::users::sasl::{self, Binding, Exchange, Turn};
use crate::world::{Tick, World};

/// What a connection proves by itself of who is at its other end.
pub(in crate::shard) struct Proofs {
    pub(super) client: IpAddr,
    pub(super) is_secured: bool,
    pub(super) binding: Option<Binding>,
    pub(super) caller: Option<Arc<Caller>>,
    /// It has shown the certificate that it needs here.
    pub(in crate::shard) is_admitted: bool,
}

/// A client that is logging in.
#[derive(Default)]
pub(in crate::shard) struct Login {
    /// Apart: every idle connection has room to log in.
    exchange: Option<Box<Exchange>>,
    /// Whom its certificate lets it be (EXTERNAL, RFC 4422 appendix A).
    external: Option<Vec<String>>,
    /// Who it is, when all that is left is its word that it has heard so.
    proved: Option<String>,
    /// It was told that its token does not count; its answer to that ends the matter.
    is_denied: bool,
}

/// What comes of what a client has said.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shard) enum Word {
    /// Another question.
    Challenge(Vec<u8>),
    /// It is this user, by the name in the users' file.
    In(String),
    /// It is not. The wait for that is over.
    Wrong,
    /// It has failed too often, or too many passwords are being checked.
    Later,
}

/// One try that counts: at the client and, where somebody may be guessing at a user, at the user.
struct Attempt {
    by: Try,
    at: Option<Try>,
    /// Too many have failed to be this user.
    is_barred: bool,
}

/// What somebody who is logging in relies on.
enum Claim {
    /// A password, which may be guessed, of this user, who may be nobody.
    Guess(String),
    /// A certificate or a token. Somebody else vouches for it, and nobody can guess one: who guesses
    /// at the user's password does not keep its owner out.
    Voucher,
}

impl Claim {
    /// At whom it counts: the user whose password may be guessed, or nobody.
    fn guessed<'a>(&self, user: &'a str) -> &'a str {
        match self {
            Self::Guess(_) => user,
            Self::Voucher => "",
        }
    }
}

impl Settings {
    /// May this client show a password now?
    pub(in crate::shard) fn may_log_in(&self, proofs: &Proofs) -> bool {
        let may_be_plain = match self.config.auth.allow_plaintext {
            AllowPlaintext::Never => false,
            AllowPlaintext::Loopback => proofs.client.is_loopback(),
            AllowPlaintext::Always => true,
        };
        proofs.is_admitted && (proofs.is_secured || may_be_plain)
    }

    /// The users whose addresses a verified certificate of this client has.
    fn users_of(&self, caller: Option<&Caller>) -> Vec<String> {
        let caller = caller.filter(|caller| caller.is_verified);
        let addresses = caller.map_or(&[][..], |caller| &caller.addresses);
        let known = addresses
            .iter()
            .filter_map(|address| self.users.find(address));
        known.map(|(name, _)| name.to_owned()).collect()
    }

    /// What SASL may name for this client now.
    pub(in crate::shard) fn mechanisms(&self, proofs: &Proofs) -> &'static [&'static str] {
        if self.may_log_in(proofs) && !self.users.is_empty() {
            let is_known = !self.users_of(proofs.caller.as_deref()).is_empty();
            sasl::offered(proofs.binding.is_some(), self.issuer.is_some(), is_known)
        } else {
            &[]
        }
    }

    /// May a transaction begin with this sender?
    pub(in crate::shard) fn judge_sender(&self, session: &ServerSession) -> Result<(), Reply> {
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
    /// May this client try at all? Where not, it has waited for the answer.
    async fn may_try(&self, client: IpAddr) -> bool {
        let now = self.world.now();
        let may = !self.suspects.is_client_barred(now, client);
        if !may {
            self.world.sleep(now + FAILURE_WAIT).await;
        }
        may
    }

    /// Counts a try of this client at guessing this user's password; with no user, at the client
    /// alone. Where many are under way, it waits for its turn; `None` when none comes.
    async fn begin_attempt(&self, client: IpAddr, user: &str) -> Option<Attempt> {
        let until = self.world.now() + TURN_WAIT;
        let by = match self
            .turn(until, |now| self.suspects.client(now, client))
            .await
        {
            Leave::Try(by) => by,
            Leave::Wait => return None,
            Leave::Barred => {
                self.world.sleep(self.world.now() + FAILURE_WAIT).await;
                return None;
            }
        };
        let mut attempt = Attempt {
            by,
            at: None,
            is_barred: false,
        };
        let is_regular = || self.suspects.is_regular(self.world.now(), client, user);
        if !user.is_empty() && !is_regular() {
            match self.turn(until, |now| self.suspects.user(now, user)).await {
                Leave::Try(at) => attempt.at = Some(at),
                Leave::Wait => return None,
                Leave::Barred => attempt.is_barred = true,
            }
        }
        Some(attempt)
    }

    /// Asks until there is room or no time left.
    async fn turn(&self, until: Tick, ask: impl Fn(Tick) -> Leave) -> Leave {
        loop {
            let now = self.world.now();
            match ask(now) {
                Leave::Wait if now < until => self.world.sleep(now + TURN_LOOK).await,
                leave => return leave,
            }
        }
    }

    /// A name and a password, as USER and PASS or LOGIN give them.
    pub(in crate::shard) async fn check_login(
        &self,
        client: IpAddr,
        name: &str,
        password: Vec<u8>,
    ) -> Word {
        if !self.may_try(client).await {
            return Word::Later;
        }
        let turn = sasl::compare(&self.settings().users, name, password);
        self.judge(client, Claim::Guess(String::new()), turn).await
    }

    /// A name, and what APOP makes of the password and `stamp`.
    pub(in crate::shard) async fn check_apop(
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
        let claimed = users.find(name).map(|(name, _)| name.to_owned());
        let proved = users::check_apop(&users, name, stamp, shown);
        let turn = proved.map_or(Turn::Refused, |user| Turn::Proved(user.to_owned(), None));
        let claim = Claim::Guess(claimed.unwrap_or_default());
        self.judge(client, claim, turn).await
    }

    /// What the last turn of an exchange has shown of somebody who claims this.
    async fn judge(&self, client: IpAddr, claim: Claim, turn: Turn) -> Word {
        let user = match (&turn, &claim) {
            (Turn::Check { user, .. } | Turn::Proved(user, _), _) => user.clone(),
            (_, Claim::Guess(claimed)) => claimed.clone(),
            (_, Claim::Voucher) => String::new(),
        };
        // What has been shown is not said before it counts: who is barred learns nothing.
        let Some(attempt) = self.begin_attempt(client, claim.guessed(&user)).await else {
            return Word::Later;
        };
        let is_right = match turn {
            Turn::Check { password, hash, .. } => {
                // Also of somebody who is barred: that he is, is not to be seen.
                let compared = self.world.check_password(password, hash).await;
                let Some(is_right) = compared else {
                    return Word::Later;
                };
                is_right && !user.is_empty()
            }
            Turn::Proved(..) => true,
            Turn::Challenge(_) | Turn::Denied(..) | Turn::Refused => false,
        };
        if is_right && !attempt.is_barred {
            attempt.by.forgive();
            self.suspects.welcome(self.world.now(), client, &user);
            self.say(format_args!("{client}: logged in as {user}"));
            return Word::In(user);
        }
        self.fail(client, attempt, "").await;
        Word::Wrong
    }

    /// What a failure costs. `why` is for us alone.
    async fn fail(&self, client: IpAddr, attempt: Attempt, why: &str) {
        let now = self.world.now();
        attempt.by.failed(now);
        if let Some(at) = attempt.at {
            at.failed(now);
        }
        self.warn(format_args!("{client}: authentication failed{why}"));
        self.world.sleep(now + FAILURE_WAIT).await;
    }
}

impl Login {
    /// A mechanism of SASL, and what was said with it.
    pub(in crate::shard) async fn begin<W: World>(
        &mut self,
        shard: &Shard<W>,
        mechanism: &str,
        said: Option<&[u8]>,
        proofs: Proofs,
    ) -> Word {
        *self = Self::default();
        let client = proofs.client;
        if !shard.may_try(client).await {
            return Word::Later;
        }
        let settings = shard.settings();
        if mechanism.eq_ignore_ascii_case(sasl::EXTERNAL) {
            self.external = Some(settings.users_of(proofs.caller.as_deref()));
            return self.go_on(shard, client, said).await;
        }
        let (users, issuer) = (Arc::clone(&settings.users), settings.issuer.clone());
        let begun = Exchange::begin(users, issuer, mechanism, proofs.binding);
        self.exchange = begun.map(Box::new);
        self.go_on(shard, client, said).await
    }

    /// An answer of the client, or its first word.
    pub(in crate::shard) async fn go_on<W: World>(
        &mut self,
        shard: &Shard<W>,
        client: IpAddr,
        said: Option<&[u8]>,
    ) -> Word {
        if self.is_denied {
            *self = Self::default();
            return Word::Wrong;
        }
        if let Some(user) = self.proved.take() {
            *self = Self::default();
            return Word::In(user);
        }
        let (mut turn, mut claim) = (Turn::Refused, Claim::Voucher);
        if let Some(external) = &self.external {
            let ask = || Turn::Challenge(Vec::new());
            turn = said.map_or_else(ask, |said| sasl::external(external, said));
        } else if let Some(exchange) = &mut self.exchange {
            turn = exchange.step(said);
            if !exchange.is_vouched_for() {
                claim = Claim::Guess(exchange.user().unwrap_or_default().to_owned());
            }
        }
        match turn {
            Turn::Challenge(challenge) => Word::Challenge(challenge),
            Turn::Proved(user, Some(last)) => {
                let proof = Turn::Proved(user, None);
                match shard.judge(client, claim, proof).await {
                    Word::In(user) => {
                        self.proved = Some(user);
                        Word::Challenge(last)
                    }
                    other => {
                        *self = Self::default();
                        other
                    }
                }
            }
            Turn::Denied(say, why) => {
                let Some(attempt) = shard.begin_attempt(client, "").await else {
                    *self = Self::default();
                    return Word::Later;
                };
                self.is_denied = true;
                // It may never answer, so it pays now.
                shard.fail(client, attempt, &format!(": {why}")).await;
                Word::Challenge(say)
            }
            last => {
                *self = Self::default();
                shard.judge(client, claim, last).await
            }
        }
    }
}

/// What a wrong password costs.
const FAILURE_WAIT: Duration = Duration::from_secs(1);
/// How long a try waits for others of the same client, or at the same user, to end. Passwords are
/// compared one after the other: some hundreds in this time.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const TURN_LOOK: Duration = Duration::from_millis(20);
