//! A delivery status notification (RFC 3464), taken apart.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::Received;

/// A field's name, lower case, and its value on one line.
type Fields = Vec<(String, String)>;

/// One report: who it went to, and what it says.
#[derive(Debug)]
pub struct Report {
    pub received: Received,
    pub per_message: Fields,
    pub per_recipient: Vec<Fields>,
    /// The words for people.
    pub words: String,
    /// The third part's type and content.
    pub returned: (String, String),
}

impl Report {
    /// Checks the form that every report has, and takes it apart.
    #[track_caller]
    pub fn parse(received: Received) -> Self {
        let text = received.text();
        let content = received.content();
        let message = MessageParser::default().parse(&content).expect("a message");
        assert!(
            received.mail.to_uppercase().starts_with("MAIL FROM:<>"),
            "{}",
            received.mail
        );
        assert_eq!(header(&message, "Auto-Submitted"), "auto-replied", "{text}");
        assert!(
            !header(&message, "Date").is_empty() && !header(&message, "Message-ID").is_empty(),
            "{text}"
        );
        assert!(text.contains("\r\nMIME-Version: 1.0\r\n"), "{text}");
        let kind = message.content_type().expect("a content type");
        assert_eq!(
            (kind.ctype(), kind.subtype()),
            ("multipart", Some("report")),
            "{text}"
        );
        assert_eq!(
            kind.attribute("report-type"),
            Some("delivery-status"),
            "{text}"
        );
        let PartType::Multipart(parts) = &message.parts[0].body else {
            panic!("no parts: {text}")
        };
        assert_eq!(
            parts.len(),
            3,
            "text/plain, delivery-status, the message: {text}"
        );
        let part = |n: usize| &message.parts[usize::try_from(parts[n]).expect("small")];
        let types: Vec<String> = (0..3).map(|n| part_type(part(n))).collect();
        assert_eq!(types[0], "text/plain", "{text}");
        assert!(
            matches!(
                &*types[1],
                "message/delivery-status" | "message/global-delivery-status"
            ),
            "{text}"
        );
        let raw = |n: usize| {
            String::from_utf8_lossy(
                &content[offset(part(n).raw_body_offset())..offset(part(n).raw_end_offset())],
            )
            .into_owned()
        };
        let mut blocks = raw(1)
            .split("\r\n\r\n")
            .map(fields)
            .filter(|block| !block.is_empty())
            .collect::<Vec<_>>()
            .into_iter();
        let per_message = blocks.next().expect("per-message fields");
        let (words, returned) = (raw(0), (types[2].clone(), raw(2)));
        Self {
            per_message,
            per_recipient: blocks.collect(),
            words,
            returned,
            received,
        }
    }

    /// A per-message field.
    #[track_caller]
    pub fn message_field(&self, name: &str) -> &str {
        field(&self.per_message, name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.received.text()))
    }

    /// The fields of the recipient whose Final-Recipient is `mailbox`.
    #[track_caller]
    pub fn recipient(&self, mailbox: &str) -> Recipient<'_> {
        let found = self.per_recipient.iter().find(|fields| {
            field(fields, "Final-Recipient").is_some_and(|value| value.ends_with(mailbox))
        });
        Recipient(found.unwrap_or_else(|| panic!("no {mailbox} in {}", self.received.text())))
    }
}

/// The fields about one recipient.
pub struct Recipient<'a>(&'a Fields);

impl Recipient<'_> {
    /// A field's value; empty when it is not there.
    pub fn field(&self, name: &str) -> &str {
        field(self.0, name).unwrap_or_default()
    }
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let name = name.to_lowercase();
    fields
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.as_str())
}

fn fields(block: &str) -> Fields {
    let unfolded = block.replace("\r\n ", " ").replace("\r\n\t", " ");
    // Where a field was folded is the writer's choice.
    let tidied = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
    let pairs = unfolded
        .split("\r\n")
        .filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| (name.to_lowercase(), tidied(value)))
        .collect()
}

fn header(message: &Message<'_>, name: &'static str) -> String {
    message
        .header_raw(name)
        .map(str::trim)
        .unwrap_or_default()
        .to_owned()
}

fn part_type(part: &mail_parser::MessagePart<'_>) -> String {
    let kind = part.content_type().expect("every part has a type");
    format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
}

fn offset(position: u32) -> usize {
    usize::try_from(position).expect("32 bits fit")
}
