//! The words of a command: what is between spaces, where quotes, literals and parentheses hold
//! together what they enclose.

/// Cuts a line, without its last CRLF, into words; `None` when quotes or parentheses do not match.
#[must_use]
pub fn words(line: &[u8]) -> Option<Vec<&[u8]>> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' if depth == 0 => {
                words.push(&line[start..at]);
                start = at + 1;
            }
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b'"' => at = end_of_quoted(line, at)?,
            b'{' => at = end_of_literal(line, at),
            _ => {}
        }
        at += 1;
    }
    words.push(&line[start..]);
    (depth == 0).then_some(words)
}

/// The words of a list in parentheses; `None` for what is none.
#[must_use]
pub fn inside(list: &[u8]) -> Option<Vec<&[u8]>> {
    let inner = list.strip_prefix(b"(")?.strip_suffix(b")")?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    // `(a) (b)` begins and ends like a list and is none.
    words(inner)
}

/// The place of the closing quote.
fn end_of_quoted(line: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The last place of a literal that begins at `start`; `start` when none does.
fn end_of_literal(line: &[u8], start: usize) -> usize {
    let rest = &line[start + 1..];
    let digits = rest
        .iter()
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let Some(after) = rest.get(digits..) else {
        return start;
    };
    let after_plus = after.strip_prefix(b"+").unwrap_or(after);
    let Some(content) = after_plus.strip_prefix(b"}\r\n") else {
        return start;
    };
    let len = str::from_utf8(&rest[..digits])
        .ok()
        .and_then(|digits| digits.parse().ok());
    let content_start = line.len() - content.len();
    match len {
        Some(0) => content_start - 1,
        Some(len) if len <= content.len() => content_start + len - 1,
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(line: &str) -> Option<Vec<String>> {
        let words = words(line.as_bytes())?;
        Some(
            words
                .iter()
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect(),
        )
    }

    #[test]
    fn quotes_literals_and_parentheses_hold_together() {
        for (line, expected) in [
            ("a b", vec!["a", "b"]),
            ("a  b", vec!["a", "", "b"]),
            ("a (b (c d)) e", vec!["a", "(b (c d))", "e"]),
            ("a \"b \\\" (c\" d", vec!["a", "\"b \\\" (c\"", "d"]),
            ("a {4}\r\nb) ( c", vec!["a", "{4}\r\nb) (", "c"]),
            ("a ~{0+}\r\n c", vec!["a", "~{0+}\r\n", "c"]),
            ("a B[H (A B)]<1.2> c", vec!["a", "B[H", "(A B)]<1.2>", "c"]),
            ("a {x}", vec!["a", "{x}"]),
        ] {
            assert_eq!(strings(line).unwrap(), expected, "{line}");
        }
        for line in ["a (b", "a b)", "a \"b", "a \"b\\", ")("] {
            assert_eq!(strings(line), None, "{line}");
        }
    }

    #[test]
    fn a_list_has_words_inside() {
        assert_eq!(inside(b"(a (b c))").unwrap(), [&b"a"[..], b"(b c)"]);
        assert_eq!(inside(b"()").unwrap(), Vec::<&[u8]>::new());
        assert_eq!(inside(b"(a) (b)"), None);
        assert_eq!(inside(b"a"), None);
    }
}
