//! How a shard starts, what it listens to while it runs, and how it ends.
//!
//! ```text
//! open the log ─► recover ─► adopt what gone shards left ─► queue ─► listen ─► ready
//!      drain: listeners closed ─► sessions and deliveries end ─► log synced ─► gone
//! ```

mod adopt;
pub(super) mod budget;
pub(super) mod gate;
mod line;
pub(super) mod lookout;
pub(super) mod pulse;
pub mod rules;
pub(super) mod settings;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;

use super::Shard;
use crate::config::{Config, Durability};
use crate::mailbox::Accounts;
use crate::observe::ask::Tell;
use crate::observe::events::Events;
use crate::observe::log as journal;
use crate::observe::stage::{Recorder, Stage};
use crate::progress::Progress;
use crate::queue::Queue;
use crate::shard::clients::door::{self, Door};
use crate::shard::clients::suspects::Suspects;
use crate::shard::clients::tenants::{Customers, Meters};
use crate::shard::clients::visitors::Visitors;
use crate::shard::mesh::{Directory, Ending, Letter, Mesh};
use crate::shard::outbound::bell::Bell;
use crate::shard::outbound::pace::Paces;
use crate::shard::outbound::permits::Permits;
use crate::shard::outbound::warmup::Warmups;
use crate::shard::outbound::warmup::keep::KEEPER;
use crate::shard::settle::refusals::Refusals;
use crate::spool::log::{self, CommitFacts, Log, MessageState, Recovery};
use crate::suppress::Suppressions;
use crate::world::{Class, Listener as _, Tick, World, survive};

use budget::Budget;
use gate::Gate;
use pulse::Commits;
use rules::Rules;
use settings::Settings;

/// What a shard is given to start with.
pub struct Start {
    /// What it goes by.
    pub rules: Rules,
    /// Every shard's inbox.
    pub directory: Directory,
    /// This shard's number.
    pub number: usize,
    /// Connections of clients, counted over all shards.
    pub visitors: Visitors,
    /// Who has failed to log in, counted over all shards.
    pub suspects: Suspects,
    /// Who gets no mail, of all shards.
    pub suppressions: Suppressions,
    /// How much has come of each tenant, over all shards.
    pub meters: Meters,
    /// What sources on their warm-up may still send, over all shards.
    pub warmups: Warmups,
    /// Where its log lines go.
    pub journal: journal::Log,
    /// What other programs are told.
    pub events: Events,
    /// Told once: ready, or why not.
    pub ready: Box<dyn FnOnce(Result<(), String>) + Send>,
}

/// Runs a shard to its end.
pub async fn run<W: World>(world: W, start: Start) {
    let Start {
        mut rules,
        directory,
        number,
        visitors,
        suspects,
        suppressions,
        meters,
        warmups,
        journal,
        events,
        ready,
    } = start;
    rules.tls.clients = rules.tls.clients.for_shard();
    let shards = directory.shards();
    let config = Arc::clone(&rules.config);
    let refusals = Refusals::new(suppressions);
    let crowds = (visitors, suspects, refusals, meters, warmups);
    let opened = open(&world, rules, directory, number, crowds, (journal, events)).await;
    let (shard, recovery) = match opened {
        Ok(opened) => opened,
        Err(why) => return ready(Err(why)),
    };
    shard.take_back(&recovery);
    drop(recovery);
    if let Err(why) = shard.adopt(&spool_root(&config), number, shards).await {
        return ready(Err(why));
    }
    shard.recall_lessons().await;
    let doors = match shard.open_doors(&config) {
        Ok(doors) => doors,
        Err(why) => return ready(Err(why)),
    };
    for door in &doors {
        let door = Rc::clone(door);
        shard.keep(Class::Inbound, move |shard| {
            door::accept(shard, Rc::clone(&door))
        });
    }
    shard.keep(Class::Outbound, Shard::keep_time);
    shard.keep(Class::Chores, Shard::keep_house);
    shard.keep(Class::Chores, Shard::keep_lessons);
    if number == KEEPER {
        shard.keep(Class::Chores, Shard::keep_warmups);
    }
    shard.pump();
    ready(Ok(()));
    shard.listen(&doors).await;
    shard.drain().await;
}

