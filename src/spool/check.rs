//! Looks through a spool without changing it: `ringpost spool check`.

use std::collections::HashSet;
use std::path::Path;

use super::layout::{self, OpenError};
use super::recover::{self, Recovery, Replay};
use crate::mail::envelope::QueueId;
use crate::progress::Progress;
use crate::world::{File as _, World};

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Directories of shards.
    pub shards: u32,
    /// Segments.
    pub segments: u32,
    /// Records with a right checksum.
    pub records: u64,
    /// Messages that are not settled.
    pub messages: u64,
    /// Octets of writes that a crash cut off. They were never acknowledged.
    pub torn_octets: u64,
    /// What should not be.
    pub damage: Vec<String>,
}

/// Reads every segment of the spool under `data`, counted in `progress`.
pub async fn check<W: World>(
    world: &W,
    data: &Path,
    progress: &Progress,
) -> Result<CheckReport, OpenError> {
    let root = data.join("spool");
    layout::verify(world, &root).await?;
    let mut shards = Vec::new();
    for name in world.list(&root).await? {
        let directory = root.join(&name);
        let is_shard = directory
            .file_name()
            .and_then(|name| name.to_str())
            // `02`, or `02.00` while another shard takes it over.
            .is_some_and(|name| {
                let mut octets = name.bytes();
                octets.all(|octet| octet.is_ascii_digit() || octet == b'.')
            });
        if !is_shard {
            continue;
        }
        let files = layout::list(world, &directory).await?;
        progress.expect(files.segments.len());
        shards.push((directory, files));
    }
    let mut report = CheckReport::default();
    for (directory, files) in shards {
        let (mut replay, mut recovery) = (Replay::default(), Recovery::default());
        recover::recover(
            world,
            &directory,
            &files.segments,
            progress,
            &mut replay,
            &mut recovery,
        )
        .await?;
        recovery.messages = replay.finish().messages;
        match_extents(world, &directory, &files.extents, &mut recovery).await?;
        report.shards += 1;
        report.segments += recovery.segments;
        report.records += recovery.records;
        report.messages += recovery.messages.len() as u64;
        report.torn_octets += recovery.torn_octets;
        report.damage.append(&mut recovery.damage);
    }
    Ok(report)
}

/// Takes messages whose content is not there out of what was recovered, and says so.
pub(super) async fn match_extents<W: World>(
    world: &W,
    directory: &Path,
    extents: &[QueueId],
    recovery: &mut Recovery,
) -> Result<HashSet<QueueId>, OpenError> {
    let present: HashSet<&QueueId> = extents.iter().collect();
    let mut lost = HashSet::new();
    for message in &recovery.messages {
        let Some(len) = message.extent else { continue };
        let path = layout::extent(directory, message.id);
        let there = if present.contains(&message.id) {
            world.open(&path, false).await?.len().await?
        } else {
            0
        };
        if there < len {
            let why = format!(
                "{}: {there} octets of {len}; message {} cannot be delivered",
                path.display(),
                message.id
            );
            recovery.damage.push(why);
            lost.insert(message.id);
        }
    }
    recovery
        .messages
        .retain(|message| !lost.contains(&message.id));
    Ok(lost)
}
