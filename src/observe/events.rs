//! Events for other programs: what became of messages, as JSON objects, one on each line.
//!
//! ```text
//!  shard ─► line in a buffer of its own ─► bounded channel ─► service thread ─► event log
//!                                            full: counted                   └► spool ─► webhooks
//! ```
//!
//! Nothing is written down for events that nobody wants. What does not fit into the channel is counted
//! and lost: mail waits for nobody who reads about it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::stage::Times;
use crate::bounces::Class;
use crate::mail::envelope::QueueId;
use crate::time::Wall;
use crate::wire::header;

/// What can happen to a message, or to one recipient of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A message was taken, and is on disk.
    Accepted,
    /// The next hop has it.
    Delivered,
    /// An attempt failed; another one follows.
    Deferred,
    /// It will not be delivered.
    Bounced,
    /// It will not be delivered: its time was over.
    Expired,
    /// An operator removed it.
    Removed,
    /// Its recipient complains of it.
    Complained,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Delivered,
        Self::Deferred,
        Self::Bounced,
        Self::Expired,
        Self::Removed,
        Self::Complained,
    ];

    /// Its name in events and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Expired => "expired",
            Self::Removed => "removed",
            Self::Complained => "complained",
        }
    }

    /// The kind of an event as it was written.
    #[must_use]
    pub fn of_line(line: &[u8]) -> Option<Self> {
        let name = line.strip_prefix(HEAD.as_bytes())?;
        let len = name.iter().position(|octet| *octet == b'"')?;
        let kinds = Self::ALL.into_iter();
        kinds
            .into_iter()
            .find(|kind| kind.name().as_bytes() == &name[..len])
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.name() == text).ok_or(())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Whether it has this one.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u8))
    }
}

/// What somebody wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What is told at all.
    pub kinds: Kinds,
    /// Header fields that are told with it: whose mail it is, what it is about.
    pub headers: Vec<Box<str>>,
}

/// The wanted header fields of one message. Empty where none are wanted: that costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<(Box<str>, Box<str>)>);

impl Tags {
    /// The fields with these names in a header in wire form; of several with one name the first.
    #[must_use]
    pub fn find(names: &[Box<str>], header: &[u8]) -> Self {
        let find = |name: &str| {
            let value = header::value(header, name, TAG_OCTETS_MAX)?;
            Some((name.into(), value.into()))
        };
        Self(names.iter().filter_map(|name| find(name)).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Something that happened. What is empty is left out.
#[derive(Clone, Debug)]
pub struct Happening<'a> {
    /// What it was.
    pub kind: Kind,
    /// To which message.
    pub queue_id: QueueId,
    /// Its Message-ID field.
    pub message_id: Option<&'a str>,
    /// The header fields that are wanted.
    pub headers: Option<&'a Tags>,
    /// The reverse path, empty for a report; `None` where it is not known any more.
    pub sender: Option<&'a str>,
    /// Whose message it is.
    pub tenant: Option<&'a str>,
    /// What it belongs to.
    pub tag: Option<&'a str>,
    /// To whom: of an acceptance everybody, else one.
    pub recipients: &'a [&'a str],
    /// The next hop.
    pub destination: Option<&'a str>,
    /// Octets of the message.
    pub size: Option<u64>,
    /// Who gave it.
    pub client: Option<IpAddr>,
    /// The pool of sources that it went by.
    pub pool: Option<&'a str>,
    /// The source that it left from.
    pub source: Option<&'a str>,
    /// The host that had the last word.
    pub relay: Option<&'a str>,
    /// Since it was accepted.
    pub delay: Option<Duration>,
    /// How long the stages took.
    pub stages: Times,
    /// RFC 3463.
    pub status: Option<String>,
    /// What a refusal means.
    pub class: Option<Class>,
    /// The reply, or what went wrong.
    pub reply: Option<&'a str>,
    /// A report told of it after the next hop had taken the message.
    pub is_later: bool,
    /// What a complaint is about (RFC 5965 §3.5).
    pub feedback: Option<&'a str>,
}

impl Happening<'_> {
    /// Something that happened to a message of which nothing else is known.
    #[must_use]
    pub fn new(kind: Kind, queue_id: QueueId) -> Self {
        Self {
            kind,
            queue_id,
            message_id: None,
            headers: None,
            sender: None,
            tenant: None,
            tag: None,
            recipients: &[],
            destination: None,
            size: None,
            client: None,
            pool: None,
            source: None,
            relay: None,
            delay: None,
            stages: Times::default(),
            status: None,
            class: None,
            reply: None,
            is_later: false,
            feedback: None,
        }
    }
}

