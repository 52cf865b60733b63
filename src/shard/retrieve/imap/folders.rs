//! Folders by name: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, and quotas.

use std::io;

use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::status::StatusDataItemName;

use super::{Answer, Outcome, Visit};
use crate::imap::read::mailbox_octets;
use crate::imap::write;
use crate::mailbox::name::{from_utf7, to_utf7};
use crate::mailbox::{FolderError, Limit, SpecialUse, System};
use crate::world::World;

impl<W: World> Visit<'_, W> {
    /// A folder's name as users see it, out of a command.
    pub(super) fn name(&self, mailbox: &Mailbox<'_>) -> Result<String, FolderError> {
        self.decoded_name(&mailbox_octets(mailbox))
    }

    /// The same, out of octets: UTF-8 where the client has said that it speaks it, else modified
    /// UTF-7 (RFC 3501 §5.1.3). UTF-8 is understood anyhow.
    pub(super) fn decoded_name(&self, octets: &[u8]) -> Result<String, FolderError> {
        let text = str::from_utf8(octets).map_err(|_| FolderError::BadName)?;
        if self.is_utf8() || !text.is_ascii() {
            return Ok(text.to_owned());
        }
        from_utf7(text).ok_or(FolderError::BadName)
    }

    /// A folder's name as this client reads it, quoted where it must be.
    pub(super) fn written_name(&self, name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_utf8() {
            write::astring(&mut out, name.as_bytes(), true);
        } else {
            write::astring(&mut out, to_utf7(name).as_bytes(), false);
        }
        out
    }

    pub(super) async fn create(&mut self, mailbox: &Mailbox<'_>, uses: &[String]) -> Outcome {
        let name = self.name(mailbox)?;
        let mut meant = None;
        for word in uses {
            match special_use(word) {
                Some(special) if meant.is_none() => meant = Some(special),
                _ => return Ok(Answer::no("[USEATTR] This use is not offered.")),
            }
        }
        let account = self.account()?;
        account.create(&name).await?;
        if meant.is_some() {
            account.set_special_use(&name, meant).await?;
        }
        Ok(Answer::ok("Create completed."))
    }

    pub(super) async fn delete(&mut self, mailbox: &Mailbox<'_>) -> Outcome {
        let name = self.name(mailbox)?;
        if name.eq_ignore_ascii_case("INBOX") {
            return Ok(Answer::no("[CANNOT] INBOX can't be deleted."));
        }
        self.account()?.delete(&name).await?;
        Ok(Answer::ok("Delete completed."))
    }

    pub(super) async fn rename(&mut self, from: &Mailbox<'_>, to: &Mailbox<'_>) -> Outcome {
        let (from, to) = (self.name(from)?, self.name(to)?);
        self.account()?.rename(&from, &to).await?;
        Ok(Answer::ok("Rename completed."))
    }

    pub(super) async fn subscribe(&mut self, mailbox: &Mailbox<'_>, on: bool) -> Outcome {
        let name = self.name(mailbox)?;
        let account = self.account()?;
        if on {
            let folders = account.folders().await.map_err(FolderError::Io)?;
            let wanted = name.strip_suffix('/').unwrap_or(&name);
            let is_there = folders.iter().any(|folder| {
                let known = folder.name.as_str();
                known == wanted || known == "INBOX" && wanted.eq_ignore_ascii_case("INBOX")
            });
            if !is_there {
                return Err(FolderError::NotFound.into());
            }
        }
        account.subscribe(&name, on).await?;
        Ok(Answer::ok("Completed."))
    }

    pub(super) async fn status(&mut self, command: CommandBody<'_>, limit: bool) -> Outcome {
        let CommandBody::Status {
            mailbox,
            item_names,
        } = command
        else {
            return Ok(Answer::bad("Not STATUS"));
        };
        let name = self.name(&mailbox)?;
        let append_limit = limit.then(|| self.append_limit());
        self.write_status(&name, &item_names, append_limit).await?;
        Ok(Answer::ok("Status completed."))
    }

    /// `* STATUS`, of one folder.
    pub(super) async fn write_status(
        &mut self,
        name: &str,
        items: &[StatusDataItemName],
        append_limit: Option<u64>,
    ) -> Result<(), super::Trouble> {
        let folder = self.account()?.folder(name).await?;
        folder.refresh().await.map_err(FolderError::Io)?;
        let (mut unseen, mut deleted, mut deleted_octets, mut octets) = (0_u64, 0_u64, 0, 0);
        folder.for_each(|entry| {
            octets += u64::from(entry.size);
            unseen += u64::from(!entry.flags.system.contains(System::SEEN));
            if entry.flags.system.contains(System::DELETED) {
                deleted += 1;
                deleted_octets += u64::from(entry.size);
            }
        });
        let recent = match &self.selected {
            // This session has been told, and nobody else will be.
            Some(selected) if selected.folder.uid_validity() == folder.uid_validity() => {
                selected.view.recent()
            }
            _ => folder.recent_from().map_or(0, |first| {
                let mut recent = 0;
                folder.for_each(|entry| recent += u32::from(entry.uid >= first));
                recent
            }),
        };
        let mut values = Vec::new();
        for item in items {
            values.push(match item {
                StatusDataItemName::Messages => format!("MESSAGES {}", folder.len()),
                StatusDataItemName::Recent => format!("RECENT {recent}"),
                StatusDataItemName::UidNext => format!("UIDNEXT {}", folder.uid_next()),
                StatusDataItemName::UidValidity => {
                    format!("UIDVALIDITY {}", folder.uid_validity())
                }
                StatusDataItemName::Unseen => format!("UNSEEN {unseen}"),
                StatusDataItemName::Deleted => format!("DELETED {deleted}"),
                StatusDataItemName::DeletedStorage => format!("DELETED-STORAGE {deleted_octets}"),
                StatusDataItemName::Size => format!("SIZE {octets}"),
                StatusDataItemName::HighestModSeq => {
                    // Whoever asks for it wants to hear of it (RFC 7162 §3.1).
                    self.enabled.condstore = true;
                    format!("HIGHESTMODSEQ {}", folder.highest_modseq().max(1))
                }
            });
        }
        if let Some(limit) = append_limit {
            values.push(format!("APPENDLIMIT {limit}"));
        }
        let name = self.written_name(name);
        self.out.extend_from_slice(b"* STATUS ");
        self.out.extend_from_slice(&name);
        self.line(&format!(" ({})", values.join(" ")));
        Ok(())
    }

    pub(super) async fn get_quota(&mut self, root: &[u8]) -> Outcome {
        let wrote = root.is_empty() && self.write_quota().await.map_err(FolderError::Io)?;
        Ok(if wrote {
            Answer::ok("Getquota completed.")
        } else {
            Answer::no("[NONEXISTENT] No such quota root.")
        })
    }

    /// There is one root for all folders, where there is a limit.
    pub(super) async fn get_quota_root(&mut self, mailbox: &Mailbox<'_>) -> Outcome {
        let name = self.name(mailbox)?;
        let is_limited = self.account()?.quota().limit != Limit::default();
        let name = self.written_name(&name);
        self.out.extend_from_slice(b"* QUOTAROOT ");
        self.out.extend_from_slice(&name);
        self.line(if is_limited { " \"\"" } else { "" });
        self.write_quota().await.map_err(FolderError::Io)?;
        Ok(Answer::ok("Getquotaroot completed."))
    }

    /// `* QUOTA`; false where there is no limit.
    async fn write_quota(&mut self) -> io::Result<bool> {
        let account = self.account()?;
        account.measure().await?;
        let quota = account.quota();
        let mut resources = Vec::new();
        if let Some(limit) = quota.limit.octets {
            let (used, limit) = (quota.octets.div_ceil(QUOTA_UNIT), limit / QUOTA_UNIT);
            resources.push(format!("STORAGE {used} {limit}"));
        }
        if let Some(limit) = quota.limit.messages {
            resources.push(format!("MESSAGE {} {limit}", quota.messages));
        }
        if !resources.is_empty() {
            self.line(&format!("* QUOTA \"\" ({})", resources.join(" ")));
        }
        Ok(!resources.is_empty())
    }
}

/// The use that a word names (RFC 6154 §2, RFC 8457).
pub(super) fn special_use(word: &str) -> Option<SpecialUse> {
    let mut known = SPECIAL_USES.iter();
    let found = known.find(|(name, _)| name.eq_ignore_ascii_case(word))?;
    Some(found.1)
}

/// The word for a use.
pub(super) fn use_word(meant: SpecialUse) -> &'static str {
    let found = SPECIAL_USES.iter().find(|(_, known)| *known == meant);
    found.map_or("", |(word, _)| word)
}

const SPECIAL_USES: [(&str, SpecialUse); 7] = [
    ("\\Archive", SpecialUse::Archive),
    ("\\Drafts", SpecialUse::Drafts),
    ("\\Flagged", SpecialUse::Flagged),
    ("\\Junk", SpecialUse::Junk),
    ("\\Sent", SpecialUse::Sent),
    ("\\Trash", SpecialUse::Trash),
    ("\\Important", SpecialUse::Important),
];

/// STORAGE counts in units of 1024 octets (RFC 9208 §5.1).
const QUOTA_UNIT: u64 = 1024;
