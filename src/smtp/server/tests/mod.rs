//! Whole sessions: what a client says, what it hears, what the driver gets.

mod auth;
mod limits;
mod submission;
mod tls;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::stage::{Rule, Stage, rule};
use super::*;
use crate::mail::envelope::{MtPriority, QueueId};
use crate::smtp::command::{CommandLine, Verb};

/// Stands in for a receipt of the spool.
struct Safe;

impl Committed for Safe {
    fn queue_id(&self) -> QueueId {
        QueueId(7)
    }
}

/// A driver that keeps everything it is told.
struct Driver {
    session: ServerSession,
    said: Vec<u8>,
    gathering: Option<Vec<u8>>,
    /// Finished messages with their content.
    messages: Vec<(Transaction, Vec<u8>)>,
    discarded: usize,
    closed: bool,
    /// What MAIL, RCPT, DATA and the message hear instead of yes.
    refusals: Refusals,
}

#[derive(Clone, Default)]
struct Refusals {
    mail: Option<Reply>,
    rcpt: Option<Reply>,
    data: Option<Reply>,
    message: Option<Reply>,
}

fn limits() -> ServerLimits {
    ServerLimits {
        hostname: "relay.test".into(),
        max_message_size: 1000,
        max_recipients: 3,
        max_command_line: 100,
        max_header: 400,
        max_errors: 5,
        max_hops: 4,
        max_transactions: 10,
        command_timeout: Duration::from_secs(300),
        data_timeout: Duration::from_secs(180),
        bare_line_ends: BareLineEnds::Reject,
    }
}

impl Driver {
    fn new(limits: ServerLimits, kind: ServerKind) -> Self {
        let peer = IpAddr::from([192, 0, 2, 1]);
        Self {
            session: ServerSession::new(Rc::new(limits), kind, peer, true, Encryption::Absent),
            said: Vec::new(),
            gathering: None,
            messages: Vec::new(),
            discarded: 0,
            closed: false,
            refusals: Refusals::default(),
        }
    }

    fn answer_auth(&mut self, is_right: bool) {
        if is_right {
            self.session.authenticated("ann".into());
        } else {
            self.session.auth_refused(&Reply::not_authenticated());
        }
    }

    /// Gives all of `input`, keeps what was not consumed in it.
    fn drive(&mut self, input: &mut Vec<u8>) {
        let mut at = 0;
        while !self.closed {
            let (used, step) = self.session.step(&input[at..]);
            at += used;
            match step {
                Step::NeedInput => break,
                Step::Flush => self.said.append(self.session.output()),
                Step::Content(piece) => {
                    let gathered = self.gathering.as_mut().expect("content before data");
                    gathered.extend(piece.held);
                    gathered.extend(piece.octets);
                }
                Step::Discard => {
                    self.gathering.take().expect("nothing to discard");
                    self.discarded += 1;
                }
                Step::Auth(_, said) => match said {
                    Some(said) => {
                        let is_right = said == b"\0ann\0secret";
                        self.answer_auth(is_right);
                    }
                    None => self.session.challenge(b"who?"),
                },
                Step::AuthResponse(said) => {
                    let is_right = said == b"ann:secret";
                    self.answer_auth(is_right);
                }
                Step::StartTls => {
                    self.said.append(self.session.output());
                    at = input.len();
                    self.session.secured();
                }
                Step::Close => self.closed = true,
                Step::Mail => match self.refusals.mail.clone() {
                    Some(reply) => self.session.mail_refused(reply),
                    None => self.session.mail_accepted(),
                },
                Step::Recipient(_) => match self.refusals.rcpt.clone() {
                    Some(reply) => self.session.recipient_refused(reply),
                    None => self.session.recipient_accepted(),
                },
                Step::Data => match self.refusals.data.clone() {
                    Some(reply) => self.session.data_refused(reply),
                    None => {
                        assert!(self.gathering.replace(Vec::new()).is_none());
                        self.session.data_accepted();
                    }
                },
                Step::Message => self.finish_message(),
            }
        }
        input.drain(..at);
        self.said.append(self.session.output());
    }

