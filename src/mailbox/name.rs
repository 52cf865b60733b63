//! Names of folders: as users see them (UTF-8, levels parted by `/`), and as directories of a
//! Maildir++ (modified UTF-7 of RFC 3501 §5.1.3, a dot before each level).
//!
//! ```text
//! INBOX            the Maildir itself
//! Archive/2024     .Archive.2024
//! Entwürfe         .Entw&APw-rfe
//! ```

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// The name of a folder in its one form: `INBOX` in capitals, no empty level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderName(Box<str>);

/// No folder can have this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl FolderName {
    /// Takes a name as a user writes it.
    pub fn new(name: &str) -> Result<Self, BadName> {
        let name = name.strip_suffix('/').unwrap_or(name);
        let first = name.split('/').next().unwrap_or_default();
        let mut whole = String::with_capacity(name.len());
        if first.eq_ignore_ascii_case(INBOX) {
            whole.push_str(INBOX);
            whole.push_str(&name[first.len()..]);
        } else {
            whole.push_str(name);
        }
        // The dot parts levels on disk; a control octet would spoil listings and logs.
        let is_bad =
            |level: &str| level.is_empty() || level.chars().any(|c| c.is_control() || c == '.');
        if whole.split('/').any(is_bad) {
            return Err(BadName);
        }
        let name = Self(whole.into());
        if name
            .directory()
            .is_some_and(|path| path.len() > DIRECTORY_OCTETS_MAX)
        {
            return Err(BadName);
        }
        Ok(name)
    }

    /// The INBOX.
    #[must_use]
    pub fn inbox() -> Self {
        Self(INBOX.into())
    }

    /// Is it the INBOX?
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == INBOX
    }

    /// As users see it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory within the Maildir; `None` for INBOX, which is the Maildir.
    #[must_use]
    pub fn directory(&self) -> Option<String> {
        if self.is_inbox() {
            return None;
        }
        let levels = self
            .0
            .split('/')
            .map(|level| format!(".{}", to_utf7(level)));
        Some(levels.collect())
    }

    /// The name of a directory within a Maildir; `None` when it is no folder's.
    #[must_use]
    pub fn from_directory(directory: &str) -> Option<Self> {
        let levels = directory.strip_prefix('.')?.split('.');
        let levels: Option<Vec<String>> = levels.map(from_utf7).collect();
        let name = Self::new(&levels?.join("/")).ok()?;
        // One directory, one name: anything else would be two folders in one place.
        (name.directory().as_deref() == Some(directory)).then_some(name)
    }

    /// Is `other` somewhere below this one?
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let below = other.0.strip_prefix(&*self.0);
        below.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Is one of `names` somewhere below this one?
    #[must_use]
    pub fn has_one_below(&self, names: &BTreeSet<Self>) -> bool {
        let first = Self(format!("{}/", self.0).into());
        let found = names.range(first..).next();
        found.is_some_and(|other| self.contains(other))
    }

    /// The name of the folder above.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
    }

    /// This name, where `from` is called `to`.
    #[must_use]
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(&*from.0)?;
        Self::new(&format!("{}{rest}", to.0)).ok()
    }
}

impl std::fmt::Display for FolderName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Modified UTF-7 (RFC 3501 §5.1.3).
#[must_use]
pub fn to_utf7(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut shifted: Vec<u8> = Vec::new();
    let flush = |shifted: &mut Vec<u8>, out: &mut String| {
        if !shifted.is_empty() {
            out.push('&');
            BASE64.encode_string(&*shifted, out);
            out.push('-');
            shifted.clear();
        }
    };
    for c in text.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut shifted, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    flush(&mut shifted, &mut out);
    out
}

/// Reads modified UTF-7; `None` where it is none.
#[must_use]
pub fn from_utf7(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, shifted)) = rest.split_once('&') {
        out.push_str(plain);
        let (shifted, after) = shifted.split_once('-')?;
        if shifted.is_empty() {
            out.push('&');
        } else {
            let octets = BASE64.decode(shifted).ok()?;
            let (pairs, odd) = octets.as_chunks::<2>();
            if !odd.is_empty() {
                return None;
            }
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            out.push_str(&String::from_utf16(&units).ok()?);
        }
        rest = after;
    }
    out.push_str(rest);
    // One name, one spelling: no shift that is not needed, nothing shifted that need not be
    // (RFC 3501 §5.1.3).
    (to_utf7(&out) == text).then_some(out)
}

