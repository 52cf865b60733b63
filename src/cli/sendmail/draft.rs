//! What standard input says, made a message: line ends, the fields that mail must have, the
//! recipients that its header names.

use std::io::{self, BufRead};

use aws_lc_rs::rand;
use mail_builder::headers::Header as _;
use mail_builder::headers::address::Address;
use mail_parser::parsers::MessageStream;

use crate::wire::codec::rfc5322_date;

/// Reads until the end, or until a dot alone on its line where that ends it. More than `max` octets
/// are an error.
pub(super) fn read(mut from: impl BufRead, dot_ends: bool, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        let end = end.strip_suffix(b"\r").unwrap_or(end);
        if dot_ends && end == b"." {
            break;
        }
        // What mail programs write before a message in an mbox.
        if content.is_empty() && end.starts_with(b"From ") {
            continue;
        }
        content.extend_from_slice(end);
        content.extend_from_slice(b"\r\n");
        if content.len() as u64 > max {
            let why = format!(
                "the message is larger than {max} octets, which [smtp] max_message_size allows"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
    Ok(content)
}

/// A message apart: its fields, each with its lines and their ends, and what follows the header
/// (the empty line included).
pub(super) struct Draft {
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// Who writes, for the fields that are missing.
pub(super) struct Writer<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) address: &'a str,
    pub(super) hostname: &'a str,
    /// Seconds since 1970.
    pub(super) now: i64,
}

impl Draft {
    /// Where the first line is no field, all of it is the body.
    pub(super) fn new(content: &[u8]) -> Self {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        let mut rest = content;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end + 1);
            if matches!(line[0], b' ' | b'\t') && !fields.is_empty() {
                if let Some(field) = fields.last_mut() {
                    field.extend_from_slice(line);
                }
            } else if name_of(line).is_some() {
                fields.push(line.to_vec());
            } else {
                break;
            }
            rest = behind;
        }
        let mut body = Vec::with_capacity(rest.len() + 2);
        if !rest.starts_with(b"\r\n") {
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(rest);
        Self { fields, body }
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| is(field, name))
    }

    /// The addresses in To, Cc and Bcc, or of a message that is sent again in their Resent forms
    /// (RFC 5322 §3.6.6).
    pub(super) fn recipients(&self) -> Vec<String> {
        let again = self.fields.iter().any(|field| {
            name_of(field).is_some_and(|name| name.to_ascii_lowercase().starts_with(b"resent-"))
        });
        let wanted = if again { RESENT } else { SENT };
        let mut found = Vec::new();
        for field in &self.fields {
            if wanted.iter().any(|name| is(field, name))
                && let Some(colon) = memchr::memchr(b':', field)
            {
                let mut value = field[colon + 1..].to_vec();
                value.push(b'\n');
                let parsed = MessageStream::new(&value).parse_address();
                let Some(addresses) = parsed.as_address() else {
                    continue;
                };
                let addresses = addresses.iter().filter_map(|one| one.address());
                found.extend(addresses.map(str::to_owned));
            }
        }
        found
    }

    /// Takes out what is for nobody's eyes, and gives it what mail must have (RFC 5322 §3.6).
    pub(super) fn complete(&mut self, writer: &Writer<'_>) {
        self.fields
            .retain(|field| !HIDDEN.iter().any(|name| is(field, name)));
        if !self.has("From") {
            let mut field = b"From: ".to_vec();
            let address = Address::new_address(writer.name, writer.address);
            let column = field.len();
            address.write_header(&mut field, column);
            self.fields.push(field);
        }
        if !self.has("Date") {
            let date = rfc5322_date(writer.now);
            self.fields.push(format!("Date: {date}\r\n").into_bytes());
        }
        if !self.has("Message-ID") {
            let mut unique = [0; 12];
            // Without randomness the second and the process tell messages apart.
            let _ = rand::fill(&mut unique);
            let unique: String = unique.iter().map(|octet| format!("{octet:02x}")).collect();
            let (now, process, host) = (writer.now, std::process::id(), writer.hostname);
            let field = format!("Message-ID: <{now}.{process}.{unique}@{host}>\r\n");
            self.fields.push(field.into_bytes());
        }
    }

    pub(super) fn into_content(self) -> Vec<u8> {
        let mut content = self.fields.concat();
        content.extend_from_slice(&self.body);
        content
    }

    /// False for what no mail program can read: kept as a check of our own work.
    #[cfg(test)]
    fn is_readable(content: &[u8]) -> bool {
        mail_parser::MessageParser::default()
            .parse(content)
            .is_some()
    }
}

/// The name of a field; `None` for a line that begins none (RFC 5322 §2.2). Blanks before the colon are
/// the obsolete syntax of §4.5: what reads mail reads them.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b':', line)?;
    let name = line[..end].trim_ascii_end();
    let fine = !name.is_empty() && name.iter().all(|octet| (33..=126).contains(octet));
    fine.then_some(name)
}

