//! Idempotency keys: whoever is not sure whether a request came through gives it again under the same
//! key, and hears what the first one was answered.
//!
//! A key and its answer are on stable storage before the answer is given, and are kept for a day. A
//! crash in the moment between the message's commit and its key's repeats the message: twice is better
//! than never.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::file;

/// Names the keys that are known. Cloning shares it.
#[derive(Clone)]
pub struct Keys {
    questions: mpsc::Sender<Question>,
}

enum Question {
    /// A request under a key begins.
    Begin {
        key: String,
        request: String,
        reply: oneshot::Sender<Begun>,
    },
    /// It was answered like this; or with `None` it was not carried out.
    End {
        key: String,
        answer: Option<(u16, Value)>,
        reply: oneshot::Sender<io::Result<()>>,
    },
}

/// What is known of a key.
#[derive(Debug, PartialEq)]
pub(super) enum Begun {
    /// Nothing: go on.
    New,
    /// The same request is under way.
    UnderWay,
    /// It was given before, and answered like this.
    Before(u16, Value),
    /// Another request was given under it.
    Other,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    request: String,
    /// Seconds since 1970.
    at: i64,
    status: u16,
    answer: Value,
}

struct Known {
    request: String,
    at: i64,
    status: u16,
    /// As JSON: that of a thousand messages is long, and takes several times the room as a tree.
    answer: Box<str>,
}

/// All keys, on the service thread.
struct Book {
    path: PathBuf,
    known: HashMap<String, Known>,
    /// The oldest first.
    order: VecDeque<(i64, String)>,
    /// Of all answers that are kept, and how many there may be.
    octets: usize,
    octets_max: usize,
    /// Requests that are not answered, by their key.
    under_way: HashMap<String, String>,
    file: Option<File>,
    /// Lines in the file, those that are over included.
    lines: usize,
}

