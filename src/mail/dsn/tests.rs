use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;
use crate::mail::envelope::Ret;
use crate::wire::dot::{Facts, unstuff_into};

const ORIGINAL: &[u8] = b"Received: from c.test\r\nFrom: a@c.test\r\nMessage-ID: <one@c.test>\r\n\
    Subject: lunch\r\n\r\nWords of lunch.\r\n.\r\n..two\r\n";

/// What a test reports; the rest is as usual.
struct Scene {
    kind: ReportKind,
    envelope: Envelope,
    diagnosis: Option<Diagnosis>,
    status: EnhancedStatus,
    expired: bool,
    success: Option<Success>,
    until: Option<Wall>,
    original: Vec<u8>,
    whole: bool,
}

/// A report, checked and taken apart.
struct Read {
    composed: Composed,
    /// Unstuffed.
    text: String,
    words: String,
    status: (String, String),
    returned: (String, Vec<u8>),
}

impl Scene {
    fn new(kind: ReportKind) -> Self {
        let recipient = |address: &[u8], orcpt: Option<&str>| Recipient {
            mailbox: mailbox(address),
            notify: None,
            orcpt: orcpt.map(Into::into),
            expanded: false,
        };
        let reply = "550-5.1.1 first line of two 550 5.1.1 No such user here";
        let text = format!("host mx1.test[192.0.2.1] said: {reply} (in reply to RCPT TO command)");
        Self {
            kind,
            envelope: Envelope {
                reverse_path: ReversePath(Some(mailbox(b"a@c.test"))),
                ret: None,
                envid: Some("QQ+2B314159".into()),
                body: BodyKind::SevenBit,
                smtputf8: false,
                require_tls: false,
                standing: Default::default(),
                recipients: vec![
                    recipient(b"fine@d.test", None),
                    recipient(b"b@d.test", Some("rfc822;Orig+2Bx@d.test")),
                ],
            },
            diagnosis: Some(Diagnosis {
                status: EnhancedStatus::new(5, 1, 1),
                text: text.into(),
                reply: Some(reply.into()),
                remote_mta: Some("mx1.test".into()),
            }),
            status: EnhancedStatus::new(5, 1, 1),
            expired: false,
            success: None,
            until: None,
            original: ORIGINAL.to_vec(),
            whole: true,
        }
    }

    fn compose(&self) -> Option<Composed> {
        compose(&Notice {
            kind: self.kind,
            hostname: "relay.test",
            report_id: QueueId(77),
            original_id: QueueId(76),
            arrival: Wall(1_795_431_613_000_000),
            now: Wall(1_795_431_614_999_999),
            envelope: &self.envelope,
            recipients: &[Reported {
                index: 1,
                status: self.status,
                diagnosis: self.diagnosis.as_ref(),
                expired: self.expired,
                success: self.success,
                will_retry_until: self.until,
            }],
            original: &self.original,
            original_is_whole: self.whole,
        })
    }

    #[track_caller]
    fn read(&self) -> Read {
        Read::new(self.compose().expect("a report"))
    }

    fn recipient(&mut self, address: &str, orcpt: Option<&str>) {
        self.envelope.recipients[1].mailbox = mailbox(address.as_bytes());
        self.envelope.recipients[1].orcpt = orcpt.map(Into::into);
    }
}

impl Read {
    /// Checks what every report keeps to.
    #[track_caller]
    fn new(composed: Composed) -> Self {
        let octets = content_of(&composed);
        let text = String::from_utf8_lossy(&octets).into_owned();
        check_lines(&octets, &text);
        check_envelope(&composed);
        let message = MessageParser::default().parse(&octets).expect("a message");
        let kind = message.content_type().expect("a type");
        assert_eq!(
            (kind.ctype(), kind.subtype(), kind.attribute("report-type")),
            ("multipart", Some("report"), Some("delivery-status")),
            "{text}"
        );
        let PartType::Multipart(places) = &message.parts[0].body else {
            panic!("no parts: {text}")
        };
        assert_eq!(places.len(), 3, "{text}");
        let part = |n: usize| part_of(&message, &octets, places[n] as usize);
        let ((words_type, words), status, returned) = (part(0), part(1), part(2));
        assert_eq!(words_type, "text/plain");
        Self {
            words: String::from_utf8(words).expect("UTF-8"),
            status: (status.0, String::from_utf8(status.1).expect("UTF-8")),
            returned,
            text,
            composed,
        }
    }

