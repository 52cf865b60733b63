//! `ringpost sendmail`, and the names `sendmail`, `mailq` and `newaliases` of the program: what
//! cron, scripts and mail readers call to send.

mod draft;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use super::client::{
    Answer, Complaint, EX_DATAERR, EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE,
    print,
};
use crate::config::Config;
use crate::mail::outcome::Diagnosis;
use crate::maildrop::{self, Envelope, Submission, submit};
use crate::wire::codec::encode_xtext;
use crate::wire::path::Mailbox;
use draft::{Draft, Writer};

/// Take a message from standard input and hand it to the relay
#[derive(Parser, Clone, Debug)]
#[command(
    name = "sendmail",
    version,
    disable_version_flag = true,
    disable_help_flag = true,
    after_help = "\
Examples:
  printf 'Subject: done\\n\\nAll is well.\\n' | ringpost sendmail ann@example.org
  ringpost sendmail -t -i < message.eml
  ringpost sendmail -bp

The relay's smtp listener is asked; while it is down the message waits in data_dir/maildrop.
Exit codes are those of sysexits.h: 0 taken, 64 usage, 65 data, 67 no such user, 75 try again."
)]
pub struct Arguments {
    /// Recipients; a name without @ gets the relay's hostname
    recipients: Vec<String>,
    /// Take recipients from To, Cc and Bcc too; Bcc is removed
    #[arg(short = 't')]
    from_header: bool,
    /// A dot alone on a line does not end the message
    #[arg(short = 'i')]
    ignore_dots: bool,
    /// The sender; <> for nobody
    #[arg(short = 'f', short_alias = 'r', value_name = "ADDRESS")]
    from: Option<String>,
    /// The sender's full name, where the message has no From
    #[arg(short = 'F', value_name = "NAME")]
    full_name: Option<String>,
    /// m: send (the default); s: speak SMTP on standard input and output; p: list the queue
    #[arg(
        short = 'b',
        value_name = "MODE",
        default_value = "m",
        hide_default_value = true
    )]
    mode: Mode,
    /// Attempt every message of the queue now
    #[arg(short = 'q', value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "")]
    queue: Option<String>,
    /// When to be told: never, or some of success,failure,delay
    #[arg(short = 'N', value_name = "NOTIFY")]
    notify: Option<String>,
    /// What a report returns: full or hdrs
    #[arg(short = 'R', value_name = "RETURN")]
    ret: Option<String>,
    /// The name of this message in reports
    #[arg(short = 'V', value_name = "ENVID")]
    envid: Option<String>,
    /// Old options: i is -i, others are taken and have no effect
    #[arg(short = 'o', value_name = "OPTION", allow_hyphen_values = true)]
    option: Vec<String>,
    /// The configuration
    #[arg(short = 'C', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Options that are taken and have no effect here
    #[command(flatten)]
    without_effect: WithoutEffect,
}

/// What other mail systems know and nothing here depends on. Refusing them would break scripts.
#[derive(clap::Args, Clone, Debug)]
struct WithoutEffect {
    #[arg(short = 'B', hide = true)]
    body: Option<String>,
    #[arg(short = 'h', hide = true)]
    hops: Option<String>,
    #[arg(short = 'L', hide = true)]
    label: Option<String>,
    #[arg(short = 'O', hide = true)]
    long_option: Vec<String>,
    #[arg(short = 'X', hide = true)]
    log: Option<String>,
    #[arg(short = 'm', hide = true)]
    me_too: bool,
    #[arg(short = 'n', hide = true)]
    no_aliases: bool,
    #[arg(short = 'v', action = clap::ArgAction::Count, hide = true)]
    verbose: u8,
    #[arg(short = 'G', hide = true)]
    gateway: bool,
    #[arg(short = 'U', hide = true)]
    user: bool,
}

/// What `-b` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Message,
    Smtp,
    Queue,
    Aliases,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "m" => Ok(Self::Message),
            "s" => Ok(Self::Smtp),
            "p" => Ok(Self::Queue),
            "i" => Ok(Self::Aliases),
            "d" | "D" => Err("the relay is started with `ringpost serve`".to_owned()),
            _ => Err("m, s or p are known".to_owned()),
        }
    }
}

/// What is to be done: by this module, or by one that is a command of its own.
pub(super) enum Wanted {
    /// By [`run`].
    Send(Box<Arguments>),
    /// `ringpost queue list`
    ListQueue,
    /// `ringpost queue retry --all`
    RetryQueue,
    /// Nothing: there is no table of aliases to be made anew.
    Nothing,
}

