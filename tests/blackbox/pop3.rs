//! Users who fetch their mail with POP3.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::support::pop3::Pop3;
use crate::support::{Relay, Scene, eventually};

/// What other servers were observed with: dots, a longer message, a last line without its end.
const ONE: &str = "From: a@c.test\nTo: u@d.test\nSubject: one\nMessage-ID: <1@c>\n\
    Date: Mon, 1 Jan 2024 00:00:00 +0000\n\nl1\n.dot\n..two\nl4\nl5\n";
const TWO: &str = "From: b@c.test\nSubject: two\n\nsecond\n";
const THREE: &str = "From: c@c.test\nSubject: three\n\nno trailing newline";

/// A relay with mailboxes for ann and bob.
struct House {
    _scene: Scene,
    relay: Relay,
    plain: SocketAddr,
    tls: SocketAddr,
}

impl House {
    fn new(extra: &str) -> Self {
        Self::with_cores(extra, None)
    }

    fn with_cores(extra: &str, cores: Option<&str>) -> Self {
        let scene = Scene::new();
        let mut setup = scene.config("");
        if let Some(cores) = cores {
            setup.cores = cores.to_owned();
        }
        let [plain, tls] =
            [8, 9].map(|host| SocketAddr::from((scene.net.host(host), scene.net.free_port(host))));
        setup.extra = format!(
            "listener = [{{ protocol = \"smtp\", bind = [\"{}\"] }}, \
             {{ protocol = \"pop3\", bind = [\"{plain}\"] }}, \
             {{ protocol = \"pop3s\", bind = [\"{tls}\"] }}]\n{extra}",
            setup.smtp
        );
        let house = Self {
            _scene: scene,
            relay: Relay::prepare(setup),
            plain,
            tls,
        };
        house.relay.write_config();
        for (user, more) in [("ann@d.test", &[][..]), ("bob@d.test", &["--apop"])] {
            house.add(user, more);
        }
        house
    }

    fn add(&self, user: &str, more: &[&str]) {
        let arguments = [&["user", "add", user], more].concat();
        let added = self.relay.run_with(&arguments, "secret\n");
        assert!(added.status.success(), "{added:?}");
    }

    /// Starts it with these messages in ann's mailbox.
    fn start(extra: &str, messages: &[&str]) -> Self {
        let mut house = Self::new(extra);
        for (place, message) in messages.iter().enumerate() {
            house.put("ann@d.test", place, message.as_bytes());
        }
        house.relay.restart();
        house
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.relay.data().join("mailboxes").join(user)
    }

    /// Puts a message into a mailbox as other programs do.
    fn put(&self, user: &str, place: usize, content: &[u8]) {
        let home = self.maildir(user);
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        let name = format!("{}.M1P{place}.c.test", 1_704_067_200 + place);
        let draft = home.join("tmp").join(&name);
        fs::write(&draft, content).unwrap();
        fs::rename(draft, home.join("new").join(name)).unwrap();
    }

    /// The letters of the files in INBOX, in order of name.
    fn flags(&self, user: &str) -> Vec<String> {
        let cur = self.maildir(user).join("cur");
        let names = fs::read_dir(cur).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: BTreeSet<String> = names.collect();
        let letters = names.iter().map(|name| name.rsplit_once(":2,").unwrap().1);
        letters.map(str::to_owned).collect()
    }

    fn client(&self) -> Pop3 {
        Pop3::greet(self.plain)
    }

    fn ann(&self) -> Pop3 {
        self.client().log_in("ann@d.test", "secret")
    }

    fn certificate(&self) -> PathBuf {
        self.relay.data().join("keys/self-signed.pem")
    }
}

fn wire(content: &str) -> String {
    let mut wire = content.replace('\n', "\r\n");
    if !wire.ends_with("\r\n") {
        wire.push_str("\r\n");
    }
    wire
}

