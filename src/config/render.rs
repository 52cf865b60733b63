//! The configuration in effect, as a file with a comment for every key.

use std::fmt::Write as _;

use super::default::{new_listener, new_webhook};
use super::keys::{
    DKIM, Key, LIMIT, LISTENER, POOL, ROUTE, Reload, SOURCE, TABLES, TENANT, WEBHOOK,
};
use super::{Config, Dkim, Limit, Pool, Route, Source, Tenant, Webhook};

/// Writes every key with its meaning and value. What is unset stands as a comment.
#[must_use]
pub fn render(config: &Config) -> String {
    let mut out = String::new();
    for table in TABLES {
        if !table.name.is_empty() {
            let _ = write!(out, "\n[{}]\n", table.name);
        }
        keys(&mut out, config, table.keys);
        // The arrays of tables stand where the contract has them: behind the table they go with.
        match table.name {
            "runtime" => array(
                &mut out,
                "listener",
                &config.listener,
                LISTENER,
                new_listener(),
            ),
            "smtp" => {
                array(&mut out, "route", &config.route, ROUTE, example());
                array(&mut out, "dkim", &config.dkim, DKIM, example_key());
            }
            "delivery" => {
                array(&mut out, "source", &config.source, SOURCE, example_source());
                array(&mut out, "pool", &config.pool, POOL, example_pool());
                array(&mut out, "limit", &config.limit, LIMIT, example_limit());
            }
            "tenants" => array(&mut out, "tenant", &config.tenant, TENANT, example_tenant()),
            "events" => array(
                &mut out,
                "webhook",
                &config.webhook,
                WEBHOOK,
                example_hook(),
            ),
            _ => {}
        }
    }
    out
}

fn keys<T>(out: &mut String, of: &T, keys: &[Key<T>]) {
    for key in keys {
        let restart = match key.reload {
            Reload::Takes => "",
            Reload::Restart => " Changes with a restart.",
        };
        let _ = writeln!(out, "# {}{restart}", key.doc);
        let _ = match (key.write)(of) {
            Some(value) => writeln!(out, "{} = {value}", key.name),
            None => writeln!(out, "# {} = \"\"", key.name),
        };
    }
}

fn array<T>(out: &mut String, name: &str, items: &[T], of: &[Key<T>], example: T) {
    if items.is_empty() {
        let mut written = String::new();
        keys(&mut written, &example, of);
        let _ = write!(out, "\n# [[{name}]]\n");
        for line in written.lines() {
            let _ = writeln!(out, "# {}", line.trim_start_matches("# "));
        }
    }
    for item in items {
        let _ = write!(out, "\n[[{name}]]\n");
        keys(out, item, of);
    }
}

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