    /// The values of a field of the second part, unfolded.
    fn fields(&self, name: &str) -> Vec<String> {
        let unfolded = self.status.1.replace("\r\n ", " ");
        unfolded
            .split("\r\n")
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
            .collect()
    }

    #[track_caller]
    fn field(&self, name: &str) -> String {
        let fields = self.fields(name);
        assert_eq!(fields.len(), 1, "{name} in {}", self.text);
        fields[0].clone()
    }
}

/// What its receiver has, after the facts about it were held against it.
#[track_caller]
fn content_of(composed: &Composed) -> Vec<u8> {
    let mut octets = Vec::new();
    unstuff_into(&mut octets, &composed.body);
    let (mut stuffer, mut again) = (Stuffer::new(), Vec::new());
    stuffer.stuff_into(&mut again, &octets);
    assert_eq!(again, composed.body);
    let content = &composed.content;
    let facts = Facts {
        size: content.size,
        stuffed: content.stuffed,
        longest_line: content.longest_line,
    };
    assert_eq!(stuffer.facts(), facts);
    let (header, body) = composed.body.split_at(content.header_len as usize);
    assert_eq!(memmem::find(&octets, b"\r\n\r\n"), Some(header.len() - 4));
    assert_eq!(content.eight_bit_header, !header.is_ascii());
    assert_eq!(content.eight_bit, !body.is_ascii());
    let id = content.message_id.as_deref().expect("a Message-ID");
    assert_eq!(id, format!("<{}@relay.test>", QueueId(77)));
    assert!(content.date && content.received == 1);
    octets
}

#[track_caller]
fn check_lines(octets: &[u8], text: &str) {
    assert!(octets.ends_with(b"--\r\n"), "{text}");
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("CRLF");
        let plain = !line.contains(&b'\r') && !line.contains(&0);
        assert!(line.len() <= 998 && plain, "{text}");
    }
}

#[track_caller]
fn check_envelope(composed: &Composed) {
    let (envelope, content) = (&composed.envelope, &composed.content);
    assert_eq!(envelope.reverse_path, ReversePath(None));
    assert_eq!(envelope.recipients.len(), 1);
    assert_eq!(envelope.recipients[0].notify, Some(NEVER));
    assert_eq!(envelope.ret, None);
    let eight_bit = content.eight_bit || content.eight_bit_header;
    assert_eq!(envelope.body == BodyKind::EightBit, eight_bit);
    assert_eq!(envelope.smtputf8, content.eight_bit_header);
}

/// A part's type and content. Only a header may be encoded.
#[track_caller]
fn part_of(message: &Message<'_>, octets: &[u8], place: usize) -> (String, Vec<u8>) {
    let part = &message.parts[place];
    let kind = part.content_type().expect("a type");
    let name = format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default());
    let raw = &octets[part.raw_body_offset() as usize..part.raw_end_offset() as usize];
    let transfer = part.content_transfer_encoding().expect("an encoding");
    if transfer == "quoted-printable" {
        assert_eq!(name, "text/rfc822-headers");
        assert!(raw.is_ascii());
        let decoded = mail_parser::decoders::quoted_printable::quoted_printable_decode(raw);
        return (name, decoded.expect("quoted-printable"));
    }
    let top = message.parts[0].content_transfer_encoding();
    if raw.is_ascii() {
        assert_eq!(transfer, "7bit");
    } else {
        assert_eq!((transfer, top), ("8bit", Some("8bit")));
    }
    (name, raw.to_vec())
}

fn mailbox(address: &[u8]) -> Mailbox {
    Mailbox::parse(address, true).expect("a mailbox")
}

