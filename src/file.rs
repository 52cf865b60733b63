//! Small files outside of the spool and the mailboxes: ours, and those that the configuration names.
//! Whoever reads one sees all of it, the old or the new.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Why a secret cannot be used.
#[derive(Debug)]
pub enum NoSecret {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// Everybody on this machine can read it: it is a secret no more.
    Open,
}

/// Opens a regular file to read it. Whoever opens a pipe waits for its writer without end, a socket
/// cannot be opened, and some devices never end: none of them is waited for.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.read(true).custom_flags(NO_WAIT).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is no regular file",
        ))
    }
}

/// Reads a regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    open(path)?.read_to_end(&mut octets)?;
    Ok(octets)
}

/// Reads a regular file of text.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Reads a file that must not be for everybody's eyes: those of its owner, and perhaps of its group.
/// The file that is looked at is the one that is read.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, NoSecret> {
    let mut file = open(path).map_err(NoSecret::Unreadable)?;
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
    let written = file
        .set_permissions(Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(octets))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // On a full disk it would be in the way.
        let _ = fs::remove_file(&draft);
        return written;
    }
    File::open(home.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// What others than owner and group may do with a file.
const OTHERS: u32 = 0o007;
/// Opening waits for nobody. Of a regular file it changes nothing.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits().cast_signed();

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
    fn a_draft_that_cannot_be_written_does_not_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.toml");
        let draft = path.with_extension("new");
        // Nothing can take the place of a directory.
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert!(!draft.exists());
    }

    #[test]
    fn nobody_waits_for_what_is_no_regular_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("users.toml");
        let socket = home.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for odd in [&path, &link, &socket, home.path(), Path::new("/dev/zero")] {
            open(odd).unwrap_err();
            read(odd).unwrap_err();
            read_text(odd).unwrap_err();
            assert!(matches!(read_secret(odd), Err(NoSecret::Unreadable(_))));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file, and a link to it").unwrap();
        for good in [&path, &link] {
            assert_eq!(read_text(good).unwrap().as_bytes(), read(good).unwrap());
            assert_eq!(read(good).unwrap(), b"a file, and a link to it");
        }
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
