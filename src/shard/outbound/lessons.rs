//! What is learned of peers, kept over a restart: each shard writes what is at home there, now and then
//! and at its end, and at its start reads what all have written, because a home moves with the number of
//! shards. Nothing waits for the disk: what a crash loses is learned anew.
//!
//! With it goes from where mail was greylisted that waits, so that it comes again from there.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::pace::Lesson;
use crate::shard::Shard;
use crate::world::{self, File as _, Tick, World};

/// The file of a shard.
#[derive(Serialize, Deserialize)]
struct Page {
    /// When it was written, in seconds since 1970.
    at: i64,
    lessons: Vec<Kept>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    greylisted: Vec<Grey>,
}

/// A message that was greylisted, by hosts of a lane.
#[derive(Serialize, Deserialize)]
struct Grey {
    id: String,
    lane: Box<str>,
    source: Box<str>,
    /// For how many seconds that is remembered.
    left: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    destination: Box<str>,
    /// From one message to the next, and when that was too fast, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
    reason: Box<str>,
    /// Seconds since it first complained.
    since: u64,
    /// Seconds since it last did.
    complained: u64,
}

impl From<Lesson> for Kept {
    fn from(lesson: Lesson) -> Self {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self {
            destination: lesson.name,
            interval: lesson.pace.map(|(now, then)| (micros(now), micros(then))),
            connections: lesson.connections,
            reason: lesson.why,
            since: lesson.since.as_secs(),
            complained: lesson.strained.as_secs(),
        }
    }
}

impl Kept {
    /// The lesson, when the file is of so long ago.
    fn lesson(self, age: Duration) -> Lesson {
        let interval = self.interval;
        let seconds = |seconds| age.saturating_add(Duration::from_secs(seconds));
        Lesson {
            name: self.destination,
            pace: interval
                .map(|(now, then)| (Duration::from_micros(now), Duration::from_micros(then))),
            connections: self.connections,
            why: self.reason,
            since: seconds(self.since),
            strained: seconds(self.complained),
        }
    }
}

impl<W: World> Shard<W> {
    /// Takes up what was learned before a restart.
    pub(in crate::shard) async fn recall_lessons(&self) {
        let Ok(names) = self.world.files(&self.lessons_place()).await else {
            return;
        };
        for name in names {
            // What cannot be read is learned anew.
            let Ok(page) = self.read_lessons(&name).await else {
                continue;
            };
            let age = self.world.wall().seconds().checked_sub(page.at);
            // Written tomorrow: the clock has gone back, and nobody knows how old it is.
            let Some(age) = age.and_then(|age| u64::try_from(age).ok()) else {
                continue;
            };
            let now = self.world.now();
            let age = Duration::from_secs(age);
            for kept in page.lessons {
                self.paces.recall(now, &kept.lesson(age));
            }
            for grey in page.greylisted {
                self.recall_greylisted(now, grey, age);
            }
        }
    }

    /// Takes up from where a message was greylisted, if it waits here.
    fn recall_greylisted(&self, now: Tick, grey: Grey, age: Duration) {
        let left = Duration::from_secs(grey.left).checked_sub(age);
        let (Some(left), Ok(id)) = (left, grey.id.parse()) else {
            return;
        };
        if self.queue.borrow().find(id).is_some() {
            let key = (id, Rc::from(grey.lane));
            let known = (Rc::from(grey.source), now + left);
            self.sources.recall_greylisted(now, key, known);
        }
    }

    /// Writes down what is learned, now and then.
    pub(in crate::shard) async fn keep_lessons(self: Rc<Self>) {
        while !self.couriers.is_closed() {
            self.world.sleep(self.world.now() + KEEP_PERIOD).await;
            self.write_lessons().await;
        }
    }

    /// Writes down what is learned, if anything is.
    pub(in crate::shard) async fn write_lessons(&self) {
        let now = self.world.now();
        let lessons = self.paces.lessons(now, LESSONS_MAX);
        let page = Page {
            at: self.world.wall().seconds(),
            lessons: lessons.into_iter().map(Into::into).collect(),
            greylisted: self.greylisted(now),
        };
        let file = self
            .lessons_place()
            .join(format!("{:02}.json", self.mesh.here()));
        let done = match page.lessons.is_empty() && page.greylisted.is_empty() {
            // There may have been something before.
            true => self.world.remove(&file).await,
            false => self.write_page(&file, &page).await,
        };
        if let Err(error) = done
            && error.kind() != io::ErrorKind::NotFound
        {
            self.warn(format_args!("{}: {error}", file.display()));
        }
    }

    fn greylisted(&self, now: Tick) -> Vec<Grey> {
        let known = self.sources.all_greylisted(now, GREYLISTED_MAX);
        let known = known.into_iter().map(|((id, lane), (source, until))| Grey {
            id: id.to_string(),
            lane: (&*lane).into(),
            source: (&*source).into(),
            left: until.since(now).as_secs(),
        });
        known.collect()
    }

    /// Not synced, as nothing here hangs on it: the disk belongs to mail, and half a page is taken for none.
    async fn write_page(&self, file: &Path, page: &Page) -> io::Result<()> {
        let draft = file.with_extension("new");
        self.world.make_directory(&self.lessons_place()).await?;
        let open = self.world.open(&draft, true).await?;
        open.set_len(0).await?;
        open.write_at(serde_json::to_vec(page)?, 0).await?;
        self.world.rename(&draft, file).await
    }

    async fn read_lessons(&self, name: &Path) -> io::Result<Page> {
        let path = self.lessons_place().join(name);
        let text = world::read_small(&self.world, &path, PAGE_OCTETS_MAX).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    fn lessons_place(&self) -> PathBuf {
        self.settings().config.data_dir.join("paces")
    }
}

/// How often what is learned is written down: rates change by the half minute, and a crash may cost some
/// of that.
const KEEP_PERIOD: Duration = Duration::from_secs(5 * 60);
/// Peers of which a shard keeps something; some 200 octets each.
const LESSONS_MAX: usize = 1000;
/// Messages of which it is kept from where they were greylisted; some 100 octets each. Others go from
/// whoever's turn it is.
const GREYLISTED_MAX: usize = 4096;
/// A file that is longer was not written here.
const PAGE_OCTETS_MAX: usize = 4 << 20;
