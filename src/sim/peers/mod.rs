//! Those the relay talks to: clients that hand it mail and hosts that it delivers to. Both keep
//! a ledger of what they saw, from which `check` learns whether the relay kept its word.

pub mod client;
pub mod exchanger;
pub mod guard;
pub mod ledger;
pub mod provider;
pub mod reader;
pub mod returner;

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::random::Random;
use super::{SimStream, SimWorld};
use crate::tls::Channel;
use crate::world::{Stream as _, World as _};
use guard::{Frail, Limit};

/// One end of a dialogue in lines.
struct Talk {
    stream: Channel<Frail>,
    /// When what is said on it ends.
    limit: Rc<Cell<Option<Limit>>>,
    world: SimWorld,
    random: Rc<Random>,
    buffer: Vec<u8>,
}

impl Talk {
    fn new(world: &SimWorld, stream: SimStream) -> Self {
        let limit = Rc::default();
        Self {
            stream: Channel::plain(Frail::new(stream, world, &limit)),
            limit,
            world: world.clone(),
            random: world.choices(),
            buffer: Vec::new(),
        }
    }

    /// From here on under TLS, as its server; what was said in plain behind the command is nothing.
    async fn accept(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        self.buffer.clear();
        let deadline = self.world.now() + PATIENCE;
        self.stream.accept(config, deadline).await
    }

    /// From here on under TLS, as its client.
    async fn connect(&mut self, config: Arc<ClientConfig>, name: &str) -> io::Result<()> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let deadline = self.world.now() + PATIENCE;
        self.stream.connect(config, name, deadline).await
    }

    /// The next line without its CRLF; `UnexpectedEof` at the end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            let mut part = [0; 4096];
            let deadline = self.world.now() + PATIENCE;
            match self.stream.read(&mut part, deadline).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend_from_slice(&part[..read]),
            }
        }
    }

    /// Code and lines of the next reply.
    async fn reply(&mut self) -> io::Result<(u16, Vec<String>)> {
        let mut lines = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.line().await?).into_owned();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code else {
                return Err(io::Error::other(format!("no reply: {line}")));
            };
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if is_last {
                return Ok((code, lines));
            }
        }
    }

    /// Sends octets, now and then in pieces with pauses.
    async fn say(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let mut len = octets.len();
            if self.random.permille(SPLIT_PERMILLE) {
                len = usize::try_from(self.random.between(1, len as u64)).unwrap_or(len);
                let pause = Duration::from_micros(self.random.below(20_000));
                self.world.sleep(self.world.now() + pause).await;
            }
            let (now, later) = octets.split_at(len);
            let deadline = self.world.now() + PATIENCE;
            self.stream
                .write(&mut [IoSlice::new(now)], deadline)
                .await?;
            octets = later;
        }
        Ok(())
    }
}

/// How long a peer waits for anything.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often what is said is said in two.
const SPLIT_PERMILLE: u32 = 150;