#[test]
fn client_looks_around_before_it_logs_in() {
    let house = House::start("", &[]);
    let mut client = house.client();
    assert!(
        client.greeting.starts_with("+OK relay.test POP3 ready <"),
        "{}",
        client.greeting
    );
    assert_ne!(
        client.greeting,
        house.client().greeting,
        "never the same twice"
    );
    let capabilities = client.list("CAPA");
    let sasl = "SASL SCRAM-SHA-256 PLAIN LOGIN";
    for wanted in [
        "TOP",
        "UIDL",
        "RESP-CODES",
        "PIPELINING",
        "AUTH-RESP-CODE",
        "STLS",
        "USER",
        sasl,
    ] {
        assert!(
            capabilities.iter().any(|line| line == wanted),
            "{wanted}: {capabilities:?}"
        );
    }
    client.expect("STAT", "-ERR");
    client.expect("PASS p", "-ERR No username given.");
    client.expect("QUIT", "+OK");
    assert!(client.is_closed());
    let mut client = house.client();
    client.expect("NOOP", "-ERR");
    client.expect("STAT", "-ERR");
    client.expect("XYZ", "-ERR");
    assert_eq!(client.line().unwrap(), "-ERR Too many invalid commands.");
    assert!(client.is_closed());
}

#[test]
fn client_fetches_its_mail() {
    let house = House::start("", &[ONE, TWO, THREE]);
    let sizes = [ONE, TWO].map(|text| wire(text).len());
    let three = THREE.replace('\n', "\r\n").len();
    let total = format!("+OK 3 {}", sizes[0] + sizes[1] + three);
    let mut ann = house.ann();
    assert!(!ann.list("CAPA").iter().any(|line| line == "STLS"));
    assert_eq!(ann.say("STAT"), total);
    let listed = [
        format!("1 {}", sizes[0]),
        format!("2 {}", sizes[1]),
        format!("3 {three}"),
    ];
    assert_eq!(ann.list("LIST"), listed);
    assert_eq!(ann.list("LIST "), listed);
    ann.expect("LIST 2", &format!("+OK {}", listed[1]));
    ann.expect("LIST 99", "-ERR There's no message 99.");
    ann.expect("LIST 0", "-ERR There's no message 0.");
    ann.expect("LIST x", "-ERR Invalid message number");
    ann.expect("UIDL 99", "-ERR There's no message 99.");
    ann.expect("USER ann@d.test", "-ERR");
    ann.expect("AUTH PLAIN", "-ERR");
    ann.expect("RETR 1", &format!("+OK {} octets", sizes[0]));
    assert_eq!(ann.rest(), wire(ONE));
    ann.expect("RETR 3", &format!("+OK {three} octets"));
    assert_eq!(ann.rest(), wire(THREE));
    let header = wire(&ONE[..ONE.find("l1").unwrap()]);
    ann.expect("TOP 1 0", "+OK");
    assert_eq!(ann.rest(), header);
    ann.expect("TOP 1 2", "+OK");
    assert_eq!(ann.rest(), format!("{header}l1\r\n.dot\r\n"));
    ann.expect("TOP 1 9999", "+OK");
    assert_eq!(ann.rest(), wire(ONE));
    for bad in ["TOP 1", "TOP 1 -1", "RETR", "RETR 99"] {
        ann.expect(bad, "-ERR");
    }
    ann.expect("NOOP", "+OK");
    ann.expect("QUIT", "+OK Logging out.");
    assert!(ann.is_closed());
    house.relay.log_line(&["logged in as ann@d.test"]);
}

#[test]
fn client_says_everything_in_one_write() {
    let house = House::start("", &[ONE, TWO, THREE]);
    let mut client = house.client();
    client.send("user ann@d.test\r\npass secret\r\nstat\r\nlist\r\nuidl\r\nretr 2\r\nquit\r\n");
    assert_eq!(client.line().unwrap(), "+OK");
    assert_eq!(client.line().unwrap(), "+OK Logged in.");
    assert!(client.line().unwrap().starts_with("+OK 3 "));
    assert_eq!(client.line().unwrap(), "+OK 3 messages:");
    assert_eq!(client.rest().lines().count(), 3);
    assert_eq!(client.line().unwrap(), "+OK");
    assert_eq!(client.rest().lines().count(), 3);
    assert!(client.line().unwrap().ends_with("octets"));
    assert_eq!(client.rest(), wire(TWO));
    assert_eq!(client.line().unwrap(), "+OK Logging out.");
    assert!(client.is_closed());
}

