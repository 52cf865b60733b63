//! Any message, as IMAP shows it: parts lie within it, answers are well formed, what is kept reads
//! the same, searches agree with what is kept.
#![no_main]

use std::num::NonZeroU32;

use imap_codec::imap_types::core::{AString, Vec1};
use imap_codec::imap_types::extensions::sort::{SortCriterion, SortKey};
use imap_codec::imap_types::fetch::{Part as Numbers, Section};
use libfuzzer_sys::fuzz_target;
use ringpost::imap::mime::{DEPTH_MAX, PARTS_MAX, Part};
use ringpost::imap::search::{Evidence, Facts, Flags, Key, Scan, Told, matches};
use ringpost::imap::sort::{Candidate, sort};
use ringpost::imap::summary::Summary;
use ringpost::imap::thread::{Member, by_references, by_subject};
use ringpost::imap::{field, section, subject};
use ringpost_fuzz::answers::{answers, shown};

fn facts(uid: u32, size: usize) -> Facts {
    Facts {
        number: uid,
        uid,
        modseq: 1,
        size: size as u32,
        saved: 0,
        flags: Flags::default(),
        keywords: 0,
        recent: false,
    }
}

fn sections(raw: &[u8], message: &Part) {
    let numbers = [1, 2].map(|number| NonZeroU32::new(number).expect("not zero"));
    let numbers = Numbers(Vec1::try_from(numbers.to_vec()).expect("not empty"));
    let names = Vec1::from(AString::try_from("Subject").expect("a name"));
    for part in [None, Some(numbers)] {
        let mut all = vec![
            Section::Header(part.clone()),
            Section::Text(part.clone()),
            Section::HeaderFields(part.clone(), names.clone()),
            Section::HeaderFieldsNot(part.clone(), names.clone()),
        ];
        all.extend(part.map(Section::Part));
        for section in all {
            if let Some(octets) = section::octets(raw, message, Some(&section)) {
                assert!(octets.len() <= raw.len() + 2, "more than there is");
            }
        }
    }
}

fn searches(raw: &[u8], message: &Part, summary: &Summary) {
    let found = |key: &Key| {
        let mut scan = Scan::new(key, raw, message);
        while scan.step() {}
        let evidence = Evidence {
            told: Some(&Told::by(summary)),
            seen: Some(&scan.end()),
        };
        matches(key, &facts(1, raw.len()), evidence)
    };
    let word: String = summary.subject.to_lowercase().chars().take(5).collect();
    let subject = Key::Subject(word.clone());
    assert_eq!(found(&subject), Some(true), "its own subject");
    assert_eq!(found(&Key::Not(Box::new(subject))), Some(false));
    assert_eq!(
        found(&Key::Text(String::new())),
        Some(true),
        "nothing is everywhere"
    );
    let in_body = found(&Key::Body(word.clone()));
    assert!(
        in_body != Some(true) || found(&Key::Text(word)) == Some(true),
        "TEXT has BODY"
    );
}

fuzz_target!(|raw: &[u8]| {
    let message = Part::read(raw);
    let mut count = 0;
    for part in message.all() {
        count += 1;
        assert!(part.header.start <= part.header.end && part.header.end <= part.body.start);
        assert!(part.body.start <= part.body.end && part.body.end <= raw.len());
        if let Some(decoded) = part.decoded(raw) {
            let body = part.body_of(raw);
            // A line that ends in LF alone gets its CR.
            let lines = body.iter().filter(|octet| **octet == b'\n').count();
            assert!(decoded.len() <= body.len() + lines + 2, "grown by decoding");
        }
        let _ = part.text(raw);
    }
    assert!(count <= PARTS_MAX + DEPTH_MAX + 2);
    let summary = Summary::with(raw, &message);
    for written in [&summary.envelope, &summary.body, &summary.structure] {
        let line = [b"* 1 FETCH ", &written[..], b"\r\n"].concat();
        match answers(&line) {
            Ok(lines) => assert_eq!(lines.len(), 1),
            Err(why) => panic!("{why}: {}", shown(written)),
        }
    }
    assert!(summary.preview.chars().count() <= 256);
    assert!(!summary.preview.contains(['\r', '\n', '\0']));
    if let Some(kept) = summary.encode() {
        assert_eq!(Summary::decode(&kept).as_ref(), Some(&summary));
    }
    let _ = Summary::decode(raw);
    sections(raw, &message);
    searches(raw, &message, &summary);
    for found in field::fields(message.header_of(raw)) {
        let _ = (
            field::addresses(found.value, true),
            field::sent(found.value),
        );
        let _ = (field::typed(found.value), field::ids(found.value));
    }
    let (base, _) = subject::base(&summary.subject);
    assert_eq!(subject::base(&base).0, base, "the base of a base is itself");

    let keys = [
        SortKey::Date,
        SortKey::Subject,
        SortKey::From,
        SortKey::DisplayTo,
    ];
    let criteria: Vec<_> = keys
        .map(|key| SortCriterion {
            reverse: false,
            key,
        })
        .into();
    let others = [Summary::default(), summary];
    let mut all: Vec<_> = (0_u32..4)
        .map(|n| Candidate::new(facts(n + 1, n as usize), &others[n as usize % 2], &criteria))
        .collect();
    sort(&mut all, &criteria);
    let mut again = all.clone();
    again.reverse();
    sort(&mut again, &criteria);
    assert_eq!(all, again, "an order does not depend on where it began");
    let members: Vec<_> = (0_u32..4)
        .map(|n| Member::new(n + 100, &facts(n + 1, 0), &others[n as usize % 2]))
        .collect();
    for threads in [by_references(&members), by_subject(&members)] {
        for member in &members {
            assert_eq!(
                threads.matches(&member.name.to_string()).count(),
                1,
                "{threads}"
            );
        }
    }
});
