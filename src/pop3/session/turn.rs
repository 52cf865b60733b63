//! One turn of a session after the other: lines to commands, commands to replies and questions.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::state::{State, rule};
use super::{List, Mode, Question, Session, Step, Turn};
use crate::pop3::command::{self, CommandLine, Verb};
use crate::pop3::reply::Reply;

impl Session {
    /// Does one thing, and says how much of `input` it took.
    pub(super) fn turn(&mut self, input: &[u8]) -> (usize, Turn) {
        if matches!(self.mode, Mode::Closed) {
            return (0, Turn::Close);
        }
        if self.output.len() > OUTPUT_OCTETS_MAX {
            return (0, Turn::Flush);
        }
        match self.mode {
            Mode::Command | Mode::AuthResponse => self.read_line(input),
            Mode::LongLine { skipped } => self.skip_line(input, skipped),
            Mode::Listing(list, place) => (0, self.list_on(list, place)),
            Mode::Asking(_) => (0, Turn::Ask),
            Mode::Securing => (0, Turn::StartTls),
            // The driver has the word, and says when it is over.
            Mode::Sending(..) => (0, Turn::Flush),
            Mode::Closed => (0, Turn::Close),
        }
    }

    /// The open question, as the driver sees it.
    pub(super) fn question(&self) -> Step<'_> {
        let Mode::Asking(question) = &self.mode else {
            return Step::NeedInput;
        };
        let uid = |place: usize| self.messages.get(place).map_or(0, |held| held.uid);
        match question {
            Question::Login(name, password) => Step::Login(name, password),
            Question::Apop(name, digest) => Step::Apop(name, *digest),
            Question::Auth(mechanism, said) => Step::Auth(mechanism, said.as_deref()),
            Question::AuthResponse(said) => Step::AuthResponse(said),
            &Question::UniqueId(place, _) => Step::UniqueId(uid(place)),
            &Question::Content(place, _) => Step::Content(uid(place)),
            Question::Update => Step::Update,
        }
    }

    pub(super) fn say(&mut self, reply: Reply) {
        reply.write_into(&mut self.output);
    }

    /// Says a last word.
    pub(super) fn hang_up(&mut self, reply: Reply) {
        self.say(reply);
        self.mode = Mode::Closed;
    }

    pub(super) fn say_challenge(&mut self, octets: &[u8]) {
        self.output.extend_from_slice(b"+ ");
        self.output
            .extend_from_slice(STANDARD.encode(octets).as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// `before`, the number of the message at `place`, and `what`.
    pub(super) fn say_number(&mut self, before: &str, place: usize, what: &str) {
        self.write(format_args!("{before}{} {what}\r\n", place + 1));
    }

    /// The size of what follows.
    pub(super) fn say_octets(&mut self, place: usize) {
        let size = self.messages.get(place).map_or(0, |held| held.size);
        self.write(format_args!("+OK {size} octets\r\n"));
    }

    fn write(&mut self, words: std::fmt::Arguments<'_>) {
        // Writing to a Vec does not fail.
        let _ = self.output.write_fmt(words);
    }

    /// Refuses what the client got wrong; one that gets too much wrong is no mail program.
    fn refuse(&mut self, reply: Reply) {
        self.say(reply);
        self.faults += 1;
        let most = match self.state {
            State::Authorization => FAULTS_OF_STRANGERS_MAX,
            State::Transaction => FAULTS_MAX,
        };
        if self.faults >= most {
            self.hang_up(Reply::TOO_MANY_FAULTS);
        }
    }
}

/// Lines.
impl Session {
    fn read_line(&mut self, input: &[u8]) -> (usize, Turn) {
        let Some(line) = self.lines.find(input) else {
            if input.len() > LINE_OCTETS_MAX {
                self.lines.reset();
                self.mode = Mode::LongLine { skipped: 0 };
                return self.skip_line(input, 0);
            }
            return (0, Turn::NeedInput);
        };
        let text = &input[..line.len];
        if line.len > LINE_OCTETS_MAX {
            self.mode = Mode::Command;
            self.refuse(Reply::TOO_LONG);
        } else if matches!(self.mode, Mode::AuthResponse) {
            self.read_response(text);
        } else {
            self.obey(&CommandLine::parse(text));
        }
        (line.next, Turn::Again)
    }

    /// Skips the rest of a line that is too long, as far as patience goes.
    fn skip_line(&mut self, input: &[u8], skipped: usize) -> (usize, Turn) {
        if let Some(at) = memchr::memchr(b'\n', input) {
            self.mode = Mode::Command;
            self.refuse(Reply::TOO_LONG);
            return (at + 1, Turn::Again);
        }
        let skipped = skipped + input.len();
        self.mode = Mode::LongLine { skipped };
        if skipped > SKIPPED_OCTETS_MAX {
            self.hang_up(Reply::TOO_LONG);
            return (input.len(), Turn::Again);
        }
        (input.len(), Turn::NeedInput)
    }

    /// Does what a line says, if the table lets it.
    fn obey(&mut self, line: &CommandLine<'_>) {
        if self.state == State::Authorization {
            self.commands += 1;
            if self.commands > COMMANDS_OF_STRANGERS_MAX {
                return self.hang_up(Reply::TOO_MANY_COMMANDS);
            }
        }
        if let Some(refusal) = rule(line.verb, self.state).refusal() {
            return self.refuse(refusal);
        }
        self.faults = 0;
        let words = line.arguments();
        match line.verb {
            Verb::User => self.user(line.rest),
            Verb::Pass => self.pass(line.rest),
            Verb::Apop => self.apop(line.rest),
            Verb::Auth => self.auth(&words),
            Verb::Lang => self.lang(&words),
            Verb::List => self.list(&words, List::Sizes),
            Verb::Uidl => self.list(&words, List::UniqueIds),
            Verb::Retr => self.retr(&words),
            Verb::Top => self.top(&words),
            Verb::Dele => self.dele(&words),
            _ if !words.is_empty() => self.refuse(Reply::NO_ARGUMENT),
            Verb::Stls => self.stls(),
            Verb::Capa => self.capa(),
            Verb::Utf8 => {
                self.utf8 = true;
                self.say(Reply::UTF8_ON);
            }
            Verb::Stat => self.stat(),
            Verb::Rset => {
                for held in &mut self.messages {
                    (held.deleted, held.retrieved) = (false, false);
                }
                self.say(Reply::OK);
            }
            Verb::Noop => self.say(Reply::OK),
            Verb::Quit if self.state == State::Transaction => {
                self.mode = Mode::Asking(Question::Update);
            }
            Verb::Quit => self.hang_up(Reply::BYE),
            Verb::Unknown => self.refuse(Reply::UNKNOWN),
        }
    }
}

/// AUTHORIZATION.
impl Session {
    fn user(&mut self, name: &[u8]) {
        self.name = None;
        if !self.terms.passwords {
            return self.say(Reply::PLAINTEXT);
        }
        // A name that is no UTF-8 is nobody's, which PASS will tell.
        let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
        if name.is_empty() {
            return self.refuse(Reply::NAME_MISSING);
        }
        self.name = Some(name);
        self.say(Reply::NAME_HEARD);
    }

    fn pass(&mut self, password: &[u8]) {
        if !self.terms.passwords {
            return self.say(Reply::PLAINTEXT);
        }
        match self.name.take() {
            Some(name) => self.mode = Mode::Asking(Question::Login(name, password.to_vec())),
            None => self.refuse(Reply::NO_NAME),
        }
    }

    fn apop(&mut self, rest: &[u8]) {
        if self.terms.stamp.is_none() {
            return self.refuse(Reply::NO_APOP);
        }
        let rest = rest.trim_ascii_end();
        let blank = rest.iter().rposition(|&octet| octet == b' ');
        let parts = blank.and_then(|at| {
            let name = String::from_utf8_lossy(rest[..at].trim_ascii());
            Some((name.into_owned(), command::digest(&rest[at + 1..])?))
        });
        match parts {
            Some((name, digest)) if !name.is_empty() => {
                self.mode = Mode::Asking(Question::Apop(name, digest));
            }
            _ => self.refuse(Reply::BAD_APOP),
        }
    }

    /// RFC 5034 §4. Without a mechanism, which older clients say, it is a question for them.
    fn auth(&mut self, words: &[&[u8]]) {
        let Some((mechanism, said)) = words.split_first() else {
            self.say(Reply::OK);
            for mechanism in self.terms.mechanisms {
                self.write(format_args!("{mechanism}\r\n"));
            }
            return self.output.extend_from_slice(b".\r\n");
        };
        let mechanism = String::from_utf8_lossy(mechanism).to_ascii_uppercase();
        if !self.terms.mechanisms.contains(&&*mechanism) {
            let tls_first = self.terms.tls && self.terms.mechanisms.is_empty();
            return self.refuse(if tls_first {
                Reply::PLAINTEXT
            } else {
                Reply::NO_MECHANISM
            });
        }
        let said = match said {
            [] => Some(None),
            [b"="] => Some(Some(Vec::new())),
            [said] => STANDARD.decode(said).ok().map(Some),
            _ => None,
        };
        match said {
            Some(said) => self.mode = Mode::Asking(Question::Auth(mechanism, said)),
            None => self.refuse(Reply::BAD_BASE64),
        }
    }

    fn read_response(&mut self, line: &[u8]) {
        self.mode = Mode::Command;
        if line == b"*" {
            return self.say(Reply::CANCELLED);
        }
        match STANDARD.decode(line) {
            Ok(said) => self.mode = Mode::Asking(Question::AuthResponse(said)),
            Err(_) => self.refuse(Reply::BAD_BASE64),
        }
    }

    fn stls(&mut self) {
        if !self.terms.tls {
            return self.refuse(Reply::NO_TLS);
        }
        if self.utf8 {
            return self.refuse(Reply::UTF8_THEN_TLS);
        }
        self.say(Reply::BEGIN_TLS);
        self.mode = Mode::Securing;
    }
}

/// What is said in both states.
impl Session {
    /// RFC 2449 §5. What is offered is what works now.
    fn capa(&mut self) {
        self.output
            .extend_from_slice(b"+OK Capability list follows\r\n");
        for capability in CAPABILITIES {
            self.write(format_args!("{capability}\r\n"));
        }
        if self.state == State::Authorization {
            if self.terms.tls {
                self.output.extend_from_slice(b"STLS\r\n");
            }
            if self.terms.passwords {
                self.output.extend_from_slice(b"USER\r\n");
            }
            if !self.terms.mechanisms.is_empty() {
                let mechanisms = self.terms.mechanisms.join(" ");
                self.write(format_args!("SASL {mechanisms}\r\n"));
            }
        }
        self.output.extend_from_slice(b".\r\n");
    }

    /// RFC 6856 §3: one language, and the default that is the same.
    fn lang(&mut self, words: &[&[u8]]) {
        match words {
            [] => self
                .output
                .extend_from_slice(b"+OK Language listing follows:\r\nen English\r\n.\r\n"),
            [word] if *word == b"*" || word.eq_ignore_ascii_case(b"i-default") => {
                self.output
                    .extend_from_slice(b"+OK i-default The default it is.\r\n");
            }
            [word] if word.eq_ignore_ascii_case(b"en") => {
                self.output.extend_from_slice(b"+OK en English it is.\r\n");
            }
            _ => self.refuse(Reply::NO_LANGUAGE),
        }
    }
}

/// TRANSACTION.
impl Session {
    /// How many messages are not deleted, and how large they are together.
    fn total(&self) -> (usize, u64) {
        let kept = self.messages.iter().filter(|held| !held.deleted);
        kept.fold((0, 0), |(count, octets), held| {
            (count + 1, octets + u64::from(held.size))
        })
    }

    fn stat(&mut self) {
        let (count, octets) = self.total();
        self.write(format_args!("+OK {count} {octets}\r\n"));
    }

    fn list(&mut self, words: &[&[u8]], list: List) {
        let Some((word, more)) = words.split_first() else {
            match list {
                List::Sizes => {
                    let (count, _) = self.total();
                    self.write(format_args!("+OK {count} messages:\r\n"));
                }
                List::UniqueIds => self.say(Reply::OK),
            }
            self.mode = Mode::Listing(list, 0);
            return;
        };
        match self.message(word) {
            _ if !more.is_empty() => self.refuse(Reply::BAD_NUMBER),
            None => {}
            Some(place) if list == List::Sizes => {
                let size = self.messages[place].size.to_string();
                self.say_number("+OK ", place, &size);
            }
            Some(place) => self.mode = Mode::Asking(Question::UniqueId(place, false)),
        }
    }

    /// The next lines of a list: as many as the output may hold.
    fn list_on(&mut self, list: List, from: usize) -> Turn {
        for place in from..self.messages.len() {
            let held = self.messages[place];
            if held.deleted {
                continue;
            }
            if list == List::UniqueIds {
                self.mode = Mode::Asking(Question::UniqueId(place, true));
                return Turn::Ask;
            }
            self.write(format_args!("{} {}\r\n", place + 1, held.size));
            if self.output.len() > OUTPUT_OCTETS_MAX {
                self.mode = Mode::Listing(list, place + 1);
                return Turn::Flush;
            }
        }
        self.output.extend_from_slice(b".\r\n");
        self.mode = Mode::Command;
        Turn::Again
    }

    fn retr(&mut self, words: &[&[u8]]) {
        let [word] = words else {
            return self.refuse(Reply::BAD_NUMBER);
        };
        if let Some(place) = self.message(word) {
            self.mode = Mode::Asking(Question::Content(place, None));
        }
    }

    fn top(&mut self, words: &[&[u8]]) {
        let [word, lines] = words else {
            return self.refuse(Reply::BAD_LINES);
        };
        let Some(place) = self.message(word) else {
            return;
        };
        match command::number(lines) {
            Some(lines) => self.mode = Mode::Asking(Question::Content(place, Some(lines))),
            None => self.refuse(Reply::BAD_LINES),
        }
    }

    fn dele(&mut self, words: &[&[u8]]) {
        let [word] = words else {
            return self.refuse(Reply::BAD_NUMBER);
        };
        if let Some(place) = self.message(word) {
            self.messages[place].deleted = true;
            self.say(Reply::MARKED);
        }
    }

    /// The place of the message with this number; where there is none, the client hears so.
    fn message(&mut self, word: &[u8]) -> Option<usize> {
        let Some(number) = command::number(word) else {
            self.refuse(Reply::BAD_NUMBER);
            return None;
        };
        let place = usize::try_from(number)
            .unwrap_or(usize::MAX)
            .wrapping_sub(1);
        match self.messages.get(place) {
            Some(held) if held.deleted => self.say(Reply::DELETED),
            Some(_) => return Some(place),
            // Clients ask for the next one until there is none: that is no fault of theirs.
            None => self.write(format_args!("-ERR There's no message {number}.\r\n")),
        }
        None
    }
}

/// What is there in both states. A maildrop keeps messages until somebody deletes them.
const CAPABILITIES: [&str; 9] = [
    "TOP",
    "UIDL",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "EXPIRE NEVER",
    "UTF8 USER",
    "LANG",
    "IMPLEMENTATION Ringpost",
];

/// Octets of a line without its end. Commands have 255 (RFC 2449 §4), answers to challenges what
/// their mechanism needs: 12288 in RFC 4954 §4.
const LINE_OCTETS_MAX: usize = 12_288;
/// What is skipped of a longer one before we hang up.
const SKIPPED_OCTETS_MAX: usize = 1 << 20;
/// Replies that are kept before they have to be written.
const OUTPUT_OCTETS_MAX: usize = 16 * 1024;
/// Invalid commands in a row before the login. A client that speaks something else has said enough.
const FAULTS_OF_STRANGERS_MAX: u32 = 3;
/// And behind it.
const FAULTS_MAX: u32 = 20;
/// Commands before the login: more than a client needs to find out what is offered, and to try
/// some passwords.
const COMMANDS_OF_STRANGERS_MAX: u32 = 50;
