//! One SASL exchange (RFC 4422), the server's side. rsasl speaks the mechanisms; here stands what it
//! is told, and what becomes of it. Who exists is not to be seen from outside: a stranger gets the
//! same questions, and a hash is computed for him too.

use std::sync::{Arc, LazyLock, OnceLock};

use aws_lc_rs::{hmac, rand};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::login::LOGIN;
use rsasl::mechanisms::oauthbearer::OAUTHBEARER;
use rsasl::mechanisms::oauthbearer::properties::{OAuthBearerError, OAuthBearerValidate};
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::mechname::Mechname;
use rsasl::prelude::{
    ChannelBindingCallback, Mechanism, Registry, SASLConfig, SASLServer, Session, SessionError,
    State,
};
use rsasl::property::{AuthId, AuthzId, OAuthBearerToken, Password};
use rsasl::validate::{Validate, Validation, ValidationError};

use super::token::{BadToken, Issuer};
use super::{ITERATIONS, ScramKeys, User, Users};

/// What is spoken, best first. The first one needs a channel that both sides can name.
/// The last one needs somebody whose tokens are believed.
const MECHANISMS: [&str; 5] = [
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256",
    "PLAIN",
    "LOGIN",
    "OAUTHBEARER",
];
/// The same with one for whom TLS has proved already; without a password to guess it is the best of
/// those that need no channel.
const WITH_EXTERNAL: [&str; 6] = [
    "SCRAM-SHA-256-PLUS",
    EXTERNAL,
    "SCRAM-SHA-256",
    "PLAIN",
    "LOGIN",
    "OAUTHBEARER",
];
/// Who a client is says its certificate.
pub const EXTERNAL: &str = "EXTERNAL";
static BOUND: [Mechanism; 5] = [SCRAM_SHA256_PLUS, SCRAM_SHA256, PLAIN, LOGIN, OAUTHBEARER];
/// Without the first: to a server that has it, a client's word that it saw no such thing offered
/// means that somebody on the way took it out (RFC 5802 §6).
static UNBOUND: [Mechanism; 4] = [SCRAM_SHA256, PLAIN, LOGIN, OAUTHBEARER];

/// What names a channel on both of its ends, and on no other: `tls-exporter` (RFC 9266).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding(pub [u8; 32]);

/// What may be offered over a channel, best first.
#[must_use]
pub fn mechanisms(is_bound: bool, has_issuer: bool) -> &'static [&'static str] {
    let end = MECHANISMS.len() - usize::from(!has_issuer);
    &MECHANISMS[usize::from(!is_bound)..end]
}

/// The same to a client whose certificate says that it is one of us (`is_known`).
#[must_use]
pub fn offered(is_bound: bool, has_issuer: bool, is_known: bool) -> &'static [&'static str] {
    if !is_known {
        return mechanisms(is_bound, has_issuer);
    }
    let end = WITH_EXTERNAL.len() - usize::from(!has_issuer);
    &WITH_EXTERNAL[usize::from(!is_bound)..end]
}

/// Who a client is whose certificate lets it be one of `users`: the one that it names, or the first
/// (RFC 4422 appendix A).
#[must_use]
pub fn external(users: &[String], said: &[u8]) -> Turn {
    let named = |user: &&String| user.as_bytes().eq_ignore_ascii_case(said);
    let found = match said {
        [] => users.first(),
        _ => users.iter().find(named),
    };
    found.map_or(Turn::Refused, |user| Turn::Proved(user.clone(), None))
}

/// An exchange under way.
pub struct Exchange {
    session: Session<Claimed, Channel>,
    mechanism: String,
    has_begun: bool,
    users: Arc<Users>,
    claimed: Arc<OnceLock<String>>,
    refusal: Arc<OnceLock<BadToken>>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Say this, and wait for the answer.
    Challenge(Vec<u8>),
    /// The client is this user if [`super::verify`] says so.
    Check {
        /// The user; empty for a stranger.
        user: String,
        /// What the client gave.
        password: Vec<u8>,
        /// What it is to be compared with.
        hash: String,
    },
    /// The client is this user; where there is something left to say, it stands behind.
    Proved(String, Option<Vec<u8>>),
    /// He is not, for this reason, and is to be told so; what he answers to that says nothing
    /// (RFC 7628 §3.2.3).
    Denied(Vec<u8>, BadToken),
    /// He is not, or said something that makes no sense.
    Refused,
}

/// What a client claims.
enum Claim {
    /// To be this user, and gives a password.
    Password(String, Vec<u8>),
    /// To be this user, and has proved it.
    Proof(String),
}

struct Claimed;

