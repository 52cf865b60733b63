//! `ringpost dkim`: keys that sign what leaves, and their DNS records.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::client::{Answer, Complaint, EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_USAGE, print};
use crate::config::Config;
use crate::dkim::{Key, Kind};
use crate::wire::path::Domain;

/// Make and show the keys of DKIM signatures
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Make a key; prints what to add to the configuration and to the DNS
    #[command(
        after_help = "Example:\n  ringpost dkim generate example.org --selector s2026\n\nPublish the record first, add the table to the configuration when the DNS has it, then send SIGHUP."
    )]
    Generate {
        /// The domain whose mail the key signs
        domain: String,
        /// The key's name in the DNS
        #[arg(long)]
        selector: String,
        /// What it signs with
        #[arg(long = "type", value_enum, default_value_t = Type::Rsa)]
        kind: Type,
        /// Size of an RSA key: 2048, 3072 or 4096
        #[arg(long, default_value_t = 2048)]
        bits: usize,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the DNS records of the configured keys
    #[command(after_help = "Example:\n  ringpost dkim show example.org --json")]
    Show {
        /// Only those of this domain
        domain: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Rsa,
    Ed25519,
}

/// One record, as `show --json` shows it.
#[derive(Serialize)]
struct Record {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
}

impl Record {
    fn new(domain: &str, selector: &str, key: &Key) -> Self {
        Self {
            name: format!("{selector}._domainkey.{domain}."),
            kind: "TXT",
            text: key.record(),
        }
    }

    /// As a line of a zone file: a string has 255 octets at most (RFC 1035 §3.3).
    fn as_zone_line(&self) -> String {
        let mut line = format!("{} IN TXT (", self.name);
        for piece in self.text.as_bytes().chunks(STRING_OCTETS_MAX) {
            // Writing to a String does not fail; records are ASCII.
            let _ = write!(line, " \"{}\"", String::from_utf8_lossy(piece));
        }
        line.push_str(" )\n");
        line
    }
}

/// Does what the arguments ask for, with the keys of this configuration.
#[must_use]
pub fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    print(match &arguments.command {
        Command::Generate {
            domain,
            selector,
            kind,
            bits,
            json,
        } => generate(config, domain, selector, *kind, *bits).and_then(|made| {
            if *json {
                Answer::json(&made)
            } else {
                Ok(made.text())
            }
        }),
        Command::Show { domain, json } => show(config, domain.as_deref(), *json),
    })
}

fn generate(
    config: &Config,
    domain: &str,
    selector: &str,
    kind: Type,
    bits: usize,
) -> Result<Made, Complaint> {
    let (domain, selector) = (name("domain", domain)?, name("selector", selector)?);
    let kind = match kind {
        Type::Rsa => Kind::Rsa { bits },
        Type::Ed25519 => Kind::Ed25519,
    };
    let pem = Key::generate(kind).map_err(|why| Complaint::new(EX_USAGE, why))?;
    let key = Key::parse(&pem).map_err(|why| Complaint::new(EX_DATAERR, why))?;
    let directory = config.data_dir.join("keys").join("dkim");
    let path = directory.join(format!("{domain}.{selector}.pem"));
    write(&path, &pem).map_err(|error| {
        Complaint::new(
            EX_CANTCREAT,
            format!("{}: the key cannot be kept there: {error}", path.display()),
        )
    })?;
    let path = path.canonicalize().unwrap_or(path);
    Ok(Made {
        record: Record::new(&domain, &selector, &key),
        domain,
        selector,
        key: path.display().to_string(),
    })
}

/// A key that was made: the record for the DNS, and what the configuration has to say.
#[derive(Serialize)]
struct Made {
    record: Record,
    domain: String,
    selector: String,
    /// Where it is kept.
    key: String,
}

impl Made {
    fn text(&self) -> Answer {
        let Self {
            record,
            domain,
            selector,
            key,
        } = self;
        let key = toml::Value::String(key.clone());
        Answer {
            result: format!(
                "; add to the DNS\n{}\n# add to the configuration\n[[dkim]]\ndomain = \"{domain}\"\nselector = \"{selector}\"\nkey = {key}\n",
                record.as_zone_line()
            ),
            remark: None,
        }
    }
}

fn name(what: &str, written: &str) -> Result<String, Complaint> {
    let domain = Domain::parse(written.as_bytes(), false);
    let domain = domain.map(|domain| domain.as_str().to_ascii_lowercase());
    domain.map_err(|_| Complaint::new(EX_USAGE, format!("{written:?} is no {what}")))
}

/// Writes a new file that only its owner may read. One that is there stays: mail signed with it
/// may be under way.
fn write(path: &Path, pem: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
    }
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}

fn show(config: &Config, domain: Option<&str>, json: bool) -> Result<Answer, Complaint> {
    let mut records = Vec::new();
    let wanted = |one: &str| domain.is_none_or(|domain| domain.eq_ignore_ascii_case(one));
    for dkim in config.dkim.iter().filter(|dkim| wanted(&dkim.domain)) {
        let key = Key::read(&dkim.key).map_err(|why| Complaint::new(EX_CONFIG, why))?;
        records.push(Record::new(&dkim.domain, &dkim.selector, &key));
    }
    if json {
        return Answer::json(&records);
    }
    let remark = records
        .is_empty()
        .then(|| "no key is configured: `ringpost dkim generate` makes one".to_owned());
    Ok(Answer {
        result: records.iter().map(Record::as_zone_line).collect(),
        remark,
    })
}

/// Octets of a character-string (RFC 1035 §3.3).
const STRING_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_are_split_into_strings() {
        let key = Key::parse(&Key::generate(Kind::Rsa { bits: 2048 }).unwrap()).unwrap();
        let line = Record::new("d.test", "s", &key).as_zone_line();
        assert!(line.starts_with("s._domainkey.d.test. IN TXT ( \"v=DKIM1; k=rsa; p="));
        let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        assert_eq!(strings.concat(), key.record());
        assert!(strings.iter().all(|text| text.len() <= STRING_OCTETS_MAX));
        assert!(strings.len() > 1);
    }

    #[test]
    fn a_key_is_never_overwritten_and_nobody_else_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: directory.path().to_owned(),
            ..Config::default()
        };
        let made = generate(&config, "D.test", "s1", Type::Ed25519, 0);
        let said = made.map_err(|_| ()).unwrap().text().result;
        assert!(said.contains("s1._domainkey.d.test. IN TXT"), "{said}");
        assert!(generate(&config, "d.test", "s1", Type::Ed25519, 0).is_err());
        let path = directory.path().join("keys/dkim/d.test.s1.pem");
        assert_eq!(Key::read(&path).unwrap().kind(), Kind::Ed25519);
        assert!(said.contains(&format!(
            "key = \"{}\"",
            path.canonicalize().unwrap().display()
        )));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let config = Config::default();
        for (domain, selector) in [("../x", "s"), ("d.test", "../s"), ("", "s"), ("d.test", "")] {
            assert!(generate(&config, domain, selector, Type::Ed25519, 0).is_err());
        }
    }
}
