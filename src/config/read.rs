//! From text to a configuration, with the place of everything that is wrong.

mod returns;
mod sending;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::default::{new_listener, new_route, new_webhook};
use super::keys::{
    self, DKIM, LIMIT, LISTENER, POOL, ROUTE, SOURCE, TABLES, TENANT, WARMUP, WEBHOOK,
};
use super::value::Wrong;
use super::{
    Config, Control, Dkim, Dns, Dnssec, Fault, Limit, Named, Oauth, Pool, Route, Source, Tenant,
    TlsPolicy, Warmup,
};
use crate::dkim::Key;
use crate::file;
use crate::observe::secret::Secret;
use crate::route::limits::{Limits, Terms as LimitTerms};
use crate::route::{BadRoute, RouteTable, Target, Written};
use crate::tls::caller::{ClientAuth, Guest, verifier};
use crate::tls::certificate;
use crate::tls::client::roots;
use crate::users::Users;
use crate::users::alias::BadAlias;
use crate::users::client::Credentials;

/// Reads a file's text.
pub(super) fn read(file: &Path, text: &str, named: Named) -> Result<Config, Vec<Fault>> {
    let mut reader = Reader {
        text,
        file,
        named,
        faults: Vec::new(),
        places: HashMap::new(),
        faulty: HashSet::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.fault(at, error.message().to_owned());
    }
    let mut config = Config::default();
    if reader.faults.is_empty() {
        reader.whole(&mut config, table.get_ref());
        reader.check(&config);
    }
    reader
        .faults
        .sort_by_key(|fault| (fault.line, fault.column));
    if reader.faults.is_empty() {
        Ok(config)
    } else {
        Err(reader.faults)
    }
}

struct Reader<'t> {
    text: &'t str,
    file: &'t Path,
    named: Named,
    faults: Vec<Fault>,
    /// Where values stand, for faults that more than one of them make.
    places: HashMap<String, usize>,
    /// Values that are wrong by themselves, so that nobody complains of them twice.
    faulty: HashSet<String>,
}

