//! Sockets on glommio.
//!
//! Rules kept here: sockets are made with socket2, because glommio can neither choose a source
//! address nor a backlog; reads and writes are system calls of ours that do not wait, and glommio is
//! asked for readiness alone, when there is none; a deadline is a timer of ours; a stream is shut down
//! before it is dropped, because a request that the ring still has would keep the socket open, and the
//! peer would wait for its FIN.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Poll, Waker};

use glommio::io::{PollState, PollableFd};
use glommio::timer::Timer;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::{looked, now, plain};
use crate::world::{Listener, Parcel, Stream, Tick};

/// A connected TCP stream.
///
/// Not glommio's: that one asks for readiness again as soon as something was read, and an idle one
/// has room for its own deadlines.
pub struct UringStream {
    socket: PollableFd<Socket>,
    peer: SocketAddr,
    /// Kept between waits: a new one is an allocation, a reset is not.
    timer: Option<Timer>,
    /// All that was there has been read: it is not asked for before more has come.
    is_drained: bool,
    /// Both directions were ended.
    is_shut: bool,
}

/// What a stream waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Read,
    Write,
}

impl UringStream {
    fn new(socket: Socket, peer: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            socket: PollableFd::new(socket).map_err(plain)?,
            peer: canonical(peer),
            timer: None,
            // A client waits for our greeting, and a host's is on its way.
            is_drained: true,
            is_shut: false,
        })
    }

    /// For another shard. The ring of this one lets go of it: what waits on a descriptor waits on a
    /// second one of the same socket.
    pub(super) fn pack(mut self) -> io::Result<Parcel> {
        let socket = self.socket.get_ref().try_clone()?;
        // Dropped here, and not ended.
        self.is_shut = true;
        Ok(Parcel::new((socket, self.peer)))
    }

    /// What another shard has packed.
    pub(super) fn unpack(parcel: Parcel) -> io::Result<Self> {
        let (socket, peer): (Socket, SocketAddr) = parcel.open()?;
        Self::new(socket, peer)
    }

    /// Makes `attempt`s until one is not `AGAIN` or `deadline` has passed. Before each but the first it
    /// waits until the socket is ready; before that one too with `waits`.
    async fn until<T>(
        &mut self,
        wish: Wish,
        mut waits: bool,
        deadline: Tick,
        mut attempt: impl FnMut(&Socket) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let (socket, timer) = (&self.socket, &mut self.timer);
        let (mut state, mut polls, mut is_timed) = (PollState::new(), 0, false);
        poll_fn(|cx| {
            if polls > 0 {
                looked();
            }
            loop {
                if !std::mem::replace(&mut waits, true) {
                    match attempt(socket.get_ref()) {
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        done => return Poll::Ready(done.map_err(io::Error::from)),
                    }
                }
                // Whoever is polled and finds nothing leaves a waker behind.
                polls += 1;
                if polls % WAKERS_MAX == 0 {
                    state = PollState::new();
                }
                let ready = match wish {
                    Wish::Read => socket.poll_readable(cx, &mut state),
                    Wish::Write => socket.poll_writable(cx, &mut state),
                };
                match ready {
                    Poll::Ready(Ok(())) => waits = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(plain(error))),
                    Poll::Pending => break,
                }
            }
            if deadline == Tick::NEVER {
                return Poll::Pending;
            }
            if !std::mem::replace(&mut is_timed, true) {
                let wait = deadline.since(now());
                match &mut *timer {
                    Some(timer) => timer.reset(wait),
                    none => *none = Some(Timer::new(wait)),
                }
            }
            let timer = timer.as_mut().map(|timer| Pin::new(timer).poll(cx));
            match timer {
                Some(Poll::Ready(_)) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

impl Stream for UringStream {
    async fn readable(&mut self, deadline: Tick) -> io::Result<()> {
        if self.is_drained {
            self.until(Wish::Read, true, deadline, |_| Ok(())).await?;
            self.is_drained = false;
        }
        Ok(())
    }

    async fn read(&mut self, into: &mut [u8], deadline: Tick) -> io::Result<usize> {
        let waits = self.is_drained;
        let flags = RecvFlags::DONTWAIT;
        let receive = |socket: &Socket| rustix::net::recv(socket, &mut *into, flags);
        let (len, _) = self.until(Wish::Read, waits, deadline, receive).await?;
        self.is_drained = len < into.len();
        Ok(len)
    }

    async fn write(&mut self, mut parts: &mut [IoSlice<'_>], deadline: Tick) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let send = |socket: &Socket| {
                let mut nothing = SendAncillaryBuffer::default();
                rustix::net::sendmsg(socket, parts, &mut nothing, AT_ONCE)
            };
            let written = self.until(Wish::Write, false, deadline, send).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }

    async fn write_last(&mut self, octets: &[u8], deadline: Tick) -> io::Result<()> {
        // Held back for the FIN that follows: one segment, and the peer wakes once.
        let flags = AT_ONCE | SendFlags::MORE;
        let sent = rustix::net::send(self.socket.get_ref(), octets, flags).unwrap_or(0);
        let rest = &octets[sent..];
        let written = match rest {
            [] => Ok(()),
            // What hinders it is met again here, and waited for or told.
            _ => self.write(&mut [IoSlice::new(rest)], deadline).await,
        };
        self.shutdown();
        written
    }

    fn is_stale(&mut self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = rustix::net::recv(self.socket.get_ref(), &mut [0u8; 1], flags);
        !matches!(seen, Err(Errno::AGAIN))
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        // Asked for when it is wanted, which is seldom: not a system call for each connection.
        let local = self.socket.get_ref().local_addr();
        let local = local.and_then(|local| address(&local));
        local.map_or(UNKNOWN, canonical)
    }

    fn shutdown(&mut self) {
        if std::mem::replace(&mut self.is_shut, true) {
            return;
        }
        // An error says that the peer was faster; there is nothing left to end then.
        let _ = self.socket.get_ref().shutdown(Shutdown::Both);
    }
}

impl Drop for UringStream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// A listening socket.
pub struct UringListener {
    socket: PollableFd<Socket>,
    local: SocketAddr,
    /// Another process goes on with the socket.
    left: Cell<bool>,
    /// Who waits in [`Listener::accept`].
    waiting: Cell<Option<Waker>>,
}

impl UringListener {
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        let local = address(&socket.local_addr()?)?;
        let socket = PollableFd::new(socket).map_err(plain)?;
        Ok(Self {
            socket,
            local,
            left: Cell::new(false),
            waiting: Cell::new(None),
        })
    }

    /// Waits for something to accept. Not an accept of the ring's: one that is under way when the
    /// socket is handed over cannot be taken back without the client whom it has accepted meanwhile.
    async fn waited(&self) -> io::Result<()> {
        let mut state = PollState::new();
        poll_fn(|cx| {
            if self.left.get() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.waiting.set(Some(cx.waker().clone()));
            let ready = self.socket.poll_readable(cx, &mut state);
            ready.map(|done| done.map_err(plain))
        })
        .await
    }
}

impl Listener for UringListener {
    type Stream = UringStream;

    async fn accept(&self) -> io::Result<UringStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            if self.left.get() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            match rustix::net::accept_with(self.socket.get_ref(), flags).map(Socket::from) {
                // A peer may reset while it waits: its socket is accepted and has no address any more.
                // That is the end of this connection only. Told to the caller it would look like a want
                // of descriptors, and a few resets a second would keep everybody out.
                Ok(socket) => {
                    if let Ok(peer) = socket.peer_addr().and_then(|peer| address(&peer)) {
                        return UringStream::new(socket, peer);
                    }
                }
                Err(Errno::AGAIN) => self.waited().await?,
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn close(&self) {
        // Wakes who waits, and refuses who comes, whoever else has a descriptor of the socket.
        let _ = self.socket.get_ref().shutdown(Shutdown::Read);
    }

    fn leave(&self) {
        self.left.set(true);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

/// A listening socket for one of several shards: they share the port, the kernel spreads
/// connections over them by hash.
pub(super) fn bind(at: SocketAddr) -> io::Result<Socket> {
    let socket = reserve(at)?;
    listen(&socket)?;
    Ok(socket)
}

/// The same socket before anybody is led to it: it has its address, and does not listen.
pub(super) fn reserve(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        // 0.0.0.0 and [::] are often configured side by side; without this they collide.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&at.into())?;
    at_once(&socket)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// From now on clients are led to it.
pub(super) fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)
}

/// Makes a listening socket that somebody else has bound one as [`bind`] makes it, as far as that can be
/// done later.
pub(super) fn adopt(socket: &Socket) -> io::Result<()> {
    at_once(socket)?;
    socket.set_nonblocking(true)
}

/// Replies are written whole; Nagle would only hold the last of them back. What a listening socket
/// accepts inherits it, which saves a system call for each connection.
fn at_once(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)
}

/// Says whether a port is taken. A socket with `SO_REUSEPORT` would silently share it with
/// another Ringpost, so the question is asked without.
pub(super) fn probe(at: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    // With SO_REUSEADDR the bind alone succeeds beside a listener of another kind; listening
    // does not.
    socket.listen(1)
}

/// The address in a socket2 address.
pub(super) fn address(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

pub(super) async fn dial(
    source: Option<IpAddr>,
    to: SocketAddr,
    deadline: Tick,
) -> io::Result<UringStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    at_once(&socket)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let mut stream = UringStream::new(socket, to)?;
    // Writable means that it is there, or that it failed: a send of nothing tells which.
    let send = |socket: &Socket| rustix::net::send(socket, &[], AT_ONCE);
    stream.until(Wish::Write, true, deadline, send).await?;
    Ok(stream)
}

/// IPv4 addresses seen through an IPv6 socket, as what they are: trusted networks and limits
/// must not be fooled by `::ffff:192.0.2.1`.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whatever is not sent without waiting is waited for in the ring.
const AT_ONCE: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
/// Wakers that one wait may have left with the ring; then it is asked anew.
const WAKERS_MAX: u32 = 16;
/// What a connection is said to come from whose own end the system does not tell any more.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Connections the kernel keeps for us between two accepts. Bounded by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
