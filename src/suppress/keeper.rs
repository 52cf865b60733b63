//! The thread that keeps the list: what shards and operators want of it, in the order in which they
//! said so, several changes with one sync. A panic in it costs what was under way, and the list is read
//! anew.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use futures_channel::oneshot;
use futures_util::task::AtomicWaker;

use super::book::{self, Book};
use super::outside::{Machine, Outside};
use super::{Bounce, Entry, List, Page};
use crate::observe::log::{Level, Log};
use crate::time::Wall;
use crate::trial;

/// The list, for shards and for the control plane. Cloning shares it.
#[derive(Clone)]
pub struct Suppressions {
    list: List,
    /// `None`: nobody keeps anything.
    desk: Option<Desk>,
    counts: Arc<Counts>,
}

/// Where wishes are left.
#[derive(Clone)]
struct Desk {
    wishes: Sender<Wish>,
    /// Woken for each of them: a keeper that is no thread cannot wait at the channel.
    bell: Arc<AtomicWaker>,
}

impl Desk {
    fn leave(&self, wish: Wish) -> Result<(), Trouble> {
        self.wishes.try_send(wish).map_err(|_| Trouble::Busy)?;
        self.bell.wake();
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    added: AtomicU64,
    lost: AtomicU64,
}

/// The thread. Dropping it waits until all that was noted is kept.
pub struct Keeper {
    desk: Option<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Too many wishes wait.
    Busy,
    /// The list takes no more addresses.
    Full,
    /// The disk failed.
    Disk(String),
}

enum Wish {
    Learn(Vec<Bounce>, Reply<usize>),
    Add(Vec<Entry>, Reply<usize>),
    Remove(Vec<String>, i64, Reply<usize>),
    Page {
        position: u64,
        limit: usize,
        why: Option<String>,
        now: i64,
        reply: Reply<Page>,
    },
    Find(String, i64, Reply<Option<Entry>>),
    End,
}

type Reply<T> = oneshot::Sender<Result<T, Trouble>>;

impl Wish {
    /// Nothing comes of it.
    fn refuse(self, trouble: &Trouble) {
        match self {
            Self::Learn(_, reply) | Self::Add(_, reply) | Self::Remove(_, _, reply) => {
                answer(reply, Err(trouble.clone()));
            }
            Self::Page { reply, .. } => answer(reply, Err(trouble.clone())),
            Self::Find(_, _, reply) => answer(reply, Err(trouble.clone())),
            Self::End => {}
        }
    }
}

impl Suppressions {
    /// A list with nobody on it, that keeps nothing.
    #[must_use]
    pub fn nowhere() -> Self {
        Self {
            list: List::new(),
            desk: None,
            counts: Arc::default(),
        }
    }

    /// Whether an address gets no mail.
    #[must_use]
    pub fn has(&self, address: &str, now: Wall) -> bool {
        self.list.has(address, now.seconds())
    }

    /// Hosts have refused addresses, themselves or by reports: on stable storage when this returns well.
    /// How many get no mail from now on. A report is to be read once more until this returns well.
    pub async fn learn(&self, bounces: Vec<Bounce>) -> Result<usize, Trouble> {
        if self.desk.is_none() || bounces.is_empty() {
            return Ok(0);
        }
        self.ask(|reply| Wish::Learn(bounces, reply)).await
    }

    /// The same of refusals that are settled whatever becomes of this: those that the list does not take
    /// are counted, and the next ones say the same.
    pub async fn learn_or_lose(&self, bounces: Vec<Bounce>) {
        for _ in 0..LEARN_TRIES {
            match self.learn(bounces.clone()).await {
                Ok(_) => return,
                // It may have been in the way of a panic.
                Err(Trouble::Busy) => {}
                Err(Trouble::Full | Trouble::Disk(_)) => break,
            }
        }
        self.counts
            .lost
            .fetch_add(bounces.len() as u64, Ordering::Relaxed);
    }

    /// Addresses that bounces have brought onto the list since the start, and bounces that were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.counts.added), count(&self.counts.lost))
    }

    /// Puts addresses on the list; on stable storage when this returns well. How many.
    pub async fn add(&self, entries: Vec<Entry>) -> Result<usize, Trouble> {
        self.ask(|reply| Wish::Add(entries, reply)).await
    }

    /// Takes addresses off it. How many were on it.
    pub async fn remove(&self, addresses: Vec<String>, now: Wall) -> Result<usize, Trouble> {
        self.ask(|reply| Wish::Remove(addresses, now.seconds(), reply))
            .await
    }

    /// Some of it, from `position` on.
    pub async fn page(
        &self,
        position: u64,
        limit: usize,
        why: Option<String>,
        now: Wall,
    ) -> Result<Page, Trouble> {
        let now = now.seconds();
        let wish = |reply| Wish::Page {
            position,
            limit,
            why,
            now,
            reply,
        };
        self.ask(wish).await
    }

