//! Connections to a destination, exact over all shards: the shard's side of the lease.
//!
//! A destination's count is kept by its home shard ([`Mesh::home`]) in a [`Home`]. Here a
//! delivery asks for a permit, waits for its grant, holds it as long as its connection lives, and
//! gives it back by dropping it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use super::idle::Seat;
use crate::queue::permits::{Home, Notice, What};
use crate::shard::mesh::{Letter, Mesh, PermitWord};
use crate::trial::{self, Bug};

/// The permits of one shard. Cloning shares them.
#[derive(Clone)]
pub(in crate::shard) struct Permits {
    inner: Rc<Inner>,
}

struct Inner {
    mesh: Rc<Mesh>,
    /// The counts of the destinations that are at home here.
    home: RefCell<Home>,
    leases: RefCell<HashMap<u64, Lease>>,
}

/// Of what somebody wants a permit.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The lane's name, or that of a group of hosts.
    pub(super) name: Rc<str>,
    /// Permits there are.
    pub(super) limit: u32,
    /// Several lanes use them.
    pub(super) is_shared: bool,
}

/// What this shard has and wants of one destination.
struct Lease {
    claim: Claim,
    /// Deliveries that wait.
    line: VecDeque<oneshot::Sender<Permit>>,
    /// Permits in hand, each with a delivery.
    held: u32,
    /// Of them, asked back by home and not yet returned.
    recalled: u32,
    /// Of them, to be given to others after a turn.
    turns: u32,
    /// Of them, with connections that have no mail.
    idle: VecDeque<Rc<Seat>>,
}

impl Lease {
    fn new(claim: Claim) -> Self {
        Self {
            claim,
            line: VecDeque::new(),
            held: 0,
            recalled: 0,
            turns: 0,
            idle: VecDeque::new(),
        }
    }

    /// Others wait for a permit that is here.
    fn is_wanted(&self) -> bool {
        self.recalled > 0 || self.ends_turns()
    }

    /// Other shards do.
    fn is_wanted_elsewhere(&self) -> bool {
        self.recalled > 0 || self.turns > 0
    }

    /// Others wait who have none: on other shards, or here in the line for one that several lanes use.
    fn ends_turns(&self) -> bool {
        let mut line = self.line.iter();
        let is_due = self.claim.is_shared && line.any(|waiting| !waiting.is_canceled());
        self.turns > 0 || is_due
    }

    /// Tells so many connections without mail that others have some.
    fn wake_idle(&mut self, permits: u32) {
        let idle = std::iter::from_fn(|| self.idle.pop_front());
        let told = idle.filter(|seat| seat.wake());
        told.take(permits as usize).for_each(drop);
    }
}

/// Leave for one connection. Dropped, it goes to the next delivery in line or back home.
pub(super) struct Permit {
    inner: Rc<Inner>,
    destination: u64,
    /// Where its connection waits, idle, for others to want it.
    seat: Rc<Seat>,
}

impl Permit {
    /// True when another shard waits for a permit of this destination, and the connection that has
    /// this one should end: it has carried so many messages, and lasts so long.
    #[must_use]
    pub(super) fn is_over(&self, carried: usize, lasts: Duration) -> bool {
        let leases = self.inner.leases.borrow();
        let turn_is_over = carried >= TURN_MESSAGES || lasts >= TURN_TIME;
        leases
            .get(&self.destination)
            .is_some_and(|lease| lease.recalled > 0 || lease.ends_turns() && turn_is_over)
    }

    /// True when another shard waits for a permit of this destination: not to be kept idle.
    #[must_use]
    pub(super) fn is_wanted(&self) -> bool {
        let leases = self.inner.leases.borrow();
        leases.get(&self.destination).is_some_and(Lease::is_wanted)
    }

    /// Waits, idle, until another shard wants it.
    pub(super) async fn wanted(&self) {
        let seated = match self.inner.leases.borrow_mut().get_mut(&self.destination) {
            Some(lease) if !lease.is_wanted() => {
                lease.idle.retain(|seat| seat.is_taken());
                lease.idle.push_back(Rc::clone(&self.seat));
                self.seat.take()
            }
            // A lease that is gone has no permits: this one was of it.
            _ => return,
        };
        seated.woken().await;
    }
}

