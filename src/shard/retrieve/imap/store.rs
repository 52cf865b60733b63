//! STORE, EXPUNGE, COPY and MOVE (RFC 9051 §6.4.3, §6.4.6 to §6.4.8, RFC 4315, RFC 7162).

use std::collections::BTreeSet;

use imap_codec::imap_types::command::{CommandBody, StoreModifier};
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::sequence::SequenceSet;

use super::append::flags;
use super::{Answer, Outcome, Visit};
use crate::imap::read::is_saved;
use crate::imap::write;
use crate::mailbox::{Change, FolderError, System};
use crate::world::World;

/// STORE, read.
struct Wanted {
    how: Change,
    system: System,
    keywords: Vec<String>,
    unchanged_since: Option<u64>,
    silent: bool,
    uid: bool,
}

impl<W: World> Visit<'_, W> {
    /// The UIDs that a set names; BAD for numbers that are not there.
    pub(super) fn named(&self, set: &SequenceSet, uid: bool) -> Result<Vec<u32>, Answer> {
        let Some(selected) = &self.selected else {
            return Err(Answer::bad("No mailbox selected"));
        };
        if is_saved(set) {
            let there = |uid: &&u32| selected.view.number(**uid).is_some();
            return Ok(selected.saved.iter().filter(there).copied().collect());
        }
        if uid {
            return Ok(selected.view.named(set));
        }
        let numbered = selected.view.numbered(set);
        numbered.ok_or_else(|| Answer::bad("Invalid messageset"))
    }

    pub(super) async fn store(&mut self, command: CommandBody<'_>) -> Outcome {
        let CommandBody::Store {
            sequence_set,
            kind,
            response,
            flags: wanted,
            uid,
            modifiers,
        } = command
        else {
            return Ok(Answer::bad("Not STORE"));
        };
        let Some((system, keywords)) = flags(&wanted) else {
            let extension = wanted
                .iter()
                .find(|flag| matches!(flag, Flag::Extension(_)));
            let name = extension.map(ToString::to_string).unwrap_or_default();
            return Ok(Answer::bad(format!("Invalid system flag {name}")));
        };
        let uids = match self.named(&sequence_set, uid) {
            Ok(uids) => uids,
            Err(answer) => return Ok(answer),
        };
        let unchanged_since = modifiers
            .first()
            .map(|StoreModifier::UnchangedSince(modseq)| *modseq);
        if unchanged_since.is_some() {
            self.enabled.condstore = true;
        }
        let wanted = Wanted {
            how: match kind {
                StoreType::Add => Change::Add,
                StoreType::Remove => Change::Remove,
                StoreType::Replace => Change::Replace,
            },
            system,
            keywords,
            unchanged_since,
            silent: response == StoreResponse::Silent,
            uid,
        };
        self.change(&uids, &wanted).await
    }

    async fn change(&mut self, uids: &[u32], wanted: &Wanted) -> Outcome {
        let Some(selected) = &self.selected else {
            return Ok(Answer::bad("No mailbox selected"));
        };
        if selected.read_only {
            return Ok(Answer::no("[NOPERM] The mailbox is read-only."));
        }
        // Flags that others have changed and this client has not heard of: silence would leave it
        // with a wrong picture (RFC 9051 §6.4.6).
        let stale: BTreeSet<u32> = uids
            .iter()
            .filter_map(|uid| selected.folder.entry(*uid))
            .filter(|entry| !selected.view.knows(entry.uid, entry.modseq))
            .map(|entry| entry.uid)
            .collect();
        let folder = std::rc::Rc::clone(&selected.folder);
        let keywords: Vec<&str> = wanted.keywords.iter().map(|word| &**word).collect();
        let changed = folder
            .change_flags(
                uids,
                wanted.how,
                wanted.system,
                &keywords,
                wanted.unchanged_since,
            )
            .await?;
        self.tell_keywords();
        let mut gone = false;
        for uid in uids {
            if changed.modified.contains(uid) {
                continue;
            }
            let Some(entry) = folder.entry(*uid) else {
                gone = true;
                continue;
            };
            let flags = !wanted.silent || stale.contains(uid);
            if flags || self.enabled.condstore {
                self.tell_flags(&entry, wanted.uid || self.enabled.qresync, flags);
                self.relieve().await?;
            } else if let Some(selected) = &mut self.selected {
                selected.view.tell(entry.uid, entry.modseq);
            }
        }
        if !changed.modified.is_empty() {
            let set = self.set_of(&changed.modified, wanted.uid);
            return Ok(Answer::ok(format!(
                "[MODIFIED {set}] Conditional store failed."
            )));
        }
        if gone && !wanted.uid {
            return Ok(Answer::no(GONE));
        }
        Ok(Answer::ok("Store completed."))
    }

    /// UIDs as a set, of numbers unless `uid`.
    fn set_of(&self, uids: &[u32], uid: bool) -> String {
        let mut names: Vec<u32> = uids.to_vec();
        if let Some(selected) = &self.selected
            && !uid
        {
            names = uids
                .iter()
                .filter_map(|uid| selected.view.number(*uid))
                .collect();
        }
        names.sort_unstable();
        write::set(names)
    }

    pub(super) async fn expunge(&mut self, only: Option<&SequenceSet>) -> Outcome {
        let only = match only.map(|set| self.named(set, true)) {
            Some(Err(answer)) => return Ok(answer),
            Some(Ok(uids)) => Some(uids),
            None => None,
        };
        let Some(selected) = &self.selected else {
            return Ok(Answer::bad("No mailbox selected"));
        };
        if selected.read_only {
            return Ok(Answer::no("[NOPERM] The mailbox is read-only."));
        }
        let mut doomed = Vec::new();
        selected.folder.for_each(|entry| {
            if entry.flags.system.contains(System::DELETED) {
                doomed.push(entry.uid);
            }
        });
        doomed.retain(|uid| match &only {
            Some(only) => only.binary_search(uid).is_ok(),
            None => selected.view.number(*uid).is_some(),
        });
        let folder = std::rc::Rc::clone(&selected.folder);
        if !doomed.is_empty() {
            folder.expunge(&doomed).await.map_err(FolderError::Io)?;
        }
        let mut text = String::from("Expunge completed.");
        if self.enabled.qresync && !doomed.is_empty() {
            text = format!("[HIGHESTMODSEQ {}] {text}", folder.highest_modseq());
        }
        Ok(Answer::ok(text))
    }

    pub(super) async fn copy(
        &mut self,
        set: &SequenceSet,
        mailbox: &Mailbox<'_>,
        uid: bool,
        moves: bool,
    ) -> Outcome {
        let uids = match self.named(set, uid) {
            Ok(uids) => uids,
            Err(answer) => return Ok(answer),
        };
        let name = self.name(mailbox)?;
        let Some(selected) = &self.selected else {
            return Ok(Answer::bad("No mailbox selected"));
        };
        if moves && selected.read_only {
            return Ok(Answer::no("[NOPERM] The mailbox is read-only."));
        }
        let folder = std::rc::Rc::clone(&selected.folder);
        let to = match self.account()?.folder(&name).await {
            Ok(to) => to,
            Err(error) => return Ok(self.refusal(&error, true)),
        };
        let pairs = if moves {
            folder.move_to(&uids, &to).await?
        } else {
            folder.copy_to(&uids, &to).await?
        };
        if !uid && pairs.len() < uids.len() {
            return Ok(Answer::no(GONE));
        }
        let done = if moves {
            "Move completed."
        } else {
            "Copy completed."
        };
        if pairs.is_empty() {
            return Ok(Answer::ok(done));
        }
        let from = write::set(pairs.iter().map(|(from, _)| *from));
        let into = write::set(pairs.iter().map(|(_, into)| *into));
        let code = format!("[COPYUID {} {from} {into}]", to.uid_validity());
        if moves {
            // Before the EXPUNGE that tells of it (RFC 6851 §4.3).
            self.line(&format!("* OK {code} Moved UIDs."));
            return Ok(Answer::ok(done));
        }
        Ok(Answer::ok(format!("{code} {done}")))
    }
}

/// A message was expunged by another session, and this one has not heard of it.
pub(super) const GONE: &str = "[EXPUNGEISSUED] Some of the requested messages no longer exist.";
