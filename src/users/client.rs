//! The other side of SASL: how we log in at a smart host. rsasl speaks the mechanisms.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::login::LOGIN;
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::properties::{Iterations, Salt, SaltedPassword};
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::mechname::Mechname;
use rsasl::prelude::{
    Mechanism as Spoken, Registry, SASLClient, SASLConfig, Session, SessionError, State,
};
use rsasl::property::{AuthId, Password};
use rsasl::validate::NoValidation;
use serde::Deserialize;

use super::sasl::{Binding, Channel, has_attributes};
use super::{KEY_OCTETS, salted};
use crate::file::{NoSecret, read_secret};
use crate::smtp::extension::{Mechanism, Mechanisms};

/// Who we are at a smart host.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    user: String,
    password: String,
    /// What SCRAM makes of the password: the same with each connection, so it is made once.
    #[serde(skip)]
    salted: Arc<OnceLock<Salted>>,
}

#[derive(Debug)]
struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    password: [u8; KEY_OCTETS],
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        (&self.user, &self.password) == (&other.user, &other.password)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Credentials");
        shown.field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads `user = "..."` and `password = "..."` from a file that is not for everybody's eyes.
    pub fn read(path: &Path) -> Result<Self, String> {
        let unusable = |why: &str| format!("{}: {why}", path.display());
        let text = read_secret(path).map_err(|why| match why {
            NoSecret::Unreadable(error) => unusable(&format!("cannot be read: {error}")),
            NoSecret::Open => unusable("everybody on this machine may read it: chmod o-rwx"),
        })?;
        let text = String::from_utf8(text)
            .map_err(|error| unusable(&format!("cannot be read: {error}")))?;
        let read: Self = toml::from_str(&text).map_err(|error| {
            // Not the line itself: it may hold the password, and this goes into the log.
            unusable(&format!(
                "must have user = \"...\" and password = \"...\": {}",
                error.message()
            ))
        })?;
        if read.user.is_empty() || read.password.is_empty() {
            return Err(unusable("user and password must not be empty"));
        }
        Ok(read)
    }

    /// What PBKDF2 makes of the password (RFC 5802 §3); `None` where that would take too long.
    fn salted(&self, salt: &[u8], iterations: u32) -> Option<[u8; KEY_OCTETS]> {
        if !(1..=ITERATIONS_MAX).contains(&iterations) {
            return None;
        }
        let make = || salted(&self.password, salt, iterations);
        let kept = self.salted.get_or_init(|| Salted {
            salt: salt.to_vec(),
            iterations,
            password: make(),
        });
        let is_same = kept.salt == salt && kept.iterations == iterations;
        Some(if is_same { kept.password } else { make() })
    }
}

/// Logging in, under way.
pub struct Attempt {
    session: Session<NoValidation, Channel>,
    is_scram: bool,
}

/// What is said next.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// These octets; `None` where the host speaks first.
    pub octets: Option<Vec<u8>>,
    /// Whoever the host is, it has proved what it can: it may let us in.
    pub may_end: bool,
}

impl Attempt {
    /// Begins with the strongest mechanism of those offered.
    pub fn begin(
        credentials: &Credentials,
        offered: Mechanisms,
        binding: Option<Binding>,
    ) -> Result<(Self, Mechanism, Said), String> {
        let usable =
            |mechanism: &Mechanism| binding.is_some() || *mechanism != Mechanism::ScramSha256Plus;
        let mechanism = offered
            .iter()
            .find(usable)
            .ok_or("no mechanism that we speak is offered")?;
        let session = start(credentials, mechanism, binding).ok_or("SASL cannot be set up")?;
        let mut attempt = Self {
            session,
            is_scram: mechanism.name().starts_with("SCRAM-"),
        };
        let said = if attempt.session.are_we_first() {
            attempt.step(None)?
        } else {
            Said {
                octets: None,
                may_end: false,
            }
        };
        Ok((attempt, mechanism, said))
    }

    /// Answers a challenge.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Said, String> {
        // rsasl takes it for granted that attributes are not empty.
        if self.is_scram && !has_attributes(challenge) {
            return Err("what the host says is not SCRAM".to_owned());
        }
        self.step(Some(challenge))
    }

    fn step(&mut self, challenge: Option<&[u8]>) -> Result<Said, String> {
        let mut octets = Vec::new();
        let state = self
            .session
            .step(challenge, &mut octets)
            .map_err(|error| error.to_string())?;
        Ok(Said {
            octets: Some(octets),
            may_end: matches!(state, State::Finished(_)),
        })
    }
}

fn start(
    credentials: &Credentials,
    mechanism: Mechanism,
    binding: Option<Binding>,
) -> Option<Session<NoValidation, Channel>> {
    // One at a time: the choice is ours.
    static PLUS: [Spoken; 1] = [SCRAM_SHA256_PLUS];
    static SCRAM: [Spoken; 1] = [SCRAM_SHA256];
    static IN_PLAIN: [Spoken; 1] = [PLAIN];
    static BY_LOGIN: [Spoken; 1] = [LOGIN];
    let spoken: &'static [Spoken] = match mechanism {
        Mechanism::ScramSha256Plus => &PLUS,
        Mechanism::ScramSha256 => &SCRAM,
        Mechanism::Plain => &IN_PLAIN,
        Mechanism::Login => &BY_LOGIN,
    };
    let config = SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(spoken))
        .with_callback(Answers {
            credentials: credentials.clone(),
            can_bind: binding.is_some(),
        })
        .ok()?;
    let name = Mechname::parse(mechanism.name().as_bytes()).ok()?;
    let client = SASLClient::with_cb(config, Channel(binding));
    client.start_suggested(&[name]).ok()
}

/// What rsasl asks for.
struct Answers {
    credentials: Credentials,
    /// Said to a host that does not offer to bind, so that it notices if it was made to look so.
    can_bind: bool,
}

impl SessionCallback for Answers {
    fn callback(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let credentials = &self.credentials;
        request.satisfy::<AuthId>(&credentials.user)?;
        match (context.get_ref::<Salt>(), context.get_ref::<Iterations>()) {
            (Some(salt), Some(&iterations)) => {
                if let Some(salted) = credentials.salted(salt, iterations) {
                    request.satisfy::<SaltedPassword>(&salted)?;
                }
                // Else the password is not given either: rsasl would count as far as the host wants.
            }
            _ => {
                request.satisfy::<Password>(credentials.password.as_bytes())?;
            }
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.can_bind
    }
}

/// Some tens of milliseconds, once. More would hold up the shard for a host that wants it.
const ITERATIONS_MAX: u32 = 200_000;
