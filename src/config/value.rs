//! Values of the file: what each shape of them is read into, and what is said of a wrong one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use hyper::Uri;
use ipnet::{IpNet, Ipv4Net};
use jiff::civil::Date;
use toml::de::DeValue;

use super::{Cores, Reporter, units};
use crate::mail::envelope::{Priority, SHARDS_MAX};
use crate::mail::rate::Rate;
use crate::route::warmup::{Day, GROWTH_ONE};
use crate::tls::caller::Guest;
use crate::wire::path::{Domain, Mailbox};

/// What is wrong with a value: each fault with its place in the file, where that is not the
/// place of the whole value.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) Vec<(Option<usize>, String)>);

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self(vec![(None, message)])
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| wanted("a string", value))
}

/// A name that somebody else has chosen: anything but nothing.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Wrong> {
    match text(value)? {
        "" => Err("must not be empty".into()),
        text => Ok(text.to_owned()),
    }
}

/// A name that other tables use, and that metrics and lists show: a bare key of TOML.
pub(super) fn label(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    if (1..=LABEL_OCTETS_MAX).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no name: 1 to {LABEL_OCTETS_MAX} letters, digits, hyphens and underscores"
    )
    .into())
}

/// How soon mail goes: a word, or a number.
pub(super) fn prioritized(value: &DeValue<'_>) -> Result<Priority, Wrong> {
    let text = match value {
        DeValue::Integer(number) => Some(number.as_str()),
        other => other.as_str(),
    };
    let priority = text.and_then(|text| text.parse().ok());
    priority.ok_or_else(|| {
        wanted(
            "\"high\", \"normal\", \"low\" or a number from 0 to 9",
            value,
        )
    })
}

/// Names with weights, `{ a = 3, b = 1 }`, or a list of names of one weight.
pub(super) fn weighted(
    value: &DeValue<'_>,
    weight: impl Fn(&DeValue<'_>) -> Result<usize, Wrong>,
) -> Result<Vec<(String, u32)>, Wrong> {
    let DeValue::Table(table) = value else {
        let names = list(value, label).map_err(|wrong| match value {
            DeValue::Array(_) => wrong,
            _ => wanted("[\"a\", \"b\"] or { a = 3, b = 1 }", value),
        });
        return Ok(names?.into_iter().map(|name| (name, 1)).collect());
    };
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    for (name, item) in table {
        match weight(item.get_ref()) {
            Ok(weight) => good.push((
                name.get_ref().to_string(),
                u32::try_from(weight).unwrap_or(1),
            )),
            Err(Wrong(wrong)) => {
                let here = item.span().start;
                let named = wrong
                    .into_iter()
                    .map(|(at, why)| (at.or(Some(here)), format!("{}: {why}", name.get_ref())));
                faults.extend(named);
            }
        }
    }
    if faults.is_empty() {
        Ok(good)
    } else {
        Err(Wrong(faults))
    }
}

pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    match text(value)? {
        "" => Err("must not be empty".into()),
        text => Ok(text.into()),
    }
}

/// A path that stays below the directory that it stands in.
pub(super) fn inner_path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    let path = path(value)?;
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.components().all(stays) {
        return Ok(path);
    }
    Err(wanted("a path under data_dir, without \"..\"", value))
}

