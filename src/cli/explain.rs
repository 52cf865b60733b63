//! `ringpost explain`: how mail to one recipient would travel.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::client::{Answer, Client, Complaint, Place, clean, print};
use crate::observe::explained::{Address, Explained, Host, Lane, Limit, Pool, Warmup};

/// Say how mail to a recipient would travel, without sending any
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ringpost explain ann@example.org

The running relay looks up the names, as a delivery would.")]
pub struct Arguments {
    /// The recipient
    #[arg(value_name = "RCPT")]
    recipient: String,
    /// Whose mail it would be
    #[arg(long)]
    tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the relay at `place`, and prints what it says.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    print(Client::of(place).and_then(|client| answer(arguments, &client)))
}

fn answer(arguments: &Arguments, client: &Client) -> Result<Answer, Complaint> {
    let recipient = arguments.recipient.trim_matches(['<', '>']).to_owned();
    let mut query = vec![("recipient", recipient)];
    query.extend(arguments.tenant.clone().map(|tenant| ("tenant", tenant)));
    let explained: Explained = client.get("/api/v1/explain", &query)?;
    if arguments.json {
        return Answer::json(&explained);
    }
    Ok(Answer {
        result: tell(&explained),
        remark: None,
    })
}

fn tell(explained: &Explained) -> String {
    let mut text = String::new();
    let mut say = |name: &str, words: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:12}{}", clean(words));
    };
    say("recipient", &explained.recipient);
    let none = "no route matches: the MX decides";
    say("rule", explained.rule.as_deref().unwrap_or(none));
    say(
        "next hop",
        &format!("{} ({})", explained.next_hop, explained.way),
    );
    for address in &explained.leads_to {
        say("leads to", address);
    }
    if let Some(policy) = &explained.policy {
        let mut words = match &*policy.mode {
            "" => "none that can be had".to_owned(),
            mode => format!("{mode}: {}", policy.mx.join(", ")),
        };
        if let Some(trouble) = &policy.trouble {
            words = format!("{words} ({trouble})");
        }
        say("mta-sts", &words);
    }
    if let Some(pool) = &explained.pool {
        tell_pool(&mut say, pool);
    }
    for host in &explained.hosts {
        tell_host(&mut say, host);
    }
    if let Some(trouble) = &explained.trouble {
        say("trouble", trouble);
    }
    if !explained.hosts.is_empty() {
        let (connections, messages) =
            (explained.connections_max, explained.messages_per_connection);
        let words = format!("{connections} connections, {messages} messages each");
        say("limits", &words);
    }
    for limit in &explained.limits {
        tell_limit(&mut say, limit);
    }
    for lane in &explained.lanes {
        say("queue", &in_lane(lane));
    }
    if explained.lanes.is_empty() {
        say("queue", "nothing waits for this next hop");
    }
    text
}

fn tell_pool(say: &mut impl FnMut(&str, &str), pool: &Pool) {
    say("pool", pool.name.as_deref().unwrap_or("[delivery] source"));
    for source in &pool.sources {
        let percent = (source.share * 100.0).round();
        let mut words = format!("  {}", source.name);
        if source.addresses != [source.name.as_str()] {
            words += &format!(" {}", source.addresses.join(", "));
        }
        words += &format!(", weight {} ({percent} %)", source.weight);
        if let Some(helo) = &source.helo {
            words += &format!(", EHLO {helo}");
        }
        if !source.missing.is_empty() {
            words += &format!(", not on this machine: {}", source.missing.join(", "));
        }
        if let Some(rests) = source.rests {
            words += &format!(", turned away: others first for {rests} s");
        }
        say("", &words);
        if let Some(warmup) = &source.warmup {
            tell_warmup(say, warmup);
        }
    }
}

/// `warm-up careful, day 3: 40 of 50 (all), 20 of 20 (mx *.b.test), more on 2026-11-27`
fn tell_warmup(say: &mut impl FnMut(&str, &str), warmup: &Warmup) {
    let mut words = format!("    warm-up {}", warmup.plan);
    let Some(day) = warmup.day else {
        return say("", &format!("{words} begins on {}", warmup.first));
    };
    let lines = warmup.lines.iter().filter_map(|line| {
        let limit = line.limit?;
        let used = line.used.map(|used| used.to_string());
        let used = used.as_deref().unwrap_or("?");
        Some(format!("{used} of {limit} ({})", line.about))
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return say("", &format!("{words} is over since its days are past"));
    }
    words += &format!(", day {day}: {}, more on {}", lines.join(", "), warmup.next);
    say("", &words);
}

fn tell_limit(say: &mut impl FnMut(&str, &str), limit: &Limit) {
    if let Some(rule) = &limit.rule {
        let counts = [
            (limit.connections, "connections"),
            (limit.messages_per_connection, "messages each"),
            (limit.recipients_per_message, "recipients a message"),
        ];
        let counts = counts.into_iter();
        let counts = counts.filter_map(|(count, what)| Some(format!("{} {what}", count?)));
        let rates = [
            (&limit.rate, "messages"),
            (&limit.recipient_rate, "recipients"),
        ];
        let rates = rates.into_iter();
        let rates = rates.filter_map(|(rate, what)| Some(format!("{} {what}", rate.as_ref()?)));
        let words: Vec<String> = counts.chain(rates).collect();
        say("", &format!("{}: {} ({rule})", limit.of, words.join(", ")));
    }
    if let Some(learned) = &limit.learned {
        let rate = learned.rate.as_ref().map(|rate| format!("{rate} messages"));
        let connections = learned.connections;
        let connections = connections.map(|most| format!("{most} connections"));
        let found: Vec<String> = rate.into_iter().chain(connections).collect();
        let words = format!(
            "{}: takes {}, as learned {} s ago ({}; last complaint {} s ago)",
            limit.of,
            found.join(", "),
            learned.since,
            learned.reason,
            learned.complained
        );
        say("pace", &words);
    }
    if let Some(next) = limit.next_slot {
        say(
            "",
            &format!("{}: the next message in {next:.1} s", limit.of),
        );
    }
}

fn tell_host(say: &mut impl FnMut(&str, &str), host: &Host) {
    let preference = host.preference.map(|preference| format!("{preference} "));
    let preference = preference.unwrap_or_default();
    match &host.trouble {
        Some(trouble) => say(
            "host",
            &format!("{preference}{}: passed over: {trouble}", host.name),
        ),
        None => say(
            "host",
            &format!(
                "{preference}{}: TLS {} (by {})",
                host.name, host.tls, host.tls_from
            ),
        ),
    }
    for Address { to, from, rests } in &host.addresses {
        let mut words = format!("  {to}");
        if let Some(from) = from {
            words += &format!(" from {from}");
        }
        if let Some(rests) = rests {
            words += &format!(", failed a moment ago: others first for {rests} s");
        }
        say("", &words);
    }
}

fn in_lane(lane: &Lane) -> String {
    let mut words = format!(
        "shard {}: {}, {} messages, {} under way, {} connections",
        lane.shard, lane.state, lane.messages, lane.in_flight, lane.connections
    );
    if let Some(next) = lane.next_attempt {
        words += &format!(
            ", next attempt in {next} s after {} failures",
            lane.failures
        );
    }
    if let Some(reason) = &lane.reason {
        words += &format!(" ({reason})");
    }
    words
}
