//! The configuration: a model whose every value is valid, a file with positions for its faults,
//! and its rendering with comments.
//!
//! One table of keys (`keys`) says for each what it means, how it is read and how it is written.
//! So the file, `ringpost config` and the manual cannot disagree.

mod changes;
mod default;
mod keys;
mod limit;
mod read;
mod render;
mod returns;
mod sending;
#[cfg(test)]
mod tests;
pub mod units;
mod value;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::observe::events::{Kinds, Wanted};
use crate::observe::log::{Format, Level};
use crate::route::mx::Families;
use crate::route::{RouteTable, Written};
use crate::smtp::server::BareLineEnds;
use crate::tls::caller::{ClientAuth, Guest};
use crate::users::token::{Issuer, Terms};
use crate::wire::path::Mailbox;

pub use crate::route::TlsPolicy;
pub use changes::{Change, changes};
pub use limit::Limit;
pub use render::{Entry, Section, render, sections};
pub use returns::{Reporter, ReturnDomain, Returns};
pub use sending::{Bounces, Pool, Source, Suppressed, Suppression, Tenant, Tenants, Warmup};

/// Everything a user can set. [`Config::default`] is the embedded default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `None`: the machine's name; see [`Config::hostname`].
    pub hostname: Option<String>,
    /// Spool, mailboxes and keys.
    pub data_dir: PathBuf,
    /// `[process]`
    pub process: Process,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[[listener]]`
    pub listener: Vec<Listener>,
    /// `[tls]`
    pub tls: Tls,
    /// `[smtp]`
    pub smtp: Smtp,
    /// `[[route]]`
    pub route: Vec<Route>,
    /// `[[dkim]]`
    pub dkim: Vec<Dkim>,
    /// `[verify]`
    pub verify: Verify,
    /// `[dns]`
    pub dns: Dns,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[[source]]`
    pub source: Vec<Source>,
    /// `[[warmup]]`
    pub warmup: Vec<Warmup>,
    /// `[[pool]]`
    pub pool: Vec<Pool>,
    /// `[tenants]`
    pub tenants: Tenants,
    /// `[[tenant]]`
    pub tenant: Vec<Tenant>,
    /// `[bounces]`
    pub bounces: Bounces,
    /// `[suppression]`
    pub suppression: Suppression,
    /// `[returns]`
    pub returns: Returns,
    /// `[[limit]]`
    pub limit: Vec<Limit>,
    /// `[tls_reports]`
    pub tls_reports: TlsReports,
    /// `[queue]`
    pub queue: Queue,
    /// `[spool]`
    pub spool: Spool,
    /// `[control]`
    pub control: Control,
    /// `[auth]`
    pub auth: Auth,
    /// `[oauth]`
    pub oauth: Oauth,
    /// `[mailboxes]`
    pub mailboxes: Mailboxes,
    /// `[log]`
    pub log: Log,
    /// `[events]`
    pub events: Events,
    /// `[[webhook]]`
    pub webhook: Vec<Webhook>,
}

/// `[process]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Whom a relay that root started runs as: a name or a number.
    pub user: Option<String>,
    /// `None`: the user's own.
    pub group: Option<String>,
    /// No new privileges, and only the files that are needed.
    pub confine: bool,
    /// How long transactions in progress may take at the end.
    pub drain: Duration,
}

/// `[runtime]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Where the shards run.
    pub cores: Cores,
    /// Whether each of them stays on one CPU.
    pub pin: Pin,
    /// Octets, of all shards.
    pub memory: u64,
    /// How long an idle shard polls before it sleeps.
    pub spin: Duration,
    /// The time slice that shards ask the kernel's scheduler for; zero leaves it its own.
    pub slice: Duration,
}

/// Which cores the shards run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// One shard for each CPU the process may use.
    All,
    /// So many shards.
    Count(usize),
    /// One shard on each of these CPUs.
    List(Vec<usize>),
}

/// Whether a shard stays on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Where there are more than two CPUs.
    Auto,
    /// Wherever there is a CPU for each.
    Always,
    /// Only where CPUs are listed.
    Never,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub bind: Vec<SocketAddr>,
    /// A PROXY header comes first.
    pub proxy_protocol: bool,
    /// Who mail is from is found out.
    pub verify: bool,
    /// The rules for bulk senders are looked at.
    pub preflight: Preflight,
    /// Mail does not say where it comes from.
    pub hide_client: bool,
    /// What clients have to show of themselves under TLS.
    pub client_auth: ClientAuth,
    /// Whom a certificate lets relay.
    pub trusted_clients: Vec<Guest>,
    /// Whose mail comes in here, where nothing else says whose it is.
    pub tenant: Option<String>,
}