#[test]
fn client_has_the_wrong_password_or_does_not_exist() {
    let house = House::start("", &[]);
    let mut answers = Vec::new();
    for (user, password) in [("ann@d.test", "Secret"), ("eve@d.test", "secret")] {
        let mut client = house.client();
        client.expect(&format!("USER {user}"), "+OK");
        let began = Instant::now();
        answers.push(client.expect(&format!("PASS {password}"), "-ERR [AUTH] "));
        assert!(began.elapsed() >= Duration::from_secs(1), "guessing costs");
    }
    // Neither has what APOP needs.
    for user in ["ann@d.test", "eve@d.test"] {
        let mut client = house.client();
        let began = Instant::now();
        answers.push(client.expect(&format!("APOP {user} {}", "0".repeat(32)), "-ERR [AUTH] "));
        assert!(began.elapsed() >= Duration::from_secs(1), "guessing costs");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(
        !house.relay.log().contains("Secret"),
        "no password in the log"
    );
}

#[test]
fn client_logs_in_with_sasl_and_apop() {
    let house = House::start("", &[TWO]);
    let plain = STANDARD.encode("\0ann@d.test\0secret");
    let mut client = house.client();
    client.expect(&format!("AUTH PLAIN {plain}"), "+OK Logged in.");
    client.expect("STAT", "+OK 1 ");
    drop(client);
    let mut client = house.client();
    client.expect("AUTH PLAIN", "+ ");
    client.expect("*", "-ERR ");
    client.expect("AUTH LOGIN", "+ ");
    client.expect(&STANDARD.encode("ann@d.test"), "+ ");
    eventually("the first session has ended", || {
        let said = client.say(&STANDARD.encode("secret"));
        if said == "+OK Logged in." {
            return Some(());
        }
        assert!(said.starts_with("-ERR [IN-USE]"), "{said}");
        client.expect("AUTH LOGIN", "+ ");
        client.expect(&STANDARD.encode("ann@d.test"), "+ ");
        None
    });
    let mut client = house.client();
    let stamp = &client.greeting[client.greeting.find('<').unwrap()..];
    let digest = format!("{:x}", md5_of(&format!("{stamp}secret")));
    client.expect(&format!("APOP bob@d.test {digest}"), "+OK Logged in.");
    client.expect("STAT", "+OK 0 0");
    let kept = fs::read_to_string(house.relay.data().join("users.toml")).unwrap();
    assert_eq!(
        kept.matches("apop = \"secret\"").count(),
        1,
        "bob's, and nobody else's"
    );
}

fn md5_of(text: &str) -> Hex {
    use md5::Digest as _;
    Hex(md5::Md5::digest(text.as_bytes()).to_vec())
}

struct Hex(Vec<u8>);

impl std::fmt::LowerHex for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[test]
fn client_deletes_at_quit_and_not_before() {
    let house = House::start("", &[ONE, TWO, THREE]);
    let mut ann = house.ann();
    let total = ann.say("STAT");
    let before = ann.list("UIDL");
    ann.expect("DELE 1", "+OK Marked to be deleted.");
    for again in ["DELE 1", "RETR 1", "LIST 1", "UIDL 1", "TOP 1 0"] {
        ann.expect(again, "-ERR Message is deleted.");
    }
    ann.expect("STAT", "+OK 2 ");
    assert_eq!(ann.list("UIDL"), before[1..], "numbers do not shift");
    ann.expect("RSET", "+OK");
    assert_eq!(ann.say("STAT"), total);
    ann.expect("DELE 2", "+OK");
    // Lost, not ended: nothing is deleted (RFC 1939 §3).
    drop(ann);
    let mut ann = eventually("the lost session has ended", || try_ann(&house));
    assert_eq!(ann.say("STAT"), total);
    assert_eq!(ann.list("UIDL"), before);
    ann.expect("DELE 2", "+OK");
    ann.expect("QUIT", "+OK Logging out, messages deleted.");
    let mut ann = house.ann();
    ann.expect("STAT", "+OK 2 ");
    let after: Vec<String> = ann.list("UIDL");
    let ids = |lines: &[String]| {
        let ids = lines.iter().filter_map(|line| line.split(' ').nth(1));
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&after),
        [&ids(&before)[..1], &ids(&before)[2..]].concat()
    );
}

#[test]
fn client_retrieves_and_other_clients_see_what_was_read() {
    let house = House::start("", &[ONE, TWO, THREE]);
    let mut ann = house.ann();
    ann.list("TOP 2 5");
    ann.list("RETR 3");
    ann.expect("QUIT", "+OK Logging out.");
    assert_eq!(house.flags("ann@d.test"), ["", "", "S"]);
    let mut ann = house.ann();
    ann.list("RETR 1");
    ann.expect("RSET", "+OK");
    ann.list("RETR 2");
    // Lost without QUIT: what was read was read.
    drop(ann);
    eventually("the lost session has left its mark", || {
        (house.flags("ann@d.test") == ["", "S", "S"]).then_some(())
    });
}

