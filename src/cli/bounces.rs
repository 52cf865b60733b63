//! `ringpost bounces`: what a reply means, by the rules that sort refusals.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::client::{Answer, Complaint, EX_CONFIG, EX_USAGE, print};
use crate::bounces::{Class, EMBEDDED};
use crate::config::Config;

/// Say what a reply means, by the rules that sort refusals into classes
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost bounces '550 5.1.1 no such user'
  ringpost bounces --rules > bounces.toml      the relay's own rules, to learn from

No relay has to run: the rules are those of the configuration, [bounces] rules before the relay's own.")]
pub struct Arguments {
    /// The reply, as a host gave it
    #[arg(value_name = "REPLY", required_unless_present = "rules")]
    reply: Option<String>,
    /// Print the rules that come with the relay
    #[arg(long, conflicts_with = "reply")]
    rules: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Meaning<'a> {
    reply: &'a str,
    class: Class,
}

/// Judges the reply by the rules that `config` names.
#[must_use]
pub fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    print(answer(arguments, config))
}

fn answer(arguments: &Arguments, config: &Config) -> Result<Answer, Complaint> {
    let result = |result| Answer {
        result,
        remark: None,
    };
    if arguments.rules {
        return Ok(result(EMBEDDED.to_owned()));
    }
    let reply = arguments.reply.as_deref();
    let reply = reply.ok_or_else(|| Complaint::new(EX_USAGE, "which reply?"))?;
    let rules = config.bounces.read();
    let rules = rules.map_err(|why| Complaint::new(EX_CONFIG, why))?;
    let class = rules.classify_reply(reply);
    match arguments.json {
        true => Answer::json(&Meaning { reply, class }),
        false => Ok(result(format!("{class}\n"))),
    }
}
