//! From whom mail goes: sources, pools of them, and whose turn it is. Pure.

use std::net::IpAddr;
use std::rc::Rc;

use super::warmup::Plan;
use crate::turns;

/// Somebody whom mail comes from: addresses of ours, and what we call ourselves there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name; of a source that has none, its address.
    pub name: Rc<str>,
    /// One of each family at most.
    pub addresses: Vec<IpAddr>,
    /// What it says in EHLO, where that is something of its own.
    pub helo: Option<Rc<str>>,
    /// How much it sends on its first days, where nobody knows it yet.
    pub warmup: Option<Rc<Plan>>,
}

impl Source {
    /// The address from which `to` can be reached.
    #[must_use]
    pub fn address(&self, to: IpAddr) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|own| own.is_ipv4() == to.is_ipv4())
    }
}

/// A source in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The source.
    pub source: Rc<Source>,
    /// Its share of the turns, beside those of the others.
    pub weight: u32,
}

/// Sources that take turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name; `None`: the one of mail that belongs to no other.
    pub name: Option<Rc<str>>,
    /// None in the unnamed one: the kernel chooses.
    pub members: Vec<Member>,
}

/// The pools there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// For mail that belongs to none by name.
    unnamed: Rc<Pool>,
    named: Vec<Rc<Pool>>,
    /// The pool of mail of which neither its route nor its tenant says one.
    usual: Option<Rc<str>>,
    /// Sources that are on their warm-up: most have none, and pay nothing for it.
    warmed: Vec<Rc<Source>>,
}

impl Pools {
    /// These pools; mail of which nothing is said goes by the one called `usual`, or by `unnamed`.
    #[must_use]
    pub fn new(unnamed: Pool, named: impl IntoIterator<Item = Pool>, usual: Option<&str>) -> Self {
        let mut pools = Self {
            unnamed: Rc::new(unnamed),
            named: named.into_iter().map(Rc::new).collect(),
            usual: usual.map(Rc::from),
            warmed: Vec::new(),
        };
        let warmed = pools.sources().filter(|source| source.warmup.is_some());
        pools.warmed = warmed.cloned().collect();
        pools
    }

    /// The pool of a lane; one that is gone since is the usual one's affair.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> &Rc<Pool> {
        let find = |name: &str| {
            let is_called = |pool: &&Rc<Pool>| pool.name.as_deref() == Some(name);
            self.named.iter().find(is_called)
        };
        let usual = || self.usual.as_deref().and_then(find);
        name.and_then(find).or_else(usual).unwrap_or(&self.unnamed)
    }

    /// The same name, where it is not the usual pool's: mail of both travels together.
    #[must_use]
    pub fn unless_usual<'a>(&self, name: Option<&'a Rc<str>>) -> Option<&'a Rc<str>> {
        name.filter(|name| Some(*name) != self.usual.as_ref())
    }

    /// The source of a name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Rc<Source>> {
        self.sources().find(|source| *source.name == *name)
    }

    /// The warm-up of the source of a name.
    #[must_use]
    pub fn warmup(&self, name: &str) -> Option<&Plan> {
        let mut warmed = self.warmed.iter();
        let source = warmed.find(|source| *source.name == *name)?;
        source.warmup.as_deref()
    }

    /// The sources that have one.
    pub fn warmed(&self) -> impl Iterator<Item = (&Source, &Plan)> {
        let warmed = self.warmed.iter();
        warmed.filter_map(|source| Some((&**source, source.warmup.as_deref()?)))
    }

    /// Every source in any of them, each once.
    pub fn sources(&self) -> impl Iterator<Item = &Rc<Source>> {
        let mut seen: Vec<&str> = Vec::new();
        let pools = std::iter::once(&self.unnamed).chain(&self.named);
        let members = pools.flat_map(|pool| &pool.members);
        members.filter_map(move |member| {
            let name = &*member.source.name;
            let is_new = !seen.contains(&name);
            seen.push(name);
            is_new.then_some(&member.source)
        })
    }
}

/// Whose turn it is in one pool.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// What each member has saved up, in their order.
    credits: Vec<i64>,
}

