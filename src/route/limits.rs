//! How much at a time, and how fast, goes to whom: the rules of `[[limit]]`.
//!
//! A rule is for a destination, by the domain of its next hop, or for a group of hosts, by their
//! names. The first rule that matches a domain wins. What a group may have counts on top: all mail
//! that goes to a host of it shares it, whatever domain it is for.

use std::borrow::Cow;
use std::rc::Rc;

use super::{BadRoute, How, Pattern, ascii_domain, parse_pattern};
use crate::mail::rate::Rate;

/// The rules, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    subject: Subject,
    pattern: Pattern,
    group: Rc<str>,
    terms: Terms,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A destination: each that matches for itself.
    Domain,
    /// Hosts: all that match together.
    Hosts,
}

/// A rule as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// What the pattern is of.
    pub subject: Subject,
    /// A name, `*.name` or `*`.
    pub pattern: &'a str,
    /// What it says.
    pub terms: Terms,
}

/// What a rule says; `None`: nothing of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Connections at a time, over all shards.
    pub connections: Option<usize>,
    /// Messages of one connection.
    pub messages_per_connection: Option<usize>,
    /// Messages.
    pub rate: Option<Rate>,
    /// Recipients of one transaction.
    pub recipients_per_message: Option<usize>,
    /// Recipients.
    pub recipient_rate: Option<Rate>,
}

/// A rule that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place in the configuration.
    pub place: usize,
    /// The group's name; of a rule for domains the pattern.
    pub name: Rc<str>,
    /// What it says.
    pub terms: Terms,
}

impl Terms {
    /// Connections of a group, whose rule need not name a number.
    #[must_use]
    pub fn connections_max(&self) -> u32 {
        let most = self.connections.map(u32::try_from);
        most.map_or(u32::MAX, |most| most.unwrap_or(u32::MAX))
    }
}

impl Limits {
    /// Reads the rules. A fault comes with the place of its rule.
    pub fn parse<'a>(
        rules: impl IntoIterator<Item = Written<'a>>,
    ) -> Result<Self, (usize, BadRoute)> {
        let rule = |(place, written): (usize, Written<'a>)| {
            let pattern = parse_pattern(written.pattern).map_err(|bad| (place, bad))?;
            Ok(Rule {
                subject: written.subject,
                pattern,
                group: format!("mx {}", written.pattern.to_ascii_lowercase()).into(),
                terms: written.terms,
            })
        };
        let rules = rules.into_iter().enumerate().map(rule);
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// What holds for a way over the network.
    #[must_use]
    pub fn of_way(&self, how: &How) -> Option<Found> {
        if self.rules.is_empty() {
            return None;
        }
        let name: Cow<'_, str> = match how {
            How::Mx(name) | How::Host { name, .. } => Cow::Borrowed(name),
            // An address has no name: only `*` matches.
            How::Address { address, .. } => Cow::Owned(format!("[{address}]")),
            How::Mailbox | How::Returns | How::Discard | How::Fail(_) => return None,
        };
        self.find(Subject::Domain, &name)
    }

    /// What the rule of a group says, by the group's name; of one that is gone nothing.
    #[must_use]
    pub fn of_group(&self, name: &str) -> Terms {
        let mut rules = self.rules.iter();
        let found = rules.find(|rule| rule.subject == Subject::Hosts && *rule.group == *name);
        found.map_or_else(Terms::default, |rule| rule.terms)
    }

    /// The group that a host belongs to.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<Found> {
        if self.rules.is_empty() {
            return None;
        }
        self.find(Subject::Hosts, host.strip_suffix('.').unwrap_or(host))
    }

    fn find(&self, subject: Subject, name: &str) -> Option<Found> {
        let ascii = ascii_domain(name);
        let name = ascii.as_deref().unwrap_or(name);
        let matches = |rule: &Rule| rule.subject == subject && rule.pattern.matches(name);
        let place = self.rules.iter().position(matches)?;
        let rule = &self.rules[place];
        Some(Found {
            place,
            name: Rc::clone(&rule.group),
            terms: rule.terms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rules: &[(Subject, &str, usize)]) -> Limits {
        let written = rules.iter().map(|(subject, pattern, connections)| Written {
            subject: *subject,
            pattern,
            terms: Terms {
                connections: Some(*connections),
                ..Terms::default()
            },
        });
        Limits::parse(written).unwrap()
    }

    #[test]
    fn the_first_rule_for_a_domain_wins_and_a_group_is_apart() {
        use Subject::{Domain, Hosts};
        let limits = limits(&[
            (Domain, "b.test", 1),
            (Hosts, "*.mail.test", 2),
            (Domain, "*.test", 3),
            (Hosts, "mx.one.test", 4),
            (Domain, "*", 5),
        ]);
        let domain = |name: &str| {
            limits
                .of_way(&How::Mx(name.into()))
                .map(|found| found.place)
        };
        assert_eq!(domain("b.test"), Some(0));
        assert_eq!(domain("a.b.test"), Some(2));
        assert_eq!(
            domain("mx.mail.test"),
            Some(2),
            "a rule for hosts is for no domain"
        );
        assert_eq!(domain("elsewhere.example"), Some(4));
        let host = |name: &str| limits.of_host(name).map(|found| found.name.to_string());
        assert_eq!(host("MX.Mail.test."), Some("mx *.mail.test".to_owned()));
        assert_eq!(host("mail.test"), None);
        assert_eq!(host("mx.one.test"), Some("mx mx.one.test".to_owned()));
    }

    #[test]
    fn only_a_star_matches_what_has_no_name_and_nothing_what_goes_nowhere() {
        let some = limits(&[(Subject::Domain, "*.test", 1), (Subject::Domain, "*", 2)]);
        let address = How::Address {
            address: [192, 0, 2, 1].into(),
            port: None,
            tls: None,
            entry: super::super::Entry::default(),
        };
        assert_eq!(some.of_way(&address).map(|found| found.place), Some(1));
        assert_eq!(some.of_way(&How::Mailbox), None);
    }

    #[test]
    fn a_pattern_that_is_none_is_told_with_its_place() {
        let bad = ["b.test", "not a name"].map(|pattern| Written {
            subject: Subject::Hosts,
            pattern,
            terms: Terms::default(),
        });
        assert_eq!(Limits::parse(bad), Err((1, BadRoute::Domain)));
    }
}
