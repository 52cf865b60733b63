//! Clients that log in, and those that should have.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, State};

use crate::support::client::Reply;
use crate::support::imap::Imap;
use crate::support::pop3::Pop3;
use crate::support::{Client, Mx, Relay, Scene, Script, eventually, message};

const SUBMISSION: &str = "smtp.trusted_networks = []\n\
     listener = [{ protocol = \"submission\", bind = [\"SMTP\"] }]";

/// A relay where strangers may do nothing and ann may send.
fn submission() -> (Scene, Mx, Relay) {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = SUBMISSION.replace("SMTP", &setup.smtp.to_string());
    let relay = Relay::start(setup);
    add(&relay, "ann@c.test", &["--sender", "*@lists.test"]);
    eventually("AUTH is offered", || {
        let hello = relay.client().command("EHLO c.test").text();
        hello
            .contains("AUTH SCRAM-SHA-256 PLAIN LOGIN")
            .then_some(())
    });
    (scene, mx, relay)
}

/// Adds a user, and waits until the relay has noticed.
fn add(relay: &Relay, address: &str, more: &[&str]) {
    let arguments = [&["user", "add", address], more].concat();
    let output = relay.run_with(&arguments, "secret\n");
    assert!(output.status.success(), "{output:?}");
    relay.log_line(&["files that the configuration names changed: done"]);
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

pub fn plain(client: &mut Client, user: &str, password: &str) -> Reply {
    client.command(&format!(
        "AUTH PLAIN {}",
        encoded(&format!("\0{user}\0{password}"))
    ))
}

/// SCRAM-SHA-256 to its end, by a client that is not of ours.
fn scram(client: &mut Client, user: &str, password: &str) -> Reply {
    let config = SASLConfig::with_credentials(None, user.to_owned(), password.to_owned()).unwrap();
    let name = Mechname::parse(b"SCRAM-SHA-256").unwrap();
    let mut session = SASLClient::new(config)
        .start_suggested([name].iter())
        .unwrap();
    let mut said = Vec::new();
    session.step(None, &mut said).unwrap();
    let mut line = format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(&said));
    loop {
        let reply = client.command(&line);
        if reply.code != 334 {
            return reply;
        }
        let challenge = STANDARD.decode(reply.lines[0].trim()).unwrap();
        said.clear();
        // The server's proof is checked here: a wrong one ends the test.
        let state = session.step(Some(&challenge), &mut said).unwrap();
        line = match state {
            State::Running | State::Finished(_) => STANDARD.encode(&said),
        };
    }
}

#[test]
fn client_logs_in_with_each_mechanism_and_submits() {
    let (_scene, mx, relay) = submission();
    for (count, login) in [plain, scram].into_iter().enumerate() {
        let mut client = relay.client();
        login(&mut client, "ann@c.test", "secret").is("235 2.7.0");
        client
            .submit("<ann@c.test>", &["<b@d.test>"], &message("mine"))
            .is("250 ");
        mx.wait_for(count + 1);
    }
    let mut client = relay.client();
    client.command("AUTH LOGIN").is("334 ");
    client.command(&encoded("ann@c.test")).is("334 ");
    client.command(&encoded("secret")).is("235 ");
    client
        .submit("<news@lists.test>", &["<b@d.test>"], &message("a list's"))
        .is("250 ");
    let trace = mx.wait_for(3)[2].text();
    assert!(trace.contains("with ESMTPA id"), "{trace}");
}

#[test]
fn client_does_not_log_in() {
    let (_scene, mx, relay) = submission();
    let mut client = relay.client();
    client.command("MAIL FROM:<ann@c.test>").is("530 5.7.0");
    client.command("RCPT TO:<b@d.test>").is("503 ");
    client.command("AUTH GSSAPI").is("504 5.5.4");
    client.command("AUTH SCRAM-SHA-256-PLUS").is("504 5.5.4");
    client.command("AUTH PLAIN not*base64").is("501 5.5.2");
    client.command("AUTH PLAIN").is("334 ");
    client.command("*").is("501 5.7.0");
    client.command("AUTH PLAIN").is("334 ");
    client.command("not*base64").is("501 5.5.2");
    client.command("AUTH PLAIN =").is("535 5.7.8");
    client.command("QUIT").is("221 ");
    assert_eq!(mx.connections(), 0);
}

#[test]
fn client_has_the_wrong_password() {
    let (_scene, _mx, relay) = submission();
    for login in [plain, scram] {
        for (user, password) in [("ann@c.test", "Secret"), ("eve@c.test", "secret")] {
            let mut client = relay.client();
            let began = Instant::now();
            login(&mut client, user, password).is("535 5.7.8");
            assert!(began.elapsed() >= Duration::from_secs(1), "guessing costs");
            client.command("MAIL FROM:<ann@c.test>").is("530 ");
        }
    }
    relay.log_line(&["authentication failed"]);
    assert!(!relay.log().contains("Secret"), "no password in the log");
}

