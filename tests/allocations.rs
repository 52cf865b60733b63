//! How often a small message makes the relay allocate on its way through, and who does: the relay, or
//! the runtime below it; and how many octets a connection holds that has nothing to say.
//!
//! A relay with one shard runs in this process, on real sockets and a real disk. Every allocation of
//! its threads is counted, and of a few messages where it came from is looked up in a back trace.
//! `cargo test --test allocations -- --nocapture` prints the places.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these rules are for shards; here threads wait, share and fail"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// The system's allocator, with an eye on it.
struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

static TRACING: AtomicBool = AtomicBool::new(false);
static TRACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

/// Octets that the relay's threads hold.
static HELD: AtomicIsize = AtomicIsize::new(0);
/// Pieces that they hold, by size: a place for every [`STEP`] octets, larger ones in the last.
static PIECES: [AtomicIsize; 1024] = [const { AtomicIsize::new(0) }; 1024];
const STEP: usize = 8;

/// Messages that came to the sink from a return path.
static RETURNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What this thread does is the test's, or the watching itself.
    static UNWATCHED: Cell<bool> = const { Cell::new(false) };
}

fn note() {
    if TRACING.load(SeqCst) && !UNWATCHED.replace(true) {
        TRACES.lock().unwrap().push(Backtrace::force_capture());
        UNWATCHED.set(false);
    }
}

fn hold(octets: usize, direction: isize) {
    if !UNWATCHED.get() {
        HELD.fetch_add(octets.cast_signed() * direction, SeqCst);
        let place = octets.div_ceil(STEP).min(PIECES.len() - 1);
        PIECES[place].fetch_add(direction, SeqCst);
    }
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        hold(layout.size(), 1);
        // SAFETY: the caller keeps to the contract of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        hold(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        hold(layout.size(), -1);
        hold(size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Runs `act` on a thread whose allocations are nobody's.
fn aside(act: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        UNWATCHED.set(true);
        act();
    });
}

/// A mail host that pipelines and takes everything; it counts messages.
fn sink(at: TcpListener, received: &'static AtomicUsize) {
    for client in at.incoming() {
        aside(move || take_mail(client.unwrap(), received));
    }
}

fn take_mail(client: TcpStream, received: &AtomicUsize) {
    client.set_nodelay(true).unwrap();
    let mut say = client.try_clone().unwrap();
    say.write_all(b"220 sink.test ESMTP\r\n").unwrap();
    let (mut in_data, mut lines) = (false, BufReader::new(client).split(b'\n'));
    while let Some(Ok(line)) = lines.next() {
        if line.starts_with(b"MAIL FROM:<b+") {
            RETURNING.fetch_add(1, SeqCst);
        }
        let reply: &[u8] = match (in_data, line.get(..4).unwrap_or(&line)) {
            (true, b".\r") => {
                in_data = false;
                received.fetch_add(1, SeqCst);
                b"250 2.0.0 Ok\r\n"
            }
            (true, _) => continue,
            (_, b"EHLO") => b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            (_, b"DATA") => {
                in_data = true;
                b"354 go on\r\n"
            }
            _ => b"250 2.0.0 Ok\r\n",
        };
        if say.write_all(reply).is_err() {
            return;
        }
    }
}

/// A client that says one command after the other.
struct Client {
    say: TcpStream,
    hear: BufReader<TcpStream>,
}

impl Client {
    fn new(relay: SocketAddr) -> Self {
        let say = TcpStream::connect(relay).unwrap();
        say.set_nodelay(true).unwrap();
        let hear = BufReader::new(say.try_clone().unwrap());
        let mut client = Self { say, hear };
        client.expect(b"");
        client.expect(b"EHLO client.test\r\n");
        client
    }

    fn expect(&mut self, said: &[u8]) {
        self.say.write_all(said).unwrap();
        let mut reply = String::new();
        while reply.get(3..4) != Some(" ") {
            reply.clear();
            assert_ne!(self.hear.read_line(&mut reply).unwrap(), 0, "it closed");
        }
        assert!(reply.starts_with(['2', '3']), "{reply}");
    }

