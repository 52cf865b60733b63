//! What a header and our keys tell.

use mail_parser::parsers::MessageStream;
use mail_parser::{DateTime, HeaderName, HeaderValue, Message, MessageParser};

use super::{Finding, Rule};
use crate::dkim::Signers;
use crate::wire::header::HeaderScan;
use crate::wire::path::Domain;

/// Looks at a header, as it is read, with the empty line behind it.
#[must_use]
pub fn form(header: &[u8], signers: &Signers) -> Vec<Finding> {
    let Some(message) = MessageParser::new().parse_headers(header) else {
        return vec![Finding::fail(
            Rule::From,
            "there is no header",
            "write From, Date, Message-ID and an empty line before the text",
        )];
    };
    let fields = Fields { message, header };
    vec![
        fields.from(),
        fields.date(),
        fields.message_id(),
        fields.repeated(),
        fields.lines(),
        fields.unsubscribe(),
        key(header, signers),
    ]
}

struct Fields<'h> {
    message: Message<'h>,
    header: &'h [u8],
}

impl Fields<'_> {
    /// The values of all fields of this name, as they stand there.
    fn values(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.message.headers().iter();
        let fields = fields.filter(|field| field.name.as_str().eq_ignore_ascii_case(name));
        fields
            .filter_map(|field| {
                let (start, end) = (field.offset_start as usize, field.offset_end as usize);
                Some(self.header.get(start..end)?.trim_ascii())
            })
            .collect()
    }

    /// The only field of this name, or the finding that it is not.
    fn only(&self, rule: Rule, name: &str) -> Result<&[u8], Finding> {
        match self.values(name)[..] {
            [only] => Ok(only),
            [] => Err(Finding::fail(
                rule,
                format!("no {name} field"),
                format!("write one {name} field"),
            )),
            ref several => Err(Finding::fail(
                rule,
                format!("{} {name} fields", several.len()),
                format!("write exactly one {name} field"),
            )),
        }
    }

    fn from(&self) -> Finding {
        if let Err(finding) = self.only(Rule::From, "From") {
            return finding;
        }
        let field = self.message.header(HeaderName::From);
        let Some(HeaderValue::Address(authors)) = field else {
            return Finding::fail(
                Rule::From,
                "From has no address",
                "write From: Name <user@example.org>",
            );
        };
        let addresses: Vec<&str> = authors
            .iter()
            .filter_map(|author| author.address.as_deref())
            .collect();
        let domain = addresses
            .first()
            .and_then(|address| address.rsplit_once('@'));
        let domain = domain.and_then(|(_, domain)| idna::domain_to_ascii(domain).ok());
        let domain = domain
            .filter(|name| name.contains('.') && Domain::parse(name.as_bytes(), false).is_ok());
        let Some(domain) = domain else {
            return Finding::fail(
                Rule::From,
                "From has no address with a full domain",
                "write From: Name <user@example.org>",
            );
        };
        if MAILBOX_PROVIDERS.contains(&&*domain) {
            return Finding::fail(
                Rule::From,
                format!(
                    "From is of {domain}, which asks receivers to distrust mail from elsewhere"
                ),
                "send in the name of a domain of your own, with the other address in Reply-To",
            );
        }
        if addresses.len() > 1 {
            let found = format!("{} authors", addresses.len());
            return Finding::warn(Rule::From, found, "write one address: receivers want one");
        }
        Finding::ok(Rule::From, format!("one author, of {domain}"))
    }

    fn date(&self) -> Finding {
        let value = match self.only(Rule::Date, "Date") {
            Ok(value) => value,
            Err(finding) => return finding,
        };
        // Its parser wants the line end behind it.
        let line = [value, b"\r\n"].concat();
        let parsed = MessageStream::new(&line).parse_date();
        match parsed.as_datetime().filter(|date| DateTime::is_valid(date)) {
            Some(date) => Finding::ok(Rule::Date, date.to_rfc3339()),
            None => Finding::fail(
                Rule::Date,
                format!("{:?} is no date", shown(value)),
                "write it as in Fri, 21 Nov 1997 09:55:06 -0600 (RFC 5322 §3.3)",
            ),
        }
    }

    fn message_id(&self) -> Finding {
        let value = match self.only(Rule::MessageId, "Message-ID") {
            Ok(value) => value,
            Err(finding) => return finding,
        };
        let inside = value
            .strip_prefix(b"<")
            .and_then(|rest| rest.strip_suffix(b">"));
        let halves = inside.and_then(|inside| {
            let at = inside.iter().rposition(|octet| *octet == b'@')?;
            let is_bad = |octet: &u8| octet.is_ascii_whitespace() || b"<>".contains(octet);
            (at > 0 && at + 1 < inside.len() && !inside.iter().any(is_bad)).then_some(at)
        });
        match halves {
            Some(_) => Finding::ok(Rule::MessageId, shown(value)),
            None => Finding::fail(
                Rule::MessageId,
                format!("{:?} is no Message-ID", shown(value)),
                "write Message-ID: <something.unique@example.org>",
            ),
        }
    }

    fn repeated(&self) -> Finding {
        let repeated: Vec<&str> = ONCE
            .iter()
            .copied()
            .filter(|name| self.values(name).len() > 1)
            .collect();
        if repeated.is_empty() {
            return Finding::ok(Rule::Fields, "no field is there twice that must not be");
        }
        Finding::fail(
            Rule::Fields,
            format!("there more than once: {}", repeated.join(", ")),
            "write each of these at most once (RFC 5322 §3.6)",
        )
    }

    fn lines(&self) -> Finding {
        let longest = self.header.split(|octet| *octet == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.len()
        });
        let longest = longest.max().unwrap_or(0);
        if longest > LINE_OCTETS_MAX {
            return Finding::fail(
                Rule::Lines,
                format!("a line of {longest} octets"),
                format!("fold header fields and break lines before {LINE_OCTETS_MAX} octets"),
            );
        }
        let mut scan = HeaderScan::new(u32::MAX);
        scan.feed(self.header);
        if (scan.finish().header_len as usize) < self.header.len() {
            return Finding::fail(
                Rule::Lines,
                "a line in the header is no field",
                "write Name: value, and an empty line before the text",
            );
        }
        if !self.header.is_ascii() {
            return Finding::warn(
                Rule::Lines,
                "the header has octets that are not ASCII",
                "encode them (RFC 2047): few hosts take them",
            );
        }
        Finding::ok(Rule::Lines, "lines are ended and short enough")
    }

    fn unsubscribe(&self) -> Finding {
        let (links, posts) = (
            self.values("List-Unsubscribe"),
            self.values("List-Unsubscribe-Post"),
        );
        let has_https = links.iter().any(|link| {
            let link = link.to_ascii_lowercase();
            memchr::memmem::find(&link, b"<https://").is_some()
        });
        let has_post = posts
            .iter()
            .any(|post| post.eq_ignore_ascii_case(b"List-Unsubscribe=One-Click"));
        let remedy = "write List-Unsubscribe: <https://...> and List-Unsubscribe-Post: \
                      List-Unsubscribe=One-Click (RFC 8058)";
        match (links.is_empty(), has_https, has_post) {
            (_, true, true) => Finding::ok(Rule::Unsubscribe, "one click"),
            (true, _, false) if posts.is_empty() => Finding::warn(
                Rule::Unsubscribe,
                "none: right for single messages, not for marketing and lists",
                remedy,
            ),
            (_, false, true) => Finding::fail(
                Rule::Unsubscribe,
                "List-Unsubscribe-Post without an https link to post to",
                remedy,
            ),
            (_, _, false) if !posts.is_empty() => Finding::fail(
                Rule::Unsubscribe,
                "List-Unsubscribe-Post says something else than List-Unsubscribe=One-Click",
                remedy,
            ),
            _ => Finding::warn(Rule::Unsubscribe, "a link, but more than one click", remedy),
        }
    }
}

fn key(header: &[u8], signers: &Signers) -> Finding {
    match signers.signer_of(header) {
        Some(domain) => Finding::ok(Rule::Key, format!("signed as {domain}")),
        None => Finding::fail(
            Rule::Key,
            "no key for the domain in From: it is not signed",
            "ringpost dkim generate DOMAIN --selector s1",
        ),
    }
}

/// A value as it is quoted: on one line, and not longer than one.
fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SHOWN_MAX).collect()
}

/// RFC 5322 §2.1.1, without the line end.
pub(super) const LINE_OCTETS_MAX: usize = 998;
/// Characters of a value that are quoted.
const SHOWN_MAX: usize = 80;
/// Fields that may be there once (RFC 5322 §3.6, RFC 2045 §3), beside those with a rule of their own.
const ONCE: [&str; 13] = [
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "In-Reply-To",
    "References",
    "Subject",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// Providers of mailboxes for everybody, whose DMARC policies disown what others send.
const MAILBOX_PROVIDERS: [&str; 10] = [
    "gmail.com",
    "googlemail.com",
    "yahoo.com",
    "ymail.com",
    "aol.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "msn.com",
    "icloud.com",
];
