//! `ringpost trace`: the life of one message, or dialogues while they happen.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::client::{Answer, Client, Complaint, EX_IOERR, EX_PROTOCOL, Place, clean, print};
use super::queue::{path_of, sender, tell_waiting};
use crate::observe::ask::Trace;
use crate::observe::follow::Spoken;
use crate::observe::history::{Event, Fate, Moment};
use crate::observe::stage::Times;

/// Show the life of one message, or follow SMTP dialogues while they happen
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost trace 00F1ZQ2M7T8K4
  ringpost trace --destination example.com
  ringpost trace --client 192.0.2.0/24 --seconds 60

The relay remembers the newest messages (8 MiB for each core), and nothing from before its last
start. What is older stands in the log. Exit code 66 when it does not know the id.

Dialogues are those of connections that begin from now on. Of content only the length is told, and what
proves who a client is not at all. What is not taken in time is lost, and counted.")]
pub struct Arguments {
    /// The queue id
    #[arg(required_unless_present_any = ["destination", "client"])]
    id: Option<String>,
    /// Follow the dialogues with this next hop, or with the host of this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["id", "client"])]
    destination: Option<String>,
    /// Follow the dialogues of clients with this address, or in this network
    #[arg(long, value_name = "ADDRESS", conflicts_with = "id")]
    client: Option<String>,
    /// Follow for so long, and not until the command is stopped
    #[arg(long, conflicts_with = "id")]
    seconds: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the relay at `place`, and prints what it says.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    print(Client::of(place).and_then(|client| match &arguments.id {
        Some(id) => answer(id, arguments.json, &client),
        None => follow(arguments, &client),
    }))
}

/// Prints lines as they come.
fn follow(arguments: &Arguments, client: &Client) -> Result<Answer, Complaint> {
    let seconds = arguments.seconds.map(|seconds| seconds.to_string());
    let given = [
        ("destination", arguments.destination.clone()),
        ("client", arguments.client.clone()),
        ("seconds", seconds),
    ];
    let given = given.into_iter();
    let query: Vec<_> = given
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let (mut out, mut had_enough) = (io::stdout().lock(), false);
    let mut say = |words: &str| {
        let said = writeln!(out, "{words}").and_then(|()| out.flush());
        said.map_err(|error| {
            // `| head` has seen enough.
            had_enough = error.kind() == io::ErrorKind::BrokenPipe;
            Complaint::new(EX_IOERR, format!("cannot write: {error}"))
        })
    };
    let followed = client.follow("/api/v1/dialogues", &query, |line| {
        if line.is_empty() {
            return Ok(());
        }
        if arguments.json {
            return say(line);
        }
        let spoken: Spoken = serde_json::from_str(line).map_err(|error| {
            Complaint::new(EX_PROTOCOL, format!("a line cannot be read: {error}"))
        })?;
        say(&as_line(&spoken))
    });
    match followed {
        Err(complaint) if !had_enough => Err(complaint),
        _ => Ok(Answer::default()),
    }
}

/// `09:00:01.234567 0/12 mx.example.com[192.0.2.1]:25 > EHLO relay.example.org`
fn as_line(spoken: &Spoken) -> String {
    let at = Timestamp::from_microsecond(spoken.at).map_or_else(
        |_| spoken.at.to_string(),
        |at| at.strftime("%H:%M:%S%.6f").to_string(),
    );
    let mark = match &*spoken.side {
        "client" => '>',
        "server" => '<',
        _ => '-',
    };
    let lost = match spoken.lost {
        0 => String::new(),
        lost => format!("({lost} lines lost) "),
    };
    let Spoken {
        shard,
        connection,
        peer,
        words,
        ..
    } = spoken;
    clean(&format!(
        "{at} {shard}/{connection} {peer} {lost}{mark} {words}"
    ))
}

fn answer(id: &str, json: bool, client: &Client) -> Result<Answer, Complaint> {
    let path = path_of("/api/v1/trace", id)?;
    let trace: Trace = client.get(&path, &[])?;
    if json {
        return Answer::json(&trace);
    }
    Ok(Answer {
        result: tell(&trace),
        remark: None,
    })
}

fn tell(trace: &Trace) -> String {
    let mut text = format!("{}\n", trace.id);
    let first = trace.moments.first().map_or(0, |moment| moment.at);
    for moment in &trace.moments {
        tell_moment(&mut text, first, moment);
    }
    if let Some(queued) = &trace.queued {
        for recipient in &queued.entry.recipients {
            tell_waiting(&mut text, recipient);
        }
    }
    text
}

