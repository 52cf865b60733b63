//! `ringpost latency`: how long each stage of a message's way takes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::client::{Answer, Client, Complaint, EX_IOERR, EX_NOINPUT, Place, Side, print, table};
use crate::observe::ask::{Latencies, Recording};
use crate::observe::stage::{Row, Snapshot, Stage, Window};

/// Show how long each stage takes, from banner to delivery
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringpost latency
  ringpost latency --window minute --destination example.org --plot
  ringpost latency --save before.json; sleep 60; ringpost latency --since before.json
  ringpost latency --stage dot_to_reply --hgrm > dot.hgrm")]
pub struct Arguments {
    /// Only this stage, as the table names it; an unknown name lists all
    #[arg(long)]
    stage: Option<Stage>,
    /// Only deliveries to this destination; the busiest have histograms of their own
    #[arg(long, value_name = "DOMAIN")]
    destination: Option<String>,
    /// Only what was recorded in the last `minute`, the last `hour`, or since the `start`
    #[arg(long, default_value = "start")]
    window: Window,
    /// Only this shard, as the log at the start numbers them
    #[arg(long, value_name = "NUMBER")]
    shard: Option<usize>,
    /// Keep the histograms in FILE, to be compared with later ones
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Only what was recorded since --save wrote FILE, beside what was recorded until then
    #[arg(long, value_name = "FILE", conflicts_with_all = ["window", "save"])]
    since: Option<PathBuf>,
    /// Print HdrHistogram's percentile text, in milliseconds
    #[arg(long, conflicts_with_all = ["json", "plot"])]
    hgrm: bool,
    /// Draw the percentiles on a logarithmic axis
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Print JSON, in microseconds
    #[arg(long)]
    json: bool,
}

/// Asks the relay at `place`, and prints what it says.
#[must_use]
pub fn run(arguments: &Arguments, place: &Place) -> ExitCode {
    print(Client::of(place).and_then(|client| answer(arguments, &client)))
}

fn answer(arguments: &Arguments, client: &Client) -> Result<Answer, Complaint> {
    if let Some(path) = &arguments.save {
        return save(arguments, client, path);
    }
    if let Some(path) = &arguments.since {
        return compare(arguments, client, path);
    }
    let query = query(arguments);
    if arguments.hgrm {
        let query = [query, vec![("format", "hgrm".into())]].concat();
        let result = client.get_text("/api/v1/latency", &query)?;
        let remark = result.is_empty().then(|| NOTHING.to_owned());
        return Ok(Answer { result, remark });
    }
    let latencies: Latencies = client.get("/api/v1/latency", &query)?;
    if let Some(name) = &arguments.destination
        && latencies.stages.is_empty()
    {
        let known = match &*latencies.destinations {
            [] => "no destination has been reached in that time".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        };
        let words = format!("nothing is recorded for {name}; {known}");
        return Err(Complaint::new(EX_NOINPUT, words));
    }
    if arguments.json {
        return Answer::json(&latencies);
    }
    Ok(shown(&latencies.stages, |rows| {
        if arguments.plot {
            plot(rows)
        } else {
            percentiles(rows)
        }
    }))
}

fn query(arguments: &Arguments) -> Vec<(&'static str, String)> {
    let stage = arguments.stage.map(|stage| stage.name().to_owned());
    let shard = arguments.shard.map(|shard| shard.to_string());
    let destination = arguments.destination.clone();
    let mut query = vec![("window", arguments.window.name().to_owned())];
    query.extend(stage.map(|stage| ("stage", stage)));
    query.extend(shard.map(|shard| ("shard", shard)));
    query.extend(destination.map(|name| ("destination", name)));
    query
}

fn shown(rows: &[Row], text: impl Fn(&[Row]) -> String) -> Answer {
    if rows.is_empty() {
        return Answer {
            result: String::new(),
            remark: Some(NOTHING.to_owned()),
        };
    }
    Answer {
        result: text(rows),
        remark: None,
    }
}

/// The histograms as they are.
fn record(arguments: &Arguments, client: &Client) -> Result<Recording, Complaint> {
    let query = [query(arguments), vec![("format", "recording".into())]].concat();
    client.get("/api/v1/latency", &query)
}

