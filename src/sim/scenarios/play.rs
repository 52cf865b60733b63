//! The stage of every scenario: one relay of several shards, clients, and hosts for five domains.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::queue::SegQueue;
use futures_channel::oneshot;
use rustls::{ClientConfig, RootCertStore};

use crate::bounces;
use crate::config::Config;
use crate::mail::verp;
use crate::observe::ask::{Act, Ask, Facts, Order, Selector, Tell};
use crate::observe::events::Post;
use crate::observe::explained::Explained;
use crate::observe::log::{Format, Journal, Level};
use crate::route::dns::{Answer, Kind, Question, Records};
use crate::shard::Warmups;
use crate::shard::clients::suspects::Suspects;
use crate::shard::clients::visitors::Visitors;
use crate::shard::life;
use crate::shard::life::rules::Rules;
use crate::shard::mesh::{Directory, Ending, Letter};
use crate::sim::check::{Terms, broken_promises};
use crate::sim::disk::{Faults, SimDisk};
use crate::sim::peers::client::Client;
use crate::sim::peers::exchanger::{Exchanger, Mood};
use crate::sim::peers::guard::{Keys, Trick, Trust};
use crate::sim::peers::ledger::Ledger;
use crate::sim::peers::provider::Provider;
use crate::sim::random::Random;
use crate::sim::{NodeId, PLANNED_PANIC, Sim, SimWorld, Temptation, Weather};
use crate::suppress::{Suppressions, Work};
use crate::tls::Ends;
use crate::tls::client::Clients;
use crate::users::Users;
use crate::wire::path::Mailbox;
use crate::world::{Class, World as _};

/// A relay and everybody around it.
pub(super) struct Play {
    pub(super) sim: Sim,
    pub(super) relay: NodeId,
    pub(super) ledger: Ledger,
    /// Whose the hosts of each domain are.
    pub(super) providers: BTreeMap<&'static str, Provider>,
    /// The mood of every host.
    pub(super) mood: Rc<Cell<Mood>>,
    pub(super) terms: Terms,
    /// Who may log in.
    pub(super) users: Arc<Users>,
    config: Arc<Config>,
    tls: Ends,
    /// How clients speak TLS.
    clients_tls: Option<Arc<ClientConfig>>,
    shards: Cell<usize>,
    directory: RefCell<Directory>,
    journal: Journal,
    clients: SimWorld,
    clients_left: Rc<Cell<usize>>,
    clients_begun: Cell<usize>,
    /// Shards of this life that have ended.
    ended: Rc<Cell<usize>>,
    /// Who gets no mail, in this life.
    pub(super) suppressions: Rc<RefCell<Suppressions>>,
    /// The keeper of that has ended.
    keeper_ended: Rc<Cell<bool>>,
    /// What replies mean.
    bounces: Arc<bounces::Rules>,
    /// What proves return paths.
    returns: Option<Arc<verp::Keys>>,
}

impl Play {
    /// The stage, everybody kind; the relay is not started.
    pub(super) fn new(seed: u64, shards: usize) -> Self {
        Self::with(seed, shards, |_| {})
    }

    /// The same, with a configuration of its own.
    pub(super) fn with(seed: u64, shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        Self::on_stage(seed, shards, None, change)
    }

    /// The same, where everybody speaks TLS with these keys.
    pub(super) fn guarded(
        seed: u64,
        shards: usize,
        keys: &Rc<Keys>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::on_stage(seed, shards, Some(keys), change)
    }

