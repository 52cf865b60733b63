//! `ringpost spool`: looks through the spool of a relay that does not run.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

use clap::{Args, Subcommand};

use super::client::{
    Answer, Complaint, EX_DATAERR, EX_IOERR, EX_NOINPUT, EX_NOPERM, EX_SOFTWARE, EX_TEMPFAIL, print,
};
use crate::config::{Config, Dns, Runtime};
use crate::observe::log::{Format, Journal, Level};
use crate::progress::{LOOK, Meter, Progress};
use crate::service::{Desk, Service};
use crate::spool::OpenError;
use crate::spool::check::{CheckReport, check};
use crate::uring::Uring;
use crate::uring::given::Given;
use crate::uring::start::{self, Refused, ShardMain};

/// Look through the spool of a relay that does not run
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Verify every segment and every checksum; nothing is changed
    #[command(after_help = "\
Examples:
  ringpost spool check
  ringpost spool check --data /var/lib/ringpost --json

Exit codes: 0 the spool is whole, 65 something in it is damaged, 66 there is none, 75 a relay runs on it.")]
    Check {
        /// The data directory; without it that of the configuration
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    /// The data directory, where the command line names one.
    pub(super) fn data(&self) -> Option<&Path> {
        let Command::Check { data, .. } = &self.command;
        data.as_deref()
    }
}

/// Looks through the spool below `data`, and prints what it found.
#[must_use]
pub fn run(arguments: &Arguments, data: &Path) -> ExitCode {
    let Command::Check { json, .. } = &arguments.command;
    let report = match look(data) {
        Ok(report) => report,
        Err(complaint) => return print(Err(complaint)),
    };
    let answer = if *json {
        as_json(&report)
    } else {
        Ok(as_text(&report))
    };
    let printed = print(answer);
    if report.damage.is_empty() {
        printed
    } else {
        ExitCode::from(EX_DATAERR)
    }
}

fn look(data: &Path) -> Result<CheckReport, Complaint> {
    // The ring opens files relative to no directory: paths must be absolute.
    let data = fs::canonicalize(data).map_err(|error| cannot_read(data, &error))?;
    let _lock = lock(&data)?;
    start::prepare()?;
    let service = Service::start().map_err(|error| cannot_start(&error))?;
    // A check asks no names: any address does, and resolv.conf may be broken.
    let nobody = Config {
        dns: Dns {
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))],
            dnssec: None,
        },
        data_dir: data.clone(),
        ..Config::default()
    };
    let journal =
        Journal::start(Format::Text, Level::Error).map_err(|error| cannot_start(&error))?;
    let desk = Desk::start(&service, &nobody, journal.handle());
    let desk = desk.map_err(|error| cannot_start(&error))?;
    let (tell, told) = mpsc::channel();
    let progress = Progress::default();
    let seats = [None];
    let sockets = start::bind(&[], seats.len(), &mut Given::default())?;
    let running = start::start(&seats, sockets, &desk, &Runtime::default(), |_| Check {
        data: data.clone(),
        progress: progress.clone(),
        tell: tell.clone(),
    })?;
    drop(tell);
    let outcome = wait(&told, &progress);
    for shard in running {
        shard.join()?;
    }
    match outcome {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(OpenError::Io(error))) => Err(cannot_read(&data.join("spool"), &error)),
        Ok(Err(error @ OpenError::Format(_))) => Err(Complaint::new(EX_DATAERR, error.to_string())),
        Err(mpsc::RecvError) => Err(Complaint::new(EX_SOFTWARE, "the check ended unfinished")),
    }
}

/// Waits for the end of the check, and tells how far it is.
fn wait<T>(told: &mpsc::Receiver<T>, progress: &Progress) -> Result<T, mpsc::RecvError> {
    let mut meter = Meter::new("checking the spool", "segments");
    loop {
        match told.recv_timeout(LOOK) {
            Ok(outcome) => return Ok(outcome),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Some(words) = meter.look(progress.seen()) {
                    // Whoever waits may be gone; the result is for standard output.
                    let _ = writeln!(io::stderr(), "{words}");
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(mpsc::RecvError),
        }
    }
}

/// What the thread of the check runs.
struct Check {
    data: PathBuf,
    progress: Progress,
    tell: mpsc::Sender<Result<CheckReport, OpenError>>,
}

impl ShardMain for Check {
    async fn run(self, world: Uring) {
        // The other end waits for this one thing and for nothing else.
        let report = check(&world, &self.data, &self.progress).await;
        let _ = self.tell.send(report);
    }
}

/// Keeps relays out while the check reads: what one writes meanwhile would look like damage.
fn lock(data: &Path) -> Result<Option<File>, Complaint> {
    let path = data.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        // No relay of ours has run here; it may be a copy.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_read(&path, &error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let words = format!("a relay runs on {}: stop it first", data.display());
            Err(Complaint::new(EX_TEMPFAIL, words))
        }
        Err(TryLockError::Error(error)) => Err(cannot_read(&path, &error)),
    }
}