fn new_recorder() -> Result<Rc<RefCell<Recorder>>, String> {
    let recorder = Recorder::new().map(|recorder| Rc::new(RefCell::new(recorder)));
    recorder.map_err(|error| format!("histograms cannot be made: {error}"))
}

/// What the shards count together.
type Crowds = (Visitors, Suspects, Refusals, Meters, Warmups);

async fn open<W: World>(
    world: &W,
    rules: Rules,
    directory: Directory,
    number: usize,
    (visitors, suspects, refusals, meters, warmups): Crowds,
    (journal, events): (journal::Log, Events),
) -> Result<(Rc<Shard<W>>, Recovery), String> {
    let config = &Arc::clone(&rules.config);
    let recorder = new_recorder()?;
    let arriving: Rc<Cell<usize>> = Rc::default();
    // The log tells of moved messages, and exists before the queue that is told.
    let home: Rc<RefCell<Weak<Shard<W>>>> = Rc::default();
    let (commits, on_commit) = count_commits(&recorder);
    let told = (number, directory.reading());
    let settings = log_settings(config, told, &home, &arriving, on_commit);
    let (log, recovery) = open_log(world, spool_of(config, number), settings).await?;
    let permits = Permits::new(Rc::new(Mesh::new(directory, number)));
    let shard = Rc::new(Shard {
        world: world.clone(),
        log,
        queue: RefCell::new(Queue::new(settings::queue_settings(config))),
        lookout: Default::default(),
        bell: Bell::new(),
        paces: Paces::new(permits.clone()),
        budget: budget_for(config, permits.mesh().shards()),
        mesh: Rc::clone(permits.mesh()),
        permits,
        ways: Default::default(),
        sources: Default::default(),
        warmups,
        names: Default::default(),
        hosts: Default::default(),
        idle: Default::default(),
        resident: Default::default(),
        buffers: Default::default(),
        visits: Gate::default(),
        visitors,
        talkers: Default::default(),
        lodgers: Default::default(),
        accounts: accounts(world, config, journal.clone()),
        full: Default::default(),
        suspects,
        couriers: Gate::default(),
        settings: RefCell::new(Rc::new(Settings::new(rules))),
        arriving,
        rerouted: Cell::new(false),
        recorder,
        pulse: Default::default(),
        commits,
        journal,
        history: Default::default(),
        followers: Default::default(),
        events,
        endings: Default::default(),
        messages_accepted: Cell::new(0),
        signing: Default::default(),
        verified: Default::default(),
        messages_disowned: Default::default(),
        tls: Default::default(),
        preflights: Default::default(),
        refusals,
        customers: Customers::new(meters),
        pace: Default::default(),
        asks_for_sources: Cell::default(),
        ends_by: Cell::new(Tick::NEVER),
    });
    *home.borrow_mut() = Rc::downgrade(&shard);
    Ok((shard, recovery))
}

/// The mailboxes.
fn accounts<W: World>(world: &W, config: &Config, journal: journal::Log) -> Accounts<W> {
    let place = config.data_dir.join(&config.mailboxes.dir);
    let limit = settings::mailbox_limit(config);
    let tell = move |words: fmt::Arguments<'_>| journal.say(journal::Level::Info, words);
    Accounts::new(world, &place, &config.hostname(), limit, tell)
}

/// Reads what is there of the shard's log.
async fn open_log<W: World>(
    world: &W,
    place: PathBuf,
    settings: log::Settings,
) -> Result<(Log<W>, Recovery), String> {
    Log::open(world.clone(), place.clone(), settings)
        .await
        .map_err(|error| format!("{}: {error}", place.display()))
}

/// What one of so many shards may hold in memory.
fn budget_for(config: &Config, shards: usize) -> Budget {
    let memory = usize::try_from(config.runtime.memory).unwrap_or(usize::MAX);
    Budget::new(memory / shards.max(1))
}

