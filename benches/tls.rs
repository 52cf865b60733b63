//! What a TLS handshake costs, in full and resumed, both sides on one core.
//!
//! `cargo bench --bench tls`

#![allow(
    clippy::expect_used,
    reason = "a bench that cannot go on has nothing to measure"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringpost::tls::certificate;
use ringpost::tls::client::Clients;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// A server that shows a certificate of its own making, and clients that trust it.
fn parties() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let home = std::env::temp_dir().join(format!("ringpost-bench-tls-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a directory");
    let (chain, key) = certificate::self_signed("mx.test").expect("a certificate");
    let pair: (PathBuf, PathBuf) = (home.join("mx.pem"), home.join("mx.key"));
    std::fs::write(&pair.0, &chain).expect("written");
    std::fs::write(&pair.1, key).expect("written");
    private(&pair.1);
    let server = certificate::server(&[pair]).expect("a server");
    let _ = std::fs::remove_dir_all(&home);
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).expect("PEM");
    roots.add(der).expect("an authority");
    let clients = Clients::with_roots(roots).expect("clients");
    (server, clients.verified)
}

fn private(path: &Path) {
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("its mode is set");
}

/// One connection up to where mail may be said, and the tickets that come behind.
fn shake_hands(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> rustls::HandshakeKind {
    let name = ServerName::try_from("mx.test").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    let mut wire = Vec::with_capacity(8192);
    loop {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("memory");
            server.process_new_packets().expect("a good client");
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        if wire.is_empty() && !client.wants_write() {
            break;
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            client.process_new_packets().expect("a good server");
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    server.handshake_kind().expect("it is done")
}

fn handshakes(criterion: &mut Criterion) {
    let (server, client) = parties();
    let mut forgetful = ClientConfig::clone(&client);
    forgetful.resumption = Resumption::disabled();
    let forgetful = Arc::new(forgetful);
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("full", |bencher| {
        bencher.iter(|| {
            assert_eq!(
                shake_hands(&server, &forgetful),
                rustls::HandshakeKind::Full
            );
        });
    });
    // The first one brings the tickets.
    shake_hands(&server, &client);
    group.bench_function("resumed", |bencher| {
        bencher.iter(|| {
            let kind = shake_hands(&server, &client);
            assert_eq!(kind, rustls::HandshakeKind::Resumed);
        });
    });
    group.finish();
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
