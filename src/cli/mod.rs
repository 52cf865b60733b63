//! The command line: what a user types, to what runs. Results go to standard output, everything
//! else to standard error; exit codes are those of sysexits.h.

pub mod alias;
pub mod bounces;
pub mod client;
pub mod dkim;
pub mod explain;
pub mod latency;
pub mod life;
pub mod preflight;
pub mod printed;
pub mod queue;
pub mod sendmail;
pub mod shards;
pub mod spool;
pub mod suppression;
pub mod top;
pub mod trace;
pub mod user;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{self, Config};
use crate::confine;
use crate::serve::{self, Taking};
use client::{Answer, Complaint, EX_CONFIG, EX_SOFTWARE, EX_USAGE, Place, print};

/// A mail relay: durable before 250, every latency visible
#[derive(Parser, Debug)]
#[command(
    name = "ringpost",
    version,
    after_help = "\
Examples:
  ringpost                                  run on the embedded default or ./ringpost.toml
  ringpost serve --config /etc/ringpost.toml
  ringpost queue list
  ringpost queue show --help                every command has an example

Exit codes are those of sysexits.h: 0 done, 64 usage, 65 data, 66 no such thing, 69 no relay
answers, 75 try again, 77 not allowed, 78 configuration."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    source: Source,
}

#[derive(Args, Clone, Debug, Default)]
struct Source {
    /// The configuration; without it ./ringpost.toml, and without that the embedded default
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Run the relay (also without any command)
    #[command(
        after_help = "Examples:\n  ringpost serve --config /etc/ringpost.toml\n  ringpost serve --take-over --config /etc/ringpost.toml"
    )]
    Serve {
        /// Take the place of the relay that runs on the same data, its ports included: nobody is refused meanwhile
        #[arg(long)]
        take_over: bool,
    },
    /// Validate a configuration and every file that it names
    #[command(
        after_help = "Example:\n  ringpost check --config /etc/ringpost.toml\n\nEach fault is FILE:LINE:COLUMN: what is wrong, and what would be right; exit code 78."
    )]
    Check {
        /// Print the faults as JSON, to standard output
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration in effect, every key explained
    #[command(
        after_help = "Examples:\n  ringpost config --defaults > ringpost.toml\n  ringpost config --config /etc/ringpost.toml --json"
    )]
    Config {
        /// Print the embedded default
        #[arg(long)]
        defaults: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Queue(Box<queue::Arguments>),
    Trace(trace::Arguments),
    Explain(explain::Arguments),
    Latency(latency::Arguments),
    Shards(shards::Arguments),
    Health(life::Health),
    Reload(life::Reload),
    Drain(life::Drain),
    Top(top::Arguments),
    Spool(spool::Arguments),
    User(user::Arguments),
    Alias(alias::Arguments),
    Dkim(dkim::Arguments),
    Preflight(preflight::Arguments),
    Bounces(bounces::Arguments),
    Suppression(suppression::Arguments),
    Sendmail(Box<sendmail::Arguments>),
    Completions(printed::Completions),
    Man(printed::Man),
}