/// What the log is told, and whom it tells.
fn log_settings<W: World>(
    config: &Config,
    (number, progress): (usize, &Progress),
    home: &Rc<RefCell<Weak<Shard<W>>>>,
    arriving: &Rc<Cell<usize>>,
    on_commit: Box<dyn Fn(CommitFacts)>,
) -> log::Settings {
    let (moved, state, arriving) = (Rc::clone(home), Rc::clone(home), Rc::clone(arriving));
    log::Settings {
        shard: u16::try_from(number).unwrap_or(u16::MAX),
        segment_octets: config.spool.segment,
        durable: config.spool.durability == Durability::Fsync,
        arriving: Box::new(move || arriving.get()),
        progress: progress.clone(),
        on_commit,
        on_move: Box::new(move |id, locator| {
            let Some(shard) = moved.borrow().upgrade() else {
                return;
            };
            let mut queue = shard.queue.borrow_mut();
            if let Some(message) = queue.find(id) {
                queue.relocate(message, locator);
            }
        }),
        state: Box::new(move |id| {
            let shard = state.borrow().upgrade();
            shard.map_or_else(MessageState::default, |shard| shard.state_of(id))
        }),
    }
}

/// What is counted of commits, and what the log tells of each.
fn count_commits(recorder: &Rc<RefCell<Recorder>>) -> (Rc<Commits>, Box<dyn Fn(CommitFacts)>) {
    let commits: Rc<Commits> = Rc::default();
    let (sums, recorder) = (Rc::clone(&commits), Rc::clone(recorder));
    let on_commit = move |facts: CommitFacts| {
        sums.count(facts);
        let records = u64::from(facts.records);
        let recorder = &mut *recorder.borrow_mut();
        recorder.record_count(Stage::CommitBatch, records);
        if let Some(took) = facts.disk {
            recorder.record(Stage::CommitDisk, took);
        }
    };
    (commits, Box::new(on_commit))
}

/// The directory of a shard's log.
fn spool_of(config: &Config, number: usize) -> PathBuf {
    spool_root(config).join(format!("{number:02}"))
}

fn spool_root(config: &Config) -> PathBuf {
    config.data_dir.join("spool")
}

impl<W: World> Shard<W> {
    /// Queues what recovery found, and says what it was.
    pub(super) fn take_back(self: &Rc<Self>, recovery: &Recovery) {
        for damage in &recovery.damage {
            self.warn(format_args!("spool: {damage}"));
        }
        let found = recovery.messages.len();
        if found > 0 || recovery.torn_octets > 0 {
            self.say(format_args!(
                "spool: {found} messages found in {} segments, {} octets of unfinished writes dropped",
                recovery.segments, recovery.torn_octets
            ));
        }
        for message in &recovery.messages {
            self.readmit(message);
        }
    }

    fn open_doors(&self, config: &Config) -> Result<Vec<Rc<Door<W>>>, String> {
        let mut doors = Vec::new();
        for listener in &config.listener {
            for &at in &listener.bind {
                let first = self.door(at)?;
                let beside = self.world.listen_beside(at);
                let beside = beside.map_err(|error| cannot_listen(at, &error))?;
                let sockets = [first].into_iter().chain(beside);
                doors.extend(sockets.map(|socket| Rc::new(Door::new(socket, listener))));
            }
        }
        Ok(doors)
    }

    fn door(&self, at: SocketAddr) -> Result<W::Listener, String> {
        let listener = self.world.listen(at);
        listener.map_err(|error| cannot_listen(at, &error))
    }

    /// Takes letters until one says to end.
    async fn listen(self: &Rc<Self>, doors: &[Rc<Door<W>>]) {
        loop {
            match self.mesh.receive().await {
                Letter::Drain(ending) => {
                    self.hurry(ending);
                    break self.close_doors(doors, ending);
                }
                letter => self.open_letter(letter),
            }
        }
        let shard = Rc::clone(self);
        // Permits and questions still want answers while the last ones leave.
        self.world.spawn(Class::Chores, async move {
            loop {
                let letter = shard.mesh.receive().await;
                shard.open_letter(letter);
            }
        });
    }

    /// Lets nobody in any more. Not a turn passes in between: a client that were accepted and had no
    /// pass would be lost.
    fn close_doors(&self, doors: &[Rc<Door<W>>], ending: Ending) {
        for door in doors {
            if ending.leaves_sockets {
                door.listener.leave();
            } else {
                door.listener.close();
            }
        }
        self.visits.close();
        self.couriers.close();
    }

    /// The end is not later than this wants it.
    fn hurry(&self, ending: Ending) {
        let until = self.world.now() + ending.within;
        self.ends_by.set(self.ends_by.get().min(until));
    }

