//! FETCH (RFC 9051 §6.4.5, RFC 3516, RFC 7162, RFC 8970): what is asked of a message, with as little
//! of it read as that needs.

use std::io;
use std::num::NonZeroU32;
use std::rc::Rc;

use imap_codec::imap_types::command::{CommandBody, FetchModifier};
use imap_codec::imap_types::fetch::{MacroOrMessageDataItemNames, MessageDataItemName, Section};

use super::store::GONE;
use super::{Answer, OUTPUT_OCTETS, Outcome, Trouble, Visit};
use crate::imap::mime::{Encoding, Part, Splitter};
use crate::imap::section::{self, partial};
use crate::imap::summary::Summary;
use crate::imap::write;
use crate::mailbox::{Change, Entry, Folder, FolderError, System, is_full_disk};
use crate::shard::life::budget::Charge;
use crate::world::World;

type Item = MessageDataItemName<'static>;
type Range = Option<(u32, NonZeroU32)>;

/// What was read of one message so far.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) summary: Option<Summary>,
    pub(super) message: Option<Rc<Message>>,
    header: Option<Rc<Message>>,
}

/// A message, or its header alone, and its parts.
pub(super) struct Message {
    pub(super) raw: Vec<u8>,
    pub(super) part: Part,
    /// What it takes of the shard's memory budget.
    _charge: Charge,
}

/// The message that was looked into last: clients fetch large ones piece by piece.
pub(super) struct Kept {
    uid: u32,
    message: Rc<Message>,
}

/// FETCH, read.
struct Wanted {
    items: Vec<Item>,
    preview: bool,
    uid: bool,
    changed_since: Option<u64>,
}

