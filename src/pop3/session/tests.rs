use super::state::{Rule, State, rule};
use super::{Held, Session, Step, Terms, Updated};
use crate::pop3::command::Verb;
use crate::pop3::reply::Reply;

/// A maildrop as observed clients were shown it: a message with dots, a longer one, and one whose
/// last line has no end.
const MESSAGES: [&[u8]; 3] = [
    b"From: a@c.test\r\nTo: u@d.test\r\nSubject: one\r\nMessage-ID: <1@c>\r\n\
      Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nl1\r\n.dot\r\n..two\r\nl4\r\nl5\r\n",
    b"From: b@c.test\r\n\r\nsecond\r\n",
    b"From: c@c.test\r\nSubject: three\r\n\r\nno trailing newline",
];

/// A driver without a disk: ann's password is "p", and what it was asked is kept.
struct Driver {
    session: Session,
    said: Vec<u8>,
    deleted: Option<Vec<u32>>,
    locked: bool,
    handshakes: usize,
    closed: bool,
    /// The largest output there ever was.
    held: usize,
}

impl Driver {
    fn new() -> Self {
        Self::with(Terms {
            tls: true,
            passwords: true,
            mechanisms: &["PLAIN", "LOGIN"],
            stamp: Some("<1.2@d.test>".to_owned()),
        })
    }

    fn with(terms: Terms) -> Self {
        Self {
            session: Session::new("d.test", terms),
            said: Vec::new(),
            deleted: None,
            locked: false,
            handshakes: 0,
            closed: false,
            held: 0,
        }
    }

    fn flush(&mut self) {
        let output = self.session.output();
        self.held = self.held.max(output.len());
        self.said.append(output);
    }

    /// Gives octets that came, in one read; what is left of them.
    fn read(&mut self, input: &mut Vec<u8>) {
        while !self.closed {
            let (consumed, step) = self.session.step(input);
            let login = |is_right: bool| if is_right { 1 } else { 0 };
            let mut logged_in = None;
            match step {
                Step::NeedInput => {
                    input.drain(..consumed);
                    return self.flush();
                }
                Step::Flush => self.flush(),
                Step::StartTls => {
                    input.clear();
                    self.flush();
                    self.handshakes += 1;
                    self.session.secured(Terms {
                        passwords: true,
                        mechanisms: &["PLAIN"],
                        ..Terms::default()
                    });
                    continue;
                }
                Step::Login(name, password) => {
                    logged_in = Some(login((name, password) == ("ann", b"p")));
                }
                Step::Apop(name, digest) => {
                    logged_in = Some(login(name == "ann" && digest == [7; 16]))
                }
                Step::Auth("PLAIN", Some(b"\0ann\0p")) => logged_in = Some(1),
                Step::Auth(_, Some(_)) => logged_in = Some(0),
                Step::Auth(_, None) => self.session.challenge(b"who?"),
                Step::AuthResponse(said) => logged_in = Some(login(said == b"\0ann\0p")),
                Step::UniqueId(uid) => {
                    let id = format!("id{uid}");
                    self.session.unique_id(Some(&id));
                }
                Step::Content(uid) => self.send(MESSAGES[uid as usize - 10]),
                Step::Update => {
                    self.deleted = Some(self.session.deleted());
                    self.session.updated(Updated::Done);
                }
                Step::Close => {
                    self.flush();
                    self.closed = true;
                }
            }
            input.drain(..consumed);
            match logged_in {
                Some(1) if self.locked => self.session.refused(Reply::IN_USE),
                Some(1) => self.session.opened(maildrop()),
                Some(_) => self.session.refused(Reply::WRONG),
                None => {}
            }
        }
    }

    /// Content comes in pieces of odd sizes.
    fn send(&mut self, content: &[u8]) {
        self.session.content_begins();
        for piece in content.chunks(7) {
            if !self.session.content(piece) {
                break;
            }
            self.flush();
        }
        self.session.content_ends();
    }
}

fn maildrop() -> Vec<Held> {
    let sizes = MESSAGES.iter().enumerate();
    sizes
        .map(|(place, message)| Held::new(place as u32 + 10, message.len() as u32))
        .collect()
}

/// What a client hears that says all of this and then waits.
fn dialogue(lines: &[&str]) -> String {
    let mut driver = Driver::new();
    say(&mut driver, lines)
}

