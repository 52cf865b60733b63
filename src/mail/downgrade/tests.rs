use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;

fn seven_bit(message: impl AsRef<[u8]>) -> Vec<u8> {
    let result = to_seven_bit(message.as_ref()).unwrap();
    assert!(result.is_ascii());
    assert!(
        result
            .split(|&octet| octet == b'\n')
            .all(|line| line.len() < LINE_OCTETS_MAX)
    );
    assert_eq!(
        to_seven_bit(&result).unwrap(),
        result,
        "nothing is left to do"
    );
    result
}

fn text(message: impl AsRef<[u8]>) -> String {
    String::from_utf8(seven_bit(message)).unwrap()
}

fn refused(message: impl AsRef<[u8]>) -> CannotDowngrade {
    to_seven_bit(message.as_ref()).unwrap_err()
}

/// What a reader sees of each leaf.
fn contents(message: &[u8]) -> Vec<Vec<u8>> {
    fn collect(message: &Message<'_>, seen: &mut Vec<Vec<u8>>) {
        for part in &message.parts {
            match &part.body {
                PartType::Message(inner) => collect(inner, seen),
                PartType::Multipart(_) => {}
                _ => seen.push(part.contents().to_vec()),
            }
        }
    }
    let mut seen = Vec::new();
    collect(&MessageParser::default().parse(message).unwrap(), &mut seen);
    seen
}

#[test]
fn seven_bit_message_is_not_touched() {
    let message = b"Subject: a\r\nContent-Transfer-Encoding: 8bit\r\n\r\nb\r\n";
    assert_eq!(seven_bit(message), message);
}

#[test]
fn plain_text_becomes_quoted_printable_and_its_other_fields_stay() {
    let message = "From: a@c.test\r\nsubject:  folded\r\n\tand odd\r\nMIME-Version: 1.0\r\n\
                   Content-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße = \r\n.dot\r\n";
    assert_eq!(
        text(message),
        "From: a@c.test\r\nsubject:  folded\r\n\tand odd\r\nMIME-Version: 1.0\r\n\
         Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         Gr=C3=BC=C3=9Fe =3D=20\r\n.dot\r\n"
    );
}

#[test]
fn message_without_mime_fields_gets_them() {
    assert_eq!(
        seven_bit(b"Subject: a\r\n\r\nGr\xfc\xdfe\r\n"),
        b"Subject: a\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
          Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n"
    );
    assert!(text("\r\nGrüße\r\n").starts_with("MIME-Version: 1.0\r\nContent-Type: "));
}

#[test]
fn long_lines_are_encoded_though_they_are_ascii() {
    let body = format!("{}\r\n", "x".repeat(1_500));
    let message = format!("Subject: a\r\n\r\n{body}");
    let result = text(&message);
    assert!(result.contains("charset=us-ascii\r\n"));
    assert_eq!(contents(result.as_bytes()), [body.into_bytes()]);
}

#[test]
fn multipart_is_encoded_leaf_by_leaf_and_the_rest_stays() {
    let message = b"Content-Type: multipart/mixed; boundary=\"=b\"\r\nMIME-Version: 1.0\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--=b\r\n\r\nwithout fields \xe9\r\n\
        --=b\r\nContent-Type: text/html; charset=latin1\r\n\r\nplain\r\n\r\n\
        --=b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\r\n\
        --=b--\r\nepilogue\r\n";
    let result = seven_bit(message);
    assert_eq!(
        String::from_utf8_lossy(&result),
        "Content-Type: multipart/mixed; boundary=\"=b\"\r\nMIME-Version: 1.0\r\n\
        Content-Transfer-Encoding: 7bit\r\n\r\npreamble\r\n--=b\r\n\
        Content-Type: text/plain; charset=unknown-8bit\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nwithout fields =E9\r\n\
        --=b\r\nContent-Type: text/html; charset=latin1\r\n\r\nplain\r\n\r\n\
        --=b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n\r\n\
        --=b--\r\nepilogue\r\n"
    );
}

#[test]
fn message_inside_a_message_is_encoded_there() {
    let message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        Subject: Grüße\r\n\r\ninnen ä\r\n--b\r\nContent-Type: text/plain\r\n\r\nlast\r\n--b--\r\n";
    let result = text(message);
    assert!(result.contains("message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\nMIME-Version: 1.0\r\n"), "{result}");
    assert_eq!(contents(result.as_bytes()), ["innen ä".as_bytes(), b"last"]);
}

