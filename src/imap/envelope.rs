//! ENVELOPE (RFC 9051 §7.5.2), out of a header.

use super::field::{self, Mailbox};
use super::write;

/// Writes the envelope of the message with this header.
pub fn write(out: &mut Vec<u8>, header: &[u8]) {
    out.push(b'(');
    text(out, header, "Date");
    out.push(b' ');
    text(out, header, "Subject");
    let from = list(header, "From");
    for name in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
        out.push(b' ');
        let own = list(header, name);
        let stands_in = own.is_none() && matches!(name, "Sender" | "Reply-To");
        addresses(
            out,
            if stands_in {
                from.as_deref()
            } else {
                own.as_deref()
            },
        );
    }
    for name in ["In-Reply-To", "Message-ID"] {
        out.push(b' ');
        text(out, header, name);
    }
    out.push(b')');
}

fn text(out: &mut Vec<u8>, header: &[u8], name: &str) {
    let value = field::find(header, name).map(field::unfolded);
    write::nstring(out, value.as_deref());
}

/// The addresses of a field; `None` where there are none.
fn list(header: &[u8], name: &str) -> Option<Vec<Mailbox>> {
    let list = field::addresses(&field::find_all(header, name)?, false);
    (!list.is_empty()).then_some(list)
}

fn addresses(out: &mut Vec<u8>, list: Option<&[Mailbox]>) {
    let Some(list) = list else {
        out.extend_from_slice(b"NIL");
        return;
    };
    out.push(b'(');
    for mailbox in list {
        let parts = match mailbox {
            Mailbox::Person {
                name,
                route,
                local_part,
                domain,
            } => [
                name.as_deref(),
                route.as_deref(),
                Some(or(local_part, NO_LOCAL_PART)),
                Some(or(domain, NO_DOMAIN)),
            ],
            Mailbox::Group(name) => [None, None, Some(&**name), None],
            Mailbox::EndOfGroup => [None; 4],
        };
        out.push(b'(');
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            write::nstring(out, part.map(str::as_bytes));
        }
        out.push(b')');
    }
    out.push(b')');
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// NIL in these places means a group. Clients know the words from Dovecot.
const NO_LOCAL_PART: &str = "MISSING_MAILBOX";
const NO_DOMAIN: &str = "MISSING_DOMAIN";

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(header: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, header.as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn it_is_what_dovecot_says() {
        let header = "From: \"B B\" <b@c.test>\r\nTo: u@d.test\r\nDate: Tue, 2 Jan 2024 00:00:00 +0000\r\nSubject: =?utf-8?q?tw=C3=B6?=\r\n\r\n";
        let b = "((\"B B\" NIL \"b\" \"c.test\"))";
        assert_eq!(
            envelope(header),
            format!(
                "(\"Tue, 2 Jan 2024 00:00:00 +0000\" \"=?utf-8?q?tw=C3=B6?=\" {b} {b} {b} ((NIL NIL \"u\" \"d.test\")) NIL NIL NIL NIL)"
            )
        );
    }

    #[test]
    fn what_is_missing_is_nil_and_what_is_odd_is_no_group() {
        assert_eq!(
            envelope("\r\n"),
            "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
        );
        assert_eq!(
            envelope("To: somebody\r\nCc: F: a@b;\r\nMessage-ID: <1@c>\r\n\r\n"),
            "(NIL NIL NIL NIL NIL ((NIL NIL \"somebody\" \"MISSING_DOMAIN\")) ((NIL NIL \"F\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL NIL NIL)) NIL NIL \"<1@c>\")"
        );
    }

    #[test]
    fn a_megabyte_of_header_line_stays_bounded() {
        let mut header = b"To: ".to_vec();
        while header.len() < 1024 * 1024 {
            header.extend_from_slice(b"a@b.test, ");
        }
        let mut out = Vec::new();
        write(&mut out, &header);
        assert!(out.len() < 1024 * 1024, "{}", out.len());
    }
}
