//! When the relay gives up what, and who keeps what is needed for a reload.

use std::sync::mpsc;
use std::thread::JoinHandle;

use super::reload::Current;
use super::{EX_OSERR, refused};
use crate::config::Config;
use crate::confine::{self, Places, Wall};
use crate::observe::log::Level;
use crate::uring::start::Refused;

/// What stands so far around the threads that are started from now on.
pub(super) struct Walls {
    wanted: bool,
    writes: Option<Wall>,
    reads: Option<Wall>,
    /// Why capabilities are still held.
    held: Option<String>,
}

impl Walls {
    /// Once the ports are bound: no capabilities and no new ones, writing below the data directory
    /// alone.
    pub(super) fn raise(config: &Config) -> Self {
        let wanted = config.process.confine;
        // Whom the configuration names has left root behind, wanted or not.
        let leaves = !confine::is_root() && (wanted || config.process.user.is_some());
        let held = leaves.then(confine::give_up).and_then(Result::err);
        Self {
            wanted,
            writes: wanted.then(|| confine::writes(&Places::of(config))),
            reads: None,
            held: held.map(|error| error.to_string()),
        }
    }

    /// Once all files are read, and the keeper is there: reading below the data directory alone.
    pub(super) fn close(self, config: &Config) -> Self {
        let reads = self.wanted.then(|| confine::reads(&Places::of(config)));
        Self { reads, ..self }
    }

    /// Says what does not stand.
    pub(super) fn tell(&self, Current { rules, log, .. }: &Current) {
        if confine::is_root() && rules.config.process.user.is_none() {
            log.say(
                Level::Warn,
                format_args!(
                    "running as root: set [process] user, and it is root only to bind its ports"
                ),
            );
        }
        if let Some(why) = &self.held {
            log.say(
                Level::Warn,
                format_args!("[process] confine: capabilities cannot be given up: {why}"),
            );
        }
        let walls = [("writing", &self.writes), ("reading", &self.reads)];
        for (what, wall) in walls {
            let level = match wall {
                None | Some(Wall::Whole) => continue,
                Some(Wall::Part) => Level::Info,
                Some(Wall::None(_)) => Level::Warn,
            };
            if let Some(wall) = wall {
                log.say(
                    level,
                    format_args!("[process] confine: the wall around {what} is {wall}"),
                );
            }
        }
    }
}

/// The thread that reads anew what the configuration names, wherever that is by then. It stays outside of
/// the wall around reading, so it is there before that.
pub(super) struct Keeper {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start() -> Result<Self, Refused> {
        let (work, receive) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let keeping = move || {
            // A start that fails has nothing for it.
            if let Ok(work) = receive.recv() {
                work();
            }
        };
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(keeping)
            .map_err(|error| refused(format!("cannot start a thread: {error}"), EX_OSERR))?;
        Ok(Self { work, thread })
    }

    /// Has it do this, and waits until that is done.
    pub(super) fn keep(self, work: impl FnOnce() + Send + 'static) {
        // Its thread waits for it, and ends before the process does.
        let _ = self.work.send(Box::new(work));
        let _ = self.thread.join();
    }
}
