//! What the thread that reads the configuration does while the relay runs: it obeys signals, looks whether files
//! have changed, looks at configurations for the control plane, and tells how far the end has come.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_channel::oneshot;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::certificates::Seen as Files;
use super::manager::Manager;
use super::{Current, Refused, os_error, tell_all};
use crate::config::{self, Fault};
use crate::control::house::Check;
use crate::observe::log::Level;
use crate::progress::{self, Meter, Seen};
use crate::shard::mesh::Letter;

/// What it is asked to do.
pub(super) enum Call {
    /// A signal came.
    Signal(i32),
    /// A configuration is to be looked at.
    Check(String, oneshot::Sender<Vec<Fault>>),
    /// The shards are gone.
    End,
}

/// Signals, from a thread of their own.
pub(super) fn forward(mut signals: Signals, calls: mpsc::Sender<Call>) -> Result<(), Refused> {
    let forwarding = move || {
        for signal in signals.forever() {
            // Nobody listens any more: the relay is gone.
            let _ = calls.send(Call::Signal(signal));
        }
        let _ = calls.send(Call::End);
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(forwarding)
        .map_err(|error| os_error(format!("cannot start a thread: {error}")))?;
    Ok(())
}

/// Has configurations looked at by that thread: the others cannot read private keys.
pub(super) fn checks(calls: mpsc::Sender<Call>) -> Arc<Check> {
    Arc::new(move |text| {
        let (tell, told) = oneshot::channel();
        // Where nobody listens any more, nobody answers.
        let _ = calls.send(Call::Check(text, tell));
        told
    })
}

/// Does what it is called for until the shards are gone. Meanwhile it looks now and then whether
/// certificates or users have changed: whoever changes them need not know of us.
pub(super) fn obey(
    called: mpsc::Receiver<Call>,
    path: Option<&Path>,
    mut current: Current,
    mut manager: Manager,
) {
    let mut leaving: Option<Leaving> = None;
    loop {
        manager.look(current.directory.beats());
        if let Some(leaving) = &mut leaving {
            leaving.look(&current, &mut manager);
        }
        let pause = leaving.as_ref().map_or(FILES_LOOK, |_| progress::LOOK);
        match called.recv_timeout(manager.pause(pause)) {
            Ok(Call::Signal(SIGHUP)) => {
                manager.reloading();
                current.reload(path);
                manager.ready(current.directory.shards());
            }
            Ok(Call::Signal(_)) => {
                manager.ending();
                current.log.say(
                    Level::Info,
                    format_args!("ending: no new connections, transactions in progress go on"),
                );
                current.log.flush();
                tell_all(&current.directory, || Letter::Drain);
                leaving.get_or_insert_default();
            }
            Ok(Call::Check(text, tell)) => {
                // Whoever asked may have gone.
                let _ = tell.send(config::judge(&text));
            }
            Err(mpsc::RecvTimeoutError::Timeout) if leaving.is_some() => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let config = Arc::clone(&current.rules.config);
                if Files::of(&config) != current.seen {
                    current.take(config, "certificates, users or credentials changed");
                }
            }
            Ok(Call::End) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Who is still inside, as whoever waits for the end sees it.
struct Leaving {
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
