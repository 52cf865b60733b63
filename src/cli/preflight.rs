//! `ringpost preflight`: would the large mailbox providers take this message?

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mail_parser::MessageParser;
use serde::Serialize;

use super::client::{
    Answer, Complaint, EX_CONFIG, EX_DATAERR, EX_NOINPUT, EX_SOFTWARE, EX_TEMPFAIL, Side, print,
    table,
};
use crate::config::{Config, TlsPolicy};
use crate::dkim::{self, Signers};
use crate::preflight::{Finding, Grade, Journey, Origin, look};
use crate::service::Service;
use crate::service::resolver;

/// Check a message against the rules of Google, Yahoo and Microsoft for bulk senders
///
/// Nothing is sent. The message is signed with the configured keys, and the DNS is asked what a
/// receiver would ask.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  ringpost preflight newsletter.eml --source 192.0.2.1\n\nExit code 65 when a rule is broken that receivers refuse mail for, 75 when the DNS could not be asked."
)]
pub struct Arguments {
    /// The message; - is standard input
    file: PathBuf,
    /// The reverse path (MAIL FROM). Default: the address in From
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// An address it leaves from, as others see it; several times for several. Default: those of
    /// `[delivery] source` and of each `[[source]]`
    #[arg(long, value_name = "IP")]
    source: Vec<IpAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    verdict: Grade,
    findings: Vec<Finding>,
}

/// Checks the message as this configuration would send it.
#[must_use]
pub fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    let findings = match findings(arguments, config) {
        Ok(findings) => findings,
        Err(complaint) => return print(Err(complaint)),
    };
    let worst = findings.iter().map(|finding| finding.grade).max();
    let verdict = worst.unwrap_or(Grade::Ok);
    let answer = if arguments.json {
        Answer::json(&Report { verdict, findings })
    } else {
        Ok(Answer {
            result: shown(&findings),
            remark: None,
        })
    };
    let printed = print(answer);
    if printed == ExitCode::SUCCESS && verdict == Grade::Fail {
        return ExitCode::from(EX_DATAERR);
    }
    printed
}

fn findings(arguments: &Arguments, config: &Config) -> Result<Vec<Finding>, Complaint> {
    let message = read(&arguments.file)?;
    let keys = config.dkim.iter();
    let keys = keys.map(|dkim| (&*dkim.domain, &*dkim.selector, &*dkim.key));
    let signers: Signers = dkim::read(keys).map_err(|why| Complaint::new(EX_CONFIG, why))?;
    let origins = match &arguments.source[..] {
        [] => origins(config),
        addresses => vec![Origin {
            whose: "--source".to_owned(),
            addresses: addresses.to_vec(),
            helo: helo(config),
        }],
    };
    let sender = arguments.from.clone().unwrap_or_else(|| author(&message));
    let journey = Journey {
        message: &message,
        signers: &signers,
        sender: sender.trim_matches(['<', '>']),
        origins: &origins,
        encrypts: config.delivery.tls != TlsPolicy::None,
    };
    let service =
        Service::start().map_err(|error| Complaint::new(EX_SOFTWARE, error.to_string()))?;
    let inside = service.handle().enter();
    let resolver = resolver::plain(&config.dns)
        .map_err(|error| Complaint::new(EX_CONFIG, error.to_string()))?;
    drop(inside);
    let looking = async { tokio::time::timeout(PATIENCE, look(&journey, resolver)).await };
    let found = service.handle().block_on(looking);
    found.map_err(|_| Complaint::new(EX_TEMPFAIL, "the name server does not answer"))
}

/// What we call ourselves where a source says nothing else.
fn helo(config: &Config) -> String {
    let helo = config.delivery.helo.clone();
    helo.unwrap_or_else(|| config.hostname())
}

/// Everything that mail may leave from: each `[[source]]`, and what `[delivery]` says where that says
/// something or nobody else does.
fn origins(config: &Config) -> Vec<Origin> {
    let usual = Origin {
        whose: "[delivery]".to_owned(),
        addresses: config.delivery.source.clone(),
        helo: helo(config),
    };
    let has_usual = !usual.addresses.is_empty() || config.source.is_empty();
    let named = config.source.iter().map(|source| Origin {
        whose: format!("[[source]] {}", source.name),
        addresses: source.address.clone(),
        helo: source.helo.clone().unwrap_or_else(|| helo(config)),
    });
    let usual = Some(usual).filter(|_| has_usual);
    usual.into_iter().chain(named).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Complaint> {
    let unreadable =
        |error: std::io::Error| Complaint::new(EX_NOINPUT, format!("{}: {error}", path.display()));
    let mut octets = Vec::new();
    if path == Path::new("-") {
        let read = std::io::stdin().lock().read_to_end(&mut octets);
        read.map_err(unreadable)?;
    } else {
        octets = fs::read(path).map_err(unreadable)?;
    }
    if memchr::memmem::find(&octets, b"\r\n").is_some() {
        return Ok(octets);
    }
    // A file of this machine: its line ends are those of text files.
    let mut wire = Vec::with_capacity(octets.len() + octets.len() / 32);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        wire.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
    }
    Ok(wire)
}

/// The first address in From.
fn author(message: &[u8]) -> String {
    let parsed = MessageParser::new().parse_headers(message);
    let parsed = parsed.as_ref();
    let first = parsed.and_then(|parsed| parsed.from()?.first()?.address.as_deref());
    first.unwrap_or_default().to_owned()
}

fn shown(findings: &[Finding]) -> String {
    let heads = [
        ("RESULT", Side::Left),
        ("RULE", Side::Left),
        ("FOUND", Side::Left),
        ("REMEDY", Side::Left),
    ];
    let rows = findings.iter().map(|finding| {
        [
            finding.grade.name().to_owned(),
            finding.rule.name().to_owned(),
            finding.found.clone(),
            finding.remedy.clone(),
        ]
    });
    table(heads, rows)
}

/// How long all questions to the DNS may take together.
const PATIENCE: Duration = Duration::from_secs(60);
