//! What the thread that reads the configuration does while the relay runs: it does what the relay is told by
//! signals, the control plane and the process that takes over, looks whether files have changed, looks at
//! configurations for the control plane, and tells how far the end has come.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_channel::oneshot;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::certificates::Seen as Files;
use super::manager::Manager;
use super::reload::Current;
use super::{os_error, tell_all};
use crate::config::{self, Fault};
use crate::control::house::{Check, Reloaded};
use crate::maildrop::Pickup;
use crate::observe::log::Level;
use crate::progress::{self, Meter, Seen};
use crate::shard::mesh::{Ending, Letter};
use crate::uring::start::Refused;

/// One thing that it is told.
pub(super) enum Word {
    /// Read the configuration anew; what came of it, to whoever wants to know.
    Reload(Option<oneshot::Sender<Reloaded>>),
    /// Look at a configuration.
    Check(String, oneshot::Sender<Vec<Fault>>),
    /// End. Transactions in progress may take so long, or what the configuration says.
    Drain(Option<Duration>),
    /// End, and leave the listening sockets to the process that has them already.
    HandOver,
    /// A shard has ended. Where nobody has asked for it, the others end too: a relay that runs on half
    /// its shards would keep the other half's mail for ever.
    ShardEnded,
    /// The shards are gone.
    Over,
}

/// Keeps signals for their turn from now on.
pub(super) fn signals() -> Result<Signals, Refused> {
    Signals::new(ENDS.into_iter().chain([SIGHUP]))
        .map_err(|error| os_error(format!("cannot listen for signals: {error}")))
}

/// Whether the process was told to end, also when nobody listens to words any more.
pub(super) fn ends() -> Result<Arc<AtomicBool>, Refused> {
    let is_told = Arc::<AtomicBool>::default();
    for signal in ENDS {
        signal_hook::flag::register(signal, Arc::clone(&is_told))
            .map_err(|error| os_error(format!("cannot listen for signals: {error}")))?;
    }
    Ok(is_told)
}

/// Has signals told as words, by a thread of their own.
pub(super) fn forward(mut signals: Signals, words: mpsc::Sender<Word>) -> Result<(), Refused> {
    let forwarding = move || {
        for signal in signals.forever() {
            let word = match signal {
                SIGHUP => Word::Reload(None),
                _ => Word::Drain(None),
            };
            // Nobody listens any more: the relay is gone.
            let _ = words.send(word);
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(forwarding)
        .map(drop)
        .map_err(|error| os_error(format!("cannot start a thread: {error}")))
}

/// Has configurations looked at by that thread: the others cannot read private keys.
pub(super) fn checks(words: mpsc::Sender<Word>) -> Arc<Check> {
    Arc::new(move |text| {
        let (tell, told) = oneshot::channel();
        // Where nobody listens any more, nobody answers.
        let _ = words.send(Word::Check(text, tell));
        told
    })
}

/// Who does what the relay is told.
pub(super) struct Steward {
    pub(super) current: Current,
    pub(super) manager: Manager,
    /// Hands the relay mail of this machine's programs.
    pub(super) pickup: Option<Pickup>,
    /// Ends the control plane, whose port is handed over too.
    pub(super) close_control: Option<oneshot::Sender<()>>,
    /// Set once the shards have been told to end.
    pub(super) leaving: Option<Leaving>,
}

impl Steward {
    /// Does what it is told until the shards are gone. Meanwhile it looks now and then whether
    /// certificates or users have changed: whoever changes them need not know of us.
    pub(super) fn obey(mut self, words: &mpsc::Receiver<Word>, path: Option<&Path>) {
        loop {
            self.manager.look(self.current.directory.beats());
            if let Some(leaving) = &mut self.leaving {
                leaving.look(&self.current, &mut self.manager);
            }
            let pause = self.leaving.as_ref().map_or(FILES_LOOK, |_| progress::LOOK);
            match words.recv_timeout(self.manager.pause(pause)) {
                Ok(Word::Reload(answer)) => {
                    self.manager.reloading();
                    let reloaded = self.current.reload(path);
                    self.manager.ready(self.current.directory.shards());
                    if let Some(answer) = answer {
                        // Whoever asked may have gone.
                        let _ = answer.send(reloaded);
                    }
                }
                Ok(Word::Check(text, tell)) => {
                    // Whoever asked may have gone.
                    let _ = tell.send(config::judge(&text));
                }
                Ok(Word::Drain(within)) => self.drain(within),
                Ok(Word::HandOver) => self.hand_over(),
                Ok(Word::ShardEnded) if self.leaving.is_some() => {}
                Ok(Word::ShardEnded) => self.drain(None),
                Err(mpsc::RecvTimeoutError::Timeout) if self.leaving.is_some() => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let config = Arc::clone(&self.current.rules.config);
                    if Files::of(&config) != self.current.seen {
                        let why = "files that the configuration names changed";
                        self.current.take(config, why);
                    }
                }
                Ok(Word::Over) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn drain(&mut self, within: Option<Duration>) {
        let within = within.unwrap_or(self.current.rules.config.process.drain);
        self.manager.ending(within);
        let log = &self.current.log;
        log.say(
            Level::Info,
            format_args!(
                "ending: no new connections, transactions in progress go on for at most {} s",
                within.as_secs_f32()
            ),
        );
        log.flush();
        let ending = Ending {
            within,
            leaves_sockets: self.manager.keeps_sockets(),
        };
        self.end(ending);
    }

    fn end(&mut self, ending: Ending) {
        self.leaving.get_or_insert_default();
        tell_all(&self.current.directory, || Letter::Drain(ending));
    }

    /// What stands in a queue of the kernel's is the next one's from here on.
    fn hand_over(&mut self) {
        let log = &self.current.log;
        log.say(
            Level::Info,
            format_args!("handing over: transactions in progress end here, new connections wait for the next relay"),
        );
        log.flush();
        // First, while somebody still answers it: a message that it is in the middle of would be taken up again.
        if let Some(pickup) = self.pickup.take() {
            pickup.finish();
        }
        if let Some(close) = self.close_control.take() {
            let _ = close.send(());
        }
        let ending = Ending {
            within: self.current.rules.config.process.drain,
            leaves_sockets: true,
        };
        self.end(ending);
    }
}

/// Who is still inside, as whoever waits for the end sees it.
pub(super) struct Leaving {
    meter: Meter,
    /// The most that were inside since the end began.
    all: u64,
}

impl Default for Leaving {
    fn default() -> Self {
        Self {
            meter: Meter::new("ending", "connections gone"),
            all: 0,
        }
    }
}

impl Leaving {
    fn look(&mut self, current: &Current, manager: &mut Manager) {
        let inside = current.directory.inside();
        self.all = self.all.max(inside);
        let seen = Seen {
            done: self.all - inside,
            all: self.all,
        };
        current.tell_step(self.meter.look(seen));
        manager.leaving(self.meter.words(seen).to_string());
    }
}

/// How often certificate files and the users' file are looked at.
const FILES_LOOK: Duration = Duration::from_secs(1);

/// Signals that end the relay.
const ENDS: [i32; 2] = [SIGTERM, SIGINT];
