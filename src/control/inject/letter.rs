//! From what a request says to a message and its envelope.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use aws_lc_rs::rand;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address as Written;
use mail_builder::headers::text::Text;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address as Parsed, HeaderName, MessageParser};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::Failure;
use crate::observe::inject::Injection;
use crate::wire::path::Mailbox;

/// A message in JSON.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Letter {
    /// The author, as in From.
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    /// They get it, and nobody sees it.
    bcc: Vec<Address>,
    reply_to: Vec<Address>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    /// Further header fields.
    headers: BTreeMap<String, String>,
    attachments: Vec<Attachment>,
    envelope: Envelope,
}

/// `Ann <ann@example.org>`, `ann@example.org`, or both apart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Address {
    Text(String),
    Apart { email: String, name: Option<String> },
}

/// A file in a message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attachment {
    filename: String,
    #[serde(default = "octet_stream")]
    content_type: String,
    /// Base64.
    content: String,
    /// For `cid:` in the HTML: it is shown there.
    #[serde(default)]
    content_id: Option<String>,
}

/// Where the message goes in truth, where its header does not say it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Envelope {
    /// Whom reports go to; empty for nobody.
    pub(super) from: Option<String>,
    /// Instead of to, cc and bcc.
    pub(super) to: Vec<String>,
}

fn octet_stream() -> String {
    "application/octet-stream".to_owned()
}

fn refuse(words: impl Into<String>) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, words)
}

/// The name and the address.
type Person = (Option<String>, String);

impl Address {
    fn read(&self, field: &str) -> Result<Person, Failure> {
        match self {
            Self::Apart { email, name } => {
                let name = name.clone().filter(|name| !name.is_empty());
                plain(field, name.as_deref().unwrap_or_default())?;
                Ok((name, mailbox(field, email)?.as_str().to_owned()))
            }
            Self::Text(text) => {
                plain(field, text)?;
                let line = format!("{text}\r\n\n");
                let parsed = MessageStream::new(line.as_bytes()).parse_address();
                let mut found = people(parsed.as_address());
                match (found.pop(), found.pop()) {
                    (Some((name, address)), None) => {
                        Ok((name, mailbox(field, &address)?.as_str().to_owned()))
                    }
                    _ => Err(refuse(format!("{field}: {text:?} is not one address"))),
                }
            }
        }
    }
}

/// Those that a field of a header names.
fn people(address: Option<&Parsed<'_>>) -> Vec<Person> {
    let all = address.map(|address| address.iter()).into_iter().flatten();
    let people = all.filter_map(|one| {
        let name = one.name().map(str::to_owned);
        Some((name, one.address()?.to_owned()))
    });
    people.collect()
}

fn read_all(field: &str, addresses: &[Address]) -> Result<Vec<Person>, Failure> {
    addresses.iter().map(|one| one.read(field)).collect()
}

fn mailbox(field: &str, address: &str) -> Result<Mailbox, Failure> {
    let parsed = Mailbox::parse(address.as_bytes(), true);
    parsed.map_err(|_| {
        refuse(format!(
            "{field}: {address:?} is no address: local-part@domain"
        ))
    })
}

/// What could begin another line of the header.
fn plain(field: &str, text: &str) -> Result<(), Failure> {
    match text.chars().any(|c| c.is_control() && c != '\t') {
        true => Err(refuse(format!(
            "{field}: control characters have no place in a header"
        ))),
        false => Ok(()),
    }
}

fn written(people: Vec<Person>) -> Written<'static> {
    let one = |(name, address)| Written::new_address(name, address);
    Written::new_list(people.into_iter().map(one).collect())
}

