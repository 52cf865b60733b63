//! `ringpost user`: who may log in. A running relay takes changes within a second.

use std::fmt::Write as _;
use std::io::{self, BufRead as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::client::{
    Answer, Complaint, EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_NOUSER, EX_USAGE, print,
};
use crate::config::Config;
use crate::users::{Unchanged, User, Users, judge_addresses};

/// Say who may log in, to submit mail and to fetch it
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Add a user; the password is the first line of standard input
    #[command(
        after_help = "Example:\n  ringpost user add ann@example.org --sender '*@example.org' < password.txt"
    )]
    Add {
        /// The user's name, which is an address the user may send from
        address: String,
        /// Another address that the user may send from, or *@DOMAIN; may be repeated
        #[arg(long, value_name = "ADDRESS")]
        sender: Vec<String>,
        /// Keep the password itself too, which APOP needs: whoever reads the users' file has it
        #[arg(long)]
        apop: bool,
    },
    /// Remove a user
    #[command(after_help = "Example:\n  ringpost user remove ann@example.org")]
    Remove {
        /// The user's name
        address: String,
    },
    /// Give a user another password: the first line of standard input
    #[command(after_help = "Example:\n  ringpost user password ann@example.org < password.txt")]
    Password {
        /// The user's name
        address: String,
    },
    /// List the users
    #[command(after_help = "Example:\n  ringpost user list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// One user, as `list --json` shows it.
#[derive(Serialize)]
struct Row<'a> {
    address: &'a str,
    senders: &'a [String],
    apop: bool,
}

/// Does what the arguments ask for, to the users of this configuration.
#[must_use]
pub fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    let path = config.users_file();
    print(match &arguments.command {
        Command::List { json } => list(&path, *json),
        Command::Add {
            address,
            sender,
            apop,
        } => add(&path, address, sender, *apop),
        Command::Remove { address } => change(&path, |users| {
            if users.remove(address) {
                Ok(format!("{address} may not log in any more\n"))
            } else {
                Err(nobody(address))
            }
        }),
        Command::Password { address } => password().and_then(|password| {
            change(&path, |users| {
                match users.set_password(address, &password) {
                    Ok(true) => Ok(format!("{address} has another password\n")),
                    Ok(false) => Err(nobody(address)),
                    Err(why) => Err(Complaint::new(EX_DATAERR, why)),
                }
            })
        }),
    })
}

fn list(path: &Path, json: bool) -> Result<Answer, Complaint> {
    let users = read(path)?;
    if json {
        let rows = users.iter().map(|(address, user)| Row {
            address,
            senders: &user.senders,
            apop: user.apop.is_some(),
        });
        return Answer::json(&rows.collect::<Vec<_>>());
    }
    let mut result = String::new();
    for (address, user) in users.iter() {
        let senders = user.senders.join(" ");
        let line = format!("{address} {senders}");
        // Writing to a String does not fail.
        let _ = writeln!(result, "{}", line.trim_end());
    }
    Ok(Answer {
        result,
        remark: None,
    })
}

fn add(path: &Path, address: &str, senders: &[String], apop: bool) -> Result<Answer, Complaint> {
    judge_addresses(address, senders).map_err(|why| Complaint::new(EX_USAGE, why))?;
    let password = password()?;
    let mut user =
        User::new(&password, senders.to_vec()).map_err(|why| Complaint::new(EX_DATAERR, why))?;
    if apop {
        user = user.with_apop(&password);
    }
    change(path, |users| {
        if users.add(address, user) {
            Ok(format!("{address} may log in\n"))
        } else {
            let why = format!(
                "{address} is there already: `ringpost user password` changes the password"
            );
            Err(Complaint::new(EX_CANTCREAT, why))
        }
    })
}

/// Changes the file. Two changes at a time take turns.
pub(super) fn change(
    path: &Path,
    change: impl FnOnce(&mut Users) -> Result<String, Complaint>,
) -> Result<Answer, Complaint> {
    let changed = Users::change(path, change).map_err(|why| match why {
        Unchanged::Unreadable(why) => Complaint::new(EX_CONFIG, why),
        Unchanged::Unwritable(error) => {
            Complaint::new(EX_CANTCREAT, format!("{}: {error}", path.display()))
        }
        Unchanged::Refused(complaint) => complaint,
    });
    Ok(Answer {
        result: changed?,
        remark: None,
    })
}

pub(super) fn read(path: &Path) -> Result<Users, Complaint> {
    Users::read(path).map_err(|why| Complaint::new(EX_CONFIG, why))
}

/// The first line of standard input: an argument would be seen by everybody on the machine.
fn password() -> Result<String, Complaint> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Complaint::new(EX_DATAERR, format!("standard input: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let why = "no password: it is read from standard input, one line";
        return Err(Complaint::new(EX_DATAERR, why.to_owned()));
    }
    Ok(password.to_owned())
}

fn nobody(address: &str) -> Complaint {
    Complaint::new(EX_NOUSER, format!("there is no user {address}"))
}