#[test]
fn signed_and_encrypted_parts_are_not_touched() {
    for kind in ["multipart/signed", "Multipart/Encrypted"] {
        let message = |inner: &str| {
            format!(
                "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nä\r\n--a\r\n\
                 Content-Type: {kind}; boundary=b\r\n\r\n--b\r\n\
                 Content-Transfer-Encoding: 8bit\r\n\r\n{inner}\r\n--b--\r\n--a--\r\n"
            )
        };
        assert_eq!(refused(message("ü")), CannotDowngrade::Signed);
        let ascii = message("ue");
        let seal = &ascii[ascii.find("Content-Type: ").unwrap() + 40..];
        let seal = &seal[seal.find(kind).unwrap()..];
        assert!(text(&ascii).ends_with(seal), "{}", text(&ascii));
    }
    let message = "Content-Type: application/pkcs7-mime\r\n\r\n\u{fc}\r\n";
    assert_eq!(refused(message), CannotDowngrade::Signed);
}

#[test]
fn eight_bits_stand_where_nothing_can_be_encoded() {
    for message in [
        "Content-Type: multipart/mixed; boundary=b\r\n\r\npreämble\r\n--b\r\n\r\nx\r\n--b--\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\nepilögue\r\n",
        "Content-Type: multipart/mixed\r\n\r\nno böundary\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\nä\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n\r\nä\r\n",
        "Content-Transfer-Encoding: x-uuencode\r\n\r\nä\r\n",
        "Content-Type: message/delivery-status\r\n\r\nä\r\n",
        "no header at all, ä\r\n",
    ] {
        assert_eq!(refused(message), CannotDowngrade::Structure, "{message}");
    }
}

#[test]
fn free_text_fields_become_encoded_words() {
    for (subject, expected) in [
        ("Grüße", "=?utf-8?B?R3LDvMOfZQ==?="),
        (
            "Re: Grüße aus Köln (2)",
            "Re: =?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?= (2)",
        ),
    ] {
        let message = format!("Subject:{subject}\r\nX-Y: y\r\n\r\nbody\r\n");
        assert_eq!(
            text(&message),
            format!("Subject: {expected}\r\nX-Y: y\r\n\r\nbody\r\n")
        );
    }
    let long = format!("{}\r\n {}", "Grüße ".repeat(20).trim(), "x-ß".repeat(40));
    let result = text(format!("Subject: {long}\r\n\r\nbody\r\n"));
    let parsed = MessageParser::default().parse(&result).unwrap();
    assert_eq!(parsed.subject().unwrap(), long.replace("\r\n", ""));
    assert!(result.lines().all(|line| line.len() <= 90), "{result}");
}

#[test]
fn display_names_become_encoded_words_and_addresses_stay() {
    let message = "From: Jürgen A. <j@c.test>\r\n\
        To: x@d.test, \"Müller, \\\"Ä\\\"\" <m@d.test>,\r\n Plain Name <p@d.test>\r\n\
        Reply-To: \"12\\\", Ö\" <o@d.test>\r\nCc: Fründe: a@d.test, \"B\" <b@d.test>;\r\n\r\nbody\r\n";
    let result = text(message);
    let parsed = MessageParser::default().parse(&result).unwrap();
    let names = |address: Option<&mail_parser::Address<'_>>| -> Vec<(Option<String>, String)> {
        address
            .unwrap()
            .iter()
            .map(|one| {
                (
                    one.name().map(str::to_owned),
                    one.address().unwrap_or_default().to_owned(),
                )
            })
            .collect()
    };
    let own = |name: &str, address: &str| (Some(name.to_owned()), address.to_owned());
    assert_eq!(names(parsed.from()), [own("Jürgen A.", "j@c.test")]);
    assert_eq!(
        names(parsed.to()),
        [
            (None, "x@d.test".to_owned()),
            own("Müller, \"Ä\"", "m@d.test"),
            own("Plain Name", "p@d.test")
        ]
    );
    assert_eq!(names(parsed.reply_to()), [own("12\", Ö", "o@d.test")]);
    let groups = parsed.cc().unwrap().as_group().unwrap();
    assert_eq!(groups[0].name.as_deref(), Some("Fründe"));
    assert!(result.contains("Plain Name <p@d.test>\r\n"));
}

