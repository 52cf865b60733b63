//! What an operator orders: which messages are meant, what is to be done with them, and what came of
//! it. Plain data, as commands, the HTTP interface and the record of changes have it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ask::{QueueEntry, QueueRecipient};
use crate::mail::mark::{AddressMark, DomainMark, SenderMark, SizeMark};
use crate::queue::State;
use crate::route;
use crate::wire::path::Mailbox;

/// What an operator can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Not delivered until released.
    Hold,
    /// Goes on with its schedule.
    Release,
    /// Attempted now.
    Retry,
    /// Forgotten; nobody is told. For [`UNDO_PERIOD`] it can be undone.
    Remove,
    /// A removal is undone.
    Undo,
    /// Goes to another address.
    Redirect,
    /// Failed; the sender is told.
    Bounce,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Hold,
        Self::Release,
        Self::Retry,
        Self::Remove,
        Self::Undo,
        Self::Redirect,
        Self::Bounce,
    ];

    /// Its name in commands and addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Remove => "remove",
            Self::Undo => "undo",
            Self::Redirect => "redirect",
            Self::Bounce => "bounce",
        }
    }
}

/// An order, as a shard gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub act: Act,
    /// With which messages. An empty selector is refused before it gets here.
    pub selector: Selector,
    /// Nothing is done: only counted and shown.
    pub dry_run: bool,
    /// A removal cannot be undone.
    pub for_good: bool,
    /// Where messages are redirected to.
    pub into: Option<Mailbox>,
    /// Its name, and when it was given: microseconds since 1970.
    pub change: i64,
}

impl Order {
    /// Until when the removal can be undone, microseconds since 1970.
    #[must_use]
    pub const fn removed_until(&self) -> i64 {
        self.change.saturating_add(UNDO_MICROS)
    }

    /// Whether it means messages that were removed already, or those that were not.
    #[must_use]
    pub fn means(&self, is_removed: bool) -> bool {
        match self.act {
            Act::Undo => is_removed,
            // What was removed can be forgotten at once.
            Act::Remove if self.for_good => self.selector.means(is_removed),
            _ => !is_removed,
        }
    }
}

/// An order, as a client of the control plane gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OrderBody {
    /// Which messages.
    #[serde(flatten)]
    pub selector: Selector,
    /// Nothing is done: the answer says how many it would be, and shows some.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Why, for the record of changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A removal cannot be undone, and leaves the disk at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub for_good: bool,
    /// The address that messages are redirected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// What is no part of an order.
    #[serde(flatten, skip_serializing)]
    #[schemars(skip)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// Which messages are meant: those that match every field that is set. Those that speak of a
