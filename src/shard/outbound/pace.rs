//! The pace of mail, exact over all shards: the shard's side of the slots.
//!
//! A destination's pace is kept by its home shard in a [`Pacer`]. Here a delivery asks for a slot
//! before its message, where there is a limit or one was learned, waits for it if it comes soon, and
//! else lets its lane rest until then. What nobody limits pays one look at a flag.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use super::permits::{Permits, hash};
use crate::mail::rate;
use crate::queue::pace::{Change, Facts, Lately, Lesson, Of, Pacer, Slot, Strain, Terms, Wish};
use crate::shard::mesh::{Letter, Mesh};
use crate::world::{Tick, World};

/// A word about a pace, between a shard and the destination's home shard.
#[derive(Clone, Debug)]
pub enum PaceWord {
    /// To home: a slot for a message, please.
    Book {
        /// The destination's name.
        name: Box<str>,
        /// What is to be sent.
        wish: Wish,
    },
    /// To home: this slot is not needed.
    Unbook(Tick),
    /// To home: the peer complains.
    Strained(Box<Complaint>),
    /// From home: the slot that was asked for.
    Booked(Slot),
    /// From home, to all: mail needs slots from now on, or does no more.
    Slowed(bool),
}

/// What a peer complains of.
#[derive(Clone, Debug)]
pub struct Complaint {
    name: Box<str>,
    of: Of,
    /// Messages that it took of late, from this shard.
    taken: u32,
    /// In how long; `None`: since the last word.
    span: Option<Duration>,
    /// Connections to it from this shard.
    open: u32,
    why: Box<str>,
}

/// The paces of one shard. Cloning shares them.
#[derive(Clone)]
pub(in crate::shard) struct Paces {
    inner: Rc<Inner>,
}

struct Inner {
    mesh: Rc<Mesh>,
    permits: Permits,
    /// The paces of the destinations that are at home here.
    home: RefCell<Pacer>,
    /// Destinations everywhere that have complained.
    slowed: RefCell<HashSet<u64>>,
    accounts: RefCell<HashMap<u64, Rc<Account>>>,
    /// What the log is to say.
    said: RefCell<Vec<String>>,
    /// When it was last asked what time brings.
    looked: Cell<Tick>,
}

/// What this shard sends to a destination.
pub(super) struct Account {
    destination: u64,
    name: Rc<str>,
    terms: Cell<Terms>,
    is_slowed: Cell<bool>,
    lately: Cell<Lately>,
    /// Messages taken of which home was not told.
    untold: Cell<u32>,
    /// A slot that is far off: the lane rests until then.
    booked: Cell<Option<Slot>>,
    /// Deliveries that have asked for a slot.
    line: RefCell<VecDeque<oneshot::Sender<Slot>>>,
}

impl Account {
    /// A message needs a slot.
    pub(super) fn is_paced(&self) -> bool {
        let terms = self.terms.get();
        self.is_slowed.get() || terms.rate.is_some() || terms.recipient_rate.is_some()
    }

    /// A message was taken.
    pub(super) fn count(&self, now: Tick) {
        let mut lately = self.lately.get();
        lately.add(now, 1);
        self.lately.set(lately);
        self.untold.set(self.untold.get().saturating_add(1));
    }
}

impl Slot {
    /// So late that using it would crowd those behind it.
    fn is_late(&self, now: Tick) -> bool {
        now.since(self.at) > LATE_MAX.max(self.interval / 2)
    }
}

impl Paces {
    /// The paces of a shard.
    #[must_use]
    pub(in crate::shard) fn new(permits: Permits) -> Self {
        Self {
            inner: Rc::new(Inner {
                mesh: Rc::clone(permits.mesh()),
                permits,
                home: RefCell::default(),
                slowed: RefCell::default(),
                accounts: RefCell::default(),
                said: RefCell::default(),
                looked: Cell::default(),
            }),
        }
    }

    /// What is known here of a lane, or of a group of hosts.
    pub(super) fn account(&self, now: Tick, name: &Rc<str>, terms: Terms) -> Rc<Account> {
        let destination = hash(name);
        let mut accounts = self.inner.accounts.borrow_mut();
        let account = accounts.entry(destination).or_insert_with(|| {
            Rc::new(Account {
                destination,
                name: Rc::clone(name),
                terms: Cell::new(terms),
                is_slowed: Cell::new(self.inner.slowed.borrow().contains(&destination)),
                lately: Cell::new(Lately::new(now)),
                untold: Cell::default(),
                booked: Cell::default(),
                line: RefCell::default(),
            })
        });
        account.terms.set(terms);
        Rc::clone(account)
    }

    /// The limits are others: slots of the old ones are given back.
    pub(in crate::shard) fn set_terms(&self, now: Tick, terms: impl Fn(&str) -> Terms) {
        let accounts: Vec<_> = self.inner.accounts.borrow().values().cloned().collect();
        for account in accounts {
            let new = terms(&account.name);
            if account.terms.replace(new) != new
                && let Some(slot) = account.booked.take()
            {
                self.unbook(now, &account, slot);
            }
        }
    }

