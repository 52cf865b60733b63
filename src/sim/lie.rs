//! What a DNS says that is not so.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::random::Random;
use crate::route::dns::{Answer, Kind, Question, Records, Response};
use crate::trial;

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// SERVFAIL.
    Failure,
    /// The same, after long.
    Silence,
    /// There are no such records.
    NoRecords,
    /// An address of somebody else's host.
    Stranger,
    /// An address of nobody's.
    Nobody,
    /// Our own address.
    Ourselves,
    /// A host without an address.
    NoHost,
    /// More hosts than anybody tries.
    Many,
}

impl Lie {
    const ALL: [Self; 8] = [
        Self::Failure,
        Self::Silence,
        Self::NoRecords,
        Self::Stranger,
        Self::Nobody,
        Self::Ourselves,
        Self::NoHost,
        Self::Many,
    ];

    pub(super) fn draw(random: &Random) -> Self {
        random.pick(&Self::ALL).copied().unwrap_or(Self::Failure)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Failure => "SERVFAIL",
            Self::Silence => "silence",
            Self::NoRecords => "no records",
            Self::Stranger => "a stranger's host",
            Self::Nobody => "nobody's host",
            Self::Ourselves => "ourselves",
            Self::NoHost => "a host without an address",
            Self::Many => "many hosts",
        }
    }

    /// What is said to a question of somebody at `own`, and after which wait.
    pub(super) fn about(self, question: &Question, own: IpAddr) -> (Response, Duration) {
        let answer = match (self, question.kind) {
            (Self::Stranger | Self::Nobody | Self::Ourselves, Kind::A) => {
                Answer::Records(Records::Addresses(vec![self.address(own)]), TTL)
            }
            (Self::NoHost, Kind::Mx) => mx(&["nowhere.test".into()]),
            (Self::Many, Kind::Mx) => {
                let names: Vec<Box<str>> = (0..200)
                    .map(|number| format!("mx{number}.nowhere.test").into())
                    .collect();
                mx(&names)
            }
            (Self::NoRecords, Kind::A | Kind::Aaaa | Kind::Tlsa) => Answer::NoData(TTL),
            _ => Answer::Failure("the name server failed".into()),
        };
        trial::saw("DNS", self.name());
        let wait = match self {
            Self::Silence => SILENCE,
            _ => Duration::ZERO,
        };
        (answer.into(), wait)
    }

    const fn address(self, own: IpAddr) -> IpAddr {
        let last = match self {
            Self::Ourselves => return own,
            Self::Stranger => 21,
            _ => 99,
        };
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }
}

fn mx(names: &[Box<str>]) -> Answer {
    let names = names.iter().map(|name| (10, name.clone()));
    Answer::Records(Records::Mx(names.collect()), TTL)
}

/// Lies are short: the truth is asked for again.
const TTL: Duration = Duration::from_secs(1);
/// How long a resolver waits before it gives up.
const SILENCE: Duration = Duration::from_secs(15);
