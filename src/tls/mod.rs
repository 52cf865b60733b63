//! TLS over any stream: rustls decides, here octets move.
//!
//! ```text
//!  plain octets ◄─► Channel ◄─► rustls ◄─► records ◄─► Stream
//!                       (nothing in between until a session is secured)
//! ```
//!
//! [`certificate`] has what a server shows, [`client`] what is asked of the servers we send to, and
//! [`dane`] what is asked of those whose certificates the DNS vouches for.

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

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;

/// What TLS is spoken with.
#[derive(Clone, Debug)]
pub struct Ends {
    /// As a server; `None` where TLS is not to be had.
    pub server: Option<Arc<ServerConfig>>,
    /// As a client.
    pub clients: Clients,
}

/// The algorithms, with post-quantum key exchange first (X25519MLKEM768).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
