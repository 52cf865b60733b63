//! What a TLS handshake costs, in full and resumed, both sides on one core; and what a DKIM signature
//! costs.
//!
//! `cargo bench --bench tls`

#![allow(
    clippy::expect_used,
    reason = "a bench that cannot go on has nothing to measure"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use ringpost::dkim::{Key, Kind, Signers};
use ringpost::tls::certificate;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

/// A server of ours that shows a certificate of this key, and whom a client has to trust.
fn server(key: &KeyPair) -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let shown = params.self_signed(key).expect("signed by itself");
    let home = std::env::temp_dir().join(format!("ringpost-bench-tls-{}", std::process::id()));
    fs::create_dir_all(&home).expect("a directory");
    let pair: (PathBuf, PathBuf) = (home.join("mx.pem"), home.join("mx.key"));
    fs::write(&pair.0, shown.pem()).expect("written");
    fs::write(&pair.1, key.serialize_pem()).expect("written");
    fs::set_permissions(&pair.1, Permissions::from_mode(0o600)).expect("its mode is set");
    let server = certificate::server(&[pair]).expect("a server");
    let _ = fs::remove_dir_all(&home);
    (server, shown.der().clone())
}

/// Ours speaks what both know; this one says which version that is.
fn client(
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("an authority");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// One connection up to where mail may be said, and the tickets that come behind.
fn shake_hands(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (HandshakeKind, ProtocolVersion) {
    let name = ServerName::try_from(NAME).expect("a name");
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
    let kind = server.handshake_kind().expect("it is done");
    (kind, server.protocol_version().expect("it is done"))
}

fn handshakes(criterion: &mut Criterion) {
    let keys = [
        ("p256", KeyPair::generate().expect("a key")),
        (
            "rsa2048",
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key"),
        ),
    ];
    for (name, key) in &keys {
        let (server, trusted) = server(key);
        let mut group = criterion.benchmark_group(format!("handshake/{name}"));
        group.throughput(Throughput::Elements(1));
        for (label, version) in [("1.3", &TLS13), ("1.2", &TLS12)] {
            let remembers = Arc::new(client(&trusted, version));
            let mut forgets = ClientConfig::clone(&remembers);
            forgets.resumption = Resumption::disabled();
            let forgets = Arc::new(forgets);
            // The first one brings the tickets, and the key exchange that the server likes.
            shake_hands(&server, &remembers);
            for (what, client, kind) in [
                ("full", &forgets, HandshakeKind::Full),
                ("resumed", &remembers, HandshakeKind::Resumed),
            ] {
                let wanted = (kind, version.version);
                group.bench_function(format!("{label}/{what}"), |bencher| {
                    bencher.iter(|| assert_eq!(shake_hands(&server, client), wanted));
                });
            }
        }
        group.finish();
    }
}

fn signatures(criterion: &mut Criterion) {
    let mut message = b"From: a@c.test\r\nTo: b@d.test\r\nSubject: signed\r\n\r\n".to_vec();
    message.resize(10 * 1024, b'x');
    message.extend(b"\r\n");
    let mut group = criterion.benchmark_group("sign/10KiB");
    group.throughput(Throughput::Elements(1));
    for (name, kind) in [
        ("rsa2048", Kind::Rsa { bits: 2048 }),
        ("ed25519", Kind::Ed25519),
    ] {
        let pem = Key::generate(kind).expect("a key");
        let mut signers = Signers::default();
        signers.add("c.test", "s1", Key::parse(&pem).expect("a key"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let fields = signers.sign(&message).expect("a signature");
                assert!(!fields.is_empty());
            });
        });
    }
    group.finish();
}

const NAME: &str = "mx.test";

criterion_group!(benches, handshakes, signatures);
criterion_main!(benches);
