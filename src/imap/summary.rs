//! What is kept of a message so that lists, searches and threads need not read it again. The
//! mailbox's index keeps it as octets; whoever finds octets that make no sense makes them anew.

use super::field::{self, Mailbox, Sent};
use super::mime::Part;
use super::{structure, subject};

/// The summary of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// ENVELOPE, as it is sent.
    pub envelope: Vec<u8>,
    /// BODY.
    pub body: Vec<u8>,
    /// BODYSTRUCTURE.
    pub structure: Vec<u8>,
    /// PREVIEW (RFC 8970).
    pub preview: String,
    /// Date, where it can be read.
    pub sent: Option<Sent>,
    /// The subject, decoded.
    pub subject: String,
    /// From, To, Cc and Bcc, decoded, each on one line.
    pub people: [String; 4],
    /// What SORT compares of From, To and Cc: the first local part.
    pub first: [String; 3],
    /// What SORT=DISPLAY compares of From and To.
    pub display: [String; 2],
    /// Message-ID.
    pub id: String,
    /// References, or In-Reply-To where there are none, oldest first.
    pub references: Vec<String>,
}

/// Places in [`Summary::people`], [`Summary::first`] and [`Summary::display`].
pub const FROM: usize = 0;
/// See [`FROM`].
pub const TO: usize = 1;
/// See [`FROM`].
pub const CC: usize = 2;
/// See [`FROM`].
pub const BCC: usize = 3;

impl Summary {
    /// Reads a whole message.
    #[must_use]
    pub fn of(raw: &[u8]) -> Self {
        Self::with(raw, &Part::read(raw))
    }

    /// The same, when its parts are known.
    #[must_use]
    pub fn with(raw: &[u8], message: &Part) -> Self {
        let header = message.head_of(raw);
        let value = |name| field::find(header, name).unwrap_or_default();
        let mut summary = Self {
            preview: preview(raw, message),
            sent: field::sent(value("Date")),
            subject: field::text(value("Subject")),
            id: field::ids(value("Message-ID"))
                .into_iter()
                .next()
                .unwrap_or_default(),
            references: references(header),
            envelope: message.described.envelope.clone(),
            ..Self::default()
        };
        structure::write(&mut summary.body, message, false);
        structure::write(&mut summary.structure, message, true);
        for (at, name) in ["From", "To", "Cc", "Bcc"].into_iter().enumerate() {
            let all = field::find_all(header, name).unwrap_or_default();
            let list = field::addresses(&all, true);
            summary.people[at] = line(&list);
            if let Some(first) = summary.first.get_mut(at) {
                *first = first_local_part(&list);
            }
            if let Some(display) = summary.display.get_mut(at) {
                *display = first_display(&list);
            }
        }
        summary
    }

    /// The base subject, and whether the message is a reply by its subject.
    #[must_use]
    pub fn base_subject(&self) -> (String, bool) {
        subject::base(&self.subject)
    }

    /// As octets for keeping; `None` when it is too much to keep.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = vec![VERSION];
        let (seconds, day) = self
            .sent
            .map_or((i64::MIN, 0), |sent| (sent.seconds, sent.day));
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&day.to_le_bytes());
        put(&mut out, &self.envelope);
        put(&mut out, &self.body);
        put(&mut out, &self.structure);
        let texts = [&self.preview, &self.subject, &self.id];
        let lists = self.people.iter().chain(&self.first).chain(&self.display);
        for text in texts.into_iter().chain(lists).chain(&self.references) {
            put(&mut out, text.as_bytes());
        }
        (out.len() <= KEPT_OCTETS_MAX).then_some(out)
    }

    /// From octets that were kept; `None` when they are none of ours.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let (version, mut rest) = octets.split_first()?;
        if *version != VERSION {
            return None;
        }
        let seconds = number(&mut rest)?;
        let day = number(&mut rest)?;
        let mut summary = Self {
            sent: (seconds != i64::MIN).then_some(Sent { seconds, day }),
            envelope: take(&mut rest)?.to_vec(),
            body: take(&mut rest)?.to_vec(),
            structure: take(&mut rest)?.to_vec(),
            preview: text(&mut rest)?,
            subject: text(&mut rest)?,
            id: text(&mut rest)?,
            ..Self::default()
        };
        let people = summary.people.iter_mut();
        for place in people.chain(&mut summary.first).chain(&mut summary.display) {
            *place = text(&mut rest)?;
        }
        while !rest.is_empty() {
            summary.references.push(text(&mut rest)?);
        }
        Some(summary)
    }
}

