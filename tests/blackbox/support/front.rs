//! TLS: on the side of a test's client, and before a peer that knows nothing of it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::eventually;

pub trait Octets: Read + Write + Send {}
impl<T: Read + Write + Send> Octets for T {}

/// The client's end of TLS with the relay, whose certificate is `authority`.
pub fn secured(socket: TcpStream, authority: &Path) -> Box<dyn Octets> {
    secured_as(socket, authority, None)
}

/// The same of a client that shows a certificate.
pub fn secured_as(
    socket: TcpStream,
    authority: &Path,
    shown: Option<&(PathBuf, PathBuf)>,
) -> Box<dyn Octets> {
    let pem = fs::read(authority).expect("the server's certificate");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).expect("PEM"))
        .expect("a certificate");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = pair_of(pair);
            config.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let name = ServerName::try_from("relay.test").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    Box::new(StreamOwned::new(session, socket))
}

fn pair_of(
    (chain, key): &(PathBuf, PathBuf),
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_file_iter(chain).expect("a chain");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    (chain, PrivateKeyDer::from_pem_file(key).expect("a key"))
}

/// For a server that shows this chain.
pub fn server_config(chain: &Path, key: &Path) -> Arc<ServerConfig> {
    let (chain, key) = pair_of(&(chain.to_owned(), key.to_owned()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    Arc::new(config)
}

/// Listens at `at` and speaks STARTTLS there: what comes, under TLS or in plain, goes to the mail
/// exchanger at `behind`, and its answers come back.
pub fn before(behind: SocketAddr, at: SocketAddr, (chain, key): &(PathBuf, PathBuf)) {
    let config = server_config(chain, key);
    // A connection of some other test may have the port for its own end, for a moment.
    let listener = eventually(&format!("a front at {at}"), || TcpListener::bind(at).ok());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                // A connection that breaks off is over, whoever broke it.
                let _ = serve(stream, config, behind);
            });
        }
    });
}

fn serve(mut socket: TcpStream, config: Arc<ServerConfig>, behind: SocketAddr) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.write_all(b"220 front ESMTP\r\n")?;
    line(&mut socket)?;
    socket.write_all(b"250-front\r\n250 STARTTLS\r\n")?;
    let said = line(&mut socket)?;
    let mut inner = TcpStream::connect(behind)?;
    line(&mut inner)?;
    let is_plain = !said.eq_ignore_ascii_case(b"STARTTLS\r\n");
    if is_plain {
        // The peer behind has not been greeted yet.
        inner.write_all(b"EHLO front\r\n")?;
        while line(&mut inner)?.get(3) == Some(&b'-') {}
        inner.write_all(&said)?;
    } else {
        socket.write_all(b"220 2.0.0 go\r\n")?;
    }
    for stream in [&socket, &inner] {
        stream.set_read_timeout(Some(LOOK))?;
    }
    if is_plain {
        while pass(&mut socket, &mut inner)? && pass(&mut inner, &mut socket)? {}
        return Ok(());
    }
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut outer = StreamOwned::new(session, socket);
    while pass(&mut outer, &mut inner)? && pass(&mut inner, &mut outer)? {}
    Ok(())
}

/// Passes on what is there; false at the end.
fn pass(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<bool> {
    let mut chunk = [0; 16 * 1024];
    match from.read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(len) => {
            to.write_all(&chunk[..len])?;
            to.flush()?;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Octet by octet: what follows the line belongs to somebody else.
fn line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        line.push(octet[0]);
    }
    Ok(line)
}

/// How long one side is listened to before the other is.
const LOOK: Duration = Duration::from_millis(5);