fn say(driver: &mut Driver, lines: &[&str]) -> String {
    driver.flush();
    driver.said.clear();
    for line in lines {
        driver.read(&mut format!("{line}\r\n").into_bytes());
    }
    String::from_utf8(std::mem::take(&mut driver.said)).unwrap()
}

/// The same behind a login.
fn inside(lines: &[&str]) -> String {
    let mut driver = Driver::new();
    say(&mut driver, &["USER ann", "PASS p"]);
    say(&mut driver, lines)
}

const PIPELINED: &str = "USER ann\r\nPASS p\r\nSTAT\r\nLIST\r\nUIDL\r\nTOP 1 2\r\nRETR 1\r\n\
    DELE 2\r\nLIST\r\nUIDL\r\nRETR 3\r\nXYZ\r\nRETR 2\r\nQUIT\r\n";

#[test]
fn the_greeting_has_a_stamp_only_where_apop_works() {
    let mut driver = Driver::new();
    driver.flush();
    assert_eq!(driver.said, b"+OK d.test POP3 ready <1.2@d.test>\r\n");
    let mut driver = Driver::with(Terms::default());
    driver.flush();
    assert_eq!(driver.said, b"+OK d.test POP3 ready\r\n");
    let refused = say(&mut driver, &["APOP ann 07070707070707070707070707070707"]);
    assert_eq!(refused, "-ERR APOP is not offered.\r\n");
}

#[test]
fn the_answers_are_the_same_wherever_the_input_is_split() {
    let whole = |cuts: &[usize]| {
        let (mut driver, mut input, mut from) = (Driver::new(), Vec::new(), 0);
        for &cut in cuts.iter().chain([&PIPELINED.len()]) {
            input.extend_from_slice(&PIPELINED.as_bytes()[from..cut]);
            from = cut;
            driver.read(&mut input);
        }
        assert!(driver.closed);
        (String::from_utf8(driver.said).unwrap(), driver.deleted)
    };
    let (said, deleted) = whole(&[]);
    assert_eq!(deleted, Some(vec![11]));
    let octets: Vec<usize> = (0..PIPELINED.len()).collect();
    assert_eq!(whole(&octets).0, said);
    for first in 0..PIPELINED.len() {
        assert_eq!(whole(&[first]).0, said, "{first}");
        let second = (first + 13).min(PIPELINED.len());
        assert_eq!(whole(&[first, second]).0, said, "{first} {second}");
    }
    // All answers in order (RFC 2449 §6.6).
    let firsts: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    let [a, b, c] = MESSAGES.map(<[u8]>::len);
    assert_eq!(
        firsts,
        [
            "+OK d.test POP3 ready <1.2@d.test>",
            "+OK",
            "+OK Logged in.",
            &format!("+OK 3 {}", a + b + c),
            "+OK 3 messages:",
            "+OK",
            "+OK",
            &format!("+OK {a} octets"),
            "+OK Marked to be deleted.",
            "+OK 2 messages:",
            "+OK",
            &format!("+OK {c} octets"),
            "-ERR Unknown command.",
            "-ERR Message is deleted.",
            "+OK Logging out, messages deleted.",
        ]
    );
}

#[test]
fn the_table_is_what_rfc_1939_says() {
    let row = |state| {
        let word = |verb: &Verb| match rule(*verb, state) {
            Rule::Go => Some(verb.keyword()),
            Rule::After | Rule::Before | Rule::Unknown => None,
        };
        Verb::ALL
            .iter()
            .filter_map(word)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        row(State::Authorization),
        "USER PASS APOP AUTH STLS CAPA UTF8 LANG QUIT"
    );
    assert_eq!(
        row(State::Transaction),
        "CAPA LANG STAT LIST UIDL RETR TOP DELE RSET NOOP QUIT"
    );
    assert_eq!(dialogue(&["STAT"]), "-ERR Log in first.\r\n");
    assert_eq!(
        inside(&["USER ann"]),
        "-ERR You have logged in already.\r\n"
    );
}

