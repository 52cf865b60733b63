//! TLS over any stream: rustls decides, here octets move.
//!
//! ```text
//!  plain octets ◄─► Channel ◄─► rustls ◄─► records ◄─► Stream
//!                       (nothing in between until a session is secured)
//! ```
//!
//! [`certificate`] has what a server shows, [`caller`] what its clients show to it, [`client`] what
//! is asked of the servers we send to, and [`dane`] what is asked of those whose certificates the
//! DNS vouches for.

#[macro_use]
mod signature;

pub mod caller;
pub mod certificate;
mod channel;
pub mod client;
pub mod dane;
pub mod failure;
#[cfg(test)]
mod tests;
mod witness;

pub use channel::{Channel, Facts};
use client::Clients;

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use caller::{Callers, ClientAuth};

/// What TLS is spoken with.
#[derive(Clone, Debug)]
pub struct Ends {
    /// As a server; `None` where TLS is not to be had.
    pub server: Option<Arc<ServerConfig>>,
    /// As a server that asks for certificates; `None` where that is not to be had.
    pub callers: Option<Callers>,
    /// As a client.
    pub clients: Clients,
    /// What we show to smart hosts that ask, by the file that the certificate is in.
    pub own: Arc<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Ends {
    /// As a server that asks this of its clients.
    #[must_use]
    pub fn server(&self, asks: ClientAuth) -> Option<&Arc<ServerConfig>> {
        match asks {
            ClientAuth::None => self.server.as_ref(),
            _ => self.callers.as_ref()?.config(asks),
        }
    }
}

/// The algorithms, with post-quantum key exchange first (X25519MLKEM768).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
