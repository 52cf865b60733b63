//! What limits a courier: rules for its destination, for a group of hosts that its host belongs to,
//! and what was learned of either.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;

use super::attempt::Attempt;
use super::connect::Refusal;
use super::courier::Courier;
use super::pace::Account;
use super::permits::{Claim, Permit};
use super::transmit::Connection;
use crate::bounces::Class;
use crate::mail::envelope::QueueId;
use crate::mail::outcome::{Blame, Diagnosis, Outcome};
use crate::queue::pace::{Of, Slot, Terms as Pace};
use crate::queue::{Assignment, Outcomes};
use crate::route::How;
use crate::route::limits::{Found, Terms};
use crate::shard::Shard;
use crate::shard::life::settings::Settings;
use crate::smtp::client::Strain;
use crate::wire::status::EnhancedStatus;
use crate::world::{Tick, World};

/// What a courier goes by, looked up anew when the settings are others.
pub(super) struct Bounds {
    settings: Rc<Settings>,
    terms: Terms,
    /// What is known of the lane; `None` where it leads over no network.
    account: Option<Rc<Account>>,
    /// Leave for the next message, as the lane's pace has it.
    slot: Option<Slot>,
}

/// A group of hosts, for as long as a connection to one of them lives.
pub(super) struct Membership {
    pub(super) permit: Permit,
    account: Rc<Account>,
    terms: Terms,
    slot: Option<Slot>,
}

impl Bounds {
    pub(super) fn new<W: World>(shard: &Shard<W>, name: &Rc<str>, how: &How) -> Self {
        let settings = shard.settings();
        let terms = settings.limit_terms(how);
        let now = shard.world.now();
        let account = || shard.paces.account(now, name, pace(&terms));
        Self {
            account: how.is_remote().then(account),
            slot: None,
            settings,
            terms,
        }
    }

    /// The limits of the lane as they are now.
    fn terms<W: World>(&mut self, shard: &Shard<W>, how: &How) -> Terms {
        let settings = shard.settings();
        if !Rc::ptr_eq(&settings, &self.settings) {
            self.terms = settings.limit_terms(how);
            self.settings = settings;
        }
        self.terms
    }
}