/// recipient speak of the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Selector {
    /// This queue id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// One of its waiting recipients is this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its reverse path is this address; empty for reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// One of its waiting recipients is in this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// One of its waiting recipients has this next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// With this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// One of its waiting recipients is in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The last reply to one of its waiting recipients, or what went wrong, has these words in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Accepted so many seconds ago or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// Accepted less than so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than: Option<u64>,
    /// Of so many octets or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// Of fewer octets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
    /// Removed by the order of this name, as the record of changes has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<i64>,
    /// Every message: so that nobody orders this by leaving something out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Selector {
    /// Nothing is said, not even `all`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a list means messages that were removed, or those that were not.
    #[must_use]
    pub fn means(&self, is_removed: bool) -> bool {
        let removed = self.state == Some(State::Removed) || self.change.is_some();
        is_removed == removed || self.id.is_some()
    }

    /// Whether a message is meant that can be put back until then, microseconds since 1970.
    #[must_use]
    pub fn takes_removal(&self, until: Option<i64>) -> bool {
        self.change
            .is_none_or(|change| until == Some(change.saturating_add(UNDO_MICROS)))
    }

    /// Whether a message has this id. Ids are compared as their text is read: without case.
    #[must_use]
    pub fn takes_id(&self, id: &str) -> bool {
        self.id
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(id))
    }

    /// Whether a message of this age is meant.
    #[must_use]
    pub fn takes_age(&self, age: Duration) -> bool {
        let seconds = age.as_secs();
        self.older_than.is_none_or(|least| seconds >= least)
            && self.newer_than.is_none_or(|most| seconds < most)
    }

    /// The envelope has to be read from the disk to know whether a message is meant.
    #[must_use]
    pub const fn needs_envelope(&self) -> bool {
        self.to.is_some()
            || self.from.is_some()
            || self.domain.is_some()
            || self.tenant.is_some()
            || self.tag.is_some()
            || self.larger_than.is_some()
            || self.smaller_than.is_some()
    }

    /// What of an envelope it asks for, in the marks that the queue keeps: a message with others is not meant.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let bare = |text: &Option<String>| text.as_deref().map(bare).map(str::to_owned);
        Marks {
            to: bare(&self.to).map(|to| AddressMark::of(&to)),
            domain: bare(&self.domain).map(|domain| DomainMark::of(&domain)),
            from: bare(&self.from).map(|from| SenderMark::of(&from)),
            least: self.larger_than.map(SizeMark::of),
            most: self.smaller_than.map(SizeMark::of),
        }
    }

    /// Whether it says something of recipients that is known without their envelope.
    #[must_use]
    pub const fn needs_parts(&self) -> bool {
        self.destination.is_some() || self.state.is_some() || self.reply.is_some()
    }

    /// Whether a recipient on its way to `destination`, in this state, may be meant.
    #[must_use]
    pub fn takes_part(&self, destination: &str, state: State) -> bool {
        self.state.is_none_or(|wanted| wanted == state) && self.takes_lane(destination)
    }

    /// Whether a recipient may be meant that is still here for this reason. Words are compared
    /// without case.
    #[must_use]
    pub fn takes_reply(&self, reason: Option<&str>) -> bool {
        let Some(words) = &self.reply else {
            return true;
        };
        reason.is_some_and(|reason| has_words(reason, words))
    }

    /// Whether a message with this entry in a list is meant, its id and its age apart. Local parts
    /// are compared without case: an operator who types an address means the mailbox.
    #[must_use]
    pub fn takes(&self, entry: &QueueEntry) -> bool {
        let size = entry.size;
        same(&self.from, &entry.from)
            && same(&self.tenant, entry.tenant.as_deref().unwrap_or_default())
            && same(&self.tag, entry.tag.as_deref().unwrap_or_default())
            && self.larger_than.is_none_or(|least| size >= least)
            && self.smaller_than.is_none_or(|most| size < most)
            && (!self.speaks_of_recipients()
                || entry.recipients.iter().any(|one| self.takes_recipient(one)))
    }

    const fn speaks_of_recipients(&self) -> bool {
        self.to.is_some() || self.domain.is_some() || self.needs_parts()
    }

    /// A destination means its mail by all pools; the name of a lane means that lane.
    fn takes_lane(&self, lane: &str) -> bool {
        same(&self.destination, lane) || same(&self.destination, &route::destination(lane))
    }

    fn takes_recipient(&self, one: &QueueRecipient) -> bool {
        let address = &one.address;
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let state = self.state.map(State::name);
        same(&self.to, address)
            && same(&self.domain, domain)
            && self.takes_lane(&one.destination)
            && state.is_none_or(|wanted| wanted == one.state)
            && self.takes_reply(one.reason.as_deref())
    }
}

/// What a selector asks for, in the marks that the queue keeps of envelopes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    to: Option<AddressMark>,
    domain: Option<DomainMark>,
    from: Option<SenderMark>,
    least: Option<SizeMark>,
    most: Option<SizeMark>,
}

