//! `ringpost top`: what the relay does now, on a terminal.

mod keys;
mod view;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::mem;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::client::{Answer, Client, Complaint, EX_IOERR, Place, print};
use crate::observe::ask::{Latencies, ShapeRow, ShardRow};
use crate::observe::stage::Row;
use keys::Keys;

/// Watch rates, queue, stages and shards on the terminal
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost top
  ringpost top --once          as text, once; also where standard output is no terminal

Keys: q or Escape ends it.")]
pub struct Arguments {
    /// Print it once, as text
    #[arg(long)]
    once: bool,
}

/// Watches the relay at `place` until a key is pressed.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    let client = match Client::of(place) {
        Ok(client) => client,
        Err(complaint) => return print(Err(complaint)),
    };
    if arguments.once || !io::stdout().is_terminal() {
        return print(once(&client));
    }
    print(watch(&client).map(|()| Answer::default()))
}

/// What the relay said of late.
#[derive(Default)]
struct Watched {
    shards: Vec<ShardRow>,
    shape: Vec<ShapeRow>,
    stages: Vec<Row>,
    /// What was settled in all, and when that was asked.
    before: Option<(Instant, Totals)>,
    /// For each second of the last minutes, the newest last.
    rates: VecDeque<Totals>,
    /// Why nothing new is shown.
    trouble: Option<String>,
}

/// Counts since the start, or what was added to them in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    accepted: u64,
    delivered: u64,
    failed: u64,
}

impl Totals {
    fn of(shards: &[ShardRow]) -> Self {
        let mut sum = Self::default();
        for shard in shards {
            sum.accepted += shard.messages_accepted;
            sum.delivered += shard.recipients_delivered;
            sum.failed += shard.recipients_failed;
        }
        sum
    }

    /// For each second, given what there was `took` ago. A relay that began anew has less: nothing then.
    fn rate(self, before: Self, took: Duration) -> Self {
        let each = |now: u64, before: u64| {
            (now.saturating_sub(before) as f64 / took.as_secs_f64().max(0.001)).round() as u64
        };
        Self {
            accepted: each(self.accepted, before.accepted),
            delivered: each(self.delivered, before.delivered),
            failed: each(self.failed, before.failed),
        }
    }
}

impl Watched {
    /// Asks for what changes fast, and for the rest now and then.
    fn look(&mut self, client: &Client, now: Instant, stages_too: bool) -> Result<(), Complaint> {
        self.shards = client.get("/api/v1/shards", &[])?;
        self.shape = client.get("/api/v1/queue/shape", &[])?;
        if stages_too {
            let minute = [("window", "minute".to_owned())];
            self.stages = client.get::<Latencies>("/api/v1/latency", &minute)?.stages;
        }
        self.count(Totals::of(&self.shards), now);
        Ok(())
    }

    fn count(&mut self, totals: Totals, now: Instant) {
        if let Some((then, before)) = self.before.replace((now, totals)) {
            self.rates.push_back(totals.rate(before, now - then));
            if self.rates.len() > RATES_MAX {
                self.rates.pop_front();
            }
        }
    }

    fn rate(&self) -> Totals {
        self.rates.back().copied().unwrap_or_default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command has no shard to hold up"
)]
fn once(client: &Client) -> Result<Answer, Complaint> {
    let mut watched = Watched::default();
    watched.look(client, Instant::now(), true)?;
    std::thread::sleep(LOOK);
    watched.look(client, Instant::now(), false)?;
    Ok(Answer {
        result: view::text(&watched),
        remark: None,
    })
}

fn watch(client: &Client) -> Result<(), Complaint> {
    // The first answer is awaited before the screen is taken: a complaint belongs on the shell's.
    let mut watched = Watched::default();
    watched.look(client, Instant::now(), true)?;
    let mut terminal = ratatui::try_init().map_err(|error| unusable(&error))?;
    let ended = turn(client, &mut watched, &mut terminal);
    let shown = terminal.show_cursor();
    // Where the terminal is gone there is nothing to restore, and nobody to tell: dropped with its cursor hidden, it
    // would say so on a standard error that is gone too, which is a panic.
    let _ = ratatui::try_restore();
    if shown.is_err() {
        mem::forget(terminal);
    }
    ended.map_err(|error| unusable(&error))
}

fn turn(
    client: &Client,
    watched: &mut Watched,
    terminal: &mut ratatui::DefaultTerminal,
) -> io::Result<()> {
    let keys = Keys::open()?;
    for looks in 1_u64.. {
        let mut draw = || terminal.draw(|frame| view::draw(frame, watched)).map(drop);
        draw()?;
        if keys.wait(Instant::now() + LOOK, draw)? {
            break;
        }
        let looked = watched.look(client, Instant::now(), looks % LOOKS_PER_STAGES == 0);
        watched.trouble = looked.err().map(|complaint| complaint.words);
    }
    Ok(())
}

fn unusable(error: &io::Error) -> Complaint {
    Complaint::new(EX_IOERR, format!("cannot use this terminal: {error}"))
}

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Histograms are megabytes: looked at more rarely.
const LOOKS_PER_STAGES: u64 = 5;

/// Seconds of rates: what the widest terminal shows.
const RATES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::Running;

    #[test]
    fn rates_are_differences() {
        let totals = |accepted, failed| Totals {
            accepted,
            failed,
            ..Totals::default()
        };
        let mut watched = Watched::default();
        let began = Instant::now();
        for (second, (accepted, failed)) in [(100, 1), (350, 1), (350, 5), (10, 0)]
            .into_iter()
            .enumerate()
        {
            let now = began + Duration::from_secs(2 * second as u64);
            watched.count(totals(accepted, failed), now);
        }
        // The last one began anew.
        assert_eq!(watched.rates, [totals(125, 0), totals(0, 2), totals(0, 0)]);
    }

    #[test]
    fn a_script_gets_it_as_text() {
        let plane = Running::start(None);
        let client = Client::new(plane.address, None);
        let text = once(&client).expect("an answer").result;
        for word in ["d.test", "connect", "accepted", "ready"] {
            assert!(text.contains(word), "{word} in\n{text}");
        }
        assert!(!text.contains('\x1b'), "{text}");
    }
}
