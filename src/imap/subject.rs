//! The base subject (RFC 5256 §2.1): what a subject is without what replying and forwarding add.

/// The base subject, in upper case for comparing, and whether something was taken off that says
/// that the message is a reply or forwarded.
#[must_use]
pub fn base(subject: &str) -> (String, bool) {
    let subject = &subject[..subject.floor_char_boundary(SUBJECT_OCTETS_MAX)];
    let mut text: String = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut is_reply = false;
    loop {
        let before = text.len();
        while let Some(shorter) = without_trailer(&text) {
            text = shorter.to_owned();
            is_reply = true;
        }
        while let Some((shorter, reply)) = without_leader(&text) {
            text = shorter.to_owned();
            is_reply |= reply;
        }
        if let Some(inner) = within_fwd_brackets(&text) {
            text = inner.to_owned();
            is_reply = true;
        }
        if text.len() == before {
            return (text.to_uppercase(), is_reply);
        }
    }
}

/// Without `(fwd)` or space at the end.
fn without_trailer(text: &str) -> Option<&str> {
    let trimmed = text.trim_end();
    let at = trimmed.len().checked_sub("(fwd)".len())?;
    let end = trimmed.get(at..)?;
    end.eq_ignore_ascii_case("(fwd)")
        .then(|| trimmed[..at].trim_end())
}

/// Without `Re:`, `Fw:`, `Fwd:`, and blobs in brackets before them; or without one blob, when
/// something is left then.
fn without_leader(text: &str) -> Option<(&str, bool)> {
    let text = text.trim_start();
    let mut rest = text;
    while let Some(after) = without_blob(rest) {
        rest = after;
    }
    if let Some(after) = without_reply_word(rest) {
        return Some((after.trim_start(), true));
    }
    let after = without_blob(text)?;
    // A subject may consist of a blob alone: then that is its base.
    (!base_is_empty(after)).then_some((after, false))
}

fn base_is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

/// Without `[...]` and the space behind it.
fn without_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let after = inner[end..].strip_prefix(']')?;
    Some(after.trim_start())
}

/// Without `re`, `fw` or `fwd`, a blob behind it, and the colon.
fn without_reply_word(text: &str) -> Option<&str> {
    let word = ["re", "fwd", "fw"].into_iter().find(|word| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
            && matches!(
                text[word.len()..].trim_start().chars().next(),
                Some(':' | '[')
            )
    })?;
    let rest = text[word.len()..].trim_start();
    let rest = without_blob(rest).unwrap_or(rest);
    rest.strip_prefix(':')
}

fn within_fwd_brackets(text: &str) -> Option<&str> {
    let start = text.get(.."[fwd:".len())?;
    let inner = text["[fwd:".len()..].strip_suffix(']')?;
    start.eq_ignore_ascii_case("[fwd:").then(|| inner.trim())
}

/// What is looked at of a subject. Each mark that is taken off costs a look at all others.
const SUBJECT_OCTETS_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replying_and_forwarding_add_is_taken_off() {
        for (subject, expected, is_reply) in [
            ("Hello", "HELLO", false),
            ("Re: Hello", "HELLO", true),
            ("re[2]: FW: fwd : Hello", "HELLO", true),
            ("[list] Re: [list] Hello (fwd)  (FWD)", "HELLO", true),
            ("[list] Hello", "HELLO", false),
            ("[Fwd: Re: Hello]", "HELLO", true),
            ("[only]", "[ONLY]", false),
            ("Re: [only]", "[ONLY]", true),
            ("  a\t b  ", "A B", false),
            ("Reply: x", "REPLY: X", false),
            ("re", "RE", false),
            ("", "", false),
            ("Re:", "", true),
            ("Größe", "GRÖSSE", false),
        ] {
            assert_eq!(base(subject), (expected.to_owned(), is_reply), "{subject}");
        }
    }

    #[test]
    fn a_subject_of_marks_alone_is_not_taken_apart_to_its_end() {
        for marks in ["re:", "[a]", "[fwd:", "(fwd)", "fw[b]:"] {
            let (base, _) = base(&marks.repeat(100_000));
            assert!(base.len() <= SUBJECT_OCTETS_MAX, "{marks}: {}", base.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn it_always_ends_and_is_its_own_base(subject in "(re|fwd|fw|:|\\[|\\]|\\(fwd\\)| |x|ö){0,20}") {
            let (once, _) = base(&subject);
            let (twice, _) = base(&once);
            proptest::prop_assert_eq!(once, twice);
        }
    }
}