#[test]
fn a_stranger_who_speaks_something_else_is_sent_away() {
    let said = dialogue(&["NOOP", "GET / HTTP/1.1", "XYZ", "QUIT"]);
    assert_eq!(
        said,
        "-ERR Log in first.\r\n-ERR Unknown command.\r\n-ERR Unknown command.\r\n\
         -ERR Too many invalid commands.\r\n"
    );
    let mut driver = Driver::new();
    let said = say(&mut driver, &["CAPA"; 60]);
    assert!(driver.closed && said.ends_with("-ERR Too many commands before login.\r\n"));
}

#[test]
fn a_name_comes_before_its_password() {
    assert_eq!(dialogue(&["PASS p"]), "-ERR No username given.\r\n");
    assert_eq!(dialogue(&["USER"]), "-ERR A user name is needed.\r\n");
    let wrong = "+OK\r\n-ERR [AUTH] Authentication failed.\r\n";
    assert_eq!(dialogue(&["USER ann", "PASS q"]), wrong);
    assert_eq!(
        dialogue(&["USER eve", "PASS p"]),
        wrong,
        "a stranger hears the same"
    );
    // The name is used up.
    let again = dialogue(&["USER ann", "PASS q", "PASS p"]);
    assert!(again.ends_with("-ERR No username given.\r\n"), "{again}");
    // A blank belongs to the password.
    assert_eq!(dialogue(&["USER ann", "PASS  p"]), wrong);
    assert_eq!(
        dialogue(&["user ann", "pass p"]),
        "+OK\r\n+OK Logged in.\r\n"
    );
}

#[test]
fn lines_may_end_with_a_line_feed_alone() {
    let mut driver = Driver::new();
    driver.read(&mut b"USER ann\nPASS p\nSTAT\n".to_vec());
    let said = String::from_utf8(driver.said).unwrap();
    assert!(said.contains("+OK Logged in.\r\n+OK 3 "), "{said}");
}

#[test]
fn without_tls_no_password_is_asked_for() {
    let mut driver = Driver::with(Terms {
        tls: true,
        ..Terms::default()
    });
    let capabilities = say(&mut driver, &["CAPA"]);
    assert!(capabilities.contains("\r\nSTLS\r\n"), "{capabilities}");
    assert!(!capabilities.contains("SASL") && !capabilities.contains("\r\nUSER\r\n"));
    for line in ["USER ann", "PASS p", "AUTH PLAIN AGFubgBw"] {
        let said = say(&mut driver, &[line]);
        assert!(said.starts_with("-ERR [AUTH] Plaintext"), "{line}: {said}");
    }
}

#[test]
fn stls_forgets_what_was_said_before_and_throws_away_what_came_behind() {
    let mut driver = Driver::new();
    driver.read(&mut b"USER ann\r\nSTLS\r\nPASS p\r\nSTAT\r\n".to_vec());
    let said = String::from_utf8(std::mem::take(&mut driver.said)).unwrap();
    assert!(
        said.ends_with("+OK\r\n+OK Begin TLS negotiation now.\r\n"),
        "{said}"
    );
    assert_eq!(driver.handshakes, 1);
    assert_eq!(say(&mut driver, &["PASS p"]), "-ERR No username given.\r\n");
    let capabilities = say(&mut driver, &["CAPA"]);
    assert!(!capabilities.contains("STLS"), "{capabilities}");
    assert_eq!(
        say(&mut driver, &["STLS"]),
        "-ERR TLS is not to be had now.\r\n"
    );
    assert_eq!(
        dialogue(&["UTF8", "STLS"]),
        "+OK UTF8 enabled.\r\n-ERR STLS comes before UTF8.\r\n"
    );
}

#[test]
fn apop_is_a_name_and_a_digest() {
    let good = "APOP ann 07070707070707070707070707070707";
    assert_eq!(dialogue(&[good]), "+OK Logged in.\r\n");
    let wrong = "-ERR [AUTH] Authentication failed.\r\n";
    assert_eq!(
        dialogue(&["APOP ann 00000000000000000000000000000000"]),
        wrong
    );
    assert_eq!(
        dialogue(&["APOP eve 07070707070707070707070707070707"]),
        wrong
    );
    for bad in [
        "APOP",
        "APOP ann",
        "APOP ann 0707",
        "APOP  07070707070707070707070707070707",
    ] {
        assert!(dialogue(&[bad]).starts_with("-ERR APOP takes"), "{bad}");
    }
}

