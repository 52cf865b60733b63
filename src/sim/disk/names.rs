//! Names of files and directories, and what changes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Node;

#[derive(Clone)]
pub(super) enum Entry {
    Directory,
    File(Node),
}

#[derive(Clone)]
pub(super) enum Change {
    Put(PathBuf, Entry),
    Take(PathBuf),
    Move(PathBuf, PathBuf),
}

impl Change {
    /// Whose directory has to be synced for it: of a move, the new one.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Take(path) | Self::Move(_, path) => path,
        }
    }

    /// What the names in a directory change at.
    pub(super) fn places(&self) -> [Option<&Path>; 2] {
        match self {
            Self::Put(path, _) | Self::Take(path) => [Some(path), None],
            Self::Move(from, to) => [Some(from), Some(to)],
        }
    }

    /// The directory it happened in has another name now.
    pub(super) fn follow(&mut self, from: &Path, to: &Path) {
        match self {
            Self::Put(path, _) | Self::Take(path) => *path = moved(path, from, to),
            Self::Move(old, new) => {
                *old = moved(old, from, to);
                *new = moved(new, from, to);
            }
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Put(path, entry) => {
                names.insert(path.clone(), entry.clone());
            }
            Self::Take(path) => names.retain(|name, _| !name.starts_with(path)),
            Self::Move(from, to) => {
                let inside: Vec<PathBuf> = names
                    .keys()
                    .filter(|name| name.starts_with(from))
                    .cloned()
                    .collect();
                for name in inside {
                    if let Some(entry) = names.remove(&name) {
                        names.insert(moved(&name, from, to), entry);
                    }
                }
            }
        }
    }
}

/// What `path` is called when `from` is called `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.into(),
        Ok(rest) => to.join(rest),
        Err(_) => path.into(),
    }
}
