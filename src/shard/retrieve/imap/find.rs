//! SEARCH, SORT and THREAD: which messages, in which order. Long ones give others their turn.

use std::collections::BTreeSet;

use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::{Charset, Vec1};
use imap_codec::imap_types::extensions::thread::ThreadingAlgorithm;
use imap_codec::imap_types::search::SearchKey;

use super::fetch::Looked;
use super::{Answer, Outcome, Trouble, Visit};
use crate::imap::read::Returns;
use crate::imap::search::{
    self, Evidence, Facts, Flags, Key, Scan, Scope, Told, Unready, asks_for_modseq,
};
use crate::imap::sort::{self, Candidate};
use crate::imap::thread::{self, Member};
use crate::imap::write;
use crate::mailbox::{Entry, System};
use crate::world::World;

/// What was found.
struct Found {
    facts: Vec<Facts>,
    /// A message that was asked about is gone.
    gone: bool,
}

impl<W: World> Visit<'_, W> {
    pub(super) async fn search(
        &mut self,
        tag: &str,
        command: CommandBody<'_>,
        returns: Option<Returns>,
    ) -> Outcome {
        let CommandBody::Search {
            charset,
            criteria,
            uid,
        } = command
        else {
            return Ok(Answer::bad("Not SEARCH"));
        };
        if charset.is_some() && self.enabled.utf8 {
            return Ok(Answer::bad("UTF8=ACCEPT has one charset"));
        }
        let key = match self.ready(charset.as_ref(), &criteria) {
            Ok(key) => key,
            Err(answer) => {
                if returns.is_some_and(|returns| returns.save)
                    && let Some(selected) = &mut self.selected
                {
                    selected.saved.clear();
                }
                return Ok(answer);
            }
        };
        let found = self.find(&key).await?;
        let asks = asks_for_modseq(criteria.as_ref());
        if asks {
            self.enabled.condstore = true;
        }
        let returns = returns.or(self.enabled.rev2.then_some(Returns {
            all: true,
            ..Returns::default()
        }));
        match returns {
            Some(returns) => self.extended(tag, &found.facts, returns, uid, asks),
            None => {
                let mut line = String::from("* SEARCH");
                for facts in &found.facts {
                    line.push_str(&format!(" {}", name(facts, uid)));
                }
                if asks && let Some(highest) = highest(&found.facts) {
                    line.push_str(&format!(" (MODSEQ {highest})"));
                }
                self.line(&line);
            }
        }
        Ok(ended(&found, "Search completed."))
    }

    /// `* ESEARCH` (RFC 4731), and `$`.
    fn extended(&mut self, tag: &str, facts: &[Facts], returns: Returns, uid: bool, modseq: bool) {
        let (first, last) = (facts.first(), facts.last());
        let Returns {
            min,
            max,
            all,
            count,
            save,
        } = returns;
        if save && let Some(selected) = &mut self.selected {
            // RFC 5182 §2.4: with MIN or MAX alone, only those.
            let mut saved = BTreeSet::new();
            if !all && !count && (min || max) {
                saved.extend(first.filter(|_| min).map(|facts| facts.uid));
                saved.extend(last.filter(|_| max).map(|facts| facts.uid));
            } else {
                saved.extend(facts.iter().map(|facts| facts.uid));
            }
            selected.saved = saved.into_iter().collect();
            if !min && !max && !all && !count {
                return;
            }
        }
        let mut line = format!("* ESEARCH (TAG \"{tag}\")");
        if uid {
            line.push_str(" UID");
        }
        if let Some(first) = first.filter(|_| min) {
            line.push_str(&format!(" MIN {}", name(first, uid)));
        }
        if let Some(last) = last.filter(|_| max) {
            line.push_str(&format!(" MAX {}", name(last, uid)));
        }
        if all && !facts.is_empty() {
            let set = write::set(facts.iter().map(|facts| name(facts, uid)));
            line.push_str(&format!(" ALL {set}"));
        }
        if count {
            line.push_str(&format!(" COUNT {}", facts.len()));
        }
        if modseq {
            // RFC 7162 §3.1.10: of those returned.
            let only_ends = !all && !count;
            let ends: Vec<Facts> = [first.filter(|_| min), last.filter(|_| max)]
                .into_iter()
                .flatten()
                .copied()
                .collect();
            let highest = if only_ends {
                highest(&ends)
            } else {
                highest(facts)
            };
            if let Some(highest) = highest {
                line.push_str(&format!(" MODSEQ {highest}"));
            }
        }
        self.line(&line);
    }

    pub(super) async fn sort(&mut self, command: CommandBody<'_>) -> Outcome {
        let CommandBody::Sort {
            sort_criteria,
            charset,
            search_criteria,
            uid,
        } = command
        else {
            return Ok(Answer::bad("Not SORT"));
        };
        let key = match self.ready(Some(&charset), &search_criteria) {
            Ok(key) => key,
            Err(answer) => return Ok(answer),
        };
        let found = self.find(&key).await?;
        let criteria = sort_criteria.as_ref();
        let is_cheap = sort::is_cheap(criteria);
        let mut candidates = Vec::with_capacity(found.facts.len());
        for facts in &found.facts {
            let mut looked = Looked::default();
            if !is_cheap {
                self.summary(facts.uid, &mut looked).await?;
            }
            let summary = looked.summary.unwrap_or_default();
            candidates.push(Candidate::new(*facts, &summary, criteria));
            self.shard.world.breathe().await;
        }
        sort::sort(&mut candidates, criteria);
        let mut line = String::from("* SORT");
        for candidate in &candidates {
            line.push_str(&format!(" {}", name(&candidate.facts, uid)));
        }
        if asks_for_modseq(search_criteria.as_ref())
            && let Some(highest) = highest(&found.facts)
        {
            line.push_str(&format!(" (MODSEQ {highest})"));
        }
        self.line(&line);
        Ok(ended(&found, "Sort completed."))
    }

    pub(super) async fn thread(&mut self, command: CommandBody<'_>) -> Outcome {
        let CommandBody::Thread {
            algorithm,
            charset,
            search_criteria,
            uid,
        } = command
        else {
            return Ok(Answer::bad("Not THREAD"));
        };
        let make = match algorithm {
            ThreadingAlgorithm::OrderedSubject => thread::by_subject,
            ThreadingAlgorithm::References => thread::by_references,
            ThreadingAlgorithm::Other(_) => {
                return Ok(Answer::bad("This algorithm is not offered"));
            }
        };
        let key = match self.ready(Some(&charset), &search_criteria) {
            Ok(key) => key,
            Err(answer) => return Ok(answer),
        };
        let found = self.find(&key).await?;
        let mut members = Vec::with_capacity(found.facts.len());
        for facts in &found.facts {
            let mut looked = Looked::default();
            self.summary(facts.uid, &mut looked).await?;
            let summary = looked.summary.unwrap_or_default();
            members.push(Member::new(name(facts, uid), facts, &summary));
            self.shard.world.breathe().await;
        }
        let trees = make(&members);
        let space = if trees.is_empty() { "" } else { " " };
        self.line(&format!("* THREAD{space}{trees}"));
        Ok(ended(&found, "Thread completed."))
    }

    fn ready(
        &self,
        charset: Option<&Charset<'_>>,
        criteria: &Vec1<SearchKey<'_>>,
    ) -> Result<Key, Answer> {
        let Some(selected) = &self.selected else {
            return Err(Answer::bad("No mailbox selected"));
        };
        let charset = charset.map(AsRef::as_ref).unwrap_or_default();
        if !charset.is_empty() && !search::knows_charset(charset) {
            return Err(Answer::no("[BADCHARSET (UTF-8 US-ASCII)] Unknown charset."));
        }
        let keywords = selected.folder.keywords();
        let keywords: Vec<&str> = keywords.iter().map(|word| &**word).collect();
        let scope = Scope {
            view: &selected.view,
            keywords: &keywords,
            saved: &selected.saved,
            now: self.shard.world.wall().seconds(),
            charset,
        };
        search::ready(criteria.as_ref(), &scope).map_err(|unready| match unready {
            Unready::Number => Answer::bad("Invalid messageset"),
            Unready::Text => Answer::no("[BADCHARSET (UTF-8 US-ASCII)] Not in this charset."),
            Unready::TooMany => Answer::no("[LIMIT] Too many words in one search."),
        })
    }

    /// Every message that is meant, by number.
    async fn find(&mut self, key: &Key) -> Result<Found, Trouble> {
        let mut found = Found {
            facts: Vec::new(),
            gone: false,
        };
        let count = self
            .selected
            .as_ref()
            .map_or(0, |selected| selected.view.len());
        for number in 1..=count {
            if number % BREATH == 0 {
                self.shard.world.breathe().await;
            }
            let Some(facts) = self.facts(number) else {
                found.gone = true;
                continue;
            };
            if self.is_meant(key, &facts).await? {
                found.facts.push(facts);
            }
        }
        Ok(found)
    }

    async fn is_meant(&mut self, key: &Key, facts: &Facts) -> Result<bool, Trouble> {
        let mut evidence = Evidence::default();
        if let Some(answer) = search::matches(key, facts, evidence) {
            return Ok(answer);
        }
        let mut looked = Looked::default();
        self.summary(facts.uid, &mut looked).await?;
        let told = looked.summary.take().as_ref().map(Told::by);
        evidence.told = told.as_ref();
        if let Some(answer) = search::matches(key, facts, evidence) {
            return Ok(answer);
        }
        self.whole(facts.uid, &mut looked).await?;
        let Some(message) = looked.message else {
            return Ok(false);
        };
        let mut scan = Scan::new(key, &message.raw, &message.part);
        while scan.step() {
            self.shard.world.breathe().await;
        }
        let seen = scan.end();
        let evidence = Evidence {
            told: told.as_ref(),
            seen: Some(&seen),
        };
        Ok(search::matches(key, facts, evidence).unwrap_or(false))
    }

    /// What the index knows of the message with this number; `None` when it is gone.
    fn facts(&self, number: u32) -> Option<Facts> {
        let selected = self.selected.as_ref()?;
        let uid = selected.view.uid(number)?;
        let entry = selected.folder.entry(uid)?;
        Some(facts_of(number, &entry, selected.view.is_recent(uid)))
    }
}

fn facts_of(number: u32, entry: &Entry, recent: bool) -> Facts {
    let has = |flag| entry.flags.system.contains(flag);
    Facts {
        number,
        uid: entry.uid,
        modseq: entry.modseq,
        size: entry.size,
        saved: entry.saved,
        flags: Flags {
            answered: has(System::ANSWERED),
            flagged: has(System::FLAGGED),
            deleted: has(System::DELETED),
            seen: has(System::SEEN),
            draft: has(System::DRAFT),
        },
        keywords: entry.flags.keywords,
        recent,
    }
}

/// What the answer calls it.
fn name(facts: &Facts, uid: bool) -> u32 {
    if uid { facts.uid } else { facts.number }
}

fn highest(facts: &[Facts]) -> Option<u64> {
    facts.iter().map(|facts| facts.modseq).max()
}

fn ended(found: &Found, done: &'static str) -> Answer {
    if found.gone {
        return Answer::ok(format!("[EXPUNGEISSUED] {done}"));
    }
    Answer::ok(done)
}

/// How many messages are looked at between turns.
const BREATH: u32 = 256;
