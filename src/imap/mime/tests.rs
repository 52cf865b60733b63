use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder as _;
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof};

use super::*;
use crate::imap::summary::Summary;

fn body<'a>(raw: &'a str, path: &[u32]) -> Option<&'a str> {
    let message = Part::read(raw.as_bytes());
    let part = message.locate(path)?;
    str::from_utf8(part.body_of(raw.as_bytes())).ok()
}

const NESTED: &str = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: two\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\ntwo one\r\n--b\r\nContent-Type: text/html\r\n\r\ntwo two\r\n--b--\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: three\r\n\r\nthree one\r\n--a--\r\n";

#[test]
fn parts_have_numbers_through_messages_within() {
    assert_eq!(body(NESTED, &[1]), Some("one"));
    assert_eq!(body(NESTED, &[2, 1]), Some("two one"));
    assert_eq!(body(NESTED, &[2, 2]), Some("two two"));
    assert_eq!(body(NESTED, &[3, 1]), Some("three one"));
    assert_eq!(body(NESTED, &[3]), Some("Subject: three\r\n\r\nthree one"));
    for path in [&[4][..], &[1, 1], &[0], &[3, 2], &[2, 1, 1], &[]] {
        assert_eq!(body(NESTED, path), None, "{path:?}");
    }
    assert_eq!(body("Subject: x\r\n\r\nall\r\n", &[1]), Some("all\r\n"));
    assert_eq!(Part::read(NESTED.as_bytes()).all().count(), 8);
}

#[test]
fn encodings_are_undone_and_unknown_ones_are_said_to_be() {
    let decoded = |encoding: &str, body: &str| {
        let raw = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n{body}");
        Part::read(raw.as_bytes()).decoded(raw.as_bytes())
    };
    assert_eq!(decoded("base64", "QUJD\r\nREVG\r\n").unwrap(), b"ABCDEF");
    assert_eq!(
        decoded("Quoted-Printable", "a=3D=\r\nb=C3=B6\r\n").unwrap(),
        "a=bö\r\n".as_bytes()
    );
    assert_eq!(decoded("8bit", "a\r\n").unwrap(), b"a\r\n");
    assert_eq!(decoded("x-uuencode", "a"), None);
}

#[test]
fn text_is_utf8_whatever_its_charset() {
    let raw = b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\xf6";
    assert_eq!(Part::read(raw).text(raw).unwrap(), "ö");
    let raw = b"Content-Type: image/png\r\n\r\n\xf6";
    assert_eq!(Part::read(raw).text(raw), None);
}

#[test]
fn a_hundred_thousand_parts_are_ten_thousand() {
    let mut raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
    for _ in 0..100_000 {
        raw.extend_from_slice(b"--b\r\n\r\nx\r\n");
    }
    let message = Part::read(&raw);
    let count = message.all().count();
    assert!((PARTS_MAX - 10..=PARTS_MAX + 1).contains(&count), "{count}");
}

#[test]
fn boundaries_within_lines_are_none() {
    let mut raw = b"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n".to_vec();
    for _ in 0..100_000 {
        raw.extend_from_slice(b"x--b\n\n");
    }
    assert_eq!(Part::read(&raw).all().count(), 1);
}

#[test]
fn messages_within_messages_end_somewhere() {
    let mut raw = Vec::new();
    for _ in 0..2_000 {
        raw.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
    }
    let message = Part::read(&raw);
    assert!(message.all().count() <= DEPTH_MAX + 2);
    let mut digests = Vec::new();
    for level in 0..2_000 {
        digests.extend_from_slice(
            format!(
                "Content-Type: multipart/digest; boundary=b{level}x\r\n\r\n--b{level}x\r\n\r\n"
            )
            .as_bytes(),
        );
    }
    assert!(Part::read(&digests).all().count() <= DEPTH_MAX + 2);
    let mut mixed = Vec::new();
    for level in 0..2_000 {
        mixed.extend_from_slice(
            format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n")
                .as_bytes(),
        );
    }
    assert!(Part::read(&mixed).all().count() <= DEPTH_MAX + 2);
}

#[test]
fn a_header_of_a_hundred_thousand_fields_is_not_all_read() {
    let mut raw = b"Subject: x\r\n".to_vec();
    for _ in 0..100_000 {
        raw.extend_from_slice(b"To: a@b\n");
    }
    raw.extend_from_slice(b"\nbody");
    let message = Part::read(&raw);
    assert_eq!(message.body_of(&raw), b"body");
    let envelope = String::from_utf8(message.described.envelope).unwrap();
    let people = envelope.matches("\"b\"").count();
    assert!((1000..=HEAD_LINES_MAX).contains(&people), "{people}");
}

