//! The server's side of a session: octets in, replies, content and questions out.
//!
//! ```text
//! input ─► line ─► verb ─► stage table ─► arguments ─► question to the driver ─► reply
//!              └─► DATA, BDAT ─► dots, line ends, limits ─► content in wire form
//! ```
//!
//! [`ServerSession::step`] takes what input it can and says what it needs next. Questions
//! ([`Step::Mail`], [`Step::Recipient`], [`Step::Data`], [`Step::Message`]) are put again until
//! one of their answers is given, so a driver may take its time over each; commands that were
//! pipelined behind stay in the input. A positive reply to a message needs a proof that it is on
//! stable storage ([`Committed`]); there is no other way to say it.

mod incoming;
mod limits;
mod mend;
mod stage;
/// What a session says at once, most of the time.
const OUTPUT_OCTETS: usize = 256;

#[cfg(test)]
mod tests;
mod turn;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

pub use self::incoming::Intake;
use self::incoming::{Incoming, Place};
pub use self::limits::{BareLineEnds, ServerKind, ServerLimits};
use self::stage::Stage;
use crate::mail::Committed;
use crate::mail::envelope::{BodyKind, Content, Envelope, Recipient};
use crate::smtp::command::BdatArguments;
use crate::smtp::reply::Reply;
use crate::wire::line::LineScanner;
use crate::wire::path::ReversePath;

/// What a session needs next.
#[derive(Debug)]
pub enum Step<'a> {
    /// More octets, after what is in the output has been written.
    NeedInput,
    /// The output to be written before anything else: a client that sends without reading must
    /// not make it grow.
    Flush,
    /// May a transaction begin? [`ServerSession::mail_accepted`] or `mail_refused`.
    Mail,
    /// Is this recipient one we send to? [`ServerSession::recipient_accepted`] or
    /// `recipient_refused`.
    Recipient(&'a Recipient),
    /// Is there room for a message? [`ServerSession::data_accepted`] or `data_refused`.
    Data,
    /// The next octets of the message.
    Content(Piece<'a>),
    /// The message is complete: [`ServerSession::transaction`], then
    /// [`ServerSession::message_accepted`] or `message_refused`.
    Message,
    /// The output to be written, what else was read to be thrown away (it was not said under
    /// TLS), then the handshake, and [`ServerSession::secured`].
    StartTls,
    /// AUTH with this mechanism, and what the client said with it. Answered by
    /// [`ServerSession::challenge`], `authenticated` or `auth_refused`.
    Auth(&'a str, Option<&'a [u8]>),
    /// What the client says to the last challenge. Answered like [`Step::Auth`].
    AuthResponse(&'a [u8]),
    /// The message begun will not come to an end: what is there of it can go.
    Discard,
    /// The output to be written, and the connection to be closed.
    Close,
}

/// A piece of content in wire form: lines end in CRLF, dots are stuffed, the final dot is no part
/// of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Octets of an earlier input that turned out to be content. They come first.
    pub held: &'static [u8],
    /// And these.
    pub octets: &'a [u8],
}

/// A message that is complete.
#[derive(Debug)]
pub struct Transaction {
    /// From whom, to whom.
    pub envelope: Envelope,
    /// What its octets are like.
    pub content: Content,
    /// What the client called itself.
    pub hello: Rc<str>,
    /// What the trace field says behind `with` (RFC 3848, RFC 6531 §4.3).
    pub protocol: &'static str,
}

/// How a session stands to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not to be had here.
    Absent,
    /// STARTTLS is offered.
    Offered,
    /// Everything is said under it.
    Active,
}

/// One client's session.
pub struct ServerSession {
    limits: Rc<ServerLimits>,
    kind: ServerKind,
    peer: IpAddr,
    may_relay: bool,
    encryption: Encryption,
    /// What AUTH may name; empty where it is not offered.
    mechanisms: &'static [&'static str],
    /// Who the client has proved to be.
    user: Option<Rc<str>>,
    output: Vec<u8>,
    lines: LineScanner,
    stage: Stage,
    mode: Mode,
    hello: Rc<str>,
    /// The hello was EHLO or LHLO.
    extended: bool,
    draft: Option<Draft>,
    incoming: Option<Incoming>,
    /// Replies that the message gets: one, or in LMTP one a recipient (RFC 2033 §4.2).
    replies: usize,
    /// The driver has begun to gather a message.
    gathering: bool,
    /// It is to be told that the message will not come to an end.
    discard: bool,
    shutting_down: bool,
    errors: u32,
    transactions: u32,
}

