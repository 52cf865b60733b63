//! Reports about TLS to the domains that want them (RFC 8460): sessions are counted by day, kept on
//! disk, and told when the day is over.
//!
//! ```text
//!  shard ─► session ─► counts of the day ─► tls-reports/START.json ─┐ the day is over
//!              _smtp._tls.DOMAIN ◄──────────────────────────────────┘
//!                 ├─ mailto: ─► maildrop, our own queue
//!                 └─ https:  ─► POST
//! ```
//!
//! What cannot be told is tried again for a day (RFC 8460 §5.5), each wait as long as all before it
//! together. Whom a period owes nothing any more stands in its file, so a restart repeats only what was
//! told in the round that it broke off, with the same report id.
//!
//! Counts of the last seconds are lost when the machine goes down: a report is a sample, and nobody's
//! mail hangs on it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt as _;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Interval;

use super::now;
use super::resolver::Resolver;
use super::web::Asking;
use crate::config::Config;
use crate::file;
use crate::mail::tlsrpt::{About, Destination, Letter, Session, Sessions, destinations};
use crate::maildrop::{self, Envelope, Submission};
use crate::observe::log::{Level, Log};
use crate::route::dns::{Answer, Kind, Question, Records};
use crate::trial;
use crate::world::Web;

/// Counts and tells, asked from any thread.
#[derive(Clone)]
pub struct TlsReports {
    notes: mpsc::Sender<Note>,
}

/// Who reports, and how.
#[derive(Clone)]
pub struct Reporter {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// How web servers are spoken to that take reports.
    pub web: Web,
}

enum Note {
    Begin(Reporter),
    Session(Box<Session>),
}

impl TlsReports {
    /// Starts the counting on `runtime`; counts are kept below `data`.
    #[must_use]
    pub fn start(runtime: &Handle, resolver: Resolver, data: &Path, log: Log) -> Self {
        let (notes, received) = mpsc::channel(NOTES_MAX);
        let clerk = Clerk {
            resolver,
            place: data.join(DIRECTORY),
            data: data.to_owned(),
            log,
            by: None,
            period: None,
            saved: 0,
            is_changed: false,
            telling: None,
            again: HashMap::new(),
        };
        runtime.spawn(clerk.run(received));
        Self { notes }
    }

    /// Says who reports from now on. Nothing is counted or told before.
    pub fn begin(&self, by: Reporter) {
        // Of many notes at once one is missing: the next reload says it again.
        let _ = self.notes.try_send(Note::Begin(by));
    }

    /// Counts a session. One too many at a time is not counted.
    pub fn tell(&self, session: Session) {
        let _ = self.notes.try_send(Note::Session(Box::new(session)));
    }
}

/// What was counted in one period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Period {
    /// Seconds since 1970.
    start: i64,
    /// The second after the last one.
    end: i64,
    sessions: Sessions,
    /// About whom and where it was told already.
    #[serde(default)]
    told: BTreeSet<String>,
}

/// What became of one that was told: its file, and when the rest of it is tried again.
type Told = (PathBuf, Option<i64>);

struct Clerk {
    resolver: Resolver,
    place: PathBuf,
    data: PathBuf,
    log: Log,
    by: Option<Reporter>,
    period: Option<Period>,
    /// When it was written last.
    saved: i64,
    is_changed: bool,
    telling: Option<tokio::task::JoinHandle<Told>>,
    /// Periods that wait for another try.
    again: HashMap<PathBuf, i64>,
}

