//! Commands about the process that runs: is it well, read the configuration anew, end.

use std::fs::File;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::client::{
    Answer, Client, Complaint, EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, Place, print,
};
use crate::config::units;
use crate::control::house::Reloaded;
use crate::observe::ask::Health as State;

/// Ask whether the relay takes mail
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ringpost health && echo it takes mail

Exit code 0 when every shard takes mail, 75 while one does not (a full disk, the end of the relay), 69 where
no relay answers.")]
pub struct Health {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Have the configuration read anew, and show what changes
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ringpost reload

Does what SIGHUP does, and waits for it. With a fault in the file the old configuration stays; exit code 78.")]
pub struct Reload {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Let the relay end: no new connections, transactions in progress go on
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost drain
  ringpost drain --within 5m

Does what SIGTERM does, and waits until the relay is gone. What waits in the queue stays on disk.")]
pub struct Drain {
    /// How long transactions in progress may take; without it what process.drain says
    #[arg(long, value_name = "TIME", value_parser = duration)]
    within: Option<Duration>,
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).ok_or_else(|| "a duration such as 30s or 5m".to_owned())
}

/// What the relay says of itself.
#[derive(Serialize, Deserialize)]
struct Status<T> {
    status: T,
}

/// Asks the relay at `place` how it is.
#[must_use]
pub fn health(arguments: &Health, place: &Place) -> ExitCode {
    let asked = Client::of(place).and_then(|client| client.get_failing("/readyz"));
    let told: Status<State> = match asked {
        Ok(told) => told,
        Err(complaint) => return print(Err(complaint)),
    };
    let is_ready = told.status == State::Ready;
    if arguments.json {
        let printed = print(Answer::json(&told));
        if is_ready {
            return printed;
        }
    } else if is_ready {
        return print(Ok(Answer {
            result: "it takes mail\n".to_owned(),
            remark: None,
        }));
    }
    let words = format!("it takes no mail: {}", super::shards::state(told.status));
    print(Err(Complaint::new(EX_TEMPFAIL, words)))
}

/// Has the relay at `place` read its configuration.
#[must_use]
pub fn reload(arguments: &Reload, place: &Place) -> ExitCode {
    let order = serde_json::json!({ "reload": true });
    let asked = Client::of(place).and_then(|client| client.post("/api/v1/reload", &order));
    let told: Reloaded = match asked {
        Ok(told) => told,
        Err(complaint) => return print(Err(complaint)),
    };
    for fault in &told.faults {
        eprintln!("{fault}");
    }
    let printed = if arguments.json {
        print(Answer::json(&told))
    } else {
        print(Ok(Answer {
            result: show(&told),
            remark: None,
        }))
    };
    if told.faults.is_empty() {
        printed
    } else {
        ExitCode::from(EX_CONFIG)
    }
}

fn show(told: &Reloaded) -> String {
    if !told.taken {
        return "the old configuration stays\n".to_owned();
    }
    if told.changes.is_empty() {
        return "no key differs; the files that the configuration names were read anew\n"
            .to_owned();
    }
    let lines = told.changes.iter().map(|change| format!("{change}\n"));
    lines.collect()
}

/// Has the relay at `place` end, and waits for that.
#[must_use]
pub fn drain(arguments: &Drain, place: &Place) -> ExitCode {
    print(Client::of(place).and_then(|client| end(arguments, &client, place)))
}

fn end(arguments: &Drain, client: &Client, place: &Place) -> Result<Answer, Complaint> {
    let within = arguments.within.map(units::duration);
    let order = serde_json::json!({ "drain": true, "within": within });
    let told: Status<String> = client.post("/api/v1/drain", &order)?;
    let mut status = told.status;
    if !arguments.no_wait {
        let patience = arguments.within.unwrap_or(LONGEST) + LAST_SYNC;
        let until = Instant::now() + patience;
        while client
            .get_text("/healthz", &[])
            .map_or_else(|complaint| complaint.code != EX_UNAVAILABLE, |_| true)
        {
            if Instant::now() > until {
                let words = "it still ends; the log says what it waits for";
                return Err(Complaint::new(EX_TEMPFAIL, words));
            }
            thread::park_timeout(LOOK);
        }
        await_lock(place);
        "ended".clone_into(&mut status);
    }
    if arguments.json {
        return Answer::json(&Status { status });
    }
    Ok(Answer {
        result: format!("{status}\n"),
        remark: None,
    })
}

/// Whoever is told that it is gone may start the next one: that needs the data directory for itself. Another
/// one that has it by now is not waited for.
fn await_lock(place: &Place) {
    let Some(lock) = place.lock.as_ref().and_then(|path| File::open(path).ok()) else {
        // Not on this machine, or of another user.
        return;
    };
    let until = Instant::now() + LOCK_WAIT;
    while lock.try_lock_shared().is_err() && Instant::now() < until {
        thread::park_timeout(LOOK);
    }
}

/// Without a word from us, no configuration lets an end take longer than an operator waits for it.
const LONGEST: Duration = Duration::from_secs(600);
/// What the end takes beyond the last transaction.
const LAST_SYNC: Duration = Duration::from_secs(10);
/// What it needs behind its last answer.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(50);
