//! `ringpost shards`: which core is full.

use std::process::ExitCode;

use clap::Args;

use super::client::{Answer, Client, Complaint, Place, Side, print, table};
use crate::observe::ask::{Health, ShardRow};

/// Show each shard, its core, and how busy it is
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  ringpost shards

BUSY is the share of the last seconds in which the shard had work: at 100% its core is full. CPU is the
share in which it had the core; when that is much less, other programs use it. MSG/SYNC is messages
for each fdatasync since the start. LETTERS is what waits to be read from other shards.")]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the relay at `place`, and prints what it says.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    print(Client::of(place).and_then(|client| answer(arguments, &client)))
}

fn answer(arguments: &Arguments, client: &Client) -> Result<Answer, Complaint> {
    let rows: Vec<ShardRow> = client.get("/api/v1/shards", &[])?;
    if arguments.json {
        return Answer::json(&rows);
    }
    Ok(Answer {
        result: show(&rows),
        remark: None,
    })
}

fn show(rows: &[ShardRow]) -> String {
    let heads = [
        ("SHARD", Side::Right),
        ("CORE", Side::Right),
        ("NODE", Side::Right),
        ("BUSY", Side::Right),
        ("CPU", Side::Right),
        ("WAKES/S", Side::Right),
        ("IN", Side::Right),
        ("OUT", Side::Right),
        ("QUEUED", Side::Right),
        ("MSG/SYNC", Side::Right),
        ("LETTERS", Side::Right),
        ("STATE", Side::State),
    ];
    table(
        heads,
        rows.iter().map(|row| {
            let place = |number: Option<usize>| number.map_or("-".to_owned(), |n| n.to_string());
            [
                row.shard.to_string(),
                place(row.cpu),
                place(row.node),
                percent(row.recent.busy),
                percent(row.recent.on_cpu),
                format!("{:.0}", row.recent.wakeups),
                row.connections_in.to_string(),
                row.connections_out.to_string(),
                row.messages_queued.to_string(),
                each(row.synced_messages, row.syncs),
                row.letters_waiting.to_string(),
                state(row.health).to_owned(),
            ]
        }),
    )
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

/// How many for each; a dash where there is none to divide by.
fn each(many: u64, by: u64) -> String {
    match by {
        0 => "-".to_owned(),
        by => format!("{:.1}", many as f64 / by as f64),
    }
}

pub(super) fn state(health: Health) -> &'static str {
    match health {
        Health::Ready => "ready",
        Health::Starting => "starting",
        Health::Draining => "draining",
        Health::SpoolFull => "spool full",
        Health::SpoolBroken => "spool broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::Running;
    use crate::observe::ask::Recent;

    #[test]
    fn operator_sees_which_core_is_full() {
        let recent = |busy, on_cpu| Recent {
            busy,
            on_cpu,
            wakeups: 1_204.6,
        };
        let full = ShardRow {
            cpu: Some(4),
            node: Some(1),
            recent: recent(0.997, 0.62),
            connections_in: 12,
            syncs: 4,
            synced_messages: 10,
            letters_waiting: 3,
            health: Health::SpoolFull,
            ..ShardRow::default()
        };
        let idle = ShardRow {
            shard: 1,
            recent: recent(0.004, 0.004),
            ..ShardRow::default()
        };
        assert_eq!(
            show(&[full, idle]),
            "SHARD  CORE  NODE  BUSY  CPU  WAKES/S  IN  OUT  QUEUED  MSG/SYNC  LETTERS  STATE\n    \
             0     4     1  100%  62%     1205  12    0       0       2.5        3  spool full\n    \
             1     -     -    0%   0%     1205   0    0       0         -        0  ready\n"
        );
    }

    #[test]
    fn programs_ask_which_core_is_full() {
        let plane = Running::start(None);
        let client = Client::new(plane.address, None);
        let text = answer(&Arguments { json: true }, &client).expect("an answer");
        let rows: Vec<ShardRow> = serde_json::from_str(&text.result).expect("rows");
        let seen: Vec<_> = rows.iter().map(|row| (row.shard, row.cpu)).collect();
        assert_eq!(seen, [(0, Some(2)), (1, None)]);
    }
}