fn header_of_original() -> &'static [u8] {
    &ORIGINAL[..memmem::find(ORIGINAL, b"\r\n\r\n").expect("a header") + 2]
}

#[test]
fn recipient_is_unknown_and_the_sender_is_told_everything() {
    let read = Scene::new(ReportKind::Failure).read();
    for line in [
        "From: Mail Delivery System <MAILER-DAEMON@relay.test>",
        "To: <a@c.test>",
        "Subject: Undelivered Mail Returned to Sender",
        "Date: Mon, 23 Nov 2026 11:00:14 +0000 (UTC)",
        "Received: by relay.test (Ringpost)",
        "\tid 000000000002D; Mon, 23 Nov 2026 11:00:14 +0000 (UTC)",
        "In-Reply-To: <one@c.test>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Transfer-Encoding: 7bit",
    ] {
        assert!(read.text.contains(&format!("{line}\r\n")), "{}", read.text);
    }
    assert_eq!(read.status.0, "message/delivery-status");
    for (field, value) in [
        ("Reporting-MTA", "dns; relay.test"),
        ("Original-Envelope-Id", "QQ+314159"),
        ("Arrival-Date", "Mon, 23 Nov 2026 11:00:13 +0000 (UTC)"),
        ("Original-Recipient", "rfc822; Orig+x@d.test"),
        ("Final-Recipient", "rfc822; b@d.test"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx1.test"),
        (
            "Diagnostic-Code",
            "smtp; 550-5.1.1 first line of two 550 5.1.1 No such user here",
        ),
        ("Last-Attempt-Date", "Mon, 23 Nov 2026 11:00:14 +0000 (UTC)"),
    ] {
        assert_eq!(read.field(field), value);
    }
    assert_eq!(read.fields("Will-Retry-Until"), [""; 0]);
    for part in [
        "<b@d.test>\r\n    There is no such mailbox.",
        "\r\n    host mx1.test[192.0.2.1] said:\r\n    550-5.1.1 first line",
        "No such user here\r\n    (in reply to RCPT TO command)\r\n",
    ] {
        assert!(read.words.contains(part), "{}", read.words);
    }
    assert!(!read.text.contains("fine@d.test"));
    let whole = ("message/rfc822".to_owned(), ORIGINAL.to_vec());
    assert_eq!(read.returned, whole);
    assert!(read.composed.content.stuffed);
}

#[test]
fn original_has_no_sender_to_tell() {
    let mut scene = Scene::new(ReportKind::Failure);
    scene.envelope.reverse_path = ReversePath(None);
    assert_eq!(scene.compose(), None);
}

#[test]
fn recipient_is_not_in_the_envelope() {
    let mut scene = Scene::new(ReportKind::Failure);
    scene.envelope.recipients.truncate(1);
    assert_eq!(scene.compose(), None);
}

#[test]
fn time_is_over_and_the_last_words_are_shown() {
    let mut scene = Scene::new(ReportKind::Failure);
    scene.expired = true;
    scene.status = EnhancedStatus::new(4, 2, 2);
    let read = scene.read();
    assert_eq!(read.field("Action"), "failed");
    assert_eq!(read.field("Status"), "4.4.7");
    assert!(read.field("Diagnostic-Code").ends_with("No such user here"));
    assert_eq!(read.fields("Last-Attempt-Date"), [""; 0]);
    assert!(read.words.contains("until its time was over"));
}

#[test]
fn message_waits_and_the_sender_learns_for_how_long() {
    let mut scene = Scene::new(ReportKind::Delay);
    scene.status = EnhancedStatus::new(4, 3, 0);
    scene.until = Some(Wall(1_795_431_613_000_000 + 5 * 86_400_000_000));
    let read = scene.read();
    assert_eq!(read.field("Action"), "delayed");
    assert_eq!(read.field("Status"), "4.3.0");
    let until = "Sat, 28 Nov 2026 11:00:13 +0000 (UTC)";
    assert_eq!(read.field("Will-Retry-Until"), until);
    assert!(read.words.contains(&format!("tried until {until}.")));
    assert!(read.words.contains("WARNING ONLY"));
    assert_eq!(read.returned.0, "text/rfc822-headers");
    assert_eq!(read.returned.1, header_of_original());

    scene.diagnosis = None;
    let read = scene.read();
    assert!(read.words.contains("It waits for its turn."));
    assert_eq!(read.fields("Diagnostic-Code"), [""; 0]);
}

#[test]
fn success_is_called_by_its_name() {
    for (success, action, words) in [
        (Success::Delivered, "delivered", "It was delivered."),
        (Success::Relayed, "relayed", "accepted by the next mail"),
        (Success::Expanded, "expanded", "stands for several others"),
    ] {
        let mut scene = Scene::new(ReportKind::Success);
        scene.envelope.ret = Some(Ret::Full);
        scene.status = EnhancedStatus::new(2, 0, 0);
        scene.success = Some(success);
        let read = scene.read();
        assert_eq!(read.field("Action"), action);
        assert_eq!(read.field("Status"), "2.0.0");
        assert_eq!(read.returned.0, "text/rfc822-headers", "RFC 3461 §4.3");
        assert!(read.words.contains(words), "{}", read.words);
    }
}

#[test]
fn status_has_the_class_of_what_is_told() {
    for (kind, (class, subject, detail), shown) in [
        (ReportKind::Failure, (2, 0, 0), "5.0.0"),
        (ReportKind::Failure, (4, 2, 2), "4.2.2"),
        (ReportKind::Delay, (5, 2, 2), "4.2.2"),
        (ReportKind::Success, (5, 1, 5), "2.1.5"),
    ] {
        let mut scene = Scene::new(kind);
        scene.status = EnhancedStatus::new(class, subject, detail);
        assert_eq!(scene.read().field("Status"), shown);
    }
}

#[test]
fn failure_of_our_own_finding_has_a_type_of_our_own() {
    let mut scene = Scene::new(ReportKind::Failure);
    scene.diagnosis = Some(Diagnosis::ours(
        scene.status,
        "mail for d.test loops back to this host",
    ));
    let read = scene.read();
    assert_eq!(
        read.field("Diagnostic-Code"),
        "x-ringpost; mail for d.test loops back to this host"
    );
    assert_eq!(read.fields("Remote-MTA"), [""; 0]);
}

#[test]
fn message_that_requires_tls_comes_back_without_its_content_and_under_tls() {
    for require_tls in [false, true] {
        let mut scene = Scene::new(ReportKind::Failure);
        scene.envelope.ret = Some(Ret::Full);
        scene.envelope.require_tls = require_tls;
        let read = scene.read();
        assert_eq!(read.composed.envelope.require_tls, require_tls);
        let is_whole = read.returned.0 == "message/rfc822";
        assert_eq!(is_whole, !require_tls, "{}", read.text);
    }
}

#[test]
fn message_comes_back_as_its_sender_asked_and_as_it_can() {
    let small = ORIGINAL.to_vec();
    let large = [ORIGINAL, &b"words\r\n".repeat(10_000)].concat();
    let wide = [ORIGINAL, &b"w".repeat(999)[..], b"\r\n"].concat();
    let bare = [ORIGINAL, b"a\nb\r\n"].concat();
    let latin = [ORIGINAL, b"caf\xe9\r\n"].concat();
    for (ret, original, whole, shown) in [
        (None, &small, true, "message/rfc822"),
        (None, &latin, true, "message/rfc822"),
        (Some(Ret::Headers), &small, true, "text/rfc822-headers"),
        (None, &small, false, "text/rfc822-headers"),
        (None, &large, true, "text/rfc822-headers"),
        (Some(Ret::Full), &small, true, "message/rfc822"),
        (Some(Ret::Full), &large, true, "text/rfc822-headers"),
        (Some(Ret::Full), &wide, true, "text/rfc822-headers"),
        (Some(Ret::Full), &bare, true, "text/rfc822-headers"),
    ] {
        let mut scene = Scene::new(ReportKind::Failure);
        scene.envelope.ret = ret;
        scene.original.clone_from(original);
        scene.whole = whole;
        let read = scene.read();
        assert_eq!(read.returned.0, shown);
        if shown == "message/rfc822" {
            assert_eq!(&read.returned.1, original);
        } else {
            assert_eq!(read.returned.1, header_of_original());
        }
        assert_eq!(read.composed.content.eight_bit, original == &latin);
    }
}

#[test]
fn header_is_odd_and_comes_back_all_the_same() {
    let utf8 = "Subject: \u{e4}\r\nX: y\r\n".as_bytes();
    let wide = format!("Subject: {}\r\n", "w".repeat(5000));
    for (header, shown) in [
        (utf8, "message/global-headers"),
        (&b"Subject: caf\xe9\r\n"[..], "text/rfc822-headers"),
        (wide.as_bytes(), "text/rfc822-headers"),
        (b"", "text/rfc822-headers"),
    ] {
        let mut scene = Scene::new(ReportKind::Delay);
        scene.original = [header, b"\r\nbody\r\n"].concat();
        let read = scene.read();
        assert_eq!(read.returned.0, shown);
        assert_eq!(read.returned.1, header, "{}", read.text);
    }
    let mut scene = Scene::new(ReportKind::Failure);
    scene.original = [utf8, b"\r\nbody\r\n"].concat();
    assert_eq!(scene.read().returned.0, "message/global");

    let mut scene = Scene::new(ReportKind::Delay);
    scene.original = b"X: y\r\n".repeat(100_000);
    let header = scene.read().returned.1;
    assert!(header.len() <= WHOLE_OCTETS_MAX && header.ends_with(b"X: y\r\n"));
}

#[test]
fn international_recipient_is_named_as_it_is() {
    let mut scene = Scene::new(ReportKind::Failure);
    scene.envelope.smtputf8 = true;
    let orcpt = "utf-8;\\x{E4}+2B\\x{110000}\\x{A}@d.test";
    scene.recipient("\u{e4}@d.test", Some(orcpt));
    let read = scene.read();
    assert_eq!(read.status.0, "message/global-delivery-status");
    assert_eq!(read.field("Final-Recipient"), "utf-8; \u{e4}@d.test");
    assert_eq!(
        read.field("Original-Recipient"),
        "utf-8; \u{e4}+\\x{110000}?@d.test"
    );
    assert!(read.words.contains("<\u{e4}@d.test>"));
    assert!(!read.composed.envelope.smtputf8, "the sender is ASCII");

    let sender = mailbox("\u{fc}@c.test".as_bytes());
    scene.envelope.reverse_path = ReversePath(Some(sender));
    let read = scene.read();
    assert!(read.composed.envelope.smtputf8);
    assert!(read.text.contains("\r\nTo: <\u{fc}@c.test>\r\n"));
}

#[test]
fn remote_server_speaks_another_language() {
    let mut scene = Scene::new(ReportKind::Failure);
    if let Some(diagnosis) = &mut scene.diagnosis {
        diagnosis.text = "host mx1.test said: 550 bo\u{ee}te pleine".into();
        diagnosis.reply = Some("550 bo\u{ee}te pleine".into());
    }
    let read = scene.read();
    assert!(read.words.contains("    550 bo\u{ee}te pleine\r\n"));
    assert_eq!(read.field("Diagnostic-Code"), "smtp; 550 bo?te pleine");
    assert_eq!(read.composed.envelope.body, BodyKind::EightBit);
    // A sender behind a host without 8BITMIME hears of it, too.
    assert!(crate::mail::downgrade::to_seven_bit(read.text.as_bytes()).is_ok());
}

#[test]
fn parameters_hide_line_ends_and_make_none() {
    let mut scene = Scene::new(ReportKind::Failure);
    scene.envelope.envid = Some("a+0D+0AInjected:+20yes".into());
    let orcpt = "rfc822;x+0D+0A+0D+0AAction:+20delivered+C3+A4";
    scene.recipient("b@d.test", Some(orcpt));
    let read = scene.read();
    assert_eq!(read.field("Original-Envelope-Id"), "a??Injected: yes");
    assert_eq!(
        read.field("Original-Recipient"),
        "rfc822; x????Action: delivered?"
    );
    assert_eq!(read.field("Action"), "failed");
    assert_eq!(read.status.0, "message/delivery-status");
}

#[test]
fn original_that_guesses_the_boundary_stays_inside() {
    let mut scene = Scene::new(ReportKind::Failure);
    let guesses: String = (0..5)
        .map(|number| format!("\r\n--=_{}.{number}--\r\n", QueueId(77)))
        .collect();
    scene.original.extend_from_slice(guesses.as_bytes());
    if let Some(diagnosis) = &mut scene.diagnosis {
        diagnosis.text = format!("--=_{}.5", QueueId(77)).into();
    }
    let read = scene.read();
    assert_eq!(read.returned.1, scene.original);
    assert!(read.text.contains(&format!("=_{}.6", QueueId(77))));
}

#[test]
fn many_recipients_fail_and_each_is_listed() {
    let scene = Scene::new(ReportKind::Failure);
    let mut envelope = scene.envelope.clone();
    let recipient = |number| Recipient {
        mailbox: mailbox(format!("b{number}@d.test").as_bytes()),
        notify: None,
        orcpt: None,
        expanded: false,
    };
    envelope.recipients = (0..1000).map(recipient).collect();
    let reported = |index| Reported {
        index,
        status: scene.status,
        diagnosis: scene.diagnosis.as_ref(),
        expired: false,
        success: None,
        will_retry_until: None,
    };
    let recipients: Vec<Reported<'_>> = (0..1000).map(reported).collect();
    let composed = compose(&Notice {
        kind: ReportKind::Failure,
        hostname: "relay.test",
        report_id: QueueId(77),
        original_id: QueueId(76),
        arrival: Wall(0),
        now: Wall(-1),
        envelope: &envelope,
        recipients: &recipients,
        original: ORIGINAL,
        original_is_whole: true,
    });
    let finals = Read::new(composed.expect("a report")).fields("Final-Recipient");
    assert_eq!(finals.len(), 1000);
    assert_eq!(finals[999], "rfc822; b999@d.test");
}

/// Words of a remote server that means ill, or nothing at all.
fn weird() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[\\x00-\\x1f\\x7f-\\u{9f}]{0,20}",
        "[ \t\r\n.]{0,20}",
        "[a-z\u{e4}\u{1f980}]{0,3000}",
        Just("\r\n\r\n--=_000000000002D.0\r\nSubject: x\r\n.\r\n".to_owned()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn words_of_any_kind_leave_the_report_whole(
        (text, reply, remote) in (weird(), proptest::option::of(weird()), weird()),
        original in proptest::collection::vec(any::<u8>(), 0..300),
        international in any::<bool>(),
        kind in prop_oneof![Just(ReportKind::Failure), Just(ReportKind::Delay), Just(ReportKind::Success)],
    ) {
        let mut scene = Scene::new(kind);
        if international {
            scene.recipient("\u{e4}@d.test", None);
        }
        let text = format!("{text}{}{text}", reply.as_deref().unwrap_or_default());
        scene.diagnosis = Some(Diagnosis {
            status: scene.status,
            text: text.into(),
            reply: reply.map(Into::into),
            remote_mta: Some(remote.into()),
        });
        scene.original = original;
        let read = scene.read();
        let status = &read.status.1;
        let blocks = status.trim_end_matches("\r\n").split("\r\n\r\n").count();
        prop_assert_eq!(blocks, 2, "{}", &read.text);
        prop_assert_eq!(read.field("Status").len(), 5);
        prop_assert_eq!(read.fields("Subject").len(), 0);
        for line in status.split("\r\n").filter(|line| !line.is_empty()) {
            let folded = line.starts_with(' ') && !line.trim().is_empty();
            prop_assert!(folded || line.contains(':'), "{}", line);
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        }
        prop_assert!(international || status.is_ascii());
    }
}