impl Clerk {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        let mut looks = tokio::time::interval(LOOK);
        // A panic is the end of what it was at, and not of all reports.
        while AssertUnwindSafe(self.attend(&mut notes, &mut looks))
            .catch_unwind()
            .await
            .is_err()
        {}
    }

    async fn attend(&mut self, notes: &mut mpsc::Receiver<Note>, looks: &mut Interval) {
        loop {
            trial::tempt("reports");
            tokio::select! {
                note = notes.recv() => match note {
                    Some(Note::Begin(by)) => self.by = Some(by),
                    Some(Note::Session(session)) => self.count(*session).await,
                    None => return,
                },
                _ = looks.tick() => self.look().await,
            }
        }
    }

    fn interval(&self) -> Option<i64> {
        let reports = &self.by.as_ref()?.config.tls_reports;
        reports.organization.as_ref()?;
        i64::try_from(reports.interval.as_secs().max(1)).ok()
    }

    async fn count(&mut self, session: Session) {
        let Some(length) = self.interval() else {
            return;
        };
        let now = now();
        if self.period.as_ref().is_some_and(|period| now >= period.end) {
            self.look().await;
        }
        let period = self.period.get_or_insert_with(|| {
            let start = now - now.rem_euclid(length);
            let end = start + length;
            // Counts from before a restart go on.
            read(&self.place.join(file_name(start, end))).unwrap_or(Period {
                start,
                end,
                ..Period::default()
            })
        });
        period.sessions.add(session);
        self.is_changed = true;
    }

    /// Keeps what has changed, and tells what is over.
    async fn look(&mut self) {
        let now = now();
        let is_over = self.period.as_ref().is_some_and(|period| now >= period.end);
        if self.is_changed && (is_over || now >= self.saved + SAVE_S) {
            let _ = self.save().await;
            (self.is_changed, self.saved) = (false, now);
        }
        if is_over {
            self.period = None;
        }
        if let Some(task) = self.telling.take_if(|task| task.is_finished())
            && let Ok((path, again)) = task.await
        {
            match again {
                Some(at) => self.again.insert(path, at),
                None => self.again.remove(&path),
            };
        }
        if let Some(by) = self.by.clone()
            && self.interval().is_some()
            && self.telling.is_none()
        {
            let own = self.period.as_ref().map(|period| period.start);
            let waits = |path: &Path| self.again.get(path).is_some_and(|at| now < *at);
            let Some(path) = due(&self.place, own, now, waits) else {
                return;
            };
            let teller = Teller {
                by,
                resolver: self.resolver.clone(),
                data: self.data.clone(),
            };
            let log = self.log.clone();
            self.telling = Some(tokio::spawn(async move {
                let again = match read(&path) {
                    Some(period) => teller.tell(period, &path, log).await,
                    None => None,
                };
                if again.is_none() {
                    // Told, lost, or unreadable for good.
                    drop(fs::remove_file(&path));
                }
                (path, again)
            }));
        }
    }

    /// Keeps the counts; names and passwords are looked after meanwhile.
    async fn save(&mut self) -> Option<()> {
        let (place, period) = (self.place.clone(), self.period.clone()?);
        let log = self.log.clone();
        let writing = tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&place, &period) {
                let place = place.display();
                log.say(
                    Level::Warn,
                    format_args!("{place}: counts for TLS reports cannot be kept: {error}"),
                );
            }
        });
        writing.await.ok()
    }
}

/// When a period is told first. Not all relays tell at midnight: each period waits for a while of its
/// own (RFC 8460 §5.4).
fn told_at(start: i64, end: i64) -> i64 {
    let spread = ((end - start) / 6).max(1);
    end + start.wrapping_mul(SPREAD).rem_euclid(spread)
}

/// When a period is tried again that could not be told now; `None` when it is lost.
fn next_try(start: i64, end: i64, now: i64) -> Option<i64> {
    let (first, length) = (told_at(start, end), end - start);
    let last = first + length.min(TRIES_S);
    let wait = (now - first).max(length / FIRST_WAIT_PART).max(1);
    (now < last).then(|| last.min(now + wait))
}

/// A period whose time to be told has come, and which does not wait for another try.
fn due(place: &Path, own: Option<i64>, now: i64, waits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let files = fs::read_dir(place).ok()?.flatten();
    let mut found = files.filter_map(|file| {
        let name = file.file_name();
        let (start, end) = bounds(name.to_str()?.strip_suffix(ENDING)?)?;
        let is_due = Some(start) != own && now >= told_at(start, end);
        Some(file.path()).filter(|path| is_due && !waits(path))
    });
    found.next()
}