impl<W: World> Courier<'_, W> {
    /// A permit for the lane.
    pub(super) fn claim(shard: &Shard<W>, name: &Rc<str>, how: &How) -> Claim {
        let settings = shard.settings();
        Claim {
            name: Rc::clone(name),
            limit: settings.connections(&settings.limit_terms(how)),
            is_shared: false,
        }
    }

    /// Messages that a connection may carry.
    pub(super) fn messages_max(&mut self, group: Option<&Membership>) -> usize {
        let shard = self.shard;
        let terms = self.bounds.terms(shard, &self.how);
        let usual = shard.settings().config.delivery.messages_per_connection;
        let own = terms.messages_per_connection.unwrap_or(usual);
        let group = group.and_then(|group| group.terms.messages_per_connection);
        own.min(group.unwrap_or(usize::MAX))
    }

    /// Recipients that a transaction may have.
    pub(super) fn recipients_max(&mut self, group: Option<&Membership>) -> usize {
        let terms = self.bounds.terms(self.shard, &self.how);
        let group = group.and_then(|group| group.terms.recipients_per_message);
        let own = terms.recipients_per_message.unwrap_or(usize::MAX);
        own.min(group.unwrap_or(usize::MAX))
    }

    /// Waits for the lane's turn to send a message that was taken; `Err`: it comes too late to wait
    /// for it here.
    pub(super) async fn may_begin(&mut self, assignment: &Assignment) -> Result<(), Tick> {
        let Some(account) = &self.bounds.account else {
            return Ok(());
        };
        if account.is_paced() {
            let account = Rc::clone(account);
            let most = self.recipients_max(None);
            let recipients = assignment.recipients.len().min(most);
            let (shard, slot) = (self.shard, self.bounds.slot.take());
            let turn = shard
                .paces
                .turn(&shard.world, &account, slot, count(recipients));
            self.bounds.slot = turn.await?;
        }
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let recipients = count(assignment.recipients.len());
        match &mut connection.group {
            Some(group) => group.wait(self.shard, recipients).await,
            None => Ok(()),
        }
    }

    /// The same right before MAIL; the slots are used up by that.
    pub(super) async fn may_send(
        &mut self,
        group: Option<&mut Membership>,
        recipients: usize,
    ) -> Result<(), Tick> {
        let (shard, recipients) = (self.shard, count(recipients));
        if let Some(account) = &self.bounds.account
            && account.is_paced()
        {
            let account = Rc::clone(account);
            let slot = self.bounds.slot.take();
            let turn = shard.paces.turn(&shard.world, &account, slot, recipients);
            self.bounds.slot = turn.await?;
        }
        if let Some(group) = group {
            group.wait(shard, recipients).await?;
            group.slot = None;
        }
        self.bounds.slot = None;
        Ok(())
    }

    /// What is left of a message after a transaction is an attempt of its own.
    pub(super) fn goes_in_pieces(&self, group: Option<&Membership>, was_cut: bool) -> bool {
        let own = self.bounds.account.as_ref();
        let group = group.map(|group| &group.account);
        was_cut
            || own
                .into_iter()
                .chain(group)
                .any(|account| account.is_paced())
    }

    /// Leave to connect to a host that shares limits with others.
    pub(super) async fn join(
        &self,
        host: &str,
        recipients: usize,
    ) -> Result<Option<Membership>, Refusal> {
        let shard = self.shard;
        let settings = shard.settings();
        let Some(Found { name, terms, .. }) = settings.limits.of_host(host) else {
            return Ok(None);
        };
        let claim = Claim {
            name: Rc::clone(&name),
            limit: terms.connections_max(),
            is_shared: true,
        };
        let until = shard.world.now() + GROUP_WAIT;
        let late = async {
            shard.world.sleep(until).await;
            None
        };
        let acquired = future::or(shard.permits.acquire(claim), late).await;
        let now = shard.world.now();
        let Some(permit) = acquired else {
            return Err(Refusal::Rest(now + GROUP_PAUSE));
        };
        let mut group = Membership {
            permit,
            account: shard.paces.account(now, &name, pace(&terms)),
            terms,
            slot: None,
        };
        let turn = group.wait(shard, count(recipients)).await;
        turn.map_err(Refusal::Rest)?;
        Ok(Some(group))
    }

    /// Its turn comes later: the message is the next of its lane again, and the lane rests.
    pub(super) fn come_back(&self, attempt: Attempt<W>, until: Tick) {
        attempt.give_back();
        self.shard.queue.borrow_mut().lane_rests(self.lane, until);
    }

    /// Takes note of what a host took, and of what it complained of. True when it did.
    pub(super) fn learn(&self, connection: &Connection<W>, settled: &Outcomes) -> bool {
        let now = self.shard.world.now();
        let group = connection.group.as_ref().map(|group| &group.account);
        let is_taken = |(_, outcome): &(u16, Outcome)| matches!(outcome, Outcome::Delivered { .. });
        if settled.iter().any(is_taken) {
            let own = self.bounds.account.as_ref();
            for account in own.into_iter().chain(group) {
                account.count(now);
            }
        }
        let complaint = settled.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Deferred {
                blame: Blame::Pace,
                diagnosis,
            } => Some(diagnosis),
            _ => None,
        });
        let Some(complaint) = complaint else {
            return false;
        };
        let of = match Strain::of_refusal(complaint) {
            Strain::Connections => Of::Connections,
            Strain::Rate | Strain::Unsaid => Of::Rate,
        };
        self.complain(group, of, &complaint.text);
        let (queue, until) = (&self.shard.queue, now + BRAKE);
        queue.borrow_mut().lane_rests(self.lane, until);
        true
    }

    /// Remembers from where a message came that was greylisted: from there it has to come again. What a
    /// host says with 4.7.1 and without such words is that, more often than not.
    pub(super) fn note_greylisting(
        &self,
        connection: &Connection<W>,
        id: QueueId,
        settled: &Outcomes,
    ) {
        let Some(source) = &connection.source else {
            return;
        };
        let shard = self.shard;
        let is_grey = |diagnosis: &Diagnosis| match shard.settings().bounces.classify(diagnosis) {
            Class::Greylist => true,
            Class::Blocked | Class::Throttled | Class::Authentication => false,
            _ => diagnosis.status == GREY_STATUS,
        };
        let is_grey = settled.iter().any(|(_, outcome)| {
            matches!(outcome, Outcome::Deferred { diagnosis, .. } if is_grey(diagnosis))
        });
        match is_grey {
            true => {
                let now = shard.world.now();
                shard.sources.greylisted(now, &self.name, id, source);
            }
            false => shard.sources.not_greylisted(&self.name, id),
        }
    }

    /// A host has refused a connection. True where that says that something is too much for it.
    pub(super) fn hear(&self, connection: &Connection<W>, why: &str) -> bool {
        let group = connection.group.as_ref().map(|group| &group.account);
        let of = match connection.strain() {
            Some(Strain::Connections) => Of::Connections,
            Some(Strain::Rate) => Of::Rate,
            // Others carry mail there.
            Some(Strain::Unsaid) if self.has_company(group) => Of::Connections,
            Some(Strain::Unsaid) | None => return false,
        };
        self.complain(group, of, why);
        true
    }

    /// Whether other connections from here are open where this one leads, and mail was taken over some
    /// of late.
    fn has_company(&self, group: Option<&Rc<Account>>) -> bool {
        let account = group.or(self.bounds.account.as_ref());
        let now = self.shard.world.now();
        account.is_some_and(|account| self.shard.paces.has_company(now, account))
    }

    /// The whole group hears of it where there is one: its hosts have one limit.
    fn complain(&self, group: Option<&Rc<Account>>, of: Of, why: &str) {
        let now = self.shard.world.now();
        if let Some(account) = group.or(self.bounds.account.as_ref()) {
            self.shard.paces.complain(now, account, of, why);
        }
    }

    /// Gives back what is not needed any more.
    pub(super) fn leave(&mut self) {
        if let (Some(account), Some(slot)) = (&self.bounds.account, self.bounds.slot.take()) {
            let now = self.shard.world.now();
            self.shard.paces.unbook(now, account, slot);
        }
        if let Some(connection) = &mut self.connection
            && let Some(group) = &mut connection.group
            && let Some(slot) = group.slot.take()
        {
            let now = self.shard.world.now();
            self.shard.paces.unbook(now, &group.account, slot);
        }
    }
}

