//! IMAP's sessions: the stream to [`Framer`], commands to the mailbox, and what happens there back
//! to the client.
//!
//! ```text
//! read ─► framer ─► request ─► state ─► a command's own file ─► news ─► tagged answer
//!                                        select, folders, append, fetch, store, find
//! ```
//!
//! A session's [`View`](crate::imap::view::View) gives messages their numbers. It is brought up to
//! date by [`news`] alone, at the moments when a client may hear of it.

mod append;
mod compress;
mod fetch;
mod find;
mod folders;
mod idle;
mod list;
mod login;
mod news;
mod select;
mod store;

use std::borrow::Cow;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use imap_codec::imap_types::command::CommandBody;

use super::lodgers::Lodger;
use super::{Shard, Speaking};
use crate::imap::capability;
use crate::imap::frame::{Frame, Framer, Step};
use crate::imap::read::{self, Body, Request};
use crate::imap::state::{State, place};
use crate::mailbox::{Account, FolderError, is_full_disk};
use crate::shard::clients::connection::{Connection, Heard};
use crate::shard::clients::login::Login;
use crate::shard::life::budget::Loan;
use crate::shard::life::gate::Pass;
use crate::smtp::server::Encryption;
use crate::world::{Tick, World};

use compress::Pair;
use select::Selected;

/// A session on its way home: its user has logged in, and waits to hear so.
pub(super) struct Moving {
    framer: Framer,
    encryption: Encryption,
    tag: String,
}

/// A client that has just come.
pub(super) async fn greet<W: World>(
    shard: &Rc<Shard<W>>,
    connection: Connection<W>,
    encryption: Encryption,
    pass: &Pass,
) {
    let mut visit = Visit::new(shard, connection, encryption, Framer::default());
    let offered = capability::before(visit.terms());
    visit.line(&format!("* OK [CAPABILITY {offered}] Ringpost ready."));
    visit.go_on(None, pass).await;
}

/// A user who has logged in, on the home shard.
pub(super) async fn settle<W: World>(
    shard: &Rc<Shard<W>>,
    connection: Connection<W>,
    moving: Moving,
    user: String,
    pass: &Pass,
) {
    let visit = Visit::new(shard, connection, moving.encryption, moving.framer);
    visit.go_on(Some((user, moving.tag)), pass).await;
}

/// One session on this shard.
struct Visit<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    connection: Connection<W>,
    encryption: Encryption,
    framer: Framer,
    out: Vec<u8>,
    state: State,
    awaits: Awaits,
    login: Login,
    account: Option<Rc<Account<W>>>,
    /// Counts among the user's sessions.
    lodger: Option<Lodger>,
    selected: Option<Selected<W>>,
    enabled: Enabled,
    /// Commands that made no sense, in a row.
    faults: u32,
    compressed: Option<Box<Pair>>,
    /// What the command that comes in takes of the shard's memory budget.
    loan: Option<Loan>,
}

/// What the next line is.
enum Awaits {
    Command,
    /// An answer to SASL, of the command with this tag.
    Sasl(String),
    /// The end of IDLE.
    Done(String),
}

/// What the client has said that it understands (RFC 5161).
#[derive(Clone, Copy, Debug, Default)]
struct Enabled {
    condstore: bool,
    qresync: bool,
    utf8: bool,
    rev2: bool,
}

enum Next {
    Again,
    /// This user has logged in, by the command with this tag.
    In(String, String),
    End,
}

/// How a command ends.
struct Answer {
    status: &'static str,
    text: Cow<'static, str>,
}