/// Runs what the process's arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    client::paint();
    let mut words = std::env::args_os();
    let called = words.next().map(PathBuf::from).unwrap_or_default();
    let called = called.file_name().unwrap_or_default().to_string_lossy();
    match sendmail::by_name(&called, words) {
        Some(Ok(arguments)) => return send(arguments, None),
        Some(Err(error)) => return answer_usage(&error),
        None => {}
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return answer_usage(&error),
    };
    let path = arguments.source.config.as_deref();
    match arguments.command {
        None => relay(path, Taking::Free),
        Some(Command::Serve { take_over: false }) => relay(path, Taking::Free),
        Some(Command::Serve { take_over: true }) => relay(path, Taking::Over),
        Some(Command::Check { json: false }) => with(path, |config| approve(&config)),
        Some(Command::Check { json: true }) => list_faults(path),
        Some(Command::Config {
            defaults: true,
            json,
        }) => render(&Config::default(), json),
        Some(Command::Config {
            defaults: false,
            json,
        }) => with_words(path, |config| render(&config.effective(), json)),
        Some(Command::Queue(arguments)) => asking(path, |place| queue::run(&arguments, place)),
        Some(Command::Trace(arguments)) => asking(path, |place| trace::run(&arguments, place)),
        Some(Command::Explain(arguments)) => asking(path, |place| explain::run(&arguments, place)),
        Some(Command::Latency(arguments)) => asking(path, |place| latency::run(&arguments, place)),
        Some(Command::Health(arguments)) => asking(path, |place| life::health(&arguments, place)),
        Some(Command::Reload(arguments)) => asking(path, |place| life::reload(&arguments, place)),
        Some(Command::Drain(arguments)) => asking(path, |place| life::drain(&arguments, place)),
        Some(Command::Shards(arguments)) => asking(path, |place| shards::run(&arguments, place)),
        Some(Command::Top(arguments)) => asking(path, |place| top::run(&arguments, place)),
        Some(Command::Sendmail(arguments)) => send(*arguments, path),
        Some(Command::Completions(arguments)) => {
            printed::complete(&arguments, Arguments::command())
        }
        Some(Command::Man(arguments)) => printed::write_pages(&arguments, Arguments::command()),
        Some(Command::Dkim(arguments)) => with_words(path, |config| {
            as_relay(&config, || dkim::run(&arguments, &config))
        }),
        Some(Command::Suppression(arguments)) => {
            asking(path, |place| suppression::run(&arguments, place))
        }
        Some(Command::Bounces(arguments)) => {
            with_words(path, |config| bounces::run(&arguments, &config))
        }
        Some(Command::Preflight(arguments)) => {
            with_words(path, |config| preflight::run(&arguments, &config))
        }
        Some(Command::User(arguments)) => with_words(path, |config| {
            as_relay(&config, || user::run(&arguments, &config))
        }),
        Some(Command::Alias(arguments)) => with_words(path, |config| {
            as_relay(&config, || alias::run(&arguments, &config))
        }),
        Some(Command::Spool(arguments)) => match arguments.data() {
            // A spool can be looked at where the configuration is not.
            Some(data) => spool::run(&arguments, data),
            None => with_words(path, |config| spool::run(&arguments, &config.data_dir)),
        },
    }
}

/// A configuration without faults; what cannot be sent from is no fault.
fn approve(config: &Config) -> ExitCode {
    let remarks = serve::sources::missing(config);
    print(Ok(Answer {
        result: "the configuration is fine\n".to_owned(),
        remark: (!remarks.is_empty()).then(|| remarks.join("\n")),
    }))
}

/// Runs the relay until it ends.
fn relay(path: Option<&Path>, taking: Taking) -> ExitCode {
    with(path, |config| serve::run(config, path, taking))
}

