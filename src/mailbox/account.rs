//! One user's folders: what there is, what is subscribed to, what is meant for what.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FolderError;
use super::folder::{Core, Folder, Home, read_text, size_in_name};
use super::name::FolderName;
use super::quota::{Allowance, Limit, Promises, Quota};
use super::turn::Turn;
use crate::users::may_have_mailbox;
use crate::world::{self, Tick, World};

/// The mailboxes whose home is this shard.
pub struct Accounts<W: World> {
    world: W,
    root: PathBuf,
    host: RefCell<Rc<str>>,
    limit: Cell<Limit>,
    open: RefCell<HashMap<String, Weak<Account<W>>>>,
    /// Accounts that mail was admitted to just now: what they hold need not be counted again.
    counted: RefCell<VecDeque<(Tick, Rc<Account<W>>)>>,
    /// Room that was promised, by user: it outlives the account that counted.
    promises: RefCell<HashMap<String, Rc<Promises>>>,
    turn: Turn,
    tell: Tell,
}

/// Tells the operator how far long work is.
pub(super) type Tell = Rc<dyn Fn(fmt::Arguments<'_>)>;

/// One user's mailbox. Shared by all sessions of the user.
pub struct Account<W: World> {
    world: W,
    user: Box<str>,
    directory: PathBuf,
    host: Rc<str>,
    allowance: Rc<Allowance>,
    is_measured: Cell<bool>,
    open: RefCell<HashMap<FolderName, Rc<Core<W>>>>,
    me: Weak<Self>,
    turn: Turn,
    is_locked: Cell<bool>,
    tell: Tell,
}

/// A folder as LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderInfo {
    /// With `/` between levels.
    pub name: FolderName,
    /// It holds messages. One that does not is there for those below it.
    pub is_selectable: bool,
    /// There are folders below it.
    pub has_children: bool,
    /// RFC 6154
    pub special_use: Option<SpecialUse>,
    /// It is subscribed to.
    pub is_subscribed: bool,
}

/// What a folder is meant for (RFC 6154).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
    /// `\Important` (RFC 8457)
    Important,
}

/// What is kept of an account beside its folders, in `ringpost.toml` there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    /// The last UIDVALIDITY that a folder got: no two get the same.
    #[serde(default)]
    uid_validity: u32,
    /// By name of the folder.
    #[serde(default)]
    special_use: BTreeMap<String, SpecialUse>,
}

/// A POP3 session has the maildrop to itself (RFC 1939 §4) until this is dropped.
pub struct Pop3Lock<W: World> {
    account: Rc<Account<W>>,
}

impl<W: World> Drop for Pop3Lock<W> {
    fn drop(&mut self) {
        self.account.is_locked.set(false);
    }
}

