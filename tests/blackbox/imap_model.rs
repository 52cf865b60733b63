//! IMAP against a model: several sessions do what chance says, and each has to be told so much that
//! a client that believes every answer knows the mailbox as it is.

use std::collections::BTreeMap;

use crate::imap::Office;
use crate::support::imap::{Answer, Imap};

/// What a client knows of the open folder by what it was told.
struct Believer {
    client: Imap,
    /// Flags by message number; `None` where nothing was said yet.
    flags: Vec<Option<String>>,
}

impl Believer {
    fn new(office: &Office) -> Self {
        let mut believer = Self {
            client: office.ann(),
            flags: Vec::new(),
        };
        believer.does("SELECT INBOX");
        believer
    }

    /// Says a command, and believes what comes.
    fn does(&mut self, command: &str) -> Answer {
        let answer = self.client.command(command);
        let numbered = ["FETCH", "STORE", "SEARCH"]
            .iter()
            .any(|verb| command.starts_with(verb));
        for line in &answer.untagged {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let (Some(Ok(number)), Some(what)) =
                (words.get(1).map(|word| word.parse::<usize>()), words.get(2))
            else {
                continue;
            };
            match *what {
                "EXISTS" => {
                    assert!(number >= self.flags.len(), "{command}: {answer:?}");
                    self.flags.resize(number, None);
                }
                "EXPUNGE" => {
                    assert!(
                        !numbered,
                        "{command} was told of expunged messages: {answer:?}"
                    );
                    self.flags.remove(number - 1);
                }
                "FETCH" => {
                    let flags = line
                        .split("FLAGS (")
                        .nth(1)
                        .and_then(|rest| rest.split(')').next());
                    if let Some(flags) = flags {
                        self.flags[number - 1] = Some(without_recent(flags));
                    }
                }
                _ => {}
            }
        }
        answer
    }

    /// Any number that there is.
    fn number(&self, chance: u64) -> usize {
        usize::try_from(chance).unwrap() % self.flags.len() + 1
    }
}

fn without_recent(flags: &str) -> String {
    let mut flags: Vec<&str> = flags
        .split(' ')
        .filter(|flag| *flag != "\\Recent")
        .collect();
    flags.sort_unstable();
    flags.join(" ")
}

/// The same numbers for the same seed (xorshift).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}

fn random_command(believer: &mut Believer, chance: &mut Chance, appended: &mut u32) {
    let draw = chance.next() % 100;
    if believer.flags.is_empty() || draw < 20 {
        *appended += 1;
        let message = format!("Subject: {appended}\r\n\r\n{appended}\r\n");
        let len = message.len();
        believer
            .does(&format!("APPEND INBOX {{{len}+}}\r\n{message}"))
            .is("OK ");
        return;
    }
    let number = believer.number(chance.next());
    let flag =
        ["\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Kw"][(chance.next() % 5) as usize];
    match draw {
        20..40 => drop(believer.does(&format!("STORE {number} +FLAGS ({flag})"))),
        40..55 => {
            // Silence: what it means is known to whoever has asked for it.
            let answer = believer.does(&format!("STORE {number} FLAGS.SILENT ({flag})"));
            let told = answer
                .untagged
                .iter()
                .any(|line| line.starts_with(&format!("* {number} FETCH")));
            if answer.tagged.starts_with("OK ") && !told {
                believer.flags[number - 1] = Some(flag.to_owned());
            }
        }
        55..65 => drop(believer.does(&format!("STORE {number} -FLAGS ({flag})"))),
        65..75 => drop(believer.does("FETCH 1:* (UID FLAGS)")),
        75..80 => drop(believer.does("SEARCH UNSEEN").is("OK ")),
        80..85 => drop(believer.does("UID SEARCH DELETED").is("OK ")),
        85..90 => drop(believer.does(&format!("MOVE {number} Other"))),
        90..95 => drop(believer.does("EXPUNGE").is("OK ")),
        _ => drop(believer.does("NOOP").is("OK ")),
    }
}

#[test]
fn whoever_believes_every_answer_knows_the_mailbox() {
    let office = Office::new();
    office.ann().command("CREATE Other").is("OK ");
    for seed in 1..=8_u64 {
        let mut chance = Chance::new(seed);
        let mut believers: Vec<Believer> = (0..3).map(|_| Believer::new(&office)).collect();
        let mut appended = 0;
        for _ in 0..120 {
            let who = (chance.next() % 3) as usize;
            random_command(&mut believers[who], &mut chance, &mut appended);
        }
        // Everybody hears the rest, and then knows what a newcomer is told.
        let mut newcomer = Believer::new(&office);
        newcomer.does("FETCH 1:* FLAGS");
        for (who, believer) in believers.iter_mut().enumerate() {
            believer.does("NOOP").is("OK ");
            let count = believer.flags.len();
            assert_eq!(count, newcomer.flags.len(), "seed {seed}, session {who}");
            let known: BTreeMap<usize, &String> = believer
                .flags
                .iter()
                .enumerate()
                .filter_map(|(at, flags)| Some((at, flags.as_ref()?)))
                .collect();
            for (at, flags) in known {
                let wanted = newcomer.flags[at].as_ref();
                assert_eq!(
                    Some(flags),
                    wanted,
                    "seed {seed}, session {who}, message {}",
                    at + 1
                );
            }
        }
    }
}