impl Permits {
    /// The permits of a shard.
    #[must_use]
    pub(in crate::shard) fn new(mesh: Rc<Mesh>) -> Self {
        Self {
            inner: Rc::new(Inner {
                mesh,
                home: RefCell::default(),
                leases: RefCell::default(),
            }),
        }
    }

    /// What its letters go by.
    #[must_use]
    pub(in crate::shard) fn mesh(&self) -> &Rc<Mesh> {
        &self.inner.mesh
    }

    /// The limits are others: those of what is in hand or wanted are told anew.
    pub(super) fn set_limits(&self, limit: impl Fn(&Claim) -> u32) {
        let mut changed = Vec::new();
        for (&destination, lease) in self.inner.leases.borrow_mut().iter_mut() {
            let new = limit(&lease.claim);
            if lease.claim.limit != new {
                lease.claim.limit = new;
                changed.push(destination);
            }
        }
        for destination in changed {
            self.inner.want(destination);
        }
    }

    /// A destination at home here takes so many connections; `None`: that is not known.
    pub(super) fn set_cap(&self, destination: u64, cap: Option<u32>) {
        let notices = self.inner.home.borrow_mut().set_cap(destination, cap);
        self.inner.deliver(notices);
    }

    /// Permits lent for a destination at home here.
    #[must_use]
    pub(super) fn lent(&self, destination: u64) -> u32 {
        self.inner.home.borrow().lent(destination)
    }

    /// Permits of a destination in hand here.
    #[must_use]
    pub(super) fn held_of(&self, destination: u64) -> u32 {
        let leases = self.inner.leases.borrow();
        leases.get(&destination).map_or(0, |lease| lease.held)
    }

    /// Waits for leave to open one more connection. Given up by dropping the future.
    pub(super) async fn acquire(&self, claim: Claim) -> Option<Permit> {
        let destination = hash(&claim.name);
        let (tell, told) = oneshot::channel();
        {
            let mut leases = self.inner.leases.borrow_mut();
            let lease = leases
                .entry(destination)
                .or_insert_with(|| Lease::new(claim.clone()));
            lease.claim.limit = claim.limit;
            lease.line.push_back(tell);
            if claim.is_shared {
                lease.wake_idle(1);
            }
        }
        self.inner.want(destination);
        told.await.ok()
    }

    /// Takes a word that came through the mesh.
    pub(in crate::shard) fn hear(&self, from: usize, destination: u64, word: PermitWord) {
        let from = shard_number(from);
        let notices = match word {
            PermitWord::Want { permits, limit } => {
                let mut home = self.inner.home.borrow_mut();
                home.request(destination, from, permits, limit)
            }
            PermitWord::Return(permits) => {
                self.inner
                    .home
                    .borrow_mut()
                    .release(destination, from, permits)
            }
            PermitWord::Grant(permits) => return self.inner.granted(destination, permits),
            PermitWord::Recall(permits) => return self.inner.recalled(destination, permits),
            PermitWord::TurnEnds(permits) => return self.inner.turn_ends(destination, permits),
        };
        self.inner.deliver(notices);
    }

    /// Permits in hand, over all destinations.
    #[must_use]
    pub(in crate::shard) fn held(&self) -> u32 {
        self.inner
            .leases
            .borrow()
            .values()
            .map(|lease| lease.held)
            .sum()
    }
}

impl Inner {
    /// Tells the home how many deliveries wait here.
    fn want(self: &Rc<Self>, destination: u64) {
        let word = {
            let leases = self.leases.borrow();
            let Some(lease) = leases.get(&destination) else {
                return;
            };
            PermitWord::Want {
                permits: u32::try_from(lease.line.len()).unwrap_or(u32::MAX),
                limit: lease.claim.limit,
            }
        };
        self.tell_home(destination, word);
    }

