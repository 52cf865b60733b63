//! Untagged answers about what has happened in the open folder.

use std::io;

use super::Visit;
use super::select::Selected;
use crate::imap::view::News;
use crate::imap::write;
use crate::mailbox::{Entry, Expunged, System};
use crate::world::World;

impl<W: World> Visit<'_, W> {
    /// Looks at the folder's directory: what was delivered, what other programs did. False when the
    /// folder is gone.
    pub(super) async fn look(&mut self) -> bool {
        let Some(selected) = &self.selected else {
            return true;
        };
        match selected.folder.refresh().await {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.line("* BYE The mailbox was deleted or renamed by another session.");
                false
            }
            Err(error) => {
                self.shard
                    .warn(format_args!("a folder cannot be looked at: {error}"));
                true
            }
        }
    }

    /// Tells what has happened since. Messages that are gone, only when `may_expunge`.
    pub(super) async fn news(&mut self, may_expunge: bool) -> io::Result<()> {
        let Some(selected) = &mut self.selected else {
            return Ok(());
        };
        let version = selected.folder.version();
        if version == selected.version && !(may_expunge && selected.has_ghosts) {
            return Ok(());
        }
        selected.version = version;
        let last_known = selected.view.uids().last().copied().unwrap_or(0);
        let news = selected.catch_up(may_expunge);
        if news.exists.is_some()
            && !selected.read_only
            && let Some(first) = selected.folder.take_recent()
        {
            selected.view.mark_recent(first.max(last_known + 1));
        }
        let changed: Vec<Entry> = selected
            .folder
            .changed_since(selected.view.known())
            .into_iter()
            .filter(|entry| {
                entry.uid <= last_known && !selected.view.knows(entry.uid, entry.modseq)
            })
            .collect();
        selected.view.caught_up(selected.folder.highest_modseq());
        self.tell(&news);
        for entry in changed {
            self.tell_flags(&entry, self.enabled.qresync, true);
            self.relieve().await?;
        }
        Ok(())
    }

    fn tell(&mut self, news: &News) {
        let Some(selected) = &self.selected else {
            return;
        };
        let recent = selected.view.recent();
        if self.enabled.qresync && !news.vanished.is_empty() {
            let set = write::set(news.vanished.iter().copied());
            self.line(&format!("* VANISHED {set}"));
        } else {
            for number in &news.expunged {
                self.line(&format!("* {number} EXPUNGE"));
            }
        }
        if let Some(exists) = news.exists {
            self.line(&format!("* {exists} EXISTS"));
            if !self.enabled.rev2 {
                self.line(&format!("* {recent} RECENT"));
            }
        }
    }

    /// `* n FETCH (...)` with flags, the UID where `uid`, and the modification sequence where the
    /// client wants it.
    pub(super) fn tell_flags(&mut self, entry: &Entry, uid: bool, flags: bool) {
        self.tell_keywords();
        let condstore = self.enabled.condstore;
        let Some(selected) = &mut self.selected else {
            return;
        };
        let Some(number) = selected.view.number(entry.uid) else {
            return;
        };
        let mut items = Vec::new();
        if uid {
            items.push(format!("UID {}", entry.uid));
        }
        if flags {
            items.push(format!("FLAGS ({})", selected.flags(entry)));
        }
        if condstore {
            items.push(format!("MODSEQ ({})", entry.modseq));
        }
        selected.view.tell(entry.uid, entry.modseq);
        let items = items.join(" ");
        self.line(&format!("* {number} FETCH ({items})"));
    }

    /// FLAGS and PERMANENTFLAGS, when the folder has keywords that the client has not heard of.
    pub(super) fn tell_keywords(&mut self) {
        let Some(selected) = &mut self.selected else {
            return;
        };
        let keywords = selected.folder.keywords();
        if keywords.len() == selected.keywords_told {
            return;
        }
        selected.keywords_told = keywords.len();
        let (flags, permanent) = selected.flag_lists();
        self.line(&flags);
        self.line(&permanent);
    }
}

impl<W: World> Selected<W> {
    /// Brings the view up to date.
    fn catch_up(&mut self, may_expunge: bool) -> News {
        let folder = &self.folder;
        let news = match folder.expunged_since(self.cleared) {
            Expunged::Known(gone) => {
                let last = self.view.uids().last().copied().unwrap_or(0);
                let new = folder.uids_after(last);
                let news = self.view.update(&gone, &new, may_expunge);
                self.has_ghosts = !may_expunge && self.view.has_any(&gone);
                news
            }
            // Too many to be remembered one by one.
            Expunged::Unknown => {
                let current = folder.uids_after(0);
                let news = self.view.refresh(&current, may_expunge);
                self.has_ghosts = current.len() < self.view.uids().len();
                news
            }
        };
        if !self.has_ghosts {
            self.cleared = folder.highest_modseq();
        }
        news
    }

    /// A message's flags as they are written.
    pub(super) fn flags(&self, entry: &Entry) -> String {
        let mut flags: Vec<&str> = NAMES
            .iter()
            .filter(|(_, flag)| entry.flags.system.contains(*flag))
            .map(|(name, _)| *name)
            .collect();
        if self.view.is_recent(entry.uid) {
            flags.push("\\Recent");
        }
        let keywords = if entry.flags.keywords == 0 {
            Default::default()
        } else {
            self.folder.keywords()
        };
        for (at, keyword) in keywords.iter().enumerate() {
            if entry.flags.keywords >> at & 1 == 1 {
                flags.push(keyword);
            }
        }
        flags.join(" ")
    }

    /// The lines that name every flag there is and may be.
    pub(super) fn flag_lists(&self) -> (String, String) {
        let mut flags = String::from("\\Answered \\Flagged \\Deleted \\Seen \\Draft");
        for keyword in self.folder.keywords() {
            flags.push(' ');
            flags.push_str(&keyword);
        }
        let permanent = if self.read_only {
            "* OK [PERMANENTFLAGS ()] Read-only mailbox.".to_owned()
        } else {
            format!("* OK [PERMANENTFLAGS ({flags} \\*)] Flags permitted.")
        };
        (format!("* FLAGS ({flags})"), permanent)
    }
}

/// System flags, as they are written.
pub(super) const NAMES: [(&str, System); 5] = [
    ("\\Answered", System::ANSWERED),
    ("\\Flagged", System::FLAGGED),
    ("\\Deleted", System::DELETED),
    ("\\Seen", System::SEEN),
    ("\\Draft", System::DRAFT),
];