#[test]
fn client_logs_in_twice_and_in_the_middle() {
    let (_scene, _mx, relay) = submission();
    let mut client = relay.client();
    plain(&mut client, "ann@c.test", "secret").is("235 ");
    plain(&mut client, "ann@c.test", "secret").is("503 ");
    client.command("RSET").is("250 ");
    client.command("MAIL FROM:<ann@c.test> AUTH=<>").is("250 ");
    client.command("AUTH LOGIN").is("503 ");
    client.command("RCPT TO:<b@d.test>").is("250 ");
}

#[test]
fn client_sends_with_an_address_of_somebody_else() {
    let (_scene, _mx, relay) = submission();
    let mut client = relay.client();
    plain(&mut client, "ann@c.test", "secret").is("235 ");
    client.command("MAIL FROM:<bob@c.test>").is("553 5.7.1");
    client.command("MAIL FROM:<x@sub.lists.test>").is("553 ");
    client.command("MAIL FROM:<>").is("250 ");
}

#[test]
fn users_change_while_the_relay_runs() {
    let (_scene, _mx, relay) = submission();
    let says = |words: &[&str], input: &str, status: i32| {
        let output = relay.run_with(words, input);
        assert_eq!(output.status.code(), Some(status), "{words:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let can = |user: &str, password: &str| {
        let mut client = relay.client();
        plain(&mut client, user, password).code == 235
    };
    says(&["user", "add", "ann@c.test"], "again\n", 73);
    says(&["user", "add", "no address"], "x\n", 64);
    says(&["user", "add", "bob@c.test"], "\n", 65);
    says(&["user", "remove", "bob@c.test"], "", 67);
    says(&["user", "password", "ann@c.test"], "other\n", 0);
    eventually("the new password is good", || {
        can("ann@c.test", "other").then_some(())
    });
    assert!(!can("ann@c.test", "secret"));
    assert_eq!(says(&["user", "list"], "", 0), "ann@c.test *@lists.test\n");
    assert!(says(&["user", "list", "--json"], "", 0).contains("\"*@lists.test\""));
    says(&["user", "remove", "ann@c.test"], "", 0);
    eventually("nobody may log in", || {
        let hello = relay.client().command("EHLO c.test").text();
        (!hello.contains("AUTH")).then_some(())
    });
    let kept = std::fs::read_to_string(relay.data().join("users.toml")).unwrap();
    assert!(!kept.contains("ann@"), "{kept}");
}

/// The kernel spreads a client's connections over the shards, and each protocol has listeners of its
/// own: ten tries are ten tries all the same.
#[test]
fn somebody_guesses_over_many_connections_and_all_protocols_at_once() {
    let scene = Scene::new();
    let mut setup = scene.config("");
    let [pop3, imap] =
        [8, 9].map(|host| SocketAddr::from((scene.net.host(host), scene.net.free_port(host))));
    setup.cores = "2".to_owned();
    setup.extra = format!(
        "listener = [{{ protocol = \"submission\", bind = [\"{}\"] }}, \
         {{ protocol = \"pop3\", bind = [\"{pop3}\"] }}, \
         {{ protocol = \"imap\", bind = [\"{imap}\"] }}]",
        setup.smtp
    );
    // Added before it starts: so every shard knows her.
    let mut relay = Relay::prepare(setup);
    relay.write_config();
    let output = relay.run_with(&["user", "add", "ann@c.test"], "secret\n");
    assert!(output.status.success(), "{output:?}");
    relay.restart();
    let guess = |number: usize| match number % 3 {
        0 => {
            let mut client = relay.client();
            let said = match number % 2 {
                0 => plain(&mut client, "ann@c.test", "guess"),
                _ => scram(&mut client, "ann@c.test", "guess"),
            };
            format!("{} {}", said.code, said.text())
        }
        1 => {
            let mut client = Pop3::greet(pop3);
            client.expect("USER ann@c.test", "+OK");
            client.say("PASS guess")
        }
        _ => {
            let mut client = Imap::greet(imap);
            let tag = client.tag();
            client.send(format!("{tag} LOGIN ann@c.test guess\r\n"));
            client.line()
        }
    };
    let said: Vec<String> = thread::scope(|scope| {
        let guess = &guess;
        let guesses: Vec<_> = (0..42)
            .map(|number| scope.spawn(move || guess(number)))
            .collect();
        guesses
            .into_iter()
            .map(|guess| guess.join().unwrap())
            .collect()
    });
    let wrong = said.iter().filter(|said| said.contains("uthentication "));
    let later = said.iter().filter(|said| said.contains("again later"));
    assert_eq!((wrong.count(), later.count()), (10, 32), "{said:#?}");
}

/// Nobody is told to come back because others of the same network log in at the same moment.
#[test]
fn many_log_in_at_once_from_one_address() {
    let (_scene, _mx, relay) = submission();
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| plain(&mut relay.client(), "ann@c.test", "secret").is("235 "));
        }
    });
}