#[test]
fn thousands_of_recipients_are_all_there() {
    let people = "some body <somebody@a.test>,\r\n ".repeat(8000);
    let raw = format!("To: {people}\r\n\r\n");
    let message = Part::read(raw.as_bytes());
    let envelope = String::from_utf8(message.described.envelope).unwrap();
    assert_eq!(envelope.matches("\"a.test\"").count(), 8000);
}

fn multipart(boundary: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n")
}

/// As Dovecot cuts them.
#[test]
fn parts_end_at_the_right_lines() {
    let (a, ab) = (multipart("a"), multipart("ab"));
    for (raw, bodies) in [
        // A boundary that another begins with, outside and inside.
        (
            format!(
                "{a}--a\r\n{ab}--ab\r\n\r\none\r\n--ab\r\n\r\ntwo\r\n--ab--\r\n--a\r\n\r\nthree\r\n--a--\r\n"
            ),
            &["one", "two", "three"][..],
        ),
        (
            format!(
                "{ab}--ab\r\n{a}--a\r\n\r\none\r\n--a\r\n\r\ntwo\r\n--a--\r\n--ab\r\n\r\nthree\r\n--ab--\r\n"
            ),
            &["one", "two", "three"],
        ),
        // Blanks behind it, and other things.
        (
            format!("{a}--a \t\r\n\r\none\r\n--a \r\n\r\ntwo\r\n--a-- \r\nepilogue"),
            &["one", "two"],
        ),
        (
            format!("{a}--a junk\r\n\r\none\r\n--ax\r\n\r\ntwo\r\n--a--zz\r\nepilogue"),
            &["one", "two"],
        ),
        // Within lines it is none.
        (
            format!("{a}x--a\r\n --a\r\n--a\r\n\r\none--a\r\n\r\n--a--\r\n"),
            &["one--a\r\n"],
        ),
        // Ends that are missing, and what stands behind one.
        (
            format!("{a}--a\r\n{ab}--ab\r\n\r\none\r\n--a\r\n\r\ntwo"),
            &["one", "two"],
        ),
        (
            format!("{a}--a\r\n\r\none\r\n--a--\r\n--a\r\n\r\nnone\r\n"),
            &["one"],
        ),
        // Headers that a delimiter ends.
        (
            format!("{a}--a\r\nX: y\r\n--a\r\n\r\n--a\r\n\r\n\r\n--a"),
            &["", "", "", ""],
        ),
    ] {
        let message = Part::read(raw.as_bytes());
        let leaves = message.all().filter(|part| matches!(part.kind, Kind::Leaf));
        let found: Vec<_> = leaves
            .map(|part| str::from_utf8(part.body_of(raw.as_bytes())).unwrap())
            .collect();
        assert_eq!(found, bodies, "{raw}");
    }
}

#[test]
fn an_encoded_message_is_one_and_can_be_decoded() {
    let raw = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQo=\r\n";
    let message = Part::read(raw);
    assert!(matches!(message.kind, Kind::Message(_)));
    assert_eq!(message.typed.subkind, "rfc822");
    assert_eq!(message.decoded(raw).unwrap(), b"Subject: x\r\n\r\n");
}

#[test]
fn a_boundary_in_pieces_is_one() {
    let raw = b"Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\r\n\r\n--ab\r\n\r\none\r\n--ab--\r\n";
    assert_eq!(Part::read(raw).all().count(), 2);
}

/// A message to be built: what it should be read as.
#[derive(Clone, Debug)]
enum Built {
    Leaf(Vec<u8>),
    Message(Box<Built>),
    Multipart(Vec<Built>),
}

/// Lines that look like delimiters, and are none.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof!["[a-z]{0,5}", "-{1,3}", "x--b{1,5}", " --b{1,5}", "--[ac]b?"];
    proptest::collection::vec(line, 0..4).prop_map(|lines| lines.join("\r\n").into_bytes())
}

fn built() -> impl Strategy<Value = Built> {
    let leaf = lines().prop_map(Built::Leaf);
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            3 => proptest::collection::vec(inner.clone(), 1..4).prop_map(Built::Multipart),
            1 => inner.prop_map(|inner| Built::Message(Box::new(inner))),
        ]
    })
}

