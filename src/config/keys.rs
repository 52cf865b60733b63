//! Every key: its meaning, how it is read, how it is written, whether a reload changes it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::read::{boolean, choice, count, list, optional, path, size, span, text};
use super::units;
use super::{
    AllowPlaintext, Auth, Config, Control, Cores, Delivery, Dns, Durability, Listener, Log,
    Mailboxes, Protocol, Queue, Route, Runtime, Smtp, Spool, Tls, TlsPolicy,
};
use crate::observe::log::{Format, Level};
use crate::route::mx::Families;
use crate::smtp::server::BareLineEnds;
use toml::de::DeValue;

/// One key of a table that is kept in a `T`.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    /// Its meaning, for the comment above it.
    pub(super) doc: &'static str,
    pub(super) reload: Reload,
    pub(super) read: fn(&mut T, &DeValue<'_>) -> Result<(), String>,
    /// Its value as TOML; `None` when it is unset.
    pub(super) write: fn(&T) -> Option<String>,
}

/// What a reload does with a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    Takes,
    Restart,
}
use Reload::{Restart, Takes};

/// A table of the file.
pub(super) struct Table {
    /// Empty for the keys before the first table.
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key<Config>],
}

/// The tables in the order in which they are written. `listener` and `route` are arrays of
/// tables and stand apart.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "",
        keys: TOP,
    },
    Table {
        name: "runtime",
        keys: RUNTIME,
    },
    Table {
        name: "tls",
        keys: TLS,
    },
    Table {
        name: "smtp",
        keys: SMTP,
    },
    Table {
        name: "dns",
        keys: DNS,
    },
    Table {
        name: "delivery",
        keys: DELIVERY,
    },
    Table {
        name: "queue",
        keys: QUEUE,
    },
    Table {
        name: "spool",
        keys: SPOOL,
    },
    Table {
        name: "control",
        keys: CONTROL,
    },
    Table {
        name: "auth",
        keys: AUTH,
    },
    Table {
        name: "mailboxes",
        keys: MAILBOXES,
    },
    Table {
        name: "log",
        keys: LOG,
    },
];

macro_rules! key {
    ($name:literal, $reload:expr, $doc:literal, $read:expr, $write:expr $(,)?) => {
        Key {
            name: $name,
            doc: $doc,
            reload: $reload,
            read: $read,
            write: $write,
        }
    };
}

const TOP: &[Key<Config>] = &[
    key!(
        "hostname",
        Takes,
        "What the world calls this machine; forward and reverse DNS should agree. Default: the machine's full name.",
        |c, v| text(v)
            .and_then(host_name)
            .map(|name| c.hostname = Some(name)),
        |c| c.hostname.as_ref().map(quoted)
    ),
    key!(
        "data_dir",
        Restart,
        "Where the spool, mailboxes and keys are.",
        |c, v| path(v).map(|path| c.data_dir = path),
        |c| Some(quoted(c.data_dir.display()))
    ),
];

const RUNTIME: &[Key<Config>] = &[
    key!(
        "cores",
        Restart,
        "Shards: \"all\" CPUs, a count, or a list of CPU ids: [0, 2, 4].",
        |c, v| cores(v).map(|cores| c.runtime.cores = cores),
        |c| Some(match &c.runtime.cores {
            Cores::All => quoted("all"),
            Cores::Count(count) => count.to_string(),
            Cores::List(cpus) => format!("{cpus:?}"),
        })
    ),
    key!(
        "memory",
        Restart,
        "Memory for messages, of all shards together. Reached, senders wait and are then told 452.",
        |c, v| at_least(size(v)?, MEMORY_MIN).map(|octets| c.runtime.memory = octets),
        |c| Some(quoted(units::size(c.runtime.memory)))
    ),
    key!(
        "spin",
        Restart,
        "How long an idle shard polls before it sleeps: less latency for more CPU.",
        |c, v| span(v).map(|spin| c.runtime.spin = spin),
        |c| Some(quoted(units::duration(c.runtime.spin)))
    ),
];

