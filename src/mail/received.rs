//! The trace field that every server puts before a message it takes (RFC 5321 §4.4).

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

use super::envelope::{MtPriority, QueueId};
use crate::wire::codec::rfc5322_date;
use crate::wire::path::Mailbox;

/// What is known of how a message came.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// What the client called itself, and where it came from; `None` where that is nobody's
    /// business.
    pub client: Option<(&'a str, IpAddr)>,
    /// Our name.
    pub by: &'a str,
    /// The protocol (RFC 3848).
    pub with: &'a str,
    /// The cipher suite, where it came under TLS (RFC 8314 §4.3).
    pub tls: Option<&'a str>,
    /// A name in the client's certificate, where that was verified.
    pub certificate: Option<&'a str>,
    /// How soon it goes on, where its client said so or was told otherwise (RFC 6710 §4).
    pub priority: Option<MtPriority>,
    /// What we call the message.
    pub id: QueueId,
    /// To whom it goes, where it goes to one only: more would tell each of the others, of blind
    /// copies too (RFC 5321 §7.2).
    pub recipient: Option<&'a Mailbox>,
    /// When: seconds since 1970-01-01 UTC.
    pub seconds: i64,
}

impl Trace<'_> {
    /// Appends the field: folded, its last line ended.
    pub fn write_into(&self, out: &mut Vec<u8>) {
        out.extend(b"Received: from ");
        match self.client {
            Some((hello, address)) => {
                push_hello(out, hello);
                // Writing to a Vec does not fail.
                let _ = write!(out, " ({})", Literal(address));
            }
            // RFC 5321 §4.4 wants a domain here.
            None => out.extend(b"localhost (a user of this server)"),
        }
        let _ = write!(
            out,
            "\r\n\tby {} (Ringpost) with {} id {}",
            self.by, self.with, self.id
        );
        if let Some(mailbox) = self.recipient {
            let _ = write!(out, "\r\n\tfor <{mailbox}>");
        }
        if let Some(suite) = self.tls {
            let _ = write!(out, "\r\n\ttls {suite}");
        }
        if let Some(name) = self.certificate {
            out.extend(b" (certificate of ");
            push_name(out, name);
            out.extend(b" verified)");
        }
        if let Some(priority) = self.priority {
            let _ = write!(out, "\r\n\tpriority {priority}");
        }
        let date = rfc5322_date(self.seconds);
        let is_short = self.recipient.is_some() && self.tls.is_none() && self.priority.is_none();
        let end = if is_short { "; " } else { ";\r\n\t" };
        let _ = write!(out, "{end}{date}\r\n");
    }
}

/// An address literal (RFC 5321 §4.1.3).
struct Literal(IpAddr);

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// The client's word for itself, which is anything: what could end the field or open a comment
/// in it becomes `?`.
fn push_hello(out: &mut Vec<u8>, hello: &str) {
    if hello.is_empty() {
        out.extend(b"unknown");
    }
    push_plain(out, hello, b"-._:[]");
}

/// A name that somebody vouches for; all the same it is none of ours.
fn push_name(out: &mut Vec<u8>, name: &str) {
    push_plain(out, name, b"-._@+=,/ ");
}

/// What is no letter, digit or one of `marks` becomes `?`.
fn push_plain(out: &mut Vec<u8>, text: &str, marks: &[u8]) {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || marks.contains(&octet);
    let octets = text.bytes().take(HELLO_OCTETS_MAX);
    out.extend(octets.map(|octet| if plain(octet) { octet } else { b'?' }));
}