impl Keys {
    /// Reads the keys that are kept below `data`, and the task that answers.
    pub fn open(data: &Path) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        (Self { questions }, answer(data.join(FILE), asked))
    }

    pub(super) async fn begin(&self, key: &str, request: &str) -> Option<Begun> {
        let (reply, told) = oneshot::channel();
        let (key, request) = (key.to_owned(), request.to_owned());
        let question = Question::Begin {
            key,
            request,
            reply,
        };
        self.questions.send(question).await.ok()?;
        told.await.ok()
    }

    /// Returns when the answer is on stable storage.
    pub(super) async fn end(&self, key: &str, answer: Option<(u16, Value)>) -> io::Result<()> {
        let (reply, told) = oneshot::channel();
        let key = key.to_owned();
        let question = Question::End { key, answer, reply };
        let gone = || io::Error::other("nobody keeps keys any more");
        self.questions.send(question).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// What tells requests apart.
pub(super) fn fingerprint(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    STANDARD_NO_PAD.encode(context.finish())
}

async fn answer(path: PathBuf, mut asked: mpsc::Receiver<Question>) {
    let mut book = Book::read(path, now());
    let mut questions = Vec::new();
    while asked.recv_many(&mut questions, QUESTIONS_MAX).await > 0 {
        let (mut lines, mut waiting) = (Vec::new(), Vec::new());
        for question in questions.drain(..) {
            match question {
                Question::Begin {
                    key,
                    request,
                    reply,
                } => {
                    let begun = book.begin(&key, request);
                    if reply.send(begun) == Err(Begun::New) {
                        // Whoever asked is gone.
                        book.under_way.remove(&key);
                    }
                }
                Question::End { key, answer, reply } => {
                    lines.extend(book.end(&key, answer, now()));
                    waiting.push(reply);
                }
            }
        }
        // One write for all of them.
        let written = match lines.is_empty() {
            true => Ok(()),
            false => {
                let writing = tokio::task::spawn_blocking(move || {
                    let written = book.write(&lines);
                    (book, written)
                });
                let Ok((same, written)) = writing.await else {
                    return;
                };
                book = same;
                written
            }
        };
        for reply in waiting {
            let told = written
                .as_ref()
                .map_err(|error| io::Error::other(error.to_string()));
            // Whoever asked may be gone.
            let _ = reply.send(told.copied());
        }
    }
}

impl Book {
    /// What is kept; a line that a crash has cut off is none.
    fn read(path: PathBuf, now: i64) -> Self {
        let text = fs::read(&path).unwrap_or_default();
        let mut book = Self {
            path,
            known: HashMap::new(),
            order: VecDeque::new(),
            octets: 0,
            octets_max: ANSWERS_OCTETS_MAX,
            under_way: HashMap::new(),
            file: None,
            lines: 0,
        };
        for line in text.split(|octet| *octet == b'\n') {
            book.lines += 1;
            if let Ok(line) = serde_json::from_slice::<Line>(line) {
                book.keep(line);
            }
        }
        book.forget(now);
        book
    }

    fn keep(&mut self, line: Line) {
        let Line {
            key,
            request,
            at,
            status,
            answer,
        } = line;
        let known = Known {
            request,
            at,
            status,
            answer: answer.to_string().into(),
        };
        self.order.push_back((at, key.clone()));
        self.octets += known.answer.len();
        if let Some(before) = self.known.insert(key, known) {
            self.octets -= before.answer.len();
        }
    }

    /// Forgets what is over, and the oldest where there are too many.
    fn forget(&mut self, now: i64) {
        let is_full = |book: &Self| book.order.len() > KEYS_MAX || book.octets > book.octets_max;
        while let Some((at, _)) = self.order.front()
            && (*at + KEPT_S <= now || is_full(self))
        {
            if let Some((at, key)) = self.order.pop_front()
                && self.known.get(&key).is_some_and(|known| known.at == at)
                && let Some(known) = self.known.remove(&key)
            {
                self.octets -= known.answer.len();
            }
        }
    }

    fn begin(&mut self, key: &str, request: String) -> Begun {
        self.forget(now());
        if let Some(known) = self.known.get(key) {
            return match known.request == request {
                true => Begun::Before(known.status, tree(&known.answer)),
                false => Begun::Other,
            };
        }
        match self.under_way.get(key) {
            Some(own) if *own == request => Begun::UnderWay,
            Some(_) => Begun::Other,
            None => {
                self.under_way.insert(key.to_owned(), request);
                Begun::New
            }
        }
    }

    /// The line of an answer.
    fn end(&mut self, key: &str, answer: Option<(u16, Value)>, now: i64) -> Option<Vec<u8>> {
        let request = self.under_way.remove(key)?;
        let (status, answer) = answer?;
        let line = Line {
            key: key.to_owned(),
            request,
            at: now,
            status,
            answer,
        };
        // Plain data can be written.
        let octets = serde_json::to_vec(&line).unwrap_or_default();
        self.keep(line);
        self.forget(now);
        Some(octets)
    }

    fn write(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        self.lines += lines.len();
        if self.lines > 2 * self.known.len() + LINES_MORE {
            return self.write_anew();
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                File::options()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(&self.path)?,
            ),
        };
        // A line that a crash has cut off is ended first.
        let mut octets = vec![b'\n'];
        for line in lines {
            octets.extend_from_slice(line);
            octets.push(b'\n');
        }
        file.write_all(&octets)?;
        file.sync_data()
    }

    /// Without what is over.
    fn write_anew(&mut self) -> io::Result<()> {
        let mut octets = Vec::new();
        for (at, key) in &self.order {
            let Some(known) = self.known.get(key).filter(|known| known.at == *at) else {
                continue;
            };
            let line = Line {
                key: key.clone(),
                request: known.request.clone(),
                at: *at,
                status: known.status,
                answer: tree(&known.answer),
            };
            serde_json::to_writer(&mut octets, &line).map_err(io::Error::other)?;
            octets.push(b'\n');
        }
        file::replace(&self.path, &octets)?;
        (self.file, self.lines) = (None, self.known.len());
        Ok(())
    }
}

