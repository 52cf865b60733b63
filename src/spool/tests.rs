//! The log in the simulated world: a model of what it promised, and histories that hold it to it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;

use super::log::*;
use crate::mail::envelope::{BodyKind, Content, Envelope, Notify, QueueId, Recipient, Ret};
use crate::mail::outcome::Diagnosis;
use crate::mail::outcome::ReportKind;
use crate::mail::{Committed as _, Locator};
use crate::progress::Progress;
use crate::sim::disk::Faults;
use crate::sim::random::Random;
use crate::sim::{NodeId, Sim, SimWorld, seeds};
use crate::wire::path::{Mailbox, ReversePath};
use crate::wire::status::EnhancedStatus;
use crate::world::{Wall, World};

/// Small, so that a short history goes through many of them.
pub(super) const SEGMENT: u64 = 8 << 10;

pub(super) fn place(shard: u16) -> PathBuf {
    PathBuf::from(format!("data/spool/{shard:02}"))
}

/// Runs a task of a node to its end; `None` when the node lost its power before.
pub(super) fn run<T: 'static>(
    sim: &Sim,
    world: &SimWorld,
    task: impl Future<Output = T> + 'static,
) -> Option<T> {
    sim.run(world, task)
}

pub(super) fn envelope(recipients: usize) -> Envelope {
    let mailbox = |text: String| Mailbox::parse(text.as_bytes(), true).unwrap();
    let recipients = (0..recipients).map(|number| Recipient {
        mailbox: mailbox(format!("r{number}@example.test")),
        notify: Some(Notify {
            success: false,
            failure: true,
            delay: true,
        }),
        orcpt: Some(format!("rfc822;r{number}@example.test").into()),
        expanded: number == 1,
    });
    Envelope {
        reverse_path: ReversePath(Some(mailbox("sender@example.test".into()))),
        ret: Some(Ret::Headers),
        envid: Some("QQ314159".into()),
        body: BodyKind::EightBit,
        smtputf8: false,
        require_tls: false,
        standing: Default::default(),
        recipients: recipients.collect(),
    }
}

pub(super) fn content(size: usize) -> Content {
    Content {
        size: size as u64,
        stuffed: true,
        date: true,
        longest_line: 72,
        received: 2,
        header_len: 20,
        message_id: Some("<1@example.test>".into()),
        ..Content::default()
    }
}

fn diagnosis(text: &str) -> Diagnosis {
    Diagnosis {
        status: EnhancedStatus::new(4, 2, 2),
        text: text.into(),
        reply: Some("452 4.2.2 full".into()),
        remote_mta: None,
    }
}

/// What may be known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    held: bool,
    recipients: Vec<RecipientState>,
}

impl State {
    fn is_settled(&self) -> bool {
        let mut states = self.recipients.iter();
        states.all(|state| *state == RecipientState::Settled)
    }

    fn pending(&self) -> Vec<u16> {
        let states = self.recipients.iter().zip(0..);
        let pending = states.filter(|(state, _)| **state != RecipientState::Settled);
        pending.map(|(_, place)| place).collect()
    }
}

/// A message as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    body: Vec<u8>,
    /// A receipt was given for it.
    is_promised: bool,
    /// What was noted, one state after the other. A crash may take the last ones.
    states: Vec<State>,
    /// So many of them are on stable storage.
    sure: usize,
    pub(super) locator: Option<Locator>,
}

