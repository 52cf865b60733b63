//! How far work is that takes long: counted by whoever does it, told by whoever waits for it. A bar on
//! a terminal, a line for each step elsewhere; neither for what is done within a second.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts of pieces of work, shared by all who do it and the one who waits.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    all: AtomicU64,
}

impl Progress {
    /// So many pieces more are to be done.
    pub fn expect(&self, more: usize) {
        self.counts.all.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// One more is done.
    pub fn advance(&self) {
        self.counts.done.fetch_add(1, Ordering::Relaxed);
    }

    /// How far it is.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen {
            done: self.counts.done.load(Ordering::Relaxed),
            all: self.counts.all.load(Ordering::Relaxed),
        }
    }
}

/// How far work was at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Pieces that are done.
    pub done: u64,
    /// Pieces in all, as far as it is known.
    pub all: u64,
}

impl Seen {
    fn parts_of(self, whole: u64) -> u64 {
        self.done.min(self.all) * whole / self.all.max(1)
    }
}

/// Words about one piece of work, a line for each step. Whoever does it has a clock.
pub struct Steps {
    what: Cow<'static, str>,
    /// What it is counted in.
    pieces: &'static str,
    /// The last step that was told.
    told: Option<u64>,
}

impl Steps {
    /// Of work that begins now.
    pub fn new(what: impl Into<Cow<'static, str>>, pieces: &'static str) -> Self {
        Self {
            what: what.into(),
            pieces,
            told: None,
        }
    }

    /// A line, if the work has taken long enough and has come a step further.
    pub fn look(&mut self, elapsed: Duration, seen: Seen) -> Option<String> {
        let step = Some(seen.parts_of(STEPS));
        (is_long(elapsed, seen) && self.told != step).then(|| {
            self.told = step;
            self.words(seen).to_string()
        })
    }

    /// What it says of work that is so far.
    #[must_use]
    pub fn words(&self, seen: Seen) -> impl fmt::Display {
        let Seen { done, all } = seen;
        let (what, pieces, percent) = (&self.what, self.pieces, seen.parts_of(100));
        fmt::from_fn(move |f| write!(f, "{what}: {percent} %, {done} of {all} {pieces}"))
    }
}

/// Tells of one piece of work, on standard error. Dropped, it takes its bar away.
pub struct Meter {
    steps: Steps,
    began: Instant,
    is_terminal: bool,
    is_drawn: bool,
}

impl Meter {
    /// Of work that begins now.
    #[must_use]
    pub fn new(what: &'static str, pieces: &'static str) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        Self {
            steps: Steps::new(what, pieces),
            began: Instant::now(),
            is_terminal: io::stderr().is_terminal() && !is_dumb,
            is_drawn: false,
        }
    }

    /// Draws the bar anew; a line to be told where there is no terminal and the work has come a step
    /// further.
    pub fn look(&mut self, seen: Seen) -> Option<String> {
        self.look_after(self.began.elapsed(), seen)
    }

    fn look_after(&mut self, elapsed: Duration, seen: Seen) -> Option<String> {
        if !self.is_terminal {
            return self.steps.look(elapsed, seen);
        }
        if is_long(elapsed, seen) {
            self.is_drawn = true;
            // A terminal that is gone needs no bar.
            let _ = write!(
                io::stderr(),
                "\r{}\x1b[K",
                bar(&self.words(seen).to_string(), seen)
            );
        }
        None
    }

    /// What it says of work that is so far.
    #[must_use]
    pub fn words(&self, seen: Seen) -> impl fmt::Display {
        self.steps.words(seen)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Work that is done within a second is not told of, nor is work of unknown size.
fn is_long(elapsed: Duration, seen: Seen) -> bool {
    elapsed >= QUIET && seen.all > 0
}

fn bar(words: &str, seen: Seen) -> String {
    let full = usize::try_from(seen.parts_of(COLUMNS)).unwrap_or_default();
    let rest = usize::try_from(COLUMNS).unwrap_or_default() - full;
    format!("[{}{}] {words}", "#".repeat(full), "-".repeat(rest))
}

/// Work that is done sooner is not told of.
const QUIET: Duration = Duration::from_secs(1);
/// Lines in all, where there is no terminal.
const STEPS: u64 = 10;
const COLUMNS: u64 = 24;
/// How often whoever waits should look.
pub const LOOK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(is_terminal: bool) -> Meter {
        let mut meter = Meter::new("reading the spool", "segments");
        meter.is_terminal = is_terminal;
        meter
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_step() {
        let (progress, mut meter) = (Progress::default(), meter(false));
        progress.expect(40);
        progress.expect(10);
        let mut lines = Vec::new();
        for _ in 0..50 {
            lines.extend(meter.look_after(QUIET, progress.seen()));
            lines.extend(meter.look_after(QUIET, progress.seen()));
            progress.advance();
        }
        lines.extend(meter.look_after(QUIET, progress.seen()));
        assert_eq!(lines.len(), 11, "{lines:?}");
        assert_eq!(lines[0], "reading the spool: 0 %, 0 of 50 segments");
        assert_eq!(lines[3], "reading the spool: 30 %, 15 of 50 segments");
        assert_eq!(lines[10], "reading the spool: 100 %, 50 of 50 segments");
    }

    #[test]
    fn a_terminal_gets_a_bar_and_no_lines() {
        let mut meter = meter(true);
        let seen = Seen { done: 6, all: 8 };
        assert_eq!(meter.look_after(QUIET, seen), None);
        assert!(meter.is_drawn);
        let words = meter.words(seen).to_string();
        assert_eq!(
            bar(&words, seen),
            "[##################------] reading the spool: 75 %, 6 of 8 segments"
        );
    }

    #[test]
    fn short_work_and_work_of_unknown_size_are_not_told_of() {
        for is_terminal in [false, true] {
            let mut meter = meter(is_terminal);
            let seen = Seen { done: 1, all: 2 };
            assert_eq!(meter.look_after(QUIET / 2, seen), None);
            assert_eq!(meter.look_after(QUIET, Progress::default().seen()), None);
            assert!(!meter.is_drawn);
        }
        // More than was expected is all of it.
        let over = Seen { done: 9, all: 3 };
        assert_eq!(over.parts_of(100), 100);
    }
}
