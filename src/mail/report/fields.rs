//! Blocks of fields, as reports have them for programs (RFC 3464 §2.1): the grammar is that of a
//! header, so a value may be folded and may have comments in it.

/// The fields between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block(Vec<(String, String)>);

impl Block {
    /// The first field of a name.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All fields of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|(_, value)| &**value)
    }
}

/// The blocks of a part, whatever its lines end with.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = Block> {
    let mut blocks = vec![Block::default()];
    let mut fields = 0;
    for line in text.lines() {
        let Some(block) = blocks.last_mut() else {
            break;
        };
        if line.trim().is_empty() {
            if !block.0.is_empty() {
                blocks.push(Block::default());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = block.0.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields += 1;
            if fields > FIELDS_MAX {
                break;
            }
            let field = (name.trim().to_owned(), value.trim().to_owned());
            block.0.push(field);
        }
    }
    blocks.into_iter().filter(|block| !block.0.is_empty())
}

/// A value without its comments (RFC 5322 §3.2.2), which may be nested and quoted.
pub(super) fn plain(value: &str) -> String {
    let (mut depth, mut is_quoted, mut is_escaped) = (0u32, false, false);
    let mut kept = String::with_capacity(value.len());
    for c in value.chars() {
        let was_escaped = is_escaped;
        is_escaped = c == '\\' && !was_escaped;
        match c {
            '"' if depth == 0 && !was_escaped => is_quoted = !is_quoted,
            '(' if !is_quoted && !was_escaped => depth += 1,
            ')' if depth > 0 && !was_escaped => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            kept.push(c);
        }
    }
    kept.trim().to_owned()
}

/// `type; value`. The type's comments are of no interest; those of the value stay: in a reply they are
/// words.
pub(super) fn typed(value: &str) -> (String, String) {
    match value.split_once(';') {
        Some((kind, rest)) => (plain(kind), rest.trim().to_owned()),
        None => (String::new(), value.trim().to_owned()),
    }
}

/// Fields that are read of one part: of a hundred recipients each has a dozen.
const FIELDS_MAX: usize = 1200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_unfolded_and_blocks_are_told_apart() {
        let text = "A: 1\r\n  2\r\nb:3\n\n\r\nC : 4\n\t5\nno field\n a\n\n";
        let blocks: Vec<Block> = blocks(text).collect();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].find("a"), Some("1 2"));
        assert_eq!(blocks[0].find("B"), Some("3"));
        assert_eq!(blocks[1].find("c"), Some("4 5 a"));
        assert_eq!(blocks[1].find("a"), None);
    }

    #[test]
    fn comments_go_wherever_they_stand() {
        for (value, left) in [
            ("5.1.1 (no (such) user)", "5.1.1"),
            ("(a) failed(b)", "failed"),
            ("\"a (b)\" c", "\"a (b)\" c"),
            ("(never ends", ""),
            ("(a \\) b) c", "c"),
            ("a) b", "a) b"),
        ] {
            assert_eq!(plain(value), left, "{value}");
        }
        assert_eq!(
            typed("(x) smtp ; 550 (a) b"),
            ("smtp".into(), "550 (a) b".into())
        );
        assert_eq!(typed("bare"), (String::new(), "bare".into()));
    }

    #[test]
    fn a_part_without_end_has_one() {
        let text = "A: 1\n".repeat(FIELDS_MAX * 2);
        let count = blocks(&text).map(|block| block.0.len()).sum::<usize>();
        assert_eq!(count, FIELDS_MAX);
    }
}
