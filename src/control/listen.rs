//! The control plane's listener: so many connections, and none that only keeps silent.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::observe::ask::ORDER_PATIENCE;

/// A listener that waits with the next connection while there are enough.
pub(super) struct Bounded {
    listener: TcpListener,
    seats: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            seats: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let seat = Arc::clone(&self.seats).acquire_owned().await.ok();
        // axum's own accept waits a second and tries again when descriptors are short.
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            silence: Box::pin(sleep(FIRST_SILENCE_MAX)),
            request: None,
            _seat: seat,
        };
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who has connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection that fails when its peer has neither sent nor taken anything for too long, or takes
/// too long to say what it wants.
pub(super) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    /// What comes in, while nothing was answered yet.
    request: Option<Incoming>,
    _seat: Option<OwnedSemaphorePermit>,
}

/// A request, as far as it has come.
struct Incoming {
    began: Instant,
    octets: u64,
    /// Line ends in a row: the second one is the end of the header.
    line_ends: u8,
}

impl Incoming {
    fn begins(now: Instant) -> Self {
        Self {
            began: now,
            octets: 0,
            line_ends: 0,
        }
    }

    fn take(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        for octet in octets {
            match octet {
                _ if self.line_ends == HEADER_END => return,
                b'\n' => self.line_ends += 1,
                b'\r' => {}
                _ => self.line_ends = 0,
            }
        }
    }

    /// Until when it has to be answered, or its header has to be here: an octet now and then is not a request.
    fn until(&self) -> Instant {
        let patience = if self.line_ends == HEADER_END {
            REQUEST_MAX
        } else {
            // What was asked to go on (100 Continue) looks like this too, and a message is large.
            let more = Duration::from_secs(self.octets / OCTETS_PER_SECOND_MIN);
            HEADER_MAX.saturating_add(more).min(REQUEST_MAX)
        };
        self.began + patience
    }
}

impl Connection {
    /// Passes on what `poll` found; nothing at all for too long is an error.
    fn unless_silent<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            let until = match &self.request {
                Some(request) => request.until(),
                None => Instant::now() + SILENCE_MAX,
            };
            self.silence.as_mut().reset(until);
            return poll;
        }
        let silent = self.silence.as_mut().poll(cx);
        silent.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The same of octets that go out: what was asked is answered.
    fn unless_stuck<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.request = None;
        }
        self.unless_silent(cx, poll)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if poll.is_ready() {
            let begins = || Incoming::begins(Instant::now());
            let request = self.request.get_or_insert_with(begins);
            request.take(&buffer.filled()[before..]);
        }
        self.unless_silent(cx, poll)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.unless_stuck(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.unless_stuck(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections at a time: some scrapers, some operators. Memory and descriptors belong to mail.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// Who connects has something to ask. Whoever only connects gives way to others soon.
const FIRST_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Longer than a scraper's interval, so that its connection stays; longer than any answer takes.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// From the first octet of a request to the first of its answer: an order for a million messages takes
/// its time.
const REQUEST_MAX: Duration = ORDER_PATIENCE.saturating_add(Duration::from_secs(10));

/// From the first octet of a request to the end of its header.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// What comes faster has more time.
const OCTETS_PER_SECOND_MIN: u64 = 8 * 1024;

/// Line ends in a row.
const HEADER_END: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after which one is hung up on that sends this each second, and never ends.
    fn lasts(piece: &[u8]) -> u64 {
        let began = Instant::now();
        let mut request = Incoming::begins(began);
        let mut second = 0;
        while began + Duration::from_secs(second) < request.until() {
            request.take(piece);
            second += 1;
        }
        second
    }

    /// An octet each second, and all the connections there are were somebody's for a minute and a half.
    #[test]
    fn a_header_has_so_long_from_its_first_octet() {
        assert_eq!(lasts(b"x"), HEADER_MAX.as_secs());
        assert_eq!(lasts(b"X: y\r\n"), HEADER_MAX.as_secs());
        let upload = [b'x'; 20 * 1024];
        assert_eq!(lasts(&upload), REQUEST_MAX.as_secs());
    }

    #[test]
    fn a_request_that_is_here_has_the_time_that_its_answer_takes() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\n\n",
            "POST / HTTP/1.1\r\n\r\nbody\r\nbody",
        ] {
            for cut in 0..=text.len() {
                let began = Instant::now();
                let mut request = Incoming::begins(began);
                let (first, rest) = text.as_bytes().split_at(cut);
                request.take(first);
                request.take(rest);
                assert_eq!(request.until() - began, REQUEST_MAX, "{text:?} at {cut}");
            }
        }
    }
}
