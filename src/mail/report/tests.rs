use proptest::prelude::*;

use super::feedback::Kind;
use super::*;
use crate::mail::dsn::{self, Notice, Reported};
use crate::mail::envelope::{Envelope, QueueId, Recipient};
use crate::mail::outcome::ReportKind;
use crate::time::Wall;
use crate::wire::dot::unstuff_into;
use crate::wire::path::{Mailbox, ReversePath};

/// A multipart/report as others write it.
fn report(kind: &str, part: &str, returned: &str) -> String {
    let text = format!(
        "From: Mail Delivery <mailer-daemon@mx.test>\nTo: <b+x@returns.test>\nSubject: Undelivered\n\
         MIME-Version: 1.0\nContent-Type: multipart/report; report-type={kind};\n boundary=\"=_b\"\n\n\
         Words for people.\n--=_b\nContent-Type: text/plain\n\nIt did not work.\n\n\
         --=_b\nContent-Type: message/{kind}\n\n{part}\n\
         --=_b\nContent-Type: message/rfc822\n\n{returned}\n--=_b--\n"
    );
    text.replace('\n', "\r\n")
}

fn read(text: &str) -> Returned {
    super::read(text.as_bytes(), true)
}

#[track_caller]
fn fates(returned: &Returned) -> &[Fate] {
    match &returned.told {
        Told::Delivery(fates) => fates,
        told => panic!("{told:?}"),
    }
}

#[track_caller]
fn feedback(returned: &Returned) -> &Feedback {
    match &returned.told {
        Told::Feedback(feedback) => feedback,
        told => panic!("{told:?}"),
    }
}

const ORIGINAL: &str = "Return-Path: <b+token@returns.test>\nReceived: from relay.test\n\tby mx.test \
     for <c@e.test>\nX-Tag: news\nTo: B <b@d.test>\nSubject: a\n\nbody to@nobody.test\n";

/// Postfix's shape, with comments and folded lines.
#[test]
fn a_report_says_who_failed_and_why() {
    let part = "Reporting-MTA: dns; mx.test\nArrival-Date: Mon, 23 Nov 2026 11:00:13 +0000\n\n\
        Final-Recipient: rfc822; c@e.test\nOriginal-Recipient: rfc822;b@d.test\n\
        Action: failed (for good)\nStatus: 5.1.1 (bad mailbox)\nRemote-MTA: dns; in.e.test\n\
        Diagnostic-Code: smtp; 550 5.1.1 <c@e.test>: Recipient address\n  rejected: User unknown\n";
    let returned = read(&report("delivery-status", part, ORIGINAL));
    let [fate] = fates(&returned) else {
        panic!("{returned:?}")
    };
    assert_eq!(
        (fate.action, fate.status),
        (Action::Failed, "5.1.1".parse().unwrap())
    );
    let reply = "550 5.1.1 <c@e.test>: Recipient address rejected: User unknown";
    assert_eq!(fate.reply.as_deref(), Some(reply));
    let diagnosis = fate.diagnosis();
    assert_eq!(
        &*diagnosis.text,
        format!("host in.e.test said later: {reply}")
    );
    assert_eq!(diagnosis.reply.as_deref(), Some(reply));
    let seen: Vec<&str> = returned.addresses().collect();
    assert_eq!(
        seen[..2],
        ["b@d.test", "c@e.test"],
        "fields of the report come first"
    );
    assert!(seen.contains(&"b+token@returns.test") && !seen.contains(&"to@nobody.test"));
    assert_eq!(returned.original_field("x-tag").as_deref(), Some("news"));
    assert!(returned.has_original);
}

#[test]
fn delays_and_successes_are_no_failures() {
    for (action, is) in [
        ("delayed", Action::Delayed),
        ("Delivered", Action::Arrived),
        ("relayed", Action::Arrived),
        ("expanded", Action::Arrived),
    ] {
        let part = format!(
            "Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; b@d.test\nAction: {action}\nStatus: 2.0.0\n"
        );
        let returned = read(&report("delivery-status", &part, ORIGINAL));
        assert_eq!(fates(&returned)[0].action, is);
    }
    let part = "Final-Recipient: rfc822; b@d.test\nAction: lost\nStatus: 5.0.0\n";
    assert_eq!(
        read(&report("delivery-status", part, ORIGINAL)).told,
        Told::Nothing
    );
}

