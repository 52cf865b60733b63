use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use futures_lite::future::{block_on, poll_once, zip};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{RootCertStore, ServerConfig};

use super::certificate;
use super::channel::{Channel, Facts};
use super::client::Clients;
use crate::world::{Stream, Tick};

/// One direction of a connection in memory.
#[derive(Default)]
struct Way {
    octets: VecDeque<u8>,
    is_closed: bool,
    reader: Option<Waker>,
}

/// A connection in memory that gives at most `step` octets to a read.
struct Pipe {
    from: Rc<RefCell<Way>>,
    to: Rc<RefCell<Way>>,
    step: usize,
}

fn pipe(step: usize) -> (Pipe, Pipe) {
    let (one, other): (Rc<RefCell<Way>>, Rc<RefCell<Way>>) = Default::default();
    let end = |from: &Rc<_>, to: &Rc<_>| Pipe {
        from: Rc::clone(from),
        to: Rc::clone(to),
        step,
    };
    (end(&one, &other), end(&other, &one))
}

impl Stream for Pipe {
    async fn readable(&mut self, _: Tick) -> io::Result<()> {
        poll_fn(|cx| {
            let mut way = self.from.borrow_mut();
            if way.octets.is_empty() && !way.is_closed {
                way.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn read(&mut self, into: &mut [u8], _: Tick) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut way = self.from.borrow_mut();
            let len = way.octets.len().min(into.len()).min(self.step);
            if len == 0 && !way.is_closed {
                way.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            for (place, octet) in into.iter_mut().zip(way.octets.drain(..len)) {
                *place = octet;
            }
            Poll::Ready(Ok(len))
        })
        .await
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>], _: Tick) -> io::Result<()> {
        let mut way = self.to.borrow_mut();
        parts.iter().for_each(|part| way.octets.extend(&**part));
        way.reader.take().into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn is_stale(&mut self) -> bool {
        let way = self.from.borrow();
        way.is_closed || !way.octets.is_empty()
    }

    fn peer(&self) -> SocketAddr {
        ([127, 0, 0, 1], 25).into()
    }

    fn local(&self) -> SocketAddr {
        ([127, 0, 0, 1], 25).into()
    }

    fn shutdown(&mut self) {
        let mut way = self.to.borrow_mut();
        way.is_closed = true;
        way.reader.take().into_iter().for_each(Waker::wake);
    }
}

/// A server whose certificates are for these names, and clients that trust them.
fn parties(names: &[&str]) -> (Arc<ServerConfig>, Clients, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut roots = RootCertStore::empty();
    let pairs: Vec<(PathBuf, PathBuf)> = names
        .iter()
        .map(|name| {
            let (chain, key) = certificate::self_signed(name).unwrap();
            roots
                .add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap())
                .unwrap();
            let paths = (
                home.path().join(format!("{name}.pem")),
                home.path().join(format!("{name}.key")),
            );
            std::fs::write(&paths.0, chain).unwrap();
            std::fs::write(&paths.1, key).unwrap();
            set_mode(&paths.1, 0o600);
            paths
        })
        .collect();
    let server = certificate::server(&pairs).unwrap();
    (server, Clients::with_roots(roots).unwrap(), home)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

async fn read_all(channel: &mut Channel<Pipe>) -> Vec<u8> {
    let (mut all, mut some) = (Vec::new(), [0; 1000]);
    loop {
        match channel.read(&mut some, Tick::NEVER).await.unwrap() {
            0 => return all,
            len => all.extend_from_slice(&some[..len]),
        }
    }
}

#[test]
fn what_is_said_arrives_however_the_octets_are_split() {
    let (server, clients, _home) = parties(&["mx.test"]);
    let said: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    for step in [1, 2, 7, 1000, usize::MAX] {
        let (ours, theirs) = pipe(step);
        let said = if step < 100 { &said[..3000] } else { &said[..] };
        let serving = async {
            let mut channel = Channel::plain(ours);
            channel
                .accept(Arc::clone(&server), Tick::NEVER)
                .await
                .unwrap();
            assert_eq!(channel.facts().unwrap().version, "TLSv1.3");
            let heard = read_all(&mut channel).await;
            channel
                .write(
                    &mut [IoSlice::new(&heard[..10]), IoSlice::new(b"!")],
                    Tick::NEVER,
                )
                .await
                .unwrap();
            channel.close(Tick::NEVER).await;
            heard
        };
        let calling = async {
            let mut channel = Channel::plain(theirs);
            let config = Arc::clone(&clients.verified);
            channel
                .connect(config, name("mx.test"), Tick::NEVER)
                .await
                .unwrap();
            let (half, rest) = said.split_at(said.len() / 2);
            channel
                .write(&mut [IoSlice::new(half), IoSlice::new(rest)], Tick::NEVER)
                .await
                .unwrap();
            channel.close(Tick::NEVER).await;
            read_all(&mut channel).await
        };
        let (heard, answer) = block_on(zip(serving, calling));
        assert!(heard == said, "{step}");
        assert_eq!(answer, [&said[..10], b"!"].concat());
    }
}

#[test]
fn whoever_waits_for_octets_hears_of_those_that_were_read_and_not_taken() {
    let (server, clients, _home) = parties(&["mx.test"]);
    let (ours, theirs) = pipe(usize::MAX);
    let (mut server_end, mut client_end) = (Channel::plain(ours), Channel::plain(theirs));
    let accepting = server_end.accept(server, Tick::NEVER);
    let config = Arc::clone(&clients.verified);
    let connecting = client_end.connect(config, name("mx.test"), Tick::NEVER);
    let (accepted, connected) = block_on(zip(accepting, connecting));
    accepted.and(connected).unwrap();
    let is_readable = |end: &mut Channel<Pipe>| {
        let waited = block_on(poll_once(end.readable(Tick::NEVER)));
        waited.map(Result::unwrap).is_some()
    };
    assert!(!is_readable(&mut server_end), "nothing was said");
    block_on(client_end.write(&mut [IoSlice::new(&[7; 3000])], Tick::NEVER)).unwrap();
    let mut some = [0; 1000];
    for _ in 0..3 {
        assert!(is_readable(&mut server_end), "there is more");
        let len = block_on(server_end.read(&mut some, Tick::NEVER)).unwrap();
        assert_eq!((len, some[999]), (1000, 7));
    }
    assert!(!is_readable(&mut server_end), "all was taken");
    block_on(client_end.close(Tick::NEVER));
    assert!(is_readable(&mut server_end), "the end is known");
    let len = block_on(server_end.read(&mut some, Tick::NEVER)).unwrap();
    assert_eq!(len, 0);
}

async fn try_name(
    server: &Arc<ServerConfig>,
    config: &Arc<rustls::ClientConfig>,
    asked: &str,
) -> io::Result<()> {
    let (ours, theirs) = pipe(usize::MAX);
    let (mut server_end, mut client_end) = (Channel::plain(ours), Channel::plain(theirs));
    let serving = async {
        let _ = server_end.accept(Arc::clone(server), Tick::NEVER).await;
        // A client that does not like us goes; what it said is of no interest.
        server_end.close(Tick::NEVER).await;
    };
    let calling = async {
        let result = client_end
            .connect(Arc::clone(config), name(asked), Tick::NEVER)
            .await;
        client_end.close(Tick::NEVER).await;
        result
    };
    zip(serving, calling).await.1
}

/// What is agreed on with `mx.test`; the tickets that come behind the handshake are read.
async fn agreed(server: &Arc<ServerConfig>, config: &Arc<rustls::ClientConfig>) -> Facts {
    let (ours, theirs) = pipe(usize::MAX);
    let (mut server_end, mut client_end) = (Channel::plain(ours), Channel::plain(theirs));
    let serving = async {
        let accepted = server_end.accept(Arc::clone(server), Tick::NEVER).await;
        accepted.unwrap();
        server_end.close(Tick::NEVER).await;
    };
    let calling = async {
        let config = Arc::clone(config);
        let connected = client_end.connect(config, name("mx.test"), Tick::NEVER);
        connected.await.unwrap();
        read_all(&mut client_end).await;
        client_end.facts().unwrap()
    };
    zip(serving, calling).await.1
}

#[test]
fn a_host_is_met_again_and_shows_its_certificate_only_to_those_who_must_see_it() {
    let (server, clients, _home) = parties(&["mx.test"]);
    let shard = clients.for_shard();
    block_on(async {
        for config in [&shard.verified, &shard.unverified] {
            let met = [agreed(&server, config).await, agreed(&server, config).await];
            assert_eq!(met.map(|facts| facts.is_resumed), [false, true]);
        }
        assert!(
            !agreed(&server, &clients.for_shard().verified)
                .await
                .is_resumed
        );
        for _ in 0..2 {
            let (config, testimony) = shard.witnessed();
            assert!(!agreed(&server, &config).await.is_resumed);
            assert_eq!(testimony.get(), Some(&Ok(())));
        }
    });
}

#[test]
fn both_ends_name_a_channel_alike_and_no_two_channels() {
    let (server, clients, _home) = parties(&["mx.test"]);
    let bindings = || {
        let (ours, theirs) = pipe(usize::MAX);
        let (mut ours, mut theirs) = (Channel::plain(ours), Channel::plain(theirs));
        assert_eq!(ours.binding(), None);
        let config = Arc::clone(&clients.verified);
        let accepting = ours.accept(Arc::clone(&server), Tick::NEVER);
        let connecting = theirs.connect(config, name("mx.test"), Tick::NEVER);
        let (accepted, connected) = block_on(zip(accepting, connecting));
        accepted.and(connected).unwrap();
        (ours.binding().unwrap(), theirs.binding().unwrap())
    };
    let ((one, same), (other, _)) = (bindings(), bindings());
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[test]
fn each_name_is_shown_its_own_certificate_and_a_strange_one_is_refused_only_where_asked_for() {
    let (server, clients, _home) = parties(&["one.test", "two.test"]);
    block_on(async {
        for good in ["one.test", "two.test"] {
            try_name(&server, &clients.verified, good).await.unwrap();
        }
        let error = try_name(&server, &clients.verified, "three.test")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        try_name(&server, &clients.unverified, "three.test")
            .await
            .unwrap();
    });
}

#[test]
fn key_exchange_is_post_quantum_where_the_peer_has_it() {
    let (server, clients, _home) = parties(&["mx.test"]);
    for provider in [server.crypto_provider(), clients.verified.crypto_provider()] {
        let first = provider.kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }
}

#[test]
fn a_peer_that_speaks_no_tls_is_an_error_and_not_a_wait() {
    let (server, _clients, _home) = parties(&["mx.test"]);
    for words in [&b"EHLO client.test\r\n"[..], b"", b"\x16\x03\x01"] {
        let (ours, mut theirs) = pipe(usize::MAX);
        let mut channel = Channel::plain(ours);
        block_on(async {
            theirs
                .write(&mut [IoSlice::new(words)], Tick::NEVER)
                .await
                .unwrap();
            theirs.shutdown();
            assert!(
                channel
                    .accept(Arc::clone(&server), Tick::NEVER)
                    .await
                    .is_err()
            );
            assert_eq!(channel.facts(), None);
        });
    }
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let (_, _, home) = parties(&["one.test", "two.test"]);
    let at = |file: &str| home.path().join(file);
    let why = |chain: &str, key: &str| {
        certificate::server(&[(at(chain), at(key))])
            .unwrap_err()
            .to_string()
    };
    assert!(why("none.pem", "one.test.key").contains("none.pem: cannot be read"));
    assert!(why("one.test.key", "one.test.key").contains("holds no certificate"));
    set_mode(&at("one.test.pem"), 0o640);
    assert!(why("one.test.pem", "one.test.pem").contains("holds no private key"));
    assert!(why("one.test.pem", "two.test.key").contains("is not the key of the certificate in"));
    set_mode(&at("one.test.key"), 0o644);
    assert!(
        why("one.test.pem", "one.test.key").contains("one.test.key: everybody on this machine")
    );
    set_mode(&at("one.test.key"), 0o640);
    certificate::server(&[(at("one.test.pem"), at("one.test.key"))]).unwrap();
}

/// What is said of a file goes into the log, and the file may be a private key.
#[test]
fn nothing_of_a_damaged_key_is_told() {
    let (_, _, home) = parties(&["one.test"]);
    let (chain, key) = (
        home.path().join("one.test.pem"),
        home.path().join("one.test.key"),
    );
    let whole = std::fs::read_to_string(&key).unwrap();
    let damaged = [
        whole.replacen("KEY-----\n", "KEY-", 1),
        whole.replacen("-----END", "-----AND", 1),
        whole.replacen("\n", "\n*", 1),
    ];
    for text in damaged {
        std::fs::write(&key, &text).unwrap();
        let why = certificate::server(&[(chain.clone(), key.clone())]).unwrap_err();
        let why = why.to_string();
        assert!(why.contains("holds no private key"), "{why}");
        let beside = why.len() - key.to_string_lossy().len();
        assert!(beside < 100, "{why}");
    }
}
