//! Streams between nodes: octets on their way for some time, a window that fills, and weather.
//!
//! What TCP promises is kept: order, no loss without an error, an end after the last octet. What
//! it does not promise is drawn from the seed: how much one read brings, when a connection breaks,
//! whether anybody hears of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::executor::{Alarm, Executor, NodeId, sleep};
use super::random::Random;
use crate::time::Tick;
use crate::trial;
use crate::world::{Listener, Parcel, Stream};

/// What connections meet. Chances are out of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// The way from one node to another, least and most.
    pub latency: (Duration, Duration),
    /// Octets a second that a connection carries.
    pub octets_per_second: u64,
    /// Octets that a writer may be ahead of the reader.
    pub window_octets: usize,
    /// Dials that are refused though somebody listens.
    pub refused_permille: u32,
    /// Dials that nobody answers.
    pub unanswered_permille: u32,
    /// Connections that are reset after some octets.
    pub reset_permille: u32,
    /// Connections that fall silent after some octets: nothing arrives, nobody is told.
    pub silent_permille: u32,
    /// Reads that bring less than is there.
    pub short_read_permille: u32,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        latency: (Duration::from_micros(50), Duration::from_millis(2)),
        octets_per_second: 100_000_000,
        window_octets: 65_536,
        refused_permille: 0,
        unanswered_permille: 0,
        reset_permille: 0,
        silent_permille: 0,
        short_read_permille: 100,
    };
    /// A bad day: everything goes wrong now and then.
    pub const STORM: Self = Self {
        latency: (Duration::from_micros(100), Duration::from_millis(300)),
        octets_per_second: 1_000_000,
        window_octets: 2_048,
        refused_permille: 60,
        unanswered_permille: 40,
        reset_permille: 150,
        silent_permille: 60,
        short_read_permille: 400,
    };
}

/// The network. Shared by `Rc`.
pub(super) struct Net {
    executor: Rc<Executor>,
    random: Rc<Random>,
    pub(super) weather: Cell<Weather>,
    listeners: RefCell<Vec<Weak<Port>>>,
    links: RefCell<Vec<Weak<RefCell<Link>>>>,
    black_holes: RefCell<BTreeSet<IpAddr>>,
    next_port: Cell<u16>,
    /// Streams between two shards of a node: nothing of them may cross threads, so a number does.
    packed: RefCell<BTreeMap<u64, SimStream>>,
    next_parcel: Cell<u64>,
}

impl Net {
    pub(super) fn new(executor: &Rc<Executor>, random: &Rc<Random>) -> Self {
        Self {
            executor: Rc::clone(executor),
            random: Rc::clone(random),
            weather: Cell::new(Weather::CALM),
            listeners: RefCell::default(),
            links: RefCell::default(),
            black_holes: RefCell::default(),
            next_port: Cell::new(PORT_FIRST),
            packed: RefCell::default(),
            next_parcel: Cell::new(0),
        }
    }

    pub(super) fn pack(&self, stream: SimStream) -> Parcel {
        let number = self.next_parcel.get();
        self.next_parcel.set(number + 1);
        self.packed.borrow_mut().insert(number, stream);
        Parcel::new(number)
    }