/// Longer than any domain; the line stays far below 998 (RFC 5322 §2.1.1).
const HELLO_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace<'static> {
        Trace {
            client: Some(("c.test", IpAddr::from([127, 0, 0, 1]))),
            by: "relay.test",
            with: "ESMTP",
            tls: None,
            certificate: None,
            priority: None,
            id: QueueId(1),
            recipient: None,
            seconds: 1_795_431_613,
        }
    }

    fn written(trace: &Trace<'_>) -> String {
        let mut out = Vec::new();
        trace.write_into(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn message_came_under_tls() {
        let trace = Trace {
            with: "ESMTPS",
            tls: Some("TLS_AES_128_GCM_SHA256"),
            ..trace()
        };
        assert_eq!(
            written(&trace),
            "Received: from c.test ([127.0.0.1])\r\n\
             \tby relay.test (Ringpost) with ESMTPS id 0000000000001\r\n\
             \ttls TLS_AES_128_GCM_SHA256;\r\n\
             \tMon, 23 Nov 2026 11:00:13 +0000 (UTC)\r\n"
        );
    }

    #[test]
    fn message_has_a_priority() {
        let field = written(&Trace {
            priority: MtPriority::new(-4),
            ..trace()
        });
        assert!(
            field.contains(" id 0000000000001\r\n\tpriority -4;\r\n"),
            "{field}"
        );
    }

    #[test]
    fn client_has_shown_a_certificate() {
        for (name, shown) in [
            ("c.test", "c.test"),
            ("CN=c) X (, O=a\r\nb", "CN=c? X ?, O=a??b"),
        ] {
            let field = written(&Trace {
                tls: Some("TLS_AES_128_GCM_SHA256"),
                certificate: Some(name),
                ..trace()
            });
            let wanted =
                format!("\ttls TLS_AES_128_GCM_SHA256 (certificate of {shown} verified);\r\n");
            assert!(field.contains(&wanted), "{field}");
        }
    }

    #[test]
    fn message_came_from_where_nobody_is_to_know() {
        let field = written(&Trace {
            client: None,
            ..trace()
        });
        assert!(
            field.starts_with(
                "Received: from localhost (a user of this server)\r\n\tby relay.test "
            )
        );
        assert!(!field.contains("127.0.0.1") && !field.contains("c.test"));
    }

    #[test]
    fn message_came_for_one() {
        let mailbox = Mailbox::parse(b"b@d.test", false).unwrap();
        let one = Trace {
            recipient: Some(&mailbox),
            ..trace()
        };
        assert_eq!(
            written(&one),
            "Received: from c.test ([127.0.0.1])\r\n\
             \tby relay.test (Ringpost) with ESMTP id 0000000000001\r\n\
             \tfor <b@d.test>; Mon, 23 Nov 2026 11:00:13 +0000 (UTC)\r\n"
        );
    }

    #[test]
    fn message_came_for_several_over_ipv6() {
        let several = Trace {
            client: Some(("c.test", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())),
            ..trace()
        };
        assert_eq!(
            written(&several),
            "Received: from c.test ([IPv6:2001:db8::1])\r\n\
             \tby relay.test (Ringpost) with ESMTP id 0000000000001;\r\n\
             \tMon, 23 Nov 2026 11:00:13 +0000 (UTC)\r\n"
        );
    }

    #[test]
    fn client_calls_itself_what_it_likes() {
        for (hello, shown) in [
            ("", "unknown"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("a)\r\nX: b (", "a???X:?b??"),
            ("\u{e4}.test", "??.test"),
        ] {
            let client = Some((hello, IpAddr::from([127, 0, 0, 1])));
            let field = written(&Trace { client, ..trace() });
            assert!(
                field.starts_with(&format!("Received: from {shown} (")),
                "{field}"
            );
        }
        let long = "x".repeat(5000);
        let field = written(&Trace {
            client: Some((&long, IpAddr::from([127, 0, 0, 1]))),
            ..trace()
        });
        assert!(field.lines().all(|line| line.len() <= 998));
    }

    #[test]
    fn mapped_address_is_the_ipv4_one() {
        let client = Some(("c.test", "::ffff:192.0.2.1".parse().unwrap()));
        assert!(written(&Trace { client, ..trace() }).contains(" ([192.0.2.1])"));
    }
}