impl Known {
    /// Recovery found it in `state`: notes since the last sync may be gone, no others.
    fn recover(&mut self, id: QueueId, state: State, is_durable: bool) {
        let since = &self.states[self.sure..];
        if let Some(at) = since.iter().rposition(|one| *one == state) {
            self.states.truncate(self.sure + at + 1);
            self.sure = if is_durable {
                self.sure + at
            } else {
                self.sure
            };
            return;
        }
        // A power cut may take notes from the middle of what was not synced.
        assert!(is_durable, "{id}: {state:?} was never noted: {since:?}");
        assert!(since.iter().any(|one| one.held == state.held), "{id}: held");
        for (place, recipient) in state.recipients.iter().enumerate() {
            let mut noted = since.iter().map(|one| &one.recipients[place]);
            let is_noted = match recipient {
                RecipientState::Settled => noted.any(|one| *one == RecipientState::Settled),
                RecipientState::Pending {
                    attempts,
                    due,
                    diagnosis,
                    ..
                } => noted.any(|one| {
                    matches!(one, RecipientState::Pending { attempts: a, due: d, diagnosis: w, .. }
                        if (a, d, w) == (attempts, due, diagnosis))
                }),
            };
            let was_settled = since[0].recipients[place] == RecipientState::Settled;
            assert!(
                is_noted && (!was_settled || *recipient == RecipientState::Settled),
                "{id}: {recipient:?} of {place} was never noted: {since:?}"
            );
        }
        (self.states, self.sure) = (vec![state], 0);
    }
}

/// What the log was told, and what it promised. Outlives crashes.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) messages: Rc<RefCell<BTreeMap<QueueId, Known>>>,
    pub(super) moves: Rc<Cell<u64>>,
}

impl Model {
    pub(super) fn settings(&self, shard: u16) -> Settings {
        let (told, asked) = (self.clone(), self.clone());
        Settings {
            shard,
            segment_octets: SEGMENT,
            durable: true,
            arriving: Box::new(|| 0),
            on_commit: Box::new(|_| {}),
            on_move: Box::new(move |id, locator| {
                told.moves.set(told.moves.get() + 1);
                if let Some(known) = told.messages.borrow_mut().get_mut(&id) {
                    known.locator = Some(locator);
                }
            }),
            progress: Progress::default(),
            state: Box::new(move |id| asked.state_of(id)),
        }
    }

    /// As the queue would tell it.
    fn state_of(&self, id: QueueId) -> MessageState {
        let mut told = MessageState::default();
        let messages = self.messages.borrow();
        let Some(state) = messages.get(&id).and_then(|known| known.states.last()) else {
            return told;
        };
        told.held = state.held;
        for (recipient, place) in state.recipients.iter().zip(0..) {
            let RecipientState::Pending {
                attempts,
                due: Some(due),
                doubtful,
                diagnosis: Some(diagnosis),
                ..
            } = recipient
            else {
                continue;
            };
            told.waiting.push(Waiting {
                recipients: vec![place],
                attempts: *attempts,
                due: *due,
                diagnosis: diagnosis.clone(),
                doubtful: *doubtful,
            });
        }
        let delay_told = |state: &RecipientState| match state {
            RecipientState::Pending { delay_told, .. } => *delay_told,
            RecipientState::Settled => false,
        };
        told.delay_told = state.recipients.iter().any(delay_told);
        told
    }

    fn begin(&self, id: QueueId, body: &[u8], recipients: usize) {
        let known = Known {
            body: body.to_vec(),
            is_promised: false,
            states: vec![State {
                held: false,
                recipients: vec![RecipientState::FRESH; recipients],
            }],
            sure: 0,
            locator: None,
        };
        let before = self.messages.borrow_mut().insert(id, known);
        assert!(before.is_none(), "{id} was given out twice");
    }

    fn promise(&self, id: QueueId, locator: Locator) {
        let mut messages = self.messages.borrow_mut();
        let known = messages.get_mut(&id).unwrap();
        known.is_promised = true;
        known.locator = Some(locator);
    }

    /// A record that changes a message is appended.
    fn change(&self, id: QueueId, change: impl FnOnce(&mut State)) {
        let mut messages = self.messages.borrow_mut();
        let known = messages.get_mut(&id).unwrap();
        let mut state = known.states.last().unwrap().clone();
        change(&mut state);
        known.states.push(state);
    }

    /// What was appended until now will be on stable storage when the sync ends.
    fn appended(&self) -> Vec<(QueueId, usize)> {
        let messages = self.messages.borrow();
        let lens = messages.iter().map(|(id, known)| (*id, known.states.len()));
        lens.collect()
    }

