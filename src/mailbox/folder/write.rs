//! Changing a folder: new messages, copies, flags, expunges.

use std::io;
use std::path::Path;
use std::rc::Rc;

use super::look::keyword;
use super::{Core, Folder, base_of, with_flags};
use crate::mailbox::flags::{
    Change, Flags, KEYWORD_LETTERS, KEYWORDS_MAX, LETTER_KEYWORDS, System,
};
use crate::mailbox::record::{Added, Looked, ODD, Record, Row};
use crate::mailbox::text::{Measure, to_disk};
use crate::mailbox::{Changed, FolderError, NewMessage};
use crate::world::{File as _, World};

/// A file that waits in `tmp`.
struct Draft {
    base: String,
    size: u64,
    saved: i64,
    system: System,
    keywords: Vec<String>,
    /// The keywords' bits here.
    bits: u64,
}

/// How a change of flags asks for it.
struct Wanted {
    how: Change,
    system: System,
    keywords: Vec<String>,
    unchanged_since: Option<u64>,
}

impl<W: World> Folder<W> {
    /// Adds a message; its UID.
    pub async fn append(&self, message: NewMessage<'_>) -> Result<u32, FolderError> {
        let uids = self.append_all(std::slice::from_ref(&message)).await?;
        uids.first().copied().ok_or(FolderError::Gone)
    }

    /// Adds messages, all or none of them; their UIDs.
    pub async fn append_all(&self, messages: &[NewMessage<'_>]) -> Result<Vec<u32>, FolderError> {
        let mut drafts = Vec::with_capacity(messages.len());
        let written = async {
            for message in messages {
                drafts.push(self.core.draft(message).await?);
            }
            Ok(())
        };
        let written: Result<(), FolderError> = written.await;
        self.run(move |core| async move {
            let outcome = match written {
                Ok(()) => core.add(&mut drafts, true).await,
                Err(error) => Err(error),
            };
            if outcome.is_err() {
                core.remove_drafts(&drafts).await;
            }
            Ok(outcome)
        })
        .await?
    }

    /// Changes flags of messages; those that are gone are passed over.
    pub async fn change_flags(
        &self,
        uids: &[u32],
        how: Change,
        flags: System,
        keywords: &[&str],
        unchanged_since: Option<u64>,
    ) -> Result<Changed, FolderError> {
        let uids = uids.to_vec();
        let wanted = Wanted {
            how,
            system: flags & !System::PASSED,
            keywords: keywords.iter().map(|&name| name.to_owned()).collect(),
            unchanged_since,
        };
        self.run(move |core| async move { Ok(core.flag(&uids, &wanted).await) })
            .await?
    }

    /// Removes messages; those that are gone are passed over.
    pub async fn expunge(&self, uids: &[u32]) -> io::Result<()> {
        let uids = uids.to_vec();
        self.run(move |core| async move {
            let _mine = core.turn.take().await;
            core.expunge(&uids).await
        })
        .await
    }

    /// Copies messages, all or none, into another folder, or into this one once more: UIDs here and
    /// there. Those that are gone are passed over.
    pub async fn copy_to(
        &self,
        uids: &[u32],
        to: &Folder<W>,
    ) -> Result<Vec<(u32, u32)>, FolderError> {
        let (uids, to) = (uids.to_vec(), Rc::clone(&to.core));
        self.run(move |core| async move { Ok(core.copy(&uids, &to, true).await) })
            .await?
    }

    /// Moves messages into another folder (RFC 6851): UIDs here and there. A crash may leave a
    /// message in both, never in none.
    pub async fn move_to(
        &self,
        uids: &[u32],
        to: &Folder<W>,
    ) -> Result<Vec<(u32, u32)>, FolderError> {
        let (uids, to) = (uids.to_vec(), Rc::clone(&to.core));
        self.run(move |core| async move {
            // What is moved takes no more room: whoever is over quota can still put mail away.
            let copied = match core.copy(&uids, &to, false).await {
                Ok(copied) => copied,
                Err(error) => return Ok(Err(error)),
            };
            let _mine = core.turn.take().await;
            let moved: Vec<u32> = copied.iter().map(|(here, _)| *here).collect();
            core.expunge(&moved).await?;
            Ok(Ok(copied))
        })
        .await?
    }
}

impl<W: World> Core<W> {
    /// Writes a message into `tmp`, durable but for its name.
    async fn draft(&self, message: &NewMessage<'_>) -> Result<Draft, FolderError> {
        let content = to_disk(message.content);
        let mut measure = Measure::default();
        measure.push(&content);
        let size = measure.octets();
        if size > u64::from(u32::MAX) {
            return Err(FolderError::TooLarge);
        }
        let base = self.fresh_base(content.len() as u64, size);
        let path = self.path("tmp", &base);
        let written = async {
            let file = self.world.open(&path, true).await?;
            file.write_at(content, 0).await?;
            file.sync().await?;
            match message.saved {
                // Other programs take a file's time for the internal date.
                Some(saved) => self.world.set_modified(&path, saved).await,
                None => Ok(()),
            }
        };
        if let Err(error) = written.await {
            // It is in nobody's way, and goes at the latest when `tmp` is swept.
            let _ = self.world.remove(&path).await;
            return Err(error.into());
        }
        Ok(Draft {
            base,
            size,
            saved: message.saved.unwrap_or(self.world.wall().seconds()),
            system: message.flags & !System::PASSED,
            keywords: message.keywords.iter().map(|&name| name.into()).collect(),
            bits: 0,
        })
    }

