//! A whole relay in the simulated world: what a client says goes through every room of a shard.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::queue::SegQueue;
use ringpost::config::{AllowPlaintext, Config, Listener, Protocol, Route};
use ringpost::observe::events::Post;
use ringpost::observe::log::{Format, Journal, Level};
use ringpost::route::dns::{Answer, Kind, Question, Records};
use ringpost::shard::clients::suspects::Suspects;
use ringpost::shard::clients::visitors::Visitors;
use ringpost::shard::life;
use ringpost::shard::life::rules::Rules;
use ringpost::shard::mesh::Directory;
use ringpost::sim::disk::SimDisk;
use ringpost::sim::{Sim, SimWorld};
use ringpost::suppress::Suppressions;
use ringpost::tls::Ends;
use ringpost::tls::client::Clients;
use ringpost::users::{User, Users};
use ringpost::world::{Class, Listener as _, Stream as _, World as _};

/// Who has a mailbox here.
pub const ANN: &str = "ann@one.test";
/// Her password.
pub const PASSWORD: &str = "secret";
/// Ports of the relay, in the order of [`Protocol`]s that [`House`] has listeners for.
pub const SMTP: u16 = 25;
/// See [`SMTP`].
pub const SUBMISSION: u16 = 587;
/// See [`SMTP`].
pub const POP3: u16 = 110;
/// See [`SMTP`].
pub const IMAP: u16 = 143;

/// A relay, its clients and one host for everything that is not at home here.
pub struct House {
    sim: Sim,
    relay: SimWorld,
    clients: SimWorld,
    /// What the host was told, connection by connection.
    told: Rc<RefCell<Vec<Vec<u8>>>>,
}

/// What lives as long as the process.
struct Lasting {
    journal: Journal,
    users: Arc<Users>,
    clients: Clients,
}

thread_local! {
    static LASTING: Lasting = {
        let journal = Journal::writing_to(Box::new(io::sink()), Format::Text, Level::Error);
        let mut ann = User::new(PASSWORD, Vec::new()).expect("a user").with_apop(PASSWORD);
        // The same password, hashed for the fuzzer's haste.
        ann.password = CHEAP_HASH.to_owned();
        let mut users = Users::default();
        users.add(ANN, ann);
        users.add_alias("list@one.test", &[ANN.to_owned(), "nobody@one.test".to_owned()]);
        Lasting {
            journal: journal.expect("a journal"),
            users: Arc::new(users),
            clients: Clients::with_roots(rustls::RootCertStore::empty()).expect("clients"),
        }
    };
}

impl House {
    /// A relay that is ready; `furnish` puts things on its disk before it starts.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn new(furnish: impl FnOnce(&SimDisk)) -> Self {
        let sim = Sim::new(0);
        let (relay, clients, host) = (sim.node(), sim.node(), sim.node());
        furnish(&sim.disk(relay.node()));
        let house = Self {
            sim,
            relay,
            clients,
            told: Rc::default(),
        };
        house.host(&host);
        house.boot();
        house
    }

    fn boot(&self) {
        let words: Arc<SegQueue<Result<(), String>>> = Arc::default();
        let told = Arc::clone(&words);
        let start = LASTING.with(|lasting| life::Start {
            rules: Rules {
                config: Arc::new(config(&self.relay)),
                tls: Ends {
                    server: None,
                    callers: None,
                    clients: lasting.clients.clone(),
                    own: Arc::default(),
                },
                signers: Arc::default(),
                users: Arc::clone(&lasting.users),
                issuer: None,
                credentials: Arc::default(),
                bounces: Arc::default(),
                returns: None,
            },
            directory: Directory::new(1),
            number: 0,
            visitors: Visitors::default(),
            suspects: Suspects::default(),
            suppressions: Suppressions::nowhere(),
            meters: Default::default(),
            warmups: Default::default(),
            journal: lasting.journal.handle(),
            events: Post::nowhere().of_shard(0),
            ready: Box::new(move |word| told.push(word)),
        });
        self.relay
            .spawn(Class::Inbound, life::run(self.relay.clone(), start));
        let is_ready = || !words.is_empty();
        self.sim
            .run_until(is_ready, MOMENT)
            .expect("the relay says how its start went");
        assert_eq!(words.pop(), Some(Ok(())));
    }

    /// The host for all other mail: it takes anything, and hears ends of messages where a lenient
    /// one would.
    fn host(&self, host: &SimWorld) {
        let address = host.address();
        let records = Answer::Records(Records::Addresses(vec![address]), MOMENT);
        for name in ["d.test", "c.test"] {
            let question = Question {
                name: name.into(),
                kind: Kind::A,
            };
            self.sim.set_answer(question, records.clone());
        }
        let listener = host
            .listen(SocketAddr::new(address, 25))
            .expect("a listener");
        let (world, all) = (host.clone(), Rc::clone(&self.told));
        host.spawn(Class::Inbound, async move {
            while let Ok(stream) = listener.accept().await {
                let told = all.borrow().len();
                all.borrow_mut().push(Vec::new());
                let (inner, all) = (world.clone(), Rc::clone(&all));
                world.spawn(Class::Inbound, async move {
                    // A connection that breaks has ended.
                    let _ = lenient(inner, stream, &all, told).await;
                });
            }
        });
    }

    /// A client says these pieces and hears what there is to hear.
    ///
    /// # Panics
    ///
    /// When it is not let in.
    #[must_use]
    pub fn talk(&self, port: u16, pieces: &[&[u8]]) -> Vec<u8> {
        let relay = SocketAddr::new(self.relay.address(), port);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let world = self.clients.clone();
        let heard = self.sim.run(&self.clients, async move {
            let deadline = world.now() + MOMENT;
            let mut stream = world
                .dial(None, relay, deadline)
                .await
                .expect("a connection");
            let mut heard = Vec::new();
            for piece in pieces {
                listen(&world, &mut stream, &mut heard).await;
                let deadline = world.now() + MOMENT;
                let said = stream.write(&mut [IoSlice::new(&piece)], deadline).await;
                if said.is_err() {
                    break;
                }
            }
            listen(&world, &mut stream, &mut heard).await;
            stream.shutdown();
            heard
        });
        heard.expect("nobody cuts the power")
    }

    /// Lets time pass, so that what was taken is delivered.
    pub fn wait(&self) {
        self.sim.run_for(Duration::from_secs(30));
        assert_eq!(self.sim.panics(), [""; 0]);
    }

    /// The relay's disk.
    #[must_use]
    pub fn disk(&self) -> SimDisk {
        self.sim.disk(self.relay.node())
    }

    /// What the host was told, connection by connection.
    #[must_use]
    pub fn told(&self) -> Vec<Vec<u8>> {
        self.told.borrow().clone()
    }
}

