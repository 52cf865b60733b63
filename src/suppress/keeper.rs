//! The thread that keeps the list: what shards and operators want of it, in the order in which they
//! said so, several changes with one sync.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use futures_channel::oneshot;

use super::book::{self, Book};
use super::{Bounce, Entry, List, Page};
use crate::observe::log::{Level, Log};
use crate::time::Wall;

/// The list, for shards and for the control plane. Cloning shares it.
#[derive(Clone)]
pub struct Suppressions {
    list: List,
    /// `None`: nobody keeps anything.
    desk: Option<Sender<Wish>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    added: AtomicU64,
    lost: AtomicU64,
}

/// The thread. Dropping it waits until all that was noted is kept.
pub struct Keeper {
    desk: Sender<Wish>,
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
    Note(Bounce),
    Learn(Bounce, Reply<bool>),
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

    /// A host has refused an address. It waits for nobody: a bounce that finds the keeper busy is
    /// counted and forgotten, and the next one says the same.
    pub fn note(&self, bounce: Bounce) {
        if let Some(desk) = &self.desk
            && desk.try_send(Wish::Note(bounce)).is_err()
        {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same of a report that is read once more until this returns well: then what follows from it is
    /// on stable storage. Whether the address gets no mail from now on.
    pub async fn learn(&self, bounce: Bounce) -> Result<bool, Trouble> {
        if self.desk.is_none() {
            return Ok(false);
        }
        self.ask(|reply| Wish::Learn(bounce, reply)).await
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

    async fn ask<T>(&self, wish: impl FnOnce(Reply<T>) -> Wish) -> Result<T, Trouble> {
        let (reply, answer) = oneshot::channel();
        let desk = self.desk.as_ref().ok_or(Trouble::Busy)?;
        desk.try_send(wish(reply)).map_err(|_| Trouble::Busy)?;
        answer.await.unwrap_or(Err(Trouble::Busy))
    }
}

impl Keeper {
    /// Reads the list under `data` and starts the thread.
    pub fn start(data: &Path, max: usize, log: Log) -> io::Result<(Suppressions, Self)> {
        let list = List::new();
        let path = book::path(data);
        let book = Book::open(path.clone(), list.clone(), max).map_err(|error| {
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
        let (desk, wishes) = bounded(WISHES_MAX);
        let counts: Arc<Counts> = Arc::default();
        let work = Work {
            book,
            log,
            counts: Arc::clone(&counts),
            warned: false,
            fails: false,
        };
        let thread = std::thread::Builder::new()
            .name("suppressions".into())
            .spawn(move || work.run(&wishes))?;
        let keeper = Self {
            desk: desk.clone(),
            thread: Some(thread),
        };
        let suppressions = Suppressions {
            list,
            desk: Some(desk),
            counts,
        };
        Ok((suppressions, keeper))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Behind everything that waits. Where the thread is gone, so are its wishes.
        let told = self.desk.send(Wish::End);
        if let Some(thread) = self.thread.take().filter(|_| told.is_ok()) {
            // A panic in it has been told of.
            let _ = thread.join();
        }
    }
}

struct Work {
    book: Book,
    log: Log,
    counts: Arc<Counts>,
    /// Somebody has been told that the list is full.
    warned: bool,
    /// And that the disk fails.
    fails: bool,
}

/// Who hears what came of a change, and what that is where the disk takes it.
type Waiter<T> = (Reply<T>, Result<T, Trouble>);

impl Work {
    fn run(mut self, wishes: &Receiver<Wish>) {
        while let Ok(first) = wishes.recv() {
            let (mut waiters, mut added, mut ends) = (Vec::<Waiter<usize>>::new(), 0, false);
            let mut learners = Vec::new();
            let more = std::iter::from_fn(|| wishes.try_recv().ok());
            for wish in std::iter::once(first).chain(more).take(BATCH_MAX) {
                match wish {
                    Wish::Note(bounce) => added += u64::from(self.note(&bounce)),
                    Wish::Learn(bounce, reply) => {
                        let noted = self.note(&bounce);
                        added += u64::from(noted);
                        learners.push((reply, Ok(noted)));
                    }
                    Wish::Add(entries, reply) => {
                        let result = self.add(entries);
                        waiters.push((reply, result));
                    }
                    Wish::Remove(addresses, now, reply) => {
                        let was_there = |address: &&String| self.book.remove(address, now);
                        let removed = addresses.iter().filter(was_there).count();
                        waiters.push((reply, Ok(removed)));
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
                    }
                    Wish::Find(address, now, reply) => {
                        let found = self.book.find(&address, now);
                        answer(reply, found.map_err(Trouble::from));
                    }
                    Wish::End => ends = true,
                }
            }
            let kept = self.book.keep();
            let failed = kept.as_ref().err();
            self.tell_of_the_disk(failed);
            let failed = failed.map(|error| Trouble::Disk(error.to_string()));
            tell(waiters, failed.as_ref());
            tell(learners, failed.as_ref());
            if kept.is_ok() {
                self.counts.added.fetch_add(added, Ordering::Relaxed);
            }
            if let Err(error) = self.book.tidy(now()) {
                let words = format_args!("the suppression list cannot be written anew: {error}");
                self.log.say(Level::Warn, words);
            }
            self.log.flush();
            if ends {
                return;
            }
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

    fn note(&mut self, bounce: &Bounce) -> bool {
        let noted = self.book.note(bounce);
        if noted.is_err() && !std::mem::replace(&mut self.warned, true) {
            let words = format_args!("the suppression list is full: no further bounces are noted");
            self.log.say(Level::Warn, words);
        }
        noted.unwrap_or(false)
    }

    fn add(&mut self, entries: Vec<Entry>) -> Result<usize, Trouble> {
        let count = entries.len();
        for entry in entries {
            self.book.add(entry).map_err(|book::Full| Trouble::Full)?;
        }
        Ok(count)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

/// Tells what came of changes, once they are on the disk or are not.
fn tell<T>(waiters: Vec<Waiter<T>>, failed: Option<&Trouble>) {
    for (reply, result) in waiters {
        answer(reply, failed.cloned().map_or(result, Err));
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: Reply<T>, result: Result<T, Trouble>) {
    let _ = reply.send(result);
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// Wishes that wait: some seconds of bounces at full load, four megabytes at most.
const WISHES_MAX: usize = 8192;
/// Wishes that share a sync.
const BATCH_MAX: usize = 1024;
