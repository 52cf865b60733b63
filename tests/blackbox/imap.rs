//! Clients that fetch their mail with IMAP: each row of what servers are expected to do.

use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::imap::Imap;
use crate::support::{Mx, Relay, Scene, Script};

const ANN: &str = "ann@c.test";

const MIXED: &str = "From: \"B B\" <b@c.test>\r\nTo: u@d.test\r\nDate: Tue, 2 Jan 2024 00:00:00 +0000\r\nSubject: =?utf-8?q?tw=C3=B6?=\r\nContent-Type: multipart/mixed; boundary=XX\r\n\r\n--XX\r\n\r\nhello\r\n--XX\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nQUJDREVG\r\n--XX--\r\n";

/// A relay with a listener for IMAP, and ann.
pub struct Office {
    imap: SocketAddr,
    relay: Relay,
    _mx: Mx,
    _scene: Scene,
}

impl Office {
    pub fn new() -> Self {
        Self::having("")
    }

    /// The same, with further keys.
    fn having(keys: &str) -> Self {
        let (scene, mx) = Scene::with_mx(Script::new());
        let mut setup = scene.config("");
        let imap = SocketAddr::new(setup.smtp.ip(), 2143);
        setup.cores = "2".to_owned();
        setup.extra = format!(
            "listener = [{{ protocol = \"smtp\", bind = [\"{}\"] }}, {{ protocol = \"imap\", bind = [\"{imap}\"] }}]\n\
             route = [{{ domain = \"c.test\", to = \"mailbox\" }}]\n{keys}",
            setup.smtp
        );
        let relay = Relay::start(setup);
        let output = relay.run_with(&["user", "add", ANN], "secret\n");
        assert!(output.status.success(), "{output:?}");
        relay.log_line(&["files that the configuration names changed: done"]);
        Self {
            imap,
            relay,
            _mx: mx,
            _scene: scene,
        }
    }

    /// A session of ann's.
    pub fn ann(&self) -> Imap {
        Imap::login(self.imap, ANN)
    }

    /// The same, with the INBOX open.
    fn inbox(&self) -> Imap {
        let mut client = self.ann();
        client.command("SELECT INBOX").is("OK [READ-WRITE]");
        client
    }

    /// The same, with so many messages in it.
    fn with(&self, messages: u32) -> Imap {
        let mut client = self.ann();
        for number in 1..=messages {
            client.append(
                "INBOX",
                &format!("Subject: {number}\r\n\r\nbody {number}\r\n"),
            );
        }
        client.command("SELECT INBOX").is("OK [READ-WRITE]");
        client
    }
}

#[test]
fn before_the_login_there_is_little_to_do_and_nonsense_ends_it() {
    let office = Office::new();
    let mut client = Imap::greet(office.imap);
    client.command("NOOP").is("OK ");
    client.command("CAPABILITY").is("OK ").has("IMAP4rev1");
    client.command("SELECT INBOX").is("BAD ");
    client.command("XYZ").is("BAD ");
    client.send("\r\n");
    assert!(client.line().starts_with("* BAD "));
    assert!(client.line().starts_with("* BYE "));
    assert_eq!(client.next_line(), None);
}