const TLS: &[Key<Config>] = &[
    key!(
        "certificate",
        Restart,
        "PEM file with the certificate chain. Not in this version yet.",
        |_, _| Err(not_yet("TLS")),
        |c| c
            .tls
            .certificate
            .as_ref()
            .map(|path| quoted(path.display()))
    ),
    key!(
        "key",
        Restart,
        "PEM file with its private key. Not in this version yet.",
        |_, _| Err(not_yet("TLS")),
        |c| c.tls.key.as_ref().map(|path| quoted(path.display()))
    ),
];

const SMTP: &[Key<Config>] = &[
    key!(
        "max_message_size",
        Takes,
        "The largest message that is taken, as SIZE says it.",
        |c, v| at_least(size(v)?, MESSAGE_SIZE_MIN).map(|octets| c.smtp.max_message_size = octets),
        |c| Some(quoted(units::size(c.smtp.max_message_size)))
    ),
    key!(
        "max_recipients",
        Takes,
        "Recipients of one message (RFC 5321 asks for at least 100).",
        |c, v| count(v, 1, RECIPIENTS_MAX).map(|count| c.smtp.max_recipients = count),
        |c| Some(c.smtp.max_recipients.to_string())
    ),
    key!(
        "max_connections",
        Takes,
        "Connections of clients at a time, over all shards.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.smtp.max_connections = count),
        |c| Some(c.smtp.max_connections.to_string())
    ),
    key!(
        "max_connections_per_client",
        Takes,
        "Connections of one client address outside the trusted networks.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.smtp.max_connections_per_client = count),
        |c| Some(c.smtp.max_connections_per_client.to_string())
    ),
    key!(
        "max_header_size",
        Takes,
        "The largest header that is taken.",
        |c, v| at_least(size(v)?, HEADER_SIZE_MIN)
            .and_then(|octets| u32::try_from(octets).map_err(|_| "must be below 4GiB".to_owned()))
            .map(|octets| c.smtp.max_header_size = octets),
        |c| Some(quoted(units::size(c.smtp.max_header_size.into())))
    ),
    key!(
        "max_errors",
        Takes,
        "Faults of a session after which it is ended.",
        |c, v| count(v, 1, COUNT_MAX)
            .map(|count| c.smtp.max_errors = u32::try_from(count).unwrap_or(u32::MAX)),
        |c| Some(c.smtp.max_errors.to_string())
    ),
    key!(
        "command_timeout",
        Takes,
        "How long a client may take for a command (RFC 5321 §4.5.3.2.7 asks for 5 minutes).",
        |c, v| above_zero(span(v)?).map(|wait| c.smtp.command_timeout = wait),
        |c| Some(quoted(units::duration(c.smtp.command_timeout)))
    ),
    key!(
        "session_timeout",
        Takes,
        "How long a session may last, whatever it does.",
        |c, v| above_zero(span(v)?).map(|wait| c.smtp.session_timeout = wait),
        |c| Some(quoted(units::duration(c.smtp.session_timeout)))
    ),
    key!(
        "bare_line_ends",
        Takes,
        "A CR or LF alone in a message: \"reject\" the message, or \"fix\" it to CRLF.",
        |c, v| choice(v, BARE_LINE_ENDS).map(|choice| c.smtp.bare_line_ends = choice),
        |c| name_of(BARE_LINE_ENDS, c.smtp.bare_line_ends)
    ),
    key!(
        "trusted_networks",
        Takes,
        "Who may send to anybody without AUTH.",
        |c, v| list(v, |item| parsed(
            item,
            "a network such as \"192.168.0.0/16\""
        ))
        .map(|networks| c.smtp.trusted_networks = networks),
        |c| Some(strings(&c.smtp.trusted_networks))
    ),
];

const DNS: &[Key<Config>] = &[key!(
    "servers",
    Restart,
    "Name servers, \"address:port\". Default: those of /etc/resolv.conf.",
    |c, v| list(v, socket_address).map(|servers| c.dns.servers = servers),
    |c| Some(strings(&c.dns.servers))
)];