    /// One message after the other, each when the one before it is delivered.
    fn send(&mut self, messages: usize, received: &AtomicUsize) {
        let line = [b'x'; 70];
        let mut content = b"Date: Thu, 26 Nov 2026 05:00:00 +0000\r\n\
            Message-ID: <1@client.test>\r\nFrom: <a@client.test>\r\n\r\n"
            .to_vec();
        while content.len() < 1024 {
            content.extend([&line[..], b"\r\n"].concat());
        }
        content.extend(b".\r\n");
        for _ in 0..messages {
            let next = received.load(SeqCst) + 1;
            self.expect(b"MAIL FROM:<a@client.test>\r\n");
            self.expect(b"RCPT TO:<b@d.test>\r\n");
            self.expect(b"DATA\r\n");
            self.expect(&content);
            eventually("it is delivered", || received.load(SeqCst) == next);
        }
    }
}

/// Where an allocation was made: the first place in a back trace that is of the relay or of the
/// runtime, and not of a container that either uses.
fn place(trace: &Backtrace) -> (bool, String) {
    let text = trace.to_string();
    let places = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("at "));
    let is_runtime = |place: &str| place.contains("/glommio");
    let mut places = places.filter(|place| is_runtime(place) || place.starts_with("./src/"));
    let found = places.next().unwrap_or("elsewhere");
    (is_runtime(found), found.to_owned())
}

const CONFIG: &str = r#"
    hostname = "relay.test"
    data_dir = "DATA"
    [runtime]
    cores = 1
    [[listener]]
    protocol = "smtp"
    bind = ["RELAY"]
    [smtp]
    trusted_networks = ["127.0.0.0/8"]
    [delivery]
    tls = "none"
    [control]
    bind = "RELAY_CONTROL"
    [[route]]
    domain = "*"
    to = "smtp://SINK"
    [log]
    level = "warn"
"#;

/// What all mail may have to pass besides: return paths, a pool, a plan of two lines that has room.
const POLICIES: &str = r#"
    [returns]
    domain = "returns.test"
    [[source]]
    name = "s"
    address = ["HOST"]
    warmup = "w"
    warmup_from = TODAY
    [[warmup]]
    name = "w"
    days = [10000000, 10000000]
    [[warmup]]
    name = "w"
    domain = "*"
    days = [10000000, 10000000]
    [[pool]]
    name = "p"
    sources = ["s"]
"#;

/// A configuration whose mail all goes to `sink`.
fn configuration(directory: &Path, relay: SocketAddr, sink: SocketAddr) -> String {
    let control = SocketAddr::new(relay.ip(), relay.port() + 1);
    CONFIG
        .replace("DATA", &directory.join("data").to_string_lossy())
        .replace("RELAY_CONTROL", &control.to_string())
        .replace("RELAY", &relay.to_string())
        .replace("SINK", &sink.to_string())
}

fn with_policies(text: &str, host: IpAddr) -> String {
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let policies = POLICIES
        .replace("HOST", &host.to_string())
        .replace("TODAY", &today);
    text.replace("[delivery]", "[delivery]\n    pool = \"p\"") + &policies
}

/// Starts a relay in this process.
fn start(path: PathBuf) -> thread::JoinHandle<ExitCode> {
    thread::spawn(move || {
        let config = ringpost::config::load(Some(&path)).expect("the configuration is right");
        ringpost::serve::run(config, Some(&path), ringpost::serve::Taking::Free)
    })
}

