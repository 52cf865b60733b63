//! Names of messages: none is given out twice, on whatever shard and after whatever start.
//!
//! `seconds since 1970 [34] | shard [10] | count [20]`, and always larger than the shard's last
//! one, although clocks are set back. Headers of segments tell the next start of the last one. When
//! another shard takes a log over it leaves no header, so `NN.last` beside it tells the shard that
//! may once have that number again.

use std::path::{Path, PathBuf};

use super::layout::{self, OpenError};
use super::recover::{self, Recovery, Replay};
use crate::mail::envelope::{QUEUE_ID_SECONDS_AT, QueueId, SHARDS_MAX};
use crate::progress::Progress;
use crate::world::{self, File as _, Wall, World};

/// The name that follows `last` on this shard.
pub(super) fn following(last: u64, shard: u16, wall: Wall) -> u64 {
    let shard = shard_bits(shard);
    let seconds = wall.seconds().max(0).cast_unsigned();
    let earliest = (seconds << SECONDS_AT) | shard;
    let mut next = last + 1;
    if next & COUNT_MASK == 0 {
        // The count is used up: on with the next second.
        next = (((last >> SECONDS_AT) + 1) << SECONDS_AT) | shard;
    }
    next.max(earliest)
}

/// Was it given out by this shard?
pub(super) fn is_of(id: QueueId, shard: u16) -> bool {
    id.0 & SHARD_MASK == shard_bits(shard)
}

const fn shard_bits(shard: u16) -> u64 {
    ((shard as u64) << SHARD_AT) & SHARD_MASK
}

/// The last name given out by the shards that had the log in `directory` before, as far as their
/// logs are gone.
pub(super) async fn last_before<W: World>(world: &W, directory: &Path) -> Result<u64, OpenError> {
    let Some(path) = beside(directory) else {
        return Ok(0);
    };
    let file = match world.open(&path, false).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let octets = file.read_at(0, NAME_OCTETS_MAX).await?;
    let text = String::from_utf8_lossy(&octets);
    match text.trim_end().parse::<QueueId>() {
        Ok(QueueId(last)) => Ok(last),
        Err(()) => Err(OpenError::Io(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("{}: {text:?} is no queue id", path.display()),
        ))),
    }
}

/// Writes down the last name of the log in `directory`, `spool/NN`, before another shard takes it
/// over.
pub async fn remember_last_id<W: World>(
    world: &W,
    directory: &Path,
    shard: u16,
) -> Result<(), OpenError> {
    let Some(path) = beside(directory) else {
        return Ok(());
    };
    let files = layout::list(world, directory).await?;
    let (mut replay, mut recovery) = (Replay::default(), Recovery::default());
    let segments = &files.segments;
    let nobody = &Progress::default();
    let found = recover::recover(
        world,
        directory,
        segments,
        nobody,
        &mut replay,
        &mut recovery,
    )
    .await?;
    let replayed = replay.finish();
    let messages = replayed.messages.iter().map(|message| message.id);
    let known = messages.chain(replayed.settled.iter().copied());
    let newest = known.filter(|id| is_of(*id, shard)).map(|id| id.0).max();
    let before = last_before(world, directory).await?;
    let last = newest.unwrap_or(0).max(found.last_id).max(before);
    let text = format!("{}\n", QueueId(last));
    Ok(world::replace(world, &path, text.into_bytes()).await?)
}

fn beside(directory: &Path) -> Option<PathBuf> {
    let mut name = directory.file_name()?.to_owned();
    name.push(".last");
    Some(directory.with_file_name(name))
}

const SECONDS_AT: u32 = QUEUE_ID_SECONDS_AT;
const SHARD_AT: u32 = 20;
const SHARD_MASK: u64 = (SHARDS_MAX as u64 - 1) << SHARD_AT;
const COUNT_MASK: u64 = (1 << SHARD_AT) - 1;
const _: () = assert!(
    1 << (SECONDS_AT - SHARD_AT) == SHARDS_MAX,
    "an id has room for the number of every shard, and of no other"
);
/// More than a queue id and a line end.
const NAME_OCTETS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ascend_whatever_the_clock_says() {
        let at = |seconds: i64| Wall(seconds * 1_000_000);
        let first = following(0, 5, at(1000));
        assert_eq!(first, (1000 << 30) | (5 << 20));
        assert_eq!(following(first, 5, at(1000)), first + 1);
        assert_eq!(following(first, 5, at(900)), first + 1);
        assert_eq!(following(first + 7, 5, at(1001)), (1001 << 30) | (5 << 20));
        let last_of_second = (1000 << 30) | ((6 << 20) - 1);
        assert_eq!(
            following(last_of_second, 5, at(1000)),
            (1001 << 30) | (5 << 20)
        );
        for last in [first, last_of_second] {
            assert!(is_of(QueueId(following(last, 5, at(0))), 5));
            assert!(!is_of(QueueId(following(last, 5, at(0))), 6));
        }
    }
}
