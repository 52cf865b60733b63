//! A user who fetches mail with POP3, as mail programs do: everything, then DELE for some of it, then
//! QUIT, unless the connection ends before.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use md5::{Digest as _, Md5};

use super::Talk;
use crate::sim::SimWorld;
use crate::world::World as _;

/// A user.
pub struct Reader {
    /// The node it runs on.
    pub world: SimWorld,
    /// Where the relay speaks POP3.
    pub relay: SocketAddr,
    /// Its name.
    pub user: Rc<str>,
    /// Its password, which the relay keeps for APOP.
    pub password: Rc<str>,
    /// Messages that it deletes, out of 1000.
    pub deletes_permille: u32,
    /// Connections that it breaks off before QUIT, out of 1000.
    pub breaks_permille: u32,
}

/// What it saw of one session, told as it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// The maildrop is open.
    pub is_in: bool,
    /// Messages by unique id, as they were sent.
    pub messages: BTreeMap<String, Vec<u8>>,
    /// Unique ids of those that DELE was said for.
    pub deleted: Vec<String>,
    /// QUIT was said.
    pub quits: bool,
    /// QUIT was answered: with `+OK`, or not.
    pub answer: Option<bool>,
}

impl Reader {
    /// One session, from the connection to its end. An error is an end too.
    pub async fn run(self, visit: Rc<RefCell<Visit>>) -> io::Result<()> {
        let deadline = self.world.now() + Duration::from_secs(30);
        let stream = self.world.dial(None, self.relay, deadline).await?;
        let mut talk = Talk::new(&self.world, stream);
        let greeting = ok(&mut talk).await?;
        let stamp = greeting.find('<').map(|at| &greeting[at..]);
        let stamp = stamp.ok_or_else(|| io::Error::other("no stamp"))?;
        let digest = Md5::digest(format!("{stamp}{}", self.password).as_bytes());
        let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        // Some say it all at once: what is behind the login moves along with the session.
        let login = format!("APOP {} {digest}\r\n", self.user);
        if talk.random.permille(500) {
            talk.say(format!("{login}UIDL\r\n").as_bytes()).await?;
            ok(&mut talk).await?;
        } else {
            talk.say(login.as_bytes()).await?;
            ok(&mut talk).await?;
            talk.say(b"UIDL\r\n").await?;
        }
        visit.borrow_mut().is_in = true;
        ok(&mut talk).await?;
        let list = String::from_utf8_lossy(&content(&mut talk).await?).into_owned();
        for line in list.lines() {
            let (number, id) = line.split_once(' ').unwrap_or((line, ""));
            talk.say(format!("RETR {number}\r\n").as_bytes()).await?;
            ok(&mut talk).await?;
            let message = content(&mut talk).await?;
            visit.borrow_mut().messages.insert(id.to_owned(), message);
            if talk.random.permille(self.deletes_permille) {
                talk.say(format!("DELE {number}\r\n").as_bytes()).await?;
                visit.borrow_mut().deleted.push(id.to_owned());
                ok(&mut talk).await?;
            }
        }
        if talk.random.permille(self.breaks_permille) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        visit.borrow_mut().quits = true;
        talk.say(b"QUIT\r\n").await?;
        let answer = ok(&mut talk).await;
        let was_answered = !matches!(&answer, Err(error) if error.kind() != io::ErrorKind::Other);
        visit.borrow_mut().answer = was_answered.then_some(answer.is_ok());
        Ok(())
    }
}

/// The text of an answer that says yes; one that says no is an error of the kind `Other`.
async fn ok(talk: &mut Talk) -> io::Result<String> {
    let line = String::from_utf8_lossy(&talk.line().await?).into_owned();
    if line.starts_with("+OK") {
        Ok(line)
    } else {
        Err(io::Error::other(line))
    }
}

/// Lines up to the final dot, without their hiding dots.
async fn content(talk: &mut Talk) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = talk.line().await?;
        if line == b"." {
            return Ok(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        content.extend_from_slice(b"\r\n");
    }
}
