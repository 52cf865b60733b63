//! What the service manager is told (sd_notify(3)): ready, reloading, ending, and while it runs
//! that every shard goes round. Without one (`NOTIFY_SOCKET` is unset) nobody is told.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use socket2::Socket;

use crate::uring::given::kept_name;

/// The service manager that started the process, if one did.
pub(super) struct Manager {
    /// How often it wants to hear that all is well.
    watched: Option<Duration>,
    /// How far each shard was when it was told last.
    beats: Vec<u64>,
    /// What it was told last of long work, and when.
    said: Option<(String, Instant)>,
    /// There is one that wants to be told.
    is_there: bool,
    /// The listening sockets, or some of them, are its own. It need not want to be told.
    gives: bool,
}

impl Manager {
    /// `gives`: it has passed sockets.
    pub(super) fn of_environment(gives: bool) -> Self {
        Self {
            // Half of the time after which it ends us: sd_watchdog_enabled(3).
            watched: sd_notify::watchdog_enabled().map(|time| time / 2),
            beats: Vec::new(),
            said: None,
            is_there: std::env::var_os("NOTIFY_SOCKET").is_some(),
            gives,
        }
    }

    /// The logs are being read, which for millions of messages takes longer than a start may.
    pub(super) fn starting(&mut self, words: String) {
        if self.is_news(&words) {
            let more = u32::try_from(2 * START_PAUSE.as_micros()).unwrap_or(u32::MAX);
            tell(&[
                NotifyState::ExtendTimeoutUsec(more),
                NotifyState::Status(&words),
            ]);
        }
    }

    /// Whether it was told other words last, or these long ago.
    fn is_news(&mut self, words: &str) -> bool {
        let now = Instant::now();
        let is_known = self.said.as_ref().is_some_and(|(said, at)| {
            let since = now.saturating_duration_since(*at);
            since < SAID_PAUSE || said == words && since < START_PAUSE
        });
        if !is_known {
            self.said = Some((words.to_owned(), now));
        }
        !is_known
    }

    pub(super) fn ready(&self, shards: usize) {
        let words = format!("{shards} shards take and deliver mail");
        tell(&[NotifyState::Ready, NotifyState::Status(&words)]);
    }

    pub(super) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn ending(&self, within: Duration) {
        let more = u32::try_from((within + LAST_SYNC).as_micros()).unwrap_or(u32::MAX);
        tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(more),
            NotifyState::Status("transactions in progress go on"),
        ]);
    }

    /// Whether somebody may go on with our listening sockets when we have ended. Whether the manager does
    /// (`FileDescriptorStoreMax=`), it does not say; where it does not, it closes them after us.
    pub(super) fn keeps_sockets(&self) -> bool {
        self.is_there || self.gives
    }

    /// Has the sockets kept for the next start, and those let go of that were kept for an address that is
    /// not listened on any more.
    pub(super) fn keep(&self, sockets: &[(SocketAddr, Socket)], gone: &[SocketAddr]) {
        if !self.is_there {
            return;
        }
        for asked in gone {
            let name = kept_name(*asked);
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
        }
        for (asked, socket) in sockets {
            let name = kept_name(*asked);
            let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
            // Not kept, it is bound anew.
            let _ = sd_notify::notify_with_fds(&states, &[socket.as_fd()]);
        }
    }

    /// How far the end has come.
    pub(super) fn leaving(&mut self, words: String) {
        if self.is_news(&words) {
            tell(&[NotifyState::Status(&words)]);
        }
    }

    /// How long whoever has nothing to do may wait: at most `otherwise`.
    pub(super) fn pause(&self, otherwise: Duration) -> Duration {
        self.watched
            .map_or(otherwise, |watched| watched.min(otherwise))
    }

    /// Says that all is well, when each of the `beats` has gone on since this was said last. A
    /// shard that hangs makes it silent, and then the manager starts the relay again.
    pub(super) fn look(&mut self, beats: Vec<u64>) {
        if self.watched.is_none() {
            return;
        }
        let goes_on = |(shard, beat): (usize, &u64)| self.beats.get(shard) != Some(beat);
        if beats.iter().enumerate().all(goes_on) {
            self.beats = beats;
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// A manager that does not hear us is no reason not to take mail.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// What the end takes beyond the last transaction.
const LAST_SYNC: Duration = Duration::from_secs(5);
/// How often a start that takes long is told of, although nothing is new.
const START_PAUSE: Duration = Duration::from_secs(10);
/// How often at the most.
const SAID_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_said_once_and_other_words_once_a_second() {
        let mut manager = Manager::of_environment(false);
        assert!(manager.is_news("a"));
        assert!(!manager.is_news("a") && !manager.is_news("b"));
        let long_ago = |words: &str, since| {
            let at = Instant::now().checked_sub(since)?;
            Some((words.to_owned(), at))
        };
        manager.said = long_ago("b", SAID_PAUSE);
        assert!(!manager.is_news("b"));
        assert!(manager.is_news("c"));
        manager.said = long_ago("c", START_PAUSE);
        assert!(manager.is_news("c"));
    }
}