impl Membership {
    async fn wait<W: World>(&mut self, shard: &Shard<W>, recipients: u32) -> Result<(), Tick> {
        if self.account.is_paced() {
            let slot = self.slot.take();
            let most = self.terms.recipients_per_message.map_or(u32::MAX, count);
            let turn = shard
                .paces
                .turn(&shard.world, &self.account, slot, recipients.min(most));
            self.slot = turn.await?;
        }
        Ok(())
    }
}

impl<W: World> Shard<W> {
    /// The limits may be others: what waits for its turn looks again when that is.
    pub(in crate::shard) fn limit_anew(&self) {
        let (settings, now) = (self.settings(), self.world.now());
        let terms = |name: &str| {
            let how = self.ways.find(name);
            let of_way = how.map(|way| settings.limit_terms(&way.how));
            of_way.unwrap_or_else(|| settings.limits.of_group(name))
        };
        self.permits.set_limits(|claim| match claim.is_shared {
            true => settings.limits.of_group(&claim.name).connections_max(),
            false => settings.connections(&terms(&claim.name)),
        });
        self.paces.set_terms(now, |name| pace(&terms(name)));
        self.queue.borrow_mut().rouse_resting(now);
        self.bell.set(now);
    }

    /// What time has brought for the pace of mail.
    pub(in crate::shard) fn look_at_paces(&self) {
        for words in self.paces.look(self.world.now()) {
            self.say(format_args!("{words}"));
        }
    }
}

/// What of a rule is kept by slots.
fn pace(terms: &Terms) -> Pace {
    Pace {
        rate: terms.rate,
        recipient_rate: terms.recipient_rate,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How long a delivery waits, its lane's permit in hand, for a connection to a group of hosts.
const GROUP_WAIT: Duration = Duration::from_secs(60);
/// Not now, for reasons of security or policy (RFC 3463 §3.8).
const GREY_STATUS: EnhancedStatus = EnhancedStatus::new(4, 7, 1);
/// How long a lane rests that has waited in vain.
const GROUP_PAUSE: Duration = Duration::from_secs(5);
/// How long a lane rests whose host complains, until the slower pace is known everywhere.
const BRAKE: Duration = Duration::from_secs(1);
