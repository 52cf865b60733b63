//! Deliveries into mailboxes here, and what a user's home shard hears of them.
//!
//! The shard that holds the message writes the files: mail does not travel between shards. The
//! home shard is asked for room where there is a limit, and told what came, so that sessions that
//! have the folder open hear of it at once.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use super::attempt::{Attempt, LOCAL_TROUBLE};
use super::transmit::read_chunk;
use crate::config::Subaddress;
use crate::mail::envelope::Recipient;
use crate::mail::outcome::{Blame, Diagnosis, Outcome, RemoteReply, Success};
use crate::mailbox::FolderError;
use crate::mailbox::deliver::{Copy, Parcel, Source, deliver, folder_of_tag};
use crate::mailbox::text::{Measure, to_disk};
use crate::route::Target;
use crate::shard::Shard;
use crate::shard::mesh::Letter;
use crate::shard::message::{Body, Message};
use crate::smtp::reply::Reply;
use crate::users::alias::Place;
use crate::wire::status::{EnhancedStatus, ReplyCode};
use crate::world::{Class, World};

/// A word about a mailbox, to its home shard.
pub enum MailboxWord {
    /// Is there room for so many octets?
    Admit {
        /// Of the message, with CRLF.
        octets: u64,
        /// Takes the answer.
        tell: oneshot::Sender<Room>,
    },
    /// A message came in.
    Arrived {
        /// The folder's directory.
        maildir: PathBuf,
        /// Of the message, with CRLF.
        octets: u64,
        /// What it was admitted with.
        admitted: u64,
    },
    /// A message that was admitted did not come in.
    Failed {
        /// What it was admitted with.
        admitted: u64,
    },
}

/// Room in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// For this message.
    Enough,
    /// Not now.
    Full,
    /// Never.
    TooSmall,
    /// It cannot be told: the disk's fault.
    Unknown,
}

/// One file to be written, and the recipients who wait for it.
struct Drop {
    place: Place,
    maildir: PathBuf,
    /// What stands before the content, with LF.
    head: Vec<u8>,
    /// Of the message with it, with CRLF.
    octets: u64,
    recipients: Vec<u16>,
}

impl<W: World> Shard<W> {
    /// May mail for this recipient come in?
    pub(in crate::shard) fn judge_recipient(
        &self,
        recipient: &Recipient,
        may_relay: bool,
        is_report: bool,
    ) -> Result<(), Reply> {
        let settings = self.settings();
        if let Some(judged) = settings.judge_return(&recipient.mailbox, self.world.wall()) {
            return judged;
        }
        settings.judge(recipient, may_relay)?;
        if *settings.target(&recipient.mailbox) != Target::Mailbox {
            return self.judge_suppressed(&recipient.mailbox, is_report);
        }
        let leads = settings.leads(&recipient.mailbox);
        if leads.is_nowhere() {
            return Err(Reply::no_such_mailbox());
        }
        let now = self.world.now();
        let full = self.full.borrow();
        let is_full = |place: &Place| full.get(&place.user).is_some_and(|until| *until > now);
        if leads.elsewhere.is_empty() && leads.here.iter().all(is_full) {
            return Err(Reply::mailbox_full());
        }
        Ok(())
    }

    /// Delivers a message into the mailboxes of its recipients.
    pub(super) async fn deliver_here(&self, message: &Message, attempt: &mut Attempt<W>) {
        let began = self.world.now();
        attempt.relay = Some("mailbox".into());
        let mut failures: BTreeMap<u16, Outcome> = BTreeMap::new();
        let drops = self.drops(message, attempt, &mut failures).await;
        let mut admitted = Vec::with_capacity(drops.len());
        for drop in drops {
            match self.room(&drop.place.user, drop.octets).await {
                Room::Enough => admitted.push(drop),
                room => fail(&mut failures, &drop.recipients, &no_room(room)),
            }
        }
        let copies: Vec<Copy<'_>> = admitted
            .iter()
            .map(|drop| Copy {
                maildir: drop.maildir.clone(),
                head: drop.head.clone(),
                source: match &message.body {
                    Body::Memory(octets) => Source::Memory(octets),
                    Body::Extent(len) => Source::Pieces(*len),
                },
            })
            .collect();
        let settings = self.settings();
        let parcel = Parcel {
            id: message.id,
            arrival: message.arrival,
            host: &settings.hostname,
            is_repeated: attempt.may_repeat(),
        };
        let read = async |position| read_chunk(self, message, position).await;
        let outcomes = deliver(&self.world, &parcel, &copies, read).await;
        for (drop, outcome) in admitted.into_iter().zip(outcomes) {
            match outcome {
                Ok(octets) => {
                    let maildir = drop.maildir;
                    let word = MailboxWord::Arrived {
                        maildir,
                        octets,
                        admitted: drop.octets,
                    };
                    self.tell_home(drop.place.user, word);
                }
                Err(error) => {
                    let word = MailboxWord::Failed {
                        admitted: drop.octets,
                    };
                    self.tell_home(drop.place.user.clone(), word);
                    let user = &drop.place.user;
                    self.warn(format_args!(
                        "{}: {user}: not delivered: {error}",
                        message.id
                    ));
                    fail(&mut failures, &drop.recipients, &disk_trouble(&error));
                }
            }
        }
        attempt.transfer += self.world.now().since(began);
        for recipient in attempt.remaining().to_vec() {
            let one = message.envelope.recipients.get(usize::from(recipient));
            let success = match one {
                Some(one) if one.expanded => Success::Expanded,
                _ => Success::Delivered,
            };
            let outcome = failures.remove(&recipient);
            let outcome = outcome.unwrap_or_else(|| delivered(success));
            attempt.end(recipient, outcome);
        }
    }