#[test]
fn there_are_many_ways_to_log_in() {
    let office = Office::new();
    let mut client = Imap::greet(office.imap);
    client.send("a LOGIN {10}\r\n");
    assert!(client.line().starts_with("+ "));
    client.send("ann@c.test {6}\r\n");
    assert!(client.line().starts_with("+ "));
    client.send("secret\r\n");
    client.answer("a").is("OK [CAPABILITY ");
    client.command("LOGIN a b").is("BAD ");
    let mut client = Imap::greet(office.imap);
    client.send("a LOGIN {10+}\r\nann@c.test {6+}\r\nsecret\r\n");
    client.answer("a").is("OK [CAPABILITY ");
    let plain = STANDARD.encode("\0ann@c.test\0secret");
    let mut client = Imap::greet(office.imap);
    client
        .command(&format!("AUTHENTICATE PLAIN {plain}"))
        .is("OK [CAPABILITY ");
    let mut client = Imap::greet(office.imap);
    client.send("a AUTHENTICATE PLAIN\r\n");
    assert!(client.line().starts_with("+ "));
    client.send("*\r\n");
    client.answer("a").is("BAD ");
    client.send("b AUTHENTICATE PLAIN\r\n");
    assert!(client.line().starts_with("+ "));
    client.send(format!("{plain}\r\n"));
    client.answer("b").is("OK ");
    let mut client = Imap::greet(office.imap);
    client
        .command("LOGIN ann@c.test wrong")
        .is("NO [AUTHENTICATIONFAILED]");
    // More than is offered before it is known whose it is: passed over, and the session goes on.
    let long = "x".repeat(5000);
    client
        .command(&format!("LOGIN {{5000+}}\r\n{long} secret"))
        .is("BAD ");
    client.command("NOOP").is("OK ");
}

#[test]
fn everything_may_be_said_in_one_breath() {
    let office = Office::new();
    office.with(2);
    let mut client = Imap::greet(office.imap);
    client.send(
        "a LOGIN ann@c.test secret\r\nb SELECT INBOX\r\nc NOOP\r\nd FETCH 1 UID\r\ne LOGOUT\r\n",
    );
    client.answer("a").is("OK ");
    client.answer("b").is("OK ").has("* 2 EXISTS");
    client.answer("c").is("OK ");
    client.answer("d").says(&["* 1 FETCH (UID 1)"]);
    client.answer("e").is("OK ").has("* BYE ");
    assert_eq!(client.next_line(), None);
}

#[test]
fn select_says_what_there_is() {
    let office = Office::new();
    office.with(2).command("STORE 1 +FLAGS (\\Seen)").is("OK ");
    let mut client = office.ann();
    let answer = client.command("SELECT INBOX").is("OK [READ-WRITE]");
    let lines = answer.untagged;
    assert_eq!(
        lines[0],
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)"
    );
    assert!(
        lines[1].starts_with(
            "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]"
        )
    );
    assert_eq!(lines[2..4], ["* 2 EXISTS", "* 0 RECENT"]);
    assert!(lines[4].starts_with("* OK [UNSEEN 2]"));
    assert!(lines[5].starts_with("* OK [UIDVALIDITY "));
    assert!(lines[6].starts_with("* OK [UIDNEXT 3]"));
    assert!(lines[7].starts_with("* OK [HIGHESTMODSEQ "));
    // A folder that is not there leaves none open.
    client.command("SELECT nope").is("NO ").has("* OK [CLOSED]");
    client.command("FETCH 1 FLAGS").is("BAD ");
    // Reading what was only looked at leaves no trace.
    client
        .command("EXAMINE INBOX")
        .is("OK [READ-ONLY]")
        .has("PERMANENTFLAGS ()");
    client.command("FETCH 2 BODY[]").is("OK ");
    client
        .command("FETCH 2 FLAGS")
        .says(&["* 2 FETCH (FLAGS ())"]);
    client.command("STORE 2 +FLAGS (\\Seen)").is("NO ");
    client.command("UNSELECT").is("OK ");
    client.command("CLOSE").is("BAD ");
}