/// Exchange's shape: no enhanced status in the field that should have it, or none at all.
#[test]
fn a_status_is_taken_from_where_there_is_one() {
    let part = "Reporting-MTA: dns;mx.test\n\nFinal-recipient: RFC822;b@d.test\nAction: failed\n\
        Diagnostic-code: smtp;550 5.2.2 mailbox full\nX-Display-Name: b\n";
    let returned = read(&report("delivery-status", part, ORIGINAL));
    assert_eq!(fates(&returned)[0].status, "5.2.2".parse().unwrap());
    let part = "Final-Recipient: rfc822;b@d.test\nAction: failed\nStatus: unknown\n\
        Diagnostic-Code: x-notes; no such user\n";
    let returned = read(&report("delivery-status", part, ORIGINAL));
    let fate = &fates(&returned)[0];
    assert_eq!(
        (fate.status, fate.words.as_deref()),
        (UNKNOWN, Some("no such user"))
    );
}

#[test]
fn letters_without_a_part_for_programs_are_read_where_nobody_sent_them() {
    let letter = |header: &str, words: &str| {
        let text =
            format!("From: MAILER-DAEMON@mx.test\n{header}Subject: failure notice\n\n{words}\n");
        text.replace('\n', "\r\n")
    };
    let words = "Hi. This is the qmail-send program at mx.test.\n\n<b@d.test>:\n\
         192.0.2.1 does not like recipient.\nRemote host said: 550 no mailbox here\n";
    let qmail = letter("", words);
    assert_eq!(
        fates(&read(&qmail))[0].reply.as_deref(),
        Some("550 no mailbox here")
    );
    assert!(read(&qmail).addresses().any(|one| one == "b@d.test"));
    assert_eq!(
        super::read(qmail.as_bytes(), false).told,
        Told::Nothing,
        "a person quotes it"
    );
    let away = letter(
        "Auto-Submitted: auto-replied (vacation)\n",
        "I am away.\n550 5.1.1 days",
    );
    assert_eq!(read(&away).told, Told::Nothing);
    assert!(read(&away).is_automatic);
    let exim = letter("X-Failed-Recipients: b@d.test\n", "a mailbox that is gone");
    let returned = super::read(exim.as_bytes(), false);
    assert_eq!(
        (fates(&returned)[0].status, fates(&returned)[0].action),
        (UNKNOWN, Action::Failed)
    );
    assert_eq!(returned.addresses().next(), Some("b@d.test"));
}

/// The shapes of large providers: version 0.1 without recipients, version 1 with all fields, one that
/// hides whom it is about.
#[test]
fn a_complaint_is_read_in_the_forms_that_providers_send() {
    let part = "Feedback-Type: abuse\nUser-Agent: Feedback/1.0 (provider (eu))\nVersion: 0.1\n\
        Original-Mail-From: <b+token@returns.test>\nReceived-Date: Mon, 23 Nov 2026 11:00:13 +0000\n\
        Reported-Domain: D.test\nAuthentication-Results: p.test from=c.test; domainkeys=pass\n";
    let returned = read(&report("feedback-report", part, ORIGINAL));
    let one = feedback(&returned);
    assert_eq!(one.kind, Kind::Abuse);
    assert_eq!(
        one.original_mail_from.as_deref(),
        Some("b+token@returns.test")
    );
    assert_eq!(returned.addresses().next(), Some("b+token@returns.test"));

    let part = "Version: 1\nFeedback-Type: (of a user)\n  Fraud\nUser-Agent: x/1\nIncidents: 3 (today)\n\
        Original-Rcpt-To: <b@d.test>\nOriginal-Rcpt-To: c@d.test\nReporting-MTA: dns; mx.p.test\n\
        Source-IP: 192.0.2.1\nX-New-Field: yes\n";
    let returned = read(&report("feedback-report", part, ORIGINAL));
    let one = feedback(&returned);
    assert_eq!(one.kind, Kind::Fraud);
    assert_eq!(one.original_rcpt_to, ["b@d.test", "c@d.test"]);

    for (word, kind, counts) in [
        ("not-spam", Kind::NotSpam, false),
        ("Opt-Out-List", Kind::OptOut, true),
        ("virus", Kind::Virus, true),
        ("auth-failure", Kind::AuthFailure, false),
        ("unheard-of", Kind::Other, false),
    ] {
        let part = format!("Feedback-Type: {word}\nUser-Agent: x\nVersion: 1\n");
        let returned = read(&report("feedback-report", &part, ORIGINAL));
        assert_eq!(feedback(&returned).kind, kind);
        assert_eq!(kind.is_complaint(), counts);
    }
    let part = "User-Agent: x\nVersion: 1\n";
    assert_eq!(
        read(&report("feedback-report", part, ORIGINAL)).told,
        Told::Nothing
    );
}