/// Allocations of the relay for each message, over connections that stay.
fn count_allocations(client: &mut Client, received: &AtomicUsize) -> f64 {
    // Connections are made, buffers grow, tables get their size.
    client.send(WARM_UP, received);
    TRACING.store(true, SeqCst);
    client.send(MESSAGES, received);
    TRACING.store(false, SeqCst);
    let traces = std::mem::take(&mut *TRACES.lock().unwrap());

    let (mut ours, mut runtime) = (BTreeMap::<String, usize>::new(), 0);
    for (is_runtime, place) in traces.iter().map(place) {
        if is_runtime {
            runtime += 1;
        } else {
            *ours.entry(place).or_default() += 1;
        }
    }
    let each = |count: usize| count as f64 / MESSAGES as f64;
    let all: usize = ours.values().sum();
    for (place, count) in &ours {
        println!("{:6.2} {place}", each(*count));
    }
    println!(
        "{:6.2} of the relay, {:.2} of the runtime",
        each(all),
        each(runtime)
    );
    each(all)
}

fn signal(which: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::getpid(), which).unwrap();
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An address that no other test of this machine is likely to have.
fn own_address() -> [u8; 4] {
    let [.., high, low] = std::process::id().to_be_bytes();
    [127, 99, high, low]
}

#[test]
fn a_small_message_allocates_little_and_an_idle_connection_holds_little() {
    static RECEIVED: AtomicUsize = AtomicUsize::new(0);
    UNWATCHED.set(true);
    let directory = tempfile::tempdir().unwrap();
    let host = own_address();
    let sink_at = TcpListener::bind(SocketAddr::from((host, 0))).unwrap();
    let relay = SocketAddr::from((host, 2525));
    let sink_address = sink_at.local_addr().unwrap();
    let text = configuration(directory.path(), relay, sink_address);
    let path = directory.path().join("ringpost.toml");
    std::fs::write(&path, &text).unwrap();
    let ended = start(path.clone());
    aside(move || sink(sink_at, &RECEIVED));
    eventually("the relay listens", || TcpStream::connect(relay).is_ok());

    let mut client = Client::new(relay);
    let usual = count_allocations(&mut client, &RECEIVED);
    assert!(usual <= MOST, "{usual:.2} allocations for each message");
    assert!(usual > 1.0, "nothing was seen: the test is broken");

    let crowd = |size| (0..size).map(|_| Client::new(relay)).collect::<Vec<_>>();
    let before = HELD.load(SeqCst);
    let pieces = || PIECES.each_ref().map(|count| count.load(SeqCst));
    let pieces_before = pieces();
    let idle = crowd(IDLE);
    let each = (HELD.load(SeqCst) - before) / IDLE.cast_signed();
    for (place, (after, before)) in pieces().iter().zip(pieces_before).enumerate() {
        let more = (after - before) as f64 / IDLE as f64;
        if more >= 0.5 {
            println!("{more:6.2} pieces of {} octets", place * STEP);
        }
    }
    println!("{each} octets of an idle connection");
    assert!(each <= MOST_IDLE, "an idle connection holds {each} octets");
    assert!(each > 1000, "nothing was seen: the test is broken");
    drop(idle);

    std::fs::write(&path, with_policies(&text, relay.ip())).unwrap();
    signal(rustix::process::Signal::HUP);
    while RETURNING.load(SeqCst) == 0 {
        client.send(1, &RECEIVED);
    }
    let more = count_allocations(&mut client, &RECEIVED) - usual;
    println!("{more:.2} more with return paths and a warm-up");
    assert!(more <= MOST_OF_POLICIES, "{more:.2} more for each message");
    assert!(more > 1.0, "a return path is text of its own");

    client.expect(b"QUIT\r\n");
    signal(rustix::process::Signal::TERM);
    assert_eq!(ended.join().unwrap(), ExitCode::SUCCESS);
}

/// What a small message over connections that stay may cost.
const MOST: f64 = 10.0;
/// What return paths, a pool and a plan may cost besides.
const MOST_OF_POLICIES: f64 = 5.0;
/// What a connection may hold that was greeted and waits, with its part of what tables grow by.
const MOST_IDLE: isize = 3400;
const IDLE: usize = 256;
const WARM_UP: usize = 200;
/// Those whose allocations are looked at; a back trace takes time.
const MESSAGES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);
