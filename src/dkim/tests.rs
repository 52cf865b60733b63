use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// RFC 8463 §A.2, as PKCS#8.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
/// RFC 8463 §A.2, its record.
const ED25519_PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn ed25519() -> Key {
    Key::parse(ED25519).expect("the key of the RFC")
}

fn rsa() -> Key {
    let pem = Key::generate(Kind::Rsa { bits: 2048 }).expect("a key");
    Key::parse(&pem).expect("the key just made")
}

fn signers() -> Signers {
    let mut signers = Signers::default();
    signers.add("example.com", "ed", ed25519());
    signers
}

fn signed(signers: &Signers, message: &str) -> String {
    let fields = signers.sign(message.as_bytes()).expect("signed");
    String::from_utf8(fields).expect("ASCII")
}

/// The tag of a signature field, unfolded.
fn tag(fields: &str, name: &str) -> String {
    let bare: String = fields.split_whitespace().collect();
    let from = bare.find(&format!(";{name}=")).expect("the tag") + name.len() + 2;
    bare[from..]
        .split(';')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_key_of_the_rfc_has_the_record_of_the_rfc() {
    assert_eq!(ed25519().kind(), Kind::Ed25519);
    assert_eq!(
        ed25519().record(),
        format!("v=DKIM1; k=ed25519; p={ED25519_PUBLIC}")
    );
}

#[test]
fn what_was_signed_holds_and_what_was_changed_does_not() {
    let mut signers = signers();
    signers.add("example.com", "rsa", rsa());
    for message in [
        "From: Joe <joe@example.com>\r\nSubject: x\r\n\r\nHi.\r\n\r\nWe lost.\r\n",
        // No body; an empty one; one of empty lines.
        "From: joe@example.com\r\n",
        "From: joe@example.com\r\n\r\n",
        "From: joe@example.com\r\n\r\n\r\n\r\n",
        // White space at ends of lines, a lone form feed, no line end at the end.
        "From: joe@example.com\r\n\r\nx \t\r\n\x0c\r\n  y",
        // A header field that is folded beyond every line limit.
        &format!(
            "From: joe@example.com\r\nSubject: {}\r\n\r\nx\r\n",
            "word\r\n ".repeat(300) + "end"
        ),
        // The same field twice.
        "Subject: a\r\nFrom: joe@example.com\r\nSubject: b\r\n\r\nx\r\n",
        // Somebody has signed before: one that nobody can read, one of a domain that we do not know.
        "From: joe@example.com\r\nDKIM-Signature: v=1; a=e1; d=c.test; s=s; h=from; bh=x; b=x\r\n\r\nx\r\n",
        "DKIM-Signature: v=1; a=rsa-sha256; d=c.test; s=s; h=from; bh=eA==; b=eA==\r\nFrom: joe@example.com\r\n\r\nx\r\n",
        // In UTF-8.
        "From: J\u{f6} <j\u{f6}@example.com>\r\nSubject: \u{fc}\r\n\r\n\u{e4}\r\n",
    ] {
        let fields = signed(&signers, message);
        assert_eq!(fields.matches("DKIM-Signature:").count(), 2, "{message:?}");
        assert!(
            signers.proves(fields.as_bytes(), message.as_bytes()),
            "{message:?}\n{fields}"
        );
        let changed = message.replacen("From: ", "From: Eve ", 1);
        assert!(
            !signers.proves(fields.as_bytes(), changed.as_bytes()),
            "{message:?}"
        );
        let more = format!("Subject: evil\r\n{message}");
        assert!(
            !signers.proves(fields.as_bytes(), more.as_bytes()),
            "{message:?}"
        );
        let gap = if message.contains("\r\n\r\n") {
            ""
        } else {
            "\r\n"
        };
        let longer = format!("{message}{gap}more\r\n");
        assert!(
            !signers.proves(fields.as_bytes(), longer.as_bytes()),
            "{message:?}"
        );
    }
}

#[test]
fn lines_of_the_field_are_short_and_have_nothing_at_their_ends() {
    let mut signers = Signers::default();
    signers.add("example.com", "rsa", rsa());
    let fields = signed(&signers, "From: joe@example.com\r\nSubject: x\r\n\r\nx\r\n");
    assert!(fields.ends_with("\r\n") && !fields.contains("\r\n\r\n"));
    for line in fields.lines() {
        assert!(line.len() <= 78 && line.trim_end() == line, "{line:?}");
    }
    assert!(!fields.contains("; l="), "a length lets others add text");
    assert_eq!(tag(&fields, "a"), "rsa-sha256");
    assert_eq!(tag(&fields, "c"), "relaxed/relaxed");
    assert!(!tag(&fields, "t").is_empty());
}

#[test]
fn fields_that_must_not_be_added_are_named_once_more() {
    let message = "From: joe@example.com\r\nSubject: a\r\nSubject: b\r\nX-Other: x\r\n\r\nx\r\n";
    let named = tag(&signed(&signers(), message), "h").to_ascii_lowercase();
    let count = |name: &str| named.split(':').filter(|one| *one == name).count();
    assert_eq!(count("from"), 2);
    assert_eq!(count("subject"), 3);
    assert_eq!(count("x-other"), 0);
    for absent in ["reply-to", "list-unsubscribe", "list-unsubscribe-post"] {
        assert!(count(absent) >= 1, "{absent}");
    }
}

#[test]
fn the_nearest_domain_at_or_above_the_authors_signs() {
    let mut signers = signers();
    signers.add("news.example.com", "n", ed25519());
    for (from, domain) in [
        ("joe@example.com", Some("example.com")),
        ("joe@EXAMPLE.com", Some("example.com")),
        ("joe@mail.example.com", Some("example.com")),
        ("joe@news.example.com", Some("news.example.com")),
        ("joe@a.news.example.com", Some("news.example.com")),
        ("joe@badexample.com", None),
        ("joe@com", None),
        ("joe", None),
        ("", None),
    ] {
        let message = format!("From: {from}\r\n\r\nx\r\n");
        let fields = signed(&signers, &message);
        match domain {
            Some(domain) => assert_eq!(tag(&fields, "d"), domain, "{from}"),
            None => assert_eq!(fields, "", "{from}"),
        }
    }
}

#[test]
fn a_message_of_two_authors_is_signed_for_the_first_and_one_with_two_from_fields_is_not() {
    let two = "From: a@example.com, b@other.test\r\n\r\nx\r\n";
    assert_eq!(tag(&signed(&signers(), two), "d"), "example.com");
    let other = "From: b@other.test, a@example.com\r\n\r\nx\r\n";
    assert_eq!(signed(&signers(), other), "");
    let twice = "From: a@example.com\r\nFrom: b@other.test\r\n\r\nx\r\n";
    assert_eq!(signed(&signers(), twice), "");
    assert_eq!(signed(&signers(), "\r\nFrom: a@example.com\r\n"), "");
}

#[test]
fn a_message_that_begins_with_a_blank_is_not_signed() {
    for blank in [" ", "\t", " \r\n"] {
        for rest in [
            "From: joe@example.com\r\n",
            "x\r\nFrom: joe@example.com\r\n",
        ] {
            let message = format!("{blank}{rest}\r\nx\r\n");
            assert_eq!(signed(&signers(), &message), "", "{message:?}");
            assert_eq!(signers().signer_of(message.as_bytes()), None);
        }
        // Behind our trace field the line is a part of that: there is no author either, unless
        // another line names one.
        let trace = "Received: by relay.test; now\r\n";
        let message = format!("{trace}{blank}From: joe@example.com\r\n\r\nx\r\n");
        if blank != " \r\n" {
            assert_eq!(signed(&signers(), &message), "", "{message:?}");
        }
        let message = format!("{trace}{blank}x\r\nFrom: joe@example.com\r\n\r\nx\r\n");
        let fields = signed(&signers(), &message);
        assert_eq!(tag(&fields, "d"), "example.com");
        assert!(signers().proves(fields.as_bytes(), message.as_bytes()));
    }
}

#[test]
fn keys_that_are_weak_or_unknown_are_refused() {
    assert!(Key::parse("").is_err());
    assert!(Key::parse("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
    assert!(Key::generate(Kind::Rsa { bits: 1000 }).is_err());
    let curve = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let refused = Key::parse(&curve).map(|key| key.kind());
    assert!(
        refused
            .expect_err("P-256 is no DKIM key")
            .contains("neither")
    );
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key.pem");
    fs::write(&path, ED25519).expect("written");
    for (mode, is_good) in [(0o600, true), (0o640, true), (0o644, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(Key::read(&path).is_ok(), is_good, "{mode:o}");
    }
    let missing = Key::read(&directory.path().join("none")).map(|key| key.kind());
    assert!(missing.expect_err("there is none").contains("none: "));
}

#[test]
fn blanks_and_empty_lines_at_the_end_are_not_signed() {
    let hash = |body: &str| {
        let message = format!("From: joe@example.com\r\n\r\n{body}");
        let fields = signed(&signers(), &message);
        assert!(signers().proves(fields.as_bytes(), message.as_bytes()));
        tag(&fields, "bh")
    };
    // RFC 6376 §3.4.4: the hash of nothing.
    let nothing = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    for body in ["", "\r\n", "\r\n\r\n", " \r\n\t\r\n", "  "] {
        assert_eq!(hash(body), nothing, "{body:?}");
    }
    let text = hash("x y\r\n");
    for body in [
        "x y",
        "x \t y \r\n\r\n",
        "x y\r\n\t\r\n  \r\n",
        "x y \r\n \r\n",
    ] {
        assert_eq!(hash(body), text, "{body:?}");
    }
    for body in [" x y", "xy", "x y\r\n\x0c\r\n", "x\r\ny"] {
        assert_ne!(hash(body), text, "{body:?}");
    }
}

#[test]
fn no_field_that_is_oversigned_can_be_added_or_removed() {
    let signers = signers();
    let value = |name: &&str| match *name {
        "From" => "From: joe@example.com\r\n".to_owned(),
        name => format!("{name}: x\r\n"),
    };
    let header: String = OVERSIGNED.iter().map(value).collect();
    let message = format!("{header}\r\nx\r\n");
    let fields = signed(&signers, &message);
    assert!(signers.proves(fields.as_bytes(), message.as_bytes()));
    for name in OVERSIGNED {
        let more = format!("{}: evil\r\n{message}", name.to_ascii_lowercase());
        assert!(
            !signers.proves(fields.as_bytes(), more.as_bytes()),
            "{name}"
        );
        let less = message.replacen(&value(name), "", 1);
        assert!(
            !signers.proves(fields.as_bytes(), less.as_bytes()),
            "{name}"
        );
        // Where there was none, none can be added either.
        if *name != "From" {
            let fields = signed(&signers, &less);
            assert!(
                !signers.proves(fields.as_bytes(), message.as_bytes()),
                "{name}"
            );
        }
    }
}

#[test]
fn keys_overlap_while_they_are_changed() {
    let message = "From: joe@example.com\r\n\r\nx\r\n";
    let (old, new) = (signers(), {
        let mut both = signers();
        both.add("example.com", "next", rsa());
        both
    });
    let (before, during) = (signed(&old, message), signed(&new, message));
    assert_eq!(during.matches("DKIM-Signature:").count(), 2);
    // The records of both are in the DNS: mail of before and of now holds.
    assert!(new.proves(before.as_bytes(), message.as_bytes()));
    assert!(new.proves(during.as_bytes(), message.as_bytes()));
    // To a receiver whose DNS does not have the new one yet, not all of it does.
    assert!(!old.proves(during.as_bytes(), message.as_bytes()));
}

#[test]
fn a_key_of_512_bits_is_refused() {
    let refused = Key::parse(RSA_512).map(|key| key.kind());
    assert!(
        refused.is_err(),
        "verifiers must not accept it (RFC 8301 §3.2)"
    );
}

/// An RSA key of 512 bits.
const RSA_512: &str = "-----BEGIN PRIVATE KEY-----
MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEAyLLks/+niplHMFn7
Woc6j5gszofufG9J3EoYDTBUjgw8yo6k/QLd502qzMxNPFTt4y6jHEY6C8s756Hs
/fbQwwIDAQABAkB2KWUfWMCSiGXyYLfs97sRud1/h2Zw2rDYwsLgWPkfW6eZfJwM
SxAX774nImtOJj9qoQCSX532QU8NJVAyNIqpAiEA8lxi8pPCiKaPFDUvjB2lmJom
LkJHzA0XEX7b1n4xXy0CIQDT/kuBu6Pq1sNI949BqCVH+GKsfoo1FVOJK3Jh2JJl
rwIgRgT2+UpDK6OjNp1fDUYLb5kparfvcj5d6coSzVdMAEkCIArXvtTr2/5u7Z4V
y2X4S6/arHFWJ4t/g75IUplekl5RAiEA3K+qc+vY0FNKgwx40gaM+5N7fa4cfM2z
IW+D44xCXjE=
-----END PRIVATE KEY-----
";
