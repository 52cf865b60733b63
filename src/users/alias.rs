//! Where mail for an address goes: users, aliases, tags behind a `+`, postmaster, and what takes the
//! rest of a domain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Users;
use crate::wire::path::Mailbox;

/// A mailbox that an address leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The user.
    pub user: String,
    /// What stood behind the `+`.
    pub tag: Option<String>,
}

/// Where mail for an address goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    /// Mailboxes here, each once.
    pub here: Vec<Place>,
    /// Addresses elsewhere that an alias names, each once, as they are written there.
    pub elsewhere: Vec<String>,
}

impl Leads {
    /// Nobody has the address.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        self.here.is_empty() && self.elsewhere.is_empty()
    }
}

/// What is wrong with an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadAlias {
    /// It leads back to itself, by this way.
    Loop(Vec<String>),
    /// It leads to an address that nobody has.
    Nobody(String),
}

impl std::fmt::Display for BadAlias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loop(way) => write!(f, "leads back to itself: {}", way.join(" -> ")),
            Self::Nobody(address) => write!(
                f,
                "leads to {address}, which is neither a user nor an alias: `ringpost user add` makes one"
            ),
        }
    }
}

impl Users {
    /// Where mail for `address` goes; nowhere when nobody has the address. `is_ours` says of
    /// addresses that nobody has whether they would be here.
    ///
    /// What is written out comes first: an alias, a user, the same without the tag, `postmaster`
    /// (RFC 5321 §4.5.1: the domain's first user, or the first of all), and last `@domain`.
    #[must_use]
    pub fn leads(&self, address: &str, is_ours: impl Fn(&str) -> bool) -> Leads {
        let (mut here, mut elsewhere) = (BTreeSet::new(), Vec::new());
        let (mut seen, mut next) = (BTreeSet::new(), VecDeque::from([address]));
        while let Some(address) = next.pop_front() {
            let lower = address.to_lowercase();
            if seen.contains(&lower) {
                continue;
            }
            // The address that was asked for is not sent elsewhere: it would be by nobody's word.
            let is_ours = seen.is_empty() || is_ours(&lower);
            match self.step(address, &lower, is_ours) {
                Some(Step::User(user, tag)) => {
                    here.insert(Place { user, tag });
                }
                Some(Step::Alias { name, targets, tag }) => {
                    for target in targets {
                        if self.is_copy(name, target) {
                            let (user, tag) = (name.to_owned(), tag.map(str::to_owned));
                            here.insert(Place { user, tag });
                        } else {
                            next.push_back(target);
                        }
                    }
                }
                None if is_ours || !is_address(address) => {}
                None => elsewhere.push(address.to_owned()),
            }
            seen.insert(lower);
        }
        Leads {
            here: here.into_iter().collect(),
            elsewhere,
        }
    }

    /// An alias that names itself: the user of that name keeps a copy.
    fn is_copy(&self, name: &str, target: &str) -> bool {
        target.to_lowercase() == name && self.user.contains_key(name)
    }

    /// What an address means, one step of it.
    fn step<'a>(&'a self, address: &'a str, lower: &str, is_ours: bool) -> Option<Step<'a>> {
        if let Some(found) = self.named(lower, None) {
            return Some(found);
        }
        let (local, domain) = lower.rsplit_once('@')?;
        if let Some((name, _)) = local.split_once('+') {
            // The tag as it was written: folders have capitals.
            let tag = address.get(name.len() + 1..local.len());
            let untagged = format!("{name}@{domain}");
            if let Some(found) = self.named(&untagged, tag.filter(|tag| !tag.is_empty())) {
                return Some(found);
            }
        }
        if local == POSTMASTER
            && is_ours
            && let Some(user) = self.first_of(domain)
        {
            return Some(Step::User(user.to_owned(), None));
        }
        self.alias_of(&format!("@{domain}"), None)
    }

    fn named<'a>(&'a self, name: &str, tag: Option<&'a str>) -> Option<Step<'a>> {
        let user = || {
            let user = self.user.contains_key(name);
            user.then(|| Step::User(name.to_owned(), tag.map(str::to_owned)))
        };
        self.alias_of(name, tag).or_else(user)
    }

    fn alias_of<'a>(&'a self, name: &str, tag: Option<&'a str>) -> Option<Step<'a>> {
        let (name, targets) = self.alias.get_key_value(name)?;
        Some(Step::Alias { name, targets, tag })
    }

    /// Is there an alias of just this name?
    #[must_use]
    pub fn has_alias(&self, address: &str) -> bool {
        self.alias.contains_key(&address.to_lowercase())
    }