    fn on_stage(
        seed: u64,
        shards: usize,
        keys: Option<&Rc<Keys>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let sim = Sim::new(seed);
        let relay = sim.node();
        let (clients, hosts) = (sim.node(), sim.node());
        let mut config = config(relay.address());
        change(&mut config);
        let terms = Terms {
            connections_max: config.delivery.connections_per_destination,
            retry_wait_min: config.queue.retry[0] * 3 / 4,
            retry_wait_max: Duration::MAX,
            expire: config.queue.expire,
            now: Duration::ZERO,
            settle_lag: SETTLE_LAG,
            has_ended: true,
            disk_failed: false,
            return_domain: None,
            trust: Trust::Plain,
        };
        let tells = std::env::var_os("RINGPOST_TELL").is_some();
        let output: Box<dyn io::Write + Send> = if tells {
            Box::new(io::stderr())
        } else {
            Box::new(io::sink())
        };
        let journal = Journal::writing_to(output, Format::Text, Level::Debug).unwrap();
        let roots = keys.map_or_else(RootCertStore::empty, |keys| keys.roots.clone());
        let clients_of_hosts = Clients::with_roots(roots).unwrap();
        let (returns, bounces) = of_returns(&config);
        let play = Self {
            clients_tls: keys.map(|_| Arc::clone(&clients_of_hosts.verified)),
            tls: Ends {
                server: keys.map(|keys| Arc::clone(&keys.relay)),
                clients: clients_of_hosts,
                callers: None,
                own: Arc::default(),
            },
            relay: relay.node(),
            ledger: Ledger::default(),
            providers: DOMAINS
                .map(|(domain, _)| (domain, Provider::default()))
                .into(),
            mood: Rc::new(Cell::new(Mood::KIND)),
            terms,
            users: Arc::default(),
            config: Arc::new(config),
            shards: Cell::new(shards),
            directory: RefCell::new(Directory::new(shards)),
            journal,
            clients,
            clients_left: Rc::default(),
            clients_begun: Cell::new(0),
            ended: Rc::default(),
            suppressions: Rc::new(RefCell::new(Suppressions::nowhere())),
            keeper_ended: Rc::default(),
            bounces,
            returns,
            sim,
        };
        for (domain, addresses) in DOMAINS {
            play.open_domain(&hosts, keys, domain, addresses);
        }
        play
    }

    /// A domain whose first address is its first mail exchanger, and so on.
    fn open_domain(&self, hosts: &SimWorld, keys: Option<&Rc<Keys>>, domain: &str, last: &[u8]) {
        let addresses: Rc<[IpAddr]> = last.iter().map(|last| address(*last)).collect();
        let mut exchanges = Vec::new();
        for (place, ip) in addresses.iter().enumerate() {
            let name = format!("mx{place}.{domain}");
            let records = Records::Addresses(vec![*ip]);
            self.say(&name, Kind::A, Answer::Records(records, TTL));
            exchanges.push((10 * place as u16, name.into()));
            let exchanger = Exchanger {
                world: hosts.clone(),
                at: SocketAddr::new(*ip, 25),
                destination: (domain.into(), Rc::clone(&addresses)),
                ledger: self.ledger.clone(),
                provider: self.providers.get(domain).cloned().unwrap_or_default(),
                mood: Rc::clone(&self.mood),
                keys: keys.map(Rc::clone),
                takes_reports: domain == SENDERS,
            };
            exchanger.start().unwrap();
        }
        self.say(
            domain,
            Kind::Mx,
            Answer::Records(Records::Mx(exchanges), TTL),
        );
    }

    /// What the DNS says from now on.
    pub(super) fn say(&self, name: &str, kind: Kind, answer: Answer) {
        let name = name.into();
        self.sim.set_answer(Question { name, kind }, answer);
    }

    /// Where the relay takes mail.
    pub(super) fn door(&self) -> SocketAddr {
        self.config.listener[0].bind[0]
    }

    /// Where clients run.
    pub(super) fn clients(&self) -> &SimWorld {
        &self.clients
    }

    pub(super) fn random(&self) -> Rc<Random> {
        self.sim.random()
    }

    pub(super) fn disk(&self) -> SimDisk {
        self.sim.disk(self.relay)
    }

    /// Starts the relay and waits until it is ready; false when the power went before.
    pub(super) fn boot(&self) -> bool {
        match self.start() {
            Some(Err(why)) => panic!("{}: no start: {why}", self.seed()),
            started => started.is_some(),
        }
    }

