//! A connection that may be secured on its way.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig,
    ServerConnection,
};

use crate::world::{Stream, Tick};

/// A stream, in plain or under TLS.
pub struct Channel<S> {
    stream: S,
    secured: Option<Box<Secured>>,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.3`
    pub version: &'static str,
    /// As IANA has it: `TLS_AES_256_GCM_SHA384`
    pub suite: &'static str,
    /// An earlier session went on: no certificate was shown.
    pub is_resumed: bool,
}

/// rustls, and the records on their way to and from it.
struct Secured {
    connection: Connection,
    /// Records as they came; those in `unread` rustls has not seen.
    raw: Vec<u8>,
    unread: Range<usize>,
    /// Records to be sent.
    out: Vec<u8>,
    facts: Option<Facts>,
}

impl<S> Channel<S> {
    /// Nothing is secured yet.
    pub const fn plain(stream: S) -> Self {
        Self {
            stream,
            secured: None,
        }
    }

    /// The same over another stream, or what stands for one on its way to another shard.
    pub fn over<T>(self, change: impl FnOnce(S) -> io::Result<T>) -> io::Result<Channel<T>> {
        Ok(Channel {
            stream: change(self.stream)?,
            secured: self.secured,
        })
    }

    /// What lies below.
    #[must_use]
    pub const fn below(&self) -> &S {
        &self.stream
    }

    /// What was agreed on; `None` in plain.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        self.secured.as_ref().and_then(|secured| secured.facts)
    }

    /// The certificates that the peer has shown, its own first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        let secured = self.secured.as_ref();
        let shown = secured.and_then(|secured| secured.connection.peer_certificates());
        shown.unwrap_or_default()
    }

    /// What names this connection on both of its ends, and no other (`tls-exporter`, RFC 9266).
    /// Only under TLS 1.3: what TLS 1.2 exports is worth as much only with extended master secrets.
    #[must_use]
    pub fn binding(&self) -> Option<[u8; BINDING_OCTETS]> {
        let connection = &self.secured.as_ref()?.connection;
        let is_current = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        if !is_current || connection.is_handshaking() {
            return None;
        }
        let octets = [0; BINDING_OCTETS];
        connection
            .export_keying_material(octets, b"EXPORTER-Channel-Binding", Some(&[]))
            .ok()
    }
}

impl<S: Stream> Channel<S> {
    /// The server's side of a handshake. Whatever was read in plain before must have been thrown
    /// away: it was not said under TLS (RFC 3207 §4.2).
    pub async fn accept(&mut self, config: Arc<ServerConfig>, deadline: Tick) -> io::Result<()> {
        self.accept_after(&[], config, deadline).await
    }

    /// The same where the client's first records were read already.
    pub async fn accept_after(
        &mut self,
        early: &[u8],
        config: Arc<ServerConfig>,
        deadline: Tick,
    ) -> io::Result<()> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        self.secure(early, connection.into(), deadline).await
    }

    /// The client's side of a handshake, with the server of this name.
    pub async fn connect(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Tick,
    ) -> io::Result<()> {
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        self.secure(&[], connection.into(), deadline).await
    }

    async fn secure(
        &mut self,
        early: &[u8],
        connection: Connection,
        deadline: Tick,
    ) -> io::Result<()> {
        let mut secured = Box::new(Secured::new(connection, early));
        let result = secured.handshake(&mut self.stream, deadline).await;
        if result.is_err() {
            // The peer is told why, if it still listens.
            let _ = secured.flush(&mut self.stream, deadline).await;
        }
        // Kept after a failure too: nothing may go out in plain on this connection any more.
        self.secured = Some(secured);
        result
    }

    /// Ends the connection, under TLS with a word (RFC 8446 §6.1), so that the peer can tell it
    /// from one that was cut.
    pub async fn close(&mut self, deadline: Tick) {
        if let Some(secured) = &mut self.secured {
            secured.connection.send_close_notify();
            let _ = secured.flush(&mut self.stream, deadline).await;
        }
        self.stream.shutdown();
    }
}

impl<S: Stream> Stream for Channel<S> {
    async fn readable(&mut self, deadline: Tick) -> io::Result<()> {
        if let Some(secured) = &mut self.secured {
            secured.settle(&mut self.stream, deadline).await?;
            if secured.has_more() {
                return Ok(());
            }
            secured.raw = Vec::new();
        }
        self.stream.readable(deadline).await
    }

    async fn read(&mut self, into: &mut [u8], deadline: Tick) -> io::Result<usize> {
        match &mut self.secured {
            None => self.stream.read(into, deadline).await,
            // Apart: connections in plain need not have room for it.
            Some(secured) => Box::pin(secured.read(&mut self.stream, into, deadline)).await,
        }
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>], deadline: Tick) -> io::Result<()> {
        match &mut self.secured {
            None => self.stream.write(parts, deadline).await,
            Some(secured) => Box::pin(secured.write(&mut self.stream, parts, deadline)).await,
        }
    }

    async fn write_last(&mut self, octets: &[u8], deadline: Tick) -> io::Result<()> {
        match &mut self.secured {
            None => self.stream.write_last(octets, deadline).await,
            Some(_) => {
                // Under TLS its own last word follows the octets.
                let written = self.write(&mut [IoSlice::new(octets)], deadline).await;
                Box::pin(self.close(deadline)).await;
                written
            }
        }
    }

    fn is_stale(&mut self) -> bool {
        let has_more = |secured: &Secured| !secured.unread.is_empty();
        self.secured.as_deref().is_some_and(has_more) || self.stream.is_stale()
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

impl Secured {
    fn new(connection: Connection, early: &[u8]) -> Self {
        Self {
            connection,
            raw: early.to_vec(),
            unread: 0..early.len(),
            out: Vec::new(),
            facts: None,
        }
    }

    async fn handshake<S: Stream>(&mut self, stream: &mut S, deadline: Tick) -> io::Result<()> {
        loop {
            self.flush(stream, deadline).await?;
            if !self.connection.is_handshaking() {
                break;
            }
            if self.unread.is_empty() && self.fill(stream, deadline).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended in the TLS handshake",
                ));
            }
            self.digest()?;
        }
        self.facts = facts(&self.connection);
        Ok(())
    }

    /// Reads plain octets.
    async fn read<S: Stream>(
        &mut self,
        stream: &mut S,
        into: &mut [u8],
        deadline: Tick,
    ) -> io::Result<usize> {
        loop {
            if let Some(len) = self.take(into)? {
                return Ok(len);
            }
            self.settle(stream, deadline).await?;
            self.fill(stream, deadline).await?;
        }
    }

    /// Writes plain octets.
    async fn write<S: Stream>(
        &mut self,
        stream: &mut S,
        parts: &[IoSlice<'_>],
        deadline: Tick,
    ) -> io::Result<()> {
        for part in parts {
            let mut rest = &part[..];
            while !rest.is_empty() {
                let len = self.connection.writer().write(rest)?;
                rest = &rest[len..];
                if !rest.is_empty() {
                    // rustls keeps so much and no more.
                    self.flush(stream, deadline).await?;
                }
            }
        }
        self.flush(stream, deadline).await
    }

    /// Sends what we owe without having been asked to write: session tickets, key updates. It is
    /// seldom, and stands apart.
    async fn settle<S: Stream>(&mut self, stream: &mut S, deadline: Tick) -> io::Result<()> {
        if self.connection.wants_write() || !self.out.is_empty() {
            Box::pin(self.flush(stream, deadline)).await?;
        }
        Ok(())
    }

    /// Something is left of what was read, or its end is known.
    fn has_more(&mut self) -> bool {
        let known = self.connection.process_new_packets();
        let is_empty = known
            .is_ok_and(|known| known.plaintext_bytes_to_read() == 0 && !known.peer_has_closed());
        !is_empty || !self.unread.is_empty()
    }

    /// Plain octets that are there; `None` when more records are needed.
    fn take(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.connection.reader().read(into) {
                Ok(len) => return Ok(Some(len)),
                // Cut without a word. SMTP has its own ends: QUIT, the final dot, and a message
                // that lacks its dot is no message.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.unread.is_empty() {
                return Ok(None);
            }
            self.digest()?;
        }
    }

    /// Lets rustls see what came.
    fn digest(&mut self) -> io::Result<()> {
        let mut rest = &self.raw[self.unread.clone()];
        let taken = self.connection.read_tls(&mut rest)?;
        if taken == 0 {
            // It wants to be emptied first, and `take` has just done that.
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.unread.start += taken;
        let processed = self.connection.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(())
    }

    /// Reads records once; 0 at the end. May be dropped while it waits.
    async fn fill<S: Stream>(&mut self, stream: &mut S, deadline: Tick) -> io::Result<usize> {
        let was_filled = self.unread.end == self.raw.len() && !self.raw.is_empty();
        let wanted = if was_filled {
            BUSY_OCTETS
        } else {
            self.raw.len().max(QUIET_OCTETS)
        };
        self.raw.resize(wanted, 0);
        self.unread = 0..0;
        let len = stream.read(&mut self.raw, deadline).await?;
        self.unread = 0..len;
        if len == 0 {
            // It has to be told of the end.
            self.connection.read_tls(&mut io::empty())?;
        } else if len < QUIET_OCTETS && self.raw.len() > QUIET_OCTETS {
            self.raw.truncate(QUIET_OCTETS);
            self.raw.shrink_to_fit();
        }
        Ok(len)
    }

    /// Sends the records that are ready. Dropped while it waits, it leaves the connection unusable
    /// like any write.
    async fn flush<S: Stream>(&mut self, stream: &mut S, deadline: Tick) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.out)?;
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.out);
        stream.write(&mut [IoSlice::new(&records)], deadline).await
    }
}

fn facts(connection: &Connection) -> Option<Facts> {
    let version = match connection.protocol_version()? {
        rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
        rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLS",
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    Some(Facts {
        version,
        suite: iana_name(suite),
        is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    })
}

/// rustls names the suites of TLS 1.3 in a way of its own.
fn iana_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// What RFC 9266 §2 asks the exporter for.
const BINDING_OCTETS: usize = 32;
/// The buffer of a connection that says little: a command and its record.
const QUIET_OCTETS: usize = 2 * 1024;
/// The buffer of one that fills the other: a record is at most 16 KiB and some octets.
const BUSY_OCTETS: usize = 32 * 1024;