impl Validation for Claimed {
    type Value = Claim;
}

impl Exchange {
    /// Begins an exchange; `None` for a mechanism that is not spoken over this channel.
    #[must_use]
    pub fn begin(
        users: Arc<Users>,
        issuer: Option<Arc<Issuer>>,
        mechanism: &str,
        binding: Option<Binding>,
    ) -> Option<Self> {
        let mechanism = mechanism.to_ascii_uppercase();
        if !mechanisms(binding.is_some(), issuer.is_some()).contains(&&*mechanism) {
            return None;
        }
        let spoken: &'static [Mechanism] = match binding {
            Some(_) => &BOUND,
            None => &UNBOUND,
        };
        let (claimed, refusal) = (Arc::default(), Arc::default());
        let book = Book {
            users: Arc::clone(&users),
            issuer,
            claimed: Arc::clone(&claimed),
            bearer: OnceLock::new(),
            refusal: Arc::clone(&refusal),
        };
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(spoken))
            .with_callback(book)
            .ok()?;
        let name = Mechname::parse(mechanism.as_bytes()).ok()?;
        let session = SASLServer::<Claimed, _>::with_cb(config, Channel(binding))
            .start_suggested(name)
            .ok()?;
        Some(Self {
            session,
            mechanism,
            has_begun: false,
            users,
            claimed,
            refusal,
        })
    }

    /// Takes what the client said; `None` when it has said nothing yet.
    pub fn step(&mut self, said: Option<&[u8]>) -> Turn {
        if said.is_none() && !self.session.are_we_first() {
            return Turn::Challenge(Vec::new());
        }
        if self.mechanism.starts_with("SCRAM-") && !self.is_scram(said.unwrap_or_default()) {
            return Turn::Refused;
        }
        let mut answer = Vec::new();
        let is_early = said.is_some() && !self.has_begun && self.session.are_we_first();
        if is_early && self.session.step(None, &mut answer).is_err() {
            return Turn::Refused;
        }
        // With LOGIN some clients answer the first question before it is put.
        answer.clear();
        self.has_begun = true;
        let state = self.session.step(said, &mut answer);
        match (state, self.session.validation()) {
            (Ok(_), Some(Claim::Proof(user))) => {
                Turn::Proved(user, Some(answer).filter(|answer| !answer.is_empty()))
            }
            (Ok(_), Some(Claim::Password(user, password))) => compare(&self.users, &user, password),
            (Ok(State::Running), None) => match self.refusal.get() {
                Some(why) => Turn::Denied(answer, *why),
                None => Turn::Challenge(answer),
            },
            (Ok(State::Finished(_)), None) | (Err(_), _) => Turn::Refused,
        }
    }

    /// Has it the form of RFC 5802 §7? rsasl takes it for granted that attributes are not empty, and
    /// that who asks for -PLUS binds.
    fn is_scram(&self, said: &[u8]) -> bool {
        let mut parts = said.split(|&octet| octet == b',');
        if !self.has_begun {
            let is_bound = parts.next().is_some_and(|flag| flag.starts_with(b"p="));
            let authzid = parts.next().unwrap_or_default();
            if self.mechanism.ends_with("-PLUS") && !is_bound
                || !(authzid.is_empty() || authzid.starts_with(b"a="))
            {
                return false;
            }
        }
        parts.all(is_attribute)
    }

    /// Somebody else vouches for the client, with what nobody can guess.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        self.mechanism == "OAUTHBEARER"
    }

    /// The user whom the client tries to be, where there is one of that name.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        let (name, _) = self.users.find(self.claimed.get()?)?;
        Some(name)
    }
}

/// What has to be compared for somebody who says to be `user`, and gives a password.
#[must_use]
pub fn compare(users: &Users, user: &str, password: Vec<u8>) -> Turn {
    let (user, hash) = match users.find(user) {
        Some((name, user)) => (name.to_owned(), user.password.clone()),
        None => (String::new(), STRANGER.clone()),
    };
    Turn::Check {
        user,
        password,
        hash,
    }
}

/// Is it a list of `a=value` (RFC 5802 §7)?
pub(super) fn has_attributes(said: &[u8]) -> bool {
    said.split(|&octet| octet == b',').all(is_attribute)
}

fn is_attribute(part: &[u8]) -> bool {
    part.get(1) == Some(&b'=')
}

/// The channel, as rsasl asks for it.
pub(super) struct Channel(pub(super) Option<Binding>);

impl ChannelBindingCallback for Channel {
    fn get_cb_data(&self, kind: &str) -> Option<&[u8]> {
        let Binding(octets) = self.0.as_ref()?;
        (kind == "tls-exporter").then_some(octets)
    }
}