#[test]
fn parts_of_a_message_are_what_they_are_elsewhere() {
    let office = Office::new();
    let mut client = office.ann();
    client.append("INBOX", "Subject: one\r\n\r\nx\r\n");
    client.append("INBOX", MIXED);
    client.command("SELECT INBOX").is("OK ");
    for (items, expected) in [
        (
            "BODYSTRUCTURE",
            "BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 0 NIL NIL NIL NIL)(\"application\" \"pdf\" (\"name\" \"a.pdf\") NIL NIL \"base64\" 8 NIL (\"attachment\" (\"filename\" \"a.pdf\")) NIL NIL) \"mixed\" (\"boundary\" \"XX\") NIL NIL NIL)",
        ),
        (
            "ENVELOPE",
            "ENVELOPE (\"Tue, 2 Jan 2024 00:00:00 +0000\" \"=?utf-8?q?tw=C3=B6?=\" ((\"B B\" NIL \"b\" \"c.test\")) ((\"B B\" NIL \"b\" \"c.test\")) ((\"B B\" NIL \"b\" \"c.test\")) ((NIL NIL \"u\" \"d.test\")) NIL NIL NIL NIL)",
        ),
        ("BODY.PEEK[2]", "BODY[2] {8}\r\nQUJDREVG"),
        (
            "BODY.PEEK[2.MIME]",
            "BODY[2.MIME] {129}\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n",
        ),
        (
            "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]",
            "BODY[HEADER.FIELDS (SUBJECT FROM)] {57}\r\nFrom: \"B B\" <b@c.test>\r\nSubject: =?utf-8?q?tw=C3=B6?=\r\n\r\n",
        ),
        ("BODY.PEEK[1]<1.3>", "BODY[1]<1> {3}\r\nell"),
        ("BODY.PEEK[1]<100.3>", "BODY[1]<100> {0}\r\n"),
        ("BODY.PEEK[9]", "BODY[9] {0}\r\n"),
        ("BINARY.PEEK[2]", "BINARY[2] ~{6}\r\nABCDEF"),
        ("BINARY.SIZE[2]", "BINARY.SIZE[2] 6"),
        ("(PREVIEW (LAZY))", "UID 2 PREVIEW \"hello\""),
        ("FLAGS", "FLAGS (\\Recent)"),
    ] {
        client
            .command(&format!("FETCH 2 {items}"))
            .is("OK ")
            .says(&[&format!("* 2 FETCH ({expected})")]);
    }
    // Summaries come out of the index the second time, and are the same.
    let again = office.inbox().command("FETCH 2 (ENVELOPE BODYSTRUCTURE)");
    let first = client.command("FETCH 2 (ENVELOPE BODYSTRUCTURE)");
    assert_eq!(again.untagged, first.untagged);
    client
        .command("FETCH 1 BODY[TEXT]")
        .says(&["* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT] {3}\r\nx\r\n)"]);
}

#[test]
fn numbers_that_are_not_there_are_wrong_and_uids_are_not() {
    let office = Office::new();
    let mut client = office.with(3);
    for command in [
        "FETCH 99 FLAGS",
        "FETCH 0 FLAGS",
        "FETCH 1 (FLAGS",
        "SEARCH 9",
    ] {
        client.command(command).is("BAD ").says(&[]);
    }
    client.command("UID FETCH 99999 FLAGS").is("OK ").says(&[]);
    client
        .command("UID FETCH 4294967295:* UID")
        .is("OK ")
        .says(&["* 3 FETCH (UID 3)"]);
}

#[test]
fn flags_are_kept_and_keywords_are_made_known() {
    let office = Office::new();
    let mut client = office.with(3);
    client.command("STORE 1 FLAGS (\\Recent)").is("BAD ");
    client
        .command("STORE 1 +FLAGS.SILENT (\\Deleted $Kw)")
        .is("OK ")
        .has("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Kw)")
        .has("PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Kw \\*)");
    client
        .command("STORE 1 -FLAGS (\\Deleted)")
        .says(&["* 1 FETCH (FLAGS (\\Recent $Kw))"]);
    client
        .command("UID STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Flagged)")
        .is("OK [MODIFIED 1]");
    client
        .command("STORE 2 FLAGS (\\Draft)")
        .has("* 2 FETCH (FLAGS (\\Draft \\Recent) MODSEQ (");
    let mut other = office.inbox();
    other
        .command("FETCH 1:2 FLAGS")
        .says(&["* 1 FETCH (FLAGS ($Kw))", "* 2 FETCH (FLAGS (\\Draft))"]);
}