const DELIVERY: &[Key<Config>] = &[
    key!(
        "port",
        Takes,
        "The port on which other hosts take mail.",
        |c, v| count(v, 1, u16::MAX.into())
            .map(|port| c.delivery.port = u16::try_from(port).unwrap_or(SMTP_PORT)),
        |c| Some(c.delivery.port.to_string())
    ),
    key!(
        "helo",
        Takes,
        "What we call ourselves in EHLO. Default: the hostname.",
        |c, v| text(v)
            .and_then(host_name)
            .map(|name| c.delivery.helo = Some(name)),
        |c| c.delivery.helo.as_ref().map(quoted)
    ),
    key!(
        "source",
        Takes,
        "Local addresses to send from. Default: the kernel's choice.",
        |c, v| list(v, |item| parsed(item, "an IP address"))
            .map(|source| c.delivery.source = source),
        |c| Some(strings(&c.delivery.source))
    ),
    key!(
        "families",
        Takes,
        "Which addresses of a host are used: \"both\", \"ipv4\" or \"ipv6\".",
        |c, v| choice(v, FAMILIES).map(|choice| c.delivery.families = choice),
        |c| name_of(FAMILIES, c.delivery.families)
    ),
    key!(
        "connections_per_destination",
        Takes,
        "Connections to one destination at a time, exact over all shards.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.delivery.connections_per_destination = count),
        |c| Some(c.delivery.connections_per_destination.to_string())
    ),
    key!(
        "messages_per_connection",
        Takes,
        "Messages after which a connection is ended.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.delivery.messages_per_connection = count),
        |c| Some(c.delivery.messages_per_connection.to_string())
    ),
    key!(
        "connect_timeout",
        Takes,
        "How long a connection may take to be made.",
        |c, v| above_zero(span(v)?).map(|wait| c.delivery.connect_timeout = wait),
        |c| Some(quoted(units::duration(c.delivery.connect_timeout)))
    ),
    key!(
        "tls",
        Takes,
        "Encryption to other hosts: \"none\" or \"opportunistic\". This version has no TLS yet, so both send plain text.",
        |c, v| match choice(v, TLS_POLICIES)? {
            TlsPolicy::Required | TlsPolicy::Verify => Err(not_yet("TLS")),
            policy => {
                c.delivery.tls = policy;
                Ok(())
            }
        },
        |c| name_of(TLS_POLICIES, c.delivery.tls)
    ),
];

const QUEUE: &[Key<Config>] = &[
    key!(
        "retry",
        Takes,
        "Waits after the first, second, ... attempt; the last one repeats.",
        |c, v| match list(v, span)? {
            waits if waits.is_empty() =>
                Err("must have at least one wait: [\"1m\", \"5m\"]".to_owned()),
            waits => {
                c.queue.retry = waits;
                Ok(())
            }
        },
        |c| Some(strings(c.queue.retry.iter().copied().map(units::duration)))
    ),
    key!(
        "expire",
        Takes,
        "The age at which mail that could not be delivered fails (RFC 5321 §4.5.4.1: 4 to 5 days).",
        |c, v| above_zero(span(v)?).map(|age| c.queue.expire = age),
        |c| Some(quoted(units::duration(c.queue.expire)))
    ),
    key!(
        "delay_notice",
        Takes,
        "The age at which the sender is told, once, that a message waits; or \"none\".",
        |c, v| optional(v, span).map(|age| c.queue.delay_notice = age),
        |c| Some(
            c.queue
                .delay_notice
                .map_or_else(|| quoted("none"), |age| quoted(units::duration(age)))
        )
    ),
];

const SPOOL: &[Key<Config>] = &[
    key!(
        "durability",
        Restart,
        "\"fsync\": on disk before 250. \"none\": in the kernel's memory only; a power cut loses mail.",
        |c, v| choice(v, DURABILITIES).map(|choice| c.spool.durability = choice),
        |c| name_of(DURABILITIES, c.spool.durability)
    ),
    key!(
        "segment",
        Restart,
        "Size of the files of a shard's log.",
        |c, v| at_least(size(v)?, SEGMENT_MIN).map(|octets| c.spool.segment = octets),
        |c| Some(quoted(units::size(c.spool.segment)))
    ),
];