    async fn remove_drafts(&self, drafts: &[Draft]) {
        for draft in drafts {
            let _ = self.world.remove(&self.path("tmp", &draft.base)).await;
        }
    }

    /// Gives drafts their UIDs and their place. `counts`: there has to be room for them.
    async fn add(&self, drafts: &mut [Draft], counts: bool) -> Result<Vec<u32>, FolderError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let _mine = self.turn.take().await;
        let octets = drafts.iter().map(|draft| draft.size).sum();
        let messages = drafts.len() as u64;
        if counts {
            self.allowance.promise(self.world.now(), octets, messages)?;
        }
        let added = self.add_admitted(drafts).await;
        if counts {
            self.allowance.promises.settle(octets, messages);
        }
        added
    }

    /// The caller's turn.
    async fn add_admitted(&self, drafts: &mut [Draft]) -> Result<Vec<u32>, FolderError> {
        for draft in drafts.iter_mut() {
            draft.bits = self.places_of(&draft.keywords).await?;
        }
        Ok(self.bring_up(drafts).await?)
    }

    /// The record first, then the names: a crash in between is mended by the next look. The
    /// caller's turn.
    async fn bring_up(&self, drafts: &[Draft]) -> io::Result<Vec<u32>> {
        let first = self.state.borrow().index.head().uid_next;
        let modseq = self.next_modseq();
        let is_known = self.knows_cur().await?;
        if drafts.len() > 1 {
            // All or none: the record must not outlive one of the names.
            self.world
                .sync_directory(&self.directory.join("tmp"))
                .await?;
        }
        let (mut added, mut moves, mut uids) = (Vec::new(), Vec::new(), Vec::new());
        for (draft, uid) in drafts.iter().zip(first..) {
            let row = Row {
                uid,
                modseq,
                hash: self.hash(&draft.base),
                saved: draft.saved,
                size: u32::try_from(draft.size).unwrap_or(u32::MAX),
                system: draft.system,
                keywords: draft.bits,
                ..Row::default()
            };
            moves.push((
                self.path("tmp", &draft.base),
                self.path("cur", &with_flags(&draft.base, &row)),
            ));
            uids.push(uid);
            let name = draft.base.clone();
            added.push(Added { row, name });
        }
        self.commit(vec![Record::Added(added)]).await?;
        for (from, to) in &moves {
            self.world.rename(from, to).await?;
        }
        self.sync_cur().await?;
        self.knew_cur(is_known).await?;
        Ok(uids)
    }

    /// True when `cur` is as it was at the last look, so that what we change ourselves is all
    /// that changes.
    async fn knows_cur(&self) -> io::Result<bool> {
        Ok(self.time_of("cur").await? == self.looked().cur)
    }

    /// Our own changes are made: no look is needed for them.
    async fn knew_cur(&self, is_known: bool) -> io::Result<()> {
        let mut looked = self.looked();
        looked.cur = if is_known {
            self.time_of("cur").await?
        } else {
            Looked::NEVER
        };
        self.note_looked(looked);
        Ok(())
    }