fn tell_moment(text: &mut String, first: i64, moment: &Moment<'_>) {
    let at = Timestamp::from_microsecond(moment.at)
        .map_or_else(|_| moment.at.to_string(), |at| format!("{at:.6}"));
    let since = Milliseconds(micros(moment.at.saturating_sub(first)));
    let mut say = |words: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{at}  +{since}  {}", clean(&words));
    };
    match &moment.event {
        Event::Accepted {
            client,
            hello,
            with,
            from,
            size,
            recipients,
            message_id,
            tls,
            stages,
        } => {
            let by = match client {
                Some(client) => format!("from {client} ({hello}) with {with}"),
                None => "as a report of the relay's own".to_owned(),
            };
            let from = sender(from);
            say(format!(
                "accepted {by}: from {from}, {recipients} recipients, {size} octets"
            ));
            if let Some(message_id) = message_id {
                aside(text, &format!("message-id {message_id}"));
            }
            if let Some(tls) = tls {
                aside(text, &format!("it says {tls}"));
            }
            tell_stages(text, stages);
        }
        Event::Attempt {
            relay,
            source,
            tls,
            stages,
            outcomes,
        } => {
            let relay = relay.as_deref().unwrap_or("none");
            let source = source.as_deref().map(|source| format!(" from {source}"));
            let tls = tls.as_deref().map(|tls| format!(", tls {tls}"));
            let (source, tls) = (source.unwrap_or_default(), tls.unwrap_or_default());
            say(format!("attempt: relay {relay}{source}{tls}"));
            tell_stages(text, stages);
            for Fate {
                to,
                status,
                dsn,
                text: words,
            } in outcomes
            {
                aside(text, &format!("{to}: {status} {dsn} ({words})"));
            }
        }
        Event::Reported { report, kind } => {
            say(format!("reported to its sender ({kind}): {report}"))
        }
        event @ Event::Returned { .. } => say(returned(event)),
        Event::Ordered { act } => say(format!("an operator said: {act}")),
        Event::Finished => say("finished: every recipient is settled".to_owned()),
    }
}

fn returned(event: &Event<'_>) -> String {
    let Event::Returned {
        report,
        what,
        to,
        text,
    } = event
    else {
        return String::new();
    };
    let to = to.as_deref().map(|to| format!(" for {to}"));
    format!("{what}{}, says {report}: {text}", to.unwrap_or_default())
}

fn tell_stages(text: &mut String, stages: &Times) {
    let stages: Vec<String> = stages
        .iter()
        .map(|(stage, took)| format!("{stage} {}", Milliseconds(took.as_micros())))
        .collect();
    if !stages.is_empty() {
        aside(text, &stages.join(", "));
    }
}

/// Something about the moment above it.
fn aside(text: &mut String, words: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "    {}", clean(words));
}

fn micros(micros: i64) -> u128 {
    u128::from(micros.max(0).unsigned_abs())
}

/// Microseconds, shown as milliseconds or seconds.
struct Milliseconds(u128);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        if self.0 < 10_000_000 {
            write!(f, "{whole}.{part:03} ms")
        } else {
            write!(f, "{} s", whole / 1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smallvec::smallvec;

    use super::*;
    use crate::observe::stage::Stage;
    use crate::wire::status::EnhancedStatus;

    #[test]
    fn a_spoken_line_says_who_speaks_and_steers_no_terminal() {
        let spoken = Spoken {
            at: 1_234_567,
            connection: 12,
            peer: "mx.d.test[192.0.2.1]:25".to_owned(),
            side: "server".to_owned(),
            words: "250 \u{1b}[2J".to_owned(),
            lost: 3,
            ..Spoken::default()
        };
        assert_eq!(
            as_line(&spoken),
            "00:00:01.234567 0/12 mx.d.test[192.0.2.1]:25 (3 lines lost) < 250 ?[2J"
        );
    }

    #[test]
    fn a_life_reads_from_top_to_bottom() {
        let mut stages = Times::default();
        stages.add(Stage::DotToReply, Duration::from_micros(2_345));
        let moment = |at, event| Moment { at, event };
        let trace = Trace {
            id: "00F1ZQ2M7T8K4".to_owned(),
            moments: vec![
                moment(
                    1_000_000,
                    Event::Accepted {
                        client: Some("127.0.0.1".parse().unwrap()),
                        hello: "c.test".into(),
                        with: "ESMTP".into(),
                        from: "a@c.test".into(),
                        size: 99,
                        recipients: 1,
                        message_id: None,
                        tls: Some("REQUIRETLS".into()),
                        stages: Times::default(),
                    },
                ),
                moment(
                    1_004_500,
                    Event::Attempt {
                        relay: Some("mx.d.test[192.0.2.1]:25".into()),
                        source: Some("bulk-1".into()),
                        tls: Some("dane: TLSv1.3".into()),
                        stages,
                        outcomes: smallvec![Fate {
                            to: "b@d.test".into(),
                            status: "sent".into(),
                            dsn: EnhancedStatus::new(2, 0, 0),
                            text: "250 ok\u{1b}[2J".into(),
                        }],
                    },
                ),
                moment(21_000_000, Event::Finished),
            ],
            queued: None,
        };
        assert_eq!(
            tell(&trace),
            "00F1ZQ2M7T8K4\n\
             1970-01-01T00:00:01.000000Z  +0.000 ms  accepted from 127.0.0.1 (c.test) with ESMTP: from a@c.test, 1 recipients, 99 octets\n    \
             it says REQUIRETLS\n\
             1970-01-01T00:00:01.004500Z  +4.500 ms  attempt: relay mx.d.test[192.0.2.1]:25 from bulk-1, tls dane: TLSv1.3\n    \
             dot_to_reply 2.345 ms\n    \
             b@d.test: sent 2.0.0 (250 ok?[2J)\n\
             1970-01-01T00:00:21.000000Z  +20 s  finished: every recipient is settled\n"
        );
    }
}