    fn tell_home(self: &Rc<Self>, destination: u64, word: PermitWord) {
        let (here, home) = (self.mesh.here(), self.mesh.home(destination));
        if home == here {
            Permits {
                inner: Rc::clone(self),
            }
            .hear(here, destination, word);
        } else {
            self.mesh.send(
                home,
                Letter::Permits {
                    from: here,
                    destination,
                    word,
                },
            );
        }
    }

    /// Passes on what the home here has to say.
    fn deliver(self: &Rc<Self>, notices: Vec<Notice>) {
        for notice in notices {
            let word = match notice.what {
                What::Granted => PermitWord::Grant(notice.permits),
                What::Recalled => PermitWord::Recall(notice.permits),
                What::TurnEnds => PermitWord::TurnEnds(notice.permits),
            };
            let (here, to) = (self.mesh.here(), usize::from(notice.shard));
            if to == here {
                Permits {
                    inner: Rc::clone(self),
                }
                .hear(here, notice.destination, word);
            } else {
                self.mesh.send(
                    to,
                    Letter::Permits {
                        from: here,
                        destination: notice.destination,
                        word,
                    },
                );
            }
        }
    }

    fn granted(self: &Rc<Self>, destination: u64, permits: u32) {
        let is_known = match self.leases.borrow_mut().get_mut(&destination) {
            Some(lease) => {
                lease.held += permits;
                true
            }
            None => false,
        };
        if !is_known {
            // Who wanted them is gone.
            return self.tell_home(destination, PermitWord::Return(permits));
        }
        for _ in 0..permits {
            // Dropped without a taker, the permit goes straight back.
            drop(self.hand_on(Permit {
                inner: Rc::clone(self),
                destination,
                seat: Rc::default(),
            }));
        }
    }

    fn recalled(self: &Rc<Self>, destination: u64, permits: u32) {
        if let Some(lease) = self.leases.borrow_mut().get_mut(&destination) {
            lease.recalled = (lease.recalled + permits).min(lease.held);
            lease.wake_idle(permits);
        }
    }

    fn turn_ends(self: &Rc<Self>, destination: u64, permits: u32) {
        if let Some(lease) = self.leases.borrow_mut().get_mut(&destination) {
            lease.turns = (lease.turns + permits).min(lease.held);
            lease.wake_idle(permits);
        }
    }