    /// Starts the relay and waits until it is ready, or says why it cannot start; `None` when the power
    /// went before.
    fn start(&self) -> Option<Result<(), String>> {
        let world = self.sim.boot(self.relay);
        let directory = Directory::new(self.shards.get());
        *self.directory.borrow_mut() = directory.clone();
        let visitors = Visitors::default();
        let suspects = Suspects::default();
        let warmups = Warmups::default();
        self.ended.set(0);
        let suppressions = match self.keep_suppressions(&world) {
            _ if self.disk().is_off() => {
                self.sim.power_cut(self.relay);
                return None;
            }
            Ok(suppressions) => suppressions,
            Err(error) => return Some(Err(error.to_string())),
        };
        self.suppressions.replace(suppressions.clone());
        let words: Arc<SegQueue<Result<(), String>>> = Arc::default();
        for number in 0..self.shards.get() {
            let told = Arc::clone(&words);
            let start = life::Start {
                rules: Rules {
                    credentials: Arc::default(),
                    bounces: Arc::clone(&self.bounces),
                    returns: self.returns.clone(),
                    config: Arc::clone(&self.config),
                    tls: self.tls.clone(),
                    signers: Arc::default(),
                    users: Arc::clone(&self.users),
                    issuer: None,
                },
                directory: directory.clone(),
                number,
                visitors: visitors.clone(),
                suspects: suspects.clone(),
                suppressions: suppressions.clone(),
                meters: Default::default(),
                warmups: warmups.clone(),
                journal: self.journal.handle(),
                events: Post::nowhere().of_shard(number),
                ready: Box::new(move |word| told.push(word)),
            };
            let (own, ended) = (world.of_shard(number), Rc::clone(&self.ended));
            world.of_shard(number).spawn_as("shard", async move {
                life::run(own, start).await;
                ended.set(ended.get() + 1);
            });
        }
        let ready = || words.len() == self.shards.get() || !world.is_alive();
        self.run_until("the relay is ready", ready, Duration::from_secs(600));
        if !world.is_alive() {
            return None;
        }
        let words = std::iter::from_fn(|| words.pop());
        Some(words.collect())
    }

    /// Reads the suppression list, where there is to be one, and keeps it from now on.
    fn keep_suppressions(&self, world: &SimWorld) -> io::Result<Suppressions> {
        let terms = &self.config.suppression;
        self.keeper_ended.set(terms.on.is_empty());
        if terms.on.is_empty() {
            return Ok(Suppressions::nowhere());
        }
        let data = &self.config.data_dir;
        self.disk().make_directory(data)?;
        let (disk, log) = (world.clone(), self.journal.handle());
        let (suppressions, work) = Work::open(move || disk.clone(), data, terms.max, log)?;
        let (own, ended) = (world.of_shard(usize::MAX), Rc::clone(&self.keeper_ended));
        world
            .of_shard(usize::MAX)
            .spawn_as("suppressions", async move {
                work.attend(own).await;
                ended.set(true);
            });
        Ok(suppressions)
    }

    /// Starts the relay on a disk that may be bad: false where it says that it cannot.
    pub(super) fn may_boot(&self) -> bool {
        self.start() == Some(Ok(()))
    }

    /// From the next start on there are so many shards.
    pub(super) fn set_shards(&self, shards: usize) {
        self.shards.set(shards);
    }

    /// Starts it as often as it takes.
    pub(super) fn boot_surely(&self) {
        while !self.boot() {
            self.note_crash();
        }
    }

    /// Cuts the relay's power, or kills it, as the seed says.
    pub(super) fn crash(&self) {
        if self.random().permille(700) {
            self.sim.power_cut(self.relay);
        } else {
            self.sim.kill(self.relay);
        }
        self.note_crash();
    }

