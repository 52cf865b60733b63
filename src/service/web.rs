//! HTTPS on the service thread: small documents of servers that prove their name. HTTP where an
//! operator says so.
//!
//! One connection for each request, over addresses that our own resolver gives. Redirects are not
//! followed: whoever could make a server redirect could say what a domain's policy is (RFC 8461
//! §3.3).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::resolver::Resolver;
use crate::route::dns::{Answer, Kind, Question, Records};
use crate::world::Web;

/// What a server answered.
pub(super) struct Document {
    pub(super) status: u16,
    /// Lower case, without parameters.
    pub(super) media_type: String,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server could not be reached, or broke off.
    Broken(String),
    /// It did not prove its name.
    Certificate(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) | Self::Certificate(why) => f.write_str(why),
        }
    }
}

/// One exchange with a server.
pub(super) struct Asking<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) web: &'a Web,
    /// A name, or an address; one of IPv6 in brackets.
    pub(super) host: &'a str,
    /// Without TLS.
    pub(super) is_plain: bool,
    /// How long all of it may take.
    pub(super) wait: Duration,
}

impl Asking<'_> {
    /// Gets a document.
    pub(super) async fn get(&self, path: &str) -> Result<Document, Fault> {
        self.ask("GET", path, &[], Vec::new()).await
    }

    /// Posts a body, with header fields that say what it is.
    pub(super) async fn post(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Document, Fault> {
        self.ask("POST", path, fields, body).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Document, Fault> {
        let host = self.host;
        let usual = if self.is_plain { HTTP } else { HTTPS };
        let authority = match self.web.port {
            port if port == usual => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("ringpost/", env!("CARGO_PKG_VERSION")));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Fault::Broken(error.to_string()))?;
        let asking = async {
            let stream = self.connect().await?;
            exchange(stream, request).await
        };
        match tokio::time::timeout(self.wait, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(Fault::Broken(format!("{host} did not answer in time"))),
        }
    }

    fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// A connection to the first address that answers, with a server that proved its name unless it
    /// need not.
    async fn connect(&self) -> Result<Wire, Fault> {
        let host = self.host;
        if let Ok(address) = self.bare_host().parse() {
            return self.open(SocketAddr::new(address, self.web.port)).await;
        }
        let mut fault = Fault::Broken(format!("{host} has no address"));
        for kind in [Kind::A, Kind::Aaaa] {
            let question = Question {
                name: host.into(),
                kind,
            };
            match self.resolver.lookup(question).await.answer {
                Answer::Records(Records::Addresses(addresses), _) => {
                    for address in addresses.into_iter().take(ADDRESSES_MAX) {
                        match self.open(SocketAddr::new(address, self.web.port)).await {
                            Ok(stream) => return Ok(stream),
                            Err(failed) => fault = failed,
                        }
                    }
                }
                Answer::Failure(why) => {
                    fault = Fault::Broken(format!("looking up {host} failed: {why}"));
                }
                _ => {}
            }
        }
        Err(fault)
    }

    async fn open(&self, to: SocketAddr) -> Result<Wire, Fault> {
        let host = self.host;
        let name = ServerName::try_from(self.bare_host().to_owned())
            .map_err(|_| Fault::Broken(format!("{host} is no host name")))?;
        let opening = async {
            let stream = TcpStream::connect(to).await?;
            if self.is_plain {
                return Ok(Box::new(stream) as Wire);
            }
            let connector = TlsConnector::from(Arc::clone(&self.web.config));
            Ok(Box::new(connector.connect(name, stream).await?) as Wire)
        };
        match tokio::time::timeout(CONNECT_WAIT, opening).await {
            Ok(opened) => opened.map_err(|error| fault(to, &error)),
            Err(_) => Err(Fault::Broken(format!("{to} did not answer in time"))),
        }
    }
}

/// A connection, with TLS or without.
type Wire = Box<dyn Octets>;

trait Octets: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Octets for T {}

async fn exchange(stream: Wire, request: Request<Full<Bytes>>) -> Result<Document, Fault> {
    let broken = |error: hyper::Error| Fault::Broken(error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_OCTETS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Moves octets for as long as the request is under way, and ends with it.
    let moving = tokio::spawn(connection);
    let answered = sender.send_request(request).await;
    let document = match answered {
        Ok(response) => read(response).await,
        Err(error) => Err(broken(error)),
    };
    moving.abort();
    document
}

async fn read(response: Response<Incoming>) -> Result<Document, Fault> {
    let media_type = response.headers().get(CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next());
    let media_type = media_type.unwrap_or_default().trim().to_ascii_lowercase();
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), BODY_OCTETS_MAX);
    let body = body.collect().await;
    let body = body.map_err(|error| Fault::Broken(error.to_string()))?;
    Ok(Document {
        status,
        media_type,
        body: body.to_bytes().into(),
    })
}

fn fault(to: SocketAddr, error: &io::Error) -> Fault {
    let inside = error.get_ref().and_then(|inside| inside.downcast_ref());
    match inside {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Fault::Certificate(format!("the certificate of {to} is not good: {why:?}"))
        }
        _ => Fault::Broken(format!("connect to {to}: {error}")),
    }
}

/// The port of HTTPS.
pub(super) const HTTPS: u16 = 443;
/// The port of HTTP.
pub(super) const HTTP: u16 = 80;
/// RFC 8461 §3.3 suggests it.
const BODY_OCTETS_MAX: usize = 64 * 1024;
/// For one address: the next one may answer.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Addresses of each family that are tried.
const ADDRESSES_MAX: usize = 4;
/// Status line and header fields.
const HEAD_OCTETS_MAX: usize = 64 * 1024;
