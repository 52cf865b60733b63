//! The only talk between shards: one bounded inbox each, written from any thread.
//!
//! Only small facts travel here (permits for a destination, questions of the control plane, a
//! new configuration, drain), and the connections of users who have logged in elsewhere than where
//! their mailbox is. Mail never does.

mod answer;
mod orders;
mod redirect;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use futures_channel::oneshot;
use futures_util::task::AtomicWaker;

use crate::observe::ask::{Ask, Tell};
use crate::progress::Progress;
use crate::shard::life::rules::Rules;
use crate::shard::outbound::deliver::MailboxWord;
use crate::shard::outbound::pace::PaceWord;
use crate::shard::retrieve::Guest;

/// What one shard is told by another, or by the threads beside them.
pub enum Letter {
    /// About the connections a destination may have.
    Permits {
        /// The shard that speaks.
        from: usize,
        /// The destination, by the hash of its lane's name.
        destination: u64,
        /// What it says.
        word: PermitWord,
    },
    /// About the pace of mail to a destination.
    Pace {
        /// The shard that speaks.
        from: usize,
        /// The destination, as above.
        destination: u64,
        /// What it says.
        word: PaceWord,
    },
    /// A question of the control plane.
    Ask(Ask, oneshot::Sender<Tell>),
    /// A user has logged in on another shard, and is at home here.
    Guest(Box<Guest>),
    /// About the mailbox of a user, who is at home here.
    Mailbox(String, MailboxWord),
    /// The configuration was read anew. The sender goes as soon as the shard goes by it.
    Reload(Rules, mpsc::Sender<()>),
    /// Take no new work, end what is under way, stop.
    Drain(Ending),
}

/// How a shard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How long transactions in progress may take from now on. Told twice, the earlier end counts.
    pub within: Duration,
    /// Somebody else has the listening sockets too: who connects from now on waits for them, and is
    /// not refused.
    pub leaves_sockets: bool,
}

/// A word about permits, between a shard and the destination's home shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitWord {
    /// To home: so many deliveries wait for a permit, of so many that there may be. Replaces what was
    /// told before.
    Want {
        /// Deliveries.
        permits: u32,
        /// Permits there are, by the rules that the shard knows.
        limit: u32,
    },
    /// To home: so many were closed.
    Return(u32),
    /// From home: so many may be opened.
    Grant(u32),
    /// From home: others wait; give back so many as soon as a connection can be spared.
    Recall(u32),
    /// From home: others have none, and everybody else no more than one; give back so many after a
    /// turn.
    TurnEnds(u32),
}

struct Inbox {
    letters: ArrayQueue<Letter>,
    waker: AtomicWaker,
    /// Grows while the shard goes round.
    beats: AtomicU64,
    /// Clients and deliveries that are inside.
    inside: AtomicU64,
}

/// Every shard's inbox. Cloned freely, used from any thread.
#[derive(Clone)]
pub struct Directory {
    inboxes: Arc<[Inbox]>,
    reading: Progress,
}

impl Directory {
    /// Inboxes for so many shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let inbox = || Inbox {
            letters: ArrayQueue::new(LETTERS_MAX),
            waker: AtomicWaker::new(),
            beats: AtomicU64::new(0),
            inside: AtomicU64::new(0),
        };
        Self {
            inboxes: (0..shards).map(|_| inbox()).collect(),
            reading: Progress::default(),
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// A number for each shard, which grows several times a second while the shard goes round.
    #[must_use]
    pub fn beats(&self) -> Vec<u64> {
        let beats = |inbox: &Inbox| inbox.beats.load(Ordering::Relaxed);
        self.inboxes.iter().map(beats).collect()
    }

    /// Clients and deliveries of all shards, as of some milliseconds ago.
    #[must_use]
    pub fn inside(&self) -> u64 {
        let inside = |inbox: &Inbox| inbox.inside.load(Ordering::Relaxed);
        self.inboxes.iter().map(inside).sum()
    }

    /// How far the shards have read their logs, at their start.
    #[must_use]
    pub const fn reading(&self) -> &Progress {
        &self.reading
    }

    /// Puts a letter into a shard's inbox; a full inbox gives it back.
    #[allow(
        clippy::result_large_err,
        reason = "the letter itself comes back, to be sent again"
    )]
    pub fn post(&self, shard: usize, letter: Letter) -> Result<(), Letter> {
        let inbox = &self.inboxes[shard];
        inbox.letters.push(letter)?;
        inbox.waker.wake();
        Ok(())
    }
}

/// One shard's end of the mesh. Lives on its shard.
pub struct Mesh {
    directory: Directory,
    here: usize,
    /// Letters that found a full inbox, by shard: sent again in order. Bounded by what they are
    /// about: one word per lane and connection.
    kept: RefCell<Vec<VecDeque<Letter>>>,
    sent: Cell<u64>,
}

impl Mesh {
    /// The end of shard `here`.
    #[must_use]
    pub fn new(directory: Directory, here: usize) -> Self {
        let kept = (0..directory.shards()).map(|_| VecDeque::new()).collect();
        Self {
            directory,
            here,
            kept: RefCell::new(kept),
            sent: Cell::new(0),
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.directory.shards()
    }

    /// This shard's number.
    #[must_use]
    pub fn here(&self) -> usize {
        self.here
    }

    /// Letters sent to other shards since the start.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Letters in the inbox here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.directory.inboxes[self.here].letters.len()
    }

    /// The shard that keeps the count for a destination.
    #[must_use]
    pub fn home(&self, destination: u64) -> usize {
        (destination % self.directory.shards() as u64) as usize
    }

    /// The shard on which a user's mailbox is open, and all sessions of the user run. The user's
    /// name as the users' file has it.
    #[must_use]
    pub fn home_of_user(&self, user: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        self.home(hasher.finish())
    }

    /// Sends a letter; it never gets lost and never overtakes another to the same shard.
    pub fn send(&self, shard: usize, letter: Letter) {
        self.sent.set(self.sent.get() + 1);
        let mut kept = self.kept.borrow_mut();
        if kept[shard].is_empty() {
            if let Err(letter) = self.directory.post(shard, letter) {
                kept[shard].push_back(letter);
            }
        } else {
            kept[shard].push_back(letter);
        }
    }

    /// Says that this shard goes round.
    pub fn beat(&self) {
        let beats = &self.directory.inboxes[self.here].beats;
        beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how many clients and deliveries this shard has.
    pub fn count_inside(&self, count: usize) {
        let inside = &self.directory.inboxes[self.here].inside;
        inside.store(count as u64, Ordering::Relaxed);
    }

    /// Tries again to send what was kept; true when nothing is left.
    pub fn flush(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        for (shard, letters) in kept.iter_mut().enumerate() {
            while let Some(letter) = letters.pop_front() {
                if let Err(letter) = self.directory.post(shard, letter) {
                    letters.push_front(letter);
                    break;
                }
            }
        }
        kept.iter().all(VecDeque::is_empty)
    }

    /// The next letter to this shard. One task only may wait here.
    pub async fn receive(&self) -> Letter {
        let inbox = &self.directory.inboxes[self.here];
        poll_fn(|cx| {
            if let Some(letter) = inbox.letters.pop() {
                return Poll::Ready(letter);
            }
            inbox.waker.register(cx.waker());
            // A letter may have come between the look and the registration.
            inbox.letters.pop().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Letters that wait in an inbox; a shard reads it every few microseconds.
const LETTERS_MAX: usize = 8 * 1024;