fn save(arguments: &Arguments, client: &Client, path: &Path) -> Result<Answer, Complaint> {
    let Answer { result, .. } = Answer::json(&record(arguments, client)?)?;
    fs::write(path, result).map_err(|error| {
        let words = format!("cannot write {}: {error}", path.display());
        Complaint::new(EX_IOERR, words)
    })?;
    let words = format!("Compare with: ringpost latency --since {}", path.display());
    Ok(Answer {
        result: String::new(),
        remark: Some(words),
    })
}

fn compare(arguments: &Arguments, client: &Client, path: &Path) -> Result<Answer, Complaint> {
    let unfit = |why: String| {
        let words = format!("{}: {why}", path.display());
        Complaint::new(EX_NOINPUT, words)
    };
    let text = fs::read(path).map_err(|error| unfit(error.to_string()))?;
    let earlier: Recording = serde_json::from_slice(&text).map_err(|error| {
        unfit(format!(
            "this is no file of ringpost latency --save: {error}"
        ))
    })?;
    let now = record(arguments, client)?;
    let since = now.histograms.since(&earlier.histograms).spread();
    let destination = arguments.destination.as_deref();
    let rows = |recorded: &Snapshot| {
        let mut rows = recorded.rows(destination);
        rows.retain(|row| {
            arguments
                .stage
                .is_none_or(|stage| row.stage == stage.name())
        });
        rows
    };
    if arguments.hgrm {
        let stages = rows(&since).into_iter().filter_map(|row| {
            let text = since.hgrm(row.stage.parse().ok()?, destination)?;
            Some(match arguments.stage {
                Some(_) => text,
                None => format!("# {}\n{text}\n", row.stage),
            })
        });
        return Ok(Answer {
            result: stages.collect(),
            remark: None,
        });
    }
    let (after, before) = (rows(&since), rows(&earlier.histograms.spread()));
    if arguments.json {
        return Answer::json(&Compared { before, after });
    }
    Ok(shown(&after, |rows| {
        if arguments.plot {
            plot(rows)
        } else {
            differences(rows, &before)
        }
    }))
}

/// What was recorded until a file was written and since.
#[derive(Serialize)]
struct Compared {
    before: Vec<Row>,
    after: Vec<Row>,
}

fn percentiles(rows: &[Row]) -> String {
    let heads = [
        ("STAGE", Side::Left),
        ("COUNT", Side::Right),
        ("P50", Side::Right),
        ("P90", Side::Right),
        ("P99", Side::Right),
        ("P99.9", Side::Right),
        ("P99.99", Side::Right),
        ("MAX", Side::Right),
    ];
    table(
        heads,
        rows.iter().map(|row| {
            [
                row.stage.clone(),
                row.count.to_string(),
                value(row, row.p50),
                value(row, row.p90),
                value(row, row.p99),
                value(row, row.p99_9),
                value(row, row.p99_99),
                value(row, row.max),
            ]
        }),
    )
}

/// Each percentile beside what it was.
fn differences(rows: &[Row], before: &[Row]) -> String {
    let heads = [
        ("STAGE", Side::Left),
        ("COUNT", Side::Right),
        ("P50", Side::Right),
        ("WAS", Side::Right),
        ("P99", Side::Right),
        ("WAS", Side::Right),
        ("MAX", Side::Right),
        ("WAS", Side::Right),
    ];
    table(
        heads,
        rows.iter().map(|row| {
            let before = before.iter().find(|before| before.stage == row.stage);
            let was = |of: fn(&Row) -> u64| {
                before.map_or("-".to_owned(), |before| value(before, of(before)))
            };
            [
                row.stage.clone(),
                row.count.to_string(),
                value(row, row.p50),
                was(|row| row.p50),
                value(row, row.p99),
                was(|row| row.p99),
                value(row, row.max),
                was(|row| row.max),
            ]
        }),
    )
}

fn value(row: &Row, value: u64) -> String {
    if row.unit == "us" {
        time(value)
    } else {
        value.to_string()
    }
}