impl Letter {
    /// The message, for the shards.
    pub(super) fn compose(self, client: IpAddr, hostname: &str) -> Result<Injection, Failure> {
        let from = self.from.as_ref();
        let from = from.ok_or_else(|| refuse("from: say who writes"))?;
        let from = from.read("from")?;
        let (to, cc) = (read_all("to", &self.to)?, read_all("cc", &self.cc)?);
        let bcc = read_all("bcc", &self.bcc)?;
        let recipients = [&to[..], &cc, &bcc].concat();
        let recipients = recipients.into_iter().map(|(_, address)| address);
        let (from_path, to_paths) = self.envelope.over(from.1.clone(), recipients.collect())?;
        plain("subject", &self.subject)?;
        let fields = [
            ("From", vec![from]),
            ("To", to),
            ("Cc", cc),
            ("Reply-To", read_all("reply_to", &self.reply_to)?),
        ];
        let mut builder = MessageBuilder::new()
            .message_id(message_id(hostname))
            .subject(self.subject);
        for (name, people) in fields {
            if !people.is_empty() {
                builder = builder.header(name, written(people));
            }
        }
        for (name, value) in self.headers {
            judge_field(&name, &value)?;
            builder = builder.header(name, Text::new(value));
        }
        if self.text.is_some() || self.html.is_none() {
            builder = builder.text_body(lines(&self.text.unwrap_or_default()));
        }
        if let Some(html) = &self.html {
            builder = builder.html_body(lines(html));
        }
        for attachment in self.attachments {
            builder = attachment.add(builder)?;
        }
        let content = builder.write_to_vec();
        let content = content.map_err(|error| refuse(error.to_string()))?;
        Ok(Injection {
            client,
            from: from_path,
            to: to_paths,
            content,
        })
    }
}

impl Attachment {
    fn add<'x>(self, to: MessageBuilder<'x>) -> Result<MessageBuilder<'x>, Failure> {
        plain("attachments", &self.filename)?;
        let (kind, sub) = self.content_type.split_once('/').unwrap_or_default();
        let is_token = |text: &str| {
            let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&octet);
            !text.is_empty() && text.bytes().all(fits)
        };
        if !is_token(kind) || !is_token(sub) {
            let words = format!("attachments: {:?} is no media type", self.content_type);
            return Err(refuse(words));
        }
        let octets = STANDARD.decode(self.content.as_bytes());
        let octets = octets.map_err(|_| {
            let name = &self.filename;
            refuse(format!("attachments: the content of {name:?} is no base64"))
        })?;
        Ok(match self.content_id {
            None => to.attachment(self.content_type, self.filename, octets),
            Some(id) => {
                let is_good = |c: char| c.is_ascii_graphic() && !"<>()".contains(c);
                if id.is_empty() || !id.chars().all(is_good) {
                    return Err(refuse(format!("attachments: {id:?} is no content id")));
                }
                to.inline(self.content_type, id, octets)
            }
        })
    }
}

impl Envelope {
    /// The paths that it says, or else these. Whoever is named twice gets one message.
    pub(super) fn over(
        self,
        from: String,
        to: Vec<String>,
    ) -> Result<(Option<Mailbox>, Vec<Mailbox>), Failure> {
        let from = match self.from.unwrap_or(from) {
            nobody if nobody.is_empty() => None,
            from => Some(mailbox("envelope.from", &from)?),
        };
        let to = if self.to.is_empty() { to } else { self.to };
        let mut mailboxes: Vec<Mailbox> = Vec::with_capacity(to.len());
        let mut seen = HashSet::new();
        for address in to {
            let mailbox = mailbox("to", &address)?;
            if seen.insert(mailbox.as_str().to_owned()) {
                mailboxes.push(mailbox);
            }
        }
        if mailboxes.is_empty() {
            return Err(refuse("to: say who gets it"));
        }
        Ok((from, mailboxes))
    }
}