/// An event as it is written.
#[derive(Serialize)]
struct Written<'a> {
    event: &'static str,
    id: String,
    time: String,
    queue_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<&'a Tags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    recipients: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<f64>,
    #[serde(skip_serializing_if = "Times::is_empty")]
    stages: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    later: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<&'a str>,
}

/// Whole lines on their way to the service thread.
pub struct Parcel {
    /// Each with its end.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u64,
}

/// Where events go; one for the process.
#[derive(Clone)]
pub struct Post {
    parcels: Option<Sender<Parcel>>,
    /// When the process began: no two lives of it give out the same ids.
    began: i64,
}

impl Post {
    /// The way, and its end.
    #[must_use]
    pub fn new(began: Wall) -> (Self, Receiver<Parcel>) {
        let (parcels, received) = channel(PARCELS_MAX);
        let post = Self {
            parcels: Some(parcels),
            began: began.0,
        };
        (post, received)
    }

    /// A way that leads nowhere.
    #[must_use]
    pub const fn nowhere() -> Self {
        Self {
            parcels: None,
            began: 0,
        }
    }

    /// One shard's end of it.
    #[must_use]
    pub fn of_shard(self, shard: usize) -> Events {
        Events {
            post: self,
            shard,
            count: Cell::new(0),
            told: Cell::new(0),
            lost: Cell::new(0),
            lines: RefCell::default(),
        }
    }
}

/// What became of events after shards have told them.
#[derive(Debug, Default)]
pub struct Sums {
    /// Not written: the disk did not take them.
    pub unwritten: AtomicU64,
    /// Dropped before a webhook had them, because the spool was full.
    pub dropped: AtomicU64,
    /// Taken by webhooks.
    pub delivered: AtomicU64,
    /// Requests to webhooks that failed.
    pub failures: AtomicU64,
    /// Octets of the spool.
    pub spooled: AtomicU64,
}

/// What one shard tells.
pub struct Events {
    post: Post,
    shard: usize,
    /// Events so far.
    count: Cell<u64>,
    /// Events that were passed on, and that were not because the reader was slow.
    told: Cell<u64>,
    lost: Cell<u64>,
    lines: RefCell<Lines>,
}

#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    count: u64,
}

impl Events {
    /// Writes an event down.
    pub fn tell(&self, now: Wall, happening: &Happening<'_>) {
        if self.post.parcels.is_none() {
            return;
        }
        let count = self.count.get();
        self.count.set(count + 1);
        let is_one = happening.kind != Kind::Accepted;
        let written = Written {
            event: happening.kind.name(),
            id: format!("{:x}-{}-{count}", self.post.began, self.shard),
            time: time(now),
            queue_id: happening.queue_id.to_string(),
            message_id: happening.message_id,
            headers: happening.headers.filter(|tags| !tags.is_empty()),
            sender: happening.sender,
            tenant: happening.tenant,
            tag: happening.tag,
            recipient: happening.recipients.first().copied().filter(|_| is_one),
            recipients: if is_one { &[] } else { happening.recipients },
            destination: happening.destination,
            size: happening.size,
            client: happening.client,
            pool: happening.pool,
            source: happening.source,
            relay: happening.relay,
            delay: happening.delay.map(|delay| delay.as_secs_f64()),
            stages: happening.stages,
            status: happening.status.clone(),
            class: happening.class,
            reply: happening.reply.map(Into::into),
            later: happening.is_later,
            feedback: happening.feedback,
        };
        let is_full = {
            let lines = &mut *self.lines.borrow_mut();
            let before = lines.buffer.len();
            // Writing plain data to a Vec does not fail.
            let written = serde_json::to_writer(&mut lines.buffer, &written);
            if written.is_err() || lines.buffer.write_all(b"\n").is_err() {
                lines.buffer.truncate(before);
                return;
            }
            lines.count += 1;
            lines.buffer.len() >= BUFFER_OCTETS
        };
        if is_full {
            self.flush();
        }
    }