#[test]
fn auth_runs_in_one_line_or_in_several() {
    let plain = "AGFubgBw";
    assert_eq!(
        dialogue(&[&format!("AUTH PLAIN {plain}")]),
        "+OK Logged in.\r\n"
    );
    let asked = "+ d2hvPw==\r\n";
    assert_eq!(
        dialogue(&["auth plain", plain]),
        format!("{asked}+OK Logged in.\r\n")
    );
    assert_eq!(
        dialogue(&["AUTH PLAIN", "*"]),
        format!("{asked}-ERR [AUTH] Authentication cancelled.\r\n")
    );
    assert_eq!(
        dialogue(&["AUTH PLAIN", "no*base64"]),
        format!("{asked}-ERR That is no base64.\r\n")
    );
    assert_eq!(
        dialogue(&["AUTH PLAIN ="]),
        "-ERR [AUTH] Authentication failed.\r\n",
        "an empty answer is one (RFC 5034 §4)"
    );
    assert_eq!(dialogue(&["AUTH PLAIN a b"]), "-ERR That is no base64.\r\n");
    assert_eq!(dialogue(&["AUTH"]), "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n");
    assert_eq!(
        dialogue(&["AUTH GSSAPI"]),
        "-ERR This mechanism is not offered.\r\n"
    );
    let too_long = "A".repeat(13_000);
    let said = dialogue(&["AUTH PLAIN", &too_long, "CAPA"]);
    assert!(said.contains("too long.\r\n+OK Capability"), "{said}");
}

#[test]
fn capabilities_are_those_that_work_now() {
    let before = dialogue(&["CAPA"]);
    assert!(before.starts_with("+OK "), "{before}");
    for line in [
        "TOP",
        "UIDL",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "PIPELINING",
        "EXPIRE NEVER",
    ] {
        assert!(
            before.contains(&format!("\r\n{line}\r\n")),
            "{line}: {before}"
        );
    }
    assert!(
        before.contains("\r\nSTLS\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n"),
        "{before}"
    );
    let after = inside(&["CAPA"]);
    assert!(!after.contains("STLS") && !after.contains("SASL") && after.ends_with("\r\n.\r\n"));
}

#[test]
fn a_locked_maildrop_says_so_and_another_login_may_follow() {
    let mut driver = Driver::new();
    driver.locked = true;
    let said = say(&mut driver, &["USER ann", "PASS p", "STAT"]);
    assert!(said.starts_with("+OK\r\n-ERR [IN-USE] "), "{said}");
    assert!(said.ends_with("-ERR Log in first.\r\n"), "{said}");
    driver.locked = false;
    assert!(say(&mut driver, &["USER ann", "PASS p"]).ends_with("Logged in.\r\n"));
}

#[test]
fn numbers_that_are_none_or_of_no_message() {
    let none = |number: &str| format!("-ERR There's no message {number}.\r\n");
    for verb in ["LIST", "UIDL", "RETR", "DELE"] {
        assert_eq!(inside(&[&format!("{verb} 0")]), none("0"));
        assert_eq!(inside(&[&format!("{verb} 99")]), none("99"));
        for bad in ["x", "-1", "1 2", "99999999999999999999"] {
            let said = inside(&[&format!("{verb} {bad}")]);
            assert_eq!(said, "-ERR Invalid message number.\r\n", "{verb} {bad}");
        }
    }
    assert_eq!(inside(&["RETR"]), "-ERR Invalid message number.\r\n");
    assert_eq!(inside(&["TOP 1"]), "-ERR Invalid number of lines.\r\n");
    assert_eq!(inside(&["TOP 1 -1"]), "-ERR Invalid number of lines.\r\n");
    assert_eq!(
        inside(&["STAT 1"]),
        "-ERR The command takes no argument.\r\n"
    );
    assert_eq!(inside(&["LIST "]), inside(&["LIST"]));
    assert_eq!(
        inside(&["LIST 2"]),
        format!("+OK 2 {}\r\n", MESSAGES[1].len())
    );
    assert_eq!(inside(&["UIDL 2"]), "+OK 2 id11\r\n");
}

