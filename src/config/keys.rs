//! Every key: its meaning, how it is read, how it is written, whether a reload changes it.

use std::path::PathBuf;

use toml::de::DeValue;

use super::value::{
    AUDIT, COUNT_MAX, HEADER_SIZE, HTTPS_PORT, MEMORY, MESSAGE_SIZE, RECIPIENTS_MAX, SEGMENT,
    SMTP_PORT, Wrong, address, boolean, choice, cores, count, guest, host_name, label, list,
    mailbox, network, optional, parsed, path, paths, size_within, socket_address, span, text, wait,
};
use super::{
    Config, Cores, Disowned, Dnssec, Durability, Listener, Pin, Preflight, Protocol, TlsPolicy,
    units,
};
use crate::observe::log::{Format, Level};
use crate::route::mx::Families;
use crate::smtp::server::BareLineEnds;
use crate::tls::caller::ClientAuth;
use crate::wire::path::Mailbox;

/// One key of a table that is kept in a `T`.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    /// Its meaning, for the comment above it.
    pub(super) doc: &'static str,
    pub(super) reload: Reload,
    pub(super) read: fn(&mut T, &DeValue<'_>) -> Result<(), Wrong>,
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
        name: "process",
        keys: PROCESS,
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
        name: "verify",
        keys: VERIFY,
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
        name: "tenants",
        keys: TENANTS,
    },
    Table {
        name: "bounces",
        keys: BOUNCES,
    },
    Table {
        name: "suppression",
        keys: SUPPRESSION,
    },
    Table {
        name: "returns",
        keys: RETURNS,
    },
    Table {
        name: "tls_reports",
        keys: TLS_REPORTS,
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
        name: "oauth",
        keys: OAUTH,
    },
    Table {
        name: "mailboxes",
        keys: MAILBOXES,
    },
    Table {
        name: "log",
        keys: LOG,
    },
    Table {
        name: "events",
        keys: EVENTS,
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

mod bounces;
mod delivery;
mod events;
mod process;
mod returns;
mod routes;
mod sending;
mod tenants;
mod users;
use bounces::{BOUNCES, SUPPRESSION};
pub(super) use delivery::LIMIT;
use events::EVENTS;
pub(super) use events::WEBHOOK;
use process::PROCESS;
use returns::RETURNS;
pub(super) use routes::{DKIM, ROUTE};
pub(super) use sending::{POOL, SOURCE, WARMUP};
pub(super) use tenants::TENANT;
use tenants::TENANTS;
use users::{AUTH, MAILBOXES, OAUTH};

const TOP: &[Key<Config>] = &[
    key!(
        "hostname",
        Takes,
        "What the world calls this machine; forward and reverse DNS should agree. Default: the machine's full name.",
        |c, v| host_name(v).map(|name| c.hostname = Some(name)),
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
        "Shards: \"all\" CPUs, a count, or a list of CPU ids: [0, 2, 4]. `ringpost shards` shows them.",
        |c, v| cores(v).map(|cores| c.runtime.cores = cores),
        |c| Some(match &c.runtime.cores {
            Cores::All => quoted("all"),
            Cores::Count(count) => count.to_string(),
            Cores::List(cpus) => format!("{cpus:?}"),
        })
    ),
    key!(
        "pin",
        Restart,
        "Whether shards stay on one CPU each: \"auto\", where there are more than two; \"always\" or \"never\". CPUs that `cores` lists are kept in any case. Others go where the kernel finds a CPU idle, which is faster beside busy programs.",
        |c, v| choice(v, PINS).map(|pin| c.runtime.pin = pin),
        |c| name_of(PINS, c.runtime.pin)
    ),
    key!(
        "memory",
        Restart,
        "Memory for messages, of all shards together. Reached, senders wait and are then told 452.",
        |c, v| size_within(v, MEMORY).map(|octets| c.runtime.memory = octets),
        |c| Some(quoted(units::size(c.runtime.memory)))
    ),
    key!(
        "spin",
        Restart,
        "How long an idle shard polls before it sleeps: less latency for more CPU.",
        |c, v| span(v).map(|spin| c.runtime.spin = spin),
        |c| Some(quoted(units::duration(c.runtime.spin)))
    ),
    key!(
        "slice",
        Restart,
        "The time slice that shards ask the scheduler for: the shorter, the sooner they run beside busy programs. \"0s\" leaves the kernel's.",
        |c, v| span(v).map(|slice| c.runtime.slice = slice),
        |c| Some(quoted(units::duration(c.runtime.slice)))
    ),
];

const TLS: &[Key<Config>] = &[
    key!(
        "certificate",
        Takes,
        "PEM file with the certificate chain; a list for several names. Without one the relay makes its own.",
        |c, v| paths(v).map(|paths| c.tls.certificate = paths),
        |c| one_or_more(&c.tls.certificate)
    ),
    key!(
        "key",
        Takes,
        "PEM file with its private key, which only owner and group may read; a list, in the same order, for several.",
        |c, v| paths(v).map(|paths| c.tls.key = paths),
        |c| one_or_more(&c.tls.key)
    ),
    key!(
        "trusted_roots",
        Takes,
        "PEM file with the certificate authorities that hosts and web servers are verified with. Default: those that the machine trusts.",
        |c, v| path(v).map(|path| c.tls.trusted_roots = Some(path)),
        |c| c
            .tls
            .trusted_roots
            .as_ref()
            .map(|path| quoted(path.display()))
    ),
    key!(
        "client_ca",
        Takes,
        "PEM file with the certificate authorities of clients; see client_auth of a listener.",
        |c, v| path(v).map(|path| c.tls.client_ca = Some(path)),
        |c| c.tls.client_ca.as_ref().map(|path| quoted(path.display()))
    ),
];

const SMTP: &[Key<Config>] = &[
    key!(
        "max_message_size",
        Takes,
        "The largest message that is taken, as SIZE says it.",
        |c, v| size_within(v, MESSAGE_SIZE).map(|octets| c.smtp.max_message_size = octets),
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
        |c, v| size_within(v, HEADER_SIZE)
            .map(|octets| c.smtp.max_header_size = u32::try_from(octets).unwrap_or(u32::MAX)),
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
        |c, v| wait(v).map(|wait| c.smtp.command_timeout = wait),
        |c| Some(quoted(units::duration(c.smtp.command_timeout)))
    ),
    key!(
        "session_timeout",
        Takes,
        "How long a session may last, whatever it does.",
        |c, v| wait(v).map(|wait| c.smtp.session_timeout = wait),
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
        "Who may send to anybody without AUTH. IPv4 networks may be written as IPv6 too (\"::ffff:10.0.0.0/104\").",
        |c, v| list(v, network).map(|networks| c.smtp.trusted_networks = networks),
        |c| Some(strings(&c.smtp.trusted_networks))
    ),
];

const VERIFY: &[Key<Config>] = &[
    key!(
        "dmarc",
        Takes,
        "Mail that the domain in From wants refused (DMARC), from listeners with verify = true: \"observe\" (taken, and the field says so) or \"enforce\" (refused with 550 5.7.26, or with 451 4.7.1 while it cannot be told, except from trusted networks).",
        |c, v| choice(v, DISOWNED).map(|choice| c.verify.dmarc = choice),
        |c| name_of(DISOWNED, c.verify.dmarc)
    ),
    key!(
        "timeout",
        Takes,
        "How long a message waits for it. What is not known then is \"temperror\", and the message goes on.",
        |c, v| wait(v).map(|wait| c.verify.timeout = wait),
        |c| Some(quoted(units::duration(c.verify.timeout)))
    ),
];

const DNS: &[Key<Config>] = &[
    key!(
        "servers",
        Restart,
        "Name servers, \"address:port\". Default: those of /etc/resolv.conf.",
        |c, v| list(v, socket_address).map(|servers| c.dns.servers = servers),
        |c| Some(strings(&c.dns.servers))
    ),
    key!(
        "dnssec",
        Restart,
        "DNSSEC, which DANE needs: \"trust_ad\" (the name servers check signatures; all of them must be on loopback) or \"off\". Default: \"trust_ad\" when all are on loopback.",
        |c, v| choice(v, DNSSEC).map(|choice| c.dns.dnssec = Some(choice)),
        |c| c.dns.dnssec.and_then(|choice| name_of(DNSSEC, choice))
    ),
];

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
        |c, v| host_name(v).map(|name| c.delivery.helo = Some(name)),
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
        "pool",
        Takes,
        "The [[pool]] of mail for which neither route nor tenant names one. Default: source and helo above.",
        |c, v| label(v).map(|name| c.delivery.pool = Some(name)),
        |c| c.delivery.pool.as_ref().map(quoted)
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
        |c, v| wait(v).map(|wait| c.delivery.connect_timeout = wait),
        |c| Some(quoted(units::duration(c.delivery.connect_timeout)))
    ),
    key!(
        "tls",
        Takes,
        "Encryption to other hosts: \"none\", \"opportunistic\" (where it works), \"required\", or \"verify\" (with a certificate for the host's name). Hosts with TLSA records are held to them in all cases but \"none\".",
        |c, v| choice(v, TLS_POLICIES).map(|policy| c.delivery.tls = policy),
        |c| name_of(TLS_POLICIES, c.delivery.tls)
    ),
    key!(
        "mta_sts",
        Takes,
        "\"on\": domains that publish a policy over HTTPS (MTA-STS) are held to it: TLS, with a certificate, to the hosts that it names, or not sent. \"off\": their policies do not count.",
        |c, v| choice(v, SWITCH).map(|on| c.delivery.mta_sts = on),
        |c| name_of(SWITCH, c.delivery.mta_sts)
    ),
    key!(
        "mta_sts_port",
        Takes,
        "The port on which web servers have policies: 443 on the Internet (RFC 8461), another one in a laboratory, like port.",
        |c, v| count(v, 1, u16::MAX.into())
            .map(|port| c.delivery.mta_sts_port = u16::try_from(port).unwrap_or(HTTPS_PORT)),
        |c| Some(c.delivery.mta_sts_port.to_string())
    ),
];

