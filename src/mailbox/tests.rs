//! Mailboxes in the simulated world.

use std::io;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::sim::{Sim, SimWorld, seeds};
use crate::world::{File as _, World as _};

type Accounts = super::Accounts<SimWorld>;
type Account = super::Account<SimWorld>;
type Folder = super::Folder<SimWorld>;

pub(super) const ROOT: &str = "data/mailboxes";
pub(super) const USER: &str = "u@d.test";

pub(super) async fn account(world: &SimWorld, limit: Limit) -> Rc<Account> {
    world.make_directory(Path::new(ROOT)).await.unwrap();
    let accounts = Accounts::new(world, Path::new(ROOT), "relay.test", limit, |_| ());
    accounts.open(USER).await.unwrap()
}

pub(super) fn message(content: &[u8]) -> NewMessage<'_> {
    NewMessage {
        content,
        flags: System::NONE,
        keywords: &[],
        saved: None,
    }
}

/// Runs a story on `count` seeds.
fn tell<F>(count: u64, story: impl Fn(SimWorld) -> F)
where
    F: Future<Output = ()> + 'static,
{
    for seed in seeds(count) {
        let sim = Sim::new(seed);
        let world = sim.node();
        sim.run(&world, story(world.clone())).unwrap();
    }
}

/// Another mail program drops a file into a directory of the user's Maildir.
pub(super) async fn drop_file(world: &SimWorld, place: &str, name: &str, content: &[u8]) {
    let path = Path::new(ROOT).join(USER).join(place).join(name);
    let file = world.open(&path, true).await.unwrap();
    file.write_at(content.to_vec(), 0).await.unwrap();
}

pub(super) async fn files(world: &SimWorld, place: &str) -> Vec<String> {
    let names = world.list(&Path::new(ROOT).join(USER).join(place)).await;
    let names = names.unwrap().into_iter();
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .collect()
}

fn uids(folder: &Folder) -> Vec<u32> {
    folder.entries().iter().map(|entry| entry.uid).collect()
}

#[test]
fn what_is_appended_is_there_after_the_folder_was_opened_anew() {
    tell(10, |world| async move {
        let kept = {
            let account = account(&world, Limit::default()).await;
            let inbox = account.folder("inbox").await.unwrap();
            let dated = NewMessage {
                flags: System::SEEN | System::DRAFT,
                keywords: &["$Forwarded", "Work"],
                saved: Some(1_000_000_000),
                ..message(b"Subject: a\r\n\r\nb\r\n")
            };
            assert_eq!(inbox.append(dated).await.unwrap(), 1);
            assert_eq!(inbox.append(message(b"x\r\n")).await.unwrap(), 2);
            let names = files(&world, "cur").await;
            assert!(
                names[0].ends_with("S=14,W=17:2,DSab") || names[1].ends_with("S=14,W=17:2,DSab"),
                "{names:?}"
            );
            (
                inbox.entries(),
                inbox.uid_validity(),
                inbox.highest_modseq(),
            )
        };
        let account = account(&world, Limit::default()).await;
        let inbox = account.folder("INBOX").await.unwrap();
        assert_eq!(
            kept,
            (
                inbox.entries(),
                inbox.uid_validity(),
                inbox.highest_modseq()
            )
        );
        let entry = inbox.entry(1).unwrap();
        assert_eq!((entry.size, entry.saved), (17, 1_000_000_000));
        assert_eq!(entry.flags.system, System::SEEN | System::DRAFT);
        assert_eq!(entry.flags.keywords, 3);
        assert_eq!(inbox.keywords(), ["$Forwarded".into(), "Work".into()]);
        assert_eq!(inbox.read(1).await.unwrap(), b"Subject: a\r\n\r\nb\r\n");
        assert!(matches!(inbox.read(3).await, Err(FolderError::Gone)));
    });
}

