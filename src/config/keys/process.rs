//! Keys about the process: who it runs as, and what of the machine it reaches.

use super::super::Config;
use super::super::units;
use super::super::value::{boolean, span, text};
use super::Reload::{Restart, Takes};
use super::{Key, quoted};

pub(super) const PROCESS: &[Key<Config>] = &[
    key!(
        "user",
        Restart,
        "Whom a relay that root starts runs as: a name, or a number. Root makes the data directory, and of its rights the relay keeps binding ports until it has bound them; everything else, keys and certificates too, is read as this user, now and at each reload.",
        |c, v| text(v).map(|name| c.process.user = (!name.is_empty()).then(|| name.to_owned())),
        |c| c.process.user.as_ref().map(quoted)
    ),
    key!(
        "group",
        Restart,
        "Its group. Default: the user's own, with the others that the user is in.",
        |c, v| text(v).map(|name| c.process.group = (!name.is_empty()).then(|| name.to_owned())),
        |c| c.process.group.as_ref().map(quoted)
    ),
    key!(
        "confine",
        Restart,
        "Give up what the relay does not need once its ports are bound: capabilities, new privileges, and (Landlock) files: it writes below data_dir alone, and what peers reach reads below it alone.",
        |c, v| boolean(v).map(|confine| c.process.confine = confine),
        |c| Some(c.process.confine.to_string())
    ),
    key!(
        "drain",
        Takes,
        "How long transactions in progress may take once the relay is told to end. Who stops it must wait a little longer: TimeoutStopSec= in a systemd unit.",
        |c, v| span(v).map(|span| c.process.drain = span),
        |c| Some(quoted(units::duration(c.process.drain)))
    ),
];