/// What is done about mail that breaks a rule for bulk senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Nobody looks.
    Off,
    /// It is counted.
    Count,
    /// It is counted and logged.
    Warn,
    /// It is refused too.
    Refuse,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321
    Smtp,
    /// RFC 6409
    Submission,
    /// RFC 8314
    Submissions,
    /// RFC 2033
    Lmtp,
    /// RFC 1939
    Pop3,
    /// POP3 under TLS
    Pop3s,
    /// RFC 9051
    Imap,
    /// IMAP under TLS
    Imaps,
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM, the chain; several for several names.
    pub certificate: Vec<PathBuf>,
    /// PEM, the key; one for each certificate.
    pub key: Vec<PathBuf>,
    /// PEM, the certificate authorities that are trusted; `None`: those of the machine.
    pub trusted_roots: Option<PathBuf>,
    /// PEM, the certificate authorities of our clients; `None`: there are none.
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    /// Each certificate and its key.
    #[must_use]
    pub fn pairs(&self) -> Vec<(PathBuf, PathBuf)> {
        let keys = self.key.iter().cloned();
        self.certificate.iter().cloned().zip(keys).collect()
    }
}

/// `[smtp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Octets.
    pub max_message_size: u64,
    /// Of one message.
    pub max_recipients: usize,
    /// Of all clients.
    pub max_connections: usize,
    /// Of one client outside the trusted networks.
    pub max_connections_per_client: usize,
    /// Octets of a header.
    pub max_header_size: u32,
    /// Faults of a session, until we hang up.
    pub max_errors: u32,
    /// For one command.
    pub command_timeout: Duration,
    /// For a whole session.
    pub session_timeout: Duration,
    /// What a CR or LF alone in a message is.
    pub bare_line_ends: BareLineEnds,
    /// Who may relay.
    pub trusted_networks: Vec<IpNet>,
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A domain, `*.domain` or `*`.
    pub domain: String,
    /// A target, as [`crate::route::Target::parse`] reads it.
    pub to: String,
    /// Encryption; `None`: as for all other mail, and where we log in with the host's name verified.
    pub tls: Option<TlsPolicy>,
    /// A file that says who we are at the smart host.
    pub credentials: Option<String>,
    /// PEM, the chain that we show to the smart host.
    pub client_certificate: Option<String>,
    /// PEM, its key.
    pub client_key: Option<PathBuf>,
    /// By which pool of sources; `None`: as all other mail.
    pub pool: Option<String>,
}

impl Route {
    /// The rule as the router reads it.
    #[must_use]
    pub fn written(&self) -> Written<'_> {
        Written {
            domain: &self.domain,
            to: &self.to,
            tls: self.tls,
            credentials: self.credentials.as_deref(),
            certificate: self.client_certificate.as_deref(),
            pool: self.pool.as_deref(),
        }
    }
}

/// `[[dkim]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dkim {
    /// Whose mail it signs.
    pub domain: String,
    /// Under which the DNS has its public half.
    pub selector: String,
    /// PEM.
    pub key: PathBuf,
}

/// `[verify]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Mail that its author's domain disowns.
    pub dmarc: Disowned,
    /// For all of one message.
    pub timeout: Duration,
}

/// What happens to mail that its author's domain wants refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disowned {
    /// It is taken, and the field says so.
    Observe,
    /// It is refused.
    Enforce,
}

/// `[dns]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// None: those of resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// `None`: trusted when all name servers are on this machine.
    pub dnssec: Option<Dnssec>,
}

/// Who checks the signatures of DNSSEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dnssec {
    /// Nobody: no answer counts as secure.
    Off,
    /// The name servers. What they say of it counts only over the loopback interface: whoever could
    /// forge an answer on its way could forge that too.
    TrustAd,
}

/// `[delivery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where hosts take mail.
    pub port: u16,
    /// `None`: the hostname.
    pub helo: Option<String>,
    /// None: the kernel chooses.
    pub source: Vec<IpAddr>,
    /// The pool of mail that belongs to no other; `None`: what `source` and `helo` make.
    pub pool: Option<String>,
    /// Which addresses of a host are used.
    pub families: Families,
    /// Over all shards.
    pub connections_per_destination: usize,
    /// Then it ends.
    pub messages_per_connection: usize,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// Encryption.
    pub tls: TlsPolicy,
    /// Policies that domains publish (RFC 8461) count.
    pub mta_sts: bool,
    /// Where web servers have them.
    pub mta_sts_port: u16,
}

