//! Folders against a model: several sessions make, rename, fill and delete them as chance says, and a
//! newcomer has to find what a simple account of it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::imap::Office;
use crate::imap_model::Chance;
use crate::support::imap::{Answer, Imap};

/// What there ought to be.
#[derive(Default)]
struct Model {
    folders: BTreeMap<String, Folder>,
    subscribed: BTreeSet<String>,
    /// Of every folder that ever was: no two have the same.
    validities: BTreeSet<u32>,
    subjects: u32,
    made: u32,
}

#[derive(Clone, Default)]
struct Folder {
    /// Which of all that ever had its name.
    number: u32,
    validity: u32,
    /// By UID: subject and flags.
    messages: BTreeMap<u32, (u32, BTreeSet<String>)>,
    /// The highest UID that was ever heard of.
    highest: u32,
}

/// One session, and the folder that it has open.
struct Session {
    client: Imap,
    selected: Option<u32>,
}

impl Folder {
    fn add(&mut self, uid: u32, subject: u32, flags: BTreeSet<String>) {
        assert!(uid > self.highest, "UID {uid} was given out already");
        self.highest = uid;
        self.messages.insert(uid, (subject, flags));
    }

    /// Some of its messages.
    fn some(&self, chance: &mut Chance) -> Vec<u32> {
        let uids = self.messages.keys().copied();
        uids.filter(|_| chance.next().is_multiple_of(3)).collect()
    }
}

impl Model {
    /// The account as it is found at first: an INBOX.
    fn new() -> Self {
        let mut model = Self::default();
        model.make("INBOX");
        model
    }

    fn make(&mut self, name: &str) {
        self.made += 1;
        let folder = Folder {
            number: self.made,
            ..Folder::default()
        };
        self.folders.insert(name.to_owned(), folder);
    }

    /// A folder's name at random, most often of one that is there.
    fn name(&self, chance: &mut Chance) -> String {
        let there: Vec<&String> = self.folders.keys().collect();
        match chance.next() % 4 {
            0 => NAMES[pick(chance, NAMES.len())].to_owned(),
            _ => there[pick(chance, there.len())].clone(),
        }
    }

    /// RENAME; false where it has to be refused, and changes nothing.
    fn rename(&mut self, from: &str, to: &str) -> bool {
        if self.folders.contains_key(to) || from == to || is_below(to, from) {
            return false;
        }
        if from == "INBOX" {
            self.make(to);
            return true;
        }
        let mut moves = Vec::new();
        for name in self.folders.keys() {
            if name == from || is_below(name, from) {
                moves.push((name.clone(), format!("{to}{}", &name[from.len()..])));
            }
        }
        let is_taken = |(_, there): &(String, String)| self.folders.contains_key(there);
        if moves.is_empty() || moves.iter().any(is_taken) {
            return false;
        }
        for (name, there) in moves {
            let mut folder = self.folders.remove(&name).unwrap();
            // Whoever had it open is sent away.
            self.made += 1;
            folder.number = self.made;
            self.folders.insert(there, folder);
        }
        true
    }

    /// What a SELECT says about the folder has to be what was said before.
    fn check_state(&mut self, name: &str, answer: &Answer) {
        let (validity, next) = (code(answer, "UIDVALIDITY"), code(answer, "UIDNEXT"));
        let folder = self.folders.get_mut(name).unwrap();
        if folder.validity == 0 {
            folder.validity = validity;
            assert!(self.validities.insert(validity), "{name}: of another one");
        }
        assert_eq!(folder.validity, validity, "{name}");
        assert!(next > folder.highest, "{name}: UIDNEXT {next}");
    }

    /// A newcomer looks at everything.
    fn check(&mut self, office: &Office, at: &str) {
        let mut client = office.ann();
        let mut wanted = BTreeMap::new();
        for name in self.folders.keys() {
            for (end, _) in name.match_indices('/') {
                wanted.entry(name[..end].to_owned()).or_insert(false);
            }
            wanted.insert(name.clone(), true);
        }
        let listed = client.command("LIST \"\" *").is("OK ");
        let listed: BTreeMap<String, bool> = listed
            .untagged
            .iter()
            .map(|line| (last_word(line), !line.contains("\\Noselect")))
            .collect();
        assert_eq!(listed, wanted, "{at}");
        let subscribed = client.command("LSUB \"\" *").is("OK ");
        let subscribed: BTreeSet<String> = subscribed
            .untagged
            .iter()
            .map(|line| last_word(line))
            .collect();
        assert_eq!(subscribed, self.subscribed, "{at}");
        for name in self.folders.keys().cloned().collect::<Vec<_>>() {
            let selected = client.command(&format!("EXAMINE {name}")).is("OK ");
            self.check_state(&name, &selected);
            let fetched = client.command("UID FETCH 1:* (FLAGS ENVELOPE)").is("OK ");
            let found: BTreeMap<u32, (u32, BTreeSet<String>)> =
                fetched.untagged.iter().map(|line| message(line)).collect();
            assert_eq!(found, self.folders[&name].messages, "{at}, {name}");
        }
    }
}