    fn synced(&self, appended: &[(QueueId, usize)]) {
        let mut messages = self.messages.borrow_mut();
        for (id, len) in appended {
            if let Some(known) = messages.get_mut(id) {
                known.sure = known.sure.max(len - 1);
            }
        }
    }

    pub(super) fn live(&self) -> Vec<QueueId> {
        let messages = self.messages.borrow();
        let live = messages.iter().filter(|(_, known)| {
            known.is_promised
                && known.locator.is_some()
                && !known.states.last().unwrap().is_settled()
        });
        live.map(|(id, _)| *id).collect()
    }

    /// Holds what was recovered against what was promised, and goes on from there. `is_durable`:
    /// what was recovered survived a power cut, so it survives the next one.
    pub(super) fn hold(&self, recovery: &Recovery, is_durable: bool) {
        let mut messages = self.messages.borrow_mut();
        let mut found: HashSet<QueueId> = HashSet::new();
        for message in &recovery.messages {
            assert!(found.insert(message.id), "{} came back twice", message.id);
            let known = messages
                .get_mut(&message.id)
                .expect("a message out of nowhere");
            let state = State {
                held: message.held,
                recipients: message.recipients.clone(),
            };
            assert_eq!(message.envelope, envelope(state.recipients.len()));
            assert_eq!(message.size, known.body.len() as u64);
            known.recover(message.id, state, is_durable);
            known.is_promised = true;
            known.locator = Some(message.locator);
        }
        messages.retain(|id, known| {
            if found.contains(id) {
                return true;
            }
            let may_be_settled = known.states[known.sure..].iter().any(State::is_settled);
            assert!(
                !known.is_promised || may_be_settled,
                "{id} was promised and is gone: {:?}",
                known.states
            );
            false
        });
    }
}

/// A log with its model.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) log: Log<SimWorld>,
    pub(super) model: Model,
}

impl Bench {
    pub(super) async fn open(world: &SimWorld, shard: u16, model: &Model) -> (Self, Recovery) {
        let opened = Log::open(world.clone(), place(shard), model.settings(shard)).await;
        if let Err(OpenError::Io(error)) = &opened
            && error.kind() == io::ErrorKind::NotConnected
        {
            // The power went while it was read.
            return std::future::pending().await;
        }
        let (log, recovery) = opened.unwrap_or_else(|error| panic!("{error}"));
        let model = model.clone();
        (Self { log, model }, recovery)
    }

    /// Accepts a message; the id when it was promised.
    pub(super) async fn accept(
        &self,
        recipients: usize,
        body: Vec<u8>,
    ) -> Result<QueueId, CommitError> {
        let id = self.log.next_id();
        self.model.begin(id, &body, recipients);
        self.commit(id, recipients, body.len(), Body::Inline(&body), None)
            .await
    }

    pub(super) async fn accept_large(&self, body: Vec<u8>) -> Result<QueueId, CommitError> {
        let id = self.log.next_id();
        let mut writer = self.log.extent(id).await?;
        for piece in body.chunks(1500) {
            writer.append(piece.to_vec()).await?;
        }
        let seal = writer.seal().await?;
        assert_eq!(seal.len(), body.len() as u64);
        self.model.begin(id, &body, 1);
        self.commit(id, 1, body.len(), Body::Extent(&seal), None)
            .await
    }

