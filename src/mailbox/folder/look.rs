//! Looking at the directories: what was delivered, and what other programs did there.
//!
//! A directory whose time has not changed is not read. A time that is too young is not trusted:
//! a file system counts in steps, and a second change within one step leaves no trace.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::{Core, INFO, base_of, hash, with_flags};
use crate::mailbox::flags::{Flags, KEYWORD_LETTERS, KEYWORDS_MAX, LETTER_KEYWORDS};
use crate::mailbox::record::{Added, Looked, ODD, Record, Row};
use crate::mailbox::text::Measure;
use crate::progress::{self, Steps};
use crate::world::{self, File as _, World};

/// What Dovecot's index says, where a Maildir was Dovecot's before it was ours.
pub(super) struct Former {
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    /// By name without flags.
    uids: HashMap<String, u32>,
}

/// What a look found in `cur`.
#[derive(Default)]
struct Seen {
    /// UIDs with the flags that their names show now.
    flags: Vec<(u32, Flags)>,
    renamed: Vec<Record>,
    /// Names of files that are in no row.
    unknown: Vec<String>,
    /// By place of the row: its file is there.
    is_there: Vec<bool>,
}

impl<W: World> Core<W> {
    /// Looks as if nothing were known of the directories. The caller's turn.
    pub(super) async fn look_anew(&self) -> io::Result<()> {
        self.note_looked(Looked::default());
        self.look(None).await
    }

    /// Takes over what happened in the directories since the last look. The caller's turn.
    pub(super) async fn look(&self, former: Option<&Former>) -> io::Result<()> {
        if self.is_closed.get() {
            // What is in the directory now is another folder of this name.
            return Err(io::ErrorKind::NotFound.into());
        }
        let was = self.looked();
        let (new, cur) = (self.time_of("new").await?, self.time_of("cur").await?);
        if new == was.new && cur == was.cur {
            return Ok(());
        }
        let mut looked = was;
        let mut arrived = Vec::new();
        if new != was.new {
            arrived = self.bring_in().await?;
            looked.new = if arrived.is_empty() {
                self.trusted(new)
            } else {
                Looked::NEVER
            };
        }
        if cur == was.cur {
            let taken = self.take_over(arrived, former).await?;
            if taken {
                looked.cur = self.time_of("cur").await?;
            } else {
                looked.cur = Looked::NEVER;
            }
        } else {
            let before = self.time_of("cur").await?;
            let taken = self.look_at_all(former).await?;
            looked.cur = if taken {
                self.trusted(before)
            } else {
                Looked::NEVER
            };
        }
        self.note_looked(looked);
        Ok(())
    }

    /// Notes what is known of the directories; it is written with the next change.
    pub(super) fn note_looked(&self, looked: Looked) {
        let mut state = self.state.borrow_mut();
        if state.index.looked() != looked {
            let record = Record::Looked(looked);
            // Cannot misfit.
            let _ = state.index.apply(record.clone());
            state
                .riders
                .retain(|rider| !matches!(rider, Record::Looked(_)));
            state.riders.push(record);
        }
    }

    pub(super) async fn time_of(&self, place: &str) -> io::Result<i64> {
        self.world.modified(&self.directory.join(place)).await
    }

    /// A time that a directory had, if no change can have happened within the same step of its clock.
    fn trusted(&self, time: i64) -> i64 {
        let step = if time % NANOS_PER_SECOND == 0 {
            COARSE_STEP
        } else {
            FINE_STEP
        };
        let now = self.world.wall().0.saturating_mul(1000);
        if now.saturating_sub(time) > step {
            time
        } else {
            Looked::NEVER
        }
    }

    /// Moves what was delivered from `new` to `cur`; the names there.
    async fn bring_in(&self) -> io::Result<Vec<String>> {
        let mut arrived = Vec::new();
        for name in self.names("new").await? {
            let there = if name.contains(INFO) {
                name.clone()
            } else {
                format!("{}{INFO}", base_of(&name))
            };
            // Unless another program was faster.
            if self.move_file(("new", &name), ("cur", &there)).await? {
                arrived.push(there);
            }
        }
        Ok(arrived)
    }