    /// What is to be written: one file for each folder, whoever of the recipients leads to it.
    async fn drops(
        &self,
        message: &Message,
        attempt: &Attempt<W>,
        failures: &mut BTreeMap<u16, Outcome>,
    ) -> Vec<Drop> {
        let settings = self.settings();
        let mut drops: BTreeMap<PathBuf, Drop> = BTreeMap::new();
        for &number in attempt.remaining() {
            let Some(recipient) = message.envelope.recipients.get(usize::from(number)) else {
                continue;
            };
            let leads = settings.leads(&recipient.mailbox);
            // Of an alias that was followed, what leads elsewhere is on its way already.
            if leads.here.is_empty() && !recipient.expanded {
                failures.insert(number, no_such_mailbox());
                continue;
            }
            for place in leads.here {
                match self.maildir(&place).await {
                    Ok(maildir) => drops
                        .entry(maildir.clone())
                        .or_insert_with(|| Drop::new(message, place, maildir))
                        .recipients
                        .push(number),
                    Err(error) => fail(failures, &[number], &disk_trouble(&error)),
                }
            }
        }
        drops.into_values().collect()
    }

    /// The directory that mail for a place goes into.
    async fn maildir(&self, place: &Place) -> io::Result<PathBuf> {
        let maildir = self.accounts.maildir(&place.user)?;
        match &place.tag {
            Some(tag) if self.settings().config.mailboxes.subaddress == Subaddress::Folder => {
                let folder = folder_of_tag(&self.world, &maildir, tag).await?;
                Ok(folder.unwrap_or(maildir))
            }
            _ => Ok(maildir),
        }
    }

    /// Asks a user's home shard for room, where there is a limit.
    async fn room(&self, user: &str, octets: u64) -> Room {
        if !self.accounts.has_limit() {
            return Room::Enough;
        }
        let (tell, told) = oneshot::channel();
        self.tell_home(user.to_owned(), MailboxWord::Admit { octets, tell });
        let room = told.await.unwrap_or(Room::Unknown);
        let mut full = self.full.borrow_mut();
        if room == Room::Full {
            let now = self.world.now();
            if full.len() >= FULL_MAX {
                full.retain(|_, until| *until > now);
            }
            full.insert(user.to_owned(), now + FULL_WAIT);
        } else {
            full.remove(user);
        }
        room
    }

    fn tell_home(&self, user: String, word: MailboxWord) {
        let home = self.mesh.home_of_user(&user);
        self.mesh.send(home, Letter::Mailbox(user, word));
    }

    /// Hears a word about a mailbox that is at home here.
    pub(in crate::shard) fn hear_of_mailbox(self: &Rc<Self>, user: String, word: MailboxWord) {
        let shard = Rc::clone(self);
        self.world.spawn(Class::Retrieve, async move {
            match word {
                MailboxWord::Admit { octets, tell } => {
                    let room = match shard.accounts.admit(&user, octets).await {
                        Ok(()) => Room::Enough,
                        Err(FolderError::TooLarge) => Room::TooSmall,
                        Err(FolderError::OverQuota) => Room::Full,
                        Err(error) => {
                            shard.warn(format_args!("{user}: the mailbox cannot be read: {error}"));
                            Room::Unknown
                        }
                    };
                    // Whoever asked may have stopped waiting.
                    let _ = tell.send(room);
                }
                MailboxWord::Arrived {
                    maildir,
                    octets,
                    admitted,
                } => {
                    shard.welcome_mail(&user, &maildir, octets).await;
                    shard.accounts.settle(&user, admitted);
                }
                MailboxWord::Failed { admitted } => shard.accounts.settle(&user, admitted),
            }
        });
    }

