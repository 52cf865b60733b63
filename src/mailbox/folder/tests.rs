//! A folder held to a model of what it promised, through crashes, damage and other programs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::mailbox::{Account, Accounts, Change, FolderError, Limit, NewMessage, System};
use crate::sim::disk::{Faults, SimDisk};
use crate::sim::{Sim, SimWorld, seeds};
use crate::world::File as _;

const ROOT: &str = "mailboxes";
const USER: &str = "u@d.test";

fn place() -> PathBuf {
    Path::new(ROOT).join(USER)
}

async fn account(world: &SimWorld) -> Rc<Account<SimWorld>> {
    account_telling(world, |_| ()).await
}

async fn account_telling(
    world: &SimWorld,
    tell: impl Fn(std::fmt::Arguments<'_>) + 'static,
) -> Rc<Account<SimWorld>> {
    let accounts = Accounts::new(world, Path::new(ROOT), "relay.test", Limit::default(), tell);
    accounts.open(USER).await.unwrap()
}

fn message(content: &[u8]) -> NewMessage<'_> {
    NewMessage {
        content,
        flags: System::NONE,
        keywords: &[],
        saved: None,
    }
}

/// What may be relied on.
#[derive(Default)]
struct Model {
    uid_validity: Option<u32>,
    /// Every UID that was ever seen, and what it stood for.
    content: BTreeMap<u32, Vec<u8>>,
    /// Messages that are there, with the system flags they have.
    sure: BTreeMap<u32, System>,
    /// UIDs that were expunged, for good.
    gone: BTreeSet<u32>,
    /// Something that was not answered may have happened to these.
    doubtful: BTreeSet<u32>,
    uid_next: u32,
    modseq: u64,
    /// What was seen at earlier moments: modseq and flags by UID.
    earlier: Vec<(u64, BTreeMap<u32, System>)>,
    messages: u64,
    crashes: u64,
    checked: u64,
    disk: SimDisk,
}

type Shared = Rc<RefCell<Model>>;

/// What came of something, unless the power went meanwhile: then nothing more happens.
async fn lives<T, E: std::fmt::Debug>(
    model: &Shared,
    outcome: impl Future<Output = Result<T, E>>,
) -> T {
    match outcome.await {
        Err(_) if model.borrow().disk.is_off() => std::future::pending().await,
        outcome => outcome.unwrap(),
    }
}

impl Model {
    fn fresh_content(&mut self) -> Vec<u8> {
        self.messages += 1;
        format!("Subject: {}\r\n\r\nx\r\n", self.messages).into_bytes()
    }

    fn some_uid(&self, random: u64) -> Option<u32> {
        let count = self.sure.len() as u64;
        let nth = usize::try_from(random.checked_rem(count)?).unwrap();
        self.sure.keys().nth(nth).copied()
    }

    /// What was asked since an earlier moment is told, and all of it.
    fn check_earlier(&mut self, folder: &Folder<SimWorld>, now: &BTreeMap<u32, System>) {
        for (modseq, before) in &self.earlier {
            let changed: BTreeSet<u32> = folder
                .changed_since(*modseq)
                .iter()
                .map(|entry| entry.uid)
                .collect();
            for (uid, flags) in now {
                assert!(
                    before.get(uid) == Some(flags) || changed.contains(uid),
                    "UID {uid} changed unseen"
                );
            }
            let Expunged::Known(expunged) = folder.expunged_since(*modseq) else {
                panic!("expunges were forgotten without need");
            };
            assert!(expunged.iter().all(|uid| !now.contains_key(uid)));
            let missing = before.keys().filter(|uid| !now.contains_key(uid));
            assert!(
                missing.clone().all(|uid| expunged.contains(uid)),
                "an expunge was not told"
            );
            self.checked += 1;
        }
    }
}

