//! MTA-STS policies (RFC 8461): asked for by shards, fetched over HTTPS, and kept on disk for as long
//! as they hold, so that neither a restart nor whoever stands between us and the server makes the
//! relay forget them.
//!
//! ```text
//!  shard ─► question ─► TXT _mta-sts.DOMAIN ─┬─ id known, or no record ──► policy kept
//!              (equal ones are merged)       └─ new id ─► HTTPS ─► policy, kept on disk
//! ```

pub mod kept;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::resolver::Resolver;
use super::web::{Asking, Fault};
use super::{now, survive};
use crate::observe::log::{Level, Log};
use crate::route::dns::{Answer, Kind, Question, Records};
use crate::route::sts::{self, Found, Mode, Policy, Trouble, TroubleKind};
use crate::trial;
use crate::world::Web;
use kept::{Kept, Store};

/// Asks for policies from any thread.
#[derive(Clone)]
pub struct Policies {
    requests: mpsc::Sender<Request>,
}

struct Request {
    domain: Box<str>,
    web: Web,
    reply: oneshot::Sender<Found>,
}

impl Policies {
    /// Starts the keeping on `runtime`; policies are kept in the directory `place`.
    #[must_use]
    pub fn start(runtime: &Handle, resolver: Resolver, place: PathBuf, log: Log) -> Self {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        runtime.spawn(async move {
            let store = Store::new(place);
            let entries = store.load().await;
            let (learnt, learning) = mpsc::channel(REQUESTS_MAX);
            let keeper = Keeper {
                resolver,
                store,
                log,
                entries,
                asked: HashMap::new(),
                slots: Arc::new(Semaphore::new(FETCHES_MAX)),
                learnt,
                web: None,
            };
            keeper.run(received, learning).await;
        });
        Self { requests }
    }

    /// The policy of a domain. Takes as long as a name server, and `FETCH_WAIT` where it is new; too
    /// many questions are answered with none.
    pub async fn find(&self, domain: Box<str>, web: Web) -> Found {
        let (reply, found) = oneshot::channel();
        let request = Request { domain, web, reply };
        match self.requests.try_send(request) {
            Ok(()) => found.await.unwrap_or_default(),
            Err(_) => Found {
                policy: None,
                trouble: Some(Trouble {
                    kind: TroubleKind::Fetch,
                    why: "too many policies are being asked for".into(),
                }),
            },
        }
    }
}

/// What is known of a domain.
#[derive(Clone, Debug, Default)]
struct Entry {
    kept: Option<Kept>,
    /// The last try, where it brought nothing.
    failed: Option<Failed>,
}

#[derive(Clone, Debug)]
struct Failed {
    id: Box<str>,
    /// Seconds since 1970.
    at: i64,
    trouble: Trouble,
}

/// What was learnt of a domain.
struct Learnt {
    domain: Box<str>,
    entry: Entry,
    /// A policy came that is to be kept on disk.
    is_new: bool,
}

/// The task that knows all policies.
struct Keeper {
    resolver: Resolver,
    store: Store,
    log: Log,
    entries: HashMap<Box<str>, Entry>,
    /// Who waits for what is being learnt.
    asked: HashMap<Box<str>, Vec<oneshot::Sender<Found>>>,
    slots: Arc<Semaphore>,
    learnt: mpsc::Sender<Learnt>,
    /// How servers were spoken to last.
    web: Option<Web>,
}