/// A session of ann's, unless her maildrop is locked.
fn try_ann(house: &House) -> Option<Pop3> {
    let mut client = house.client();
    client.expect("USER ann@d.test", "+OK");
    let said = client.say("PASS secret");
    assert!(
        said.starts_with("+OK") || said.starts_with("-ERR [IN-USE] "),
        "{said}"
    );
    said.starts_with("+OK").then_some(client)
}

#[test]
fn client_comes_twice_at_a_time() {
    let house = House::start("", &[ONE]);
    let mut first = house.ann();
    assert!(try_ann(&house).is_none());
    let mut bob = house.client().log_in("bob@d.test", "secret");
    bob.expect("STAT", "+OK 0 0");
    first.expect("QUIT", "+OK");
    assert!(first.is_closed());
    assert!(try_ann(&house).is_some());
}

#[test]
fn mail_arrives_during_a_session() {
    let house = House::start("", &[ONE]);
    let mut ann = house.ann();
    let before = ann.list("UIDL");
    house.put("ann@d.test", 7, TWO.as_bytes());
    assert_eq!(ann.list("UIDL"), before);
    ann.expect("RETR 2", "-ERR There's no message 2.");
    ann.expect("QUIT", "+OK");
    let after = house.ann().list("UIDL");
    assert_eq!(after.len(), 2);
    assert_eq!(after[..1], before, "the old one is called as before");
}

#[test]
fn unique_ids_survive_restarts_and_a_lost_index() {
    let mut house = House::start("", &[ONE, ONE, ONE]);
    let before = house.ann().list("UIDL");
    for line in &before {
        let id = line.split(' ').nth(1).unwrap();
        let is_good = |b: u8| (0x21..=0x7e).contains(&b);
        assert!(
            (1..=70).contains(&id.len()) && id.bytes().all(is_good),
            "{id}"
        );
    }
    assert!(
        before[0][2..] != before[1][2..],
        "identical messages differ"
    );
    house.relay.terminate();
    house.relay.restart();
    assert_eq!(house.ann().list("UIDL"), before);
    house.relay.kill();
    fs::remove_file(house.maildir("ann@d.test").join("ringpost.index")).unwrap();
    house.relay.restart();
    assert_eq!(house.ann().list("UIDL"), before);
}

#[test]
fn client_goes_under_tls() {
    let house = House::start("auth.allow_plaintext = \"never\"", &[TWO]);
    let mut client = house.client();
    let offered = client.list("CAPA");
    assert!(offered.contains(&"STLS".to_owned()) && !offered.contains(&"USER".to_owned()));
    client.expect("USER ann@d.test", "-ERR [AUTH] Plaintext");
    client.expect("AUTH PLAIN", "-ERR [AUTH] Plaintext");
    // What is said behind STLS in plain was not said under TLS.
    client.send("STLS\r\nUSER bob@d.test\r\n");
    assert!(client.line().unwrap().starts_with("+OK"));
    client.secure(&house.certificate());
    client.expect("PASS secret", "-ERR No username given.");
    house
        .relay
        .log_line(&["17 octets in plain behind STARTTLS were thrown away"]);
    let offered = client.list("CAPA");
    assert!(!offered.contains(&"STLS".to_owned()) && offered.contains(&"USER".to_owned()));
    assert!(
        offered
            .iter()
            .any(|line| line.starts_with("SASL SCRAM-SHA-256-PLUS "))
    );
    client.expect("STLS", "-ERR");
    let mut client = client.log_in("ann@d.test", "secret");
    client.expect("RETR 1", "+OK");
    assert_eq!(client.rest(), wire(TWO));
    client.expect("QUIT", "+OK");
    let mut client = Pop3::greet_tls(house.tls, &house.certificate());
    client.expect("STLS", "-ERR");
    let mut client = client.log_in("ann@d.test", "secret");
    client.expect("STAT", "+OK 1 ");
}