impl Built {
    /// Every boundary is another's beginning: `lengths` says how long the next one is.
    fn write(&self, out: &mut Vec<u8>, lengths: &mut std::vec::IntoIter<usize>) {
        match self {
            Self::Leaf(body) => {
                out.extend_from_slice(b"Content-Type: text/html\r\n\r\n");
                out.extend_from_slice(body);
            }
            Self::Message(inner) => {
                out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\n");
                inner.write(out, lengths);
            }
            Self::Multipart(parts) => {
                let boundary = "b".repeat(lengths.next().expect("enough"));
                out.extend_from_slice(multipart(&boundary).as_bytes());
                for part in parts {
                    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                    part.write(out, lengths);
                }
                out.extend_from_slice(format!("\r\n--{boundary}--").as_bytes());
            }
        }
    }

    fn assert_is(&self, part: &Part, raw: &[u8]) {
        match (self, &part.kind) {
            (Self::Leaf(body), Kind::Leaf) => {
                assert_eq!(part.body_of(raw), body);
                assert_eq!(part.lines, memchr::memchr_iter(b'\n', body).count());
                assert_eq!(part.typed.subkind, "html");
            }
            (Self::Message(inner), Kind::Message(found)) => inner.assert_is(found, raw),
            (Self::Multipart(parts), Kind::Multipart(found)) => {
                assert_eq!(parts.len(), found.len());
                for (part, found) in parts.iter().zip(found) {
                    part.assert_is(found, raw);
                }
            }
            (built, found) => panic!("{built:?} is read as {found:?}"),
        }
    }
}

/// Header lines, delimiters and noise.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "(Content-Type|Content-Disposition|From|To|Cc|Subject|Message-ID|Date|References|Content-Language|Content-ID|Content-MD5|Content-Transfer-Encoding): ",
        "(multipart/(mixed|digest)|message/rfc822|text/plain|text)(; ?(boundary|name|charset)=(b|\"b c\"|bb|utf-8|utf-16|iso-2022-jp))?\r\n",
        "(--|--b|--bb|--b--|\r\n|\n|\r| |\t|x|:|;|,|<|>|@|\"|\\\\|\\(|\\)|=|=\\?utf-8\\?q\\?|\\?=|base64|quoted-printable|\\x00|\u{f6})",
        "[a-c@.,<> ]{0,9}",
    ];
    proptest::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest::proptest! {
    #[test]
    fn what_was_built_is_read(
        built in built(),
        lengths in Just((1..=60).collect::<Vec<usize>>()).prop_shuffle(),
        piece in 1_usize..40,
    ) {
        let mut raw = Vec::new();
        built.write(&mut raw, &mut lengths.into_iter());
        let message = Part::read(&raw);
        built.assert_is(&message, &raw);
        let mut splitter = Splitter::default();
        raw.chunks(piece).for_each(|octets| splitter.push(octets));
        prop_assert_eq!(splitter.end(), message);
    }

    #[test]
    fn whatever_it_is_its_parts_lie_within_it(raw in soup(), piece in 1_usize..40) {
        let message = Part::read(&raw);
        prop_assert_eq!((message.header.start, message.body.end), (0, raw.len()));
        for part in message.all() {
            prop_assert_eq!(part.header.end, part.body.start);
            prop_assert!(part.body.start <= part.body.end && part.body.end <= raw.len());
            let inside = match &part.kind {
                Kind::Leaf => &[],
                Kind::Multipart(parts) => &parts[..],
                Kind::Message(inner) => std::slice::from_ref(&**inner),
            };
            for inside in inside {
                prop_assert!(part.body.start <= inside.header.start);
                prop_assert!(inside.body.end <= part.body.end);
            }
            let _ = (part.decoded(&raw), part.text(&raw));
        }
        let mut splitter = Splitter::default();
        raw.chunks(piece).for_each(|octets| splitter.push(octets));
        prop_assert_eq!(splitter.end(), message);
    }

    #[test]
    fn what_clients_are_told_of_it_is_in_the_grammar(raw in soup()) {
        let summary = Summary::of(&raw);
        let items = [
            ("ENVELOPE", &summary.envelope),
            ("BODY", &summary.body),
            ("BODYSTRUCTURE", &summary.structure),
        ];
        for (name, octets) in items {
            let line = [format!("* 1 FETCH ({name} ").as_bytes(), octets, b")\r\n"].concat();
            let read = ResponseCodec::default().decode(&line);
            prop_assert!(
                matches!(read, Ok((b"", _))),
                "{}: {read:?}",
                String::from_utf8_lossy(&line)
            );
        }
    }
}
