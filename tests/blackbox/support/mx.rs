//! A mail exchanger that does what its script says, and keeps what it was given.
//!
//! A script is a list of rules: when a command that begins with some words comes, do this, so
//! many times. The words `BANNER` stand for the connection itself, `.` for the end of data.
//! Without a rule it behaves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::eventually;

/// What a rule does.
#[derive(Clone, Debug)]
enum Act {
    /// Says this (CRLF is added) and goes on.
    Say(String),
    /// Says this and closes.
    SayAndClose(String),
    /// Closes without a word.
    Drop,
    /// Writes octets as they are, each piece after a pause.
    Raw(Vec<(Duration, Vec<u8>)>),
    /// Never answers; the connection stays open.
    Silence,
}

#[derive(Clone, Debug)]
struct Rule {
    words: String,
    act: Act,
    times: usize,
}

/// How a mail exchanger behaves.
#[derive(Clone, Debug)]
pub struct Script {
    keywords: Vec<String>,
    rules: Vec<Rule>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            keywords: [
                "PIPELINING",
                "8BITMIME",
                "SMTPUTF8",
                "SIZE 0",
                "ENHANCEDSTATUSCODES",
                "DSN",
            ]
            .map(str::to_owned)
            .into(),
            rules: Vec::new(),
        }
    }
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    /// Does not offer an extension.
    pub fn without(mut self, keyword: &str) -> Self {
        self.keywords
            .retain(|kept| kept.split(' ').next() != Some(keyword));
        self
    }

    /// Offers an extension, in the place of one with the same word.
    pub fn with(self, keyword: &str) -> Self {
        let word = keyword.split(' ').next().unwrap_or_default();
        let mut script = self.without(word);
        script.keywords.push(keyword.to_owned());
        script
    }

    pub fn says(self, words: &str, reply: &str) -> Self {
        self.rule(words, Act::Say(reply.to_owned()))
    }

    pub fn says_and_closes(self, words: &str, reply: &str) -> Self {
        self.rule(words, Act::SayAndClose(reply.to_owned()))
    }

    pub fn drops(self, words: &str) -> Self {
        self.rule(words, Act::Drop)
    }

    pub fn stays_silent(self, words: &str) -> Self {
        self.rule(words, Act::Silence)
    }

    /// Answers with these octets, each piece after a pause.
    pub fn writes(self, words: &str, pieces: &[(u64, &[u8])]) -> Self {
        let pieces = pieces
            .iter()
            .map(|(pause_ms, octets)| (Duration::from_millis(*pause_ms), octets.to_vec()));
        self.rule(words, Act::Raw(pieces.collect()))
    }

    /// The last rule holds so many times, then it is as if it were not there.
    pub fn times(mut self, times: usize) -> Self {
        self.rules
            .last_mut()
            .expect("a rule before its number")
            .times = times;
        self
    }

    fn rule(mut self, words: &str, act: Act) -> Self {
        self.rules.push(Rule {
            words: words.to_uppercase(),
            act,
            times: usize::MAX,
        });
        self
    }
}

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection brought it, from 0.
    pub connection: usize,
    /// The EHLO or HELO line.
    pub hello: String,
    /// The MAIL line, parameters and all.
    pub mail: String,
    /// The RCPT lines that were accepted.
    pub rcpts: Vec<String>,
    /// The octets as they came, dot-stuffed, without the final dot.
    pub wire: Vec<u8>,
    /// The 250 was sent. Otherwise the sender cannot know that it is here.
    pub answered: bool,
    /// The dot was answered with 4xx or 5xx: it was not kept.
    refused: bool,
}

impl Received {
    /// The message without the stuffing.
    pub fn content(&self) -> Vec<u8> {
        let lines = self.wire.split_inclusive(|&b| b == b'\n');
        lines
            .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
            .copied()
            .collect()
    }

    /// The message as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content()).into_owned()
    }

    /// The content after the trace fields that the relay put before it: after the first
    /// `Received` field.
    #[track_caller]
    pub fn content_as_sent(&self) -> Vec<u8> {
        let content = self.content();
        assert!(
            content.starts_with(b"Received: "),
            "no trace field: {}",
            self.text()
        );
        let mut at = 0;
        loop {
            at += content[at..]
                .iter()
                .position(|&b| b == b'\n')
                .expect("a line's end")
                + 1;
            if !matches!(content.get(at), Some(b' ' | b'\t')) {
                return content[at..].to_vec();
            }
        }
    }

    pub fn is_for(&self, mailbox: &str) -> bool {
        self.rcpts
            .iter()
            .any(|line| line.to_lowercase().contains(&format!("<{mailbox}>")))
    }
}

#[derive(Default)]
struct Record {
    messages: Vec<Received>,
    /// The lines of each connection, in order.
    dialogues: Vec<Vec<String>>,
    /// Commands that came before the reply to the one before them, without PIPELINING.
    impatient: Vec<String>,
    /// Sessions that go on.
    open: usize,
    /// The most that went on at a time.
    most: usize,
}

