//! Keys about events: what other programs are told of messages.

use super::super::value::{
    EVENT_FILE, EVENT_SPOOL, choice, count, inner_path, list, name, path, size_within, wait, web,
};
use super::super::{Config, Webhook, units};
use super::Reload::Takes;
use super::{Key, quoted, strings};
use crate::observe::events::{Kind, Kinds};

pub(super) const EVENTS: &[Key<Config>] = &[
    key!(
        "log",
        Takes,
        "A file under data_dir to which what becomes of messages is appended, a JSON object on each line: accepted, delivered, deferred, bounced (with later = true where a report said so after the host had taken it), expired, removed, complained. Without one there is no event log.",
        |c, v| inner_path(v).map(|path| c.events.log = Some(path)),
        |c| c.events.log.as_ref().map(|path| quoted(path.display()))
    ),
    key!(
        "log_size",
        Takes,
        "Its size at which a new one is begun; the old one is FILE.1 from then on.",
        |c, v| size_within(v, EVENT_FILE).map(|octets| c.events.log_size = octets),
        |c| Some(quoted(units::size(c.events.log_size)))
    ),
    key!(
        "log_keep",
        Takes,
        "Old ones that are kept.",
        |c, v| count(v, 0, 1000).map(|count| c.events.log_keep = count),
        |c| Some(c.events.log_keep.to_string())
    ),
    key!(
        "headers",
        Takes,
        "Header fields of messages that events tell too: whose mail it is, what it belongs to. 255 octets of each.",
        |c, v| list(v, name).map(|names| c.events.headers = names),
        |c| Some(strings(&c.events.headers))
    ),
    key!(
        "spool",
        Takes,
        "What events for webhooks may take on the disk while they wait. Beyond it the oldest are dropped and counted.",
        |c, v| size_within(v, EVENT_SPOOL).map(|octets| c.events.spool = octets),
        |c| Some(quoted(units::size(c.events.spool)))
    ),
];

/// `[[webhook]]`
pub(in super::super) const WEBHOOK: &[Key<Webhook>] = &[
    key!(
        "url",
        Takes,
        "Where events are posted, a JSON array of them at a time: \"https://host/path\", or \"http://\" where the way is safe. Any answer but 2xx is a reason to try again, ever more seldom.",
        |w, v| web(v).map(|url| w.url = url),
        |w| Some(quoted(&w.url))
    ),
    key!(
        "secret_file",
        Takes,
        "File with the secret that requests are signed with, in base64: `openssl rand -base64 32`. Nobody but owner and group may read it. Receivers check the header fields webhook-id, webhook-timestamp and webhook-signature as standardwebhooks.com has them (HMAC-SHA256).",
        |w, v| path(v).map(|path| w.secret_file = path),
        |w| Some(quoted(w.secret_file.display()))
    ),
    key!(
        "events",
        Takes,
        "Which events; all, where nothing is said.",
        |w, v| list(v, |kind| choice(kind, KINDS))
            .map(|kinds| w.events = kinds.into_iter().collect::<Kinds>()),
        |w| Some(strings(w.events.iter().map(Kind::name)))
    ),
    key!(
        "batch",
        Takes,
        "Events in one request at most.",
        |w, v| count(v, 1, 10_000).map(|count| w.batch = count),
        |w| Some(w.batch.to_string())
    ),
    key!(
        "batch_wait",
        Takes,
        "How long the first one waits for others.",
        |w, v| wait(v).map(|wait| w.batch_wait = wait),
        |w| Some(quoted(units::duration(w.batch_wait)))
    ),
    key!(
        "timeout",
        Takes,
        "How long the receiver may take for one request.",
        |w, v| wait(v).map(|wait| w.timeout = wait),
        |w| Some(quoted(units::duration(w.timeout)))
    ),
];

const KINDS: &[(&str, Kind)] = &[
    ("accepted", Kind::Accepted),
    ("delivered", Kind::Delivered),
    ("deferred", Kind::Deferred),
    ("bounced", Kind::Bounced),
    ("expired", Kind::Expired),
    ("removed", Kind::Removed),
    ("complained", Kind::Complained),
];