    fn finish_message(&mut self) {
        let content = self.gathering.take().expect("a message without data");
        let transaction = self.session.transaction().expect("asked for it");
        assert!(self.session.transaction().is_none(), "given twice");
        match self.refusals.message.clone() {
            Some(reply) => self.session.message_refused(reply),
            None => {
                self.messages.push((transaction, content));
                self.session.message_accepted(&Safe);
            }
        }
    }

    fn say(&mut self, input: impl AsRef<[u8]>) -> String {
        self.said.clear();
        self.drive(&mut input.as_ref().to_vec());
        String::from_utf8(self.said.clone()).unwrap()
    }
}

/// A session that has heard the greeting and said hello.
fn greeted_with(limits: ServerLimits) -> Driver {
    let mut driver = Driver::new(limits, ServerKind::Smtp);
    driver.say("EHLO c.test\r\n");
    driver
}

fn greeted() -> Driver {
    greeted_with(limits())
}

fn mending() -> Driver {
    greeted_with(ServerLimits {
        bare_line_ends: BareLineEnds::Fix,
        ..limits()
    })
}

/// The replies' codes, with their status.
fn codes(said: &str) -> Vec<String> {
    let finals = said.lines().filter(|line| line.as_bytes()[3] == b' ');
    finals
        .map(|line| {
            let mut words = line.split(' ');
            let (code, next) = (words.next().unwrap(), words.next().unwrap_or_default());
            match next.parse::<crate::wire::status::EnhancedStatus>() {
                Ok(status) => format!("{code} {status}"),
                Err(()) => code.to_owned(),
            }
        })
        .collect()
}

const ENVELOPE: &str = "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n";

#[test]
fn client_sends_a_message_and_leaves() {
    let mut driver = Driver::new(limits(), ServerKind::Smtp);
    assert_eq!(driver.say(""), "220 relay.test ESMTP Ringpost\r\n");
    assert_eq!(
        driver.say("EHLO c.test\r\n"),
        "250-relay.test greets [192.0.2.1]\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n\
         250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-CHUNKING\r\n250-MT-PRIORITY MIXER\r\n\
         250 LIMITS RCPTMAX=3 MAILMAX=10\r\n"
    );
    let said = driver.say(format!(
        "{ENVELOPE}DATA\r\nSubject: x\r\n\r\n..y\r\n.\r\nQUIT\r\n"
    ));
    assert_eq!(
        codes(&said),
        ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
    );
    assert!(said.contains("queued as 0000000000007\r\n"), "{said}");
    assert!(driver.closed);
    let (transaction, content) = &driver.messages[0];
    assert_eq!(content, b"Subject: x\r\n\r\n..y\r\n");
    assert_eq!(transaction.content.size, 18);
    assert!(transaction.content.stuffed);
    assert_eq!(
        (&*transaction.hello, transaction.protocol),
        ("c.test", "ESMTP")
    );
    assert_eq!(
        transaction.envelope.recipients[0].mailbox.as_str(),
        "b@d.test"
    );
}

/// A dialogue with everything in it that is cut badly.
fn long_dialogue() -> Vec<u8> {
    [
        "EHLO c.test\r\nNOOP\r\n".as_bytes(),
        ENVELOPE.as_bytes(),
        b"DATA\r\nReceived: x\r\n\r\n.\r\r\n..a\r\n.b\r\n...\r\n.\r\n",
        ENVELOPE.as_bytes(),
        b"DATA\r\n.. x\r\n\r\n\xe4\r\n..\r\n...\r\n.x\r\n.\r\n",
        ENVELOPE.as_bytes(),
        b"BDAT 7\r\n.a\r\n.\r\nBDAT 3\r\n\nMABDAT 0 LAST\r\n",
        b"NOOP ",
        &[b'x'; 200],
        b"\r\nBDAT 6\r\nQUIT\r\nRSET\r\n",
        ENVELOPE.as_bytes(),
        b"DATA\r\n.\r\nQUIT\r\n",
    ]
    .concat()
}