/// The transaction so far.
struct Draft {
    envelope: Envelope,
    /// `SIZE=`, or of the first chunk where that is larger.
    announced: u64,
    /// Its priority is another than it asked for.
    is_lowered: bool,
}

/// What the next octets are.
enum Mode {
    /// A command line.
    Command,
    /// The rest of a line that is too long, of which so many octets have been skipped.
    LongLine { skipped: usize },
    /// Nothing before the driver's answer.
    Asking(Question),
    /// Content up to the final dot.
    Data,
    /// The rest of a chunk.
    Chunk { left: u64, last: bool },
    /// The rest of a chunk that nobody wants, and what is said behind it.
    Unwanted { left: u64, reply: Reply },
    /// Nothing: the content has ended.
    Ended,
    /// An answer to a challenge.
    AuthResponse,
    /// Nothing before the handshake.
    Securing,
    /// Nothing ever again.
    Closed,
}

enum Question {
    /// Whether the draft may become a transaction.
    Mail,
    Auth(Box<str>, Option<Vec<u8>>),
    AuthResponse(Vec<u8>),
    Recipient(Recipient),
    Data(Option<BdatArguments>),
    /// The content until it is handed out.
    Message(Option<Content>),
}

/// A [`Step`] that borrows nothing yet.
enum Turn {
    /// Go on with what is left of the input.
    Again,
    NeedInput,
    Flush,
    Ask,
    Content(Place),
    StartTls,
    Discard,
    Close,
}

impl ServerSession {
    /// A session with `peer`. The greeting is in the output at once.
    #[must_use]
    pub fn new(
        limits: Rc<ServerLimits>,
        kind: ServerKind,
        peer: IpAddr,
        may_relay: bool,
        encryption: Encryption,
    ) -> Self {
        let protocol = if kind == ServerKind::Lmtp {
            "LMTP"
        } else {
            "ESMTP"
        };
        let mut output = Vec::with_capacity(OUTPUT_OCTETS);
        Reply::greeting(&limits.hostname, protocol).write_into(&mut output);
        Self {
            limits,
            kind,
            peer,
            may_relay,
            encryption,
            mechanisms: &[],
            user: None,
            output,
            lines: LineScanner::default(),
            stage: Stage::Fresh,
            mode: Mode::Command,
            hello: Rc::from(""),
            extended: false,
            draft: None,
            incoming: None,
            replies: 1,
            gathering: false,
            discard: false,
            shutting_down: false,
            errors: 0,
            transactions: 0,
        }
    }