impl<W: World> Accounts<W> {
    /// The mailboxes in `root`. `host` is the machine's name; `tell` hears how far long work is.
    #[must_use]
    pub fn new(
        world: &W,
        root: &Path,
        host: &str,
        limit: Limit,
        tell: impl Fn(fmt::Arguments<'_>) + 'static,
    ) -> Self {
        Self {
            world: world.clone(),
            root: root.into(),
            host: RefCell::new(file_host(host).into()),
            limit: Cell::new(limit),
            open: RefCell::default(),
            counted: RefCell::default(),
            promises: RefCell::default(),
            turn: Turn::default(),
            tell: Rc::new(tell),
        }
    }

    /// Another name of the machine, for what is delivered from now on.
    pub fn set_host(&self, hostname: &str) {
        *self.host.borrow_mut() = file_host(hostname).into();
    }

    /// Another limit, for accounts that are opened from now on.
    pub fn set_limit(&self, limit: Limit) {
        self.limit.set(limit);
    }

    /// Is there any limit?
    #[must_use]
    pub fn has_limit(&self) -> bool {
        self.limit.get() != Limit::default()
    }

    /// The directory of a user's mailbox.
    pub fn maildir(&self, user: &str) -> io::Result<PathBuf> {
        Ok(self.root.join(directory_of(user)?))
    }

    /// Promises room for a message of so many octets, where there is some. To be settled with
    /// [`Accounts::settle`].
    pub async fn admit(&self, user: &str, octets: u64) -> Result<(), FolderError> {
        let oldest = self.world.now() - COUNTED_WAIT;
        self.counted.borrow_mut().retain(|(at, _)| *at > oldest);
        let account = self.open(user).await?;
        account.measure().await?;
        let mut counted = self.counted.borrow_mut();
        if !counted.iter().any(|(_, known)| Rc::ptr_eq(known, &account)) {
            if counted.len() >= COUNTED_MAX {
                counted.pop_front();
            }
            counted.push_back((self.world.now(), Rc::clone(&account)));
        }
        let now = self.world.now();
        account.allowance.promises.forget(now - PROMISE_WAIT);
        account.allowance.promise(now, octets, 1)
    }

    /// A message that room was promised for has come, or does not come.
    pub fn settle(&self, user: &str, octets: u64) {
        let mut promises = self.promises.borrow_mut();
        if let Some(promised) = promises.get(user) {
            promised.settle(octets, 1);
        }
        promises.retain(|_, promised| !promised.is_empty() || Rc::strong_count(promised) > 1);
    }

    /// Opens a user's mailbox, which is made where there is none. Shared while anybody holds it.
    pub async fn open(&self, user: &str) -> io::Result<Rc<Account<W>>> {
        let user = user.to_lowercase();
        let _mine = self.turn.take().await;
        if let Some(account) = self.opened(&user) {
            return Ok(account);
        }
        let directory = self.root.join(directory_of(&user)?);
        make_maildir(&self.world, &directory).await?;
        let promises = Rc::clone(self.promises.borrow_mut().entry(user.clone()).or_default());
        let account = Rc::new_cyclic(|me| Account {
            me: me.clone(),
            world: self.world.clone(),
            user: user.as_str().into(),
            directory,
            host: Rc::clone(&self.host.borrow()),
            allowance: Rc::new(Allowance {
                limit: self.limit.get(),
                promises,
                ..Allowance::default()
            }),
            is_measured: Cell::new(false),
            open: RefCell::default(),
            turn: Turn::default(),
            is_locked: Cell::new(false),
            tell: Rc::clone(&self.tell),
        });
        if self.limit.get() != Limit::default() {
            account.measure().await?;
        }
        let mut open = self.open.borrow_mut();
        open.retain(|_, account| account.strong_count() > 0);
        open.insert(user, Rc::downgrade(&account));
        Ok(account)
    }

    /// The mailbox of a user, if somebody has it open.
    #[must_use]
    pub fn opened(&self, user: &str) -> Option<Rc<Account<W>>> {
        self.open.borrow().get(user)?.upgrade()
    }
}

impl<W: World> Account<W> {
    /// The user's address.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// All folders, in order of name; also those that are only there for others below them.
    pub async fn folders(&self) -> io::Result<Vec<FolderInfo>> {
        let real = self.names().await?;
        let (notes, subscribed) = (self.notes().await?, self.subscriptions().await?);
        let mut all = real.clone();
        for name in &real {
            let mut above = name.parent();
            while let Some(name) = above {
                above = name.parent();
                all.insert(name);
            }
        }
        let info = |name: &FolderName| FolderInfo {
            is_selectable: real.contains(name),
            has_children: name.has_one_below(&all),
            special_use: notes.special_use.get(name.as_str()).copied(),
            is_subscribed: subscribed.contains(name.as_str()),
            name: name.clone(),
        };
        Ok(all.iter().map(info).collect())
    }

    /// Names that are subscribed to, whether there is such a folder or not (RFC 9051 §6.3.7).
    pub async fn subscriptions(&self) -> io::Result<BTreeSet<String>> {
        let text = read_text(&self.world, &self.directory.join(SUBSCRIPTIONS)).await?;
        let text = text.unwrap_or_default();
        // Dovecot writes the directory without its first dot, and since 2.3 a tab for each further one.
        let (text, between) = match text.strip_prefix(SUBSCRIPTIONS_2) {
            Some(text) => (text, "\t"),
            None => (&*text, "."),
        };
        let names = text.lines().filter(|line| !line.is_empty());
        let names = names.filter_map(|line| match line {
            "INBOX" => Some(FolderName::inbox()),
            line => FolderName::from_directory(&format!(".{}", line.replace(between, "."))),
        });
        Ok(names.map(|name| name.as_str().to_owned()).collect())
    }

    /// Opens a folder; shared by all sessions.
    pub async fn folder(&self, name: &str) -> Result<Rc<Folder<W>>, FolderError> {
        let name = FolderName::new(name).map_err(|_| FolderError::NotFound)?;
        let _mine = self.turn.take().await;
        let core = self.open_folder(&name).await?;
        Ok(Rc::new(Folder::of(core)))
    }