/// What a program called `name` is asked to do; `None` when it is not one of ours.
pub(super) fn by_name(
    name: &str,
    arguments: impl Iterator<Item = OsString>,
) -> Option<Result<Arguments, clap::Error>> {
    let mode: &[&str] = match name {
        "sendmail" => &[],
        "mailq" => &["-bp"],
        "newaliases" => &["-bi"],
        _ => return None,
    };
    let words = [name].into_iter().chain(mode.iter().copied());
    let words = words.map(OsString::from);
    Some(Arguments::try_parse_from(words.chain(arguments)))
}

impl Arguments {
    pub(super) fn wanted(self) -> Wanted {
        match (self.mode, &self.queue) {
            (Mode::Queue, _) => Wanted::ListQueue,
            (Mode::Aliases, _) => Wanted::Nothing,
            (_, Some(_)) => Wanted::RetryQueue,
            (Mode::Message | Mode::Smtp, None) => Wanted::Send(Box::new(self)),
        }
    }

    /// The file that `-C` names, or the one where packages put it.
    pub(super) fn configuration(&self) -> Option<PathBuf> {
        let usual = || {
            let here = Path::new("ringpost.toml").exists();
            (!here && Path::new(SYSTEM_FILE).exists()).then(|| SYSTEM_FILE.into())
        };
        self.file.clone().or_else(usual)
    }
}

/// Sends, or lets somebody speak SMTP.
pub(super) fn run(arguments: &Arguments, config: &Config) -> ExitCode {
    let done = listener(config).and_then(|relay| match arguments.mode {
        Mode::Smtp => speak(relay),
        _ => send(arguments, config, relay),
    });
    print(done.map(|remark| Answer {
        result: String::new(),
        remark,
    }))
}

/// The relay's own door for mail of this machine.
fn listener(config: &Config) -> Result<SocketAddr, Complaint> {
    maildrop::door(config).ok_or_else(|| {
        let words = "the configuration has no smtp listener that mail could be handed to";
        Complaint::new(EX_UNAVAILABLE, words)
    })
}

fn send(
    arguments: &Arguments,
    config: &Config,
    relay: SocketAddr,
) -> Result<Option<String>, Complaint> {
    let hostname = config.hostname();
    let envelope = envelope(arguments, &hostname)?;
    if io::stdin().is_terminal() && arguments.recipients.is_empty() && !arguments.from_header {
        return Err(Complaint::new(EX_USAGE, "to whom? Name recipients, or -t"));
    }
    let dot_ends = !arguments.ignore_dots && !arguments.option.iter().any(|one| one == "i");
    let content = draft::read(io::stdin().lock(), dot_ends, config.smtp.max_message_size)
        .map_err(|error| Complaint::new(EX_DATAERR, format!("standard input: {error}")))?;
    let mut draft = Draft::new(&content);
    let mut submission = Submission {
        envelope,
        content: Vec::new(),
    };
    if arguments.from_header {
        for written in draft.recipients() {
            let address = address(&written, &hostname)?;
            submission.envelope.to.push(address);
        }
    }
    let mut seen = std::collections::HashSet::new();
    submission.envelope.to.retain(|to| seen.insert(to.clone()));
    if submission.envelope.to.is_empty() {
        return Err(Complaint::new(EX_USAGE, "to whom? There is no recipient"));
    }
    let from = match &*submission.envelope.from {
        "" => format!("MAILER-DAEMON@{hostname}"),
        from => from.to_owned(),
    };
    draft.complete(&Writer {
        name: arguments.full_name.as_deref(),
        address: &from,
        hostname: &hostname,
        now: seconds(),
    });
    submission.content = draft.into_content();
    match submit(&submission, relay, &hostname) {
        Ok(mut answer) => {
            let wanted = submission.envelope.to.len();
            let mut remark = None;
            if answer.accepted > 0 && !answer.deferred.is_empty() {
                // Whoever is told to come again comes with all of it, and some would have it twice.
                let (later, why) = answer.deferred.drain(..).unzip::<_, _, Vec<_>, Vec<_>>();
                submission.envelope.to = later;
                let why = why.first().map(|why| why.text.to_string());
                let why = io::Error::other(why.unwrap_or_default());
                remark = Some(leave(&submission, config, &why)?);
            }
            judge(&answer, wanted).map(|()| remark)
        }
        Err(error) => leave(&submission, config, &error).map(Some),
    }
}

fn envelope(arguments: &Arguments, hostname: &str) -> Result<Envelope, Complaint> {
    let from = match arguments.from.as_deref() {
        Some("<>" | "") => String::new(),
        Some(from) => address(from, hostname)?,
        None => address(&user_name(), hostname)?,
    };
    let to = arguments.recipients.iter();
    let to = to
        .map(|to| address(to, hostname))
        .collect::<Result<_, _>>()?;
    let notify = arguments.notify.as_deref().map(notify).transpose()?;
    let ret = arguments.ret.clone();
    if let Some(ret) = ret
        .as_deref()
        .filter(|ret| !ret.eq_ignore_ascii_case("full") && !ret.eq_ignore_ascii_case("hdrs"))
    {
        let why = format!("-R {ret}: full or hdrs would be right");
        return Err(Complaint::new(EX_USAGE, why));
    }
    let envid = arguments.envid.as_deref();
    let envid = envid.map(|envid| encode_xtext(envid.as_bytes()));
    Ok(Envelope {
        from,
        to,
        notify,
        ret,
        envid,
    })
}