/// Compares a folder that was just looked at with the model, and lets the model know it.
async fn check(folder: &Folder<SimWorld>, model: &Shared) {
    let entries = folder.entries();
    let mut now = BTreeMap::new();
    for entry in &entries {
        let content = lives(model, folder.read(entry.uid)).await;
        assert_eq!(content.len(), entry.size as usize);
        let mut model = model.borrow_mut();
        if let Some(known) = model.content.get(&entry.uid) {
            assert_eq!(
                *known, content,
                "UID {} stands for another message",
                entry.uid
            );
        } else {
            assert!(
                entry.uid >= model.uid_next,
                "UID {} was given out late",
                entry.uid
            );
            model.content.insert(entry.uid, content);
        }
        assert!(
            !model.gone.contains(&entry.uid),
            "UID {} came back",
            entry.uid
        );
        now.insert(entry.uid, entry.flags.system);
    }
    let model = &mut *model.borrow_mut();
    assert_eq!(
        *model.uid_validity.get_or_insert(folder.uid_validity()),
        folder.uid_validity()
    );
    assert!(folder.uid_next() >= model.uid_next && folder.highest_modseq() >= model.modseq);
    for (uid, flags) in &model.sure {
        if !model.doubtful.contains(uid) {
            assert_eq!(now.get(uid), Some(flags), "UID {uid}");
        } else if !now.contains_key(uid) {
            model.gone.insert(*uid);
        }
    }
    model.check_earlier(folder, &now);
    model.sure = now.clone();
    model.doubtful.clear();
    model.uid_next = folder.uid_next();
    model.modseq = folder.highest_modseq();
    model.earlier.push((model.modseq, now));
    if model.earlier.len() > 6 {
        model.earlier.remove(0);
    }
}

/// One step of ours. What it may have done stands in the model before it is done.
async fn step(folder: &Folder<SimWorld>, model: &Shared, random: u64) {
    let uid = model.borrow().some_uid(random >> 8);
    match (random % 6, uid) {
        (0 | 1, _) | (_, None) => {
            let content: Vec<Vec<u8>> = (0..=random % 3)
                .map(|_| model.borrow_mut().fresh_content())
                .collect();
            let messages: Vec<NewMessage<'_>> =
                content.iter().map(|content| message(content)).collect();
            let uids = lives(model, folder.append_all(&messages)).await;
            let mut model = model.borrow_mut();
            for (uid, content) in uids.into_iter().zip(content) {
                assert!(uid >= model.uid_next);
                assert_eq!(model.content.insert(uid, content), None);
                model.sure.insert(uid, System::NONE);
            }
        }
        (2 | 3, Some(uid)) => {
            model.borrow_mut().doubtful.insert(uid);
            let flags = System::from_bits((random >> 32) as u8 & 31);
            lives(
                model,
                folder.change_flags(&[uid], Change::Replace, flags, &[], None),
            )
            .await;
            let mut model = model.borrow_mut();
            model.sure.insert(uid, flags);
            model.doubtful.remove(&uid);
        }
        (4, Some(uid)) => {
            model.borrow_mut().doubtful.insert(uid);
            lives(model, folder.expunge(&[uid])).await;
            let mut model = model.borrow_mut();
            model.sure.remove(&uid);
            model.gone.insert(uid);
        }
        (_, Some(uid)) => {
            let copied = lives(model, folder.copy_to(&[uid], folder)).await;
            let mut model = model.borrow_mut();
            for (from, to) in copied {
                let content = model.content[&from].clone();
                assert_eq!(model.content.insert(to, content), None);
                let flags = model.sure[&from];
                model.sure.insert(to, flags);
            }
        }
    }
}

/// One step of another mail program, durable as far as it goes.
async fn strange_step(world: &SimWorld, model: &Shared, random: u64) {
    let cur = place().join("cur");
    let names = lives(model, world.list(&cur)).await;
    let some = usize::try_from(random >> 8)
        .unwrap_or(0)
        .checked_rem(names.len());
    match (random % 3, some) {
        (0, _) | (_, None) => {
            let content = model.borrow_mut().fresh_content();
            let (draft, name) = (place().join("tmp/x"), format!("9.{random}.other"));
            let file = lives(model, world.open(&draft, true)).await;
            lives(model, file.set_len(0)).await;
            lives(model, file.write_at(content, 0)).await;
            lives(model, file.sync()).await;
            lives(model, world.rename(&draft, &place().join("new").join(name))).await;
            lives(model, world.sync_directory(&place().join("new"))).await;
        }
        (kind, Some(some)) => {
            // Whose file it is, the model does not know: all may have changed.
            let sure: Vec<u32> = model.borrow().sure.keys().copied().collect();
            model.borrow_mut().doubtful.extend(sure);
            let name = &names[some];
            if kind == 1 {
                let base = base_of(name.to_str().unwrap());
                let there = cur.join(format!("{base}{INFO}{}", ["", "F", "RS"][some % 3]));
                lives(model, world.rename(&cur.join(name), &there)).await;
            } else {
                lives(model, world.remove(&cur.join(name))).await;
            }
            lives(model, world.sync_directory(&cur)).await;
        }
    }
}

