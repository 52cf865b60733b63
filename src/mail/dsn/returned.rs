//! The part that shows what the report is about: the original, or its header (RFC 6522 §3).

use std::borrow::Cow;

use mail_builder::encoders::QuotedPrintableEncoder;
use memchr::{memchr, memmem, memrchr};

use super::{Notice, ReportKind, WHOLE_OCTETS_MAX, transfer};
use crate::wire::header::HeaderScan;

/// The part's header and content.
pub(super) struct Returned<'a> {
    pub(super) description: &'static str,
    pub(super) media_type: &'static str,
    pub(super) encoding: &'static str,
    pub(super) octets: Cow<'a, [u8]>,
    /// The original's header, as it is.
    header: &'a [u8],
}

impl<'a> Returned<'a> {
    pub(super) fn of(notice: &Notice<'a>) -> Self {
        let header = header_of(notice.original);
        if returns_whole(notice) {
            Self::whole(notice.original, header)
        } else {
            Self::header(notice.kind, header)
        }
    }

    /// Its octets need no 8-bit path.
    pub(super) fn is_seven_bit(&self) -> bool {
        self.encoding != "8bit"
    }

    /// The original's Message-ID, where it is of the form that other fields may repeat.
    pub(super) fn message_id(&self) -> Option<Box<str>> {
        let mut scan = HeaderScan::new(u32::MAX);
        scan.feed(self.header);
        scan.finish().message_id.filter(|id| {
            let inside = id
                .strip_prefix('<')
                .and_then(|rest| rest.strip_suffix('>'))
                .unwrap_or_default();
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>');
            !inside.is_empty() && inside.chars().all(plain)
        })
    }

    fn whole(original: &'a [u8], header: &'a [u8]) -> Self {
        let international = is_international(header);
        Self {
            description: "Undelivered Message",
            media_type: if international {
                "message/global"
            } else {
                "message/rfc822"
            },
            encoding: transfer(original.is_ascii()),
            octets: original.into(),
            header,
        }
    }

    fn header(kind: ReportKind, header: &'a [u8]) -> Self {
        let description = match kind {
            ReportKind::Failure => "Undelivered Message Headers",
            ReportKind::Delay | ReportKind::Success => "Message Headers",
        };
        let seven_bit = header.is_ascii();
        let (media_type, encoding, octets) =
            if !has_plain_lines(header) || (!seven_bit && !is_international(header)) {
                // Octets that are no header by any standard. This type is text, and may be
                // encoded (RFC 6522 §4).
                let encoded = quoted_printable(header);
                ("text/rfc822-headers", "quoted-printable", encoded.into())
            } else if seven_bit {
                ("text/rfc822-headers", "7bit", Cow::Borrowed(header))
            } else {
                ("message/global-headers", "8bit", header.into())
            };
        Self {
            description,
            media_type,
            encoding,
            octets,
            header,
        }
    }
}

/// RFC 3461 §4.3: the whole comes back with a failure only, and only to who did not decline it.
/// What may not be encoded must fit the path as it is.
fn returns_whole(notice: &Notice<'_>) -> bool {
    notice.envelope.returns_content()
        && notice.original.len() <= WHOLE_OCTETS_MAX
        && notice.kind == ReportKind::Failure
        && notice.original_is_whole
        && has_plain_lines(notice.original)
}

/// The fields of a message, without the empty line; up to [`WHOLE_OCTETS_MAX`] of them, and only
/// lines that are complete.
fn header_of(original: &[u8]) -> &[u8] {
    let end = if original.starts_with(b"\r\n") {
        0
    } else {
        memmem::find(original, b"\r\n\r\n").map_or(original.len(), |at| at + 2)
    };
    let header = &original[..end.min(WHOLE_OCTETS_MAX)];
    memrchr(b'\n', header).map_or(header, |last| &header[..=last])
}

/// A header that needs RFC 6532 and is of its form.
fn is_international(header: &[u8]) -> bool {
    !header.is_ascii() && std::str::from_utf8(header).is_ok()
}

/// Every line ends with CRLF and is not longer than a line may be; nothing else has a CR, a LF or
/// a NUL in it (RFC 5322 §2.1.1, §2.3).
fn has_plain_lines(octets: &[u8]) -> bool {
    let mut rest = octets;
    while !rest.is_empty() {
        let end = memmem::find(rest, b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        if line.len() > LINE_OCTETS_MAX
            || line.contains(&b'\r')
            || line.contains(&b'\n')
            || memchr(0, line).is_some()
        {
            return false;
        }
        rest = end.map_or(&[][..], |end| &rest[end + 2..]);
    }
    true
}

/// The lines of `octets`, encoded. What has no place on a line of text, encoded or not, becomes `?`.
fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut text = octets.to_vec();
    for at in 0..text.len() {
        let in_crlf = match text[at] {
            b'\r' => text.get(at + 1) == Some(&b'\n'),
            b'\n' => at > 0 && text[at - 1] == b'\r',
            0 => false,
            _ => continue,
        };
        if !in_crlf {
            text[at] = b'?';
        }
    }
    let encoder = QuotedPrintableEncoder::new().preserve_line_breaks();
    let mut encoded = Vec::with_capacity(text.len() * 2);
    encoder.encode_into(&text, &mut encoded);
    encoded
}

/// Octets of a line without its CRLF (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;
