//! What comes of the rules for bulk senders where a listener looks at them.

use std::net::IpAddr;
use std::rc::Rc;

use crate::config::Preflight;
use crate::mail::envelope::QueueId;
use crate::preflight::{Finding, Grade, named, reverse_name};
use crate::route::dns::{Answer, Kind, Question, Records};
use crate::shard::Shard;
use crate::smtp::reply::Reply;
use crate::world::{Class, World};

impl<W: World> Shard<W> {
    /// Counts the rules that a message, and the addresses that it will leave from, break, and does
    /// what the listener wants of it. For the addresses nobody is refused: they are our affair.
    pub(super) fn preflight(
        self: &Rc<Self>,
        id: QueueId,
        findings: &[Finding],
        wanted: Preflight,
    ) -> Result<(), Reply> {
        if wanted == Preflight::Off {
            return Ok(());
        }
        let ours = self.sources();
        let mut tally = self.preflights.get();
        tally.count(findings);
        tally.count(&ours);
        self.preflights.set(tally);
        let is_broken = |finding: &&Finding| finding.grade == Grade::Fail;
        let all = findings.iter().chain(&ours).filter(is_broken);
        let broken: Vec<String> = all.map(ToString::to_string).collect();
        if !broken.is_empty() && matches!(wanted, Preflight::Warn | Preflight::Refuse) {
            self.say(format_args!("{id}: preflight: {}", broken.join("; ")));
        }
        match findings.iter().find(is_broken) {
            Some(first) if wanted == Preflight::Refuse => {
                Err(Reply::breaks_a_rule(&first.found, &first.remedy))
            }
            _ => Ok(()),
        }
    }

    /// What the DNS has said of the addresses that mail leaves from. No message waits for it: what is
    /// not in the cache is asked for beside, and the next one knows.
    fn sources(self: &Rc<Self>) -> Vec<Finding> {
        let settings = self.settings();
        let config = &settings.config;
        let named = config.source.iter().flat_map(|source| &source.address);
        let sources = config.delivery.source.iter().chain(named);
        let sources: Vec<IpAddr> = sources.copied().collect();
        let known: Vec<Known> = sources.iter().map(|source| self.known(*source)).collect();
        let is_missing = known.iter().any(|known| matches!(known, Known::Missing));
        if is_missing && !self.asks_for_sources.replace(true) {
            let shard = Rc::clone(self);
            self.world.spawn(Class::Chores, async move {
                for source in sources {
                    shard.ask_for(source).await;
                }
                shard.asks_for_sources.set(false);
            });
        }
        let known = known.into_iter();
        known
            .filter_map(|known| match known {
                Known::Finding(finding) => Some(finding),
                Known::Missing | Known::Doubtful => None,
            })
            .collect()
    }

    /// What is in the cache about an address.
    fn known(&self, source: IpAddr) -> Known {
        let now = self.world.now();
        let Some(response) = self.names.known(now, &names_of(source)) else {
            return Known::Missing;
        };
        let names = match &response.answer {
            Answer::Records(Records::Names(names), _) => &names[..],
            Answer::NoData(_) | Answer::NoName(_) => &[],
            _ => return Known::Doubtful,
        };
        let mut is_confirmed = false;
        for name in names.iter().take(NAMES_MAX) {
            let Some(response) = self.names.known(now, &address_of(name, source)) else {
                return Known::Missing;
            };
            match &response.answer {
                Answer::Records(Records::Addresses(found), _) => {
                    is_confirmed |= found.contains(&source);
                }
                Answer::NoData(_) | Answer::NoName(_) => {}
                _ => return Known::Doubtful,
            }
        }
        Known::Finding(named(source, names, is_confirmed))
    }

    async fn ask_for(&self, source: IpAddr) {
        let response = self.names.lookup(&self.world, names_of(source)).await;
        if let Answer::Records(Records::Names(names), _) = &response.answer {
            for name in names.iter().take(NAMES_MAX) {
                let question = address_of(name, source);
                self.names.lookup(&self.world, question).await;
            }
        }
    }
}

/// What is known of an address that mail leaves from.
enum Known {
    Finding(Finding),
    /// It has to be asked for.
    Missing,
    /// It was, and no answer can be relied on.
    Doubtful,
}

fn names_of(source: IpAddr) -> Question {
    Question {
        name: reverse_name(source),
        kind: Kind::Ptr,
    }
}

fn address_of(name: &str, source: IpAddr) -> Question {
    Question {
        name: name.into(),
        kind: match source {
            IpAddr::V4(_) => Kind::A,
            IpAddr::V6(_) => Kind::Aaaa,
        },
    }
}

/// Names of one address that are looked at (RFC 8601 §3 takes ten as enough).
const NAMES_MAX: usize = 10;
