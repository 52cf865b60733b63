//! The configuration as a shard uses it: parsed once, replaced whole by a reload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::rules::Rules;
use crate::bounces;
use crate::config::{Config, Limit as Bound, Route, TlsPolicy};
use crate::dkim::Signers;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mailbox::Limit;
use crate::observe::events::Wanted;
use crate::queue;
use crate::route::limits::{Limits, Terms};
use crate::route::mx::{Families, Own};
use crate::route::pool::Pools;
use crate::route::{How, NextHop, RouteTable, Target};
use crate::shard::clients::tenants::Tenants;
use crate::shard::returns::paths::Paths;
use crate::smtp::reply::Reply;
use crate::smtp::server::ServerLimits;
use crate::tls::Ends;
use crate::users::alias::Leads;
use crate::users::client::Credentials;
use crate::users::token::Issuer;
use crate::users::{TooMany, Users};
use crate::wire::path::Mailbox;

/// What each mailbox may hold.
pub(super) fn mailbox_limit(config: &Config) -> Limit {
    Limit {
        octets: config.mailboxes.quota,
        messages: config.mailboxes.quota_messages,
    }
}

/// What the sessions and deliveries of a shard go by.
pub(in crate::shard) struct Settings {
    pub(in crate::shard) hostname: Rc<str>,
    /// What we call ourselves in EHLO.
    pub(in crate::shard) helo: Rc<str>,
    pub(in crate::shard) server: Rc<ServerLimits>,
    pub(in crate::shard) routes: RouteTable,
    /// From whom mail goes.
    pub(in crate::shard) pools: Pools,
    pub(in crate::shard) limits: Limits,
    /// Whose mail it is.
    pub(in crate::shard) tenants: Tenants,
    pub(in crate::shard) own: Own,
    pub(in crate::shard) families: Families,
    pub(in crate::shard) tls: Ends,
    pub(in crate::shard) signers: Arc<Signers>,
    pub(in crate::shard) users: Arc<Users>,
    pub(in crate::shard) issuer: Option<Arc<Issuer>>,
    pub(in crate::shard) credentials: Arc<BTreeMap<String, Credentials>>,
    /// What refusals mean.
    pub(in crate::shard) bounces: Arc<bounces::Rules>,
    /// What comes back; `None`: nothing does.
    pub(in crate::shard) returns: Option<Rc<Paths>>,
    /// What is told of messages, and to whom; `None`: nobody wants to know.
    pub(in crate::shard) events: Option<Rc<Wanted>>,
    pub(in crate::shard) config: Arc<Config>,
}

impl Settings {
    /// Reads the settings out of a configuration that was validated.
    pub(in crate::shard) fn new(rules: Rules) -> Self {
        let Rules {
            config,
            tls,
            signers,
            users,
            issuer,
            credentials,
            bounces,
            returns,
        } = rules;
        let hostname: Rc<str> = config.hostname().into();
        let helo = config
            .delivery
            .helo
            .as_deref()
            .map_or_else(|| Rc::clone(&hostname), Rc::from);
        let rules = config.route.iter().map(Route::written);
        Self {
            server: Rc::new(server_limits(&config, &hostname)),
            // Validation has read the same rules; were one bad all the same, MX decides.
            routes: RouteTable::parse(rules).unwrap_or_default(),
            pools: config.pools(),
            limits: Limits::parse(config.limit.iter().map(Bound::written)).unwrap_or_default(),
            tenants: Tenants::new(&config),
            own: own(&config, &hostname),
            families: config.delivery.families,
            hostname,
            helo,
            tls,
            signers,
            users,
            issuer,
            credentials,
            bounces,
            returns: returns.map(|keys| Rc::new(Paths::new(&config, keys))),
            events: config.wanted_events().map(Rc::new),
            config,
        }
    }