impl Keeper {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut learning: mpsc::Receiver<Learnt>,
    ) {
        let mut rounds = tokio::time::interval(REFRESH_LOOK);
        loop {
            tokio::select! {
                Some(request) = requests.recv() => survive(|| self.hear(request)),
                Some(learnt) = learning.recv() => survive(|| self.learn(learnt)),
                _ = rounds.tick() => survive(|| self.refresh()),
                else => return,
            }
        }
    }

    fn hear(&mut self, request: Request) {
        let Request { domain, web, reply } = request;
        self.web = Some(web.clone());
        match self.asked.get_mut(&domain) {
            Some(waiters) => waiters.push(reply),
            None => {
                self.asked.insert(domain.clone(), vec![reply]);
                self.look(domain, web, Haste::Somebody);
            }
        }
    }

    /// Begins to learn what there is to know of a domain now.
    fn look(&self, domain: Box<str>, web: Web, haste: Haste) {
        let look = Look {
            entry: self.entries.get(&domain).cloned().unwrap_or_default(),
            resolver: self.resolver.clone(),
            slots: Arc::clone(&self.slots),
            domain,
            web,
        };
        let learnt = self.learnt.clone();
        tokio::spawn(async move {
            let (domain, entry) = (look.domain.clone(), look.entry.clone());
            let learning = AssertUnwindSafe(async {
                trial::tempt("policies");
                look.learn(haste).await
            });
            // Whoever waits must not wait for ever: after a panic what was known holds.
            let news = learning.catch_unwind().await.unwrap_or(Learnt {
                domain,
                entry,
                is_new: false,
            });
            // The keeper goes with its runtime.
            let _ = learnt.send(news).await;
        });
    }

    fn learn(&mut self, learnt: Learnt) {
        let Learnt {
            domain,
            entry,
            is_new,
        } = learnt;
        let now = now();
        let found = entry.found(now);
        if let Some(trouble) = &found.trouble {
            let until = match &found.policy {
                Some(_) => "the one kept from before holds",
                None => "mail goes as without one",
            };
            let known = self.entries.get(&domain);
            let known = known.and_then(|known| known.failed.as_ref());
            if known.is_none_or(|failed| failed.trouble != *trouble) {
                self.log.say(
                    Level::Warn,
                    format_args!("MTA-STS policy of {domain}: {}; {until}", trouble.why),
                );
            }
        }
        for waiter in self.asked.remove(&domain).unwrap_or_default() {
            // The shard may have stopped asking.
            let _ = waiter.send(found.clone());
        }
        if is_new && let Some(kept) = &entry.kept {
            self.store.save(&domain, kept.clone(), self.log.clone());
        }
        if entry.kept.is_none() && entry.failed.is_none() {
            self.entries.remove(&domain);
            return;
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&domain) {
            self.make_room(now);
        }
        self.entries.insert(domain, entry);
    }

    /// Forgets what is over, and when that is not enough, what is oldest.
    fn make_room(&mut self, now: i64) {
        let gone = |entry: &Entry| {
            entry.kept.as_ref().is_none_or(|kept| !kept.holds(now))
                && entry
                    .failed
                    .as_ref()
                    .is_none_or(|failed| !failed.holds(now))
        };
        let mut leaving: Vec<Box<str>> = Vec::new();
        for (domain, entry) in &self.entries {
            if gone(entry) {
                leaving.push(domain.clone());
            }
        }
        if leaving.is_empty() {
            let age = |entry: &Entry| entry.kept.as_ref().map_or(i64::MIN, |kept| kept.fetched);
            let oldest = self.entries.iter().min_by_key(|(_, entry)| age(entry));
            leaving.extend(oldest.map(|(domain, _)| domain.clone()));
        }
        for domain in leaving {
            self.store.remove(&domain);
            self.entries.remove(&domain);
        }
    }

    /// Fetches again what should not run out (RFC 8461 §10.2).
    fn refresh(&mut self) {
        let Some(web) = self.web.clone() else {
            return;
        };
        let now = now();
        let due = |entry: &Entry| {
            let kept = entry.kept.as_ref();
            kept.is_some_and(|kept| kept.holds(now) && kept.is_due(now))
        };
        let due: Vec<Box<str>> = self
            .entries
            .iter()
            .filter(|(domain, entry)| due(entry) && !self.asked.contains_key(*domain))
            .map(|(domain, _)| domain.clone())
            .take(REFRESHES_MAX)
            .collect();
        for domain in due {
            self.asked.insert(domain.clone(), Vec::new());
            self.look(domain, web.clone(), Haste::Nobody);
        }
    }
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// Mail: a policy at hand is answered.
    Somebody,
    /// Nobody: what is old is fetched again.
    Nobody,
}

