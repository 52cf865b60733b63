//! A message's way to hosts elsewhere: over the connection at hand, then host by host.

use std::rc::Rc;
use std::time::Duration;

use super::attempt::Attempt;
use super::connect::Refusal;
use super::courier::Courier;
use super::transmit::Connection;
use super::warmup::Leave;
use crate::mail::envelope::{QueueId, TlsWish};
use crate::mail::outcome::Blame;
use crate::shard::hosts::{Candidate, Candidates, NoHost};
use crate::shard::message::Message;
use crate::world::{Tick, World};

impl<W: World> Courier<'_, W> {
    /// Over the connection at hand, then host by host, until every recipient has an outcome.
    pub(super) async fn deliver(&mut self, message: &Rc<Message>, attempt: &mut Attempt<W>) {
        let wish = message.tls_wish();
        if let Some(connection) = self.kept(attempt.id(), wish).await {
            self.transact(connection, message, attempt).await;
            if attempt.is_over() {
                return;
            }
            // A kept connection that fails says nothing of its host: begin afresh with it.
            attempt.forget_deferral();
        }
        let mut candidates = match self.candidates(wish, attempt).await {
            Ok(candidates) => candidates,
            Err(nobody) => return self.give_up(attempt, wish, nobody),
        };
        let mut worst: Option<NoHost> = None;
        let (mut once_more, mut is_spent) = (None, false);
        loop {
            let candidate = match once_more.take() {
                Some(candidate) => candidate,
                None => match self.next_host(&mut candidates, attempt).await {
                    Some(candidate) => candidate,
                    None => break,
                },
            };
            // One permit is one connection: a host that took only some is left before the next.
            if let Some(before) = self.connection.take() {
                before.quit().await;
            }
            let connected = self.connect(&candidate, &candidates, attempt);
            match connected.await {
                Ok(connection) => {
                    self.shard.hosts.worked(candidate.address);
                    let rest = self.transact(connection, message, attempt).await;
                    if attempt.is_over() {
                        return;
                    }
                    once_more = (rest == Rest::AnotherConnection).then_some(candidate);
                }
                Err(Refusal::Host(nobody)) => {
                    // One host that may come back is a reason to wait.
                    if worst.as_ref().is_none_or(|worst| worst.permanent) {
                        worst = Some(nobody);
                    }
                }
                Err(Refusal::Rest(until)) => return attempt.rests = Some(until),
                Err(Refusal::Spent) => is_spent = true,
                Err(Refusal::Ourselves) => candidates.came_home(),
                Err(Refusal::Source) => once_more = Some(candidate),
                Err(Refusal::Local(diagnosis)) => {
                    return attempt.defer_all(Blame::Local, &diagnosis);
                }
            }
        }
        if is_spent && attempt.last_deferral().is_none() {
            self.shard.sources.wait_for_tomorrow(&self.name);
            return attempt.rests = Some(self.tomorrow(worst.is_some()));
        }
        let nobody = attempt.last_deferral().map(|diagnosis| NoHost {
            diagnosis,
            permanent: false,
        });
        self.give_up(
            attempt,
            wish,
            nobody.unwrap_or_else(|| candidates.verdict(worst)),
        );
    }

    async fn candidates(
        &mut self,
        wish: TlsWish,
        attempt: &mut Attempt<W>,
    ) -> Result<Candidates, NoHost> {
        let began = self.shard.world.now();
        let published = self.published.take();
        let candidates = Candidates::new(self.shard, &self.how, wish, published).await;
        attempt.looked_up(began);
        candidates
    }

    async fn next_host(
        &self,
        candidates: &mut Candidates,
        attempt: &mut Attempt<W>,
    ) -> Option<Candidate> {
        let began = self.shard.world.now();
        let next = candidates.next(self.shard).await;
        attempt.looked_up(began);
        next
    }

    /// When mail goes again whose sources have sent enough for today. Hosts that did not work may work
    /// before tomorrow.
    fn tomorrow(&self, has_failed: bool) -> Tick {
        let soon = match has_failed {
            true => self.shard.world.now() + SPENT_LOOK,
            false => Tick::NEVER,
        };
        self.shard.next_day().min(soon)
    }

    /// The connection at hand, where this message may go over it.
    async fn kept(&mut self, id: QueueId, wish: TlsWish) -> Option<Connection<W>> {
        let mut connection = self.connection.take()?;
        if !connection.is_usable() {
            return None;
        }
        if !connection.suits(wish) || self.comes_from_elsewhere(&connection, id) {
            connection.quit().await;
            return None;
        }
        Some(connection)
    }

    /// A message was greylisted where it came from another source, which may go now.
    fn comes_from_elsewhere(&self, connection: &Connection<W>, id: QueueId) -> bool {
        let sources = &self.shard.sources;
        let Some((again, source)) = sources
            .again(&self.name, id)
            .zip(connection.source.as_ref())
        else {
            return false;
        };
        let settings = self.shard.settings();
        let pool = settings.pools.find(self.pool.as_deref());
        let trip = self.trip(pool, (connection.peer().ip(), &connection.host), Some(id));
        again != source.name && sources.again_from(&trip).is_some()
    }

    /// Nobody is left to try.
    fn give_up(&self, attempt: &mut Attempt<W>, wish: TlsWish, nobody: NoHost) {
        let shard = self.shard;
        if nobody.permanent {
            return attempt.fail_all(Blame::Destination, &nobody.diagnosis);
        }
        if wish == TlsWish::Required {
            // It may be that this message alone finds no host.
            return attempt.defer_all(Blame::Message, &nobody.diagnosis);
        }
        let (now, random) = (shard.world.now(), shard.world.random());
        shard.queue.borrow_mut().lane_failed(
            now,
            self.lane,
            Blame::Destination,
            &nobody.diagnosis,
            random,
        );
        // Too many connections are no fault of the message, whose attempts would be counted.
        let blame = match attempt.crowded {
            true => Blame::Pace,
            false => Blame::Destination,
        };
        attempt.defer_all(blame, &nobody.diagnosis);
    }

    /// One transaction after the other over `connection`, while the peer takes only some of the
    /// recipients in each. Keeps the connection for the next message if it can be used again.
    async fn transact(
        &mut self,
        mut connection: Connection<W>,
        message: &Rc<Message>,
        attempt: &mut Attempt<W>,
    ) -> Rest {
        attempt.relay = Some(Rc::clone(&connection.relay));
        attempt.security = Some(connection.security());
        attempt.source.clone_from(&connection.source);
        let (mut rest, mut strained) = (Rest::AnotherHost, false);
        loop {
            let form = connection.form_of(message).await;
            attempt.stages.take(&mut connection.stages);
            let form = match form {
                Ok(form) => form,
                Err(outcome) => {
                    attempt.end_all(&outcome);
                    break;
                }
            };
            let open = attempt.remaining().len();
            let comes_back = attempt.has_return_path(message);
            let most = match self.leave_for(&mut connection, open, comes_back).await {
                Leave::Granted(most) => most,
                Leave::Spent => {
                    rest = Rest::AnotherConnection;
                    break;
                }
                Leave::Later(until) => {
                    attempt.rests = Some(until);
                    break;
                }
            };
            let outgoing = attempt.outgoing(message, &form, most);
            let mut results = connection.transact(outgoing, message, &form).await;
            if comes_back {
                results.answer_for_host();
            }
            strained |= self.learn(&connection, &results.settled);
            self.note_greylisting(&connection, attempt.id(), &results.settled);
            attempt.take(results);
            let moved_on = attempt.remaining().len() < open;
            let refused = attempt.last_deferral().is_some();
            if moved_on && !refused && self.goes_in_pieces(connection.group.as_ref(), most < open) {
                // The next piece may have to wait, and what is known now should not wait with it.
                attempt.leave_rest_to_others(&self.name);
            }
            if moved_on && !refused && connection.is_ready() && !connection.may_begin() {
                // Its limits are reached, and count from none again over the next connection
                // (RFC 9422 §4). It ends: each connection settles some, or is the last.
                rest = Rest::AnotherConnection;
            }
            if attempt.is_done() || !moved_on || !connection.is_usable() || !connection.may_begin()
            {
                break;
            }
            if refused {
                // The host refuses some for reasons of its own: the next host may take them.
                break;
            }
        }
        if attempt.is_done() && !strained {
            self.shard.queue.borrow_mut().lane_ok(self.lane);
        }
        // Whether its peer has left since is asked when somebody wants to use it.
        if connection.is_ready() {
            self.connection = Some(connection);
        }
        rest
    }
}

/// Who may take the recipients that a connection left over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The same host, over a new connection.
    AnotherConnection,
    /// The next host.
    AnotherHost,
}

/// How soon a lane is looked at again whose sources have sent enough for today, while hosts fail.
const SPENT_LOOK: Duration = Duration::from_secs(15 * 60);
