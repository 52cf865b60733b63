//! The world around the relay: peers, a name server, a client, and the relay's own process.
//!
//! Every scene has a loopback network of its own (127.x.y.0/24), so that tests run side by side
//! and every peer can listen on the one port that `[delivery] port` names.

pub mod client;
pub mod dns;
pub mod front;
pub mod hook;
pub mod imap;
pub mod mx;
pub mod net;
pub mod pop3;
pub mod relay;
pub mod report;
pub mod web;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

pub use client::{Client, message};
pub use dns::{Dns, Rdata};
pub use mx::{Mx, Received, Script};
pub use relay::Relay;
pub use report::Report;
pub use web::{Authority, Web};

use net::Network;

/// How long anything that should happen may take on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test looks on to see that something does not happen.
pub const QUIET: Duration = Duration::from_millis(700);

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` finds something; panics with `what` when it does not in time.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(POLL);
    }
}

/// Checks over [`QUIET`] that `look` stays false.
pub fn never(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + QUIET;
    while Instant::now() < deadline {
        assert!(!look(), "happened all the same: {what}");
        thread::sleep(POLL);
    }
}

/// A network, a name server in it, and the port every mail exchanger listens on.
pub struct Scene {
    pub net: Network,
    pub dns: Dns,
    mx_port: u16,
}

impl Scene {
    pub fn new() -> Self {
        let net = Network::new();
        let dns = Dns::start(net.host(DNS_HOST));
        let mx_port = net.free_port(MX_FIRST);
        Self { net, dns, mx_port }
    }

    /// A scene with one mail exchanger, `mx1.d.test`, for the domain `d.test`, and the senders'
    /// domain `c.test` at the same host.
    pub fn with_mx(script: Script) -> (Self, Mx) {
        let scene = Self::new();
        let mx = scene.mx(1, script);
        scene.dns.mx("d.test", &[(10, "mx1.test")]);
        scene.dns.mx("c.test", &[(10, "mx1.test")]);
        (scene, mx)
    }

    /// Starts the `n`th mail exchanger, `mxN.test`.
    pub fn mx(&self, n: u8, script: Script) -> Mx {
        self.dns
            .a(&format!("mx{n}.test"), self.net.host(MX_FIRST + n));
        Mx::start(
            SocketAddr::from((self.net.host(MX_FIRST + n), self.mx_port)),
            script,
        )
    }

    /// Starts the `n`th mail exchanger, `mxN.test`, with TLS before it: what it offers, it offers under
    /// TLS only.
    pub fn tls_mx(&self, n: u8, shown: &(PathBuf, PathBuf), script: Script) -> Mx {
        self.dead_mx(n);
        let host = self.net.host(MX_FIRST + n);
        let behind = SocketAddr::from((host, self.net.free_port(MX_FIRST + n)));
        let mx = Mx::start(behind, script);
        front::before(behind, self.mx_address(n), shown);
        mx
    }

    /// Names the `n`th mail exchanger without starting it: connecting to it is refused.
    pub fn dead_mx(&self, n: u8) {
        self.dns
            .a(&format!("mx{n}.test"), self.net.host(MX_FIRST + n));
    }

    /// Where the `n`th mail exchanger is.
    pub fn mx_host(&self, n: u8) -> Ipv4Addr {
        self.net.host(MX_FIRST + n)
    }

    /// Where the `n`th mail exchanger listens.
    pub fn mx_address(&self, n: u8) -> SocketAddr {
        SocketAddr::from((self.mx_host(n), self.mx_port))
    }

    /// Makes `name`, which was the first mail exchanger, an alias of `target`.
    pub fn alias(&self, name: &str, target: &str) {
        self.dns.set(target, vec![Rdata::A(self.mx_host(1))]);
        self.dns.set(name, vec![Rdata::Cname(target.to_owned())]);
    }

    /// Starts a relay with quick retries and this scene's name server. `extra` is added to its
    /// configuration; a table that stands in both is the extra one's.
    pub fn relay(&self, extra: &str) -> Relay {
        Relay::start(self.config(extra))
    }

    /// The configuration of [`Scene::relay`].
    pub fn config(&self, extra: &str) -> relay::Setup {
        relay::Setup {
            smtp: SocketAddr::from((self.net.host(RELAY_HOST), self.net.free_port(RELAY_HOST))),
            control: SocketAddr::from((
                self.net.host(CONTROL_HOST),
                self.net.free_port(CONTROL_HOST),
            )),
            dns: self.dns.address(),
            mx_port: self.mx_port,
            extra: extra.to_owned(),
            authorities: None,
            panics: None,
            environment: Vec::new(),
            cores: format!("[{}]", net::next_cpu()),
        }
    }

    /// The port of every mail exchanger.
    pub fn mx_port(&self) -> u16 {
        self.mx_port
    }
}

const RELAY_HOST: u8 = 1;
const CONTROL_HOST: u8 = 2;
const DNS_HOST: u8 = 3;
const MX_FIRST: u8 = 10;
