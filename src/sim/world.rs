//! [`World`] on a simulated node: a handle for one life of the node, from boot to power cut.

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::disk;
use super::executor::{NodeId, give_way, sleep};
use super::lie::Lie;
use super::net::{Place, SimListener, SimStream};
use super::random::Random;
use crate::dkim::{Fault, Signed, Signers};
use crate::mail::tlsrpt::Session;
use crate::route::dns::{Question, Response};
use crate::route::sts::Found;
use crate::verify::{Findings, Inquiry};
use crate::world::{Class, File, Load, Parcel, Tick, Wall, Web, World};

/// The world as the programs of one node see it. Shards of one process are clones.
#[derive(Clone)]
pub struct SimWorld {
    core: Rc<Core>,
    node: NodeId,
    /// The shard of its process.
    shard: usize,
    address: IpAddr,
    /// Which life of the node this is; after it, nothing can be begun.
    life: u64,
    /// When this life began: monotonic clocks start again with their machine.
    born: Tick,
}

impl SimWorld {
    pub(super) fn new(core: &Rc<Core>, node: NodeId) -> Self {
        let (address, life) = core.life(node);
        let born = core.executor.now() - CLOCK_AT_BOOT;
        Self {
            core: Rc::clone(core),
            node,
            shard: 0,
            address,
            life,
            born,
        }
    }

    /// The machine.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// False after the power was cut, or the process killed.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.core.life(self.node).1 == self.life
    }

    /// Runs `task` as what it is called.
    pub fn spawn_as(&self, label: &'static str, task: impl Future<Output = ()> + 'static) {
        let core = &self.core;
        core.executor
            .spawn((self.node, self.shard), label, Box::pin(task));
    }

    /// The same world for another shard of the process: what is begun in it ends with that shard.
    #[must_use]
    pub fn of_shard(&self, shard: usize) -> Self {
        Self {
            shard,
            ..self.clone()
        }
    }

    /// Time since the simulation began: one clock for all nodes and lives.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.core.executor.now().since(Tick(0))
    }

    /// The run's choices.
    #[must_use]
    pub fn choices(&self) -> Rc<Random> {
        Rc::clone(&self.core.random)
    }

    /// How many connections `from` has open to the addresses `to`.
    #[must_use]
    pub fn connections(&self, from: IpAddr, to: &[IpAddr]) -> usize {
        self.core.net.open(from, to)
    }

    fn place(&self) -> Place {
        Place {
            node: self.node,
            address: self.address,
            born: self.born,
        }
    }

    /// The simulation's clock, for a moment of this node's.
    fn moment(&self, tick: Tick) -> Tick {
        Place::moment(self.born, tick)
    }

    /// A disk operation: it takes its time, and happens somewhere in the middle of it.
    async fn on_disk<T>(&self, least: u64, most: u64, operation: impl FnOnce() -> T) -> T {
        self.core.tempt();
        let take = self.core.random.between(least, most);
        let before = self.core.random.below(take + 1);
        let executor = &self.core.executor;
        sleep(executor, executor.now() + Duration::from_micros(before)).await;
        let done = operation();
        let after = Duration::from_micros(take - before);
        sleep(executor, executor.now() + after).await;
        done
    }

    /// A disk operation of a thread that waits for it.
    pub(super) fn with_disk<T>(&self, operation: impl FnOnce(&disk::SimDisk) -> T) -> T {
        self.core.tempt();
        operation(&self.core.disk(self.node))
    }

    async fn on_names<T>(&self, operation: impl FnOnce(&disk::SimDisk) -> T) -> T {
        let disk = self.core.disk(self.node);
        let timed = || {
            disk.set_clock(self.wall());
            operation(&disk)
        };
        self.on_disk(5, 200, timed).await
    }
}

impl World for SimWorld {
    type Stream = SimStream;
    type Listener = SimListener;
    type File = SimFile;

    fn now(&self) -> Tick {
        self.core.tempt();
        Tick(self.core.executor.now().0 - self.born.0)
    }

    fn wall(&self) -> Wall {
        Wall(WALL_AT_START + self.core.executor.now().0 + self.core.wall_jump.get())
    }

    fn load(&self) -> Load {
        // Its clock stands still while a task runs: nothing here is ever busy.
        Load::default()
    }

