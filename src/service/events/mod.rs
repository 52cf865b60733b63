//! Events on their way to other programs: into the event log, and over a spool of their own to
//! webhooks.
//!
//! ```text
//!  shards ─► bounded channel ─► clerk ─┬─► events.jsonl, events.jsonl.1, …
//!                                      └─► events/FIRST.jsonl, … ─► courier ─► POST, signed
//!                                          so many octets            └ how far it is: events/HOOK.at
//! ```
//!
//! A courier goes on where it was when the process ended, however that was: what was under way then is
//! posted once more, so receivers look at the events' ids. What waited in a shard or in the channel,
//! some tens of milliseconds, a crash takes with it; a power cut also what the kernel had not written.
//! Nothing here is synced, because the disk belongs to mail.

mod courier;
mod spool;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use memchr::memchr_iter;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::resolver::Resolver;
use crate::config::{Config, Webhook};
use crate::observe::events::{Kind, Kinds, Parcel, Post, Sums};
use crate::observe::log::{self, Level, Log};
use crate::observe::secret::Secret;
use crate::rolling::{Bound, Rolling};

use courier::Courier;
use spool::Spool;

/// Who is told of events, and by whom.
#[derive(Clone)]
pub struct Listeners {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Its webhooks.
    pub hooks: Vec<Hook>,
    /// How web servers are spoken to.
    pub web: Arc<ClientConfig>,
}

/// A webhook and its secret.
#[derive(Clone)]
pub struct Hook {
    /// What the configuration says of it.
    pub settings: Webhook,
    /// What its requests are signed with.
    pub secret: Secret,
}

/// Takes events, from any thread.
#[derive(Clone)]
pub struct Events {
    post: Post,
    sums: Arc<Sums>,
    notes: mpsc::Sender<Note>,
}

enum Note {
    Begin(Box<Listeners>),
    /// Everything that was told before is to be written.
    End(std::sync::mpsc::Sender<()>),
}

impl Events {
    /// Starts the clerk on `runtime`; what it keeps is below `data`.
    #[must_use]
    pub fn start(runtime: &Handle, resolver: Resolver, data: &Path, log: Log) -> Self {
        let (post, parcels) = Post::new(log::now());
        let (notes, received) = mpsc::channel(NOTES_MAX);
        let sums: Arc<Sums> = Arc::default();
        let (head, _) = watch::channel(0);
        let clerk = Clerk {
            resolver,
            data: data.to_owned(),
            log,
            sums: Arc::clone(&sums),
            files: Files::default(),
            head,
            couriers: Vec::new(),
            was_told: false,
        };
        runtime.spawn(clerk.run(parcels, received));
        Self { post, sums, notes }
    }

    /// Where shards send what they tell.
    #[must_use]
    pub fn post(&self) -> Post {
        self.post.clone()
    }

    /// What became of events, for metrics.
    #[must_use]
    pub fn sums(&self) -> Arc<Sums> {
        Arc::clone(&self.sums)
    }

    /// Says who is told from now on.
    pub fn begin(&self, listeners: Listeners) {
        // Of many notes at once one is missing: the next reload says it again.
        let _ = self.notes.try_send(Note::Begin(Box::new(listeners)));
    }

    /// Waits until what shards have told is written, but not for ever. Not to be called on the service
    /// thread.
    pub fn finish(&self) {
        let (done, is_done) = std::sync::mpsc::channel();
        if self.notes.try_send(Note::End(done)).is_ok() {
            let _ = is_done.recv_timeout(END_WAIT);
        }
    }
}

struct Clerk {
    resolver: Resolver,
    data: PathBuf,
    log: Log,
    sums: Arc<Sums>,
    files: Files,
    /// The number that the next event in the spool gets.
    head: watch::Sender<u64>,
    couriers: Vec<Runner>,
    /// The log has been told that events cannot be written.
    was_told: bool,
}

/// A courier under way.
struct Runner {
    task: JoinHandle<()>,
    /// The number of the first event that it still needs.
    needs: Arc<AtomicU64>,
}

/// Where events are written to.
#[derive(Default)]
struct Files {
    log: Option<Rolling>,
    spool: Option<Spool>,
    /// What goes into the spool.
    kinds: Kinds,
}

impl Clerk {
    async fn run(mut self, mut parcels: mpsc::Receiver<Parcel>, mut notes: mpsc::Receiver<Note>) {
        // A panic is the end of what it was at, and not of all events.
        while AssertUnwindSafe(self.attend(&mut parcels, &mut notes))
            .catch_unwind()
            .await
            .is_err()
        {}
    }

