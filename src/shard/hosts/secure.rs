//! How a delivery stands to TLS: what the configuration wants, and what came of it.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Candidate;
use super::demand::Demand;
use crate::config::TlsPolicy;
use crate::mail::envelope::TlsWish;
use crate::observe::ask::TlsCount;
use crate::route::How;
use crate::shard::life::settings::Settings;
use crate::smtp::client::{LogIn, StartTls};
use crate::tls::client::{Clients, Testimony};
use crate::tls::failure::Failure;
use crate::users::client::Credentials;

/// What a connection needs for its handshake.
pub(in crate::shard) struct Terms {
    pub(in crate::shard) say: StartTls,
    pub(in crate::shard) config: Arc<ClientConfig>,
    pub(in crate::shard) name: ServerName<'static>,
    grade: Grade,
    pub(in crate::shard) log_in: LogIn,
    /// Who we are there. What is needed and is not there is an error of the configuration.
    pub(in crate::shard) credentials: Option<Credentials>,
    trial: Option<Trial>,
    /// Less is wanted than of other mail for this host.
    is_relaxed: bool,
}

/// What TLS is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    None,
    Opportunistic,
    Required,
    Verified,
    Sts,
    Dane,
}

/// A policy that is tested.
struct Trial {
    /// It names the host.
    is_named: bool,
    /// What it would have said of the certificate.
    testimony: Testimony,
}

impl Terms {
    /// As the configuration wants it for this host, and what is demanded beyond that.
    pub(in crate::shard) fn new(settings: &Settings, candidate: &Candidate, how: &How) -> Self {
        let clients = &settings.tls.clients;
        let entry = how.entry();
        let tls_first = entry.is_some_and(|entry| entry.tls_first);
        let grade = match (candidate.policy, &candidate.demand) {
            (_, Demand::Certificate { .. }) => Grade::Dane,
            (_, Demand::Policy) => Grade::Sts,
            (TlsPolicy::Verify, _) | (_, Demand::Proof) => Grade::Verified,
            (TlsPolicy::None, _) if tls_first => Grade::Required,
            (TlsPolicy::None, _) => Grade::None,
            (TlsPolicy::Required, _) | (_, Demand::Encryption) => Grade::Required,
            (TlsPolicy::Opportunistic, _) => Grade::Opportunistic,
        };
        let mut trial = None;
        let (config, name) = match (grade, &candidate.demand) {
            (Grade::Dane, Demand::Certificate { config, base, .. }) => {
                (Arc::clone(config), &**base)
            }
            (Grade::Opportunistic | Grade::Required, &Demand::Trial { is_named }) => {
                let (config, testimony) = clients.witnessed();
                trial = Some(Trial {
                    is_named,
                    testimony,
                });
                (config, &*candidate.name)
            }
            (Grade::Verified | Grade::Sts, _) => (Arc::clone(&clients.verified), &*candidate.name),
            _ => (Arc::clone(&clients.unverified), &*candidate.name),
        };
        let own = entry.and_then(|entry| settings.tls.own.get(&**entry.certificate.as_ref()?));
        let config = match own {
            Some(own) => Clients::presenting(&config, own),
            None => config,
        };
        Self {
            say: match grade {
                _ if tls_first => StartTls::First,
                Grade::None => StartTls::Never,
                Grade::Opportunistic => StartTls::IfOffered,
                Grade::Required | Grade::Verified | Grade::Sts | Grade::Dane => StartTls::Always,
            },
            config,
            name: server_name(name, candidate),
            grade,
            log_in: match entry.and_then(|entry| entry.credentials.as_ref()) {
                None => LogIn::Never,
                // The route says that nothing is secret.
                Some(_) if grade == Grade::None => LogIn::Anyway,
                Some(_) => LogIn::UnderTls,
            },
            credentials: entry
                .and_then(|entry| settings.credentials.get(&**entry.credentials.as_ref()?))
                .cloned(),
            trial,
            is_relaxed: matches!(candidate.demand, Demand::Waived),
        }
    }

    /// What TLS is worth, as delivery lines name it.
    pub(super) const fn grade_name(&self) -> &'static str {
        self.grade.name()
    }

    /// May carry mail that wants this, as far as it lies with us.
    pub(in crate::shard) fn suit(&self, wish: TlsWish) -> bool {
        match wish {
            TlsWish::Required => matches!(self.grade, Grade::Verified | Grade::Sts | Grade::Dane),
            TlsWish::Usual | TlsWish::Preferred => !self.is_relaxed,
            TlsWish::Optional => true,
        }
    }

    /// The same after a handshake that failed, where mail may go in plain.
    pub(in crate::shard) fn without_tls(self) -> Option<Self> {
        (self.say == StartTls::IfOffered && self.log_in != LogIn::UnderTls).then_some(Self {
            say: StartTls::Never,
            ..self
        })
    }

    /// What came of it. `agreed` is the version that both sides speak.
    pub(in crate::shard) fn security(
        &self,
        agreed: Option<&'static str>,
        failure: Option<Failure>,
    ) -> Security {
        let outcome = match (agreed, failure) {
            (Some(version), None) => Outcome::Agreed(version),
            _ if self.say == StartTls::Never => Outcome::PlainAfter,
            (_, Some(Failure::NotSupported) | None) => Outcome::NotOffered,
            (_, Some(_)) => Outcome::Broken,
        };
        let trial = self.trial.as_ref().map(|trial| match failure {
            Some(failure) => Err(failure),
            None if !trial.is_named => Err(Failure::Other),
            None => trial.testimony.get().copied().unwrap_or(Ok(())),
        });
        Security {
            grade: self.grade,
            outcome,
            failure,
            trial,
        }
    }
}