#[test]
fn messages_are_large_have_endless_lines_and_odd_octets() {
    let mut house = House::new("runtime.memory = \"64MiB\"");
    let mut large = b"Subject: large\n\n".to_vec();
    while large.len() < 50 << 20 {
        let number = large.len();
        writeln!(large, ".{number} and so on, up to some line's end").unwrap();
    }
    let line = [
        b"Subject: line\n\n".to_vec(),
        vec![b'x'; 1_000_000],
        b"\n".to_vec(),
    ]
    .concat();
    let odd = b"Subject: odd\n\n\0nul \xff\xfe 8-bit\n\0\n".to_vec();
    for (place, content) in [&large, &line, &odd].into_iter().enumerate() {
        house.put("ann@d.test", place, content);
    }
    house.relay.restart();
    let mut ann = house.ann();
    for (number, content) in [&large, &line, &odd].into_iter().enumerate() {
        let said = ann.say(&format!("RETR {}", number + 1));
        let sent = ann.octets();
        let mut wanted = Vec::new();
        for line in content.split_inclusive(|&octet| octet == b'\n') {
            wanted.extend_from_slice(&line[..line.len() - 1]);
            wanted.extend_from_slice(b"\r\n");
        }
        assert_eq!(said, format!("+OK {} octets", wanted.len()));
        assert!(sent == wanted, "message {} differs", number + 1);
    }
    let peak = peak_memory(house.relay.pid());
    assert!(
        peak < 200 << 20,
        "{peak} octets of memory for a message of 50 MiB"
    );
}

/// The most memory that a process has had.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[test]
fn clients_fall_silent() {
    let waits = "mailboxes = { login_timeout = \"1s\", pop3_timeout = \"1500ms\" }";
    let house = House::start(waits, &[ONE]);
    let mut stranger = house.client();
    let mut ann = house.ann();
    ann.expect("DELE 1", "+OK");
    // Without a word, and without UPDATE (RFC 1939 §3).
    assert!(stranger.is_closed());
    assert!(ann.is_closed());
    let mut ann = eventually("the lock is free", || try_ann(&house));
    ann.expect("STAT", "+OK 1 ");
}

#[test]
fn the_relay_ends_during_a_session() {
    let mut house = House::start("", &[ONE]);
    let mut ann = house.ann();
    ann.expect("DELE 1", "+OK");
    house.relay.signal(Signal::TERM);
    assert!(ann.is_closed());
    assert!(house.relay.wait().success());
    house.relay.restart();
    house.ann().expect("STAT", "+OK 1 ");
}

#[test]
fn another_program_removes_a_message_during_a_session() {
    let house = House::start("", &[ONE, TWO]);
    let mut ann = house.ann();
    ann.expect("STAT", "+OK 2 ");
    for folder in ["new", "cur"] {
        for entry in fs::read_dir(house.maildir("ann@d.test").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if fs::read_to_string(&path).unwrap() == ONE {
                fs::remove_file(path).unwrap();
            }
        }
    }
    ann.expect("RETR 1", "-ERR [SYS/");
    ann.expect("RETR 2", "+OK");
    assert_eq!(ann.rest(), wire(TWO));
    ann.expect("DELE 1", "+OK");
    ann.expect("QUIT", "+OK");
    house.ann().expect("STAT", "+OK 1 ");
}

#[test]
fn there_are_too_many_connections() {
    let limits = "smtp.trusted_networks = []\n\
         mailboxes = { max_connections = 3, max_connections_per_client = 2 }";
    let house = House::start(limits, &[]);
    let first = house.client();
    let _second = house.client();
    let third = house.client();
    assert!(
        third.greeting.starts_with("-ERR [SYS/TEMP] "),
        "{}",
        third.greeting
    );
    drop(first);
    eventually("there is room again", || {
        house.client().greeting.starts_with("+OK").then_some(())
    });
    // Those who bring mail have a limit of their own.
    house.relay.client().command("NOOP").is("250 ");
}