/// A look at one domain.
struct Look {
    domain: Box<str>,
    entry: Entry,
    resolver: Resolver,
    slots: Arc<Semaphore>,
    web: Web,
}

impl Look {
    async fn learn(mut self, haste: Haste) -> Learnt {
        let id = self.id().await;
        let now = now();
        let mut is_new = false;
        if !self.entry.kept.as_ref().is_some_and(|kept| kept.holds(now)) {
            self.entry.kept = None;
        }
        match id {
            // No record does not end a policy (RFC 8461 §5.1): the domain's owner ends it with a
            // policy of mode none, whoever forges an answer without a record does not.
            None => self.entry.failed = None,
            Some(id) if self.entry.wants(&id, now, haste) => match self.fetch().await {
                Ok(policy) => {
                    self.entry = Entry {
                        kept: Some(Kept::new(id, policy, now)),
                        failed: None,
                    };
                    is_new = true;
                }
                Err(trouble) => {
                    self.entry.failed = Some(Failed {
                        id,
                        at: now,
                        trouble,
                    });
                }
            },
            Some(_) => {}
        }
        Learnt {
            domain: self.domain,
            entry: self.entry,
            is_new,
        }
    }

    async fn id(&self) -> Option<Box<str>> {
        let question = Question {
            name: format!("_mta-sts.{}", self.domain).into(),
            kind: Kind::Txt,
        };
        match self.resolver.lookup(question).await.answer {
            Answer::Records(Records::Texts(texts), _) => {
                sts::id(texts.iter().map(|text| &**text)).map(Into::into)
            }
            _ => None,
        }
    }

    /// Fetches it in bounded time, the wait for one's turn included: mail is waiting.
    async fn fetch(&self) -> Result<Policy, Trouble> {
        let fetching = async {
            let _slot = self.slots.acquire().await;
            self.fetch_now().await
        };
        match tokio::time::timeout(FETCH_WAIT, fetching).await {
            Ok(fetched) => fetched,
            Err(_) => {
                let why = format!("mta-sts.{} did not answer in time", self.domain);
                Err(trouble(TroubleKind::Fetch, why))
            }
        }
    }

    async fn fetch_now(&self) -> Result<Policy, Trouble> {
        let host = format!("mta-sts.{}", self.domain);
        let asking = Asking {
            resolver: &self.resolver,
            web: &self.web,
            host: &host,
            is_plain: false,
            wait: FETCH_WAIT,
        };
        let got = asking.get(WELL_KNOWN).await;
        let document = got.map_err(|fault| {
            let kind = match fault {
                Fault::Certificate(_) => TroubleKind::Certificate,
                Fault::Broken(_) => TroubleKind::Fetch,
            };
            trouble(kind, fault.to_string())
        })?;
        if document.status != OK {
            let why = format!("{host} answers {}", document.status);
            return Err(trouble(TroubleKind::Fetch, why));
        }
        let invalid = |why: String| trouble(TroubleKind::Invalid, why);
        if document.media_type != "text/plain" {
            let why = format!("{host} has it as {:?}", document.media_type);
            return Err(invalid(why));
        }
        let text = String::from_utf8(document.body)
            .map_err(|_| invalid("it is not in UTF-8".to_owned()))?;
        Policy::parse(&text).map_err(|bad| invalid(bad.to_string()))
    }
}

fn trouble(kind: TroubleKind, why: String) -> Trouble {
    Trouble {
        kind,
        why: why.into(),
    }
}

