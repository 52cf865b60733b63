//! What is learned of peers, as it is kept over a restart.

use std::time::Duration;

use super::learned::{Crowd, Learned, PEACE};
use super::{Change, Pacer, WHY_MAX};
use crate::time::Tick;

/// What is learned of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// Whose.
    pub name: Box<str>,
    /// From one message to the next; and what it took when it said that this was too fast.
    pub pace: Option<(Duration, Duration)>,
    /// Connections that it takes.
    pub connections: Option<u32>,
    /// What it said last.
    pub why: Box<str>,
    /// How long ago it first complained.
    pub since: Duration,
    /// How long ago it last did.
    pub strained: Duration,
}

impl Pacer {
    /// Everything that is learned, so many at most: of those that have complained last.
    #[must_use]
    pub fn lessons(&self, now: Tick, most: usize) -> Vec<Lesson> {
        let lessons = self.paces.values().filter_map(|pace| {
            let facts = pace.facts(now);
            Some(Lesson {
                name: facts.name,
                pace: pace.learned.as_ref().map(Learned::pace),
                connections: facts.connections,
                why: facts.why?,
                since: now.since(facts.since?),
                strained: now.since(facts.strained?),
            })
        });
        let mut lessons: Vec<Lesson> = lessons.collect();
        lessons.sort_by(|a, b| (a.strained, &a.name).cmp(&(b.strained, &b.name)));
        lessons.truncate(most);
        lessons
    }

    /// Takes up what was learned before a restart, where it would not be forgotten by now and nothing
    /// newer is known; what follows from it.
    pub fn recall(&mut self, now: Tick, destination: u64, lesson: &Lesson) -> Vec<Change> {
        let mut changes = Vec::new();
        if lesson.strained >= PEACE {
            return changes;
        }
        let (since, strained) = (now - lesson.since, now - lesson.strained);
        let why = &lesson.why[..lesson.why.floor_char_boundary(WHY_MAX)];
        let pace = self.pace(now, destination, &lesson.name);
        if let (Some(known), None) = (lesson.pace, &pace.learned) {
            pace.learned = Some(Learned::recalled(now, known, (since, strained), why));
            changes.push(Change::Slowed(destination));
        }
        if let (Some(most), None) = (lesson.connections, &pace.crowd) {
            pace.crowd = Some(Crowd::recalled(now, most, (since, strained), why));
            changes.push(Change::Crowd(destination));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Of, Strain};
    use super::*;

    const HERE: u64 = 7;
    const MINUTE: Duration = Duration::from_secs(60);

    fn strain(of: Of) -> Strain<'static> {
        Strain {
            of,
            taken: 100,
            span: Some(MINUTE),
            open: 5,
            why: "421 4.7.28 too fast",
        }
    }

    #[test]
    fn what_is_recalled_is_what_was_learned_and_goes_on_from_there() {
        let (mut before, began) = (Pacer::default(), Tick(0) + MINUTE);
        before.strained(began, HERE, "d.test", strain(Of::Rate));
        before.strained(began, HERE, "d.test", strain(Of::Connections));
        let lessons = before.lessons(began + MINUTE, 9);
        assert_eq!(lessons.len(), 1);
        assert_eq!(before.lessons(began, 0), []);
        let (mut after, now) = (Pacer::default(), Tick(5_000_000));
        let changes = after.recall(now, HERE, &lessons[0]);
        assert_eq!(changes, [Change::Slowed(HERE), Change::Crowd(HERE)]);
        let known = [&before, &after].map(|pacer| {
            let at = if std::ptr::eq(pacer, &before) {
                began + MINUTE
            } else {
                now
            };
            let facts = pacer.facts(at, HERE).unwrap();
            (
                facts.interval,
                facts.connections,
                facts.why,
                facts.strained.map(|then| at.since(then)),
            )
        });
        assert_eq!(known[0], known[1]);
        assert!(after.recall(now, HERE, &lessons[0]).is_empty(), "twice");
        let changes = after.look(now + MINUTE * 58);
        assert!(!changes.contains(&Change::Freed(HERE)));
        let changes = after.look(now + MINUTE * 60);
        assert!(changes.contains(&Change::Freed(HERE)), "{changes:?}");
    }

    #[test]
    fn what_was_learned_long_ago_is_not_believed() {
        let mut pacer = Pacer::default();
        let old = Lesson {
            name: "d.test".into(),
            pace: Some((MINUTE, MINUTE)),
            connections: None,
            why: "421".into(),
            since: PEACE * 2,
            strained: PEACE,
        };
        assert!(pacer.recall(Tick(0), HERE, &old).is_empty());
        assert_eq!(pacer.facts(Tick(0), HERE), None);
    }
}