impl Marks {
    /// Whether a message of such a sender and size may be meant.
    #[must_use]
    pub fn take_message(&self, sender: SenderMark, size: SizeMark) -> bool {
        self.from.is_none_or(|from| from == sender)
            && self.least.is_none_or(|least| size >= least)
            && self.most.is_none_or(|most| size <= most)
    }

    /// Whether a recipient may be meant.
    #[must_use]
    pub fn take_recipient(&self, mark: AddressMark) -> bool {
        self.to.is_none_or(|to| to == mark)
            && self.domain.is_none_or(|domain| domain == mark.domain())
    }

    /// Whether they say anything of recipients.
    #[must_use]
    pub const fn speak_of_recipients(&self) -> bool {
        self.to.is_some() || self.domain.is_some()
    }
}

fn same(wanted: &Option<String>, is: &str) -> bool {
    wanted
        .as_ref()
        .is_none_or(|wanted| bare(wanted).eq_ignore_ascii_case(is))
}

/// An address without the angle brackets that some people type.
fn bare(address: &str) -> &str {
    address
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(address)
}

/// Whether `text` has `words` in it, in any case. Replies are short.
fn has_words(text: &str, words: &str) -> bool {
    let (text, words) = (text.as_bytes(), words.as_bytes());
    words.is_empty()
        || text
            .windows(words.len())
            .any(|part| part.eq_ignore_ascii_case(words))
}

/// What an order reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acted {
    /// Messages.
    pub messages: u64,
    /// Their recipients that were not settled.
    pub recipients: u64,
    /// Of a removal that can be undone: its name, to undo it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<i64>,
    /// Messages that were not redirected because they were being attempted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub busy: u64,
    /// Nothing was done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The first messages, [`IDS_MAX`] at most.
    #[serde(default)]
    pub ids: Vec<String>,
    /// What some of them are, where nothing was done: [`SAMPLES_MAX`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<QueueEntry>,
}

impl Acted {
    /// Adds what another shard reached.
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.recipients += other.recipients;
        self.busy += other.busy;
        self.dry_run |= other.dry_run;
        self.change = self.change.or(other.change);
        self.ids.extend(other.ids);
        self.ids.truncate(IDS_MAX);
        self.samples.extend(other.samples);
        self.samples
            .sort_by(|a, b| (a.accepted, &a.id).cmp(&(b.accepted, &b.id)));
        self.samples.truncate(SAMPLES_MAX);
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The header field in which a client says who gives an order.
pub const USER_HEADER: &str = "ringpost-user";
/// How long a removal can be undone.
pub const UNDO_PERIOD: Duration = Duration::from_micros(UNDO_MICROS.cast_unsigned());
const UNDO_MICROS: i64 = 600 * 1_000_000;
/// Ids that are told of an order: enough to find the others in the log by their time.
pub const IDS_MAX: usize = 100;
/// Messages that a dry run shows.
pub const SAMPLES_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> Selector {
        serde_json::from_str(text).expect("a selector")
    }

    fn entry() -> QueueEntry {
        let recipient =
            |address: &str, destination: &str, state: &str, reason: Option<&str>| QueueRecipient {
                address: address.to_owned(),
                destination: destination.to_owned(),
                state: state.to_owned(),
                reason: reason.map(str::to_owned),
                ..QueueRecipient::default()
            };
        QueueEntry {
            from: "a@c.test".to_owned(),
            size: 2_000,
            tenant: Some("shop".to_owned()),
            tag: Some("may".to_owned()),
            recipients: vec![
                recipient("b@d.test", "d.test", "waiting", Some("451 4.3.0 Busy now")),
                recipient("\"x@y\"@e.test", "[192.0.2.1]:25 via bulk", "ready", None),
            ],
            ..QueueEntry::default()
        }
    }