const CONTROL: &[Key<Config>] = &[
    key!(
        "bind",
        Restart,
        "Where the control plane listens for HTTP; or \"none\".",
        |c, v| optional(v, socket_address).map(|bind| c.control.bind = bind),
        |c| Some(c.control.bind.map_or_else(|| quoted("none"), quoted))
    ),
    key!(
        "token_file",
        Restart,
        "A file with the token that requests must show; needed when bind is not loopback.",
        |c, v| text(v)
            .map(|text| c.control.token_file = (!text.is_empty()).then(|| PathBuf::from(text))),
        |c| c
            .control
            .token_file
            .as_ref()
            .map(|path| quoted(path.display()))
    ),
];

const AUTH: &[Key<Config>] = &[
    key!(
        "users_file",
        Takes,
        "Users, under data_dir. AUTH is not in this version yet.",
        |c, v| path(v).map(|path| c.auth.users_file = path),
        |c| Some(quoted(c.auth.users_file.display()))
    ),
    key!(
        "allow_plaintext",
        Takes,
        "Passwords without TLS: \"never\", \"loopback\", \"always\".",
        |c, v| choice(v, PLAINTEXT).map(|choice| c.auth.allow_plaintext = choice),
        |c| name_of(PLAINTEXT, c.auth.allow_plaintext)
    ),
];

const MAILBOXES: &[Key<Config>] = &[
    key!(
        "dir",
        Restart,
        "Mailboxes, under data_dir. Not in this version yet.",
        |c, v| path(v).map(|path| c.mailboxes.dir = path),
        |c| Some(quoted(c.mailboxes.dir.display()))
    ),
    key!(
        "quota",
        Takes,
        "The size of one mailbox; or \"none\".",
        |c, v| optional(v, size).map(|quota| c.mailboxes.quota = quota),
        |c| Some(
            c.mailboxes
                .quota
                .map_or_else(|| quoted("none"), |quota| quoted(units::size(quota)))
        )
    ),
];

const LOG: &[Key<Config>] = &[
    key!(
        "format",
        Restart,
        "\"text\" as Postfix writes, or \"json\".",
        |c, v| choice(v, FORMATS).map(|choice| c.log.format = choice),
        |c| name_of(FORMATS, c.log.format)
    ),
    key!(
        "level",
        Restart,
        "\"error\", \"warn\", \"info\" (a line for each delivery) or \"debug\".",
        |c, v| choice(v, LEVELS).map(|choice| c.log.level = choice),
        |c| name_of(LEVELS, c.log.level)
    ),
];

/// `[[listener]]`
pub(super) const LISTENER: &[Key<Listener>] = &[
    key!(
        "protocol",
        Restart,
        "\"smtp\" or \"lmtp\". The others (submission, submissions, pop3, pop3s, imap, imaps) are not in this version yet.",
        |l, v| match choice(v, PROTOCOLS)? {
            protocol @ (Protocol::Smtp | Protocol::Lmtp) => {
                l.protocol = protocol;
                Ok(())
            }
            other => Err(not_yet(&format!("a listener for {other}"))),
        },
        |l| name_of(PROTOCOLS, l.protocol)
    ),
    key!(
        "bind",
        Restart,
        "Where it listens: [\"0.0.0.0:25\", \"[::]:25\"].",
        |l, v| list(v, socket_address).map(|bind| l.bind = bind),
        |l| Some(strings(&l.bind))
    ),
    key!(
        "proxy_protocol",
        Restart,
        "A load balancer's PROXY header, version 1 or 2, comes first on every connection.",
        |l, v| boolean(v).map(|proxied| l.proxy_protocol = proxied),
        |l| Some(l.proxy_protocol.to_string())
    ),
];

