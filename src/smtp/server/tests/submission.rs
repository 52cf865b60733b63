use super::*;

const OPEN: &str = "Subject: x\r\nTo: b@d.test\r\n\r\n.dot\r\n\r\nend\r\n";
const LINES: &str = "x-y: 1\r\nBcc: e@d.test,\r\n\tf@d.test\r\n";

/// The one message of a session that goes on in these pieces.
fn message(kind: ServerKind, ends: BareLineEnds, pieces: &[&[u8]]) -> (Transaction, Vec<u8>) {
    let limits = ServerLimits {
        bare_line_ends: ends,
        ..limits()
    };
    let mut driver = Driver::new(limits, kind);
    driver.say("EHLO c.test\r\n");
    driver.say(ENVELOPE);
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        driver.drive(&mut input);
    }
    driver.messages.pop().expect("a message")
}

fn by_data(content: &str) -> Vec<u8> {
    let content = content.replace("\r\n.", "\r\n..");
    format!("DATA\r\n{content}.\r\n").into_bytes()
}

fn by_bdat(content: &str) -> Vec<u8> {
    format!("BDAT {} LAST\r\n{content}", content.len()).into_bytes()
}

#[test]
fn blind_copies_are_taken_out_and_the_rest_is_as_if_they_had_never_been() {
    let hidden = [
        format!("Bcc: {}\r\n{OPEN}", "a@d.test, ".repeat(20)),
        format!("{LINES}{OPEN}"),
        OPEN.replace("\r\n\r\n.dot", "\r\nResent-Bcc: e@d.test\r\n\r\n.dot"),
    ];
    let open = [
        OPEN.to_owned(),
        format!("x-y: 1\r\n{OPEN}"),
        OPEN.to_owned(),
    ];
    for (hidden, open) in hidden.iter().zip(open) {
        for ends in [BareLineEnds::Reject, BareLineEnds::Fix] {
            for written in [by_data, by_bdat] {
                let wanted = message(ServerKind::Smtp, ends, &[&written(&open)]);
                let octets = written(hidden);
                for cut in 0..octets.len() {
                    let (first, second) = octets.split_at(cut);
                    let got = message(ServerKind::Submission, ends, &[first, second]);
                    assert_eq!(got.1, wanted.1, "{cut}");
                    assert_eq!(got.0.content, wanted.0.content, "{cut}");
                }
            }
        }
    }
}

#[test]
fn other_listeners_leave_content_alone() {
    let content = format!("{LINES}{OPEN}");
    let got = message(
        ServerKind::Smtp,
        BareLineEnds::Reject,
        &[&by_data(&content)],
    );
    assert!(got.1.starts_with(LINES.as_bytes()));
}

#[test]
fn chunk_ends_in_the_middle_of_a_blind_copy() {
    let pieces: [&[u8]; 2] = [b"BDAT 12\r\nA: 1\r\nBcc: e", b"BDAT 2 LAST\r\n@d"];
    let got = message(ServerKind::Submission, BareLineEnds::Reject, &pieces);
    assert_eq!(got.1, b"A: 1\r\n");
    assert_eq!((got.0.content.size, got.0.content.header_len), (6, 6));
}