fn bounds(name: &str) -> Option<(i64, i64)> {
    let (start, end) = name.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start < end).then_some((start, end))
}

/// Sends the reports of one period.
struct Teller {
    by: Reporter,
    resolver: Resolver,
    data: PathBuf,
}

impl Teller {
    /// Tells whom it has not told yet. When to try again, where somebody could not be told and it is
    /// not too late.
    async fn tell(&self, mut period: Period, path: &Path, log: Log) -> Option<i64> {
        let mut told = std::mem::take(&mut period.told);
        let mut failed = Vec::new();
        for domain in period.sessions.domains() {
            let destinations = match self.destinations(domain).await {
                Ok(destinations) => destinations,
                Err(why) => {
                    failed.push(format!("TLS report about {domain}: {why}"));
                    continue;
                }
            };
            for (number, destination) in destinations.iter().enumerate() {
                let to = match destination {
                    Destination::Mail(address) => address.to_string(),
                    Destination::Web(host, path) => format!("https://{host}{path}"),
                };
                let key = format!("{domain} {to}");
                if told.contains(&key) {
                    continue;
                }
                match self.send(&period, domain, number, destination).await {
                    Ok(()) => {
                        log.say(
                            Level::Info,
                            format_args!("TLS report about {domain} sent to {to}"),
                        );
                        told.insert(key);
                    }
                    Err(why) => failed.push(format!("TLS report about {domain} to {to}: {why}")),
                }
            }
        }
        period.told = told;
        let mut again = None;
        if !failed.is_empty() {
            again = next_try(period.start, period.end, now());
        }
        if again.is_some()
            && let Err(error) = keep(path, period).await
        {
            failed.push(format!("{}: {error}", path.display()));
            again = None;
        }
        for why in failed {
            let what = if again.is_some() {
                "tried again later"
            } else {
                "lost"
            };
            log.say(Level::Warn, format_args!("{why}; it is {what}"));
        }
        log.flush();
        again
    }

    /// Where a domain wants to be told; an error where that cannot be found out now.
    async fn destinations(&self, domain: &str) -> Result<Vec<Destination>, String> {
        let question = Question {
            name: format!("_smtp._tls.{domain}").into(),
            kind: Kind::Txt,
        };
        match self.resolver.lookup(question).await.answer {
            Answer::Records(Records::Texts(texts), _) => {
                Ok(destinations(texts.iter().map(|text| &**text)))
            }
            Answer::Failure(why) => Err(format!("looking up its destinations failed: {why}")),
            _ => Ok(Vec::new()),
        }
    }

    async fn send(
        &self,
        period: &Period,
        domain: &str,
        number: usize,
        to: &Destination,
    ) -> Result<(), String> {
        let config = &self.by.config;
        let hostname = config.hostname();
        let contact = config.tls_reports.contact(&hostname);
        let report_id = format!("{}.{domain}@{hostname}", period.start);
        let about = About {
            organization: config
                .tls_reports
                .organization
                .as_deref()
                .unwrap_or_default(),
            contact: &contact,
            report_id: &report_id,
            start: period.start,
            end: period.end,
        };
        let report = period.sessions.report(domain, &about);
        let report = report.ok_or("it cannot be written as JSON")?;
        let gzip = compress(report.as_bytes()).map_err(|error| error.to_string())?;
        match to {
            Destination::Mail(address) => {
                let letter = Letter {
                    about,
                    domain,
                    hostname: &hostname,
                    to: address,
                    now: now(),
                    gzip: &gzip,
                };
                self.mail(period, number, letter)
                    .map_err(|error| error.to_string())
            }
            Destination::Web(host, path) => {
                let asking = Asking {
                    resolver: &self.resolver,
                    web: &self.by.web,
                    host,
                    is_plain: false,
                    wait: POST_WAIT,
                };
                let fields = [(CONTENT_TYPE.as_str(), MEDIA_TYPE)];
                let answered = asking.post(path, &fields, gzip).await;
                match answered.map_err(|fault| fault.to_string())?.status {
                    200..=299 => Ok(()),
                    status => Err(format!("{host} answers {status}")),
                }
            }
        }
    }