    /// Lets the power fail within the next so many operations that change something on the disk.
    pub(super) fn cut_power_within(&self, operations: u64) {
        let cut_at = Some(1 + self.random().below(operations));
        self.disk().set_faults(Faults {
            cut_at,
            ..Faults::default()
        });
    }

    /// The same, waits for it, and starts the relay again. False where the clients were done before.
    pub(super) fn lose_power_within(&self, operations: u64) -> bool {
        self.cut_power_within(operations);
        let world = self.sim.boot(self.relay);
        let gone = || !world.is_alive() || self.clients_are_done();
        self.run_until("the power goes", gone, Duration::from_secs(3600));
        if world.is_alive() {
            return false;
        }
        self.note_crash();
        self.boot_surely();
        true
    }

    pub(super) fn note_crash(&self) {
        let now = self.sim.elapsed();
        self.ledger.write(|entries| entries.crashes.push(now));
    }

    /// Asks the relay to end, and waits for it.
    pub(super) fn drain(&self) {
        for shard in 0..self.shards.get() {
            let posted = self.directory.borrow().post(shard, Letter::Drain(ENDING));
            assert!(posted.is_ok(), "{}: an inbox is full", self.seed());
        }
        let gone = || self.ended.get() == self.shards.get();
        self.run_until("the relay has ended", gone, Duration::from_secs(60));
        self.suppressions.borrow().end();
        let gone = || self.keeper_ended.get();
        self.run_until("the list is kept", gone, Duration::from_secs(60));
        self.sim.kill(self.relay);
        self.note_crash();
    }

    /// A shard ends by itself, and the others with it, as the process has it.
    pub(super) fn lose_shard(&self, shard: usize) {
        self.sim.kill_shard(self.relay, shard);
        let others = (0..self.shards.get()).filter(|other| *other != shard);
        for other in others {
            let posted = self.directory.borrow().post(other, Letter::Drain(ENDING));
            assert!(posted.is_ok(), "{}: an inbox is full", self.seed());
        }
        let gone = || self.ended.get() + 1 == self.shards.get();
        self.run_until("the others have ended", gone, Duration::from_secs(60));
        self.sim.kill(self.relay);
        self.note_crash();
    }

    /// Lets a task of the relay panic where it uses the world for the so manieth time.
    pub(super) fn tempt(&self, label: &'static str, after: u64) {
        self.sim.tempt(Some(Temptation {
            node: self.relay,
            label,
            after,
        }));
    }

    /// Lets another client hand in so many messages to these domains.
    pub(super) fn client(
        &self,
        messages: usize,
        domains: &[&str],
        breaks_permille: u32,
        body_max: u64,
    ) {
        self.tricky_client(messages, domains, (breaks_permille, None), body_max);
    }

    /// The same of one that breaks off so often, or does this whenever TLS begins.
    pub(super) fn tricky_client(
        &self,
        messages: usize,
        domains: &[&str],
        (breaks_permille, trick): (u32, Option<Trick>),
        body_max: u64,
    ) {
        let number = self.clients_begun.get();
        self.clients_begun.set(number + 1);
        let client = Client {
            world: self.clients.clone(),
            relay: self.config.listener[0].bind[0],
            ledger: self.ledger.clone(),
            number,
            domains: domains.iter().map(|domain| Rc::from(*domain)).collect(),
            sender_domain: SENDERS.into(),
            breaks_permille,
            body_max,
            tls: self.clients_tls.clone(),
            trick,
        };
        let left = Rc::clone(&self.clients_left);
        left.set(left.get() + 1);
        self.clients.spawn(Class::Inbound, async move {
            client.run(messages).await;
            left.set(left.get() - 1);
        });
    }

    /// Waits until every client has handed in what it has.
    pub(super) fn finish_clients(&self) {
        let left = Rc::clone(&self.clients_left);
        self.run_until(
            "clients are done",
            || left.get() == 0,
            Duration::from_secs(86_400),
        );
    }

    pub(super) fn clients_are_done(&self) -> bool {
        self.clients_left.get() == 0
    }

