//! The patterns of LIST (RFC 9051 §6.3.9): `*` stands for anything, `%` for anything within a
//! level.

/// Does a folder's name match? INBOX does in any case, and so does the first level of names below
/// it.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let folded;
    let first = name.split('/').next().unwrap_or_default();
    let pattern = match pattern.get(..first.len()) {
        Some(start)
            if first == "INBOX"
                && start.eq_ignore_ascii_case(first)
                && !pattern[first.len()..].starts_with(|c: char| c.is_alphanumeric()) =>
        {
            folded = format!("{first}{}", &pattern[first.len()..]);
            &folded
        }
        _ => pattern,
    };
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // For every place in the name: can what was read of the pattern end there? No backtracking, so
    // no pattern takes longer than its length times the name's.
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    for c in pattern {
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
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_thousand_stars_take_no_longer_than_their_number() {
        let pattern = "*a".repeat(1000);
        assert!(!matches(&pattern, &"a".repeat(900)));
    }
}
