//! From text to a configuration, with the place of everything that is wrong.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Key, LISTENER, ROUTE, TABLES, new_listener, new_route};
use super::{Config, Fault, Route, units};
use crate::route::{BadRoute, RouteTable};

/// Reads a file's text.
pub(super) fn read(file: &Path, text: &str) -> Result<Config, Vec<Fault>> {
    let mut reader = Reader {
        text,
        file,
        faults: Vec::new(),
        places: HashMap::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.fault(at, error.message().to_owned());
    }
    let mut config = Config::default();
    if reader.faults.is_empty() {
        reader.whole(&mut config, table.get_ref());
        reader.check(&config);
    }
    reader
        .faults
        .sort_by_key(|fault| (fault.line, fault.column));
    if reader.faults.is_empty() {
        Ok(config)
    } else {
        Err(reader.faults)
    }
}

struct Reader<'t> {
    text: &'t str,
    file: &'t Path,
    faults: Vec<Fault>,
    /// Where values stand, for faults that more than one of them make.
    places: HashMap<String, usize>,
}

impl Reader<'_> {
    fn fault(&mut self, at: usize, message: String) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        self.faults.push(Fault {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        });
    }

    fn whole(&mut self, config: &mut Config, table: &DeTable<'_>) {
        for (name, value) in table {
            let known = TABLES.iter().find(|table| table.name == name.get_ref());
            match (&**name.get_ref(), value.get_ref(), known) {
                ("listener", value, _) => {
                    config.listener = self.array("listener", value, name, LISTENER, new_listener);
                }
                ("route", value, _) => {
                    config.route = self.array("route", value, name, ROUTE, new_route);
                }
                (section, DeValue::Table(keys), Some(table)) if !section.is_empty() => {
                    self.table(section, config, keys, table.keys);
                }
                (section, _, Some(_)) if !section.is_empty() => {
                    let message = format!("{section} is a table: write [{section}]");
                    self.fault(name.span().start, message);
                }
                (key, _, _) => {
                    let top = TABLES[0].keys;
                    let names = TABLES
                        .iter()
                        .map(|table| table.name)
                        .filter(|n| !n.is_empty());
                    let names = names.chain(["listener", "route"]);
                    let names = names.chain(top.iter().map(|key| key.name));
                    match top.iter().find(|known| known.name == key) {
                        Some(known) => self.key("", config, known, value),
                        None => self.unknown(name, names),
                    }
                }
            }
        }
    }

    fn table<T>(&mut self, section: &str, target: &mut T, table: &DeTable<'_>, keys: &[Key<T>]) {
        for (name, value) in table {
            match keys.iter().find(|key| key.name == name.get_ref()) {
                Some(key) => self.key(section, target, key, value),
                None => self.unknown(name, keys.iter().map(|key| key.name)),
            }
        }
    }

    fn key<T>(
        &mut self,
        section: &str,
        target: &mut T,
        key: &Key<T>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let at = value.span().start;
        self.places.insert(format!("{section}.{}", key.name), at);
        if let Err(message) = (key.read)(target, value.get_ref()) {
            self.fault(at, format!("{}: {message}", key.name));
        }
    }

    fn array<T>(
        &mut self,
        section: &str,
        value: &DeValue<'_>,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        keys: &[Key<T>],
        new: fn() -> T,
    ) -> Vec<T> {
        let mut items = Vec::new();
        let DeValue::Array(tables) = value else {
            let message = format!("{section} is an array of tables: write [[{section}]]");
            self.fault(name.span().start, message);
            return items;
        };
        for (place, table) in tables.iter().enumerate() {
            let at = table.span().start;
            let DeValue::Table(table) = table.get_ref() else {
                self.fault(
                    at,
                    format!("{section} is an array of tables: write [[{section}]]"),
                );
                continue;
            };
            let section = format!("{section}.{place}");
            self.places.insert(section.clone(), at);
            let mut item = new();
            self.table(&section, &mut item, table, keys);
            items.push(item);
        }
        items
    }

    fn unknown<'n>(
        &mut self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        known: impl Iterator<Item = &'n str>,
    ) {
        let written = name.get_ref();
        let nearest = known
            .map(|known| (strsim::jaro_winkler(written, known), known))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = match nearest {
            Some((_, nearest)) => format!("; did you mean `{nearest}`?"),
            None => String::new(),
        };
        self.fault(name.span().start, format!("unknown key `{written}`{hint}"));
    }

    fn place(&self, name: &str) -> usize {
        self.places.get(name).copied().unwrap_or(0)
    }

    /// What no key alone can know.
    fn check(&mut self, config: &Config) {
        let mut bound = HashMap::new();
        for (place, listener) in config.listener.iter().enumerate() {
            let at = self.place(&format!("listener.{place}"));
            if listener.bind.is_empty() {
                self.fault(at, "a listener needs bind = [\"address:port\"]".to_owned());
            }
            for address in &listener.bind {
                if address.port() != 0 && bound.insert(*address, place).is_some() {
                    let at = self.place(&format!("listener.{place}.bind"));
                    self.fault(at, format!("{address} is bound twice"));
                }
            }
        }
        self.check_routes(config);
        if let Some(bind) = config.control.bind {
            let at = self.place("control.bind");
            if !bind.ip().is_loopback() && config.control.token_file.is_none() {
                let message =
                    "token_file must be set when the control plane does not listen on loopback";
                self.fault(at, message.to_owned());
            }
            if bound.contains_key(&bind) && bind.port() != 0 {
                self.fault(at, format!("{bind} is bound by a listener too"));
            }
        }
        if let Some(path) = &config.control.token_file
            && let Err(error) = std::fs::File::open(path)
        {
            let message = format!("token_file: {} cannot be read: {error}", path.display());
            self.fault(self.place("control.token_file"), message);
        }
    }

    fn check_routes(&mut self, config: &Config) {
        for (place, route) in config.route.iter().enumerate() {
            let Err((_, bad)) = RouteTable::parse([(&*route.domain, &*route.to)]) else {
                continue;
            };
            let Route { domain, to } = route;
            let (key, message) = match bad {
                BadRoute::Domain => (
                    "domain",
                    format!("\"{domain}\" is no domain, \"*.example.org\" or \"*\""),
                ),
                BadRoute::Target => (
                    "to",
                    format!(
                        "\"{to}\" is none of \"mx\", \"discard\", \"reject\", \"smtp://host[:port]\""
                    ),
                ),
                BadRoute::Host => (
                    "to",
                    format!("\"{to}\" has no host name or address after smtp://"),
                ),
                BadRoute::Port => (
                    "to",
                    format!("\"{to}\" has a port that is no number from 1 to 65535"),
                ),
            };
            let section = format!("route.{place}");
            let at = self.places.get(&format!("{section}.{key}"));
            let at = at.copied().unwrap_or_else(|| self.place(&section));
            self.fault(at, format!("{key}: {message}"));
        }
    }
}

pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wanted("a string", value))
}

pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    match text(value)? {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.into()),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| wanted("true or false", value))
}

pub(super) fn count(value: &DeValue<'_>, min: usize, max: usize) -> Result<usize, String> {
    let number = value.as_integer().and_then(|number| {
        let digits = number.as_str().replace('_', "");
        usize::from_str_radix(&digits, number.radix()).ok()
    });
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(wanted(&format!("a number from {min} to {max}"), value)),
    }
}

pub(super) fn size(value: &DeValue<'_>) -> Result<u64, String> {
    let size = value.as_str().and_then(units::parse_size);
    size.ok_or_else(|| wanted("a size such as \"50MiB\" (B, KiB, MiB, GiB)", value))
}

pub(super) fn span(value: &DeValue<'_>) -> Result<Duration, String> {
    let span = value.as_str().and_then(units::parse_duration);
    span.ok_or_else(|| wanted("a duration such as \"5m\" (us, ms, s, m, h, d)", value))
}

/// A value or the word "none".
pub(super) fn optional<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if value.as_str() == Some("none") {
        return Ok(None);
    }
    read(value).map(Some)
}

pub(super) fn list<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let items = value
        .as_array()
        .ok_or_else(|| wanted("a list: [...]", value))?;
    items.iter().map(|item| read(item.get_ref())).collect()
}

pub(super) fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<String> = choices
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let chosen = value.as_str();
    let found = choices.iter().find(|(name, _)| chosen == Some(*name));
    found
        .map(|(_, choice)| *choice)
        .ok_or_else(|| wanted(&format!("one of {}", names.join(", ")), value))
}

fn wanted(what: &str, value: &DeValue<'_>) -> String {
    let is = match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        other => format!("a value of type {}", other.type_str()),
    };
    format!("must be {what}, not {is}")
}