    /// True for a client that may send to anybody.
    pub(in crate::shard) fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let networks = &self.config.smtp.trusted_networks;
        networks.iter().any(|network| network.contains(&client))
    }

    /// The target of a mailbox's mail. At our own name two are at home without a rule: aliases,
    /// and the postmaster (RFC 5321 §4.5.1), as soon as anybody is.
    pub(in crate::shard) fn target(&self, mailbox: &Mailbox) -> &Target {
        if self.return_kind(mailbox).is_some() {
            return &Target::Returns;
        }
        let (domain, users) = (mailbox.domain(), &self.users);
        let is_own = domain.eq_ignore_ascii_case(&self.hostname);
        if is_own && self.routes.place(domain).is_none() {
            let is_postmaster = mailbox.is_postmaster_of(&self.hostname) && !users.is_empty();
            if is_postmaster || users.has_alias(mailbox.as_str()) {
                return &Target::Mailbox;
            }
        }
        self.routes.find(domain)
    }

    /// Where a mailbox's mail goes next, and from whom, by its route or its tenant.
    pub(in crate::shard) fn next_hop(&self, mailbox: &Mailbox, tenant: Option<&str>) -> NextHop {
        match self.target(mailbox) {
            Target::Mailbox => NextHop::mailbox(),
            Target::Returns => NextHop::returns(),
            _ => {
                let hop = self.routes.next_hop(mailbox, &self.hostname);
                let of_route = self.routes.pool(mailbox.domain());
                let pool = of_route.or_else(|| self.tenants.pool(tenant));
                match self.pools.unless_usual(pool) {
                    Some(pool) => hop.via(pool),
                    None => hop,
                }
            }
        }
    }

    /// The mailboxes and the addresses elsewhere that a mailbox's mail is for.
    pub(in crate::shard) fn leads(&self, mailbox: &Mailbox) -> Leads {
        let is_ours = |address: &str| self.routes.ends_here(address, &self.hostname);
        self.users.leads(mailbox.as_str(), is_ours)
    }

    /// Follows the aliases of a message that has just come, and names them.
    pub(in crate::shard) fn expand(
        &self,
        envelope: &mut Envelope,
    ) -> Result<Vec<Mailbox>, TooMany> {
        let leads = |mailbox: &Mailbox| match self.target(mailbox) {
            Target::Mailbox => self.leads(mailbox),
            _ => Leads::default(),
        };
        self.users.expand(envelope, leads)
    }

    /// May mail for this recipient come in?
    pub(in crate::shard) fn judge(
        &self,
        recipient: &Recipient,
        may_relay: bool,
    ) -> Result<(), Reply> {
        match self.target(&recipient.mailbox) {
            Target::Reject => Err(Reply::rejected_by_route()),
            // What ends here may come from anywhere; what goes on may not.
            Target::Mailbox | Target::Returns | Target::Discard => Ok(()),
            Target::Mx | Target::SmartHost { .. } if may_relay => Ok(()),
            Target::Mx | Target::SmartHost { .. } => Err(Reply::relay_denied()),
        }
    }

    /// How mail that goes this way is encrypted.
    pub(in crate::shard) fn tls_policy(&self, how: &How) -> TlsPolicy {
        let own = match how {
            How::Mx(domain) => self.routes.tls(domain),
            How::Host { tls, .. } | How::Address { tls, .. } => *tls,
            How::Mailbox | How::Returns | How::Discard | How::Fail(_) => None,
        };
        let logs_in = how.entry().is_some_and(|entry| entry.credentials.is_some());
        // A password is for one host only, so that host has to prove who it is.
        let usual = if logs_in {
            TlsPolicy::Verify
        } else {
            self.config.delivery.tls
        };
        own.unwrap_or(usual)
    }

    /// What a rule says of the limits of this way.
    pub(in crate::shard) fn limit_terms(&self, how: &How) -> Terms {
        let found = self.limits.of_way(how);
        found.map_or_else(Terms::default, |found| found.terms)
    }

    /// Connections at a time, where a rule says this.
    pub(in crate::shard) fn connections(&self, terms: &Terms) -> u32 {
        let usual = self.config.delivery.connections_per_destination;
        u32::try_from(terms.connections.unwrap_or(usual)).unwrap_or(u32::MAX)
    }

    /// The port of a next hop whose rule names none.
    pub(in crate::shard) fn port(&self) -> u16 {
        self.config.delivery.port
    }

    /// The name by which a host on this port is known to be ourselves. None on another port, where
    /// something else may live under our name, nor where the name is one that many machines have.
    pub(in crate::shard) fn own_name(&self, port: u16) -> Option<Rc<str>> {
        let is_unique = self.hostname.contains('.') && !self.hostname.starts_with("localhost");
        (is_unique && port == self.port()).then(|| Rc::clone(&self.hostname))
    }

    pub(in crate::shard) fn connect_timeout(&self) -> Duration {
        self.config.delivery.connect_timeout
    }
}

/// What the queue is told.
pub(super) fn queue_settings(config: &Config) -> queue::Settings {
    queue::Settings {
        retry: config.queue.retry.clone(),
        expire: config.queue.expire,
        delay_notice: config.queue.delay_notice,
        lane_connections: connections_max(config),
    }
}

/// Connections that any destination may have.
fn connections_max(config: &Config) -> usize {
    let of_rules = config.limit.iter().filter_map(|limit| limit.connections);
    let usual = config.delivery.connections_per_destination;
    of_rules.fold(usual, usize::max)
}

fn server_limits(config: &Config, hostname: &Rc<str>) -> ServerLimits {
    let smtp = &config.smtp;
    ServerLimits {
        hostname: Rc::clone(hostname),
        max_message_size: smtp.max_message_size,
        max_recipients: smtp.max_recipients,
        max_errors: smtp.max_errors,
        max_header: smtp.max_header_size,
        command_timeout: smtp.command_timeout,
        bare_line_ends: smtp.bare_line_ends,
        ..ServerLimits::default()
    }
}

/// Our names, and the addresses of our listeners where they take mail on the port that mail is
/// sent to: on another port something else may live behind the same address.
fn own(config: &Config, hostname: &str) -> Own {
    let bound = config.listener.iter().flat_map(|listener| &listener.bind);
    let addresses = bound
        .filter(|address| address.port() == config.delivery.port)
        .map(|address| address.ip().to_canonical())
        .filter(|address| !address.is_unspecified())
        .collect();
    Own {
        names: vec![hostname.to_ascii_lowercase().into()],
        addresses,
    }
}