impl Answer {
    fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new("OK", text)
    }

    fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new("NO", text)
    }

    fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new("BAD", text)
    }

    fn new(status: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

impl<'a, W: World> Visit<'a, W> {
    fn new(
        shard: &'a Rc<Shard<W>>,
        connection: Connection<W>,
        encryption: Encryption,
        framer: Framer,
    ) -> Self {
        Self {
            shard,
            connection,
            encryption,
            framer,
            out: Vec::new(),
            state: State::NotAuthenticated,
            awaits: Awaits::Command,
            login: Login::default(),
            account: None,
            lodger: None,
            selected: None,
            enabled: Enabled::default(),
            faults: 0,
            compressed: None,
            loan: None,
        }
    }

    /// A session until it ends or moves. `user` has just logged in, by the command with that tag.
    async fn go_on(mut self, mut user: Option<(String, String)>, pass: &Pass) {
        loop {
            match user.take() {
                None => {}
                Some((user, tag)) if self.shard.is_home_of(&user) => self.enter(&user, &tag).await,
                Some((user, tag)) => {
                    let session = Speaking::Imap(Box::new(Moving {
                        framer: self.framer,
                        encryption: self.encryption,
                        tag,
                    }));
                    return self.shard.send_home(self.connection, user, session);
                }
            }
            match self.run(pass).await {
                Ok(Some(named)) => user = Some(named),
                Ok(None) | Err(_) => break,
            }
        }
        let _ = self.flush().await;
        self.connection.close(self.shard).await;
    }

    /// Runs the session up to a login, or to its end.
    async fn run(&mut self, pass: &Pass) -> io::Result<Option<(String, String)>> {
        loop {
            let next = match self.framer.step() {
                Step::NeedInput => self.read(pass).await?,
                Step::Literal(octets) => {
                    self.literal(octets).await?;
                    Next::Again
                }
                Step::Command(frame) => {
                    let next = self.command(frame).await?;
                    self.loan = None;
                    next
                }
                Step::TooLong(tag) => {
                    self.answer(&tag, &Answer::bad("Command line too long"));
                    self.fault()
                }
                Step::Hopeless => {
                    self.line("* BYE Literal too large");
                    Next::End
                }
            };
            match next {
                Next::Again => {}
                Next::In(user, tag) => return Ok(Some((user, tag))),
                Next::End => return Ok(None),
            }
            if self.out.len() > OUTPUT_OCTETS {
                self.flush().await?;
            }
        }
    }

    /// Reads once, after everything is said.
    async fn read(&mut self, pass: &Pass) -> io::Result<Next> {
        self.flush().await?;
        if let Awaits::Done(_) = self.awaits {
            return self.idle(pass).await;
        }
        let wait = self.shard.settings().config.mailboxes.imap_timeout;
        let Some(loan) = self.loan.take() else {
            let heard = self.receive(wait, pass).await?;
            return Ok(self.heard(heard));
        };
        let heard = loan.until_called_back(self.receive(wait, pass)).await;
        let Some(heard) = heard.transpose()? else {
            // In the middle of a literal there is no answer to the command.
            self.line(&format!("* BYE {NO_MEMORY}"));
            return Ok(Next::End);
        };
        loan.note_brought(self.connection.input().0.len(), self.shard.world.now());
        self.loan = Some(loan);
        Ok(self.heard(heard))
    }

    async fn receive(&mut self, wait: Duration, pass: &Pass) -> io::Result<Heard> {
        let room = if self.framer.wants_much() {
            LITERAL_BUFFER_OCTETS
        } else {
            LINE_BUFFER_OCTETS
        };
        let receiving = self
            .connection
            .receive_into(self.shard, wait, Some(pass), room);
        receiving.await
    }

    /// Takes over what was read.
    fn heard(&mut self, heard: Heard) -> Next {
        match heard {
            Heard::Octets => {
                let (input, begin) = self.connection.input();
                match &mut self.compressed {
                    None => self.framer.push(input),
                    Some(pair) => match pair.inflate(input) {
                        Some(octets) => self.framer.push(&octets),
                        None => return Next::End,
                    },
                }
                *begin += input.len();
                self.connection.note_heard(self.shard.world.now());
                return Next::Again;
            }
            Heard::End => {}
            Heard::Silence => self.line("* BYE Disconnected for inactivity."),
            Heard::Closing => self.line("* BYE Server shutting down."),
        }
        Next::End
    }

    /// One command, or a line that belongs to one.
    async fn command(&mut self, frame: Frame) -> io::Result<Next> {
        match std::mem::replace(&mut self.awaits, Awaits::Command) {
            Awaits::Sasl(tag) => return self.sasl_answer(tag, &frame.text).await,
            Awaits::Done(tag) => return self.idle_done(&tag, &frame.text).await,
            Awaits::Command => {}
        }
        let request = match read::request(&frame) {
            Ok(request) => request,
            Err(unread) => {
                let why = format!("Error in IMAP command: {}", unread.why);
                self.answer(&unread.tag, &Answer::bad(why));
                return Ok(self.fault());
            }
        };
        if let Err(why) = self.state.allows(place(&request.body)) {
            self.answer(&request.tag, &Answer::bad(why));
            return Ok(self.fault());
        }
        self.faults = 0;
        Box::pin(self.obey(request, &frame)).await
    }

    /// A command that has its place here.
    async fn obey(&mut self, request: Request, frame: &Frame) -> io::Result<Next> {
        let Request { tag, body } = request;
        let may_expunge = may_expunge(&body);
        if !is_fetch(&body) {
            self.forget_kept();
        }
        let body = match body {
            Body::Plain(body) => match self.session_command(&tag, *body).await? {
                Ok(next) => return Ok(next),
                Err(body) => Body::Plain(Box::new(body)),
            },
            other => other,
        };
        let performed = self.perform(&tag, body, frame).await;
        if let Some(selected) = &mut self.selected {
            selected.summaries = None;
        }
        let answer = match performed {
            Ok(answer) => answer,
            Err(Trouble::Folder(error)) => self.refusal(&error, false),
            Err(Trouble::NoMemory) => Answer::no(NO_MEMORY),
            Err(Trouble::Lost(error)) => return Err(error),
        };
        self.news(may_expunge).await?;
        self.answer(&tag, &answer);
        Ok(Next::Again)
    }

    /// Commands about folders and messages.
    async fn perform(&mut self, tag: &str, body: Body, frame: &Frame) -> Outcome {
        let command = match body {
            Body::Append(mailbox, messages) => return self.append(&mailbox, messages, frame).await,
            Body::Create(mailbox, uses) => return self.create(&mailbox, &uses).await,
            Body::List(listing) => return self.list(listing).await,
            Body::Search(command, returns) => {
                return Box::pin(self.search(tag, *command, returns)).await;
            }
            Body::FetchPreview(command) => return Box::pin(self.fetch(*command, true)).await,
            Body::StatusLimit(command) => return self.status(*command, true).await,
            Body::Plain(command) => *command,
        };
        match command {
            CommandBody::Select {
                mailbox,
                parameters,
            } => self.select(&mailbox, &parameters, false).await,
            CommandBody::Examine {
                mailbox,
                parameters,
            } => self.select(&mailbox, &parameters, true).await,
            CommandBody::Close => self.close().await,
            CommandBody::Unselect => {
                self.deselect();
                Ok(Answer::ok("Unselect completed."))
            }
            CommandBody::Delete { mailbox } => self.delete(&mailbox).await,
            CommandBody::Rename { from, to } => self.rename(&from, &to).await,
            CommandBody::Subscribe { mailbox } => self.subscribe(&mailbox, true).await,
            CommandBody::Unsubscribe { mailbox } => self.subscribe(&mailbox, false).await,
            CommandBody::Lsub {
                reference,
                mailbox_wildcard,
            } => self.lsub(&reference, &mailbox_wildcard).await,
            CommandBody::GetQuota { root } => self.get_quota(root.as_ref()).await,
            CommandBody::GetQuotaRoot { mailbox } => self.get_quota_root(&mailbox).await,
            CommandBody::SetQuota { .. } => {
                Ok(Answer::no("[NOPERM] Quotas are the operator's to set."))
            }
            status @ CommandBody::Status { .. } => self.status(status, false).await,
            fetch @ CommandBody::Fetch { .. } => Box::pin(self.fetch(fetch, false)).await,
            store @ CommandBody::Store { .. } => Box::pin(self.store(store)).await,
            sort @ CommandBody::Sort { .. } => Box::pin(self.sort(sort)).await,
            thread @ CommandBody::Thread { .. } => Box::pin(self.thread(thread)).await,
            CommandBody::Expunge => self.expunge(None).await,
            CommandBody::ExpungeUid { sequence_set } => self.expunge(Some(&sequence_set)).await,
            CommandBody::Copy {
                sequence_set,
                mailbox,
                uid,
            } => self.copy(&sequence_set, &mailbox, uid, false).await,
            CommandBody::Move {
                sequence_set,
                mailbox,
                uid,
            } => self.copy(&sequence_set, &mailbox, uid, true).await,
            other => Ok(Answer::bad(format!("{} is not offered", other.name()))),
        }
    }

    /// What a client hears of what could not be done. `making` asks it to make the folder.
    fn refusal(&self, error: &FolderError, making: bool) -> Answer {
        let code = match error {
            // One that only holds others can be made, too.
            FolderError::NotFound | FolderError::NoSelect if making => "TRYCREATE",
            FolderError::NotFound => "NONEXISTENT",
            FolderError::Exists => "ALREADYEXISTS",
            FolderError::NoSelect | FolderError::BadName => "CANNOT",
            FolderError::OverQuota => "OVERQUOTA",
            FolderError::TooLarge => "TOOBIG",
            FolderError::TooManyKeywords => "LIMIT",
            FolderError::Gone => "EXPUNGEISSUED",
            FolderError::Io(error) => {
                let user = self.account.as_ref().map_or("", |account| account.user());
                self.shard
                    .warn(format_args!("{user}: the mailbox cannot be used: {error}"));
                if is_full_disk(error) {
                    return Answer::no("[UNAVAILABLE] The disk is full: try again later.");
                }
                return Answer::no("[UNAVAILABLE] The mailbox cannot be used now.");
            }
        };
        Answer::no(format!("[{code}] Not done: {error}."))
    }

    /// One more command that makes no sense.
    fn fault(&mut self) -> Next {
        self.faults += 1;
        let max = if self.state == State::NotAuthenticated {
            FAULTS_BEFORE_LOGIN_MAX
        } else {
            FAULTS_MAX
        };
        if self.faults < max {
            return Next::Again;
        }
        self.line("* BYE Too many invalid IMAP commands.");
        Next::End
    }

    fn answer(&mut self, tag: &str, answer: &Answer) {
        self.line(&format!("{tag} {} {}", answer.status, answer.text));
    }

    fn line(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    async fn flush(&mut self) -> io::Result<()> {
        if let Some(pair) = &mut self.compressed
            && !self.out.is_empty()
        {
            self.out = pair.deflate(&self.out);
        }
        self.connection.send(self.shard, &mut self.out).await?;
        if self.out.capacity() > OUTPUT_OCTETS_KEPT {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Sends what has gathered when it is much. A client that reads fast lets nobody wait for it:
    /// others have their turn then.
    async fn relieve(&mut self) -> io::Result<()> {
        if self.out.len() > OUTPUT_OCTETS {
            self.flush().await?;
            self.shard.world.breathe().await;
        }
        Ok(())
    }

    /// The session outlives the time for logging in.
    fn stay(&mut self) {
        self.connection.end_at(Tick::NEVER);
    }

    fn is_utf8(&self) -> bool {
        self.enabled.utf8 || self.enabled.rev2
    }
}

/// Why a command has no answer of its own.
enum Trouble {
    /// The mailbox would not.
    Folder(FolderError),
    /// The shard holds as much as it may.
    NoMemory,
    /// The client is gone.
    Lost(io::Error),
}

type Outcome = Result<Answer, Trouble>;

impl From<FolderError> for Trouble {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// An error of the connection. Those of the disk come as [`FolderError::Io`].
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// May a client hear of expunged messages before this command's answer? Not when it names messages
/// by number, and others may be on their way (RFC 9051 §7.5.1).
fn may_expunge(body: &Body) -> bool {
    let command = match body {
        Body::Plain(command) | Body::Search(command, _) | Body::FetchPreview(command) => command,
        _ => return true,
    };
    match &**command {
        CommandBody::Fetch { uid, .. }
        | CommandBody::Store { uid, .. }
        | CommandBody::Search { uid, .. }
        | CommandBody::Sort { uid, .. }
        | CommandBody::Thread { uid, .. } => *uid,
        _ => true,
    }
}

fn is_fetch(body: &Body) -> bool {
    match body {
        Body::Plain(command) | Body::FetchPreview(command) => {
            matches!(**command, CommandBody::Fetch { .. })
        }
        _ => false,
    }
}

/// The answer when a message has no room in memory.
const NO_MEMORY: &str = "[LIMIT] Out of memory: try again later.";
/// Commands without sense that a stranger may give.
const FAULTS_BEFORE_LOGIN_MAX: u32 = 3;
/// The same for a user, in a row.
const FAULTS_MAX: u32 = 20;
/// What is gathered before it is sent.
const OUTPUT_OCTETS: usize = 64 * 1024;
/// An output buffer larger than this is given back when it is empty.
const OUTPUT_OCTETS_KEPT: usize = 4 * 1024;
/// The buffer between commands: most are short, most sessions idle.
const LINE_BUFFER_OCTETS: usize = 1024;
/// The buffer while a literal comes in.
const LITERAL_BUFFER_OCTETS: usize = 64 * 1024;