#[test]
fn content_has_its_dots_hidden_and_always_a_last_line_end() {
    let one = String::from_utf8(MESSAGES[0].to_vec()).unwrap();
    let hidden = one.replace("\n.", "\n..");
    assert_eq!(
        inside(&["RETR 1"]),
        format!("+OK {} octets\r\n{hidden}.\r\n", one.len())
    );
    let three = String::from_utf8(MESSAGES[2].to_vec()).unwrap();
    assert_eq!(
        inside(&["RETR 3"]),
        format!("+OK {} octets\r\n{three}\r\n.\r\n", three.len())
    );
    let (header, body) = hidden.split_at(hidden.find("l1").unwrap());
    assert_eq!(inside(&["TOP 1 0"]), format!("+OK\r\n{header}.\r\n"));
    assert_eq!(
        inside(&["TOP 1 2"]),
        format!("+OK\r\n{header}l1\r\n..dot\r\n.\r\n")
    );
    assert_eq!(
        inside(&["TOP 1 9999"]),
        format!("+OK\r\n{header}{body}.\r\n")
    );
    assert_eq!(inside(&["TOP 3 1"]), format!("+OK\r\n{three}\r\n.\r\n"));
}

#[test]
fn content_is_the_same_wherever_it_is_split() {
    use super::content::Content;
    let samples: [&[u8]; 6] = [
        b"",
        b"Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\n\xc3\xbc\r\nb\r\n",
        b".",
        b"A: b\r\n\r\n\r\n.\r\n..x\r\ny\r",
        b"A: b\r\n \r\n\r\nbody\r\nmore",
        b"no header at all",
    ];
    for sample in samples {
        for (lines, utf8) in [
            (None, true),
            (None, false),
            (Some(0), true),
            (Some(0), false),
            (Some(1), false),
            (Some(2), true),
        ] {
            let sent = |cuts: [usize; 2]| {
                let (mut content, mut output) = (Content::new(lines, utf8), Vec::new());
                let mut from = 0;
                for cut in cuts.into_iter().chain([sample.len()]) {
                    if !content.append(&mut output, &sample[from..cut]) {
                        break;
                    }
                    from = cut;
                }
                content.end(&mut output);
                output
            };
            let whole = sent([sample.len(), sample.len()]);
            assert!(whole.ends_with(b".\r\n"));
            for first in 0..=sample.len() {
                for second in first..=sample.len() {
                    assert_eq!(sent([first, second]), whole, "{lines:?} {first} {second}");
                }
            }
        }
    }
}

#[test]
fn headers_are_ascii_for_clients_that_do_not_say_utf8() {
    use super::content::Content;
    let message = "Subject: gr\u{fc}\u{df}e\r\n\r\n\u{fc}\r\n";
    let sent = |message: &[u8], reads_utf8| {
        let (mut content, mut output) = (Content::new(None, reads_utf8), Vec::new());
        content.append(&mut output, message);
        content.end(&mut output);
        String::from_utf8_lossy(&output).into_owned()
    };
    assert_eq!(sent(message.as_bytes(), true), format!("{message}.\r\n"));
    let ascii = "Subject: =?utf-8?B?Z3LDvMOfZQ==?=\r\n\r\n\u{fc}\r\n.\r\n";
    assert_eq!(sent(message.as_bytes(), false), ascii);
    // Nothing but a header, and one that is too long to be looked at.
    assert!(sent("Subject: \u{fc}".as_bytes(), false).starts_with("Subject: =?utf-8?"));
    let long = format!("X: {}\u{fc}\r\n", "x".repeat(300_000));
    assert_eq!(sent(long.as_bytes(), false), format!("{long}.\r\n"));
}

#[test]
fn deleting_is_for_quit_and_no_number_shifts() {
    let deleted = "-ERR Message is deleted.\r\n";
    let said = inside(&["DELE 1", "DELE 1", "RETR 1", "LIST 1", "UIDL 1", "TOP 1 0"]);
    assert_eq!(
        said,
        format!("+OK Marked to be deleted.\r\n{}", deleted.repeat(5))
    );
    assert_eq!(
        inside(&["DELE 1", "UIDL", "RSET", "UIDL"]),
        "+OK Marked to be deleted.\r\n+OK\r\n2 id11\r\n3 id12\r\n.\r\n+OK\r\n\
         +OK\r\n1 id10\r\n2 id11\r\n3 id12\r\n.\r\n"
    );
    let mut driver = Driver::new();
    say(&mut driver, &["USER ann", "PASS p", "DELE 1", "DELE 3"]);
    assert_eq!(driver.deleted, None, "nothing before QUIT");
    say(&mut driver, &["QUIT"]);
    assert_eq!(driver.deleted, Some(vec![10, 12]));
    assert_eq!(dialogue(&["QUIT"]), "+OK Logging out.\r\n");
}