/// The address of a web server, and what to ask it for.
pub(super) fn web(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let uri: Option<Uri> = text.parse().ok();
    let is_good = uri.is_some_and(|uri| {
        let named = uri.authority().is_some_and(|to| {
            !to.host().is_empty() && !to.as_str().contains('@') && to.port_u16() != Some(0)
        });
        named && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    if is_good {
        return Ok(text.to_owned());
    }
    Err(wanted(
        "\"https://host/path\" or \"http://host/path\"",
        value,
    ))
}

/// A client that is known by its certificate.
pub(super) fn guest(value: &DeValue<'_>) -> Result<Guest, Wrong> {
    let text = text(value)?;
    let wrong =
        || format!("{text:?} is no fingerprint \"sha256:...\", host name or address").into();
    Guest::parse(text).ok_or_else(wrong)
}

/// One path, or a list of them.
pub(super) fn paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, Wrong> {
    if value.is_array() {
        list(value, path)
    } else {
        path(value).map(|one| vec![one])
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value
        .as_bool()
        .ok_or_else(|| wanted("true or false", value))
}

pub(super) fn count(value: &DeValue<'_>, min: usize, max: usize) -> Result<usize, Wrong> {
    let number = value.as_integer().and_then(|number| {
        let digits = number.as_str().replace('_', "");
        usize::from_str_radix(&digits, number.radix()).ok()
    });
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(wanted(&format!("a number from {min} to {max}"), value)),
    }
}

pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Wrong> {
    let size = value.as_str().and_then(units::parse_size);
    size.ok_or_else(|| wanted("a size such as \"50MiB\" (B, KiB, MiB, GiB)", value))
}

pub(super) fn size_within(value: &DeValue<'_>, limits: RangeInclusive<u64>) -> Result<u64, Wrong> {
    let octets = size(value)?;
    if limits.contains(&octets) {
        return Ok(octets);
    }
    let (min, max) = (units::size(*limits.start()), units::size(*limits.end()));
    Err(wanted(&format!("from \"{min}\" to \"{max}\""), value))
}

pub(super) fn span(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    let span = value.as_str().and_then(units::parse_duration);
    let span =
        span.ok_or_else(|| wanted("a duration such as \"5m\" (us, ms, s, m, h, d)", value))?;
    if span > SPAN_MAX {
        let max = units::duration(SPAN_MAX);
        return Err(wanted(&format!("at most \"{max}\""), value));
    }
    Ok(span)
}

/// A duration in which something can happen.
pub(super) fn wait(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match span(value)? {
        Duration::ZERO => Err("must be more than zero".into()),
        wait => Ok(wait),
    }
}

/// A value or the word "none".
pub(super) fn optional<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
) -> Result<Option<T>, Wrong> {
    if value.as_str() == Some("none") {
        return Ok(None);
    }
    read(value).map(Some)
}

/// A list, with each of its faults where the item stands.
pub(super) fn list<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let items = value
        .as_array()
        .ok_or_else(|| wanted("a list: [...]", value))?;
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    for item in items {
        match read(item.get_ref()) {
            Ok(value) => good.push(value),
            Err(Wrong(wrong)) => {
                let here = item.span().start;
                let placed = wrong.into_iter().map(|(at, why)| (at.or(Some(here)), why));
                faults.extend(placed);
            }
        }
    }
    if faults.is_empty() {
        Ok(good)
    } else {
        Err(Wrong(faults))
    }
}

pub(super) fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let chosen = value.as_str();
    let found = choices.iter().find(|(name, _)| chosen == Some(*name));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        wanted(&format!("one of {}", names.join(", ")), value)
    })
}

/// A string that `T` can be read from.
pub(super) fn parsed<T: FromStr>(value: &DeValue<'_>, what: &str) -> Result<T, Wrong> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| wanted(what, value))
}

pub(super) fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    parsed(
        value,
        "an address with a port, such as \"127.0.0.1:25\" or \"[::1]:25\"",
    )
}

pub(super) fn rate(value: &DeValue<'_>) -> Result<Rate, Wrong> {
    let rate = value.as_str().and_then(|text| text.parse().ok());
    rate.ok_or_else(|| wanted("a rate such as \"500/m\" (s, m, h, d)", value))
}

/// A day, as TOML has dates, or as a string.
pub(super) fn day(value: &DeValue<'_>) -> Result<Day, Wrong> {
    let text = match value {
        DeValue::Datetime(moment) => Some(moment.to_string()),
        other => other.as_str().map(str::to_owned),
    };
    let date = text.and_then(|text| text.parse::<Date>().ok());
    date.map(Day::from)
        .ok_or_else(|| wanted("a day such as 2026-11-26", value))
}

/// How many times more, in thousandths.
pub(super) fn growth(value: &DeValue<'_>) -> Result<u32, Wrong> {
    let text = match value {
        DeValue::Integer(number) => Some(number.as_str()),
        DeValue::Float(number) => Some(number.as_str()),
        _ => None,
    };
    let times: Option<f64> = text.and_then(|text| text.parse().ok());
    let times = times.filter(|times| (1.01..=100.0).contains(times));
    let times = times.ok_or_else(|| wanted("a number from 1.01 to 100", value))?;
    Ok((times * f64::from(GROWTH_ONE)).round() as u32)
}

/// The same as it is written.
pub(super) fn growth_words(growth: u32) -> String {
    format!("{:?}", f64::from(growth) / f64::from(GROWTH_ONE))
}

/// A network. One of IPv4 addresses written in IPv6 (RFC 4291 §2.5.5.2) is the IPv4 network:
/// clients are compared by their IPv4 address, also where one socket listens for both.
pub(super) fn network(value: &DeValue<'_>) -> Result<IpNet, Wrong> {
    let network: IpNet = parsed(value, "a network such as \"192.168.0.0/16\"")?;
    let mapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(network) => {
            let len = network.prefix_len().checked_sub(MAPPED_PREFIX_LEN);
            network.addr().to_ipv4_mapped().zip(len)
        }
    };
    let mapped = mapped.and_then(|(address, len)| Ipv4Net::new(address, len).ok());
    Ok(mapped.map_or(network, IpNet::V4))
}

/// A network, or a domain.
pub(super) fn reporter(value: &DeValue<'_>) -> Result<Reporter, Wrong> {
    let text = text(value)?;
    match text.parse::<IpAddr>() {
        Ok(host) => Ok(Reporter::Network(host.to_canonical().into())),
        Err(_) if text.contains('/') => network(value).map(Reporter::Network),
        Err(_) => host_name(value).map(Reporter::Domain),
    }
}