    /// Removes what a crash, or another program's, left in `tmp` long ago.
    pub(super) async fn sweep(&self) -> io::Result<()> {
        let oldest = self.world.wall().seconds() - DRAFT_WAIT_S;
        for name in self.names("tmp").await? {
            let path = self.path("tmp", &name);
            if self
                .world
                .modified(&path)
                .await?
                .div_euclid(NANOS_PER_SECOND)
                < oldest
            {
                self.world.remove(&path).await?;
            }
        }
        Ok(())
    }

    async fn names(&self, place: &str) -> io::Result<Vec<String>> {
        let names = self.world.files(&self.directory.join(place)).await?;
        // What is not UTF-8 was written by no mail program.
        let names = names.into_iter().filter_map(|name| {
            let name = name.into_os_string().into_string().ok()?;
            (!name.starts_with('.')).then_some(name)
        });
        Ok(names.collect())
    }

    /// Compares all of `cur` with the index; false when it has to be done again.
    async fn look_at_all(&self, former: Option<&Former>) -> io::Result<bool> {
        self.read_keywords().await?;
        let names = self.names("cur").await?;
        let mut seen = Seen::default();
        self.compare(names, &mut seen).await?;
        if seen.is_there.contains(&false) {
            // A file that is renamed while a directory is read may show up under neither name.
            let names = self.names("cur").await?;
            let mut again = Seen::default();
            self.compare(names, &mut again).await?;
            for (first, second) in seen.is_there.iter().zip(&mut again.is_there) {
                *second |= first;
            }
            seen = again;
        }
        let gone = self.missing(&seen.is_there).await?;
        let Seen {
            flags,
            renamed,
            unknown,
            ..
        } = seen;
        let modseq = self.next_modseq();
        let mut records = renamed;
        if !flags.is_empty() {
            let changes = flags;
            records.push(Record::Flagged { modseq, changes });
        }
        if !gone.is_empty() {
            let gone = gone.into_iter().map(|uid| (modseq, uid)).collect();
            records.push(Record::Expunged(gone));
        }
        if !records.is_empty() {
            self.commit(records).await?;
        }
        self.take_over(unknown, former).await
    }

    async fn compare(&self, names: Vec<String>, seen: &mut Seen) -> io::Result<()> {
        let (places, key, keywords) = {
            let state = self.state.borrow();
            let rows = state.index.rows().iter().enumerate();
            let mut places: Vec<(u64, usize)> =
                rows.map(|(place, row)| (row.hash, place)).collect();
            places.sort_unstable();
            let keywords = state.index.keywords().len().min(KEYWORD_LETTERS);
            seen.is_there = vec![false; places.len()];
            (places, state.index.head().key, keywords)
        };
        for (count, name) in names.into_iter().enumerate() {
            if count % BREATH == BREATH - 1 {
                self.world.breathe().await;
            }
            let hash = hash(&key, base_of(&name));
            let found = places.binary_search_by_key(&hash, |(known, _)| *known);
            let place = found.ok().and_then(|found| places.get(found));
            match place {
                None => seen.unknown.push(name),
                Some((_, place)) if seen.is_there[*place] => {
                    // A copy under the same name: a message of its own from here on.
                    seen.unknown.extend(self.set_apart(&name).await?);
                }
                Some((_, place)) => {
                    seen.is_there[*place] = true;
                    let row = self.state.borrow().index.rows()[*place];
                    self.compare_one(name, &row, keywords, seen);
                }
            }
        }
        Ok(())
    }

