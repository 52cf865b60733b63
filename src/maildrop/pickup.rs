//! Takes up what `sendmail` left while the relay was down.

use std::fs;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{REFUSED, Submission, WHOLE, submit};
use crate::observe::log::{Level, Log};
use crate::trial;

/// The thread that looks into the directory. Dropping it ends it.
pub struct Pickup {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pickup {
    /// Looks into `directory` every second, and hands what is there to the listener at `relay`.
    pub fn start(
        directory: PathBuf,
        relay: SocketAddr,
        hello: String,
        log: Log,
    ) -> std::io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let looking = move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                for path in waiting(&directory) {
                    let taking = AssertUnwindSafe(|| take(&path, relay, &hello, &log));
                    // A file that makes it panic stays, and the others are not behind it.
                    let _ = catch_unwind(taking);
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("pickup".into())
            .spawn(looking)?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Pickup {
    fn drop(&mut self) {
        drop(self.end.take());
        // In the middle of a message it is left behind: the file stays until its 250.
        if let Some(thread) = self.thread.take()
            && thread.is_finished()
        {
            let _ = thread.join();
        }
    }
}

/// Whole files, the oldest name first.
fn waiting(directory: &Path) -> Vec<PathBuf> {
    // Nobody has ever left anything, most likely.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(WHOLE))
        .collect();
    found.sort();
    found
}

/// One file: removed when the relay has it, put aside when it never will, left when it may later.
fn take(path: &Path, relay: SocketAddr, hello: &str, log: &Log) {
    trial::tempt("pickup");
    let warn = |words: std::fmt::Arguments<'_>| log.say(Level::Warn, words);
    let mut submission = match Submission::read(path) {
        Ok(submission) => submission,
        Err(error) => return put_aside(path, &error.to_string(), log),
    };
    let answer = match submit(&submission, relay, hello) {
        Ok(answer) => answer,
        Err(error) => return warn(format_args!("{}: stays: {error}", path.display())),
    };
    let place = path.display();
    for (to, diagnosis) in &answer.refused {
        warn(format_args!("{place}: not for {to}: {}", diagnosis.text));
    }
    if answer.accepted > 0 {
        log.say(Level::Info, format_args!("{place}: taken up"));
    }
    let later: Vec<String> = answer.deferred.into_iter().map(|(to, _)| to).collect();
    match (later.is_empty(), answer.accepted) {
        (true, 0) => put_aside(path, "the relay refuses it", log),
        (true, _) => {
            if let Err(error) = fs::remove_file(path) {
                warn(format_args!(
                    "{place}: sent, and cannot be removed: {error}"
                ));
            }
        }
        (false, 0) => {}
        (false, _) => {
            // The others have it: what stays is for the rest alone.
            submission.envelope.to = later;
            let directory = path.parent().unwrap_or(Path::new("."));
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if let Err(error) = submission.leave(directory, &name) {
                warn(format_args!("{place}: cannot be written anew: {error}"));
            }
        }
    }
}

/// Out of the way, and not lost: its sender is on this machine.
fn put_aside(path: &Path, why: &str, log: &Log) {
    let aside = path.with_extension(&REFUSED[1..]);
    let moved = fs::rename(path, &aside);
    let place = if moved.is_ok() { &*aside } else { path };
    log.say(
        Level::Error,
        format_args!("{}: not sent: {why}", place.display()),
    );
}

/// How often the directory is looked into.
const LOOK: Duration = Duration::from_secs(1);