pub struct Mx {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    script: Arc<Mutex<Script>>,
}

impl Mx {
    pub fn start(at: SocketAddr, script: Script) -> Self {
        // The kernel closes the sockets of a killed relay's rings some time after the relay is gone.
        let listener = eventually(&format!("a mail exchanger listens at {at}"), || {
            TcpListener::bind(at).ok()
        });
        let record = Arc::new(Mutex::new(Record::default()));
        let script = Arc::new(Mutex::new(script));
        let (seen, rules) = (Arc::clone(&record), Arc::clone(&script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, script) = (Arc::clone(&seen), Arc::clone(&rules));
                thread::spawn(move || Session::new(stream, record, script).run());
            }
        });
        Self {
            address: at,
            record,
            script,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves differently from the next command on.
    pub fn behaves(&self, script: Script) {
        *self.script.lock().expect("a session does not panic") = script;
    }

    /// Every message so far that was not refused; those among them whose 250 was never sent too.
    pub fn messages(&self) -> Vec<Received> {
        self.record()
            .messages
            .iter()
            .filter(|message| !message.refused)
            .cloned()
            .collect()
    }

    /// Waits for this many messages and returns all there are.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(
            &format!(
                "{count} messages at {}: {:#?}",
                self.address,
                self.dialogues()
            ),
            || {
                let messages = self.messages();
                (messages.len() >= count).then_some(messages)
            },
        )
    }

    /// Waits for one message to this mailbox.
    #[track_caller]
    pub fn wait_for_mail_to(&self, mailbox: &str) -> Received {
        eventually(&format!("mail to {mailbox} at {}", self.address), || {
            self.messages()
                .into_iter()
                .find(|message| message.is_for(mailbox))
        })
    }

    /// What each connection said.
    pub fn dialogues(&self) -> Vec<Vec<String>> {
        self.record().dialogues.clone()
    }

    pub fn connections(&self) -> usize {
        self.record().dialogues.len()
    }

    /// The most sessions that went on at a time.
    pub fn most_at_a_time(&self) -> usize {
        self.record().most
    }

    /// How many commands that begin with `words` came.
    pub fn heard(&self, words: &str) -> usize {
        let words = words.to_uppercase();
        self.record()
            .dialogues
            .iter()
            .flatten()
            .filter(|line| line.to_uppercase().starts_with(&words))
            .count()
    }

    /// Commands that did not wait for a reply although PIPELINING was not offered.
    pub fn impatient(&self) -> Vec<String> {
        self.record().impatient.clone()
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().expect("a session does not panic")
    }
}

/// One connection.
struct Session {
    stream: TcpStream,
    buffer: Vec<u8>,
    record: Arc<Mutex<Record>>,
    script: Arc<Mutex<Script>>,
    number: usize,
    hello: String,
    mail: Option<String>,
    rcpts: Vec<String>,
    /// It is no longer counted.
    is_gone: bool,
}

/// The connection is over.
struct Over;