    fn first_of(&self, domain: &str) -> Option<&str> {
        let here = |name: &&String| name.rsplit_once('@').is_some_and(|(_, of)| of == domain);
        let first = self.user.keys().find(here).or(self.user.keys().next());
        first.map(String::as_str)
    }

    /// All aliases, by name.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &[String])> {
        let aliases = self.alias.iter();
        aliases.map(|(name, targets)| (&**name, &**targets))
    }

    /// Lets `name` (an address, or `@domain` for what nobody else of it takes) lead to `targets`
    /// too; false when it did already.
    pub fn add_alias(&mut self, name: &str, targets: &[String]) -> bool {
        let known = self.alias.entry(name.to_lowercase()).or_default();
        let before = known.len();
        for target in targets {
            // As it is written: what capitals mean elsewhere is known there alone.
            if !known.iter().any(|other| other.eq_ignore_ascii_case(target)) {
                known.push(target.clone());
            }
        }
        known.len() > before
    }

    /// Removes `targets` of an alias, or all of it where there are none given; false when there
    /// was nothing to remove.
    pub fn remove_alias(&mut self, name: &str, targets: &[String]) -> bool {
        let name = name.to_lowercase();
        let Some(known) = self.alias.get_mut(&name) else {
            return false;
        };
        let before = known.len();
        known.retain(|target| {
            let named = targets
                .iter()
                .any(|given| given.eq_ignore_ascii_case(target));
            !named && !targets.is_empty()
        });
        let has_shrunk = known.len() < before;
        if known.is_empty() {
            self.alias.remove(&name);
        }
        has_shrunk
    }

    /// The aliases that lead nowhere or in a circle. `is_ours` says which addresses would be here.
    #[must_use]
    pub fn bad_aliases(&self, is_ours: impl Fn(&str) -> bool) -> Vec<(String, BadAlias)> {
        let mut bad = Vec::new();
        for name in self.alias.keys() {
            if let Err(fault) = self.follow(name, &mut vec![name.clone()], &is_ours) {
                bad.push((name.clone(), fault));
            }
        }
        bad
    }

    fn follow(
        &self,
        name: &str,
        way: &mut Vec<String>,
        is_ours: &impl Fn(&str) -> bool,
    ) -> Result<(), BadAlias> {
        let is_here = is_ours(name);
        let step = self.step(name, name, is_here);
        match step.or_else(|| self.alias_of(name, None)) {
            Some(Step::User(..)) => Ok(()),
            None if is_here || !is_address(name) => Err(BadAlias::Nobody(name.to_owned())),
            None => Ok(()),
            Some(Step::Alias {
                name: alias,
                targets,
                ..
            }) => {
                for target in targets {
                    let target = target.to_lowercase();
                    if self.is_copy(alias, &target) {
                        continue;
                    }
                    let is_circle = way.contains(&target);
                    way.push(target.clone());
                    if is_circle {
                        return Err(BadAlias::Loop(way.clone()));
                    }
                    self.follow(&target, way, is_ours)?;
                    way.pop();
                }
                Ok(())
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    Mailbox::parse(text.as_bytes(), true).is_ok()
}

/// What an address means.
enum Step<'a> {
    User(String, Option<String>),
    Alias {
        name: &'a str,
        targets: &'a [String],
        /// What stood behind the `+` of the address.
        tag: Option<&'a str>,
    },
}

/// What `alias` in the file holds.
pub(super) type Aliases = BTreeMap<String, Vec<String>>;

/// RFC 5321 §4.5.1: a domain that takes mail has one.
const POSTMASTER: &str = "postmaster";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::User;

    fn users(text: &str) -> Users {
        let mut users: Users = toml::from_str(text).unwrap();
        for name in ["ann@d.test", "bob@d.test", "zoe@e.test"] {
            users.add(name, User::new("secret", Vec::new()).unwrap());
        }
        users
    }

    fn found(users: &Users, address: &str) -> Vec<String> {
        let shown = |place: Place| match place.tag {
            Some(tag) => format!("{} in {tag}", place.user),
            None => place.user,
        };
        let Leads { here, elsewhere } = users.leads(address, is_ours);
        here.into_iter().map(shown).chain(elsewhere).collect()
    }

    fn is_ours(address: &str) -> bool {
        address.ends_with("@d.test") || address.ends_with("@e.test")
    }

    #[test]
    fn addresses_lead_to_users_by_every_way_there_is() {
        let users = users(
            "[alias]\n\"sales@d.test\" = [\"ann@d.test\", \"all@e.test\"]\n\"all@e.test\" = [\"bob@d.test\", \"ann@d.test\", \"sales@d.test\"]\n\"@e.test\" = [\"zoe@e.test\"]\n",
        );
        for (address, expected) in [
            ("ann@d.test", &["ann@d.test"][..]),
            ("Ann@D.TEST", &["ann@d.test"]),
            ("ann+Lists@d.test", &["ann@d.test in Lists"]),
            ("ann+@d.test", &["ann@d.test"]),
            ("sales@d.test", &["ann@d.test", "bob@d.test"]),
            ("sales+x@d.test", &["ann@d.test", "bob@d.test"]),
            ("nobody@d.test", &[]),
            ("nobody+ann@d.test", &[]),
            ("nobody@e.test", &["zoe@e.test"]),
            ("postmaster@d.test", &["ann@d.test"]),
            ("PostMaster@e.test", &["zoe@e.test"]),
            ("postmaster@relay.test", &["ann@d.test"]),
        ] {
            assert_eq!(found(&users, address), expected, "{address}");
        }
    }

    #[test]
    fn a_postmaster_alias_comes_before_the_first_user() {
        let users = users("[alias]\n\"postmaster@d.test\" = [\"bob@d.test\"]\n");
        assert_eq!(found(&users, "postmaster@d.test"), ["bob@d.test"]);
    }

    #[test]
    fn aliases_lead_elsewhere_and_back_and_to_the_user_of_their_own_name() {
        let users = users(
            "[alias]\n\"out@d.test\" = [\"Me@far.test\", \"all@d.test\"]\n\"all@d.test\" = [\"ann@d.test\", \"me@FAR.test\", \"gone@d.test\"]\n\"bob@d.test\" = [\"bob@d.test\", \"bob@far.test\"]\n\"post@d.test\" = [\"postmaster@far.test\", \"postmaster@e.test\"]\n",
        );
        for (address, expected) in [
            ("out@d.test", &["ann@d.test", "Me@far.test"][..]),
            ("bob@d.test", &["bob@d.test", "bob@far.test"]),
            ("Bob+Lists@d.test", &["bob@d.test in Lists", "bob@far.test"]),
            ("post@d.test", &["zoe@e.test", "postmaster@far.test"]),
            // Nobody said that mail for it may be sent there.
            ("me@far.test", &[]),
        ] {
            assert_eq!(found(&users, address), expected, "{address}");
        }
        let bad = users.bad_aliases(is_ours);
        let names: Vec<&str> = bad.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["all@d.test", "out@d.test"], "{bad:?}");
        assert!(
            bad.iter()
                .all(|(_, fault)| *fault == BadAlias::Nobody("gone@d.test".into()))
        );
    }

    #[test]
    fn a_long_chain_of_aliases_takes_no_stack() {
        let mut users = users("");
        for link in 0..100_000 {
            users.add_alias(
                &format!("a{link}@d.test"),
                &[format!("a{}@d.test", link + 1)],
            );
        }
        users.add_alias("a100000@d.test", &["ann@d.test".to_owned()]);
        assert_eq!(found(&users, "a0@d.test"), ["ann@d.test"]);
    }

    #[test]
    fn circles_and_dead_ends_are_named() {
        let users = users(
            "[alias]\n\"a@d.test\" = [\"b@d.test\"]\n\"b@d.test\" = [\"ann@d.test\", \"a@d.test\"]\n\"c@d.test\" = [\"gone@d.test\"]\n\"e@d.test\" = [\"ann@d.test\", \"bob@d.test\"]\n",
        );
        let bad: Vec<String> = users
            .bad_aliases(is_ours)
            .iter()
            .map(|(name, fault)| format!("{name} {fault}"))
            .collect();
        assert_eq!(bad.len(), 3, "{bad:?}");
        assert_eq!(
            bad[0],
            "a@d.test leads back to itself: a@d.test -> b@d.test -> a@d.test"
        );
        assert!(
            bad[2].starts_with("c@d.test leads to gone@d.test"),
            "{bad:?}"
        );
        // Mail finds its way all the same, and once.
        assert_eq!(found(&users, "a@d.test"), ["ann@d.test"]);
    }

    #[test]
    fn targets_are_added_and_removed_one_by_one() {
        let mut users = users("");
        let of = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert!(users.add_alias("Sales@d.test", &of(&["Ann@d.test", "bob@d.test"])));
        assert!(!users.add_alias("sales@d.test", &of(&["ann@d.test"])));
        assert!(users.remove_alias("sales@d.test", &of(&["ANN@d.test"])));
        assert_eq!(found(&users, "sales@d.test"), ["bob@d.test"]);
        assert!(!users.remove_alias("sales@d.test", &of(&["ann@d.test"])));
        assert!(users.remove_alias("sales@d.test", &[]));
        assert!(!users.remove_alias("sales@d.test", &[]));
        assert_eq!(users.aliases().count(), 0);
    }
}