#[test]
fn searching_says_it_in_the_form_that_was_asked_for() {
    let office = Office::new();
    let mut client = office.with(3);
    client.append("INBOX", MIXED);
    client.command("STORE 2 +FLAGS (\\Seen)").is("OK ");
    client.command("SEARCH ALL").says(&["* SEARCH 1 2 3 4"]);
    client
        .command("SEARCH UNSEEN NOT DELETED")
        .says(&["* SEARCH 1 3 4"]);
    client.command("UID SEARCH SUBJECT 2").says(&["* SEARCH 2"]);
    client
        .command("SEARCH BODY \"body 3\"")
        .says(&["* SEARCH 3"]);
    client
        .command("SEARCH CHARSET X-BAD SUBJECT a")
        .is("NO [BADCHARSET");
    client
        .command("SEARCH CHARSET UTF-8 SUBJECT {4+}\r\ntwö")
        .says(&["* SEARCH 4"]);
    let answer = client.command("SEARCH RETURN (COUNT MIN MAX) ALL");
    let tag = client.tag();
    answer.says(&[&format!("* ESEARCH (TAG \"{tag}\") MIN 1 MAX 4 COUNT 4")]);
    client
        .command("SEARCH RETURN (SAVE) UNSEEN")
        .is("OK ")
        .says(&[]);
    client.command("FETCH $ UID").says(&[
        "* 1 FETCH (UID 1)",
        "* 3 FETCH (UID 3)",
        "* 4 FETCH (UID 4)",
    ]);
    client
        .command("SORT (REVERSE SUBJECT) UTF-8 1:3")
        .says(&["* SORT 3 2 1"]);
    client
        .command("UID THREAD ORDEREDSUBJECT UTF-8 1:3")
        .says(&["* THREAD (1)(2)(3)"]);
    let deep = format!("SEARCH {}ALL{}", "(".repeat(10_000), ")".repeat(10_000));
    client.command(&deep).is("BAD ");
}

#[test]
fn a_message_is_appended_or_refused_before_it_is_sent() {
    let office = Office::new();
    let mut client = office.ann();
    client.send("a APPEND INBOX (\\Seen) \"01-Jan-2024 00:00:00 +0000\" {19}\r\n");
    assert!(client.line().starts_with("+ "));
    client.send("Subject: app\r\n\r\nx\r\n\r\n");
    let first = client.answer("a").is("OK [APPENDUID ");
    assert!(first.tagged.contains(" 1] "), "{first:?}");
    client.command("APPEND nope {1}").is("NO [TRYCREATE]");
    client.command("APPEND INBOX {0}").is("NO ");
    client
        .command("APPEND INBOX {99999999999}")
        .is("NO [TOOBIG]");
    client.command("APPEND INBOX {60000000}").is("NO [TOOBIG]");
    client
        .command("APPEND INBOX {3+}\r\na\r\n ~{3+}\r\nb\r\n")
        .is("OK [APPENDUID ");
    client.command("SELECT INBOX").is("OK ").has("* 3 EXISTS");
    client
        .command("FETCH 1 (FLAGS INTERNALDATE)")
        .says(&["* 1 FETCH (FLAGS (\\Seen \\Recent) INTERNALDATE \" 1-Jan-2024 00:00:00 +0000\")"]);
    // What comes anyhow and is not wanted is passed over.
    let nul = "APPEND INBOX {2+}\r\n\0x";
    client.command(nul).is("BAD ");
    client.command("NOOP").is("OK ");
}

#[test]
fn copies_and_moves_say_where_to() {
    let office = Office::new();
    let mut client = office.with(3);
    client.command("COPY 2 nope").is("NO [TRYCREATE]");
    client.command("CREATE Sent").is("OK ");
    let copied = client.command("COPY 2 Sent").is("OK [COPYUID ");
    assert!(copied.tagged.contains(" 2 1] "), "{copied:?}");
    let moved = client.command("MOVE 3 Sent").is("OK ");
    assert!(moved.untagged[0].starts_with("* OK [COPYUID "), "{moved:?}");
    assert_eq!(moved.untagged[1..], ["* 3 EXPUNGE"]);
    client
        .command("STORE 1 +FLAGS.SILENT (\\Deleted)")
        .is("OK ");
    client.command("UID EXPUNGE 2").is("OK ").says(&[]);
    client.command("EXPUNGE").is("OK ").says(&["* 1 EXPUNGE"]);
    client
        .command("STATUS Sent (MESSAGES UIDNEXT)")
        .says(&["* STATUS Sent (MESSAGES 2 UIDNEXT 3)"]);
}

