//! A blocking SMTP client that says exactly what a test wants said.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use super::PATIENCE;
use super::front::{Octets, secured_as};

/// One reply, all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// The text of each line, without the code.
    pub lines: Vec<String>,
}

impl Reply {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Panics unless the reply begins like `550 5.1.1` or `250`.
    #[track_caller]
    pub fn is(self, wanted: &str) -> Self {
        let said = format!("{} {}", self.code, self.text());
        assert!(
            said.starts_with(wanted),
            "wanted `{wanted}`, the relay said `{said}`"
        );
        self
    }

    /// The queue id of `250 2.0.0 ... queued as ID`.
    #[track_caller]
    pub fn queue_id(&self) -> String {
        let is_id = |word: &&str| {
            word.len() == 13
                && word
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        };
        let text = self.text();
        let id = text.split(|c: char| !c.is_ascii_alphanumeric()).find(is_id);
        id.unwrap_or_else(|| panic!("no queue id in `{text}`"))
            .to_owned()
    }
}

pub struct Client {
    stream: TcpStream,
    /// What goes over it under TLS.
    under_tls: Option<Box<dyn Octets>>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects without waiting for the banner.
    pub fn dial(to: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("nodelay");
        Self {
            stream,
            under_tls: None,
            buffer: Vec::new(),
        }
    }

    /// Connects, takes the banner and says EHLO.
    #[track_caller]
    pub fn greet(to: SocketAddr) -> Self {
        let mut client = Self::dial(to);
        client.reply().is("220 ");
        client.command("EHLO c.test").is("250 ");
        client
    }

    /// Says STARTTLS, and EHLO under it. `authority` is the relay's certificate.
    #[track_caller]
    pub fn secure(self, authority: &Path) -> Self {
        self.secure_as(authority, None)
    }

    /// The same with a certificate that is shown to the relay.
    #[track_caller]
    pub fn secure_as(mut self, authority: &Path, shown: Option<&(PathBuf, PathBuf)>) -> Self {
        self.command("STARTTLS").is("220 ");
        let socket = self.stream.try_clone().expect("a second handle");
        self.under_tls = Some(secured_as(socket, authority, shown));
        self.command("EHLO c.test").is("250 ");
        self
    }

    fn octets(&mut self) -> &mut dyn Octets {
        match &mut self.under_tls {
            Some(octets) => octets,
            None => &mut self.stream,
        }
    }

    /// Writes octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.octets()
            .write_all(octets.as_ref())
            .expect("the relay reads");
    }

    /// Writes octets; false when the relay is gone.
    pub fn try_send(&mut self, octets: &[u8]) -> bool {
        self.octets().write_all(octets).is_ok()
    }

    /// The code of the next reply; `None` when the relay is gone.
    pub fn try_reply(&mut self) -> Option<u16> {
        Some(self.next_reply()?.code)
    }

    /// The next reply. Panics when the relay closes or stays silent.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.next_reply()
            .expect("a reply, not the end of the connection")
    }

    /// The next reply, `None` when the connection has ended.
    #[track_caller]
    pub fn next_reply(&mut self) -> Option<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            assert!(line.len() >= 3, "not a reply line: {line:?}");
            let code = line[..3]
                .parse()
                .unwrap_or_else(|_| panic!("not a reply line: {line:?}"));
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(Reply { code, lines });
            }
        }
    }

    /// Says one command and takes its reply.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    /// One transaction; the reply to the final dot. `content` has CRLF line ends and is not
    /// dot-stuffed yet.
    #[track_caller]
    pub fn submit(&mut self, mail: &str, rcpts: &[&str], content: &[u8]) -> Reply {
        self.command(&format!("MAIL FROM:{mail}")).is("250 ");
        for rcpt in rcpts {
            self.command(&format!("RCPT TO:{rcpt}")).is("250 ");
        }
        self.data(content)
    }

    /// DATA, the content, the dot.
    #[track_caller]
    pub fn data(&mut self, content: &[u8]) -> Reply {
        self.command("DATA").is("354 ");
        self.send(stuffed(content));
        self.reply()
    }

    /// True when the relay has ended the connection.
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    /// What has come so far and the test has not taken.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                assert!(
                    line.ends_with(b"\r\n"),
                    "a reply line ended by a bare LF: {line:?}"
                );
                return Some(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned());
            }
            match self.fill() {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waiting for a reply: {error}"),
            }
        }
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 4096];
        let read = self.octets().read(&mut chunk)?;
        self.buffer.extend(&chunk[..read]);
        Ok(read)
    }
}

/// `content` as DATA carries it: dots doubled, the final dot added.
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend(line);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend(b"\r\n");
    }
    wire.extend(b".\r\n");
    wire
}

/// A small complete message with this subject.
pub fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: a@c.test\r\nTo: b@d.test\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 11:00:13 +0000\r\nMessage-ID: <{subject}@c.test>\r\n\r\n\
         Words of {subject}.\r\n"
    )
    .into_bytes()
}