/// A message that comes as it is. What the envelope does not say is looked for in its header.
pub(super) fn as_it_is(
    content: &[u8],
    envelope: Envelope,
    client: IpAddr,
) -> Result<Injection, Failure> {
    let content = lines_of_octets(content);
    let header = MessageParser::new().parse_headers(&content[..]);
    let named = |names: &[HeaderName<'static>]| -> Vec<Person> {
        let Some(header) = &header else {
            return Vec::new();
        };
        let fields = names
            .iter()
            .flat_map(|name| header.header_values(name.clone()));
        fields
            .flat_map(|value| people(value.as_address()))
            .collect()
    };
    let from = named(&[HeaderName::Sender]);
    let from = [from, named(&[HeaderName::From])]
        .concat()
        .into_iter()
        .next();
    let to = named(&[HeaderName::To, HeaderName::Cc, HeaderName::Bcc]);
    if envelope.from.is_none() && from.is_none() {
        return Err(refuse(
            "from: neither the request nor its header says who writes",
        ));
    }
    let from = from.map(|(_, address)| address).unwrap_or_default();
    let (from, to) = envelope.over(from, to.into_iter().map(|(_, address)| address).collect())?;
    Ok(Injection {
        client,
        from,
        to,
        content,
    })
}

fn judge_field(name: &str, value: &str) -> Result<(), Failure> {
    let is_name = |octet: u8| octet.is_ascii_graphic() && octet != b':';
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(refuse(format!("headers: {name:?} is no name of a field")));
    }
    let is_ours = OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name));
    let is_mime = name
        .get(..8)
        .is_some_and(|begin| begin.eq_ignore_ascii_case("content-"));
    if is_ours || is_mime {
        let words = format!("headers: {name} is written from the rest of the request");
        return Err(refuse(words));
    }
    plain(name, value)
}

/// Lines that end with CRLF.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace('\r', "\n")
        .replace('\n', "\r\n")
}

/// The same for octets: a file on a disk has lines that end with LF.
fn lines_of_octets(octets: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(octets.len() + octets.len() / 32);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(whole) => {
                content.extend_from_slice(whole.strip_suffix(b"\r").unwrap_or(whole));
                content.extend_from_slice(b"\r\n");
            }
            None => content.extend_from_slice(line),
        }
    }
    content
}

fn message_id(hostname: &str) -> String {
    let mut unique = [0; 16];
    // Without randomness the microsecond tells messages apart.
    let _ = rand::fill(&mut unique);
    let unique = u128::from_le_bytes(unique);
    let now = jiff::Timestamp::now().as_microsecond();
    format!("{now:x}.{unique:032x}@{hostname}")
}

