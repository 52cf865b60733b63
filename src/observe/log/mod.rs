//! The log: one thread writes, shards never wait for it.
//!
//! A shard's handle gathers lines in a buffer of its own and passes it on when it is large, when
//! something is wrong, or when the shard has a moment. When the writer cannot keep up, lines are
//! lost and counted: a slow terminal must not hold up mail.
//!
//! Deliveries are written in the shape that tools for Postfix's log read, or as JSON objects.

mod line;
mod seats;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::bounces::Class;
use crate::mail::envelope::QueueId;
use crate::mail::outcome::ReportKind;
use crate::time::Wall;
use crate::wire::status::EnhancedStatus;
use crate::world::Seat;
use line::Lines;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As Postfix writes to syslog.
    #[default]
    Text,
    /// One JSON object for each line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    /// Reads the name that the configuration has for it.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// How much is said. Each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed and somebody should see to it.
    Error,
    /// Something is not as it should be; work goes on.
    Warn,
    /// Every message and every attempt.
    #[default]
    Info,
    /// What helps to find a defect.
    Debug,
}

impl Level {
    /// Its name in the configuration and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or(())
    }
}

/// How one attempt ended for one recipient.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The message.
    pub id: QueueId,
    /// The recipient.
    pub to: &'a str,
    /// `ORCPT=`, where it was given and says something else (RFC 3461 §4.2).
    pub orcpt: Option<&'a str>,
    /// The host that had the last word: `mx.test[192.0.2.1]:25`.
    pub relay: Option<&'a str>,
    /// The source that it left from.
    pub source: Option<&'a str>,
    /// What was wanted of TLS, and what came of it.
    pub tls: Option<&'a dyn fmt::Display>,
    /// Since the message was accepted.
    pub delay: Duration,
    /// Before the queue took it, in the queue, setting up the connection, transferring.
    pub delays: [Duration; 4],
    /// RFC 3463.
    pub dsn: EnhancedStatus,
    /// Whose message it is.
    pub tenant: Option<&'a str>,
    /// What a refusal means.
    pub class: Option<Class>,
    /// `sent`, `deferred`, `bounced` or `expired`.
    pub status: &'static str,
    /// The reply, or what went wrong.
    pub text: &'a str,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// Its name from now on.
    pub id: QueueId,
    /// Who gave it; `None` for a report of our own.
    pub client: Option<IpAddr>,
    /// What the client called itself.
    pub hello: &'a str,
    /// The reverse path, empty for a report.
    pub from: &'a str,
    /// Octets.
    pub size: u64,
    /// Recipients.
    pub recipients: usize,
    /// Its Message-ID field.
    pub message_id: Option<&'a str>,
}

/// The writer's thread. Dropping it writes what handles have passed on.
pub struct Journal {
    sink: Sink,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// What every handle knows: the way to the writer, and how it wants its lines.
#[derive(Clone)]
struct Sink {
    format: Format,
    level: Level,
    host: Arc<str>,
    post: Sender<Parcel>,
    /// Buffers that were written, to be filled again.
    spent: Receiver<Vec<u8>>,
    /// Lines that all handles lost.
    dropped: Arc<AtomicU64>,
}

impl Sink {
    /// A handle with an empty buffer.
    fn handle(&self) -> Log {
        Log {
            sink: self.clone(),
            lost: Cell::new(0),
            lines: self.lines(),
        }
    }

    fn lines(&self) -> RefCell<Lines> {
        RefCell::new(Lines::new(self.format, &self.host))
    }
}

enum Parcel {
    /// Whole lines.
    Lines(Vec<u8>),
    /// Write what is there and stop.
    End,
}

impl Journal {
    /// Starts the thread; it writes to standard error.
    pub fn start(format: Format, level: Level) -> io::Result<Self> {
        Self::writing_to(Box::new(io::stderr()), format, level)
    }

    /// Starts the thread; it writes to `output`.
    pub fn writing_to(
        output: Box<dyn Write + Send>,
        format: Format,
        level: Level,
    ) -> io::Result<Self> {
        let (post, parcels) = bounded(PARCELS_MAX);
        let (give_back, spent) = bounded(PARCELS_MAX);
        let (living, ended) = bounded(0);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || {
                write_parcels(output, &parcels, &give_back, &lost);
                drop(living);
            })?;
        let name = rustix::system::uname();
        let host = name.nodename().to_string_lossy().into();
        Ok(Self {
            sink: Sink {
                format,
                level,
                host,
                post,
                spent,
                dropped,
            },
            ended,
            thread: Some(thread),
        })
    }

    /// A handle for one shard or thread.
    #[must_use]
    pub fn handle(&self) -> Log {
        self.sink.handle()
    }

    /// Says something from any thread, whatever state it is in.
    pub fn teller(&self) -> impl Fn(Level, fmt::Arguments<'_>) + Send + Sync + use<> {
        let sink = self.sink.clone();
        move |level, words| sink.handle().say(level, words)
    }

