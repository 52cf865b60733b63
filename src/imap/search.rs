//! SEARCH's keys (RFC 9051 §6.4.4), decided with as little of a message as they need.
//!
//! ```text
//! Facts (the index) ─► yes, no, or: not without the summary ─► ... not without the message
//! ```

use std::ops::RangeInclusive;

use imap_codec::imap_types::core::AString;
use imap_codec::imap_types::datetime::NaiveDate;
use imap_codec::imap_types::search::SearchKey;

use super::field::{DAY_SECONDS, Sent};
use super::mime;
use super::summary::{BCC, CC, FROM, Summary, TO};
use super::view::{View, ranges};

mod scan;

pub use scan::{STEP_OCTETS, Scan, Seen};

/// What the index knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its number in the session.
    pub number: u32,
    /// Its UID.
    pub uid: u32,
    /// Its modification sequence.
    pub modseq: u64,
    /// Its octets.
    pub size: u32,
    /// When it arrived, in seconds since 1970.
    pub saved: i64,
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords, by their place in the mailbox's list.
    pub keywords: u64,
    /// It is \Recent in this session.
    pub recent: bool,
}

/// System flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are the five flags of RFC 9051 §2.3.2"
)]
pub struct Flags {
    /// \Answered
    pub answered: bool,
    /// \Flagged
    pub flagged: bool,
    /// \Deleted
    pub deleted: bool,
    /// \Seen
    pub seen: bool,
    /// \Draft
    pub draft: bool,
}

/// What is searched for, made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Every message, or none.
    Constant(bool),
    /// All of these.
    And(Vec<Self>),
    /// One of these at least.
    Or(Box<[Self; 2]>),
    /// Not this.
    Not(Box<Self>),
    /// A number in the session.
    Numbers(Vec<RangeInclusive<u32>>),
    /// A UID.
    Uids(Vec<RangeInclusive<u32>>),
    /// A UID that is listed.
    Saved(Vec<u32>),
    /// A system flag.
    Flag(SystemFlag),
    /// A keyword, by its bit.
    Keyword(u64),
    /// \Recent.
    Recent,
    /// More octets than this.
    Larger(u32),
    /// Fewer.
    Smaller(u32),
    /// Arrived on one of these days since 1970.
    Saw(RangeInclusive<i64>),
    /// Arrived in these seconds since 1970.
    Within(RangeInclusive<i64>),
    /// Sent on one of these days since 1970.
    Sent(RangeInclusive<i64>),
    /// Changed since.
    ModSeq(u64),
    /// The subject has this, in lower case.
    Subject(String),
    /// From, To, Cc or Bcc has.
    People(usize, String),
    /// A field of this name has.
    Header(String, String),
    /// The body's text has.
    Body(String),
    /// Header or body has.
    Text(String),
}

/// A system flag that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemFlag {
    /// \Answered
    Answered,
    /// \Flagged
    Flagged,
    /// \Deleted
    Deleted,
    /// \Seen
    Seen,
    /// \Draft
    Draft,
}

/// What keys refer to.
pub struct Scope<'a> {
    /// The session's numbers.
    pub view: &'a View,
    /// The mailbox's keywords, by place.
    pub keywords: &'a [&'a str],
    /// What `$` stands for.
    pub saved: &'a [u32],
    /// Now, in seconds since 1970.
    pub now: i64,
    /// The charset of what is searched for.
    pub charset: &'a str,
}

/// Why a search cannot be made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// A message number is beyond the last.
    Number,
    /// What is searched for makes no sense in its charset.
    Text,
    /// More words are looked for than in one search may be.
    TooMany,
}

/// True for charsets that can be searched in.
#[must_use]
pub fn knows_charset(charset: &str) -> bool {
    use mail_parser::decoders::charsets::map::charset_decoder;
    let charset = charset.to_ascii_lowercase();
    matches!(&*charset, "us-ascii" | "utf-8") || charset_decoder(charset.as_bytes()).is_some()
}

