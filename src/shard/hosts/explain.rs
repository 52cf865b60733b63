//! How mail to a recipient would travel, found out without sending any: by the same rules, look-ups
//! and demands as a delivery.

use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;

use super::demand::Demand;
use super::secure::Terms;
use super::{Candidate, Candidates, NoHost, Step};
use crate::mail::envelope::TlsWish;
use crate::mail::rate;
use crate::observe::ask::ShapeRow;
use crate::observe::explained::{Address, Explained, Host, Lane, Learned, Limit, Policy};
use crate::queue::pace::Facts;
use crate::queue::{AGE_BUCKETS, Gate, State};
use crate::route::limits::{Found, Terms as Bounds};
use crate::route::sts;
use crate::route::warmup::{Day, Destination};
use crate::route::{How, NextHop};
use crate::shard::Shard;
use crate::shard::life::settings::Settings;
use crate::shard::outbound::sources::Trip;
use crate::wire::path::Mailbox;
use crate::world::{Tick, World};

impl<W: World> Shard<W> {
    /// The way of mail to `mailbox`.
    pub(in crate::shard) async fn explain(
        &self,
        mailbox: &Mailbox,
        tenant: Option<&str>,
    ) -> Explained {
        let settings = self.settings();
        let hop = settings.next_hop(mailbox, tenant);
        let delivery = &settings.config.delivery;
        let found = settings.limits.of_way(&hop.how);
        let terms = settings.limit_terms(&hop.how);
        let mut told = Explained {
            recipient: mailbox.as_str().to_owned(),
            rule: rule(&settings, mailbox.domain()),
            next_hop: hop.lane.to_string(),
            way: way(&hop).to_owned(),
            connections_max: terms
                .connections
                .unwrap_or(delivery.connections_per_destination),
            messages_per_connection: terms
                .messages_per_connection
                .unwrap_or(delivery.messages_per_connection),
            lanes: self.lane(&hop.lane).into_iter().collect(),
            ..Explained::default()
        };
        if let How::Fail(diagnosis) = &hop.how {
            told.trouble = Some(diagnosis.text.to_string());
        }
        if hop.how == How::Mailbox {
            let leads = settings.leads(mailbox);
            if leads.is_nowhere() {
                told.trouble = Some("there is no such mailbox here".to_owned());
            }
            let users = leads.here.into_iter().map(|place| place.user);
            told.leads_to = users.chain(leads.elsewhere).collect();
        }
        if hop.how.is_remote() {
            let pool = settings.pools.find(hop.pool.as_deref());
            let moment = (self.world.now(), Day::of(self.world.wall()));
            let pool = self.sources.explain(moment, pool, &hop.lane, &self.warmups);
            told.pool = Some(pool).filter(|pool| !pool.sources.is_empty());
            let until = self.world.now() + PATIENCE;
            let late = async {
                self.world.sleep(until).await;
                false
            };
            let asked = async {
                self.ask_around(&settings, &hop, &mut told).await;
                true
            };
            if !future::or(asked, late).await {
                told.trouble = Some("names are not looked up yet: ask again".to_owned());
            }
            told.limits.push(self.limit(&hop.lane, found));
            let hosts = told.hosts.iter();
            for group in hosts.filter_map(|host| settings.limits.of_host(&host.name)) {
                let name = Rc::clone(&group.name);
                if told.limits.iter().all(|limit| limit.of != *name) {
                    told.limits.push(self.limit(&name, Some(group)));
                }
            }
        }
        told
    }

    /// Goes through the hosts as a delivery would.
    async fn ask_around(&self, settings: &Settings, hop: &NextHop, told: &mut Explained) {
        let mut candidates = match Candidates::new(self, &hop.how, TlsWish::Usual, None).await {
            Ok(candidates) => candidates,
            Err(NoHost { diagnosis, .. }) => {
                told.trouble = Some(diagnosis.text.into());
                return;
            }
        };
        told.policy = published(candidates.published());
        while let Some(step) = candidates.step(self).await {
            let host = self.host(settings, hop, &step);
            told.hosts.push(host);
        }
        if told.hosts.iter().all(|host| host.trouble.is_some()) {
            told.trouble = Some(candidates.verdict(None).diagnosis.text.into());
        }
    }

    fn host(&self, settings: &Settings, hop: &NextHop, step: &Step) -> Host {
        let (how, first) = (&hop.how, step.candidates.first());
        let (tls, tls_from) = first.map_or(Default::default(), |candidate| {
            let terms = Terms::new(settings, candidate, how);
            (terms.grade_name(), source_of(settings, how, candidate))
        });
        let now = self.world.now();
        let trip = |candidate: &Candidate| {
            let leaving = self.sources.peek(&Trip {
                now,
                today: Day::of(self.world.wall()),
                pool: settings.pools.find(hop.pool.as_deref()),
                lane: &hop.lane,
                to: candidate.address.ip(),
                destination: Destination::new(how, &candidate.name),
                again: None,
                warmups: &self.warmups,
            });
            leaving.map(|leaving| leaving.address.to_string())
        };
        let address = |candidate: &Candidate| Address {
            to: candidate.address.to_string(),
            from: trip(candidate),
            rests: self
                .hosts
                .rests(now, candidate.address)
                .map(|rests| rests.as_secs()),
        };
        Host {
            name: step.name.to_string(),
            preference: step.preference,
            addresses: step.candidates.iter().map(address).collect(),
            tls: tls.to_owned(),
            tls_from: tls_from.to_owned(),
            trouble: step.trouble.as_ref().map(|why| why.text.to_string()),
        }
    }