/// What is heard and delivered does not depend on how the input is cut.
fn trace_of(
    pieces: &[&[u8]],
    bare_line_ends: BareLineEnds,
) -> (String, Vec<Vec<u8>>, Vec<Content>, usize) {
    let limits = ServerLimits {
        bare_line_ends,
        ..limits()
    };
    let mut driver = Driver::new(limits, ServerKind::Smtp);
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        driver.drive(&mut input);
    }
    assert!(driver.closed, "QUIT was not reached");
    let said = String::from_utf8(driver.said).unwrap();
    let (contents, octets) = driver
        .messages
        .into_iter()
        .map(|(transaction, octets)| (transaction.content, octets))
        .unzip();
    (said, octets, contents, driver.discarded)
}

#[test]
fn input_is_cut_anywhere() {
    let dialogue = long_dialogue();
    for bare_line_ends in [BareLineEnds::Reject, BareLineEnds::Fix] {
        let whole = trace_of(&[&dialogue], bare_line_ends);
        let messages = if bare_line_ends == BareLineEnds::Fix {
            4
        } else {
            2
        };
        assert_eq!(whole.1.len(), messages, "{whole:?}");
        let octets: Vec<&[u8]> = dialogue.chunks(1).collect();
        assert_eq!(trace_of(&octets, bare_line_ends), whole);
        for cut in 1..dialogue.len() {
            let (first, second) = dialogue.split_at(cut);
            assert_eq!(
                trace_of(&[first, second], bare_line_ends),
                whole,
                "cut at {cut}"
            );
        }
    }
}

const VERBS: [Verb; 15] = [
    Verb::Helo,
    Verb::Ehlo,
    Verb::Lhlo,
    Verb::Mail,
    Verb::Rcpt,
    Verb::Data,
    Verb::Bdat,
    Verb::Rset,
    Verb::Noop,
    Verb::Quit,
    Verb::Vrfy,
    Verb::Help,
    Verb::StartTls,
    Verb::Http,
    Verb::Unknown,
];
const LINES: [&str; 15] = [
    "HELO c.test\r\n",
    "EHLO c.test\r\n",
    "LHLO c.test\r\n",
    "MAIL FROM:<a@c.test>\r\n",
    "RCPT TO:<b@d.test>\r\n",
    "DATA\r\n",
    "BDAT 2\r\n\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
    "VRFY b\r\n",
    "HELP\r\n",
    "STARTTLS\r\n",
    "GET / HTTP/1.1\r\n",
    "JUNK\r\n",
];
const STAGES: [(Stage, &str); 5] = [
    (Stage::Fresh, ""),
    (Stage::Greeted, "EHLO c.test\r\n"),
    (Stage::Sender, "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n"),
    (
        Stage::Recipients,
        "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n",
    ),
    (
        Stage::Chunks,
        "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\nBDAT 3\r\nx\r\n",
    ),
];
/// The replies to [`LINES`] (columns) at [`STAGES`] (rows), written down independently of the
/// table.
const REPLIES: [&str; 5] = [
    "250 250 500 503 503 503 503 250 250 221 252 214 503 421 500",
    "250 250 500 250 503 503 503 250 250 221 252 214 502 421 500",
    "250 250 500 503 250 503 503 250 250 221 252 214 503 421 500",
    "250 250 500 503 250 354 250 250 250 221 252 214 503 421 500",
    "250 250 500 503 503 503 250 250 250 221 252 214 503 421 500",
];

#[test]
fn every_command_comes_at_every_stage() {
    for ((stage, before), replies) in STAGES.into_iter().zip(REPLIES) {
        for ((line, verb), wanted) in LINES.into_iter().zip(VERBS).zip(replies.split(' ')) {
            let mut driver = Driver::new(limits(), ServerKind::Smtp);
            driver.say(before);
            assert_eq!(driver.session.stage, stage);
            assert_eq!(CommandLine::parse(line.trim_end().as_bytes()).verb, verb);
            let said = driver.say(line);
            let first = codes(&said)[0].clone();
            assert_eq!(&first[..3], wanted, "{line} at {stage:?}: {said}");
            // In order, and not to be had here.
            let refused = rule(ServerKind::Smtp, verb, stage) != Rule::Go || verb == Verb::StartTls;
            assert_eq!(
                refused,
                first.starts_with('5') || wanted == "421",
                "{line} at {stage:?}"
            );
        }
    }
}

