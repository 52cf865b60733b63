//! What happened to messages of late, for `ringpost trace`: a bounded memory of each shard, in which
//! the newest displaces the oldest.
//!
//! ```text
//! pieces of 64 KiB:  [id len json | id len json | …] [ … ] [ … ◄─ the newest ]
//!                     └ reused first
//! ```
//!
//! Events are written as JSON at once: nothing of a message is borrowed or kept alive, nothing is
//! allocated while pieces are reused, and whoever asks later reads them without a lock.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::stage::Times;
use crate::mail::envelope::QueueId;
use crate::time::Wall;
use crate::wire::status::EnhancedStatus;

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// It was taken, and is on disk.
    Accepted {
        /// Who gave it; `None` for a report of our own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
        /// What the client called itself.
        hello: Cow<'a, str>,
        /// As the trace field has it: `ESMTPS`.
        with: Cow<'a, str>,
        /// The reverse path, empty for a report.
        from: Cow<'a, str>,
        /// Octets.
        size: u64,
        /// How many recipients it has.
        recipients: usize,
        /// Its Message-ID field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message_id: Option<Cow<'a, str>>,
        /// What it wants of the TLS on its way: `REQUIRETLS` or `TLS-Required: No` (RFC 8689).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<Cow<'a, str>>,
        /// Seconds.
        #[schemars(with = "std::collections::BTreeMap<String, f64>")]
        stages: Times,
    },
    /// One attempt for those recipients that have the same next hop.
    Attempt {
        /// The host that had the last word.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relay: Option<Cow<'a, str>>,
        /// The source that it left from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Cow<'a, str>>,
        /// What was wanted of TLS, and what came of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<Cow<'a, str>>,
        /// Seconds.
        #[schemars(with = "std::collections::BTreeMap<String, f64>")]
        stages: Times,
        /// What became of each.
        #[schemars(with = "Vec<Fate<'a>>")]
        outcomes: SmallVec<[Fate<'a>; 1]>,
    },
    /// A report about it went into the queue.
    Reported {
        /// The report's queue id.
        report: Cow<'a, str>,
        /// `failure`, `delay` or `relayed`.
        kind: Cow<'a, str>,
    },
    /// A report about it came back, or a complaint.
    Returned {
        /// The queue id of the message that told it.
        report: Cow<'a, str>,
        /// `bounced`, `delayed`, `arrived`, `complained` or `feedback`.
        what: Cow<'a, str>,
        /// Whom it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Cow<'a, str>>,
        /// What it says.
        text: Cow<'a, str>,
    },
    /// An operator gave an order.
    Ordered {
        /// `hold`, `release`, `retry`, `remove` or `bounce`.
        act: Cow<'a, str>,
    },
    /// Every recipient is settled.
    Finished,
}

/// What became of one recipient in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fate<'a> {
    /// The recipient.
    pub to: Cow<'a, str>,
    /// `sent`, `deferred`, `bounced` or `expired`.
    pub status: Cow<'a, str>,
    /// RFC 3463.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub dsn: EnhancedStatus,
    /// The reply, or what went wrong.
    pub text: Cow<'a, str>,
}

/// A status is written as what it looks like.
mod as_text {
    use std::borrow::Cow;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::wire::status::EnhancedStatus;

    pub(super) fn serialize<S: Serializer>(
        status: &EnhancedStatus,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(status)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        deserializer: D,
    ) -> Result<EnhancedStatus, D::Error> {
        let text = Cow::<'a, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|()| D::Error::custom("no enhanced status code"))
    }
}

/// An event and when it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Moment<'a> {
    /// Microseconds since 1970-01-01 UTC.
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event<'a>,
}

/// The newest events of one shard.
pub struct History {
    pieces: VecDeque<Vec<u8>>,
    /// The number of the first of `pieces`, counted since the start.
    first: u64,
    pieces_max: usize,
    scratch: Vec<u8>,
}

impl Default for History {
    /// [`HISTORY_OCTETS_MAX`] at the most; nothing before it is needed.
    fn default() -> Self {
        Self::bounded(HISTORY_OCTETS_MAX)
    }
}

impl History {
    fn bounded(octets: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            first: 0,
            pieces_max: (octets / PIECE_OCTETS).max(1),
            scratch: Vec::new(),
        }
    }

    /// Remembers an event.
    pub fn remember(&mut self, id: QueueId, now: Wall, event: Event<'_>) {
        self.scratch.clear();
        let moment = Moment { at: now.0, event };
        // Writing plain data to a Vec does not fail.
        if serde_json::to_writer(&mut self.scratch, &moment).is_err() {
            return;
        }
        let Ok(len) = u32::try_from(self.scratch.len()) else {
            return;
        };
        let needed = HEAD_OCTETS + self.scratch.len();
        if needed > PIECE_OCTETS {
            // Thousands of recipients in one attempt: the log has their lines.
            return;
        }
        let has_room = |piece: &Vec<u8>| piece.len() + needed <= PIECE_OCTETS;
        if !self.pieces.back().is_some_and(has_room) {
            self.turn();
        }
        if let Some(piece) = self.pieces.back_mut() {
            piece.extend_from_slice(&id.0.to_le_bytes());
            piece.extend_from_slice(&len.to_le_bytes());
            piece.extend_from_slice(&self.scratch);
        }
    }

    /// An empty piece at the end: a new one, or the oldest once more.
    fn turn(&mut self) {
        let mut piece = Vec::new();
        if self.pieces.len() >= self.pieces_max
            && let Some(oldest) = self.pieces.pop_front()
        {
            piece = oldest;
            piece.clear();
            self.first += 1;
        }
        piece.reserve_exact(PIECE_OCTETS);
        self.pieces.push_back(piece);
    }

    /// The pieces there are: their numbers, which stay when pieces go.
    #[must_use]
    pub fn pieces(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.pieces.len() as u64
    }

    /// The events of a message in one piece, as JSON, the oldest first. None where the piece is gone.
    #[must_use]
    pub fn find(&self, piece: u64, id: QueueId) -> Vec<String> {
        let events = self.events(piece).filter(|(own, _)| *own == id);
        events.map(|(_, text)| lossy(text)).collect()
    }

    /// Attempts in one piece after which somebody will not get a message, with its queue id, as JSON,
    /// the oldest first.
    #[must_use]
    pub fn failures(&self, piece: u64) -> Vec<(QueueId, String)> {
        // Quotation marks in a reply are escaped: nothing that a host said looks like this.
        let failed =
            [r#""status":"bounced""#, r#""status":"expired""#].map(memchr::memmem::Finder::new);
        let events = self.events(piece);
        events
            .filter(|(_, text)| failed.iter().any(|words| words.find(text).is_some()))
            .map(|(id, text)| (id, lossy(text)))
            .collect()
    }

    fn events(&self, piece: u64) -> Events<'_> {
        let place = piece.checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        Events(
            place
                .and_then(|place| self.pieces.get(place))
                .map_or(&[], |piece| piece),
        )
    }
}