impl Turns {
    /// The next member among those that may go; `None` when none may.
    pub fn next<'a>(
        &mut self,
        members: &'a [Member],
        may_go: impl Fn(&Source) -> bool,
    ) -> Option<&'a Member> {
        if self.credits.len() != members.len() {
            // Another pool by now, of the same name.
            self.credits = vec![0; members.len()];
        }
        let weight = |place: usize| {
            let member: &Member = &members[place];
            may_go(&member.source).then_some(member.weight)
        };
        turns::next(&mut self.credits, weight).map(|place| &members[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, addresses: &[&str]) -> Rc<Source> {
        Rc::new(Source {
            name: name.into(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            helo: None,
            warmup: None,
        })
    }

    fn pool(name: &str, members: &[(&str, u32)]) -> Pool {
        let member = |(name, weight): &(&str, u32)| Member {
            source: source(name, &["192.0.2.1"]),
            weight: *weight,
        };
        Pool {
            name: Some(name.into()),
            members: members.iter().map(member).collect(),
        }
    }

    fn deal(turns: &mut Turns, pool: &Pool, count: usize, may_go: fn(&Source) -> bool) -> String {
        let turns = (0..count).filter_map(|_| turns.next(&pool.members, may_go));
        turns.map(|member| &*member.source.name).collect()
    }

    #[test]
    fn heavy_sources_have_more_turns_and_none_has_them_in_a_row() {
        let pool = pool("p", &[("a", 5), ("b", 1), ("c", 1)]);
        let dealt = deal(&mut Turns::default(), &pool, 14, |_| true);
        assert_eq!(dealt, "aabacaaaabacaa");
    }

    #[test]
    fn a_source_that_rests_comes_back_with_its_share_and_no_more() {
        let pool = pool("p", &[("a", 1), ("b", 1)]);
        let mut turns = Turns::default();
        assert_eq!(deal(&mut turns, &pool, 3, |_| true), "aba");
        assert_eq!(
            deal(&mut turns, &pool, 9, |one| &*one.name != "b"),
            "aaaaaaaaa"
        );
        let after = deal(&mut turns, &pool, 4, |_| true);
        assert_eq!(after.matches('b').count(), 2, "{after}");
        assert_eq!(deal(&mut turns, &pool, 3, |_| false), "");
    }

    #[test]
    fn a_pool_that_a_reload_has_changed_begins_anew() {
        let mut turns = Turns::default();
        deal(&mut turns, &pool("p", &[("a", 9), ("b", 1)]), 5, |_| true);
        let dealt = deal(&mut turns, &pool("p", &[("c", 1)]), 2, |_| true);
        assert_eq!(dealt, "cc");
    }

    #[test]
    fn a_source_is_reached_from_its_address_of_the_same_family() {
        let both = source("s", &["192.0.2.1", "2001:db8::1"]);
        let reach = |source: &Source, to: &str| {
            let from = source.address(to.parse().unwrap());
            from.map(|from| from.to_string())
        };
        assert_eq!(reach(&both, "198.51.100.9").as_deref(), Some("192.0.2.1"));
        assert_eq!(
            reach(&both, "2001:db8:9::9").as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(reach(&source("s", &["192.0.2.1"]), "2001:db8:9::9"), None);
    }

    #[test]
    fn mail_of_a_pool_that_is_gone_goes_by_the_usual_one() {
        let named = || [pool("bulk", &[("a", 1)]), pool("post", &[("b", 1)])];
        let name = |pools: &Pools, wanted| pools.find(wanted).name.as_deref().map(str::to_owned);
        let pools = Pools::new(Pool::default(), named(), Some("post"));
        assert_eq!(name(&pools, Some("bulk")).as_deref(), Some("bulk"));
        assert_eq!(name(&pools, Some("gone")).as_deref(), Some("post"));
        assert_eq!(name(&pools, None).as_deref(), Some("post"));
        let without = Pools::new(Pool::default(), named(), None);
        assert_eq!(name(&without, None), None);
        let post: Rc<str> = "post".into();
        assert_eq!(pools.unless_usual(Some(&post)), None);
        assert_eq!(without.unless_usual(Some(&post)), Some(&post));
    }
}
