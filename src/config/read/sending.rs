//! Faults of sources and pools, and of whoever names them.

use std::collections::{HashMap, HashSet};

use super::{Named, Reader, why};
use crate::config::{Config, Warmup};

impl Reader<'_> {
    pub(super) fn check_sources(&mut self, config: &Config) {
        let names = config.source.iter().map(|source| &*source.name);
        let sources = self.check_names("source", names);
        for (place, source) in config.source.iter().enumerate() {
            let section = format!("source.{place}");
            let families = [true, false].map(|v4| {
                let of_one = source
                    .address
                    .iter()
                    .filter(|address| address.is_ipv4() == v4);
                of_one.count()
            });
            if families == [0, 0] {
                self.lacks(&section, "address", "a source needs address = [\"...\"]");
            } else if families.iter().any(|count| *count > 1) {
                let message =
                    "address: one of IPv4 and one of IPv6 at most: more are sources of their own";
                self.fault(
                    self.place(&format!("{section}.address")),
                    message.to_owned(),
                );
            }
        }
        self.check_warmups(config);
        let names = config.pool.iter().map(|pool| &*pool.name);
        let pools = self.check_names("pool", names);
        for (place, pool) in config.pool.iter().enumerate() {
            let section = format!("pool.{place}");
            if pool.sources.is_empty() {
                self.lacks(&section, "sources", "a pool needs sources = [\"...\"]");
            }
            let mut seen = HashSet::new();
            for (name, _) in &pool.sources {
                let at = self.place(&format!("{section}.sources"));
                if !sources.contains(name) {
                    self.fault(
                        at,
                        format!("sources: there is no [[source]] called {name:?}"),
                    );
                } else if !seen.insert(name) {
                    self.fault(
                        at,
                        format!("sources: {name:?} stands there twice: give it a weight"),
                    );
                }
            }
        }
        self.check_tenants(config);
        let named = config.route.iter().enumerate();
        let named = named.map(|(place, route)| (format!("route.{place}.pool"), &route.pool));
        let of_tenants = config.tenant.iter().enumerate();
        let named = named.chain(
            of_tenants.map(|(place, tenant)| (format!("tenant.{place}.pool"), &tenant.pool)),
        );
        let usual = ("delivery.pool".to_owned(), &config.delivery.pool);
        for (key, pool) in named.chain([usual]) {
            if let Some(name) = pool
                && !pools.contains(name)
            {
                let message = format!("pool: there is no [[pool]] called {name:?}");
                self.fault(self.place(&key), message);
            }
        }
    }

    /// Does each plan say what a day has, and does each source that has one exist in the calendar?
    fn check_warmups(&mut self, config: &Config) {
        let mut lines = HashSet::new();
        for (place, line) in config.warmup.iter().enumerate() {
            let section = format!("warmup.{place}");
            if line.name.is_empty() {
                self.lacks(&section, "name", "a warmup needs name = \"...\"");
            }
            let (key, written) = match (&line.domain, &line.mx) {
                (Some(_), Some(_)) => {
                    let message = "mx: a line is about domains or about hosts: make it two tables";
                    self.fault(self.place(&format!("{section}.mx")), message.to_owned());
                    continue;
                }
                (domain, _) if domain.is_some() => ("domain", domain),
                (_, mx) => ("mx", mx),
            };
            let at = self.place(&format!("{section}.{key}"));
            match line.line("") {
                Ok(parsed) if !lines.insert((line.name.clone(), parsed.about.clone())) => {
                    let about = &parsed.about;
                    let message = format!("another line of {:?} is about {about} too", line.name);
                    self.fault(self.place(&section), message);
                }
                Ok(_) => {}
                Err(bad) => {
                    let written = written.as_deref().unwrap_or_default();
                    self.fault(at, format!("{key}: {written:?} {}", why(&bad)));
                }
            }
            self.check_curve(&section, line);
        }
        for (place, source) in config.source.iter().enumerate() {
            let section = format!("source.{place}");
            let plans = || config.warmup.iter().map(|line| &line.name);
            match (&source.warmup, source.warmup_from) {
                (Some(name), _) if plans().all(|plan| plan != name) => {
                    let message = format!("warmup: there is no [[warmup]] called {name:?}");
                    self.fault(self.place(&format!("{section}.warmup")), message);
                }
                (Some(_), None) => {
                    let message = "a source with warmup needs warmup_from: its first day";
                    self.lacks(&section, "warmup_from", message);
                }
                (None, Some(_)) => {
                    let message = "warmup_from: by which plan? set warmup too, or leave it out";
                    let at = self.place(&format!("{section}.warmup_from"));
                    self.fault(at, message.to_owned());
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    fn check_curve(&mut self, section: &str, line: &Warmup) {
        let key = |name: &str| format!("{section}.{name}");
        let is_wrong = ["days", "start", "growth", "end"]
            .iter()
            .any(|name| self.faulty.contains(&key(name)));
        if is_wrong {
            return;
        }
        let grows = [
            line.start.is_some(),
            line.growth.is_some(),
            line.end.is_some(),
        ];
        let (at, message) = match (line.days.is_empty(), grows) {
            (false, [false, false, false]) => return,
            (false, _) => ("days", "days, or start, growth and end, but not both"),
            (true, [true, true, true]) if line.end > line.start => return,
            (true, [true, true, true]) => ("end", "end: is not more than start"),
            (true, _) => ("", "a warmup needs days = [...], or start, growth and end"),
        };
        let at = match at {
            "" => self.place(section),
            name => self.place(&key(name)),
        };
        self.fault(at, message.to_owned());
    }

    fn check_tenants(&mut self, config: &Config) {
        let tenants = self.check_names("tenant", config.tenant.iter().map(|one| &*one.name));
        let mut whose: HashMap<String, &str> = HashMap::new();
        for (place, tenant) in config.tenant.iter().enumerate() {
            for user in &tenant.users {
                let before = whose.insert(user.to_ascii_lowercase(), &tenant.name);
                if let Some(before) = before {
                    let at = self.place(&format!("tenant.{place}.users"));
                    self.fault(
                        at,
                        format!("users: {user:?} is a user of {before:?} already"),
                    );
                }
            }
        }
        for (place, listener) in config.listener.iter().enumerate() {
            if let Some(name) = &listener.tenant
                && !tenants.contains(name)
            {
                let at = self.place(&format!("listener.{place}.tenant"));
                self.fault(
                    at,
                    format!("tenant: there is no [[tenant]] called {name:?}"),
                );
            }
        }
    }

    /// Can the rules for bounces be read, and do they mean what their examples say?
    pub(super) fn check_bounces(&mut self, config: &Config) {
        if config.bounces.rules.is_some()
            && self.named == Named::Read
            && let Err(why) = config.bounces.read()
        {
            self.fault(self.place("bounces.rules"), format!("rules: {why}"));
        }
    }

    /// Sees to it that each table has a name, and none the name of another. The names.
    fn check_names<'c>(
        &mut self,
        what: &str,
        names: impl Iterator<Item = &'c str>,
    ) -> HashSet<String> {
        let mut known = HashSet::new();
        for (place, name) in names.enumerate() {
            let section = format!("{what}.{place}");
            if name.is_empty() {
                self.lacks(&section, "name", &format!("a {what} needs name = \"...\""));
            } else if !known.insert(name.to_owned()) {
                let at = self.place(&format!("{section}.name"));
                self.fault(at, format!("name: there is another {what} called {name:?}"));
            }
        }
        known
    }

    /// A key is missing, unless what it says is wrong and was complained of.
    fn lacks(&mut self, section: &str, key: &str, message: &str) {
        let written = format!("{section}.{key}");
        if !self.faulty.contains(&written) {
            let table = self.place(section);
            let at = self.places.get(&written).copied().unwrap_or(table);
            self.fault(at, message.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::judge;

    #[test]
    fn sources_and_pools_that_cannot_work_are_told_of_where_they_stand() {
        let one = "source = [{ name = \"a\", address = [\"::1\"] }]\n";
        for (text, place, words) in [
            (
                "source = [{ address = [\"::1\"] }]",
                "1:11",
                "a source needs name",
            ),
            (
                "source = [{ name = \"a\" }]",
                "1:11",
                "a source needs address",
            ),
            (
                "source = [{ name = \"a b\", address = [\"::1\"] }]",
                "1:20",
                "is no name",
            ),
            (
                "source = [{ name = \"a\", address = [\"::1\", \"::2\"] }]",
                "1:35",
                "one of IPv4 and one of IPv6",
            ),
            (
                "source = [{ name = \"a\", address = [\"::1\"] }, { name = \"a\", address = [\"::2\"] }]",
                "1:55",
                "another source called \"a\"",
            ),
            ("pool = [{ name = \"p\" }]", "1:9", "a pool needs sources"),
            (
                "pool = [{ name = \"p\", sources = [\"a\"] }]",
                "1:33",
                "no [[source]] called \"a\"",
            ),
            (
                &format!("{one}pool = [{{ name = \"p\", sources = [\"a\", \"a\"] }}]"),
                "2:33",
                "twice",
            ),
            (
                &format!("{one}pool = [{{ name = \"p\", sources = {{ a = 0 }} }}]"),
                "2:39",
                "a: must be a number from 1 to 1000",
            ),
            ("delivery.pool = \"p\"", "1:17", "no [[pool]] called \"p\""),
            (
                "tenant = [{ name = \"t\", users = [\"a@b\"] }, { name = \"u\", users = [\"A@b\"] }]",
                "1:66",
                "is a user of \"t\" already",
            ),
            (
                "listener = [{ bind = [\"[::1]:25\"], tenant = \"t\" }]",
                "1:45",
                "no [[tenant]] called \"t\"",
            ),
            (
                "route = [{ domain = \"*\", pool = \"p\" }]",
                "1:33",
                "no [[pool]] called \"p\"",
            ),
        ] {
            let faults = judge(text);
            let fault = faults.first().map(ToString::to_string).unwrap_or_default();
            let is_told = fault.contains(&format!(":{place}: ")) && fault.contains(words);
            assert!(is_told, "{text}: {faults:?}");
        }
    }
}
