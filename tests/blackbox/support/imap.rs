//! A blocking IMAP client that says exactly what a test wants said.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub struct Imap {
    stream: TcpStream,
    buffer: Vec<u8>,
    tags: u32,
}

/// What came in answer to a command.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Untagged lines, literals included.
    pub untagged: Vec<String>,
    /// The last line, without its tag.
    pub tagged: String,
}

impl Answer {
    /// Panics unless the tagged line begins like that.
    #[track_caller]
    pub fn is(self, wanted: &str) -> Self {
        assert!(
            self.tagged.starts_with(wanted),
            "wanted `{wanted}`: {self:?}"
        );
        self
    }

    /// Panics unless these are the untagged lines.
    #[track_caller]
    pub fn says(self, wanted: &[&str]) -> Self {
        assert_eq!(self.untagged, wanted, "{}", self.tagged);
        self
    }

    /// Panics unless one untagged line has this.
    #[track_caller]
    pub fn has(self, wanted: &str) -> Self {
        let found = self.untagged.iter().any(|line| line.contains(wanted));
        assert!(found, "wanted `{wanted}`: {self:?}");
        self
    }
}

impl Imap {
    /// Connects, and takes the greeting.
    #[track_caller]
    pub fn greet(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("{to}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("nodelay");
        let mut client = Self {
            stream,
            buffer: Vec::new(),
            tags: 0,
        };
        let greeting = client.line();
        assert!(greeting.starts_with("* OK [CAPABILITY "), "{greeting}");
        client
    }

    /// The same, logged in with the password `secret`.
    #[track_caller]
    pub fn login(to: SocketAddr, user: &str) -> Self {
        let mut client = Self::greet(to);
        client.command(&format!("LOGIN {user} secret")).is("OK ");
        client
    }

    /// Writes octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream
            .write_all(octets.as_ref())
            .expect("the relay reads");
    }

    /// One command, with a tag of its own, and its whole answer.
    #[track_caller]
    pub fn command(&mut self, command: &str) -> Answer {
        self.tags += 1;
        let tag = format!("t{}", self.tags);
        self.send(format!("{tag} {command}\r\n"));
        self.answer(&tag)
    }

    /// The tag of the last command.
    pub fn tag(&self) -> String {
        format!("t{}", self.tags)
    }

    /// The answer to the command with this tag.
    #[track_caller]
    pub fn answer(&mut self, tag: &str) -> Answer {
        let mut untagged = Vec::new();
        loop {
            let line = self.line();
            match line.strip_prefix(&format!("{tag} ")) {
                Some(tagged) => {
                    return Answer {
                        untagged,
                        tagged: tagged.to_owned(),
                    };
                }
                None => untagged.push(line),
            }
        }
    }

    /// Adds a message.
    #[track_caller]
    pub fn append(&mut self, mailbox: &str, message: &str) {
        let len = message.len();
        self.command(&format!("APPEND {mailbox} {{{len}+}}\r\n{message}"))
            .is("OK [APPENDUID ");
    }

    /// The next line, with the literals in it. Panics at the end of the connection.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.next_line()
            .expect("a line, not the end of the connection")
    }

    /// The same; `None` at the end of the connection.
    pub fn next_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let end = self.fill_until(|buffer| buffer.iter().position(|octet| *octet == b'\n'))?;
            line.extend(self.buffer.drain(..=end));
            let text = line.strip_suffix(b"\r\n").expect("CRLF ends a line");
            let Some(len) = announced(text) else {
                return Some(String::from_utf8_lossy(text).into_owned());
            };
            self.fill_until(|buffer| (buffer.len() >= len).then_some(len))?;
            line.extend(self.buffer.drain(..len));
        }
    }

    fn fill_until(&mut self, is_there: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        loop {
            if let Some(found) = is_there(&self.buffer) {
                return Some(found);
            }
            let mut piece = [0; 16 * 1024];
            let len = self.stream.read(&mut piece).ok()?;
            if len == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&piece[..len]);
        }
    }
}

/// `{n}` at the end of a line.
fn announced(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let at = inner.iter().rposition(|octet| *octet == b'{')?;
    str::from_utf8(&inner[at + 1..]).ok()?.parse().ok()
}
