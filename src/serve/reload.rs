//! What the shards go by, and how it becomes what a changed file says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::certificates::{self, Seen};
use super::tell_all;
use crate::config::{self, Config, Webhook};
use crate::control::house::Reloaded;
use crate::dkim::{self, Signers};
use crate::observe::log::{Level, Log};
use crate::observe::secret::Secret;
use crate::service::events::{Events, Hook, Listeners};
use crate::service::reports::{Reporter, TlsReports};
use crate::shard::life::rules::Rules;
use crate::shard::mesh::{Directory, Letter};
use crate::suppress::Suppressions;
use crate::users::Users;
use crate::users::client::Credentials;
use crate::users::token::Issuer;
use crate::world::Web;

/// What every shard goes by now.
pub(super) struct Current {
    pub(super) rules: Rules,
    pub(super) directory: Directory,
    pub(super) log: Log,
    pub(super) reports: TlsReports,
    pub(super) events: Events,
    /// Who is told of events.
    pub(super) hooks: Vec<Hook>,
    /// The files it names, as they were before they were read.
    pub(super) seen: Seen,
    /// Who gets no mail.
    pub(super) suppressions: Suppressions,
    /// The configuration of `rules`, where the control plane sees it.
    pub(super) shown: Arc<ArcSwap<Config>>,
}

impl Current {
    /// Says how far long work is, where no bar shows it.
    pub(super) fn tell_step(&self, step: Option<String>) {
        if let Some(words) = step {
            self.log.say(Level::Info, format_args!("{words}"));
            self.log.flush();
        }
    }

    /// Reads the configuration anew, and says what changes. With a fault in it the old one stays.
    pub(super) fn reload(&mut self, path: Option<&Path>) -> Reloaded {
        let mut new = match config::load(path) {
            Ok(new) => new,
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                for fault in &faults {
                    self.log.say(Level::Error, format_args!("reload: {fault}"));
                }
                self.log.say(
                    Level::Error,
                    format_args!("reload: the configuration has faults, the old one stays"),
                );
                self.log.flush();
                return Reloaded {
                    taken: false,
                    changes: Vec::new(),
                    faults,
                };
            }
        };
        let old = &self.rules.config;
        // At the start they were made what they are: shards cannot look for a name themselves.
        new.hostname = Some(new.hostname());
        if std::fs::canonicalize(&new.data_dir).is_ok_and(|path| path == old.data_dir) {
            new.data_dir.clone_from(&old.data_dir);
        }
        let changes = config::changes(old, &new);
        for change in &changes {
            let level = if change.needs_restart {
                Level::Warn
            } else {
                Level::Info
            };
            self.log.say(level, format_args!("reload: {change}"));
        }
        let new = new.until_restart(old);
        let faults = self.take(Arc::new(new), "reload");
        Reloaded {
            taken: true,
            changes,
            faults,
        }
    }

    /// Says to domains what came of TLS, and to programs what became of messages, as the present
    /// configuration wants it.
    pub(super) fn begin_reports(&self) {
        let config = &self.rules.config;
        self.reports.begin(Reporter {
            web: Web {
                config: Arc::clone(&self.rules.tls.clients.verified),
                port: config.delivery.mta_sts_port,
            },
            config: Arc::clone(config),
        });
        self.events.begin(Listeners {
            config: Arc::clone(config),
            hooks: self.hooks.clone(),
            web: Arc::clone(&self.rules.tls.clients.verified),
        });
    }

    /// Hands a configuration, and what the files that it names have now, to every shard. What of them
    /// cannot be used, and stays as it was.
    pub(super) fn take(&mut self, config: Arc<Config>, why: &str) -> Vec<String> {
        // Looked at before they are read: what changes meanwhile is read again.
        self.seen = Seen::of(&config);
        let mut faults = Vec::new();
        let mut stays = |unusable: String, what: &str| {
            faults.push(format!("{unusable}; the old {what} stay"));
        };
        match certificates::ends(&config) {
            Ok((tls, _)) => self.rules.tls = tls,
            Err(unusable) => stays(unusable, "certificates"),
        }
        match signers(&config) {
            Ok(signers) => self.rules.signers = Arc::new(signers),
            Err(unusable) => stays(unusable, "DKIM keys"),
        }
        match Users::read(&config.users_file()) {
            Ok(users) => self.rules.users = Arc::new(users),
            Err(unusable) => stays(unusable, "users"),
        }
        match issuer(&config) {
            Ok(issuer) => self.rules.issuer = issuer,
            Err(unusable) => stays(unusable, "keys for tokens"),
        }
        match credentials(&config) {
            Ok(credentials) => self.rules.credentials = Arc::new(credentials),
            Err(unusable) => stays(unusable, "credentials"),
        }
        match config.bounces.read() {
            Ok(bounces) => self.rules.bounces = Arc::new(bounces),
            Err(unusable) => stays(unusable, "rules for bounces"),
        }
        match config.return_keys() {
            Ok(keys) => self.rules.returns = keys.map(Arc::new),
            Err(unusable) => stays(unusable, "keys of return paths"),
        }
        match hooks(&config) {
            Ok(hooks) => self.hooks = hooks,
            Err(unusable) => stays(unusable, "webhooks"),
        }
        for fault in &faults {
            self.log.say(Level::Error, format_args!("{why}: {fault}"));
        }
        self.shown.store(Arc::clone(&config));
        self.rules.config = config;
        self.begin_reports();
        if self.hand_out() {
            self.log.say(Level::Info, format_args!("{why}: done"));
        } else {
            let words = "done, but for shards that are busy: they follow";
            self.log.say(Level::Warn, format_args!("{why}: {words}"));
        }
        self.log.flush();
        faults
    }

    /// Hands the rules to every shard; true once all go by them. Whoever hears that a reload is done may
    /// count on it with the next connection.
    fn hand_out(&self) -> bool {
        let (taken, all) = mpsc::channel();
        let told = tell_all(&self.directory, || {
            Letter::Reload(self.rules.clone(), taken.clone())
        });
        drop(taken);
        let waited = all.recv_timeout(TAKEN_WAIT);
        told && waited == Err(mpsc::RecvTimeoutError::Disconnected)
    }
}

/// How long a reload waits for busy shards before it is called done.
const TAKEN_WAIT: Duration = Duration::from_secs(2);

/// Who signs what leaves.
pub(super) fn signers(config: &Config) -> Result<Signers, String> {
    let keys = config.dkim.iter();
    dkim::read(keys.map(|dkim| (&*dkim.domain, &*dkim.selector, &*dkim.key)))
}

/// Whose tokens prove who somebody is.
pub(super) fn issuer(config: &Config) -> Result<Option<Arc<Issuer>>, String> {
    let issuer = config.oauth.issuer()?;
    Ok(issuer.map(Arc::new))
}

/// Who we are at smart hosts, by the name of the file that says so.
pub(super) fn credentials(config: &Config) -> Result<BTreeMap<String, Credentials>, String> {
    let files = config
        .route
        .iter()
        .filter_map(|route| route.credentials.as_ref());
    let read = |file: &String| Ok((file.clone(), Credentials::read(Path::new(file))?));
    files.map(read).collect()
}

/// Who is told of events.
pub(super) fn hooks(config: &Config) -> Result<Vec<Hook>, String> {
    let read = |settings: &Webhook| {
        Ok(Hook {
            secret: Secret::read(&settings.secret_file)?,
            settings: settings.clone(),
        })
    };
    config.webhook.iter().map(read).collect()
}