/// One strip for each stage of time, from its median to its longest, all on one axis.
fn plot(rows: &[Row]) -> String {
    let timed = || rows.iter().filter(|row| row.unit == "us");
    let longest = timed().map(|row| row.max).max().unwrap_or(0).max(10);
    let decades = longest.ilog10() + u32::from(!is_power_of_ten(longest));
    let column = |micros: u64| {
        let place = (micros.max(1) as f64).log10() / f64::from(decades);
        (place * (PLOT_COLUMNS - 1) as f64).round() as usize
    };
    let mut text = String::new();
    let mut axis = vec![b' '; PLOT_COLUMNS + AXIS_LABEL];
    for decade in 0..=decades {
        let label = time(10u64.pow(decade));
        let at = column(10u64.pow(decade));
        let free = axis[at.saturating_sub(1)..at + label.len()]
            .iter()
            .all(|octet| *octet == b' ');
        if free {
            axis[at..at + label.len()].copy_from_slice(label.as_bytes());
        }
    }
    // Writing to a String cannot fail; the axis is ASCII.
    let axis = String::from_utf8_lossy(&axis).trim_end().to_owned();
    let _ = writeln!(text, "{:22}{axis}", "");
    for row in timed() {
        let mut strip = vec![b' '; PLOT_COLUMNS];
        strip[column(row.p50)..=column(row.max)].fill(b'-');
        // Where marks meet, the one that says more about ordinary mail stays.
        for (value, mark) in [
            (row.max, b'|'),
            (row.p99_9, b':'),
            (row.p99, b'*'),
            (row.p90, b'+'),
            (row.p50, b'o'),
        ] {
            strip[column(value)] = mark;
        }
        let strip = String::from_utf8_lossy(&strip).trim_end().to_owned();
        let _ = writeln!(text, "{:22}{strip}", row.stage);
    }
    text.push_str("\no median   + 90 %   * 99 %   : 99.9 %   | longest\n");
    text
}

fn is_power_of_ten(number: u64) -> bool {
    10u64.pow(number.ilog10()) == number
}

/// Microseconds with three digits in the unit that people use.
pub(super) fn time(micros: u64) -> String {
    let three = |value: f64| {
        let digits = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{}ms", three(micros as f64 / 1e3)),
        1_000_000..600_000_000 => format!("{}s", three(micros as f64 / 1e6)),
        _ => format!("{}m", three(micros as f64 / 60e6)),
    }
}

/// What is said when no stage was recorded.
const NOTHING: &str = "Nothing has been recorded in that time.";

/// Columns of a strip: with the names before it a terminal's 80.
const PLOT_COLUMNS: usize = 56;

