//! The command line: what a user types, to what runs. Results go to standard output, everything
//! else to standard error; exit codes are those of sysexits.h.

pub mod client;
pub mod latency;
pub mod queue;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::serve;
use client::{Answer, Complaint, EX_CONFIG, EX_USAGE, Place, print};

/// An outbound mail relay: durable before 250, every latency visible
#[derive(Parser, Debug)]
#[command(
    name = "ringpost",
    version,
    after_help = "\
Examples:
  ringpost                                  run on the embedded default or ./ringpost.toml
  ringpost serve --config /etc/ringpost.toml
  ringpost queue list
  ringpost latency"
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
    #[command(after_help = "Example:\n  ringpost serve --config /etc/ringpost.toml")]
    Serve,
    /// Validate a configuration and every file that it names
    #[command(
        after_help = "Example:\n  ringpost check --config /etc/ringpost.toml\n\nEach fault is FILE:LINE:COLUMN: what is wrong, and what would be right; exit code 78."
    )]
    Check,
    /// Print the configuration in effect, every key explained
    #[command(after_help = "Example:\n  ringpost config --defaults > ringpost.toml")]
    Config {
        /// Print the embedded default
        #[arg(long)]
        defaults: bool,
    },
    Queue(queue::Arguments),
    Latency(latency::Arguments),
}

/// Runs what the process's arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let path = arguments.source.config.as_deref();
    match arguments.command {
        None | Some(Command::Serve) => with(path, |config| serve::run(config, path)),
        Some(Command::Check) => with(path, |_| {
            print(Ok(Answer {
                result: "the configuration is fine\n".to_owned(),
                remark: None,
            }))
        }),
        Some(Command::Config { defaults: true }) => render(&Config::default()),
        Some(Command::Config { defaults: false }) => with(path, |config| render(&config)),
        Some(Command::Queue(arguments)) => {
            with(path, |config| queue::run(&arguments, &place(&config)))
        }
        Some(Command::Latency(arguments)) => {
            with(path, |config| latency::run(&arguments, &place(&config)))
        }
    }
}

/// Help and version are answers, everything else clap has to say is a usage error.
fn explain(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(EX_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs `then` with the configuration, or prints its faults.
fn with(path: Option<&Path>, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match config::load(path) {
        Ok(config) => then(config),
        Err(faults) => {
            let mut errors = io::stderr().lock();
            for fault in &faults {
                let _ = writeln!(errors, "{fault}");
            }
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn render(config: &Config) -> ExitCode {
    let result = config::render(config);
    print(Ok::<_, Complaint>(Answer {
        result,
        remark: None,
    }))
}

fn place(config: &Config) -> Place {
    Place {
        bind: config.control.bind,
        token_file: config.control.token_file.clone(),
    }
}
