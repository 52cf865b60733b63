//! Small files of ours, outside of the spool and the mailboxes. Whoever reads one sees all of it, the
//! old or the new.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

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
}
