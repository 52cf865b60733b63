//! `ringpost queue`: inspects and steers the queue of a running relay.

mod selection;

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::client::{
    Answer, Client, Complaint, EX_NOINPUT, EX_USAGE, Place, Side, clean, print, table,
};
use crate::observe::ask::{
    Act, Acted, LIST_USUAL, OrderBody, QueueEntry, QueueEntryDetail, QueueRecipient, ShapeRow,
};
use crate::queue::{AGE_BUCKETS, State};
use selection::Selection;

/// Inspect and steer the queue of a running relay
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost queue list --domain example.org
  ringpost queue show 00F1ZQ2M7T8K4
  ringpost queue retry --older-than 2h
  ringpost queue remove --from spammer@example.net --dry-run
  ringpost queue bounce --destination example.net --reply 'user unknown' --reason 'they left'

Every order is written down in audit.jsonl in the data directory, with its reason.")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// List messages, the oldest first
    #[command(after_help = "Example:\n  ringpost queue list --domain example.org --limit 20")]
    List {
        #[command(flatten)]
        selection: Selection,
        /// Messages to list at most
        #[arg(long, default_value_t = LIST_USUAL)]
        limit: usize,
    },
    /// Show one message: its recipients, its attempts, what was said to it
    #[command(
        after_help = "Examples:\n  ringpost queue show 00F1ZQ2M7T8K4\n  ringpost queue show 00F1ZQ2M7T8K4 --raw > message.eml"
    )]
    Show {
        /// The queue id
        id: String,
        /// Print the message itself, with its trace fields
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    /// Hold messages: they stay, are not attempted and do not expire
    #[command(after_help = "Example:\n  ringpost queue hold --from news@example.org")]
    Hold(Given),
    /// Let held messages go on with their schedule
    #[command(after_help = "Example:\n  ringpost queue release --all")]
    Release(Given),
    /// Attempt messages now
    #[command(after_help = "Example:\n  ringpost queue retry --older-than 2h")]
    Retry(Given),
    /// Remove messages; nobody is told. For ten minutes it can be undone
    #[command(
        after_help = "Example:\n  ringpost queue remove --from spammer@example.net --reason spam"
    )]
    Remove {
        #[command(flatten)]
        given: Given,
        /// Not to be undone: the disk is freed at once
        #[arg(long)]
        for_good: bool,
    },
    /// Undo a removal: the last one, or what is named
    #[command(
        after_help = "Examples:\n  ringpost queue undo\n  ringpost queue undo --to ann@example.org\n  ringpost queue list --state removed"
    )]
    Undo(Given),
    /// Send messages to another address, in place of their waiting recipients
    #[command(
        after_help = "Example:\n  ringpost queue redirect --to left@example.org --into successor@example.org"
    )]
    Redirect {
        #[command(flatten)]
        given: Given,
        /// The address
        #[arg(long, value_name = "ADDRESS")]
        into: String,
    },
    /// Return messages to their senders
    #[command(after_help = "Example:\n  ringpost queue bounce --to gone@example.org")]
    Bounce(Given),
    /// Count recipients by destination and age, or state
    #[command(
        after_help = "Examples:\n  ringpost queue shape\n  ringpost queue shape --by-state --json"
    )]
    Shape {
        /// By their state, not by their age
        #[arg(long)]
        by_state: bool,
    },
}

/// An order to be given.
#[derive(Args, Clone, Debug, Default)]
struct Given {
    #[command(flatten)]
    selection: Selection,
    /// Do nothing: say how many messages it would be, and show some
    #[arg(long)]
    dry_run: bool,
    /// Why; it is kept in the record of changes
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Given {
    fn to_all() -> Self {
        Self {
            selection: Selection::all(),
            ..Self::default()
        }
    }

    fn body(&self) -> OrderBody {
        OrderBody {
            selector: self.selection.selector(),
            dry_run: self.dry_run,
            reason: self.reason.clone(),
            ..OrderBody::default()
        }
    }
}

/// Asks the relay at `place`, and prints what it says.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    print(Client::of(place).and_then(|client| answer(arguments, &client)))
}

