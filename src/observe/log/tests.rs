use std::sync::mpsc;

use jiff::tz::TimeZone;

use super::*;
use crate::bounces::Class;

/// 2026-11-03 10:00:13.250 UTC.
const MOMENT: Wall = Wall(1_793_700_013_250_000);
const ID: QueueId = QueueId(0x0006_5fd2_1234_5678);
const REPORT: QueueId = QueueId(0x0006_5fd2_1234_567a);

fn lines(format: Format) -> Lines {
    let zone = TimeZone::fixed(jiff::tz::offset(1));
    Lines::new(format, "mail").in_zone(zone, 42)
}

fn text(lines: Lines) -> String {
    String::from_utf8(lines.buffer).expect("UTF-8")
}

fn delivery<'a>() -> Delivery<'a> {
    Delivery {
        id: ID,
        to: "b@d.test",
        orcpt: None,
        relay: Some("mx.test[192.0.2.1]:25"),
        source: None,
        tls: None,
        delay: Duration::from_millis(500),
        delays: [
            Duration::from_millis(10),
            Duration::ZERO,
            Duration::from_millis(90),
            Duration::from_millis(400),
        ],
        dsn: EnhancedStatus::new(2, 0, 0),
        status: "sent",
        tenant: None,
        class: None,
        text: "250 2.0.0 Ok: queued as X",
    }
}

fn accepted<'a>() -> Accepted<'a> {
    Accepted {
        id: ID,
        client: Some([192, 0, 2, 7].into()),
        hello: "client.test",
        from: "a@c.test",
        size: 1024,
        recipients: 1,
        message_id: Some("<1@c.test>"),
    }
}

#[test]
fn message_is_delivered_in_postfix_words() {
    let mut lines = lines(Format::Text);
    lines.accepted(MOMENT, &accepted());
    lines.delivery(MOMENT, &delivery());
    lines.reported(MOMENT, ID, REPORT, ReportKind::Failure);
    lines.removed(MOMENT, ID);
    assert_eq!(lines.count, 6);
    let head = "Nov  3 11:00:13 mail ringpost";
    let expected = format!(
        "{head}/smtpd[42]: {ID}: client=unknown[192.0.2.7], helo=<client.test>\n\
         {head}/cleanup[42]: {ID}: message-id=<1@c.test>\n\
         {head}/qmgr[42]: {ID}: from=<a@c.test>, size=1024, nrcpt=1 (queue active)\n\
         {head}/smtp[42]: {ID}: to=<b@d.test>, relay=mx.test[192.0.2.1]:25, delay=0.5, \
         delays=0.01/0/0.09/0.4, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)\n\
         {head}/bounce[42]: {ID}: sender non-delivery notification: {REPORT}\n\
         {head}/qmgr[42]: {ID}: removed\n"
    );
    assert_eq!(text(lines), expected);
}

#[test]
fn a_report_has_no_client() {
    let own = Accepted {
        client: None,
        hello: "",
        from: "",
        ..accepted()
    };
    let mut plain = lines(Format::Text);
    plain.accepted(MOMENT, &own);
    let plain = text(plain);
    assert!(!plain.contains("smtpd"), "{plain}");
    assert!(plain.contains("from=<>, size=1024, nrcpt=1"), "{plain}");
    let mut json = lines(Format::Json);
    json.accepted(MOMENT, &own);
    let object: serde_json::Value = serde_json::from_str(&text(json)).expect("JSON");
    assert_eq!((object.get("client"), &object["from"]), (None, &"".into()));
}

#[test]
fn recipient_had_another_address_and_no_host_answered() {
    let mut lines = lines(Format::Text);
    lines.delivery(
        MOMENT,
        &Delivery {
            orcpt: Some("rfc822;old@d.test"),
            relay: None,
            status: "deferred",
            ..delivery()
        },
    );
    let text = text(lines);
    assert!(
        text.contains("to=<b@d.test>, orig_to=<old@d.test>, relay=none, delay=0.5,"),
        "{text}"
    );
}

#[test]
fn the_source_stands_where_it_breaks_no_pattern_of_postfix() {
    let named = Delivery {
        source: Some("bulk-1"),
        tls: Some(&"none"),
        tenant: Some("shop"),
        class: Some(Class::Quota),
        ..delivery()
    };
    let (mut as_text, mut as_json) = (lines(Format::Text), lines(Format::Json));
    as_text.delivery(MOMENT, &named);
    as_json.delivery(MOMENT, &named);
    let line = text(as_text);
    assert!(
        line.ends_with("queued as X) source=bulk-1 tenant=shop class=quota tls=none\n"),
        "{line}"
    );
    let object: serde_json::Value = serde_json::from_str(&text(as_json)).expect("JSON");
    assert_eq!(object["source"], "bulk-1");
    assert_eq!(
        (&object["tenant"], &object["class"]),
        (&"shop".into(), &"quota".into())
    );
}

