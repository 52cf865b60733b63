//! A name server for one test: UDP and TCP, answers as a recursive resolver would.
//!
//! A name it does not know is NXDOMAIN, a kind it does not know of a known name is NODATA. An
//! answer over 512 octets is truncated over UDP unless the question allows more (RFC 6891).

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One record's data.
#[derive(Clone, Debug)]
pub enum Rdata {
    Mx(u16, String),
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    /// The text; it is cut into strings of 255 octets.
    Txt(String),
    Ptr(String),
    /// Usage, selector and matching type, and what is matched.
    Tlsa([u8; 3], Vec<u8>),
}

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<Rdata>>,
    failing: HashSet<String>,
    silent: HashSet<String>,
    secure: HashSet<String>,
    failing_kinds: HashSet<(String, u16)>,
    terse: bool,
    asked: Vec<(String, u16)>,
}

/// The server. It runs until the test process ends.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl Dns {
    pub fn start(host: Ipv4Addr) -> Self {
        let tcp = TcpListener::bind((host, 0)).expect("a port for the name server");
        let address = tcp.local_addr().expect("a bound socket");
        let udp = UdpSocket::bind(address).expect("the same port for UDP");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let shared = Arc::clone(&zone);
        thread::spawn(move || serve_udp(&udp, &shared));
        let shared = Arc::clone(&zone);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let zone = Arc::clone(&shared);
                thread::spawn(move || serve_tcp(stream, &zone));
            }
        });
        Self { address, zone }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the MX records of `name`.
    pub fn mx(&self, name: &str, hosts: &[(u16, &str)]) {
        let records = hosts
            .iter()
            .map(|&(preference, host)| Rdata::Mx(preference, host.to_owned()));
        self.set(name, records.collect());
    }

    /// Adds an address to `name`.
    pub fn a(&self, name: &str, address: Ipv4Addr) {
        self.add(name, Rdata::A(address));
    }

    /// Adds a text to `name`.
    pub fn txt(&self, name: &str, text: &str) {
        self.add(name, Rdata::Txt(text.to_owned()));
    }

    /// The name of an address.
    pub fn ptr(&self, address: Ipv4Addr, name: &str) {
        let [a, b, c, d] = address.octets();
        let reverse = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
        self.add(&reverse, Rdata::Ptr(name.to_owned()));
    }

    pub fn add(&self, name: &str, data: Rdata) {
        self.zone()
            .records
            .entry(name.to_owned())
            .or_default()
            .push(data);
    }

    /// Replaces every record of `name`.
    pub fn set(&self, name: &str, records: Vec<Rdata>) {
        self.zone().records.insert(name.to_owned(), records);
    }

    /// The records of `name` are in a signed zone: an answer with none but such records has the AD
    /// bit, for those who ask for it.
    pub fn secure(&self, name: &str) {
        self.zone().secure.insert(name.to_owned());
    }

    /// Every question for `name` is answered with SERVFAIL.
    pub fn servfail(&self, name: &str) {
        self.zone().failing.insert(name.to_owned());
    }

    /// Questions for `name` get no answer.
    pub fn silent(&self, name: &str) {
        self.zone().silent.insert(name.to_owned());
    }

    /// Every question of this kind for `name` is answered with SERVFAIL.
    pub fn servfail_kind(&self, name: &str, kind: u16) {
        self.zone().failing_kinds.insert((name.to_owned(), kind));
    }

    /// Aliases are answered without what stands at their target.
    pub fn be_terse(&self) {
        self.zone().terse = true;
    }

    /// Ends what [`Dns::servfail`] and [`Dns::silent`] began.
    pub fn heal(&self, name: &str) {
        let mut zone = self.zone();
        zone.failing.remove(name);
        zone.silent.remove(name);
    }

    /// How many questions of `kind` came for `name`.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        self.zone()
            .asked
            .iter()
            .filter(|(asked, of)| asked == name && *of == kind)
            .count()
    }

    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone
            .lock()
            .expect("no test panics while it holds the zone")
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut buffer = [0; 4096];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        if let Some(reply) = answer(&buffer[..len], zone, true) {
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn serve_tcp(mut stream: TcpStream, zone: &Mutex<Zone>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some(reply) = answer(&query, zone, false) else {
            continue;
        };
        let mut framed = short(reply.len()).to_vec();
        framed.extend(reply);
        if stream.write_all(&framed).is_err() {
            return;
        }
    }
}