/// `ringpost queue list`, for `mailq`.
pub(super) fn list_all(place: &Place) -> ExitCode {
    run_all(
        Command::List {
            selection: Selection::default(),
            limit: LIST_USUAL,
        },
        place,
    )
}

/// `ringpost queue retry --all`, for `sendmail -q`.
pub(super) fn retry_all(place: &Place) -> ExitCode {
    run_all(Command::Retry(Given::to_all()), place)
}

fn run_all(command: Command, place: &Place) -> ExitCode {
    run(
        &Arguments {
            command,
            json: false,
        },
        place,
    )
}

fn answer(arguments: &Arguments, client: &Client) -> Result<Answer, Complaint> {
    let json = arguments.json;
    let (act, given) = match &arguments.command {
        Command::List { selection, limit } => return list(client, selection, *limit, json),
        Command::Show { id, raw: true } => return show_raw(client, id),
        Command::Show { id, raw: false } => return show(client, id, json),
        Command::Shape { by_state } => return shape(client, *by_state, json),
        Command::Hold(given) => (Act::Hold, given),
        Command::Release(given) => (Act::Release, given),
        Command::Retry(given) => (Act::Retry, given),
        Command::Remove { given, for_good } => {
            let body = OrderBody {
                for_good: *for_good,
                ..given.body()
            };
            return order(client, Act::Remove, &body, json);
        }
        Command::Undo(given) => (Act::Undo, given),
        Command::Redirect { given, into } => {
            let body = OrderBody {
                into: Some(into.clone()),
                ..given.body()
            };
            return order(client, Act::Redirect, &body, json);
        }
        Command::Bounce(given) => (Act::Bounce, given),
    };
    order(client, act, &given.body(), json)
}

fn list(
    client: &Client,
    selection: &Selection,
    limit: usize,
    json: bool,
) -> Result<Answer, Complaint> {
    let entries: Vec<QueueEntry> = client.get("/api/v1/queue", &selection.query(limit))?;
    let cut = (entries.len() >= limit && limit > 0)
        .then(|| format!("There may be more than these {limit}: see --limit."));
    if json {
        return Ok(Answer {
            remark: cut,
            ..Answer::json(&entries)?
        });
    }
    if entries.is_empty() {
        return Ok(Answer {
            result: String::new(),
            remark: Some("No message in the queue matches.".into()),
        });
    }
    Ok(Answer {
        result: listed(&entries),
        remark: cut,
    })
}

/// A line for each recipient.
fn listed(entries: &[QueueEntry]) -> String {
    let heads = [
        ("ID", Side::Left),
        ("AGE", Side::Right),
        ("SIZE", Side::Right),
        ("FROM", Side::Left),
        ("TO", Side::Left),
        ("STATE", Side::State),
        ("NEXT", Side::Right),
        ("TRIES", Side::Right),
        ("REASON", Side::Left),
    ];
    let now = now();
    let rows = entries.iter().flat_map(|entry| {
        entry.recipients.iter().map(move |recipient| {
            let reason = recipient.reason.as_deref().unwrap_or_default();
            [
                entry.id.clone(),
                span(now.saturating_sub(entry.accepted).unsigned_abs()),
                octets(entry.size),
                sender(&entry.from),
                recipient.address.clone(),
                recipient.state.clone(),
                next(&recipient.state, recipient.due_in),
                recipient.attempts.to_string(),
                shortened(reason),
            ]
        })
    });
    table(heads, rows)
}

/// Where the control plane has something about a message. An id is 13 letters and digits; anything
/// else must not become a path of another meaning.
pub(super) fn path_of(folder: &str, id: &str) -> Result<String, Complaint> {
    if id.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
        return Ok(format!("{folder}/{id}"));
    }
    Err(Complaint::new(EX_USAGE, format!("{id} is no queue id")))
}

