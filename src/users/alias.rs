//! Whose mailbox an address means: users, aliases, tags behind a `+`, postmaster, and what takes
//! the rest of a domain.

use std::collections::{BTreeMap, BTreeSet};

use super::Users;

/// A mailbox that an address leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The user.
    pub user: String,
    /// What stood behind the `+`.
    pub tag: Option<String>,
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
    /// The mailboxes that mail for `address` goes into, each once; `None` when nobody has the
    /// address.
    ///
    /// What is written out comes first: an alias, a user, the same without the tag, `postmaster`
    /// (RFC 5321 §4.5.1: the domain's first user, or the first of all), and last `@domain`.
    #[must_use]
    pub fn places(&self, address: &str) -> Option<Vec<Place>> {
        let (mut places, mut seen) = (BTreeSet::new(), BTreeSet::new());
        self.gather(address, &mut places, &mut seen);
        (!places.is_empty()).then(|| places.into_iter().collect())
    }

    fn gather(&self, address: &str, places: &mut BTreeSet<Place>, seen: &mut BTreeSet<String>) {
        let lower = address.to_lowercase();
        if !seen.insert(lower.clone()) {
            return;
        }
        let step = self.step(address, &lower);
        match step {
            Some(Step::User(user, tag)) => {
                places.insert(Place { user, tag });
            }
            Some(Step::Alias(targets)) => {
                for target in targets {
                    self.gather(target, places, seen);
                }
            }
            None => {}
        }
    }

    /// What an address means, one step of it.
    fn step(&self, address: &str, lower: &str) -> Option<Step<'_>> {
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
            && let Some(user) = self.first_of(domain)
        {
            return Some(Step::User(user.to_owned(), None));
        }
        self.alias_of(&format!("@{domain}"))
    }

    fn named(&self, name: &str, tag: Option<&str>) -> Option<Step<'_>> {
        let user = || {
            let user = self.user.contains_key(name);
            user.then(|| Step::User(name.to_owned(), tag.map(str::to_owned)))
        };
        self.alias_of(name).or_else(user)
    }

    fn alias_of(&self, name: &str) -> Option<Step<'_>> {
        Some(Step::Alias(self.alias.get(name)?))
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
        for target in targets.iter().map(|target| target.to_lowercase()) {
            if !known.contains(&target) {
                known.push(target);
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

    /// The aliases that lead nowhere or in a circle.
    #[must_use]
    pub fn bad_aliases(&self) -> Vec<(String, BadAlias)> {
        let mut bad = Vec::new();
        for name in self.alias.keys() {
            if let Err(fault) = self.follow(name, &mut vec![name.clone()]) {
                bad.push((name.clone(), fault));
            }
        }
        bad
    }

    fn follow(&self, name: &str, way: &mut Vec<String>) -> Result<(), BadAlias> {
        match self.step(name, name).or_else(|| self.alias_of(name)) {
            Some(Step::User(..)) => Ok(()),
            None => Err(BadAlias::Nobody(name.to_owned())),
            Some(Step::Alias(targets)) => {
                for target in targets {
                    let target = target.to_lowercase();
                    let is_circle = way.contains(&target);
                    way.push(target.clone());
                    if is_circle {
                        return Err(BadAlias::Loop(way.clone()));
                    }
                    self.follow(&target, way)?;
                    way.pop();
                }
                Ok(())
            }
        }
    }
}

/// What an address means.
enum Step<'a> {
    User(String, Option<String>),
    Alias(&'a [String]),
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
        let places = users.places(address).unwrap_or_default();
        places.into_iter().map(shown).collect()
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
    fn circles_and_dead_ends_are_named() {
        let users = users(
            "[alias]\n\"a@d.test\" = [\"b@d.test\"]\n\"b@d.test\" = [\"ann@d.test\", \"a@d.test\"]\n\"c@d.test\" = [\"gone@d.test\"]\n\"e@d.test\" = [\"ann@d.test\", \"bob@d.test\"]\n",
        );
        let bad: Vec<String> = users
            .bad_aliases()
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