    /// What each shard says of itself.
    pub(super) fn facts(&self) -> Vec<Facts> {
        let told = self.ask(&Ask::Facts).into_iter();
        told.filter_map(|told| match told {
            Tell::Facts(facts) => Some(*facts),
            _ => None,
        })
        .collect()
    }

    /// Asks every shard. One that dies meanwhile says nothing.
    fn ask(&self, ask: &Ask) -> Vec<Tell> {
        let mut answers = Vec::new();
        for shard in 0..self.shards.get() {
            let (reply, answer) = oneshot::channel();
            let letter = Letter::Ask(ask.clone(), reply);
            let posted = self.directory.borrow().post(shard, letter);
            assert!(posted.is_ok(), "{}: an inbox is full", self.seed());
            answers.push(answer);
        }
        let mut told = Vec::new();
        let all = || {
            answers.retain_mut(|answer| match answer.try_recv() {
                Ok(None) => true,
                Ok(Some(word)) => {
                    told.push(word);
                    false
                }
                Err(_) => false,
            });
            answers.is_empty()
        };
        self.run_until("the shards answer", all, Duration::from_secs(60));
        told
    }

    /// How mail to an address would travel, as all shards together know it.
    pub(super) fn explain(&self, address: &str) -> Explained {
        let mailbox = Mailbox::parse(address.as_bytes(), false).unwrap();
        let told = self
            .ask(&Ask::Explain {
                mailbox,
                tenant: None,
            })
            .into_iter();
        let told = told.filter_map(|told| match told {
            Tell::Explained(explained) => Some(*explained),
            _ => None,
        });
        let whole = told.reduce(|mut first, other| {
            first.merge(other);
            first
        });
        whole.unwrap()
    }

    /// Recipients that are not settled, by message and address: attempts counted, and held or not.
    pub(super) fn waiting(&self) -> BTreeMap<(String, String), (u16, bool)> {
        let told = self.ask(&Ask::List {
            selector: Selector::default(),
            limit: usize::MAX,
        });
        let entries = told.into_iter().flat_map(|told| match told {
            Tell::List(entries) => entries,
            _ => Vec::new(),
        });
        let mut waiting = BTreeMap::new();
        for entry in entries {
            for one in entry.recipients {
                let known = (one.attempts, one.state == "held");
                waiting.insert((entry.id.clone(), one.address), known);
            }
        }
        waiting
    }

    /// Gives an operator's order.
    pub(super) fn order(&self, act: Act, selector: Selector) -> u64 {
        let told = self.ask(&Ask::Act(Order {
            act,
            selector,
            dry_run: false,
            for_good: false,
            into: None,
            change: self.clients.wall().0,
        }));
        let messages = told.iter().map(|told| match told {
            Tell::Acted(acted) => acted.messages,
            _ => 0,
        });
        messages.sum()
    }

    /// Lets the relay end everything it has: hosts kind, the weather calm.
    pub(super) fn finish(&self) {
        self.mood.set(Mood::KIND);
        self.sim.set_weather(Weather::CALM);
        let until = self.sim.elapsed() + QUEUE_END_WAIT;
        loop {
            self.sim.run_for(Duration::from_secs(15));
            let facts = self.facts();
            let queued: u64 = facts.iter().map(|one| one.messages_queued).sum();
            if queued == 0 {
                break;
            }
            assert!(
                self.sim.elapsed() < until,
                "{}: {queued} messages never end",
                self.seed()
            );
        }
        // Whatever would come twice may come now.
        self.sim.run_for(AFTERWARDS);
    }

    /// Promises that were not kept.
    pub(super) fn broken(&self) -> Vec<String> {
        let terms = Terms {
            now: self.sim.elapsed(),
            ..self.terms
        };
        self.ledger.read(|entries| broken_promises(entries, &terms))
    }

    /// The end of most plays: clients hand in what they have, the relay ends what it has, all is judged.
    pub(super) fn conclude(&self) {
        self.finish_clients();
        self.finish();
        self.judge();
    }