    #[test]
    fn operators_name_messages_by_what_they_know_of_them() {
        for (text, meant) in [
            ("{}", true),
            (r#"{"to":"<B@D.test>"}"#, true),
            (r#"{"domain":"E.test"}"#, true),
            (r#"{"to":"b@d.test","domain":"e.test"}"#, false),
            (r#"{"from":"a@c.test","domain":"d.test"}"#, true),
            (r#"{"from":"","domain":"d.test"}"#, false),
            (r#"{"domain":"test"}"#, false),
            (r#"{"destination":"[192.0.2.1]:25"}"#, true),
            (r#"{"destination":"[192.0.2.1]:25 via bulk"}"#, true),
            (r#"{"destination":"[192.0.2.1]:25 via other"}"#, false),
            (r#"{"destination":"e.test"}"#, false),
            (r#"{"tenant":"Shop"}"#, true),
            (r#"{"tenant":"shop","tag":"june"}"#, false),
            (r#"{"tag":"may"}"#, true),
            (r#"{"state":"waiting"}"#, true),
            (r#"{"state":"held"}"#, false),
            (r#"{"state":"ready","to":"b@d.test"}"#, false),
            (r#"{"reply":"BUSY"}"#, true),
            (r#"{"reply":"busy","domain":"e.test"}"#, false),
            (r#"{"larger_than":2000}"#, true),
            (r#"{"larger_than":2001}"#, false),
            (r#"{"smaller_than":2001}"#, true),
            (r#"{"smaller_than":2000}"#, false),
        ] {
            assert_eq!(selector(text).takes(&entry()), meant, "{text}");
            // What is meant is never passed over for its marks.
            assert!(!meant || marked(&selector(text), &entry()), "{text}");
        }
        let report = QueueEntry {
            from: String::new(),
            ..entry()
        };
        assert!(selector(r#"{"from":"<>"}"#).takes(&report));
        assert!(marked(&selector(r#"{"from":"<>"}"#), &report));
        assert!(selector(r#"{"id":"00abc"}"#).takes_id("00ABC"));
    }

    /// Whether the marks of an entry are those that a selector asks for.
    fn marked(selector: &Selector, entry: &QueueEntry) -> bool {
        let marks = selector.marks();
        let mut addresses = entry.recipients.iter().map(|one| &one.address);
        marks.take_message(SenderMark::of(&entry.from), SizeMark::of(entry.size))
            && addresses.any(|address| marks.take_recipient(AddressMark::of(address)))
    }

    #[test]
    fn marks_spare_reading_what_is_not_meant() {
        for text in [
            r#"{"to":"nobody@d.test"}"#,
            r#"{"to":"b@e.test"}"#,
            r#"{"domain":"f.test"}"#,
            r#"{"from":"b@d.test"}"#,
            r#"{"from":""}"#,
            r#"{"larger_than":4000}"#,
            r#"{"smaller_than":1000}"#,
        ] {
            assert!(!marked(&selector(text), &entry()), "{text}");
        }
    }

    #[test]
    fn ages_have_two_ends() {
        let age = Duration::from_secs;
        let old = selector(r#"{"older_than":3600}"#);
        assert!(old.takes_age(age(3600)) && !old.takes_age(age(3599)));
        let new = selector(r#"{"newer_than":3600}"#);
        assert!(new.takes_age(age(3599)) && !new.takes_age(age(3600)));
    }

    #[test]
    fn an_order_is_a_selector_with_more_to_say() {
        let text = r#"{"domain":"d.test","older_than":60,"dry_run":true,"reason":"spam","too":1}"#;
        let body: OrderBody = serde_json::from_str(text).expect("an order");
        assert_eq!(body.selector.domain.as_deref(), Some("d.test"));
        assert_eq!(body.selector.older_than, Some(60));
        assert!(body.dry_run && body.reason.as_deref() == Some("spam"));
        assert!(body.unknown.keys().eq(["too"]));
        for bad in [
            r#"{"state":"dead"}"#,
            r#"{"older_than":"1h"}"#,
            r#"{"to":5}"#,
        ] {
            assert!(serde_json::from_str::<OrderBody>(bad).is_err(), "{bad}");
        }
    }
}