fn put(out: &mut Vec<u8>, octets: &[u8]) {
    let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(octets);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (octets, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(octets)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(rest)?.to_vec()).ok()
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    let (number, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(i64::from_le_bytes(*number))
}

/// References, or the first id of In-Reply-To (RFC 5256 §3).
fn references(header: &[u8]) -> Vec<String> {
    let value = |name| field::find(header, name).unwrap_or_default();
    let mut ids = field::ids(value("References"));
    if ids.is_empty() {
        ids = field::ids(value("In-Reply-To"));
        ids.truncate(1);
    }
    let surplus = ids.len().saturating_sub(REFERENCES_MAX);
    ids.drain(..surplus);
    ids
}

fn line(list: &[Mailbox]) -> String {
    let mut line = String::new();
    for mailbox in list {
        match mailbox {
            Mailbox::Person {
                name,
                local_part,
                domain,
                ..
            } => {
                if let Some(name) = name {
                    line.push_str(name);
                    line.push(' ');
                }
                line.push('<');
                line.push_str(local_part);
                if !domain.is_empty() {
                    line.push('@');
                    line.push_str(domain);
                }
                line.push_str("> ");
            }
            Mailbox::Group(name) => {
                line.push_str(name);
                line.push(' ');
            }
            Mailbox::EndOfGroup => {}
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn first_local_part(list: &[Mailbox]) -> String {
    match list.first() {
        Some(Mailbox::Person { local_part, .. }) => local_part.to_uppercase(),
        Some(Mailbox::Group(name)) => name.to_uppercase(),
        _ => String::new(),
    }
}

/// RFC 5957 §3: the display name, or the address where there is none.
fn first_display(list: &[Mailbox]) -> String {
    match list.first() {
        Some(Mailbox::Person {
            name: Some(name), ..
        }) if !name.is_empty() => name.to_uppercase(),
        Some(Mailbox::Person {
            local_part, domain, ..
        }) if !domain.is_empty() => format!("{local_part}@{domain}").to_uppercase(),
        _ => first_local_part(list),
    }
}

/// The beginning of the first text, in words.
fn preview(raw: &[u8], message: &Part) -> String {
    let texts = || message.all().filter(|part| part.typed.kind == "text");
    let plain = texts().find(|part| part.typed.subkind == "plain");
    let Some(part) = plain.or_else(|| texts().next()) else {
        return String::new();
    };
    // Only the beginning is read: what comes of it is short.
    let end = part.body.end.min(part.body.start + PREVIEW_SOURCE_OCTETS);
    let beginning = Part {
        body: part.body.start..end,
        ..part.clone()
    };
    let mut text = beginning.text(raw).unwrap_or_default();
    if part.typed.subkind == "html" {
        text = mail_parser::decoders::html::html_to_text(&text);
    }
    let mut preview = String::new();
    for word in text.split_whitespace() {
        if !preview.is_empty() {
            preview.push(' ');
        }
        preview.extend(word.chars().filter(|c| !c.is_control()));
        if preview.chars().count() >= PREVIEW_CHARS_MAX {
            break;
        }
    }
    preview.chars().take(PREVIEW_CHARS_MAX).collect()
}

/// The form of the octets. Another form has another number.
const VERSION: u8 = 2;
/// More than this is made anew each time. A message with ten thousand parts has less.
pub const KEPT_OCTETS_MAX: usize = 8 << 20;
/// RFC 8970 §3.1 asks for at most 256.
const PREVIEW_CHARS_MAX: usize = 200;
/// What a preview is made of.
const PREVIEW_SOURCE_OCTETS: usize = 16 * 1024;
/// The nearest ancestors.
const REFERENCES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"From: =?utf-8?q?Ann=C3=A9?= <ann@a.test>\r\nTo: b@b.test, C <c@c.test>\r\nSubject: Re: =?utf-8?q?tw=C3=B6?=\r\nDate: Tue, 2 Jan 2024 00:00:00 +0100\r\nMessage-ID: <2@a>\r\nReferences: <0@a> <1@a>\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello,\r\n <b>w\xc3\xb6rld</b></p>";

    #[test]
    fn everything_that_is_asked_for_often_is_there() {
        let summary = Summary::of(RAW);
        assert_eq!(summary.subject, "Re: twö");
        assert_eq!(summary.base_subject(), ("TWÖ".to_owned(), true));
        assert_eq!(summary.people[FROM], "Anné <ann@a.test>");
        assert_eq!(summary.people[TO], "<b@b.test> C <c@c.test>");
        assert_eq!(summary.first, ["ANN", "B", ""]);
        assert_eq!(summary.display, ["ANNÉ", "B@B.TEST"]);
        assert_eq!(summary.references, ["0@a", "1@a"]);
        assert_eq!(summary.preview, "Hello, wörld");
        assert_eq!(summary.sent.unwrap().seconds, 1_704_150_000);
    }

    #[test]
    fn it_is_the_same_after_keeping() {
        for raw in [RAW, b"", b"\r\nx"] {
            let summary = Summary::of(raw);
            let kept = summary.encode().unwrap();
            assert_eq!(Summary::decode(&kept), Some(summary));
            for cut in 0..kept.len() {
                // Cut anywhere, it is either refused or lacks references; never a panic.
                let _ = Summary::decode(&kept[..cut]);
            }
        }
        assert_eq!(Summary::decode(&[9, 1, 2]), None);
    }

    #[test]
    fn what_has_ten_thousand_parts_or_half_a_megabyte_of_names_is_kept() {
        let part = "--b\r\nContent-Type: text/plain; name=\"some file.txt\"\r\nContent-ID: <1@a.test>\r\nContent-Disposition: attachment; filename=\"some file.txt\"\r\n\r\n";
        let parts = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
            part.repeat(20_000)
        );
        let names = format!("To: {}\r\n\r\n", "some body <a@b.test>, ".repeat(30_000));
        for raw in [parts, names] {
            let summary = Summary::of(raw.as_bytes());
            let kept = summary.encode().unwrap();
            assert!(kept.len() > 256 * 1024);
            assert_eq!(Summary::decode(&kept), Some(summary));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_message_has_a_summary_that_can_be_kept(
            raw in "((Subject|From|To|Date|References|Content-Type): [ -~\u{e4}]{0,20}(\r\n|\n)( x\n)?){0,5}\r\n[ -~\u{e4}\r\n]{0,40}",
        ) {
            let summary = Summary::of(raw.as_bytes());
            let kept = summary.encode().expect("little enough");
            proptest::prop_assert_eq!(Summary::decode(&kept), Some(summary));
            for cut in 0..kept.len() {
                // Cut where a reference begins it is one without that; elsewhere none at all.
                let _ = Summary::decode(&kept[..cut]);
            }
        }
    }
}
