//! Keys about whom mail goes from.

use super::super::value::{count, host_name, label, list, parsed, weighted};
use super::super::{Pool, Source};
use super::Reload::Takes;
use super::{Key, quoted, strings};

/// `[[source]]`
pub(in super::super) const SOURCE: &[Key<Source>] = &[
    key!(
        "name",
        Takes,
        "What pools, the log and metrics call it.",
        |s, v| label(v).map(|name| s.name = name),
        |s| Some(quoted(&s.name))
    ),
    key!(
        "address",
        Takes,
        "Addresses of this machine to send from: one of IPv4, one of IPv6, or one of them. Hosts of a family that a source lacks are reached from others of its pool.",
        |s, v| list(v, |item| parsed(item, "an IP address")).map(|address| s.address = address),
        |s| Some(strings(&s.address))
    ),
    key!(
        "helo",
        Takes,
        "What we call ourselves in EHLO from there; forward and reverse DNS of the addresses should agree. Default: [delivery] helo.",
        |s, v| host_name(v).map(|name| s.helo = Some(name)),
        |s| s.helo.as_ref().map(quoted)
    ),
];

/// `[[pool]]`
pub(in super::super) const POOL: &[Key<Pool>] = &[
    key!(
        "name",
        Takes,
        "What [delivery], routes and tenants call it. Each pool has its own connections and its own back-off at each destination.",
        |p, v| label(v).map(|name| p.name = name),
        |p| Some(quoted(&p.name))
    ),
    key!(
        "sources",
        Takes,
        "Names of sources that take turns, one connection each: [\"a\", \"b\"], or with weights { a = 3, b = 1 }. One whose address the machine lacks, or that a destination turns away, rests, and the others go on.",
        |p, v| weighted(v, |value| count(value, 1, 1_000)).map(|sources| p.sources = sources),
        |p| Some(inline_table(&p.sources))
    ),
];

fn inline_table(weights: &[(String, u32)]) -> String {
    let pairs = weights
        .iter()
        .map(|(name, weight)| format!("{name} = {weight}"));
    let pairs: Vec<String> = pairs.collect();
    format!("{{ {} }}", pairs.join(", "))
}
