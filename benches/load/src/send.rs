//! The client: few connections, kept, each with several messages on their way.
//!
//! With a rate, message n is due at a fixed moment, whatever became of those before it, and its latency
//! counts from there. So a relay that stands still for a second is seen in all messages that were due
//! in it, not in the one that waited (coordinated omission).

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

#[derive(Args)]
pub(crate) struct Plan {
    /// Where to
    to: SocketAddr,
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Messages a second; without it each follows as soon as there is room
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 20)]
    connections: usize,
    /// Messages of a connection that are on their way at a time
    #[arg(long, default_value_t = 4)]
    depth: usize,
    /// Octets of a message
    #[arg(long, default_value_t = 1024)]
    size: usize,
    #[arg(long, value_enum, default_value = "bdat")]
    method: Method,
    /// Recipients are at d0.test, d1.test, ...: so many
    #[arg(long, default_value_t = 1)]
    domains: u64,
    /// Nine in ten go to d0.test, the rest evenly to the others
    #[arg(long)]
    skewed: bool,
    /// So many at the beginning do not count
    #[arg(long, default_value_t = 0)]
    warm: u64,
    /// Messages that take longer than so many milliseconds are told of, with the moment: a stall
    #[arg(long, default_value_t = 20)]
    stall: u32,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Method {
    /// Envelope and content in one (RFC 3030)
    Bdat,
    /// The envelope in one, the content behind 354 (RFC 2920)
    Data,
}

/// A message on its way.
struct Flight {
    due: Instant,
    sent: Instant,
    number: u64,
    /// Replies that are still to come.
    replies: u8,
    waits_for_354: bool,
    is_refused: bool,
}

struct Connection {
    stream: TcpStream,
    /// What is to be written, and how much of it was.
    out: Vec<u8>,
    written: usize,
    /// The beginning of a line of which the rest has not come.
    came: Vec<u8>,
    flights: VecDeque<Flight>,
}

/// What came of them.
struct Tally {
    /// From when a message was due, and from when it was sent; microseconds.
    due: Histogram<u64>,
    sent: Histogram<u64>,
    stalls: Stalls,
    accepted: u64,
    refused: u64,
    warm: u64,
    /// When the first one that counts was due.
    began: Option<Instant>,
}

/// Times in which messages that were due came late.
struct Stalls {
    /// An instant, and what the kernel's monotonic clock said at it: what traces are stamped with.
    clock: (Instant, f64),
    least: Duration,
    found: Vec<Stall>,
}

struct Stall {
    /// When the first of them was due, and when the last.
    due: (Instant, Instant),
    longest: Duration,
    messages: u64,
}

pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let mut connections = (0..plan.connections)
        .map(|_| Connection::open(plan.to))
        .collect::<io::Result<Vec<_>>>()?;
    let content = content(plan.size);
    let mut tally = Tally::new(plan)?;
    let began = Instant::now();
    // Without a rate a message is due when there is room for it.
    let due = |number: u64, now: Instant| match plan.rate {
        Some(rate) => began + Duration::from_secs_f64(number as f64 / rate),
        None => now,
    };
    let (mut next, mut turn) = (0, 0);
    while tally.accepted + tally.refused < plan.count {
        let now = Instant::now();
        while next < plan.count && due(next, now) <= now {
            // Whoever has the fewest on their way, in turns: a session handles one after the other.
            let Some(free) = (0..connections.len())
                .map(|step| (turn + step) % connections.len())
                .filter(|&at| connections[at].has_room(plan))
                .min_by_key(|&at| connections[at].flights.len())
            else {
                break; // its time goes on
            };
            turn = free + 1;
            connections[free].begin(plan, next, due(next, now), &content);
            next += 1;
        }
        let wait = if next < plan.count && connections.iter().any(|one| one.has_room(plan)) {
            Some(due(next, now).saturating_duration_since(Instant::now()))
        } else {
            None
        };
        step(&mut connections, wait, &content, &mut tally)?;
    }
    tally.print(plan)
}