impl Entry {
    /// What it means for mail now.
    fn found(&self, now: i64) -> Found {
        let kept = self.kept.as_ref().filter(|kept| kept.holds(now));
        Found {
            policy: kept
                .filter(|kept| kept.policy.mode != Mode::None)
                .map(|kept| Arc::clone(&kept.policy)),
            trouble: self.failed.as_ref().map(|failed| failed.trouble.clone()),
        }
    }

    /// Is the policy of this id to be fetched?
    fn wants(&self, id: &str, now: i64, haste: Haste) -> bool {
        if let Some(failed) = &self.failed
            && *failed.id == *id
            && failed.holds(now)
        {
            return false;
        }
        match &self.kept {
            Some(kept) if *kept.id == *id => haste == Haste::Nobody && kept.is_due(now),
            _ => true,
        }
    }
}

impl Failed {
    fn holds(&self, now: i64) -> bool {
        (self.at..self.at + FAILED_HOLD_S).contains(&now)
    }
}

/// RFC 8461 §3.3
const WELL_KNOWN: &str = "/.well-known/mta-sts.txt";
const OK: u16 = 200;
/// Questions that wait.
const REQUESTS_MAX: usize = 4096;
/// How long a policy may take to come. RFC 8461 §3.3 suggests a minute, but the domain's first mail
/// waits for it, and goes as without one where it does not come.
const FETCH_WAIT: Duration = Duration::from_secs(15);
/// Policies that are fetched at a time: servers that never answer keep their places for
/// [`FETCH_WAIT`], and others want some too.
const FETCHES_MAX: usize = 256;
/// Policies that are fetched again at a time.
const REFRESHES_MAX: usize = 64;
/// Policies kept; a usual one is 200 octets, the largest that is taken 64 KiB.
const ENTRIES_MAX: usize = 16 * 1024;
/// How long a policy that could not be had is not asked for again (RFC 8461 §3.3: five minutes).
const FAILED_HOLD_S: i64 = 300;
/// How often policies that run out are looked for.
const REFRESH_LOOK: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str, max_age: u64, fetched: i64) -> Kept {
        let text = format!("version: STSv1\nmode: enforce\nmx: a.test\nmax_age: {max_age}\n");
        Kept::new(id.into(), Policy::parse(&text).unwrap(), fetched)
    }

    fn failed(id: &str, at: i64) -> Failed {
        Failed {
            id: id.into(),
            at,
            trouble: Trouble {
                kind: TroubleKind::Fetch,
                why: "gone".into(),
            },
        }
    }

    #[test]
    fn a_policy_is_fetched_when_its_id_is_new_and_before_it_runs_out() {
        let day = 86_400;
        let entry = Entry {
            kept: Some(kept("1", 7 * 86_400, 1000)),
            failed: None,
        };
        for (id, now, haste, wants) in [
            ("1", 1001, Haste::Somebody, false),
            ("1", 1001, Haste::Nobody, false),
            ("1", 1000 + day, Haste::Nobody, true),
            ("1", 1000 + day, Haste::Somebody, false),
            ("2", 1001, Haste::Somebody, true),
        ] {
            assert_eq!(entry.wants(id, now, haste), wants, "{id} {now}");
        }
        assert!(Entry::default().wants("1", 0, Haste::Somebody));
    }

    #[test]
    fn a_policy_that_could_not_be_had_is_left_alone_for_a_while() {
        let entry = Entry {
            kept: Some(kept("1", 600, 1000)),
            failed: Some(failed("2", 1000)),
        };
        assert!(!entry.wants("2", 1299, Haste::Somebody));
        assert!(entry.wants("2", 1300, Haste::Somebody));
        assert!(entry.wants("3", 1001, Haste::Somebody));
        let (during, after) = (entry.found(1599), entry.found(1600));
        assert!(during.policy.is_some() && during.trouble.is_some());
        assert!(after.policy.is_none());
    }
}
