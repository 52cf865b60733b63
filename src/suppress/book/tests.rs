use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::rc::Rc;

use super::*;
use crate::suppress::outside::Machine;
use crate::time::Wall;

struct Scene {
    home: tempfile::TempDir,
    list: List,
}

impl Scene {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            list: List::new(),
        }
    }

    fn open(&self) -> Book<At> {
        self.open_for(1_000_000)
    }

    fn open_for(&self, max: usize) -> Book<At> {
        open(self.home.path(), &self.list, max)
    }
}

/// This machine, at a moment that the test names.
struct At(Machine, Rc<Cell<i64>>);

impl Outside for At {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        self.0.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.sync_directory(directory)
    }

    fn seconds(&self) -> i64 {
        self.1.get()
    }
}

fn open(home: &Path, list: &List, max: usize) -> Book<At> {
    let at = At(Machine, Rc::default());
    Book::open(at, path(home), list.clone(), max).unwrap()
}

fn tidy(book: &mut Book<At>, seconds: i64) -> io::Result<()> {
    book.outside.1.set(seconds);
    book.tidy()
}

fn bounce(address: &str, seconds: i64, after: usize) -> Bounce {
    Bounce {
        address: address.to_owned(),
        why: "bad_mailbox",
        at: Wall(seconds * 1_000_000),
        text: "550 5.1.1 unknown".to_owned(),
        after,
        span: Some(1000),
        report: None,
    }
}