/// Prints the message itself as it comes: it may be large, and no text.
fn show_raw(client: &Client, id: &str) -> Result<Answer, Complaint> {
    let path = format!("{}/raw", path_of("/api/v1/queue", id)?);
    client.copy(&path, &mut io::stdout().lock())?;
    Ok(Answer::default())
}

fn show(client: &Client, id: &str, json: bool) -> Result<Answer, Complaint> {
    let detail: QueueEntryDetail = client.get(&path_of("/api/v1/queue", id)?, &[])?;
    if json {
        return Answer::json(&detail);
    }
    let entry = &detail.entry;
    let mut text = String::new();
    let accepted = jiff::Timestamp::from_second(entry.accepted)
        .map_or_else(|_| entry.accepted.to_string(), |at| at.to_string());
    let age = span(now().saturating_sub(entry.accepted).unsigned_abs());
    let open = format!("{} of {}", entry.recipients.len(), detail.recipients_total);
    let none = || "none".to_owned();
    for (name, value) in [
        ("id", entry.id.clone()),
        ("accepted", format!("{accepted} ({age} ago)")),
        ("from", sender(&entry.from)),
        (
            "tenant",
            entry.tenant.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("size", format!("{} octets", entry.size)),
        ("message-id", detail.message_id.clone().unwrap_or_else(none)),
        ("envid", detail.envid.clone().unwrap_or_else(none)),
        (
            "tls",
            detail.tls.clone().unwrap_or_else(|| "usual".to_owned()),
        ),
        ("shard", detail.shard.to_string()),
        ("recipients", format!("{open} not settled")),
    ] {
        line(&mut text, &format!("{name:12}{value}"));
    }
    for recipient in &entry.recipients {
        tell_waiting(&mut text, recipient);
    }
    Ok(Answer {
        result: text,
        remark: None,
    })
}

/// What a recipient waits for, and why.
pub(super) fn tell_waiting(text: &mut String, recipient: &QueueRecipient) {
    let doubtful = if recipient.doubtful {
        ", may have it already"
    } else {
        ""
    };
    text.push('\n');
    line(text, &format!("to          {}", recipient.address));
    line(text, &format!("  by way of {}", recipient.destination));
    let next = next(&recipient.state, recipient.due_in);
    let (state, tries) = (&recipient.state, recipient.attempts);
    line(
        text,
        &format!("  state     {state}, next attempt {next}, attempts {tries}{doubtful}"),
    );
    if let Some(reason) = &recipient.reason {
        line(text, &format!("  reason    {reason}"));
    }
    if let Some(class) = &recipient.class {
        line(text, &format!("  class     {class}"));
    }
}

fn order(client: &Client, act: Act, body: &OrderBody, json: bool) -> Result<Answer, Complaint> {
    if body.selector.is_empty() && act != Act::Undo {
        let words = "say which messages: an ID, --to, --from, --domain, --destination, --tenant, --tag, --state, --reply, --older-than, --newer-than, --larger-than, --smaller-than or --all";
        return Err(Complaint::new(EX_USAGE, words));
    }
    let acted: Acted = client.post(&format!("/api/v1/queue/{}", act.name()), body)?;
    if acted.messages == 0
        && let Some(id) = &body.selector.id
    {
        let words = format!("no message {id} is in the queue, or not with these options");
        return Err(Complaint::new(EX_NOINPUT, words));
    }
    if json {
        return Answer::json(&acted);
    }
    let done = match act {
        Act::Hold => "held",
        Act::Release => "released",
        Act::Retry => "to be attempted now",
        Act::Remove => "removed",
        Act::Undo => "put back",
        Act::Redirect => "redirected",
        Act::Bounce => "returned",
    };
    let (messages, recipients) = (acted.messages, acted.recipients);
    let plural = |count| if count == 1 { "" } else { "s" };
    let (one, other) = (plural(messages), plural(recipients));
    let would = if acted.dry_run { " would be" } else { "" };
    let mut result =
        format!("{messages} message{one}, {recipients} recipient{other}{would} {done}\n");
    if !acted.samples.is_empty() {
        result.push('\n');
        result.push_str(&listed(&acted.samples));
    }
    let unseen = messages.saturating_sub(acted.samples.len() as u64);
    let remark = format!("Nothing was done; {unseen} more messages are not shown.");
    let busy = (acted.busy > 0).then(|| {
        let busy = acted.busy;
        format!("{busy} messages are being attempted and stay as they are: hold them first.")
    });
    let undo = acted.change.filter(|_| messages > 0);
    let undo = undo.map(|change| format!("For ten minutes: ringpost queue undo --change {change}"));
    Ok(Answer {
        result,
        remark: acted.dry_run.then_some(remark).or(undo).or(busy),
    })
}

fn shape(client: &Client, by_state: bool, json: bool) -> Result<Answer, Complaint> {
    let rows: Vec<ShapeRow> = client.get("/api/v1/queue/shape", &[])?;
    if json {
        return Answer::json(&rows);
    }
    let result = if by_state {
        columns(&rows, State::ALL.map(State::name), |row| &row.states)
    } else {
        // The columns are named by the oldest age in minutes that they hold, as qshape does it.
        let bounds = AGE_BUCKETS.map(|bound| (bound.as_secs() / 60).to_string());
        let oldest = format!("{}+", bounds.last().map_or("", String::as_str));
        let names: [&str; AGE_BUCKETS.len() + 1] =
            std::array::from_fn(|at| bounds.get(at).map_or(oldest.as_str(), String::as_str));
        columns(&rows, names, |row| &row.ages)
    };
    Ok(Answer {
        result,
        remark: None,
    })
}

/// A line for each destination, the sum of all first, with a column for each of its counts.
fn columns<const N: usize>(
    rows: &[ShapeRow],
    names: [&str; N],
    counts: impl Fn(&ShapeRow) -> &[u64],
) -> String {
    let mut heads = vec![("DESTINATION", Side::Left), ("T", Side::Right)];
    heads.extend(names.map(|name| (name, Side::Right)));
    let line = |name: &str, counts: &[u64]| {
        let total: u64 = counts.iter().sum();
        let counts = std::iter::once(&total).chain(counts);
        let cells = counts.map(u64::to_string);
        std::iter::once(name.to_owned())
            .chain(cells)
            .collect::<Vec<String>>()
    };
    let has_remarks = rows.iter().any(|row| !row.remark().is_empty());
    if has_remarks {
        heads.push(("FOUND TO TAKE", Side::Left));
    }
    let mut sums = [0; N];
    for row in rows {
        for (sum, count) in sums.iter_mut().zip(counts(row)) {
            *sum += count;
        }
    }
    let of_all = line("TOTAL", &sums);
    // What was removed has a state, and no age.
    let is_there = |row: &&ShapeRow| counts(row).iter().any(|&count| count > 0);
    let of_each = rows.iter().filter(is_there).map(|row| {
        let mut cells = line(&row.destination, counts(row));
        cells.extend(has_remarks.then(|| row.remark()));
        cells
    });
    let of_all = of_all.into_iter().chain(has_remarks.then(String::new));
    table(&heads, std::iter::once(of_all.collect()).chain(of_each))
}

/// A line of what may be a peer's words.
fn line(text: &mut String, words: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", clean(words));
}

pub(super) fn sender(from: &str) -> String {
    if from.is_empty() { "<>" } else { from }.to_owned()
}

fn next(state: &str, due_in: u64) -> String {
    match state {
        "waiting" => format!("in {}", span(due_in)),
        "held" => "never".to_owned(),
        "removed" => format!("gone in {}", span(due_in)),
        _ => "now".to_owned(),
    }
}

/// Seconds, in the largest unit that fits.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn octets(count: u64) -> String {
    const KIB: u64 = 1024;
    match count {
        0..KIB => format!("{count}"),
        KIB..1_048_576 => format!("{}K", count.div_ceil(KIB)),
        _ => format!("{}M", count.div_ceil(KIB * KIB)),
    }
}

fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(REASON_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &reason[..at]),
        None => reason.to_owned(),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// What a list shows of a reason; `queue show` has all of it.
const REASON_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests;
