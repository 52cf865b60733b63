//! Taking over the logs of shards that no longer exist, because there are fewer cores now.
//!
//! A directory first gets the name of its heir, durably: `02` becomes `02.00`. A crash in the
//! middle leaves messages in both places, and whatever the number of shards is by then, nobody
//! but the heir may look for them there: another shard would send them a second time.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::shard::Shard;
use crate::spool;
use crate::world::World;

/// A directory of the spool, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// The shard whose log it is.
    of: usize,
    /// The shard that has begun to take it over.
    heir: Option<usize>,
}

impl<W: World> Shard<W> {
    /// Takes over what gone shards have left to this one.
    pub(super) async fn adopt(
        self: &Rc<Self>,
        root: &Path,
        number: usize,
        shards: usize,
    ) -> Result<(), String> {
        let names = self.world.list(root).await.unwrap_or_default();
        let left = names.iter().filter_map(|name| Left::parse(name));
        let mut left: Vec<Left> = left
            .filter(|left| !left.is_alive(shards) && left.falls_to(shards) == number)
            .collect();
        let directories = self.world.directories(root).await.unwrap_or_default();
        for left in &left {
            let name = left.name();
            if !directories.contains(&name) {
                // Of a log that was taken over the files are removed. Behind a link they may be
                // anybody's, and there may be mail.
                return Err(format!(
                    "{}: this is no directory, and has the name of a shard that no longer exists: a log behind it would be taken over and removed. Give it another name, or put the directory itself in its place",
                    root.join(name).display()
                ));
            }
        }
        // What was begun comes first: its name is the one that others may need.
        left.sort_by_key(|left| (left.heir != Some(number), left.of));
        for left in left {
            let heir = Some(number);
            let place = root.join(Left { heir, ..left }.name());
            let error = |error: &dyn std::fmt::Display| format!("{}: {error}", place.display());
            if left.heir != heir {
                let old = root.join(left.name());
                if left.heir.is_none() {
                    let of = u16::try_from(left.of).unwrap_or(u16::MAX);
                    let remembered = spool::remember_last_id(&self.world, &old, of).await;
                    remembered.map_err(|why| error(&why))?;
                }
                let renamed = self.world.rename(&old, &place).await;
                renamed.map_err(|why| error(&why))?;
                let synced = self.world.sync_directory(root).await;
                synced.map_err(|why| error(&why))?;
            }
            self.say(format_args!("spool: adopting {}", place.display()));
            let recovery = self.log.adopt(place.clone()).await;
            self.take_back(&recovery.map_err(|why| error(&why))?);
        }
        Ok(())
    }
}

impl Left {
    fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (of, heir) = match name.split_once('.') {
            Some((of, heir)) => (of, Some(shard_number(heir)?)),
            None => (name, None),
        };
        let of = shard_number(of)?;
        Some(Self { of, heir })
    }

    fn name(self) -> PathBuf {
        match self.heir {
            Some(heir) => format!("{:02}.{heir:02}", self.of).into(),
            None => format!("{:02}", self.of).into(),
        }
    }

    /// A running shard's own directory.
    fn is_alive(self, shards: usize) -> bool {
        self.heir.is_none() && self.of < shards
    }

    /// Who has to take it over. Whoever inherits from a gone heir inherits this with it.
    fn falls_to(self, shards: usize) -> usize {
        let owner = self.heir.unwrap_or(self.of);
        if owner < shards {
            owner
        } else {
            owner % shards.max(1)
        }
    }
}

fn shard_number(digits: &str) -> Option<usize> {
    let is_number = digits.len() >= 2 && digits.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_its_name() {
        for (name, of, heir) in [
            ("00", 0, None),
            ("07", 7, None),
            ("02.00", 2, Some(0)),
            ("113.12", 113, Some(12)),
        ] {
            let left = Left { of, heir };
            assert_eq!(Left::parse(&Path::new("/spool").join(name)), Some(left));
            assert_eq!(left.name(), Path::new(name));
        }
        for name in [
            "FORMAT",
            "1",
            "02.",
            "02.x",
            ".00",
            "02.00.damaged",
            "02.00.damaged-2",
            "2a",
        ] {
            assert_eq!(Left::parse(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn what_was_begun_stays_with_its_heir_or_the_heir_of_that() {
        let falls_to = |name: &str, shards| {
            let left = Left::parse(Path::new(name)).unwrap();
            (!left.is_alive(shards)).then(|| left.falls_to(shards))
        };
        assert_eq!(falls_to("01", 2), None);
        assert_eq!(falls_to("03", 2), Some(1));
        // Shard 3 is back, and may not have what shard 1 has begun to take over.
        assert_eq!(falls_to("03.01", 4), Some(1));
        assert_eq!(falls_to("05.03", 2), falls_to("03", 2));
    }
}