    /// Waits for the turn of one message. `Err`: it comes later than anybody should wait for it with
    /// a connection at hand.
    pub(super) async fn turn<W: World>(
        &self,
        world: &W,
        account: &Rc<Account>,
        slot: Option<Slot>,
        recipients: u32,
    ) -> Result<Option<Slot>, Tick> {
        if !account.is_paced() {
            return Ok(None);
        }
        let slot = match (slot, account.booked.get()) {
            (None, Some(far)) if far.at > world.now() + HOLD => return Err(far.at),
            // It has come: for whoever is here first.
            (None, booked) => {
                account.booked.set(None);
                booked
            }
            (slot, _) => slot,
        };
        match slot {
            Some(slot) => self.wait(world, account, slot, recipients).await,
            None => self.ask_and_wait(world, account, None, recipients).await,
        }
    }

    async fn wait<W: World>(
        &self,
        world: &W,
        account: &Rc<Account>,
        slot: Slot,
        recipients: u32,
    ) -> Result<Option<Slot>, Tick> {
        if slot.is_late(world.now()) {
            let missed = Some(slot.at);
            return self.ask_and_wait(world, account, missed, recipients).await;
        }
        if slot.at > world.now() {
            world.sleep(slot.at).await;
        }
        Ok(Some(slot))
    }

    async fn ask_and_wait<W: World>(
        &self,
        world: &W,
        account: &Rc<Account>,
        instead_of: Option<Tick>,
        recipients: u32,
    ) -> Result<Option<Slot>, Tick> {
        let wish = Wish {
            terms: account.terms.get(),
            recipients,
            taken: account.untold.take(),
            instead_of,
        };
        let (tell, told) = oneshot::channel();
        account.line.borrow_mut().push_back(tell);
        let name = (&*account.name).into();
        let book = PaceWord::Book { name, wish };
        self.tell_home(world.now(), account.destination, book);
        let Ok(slot) = told.await else {
            // The limits were lifted, or this is the end of the shard.
            return Ok(None);
        };
        if slot.at <= world.now() + HOLD {
            world.sleep(slot.at).await;
            return Ok(Some(slot));
        }
        // One slot far off is enough: the next is asked for when that has come.
        match account.booked.get() {
            Some(first) if first.at <= slot.at => {
                self.unbook(world.now(), account, slot);
                Err(first.at)
            }
            later => {
                account.booked.set(Some(slot));
                if let Some(later) = later {
                    self.unbook(world.now(), account, later);
                }
                Err(slot.at)
            }
        }
    }

    /// A slot is not needed.
    pub(super) fn unbook(&self, now: Tick, account: &Account, slot: Slot) {
        if slot.at > now || !slot.is_late(now) {
            self.tell_home(now, account.destination, PaceWord::Unbook(slot.at));
        }
    }

    /// Whether other connections from here carry mail there.
    pub(super) fn has_company(&self, now: Tick, account: &Account) -> bool {
        let open = self.inner.permits.held_of(account.destination);
        open > 1 && account.lately.get().count(now).0 > 0
    }

    /// The peer complains.
    pub(super) fn complain(&self, now: Tick, account: &Account, of: Of, why: &str) {
        let (taken, span) = match account.is_paced() {
            true => (account.untold.take(), None),
            false => {
                let (taken, span) = account.lately.get().count(now);
                account.untold.set(0);
                (taken, Some(span))
            }
        };
        let complaint = Complaint {
            name: (&*account.name).into(),
            of,
            taken,
            span,
            open: self.inner.permits.held_of(account.destination),
            why: why.into(),
        };
        let word = PaceWord::Strained(Box::new(complaint));
        self.tell_home(now, account.destination, word);
    }

    /// Takes a word that came through the mesh.
    pub(in crate::shard) fn hear(&self, now: Tick, from: usize, destination: u64, word: PaceWord) {
        match word {
            PaceWord::Book { name, wish } => {
                let slot = self
                    .inner
                    .home
                    .borrow_mut()
                    .book(now, destination, &name, wish);
                self.tell(now, from, destination, PaceWord::Booked(slot));
            }
            PaceWord::Unbook(slot) => {
                let mut home = self.inner.home.borrow_mut();
                home.unbook(now, destination, slot);
            }
            PaceWord::Strained(complaint) => self.strained(now, destination, &complaint),
            PaceWord::Booked(slot) => self.booked(now, destination, slot),
            PaceWord::Slowed(is_slowed) => self.slowed(destination, is_slowed),
        }
    }

    fn strained(&self, now: Tick, destination: u64, complaint: &Complaint) {
        let lent = self.inner.permits.lent(destination).max(1);
        // Of what the others have sent nobody has told yet: as much for each connection as this one.
        let all = u64::from(complaint.taken) * u64::from(lent) / u64::from(complaint.open.max(1));
        let taken = match complaint.span {
            Some(_) => u32::try_from(all).unwrap_or(u32::MAX),
            None => complaint.taken,
        };
        let strain = Strain {
            of: complaint.of,
            taken,
            span: complaint.span,
            open: lent,
            why: &complaint.why,
        };
        let name = &complaint.name;
        let change = self
            .inner
            .home
            .borrow_mut()
            .strained(now, destination, name, strain);
        if let Some(change) = change {
            self.carry_out(now, change);
        }
    }

