//! A blocking POP3 client that says exactly what a test wants said.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::PATIENCE;
use super::front::{Octets, secured};

/// A connection that has been greeted.
pub struct Pop3 {
    stream: Box<dyn Octets>,
    socket: TcpStream,
    buffer: Vec<u8>,
    pub greeting: String,
}

impl Pop3 {
    /// Connects and takes the greeting.
    #[track_caller]
    pub fn greet(to: SocketAddr) -> Self {
        let socket = dial(to);
        let stream = Box::new(socket.try_clone().expect("a second handle"));
        Self::over(stream, socket)
    }

    /// The same under TLS from the first octet on. `authority` is the server's certificate.
    #[track_caller]
    pub fn greet_tls(to: SocketAddr, authority: &Path) -> Self {
        let socket = dial(to);
        let stream = secured(socket.try_clone().expect("a second handle"), authority);
        Self::over(stream, socket)
    }

    #[track_caller]
    fn over(stream: Box<dyn Octets>, socket: TcpStream) -> Self {
        let mut client = Self {
            stream,
            socket,
            buffer: Vec::new(),
            greeting: String::new(),
        };
        client.greeting = client.line().expect("a greeting");
        client
    }

    /// Goes on under TLS.
    pub fn secure(&mut self, authority: &Path) {
        assert!(self.buffer.is_empty(), "said in plain: {:?}", self.buffer);
        let socket = self.socket.try_clone().expect("a second handle");
        self.stream = secured(socket, authority);
    }

    /// Writes octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream
            .write_all(octets.as_ref())
            .expect("the server reads");
    }

    /// Says one command; the line it is answered with.
    #[track_caller]
    pub fn say(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.line()
            .expect("an answer, not the end of the connection")
    }

    /// Says one command, which must be answered with this line, or one that begins like it.
    #[track_caller]
    pub fn expect(&mut self, command: &str, wanted: &str) -> String {
        let said = self.say(command);
        assert!(
            said.starts_with(wanted),
            "{command}: wanted `{wanted}`, the server said `{said}`"
        );
        said
    }

    /// USER and PASS, which must work.
    #[track_caller]
    pub fn log_in(mut self, user: &str, password: &str) -> Self {
        self.expect(&format!("USER {user}"), "+OK");
        self.expect(&format!("PASS {password}"), "+OK Logged in.");
        self
    }

    /// Says one command that is answered with several lines: those behind the first, without
    /// hiding dots.
    #[track_caller]
    pub fn list(&mut self, command: &str) -> Vec<String> {
        self.expect(command, "+OK");
        self.rest().lines().map(str::to_owned).collect()
    }

    /// What follows up to the final dot, without hiding dots.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    /// The same as octets.
    #[track_caller]
    pub fn octets(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let line = self.raw_line().expect("the final dot");
            match line.strip_prefix(b".") {
                Some(b"\r\n") => return content,
                Some(rest) => content.extend_from_slice(rest),
                None => content.extend_from_slice(&line),
            }
        }
    }

    /// The next line, without its end; `None` at the end of the connection.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        let line = self.raw_line()?;
        let text = line.strip_suffix(b"\r\n");
        let text = text.unwrap_or_else(|| panic!("no CRLF behind {line:?}"));
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// True when the server has ended the connection, and has said nothing before it.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        self.line().is_none()
    }

    fn raw_line(&mut self) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                return Some(self.buffer.drain(..=searched + at).collect());
            }
            searched = self.buffer.len();
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waiting for a line: {error}"),
            }
        }
    }
}

fn dial(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_nodelay(true).expect("nodelay");
    socket
}