    /// Begins a task that must not end before the shard does.
    fn keep<T: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        class: Class,
        task: impl Fn(Rc<Self>) -> T + 'static,
    ) {
        let shard = Rc::clone(self);
        self.world.spawn(class, async move {
            survive(&shard.world, || task(Rc::clone(&shard))).await;
        });
    }

    /// Does what a letter says. A panic over it is the end of that letter, and not of the shard.
    fn open_letter(self: &Rc<Self>, letter: Letter) {
        self.unharmed(|| self.obey(letter));
    }

    fn obey(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::Permits {
                from,
                destination,
                word,
            } => self.permits.hear(from, destination, word),
            Letter::Pace {
                from,
                destination,
                word,
            } => {
                let now = self.world.now();
                self.paces.hear(now, from, destination, word);
            }
            Letter::Ask(ask, reply) => {
                let shard = Rc::clone(self);
                self.world.spawn(Class::Chores, async move {
                    let tell: Tell = shard.answer(ask).await;
                    // The control plane may have stopped waiting.
                    let _ = reply.send(tell);
                });
            }
            Letter::Guest(guest) => self.welcome(*guest),
            Letter::Mailbox(user, word) => self.hear_of_mailbox(user, word),
            Letter::Reload(rules, taken) => {
                self.reload(rules);
                drop(taken);
            }
            Letter::Drain(ending) => self.hurry(ending),
        }
    }

    fn reload(&self, mut rules: Rules) {
        let config = &rules.config;
        self.queue
            .borrow_mut()
            .set_settings(settings::queue_settings(config));
        self.accounts.set_limit(settings::mailbox_limit(config));
        let ours = self.settings().tls.clients.clone();
        rules.tls.clients = if rules.tls.clients.trusts_as(&ours) {
            // They know sessions to resume.
            ours
        } else {
            rules.tls.clients.for_shard()
        };
        let new = Settings::new(rules);
        self.accounts.set_host(&new.hostname);
        let old = self.settings();
        let tenants = new.config.tenant == old.config.tenant;
        let is_same = tenants && new.routes == old.routes && new.pools == old.pools;
        if !is_same || new.hostname != old.hostname {
            self.rerouted.set(true);
        }
        *self.settings.borrow_mut() = Rc::new(new);
        self.ask_for_warmups();
        self.sources.begin_day();
        self.limit_anew();
    }

    /// Lets everybody leave, but not for ever, and leaves everything on the disk.
    async fn drain(self: &Rc<Self>) {
        let gone = async {
            self.visits.empty().await;
            self.couriers.empty().await;
        };
        let over = async {
            // Looked at again: somebody may be in more of a hurry.
            while self.world.now() < self.ends_by.get() {
                let look = self.world.now() + HOUSE_PERIOD;
                self.world.sleep(look.min(self.ends_by.get())).await;
            }
        };
        future::or(gone, over).await;
        self.close_warmups().await;
        self.write_lessons().await;
        self.log.close().await;
        self.journal.flush();
        self.events.flush();
    }

    /// Sees to what time brings.
    async fn keep_time(self: Rc<Self>) {
        while !self.couriers.is_closed() {
            // Looked at now and then though nothing is due: while it sleeps, no message whose first
            // deadline is later has to ring for it.
            let look = self.world.now() + LOOK_PERIOD;
            let next = self.queue.borrow().next_deadline();
            let next = next.map_or(look, |next| next.min(look));
            self.bell.wait(&self.world, next).await;
            self.pump();
            self.world.breathe().await;
        }
    }

    /// Small things that nobody waits for.
    async fn keep_house(self: Rc<Self>) {
        loop {
            let until = self.world.now() + HOUSE_PERIOD;
            self.world.sleep(until).await;
            self.journal.flush();
            self.events.flush();
            self.mesh.flush();
            self.mesh.beat();
            self.mesh
                .count_inside(self.visits.inside() + self.couriers.inside());
            self.look_at_paces();
            self.look_at_calendar();
            self.look_out().await;
            if self.pulse.is_due(until) {
                self.pulse.take(self.world.now(), self.world.load());
            }
        }
    }
}

fn cannot_listen(at: SocketAddr, error: &std::io::Error) -> String {
    format!("cannot listen on {at}: {error}")
}

/// How often the queue is asked at the least whether something is due.
const LOOK_PERIOD: Duration = Duration::from_secs(60);
/// How often log lines are handed on when there are few.
const HOUSE_PERIOD: Duration = Duration::from_millis(50);
