//! Where the relay stands: its data directory, and the ports that it listens on, its own or somebody's before it.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use socket2::Socket;

use super::handover::{self, Desks, Estate, Legacy, Point, Predecessor};
use super::manager::Manager;
use super::{EX_CANTCREAT, EX_TEMPFAIL, os_error, refused};
use crate::config::Config;
use crate::observe::log::{Level, Log};
use crate::uring::given::Given;
use crate::uring::start::{self, Refused, Sockets};

/// From whom the relay takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// From nobody: a relay that runs there is a reason not to start.
    Free,
    /// From the relay that runs there, if one does.
    Over,
}

/// A place that may still be another's.
pub(super) struct Site {
    lock: File,
    ground: Ground,
}

/// What there is to work with.
pub(super) struct Ground {
    pub(super) sockets: Sockets,
    pub(super) control: Option<(TcpListener, SocketAddr)>,
    pub(super) succession: Succession,
}

/// What whoever comes next can have of it.
pub(super) struct Succession {
    /// Who waits to hear that this one serves.
    predecessor: Option<Predecessor>,
    /// Where the next process can ask, where the file system has room for such a place.
    point: io::Result<Point>,
    estate: Estate,
    /// Addresses that were listened on before, and are not wanted any more.
    gone: Vec<SocketAddr>,
}

impl Succession {
    /// This relay serves: whoever it has taken over from may go, the service manager has the sockets, and the
    /// next process can take them over.
    pub(super) fn begin(self, manager: &Manager, words: Desks, log: Log) -> Result<(), Refused> {
        manager.keep(&self.estate.listening, &self.gone);
        if let Some(predecessor) = self.predecessor {
            predecessor.tell_ready();
        }
        let point = match self.point {
            Ok(point) => point,
            Err(error) => {
                // Some file systems have no sockets. Mail comes and goes all the same.
                let words = format_args!(
                    "no other relay can take over from this one: no socket can be made in the data directory: {error}"
                );
                log.say(Level::Warn, words);
                return Ok(());
            }
        };
        let attending = point.attend(self.estate, words, log);
        attending.map_err(|error| os_error(format!("cannot start a thread: {error}")))
    }
}

impl Site {
    /// Finds the data directory and opens what it listens on for so many shards, all of it while the
    /// process may still do so. Nothing that a relay which runs there has is touched.
    pub(super) fn take(
        config: &mut Config,
        shards: usize,
        mut given: Given,
        taking: Taking,
    ) -> Result<Self, Refused> {
        let (lock, is_ours) = lock(&config.data_dir, taking)?;
        // glommio opens files relative to no directory: paths must be absolute.
        config.data_dir = std::fs::canonicalize(&config.data_dir)
            .map_err(|error| os_error(format!("{}: {error}", config.data_dir.display())))?;
        config.hostname = Some(config.hostname());
        let (mut predecessor, mut old_control) = (None, None);
        if !is_ours {
            let legacy: Legacy = handover::ask(&config.data_dir)?;
            (predecessor, old_control) = (Some(legacy.predecessor), legacy.control);
            given.join(legacy.given);
        }
        let listeners = config.listener.iter();
        let addresses: Vec<SocketAddr> = listeners
            .flat_map(|listener| listener.bind.iter().copied())
            .collect();
        let sockets = start::bind(&addresses, shards, &mut given)?;
        let gone = given.rest()?;
        let old_control = old_control.filter(|(asked, _)| Some(*asked) == config.control.bind);
        let control = match old_control {
            Some((asked, socket)) => Some((asked, TcpListener::from(socket))),
            None => match config.control.bind {
                Some(at) => Some((at, bind_control(at)?)),
                None => None,
            },
        };
        let cannot = |error| os_error(format!("sockets cannot be kept for later: {error}"));
        let point = Point::open(&config.data_dir);
        let double = |(asked, listener): &(SocketAddr, TcpListener)| {
            Ok((*asked, Socket::from(listener.try_clone()?)))
        };
        let estate = Estate {
            listening: sockets.doubles().map_err(cannot)?,
            control: control.as_ref().map(double).transpose().map_err(cannot)?,
            drain: config.process.drain,
        };
        let at = |(_, listener): (SocketAddr, TcpListener)| {
            let at = listener.local_addr()?;
            Ok((listener, at))
        };
        let control = control.map(at).transpose().map_err(cannot)?;
        Ok(Self {
            lock,
            ground: Ground {
                sockets,
                control,
                succession: Succession {
                    predecessor,
                    point,
                    estate,
                    gone,
                },
            },
        })
    }

    /// Makes it this process's own, and waits for that if need be: everything else is ready.
    pub(super) fn possess(
        self,
        config: &Config,
        manager: &mut Manager,
    ) -> Result<(File, Ground), Refused> {
        self.ground
            .sockets
            .open()
            .map_err(|error| os_error(format!("sockets cannot be listened on: {error}")))?;
        if let Some(predecessor) = &self.ground.succession.predecessor {
            manager.starting("the relay that runs ends its transactions".to_owned());
            predecessor.ends(&self.lock)?;
        }
        handover::tidy(&config.data_dir);
        Ok((self.lock, self.ground))
    }
}

fn bind_control(at: SocketAddr) -> Result<TcpListener, Refused> {
    let bound = TcpListener::bind(at);
    bound.map_err(|error| {
        os_error(format!(
            "cannot listen on {at} for the control plane: {error}; set another [control] bind"
        ))
    })
}

/// The data directory is this process's alone: two relays on one spool would lose mail. False: it is still the
/// one's that is taken over from.
fn lock(data: &Path, taking: Taking) -> Result<(File, bool), Refused> {
    let place = data.display();
    // Mail is for nobody else's eyes.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| {
        let why = format!("cannot make the data directory {place}: {error}; set data_dir to a place this user may write to");
        refused(why, EX_CANTCREAT)
    })?;
    let path = data.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(|error| {
        let why = format!("cannot write to the data directory {place}: {error}; set data_dir to a place this user may write to");
        refused(why, EX_CANTCREAT)
    })?;
    let locked = match (file.try_lock(), taking) {
        // Somebody may only have looked whether it is free.
        (Err(TryLockError::WouldBlock), Taking::Free) => {
            std::thread::park_timeout(LOCK_LOOK);
            file.try_lock()
        }
        (locked, _) => locked,
    };
    match locked {
        Ok(()) => Ok((file, true)),
        Err(TryLockError::WouldBlock) if taking == Taking::Over => Ok((file, false)),
        Err(TryLockError::WouldBlock) => Err(refused(
            format!(
                "the data directory {place} is in use by another ringpost: stop it, take over from it (`ringpost serve --take-over`), or set another data_dir"
            ),
            EX_TEMPFAIL,
        )),
        Err(TryLockError::Error(error)) => {
            Err(os_error(format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// Under the data directory: who has it locked has all of it.
pub(crate) const LOCK: &str = "lock";
/// Longer than whoever looks has it.
const LOCK_LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// So is FUSE, and so are some file systems of virtual machines.
    #[test]
    fn a_data_directory_that_takes_no_socket_is_no_reason_not_to_start() {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: data.path().to_owned(),
            ..Config::default()
        };
        config.listener.clear();
        config.control.bind = None;
        let name = format!("handover.{}", std::process::id());
        std::fs::create_dir(data.path().join(name)).unwrap();
        let site = Site::take(&mut config, 1, Given::default(), Taking::Free).unwrap();
        assert!(site.ground.succession.point.is_err());
    }
}