impl From<Refused> for Complaint {
    fn from(refused: Refused) -> Self {
        Self::new(refused.exit_code, refused.why)
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Complaint {
    let place = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            let words = format!("there is no spool: {place} does not exist; see --data");
            Complaint::new(EX_NOINPUT, words)
        }
        io::ErrorKind::PermissionDenied => Complaint::new(EX_NOPERM, format!("{place}: {error}")),
        _ => Complaint::new(EX_IOERR, format!("{place}: {error}")),
    }
}

fn cannot_start(error: &io::Error) -> Complaint {
    Complaint::new(EX_SOFTWARE, format!("the check cannot start: {error}"))
}

fn as_json(report: &CheckReport) -> Result<Answer, Complaint> {
    Answer::json(&serde_json::json!({
        "whole": report.damage.is_empty(),
        "shards": report.shards,
        "segments": report.segments,
        "records": report.records,
        "messages": report.messages,
        "torn_octets": report.torn_octets,
        "damage": report.damage,
    }))
}

fn as_text(report: &CheckReport) -> Answer {
    let mut result = String::new();
    for damage in &report.damage {
        let _ = writeln!(result, "damaged: {damage}");
    }
    for (what, count) in [
        ("shards", u64::from(report.shards)),
        ("segments", u64::from(report.segments)),
        ("records", report.records),
        ("messages", report.messages),
    ] {
        let _ = writeln!(result, "{what:<9} {count}");
    }
    if report.torn_octets > 0 {
        let _ = writeln!(
            result,
            "a crash cut off {} octets of a write that nobody was told of: no damage",
            report.torn_octets
        );
    }
    result.push_str(if report.damage.is_empty() {
        "the spool is whole\n"
    } else {
        "the spool is DAMAGED\n"
    });
    Answer {
        result,
        remark: None,
    }
}

const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::FORMAT;

    fn code(data: &Path) -> Option<u8> {
        look(data).err().map(|complaint| complaint.code)
    }

    #[test]
    fn there_is_no_spool() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(code(&data.path().join("nowhere")), Some(EX_NOINPUT));
        assert_eq!(code(data.path()), Some(EX_NOINPUT));
    }

    #[test]
    fn spool_is_empty_foreign_or_in_use() {
        let data = tempfile::tempdir().unwrap();
        let spool = data.path().join("spool");
        fs::create_dir_all(spool.join("00")).unwrap();
        fs::write(spool.join("FORMAT"), format!("{FORMAT}\n")).unwrap();
        let report = look(data.path()).unwrap();
        assert_eq!((report.shards, report.messages), (1, 0));
        assert!(as_text(&report).result.ends_with("the spool is whole\n"));

        let relay = File::create(data.path().join("lock")).unwrap();
        relay.lock().unwrap();
        assert_eq!(code(data.path()), Some(EX_TEMPFAIL));
        drop(relay);

        fs::write(spool.join("FORMAT"), "ringpost spool 999\n").unwrap();
        assert_eq!(code(data.path()), Some(EX_DATAERR));
    }

    #[test]
    fn damage_is_named_and_ends_with_a_verdict() {
        let report = CheckReport {
            damage: vec!["00/1.log: bad".to_owned()],
            torn_octets: 7,
            ..CheckReport::default()
        };
        let text = as_text(&report).result;
        assert!(text.starts_with("damaged: 00/1.log: bad\n"), "{text}");
        assert!(
            text.contains(" 7 octets") && text.ends_with("DAMAGED\n"),
            "{text}"
        );
        let json = as_json(&report).unwrap().result;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["whole"], &json["torn_octets"]),
            (&false.into(), &7.into())
        );
    }
}