impl<W: World> Visit<'_, W> {
    pub(super) async fn fetch(&mut self, command: CommandBody<'static>, preview: bool) -> Outcome {
        let CommandBody::Fetch {
            sequence_set,
            macro_or_item_names,
            uid,
            modifiers,
        } = command
        else {
            return Ok(Answer::bad("Not FETCH"));
        };
        let items = match macro_or_item_names {
            MacroOrMessageDataItemNames::Macro(name) => owned(&name.expand()),
            MacroOrMessageDataItemNames::MessageDataItemNames(items) => items,
        };
        let mut wanted = Wanted {
            items,
            preview,
            uid,
            changed_since: None,
        };
        let mut vanished = false;
        for modifier in modifiers {
            match modifier {
                FetchModifier::ChangedSince(modseq) => wanted.changed_since = Some(modseq.get()),
                FetchModifier::Vanished => vanished = true,
            }
        }
        if vanished && (!self.enabled.qresync || !uid || wanted.changed_since.is_none()) {
            return Ok(Answer::bad("VANISHED has no place here"));
        }
        if wanted.changed_since.is_some() || wanted.items.contains(&Item::ModSeq) {
            self.enabled.condstore = true;
        }
        let uids = match self.named(&sequence_set, uid) {
            Ok(uids) => uids,
            Err(answer) => return Ok(answer),
        };
        if vanished && let Some(modseq) = wanted.changed_since {
            let gone = self.gone_since(modseq, Some(&sequence_set), 0);
            if !gone.is_empty() {
                self.line(&format!("* VANISHED (EARLIER) {gone}"));
            }
        }
        self.fetch_all(uids, &wanted).await
    }

    async fn fetch_all(&mut self, uids: Vec<u32>, wanted: &Wanted) -> Outcome {
        let seen = self.mark_seen(&uids, wanted).await?;
        let (mut gone, mut undecodable) = (false, None);
        for uid in uids {
            let Some(selected) = &self.selected else {
                break;
            };
            let Some(entry) = selected.folder.entry(uid) else {
                gone = true;
                continue;
            };
            if wanted
                .changed_since
                .is_some_and(|since| entry.modseq <= since)
            {
                continue;
            }
            let newly_seen = seen.binary_search(&uid).is_ok();
            match Box::pin(self.fetch_one(&entry, wanted, newly_seen)).await {
                Ok(()) => {}
                Err(Fault::Gone) => gone = true,
                Err(Fault::Undecodable(code)) => undecodable = Some(code),
                Err(Fault::Trouble(trouble)) => return Err(trouble),
            }
            self.relieve().await?;
            self.shard.world.breathe().await;
        }
        if let Some(code) = undecodable {
            return Ok(Answer::no(code));
        }
        if gone && !wanted.uid {
            return Ok(Answer::no(GONE));
        }
        Ok(Answer::ok("Fetch completed."))
    }

    /// \Seen, for what reading it implies that; those that were not.
    async fn mark_seen(&mut self, uids: &[u32], wanted: &Wanted) -> Result<Vec<u32>, Trouble> {
        let Some(selected) = &self.selected else {
            return Ok(Vec::new());
        };
        if selected.read_only || !wanted.items.iter().any(marks_seen) {
            return Ok(Vec::new());
        }
        let unseen: Vec<u32> = uids
            .iter()
            .filter_map(|uid| selected.folder.entry(*uid))
            .filter(|entry| !entry.flags.system.contains(System::SEEN))
            .filter(|entry| {
                wanted
                    .changed_since
                    .is_none_or(|since| entry.modseq > since)
            })
            .map(|entry| entry.uid)
            .collect();
        if !unseen.is_empty() {
            let folder = Rc::clone(&selected.folder);
            let marking = folder.change_flags(&unseen, Change::Add, System::SEEN, &[], None);
            match marking.await {
                // Mail can be read all the same.
                Err(FolderError::Io(error)) if is_full_disk(&error) => return Ok(Vec::new()),
                marked => marked?,
            };
        }
        Ok(unseen)
    }

    /// `* n FETCH (...)`. What cannot be had leaves no line.
    async fn fetch_one(
        &mut self,
        entry: &Entry,
        wanted: &Wanted,
        newly_seen: bool,
    ) -> Result<(), Fault> {
        let uid = entry.uid;
        let says = |item: &Item| wanted.items.contains(item);
        let mut looked = Looked::default();
        self.tell_keywords();
        let Some(selected) = &mut self.selected else {
            return Err(Fault::Gone);
        };
        let Some(number) = selected.view.number(uid) else {
            return Err(Fault::Gone);
        };
        let start = self.out.len();
        self.out
            .extend_from_slice(format!("* {number} FETCH (").as_bytes());
        let mut line = Line::default();
        if wanted.uid || says(&Item::Uid) {
            line.item(&mut self.out, &format!("UID {uid}"));
        }
        if says(&Item::Flags) || newly_seen {
            let flags = selected.flags(entry);
            line.item(&mut self.out, &format!("FLAGS ({flags})"));
            selected.view.tell(uid, entry.modseq);
        }
        let modseq = says(&Item::ModSeq) || wanted.changed_since.is_some();
        if modseq || newly_seen && self.enabled.condstore {
            line.item(&mut self.out, &format!("MODSEQ ({})", entry.modseq));
        }
        let written = self.items(entry, wanted, &mut looked, &mut line).await;
        if let Err(fault) = written {
            if line.is_sent {
                // What was sent are whole items.
                self.line(")");
            } else {
                self.out.truncate(start);
            }
            return Err(fault);
        }
        if wanted.preview {
            let preview = looked.summary.as_ref().map(|summary| &*summary.preview);
            line.item(&mut self.out, "PREVIEW ");
            write::string(
                &mut self.out,
                preview.unwrap_or_default().as_bytes(),
                self.enabled.utf8 || self.enabled.rev2,
            );
        }
        self.line(")");
        Ok(())
    }

    /// What was asked for, but for PREVIEW, whose summary is looked up. An error stands between
    /// items, never in one.
    async fn items(
        &mut self,
        entry: &Entry,
        wanted: &Wanted,
        looked: &mut Looked,
        line: &mut Line,
    ) -> Result<(), Fault> {
        for (at, item) in wanted.items.iter().enumerate() {
            self.item(entry, item, looked, line).await?;
            // A line may ask for one message thousands of times.
            line.is_sent |= self.out.len() > OUTPUT_OCTETS;
            self.relieve().await.map_err(Trouble::Lost)?;
            if at % ITEMS_BREATH == ITEMS_BREATH - 1 {
                self.shard.world.breathe().await;
            }
        }
        if wanted.preview {
            self.summary(entry.uid, looked).await?;
        }
        Ok(())
    }

    async fn item(
        &mut self,
        entry: &Entry,
        item: &Item,
        looked: &mut Looked,
        line: &mut Line,
    ) -> Result<(), Fault> {
        let uid = entry.uid;
        match item {
            Item::Uid | Item::Flags | Item::ModSeq => {}
            Item::InternalDate => {
                let date = write::date_time(entry.saved);
                line.item(&mut self.out, &format!("INTERNALDATE {date}"));
            }
            Item::Rfc822Size => {
                line.item(&mut self.out, &format!("RFC822.SIZE {}", entry.size));
            }
            Item::Envelope | Item::Body | Item::BodyStructure => {
                self.summary(uid, looked).await?;
                let Some(summary) = &looked.summary else {
                    return Err(Fault::Gone);
                };
                let (name, octets) = match item {
                    Item::Envelope => ("ENVELOPE ", &summary.envelope),
                    Item::Body => ("BODY ", &summary.body),
                    _ => ("BODYSTRUCTURE ", &summary.structure),
                };
                line.item(&mut self.out, name);
                self.out.extend_from_slice(octets);
            }
            Item::Rfc822 => {
                self.section(entry, "RFC822 ", None, None, looked, line)
                    .await?
            }
            Item::Rfc822Header => {
                let header = Section::Header(None);
                let name = "RFC822.HEADER ";
                self.section(entry, name, Some(&header), None, looked, line)
                    .await?;
            }
            Item::Rfc822Text => {
                let text = Section::Text(None);
                let name = "RFC822.TEXT ";
                self.section(entry, name, Some(&text), None, looked, line)
                    .await?;
            }
            Item::BodyExt {
                section, partial, ..
            } => {
                let mut name = b"BODY[".to_vec();
                section::write_name(&mut name, section.as_ref());
                end_name(&mut name, *partial);
                let name = String::from_utf8_lossy(&name).into_owned();
                self.section(entry, &name, section.as_ref(), *partial, looked, line)
                    .await?;
            }
            Item::Binary {
                section, partial, ..
            } => {
                self.binary(uid, section, *partial, looked, line).await?;
            }
            Item::BinarySize { section } => self.binary_size(uid, section, looked, line).await?,
        }
        Ok(())
    }

    /// A section, as a literal.
    async fn section(
        &mut self,
        entry: &Entry,
        name: &str,
        wanted: Option<&Section<'_>>,
        range: Range,
        looked: &mut Looked,
        line: &mut Line,
    ) -> Result<(), Fault> {
        if wanted.is_none() && looked.message.is_none() && entry.size > STREAMED_OCTETS {
            return self.stream(entry, name, range, line).await;
        }
        let is_header = matches!(
            wanted,
            Some(
                Section::Header(None)
                    | Section::HeaderFields(None, _)
                    | Section::HeaderFieldsNot(None, _)
            )
        );
        let message = if is_header {
            self.header(entry.uid, looked).await?
        } else {
            self.whole(entry.uid, looked).await?;
            looked.message.as_ref().map(Rc::clone)
        };
        let Some(message) = message else {
            return Err(Fault::Gone);
        };
        line.item(&mut self.out, name);
        match section::octets(&message.raw, &message.part, wanted) {
            Some(octets) => {
                let octets = &octets[partial(octets.len(), range)];
                write::announce(&mut self.out, octets.len() as u64);
                self.pieces(octets, line, write::without_nul).await?;
            }
            // RFC 9051 leaves room: Dovecot sends nothing of it, as a literal.
            None => write::literal(&mut self.out, b""),
        }
        Ok(())
    }

    /// A large message as it comes from the disk.
    async fn stream(
        &mut self,
        entry: &Entry,
        name: &str,
        range: Range,
        line: &mut Line,
    ) -> Result<(), Fault> {
        let Some(selected) = &self.selected else {
            return Err(Fault::Gone);
        };
        let folder = Rc::clone(&selected.folder);
        let mut reader = folder.reader(entry.uid).await?;
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        let range = partial(size, range);
        line.item(&mut self.out, name);
        line.is_sent = true;
        write::announce(&mut self.out, range.len() as u64);
        let (mut at, mut left) = (0, range.len());
        while left > 0 {
            let Some(mut piece) = reader.next().await.map_err(Trouble::Lost)? else {
                // Another program has made the file shorter: what was announced cannot be kept.
                let error = io::Error::other("a message is shorter than its size");
                return Err(Fault::Trouble(Trouble::Lost(error)));
            };
            let from = range.start.saturating_sub(at).min(piece.len());
            let to = (from + left).min(piece.len());
            at += piece.len();
            left -= to - from;
            write::without_nul(&mut piece[from..to]);
            self.out.extend_from_slice(&piece[from..to]);
            self.relieve().await.map_err(Trouble::Lost)?;
        }
        Ok(())
    }

    /// The octets of a literal: of a long one, no more wait to be sent than a client is slow for.
    async fn pieces(
        &mut self,
        octets: &[u8],
        line: &mut Line,
        mend: impl Fn(&mut [u8]),
    ) -> Result<(), Fault> {
        line.is_sent |= octets.len() > STREAMED_PIECE_OCTETS;
        for piece in octets.chunks(STREAMED_PIECE_OCTETS) {
            let start = self.out.len();
            self.out.extend_from_slice(piece);
            mend(&mut self.out[start..]);
            if octets.len() > STREAMED_PIECE_OCTETS {
                self.relieve().await.map_err(Trouble::Lost)?;
            }
        }
        Ok(())
    }

    async fn binary(
        &mut self,
        uid: u32,
        path: &[NonZeroU32],
        range: Range,
        looked: &mut Looked,
        line: &mut Line,
    ) -> Result<(), Fault> {
        let path: Vec<u32> = path.iter().map(|number| number.get()).collect();
        let decoded = self.decoded(uid, &path, looked).await?;
        let mut name = b"BINARY[".to_vec();
        section::write_path(&mut name, &path);
        end_name(&mut name, range);
        line.item(&mut self.out, &String::from_utf8_lossy(&name));
        let Some(decoded) = decoded else {
            self.out.extend_from_slice(b"NIL");
            return Ok(());
        };
        let octets = &decoded[partial(decoded.len(), range)];
        // literal8: NUL has its place there (RFC 3516 §4.2).
        self.out
            .extend_from_slice(format!("~{{{}}}\r\n", octets.len()).as_bytes());
        self.pieces(octets, line, |_| {}).await
    }

    async fn binary_size(
        &mut self,
        uid: u32,
        path: &[NonZeroU32],
        looked: &mut Looked,
        line: &mut Line,
    ) -> Result<(), Fault> {
        let path: Vec<u32> = path.iter().map(|number| number.get()).collect();
        let decoded = self.decoded(uid, &path, looked).await?;
        let mut name = b"BINARY.SIZE[".to_vec();
        section::write_path(&mut name, &path);
        end_name(&mut name, None);
        line.item(&mut self.out, &String::from_utf8_lossy(&name));
        let size = decoded.map_or(0, |octets| octets.len());
        self.out.extend_from_slice(size.to_string().as_bytes());
        Ok(())
    }

    /// A part without its transfer encoding; `None` where there is no such part.
    async fn decoded(
        &mut self,
        uid: u32,
        path: &[u32],
        looked: &mut Looked,
    ) -> Result<Option<Vec<u8>>, Fault> {
        self.whole(uid, looked).await?;
        let Some(message) = &looked.message else {
            return Err(Fault::Gone);
        };
        if path.is_empty() {
            return Ok(Some(message.raw.clone()));
        }
        let Some(part) = message.part.locate(path) else {
            return Ok(None);
        };
        let broken = |_| match part.encoding {
            Encoding::Unknown => Fault::Undecodable(UNKNOWN_ENCODING),
            _ => Fault::Undecodable(BROKEN_ENCODING),
        };
        let mut decoder = part.decoder();
        let mut decoded = Vec::new();
        for piece in part.body_of(&message.raw).chunks(STREAMED_PIECE_OCTETS) {
            decoded.extend(decoder.push(piece).map_err(broken)?);
            self.shard.world.breathe().await;
        }
        decoded.extend(decoder.end().map_err(broken)?);
        Ok(Some(decoded))
    }

    /// The summary: as it was kept, or made and kept.
    pub(super) async fn summary(&mut self, uid: u32, looked: &mut Looked) -> Result<(), Trouble> {
        if looked.summary.is_some() {
            return Ok(());
        }
        let Some(selected) = &mut self.selected else {
            return Ok(());
        };
        let folder = Rc::clone(&selected.folder);
        let summaries = selected.summaries.get_or_insert_with(|| folder.summaries());
        let kept = summaries.of(uid).await;
        looked.summary = kept.and_then(|octets| Summary::decode(&octets));
        if looked.summary.is_some() {
            return Ok(());
        }
        self.whole(uid, looked).await?;
        let Some(message) = &looked.message else {
            return Ok(());
        };
        let summary = Summary::with(&message.raw, &message.part);
        if let Some(octets) = summary.encode() {
            folder.keep_summary(uid, &octets).await;
        }
        looked.summary = Some(summary);
        Ok(())
    }

    /// The whole message; none when it is gone.
    pub(super) async fn whole(&mut self, uid: u32, looked: &mut Looked) -> Result<(), Trouble> {
        if looked.message.is_some() {
            return Ok(());
        }
        let Some(selected) = &mut self.selected else {
            return Ok(());
        };
        if let Some(kept) = &selected.kept
            && kept.uid == uid
        {
            looked.message = Some(Rc::clone(&kept.message));
            return Ok(());
        }
        selected.kept = None;
        let folder = Rc::clone(&selected.folder);
        let octets = folder.entry(uid).map_or(0, |entry| entry.size as usize);
        let charge = self.charge(octets).await?;
        let (raw, part) = match self.read_message(&folder, uid).await {
            Ok(read) => read,
            Err(FolderError::Gone) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let message = Rc::new(Message {
            raw,
            part,
            _charge: charge,
        });
        looked.message = Some(Rc::clone(&message));
        if let Some(selected) = &mut self.selected
            && message.raw.len() > KEPT_OCTETS_MIN
            && self.shard.budget.is_ample()
        {
            selected.kept = Some(Kept { uid, message });
        }
        Ok(())
    }

    /// Room in memory for so much of a message.
    async fn charge(&self, octets: usize) -> Result<Charge, Trouble> {
        if !self.shard.budget.room(&self.shard.world).await {
            return Err(Trouble::NoMemory);
        }
        Ok(self.shard.budget.charge(octets))
    }

    /// A message, whole, and its parts. Others have their turn meanwhile.
    async fn read_message(
        &self,
        folder: &Folder<W>,
        uid: u32,
    ) -> Result<(Vec<u8>, Part), FolderError> {
        let size = folder.entry(uid).ok_or(FolderError::Gone)?.size;
        let mut reader = folder.reader(uid).await?;
        let mut raw = Vec::with_capacity(size as usize);
        let mut splitter = Splitter::default();
        while let Some(piece) = reader.next().await? {
            for octets in piece.chunks(SPLIT_OCTETS) {
                if !raw.is_empty() {
                    self.shard.world.breathe().await;
                }
                splitter.push(octets);
                raw.extend_from_slice(octets);
            }
        }
        Ok((raw, splitter.end()))
    }

    /// The header alone; none when the message is gone.
    async fn header(
        &mut self,
        uid: u32,
        looked: &mut Looked,
    ) -> Result<Option<Rc<Message>>, Trouble> {
        if let Some(message) = looked.message.as_ref().or(looked.header.as_ref()) {
            return Ok(Some(Rc::clone(message)));
        }
        let Some(selected) = &self.selected else {
            return Ok(None);
        };
        let raw = match read_header(&selected.folder, uid).await {
            Ok(raw) => raw,
            Err(FolderError::Gone) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let message = Rc::new(Message {
            part: Part::of_header(raw.len()),
            _charge: self.charge(raw.len()).await?,
            raw,
        });
        looked.header = Some(Rc::clone(&message));
        Ok(Some(message))
    }

    /// Nothing large is kept while the client does something else.
    pub(super) fn forget_kept(&mut self) {
        if let Some(selected) = &mut self.selected {
            selected.kept = None;
        }
    }
}

/// A message up to the empty line behind its header.
async fn read_header<W: World>(folder: &Rc<Folder<W>>, uid: u32) -> Result<Vec<u8>, FolderError> {
    let mut reader = folder.reader(uid).await?;
    let mut raw = Vec::new();
    while let Some(piece) = reader.next().await? {
        let from = raw.len().saturating_sub(3);
        raw.extend_from_slice(&piece);
        if raw.starts_with(b"\r\n") {
            raw.truncate(2);
            break;
        }
        if let Some(at) = memchr::memmem::find(&raw[from..], b"\r\n\r\n") {
            raw.truncate(from + at + 4);
            break;
        }
    }
    Ok(raw)
}

/// Does reading this set \Seen?
fn marks_seen(item: &Item) -> bool {
    match item {
        Item::BodyExt { peek, .. } | Item::Binary { peek, .. } => !peek,
        Item::Rfc822 | Item::Rfc822Text => true,
        _ => false,
    }
}

/// The items of a macro. They borrow nothing.
fn owned(items: &[MessageDataItemName<'_>]) -> Vec<Item> {
    let own = |item: &MessageDataItemName<'_>| match item {
        MessageDataItemName::Flags => Some(Item::Flags),
        MessageDataItemName::InternalDate => Some(Item::InternalDate),
        MessageDataItemName::Rfc822Size => Some(Item::Rfc822Size),
        MessageDataItemName::Envelope => Some(Item::Envelope),
        MessageDataItemName::Body => Some(Item::Body),
        _ => None,
    };
    items.iter().filter_map(own).collect()
}

/// `]`, where the octets begin, and a space.
fn end_name(name: &mut Vec<u8>, range: Range) {
    name.push(b']');
    if let Some((first, _)) = range {
        name.extend_from_slice(format!("<{first}>").as_bytes());
    }
    name.push(b' ');
}

/// A line being written.
#[derive(Default)]
struct Line {
    has_items: bool,
    /// Some of it may have been sent already.
    is_sent: bool,
}

impl Line {
    fn item(&mut self, out: &mut Vec<u8>, text: &str) {
        if std::mem::replace(&mut self.has_items, true) {
            out.push(b' ');
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// Why a message cannot be answered about.
enum Fault {
    Gone,
    /// A part's transfer encoding is unknown or broken; the words say which.
    Undecodable(&'static str),
    Trouble(Trouble),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<FolderError> for Fault {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Gone => Self::Gone,
            error => Self::Trouble(error.into()),
        }
    }
}

/// Larger messages go from the disk to the client piece by piece when they are wanted whole.
const STREAMED_OCTETS: u32 = 256 * 1024;
/// Items of one message between turns.
const ITEMS_BREATH: usize = 16;
/// What of a literal is sent, or decoded, between turns.
const STREAMED_PIECE_OCTETS: usize = 64 * 1024;
/// What is looked at for parts between turns: some milliseconds where each line could be a delimiter
/// of a hundred multiparts.
const SPLIT_OCTETS: usize = 16 * 1024;
/// Smaller messages are read again.
const KEPT_OCTETS_MIN: usize = 64 * 1024;
/// RFC 3516 §4.3.
const UNKNOWN_ENCODING: &str =
    "[UNKNOWN-CTE] A part has a transfer encoding that nobody here knows.";
/// RFC 9051 §7.1.
const BROKEN_ENCODING: &str = "[PARSE] A part is not what its transfer encoding says.";
