//! `ringpost suppression`: who gets no mail.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::client::{
    Answer, Client, Complaint, EX_DATAERR, EX_NOINPUT, EX_USAGE, Place, Side, print, table,
};
use crate::config::units;
use crate::control::suppressions::{Addresses, Changed};
use crate::suppress::{Entry, Page};

/// Say which addresses get no mail
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// List them, the oldest first
    #[command(
        after_help = "Examples:\n  ringpost suppression list\n  ringpost suppression list --why bad_mailbox --json > suppressed.json"
    )]
    List {
        /// Only those that are there for this reason: bad_mailbox, manual, complaint, ...
        #[arg(long)]
        why: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send no more mail to addresses
    #[command(
        after_help = "Example:\n  ringpost suppression add bob@example.org --for 90d --note 'asked us by phone'"
    )]
    Add {
        /// The addresses
        #[arg(required = true)]
        addresses: Vec<String>,
        /// For how long: 30d, 12h; without it for good
        #[arg(long = "for", value_name = "TIME")]
        span: Option<String>,
        /// A remark
        #[arg(long, value_name = "WORDS")]
        note: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let addresses have mail again
    #[command(after_help = "Example:\n  ringpost suppression remove bob@example.org")]
    Remove {
        /// The addresses
        #[arg(required = true)]
        addresses: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether an address gets mail; exit code 1 where it gets none
    #[command(after_help = "Example:\n  ringpost suppression check bob@example.org")]
    Check {
        /// The address
        address: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add the addresses of a file: one on each line, or the first column of a CSV file
    #[command(
        after_help = "Example:\n  ringpost suppression import unsubscribed.csv --why unsubscribed"
    )]
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        /// Why: a word of small letters
        #[arg(long, default_value = "import")]
        why: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Asks the relay at `place`, and prints what it says.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    let client = match Client::of(place) {
        Ok(client) => client,
        Err(complaint) => return print(Err(complaint)),
    };
    if let Command::Check { address, json } = &arguments.command {
        return check(&client, address, *json);
    }
    print(answer(&arguments.command, &client))
}

fn answer(command: &Command, client: &Client) -> Result<Answer, Complaint> {
    match command {
        Command::List { why, json } => {
            let entries = all(client, why.as_deref())?;
            match json {
                true => Answer::json(&entries),
                false => Ok(plain(listed(&entries))),
            }
        }
        Command::Add {
            addresses,
            span,
            note,
            json,
        } => {
            let body = Addresses {
                addresses: addresses.clone(),
                seconds: span.as_deref().map(seconds).transpose()?,
                text: note.clone(),
                ..Addresses::default()
            };
            let changed: Changed = client.post(PATH, &body)?;
            told(&changed, *json, "added")
        }
        Command::Remove { addresses, json } => {
            let body = Addresses {
                addresses: addresses.clone(),
                ..Addresses::default()
            };
            let changed: Changed = client.post(&format!("{PATH}/remove"), &body)?;
            told(&changed, *json, "removed")
        }
        Command::Import { file, why, json } => {
            let addresses = addresses_of(&read(file)?);
            let mut sum = Changed::default();
            for some in addresses.chunks(BATCH) {
                let body = Addresses {
                    addresses: some.to_vec(),
                    why: Some(why.clone()),
                    ..Addresses::default()
                };
                let changed: Changed = client.post(PATH, &body)?;
                sum.addresses += changed.addresses;
            }
            told(&sum, *json, "added")
        }
        // It has an exit code of its own.
        Command::Check { .. } => Err(Complaint::new(EX_USAGE, "nothing to do")),
    }
}

fn check(client: &Client, address: &str, json: bool) -> ExitCode {
    let query = [("address", address.to_owned())];
    let page = client.get::<Page>(PATH, &query);
    let is_there = page.as_ref().is_ok_and(|page| !page.entries.is_empty());
    let printed = print(page.and_then(|page| match (json, page.entries.first()) {
        (true, _) => Answer::json(&page.entries),
        (false, Some(_)) => Ok(plain(listed(&page.entries))),
        (false, None) => Ok(plain(format!("{address} gets mail\n"))),
    }));
    match printed == ExitCode::SUCCESS && is_there {
        true => ExitCode::from(1),
        false => printed,
    }
}

/// Page by page, to the end.
fn all(client: &Client, why: Option<&str>) -> Result<Vec<Entry>, Complaint> {
    let (mut entries, mut after) = (Vec::new(), 0);
    loop {
        let mut query = vec![("after", after.to_string()), ("limit", PAGE.to_string())];
        query.extend(why.map(|why| ("why", why.to_owned())));
        let page: Page = client.get(PATH, &query)?;
        entries.extend(page.entries);
        match page.next {
            Some(next) => after = next,
            None => return Ok(entries),
        }
    }
}

fn listed(entries: &[Entry]) -> String {
    let heads = [
        ("ADDRESS", Side::Left),
        ("WHY", Side::Left),
        ("SINCE", Side::Left),
        ("UNTIL", Side::Left),
        ("SAID", Side::Left),
    ];
    let day = |seconds: i64| {
        let moment = Timestamp::from_second(seconds);
        moment.map_or_else(
            |_| seconds.to_string(),
            |moment| moment.strftime("%Y-%m-%d").to_string(),
        )
    };
    let rows = entries.iter().map(|entry| {
        [
            entry.address.clone(),
            entry.why.clone(),
            day(entry.at),
            entry.until.map_or_else(|| "-".to_owned(), day),
            entry.text.clone().unwrap_or_default(),
        ]
    });
    table(heads, rows)
}

fn told(changed: &Changed, json: bool, what: &str) -> Result<Answer, Complaint> {
    match json {
        true => Answer::json(changed),
        false => Ok(plain(format!("{} {what}\n", changed.addresses))),
    }
}

fn plain(result: String) -> Answer {
    Answer {
        result,
        remark: None,
    }
}

fn seconds(text: &str) -> Result<u32, Complaint> {
    let span = units::parse_duration(text);
    let seconds = span.and_then(|span| u32::try_from(span.as_secs()).ok());
    let wrong = || Complaint::new(EX_USAGE, format!("{text} is no time such as 90d or 12h"));
    seconds.ok_or_else(wrong)
}

fn read(file: &Path) -> Result<String, Complaint> {
    let text = match file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
        false => fs::read_to_string(file),
    };
    text.map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::InvalidData => EX_DATAERR,
            _ => EX_NOINPUT,
        };
        Complaint::new(code, format!("{}: {error}", file.display()))
    })
}

/// What has an @ in it in the first column: a line of heads is none.
fn addresses_of(text: &str) -> Vec<String> {
    let first = |line: &str| {
        let cell = line.split([',', ';', '\t']).next().unwrap_or_default();
        cell.trim().trim_matches('"').trim().to_owned()
    };
    let cells = text.trim_start_matches('\u{feff}').lines().map(first);
    cells
        .filter(|cell| cell.contains('@') && !cell.starts_with('#'))
        .collect()
}

const PATH: &str = "/api/v1/suppressions";
/// Addresses of one request: those of the longest still fit into a body.
const BATCH: usize = 200;
const PAGE: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_from_all_sorts_of_programs() {
        let text =
            "\u{feff}Email,Name\r\n\"a@d.test\",Ann\n b@d.test ;x\n\n# c@d.test\nd@d.test\t2026\n";
        assert_eq!(addresses_of(text), ["a@d.test", "b@d.test", "d@d.test"]);
    }
}