/// A life of the program: opens, checks, does things until its end or a power cut.
async fn life(world: SimWorld, model: Shared, steps: u64, cut_at: u64) {
    let model = &model;
    lives(model, world.make_directory(Path::new(ROOT))).await;
    let account = account(&world).await;
    let folder = lives(model, account.folder("INBOX")).await;
    check(&folder, model).await;
    model.borrow().disk.set_faults(Faults {
        cut_at: Some(cut_at),
        ..Faults::default()
    });
    for _ in 0..steps {
        let random = world.random() >> 1;
        if random.is_multiple_of(5) {
            strange_step(&world, model, random >> 3).await;
            lives(model, folder.refresh()).await;
            check(&folder, model).await;
        } else {
            step(&folder, model, random >> 3).await;
        }
        // Whoever looks finds what was done, and nothing else.
        if random.is_multiple_of(3) {
            lives(model, folder.refresh()).await;
            check(&folder, model).await;
        }
    }
}

#[test]
fn what_a_folder_promised_holds_through_any_history() {
    let (mut crashes, mut checked) = (0, 0);
    for seed in seeds(25) {
        let sim = Sim::new(seed);
        let mut world = sim.node();
        let model = Shared::default();
        for _ in 0..8 {
            let cut_at = 1 + sim.random().below(60);
            model.borrow_mut().disk = sim.disk(world.node());
            let life = life(world.clone(), Rc::clone(&model), 12, cut_at);
            if sim.run(&world, life).is_none() {
                model.borrow_mut().crashes += 1;
            } else {
                sim.power_cut(world.node());
            }
            world = sim.boot(world.node());
        }
        crashes += model.borrow().crashes;
        checked += model.borrow().checked;
    }
    assert!(crashes > 40 && checked > 1000, "{crashes} {checked}");
}

/// One of each: what there is by content, and how the folder stands.
async fn contents(folder: &Folder<SimWorld>) -> BTreeMap<Vec<u8>, (u32, System)> {
    let mut contents = BTreeMap::new();
    for entry in folder.entries() {
        let content = folder.read(entry.uid).await.unwrap();
        let before = contents.insert(content, (entry.uid, entry.flags.system));
        assert_eq!(before, None, "a message twice");
    }
    contents
}

#[test]
fn a_damaged_index_loses_no_message_and_gives_no_uid_twice() {
    let index = place().join(INDEX_FILE);
    for at in (0..40).map(|number| number * 40) {
        let sim = Sim::new(at);
        let world = sim.node();
        let inside = world.clone();
        let before = sim.run(&world, async move {
            inside.make_directory(Path::new(ROOT)).await.unwrap();
            let account = account(&inside).await;
            let folder = account.folder("INBOX").await.unwrap();
            for number in 0..8 {
                let content = format!("Subject: {number}\r\n");
                folder.append(message(content.as_bytes())).await.unwrap();
            }
            let seen = System::SEEN;
            folder
                .change_flags(&[2, 5], Change::Add, seen, &[], None)
                .await
                .unwrap();
            folder.expunge(&[3, 8]).await.unwrap();
            let stands = (
                folder.uid_validity(),
                folder.uid_next(),
                folder.highest_modseq(),
            );
            (contents(&folder).await, stands)
        });
        let (before, (uid_validity, uid_next, modseq)) = before.unwrap();
        if !sim.disk(world.node()).damage(&index, at, &[0x5a; 24]) {
            continue;
        }
        sim.kill(world.node());
        let world = sim.boot(world.node());
        let inside = world.clone();
        let (after, stands) = sim
            .run(&world, async move {
                let account = account(&inside).await;
                let folder = account.folder("INBOX").await.unwrap();
                folder.append(message(b"late\r\n")).await.unwrap();
                let stands = (folder.uid_validity(), folder.highest_modseq());
                (contents(&folder).await, stands)
            })
            .unwrap();
        assert_eq!(after.len(), before.len() + 1, "damage at {at}");
        assert!(
            stands.0 == uid_validity && stands.1 > modseq,
            "damage at {at}"
        );
        for (content, (uid, flags)) in after {
            match before.get(&content) {
                Some((known, kept)) => {
                    assert!(uid == *known || uid >= uid_next, "damage at {at}");
                    assert_eq!(flags, *kept, "damage at {at}");
                }
                None => assert!(uid >= uid_next, "damage at {at}"),
            }
        }
    }
}

