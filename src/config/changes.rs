//! What a reload changes: each key that differs, with its value before and after.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys::{
    DKIM, Key, LIMIT, LISTENER, POOL, ROUTE, Reload, SOURCE, TABLES, TENANT, WARMUP, WEBHOOK,
};
use super::{Config, Process};

/// A key whose values differ in two configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// As in `smtp.max_recipients`, `route[0].to` or, for a table that came or went, `route`.
    pub key: String,
    /// Its value before, as TOML; `null` where it was unset.
    pub old: Option<String>,
    /// Its value now, likewise.
    pub new: Option<String>,
    /// It holds from the next start on.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
        let (old, new) = (value(&self.old), value(&self.new));
        write!(f, "{}: {old} → {new}", self.key)?;
        if self.needs_restart {
            f.write_str(", with a restart only")?;
        }
        Ok(())
    }
}

/// Every key that differs.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    for table in TABLES {
        let dot = if table.name.is_empty() { "" } else { "." };
        let place = format!("{}{dot}", table.name);
        compare(&place, table.keys, (old, new), &mut changes);
    }
    array(
        "listener",
        LISTENER,
        (&old.listener, &new.listener),
        &mut changes,
    );
    array("route", ROUTE, (&old.route, &new.route), &mut changes);
    array("dkim", DKIM, (&old.dkim, &new.dkim), &mut changes);
    array(
        "webhook",
        WEBHOOK,
        (&old.webhook, &new.webhook),
        &mut changes,
    );
    array("source", SOURCE, (&old.source, &new.source), &mut changes);
    array("warmup", WARMUP, (&old.warmup, &new.warmup), &mut changes);
    array("limit", LIMIT, (&old.limit, &new.limit), &mut changes);
    array("pool", POOL, (&old.pool, &new.pool), &mut changes);
    array("tenant", TENANT, (&old.tenant, &new.tenant), &mut changes);
    for change in changes.iter_mut().filter(|change| is_listener(&change.key)) {
        // Ports are bound once.
        change.needs_restart = true;
    }
    changes
}

impl Config {
    /// The same, and what needs a restart as it is in the relay that runs.
    #[must_use]
    pub fn until_restart(mut self, running: &Self) -> Self {
        self.data_dir.clone_from(&running.data_dir);
        self.process = Process {
            drain: self.process.drain,
            ..running.process.clone()
        };
        self.runtime.clone_from(&running.runtime);
        self.listener.clone_from(&running.listener);
        self.dns.clone_from(&running.dns);
        self.suppression.max = running.suppression.max;
        self.spool.clone_from(&running.spool);
        self.control.clone_from(&running.control);
        self.mailboxes.dir.clone_from(&running.mailboxes.dir);
        self.log.clone_from(&running.log);
        self
    }
}

fn is_listener(key: &str) -> bool {
    key == "listener" || key.starts_with("listener[")
}

fn compare<T>(place: &str, keys: &[Key<T>], (old, new): (&T, &T), changes: &mut Vec<Change>) {
    for key in keys {
        let (old, new) = ((key.write)(old), (key.write)(new));
        if old != new {
            changes.push(Change {
                key: format!("{place}{}", key.name),
                old,
                new,
                needs_restart: key.reload == Reload::Restart,
            });
        }
    }
}

/// Tables in their order: of as many as before each key that differs, else those that went and came.
fn array<T: PartialEq>(
    name: &str,
    keys: &[Key<T>],
    (old, new): (&[T], &[T]),
    changes: &mut Vec<Change>,
) {
    if old.len() == new.len() {
        for (at, pair) in old.iter().zip(new).enumerate() {
            compare(&format!("{name}[{at}]."), keys, pair, changes);
        }
        return;
    }
    let mut tell = |old: Option<&T>, new: Option<&T>| {
        changes.push(Change {
            key: name.to_owned(),
            old: old.map(|table| inline(keys, table)),
            new: new.map(|table| inline(keys, table)),
            needs_restart: false,
        });
    };
    for gone in old.iter().filter(|table| !new.contains(table)) {
        tell(Some(gone), None);
    }
    for come in new.iter().filter(|table| !old.contains(table)) {
        tell(None, Some(come));
    }
}