    /// Into our own queue, from nobody: a report that cannot be delivered comes back to nobody.
    fn mail(&self, period: &Period, number: usize, letter: Letter<'_>) -> io::Result<()> {
        let submission = Submission {
            envelope: Envelope {
                from: String::new(),
                to: vec![letter.to.to_owned()],
                notify: Some(vec!["never".to_owned()]),
                ..Envelope::default()
            },
            content: letter.compose(),
        };
        let name = format!("tlsrpt-{}-{}-{number}", period.start, letter.domain);
        submission.leave(&self.data.join(maildrop::DIRECTORY), &name)?;
        Ok(())
    }
}

fn compress(octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets)?;
    encoder.finish()
}

/// Keeps whom a period owes nothing any more. Without that it cannot be tried again: those would be
/// told every time.
async fn keep(path: &Path, period: Period) -> io::Result<()> {
    let place = path.parent().unwrap_or(path).to_owned();
    let writing = tokio::task::spawn_blocking(move || write(&place, &period));
    writing.await.map_err(io::Error::other)?
}

fn read(path: &Path) -> Option<Period> {
    serde_json::from_slice(&file::read(path).ok()?).ok()
}

/// Writes the whole file, or leaves the one that is there.
fn write(place: &Path, period: &Period) -> io::Result<()> {
    let text = serde_json::to_vec(period).map_err(io::Error::other)?;
    file::replace(&place.join(file_name(period.start, period.end)), &text)
}

fn file_name(start: i64, end: i64) -> String {
    format!("{start}-{end}{ENDING}")
}

/// Below the data directory.
const DIRECTORY: &str = "tls-reports";
const ENDING: &str = ".json";
/// RFC 8460 §5.4
const MEDIA_TYPE: &str = "application/tlsrpt+gzip";
/// How long a web server may take over a report: nobody waits for it.
const POST_WAIT: Duration = Duration::from_secs(60);
/// Sessions that wait to be counted.
const NOTES_MAX: usize = 4096;
/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often counts are written.
const SAVE_S: i64 = 5;
/// For how long a report is tried (RFC 8460 §5.5), where periods are not shorter.
const TRIES_S: i64 = 86_400;
/// The first wait, as a part of the period: five minutes of a day.
const FIRST_WAIT_PART: i64 = 288;
/// A number without small factors: neighbouring periods wait differently.
const SPREAD: i64 = 7_919;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_told_when_it_is_over_and_not_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let (day, start) = (86_400, 1_772_323_200);
        let period = Period {
            start,
            end: start + day,
            ..Period::default()
        };
        write(place, &period).unwrap();
        fs::write(place.join("other.json"), "{}").unwrap();
        assert_eq!(due(place, None, start + day - 1, |_| false), None);
        assert_eq!(due(place, Some(start), start + 2 * day, |_| false), None);
        let found = due(place, None, start + day + day / 6, |_| false).unwrap();
        assert_eq!(
            due(place, None, start + 2 * day, |path| path == found),
            None
        );
        assert_eq!(read(&found).unwrap().end, start + day);
    }

    #[test]
    fn a_report_that_nobody_takes_is_tried_for_a_day_ever_more_seldom() {
        let (day, start) = (86_400, 1_772_323_200);
        let end = start + day;
        let first = told_at(start, end);
        let mut tries = vec![first];
        while let Some(next) = next_try(start, end, *tries.last().unwrap()) {
            tries.push(next);
        }
        let waits: Vec<i64> = tries.iter().map(|at| at - first).collect();
        assert_eq!(
            waits,
            [
                0, 300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 76_800, day
            ]
        );
        // A relay that was down for longer has one try left.
        assert_eq!(next_try(start, end, first + 2 * day), None);
    }

    #[test]
    fn compressed_reports_are_gzip() {
        let packed = compress(b"{}").unwrap();
        assert_eq!(packed[..2], [0x1f, 0x8b]);
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*packed), &mut text).unwrap();
        assert_eq!(text, "{}");
    }
}