#[test]
fn an_index_whose_head_names_uid_0_is_made_anew() {
    for (uid_validity, uid_next) in [(0, 9), (9, 0)] {
        let sim = Sim::new(1);
        let world = sim.node();
        let inside = world.clone();
        let before = sim.run(&world, async move {
            inside.make_directory(Path::new(ROOT)).await.unwrap();
            let folder = account(&inside).await.folder("INBOX").await.unwrap();
            folder.append(message(b"a\r\n")).await.unwrap();
            let mut index = Snapshot::of(&folder.core.state.borrow().index);
            let known = index.head.uid_validity;
            index.rows.clear();
            (index.head.uid_validity, index.head.uid_next) = (uid_validity, uid_next);
            let path = place().join(INDEX_FILE);
            log::write_anew(&inside, &path, &index, None).await.unwrap();
            known
        });
        sim.kill(world.node());
        let world = sim.boot(world.node());
        let inside = world.clone();
        sim.run(&world, async move {
            let mut validities = vec![before.unwrap()];
            for _ in 0..2 {
                // The second time from the new index.
                let folder = account(&inside).await.folder("INBOX").await.unwrap();
                validities.push(folder.uid_validity());
                assert_eq!(folder.uid_next(), 2);
                assert_eq!(folder.read(1).await.unwrap(), b"a\r\n");
            }
            assert!(validities[0] < validities[1] && validities[1] == validities[2]);
        })
        .unwrap();
    }
}

#[test]
fn uids_that_dovecot_gave_to_messages_that_are_gone_are_not_given_again() {
    let sim = Sim::new(1);
    let world = sim.node();
    let inside = world.clone();
    sim.run(&world, async move {
        for part in ["cur", "new", "tmp"] {
            inside.make_directory(&place().join(part)).await.unwrap();
        }
        for (path, text) in [
            ("cur/1.a.h:2,", "a\n"),
            ("dovecot-uidlist", "3 V12 N30 Gaa\n7 :1.a.h\n"),
        ] {
            let file = inside.open(&place().join(path), true).await.unwrap();
            file.write_at(text.into(), 0).await.unwrap();
        }
        for _ in 0..2 {
            // The second time from the index.
            let folder = account(&inside).await.folder("INBOX").await.unwrap();
            assert_eq!((folder.len(), folder.uid_next()), (1, 30));
        }
    })
    .unwrap();
}

#[test]
fn a_maildir_that_was_dovecots_keeps_its_uids_and_keywords() {
    let sim = Sim::new(1);
    let world = sim.node();
    let inside = world.clone();
    sim.run(&world, async move {
        for part in ["cur", "new", "tmp"] {
            inside.make_directory(&place().join(part)).await.unwrap();
        }
        for (path, text) in [
            ("cur/3.c.h:2,Sb", "c\n"),
            ("cur/1.a.h,S=2,W=3:2,Fa", "a\n"),
            ("new/4.d.h", "d\n"),
            ("cur/2.b.h:2,", "b\n"),
            ("dovecot-keywords", "0 $Forwarded\n1 NonJunk\n"),
            (
                "dovecot-uidlist",
                "3 V1275660208 N30 Gaa\n7 W3 :1.a.h,S=2,W=3:2,F\n21 :2.b.h\n25 :3.c.h:2,\n",
            ),
        ] {
            let file = inside.open(&place().join(path), true).await.unwrap();
            file.write_at(text.into(), 0).await.unwrap();
        }
        let account = account(&inside).await;
        let folder = account.folder("INBOX").await.unwrap();
        assert_eq!(folder.uid_validity(), 1_275_660_208);
        let expected = [("a", 7), ("b", 21), ("c", 25), ("d", 30)];
        for (text, uid) in expected {
            let content = folder.read(uid).await.unwrap();
            assert_eq!(content, format!("{text}\r\n").into_bytes());
        }
        assert_eq!((folder.len(), folder.uid_next()), (4, 31));
        assert_eq!(folder.keywords(), ["$Forwarded".into(), "NonJunk".into()]);
        let keywords = |uid| folder.entry(uid).unwrap().flags.keywords;
        assert_eq!((keywords(7), keywords(25), keywords(21)), (1, 2, 0));
    })
    .unwrap();
}

