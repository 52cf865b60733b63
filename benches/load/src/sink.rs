//! The server: takes everything and keeps nothing. What a peer meets depends on the address that it
//! connects to, all of which are loopback: 127.80.0.0/16 is well, 127.81.0.0/16 answers late,
//! 127.82.0.0/16 closes at once, 127.83.0.0/16 never says a word. 127.84.0.0/16 is well too, and counted
//! with those that answer late.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use slab::Slab;

#[derive(Args)]
pub(crate) struct Plan {
    /// Where it listens
    bind: SocketAddr,
    /// How late the slow ones answer
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS")]
    late: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Health {
    Well,
    Late,
    Closes,
    Silent,
}

struct Peer {
    stream: TcpStream,
    health: Health,
    /// Which of the two counts.
    column: usize,
    came: Vec<u8>,
    out: Vec<u8>,
    content: Content,
    is_leaving: bool,
}

/// Where in a message we are.
#[derive(Clone, Copy)]
enum Content {
    /// Between commands.
    None,
    /// Up to a line with a dot.
    Lines,
    /// So many octets, and whether they are the last (RFC 3030).
    Octets(usize, bool),
}

struct Sink {
    plan: Duration,
    peers: Slab<Peer>,
    /// Replies of the slow: when, and whose. The wait is the same for all, so they are in order.
    late: VecDeque<(Instant, usize)>,
    /// Messages taken: by those that are well, by others.
    taken: [u64; 2],
    printed: ([u64; 2], Instant),
}

const LISTENER: u64 = u64::MAX;
/// How often counts are printed at most.
const PRINTED_EVERY: Duration = Duration::from_millis(5);

pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    listener.bind(&plan.bind.into())?;
    listener.listen(4096)?;
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
    let mut sink = Sink {
        plan: Duration::from_millis(plan.late),
        peers: Slab::new(),
        late: VecDeque::new(),
        taken: [0; 2],
        printed: ([0; 2], Instant::now()),
    };
    loop {
        let wait = sink.wait().and_then(|wait| Timespec::try_from(wait).ok());
        let mut room = [MaybeUninit::uninit(); 256];
        let events: Vec<u64> = match epoll::wait(&epoll, &mut room, wait.as_ref()) {
            Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events {
            if event == LISTENER {
                sink.accept(&listener, &epoll)?;
            } else {
                sink.serve(event as usize);
            }
        }
        sink.answer_late();
        sink.print()?;
    }
}

impl Sink {
    /// Until something is to be done that no event tells.
    fn wait(&self) -> Option<Duration> {
        let unprinted = (self.printed.0 != self.taken).then_some(self.printed.1 + PRINTED_EVERY);
        let late = self.late.front().map(|(due, _)| *due);
        let next = [unprinted, late].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self, listener: &TcpListener, epoll: &OwnedFd) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let network = match stream.local_addr()?.ip() {
                IpAddr::V4(ip) => ip.octets()[1],
                IpAddr::V6(_) => 80,
            };
            let health = match network {
                81 => Health::Late,
                82 => Health::Closes,
                83 => Health::Silent,
                _ => Health::Well,
            };
            if health == Health::Closes {
                continue;
            }
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let entry = self.peers.vacant_entry();
            let data = epoll::EventData::new_u64(entry.key() as u64);
            epoll::add(epoll, &stream, data, epoll::EventFlags::IN)?;
            let key = entry.key();
            entry.insert(Peer {
                stream,
                health,
                column: usize::from(matches!(network, 81 | 84)),
                came: Vec::new(),
                out: b"220 sink.test ESMTP\r\n".to_vec(),
                content: Content::None,
                is_leaving: false,
            });
            self.reply(key);
        }
    }

    /// Reads what there is and answers it. A peer that has left is forgotten, and with its socket the kernel's interest.
    fn serve(&mut self, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let mut room = [0; 64 << 10];
        match peer.stream.read(&mut room) {
            Ok(0) => return self.forget(key),
            Ok(octets) => peer.came.extend_from_slice(&room[..octets]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.forget(key),
        }
        let taken = peer.converse();
        self.taken[peer.column] += taken;
        self.reply(key);
    }

    fn reply(&mut self, key: usize) {
        let Some(peer) = self.peers.get(key) else {
            return;
        };
        match peer.health {
            _ if peer.out.is_empty() => {}
            Health::Late => self.late.push_back((Instant::now() + self.plan, key)),
            Health::Silent => {}
            Health::Well | Health::Closes => self.write(key),
        }
    }

    fn answer_late(&mut self) {
        let now = Instant::now();
        while self.late.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.late.pop_front() {
                self.write(key);
            }
        }
    }

    /// Replies are short: a peer that does not read them is none to wait for.
    fn write(&mut self, key: usize) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let is_written = peer.stream.write_all(&peer.out).is_ok();
        peer.out.clear();
        if peer.is_leaving || !is_written {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: usize) {
        // A late reply to whoever gets the place next does no harm: it writes what is due to him then.
        self.peers.remove(key);
    }

    fn print(&mut self) -> io::Result<()> {
        if self.printed.0 != self.taken && self.printed.1.elapsed() >= PRINTED_EVERY {
            self.printed = (self.taken, Instant::now());
            writeln!(io::stdout(), "{} {}", self.taken[0], self.taken[1])?;
        }
        Ok(())
    }
}

impl Peer {
    /// Goes through what has come, and gives back how many messages ended in it.
    fn converse(&mut self) -> u64 {
        let came = std::mem::take(&mut self.came);
        let (mut rest, mut taken) = (&came[..], 0);
        loop {
            match self.content {
                Content::None => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        break;
                    };
                    let line = &rest[..end];
                    rest = &rest[end + 1..];
                    self.command(line);
                }
                Content::Lines => {
                    let Some(end) = memchr::memmem::find(rest, b"\r\n.\r\n") else {
                        // Only what the end may begin with is looked at again.
                        rest = &rest[rest.len().saturating_sub(4)..];
                        break;
                    };
                    rest = &rest[end + 5..];
                    self.content = Content::None;
                    self.out.extend_from_slice(b"250 2.0.0 Ok\r\n");
                    taken += 1;
                }
                Content::Octets(left, is_last) if rest.len() < left => {
                    self.content = Content::Octets(left - rest.len(), is_last);
                    rest = &[];
                    break;
                }
                Content::Octets(left, is_last) => {
                    rest = &rest[left..];
                    self.content = Content::None;
                    self.out.extend_from_slice(b"250 2.0.0 Ok\r\n");
                    taken += u64::from(is_last);
                }
            }
        }
        self.came = rest.to_vec();
        taken
    }

    fn command(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let reply: &[u8] = match words
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "EHLO" => b"250-sink.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n",
            "DATA" => {
                self.content = Content::Lines;
                b"354 Go on\r\n"
            }
            "BDAT" => {
                let octets = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                self.content = Content::Octets(octets, words.next().is_some());
                b""
            }
            "QUIT" => {
                self.is_leaving = true;
                b"221 2.0.0 Bye\r\n"
            }
            _ => b"250 2.0.0 Ok\r\n",
        };
        self.out.extend_from_slice(reply);
    }
}