    /// The bits of keywords, which get a place where they have none. The caller's turn.
    async fn places_of(&self, names: &[String]) -> Result<u64, FolderError> {
        let (mut bits, mut records, mut letters) = (0, Vec::new(), false);
        {
            let state = self.state.borrow();
            let mut fresh: Vec<&str> = Vec::new();
            for name in names {
                let known = state.index.keyword(name).or_else(|| {
                    let mut fresh = fresh.iter();
                    let place = fresh.position(|known| known.eq_ignore_ascii_case(name))?;
                    Some(state.index.keywords().len() + place)
                });
                let place = known.unwrap_or_else(|| {
                    fresh.push(name);
                    state.index.keywords().len() + fresh.len() - 1
                });
                if place >= KEYWORDS_MAX {
                    return Err(FolderError::TooManyKeywords);
                }
                bits |= 1 << place;
            }
            for (place, name) in (state.index.keywords().len()..).zip(fresh) {
                letters |= place < KEYWORD_LETTERS;
                records.push(keyword(place, name));
            }
        }
        if !records.is_empty() {
            self.commit(records).await?;
            if letters {
                self.write_keywords().await?;
            }
        }
        Ok(bits)
    }

    async fn flag(&self, uids: &[u32], wanted: &Wanted) -> Result<Changed, FolderError> {
        let _mine = self.turn.take().await;
        let keywords = match wanted.how {
            // A keyword that nobody has need not get a place to be taken away.
            Change::Remove => self.known_places(&wanted.keywords),
            Change::Add | Change::Replace => self.places_of(&wanted.keywords).await?,
        };
        let by = Flags {
            system: wanted.system,
            keywords,
        };
        let mut changed = Changed::default();
        let mut left = uids.to_vec();
        for _ in 0..ATTEMPTS_MAX {
            left = self.flag_some(&left, wanted, by, &mut changed).await?;
            if left.is_empty() {
                break;
            }
            // Another program was faster: find out what it did.
            self.look_anew().await?;
        }
        changed.modseq = self.next_modseq() - 1;
        Ok(changed)
    }