/// Fields that other parts of a request say, or that a relay writes.
const OWN_FIELDS: &[&str] = &[
    "From",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "Subject",
    "Message-ID",
    "MIME-Version",
    "Received",
    "Return-Path",
    "DKIM-Signature",
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn composed(letter: Value) -> Result<Injection, String> {
        let letter: Letter = serde_json::from_value(letter).map_err(|error| error.to_string())?;
        letter
            .compose(CLIENT, "relay.test")
            .map_err(|failure| failure.words)
    }

    fn addresses(injection: &Injection) -> Vec<&str> {
        injection.to.iter().map(Mailbox::as_str).collect()
    }

    #[test]
    fn a_message_in_json_becomes_one_that_programs_read() {
        let injection = composed(json!({
            "from": "\"Ann, A\" <ann@c.test>",
            "to": ["b@d.test", {"email": "c@d.test", "name": "C\u{e4}sar"}],
            "cc": ["b@d.test"],
            "bcc": ["secret@d.test"],
            "reply_to": ["r@c.test"],
            "subject": "Gr\u{fc}\u{df}e",
            "text": "one\n.two\r\n",
            "html": "<p>three</p>",
            "headers": {"X-Tenant": "blue"},
            "attachments": [
                {"filename": "a b.txt", "content_type": "text/plain", "content": "aGk="},
                {"filename": "", "content_type": "image/png", "content": "aGk=", "content_id": "pic"},
            ],
        }));
        let injection = injection.unwrap();
        assert_eq!(
            addresses(&injection),
            ["b@d.test", "c@d.test", "secret@d.test"]
        );
        assert_eq!(
            injection.from.as_ref().map(Mailbox::as_str),
            Some("ann@c.test")
        );
        let text = String::from_utf8(injection.content.clone()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        let parsed = MessageParser::default().parse(&injection.content).unwrap();
        assert_eq!(parsed.subject(), Some("Gr\u{fc}\u{df}e"));
        assert_eq!(people(parsed.from())[0].0.as_deref(), Some("Ann, A"));
        assert_eq!(people(parsed.to())[1].0.as_deref(), Some("C\u{e4}sar"));
        assert_eq!(parsed.header_raw("X-Tenant").map(str::trim), Some("blue"));
        assert_eq!(parsed.body_text(0).as_deref(), Some("one\r\n.two\r\n"));
        assert_eq!(parsed.body_html(0).as_deref(), Some("<p>three</p>"));
        assert_eq!(parsed.attachment_count(), 2);
        assert!(
            parsed
                .message_id()
                .is_some_and(|id| id.ends_with("@relay.test"))
        );
    }

    #[test]
    fn an_envelope_goes_before_the_header() {
        let injection = composed(json!({
            "from": "a@c.test", "to": ["b@d.test"],
            "envelope": {"from": "", "to": ["x@d.test"]},
        }));
        let injection = injection.unwrap();
        assert_eq!(
            (addresses(&injection), &injection.from),
            (vec!["x@d.test"], &None)
        );
    }

    #[test]
    fn what_would_not_be_mail_is_refused_in_words() {
        let base = |key: &str, value: Value| {
            let mut letter = json!({"from": "a@c.test", "to": ["b@d.test"]});
            letter[key] = value;
            composed(letter).unwrap_err()
        };
        for (key, value, words) in [
            ("from", json!(null), "from: say who writes"),
            ("from", json!("a@c.test, b@c.test"), "not one address"),
            (
                "from",
                json!("a@c.test\r\nBcc: x@d.test"),
                "control characters",
            ),
            ("to", json!([]), "to: say who gets it"),
            ("to", json!(["nobody"]), "not one address"),
            ("subject", json!("x\nBcc: y@d.test"), "control characters"),
            (
                "headers",
                json!({"X-A": "1\r\nX-B: 2"}),
                "control characters",
            ),
            ("headers", json!({"X A": "1"}), "no name of a field"),
            (
                "headers",
                json!({"bcc": "x@d.test"}),
                "written from the rest",
            ),
            (
                "headers",
                json!({"Content-Type": "x"}),
                "written from the rest",
            ),
            (
                "attachments",
                json!([{"filename": "a", "content": "%"}]),
                "no base64",
            ),
            (
                "attachments",
                json!([{"filename": "a", "content": "", "content_type": "x\n/y"}]),
                "no media type",
            ),
            ("envelope", json!({"from": "x"}), "no address"),
            ("text_body", json!("x"), "unknown field"),
        ] {
            let said = base(key, value);
            assert!(said.contains(words), "{key}: {said}");
        }
    }

    #[test]
    fn a_message_as_it_is_says_itself_whom_it_is_for() {
        let content = b"From: a@c.test\nTo: b@d.test, \"B\" <b2@d.test>\nBcc: c@d.test\n\nhi\n";
        let injection = as_it_is(content, Envelope::default(), CLIENT).unwrap();
        assert_eq!(addresses(&injection), ["b@d.test", "b2@d.test", "c@d.test"]);
        assert!(injection.content.ends_with(b"\r\n\r\nhi\r\n"));
        let envelope = Envelope {
            from: Some("x@c.test".to_owned()),
            to: vec!["y@d.test".to_owned()],
        };
        let injection = as_it_is(content, envelope, CLIENT).unwrap();
        assert_eq!(addresses(&injection), ["y@d.test"]);
        assert!(as_it_is(b"Subject: x\n\n", Envelope::default(), CLIENT).is_err());
    }
}
