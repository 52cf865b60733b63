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
            asks: false,
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
    /// A request comes in, and nothing was answered yet.
    asks: bool,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Passes on what `poll` found; nothing at all for too long is an error.
    fn unless_silent<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
        asks: bool,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            if let Some(patience) = patience(self.asks, asks) {
                self.silence.as_mut().reset(Instant::now() + patience);
            }
            self.asks = asks;
            return poll;
        }
        let silent = self.silence.as_mut().poll(cx);
        silent.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// How long the peer may take from now on, when octets have come (it `asks`) or went out; `None` where
/// the time that it has goes on: an octet now and then is not a request.
fn patience(asked: bool, asks: bool) -> Option<Duration> {
    match (asked, asks) {
        (true, true) => None,
        (false, true) => Some(REQUEST_MAX),
        (_, false) => Some(SILENCE_MAX),
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.unless_silent(cx, poll, true)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.unless_silent(cx, poll, false)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.unless_silent(cx, poll, false)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An octet each second, and all the connections there are were somebody's for ever.
    #[test]
    fn a_request_has_so_long_from_its_first_octet() {
        let (mut now, mut until, mut asked) = (0, FIRST_SILENCE_MAX.as_secs(), false);
        while now < until {
            if let Some(patience) = patience(asked, true) {
                until = now + patience.as_secs();
            }
            asked = true;
            now += 1;
        }
        assert_eq!(now, REQUEST_MAX.as_secs());
        // An answer that goes on has the time it takes, and so has the next request.
        assert_eq!(patience(true, false), Some(SILENCE_MAX));
        assert_eq!(patience(false, false), Some(SILENCE_MAX));
        assert_eq!(patience(false, true), Some(REQUEST_MAX));
    }
}