#[test]
fn folders_have_names_in_every_script() {
    let office = Office::new();
    let mut client = office.ann();
    client
        .command("LIST \"\" \"\"")
        .says(&["* LIST (\\Noselect) \"/\" \"\""]);
    client.command("DELETE INBOX").is("NO ");
    client.command("CREATE inbox").is("NO [ALREADYEXISTS]");
    client
        .command("CREATE Entw&APw-rfe (USE (\\Drafts))")
        .is("OK ");
    client.command("CREATE a/b").is("OK ");
    client.command("SUBSCRIBE a/b").is("OK ");
    client.command("SUBSCRIBE nope").is("NO ");
    client.command("LIST \"\" %").says(&[
        "* LIST (\\HasNoChildren \\Drafts) \"/\" Entw&APw-rfe",
        "* LIST (\\HasNoChildren) \"/\" INBOX",
        "* LIST (\\Noselect \\HasChildren) \"/\" a",
    ]);
    client
        .command("LSUB \"\" %")
        .says(&["* LSUB (\\Noselect) \"/\" a"]);
    client.command("LSUB \"\" *").says(&["* LSUB () \"/\" a/b"]);
    client
        .command("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %")
        .has("* LIST (\\NonExistent \\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    client
        .command("LIST \"\" (a/* INBOX) RETURN (STATUS (MESSAGES))")
        .has("* STATUS a/b (MESSAGES 0)")
        .has("* STATUS INBOX (MESSAGES 0)");
    client.command("RENAME a/b c").is("OK ");
    client.command("DELETE c").is("OK ");
    client
        .command("ENABLE IMAP4rev2")
        .has("* ENABLED IMAP4rev2");
    client
        .command("LIST \"\" Entw*")
        .says(&["* LIST (\\HasNoChildren \\Drafts) \"/\" \"Entwürfe\""]);
    client
        .command("SELECT \"Entwürfe\"")
        .is("OK ")
        .has("* LIST () \"/\" \"Entwürfe\"");
}

#[test]
fn renaming_the_inbox_moves_its_messages() {
    let office = Office::new();
    let mut client = office.with(2);
    client.command("UNSELECT").is("OK ");
    client.command("RENAME INBOX old").is("OK ");
    client
        .command("STATUS old (MESSAGES)")
        .says(&["* STATUS old (MESSAGES 2)"]);
    client.command("SELECT INBOX").is("OK ").has("* 0 EXISTS");
}

#[test]
fn what_happens_is_pushed_to_whoever_idles() {
    let office = Office::new();
    let mut client = office.inbox();
    client.send("a IDLE\r\n");
    assert_eq!(client.line(), "+ idling");
    let mut other = office.ann();
    let began = Instant::now();
    other.append("INBOX", "Subject: x\r\n\r\nx\r\n");
    assert_eq!(client.line(), "* 1 EXISTS");
    let took = began.elapsed();
    assert!(took.as_millis() < 5000, "{took:?}");
    assert_eq!(client.line(), "* 1 RECENT");
    other.command("SELECT INBOX").is("OK ");
    other.command("STORE 1 +FLAGS (\\Flagged)").is("OK ");
    assert_eq!(client.line(), "* 1 FETCH (FLAGS (\\Flagged \\Recent))");
    // Things that follow each other are told in their order, and a number means what it meant.
    other.append("INBOX", "Subject: y\r\n\r\ny\r\n");
    assert_eq!(client.line(), "* 2 EXISTS");
    // Which of the two is the first to hear of it, nobody says.
    assert!(client.line().ends_with(" RECENT"));
    other.command("STORE 1 +FLAGS.SILENT (\\Deleted)").is("OK ");
    assert_eq!(
        client.line(),
        "* 1 FETCH (FLAGS (\\Flagged \\Deleted \\Recent))"
    );
    other.command("EXPUNGE").is("OK ");
    assert_eq!(client.line(), "* 1 EXPUNGE");
    other.command("STORE 1 +FLAGS.SILENT (\\Seen)").is("OK ");
    let seen = client.line();
    assert!(seen.starts_with("* 1 FETCH (FLAGS (\\Seen"), "{seen}");
    client.send("done\r\n");
    client.answer("a").is("OK ");
    client.send("b IDLE\r\n");
    assert_eq!(client.line(), "+ idling");
    client.send("c NOOP\r\n");
    client.answer("b").is("BAD ");
    client.command("NOOP").is("OK ");
}

#[test]
fn message_numbers_stay_what_they_are_while_they_are_used() {
    let office = Office::new();
    let mut one = office.with(3);
    let mut other = office.inbox();
    one.command("STORE 2 +FLAGS.SILENT (\\Deleted)").is("OK ");
    one.command("EXPUNGE").is("OK ").says(&["* 2 EXPUNGE"]);
    other
        .command("FETCH 1:3 UID")
        .is("NO [EXPUNGEISSUED]")
        .says(&["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)"]);
    other
        .command("STORE 3 +FLAGS (\\Seen)")
        .says(&["* 3 FETCH (FLAGS (\\Seen))"]);
    other.command("SEARCH ALL").says(&["* SEARCH 1 3"]);
    other.command("NOOP").says(&["* 2 EXPUNGE"]);
    one.command("NOOP")
        .says(&["* 2 FETCH (FLAGS (\\Seen \\Recent))"]);
    // Two that set flags at once both have their way.
    one.send("x STORE 1 +FLAGS.SILENT (\\Seen)\r\n");
    other.send("y STORE 1 +FLAGS.SILENT (\\Draft)\r\n");
    one.answer("x").is("OK ");
    other.answer("y").is("OK ");
    office
        .inbox()
        .command("FETCH 1 FLAGS")
        .says(&["* 1 FETCH (FLAGS (\\Seen \\Draft))"]);
}

#[test]
fn whoever_comes_back_hears_what_was_missed() {
    let office = Office::new();
    let mut client = office.with(4);
    let opened = client.command("SELECT INBOX").is("OK ");
    let value = |word: &str| {
        let line = opened.untagged.iter().find(|line| line.contains(word));
        let line = line.unwrap().split(word).nth(1).unwrap();
        line.trim_start().split(']').next().unwrap().to_owned()
    };
    let (validity, modseq) = (value("[UIDVALIDITY"), value("[HIGHESTMODSEQ"));
    client
        .command("STORE 2 +FLAGS.SILENT (\\Deleted)")
        .is("OK ");
    client.command("EXPUNGE").is("OK ");
    client.command("STORE 1 +FLAGS.SILENT (\\Seen)").is("OK ");
    let mut other = office.ann();
    other
        .command(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))"))
        .is("BAD ");
    other
        .command("ENABLE QRESYNC")
        .is("OK ")
        .has("* ENABLED QRESYNC");
    other
        .command(&format!("SELECT INBOX (QRESYNC ({validity} {modseq}))"))
        .is("OK ")
        .has("* VANISHED (EARLIER) 2")
        .has("* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (");
    other
        .command(&format!(
            "UID FETCH 1:* FLAGS (CHANGEDSINCE {modseq} VANISHED)"
        ))
        .has("* VANISHED (EARLIER) 2")
        .has("* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (");
    // Whoever knows that number 2 is UID 3 has heard that 2 is gone; whoever takes it for 2 has not.
    for (pairs, has_heard) in [("1:2 1,3", true), ("1:2 1:2", false)] {
        let again = other
            .command(&format!(
                "SELECT INBOX (QRESYNC ({validity} {modseq} 1:4 ({pairs})))"
            ))
            .is("OK ")
            .has("* 1 FETCH (UID 1 ");
        let told = again.untagged.iter().any(|line| line.contains("VANISHED"));
        assert_eq!(told, !has_heard, "{pairs}: {:?}", again.untagged);
    }
    client
        .command("STORE 1 +FLAGS.SILENT (\\Deleted)")
        .is("OK ");
    client.command("EXPUNGE").is("OK ");
    other.command("NOOP").is("OK ").has("* VANISHED 1");
}

