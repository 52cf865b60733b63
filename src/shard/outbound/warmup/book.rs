//! What the disk knows of warm-ups: for each line of a source's plan, and each of the last days, how
//! much was sent, or set aside to be sent. A file of JSON, written anew as a whole: it is small, and
//! changes when another block of a day is set aside.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::route::warmup::{Day, LIMIT_MAX};

/// The counts, by the names of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    counts: BTreeMap<Box<str>, BTreeMap<Day, u32>>,
    /// A day of which nothing is known, because the file could not be read.
    lost: Option<Day>,
}

#[derive(Serialize, Deserialize)]
struct File {
    used: BTreeMap<String, BTreeMap<Dated, u32>>,
}

/// A day as the file has it: `2026-11-26`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Dated(Day);

impl TryFrom<String> for Dated {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse::<Date>().map(|date| Self(date.into()))
    }
}

impl From<Dated> for String {
    fn from(Dated(day): Dated) -> Self {
        day.to_string()
    }
}

impl Book {
    /// Reads a file.
    pub(super) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let file: File = serde_json::from_slice(text)?;
        let days = |days: BTreeMap<Dated, u32>| {
            let days = days.into_iter();
            days.map(|(Dated(day), used)| (day, used)).collect()
        };
        let counts = file.used.into_iter();
        Ok(Self {
            counts: counts.map(|(key, used)| (key.into(), days(used))).collect(),
            lost: None,
        })
    }

    /// What stands in for a file that cannot be read: of today nobody knows anything.
    pub(super) fn lost(today: Day) -> Self {
        Self {
            counts: BTreeMap::new(),
            lost: Some(today),
        }
    }

    /// The file.
    pub(super) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let days = |days: &BTreeMap<Day, u32>| {
            let days = days.iter();
            days.map(|(day, used)| (Dated(*day), *used)).collect()
        };
        let used = self.counts.iter();
        let file = File {
            used: used
                .map(|(key, used)| (key.to_string(), days(used)))
                .collect(),
        };
        serde_json::to_vec_pretty(&file)
    }

    /// What a day has used of `limit`. All of it, of a day that is older than those that are known: the
    /// clock has gone back, and nobody gets a day twice.
    pub(super) fn used(&self, key: &str, day: Day, limit: u32) -> u32 {
        let Some(days) = self.counts.get(key) else {
            return if self.lost == Some(day) { limit } else { 0 };
        };
        let is_old = days.len() >= DAYS_MAX && days.keys().next() > Some(&day);
        let unknown = if is_old || self.lost == Some(day) {
            limit
        } else {
            0
        };
        // More than a count can hold is what somebody has written there.
        days.get(&day).copied().unwrap_or(unknown).min(LIMIT_MAX)
    }

    /// A day has used so much, or is about to. True where that is news.
    pub(super) fn note(&mut self, key: &str, day: Day, used: u32) -> bool {
        if !self.counts.contains_key(key) {
            self.counts.insert(key.into(), BTreeMap::new());
        }
        let Some(days) = self.counts.get_mut(key) else {
            return false;
        };
        let is_news = days.insert(day, used) != Some(used);
        while days.len() > DAYS_MAX {
            days.pop_first();
        }
        is_news
    }

    /// Forgets lines whose last day is long ago.
    pub(super) fn forget(&mut self, today: Day) {
        let is_recent = |day: &Day| day.0.saturating_add(FORGOTTEN_AFTER) >= today.0;
        self.counts
            .retain(|_, days| days.keys().next_back().is_some_and(is_recent));
    }
}

/// Days of a line that are known.
const DAYS_MAX: usize = 40;
/// Days after which a line is forgotten that nobody uses any more.
const FORGOTTEN_AFTER: u16 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_read_as_it_was_written() {
        let mut book = Book::default();
        assert!(book.note("out-1 all", Day(20_783), 48));
        assert!(!book.note("out-1 all", Day(20_783), 48));
        book.note("out-1 mx *.b.test", Day(20_782), 7);
        let text = book.render().unwrap();
        let words = String::from_utf8(text.clone()).unwrap();
        assert!(words.contains("\"2026-11-26\": 48"), "{words}");
        assert_eq!(Book::parse(&text).unwrap(), book);
        assert!(Book::parse(b"{\"used\":{\"a\":{\"x\":1}}}").is_err());
    }

    #[test]
    fn no_day_is_given_twice_by_a_clock_that_goes_back() {
        let mut book = Book::default();
        for day in 100..130 {
            book.note("a", Day(day), 5);
        }
        let used = |book: &Book, day| book.used("a", Day(day), 9);
        assert_eq!(
            [99, 100, 129, 130].map(|day| used(&book, day)),
            [0, 5, 5, 0]
        );
        for day in 130..150 {
            book.note("a", Day(day), 5);
        }
        assert_eq!(used(&book, 100), 9, "as if it were used up");
        assert_eq!(used(&book, 149), 5);
    }

    #[test]
    fn a_count_that_somebody_wrote_there_wraps_to_nothing_smaller() {
        let book = Book::parse(b"{\"used\":{\"a\":{\"2026-11-26\":16777218}}}").unwrap();
        assert_eq!(book.used("a", Day(20_783), 20), LIMIT_MAX);
    }

    #[test]
    fn of_a_day_whose_book_is_lost_nothing_is_left() {
        let mut book = Book::lost(Day(7));
        assert_eq!(book.used("a", Day(7), 50), 50);
        book.note("a", Day(7), 50);
        assert_eq!(
            (book.used("a", Day(7), 60), book.used("a", Day(8), 60)),
            (50, 0)
        );
    }

    #[test]
    fn a_line_that_nobody_uses_is_forgotten_after_a_year() {
        let mut book = Book::default();
        book.note("a", Day(100), 5);
        book.forget(Day(500));
        assert_eq!(book.used("a", Day(100), 9), 5);
        book.forget(Day(501));
        assert_eq!(book, Book::default());
    }
}