impl Reader<'_> {
    fn fault(&mut self, at: usize, message: String) {
        let before = self.text.get(..at).unwrap_or(self.text);
        self.faults.push(Fault::after(self.file, before, message));
    }

    fn whole(&mut self, config: &mut Config, table: &DeTable<'_>) {
        for (name, value) in table {
            let known = TABLES.iter().find(|table| table.name == name.get_ref());
            match (&**name.get_ref(), value.get_ref(), known) {
                ("listener", value, _) => {
                    config.listener = self.array("listener", value, name, LISTENER, new_listener);
                }
                ("route", value, _) => {
                    config.route = self.array("route", value, name, ROUTE, new_route);
                }
                ("dkim", value, _) => {
                    config.dkim = self.array("dkim", value, name, DKIM, Dkim::default);
                }
                ("limit", value, _) => {
                    config.limit = self.array("limit", value, name, LIMIT, Limit::default);
                }
                ("webhook", value, _) => {
                    config.webhook = self.array("webhook", value, name, WEBHOOK, new_webhook);
                }
                ("source", value, _) => {
                    config.source = self.array("source", value, name, SOURCE, Source::default);
                }
                ("warmup", value, _) => {
                    config.warmup = self.array("warmup", value, name, WARMUP, Warmup::default);
                }
                ("tenant", value, _) => {
                    config.tenant = self.array("tenant", value, name, TENANT, Tenant::default);
                }
                ("pool", value, _) => {
                    config.pool = self.array("pool", value, name, POOL, Pool::default);
                }
                (section, DeValue::Table(keys), Some(table)) if !section.is_empty() => {
                    self.table(section, config, keys, table.keys);
                }
                (section, _, Some(_)) if !section.is_empty() => {
                    let message = format!("{section} is a table: write [{section}]");
                    self.fault(name.span().start, message);
                }
                (key, _, _) => {
                    let top = TABLES[0].keys;
                    let names = TABLES
                        .iter()
                        .map(|table| table.name)
                        .filter(|n| !n.is_empty());
                    let names = names.chain(ARRAYS);
                    let names = names.chain(top.iter().map(|key| key.name));
                    match top.iter().find(|known| known.name == key) {
                        Some(known) => self.key("", config, known, value),
                        None => self.unknown(name, names),
                    }
                }
            }
        }
    }

    fn table<T>(
        &mut self,
        section: &str,
        target: &mut T,
        table: &DeTable<'_>,
        keys: &[keys::Key<T>],
    ) {
        for (name, value) in table {
            match keys.iter().find(|key| key.name == name.get_ref()) {
                Some(key) => self.key(section, target, key, value),
                None => self.unknown(name, keys.iter().map(|key| key.name)),
            }
        }
    }

    fn key<T>(
        &mut self,
        section: &str,
        target: &mut T,
        key: &keys::Key<T>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let at = value.span().start;
        let place = format!("{section}.{}", key.name);
        self.places.insert(place.clone(), at);
        if let Err(Wrong(faults)) = (key.read)(target, value.get_ref()) {
            for (item, message) in faults {
                self.fault(item.unwrap_or(at), format!("{}: {message}", key.name));
            }
            self.faulty.insert(place);
        }
    }

    fn array<T>(
        &mut self,
        section: &str,
        value: &DeValue<'_>,
        name: &Spanned<Cow<'_, str>>,
        keys: &[keys::Key<T>],
        new: fn() -> T,
    ) -> Vec<T> {
        let mut items = Vec::new();
        let DeValue::Array(tables) = value else {
            let message = format!("{section} is an array of tables: write [[{section}]]");
            self.fault(name.span().start, message);
            return items;
        };
        for (place, table) in tables.iter().enumerate() {
            let at = table.span().start;
            let DeValue::Table(table) = table.get_ref() else {
                self.fault(
                    at,
                    format!("{section} is an array of tables: write [[{section}]]"),
                );
                continue;
            };
            let section = format!("{section}.{place}");
            self.places.insert(section.clone(), at);
            let mut item = new();
            self.table(&section, &mut item, table, keys);
            items.push(item);
        }
        items
    }

    fn unknown<'n>(&mut self, name: &Spanned<Cow<'_, str>>, known: impl Iterator<Item = &'n str>) {
        let written = name.get_ref();
        let home = TABLES
            .iter()
            .find(|table| table.keys.iter().any(|key| key.name == written));
        let nearest = known
            .map(|known| (strsim::jaro_winkler(written, known), known))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = match (home, nearest) {
            (Some(table), _) if table.name.is_empty() => "; it stands before all tables".to_owned(),
            (Some(table), _) => format!("; it stands under [{}]", table.name),
            (None, Some((_, nearest))) => format!("; did you mean `{nearest}`?"),
            (None, None) => String::new(),
        };
        self.fault(name.span().start, format!("unknown key `{written}`{hint}"));
    }

    fn place(&self, name: &str) -> usize {
        self.places.get(name).copied().unwrap_or(0)
    }

    /// What no key alone can know.
    fn check(&mut self, config: &Config) {
        let mut bound = HashSet::new();
        for (place, listener) in config.listener.iter().enumerate() {
            let bind = format!("listener.{place}.bind");
            if listener.bind.is_empty() && !self.faulty.contains(&bind) {
                let message = "a listener needs bind = [\"address:port\"]";
                let at = self.place(&format!("listener.{place}"));
                self.fault(at, message.to_owned());
            }
            for address in &listener.bind {
                if address.port() != 0 && !bound.insert(*address) {
                    self.fault(self.place(&bind), format!("bind: {address} is bound twice"));
                }
            }
        }
        if config.process.group.is_some() && config.process.user.is_none() {
            let message = "group: whose? set user = \"...\" too, or leave it out";
            self.fault(self.place("process.group"), message.to_owned());
        }
        self.check_routes(config);
        self.check_sources(config);
        self.check_bounces(config);
        self.check_returns(config);
        self.check_keys(config);
        self.check_limits(config);
        self.check_webhooks(config);
        self.check_users(config);
        self.check_oauth(&config.oauth);
        if let Some(bind) = config.control.bind.filter(|bind| bound.contains(bind)) {
            let message = format!("bind: {bind} is bound by a listener too");
            self.fault(self.place("control.bind"), message);
        }
        self.check_token(&config.control);
        self.check_certificates(config);
        self.check_callers(config);
        if let Some(path) = &config.tls.trusted_roots
            && self.named == Named::Read
            && let Err(why) = roots(path)
        {
            let message = format!("trusted_roots: {} {why}", path.display());
            self.fault(self.place("tls.trusted_roots"), message);
        }
        self.check_dnssec(&config.dns);
    }

    fn check_dnssec(&mut self, dns: &Dns) {
        let is_far = |server: &&SocketAddr| !server.ip().to_canonical().is_loopback();
        if dns.dnssec == Some(Dnssec::TrustAd)
            && let Some(server) = dns.servers.iter().find(is_far)
        {
            let message = format!(
                "dnssec: \"trust_ad\" believes what name servers on loopback say, and {server} is \
                 none; run a validating resolver on this machine, or leave dnssec out"
            );
            self.fault(self.place("dns.dnssec"), message);
        }
    }

    fn check_certificates(&mut self, config: &Config) {
        let (chains, keys) = (&config.tls.certificate, &config.tls.key);
        let faulty = ["tls.certificate", "tls.key"].map(|name| self.faulty.contains(name));
        if faulty.contains(&true) || chains.is_empty() && keys.is_empty() {
            return;
        }
        if chains.len() != keys.len() {
            let at = if chains.is_empty() {
                "tls.key"
            } else {
                "tls.certificate"
            };
            let message = format!(
                "certificate names {} files and key {}: each certificate needs its key",
                chains.len(),
                keys.len()
            );
            return self.fault(self.place(at), message);
        }
        if self.named == Named::LeftAlone {
            return;
        }
        if let Err(unusable) = certificate::server(&config.tls.pairs()) {
            let is_key = keys.contains(&unusable.path) && !chains.contains(&unusable.path);
            let at = if is_key { "tls.key" } else { "tls.certificate" };
            self.fault(self.place(at), unusable.to_string());
        }
    }

    /// Can clients show what is asked of them?
    fn check_callers(&mut self, config: &Config) {
        let authorities = config.tls.client_ca.as_ref();
        if let Some(path) = authorities
            && self.named == Named::Read
            && let Err(why) = verifier(path)
        {
            self.fault(self.place("tls.client_ca"), format!("client_ca: {why}"));
        }
        for (place, listener) in config.listener.iter().enumerate() {
            if listener.client_auth == ClientAuth::Require && authorities.is_none() {
                let message = "client_auth: \"require\" needs [tls] client_ca = \"FILE\"";
                let at = self.place(&format!("listener.{place}.client_auth"));
                self.fault(at, message.to_owned());
            }
            if listener.client_auth == ClientAuth::None && !listener.trusted_clients.is_empty() {
                let message =
                    "trusted_clients: nobody is asked for a certificate: client_auth = \"request\"";
                let at = self.place(&format!("listener.{place}.trusted_clients"));
                self.fault(at, message.to_owned());
            }
            let mut guests = listener.trusted_clients.iter();
            let named = guests.find(|guest| matches!(guest, Guest::Name(_)));
            if let (Some(name), None) = (named, authorities) {
                let message = format!(
                    "trusted_clients: \"{name}\" counts in a verified certificate alone: it needs [tls] client_ca = \"FILE\""
                );
                let at = self.place(&format!("listener.{place}.trusted_clients"));
                self.fault(at, message);
            }
        }
    }

    fn check_webhooks(&mut self, config: &Config) {
        for (place, hook) in config.webhook.iter().enumerate() {
            let section = format!("webhook.{place}");
            let parts = [
                ("url", hook.url.is_empty()),
                ("secret_file", hook.secret_file.as_os_str().is_empty()),
            ];
            for (key, is_empty) in parts {
                if is_empty && !self.faulty.contains(&format!("{section}.{key}")) {
                    let message = format!("a webhook needs {key} = \"...\"");
                    self.fault(self.place(&section), message);
                }
            }
            let written = format!("{section}.secret_file");
            let is_there = self.places.contains_key(&written) && !self.faulty.contains(&written);
            if is_there
                && self.named == Named::Read
                && let Err(why) = Secret::read(&hook.secret_file)
            {
                self.fault(self.place(&written), format!("secret_file: {why}"));
            }
            let mut others = config.webhook[..place].iter();
            if others.any(|other| other.url == hook.url) {
                let message = format!("url: {} is told already", hook.url);
                self.fault(self.place(&format!("{section}.url")), message);
            }
        }
    }

    fn check_keys(&mut self, config: &Config) {
        for (place, dkim) in config.dkim.iter().enumerate() {
            let section = format!("dkim.{place}");
            let parts = [
                ("domain", dkim.domain.is_empty()),
                ("selector", dkim.selector.is_empty()),
                ("key", dkim.key.as_os_str().is_empty()),
            ];
            for (key, is_empty) in parts {
                if is_empty && !self.faulty.contains(&format!("{section}.{key}")) {
                    let message = format!("a dkim table needs {key} = \"...\"");
                    self.fault(self.place(&section), message);
                }
            }
            let written = format!("{section}.key");
            let is_good = self.places.contains_key(&written) && !self.faulty.contains(&written);
            if !is_good || self.named == Named::LeftAlone {
                continue;
            }
            if let Err(why) = Key::read(&dkim.key) {
                self.fault(self.place(&written), format!("key: {why}"));
            }
        }
    }

    fn check_users(&mut self, config: &Config) {
        if self.named == Named::LeftAlone || self.faulty.contains("auth.users_file") {
            return;
        }
        let path = config.users_file();
        let at = self.place("auth.users_file");
        match Users::read(&path) {
            Err(why) => self.fault(at, format!("users_file: {why}")),
            Ok(users) => {
                let is_ours = config.ends_here();
                for (name, bad) in users.bad_aliases(is_ours) {
                    // A user who was removed ends the mail of an alias, not the relay.
                    if matches!(bad, BadAlias::Loop(_)) {
                        let file = path.display();
                        let message = format!("users_file: {file}: the alias {name} {bad}");
                        self.fault(at, message);
                    }
                }
            }
        }
    }

    /// A token that nobody says by whom and for whom it is would open the relay to every other
    /// service's users.
    fn check_oauth(&mut self, oauth: &Oauth) {
        let parts = [
            ("keys", oauth.keys.is_some()),
            ("issuer", oauth.issuer.is_some()),
            ("audience", oauth.audience.is_some()),
        ];
        let is_faulty = |key: &str| self.faulty.contains(&format!("oauth.{key}"));
        if parts.iter().all(|(_, is_set)| !is_set) || parts.iter().any(|(key, _)| is_faulty(key)) {
            return;
        }
        let written = parts.iter().find(|(_, is_set)| *is_set);
        let at = written.map_or(0, |(key, _)| self.place(&format!("oauth.{key}")));
        if let Some((missing, _)) = parts.iter().find(|(_, is_set)| !is_set) {
            self.fault(at, format!("[oauth] needs {missing} = \"...\" too"));
        } else if self.named == Named::Read
            && let Err(why) = oauth.issuer()
        {
            self.fault(at, format!("keys: {why}"));
        }
    }

    fn check_token(&mut self, control: &Control) {
        if let Some(path) = &control.token_file {
            if self.named == Named::LeftAlone {
                return;
            }
            let message = match file::read_text(path) {
                Ok(text) if text.trim().is_empty() => "is empty: write a token into it".to_owned(),
                Ok(_) => return,
                Err(error) => format!("cannot be read: {error}"),
            };
            let message = format!("token_file: {} {message}", path.display());
            self.fault(self.place("control.token_file"), message);
            return;
        }
        let is_open = control.bind.is_some_and(|bind| !bind.ip().is_loopback());
        if is_open && !self.faulty.contains("control.token_file") {
            let message = "bind: anybody could steer the relay here: set token_file, or bind to 127.0.0.1 or [::1]";
            self.fault(self.place("control.bind"), message.to_owned());
        }
    }

    fn check_limits(&mut self, config: &Config) {
        for (place, limit) in config.limit.iter().enumerate() {
            let section = format!("limit.{place}");
            let at = self.place(&section);
            let key = match (&limit.domain, &limit.mx) {
                (Some(_), None) => "domain",
                (None, Some(_)) => "mx",
                (Some(_), Some(_)) => {
                    let message = "mx: a limit is for a domain or for hosts: make it two tables";
                    self.fault(self.place(&format!("{section}.mx")), message.to_owned());
                    continue;
                }
                (None, None) => {
                    let message = "a limit needs domain = \"...\" or mx = \"...\"";
                    self.fault(at, message.to_owned());
                    continue;
                }
            };
            let written = limit.written();
            if Limits::parse([written]).is_err() {
                let message = format!("{key}: {:?} {}", written.pattern, why(&BadRoute::Domain));
                self.fault(self.place(&format!("{section}.{key}")), message);
            }
            // It may be there and wrong, or misspelt.
            if limit.terms() == LimitTerms::default() && self.faults.is_empty() {
                let message = "a limit that limits nothing: say connections, rate, ...";
                self.fault(at, message.to_owned());
            }
        }
    }

    fn check_routes(&mut self, config: &Config) {
        for (place, route) in config.route.iter().enumerate() {
            let section = format!("route.{place}");
            let Route { domain, to, .. } = route;
            let pattern = RouteTable::parse([Written {
                to: "mx",
                ..route.written()
            }]);
            let says = |key| self.places.contains_key(&format!("{section}.{key}"));
            let is_silent = !["to", "tls", "pool"].into_iter().any(says);
            let target = match Target::parse(to) {
                // It would change nothing: something was forgotten.
                Ok(_) if is_silent => Err(BadRoute::Target),
                target => target,
            };
            self.check_entry(&section, route);
            let parts = [
                ("domain", domain, pattern.err().map(|(_, bad)| bad)),
                ("to", to, target.err()),
            ];
            for (key, written, bad) in parts {
                let name = format!("{section}.{key}");
                let Some(bad) = bad.filter(|_| !self.faulty.contains(&name)) else {
                    continue;
                };
                match self.places.get(&name).copied() {
                    Some(at) => self.fault(at, format!("{key}: {written:?} {}", why(&bad))),
                    None => {
                        let message = format!("a route needs {key} = \"...\"");
                        self.fault(self.place(&section), message);
                    }
                }
            }
        }
    }
}