#[test]
fn hello_is_the_one_of_the_protocol() {
    let mut driver = Driver::new(limits(), ServerKind::Lmtp);
    assert!(driver.say("").starts_with("220 relay.test LMTP "));
    assert_eq!(codes(&driver.say("EHLO c.test\r\n")), ["500 5.5.1"]);
    assert_eq!(codes(&driver.say("HELO c.test\r\n")), ["500 5.5.1"]);
    assert_eq!(codes(&driver.say("LHLO c.test\r\n")), ["250"]);
}

#[test]
fn lmtp_client_hears_a_reply_for_each_recipient() {
    let mut driver = Driver::new(limits(), ServerKind::Lmtp);
    driver.say("LHLO c.test\r\n");
    let said = driver.say(format!(
        "{ENVELOPE}RCPT TO:<e@d.test>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n"
    ));
    let wanted = [
        "250 2.1.0",
        "250 2.1.5",
        "250 2.1.5",
        "354",
        "250 2.0.0",
        "250 2.0.0",
        "250 2.0.0",
    ];
    assert_eq!(codes(&said), wanted);
    assert_eq!(said.matches("queued as").count(), 2);
    assert_eq!(driver.messages[0].0.protocol, "LMTP");
    let said = driver.say(format!(
        "{ENVELOPE}RCPT TO:<e@d.test>\r\nDATA\r\nx\ny\r\n.\r\n"
    ));
    assert_eq!(codes(&said)[4..], ["550 5.5.2", "550 5.5.2"]);
}

#[test]
fn protocol_word_tells_what_was_spoken() {
    for (hello, parameter, word) in [
        ("HELO", "", "SMTP"),
        ("EHLO", "", "ESMTP"),
        ("EHLO", " SMTPUTF8", "UTF8SMTP"),
    ] {
        let mut driver = Driver::new(limits(), ServerKind::Smtp);
        driver.say(format!(
            "{hello} c.test\r\nMAIL FROM:<a@c.test>{parameter}\r\nRCPT TO:<b@d.test>\r\nDATA\r\n.\r\n"
        ));
        assert_eq!(driver.messages[0].0.protocol, word);
    }
}

#[test]
fn content_is_refused_for_what_is_in_it_and_the_session_lives() {
    let received = "Received: x\r\n".repeat(4);
    let header = format!("X: {}\r\n", "x".repeat(400));
    let large = "0123456789\r\n".repeat(100);
    for (content, code) in [
        ("a\nb\r\n", "550 5.5.2"),
        ("a\rb\r\n", "550 5.5.2"),
        ("a\r\n.\nMAIL FROM:<evil@c.test>\r\n", "550 5.5.2"),
        ("a\n.\r\nMAIL FROM:<evil@c.test>\r\n", "550 5.5.2"),
        ("a\0b\r\n", "550 5.5.2"),
        (&format!("\r\n{large}"), "552 5.3.4"),
        (&format!("{header}\r\n"), "552 5.3.4"),
        (&format!("{received}\r\n"), "554 5.4.6"),
    ] {
        let mut driver = greeted();
        let said = driver.say(format!("{ENVELOPE}DATA\r\n{content}.\r\nNOOP\r\n"));
        assert_eq!(codes(&said)[3..], [code, "250 2.0.0"], "{content:?}");
        assert!(driver.messages.is_empty());
        assert_eq!(driver.discarded, 1);
        assert!(driver.gathering.is_none());
        let said = driver.say(format!("{ENVELOPE}DATA\r\nx\r\n.\r\n"));
        assert_eq!(codes(&said)[3], "250 2.0.0");
    }
}

#[test]
fn bare_line_ends_are_mended_and_end_nothing() {
    for (content, wanted) in [
        ("a\nb\rc\r\n", "a\r\nb\r\nc\r\n"),
        (
            "x\n.\nMAIL FROM:<e@c.test>\r\n",
            "x\r\n..\r\nMAIL FROM:<e@c.test>\r\n",
        ),
        (
            "x\r\n.\nMAIL FROM:<e@c.test>\r\n",
            "x\r\n\r\nMAIL FROM:<e@c.test>\r\n",
        ),
        ("..x\r\n", "..x\r\n"),
    ] {
        let mut driver = mending();
        let said = driver.say(format!("{ENVELOPE}DATA\r\n{content}.\r\nNOOP\r\n"));
        assert_eq!(
            codes(&said)[2..],
            ["354", "250 2.0.0", "250 2.0.0"],
            "{content:?}"
        );
        let (transaction, octets) = &driver.messages[0];
        assert_eq!(String::from_utf8_lossy(octets), wanted);
        let dots = u64::from(wanted.contains(".."));
        assert_eq!(transaction.content.size, wanted.len() as u64 - dots);
        assert!(!format!("\r\n{wanted}").contains("\r\n.\r\n"));
    }
}

