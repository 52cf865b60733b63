use imap_codec::imap_types::command::CommandBody;

use super::*;
use crate::imap::frame::Frame;
use crate::imap::mime::Part;
use crate::imap::read::{self, Body};

const RAW: &[u8] = b"From: =?utf-8?q?Ann=C3=A9?= <ann@a.test>\r\nTo: b@b.test\r\nCc: c@c.test\r\nBcc: d@d.test\r\nSubject: =?utf-8?q?tw=C3=B6?= things\r\nDate: Tue, 2 Jan 2024 23:30:00 -0100\r\nX-Spam: No\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=F6=DFe und mehr\r\n--b\r\nContent-Type: image/png; name=secret.png\r\n\r\nhidden\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n--b--\r\n";

fn facts() -> Facts {
    Facts {
        number: 2,
        uid: 20,
        modseq: 7,
        size: 1000,
        saved: 19_724 * DAY_SECONDS + 5,
        flags: Flags {
            seen: true,
            ..Flags::default()
        },
        keywords: 0b10,
        recent: true,
    }
}

fn keys(text: &str) -> Vec<SearchKey<'static>> {
    let frame = Frame {
        text: format!("a SEARCH {text}\r\n").into_bytes(),
        literals: Vec::new(),
    };
    let request = read::request(&frame).expect(text);
    let Body::Search(command, _) = request.body else {
        panic!("{text}");
    };
    let CommandBody::Search { criteria, .. } = *command else {
        panic!("{text}");
    };
    criteria.into_inner()
}

fn with_scope<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
    let view = View::new(vec![10, 20, 30], 1);
    run(&Scope {
        view: &view,
        keywords: &["$A", "$B"],
        saved: &[20],
        now: 19_724 * DAY_SECONDS + 100,
        charset: "UTF-8",
    })
}

fn found(text: &str, evidence: Evidence<'_>) -> Option<bool> {
    let key = with_scope(|scope| ready(&keys(text), scope)).expect(text);
    matches(&key, &facts(), evidence)
}

#[test]
fn what_the_index_knows_decides_alone() {
    for (text, expected) in [
        ("ALL", true),
        ("SEEN", true),
        ("UNSEEN", false),
        ("ANSWERED", false),
        ("UNANSWERED UNDELETED UNDRAFT UNFLAGGED", true),
        ("NEW", false),
        ("OLD", false),
        ("RECENT", true),
        ("KEYWORD $b", true),
        ("KEYWORD $A", false),
        ("UNKEYWORD $unheard", true),
        ("2", true),
        ("1,3", false),
        ("UID 15:25", true),
        ("UID 30:*", false),
        ("$", true),
        ("LARGER 999", true),
        ("LARGER 1000", false),
        ("SMALLER 1001", true),
        ("ON 2-Jan-2024", true),
        ("BEFORE 2-Jan-2024", false),
        ("SINCE 2-Jan-2024", true),
        ("OLDER 90", true),
        ("OLDER 96", false),
        ("YOUNGER 95", false),
        ("YOUNGER 96", true),
        ("MODSEQ 7", true),
        ("MODSEQ 8", false),
        ("OR SEEN DELETED", true),
        ("NOT (SEEN FLAGGED)", true),
        ("OR (SEEN) SUBJECT x", true),
        ("DELETED BODY x", false),
    ] {
        assert_eq!(found(text, Evidence::default()), Some(expected), "{text}");
    }
}

#[test]
fn what_needs_more_says_so_and_is_found_with_it() {
    let message = Part::read(RAW);
    let told = Told::by(&Summary::with(RAW, &message));
    let little = Evidence {
        told: Some(&told),
        seen: None,
    };
    for (text, expected) in [
        ("SUBJECT \"TW\u{d6} things\"", true),
        ("SUBJECT other", false),
        ("FROM \"ann\u{e9}\"", true),
        ("TO b.test CC c@ BCC d.test", true),
        ("TO c.test", false),
        ("SENTON 2-Jan-2024", true),
        ("SENTSINCE 3-Jan-2024", false),
        ("SENTBEFORE 3-Jan-2024", true),
    ] {
        assert_eq!(found(text, Evidence::default()), None, "{text}");
        assert_eq!(found(text, little), Some(expected), "{text}");
    }
    for (text, expected) in [
        ("HEADER X-SPAM no", true),
        ("HEADER X-SPAM \"\"", true),
        ("HEADER X-HAM \"\"", false),
        ("HEADER SUBJECT \"tw\u{f6}\"", true),
        ("BODY \"GR\u{d6}\u{df}E\"", true),
        ("BODY hidden", false),
        ("BODY secret.png", true),
        ("BODY \"reporting-mta: dns\"", true),
        ("BODY things", false),
        ("TEXT things", true),
        ("TEXT \"x-spam: no\"", true),
        ("NOT TEXT nowhere", true),
    ] {
        assert_eq!(found(text, little), None, "{text}");
        let key = with_scope(|scope| ready(&keys(text), scope)).expect(text);
        let mut scan = Scan::new(&key, RAW, &message);
        while scan.step() {}
        let seen = scan.end();
        let all = Evidence {
            told: Some(&told),
            seen: Some(&seen),
        };
        assert_eq!(found(text, all), Some(expected), "{text}");
    }
}

#[test]
fn a_number_beyond_the_last_is_no_search() {
    for text in ["4", "1:4", "NOT 9"] {
        let ready = with_scope(|scope| ready(&keys(text), scope));
        assert_eq!(ready, Err(Unready::Number), "{text}");
    }
    assert!(with_scope(|scope| ready(&keys("UID 99"), scope)).is_ok());
}

#[test]
fn what_has_too_many_words_is_no_search() {
    let words = |count| "NOT SUBJECT x OR BODY y FROM z ".repeat(count) + "ALL";
    let of = |count| with_scope(|scope| ready(&keys(&words(count)), scope));
    assert!(of(TEXTS_MAX / 3).is_ok());
    assert_eq!(of(TEXTS_MAX / 3 + 1), Err(Unready::TooMany));
    let flags = "NOT SEEN UID 1:* ".repeat(2000) + "ALL";
    assert!(with_scope(|scope| ready(&keys(&flags), scope)).is_ok());
}

#[test]
fn words_are_read_in_their_charset() {
    assert!(knows_charset("utf-8") && knows_charset("US-ASCII") && knows_charset("ISO-8859-1"));
    assert!(!knows_charset("X-BAD"));
    let words = AString::try_from(&b"\xf6"[..]).unwrap();
    assert_eq!(needle(&words, "iso-8859-1"), Ok("ö".to_owned()));
    assert_eq!(needle(&words, "utf-8"), Err(Unready::Text));
}

#[test]
fn modification_sequences_are_noticed_wherever_they_are() {
    assert!(asks_for_modseq(&keys("OR SEEN (NOT MODSEQ 3)")));
    assert!(!asks_for_modseq(&keys("OR SEEN (NOT ALL)")));
}