impl Session {
    fn new(office: &Office) -> Self {
        Self {
            client: office.ann(),
            selected: None,
        }
    }

    /// Opens a folder, or hears what is new where it is open. A session whose folder was deleted
    /// meanwhile ends.
    fn open(&mut self, office: &Office, model: &mut Model, name: &str) {
        let is_there = |number| model.folders.values().any(|folder| folder.number == number);
        let is_gone = self.selected.is_some_and(|number| !is_there(number));
        assert_eq!(self.ends_at_noop(), is_gone, "{:?}", self.selected);
        if is_gone {
            *self = Self::new(office);
        }
        let number = model.folders[name].number;
        if self.selected != Some(number) {
            let answer = self.client.command(&format!("SELECT {name}")).is("OK ");
            model.check_state(name, &answer);
            self.selected = Some(number);
        }
    }

    fn ends_at_noop(&mut self) -> bool {
        self.client.send("n NOOP\r\n");
        loop {
            let line = self.client.line();
            if line.starts_with("* BYE The mailbox was deleted or renamed") {
                return true;
            }
            if line.starts_with("n OK ") {
                return false;
            }
        }
    }

    fn says(&mut self, command: &str, right: bool) -> Answer {
        let answer = self.client.command(command);
        let is_done = answer.tagged.starts_with("OK ");
        assert_eq!(is_done, right, "{command}: {answer:?}");
        answer
    }

    /// Commands about folders.
    fn arrange(&mut self, model: &mut Model, chance: &mut Chance) {
        let name = model.name(chance);
        let is_there = model.folders.contains_key(&name);
        match chance.next() % 9 {
            0..3 => {
                self.says(&format!("CREATE {name}"), !is_there);
                if !is_there {
                    model.make(&name);
                }
            }
            3 => {
                let goes = is_there && name != "INBOX";
                self.says(&format!("DELETE {name}"), goes);
                if goes {
                    model.folders.remove(&name);
                }
            }
            4..7 => {
                let to = NAMES[pick(chance, NAMES.len())];
                let inbox = model.folders["INBOX"].messages.clone();
                let done = model.rename(&name, to);
                self.says(&format!("RENAME {name} {to}"), done);
                if done && name == "INBOX" {
                    model.folders.get_mut("INBOX").unwrap().messages.clear();
                    let there = model.folders.get_mut(to).unwrap();
                    // In order; a new folder counts from 1.
                    for (uid, (subject, flags)) in (1..).zip(inbox.into_values()) {
                        there.add(uid, subject, flags);
                    }
                }
            }
            7 => {
                // One that is there for others below it is there.
                let below = |other: &String| is_below(other, &name);
                let is_there = is_there || model.folders.keys().any(below);
                self.says(&format!("SUBSCRIBE {name}"), is_there);
                if is_there {
                    model.subscribed.insert(name);
                }
            }
            _ => {
                self.says(&format!("UNSUBSCRIBE {name}"), true);
                model.subscribed.remove(&name);
            }
        }
    }