    fn compare_one(&self, name: String, row: &Row, keywords: usize, seen: &mut Seen) {
        let base = base_of(&name);
        let letters = name.split_once(INFO).map_or("", |(_, letters)| letters);
        let (mut flags, _) = Flags::from_letters(letters, keywords);
        // Keywords without a letter are nobody's but ours.
        flags.keywords |= row.keywords & !LETTER_KEYWORDS;
        let as_named = Row {
            system: flags.system,
            keywords: flags.keywords,
            ..*row
        };
        let is_odd = with_flags(base, &as_named) != name;
        if flags != row.flags() {
            seen.flags.push((row.uid, flags));
        }
        if is_odd || row.bits & ODD != 0 || row.name_at == 0 {
            seen.renamed.push(Record::Renamed {
                uid: row.uid,
                bits: if is_odd { ODD } else { 0 },
                name: if is_odd { name } else { base.to_owned() },
            });
        }
    }

    /// Gives a file a name that no other has; `None` when it is gone.
    async fn set_apart(&self, name: &str) -> io::Result<Option<String>> {
        let letters = name.split_once(INFO).map_or("", |(_, letters)| letters);
        let wall = self.world.wall();
        let random = self.world.random();
        let apart = format!(
            "{}.M{:06}R{random:016x}.{}{INFO}{letters}",
            wall.seconds(),
            wall.subsec_micros(),
            self.host
        );
        let is_moved = self.move_file(("cur", name), ("cur", &apart)).await?;
        Ok(is_moved.then_some(apart))
    }

    /// UIDs whose files are not there. One that a crash left in `tmp` is put in its place.
    async fn missing(&self, is_there: &[bool]) -> io::Result<Vec<u32>> {
        let rows: Vec<Row> = {
            let state = self.state.borrow();
            let rows = state.index.rows().iter().zip(is_there);
            rows.filter(|(_, is_there)| !**is_there)
                .map(|(row, _)| *row)
                .collect()
        };
        let (mut gone, mut mended) = (Vec::new(), false);
        for row in rows {
            if let Some(name) = self.file_name(&row).await? {
                let waits = self.path("tmp", base_of(&name));
                let place = self.path("cur", &name);
                if self.world.rename(&waits, &place).await.is_ok() {
                    mended = true;
                    continue;
                }
            }
            gone.push(row.uid);
        }
        if mended {
            self.sync_cur().await?;
        }
        Ok(gone)
    }

    /// Gives UIDs to files in `cur` that have none; false when one was gone again.
    async fn take_over(&self, names: Vec<String>, former: Option<&Former>) -> io::Result<bool> {
        let (names, former_uids) = in_order(names, former);
        let mut all_there = true;
        let mut at = 0;
        let what = format!("{}: making an index", self.directory.display());
        let (mut steps, began) = (Steps::new(what, "messages"), self.world.now());
        let mut look = |done: usize| {
            let [done, all] = [done, names.len()].map(|count| count as u64);
            let words = steps.look(self.world.now().since(began), progress::Seen { done, all });
            words.inspect(|words| (self.tell)(format_args!("{words}")));
        };
        while at < names.len() {
            look(at);
            let end = names.len().min(at + ADDED_AT_ONCE);
            let modseq = self.next_modseq();
            let mut added = Vec::new();
            let mut uid = self.state.borrow().index.head().uid_next;
            for (name, former_uid) in names[at..end].iter().zip(&former_uids[at..end]) {
                uid = uid.max(former_uid.unwrap_or(0));
                if former_uid.is_none() {
                    uid = uid.max(former.map_or(0, |former| former.uid_next));
                }
                match self.row_of(name).await? {
                    Some(mut one) => {
                        (one.row.uid, one.row.modseq) = (uid, modseq);
                        added.push(one);
                        uid = uid.checked_add(1).ok_or_else(out_of_uids)?;
                    }
                    None => all_there = false,
                }
            }
            if !added.is_empty() {
                self.commit(vec![Record::Added(added)]).await?;
            }
            self.world.breathe().await;
            at = end;
        }
        look(at);
        Ok(all_there)
    }

