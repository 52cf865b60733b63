//! POP3's sessions: the stream to [`Session`], and its questions to the mailbox.

use std::fmt;
use std::io;
use std::rc::Rc;

use super::lodgers::Lodger;
use super::{Shard, Speaking};
use crate::mailbox::{Change, Folder, FolderError, Names, Pop3Lock, System, is_full_disk};
use crate::pop3::reply::Reply;
use crate::pop3::session::{Held, Session, Step, Terms, Updated};
use crate::pop3::unique_id;
use crate::shard::clients::connection::{Connection, Heard};
use crate::shard::clients::login::{Login, Word};
use crate::shard::life::gate::Pass;
use crate::smtp::server::Encryption;
use crate::world::{Tick, World};

/// A client that has just come.
pub(super) async fn greet<W: World>(
    shard: &Rc<Shard<W>>,
    connection: Connection<W>,
    encryption: Encryption,
    pass: &Pass,
) {
    let stamp = stamp(shard);
    let terms = terms(shard, &connection, encryption, stamp);
    let session = Session::new(&shard.settings().hostname, terms);
    go_on(shard, connection, session, None, pass).await;
}

/// A user who has logged in, on the home shard: opens the maildrop, and goes on.
pub(super) async fn settle<W: World>(
    shard: &Rc<Shard<W>>,
    connection: Connection<W>,
    session: Session,
    user: String,
    pass: &Pass,
) {
    go_on(shard, connection, session, Some(user), pass).await;
}

/// A session until it ends or moves. `user` has just logged in.
async fn go_on<W: World>(
    shard: &Rc<Shard<W>>,
    connection: Connection<W>,
    session: Session,
    mut user: Option<String>,
    pass: &Pass,
) {
    let mut visit = Visit {
        shard,
        connection,
        session,
        login: Login::default(),
        maildrop: None,
    };
    loop {
        match user.take() {
            None => {}
            Some(user) if shard.is_home_of(&user) => visit.open(&user).await,
            Some(user) => {
                let session = Speaking::Pop3(Box::new(visit.session));
                return shard.send_home(visit.connection, user, session);
            }
        }
        match visit.run(pass).await {
            Ok(Some(name)) => user = Some(name),
            Ok(None) | Err(_) => break,
        }
    }
    visit.mark_seen().await;
    visit.connection.close(shard).await;
}

/// One session on this shard.
struct Visit<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    connection: Connection<W>,
    session: Session,
    login: Login,
    /// From the login on.
    maildrop: Option<Maildrop<W>>,
}

/// The user's mail, locked for this session.
struct Maildrop<W: World> {
    folder: Rc<Folder<W>>,
    /// While a list of unique ids is made.
    names: Option<Names<W>>,
    _lock: Pop3Lock<W>,
    /// Counts among the user's sessions.
    _lodger: Lodger,
}

enum Next {
    Again,
    Read,
    /// This user has logged in.
    In(String),
    End,
}