#[test]
fn an_encoded_part_and_a_returned_header_are_read_too() {
    let text = "MIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\n\
         Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n\
         RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGJAZC50ZXN0DQpBY3Rpb246IGZhaWxlZA0KU3RhdHVz\nOiA1LjEuMQ0K\n\
         --b\nContent-Type: text/rfc822-headers\n\nX-Tag: news\nTo: c@d.test\n--b--\n";
    let returned = read(&text.replace('\n', "\r\n"));
    assert_eq!(
        fates(&returned)[0].final_recipient.as_deref(),
        Some("b@d.test")
    );
    assert_eq!(returned.original_field("X-Tag").as_deref(), Some("news"));
}

#[test]
fn what_looks_like_an_address_is_one_whatever_stands_around_it() {
    let text = "<a@b.test>, (c@d.test). ORCPT=rfc822;e@f.test x=g@h.test @ a@ @b mailto:i@j.test";
    let found: Vec<&str> = addresses(text).collect();
    let wanted = [
        "a@b.test",
        "c@d.test",
        "e@f.test",
        "x=g@h.test",
        "g@h.test",
        "i@j.test",
    ];
    assert_eq!(found, wanted);
}

proptest! {
    /// What we write ourselves is read as it was meant.
    #[test]
    fn our_own_reports_are_read_back(
        local in "[a-z0-9.+=-]{1,20}[a-z]",
        reply in "5[0-5][0-9] 5\\.[0-7]\\.[0-9]{1,2} [ -~]{0,300}",
        delays in any::<bool>(),
        count in 1usize..5,
    ) {
        let recipient = |number: usize| Recipient {
            mailbox: Mailbox::parse(format!("{number}{}@d.test", local.trim_matches('.').replace("..", ".")).as_bytes(), false).unwrap(),
            notify: None,
            orcpt: None,
            expanded: false,
        };
        let envelope = Envelope {
            reverse_path: ReversePath(Some(Mailbox::parse(b"a@c.test", false).unwrap())),
            recipients: (0..count).map(recipient).collect(),
            ..Envelope::default()
        };
        let status: EnhancedStatus = reply.split(' ').nth(1).unwrap().parse().unwrap();
        let words: Vec<&str> = reply.split_whitespace().collect();
        let reply = words.join(" ");
        let diagnosis = Diagnosis {
            status,
            text: "said".into(),
            reply: Some(reply.as_str().into()),
            remote_mta: Some("mx.d.test".into()),
        };
        let reported: Vec<Reported<'_>> = (0..count).map(|index| Reported {
            index: u16::try_from(index).unwrap(),
            status,
            diagnosis: Some(&diagnosis),
            expired: false,
            success: None,
            will_retry_until: None,
        }).collect();
        let composed = dsn::compose(&Notice {
            kind: if delays { ReportKind::Delay } else { ReportKind::Failure },
            hostname: "relay.test",
            report_id: QueueId(1),
            original_id: QueueId(2),
            arrival: Wall(0),
            now: Wall(0),
            envelope: &envelope,
            recipients: &reported,
            original: b"To: x@y.test\r\n\r\nhello\r\n",
            original_is_whole: true,
        }).unwrap();
        let mut octets = Vec::new();
        unstuff_into(&mut octets, &composed.body);
        let returned = super::read(&octets, true);
        let fates = fates(&returned);
        prop_assert_eq!(fates.len(), count);
        for (fate, recipient) in fates.iter().zip(&envelope.recipients) {
            prop_assert_eq!(fate.final_recipient.as_deref(), Some(recipient.mailbox.as_str()));
            prop_assert_eq!(fate.action, if delays { Action::Delayed } else { Action::Failed });
            let told = (fate.status.subject(), fate.status.detail());
            prop_assert_eq!(told, (status.subject(), status.detail()));
            prop_assert_eq!(fate.reply.as_deref(), Some(&*reply));
            prop_assert!(returned.addresses().any(|one| one == recipient.mailbox.as_str()));
        }
    }

    #[test]
    fn nothing_is_too_strange_to_be_read(octets in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..2000) {
        let _ = super::read(&octets, true);
        let text = report("delivery-status", "Action: failed\nFinal-Recipient: x;y\n", ORIGINAL);
        let mut mixed = text.as_bytes()[..cut.min(text.len())].to_vec();
        mixed.extend(octets);
        let returned = super::read(&mixed, true);
        prop_assert!(returned.addresses().count() <= ADDRESSES_MAX);
    }
}
