//! What a shard tells the control plane.

use std::rc::Rc;

use crate::observe::ask::{Ask, Facts, Health, SLOWED_MAX, Tell};
use crate::observe::stage::{STAGE_PIECES, Snapshot};
use crate::shard::Shard;
use crate::shard::outbound::warmup::keep::KEEPER;
use crate::spool::log;
use crate::world::World;

impl<W: World> Shard<W> {
    /// Answers a question of the control plane.
    pub(in crate::shard) async fn answer(self: &Rc<Self>, ask: Ask) -> Tell {
        match ask {
            Ask::Facts => {
                let latencies = self.latencies(STAGE_PIECES).await;
                Tell::Facts(Box::new(self.facts(latencies)))
            }
            Ask::Latencies => Tell::Latencies {
                shard: self.mesh.here(),
                snapshot: Box::new(self.latencies(usize::MAX).await),
            },
            Ask::List { selector, limit } => Tell::List(self.list(&selector, limit).await),
            Ask::Show { id } => Tell::Show(self.show(&id).await.map(Box::new)),
            Ask::Raw { id, position } => Tell::Raw(self.raw(&id, position).await),
            Ask::Explain { mailbox, tenant } => {
                let told = self.explain(&mailbox, tenant.as_deref());
                Tell::Explained(Box::new(told.await))
            }
            Ask::Trace { id } => Tell::Trace(self.trace(&id).await),
            Ask::Follow(follow) => Tell::Following(self.let_follow(follow)),
            Ask::Failures { limit } => Tell::Failures(self.failures(limit).await),
            Ask::Act(order) => Tell::Acted(self.act(&order).await),
            Ask::Removal => {
                let last = self.queue.borrow().last_removal();
                Tell::Removal(last.map(|removal| removal.wall.0))
            }
            Ask::Shape => Tell::Shape(self.shape().await),
            Ask::Inject(injection) => Tell::Injected(Box::pin(self.inject(&injection)).await),
            Ask::Health => Tell::Health(self.health()),
        }
    }

    fn health(&self) -> Health {
        if self.visits.is_closed() {
            return Health::Draining;
        }
        match self.log.health() {
            log::Health::Good => Health::Ready,
            log::Health::Full => Health::SpoolFull,
            log::Health::Broken => Health::SpoolBroken,
        }
    }

    fn facts(&self, latencies: Snapshot) -> Facts {
        let queue = self.queue.borrow();
        let spool = self.log.gauges();
        let load = self.world.load();
        Facts {
            shard: self.mesh.here(),
            load,
            recent: self.pulse.recent(self.world.now(), load),
            letters_sent: self.mesh.sent(),
            letters_waiting: self.mesh.waiting() as u64,
            syncs: self.commits.syncs(),
            synced_messages: self.commits.messages(),
            log_octets: self.commits.octets(),
            counters: queue.counters().into(),
            messages_accepted: self.messages_accepted.get(),
            messages_signed: self.signing.signed.get(),
            signing_faults: self.signing.faults.get(),
            signatures_unproven: self.signing.unproven.get(),
            verified: self.verified.get(),
            messages_disowned: self.messages_disowned.get(),
            messages_shed: self.budget.called_back(),
            tls: self.tls.counts(),
            sources: self.sources.counts.counts(),
            warmups: match self.mesh.here() {
                KEEPER => self.warmup_counts(),
                _ => Vec::new(),
            },
            tenants: self.customers.counts.counts(),
            returns: self.refusals.returned.came(),
            later_bounces: self.refusals.returned.classes(),
            complaints: self.refusals.returned.complaints(),
            bounces: self.refusals.bounces.get(),
            deferrals: self.refusals.deferrals.get(),
            preflights: self.preflights.get(),
            slowed: self.slowed(),
            messages_queued: queue.messages() as u64,
            stuck: self.lookout.stuck(),
            connections_in: self.visits.inside() as u64,
            connections_out: u64::from(self.permits.held()),
            memory_used: self.budget.used() as u64,
            memory_limit: self.budget.limit() as u64,
            spool_segments: spool.segments,
            spool_octets: spool.disk_octets,
            spool_live_octets: spool.live_octets,
            panics: self.world.panics(),
            log_lines_lost: self.journal.dropped(),
            events_told: self.events.told(),
            events_lost: self.events.lost(),
            health: self.health(),
            latencies,
        }
    }

    fn slowed(&self) -> Vec<(String, f64)> {
        let slowed = self.paces.all_slowed(self.world.now()).into_iter();
        let rates = slowed.filter_map(|facts| {
            let per_minute = 60.0 / facts.interval?.as_secs_f64();
            Some((facts.name.into(), per_minute))
        });
        rates.take(SLOWED_MAX).collect()
    }

    /// A copy of the histograms, the first `pieces` of them; others run in between.
    async fn latencies(&self, pieces: usize) -> Snapshot {
        let mut copy = Snapshot::default();
        for piece in 0..pieces {
            if !self.recorder.borrow().copy_piece(piece, &mut copy) {
                break;
            }
            self.world.breathe().await;
        }
        copy
    }

    /// What happened to a message, as far as it is remembered.
    async fn trace(&self, id: &str) -> Vec<String> {
        let mut moments = Vec::new();
        let Ok(id) = id.parse() else {
            return moments;
        };
        let pieces = self.history.borrow().pieces();
        for piece in pieces {
            moments.extend(self.history.borrow().find(piece, id));
            self.world.breathe().await;
        }
        moments
    }

    async fn failures(&self, limit: usize) -> Vec<(String, String)> {
        let mut newest = Vec::new();
        let pieces = self.history.borrow().pieces();
        for piece in pieces.rev() {
            let found = self.history.borrow().failures(piece);
            let found = found.into_iter().rev();
            newest.extend(found.map(|(id, text)| (id.to_string(), text)));
            if newest.len() >= limit {
                newest.truncate(limit);
                break;
            }
            self.world.breathe().await;
        }
        newest
    }
}
