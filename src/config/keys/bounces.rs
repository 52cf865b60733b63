//! Keys about what refusals mean, and to whom nothing more is sent.

use super::super::value::{choice, count, list, optional, path, wait};
use super::super::{Config, Suppressed, units};
use super::Reload::{Restart, Takes};
use super::{Key, name_of, quoted, strings};
use crate::bounces::Class;

pub(super) const BOUNCES: &[Key<Config>] = &[key!(
    "rules",
    Takes,
    "A file of rules that sort refusals into classes (bad_mailbox, quota, spam, throttled, ...), before those that the relay has of its own: [[rule]] tables with class, and code, status or text (a regular expression) to match; what their examples say is checked. `ringpost bounces --rules` prints the relay's own.",
    |c, v| path(v).map(|path| c.bounces.rules = Some(path)),
    |c| c.bounces.rules.as_ref().map(|path| quoted(path.display()))
)];

pub(super) const SUPPRESSION: &[Key<Config>] = &[
    key!(
        "on",
        Takes,
        "Classes of refusals after which an address gets no more mail: [\"bad_mailbox\", \"inactive\"]. Without any, the list has those alone that `ringpost suppression add` puts there.",
        |c, v| list(v, |class| choice(class, CLASSES)).map(|on| c.suppression.on = on),
        |c| Some(strings(c.suppression.on.iter().map(|class| class.name())))
    ),
    key!(
        "after",
        Takes,
        "Refusals that it takes, each within the time of the one before.",
        |c, v| count(v, 1, 1_000).map(|after| c.suppression.after = after),
        |c| Some(c.suppression.after.to_string())
    ),
    key!(
        "for",
        Takes,
        "How long such an address gets no mail; or \"none\": for good.",
        |c, v| optional(v, wait).map(|span| c.suppression.span = span),
        |c| Some(
            c.suppression
                .span
                .map_or_else(|| quoted("none"), |span| quoted(units::duration(span)))
        )
    ),
    key!(
        "action",
        Takes,
        "Mail to an address on the list: \"reject\" it at RCPT (550 5.1.1), \"fail\" (taken, and its sender gets a report), or \"off\": the list does not count. Reports to senders go out all the same.",
        |c, v| choice(v, ACTIONS).map(|action| c.suppression.action = action),
        |c| name_of(ACTIONS, c.suppression.action)
    ),
    key!(
        "max",
        Restart,
        "Addresses that the list takes: some 130 octets of memory and as many of disk each.",
        |c, v| count(v, 1, 100_000_000).map(|max| c.suppression.max = max),
        |c| Some(c.suppression.max.to_string())
    ),
];

const ACTIONS: &[(&str, Suppressed)] = &[
    ("reject", Suppressed::Reject),
    ("fail", Suppressed::Fail),
    ("off", Suppressed::Off),
];

/// Those that say something of an address.
const CLASSES: &[(&str, Class)] = &[
    ("bad_mailbox", Class::BadMailbox),
    ("bad_domain", Class::BadDomain),
    ("inactive", Class::Inactive),
    ("quota", Class::Quota),
    ("policy", Class::Policy),
    ("spam", Class::Spam),
    ("relaying", Class::Relaying),
    ("other", Class::Other),
];