#[test]
fn a_list_that_leaves_no_uids_does_not_close_the_folder() {
    for list in ["3 V7 N4294967295\n", "3 V7 N2\n4294967295 :1.a.h\n"] {
        let sim = Sim::new(1);
        let world = sim.node();
        let inside = world.clone();
        sim.run(&world, async move {
            for part in ["cur", "new", "tmp"] {
                inside.make_directory(&place().join(part)).await.unwrap();
            }
            for (path, text) in [("cur/1.a.h:2,", "a\n"), ("dovecot-uidlist", list)] {
                let file = inside.open(&place().join(path), true).await.unwrap();
                file.write_at(text.into(), 0).await.unwrap();
            }
            let folder = account(&inside).await.folder("INBOX").await.unwrap();
            let uid = folder.append(message(b"b\r\n")).await.unwrap();
            assert_eq!((folder.len(), folder.uid_next()), (2, uid + 1));
        })
        .unwrap();
    }
}

#[test]
fn an_index_that_is_made_for_long_says_how_far_it_is() {
    let sim = Sim::new(1);
    let world = sim.node();
    sim.set_sync_wait(Duration::from_millis(700), Duration::from_millis(800));
    let inside = world.clone();
    sim.run(&world, async move {
        for part in ["cur", "new", "tmp"] {
            inside.make_directory(&place().join(part)).await.unwrap();
        }
        for number in 0..5_000 {
            let path = place().join(format!("cur/{number}.a.h,S=2,W=3:2,"));
            inside.open(&path, true).await.unwrap();
        }
        let told: Rc<RefCell<Vec<String>>> = Rc::default();
        let heard = Rc::clone(&told);
        let tell = move |words: std::fmt::Arguments<'_>| heard.borrow_mut().push(words.to_string());
        let account = account_telling(&inside, tell).await;
        assert_eq!(account.folder("INBOX").await.unwrap().len(), 5_000);
        let what = "mailboxes/u@d.test: making an index";
        let last = format!("{what}: 100 %, 5000 of 5000 messages");
        assert_eq!(told.borrow().last(), Some(&last));
        let first = format!("{what}: 81 %, 4096 of 5000 messages");
        assert!(told.borrow().contains(&first), "{told:?}");
        // It is there now, and nobody is told of what takes no time.
        told.borrow_mut().clear();
        account
            .folder("INBOX")
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap();
        assert!(told.borrow().is_empty(), "{told:?}");
    })
    .unwrap();
}

#[test]
fn flags_that_a_full_disk_does_not_take_are_not_half_set() {
    for seed in seeds(5) {
        let sim = Sim::new(seed);
        let world = sim.node();
        let disk = sim.disk(world.node());
        let here = world.clone();
        let story = async move {
            let world = here;
            world.make_directory(Path::new(ROOT)).await.unwrap();
            let inbox = account(&world).await.folder("INBOX").await.unwrap();
            inbox.append(message(b"Subject: a\r\n\r\n")).await.unwrap();
            disk.set_faults(Faults {
                capacity_octets: Some(disk.used_octets()),
                ..Faults::default()
            });
            let flag = async |how| {
                let changed = inbox.change_flags(&[1], how, System::FLAGGED, &[], None);
                changed.await
            };
            let flags = || inbox.entry(1).unwrap().flags.system;
            let mut before = flags();
            let refused = loop {
                let how = if before == System::NONE {
                    Change::Add
                } else {
                    Change::Remove
                };
                match flag(how).await {
                    Ok(_) => before = flags(),
                    Err(refused) => break refused,
                }
            };
            let FolderError::Io(error) = refused else {
                panic!("{refused}");
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            // It is all there still, for whoever has it open and whoever comes.
            inbox.refresh().await.unwrap();
            assert_eq!(flags(), before);
            assert!(inbox.reader(1).await.is_ok());
            let anew = account(&world).await.folder("INBOX").await.unwrap();
            anew.refresh().await.unwrap();
            assert_eq!(anew.entry(1).unwrap().flags.system, before);
            disk.set_faults(Faults::default());
            flag(Change::Add).await.unwrap();
            assert_eq!(flags(), System::FLAGGED);
        };
        sim.run(&world, story).unwrap();
    }
}