/// Room for the last label of the axis.
const AXIS_LABEL: usize = 8;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::control::tests::Running;

    fn row(stage: &str, unit: &str, values: [u64; 5]) -> Row {
        let [p50, p90, p99, p99_9, max] = values;
        Row {
            stage: stage.into(),
            destination: None,
            unit: unit.into(),
            count: 1000,
            p50,
            p90,
            p99,
            p99_9,
            p99_99: p99_9,
            max,
        }
    }

    #[test]
    fn times_are_written_for_people() {
        for (micros, text) in [
            (0, "0us"),
            (999, "999us"),
            (1_000, "1ms"),
            (1_234, "1.23ms"),
            (12_340, "12.3ms"),
            (100_000, "100ms"),
            (2_500_000, "2.5s"),
            (3_600_000_000, "60m"),
        ] {
            assert_eq!(time(micros), text);
        }
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// Runs the command against a relay that made one connection to `d.test` on each shard.
    fn said(words: &[&str]) -> Result<String, Complaint> {
        let plane = Running::start(None);
        let client = Client::new(plane.address, None);
        let line = Line::try_parse_from([&["latency"], words].concat());
        let arguments = line.expect("a command").arguments;
        answer(&arguments, &client).map(|answer| answer.result)
    }

    #[test]
    fn operator_asks_how_long_it_takes() {
        let table = said(&[]).expect("a table");
        let stages: Vec<&str> = table
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(stages, ["STAGE", "commit_wait", "commit_batch", "connect"]);
        assert!(table.contains("250us"), "{table}");
        let one = said(&["--destination", "d.test"]).expect("a table");
        assert!(one.contains("connect") && !one.contains("commit"), "{one}");
        let refusal = said(&["--destination", "e.test"]).expect_err("no such destination");
        assert_eq!(refusal.code, EX_NOINPUT);
        assert!(refusal.words.contains("d.test"), "{refusal:?}");
    }

    #[test]
    fn programs_ask_how_long_it_takes() {
        let text = said(&["--json", "--stage", "commit-wait"]).expect("JSON");
        let latencies: Latencies = serde_json::from_str(&text).expect("rows");
        assert_eq!(latencies.stages.len(), 1);
        assert_eq!(latencies.stages[0].count, 2);
        let text = said(&["--hgrm"]).expect("text");
        assert!(text.starts_with("# commit_wait\n"), "{text}");
        let text = said(&["--hgrm", "--stage", "dns"]).expect("nothing yet");
        assert!(text.is_empty());
        assert!(said(&["--plot"]).expect("strips").contains("o median"));
    }

    #[test]
    fn operator_compares_with_an_hour_ago() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("before.json");
        let file = file.to_str().expect("text");
        assert_eq!(said(&["--save", file]).expect("a file"), "");
        // These relays all say the same: nothing happened since.
        assert_eq!(said(&["--since", file]).expect("no rows"), "");
        let mut before: Recording =
            serde_json::from_slice(&fs::read(file).expect("it is there")).expect("JSON");
        before.histograms = before.histograms.since(&before.histograms);
        fs::write(file, serde_json::to_vec(&before).expect("plain data")).expect("written");
        let table = said(&["--since", file, "--stage", "connect"]).expect("a row");
        assert!(table.contains("connect") && table.contains(" -"), "{table}");
        assert!(!table.contains("commit_wait"), "{table}");
        let text = said(&["--since", file, "--hgrm"]).expect("text");
        assert!(text.starts_with("# commit_wait\n"), "{text}");

        fs::write(file, "not JSON").expect("written");
        let refusal = said(&["--since", file]).expect_err("no such file");
        assert_eq!(refusal.code, EX_NOINPUT);
        assert!(refusal.words.contains("before.json"), "{refusal:?}");
    }

    #[test]
    fn operator_asks_about_one_shard_and_minute() {
        let table = said(&["--shard", "1", "--window", "minute"]).expect("a table");
        assert!(table.contains("connect"), "{table}");
        let refusal = said(&["--shard", "2"]).expect_err("there are two");
        assert!(refusal.words.contains("no shard 2"), "{refusal:?}");
    }

    #[test]
    fn batches_are_no_times() {
        let rows = [
            row("commit_wait", "us", [800, 900, 1_500, 2_000, 30_000]),
            row("commit_batch", "messages", [4, 8, 16, 16, 900]),
        ];
        assert_eq!(
            percentiles(&rows),
            "STAGE         COUNT    P50    P90    P99  P99.9  P99.99   MAX\n\
             commit_wait    1000  800us  900us  1.5ms    2ms     2ms  30ms\n\
             commit_batch   1000      4      8     16     16      16   900\n"
        );
    }

    #[test]
    fn strips_stand_in_order_on_one_axis() {
        let rows = [
            row("dns", "us", [10, 100, 1_000, 10_000, 100_000]),
            row("connect", "us", [10, 10, 10, 10, 10]),
            row("commit_batch", "messages", [1, 1, 1, 1, 1]),
        ];
        let drawn = plot(&rows);
        let lines: Vec<&str> = drawn.lines().collect();
        let marks = ['o', '+', '*', ':', '|'].map(|mark| lines[1][22..].find(mark));
        assert_eq!(marks, [11, 22, 33, 44, 55].map(Some), "{drawn}");
        assert_eq!(lines[2][22..].find('o'), Some(11), "{drawn}");
        assert!(
            lines[0].contains("1ms") && !drawn.contains("commit_batch"),
            "{drawn}"
        );
    }
}
