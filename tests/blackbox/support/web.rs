//! An authority that issues certificates, and a web server that shows one and says what it is told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::front::server_config;

/// A certificate authority, with what it has issued in files.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    files: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let files = tempfile::tempdir().expect("a directory");
        let own = params.self_signed(&key).expect("signed by itself");
        fs::write(files.path().join("authority.pem"), own.pem()).expect("written");
        Self { params, key, files }
    }

    /// One that this one vouches for. What it issues comes without the certificate that says so.
    pub fn below(&self) -> Self {
        let mut lower = Self::new();
        let name = &mut lower.params.distinguished_name;
        name.push(DnType::CommonName, "intermediate");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let own = lower.params.signed_by(&lower.key, &issuer).expect("signed");
        fs::write(lower.path(), own.pem()).expect("written");
        lower
    }

    /// PEM: what a relay trusts that trusts it.
    pub fn path(&self) -> PathBuf {
        self.files.path().join("authority.pem")
    }

    /// Issues a certificate for a name; the files of its chain and its key.
    pub fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let params = CertificateParams::new(vec![name.to_owned()]);
        self.issue_as(name, params.expect("a name"))
    }

    /// Issues a certificate as it is wanted.
    pub fn issue_as(&self, name: &str, params: CertificateParams) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        let [chain, private] =
            ["pem", "key"].map(|end| self.files.path().join(format!("{name}.{end}")));
        fs::write(&chain, certificate.pem()).expect("written");
        fs::write(&private, key.serialize_pem()).expect("written");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("set");
        (chain, private)
    }
}

/// A web server over TLS: the same answer to every request.
pub struct Web {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Web {
    pub fn start(at: SocketAddr, (chain, key): &(PathBuf, PathBuf)) -> Self {
        let config = server_config(chain, key);
        let listener = TcpListener::bind(at).expect("a port for the web server");
        let web = Self {
            address: listener.local_addr().expect("a bound socket"),
            answer: Arc::default(),
            heard: Arc::default(),
        };
        let (answer, heard) = (Arc::clone(&web.answer), Arc::clone(&web.heard));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                let config = Arc::clone(&config);
                thread::spawn(move || serve(stream, config, &answer, &heard));
            }
        });
        web
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers from now on, status line and all.
    pub fn says(&self, answer: &[u8]) {
        answer.clone_into(&mut self.answer.lock().expect("no panic"));
    }

    /// It has a document.
    pub fn has(&self, media_type: &str, body: &str) {
        let len = body.len();
        self.says(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
    }

    /// The requests so far, whole.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().expect("no panic").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    answer: &Mutex<Vec<u8>>,
    heard: &Mutex<Vec<Vec<u8>>>,
) {
    let connection = ServerConnection::new(config).expect("a connection");
    let mut tls = StreamOwned::new(connection, &mut stream);
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&request) {
        match tls.read(&mut buffer) {
            Ok(len) if len > 0 => request.extend_from_slice(&buffer[..len]),
            // The client does not like the certificate.
            _ => return,
        }
    }
    heard.lock().expect("no panic").push(request);
    let answer = answer.lock().expect("no panic").clone();
    // The client may have had enough.
    let _ = tls.write_all(&answer);
    tls.conn.send_close_notify();
    let _ = tls.flush();
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(request, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let mut lines = head.lines();
    let len = lines.find_map(|line| line.strip_prefix("content-length: "));
    let len: usize = len.map_or(0, |len| len.trim().parse().expect("a length"));
    request.len() >= end + 4 + len
}