#[test]
fn what_was_retrieved_whole_and_stays_is_told_once() {
    let mut driver = Driver::new();
    let lines = [
        "USER ann", "PASS p", "RETR 1", "TOP 2 9", "RETR 3", "DELE 3",
    ];
    say(&mut driver, &lines);
    assert_eq!(driver.session.take_retrieved(), [10]);
    assert_eq!(driver.session.take_retrieved(), [0; 0]);
    say(&mut driver, &["RETR 2", "RSET", "RETR 3"]);
    assert_eq!(
        driver.session.take_retrieved(),
        [12],
        "RSET undoes it, as with Dovecot"
    );
}

#[test]
fn what_could_not_be_deleted_is_said() {
    for (updated, reply) in [
        (Updated::Failed, "-ERR [SYS/TEMP] Some messages"),
        (Updated::DiskFull, "-ERR [SYS/TEMP] The disk is full"),
    ] {
        let mut session = Session::new("d.test", Terms::default());
        session.mode = super::Mode::Asking(super::Question::Update);
        session.output().clear();
        session.updated(updated);
        assert!(session.output().starts_with(reply.as_bytes()));
    }
}

#[test]
fn content_that_breaks_off_is_not_ended() {
    let mut driver = Driver::new();
    say(&mut driver, &["USER ann", "PASS p"]);
    let (_, step) = driver.session.step(b"RETR 1\r\n");
    assert_eq!(step, Step::Content(10));
    driver.session.content_begins();
    driver.session.content(b"Subject: half\r\n");
    driver.session.abandon();
    driver.read(&mut Vec::new());
    assert!(driver.closed);
    assert!(
        !driver.said.ends_with(b".\r\n"),
        "the client must see that it is not all"
    );
}

#[test]
fn a_list_of_a_million_messages_is_never_held_at_once() {
    let mut driver = Driver::new();
    driver.read(&mut b"USER ann\r\nPASS p\r\n".to_vec());
    let many = (1..=1_000_000).map(|uid| Held::new(uid, 1)).collect();
    driver.session.messages = many;
    for command in ["LIST", "UIDL"] {
        let said = say(&mut driver, &[command]);
        assert_eq!(said.lines().count(), 1_000_002);
    }
    assert!(driver.held < 32 * 1024, "{} octets", driver.held);
}

#[test]
fn commands_without_end_are_skipped_and_then_not_listened_to() {
    let mut driver = Driver::new();
    say(&mut driver, &["USER ann", "PASS p"]);
    let long = "X".repeat(100_000);
    let said = say(&mut driver, &[&long, "NOOP"]);
    assert_eq!(said, "-ERR The line is too long.\r\n+OK\r\n");
    driver.read(&mut vec![b'X'; 2 << 20]);
    assert!(driver.closed);
}

#[test]
fn one_language_is_spoken() {
    let list = dialogue(&["LANG"]);
    assert!(list.contains("\r\nen English\r\n"), "{list}");
    assert!(dialogue(&["LANG en"]).starts_with("+OK en "));
    assert!(dialogue(&["LANG *"]).starts_with("+OK i-default "));
    assert!(dialogue(&["LANG tlh"]).starts_with("-ERR "));
    assert_eq!(inside(&["UTF8"]), "-ERR You have logged in already.\r\n");
}

proptest::proptest! {
    /// Whatever is sent, every answer is a line of ours, and nothing is deleted without QUIT.
    #[test]
    fn noise_never_breaks_a_session(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
        let mut driver = Driver::new();
        driver.read(&mut b"USER ann\r\nPASS p\r\nDELE 1\r\n".to_vec());
        driver.said.clear();
        let mut input = noise.clone();
        driver.read(&mut input);
        let said = String::from_utf8(driver.said.clone()).unwrap();
        for line in said.lines() {
            proptest::prop_assert!(line.starts_with('+') || line.starts_with('-'), "{}", line);
        }
        proptest::prop_assert_eq!(driver.deleted, None);
    }
}