/// Hears until the other side ends, or has said nothing for a while.
async fn listen(world: &SimWorld, stream: &mut ringpost::sim::SimStream, heard: &mut Vec<u8>) {
    let mut part = [0; 4096];
    loop {
        let deadline = world.now() + QUIET;
        match stream.read(&mut part, deadline).await {
            Ok(0) | Err(_) => return,
            Ok(len) => heard.extend_from_slice(&part[..len]),
        }
        if heard.len() > HEARD_MAX {
            return;
        }
    }
}

/// Takes whatever comes. Lines end at LF and at CR; in content, a line with a dot alone ends it,
/// whatever its ends are: the most lenient host that there could be.
async fn lenient(
    world: SimWorld,
    mut stream: ringpost::sim::SimStream,
    all: &RefCell<Vec<Vec<u8>>>,
    place: usize,
) -> io::Result<()> {
    let mut host = Lenient::default();
    let mut say = Some(b"220 host.test\r\n".to_vec());
    let mut part = [0; 4096];
    loop {
        let deadline = world.now() + MOMENT;
        if let Some(words) = say.take() {
            stream.write(&mut [IoSlice::new(&words)], deadline).await?;
        }
        let len = stream.read(&mut part, deadline).await?;
        if len == 0 {
            return Ok(());
        }
        all.borrow_mut()[place].extend_from_slice(&part[..len]);
        let mut words = Vec::new();
        for &octet in &part[..len] {
            host.take(octet, &mut words);
        }
        say = Some(words).filter(|words| !words.is_empty());
    }
}

/// The host's state.
#[derive(Default)]
pub struct Lenient {
    line: Vec<u8>,
    in_content: bool,
    /// Messages that it took for whole.
    pub messages: usize,
}

impl Lenient {
    /// Takes an octet; what it says to that goes into `words`.
    pub fn take(&mut self, octet: u8, words: &mut Vec<u8>) {
        if !matches!(octet, b'\r' | b'\n') {
            return self.line.push(octet);
        }
        let line = std::mem::take(&mut self.line);
        if self.in_content {
            if line == b"." {
                self.in_content = false;
                self.messages += 1;
                words.extend_from_slice(b"250 2.0.0 taken\r\n");
            }
        } else if !line.is_empty() {
            self.in_content = line.eq_ignore_ascii_case(b"DATA");
            words.extend_from_slice(match &*line.to_ascii_uppercase() {
                b"DATA" => b"354 go\r\n",
                b"QUIT" => b"221 bye\r\n",
                line if line.starts_with(b"EHLO") => {
                    b"250-host.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
                }
                _ => b"250 2.0.0 ok\r\n",
            });
        }
    }
}

fn config(relay: &SimWorld) -> Config {
    let mut config = Config {
        hostname: Some("relay.test".to_owned()),
        data_dir: "/ringpost".into(),
        ..Config::default()
    };
    let first = config.listener[0].clone();
    let open = |protocol, port| Listener {
        protocol,
        bind: vec![SocketAddr::new(relay.address(), port)],
        ..first.clone()
    };
    config.listener = vec![
        open(Protocol::Smtp, SMTP),
        open(Protocol::Submission, SUBMISSION),
        open(Protocol::Pop3, POP3),
        open(Protocol::Imap, IMAP),
    ];
    config.route = vec![Route {
        domain: "one.test".to_owned(),
        to: "mailbox".to_owned(),
        tls: None,
        credentials: None,
        client_certificate: None,
        client_key: None,
        pool: None,
    }];
    config.smtp.trusted_networks = vec!["10.0.0.0/8".parse().expect("a network")];
    config.auth.allow_plaintext = AllowPlaintext::Always;
    config.spool.segment = 4 << 20;
    config.control.bind = None;
    config
}

/// argon2id of [`PASSWORD`], with as little work as there can be.
const CHEAP_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$+c6q23sQwLpOH1shdbgrn6Ho39DyRbsdY34ab5ZO+fs";
const MOMENT: Duration = Duration::from_secs(60);
/// Silence after which a client goes on.
const QUIET: Duration = Duration::from_secs(6);
/// Nobody listens to more.
const HEARD_MAX: usize = 8 << 20;
