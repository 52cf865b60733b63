//! What UIDL calls a message (RFC 1939 §7): one to seventy printable characters, the same in every
//! session, and never the same for two messages.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// The unique id of a message in this file of a Maildir: the file's name without what may change
/// of it, which are its flags and the notes on its size. It does not hang on our index: a mailbox
/// whose index is lost, or that comes from another server, is not fetched again.
#[must_use]
pub fn of_file(name: &str) -> String {
    let end = name.find([',', ':']).unwrap_or(name.len());
    let name = &name[..end];
    let is_fit = |octet: u8| matches!(octet, b'!'..=b'~');
    if (1..=OCTETS_MAX).contains(&name.len()) && name.bytes().all(is_fit) {
        return name.to_owned();
    }
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut id, octet| {
        // Writing to a String does not fail.
        let _ = write!(id, "{octet:02x}");
        id
    })
}

/// RFC 1939 §7.
const OCTETS_MAX: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_sizes_are_no_part_of_an_id() {
        let id = "1704067200.M1P1.c.test";
        for name in ["", ",S=9,W=10", ":2,S", ",S=9:2,RS"] {
            assert_eq!(of_file(&format!("{id}{name}")), id);
        }
    }

    #[test]
    fn names_that_do_not_fit_are_hashed() {
        let long = "1".repeat(71);
        let names = ["", "with blank", "\u{fc}ml", &long];
        let ids = names.map(of_file);
        for id in &ids {
            assert_eq!(id.len(), 64, "{id}");
        }
        assert_eq!(of_file(&"1".repeat(70)).len(), 70);
        assert_eq!(ids[3], of_file(&format!("{long}:2,S")));
        assert_ne!(ids[3], of_file(&"1".repeat(72)));
    }
}