    /// Makes a folder (RFC 9051 §6.3.4).
    pub async fn create(&self, name: &str) -> Result<(), FolderError> {
        let name = FolderName::new(name)?;
        let _mine = self.turn.take().await;
        let directory = self.directory_of(&name);
        if self.exists(&directory).await? {
            return Err(FolderError::Exists);
        }
        make_maildir(&self.world, &directory).await?;
        // Maildir++ says that it is a folder and no user's Maildir by it.
        world::replace(&self.world, &directory.join("maildirfolder"), Vec::new()).await?;
        Ok(())
    }

    /// Deletes a folder with its messages (RFC 9051 §6.3.5). Those below it stay.
    pub async fn delete(&self, name: &str) -> Result<(), FolderError> {
        let name = FolderName::new(name).map_err(|_| FolderError::NotFound)?;
        if name.is_inbox() {
            return Err(FolderError::NoSelect);
        }
        let _mine = self.turn.take().await;
        let directory = self.directory_of(&name);
        if !self.exists(&directory).await? {
            return Err(self.why_not(&name).await?);
        }
        self.close(&name).await;
        // Out of sight at once, then file by file: a crash leaves what no listing shows.
        let trash = self.trash();
        self.world.rename(&directory, &trash).await?;
        self.world.sync_directory(&self.directory).await?;
        self.allowance.folders.borrow_mut().remove(&name);
        self.change_notes(|notes| {
            notes.special_use.remove(name.as_str());
        })
        .await?;
        remove_all(&self.world, &trash).await?;
        Ok(())
    }

    /// Renames a folder and those below it; INBOX gives its messages to a new folder and stays
    /// (RFC 9051 §6.3.6).
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), FolderError> {
        let from = FolderName::new(from).map_err(|_| FolderError::NotFound)?;
        let to = FolderName::new(to)?;
        if from.is_inbox() {
            return self.rename_inbox(&to).await;
        }
        let _mine = self.turn.take().await;
        let names = self.names().await?;
        let moved: Vec<FolderName> = names
            .iter()
            .filter(|name| **name == from || from.contains(name))
            .cloned()
            .collect();
        if moved.is_empty() {
            return Err(FolderError::NotFound);
        }
        if to.is_inbox() || names.contains(&to) || from.contains(&to) || from == to {
            return Err(FolderError::Exists);
        }
        let mut moves = Vec::new();
        for name in &moved {
            let there = name.moved(&from, &to).ok_or(FolderError::BadName)?;
            if names.contains(&there) {
                return Err(FolderError::Exists);
            }
            moves.push((name, there));
        }
        for (name, there) in &moves {
            self.close(name).await;
            let (here, there) = (self.directory_of(name), self.directory_of(there));
            self.world.rename(&here, &there).await?;
        }
        self.world.sync_directory(&self.directory).await?;
        self.rename_notes(&moves).await?;
        Ok(())
    }

    async fn rename_notes(&self, moves: &[(&FolderName, FolderName)]) -> io::Result<()> {
        for (name, there) in moves {
            let mut folders = self.allowance.folders.borrow_mut();
            if let Some(figures) = folders.remove(name) {
                folders.insert(there.clone(), figures);
            }
        }
        self.change_notes(|notes| {
            for (name, there) in moves {
                if let Some(meant) = notes.special_use.remove(name.as_str()) {
                    notes.special_use.insert(there.as_str().to_owned(), meant);
                }
            }
        })
        .await
    }

    async fn rename_inbox(&self, to: &FolderName) -> Result<(), FolderError> {
        self.create(to.as_str()).await?;
        let inbox = self.folder("INBOX").await?;
        let there = self.folder(to.as_str()).await?;
        let uids: Vec<u32> = inbox.entries().iter().map(|entry| entry.uid).collect();
        inbox.move_to(&uids, &there).await?;
        Ok(())
    }

    /// Subscribes to a name, or no longer does.
    pub async fn subscribe(&self, name: &str, on: bool) -> Result<(), FolderError> {
        let name = FolderName::new(name)?;
        let _mine = self.turn.take().await;
        let mut names = self.subscriptions().await?;
        let changes = if on {
            names.insert(name.as_str().to_owned())
        } else {
            names.remove(name.as_str())
        };
        if !changes {
            return Ok(());
        }
        let mut text = String::new();
        for name in &names {
            let directory = FolderName::new(name).ok().and_then(|name| name.directory());
            let line = directory.as_deref().and_then(|path| path.strip_prefix('.'));
            text.push_str(line.unwrap_or("INBOX"));
            text.push('\n');
        }
        world::replace(
            &self.world,
            &self.directory.join(SUBSCRIPTIONS),
            text.into_bytes(),
        )
        .await?;
        Ok(())
    }

