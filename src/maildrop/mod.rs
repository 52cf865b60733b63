//! Mail of this machine's own programs: handed to the relay over SMTP, or left in a directory until
//! the relay runs.
//!
//! ```text
//! sendmail ─► submit ──────────────────────► a listener of the relay ─► 250
//!                └ nobody answers ─► maildrop/ID.mail ─► pickup ─┘
//! ```
//!
//! A file is there whole or not at all: it is written under another name, synced and renamed. It is
//! removed after the relay's 250, so that a crash in between can repeat a message and cannot lose it.

mod pickup;
mod submit;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Protocol};
use crate::file;
use crate::mail::envelope::{Notify, Ret};

pub use pickup::Pickup;
pub use submit::{Answer, submit};

/// A message and its envelope, as `sendmail` was given them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// To whom and from whom.
    pub envelope: Envelope,
    /// Header and body with CRLF line ends, no dots doubled.
    pub content: Vec<u8>,
}

/// The envelope of a [`Submission`], and the first line of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Whom reports go to; empty for nobody.
    pub from: String,
    /// `local-part@domain` each.
    pub to: Vec<String>,
    /// `NOTIFY=`: `never`, or some of `success`, `failure`, `delay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<String>>,
    /// `RET=`: `full` or `hdrs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// `ENVID=`: xtext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
}

impl Envelope {
    fn notify(&self) -> Option<Notify> {
        let words = self.notify.as_ref()?;
        let has = |word: &str| words.iter().any(|one| one.eq_ignore_ascii_case(word));
        Some(Notify {
            success: has("success"),
            failure: has("failure"),
            delay: has("delay"),
        })
    }

    fn ret(&self) -> Option<Ret> {
        match self.ret.as_deref()? {
            word if word.eq_ignore_ascii_case("full") => Some(Ret::Full),
            word if word.eq_ignore_ascii_case("hdrs") => Some(Ret::Headers),
            _ => None,
        }
    }
}

impl Submission {
    /// Leaves the message in `directory` under `name`; on return it is on stable storage.
    pub fn leave(&self, directory: &Path, name: &str) -> io::Result<PathBuf> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        as_above(directory)?;
        let draft = directory.join(format!("{name}{DRAFT}"));
        let place = directory.join(format!("{name}{WHOLE}"));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        let mut head = serde_json::to_vec(&self.envelope).map_err(io::Error::other)?;
        head.push(b'\n');
        let written = file
            .write_all(&head)
            .and_then(|()| file.write_all(&self.content))
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a message is of no use to anybody.
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        as_above(&draft)?;
        fs::rename(&draft, &place)?;
        File::open(directory)?.sync_all()?;
        Ok(place)
    }

    /// Reads a file that [`Submission::leave`] wrote.
    pub fn read(path: &Path) -> io::Result<Self> {
        let octets = file::read(path)?;
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let end = memchr::memchr(b'\n', &octets).ok_or_else(|| bad("it has no envelope"))?;
        let envelope = serde_json::from_slice(&octets[..end])
            .map_err(|error| bad(&format!("its envelope cannot be read: {error}")))?;
        Ok(Self {
            envelope,
            content: octets[end + 1..].to_vec(),
        })
    }
}

/// Gives what was made to the owner of the directory it is in: root may leave mail for a relay that runs as
/// somebody else.
fn as_above(made: &Path) -> io::Result<()> {
    let Some(home) = made.parent().filter(|home| !home.as_os_str().is_empty()) else {
        return Ok(());
    };
    let (above, own) = (fs::metadata(home)?, fs::metadata(made)?);
    if above.uid() == own.uid() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(made, Some(above.uid()), Some(above.gid()))
}

/// The listener that takes mail of this machine's programs: the first that speaks SMTP in plain.
#[must_use]
pub fn door(config: &Config) -> Option<SocketAddr> {
    let fits = |listener: &&crate::config::Listener| {
        listener.protocol == Protocol::Smtp && !listener.proxy_protocol
    };
    let listener = config.listener.iter().find(fits)?;
    let mut at = *listener.bind.first()?;
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(at)
}

/// The directory below `data_dir`.
pub const DIRECTORY: &str = "maildrop";
/// How the name of a file ends while it is written.
const DRAFT: &str = ".draft";
/// How it ends when it is whole.
const WHOLE: &str = ".mail";
/// How it ends when the relay will not have it.
const REFUSED: &str = ".refused";
/// How it ends when the relay has panicked over it.
const BAD: &str = ".bad";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_back() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("maildrop");
        let submission = Submission {
            envelope: Envelope {
                from: "a@c.test".to_owned(),
                to: vec!["b@d.test".to_owned(), "\"x y\"@d.test".to_owned()],
                notify: Some(vec!["never".to_owned()]),
                ret: Some("hdrs".to_owned()),
                envid: None,
            },
            content: b"Subject: x\r\n\r\n{\"no\": \"envelope\"}\r\n".to_vec(),
        };
        let place = submission.leave(&directory, "1").unwrap();
        assert_eq!(Submission::read(&place).unwrap(), submission);
        let names: Vec<_> = fs::read_dir(&directory).unwrap().collect();
        assert_eq!(names.len(), 1, "the draft is gone");
        assert!(submission.leave(&directory, "1").is_ok());
        let notify = submission.envelope.notify().unwrap();
        assert!(!notify.success && !notify.failure && !notify.delay);
        assert_eq!(submission.envelope.ret(), Some(Ret::Headers));
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        for octets in [&b""[..], b"no line", b"{}\nx", b"[1]\nx"] {
            let path = home.path().join("x.mail");
            fs::write(&path, octets).unwrap();
            let error = Submission::read(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{octets:?}");
        }
    }
}
