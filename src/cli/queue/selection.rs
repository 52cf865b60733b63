//! Which messages a command means, as it is typed.

use std::time::Duration;

use clap::Args;

use crate::config::units::parse_size;
use crate::observe::ask::Selector;
use crate::queue::State;

/// Which messages; with several options those that match all of them.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Selection {
    /// The message with this queue id
    pub(super) id: Option<String>,
    /// Messages to this address
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Messages from this address; "" for reports
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Messages to somebody in this domain
    #[arg(long)]
    domain: Option<String>,
    /// Messages that go to this next hop, as `queue shape` names it
    #[arg(long)]
    destination: Option<String>,
    /// Messages of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Messages with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Messages in this state: ready, in_flight, waiting, held, removed
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// Messages that are still here because of these words, as the last reply had them
    #[arg(long, value_name = "WORDS")]
    reply: Option<String>,
    /// Messages accepted so long ago or earlier: 90s, 5m, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Messages accepted since then
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<Duration>,
    /// Messages of this size or more: 500KiB, 10MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    larger_than: Option<u64>,
    /// Messages of less than this size
    #[arg(long, value_name = "SIZE", value_parser = size)]
    smaller_than: Option<u64>,
    /// Messages removed by the order of this number, as audit.jsonl has it
    #[arg(long, value_name = "NUMBER")]
    change: Option<i64>,
    /// Every message
    #[arg(long, conflicts_with_all = [
        "id", "to", "from", "domain", "destination", "tenant", "tag", "state", "reply", "older_than", "newer_than",
        "larger_than", "smaller_than", "change",
    ])]
    all: bool,
}

impl Selection {
    /// Every message.
    pub(super) fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    pub(super) fn selector(&self) -> Selector {
        Selector {
            id: self.id.clone(),
            to: self.to.clone(),
            from: self.from.clone(),
            domain: self.domain.clone(),
            destination: self.destination.clone(),
            tenant: self.tenant.clone(),
            tag: self.tag.clone(),
            state: self.state,
            reply: self.reply.clone(),
            older_than: self.older_than.map(|age| age.as_secs()),
            newer_than: self.newer_than.map(|age| age.as_secs()),
            larger_than: self.larger_than,
            smaller_than: self.smaller_than,
            change: self.change,
            all: self.all,
        }
    }

    /// The same for an address. A list of everything says nothing.
    pub(super) fn query(&self, limit: usize) -> Vec<(&'static str, String)> {
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs().to_string());
        let octets = |size: Option<u64>| size.map(|size| size.to_string());
        let fields = [
            ("id", self.id.clone()),
            ("to", self.to.clone()),
            ("from", self.from.clone()),
            ("domain", self.domain.clone()),
            ("destination", self.destination.clone()),
            ("tenant", self.tenant.clone()),
            ("tag", self.tag.clone()),
            ("state", self.state.map(|state| state.name().to_owned())),
            ("reply", self.reply.clone()),
            ("older_than", seconds(self.older_than)),
            ("newer_than", seconds(self.newer_than)),
            ("larger_than", octets(self.larger_than)),
            ("smaller_than", octets(self.smaller_than)),
            ("change", self.change.map(|change| change.to_string())),
            ("limit", Some(limit.to_string())),
        ];
        let given = fields.into_iter();
        given
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }
}

/// Reads `90s`, `5m`, `2h`, `1d`.
fn age(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("an age is a number and s, m, h or d: 90s, 5m, 2h, 1d".into()),
    };
    let number = text[..text.len() - unit.len()].parse::<u64>();
    number
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "an age needs a number before its unit".into())
}

fn size(text: &str) -> Result<u64, String> {
    let plain = text.parse().ok();
    plain
        .or_else(|| parse_size(text))
        .ok_or_else(|| "a size is a number and B, KiB, MiB or GiB: 500KiB, 10MiB".into())
}

fn state(text: &str) -> Result<State, String> {
    let wanted = text.replace('-', "_");
    let found = State::ALL.into_iter().find(|state| state.name() == wanted);
    found.ok_or_else(|| {
        let names = State::ALL.map(State::name).join(", ");
        format!("a state is one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_typed_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("2h", 7_200), ("1d", 86_400)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in [
            "",
            "5",
            "h",
            "5 m",
            "-1h",
            "5w",
            "999999999999999999d",
            "1h30m",
        ] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_states_are_typed_as_they_are_shown() {
        assert_eq!(
            (size("500"), size("2KiB")),
            (Ok(500), Ok(2_048)),
            "with and without a unit"
        );
        assert!(size("2 kilo").is_err());
        for known in State::ALL {
            assert_eq!(state(known.name()), Ok(known));
        }
        assert_eq!(state("in-flight"), Ok(State::InFlight));
        assert!(state("dead").is_err_and(|why| why.contains("held")));
    }
}