fn manual(address: &str) -> Entry {
    Entry {
        address: address.to_owned(),
        why: "manual".to_owned(),
        ..Entry::default()
    }
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_what_was_not_is_not() {
    let scene = Scene::new();
    let mut book = scene.open();
    assert_eq!(book.note(&bounce("Bob@d.test", 10, 1)), Ok(true));
    book.add(manual("eve@d.test")).unwrap();
    assert!(!scene.list.has("bob@d.test", 20), "not kept yet");
    book.keep().unwrap();
    book.add(manual("mallory@d.test")).unwrap();
    drop(book);
    let torn = b"{\"address\":\"torn@d.test\",\"why\":\"man";
    let mut file = File::options()
        .append(true)
        .open(path(scene.home.path()))
        .unwrap();
    file.write_all(torn).unwrap();
    let list = List::new();
    let mut book = open(scene.home.path(), &list, 9);
    let has = |address: &str| list.has(address, 20);
    assert!(has("bob@d.test") && has("eve@d.test"));
    assert!(!has("mallory@d.test") && !has("torn@d.test"));
    assert!(!list.has("bob@d.test", 1010), "its time is over");
    // What comes next stands on a line of its own.
    book.add(manual("next@d.test")).unwrap();
    book.keep().unwrap();
    drop(book);
    let book = scene.open();
    assert_eq!((book.unreadable, book.total(20)), (0, 3));
    let found = book.find("BOB@d.test", 20).unwrap().unwrap();
    assert_eq!(
        (found.until, found.text.as_deref()),
        (Some(1010), Some("550 5.1.1 unknown"))
    );
    assert_eq!(book.find("bob@d.test", 1010).unwrap(), None);
}

#[test]
fn one_refusal_may_be_too_few_and_old_ones_do_not_count() {
    let scene = Scene::new();
    let mut book = scene.open();
    assert_eq!(book.note(&bounce("b@d.test", 0, 3)), Ok(false));
    book.keep().unwrap();
    assert_eq!(book.note(&bounce("b@d.test", 999, 3)), Ok(false));
    book.keep().unwrap();
    drop(book);
    let mut book = scene.open();
    assert_eq!(book.total(999), 0);
    assert_eq!(book.note(&bounce("b@d.test", 1998, 3)), Ok(true));
    assert_eq!(
        book.note(&bounce("b@d.test", 1999, 3)),
        Ok(false),
        "it is there already"
    );
    book.keep().unwrap();
    assert!(scene.list.has("b@d.test", 1999));
    assert_eq!(book.note(&bounce("c@d.test", 0, 2)), Ok(false));
    assert_eq!(
        book.note(&bounce("c@d.test", 1000, 2)),
        Ok(false),
        "the first was too long ago"
    );
}

#[test]
fn a_removed_address_gets_mail_and_may_be_refused_again() {
    let scene = Scene::new();
    let mut book = scene.open();
    book.add(manual("b@d.test")).unwrap();
    assert!(
        book.remove("B@d.test", 5).unwrap(),
        "added a moment ago, in the same batch"
    );
    book.add(manual("c@d.test")).unwrap();
    book.keep().unwrap();
    assert!(!scene.list.has("b@d.test", 5) && scene.list.has("c@d.test", 5));
    assert!(!book.remove("nobody@d.test", 5).unwrap());
    assert_eq!(book.note(&bounce("b@d.test", 6, 1)), Ok(true));
    book.keep().unwrap();
    drop(book);
    assert_eq!(scene.open().total(7), 2);
}

#[test]
fn pages_show_each_address_once_in_its_present_state() {
    let scene = Scene::new();
    let mut book = scene.open();
    for number in 0..10 {
        book.add(manual(&format!("u{number}@d.test"))).unwrap();
    }
    book.note(&bounce("few@d.test", 0, 2)).unwrap();
    book.note(&bounce("x@d.test", 0, 1)).unwrap();
    book.remove("u3@d.test", 0).unwrap();
    book.add(manual("u0@d.test")).unwrap();
    book.keep().unwrap();
    let (mut seen, mut position) = (Vec::new(), Some(0));
    while let Some(from) = position {
        let page = book.page(from, 4, Some("manual"), 0).unwrap();
        assert!(page.entries.len() <= 4 && page.total == 10);
        seen.extend(page.entries.into_iter().map(|entry| entry.address));
        position = page.next;
    }
    let wanted = [1, 2, 4, 5, 6, 7, 8, 9, 0].map(|number| format!("u{number}@d.test"));
    assert_eq!(seen, wanted);
}

#[test]
fn a_file_of_old_lines_is_written_anew_and_says_the_same() {
    let scene = Scene::new();
    let mut book = scene.open();
    for turn in 0..2 * TIDY_AT {
        book.add(manual(&format!("u{}@d.test", turn % 100)))
            .unwrap();
    }
    book.note(&bounce("over@d.test", 0, 1)).unwrap();
    book.note(&bounce("b@d.test", 500, 1)).unwrap();
    book.keep().unwrap();
    let before = book.len;
    tidy(&mut book, 1200).unwrap();
    assert!(book.len < before / 10, "{} of {before}", book.len);
    assert!(!scene.list.has("over@d.test", 0), "its time is over");
    book.add(manual("next@d.test")).unwrap();
    book.keep().unwrap();
    assert_eq!(
        book.find("b@d.test", 1200).unwrap().map(|entry| entry.at),
        Some(500)
    );
    drop(book);
    let book = scene.open();
    assert_eq!((book.total(1200), book.lines), (102, 102));
}

#[test]
fn a_full_list_takes_no_more_and_lets_go() {
    let scene = Scene::new();
    let mut book = scene.open_for(2);
    book.add(manual("a@d.test")).unwrap();
    book.add(manual("b@d.test")).unwrap();
    assert_eq!(book.add(manual("c@d.test")), Err(Trouble::Full));
    book.keep().unwrap();
    assert_eq!(book.note(&bounce("c@d.test", 0, 1)), Err(Trouble::Full));
    assert_eq!(book.add(manual("a@d.test")), Ok(()), "it is there already");
    assert!(book.remove("a@d.test", 0).unwrap());
    assert_eq!(
        book.add(manual("c@d.test")),
        Ok(()),
        "in the same batch too"
    );
    assert_eq!(book.add(manual("a@d.test")), Err(Trouble::Full));
}

/// The disk is full. What was written of a new file would be in the way of mail.
#[test]
fn a_new_file_that_cannot_be_written_is_gone_and_not_tried_for_each_bounce() {
    let scene = Scene::new();
    fs::write(scene.home.path().join("suppressions.new"), "of a crash").unwrap();
    let mut book = scene.open();
    let draft = book.draft();
    assert!(!draft.exists(), "what a killed process left is gone");
    let change = |book: &mut Book<At>, times: usize| {
        for _ in 0..times {
            book.add(manual("u@d.test")).unwrap();
        }
        book.keep().unwrap();
    };
    change(&mut book, 2 * TIDY_AT);
    std::os::unix::fs::symlink("/dev/full", &draft).unwrap();
    assert!(tidy(&mut book, 0).is_err());
    assert!(fs::symlink_metadata(&draft).is_err(), "it is gone");
    change(&mut book, 1);
    tidy(&mut book, 0).unwrap();
    assert_eq!(book.lines, 2 * TIDY_AT + 1, "it was not tried");
    assert!(scene.list.has("u@d.test", 0));
    change(&mut book, TIDY_AT);
    tidy(&mut book, 0).unwrap();
    assert_eq!(book.lines, 1);
}

/// Useless lines from which on a file is written anew.
const TIDY_AT: usize = 1000;
/// Addresses that the list takes in the test below.
const FEW: usize = 5;

proptest::proptest! {
    /// Added, removed, kept, killed, written anew, in any order, against a plain set.
    #[test]
    fn the_list_is_what_was_kept_of_it(steps in proptest::collection::vec((0_u8..7, 0_u8..8), 1..80)) {
        let scene = Scene::new();
        let open = || scene.open_for(FEW);
        let name = |number: u8| format!("u{number}@d.test");
        let (mut book, mut said, mut kept) = (open(), BTreeSet::new(), BTreeSet::new());
        for (step, number) in steps {
            match step {
                0..=2 => {
                    let fits = said.contains(&number) || said.len() < FEW;
                    proptest::prop_assert_eq!(book.add(manual(&name(number))).is_ok(), fits);
                    said.extend(fits.then_some(number));
                }
                3 => proptest::prop_assert_eq!(book.remove(&name(number), 0), Ok(said.remove(&number))),
                4 => {
                    drop(book);
                    book = open();
                    said.clone_from(&kept);
                }
                step => {
                    book.keep().unwrap();
                    kept.clone_from(&said);
                    if step == 5 {
                        book.write_anew(0).unwrap();
                    }
                }
            }
            let has = |number: &u8| scene.list.has(&name(*number), 0);
            let listed: BTreeSet<u8> = (0..8).filter(has).collect();
            proptest::prop_assert_eq!(&listed, &kept);
            proptest::prop_assert_eq!(book.total(0), kept.len());
        }
    }
}

#[test]
fn a_list_that_is_full_of_what_is_over_takes_others() {
    let scene = Scene::new();
    let mut book = scene.open_for(2);
    book.note(&bounce("a@d.test", 0, 1)).unwrap();
    book.note(&bounce("b@d.test", 500, 1)).unwrap();
    book.keep().unwrap();
    tidy(&mut book, 999).unwrap();
    assert_eq!(book.note(&bounce("c@d.test", 999, 1)), Err(Trouble::Full));
    tidy(&mut book, 1000).unwrap();
    assert_eq!(book.note(&bounce("c@d.test", 1000, 1)), Ok(true));
    book.keep().unwrap();
    let has = |address: &str| scene.list.has(address, 1000);
    assert!(!has("a@d.test") && has("b@d.test") && has("c@d.test"));
}
