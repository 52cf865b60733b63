use super::*;

fn structure(raw: &str, extended: bool) -> String {
    let mut out = Vec::new();
    let raw = raw.as_bytes();
    write(&mut out, &Part::read(raw), extended);
    String::from_utf8_lossy(&out).into_owned()
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=XX\r\n\r\npreamble\r\n--XX\r\n\r\nhello\r\n--XX\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nQUJDREVG\r\n--XX--\r\nepilogue\r\n";

#[test]
fn it_is_what_dovecot_says() {
    assert_eq!(
        structure(MIXED, true),
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 0 NIL NIL NIL NIL)(\"application\" \"pdf\" (\"name\" \"a.pdf\") NIL NIL \"base64\" 8 NIL (\"attachment\" (\"filename\" \"a.pdf\")) NIL NIL) \"mixed\" (\"boundary\" \"XX\") NIL NIL NIL)"
    );
    assert_eq!(
        structure(MIXED, false),
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 0)(\"application\" \"pdf\" (\"name\" \"a.pdf\") NIL NIL \"base64\" 8) \"mixed\")"
    );
}

#[test]
fn a_message_within_has_its_envelope_and_its_own_structure() {
    let raw = "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n\r\n--b--\r\n";
    let text = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\"";
    let nil = "NIL NIL NIL NIL NIL NIL NIL NIL";
    assert_eq!(
        structure(raw, false),
        format!(
            "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 19 (NIL \"in\" {nil}) {text} 4 0) 2)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 62 (NIL NIL {nil}) ({text} 1 0) \"mixed\") 6) \"digest\")"
        )
    );
}

#[test]
fn nothing_at_all_is_text() {
    for raw in ["", "\r\n", "Subject: x\r\n", "no header, no colon"] {
        let found = structure(raw, false);
        assert!(
            found.starts_with("(\"text\" \"plain\" (\"charset\" \"us-ascii\")"),
            "{raw}: {found}"
        );
    }
    let hollow = "Content-Type: multipart/mixed; boundary=x\r\n\r\nno boundary\r\n";
    assert!(structure(hollow, false).starts_with("(\"text\" \"plain\""));
}

#[test]
fn the_lesser_fields_are_there() {
    let raw = "Content-Type: text/html\r\nContent-ID: <1@x>\r\nContent-Description: a \"b\"\r\nContent-MD5: abc\r\nContent-Language: de, en\r\nContent-Location: http://x/\r\nContent-Transfer-Encoding: 8BIT\r\n\r\na\r\nb\r\n";
    assert_eq!(
        structure(raw, true),
        "(\"text\" \"html\" (\"charset\" \"us-ascii\") \"<1@x>\" \"a \\\"b\\\"\" \"8bit\" 6 2 \"abc\" NIL (\"de\" \"en\") \"http://x/\")"
    );
}
