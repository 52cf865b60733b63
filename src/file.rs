//! Small files of ours, outside of the spool and the mailboxes. Whoever reads one sees all of it, the
//! old or the new.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Why a secret cannot be used.
#[derive(Debug)]
pub enum NoSecret {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// Everybody on this machine can read it: it is a secret no more.
    Open,
}

/// Reads a file that must not be for everybody's eyes: those of its owner, and perhaps of its group.
/// The file that is looked at is the one that is read.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, NoSecret> {
    let mut file = File::open(path).map_err(NoSecret::Unreadable)?;
    let data = file.metadata().map_err(NoSecret::Unreadable)?;
    if data.permissions().mode() & OTHERS != 0 {
        return Err(NoSecret::Open);
    }
    let mut octets = Vec::new();
    file.read_to_end(&mut octets)
        .map_err(NoSecret::Unreadable)?;
    Ok(octets)
}

/// Puts `octets` in the place of what is there, for its owner alone to read; on return they are on
/// stable storage. Its directory is made where there is none.
pub fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let home = path.parent().filter(|home| !home.as_os_str().is_empty());
    if let Some(home) = home {
        DirBuilder::new().recursive(true).mode(0o700).create(home)?;
    }
    let draft = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    // A draft that somebody left here has a mode of its own.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(home.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// What others than owner and group may do with a file.
const OTHERS: u32 = 0o007;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_no_draft_stays_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/own.pem");
        replace(&path, b"a longer text").unwrap();
        fs::write(path.with_extension("new"), "cut off by a crash, and long").unwrap();
        replace(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let home = path.parent().unwrap();
        assert_eq!(
            fs::metadata(home).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(fs::read_dir(home).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.toml");
        replace(&path, b"old").unwrap();
        fs::create_dir(path.with_extension("new")).unwrap();
        replace(&path, b"new").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_secret_is_read_unless_everybody_can() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        assert!(matches!(read_secret(&path), Err(NoSecret::Unreadable(_))));
        fs::write(&path, "secret").unwrap();
        for (mode, is_read) in [(0o600, true), (0o640, true), (0o604, false), (0o602, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match read_secret(&path) {
                Ok(octets) => assert!(is_read && octets == b"secret", "{mode:o}"),
                Err(why) => assert!(!is_read && matches!(why, NoSecret::Open), "{mode:o}"),
            }
        }
    }
}