    /// Gives a permit to the first delivery that still waits.
    fn hand_on(self: &Rc<Self>, mut permit: Permit) -> Option<Permit> {
        loop {
            let next = self
                .leases
                .borrow_mut()
                .get_mut(&permit.destination)?
                .line
                .pop_front();
            match next {
                None => return Some(permit),
                Some(waiting) => match waiting.send(permit) {
                    Ok(()) => return None,
                    Err(back) => permit = back,
                },
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let destination = self.destination;
        let next = {
            let mut leases = self.inner.leases.borrow_mut();
            let Some(lease) = leases.get_mut(&destination) else {
                return;
            };
            lease.line.retain(|waiting| !waiting.is_canceled());
            if !lease.is_wanted_elsewhere() && !lease.line.is_empty() {
                lease.line.pop_front()
            } else {
                lease.held -= 1;
                let asked = if lease.recalled > 0 {
                    &mut lease.recalled
                } else {
                    &mut lease.turns
                };
                *asked = asked.saturating_sub(1);
                if lease.held == 0 && lease.line.is_empty() {
                    leases.remove(&destination);
                }
                None
            }
        };
        match next {
            // A receiver that went away in this very moment drops the permit, which comes here again.
            Some(waiting) => drop(waiting.send(Self {
                inner: Rc::clone(&self.inner),
                destination,
                seat: Rc::default(),
            })),
            None if trial::has(Bug::PermitLeaked) => {}
            None => {
                let permits = 1 + u32::from(trial::has(Bug::PermitReturnedTwice));
                self.inner
                    .tell_home(destination, PermitWord::Return(permits));
            }
        }
    }
}

/// A destination's number, the same on every shard. Two destinations of one number would share a
/// limit, which is strict and never too lax.
pub(super) fn hash(lane: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    lane.hash(&mut hasher);
    hasher.finish()
}

fn shard_number(shard: usize) -> u16 {
    u16::try_from(shard).unwrap_or(u16::MAX)
}

/// Messages that a connection may carry while another shard has none to the same destination: few
/// enough that everybody's turn comes soon, and so many that most messages need no new connection.
const TURN_MESSAGES: usize = 10;
/// A slow host must not make turns long.
const TURN_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::shard::mesh::Directory;

    /// It waited for its next message, for seconds, while another shard had one and no permit.
    #[test]
    fn an_idle_connection_hears_at_once_that_another_shard_wants_its_permit() {
        let mesh = Rc::new(Mesh::new(Directory::new(2), 0));
        let mut names = (0..).map(|number| format!("d{number}.test"));
        let name = names.find(|name| mesh.home(hash(name)) == 1).unwrap();
        let permits = Permits::new(mesh);
        let claim = |is_shared| Claim {
            name: name.as_str().into(),
            limit: 2,
            is_shared,
        };
        let hear = |word| permits.hear(1, hash(&name), word);
        for word in [PermitWord::TurnEnds(1), PermitWord::Recall(1)] {
            block_on(async {
                let mut acquired = pin!(permits.acquire(claim(false)));
                assert!(poll_once(&mut acquired).await.is_none());
                hear(PermitWord::Grant(2));
                let (permit, mut other) =
                    (acquired.await.unwrap(), pin!(permits.acquire(claim(false))));
                // Nobody waited for the second: it went home.
                assert!(poll_once(&mut other).await.is_none());
                hear(PermitWord::Grant(1));
                let other = other.await.unwrap();
                let (mut first, mut second) = (pin!(permit.wanted()), pin!(other.wanted()));
                assert!(poll_once(&mut first).await.is_none());
                assert!(poll_once(&mut second).await.is_none());
                hear(word);
                assert!(poll_once(&mut first).await.is_some());
                assert!(poll_once(&mut second).await.is_none(), "one was wanted");
                assert!(poll_once(other.wanted()).await.is_some(), "and still is");
            });
            assert_eq!(permits.held(), 0);
        }
    }

    /// A connection of another lane would keep it for as long as it has mail.
    #[test]
    fn a_permit_that_lanes_share_is_wanted_as_soon_as_another_waits_here() {
        let permits = Permits::new(Rc::new(Mesh::new(Directory::new(1), 0)));
        let claim = |is_shared| Claim {
            name: "mx *.test".into(),
            limit: 1,
            is_shared,
        };
        for is_shared in [true, false] {
            block_on(async {
                let permit = permits.acquire(claim(is_shared)).await.unwrap();
                let mut second = pin!(permits.acquire(claim(is_shared)));
                {
                    let mut idle = pin!(permit.wanted());
                    assert!(poll_once(&mut idle).await.is_none());
                    assert!(poll_once(&mut second).await.is_none(), "there is one");
                    assert_eq!(poll_once(&mut idle).await.is_some(), is_shared);
                }
                assert_eq!(permit.is_over(TURN_MESSAGES, Duration::ZERO), is_shared);
                assert!(
                    !permit.is_over(1, Duration::ZERO),
                    "a turn is some messages"
                );
                drop(permit);
                assert!(poll_once(&mut second).await.flatten().is_some(), "its turn");
            });
            assert_eq!(
                (permits.held(), permits.inner.leases.borrow().len()),
                (0, 0)
            );
        }
    }

    /// With a home for each destination on one of them, no shard keeps the counts for much more than
    /// its part.
    #[test]
    fn destinations_spread_over_sixty_four_homes() {
        let mesh = Mesh::new(Directory::new(64), 0);
        let mut homes = [0; 64];
        for number in 0..10_000 {
            homes[mesh.home(hash(&format!("d{number}.test")))] += 1;
        }
        let (least, most) = (homes.iter().min(), homes.iter().max());
        // 156 on average, and chance moves it by 12 or so.
        assert!(least > Some(&100) && most < Some(&220), "{homes:?}");
    }
}