pub(super) fn host_name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    domain(text).ok_or_else(|| {
        format!("\"{text}\" is no host name: letters, digits, hyphens and dots").into()
    })
}

pub(super) fn mailbox(value: &DeValue<'_>) -> Result<String, Wrong> {
    address(value).map(|mailbox| mailbox.as_str().to_owned())
}

pub(super) fn address(value: &DeValue<'_>) -> Result<Mailbox, Wrong> {
    let text = text(value)?;
    let mailbox = Mailbox::parse(text.as_bytes(), false);
    mailbox.map_err(|_| format!("\"{text}\" is no address: local-part@domain").into())
}

/// The name, if it is one that may stand in EHLO.
pub(super) fn domain(name: &str) -> Option<String> {
    let domain = Domain::parse(name.as_bytes(), false).ok()?;
    Some(domain.as_str().to_owned())
}

pub(super) fn cores(value: &DeValue<'_>) -> Result<Cores, Wrong> {
    const WANTED: &str = "\"all\", a count, or a list of CPU ids: [0, 2, 4]";
    match value {
        DeValue::String(text) if text == "all" => Ok(Cores::All),
        DeValue::Integer(_) => count(value, 1, SHARDS_MAX).map(Cores::Count),
        DeValue::Array(_) => {
            let mut cpus = list(value, |cpu| count(cpu, 0, SHARDS_MAX - 1))?;
            cpus.sort_unstable();
            cpus.dedup();
            match cpus.len() {
                0 => Err(wanted(WANTED, value)),
                _ => Ok(Cores::List(cpus)),
            }
        }
        _ => Err(wanted(WANTED, value)),
    }
}

fn wanted(what: &str, value: &DeValue<'_>) -> Wrong {
    format!("must be {what}, not {}", Shown(value)).into()
}

/// A value as a fault quotes it: on one line and not longer than one.
struct Shown<'v>(&'v DeValue<'v>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeValue::String(text) if text.chars().count() > SHOWN_MAX => {
                let start: String = text.chars().take(SHOWN_MAX).collect();
                write!(f, "{start:?}...")
            }
            DeValue::String(text) => write!(f, "{text:?}"),
            DeValue::Integer(number) => f.write_str(number.as_str()),
            DeValue::Float(number) => f.write_str(number.as_str()),
            DeValue::Boolean(value) => write!(f, "{value}"),
            DeValue::Datetime(_) => f.write_str("a date"),
            DeValue::Array(items) if items.is_empty() => f.write_str("an empty list"),
            DeValue::Array(_) => f.write_str("a list"),
            DeValue::Table(_) => f.write_str("a table"),
        }
    }
}

/// The longest label of the DNS: names may be used in one.
const LABEL_OCTETS_MAX: usize = 63;
pub(super) const SMTP_PORT: u16 = 25;
pub(super) const HTTPS_PORT: u16 = 443;
/// Below this a handful of messages fills it; the upper end is beyond any machine.
pub(super) const MEMORY: RangeInclusive<u64> = 16 << 20..=16 << 40;
/// RFC 5321 §4.5.3.1.7: at least 64K octets must be taken.
pub(super) const MESSAGE_SIZE: RangeInclusive<u64> = 64 << 10..=4 << 30;
/// The upper end is what a client can make us keep in memory.
pub(super) const HEADER_SIZE: RangeInclusive<u64> = 4 << 10..=64 << 20;
/// A segment holds the largest record, which is a message of 256 KiB and its envelope. A large
/// one is freed late: it stays until its last message is settled or moved.
pub(super) const SEGMENT: RangeInclusive<u64> = 4 << 20..=1 << 30;
/// A file of the record of changes.
pub(super) const AUDIT: RangeInclusive<u64> = 64 << 10..=1 << 30;
/// The lower end is some hundred events.
pub(super) const EVENT_FILE: RangeInclusive<u64> = 64 << 10..=1 << 40;
/// The same for what waits for webhooks.
pub(super) const EVENT_SPOOL: RangeInclusive<u64> = 256 << 10..=1 << 40;
/// A recipient is named by 16 bits, in the queue and in the spool: one beyond them would be
/// accepted and forgotten.
pub(super) const RECIPIENTS_MAX: usize = 50_000;
pub(super) const COUNT_MAX: usize = 1_000_000;
/// Bits before an IPv4 address that is written in IPv6.
const MAPPED_PREFIX_LEN: u8 = 96;
/// Nobody waits longer, and sums of two stay far from the end of the clock.
const SPAN_MAX: Duration = Duration::from_secs(1000 * 24 * 60 * 60);
/// Characters of a string that a fault quotes.
const SHOWN_MAX: usize = 60;