#[test]
fn flags_change_in_the_index_and_in_file_names() {
    tell(10, |world| async move {
        let account = account(&world, Limit::default()).await;
        let inbox = account.folder("INBOX").await.unwrap();
        for _ in 0..3 {
            inbox.append(message(b"a\r\n")).await.unwrap();
        }
        let before = inbox.highest_modseq();
        let seen = inbox.version();
        let changed = inbox
            .change_flags(&[1, 3, 9], Change::Add, System::SEEN, &["New"], None)
            .await
            .unwrap();
        assert_eq!(
            changed,
            Changed {
                modified: vec![],
                modseq: before + 1
            }
        );
        assert_ne!(inbox.version(), seen);
        let late = inbox
            .change_flags(&[1, 2], Change::Add, System::FLAGGED, &[], Some(before))
            .await
            .unwrap();
        assert_eq!(late.modified, [1]);
        let of: Vec<u32> = inbox
            .changed_since(before)
            .iter()
            .map(|entry| entry.uid)
            .collect();
        assert_eq!(of, [1, 2, 3]);
        let mut letters: Vec<String> = files(&world, "cur")
            .await
            .iter()
            .map(|name| name.rsplit(',').next().unwrap().to_owned())
            .collect();
        letters.sort();
        assert_eq!(letters, ["F", "Sa", "Sa"]);
        inbox
            .change_flags(&[1, 2, 3], Change::Replace, System::NONE, &[], None)
            .await
            .unwrap();
        assert!(
            inbox
                .entries()
                .iter()
                .all(|entry| entry.flags == Flags::default())
        );
    });
}

#[test]
fn expunged_messages_are_gone_and_remembered() {
    tell(10, |world| async move {
        let account = account(&world, Limit::default()).await;
        let inbox = account.folder("INBOX").await.unwrap();
        for _ in 0..4 {
            inbox.append(message(b"a\r\n")).await.unwrap();
        }
        let since = inbox.highest_modseq();
        inbox.expunge(&[2, 4, 7]).await.unwrap();
        assert_eq!(uids(&inbox), [1, 3]);
        assert_eq!(inbox.expunged_since(since), Expunged::Known(vec![2, 4]));
        assert_eq!(inbox.expunged_since(since + 1), Expunged::Known(vec![]));
        assert_eq!(inbox.uid_next(), 5);
        assert_eq!(files(&world, "cur").await.len(), 2);
        assert_eq!((account.quota().octets, account.quota().messages), (6, 2));
    });
}

#[test]
fn what_other_programs_do_is_taken_over() {
    tell(10, |world| async move {
        let account = account(&world, Limit::default()).await;
        let inbox = account.folder("INBOX").await.unwrap();
        drop_file(&world, "new", "1.a.host", b"one\n").await;
        drop_file(&world, "cur", "2.b.host:2,S", b"two\r\nlines\r\n").await;
        inbox.refresh().await.unwrap();
        assert_eq!(uids(&inbox), [1, 2]);
        assert_eq!(
            (inbox.recent_from(), inbox.take_recent()),
            (Some(1), Some(1))
        );
        let mut names = inbox.base_names(&[1, 2, 3]).await.unwrap();
        names.sort();
        assert_eq!(
            names,
            [None, Some("1.a.host".into()), Some("2.b.host".into())]
        );
        assert_eq!(inbox.take_recent(), None);
        let place = |name: &str| Path::new(ROOT).join(USER).join("cur").join(name);
        let first = inbox.entry(1).unwrap();
        let (flagged, other) = if first.flags.system.is_empty() {
            (1, 2)
        } else {
            (2, 1)
        };
        assert_eq!(inbox.read(flagged).await.unwrap(), b"one\r\n");
        assert_eq!(inbox.read(other).await.unwrap(), b"two\r\nlines\r\n");
        let since = inbox.highest_modseq();
        world
            .rename(&place("1.a.host:2,"), &place("1.a.host:2,FX"))
            .await
            .unwrap();
        world.remove(&place("2.b.host:2,S")).await.unwrap();
        // Read before anybody looked: it is found under its new name.
        assert_eq!(inbox.read(flagged).await.unwrap(), b"one\r\n");
        inbox.refresh().await.unwrap();
        assert_eq!(inbox.entry(flagged).unwrap().flags.system, System::FLAGGED);
        assert_eq!(inbox.expunged_since(since), Expunged::Known(vec![other]));
        // A letter that means nothing to us stays.
        inbox
            .change_flags(&[flagged], Change::Add, System::SEEN, &[], None)
            .await
            .unwrap();
        assert_eq!(files(&world, "cur").await, ["1.a.host:2,FSX"]);
        assert_eq!(inbox.read(flagged).await.unwrap(), b"one\r\n");
    });
}

