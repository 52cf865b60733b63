//! Keys about what refusals mean.

use super::super::Config;
use super::super::value::path;
use super::Reload::Takes;
use super::{Key, quoted};

pub(super) const BOUNCES: &[Key<Config>] = &[key!(
    "rules",
    Takes,
    "A file of rules that sort refusals into classes (bad_mailbox, quota, spam, throttled, ...), before those that the relay has of its own: [[rule]] tables with class, and code, status or text (a regular expression) to match; what their examples say is checked. `ringpost bounces --rules` prints the relay's own.",
    |c, v| path(v).map(|path| c.bounces.rules = Some(path)),
    |c| c.bounces.rules.as_ref().map(|path| quoted(path.display()))
)];
