//! POP3's sessions: the stream to [`Session`], and its questions to the mailbox.

use std::io;
use std::rc::Rc;

use super::lodgers::Lodger;
use super::{Shard, Speaking};
use crate::pop3::reply::Reply;
use crate::pop3::session::{Session, Step, Terms};
use crate::shard::connection::{Connection, Heard};
use crate::shard::gate::Pass;
use crate::shard::login::{Login, Word};
use crate::smtp::server::Encryption;
use crate::world::World;

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
        lodger: None,
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
    visit.connection.close(shard).await;
}

/// One session on this shard.
struct Visit<'a, W: World> {
    shard: &'a Rc<Shard<W>>,
    connection: Connection<W>,
    session: Session,
    login: Login,
    /// Counts among the user's sessions.
    lodger: Option<Lodger>,
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
                let (said, binding) = (said.as_deref(), self.connection.binding());
                let begun = self
                    .login
                    .begin(self.shard, client, &mechanism, said, binding);
                let word = begun.await;
                return Ok(self.answer_login(word));
            }
            Step::AuthResponse(said) => {
                let said = said.to_vec();
                let word = self.login.go_on(self.shard, client, Some(&said)).await;
                return Ok(self.answer_login(word));
            }
            Step::UniqueId(_) => self.session.unique_id(None),
            Step::Content(_) => self.session.refused(Reply::UNREADABLE),
            Step::Update => self.session.updated(false),
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
        let max = self
            .shard
            .settings()
            .config
            .mailboxes
            .max_connections_per_user;
        let Some(lodger) = self.shard.lodgers.enter(user, max) else {
            return self.session.refused(Reply::TOO_MANY_SESSIONS);
        };
        self.lodger = Some(lodger);
        self.session.refused(Reply::NO_MAILDROP);
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
    let (client, is_secured) = (connection.client(), encryption == Encryption::Active);
    Terms {
        tls: encryption == Encryption::Offered,
        passwords: settings.may_log_in(is_secured, client),
        mechanisms: settings.mechanisms(is_secured, connection.binding().is_some(), client),
        stamp,
    }
}

/// What APOP is computed over: never the same twice (RFC 1939 §7).
fn stamp<W: World>(shard: &Shard<W>) -> Option<String> {
    let settings = shard.settings();
    let (drawn, now) = (shard.world.random(), shard.world.wall().0);
    let some = settings.users.iter().any(|(_, user)| user.apop.is_some());
    some.then(|| format!("<{drawn:x}.{now:x}@{}>", settings.hostname))
}