impl<W: World> Visit<'_, W> {
    /// Runs the session up to a login, which gives the user, or to its end.
    async fn run(&mut self, pass: &Pass) -> io::Result<Option<String>> {
        loop {
            let next = match self.step().await? {
                Next::Read => self.read(pass).await?,
                other => other,
            };
            match next {
                Next::In(user) => return Ok(Some(user)),
                Next::End => return Ok(None),
                Next::Again | Next::Read => {}
            }
        }
    }

    /// One step of the session.
    async fn step(&mut self) -> io::Result<Next> {
        let (input, begin) = self.connection.input();
        let (consumed, step) = self.session.step(input);
        *begin += consumed;
        let client = self.connection.client();
        match step {
            Step::NeedInput => return Ok(Next::Read),
            Step::Flush => self.flush().await?,
            Step::StartTls => self.start_tls().await?,
            Step::Login(name, password) => {
                let (name, password) = (name.to_owned(), password.to_vec());
                let word = self.shard.check_login(client, &name, password).await;
                return Ok(self.answer_login(word));
            }
            Step::Apop(name, digest) => {
                let name = name.to_owned();
                let stamp = self.session.stamp().unwrap_or_default().to_owned();
                let word = self.shard.check_apop(client, &name, &stamp, digest).await;
                return Ok(self.answer_login(word));
            }
            Step::Auth(mechanism, said) => {
                let (mechanism, said) = (mechanism.to_owned(), said.map(<[u8]>::to_vec));
                let (said, proofs) = (said.as_deref(), self.connection.proofs());
                let begun = self.login.begin(self.shard, &mechanism, said, proofs);
                let word = begun.await;
                return Ok(self.answer_login(word));
            }
            Step::AuthResponse(said) => {
                let said = said.to_vec();
                let word = self.login.go_on(self.shard, client, Some(&said)).await;
                return Ok(self.answer_login(word));
            }
            Step::UniqueId(uid) => {
                let id = self.unique_id(uid).await;
                self.session.unique_id(id.as_deref());
            }
            Step::Content(uid) => self.send_content(uid).await?,
            Step::Update => {
                let done = self.update().await;
                self.session.updated(done);
            }
            Step::Close => {
                self.flush().await?;
                return Ok(Next::End);
            }
        }
        Ok(Next::Again)
    }

    fn answer_login(&mut self, word: Word) -> Next {
        match word {
            Word::Challenge(challenge) => self.session.challenge(&challenge),
            Word::In(user) => return Next::In(user),
            Word::Wrong => self.session.refused(Reply::WRONG),
            Word::Later => self.session.refused(Reply::LATER),
        }
        Next::Again
    }

    /// Opens the maildrop of a user who is at home here.
    async fn open(&mut self, user: &str) {
        match self.lock(user).await {
            Ok(maildrop) => {
                let mut messages = Vec::with_capacity(maildrop.folder.len());
                maildrop
                    .folder
                    .for_each(|entry| messages.push(Held::new(entry.uid, entry.size)));
                self.session.opened(messages);
                self.maildrop = Some(maildrop);
                self.connection.end_at(Tick::NEVER);
            }
            Err(reply) => self.session.refused(reply),
        }
    }

    /// The maildrop, with everything that was delivered up to now.
    async fn lock(&self, user: &str) -> Result<Maildrop<W>, Reply> {
        let max = self
            .shard
            .settings()
            .config
            .mailboxes
            .max_connections_per_user;
        let lodger = self.shard.lodgers.enter(user, max);
        let lodger = lodger.ok_or(Reply::TOO_MANY_SESSIONS)?;
        let failed = |error: &dyn fmt::Display| {
            self.shard.warn(format_args!(
                "{user}: the mailbox cannot be opened: {error}"
            ));
            Reply::NO_MAILDROP
        };
        let account = self.shard.accounts.open(user).await;
        let account = account.map_err(|error| failed(&error))?;
        let lock = account.lock_pop3().ok_or(Reply::IN_USE)?;
        let folder = account.folder("INBOX").await;
        let folder = folder.map_err(|error| failed(&error))?;
        let looked = folder.refresh().await;
        looked.map_err(|error| failed(&error))?;
        Ok(Maildrop {
            folder,
            names: None,
            _lock: lock,
            _lodger: lodger,
        })
    }

    /// The name of the message's file, which stays when the index is lost, and when the mailbox
    /// moves to another machine or came from one.
    async fn unique_id(&mut self, uid: u32) -> Option<String> {
        let Maildrop { folder, names, .. } = self.maildrop.as_mut()?;
        let name = names.get_or_insert_with(|| folder.names()).base(uid).await;
        Some(unique_id::of_file(&name.ok()??))
    }

    /// Sends a message, or as much of it as the session wants.
    async fn send_content(&mut self, uid: u32) -> io::Result<()> {
        let shard = self.shard;
        if !shard.budget.room(&shard.world).await {
            self.session.refused(Reply::NO_MEMORY);
            return Ok(());
        }
        let _charge = shard.budget.charge(CONTENT_OCTETS);
        let Some(maildrop) = &self.maildrop else {
            self.session.refused(Reply::GONE);
            return Ok(());
        };
        let mut reader = match maildrop.folder.reader(uid).await {
            Ok(reader) => reader,
            Err(error) => {
                let is_gone = matches!(error, FolderError::Gone);
                if !is_gone {
                    shard.warn(format_args!("a message cannot be read: {error}"));
                }
                let reply = if is_gone {
                    Reply::GONE
                } else {
                    Reply::UNREADABLE
                };
                self.session.refused(reply);
                return Ok(());
            }
        };
        self.session.content_begins();
        loop {
            match reader.next().await {
                Ok(Some(piece)) if self.session.content(&piece) => self.flush().await?,
                Ok(_) => break,
                Err(error) => {
                    shard.warn(format_args!("a message cannot be read: {error}"));
                    self.session.abandon();
                    return Ok(());
                }
            }
        }
        self.session.content_ends();
        Ok(())
    }

    /// What was retrieved is \Seen from here on. A failure takes nothing from anybody.
    async fn mark_seen(&mut self) {
        let seen = self.session.take_retrieved();
        let Some(maildrop) = self.maildrop.as_ref().filter(|_| !seen.is_empty()) else {
            return;
        };
        let marking = maildrop
            .folder
            .change_flags(&seen, Change::Add, System::SEEN, &[], None);
        if let Err(error) = marking.await {
            self.shard
                .warn(format_args!("messages cannot be marked as seen: {error}"));
        }
    }

    /// QUIT: what is marked goes, durably.
    async fn update(&mut self) -> Updated {
        self.mark_seen().await;
        let deleted = self.session.deleted();
        let Some(maildrop) = self.maildrop.as_ref().filter(|_| !deleted.is_empty()) else {
            return Updated::Done;
        };
        let done = maildrop.folder.expunge(&deleted).await;
        let Err(error) = done else {
            return Updated::Done;
        };
        self.shard
            .warn(format_args!("messages cannot be deleted: {error}"));
        if is_full_disk(&error) {
            Updated::DiskFull
        } else {
            Updated::Failed
        }
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.connection.secure(self.shard).await?;
        let stamp = self.session.stamp().map(str::to_owned);
        let terms = terms(self.shard, &self.connection, Encryption::Active, stamp);
        self.session.secured(terms);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.connection
            .send(self.shard, self.session.output())
            .await
    }

    /// Reads once, after all replies are out. Silence and the shard's end are the session's end,
    /// without a word and without UPDATE (RFC 1939 §3).
    async fn read(&mut self, pass: &Pass) -> io::Result<Next> {
        self.flush().await?;
        if let Some(maildrop) = &mut self.maildrop {
            maildrop.names = None;
        }
        let wait = self.shard.settings().config.mailboxes.pop3_timeout;
        let heard = self
            .connection
            .receive(self.shard, wait, Some(pass))
            .await?;
        if heard == Heard::Octets {
            self.connection.note_heard(self.shard.world.now());
            return Ok(Next::Again);
        }
        Ok(Next::End)
    }
}

/// What is offered to this client now.
fn terms<W: World>(
    shard: &Shard<W>,
    connection: &Connection<W>,
    encryption: Encryption,
    stamp: Option<String>,
) -> Terms {
    let settings = shard.settings();
    let proofs = connection.proofs();
    Terms {
        tls: encryption == Encryption::Offered,
        passwords: settings.may_log_in(&proofs),
        mechanisms: settings.mechanisms(&proofs),
        stamp: stamp.filter(|_| proofs.is_admitted),
    }
}

/// What APOP is computed over: never the same twice (RFC 1939 §7).
fn stamp<W: World>(shard: &Shard<W>) -> Option<String> {
    let settings = shard.settings();
    let (drawn, now) = (shard.world.random(), shard.world.wall().0);
    let some = settings.users.iter().any(|(_, user)| user.apop.is_some());
    some.then(|| format!("<{drawn:x}.{now:x}@{}>", settings.hostname))
}

/// What a message on its way takes: a piece as it is read, and as it is written.
const CONTENT_OCTETS: usize = 256 << 10;