/// What was written as JSON is JSON.
fn tree(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap_or_default()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Below the data directory.
const FILE: &str = "idempotency.jsonl";
/// How long an answer is kept.
const KEPT_S: i64 = 24 * 60 * 60;
/// Answers that are kept: beyond them the oldest go.
const KEYS_MAX: usize = 100_000;
/// The same in octets: some thousand answers about as many messages each.
const ANSWERS_OCTETS_MAX: usize = 256 * 1024 * 1024;
/// Lines that the file may have besides twice those that count.
const LINES_MORE: usize = 1_000;
/// Requests that wait.
const QUESTIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn book(home: &Path) -> Book {
        Book::read(home.join(FILE), now())
    }

    fn give(book: &mut Book, key: &str, number: u16) {
        assert_eq!(book.begin(key, "r".to_owned()), Begun::New);
        let line = book.end(key, Some((number, json!({}))), now()).unwrap();
        book.write(&[line]).unwrap();
    }

    #[test]
    fn an_answer_is_given_again_to_the_same_request_after_a_restart_too() {
        let home = tempfile::tempdir().unwrap();
        let mut first = book(home.path());
        assert_eq!(first.begin("k", "one".to_owned()), Begun::New);
        assert_eq!(first.begin("k", "one".to_owned()), Begun::UnderWay);
        assert_eq!(first.begin("k", "two".to_owned()), Begun::Other);
        let line = first.end("k", Some((200, json!({"id": 1}))), now());
        first.write(&[line.unwrap()]).unwrap();
        // One that was not carried out is free again.
        assert_eq!(first.begin("l", "x".to_owned()), Begun::New);
        assert_eq!(first.end("l", None, now()), None);
        let path = home.path().join(FILE);
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"key\":\"m");
        fs::write(&path, torn).unwrap();
        let mut second = book(home.path());
        give(&mut second, "n", 200);
        for mut book in [second, book(home.path())] {
            let before = Begun::Before(200, json!({"id": 1}));
            assert_eq!(book.begin("k", "one".to_owned()), before);
            assert_eq!(book.begin("k", "two".to_owned()), Begun::Other);
            assert_eq!(book.begin("l", "y".to_owned()), Begun::New);
            assert_eq!(book.begin("n", "q".to_owned()), Begun::Other);
        }
    }

    #[test]
    fn long_answers_are_kept_as_far_as_there_is_room() {
        let home = tempfile::tempdir().unwrap();
        let (mut book, long) = (book(home.path()), "x".repeat(98));
        book.octets_max = 450;
        for number in 0..6 {
            let key = format!("k{number}");
            assert_eq!(book.begin(&key, "r".to_owned()), Begun::New);
            book.end(&key, Some((200, json!(long))), now()).unwrap();
        }
        // A quotation mark stands on each side.
        assert_eq!((book.known.len(), book.octets), (4, 400));
        assert_eq!(book.begin("k1", "r".to_owned()), Begun::New);
        let kept = Begun::Before(200, json!(long));
        assert_eq!(book.begin("k2", "r".to_owned()), kept);
    }

    #[test]
    fn what_is_over_is_forgotten_and_the_file_stays_small() {
        let home = tempfile::tempdir().unwrap();
        let mut old = book(home.path());
        for number in 0..3 {
            give(&mut old, &format!("old{number}"), 200);
        }
        old.forget(now() + KEPT_S - 1);
        assert_eq!(old.known.len(), 3);
        old.forget(now() + KEPT_S + 1);
        assert_eq!((old.known.len(), old.order.len()), (0, 0));
        old.lines = LINES_MORE + 10;
        give(&mut old, "new", 200);
        let text = fs::read_to_string(home.path().join(FILE)).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        give(&mut old, "next", 200);
        assert_eq!(book(home.path()).known.len(), 2);
    }
}
