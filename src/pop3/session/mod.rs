//! One session: octets in, replies and questions out.
//!
//! ```text
//! input ─► line ─► verb ─► state table ─► arguments ─► reply, or a question to the driver
//!
//! AUTHORIZATION ── opened ──► TRANSACTION ── QUIT ──► UPDATE ──► closed
//!        └── QUIT ──► closed       └── anything else that ends it ──► closed, nothing is deleted
//! ```
//!
//! [`Session::step`] takes what input it can and says what it needs next. Questions are put again
//! until one of their answers is given; commands that were pipelined behind stay in the input
//! (RFC 2449 §6.6). What a session knows of the maildrop is a number and a size for each message, so
//! that it can travel to another shard.

mod content;
mod state;
#[cfg(test)]
mod tests;
mod turn;

use self::content::Content;
use self::state::State;
use super::reply::Reply;
use crate::wire::line::LineScanner;

/// What a session needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// More octets, after what is in the output has been written.
    NeedInput,
    /// The output to be written before anything else: a client that sends without reading must
    /// not make it grow.
    Flush,
    /// The output to be written, what else was read to be thrown away (it was not said under
    /// TLS), then the handshake, and [`Session::secured`].
    StartTls,
    /// USER and PASS. Answered by [`Session::opened`] or [`Session::refused`].
    Login(&'a str, &'a [u8]),
    /// APOP. Answered like [`Step::Login`].
    Apop(&'a str, [u8; 16]),
    /// AUTH with this mechanism, and what the client said with it. Answered by
    /// [`Session::challenge`], or like [`Step::Login`].
    Auth(&'a str, Option<&'a [u8]>),
    /// What the client says to the last challenge. Answered like [`Step::Auth`].
    AuthResponse(&'a [u8]),
    /// The unique id of the message with this uid: [`Session::unique_id`].
    UniqueId(u32),
    /// The content of the message with this uid: [`Session::content_begins`], then
    /// [`Session::content`] with each piece while it says true, then [`Session::content_ends`]; or
    /// [`Session::refused`] before the beginning, [`Session::abandon`] behind it.
    Content(u32),
    /// The messages of [`Session::deleted`] to be deleted: [`Session::updated`].
    Update,
    /// The output to be written, and the connection to be closed.
    Close,
}

/// What is offered before the login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// STLS may be said.
    pub tls: bool,
    /// USER and PASS may be said.
    pub passwords: bool,
    /// What AUTH may name.
    pub mechanisms: &'static [&'static str],
    /// What APOP is computed over; `None` where nobody can use it.
    pub stamp: Option<String>,
}

/// A message of the maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name for the driver.
    pub uid: u32,
    /// Octets, with CRLF line ends and without hiding dots.
    pub size: u32,
    deleted: bool,
    /// RETR has sent all of it.
    retrieved: bool,
}

impl Held {
    /// A message that is there.
    #[must_use]
    pub const fn new(uid: u32, size: u32) -> Self {
        Self {
            uid,
            size,
            deleted: false,
            retrieved: false,
        }
    }
}

/// One client's session.
pub struct Session {
    terms: Terms,
    state: State,
    mode: Mode,
    output: Vec<u8>,
    lines: LineScanner,
    /// What USER said.
    name: Option<String>,
    /// Invalid commands in a row.
    faults: u32,
    /// Commands before the login.
    commands: u32,
    /// UTF8 was said.
    utf8: bool,
    /// By number, from 1.
    messages: Vec<Held>,
}

/// What the next octets are.
enum Mode {
    /// A command line.
    Command,
    /// The rest of a line that is too long, of which so many octets have been skipped.
    LongLine { skipped: usize },
    /// Nothing before the driver's answer.
    Asking(Question),
    /// An answer to a challenge.
    AuthResponse,
    /// Nothing before the list is complete: LIST or UIDL, from this place on.
    Listing(List, usize),
    /// Nothing before the content of the message in this place is complete.
    Sending(usize, Content),
    /// Nothing before the handshake.
    Securing,
    /// Nothing ever again.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Sizes,
    UniqueIds,
}

enum Question {
    Login(String, Vec<u8>),
    Apop(String, [u8; 16]),
    Auth(String, Option<Vec<u8>>),
    AuthResponse(Vec<u8>),
    /// The place of a message, and whether the rest of the list follows.
    UniqueId(usize, bool),
    /// RETR, or TOP with so many lines.
    Content(usize, Option<u32>),
    Update,
}

/// A [`Step`] that borrows nothing yet.
enum Turn {
    /// Go on with what is left of the input.
    Again,
    NeedInput,
    Flush,
    Ask,
    StartTls,
    Close,
}

/// What became of the messages that a session has marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// They are gone, if there were any.
    Done,
    /// Some may still be there.
    Failed,
    /// They are still there: deleting takes a little room, too.
    DiskFull,
}

impl Session {
    /// A session with somebody who has just connected to `hostname`. The greeting is in the output
    /// at once.
    #[must_use]
    pub fn new(hostname: &str, terms: Terms) -> Self {
        let mut output = Vec::new();
        output.extend_from_slice(b"+OK ");
        output.extend_from_slice(hostname.as_bytes());
        output.extend_from_slice(b" POP3 ready");
        if let Some(stamp) = &terms.stamp {
            output.push(b' ');
            output.extend_from_slice(stamp.as_bytes());
        }
        output.extend_from_slice(b"\r\n");
        Self {
            terms,
            state: State::Authorization,
            mode: Mode::Command,
            output,
            lines: LineScanner::default(),
            name: None,
            faults: 0,
            commands: 0,
            utf8: false,
            messages: Vec::new(),
        }
    }