    async fn attend(
        &mut self,
        parcels: &mut mpsc::Receiver<Parcel>,
        notes: &mut mpsc::Receiver<Note>,
    ) {
        let mut gathered = Vec::new();
        loop {
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::Begin(listeners)) => self.begin(*listeners).await,
                    Some(Note::End(done)) => {
                        while parcels.recv_many(&mut gathered, PARCELS_AT_ONCE).now_or_never().unwrap_or(0) > 0 {
                            self.keep(std::mem::take(&mut gathered)).await;
                        }
                        // Whoever asked may have had enough.
                        let _ = done.send(());
                    }
                    None => return,
                },
                count = parcels.recv_many(&mut gathered, PARCELS_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.keep(std::mem::take(&mut gathered)).await;
                }
            }
        }
    }

    /// Writes for these from now on. Couriers begin anew where they were.
    async fn begin(&mut self, listeners: Listeners) {
        for runner in self.couriers.drain(..) {
            runner.task.abort();
        }
        let events = &listeners.config.events;
        let hooks = listeners.hooks.iter().map(|hook| hook.settings.events);
        let kinds = hooks.reduce(Kinds::with).unwrap_or_default();
        let (place, limit) = (self.data.join(DIRECTORY), events.spool);
        let bound = Bound {
            octets: events.log_size,
            files: events.log_keep + 1,
        };
        let book = events.log.as_ref().map(|path| self.data.join(path));
        let home = place.clone();
        let hooks = listeners.hooks.iter();
        let urls: Vec<String> = hooks.map(|hook| hook.settings.url.clone()).collect();
        // The one that is written to now is closed before.
        self.files = Files::default();
        let opening = tokio::task::spawn_blocking(move || {
            let log = book.map(|path| named(&path, Rolling::open(&path, bound)));
            courier::forget_others(&home, &urls);
            let spool = match urls.is_empty() {
                true => Spool::remove(&home).map(|()| None),
                false => Spool::open(&home, limit, super::now()).map(Some),
            };
            (log.transpose(), named(&home, spool))
        });
        let (log, spool) = opening.await.unwrap_or((Ok(None), Ok(None)));
        let log = log.unwrap_or_else(|why| self.complain(&why));
        let spool = spool.unwrap_or_else(|why| self.complain(&why));
        let head = spool.as_ref().map_or(0, Spool::next);
        self.head.send_replace(head);
        let is_there = spool.is_some();
        self.files = Files { log, spool, kinds };
        if is_there {
            let hooks = listeners.hooks.into_iter();
            self.couriers = hooks
                .map(|hook| self.send_out(hook, &place, &listeners.web, head))
                .collect();
        }
        self.log.flush();
    }

    fn send_out(&self, hook: Hook, place: &Path, web: &Arc<ClientConfig>, head: u64) -> Runner {
        // Nothing is forgotten before it has said what it needs.
        let needs = Arc::new(AtomicU64::new(0));
        let courier = Courier {
            hook,
            place: place.to_owned(),
            resolver: self.resolver.clone(),
            web: Arc::clone(web),
            head: self.head.subscribe(),
            begins: head,
            needs: Arc::clone(&needs),
            sums: Arc::clone(&self.sums),
            log: self.log.clone(),
        };
        let task = tokio::spawn(courier.run());
        Runner { task, needs }
    }

    /// Writes events, on a thread beside this one.
    async fn keep(&mut self, parcels: Vec<Parcel>) {
        let mut files = std::mem::take(&mut self.files);
        let needs = self
            .couriers
            .iter()
            .map(|runner| runner.needs.load(Ordering::Relaxed));
        let needed = needs.min().unwrap_or(u64::MAX);
        let writing = tokio::task::spawn_blocking(move || {
            let failures = files.write(&parcels, needed);
            (files, failures)
        });
        let Ok((files, failures)) = writing.await else {
            return;
        };
        self.files = files;
        if let Some(spool) = &self.files.spool {
            self.head.send_replace(spool.next());
            self.sums.spooled.store(spool.octets(), Ordering::Relaxed);
        }
        self.sums
            .unwritten
            .fetch_add(failures.lost, Ordering::Relaxed);
        match failures.why {
            Some(why) => drop(self.complain::<()>(&why)),
            None => self.was_told = false,
        }
    }

    /// Says once that events are lost, until they are not.
    fn complain<T>(&mut self, why: &str) -> Option<T> {
        if !std::mem::replace(&mut self.was_told, true) {
            let words = format_args!("events cannot be written and are lost: {why}");
            self.log.say(Level::Warn, words);
        }
        None
    }
}

/// What could not be written.
#[derive(Default)]
struct Failures {
    lost: u64,
    why: Option<String>,
}

impl Files {
    fn write(&mut self, parcels: &[Parcel], needed: u64) -> Failures {
        let mut failures = Failures::default();
        let mut fail = |count: u64, why: String| {
            failures.lost += count;
            failures.why = Some(why);
        };
        for parcel in parcels {
            // It ends each line itself.
            let whole = parcel.lines.strip_suffix(b"\n").unwrap_or(&parcel.lines);
            if let Some(log) = &mut self.log
                && let Err(error) = log.append(whole)
            {
                fail(parcel.count, format!("the event log: {error}"));
            }
            let Some(spool) = &mut self.spool else {
                continue;
            };
            let chosen;
            let (lines, count) = if self.kinds == Kinds::ALL {
                (&parcel.lines, parcel.count)
            } else {
                chosen = only(self.kinds, &parcel.lines);
                (&chosen.0, chosen.1)
            };
            if let Err(error) = spool.append(lines, count) {
                fail(count, format!("their spool: {error}"));
            }
        }
        if let Some(spool) = &mut self.spool {
            spool.trim(needed);
        }
        failures
    }
}

/// A failure with the file that it is about.
fn named<T>(path: &Path, done: std::io::Result<T>) -> Result<T, String> {
    done.map_err(|error| format!("{}: {error}", path.display()))
}

/// The lines of these kinds, and how many they are.
fn only(kinds: Kinds, lines: &[u8]) -> (Vec<u8>, u64) {
    let (mut kept, mut count, mut start) = (Vec::new(), 0, 0);
    for end in memchr_iter(b'\n', lines) {
        let line = &lines[start..=end];
        if Kind::of_line(line).is_some_and(|kind| kinds.has(kind)) {
            kept.extend_from_slice(line);
            count += 1;
        }
        start = end + 1;
    }
    (kept, count)
}

/// Below the data directory.
const DIRECTORY: &str = "events";
/// Reloads that wait for their turn.
const NOTES_MAX: usize = 16;
/// Parcels that are written in one turn.
const PARCELS_AT_ONCE: usize = 64;
/// How long an ending process waits for its events.
const END_WAIT: Duration = Duration::from_secs(2);
