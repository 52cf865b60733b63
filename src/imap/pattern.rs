//! The patterns of LIST (RFC 9051 §6.3.9): `*` stands for anything, `%` for anything within a
//! level.

/// A pattern, made ready.
#[derive(Clone, Debug)]
pub struct Pattern {
    plain: Vec<char>,
    /// For INBOX and the names below it, where it begins like them in another case.
    inbox: Option<Vec<char>>,
}

impl Pattern {
    /// Takes a pattern as it stands in a command.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let inbox = match pattern.split_at_checked(INBOX.len()) {
            Some((start, rest))
                if start.eq_ignore_ascii_case(INBOX)
                    && !rest.starts_with(|c: char| c.is_alphanumeric()) =>
            {
                Some(shortened(&format!("{INBOX}{rest}")))
            }
            _ => None,
        };
        Self {
            plain: shortened(pattern),
            inbox,
        }
    }

    /// Does a folder's name match? INBOX does in any case, and so does the first level of names
    /// below it.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let is_inbox = name.split('/').next() == Some(INBOX);
        let folded = self.inbox.as_ref().filter(|_| is_inbox);
        let pattern = folded.unwrap_or(&self.plain);
        let name: Vec<char> = name.chars().collect();
        // Every second one of a shortened pattern is a letter of the name, at least.
        if pattern.len() > 2 * name.len() + 1 {
            return false;
        }
        // For every place in the name: can what was read of the pattern end there? No
        // backtracking, so no pattern takes longer than its length times the name's.
        let mut ends = vec![false; name.len() + 1];
        ends[0] = true;
        for &c in pattern {
            match c {
                '*' | '%' => {
                    for at in 1..=name.len() {
                        ends[at] = ends[at] || ends[at - 1] && (c == '*' || name[at - 1] != '/');
                    }
                }
                c => {
                    for at in (1..=name.len()).rev() {
                        ends[at] = ends[at - 1] && name[at - 1] == c;
                    }
                    ends[0] = false;
                }
            }
        }
        ends[name.len()]
    }
}

/// The pattern without wildcards that say nothing more than the one before.
fn shortened(pattern: &str) -> Vec<char> {
    let mut short: Vec<char> = Vec::new();
    for c in pattern.chars() {
        match (short.last_mut(), c) {
            (Some(last @ ('*' | '%')), '*' | '%') => {
                if c == '*' {
                    *last = c;
                }
            }
            _ => short.push(c),
        }
    }
    short
}

const INBOX: &str = "INBOX";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_go_through_levels_and_percents_do_not() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a/*", "a", false),
            ("%/%", "a/b", true),
            ("*b*", "a/b/c", true),
            ("a", "A", false),
            ("inbox", "INBOX", true),
            ("InBox/%", "INBOX/x", true),
            ("i%", "INBOX", false),
            ("", "", true),
            ("%", "Entwürfe", true),
            ("%*%", "a/b", true),
            ("a%%%b", "ab", true),
            ("*%/%%", "a/b/c", true),
            ("%a%", "a", true),
            ("%a%b%", "a", false),
        ] {
            let found = Pattern::new(pattern).matches(name);
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_thousand_stars_take_no_longer_than_their_number() {
        let pattern = "*a".repeat(1000);
        assert!(!Pattern::new(&pattern).matches(&"a".repeat(900)));
    }
}