    /// Commands about messages.
    fn work(&mut self, office: &Office, model: &mut Model, chance: &mut Chance) {
        let there: Vec<String> = model.folders.keys().cloned().collect();
        let name = there[pick(chance, there.len())].clone();
        let flag = ["\\Seen", "\\Flagged", "$Kw"][pick(chance, 3)].to_owned();
        self.open(office, model, &name);
        let uids = model.folders[&name].some(chance);
        let set = uids
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(",");
        match chance.next() % 8 {
            0..3 => self.append(model, chance, &flag),
            _ if uids.is_empty() => {}
            3 => {
                self.says(&format!("UID STORE {set} +FLAGS ({flag})"), true);
                let messages = &mut model.folders.get_mut(&name).unwrap().messages;
                for uid in uids {
                    messages.get_mut(&uid).unwrap().1.insert(flag.clone());
                }
            }
            4 => {
                self.says(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), true);
                self.says(&format!("UID EXPUNGE {set}"), true);
                let messages = &mut model.folders.get_mut(&name).unwrap().messages;
                messages.retain(|uid, _| !uids.contains(uid));
            }
            draw => {
                let to = model.name(chance);
                self.transfer(model, &name, &to, &uids, draw == 5);
            }
        }
    }

    fn append(&mut self, model: &mut Model, chance: &mut Chance, flag: &str) {
        let to = model.name(chance);
        model.subjects += 1;
        let subject = model.subjects;
        let message = format!("Subject: {subject}\r\n\r\n{subject}\r\n");
        let len = message.len();
        let command = format!("APPEND {to} ({flag}) {{{len}+}}\r\n{message}");
        let answer = self.says(&command, model.folders.contains_key(&to));
        if let Some(folder) = model.folders.get_mut(&to) {
            let uid = numbers(&answer.tagged, "APPENDUID", 2);
            folder.add(uid[0], subject, BTreeSet::from([flag.to_owned()]));
        } else {
            assert!(answer.tagged.contains("[TRYCREATE]"), "{answer:?}");
        }
    }

    /// COPY, or MOVE.
    fn transfer(&mut self, model: &mut Model, from: &str, to: &str, uids: &[u32], moves: bool) {
        let verb = if moves { "MOVE" } else { "COPY" };
        let set = uids
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(",");
        // A message cannot be moved to where it is and stay.
        let is_there = model.folders.contains_key(to);
        let answer = self.says(&format!("UID {verb} {set} {to}"), is_there);
        if !is_there {
            assert!(answer.tagged.contains("[TRYCREATE]"), "{answer:?}");
            return;
        }
        let mut said = answer.untagged.iter().chain([&answer.tagged]);
        let said = said.find(|line| line.contains("COPYUID")).unwrap();
        assert_eq!(numbers(said, "COPYUID", 2), uids);
        let there = numbers(said, "COPYUID", 3);
        for (uid, copy) in uids.iter().zip(there) {
            let (subject, flags) = model.folders[from].messages[uid].clone();
            if moves {
                model.folders.get_mut(from).unwrap().messages.remove(uid);
            }
            model.folders.get_mut(to).unwrap().add(copy, subject, flags);
        }
    }
}

/// The numbers of a set in a response code: `word` of `[NAME word word word]`.
fn numbers(line: &str, name: &str, word: usize) -> Vec<u32> {
    let code = line.split(name).nth(1).unwrap().split(']').next().unwrap();
    let set = code.split(' ').nth(word).unwrap();
    let range = |part: &str| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse::<u32>().unwrap()
    };
    set.split(',').flat_map(range).collect()
}

/// The number of a response code in the untagged answers.
fn code(answer: &Answer, name: &str) -> u32 {
    let mut lines = answer.untagged.iter();
    let line = lines.find(|line| line.contains(name)).unwrap();
    numbers(line, name, 1)[0]
}

/// UID, subject and flags out of a FETCH.
fn message(line: &str) -> (u32, (u32, BTreeSet<String>)) {
    let after = |word: &str, end: char| {
        let rest = line.split(word).nth(1).unwrap_or_else(|| panic!("{line}"));
        rest.split(end).next().unwrap().to_owned()
    };
    let flags = after("FLAGS (", ')');
    let flags = flags.split_whitespace().filter(|flag| *flag != "\\Recent");
    let uid = after("UID ", ' ').parse().unwrap();
    let subject = after("ENVELOPE (NIL \"", '"').parse().unwrap();
    (uid, (subject, flags.map(str::to_owned).collect()))
}

fn last_word(line: &str) -> String {
    let word = line.rsplit(' ').next().unwrap();
    word.trim_matches('"').to_owned()
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn pick(chance: &mut Chance, among: usize) -> usize {
    usize::try_from(chance.next()).unwrap() % among
}

/// Parents and children, so that renaming one means something for the other.
const NAMES: [&str; 8] = ["a", "a/b", "a/b/c", "a/d", "x", "x/b", "x/b/c", "y"];

#[test]
fn folders_are_what_a_simple_account_of_them_says() {
    for seed in 1..=6_u64 {
        let office = Office::new();
        let mut model = Model::new();
        let mut chance = Chance::new(seed);
        let mut sessions: Vec<Session> = (0..3).map(|_| Session::new(&office)).collect();
        for step in 0..120 {
            let session = &mut sessions[pick(&mut chance, 3)];
            if chance.next().is_multiple_of(3) {
                session.arrange(&mut model, &mut chance);
            } else {
                session.work(&office, &mut model, &mut chance);
            }
            if step % 20 == 19 {
                model.check(&office, &format!("seed {seed}, step {step}"));
            }
        }
    }
}
