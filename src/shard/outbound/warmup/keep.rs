//! The first shard keeps the book: it sets aside what is asked for, on the disk before anybody may
//! use it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use super::Warmups;
use super::book::Book;
use super::count::{Count, State, block};
use crate::route::warmup::{Day, Line};
use crate::shard::Shard;
use crate::trial::{self, Bug};
use crate::world::{self, World};

/// What is to be told when the book is written: the lines, and what they may use.
type Grants = Vec<(Rc<str>, Arc<Count>, State)>;

impl Warmups {
    /// Waits until somebody asks.
    async fn asked(&self) {
        let inner = &self.inner;
        poll_fn(|cx| {
            inner.keeper.register(cx.waker());
            match inner.is_asked.swap(false, Ordering::AcqRel) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The count of a line, which is made where there is none.
    fn count_of(&self, line: &Line) -> Arc<Count> {
        if let Some(count) = self.count(line) {
            return count;
        }
        let count: Arc<Count> = Arc::default();
        let mut counts = HashMap::clone(&self.inner.counts.load());
        counts.insert((&*line.key).into(), Arc::clone(&count));
        self.inner.counts.store(Arc::new(counts));
        count
    }

    /// Nothing more is set aside, and what was used goes to the disk.
    fn end(&self) {
        self.inner.ends.store(true, Ordering::Release);
        self.ask(None, 0);
    }
}

impl<W: World> Shard<W> {
    /// Keeps the book, to the end of the shard.
    pub(in crate::shard) async fn keep_warmups(self: Rc<Self>) {
        let inner = &self.warmups.inner;
        self.ask_for_warmups();
        // Until there is a plan, there is no book.
        self.warmups.asked().await;
        let mut book = self.read_book().await;
        self.warmups.ask(None, 0);
        let mut is_news = false;
        loop {
            self.warmups.asked().await;
            let ends = inner.ends.load(Ordering::Acquire);
            let before = book.clone();
            let grants = match ends {
                true => {
                    is_news |= self.close_counts(&mut book);
                    Grants::new()
                }
                false => self.set_aside(&mut book, &mut is_news),
            };
            let is_synced = !trial::has(Bug::WarmupNotSynced);
            if is_news
                && is_synced
                && let Err(error) = self.write_book(&book).await
            {
                self.warn(format_args!(
                    "{}: {error}: sources with a warm-up wait until it is on the disk",
                    self.book_path().display()
                ));
                // What nobody got was not used: of a day that begins, the next look would take it for that.
                book = before;
                for (_, count, state) in grants {
                    count.want(state.reserved.saturating_sub(state.used));
                }
                self.world.sleep(self.world.now() + WRITE_PAUSE).await;
                self.warmups.ask(None, 0);
                continue;
            }
            is_news = false;
            for (key, count, state) in grants {
                // What was set aside of the day before and not used is known to the next writing.
                if let Some(before) = count.reserve(state)
                    && before != State::default()
                {
                    book.note(&key, before.day, before.used);
                }
            }
            if ends {
                inner.is_closed.store(true, Ordering::Release);
                return;
            }
        }
    }

    /// Wants the counts of today, where a source has a plan.
    pub(in crate::shard) fn ask_for_warmups(&self) {
        let settings = self.settings();
        if settings.pools.warmed().next().is_some() {
            self.warmups.ask(None, 0);
        }
    }

    /// Sees that the day has changed, by time or by the clock: mail that waits for another day looks anew.
    pub(in crate::shard) fn look_at_calendar(&self) {
        let today = Day::of(self.world.wall());
        if self.sources.is_new_day(today) {
            self.ask_for_warmups();
            let now = self.world.now();
            self.queue.borrow_mut().rouse_resting(now);
            self.bell.set(now);
        }
    }

    /// Writes down exactly what was used, before the shard ends.
    pub(in crate::shard) async fn close_warmups(&self) {
        let inner = &self.warmups.inner;
        if self.mesh.here() != KEEPER || inner.counts.load().is_empty() {
            return;
        }
        let until = self.world.now() + CLOSE_WAIT;
        self.warmups.end();
        while !inner.is_closed.load(Ordering::Acquire) && self.world.now() < until {
            self.world.sleep(self.world.now() + CLOSE_LOOK).await;
        }
    }

    /// What is to be set aside of today.
    fn set_aside(&self, book: &mut Book, is_news: &mut bool) -> Grants {
        let (settings, today) = (self.settings(), Day::of(self.world.wall()));
        let mut grants = Grants::new();
        book.forget(today);
        let lines = settings.pools.warmed().flat_map(|(_, plan)| {
            let lines = plan.lines.iter();
            lines.map(move |line| (plan, line))
        });
        for (plan, line) in lines {
            let Some(limit) = plan.limit(line, today) else {
                continue;
            };
            let count = self.warmups.count_of(line);
            let (before, wanted) = (count.state(), count.wanted());
            let state = if before.day == today {
                before
            } else {
                let used = match trial::has(Bug::WarmupForgotten) {
                    true => 0,
                    false => book.used(&line.key, today, limit),
                };
                State {
                    day: today,
                    used,
                    reserved: used,
                }
            };
            let aside = match wanted {
                0 => 0,
                wanted => wanted.max(block(limit)),
            };
            let most = state.used.saturating_add(aside).min(limit);
            let reserved = state.reserved.max(most);
            if state == before && reserved == state.reserved {
                continue;
            }
            if reserved > 0 {
                *is_news |= book.note(&line.key, today, reserved);
            }
            grants.push((Rc::clone(&line.key), count, State { reserved, ..state }));
        }
        grants
    }

    fn close_counts(&self, book: &mut Book) -> bool {
        let mut is_news = false;
        let counts = self.warmups.inner.counts.load();
        for (key, count) in counts.iter() {
            let closed = count.close();
            if closed != State::default() {
                is_news |= book.note(key, closed.day, closed.used);
            }
        }
        is_news
    }

    async fn read_book(&self) -> Book {
        loop {
            let place = self.book_path();
            let place = place.display();
            match world::read_small(&self.world, &self.book_path(), usize::MAX).await {
                Ok(text) => match Book::parse(&text) {
                    Ok(book) => return book,
                    Err(error) => {
                        self.warn(format_args!(
                            "{place}: {error}: nobody knows what went from sources with a warm-up; \
                             today nothing more does"
                        ));
                        return Book::lost(Day::of(self.world.wall()));
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Book::default(),
                Err(error) => {
                    self.warn(format_args!("{place}: {error}"));
                    self.world.sleep(self.world.now() + WRITE_PAUSE).await;
                }
            }
        }
    }

    async fn write_book(&self, book: &Book) -> io::Result<()> {
        world::replace(&self.world, &self.book_path(), book.render()?).await
    }

    fn book_path(&self) -> PathBuf {
        self.settings().config.data_dir.join(BOOK)
    }
}

/// The shard that keeps the book.
pub(in crate::shard) const KEEPER: usize = 0;
const BOOK: &str = "warmup.json";
/// How long nothing is written after the disk has failed.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the relay waits for the last count.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_LOOK: Duration = Duration::from_millis(5);