#[test]
fn eight_bit_content_raises_the_body_kind() {
    let mut driver = greeted();
    driver.say([ENVELOPE.as_bytes(), b"DATA\r\n\r\n\xe4\r\n.\r\n"].concat());
    assert_eq!(driver.messages[0].0.envelope.body, BodyKind::EightBit);
    driver.say(format!("{ENVELOPE}DATA\r\n\r\na\r\n.\r\n"));
    assert_eq!(driver.messages[1].0.envelope.body, BodyKind::SevenBit);
}

#[test]
fn haste_of_a_stranger_counts_as_if_he_had_said_nothing() {
    let limits = Rc::new(limits());
    for (asked, counts, said) in [
        ("9", None, "250 2.3.6 0 "),
        ("0", None, "250 2.1.0 "),
        ("-3", MtPriority::new(-3), "250 2.1.0 "),
    ] {
        let mut driver = greeted();
        let (kind, peer) = (ServerKind::Smtp, IpAddr::from([192, 0, 2, 1]));
        driver.session =
            ServerSession::new(Rc::clone(&limits), kind, peer, false, Encryption::Absent);
        driver.say("EHLO c.test\r\n");
        let envelope = ENVELOPE.replace("c.test>", &format!("c.test> MT-PRIORITY={asked}"));
        let heard = driver.say(format!("{envelope}DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"));
        assert!(heard.contains(said), "{asked}: {heard}");
        let standing = &driver.messages[0].0.envelope.standing;
        assert_eq!(standing.mt_priority, counts, "{asked}");
    }
}

#[test]
fn chunks_become_one_message() {
    let mut driver = greeted();
    let said = driver.say(format!(
        "{ENVELOPE}BDAT 4\r\n.a\r\nBDAT 1\r\n.BDAT 0\r\nBDAT 0 LAST\r\nNOOP\r\n"
    ));
    assert_eq!(codes(&said)[2..], ["250 2.0.0"; 5]);
    let (transaction, octets) = &driver.messages[0];
    assert_eq!(octets, b"..a\r\n..\r\n", "stuffed, and its last line ended");
    assert_eq!(transaction.content.size, 7);
    let said = driver.say(format!("{ENVELOPE}BDAT 5 LAST\r\nQUIT\nNOOP\r\n"));
    assert_eq!(codes(&said)[2..], ["550 5.5.2", "250 2.0.0"]);
}