    /// What the index keeps of the file `name` in `cur`; `None` when it is gone.
    async fn row_of(&self, name: &str) -> io::Result<Option<Added>> {
        let path = self.path("cur", name);
        let saved = match self.world.modified(&path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            time => time?.div_euclid(NANOS_PER_SECOND),
        };
        let base = base_of(name);
        let size = match size_in(base) {
            Some(size) => size,
            None => match measure(&self.world, &path).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                size => size?,
            },
        };
        let keywords = self.state.borrow().index.keywords().len();
        let letters = name.split_once(INFO).map_or("", |(_, letters)| letters);
        let (flags, _) = Flags::from_letters(letters, keywords.min(KEYWORD_LETTERS));
        let mut row = Row {
            hash: self.hash(base),
            saved,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            system: flags.system,
            keywords: flags.keywords,
            ..Row::default()
        };
        let is_odd = with_flags(base, &row) != name;
        row.bits = if is_odd { ODD } else { 0 };
        let name = if is_odd { name } else { base };
        Ok(Some(Added {
            row,
            name: name.to_owned(),
        }))
    }

    /// Takes over keywords that Dovecot, or another program, has given letters.
    async fn read_keywords(&self) -> io::Result<()> {
        let path = self.directory.join(KEYWORDS_FILE);
        let Some(text) = read_text(&self.world, &path).await? else {
            return Ok(());
        };
        let mut records = Vec::new();
        let have = self.state.borrow().index.keywords().len();
        for line in text.lines() {
            let Some((place, name)) = line.split_once(' ') else {
                continue;
            };
            let Ok(place) = place.parse::<usize>() else {
                continue;
            };
            // What has a place keeps it: a letter cannot mean two things.
            if place >= KEYWORD_LETTERS.min(KEYWORDS_MAX) || place < have + records.len() {
                continue;
            }
            while have + records.len() < place {
                let gap = have + records.len();
                records.push(keyword(gap, &format!("$Place{gap}")));
            }
            records.push(keyword(place, name));
        }
        if !records.is_empty() {
            self.commit(records).await?;
        }
        Ok(())
    }

    /// Writes down which keyword has which letter, before a file name uses one.
    pub(super) async fn write_keywords(&self) -> io::Result<()> {
        let mut text = String::new();
        let keywords = self.state.borrow().index.keywords().to_vec();
        for (place, name) in keywords.iter().take(KEYWORD_LETTERS).enumerate() {
            text.push_str(&format!("{place} {name}\n"));
        }
        world::replace(
            &self.world,
            &self.directory.join(KEYWORDS_FILE),
            text.into_bytes(),
        )
        .await
    }

    pub(super) async fn sync_cur(&self) -> io::Result<()> {
        self.world.sync_directory(&self.directory.join("cur")).await
    }
}

pub(super) fn keyword(place: usize, name: &str) -> Record {
    Record::Keyword {
        place: u8::try_from(place).unwrap_or(u8::MAX),
        name: name.to_owned(),
    }
}

/// Files in the order in which they get UIDs: those that had one in the order of these.
fn in_order(names: Vec<String>, former: Option<&Former>) -> (Vec<String>, Vec<Option<u32>>) {
    let Some(former) = former else {
        let uids = vec![None; names.len()];
        return (names, uids);
    };
    let mut both: Vec<(Option<u32>, String)> = names
        .into_iter()
        .map(|name| (former.uids.get(base_of(&name)).copied(), name))
        .collect();
    both.sort_by(|a, b| {
        let place = |uid: &Option<u32>| uid.unwrap_or(u32::MAX);
        place(&a.0).cmp(&place(&b.0)).then_with(|| a.1.cmp(&b.1))
    });
    both.into_iter().map(|(uid, name)| (name, uid)).unzip()
}

/// Reads `dovecot-uidlist`, version 3; `None` where there is none that we understand.
///
/// ```text
/// 3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1
/// 25006 W3004 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,
/// ```
pub(super) async fn dovecot<W: World>(world: &W, directory: &Path) -> io::Result<Option<Former>> {
    let Some(text) = read_text(world, &directory.join(UIDLIST_FILE)).await? else {
        return Ok(None);
    };
    Ok(former(&text))
}