/// `[tls_reports]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReports {
    /// Who reports; `None`: nobody does.
    pub organization: Option<String>,
    /// Whom to ask about reports; `None`: the postmaster.
    pub contact: Option<String>,
    /// What a report is about.
    pub interval: Duration,
}

impl TlsReports {
    /// Whom to ask about reports of a relay with this name.
    #[must_use]
    pub fn contact(&self, hostname: &str) -> String {
        let own = self.contact.clone();
        own.unwrap_or_else(|| format!("postmaster@{hostname}"))
    }
}

/// `[queue]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Waits between attempts.
    pub retry: Vec<Duration>,
    /// The age at which mail fails.
    pub expire: Duration,
    /// The age at which its sender is told that it waits.
    pub delay_notice: Option<Duration>,
    /// Who gets a copy of what senders hear of failures.
    pub bounce_copy: Option<Mailbox>,
    /// Reports that one sender gets in an hour.
    pub reports_per_sender: usize,
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// When a message is answered.
    pub durability: Durability,
    /// Octets of a segment.
    pub segment: u64,
}

/// When a message is answered with 250.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk.
    Fsync,
    /// When the kernel has it.
    None,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `None`: there is no control plane.
    pub bind: Option<SocketAddr>,
    /// A file with the token that requests must show.
    pub token_file: Option<PathBuf>,
    /// Octets of one file of the record of changes.
    pub audit_size: u64,
    /// Files of it.
    pub audit_files: usize,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Under `data_dir`.
    pub users_file: PathBuf,
    /// Passwords without TLS.
    pub allow_plaintext: AllowPlaintext,
}

/// `[oauth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oauth {
    /// A JWK set or PEM, the public keys of who issues tokens; `None`: nobody does.
    pub keys: Option<PathBuf>,
    /// Who issues them.
    pub issuer: Option<String>,
    /// Whom they are for.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
}

/// Where passwords may travel without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowPlaintext {
    /// Nowhere.
    Never,
    /// On this machine.
    Loopback,
    /// Everywhere.
    Always,
}

/// Where mail for `user+tag` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subaddress {
    /// Into the INBOX, as if there were no tag.
    Inbox,
    /// Into the folder that the tag names, where there is one.
    Folder,
}

/// `[mailboxes]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailboxes {
    /// Under `data_dir`.
    pub dir: PathBuf,
    /// Octets of one mailbox.
    pub quota: Option<u64>,
    /// Messages of one mailbox.
    pub quota_messages: Option<u64>,
    /// Where mail for `user+tag` goes.
    pub subaddress: Subaddress,
    /// Of all who fetch mail.
    pub max_connections: usize,
    /// Of one client outside the trusted networks.
    pub max_connections_per_client: usize,
    /// Of one user, from wherever.
    pub max_connections_per_user: usize,
    /// From the connection to the login.
    pub login_timeout: Duration,
    /// For one command of POP3.
    pub pop3_timeout: Duration,
    /// Between commands of IMAP, and for IDLE.
    pub imap_timeout: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Lines or objects.
    pub format: Format,
    /// What is worth a line.
    pub level: Level,
}

/// `[events]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Under `data_dir`; `None`: there is no event log.
    pub log: Option<PathBuf>,
    /// Octets at which a new file is begun.
    pub log_size: u64,
    /// Old files that are kept.
    pub log_keep: usize,
    /// Header fields that are told.
    pub headers: Vec<String>,
    /// Octets of what waits for webhooks.
    pub spool: u64,
}

/// `[[webhook]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: String,
    /// What requests are signed with.
    pub secret_file: PathBuf,
    /// What it is told.
    pub events: Kinds,
    /// Events of one request.
    pub batch: usize,
    /// How long the first of them waits.
    pub batch_wait: Duration,
    /// For one request.
    pub timeout: Duration,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(f, "{file}:{}:{}: {}", self.line, self.column, self.message)
    }
}

impl Fault {
    /// A fault at the end of `before`, which is the file up to there.
    fn after(file: &Path, before: &str, message: String) -> Self {
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        }
    }
}

impl Config {
    /// What this machine calls itself.
    #[must_use]
    pub fn hostname(&self) -> String {
        self.hostname.clone().unwrap_or_else(machine_name)
    }

