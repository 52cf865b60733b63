//! THREAD over many messages that refer to each other in any way: nobody is lost or doubled.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ringpost::imap::search::{Facts, Flags};
use ringpost::imap::summary::Summary;
use ringpost::imap::thread::{Member, by_references, by_subject};

#[derive(Arbitrary, Debug)]
struct Drawn {
    subject: u8,
    reply: bool,
    id: u8,
    sent: i8,
    references: Vec<u8>,
}

fuzz_target!(|drawn: Vec<Drawn>| {
    let members: Vec<Member> = (0..)
        .zip(&drawn)
        .take(60)
        .map(|(at, one)| {
            let summary = Summary {
                subject: format!("{}{}", if one.reply { "Re: " } else { "" }, one.subject % 5),
                id: format!("{}@x", one.id % 20),
                references: one
                    .references
                    .iter()
                    .take(8)
                    .map(|id| format!("{}@x", id % 24))
                    .collect(),
                ..Summary::default()
            };
            let facts = Facts {
                number: at,
                uid: at,
                modseq: 1,
                size: 1,
                saved: one.sent.into(),
                flags: Flags::default(),
                keywords: 0,
                recent: false,
            };
            Member::new(at + 1000, &facts, &summary)
        })
        .collect();
    for threads in [by_references(&members), by_subject(&members)] {
        let mut depth = 0_i32;
        for c in threads.chars() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            assert!(depth >= 0 && (depth > 0 || c == ')'), "{threads}");
        }
        assert_eq!(depth, 0, "{threads}");
        assert!(!threads.contains("()"), "{threads}");
        for member in &members {
            assert_eq!(
                threads.matches(&member.name.to_string()).count(),
                1,
                "{threads}"
            );
        }
    }
});