    /// Asserts that every promise was kept.
    pub(super) fn judge(&self) {
        let broken = self.broken();
        assert!(broken.is_empty(), "{}:\n{}", self.seed(), broken.join("\n"));
        let mut panics = self.sim.panics();
        panics.retain(|said| !said.ends_with(PLANNED_PANIC));
        assert!(panics.is_empty(), "{}:\n{}", self.seed(), panics.join("\n"));
        let octets = self.disk().used_octets();
        let most = DISK_OCTETS_MAX * self.shards.get() as u64;
        assert!(
            octets <= most,
            "{}: an empty queue takes {octets} octets",
            self.seed()
        );
        for facts in self.facts() {
            let off = facts.counters.difference();
            assert_eq!(off, 0, "{}: accounts are off by {off}", self.seed());
            let used = facts.memory_used;
            assert_eq!(
                used,
                0,
                "{}: an idle shard holds {used} octets",
                self.seed()
            );
        }
    }

    pub(super) fn run_until(&self, what: &str, condition: impl FnMut() -> bool, at_most: Duration) {
        if let Err(why) = self.sim.run_until(condition, at_most) {
            panic!("{}: waiting until {what}: {why}", self.seed());
        }
    }

    pub(super) fn seed(&self) -> String {
        format!("seed {}", self.sim.seed())
    }
}

/// What proves return paths, and what replies mean, where that is asked for.
fn of_returns(config: &Config) -> (Option<Arc<verp::Keys>>, Arc<bounces::Rules>) {
    let returns = config.takes_returns().then(|| {
        let keys = verp::Keys::parse("a secret of this play, and of nobody else");
        Arc::new(keys.unwrap())
    });
    let bounces = match config.suppression.on.is_empty() {
        true => bounces::Rules::default(),
        false => config.bounces.read().unwrap(),
    };
    (returns, Arc::new(bounces))
}

fn config(relay: IpAddr) -> Config {
    let mut config = Config {
        hostname: Some("relay.test".to_owned()),
        data_dir: "/ringpost".into(),
        ..Config::default()
    };
    config.listener[0].bind = vec![SocketAddr::new(relay, 25)];
    config.smtp.trusted_networks = vec!["10.0.0.0/8".parse().unwrap()];
    config.delivery.connections_per_destination = 3;
    config.queue.retry = [20, 40, 60].map(Duration::from_secs).to_vec();
    config.queue.expire = Duration::from_secs(3 * 3600);
    config.queue.delay_notice = None;
    config.spool.segment = 4 << 20;
    config.control.bind = None;
    config
}

/// An address of a host.
pub(super) fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// Domains and the last octets of their hosts' addresses.
pub(super) const DOMAINS: [(&str, &[u8]); 4] = [
    ("one.test", &[11, 12]),
    ("two.test", &[21]),
    ("three.test", &[31, 32, 33]),
    (SENDERS, &[41]),
];
/// The domain of return paths.
pub(super) const RETURNS: &str = "returns.test";
/// Where reports go.
pub(super) const SENDERS: &str = "senders.test";
/// The domains that mail is for.
pub(super) const EVERYWHERE: [&str; 3] = ["one.test", "two.test", "three.test"];
/// How the process ends its shards.
const ENDING: Ending = Ending {
    within: Duration::from_secs(8),
    leaves_sockets: false,
};
const TTL: Duration = Duration::from_secs(300);
/// How long the log may take to write down an outcome for which nobody waits.
const SETTLE_LAG: Duration = Duration::from_secs(2);
/// Sessions that hang, and their retries.
const QUEUE_END_WAIT: Duration = Duration::from_secs(4 * 3600);
const AFTERWARDS: Duration = Duration::from_secs(150);
/// What a shard keeps when it has nothing: the segment it writes, one made ready, and those that
/// are not yet swept.
const DISK_OCTETS_MAX: u64 = 16 << 20;