    /// Where the users are.
    #[must_use]
    pub fn users_file(&self) -> PathBuf {
        self.data_dir.join(&self.auth.users_file)
    }

    /// Says of an address whether its mail would end in a mailbox here.
    pub fn ends_here(&self) -> impl Fn(&str) -> bool + use<> {
        let routes = RouteTable::parse(self.route.iter().map(Route::written)).unwrap_or_default();
        let hostname = self.hostname();
        move |address| routes.ends_here(address, &hostname)
    }

    /// Which events are told to anybody; `None` where nobody wants any.
    #[must_use]
    pub fn wanted_events(&self) -> Option<Wanted> {
        let of_log = self.events.log.as_ref().map(|_| Kinds::ALL);
        let of_hooks = self.webhook.iter().map(|hook| hook.events);
        let kinds = of_log.into_iter().chain(of_hooks).reduce(Kinds::with)?;
        let headers = self.events.headers.iter().map(|name| (&**name).into());
        Some(Wanted {
            kinds,
            headers: headers.collect(),
        })
    }

    /// The same with the names filled in that follow from the machine: what is in effect.
    #[must_use]
    pub fn effective(mut self) -> Self {
        let hostname = self.hostname();
        self.delivery.helo.get_or_insert_with(|| hostname.clone());
        self.hostname = Some(hostname);
        self
    }
}

impl Oauth {
    /// Who issues tokens, read anew from the file; `None` where nobody does.
    pub fn issuer(&self) -> Result<Option<Issuer>, String> {
        let Some(path) = &self.keys else {
            return Ok(None);
        };
        let (Some(issuer), Some(audience)) = (&self.issuer, &self.audience) else {
            return Err("issuer and audience are needed too".to_owned());
        };
        let terms = Terms {
            issuer: issuer.clone(),
            audience: audience.clone(),
            user_claim: self.user_claim.clone(),
        };
        Issuer::read(path, terms).map(Some)
    }
}

/// Reads `path`, in which there must be something; without one `./ringpost.toml`; without that the embedded
/// default.
pub fn load(path: Option<&Path>) -> Result<Config, Vec<Fault>> {
    load_with(path, Named::Read)
}

/// The same without a look at the files that it names: for a command of somebody who may not read
/// keys and tokens.
pub fn load_words(path: Option<&Path>) -> Result<Config, Vec<Fault>> {
    load_with(path, Named::LeftAlone)
}

/// What is wrong with a text, and with the files that it names.
#[must_use]
pub fn judge(text: &str) -> Vec<Fault> {
    read::read(Path::new(FILE), text, Named::Read)
        .err()
        .unwrap_or_default()
}

/// Whether the files that a configuration names are checked too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Read,
    LeftAlone,
}

fn load_with(path: Option<&Path>, named: Named) -> Result<Config, Vec<Fault>> {
    let file = match path {
        Some(path) => path,
        None if Path::new(FILE).exists() => Path::new(FILE),
        None => return Ok(Config::default()),
    };
    let octets = std::fs::read(file)
        .map_err(|error| vec![Fault::after(file, "", format!("cannot be read: {error}"))])?;
    if path.is_some() && file.is_file() && octets.iter().all(u8::is_ascii_whitespace) {
        let message = "is empty, which would be all defaults at once: it may be half written; without \
                       --config there is no file to be read";
        return Err(vec![Fault::after(file, "", message.to_owned())]);
    }
    match String::from_utf8(octets) {
        Ok(text) => read::read(file, &text, named),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
            let message = "this is no UTF-8, in which TOML is written: save the file as UTF-8";
            Err(vec![Fault::after(file, &before, message.to_owned())])
        }
    }
}

/// The kernel's node name, completed by /etc/hosts where it is short; "localhost" where it is
/// none that may stand in EHLO.
fn machine_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().to_ascii_lowercase();
    let full = if name.contains('.') {
        None
    } else {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        full_name(&hosts, &name)
    };
    value::domain(&full.unwrap_or(name)).unwrap_or_else(|| "localhost".to_owned())
}

/// The name with a dot on the line of /etc/hosts that has `name`, as `hostname --fqdn` finds it.
fn full_name(hosts: &str, name: &str) -> Option<String> {
    hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let names: Vec<&str> = line.split_whitespace().skip(1).collect();
        let full = names.iter().find(|full| full.contains('.'))?;
        names.contains(&name).then(|| full.to_ascii_lowercase())
    })
}

/// Where the configuration is looked for when nobody says where.
pub(crate) const FILE: &str = "ringpost.toml";