    /// What there is of one address.
    pub async fn find(&self, address: String, now: Wall) -> Result<Option<Entry>, Trouble> {
        self.ask(|reply| Wish::Find(address, now.seconds(), reply))
            .await
    }

    /// The keeper ends behind everything that waits.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn end(&self) {
        if let Some(desk) = &self.desk {
            // Where nobody takes it, nobody keeps anything either.
            let _ = desk.leave(Wish::End);
        }
    }

    async fn ask<T>(&self, wish: impl FnOnce(Reply<T>) -> Wish) -> Result<T, Trouble> {
        let (reply, answer) = oneshot::channel();
        let desk = self.desk.as_ref().ok_or(Trouble::Busy)?;
        desk.leave(wish(reply))?;
        answer.await.unwrap_or(Err(Trouble::Busy))
    }
}

impl Keeper {
    /// Reads the list under `data` and starts the thread.
    pub fn start(data: &Path, max: usize, log: Log) -> io::Result<(Suppressions, Self)> {
        let (suppressions, work) = Work::open(|| Machine, data, max, log)?;
        let desk = suppressions.desk.clone();
        let thread = std::thread::Builder::new()
            .name("suppressions".into())
            .spawn(move || work.run())?;
        let keeper = Self {
            desk,
            thread: Some(thread),
        };
        Ok((suppressions, keeper))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Behind everything that waits. Where the thread is gone, so are its wishes.
        let told = self.desk.as_ref().map(|desk| desk.wishes.send(Wish::End));
        let is_told = told.is_some_and(|told| told.is_ok());
        if let Some(thread) = self.thread.take().filter(|_| is_told) {
            // A panic in it has been told of.
            let _ = thread.join();
        }
    }
}

/// What keeps the list, on a thread or in the simulator.
pub(crate) struct Work<O: Outside, M> {
    /// The way to the files, made once more where the book is opened once more.
    outside: M,
    data: PathBuf,
    max: usize,
    book: Book<O>,
    wishes: Receiver<Wish>,
    #[cfg(any(test, feature = "sim"))]
    bell: Arc<AtomicWaker>,
    list: List,
    log: Log,
    counts: Arc<Counts>,
    /// Somebody has been told that the list is full.
    warned: bool,
    /// And that the disk fails.
    fails: bool,
    /// What a panic has left is not to be trusted.
    is_broken: bool,
}

impl<O: Outside, M> Drop for Work<O, M> {
    fn drop(&mut self) {
        // The channel would keep them as long as somebody may send, who may be the one that waits.
        while self.wishes.try_recv().is_ok() {}
    }
}

/// Who hears what came of a change, and what that is where the disk takes it.
type Waiter = (Reply<usize>, Result<usize, Trouble>);

impl<O: Outside, M: Fn() -> O> Work<O, M> {
    /// Reads the list under `data`.
    pub(crate) fn open(
        outside: M,
        data: &Path,
        max: usize,
        log: Log,
    ) -> io::Result<(Suppressions, Self)> {
        let list = List::new();
        let path = book::path(data);
        let book = Book::open(outside(), path.clone(), list.clone(), max);
        let book = book.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        if book.unreadable > 0 {
            log.say(
                Level::Warn,
                format_args!(
                    "{}: {} lines cannot be read and do not count",
                    path.display(),
                    book.unreadable
                ),
            );
        }
        let (wishes, left) = bounded(WISHES_MAX);
        let desk = Desk {
            wishes,
            bell: Arc::default(),
        };
        let counts: Arc<Counts> = Arc::default();
        let work = Self {
            outside,
            data: data.to_owned(),
            max,
            book,
            wishes: left,
            #[cfg(any(test, feature = "sim"))]
            bell: Arc::clone(&desk.bell),
            list: list.clone(),
            log,
            counts: Arc::clone(&counts),
            warned: false,
            fails: false,
            is_broken: false,
        };
        let suppressions = Suppressions {
            list,
            desk: Some(desk),
            counts,
        };
        Ok((suppressions, work))
    }

    /// To the end, waiting at the channel.
    fn run(mut self) {
        while let Ok(first) = self.wishes.recv() {
            if self.turn(first) {
                return;
            }
        }
    }

    /// The same as a task of the simulator.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) async fn attend<W: crate::world::World>(mut self, world: W) {
        use std::task::Poll;