    pub(super) fn unpack(&self, parcel: Parcel) -> io::Result<SimStream> {
        let number: u64 = parcel.open()?;
        let stream = self.packed.borrow_mut().remove(&number);
        stream.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// From now on nobody at `address` answers a dial, or does again.
    pub(super) fn set_black_hole(&self, address: IpAddr, on: bool) {
        let mut holes = self.black_holes.borrow_mut();
        if on {
            holes.insert(address);
        } else {
            holes.remove(&address);
        }
    }

    pub(super) fn listen(&self, place: &Place, at: SocketAddr) -> io::Result<SimListener> {
        let ip = if at.ip().is_unspecified() {
            place.address
        } else {
            at.ip()
        };
        let port = if at.port() == 0 {
            self.port()
        } else {
            at.port()
        };
        let local = SocketAddr::new(ip, port);
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|other| other.strong_count() > 0);
        let taken = listeners.iter().filter_map(Weak::upgrade).any(|other| {
            // One process may share a port between its shards.
            other.local == local && other.node != place.node && !other.closed.get()
        });
        if taken {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let port = Rc::new(Port {
            node: place.node,
            born: place.born,
            local,
            waiting: RefCell::default(),
            waker: RefCell::default(),
            closed: Cell::new(false),
        });
        listeners.push(Rc::downgrade(&port));
        Ok(SimListener { port })
    }

    pub(super) async fn dial(
        self: &Rc<Self>,
        place: &Place,
        source: Option<IpAddr>,
        to: SocketAddr,
        deadline: Tick,
    ) -> io::Result<SimStream> {
        let weather = self.weather.get();
        let latency = self.latency();
        let unanswered = self.random.permille(weather.unanswered_permille);
        if unanswered || self.black_holes.borrow().contains(&to.ip()) {
            trial::saw("net", "dial unanswered");
            sleep(&self.executor, deadline).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(
            &self.executor,
            (self.executor.now() + latency).min(deadline),
        )
        .await;
        let link = if self.random.permille(weather.refused_permille) {
            trial::saw("net", "dial refused");
            Err(io::ErrorKind::ConnectionRefused.into())
        } else {
            let from = SocketAddr::new(source.unwrap_or(place.address), self.port());
            self.connect(place.node, from, to, latency)
        };
        // Given up from here on, it is closed: the other end must hear of that.
        let stream = link.map(|link| self.stream(link, NEAR, place.born));
        sleep(
            &self.executor,
            (self.executor.now() + latency).min(deadline),
        )
        .await;
        if self.executor.now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream
    }

    /// How many connections from `from` to one of `to` the dialling side has open.
    pub(super) fn open(&self, from: IpAddr, to: &[IpAddr]) -> usize {
        let links = self.links.borrow();
        let open = links.iter().filter_map(Weak::upgrade).filter(|link| {
            let link = link.borrow();
            let [near, far] = link.addresses.map(|address| address.ip());
            near == from && to.contains(&far) && !link.closed[NEAR]
        });
        open.count()
    }

    /// Puts a connection into the queue of whoever listens there.
    fn connect(
        self: &Rc<Self>,
        node: NodeId,
        from: SocketAddr,
        to: SocketAddr,
        latency: Duration,
    ) -> io::Result<Rc<RefCell<Link>>> {
        let ports: Vec<Rc<Port>> = {
            let listeners = self.listeners.borrow();
            let open = listeners.iter().filter_map(Weak::upgrade);
            open.filter(|port| port.local == to && !port.closed.get())
                .collect()
        };
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let port = self.random.pick(&ports).ok_or_else(refused)?;
        if port.waiting.borrow().len() >= BACKLOG {
            return Err(refused());
        }
        let link = Rc::new(RefCell::new(Link {
            pipes: [Pipe::default(), Pipe::default()],
            nodes: [node, port.node],
            addresses: [from, to],
            closed: [false, false],
            latency,
            octets_per_second: self.weather.get().octets_per_second,
            window: self.weather.get().window_octets,
            fate: self.fate(),
        }));
        let mut links = self.links.borrow_mut();
        links.retain(|other| other.strong_count() > 0);
        links.push(Rc::downgrade(&link));
        drop(links);
        let far = self.stream(Rc::clone(&link), FAR, port.born);
        port.waiting.borrow_mut().push_back(far);
        port.wake();
        Ok(link)
    }

    fn stream(self: &Rc<Self>, link: Rc<RefCell<Link>>, side: usize, born: Tick) -> SimStream {
        SimStream {
            born,
            net: Rc::clone(self),
            link,
            side,
        }
    }

    /// Drops what is packed: it holds the network that holds it.
    pub(super) fn clear(&self) {
        let lost = self.packed.take();
        drop(lost);
    }

    /// Breaks every connection of a node and closes what listens there.
    pub(super) fn unplug(&self, node: NodeId) {
        let ports: Vec<Rc<Port>> = self
            .listeners
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for port in ports.iter().filter(|port| port.node == node) {
            port.close();
        }
        // Nobody is left to open them; dropped without a borrow, as they look at the net.
        let lost: Vec<SimStream> = {
            let mut packed = self.packed.borrow_mut();
            let of_node = |stream: &SimStream| {
                let link = stream.link.borrow();
                link.nodes[stream.side] == node
            };
            let lost = packed.extract_if(.., |_, stream| of_node(stream));
            lost.map(|(_, stream)| stream).collect()
        };
        drop(lost);
        let links: Vec<_> = self
            .links
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for link in links {
            let mut link = link.borrow_mut();
            if link.nodes.contains(&node) {
                link.reset(self.executor.now());
            }
        }
    }

    fn latency(&self) -> Duration {
        let (least, most) = self.weather.get().latency;
        let micros = |wait: Duration| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.between(micros(least), micros(most)))
    }

    fn fate(&self) -> Option<Fate> {
        let weather = self.weather.get();
        let drawn = self.random.below(1000);
        let reset = u64::from(weather.reset_permille);
        let silent = u64::from(weather.silent_permille);
        if drawn >= reset + silent {
            return None;
        }
        // Most of what can go wrong goes wrong in the first kilobytes: draw small numbers often.
        let most = 1 << self.random.between(4, 13);
        Some(Fate {
            octets_left: self.random.below(most),
            silent: drawn >= reset,
        })
    }

    fn port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port
            .set(port.checked_add(1).unwrap_or(PORT_FIRST));
        port
    }
}