fn is(field: &[u8], name: &str) -> bool {
    name_of(field).is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
}

const SENT: &[&str] = &["To", "Cc", "Bcc"];
const RESENT: &[&str] = &["Resent-To", "Resent-Cc", "Resent-Bcc"];
/// Blind copies are no secret when their list travels along; a return path is for whoever delivers
/// the message.
const HIDDEN: &[&str] = &["Bcc", "Resent-Bcc", "Return-Path"];

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Writer<'_> = Writer {
        name: None,
        address: "ann@c.test",
        hostname: "c.test",
        now: 0,
    };

    fn read_all(text: &str, dot_ends: bool) -> String {
        String::from_utf8(read(text.as_bytes(), dot_ends, 1000).unwrap()).unwrap()
    }

    #[test]
    fn input_ends_where_it_ends_or_at_a_lone_dot() {
        assert_eq!(read_all("a\n.\nb\n", true), "a\r\n");
        assert_eq!(read_all("a\n.\nb", false), "a\r\n.\r\nb\r\n");
        assert_eq!(read_all("a\r\n.\r\nb", true), "a\r\n");
        assert_eq!(read_all("From x Mon\nFrom: y\n", true), "From: y\r\n");
        assert!(read(&[b'x'; 1001][..], true, 1000).is_err());
    }

    #[test]
    fn recipients_are_those_that_the_header_names() {
        let of = |text: &str| Draft::new(text.as_bytes()).recipients();
        assert_eq!(
            of("To: \"B, b\" <b@d.test>,\r\n c@d.test\r\nbcc: e@d.test\r\n\r\nTo: f@d.test\r\n"),
            ["b@d.test", "c@d.test", "e@d.test"]
        );
        assert_eq!(
            of("To: team: x@d.test, y@d.test;\r\n\r\n"),
            ["x@d.test", "y@d.test"]
        );
        assert_eq!(
            of("To: b@d.test\r\nResent-To: c@d.test\r\n\r\n"),
            ["c@d.test"]
        );
        assert_eq!(of("Subject: x\r\n\r\n"), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_added_and_blind_copies_go() {
        let mut draft = Draft::new(b"Subject: x\r\nBcc: e@d.test,\r\n f@d.test\r\n\r\n.body\r\n");
        draft.complete(&ANN);
        let content = draft.into_content();
        assert!(Draft::is_readable(&content));
        let text = String::from_utf8(content).unwrap();
        assert!(text.starts_with("Subject: x\r\nFrom: "), "{text}");
        assert!(text.contains("<ann@c.test>\r\n"), "{text}");
        assert!(
            text.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000"),
            "{text}"
        );
        assert!(text.contains("@c.test>\r\n\r\n.body\r\n"), "{text}");
        assert!(!text.contains("d.test"), "{text}");
    }

    #[test]
    fn blind_copies_of_the_old_syntax_go_too_and_are_sent_to() {
        let mut draft =
            Draft::new(b"Subject: x\r\nBcc : e@d.test\r\nTo\t: f@d.test\r\n\r\nbody\r\n");
        assert_eq!(draft.recipients(), ["e@d.test", "f@d.test"]);
        draft.complete(&ANN);
        let text = String::from_utf8(draft.into_content()).unwrap();
        assert!(!text.contains("e@d.test"), "{text}");
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let given = "FROM: x@d.test\r\nDATE: then\r\nmessage-id: <1@d.test>\r\n\r\nbody\r\n";
        let mut draft = Draft::new(given.as_bytes());
        draft.complete(&ANN);
        assert_eq!(draft.into_content(), given.as_bytes());
    }

    #[test]
    fn text_without_a_header_is_a_body() {
        for body in ["hello\r\n", "hello there: you\r\n", "\r\nhello\r\n", ""] {
            let mut draft = Draft::new(body.as_bytes());
            draft.complete(&ANN);
            let text = String::from_utf8(draft.into_content()).unwrap();
            let (header, rest) = text.split_once("\r\n\r\n").unwrap();
            assert!(header.starts_with("From: "), "{text}");
            assert_eq!(rest, body.trim_start_matches("\r\n"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_but_what_is_for_nobodys_eyes(
            text in "((To|Bcc|bcc|Return-Path|Subject|A b)( |)(:|)[ a-z@.,<>]{0,12}\r\n( x\r\n)?){0,5}(\r\n|)([ -~]{0,10}\r\n){0,3}",
        ) {
            let mut draft = Draft::new(text.as_bytes());
            let _ = draft.recipients();
            draft.complete(&ANN);
            let content = String::from_utf8(draft.into_content()).unwrap();
            let (header, _) = content.split_once("\r\n\r\n").expect("an empty line");
            for line in header.lines() {
                let name = line.split(':').next().unwrap_or_default().trim_end();
                proptest::prop_assert!(!HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)), "{}", line);
            }
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            proptest::prop_assert!(content.ends_with(body));
        }
    }
}