#[test]
fn plaintext_is_allowed_to_nobody() {
    let scene = Scene::new();
    let relay = scene.relay("auth.allow_plaintext = \"never\"");
    add(&relay, "ann@c.test", &[]);
    let mut client = relay.client();
    let hello = client.command("EHLO c.test").text();
    assert!(
        hello.contains("STARTTLS") && !hello.contains("AUTH"),
        "{hello}"
    );
    plain(&mut client, "ann@c.test", "secret").is("503 ");
}

/// A header that a mail program may write, and what of it others see.
fn draft(octets: usize) -> (Vec<u8>, Vec<u8>) {
    let body = format!("{}\r\n", ".x".repeat(30)).repeat(octets / 62);
    let open = format!("From: ann@c.test\r\nTo: b@d.test\r\n\r\n{body}");
    let bcc = "Bcc: secret@d.test,\r\n other@d.test\r\n";
    (format!("{bcc}{open}").into_bytes(), open.into_bytes())
}

#[test]
fn client_leaves_out_what_mail_must_have_and_leaves_in_what_nobody_should_see() {
    let (_scene, mx, relay) = submission();
    let mut client = relay.client();
    plain(&mut client, "ann@c.test", "secret").is("235 ");
    // The second one is larger than what is kept in memory.
    for (count, octets) in [100, 700_000].into_iter().enumerate() {
        let (sent, wanted) = draft(octets);
        client
            .submit("<ann@c.test>", &["<b@d.test>"], &sent)
            .is("250 ");
        let got = mx.wait_for(count + 1)[count].content_as_sent();
        let text = String::from_utf8(got).unwrap();
        let lines: Vec<&str> = text.splitn(3, "\r\n").collect();
        assert!(lines[0].starts_with("Date: "), "{}", &text[..200]);
        assert!(lines[1].starts_with("Message-ID: <") && lines[1].ends_with("@relay.test>"));
        assert!(lines[2].as_bytes() == wanted, "{}", &text[..300]);
    }
    relay.log_line(&[&format!("size={},", draft(100).1.len())]);
    relay.log_line(&["message-id=<", "@relay.test>"]);
    // What is there stays.
    client
        .submit("<ann@c.test>", &["<b@d.test>"], &message("whole"))
        .is("250 ");
    assert_eq!(mx.wait_for(3)[2].content_as_sent(), message("whole"));
}

#[test]
fn client_writes_from_where_nobody_is_to_know() {
    let (scene, mx) = Scene::with_mx(Script::new());
    let mut setup = scene.config("");
    setup.extra = SUBMISSION
        .replace("SMTP", &setup.smtp.to_string())
        .replace("bind", "hide_client = true, bind");
    let relay = Relay::start(setup);
    add(&relay, "ann@c.test", &[]);
    eventually("AUTH is offered", || {
        let hello = relay.client().command("EHLO c.test").text();
        hello.contains("AUTH ").then_some(())
    });
    let mut client = relay.client();
    plain(&mut client, "ann@c.test", "secret").is("235 ");
    client
        .submit("<ann@c.test>", &["<b@d.test>"], &message("hidden"))
        .is("250 ");
    let trace = mx.wait_for(1)[0].text();
    let (field, _) = trace.split_once("\r\nFrom: ").unwrap();
    assert!(
        field.starts_with("Received: from localhost (a user"),
        "{field}"
    );
    assert!(
        !field.contains("127.") && !field.contains("c.test ("),
        "{field}"
    );
    // Our own log still knows.
    relay.log_line(&["client=", "127."]);
}

/// With a few addresses a stranger has tried a user's password as often as may be. That keeps out
/// himself and his like, not the user where she is known, and nobody who needs no password.
#[test]
fn stranger_who_guesses_from_many_addresses_locks_nobody_out_at_home() {
    let scene = Scene::new();
    let mut setup = scene.config("");
    setup.extra = format!(
        "auth.allow_plaintext = \"always\"\nlistener = [{{ protocol = \"submission\", \
         bind = [\"{}\"], proxy_protocol = true }}]",
        setup.smtp
    );
    let mut relay = Relay::prepare(setup);
    relay.write_config();
    let output = relay.run_with(&["user", "add", "ann@c.test"], "secret\n");
    assert!(output.status.success(), "{output:?}");
    relay.restart();
    let from = |host: u8| {
        let mut client = Client::dial(relay.setup.smtp);
        client.send(format!(
            "PROXY TCP4 192.0.2.{host} 192.0.2.250 4711 587\r\nEHLO c.test\r\n"
        ));
        client.reply().is("220 ");
        client.reply().is("250 ");
        client
    };
    let (home, elsewhere) = (100, 101);
    plain(&mut from(home), "ann@c.test", "secret").is("235 ");
    thread::scope(|scope| {
        for host in 0..30 {
            let from = &from;
            scope.spawn(move || plain(&mut from(host), "ann@c.test", "guess").is("535 "));
        }
    });
    plain(&mut from(elsewhere), "ann@c.test", "secret").is("535 ");
    plain(&mut from(home), "ann@c.test", "guess").is("535 ");
    plain(&mut from(home), "ann@c.test", "secret").is("235 ");
    scram(&mut from(home), "ann@c.test", "secret").is("235 ");
}