/// Who uses the network.
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) address: IpAddr,
    /// When the node's monotonic clock began.
    pub(super) born: Tick,
}

impl Place {
    /// A moment of a clock that began at `born`, by the simulation's.
    pub(super) fn moment(born: Tick, tick: Tick) -> Tick {
        if tick == Tick::NEVER {
            return tick;
        }
        Tick(tick.0.saturating_add(born.0))
    }
}

/// A listening socket of a node.
pub struct SimListener {
    port: Rc<Port>,
}

struct Port {
    node: NodeId,
    born: Tick,
    local: SocketAddr,
    waiting: RefCell<VecDeque<SimStream>>,
    waker: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

impl Port {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn close(&self) {
        self.closed.set(true);
        for stream in self.waiting.take() {
            stream.break_off();
        }
        self.wake();
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<SimStream> {
        poll_fn(|cx| {
            if self.port.closed.get() {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            }
            if let Some(stream) = self.port.waiting.borrow_mut().pop_front() {
                return Poll::Ready(Ok(stream));
            }
            *self.port.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn close(&self) {
        self.port.close();
    }

    fn leave(&self) {
        self.port.closed.set(true);
        self.port.wake();
    }

    fn local(&self) -> SocketAddr {
        self.port.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.port.close();
    }
}

/// One end of a connection.
pub struct SimStream {
    net: Rc<Net>,
    /// When its node's clock began: deadlines are told by that clock.
    born: Tick,
    link: Rc<RefCell<Link>>,
    side: usize,
}

impl SimStream {
    /// Ends the connection as a program does that dies: the peer sees a reset.
    pub fn break_off(&self) {
        let now = self.net.executor.now();
        self.link.borrow_mut().reset(now);
    }

    fn close(&self) {
        let now = self.net.executor.now();
        self.link.borrow_mut().close(self.side, now);
    }

    /// Makes attempts until one comes to something or `deadline` has passed.
    async fn until<T>(
        &self,
        deadline: Tick,
        mut attempt: impl FnMut(&mut Link, Tick, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let net = &self.net;
        let deadline = Place::moment(self.born, deadline);
        let mut alarm = Alarm::new(&net.executor);
        poll_fn(|cx| {
            let now = net.executor.now();
            let mut link = self.link.borrow_mut();
            if let Poll::Ready(done) = attempt(&mut link, now, cx) {
                return Poll::Ready(done);
            }
            if now >= deadline {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            alarm.set(deadline.min(link.next_event(self.side)), cx.waker());
            Poll::Pending
        })
        .await
    }
}

impl Stream for SimStream {
    async fn readable(&mut self, deadline: Tick) -> io::Result<()> {
        let side = self.side;
        self.until(deadline, |link, now, cx| {
            match link.is_readable(side, now, cx) {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }

    async fn read(&mut self, into: &mut [u8], deadline: Tick) -> io::Result<usize> {
        let side = self.side;
        let net = Rc::clone(&self.net);
        self.until(deadline, |link, now, cx| {
            link.poll_read(side, into, now, &net, cx)
        })
        .await
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>], deadline: Tick) -> io::Result<()> {
        let side = self.side;
        let mut parts = parts;
        IoSlice::advance_slices(&mut parts, 0);
        while let Some(first) = parts.first() {
            let attempt =
                |link: &mut Link, now, cx: &mut Context<'_>| link.poll_write(side, first, now, cx);
            let written = self.until(deadline, attempt).await?;
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }

    fn is_stale(&mut self) -> bool {
        let link = self.link.borrow();
        link.closed[self.side] || link.next_event(self.side) <= self.net.executor.now()
    }

    fn peer(&self) -> SocketAddr {
        self.link.borrow().addresses[1 - self.side]
    }

    fn local(&self) -> SocketAddr {
        self.link.borrow().addresses[self.side]
    }

    fn shutdown(&mut self) {
        self.close();
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.close();
    }
}

/// A connection: a pipe each way. `pipes[side]` carries what that side wrote.
struct Link {
    pipes: [Pipe; 2],
    nodes: [NodeId; 2],
    addresses: [SocketAddr; 2],
    closed: [bool; 2],
    latency: Duration,
    octets_per_second: u64,
    window: usize,
    fate: Option<Fate>,
}

/// What will go wrong, and after how many octets.
struct Fate {
    octets_left: u64,
    silent: bool,
}

#[derive(Default)]
struct Pipe {
    segments: VecDeque<Segment>,
    /// Octets written and not read.
    held: usize,
    /// When the last octet arrives.
    last: Tick,
    end: Option<(Tick, Ending)>,
    /// The reader is gone; the moment at which the writer is told.
    reader_gone: Option<Tick>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    silent: bool,
}

struct Segment {
    at: Tick,
    octets: Vec<u8>,
    read: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Close,
    Reset,
}

impl Link {
    /// Whether a read would not wait; where it would, who is to be woken is known then.
    fn is_readable(&mut self, side: usize, now: Tick, cx: &Context<'_>) -> bool {
        let pipe = &mut self.pipes[1 - side];
        let has_ended = pipe.end.is_some_and(|(at, _)| at <= now);
        let is_readable = self.closed[side] || has_ended || pipe.has_arrived(now);
        if !is_readable {
            pipe.reader = Some(cx.waker().clone());
        }
        is_readable
    }

    fn poll_read(
        &mut self,
        side: usize,
        into: &mut [u8],
        now: Tick,
        net: &Net,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.closed[side] {
            return Poll::Ready(Ok(0));
        }
        let pipe = &mut self.pipes[1 - side];
        let mut limit = into.len();
        if net.random.permille(net.weather.get().short_read_permille) {
            limit = usize::try_from(net.random.between(1, limit.max(1) as u64)).unwrap_or(1);
            limit = limit.min(into.len());
            trial::saw("net", "short read");
            if net.random.permille(500) {
                limit = limit.min(3);
            }
        }
        let read = pipe.take(&mut into[..limit], now);
        if read > 0 {
            net.executor.note(read as u64);
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Ok(read));
        }
        match pipe.end {
            Some((at, Ending::Close)) if at <= now => Poll::Ready(Ok(0)),
            Some((at, Ending::Reset)) if at <= now => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            _ => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_write(
        &mut self,
        side: usize,
        octets: &[u8],
        now: Tick,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let reset = |pipe: &Pipe| matches!(pipe.end, Some((at, Ending::Reset)) if at <= now);
        if reset(&self.pipes[1 - side]) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let pipe = &mut self.pipes[side];
        match pipe.reader_gone {
            _ if self.closed[side] => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(at) if at <= now => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            // The news is still on its way: what is written now goes nowhere.
            Some(_) => return Poll::Ready(Ok(octets.len())),
            None => {}
        }
        let room = self.window.saturating_sub(pipe.held);
        if room == 0 {
            trial::saw("net", "window full");
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut len = octets.len().min(room).min(SEGMENT_OCTETS);
        if let Some(fate) = &mut self.fate {
            len = len.min(usize::try_from(fate.octets_left).unwrap_or(usize::MAX));
            fate.octets_left -= len as u64;
        }
        let pipe = &mut self.pipes[side];
        pipe.held += len;
        if len > 0 && !pipe.silent {
            let travel = Duration::from_micros(len as u64 * 1_000_000 / self.octets_per_second);
            pipe.last = pipe.last.max(now + self.latency) + travel;
            pipe.segments.push_back(Segment {
                at: pipe.last,
                octets: octets[..len].to_vec(),
                read: 0,
            });
            if let Some(reader) = pipe.reader.take() {
                reader.wake();
            }
        }
        if let Some(Fate {
            octets_left: 0,
            silent,
        }) = &self.fate
        {
            trial::saw("net", if *silent { "silence" } else { "reset" });
            if *silent {
                self.pipes[0].silent = true;
                self.pipes[1].silent = true;
            } else {
                self.reset(now);
            }
            self.fate = None;
            // What was cut off here is for the next call: an error, or octets to nowhere.
            if len == 0 {
                return self.poll_write(side, octets, now, cx);
            }
        }
        Poll::Ready(Ok(len))
    }

    /// When `side` will find something to read, as far as is known.
    fn next_event(&self, side: usize) -> Tick {
        let pipe = &self.pipes[1 - side];
        let octets = pipe.segments.front().map(|segment| segment.at);
        let end = pipe.end.map(|(at, _)| at);
        octets.into_iter().chain(end).min().unwrap_or(Tick::NEVER)
    }

    /// `side` neither reads nor writes any more.
    fn close(&mut self, side: usize, now: Tick) {
        if std::mem::replace(&mut self.closed[side], true) {
            return;
        }
        let told = now + self.latency;
        let unread = !self.pipes[1 - side].segments.is_empty();
        // As Linux does it: closed with octets unread, the peer gets a reset for a FIN.
        let ending = if unread { Ending::Reset } else { Ending::Close };
        let own = &mut self.pipes[side];
        if !own.silent && own.end.is_none() {
            own.end = Some((own.last.max(told), ending));
        }
        own.wake();
        let other = &mut self.pipes[1 - side];
        if other.reader_gone.is_none() && !other.silent {
            other.reader_gone = Some(told);
        }
        other.segments.clear();
        other.wake();
    }

    /// The connection is gone for both; octets that have arrived can still be read.
    fn reset(&mut self, now: Tick) {
        for pipe in &mut self.pipes {
            pipe.segments.retain(|segment| segment.at <= now);
            pipe.end = Some((now, Ending::Reset));
            pipe.reader_gone = Some(now);
            pipe.wake();
        }
    }
}

impl Pipe {
    fn has_arrived(&self, now: Tick) -> bool {
        let first = self.segments.front();
        first.is_some_and(|segment| segment.at <= now)
    }

    fn take(&mut self, mut into: &mut [u8], now: Tick) -> usize {
        let mut taken = 0;
        while let Some(segment) = self.segments.front_mut()
            && segment.at <= now
            && !into.is_empty()
        {
            let rest = &segment.octets[segment.read..];
            let len = rest.len().min(into.len());
            let (filled, left) = into.split_at_mut(len);
            filled.copy_from_slice(&rest[..len]);
            into = left;
            segment.read += len;
            taken += len;
            if segment.read == segment.octets.len() {
                self.segments.pop_front();
            }
        }
        self.held -= taken;
        taken
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

/// The side that dialled, and the side that accepted.
const NEAR: usize = 0;
const FAR: usize = 1;
/// The first port given to who asks for none.
const PORT_FIRST: u16 = 20_000;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;
/// What travels in one piece.
const SEGMENT_OCTETS: usize = 1_460;
