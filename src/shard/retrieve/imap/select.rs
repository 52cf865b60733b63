//! SELECT, EXAMINE, CLOSE (RFC 9051 §6.3.2, §6.4.1), and what a client that comes back has missed
//! (RFC 7162 §3.2.5).

use std::rc::Rc;

use imap_codec::imap_types::command::SelectParameter;
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::sequence::SequenceSet;

use super::{Answer, Outcome, Trouble, Visit};
use crate::imap::state::State;
use crate::imap::view::{View, ranges};
use crate::imap::write;
use crate::mailbox::{Expunged, Folder, FolderError, Summaries, System};
use crate::world::World;

/// The open folder.
pub(super) struct Selected<W: World> {
    pub(super) folder: Rc<Folder<W>>,
    pub(super) view: View,
    pub(super) read_only: bool,
    /// The folder's version when the view was made or brought up to date.
    pub(super) version: u64,
    /// The view has messages that are gone.
    pub(super) has_ghosts: bool,
    /// The view has none that went up to this modification sequence.
    pub(super) cleared: u64,
    /// How many keywords the client has heard of.
    pub(super) keywords_told: usize,
    /// What `$` stands for (RFC 5182).
    pub(super) saved: Vec<u32>,
    /// The message that FETCH has looked into last.
    pub(super) kept: Option<super::fetch::Kept>,
    /// While a command asks for one summary after the other.
    pub(super) summaries: Option<Summaries<W>>,
}

/// What a client that comes back says that it knows.
struct Known<'a> {
    uid_validity: u32,
    modseq: u64,
    uids: Option<&'a SequenceSet>,
    /// Some numbers, and the UIDs that they had.
    pairs: Option<&'a (SequenceSet, SequenceSet)>,
}

impl<W: World> Selected<W> {
    /// What to wait on for news.
    pub(super) fn watched(&self) -> (Rc<Folder<W>>, u64) {
        (Rc::clone(&self.folder), self.version)
    }
}

