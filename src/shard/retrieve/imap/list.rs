//! LIST with its options (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154), and LSUB.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};

use super::folders::use_word;
use super::{Answer, Outcome, Visit};
use crate::imap::pattern::Pattern;
use crate::imap::read::{Listing, mailbox_octets};
use crate::mailbox::{FolderError, FolderInfo};
use crate::world::World;

/// A line of the answer.
struct Row {
    name: String,
    attributes: Vec<&'static str>,
    /// It is there for what lies below it and was asked for.
    child_info: bool,
    is_selectable: bool,
}

impl<W: World> Visit<'_, W> {
    pub(super) async fn list(&mut self, listing: Listing) -> Outcome {
        if listing.patterns.iter().all(Vec::is_empty) && !listing.extended {
            self.line("* LIST (\\Noselect) \"/\" \"\"");
            return Ok(Answer::ok("List completed."));
        }
        let patterns = self.patterns(&listing.reference, &listing.patterns)?;
        let account = self.account()?;
        let folders = account.folders().await.map_err(FolderError::Io)?;
        let subscribed = account.subscriptions().await.map_err(FolderError::Io)?;
        let folder_names = folders.iter().map(|folder| folder.name.as_str());
        let names = folder_names.chain(subscribed.iter().map(|name| &**name));
        let mut meant = BTreeSet::new();
        for name in names {
            if patterns.iter().any(|pattern| pattern.matches(name)) {
                meant.insert(name);
            }
            self.shard.world.breathe().await;
        }
        let rows = rows(&listing, &meant, &folders, &subscribed);
        for row in rows {
            let name = self.written_name(&row.name);
            self.out.extend_from_slice(
                format!("* LIST ({}) \"/\" ", row.attributes.join(" ")).as_bytes(),
            );
            self.out.extend_from_slice(&name);
            self.line(if row.child_info {
                " (\"CHILDINFO\" (\"SUBSCRIBED\"))"
            } else {
                ""
            });
            if let Some(items) = &listing.status
                && row.is_selectable
            {
                match self.write_status(&row.name, items, None).await {
                    // Deleted meanwhile.
                    Ok(()) | Err(super::Trouble::Folder(FolderError::NotFound)) => {}
                    Err(trouble) => return Err(trouble),
                }
            }
            self.relieve().await?;
        }
        Ok(Answer::ok("List completed."))
    }

    /// LSUB (RFC 3501 §6.3.9): names subscribed to; with `%`, those above them.
    pub(super) async fn lsub(
        &mut self,
        reference: &Mailbox<'_>,
        pattern: &ListMailbox<'_>,
    ) -> Outcome {
        let pattern = match pattern {
            ListMailbox::Token(token) => token.as_ref().to_vec(),
            ListMailbox::String(string) => string.as_ref().to_vec(),
        };
        let patterns = self.patterns(&mailbox_octets(reference), &[pattern])?;
        let account = self.account()?;
        let subscribed = account.subscriptions().await.map_err(FolderError::Io)?;
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        let is_match = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        for name in &subscribed {
            self.shard.world.breathe().await;
            if is_match(name) {
                found.insert(name, "");
                continue;
            }
            // `*` reaches the name itself, and what is above it is none of the client's.
            for (at, _) in name
                .match_indices('/')
                .filter(|(at, _)| is_match(&name[..*at]))
            {
                found.entry(&name[..at]).or_insert("\\Noselect");
            }
        }
        // What matches itself needs no word about what lies below.
        for (name, attribute) in found {
            let name = self.written_name(name);
            self.out
                .extend_from_slice(format!("* LSUB ({attribute}) \"/\" ").as_bytes());
            self.out.extend_from_slice(&name);
            self.line("");
        }
        Ok(Answer::ok("Lsub completed."))
    }

    /// Whole patterns, as users see names.
    fn patterns(
        &self,
        reference: &[u8],
        patterns: &[Vec<u8>],
    ) -> Result<Vec<Pattern>, FolderError> {
        let reference = self.decoded_name(reference)?;
        let whole = |pattern: &Vec<u8>| {
            let pattern = self.decoded_name(pattern)?;
            Ok(match pattern.strip_prefix('/') {
                Some(absolute) => Pattern::new(absolute),
                None => Pattern::new(&format!("{reference}{pattern}")),
            })
        };
        patterns.iter().map(whole).collect()
    }
}

/// `meant`: the names that match.
fn rows(
    listing: &Listing,
    meant: &BTreeSet<&str>,
    folders: &[FolderInfo],
    subscribed: &BTreeSet<String>,
) -> Vec<Row> {
    let is_match = |name: &str| meant.contains(name);
    let mut rows = Vec::new();
    for folder in folders {
        let name = folder.name.as_str();
        if !is_match(name) {
            continue;
        }
        let is_selected = (!listing.subscribed || folder.is_subscribed)
            && (!listing.special_use || folder.special_use.is_some());
        // RECURSIVEMATCH: parents of what is asked for, where the patterns do not reach that.
        let prefix = format!("{name}/");
        let has_below =
            listing.recursive && below(subscribed, &prefix).any(|other| !is_match(other));
        if is_selected || has_below {
            rows.push(row(listing, folder, has_below));
        }
    }
    if listing.subscribed && !listing.special_use {
        let there: BTreeSet<&str> = folders.iter().map(|folder| folder.name.as_str()).collect();
        for name in subscribed.iter().filter(|name| is_match(name)) {
            if !there.contains(&**name) {
                rows.push(Row {
                    name: name.clone(),
                    attributes: vec!["\\NonExistent", "\\Subscribed"],
                    child_info: false,
                    is_selectable: false,
                });
            }
        }
    }
    rows
}

/// Those that begin with `prefix`.
fn below<'a>(names: &'a BTreeSet<String>, prefix: &'a str) -> impl Iterator<Item = &'a String> {
    let from = names.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
    from.take_while(move |name| name.starts_with(prefix))
}

fn row(listing: &Listing, folder: &FolderInfo, child_info: bool) -> Row {
    let mut attributes = Vec::new();
    if !folder.is_selectable {
        attributes.push(if listing.extended {
            "\\NonExistent"
        } else {
            "\\Noselect"
        });
    }
    attributes.push(if folder.has_children {
        "\\HasChildren"
    } else {
        "\\HasNoChildren"
    });
    if folder.is_subscribed && (listing.subscribed || listing.return_subscribed) {
        attributes.push("\\Subscribed");
    }
    let says_use = !listing.extended || listing.special_use || listing.return_special_use;
    if let Some(meant) = folder.special_use
        && says_use
    {
        attributes.push(use_word(meant));
    }
    Row {
        name: folder.name.as_str().to_owned(),
        attributes,
        child_info,
        is_selectable: folder.is_selectable,
    }
}