#[test]
fn file_names_become_extended_parameters() {
    let message = "Content-Type: application/pdf; name=\"Übersicht 1.pdf\"; x=y\r\n\
        Content-Disposition: attachment;\r\n filename=\"Übersicht 1.pdf\"\r\n\r\nbody\r\n";
    let result = text(message);
    let parsed = MessageParser::default().parse(&result).unwrap();
    assert_eq!(parsed.parts[0].attachment_name(), Some("Übersicht 1.pdf"));
    let kind = parsed.parts[0].content_type().unwrap();
    assert_eq!(
        (kind.attribute("name"), kind.attribute("x")),
        (Some("Übersicht 1.pdf"), Some("y"))
    );
}

#[test]
fn fields_that_cannot_be_encoded_are_refused() {
    for field in [
        &b"Subject: \xff"[..],
        "To: ü@d.test".as_bytes(),
        "To: <ü@d.test>".as_bytes(),
        "To: Ü (ü) <u@d.test>".as_bytes(),
        "Message-ID: <ü@d.test>".as_bytes(),
        "Received: from ü".as_bytes(),
        "To: Ü <u@d.test".as_bytes(),
    ] {
        let message = [field, b"\r\n\r\nbody\r\n"].concat();
        assert_eq!(refused(message), CannotDowngrade::Header, "{field:?}");
    }
}

#[test]
fn messages_inside_each_other_without_end_are_refused() {
    let nested = "Content-Type: message/rfc822\r\n\r\n";
    let message = |depth| format!("{}Subject: x\r\n\r\nä\r\n", nested.repeat(depth));
    assert_eq!(
        refused(message(CONTENT_TYPES_MAX + 1)),
        CannotDowngrade::Structure
    );
    assert_eq!(
        contents(&seven_bit(message(CONTENT_TYPES_MAX))),
        ["ä\r\n".as_bytes()]
    );
}

fn leaf() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![
        "",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n",
        "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n",
    ]);
    let line = prop_oneof!["[ -~]{0,40}", "[ a-zäöü€]{0,30}", "x{990,1100}"];
    (kinds, prop::collection::vec(line, 1..6))
        .prop_map(|(fields, lines)| format!("{fields}\r\n{}", lines.join("\r\n")).into_bytes())
}

proptest! {
    #[test]
    fn what_a_reader_sees_stays_the_same(leaves in prop::collection::vec(leaf(), 1..5)) {
        let mut message = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=frontier\r\n\r\n".to_vec();
        for leaf in &leaves {
            message.extend_from_slice(b"--frontier\r\n");
            message.extend_from_slice(leaf);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"--frontier--\r\n");
        prop_assert_eq!(contents(&seven_bit(&message)), contents(&message));
    }

    #[test]
    fn any_octets_are_encoded_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(result) = to_seven_bit(&octets) {
            prop_assert!(result.is_ascii());
        }
    }
}

#[test]
fn headers_are_had_in_ascii_as_far_as_there_is_a_place_for_it() {
    assert_eq!(header_to_ascii(b"Subject: plain\r\n\r\n"), None);
    let header = "From: J\u{fc}rgen <j@c.test>\r\nSubject: gr\u{fc}\u{df}e\r\n aus\r\nX: y\r\n\
        To: b\u{fc}cher@d.test\r\n\r\n";
    let ascii = header_to_ascii(header.as_bytes()).unwrap();
    let ascii = String::from_utf8(ascii).unwrap();
    let from = ascii.lines().next().unwrap();
    assert!(
        from.starts_with("From: =?utf-8?B?") && from.ends_with("?= <j@c.test>"),
        "{from}"
    );
    let subject = ascii.lines().nth(1).unwrap();
    assert!(subject.starts_with("Subject: =?utf-8?B?"), "{subject}");
    // An address has no other form; what is not UTF-8 has none either.
    assert!(
        ascii.ends_with("X: y\r\nTo: b\u{fc}cher@d.test\r\n\r\n"),
        "{ascii}"
    );
    let odd = b"Subject: \xff\r\n\r\n";
    assert_eq!(header_to_ascii(odd).as_deref(), Some(&odd[..]));
}
