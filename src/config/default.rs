//! The embedded default: what a relay does when nobody told it anything.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::value::{HTTPS_PORT, SMTP_PORT};
use super::{
    AllowPlaintext, Auth, Bounces, Config, Control, Cores, Delivery, Disowned, Dns, Durability,
    Events, Listener, Log, Mailboxes, Oauth, Pin, Preflight, Process, Protocol, Queue, Returns,
    Route, Runtime, Smtp, Spool, Subaddress, Suppressed, Suppression, Tenants, Tls, TlsPolicy,
    TlsReports, Verify, Webhook,
};
use crate::observe::events::Kinds;
use crate::observe::log::{Format, Level};
use crate::route::mx::Families;
use crate::smtp::server::BareLineEnds;
use crate::tls::caller::ClientAuth;

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: None,
            data_dir: "ringpost-data".into(),
            process: Process::default(),
            runtime: Runtime::default(),
            listener: vec![Listener {
                bind: vec![SocketAddr::from(([127, 0, 0, 1], 2525))],
                ..new_listener()
            }],
            tls: Tls::default(),
            smtp: Smtp::default(),
            route: Vec::new(),
            dkim: Vec::new(),
            verify: Verify::default(),
            dns: Dns::default(),
            delivery: Delivery::default(),
            source: Vec::new(),
            warmup: Vec::new(),
            pool: Vec::new(),
            tenants: Tenants::default(),
            tenant: Vec::new(),
            bounces: Bounces::default(),
            suppression: Suppression::default(),
            returns: Returns::default(),
            limit: Vec::new(),
            tls_reports: TlsReports::default(),
            queue: Queue::default(),
            spool: Spool::default(),
            control: Control::default(),
            auth: Auth::default(),
            oauth: Oauth::default(),
            mailboxes: Mailboxes::default(),
            log: Log::default(),
            events: Events::default(),
            webhook: Vec::new(),
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self {
            user: None,
            group: None,
            confine: true,
            drain: Duration::from_secs(8),
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            cores: Cores::All,
            pin: Pin::Auto,
            memory: 1 << 30,
            spin: Duration::ZERO,
            slice: Duration::from_micros(100),
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
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
                (Ipv6Addr::LOCALHOST.into(), 128),
            ]
            .into_iter()
            .filter_map(|(address, len)| IpNet::new(address, len).ok())
            .collect(),
        }
    }
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            dmarc: Disowned::Observe,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            port: SMTP_PORT,
            helo: None,
            source: Vec::new(),
            pool: None,
            families: Families::Both,
            connections_per_destination: 20,
            messages_per_connection: 100,
            connect_timeout: Duration::from_secs(30),
            tls: TlsPolicy::Opportunistic,
            mta_sts: true,
            mta_sts_port: HTTPS_PORT,
        }
    }
}

impl Default for Suppression {
    fn default() -> Self {
        Self {
            on: Vec::new(),
            after: 1,
            span: Some(90 * 24 * 60 * MINUTE),
            action: Suppressed::Reject,
            max: 2_000_000,
        }
    }
}

impl Default for TlsReports {
    fn default() -> Self {
        Self {
            organization: None,
            contact: None,
            interval: 24 * 60 * MINUTE,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            retry: [1, 5, 15, 30, 60, 120, 240]
                .map(|minutes| minutes * MINUTE)
                .to_vec(),
            expire: 5 * 24 * 60 * MINUTE,
            delay_notice: Some(4 * 60 * MINUTE),
            bounce_copy: None,
            reports_per_sender: 1000,
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            segment: 64 << 20,
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            bind: Some(SocketAddr::from(([127, 0, 0, 1], 8025))),
            token_file: None,
            audit_size: 16 << 20,
            audit_files: 8,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            users_file: "users.toml".into(),
            allow_plaintext: AllowPlaintext::Loopback,
        }
    }
}

impl Default for Oauth {
    fn default() -> Self {
        Self {
            keys: None,
            issuer: None,
            audience: None,
            user_claim: "email".to_owned(),
        }
    }
}

impl Default for Mailboxes {
    fn default() -> Self {
        Self {
            dir: "mailboxes".into(),
            quota: None,
            quota_messages: None,
            subaddress: Subaddress::Inbox,
            max_connections: 10_000,
            max_connections_per_client: 100,
            max_connections_per_user: 50,
            login_timeout: 3 * MINUTE,
            pop3_timeout: 10 * MINUTE,
            imap_timeout: 30 * MINUTE,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: Level::Info,
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            log: None,
            log_size: 64 << 20,
            log_keep: 10,
            headers: Vec::new(),
            spool: 256 << 20,
        }
    }
}

/// A webhook of which nothing is said.
pub(super) fn new_webhook() -> Webhook {
    Webhook {
        url: String::new(),
        secret_file: PathBuf::new(),
        events: Kinds::ALL,
        batch: 100,
        batch_wait: Duration::from_secs(1),
        timeout: Duration::from_secs(30),
    }
}

/// A listener of which nothing is said.
pub(super) fn new_listener() -> Listener {
    Listener {
        protocol: Protocol::Smtp,
        bind: Vec::new(),
        proxy_protocol: false,
        verify: false,
        preflight: Preflight::Off,
        hide_client: false,
        client_auth: ClientAuth::None,
        trusted_clients: Vec::new(),
        tenant: None,
    }
}

/// A route of which nothing is said.
pub(super) fn new_route() -> Route {
    Route {
        domain: String::new(),
        to: "mx".to_owned(),
        tls: None,
        credentials: None,
        client_certificate: None,
        client_key: None,
        pool: None,
    }
}

const MINUTE: Duration = Duration::from_secs(60);
