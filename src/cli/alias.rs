//! `ringpost alias`: addresses that lead to mailboxes of users, and elsewhere. A running relay takes
//! changes within a second.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::client::{Answer, Complaint, EX_CANTCREAT, EX_DATAERR, EX_NOUSER, EX_USAGE, print};
use super::user::{change, read};
use crate::config::Config;
use crate::users::Users;
use crate::wire::path::Mailbox;

/// Say which addresses lead to which users, or elsewhere
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Let an address lead to users, other aliases, or addresses elsewhere
    #[command(
        after_help = "Examples:\n  ringpost alias add sales@example.org ann@example.org bob@example.org\n  ringpost alias add @example.org ann@example.org      what nobody else of the domain takes\n  ringpost alias add root@example.org me@elsewhere.example\n  ringpost alias add ann@example.org ann@example.org ann@elsewhere.example      a copy elsewhere"
    )]
    Add {
        /// The address, or @DOMAIN for all that nobody else takes
        alias: String,
        /// Where its mail goes: users, other aliases, addresses elsewhere; its own name is the
        /// user of that name
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Remove an alias, or some of its targets
    #[command(
        after_help = "Examples:\n  ringpost alias remove sales@example.org bob@example.org\n  ringpost alias remove sales@example.org"
    )]
    Remove {
        /// The address, or @DOMAIN
        alias: String,
        /// Only these targets
        targets: Vec<String>,
    },
    /// List the aliases
    #[command(after_help = "Example:\n  ringpost alias list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// One alias, as `list --json` shows it.
#[derive(Serialize)]
struct Row<'a> {
    alias: &'a str,
    targets: &'a [String],
}

/// Does what the arguments ask for, to the aliases of this configuration.
#[must_use]
pub fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    let path = config.users_file();
    print(match &arguments.command {
        Command::List { json } => read(&path).and_then(|users| list(&users, *json)),
        Command::Add { alias, targets } => check(alias, targets).and_then(|()| {
            let is_ours = config.ends_here();
            let mut answer = change(&path, |users| add(users, alias, targets, &is_ours))?;
            answer.remark = (!is_ours(alias)).then(|| {
                let domain = alias.rsplit_once('@').map_or(&**alias, |(_, domain)| domain);
                format!("no route takes mail for {domain} here: [[route]] domain = \"{domain}\", to = \"mailbox\"")
            });
            Ok(answer)
        }),
        Command::Remove { alias, targets } => change(&path, |users| {
            if users.remove_alias(alias, targets) {
                Ok(format!("{alias}: removed\n"))
            } else {
                let why = format!("there is no such alias: {alias}");
                Err(Complaint::new(EX_NOUSER, why))
            }
        }),
    })
}

fn add(
    users: &mut Users,
    alias: &str,
    targets: &[String],
    is_ours: &impl Fn(&str) -> bool,
) -> Result<String, Complaint> {
    if !users.add_alias(alias, targets) {
        let why = format!("{alias} leads there already");
        return Err(Complaint::new(EX_CANTCREAT, why));
    }
    let alias = alias.to_lowercase();
    let mut bad = users.bad_aliases(is_ours).into_iter();
    if let Some((name, fault)) = bad.find(|(name, _)| *name == alias) {
        return Err(Complaint::new(EX_DATAERR, format!("{name} {fault}")));
    }
    let elsewhere = users.leads(&alias, is_ours).elsewhere;
    let shown = targets
        .iter()
        .map(|target| match elsewhere.contains(target) {
            true => format!("{target} (elsewhere)"),
            false => target.clone(),
        });
    let shown: Vec<String> = shown.collect();
    Ok(format!("{alias} leads to {}\n", shown.join(", ")))
}

/// Addresses are addresses.
fn check(alias: &str, targets: &[String]) -> Result<(), Complaint> {
    let whole = match alias.strip_prefix('@') {
        Some(domain) => format!("any@{domain}"),
        None => alias.to_owned(),
    };
    for address in targets.iter().chain([&whole]) {
        if Mailbox::parse(address.as_bytes(), true).is_err() {
            let why = format!("{address} is no address: somebody@example.org would be one");
            return Err(Complaint::new(EX_USAGE, why));
        }
    }
    Ok(())
}

fn list(users: &Users, json: bool) -> Result<Answer, Complaint> {
    if json {
        let rows = users
            .aliases()
            .map(|(alias, targets)| Row { alias, targets });
        return Answer::json(&rows.collect::<Vec<_>>());
    }
    let mut result = String::new();
    for (alias, targets) in users.aliases() {
        // Writing to a String does not fail.
        let _ = writeln!(result, "{alias} {}", targets.join(" "));
    }
    Ok(Answer {
        result,
        remark: None,
    })
}