    /// What a rule says and what was learned, of a lane or of a group of hosts.
    fn limit(&self, name: &str, found: Option<Found>) -> Limit {
        let now = self.world.now();
        let rule = found
            .as_ref()
            .map(|found| format!("limit {}", found.place + 1));
        let terms = found.map_or_else(Bounds::default, |found| found.terms);
        let facts = self.paces.facts(now, name);
        let next = facts
            .as_ref()
            .map(|facts| facts.next.since(now).as_secs_f64());
        let learned = facts.and_then(|facts| learned(now, facts));
        Limit {
            of: name.to_owned(),
            rule,
            connections: terms.connections,
            messages_per_connection: terms.messages_per_connection,
            rate: terms.rate.map(|rate| rate.to_string()),
            recipients_per_message: terms.recipients_per_message,
            recipient_rate: terms.recipient_rate.map(|rate| rate.to_string()),
            learned,
            next_slot: next,
        }
    }

    /// Rows of next hops with what is remarkable of them. What is learned is known to a next hop's home,
    /// whose mail may all be elsewhere: it has a row without recipients then.
    pub(in crate::shard) fn remarked(&self, mut rows: Vec<ShapeRow>) -> Vec<ShapeRow> {
        for row in &mut rows {
            row.waits_for_tomorrow = self.sources.waits_for_tomorrow(&row.destination);
        }
        let now = self.world.now();
        for facts in self.paces.all_slowed(now) {
            let known = rows.iter_mut().find(|row| row.destination == *facts.name);
            let name = facts.name.to_string();
            let learned = learned(now, facts);
            match known {
                Some(row) => row.learned = learned,
                None => rows.push(ShapeRow {
                    destination: name,
                    ages: vec![0; AGE_BUCKETS.len() + 1],
                    states: vec![0; State::ALL.len()],
                    learned,
                    waits_for_tomorrow: false,
                }),
            }
        }
        rows
    }

    fn lane(&self, name: &str) -> Option<Lane> {
        let now = self.world.now();
        let queue = self.queue.borrow();
        let lane = queue.lanes().find(|lane| *lane.name == *name)?;
        Some(Lane {
            shard: self.mesh.here(),
            messages: lane.parts,
            in_flight: lane.in_flight,
            connections: lane.connections,
            state: match lane.gate {
                Gate::Open => "open",
                Gate::Closed if self.sources.waits_for_tomorrow(name) => "waiting for tomorrow",
                Gate::Closed if lane.rests => "waiting for its turn",
                Gate::Closed => "backing off",
                Gate::Probing => "probing",
            }
            .to_owned(),
            next_attempt: lane.reopens.map(|at| at.since(now).as_secs()),
            failures: lane.failures,
            reason: lane.diagnosis.map(|diagnosis| diagnosis.text.to_string()),
        })
    }
}

/// What a destination was found to take.
fn learned(now: Tick, facts: Facts) -> Option<Learned> {
    let ago = |at: Option<Tick>| at.map_or(0, |at| now.since(at).as_secs());
    Some(Learned {
        rate: facts.interval.map(rate::words),
        connections: facts.connections,
        since: ago(facts.since),
        complained: ago(facts.strained),
        reason: facts.why?.into(),
    })
}

/// The rule that a domain's mail follows, as the configuration has it.
fn rule(settings: &Settings, domain: &str) -> Option<String> {
    let place = settings.routes.place(domain)?;
    let route = settings.config.route.get(place)?;
    let number = place + 1;
    Some(format!("route {number}: {} to {}", route.domain, route.to))
}

fn way(hop: &NextHop) -> &'static str {
    match hop.how {
        How::Mx(_) => "mx",
        How::Host { .. } => "host",
        How::Address { .. } => "address",
        How::Mailbox => "mailbox",
        How::Returns => "returns",
        How::Discard => "discard",
        How::Fail(_) => "fail",
    }
}

/// Who says what TLS has to be.
fn source_of(settings: &Settings, how: &How, candidate: &Candidate) -> &'static str {
    match candidate.demand {
        Demand::Certificate { .. } | Demand::Encryption => "DANE",
        Demand::Policy => "MTA-STS",
        Demand::Configured | Demand::Trial { .. } | Demand::Waived | Demand::Proof => {
            let own = match how {
                How::Mx(domain) => settings.routes.tls(domain),
                How::Host { tls, .. } | How::Address { tls, .. } => *tls,
                How::Mailbox | How::Returns | How::Discard | How::Fail(_) => None,
            };
            own.map_or("[delivery] tls", |_| "route")
        }
    }
}

fn published(found: &sts::Found) -> Option<Policy> {
    let trouble = found
        .trouble
        .as_ref()
        .map(|trouble| trouble.why.to_string());
    let Some(policy) = &found.policy else {
        return trouble.map(|trouble| Policy {
            trouble: Some(trouble),
            ..Policy::default()
        });
    };
    Some(Policy {
        mode: policy.mode.name().to_owned(),
        mx: policy.mx.iter().map(ToString::to_string).collect(),
        trouble,
    })
}

/// How long names may be looked up: an operator waits.
const PATIENCE: Duration = Duration::from_secs(3);