    fn random(&self) -> u64 {
        self.core.random.next()
    }

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        if !self.is_alive() {
            // What is dropped in a power cut may try to begin something.
            return;
        }
        self.spawn_as(class.name(), task);
    }

    fn note_panic(&self, said: &(dyn Any + Send)) {
        self.core.executor.note_panic(said);
    }

    fn panics(&self) -> u64 {
        self.core.executor.panics().len() as u64
    }

    async fn sleep(&self, until: Tick) {
        self.core.tempt();
        sleep(&self.core.executor, self.moment(until)).await;
    }

    async fn breathe(&self) {
        if self.core.random.permille(500) {
            give_way().await;
        }
    }

    fn listen(&self, at: SocketAddr) -> io::Result<SimListener> {
        self.core.net.listen(&self.place(), at)
    }

    async fn dial(
        &self,
        source: Option<IpAddr>,
        to: SocketAddr,
        deadline: Tick,
    ) -> io::Result<SimStream> {
        self.core
            .net
            .dial(&self.place(), source, to, self.moment(deadline))
            .await
    }

    fn pack(&self, stream: SimStream) -> io::Result<Parcel> {
        Ok(self.core.net.pack(stream))
    }

    fn unpack(&self, parcel: Parcel) -> io::Result<SimStream> {
        self.core.net.unpack(parcel)
    }

    async fn policy(&self, domain: Box<str>, _: Web) -> Found {
        let policies = &self.core.policies;
        if policies.borrow().is_empty() {
            return Found::default();
        }
        // Kept from before, or fetched over the network.
        let wait = Duration::from_micros(self.core.random.between(50, 900_000));
        sleep(&self.core.executor, self.core.executor.now() + wait).await;
        policies.borrow().get(&domain).cloned().unwrap_or_default()
    }

    fn tell_tls(&self, session: Session) {
        self.core.sessions.borrow_mut().push(session);
    }

    async fn check_password(&self, password: Vec<u8>, hash: String) -> Option<bool> {
        Some(crate::users::verify(&password, &hash))
    }

    async fn sign(&self, signers: Arc<Signers>, wire: Vec<u8>) -> Result<Signed, Fault> {
        signers.sign_wire(&wire, true)
    }

    async fn verify(&self, inquiry: Inquiry) -> Findings {
        // Its DNS knows of hosts only.
        Findings::none_now(&inquiry.authority)
    }

    async fn lookup(&self, question: Question) -> Response {
        let wait = Duration::from_micros(self.core.random.between(50, 40_000));
        sleep(&self.core.executor, self.core.executor.now() + wait).await;
        let is_spared = question.name.ends_with(self.core.spared.get());
        if self.core.random.permille(self.core.lies.get()) && !is_spared {
            let (lie, wait) = Lie::draw(&self.core.random).about(&question, self.address);
            sleep(&self.core.executor, self.core.executor.now() + wait).await;
            return lie;
        }
        self.core.answer(&question)
    }

    async fn open(&self, path: &Path, create: bool) -> io::Result<SimFile> {
        let file = self.on_names(|disk| disk.open(path, create)).await?;
        Ok(SimFile {
            world: self.clone(),
            file,
        })
    }

    async fn open_to_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path, false).await
    }

    async fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.on_names(|disk| disk.list(directory)).await
    }

    async fn files(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.on_names(|disk| {
            let mut names = disk.list(directory)?;
            names.retain(|name| disk.list(&directory.join(name)).is_err());
            Ok(names)
        })
        .await
    }

    async fn directories(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.on_names(|disk| {
            let mut names = disk.list(directory)?;
            names.retain(|name| disk.list(&directory.join(name)).is_ok());
            Ok(names)
        })
        .await
    }

    async fn make_directory(&self, directory: &Path) -> io::Result<()> {
        self.on_names(|disk| disk.make_directory(directory)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on_names(|disk| disk.rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.on_names(|disk| disk.remove(path)).await
    }

    async fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let (least, most) = self.core.sync_wait.get();
        let disk = self.core.disk(self.node);
        self.on_disk(least, most, || disk.sync_directory(directory))
            .await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on_names(|disk| disk.link(from, to)).await
    }

    async fn modified(&self, path: &Path) -> io::Result<i64> {
        self.on_names(|disk| disk.modified(path)).await
    }

    async fn set_modified(&self, path: &Path, seconds: i64) -> io::Result<()> {
        self.on_names(|disk| disk.set_modified(path, seconds)).await
    }
}

/// A file on the disk of a node.
pub struct SimFile {
    world: SimWorld,
    file: disk::SimFile,
}

impl File for SimFile {
    async fn read_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        self.world
            .on_disk(5, 300, || self.file.read_at(position, len))
            .await
    }

    async fn write_at(&self, octets: Vec<u8>, position: u64) -> io::Result<()> {
        self.world
            .on_disk(5, 300, || self.file.write_at(&octets, position))
            .await
    }

    async fn sync(&self) -> io::Result<()> {
        let (least, most) = self.world.core.sync_wait.get();
        self.world.on_disk(least, most, || self.file.sync()).await
    }

    async fn len(&self) -> io::Result<u64> {
        self.world.on_disk(1, 20, || self.file.len()).await
    }

    async fn set_len(&self, len: u64) -> io::Result<()> {
        self.world.on_disk(5, 200, || self.file.set_len(len)).await
    }
}

/// Mail is younger than a machine's last boot or older; both happen.
const CLOCK_AT_BOOT: Duration = Duration::from_millis(10);
/// 2026-03-01 00:00:00 UTC.
pub(in crate::sim) const WALL_AT_START: i64 = 1_772_323_200_000_000;