/// `-N`: RFC 3461 §4.1.
fn notify(text: &str) -> Result<Vec<String>, Complaint> {
    let words: Vec<String> = text.split(',').map(str::to_ascii_lowercase).collect();
    let known = |word: &String| ["never", "success", "failure", "delay"].contains(&&**word);
    let alone = words.len() == 1 || !words.iter().any(|word| word == "never");
    if words.iter().all(known) && alone {
        return Ok(words);
    }
    let why = format!("-N {text}: never, or some of success,failure,delay would be right");
    Err(Complaint::new(EX_USAGE, why))
}

/// An address as it was typed, with our name where it has no domain.
fn address(written: &str, hostname: &str) -> Result<String, Complaint> {
    let bare = written.trim();
    let bare = bare
        .strip_prefix('<')
        .and_then(|bare| bare.strip_suffix('>'))
        .unwrap_or(bare);
    let whole = if bare.contains('@') {
        bare.to_owned()
    } else {
        format!("{bare}@{hostname}")
    };
    match Mailbox::parse(whole.as_bytes(), true) {
        Ok(mailbox) => Ok(mailbox.as_str().to_owned()),
        Err(_) => {
            let why = format!("{written} is no address: somebody@example.org would be one");
            Err(Complaint::new(EX_USAGE, why))
        }
    }
}

/// Who calls, by the name in the password file.
fn user_name() -> String {
    let id = rustix::process::getuid().as_raw();
    let names = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = names.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    });
    let named = || std::env::var("LOGNAME").ok();
    found.or_else(named).unwrap_or_else(|| format!("uid-{id}"))
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// What the relay's answer is for whoever called: the worst that became of a recipient.
fn judge(answer: &maildrop::Answer, wanted: usize) -> Result<(), Complaint> {
    let mut words = Vec::new();
    let mut code = 0;
    for (to, diagnosis) in &answer.deferred {
        words.push(format!("{to}: {}", diagnosis.text));
        code = EX_TEMPFAIL;
    }
    for (to, diagnosis) in &answer.refused {
        words.push(format!("{to}: {}", diagnosis.text));
        code = refusal_code(diagnosis);
    }
    if words.is_empty() {
        return Ok(());
    }
    if answer.accepted > 0 {
        words.push(format!(
            "sent to {} of {wanted} recipients",
            answer.accepted
        ));
    }
    Err(Complaint::new(code, words.join("\n")))
}

fn refusal_code(diagnosis: &Diagnosis) -> u8 {
    match (diagnosis.status.subject(), diagnosis.status.detail()) {
        (1, _) => EX_NOUSER,
        (5 | 6, _) | (3, 4) => EX_DATAERR,
        (7, _) => EX_NOPERM,
        _ => EX_UNAVAILABLE,
    }
}

/// Nobody answers: the message waits on the disk.
fn leave(submission: &Submission, config: &Config, why: &io::Error) -> Result<String, Complaint> {
    let directory = config.data_dir.join(maildrop::DIRECTORY);
    let name = format!("{}-{}", seconds(), std::process::id());
    match submission.leave(&directory, &name) {
        Ok(place) => Ok(format!(
            "the relay does not answer ({why}): the message waits in {}",
            place.display()
        )),
        Err(error) => {
            let why = format!(
                "the relay does not answer ({why}), and the message cannot be left in {}: {error}",
                directory.display()
            );
            Err(Complaint::new(EX_TEMPFAIL, why))
        }
    }
}

/// `-bs`: standard input and output are a client's connection to the relay.
fn speak(relay: SocketAddr) -> Result<Option<String>, Complaint> {
    let gone = |error: io::Error| {
        // Whoever speaks SMTP is told in SMTP.
        let _ = io::stdout().write_all(b"421 4.3.2 the relay does not answer\r\n");
        Complaint::new(
            EX_TEMPFAIL,
            format!("the relay at {relay} does not answer: {error}"),
        )
    };
    let mut stream = TcpStream::connect(relay).map_err(gone)?;
    let mut back = stream.try_clone().map_err(gone)?;
    // Ends with the process when the relay hangs up first.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).map_err(gone)?;
        if len == 0 {
            return Ok(None);
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(&buffer[..len]).and_then(|()| out.flush());
        if written.is_err() {
            return Ok(None);
        }
    }
}

/// Where packages put the configuration.
const SYSTEM_FILE: &str = "/etc/ringpost/ringpost.toml";
