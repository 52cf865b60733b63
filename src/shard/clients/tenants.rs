//! Whose mail comes in: found out of who has logged in, what a trusted client says, and where it came
//! in; and how much of it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;

use crate::config::{self, Config};
use crate::mail::envelope::{MtPriority, Priority, Standing};
use crate::shard::Shard;
use crate::shard::settle::named::Named;
use crate::smtp::reply::Reply;
use crate::wire::header;
use crate::world::{Tick, World};

/// The tenants, as a shard uses them.
#[derive(Default)]
pub(in crate::shard) struct Tenants {
    known: HashMap<Box<str>, Tenant>,
    by_user: HashMap<Box<str>, Box<str>>,
    /// The fields that say something: of the tenant, of what it belongs to, of how soon it goes.
    fields: [Option<Box<str>>; 3],
    removes: bool,
}

struct Tenant {
    pool: Option<Rc<str>>,
    priority: Priority,
    messages_per_minute: Option<usize>,
}

/// What a message says of itself, where its client may say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::shard) struct Said {
    tenant: Option<Box<str>>,
    tag: Option<Box<str>>,
    priority: Option<Priority>,
    /// `MT-PRIORITY=`
    mt_priority: Option<MtPriority>,
}

impl Said {
    /// The same with what was said in MAIL.
    pub(in crate::shard) fn and_in_mail(self, mt_priority: Option<MtPriority>) -> Self {
        Self {
            mt_priority,
            ..self
        }
    }
}

impl Tenants {
    pub(in crate::shard) fn new(config: &Config) -> Self {
        let ready = |tenant: &config::Tenant| {
            let ready = Tenant {
                pool: tenant.pool.as_deref().map(Rc::from),
                priority: tenant.priority,
                messages_per_minute: tenant.messages_per_minute,
            };
            ((&*tenant.name).into(), ready)
        };
        let users = config.tenant.iter().flat_map(|tenant| {
            let users = tenant.users.iter();
            users.map(|user| ((&*user.to_ascii_lowercase()).into(), (&*tenant.name).into()))
        });
        let config::Tenants {
            header,
            tag_header,
            priority_header,
            remove_headers,
        } = &config.tenants;
        let fields = [header, tag_header, priority_header];
        Self {
            known: config.tenant.iter().map(ready).collect(),
            by_user: users.collect(),
            fields: fields.map(|name| name.as_deref().map(Into::into)),
            removes: *remove_headers,
        }
    }

    /// Whether anything is to be found in headers.
    pub(in crate::shard) fn reads_headers(&self) -> bool {
        self.fields.iter().any(Option::is_some)
    }

    /// What a header in wire form says.
    pub(in crate::shard) fn find(&self, header: &[u8]) -> Said {
        let [tenant, tag, priority] = self.fields.each_ref().map(|name| {
            let value = header::value(header, name.as_deref()?, VALUE_OCTETS_MAX)?;
            Some(value).filter(|value| is_plain(value))
        });
        Said {
            tenant: tenant.map(Into::into),
            tag: tag.map(Into::into),
            priority: priority.and_then(|text| text.parse().ok()),
            mt_priority: None,
        }
    }

    /// The fields to be taken out.
    pub(in crate::shard) fn removed(&self) -> Vec<Box<str>> {
        let fields = self.fields.iter().flatten();
        fields.filter(|_| self.removes).cloned().collect()
    }

    /// Whose a message is: a user's tenant goes before what the message says, and that before the
    /// listener's.
    pub(in crate::shard) fn standing(
        &self,
        user: Option<&str>,
        said: Said,
        listener: Option<&str>,
    ) -> Standing {
        let of_user = user.and_then(|user| {
            let known = self.by_user.get(user);
            known
                .or_else(|| self.by_user.get(&*user.to_ascii_lowercase()))
                .cloned()
        });
        // Whoever has logged in is not somebody else because a field says so.
        let of_field = said.tenant.filter(|_| user.is_none());
        let tenant = of_user.or(of_field).or_else(|| listener.map(Into::into));
        let known = tenant.as_ref().and_then(|name| self.known.get(name));
        let usual = known.map(|tenant| tenant.priority).unwrap_or_default();
        let asked = said.mt_priority.map(MtPriority::priority);
        Standing {
            tenant,
            tag: said.tag,
            priority: said.priority.or(asked).unwrap_or(usual),
            mt_priority: said.mt_priority,
        }
    }

    /// The pool of a tenant's mail.
    pub(in crate::shard) fn pool(&self, tenant: Option<&str>) -> Option<&Rc<str>> {
        self.known.get(tenant?)?.pool.as_ref()
    }

    /// Its name in metrics: names that nobody configured must not make rows without end.
    pub(in crate::shard) fn label<'t>(&self, tenant: &'t str) -> &'t str {
        match self.known.contains_key(tenant) {
            true => tenant,
            false => OTHER,
        }
    }

    /// Messages that are taken of a tenant in a minute.
    pub(in crate::shard) fn limit(&self, tenant: &str) -> Option<usize> {
        self.known.get(tenant)?.messages_per_minute
    }
}

/// What a shard counts of tenants.
pub(in crate::shard) struct Customers {
    pub(in crate::shard) meters: Meters,
    pub(in crate::shard) counts: Named,
}