#[test]
fn endless_lines_and_deep_messages_are_bounded() {
    let office = Office::new();
    let mut client = office.ann();
    client
        .command(&format!("NOOP {}", "x".repeat(70_000)))
        .is("BAD ");
    client.command("NOOP").is("OK ");
    client
        .command(&format!("NOOP {}", "(".repeat(10_000)))
        .is("BAD ");
    let mut nested = "Content-Type: message/rfc822\r\n\r\n".repeat(3000);
    nested.push_str("x\r\n");
    client.append("INBOX", &nested);
    let parameters: String = (0..100_000).map(|at| format!("; a*{at}*=x")).collect();
    client.append(
        "INBOX",
        &format!("Content-Type: text/plain{parameters}\r\n\r\nx\r\n"),
    );
    client.append(
        "INBOX",
        &format!("To: {}\r\n\r\nx\r\n", "a@b.test, ".repeat(100_000)),
    );
    client.command("SELECT INBOX").is("OK ");
    let answer = client
        .command("FETCH 1:* (BODYSTRUCTURE ENVELOPE)")
        .is("OK ");
    assert_eq!(answer.untagged.len(), 3);
    assert!(answer.untagged.iter().all(|line| line.len() < 1_000_000));
    assert!(
        office
            .relay
            .log()
            .lines()
            .all(|line| !line.contains("panic"))
    );
}