    /// Accepts a report on some recipients of a message.
    pub(super) async fn report(
        &self,
        about: QueueId,
        recipients: &[u16],
        kind: ReportKind,
    ) -> Result<QueueId, CommitError> {
        let id = self.log.next_id();
        self.model.begin(id, b"report", 1);
        let settles = kind == ReportKind::Failure;
        self.model.change(about, |state| {
            for place in 0..state.recipients.len() {
                let is_named = recipients.contains(&(place as u16));
                match &mut state.recipients[place] {
                    state if settles && is_named => *state = RecipientState::Settled,
                    RecipientState::Pending { delay_told, .. } if !settles => *delay_told = true,
                    _ => {}
                }
            }
        });
        let reports = Reports {
            message: about,
            recipients,
            kind,
        };
        let stored = self
            .commit(id, 1, 6, Body::Inline(b"report"), Some(reports))
            .await;
        if stored.is_err() {
            // The next state follows from the one before.
            let mut messages = self.model.messages.borrow_mut();
            messages.get_mut(&about).unwrap().states.pop();
        } else {
            let mut messages = self.model.messages.borrow_mut();
            let known = messages.get_mut(&about).unwrap();
            known.sure = known.states.len() - 1;
        }
        self.forget_if_settled(about);
        stored
    }

