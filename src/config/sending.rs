//! `[[source]]`, `[[warmup]]`, `[[pool]]` and `[bounces]`: from whom mail goes, and what comes back.

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::{Config, ReturnDomain};
use crate::bounces::{Class, Rules};
use crate::file;
use crate::mail::envelope::Priority;
use crate::route::BadRoute;
use crate::route::pool::{self, Member, Pools};
use crate::route::warmup::{Curve, Day, Line, Plan, Written};

/// `[[source]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What pools, the log and metrics call it.
    pub name: String,
    /// One of each family at most.
    pub address: Vec<IpAddr>,
    /// `None`: as `[delivery] helo`.
    pub helo: Option<String>,
    /// The plan by which it is warmed up.
    pub warmup: Option<String>,
    /// The first day of that.
    pub warmup_from: Option<Day>,
}

/// `[[warmup]]`: a line of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warmup {
    /// The plan.
    pub name: String,
    /// Domains that the line is about; with neither these nor `mx` it is about all mail.
    pub domain: Option<String>,
    /// Hosts that it is about.
    pub mx: Option<String>,
    /// How much goes on each day.
    pub days: Vec<u32>,
    /// Or else: on the first day.
    pub start: Option<u32>,
    /// Each day in thousandths of the day before.
    pub growth: Option<u32>,
    /// As long as it is less than this.
    pub end: Option<u32>,
}

impl Warmup {
    /// The line as the plan of a source has it.
    pub fn line(&self, source: &str) -> Result<Line, BadRoute> {
        let (domain, mx) = (self.domain.as_deref(), self.mx.as_deref());
        Line::parse(source, Written { domain, mx }, self.curve())
    }

    fn curve(&self) -> Curve {
        match (self.start, self.growth, self.end) {
            (Some(start), Some(growth), Some(end)) => Curve::growing(start, growth, end),
            _ => Curve::days(&self.days),
        }
    }
}

/// `[[pool]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// What routes call it.
    pub name: String,
    /// Names of sources, and the weight of each.
    pub sources: Vec<(String, u32)>,
}

/// `[tenants]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    /// The field that names a message's tenant.
    pub header: Option<String>,
    /// The field that says what it belongs to.
    pub tag_header: Option<String>,
    /// The field that says how soon it goes.
    pub priority_header: Option<String>,
    /// They are taken out.
    pub remove_headers: bool,
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            header: None,
            tag_header: None,
            priority_header: None,
            remove_headers: true,
        }
    }
}

/// `[[tenant]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// What everybody calls it.
    pub name: String,
    /// Users whose mail is its own.
    pub users: Vec<String>,
    /// By which pool of sources; `None`: as all other mail.
    pub pool: Option<String>,
    /// How soon its mail goes.
    pub priority: Priority,
    /// Messages that are taken of it; `None`: as many as come.
    pub messages_per_minute: Option<usize>,
    /// Where its mail seems to come from.
    pub return_domain: ReturnDomain,
}

/// `[bounces]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounces {
    /// A file of rules that stand before those that come with the relay.
    pub rules: Option<PathBuf>,
}

/// `[suppression]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Refusals after which an address gets no more mail.
    pub on: Vec<Class>,
    /// So many of them.
    pub after: usize,
    /// For how long; `None`: for good.
    pub span: Option<Duration>,
    /// What becomes of mail to such an address.
    pub action: Suppressed,
    /// Addresses that the list takes.
    pub max: usize,
}

/// What becomes of mail to an address that gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppressed {
    /// It is refused at RCPT.
    Reject,
    /// It is taken, and fails.
    Fail,
    /// It goes out.
    Off,
}

impl Suppression {
    /// For how many seconds; `None`: for good.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        let span = self.span?;
        Some(i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
    }
}

impl Bounces {
    /// The rules in force, read anew from the file.
    pub fn read(&self) -> Result<Rules, String> {
        let Some(path) = &self.rules else {
            return Ok(Rules::embedded());
        };
        let place = path.display();
        let text = file::read_text(path);
        let text = text.map_err(|error| format!("{place} cannot be read: {error}"))?;
        Rules::parse(&text).map_err(|bad| format!("{place}: {}", bad.with_line(&text)))
    }
}

impl Config {
    /// The pools as deliveries use them.
    #[must_use]
    pub fn pools(&self) -> Pools {
        let known: Vec<Rc<pool::Source>> = self
            .source
            .iter()
            .map(|source| self.ready(source))
            .collect();
        let member = |(name, weight): &(String, u32)| {
            let source = known.iter().find(|source| *source.name == **name)?;
            Some(Member {
                source: Rc::clone(source),
                weight: *weight,
            })
        };
        let named = self.pool.iter().map(|pool| pool::Pool {
            name: Some((&*pool.name).into()),
            members: pool.sources.iter().filter_map(member).collect(),
        });
        let unnamed = self.delivery.source.iter().map(|address| Member {
            source: Rc::new(pool::Source {
                name: address.to_string().into(),
                addresses: vec![*address],
                helo: None,
                warmup: None,
            }),
            weight: 1,
        });
        let unnamed = pool::Pool {
            name: None,
            members: unnamed.collect(),
        };
        Pools::new(unnamed, named, self.delivery.pool.as_deref())
    }

    /// A source as deliveries use it.
    fn ready(&self, source: &Source) -> Rc<pool::Source> {
        let plan = source.warmup.as_deref().zip(source.warmup_from);
        let plan = plan.map(|(name, first)| {
            let lines = self.warmup.iter().filter(|line| line.name == name);
            Rc::new(Plan {
                name: name.into(),
                first,
                // Validation has read them.
                lines: lines
                    .filter_map(|line| line.line(&source.name).ok())
                    .collect(),
            })
        });
        Rc::new(pool::Source {
            name: (&*source.name).into(),
            addresses: source.address.clone(),
            helo: source.helo.as_deref().map(Rc::from),
            warmup: plan,
        })
    }

    /// Every address that mail may leave from, and whose it is.
    #[must_use]
    pub fn addresses_out(&self) -> Vec<(String, IpAddr)> {
        let unnamed = self.delivery.source.iter();
        let unnamed = unnamed.map(|address| ("[delivery] source".to_owned(), *address));
        let of_source = |source: &Source| {
            let whose = format!("[[source]] {}", source.name);
            let addresses = source.address.clone().into_iter();
            addresses.map(move |address| (whose.clone(), address))
        };
        unnamed
            .chain(self.source.iter().flat_map(of_source))
            .collect()
    }
}