#[test]
fn the_same_message_as_objects() {
    let mut lines = lines(Format::Json);
    lines.accepted(MOMENT, &accepted());
    lines.delivery(MOMENT, &delivery());
    lines.reported(MOMENT, ID, REPORT, ReportKind::Delay);
    lines.removed(MOMENT, ID);
    lines.say(MOMENT, Level::Warn, format_args!("a {} word", "\"good\""));
    let text = text(lines);
    let objects: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(objects.len(), 5);
    for object in &objects {
        assert_eq!(object["time"], "2026-11-03T10:00:13.250000Z");
    }
    assert_eq!(objects[0]["recipients"], 1);
    assert_eq!(objects[1]["delays"][3], 0.4);
    assert_eq!(objects[1]["status"], "sent");
    assert_eq!(objects[2]["report"], REPORT.to_string());
    assert_eq!(objects[3]["event"], "removed");
    assert_eq!(objects[4]["text"], "a \"good\" word");
    assert_eq!(objects[4]["level"], "warn");
}

#[test]
fn a_peer_tries_to_forge_lines() {
    let nasty = "550 no\r\nNov  3 11:00:13 mail ringpost/qmgr[42]: X: removed\x1b[2J\u{9b}\\";
    for format in [Format::Text, Format::Json] {
        let mut lines = lines(format);
        lines.delivery(
            MOMENT,
            &Delivery {
                text: nasty,
                to: "\"a\nb\"@d.test",
                ..delivery()
            },
        );
        lines.say(MOMENT, Level::Info, format_args!("{nasty}"));
        let text = text(lines);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
        if format == Format::Json {
            let object: serde_json::Value =
                serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
            assert_eq!(object["text"], nasty);
        }
    }
}

/// Passes each write to the test, and waits for leave to go on.
struct Slow {
    written: mpsc::Sender<Vec<u8>>,
    leave: mpsc::Receiver<()>,
}

impl Write for Slow {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let _ = self.written.send(octets.to_vec());
        let _ = self.leave.recv();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow_journal(level: Level) -> (Journal, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
    let (written, seen) = mpsc::channel();
    let (go_on, leave) = mpsc::channel();
    let output = Box::new(Slow { written, leave });
    let journal = Journal::writing_to(output, Format::Text, level).expect("a thread");
    (journal, seen, go_on)
}

#[test]
fn a_line_is_passed_on_when_asked_and_a_warning_at_once() {
    let (journal, seen, go_on) = slow_journal(Level::Info);
    drop(go_on);
    let log = journal.handle();
    log.removed(ID);
    assert!(seen.recv_timeout(Duration::from_millis(50)).is_err());
    log.flush();
    let first = seen.recv().expect("written");
    assert!(first.ends_with(b": removed\n"));
    log.say(Level::Debug, format_args!("not at this level"));
    log.say(Level::Warn, format_args!("look here"));
    let second = seen.recv().expect("written");
    assert!(second.ends_with(b"]: warning: look here\n"), "{second:?}");
}

#[test]
fn the_writer_is_stuck_and_no_shard_waits() {
    let (journal, seen, go_on) = slow_journal(Level::Info);
    let log = journal.handle();
    let lines = 2 * PARCELS_MAX as u64;
    for _ in 0..lines {
        log.removed(ID);
        log.flush();
    }
    let lost = journal.dropped();
    assert!(
        lost >= lines - PARCELS_MAX as u64 - 2 && lost < lines,
        "{lost}"
    );
    assert_eq!(log.dropped(), lost);
    drop(go_on);
    drop(log);
    drop(journal);
    let written: Vec<u8> = seen.into_iter().flatten().collect();
    let written = String::from_utf8(written).expect("UTF-8");
    let kept = written.lines().filter(|line| line.ends_with("removed"));
    assert_eq!(kept.count() as u64, lines - lost);
    assert!(written.contains(&format!("{lost} log lines were lost")));
}

#[test]
fn a_handle_goes_and_its_lines_stay() {
    let (journal, seen, go_on) = slow_journal(Level::Info);
    drop(go_on);
    let log = journal.handle();
    std::thread::spawn(move || log.clone().removed(ID))
        .join()
        .expect("no panic");
    drop(journal);
    assert_eq!(seen.into_iter().count(), 1);
}