    async fn welcome_mail(&self, user: &str, maildir: &Path, octets: u64) {
        let Some(account) = self.accounts.opened(user) else {
            return;
        };
        if let Err(error) = account.arrived(maildir, octets).await {
            self.warn(format_args!("{user}: the mailbox cannot be read: {error}"));
        }
    }
}

impl Drop {
    fn new(message: &Message, place: Place, maildir: PathBuf) -> Self {
        let head = head(message, &place);
        let mut measure = Measure::default();
        measure.push(&head);
        Self {
            octets: message.content.size + measure.octets(),
            place,
            maildir,
            head,
            recipients: Vec::new(),
        }
    }
}

/// The fields that final delivery adds (RFC 5321 §4.4), and our trace fields, with LF.
fn head(message: &Message, place: &Place) -> Vec<u8> {
    let to = match (&place.tag, place.user.rsplit_once('@')) {
        (Some(tag), Some((local, domain))) => format!("{local}+{tag}@{domain}"),
        _ => place.user.clone(),
    };
    // The path brings its own angle brackets where there is one and where there is none.
    let sender = match &message.envelope.reverse_path.0 {
        Some(sender) => sender.as_str(),
        None => "",
    };
    let mut head = format!("Return-Path: <{sender}>\nDelivered-To: {to}\n").into_bytes();
    head.extend_from_slice(&to_disk(&message.trace));
    head
}

fn fail(failures: &mut BTreeMap<u16, Outcome>, recipients: &[u16], outcome: &Outcome) {
    for &recipient in recipients {
        failures.entry(recipient).or_insert_with(|| outcome.clone());
    }
}

fn delivered(success: Success) -> Outcome {
    Outcome::Delivered {
        reply: RemoteReply {
            code: ReplyCode::OK,
            status: EnhancedStatus::new(2, 0, 0),
            text: match success {
                Success::Expanded => "alias followed".into(),
                _ => "delivered to mailbox".into(),
            },
        },
        remote_mta: None,
        success: Some(success),
    }
}

fn no_such_mailbox() -> Outcome {
    Outcome::Failed {
        blame: Blame::Recipient,
        diagnosis: Diagnosis::ours(BAD_MAILBOX, "there is no such mailbox here"),
    }
}

fn no_room(room: Room) -> Outcome {
    match room {
        Room::TooSmall => Outcome::Failed {
            blame: Blame::Recipient,
            diagnosis: Diagnosis::ours(TOO_LARGE, "the message is larger than the mailbox may be"),
        },
        Room::Unknown => Outcome::Deferred {
            blame: Blame::Local,
            diagnosis: Diagnosis::ours(LOCAL_TROUBLE, "the mailbox cannot be read now"),
        },
        Room::Enough | Room::Full => Outcome::Deferred {
            blame: Blame::Recipient,
            diagnosis: Diagnosis::ours(MAILBOX_FULL, "the mailbox is full"),
        },
    }
}

fn disk_trouble(error: &io::Error) -> Outcome {
    let (status, words) = match error.kind() {
        io::ErrorKind::StorageFull => (SYSTEM_FULL, "the disk of the mailbox is full"),
        io::ErrorKind::QuotaExceeded => (MAILBOX_FULL, "the disk quota of the mailbox is used up"),
        _ => (LOCAL_TROUBLE, "the mailbox cannot be written now"),
    };
    Outcome::Deferred {
        blame: Blame::Local,
        diagnosis: Diagnosis::ours(status, words),
    }
}

/// RFC 3463 §3.2
const BAD_MAILBOX: EnhancedStatus = EnhancedStatus::new(5, 1, 1);
/// RFC 3463 §3.3
const MAILBOX_FULL: EnhancedStatus = EnhancedStatus::new(4, 2, 2);
const TOO_LARGE: EnhancedStatus = EnhancedStatus::new(5, 2, 3);
/// RFC 3463 §3.4
const SYSTEM_FULL: EnhancedStatus = EnhancedStatus::new(4, 3, 1);
/// How long a mailbox that was full is taken for full at RCPT, before its home is asked again.
const FULL_WAIT: Duration = Duration::from_secs(30);
/// Full mailboxes that are remembered before those of the past are forgotten.
const FULL_MAX: usize = 4096;