#[test]
fn large_messages_come_whole_and_in_pieces() {
    let office = Office::new();
    let mut client = office.ann();
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    let message = format!("Subject: large\r\n\r\n{}", line.repeat(20_000));
    client.append("INBOX", &message);
    client.command("SELECT INBOX").is("OK ");
    let len = message.len();
    client
        .command("FETCH 1 BODY.PEEK[]")
        .says(&[&format!("* 1 FETCH (BODY[] {{{len}}}\r\n{message})")]);
    let piece = &message[500_000..500_100];
    client
        .command("FETCH 1 BODY.PEEK[]<500000.100>")
        .says(&[&format!("* 1 FETCH (BODY[]<500000> {{100}}\r\n{piece})")]);
    let text = &message["Subject: large\r\n\r\n".len()..];
    let piece = &text[500_000..500_100];
    client
        .command("FETCH 1 BODY.PEEK[TEXT]<500000.100>")
        .says(&[&format!(
            "* 1 FETCH (BODY[TEXT]<500000> {{100}}\r\n{piece})"
        )]);
}

#[test]
fn whoever_reads_slowly_holds_no_more_memory_than_there_is() {
    let office = Office::having("runtime.memory = \"64MiB\"");
    let mut client = office.ann();
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
    let message = format!("Subject: large\r\n\r\n{}", line.repeat(800_000));
    client.append("INBOX", &message);
    client.command("SELECT INBOX").is("OK ");
    let mut slow = office.inbox();
    slow.send("a FETCH 1 BODY.PEEK[TEXT]\r\n");
    let mut fetched = |wanted: &str| {
        crate::support::eventually(wanted, || {
            let answer = client.command("FETCH 1 BODY.PEEK[TEXT]<0.10>");
            answer.tagged.starts_with(wanted).then_some(())
        });
        // What comes from the disk as it is sent needs no room.
        client.command("FETCH 1 BODY.PEEK[]<0.10>").is("OK ");
    };
    fetched("NO [LIMIT]");
    drop(slow);
    fetched("OK ");
}

