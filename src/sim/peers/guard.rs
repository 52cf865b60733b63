//! TLS as peers speak it: their keys, and what goes wrong between STARTTLS and the last word.

use std::cell::Cell;
use std::error::Error;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519,
    PublicKeyData as _,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::sim::random::Random;
use crate::sim::{SimStream, SimWorld};
use crate::world::{Stream, Tick, World as _};

/// What the sender of a message knows of who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Everybody on the way may.
    Plain,
    /// Whoever has answered.
    Encrypted,
    /// The host that is meant, and nobody else.
    Proved,
}

/// What a host does when TLS is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// None: it speaks TLS.
    None,
    /// It never offers it.
    NotOffered,
    /// It offers it, and says no with this code.
    Refuses(u16),
    /// It says that it is ready, and then something that is not TLS.
    Garbage,
    /// It says something in plain behind its readiness (CVE-2011-0411).
    Injects,
    /// It shows a certificate with the right name, from an authority that nobody trusts.
    Impostor,
    /// It closes after so many octets of its records.
    Closes(u64),
    /// It resets after so many.
    Resets(u64),
    /// It falls silent after so many.
    Stalls(u64),
}

impl Trick {
    /// Any of them.
    #[must_use]
    pub fn draw(random: &Random) -> Self {
        match random.below(9) {
            0 => Self::NotOffered,
            1 => Self::Refuses(454),
            2 => Self::Refuses(502),
            3 => Self::Garbage,
            4 => Self::Injects,
            5 => Self::Impostor,
            _ => Self::draw_end(random),
        }
    }

    /// An end, anywhere.
    #[must_use]
    pub fn draw_end(random: &Random) -> Self {
        let octets = random.below(if random.permille(600) {
            HANDSHAKE_OCTETS
        } else {
            SESSION_OCTETS
        });
        match random.below(3) {
            0 => Self::Closes(octets),
            1 => Self::Resets(octets),
            _ => Self::Stalls(octets),
        }
    }

    /// When the stream ends, and how.
    pub(super) const fn limit(self) -> Option<Limit> {
        let (octets, ending) = match self {
            Self::Closes(octets) => (octets, Ending::Close),
            Self::Resets(octets) => (octets, Ending::Reset),
            Self::Stalls(octets) => (octets, Ending::Silence),
            _ => return None,
        };
        Some(Limit { octets, ending })
    }
}

/// Keys of all hosts, of one who would like to be them, and of the relay. Certificates and
/// signatures are as long in every run: their octets differ, and what happens does not.
pub struct Keys {
    /// What clients of the hosts trust.
    pub roots: RootCertStore,
    /// SHA-256 of the hosts' public key, as a TLSA record `3 1 1` has it.
    pub public_key_hash: Box<[u8]>,
    /// How the relay is spoken to by its clients.
    pub relay: Arc<ServerConfig>,
    /// Under TLS 1.3 and 1.2.
    hosts: [Arc<ServerConfig>; 2],
    impostor: Arc<ServerConfig>,
}

impl Keys {
    /// For hosts of these names.
    pub fn new(names: &[String]) -> Result<Self, Box<dyn Error>> {
        let (own, stranger) = (Authority::new()?, Authority::new()?);
        let [hosts, impostor] = [new_key()?, new_key()?];
        let mut roots = RootCertStore::empty();
        roots.add(own.params.self_signed(&own.key)?.der().clone())?;
        Ok(Self {
            roots,
            public_key_hash: digest(&SHA256, &hosts.subject_public_key_info())
                .as_ref()
                .into(),
            relay: own.server(&hosts, names, &[&version::TLS13, &version::TLS12])?,
            hosts: [
                own.server(&hosts, names, &[&version::TLS13])?,
                own.server(&hosts, names, &[&version::TLS12])?,
            ],
            impostor: stranger.server(&impostor, names, &[&version::TLS13])?,
        })
    }

    /// What a host shows, and what it is worth.
    pub(super) fn of_host(&self, trick: Trick, random: &Random) -> (Arc<ServerConfig>, Trust) {
        if trick == Trick::Impostor {
            return (Arc::clone(&self.impostor), Trust::Encrypted);
        }
        let version = usize::from(random.permille(TLS_1_2_PERMILLE));
        (Arc::clone(&self.hosts[version]), Trust::Proved)
    }
}

struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SERIAL.into());
        let key = new_key()?;
        Ok(Self { params, key })
    }

    fn server(
        &self,
        key: &KeyPair,
        names: &[String],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
        let mut params = CertificateParams::new(names)?;
        params.serial_number = Some(SERIAL.into());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(key, &issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der())?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        Ok(Arc::new(config))
    }
}

/// Its signatures are all of one length.
fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ED25519)
}

/// A stream that may end while something is said on it.
pub(super) struct Frail {
    stream: SimStream,
    world: SimWorld,
    limit: Rc<Cell<Option<Limit>>>,
}

/// So many octets more, and then an end.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    octets: u64,
    ending: Ending,
}

#[derive(Clone, Copy)]
enum Ending {
    Close,
    Reset,
    Silence,
}

impl Frail {
    /// Nothing ends yet; whoever holds `limit` may change that.
    pub(super) fn new(
        stream: SimStream,
        world: &SimWorld,
        limit: &Rc<Cell<Option<Limit>>>,
    ) -> Self {
        Self {
            stream,
            world: world.clone(),
            limit: Rc::clone(limit),
        }
    }

    /// Ends the connection as a program does that dies.
    pub(super) fn break_off(&self) {
        self.stream.break_off();
    }
}

impl Stream for Frail {
    async fn readable(&mut self, deadline: Tick) -> io::Result<()> {
        self.stream.readable(deadline).await
    }

    async fn read(&mut self, into: &mut [u8], deadline: Tick) -> io::Result<usize> {
        self.stream.read(into, deadline).await
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>], deadline: Tick) -> io::Result<()> {
        let Some(Limit { octets, ending }) = self.limit.get() else {
            return self.stream.write(parts, deadline).await;
        };
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let fits = whole
            .len()
            .min(usize::try_from(octets).unwrap_or(usize::MAX));
        let mut said = [IoSlice::new(&whole[..fits])];
        self.stream.write(&mut said, deadline).await?;
        let octets = octets - fits as u64;
        self.limit.set(Some(Limit { octets, ending }));
        if fits == whole.len() {
            return Ok(());
        }
        match ending {
            Ending::Close => self.stream.shutdown(),
            Ending::Reset => self.stream.break_off(),
            Ending::Silence => self.world.sleep(deadline).await,
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn is_stale(&mut self) -> bool {
        self.stream.is_stale()
    }

    fn peer(&self) -> SocketAddr {
        self.stream.peer()
    }

    fn local(&self) -> SocketAddr {
        self.stream.local()
    }

    fn shutdown(&mut self) {
        self.stream.shutdown();
    }
}

/// More than a host sends until the relay may speak.
const HANDSHAKE_OCTETS: u64 = 2_000;
/// More than it sends in a short session.
const SESSION_OCTETS: u64 = 4_000;
/// Hosts that speak nothing newer.
const TLS_1_2_PERMILLE: u32 = 300;
/// Its length is that of every certificate's.
const SERIAL: u64 = 7;