impl<W: World> Visit<'_, W> {
    pub(super) async fn select(
        &mut self,
        mailbox: &Mailbox<'_>,
        parameters: &[SelectParameter],
        read_only: bool,
    ) -> Outcome {
        let mut known = None;
        for parameter in parameters {
            match parameter {
                SelectParameter::CondStore => self.enabled.condstore = true,
                SelectParameter::QResync { .. } if !self.enabled.qresync => {
                    return Ok(Answer::bad("QRESYNC is not enabled"));
                }
                SelectParameter::QResync {
                    uid_validity,
                    mod_sequence_value,
                    known_uids,
                    seq_match_data,
                } => {
                    known = Some(Known {
                        uid_validity: uid_validity.get(),
                        modseq: mod_sequence_value.get(),
                        uids: known_uids.as_ref(),
                        pairs: seq_match_data.as_ref(),
                    });
                }
            }
        }
        if self.selected.is_some() {
            self.deselect();
            self.line("* OK [CLOSED] Previous mailbox closed.");
        }
        let name = self.name(mailbox)?;
        let folder = self.account()?.folder(&name).await?;
        folder.refresh().await.map_err(FolderError::Io)?;
        self.open(folder, read_only);
        if self.enabled.rev2 {
            let name = self.written_name(&name);
            self.out.extend_from_slice(b"* LIST () \"/\" ");
            self.out.extend_from_slice(&name);
            self.out.extend_from_slice(b"\r\n");
        }
        if let Some(known) = known {
            self.tell_missed(&known).await?;
        }
        self.state = State::Selected;
        Ok(Answer::ok(if read_only {
            "[READ-ONLY] Examine completed."
        } else {
            "[READ-WRITE] Select completed."
        }))
    }

    fn open(&mut self, folder: Rc<Folder<W>>, read_only: bool) {
        let version = folder.version();
        let mut uids = Vec::with_capacity(folder.len());
        let mut unseen = None;
        folder.for_each(|entry| {
            uids.push(entry.uid);
            if unseen.is_none() && !entry.flags.system.contains(System::SEEN) {
                unseen = Some(uids.len());
            }
        });
        let mut view = View::new(uids, folder.highest_modseq());
        if !read_only && let Some(first) = folder.take_recent() {
            view.mark_recent(first);
        }
        let selected = Selected {
            keywords_told: folder.keywords().len(),
            view,
            read_only,
            version,
            has_ghosts: false,
            cleared: folder.highest_modseq(),
            saved: Vec::new(),
            kept: None,
            summaries: None,
            folder,
        };
        let (flags, permanent) = selected.flag_lists();
        let folder = &selected.folder;
        let mut lines = vec![
            flags,
            permanent,
            format!("* {} EXISTS", selected.view.len()),
        ];
        if !self.enabled.rev2 {
            lines.push(format!("* {} RECENT", selected.view.recent()));
            if let Some(unseen) = unseen {
                lines.push(format!("* OK [UNSEEN {unseen}] First unseen."));
            }
        }
        let (validity, next) = (folder.uid_validity(), folder.uid_next());
        lines.push(format!("* OK [UIDVALIDITY {validity}] UIDs valid"));
        lines.push(format!("* OK [UIDNEXT {next}] Predicted next UID"));
        let highest = folder.highest_modseq().max(1);
        lines.push(format!("* OK [HIGHESTMODSEQ {highest}] Highest"));
        for line in lines {
            self.line(&line);
        }
        self.selected = Some(selected);
    }

    /// What happened since the client was here last.
    async fn tell_missed(&mut self, known: &Known<'_>) -> Result<(), Trouble> {
        let Some(selected) = &self.selected else {
            return Ok(());
        };
        if selected.folder.uid_validity() != known.uid_validity {
            return Ok(());
        }
        let heard = known.pairs.map_or(0, |pairs| {
            let (numbers, uids) = pairs;
            selected.view.agreed(numbers, uids)
        });
        let gone = self.gone_since(known.modseq, known.uids, heard);
        if !gone.is_empty() {
            self.line(&format!("* VANISHED (EARLIER) {gone}"));
        }
        let Some(selected) = &self.selected else {
            return Ok(());
        };
        let wanted = known.uids.map(|uids| selected.view.named(uids));
        let changed = selected.folder.changed_since(known.modseq);
        for entry in changed {
            let is_wanted = wanted
                .as_ref()
                .is_none_or(|wanted| wanted.binary_search(&entry.uid).is_ok());
            if is_wanted {
                self.tell_flags(&entry, true, true);
                self.relieve().await?;
            }
        }
        Ok(())
    }

    /// The UIDs of `among` over `heard` that went since, as a set. Where nobody knows any more
    /// exactly, all that are not there: more than was asked, never less (RFC 7162 §3.2.10).
    pub(super) fn gone_since(
        &self,
        modseq: u64,
        among: Option<&SequenceSet>,
        heard: u32,
    ) -> String {
        let Some(selected) = &self.selected else {
            return String::new();
        };
        let last = selected.folder.uid_next().saturating_sub(1);
        let among = among.map_or_else(
            || vec![1..=last],
            |among| ranges(among, selected.view.uids().last().copied().unwrap_or(0)),
        );
        let is_among = |uid: u32| {
            if uid <= heard {
                return false;
            }
            let at = among.partition_point(|range| *range.end() < uid);
            among.get(at).is_some_and(|range| range.contains(&uid))
        };
        match selected.folder.expunged_since(modseq) {
            Expunged::Known(uids) => write::set(uids.into_iter().filter(|uid| is_among(*uid))),
            Expunged::Unknown => {
                let there = selected.view.uids();
                let candidates = among
                    .iter()
                    .flat_map(|range| *range.start()..=(*range.end()).min(last));
                let candidates = candidates.filter(|uid| *uid > heard);
                write::set(candidates.filter(|uid| there.binary_search(uid).is_err()))
            }
        }
    }

    /// CLOSE: what is marked \Deleted goes, without a word.
    pub(super) async fn close(&mut self) -> Outcome {
        let Some(selected) = self.selected.take() else {
            return Ok(Answer::bad("No mailbox selected"));
        };
        self.deselect();
        if !selected.read_only {
            let mut doomed = Vec::new();
            selected.folder.for_each(|entry| {
                if entry.flags.system.contains(System::DELETED) {
                    doomed.push(entry.uid);
                }
            });
            doomed.retain(|uid| selected.view.number(*uid).is_some());
            if !doomed.is_empty() {
                let expunged = selected.folder.expunge(&doomed).await;
                expunged.map_err(FolderError::Io)?;
            }
        }
        Ok(Answer::ok("Close completed."))
    }

    pub(super) fn deselect(&mut self) {
        self.selected = None;
        self.state = State::Authenticated;
    }
}