const TLS_REPORTS: &[Key<Config>] = &[
    key!(
        "organization",
        Takes,
        "Who tells domains that ask for it what came of TLS with their hosts (TLSRPT), once a day. Without a name nobody does: a report says in somebody's name that mail is sent to a domain.",
        |c, v| text(v).map(|name| {
            c.tls_reports.organization = (!name.is_empty()).then(|| name.to_owned());
        }),
        |c| c.tls_reports.organization.as_ref().map(quoted)
    ),
    key!(
        "contact",
        Takes,
        "The address that reports are from, and that questions go to. Default: the postmaster at hostname.",
        |c, v| mailbox(v).map(|address| c.tls_reports.contact = Some(address)),
        |c| c.tls_reports.contact.as_ref().map(quoted)
    ),
    key!(
        "interval",
        Takes,
        "What one report is about: a day (RFC 8460), or less in a laboratory.",
        |c, v| wait(v).map(|interval| c.tls_reports.interval = interval),
        |c| Some(quoted(units::duration(c.tls_reports.interval)))
    ),
];

const QUEUE: &[Key<Config>] = &[
    key!(
        "retry",
        Takes,
        "Waits after the first, second, ... attempt; the last one repeats.",
        |c, v| match list(v, wait)? {
            waits if waits.is_empty() =>
                Err("must have at least one wait: [\"1m\", \"5m\"]".into()),
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
        |c, v| wait(v).map(|age| c.queue.expire = age),
        |c| Some(quoted(units::duration(c.queue.expire)))
    ),
    key!(
        "delay_notice",
        Takes,
        "The age at which the sender is told, once, that a message waits; or \"none\".",
        |c, v| optional(v, wait).map(|age| c.queue.delay_notice = age),
        |c| Some(
            c.queue
                .delay_notice
                .map_or_else(|| quoted("none"), |age| quoted(units::duration(age)))
        )
    ),
    key!(
        "bounce_copy",
        Takes,
        "Who gets a copy of every report that something failed, to read bounces by POP3 or IMAP: \"postmaster@example.org\", or with a tag and mailboxes.subaddress = \"folder\" a folder of somebody's; or \"none\".",
        |c, v| optional(v, address).map(|address| c.queue.bounce_copy = address),
        |c| {
            let copy = c.queue.bounce_copy.as_ref();
            Some(quoted(copy.map_or("none", Mailbox::as_str)))
        }
    ),
    key!(
        "reports_per_sender",
        Takes,
        "Reports (bounces, delay notices, successes) that go to one sender in an hour, from each core. More bounces wait: mail sent in somebody's name must not bury them.",
        |c, v| count(v, 1, COUNT_MAX).map(|count| c.queue.reports_per_sender = count),
        |c| Some(c.queue.reports_per_sender.to_string())
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
        |c, v| size_within(v, SEGMENT).map(|octets| c.spool.segment = octets),
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
        |c| Some(
            c.control
                .token_file
                .as_ref()
                .map_or_else(|| quoted(""), |path| quoted(path.display()))
        )
    ),
    key!(
        "audit_size",
        Restart,
        "Operators' orders are written to audit.jsonl in data_dir, a line of JSON each; a file of this size gets a number behind its name.",
        |c, v| size_within(v, AUDIT).map(|octets| c.control.audit_size = octets),
        |c| Some(quoted(units::size(c.control.audit_size)))
    ),
    key!(
        "audit_files",
        Restart,
        "So many such files are kept.",
        |c, v| count(v, 1, 1_000).map(|files| c.control.audit_files = files),
        |c| Some(c.control.audit_files.to_string())
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
        "\"smtp\", \"submission\", \"submissions\", \"lmtp\", \"pop3\", \"pop3s\", \"imap\" or \"imaps\".",
        |l, v| choice(v, PROTOCOLS).map(|protocol| l.protocol = protocol),
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
        "A load balancer's PROXY header, version 1 or 2, comes first on every connection. Nobody else may reach the address: whoever does can claim to be anybody. A client that the balancer does not name is not trusted.",
        |l, v| boolean(v).map(|proxied| l.proxy_protocol = proxied),
        |l| Some(l.proxy_protocol.to_string())
    ),
    key!(
        "verify",
        Restart,
        "Find out who mail is from (iprev, SPF, DKIM, ARC, DMARC) and say it in an Authentication-Results field. Mail of users who have logged in is left alone.",
        |l, v| boolean(v).map(|verify| l.verify = verify),
        |l| Some(l.verify.to_string())
    ),
    key!(
        "preflight",
        Restart,
        "Look whether each header keeps the rules of large providers for bulk senders, as far as `ringpost preflight` can tell without waiting for the DNS: \"off\", \"count\" broken rules, \"warn\" (in the log too) or \"refuse\" (with 550 5.7.1).",
        |l, v| choice(v, PREFLIGHTS).map(|choice| l.preflight = choice),
        |l| name_of(PREFLIGHTS, l.preflight)
    ),
    key!(
        "hide_client",
        Restart,
        "The trace field of mail from here says neither the client's name nor its address: where users write from is their affair.",
        |l, v| boolean(v).map(|hides| l.hide_client = hides),
        |l| Some(l.hide_client.to_string())
    ),
    key!(
        "client_auth",
        Restart,
        "Certificates of clients: \"none\" are asked for; \"request\" (whoever has none is a client like others); \"require\" (without one of [tls] client_ca nothing is taken). One that is verified stands in the trace field, and its mail address, where a user has it, logs in with AUTH EXTERNAL.",
        |l, v| choice(v, CLIENT_AUTHS).map(|asks| l.client_auth = asks),
        |l| name_of(CLIENT_AUTHS, l.client_auth)
    ),
    key!(
        "trusted_clients",
        Restart,
        "Who may relay without AUTH because of the certificate: its fingerprint, \"sha256:...\" as the log has it, or a host name or address in one that is verified.",
        |l, v| list(v, guest).map(|guests| l.trusted_clients = guests),
        |l| Some(strings(&l.trusted_clients))
    ),
    key!(
        "tenant",
        Restart,
        "The [[tenant]] whose mail comes in here, where neither a login nor the message says whose it is.",
        |l, v| label(v).map(|name| l.tenant = Some(name)),
        |l| l.tenant.as_ref().map(quoted)
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
const DNSSEC: &[(&str, Dnssec)] = &[("trust_ad", Dnssec::TrustAd), ("off", Dnssec::Off)];
const PREFLIGHTS: &[(&str, Preflight)] = &[
    ("off", Preflight::Off),
    ("count", Preflight::Count),
    ("warn", Preflight::Warn),
    ("refuse", Preflight::Refuse),
];
const DISOWNED: &[(&str, Disowned)] = &[
    ("observe", Disowned::Observe),
    ("enforce", Disowned::Enforce),
];
const TLS_POLICIES: &[(&str, TlsPolicy)] = &[
    ("none", TlsPolicy::None),
    ("opportunistic", TlsPolicy::Opportunistic),
    ("required", TlsPolicy::Required),
    ("verify", TlsPolicy::Verify),
];
const CLIENT_AUTHS: &[(&str, ClientAuth)] = &[
    ("none", ClientAuth::None),
    ("request", ClientAuth::Request),
    ("require", ClientAuth::Require),
];
const PINS: &[(&str, Pin)] = &[
    ("auto", Pin::Auto),
    ("always", Pin::Always),
    ("never", Pin::Never),
];
const SWITCH: &[(&str, bool)] = &[("on", true), ("off", false)];
const DURABILITIES: &[(&str, Durability)] =
    &[("fsync", Durability::Fsync), ("none", Durability::None)];
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

fn quoted(text: impl std::fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn one_or_more(paths: &[PathBuf]) -> Option<String> {
    match paths {
        [] => None,
        [one] => Some(quoted(one.display())),
        more => Some(strings(more.iter().map(|path| path.display()))),
    }
}

fn strings<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

fn name_of<T: PartialEq + Copy>(names: &[(&str, T)], value: T) -> Option<String> {
    let (name, _) = names.iter().find(|(_, known)| *known == value)?;
    Some(quoted(name))
}