/// What is left of a piece.
struct Events<'a>(&'a [u8]);

impl<'a> Iterator for Events<'a> {
    type Item = (QueueId, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.0.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (text, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((QueueId(u64::from_le_bytes(*id)), text))
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// What a shard remembers at the most: about 16,000 messages that went through at once.
pub const HISTORY_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// What is reused at once, and searched at once.
const PIECE_OCTETS: usize = 64 * 1024;
/// Id and length before each event.
const HEAD_OCTETS: usize = 12;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::smallvec;

    use super::*;
    use crate::observe::stage::Stage;

    fn ordered(act: &'static str) -> Event<'static> {
        Event::Ordered { act: act.into() }
    }

    fn all(history: &History, id: u64) -> Vec<String> {
        let pieces = history.pieces();
        pieces
            .flat_map(|piece| history.find(piece, QueueId(id)))
            .collect()
    }

    #[test]
    fn events_come_back_as_they_were() {
        let mut stages = Times::default();
        stages.add(Stage::Connect, Duration::from_millis(2));
        let event = Event::Attempt {
            relay: Some("mx.d.test[192.0.2.1]:25".into()),
            source: Some("bulk-1".into()),
            tls: None,
            stages,
            outcomes: smallvec![Fate {
                to: "b@d.test".into(),
                status: "sent".into(),
                dsn: EnhancedStatus::new(2, 0, 0),
                text: "250 \"ok\"\u{1b}".into(),
            }],
        };
        let mut history = History::default();
        history.remember(QueueId(1), Wall(5), event.clone());
        history.remember(QueueId(2), Wall(6), ordered("hold"));
        history.remember(QueueId(1), Wall(7), Event::Finished);
        let found = all(&history, 1);
        let moments: Vec<Moment<'_>> = found
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        let meant = [(5, event), (7, Event::Finished)].map(|(at, event)| Moment { at, event });
        assert_eq!(moments, meant);
        assert_eq!(all(&history, 3), [""; 0]);
    }

    #[test]
    fn failures_are_found_among_the_rest() {
        let mut history = History::default();
        let attempt = |status: &'static str, text: &'static str| Event::Attempt {
            relay: None,
            source: None,
            tls: None,
            stages: Times::default(),
            outcomes: smallvec![Fate {
                to: "b@d.test".into(),
                status: status.into(),
                dsn: EnhancedStatus::new(5, 1, 1),
                text: text.into(),
            }],
        };
        history.remember(
            QueueId(1),
            Wall(1),
            attempt("sent", r#""status":"bounced""#),
        );
        history.remember(QueueId(2), Wall(2), attempt("bounced", "550 nobody"));
        history.remember(QueueId(3), Wall(3), attempt("deferred", "451 later"));
        history.remember(QueueId(4), Wall(4), attempt("expired", "451 later"));
        let found = history.failures(0);
        let ids: Vec<u64> = found.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [2, 4]);
        assert!(found[0].1.contains("550 nobody"));
        assert!(history.failures(1).is_empty());
    }

    #[test]
    fn newest_displaces_oldest_and_memory_stays_bounded() {
        let mut history = History::bounded(3 * PIECE_OCTETS);
        for id in 0..20_000 {
            history.remember(QueueId(id), Wall(0), ordered("retry"));
        }
        assert_eq!(history.pieces.len(), 3);
        assert!(
            history
                .pieces
                .iter()
                .all(|piece| piece.len() <= PIECE_OCTETS)
        );
        assert!(all(&history, 0).is_empty());
        assert_eq!(all(&history, 19_999).len(), 1);
        assert!(history.find(0, QueueId(0)).is_empty(), "that piece is gone");
        let kept = (0..20_000)
            .filter(|&id| !all(&history, id).is_empty())
            .count();
        assert!(kept > 2_000, "{kept}");
    }

    #[test]
    fn an_event_larger_than_a_piece_is_left_to_the_log() {
        let mut history = History::default();
        let act = "x".repeat(PIECE_OCTETS);
        history.remember(QueueId(1), Wall(0), Event::Ordered { act: act.into() });
        assert!(all(&history, 1).is_empty());
    }
}