#[test]
fn messages_are_copied_and_moved_with_their_flags() {
    tell(10, |world| async move {
        let account = account(&world, Limit::default()).await;
        account.create("Archive/2024").await.unwrap();
        let inbox = account.folder("INBOX").await.unwrap();
        let archive = account.folder("Archive/2024").await.unwrap();
        archive
            .append(NewMessage {
                keywords: &["other"],
                ..message(b"z\r\n")
            })
            .await
            .unwrap();
        for text in [b"a\r\n", b"b\r\n", b"c\r\n"] {
            inbox
                .append(NewMessage {
                    flags: System::SEEN,
                    keywords: &["k"],
                    ..message(text)
                })
                .await
                .unwrap();
        }
        assert_eq!(
            inbox.copy_to(&[3, 1, 8], &archive).await.unwrap(),
            [(3, 2), (1, 3)]
        );
        assert_eq!(inbox.move_to(&[2], &archive).await.unwrap(), [(2, 4)]);
        assert_eq!(inbox.copy_to(&[1], &inbox).await.unwrap(), [(1, 4)]);
        assert_eq!(uids(&inbox), [1, 3, 4]);
        assert_eq!(archive.read(2).await.unwrap(), b"c\r\n");
        assert_eq!(archive.read(4).await.unwrap(), b"b\r\n");
        let entry = archive.entry(4).unwrap();
        assert_eq!(
            (entry.flags.system, entry.flags.keywords),
            (System::SEEN, 2)
        );
        inbox.expunge(&[1]).await.unwrap();
        assert_eq!(
            archive.read(3).await.unwrap(),
            b"a\r\n",
            "a copy is one of its own"
        );
    });
}

#[test]
fn summaries_are_found_again() {
    tell(5, |world| async move {
        {
            let account = account(&world, Limit::default()).await;
            let inbox = account.folder("INBOX").await.unwrap();
            inbox.append(message(b"a\r\n")).await.unwrap();
            assert_eq!(inbox.summary(1).await, None);
            inbox.keep_summary(1, b"envelope").await;
            inbox.keep_summary(7, b"of nothing").await;
            assert_eq!(inbox.summary(1).await.as_deref(), Some(&b"envelope"[..]));
        }
        let account = account(&world, Limit::default()).await;
        let inbox = account.folder("INBOX").await.unwrap();
        assert_eq!(inbox.summary(1).await.as_deref(), Some(&b"envelope"[..]));
    });
}

#[test]
fn large_summaries_are_found_again_after_the_index_was_written_anew() {
    tell(2, |world| async move {
        let summary = |uid: u32| [&uid.to_le_bytes()[..], &vec![b'x'; 700_000]].concat();
        {
            let account = account(&world, Limit::default()).await;
            let inbox = account.folder("INBOX").await.unwrap();
            for _ in 0..5 {
                inbox.append(message(b"a\r\n")).await.unwrap();
            }
            // What is not the last of a message makes the file worn.
            for uid in (1..=5).chain(1..=5) {
                inbox.keep_summary(uid, &summary(uid)).await;
            }
        }
        let account = account(&world, Limit::default()).await;
        let inbox = account.folder("INBOX").await.unwrap();
        for uid in 1..=5 {
            assert!(inbox.summary(uid).await.as_deref() == Some(&*summary(uid)));
        }
    });
}