/// The name that the host is asked for, and that its certificate should have.
fn server_name(name: &str, candidate: &Candidate) -> ServerName<'static> {
    let name = name.trim_end_matches('.');
    // A literal has no name; its certificate may have the address.
    ServerName::try_from(name.to_owned())
        .unwrap_or_else(|_| ServerName::from(candidate.address.ip()))
}

/// What the delivery line says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Security {
    grade: Grade,
    outcome: Outcome,
    failure: Option<Failure>,
    /// What a policy that is tested would have made of it.
    trial: Option<Result<(), Failure>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// This version.
    Agreed(&'static str),
    NotOffered,
    Broken,
    /// In plain after a connection on which it broke.
    PlainAfter,
}

impl Security {
    /// The same words that it is displayed with.
    pub(in crate::shard) fn words(&self) -> Cow<'static, str> {
        match self.grade {
            Grade::None => Cow::Borrowed(self.grade.name()),
            _ => Cow::Owned(self.to_string()),
        }
    }

    /// What is counted of it for reports; `None`: nothing.
    pub(super) fn reported(&self) -> Option<Result<(), Failure>> {
        if self.grade == Grade::None || self.outcome == Outcome::PlainAfter {
            return None;
        }
        self.trial.or(Some(self.failure.map_or(Ok(()), Err)))
    }
}

impl Grade {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Opportunistic,
        Self::Required,
        Self::Verified,
        Self::Sts,
        Self::Dane,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
            Self::Sts => "sts",
            Self::Dane => "dane",
        }
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.grade.name())?;
        if self.grade == Grade::None {
            return Ok(());
        }
        let outcome = match self.outcome {
            Outcome::Agreed(version) => version,
            Outcome::NotOffered => "not offered",
            Outcome::Broken | Outcome::PlainAfter => "broken",
        };
        write!(f, ": {outcome}")?;
        match self.trial {
            Some(Ok(())) => f.write_str("; sts-testing: passed"),
            Some(Err(failure)) => write!(f, "; sts-testing: {}", failure.name()),
            None => Ok(()),
        }
    }
}

/// Connections to hosts, counted by what was wanted of TLS and what came of it.
#[derive(Default)]
pub(in crate::shard) struct Tally {
    counts: [[Cell<u64>; OUTCOMES.len()]; Grade::ALL.len()],
    trials: [Cell<u64>; TRIAL_OUTCOMES.len()],
}

impl Tally {
    pub(in crate::shard) fn count(&self, security: Security) {
        let outcome = match security.outcome {
            _ if security.grade == Grade::None => PLAIN,
            Outcome::Agreed("TLSv1.3") => 0,
            Outcome::Agreed(_) => 1,
            Outcome::NotOffered if security.grade == Grade::Opportunistic => PLAIN,
            Outcome::PlainAfter => PLAIN,
            Outcome::NotOffered | Outcome::Broken => FAILED,
        };
        let add = |cell: &Cell<u64>| cell.set(cell.get() + 1);
        add(&self.counts[security.grade as usize][outcome]);
        if let Some(trial) = security.trial
            && security.outcome != Outcome::PlainAfter
        {
            add(&self.trials[usize::from(trial.is_err())]);
        }
    }

    /// All that are not zero.
    pub(in crate::shard) fn counts(&self) -> Vec<TlsCount> {
        let row = |policy, counts: &[Cell<u64>], outcomes: &[&'static str]| {
            let cells = counts.iter().zip(outcomes);
            let counts = cells.map(move |(count, outcome)| TlsCount {
                policy,
                outcome,
                connections: count.get(),
            });
            counts.filter(|one| one.connections > 0).collect::<Vec<_>>()
        };
        let grades = Grade::ALL.into_iter().zip(&self.counts);
        let mut all: Vec<TlsCount> = grades
            .flat_map(|(grade, counts)| row(grade.name(), counts, &OUTCOMES))
            .collect();
        all.extend(row("sts_testing", &self.trials, &TRIAL_OUTCOMES));
        all
    }
}

/// As metrics name them.
const OUTCOMES: [&str; 4] = ["tls1.3", "tls1.2", "plain", "failed"];
const PLAIN: usize = 2;
const FAILED: usize = 3;
const TRIAL_OUTCOMES: [&str; 2] = ["passed", "failed"];
