//! Fields that say what we have found, and were not written by us (RFC 8601 §5).

use memchr::memchr;

/// Removes every Authentication-Results field of ours from content in wire form, and those that
/// cannot be read: whoever reads them behind us would believe them. How many octets went.
///
/// `octets` begins with the header. What stands behind its empty line is left alone. A line that is no
/// field ends the header for some readers and not for others, so it ends nothing here.
pub fn strip(octets: &mut Vec<u8>, authority: &str) -> usize {
    let before = octets.len();
    let mut kept = 0;
    let mut at = 0;
    while let Some(len) = field_len(&octets[at..]) {
        let field = &octets[at..at + len];
        if !is_ours(field, authority) {
            octets.copy_within(at..at + len, kept);
            kept += len;
        }
        at += len;
    }
    octets.drain(kept..at);
    before - octets.len()
}

/// Octets of the field at the beginning, or of a line that is none, with the lines that continue it;
/// `None` where the header has ended.
fn field_len(octets: &[u8]) -> Option<usize> {
    let mut end = line_len(octets)?;
    if matches!(&octets[..end], b"\r\n" | b"\n") {
        return None;
    }
    while let [b' ' | b'\t', ..] = octets[end..] {
        match line_len(&octets[end..]) {
            Some(len) => end += len,
            None => break,
        }
    }
    Some(end)
}

fn line_len(octets: &[u8]) -> Option<usize> {
    match memchr(b'\n', octets) {
        Some(at) => Some(at + 1),
        None => (!octets.is_empty()).then_some(octets.len()),
    }
}

/// Says this field that it tells what `authority` has found? One of which that cannot be told says
/// so too.
fn is_ours(field: &[u8], authority: &str) -> bool {
    let Some(colon) = memchr(b':', field) else {
        return false;
    };
    if !field[..colon]
        .trim_ascii()
        .eq_ignore_ascii_case(NAME.as_bytes())
    {
        return false;
    }
    identifier(&field[colon + 1..]).is_none_or(|named| {
        let named = named.trim_ascii_end();
        let named = named.strip_suffix(b".").unwrap_or(named);
        named.eq_ignore_ascii_case(authority.as_bytes())
    })
}

/// The authserv-id at the beginning of a value: a token or a quoted string behind blanks and
/// comments (RFC 8601 §2.2).
fn identifier(value: &[u8]) -> Option<Vec<u8>> {
    let rest = skip_comments(value)?;
    if let [b'"', quoted @ ..] = rest {
        let mut named = Vec::new();
        let mut octets = quoted.iter();
        loop {
            match octets.next()? {
                b'"' => return Some(named),
                b'\\' => named.push(*octets.next()?),
                // A fold is no part of the string (RFC 5322 §3.2.4).
                b'\r' | b'\n' => {}
                octet => named.push(*octet),
            }
        }
    }
    let ends = |octet: &u8| octet.is_ascii_whitespace() || b";(/".contains(octet);
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].to_vec())
}

/// What stands behind blanks and comments, which may be nested (RFC 5322 §3.2.2).
fn skip_comments(value: &[u8]) -> Option<&[u8]> {
    let mut rest = value.trim_ascii_start();
    while let [b'(', ..] = rest {
        let mut depth = 0u32;
        let mut octets = rest.iter().enumerate();
        let end = loop {
            match octets.next()? {
                (_, b'\\') => drop(octets.next()?),
                (_, b'(') => depth += 1,
                (at, b')') if depth == 1 => break at + 1,
                (_, b')') => depth -= 1,
                _ => {}
            }
        };
        rest = rest[end..].trim_ascii_start();
    }
    Some(rest)
}

const NAME: &str = "Authentication-Results";

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(content: &str) -> String {
        let mut octets = content.as_bytes().to_vec();
        let removed = strip(&mut octets, "relay.test");
        assert_eq!(octets.len() + removed, content.len());
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn fields_that_claim_to_be_ours_go() {
        for forged in [
            "Authentication-Results: relay.test; spf=pass\r\n",
            "authentication-results:RELAY.test;\r\n\tspf=pass\r\n smtp.mailfrom=x\r\n",
            "Authentication-Results : relay.test 1; none\r\n",
            "Authentication-Results: relay.test/1; none\r\n",
            "Authentication-Results: relay.test.; none\r\n",
            "Authentication-Results: (a (nested \\) ) comment)\r\n relay.test; none\r\n",
            "Authentication-Results: \"relay.test\"; none\r\n",
            "Authentication-Results: \"rel\\ay.test\"; none\r\n",
            "Authentication-Results: relay.test(x); none\r\n",
            "Authentication-Results:\r\n relay.test; none\r\n",
            // Who it is from cannot be told.
            "Authentication-Results:\r\n",
            "Authentication-Results: (open; none\r\n",
            "Authentication-Results: \"open; none\r\n",
            "Authentication-Results: ; none\r\n",
        ] {
            let content = format!("A: 1\r\n{forged}B: 2\r\n\r\nbody\r\n");
            assert_eq!(stripped(&content), "A: 1\r\nB: 2\r\n\r\nbody\r\n");
            // As the first and as the only one.
            assert_eq!(stripped(forged), "");
        }
    }

    #[test]
    fn fields_go_wherever_readers_take_the_header_to_end() {
        let forged = "Authentication-Results: relay.test; spf=pass\r\n";
        for before in [
            "no field\r\n",
            "From a Mon\r\n",
            " \r\n",
            "A: 1\r\n \r\n",
            ":\r\n",
        ] {
            let rest = "B: 2\r\n\r\n";
            let content = format!("{before}{forged}{rest}");
            assert_eq!(stripped(&content), format!("{before}{rest}"), "{before:?}");
        }
        assert_eq!(stripped(&format!(" {forged}B: 2\r\n")), "B: 2\r\n");
    }

    #[test]
    fn what_others_found_stays_and_so_does_the_body() {
        for content in [
            "Authentication-Results: mx.relay.test; spf=pass\r\n\r\n",
            "Authentication-Results: relay.test.example; spf=pass\r\n\r\n",
            "ARC-Authentication-Results: i=1; relay.test; spf=pass\r\n\r\n",
            "X-Authentication-Results: relay.test; spf=pass\r\n\r\n",
            "Subject: a\r\n Authentication-Results: relay.test; none\r\n\r\n",
            "Subject: a\r\n\r\nAuthentication-Results: relay.test; none\r\n",
            "\r\nAuthentication-Results: relay.test; none\r\n",
            " \r\nSubject: a\r\n\r\n",
            "\r\n",
            "",
        ] {
            assert_eq!(stripped(content), content);
        }
    }

    proptest::proptest! {
        #[test]
        fn once_is_enough_and_nothing_else_goes(
            content in "((Authentication-Results|authentication-results |A|no field|)(:|)[ ]?(relay\\.test|mx\\.test|\\(|\"|)(;|) ?x?\r\n[ \t]?){0,6}",
        ) {
            let mut octets = content.as_bytes().to_vec();
            let removed = strip(&mut octets, "relay.test");
            proptest::prop_assert_eq!(octets.len() + removed, content.len());
            let mut again = octets.clone();
            proptest::prop_assert_eq!(strip(&mut again, "relay.test"), 0);
            let has_none = !content.to_ascii_lowercase().contains("authentication-results");
            proptest::prop_assert!(removed == 0 || !has_none);
        }
    }
}
