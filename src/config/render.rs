//! The configuration in effect, as a file with a comment for every key.

use std::fmt::Write as _;

use super::default::{new_listener, new_webhook};
use super::keys::{
    DKIM, Key, LIMIT, LISTENER, POOL, ROUTE, Reload, SOURCE, TABLES, TENANT, WARMUP, WEBHOOK,
};
use super::{Config, Dkim, Limit, Pool, Route, Source, Tenant, Warmup, Webhook};

/// Keys that stand together: a table, or one of an array of tables.
#[derive(Debug)]
pub struct Section {
    /// Empty for the keys before the first table.
    pub name: &'static str,
    /// There may be several of it.
    pub is_array: bool,
    /// It shows what one would look like: the configuration has none.
    pub is_example: bool,
    /// In order.
    pub keys: Vec<Entry>,
}

/// A key with its meaning.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub doc: &'static str,
    /// It changes with a restart only.
    pub needs_restart: bool,
    /// Its value as TOML; `None` when it is unset.
    pub value: Option<String>,
}

/// Every key, section by section, with its value in `config`.
#[must_use]
pub fn sections(config: &Config) -> Vec<Section> {
    let mut all = Vec::new();
    for table in TABLES {
        all.push(Section {
            name: table.name,
            is_array: false,
            is_example: false,
            keys: entries(config, table.keys),
        });
        // The arrays of tables stand where the contract has them: behind the table they go with.
        match table.name {
            "runtime" => {
                let example = new_listener();
                array(&mut all, "listener", &config.listener, LISTENER, example);
            }
            "smtp" => {
                array(&mut all, "route", &config.route, ROUTE, example());
                array(&mut all, "dkim", &config.dkim, DKIM, example_key());
            }
            "delivery" => {
                array(&mut all, "source", &config.source, SOURCE, example_source());
                array(&mut all, "warmup", &config.warmup, WARMUP, example_warmup());
                array(&mut all, "pool", &config.pool, POOL, example_pool());
                array(&mut all, "limit", &config.limit, LIMIT, example_limit());
            }
            "tenants" => array(&mut all, "tenant", &config.tenant, TENANT, example_tenant()),
            "events" => array(
                &mut all,
                "webhook",
                &config.webhook,
                WEBHOOK,
                example_hook(),
            ),
            _ => {}
        }
    }
    all
}

fn entries<T>(of: &T, keys: &[Key<T>]) -> Vec<Entry> {
    let entry = |key: &Key<T>| Entry {
        name: key.name,
        doc: key.doc,
        needs_restart: matches!(key.reload, Reload::Restart),
        value: (key.write)(of),
    };
    keys.iter().map(entry).collect()
}

fn array<T>(all: &mut Vec<Section>, name: &'static str, items: &[T], of: &[Key<T>], example: T) {
    let section = |item, is_example| Section {
        name,
        is_array: true,
        is_example,
        keys: entries(item, of),
    };
    if items.is_empty() {
        all.push(section(&example, true));
    }
    all.extend(items.iter().map(|item| section(item, false)));
}

/// Writes every key with its meaning and value. What is unset stands as a comment.
#[must_use]
pub fn render(config: &Config) -> String {
    let mut out = String::new();
    for section in sections(config) {
        let name = section.name;
        let mark = if section.is_example { "# " } else { "" };
        // Writing to a String does not fail.
        let _ = match (name, section.is_array) {
            ("", _) => Ok(()),
            (_, true) => write!(out, "\n{mark}[[{name}]]\n"),
            (_, false) => write!(out, "\n[{name}]\n"),
        };
        for key in section.keys {
            let restart = if key.needs_restart { CHANGES } else { "" };
            let _ = writeln!(out, "# {}{restart}", key.doc);
            let _ = match key.value {
                Some(value) => writeln!(out, "{mark}{} = {value}", key.name),
                None => writeln!(out, "# {} = \"\"", key.name),
            };
        }
    }
    out
}

/// Said of a key that a reload leaves as it is.
const CHANGES: &str = " Changes with a restart.";

/// What stands there when nothing is signed, to be uncommented.
fn example_key() -> Dkim {
    Dkim {
        domain: "example.org".to_owned(),
        selector: "s1".to_owned(),
        key: "ringpost-data/keys/dkim/example.org.s1.pem".into(),
    }
}

/// What stands there when mail has no sources by name, to be uncommented.
fn example_source() -> Source {
    Source {
        name: "bulk-1".to_owned(),
        address: ["192.0.2.1", "2001:db8::1"]
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        helo: Some("bulk-1.example.org".to_owned()),
        ..Source::default()
    }
}

/// What stands there when no source is warmed up, to be uncommented.
fn example_warmup() -> Warmup {
    Warmup {
        name: "careful".to_owned(),
        days: vec![50, 100, 200, 400, 800, 1500, 3000],
        ..Warmup::default()
    }
}

/// What stands there when there is no pool, to be uncommented.
fn example_pool() -> Pool {
    Pool {
        name: "bulk".to_owned(),
        sources: vec![("bulk-1".to_owned(), 1)],
    }
}

/// What stands there when nobody is spared, to be uncommented.
fn example_limit() -> Limit {
    Limit {
        domain: Some("example.org".to_owned()),
        connections: Some(5),
        rate: "500/m".parse().ok(),
        ..Limit::default()
    }
}

/// What stands there when there are no tenants, to be uncommented.
fn example_tenant() -> Tenant {
    Tenant {
        name: "shop".to_owned(),
        ..Tenant::default()
    }
}

/// What stands there when nobody is told of events, to be uncommented.
fn example_hook() -> Webhook {
    Webhook {
        url: "https://hooks.example.org/ringpost".to_owned(),
        secret_file: "/etc/ringpost/webhook.secret".into(),
        ..new_webhook()
    }
}

/// What stands there when there is no route, to be uncommented.
fn example() -> Route {
    Route {
        domain: "*.example.org".to_owned(),
        to: "smtp://mail.example.org:25".to_owned(),
        tls: None,
        credentials: None,
        client_certificate: None,
        client_key: None,
        pool: None,
    }
}