/// A table on one line.
fn inline<T>(keys: &[Key<T>], table: &T) -> String {
    let words = keys.iter().filter_map(|key| {
        let value = (key.write)(table)?;
        Some(format!("{} = {value}", key.name))
    });
    format!("{{ {} }}", words.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::default::new_route;
    use super::super::{Cores, Named, Route, read};
    use super::*;

    fn told(old: &Config, new: &Config) -> Vec<String> {
        let changes = changes(old, new);
        changes.iter().map(ToString::to_string).collect()
    }

    fn route(domain: &str, to: &str) -> Route {
        Route {
            domain: domain.to_owned(),
            to: to.to_owned(),
            ..new_route()
        }
    }

    #[test]
    fn a_change_is_told_with_both_values_and_whether_it_holds_now() {
        let old = Config::default();
        assert_eq!(told(&old, &old), [""; 0]);
        let mut new = old.clone();
        new.smtp.max_recipients = 5;
        new.runtime.cores = Cores::Count(1);
        new.delivery.helo = Some("relay.test".to_owned());
        assert_eq!(
            told(&old, &new),
            [
                "runtime.cores: \"all\" → 1, with a restart only",
                "smtp.max_recipients: 1000 → 5",
                "delivery.helo: unset → \"relay.test\"",
            ]
        );
    }

    #[test]
    fn tables_of_an_array_are_told_by_their_place_or_as_they_come_and_go() {
        let mut old = Config {
            route: vec![route("a.test", "mx"), route("b.test", "mx")],
            ..Config::default()
        };
        let mut new = old.clone();
        new.route[1].to = "discard".to_owned();
        assert_eq!(told(&old, &new), ["route[1].to: \"mx\" → \"discard\""]);
        new.route.remove(0);
        old.route.remove(1);
        new.route.insert(0, route("c.test", "reject"));
        let told = told(&old, &new);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].starts_with("route: { domain = \"a.test\"") && told[0].ends_with("→ unset"),
            "{told:?}"
        );
    }

    #[test]
    fn no_array_of_tables_is_left_out() {
        let all = super::super::render(&Config::default());
        let arrays = all.lines().filter_map(|line| {
            let name = line.trim_start_matches("# ").strip_prefix("[[")?;
            name.strip_suffix("]]")
        });
        let own = include_str!("changes.rs");
        for name in arrays {
            let told = format!("        \"{name}\",\n");
            let short = format!("array(\"{name}\", ");
            assert!(own.contains(&told) || own.contains(&short), "[[{name}]]");
        }
    }

    #[test]
    fn listeners_change_with_a_restart_whichever_key_it_is() {
        let old = Config::default();
        let mut new = old.clone();
        new.listener[0].hide_client = true;
        let one = changes(&old, &new);
        assert!(one.len() == 1 && one[0].needs_restart, "{one:?}");
        new.listener.clear();
        let gone = changes(&old, &new);
        assert!(gone.len() == 1 && gone[0].needs_restart, "{gone:?}");
        assert_eq!(gone[0].key, "listener");
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_is_until_then() {
        let running = Config::default();
        let text = r#"
            data_dir = "/other"
            process = { user = "a", group = "b", confine = false, drain = "1s" }
            runtime = { cores = 1, pin = "always", memory = "17MiB", spin = "1us", slice = "2us" }
            dns = { servers = ["127.0.0.1:1"], dnssec = "off" }
            suppression = { max = 3, after = 3 }
            spool = { durability = "none", segment = "4MiB" }
            control = { bind = "none", token_file = "/t", audit_size = "64KiB", audit_files = 1 }
            mailboxes = { dir = "other", quota = "1MiB" }
            log = { format = "json", level = "debug" }
            listener = [{ bind = ["127.0.0.1:26"] }]
        "#;
        let new = read::read(Path::new("r.toml"), text, Named::LeftAlone).unwrap();
        let told = changes(&running, &new);
        for table in TABLES {
            let keys = table.keys.iter();
            for key in keys.filter(|key| key.reload == Reload::Restart) {
                let name = format!("{}.{}", table.name, key.name);
                let name = name.trim_start_matches('.');
                let is_told = told.iter().any(|change| change.key == name);
                assert!(is_told, "{name} does not differ: this test must see to it");
            }
        }
        let left = changes(&running, &new.until_restart(&running));
        let left: Vec<&str> = left.iter().map(|change| &*change.key).collect();
        assert_eq!(
            left,
            ["process.drain", "suppression.after", "mailboxes.quota"]
        );
    }
}