/// Waits for replies, at most until the next message is due, and reads them.
fn step(
    connections: &mut [Connection],
    wait: Option<Duration>,
    content: &[u8],
    tally: &mut Tally,
) -> io::Result<()> {
    for connection in connections.iter_mut() {
        connection.flush()?;
    }
    let mut watched: Vec<PollFd<'_>> = connections
        .iter()
        .map(|one| {
            let unwritten = one.written < one.out.len();
            let flags = if unwritten {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            };
            PollFd::new(&one.stream, flags)
        })
        .collect();
    let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
    poll(&mut watched, timeout.as_ref())?;
    let readable: Vec<bool> = watched
        .iter()
        .map(|one| !(one.revents() - PollFlags::OUT).is_empty())
        .collect();
    for (connection, _) in connections.iter_mut().zip(readable).filter(|(_, is)| *is) {
        connection.read(content, tally)?;
    }
    Ok(())
}

/// Lines of text, closed with CRLF.
fn content(size: usize) -> Vec<u8> {
    let mut octets = b"Subject: bench\r\n\r\n".to_vec();
    while octets.len() < size {
        octets.extend_from_slice(&b"x".repeat(78.min(size - octets.len())));
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

impl Plan {
    fn domain(&self, number: u64) -> u64 {
        if !self.skewed {
            number % self.domains
        } else if number.is_multiple_of(10) {
            1 + number / 10 % self.domains.saturating_sub(1).max(1)
        } else {
            0
        }
    }
}

impl Connection {
    fn open(to: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        let mut came = Vec::new();
        until_reply(&mut stream, &mut came)?;
        stream.write_all(b"EHLO load.test\r\n")?;
        until_reply(&mut stream, &mut came)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            written: 0,
            came,
            flights: VecDeque::new(),
        })
    }

    fn has_room(&self, plan: &Plan) -> bool {
        let is_ready = self.flights.back().is_none_or(|last| !last.waits_for_354);
        self.flights.len() < plan.depth && is_ready
    }

    fn begin(&mut self, plan: &Plan, number: u64, due: Instant, content: &[u8]) {
        let domain = plan.domain(number);
        let out = &mut self.out;
        out.extend_from_slice(b"MAIL FROM:<a@c.test>\r\n");
        // Writing to memory does not fail.
        let _ = write!(out, "RCPT TO:<b@d{domain}.test>\r\n");
        let waits_for_354 = plan.method == Method::Data;
        if waits_for_354 {
            out.extend_from_slice(b"DATA\r\n");
        } else {
            let _ = write!(out, "BDAT {} LAST\r\n", content.len());
            out.extend_from_slice(content);
        }
        self.flights.push_back(Flight {
            due,
            sent: Instant::now(),
            number,
            replies: if waits_for_354 { 4 } else { 3 },
            waits_for_354,
            is_refused: false,
        });
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(octets) => self.written += octets,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn read(&mut self, content: &[u8], tally: &mut Tally) -> io::Result<()> {
        let mut room = [0; 16 << 10];
        match self.stream.read(&mut room) {
            Ok(0) => return Err(io::Error::other("the server has closed the connection")),
            Ok(octets) => self.came.extend_from_slice(&room[..octets]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let came = std::mem::take(&mut self.came);
        let mut rest = &came[..];
        while let Some(end) = rest.iter().position(|&octet| octet == b'\n') {
            if rest.get(3) != Some(&b'-') {
                self.answered(rest[0], content, tally)?;
            }
            rest = &rest[end + 1..];
        }
        self.came = rest.to_vec();
        Ok(())
    }

    /// One reply, of which the first digit says enough.
    fn answered(&mut self, digit: u8, content: &[u8], tally: &mut Tally) -> io::Result<()> {
        let Some(flight) = self.flights.front_mut() else {
            return Err(io::Error::other("a reply that nobody waits for"));
        };
        flight.replies -= 1;
        match digit {
            b'3' => {
                flight.waits_for_354 = false;
                flight.sent = Instant::now();
                self.out.extend_from_slice(content);
                self.out.extend_from_slice(b".\r\n");
            }
            b'2' => {}
            _ => {
                flight.is_refused = true;
                if flight.waits_for_354 && flight.replies == 1 {
                    flight.replies = 0; // no content follows
                }
            }
        }
        if flight.replies == 0 {
            tally.record(flight);
            self.flights.pop_front();
        }
        Ok(())
    }
}

/// Reads up to the last line of a reply.
fn until_reply(stream: &mut TcpStream, came: &mut Vec<u8>) -> io::Result<()> {
    let is_whole = |came: &[u8]| {
        came.ends_with(b"\n")
            && came
                .split_inclusive(|&octet| octet == b'\n')
                .next_back()
                .and_then(|line| line.get(3))
                == Some(&b' ')
    };
    came.clear();
    while !is_whole(came) {
        let mut room = [0; 4096];
        let octets = stream.read(&mut room)?;
        if octets == 0 {
            return Err(io::Error::other("the server has closed the connection"));
        }
        came.extend_from_slice(&room[..octets]);
    }
    if came[0] != b'2' {
        return Err(io::Error::other(String::from_utf8_lossy(came).into_owned()));
    }
    came.clear();
    Ok(())
}

impl Tally {
    fn new(plan: &Plan) -> io::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3).map_err(io::Error::other);
        Ok(Self {
            due: histogram()?,
            sent: histogram()?,
            stalls: Stalls::new(Duration::from_millis(plan.stall.into())),
            accepted: 0,
            refused: 0,
            warm: plan.warm,
            began: None,
        })
    }

    fn record(&mut self, flight: &Flight) {
        if flight.is_refused {
            self.refused += 1;
        } else {
            self.accepted += 1;
        }
        if flight.number < self.warm || flight.is_refused {
            return;
        }
        self.began.get_or_insert(flight.due);
        self.stalls.note(flight.due);
        for (histogram, since) in [(&mut self.due, flight.due), (&mut self.sent, flight.sent)] {
            histogram.saturating_record(since.elapsed().as_micros() as u64);
        }
    }

    fn print(&self, plan: &Plan) -> io::Result<()> {
        let seconds = self
            .began
            .map_or(0.0, |began| began.elapsed().as_secs_f64());
        let milliseconds = |histogram: &Histogram<u64>| {
            let at = |percent: f64| histogram.value_at_percentile(percent) as f64 / 1000.0;
            json!({"p50": at(50.0), "p90": at(90.0), "p99": at(99.0), "p99.9": at(99.9), "max": at(100.0)})
        };
        let words = json!({
            "accepted": self.accepted,
            "refused": self.refused,
            "seconds": seconds,
            "rate": self.due.len() as f64 / seconds.max(1e-9),
            "offered": plan.rate,
            "since_due": milliseconds(&self.due),
            "since_sent": milliseconds(&self.sent),
            "stalls": self.stalls.tell(),
        });
        writeln!(io::stdout(), "{words}")
    }
}

impl Stalls {
    fn new(least: Duration) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
        Self {
            clock: (Instant::now(), seconds),
            least,
            found: Vec::new(),
        }
    }

    /// A message that was due then is answered now.
    fn note(&mut self, due: Instant) {
        let took = due.elapsed();
        if took < self.least {
            return;
        }
        // Replies of several connections come in no order.
        let near = |stall: &&mut Stall| {
            due + STALLS_APART >= stall.due.0 && due <= stall.due.1 + STALLS_APART
        };
        match self.found.iter_mut().rev().find(near) {
            Some(stall) => {
                stall.due = (stall.due.0.min(due), stall.due.1.max(due));
                stall.longest = stall.longest.max(took);
                stall.messages += 1;
            }
            None => self.found.push(Stall {
                due: (due, due),
                longest: took,
                messages: 1,
            }),
        }
    }

    fn tell(&self) -> serde_json::Value {
        let (instant, seconds) = self.clock;
        let found = self.found.iter().map(|stall| {
            let at = seconds + stall.due.0.saturating_duration_since(instant).as_secs_f64();
            let lasted = stall.due.1 - stall.due.0;
            json!({
                "at": at,
                "ms": stall.longest.as_secs_f64() * 1000.0,
                "due_within_ms": lasted.as_secs_f64() * 1000.0,
                "messages": stall.messages,
            })
        });
        found.collect()
    }
}

/// Late messages that were due with less between them are of one stall.
const STALLS_APART: Duration = Duration::from_millis(20);