/// `[[route]]`
pub(super) const ROUTE: &[Key<Route>] = &[
    key!(
        "domain",
        Takes,
        "A domain, \"*.example.org\" for those below it, or \"*\".",
        |r, v| text(v).map(|text| r.domain = text.to_owned()),
        |r| Some(quoted(&r.domain))
    ),
    key!(
        "to",
        Takes,
        "\"mx\", \"discard\", \"reject\", or \"smtp://host[:port]\" (a smart host). \"mailbox\" is not in this version yet.",
        |r, v| match text(v)? {
            "mailbox" => Err(not_yet("a mailbox")),
            text => {
                r.to = text.to_owned();
                Ok(())
            }
        },
        |r| Some(quoted(&r.to))
    ),
];

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("smtp", Protocol::Smtp),
    ("submission", Protocol::Submission),
    ("submissions", Protocol::Submissions),
    ("lmtp", Protocol::Lmtp),
    ("pop3", Protocol::Pop3),
    ("pop3s", Protocol::Pop3s),
    ("imap", Protocol::Imap),
    ("imaps", Protocol::Imaps),
];
const BARE_LINE_ENDS: &[(&str, BareLineEnds)] =
    &[("reject", BareLineEnds::Reject), ("fix", BareLineEnds::Fix)];
const FAMILIES: &[(&str, Families)] = &[
    ("both", Families::Both),
    ("ipv4", Families::Ipv4Only),
    ("ipv6", Families::Ipv6Only),
];
const TLS_POLICIES: &[(&str, TlsPolicy)] = &[
    ("none", TlsPolicy::None),
    ("opportunistic", TlsPolicy::Opportunistic),
    ("required", TlsPolicy::Required),
    ("verify", TlsPolicy::Verify),
];
const DURABILITIES: &[(&str, Durability)] =
    &[("fsync", Durability::Fsync), ("none", Durability::None)];
const PLAINTEXT: &[(&str, AllowPlaintext)] = &[
    ("never", AllowPlaintext::Never),
    ("loopback", AllowPlaintext::Loopback),
    ("always", AllowPlaintext::Always),
];
const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];
const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = PROTOCOLS.iter().find(|(_, protocol)| protocol == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

impl Default for Config {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            hostname: None,
            data_dir: "ringpost-data".into(),
            runtime: Runtime {
                cores: Cores::All,
                memory: 1 << 30,
                spin: Duration::ZERO,
            },
            listener: vec![Listener {
                bind: vec![SocketAddr::from(([127, 0, 0, 1], 2525))],
                ..new_listener()
            }],
            tls: Tls::default(),
            smtp: Smtp {
                max_message_size: 50 << 20,
                max_recipients: 1000,
                max_connections: 20_000,
                max_connections_per_client: 100,
                max_header_size: 256 << 10,
                max_errors: 20,
                command_timeout: 5 * MINUTE,
                session_timeout: 24 * 60 * MINUTE,
                bare_line_ends: BareLineEnds::Reject,
                trusted_networks: [
                    ([127, 0, 0, 0].into(), 8),
                    (std::net::Ipv6Addr::LOCALHOST.into(), 128),
                ]
                .into_iter()
                .filter_map(|(address, len)| ipnet::IpNet::new(address, len).ok())
                .collect(),
            },
            route: Vec::new(),
            dns: Dns::default(),
            delivery: Delivery {
                port: SMTP_PORT,
                helo: None,
                source: Vec::new(),
                families: Families::Both,
                connections_per_destination: 20,
                messages_per_connection: 100,
                connect_timeout: Duration::from_secs(30),
                tls: TlsPolicy::Opportunistic,
            },
            queue: Queue {
                retry: [1, 5, 15, 30, 60, 120, 240]
                    .map(|minutes| minutes * MINUTE)
                    .to_vec(),
                expire: 5 * 24 * 60 * MINUTE,
                delay_notice: Some(4 * 60 * MINUTE),
            },
            spool: Spool {
                durability: Durability::Fsync,
                segment: 64 << 20,
            },
            control: Control {
                bind: Some(SocketAddr::from(([127, 0, 0, 1], 8025))),
                token_file: None,
            },
            auth: Auth {
                users_file: "users.toml".into(),
                allow_plaintext: AllowPlaintext::Loopback,
            },
            mailboxes: Mailboxes {
                dir: "mailboxes".into(),
                quota: None,
            },
            log: Log {
                format: Format::Text,
                level: Level::Info,
            },
        }
    }
}