impl Session {
    fn new(stream: TcpStream, record: Arc<Mutex<Record>>, script: Arc<Mutex<Script>>) -> Self {
        let number = {
            let mut record = record.lock().expect("a session does not panic");
            record.open += 1;
            record.most = record.most.max(record.open);
            record.dialogues.push(Vec::new());
            record.dialogues.len() - 1
        };
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: Vec::new(),
            record,
            script,
            number,
            hello: String::new(),
            mail: None,
            rcpts: Vec::new(),
            is_gone: false,
        }
    }

    fn run(mut self) {
        let _ = self.dialogue();
        self.leave();
    }

    /// Counted once, and before the peer can know.
    fn leave(&mut self) {
        if std::mem::replace(&mut self.is_gone, true) {
            return;
        }
        self.record.lock().expect("a session does not panic").open -= 1;
    }

    fn dialogue(&mut self) -> Result<(), Over> {
        self.answer("BANNER", "220 mx.test ESMTP")?;
        loop {
            let line = self.line()?;
            self.notice(&line);
            self.obey(&line)?;
        }
    }

    fn obey(&mut self, line: &str) -> Result<(), Over> {
        let upper = line.to_uppercase();
        match upper.split(' ').next().unwrap_or_default() {
            "EHLO" => {
                let keywords = self.script().keywords.clone();
                let lines: Vec<&str> = std::iter::once("mx.test")
                    .chain(keywords.iter().map(String::as_str))
                    .collect();
                if self.answer(line, &multi_line(250, &lines))? {
                    line.clone_into(&mut self.hello);
                }
            }
            "HELO" => {
                self.answer(line, "250 mx.test")?;
                line.clone_into(&mut self.hello);
            }
            "MAIL" => {
                if self.answer(line, "250 2.1.0 sender ok")? {
                    self.mail = Some(line.to_owned());
                }
            }
            "RCPT" => {
                if self.answer(line, "250 2.1.5 recipient ok")? {
                    self.rcpts.push(line.to_owned());
                }
            }
            "DATA" if self.rcpts.is_empty() => {
                self.answer(line, "554 5.5.1 no valid recipients")?;
            }
            "DATA" => {
                if self.answer(line, "354 go on")? {
                    self.take_message()?;
                } else {
                    self.reset();
                }
            }
            "RSET" => {
                self.answer(line, "250 2.0.0 forgotten")?;
                self.reset();
            }
            "QUIT" => {
                self.leave();
                self.answer(line, "221 2.0.0 bye")?;
                return Err(Over);
            }
            _ => {
                self.answer(line, "502 5.5.1 not known here")?;
            }
        }
        Ok(())
    }

    /// Reads to the dot, keeps the message, answers. A reply that refuses it takes it away again.
    fn take_message(&mut self) -> Result<(), Over> {
        let wire = loop {
            if self.buffer.starts_with(b".\r\n") {
                self.buffer.drain(..3);
                break Vec::new();
            }
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n.\r\n") {
                let rest = self.buffer.split_off(end + 5);
                let mut wire = std::mem::replace(&mut self.buffer, rest);
                wire.truncate(end + 2);
                break wire;
            }
            self.fill()?;
        };
        let received = Received {
            connection: self.number,
            hello: self.hello.clone(),
            mail: self.mail.take().unwrap_or_default(),
            rcpts: std::mem::take(&mut self.rcpts),
            wire,
            answered: false,
            refused: false,
        };
        // Kept before the reply, as a server that dies here would have kept it.
        let kept = {
            let mut record = self.record();
            record.dialogues[self.number].push(".".to_owned());
            record.messages.push(received);
            record.messages.len() - 1
        };
        let first_rcpt = self.record().messages[kept]
            .rcpts
            .first()
            .cloned()
            .unwrap_or_default();
        let accepted = self.answer(&format!(". {first_rcpt}"), "250 2.0.0 stored")?;
        let mut record = self.record();
        record.messages[kept].answered = accepted;
        record.messages[kept].refused = !accepted;
        Ok(())
    }

    fn reset(&mut self) {
        self.mail = None;
        self.rcpts.clear();
    }

    /// Does what the first rule for `line` says, else says `usual`. True when that was a 2xx or
    /// 3xx.
    fn answer(&mut self, line: &str, usual: &str) -> Result<bool, Over> {
        let act = self
            .rule_for(line)
            .unwrap_or_else(|| Act::Say(usual.to_owned()));
        match act {
            Act::Say(reply) => {
                self.write(format!("{reply}\r\n").as_bytes())?;
                Ok(reply.starts_with(['2', '3']))
            }
            Act::SayAndClose(reply) => {
                self.write(format!("{reply}\r\n").as_bytes())?;
                Err(Over)
            }
            Act::Drop => Err(Over),
            Act::Raw(pieces) => {
                let good = pieces
                    .iter()
                    .flat_map(|(_, octets)| octets)
                    .next()
                    .is_some_and(|b| matches!(b, b'2' | b'3'));
                for (pause, octets) in pieces {
                    thread::sleep(pause);
                    self.write(&octets)?;
                }
                Ok(good)
            }
            Act::Silence => {
                while self.fill().is_ok() {}
                Err(Over)
            }
        }
    }

    fn rule_for(&self, line: &str) -> Option<Act> {
        let upper = line.to_uppercase();
        let mut script = self.script();
        let rule = script
            .rules
            .iter_mut()
            .find(|rule| rule.times > 0 && upper.starts_with(&rule.words))?;
        if rule.times != usize::MAX {
            rule.times -= 1;
        }
        Some(rule.act.clone())
    }

    /// Writes the line down; and when PIPELINING is not offered, whether more came with it.
    fn notice(&mut self, line: &str) {
        let patient = self
            .script()
            .keywords
            .iter()
            .any(|keyword| keyword == "PIPELINING");
        let early = !patient && (!self.buffer.is_empty() || self.more_is_there());
        let mut record = self.record();
        record.dialogues[self.number].push(line.to_owned());
        if early {
            record.impatient.push(line.to_owned());
        }
    }

    fn more_is_there(&self) -> bool {
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(5)));
        let more = self.stream.peek(&mut [0]).is_ok_and(|read| read > 0);
        let _ = self.stream.set_read_timeout(None);
        more
    }

    fn line(&mut self) -> Result<String, Over> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                return Ok(text.strip_suffix("\r\n").unwrap_or(&text).to_owned());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Over> {
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(read) if read > 0 => {
                self.buffer.extend(&chunk[..read]);
                Ok(())
            }
            _ => Err(Over),
        }
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Over> {
        self.stream.write_all(octets).map_err(|_| Over)
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("a session does not panic")
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().expect("a session does not panic")
    }
}

/// `250-first`, `250 last`, without the last CRLF.
pub fn multi_line(code: u16, lines: &[&str]) -> String {
    let last = lines.len() - 1;
    let numbered = lines.iter().enumerate();
    let lines: Vec<String> = numbered
        .map(|(n, text)| format!("{code}{}{text}", if n == last { ' ' } else { '-' }))
        .collect();
    lines.join("\r\n")
}