impl Customers {
    pub(in crate::shard) fn new(meters: Meters) -> Self {
        Self {
            meters,
            counts: Named::default(),
        }
    }

    /// A recipient's attempt ended like this.
    pub(in crate::shard) fn count(&self, tenants: &Tenants, tenant: &str, status: &str) {
        self.counts.count(tenants.label(tenant), status);
    }
}

/// How much has come of each tenant, over all shards. Cloning shares it.
#[derive(Clone, Default)]
pub struct Meters(Arc<ArcSwap<HashMap<Box<str>, Arc<AtomicI64>>>>);

impl Meters {
    /// Whether another message may come, of so many in a minute, and counts it. Each takes its share
    /// of the minute; a tenth of a minute's may come at once (GCRA).
    pub(in crate::shard) fn admits(&self, tenant: &str, per_minute: usize, now: Tick) -> bool {
        let meter = self.meter(tenant);
        let per_minute = i64::try_from(per_minute).unwrap_or(i64::MAX).max(1);
        let share = (MINUTE_MICROS / per_minute).max(1);
        let burst = (MINUTE_MICROS / 10).max(share);
        // When the messages so far are paid for.
        let paid = meter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let next = paid.max(now.0) + share;
            (next - now.0 <= burst).then_some(next)
        });
        paid.is_ok()
    }

    fn meter(&self, tenant: &str) -> Arc<AtomicI64> {
        if let Some(meter) = self.0.load().get(tenant) {
            return Arc::clone(meter);
        }
        let fresh = Arc::new(AtomicI64::new(i64::MIN / 2));
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known
                .entry(tenant.into())
                .or_insert_with(|| Arc::clone(&fresh));
            known
        });
        self.0.load().get(tenant).map_or(fresh, Arc::clone)
    }
}

impl<W: World> Shard<W> {
    /// Whose a complete message is; or that this is more than is taken of its tenant.
    pub(in crate::shard) fn assign(
        &self,
        user: Option<&str>,
        said: Said,
        listener: Option<&str>,
    ) -> Result<Standing, Reply> {
        let settings = self.settings();
        let standing = settings.tenants.standing(user, said, listener);
        if let Some(tenant) = standing.tenant.as_deref()
            && let Some(limit) = settings.tenants.limit(tenant)
            && !self
                .customers
                .meters
                .admits(tenant, limit, self.world.now())
        {
            return Err(Reply::too_many_messages());
        }
        Ok(standing)
    }
}

/// What can stand in lists and metrics.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && !value.chars().any(char::is_control)
}

const MINUTE_MICROS: i64 = 60_000_000;
/// Octets of a field that count.
const VALUE_OCTETS_MAX: usize = 63;
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tenants() -> Tenants {
        let tenant = |name: &str, priority| config::Tenant {
            name: name.to_owned(),
            users: vec![format!("Ann@{name}.test")],
            priority,
            ..config::Tenant::default()
        };
        let config = Config {
            tenant: vec![tenant("red", Priority::High), tenant("blue", Priority::Low)],
            tenants: config::Tenants {
                header: Some("X-Tenant".to_owned()),
                priority_header: Some("X-Hurry".to_owned()),
                ..config::Tenants::default()
            },
            ..Config::default()
        };
        Tenants::new(&config)
    }

    #[test]
    fn who_has_logged_in_is_nobody_else_because_a_field_says_so() {
        let tenants = tenants();
        let said = |text: &str| tenants.find(text.as_bytes());
        let whose = |user, text: &str, listener| {
            let standing = tenants.standing(user, said(text), listener);
            (standing.tenant.map(String::from), standing.priority)
        };
        let blue = "Subject: a\r\nx-tenant: blue\r\n\r\n";
        let of = |name: &str, priority| (Some(name.to_owned()), priority);
        assert_eq!(whose(None, blue, Some("red")), of("blue", Priority::Low));
        assert_eq!(
            whose(Some("ann@red.test"), blue, None),
            of("red", Priority::High)
        );
        assert_eq!(
            whose(Some("eve@c.test"), blue, Some("red")),
            of("red", Priority::High)
        );
        assert_eq!(
            whose(Some("eve@c.test"), blue, None),
            (None, Priority::Normal)
        );
        let new = "X-Tenant: new\r\nX-Hurry: 9\r\n\r\n";
        assert_eq!(whose(None, new, None), of("new", Priority::High));
        assert_eq!(
            [tenants.label("red"), tenants.label("new")],
            ["red", "other"]
        );
        assert_eq!(said("X-Tenant: \r\nX-Hurry: soon\r\n\r\n"), Said::default());
    }

    #[test]
    fn a_tenant_has_its_minute_and_a_tenth_of_it_at_once() {
        let meters = Meters::default();
        let at = |seconds: u64| Tick(0) + Duration::from_secs(seconds);
        let taken = |now, tries| (0..tries).filter(|_| meters.admits("a", 60, now)).count();
        assert_eq!(taken(at(0), 50), 6);
        assert_eq!(taken(at(1), 50), 1);
        assert_eq!(
            (2..=60).map(|second| taken(at(second), 5)).sum::<usize>(),
            59
        );
        assert!(meters.admits("b", 1, at(1)) && !meters.admits("b", 1, at(59)));
        assert!(meters.admits("b", 1, at(61)));
    }
}