const INBOX: &str = "INBOX";

/// What file systems take for one name.
const DIRECTORY_OCTETS_MAX: usize = 255;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        // RFC 3501 §5.1.3 names the second; the first of each pair is what it should be.
        for (one, other) in [
            ("&msCawA-", "&msA-&msA-"),
            ("&U,BTF2XlZyyKng-", "&U,BTFw-&ZeVnLIqe-"),
            ("a", "&AGE-"),
            ("&-", "&ACY-"),
        ] {
            assert_eq!(to_utf7(&from_utf7(one).unwrap()), one);
            assert_eq!(from_utf7(other), None, "{other}");
        }
        assert_eq!(from_utf7("a\tb"), None);
    }

    #[test]
    fn the_examples_of_the_rfc_and_of_the_picture() {
        // RFC 3501 §5.1.3.
        let rfc = "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}";
        assert_eq!(to_utf7(rfc), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(
            from_utf7("&U,BTFw-/&ZeVnLIqe-"),
            Some("\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}".into())
        );
        for (name, directory) in [
            ("Archive/2024", ".Archive.2024"),
            ("Entw\u{fc}rfe", ".Entw&APw-rfe"),
            ("a&b", ".a&-b"),
            ("INBOX/x", ".INBOX.x"),
        ] {
            let folder = FolderName::new(name).unwrap();
            assert_eq!(folder.directory().as_deref(), Some(directory));
            assert_eq!(FolderName::from_directory(directory), Some(folder));
        }
    }

    #[test]
    fn what_lies_below_is_found_behind_names_that_sort_before_it() {
        let names = ["a", "a b", "a/b", "aa/b", "c"];
        let names = names.map(|name| FolderName::new(name).unwrap());
        let all = BTreeSet::from(names.clone());
        let parents: Vec<&str> = names
            .iter()
            .filter(|name| name.has_one_below(&all))
            .map(FolderName::as_str)
            .collect();
        assert_eq!(parents, ["a"]);
    }

    #[test]
    fn inbox_is_one_folder_in_any_case_and_other_names_keep_theirs() {
        assert!(FolderName::new("inBox").unwrap().is_inbox());
        assert_eq!(FolderName::new("inbox/A").unwrap().as_str(), "INBOX/A");
        assert_eq!(FolderName::new("Sent/").unwrap().as_str(), "Sent");
        assert!(!FolderName::new("inboxes").unwrap().is_inbox());
    }

    #[test]
    fn names_that_no_directory_can_have_are_refused() {
        let long = "x".repeat(255);
        for bad in [
            "", "/", "a//b", "/a", "a.b", "..", "a/../b", "a\nb", "\0", &*long,
        ] {
            assert_eq!(FolderName::new(bad), Err(BadName), "{bad:?}");
        }
        for directory in ["", "a", ".", "..", ".a.", ".&", ".&AGE-", ".\u{fc}", ".a/b"] {
            assert_eq!(FolderName::from_directory(directory), None, "{directory:?}");
        }
    }

    #[test]
    fn a_folder_knows_what_is_below_it() {
        let of = |name| FolderName::new(name).unwrap();
        assert!(of("a").contains(&of("a/b")) && !of("a").contains(&of("ab")));
        assert!(!of("a").contains(&of("a")));
        assert_eq!(of("a/b/c").moved(&of("a/b"), &of("x")), Some(of("x/c")));
        assert_eq!(
            (of("a/b").parent(), of("a").parent()),
            (Some(of("a")), None)
        );
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_directory(name in "[^/.\\p{C}]{1,20}(/[^/.\\p{C}]{1,20}){0,2}") {
            if let Ok(folder) = FolderName::new(&name)
                && let Some(directory) = folder.directory()
            {
                prop_assert_eq!(FolderName::from_directory(&directory), Some(folder));
            }
        }

        #[test]
        fn whatever_stands_on_disk_is_read_without_harm(directory in "\\PC{0,40}") {
            let _ = FolderName::from_directory(&directory);
            let _ = from_utf7(&directory);
        }
    }
}