    /// Passes on what has gathered.
    pub fn flush(&self) {
        let lines = &mut *self.lines.borrow_mut();
        let (Some(parcels), false) = (&self.post.parcels, lines.buffer.is_empty()) else {
            return;
        };
        let Lines { buffer, count } = std::mem::take(lines);
        let parcel = Parcel {
            lines: buffer,
            count,
        };
        let sum = match parcels.try_send(parcel) {
            Ok(()) => &self.told,
            Err(_) => &self.lost,
        };
        sum.set(sum.get() + count);
    }

    /// Events that were passed on since the start.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told.get()
    }

    /// Events that were lost because the reader was slow.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.flush();
    }
}

fn time(now: Wall) -> String {
    let moment = Timestamp::from_microsecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{moment:.6}")
}

/// How each line begins.
const HEAD: &str = r#"{"event":""#;
/// Octets of a header field that are told.
const TAG_OCTETS_MAX: usize = 255;
/// A parcel is passed on at this size; some fifty events.
const BUFFER_OCTETS: usize = 24 * 1024;
/// Parcels on their way: 6 MiB in all, a second of a slow disk at full load.
const PARCELS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(happening: &Happening<'_>) -> Value {
        let (post, mut received) = Post::new(Wall(255));
        let events = post.of_shard(3);
        events.tell(Wall(1_772_323_200_000_001), happening);
        events.flush();
        let parcel = received.try_recv().unwrap();
        assert_eq!((parcel.count, events.told(), events.lost()), (1, 1, 0));
        assert_eq!(Kind::of_line(&parcel.lines), Some(happening.kind));
        assert_eq!(parcel.lines.last(), Some(&b'\n'));
        serde_json::from_slice(&parcel.lines).unwrap()
    }

    #[test]
    fn an_event_says_what_is_known_and_leaves_out_the_rest() {
        let bare = told(&Happening::new(Kind::Removed, QueueId(1)));
        assert_eq!(
            bare,
            json!({
                "event": "removed",
                "id": "ff-3-0",
                "time": "2026-03-01T00:00:00.000001Z",
                "queue_id": "0000000000001",
            })
        );
        let tags = Tags::find(
            &["X-Tag".into(), "X-No".into()],
            b"Subject: a\r\nx-tag: news\r\n",
        );
        let whole = told(&Happening {
            message_id: Some("<1@c.test>"),
            headers: Some(&tags),
            sender: Some(""),
            recipients: &["b@d.test"],
            size: Some(5),
            delay: Some(Duration::from_millis(1500)),
            reply: Some("250 \"ok\"\u{7}"),
            ..Happening::new(Kind::Delivered, QueueId(1))
        });
        assert_eq!(whole["headers"], json!({"X-Tag": "news"}));
        assert_eq!(whole["recipient"], "b@d.test");
        assert_eq!(
            (&whole["sender"], &whole["delay"]),
            (&json!(""), &json!(1.5))
        );
        assert_eq!(whole["reply"], "250 \"ok\"\u{7}");
        let accepted = told(&Happening {
            recipients: &["b@d.test", "c@d.test"],
            ..Happening::new(Kind::Accepted, QueueId(1))
        });
        assert_eq!(accepted["recipients"], json!(["b@d.test", "c@d.test"]));
        assert_eq!(accepted["recipient"], Value::Null);
    }

    #[test]
    fn what_a_slow_reader_has_no_room_for_is_counted_and_holds_nobody_up() {
        let (post, mut received) = Post::new(Wall(0));
        let events = post.of_shard(0);
        for _ in 0..=PARCELS_MAX + 1 {
            events.tell(Wall(0), &Happening::new(Kind::Accepted, QueueId(1)));
            events.flush();
        }
        assert_eq!((events.told(), events.lost()), (PARCELS_MAX as u64, 2));
        received.try_recv().unwrap();
        events.tell(Wall(0), &Happening::new(Kind::Accepted, QueueId(1)));
        events.flush();
        assert_eq!(events.lost(), 2);
    }

    #[test]
    fn kinds_are_a_set_with_names() {
        let some: Kinds = [Kind::Deferred, Kind::Removed].into_iter().collect();
        assert!(some.has(Kind::Removed) && !some.has(Kind::Accepted));
        assert_eq!(some.with(Kinds::ALL), Kinds::ALL);
        for kind in Kind::ALL {
            assert!(Kinds::ALL.has(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!(Kind::of_line(b"{\"event\":\"other\"}"), None);
    }
}