/// The reply to one query (RFC 1035 §4.1); `None` where silence was asked for.
fn answer(query: &[u8], zone: &Mutex<Zone>, udp: bool) -> Option<Vec<u8>> {
    let (name, end) = question_name(query)?;
    let question = query.get(HEADER_LEN..end + 4)?;
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let room = match udp {
        true => udp_room(query.get(end + 4..)?).max(UDP_PLAIN_MAX),
        false => usize::from(u16::MAX),
    };
    let mut zone = zone.lock().ok()?;
    zone.asked.push((name.clone(), kind));
    if zone.silent.contains(&name) {
        return None;
    }
    let (rcode, records) = zone.look_up(&name, kind);
    let is_secure = !records.is_empty()
        && records.iter().all(|(owner, _)| zone.secure.contains(owner))
        && query[3] & AD != 0;
    let mut reply = Vec::new();
    reply.extend(&query[..2]);
    reply.extend([0x81, 0x80 | if is_secure { AD } else { 0 } | rcode]); // QR RD, RA
    reply.extend([0, 1]);
    reply.extend(short(records.len()));
    // A negative answer carries the SOA that says how long it holds (RFC 2308 §3).
    let negative = records.is_empty() && rcode != SERVFAIL;
    reply.extend(short(usize::from(negative)));
    reply.extend([0, 0]);
    reply.extend(question);
    for (owner, data) in &records {
        push_record(&mut reply, owner, data);
    }
    if negative {
        push_soa(&mut reply);
    }
    if reply.len() > room {
        reply.truncate(HEADER_LEN + question.len());
        reply[2] |= 0x02; // TC
        reply[6..12].fill(0);
    }
    Some(reply)
}

impl Zone {
    /// The records for a question, through CNAMEs, and the response code.
    fn look_up(&self, name: &str, kind: u16) -> (u8, Vec<(String, Rdata)>) {
        let mut owner = name.to_owned();
        let mut found = Vec::new();
        for _ in 0..CNAME_CHAIN_MAX {
            if self.failing.contains(&owner) || self.failing_kinds.contains(&(owner.clone(), kind))
            {
                return (SERVFAIL, Vec::new());
            }
            let Some(records) = self.records.get(&owner) else {
                return (if found.is_empty() { NXDOMAIN } else { 0 }, found);
            };
            let alias = records.iter().find_map(|data| match data {
                Rdata::Cname(target) if kind != data.kind() => Some(target.clone()),
                _ => None,
            });
            let Some(target) = alias else {
                let wanted = records.iter().filter(|data| data.kind() == kind);
                found.extend(wanted.map(|data| (owner.clone(), data.clone())));
                return (0, found);
            };
            found.push((owner, Rdata::Cname(target.clone())));
            if self.terse {
                return (0, found);
            }
            owner = target;
        }
        (0, found)
    }
}

impl Rdata {
    fn kind(&self) -> u16 {
        match self {
            Self::A(_) => A,
            Self::Cname(_) => CNAME,
            Self::Mx(..) => MX,
            Self::Aaaa(_) => AAAA,
            Self::Tlsa(..) => TLSA,
            Self::Txt(_) => TXT,
            Self::Ptr(_) => PTR,
        }
    }

    fn octets(&self) -> Vec<u8> {
        match self {
            Self::A(address) => address.octets().to_vec(),
            Self::Aaaa(address) => address.octets().to_vec(),
            Self::Cname(target) | Self::Ptr(target) => wire_name(target),
            Self::Txt(text) => strings(text.as_bytes()),
            Self::Tlsa(kind, data) => [&kind[..], data].concat(),
            Self::Mx(preference, host) => {
                [&preference.to_be_bytes()[..], &wire_name(host)].concat()
            }
        }
    }
}

/// The question's name, and where it ends. Compression never occurs in a question.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let mut at = HEADER_LEN;
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + len)?).to_lowercase());
        at += len;
    }
    query.get(at..at + 4)?;
    Some((labels.join("."), at))
}

/// What the OPT record says a UDP answer may take; 0 without one.
fn udp_room(additional: &[u8]) -> usize {
    match additional {
        [0, 0, 41, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    }
}

fn push_record(reply: &mut Vec<u8>, owner: &str, data: &Rdata) {
    reply.extend(wire_name(owner));
    reply.extend(data.kind().to_be_bytes());
    reply.extend([0, 1]);
    reply.extend(TTL_S.to_be_bytes());
    let octets = data.octets();
    reply.extend(short(octets.len()));
    reply.extend(octets);
}

fn push_soa(reply: &mut Vec<u8>) {
    reply.extend(wire_name("test"));
    reply.extend([0, 6, 0, 1]);
    reply.extend(TTL_S.to_be_bytes());
    let mut octets = [wire_name("ns.test"), wire_name("root.test")].concat();
    for number in [1, 3600, 600, 86_400, TTL_S] {
        octets.extend(number.to_be_bytes());
    }
    reply.extend(short(octets.len()));
    reply.extend(octets);
}

/// Text as character-strings (RFC 1035 §3.3).
fn strings(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    for piece in text.chunks(255) {
        octets.push(u8::try_from(piece.len()).expect("a chunk"));
        octets.extend(piece);
    }
    octets
}

/// A name as labels; `.` and the empty name are the root.
fn wire_name(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("labels of tests are short"));
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn short(value: usize) -> [u8; 2] {
    u16::try_from(value)
        .expect("answers of tests are small")
        .to_be_bytes()
}

const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const PTR: u16 = 12;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
const AAAA: u16 = 28;
pub const TLSA: u16 = 52;
/// Of the fourth octet of a header (RFC 6840 §5.7).
const AD: u8 = 0x20;
const NXDOMAIN: u8 = 3;
const SERVFAIL: u8 = 2;
const HEADER_LEN: usize = 12;
const UDP_PLAIN_MAX: usize = 512;
const CNAME_CHAIN_MAX: usize = 12;
/// Short, so that a test which changes its zone sees the change soon.
const TTL_S: u32 = 1;