#[test]
fn folders_are_made_renamed_and_deleted() {
    tell(10, |world| async move {
        let account = account(&world, Limit::default()).await;
        account.create("a/b").await.unwrap();
        account.create("Entw\u{fc}rfe").await.unwrap();
        account
            .set_special_use("Entw\u{fc}rfe", Some(SpecialUse::Drafts))
            .await
            .unwrap();
        account.subscribe("a/b", true).await.unwrap();
        assert!(matches!(
            account.create("inbox").await,
            Err(FolderError::Exists)
        ));
        assert!(matches!(
            account.create("a..b").await,
            Err(FolderError::BadName)
        ));
        assert!(matches!(
            account.delete("a").await,
            Err(FolderError::NoSelect)
        ));
        assert!(matches!(
            account.delete("INBOX").await,
            Err(FolderError::NoSelect)
        ));
        let listed = account.folders().await.unwrap();
        let names: Vec<(&str, bool, bool)> = listed
            .iter()
            .map(|info| (info.name.as_str(), info.is_selectable, info.has_children))
            .collect();
        assert_eq!(
            names,
            [
                ("Entw\u{fc}rfe", true, false),
                ("INBOX", true, false),
                ("a", false, true),
                ("a/b", true, false)
            ]
        );
        assert_eq!(listed[0].special_use, Some(SpecialUse::Drafts));
        assert!(listed[3].is_subscribed);
        let above = account.folder("a").await;
        assert!(matches!(above, Err(FolderError::NoSelect)));
        let folder = account.folder("a/b").await.unwrap();
        folder.append(message(b"a\r\n")).await.unwrap();
        account.rename("a", "x/y").await.unwrap();
        assert!(
            folder.append(message(b"a\r\n")).await.is_err(),
            "it is elsewhere"
        );
        let moved = account.folder("x/y/b").await.unwrap();
        assert_eq!(
            (moved.len(), moved.uid_validity()),
            (1, folder.uid_validity())
        );
        account.delete("x/y/b").await.unwrap();
        account.create("x/y/b").await.unwrap();
        let again = account.folder("x/y/b").await.unwrap();
        assert!(again.is_empty() && again.uid_validity() > moved.uid_validity());
        let inbox = account.folder("INBOX").await.unwrap();
        inbox.append(message(b"in\r\n")).await.unwrap();
        account.rename("INBOX", "old").await.unwrap();
        assert!(inbox.is_empty());
        assert_eq!(
            account.folder("old").await.unwrap().read(1).await.unwrap(),
            b"in\r\n"
        );
    });
}

#[test]
fn subscriptions_are_read_in_both_of_dovecots_forms() {
    for text in [
        "a.b\nEntw&APw-rfe\nINBOX\n",
        "V\t2\n\na\tb\nEntw&APw-rfe\nINBOX\n",
    ] {
        tell(1, move |world| async move {
            let account = account(&world, Limit::default()).await;
            drop_file(&world, "", "subscriptions", text.as_bytes()).await;
            let names = account.subscriptions().await.unwrap();
            assert_eq!(
                names,
                ["Entwürfe", "INBOX", "a/b"].map(str::to_owned).into()
            );
            account.subscribe("a/b", false).await.unwrap();
            let names = account.subscriptions().await.unwrap();
            assert_eq!(names, ["Entwürfe", "INBOX"].map(str::to_owned).into());
        });
    }
}

#[test]
fn a_full_mailbox_takes_no_more() {
    tell(5, |world| async move {
        let limit = Limit {
            octets: Some(10),
            messages: None,
        };
        {
            let account = account(&world, limit).await;
            let inbox = account.folder("INBOX").await.unwrap();
            inbox.append(message(b"12345\r\n")).await.unwrap();
            let over = inbox.append(message(b"12\r\n")).await;
            assert!(matches!(over, Err(FolderError::OverQuota)));
            let large = inbox.append(message(b"123456789\r\n")).await;
            assert!(matches!(large, Err(FolderError::TooLarge)));
            assert!(files(&world, "tmp").await.is_empty());
            // What is there already can be put away, and not doubled.
            account.create("Trash").await.unwrap();
            let trash = account.folder("Trash").await.unwrap();
            let over = inbox.copy_to(&[1], &trash).await;
            assert!(matches!(over, Err(FolderError::OverQuota)));
            assert_eq!(inbox.move_to(&[1], &trash).await.unwrap(), [(1, 1)]);
        }
        // Counted before anybody has opened the folder.
        let account = account(&world, limit).await;
        assert_eq!((account.quota().octets, account.quota().messages), (7, 1));
    });
}

#[test]
fn one_pop3_session_has_the_maildrop() {
    tell(1, |world| async move {
        let account = account(&world, Limit::default()).await;
        let lock = account.lock_pop3().unwrap();
        assert!(account.lock_pop3().is_none());
        drop(lock);
        assert!(account.lock_pop3().is_some());
    });
}

#[test]
fn names_that_would_leave_the_directory_are_no_users() {
    tell(1, |world| async move {
        let accounts = Accounts::new(&world, Path::new(ROOT), "h", Limit::default(), |_| ());
        for user in ["", "..", "../x@d.test", "a/b@d.test", ".hidden"] {
            let refused = accounts.open(user).await.map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{user}");
        }
    });
}
