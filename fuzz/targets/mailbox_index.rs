//! A mailbox whose index, and whose other small files, are anything at all: it opens, its messages
//! are all there and whole, and no UID ever stands for two of them.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use ringpost::mailbox::index::Index;
use ringpost::mailbox::record::{Added, Found, Head, Looked, Record, Row, find, item};
use ringpost::mailbox::{Accounts, Flags, Limit, NewMessage, System};
use ringpost::sim::{Sim, SimWorld};
use ringpost_fuzz::headed;

const USER: &str = "u@d.test";

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    validity: u32,
    next: u32,
    content: BTreeMap<u32, Vec<u8>>,
}

async fn look(world: SimWorld, adds: usize) -> Seen {
    let accounts = Accounts::new(
        &world,
        Path::new("mailboxes"),
        "relay.test",
        Limit::default(),
        |_| (),
    );
    let account = accounts.open(USER).await.expect("an account");
    let folder = account.folder("INBOX").await.expect("a folder");
    for number in 0..adds {
        let content = format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(number * 30));
        let new = NewMessage {
            content: content.as_bytes(),
            flags: System::NONE,
            keywords: &["$Word"],
            saved: Some(number as i64),
        };
        let uid = folder.append(new).await.expect("room");
        folder.keep_summary(uid, b"kept").await;
    }
    assert!(
        folder.uid_validity() > 0 && folder.uid_next() > 0,
        "a number that no client takes"
    );
    let mut content = BTreeMap::new();
    for entry in folder.entries() {
        let octets = folder.read(entry.uid).await.expect("a message");
        assert_eq!(octets.len(), entry.size as usize);
        assert!(entry.uid < folder.uid_next() && entry.modseq <= folder.highest_modseq());
        let _ = folder.summary(entry.uid).await;
        assert_eq!(content.insert(entry.uid, octets), None);
    }
    let listed = account.folders().await.expect("a list");
    assert!(listed.iter().any(|info| info.name.as_str() == "INBOX"));
    let _ = account.subscriptions().await;
    Seen {
        validity: folder.uid_validity(),
        next: folder.uid_next(),
        content,
    }
}

/// Writes octets over a file, or in place of it.
fn damage(sim: &Sim, world: &SimWorld, mode: u8, octets: &[u8]) {
    let names = [
        "ringpost.index",
        "ringpost.toml",
        "subscriptions",
        "dovecot-uidlist",
    ];
    let path: PathBuf = Path::new("mailboxes")
        .join(USER)
        .join(names[usize::from(mode >> 6)]);
    let file = sim.disk(world.node()).open(&path, true).expect("a file");
    if mode & 32 != 0 {
        file.set_len(0).expect("no octets");
    }
    // Two octets of place, one of length, and what stands there then: as often as there are any.
    let mut rest = octets;
    if mode & 16 != 0 {
        file.write_at(rest, 0).expect("octets");
        return;
    }
    while let [low, high, len, after @ ..] = rest {
        let len = usize::from(*len).min(after.len());
        let (now, later) = after.split_at(len);
        let place = u64::from(u16::from_le_bytes([*low, *high]) & 0xfff);
        file.write_at(now, place).expect("octets");
        rest = later;
    }
}

/// A record out of a few octets.
fn drawn(octets: &[u8; 6]) -> Record {
    let [kind, uid, modseq, bits, place, more] = *octets;
    let (uid, modseq) = (u32::from(uid), u64::from(modseq));
    let system = System::from_bits(bits & 63);
    let flags = Flags {
        system,
        keywords: u64::from(place),
    };
    let row = |uid| Row {
        uid,
        modseq,
        system,
        size: u32::from(more),
        ..Row::default()
    };
    let name = format!("{more}");
    match kind % 10 {
        0 => Record::Rows(vec![row(uid), row(uid.wrapping_add(u32::from(place)))]),
        1 => Record::Flagged {
            modseq,
            changes: vec![(uid, flags)],
        },
        2 => Record::Expunged(vec![(modseq, uid), (modseq, uid + 1)]),
        3 => Record::Keyword { place, name },
        4 => Record::Recent(uid),
        5 => Record::Renamed { uid, bits, name },
        6 => Record::Summary {
            uid,
            octets: name.into_bytes(),
        },
        7 => Record::Looked(Looked {
            cur: i64::from(bits),
            new: 0,
        }),
        8 => Record::Added(vec![Added {
            row: row(u32::MAX - uid),
            name,
        }]),
        _ => Record::Added(vec![
            Added {
                row: row(uid),
                name: name.clone(),
            },
            Added {
                row: row(uid + 1),
                name,
            },
        ]),
    }
}

/// Records without a disk: each is read as it was written, and fits or is refused.
fn records(octets: &[u8]) {
    let mut index = Index::new(Head {
        uid_validity: 1,
        uid_next: 1,
        ..Head::default()
    });
    let mut at = 64;
    for six in octets.as_chunks::<6>().0 {
        let record = drawn(six);
        let mut written = Vec::new();
        record.encode(1, at, &mut written);
        let Found::Record {
            record,
            octets: len,
            ..
        } = find(&written, at)
        else {
            panic!("what was written is not found");
        };
        assert_eq!(written.len(), len);
        let before = (index.rows().to_vec(), index.head());
        if index.apply_at(record, at).is_err() {
            assert_eq!(before.0, index.rows(), "refused, and taken in all the same");
        }
        at += len as u64;
        let uids: Vec<u32> = index.rows().iter().map(|row| row.uid).collect();
        assert!(uids.is_sorted_by(|a, b| a < b), "{uids:?}");
        let next = index.head().uid_next;
        assert!(next >= before.1.uid_next, "a UID could be given again");
        assert!(
            uids.iter().all(|uid| *uid < next || *uid == u32::MAX),
            "{uids:?} {next}"
        );
        assert!(index.head().highest_modseq >= before.1.highest_modseq);
        let sizes: u64 = index.rows().iter().map(|row| u64::from(row.size)).sum();
        assert_eq!(index.octets(), sizes);
    }
    let _ = (item(octets), find(octets, 64));
}

fuzz_target!(|octets: &[u8]| {
    records(octets);
    let (mode, rest) = headed(octets);
    let sim = Sim::new(0);
    let world = sim.node();
    let before = sim.run(&world, look(world.clone(), 3)).expect("no crash");
    sim.kill(world.node());
    damage(&sim, &world, mode, rest);
    let world = sim.boot(world.node());
    let after = sim.run(&world, look(world.clone(), 0)).expect("no crash");
    let all = |seen: &Seen| {
        let mut all: Vec<Vec<u8>> = seen.content.values().cloned().collect();
        all.sort();
        all
    };
    assert_eq!(all(&before), all(&after), "mail is gone, or came twice");
    if after.validity == before.validity {
        for (uid, content) in &after.content {
            assert!(
                before.content.get(uid).is_none_or(|known| known == content),
                "{uid}"
            );
        }
    }
    // What was found once is found again.
    sim.kill(world.node());
    let world = sim.boot(world.node());
    let again = sim.run(&world, look(world.clone(), 0)).expect("no crash");
    assert_eq!(
        (again.validity, &again.content),
        (after.validity, &after.content)
    );
});