    /// Those whose files are not where they ought to be are left over.
    async fn flag_some(
        &self,
        uids: &[u32],
        wanted: &Wanted,
        by: Flags,
        changed: &mut Changed,
    ) -> io::Result<Vec<u32>> {
        let is_known = self.knows_cur().await?;
        let (mut changes, mut records, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let mut moves = Vec::new();
        for &uid in uids {
            let Some(row) = self.row(uid) else {
                continue;
            };
            if wanted
                .unchanged_since
                .is_some_and(|since| row.modseq > since)
            {
                changed.modified.push(uid);
                continue;
            }
            let flags = row.flags().changed(wanted.how, by);
            if flags == row.flags() {
                continue;
            }
            let Some(renamed) = self.rename_flags(&row, flags).await? else {
                left.push(uid);
                continue;
            };
            changes.push((uid, flags));
            if renamed.is_odd {
                let (bits, name) = (ODD, renamed.to.clone());
                records.push(Record::Renamed { uid, bits, name });
            }
            moves.push(renamed);
        }
        if !changes.is_empty() {
            self.sync_cur().await?;
            let modseq = self.next_modseq();
            records.push(Record::Flagged { modseq, changes });
            if let Err(error) = self.commit(records).await {
                self.rename_back(&moves).await;
                return Err(error);
            }
            self.knew_cur(is_known).await?;
        }
        Ok(left)
    }

    /// What is not in the index was not done: a full disk takes names and no record, and each look
    /// would find what it cannot write down.
    async fn rename_back(&self, moves: &[Renamed]) {
        for Renamed { from, to, .. } in moves {
            // One that cannot be is for the next look.
            let _ = self.move_file(("cur", to), ("cur", from)).await;
        }
        let _ = self.sync_cur().await;
    }

    fn known_places(&self, names: &[String]) -> u64 {
        let state = self.state.borrow();
        let places = names.iter().filter_map(|name| state.index.keyword(name));
        places.fold(0, |bits, place| bits | 1 << place)
    }

    /// Gives a file the name that its flags ask for; `None` when it is not where it ought to be.
    async fn rename_flags(&self, row: &Row, flags: Flags) -> io::Result<Option<Renamed>> {
        let Some(name) = self.file_name(row).await? else {
            return Ok(None);
        };
        let changed = Row {
            system: flags.system,
            keywords: flags.keywords,
            ..*row
        };
        let base = base_of(&name);
        let mut there = with_flags(base, &changed);
        let is_odd = row.bits & ODD != 0;
        if is_odd {
            // Letters that mean something to others stay.
            let letters = name
                .split_once(super::INFO)
                .map_or("", |(_, letters)| letters);
            let keywords = self.state.borrow().index.keywords().len();
            let (_, rest) = Flags::from_letters(letters, keywords.min(KEYWORD_LETTERS));
            there.push_str(&rest);
        }
        let is_same = row.system == flags.system
            && row.keywords & LETTER_KEYWORDS == flags.keywords & LETTER_KEYWORDS;
        if !is_same && !self.move_file(("cur", &name), ("cur", &there)).await? {
            return Ok(None);
        }
        Ok(Some(Renamed {
            from: name,
            to: there,
            is_odd,
        }))
    }

    /// The caller's turn.
    async fn expunge(&self, uids: &[u32]) -> io::Result<()> {
        let mut left = uids.to_vec();
        for _ in 0..ATTEMPTS_MAX {
            left = self.expunge_some(&left).await?;
            if left.is_empty() {
                break;
            }
            self.look_anew().await?;
        }
        Ok(())
    }

    /// Those whose files are not where they ought to be are left over.
    async fn expunge_some(&self, uids: &[u32]) -> io::Result<Vec<u32>> {
        let is_known = self.knows_cur().await?;
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for &uid in uids {
            let Some(row) = self.row(uid) else {
                continue;
            };
            let Some(path) = self.message_path(&row).await? else {
                left.push(uid);
                continue;
            };
            match self.world.remove(&path).await {
                Ok(()) => gone.push(uid),
                Err(error) if error.kind() == io::ErrorKind::NotFound => left.push(uid),
                Err(error) => return Err(error),
            }
        }
        if !gone.is_empty() {
            self.sync_cur().await?;
            let modseq = self.next_modseq();
            let gone = gone.into_iter().map(|uid| (modseq, uid)).collect();
            self.commit(vec![Record::Expunged(gone)]).await?;
            self.knew_cur(is_known).await?;
        }
        Ok(left)
    }

    /// Copies messages. It is nobody's turn meanwhile, and the other folder's at the end.
    /// `counts`: what is copied has to have room.
    async fn copy(
        self: &Rc<Self>,
        uids: &[u32],
        to: &Self,
        counts: bool,
    ) -> Result<Vec<(u32, u32)>, FolderError> {
        let (mut drafts, mut from) = (Vec::new(), Vec::new());
        let copied = async {
            for &uid in uids {
                match self.copy_one(uid, to).await {
                    Ok(draft) => {
                        drafts.push(draft);
                        from.push(uid);
                    }
                    Err(FolderError::Gone) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let added = match copied.await {
            Ok(()) => to.add(&mut drafts, counts).await,
            Err(error) => Err(error),
        };
        if added.is_err() {
            to.remove_drafts(&drafts).await;
        }
        Ok(from.into_iter().zip(added?).collect())
    }

    /// Gives a message's file a second name in another folder's `tmp`.
    async fn copy_one(self: &Rc<Self>, uid: u32, to: &Self) -> Result<Draft, FolderError> {
        let file = self.open_message(uid).await?;
        let row = self.row(uid).ok_or(FolderError::Gone)?;
        let base = to.fresh_base(file.len().await?, u64::from(row.size));
        let draft = Draft {
            size: u64::from(row.size),
            saved: row.saved,
            system: row.system,
            keywords: names_of_keywords(self.state.borrow().index.keywords(), row.keywords),
            bits: 0,
            base,
        };
        let there = to.path("tmp", &draft.base);
        let linked = match self.message_path(&row).await? {
            Some(path) => self.world.link(&path, &there).await.is_ok(),
            None => false,
        };
        // Another file system, one without links, or a file that was renamed just now.
        if !linked && let Err(error) = to.copy_file(&file, &there, row.saved).await {
            let _ = to.world.remove(&there).await;
            return Err(error.into());
        }
        Ok(draft)
    }

    async fn copy_file(&self, from: &W::File, to: &Path, saved: i64) -> io::Result<()> {
        let written = self.world.open(to, true).await?;
        let mut at = 0;
        loop {
            let piece = from.read_at(at, COPY_OCTETS).await?;
            if piece.is_empty() {
                break;
            }
            let len = piece.len() as u64;
            written.write_at(piece, at).await?;
            at += len;
        }
        written.sync().await?;
        self.world.set_modified(to, saved).await
    }
}

/// What became of a file's name.
struct Renamed {
    from: String,
    to: String,
    /// The index keeps all of the name.
    is_odd: bool,
}

/// The keywords that have these bits.
fn names_of_keywords(keywords: &[Rc<str>], bits: u64) -> Vec<String> {
    let named = keywords.iter().enumerate();
    named
        .filter(|(place, _)| bits >> place & 1 == 1)
        .map(|(_, name)| (**name).to_owned())
        .collect()
}

/// How often other programs may be faster than we are.
const ATTEMPTS_MAX: usize = 5;
/// What is copied at one go.
const COPY_OCTETS: usize = 256 << 10;