    /// Takes what it can of `input` and says what comes next. What was not consumed is to be
    /// given again, with more behind it.
    pub fn step<'a>(&'a mut self, input: &'a [u8]) -> (usize, Step<'a>) {
        let mut consumed = 0;
        let (from, turn) = loop {
            let from = consumed;
            let (used, turn) = self.turn(&input[from..]);
            consumed += used;
            if !matches!(turn, Turn::Again) {
                break (from, turn);
            }
        };
        let step = match turn {
            Turn::Again | Turn::NeedInput => Step::NeedInput,
            Turn::Flush => Step::Flush,
            Turn::Ask => self.question(),
            Turn::Content(place) => Step::Content(self.piece(place, &input[from..])),
            Turn::StartTls => Step::StartTls,
            Turn::Discard => Step::Discard,
            Turn::Close => Step::Close,
        };
        (consumed, step)
    }

    /// What is to be written; the driver clears it when that is done.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// How long the next octets are waited for.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self.mode {
            Mode::Data | Mode::Chunk { .. } | Mode::Unwanted { .. } => self.limits.data_timeout,
            _ => self.limits.command_timeout,
        }
    }

    /// They did not come.
    pub fn handle_timeout(&mut self) {
        self.hang_up(&Reply::timed_out());
    }

    /// The server goes away: the client hears of it as soon as it has no transaction open, which
    /// may be at once.
    pub fn shutdown(&mut self) {
        self.shutting_down = true;
        self.part_when_idle();
    }

    /// The handshake is done. All that was said in plain is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self) {
        self.encryption = Encryption::Active;
        self.user = None;
        self.hello = Rc::from("");
        self.extended = false;
        self.stage = Stage::Fresh;
        self.mode = Mode::Command;
        self.lines.reset();
    }

    /// Offers AUTH with these mechanisms from the next hello on.
    pub fn offer_auth(&mut self, mechanisms: &'static [&'static str]) {
        self.mechanisms = mechanisms;
    }

    /// Who the client has proved to be.
    #[must_use]
    pub fn user(&self) -> Option<&Rc<str>> {
        self.user.as_ref()
    }

    /// What is spoken.
    #[must_use]
    pub const fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The sender that [`Step::Mail`] asks about.
    #[must_use]
    pub fn reverse_path(&self) -> Option<&ReversePath> {
        match &self.mode {
            Mode::Asking(Question::Mail) => Some(&self.draft.as_ref()?.envelope.reverse_path),
            _ => None,
        }
    }

    /// The transaction at hand has no sender: it tells somebody of his own mail.
    #[must_use]
    pub fn is_report(&self) -> bool {
        let draft = self.draft.as_ref();
        draft.is_some_and(|draft| draft.envelope.reverse_path.0.is_none())
    }

    /// How it stands to TLS.
    #[must_use]
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// True between transactions, when nothing is lost by closing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.in_transaction() && matches!(self.mode, Mode::Command | Mode::LongLine { .. })
    }

    /// True from an accepted MAIL to the end of its message.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        matches!(
            self.stage,
            Stage::Sender | Stage::Recipients | Stage::Chunks
        )
    }

    /// What the client said the message's size will be; zero when it did not.
    #[must_use]
    pub fn announced_size(&self) -> u64 {
        self.draft.as_ref().map_or(0, |draft| draft.announced)
    }

    /// True when the client may send to anybody.
    #[must_use]
    pub fn may_relay(&self) -> bool {
        self.may_relay || self.user.is_some()
    }
}

impl ServerSession {
    /// The client has shown who it is, and may send to anybody.
    pub fn trust(&mut self) {
        self.may_relay = true;
    }
}

/// Answers, each to the question that [`ServerSession::step`] put last.
impl ServerSession {
    /// To [`Step::Mail`]: yes.
    pub fn mail_accepted(&mut self) {
        if let Some(Question::Mail) = self.take_question() {
            let is_lowered = self.draft.as_ref().is_some_and(|draft| draft.is_lowered);
            let reply = match is_lowered {
                true => Reply::priority_lowered(),
                false => Reply::sender_ok(),
            };
            self.stage = Stage::Sender;
            self.transactions += 1;
            self.say(&reply);
        }
    }

    /// To [`Step::Mail`]: no.
    pub fn mail_refused(&mut self, reply: Reply) {
        if let Some(Question::Mail) = self.take_question() {
            self.draft = None;
            self.say(&reply);
        }
    }

    /// To [`Step::Auth`] and [`Step::AuthResponse`]: another question for the client.
    pub fn challenge(&mut self, octets: &[u8]) {
        if let Some(Question::Auth(..) | Question::AuthResponse(_)) = self.take_question() {
            self.say(&Reply::challenge(octets));
            self.mode = Mode::AuthResponse;
        }
    }

    /// To [`Step::Auth`] and [`Step::AuthResponse`]: the client is this user, and may send to
    /// anybody.
    pub fn authenticated(&mut self, user: Rc<str>) {
        if let Some(Question::Auth(..) | Question::AuthResponse(_)) = self.take_question() {
            self.user = Some(user);
            self.say(&Reply::authenticated());
        }
    }

