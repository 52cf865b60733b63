//! Flags of messages: IMAP's system flags as bits, keywords as places in a folder's table, and both
//! as the letters that Maildir puts into file names.

#![forbid(unsafe_code)]

use std::ops::{BitAnd, BitOr, Not};

/// System flags (RFC 9051 §2.3.2) as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct System(u8);

impl System {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `\Answered`
    pub const ANSWERED: Self = Self(1);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(2);
    /// `\Deleted`
    pub const DELETED: Self = Self(4);
    /// `\Seen`
    pub const SEEN: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);
    /// Maildir's `P`: passed on. No client of ours sees or changes it; it is kept for the
    /// programs that do.
    pub const PASSED: Self = Self(32);

    /// All of `other`'s flags are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// None is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits, as they are kept on disk.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Flags out of bits; those that nobody knows are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 63)
    }
}

impl BitOr for System {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for System {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for System {
    type Output = Self;

    fn not(self) -> Self {
        Self::from_bits(!self.0)
    }
}

/// All flags of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// The system flags.
    pub system: System,
    /// Keywords: bit *n* is the *n*th of the folder's table.
    pub keywords: u64,
}

/// What is done with flags (RFC 9051 §6.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

impl Flags {
    /// These flags after a change.
    #[must_use]
    pub fn changed(self, how: Change, by: Self) -> Self {
        match how {
            Change::Add => Self {
                system: self.system | by.system,
                keywords: self.keywords | by.keywords,
            },
            Change::Remove => Self {
                system: self.system & !by.system,
                keywords: self.keywords & !by.keywords,
            },
            Change::Replace => Self {
                system: (by.system & !System::PASSED) | (self.system & System::PASSED),
                keywords: by.keywords,
            },
        }
    }

    /// The letters of a file name, in the order of ASCII that Maildir asks for. A keyword beyond
    /// the twenty-sixth has no letter and lives in the index alone.
    #[must_use]
    pub fn letters(self) -> String {
        let system = LETTERS
            .iter()
            .filter(|(_, flag)| self.system.contains(*flag))
            .map(|(letter, _)| *letter);
        let keywords = (b'a'..=b'z')
            .enumerate()
            .filter(|(place, _)| self.keywords >> place & 1 == 1)
            .map(|(_, letter)| char::from(letter));
        system.chain(keywords).collect()
    }

    /// Reads the letters of a file name, where `keywords` have letters. The rest are letters that
    /// mean nothing to us, which stay where they are.
    #[must_use]
    pub fn from_letters(letters: &str, keywords: usize) -> (Self, String) {
        let (mut flags, mut rest) = (Self::default(), String::new());
        for letter in letters.chars() {
            let system = LETTERS.iter().find(|(known, _)| *known == letter);
            let place = u32::from(letter).wrapping_sub(u32::from('a'));
            if let Some((_, flag)) = system {
                flags.system = flags.system | *flag;
            } else if letter.is_ascii_lowercase() && (place as usize) < keywords {
                flags.keywords |= 1 << place;
            } else {
                rest.push(letter);
            }
        }
        (flags, rest)
    }
}

/// How many keywords a folder can have.
pub const KEYWORDS_MAX: usize = 64;

/// How many keywords have letters.
pub const KEYWORD_LETTERS: usize = 26;

/// The keywords that a file name shows.
pub(super) const LETTER_KEYWORDS: u64 = (1 << KEYWORD_LETTERS) - 1;

/// In the order of ASCII.
const LETTERS: [(char, System); 6] = [
    ('D', System::DRAFT),
    ('F', System::FLAGGED),
    ('P', System::PASSED),
    ('R', System::ANSWERED),
    ('S', System::SEEN),
    ('T', System::DELETED),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_flags_are_each_others_inverse() {
        for system in 0..64 {
            for keywords in [0, 1, 5, 1 << 25] {
                let flags = Flags {
                    system: System::from_bits(system),
                    keywords,
                };
                let letters = flags.letters();
                assert!(letters.is_sorted_by(|a: &u8, b: &u8| a < b) || letters.is_empty());
                assert_eq!(Flags::from_letters(&letters, 26), (flags, String::new()));
            }
        }
    }

    trait Sorted {
        fn is_sorted_by(&self, by: impl Fn(&u8, &u8) -> bool) -> bool;
    }

    impl Sorted for String {
        fn is_sorted_by(&self, by: impl Fn(&u8, &u8) -> bool) -> bool {
            self.as_bytes().is_sorted_by(by)
        }
    }

    #[test]
    fn letters_of_others_are_left_over_and_not_taken_for_flags() {
        let (flags, rest) = Flags::from_letters("FSXab", 1);
        assert_eq!(flags.system, System::FLAGGED | System::SEEN);
        assert_eq!((flags.keywords, &*rest), (1, "Xb"));
    }

    #[test]
    fn a_change_touches_what_it_names_and_never_the_passed_flag() {
        let of = |system, keywords| Flags { system, keywords };
        let before = of(System::SEEN | System::PASSED, 3);
        let by = of(System::DRAFT, 4);
        let add = before.changed(Change::Add, by);
        assert_eq!(add, of(System::SEEN | System::PASSED | System::DRAFT, 7));
        let replaced = before.changed(Change::Replace, by);
        assert_eq!(replaced, of(System::DRAFT | System::PASSED, 4));
        let removed = before.changed(Change::Remove, of(System::SEEN, 1));
        assert_eq!(removed, of(System::PASSED, 2));
    }
}