/// What `sendmail` is asked for; it reads the configuration without the files that it names, which
/// its caller need not be able to read.
fn send(arguments: sendmail::Arguments, path: Option<&Path>) -> ExitCode {
    let file = arguments.configuration();
    let config = match config::load_words(path.or(file.as_deref())) {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    match arguments.wanted() {
        sendmail::Wanted::Send(arguments) => sendmail::run(&arguments, &config),
        sendmail::Wanted::ListQueue => queue::list_all(&place(&config)),
        sendmail::Wanted::RetryQueue => queue::retry_all(&place(&config)),
        sendmail::Wanted::Nothing => ExitCode::SUCCESS,
    }
}

/// Help and version are answers, everything else clap has to say is a usage error.
fn answer_usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(EX_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs `then` with the configuration and all files that it names in order, or prints their faults.
fn with(path: Option<&Path>, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match config::load(path) {
        Ok(config) => then(config),
        Err(faults) => complain(&faults),
    }
}

/// Runs `then` with the way to the running relay. Whoever may steer it need not be able to read its keys, and
/// a certificate that is gone is no reason why mail could not be held.
fn asking(path: Option<&Path>, then: impl FnOnce(&Place) -> ExitCode) -> ExitCode {
    with_words(path, |config| then(&place(&config)))
}

/// Runs `then` with a configuration without a look at the files that it names: whoever needs one of them reads it,
/// and one may be about to be made or mended.
fn with_words(path: Option<&Path>, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match config::load_words(path) {
        Ok(config) => then(config),
        Err(faults) => complain(&faults),
    }
}

/// Runs what writes into the data directory. When root does it, what is written must be the relay's all
/// the same.
fn as_relay(config: &Config, then: impl FnOnce() -> ExitCode) -> ExitCode {
    match confine::follow(&config.process, &config.data_dir) {
        Ok(()) => then(),
        Err(why) => {
            eprintln!("ringpost: {why}");
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn complain(faults: &[config::Fault]) -> ExitCode {
    let mut errors = io::stderr().lock();
    for fault in faults {
        let _ = writeln!(errors, "{fault}");
    }
    ExitCode::from(EX_CONFIG)
}

/// `check --json`: an empty list where there is no fault.
fn list_faults(path: Option<&Path>) -> ExitCode {
    let faults = config::load(path).err().unwrap_or_default();
    let printed = print(Answer::json(&faults));
    if faults.is_empty() {
        printed
    } else {
        ExitCode::from(EX_CONFIG)
    }
}

fn render(config: &Config, json: bool) -> ExitCode {
    let result = config::render(config);
    if !json {
        return print(Ok(Answer {
            result,
            remark: None,
        }));
    }
    let keys = toml::from_str::<toml::Table>(&result);
    let keys = keys.map_err(|error| Complaint::new(EX_SOFTWARE, error.to_string()));
    print(keys.and_then(|keys| Answer::json(&keys)))
}

fn place(config: &Config) -> Place {
    Place {
        bind: config.control.bind,
        token_file: config.control.token_file.clone(),
        lock: Some(config.data_dir.join(serve::LOCK)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_an_example() {
        let mut command = Arguments::command();
        command.build();
        let mut shown = vec![command];
        while let Some(command) = shown.pop() {
            let is_help = |command: &&clap::Command| command.get_name() == "help";
            shown.extend(
                command
                    .get_subcommands()
                    .filter(|one| !is_help(one))
                    .cloned(),
            );
            // A command that only has others inside may leave the examples to them.
            let is_group = command.is_subcommand_required_set();
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                is_group || help.is_some_and(|help| help.contains("  ringpost ")),
                "{}",
                command.get_bin_name().unwrap_or_default()
            );
        }
    }

    #[test]
    fn the_readme_names_every_command() {
        let readme = include_str!("../../README.md");
        let command = Arguments::command();
        for group in command.get_subcommands() {
            let name = group.get_name();
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| `ringpost {name}")));
            let row = row.unwrap_or_else(|| panic!("no row for ringpost {name}"));
            for inner in group.get_subcommands() {
                assert!(
                    row.contains(inner.get_name()),
                    "{} in {row}",
                    inner.get_name()
                );
            }
        }
    }

    /// Commands that only do something, or print what is no data.
    const WITHOUT_DATA: &[&str] = &[
        "serve",
        "top",
        "sendmail",
        "completions",
        "man",
        "user add",
        "user remove",
        "user password",
        "alias add",
        "alias remove",
    ];

    #[test]
    fn every_command_that_prints_data_prints_json() {
        let mut command = Arguments::command();
        command.build();
        let mut left = vec![(String::new(), command)];
        let mut without = Vec::new();
        while let Some((path, command)) = left.pop() {
            let inner = command.get_subcommands();
            let inner = inner.filter(|one| one.get_name() != "help");
            let inner: Vec<_> = inner
                .map(|one| (format!("{path} {}", one.get_name()), one.clone()))
                .collect();
            let is_leaf = inner.is_empty();
            left.extend(inner);
            if is_leaf && !command.get_arguments().any(|one| one.get_id() == "json") {
                without.push(path.trim().to_owned());
            }
        }
        without.sort_unstable();
        let mut expected = WITHOUT_DATA.to_vec();
        expected.sort_unstable();
        assert_eq!(without, expected);
    }

    #[test]
    fn the_configuration_can_be_named_before_and_behind_a_command() {
        for words in [
            &["ringpost", "--config", "r.toml"][..],
            &["ringpost", "--config", "r.toml", "check"],
            &["ringpost", "check", "--config", "r.toml", "--json"],
            &["ringpost", "queue", "list", "--config", "r.toml"],
        ] {
            let arguments = Arguments::try_parse_from(words).unwrap();
            let path = arguments.source.config;
            assert_eq!(path.as_deref(), Some(Path::new("r.toml")), "{words:?}");
        }
    }
}
