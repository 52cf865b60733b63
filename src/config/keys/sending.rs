//! Keys about whom mail goes from.

use super::super::value::{
    count, day, growth, growth_words, host_name, label, list, parsed, text, weighted,
};
use super::super::{Pool, Source, Warmup};
use super::Reload::Takes;
use super::{Key, quoted, strings};
use crate::route::warmup::LIMIT_MAX;

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
    key!(
        "warmup",
        Takes,
        "The [[warmup]] plan by which it sends little at first and more each day. What the plan leaves no room for goes from others of its pool, and where none of them may, waits for the next day.",
        |s, v| label(v).map(|name| s.warmup = Some(name)),
        |s| s.warmup.as_ref().map(quoted)
    ),
    key!(
        "warmup_from",
        Takes,
        "The first day of the plan, as 2026-11-26. Before it nothing goes from here. Days are those of UTC, not of a place: then each has 24 hours, and all machines that send from one network begin it at the same moment. Providers do not say when theirs begin.",
        |s, v| day(v).map(|first| s.warmup_from = Some(first)),
        |s| s.warmup_from.map(|first| first.to_string())
    ),
];

/// `[[warmup]]`
pub(in super::super) const WARMUP: &[Key<Warmup>] = &[
    key!(
        "name",
        Takes,
        "What sources call the plan. Tables of one name are lines of one plan, each with a count of its own, and mail counts on every line that is about it.",
        |w, v| label(v).map(|name| w.name = name),
        |w| Some(quoted(&w.name))
    ),
    key!(
        "domain",
        Takes,
        "A domain, \"*.example.org\" for those below it, or \"*\": the line counts mail to all that match, together. Without domain and mx it counts all mail of the source.",
        |w, v| text(v).map(|text| w.domain = Some(text.to_owned())),
        |w| w.domain.as_ref().map(quoted)
    ),
    key!(
        "mx",
        Takes,
        "Instead of a domain: a mail host's name, \"*.example.org\" for those below it, or \"*\". Large providers count for themselves, whatever domain mail is for.",
        |w, v| text(v).map(|text| w.mx = Some(text.to_owned())),
        |w| w.mx.as_ref().map(quoted)
    ),
    key!(
        "days",
        Takes,
        "How much goes on each day: [50, 100, 200]. Each recipient counts, in each attempt that gets as far as naming it, whatever the host answers. After the last day there is no limit.",
        |w, v| list(v, |day| count(day, 0, MOST))
            .map(|days| w.days = days.into_iter().map(narrow).collect()),
        |w| (!w.days.is_empty()).then(|| format!("{:?}", w.days))
    ),
    key!(
        "start",
        Takes,
        "Instead of days: how much goes on the first day.",
        |w, v| count(v, 1, MOST).map(|start| w.start = Some(narrow(start))),
        |w| w.start.map(|start| start.to_string())
    ),
    key!(
        "growth",
        Takes,
        "Each day is so many times the day before, from 1.01 to 100: 1.5.",
        |w, v| growth(v).map(|growth| w.growth = Some(growth)),
        |w| w.growth.map(growth_words)
    ),
    key!(
        "end",
        Takes,
        "From the day on that would have so much there is no limit.",
        |w, v| count(v, 1, MOST).map(|end| w.end = Some(narrow(end))),
        |w| w.end.map(|end| end.to_string())
    ),
];

const MOST: usize = LIMIT_MAX as usize;

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(LIMIT_MAX)
}

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