    async fn commit(
        &self,
        id: QueueId,
        recipients: usize,
        size: usize,
        body: Body<'_>,
        reports: Option<Reports<'_>>,
    ) -> Result<QueueId, CommitError> {
        let accepted = Accepted {
            id,
            arrival: Wall(5),
            envelope: &envelope(recipients),
            content: &content(size),
            trace: b"Received: here\r\n",
            body,
            reports,
        };
        match self.log.accept(&accepted).await {
            Ok((receipt, locator)) => {
                assert_eq!(receipt.queue_id(), id);
                self.model.promise(id, locator);
                Ok(id)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn deliver(&self, id: QueueId, recipient: u16) {
        self.model.change(id, |state| {
            state.recipients[usize::from(recipient)] = RecipientState::Settled;
        });
        self.log.note(Note::Delivered { id, recipient });
        self.forget_if_settled(id);
    }

    fn forget_if_settled(&self, id: QueueId) {
        let is_settled = {
            let messages = self.model.messages.borrow();
            messages[&id].states.last().unwrap().is_settled()
        };
        if is_settled {
            self.log.forget(id);
        }
    }

    pub(super) fn defer(&self, id: QueueId, recipients: &[u16], count: u16, doubt: bool) {
        let (why, next) = (
            diagnosis(&format!("attempt {count}")),
            Wall(i64::from(count) * 1000),
        );
        self.model.change(id, |state| {
            for place in recipients {
                if let RecipientState::Pending {
                    attempts,
                    due,
                    doubtful,
                    diagnosis,
                    ..
                } = &mut state.recipients[usize::from(*place)]
                {
                    (*attempts, *due, *diagnosis) = (count, Some(next), Some(why.clone()));
                    *doubtful |= doubt;
                }
            }
        });
        self.log.note(Note::Deferred {
            id,
            recipients,
            attempts: count,
            due: next,
            diagnosis: &why,
            doubtful: doubt,
        });
    }

    pub(super) fn hold(&self, id: QueueId, held: bool) {
        self.model.change(id, |state| state.held = held);
        self.log.note(Note::Held { id, held });
    }

    pub(super) async fn sync(&self) {
        let appended = self.model.appended();
        self.log.sync().await;
        if self.log.health() == Health::Good {
            self.model.synced(&appended);
        }
    }

    /// Reads every live message back.
    pub(super) async fn read_all(&self) {
        for id in self.model.live() {
            let known = self.model.messages.borrow()[&id].clone();
            let stored = match self.log.read(known.locator.unwrap()).await {
                Ok(stored) => stored,
                // Moved while it was read: once more.
                Err(_) => {
                    let moved = self.model.messages.borrow()[&id].locator.unwrap();
                    assert_ne!(Some(moved), known.locator, "{id} cannot be read");
                    self.log.read(moved).await.unwrap()
                }
            };
            assert_eq!(stored.id, id);
            let body = match stored.body {
                StoredBody::Inline(octets) => octets,
                StoredBody::Extent(len) => {
                    let len = usize::try_from(len).unwrap();
                    self.log.read_extent(id, 0, len).await.unwrap()
                }
            };
            assert!(body == known.body, "{id} reads otherwise");
        }
    }
}

/// Some octets that differ from message to message.
pub(super) fn body(random: &Random, len: u64) -> Vec<u8> {
    let first = random.next() as u8;
    (0..len).map(|at| first.wrapping_add(at as u8)).collect()
}

/// One thing that a shard does.
async fn step(bench: &Bench, random: &Random) {
    let live = bench.model.live();
    let some = (!live.is_empty()).then(|| live[random.below(live.len() as u64) as usize]);
    let pending = |id: QueueId| {
        bench.model.messages.borrow()[&id]
            .states
            .last()
            .unwrap()
            .pending()
    };
    match (random.below(12), some) {
        (0..=2, _) => {
            let burst = (0..=random.below(6)).map(|_| {
                let recipients = 1 + random.below(4) as usize;
                bench.accept(recipients, body(random, random.below(3000)))
            });
            // Refused or not: the model knows.
            drop(join_all(burst).await);
        }
        (3, _) => drop(bench.accept_large(body(random, 5000)).await),
        (4, Some(id)) => bench.deliver(id, pending(id)[0]),
        (5..=7, Some(_)) => {
            // Old ones stay behind, for the compactor.
            let newest = live.iter().rev().take(1 + random.below(8) as usize);
            for id in newest.filter(|_| random.permille(900)) {
                pending(*id)
                    .iter()
                    .for_each(|place| bench.deliver(*id, *place));
            }
        }
        (8, Some(id)) => {
            bench.defer(
                id,
                &pending(id),
                random.below(50) as u16,
                random.permille(300),
            );
        }
        (9, Some(id)) => bench.hold(id, random.permille(500)),
        (10, Some(id)) => {
            let kind = if random.permille(500) {
                ReportKind::Failure
            } else {
                ReportKind::Delay
            };
            drop(bench.report(id, &pending(id)[..1], kind).await);
        }
        (11, _) => bench.sync().await,
        _ => {}
    }
}

/// What a node does until its power goes.
async fn live(world: SimWorld, model: Model, steps: u64, random: Rc<Random>, is_durable: bool) {
    let (bench, recovery) = Bench::open(&world, 3, &model).await;
    // What a cut leaves of a batch may have holes; nothing that was sealed may.
    let mut damage = recovery.damage.iter();
    let other = damage.find(|why| !why.contains("a crash in the middle of a write"));
    assert_eq!(other, None);
    model.hold(&recovery, is_durable);
    bench.read_all().await;
    for _ in 0..steps {
        step(&bench, &random).await;
        if random.permille(30) {
            world
                .sleep(world.now() + Duration::from_millis(random.below(3000)))
                .await;
        }
    }
    bench.read_all().await;
    bench.sync().await;
}

fn end_life(sim: &Sim, node: NodeId, world: &SimWorld) -> bool {
    let random = sim.random();
    let is_durable = random.permille(800);
    if world.is_alive() {
        if is_durable {
            sim.power_cut(node);
        } else {
            sim.kill(node);
        }
        return is_durable;
    }
    true
}

#[test]
fn what_was_promised_survives_any_history_of_crashes() {
    let (mut moves, mut runs) = (0, 0);
    for seed in seeds(250) {
        runs += 1;
        let sim = Sim::new(seed);
        let model = Model::default();
        let mut world = sim.node();
        let node = world.node();
        let mut is_durable = true;
        for _ in 0..4 {
            let random = sim.random();
            sim.disk(node).set_faults(Faults {
                cut_at: random.permille(700).then(|| 1 + random.below(400)),
                ..Faults::default()
            });
            let life = live(world.clone(), model.clone(), 120, random, is_durable);
            // Nothing comes back from a life that the cut ended.
            let _ = run(&sim, &world, life);
            is_durable = end_life(&sim, node, &world);
            world = sim.boot(node);
        }
        sim.disk(node).set_faults(Faults::default());
        let random = sim.random();
        run(
            &sim,
            &world,
            live(world.clone(), model.clone(), 0, random, is_durable),
        )
        .unwrap();
        moves += model.moves.get();
    }
    assert!(moves > runs / 2, "the compactor had nothing to do: {moves}");
}