/// The users, as rsasl asks for them.
struct Book {
    users: Arc<Users>,
    issuer: Option<Arc<Issuer>>,
    /// The first name that was asked for.
    claimed: Arc<OnceLock<String>>,
    /// Whom a token has proved the client to be.
    bearer: OnceLock<String>,
    /// Why a token does not count.
    refusal: Arc<OnceLock<BadToken>>,
}

impl Book {
    /// Whose token it is; `name` is who the client says to be, where it says so. What is wrong with
    /// a token is checked before who exists: without a good one nobody learns that.
    fn bearer(&self, name: &str, said: &str) -> Result<String, BadToken> {
        let issuer = self.issuer.as_ref().ok_or(BadToken::Form)?;
        let claimed = issuer.check(said)?;
        let (user, _) = self.users.find(&claimed).ok_or(BadToken::User)?;
        let is_he = name.is_empty() || name.eq_ignore_ascii_case(user);
        is_he.then(|| user.to_owned()).ok_or(BadToken::User)
    }
}

impl SessionCallback for Book {
    fn callback(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if request.is::<OAuthBearerValidate>() {
            let name = context.get_ref::<AuthzId>().unwrap_or_default();
            let said = context.get_ref::<OAuthBearerToken>().unwrap_or_default();
            self.claimed.get_or_init(|| name.to_owned());
            let verdict = self.bearer(name, said).map(|user| {
                self.bearer.get_or_init(|| user);
            });
            let verdict = verdict.map_err(|why| {
                self.refusal.get_or_init(|| why);
                OAuthBearerError::new("invalid_token", None, None)
            });
            request.satisfy::<OAuthBearerValidate>(&verdict)?;
            return Ok(());
        }
        let name = context.get_ref::<AuthId>().unwrap_or_default();
        self.claimed.get_or_init(|| name.to_owned());
        let known = self.users.find(name);
        let keys = known.and_then(|(_, user)| user.scram_sha_256.keys());
        let keys = keys.unwrap_or_else(|| strange_keys(name));
        request.satisfy::<ScramStoredPassword<'_>>(&ScramStoredPassword::new(
            keys.iterations,
            &keys.salt,
            &keys.stored_key,
            &keys.server_key,
        ))?;
        Ok(())
    }

    fn validate(
        &self,
        data: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        if data.mechanism().mechanism.as_str() == "OAUTHBEARER" {
            if let Some(user) = self.bearer.get() {
                validate.finalize::<Claimed>(Claim::Proof(user.clone()));
            }
            return Ok(());
        }
        let name = context
            .get_ref::<AuthId>()
            .ok_or(ValidationError::MissingRequiredProperty)?;
        let other = context.get_ref::<AuthzId>().unwrap_or_default();
        if !other.is_empty() && !other.eq_ignore_ascii_case(name) {
            // Nobody acts for somebody else here.
            return Ok(());
        }
        let is_proof = data.mechanism().mechanism.starts_with("SCRAM-");
        let claim = match (context.get_ref::<Password>(), self.users.find(name)) {
            (Some(password), _) => Claim::Password(name.to_owned(), password.to_vec()),
            (None, Some((name, _))) if is_proof => Claim::Proof(name.to_owned()),
            _ => return Ok(()),
        };
        validate.finalize::<Claimed>(claim);
        Ok(())
    }
}

/// Keys for a name that nobody has: the same ones whenever it is asked for, as somebody's would be.
fn strange_keys(name: &str) -> ScramKeys {
    let drawn = |what: &str| {
        let text = format!("{what} {}", name.to_lowercase());
        hmac::sign(&SECRET, text.as_bytes()).as_ref().to_vec()
    };
    let mut salt = drawn("salt");
    salt.truncate(super::SALT_OCTETS);
    ScramKeys {
        iterations: ITERATIONS,
        salt,
        stored_key: drawn("stored key"),
        server_key: drawn("server key"),
    }
}

/// Drawn at the start. After another start strangers get other salts, and so may somebody whose
/// password was changed.
static SECRET: LazyLock<hmac::Key> = LazyLock::new(|| {
    let mut octets = [0; super::KEY_OCTETS];
    // Without randomness a stranger could be told from a user, and nothing worse.
    let _ = rand::fill(&mut octets);
    hmac::Key::new(hmac::HMAC_SHA256, &octets)
});

/// What the password of somebody who does not exist is compared with.
static STRANGER: LazyLock<String> = LazyLock::new(|| {
    let nobody = User::new("nobody has this password", Vec::new());
    nobody.map(|user| user.password).unwrap_or_default()
});