    /// Takes what it can of `input` and says what comes next. What was not consumed is to be
    /// given again, with more behind it.
    pub fn step(&mut self, input: &[u8]) -> (usize, Step<'_>) {
        let mut consumed = 0;
        let turn = loop {
            let (used, turn) = self.turn(&input[consumed..]);
            consumed += used;
            if !matches!(turn, Turn::Again) {
                break turn;
            }
        };
        let step = match turn {
            Turn::Again | Turn::NeedInput => Step::NeedInput,
            Turn::Flush => Step::Flush,
            Turn::Ask => self.question(),
            Turn::StartTls => Step::StartTls,
            Turn::Close => Step::Close,
        };
        (consumed, step)
    }

    /// What is to be written; the driver clears it when that is done.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// What the greeting said for APOP.
    #[must_use]
    pub fn stamp(&self) -> Option<&str> {
        self.terms.stamp.as_deref()
    }

    /// The handshake is done. All that was said in plain is forgotten, and these are the terms now.
    pub fn secured(&mut self, terms: Terms) {
        self.terms = terms;
        self.name = None;
        self.mode = Mode::Command;
        self.lines.reset();
    }

    /// What [`Step::Update`] asks to have deleted.
    #[must_use]
    pub fn deleted(&self) -> Vec<u32> {
        let deleted = self.messages.iter().filter(|held| held.deleted);
        deleted.map(|held| held.uid).collect()
    }

    /// What was retrieved and stays; once. However the session ends, IMAP tells then that it was read,
    /// as with Dovecot.
    #[must_use]
    pub fn take_retrieved(&mut self) -> Vec<u32> {
        let messages = self.messages.iter_mut();
        let retrieved = messages.filter_map(|held| {
            let stays = std::mem::take(&mut held.retrieved) && !held.deleted;
            stays.then_some(held.uid)
        });
        retrieved.collect()
    }
}

/// Answers, each to the question that [`Session::step`] put last.
impl Session {
    /// To a login: the maildrop is this client's until it goes.
    pub fn opened(&mut self, messages: Vec<Held>) {
        if self.is_login() {
            self.take_question();
            self.messages = messages;
            self.state = State::Transaction;
            self.faults = 0;
            self.say(Reply::LOGGED_IN);
        }
    }

    /// To a login, or to [`Step::Content`] before its beginning: no.
    pub fn refused(&mut self, reply: Reply) {
        let is_content = matches!(self.mode, Mode::Asking(Question::Content(..)));
        if is_content || self.is_login() {
            self.take_question();
            self.say(reply);
        }
    }

    /// To [`Step::Auth`] and [`Step::AuthResponse`]: another question for the client.
    pub fn challenge(&mut self, octets: &[u8]) {
        if let Mode::Asking(Question::Auth(..) | Question::AuthResponse(_)) = self.mode {
            self.say_challenge(octets);
            self.mode = Mode::AuthResponse;
        }
    }

    /// To [`Step::UniqueId`]; `None` for a message that is not there any more.
    pub fn unique_id(&mut self, id: Option<&str>) {
        let Mode::Asking(Question::UniqueId(place, in_list)) = self.mode else {
            return;
        };
        if !in_list {
            self.mode = Mode::Command;
            match id {
                Some(id) => self.say_number("+OK ", place, id),
                None => self.say(Reply::GONE),
            }
            return;
        }
        if let Some(id) = id {
            self.say_number("", place, id);
        }
        self.mode = Mode::Listing(List::UniqueIds, place + 1);
    }

    /// To [`Step::Content`]: it can be read.
    pub fn content_begins(&mut self) {
        let Mode::Asking(Question::Content(place, lines)) = self.mode else {
            return;
        };
        match lines {
            None => self.say_octets(place),
            Some(_) => self.say(Reply::OK),
        }
        self.mode = Mode::Sending(place, Content::new(lines, self.utf8));
    }

    /// The next octets, with CRLF line ends; false when no more are wanted.
    pub fn content(&mut self, octets: &[u8]) -> bool {
        match &mut self.mode {
            Mode::Sending(_, content) => content.append(&mut self.output, octets),
            _ => false,
        }
    }

    /// That was all.
    pub fn content_ends(&mut self) {
        if let Mode::Sending(place, content) = &mut self.mode {
            content.end(&mut self.output);
            self.messages[*place].retrieved |= content.is_whole();
            self.mode = Mode::Command;
        }
    }

    /// To [`Step::Update`].
    pub fn updated(&mut self, updated: Updated) {
        if !matches!(self.mode, Mode::Asking(Question::Update)) {
            return;
        }
        let some = self.messages.iter().any(|held| held.deleted);
        self.hang_up(match (updated, some) {
            (Updated::Done, true) => Reply::BYE_DELETED,
            (Updated::Done, false) => Reply::BYE,
            (Updated::Failed, _) => Reply::NOT_DELETED,
            (Updated::DiskFull, _) => Reply::NOT_DELETED_DISK_FULL,
        });
    }

    /// The rest of the content cannot be had: the client must not take what it has for all of it.
    pub fn abandon(&mut self) {
        self.mode = Mode::Closed;
    }

    /// The open question is how a login ends.
    fn is_login(&self) -> bool {
        matches!(
            self.mode,
            Mode::Asking(
                Question::Login(..)
                    | Question::Apop(..)
                    | Question::Auth(..)
                    | Question::AuthResponse(_)
            )
        )
    }

    /// The open question is answered; the session goes on with commands.
    fn take_question(&mut self) {
        self.mode = Mode::Command;
    }
}