fn former(text: &str) -> Option<Former> {
    let mut lines = text.lines();
    let mut head = lines.next()?.split(' ');
    if head.next() != Some("3") {
        return None;
    }
    let (mut uid_validity, mut uid_next) = (None, None);
    for word in head {
        match word.split_at_checked(1)? {
            ("V", number) => uid_validity = number.parse().ok(),
            ("N", number) => uid_next = number.parse().ok(),
            _ => {}
        }
    }
    let mut uids = HashMap::new();
    for line in lines {
        let (numbers, name) = line.split_once(" :")?;
        let uid: u32 = numbers.split(' ').next()?.parse().ok()?;
        // Appended to while the list is long: the last line of a name counts.
        uids.insert(base_of(name).to_owned(), uid);
    }
    let uid_validity = uid_validity.filter(|validity| *validity > 0)?;
    let top = uids.values().max().map_or(1, |top| top.saturating_add(1));
    let uid_next = top.max(uid_next.unwrap_or(1));
    // A list that leaves none to give would close the folder for good. Without it all are free again.
    (uid_next <= u32::MAX - UIDS_LEFT_MIN).then_some(Former {
        uid_validity,
        uid_next,
        uids,
    })
}

/// The size with CRLF that a name tells (`,W=`).
fn size_in(base: &str) -> Option<u64> {
    let (_, after) = base.split_once(",W=")?;
    let digits = after.split(',').next()?;
    digits.parse().ok()
}

/// The size with CRLF of the file `name`, out of its name where that tells.
pub(in crate::mailbox) async fn size_in_name<W: World>(
    world: &W,
    directory: &Path,
    name: &Path,
) -> io::Result<u64> {
    if let Some(size) = name.to_str().and_then(|name| size_in(base_of(name))) {
        return Ok(size);
    }
    match measure(world, &directory.join(name)).await {
        // Expunged, or renamed: a figure that is counted again when the folder is opened.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        size => size,
    }
}

/// The size with CRLF of a file whose name does not tell.
async fn measure<W: World>(world: &W, path: &Path) -> io::Result<u64> {
    let file = world.open_to_read(path).await?;
    let mut measure = Measure::default();
    let mut at = 0;
    loop {
        let piece = file.read_at(at, MEASURE_OCTETS).await?;
        if piece.is_empty() {
            return Ok(measure.octets());
        }
        at += piece.len() as u64;
        measure.push(&piece);
    }
}

/// A small file as text; `None` where there is none. What is not UTF-8 is replaced.
pub(in crate::mailbox) async fn read_text<W: World>(
    world: &W,
    path: &Path,
) -> io::Result<Option<String>> {
    let octets = match world::read_small(world, path, usize::MAX).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        octets => octets?,
    };
    Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
}

fn out_of_uids() -> io::Error {
    io::Error::other("the folder has given out all UIDs there are")
}

/// Dovecot's name for it, so that Dovecot reads ours too.
const KEYWORDS_FILE: &str = "dovecot-keywords";
const UIDLIST_FILE: &str = "dovecot-uidlist";
/// A mailbox that gets a hundred messages a day needs them for centuries.
const UIDS_LEFT_MIN: u32 = 1 << 24;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// A file system that dates changes by the second (some network file systems do).
const COARSE_STEP: i64 = 2 * NANOS_PER_SECOND;
/// The kernel's clock for dates moves every 1 to 10 ms.
const FINE_STEP: i64 = 50_000_000;
/// How long a file may take to leave `tmp`: what all who write Maildirs agree on.
const DRAFT_WAIT_S: i64 = 36 * 3600;
/// Names compared before others get a turn.
const BREATH: usize = 1024;
/// Messages taken over in one batch.
const ADDED_AT_ONCE: usize = 2048;
/// What is read of a file at one go while it is measured.
const MEASURE_OCTETS: usize = 256 << 10;