impl Reader<'_> {
    /// Can we come in at the smart host?
    fn check_entry(&mut self, section: &str, route: &Route) {
        let target = Target::parse(&route.to);
        if let Ok(Target::SmartHost {
            tls_first: true, ..
        }) = target
            && route.tls == Some(TlsPolicy::None)
        {
            let message = "tls: smtps:// is always encrypted: leave tls out, or write smtp://";
            self.fault(self.place(&format!("{section}.tls")), message.to_owned());
        }
        self.check_own_certificate(section, route);
        let Some(file) = &route.credentials else {
            return;
        };
        let at = self.place(&format!("{section}.credentials"));
        if !matches!(target, Ok(Target::SmartHost { .. })) {
            let message = "credentials: only a smart host is logged in at: to = \"smtp://...\"";
            self.fault(at, message.to_owned());
        } else if self.named == Named::Read
            && let Err(why) = Credentials::read(Path::new(file))
        {
            self.fault(at, format!("credentials: {why}"));
        }
    }

    /// Can we show the smart host who we are?
    fn check_own_certificate(&mut self, section: &str, route: &Route) {
        let at = self.place(&format!("{section}.client_certificate"));
        let has_host = matches!(Target::parse(&route.to), Ok(Target::SmartHost { .. }));
        match (&route.client_certificate, &route.client_key) {
            (None, None) => {}
            (None, Some(_)) | (Some(_), None) => {
                let at = at.max(self.place(&format!("{section}.client_key")));
                let message = "client_certificate and client_key go together";
                self.fault(at, message.to_owned());
            }
            (Some(_), Some(_)) if !has_host => {
                let message =
                    "client_certificate: only a smart host is shown one: to = \"smtp://...\"";
                self.fault(at, message.to_owned());
            }
            (Some(chain), Some(key)) => {
                if self.named == Named::Read
                    && let Err(unusable) = certificate::read(Path::new(chain), key)
                {
                    self.fault(at, format!("client_certificate: {unusable}"));
                }
            }
        }
    }
}

/// The tables of which there may be several.
const ARRAYS: [&str; 9] = [
    "listener", "route", "dkim", "source", "warmup", "pool", "limit", "tenant", "webhook",
];

/// What is wrong with a rule, and what would be right.
fn why(bad: &BadRoute) -> &'static str {
    match bad {
        BadRoute::Domain => "is no domain, \"*.example.org\" or \"*\"",
        BadRoute::Target => {
            "is none of \"mx\", \"mailbox\", \"discard\", \"reject\", \"smtp://host[:port]\", \"smtps://host[:port]\""
        }
        BadRoute::Host => "has no host name or address after ://",
        BadRoute::Port => "has a port that is no number from 1 to 65535",
    }
}