    /// Says what a folder is meant for, or that it is for nothing in particular.
    pub async fn set_special_use(
        &self,
        name: &str,
        meant: Option<SpecialUse>,
    ) -> Result<(), FolderError> {
        let name = FolderName::new(name).map_err(|_| FolderError::NotFound)?;
        let _mine = self.turn.take().await;
        if !self.exists(&self.directory_of(&name)).await? {
            return Err(FolderError::NotFound);
        }
        self.change_notes(|notes| {
            match meant {
                Some(meant) => notes.special_use.insert(name.as_str().to_owned(), meant),
                None => notes.special_use.remove(name.as_str()),
            };
        })
        .await?;
        Ok(())
    }

    /// What the mailbox holds and may hold. Without a limit, only folders that were open are
    /// counted before [`Account::measure`].
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.allowance.quota()
    }

    /// Counts what is in folders that nobody has opened. Does it once.
    pub async fn measure(&self) -> io::Result<()> {
        if self.is_measured.replace(true) {
            return Ok(());
        }
        for name in self.names().await? {
            if self.open.borrow().contains_key(&name) {
                continue;
            }
            let directory = self.directory_of(&name);
            let (mut octets, mut messages) = (0, 0);
            for place in ["cur", "new"] {
                for file in self.world.files(&directory.join(place)).await? {
                    octets += size_in_name(&self.world, &directory.join(place), &file).await?;
                    messages += 1;
                }
                self.world.breathe().await;
            }
            let figures = self.allowance.of(&name);
            figures.octets.set(octets);
            figures.messages.set(messages);
        }
        Ok(())
    }

    /// A message came into the folder in `maildir`.
    pub async fn arrived(&self, maildir: &Path, octets: u64) -> io::Result<()> {
        let folder = {
            let open = self.open.borrow();
            let found = open.values().find(|core| core.directory == maildir);
            found.cloned().map(Folder::of)
        };
        if let Some(folder) = folder {
            return folder.refresh().await;
        }
        let name = match maildir.strip_prefix(&self.directory) {
            Ok(inside) if inside.as_os_str().is_empty() => Some(FolderName::inbox()),
            Ok(inside) => inside.to_str().and_then(FolderName::from_directory),
            Err(_) => None,
        };
        if let Some(name) = name {
            let figures = self.allowance.of(&name);
            figures.octets.set(figures.octets.get() + octets);
            figures.messages.set(figures.messages.get() + 1);
        }
        Ok(())
    }

    /// The maildrop for one POP3 session; `None` while another has it.
    #[must_use]
    pub fn lock_pop3(self: &Rc<Self>) -> Option<Pop3Lock<W>> {
        (!self.is_locked.replace(true)).then(|| Pop3Lock {
            account: Rc::clone(self),
        })
    }

    async fn open_folder(&self, name: &FolderName) -> Result<Rc<Core<W>>, FolderError> {
        let opened = self.open.borrow().get(name).cloned();
        if let Some(core) = opened {
            return Ok(core);
        }
        let directory = self.directory_of(name);
        if !self.exists(&directory).await? {
            return Err(self.why_not(name).await?);
        }
        // Another program may have made the folder, and not all of it.
        make_maildir(&self.world, &directory).await?;
        let home = Home {
            world: self.world.clone(),
            directory,
            host: Rc::clone(&self.host),
            figures: self.allowance.of(name),
            allowance: Rc::clone(&self.allowance),
            keeper: self.me.clone(),
            tell: Rc::clone(&self.tell),
        };
        let folder = Folder::open(home, async || self.next_uid_validity().await).await?;
        let mut open = self.open.borrow_mut();
        if open.len() >= IDLE_MAX {
            // Those that nobody uses can be opened again.
            open.retain(|_, core| Rc::strong_count(core) > 1);
        }
        open.insert(name.clone(), Rc::clone(&folder.core));
        Ok(Rc::clone(&folder.core))
    }

    /// Why a folder that is not there cannot be opened.
    async fn why_not(&self, name: &FolderName) -> io::Result<FolderError> {
        let names = self.names().await?;
        let is_above = names.iter().any(|other| name.contains(other));
        Ok(if is_above {
            FolderError::NoSelect
        } else {
            FolderError::NotFound
        })
    }

    async fn close(&self, name: &FolderName) {
        let open = self.open.borrow_mut().remove(name);
        if let Some(core) = open {
            core.close().await;
        }
    }

    /// Higher than every one before: no folder of a name can be taken for an earlier one.
    async fn next_uid_validity(&self) -> io::Result<u32> {
        let now = u32::try_from(self.world.wall().seconds()).unwrap_or(1);
        let mut next = 0;
        self.change_notes(|notes| {
            notes.uid_validity = now.max(notes.uid_validity.saturating_add(1));
            next = notes.uid_validity;
        })
        .await?;
        Ok(next)
    }

    async fn notes(&self) -> io::Result<Notes> {
        let text = read_text(&self.world, &self.directory.join(NOTES)).await?;
        // Damaged, it says nothing; a moment is higher than what it said all the same.
        Ok(toml::from_str(&text.unwrap_or_default()).unwrap_or_default())
    }

    async fn change_notes(&self, change: impl FnOnce(&mut Notes)) -> io::Result<()> {
        let before = self.notes().await?;
        let mut notes = before.clone();
        change(&mut notes);
        if notes == before {
            return Ok(());
        }
        let text = toml::to_string(&notes).map_err(io::Error::other)?;
        world::replace(&self.world, &self.directory.join(NOTES), text.into_bytes()).await
    }

    /// The folders that are on disk.
    async fn names(&self) -> io::Result<BTreeSet<FolderName>> {
        let mut names = BTreeSet::from([FolderName::inbox()]);
        for path in self.world.list(&self.directory).await? {
            let name = path.to_str().and_then(FolderName::from_directory);
            if let Some(name) = name
                && self.exists(&self.directory_of(&name)).await?
            {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Is there a folder in `directory`?
    async fn exists(&self, directory: &Path) -> io::Result<bool> {
        match self.world.modified(&directory.join("cur")).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn directory_of(&self, name: &FolderName) -> PathBuf {
        match name.directory() {
            Some(directory) => self.directory.join(directory),
            None => self.directory.clone(),
        }
    }

    /// A place that no listing shows.
    fn trash(&self) -> PathBuf {
        let name = format!("{TRASH}{:016x}", self.world.random());
        self.directory.join(name)
    }
}

/// Makes a Maildir, or what is missing of one.
pub(super) async fn make_maildir<W: World>(world: &W, directory: &Path) -> io::Result<()> {
    for place in ["tmp", "new", "cur"] {
        world.make_directory(&directory.join(place)).await?;
    }
    Ok(())
}

/// Removes a folder with all that is in it.
async fn remove_all<W: World>(world: &W, directory: &Path) -> io::Result<()> {
    for place in ["cur", "new", "tmp", "."] {
        let inside = if place == "." {
            directory.to_owned()
        } else {
            directory.join(place)
        };
        for name in world.list(&inside).await? {
            world.remove(&inside.join(name)).await?;
            world.breathe().await;
        }
        world.remove(&inside).await?;
    }
    let home = directory.parent().unwrap_or(Path::new("."));
    world.sync_directory(home).await
}

/// The directory of a user below `mailboxes.dir`: the address itself, which must be one name.
pub(super) fn directory_of(user: &str) -> io::Result<&str> {
    if !may_have_mailbox(user) {
        let words = format!("{user:?} cannot be the name of a mailbox");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    Ok(user)
}

/// The machine's name as Maildir writes it into file names.
pub(super) fn file_host(host: &str) -> String {
    host.replace('/', "\\057")
        .replace(':', "\\072")
        .replace(',', "\\054")
}

/// As Dovecot names and writes it.
const SUBSCRIPTIONS: &str = "subscriptions";
/// How its second form begins, which we read. We write the first: all read that.
const SUBSCRIPTIONS_2: &str = "V\t2\n";
const NOTES: &str = "ringpost.toml";
/// How long a count is believed that other programs may have changed.
const COUNTED_WAIT: Duration = Duration::from_secs(10);
const COUNTED_MAX: usize = 64;
/// A delivery that takes longer has been given up by a crash of its shard, or is hopelessly slow.
const PROMISE_WAIT: Duration = Duration::from_secs(300);
/// No folder's name: a level of it would be empty.
const TRASH: &str = "..gone-";
/// Open folders of one user that nobody uses, at most.
const IDLE_MAX: usize = 16;
