use super::*;

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
fn boundaries_within_lines_count_too() {
    let mut raw = b"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n".to_vec();
    for _ in 0..100_000 {
        raw.extend_from_slice(b"x--b\n\n");
    }
    assert!(Part::read(&raw).all().count() <= PARTS_MAX + 1);
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
fn multiparts_without_their_boundary_do_not_hold_up_everybody() {
    let mut raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
    for _ in 0..5000 {
        raw.extend_from_slice(b"--b\r\nContent-Type: multipart/mixed; boundary=nowhere\r\n\r\n");
    }
    raw.resize(2_000_000, b'x');
    let began = std::time::Instant::now();
    assert!(Part::read(&raw).all().count() > 1);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn a_header_of_a_million_fields_takes_little() {
    let mut raw = b"Subject: x\r\n".to_vec();
    for _ in 0..1_000_000 {
        raw.extend_from_slice(b"a:\n");
    }
    raw.extend_from_slice(b"\nbody");
    let copy = bounded(&raw);
    let fields = copy
        .split(|octet| *octet == b'\n')
        .filter(|line| line.starts_with(b"a:"));
    assert!(fields.count() <= FIELDS_MAX);
    let message = Part::read(&raw);
    assert_eq!(message.body_of(&raw), b"body");
}

proptest::proptest! {
    #[test]
    fn whatever_it_is_its_parts_lie_within_it(raw in "(?s)(Content-Type: (multipart/mixed; boundary=b|message/rfc822|multipart/digest; boundary=c)\r\n|--b|--c|--|\r\n|x|\n| ){0,60}") {
        let raw = raw.as_bytes();
        let message = Part::read(raw);
        for part in message.all() {
            proptest::prop_assert!(part.header.end <= part.body.start);
            proptest::prop_assert!(part.body.start <= part.body.end && part.body.end <= raw.len());
            let _ = part.decoded(raw);
        }
        let mut out = Vec::new();
        crate::imap::structure::write(&mut out, raw, &message, true);
    }
}