/// With two shards every user's sessions run on one of them, wherever they came in.
#[test]
fn sessions_go_to_the_shard_where_their_user_is_at_home() {
    let mut house = House::with_cores("auth.allow_plaintext = \"loopback\"", Some("2"));
    let users: Vec<String> = (0..6).map(|number| format!("u{number}@d.test")).collect();
    for user in &users {
        house.add(user, &[]);
        house.put(user, 1, format!("Subject: {user}\n\nbody\n").as_bytes());
    }
    house.relay.restart();
    let certificate = house.certificate();
    // So many that both shards have accepted some of each user's.
    for round in 0..4 {
        for user in &users {
            let mut client = if round % 2 == 0 {
                house.client()
            } else {
                Pop3::greet_tls(house.tls, &certificate)
            };
            // What is pipelined behind the login moves along.
            client.send(format!("USER {user}\r\nPASS secret\r\nRETR 1\r\nNOOP\r\n"));
            assert_eq!(client.line().unwrap(), "+OK");
            assert_eq!(client.line().unwrap(), "+OK Logged in.");
            assert!(client.line().unwrap().starts_with("+OK "));
            assert_eq!(client.rest(), format!("Subject: {user}\r\n\r\nbody\r\n"));
            assert_eq!(client.line().unwrap(), "+OK");
            // The lock is one, though the shards are two.
            let mut other = house.client();
            other.expect(&format!("USER {user}"), "+OK");
            other.expect("PASS secret", "-ERR [IN-USE] ");
            client.expect("QUIT", "+OK");
            assert!(client.is_closed());
        }
    }
}

/// Ten users who fetch at the same time use every shard, wherever their connections came in.
#[test]
fn ten_users_keep_all_shards_busy() {
    let mut house = House::with_cores("", Some("2"));
    let content = [
        b"Subject: some\n\n".to_vec(),
        b"words of a line\n".repeat(50_000),
    ]
    .concat();
    let users: Vec<String> = (0..10).map(|number| format!("u{number}@d.test")).collect();
    for user in &users {
        house.add(user, &[]);
        house.put(user, 1, &content);
    }
    house.relay.restart();
    let clients: Vec<Pop3> = users
        .iter()
        .map(|user| house.client().log_in(user, "secret"))
        .collect();
    let before = shard_ticks(house.relay.pid());
    std::thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || {
                for _ in 0..10 {
                    client.expect("RETR 1", "+OK");
                    assert_eq!(client.octets().len(), content_size(50_000));
                }
            });
        }
    });
    let after = shard_ticks(house.relay.pid());
    let spent: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let (least, total) = (spent.iter().min().unwrap(), spent.iter().sum::<u64>());
    assert!(
        spent.len() == 2 && least * 10 > total,
        "ticks of each shard: {spent:?}"
    );
}

fn content_size(lines: usize) -> usize {
    "Subject: some\r\n\r\n".len() + lines * "words of a line\r\n".len()
}

/// The CPU time of every shard so far, in clock ticks; a helper thread has its shard's name.
fn shard_ticks(pid: u32) -> Vec<u64> {
    let mut shards = std::collections::BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, rest) = stat.rsplit_once(") ").unwrap();
        if let Some((_, number)) = name.split_once("(shard-") {
            let fields: Vec<&str> = rest.split(' ').collect();
            let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
            // utime and stime of proc(5), counted behind the name.
            *shards.entry(number.to_owned()).or_default() += ticks(11) + ticks(12);
        }
    }
    shards.into_values().collect()
}

/// From the 250 to the user, over two shards: what comes by SMTP is what POP3 gives.
#[test]
fn mail_comes_by_smtp_and_is_fetched() {
    let mut house = House::with_cores(
        "route = [{ domain = \"d.test\", to = \"mailbox\" }]",
        Some("2"),
    );
    house.relay.restart();
    let content = b"From: a@c.test\r\nSubject: hello\r\n\r\n.dot\r\n..dots\r\nend\r\n";
    for _ in 0..4 {
        house
            .relay
            .submit("<a@c.test>", &["<ann@d.test>", "<bob@d.test>"], content);
    }
    house.relay.wait_until_empty();
    for user in ["ann@d.test", "bob@d.test"] {
        let mut client = house.client().log_in(user, "secret");
        client.expect("STAT", "+OK 4 ");
        for number in 1..=4 {
            let said = client.say(&format!("RETR {number}"));
            let fetched = client.octets();
            assert_eq!(said, format!("+OK {} octets", fetched.len()));
            assert!(
                fetched.starts_with(b"Return-Path: <a@c.test>\r\n"),
                "{said}"
            );
            assert!(
                fetched.ends_with(content),
                "{}",
                String::from_utf8_lossy(&fetched)
            );
            client.expect(&format!("DELE {number}"), "+OK");
        }
        client.expect("QUIT", "+OK Logging out, messages deleted.");
        house
            .client()
            .log_in(user, "secret")
            .expect("STAT", "+OK 0 0");
    }
}