/// The first part is large enough to be on its way when the second one fails.
#[test]
fn a_part_that_cannot_be_decoded_does_not_break_off_a_line() {
    let office = Office::new();
    let mut client = office.ann();
    let large = "0123456789\r\n".repeat(20_000);
    let message = format!(
        "Content-Type: multipart/mixed; boundary=XX\r\n\r\n--XX\r\n\r\n{large}\r\n--XX\r\nContent-Transfer-Encoding: x\r\n\r\nhello\r\n--XX--\r\n"
    );
    client.append("INBOX", &message);
    client.command("SELECT INBOX").is("OK ");
    let len = large.len();
    let part = format!("BODY[1] {{{len}}}\r\n{large}");
    for (items, expected) in [
        ("BINARY.PEEK[2] BODY.PEEK[1]", None),
        (
            "BODY.PEEK[1] BINARY.PEEK[2] UID",
            Some(format!("* 1 FETCH (UID 1 {part})")),
        ),
        (
            "BODY.PEEK[1] UID BODY.PEEK[1]",
            Some(format!("* 1 FETCH (UID 1 {part} {part})")),
        ),
    ] {
        let answer = client.command(&format!("FETCH 1 ({items})"));
        let found: Vec<&String> = answer.untagged.iter().collect();
        assert!(found == expected.iter().collect::<Vec<_>>(), "{items}");
        client.command("NOOP").says(&[]);
    }
}

#[test]
fn mail_that_is_delivered_is_pushed_at_once() {
    let office = Office::new();
    let mut client = office.inbox();
    client.send("a IDLE\r\n");
    assert_eq!(client.line(), "+ idling");
    let began = Instant::now();
    office.relay.submit(
        "<b@d.test>",
        &["<ann@c.test>"],
        b"Subject: delivered\r\n\r\nhello\r\n",
    );
    assert_eq!(client.line(), "* 1 EXISTS");
    // Within 100 ms where nobody else is at work; a test may not count on that.
    let took = began.elapsed();
    assert!(took.as_millis() < 5000, "{took:?}");
    assert_eq!(client.line(), "* 1 RECENT");
    client.send("DONE\r\n");
    client.answer("a").is("OK ");
    client
        .command("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
        .has("Subject: delivered");
}

#[test]
fn a_folder_that_goes_away_ends_the_sessions_in_it() {
    let office = Office::new();
    let mut one = office.ann();
    one.command("CREATE x").is("OK ");
    let mut other = office.ann();
    other.command("SELECT x").is("OK ");
    let mut idle = office.ann();
    idle.command("SELECT x").is("OK ");
    idle.send("a IDLE\r\n");
    assert_eq!(idle.line(), "+ idling");
    one.command("DELETE x").is("OK ");
    assert!(idle.line().starts_with("* BYE "));
    other.send("a NOOP\r\n");
    assert!(other.line().starts_with("* BYE "));
    assert_eq!(other.next_line(), None);
}

#[test]
fn many_small_literals_are_a_large_one() {
    let office = Office::new();
    let mut client = Imap::greet(office.imap);
    client.send("a LOGIN");
    for _ in 0..30 {
        client.send(format!(" {{4000+}}\r\n{}", "x".repeat(4000)));
    }
    client.send("\r\n");
    client.answer("a").is("BAD [TOOBIG]");
    client.command("LOGIN ann@c.test secret").is("OK ");
}

/// What is no mail is passed over, wherever it lies, and a link leads nowhere.
#[test]
fn somebody_puts_directories_and_a_link_into_a_maildir() {
    let office = Office::new();
    office.inbox().append("INBOX", "Subject: mail\r\n\r\n");
    let home = office.relay.data().join("mailboxes").join(ANN);
    std::fs::create_dir(home.join("new/1.directory.test")).unwrap();
    std::fs::create_dir(home.join("cur/2.directory.test:2,S")).unwrap();
    let secret = office.relay.data().join("secret");
    std::fs::write(&secret, "Subject: of somebody else\n\n").unwrap();
    std::os::unix::fs::symlink(&secret, home.join("new/3.link.test")).unwrap();
    let mut client = office.ann();
    client.command("SELECT INBOX").is("OK ").has("* 1 EXISTS");
    client
        .command("LIST \"\" * RETURN (STATUS (MESSAGES))")
        .is("OK ")
        .has("MESSAGES 1");
    client.command("GETQUOTAROOT INBOX").is("OK ");
    assert!(secret.exists() && home.join("new/1.directory.test").exists());
}