/// A listener of which nothing is said.
pub(super) fn new_listener() -> Listener {
    Listener {
        protocol: Protocol::Smtp,
        bind: Vec::new(),
        proxy_protocol: false,
    }
}

/// A route of which nothing is said.
pub(super) fn new_route() -> Route {
    Route {
        domain: String::new(),
        to: String::new(),
    }
}

/// The keys that differ and need a restart.
pub(super) fn changed(old: &Config, new: &Config) -> Vec<String> {
    let mut changed = Vec::new();
    for table in TABLES {
        let keys = table.keys.iter().filter(|key| key.reload == Restart);
        for key in keys.filter(|key| (key.write)(old) != (key.write)(new)) {
            let dot = if table.name.is_empty() { "" } else { "." };
            changed.push(format!("{}{dot}{}", table.name, key.name));
        }
    }
    if old.listener != new.listener {
        changed.push("listener".to_owned());
    }
    changed
}

fn quoted(text: impl std::fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn strings<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

fn name_of<T: PartialEq + Copy>(names: &[(&str, T)], value: T) -> Option<String> {
    let (name, _) = names.iter().find(|(_, known)| *known == value)?;
    Some(quoted(name))
}

fn not_yet(what: &str) -> String {
    format!("{what} is not in this version yet: leave it out")
}

fn at_least(octets: u64, min: u64) -> Result<u64, String> {
    if octets < min {
        return Err(format!("must be at least {}", units::size(min)));
    }
    Ok(octets)
}

fn above_zero(wait: Duration) -> Result<Duration, String> {
    if wait.is_zero() {
        return Err("must be more than zero".to_owned());
    }
    Ok(wait)
}

fn host_name(name: &str) -> Result<String, String> {
    crate::wire::path::Domain::parse(name.as_bytes(), false)
        .map(|domain| domain.as_str().to_owned())
        .map_err(|_| format!("\"{name}\" is no host name: letters, digits, hyphens and dots"))
}

fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    parsed(
        value,
        "an address with a port, such as \"127.0.0.1:25\" or \"[::1]:25\"",
    )
}

fn parsed<T: std::str::FromStr>(value: &DeValue<'_>, wanted: &str) -> Result<T, String> {
    let text = text(value)?;
    text.parse()
        .map_err(|_| format!("\"{text}\" is not {wanted}"))
}

fn cores(value: &DeValue<'_>) -> Result<Cores, String> {
    const WANTED: &str = "must be \"all\", a count, or a list of CPU ids: [0, 2, 4]";
    match value {
        DeValue::String(text) if text == "all" => Ok(Cores::All),
        DeValue::Integer(_) => count(value, 1, SHARDS_MAX).map(Cores::Count),
        DeValue::Array(_) => {
            let mut cpus = list(value, |cpu| count(cpu, 0, SHARDS_MAX))?;
            cpus.sort_unstable();
            cpus.dedup();
            match cpus.len() {
                0 => Err(WANTED.to_owned()),
                _ => Ok(Cores::List(cpus)),
            }
        }
        _ => Err(WANTED.to_owned()),
    }
}

const SMTP_PORT: u16 = 25;
/// Below this a handful of messages fills it.
const MEMORY_MIN: u64 = 16 << 20;
/// RFC 5321 §4.5.3.1.7: at least 64K octets must be taken.
const MESSAGE_SIZE_MIN: u64 = 64 << 10;
const HEADER_SIZE_MIN: u64 = 4 << 10;
/// A segment holds the largest record, which is a message of 256 KiB and its envelope.
const SEGMENT_MIN: u64 = 4 << 20;
/// A recipient is named by 16 bits.
const RECIPIENTS_MAX: usize = 50_000;
const COUNT_MAX: usize = 1_000_000;
/// Directories of the spool are numbered with two digits and more.
const SHARDS_MAX: usize = 1024;