        loop {
            let wish = std::future::poll_fn(|cx| {
                self.bell.register(cx.waker());
                self.wishes.try_recv().map_or(Poll::Pending, Poll::Ready)
            });
            let first = wish.await;
            // What else comes meanwhile shares its sync.
            let most = if world.random().is_multiple_of(8) {
                2_000_000
            } else {
                5_000
            };
            let pause = std::time::Duration::from_micros(world.random() % most);
            let rest = AssertUnwindSafe(async { world.sleep(world.now() + pause).await });
            if let Err(said) = futures_util::FutureExt::catch_unwind(rest).await {
                world.note_panic(&*said);
            }
            if self.turn_with(first, &|said| world.note_panic(said)) {
                return;
            }
        }
    }

    /// Some wishes. True behind the last one.
    fn turn(&mut self, first: Wish) -> bool {
        // The process's hook has told of it.
        self.turn_with(first, &|_| ())
    }

    fn turn_with(&mut self, first: Wish, note_panic: &dyn Fn(&(dyn std::any::Any + Send))) -> bool {
        let ends = Cell::new(false);
        let done = catch_unwind(AssertUnwindSafe(|| self.fulfil(first, &ends)));
        if let Err(said) = done {
            note_panic(&*said);
            self.is_broken = true;
        }
        self.log.flush();
        ends.get()
    }

    /// Opens the file once more, where a panic may have left anything in memory.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_broken {
            let path = book::path(&self.data);
            self.book = Book::open((self.outside)(), path, self.list.clone(), self.max)?;
            self.is_broken = false;
            trial::saw("suppressions", "read anew after a panic");
        }
        Ok(())
    }

    fn fulfil(&mut self, first: Wish, ends: &Cell<bool>) {
        trial::tempt("suppressions");
        let wishes = self.wishes.clone();
        let more = std::iter::from_fn(|| wishes.try_recv().ok());
        let wishes = std::iter::once(first).chain(more).take(BATCH_MAX);
        let mended = self.mend().map_err(Trouble::from);
        let (mut waiters, mut added) = (Vec::<Waiter>::new(), 0);
        for wish in wishes {
            match wish {
                Wish::End => ends.set(true),
                wish => match &mended {
                    Ok(()) => waiters.extend(self.begin(wish, &mut added)),
                    Err(trouble) => wish.refuse(trouble),
                },
            }
        }
        if mended.is_err() {
            return;
        }
        let kept = self.book.keep();
        let failed = kept.as_ref().err();
        self.tell_of_the_disk(failed);
        let failed = failed.map(|error| Trouble::Disk(error.to_string()));
        for (reply, result) in waiters {
            answer(reply, failed.clone().map_or(result, Err));
        }
        if kept.is_ok() {
            self.counts.added.fetch_add(added, Ordering::Relaxed);
        }
        if let Err(error) = self.book.tidy() {
            let words = format_args!("the suppression list cannot be written anew: {error}");
            self.log.say(Level::Warn, words);
        }
    }

    /// Does what is wished, as far as it needs no sync; who waits for that.
    fn begin(&mut self, wish: Wish, added: &mut u64) -> Option<Waiter> {
        match wish {
            Wish::Learn(bounces, reply) => {
                let result = self.learn(&bounces);
                *added += result.as_ref().map_or(0, |noted| *noted as u64);
                Some((reply, result))
            }
            Wish::Add(entries, reply) => Some((reply, self.add(entries))),
            Wish::Remove(addresses, now, reply) => {
                let removed = addresses
                    .iter()
                    .map(|address| Ok(usize::from(self.book.remove(address, now)?)));
                Some((reply, removed.sum()))
            }
            Wish::Page {
                position,
                limit,
                why,
                now,
                reply,
            } => {
                let page = self.book.page(position, limit, why.as_deref(), now);
                answer(reply, page.map_err(Trouble::from));
                None
            }
            Wish::Find(address, now, reply) => {
                let found = self.book.find(&address, now);
                answer(reply, found.map_err(Trouble::from));
                None
            }
            Wish::End => None,
        }
    }

    /// Once, and once more when it is over: on a full disk there may be thousands of bounces a second.
    fn tell_of_the_disk(&mut self, failed: Option<&io::Error>) {
        let failed_before = std::mem::replace(&mut self.fails, failed.is_some());
        match failed {
            Some(error) if !failed_before => self.log.say(
                Level::Error,
                format_args!("the suppression list cannot be written: {error}"),
            ),
            None if failed_before => self.log.say(
                Level::Info,
                format_args!("the suppression list is written again"),
            ),
            Some(_) | None => {}
        }
    }

    fn learn(&mut self, bounces: &[Bounce]) -> Result<usize, Trouble> {
        let mut result = Ok(0);
        for bounce in bounces {
            match self.book.note(bounce) {
                Ok(is_new) => result = result.map(|noted| noted + usize::from(is_new)),
                Err(trouble) => result = Err(trouble),
            }
        }
        if result == Err(Trouble::Full) && !std::mem::replace(&mut self.warned, true) {
            let words = format_args!("the suppression list is full: no further bounces are noted");
            self.log.say(Level::Warn, words);
        }
        result
    }

    fn add(&mut self, entries: Vec<Entry>) -> Result<usize, Trouble> {
        let count = entries.len();
        for entry in entries {
            self.book.add(entry)?;
        }
        Ok(count)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: Reply<T>, result: Result<T, Trouble>) {
    let _ = reply.send(result);
}

/// Wishes that wait: some seconds of bounces at full load, four megabytes at most.
const WISHES_MAX: usize = 8192;
/// How often refusals are told that nobody takes.
const LEARN_TRIES: usize = 3;
/// Wishes that share a sync.
const BATCH_MAX: usize = 1024;