    /// Lines that were lost because the writer was slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sink.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let asked = self.sink.post.send_timeout(Parcel::End, END_WAIT).is_ok();
        // The writer never sends: what comes is the news that it is gone. One that hangs on a
        // full pipe is left behind, so that the process can end.
        let _ = self.ended.recv_timeout(END_WAIT);
        if let Some(thread) = self.thread.take()
            && asked
            && thread.is_finished()
        {
            let _ = thread.join();
        }
    }
}

/// One shard's end of the log.
pub struct Log {
    sink: Sink,
    /// Lines that this handle lost.
    lost: Cell<u64>,
    lines: RefCell<Lines>,
}

impl Clone for Log {
    /// A handle with an empty buffer.
    fn clone(&self) -> Self {
        self.sink.handle()
    }
}

impl Log {
    /// Whether lines of this level are written: asked before words are put together.
    #[must_use]
    pub fn says(&self, level: Level) -> bool {
        level <= self.sink.level
    }

    /// One recipient's attempt.
    pub fn delivery(&self, delivery: &Delivery<'_>) {
        self.write(Level::Info, |lines, now| lines.delivery(now, delivery));
    }

    /// A message was taken: who gave it, its Message-ID, sender and size.
    pub fn accepted(&self, accepted: &Accepted<'_>) {
        self.write(Level::Info, |lines, now| lines.accepted(now, accepted));
    }

    /// Every recipient of a message is settled.
    pub fn removed(&self, id: QueueId) {
        self.write(Level::Info, |lines, now| lines.removed(now, id));
    }

    /// A report about `id` went into the queue as `report`.
    pub fn reported(&self, id: QueueId, report: QueueId, kind: ReportKind) {
        self.write(Level::Info, |lines, now| {
            lines.reported(now, id, report, kind);
        });
    }

    /// Which shard runs on which core.
    pub fn shards(&self, seats: &[Option<Seat>]) {
        self.write(Level::Info, |lines, now| lines.shards(now, seats));
    }

    /// Says something in plain words. Errors and warnings are passed on at once.
    pub fn say(&self, level: Level, words: fmt::Arguments<'_>) {
        self.write(level, |lines, now| lines.say(now, level, words));
        if level <= Level::Warn {
            self.flush();
        }
    }

    /// Passes on what has gathered. To be called by the shard whenever it is idle, and from time
    /// to time when it is not.
    pub fn flush(&self) {
        let lines = &mut *self.lines.borrow_mut();
        if lines.buffer.is_empty() {
            return;
        }
        let fresh = self
            .sink
            .spent
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BUFFER_OCTETS));
        let full = std::mem::replace(&mut lines.buffer, fresh);
        let count = std::mem::take(&mut lines.count);
        if let Err(refused) = self.sink.post.try_send(Parcel::Lines(full)) {
            self.lost.set(self.lost.get() + count);
            self.sink.dropped.fetch_add(count, Ordering::Relaxed);
            if let Parcel::Lines(mut buffer) = refused.into_inner() {
                buffer.clear();
                lines.buffer = buffer;
            }
        }
    }

    /// Lines that this handle lost because the writer was slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lost.get()
    }

    fn write(&self, level: Level, line: impl FnOnce(&mut Lines, Wall)) {
        if !self.says(level) {
            return;
        }
        let full = {
            let lines = &mut *self.lines.borrow_mut();
            line(lines, now());
            lines.buffer.len() >= BUFFER_OCTETS - LINE_OCTETS_USUAL
        };
        if full {
            self.flush();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The calendar's time, for threads that are no shard's.
pub(crate) fn now() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn write_parcels(
    mut output: Box<dyn Write + Send>,
    parcels: &Receiver<Parcel>,
    give_back: &Sender<Vec<u8>>,
    lost: &AtomicU64,
) {
    let mut told = 0;
    while let Ok(Parcel::Lines(mut lines)) = parcels.recv() {
        // Nobody is left to tell when the log itself cannot be written.
        let _ = output.write_all(&lines);
        let now_lost = lost.load(Ordering::Relaxed);
        if now_lost > told {
            let more = now_lost - told;
            let _ = writeln!(output, "ringpost: warning: {more} log lines were lost here");
            told = now_lost;
        }
        let _ = output.flush();
        lines.clear();
        if lines.capacity() <= 2 * BUFFER_OCTETS {
            let _ = give_back.try_send(lines);
        }
    }
}

/// A buffer's size: some eight deliveries for each hand-over.
const BUFFER_OCTETS: usize = 8 * 1024;

/// What a line usually needs: a buffer with less room than this is passed on.
const LINE_OCTETS_USUAL: usize = 1024;

/// Buffers on their way to the writer, 8 MiB at most: a second or so of a slow disk at full load.
const PARCELS_MAX: usize = 1024;

/// How long an ending process waits for its log.
const END_WAIT: Duration = Duration::from_secs(1);
