//! What an IMAP server says, read as strictly as a client would (RFC 9051 §9).

/// One line of a server's with the literals in it.
pub struct Answer<'a> {
    /// The first word: a tag, `*` or `+`.
    pub tag: &'a [u8],
    /// The whole line, without its end.
    pub line: &'a [u8],
}

/// Cuts what a server said into its answers; an error where that is not well formed.
pub fn answers(said: &[u8]) -> Result<Vec<Answer<'_>>, String> {
    let mut answers = Vec::new();
    let mut rest = said;
    while !rest.is_empty() {
        let len = line(rest).map_err(|why| format!("{why}: {:?}", shown(rest)))?;
        let line = &rest[..len];
        let tag = line
            .split(|octet| *octet == b' ')
            .next()
            .unwrap_or_default();
        answers.push(Answer { tag, line });
        rest = &rest[len + 2..];
    }
    Ok(answers)
}

/// Octets of the line that begins here. Text behind OK, NO, BAD, BYE and PREAUTH may be anything;
/// elsewhere quotes, literals and parentheses have to match.
fn line(said: &[u8]) -> Result<usize, &'static str> {
    let end = memchr::memmem::find(said, b"\r\n").ok_or("a line without end")?;
    let words: Vec<&[u8]> = said[..end].splitn(3, |octet| *octet == b' ').collect();
    let is_state = |word: &&[u8]| [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].contains(word);
    if words.first() == Some(&&b"+"[..]) || words.get(1).is_some_and(is_state) {
        let is_text = said[..end]
            .iter()
            .all(|octet| !matches!(octet, 0 | b'\r' | b'\n'));
        return is_text.then_some(end).ok_or("control octets in a text");
    }
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match *said.get(at).ok_or("a line without end")? {
            b'\r' if said.get(at + 1) == Some(&b'\n') => {
                return (depth == 0).then_some(at).ok_or("parentheses do not match");
            }
            b'\r' | b'\n' | 0 => return Err("a bare CR, LF or NUL"),
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1).ok_or("parentheses do not match")?,
            b'"' => at = quoted(said, at)?,
            b'{' => at = literal(said, at)?,
            _ => {}
        }
        at += 1;
    }
}

/// The place of the closing quote.
fn quoted(said: &[u8], start: usize) -> Result<usize, &'static str> {
    let mut at = start + 1;
    loop {
        match *said.get(at).ok_or("a quoted string without end")? {
            b'"' => return Ok(at),
            b'\\' if matches!(said.get(at + 1), Some(b'"' | b'\\')) => at += 2,
            b'\\' => return Err("a backslash before what needs none"),
            b'\r' | b'\n' | 0 => return Err("a line end or NUL in a quoted string"),
            _ => at += 1,
        }
    }
}

/// The place of the literal's last octet.
fn literal(said: &[u8], start: usize) -> Result<usize, &'static str> {
    let rest = &said[start + 1..];
    let end = rest.iter().position(|octet| !octet.is_ascii_digit());
    let end = end.ok_or("a literal without end")?;
    if end == 0 || !rest[end..].starts_with(b"}\r\n") {
        return Err("a brace that begins no literal");
    }
    let len = str::from_utf8(&rest[..end])
        .ok()
        .and_then(|digits| digits.parse::<usize>().ok());
    let len = len.ok_or("a literal that is too long")?;
    let last = start + 1 + end + 2 + len;
    let is_binary = start > 0 && said[start - 1] == b'~';
    let content = said
        .get(start + 1 + end + 3..=last)
        .ok_or("a literal that is cut off")?;
    if !is_binary && content.contains(&0) {
        return Err("NUL in a literal");
    }
    Ok(last)
}

/// The beginning, for a complaint.
#[must_use]
pub fn shown(octets: &[u8]) -> String {
    String::from_utf8_lossy(&octets[..octets.len().min(400)]).into_owned()
}