    fn booked(&self, now: Tick, destination: u64, slot: Slot) {
        let account = self.inner.accounts.borrow().get(&destination).cloned();
        let Some(account) = account else {
            return;
        };
        let next = account.line.borrow_mut().pop_front();
        if let Some(Err(slot)) = next.map(|waiting| waiting.send(slot)) {
            self.unbook(now, &account, slot);
        }
    }

    fn slowed(&self, destination: u64, is_slowed: bool) {
        let mut slowed = self.inner.slowed.borrow_mut();
        match is_slowed {
            true => slowed.insert(destination),
            false => slowed.remove(&destination),
        };
        if let Some(account) = self.inner.accounts.borrow().get(&destination) {
            account.is_slowed.set(is_slowed);
        }
    }

    /// What time brings, every now and then; what the log is to say of it and of what was heard.
    pub(in crate::shard) fn look(&self, now: Tick) -> Vec<String> {
        if now.since(self.inner.looked.get()) < LOOK_PERIOD {
            return Vec::new();
        }
        self.inner.looked.set(now);
        let changes = self.inner.home.borrow_mut().look(now);
        for change in changes {
            self.carry_out(now, change);
        }
        let mut accounts = self.inner.accounts.borrow_mut();
        accounts.retain(|_, account| {
            let is_quiet = account.lately.get().count(now).0 == 0;
            let waits = account.booked.get().is_some_and(|slot| slot.at > now);
            Rc::strong_count(account) > 1 || waits || !is_quiet
        });
        std::mem::take(&mut self.inner.said.borrow_mut())
    }

    /// What is learned by the home here.
    pub(super) fn lessons(&self, now: Tick, most: usize) -> Vec<Lesson> {
        self.inner.home.borrow().lessons(now, most)
    }

    /// Takes up what was learned before a restart, of a destination that is at home here.
    pub(super) fn recall(&self, now: Tick, lesson: &Lesson) {
        let destination = hash(&lesson.name);
        if self.inner.mesh.home(destination) == self.inner.mesh.here() {
            let changes = self
                .inner
                .home
                .borrow_mut()
                .recall(now, destination, lesson);
            for change in changes {
                self.spread(now, change);
            }
        }
    }

    fn carry_out(&self, now: Tick, change: Change) {
        if let Change::Slowed(destination) = change {
            let facts = self.inner.home.borrow().facts(now, destination);
            self.say(facts.as_ref());
        }
        self.spread(now, change);
    }

    fn spread(&self, now: Tick, change: Change) {
        match change {
            Change::Slowed(destination) | Change::Freed(destination) => {
                let is_slowed = change == Change::Slowed(destination);
                for shard in 0..self.inner.mesh.shards() {
                    self.tell(now, shard, destination, PaceWord::Slowed(is_slowed));
                }
            }
            Change::Crowd(destination) => {
                let cap = self.inner.home.borrow().connections(destination);
                self.inner.permits.set_cap(destination, cap);
            }
        }
    }

    fn say(&self, facts: Option<&Facts>) {
        let Some(facts) = facts else {
            return;
        };
        let pace = facts.interval.map(rate::words).unwrap_or_default();
        let why = facts.why.as_deref().unwrap_or_default();
        let words = format!("{}: mail slows down to {pace}: {why}", facts.name);
        self.inner.said.borrow_mut().push(words);
    }

    /// What the home here knows of a destination; `None` where it is at home elsewhere, or nothing
    /// is known.
    pub(in crate::shard) fn facts(&self, now: Tick, name: &str) -> Option<Facts> {
        self.inner.home.borrow().facts(now, hash(name))
    }

    /// The destinations at home here that have complained.
    pub(in crate::shard) fn all_slowed(&self, now: Tick) -> Vec<Facts> {
        self.inner.home.borrow().slowed(now)
    }

    fn tell_home(&self, now: Tick, destination: u64, word: PaceWord) {
        let home = self.inner.mesh.home(destination);
        self.tell(now, home, destination, word);
    }

    fn tell(&self, now: Tick, to: usize, destination: u64, word: PaceWord) {
        let here = self.inner.mesh.here();
        if to == here {
            return self.hear(now, here, destination, word);
        }
        self.inner.mesh.send(
            to,
            Letter::Pace {
                from: here,
                destination,
                word,
            },
        );
    }
}

/// How often it is asked what time brings: rates change by the half minute.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How long a delivery waits for its slot with a connection open: as long as for the next message. A
/// slot that comes later is waited for without one.
const HOLD: Duration = Duration::from_secs(2);
/// How late a slot of a fast rate may be used.
const LATE_MAX: Duration = Duration::from_millis(500);