#[test]
fn chunks_nobody_wants_are_not_taken_for_commands() {
    let mut driver = greeted();
    let said =
        driver.say("BDAT 6\r\nQUIT\r\nMAIL FROM:<a@c.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(
        codes(&said),
        ["503 5.5.1", "250 2.1.0", "503 5.5.1", "250 2.0.0"]
    );
    assert!(!driver.closed);
    driver.refusals.data = Some(Reply::out_of_memory());
    let said = driver.say("RCPT TO:<b@d.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(codes(&said), ["250 2.1.5", "452 4.3.1", "250 2.0.0"]);
}

#[test]
fn chunk_that_fails_ends_the_transaction_and_those_behind_it_are_forgotten() {
    let mut driver = greeted();
    let said = driver.say(format!(
        "{ENVELOPE}BDAT 4\r\na\nb\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
    ));
    assert_eq!(codes(&said)[2..], ["550 5.5.2", "503 5.5.1", "250 2.0.0"]);
    assert_eq!(driver.discarded, 1);
    let large = format!("{ENVELOPE}BDAT 2000 LAST\r\n{}NOOP\r\n", "x".repeat(2000));
    assert_eq!(codes(&driver.say(large))[2..], ["552 5.3.4", "250 2.0.0"]);
    assert!(driver.messages.is_empty());
}

#[test]
fn chunk_of_unknown_size_ends_the_session() {
    let mut driver = greeted();
    assert_eq!(
        codes(&driver.say(format!("{ENVELOPE}BDAT x\r\nNOOP\r\n")))[2..],
        ["501 5.5.4"]
    );
    assert!(driver.closed);
}

#[test]
fn chunk_that_nobody_can_count_ends_the_session_in_order_or_not() {
    // 2^64 - 1 and 2^64: the first that cannot be waited for.
    for size in ["18446744073709551615", "18446744073709551616 LAST"] {
        let mut driver = greeted();
        let said = driver.say(format!("{ENVELOPE}BDAT {size}\r\nNOOP\r\n"));
        assert_eq!(codes(&said)[2..], ["552 5.3.4"], "{size}");
        assert!(driver.closed && driver.gathering.is_none());
        let mut driver = greeted();
        let said = driver.say(format!("BDAT {size}\r\nNOOP\r\n"));
        assert_eq!(codes(&said), ["552 5.3.4"], "{size}");
        assert!(driver.closed);
        let mut driver = greeted();
        driver.say(format!("{ENVELOPE}BDAT 2\r\na\n"));
        assert!(codes(&driver.say(format!("BDAT {size}\r\n"))).contains(&"552 5.3.4".to_owned()));
        assert!(driver.closed);
    }
}

#[test]
fn transaction_is_given_up_in_the_middle_of_its_chunks() {
    for command in ["RSET", "EHLO c.test"] {
        let mut driver = greeted();
        driver.say(format!("{ENVELOPE}BDAT 3\r\nx\r\n"));
        assert!(driver.gathering.is_some());
        driver.say(format!("{command}\r\n"));
        assert_eq!((driver.discarded, driver.gathering.is_some()), (1, false));
        assert!(driver.session.is_idle());
    }
}

#[test]
fn driver_says_no() {
    let mut driver = greeted();
    driver.refusals.mail = Some(Reply::disk_full());
    assert_eq!(codes(&driver.say(ENVELOPE)), ["452 4.3.1", "503 5.5.1"]);
    driver.refusals = Refusals {
        rcpt: Some(Reply::relay_denied()),
        ..Refusals::default()
    };
    let said = driver.say(format!("{ENVELOPE}DATA\r\nRSET\r\n"));
    assert_eq!(
        codes(&said),
        ["250 2.1.0", "554 5.7.1", "503 5.5.1", "250 2.0.0"]
    );
    driver.refusals = Refusals {
        data: Some(Reply::out_of_memory()),
        ..Refusals::default()
    };
    assert_eq!(
        codes(&driver.say(format!("{ENVELOPE}DATA\r\n")))[2..],
        ["452 4.3.1"]
    );
    driver.refusals = Refusals {
        message: Some(Reply::spool_broken()),
        ..Refusals::default()
    };
    let said = driver.say("DATA\r\nx\r\n.\r\nNOOP\r\n");
    assert_eq!(codes(&said), ["354", "451 4.3.0", "250 2.0.0"]);
    assert_eq!((driver.messages.len(), driver.discarded), (0, 0));
}

#[test]
fn server_goes_away() {
    let mut driver = greeted();
    driver.session.shutdown();
    assert_eq!(codes(&driver.say("NOOP\r\n")), ["421 4.3.2"]);
    assert!(driver.closed);

    let mut driver = greeted();
    driver.say(format!("{ENVELOPE}DATA\r\nx\r\n"));
    driver.session.shutdown();
    assert!(!driver.session.is_idle());
    assert_eq!(driver.say("y\r\n"), "");
    let said = driver.say(".\r\nMAIL FROM:<a@c.test>\r\n");
    assert_eq!(codes(&said), ["250 2.0.0", "421 4.3.2"]);
    assert_eq!((driver.messages.len(), driver.closed), (1, true));
}

#[test]
fn client_says_nothing() {
    let mut driver = greeted();
    assert_eq!(driver.session.wait(), Duration::from_secs(300));
    driver.say(format!("{ENVELOPE}DATA\r\n"));
    assert_eq!(driver.session.wait(), Duration::from_secs(180));
    driver.session.handle_timeout();
    assert_eq!(codes(&driver.say("x\r\n.\r\n")), ["421 4.4.2"]);
    assert!(driver.closed);
}

#[test]
fn client_sends_and_never_reads() {
    let mut session = greeted().session;
    let input = b"NOOP\r\n".repeat(10_000);
    let (mut at, mut most, mut flushes) = (0, 0, 0);
    loop {
        let (used, step) = session.step(&input[at..]);
        at += used;
        match step {
            Step::NeedInput => break,
            Step::Flush => flushes += 1,
            other => panic!("{other:?}"),
        }
        most = most.max(session.output().len());
        session.output().clear();
    }
    assert!(
        flushes > 0 && most <= 16 * 1024 + 512,
        "{most} octets in {flushes} flushes"
    );
    assert_eq!(at, input.len());
}

#[test]
fn question_is_put_until_it_is_answered() {
    let mut session = greeted().session;
    let (used, step) = session.step(b"MAIL FROM:<a@c.test>\r\nRSET\r\n");
    assert!(matches!(step, Step::Mail));
    assert!(matches!(session.step(b"RSET\r\n"), (0, Step::Mail)));
    assert_eq!(used, 22);
}

/// Size, longest line, and whether a dot was stuffed, counted anew from the wire form.
fn recount(wire: &[u8]) -> (u64, u32, bool) {
    let lines = wire.split_inclusive(|&octet| octet == b'\n');
    lines.fold((0, 0, false), |(size, longest, stuffed), line| {
        let unstuffed = line.strip_prefix(b".").unwrap_or(line).len();
        (
            size + unstuffed as u64,
            longest.max(unstuffed as u32 - 2),
            stuffed || line.starts_with(b"."),
        )
    })
}

/// Words of the protocol, so that random input gets somewhere.
fn words() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(vec![
            "EHLO c.test\r\n",
            "MAIL FROM:<a@c.test> SIZE=20\r\n",
            "RCPT TO:<b@d.test>\r\n",
            "DATA\r\n",
            "BDAT 10\r\n",
            "BDAT 0 LAST\r\n",
            "RSET\r\n",
            "\r\n.\r\n",
            "\r\n.\n",
            "\n.\r\n",
            ".",
            "\r",
            "Received: x\r\n",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn client_sends_anything(
        pieces in prop::collection::vec(words(), 0..60),
        mend in any::<bool>(),
        lmtp in any::<bool>(),
    ) {
        let bare_line_ends = if mend { BareLineEnds::Fix } else { BareLineEnds::Reject };
        let kind = if lmtp { ServerKind::Lmtp } else { ServerKind::Smtp };
        let mut driver = Driver::new(ServerLimits { bare_line_ends, max_errors: 1000, ..limits() }, kind);
        let mut input = if lmtp { b"LHLO c.test\r\n".to_vec() } else { Vec::new() };
        driver.drive(&mut input);
        for piece in &pieces {
            input.extend(piece);
            driver.drive(&mut input);
            // What is left is the start of a command line.
            prop_assert!(driver.closed || input.len() <= 101, "{} octets kept", input.len());
            prop_assert!(driver.gathering.as_ref().is_none_or(|octets| octets.len() <= 3000));
        }
        let whole = pieces.concat();
        let mut again = Driver::new(ServerLimits { bare_line_ends, max_errors: 1000, ..limits() }, kind);
        let mut input = if lmtp { b"LHLO c.test\r\n".to_vec() } else { Vec::new() };
        input.extend(&whole);
        again.drive(&mut input);
        prop_assert_eq!(&driver.said, &again.said);
        for ((transaction, octets), (_, others)) in driver.messages.iter().zip(&again.messages) {
            prop_assert_eq!(octets, others);
            let known = &transaction.content;
            prop_assert_eq!((known.size, known.longest_line, known.stuffed), recount(octets));
            let content = String::from_utf8_lossy(octets).replace("\r\n", "|");
            prop_assert!(!content.contains(['\r', '\n']), "bare ends in {content:?}");
            prop_assert!(!format!("|{content}").contains("|.|"), "end of data in {content:?}");
        }
    }
}