/// True when a key asks for modification sequences: then the answer has the highest (RFC 7162
/// §3.1.5).
#[must_use]
pub fn asks_for_modseq(keys: &[SearchKey<'_>]) -> bool {
    keys.iter().any(|key| match key {
        SearchKey::ModSequence { .. } => true,
        SearchKey::And(keys) => asks_for_modseq(keys.as_ref()),
        SearchKey::Not(key) => asks_for_modseq(std::slice::from_ref(key)),
        SearchKey::Or(one, other) => {
            asks_for_modseq(std::slice::from_ref(one))
                || asks_for_modseq(std::slice::from_ref(other))
        }
        _ => false,
    })
}

/// Makes keys ready.
pub fn ready(keys: &[SearchKey<'_>], scope: &Scope<'_>) -> Result<Key, Unready> {
    let key = all(keys, scope)?;
    if texts(&key) > TEXTS_MAX {
        return Err(Unready::TooMany);
    }
    Ok(key)
}

/// How many words are looked for.
fn texts(key: &Key) -> usize {
    match key {
        Key::And(keys) => keys.iter().map(texts).sum(),
        Key::Or(keys) => keys.iter().map(texts).sum(),
        Key::Not(key) => texts(key),
        key => usize::from(cost(key) > 0),
    }
}

fn all(keys: &[SearchKey<'_>], scope: &Scope<'_>) -> Result<Key, Unready> {
    let keys: Result<Vec<Key>, Unready> = keys.iter().map(|key| one(key, scope)).collect();
    let mut keys = keys?;
    // Cheap ones first: they may decide it alone.
    keys.sort_by_key(cost);
    Ok(Key::And(keys))
}

fn cost(key: &Key) -> u8 {
    match key {
        Key::And(keys) => keys.iter().map(cost).max().unwrap_or(0),
        Key::Or(keys) => keys.iter().map(cost).max().unwrap_or(0),
        Key::Not(key) => cost(key),
        Key::Sent(_) | Key::Subject(_) | Key::People(..) => 1,
        Key::Header(..) => 2,
        Key::Body(_) | Key::Text(_) => 3,
        _ => 0,
    }
}

fn one(key: &SearchKey<'_>, scope: &Scope<'_>) -> Result<Key, Unready> {
    let flag = |flag| Ok(Key::Flag(flag));
    let not = |flag| Ok(Key::Not(Box::new(Key::Flag(flag))));
    let text = |octets: &AString<'_>| needle(octets, scope.charset);
    let day = |date: &NaiveDate| days_of(date);
    Ok(match key {
        SearchKey::And(keys) => return all(keys.as_ref(), scope),
        SearchKey::Or(left, right) => Key::Or(Box::new([one(left, scope)?, one(right, scope)?])),
        SearchKey::Not(key) => Key::Not(Box::new(one(key, scope)?)),
        SearchKey::SequenceSet(set) if super::read::is_saved(set) => {
            Key::Saved(scope.saved.to_vec())
        }
        SearchKey::Uid(set) if super::read::is_saved(set) => Key::Saved(scope.saved.to_vec()),
        SearchKey::SequenceSet(set) => {
            Key::Numbers(scope.view.numbers(set).ok_or(Unready::Number)?)
        }
        SearchKey::Uid(set) => {
            Key::Uids(ranges(set, scope.view.uids().last().copied().unwrap_or(0)))
        }
        SearchKey::All => Key::Constant(true),
        SearchKey::Answered => return flag(SystemFlag::Answered),
        SearchKey::Deleted => return flag(SystemFlag::Deleted),
        SearchKey::Draft => return flag(SystemFlag::Draft),
        SearchKey::Flagged => return flag(SystemFlag::Flagged),
        SearchKey::Seen => return flag(SystemFlag::Seen),
        SearchKey::Unanswered => return not(SystemFlag::Answered),
        SearchKey::Undeleted => return not(SystemFlag::Deleted),
        SearchKey::Undraft => return not(SystemFlag::Draft),
        SearchKey::Unflagged => return not(SystemFlag::Flagged),
        SearchKey::Unseen => return not(SystemFlag::Seen),
        SearchKey::Keyword(word) => keyword(word.as_ref(), scope),
        SearchKey::Unkeyword(word) => Key::Not(Box::new(keyword(word.as_ref(), scope))),
        SearchKey::Recent => Key::Recent,
        SearchKey::Old => Key::Not(Box::new(Key::Recent)),
        SearchKey::New => Key::And(vec![Key::Recent, not(SystemFlag::Seen)?]),
        SearchKey::Larger(octets) => Key::Larger(*octets),
        SearchKey::Smaller(octets) => Key::Smaller(*octets),
        SearchKey::Before(date) => Key::Saw(i64::MIN..=day(date) - 1),
        SearchKey::On(date) => Key::Saw(day(date)..=day(date)),
        SearchKey::Since(date) => Key::Saw(day(date)..=i64::MAX),
        SearchKey::SentBefore(date) => Key::Sent(i64::MIN..=day(date) - 1),
        SearchKey::SentOn(date) => Key::Sent(day(date)..=day(date)),
        SearchKey::SentSince(date) => Key::Sent(day(date)..=i64::MAX),
        SearchKey::Older(seconds) => Key::Within(i64::MIN..=scope.now - i64::from(seconds.get())),
        SearchKey::Younger(seconds) => {
            Key::Within(scope.now - i64::from(seconds.get()) + 1..=i64::MAX)
        }
        SearchKey::ModSequence { modseq, .. } => Key::ModSeq(*modseq),
        SearchKey::Subject(words) => Key::Subject(text(words)?),
        SearchKey::From(words) => Key::People(FROM, text(words)?),
        SearchKey::To(words) => Key::People(TO, text(words)?),
        SearchKey::Cc(words) => Key::People(CC, text(words)?),
        SearchKey::Bcc(words) => Key::People(BCC, text(words)?),
        SearchKey::Header(name, words) => Key::Header(
            String::from_utf8_lossy(name.as_ref()).into_owned(),
            text(words)?,
        ),
        SearchKey::Body(words) => Key::Body(text(words)?),
        SearchKey::Text(words) => Key::Text(text(words)?),
    })
}

fn keyword(word: &str, scope: &Scope<'_>) -> Key {
    let mut known = scope.keywords.iter();
    match known.position(|known| known.eq_ignore_ascii_case(word)) {
        Some(at) if at < 64 => Key::Keyword(1 << at),
        _ => Key::Constant(false),
    }
}

fn needle(words: &AString<'_>, charset: &str) -> Result<String, Unready> {
    let octets = words.as_ref();
    let is_utf8 = charset.is_empty()
        || charset.eq_ignore_ascii_case("utf-8")
        || charset.eq_ignore_ascii_case("us-ascii");
    let text = match str::from_utf8(octets) {
        Ok(text) if is_utf8 => text.to_owned(),
        Err(_) if is_utf8 => return Err(Unready::Text),
        _ => mime::in_utf8(octets, charset),
    };
    Ok(text.to_lowercase())
}

/// Days since 1970.
fn days_of(date: &NaiveDate) -> i64 {
    let midnight = date.as_ref().and_hms_opt(0, 0, 0);
    midnight.map_or(0, |time| time.and_utc().timestamp().div_euclid(DAY_SECONDS))
}

/// What SEARCH compares of a summary; texts in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    sent: Option<Sent>,
    subject: String,
    people: [String; 4],
}

impl Told {
    /// Of this summary.
    #[must_use]
    pub fn by(summary: &Summary) -> Self {
        Self {
            sent: summary.sent,
            subject: summary.subject.to_lowercase(),
            people: summary.people.each_ref().map(|line| line.to_lowercase()),
        }
    }
}

/// What is at hand to decide with.
#[derive(Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// What the summary says.
    pub told: Option<&'a Told>,
    /// What looking through the message has shown.
    pub seen: Option<&'a Seen<'a>>,
}

/// Is this message meant? `None`: not to be said without more evidence.
#[must_use]
pub fn matches(key: &Key, facts: &Facts, evidence: Evidence<'_>) -> Option<bool> {
    let within = |ranges: &[RangeInclusive<u32>], number: u32| {
        let at = ranges.partition_point(|range| *range.end() < number);
        ranges.get(at).is_some_and(|range| range.contains(&number))
    };
    match key {
        Key::Constant(answer) => Some(*answer),
        Key::And(keys) => {
            let mut sure = true;
            for key in keys {
                match matches(key, facts, evidence) {
                    Some(false) => return Some(false),
                    Some(true) => {}
                    None => sure = false,
                }
            }
            sure.then_some(true)
        }
        Key::Or(keys) => {
            let [one, other] = &**keys;
            match (
                matches(one, facts, evidence),
                matches(other, facts, evidence),
            ) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }
        }
        Key::Not(key) => matches(key, facts, evidence).map(|answer| !answer),
        Key::Numbers(ranges) => Some(within(ranges, facts.number)),
        Key::Uids(ranges) => Some(within(ranges, facts.uid)),
        Key::Saved(uids) => Some(uids.binary_search(&facts.uid).is_ok()),
        Key::Flag(flag) => Some(has(facts.flags, *flag)),
        Key::Keyword(bit) => Some(facts.keywords & bit != 0),
        Key::Recent => Some(facts.recent),
        Key::Larger(octets) => Some(facts.size > *octets),
        Key::Smaller(octets) => Some(facts.size < *octets),
        Key::Saw(days) => Some(days.contains(&facts.saved.div_euclid(DAY_SECONDS))),
        Key::Within(seconds) => Some(seconds.contains(&facts.saved)),
        Key::ModSeq(modseq) => Some(facts.modseq >= *modseq),
        Key::Sent(days) => {
            let sent = evidence.told?.sent;
            Some(sent.is_some_and(|sent| days.contains(&sent.day)))
        }
        Key::Subject(words) => Some(evidence.told?.subject.contains(&**words)),
        Key::People(who, words) => {
            let people = evidence.told?.people.get(*who)?;
            Some(people.contains(&**words))
        }
        Key::Header(..) | Key::Body(_) | Key::Text(_) => evidence.seen?.has(key),
    }
}

fn has(flags: Flags, flag: SystemFlag) -> bool {
    match flag {
        SystemFlag::Answered => flags.answered,
        SystemFlag::Flagged => flags.flagged,
        SystemFlag::Deleted => flags.deleted,
        SystemFlag::Seen => flags.seen,
        SystemFlag::Draft => flags.draft,
    }
}

/// Each of them is looked for in all of a text: clients have some dozens.
const TEXTS_MAX: usize = 500;

#[cfg(test)]
mod tests;
