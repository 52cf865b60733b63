//! Takes up what `sendmail` left while the relay was down.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{BAD, REFUSED, Submission, WHOLE, submit};
use crate::mail::outcome::Diagnosis;
use crate::observe::log::{Level, Log};
use crate::trial;

/// The thread that looks into the directory. Dropping it ends it.
pub struct Pickup {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pickup {
    /// Looks into `directory` every second, and hands what is there to the listener at `relay`, as who
    /// `hello` says that we are by then.
    pub fn start(
        directory: PathBuf,
        relay: SocketAddr,
        hello: impl Fn() -> String + Send + 'static,
        log: Log,
    ) -> io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let looking = move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                take_all(&directory, &log, |path| take(path, relay, &hello(), &log));
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

impl Pickup {
    /// Ends it, and waits until the message is handed over that it is in the middle of.
    pub fn finish(mut self) {
        drop(self.end.take());
        let until = Instant::now() + FINISH_WAIT;
        let is_busy = |thread: &JoinHandle<()>| !thread.is_finished() && Instant::now() < until;
        while self.thread.as_ref().is_some_and(is_busy) {
            std::thread::park_timeout(FINISH_LOOK);
        }
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

/// All that is there. A file that makes it panic would do so again each second, and may have been sent
/// already: it is put aside for somebody to look at, and the others are not behind it.
fn take_all(directory: &Path, log: &Log, take: impl Fn(&Path)) {
    for path in waiting(directory) {
        if catch_unwind(AssertUnwindSafe(|| take(&path))).is_err() {
            put_aside(&path, BAD, "it made the relay panic: a defect", log);
        }
    }
}

/// Whole files, the oldest name first.
fn waiting(directory: &Path) -> Vec<PathBuf> {
    // Nobody has ever left anything, most likely.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        // A pipe of that name would never end.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
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
        Err(error) => return put_aside(path, REFUSED, &error.to_string(), log),
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
    let names = |some: Vec<(String, Diagnosis)>| some.into_iter().map(|(to, _)| to).collect();
    let (later, refused): (Vec<String>, Vec<String>) =
        (names(answer.deferred), names(answer.refused));
    if later.is_empty() && answer.accepted == 0 {
        return put_aside(path, REFUSED, "the relay refuses it", log);
    }
    if later.len() == submission.envelope.to.len() {
        return;
    }
    // The others have it: what stays is for the rest alone.
    let kept = keep(path, &mut submission, refused, later, log);
    if let Err(error) = kept {
        warn(format_args!(
            "{place}: cannot be removed or written anew: {error}"
        ));
    }
}

/// Parts what is refused for good, which somebody has to look at, from what may be taken later.
fn keep(
    path: &Path,
    submission: &mut Submission,
    refused: Vec<String>,
    later: Vec<String>,
    log: &Log,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if !refused.is_empty() {
        submission.envelope.to = refused;
        let own = submission.leave(directory, &format!("{name}-1"))?;
        put_aside(&own, REFUSED, "the relay refuses these recipients", log);
    }
    if later.is_empty() {
        return fs::remove_file(path);
    }
    submission.envelope.to = later;
    submission.leave(directory, &name).map(drop)
}

/// Out of the way, and not lost: its sender is on this machine.
fn put_aside(path: &Path, ending: &str, why: &str, log: &Log) {
    let aside = path.with_extension(&ending[1..]);
    let moved = fs::rename(path, &aside);
    let place = if moved.is_ok() { &*aside } else { path };
    log.say(
        Level::Error,
        format_args!("{}: not sent: {why}", place.display()),
    );
}

/// How often the directory is looked into.
const FINISH_LOOK: Duration = Duration::from_millis(5);
/// A relay answers sooner, unless it is in trouble itself.
const FINISH_WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::maildrop::Envelope;
    use crate::observe::log::{Format, Journal};

    /// Takes mail for everybody but two; it knows no extensions.
    fn relay() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            client.write_all(b"220 relay.test\r\n").unwrap();
            let mut is_content = false;
            while let Some(Ok(line)) = lines.next() {
                let reply: &[u8] = match &*line {
                    "." => b"250 2.0.0 taken\r\n",
                    _ if is_content => continue,
                    "DATA" => b"354 go on\r\n",
                    rcpt if rcpt.contains("gone@") => b"550 5.1.1 nobody\r\n",
                    rcpt if rcpt.contains("full@") => b"452 4.2.2 full\r\n",
                    _ => b"250 2.0.0 yes\r\n",
                };
                is_content = line == "DATA";
                client.write_all(reply).unwrap();
            }
        });
        at
    }

    #[test]
    fn what_is_refused_for_one_recipient_is_put_aside_for_that_one() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::start(Format::Text, Level::Error).unwrap();
        let to = ["ann@c.test", "gone@d.test", "full@d.test"];
        let mut submission = Submission {
            envelope: Envelope {
                to: to.map(str::to_owned).to_vec(),
                ..Envelope::default()
            },
            content: b"Subject: x\r\n\r\nx\r\n".to_vec(),
        };
        let path = submission.leave(home.path(), "7").unwrap();
        let whose = |name: &str| {
            Submission::read(&home.path().join(name))
                .unwrap()
                .envelope
                .to
        };
        take(&path, relay(), "c.test", &journal.handle());
        assert_eq!(whose("7-1.refused"), ["gone@d.test"]);
        assert_eq!(whose("7.mail"), ["full@d.test"]);
        // Nobody takes it, and it stays as it is.
        take(&path, relay(), "c.test", &journal.handle());
        assert_eq!(whose("7.mail"), ["full@d.test"]);

        submission.envelope.to.truncate(2);
        let path = submission.leave(home.path(), "8").unwrap();
        take(&path, relay(), "c.test", &journal.handle());
        assert_eq!(whose("8-1.refused"), ["gone@d.test"]);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_makes_it_panic_is_put_aside_and_the_others_are_taken() {
        let home = tempfile::tempdir().unwrap();
        for name in ["1.mail", "2.mail", "3.mail", "4.draft", "5.refused"] {
            fs::write(home.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("1.mail", home.path().join("6.mail")).unwrap();
        let journal = Journal::start(Format::Text, Level::Error).unwrap();
        let taken = RefCell::default();
        let take = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_bad = name == "2.mail";
            let mut taken: std::cell::RefMut<'_, Vec<String>> = taken.borrow_mut();
            taken.push(name);
            drop(taken);
            assert!(!is_bad, "that is what it is for");
        };
        for _ in 0..2 {
            take_all(home.path(), &journal.handle(), take);
        }
        assert_eq!(
            *taken.borrow(),
            ["1.mail", "2.mail", "3.mail", "1.mail", "3.mail"]
        );
        let aside = fs::read(home.path().join("2.bad")).unwrap();
        assert_eq!(aside, b"2.mail", "nothing of it is lost");
    }
}