    /// To [`Step::Auth`] and [`Step::AuthResponse`]: no.
    pub fn auth_refused(&mut self, reply: &Reply) {
        if let Some(Question::Auth(..) | Question::AuthResponse(_)) = self.take_question() {
            self.refuse(reply);
        }
    }

    /// To [`Step::Recipient`]: yes.
    pub fn recipient_accepted(&mut self) {
        if let Some(Question::Recipient(recipient)) = self.take_question()
            && let Some(draft) = &mut self.draft
        {
            draft.envelope.recipients.push(recipient);
            self.stage = Stage::Recipients;
            self.say(&Reply::recipient_ok());
        }
    }

    /// To [`Step::Recipient`]: no. The transaction goes on without it.
    pub fn recipient_refused(&mut self, reply: Reply) {
        if let Some(Question::Recipient(_)) = self.take_question() {
            self.say(&reply);
        }
    }

    /// To [`Step::Data`]: yes. Content follows.
    pub fn data_accepted(&mut self) {
        let Some(Question::Data(chunk)) = self.take_question() else {
            return;
        };
        self.gathering = true;
        self.replies = match (&self.draft, self.kind) {
            (Some(draft), ServerKind::Lmtp) => draft.envelope.recipients.len(),
            _ => 1,
        };
        if let Some(chunk) = chunk {
            self.stage = Stage::Chunks;
            self.incoming = Some(Incoming::by_chunks(&self.limits, self.kind));
            self.begin_chunk(chunk);
        } else {
            self.incoming = Some(Incoming::by_data(&self.limits, self.kind));
            self.mode = Mode::Data;
            self.say(&Reply::go_ahead());
        }
    }

    /// To [`Step::Data`]: no. The transaction stays as it was; a chunk is read and forgotten.
    pub fn data_refused(&mut self, reply: Reply) {
        match self.take_question() {
            Some(Question::Data(Some(chunk))) => {
                self.mode = Mode::Unwanted {
                    left: chunk.size,
                    reply,
                };
            }
            Some(Question::Data(None)) => self.say(&reply),
            _ => {}
        }
    }

    /// The message that [`Step::Message`] spoke of. It is given once.
    pub fn transaction(&mut self) -> Option<Transaction> {
        let Mode::Asking(Question::Message(content)) = &mut self.mode else {
            return None;
        };
        let (content, draft) = (content.take()?, self.draft.take()?);
        let mut envelope = draft.envelope;
        if content.eight_bit || content.eight_bit_header {
            envelope.body = BodyKind::EightBit;
        }
        let protocol = self.protocol(envelope.smtputf8);
        Some(Transaction {
            envelope,
            content,
            hello: Rc::clone(&self.hello),
            protocol,
        })
    }

    /// What the trace field says behind `with` (RFC 3848, RFC 6531 §4.3).
    fn protocol(&self, is_utf8: bool) -> &'static str {
        let base = match (self.kind, is_utf8) {
            (ServerKind::Lmtp, false) => ["LMTP", "LMTPS", "LMTPA", "LMTPSA"],
            (ServerKind::Lmtp, true) => ["UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA"],
            (_, true) => ["UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"],
            (_, false) if self.extended => ["ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"],
            (_, false) => ["SMTP"; 4],
        };
        let is_secured = self.encryption == Encryption::Active;
        base[usize::from(is_secured) + 2 * usize::from(self.user.is_some())]
    }

    /// To [`Step::Message`]: it is on stable storage, and ours now.
    pub fn message_accepted(&mut self, proof: &impl Committed) {
        if matches!(self.mode, Mode::Asking(Question::Message(_))) {
            self.errors = 0;
            self.end_message(&Reply::queued(proof.queue_id()));
        }
    }

    /// To [`Step::Message`]: no.
    pub fn message_refused(&mut self, reply: Reply) {
        if matches!(self.mode, Mode::Asking(Question::Message(_))) {
            self.end_message(&reply);
        }
    }

    /// Takes the open question; the session goes on with commands unless its answer says other.
    fn take_question(&mut self) -> Option<Question> {
        match std::mem::replace(&mut self.mode, Mode::Command) {
            Mode::Asking(question) => Some(question),
            other => {
                self.mode = other;
                None
            }
        }
    }
}
